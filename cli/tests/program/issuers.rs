//! The pages of the issuers: their configuration is checked, their tokens are admitted by it, and each
//! mistake of their tables ends with the code, and the advice, that the table has.
//!
//! A page has a configuration, a header and one or more tokens as JSON, and a table whose first column
//! says what is different: `the token has …`, `the header has …`, `the configuration has …`, each with
//! JSON members or with `no` and a name, or `the token is …`, which is sent as it stands.

mod page;

use local_azure::{Issuer, Options};
use serde_json::Value;

use crate::{Said, Scratch, keyless};
use page::{Mistake, Page, Token};

/// Plays the issuer of a page.
struct Played<'a> {
    page: &'a Page,
    issuer: Issuer,
}

impl<'a> Played<'a> {
    async fn of(page: &'a Page) -> Self {
        let iss = page.tokens[0].claims["iss"].as_str().unwrap().to_owned();
        let issuer = Issuer::start(&Options { issuer: iss, ..Options::default() }).await.unwrap();
        Self { page, issuer }
    }

    /// Signs a token as the page's issuer does.
    fn sign(&self, token: &Token) -> String {
        let mut header = token.header.clone();
        if header.get("typ").is_none() {
            header["typ"] = Value::Null;
        }
        if header["kid"] == "…" {
            header["kid"] = self.issuer.kid().into();
        }
        self.issuer.mint_with_header(&header, &token.claims)
    }

    /// What `keyless explain` says of a request a minute after the token was issued.
    fn explained(&self, config: &Value, token: &Token) -> Said {
        // Tests of one page run at the same time.
        let name = format!("{}-{:?}", self.page.name, std::thread::current().id());
        let bearer = token.sent.clone().unwrap_or_else(|| self.sign(token));
        let config = Scratch::new(&format!("{name}.json"), &config.to_string());
        let keys = Scratch::new(&format!("{name}-keys.json"), &self.issuer.key_set().to_string());
        let at = (token.issued_at + 60).to_string();
        let mut words = vec!["explain", "--config", config.path(), "--jwks", keys.path()];
        let path = self.page.path();
        words.extend(["--token", "-", "--at", &at, "--method", "POST", "--path", &path]);
        keyless(&words, &bearer)
    }

    fn expects(&self, mistake: &Mistake) {
        let (config, token) = mistake.made(self.page);
        let said = self.explained(&config, &token);
        let (name, what) = (&self.page.name, &mistake.what);
        assert_eq!(said.status, 1, "{name}: {what}: it is admitted\n{}{}", said.out, said.err);
        let (_, reply) = said.out.rsplit_once("\nreply").unwrap();
        let status = reply.lines().nth(1).unwrap().trim();
        assert_eq!(status, mistake.status, "{name}: {what}\n{}", said.out);
        let code = format!("{:?}", mistake.code);
        assert!(reply.contains(&format!("\"code\":{code}")), "{name}: {what}\n{}", said.out);
        let words = said.out.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(&mistake.explained), "{name}: {what}\n{}", said.out);
    }
}

#[test]
fn the_configuration_of_each_page_is_valid_and_nothing_about_it_is_a_warning() {
    for page in page::all() {
        let file = Scratch::new(&format!("{}-check.json", page.name), &page.config.to_string());
        let said = keyless(&["check", "--strict", "--output", "json", file.path()], "");
        assert_eq!(said.status, 0, "{}: {}{}", page.name, said.out, said.err);
    }
}

#[tokio::test]
async fn the_tokens_of_each_page_are_admitted_by_its_configuration() {
    for page in page::all() {
        let played = Played::of(&page).await;
        for token in &page.tokens {
            assert_eq!(token.header["alg"], "RS256", "the stand-in signs these headers with RS256");
            let said = played.explained(&page.config, token);
            let (name, token) = (&page.name, &token.name);
            assert_eq!(said.status, 0, "{name}: {token}\n{}{}", said.out, said.err);
            assert!(said.out.contains("  signature   good\n"), "{name}: {token}\n{}", said.out);
            assert!(said.out.contains("the backend's: the request goes on"), "{}", said.out);
        }
    }
}

#[tokio::test]
async fn each_mistake_of_a_page_has_the_code_and_the_advice_of_its_row() {
    for page in page::all() {
        assert!(page.mistakes.len() >= 5, "{}: only {}", page.name, page.mistakes.len());
        let played = Played::of(&page).await;
        for mistake in &page.mistakes {
            played.expects(mistake);
        }
    }
}

#[test]
fn each_page_names_the_host_that_its_cluster_leads_to_and_is_short() {
    for page in page::all() {
        let issuer = &page.config["issuers"][0];
        let jwks = &issuer["jwks"];
        let uri = [&jwks["uri"], &issuer["issuer"]].into_iter().find_map(Value::as_str);
        let uri = uri.unwrap_or("https://login.microsoftonline.com/");
        let host = uri.trim_start_matches("https://").split('/').next().unwrap();
        let words = format!("`{}` leads to `{host}`", jwks["cluster"].as_str().unwrap());
        assert!(page.text.contains(&words), "{}: no {words}", page.name);
        let lines = page.text.lines().count();
        assert!(lines <= 100, "{}: {lines} lines", page.name);
    }
}
