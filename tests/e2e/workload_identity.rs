//! Workload identity: Envoy serves the projected token of `examples/workload-identity/`, and keyless
//! exchanges it.

use std::time::Duration;

use gateway::{Gateway, GatewayError, StartOptions};
use local_azure::{Fault, FederatedCredential, LocalAzure, Options};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::projected::Projected;
use testkit::reply::Reply;
use testkit::world::{CONNECTIONS, RESOURCE, World, eventually, shipped, values};

const OVERLAY: &str = include_str!("../../examples/workload-identity/token-file.yaml");
const EXAMPLE: &str = include_str!("../../examples/workload-identity/README.md");

/// Where the AKS webhook has the token projected, and what it is called.
const FOLDER: &str = "/var/run/secrets/azure/tokens";
const FILE: &str = "azure-identity-token";

const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";
const VARIABLES: [&str; 3] = ["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_AUTHORITY_HOST"];

/// A gateway with a projected token, which the cluster's issuer has signed and Entra trusts.
struct Pod {
    world: World,
    file: Projected,
    #[expect(dead_code, reason = "it is there until the end")]
    folder: TempDir,
}

impl Pod {
    async fn start() -> Self {
        Self::with(|azure| projected(azure, json!({})).into_bytes(), |overlay| overlay).await
    }

    /// Starts a gateway with this file and a changed overlay.
    async fn with(
        first: impl FnOnce(&LocalAzure) -> Vec<u8>,
        change: impl FnOnce(String) -> String,
    ) -> Self {
        let azure = LocalAzure::start(Options::default()).await.unwrap();
        trust(&azure);
        let folder = tempfile::tempdir().unwrap();
        let file = Projected::new(&folder.path().join("tokens"), FILE, &first(&azure));
        let options = StartOptions {
            environment: environment(),
            overlay: Some(change(overlay(&file))),
            ..StartOptions::default()
        };
        let blueprint = shipped(&azure)
            .cluster("login", azure.oauth.address())
            .host_environment(&VARIABLES)
            .plugin(|plugin| plugin["identities"]["openai"] = identity());
        let world = World::run(azure, blueprint, options).await;
        Self { world, file, folder }
    }

    /// Waits until a probe is told this of the identity.
    async fn told(&self, is_ready: bool, failing: Option<[&str; 2]>) {
        let failing = failing.map(|[step, result]| json!({ "step": step, "result": result }));
        eventually("the probe is told", async || {
            let reply = Reply::to(self.world.request(Method::GET, "/readyz")).await.unwrap();
            let told = reply.json();
            let is_so = told["identities"]["openai"] == is_ready
                && told["failing"]["identities"]["openai"] == json!(failing);
            is_so.then_some(())
        })
        .await;
    }

