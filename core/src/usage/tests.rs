use proptest::prelude::*;
use serde_json::{Value, json};

use super::event::{Choices, Event, EventReader, Kind};
use super::report::Report;
use super::*;

const WHOLE: End = End::Whole { is_asked: false };
const ASKED: End = End::Whole { is_asked: true };

const FIRST: &str = r#"{"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0,"content_filter_results":{}}],"usage":null}"#;
const ROLE: &str = r#"{"choices":[{"delta":{"content":"","role":"assistant"},"index":0,"finish_reason":null}],"id":"c","usage":null}"#;
const HELLO: &str = r#"{"choices":[{"delta":{"content":"Hel\"lo"},"index":0,"finish_reason":null}],"id":"c","usage":null}"#;
const STOP: &str =
    r#"{"choices":[{"delta":{},"index":0,"finish_reason":"stop"}],"id":"c","usage":null}"#;
const USAGE: &str = r#"{"choices":[],"id":"c","usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18,"prompt_tokens_details":{"cached_tokens":3,"audio_tokens":2},"completion_tokens_details":{"reasoning_tokens":4,"audio_tokens":1}}}"#;

fn chat() -> Usage {
    Usage {
        input: 11,
        output: 7,
        cached: 3,
        cache_write: 0,
        audio_input: 2,
        reasoning: 4,
        audio_output: 1,
    }
}

/// The events of a stream, as the backends write them.
fn stream(events: &[&str]) -> String {
    events.iter().flat_map(|event| ["data: ", event, "\n\n"]).collect()
}

fn whole_chat() -> String {
    stream(&[FIRST, ROLE, HELLO, HELLO, STOP, USAGE, "[DONE]"])
}

/// What is counted of a stream that comes in these pieces.
fn of_stream<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, end: End) -> Counted {
    let mut reader = Reader::for_stream();
    for piece in pieces {
        reader.read(piece);
    }
    reader.finish(end, || 400)
}

fn of_text(text: &str, end: End) -> Counted {
    of_stream([text.as_bytes()], end)
}

fn of_plain(body: &Value) -> Counted {
    let mut reader = Reader::for_plain();
    reader.read(body.to_string().as_bytes());
    reader.finish(WHOLE, || 400)
}

fn exact(usage: Usage) -> Counted {
    Counted { basis: Basis::Exact, usage }
}

fn tokens(input: u64, output: u64) -> Usage {
    Usage { input, output, ..Usage::default() }
}

fn estimated(input: u64, output: u64) -> Counted {
    Counted { basis: Basis::Estimated, usage: tokens(input, output) }
}

const ABSENT: Counted = Counted {
    basis: Basis::Absent,
    usage: Usage {
        input: 0,
        output: 0,
        cached: 0,
        cache_write: 0,
        audio_input: 0,
        reasoning: 0,
        audio_output: 0,
    },
};

#[test]
fn a_plain_answer_says_what_it_used() {
    let usage: Value = serde_json::from_str(USAGE).unwrap();
    let body = json!({ "choices": [{ "message": { "content": "Hi" } }], "usage": usage["usage"] });
    assert_eq!(of_plain(&body), exact(chat()));
    let response = json!({
        "id": "r", "object": "response", "status": "completed", "output": [{ "usage": 1 }],
        "usage": {
            "input_tokens": 36, "input_tokens_details": { "cached_tokens": 9 },
            "output_tokens": 87, "output_tokens_details": { "reasoning_tokens": 64 },
        },
    });
    let expected = Usage { cached: 9, reasoning: 64, ..tokens(36, 87) };
    assert_eq!(of_plain(&response), exact(expected));
    let embeddings = json!({ "data": [], "usage": { "prompt_tokens": 8, "total_tokens": 8 } });
    assert_eq!(of_plain(&embeddings), exact(tokens(8, 0)));
    let images = json!({
        "created": 1, "data": [{ "b64_json": "AAAA" }],
        "usage": {
            "input_tokens": 50, "output_tokens": 4160, "total_tokens": 4210,
            "input_tokens_details": { "text_tokens": 10, "image_tokens": 40 },
        },
    });
    assert_eq!(of_plain(&images), exact(tokens(50, 4160)));
    let transcription = json!({
        "text": "usage", "usage": {
            "type": "tokens", "input_tokens": 14, "output_tokens": 45,
            "input_token_details": { "text_tokens": 4, "audio_tokens": 10 },
        },
    });
    assert_eq!(of_plain(&transcription), exact(Usage { audio_input: 10, ..tokens(14, 45) }));
    let message = json!({
        "type": "message", "content": [{ "type": "text", "text": "Hi" }],
        "usage": {
            "input_tokens": 10, "cache_creation_input_tokens": 100,
            "cache_read_input_tokens": 1000, "output_tokens": 5,
        },
    });
    let expected = Usage { cached: 1000, cache_write: 100, ..tokens(1110, 5) };
    assert_eq!(of_plain(&message), exact(expected));
}

