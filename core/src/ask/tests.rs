use serde_json::{Value, json};

use super::*;
use crate::usage::{Basis, End, Reader};

/// What passes of a body that comes in these pieces, and who asked.
fn edited<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (String, Asked) {
    let mut editor = BodyEditor::default();
    let mut passed = Vec::new();
    for piece in pieces {
        passed.extend_from_slice(editor.pass(piece, false).unwrap_or(piece));
    }
    passed.extend_from_slice(editor.pass(&[], true).unwrap_or_default());
    assert!(!editor.is_holding());
    (String::from_utf8(passed).unwrap(), editor.asked())
}

fn edited_text(text: &str) -> (String, Asked) {
    edited([text.as_bytes()])
}

#[test]
fn a_streamed_chat_is_made_to_say_what_it_used() {
    let asks = [
        r#"{"stream":true}"#,
        r#"{"messages":[{"content":"stream_options\" }{"}],"stream":true}"#,
        r#"{"stream":true,"stream_options":{}}"#,
        r#"{"stream":true,"stream_options":null}"#,
        r#"{"stream":true,"stream_options":{"include_usage":false}}"#,
        r#"{"stream":true,"stream_options":{"include_usage":null},"n":1}"#,
        r#"{"stream":true,"stream_options":{"other":[1,{"a":"}"}]}}"#,
        r#"{"stream_options" : {"other":1} , "messages":[], "stream" : true }"#,
        r#"{"stream_options":null,"stream":true}"#,
        "\r\n {\n  \"stream\": true\n} \n\t",
        r#"{"\u0073tream":true,"str\u0065am_options":{}}"#,
    ];
    for text in asks {
        let (expected, _) = edited_text(text);
        let before: Value = serde_json::from_str(text).unwrap();
        let mut whole = before.clone();
        if !whole["stream_options"].is_object() {
            whole["stream_options"] = json!({});
        }
        whole["stream_options"]["include_usage"] = true.into();
        let after: Value = serde_json::from_str(&expected).unwrap();
        assert_eq!(after, whole, "{text}");
        for at in 0..=text.len() {
            let (one, other) = text.as_bytes().split_at(at);
            assert_eq!(edited([one, other]), (expected.clone(), Asked::ByGateway), "{text} {at}");
        }
        let bytes = text.as_bytes().chunks(1);
        assert_eq!(edited(bytes), (expected, Asked::ByGateway), "{text}");
    }
}

