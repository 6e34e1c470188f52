//! The issuers and what their tokens are worth: their keys on the way, and the cache of verified tokens.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::SystemTime;

use super::supply::{Fetched, Supply};
use super::{
    ALREADY_TRYING, HASTE, Pending, Record, Report, Stop, keys_unavailable, lost_at, wait_for,
};
use crate::bearer;
use crate::denial::Denial;
use crate::gate::Fetch;
use crate::http::{Answer, Call, FetchError, Uri};
use crate::jwks::{self, JwksLocation, JwksSource, KeySet, RemoteJwks};
use crate::jwt::{Issuer, Token, Verified, Wanted};
use crate::lease::SharedData;
use crate::refresh::{after, spread};
use crate::signature::Crypto;
use crate::token_cache::{CachedToken, Limits, TokenCache};

/// Answers for tokens: whose they are, and whether they are good.
pub(super) struct Issuers {
    claims: Wanted,
    crypto: Box<dyn Crypto>,
    entries: Vec<Entry>,
    token_cache: RefCell<TokenCache>,
}

/// One issuer and its keys.
struct Entry {
    issuer: Issuer,
    keys: Supply<KeySet>,
    step: Step,
}

/// How far a fetch has come: where discovery has to find the keys, it takes two calls.
enum Step {
    Discover,
    Found(Uri),
    Fetch,
}

impl Issuers {
    pub(super) fn new(
        issuers: Vec<Issuer>,
        claims: Wanted,
        limits: Limits,
        crypto: Box<dyn Crypto>,
        shared: &Rc<dyn SharedData>,
    ) -> Self {
        let entries = issuers.into_iter().map(|issuer| Entry::new(issuer, shared)).collect();
        Self { claims, crypto, entries, token_cache: RefCell::new(TokenCache::new(limits)) }
    }

    /// Gives the place of the issuer's entry in the configuration, and what the issuer vouches for,
    /// if the credential is a good token.
    pub(super) fn authenticate(
        &self,
        credential: &[u8],
        record: &mut Record,
        now: SystemTime,
    ) -> Result<(usize, Rc<Verified>), Stop> {
        let cached = match self.cached(credential, now) {
            Some(cached) => cached,
            None => self.verify(credential, record, now)?,
        };
        record.verified = Some(Rc::clone(&cached.verified));
        let Entry { issuer, .. } = self.entries.get(cached.issuer).ok_or(Denial::IssuerUnknown)?;
        record.issuer = Some(issuer.name.clone());
        if !issuer.admits_client(cached.verified.claims().client()) {
            return Err(Stop::Deny(Denial::ClientForbidden));
        }
        Ok((issuer.entry, cached.verified))
    }

    /// Returns the name of each issuer, and whether its keys are held.
    pub(super) fn readiness(&self, now: SystemTime) -> impl Iterator<Item = (&str, bool)> {
        let is_ready = move |entry: &Entry| entry.keys.refresh.value(now).is_some();
        self.entries.iter().map(move |entry| (&*entry.issuer.name, is_ready(entry)))
    }

    /// Returns the calls that are due, and counts them as in flight.
    pub(super) fn calls(&mut self, now: SystemTime) -> impl Iterator<Item = (Fetch, Call)> {
        let entries = self.entries.iter_mut().enumerate();
        entries.filter_map(move |(at, entry)| Some((Fetch::Keys(at), entry.call(now)?)))
    }

    pub(super) fn lost(&self, now: SystemTime) -> impl Iterator<Item = Fetch> {
        let entries = self.entries.iter().enumerate();
        entries
            .filter(move |(_, entry)| entry.keys.refresh.is_lost(now))
            .map(|(at, _)| Fetch::Keys(at))
    }

    /// Takes the answer to a call; a fetch by discovery ends with its second one only.
    pub(super) fn answered(
        &mut self,
        at: usize,
        answer: &Answer,
        now: SystemTime,
    ) -> Option<Report> {
        self.entries.get_mut(at)?.answered(answer, now)
    }

