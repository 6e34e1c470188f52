//! OIDC servers of others issue callers' tokens.

use gateway::Blueprint;
use serde_json::{Value, json};

use crate::program::{Program, Server};
use testkit::reply::{Refusal, Reply};
use testkit::world::{CONNECTIONS, World, eventually};

const AUDIENCE: &str = "api://openai-gateway";
const CLIENT: &str = "app";
const SECRET: &str = "the-secret-of-app";

/// Describes a server and which algorithms it signs access tokens with.
#[derive(Clone, Copy, Debug)]
struct Maker {
    program: Program,
    algorithms: &'static [&'static str],
}

/// The certified one for Node.js.
const OIDC_PROVIDER: Maker = Maker {
    program: Program::Node("oidc-provider.mjs"),
    algorithms: &["RS256", "PS256", "ES256", "EdDSA"],
};

/// The one for Python; its tokens have no `kid`, a list in `aud`, and ten days to live.
const AUTHLIB: Maker =
    Maker { program: Program::Python("authlib_server.py"), algorithms: &["RS256", "ES256"] };

/// The one for Go; its tokens name their scopes in `scope`, and their client in `sub` alone.
const FOSITE: Maker = Maker {
    program: Program::Go("fosite-server"),
    algorithms: &["RS256", "PS256", "ES256", "ES384"],
};

/// How keyless finds the keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Keys {
    Discovery,
    Uri,
}

/// A running server.
struct Provider {
    maker: Maker,
    server: Server,
    metadata: Value,
}

impl Maker {
    async fn start(self) -> Provider {
        self.start_on(0).await
    }

    /// Starts a server with new keys on this port, or on any free one for 0.
    async fn start_on(self, port: u16) -> Provider {
        self.start_with(port, &Value::Null).await
    }

    /// Starts it as `https://localhost:PORT` if there is a certificate.
    async fn start_with(self, port: u16, tls: &Value) -> Provider {
        let order = json!({
            "algorithms": self.algorithms,
            "audience": AUDIENCE,
            "client": { "client_id": CLIENT, "client_secret": SECRET },
            "port": port,
            "scopes": "openai.chat openai.embeddings",
            "tls": tls,
        });
        let server = self.program.serve(&order).await;
        let door = server.said["door"].as_str().unwrap();
        let document = format!("{door}/.well-known/openid-configuration");
        let metadata = eventually("the server answers", async || {
            reqwest::get(&document).await.ok()?.json().await.ok()
        });
        Provider { maker: self, metadata: metadata.await, server }
    }
}

impl Provider {
    fn endpoint(&self, name: &str) -> &str {
        self.metadata[name].as_str().unwrap_or_else(|| panic!("{name}: {}", self.metadata))
    }

    fn port(&self) -> u16 {
        reqwest::Url::parse(self.endpoint("issuer")).unwrap().port().unwrap()
    }

    /// Restarts the server on its port, with other keys.
    async fn restart(self) -> Self {
        let (maker, port) = (self.maker, self.port());
        self.server.stop().await;
        maker.start_on(port).await
    }

    /// Gets a token of an algorithm, as a client with a secret (RFC 6749 §4.4).
    async fn token(&self, algorithm: &str, scope: &str) -> String {
        self.token_for(&self.server.said["orders"][algorithm], scope).await
    }

