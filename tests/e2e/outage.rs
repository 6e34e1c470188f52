//! Keys and identity tokens that are unavailable: the gateway's fault, and temporary.

use local_azure::{Fault, Issuer, Options};

use testkit::reply::{Refusal, Reply};
use testkit::world::{CONNECTIONS, World, eventually, with_partner};

const KEYS: Refusal = Refusal::unavailable("keys_unavailable");
pub(crate) const IDENTITY: Refusal = Refusal::unavailable("identity_unavailable");

#[tokio::test]
async fn an_issuer_that_closes_the_connection_is_got_over() {
    let world = World::start().await;
    world.azure.issuer.fault(Fault::Close);
    refused_until(&world, KEYS, async || world.azure.issuer.heal()).await;
}

#[tokio::test]
async fn an_issuer_that_answers_500_is_got_over() {
    let world = World::start().await;
    world.azure.issuer.fault(Fault::Status(500));
    refused_until(&world, KEYS, async || world.azure.issuer.heal()).await;
}

#[tokio::test]
async fn an_issuer_that_answers_garbage_is_got_over() {
    let world = World::start().await;
    world.azure.issuer.fault(Fault::Garbage);
    refused_until(&world, KEYS, async || world.azure.issuer.heal()).await;
}

#[tokio::test]
async fn an_issuer_that_answers_30_megabytes_is_got_over_and_fills_no_memory() {
    let world = World::start().await;
    world.azure.issuer.fault(Fault::Giant(30 << 20));
    refused_until(&world, KEYS, async || world.azure.issuer.heal()).await;
    assert_memory(&world);
}

#[tokio::test]
async fn an_issuer_that_never_answers_is_got_over() {
    let world = World::start().await;
    world.azure.issuer.fault(Fault::Hang);
    refused_until(&world, KEYS, async || world.azure.issuer.heal()).await;
}

#[tokio::test]
async fn an_issuer_that_does_not_listen_is_got_over() {
    let world = World::start().await;
    world.azure.issuer.stop().await;
    refused_until(&world, KEYS, async || world.azure.issuer.resume().await.unwrap()).await;
}

#[tokio::test]
async fn the_log_says_why_an_issuer_is_unreachable() {
    let world = World::start().await;
    world.azure.issuer.fault(Fault::Close);
    let token = world.token();
    world.refuses(world.chat_as(&token), KEYS).await;
    let line =
        "fetch kind=jwks name=entra result=unreachable message=\"unreachable: reset reason: ";
    assert!(world.gateway.log().contains(line), "{}", world.gateway.log());
    world.azure.issuer.fault(Fault::Status(503));
    let own = "fetch kind=jwks name=entra result=status message=\"status 503\"";
    eventually("the issuer's own 503 is logged", async || {
        world.refuses(world.chat_as(&token), KEYS).await;
        world.gateway.log().contains(own).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_imds_that_answers_429_is_got_over() {
    let world = World::start().await;
    world.azure.imds.fault(Fault::Status(429));
    refused_until(&world, IDENTITY, async || world.azure.imds.heal()).await;
}

#[tokio::test]
async fn an_imds_that_answers_garbage_is_got_over() {
    let world = World::start().await;
    world.azure.imds.fault(Fault::Garbage);
    refused_until(&world, IDENTITY, async || world.azure.imds.heal()).await;
}

#[tokio::test]
async fn an_imds_that_answers_a_gigabyte_is_got_over_and_fills_no_memory() {
    let world = World::start().await;
    world.azure.imds.fault(Fault::Giant(1 << 30));
    refused_until(&world, IDENTITY, async || world.azure.imds.heal()).await;
    assert_memory(&world);
}

#[tokio::test]
async fn an_imds_that_never_answers_is_got_over() {
    let world = World::start().await;
    world.azure.imds.fault(Fault::Hang);
    refused_until(&world, IDENTITY, async || world.azure.imds.heal()).await;
}

#[tokio::test]
async fn an_imds_that_does_not_listen_is_got_over() {
    let world = World::start().await;
    world.azure.imds.stop().await;
    refused_until(&world, IDENTITY, async || world.azure.imds.resume().await.unwrap()).await;
}

#[tokio::test]
async fn a_cluster_that_does_not_exist_is_our_fault() {
    for (refusal, pointer) in
        [(KEYS, "/issuers/0/jwks/cluster"), (IDENTITY, "/identities/openai/imds/cluster")]
    {
        let world = World::with(|shipped| {
            shipped.plugin(|plugin| *plugin.pointer_mut(pointer).unwrap() = "nowhere".into())
        });
        let world = world.await;
        world.refuses(world.chat_as(&world.token()), refusal).await;
        world.assert_unharmed().await;
    }
}

#[tokio::test]
async fn keys_and_identity_at_hand_outlast_an_outage() {
    let world = World::start().await;
    world.assert_every_worker_admits().await;
    world.azure.issuer.stop().await;
    world.azure.imds.stop().await;
    world.assert_every_worker_admits().await;
}

#[tokio::test]
async fn callers_of_one_issuer_do_not_wait_for_another() {
    let options = Options { issuer: "https://idp.example.com/".to_owned(), ..Options::default() };
    let partner = Issuer::start(&options).await.unwrap();
    partner.fault(Fault::Hang);
    let world = World::with(|shipped| with_partner(shipped, &partner)).await;
    let waiting = tokio::spawn(Reply::to(world.chat_as(&partner.mint(&partner.claims()))));
    world.assert_every_worker_admits().await;
    assert!(!waiting.is_finished());
    KEYS.is(&waiting.await.unwrap().unwrap());
}

/// Fails unless callers are refused while something is broken, are told that it is not their fault,
/// and are served again by every worker some time after the repair.
async fn refused_until(world: &World, refusal: Refusal, repair: impl AsyncFnOnce()) {
    let token = world.token();
    for reply in from_everywhere(world, &token).await {
        refusal.is(&reply);
    }
    assert_eq!(world.azure.openai.requests().len(), 0);
    repair().await;
    eventually("every worker serves again", async || {
        let replies = from_everywhere(world, &token).await;
        let unserved: Vec<_> = replies.iter().filter(|reply| reply.status != 200).collect();
        for reply in &unserved {
            refusal.is(reply);
        }
        unserved.is_empty().then_some(())
    })
    .await;
    world.assert_every_worker_admits().await;
    world.assert_unharmed().await;
}

/// Fails if Envoy holds much more than it usually does, which is about 120 MiB.
fn assert_memory(world: &World) {
    let resident = world.gateway.resident().unwrap();
    assert!(resident < 384 << 10, "{resident} KiB");
}

/// Sends a caller's request over so many connections at a time that each worker gets some.
async fn from_everywhere(world: &World, token: &str) -> Vec<Reply> {
    Reply::to_each((0..CONNECTIONS).map(|_| world.chat_as(token))).await.unwrap()
}