    /// Sends requests until one is refused for want of a token, and no other is refused.
    async fn serves_until_the_end(&self, token: &str) -> usize {
        let mut served = 0;
        loop {
            let reply = Reply::to(self.world.chat_as(token)).await.unwrap();
            if reply.status != 200 {
                let code = reply.code();
                assert_eq!((reply.status, code.as_deref()), (503, Some("identity_unavailable")));
                return served;
            }
            served += 1;
            // The backend remembers ten thousand requests.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn assert_logged(&self, line: &str) {
        let log = self.world.gateway.log();
        assert!(log.contains(line), "{line}: {log}");
    }
}

/// The identity as the example has it, but that Entra's token endpoint is not where its keys are.
fn identity() -> Value {
    let block = EXAMPLE.split("```json").nth(1).unwrap().split("```").next().unwrap();
    let mut identity: Value = serde_json::from_str(block).unwrap();
    identity["workload_identity"]["cluster"] = "login".into();
    identity
}

fn overlay(file: &Projected) -> String {
    assert_eq!(OVERLAY.matches(FOLDER).count(), 2);
    OVERLAY.replace(FOLDER, file.folder().to_str().unwrap())
}

/// What the AKS webhook sets.
fn environment() -> Vec<(String, String)> {
    let values = [
        TENANT.to_owned(),
        Options::default().client_id,
        "https://login.microsoftonline.com/".into(),
    ];
    VARIABLES.map(str::to_owned).into_iter().zip(values).collect()
}

fn trust(azure: &LocalAzure) {
    azure.oauth.set_federated_credentials(vec![FederatedCredential {
        issuer: "https://oidc.example.com/cluster/".into(),
        subject: "system:serviceaccount:openai-gateway:openai-gateway".into(),
        audience: "api://AzureADTokenExchange".into(),
        keys: azure.issuer.key_set(),
    }]);
}

/// A token as an API server issues it.
fn projected(azure: &LocalAzure, changes: Value) -> String {
    let mut claims = json!({
        "iss": "https://oidc.example.com/cluster/", "aud": ["api://AzureADTokenExchange"],
        "sub": "system:serviceaccount:openai-gateway:openai-gateway",
    });
    claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    azure.issuer.mint(&azure.issuer.claims_with(&claims))
}

/// The assertions that Entra has received, oldest first.
fn assertions(world: &World) -> Vec<String> {
    let requests = world.azure.oauth.requests().into_iter();
    let assertion = |body: Vec<u8>| {
        let body = String::from_utf8(body).unwrap();
        body.rsplit_once("client_assertion=").unwrap().1.to_owned()
    };
    requests.map(|request| assertion(request.body)).collect()
}

#[tokio::test]
async fn a_projected_token_is_exchanged_as_azures_sdks_do_it() {
    let pod = Pod::start().await;
    let world = &pod.world;
    let (_, seen) = world.admits(&world.token(), world.chat()).await;
    let issued = world.azure.oauth.issued().pop().unwrap();
    assert_eq!(values(&seen, "authorization"), [format!("Bearer {issued}")]);
    let exchange = world.azure.oauth.requests().pop().unwrap();
    assert_eq!(
        (exchange.method.as_str(), exchange.target.as_str()),
        ("POST", &*format!("/{TENANT}/oauth2/v2.0/token"))
    );
    assert_eq!(values(&exchange, "host"), ["login.microsoftonline.com"]);
    assert_eq!(values(&exchange, "content-type"), ["application/x-www-form-urlencoded"]);
    assert_eq!(values(&exchange, "accept"), ["application/json"]);
    let token = std::fs::read_to_string(pod.file.path()).unwrap();
    let body = format!(
        "grant_type=client_credentials&client_id={}\
         &scope=https%3A%2F%2Fcognitiveservices.azure.com%2F.default\
         &client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer\
         &client_assertion={token}",
        Options::default().client_id
    );
    assert_eq!(String::from_utf8(exchange.body).unwrap(), body);
    for _ in 0..CONNECTIONS {
        world.admits(&world.token(), world.chat()).await;
    }
    assert_eq!(world.azure.oauth.requests().len(), 1, "one exchange for all workers");
    assert!(world.azure.imds.requests().is_empty());
    world.assert_unharmed().await;
}

#[tokio::test]
async fn a_file_that_kubernetes_replaces_is_exchanged_next_and_one_that_envoy_cannot_read_is_not() {
    let mut pod = Pod::start().await;
    pod.world.azure.oauth.set_lifetime(Duration::from_secs(4));
    let token = pod.world.token();
    pod.world.admits(&token, pod.world.chat()).await;
    let mut last = String::new();
    for uti in ["second", "third"] {
        last = projected(&pod.world.azure, json!({ "uti": uti }));
        pod.file.replace(last.as_bytes());
        let world = &pod.world;
        eventually("the new token is exchanged", async || {
            (Reply::to(world.chat_as(&token)).await.unwrap().status == 200
                && assertions(world).last() == Some(&last))
            .then_some(())
        })
        .await;
    }
    for break_it in [|file: &mut Projected| file.replace(&vec![b'a'; 1 << 20]), Projected::remove] {
        break_it(&mut pod.file);
        let world = &pod.world;
        let before = assertions(world).len();
        eventually("two more exchanges", async || {
            assert_eq!(Reply::to(world.chat_as(&token)).await.unwrap().status, 200);
            (assertions(world).len() >= before + 2).then_some(())
        })
        .await;
        assert_eq!(assertions(world).last(), Some(&last), "Envoy goes on with what it has");
    }
    pod.assert_logged("size is 1048576 bytes; maximum is 16384");
    let next = projected(&pod.world.azure, json!({ "uti": "fourth" }));
    pod.file.replace(next.as_bytes());
    let world = &pod.world;
    eventually("the file is back", async || {
        _ = Reply::to(world.chat_as(&token)).await.unwrap();
        (assertions(world).last() == Some(&next)).then_some(())
    })
    .await;
    world.assert_unharmed().await;
}

#[tokio::test]
async fn a_file_that_is_missing_at_first_is_refused_by_envoy_itself() {
    let azure = LocalAzure::start(Options::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut file = Projected::new(&folder.path().join("tokens"), FILE, b"");
    file.remove();
    let options = StartOptions { overlay: Some(overlay(&file)), ..StartOptions::default() };
    let blueprint = shipped(&azure).cluster("login", azure.oauth.address());
    let refused = Gateway::start(blueprint, options).await;
    let Err(GatewayError::Exited { log, .. }) = refused else { panic!("{refused:?}") };
    assert!(log.contains("does not exist"), "{log}");
}

#[tokio::test]
async fn a_file_without_a_token_is_sent_to_nobody_and_the_log_and_probes_name_it() {
    let megabyte = |overlay: String| overlay.replace("_bytes: 16384", "_bytes: 2097152");
    let mut pod = Pod::with(|_| Vec::new(), megabyte).await;
    let token = pod.world.token();
    let rows: [(&[u8], &str, &str); 3] = [
        (b"", "file_empty", "file: empty"),
        (b"<html>\n</html>", "file_malformed", "file: not a JWT"),
        (&vec![b'a'; 1 << 20], "file_too_large", "file: longer than 16 KiB"),
    ];
    for (contents, result, message) in rows {
        pod.file.replace(contents);
        pod.told(false, Some(["file", result])).await;
        for _ in 0..CONNECTIONS {
            let reply = Reply::to(pod.world.chat_as(&token)).await.unwrap();
            let code = reply.code();
            assert_eq!((reply.status, code.as_deref()), (503, Some("identity_unavailable")));
        }
        pod.assert_logged(&format!(
            "fetch kind=identity name=openai step=file result={result} message=\"{message}\""
        ));
    }
    assert!(pod.world.azure.oauth.requests().is_empty(), "nothing is sent to Entra");
    let good = projected(&pod.world.azure, json!({}));
    pod.file.replace(good.as_bytes());
    pod.told(true, None).await;
    pod.world.admits(&token, pod.world.chat()).await;
    pod.world.assert_unharmed().await;
}

#[tokio::test]
async fn what_entra_refuses_is_named_and_the_old_token_serves_until_its_end() {
    let mut pod = Pod::start().await;
    pod.world.azure.oauth.set_lifetime(Duration::from_secs(6));
    let token = pod.world.token();
    pod.world.admits(&token, pod.world.chat()).await;
    let expired = projected(&pod.world.azure, json!({ "exp": 1 }));
    pod.file.replace(expired.as_bytes());
    assert!(pod.serves_until_the_end(&token).await > 0);
    pod.told(false, Some(["token", "assertion_expired"])).await;
    pod.assert_logged("name=openai step=token result=assertion_expired message=\"AADSTS700024, ");
    let good = projected(&pod.world.azure, json!({}));
    pod.file.replace(good.as_bytes());
    pod.told(true, None).await;

    pod.world.azure.oauth.fault(Fault::Status(503));
    assert!(pod.serves_until_the_end(&token).await > 0);
    pod.told(false, Some(["token", "status"])).await;
    pod.world.azure.oauth.fault(Fault::Hang);
    pod.told(false, Some(["token", "timeout"])).await;
    pod.world.azure.oauth.fault(Fault::Close);
    pod.told(false, Some(["token", "unreachable"])).await;
    pod.world.azure.oauth.heal();
    pod.told(true, None).await;
    pod.world.admits(&token, pod.world.chat()).await;

    pod.world.azure.oauth.set_federated_credentials(Vec::new());
    pod.told(false, Some(["token", "no_federated_credential"])).await;
    pod.assert_logged("step=token result=no_federated_credential message=\"AADSTS70025, ");
    pod.world.assert_unharmed().await;
}

#[tokio::test]
async fn neither_token_is_seen_anywhere_but_in_the_two_requests() {
    let mut pod = Pod::start().await;
    pod.world.azure.oauth.set_lifetime(Duration::from_secs(3));
    let token = pod.world.token();
    let mut shown = Vec::new();
    let wrong = projected(&pod.world.azure, json!({ "aud": "api://other" }));
    for contents in [None, Some(wrong.clone())] {
        if let Some(contents) = contents {
            pod.file.replace(contents.as_bytes());
        }
        let is_ready = shown.is_empty();
        pod.told(is_ready, (!is_ready).then_some(["token", "assertion_audience"])).await;
        for target in ["/", "/readyz", "/healthz", &*format!("{FOLDER}/{FILE}")] {
            let reply = Reply::to(pod.world.request(Method::GET, target)).await.unwrap();
            shown.push(format!("{reply:?}"));
        }
        shown.push(format!("{:?}", Reply::to(pod.world.chat_as(&token)).await.unwrap()));
        for page in ["config_dump?include_eds", "clusters", "stats", "listeners", "server_info"] {
            let url = format!("{}/{page}", pod.world.gateway.admin_url());
            shown.push(reqwest::get(url).await.unwrap().text().await.unwrap());
        }
    }
    let sent = assertions(&pod.world);
    assert!(sent.contains(&wrong) && sent.len() > 1);
    let issued = pod.world.azure.oauth.issued();
    pod.world.gateway.stop().await.unwrap();
    shown.push(pod.world.gateway.log());
    shown.extend(pod.world.gateway.access_log().iter().map(ToString::to_string));
    let secrets = sent.iter().chain(&issued).flat_map(|token| token.split('.').skip(1));
    let secrets: Vec<&str> = secrets.filter(|part| part.len() > 16).collect();
    for (text, secret) in shown.iter().flat_map(|text| secrets.iter().map(move |one| (text, one))) {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
    assert!(
        shown.iter().any(|text| text.contains("result=assertion_audience")),
        "nothing is shown"
    );
}

#[tokio::test]
async fn a_secret_in_a_file_is_replaced_without_a_restart() {
    let azure = LocalAzure::start(Options::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut file = Projected::new(&folder.path().join("tokens"), FILE, b"of yesterday");
    let options = StartOptions { overlay: Some(overlay(&file)), ..StartOptions::default() };
    let identity = json!({
        "resource": RESOURCE,
        "client_credentials": {
            "cluster": "login", "client_id": Options::default().client_id,
            "token_uri": "https://login.example.com/contoso/oauth2/v2.0/token",
            "client_secret_file": { "cluster": "token_file" }
        }
    });
    let blueprint = shipped(&azure)
        .cluster("login", azure.oauth.address())
        .plugin(|plugin| plugin["identities"]["openai"] = identity);
    let world = World::run(azure, blueprint, options).await;
    let token = world.token();
    let reply = Reply::to(world.chat_as(&token)).await.unwrap();
    assert_eq!((reply.status, reply.code().as_deref()), (503, Some("identity_unavailable")));
    let line = "step=token result=client_secret_invalid message=\"AADSTS7000215, ";
    assert!(world.gateway.log().contains(line), "{}", world.gateway.log());
    file.replace(format!("{}\n", Options::default().client_secret).as_bytes());
    eventually("the new secret is presented", async || {
        (Reply::to(world.chat_as(&token)).await.unwrap().status == 200).then_some(())
    })
    .await;
    assert!(!world.gateway.log().contains(&Options::default().client_secret));
    world.assert_unharmed().await;
}

#[tokio::test]
async fn gateways_that_cannot_reach_the_file_say_so() {
    let pod = Pod::with(
        |azure| projected(azure, json!({})).into_bytes(),
        |overlay| {
            overlay.replace("server_listener_name: token_file", "server_listener_name: other")
        },
    )
    .await;
    pod.told(false, Some(["file", "file_unavailable"])).await;
    pod.assert_logged("step=file result=file_unavailable message=\"file: ");
    assert!(pod.world.azure.oauth.requests().is_empty());
    pod.world.assert_unharmed().await;
}
