//! One thing that is fetched: when this thread does it, and what it takes over from others.

use std::rc::Rc;
use std::time::SystemTime;

use crate::http::{Answer, Call, FetchError};
use crate::lease::{Claim, Lease, Publication, SharedData};
use crate::refresh::Refresh;

/// Holds a remote value, and the lease of the thread that fetches it.
#[derive(Debug)]
pub(super) struct Supply<T> {
    pub(super) refresh: Refresh<T>,
    /// Without one, this thread fetches for itself.
    lease: Option<Lease>,
}

/// Holds what was read from an answer, and the times that it is good for.
pub(super) struct Fetched<T> {
    pub(super) value: T,
    pub(super) refresh_at: SystemTime,
    pub(super) expires: SystemTime,
}

/// What came of a fetch, and whether that is news.
pub(super) type Settled = (Result<(), FetchError>, bool);

impl<T> Supply<T> {
    /// Makes one that each thread fetches for itself, whenever it is due.
    pub(super) fn own() -> Self {
        Self::of(Refresh::new())
    }

    /// Makes one that is never fetched.
    pub(super) fn fixed(value: T) -> Self {
        Self::of(Refresh::fixed(value))
    }

    /// Makes one that one thread at a time fetches; where nobody else can read the notes, it does so
    /// for all.
    pub(super) fn leased(data: &Rc<dyn SharedData>, kind: &str, call: &Call) -> Self {
        Self { lease: Some(Lease::new(Rc::clone(data), kind, call)), ..Self::own() }
    }

    fn of(refresh: Refresh<T>) -> Self {
        Self { refresh, lease: None }
    }

    /// Returns true if this thread must fetch now, which then counts as in flight. If the value is
    /// due and another thread has a newer one, takes that; `read` reads an answer that arrived then.
    pub(super) fn begin(
        &mut self,
        deadline: SystemTime,
        now: SystemTime,
        read: impl FnOnce(&[u8], SystemTime) -> Result<Fetched<T>, FetchError>,
    ) -> bool {
        let Some(lease) = self.lease.as_ref().filter(|_| self.refresh.is_due(now)) else {
            return self.refresh.begin(deadline, now);
        };
        if let Some(Publication { asked, arrived, is_hastened, body }) =
            lease.published(self.refresh.asked(), now)
            && let Ok(Fetched { value, refresh_at, expires }) = read(&body, arrived)
            && now < expires
        {
            self.refresh.adopt(value, (asked, is_hastened), refresh_at, expires, now);
            return false;
        }
        match lease.claim(deadline, now) {
            Claim::Granted => return self.refresh.begin(deadline, now),
            Claim::Taken(look_again) => self.refresh.put_off(look_again, now),
            Claim::Failing(next_try) => self.refresh.fail_elsewhere(next_try, now),
        }
        false
    }

    /// Puts off the deadline of the fetch in flight, and the end of its lease, because it takes another
    /// call.
    pub(super) fn prolong(&mut self, deadline: SystemTime, now: SystemTime) {
        self.refresh.prolong(deadline, now);
        if let Some(lease) = &self.lease {
            // One that was lost meanwhile stays with whom it went to; the answers are good all the same.
            _ = lease.claim(deadline, now);
        }
    }

    /// Takes what came of the fetch in flight, and says whether that is news.
    pub(super) fn settle(
        &mut self,
        fetched: Result<Fetched<T>, FetchError>,
        answer: &Answer,
        now: SystemTime,
    ) -> Settled {
        let was_failing = self.refresh.is_failing();
        let is_first = self.refresh.count() == 0;
        match fetched {
            Ok(Fetched { value, refresh_at, expires }) => {
                self.refresh.renew(value, refresh_at, expires, now);
                self.publish(answer, now);
                (Ok(()), was_failing || is_first)
            }
            Err(error) => {
                let is_news = self.refresh.failure() != Some(&error);
                self.refresh.fail(error.clone(), answer.retry_after(), now);
                if let Some(lease) = &self.lease {
                    lease.keep(self.refresh.wake_at());
                }
                (Err(error), is_news)
            }
        }
    }

    /// Lets another thread fetch at once, because this one will not end what it began.
    pub(super) fn retire(&self) {
        if let Some(lease) = &self.lease {
            lease.release();
        }
    }

    fn publish(&self, answer: &Answer, now: SystemTime) {
        if let (Some(lease), Some((asked, is_hastened)), Ok(body)) =
            (&self.lease, self.refresh.begun(), answer.content())
        {
            lease.publish(&Publication { asked, arrived: now, is_hastened, body: body.to_vec() });
        }
    }
}
