//! A backend that refuses the gateway's identity: not the caller's fault, and distinguished from every
//! other 401.

use std::time::Duration;

use gateway::Blueprint;
use local_azure::Fault;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tokio::time::sleep;

use testkit::reply::{Refusal, Reply};
use testkit::world::{
    CHAT, CONNECTIONS, WORKERS, World, chat_body, client, eventually, values, without_an_id,
};

/// A change of the shipped configuration.
type Change = fn(Blueprint) -> Blueprint;

const REJECTED: Refusal = Refusal::identity_rejected();

/// What the stand-in for Azure OpenAI says, as the real one does.
const EXPLANATION: &str = "Access token is missing, invalid, audience is incorrect \
    (https://cognitiveservices.azure.com), or have expired.";

/// What a backend may send with a 401, and a caller must not see.
const CHALLENGE: (&str, &str) = ("www-authenticate", r#"Bearer error="invalid_token""#);

/// Makes IMDS hand out tokens that the backend does not know.
fn break_tokens(world: &World) {
    let members = json!({ "access_token": "bm90LW9mLUltZHM" });
    world.azure.imds.fault(Fault::Changed(members.as_object().unwrap().clone()));
}

/// Makes the backend answer 401 like this, to everybody.
fn refuse_with(world: &World, pieces: Vec<Vec<u8>>) {
    let header = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let headers = vec![header(CHALLENGE), header(("content-type", "application/json"))];
    world.azure.openai.fault(Fault::Pieces { status: 401, headers, pieces });
}

/// A client for each version of HTTP.
fn clients() -> [Client; 2] {
    [client().build().unwrap(), client().http2_prior_knowledge().build().unwrap()]
}

fn chat(world: &World, client: &Client) -> RequestBuilder {
    let request = client.post(format!("{}{CHAT}", world.gateway.url()));
    request.json(&chat_body(false)).bearer_auth(world.token())
}

/// The lines of the log that tell that a backend refused a token.
fn told(world: &World) -> Vec<String> {
    let log = world.gateway.log();
    let lines = log.lines().filter(|line| line.contains("upstream rejected the identity token"));
    lines.map(str::to_owned).collect()
}

/// Counts the refusals that Envoy has counted.
async fn counted(world: &World) -> u64 {
    let stats = world.gateway.stats().await.unwrap();
    let own = stats.iter().filter(|(name, _)| name.contains("keyless_rejections."));
    own.map(|(_, count)| count).sum()
}

#[tokio::test]
async fn a_refused_identity_is_the_gateways_fault_and_the_caller_keeps_its_token() {
    let world = World::start().await;
    break_tokens(&world);
    for client in clients() {
        let reply = Reply::to(chat(&world, &client)).await.unwrap();
        REJECTED.is(&reply);
        assert!(!String::from_utf8_lossy(&reply.body).contains("Access token"), "{reply:?}");
        assert_eq!(reply.header("apim-request-id"), None, "nothing of the backend's: {reply:?}");
    }
    let entries = world.gateway.access_log_of(2).await.unwrap();
    for entry in entries {
        let shown = ["verdict", "reason", "status"].map(|name| entry[name].clone());
        assert_eq!(shown, [json!("admitted"), json!("identity_rejected"), json!(502)]);
    }
    assert_eq!(counted(&world).await, 2);
    assert_eq!(world.azure.openai.requests().len(), 2);
    world.assert_unharmed().await;
}

#[tokio::test]
async fn each_thread_logs_once_and_imds_is_asked_once_more() {
    let world = World::start().await;
    break_tokens(&world);
    for _ in 0..4 {
        let requests = (0..CONNECTIONS).map(|_| world.chat_as(&world.token()));
        for reply in Reply::to_each(requests).await.unwrap() {
            REJECTED.is(&reply);
        }
        sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(world.identity_fetches(), 2, "at the beginning, and after the rejection");
    assert_eq!(counted(&world).await, 4 * CONNECTIONS as u64);
    let told = told(&world);
    assert_eq!(told.len(), WORKERS, "{told:?}");
    for line in told {
        assert!(line.contains("[warning]"), "{line}");
        let end = format!("identity=openai reason={EXPLANATION:?}");
        assert!(line.ends_with(&end), "{line}");
    }
}

#[tokio::test]
async fn without_an_id_each_thread_refetches_once() {
    let world = World::with(without_an_id).await;
    break_tokens(&world);
    for _ in 0..4 {
        let requests = (0..CONNECTIONS).map(|_| world.chat_as(&world.token()));
        for reply in Reply::to_each(requests).await.unwrap() {
            REJECTED.is(&reply);
        }
        sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(world.identity_fetches(), 2 * WORKERS);
    assert_eq!(world.azure.imds.most_at_once(), 1);
}

#[tokio::test]
async fn the_refreshed_token_replaces_the_rejected_one_on_every_thread() {
    let world = World::start().await;
    let requests = || (0..CONNECTIONS).map(|_| world.chat_as(&world.token()));
    world.azure.openai.fault(Fault::Status(401));
    for reply in Reply::to_each(requests()).await.unwrap() {
        REJECTED.is(&reply);
    }
    world.azure.openai.heal();
    eventually("no thread sends the refused token", async || {
        let before = world.azure.openai.requests().len();
        for reply in Reply::to_each(requests()).await.unwrap() {
            assert_eq!(reply.status, 200, "{reply:?}");
        }
        let seen = world.azure.openai.requests().split_off(before);
        let newest = format!("Bearer {}", world.azure.imds.issued().pop().unwrap());
        seen.iter().all(|seen| values(seen, "authorization") == [newest.as_str()]).then_some(())
    })
    .await;
    assert_eq!(world.identity_fetches(), 2);
    world.assert_unharmed().await;
}

#[tokio::test]
async fn whatever_the_refusal_holds_the_caller_gets_the_same_reply() {
    let world = World::start().await;
    let error =
        json!({ "error": { "code": "401", "message": "No.", "filling": "x".repeat(3000) } });
    let error = error.to_string().into_bytes();
    let bodies = [
        vec![],
        vec![error.clone()],
        error.chunks(7).map(<[u8]>::to_vec).collect(),
        vec![vec![b'x'; 3 << 20]],
        vec![vec![b'{'; 64 << 10]; 48],
        vec![b"\xff\xfe<html>".to_vec()],
    ];
    for pieces in bodies {
        refuse_with(&world, pieces);
        for client in clients() {
            REJECTED.is(&Reply::to(chat(&world, &client)).await.unwrap());
        }
    }
    world.azure.openai.fault(Fault::Status(401)); // with a length, of nothing
    for client in clients() {
        REJECTED.is(&Reply::to(chat(&world, &client)).await.unwrap());
    }
    let body = vec![b' '; 2 << 20];
    world.azure.openai.fault(Fault::Body { status: 401, content_type: "text/plain".into(), body });
    for client in clients() {
        REJECTED.is(&Reply::to(chat(&world, &client)).await.unwrap());
    }
    world.azure.openai.heal();
    world.assert_every_worker_admits().await;
    world.assert_unharmed().await;
}

#[tokio::test]
async fn a_connection_can_be_used_again_after_a_refusal() {
    let world = World::start().await;
    for client in [Client::builder(), Client::builder().http2_prior_knowledge()] {
        let client = client.no_proxy().build().unwrap();
        let before: u64 = world.connections().await.values().sum();
        for pieces in [vec![], vec![b"{\"error\":".to_vec(), vec![b' '; 200_000]]] {
            refuse_with(&world, pieces);
            REJECTED.is(&Reply::to(chat(&world, &client)).await.unwrap());
            world.azure.openai.heal();
            assert_eq!(Reply::to(chat(&world, &client)).await.unwrap().status, 200);
        }
        assert_eq!(world.connections().await.values().sum::<u64>(), before + 1);
    }
    world.assert_unharmed().await;
}

#[tokio::test]
async fn a_401_where_no_identity_was_sent_passes_unchanged() {
    let world = World::with(|shipped| {
        shipped.plugin(|plugin| {
            plugin["routes"][1].as_object_mut().unwrap().remove("identity");
            plugin["routes"][1]["allow"] = json!([{}]);
            let open = json!({ "name": "open", "public": true, "match": { "methods": ["POST"], "path": "/open" } });
            plugin["routes"].as_array_mut().unwrap().push(open);
        })
    });
    let world = world.await;
    refuse_with(&world, vec![b"{\"error\":".to_vec(), b"\"theirs\"}".to_vec()]);
    for client in clients() {
        for target in [testkit::world::EMBEDDINGS, "/open"] {
            let url = format!("{}{target}", world.gateway.url());
            let reply = Reply::to(client.post(url).bearer_auth(world.token())).await.unwrap();
            assert_eq!(reply.status, 401, "{reply:?}");
            assert_eq!(reply.header(CHALLENGE.0), Some(CHALLENGE.1));
            assert_eq!(reply.json(), json!({ "error": "theirs" }));
        }
    }
    assert_eq!((counted(&world).await, told(&world).len()), (0, 0));
}

#[tokio::test]
async fn a_403_and_a_429_of_the_backend_pass_untouched() {
    let world = World::start().await;
    for status in [403, 429] {
        let header = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let headers = vec![
            header(CHALLENGE),
            header(("retry-after", "7")),
            header(("retry-after-ms", "6543")),
        ];
        let pieces = vec![b"the backend's ".to_vec(), b"own words".to_vec()];
        world.azure.openai.fault(Fault::Pieces { status, headers, pieces });
        for client in clients() {
            let reply = Reply::to(chat(&world, &client)).await.unwrap();
            assert_eq!(reply.status, status, "{reply:?}");
            for (name, value) in [CHALLENGE, ("retry-after", "7"), ("retry-after-ms", "6543")] {
                assert_eq!(reply.header(name), Some(value), "{reply:?}");
            }
            assert_eq!(reply.body, b"the backend's own words");
        }
    }
    assert_eq!((counted(&world).await, world.identity_fetches()), (0, 1));
}

#[tokio::test]
async fn a_401_of_our_own_stays_what_it_is() {
    let world = World::start().await;
    for client in clients() {
        let chat = || client.post(format!("{}{CHAT}", world.gateway.url())).json(&chat_body(false));
        world.refuses(chat(), Refusal::token_missing()).await;
        let expired = world.token_with(json!({ "exp": 1 }));
        world.refuses(chat().bearer_auth(expired), Refusal::invalid_token("token_expired")).await;
    }
    assert_eq!((counted(&world).await, told(&world).len()), (0, 0));
}

/// Answers 401 in Envoy's own router, to what would go to the backend.
fn with_direct_response(shipped: Blueprint) -> Blueprint {
    shipped.connection_manager(|manager| {
        let routes = manager["route_config"]["virtual_hosts"][0]["routes"].as_sequence_mut();
        let mut routes = routes.unwrap().iter_mut();
        let route = routes.find(|route| route["match"]["prefix"] == "/").unwrap();
        route.as_mapping_mut().unwrap().remove("route");
        let answer = json!({ "status": 401, "body": { "inline_string": "Envoy's own words" } });
        route["direct_response"] = serde_yaml_ng::to_value(answer).unwrap();
    })
}

/// Puts a filter behind keyless that answers 401 to whom it does not know.
fn with_basic_auth(shipped: Blueprint) -> Blueprint {
    shipped.connection_manager(|manager| {
        let filters = manager["http_filters"].as_sequence_mut().unwrap();
        let filter: Value = json!({
            "name": "envoy.filters.http.basic_auth",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.basic_auth.v3.BasicAuth",
                "users": { "inline_string": "user:{SHA}tESsBmE/yNY3lb6a0L6vVQEZNqw=" },
            },
        });
        filters.insert(filters.len() - 1, serde_yaml_ng::to_value(filter).unwrap());
    })
}

#[tokio::test]
async fn a_401_by_envoy_itself_or_by_another_filter_is_no_refusal_by_the_backend() {
    let rows: [(Change, &str); 2] = [
        (with_direct_response, "Envoy's own words"),
        (with_basic_auth, "User authentication failed"),
    ];
    for (change, words) in rows {
        let world = World::with(change).await;
        for client in clients() {
            let reply = Reply::to(chat(&world, &client)).await.unwrap();
            assert_eq!(reply.status, 401, "{reply:?}");
            let body = String::from_utf8_lossy(&reply.body);
            assert!(body.contains(words), "{reply:?}");
        }
        assert_eq!((counted(&world).await, told(&world).len()), (0, 0));
        assert_eq!((world.identity_fetches(), world.azure.openai.requests().len()), (1, 0));
        world.assert_unharmed().await;
    }
}
