//! The alert rules as documents, and what promtool says of them.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::{folder, program};

/// Says what is asked of a rule.
#[derive(Debug)]
pub(crate) struct Alert {
    pub(crate) name: String,
    severity: String,
    runbook: String,
}

/// Reads the committed rules.
pub(crate) fn alerts() -> Vec<Alert> {
    let document = yaml("alerts.yaml");
    let groups = document["groups"].as_array().unwrap().iter();
    let rules = groups.flat_map(|group| group["rules"].as_array().unwrap());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let alert = |rule: &Value| Alert {
        name: text(&rule["alert"]),
        severity: text(&rule["labels"]["severity"]),
        runbook: text(&rule["annotations"]["runbook_url"]),
    };
    rules.map(alert).collect()
}

fn yaml(name: &str) -> Value {
    serde_yaml_ng::from_str(&fs::read_to_string(folder().join(name)).unwrap()).unwrap()
}

/// Runs promtool in the folder of the rules.
fn promtool(arguments: [&str; 3]) {
    let output =
        Command::new(program("promtool")).args(arguments).current_dir(folder()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn promtool_takes_the_rules() {
    promtool(["check", "rules", "alerts.yaml"]);
}

#[test]
fn the_tests_of_the_rules_pass() {
    promtool(["test", "rules", "alerts.test.yaml"]);
}

#[test]
fn each_alert_has_a_test_in_which_it_fires_and_one_in_which_it_is_quiet() {
    let document = yaml("alerts.test.yaml");
    let (mut firing, mut quiet) = (BTreeSet::new(), BTreeSet::new());
    for test in document["tests"].as_array().unwrap() {
        for case in test["alert_rule_test"].as_array().unwrap() {
            let has_alerts = case["exp_alerts"].as_array().is_some_and(|alerts| !alerts.is_empty());
            let cases = if has_alerts { &mut firing } else { &mut quiet };
            cases.insert(case["alertname"].as_str().unwrap().to_owned());
        }
    }
    let all: BTreeSet<_> = alerts().into_iter().map(|alert| alert.name).collect();
    assert!(all.len() > 10, "{all:?}");
    assert_eq!(firing, all);
    assert_eq!(quiet, all);
}

#[test]
fn each_alert_has_a_heading_on_the_page_that_it_links_to() {
    let page = include_str!("../../docs/alerts.md");
    let headings: Vec<_> =
        page.lines().filter_map(|line| line.strip_prefix("## Keyless")).collect();
    let alerts = alerts();
    let names: Vec<_> =
        alerts.iter().map(|alert| alert.name.strip_prefix("Keyless").unwrap()).collect();
    assert_eq!(headings, names, "in the order of the rules");
    for alert in &alerts {
        assert_eq!(alert.runbook, format!("docs/alerts.md#{}", alert.name.to_lowercase()));
        assert!(["critical", "warning", "info"].contains(&&*alert.severity), "{alert:?}");
    }
}
