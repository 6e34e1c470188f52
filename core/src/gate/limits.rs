//! The limits of callers, and the ledger that they are counted in.

mod reserved;

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use super::Forward;
use crate::denial::Denial;
use crate::fetch::SharedData;
use crate::ledger::{Count, Counter, Key, Ledger, Taking};
use crate::limit::{Allowance, Caller, CallerHashes, Limit};
use crate::policy::Deployment;
use crate::price::Cost;
use crate::settle::{Fleet, Settled, Settlement, SettlementReport, Settler};
use crate::usage::Usage;
use reserved::{Reservation, Reserved};

/// Checks requests against the limits, and counts them.
pub(super) struct Limits {
    list: Vec<Limit>,
    hashes: CallerHashes,
    ledger: Ledger,
    /// What is set aside for requests under way in this thread.
    reserved: Reserved,
    settler: Option<Settler>,
    /// There is something to settle since the host was told last.
    is_news: Cell<bool>,
}

/// Names a counter that an answer counts for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Charge {
    /// The place of the limit in the configuration.
    limit: usize,
    key: Key,
    /// Kept until it is known what the answer counts.
    reservation: Option<Rc<Reservation>>,
}

/// Tells what a check of one limit came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Check {
    /// The name of the limit.
    pub limit: Rc<str>,
    /// What it came to.
    pub result: CheckResult,
    /// Another counter had to make room, whose window is not over.
    pub is_evicting: bool,
}

/// Says what a check of a limit came to.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum CheckResult {
    /// It is used up, and the request is refused.
    Exhausted,
    /// There is enough left, but four fifths of it or more were used before the request.
    Near,
    /// There is enough left.
    Within,
    /// It is used up, and only reported.
    WouldExhaust,
}

/// What a request that no limit stops has to carry on.
#[derive(Default)]
pub(super) struct Admitted {
    allowances: Vec<Allowance>,
    charges: Vec<Charge>,
}

/// One limit that a request falls under.
struct Met<'a> {
    /// Its place in the configuration.
    at: usize,
    limit: &'a Limit,
    counter: Counter,
    /// What is set aside for others.
    reserved: u64,
    used: u64,
    taken: u64,
}

impl Limits {
    pub(super) fn new(
        list: Vec<Limit>,
        entries: usize,
        fleet: Option<Fleet>,
        shared: &Rc<dyn SharedData>,
    ) -> Self {
        let interval = fleet.as_ref().map(|fleet| fleet.interval);
        let ledger = Ledger::new(Rc::clone(shared), entries, interval);
        let settler = fleet.map(|fleet| Settler::new(fleet, shared));
        let (hashes, reserved) = (CallerHashes::default(), Reserved::default());
        Self { list, hashes, ledger, reserved, settler, is_news: Cell::default() }
    }

    /// Checks every limit that a request falls under. If it is going on, those on requests are
    /// counted; but none of them if any is used up.
    pub(super) fn admit(
        &self,
        caller: &Caller<'_>,
        is_going_on: bool,
        checks: &mut Vec<Check>,
        now: SystemTime,
    ) -> Result<Admitted, Denial> {
        let mut met = self.met(caller, now);
        if met.is_empty() {
            return Ok(Admitted::default());
        }
        let unavailable = if met.iter().any(Met::is_enforced) { self.unavailable() } else { None };
        let is_taken = is_going_on && unavailable.is_none();
        let takings: Vec<_> = met.iter().map(|one| one.taking(is_taken)).collect();
        for (one, count) in met.iter_mut().zip(self.ledger.take_all(&takings)) {
            self.note(count, now);
            one.used = count.used;
            one.taken = if count.is_counted { one.limit.amount.at_admission() } else { 0 };
            checks.push(one.check(count.is_evicting));
        }
        let denials = met.iter().filter_map(Met::denial);
        let longest = denials.max_by_key(|(resets_in, _)| *resets_in).map(|(_, denial)| denial);
        if let Some(denial) = longest.or(unavailable) {
            return Err(denial);
        }
        let admitted = Admitted::under(&met);
        Ok(if is_going_on { self.set_aside(admitted) } else { admitted })
    }