#[test]
fn what_asks_already_or_is_no_streamed_chat_passes_byte_for_byte() {
    let (no, by_caller) = (Asked::No, Asked::ByCaller);
    let rows = [
        (r#"{"stream":true,"stream_options":{"include_usage":true}}"#, by_caller),
        (r#"{"stream_options":{ "include_usage" : true },"stream":true}"#, by_caller),
        (r#"{"stream":false}"#, no),
        (r#"{"stream":null}"#, no),
        (r#"{"stream":false,"stream_options":null}"#, no),
        (r#"{"stream_options":null,"stream":false}"#, no),
        (r#"{"stream_options":{},"n":1}"#, no),
        ("{}", no),
        (r#"{"messages":[{"stream":true}]}"#, no),
        (r#"{"stream":"true"}"#, no),
        (r#"{"stream":1}"#, no),
        (r#"{"stream":[true]}"#, no),
        (r#"{"stream":{"a":true}}"#, no),
        (r#"{"stream":true,"stream":true}"#, no),
        (r#"{"stream":true,"stream_options":{"include_usage":"no"}}"#, no),
        (r#"{"stream":true,"stream_options":{"a":1,"a":2}}"#, no),
        (r#"{"stream":true,"stream_options":7}"#, no),
        (r#"{"stream":true}{"#, no),
        (r#"{"stream":true}}"#, no),
        (r#"{"stream":true} x"#, no),
        (r#"{"stream":true"#, no),
        (r#"{"stream"::true}"#, no),
        (r#"{"stream":tr ue}"#, no),
        (r#"[{"stream":true}]"#, no),
        (r#""stream""#, no),
        ("", no),
        ("no JSON", no),
    ];
    for (text, asked) in rows {
        for at in 0..=text.len() {
            let (one, other) = text.as_bytes().split_at(at);
            assert_eq!(edited([one, other]), (text.to_owned(), asked), "{text} {at}");
        }
    }
}

#[test]
fn of_two_stream_options_the_second_passes_as_it_came() {
    for second in ["{}", r#"{"include_usage":false}"#] {
        let text = format!(r#"{{"stream":true,"stream_options":{{}},"stream_options":{second}}}"#);
        let (passed, asked) = edited_text(&text);
        assert!(passed.ends_with(&format!(r#""stream_options":{second}}}"#)), "{passed}");
        assert_eq!(asked, Asked::No, "so its answer is left as it is");
    }
    let before = r#"{"stream_options":{},"stream_options":{},"stream":true}"#;
    assert_eq!(edited_text(before), (before.to_owned(), Asked::No));
}

#[test]
fn options_that_are_too_long_pass_as_they_came() {
    let long = "x".repeat(2000);
    let text = format!(r#"{{"stream":true,"stream_options":{{"a":"{long}"}}}}"#);
    assert_eq!(edited_text(&text), (text.clone(), Asked::No));
    let late = format!(r#"{{"stream_options":{{}},"a":"{}","stream":true}}"#, "x".repeat(70_000));
    assert_eq!(edited(late.as_bytes().chunks(1000)), (late.clone(), Asked::No));
    let fine = format!(r#"{{"stream_options":{{}},"a":"{}","stream":true}}"#, "x".repeat(60_000));
    assert_eq!(edited(fine.as_bytes().chunks(1000)).1, Asked::ByGateway);
}

#[test]
fn a_long_body_passes_at_once() {
    let mut editor = BodyEditor::default();
    assert_eq!(editor.pass(br#"{"stream":true,"messages":[{"content":""#, false), None);
    for _ in 0..100 {
        assert_eq!(editor.pass(&[b'x'; 10_000], false), None);
        assert!(!editor.is_holding());
    }
    assert_eq!(editor.pass(br#""}]}"#, false), Some(&br#""}]"#[..]));
    assert!(editor.is_holding());
    let end = [&br#","stream_options":{"include_usage":true}"#[..], b"}"].concat();
    assert_eq!(editor.pass(b"", true), Some(&end[..]));
}

fn head(path: &str, content_type: &str, more: &[(&str, &str)]) -> Head {
    let pairs = [(":method", "POST"), (":path", path), ("content-type", content_type)];
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), value.as_bytes().to_vec());
    Head::new(pairs.iter().chain(more).map(owned).collect())
}

#[test]
fn only_chats_that_know_the_question_are_asked() {
    let azure = |query: &str| format!("/openai/deployments/gpt-4o/chat/completions{query}");
    let asks = |path: &str| is_askable(&head(path, "application/json", &[]));
    for query in [
        "?api-version=2024-10-21",
        "?a=1&api-version=2024-09-01-preview",
        "?api-version=2025-04-01-preview",
    ] {
        assert!(asks(&azure(query)), "{query}");
    }
    assert!(asks("/openai/v1/chat/completions"));
    assert!(asks("/on-prem/v1/chat/completions"));
    for query in [
        "",
        "?api-version=",
        "?api-version=2024-08-01-preview",
        "?api-version=2023-05-15",
        "?api-version=2024-10-21&api-version=2023-05-15",
        "?API-VERSION=2024-10-21",
    ] {
        assert!(!asks(&azure(query)), "{query}");
    }
    for path in ["/openai/v1/responses", "/openai/v1/embeddings", "/openai/v1/completions", "//"] {
        assert!(!asks(path), "{path}");
    }
    let v1 = "/openai/v1/chat/completions";
    assert!(!is_askable(&head(v1, "text/plain", &[])));
    assert!(!is_askable(&head(v1, "application/json", &[("content-encoding", "gzip")])));
    assert!(!is_askable(&head(v1, "application/json", &[("trailer", "x")])));
    assert!(!is_askable(&head(v1, "application/json", &[]).without_body()));
}

const FIRST: &str = r#"data: {"choices":[],"prompt_filter_results":[],"usage":null}"#;
const HELLO: &str = r#"data: {"choices":[{"delta":{"content":"Hello"}}],"usage":null}"#;
const USAGE: &str =
    r#"data: {"choices":[],"id":"c","usage":{"prompt_tokens":3,"completion_tokens":1}}"#;
const DONE: &str = "data: [DONE]";

/// What passes of an answer that comes in these pieces, each by itself.
fn filtered<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
    let mut reader = Reader::for_stream();
    let mut filter = EventFilter::default();
    let mut passed = Vec::new();
    for piece in pieces {
        let rest = filter.pass(&mut reader, piece, false).unwrap_or(piece);
        passed.push(String::from_utf8_lossy(rest).into_owned());
    }
    let rest = filter.pass(&mut reader, &[], true).unwrap_or_default();
    passed.push(String::from_utf8_lossy(rest).into_owned());
    let counted = reader.finish(End::Whole { is_asked: true }, || 0);
    assert_eq!((counted.basis, counted.usage.input), (Basis::Exact, 3), "it is read all the same");
    passed
}

fn events(events: &[&str], end: &str) -> String {
    events.iter().flat_map(|event| [*event, end]).collect()
}

#[test]
fn the_event_that_was_asked_for_is_taken_out_wherever_it_is_split() {
    for end in ["\n\n", "\r\n\r\n", "\r\r"] {
        let text = events(&[FIRST, HELLO, HELLO, USAGE, DONE], end);
        let expected = events(&[FIRST, HELLO, HELLO, DONE], end);
        for at in 0..=text.len() {
            let (one, other) = text.as_bytes().split_at(at);
            let passed = filtered([one, other]).concat();
            // A line feed that belongs to a return before the split is an empty line of its own.
            let same = passed == expected || passed == expected.replace(DONE, &format!("\n{DONE}"));
            assert!(same, "{at}: {passed:?}");
        }
        let passed = filtered(text.as_bytes().chunks(1)).concat();
        assert_eq!(passed.replace('\r', "\n").matches("data: ").count(), 4, "{passed}");
        assert!(!passed.contains("prompt_tokens"));
    }
}

#[test]
fn an_event_that_is_not_whole_is_held_only_while_it_could_be_that_one() {
    let (hello, more) = HELLO.split_at(18);
    let (usage, rest) = USAGE.split_at(30);
    let pieces = [hello, more, "\n\n", usage, rest, "\n\n", DONE, "\n\n"];
    let passed = filtered(pieces.map(str::as_bytes));
    let expected = ["", HELLO, "\n\n", "", "", "", "", "data: [DONE]\n\n", ""];
    assert_eq!(passed, expected);
}

#[test]
fn nothing_is_held_of_events_that_are_whole() {
    let hello = format!("{HELLO}\n\n");
    let mut reader = Reader::for_stream();
    let mut filter = EventFilter::default();
    for _ in 0..3 {
        assert_eq!(filter.pass(&mut reader, hello.as_bytes(), false), None);
    }
    let long = format!("data: {{\"id\":\"{}", "x".repeat(9000));
    assert_eq!(filter.pass(&mut reader, long.as_bytes(), false), None, "too long for that one");
    assert_eq!(filter.pass(&mut reader, b"x\",\"choices\":[]}\n\n", false), None);
}

#[test]
fn an_event_that_the_end_cuts_off_passes() {
    let mut reader = Reader::for_stream();
    let mut filter = EventFilter::default();
    assert_eq!(filter.pass(&mut reader, &USAGE.as_bytes()[..20], false), Some(&[][..]));
    assert_eq!(filter.pass(&mut reader, b"", true), Some(&USAGE.as_bytes()[..20]));
}
