//! The dashboard as a document.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::{folder, is_update, program};

/// Reads the committed dashboard.
pub(crate) fn committed() -> Value {
    serde_json::from_slice(&fs::read(folder().join("keyless.json")).unwrap()).unwrap()
}

/// Every query of every panel, with its title, as Grafana sends it with all choices at "All".
pub(crate) fn queries(board: &Value) -> Vec<(String, String)> {
    let mut queries = Vec::new();
    for panel in board["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let mut query = target["expr"].as_str().unwrap().to_owned();
            for variable in ["$instance", "$issuer", "$route"] {
                query = query.replace(&format!("\"{variable}\""), "\".*\"");
            }
            let query = query.replace("$__rate_interval", "30s").replace("$__range", "5m");
            assert!(!query.contains('$'), "a variable that is unknown here: {query}");
            queries.push((panel["title"].as_str().unwrap().to_owned(), query));
        }
    }
    queries
}

/// What the variables offer: the metric and the label of each.
pub(crate) fn variables(board: &Value) -> Vec<(String, String)> {
    let variables = board["templating"]["list"].as_array().unwrap().iter();
    let asked =
        variables.filter_map(|variable| variable["query"].as_str()?.strip_prefix("label_values("));
    let asked = asked.map(|query| query.strip_suffix(')').unwrap().split_once(", ").unwrap());
    asked.map(|(metric, label)| (metric.to_owned(), label.to_owned())).collect()
}

#[test]
fn the_dashboard_is_what_the_script_writes() {
    let mut script = Command::new(program("python"));
    let script = script.arg("-I").arg(folder().join("dashboard.py")).stderr(Stdio::inherit());
    let output = script.output().unwrap();
    assert!(output.status.success());
    let written = String::from_utf8(output.stdout).unwrap();
    if is_update() {
        fs::write(folder().join("keyless.json"), &written).unwrap();
    }
    let committed = fs::read_to_string(folder().join("keyless.json")).unwrap();
    assert!(committed == written, "write it again: UPDATE=1 make dashboards");
}

#[test]
fn each_panel_says_what_it_shows_and_has_a_place_of_its_own() {
    let board = committed();
    let mut places = Vec::new();
    for panel in board["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        let place = &panel["gridPos"];
        let edge = |name: &str| place[name].as_u64().unwrap();
        let (left, top) = (edge("x"), edge("y"));
        let (right, bottom) = (left + edge("w"), top + edge("h"));
        assert!(right <= 24, "{title}");
        for (other, l, t, r, b) in &places {
            assert!(right <= *l || *r <= left || bottom <= *t || *b <= top, "{title} and {other}");
        }
        places.push((title.to_owned(), left, top, right, bottom));
        if panel["type"] != "row" {
            assert!(!panel["description"].as_str().unwrap_or_default().is_empty(), "{title}");
        }
    }
    assert!(places.len() > 20, "{places:?}");
}