    /// The limits that a request falls under. A deployment is the same in any case.
    fn met(&self, caller: &Caller<'_>, now: SystemTime) -> Vec<Met<'_>> {
        if self.list.is_empty() {
            return Vec::new();
        }
        let deployment = caller.deployment.name().map(str::to_ascii_lowercase);
        let caller = Caller { deployment: Deployment::from(deployment.as_deref()), ..*caller };
        let met = self.list.iter().enumerate().filter(|(_, limit)| limit.is_for(&caller));
        let met = met.map(|(at, limit)| {
            let counter = limit.counter(self.hashes.key(limit, &caller), now);
            let reserved = if limit.reserve > 0 { self.reserved.sum(&counter.key) } else { 0 };
            Met { at, limit, counter, reserved, used: 0, taken: 0 }
        });
        met.collect()
    }

    /// Sets aside what its answer may use, for each limit that wants it.
    fn set_aside(&self, mut admitted: Admitted) -> Admitted {
        for Charge { limit, key, reservation } in &mut admitted.charges {
            let reserve = self.list.get(*limit).map_or(0, |limit| limit.reserve);
            if reserve > 0 {
                *reservation = Some(Rc::new(self.reserved.set_aside(*key, reserve)));
            }
        }
        admitted
    }

    /// The denial while what the fleet has used is unknown, if nobody is to be admitted then.
    fn unavailable(&self) -> Option<Denial> {
        let settler = self.settler.as_ref().filter(|settler| settler.refuses())?;
        Some(Denial::LimitsUnavailable { retry_after: settler.retry_after() })
    }

    fn note(&self, count: Count, now: SystemTime) {
        if let Some(settler) = self.settler.as_ref().filter(|_| count.is_pending)
            && settler.note(now)
        {
            self.is_news.set(true);
        }
    }

    /// Counts what an answer used; returns how many other counters had to make room.
    pub(super) fn charge(
        &self,
        charges: &[Charge],
        usage: &Usage,
        cost: Option<Cost>,
        now: SystemTime,
    ) -> u64 {
        let takings = charges.iter().filter_map(|Charge { limit, key, .. }| {
            let limit = self.list.get(*limit)?;
            let amount = limit.amount.at_end(usage, cost);
            let counter = limit.counter(*key, now);
            (amount > 0).then_some(Taking { counter, amount, most: u64::MAX })
        });
        let takings: Vec<_> = takings.collect();
        let mut evicted = 0_u64;
        for count in self.ledger.take_all(&takings) {
            self.note(count, now);
            evicted = evicted.saturating_add(count.is_evicting.into());
        }
        evicted
    }

    /// Returns true once for each time that there is something to settle and there was nothing before.
    pub(super) fn is_news(&self) -> bool {
        self.is_news.take()
    }

    /// Takes note that another thread has left something to settle.
    pub(super) fn settle_for_another(&self, now: SystemTime) {
        if let Some(settler) = &self.settler {
            settler.note(now);
        }
    }

    pub(super) fn wake_at(&self) -> Option<SystemTime> {
        self.settler.as_ref()?.wake_at()
    }

    pub(super) fn call(&mut self, now: SystemTime) -> Option<Settlement> {
        self.settler.as_mut()?.call(&self.list, &self.ledger, now)
    }

    pub(super) fn is_lost(&self, now: SystemTime) -> bool {
        self.settler.as_ref().is_some_and(|settler| settler.is_lost(now))
    }

    pub(super) fn settled(
        &mut self,
        settled: Settled,
        now: SystemTime,
    ) -> Option<SettlementReport> {
        self.settler.as_mut()?.settled(settled, &self.list, &self.ledger, now)
    }

    pub(super) fn retire(&self) {
        if let Some(settler) = &self.settler {
            settler.retire(&self.ledger);
        }
    }
}

impl Met<'_> {
    fn is_enforced(&self) -> bool {
        !self.limit.report_only
    }

    fn is_exhausted(&self) -> bool {
        self.used.saturating_add(self.reserved) >= self.limit.amount.most()
    }

    /// What the request takes if it goes on.
    fn taking(&self, is_taken: bool) -> Taking {
        let Self { limit, counter, reserved, .. } = *self;
        let amount = if is_taken { limit.amount.at_admission() } else { 0 };
        let most = limit.amount.most().saturating_sub(reserved);
        Taking { counter, amount, most: if limit.report_only { u64::MAX } else { most } }
    }

    fn check(&self, is_evicting: bool) -> Check {
        Check { limit: self.limit.name.clone(), result: self.result(), is_evicting }
    }

    /// The denial if there is not enough left, after the time until it may be otherwise.
    fn denial(&self) -> Option<(Duration, Denial)> {
        let Self { limit, counter, used, .. } = self;
        if !self.is_enforced() || !self.is_exhausted() {
            return None;
        }
        Some(if *used >= limit.amount.most() {
            (counter.period.remaining, limit.exhausted(counter.period))
        } else {
            (Duration::ZERO, limit.taken())
        })
    }

    /// What is left for the caller's next requests.
    fn allowance(&self) -> Option<Allowance> {
        let parts = [self.taken, self.reserved, self.limit.reserve];
        let used = parts.into_iter().fold(self.used, u64::saturating_add);
        self.limit.allowance(used, self.counter.period)
    }

    fn result(&self) -> CheckResult {
        let is_near = self.used >= self.limit.amount.nearly_most();
        match (self.is_exhausted(), self.limit.report_only) {
            (true, false) => CheckResult::Exhausted,
            (true, true) => CheckResult::WouldExhaust,
            (false, _) if is_near => CheckResult::Near,
            (false, _) => CheckResult::Within,
        }
    }
}

impl Admitted {
    fn under(met: &[Met<'_>]) -> Self {
        let mut admitted = Self::default();
        for one in met {
            if one.limit.amount.at_admission() == 0 {
                let (limit, key) = (one.at, one.counter.key);
                admitted.charges.push(Charge { limit, key, reservation: None });
            }
            if let Some(allowance) = one.allowance().filter(|_| one.is_enforced()) {
                admitted.allow(allowance);
            }
        }
        admitted
    }

    /// Keeps the tighter one of each unit.
    fn allow(&mut self, allowance: Allowance) {
        for known in &mut self.allowances {
            if let Some(tighter) = known.tighter(allowance) {
                *known = tighter;
                return;
            }
        }
        self.allowances.push(allowance);
    }

    /// Has a request carry it.
    pub(super) fn added_to(self, mut forward: Forward) -> Forward {
        (forward.allowances, forward.charges) = (self.allowances, self.charges);
        forward
    }
}

impl CheckResult {
    /// Returns the word for it in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exhausted => "exhausted",
            Self::Near => "near",
            Self::Within => "within",
            Self::WouldExhaust => "would_exhaust",
        }
    }
}