    pub(super) fn wake_at(&self) -> impl Iterator<Item = SystemTime> {
        self.entries.iter().map(|entry| match entry.step {
            Step::Found(_) => SystemTime::UNIX_EPOCH,
            Step::Discover | Step::Fetch => entry.keys.refresh.wake_at(),
        })
    }

    /// Lets other threads take over what is being fetched.
    pub(super) fn retire(&self) {
        self.entries.iter().for_each(|entry| entry.keys.retire());
    }

    /// Returns how many fetches of an issuer's keys have ended.
    pub(super) fn count(&self, at: usize) -> u64 {
        self.entries.get(at).map_or(0, |entry| entry.keys.refresh.count())
    }

    /// Says whether to wait for keys that are not there.
    pub(super) fn pending_keys(&self, at: usize, now: SystemTime) -> Result<Pending, Denial> {
        let entry = self.entries.get(at).ok_or(Denial::IssuerUnknown)?;
        wait_for(Fetch::Keys(at), &entry.keys.refresh, keys_unavailable, now)
    }

    /// Says whether to wait for a key that the issuer did not have when last asked: it may be a new
    /// one. Keys that were asked for after the request came settle it, and then `denial` holds.
    pub(super) fn pending_key(
        &mut self,
        at: usize,
        denial: Denial,
        arrived: SystemTime,
        now: SystemTime,
    ) -> Result<Pending, Denial> {
        let entry = self.entries.get_mut(at).ok_or(Denial::IssuerUnknown)?;
        let JwksSource::Remote(remote) = &entry.issuer.jwks else {
            return Err(denial);
        };
        let keys = &mut entry.keys.refresh;
        if keys.is_failing() {
            return wait_for(Fetch::Keys(at), keys, keys_unavailable, now);
        }
        let interval = remote.unknown_kid_interval;
        if keys.is_as_new_as(arrived) || !keys.hasten(interval, HASTE, now) {
            return Err(denial);
        }
        // If its answer is late, nobody knows whether the key is known.
        let otherwise = keys_unavailable(ALREADY_TRYING);
        Ok(Pending::of(Fetch::Keys(at), keys, otherwise).doubtful())
    }

    /// A cached token is as good as new while its token is in time and would be verified with the same
    /// key; otherwise it is forgotten, and the token is looked at again like any other.
    fn cached(&self, token: &[u8], now: SystemTime) -> Option<CachedToken> {
        let mut token_cache = self.token_cache.borrow_mut();
        let cached = token_cache.find(token)?;
        let Entry { issuer, keys: Supply { refresh: keys, .. }, .. } =
            self.entries.get(cached.issuer)?;
        let is_trusted = keys.value(now).is_some_and(|held| {
            keys.version() == cached.keys || cached.verified.is_signed_by(held)
        });
        if is_trusted && cached.verified.check(issuer, now).is_ok() {
            cached.keys = keys.version();
            return Some(cached.clone());
        }
        token_cache.remove(token);
        None
    }

    /// A token has none but the characters of a credential; what is none is told apart afterwards.
    fn parse<'a>(&self, credential: &'a [u8]) -> Result<Token<'a>, Denial> {
        let text = str::from_utf8(credential).unwrap_or_default();
        let token = Token::parse_for(text, &self.claims);
        token.or_else(|denial| bearer::token(credential).and(Err(denial)))
    }

    /// Looks at a token for the first time, and remembers it if it is good.
    fn verify(
        &self,
        credential: &[u8],
        record: &mut Record,
        now: SystemTime,
    ) -> Result<CachedToken, Stop> {
        let token = self.parse(credential)?;
        let named = |entry: &Entry| entry.issuer.accepted.iter().any(|iss| iss == token.issuer());
        let at = self.entries.iter().position(named).ok_or(Denial::IssuerUnknown)?;
        let Entry { issuer, keys: Supply { refresh: keys, .. }, .. } =
            self.entries.get(at).ok_or(Denial::IssuerUnknown)?;
        record.issuer = Some(issuer.name.clone());
        token.check(issuer, now)?;
        let held = keys.value(now).ok_or(Stop::KeysMissing(at))?;
        let names_key = token.kid().is_some();
        // Without a `kid`, a new key shows only in that no other one fits.
        let may_be_new = |denial: &Denial| {
            *denial == Denial::KeyUnknown || (*denial == Denial::SignatureInvalid && !names_key)
        };
        let verified = token.verify(held, &*self.crypto).map_err(|denial| {
            if may_be_new(&denial) { Stop::KeyUnknown(at, denial) } else { Stop::Deny(denial) }
        })?;
        let cached = CachedToken { issuer: at, verified: Rc::new(verified), keys: keys.version() };
        self.token_cache.borrow_mut().insert(credential, cached.clone());
        Ok(cached)
    }
}

