use keyless_core::price::{Cost, Price, TokenPrice};
use keyless_core::usage::{Counting, Usage};
use serde_json::json;

use super::{accepted, assert_refused, assert_texts_refused, message};

const MONEY: &str =
    "a decimal number such as \"2.50\", below 10000000 and with up to 6 digits after the point";

#[test]
fn a_part_without_a_price_has_that_of_the_whole() {
    let money = |text| TokenPrice::parse(text).unwrap();
    let prices = json!({ "o3": { "input": "2", "output": "8" } });
    let config = accepted("/prices", prices);
    let (input, output) = (money("2"), money("8"));
    let expected = Price {
        input,
        cached_input: input,
        cache_write: input,
        audio_input: input,
        output,
        audio_output: output,
    };
    assert_eq!(config.prices.of("o3"), Some(&expected));

    let config = accepted("/prices/gpt-4o/cache_write", json!("3.75"));
    let usage = Usage { input: 3, cached: 1, cache_write: 1, output: 1, ..Usage::default() };
    let cost = config.prices.of("gpt-4o").unwrap().cost(&usage);
    assert_eq!(cost, Cost::from_pico_units(2_500_000 + 1_250_000 + 3_750_000 + 10_000_000));
}

#[test]
fn a_price_that_is_no_exact_number_is_refused() {
    let texts = ["", "2,5", "-1", "+1", ".5", "1.", "1e3", "0.0000001", "10000000", " 1", "1 EUR"];
    assert_texts_refused("/prices/gpt-4o/input", MONEY, &texts);
    assert_refused("/prices/gpt-4o/output", json!(10), "expected a text, found 10");
    let problem = "prices.gpt-4o: expected the key `output`, found none";
    assert_eq!(message("/prices/gpt-4o/output", None), problem);
}

#[test]
fn a_deployment_with_a_price_is_a_label() {
    let price = json!({ "input": "1", "output": "1" });
    let problem = "expected 1 to 64 of A-Z a-z 0-9 . _ -, found the name \"a b\"";
    assert_refused("/prices/a b", price, problem);
}

#[test]
fn a_route_says_whether_its_answers_are_read() {
    let config = accepted("/routes/1/usage", json!("read"));
    let counting: Vec<_> = config.routes.iter().map(|route| route.counting).collect();
    assert_eq!(counting, [Some(Counting::Ask), Some(Counting::Read), None]);
    assert_texts_refused("/routes/0/usage", "one of \"read\", \"ask\"", &["", "Read", "none"]);
    let probe = json!({
        "name": "ready", "match": { "methods": ["GET"], "path": "/ready" }, "health": true,
        "usage": "read"
    });
    let expected = "no such key on a health route, which the gateway itself answers";
    let problem = format!("routes[2].usage: expected {expected}, found one");
    assert_eq!(message("/routes/2", Some(probe)), problem);
}
