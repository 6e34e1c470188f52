//! What is done with a request and its answer when the gate has decided, through a host that records it.

use std::cell::RefCell;
use std::time::Duration;

use keyless_core::exchange::{
    Admitted, Applied, Body, Exchange, Outcome, REASON, Refused, ResponseHead, Rests,
};
use keyless_core::gate::Record;
use keyless_core::metrics::{Meter, Metric};
use serde_json::json;

use crate::scripted::{Request, Script};

/// A host. It does what it is asked for, unless that is the header which it keeps.
#[derive(Default)]
struct Host {
    /// All that it was asked for, in order.
    done: RefCell<Vec<String>>,
    keeps: &'static str,
    answer: Vec<(&'static str, &'static str)>,
    is_local: bool,
    part: RefCell<Vec<u8>>,
}

/// All that was counted, in order.
#[derive(Default)]
struct Counted(Vec<String>);

impl Host {
    fn answering(status: &'static str, content_type: &'static str) -> Self {
        let answer = vec![(":status", status), ("content-type", content_type)];
        Self { answer, ..Self::default() }
    }

    fn note(&self, what: String) {
        self.done.borrow_mut().push(what);
    }

    fn told(&self) -> Vec<String> {
        self.done.take()
    }

    /// Has a part of a body pass, and returns what passes in its place.
    fn pass(&self, part: &str, pass: impl FnOnce(&Self)) -> String {
        self.part.replace(part.into());
        pass(self);
        String::from_utf8(self.part.take()).unwrap()
    }
}

impl Exchange for Host {
    fn remove_request_header(&self, name: &str) -> Result<(), Refused> {
        self.note(format!("remove {name}"));
        if name == self.keeps { Err(Refused) } else { Ok(()) }
    }

    fn set_request_header(&self, name: &str, value: &[u8]) -> Result<(), Refused> {
        self.note(format!("set {name}: {}", String::from_utf8_lossy(value)));
        Ok(())
    }

    fn clear_route_cache(&self, is_unchanged: bool) {
        self.note(format!("clear the route, unchanged: {is_unchanged}"));
    }

    fn response_headers(&self) -> Vec<(String, Vec<u8>)> {
        self.answer
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
            .collect()
    }

    fn response_header(&self, name: &str) -> Option<Vec<u8>> {
        self.response_headers().into_iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    fn remove_response_header(&self, name: &str) -> Result<(), Refused> {
        self.note(format!("answer without {name}"));
        Ok(())
    }

    fn set_response_header(&self, name: &str, value: &[u8]) -> Result<(), Refused> {
        self.note(format!("answer {name}: {}", String::from_utf8_lossy(value)));
        Ok(())
    }

    fn is_from_upstream(&self) -> bool {
        !self.is_local
    }

    fn part(&self, _: Body, most: usize) -> Vec<u8> {
        self.part.borrow().iter().copied().take(most).collect()
    }

    fn replace_part(&self, _: Body, bytes: &[u8]) {
        self.part.replace(bytes.to_vec());
    }

    fn age(&self) -> Option<Duration> {
        Some(Duration::from_millis(250))
    }

    fn was_sent(&self) -> bool {
        true
    }

    fn request_size(&self) -> u64 {
        400
    }

    fn record(&self, name: &'static str, value: &str) {
        let name = name.strip_prefix("wasm.keyless.").expect("a name of ours");
        self.note(format!("{name}={value}"));
    }

    fn record_reason(&self, reason: &'static str) {
        self.record(REASON, reason);
    }
}

impl Meter for Counted {
    fn add(&mut self, metric: &Metric, labels: &[&str], count: u64) {
        assert_eq!(metric.labels.len(), labels.len(), "{}", metric.name);
        if count > 0 {
            self.0.push(format!("{} {} {count}", metric.name, labels.join(" ")));
        }
    }

