//! What the log says, summed up by `keyless usage`, is what the counters say.

use std::io::Write as _;
use std::process::{Command, Stdio};

use testkit::backend::{begun_stream, plain, stream};

use super::*;

/// Has the program sum up an access log.
fn summed(log: &[Value]) -> Vec<Value> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "--quiet", "--locked", "-p", "keyless-cli", "--", "usage"]);
    command.args(["--by", "issuer,route,deployment", "--format", "json", "-"]);
    let mut program = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = program.stdin.take().unwrap();
    for entry in log {
        writeln!(stdin, "{entry}").unwrap();
    }
    drop(stdin);
    let output = program.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn the_sums_of_the_log_are_those_of_the_counters() {
    let (world, _backend) = scripted(|heard| {
        match heard.head.split("\r\nx-kind: ").nth(1).and_then(|kind| kind.split('\r').next()) {
            Some("broken") => {
                let mut acts = begun_stream([events(&EVENTS[..4]).as_bytes()]);
                acts.push(Act::Leave);
                acts
            }
            Some("silent") => plain("{}"),
            Some("streamed") => stream([whole_stream().as_bytes()]),
            _ => plain(ANSWER),
        }
    })
    .await;
    let kinds = ["plain", "streamed", "broken", "silent", "plain", "streamed", "plain"];
    let token = world.token();
    for kind in kinds {
        let body = chat_body(matches!(kind, "broken" | "streamed"));
        let request = world.post(CHAT, &body).bearer_auth(&token).header("x-kind", kind);
        if let Ok(response) = request.send().await {
            _ = response.bytes().await;
        }
    }
    let log = world.gateway.access_log_of(kinds.len()).await.unwrap();
    let sums = summed(&log);
    let answers: Vec<_> =
        sums.iter().map(|sum| (sum["usage"].as_str().unwrap(), sum["answers"].as_u64())).collect();
    assert_eq!(answers, [("absent", Some(1)), ("estimated", Some(1)), ("exact", Some(5))]);
    for sum in &sums {
        let basis = format!(r#"basis="{}""#, sum["usage"].as_str().unwrap());
        let counted = async |name: &str, more: &str| -> u64 {
            let series = counters(&world, &format!("{name}{{")).await;
            let own =
                series.iter().filter(|(name, _)| name.contains(&basis) && name.contains(more));
            own.map(|(_, value)| value).sum()
        };
        assert_eq!(sum["answers"], counted("keyless_answers", "").await);
        assert_eq!(sum["input"], counted("keyless_tokens", r#"type="input""#).await);
        assert_eq!(sum["output"], counted("keyless_tokens", r#"type="output""#).await);
        assert_eq!(sum["cached"], counted("keyless_token_parts", r#"part="cached""#).await);
        assert_eq!(sum["reasoning"], counted("keyless_token_parts", r#"part="reasoning""#).await);
        // Each worker keeps what is less than a millionth of a unit.
        let units: f64 = sum["cost"].as_str().unwrap_or("0").parse().unwrap();
        let behind =
            units * 1e6 - f64::from(u32::try_from(counted("keyless_cost", "").await).unwrap());
        assert!((-0.001..2.0).contains(&behind), "{sum} {behind}");
    }
}