impl Entry {
    fn new(issuer: Issuer, shared: &Rc<dyn SharedData>) -> Self {
        let keys = match &issuer.jwks {
            JwksSource::Inline(keys) => Supply::fixed(keys.clone()),
            JwksSource::Remote(remote) if shared.is_private() => {
                let (_, kind, uri) = first_step(remote);
                Supply::leased(shared, kind, &jwks::call(remote, uri))
            }
            // Others could put in keys of their own, and an issuer bears one question from each.
            JwksSource::Remote(_) => Supply::own(),
        };
        Self { issuer, keys, step: Step::Fetch }
    }

    /// Returns the call that is due, if one is.
    fn call(&mut self, now: SystemTime) -> Option<Call> {
        let JwksSource::Remote(remote) = &self.issuer.jwks else { return None };
        let lost_at = lost_at(remote.timeout, now);
        if let Step::Found(uri) = &self.step {
            let call = jwks::call(remote, uri);
            self.step = Step::Fetch;
            self.keys.prolong(lost_at, now);
            return Some(call);
        }
        let read = |body: &[u8], arrived| keys(&self.issuer, remote, body, arrived);
        if !self.keys.begin(lost_at, now, read) {
            return None;
        }
        let (step, _, uri) = first_step(remote);
        self.step = step;
        Some(jwks::call(remote, uri))
    }

    fn answered(&mut self, answer: &Answer, now: SystemTime) -> Option<Report> {
        let JwksSource::Remote(remote) = &self.issuer.jwks else { return None };
        let fetched = match &self.step {
            Step::Discover => {
                let issuer = self.issuer.accepted.first()?;
                match answer.content().and_then(|body| jwks::discovered(body, issuer)) {
                    Ok(uri) => {
                        self.step = Step::Found(uri);
                        return None;
                    }
                    Err(error) => Err(error),
                }
            }
            Step::Fetch | Step::Found(_) => {
                answer.content().and_then(|body| keys(&self.issuer, remote, body, now))
            }
        };
        let outcome = self.keys.settle(fetched, answer, now);
        self.step = Step::Fetch;
        Some(Report::of("jwks", &self.issuer.name, outcome, &self.keys))
    }
}

/// Where a fetch begins, and what it is called: keys that are found and keys that are known.
fn first_step(remote: &RemoteJwks) -> (Step, &'static str, &Uri) {
    match &remote.location {
        JwksLocation::Discovery(uri) => (Step::Discover, "discovery", uri),
        JwksLocation::Known(uri) => (Step::Fetch, "jwks", uri),
    }
}

/// Reads a key set that arrived then, and gives it the times that it is good for.
fn keys(
    issuer: &Issuer,
    remote: &RemoteJwks,
    body: &[u8],
    arrived: SystemTime,
) -> Result<Fetched<KeySet>, FetchError> {
    Ok(Fetched {
        value: KeySet::parse(body, issuer.tenant.as_ref())?,
        refresh_at: after(spread(remote.refresh, arrived), arrived),
        expires: after(remote.max_age, arrived),
    })
}
