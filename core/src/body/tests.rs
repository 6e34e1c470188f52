use super::*;

fn head(headers: &[(&str, &str)]) -> Head {
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), value.as_bytes().to_vec());
    Head::new(headers.iter().map(pair).collect())
}

fn format(content_type: &str) -> Result<Format, Denial> {
    Format::of(&head(&[("content-type", content_type)]))
}

fn json(body: &str) -> Result<Option<String>, Denial> {
    model(&Format::Json, body.as_bytes())
}

fn form(body: &str) -> Result<Option<String>, Denial> {
    model(&Format::Form("B".to_owned()), body.as_bytes())
}

/// A form with these parts, each written with line feeds alone.
fn parts(parts: &[&str]) -> Result<Option<String>, Denial> {
    let part = |part: &&str| format!("--B\r\n{}\r\n", part.replace('\n', "\r\n"));
    form(&format!("{}--B--\r\n", parts.iter().map(part).collect::<String>()))
}

#[test]
fn a_body_is_json_or_a_form() {
    for text in ["application/json", "Application/JSON; charset=utf-8", "application/json ;a=b"] {
        assert_eq!(format(text), Ok(Format::Json), "{text}");
    }
    let boundaries = [
        ("multipart/form-data; boundary=B", "B"),
        ("Multipart/Form-Data;charset=utf-8; BOUNDARY=\"a:b=c?d\"", "a:b=c?d"),
        (
            "multipart/form-data; boundary=----WebKitFormBoundary7MA4 ;",
            "----WebKitFormBoundary7MA4",
        ),
    ];
    for (text, boundary) in boundaries {
        assert_eq!(format(text), Ok(Format::Form(boundary.to_owned())), "{text}");
    }
}

#[test]
fn a_body_that_cannot_be_read_in_one_way_is_unsupported() {
    let long = format!("multipart/form-data; boundary={}", "b".repeat(71));
    let types = [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonl",
        "json",
        "application/json, application/json",
        "multipart/form-data",
        "multipart/mixed; boundary=B",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\"\"",
        "multipart/form-data; boundary=A; boundary=B",
        "multipart/form-data; boundary=A, B",
        "multipart/form-data; boundary=A; boundary*0=B",
        "multipart/form-data; boundary*=utf-8''B",
        "application/json; charset=utf-7",
        "application/json; charset=utf-8; charset=utf-16",
        "application/json; charset*=utf-7",
        "application/json; a=b, text/plain",
        "multipart/form-data; boundary=\"A",
        "multipart/form-data; boundary=\"A\\B\"",
        "multipart/form-data; boundary=\"A\" B",
        "multipart/form-data boundary=B",
        &long,
    ];
    for text in types {
        assert_eq!(format(text), Err(Denial::BodyUnsupported), "{text}");
    }
    let json = ("content-type", "application/json");
    let heads = [vec![], vec![json, json], vec![json, ("content-encoding", "gzip")]];
    for headers in heads.into_iter().chain([vec![json, ("upgrade", "websocket")]]) {
        assert_eq!(Format::of(&head(&headers)), Err(Denial::BodyUnsupported), "{headers:?}");
    }
}

#[test]
fn a_body_beyond_the_limit_is_refused_by_its_length() {
    let of = |length: &str| {
        Format::of(&head(&[("content-type", "application/json"), ("content-length", length)]))
    };
    assert_eq!(of("33554432"), Ok(Format::Json));
    assert_eq!(of("33554433"), Err(Denial::BodyTooLarge));
    let padded = |length: usize| {
        let mut body = br#"{"model":"a"}"#.to_vec();
        body.resize(length, b' ');
        model(&Format::Json, &body)
    };
    assert_eq!(padded(MAX_BODY), Ok(Some("a".into())));
    assert_eq!(padded(MAX_BODY + 1), Err(Denial::BodyTooLarge));
}

