//! What callers, the backend and the operator see when all is well.

use std::net::SocketAddr;

use local_azure::Fault;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::reply::{Refusal, Reply};
use testkit::world::{CHAT, assert_absent, chat_body, values};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::cluster::{Cluster, GATEWAY, test};

#[test]
fn a_callers_token_becomes_the_managed_identity() {
    test(async |cluster| {
        let claims = cluster.azure.issuer.claims();
        let token = cluster.azure.issuer.mint(&claims);
        let (_, seen) = cluster.admits(&token, cluster.chat_request()).await;
        assert_eq!(values(&seen, "host"), ["my-openai.openai.azure.com"]);
        assert_eq!(values(&seen, "x-caller-id"), [claims["oid"].as_str().unwrap()]);
        // The agent asks the same address whose cloud this is.
        let imds = cluster.azure.imds.requests();
        let mut asked = imds.iter().filter(|one| one.target.contains("oauth2/token"));
        let client = "client_id=00000000-0000-0000-0000-000000000000";
        assert!(asked.next().is_some_and(|one| one.target.contains(client)), "{imds:?}");
    });
}

#[test]
fn who_has_no_token_or_too_little_of_one_is_refused() {
    test(async |cluster| {
        cluster.refuses(cluster.chat_request(), Refusal::token_missing()).await;
        let other = json!({ "aud": "api://another" });
        let token = cluster.azure.issuer.mint(&cluster.azure.issuer.claims_with(&other));
        let request = cluster.chat_request().bearer_auth(token);
        cluster.refuses(request, Refusal::invalid_token("audience_mismatch")).await;
        let poor = json!({ "scp": "profile", "roles": null });
        let token = cluster.azure.issuer.mint(&cluster.azure.issuer.claims_with(&poor));
        let request = cluster.chat_request().bearer_auth(token);
        let reply = Reply::to(request).await.unwrap();
        assert_eq!(reply.status, 403, "{reply:?}");
        assert!(reply.code().is_some(), "by keyless: {reply:?}");
        let unknown = cluster.request(Method::GET, "/nowhere").bearer_auth(cluster.token());
        cluster.refuses(unknown, Refusal::route_unknown()).await;
    });
}

#[test]
fn the_connection_manager_is_as_strict_as_that_of_envoy_yaml() {
    test(async |cluster| {
        let escaped = CHAT.replacen("gpt-4o-mini", "gpt-4o%2fmini", 1);
        let underscore = cluster.chat_request().header("x_caller_id", "somebody");
        let slash = cluster.request(Method::POST, &escaped).json(&chat_body(false));
        for request in [underscore, slash] {
            let reply = Reply::to(request.bearer_auth(cluster.token())).await.unwrap();
            assert_eq!((reply.status, reply.code()), (400, None), "by Envoy: {reply:?}");
        }
    });
}

#[test]
fn the_backend_learns_neither_our_names_nor_the_callers_address() {
    test(async |cluster| {
        let forged = cluster.chat_request().header("x-forwarded-for", "192.0.2.1");
        let (_, seen) = cluster.admits(&cluster.token(), forged).await;
        for (name, value) in &seen.headers {
            // Istio asks for the count of attempts, which says nothing of us.
            let is_envoys = name.starts_with("x-envoy-") && name != "x-envoy-attempt-count";
            assert!(!is_envoys, "{name}");
            let text = String::from_utf8_lossy(value);
            for secret in ["openai-gateway", "openai.internal", "10.77.0", "192.0.2.1"] {
                assert!(!text.contains(secret), "{name}: {text}");
            }
        }
    });
}

#[test]
fn a_stream_arrives_frame_by_frame() {
    test(async |cluster| {
        let pause = std::time::Duration::from_millis(300);
        cluster.azure.openai.set_chunk_delay(pause);
        let request = cluster.request(Method::POST, CHAT).json(&chat_body(true));
        let mut response = request.bearer_auth(cluster.token()).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let mut pieces = 0;
        let mut text = Vec::new();
        while let Some(piece) = response.chunk().await.unwrap() {
            pieces += 1;
            text.extend_from_slice(&piece);
        }
        cluster.azure.openai.set_chunk_delay(std::time::Duration::from_millis(50));
        let text = String::from_utf8(text).unwrap();
        let frames = text.matches("data: ").count();
        assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
        assert!(frames > 2 && pieces + 1 >= frames, "{frames} frames in {pieces} pieces");
    });
}

