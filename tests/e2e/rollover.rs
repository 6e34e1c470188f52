//! New signing keys while callers keep coming.

use std::sync::Arc;
use std::time::Duration;

use local_azure::Fault;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use testkit::line::Line;
use testkit::reply::{Refusal, Reply};
use testkit::world::{CHAT, CONNECTIONS, WORKERS, World, chat_body, eventually};

const LASTS: Duration = Duration::from_mins(1);
const ROTATES_EVERY: Duration = Duration::from_secs(2);
const CALLERS: usize = 50;
/// Ten requests a second of each caller.
const ASKS_EVERY: Duration = Duration::from_millis(100);

/// A token for each caller, all signed with the newest key.
type Tokens = Arc<[String; CALLERS]>;

fn tokens(world: &World) -> Tokens {
    Arc::new(std::array::from_fn(|_| world.token()))
}

async fn rotate(world: &World) {
    let issuer = world.azure.issuer.clone();
    tokio::task::spawn_blocking(move || issuer.rotate()).await.unwrap();
}

async fn world_with(jwks: &[(&str, &str)]) -> World {
    let change = |plugin: &mut serde_json::Value| {
        for (name, value) in jwks {
            plugin["issuers"][0]["jwks"][*name] = json!(value);
        }
    };
    World::with(|shipped| shipped.plugin(change)).await
}

