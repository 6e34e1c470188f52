//! The six steps.

use std::{error::Error, time::Duration};

use gateway::Gateway;
use local_azure::{LocalAzure, Recorded};
use reqwest::Client;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{
    exchange::{Answer, Frame, chat, frames, header},
    report::Report,
};

type Step = Result<(), Box<dyn Error>>;

/// The resource that the managed identity's token must be good for.
const RESOURCE: &str = "https://cognitiveservices.azure.com";
/// A little more than the `unknown_kid_interval` of the demo's configuration.
const UNKNOWN_KID_INTERVAL: Duration = Duration::from_millis(1200);

/// Walks a caller's way through the gateway.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    azure: &'a LocalAzure,
    client: Client,
    gateway: &'a Gateway,
    report: &'a mut Report,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(
        azure: &'a LocalAzure,
        gateway: &'a Gateway,
        report: &'a mut Report,
    ) -> reqwest::Result<Self> {
        let client = Client::builder().no_proxy().build()?;
        Ok(Self { azure, client, gateway, report })
    }

    pub(crate) async fn all(mut self) -> Step {
        self.nobody().await?;
        self.without_the_scope().await?;
        self.swapped().await?;
        self.streamed().await?;
        self.rotated().await?;
        self.counted();
        Ok(())
    }

    async fn nobody(&mut self) -> Step {
        self.report.title("1  A caller without a token");
        self.report.line("sent", "no credential");
        let answer = Answer::read(chat(&self.client, self.gateway, false).send().await?).await?;
        self.refused(&answer);
        let challenge = answer.challenge.as_deref().unwrap_or_default();
        let asked = challenge.starts_with("Bearer ");
        self.report.claim("the status is 401", answer.status == 401);
        self.report.claim("it is told to bring a bearer token", asked);
        let blamed = challenge.contains("error=");
        self.report.claim("it is not told of an error, for there was none", asked && !blamed);
        self.backend_saw_nothing();
        Ok(())
    }

    async fn without_the_scope(&mut self) -> Step {
        self.report.title("2  A caller whose token lacks the scope");
        let issuer = &self.azure.issuer;
        let token = issuer.mint(&issuer.claims_with(&json!({ "scp": "profile" })));
        self.report.line("sent", &format!("authorization: Bearer {}", shortened(&token)));
        self.report.line("", "scp: profile");
        let answer = self.send(&token).await?;
        self.refused(&answer);
        let challenge = answer.challenge.as_deref().unwrap_or_default();
        self.report.claim("the status is 403", answer.status == 403);
        self.report.claim("the code is scope_missing", answer.code() == "scope_missing");
        let named = challenge.contains("openai.chat");
        self.report.claim("the challenge names the scope that would help", named);
        self.backend_saw_nothing();
        Ok(())
    }

    async fn swapped(&mut self) -> Step {
        self.report.title("3  The right token, and a leftover api-key");
        let claims = self.azure.issuer.claims();
        let token = self.azure.issuer.mint(&claims);
        self.report
            .line("sent", &format!("authorization: Bearer {} (the caller's)", shortened(&token)));
        self.report.line("", "api-key: leftover-of-a-former-life");
        let request = chat(&self.client, self.gateway, false)
            .bearer_auth(&token)
            .header("api-key", "leftover-of-a-former-life");
        let answer = Answer::read(request.send().await?).await?;
        self.report.line("got", &format!("{} {:?}", answer.status, answer.content()));
        let admitted = answer.status == 200 && !answer.content().is_empty();
        self.report.claim("the model answers", admitted);
        self.backend_saw_the_identity(&token, claims["oid"].as_str().unwrap_or_default());
        Ok(())
    }

    async fn streamed(&mut self) -> Step {
        self.report.title("4  The same, streamed");
        let token = self.token();
        self.report.line("sent", &format!("authorization: Bearer {}", shortened(&token)));
        let sent = Instant::now();
        let response = chat(&self.client, self.gateway, true).bearer_auth(&token).send().await?;
        let kind = header(&response, "content-type").unwrap_or_default();
        self.report.line("got", &format!("{} {kind}", response.status().as_u16()));
        let frames = frames(response, sent).await?;
        for frame in &frames {
            let millis = frame.after.as_millis();
            self.report.line("", &format!("{millis:>5} ms  {}", frame.summary()));
        }
        self.report.claim("the frames end with [DONE]", ends_with_done(&frames));
        self.report.claim("each frame came when it was made, none was held back", spread(&frames));
        Ok(())
    }

    async fn rotated(&mut self) -> Step {
        self.report.title("5  The issuer rotates its key");
        sleep(UNKNOWN_KID_INTERVAL).await;
        let (issuer, old) = (self.azure.issuer.clone(), self.azure.issuer.kid());
        tokio::task::spawn_blocking(move || issuer.rotate()).await?;
        let before = self.key_fetches();
        let token = self.token();
        self.report.line("kid", &format!("{old} is now {}", self.azure.issuer.kid()));
        self.report.line("sent", &format!("authorization: Bearer {}", shortened(&token)));
        let answer = self.send(&token).await?;
        self.report.line("got", &format!("{} {:?}", answer.status, answer.content()));
        self.report.claim("a token of the new key passes at once", answer.status == 200);
        self.report
            .claim("the keys were fetched once more for it", self.key_fetches() == before + 1);
        Ok(())
    }

    fn counted(&mut self) {
        self.report.title("6  What Azure was asked");
        let (tokens, keys) = (self.azure.imds.requests().len(), self.key_fetches());
        self.report.line("IMDS", &format!("{tokens} request(s) for {RESOURCE}"));
        self.report.line("JWKS", &format!("{keys} request(s)"));
        let completions = self.azure.openai.requests().len();
        self.report.line("OpenAI", &format!("{completions} request(s)"));
        self.report.claim("one identity token served every request", tokens == 1);
    }

    fn token(&self) -> String {
        self.azure.issuer.mint(&self.azure.issuer.claims())
    }

    async fn send(&self, token: &str) -> reqwest::Result<Answer> {
        let request = chat(&self.client, self.gateway, false).bearer_auth(token);
        Answer::read(request.send().await?).await
    }

    fn refused(&mut self, answer: &Answer) {
        self.report.line("got", &format!("{} {}", answer.status, answer.code()));
        let challenge = answer.challenge.as_deref().unwrap_or("none");
        self.report.line("", &format!("www-authenticate: {challenge}"));
    }

    fn backend_saw_nothing(&mut self) {
        self.report.claim("the backend saw nothing", self.azure.openai.requests().is_empty());
    }

    fn backend_saw_the_identity(&mut self, callers: &str, oid: &str) {
        let requests = self.azure.openai.requests();
        let Some(seen) = requests.last() else {
            return self.report.claim("the backend saw the request", false);
        };
        let value = |name| values(seen, name).join(", ");
        let authorization = value("authorization");
        let token = authorization.strip_prefix("Bearer ").unwrap_or_default();
        let identity = self.azure.imds.accepts(token, RESOURCE);
        let whose = if identity { "the managed identity's" } else { "not the identity's" };
        self.report
            .line("backend", &format!("authorization: Bearer {} ({whose})", shortened(token)));
        self.report.line("", &format!("x-caller-id: {}", value("x-caller-id")));
        self.report.line("", &format!("host: {}", value("host")));
        self.report.claim("the backend got the managed identity's token", identity);
        self.report.claim("it got no api-key", values(seen, "api-key").is_empty());
        self.report.claim("it got nothing of the caller's token", !carries(seen, callers));
        self.report.claim("it knows the caller by x-caller-id", value("x-caller-id") == oid);
    }

    fn key_fetches(&self) -> usize {
        let requests = self.azure.issuer.requests();
        requests.iter().filter(|request| request.target.ends_with("/discovery/v2.0/keys")).count()
    }
}

