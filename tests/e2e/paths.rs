//! Paths and methods that are not those of a route, and those that only look like one.

use reqwest::Method;

use testkit::line::Line;
use testkit::reply::{Refusal, Reply};
use testkit::world::{CHAT, World, chat_body};

/// Sends a request line as it stands, with a good token.
async fn ask(world: &World, method: &str, target: &str) -> Option<Reply> {
    let (body, token) = (chat_body(false).to_string(), world.token());
    let request = format!(
        "{method} {target} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {token}\r\n\
        content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    Line::open(world.gateway.address()).await.ask(request.as_bytes()).await
}

#[tokio::test]
async fn what_no_route_names_is_not_found() {
    let world = World::start().await;
    let targets = [
        "/",
        "/openai",
        "/openai/deployments/gpt-4o-mini/edits?api-version=1",
        "/openai/deployments/gpt-4o-mini/chat/completions/?api-version=1",
        "/OPENAI/deployments/gpt-4o-mini/chat/completions?api-version=1",
        "/openai/v1/chat/completions/",
        "/openai/v1/models",
    ];
    for target in targets {
        let reply = ask(&world, "POST", target).await.unwrap();
        Refusal::route_unknown().is(&reply);
    }
    assert_eq!(world.azure.openai.requests().len(), 0);
}

#[tokio::test]
async fn a_method_that_the_route_does_not_name_is_not_found() {
    let world = World::start().await;
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS] {
        let request = world.request(method, CHAT).bearer_auth(world.token());
        world.refuses(request, Refusal::route_unknown()).await;
    }
    let head = world.request(Method::HEAD, CHAT).bearer_auth(world.token());
    assert_eq!(Reply::to(head).await.unwrap().status, 404, "and it has no body");
    let health = world.request(Method::POST, "/healthz");
    world.refuses(health, Refusal::route_unknown()).await;
    assert_eq!(world.azure.openai.requests().len(), 0);
}

#[tokio::test]
async fn a_tunnel_is_refused() {
    let world = World::start().await;
    for request in [
        "CONNECT my-openai.openai.azure.com:443 HTTP/1.1\r\nhost: my-openai.openai.azure.com:443",
        "OPTIONS * HTTP/1.1\r\nhost: gateway",
        "GET /healthz HTTP/1.1\r\nhost: gateway\r\nconnection: upgrade\r\nupgrade: other",
    ] {
        let request = format!("{request}\r\nauthorization: Bearer {}\r\n\r\n", world.token());
        let reply = Line::open(world.gateway.address()).await.ask(request.as_bytes()).await;
        let status = reply.map(|reply| reply.status);
        assert!(matches!(status, None | Some(400 | 403 | 404)), "{request}: {status:?}");
    }
    assert_eq!(world.azure.openai.requests().len(), 0);
    world.assert_every_worker_admits().await;
    world.assert_unharmed().await;
}

/// Paths that one reader could take for a route and another for something else.
const AMBIGUOUS: [&str; 14] = [
    "//openai/deployments/d/chat/completions",
    "/openai//deployments/d/chat/completions",
    "/openai/deployments//chat/completions",
    "/openai/deployments/d/chat//completions",
    "/openai/deployments/d%2fchat/chat/completions",
    "/openai/deployments/d%2F..%2Fe/chat/completions",
    "/openai/deployments/d%5cx/chat/completions",
    "/openai/deployments/d%252fx/chat/completions",
    "/openai/deployments/d;x=y/chat/completions",
    "/openai/deployments/d%3bx/chat/completions",
    "/openai/deployments/d/chat/completions;x",
    "/openai/deployments/d%00/chat/completions",
    "/openai/deployments/d%zz/chat/completions",
    "/openai/deployments/d/chat/completions#/../../x",
];

#[tokio::test]
async fn a_path_that_can_be_read_in_two_ways_is_refused() {
    let world = World::start().await;
    for path in AMBIGUOUS {
        let reply = ask(&world, "POST", &format!("{path}?api-version=1")).await;
        let reply = reply.unwrap_or_else(|| panic!("no reply to {path}"));
        // Some are refused by Envoy itself.
        if reply.code().is_some() {
            Refusal::path_refused().is(&reply);
        }
        assert_eq!(reply.status, 400, "{path}: {reply:?}");
    }
    assert_eq!(world.azure.openai.requests().len(), 0);
    world.assert_unharmed().await;
}

/// Paths that Envoy may spell out, each for the deployment `d` in the end.
const SPELLINGS: [&str; 11] = [
    "/openai/deployments/x/../d/chat/completions",
    "/openai/deployments/x/..;/d/chat/completions",
    "/openai/deployments/./d/chat/completions",
    "/openai/deployments/x/../../../openai/deployments/d/chat/completions",
    "/openai/deployments\\d/chat/completions",
    "/openai/%64eployments/d/chat/completions",
    "/openai/deployments/%64/ch%61t/completions",
    "/%6fpenai/deployments/d/chat/completions",
    "/openai/deployments/x/%2e%2e/d/chat/completions",
    "/healthz/../openai/deployments/d/chat/completions",
    "/../../openai/deployments/d/chat/completions",
];

#[tokio::test]
async fn a_path_that_is_spelled_otherwise_is_refused_or_decided_as_the_backend_reads_it() {
    let world = World::start().await;
    let mut admitted = 0;
    for path in SPELLINGS {
        let reply = ask(&world, "POST", &format!("{path}?api-version=1")).await.unwrap();
        assert!(matches!(reply.status, 200 | 400 | 404), "{path}: {reply:?}");
        admitted += usize::from(reply.status == 200);
    }
    let seen = world.azure.openai.requests();
    assert_eq!(seen.len(), admitted);
    for seen in seen {
        assert_eq!(seen.target, "/openai/deployments/d/chat/completions?api-version=1");
    }
    let entries = world.gateway.access_log_of(SPELLINGS.len()).await.unwrap();
    let decided = entries.iter().filter(|entry| entry["deployment"] == "d").count();
    assert_eq!(decided, admitted);
}