/// Asks again and again over one connection, always with the newest token, until there are no more
/// tokens; returns how often. Each reply must be an admission.
async fn call(mut line: Line, number: usize, tokens: watch::Receiver<Tokens>) -> usize {
    let body = chat_body(false).to_string();
    let mut ticks = interval(ASKS_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut count = 0;
    while tokens.has_changed().is_ok() {
        ticks.tick().await;
        let token = tokens.borrow()[number].clone();
        let request = format!(
            "POST {CHAT} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {token}\r\n\
            content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let reply = line.ask(request.as_bytes()).await.expect("a reply");
        assert_eq!(reply.status, 200, "after {count}: {reply:?}");
        count += 1;
    }
    count
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "the figures are worth a look")]
async fn no_caller_is_refused_while_the_keys_rotate() {
    let world = world_with(&[("unknown_kid_interval", "1s")]).await;
    let (newest, receiver) = watch::channel(tokens(&world));
    let mut callers = JoinSet::new();
    for number in 0..CALLERS {
        let line = Line::open(world.gateway.address()).await;
        callers.spawn(call(line, number, receiver.clone()));
    }
    drop(receiver);
    let begun = Instant::now();
    let mut rotations = 0;
    let mut ticks = interval(ROTATES_EVERY);
    ticks.tick().await;
    while begun.elapsed() < LASTS {
        ticks.tick().await;
        rotate(&world).await;
        newest.send_replace(tokens(&world));
        rotations += 1;
    }
    drop(newest);
    let requests: usize = callers.join_all().await.into_iter().sum();

    let (fetches, elapsed) = (world.key_fetches(), begun.elapsed());
    println!(
        "{requests} requests and {rotations} rotations in {elapsed:.1?}: {fetches} JWKS requests"
    );
    let seconds = usize::try_from(elapsed.as_secs()).unwrap() + 1;
    // One thread asks for all: at most once a second, once at the start, and two more at once.
    assert!(fetches > rotations / 2 && fetches <= seconds + 3, "{fetches} fetches");
    assert_eq!(world.identity_fetches(), 1);
    world.assert_unharmed().await;
}

#[tokio::test]
async fn a_retired_key_is_forgotten_with_the_tokens_that_were_remembered() {
    let world = world_with(&[("refresh", "1s")]).await;
    let old = world.token();
    let requests = || (0..CONNECTIONS).map(|_| world.chat_as(&old));
    for _ in 0..2 {
        for reply in Reply::to_each(requests()).await.unwrap() {
            assert_eq!(reply.status, 200, "{reply:?}");
        }
    }
    world.assert_every_worker_admits().await;
    let admitted = world.azure.openai.requests().len();
    rotate(&world).await;
    world.azure.issuer.retire();

    // Each worker asks about once a second, so none is left out.
    let enough = world.key_fetches() + 3 * WORKERS;
    let is_enough = async || (world.key_fetches() >= enough).then_some(());
    eventually("each worker has asked for the keys", is_enough).await;
    for reply in Reply::to_each(requests()).await.unwrap() {
        Refusal::invalid_token("key_unknown").is(&reply);
    }
    assert_eq!(world.azure.openai.requests().len(), admitted, "nothing of the old key");
    world.assert_every_worker_admits().await;
    assert!(world.identity_fetches() <= WORKERS, "{} fetches", world.identity_fetches());
    world.assert_unharmed().await;
}

#[tokio::test]
async fn a_new_key_under_an_old_kid_is_fetched_and_its_tokens_pass() {
    let world = World::start().await;
    let old = world.token();
    world.assert_every_worker_admits().await;
    assert_eq!(world.key_fetches(), 1);
    let issuer = world.azure.issuer.clone();
    tokio::task::spawn_blocking(move || issuer.replace_key_under_the_same_kid()).await.unwrap();

    let new = world.token();
    for reply in Reply::to_each((0..CONNECTIONS).map(|_| world.chat_as(&new))).await.unwrap() {
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    assert_eq!(world.key_fetches(), 2, "one worker asked for all");
    let forged = || (0..CONNECTIONS).map(|_| world.chat_as(&old));
    for _ in 0..5 {
        for reply in Reply::to_each(forged()).await.unwrap() {
            Refusal::invalid_token("signature_invalid").is(&reply);
        }
    }
    // Three at once, of which one is spent; the interval of 30 s may be over once.
    assert!(world.key_fetches() <= 5, "{} fetches", world.key_fetches());
    world.assert_every_worker_admits().await;
    world.assert_unharmed().await;
}

#[tokio::test]
async fn the_other_workers_forget_a_retired_key_within_seconds_of_one() {
    let world = World::start().await;
    let old = world.token();
    let old_everywhere =
        async || Reply::to_each((0..CONNECTIONS).map(|_| world.chat_as(&old))).await.unwrap();
    // The token is in the cache of each worker, which would last for an hour.
    for reply in old_everywhere().await {
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    world.assert_every_worker_admits().await;
    rotate(&world).await;
    world.azure.issuer.retire();
    let new = world.token();
    let reply = Reply::to(world.chat_as(&new)).await.unwrap();
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(world.key_fetches(), 2, "one worker has the new keys");

    let begun = Instant::now();
    eventually("no worker admits the old key's token", async || {
        let replies = old_everywhere().await;
        replies.iter().all(|reply| reply.status == 401).then_some(())
    })
    .await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    world.assert_every_worker_admits().await;
    world.assert_unharmed().await;
}

#[tokio::test]
async fn an_unusable_key_is_told_once_with_its_kid_and_the_reason() {
    let world = world_with(&[("refresh", "1s")]).await;
    let address = world.azure.issuer.address();
    let url = format!("http://{address}/tenant/discovery/v2.0/keys");
    let document = reqwest::get(url).await.unwrap().text().await.unwrap();
    let mut document: serde_json::Value = serde_json::from_str(&document).unwrap();
    let mut broken = document["keys"][0].clone();
    broken["kid"] = json!("Ow9/\n");
    broken["n"] = json!("not base64url!");
    document["keys"].as_array_mut().unwrap().push(broken);
    world.azure.issuer.fault(Fault::Changed(document.as_object().unwrap().clone()));
    world.assert_every_worker_admits().await;
    let enough = world.key_fetches() + 4;
    let is_enough = async || (world.key_fetches() >= enough).then_some(());
    eventually("the keys are fetched some times more", is_enough).await;

    let line =
        r#"unusable key name=entra keys=2 unusable=1 kid="Ow9/\n" reason="n is not base64url""#;
    let told = world.gateway.log().matches(line).count();
    // Once for each worker that has fetched.
    assert!((1..=WORKERS).contains(&told), "{told} times: {}", world.gateway.log());
    let stats = world.gateway.stats().await.unwrap();
    let unusable = stats.iter().find(|(name, _)| name.contains("keyless_unusable_keys."));
    assert_eq!(unusable.map(|(_, count)| *count), Some(1), "{stats:?}");

    let without = json!({"keys": [{"kty": "RSA", "kid": "c", "x5c": ["MIIC"]}]});
    world.azure.issuer.fault(Fault::Changed(without.as_object().unwrap().clone()));
    let line = r#"result=no_usable_key message="no usable key: kid=\"c\" reason=\"x5c holds no RSA key\"""#;
    eventually("the failure says why", async || world.gateway.log().contains(line).then_some(()))
        .await;
    world.assert_every_worker_admits().await;
    world.assert_unharmed().await;
}

#[tokio::test]
async fn what_is_not_done_for_a_key_set_is_said() {
    let gzip = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    let body = |status, body: &[u8]| Fault::Body {
        status,
        content_type: "application/json".to_owned(),
        body: body.to_vec(),
    };
    let rows = [
        (body(301, b""), "result=status message=\"status 301, a redirect, which is not followed\""),
        (body(200, &gzip), "result=compressed message=\"gzip, which nobody asked for\""),
    ];
    for (fault, line) in rows {
        let world = World::start().await;
        world.azure.issuer.fault(fault);
        let reply = Reply::to(world.chat_as(&world.token())).await.unwrap();
        assert_eq!((reply.status, reply.code().as_deref()), (503, Some("keys_unavailable")));
        assert!(world.gateway.log().contains(line), "{}", world.gateway.log());
        world.assert_unharmed().await;
    }
}
