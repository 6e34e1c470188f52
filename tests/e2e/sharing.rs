//! How often one proxy asks the world, however many threads it has, and what its threads leave where
//! other modules could read it.

mod spy;

use std::time::Duration;

use gateway::{Blueprint, StartOptions};
use local_azure::{Fault, LocalAzure, Options};
use serde_json::{Value, json};
use tokio::time::Instant;

use spy::{Spy, key_of_identity, with_spies};
use testkit::reply::Reply;
use testkit::world::{World, shipped, without_an_id};

/// A machine of usual size has as many.
const THREADS: u32 = 8;

async fn world(workers: u32, change: impl FnOnce(Blueprint) -> Blueprint) -> World {
    let azure = LocalAzure::start(Options::default()).await.unwrap();
    let blueprint = change(shipped(&azure));
    let world = World::run(azure, blueprint, StartOptions { workers, ..StartOptions::default() });
    let world = world.await;
    // Threads that ask at the same time can be seen only if an answer takes a while.
    world.azure.issuer.fault(Fault::Delay(Duration::from_millis(300)));
    world.azure.imds.fault(Fault::Delay(Duration::from_millis(300)));
    world
}

/// Counts the requests to the issuer and to IMDS.
fn asked(world: &World) -> (usize, usize) {
    (world.key_fetches(), world.identity_fetches())
}

#[tokio::test]
async fn eight_threads_that_start_cold_under_load_ask_imds_once_and_the_issuer_once() {
    let world = world(THREADS, |shipped| shipped).await;
    let load = || world.assert_every_worker_admits();
    tokio::join!(load(), load(), load());
    assert_eq!(asked(&world), (1, 1));
    for seen in world.azure.openai.requests() {
        world.assert_swapped(&seen, &world.token());
    }
    world.assert_unharmed().await;
}

#[tokio::test]
async fn new_tokens_that_come_to_eight_threads_at_once_are_all_admitted_after_one_fetch_of_each_value()
 {
    let world = world(THREADS, |shipped| shipped).await;
    let token = |number| world.token_with(json!({ "sub": format!("caller-{number}") }));
    let tokens: Vec<_> = (0..32 * THREADS).map(token).collect();
    let replies = Reply::to_each(tokens.iter().map(|token| world.chat_as(token))).await.unwrap();
    assert!(replies.iter().all(|reply| reply.status == 200), "{replies:?}");
    assert_eq!(asked(&world), (1, 1));
    let seen = world.azure.openai.requests();
    assert_eq!(seen.len(), tokens.len());
    for seen in &seen {
        world.assert_swapped(seen, &tokens[0]);
    }
    world.assert_every_worker_admits().await;
    assert_eq!(asked(&world), (1, 1));
    world.assert_unharmed().await;
}

#[tokio::test]
async fn without_an_id_each_thread_asks_for_its_own_token_and_never_two_at_a_time() {
    let world = world(THREADS, without_an_id).await;
    world.assert_every_worker_admits().await;
    let threads = usize::try_from(THREADS).unwrap();
    assert_eq!(asked(&world), (threads, threads));
    assert_eq!(world.azure.imds.most_at_once(), 1);
    world.assert_every_worker_admits().await;
    assert_eq!(asked(&world), (threads, threads));
    world.assert_unharmed().await;
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "the figures are worth a look")]
async fn with_an_id_more_threads_ask_no_more_often_and_without_one_each_asks_once() {
    for workers in [1, 2, 4] {
        let threads = usize::try_from(workers).unwrap();
        let private = world(workers, |shipped| shipped).await;
        private.assert_every_worker_admits().await;
        let public = world(workers, without_an_id).await;
        public.assert_every_worker_admits().await;
        println!(
            "{workers} threads: (issuer, IMDS) were asked {:?} with an id, {:?} without",
            asked(&private),
            asked(&public)
        );
        assert_eq!((asked(&private), asked(&public)), ((1, 1), (threads, threads)));
        assert_eq!(public.azure.imds.most_at_once(), 1);
    }
}

#[tokio::test]
async fn tokens_that_live_shortly_are_renewed_once_for_all_threads_and_nobody_notices() {
    const LIFE: Duration = Duration::from_secs(8);
    let world = world(THREADS, |shipped| shipped).await;
    world.azure.imds.set_lifetime(LIFE);
    world.assert_every_worker_admits().await;
    let begun = Instant::now();
    while world.identity_fetches() < 4 {
        world.assert_every_worker_admits().await;
        assert!(begun.elapsed() < 5 * LIFE, "{} tokens", world.identity_fetches());
    }
    // Half-way, or up to a tenth earlier; the answer says in whole seconds when the token expires.
    let shortest = (LIFE - Duration::from_secs(1)) / 2;
    let most = 1 + begun.elapsed().as_millis() / shortest.mul_f64(0.9).as_millis();
    assert!(world.identity_fetches() as u128 <= most, "more than {most}");
    assert_eq!((world.key_fetches(), world.azure.imds.most_at_once()), (1, 1));
    world.assert_unharmed().await;
}

#[tokio::test]
async fn the_token_lies_where_modules_of_the_same_id_can_read_it_and_without_an_id_nowhere() {
    let changes: [fn(Blueprint) -> Blueprint; 2] = [|shipped| shipped, without_an_id];
    for (change, is_private) in changes.into_iter().zip([true, false]) {
        let mut configuration = Value::Null;
        let world = world(2, |shipped| {
            with_spies(change(shipped).plugin(|plugin| configuration = plugin.clone()))
        });
        let (world, key) = (world.await, key_of_identity(&configuration));
        world.assert_every_worker_admits().await;
        let notes = [Spy::Private, Spy::Nobodys].map(async |spy| spy.read(&world, &key).await);
        let [private, nobodys] = notes;
        let (private, nobodys) = (private.await, nobodys.await);
        assert_eq!((private.is_some(), nobodys.is_some()), (is_private, !is_private));

        let issued = world.azure.imds.issued();
        let shown = String::from_utf8_lossy(&private.or(nobodys).unwrap()).into_owned();
        let is_shown = issued.iter().any(|token| shown.contains(token));
        assert_eq!(is_shown, is_private, "{shown}");
        assert_eq!(shown.contains("access_token"), is_private, "{shown}");
    }
}

#[tokio::test]
async fn while_azure_throttles_eight_threads_together_ask_no_more_often_than_one() {
    let world = world(THREADS, |shipped| shipped).await;
    world.azure.imds.fault(Fault::Status(429));
    let (begun, token) = (Instant::now(), world.token());
    while begun.elapsed() < Duration::from_secs(12) {
        for reply in Reply::to_each((0..40).map(|_| world.chat_as(&token))).await.unwrap() {
            crate::outage::IDENTITY.is(&reply);
        }
    }
    // At 0, 2, 8, 22 and 52 s, the pauses up to a tenth shorter.
    let most = 3 + usize::from(begun.elapsed() > Duration::from_secs(19));
    assert!((3..=most).contains(&world.identity_fetches()), "{}", world.identity_fetches());
    world.assert_unharmed().await;
}
