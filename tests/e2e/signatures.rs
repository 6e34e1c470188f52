//! Signatures of every algorithm, verified by Envoy and, where Envoy may not help, by the module.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway::Blueprint;
use serde_json::json;

use testkit::reply::Refusal;
use testkit::world::{WITHOUT_FOREIGN_FUNCTIONS, World};

const ALGORITHMS: [&str; 9] =
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

const INVALID: Refusal = Refusal::invalid_token("signature_invalid");

/// Says who computes.
#[derive(Clone, Copy)]
enum Verifier {
    Host,
    Native,
    Sandbox,
}

impl Verifier {
    /// Returns those of the host that runs the tests.
    fn all() -> &'static [Self] {
        if gateway::dynamic_module().is_some() {
            return &[Self::Native];
        }
        &[Self::Host, Self::Sandbox]
    }

    /// Starts a world whose issuer may use every algorithm, or the default one only.
    async fn world(self, lists_all: bool) -> World {
        let world = World::with(|shipped| {
            let shipped = self.granted(shipped);
            if lists_all { shipped.plugin(list_all) } else { shipped }
        });
        let world = world.await;
        self.assert_chosen(&world).await;
        world
    }

    fn granted(self, shipped: Blueprint) -> Blueprint {
        match self {
            Self::Host | Self::Native => shipped,
            Self::Sandbox => shipped.capabilities(&WITHOUT_FOREIGN_FUNCTIONS),
        }
    }

    async fn assert_chosen(self, world: &World) {
        let (name, gauge) = match self {
            Self::Host => ("crypto=host", 1),
            Self::Native => ("crypto=native", 1),
            Self::Sandbox => ("crypto=sandbox", 0),
        };
        let log = world.gateway.log();
        let chosen: Vec<_> = log.lines().filter(|line| line.contains("crypto=")).collect();
        assert!(!chosen.is_empty() && chosen.iter().all(|line| line.contains(name)), "{chosen:?}");
        world.refuses(world.chat(), Refusal::token_missing()).await;
        assert_eq!(world.gateway.metric("keyless_host_crypto").await.unwrap(), gauge);
    }
}

fn list_all(plugin: &mut serde_json::Value) {
    plugin["issuers"][0]["algorithms"] = json!(ALGORITHMS);
}

/// A good token, taken apart.
struct Signed {
    input: String,
    signature: Vec<u8>,
}

impl Signed {
    fn by(world: &World, algorithm: &str) -> Self {
        let token = world.azure.issuer.mint_as(algorithm, &world.azure.issuer.claims());
        let (input, signature) = token.rsplit_once('.').unwrap();
        Self { input: input.to_owned(), signature: URL_SAFE_NO_PAD.decode(signature).unwrap() }
    }

    /// Makes one token of each algorithm, and thereby all keys, before anybody asks for them.
    fn by_each(world: &World) -> [Self; 9] {
        ALGORITHMS.map(|algorithm| Self::by(world, algorithm))
    }

    /// Returns the token with another signature.
    fn with(&self, signature: &[u8]) -> String {
        format!("{}.{}", self.input, URL_SAFE_NO_PAD.encode(signature))
    }
}

#[tokio::test]
async fn tokens_of_every_listed_algorithm_pass() {
    for verifier in Verifier::all().iter().copied() {
        let world = verifier.world(true).await;
        let tokens = ALGORITHMS
            .map(|algorithm| world.azure.issuer.mint_as(algorithm, &world.azure.issuer.claims()));
        for token in &tokens {
            world.admits(token, world.chat()).await;
        }
        world.assert_every_worker_admits().await;
        world.assert_unharmed().await;
    }
}

#[tokio::test]
async fn by_default_only_rs256_passes() {
    for verifier in Verifier::all().iter().copied() {
        let world = verifier.world(false).await;
        for algorithm in ALGORITHMS {
            let token = world.azure.issuer.mint_as(algorithm, &world.azure.issuer.claims());
            if algorithm == "RS256" {
                world.admits(&token, world.chat()).await;
            } else {
                let refusal = Refusal::invalid_token("algorithm_forbidden");
                world.refuses(world.chat_as(&token), refusal).await;
            }
        }
    }
}

#[tokio::test]
async fn a_signature_with_a_flipped_bit_is_refused_whatever_the_algorithm() {
    for verifier in Verifier::all().iter().copied() {
        let world = verifier.world(true).await;
        for signed in Signed::by_each(&world) {
            let last = signed.signature.len() - 1;
            for at in [0, last / 2, last] {
                let mut flipped = signed.signature.clone();
                flipped[at] ^= 1;
                world.refuses(world.chat_as(&signed.with(&flipped)), INVALID).await;
            }
            world.admits(&signed.with(&signed.signature), world.chat()).await;
        }
        world.assert_unharmed().await;
    }
}

#[tokio::test]
async fn a_signature_of_another_length_is_refused_and_harms_no_worker() {
    for verifier in Verifier::all().iter().copied() {
        let world = verifier.world(true).await;
        for signed in Signed::by_each(&world) {
            let own = signed.signature.len();
            for length in [0, 1, 63, 64, 65, 255, 257].into_iter().filter(|length| *length != own) {
                let mut changed = signed.signature.clone();
                changed.resize(length, 0);
                world.refuses(world.chat_as(&signed.with(&changed)), INVALID).await;
            }
        }
        world.assert_every_worker_admits().await;
        world.assert_unharmed().await;
    }
}

#[tokio::test]
async fn an_ecdsa_signature_has_the_form_of_jws_and_numbers_of_the_group() {
    for verifier in Verifier::all().iter().copied() {
        let world = verifier.world(true).await;
        let (on_p256, on_p384) = (Signed::by(&world, "ES256"), Signed::by(&world, "ES384"));
        let der = p256::ecdsa::Signature::from_slice(&on_p256.signature).unwrap().to_der();
        refuses_as_ecdsa(&world, &on_p256, der.as_bytes()).await;
        let der = p384::ecdsa::Signature::from_slice(&on_p384.signature).unwrap().to_der();
        refuses_as_ecdsa(&world, &on_p384, der.as_bytes()).await;
        world.assert_every_worker_admits().await;
        world.assert_unharmed().await;
    }
}

/// Sends the signature as DER, and with either half replaced by zero and by more than the order.
async fn refuses_as_ecdsa(world: &World, signed: &Signed, der: &[u8]) {
    let (r, s) = signed.signature.split_at(signed.signature.len() / 2);
    let (zero, most) = (vec![0; r.len()], vec![0xff; r.len()]);
    let halves = [(&zero[..], s), (r, &zero), (&zero, &zero), (&most, s), (r, &most), (s, r)];
    let halves = halves.map(|(r, s)| [r, s].concat());
    for signature in halves.iter().map(Vec::as_slice).chain([der]) {
        world.refuses(world.chat_as(&signed.with(signature)), INVALID).await;
    }
}

#[tokio::test]
async fn a_signature_does_not_pass_for_one_of_another_algorithm() {
    for verifier in Verifier::all().iter().copied() {
        let world = verifier.world(true).await;
        for algorithm in ["RS384", "RS512", "PS256", "PS384", "PS512"] {
            let token = world.token_with_header(json!({"alg": algorithm}));
            world.refuses(world.chat_as(&token), INVALID).await;
        }
        for algorithm in ["ES256", "ES384", "EdDSA"] {
            let token = world.token_with_header(json!({"alg": algorithm}));
            let refusal = Refusal::invalid_token("algorithm_forbidden");
            world.refuses(world.chat_as(&token), refusal).await;
        }
    }
}
