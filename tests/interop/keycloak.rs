//! Keycloak, set up and asked for tokens by the commands of its page, in front of the page's
//! configuration.

use std::collections::BTreeSet;
use std::env;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::sync::{Mutex, OnceCell};
use tokio::time::timeout;

use crate::program::{Program, Server};
use testkit::reply::Refusal;
use testkit::world::{World, values};

const PAGE: &str = include_str!("../../docs/guides/issuers/keycloak.md");
/// The page's own name of the server, under which it makes tokens.
const NAME: &str = "https://keycloak.example.com";
const PASSWORD: &str = "the-password-of-all";
const SECRET: &str = "the-secret-of-app";

/// How long the page's commands may take: each starts a virtual machine.
const SET_UP_WITHIN: Duration = Duration::from_mins(5);

/// One server for all tests: it takes half a minute to start.
static KEYCLOAK: OnceCell<Keycloak> = OnceCell::const_new();

/// A running Keycloak with the realm of the page.
struct Keycloak {
    home: PathBuf,
    door: String,
    /// `kcadm.sh` keeps its session in a file.
    session: Mutex<()>,
    #[expect(dead_code, reason = "it runs as long as this is held")]
    server: Server,
}

/// The fenced blocks of the page in this language, below this heading.
fn blocks(heading: &str, language: &str) -> Vec<&'static str> {
    let (_, section) = PAGE.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let fence = format!("```{language}\n");
    let blocks = section.split(fence.as_str()).skip(1);
    blocks.map(|rest| rest.split("```").next().unwrap()).collect()
}

/// The code that the page's table has for what somebody sees.
fn code(seen: &str) -> &'static str {
    let row = PAGE.lines().find(|line| line.starts_with(&format!("| {seen} |")));
    let reply = row.unwrap_or_else(|| panic!("no row {seen}")).split(" | ").nth(1).unwrap();
    reply.strip_prefix("401 `").unwrap().trim_end_matches('`')
}

/// The page's command for the token of a program, of a person, and of an exchange.
fn token_commands() -> [String; 3] {
    let block = blocks("A token", "sh")[0].replace("\\\n", "");
    let (address, commands) = block.split_once('\n').unwrap();
    let commands = commands.lines().map(|line| format!("{address}\n{line}"));
    commands.collect::<Vec<_>>().try_into().unwrap()
}

impl Keycloak {
    async fn shared() -> &'static Self {
        KEYCLOAK.get_or_init(Self::start).await
    }

    async fn start() -> Self {
        let home = env::var_os("KEYCLOAK").expect("KEYCLOAK is set: run through make interop");
        let home = PathBuf::from(home);
        let environment: Value = ["PATH", "JAVA_HOME"]
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), env::var(name).ok()?.into())))
            .collect::<serde_json::Map<_, _>>()
            .into();
        let order = json!({
            "home": home, "hostname": NAME, "password": PASSWORD, "environment": environment,
        });
        let server = Program::Python("keycloak.py").serve(&order).await;
        let door = server.said["door"].as_str().unwrap().to_owned();
        let keycloak = Self { home, door, session: Mutex::default(), server };
        keycloak.run(blocks("At Keycloak", "sh")[0], &[]).await;
        keycloak
    }

    /// Runs commands as the page has them, but for the server's address, and returns what they print.
    async fn run(&self, commands: &str, variables: &[(&str, &str)]) -> String {
        let _session = self.session.lock().await;
        let commands = commands.replace(NAME, &self.door);
        let folder = env!("CARGO_TARGET_TMPDIR");
        let path = format!("{}/bin:{}", self.home.display(), env::var("PATH").unwrap());
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", &commands]).kill_on_drop(true);
        command.env("PATH", path).env("HOME", folder).env("KC_CLI_PASSWORD", PASSWORD);
        command.envs([("SECRET", SECRET), ("PASSWORD", PASSWORD)]).envs(variables.iter().copied());
        let run = command.stdin(Stdio::null()).output();
        let output = timeout(SET_UP_WITHIN, run).await.expect("it is slow").unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{commands}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command of the page that gets a token.
    async fn token(&self, command: &str, variables: &[(&str, &str)]) -> String {
        let answer = self.run(command, variables).await;
        let answer: Value = serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{answer}"));
        answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    async fn programs_token(&self) -> String {
        self.token(&token_commands()[0], &[]).await
    }

    /// Adds a client like `app` with the role and without the client scope, and returns its id.
    async fn client(&self, name: &str) -> String {
        let add = format!(
            "kcadm.sh create clients -r acme -i -s clientId={name} -s secret=$SECRET \
             -s serviceAccountsEnabled=true
             kcadm.sh add-roles -r acme --uusername service-account-{name} --rolename chat"
        );
        self.run(&add, &[]).await.trim().to_owned()
    }

    /// The token of a client that [`Self::client`] has added.
    async fn token_of(&self, name: &str) -> String {
        let command = token_commands()[0].replace("app:$SECRET", &format!("{name}:$SECRET"));
        self.token(&command, &[]).await
    }

    /// The shipped Envoy with the page's configuration, changed.
    async fn world(&self, change: impl FnOnce(&mut Value)) -> World {
        let mut configuration = serde_json::from_str(blocks("keyless", "json")[0]).unwrap();
        change(&mut configuration);
        let address = self.door.strip_prefix("http://").unwrap().parse().unwrap();
        let with_page = |plugin: &mut Value| *plugin = configuration;
        World::with(|shipped| shipped.cluster("keycloak", address).plugin(with_page)).await
    }
}

/// A part of a token: its header or its claims.
fn part(token: &str, at: usize) -> Value {
    let part = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(at).unwrap()).unwrap();
    serde_json::from_slice(&part).unwrap()
}

