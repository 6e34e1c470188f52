//! `keyless usage`.

use serde_json::{Value, json};

use crate::{Scratch, keyless};

/// An access log with lines of other kinds between its own.
fn log() -> String {
    let entries = [
        json!({ "subject": "ann", "deployment": "gpt-4o", "usage": "exact", "tokens_input": "11",
                "tokens_output": "7", "tokens_cached": "3", "cost": "0.000093750000" }),
        json!({ "subject": "ann", "deployment": "gpt-4o", "usage": "exact", "tokens_input": "1",
                "tokens_output": "2", "tokens_reasoning": "2", "cost": "0.000000000001" }),
        json!({ "subject": "ann", "deployment": "gpt-4o", "usage": "estimated", "tokens_input": "9",
                "tokens_output": "1", "cost": "1.5" }),
        json!({ "subject": "=b,\"ob\"", "deployment": "o3", "usage": "absent", "tokens_input": null }),
        json!({ "subject": "bob", "usage": "none" }),
        json!({ "subject": "bob", "usage": null, "tokens_input": "5" }),
        json!({ "subject": "bob", "tokens_input": "5" }),
    ];
    let lines: Vec<_> = entries.iter().map(Value::to_string).collect();
    format!("[info] starting\n{}\n\n{{\"usage\":\n", lines.join("\nnot a log line\n"))
}

#[test]
fn tokens_and_cost_are_summed_by_any_field_and_the_measured_apart_from_the_guessed() {
    let file = Scratch::new("access.log", &log());
    let said = keyless(&["usage", "--by", "subject,deployment", file.path()], "");
    let expected = "\
subject  deployment  usage      answers  input  output  cached  reasoning            cost
=b,\"ob\"  o3          absent           1      0       0       0          0               -
ann      gpt-4o      estimated        1      9       1       0          0  1.500000000000
ann      gpt-4o      exact            2     12       9       3          2  0.000093750001
";
    assert_eq!((said.status, said.out.as_str()), (0, expected), "{}", said.err);
}

#[test]
fn several_logs_are_one_and_stdin_is_one_of_them() {
    let file = Scratch::new("more.log", &log());
    let said = keyless(&["usage", "--by", "subject", "--format", "csv", "-", file.path()], &log());
    let expected = "\
subject,usage,answers,input,output,cached,reasoning,cost
\"'=b,\"\"ob\"\"\",absent,2,0,0,0,0,-
ann,estimated,2,18,2,0,0,3.000000000000
ann,exact,4,24,18,6,4,0.000187500002
";
    assert_eq!((said.status, said.out.as_str()), (0, expected), "{}", said.err);
}

#[test]
fn json_has_numbers_and_the_cost_to_its_last_digit() {
    let said = keyless(&["usage", "--format", "json", "-"], &log());
    let rows: Value = serde_json::from_str(&said.out).unwrap();
    let expected = json!({
        "route": "-", "deployment": "gpt-4o", "usage": "exact", "answers": 2, "input": 12,
        "output": 9, "cached": 3, "reasoning": 2, "cost": "0.000093750001",
    });
    assert_eq!(rows[1], expected);
    assert_eq!(rows[2]["cost"], Value::Null);
}

#[test]
fn a_log_that_is_not_there_is_an_error() {
    let said = keyless(&["usage", "nothing.log"], "");
    assert_eq!((said.status, said.out.as_str()), (2, ""));
    assert!(said.err.contains("nothing.log"), "{}", said.err);
    assert_eq!(keyless(&["usage"], "").status, 2);
}
