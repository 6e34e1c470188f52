//! Counts what an admitted request used: the answer is read as it passes, and accounted once, when
//! the stream is over, however it has ended.

use std::time::{Duration, UNIX_EPOCH};

use keyless_core::ask::{Asked, BodyEditor, EventFilter};
use keyless_core::gate::{Account, Charge};
use keyless_core::price::Cost;
use keyless_core::usage::{Basis, Counted, End, Reader, Usage, unanswered};
use proxy_wasm::hostcalls;
use proxy_wasm::types::{BufferType, MapType, Status};

use crate::metrics::Metrics;
use crate::now;

/// The account of one request.
pub(crate) struct Accounting {
    account: Box<Account>,
    editor: Option<BodyEditor>,
    answer: Answer,
    is_whole: bool,
    /// When the first text of a streamed answer came, in milliseconds.
    first_token: Option<u128>,
}

/// The answer of the backend.
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
pub(crate) struct Spent {
    pub(crate) charges: Vec<Charge>,
    pub(crate) usage: Usage,
    pub(crate) cost: Option<Cost>,
}

impl Accounting {
    /// Begins the account of the request of the effective context, whose head has not gone on. If
    /// its body is to be changed, its length must not go on either: the backend would take what is
    /// too much for the next request.
    pub(crate) fn begin(account: Box<Account>) -> Result<Self, Status> {
        let editor = account.is_asked.then(BodyEditor::default);
        if editor.is_some() {
            hostcalls::remove_map_value(MapType::HttpRequestHeaders, "content-length")?;
        }
        let answer = Answer::Awaited;
        Ok(Self { account, editor, answer, is_whole: false, first_token: None })
    }

    /// Takes a part of the request's body, or all that has come of it.
    pub(crate) fn request_body(&mut self, size: usize, is_last: bool) {
        let Some(editor) = self.editor.as_mut().filter(|editor| !editor.is_done()) else { return };
        let piece = piece(BufferType::HttpRequestBody, size);
        if let Some(passed) = editor.pass(&piece, is_last) {
            _ = hostcalls::set_buffer(BufferType::HttpRequestBody, 0, piece.len(), passed);
        }
    }

    /// Returns true if the request's body is cut short now that trailers have come: nothing can be
    /// added to it any more.
    pub(crate) fn cuts_request(&self) -> bool {
        self.editor.as_ref().is_some_and(BodyEditor::is_holding)
    }

    /// Takes the head of the answer, whose status is this.
    pub(crate) fn response_head(&mut self, status: Option<&[u8]>, is_last: bool) {
        self.is_whole = is_last;
        let details = || hostcalls::get_property(vec!["response", "code_details"]);
        let is_success = status.is_some_and(|status| status.starts_with(b"2"));
        if !is_success || details().ok().flatten().as_deref() != Some(b"via_upstream") {
            self.answer = Answer::Failed;
            return;
        }
        let header = |name| {
            let value = hostcalls::get_map_value_bytes(MapType::HttpResponseHeaders, name);
            value.ok().flatten()
        };
        let reader = header("content-type").and_then(|kind| Reader::of(&kind));
        let is_plain = || header("content-encoding").is_none_or(|coding| coding == b"identity");
        let Some(reader) = reader.filter(|_| is_plain()) else {
            self.answer = Answer::Unread;
            return;
        };
        let filter = self.filter(&reader);
        self.answer = Answer::Read(Box::new(reader), filter);
    }

    /// Makes the filter of an answer with an event that its caller did not ask for.
    fn filter(&self, reader: &Reader) -> Option<EventFilter> {
        let is_asked = self.asked() == Asked::ByGateway && reader.is_stream();
        let remove =
            || hostcalls::remove_map_value(MapType::HttpResponseHeaders, "content-length").is_ok();
        (is_asked && remove()).then(EventFilter::default)
    }

    fn asked(&self) -> Asked {
        self.editor.as_ref().map_or(Asked::No, BodyEditor::asked)
    }

