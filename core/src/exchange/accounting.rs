//! Counts what an admitted request used: the answer is read as it passes, and accounted once, when
//! the stream is over, however it has ended.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use super::{Body, Exchange, Refused};
use crate::ask::{Asked, BodyEditor, EventFilter};
use crate::gate::{Account, Charge, Gate, Labels};
use crate::metrics::{ANSWERS, COST, Meter, Metric, TOKEN_PARTS, TOKENS, UNPRICED};
use crate::price::Cost;
use crate::usage::{Basis, Counted, End, Reader, Usage, unanswered};

/// The account of one request.
#[derive(Debug)]
pub(super) struct Accounting {
    account: Box<Account>,
    editor: Option<BodyEditor>,
    answer: Answer,
    is_whole: bool,
    /// When the first text of a streamed answer came, counted from the request.
    first_token: Option<Duration>,
}

/// The answer of the backend.
#[derive(Debug)]
enum Answer {
    /// Its head has not come.
    Awaited,
    /// It is not one that counts: an error, or another filter's.
    Failed,
    /// It succeeded, and cannot be read.
    Unread,
    Read(Box<Reader>, Option<EventFilter>),
}

/// Tells what a request used.
#[derive(Debug)]
pub struct Used {
    /// The names under which it is counted.
    pub labels: Labels,
    /// How much, and how sure that is.
    pub counted: Counted,
    /// What that costs, if that is known.
    pub cost: Option<Cost>,
    /// The limits that it counts for.
    pub charges: Vec<Charge>,
}

/// What the counters of one thread do not hold: of each account less than the millionth of a unit that
/// they count in.
pub type Rests = HashMap<(Labels, Basis), Cost>;

impl Accounting {
    /// Begins the account of a request whose head has not gone on. If its body is to be changed, its
    /// length must not go on either: the backend would take what is too much for the next request.
    pub(super) fn begin(account: Box<Account>, exchange: &impl Exchange) -> Result<Self, Refused> {
        let editor = account.is_asked.then(BodyEditor::default);
        if editor.is_some() {
            exchange.remove_request_header("content-length")?;
        }
        let answer = Answer::Awaited;
        Ok(Self { account, editor, answer, is_whole: false, first_token: None })
    }

    /// Takes a part of the request's body, or all that has come of it.
    pub(super) fn request_body(&mut self, exchange: &impl Exchange, is_last: bool) {
        let Some(editor) = self.editor.as_mut().filter(|editor| !editor.is_done()) else { return };
        let part = exchange.part(Body::Request, usize::MAX);
        if let Some(passed) = editor.pass(&part, is_last) {
            exchange.replace_part(Body::Request, passed);
        }
    }

    /// Returns true if something could still be added to the request's body.
    pub(super) fn cuts_request(&self) -> bool {
        self.editor.as_ref().is_some_and(BodyEditor::is_holding)
    }

    /// Takes the head of the answer, and whether it is the success of a backend.
    pub(super) fn response_head(
        &mut self,
        exchange: &impl Exchange,
        is_success: bool,
        is_last: bool,
    ) {
        self.is_whole = is_last;
        if !is_success {
            self.answer = Answer::Failed;
            return;
        }
        let header = |name| exchange.response_header(name);
        let reader = header("content-type").and_then(|kind| Reader::of(&kind));
        let is_plain = || header("content-encoding").is_none_or(|coding| coding == b"identity");
        self.answer = match reader.filter(|_| is_plain()) {
            Some(reader) => {
                let filter = self.filter(exchange, &reader);
                Answer::Read(Box::new(reader), filter)
            }
            None => Answer::Unread,
        };
    }

    /// Makes the filter of an answer with an event that its caller did not ask for.
    fn filter(&self, exchange: &impl Exchange, reader: &Reader) -> Option<EventFilter> {
        let is_asked = self.asked() == Asked::ByGateway && reader.is_stream();
        let remove = || exchange.remove_response_header("content-length").is_ok();
        (is_asked && remove()).then(EventFilter::default)
    }

    fn asked(&self) -> Asked {
        self.editor.as_ref().map_or(Asked::No, BodyEditor::asked)
    }

    /// Takes a part of the answer.
    pub(super) fn response_body(&mut self, exchange: &impl Exchange, is_last: bool) {
        self.is_whole = is_last;
        let Answer::Read(reader, filter) = &mut self.answer else { return };
        match filter {
            None => exchange.read_part(reader),
            Some(filter) => {
                let part = exchange.part(Body::Response, usize::MAX);
                if let Some(passed) = filter.pass(reader, &part, is_last) {
                    exchange.replace_part(Body::Response, passed);
                }
            }
        }
        if self.first_token.is_none() && reader.is_stream() && reader.has_content() {
            self.first_token = exchange.age();
        }
    }

