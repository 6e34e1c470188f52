//! Where the gateway's own tokens come from: each source behind a route of its own, and one route
//! without any.

use gateway::{Blueprint, StartOptions};
use local_azure::{Fault, LocalAzure, Options, Recorded};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use testkit::reply::Reply;
use testkit::world::{
    CHAT, CONNECTIONS, EMBEDDINGS, RESOURCE, World, chat_body, eventually, shipped, values,
};

/// The routes of IMDS, of App Service, of the client with a secret, and of nobody.
const V1: &str = "/openai/v1/chat/completions";
const ON_PREMISES: &str = "/on-premises";

/// The variables that the module may see.
const VARIABLES: [&str; 3] = ["IDENTITY_ENDPOINT", "IDENTITY_HEADER", "APP_SECRET"];

/// Gives each route of the shipped configuration an identity of its own, and adds a third and one
/// with none.
pub(crate) fn blueprint(azure: &LocalAzure) -> Blueprint {
    let route = |name: &str, path: &str| json!({ "name": name, "match": { "methods": ["POST"], "path": path }, "allow": [{}] });
    let edit = |plugin: &mut Value| {
        plugin["identities"]["platform"] =
            json!({ "resource": RESOURCE, "app_service": { "cluster": "platform" } });
        plugin["identities"]["secret"] = json!({
            "resource": RESOURCE,
            "client_credentials": {
                "cluster": "login", "client_id": Options::default().client_id,
                "token_uri": "https://login.example.com/contoso/oauth2/v2.0/token",
                "client_secret_env": "APP_SECRET"
            }
        });
        let routes = plugin["routes"].as_array_mut().unwrap();
        routes[1]["identity"] = "platform".into();
        let with_secret = routes.iter_mut().find(|route| route["name"] == "chat-v1").unwrap();
        with_secret["identity"] = "secret".into();
        with_secret["allow"] = json!([{}]);
        routes.push(route("on-premises", ON_PREMISES));
    };
    shipped(azure)
        .cluster("platform", azure.app_service.address())
        .cluster("login", azure.oauth.address())
        .host_environment(&VARIABLES)
        .plugin(edit)
}

/// What the platform and the operator put into Envoy's environment.
pub(crate) fn environment(azure: &LocalAzure) -> Vec<(String, String)> {
    let values = [
        azure.app_service.endpoint(),
        azure.app_service.header().to_owned(),
        Options::default().client_secret,
    ];
    VARIABLES.map(str::to_owned).into_iter().zip(values).collect()
}

async fn start() -> World {
    let azure = LocalAzure::start(Options::default()).await.unwrap();
    let (blueprint, environment) = (blueprint(&azure), environment(&azure));
    World::run(azure, blueprint, StartOptions { environment, ..StartOptions::default() }).await
}

fn chat(world: &World) -> RequestBuilder {
    world.post(CHAT, &chat_body(false))
}

pub(crate) fn embeddings(world: &World) -> RequestBuilder {
    world.post(EMBEDDINGS, &json!({ "input": "key" }))
}

pub(crate) fn v1(world: &World) -> RequestBuilder {
    let mut body = chat_body(false);
    body["model"] = "gpt-4o-mini".into();
    world.post(V1, &body)
}

/// A token that all routes admit.
pub(crate) fn token(world: &World) -> String {
    world.token_with(json!({ "scp": "openai.chat openai.embeddings" }))
}

/// Sends a request to the route without an identity, and returns what its backend saw.
async fn on_premises(world: &World, token: &str) -> Recorded {
    let reply = Reply::to(world.request(Method::POST, ON_PREMISES).bearer_auth(token)).await;
    assert_eq!(reply.unwrap().status, 404, "the backend's own answer");
    let seen = world.azure.openai.requests().pop().unwrap();
    assert_eq!(seen.target, ON_PREMISES);
    seen
}

#[tokio::test]
async fn each_route_sends_a_token_of_its_own_source() {
    let world = start().await;
    let token = token(&world);
    let azure = &world.azure;
    let (_, by_imds) = world.admits(&token, chat(&world)).await;
    let (_, by_platform) = world.admits(&token, embeddings(&world)).await;
    let (_, by_secret) = world.admits(&token, v1(&world)).await;
    let rows = [
        (by_imds, azure.imds.issued()),
        (by_platform, azure.app_service.issued()),
        (by_secret, azure.oauth.issued()),
    ];
    for (seen, issued) in rows {
        let sent = values(&seen, "authorization").join(",");
        assert!(issued.iter().any(|issued| sent == format!("Bearer {issued}")), "{}", seen.target);
    }
    let seen = on_premises(&world, &token).await;
    assert_eq!(values(&seen, "authorization"), [""; 0]);
    world.assert_unharmed().await;
}

