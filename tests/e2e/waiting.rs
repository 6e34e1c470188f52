//! Requests that have to wait for keys and an identity token.

use std::time::Duration;

use local_azure::Fault;
use tokio::time::sleep;

use crate::reply::Reply;
use crate::world::{CHAT, CONNECTIONS, WORKERS, World, chat_body};

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