    /// Takes a part of the answer.
    pub(crate) fn response_body(&mut self, size: usize, is_last: bool) {
        self.is_whole = is_last;
        let Answer::Read(reader, filter) = &mut self.answer else { return };
        let piece = piece(BufferType::HttpResponseBody, size);
        match filter {
            None => reader.read(&piece),
            Some(filter) => {
                if let Some(passed) = filter.pass(reader, &piece, is_last) {
                    _ = hostcalls::set_buffer(BufferType::HttpResponseBody, 0, piece.len(), passed);
                }
            }
        }
        if self.first_token.is_none() && reader.is_stream() && reader.has_content() {
            self.first_token = age().map(|age| age.as_millis());
        }
    }

    /// Takes note that the answer ends with trailers.
    pub(crate) fn response_trailers(&mut self) {
        self.is_whole = true;
    }

    /// Accounts what was used: in filter state, from where the access log has it, and in the
    /// counters. The stream is over. Returns what counts for limits, if anything does.
    pub(crate) fn close(self, metrics: &mut Metrics) -> Option<Spent> {
        let is_asked = self.asked() != Asked::No;
        let counted = match self.answer {
            Answer::Awaited if was_sent() => unanswered(request_size()),
            Answer::Awaited | Answer::Failed => Counted::default(),
            Answer::Unread => Counted { basis: Basis::Absent, ..Counted::default() },
            Answer::Read(reader, _) => {
                let end = if self.is_whole { End::Whole { is_asked } } else { End::Broken };
                reader.finish(end, request_size)
            }
        };
        record("usage", counted.basis.name());
        if let Some(milliseconds) = self.first_token {
            record("first_token_ms", &milliseconds.to_string());
        }
        let cost = match counted.basis {
            Basis::Absent | Basis::None => None,
            Basis::Estimated | Basis::Exact => {
                let usage = &counted.usage;
                let parts = [("cached", usage.cached), ("reasoning", usage.reasoning)];
                let whole =
                    [("input", usage.input), ("output", usage.output), ("total", usage.total())];
                let parts = parts.into_iter().filter(|(_, count)| *count > 0);
                for (name, count) in whole.into_iter().chain(parts) {
                    record(&["tokens_", name].concat(), &count.to_string());
                }
                self.account.price.map(|price| price.cost(usage))
            }
        };
        if let Some(cost) = cost {
            record("cost", &cost.to_string());
        }
        metrics.count_usage(&self.account.labels, &counted, cost);
        let charges = self.account.charges;
        (!charges.is_empty()).then_some(Spent { charges, usage: counted.usage, cost })
    }
}

/// Reads a piece of a body. The end mostly comes by itself, without any bytes.
fn piece(buffer: BufferType, size: usize) -> Vec<u8> {
    let piece = (size > 0).then(|| hostcalls::get_buffer(buffer, 0, size));
    piece.and_then(Result::ok).flatten().unwrap_or_default()
}

/// Writes what operators see to filter state.
fn record(name: &str, value: &str) {
    _ = hostcalls::set_property(vec![&["keyless.", name].concat()], Some(value.as_bytes()));
}

/// Returns true if a backend was given the request.
fn was_sent() -> bool {
    let address = hostcalls::get_property(vec!["upstream", "address"]);
    address.ok().flatten().is_some_and(|address| !address.is_empty())
}

/// Returns how long ago the request began.
fn age() -> Option<Duration> {
    let began = hostcalls::get_property(vec!["request", "time"]).ok().flatten()?;
    let began = Duration::from_nanos(began.try_into().map(u64::from_le_bytes).ok()?);
    now()?.duration_since(UNIX_EPOCH).ok()?.checked_sub(began)
}

/// Returns the length of the request's body.
fn request_size() -> u64 {
    let size = hostcalls::get_property(vec!["request", "size"]).ok().flatten();
    size.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}
