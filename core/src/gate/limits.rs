//! The limits of callers, and the ledger that they are counted in.

mod reserved;

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use super::Forward;
use crate::denial::Denial;
use crate::fetch::SharedData;
use crate::ledger::{Count, Counter, Key, Ledger};
use crate::limit::{Allowance, Caller, Limit};
use crate::price::Cost;
use crate::settle::{Fleet, Settled, Settlement, SettlementReport, Settler};
use crate::usage::Usage;
use reserved::{Reservation, Reserved};

/// Checks requests against the limits, and counts them.
pub(super) struct Limits {
    list: Vec<Limit>,
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
    limit: &'a Limit,
    counter: Counter,
    used: u64,
    taken: u64,
    /// What is set aside for others.
    reserved: u64,
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
        Self { list, ledger, reserved: Reserved::default(), settler, is_news: Cell::default() }
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
        let mut admitted = Admitted::default();
        let mut met: Vec<Met<'_>> = Vec::new();
        let mut denials = Vec::new();
        for (at, limit) in self.list.iter().enumerate() {
            let Some(key) = limit.key(caller) else { continue };
            let takes = is_going_on && denials.is_empty();
            let one = self.check(limit, key, takes, checks, now);
            if one.is_exhausted() && !limit.report_only {
                denials.push(one.denial());
            }
            admitted.add(at, &one);
            met.push(one);
        }
        let Some((_, denial)) = denials.into_iter().max_by_key(|(resets_in, _)| *resets_in) else {
            return match self.unavailable().filter(|_| met.iter().any(Met::is_enforced)) {
                Some(denial) => self.give_back(&met, denial),
                None => Ok(if is_going_on { self.set_aside(admitted) } else { admitted }),
            };
        };
        self.give_back(&met, denial)
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

    fn give_back(&self, met: &[Met<'_>], denial: Denial) -> Result<Admitted, Denial> {
        for one in met.iter().filter(|one| one.taken > 0) {
            self.ledger.give_back(&one.counter, one.taken);
        }
        Err(denial)
    }

    /// The denial while what the fleet has used is unknown, if nobody is to be admitted then.
    fn unavailable(&self) -> Option<Denial> {
        let settler = self.settler.as_ref().filter(|settler| settler.refuses())?;
        Some(Denial::LimitsUnavailable { retry_after: settler.retry_after() })
    }

    /// Looks at one limit, and takes from it if it is to and if there is enough.
    fn check<'a>(
        &self,
        limit: &'a Limit,
        key: Key,
        takes: bool,
        checks: &mut Vec<Check>,
        now: SystemTime,
    ) -> Met<'a> {
        let counter = limit.counter(key, now);
        let amount = limit.amount.at_admission();
        let count = if takes && amount > 0 {
            let most = if limit.report_only { u64::MAX } else { limit.amount.most() };
            self.ledger.take(&counter, amount, most)
        } else {
            self.ledger.look(&counter)
        };
        self.note(count, now);
        let added = if count.is_counted { amount } else { 0 };
        let reserved = if limit.reserve > 0 { self.reserved.sum(&key) } else { 0 };
        let met = Met { limit, counter, used: count.used, taken: added, reserved };
        let (result, limit, is_evicting) = (met.result(), limit.name.clone(), count.is_evicting);
        checks.push(Check { limit, result, is_evicting });
        met
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
        let mut evicted = 0_u64;
        for Charge { limit, key, .. } in charges {
            let Some(limit) = self.list.get(*limit) else { continue };
            let amount = limit.amount.at_end(usage, cost);
            if amount > 0 {
                let count = self.ledger.add(&limit.counter(*key, now), amount);
                self.note(count, now);
                evicted = evicted.saturating_add(count.is_evicting.into());
            }
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

    /// The denial, after the time until it may be otherwise.
    fn denial(&self) -> (Duration, Denial) {
        let Self { limit, counter, used, .. } = self;
        if *used >= limit.amount.most() {
            (counter.period.remaining, limit.exhausted(counter.period))
        } else {
            (Duration::ZERO, limit.taken())
        }
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
    fn add(&mut self, at: usize, met: &Met<'_>) {
        if met.limit.amount.at_admission() == 0 {
            self.charges.push(Charge { limit: at, key: met.counter.key, reservation: None });
        }
        if met.limit.report_only {
            return;
        }
        let used = met.used.saturating_add(met.taken).saturating_add(met.reserved);
        let used = used.saturating_add(met.limit.reserve);
        let Some(allowance) = met.limit.allowance(used, met.counter.period) else { return };
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
