//! The limits of callers, and the ledger that they are counted in.

use std::rc::Rc;
use std::time::SystemTime;

use super::Forward;
use crate::denial::Denial;
use crate::fetch::SharedData;
use crate::ledger::{Key, Ledger, Period};
use crate::limit::{Allowance, Caller, Limit};
use crate::price::Cost;
use crate::usage::Usage;

/// Checks requests against the limits, and counts them.
pub(super) struct Limits {
    list: Vec<Limit>,
    ledger: Ledger,
}

/// Names a counter that an answer counts for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Charge {
    /// The place of the limit in the configuration.
    limit: usize,
    key: Key,
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
    key: Key,
    period: Period,
    used: u64,
    taken: u64,
}

impl Limits {
    pub(super) fn new(list: Vec<Limit>, entries: usize, shared: &Rc<dyn SharedData>) -> Self {
        Self { list, ledger: Ledger::new(Rc::clone(shared), entries) }
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
                denials.push((one.period.remaining, limit.exhausted(one.period)));
            }
            admitted.add(at, &one);
            met.push(one);
        }
        let Some((_, denial)) = denials.into_iter().max_by_key(|(resets_in, _)| *resets_in) else {
            return Ok(admitted);
        };
        for one in met.iter().filter(|one| one.taken > 0) {
            self.ledger.give_back(&one.key, one.period, one.taken);
        }
        Err(denial)
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
        let period = limit.period(now);
        let amount = limit.amount.at_admission();
        let (mut met, mut is_evicting) = (Met { limit, key, period, used: 0, taken: 0 }, false);
        if takes && amount > 0 {
            let most = if limit.report_only { u64::MAX } else { limit.amount.most() };
            let count = self.ledger.take(&key, period, amount, most);
            (met.used, is_evicting) = (count.used, count.is_evicting);
            met.taken = if count.is_counted { amount } else { 0 };
        } else {
            met.used = self.ledger.used(&key, period);
        }
        let result = match (met.is_exhausted(), limit.report_only) {
            (false, _) => CheckResult::Within,
            (true, false) => CheckResult::Exhausted,
            (true, true) => CheckResult::WouldExhaust,
        };
        checks.push(Check { limit: limit.name.clone(), result, is_evicting });
        met
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
        for Charge { limit, key } in charges {
            let Some(limit) = self.list.get(*limit) else { continue };
            let amount = limit.amount.at_end(usage, cost);
            if amount > 0 {
                let count = self.ledger.add(key, limit.period(now), amount);
                evicted = evicted.saturating_add(count.is_evicting.into());
            }
        }
        evicted
    }
}

impl Met<'_> {
    fn is_exhausted(&self) -> bool {
        self.used >= self.limit.amount.most()
    }
}

impl Admitted {
    fn add(&mut self, at: usize, met: &Met<'_>) {
        if met.limit.amount.at_admission() == 0 {
            self.charges.push(Charge { limit: at, key: met.key });
        }
        if met.limit.report_only {
            return;
        }
        let used = met.used.saturating_add(met.taken);
        let Some(allowance) = met.limit.allowance(used, met.period) else { return };
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
            Self::Within => "within",
            Self::WouldExhaust => "would_exhaust",
        }
    }
}