#[test]
fn a_web_socket_passes_once_it_is_admitted() {
    test(async |cluster| {
        cluster.fronts.provisioned.lead_to(echo().await);
        let target = "/openai/realtime?api-version=2024-10-01-preview&deployment=gpt-4o-realtime";
        let ask = |credential: &str| {
            format!(
                "GET {target} HTTP/1.1\r\nhost: {GATEWAY}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                 sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{credential}\r\n"
            )
        };
        let head = async |request: &str| {
            let mut line = TcpStream::connect(cluster.pod.way_in()).await.unwrap();
            line.write_all(request.as_bytes()).await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match line.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
            }
            (String::from_utf8_lossy(&head).into_owned(), line)
        };
        assert!(head(&ask("")).await.0.contains(" 401 "));
        let claims = json!({ "scp": "openai.realtime" });
        let token = cluster.azure.issuer.mint(&cluster.azure.issuer.claims_with(&claims));
        let credential =
            format!("sec-websocket-protocol: realtime, openai-insecure-api-key.{token}\r\n");
        let (answer, mut line) = head(&ask(&credential)).await;
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        line.write_all(b"a frame").await.unwrap();
        let mut frame = [0; 7];
        line.read_exact(&mut frame).await.unwrap();
        assert_eq!(&frame, b"a frame", "it comes back");
    });
}

/// Starts a server that accepts every upgrade and sends back whatever comes.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await?);
                }
                let upgraded = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\n\
                                upgrade: websocket\r\n\r\n";
                stream.write_all(upgraded.as_bytes()).await?;
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    address
}

#[test]
fn a_model_server_of_ones_own_sees_no_token_at_all() {
    test(async |cluster| {
        let token = cluster.token();
        let before = cluster.received();
        let answer =
            Fault::Body { status: 200, content_type: "text/plain".into(), body: Vec::new() };
        cluster.models.fault(answer);
        let request = cluster.request(Method::POST, "/on-prem/v1/chat/completions");
        let request = request.json(&chat_body(false)).bearer_auth(&token);
        let reply = Reply::to(request).await.unwrap();
        assert_eq!(reply.status, 200, "{reply:?}");
        let seen = cluster.models.requests().pop().unwrap();
        assert_eq!(seen.target, "/v1/chat/completions");
        assert_eq!(values(&seen, "host"), ["models.example.com"]);
        assert_eq!(values(&seen, "authorization"), [""; 0]);
        assert_absent(&seen, &token);
        assert_eq!(cluster.received(), before + 1, "nobody else was asked");
    });
}

#[test]
fn the_access_log_shows_what_keyless_found() {
    test(async |cluster| {
        let request = cluster.chat_request().header("x-request-id", "the-one");
        cluster.admits(&cluster.token(), request).await;
        let entry = entry(cluster, CHAT.split('?').next().unwrap()).await;
        let expected = json!({
            "verdict": "admitted", "reason": "ok", "issuer": "entra", "route": "chat",
            "deployment": "gpt-4o-mini", "status": 200, "attempts": 1,
            "cluster": "outbound|443||openai.internal", "endpoint": "my-openai.openai.azure.com",
        });
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(entry[name], *value, "{name} in {entry}");
        }
        assert!(!cluster.pod.log().contains("api-version"), "no query is logged");
    });
}

/// Returns the last entry of that path, once Envoy has written it.
async fn entry(cluster: &Cluster, path: &str) -> Value {
    let last = || cluster.pod.access_log().into_iter().rfind(|entry| entry["path"] == path);
    cluster.until("the access log has the request", async || last().is_some()).await;
    last().unwrap()
}

#[test]
fn the_metrics_have_their_labels() {
    test(async |cluster| {
        cluster.admits(&cluster.token(), cluster.chat_request()).await;
        let text = cluster.pod.admin("/stats/prometheus");
        let ours: Vec<&str> = text.lines().filter(|line| line.starts_with("keyless_")).collect();
        let expected = [
            r#"keyless_requests{issuer="entra",route="chat",verdict="admitted",reason="ok"} "#,
            r#"keyless_fetches{kind="jwks",name="entra",result="ok"} "#,
            r#"keyless_fetches{kind="identity",name="openai",result="ok"} "#,
        ];
        for start in expected {
            assert!(ours.iter().any(|line| line.starts_with(start)), "{start}: {ours:#?}");
        }
    });
}

#[test]
fn large_whole_numbers_of_the_policy_arrive_as_such() {
    test(async |cluster| {
        let plugin = cluster.plugin(|wasm| {
            let cache = json!({ "max_entries": 1_000_000, "max_bytes": 33_554_432 });
            wasm["pluginConfig"]["token_cache"] = cache;
            let found = json!({ "methods": ["GET"], "path": "/ping" });
            let ping = json!({ "name": "ping", "match": found, "health": true });
            wasm["pluginConfig"]["routes"].as_array_mut().unwrap().push(ping);
        });
        cluster.kubernetes.apply(&plugin);
        cluster
            .until("the policy is in force", async || {
                let reply = Reply::to(cluster.request(Method::GET, "/ping")).await;
                reply.is_ok_and(|reply| reply.status == 200)
            })
            .await;
    });
}