#[tokio::test]
async fn keycloaks_tokens_are_admitted_as_its_page_says_and_look_as_the_page_shows() {
    let keycloak = Keycloak::shared().await;
    let world = keycloak.world(|_| {}).await;
    let [_, persons, exchange] = token_commands();
    let program = keycloak.programs_token().await;
    let person = keycloak.token(&persons, &[]).await;
    let exchanged = keycloak.token(&exchange, &[("PERSONS_TOKEN", &person)]).await;
    assert_ne!(exchanged, person);
    for (token, caller) in
        [(&program, "service-account-app"), (&person, "ada"), (&exchanged, "ada")]
    {
        let (_, seen) = world.admits(token, world.chat()).await;
        assert_eq!(values(&seen, "x-caller-id"), [caller]);
    }
    let [header, claims] = blocks("A token", "json")[..] else { panic!("two parts") };
    for (at, shown) in [header, claims].into_iter().enumerate() {
        let shown: Value = serde_json::from_str(shown).unwrap();
        let found = part(&program, at);
        let names =
            |part: &Value| part.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(names(&found), names(&shown), "the page shows another token");
    }
    world.assert_unharmed().await;
}

#[tokio::test]
async fn a_client_of_keycloak_without_the_audience_is_refused_with_the_code_of_the_page() {
    let keycloak = Keycloak::shared().await;
    let world = keycloak.world(|_| {}).await;
    keycloak.client("bare").await;
    let token = keycloak.token_of("bare").await;
    assert_eq!(part(&token, 1)["aud"], "account");
    let code = code(r#"the token has `"aud": "account"`"#);
    world.refuses(world.chat_as(&token), Refusal::invalid_token(code)).await;
}

#[tokio::test]
async fn a_new_key_of_keycloak_is_followed_at_once_and_the_old_one_stays_good() {
    let keycloak = Keycloak::shared().await;
    let world = keycloak.world(|_| {}).await;
    let old = keycloak.programs_token().await;
    world.admits(&old, world.chat()).await;
    keycloak.run(blocks("keyless", "sh")[0], &[]).await;
    let new = keycloak.programs_token().await;
    assert_ne!(part(&new, 0)["kid"], part(&old, 0)["kid"]);
    world.admits(&new, world.chat()).await;
    world.admits(&old, world.chat()).await;
    world.assert_unharmed().await;
}

#[tokio::test]
async fn each_algorithm_of_keycloak_is_admitted_where_it_is_listed() {
    const ALGORITHMS: [&str; 9] =
        ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];
    let keycloak = Keycloak::shared().await;
    let id = keycloak.client("signer").await;
    let scope = "SCOPE=$(kcadm.sh get client-scopes -r acme --fields id,name --format csv \
                 --noquotes | sed -n 's/,openai-gateway$//p')";
    let give =
        format!("{scope}\nkcadm.sh update clients/{id}/default-client-scopes/$SCOPE -r acme");
    keycloak.run(&give, &[]).await;
    let mut tokens = Vec::new();
    for algorithm in ALGORITHMS {
        let attribute = format!(r#"'attributes."access.token.signed.response.alg"={algorithm}'"#);
        let change = format!("kcadm.sh update clients/{id} -r acme -s {attribute}");
        keycloak.run(&change, &[]).await;
        let token = keycloak.token_of("signer").await;
        assert_eq!(part(&token, 0)["alg"], algorithm);
        tokens.push(token);
    }
    let world = keycloak.world(|config| config["issuers"][0]["algorithms"] = json!(ALGORITHMS));
    let world = world.await;
    for token in &tokens {
        world.admits(token, world.chat()).await;
    }
    let world = keycloak.world(|_| {}).await;
    world.admits(&tokens[0], world.chat()).await;
    let code = code(r#"the header has `"alg": "ES256"`"#);
    for token in &tokens[1..] {
        world.refuses(world.chat_as(token), Refusal::invalid_token(code)).await;
    }
}
