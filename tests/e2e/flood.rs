//! A flood of hostile requests, of which nothing must stay: no memory, no trap, no admission.

use std::collections::BTreeMap;
use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use testkit::line::Line;
use testkit::world::{CHAT, WORKERS, World};

/// How many there are, unless the environment variable `FLOOD` says otherwise.
const REQUESTS: usize = 200_000;
const CALLERS: usize = 64;
/// How much more memory Envoy may hold at the end than when it was warm, in KiB.
const GROWTH: u64 = 16 * 1024;

/// Says what is wrong with a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Attack {
    /// The connection ends in the middle of the body.
    Aborted,
    /// The token says that it needs no signature.
    AlgNone,
    /// The body is no JSON, though it says so, and says more of itself than there is.
    BrokenBody,
    /// The signature is that of other claims.
    ChangedClaims,
    /// The claims are nested thousands of times.
    DeepJson,
    FiveParts,
    /// The headers are longer than Envoy takes, and Envoy closes the connection.
    HugeHeaders,
    /// As long as a token may be, with a signature that has to be verified.
    LargeToken,
    NotUtf8,
    RandomBytes,
    /// One request in another, for whoever reads the other length.
    Smuggled,
    /// A key that the issuer does not have. Soon after the issuer was asked, these need not wait.
    UnknownKey,
}

impl Attack {
    fn of(number: usize) -> Self {
        let usual = [
            Self::AlgNone,
            Self::ChangedClaims,
            Self::DeepJson,
            Self::FiveParts,
            Self::LargeToken,
            Self::NotUtf8,
            Self::RandomBytes,
        ];
        match number {
            0..5_000 if number % 100 == 99 => Self::UnknownKey,
            // These cost a connection each.
            _ if number.is_multiple_of(64) => {
                let costly = [Self::Aborted, Self::BrokenBody, Self::HugeHeaders, Self::Smuggled];
                costly[number / 64 % costly.len()]
            }
            _ => usual[number % usual.len()],
        }
    }
}

/// The parts of a good token, to be misused.
struct Parts {
    header: String,
    claims: serde_json::Value,
    signature: String,
}

impl Parts {
    fn of(world: &World) -> Self {
        let claims = world.azure.issuer.claims();
        let token = world.azure.issuer.mint(&claims);
        let [header, _, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!() };
        Self { header: header.to_owned(), claims, signature: signature.to_owned() }
    }

    /// Returns the request of a number; no other has the same credential.
    fn request(&self, attack: Attack, number: usize) -> Vec<u8> {
        let json = "content-type: application/json\r\n";
        let (method, further, body) = match attack {
            Attack::Aborted => ("POST", format!("{json}content-length: 99\r\n"), "{\"mo"),
            Attack::BrokenBody => ("POST", format!("{json}content-length: 6\r\n"), "{\"a\":["),
            Attack::HugeHeaders => ("GET", format!("x-huge: {}\r\n", "h".repeat(70_000)), ""),
            Attack::Smuggled => {
                let lengths = "content-length: 4\r\ntransfer-encoding: chunked\r\n";
                ("POST", lengths.to_owned(), "0\r\n\r\nGET / HTTP/1.1\r\nhost: gateway\r\n\r\n")
            }
            _ => ("GET", String::new(), ""),
        };
        [
            format!("{method} {CHAT} HTTP/1.1\r\nhost: gateway\r\n{further}").as_bytes(),
            b"authorization: Bearer ",
            &self.credential(attack, number),
            b"\r\n\r\n",
            body.as_bytes(),
        ]
        .concat()
    }

    fn credential(&self, attack: Attack, number: usize) -> Vec<u8> {
        let Self { header, signature, .. } = self;
        match attack {
            Attack::Aborted
            | Attack::BrokenBody
            | Attack::ChangedClaims
            | Attack::HugeHeaders
            | Attack::Smuggled => self.token("x", number),
            Attack::AlgNone => self.signed_by(&json!({"alg": "none", "typ": "JWT"}), ""),
            Attack::LargeToken => self.token(&"x".repeat(11_200), number),
            Attack::FiveParts => [&self.token("x", number)[..], b".e30.e30"].concat(),
            Attack::NotUtf8 => [&b"\xff\xfe\xed\xa0\x80"[..], &self.token("x", number)].concat(),
            Attack::DeepJson => {
                let deep = URL_SAFE_NO_PAD.encode(format!(r#"{{"{number}":{}"#, "[".repeat(4000)));
                format!("{header}.{deep}.{signature}").into_bytes()
            }
            Attack::UnknownKey => {
                let header = json!({"alg": "RS256", "typ": "JWT", "kid": format!("k{number}")});
                self.signed_by(&header, signature)
            }
            Attack::RandomBytes => random_bytes(number).take(300).collect(),
        }
    }

    /// Returns a token of good claims with another header.
    fn signed_by(&self, header: &serde_json::Value, signature: &str) -> Vec<u8> {
        let claims = URL_SAFE_NO_PAD.encode(self.claims.to_string());
        let header = URL_SAFE_NO_PAD.encode(header.to_string());
        format!("{header}.{claims}.{signature}").into_bytes()
    }

    /// Returns a token of the issuer's key whose claims were changed.
    fn token(&self, filling: &str, number: usize) -> Vec<u8> {
        let mut claims = self.claims.clone();
        claims["uti"] = json!(number);
        claims["filling"] = json!(filling);
        let claims = URL_SAFE_NO_PAD.encode(claims.to_string());
        format!("{}.{claims}.{}", self.header, self.signature).into_bytes()
    }
}

/// Bytes of a linear congruential generator (Knuth's MMIX), but for the control characters, which
/// Envoy itself refuses.
fn random_bytes(seed: usize) -> impl Iterator<Item = u8> {
    let mut state = seed as u64;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()[0]
    })
    .filter(|byte| *byte >= b' ' && *byte != 0x7f)
}