#[test]
fn the_model_is_a_member_of_the_object_wherever_it_stands() {
    let bodies = [
        r#"{"model":"gpt-4o"}"#,
        r#" {"messages": [{"model": "other", "content": "\ud800"}], "model": "gpt-4o", "n": 1} "#,
        r#"{"\u006dodel":"\u0067pt-4o","metadata":{"model":"other","model":2}}"#,
    ];
    for body in bodies {
        assert_eq!(json(body), Ok(Some("gpt-4o".into())), "{body}");
    }
    for body in ["{}", r#"{"input":"model"}"#, r#"{"a":{"model":"gpt-4o"}}"#, r#"{"models":"a"}"#] {
        assert_eq!(json(body), Ok(None), "{body}");
    }
    assert_eq!(
        json(r#"{"model":"meta-llama/Llama-3.1:8b"}"#),
        Ok(Some("meta-llama/Llama-3.1:8b".into()))
    );
}

#[test]
fn a_model_that_is_not_one_plain_text_is_malformed() {
    let long = format!(r#"{{"model":"{}"}}"#, "m".repeat(257));
    let bodies = [
        r#"{"model":"a","model":"a"}"#,
        r#"{"model":"a","\u006dodel":"b"}"#,
        r#"{"model":"a","Model":"b"}"#,
        r#"{"MODEL":"a"}"#,
        r#"{"model":["a"]}"#,
        r#"{"model":{"a":1}}"#,
        r#"{"model":null}"#,
        r#"{"model":1}"#,
        r#"{"model":1.5}"#,
        r#"{"model":true}"#,
        r#"{"model":""}"#,
        r#"{"model":"a b"}"#,
        r#"{"model":"a\"b"}"#,
        r#"{"model":"a\\b"}"#,
        r#"{"model":"\u00e9"}"#,
        r#"{"model":"a\n"}"#,
        &long,
    ];
    for body in bodies {
        assert_eq!(json(body), Err(Denial::ModelMalformed), "{body}");
    }
}

#[test]
fn what_is_not_one_json_object_is_malformed() {
    let bodies = [
        "",
        "null",
        "[]",
        "\"model\"",
        r#"[{"model":"a"}]"#,
        r#"{"model":"a"}{}"#,
        r#"{"model":"a""#,
        r#"{"model":'a'}"#,
        "model=a",
        r#"{"model":"a",}"#,
        "\u{feff}{\"model\":\"a\"}",
        r#"{"model":"\ud800"}"#,
        r#"{"a":1 /* */,"model":"a"}"#,
    ];
    for body in bodies {
        assert_eq!(json(body), Err(Denial::BodyMalformed), "{body}");
    }
    assert_eq!(model(&Format::Json, b"{\"\xff\":1}"), Err(Denial::BodyMalformed));
}

#[test]
fn nesting_without_end_is_no_overflow() {
    for open in ["[", "{\"a\":"] {
        let deep = format!("{{\"model\":\"a\",\"x\":{}", open.repeat(1 << 20));
        assert_eq!(json(&deep), Err(Denial::BodyMalformed));
        let deep = format!("{{\"model\":{}", open.repeat(1 << 20));
        assert_eq!(json(&deep), Err(Denial::BodyMalformed));
    }
}

const AUDIO: &str = "Content-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\n\
                     Content-Type: audio/wav\n\nRIFF\n--A\n{\"model\":\"other\"}";
const MODEL_FIELD: &str = "Content-Disposition: form-data; name=\"model\"\n\nwhisper-1";

#[test]
fn the_model_is_a_field_of_the_form_wherever_it_stands() {
    let format = "content-disposition:form-data;name=response_format\nX-A: b\n\ntext";
    assert_eq!(parts(&[AUDIO, MODEL_FIELD]), Ok(Some("whisper-1".into())));
    assert_eq!(parts(&[MODEL_FIELD, AUDIO, format]), Ok(Some("whisper-1".into())));
    let typed = "Content-Type: text/plain; charset=utf-8\n\
                 Content-Disposition: form-data; name=model\n\nwhisper-1";
    assert_eq!(parts(&[format, typed]), Ok(Some("whisper-1".into())));
    assert_eq!(parts(&[AUDIO]), Ok(None));
    assert_eq!(form("--B--"), Ok(None));
}

#[test]
fn a_field_that_is_not_one_plain_text_is_malformed() {
    let field = |head: &str, value: &str| parts(&[&format!("{head}\n\n{value}")]);
    let disposition = "Content-Disposition: form-data; name=";
    let heads = [
        format!("{disposition}\"model\"; filename=\"a\""),
        format!("{disposition}\"model\"; filename*=utf-8''a"),
        format!("{disposition}\"Model\""),
        format!("{disposition}\" model\""),
        format!("{disposition}\"model\"\nContent-Transfer-Encoding: base64"),
    ];
    for head in &heads {
        assert_eq!(field(head, "a"), Err(Denial::ModelMalformed), "{head}");
    }
    for value in ["", " a", "a\n", "a\"", "\u{e9}"] {
        let found = field(&format!("{disposition}\"model\""), value);
        assert_eq!(found, Err(Denial::ModelMalformed), "{value:?}");
    }
    assert_eq!(parts(&[MODEL_FIELD, MODEL_FIELD]), Err(Denial::ModelMalformed));
    assert_eq!(parts(&[MODEL_FIELD, AUDIO, MODEL_FIELD]), Err(Denial::ModelMalformed));
}

#[test]
fn a_form_that_readers_could_split_in_two_ways_is_malformed() {
    let part = "Content-Disposition: form-data; name=\"a\"\r\n\r\nx";
    let model = MODEL_FIELD.replace('\n', "\r\n");
    let bodies = [
        String::new(),
        format!("preamble\r\n--B\r\n{model}\r\n--B--"),
        format!("\r\n--B\r\n{model}\r\n--B--"),
        format!("--B\r\n{model}\r\n--B"),
        format!("--B\r\n{model}\r\n--B\r\n"),
        format!("--B\r\n{model}\r\n--B--\r\nepilogue"),
        format!("--B\r\n{part}\n--B\n{MODEL_FIELD}\r\n--B--"),
        format!("--B\n{MODEL_FIELD}\n--B--\n"),
        format!("--B \r\n{model}\r\n--B--"),
        format!("--B\r\n{part}--B\r\n{model}\r\n--B--"),
        format!("--B\r\n{part}\r\n--Bx\r\n{model}\r\n--B--"),
        format!("--B\r\n{part}\r\n--B--\r\n--B\r\n{model}\r\n--B--"),
        "--B\r\n\r\nwhisper-1\r\n--B--".to_owned(),
        "--B\r\n--B--".to_owned(),
    ];
    for body in bodies {
        assert_eq!(form(&body), Err(Denial::BodyMalformed), "{body:?}");
    }
}

#[test]
fn a_part_whose_head_has_two_readings_is_malformed() {
    let heads = [
        "Content-Type: text/plain",
        "Content-Disposition: form-data",
        "Content-Disposition: attachment; name=\"a\"",
        "Content-Disposition: form-data; filename=\"a\"",
        "Content-Disposition: form-data; name=\"a\"; name=\"model\"",
        "Content-Disposition: form-data; name=\"a\"; NAME=model",
        "Content-Disposition: form-data; name=\"a\"; name*=utf-8''model",
        "Content-Disposition: form-data; name=\"a\"; name*0=\"model\"",
        "Content-Disposition: form-data; name=\"a\"; name*0*=utf-8''mod; name*1=el",
        "Content-Disposition: form-data; name=\"=?utf-8?B?bW9kZWw=?=\"",
        "Content-Disposition: form-data; name=\"a\"; filename=\"x\\\"; name=\"model\"",
        "Content-Disposition: form-data; name=\"a",
        "Content-Disposition: form-data; name=a b",
        "Content-Disposition: form-data; name=\"a\" \"b\"",
        "Content-Disposition: form-data; name=\"a\"\nContent-Disposition: form-data; name=model",
        "Content-Disposition: form-data;\n name=\"model\"",
        "Content-Disposition : form-data; name=\"model\"",
        "Content-Disposition: form-data; name=\"a\"\nno colon",
    ];
    for head in heads {
        let part = format!("{head}\n\nwhisper-1");
        assert_eq!(parts(&[&part]), Err(Denial::BodyMalformed), "{head}");
    }
    let bare = "--B\r\nContent-Disposition: form-data; name=\"a\"\nX: y\r\n\r\nx\r\n--B--";
    assert_eq!(form(bare), Err(Denial::BodyMalformed));
}

#[test]
fn json_is_utf_8_throughout() {
    let with = |byte: u8| {
        let body = [b"{\"model\":\"gpt-4o\",\"x\":\"", [byte].as_slice(), b"\"}"].concat();
        model(&Format::Json, &body)
    };
    assert_eq!(with(b'a'), Ok(Some("gpt-4o".to_owned())));
    assert_eq!(
        with(0xde),
        Err(Denial::BodyMalformed),
        "what comes after it, readers may disagree on"
    );
}
