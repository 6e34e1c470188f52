use super::*;

fn head(target: &[u8]) -> Head {
    Head::new(vec![
        (":method".to_owned(), b"POST".to_vec()),
        (":authority".to_owned(), b"Gateway.example.com:8443".to_vec()),
        (":path".to_owned(), target.to_vec()),
    ])
}

fn is_refused(target: &[u8]) -> bool {
    matches!(head(target).path(), Err(Denial::PathRefused { .. }))
}

#[test]
fn a_plain_path_is_read_without_its_query() {
    let plain = ["/", "/a", "/a/", "/a/b.c/d-e_f~g", "/a:b@c!$&'()*+,=d", "/%C3%A9%20%3F"];
    for path in plain {
        assert_eq!(head(path.as_bytes()).path(), Ok(path));
        assert_eq!(head(format!("{path}?x=/../;%2f").as_bytes()).path(), Ok(path));
    }
}

#[test]
fn a_path_with_two_readings_is_refused() {
    let refused: [&[u8]; 24] = [
        b"",
        b"*",
        b"a/b",
        b"//",
        b"//a",
        b"/a//b",
        b"/a//",
        b"/.",
        b"/..",
        b"/a/./b",
        b"/a/../b",
        b"/a;b",
        b"/a/..;/b",
        b"/a\\b",
        b"/a#b",
        b"/%2f",
        b"/%5C",
        b"/%2e%2e/",
        b"/%61dmin",
        b"/%252f",
        b"/%00",
        b"/%0a",
        b"/%3b",
        b"/a%",
    ];
    for path in refused {
        assert!(is_refused(path), "{path:?}");
    }
    let bytes: [&[u8]; 7] =
        [b"/\xff", b"/\xc3\xa9", b"/a b", b"/\x00", b"/%zz", b"/%e", b"http://x/a"];
    for path in bytes {
        assert!(is_refused(path), "{path:?}");
    }
    assert!(head(&[b'/'; 1]).path().is_ok());
    assert!(head(&[b"/".as_slice(), &[b'a'; 2047]].concat()).path().is_ok());
    assert!(is_refused(&[b"/".as_slice(), &[b'a'; 2048]].concat()));
}

#[test]
fn what_is_wrong_with_a_path_is_named() {
    let rows: [(&[u8], &str); 6] = [
        (b"/openai//v1", "it has '//'; perhaps the base URL ends in '/'"),
        (b"//openai", "it has '//'; perhaps the base URL ends in '/'"),
        (b"/a/../b", "it has a segment '.' or '..'"),
        (b"/a;b", "it has ';'"),
        (b"/%2f", "it has an escape that is not read alike everywhere"),
        (b"/a b", "it has a character that must be escaped"),
    ];
    for (path, fault) in rows {
        assert_eq!(head(path).path(), Err(Denial::PathRefused { fault }), "{path:?}");
    }
}

#[test]
fn the_handshake_of_a_websocket_has_no_body() {
    let with = |method: &str, more: &[(&str, &str)]| {
        let pairs = [(":method", method), (":path", "/a"), ("connection", "Upgrade")];
        let pairs = pairs.iter().chain(more);
        let pairs = pairs.map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()));
        Head::new(pairs.collect())
    };
    let websocket = ("upgrade", "WebSocket");
    assert!(with("GET", &[websocket]).is_handshake() && !with("GET", &[websocket]).has_body());
    let others = [
        with("POST", &[websocket]),
        with("GET", &[]),
        with("GET", &[("upgrade", "h2c")]),
        with("GET", &[("upgrade", "websocket, h2c")]),
        with("GET", &[websocket, websocket]),
        with("GET", &[websocket, ("content-length", "9")]),
        with("GET", &[websocket, ("transfer-encoding", "chunked")]),
    ];
    for head in others {
        assert!(!head.is_handshake() && head.has_body(), "{:?}", head.pairs);
    }
}

#[test]
fn credentials_leave_the_query_and_nothing_else_does() {
    let cases: [(&[u8], Option<&[u8]>); 9] = [
        (b"/a", None),
        (b"/a?", None),
        (b"/a?api-version=2024-10-21&x=%ff", None),
        (b"/a?api-key=1", Some(b"/a")),
        (b"/a?x=1&API-Key=2&y=3", Some(b"/a?x=1&y=3")),
        (b"/a?access_token=t&access_token=u&x", Some(b"/a?x")),
        (b"/a?%61pi%2Dkey=1&z=api-key", Some(b"/a?z=api-key")),
        (b"/a?x=\xff&subscription-key", Some(b"/a?x=\xff")),
        (b"/a?x=1?api-key=2&Subscription-Key=3", Some(b"/a?x=1?api-key=2")),
    ];
    for (target, cleaned) in cases {
        assert_eq!(
            head(target).cleaned_target(&Stripped::default()).as_deref(),
            cleaned,
            "{target:?}"
        );
    }
}

#[test]
fn a_preflight_names_the_method_that_a_browser_wants_to_use() {
    let pairs = |more: &[(&str, &str)]| {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), value.as_bytes().to_vec());
        Head::new(more.iter().map(pair).collect())
    };
    let preflight = [
        (":method", "OPTIONS"),
        ("origin", "https://app.example"),
        ("access-control-request-method", "POST"),
    ];
    assert_eq!(pairs(&preflight).without_body().preflight(), Some("POST"));
    assert_eq!(pairs(&preflight).preflight(), None, "it has a body");
    for without in 0..3 {
        let mut others = preflight.to_vec();
        others.remove(without);
        assert_eq!(pairs(&others).without_body().preflight(), None, "{others:?}");
    }
    for (at, value) in [(0, "GET"), (0, "options"), (1, ""), (2, "")] {
        let mut others = preflight;
        others[at].1 = value;
        assert_eq!(pairs(&others).without_body().preflight(), None, "{others:?}");
    }
    for twice in [preflight[1], preflight[2]] {
        let others = [&preflight[..], &[twice]].concat();
        assert_eq!(pairs(&others).without_body().preflight(), None, "{others:?}");
    }
}

#[test]
fn the_host_is_read_without_its_port() {
    assert_eq!(head(b"/").host(), "Gateway.example.com");
    let host = |authority: &[u8]| {
        Head::new(vec![(":authority".to_owned(), authority.to_vec())]).host().to_owned()
    };
    assert_eq!(host(b"[::1]:80"), "[::1]");
    assert_eq!(host(b"plain"), "plain");
    assert_eq!(host(b"\xff:80"), "");
}
