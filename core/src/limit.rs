//! Who may use how much in a window: which limits a request falls under, and which counter of each.

mod key;

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use crate::denial::{Denial, Exhausted};
use crate::jwt::{ClaimName, Claims, EntryIndex};
use crate::ledger::{Counter, Key, Period, Window};
use crate::policy::{self, Deployment, Grant, RouteIndex};
use crate::price::Cost;
use crate::usage::Usage;
pub use key::{CallerHashes, Tag};

/// Limits what callers may use in a window.
#[derive(Clone, Debug)]
pub struct Limit {
    /// The label in replies and metrics.
    pub name: Rc<str>,
    /// What the keys of its counters begin with, of its name, amount and window.
    pub tag: Tag,
    /// There is one counter for each combination of these.
    pub per: Vec<Per>,
    /// And for each combination of the values of these claims; an absent claim is a value, too.
    pub per_claims: Vec<ClaimName>,
    /// It is for requests of which these conditions hold.
    pub when: Grant,
    /// It is for these routes; any if empty.
    pub routes: Vec<RouteIndex>,
    /// How much.
    pub amount: Amount,
    /// In which time.
    pub window: Window,
    /// What counts for each request under way, until it is known what it has used.
    pub reserve: u64,
    /// It is counted and reported, but nobody is refused.
    pub report_only: bool,
}

/// Names what a limit counts by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Per {
    /// The calling application.
    Client,
    /// The deployment, in any case.
    Deployment,
    /// The issuer's entry.
    Issuer,
    /// The route.
    Route,
    /// The token's `sub`.
    Subject,
}

/// Says what a limit is of, and how much of it there may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Amount {
    /// Money, counted when an answer is over.
    Cost(Cost),
    /// Requests that are admitted.
    Requests(u64),
    /// Tokens, counted when an answer is over.
    Tokens(u64, TokenCount),
}

/// Says which tokens of a request a limit counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenCount {
    /// Those of the request.
    Input,
    /// Those of the answer.
    Output,
    /// Both.
    Total,
}

/// Holds what is known of a request when it is admitted.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// The issuer's entry.
    pub entry: EntryIndex,
    /// Its name.
    pub issuer: &'a str,
    /// The route.
    pub route: RouteIndex,
    /// Its name.
    pub route_name: &'a str,
    /// The deployment, in lower case where limits look at it: it is the same in any.
    pub deployment: Deployment<'a>,
    /// What the issuer vouched for.
    pub claims: &'a Claims,
}

/// Tells a caller what is left of a limit, in the headers that OpenAI's clients know.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Allowance {
    unit: Unit,
    most: u64,
    remaining: u64,
    resets_in: Duration,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Unit {
    Requests,
    Tokens,
}

/// Amounts of money are counted in billionths of a currency unit.
const PICO_UNITS_IN_COUNT: u128 = 1_000;

/// A fleet counts money in thousandths of a currency unit: its numbers are smaller.
const COUNTS_IN_GRAIN: u64 = 1_000_000;

/// How long it may take until a request under way has ended.
const RETRY_WHEN_TAKEN: Duration = Duration::from_secs(1);

impl Limit {
    /// Returns true if a request of this caller falls under the limit.
    pub fn is_for(&self, caller: &Caller<'_>) -> bool {
        let Caller { entry, route, deployment, claims, .. } = *caller;
        let is_for_route = self.routes.is_empty() || self.routes.contains(&route);
        is_for_route && policy::unmet(&self.when, entry, deployment, claims).next().is_none()
    }

    /// Returns a counter of it at a time.
    pub fn counter(&self, key: Key, now: SystemTime) -> Counter {
        Counter { key, period: self.period(now), grain: self.amount.grain() }
    }

    /// Returns the window at a time.
    pub fn period(&self, now: SystemTime) -> Period {
        self.window.period(now)
    }

    /// Returns the denial once the limit is used up.
    pub fn exhausted(&self, period: Period) -> Denial {
        self.denial(period.remaining, false)
    }

    /// Returns the denial while all that is left is set aside for requests under way.
    pub fn taken(&self) -> Denial {
        self.denial(RETRY_WHEN_TAKEN, true)
    }

    fn denial(&self, resets_in: Duration, is_taken: bool) -> Denial {
        let exhausted = Exhausted {
            limit: self.name.clone(),
            amount: format!("{} in {}", self.amount.text(), self.window.name()),
            most: self.amount.most(),
            resets_in,
            is_taken,
        };
        match self.amount {
            Amount::Cost(_) => Denial::BudgetExhausted { exhausted },
            Amount::Requests(_) => Denial::RequestsExhausted { exhausted },
            Amount::Tokens(..) => Denial::TokensExhausted { exhausted },
        }
    }

