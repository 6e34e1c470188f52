//! Counts what an admitted request used: the answer is read as it passes, and accounted once, when
//! the stream is over, however it has ended.

use std::time::Instant;

use keyless_core::ask::{Asked, BodyEditor, EventFilter};
use keyless_core::gate::{Account, Charge};
use keyless_core::price::Cost;
use keyless_core::usage::{Basis, Counted, End, Reader, Usage, unanswered};

use crate::abi::{Attribute, Body, Map, Refused, Stream};
use crate::metrics::{Metrics, Rests};

/// The account of one request.
#[derive(Debug)]
pub(crate) struct Accounting {
    account: Box<Account>,
    editor: Option<BodyEditor>,
    answer: Answer,
    is_whole: bool,
    /// The length of the request's body so far.
    request_size: u64,
    /// When the first text of a streamed answer came, in milliseconds.
    first_token: Option<u128>,
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

/// What counts for limits.
#[derive(Debug)]
pub(crate) struct Spent {
    pub(crate) charges: Vec<Charge>,
    pub(crate) usage: Usage,
    pub(crate) cost: Option<Cost>,
}

impl Accounting {
    /// Begins the account of a request whose head has not gone on. If its body is to be changed, its
    /// length must not go on either: the backend would take what is too much for the next request.
    pub(crate) fn begin(stream: &Stream<'_>, account: Box<Account>) -> Result<Self, Refused> {
        let editor = account.is_asked.then(BodyEditor::default);
        if editor.is_some() {
            stream.remove(Map::RequestHeaders, "content-length")?;
        }
        let answer = Answer::Awaited;
        let (is_whole, request_size, first_token) = (false, 0, None);
        Ok(Self { account, editor, answer, is_whole, request_size, first_token })
    }

    /// Takes a part of the request's body, with all that was held for this filter before it.
    pub(crate) fn request_body(&mut self, stream: &Stream<'_>, is_held: bool, is_last: bool) {
        let is_held = is_held && !stream.was_held();
        let held = if is_held { stream.body_size(Body::HeldRequest) } else { 0 };
        let size = stream.body_size(Body::Request).saturating_add(held);
        let size = u64::try_from(size).unwrap_or(u64::MAX);
        self.request_size = self.request_size.saturating_add(size);
        let Some(editor) = self.editor.as_mut().filter(|editor| !editor.is_done()) else { return };
        let mut piece = Vec::new();
        if held > 0 {
            piece = stream.body(Body::HeldRequest, usize::MAX);
        }
        piece.extend(stream.body(Body::Request, usize::MAX));
        if let Some(passed) = editor.pass(&piece, is_last) {
            if held > 0 {
                stream.replace_body(Body::HeldRequest, b"");
            }
            stream.replace_body(Body::Request, passed);
        }
    }

    /// Returns true if the request's body is cut short now that trailers have come: nothing can be
    /// added to it any more.
    pub(crate) fn cuts_request(&self) -> bool {
        self.editor.as_ref().is_some_and(BodyEditor::is_holding)
    }

    /// Takes the head of the answer, and whether it is the success of a backend.
    pub(crate) fn response_head(&mut self, stream: &Stream<'_>, is_success: bool, is_last: bool) {
        self.is_whole = is_last;
        if !is_success {
            self.answer = Answer::Failed;
            return;
        }
        let header = |name| stream.header(Map::ResponseHeaders, name);
        let reader = header("content-type").and_then(|kind| Reader::of(&kind));
        let is_plain = || header("content-encoding").is_none_or(|coding| coding == b"identity");
        let Some(reader) = reader.filter(|_| is_plain()) else {
            self.answer = Answer::Unread;
            return;
        };
        let filter = self.filter(stream, &reader);
        self.answer = Answer::Read(Box::new(reader), filter);
    }

    /// Makes the filter of an answer with an event that its caller did not ask for.
    fn filter(&self, stream: &Stream<'_>, reader: &Reader) -> Option<EventFilter> {
        let is_asked = self.asked() == Asked::ByGateway && reader.is_stream();
        let remove = || stream.remove(Map::ResponseHeaders, "content-length").is_ok();
        (is_asked && remove()).then(EventFilter::default)
    }

    fn asked(&self) -> Asked {
        self.editor.as_ref().map_or(Asked::No, BodyEditor::asked)
    }

    /// Takes a part of the answer to a request that began then.
    pub(crate) fn response_body(&mut self, stream: &Stream<'_>, is_last: bool, began: Instant) {
        self.is_whole = is_last;
        let Answer::Read(reader, filter) = &mut self.answer else { return };
        let piece = stream.body(Body::Response, usize::MAX);
        match filter {
            None => reader.read(&piece),
            Some(filter) => {
                if let Some(passed) = filter.pass(reader, &piece, is_last) {
                    stream.replace_body(Body::Response, passed);
                }
            }
        }
        if self.first_token.is_none() && reader.is_stream() && reader.has_content() {
            self.first_token = Some(began.elapsed().as_millis());
        }
    }

    /// Takes note that the answer ends with trailers.
    pub(crate) fn response_trailers(&mut self) {
        self.is_whole = true;
    }

    /// Accounts what was used: in filter state, from where the access log has it, and in the
    /// counters. The stream is over. Returns what counts for limits, if anything does.
    pub(crate) fn close(
        self,
        stream: &Stream<'_>,
        metrics: &Metrics,
        rests: &mut Rests,
    ) -> Option<Spent> {
        let is_asked = self.asked() != Asked::No;
        let size = self.request_size;
        let counted = match self.answer {
            Answer::Awaited if was_sent(stream) => unanswered(size),
            Answer::Awaited | Answer::Failed => Counted::default(),
            Answer::Unread => Counted { basis: Basis::Absent, ..Counted::default() },
            Answer::Read(reader, _) => {
                let end = if self.is_whole { End::Whole { is_asked } } else { End::Broken };
                reader.finish(end, || size)
            }
        };
        record(stream, "usage", counted.basis.name());
        if let Some(milliseconds) = self.first_token {
            record(stream, "first_token_ms", &milliseconds.to_string());
        }
        let cost = match counted.basis {
            Basis::Absent | Basis::None => None,
            Basis::Estimated | Basis::Exact => {
                record_tokens(stream, &counted.usage);
                self.account.price.map(|price| price.cost(&counted.usage))
            }
        };
        if let Some(cost) = cost {
            record(stream, "cost", &cost.to_string());
        }
        metrics.count_usage(stream, &self.account.labels, &counted, cost, rests);
        let charges = self.account.charges;
        (!charges.is_empty()).then_some(Spent { charges, usage: counted.usage, cost })
    }
}

fn record_tokens(stream: &Stream<'_>, usage: &Usage) {
    let parts = [("cached", usage.cached), ("reasoning", usage.reasoning)];
    let whole = [("input", usage.input), ("output", usage.output), ("total", usage.total())];
    let parts = parts.into_iter().filter(|(_, count)| *count > 0);
    for (name, count) in whole.into_iter().chain(parts) {
        record(stream, &["tokens_", name].concat(), &count.to_string());
    }
}

/// Writes what operators see to filter state.
fn record(stream: &Stream<'_>, name: &str, value: &str) {
    stream.state(&["wasm.keyless.", name].concat(), value);
}

/// Returns true if a backend was given the request.
fn was_sent(stream: &Stream<'_>) -> bool {
    stream.attribute(Attribute::UpstreamAddress).is_some_and(|address| !address.is_empty())
}