    async fn token_for(&self, parameters: &Value, scope: &str) -> String {
        let mut form = vec![("grant_type", "client_credentials"), ("scope", scope)];
        form.extend(
            parameters.as_object().into_iter().flatten().map(|(k, v)| (&**k, v.as_str().unwrap())),
        );
        let url = reqwest::Url::parse_with_params("http://form", form).unwrap();
        let request = reqwest::Client::new().post(self.endpoint("token_endpoint"));
        let request = request
            .basic_auth(CLIENT, Some(SECRET))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(url.query().unwrap().to_owned());
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// Trusts this server alone.
    fn trust(&self, shipped: Blueprint, keys: Keys) -> Blueprint {
        let mut jwks = json!({ "cluster": "provider", "unknown_kid_interval": "1s" });
        match keys {
            Keys::Discovery => jwks["discovery"] = true.into(),
            Keys::Uri => jwks["uri"] = self.endpoint("jwks_uri").into(),
        }
        let entry = json!({
            "name": "provider",
            "issuer": self.endpoint("issuer"),
            "audiences": [AUDIENCE],
            "algorithms": self.maker.algorithms,
            "jwks": jwks,
        });
        let address = ([127, 0, 0, 1], self.port()).into();
        shipped.cluster("provider", address).plugin(|plugin| plugin["issuers"] = json!([entry]))
    }

    async fn world(&self, keys: Keys) -> World {
        World::with(|shipped| self.trust(shipped, keys)).await
    }
}

#[tokio::test]
async fn tokens_of_each_server_and_algorithm_are_admitted_however_the_keys_are_found() {
    for maker in [OIDC_PROVIDER, AUTHLIB, FOSITE] {
        let provider = maker.start().await;
        for keys in [Keys::Discovery, Keys::Uri] {
            let world = provider.world(keys).await;
            for algorithm in maker.algorithms {
                let token = provider.token(algorithm, "openai.chat").await;
                world.admits(&token, world.chat()).await;
            }
            world.assert_unharmed().await;
        }
    }
}

#[tokio::test]
async fn tokens_that_do_not_suffice_are_refused_with_what_is_missing() {
    for maker in [OIDC_PROVIDER, AUTHLIB, FOSITE] {
        let provider = maker.start().await;
        let world = provider.world(Keys::Discovery).await;
        let token = provider.token("RS256", "openai.embeddings").await;
        let refusal = Refusal::forbidden("scope_missing");
        let reply = world.refuses(world.chat_as(&token), refusal).await;
        let challenge = reply.header("www-authenticate").unwrap();
        assert!(challenge.contains(r#"scope="openai.chat""#), "{challenge}");
    }
}

#[tokio::test]
async fn an_opaque_token_is_no_jwt() {
    let provider = OIDC_PROVIDER.start().await;
    let world = provider.world(Keys::Discovery).await;
    let opaque = provider.token_for(&Value::Null, "").await;
    world.refuses(world.chat_as(&opaque), Refusal::invalid_token("token_malformed")).await;
}

#[tokio::test]
async fn the_keys_of_a_restarted_server_replace_those_before() {
    let provider = OIDC_PROVIDER.start().await;
    let world = provider.world(Keys::Discovery).await;
    let old = provider.token("RS256", "openai.chat").await;
    for reply in from_everywhere(&world, &old).await {
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    let provider = provider.restart().await;
    for algorithm in OIDC_PROVIDER.algorithms {
        let new = provider.token(algorithm, "openai.chat").await;
        for reply in from_everywhere(&world, &new).await {
            assert_eq!(reply.status, 200, "{algorithm}: {reply:?}");
        }
    }
    for reply in from_everywhere(&world, &old).await {
        Refusal::invalid_token("key_unknown").is(&reply);
    }
    world.assert_unharmed().await;
}

#[tokio::test]
async fn new_keys_that_no_token_names_are_known_after_a_refresh() {
    let provider = AUTHLIB.start().await;
    let world = World::with(|shipped| {
        let trusting = provider.trust(shipped, Keys::Uri);
        trusting.plugin(|plugin| plugin["issuers"][0]["jwks"]["refresh"] = "2s".into())
    });
    let world = world.await;
    let old = provider.token("ES256", "openai.chat").await;
    for reply in from_everywhere(&world, &old).await {
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    let provider = provider.restart().await;
    let new = provider.token("ES256", "openai.chat").await;
    eventually("every worker admits the new token", async || {
        let replies = from_everywhere(&world, &new).await;
        replies.iter().all(|reply| reply.status == 200).then_some(())
    })
    .await;
    for reply in from_everywhere(&world, &old).await {
        Refusal::invalid_token("signature_invalid").is(&reply);
    }
}

/// Speaks TLS with the server as `envoy.yaml` does with Entra, but trusts this certificate alone.
fn over_tls(trusting: Blueprint, certificate: &Value, name: &str) -> Blueprint {
    trusting.edit(|bootstrap| {
        let clusters = bootstrap["static_resources"]["clusters"].as_sequence_mut().unwrap();
        let entra = clusters.iter().find(|cluster| cluster["name"] == "entra").unwrap();
        let mut socket = entra["transport_socket"].clone();
        let context = &mut socket["typed_config"];
        context["sni"] = name.into();
        let validation = &mut context["common_tls_context"]["validation_context"];
        validation["match_typed_subject_alt_names"][0]["matcher"]["exact"] = name.into();
        let authority = validation["trusted_ca"].as_mapping_mut().unwrap();
        authority.remove("filename").expect("the file's own authorities");
        authority.insert("inline_string".into(), certificate["cert"].as_str().unwrap().into());
        // A blueprint speaks plain text with all its clusters, except where an endpoint matches.
        let provider = clusters.iter_mut().find(|cluster| cluster["name"] == "provider").unwrap();
        let mut matches = provider["none"].clone();
        matches["name"] = "tls".into();
        matches["transport_socket"] = socket;
        provider["transport_socket_matches"] = vec![matches].into();
    })
}

#[tokio::test]
async fn keys_come_over_tls_from_the_name_that_is_expected_and_from_no_other() {
    let order = json!({ "name": "localhost" });
    let certificate = Program::Python("certificate.py").run(&[], &order).await;
    let provider = OIDC_PROVIDER.start_with(0, &certificate).await;
    let token = provider.token("RS256", "openai.chat").await;
    for (name, is_expected) in [("localhost", true), ("idp.example.com", false)] {
        let world = World::with(|shipped| {
            over_tls(provider.trust(shipped, Keys::Discovery), &certificate, name)
        });
        let world = world.await;
        if is_expected {
            world.admits(&token, world.chat()).await;
        } else {
            let refusal = Refusal::unavailable("keys_unavailable");
            world.refuses(world.chat_as(&token), refusal).await;
            let stats = world.gateway.stats().await.unwrap();
            assert!(stats["cluster.provider.ssl.fail_verify_san"] > 0, "for its name alone");
        }
    }
}

/// Sends a caller's request over so many connections that each worker gets some.
async fn from_everywhere(world: &World, token: &str) -> Vec<Reply> {
    Reply::to_each((0..CONNECTIONS).map(|_| world.chat_as(token))).await.unwrap()
}