    /// Returns what is left once so much is used; callers are told nothing of money.
    pub fn allowance(&self, used: u64, period: Period) -> Option<Allowance> {
        let unit = match self.amount {
            Amount::Cost(_) => return None,
            Amount::Requests(_) => Unit::Requests,
            Amount::Tokens(..) => Unit::Tokens,
        };
        let most = self.amount.most();
        let (remaining, resets_in) = (most.saturating_sub(used), period.remaining);
        Some(Allowance { unit, most, remaining, resets_in })
    }
}

impl Amount {
    /// Returns how much may be counted.
    pub fn most(self) -> u64 {
        match self {
            Self::Cost(cost) => counted(cost),
            Self::Requests(most) | Self::Tokens(most, _) => most,
        }
    }

    /// Returns from how much on it is nearly used up: four fifths.
    pub fn nearly_most(self) -> u64 {
        let most = self.most();
        most.saturating_sub(most.checked_div(5).unwrap_or_default())
    }

    /// Returns what a fleet counts in: requests, tokens, or thousandths of a currency unit.
    pub fn grain(self) -> u64 {
        match self {
            Self::Cost(_) => COUNTS_IN_GRAIN,
            Self::Requests(_) | Self::Tokens(..) => 1,
        }
    }

    /// Returns how much may be counted, in what a fleet counts in, rounded up: a fleet says no more
    /// than that nothing is left.
    pub fn most_in_grains(self) -> u32 {
        u32::try_from(self.most().div_ceil(self.grain())).unwrap_or(u32::MAX)
    }

    /// Returns what is counted when a request is admitted.
    pub fn at_admission(self) -> u64 {
        match self {
            Self::Requests(_) => 1,
            Self::Cost(_) | Self::Tokens(..) => 0,
        }
    }

    /// Returns what is counted when its answer is over.
    pub fn at_end(self, usage: &Usage, cost: Option<Cost>) -> u64 {
        match self {
            Self::Cost(_) => cost.map_or(0, counted),
            Self::Requests(_) => 0,
            Self::Tokens(_, TokenCount::Input) => usage.input,
            Self::Tokens(_, TokenCount::Output) => usage.output,
            Self::Tokens(_, TokenCount::Total) => usage.total(),
        }
    }

    /// The word in a key: what is counted otherwise has another counter.
    fn name(self) -> &'static str {
        match self {
            Self::Cost(_) => "cost",
            Self::Requests(_) => "requests",
            Self::Tokens(_, TokenCount::Input) => "input",
            Self::Tokens(_, TokenCount::Output) => "output",
            Self::Tokens(_, TokenCount::Total) => "total",
        }
    }

    fn text(self) -> String {
        match self {
            Self::Cost(cost) => {
                let cost = cost.to_string();
                let (whole, decimals) = cost.split_once('.').unwrap_or((&cost, ""));
                let decimals = decimals.trim_end_matches('0');
                format!("a cost of {whole}.{decimals:0<2}")
            }
            Self::Requests(most) => format!("{most} requests"),
            Self::Tokens(most, TokenCount::Total) => format!("{most} tokens"),
            Self::Tokens(most, TokenCount::Input) => format!("{most} input tokens"),
            Self::Tokens(most, TokenCount::Output) => format!("{most} output tokens"),
        }
    }
}

impl Allowance {
    /// Returns the one of which less is left, if both are of the same unit.
    pub fn tighter(self, other: Self) -> Option<Self> {
        let of = |allowance: &Self| (allowance.remaining, allowance.most);
        (self.unit == other.unit).then(|| std::cmp::min_by_key(self, other, of))
    }

    /// Returns `x-ratelimit-limit-…`, `-remaining-…` and `-reset-…`.
    pub fn headers(&self) -> [(&'static str, String); 3] {
        let [limit, remaining, reset] = match self.unit {
            Unit::Requests => crate::denial::REQUESTS_HEADERS,
            Unit::Tokens => crate::denial::TOKENS_HEADERS,
        };
        [
            (limit, self.most.to_string()),
            (remaining, self.remaining.to_string()),
            (reset, format!("{}s", crate::denial::whole_seconds(self.resets_in))),
        ]
    }
}

/// Rounds up, so that nothing is free: a million requests may count a thousandth of a unit more.
fn counted(cost: Cost) -> u64 {
    u64::try_from(cost.pico_units().div_ceil(PICO_UNITS_IN_COUNT)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