    fn set(&mut self, metric: &Metric, labels: &[&str], value: u64) {
        self.add(metric, labels, value);
    }
}

/// A gate with keys and an identity token, whose chat is asked what it used, and costs.
fn script() -> Script {
    let mut routes = crate::scripted::document()["routes"].clone();
    routes[0]["usage"] = json!("ask");
    let mut script = Script::of(json!({
        "routes": routes,
        "prices": { "gpt-4o": { "input": "2", "output": "8" } },
        "limits": [{ "name": "all", "requests": 9, "window": "1m" }]
    }));
    assert!(script.ask(script.chat()).is_none());
    script.answer_all();
    assert_eq!(script.released().len(), 1);
    script
}

fn chat(script: &Script) -> Request {
    script.chat().with("content-type", "application/json").with("api-key", "k")
}

fn applied(host: &Host) -> Applied {
    let mut script = script();
    let chat = chat(&script);
    Applied::new(script.ask(chat).expect("a decision"), host)
}

fn admitted(host: &Host) -> Admitted {
    let applied = applied(host);
    assert!(matches!(applied.outcome, Outcome::GoesOn));
    host.told();
    applied.admitted
}

#[test]
fn an_admitted_request_loses_its_credentials_first_and_is_recorded() {
    let host = Host::default();
    let applied = applied(&host);
    assert!(matches!(applied.outcome, Outcome::GoesOn));
    let changes = host.told();
    let changes: Vec<_> = changes.iter().map(String::as_str).collect();
    let expected = [
        "remove api-key",
        "set x-caller-id: alice-id",
        "set authorization: Bearer managed",
        "clear the route, unchanged: false",
        "remove content-length",
    ];
    assert_eq!(changes, expected);
    applied.record(&host);
    let expected = [
        "verdict=admitted",
        "reason=ok",
        "issuer=idp.example.com",
        "subject=alice",
        "route=chat",
        "deployment=gpt-4o",
    ];
    assert_eq!(host.told(), expected);
    let mut counted = Counted::default();
    applied.record.count(applied.verdict, &mut counted);
    let expected = [
        "keyless_requests idp.example.com chat admitted ok 1",
        "keyless_limit_checks all within 1",
    ];
    assert_eq!(counted.0, expected);
}

#[test]
fn a_request_that_cannot_be_changed_is_refused_and_keeps_no_account() {
    for keeps in ["api-key", "content-length"] {
        let host = Host { keeps, ..Host::default() };
        let applied = applied(&host);
        let Outcome::Reply(reply) = &applied.outcome else { panic!("{applied:?}") };
        assert_eq!((reply.status, applied.verdict), (503, "refused"), "{keeps}");
        assert_eq!(applied.record.reason, "gateway_error");
        assert!(!applied.admitted.is_counted());
    }
}

#[test]
fn a_failure_of_the_host_is_refused() {
    let applied = Applied::failed(Record::default());
    let mut counted = Counted::default();
    applied.record.count(applied.verdict, &mut counted);
    assert_eq!(counted.0, ["keyless_requests none none refused gateway_error 1"]);
}

const EVENTS: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n";
const USAGE: &str =
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":2}}\n\n";

#[test]
fn a_streamed_chat_is_asked_what_it_used_and_that_is_counted_once() {
    let host = Host::answering("200", "text/event-stream");
    let mut admitted = admitted(&host);
    let asked =
        host.pass("{\"stream\":true,\"messages\":[]}", |host| admitted.request_body(host, true));
    assert!(asked.contains("\"include_usage\":true"), "{asked}");
    assert!(!admitted.cuts_request());

    assert!(matches!(admitted.response_head(&host, false), ResponseHead::Passes));
    let head = host.told();
    assert!(head.contains(&"answer x-ratelimit-remaining-requests: 7".to_owned()), "{head:?}");
    assert!(head.contains(&"answer without content-length".to_owned()), "{head:?}");
    let mut pass =
        |part: &str| host.pass(part, |host| assert_eq!(admitted.response_body(host, false), None));
    assert_eq!(pass(EVENTS), EVENTS);
    assert_eq!(pass(USAGE), "", "its caller did not ask for that");
    admitted.response_trailers();

    let used = admitted.close(&host).expect("an account");
    let records = [
        "usage=exact",
        "first_token_ms=250",
        "tokens_input=10",
        "tokens_output=2",
        "tokens_total=12",
        "cost=0.000036000000",
    ];
    assert_eq!(host.told(), records);
    let mut counted = Counted::default();
    used.count(&mut Rests::default(), &mut counted);
    let account = "idp.example.com chat gpt-4o";
    let expected = [
        format!("keyless_answers {account} exact 1"),
        format!("keyless_tokens {account} input exact 10"),
        format!("keyless_tokens {account} output exact 2"),
        format!("keyless_cost {account} exact 36"),
    ];
    assert_eq!(counted.0, expected);
    assert!(admitted.close(&host).is_none(), "once");
}

#[test]
fn an_answer_that_breaks_off_is_estimated_and_a_failed_one_counts_nothing() {
    let host = Host::answering("200", "text/event-stream");
    let mut broken = admitted(&host);
    broken.response_head(&host, false);
    host.pass(EVENTS, |host| assert_eq!(broken.response_body(host, false), None));
    let used = broken.close(&host).unwrap();
    assert_eq!((used.counted.usage.input, used.counted.usage.output), (100, 1));

    let local = Host { is_local: true, ..Host::answering("200", "application/json") };
    let failed = Host::answering("500", "application/json");
    for host in [local, failed] {
        let mut admitted = admitted(&host);
        admitted.response_head(&host, true);
        let used = admitted.close(&host).unwrap();
        let mut counted = Counted::default();
        used.count(&mut Rests::default(), &mut counted);
        assert_eq!(counted.0, [""; 0]);
    }
}

#[test]
fn what_is_too_little_for_the_counter_of_costs_is_kept_for_the_next_answer() {
    let host = Host::answering("200", "application/json");
    let (mut rests, mut counted) = (Rests::default(), Counted::default());
    let answer = "{\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":0}}";
    let mut routes = crate::scripted::document()["routes"].clone();
    routes[0]["usage"] = json!("read");
    let prices = json!({ "gpt-4o": { "input": "0.4", "output": "1" } });
    let mut script = Script::of(json!({ "routes": routes, "prices": prices }));
    assert!(script.ask(script.chat()).is_none());
    script.answer_all();
    script.released();
    for _ in 0..5 {
        let mut admitted = Applied::new(script.ask(script.chat()).unwrap(), &host).admitted;
        admitted.response_head(&host, false);
        host.pass(answer, |host| assert_eq!(admitted.response_body(host, true), None));
        admitted.close(&host).unwrap().count(&mut rests, &mut counted);
    }
    let costs: Vec<_> = counted.0.iter().filter(|line| line.starts_with("keyless_cost")).collect();
    assert_eq!(costs.len(), 2, "0.4 millionths of a unit each, and 2 in all: {costs:?}");
}