#[tokio::test]
async fn each_source_is_asked_as_documented_through_envoy() {
    let world = start().await;
    let token = token(&world);
    let azure = &world.azure;
    world.admits(&token, chat(&world)).await;
    world.admits(&token, embeddings(&world)).await;
    world.admits(&token, v1(&world)).await;
    let platform = azure.app_service.address().to_string();
    let encoded = "https%3A%2F%2Fcognitiveservices.azure.com";
    let rows = [
        (
            azure.imds.requests(),
            (
                "GET",
                format!(
                    "/metadata/identity/oauth2/token?api-version=2018-02-01&resource={encoded}"
                ),
            ),
            vec![("host", "169.254.169.254"), ("metadata", "true")],
            String::new(),
        ),
        (
            azure.app_service.requests(),
            ("GET", format!("/msi/token?resource={encoded}&api-version=2019-08-01")),
            vec![("host", platform.as_str()), ("x-identity-header", azure.app_service.header())],
            String::new(),
        ),
        (
            azure.oauth.requests(),
            ("POST", "/contoso/oauth2/v2.0/token".to_owned()),
            vec![
                ("host", "login.example.com"),
                ("accept", "application/json"),
                ("content-type", "application/x-www-form-urlencoded"),
            ],
            format!(
                "grant_type=client_credentials&client_id={}&scope={encoded}%2F.default\
                 &client_secret={SECRET}",
                Options::default().client_id
            ),
        ),
    ];
    for (requests, (method, target), headers, body) in rows {
        let seen = requests.first().unwrap();
        assert_eq!((seen.method.as_str(), &seen.target), (method, &target));
        for (name, value) in headers {
            assert_eq!(values(seen, name), [value], "{target}: {name}");
        }
        assert_eq!(String::from_utf8_lossy(&seen.body), body, "{target}");
        assert_eq!(seen.header("x-forwarded-for"), None, "{target}");
    }
}

#[tokio::test]
async fn a_dead_source_stops_no_other_route_and_its_own_is_back_after_the_repair() {
    let world = start().await;
    let token = token(&world);
    world.azure.app_service.stop().await;
    world.azure.oauth.fault(Fault::Status(500));
    for request in [embeddings(&world), v1(&world)] {
        world.refuses(request.bearer_auth(&token), crate::outage::IDENTITY).await;
    }
    world.admits(&token, chat(&world)).await;
    assert_eq!(on_premises(&world, &token).await.header("authorization"), None);

    world.azure.app_service.resume().await.unwrap();
    world.azure.oauth.heal();
    for request in [embeddings, v1] {
        eventually("every worker serves the route", async || {
            let requests = (0..CONNECTIONS).map(|_| request(&world).bearer_auth(&token));
            let replies = Reply::to_each(requests).await.unwrap();
            replies.iter().all(|reply| reply.status == 200).then_some(())
        })
        .await;
    }
    world.assert_unharmed().await;
}

#[tokio::test]
async fn variables_that_are_not_set_are_our_fault_and_said_once_by_each_worker() {
    let azure = LocalAzure::start(Options::default()).await.unwrap();
    let blueprint = blueprint(&azure);
    let world = World::on(azure, blueprint).await;
    let token = token(&world);
    for _ in 0..CONNECTIONS {
        for request in [embeddings(&world), v1(&world)] {
            let reply = Reply::to(request.bearer_auth(&token)).await.unwrap();
            assert_eq!(
                (reply.status, reply.code().as_deref()),
                (503, Some("identity_unavailable"))
            );
            let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
            assert!((50..=66).contains(&wait), "{wait}");
        }
    }
    world.admits(&token, chat(&world)).await;
    assert!(
        world.azure.app_service.requests().is_empty() && world.azure.oauth.requests().is_empty()
    );
    let log = world.gateway.log();
    for (identity, variable) in [("platform", "IDENTITY_ENDPOINT"), ("secret", "APP_SECRET")] {
        let line = format!(
            "fetch kind=identity name={identity} result=unset message=\"environment variable {variable} not set or not usable"
        );
        assert!((1..=2).contains(&log.matches(&line).count()), "{log}");
    }
    world.assert_unharmed().await;
}

#[tokio::test]
async fn no_secret_of_the_environment_is_seen_in_any_log_statistic_or_reply() {
    let mut world = start().await;
    let token = token(&world);
    let mut shown = Vec::new();
    let faults = [None, Some(Fault::Status(401)), Some(Fault::Garbage)];
    for fault in faults.into_iter().rev() {
        world.azure.app_service.heal();
        world.azure.oauth.heal();
        if let Some(fault) = fault {
            world.azure.app_service.fault(fault.clone());
            world.azure.oauth.fault(fault);
        }
        for request in [embeddings(&world), v1(&world)] {
            let reply = Reply::to(request.bearer_auth(&token)).await.unwrap();
            shown.push(format!("{reply:?}"));
        }
    }
    for page in ["config_dump?include_eds", "clusters", "stats", "server_info"] {
        let url = format!("{}/{page}", world.gateway.admin_url());
        shown.push(reqwest::get(url).await.unwrap().text().await.unwrap());
    }
    world.gateway.stop().await.unwrap();
    shown.push(world.gateway.log());
    shown.extend(world.gateway.access_log().iter().map(ToString::to_string));

    let issued = [world.azure.app_service.issued(), world.azure.oauth.issued()].concat();
    let secrets = issued.iter().map(String::as_str);
    let clear = Options::default().client_secret;
    let secrets: Vec<_> =
        secrets.chain([world.azure.app_service.header(), SECRET, &clear]).collect();
    for (text, secret) in shown.iter().flat_map(|text| secrets.iter().map(move |one| (text, one))) {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
    assert!(
        shown.iter().any(|text| text.contains("kind=identity name=secret ")),
        "nothing is shown"
    );
}

/// The client's secret as a form has it.
pub(crate) const SECRET: &str = "xUn8Q~.k0Vd%2BR7%20s%264%3D%25tZ-w_1";
