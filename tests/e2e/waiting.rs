//! Requests that have to wait for keys and an identity token.

use std::time::Duration;

use gateway::StartOptions;
use local_azure::{Fault, LocalAzure, Options};
use reqwest::Method;
use serde_json::json;
use tokio::time::{sleep, timeout};

use testkit::reply::Reply;
use testkit::world::{CHAT, CONNECTIONS, WORKERS, World, chat_body, eventually, shipped};

#[tokio::test]
async fn a_cold_start_makes_the_first_requests_wait_and_admits_them_all() {
    let world = World::start().await;
    world.azure.issuer.fault(Fault::Delay(Duration::from_secs(1)));
    world.azure.imds.fault(Fault::Delay(Duration::from_secs(1)));
    world.assert_every_worker_admits().await;
    assert!(world.key_fetches() <= WORKERS, "{} fetches", world.key_fetches());
    assert!(world.identity_fetches() <= WORKERS, "{} fetches", world.identity_fetches());
    for seen in world.azure.openai.requests() {
        world.assert_swapped(&seen, &world.token());
    }
}

#[tokio::test]
async fn a_caller_that_leaves_while_it_waits_is_forgotten_and_the_others_are_served() {
    let world = World::start().await;
    world.azure.issuer.fault(Fault::Delay(Duration::from_secs(2)));
    let body = chat_body(false).to_string();
    let (length, token) = (body.len(), world.token());
    let request = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: gone\r\nauthorization: Bearer {token}\r\n\
        content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    let mut gone = world.lines().await;
    for line in &mut gone {
        line.say(request.as_bytes()).await.unwrap();
    }
    let requests: Vec<_> = (0..CONNECTIONS).map(|_| world.chat_as(&token)).collect();
    let staying = tokio::spawn(Reply::to_each(requests));
    sleep(Duration::from_millis(700)).await;
    drop(gone);

    let replies = staying.await.unwrap().unwrap();
    assert!(replies.iter().all(|reply| reply.status == 200), "{replies:?}");
    assert_eq!(world.azure.openai.requests().len(), CONNECTIONS, "nothing of those who left");
    world.assert_every_worker_admits().await;
    world.assert_unharmed().await;
}

#[tokio::test]
async fn a_crowd_that_waits_is_served_or_refused_to_the_last_and_no_thread_traps() {
    // In reach of one thread's room, and far more than its stack has for replies within replies.
    const CROWD: usize = 950;
    let azure = LocalAzure::start(Options::default()).await.unwrap();
    azure.imds.fault(Fault::Hang);
    let blueprint = shipped(&azure);
    let options = StartOptions { workers: 1, ..StartOptions::default() };
    let world = World::run(azure, blueprint, options).await;
    // Signed once: a thousand signatures would take longer than what they wait for.
    let token = world.token();
    let crowd = || (0..CROWD).map(|_| world.chat_as(&token)).collect::<Vec<_>>();
    // The first fetch is lost after 5 s. The second follows 2 s later, so the crowd waits for it, and
    // it is refused as one when that is lost too.
    let first = tokio::spawn(Reply::to(world.chat_as(&world.token())));
    sleep(Duration::from_millis(5500)).await;
    for reply in Reply::to_each(crowd()).await.unwrap() {
        crate::outage::IDENTITY.is(&reply);
    }
    crate::outage::IDENTITY.is(&first.await.unwrap().unwrap());
    world.assert_unharmed().await;

    world.azure.imds.fault(Fault::Delay(Duration::from_secs(3)));
    let asked = world.identity_fetches();
    // Only while IMDS takes its time does the whole crowd wait for the same answer.
    eventually("somebody waits, so IMDS is asked again", async || {
        _ = timeout(Duration::from_millis(300), Reply::to(world.chat_as(&world.token()))).await;
        (world.identity_fetches() > asked).then_some(())
    })
    .await;
    for reply in Reply::to_each(crowd()).await.unwrap() {
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    world.assert_unharmed().await;
}

#[tokio::test]
async fn a_request_that_is_admitted_may_wait_longer_for_the_backend_than_for_keyless() {
    let world = World::with(|shipped| {
        let route = json!({
            "name": "open", "match": { "methods": ["POST"], "path": "/open" }, "public": true
        });
        shipped.plugin(|plugin| plugin["routes"].as_array_mut().unwrap().push(route))
    });
    let world = world.await;
    // A request that nobody has admitted is given up after 12 s.
    world.azure.openai.fault(Fault::Delay(Duration::from_secs(14)));
    // Of the second one keyless changes nothing.
    let open = world.request(Method::POST, "/open");
    let (chat, open) = tokio::join!(Reply::to(world.chat_as(&world.token())), Reply::to(open));
    assert_eq!((chat.unwrap().status, open.unwrap().status), (200, 404), "the backend's own");
}