#[test]
fn a_backends_401_is_replaced_at_once_and_what_it_says_is_told_once() {
    let host = Host::answering("401", "text/plain");
    let mut admitted = admitted(&host);
    assert!(matches!(admitted.response_head(&host, false), ResponseHead::Passes));
    let head = host.told();
    let expected =
        ["reason=identity_rejected", "answer without content-type", "answer :status: 502"];
    for line in expected {
        assert!(head.contains(&line.to_owned()), "{line}: {head:?}");
    }
    let mut said = Vec::new();
    let mut pass = |part: &str, is_last| {
        host.pass(part, |host| said.extend(admitted.response_body(host, is_last)))
    };
    let body = pass("the token ", false);
    assert!(body.contains("identity_rejected"), "{body}");
    assert_eq!(pass("is bad", true), "");
    assert_eq!(pass("late", true), "");
    assert_eq!(said.len(), 1);
    assert_eq!(said[0].said, b"the token is bad");
    assert_eq!(admitted.rejected(), None, "once");
}

#[test]
fn a_backends_401_without_a_body_is_replaced_whole_and_that_of_the_gateway_passes() {
    let host = Host::answering("401", "text/plain");
    let ResponseHead::Replaced(rejected, reply) = admitted(&host).response_head(&host, true) else {
        panic!("it passes")
    };
    assert_eq!((reply.status, rejected.said.len()), (502, 0));
    let local = Host { is_local: true, ..host };
    let head = admitted(&local).response_head(&local, true);
    assert!(matches!(head, ResponseHead::Passes));
}

#[test]
fn a_rejection_whose_body_never_ends_is_told_when_the_stream_is_over() {
    let host = Host::answering("401", "text/plain");
    let mut admitted = admitted(&host);
    admitted.response_head(&host, false);
    host.pass("half", |host| assert_eq!(admitted.response_body(host, false), None));
    assert_eq!(admitted.rejected().expect("what it has said").said, b"half");
}