/// Shows enough of a credential to tell it from another one, and too little to use it.
fn shortened(credential: &str) -> String {
    match (credential.get(..8), credential.len().checked_sub(6).and_then(|at| credential.get(at..)))
    {
        (Some(head), Some(tail)) if credential.len() > 64 => format!("{head}…{tail}"),
        _ => "…".to_owned(),
    }
}

fn values(request: &Recorded, name: &str) -> Vec<String> {
    let values = request.header_values(name).into_iter();
    values.map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}

/// Looks for a token's signature in everything that the backend got.
fn carries(request: &Recorded, token: &str) -> bool {
    let signature = token.rsplit('.').next().unwrap_or_default();
    let found = |text: &[u8]| String::from_utf8_lossy(text).contains(signature);
    found(request.target.as_bytes()) || request.headers.iter().any(|(_, value)| found(value))
}

fn ends_with_done(frames: &[Frame]) -> bool {
    frames.last().is_some_and(|frame| frame.data == "[DONE]")
}

/// Compares the time between the first frame and the last with the backend's 50 ms a frame.
fn spread(frames: &[Frame]) -> bool {
    let [first, between @ .., last] = frames else { return false };
    let made_in = Duration::from_millis(50) * u32::try_from(between.len()).unwrap_or(u32::MAX);
    last.after.saturating_sub(first.after) >= made_in / 2
}
