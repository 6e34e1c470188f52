//! Bytes that are no text, wherever the filter looks.

use http::HeaderValue;

use testkit::reply::{Refusal, Reply};
use testkit::world::{CHAT, WORKERS, World, chat_body, client};

/// No UTF-8: a lone continuation, a cut-off sequence, an overlong slash, a surrogate, and bytes
/// that UTF-8 never has.
const BYTES: [&[u8]; 5] = [b"\x80", b"\xc3\x28", b"\xc0\xaf", b"\xed\xa0\x80", b"\xff\xfe"];

const MALFORMED: Refusal = Refusal::invalid_request("authorization_malformed");

/// A chat completion, in bytes.
#[derive(Clone)]
struct Request {
    target: Vec<u8>,
    host: Vec<u8>,
    authorization: Vec<u8>,
    further: Option<(&'static str, &'static [u8])>,
}

impl Request {
    fn with(token: &str) -> Self {
        let authorization = format!("Bearer {token}").into_bytes();
        Self { target: CHAT.into(), host: b"gateway".to_vec(), authorization, further: None }
    }

    fn bytes(&self) -> Vec<u8> {
        let body = chat_body(false).to_string();
        let further = self.further.map(|(name, value)| [name.as_bytes(), b": ", value].concat());
        let lines = [
            [b"POST ", &self.target[..], b" HTTP/1.1"].concat(),
            [b"host: ", &self.host[..]].concat(),
            [b"authorization: ", &self.authorization[..]].concat(),
            format!("content-length: {}", body.len()).into_bytes(),
        ];
        let lines: Vec<_> = lines.into_iter().chain(further).collect();
        [&lines.join(&b"\r\n"[..])[..], b"\r\n\r\n", body.as_bytes()].concat()
    }
}

/// Sends a strange request to each worker, and then a plain one that must be admitted: on the same
/// connection, or on a new one where Envoy has closed it, which it does after each 400.
async fn ask_each_worker(world: &World, strange: &Request) -> Vec<Reply> {
    let (mut replies, mut kept) = (Vec::new(), Vec::new());
    for mut line in world.lines().await {
        let reply = line.ask(&strange.bytes()).await.expect("a reply");
        if reply.header("connection") != Some("close") {
            kept.push(line);
        }
        replies.push(reply);
    }
    if kept.len() < WORKERS {
        kept = world.lines().await;
    }
    for mut line in kept {
        let plain = line.ask(&Request::with(&world.token()).bytes()).await.unwrap();
        assert_eq!(plain.status, 200, "{plain:?}");
    }
    replies
}

/// Sends each worker what it must refuse.
async fn refused_by_each_worker(world: &World, strange: &Request) -> Vec<Reply> {
    let before = world.azure.openai.requests().len();
    let replies = ask_each_worker(world, strange).await;
    let plain = world.azure.openai.requests().len() - before;
    assert_eq!(plain, WORKERS, "the strange one reached the backend");
    replies
}

#[tokio::test]
async fn a_credential_that_is_no_text_is_refused_and_harms_no_worker() {
    let world = World::start().await;
    let good = Request::with(&world.token());
    for bytes in BYTES {
        for start in [&b""[..], b"Bearer ", &good.authorization] {
            let authorization = [start, bytes].concat();
            let strange = Request { authorization, ..good.clone() };
            for reply in refused_by_each_worker(&world, &strange).await {
                MALFORMED.is(&reply);
            }
        }
    }
    for seen in world.azure.openai.requests() {
        world.assert_swapped(&seen, &world.token());
    }
    world.assert_every_worker_admits().await;
    world.assert_unharmed().await;
}

#[tokio::test]
async fn a_header_to_be_removed_is_removed_even_if_it_is_no_text() {
    let world = World::start().await;
    let good = Request::with(&world.token());
    for bytes in BYTES {
        for name in ["x-caller-id", "api-key", "ocp-apim-subscription-key"] {
            let strange = Request { further: Some((name, bytes)), ..good.clone() };
            for reply in ask_each_worker(&world, &strange).await {
                assert_eq!(reply.status, 200, "{name}: {reply:?}");
            }
        }
    }
    for seen in world.azure.openai.requests() {
        world.assert_swapped(&seen, &world.token());
        assert!(seen.headers.iter().all(|(_, value)| value.is_ascii()), "{seen:?}");
    }
    world.assert_every_worker_admits().await;
    world.assert_unharmed().await;
}

#[tokio::test]
async fn a_host_path_or_query_that_is_no_text_reaches_nobody_and_harms_no_worker() {
    let world = World::start().await;
    let good = Request::with(&world.token());
    for bytes in BYTES {
        let path = [b"/openai/deployments/", bytes, b"/chat/completions?api-version=1"].concat();
        let strange = [
            Request { host: bytes.to_vec(), ..good.clone() },
            Request { further: Some(("host", bytes)), ..good.clone() },
            Request { target: [b"/", bytes].concat(), ..good.clone() },
            Request { target: path, ..good.clone() },
            Request { target: [CHAT.as_bytes(), b"&x=", bytes].concat(), ..good.clone() },
        ];
        for strange in strange {
            for reply in refused_by_each_worker(&world, &strange).await {
                assert!(matches!(reply.status, 400 | 404), "{reply:?}");
            }
        }
    }
    world.assert_every_worker_admits().await;
    world.assert_unharmed().await;
}

#[tokio::test]
async fn over_http_2_too_a_header_that_is_no_text_harms_nobody() {
    let world = World::start().await;
    let client = client().http2_prior_knowledge().build().unwrap();
    let chat = || client.post(format!("{}{CHAT}", world.gateway.url())).json(&chat_body(false));
    for bytes in BYTES {
        let value = HeaderValue::from_bytes(bytes).unwrap();
        world.refuses(chat().header("authorization", &value), MALFORMED).await;
        let (_, seen) = world.admits(&world.token(), chat().header("api-key", value)).await;
        assert!(seen.headers.iter().all(|(_, value)| value.is_ascii()), "{seen:?}");
    }
    world.assert_every_worker_admits().await;
    world.assert_unharmed().await;
}