/// Counts replies by status; 0 is a connection that ended without a reply.
type Tally = BTreeMap<u16, usize>;

/// Sends one request after the other until all callers together have sent those up to `until`.
async fn harass(
    mut line: Line,
    world: Arc<World>,
    parts: Arc<Parts>,
    sent: Arc<AtomicUsize>,
    until: usize,
) -> Tally {
    let mut tally = Tally::new();
    loop {
        let number = sent.fetch_add(1, Ordering::Relaxed);
        if number >= until {
            return tally;
        }
        let attack = Attack::of(number);
        if attack == Attack::Aborted {
            // Envoy may have ended it first.
            _ = line.say(&parts.request(attack, number)).await;
            line = Line::open(world.gateway.address()).await;
            *tally.entry(0).or_default() += 1;
            continue;
        }
        let reply = line.ask(&parts.request(attack, number)).await;
        let status = reply.as_ref().map_or(0, |reply| reply.status);
        if attack == Attack::HugeHeaders {
            // Envoy closes the connection, perhaps while they are still on their way.
            assert!(matches!(status, 0 | 431), "{reply:?}");
        } else {
            assert!((400..500).contains(&status), "{attack:?}: {reply:?}");
        }
        if reply.is_none_or(|reply| reply.header("connection") == Some("close")) {
            line = Line::open(world.gateway.address()).await;
        }
        *tally.entry(status).or_default() += 1;
    }
}

/// Sends the requests from the number `sent` up to `until`, over connections to all workers.
async fn flood(world: &Arc<World>, parts: &Arc<Parts>, sent: usize, until: usize) -> Tally {
    let sent = Arc::new(AtomicUsize::new(sent));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let line = Line::open(world.gateway.address()).await;
        let (world, parts, sent) = (Arc::clone(world), Arc::clone(parts), Arc::clone(&sent));
        callers.spawn(harass(line, world, parts, sent, until));
    }
    let mut total = Tally::new();
    for (status, count) in callers.join_all().await.into_iter().flatten() {
        *total.entry(status).or_default() += count;
    }
    total
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "the figures are worth a look")]
async fn a_flood_leaves_nothing_behind() {
    let world = World::with(|shipped| {
        // A refused POST costs a connection, which is Envoy's way; a flood of GETs is faster.
        shipped.plugin(|plugin| plugin["routes"][0]["match"]["methods"] = json!(["GET", "POST"]))
    });
    let world = Arc::new(world.await);
    world.assert_every_worker_admits().await;
    let (admitted, parts) = (world.azure.openai.requests().len(), Arc::new(Parts::of(&world)));

    let requests = env::var("FLOOD").map_or(REQUESTS, |count| count.parse().unwrap());
    let begun = Instant::now();
    let (mut tally, mut memory, mut sent) = (Tally::new(), Vec::new(), 0);
    // After a tenth, whatever is allocated once has been allocated.
    for until in [requests / 10, requests / 2, requests] {
        for (status, count) in flood(&world, &parts, sent, until).await {
            *tally.entry(status).or_default() += count;
        }
        sent = until;
        memory.push(world.gateway.resident().unwrap());
    }
    let [warm, _, end] = memory[..] else { panic!() };
    let elapsed = begun.elapsed();
    let speed = requests as u128 * 1000 / elapsed.as_millis();
    let fetches = world.key_fetches();
    println!(
        "{requests} requests in {elapsed:.1?}, {speed} a second: {tally:?}; \
        {memory:?} KiB after a tenth, a half, and all; {fetches} JWKS requests"
    );

    assert_eq!(tally.values().sum::<usize>(), requests);
    assert_eq!(world.azure.openai.requests().len(), admitted, "the backend saw nothing of it");
    let intervals = usize::try_from(elapsed.as_secs() / 30).unwrap();
    let bound = WORKERS + 3 + intervals;
    assert!(fetches <= bound, "{fetches} JWKS requests: a few for all unknown keys");
    assert!(world.identity_fetches() <= WORKERS, "{} fetches", world.identity_fetches());
    assert!(end < warm + GROWTH, "from {warm} KiB to {end} KiB");
    for _ in 0..5 {
        world.assert_every_worker_admits().await;
    }
    world.assert_unharmed().await;
}