#[test]
fn an_answer_that_does_not_say_it_is_absent() {
    for body in [
        json!({}),
        json!([]),
        json!([{ "usage": { "prompt_tokens": 1 } }]),
        json!({ "usage": null }),
        json!({ "usage": 7 }),
        json!({ "usage": {} }),
        json!({ "usage": [{ "prompt_tokens": 1 }] }),
        json!({ "usage": { "type": "duration", "seconds": 27 } }),
        json!({ "status": "queued", "background": true, "usage": null }),
        json!({ "data": { "usage": { "prompt_tokens": 1 } } }),
        json!({ "text": "\"usage\":{\"prompt_tokens\":1}" }),
        json!({ "choices": [{ "message": { "usage": { "prompt_tokens": 1 } } }] }),
    ] {
        assert_eq!(of_plain(&body), ABSENT, "{body}");
    }
    assert_eq!(Reader::for_plain().finish(WHOLE, || 400), ABSENT, "without a body");
    assert_eq!(of_stream([], WHOLE), ABSENT);
}

#[test]
fn a_count_that_is_none_is_not_believed() {
    for count in ["-1", "1.5", "\"1\"", "18446744073709551616", "[]", "{}", "true", "1e3"] {
        for usage in [
            format!(r#"{{"prompt_tokens":{count},"completion_tokens":2}}"#),
            format!(r#"{{"prompt_tokens":1,"completion_tokens":{count}}}"#),
            format!(r#"{{"prompt_tokens":1,"prompt_tokens_details":{{"cached_tokens":{count}}}}}"#),
        ] {
            let mut reader = Reader::for_plain();
            reader.read(format!(r#"{{"usage":{usage}}}"#).as_bytes());
            assert_eq!(reader.finish(WHOLE, || 400), ABSENT, "{usage}");
        }
    }
    let most = json!({ "usage": { "prompt_tokens": u64::MAX, "completion_tokens": 0 } });
    assert_eq!(of_plain(&most), exact(tokens(u64::MAX, 0)));
}

#[test]
fn zero_is_a_count() {
    let body = json!({ "usage": { "prompt_tokens": 0, "completion_tokens": 0 } });
    assert_eq!(of_plain(&body), exact(tokens(0, 0)));
}

#[test]
fn a_usage_that_is_too_long_is_not_believed() {
    let mut usage = json!({ "prompt_tokens": 1, "note": "n" });
    assert_eq!(of_plain(&json!({ "usage": usage })), exact(tokens(1, 0)));
    usage["note"] = "n".repeat(5000).into();
    assert_eq!(of_plain(&json!({ "usage": usage })), ABSENT);
}

#[test]
fn a_stream_may_be_split_anywhere() {
    let text = whole_chat();
    for at in 0..=text.len() {
        let (one, other) = text.as_bytes().split_at(at);
        assert_eq!(of_stream([one, other], WHOLE), exact(chat()), "{at}");
    }
    let bytes = text.as_bytes().chunks(1);
    assert_eq!(of_stream(bytes, WHOLE), exact(chat()));
}

#[test]
fn a_plain_answer_may_be_split_anywhere() {
    let body = USAGE.replace("[]", r#"[{"message":{"content":"a \"usage\" \\"}}]"#);
    for at in 0..=body.len() {
        let mut reader = Reader::for_plain();
        let (one, other) = body.as_bytes().split_at(at);
        reader.read(one);
        reader.read(other);
        assert_eq!(reader.finish(WHOLE, || 400), exact(chat()), "{at}");
    }
}

#[test]
fn lines_end_in_three_ways_and_other_fields_are_ignored() {
    let (before, after) = USAGE.split_at(30);
    let extra = [HELLO, "x", ": usage", "event: message", "id: 1", "data", "retry: 5"];
    let text = format!(
        ": a comment\n\ndata: {}\n\n{}\ndata: {before}\ndata:{after}\n\n\ndata: [DONE]\n\n",
        FIRST,
        extra[2..].join("\n")
    );
    for end in ["\n", "\r", "\r\n"] {
        let text = text.replace('\n', end);
        for at in 0..=text.len() {
            let (one, other) = text.as_bytes().split_at(at);
            assert_eq!(of_stream([one, other], WHOLE), exact(chat()), "{at} {end:?}");
        }
    }
}

#[test]
fn the_end_of_a_stream_may_be_missing() {
    for text in [
        stream(&[HELLO, USAGE]),
        stream(&[HELLO, USAGE]).trim_end().to_owned(),
        format!("{}data: {USAGE}\n", stream(&[HELLO])),
        stream(&[HELLO, USAGE, "[DONE]"]),
    ] {
        assert_eq!(of_text(&text, WHOLE), exact(chat()), "{text}");
    }
}

#[test]
fn a_stream_without_usage_was_asked_for_it_or_not() {
    let silent = stream(&[FIRST, ROLE, HELLO, HELLO, STOP, "[DONE]"]);
    assert_eq!(of_text(&silent, WHOLE), ABSENT);
    assert_eq!(of_text(&silent, ASKED), estimated(100, 2));
    let with_error = stream(&[HELLO, r#"{"error":{"message":"busy","code":"server_error"}}"#]);
    assert_eq!(of_text(&with_error, ASKED), estimated(100, 1));
    let tricks = [
        r#"{"choices":[{"delta":{"content":"\"usage\":{\"prompt_tokens\":1}"}}]}"#,
        r#"{"choices":[{"usage":{"prompt_tokens":1},"delta":{"content":"a","usage":{"prompt_tokens":1}}}]}"#,
    ];
    assert_eq!(of_text(&stream(&tricks), WHOLE), ABSENT);
}

#[test]
fn the_last_usage_counts_and_nothing_is_summed() {
    let with = |choices: &str, input: u64, output: u64| {
        format!(
            r#"{{"choices":{choices},"usage":{{"prompt_tokens":{input},"completion_tokens":{output}}}}}"#
        )
    };
    let filled = r#"[{"delta":{"content":"a"}}]"#;
    let chunks = [with(filled, 5, 1), with(filled, 5, 2), with("[]", 5, 3)];
    let chunks: Vec<_> = chunks.iter().map(String::as_str).collect();
    assert_eq!(of_text(&stream(&chunks), WHOLE), exact(tokens(5, 3)));
    assert_eq!(of_text(&stream(&chunks), End::Broken), exact(tokens(5, 3)));
    assert_eq!(of_text(&stream(&chunks[..2]), WHOLE), exact(tokens(5, 2)));
    assert_eq!(of_text(&stream(&chunks[..2]), End::Broken), estimated(5, 2));
    let partial = r#"{"choices":[{"delta":{}}],"usage":{"completion_tokens":90}}"#;
    let last = with("[]", 4, 2);
    assert_eq!(of_text(&stream(&[partial, &last]), WHOLE), exact(tokens(4, 2)));
    let twice = r#"{"usage":{"prompt_tokens":1},"choices":[],"usage":{"prompt_tokens":2}}"#;
    assert_eq!(of_text(&stream(&[twice]), WHOLE), exact(tokens(2, 0)));
}

#[test]
fn a_stream_that_breaks_off_is_estimated_and_never_zero() {
    let text = whole_chat();
    let final_at = text.find("}}}\n\ndata: [DONE]").unwrap() + 5;
    for at in 0..text.len() {
        let counted = of_text(text.split_at(at).0, End::Broken);
        if at < final_at - 2 {
            let contents = text
                .split_at(at)
                .0
                .matches(r#"Hel\"lo"},"index":0,"finish_reason":null}],"id":"c","usage":null}"#);
            let complete = contents.count() as u64;
            assert_eq!(counted.basis, Basis::Estimated, "{at}");
            assert_eq!(counted.usage.input, 100);
            assert!(
                (complete.saturating_sub(1)..=complete).contains(&counted.usage.output),
                "{at}"
            );
        } else if at >= final_at {
            assert_eq!(counted, exact(chat()), "{at}");
        }
    }
}

#[test]
fn a_guess_by_size_is_bounded() {
    assert_eq!(unanswered(0).usage, tokens(0, 0));
    assert_eq!(unanswered(1).usage, tokens(1, 0));
    assert_eq!(unanswered(u64::MAX).usage, tokens(32_768, 0));
    assert_eq!(unanswered(400), estimated(100, 0));
}

#[test]
fn a_response_says_it_in_its_last_event() {
    let usage = r#"{"input_tokens":30,"input_tokens_details":{"cached_tokens":2},"output_tokens":20,"output_tokens_details":{"reasoning_tokens":8}}"#;
    let begin = [
        r#"{"type":"response.created","response":{"id":"r","usage":null}}"#,
        r#"{"type":"response.output_text.delta","delta":"Hi"}"#,
        r#"{"type":"response.output_text.delta","delta":" you"}"#,
        r#"{"type":"response.output_text.done","text":"Hi you"}"#,
    ];
    let expected = Usage { cached: 2, reasoning: 8, ..tokens(30, 20) };
    for kind in ["completed", "incomplete", "failed"] {
        let last = format!(
            r#"{{"type":"response.{kind}","response":{{"output":[{{"text":"Hi"}}],"usage":{usage}}}}}"#
        );
        let events: Vec<_> = begin.into_iter().chain([last.as_str()]).collect();
        assert_eq!(of_text(&stream(&events), WHOLE), exact(expected), "{kind}");
        assert_eq!(of_text(&stream(&events), End::Broken), exact(expected), "{kind}");
    }
    assert_eq!(of_text(&stream(&begin), End::Broken), estimated(100, 2));
    assert_eq!(of_text(&stream(&begin), WHOLE), estimated(100, 2), "it always says it");
    let long = "x".repeat(5 << 20);
    let last = format!(
        r#"{{"response":{{"output":["{long}"],"usage":{usage}}},"type":"response.completed"}}"#
    );
    let text = stream(&[&last]);
    assert_eq!(of_stream(text.as_bytes().chunks(16_384), End::Broken), exact(expected));
}

#[test]
fn a_message_of_anthropic_says_its_input_first_and_its_output_last() {
    let start = r#"{"type":"message_start","message":{"id":"m","usage":{"input_tokens":25,"cache_creation_input_tokens":4,"cache_read_input_tokens":6,"output_tokens":1}}}"#;
    let delta = |text: &str| {
        format!(
            r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":"{text}"}}}}"#
        )
    };
    let end = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":15}}"#;
    let stop = r#"{"type":"message_stop"}"#;
    let (one, two) = (delta("Hello"), delta(" you"));
    let all = [start, one.as_str(), two.as_str(), end, stop];
    let begun = Usage { cached: 6, cache_write: 4, ..tokens(35, 2) };
    assert_eq!(of_text(&stream(&all), WHOLE), exact(Usage { output: 15, ..begun }));
    assert_eq!(of_text(&stream(&all[..4]), End::Broken), exact(Usage { output: 15, ..begun }));
    let broken = Counted { basis: Basis::Estimated, usage: begun };
    assert_eq!(of_text(&stream(&all[..3]), End::Broken), broken);
    assert_eq!(of_text(&stream(&all[..3]), WHOLE), broken);
}

#[test]
fn legacy_completions_and_tool_calls_are_content_too() {
    let events = [
        r#"{"choices":[{"text":"a","index":0}]}"#,
        r#"{"choices":[{"text":"","index":0}]}"#,
        r#"{"choices":[{"delta":{"tool_calls":[{"function":{"arguments":"{\"a"}}]}}]}"#,
        r#"{"choices":[{"delta":{"refusal":"no"}}]}"#,
        r#"{"choices":[{"delta":{"content":null},"logprobs":{"content":[]}}]}"#,
    ];
    assert_eq!(of_text(&stream(&events), ASKED), estimated(100, 3));
}

#[test]
fn eight_megabytes_of_numbers_are_read_in_the_memory_of_one_usage() {
    let mut reader = Reader::for_plain();
    let numbers = b"-0.0123456,".repeat(1000);
    reader.read(br#"{"object":"list","data":[{"embedding":["#);
    for _ in 0..800 {
        reader.read(&numbers);
    }
    reader.read(br#"0]}],"usage":{"prompt_tokens":9000,"total_tokens":9000}}"#);
    assert_eq!(reader.finish(WHOLE, || 400), exact(tokens(9000, 0)));
}

#[test]
fn names_are_compared_as_json_means_them() {
    let usage = "{\"\\u0075sage\":{\"prompt_\\u0074okens\":3}}";
    let mut reader = Reader::for_plain();
    reader.read(usage.as_bytes());
    assert_eq!(reader.finish(WHOLE, || 400), exact(tokens(3, 0)));
}

#[test]
fn the_content_type_says_how_an_answer_is_read() {
    let kind = |text: &str| Reader::of(text.as_bytes()).map(|reader| reader.is_stream());
    assert_eq!(kind("application/json"), Some(false));
    assert_eq!(kind("Application/JSON; charset=utf-8"), Some(false));
    assert_eq!(kind("text/event-stream; charset=utf-8"), Some(true));
    for other in ["", "text/plain", "audio/mpeg", "application/json-seq", "multipart/form-data"] {
        assert_eq!(kind(other), None, "{other}");
    }
}

/// What one JSON text says, by a parser that keeps all of it.
fn by_serde(value: &Value) -> Event {
    let mut event = Event::default();
    let Value::Object(members) = value else { return event };
    let is_content = |text: &Value| text.as_str().is_some_and(|text| !text.is_empty());
    event.kind = match members.get("type").and_then(Value::as_str) {
        Some("response.completed") => Kind::Final,
        Some("message_start") => Kind::MessageBegins,
        Some("message_delta") => Kind::MessageEnds,
        Some(name) if name.starts_with("response.") => Kind::Typed,
        _ => Kind::Other,
    };
    event.is_about_prompt = members.contains_key("prompt_filter_results");
    event.choices = match members.get("choices") {
        Some(Value::Array(items)) if items.is_empty() => Choices::Empty,
        Some(Value::Array(_) | Value::Object(_)) => Choices::Filled,
        _ => Choices::Absent,
    };
    for region in ["choices", "delta"].iter().filter_map(|name| members.get(*name)) {
        event.has_content |= has_content(region, &is_content);
    }
    event.has_content |= members.get("delta").is_some_and(is_content);
    let inner = |name: &str| members.get(name)?.as_object()?.get("usage");
    // In the order in which a sorted map is written.
    let usage = members.get("usage").or(inner("response")).or(inner("message"));
    event.usage = usage
        .filter(|usage| usage.is_object())
        .and_then(|usage| Report::parse(usage.to_string().as_bytes()));
    event
}

fn has_content(value: &Value, is_content: &dyn Fn(&Value) -> bool) -> bool {
    match value {
        Value::Object(members) => members.iter().any(|(name, value)| {
            let is_named = ["content", "text", "arguments"].contains(&name.as_str());
            (is_named && is_content(value)) || has_content(value, is_content)
        }),
        Value::Array(items) => items.iter().any(|item| has_content(item, is_content)),
        Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => false,
    }
}

fn name() -> impl Strategy<Value = String> {
    let names = [
        "usage",
        "response",
        "message",
        "choices",
        "delta",
        "type",
        "prompt_filter_results",
        "content",
        "text",
        "prompt_tokens",
        "completion_tokens",
        "input_tokens",
        "a",
        "",
    ];
    prop_oneof![9 => prop::sample::select(names.to_vec()).prop_map(str::to_owned), 1 => any::<String>()]
}

fn document() -> impl Strategy<Value = Value> {
    let texts = ["", "message_start", "message_delta", "response.completed", "response.x", "a\"\\"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i32>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f32>().prop_map(Value::from),
        prop::sample::select(texts.to_vec()).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 6, |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            3 => prop::collection::vec((name(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn a_text_in_any_pieces_is_read_as_a_parser_reads_it(
        document in document(),
        is_pretty in any::<bool>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let text = if is_pretty {
            serde_json::to_string_pretty(&document).unwrap()
        } else {
            document.to_string()
        };
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        cuts.sort_unstable();
        let mut reader = EventReader::default();
        let mut from = 0;
        for to in cuts.into_iter().chain([text.len()]) {
            reader.read(&text.as_bytes()[from..to]);
            from = to;
        }
        prop_assert!(reader.is_done());
        prop_assert_eq!(reader.take(), by_serde(&document), "{}", text);
    }

    #[test]
    fn arbitrary_bytes_harm_nothing(pieces in prop::collection::vec(any::<Vec<u8>>(), 0..6)) {
        for mut reader in [Reader::for_plain(), Reader::for_stream()] {
            for piece in &pieces {
                reader.read(piece);
            }
            let counted = reader.finish(WHOLE, || 400);
            prop_assert!(matches!(counted.basis, Basis::Absent | Basis::Estimated | Basis::Exact));
        }
    }
}