    /// Takes note that the answer ends with trailers.
    pub(super) fn response_trailers(&mut self) {
        self.is_whole = true;
    }

    /// Records what was used, and returns it. The stream is over.
    pub(super) fn close(self, exchange: &impl Exchange) -> Used {
        let is_asked = self.asked() != Asked::No;
        let counted = match self.answer {
            Answer::Awaited if exchange.was_sent() => unanswered(exchange.request_size()),
            Answer::Awaited | Answer::Failed => Counted::default(),
            Answer::Unread => Counted { basis: Basis::Absent, ..Counted::default() },
            Answer::Read(reader, _) => {
                let end = if self.is_whole { End::Whole { is_asked } } else { End::Broken };
                reader.finish(end, || exchange.request_size())
            }
        };
        let Account { charges, labels, price, .. } = *self.account;
        let cost = match counted.basis {
            Basis::Absent | Basis::None => None,
            Basis::Estimated | Basis::Exact => price.map(|price| price.cost(&counted.usage)),
        };
        let used = Used { labels, counted, cost, charges };
        used.record(exchange, self.first_token);
        used
    }
}

impl Used {
    fn record(&self, exchange: &impl Exchange, first_token: Option<Duration>) {
        let Self { counted: Counted { basis, usage }, cost, .. } = self;
        exchange.record("wasm.keyless.usage", basis.name());
        if let Some(age) = first_token {
            exchange.record("wasm.keyless.first_token_ms", &age.as_millis().to_string());
        }
        match basis {
            Basis::Absent | Basis::None => {}
            Basis::Estimated | Basis::Exact => record_tokens(usage, exchange),
        }
        if let Some(cost) = cost {
            exchange.record("wasm.keyless.cost", &cost.to_string());
        }
    }

    /// Counts it. A sum of costs is exact but for less than a millionth of a unit for each thread and
    /// account.
    pub fn count(&self, rests: &mut Rests, meter: &mut impl Meter) {
        let Self { labels, counted: Counted { basis, usage }, cost, .. } = self;
        if *basis == Basis::None {
            return;
        }
        let Labels { issuer, route, deployment } = labels;
        let name = basis.name();
        let mut add = |metric: &Metric, kind: Option<&str>, count: u64| match kind {
            Some(kind) => meter.add(metric, &[issuer, route, deployment, kind, name], count),
            None => meter.add(metric, &[issuer, route, deployment, name], count),
        };
        add(&ANSWERS, None, 1);
        add(&TOKENS, Some("input"), usage.input);
        add(&TOKENS, Some("output"), usage.output);
        add(&TOKEN_PARTS, Some("cached"), usage.cached);
        add(&TOKEN_PARTS, Some("cache_write"), usage.cache_write);
        add(&TOKEN_PARTS, Some("audio_input"), usage.audio_input);
        add(&TOKEN_PARTS, Some("reasoning"), usage.reasoning);
        add(&TOKEN_PARTS, Some("audio_output"), usage.audio_output);
        match cost {
            Some(cost) => {
                let rest = rests.entry((labels.clone(), *basis)).or_default();
                *rest = rest.plus(*cost);
                add(&COST, None, rest.take_micro_units());
            }
            None if *basis == Basis::Absent => {}
            None => meter.add(&UNPRICED, &[issuer, route, deployment], 1),
        }
    }

    /// Counts it for the limits that its request fell under. Returns how many other counters had to
    /// make room.
    pub fn charge(&self, gate: &Gate, now: SystemTime) -> u64 {
        gate.charge(&self.charges, &self.counted.usage, self.cost, now)
    }
}

fn record_tokens(usage: &Usage, exchange: &impl Exchange) {
    let whole = [
        ("wasm.keyless.tokens_input", usage.input),
        ("wasm.keyless.tokens_output", usage.output),
        ("wasm.keyless.tokens_total", usage.total()),
    ];
    let parts = [
        ("wasm.keyless.tokens_cached", usage.cached),
        ("wasm.keyless.tokens_reasoning", usage.reasoning),
    ];
    let parts = parts.into_iter().filter(|(_, count)| *count > 0);
    for (name, count) in whole.into_iter().chain(parts) {
        exchange.record(name, &count.to_string());
    }
}
