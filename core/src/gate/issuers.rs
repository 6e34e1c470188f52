//! The issuers and what their tokens are worth: their keys on the way, and the cache of verified tokens.

use std::rc::Rc;
use std::time::SystemTime;

use super::decision::Stop;
use super::trace::{Step, Trace};
use super::{
    ALREADY_TRYING, Fetch, KeysReport, MAX_WAIT_FOR_FETCH_START, Record, Report, Wait,
    keys_unavailable, lost_at, stop_for,
};
use crate::bearer;
use crate::denial::Denial;
use crate::fetch::{Cached, FetchedValue, SharedData, Want, after};
use crate::http::{Answer, Call, FetchError, Uri};
use crate::jwks::{self, JwksLocation, JwksSource, KeySet, RemoteJwks, Unusable};
use crate::jwt::EntryIndex;
use crate::jwt::{Claims, Issuer, IssuerIndex, KeptClaims, Token, Verified};
use crate::signature::Crypto;
use crate::token_cache::{CachedToken, Limits, TokenCache};

/// Answers for tokens: whose they are, and whether they are good.
pub(super) struct Issuers {
    claims: KeptClaims,
    crypto: Box<dyn Crypto>,
    entries: Vec<Entry>,
    token_cache: TokenCache,
}

/// One issuer and its keys.
struct Entry {
    issuer: Issuer,
    keys: Cached<KeySet>,
    step: FetchStep,
    /// The unusable keys that were reported last.
    unusable: Unusable,
}

/// What came of a token's signature.
enum Signature {
    Good(Rc<Verified>),
    /// It is of none of the keys that are held, which may not be the newest; or else it is this.
    OfNoKey(Denial),
    KeysMissing(Stop),
}

/// How many fetches tokens of no known key may cause at once, before one for each `unknown_kid_interval`: an
/// issuer that rotates twice in a row is followed, and a flood of forged tokens causes no more.
const MAX_UNKNOWN_KEY_FETCHES: u32 = 3;

/// How far a fetch has come: where discovery has to find the keys, it takes two calls.
enum FetchStep {
    Discover,
    Found(Uri),
    Fetch,
}

impl Issuers {
    pub(super) fn new(
        issuers: Vec<Issuer>,
        claims: KeptClaims,
        limits: Limits,
        crypto: Box<dyn Crypto>,
        shared: &Rc<dyn SharedData>,
    ) -> Self {
        let entries = issuers.into_iter().map(|issuer| Entry::new(issuer, shared)).collect();
        Self { claims, crypto, entries, token_cache: TokenCache::new(limits) }
    }

    /// Returns the entry of the token's issuer and what that vouches for, if the credential is a good
    /// token.
    pub(super) fn authenticate(
        &mut self,
        credential: &[u8],
        arrived: SystemTime,
        record: &mut Record,
        trace: &mut impl Trace,
        now: SystemTime,
    ) -> Result<(EntryIndex, Rc<Verified>), Stop> {
        let (issuer, verified) = match self.cached(credential, now) {
            Some(cached) => cached,
            None => self.verify(credential, arrived, record, trace, now)?,
        };
        record.issuer = Some(issuer.name.clone());
        record.verified = Some(Rc::clone(&verified));
        check_client(issuer, verified.claims(), trace)?;
        Ok((issuer.entry, verified))
    }

    /// Makes the steps that [`Issuers::authenticate`] left out because an earlier one failed.
    pub(super) fn survey(
        &mut self,
        token: Token<'_>,
        steps: &mut Vec<Step>,
        now: SystemTime,
    ) -> Option<EntryIndex> {
        let (index, entry) = issuer_of(&mut self.entries, &token)?;
        let claims = token.unverified().clone();
        let is_signature =
            |step: &Step| matches!(step, Step::Signature(_) | Step::SignatureUnchecked);
        if !steps.iter().any(is_signature) {
            steps.push(entry.verify(token, index, &*self.crypto, now).of_step());
        }
        if !steps.iter().any(|step| matches!(step, Step::Client(_))) {
            // Heard, and for nothing else.
            _ = check_client(&entry.issuer, &claims, steps);
        }
        Some(entry.issuer.entry)
    }

    /// Returns the claims that are kept of a token.
    pub(super) fn claims(&self) -> &KeptClaims {
        &self.claims
    }

    /// Returns the name of each issuer, and whether its keys are held.
    pub(super) fn readiness(&self, now: SystemTime) -> impl Iterator<Item = (&str, bool)> {
        let is_ready = move |entry: &Entry| entry.keys.value(now).is_some();
        self.entries.iter().map(move |entry| (&*entry.issuer.name, is_ready(entry)))
    }

    /// Returns the calls that are due, and counts them as in flight.
    pub(super) fn calls(&mut self, now: SystemTime) -> impl Iterator<Item = (Fetch, Call)> {
        let entries = self.entries.iter_mut().enumerate();
        entries
            .filter_map(move |(at, entry)| Some((Fetch::Keys(IssuerIndex(at)), entry.call(now)?)))
    }

    /// Returns what another gate is to fetch for this one.
    pub(super) fn requested(&mut self) -> impl Iterator<Item = (Fetch, Want)> {
        let entries = self.entries.iter_mut().enumerate();
        entries.filter_map(|(at, entry)| Some((Fetch::Keys(IssuerIndex(at)), entry.keys.want()?)))
    }

    /// Fetches an issuer's keys for another gate.
    pub(super) fn fetch_for_another(&mut self, index: IssuerIndex, want: Want, now: SystemTime) {
        if let Some(entry) = self.entries.get_mut(index.0) {
            entry.keys.fetch_for_another(want, MAX_WAIT_FOR_FETCH_START, now);
        }
    }

    pub(super) fn lost(&self, now: SystemTime) -> impl Iterator<Item = Fetch> {
        let entries = self.entries.iter().enumerate();
        entries
            .filter(move |(_, entry)| entry.keys.is_lost(now))
            .map(|(at, _)| Fetch::Keys(IssuerIndex(at)))
    }

    /// Takes the answer to a call; a fetch by discovery ends with its second one only.
    pub(super) fn answered(
        &mut self,
        index: IssuerIndex,
        answer: &Answer,
        now: SystemTime,
    ) -> Option<Report> {
        self.entries.get_mut(index.0)?.answered(answer, now)
    }

    /// Returns true if discovery found where the keys are, so that they can be asked for at once.
    pub(super) fn has_second_call(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry.step, FetchStep::Found(_)))
    }

    pub(super) fn wake_at(&self) -> impl Iterator<Item = SystemTime> {
        self.entries.iter().filter_map(|entry| entry.keys.wake_at())
    }

    /// Lets other threads take over what is being fetched.
    pub(super) fn retire(&self) {
        self.entries.iter().for_each(|entry| entry.keys.retire());
    }

    /// Returns how many fetches of an issuer's keys have ended.
    pub(super) fn count(&self, index: IssuerIndex) -> u64 {
        self.entries.get(index.0).map_or(0, |entry| entry.keys.ended())
    }

    /// Returns a cached token while it is in time and the issuer's keys would verify it with the same
    /// key; otherwise it is dropped, and the token is verified like any other.
    fn cached(&mut self, token: &[u8], now: SystemTime) -> Option<(&Issuer, Rc<Verified>)> {
        let cached = self.token_cache.find(token)?;
        let Entry { issuer, keys, .. } = self.entries.get(cached.issuer.0)?;
        let is_trusted = keys.value(now).is_some_and(|held| {
            keys.version() == cached.keys || cached.verified.is_signed_by(held)
        });
        if is_trusted && cached.verified.check(issuer, now).is_ok() {
            cached.keys = keys.version();
            return Some((issuer, Rc::clone(&cached.verified)));
        }
        self.token_cache.remove(token);
        None
    }

    /// Verifies a token that is not cached, and caches it if it is good.
    fn verify(
        &mut self,
        credential: &[u8],
        arrived: SystemTime,
        record: &mut Record,
        trace: &mut impl Trace,
        now: SystemTime,
    ) -> Result<(&Issuer, Rc<Verified>), Stop> {
        let token = self.parse(credential);
        trace.hear(|| Step::Form(outcome(&token)));
        let token = token?;
        let found = issuer_of(&mut self.entries, &token).ok_or(Denial::IssuerUnknown);
        trace.hear(|| Step::Issuer(found.as_ref().map(|(index, _)| *index).map_err(Clone::clone)));
        let (index, entry) = found?;
        record.issuer = Some(entry.issuer.name.clone());
        let mut checked = Ok(());
        for (name, outcome) in token.checks(&entry.issuer, now) {
            trace.hear(|| Step::Registered(name, outcome.clone()));
            checked = checked.and(outcome);
        }
        checked?;
        let signature = entry.verify(token, index, &*self.crypto, now);
        trace.hear(|| signature.of_step());
        let verified = match signature {
            Signature::Good(verified) => verified,
            Signature::OfNoKey(denial) => {
                return Err(entry.request_newer_keys(index, denial, arrived, now));
            }
            Signature::KeysMissing(stop) => return Err(stop),
        };
        let keys = entry.keys.version();
        let cached = CachedToken { issuer: index, verified: Rc::clone(&verified), keys };
        self.token_cache.insert(credential, cached);
        Ok((&entry.issuer, verified))
    }

    /// Parses a credential as a token. The characters of a token are all allowed in a credential, so
    /// only what is no token is checked for other ones.
    fn parse<'a>(&self, credential: &'a [u8]) -> Result<Token<'a>, Denial> {
        let text = str::from_utf8(credential).unwrap_or_default();
        let token = Token::parse_for(text, &self.claims);
        token.or_else(|denial| bearer::token(credential).and(Err(denial)))
    }
}

/// Returns the one issuer that accepts the token's `iss`.
fn issuer_of<'a>(
    entries: &'a mut [Entry],
    token: &Token<'_>,
) -> Option<(IssuerIndex, &'a mut Entry)> {
    let accepts = |entry: &Entry| entry.issuer.accepted.iter().any(|iss| iss == token.issuer());
    let (at, entry) = entries.iter_mut().enumerate().find(|(_, entry)| accepts(entry))?;
    Some((IssuerIndex(at), entry))
}

/// Checks that the calling application is one that the issuer's entry lists, if it lists any.
fn check_client(issuer: &Issuer, claims: &Claims, trace: &mut impl Trace) -> Result<(), Denial> {
    if issuer.clients.is_empty() {
        return Ok(());
    }
    let is_listed = issuer.admits_client(claims.client());
    let outcome = if is_listed { Ok(()) } else { Err(Denial::ClientForbidden) };
    trace.hear(|| Step::Client(outcome.clone()));
    outcome
}

/// What a trace hears of a step: whether it failed.
fn outcome<T>(result: &Result<T, Denial>) -> Result<(), Denial> {
    result.as_ref().map(|_| ()).map_err(Clone::clone)
}

impl Signature {
    /// What a trace hears of it.
    fn of_step(&self) -> Step {
        match self {
            Self::Good(_) => Step::Signature(Ok(())),
            Self::OfNoKey(denial) => Step::Signature(Err(denial.clone())),
            Self::KeysMissing(_) => Step::SignatureUnchecked,
        }
    }
}

impl Entry {
    fn new(issuer: Issuer, shared: &Rc<dyn SharedData>) -> Self {
        let keys = match &issuer.jwks {
            JwksSource::Inline(keys) => Cached::fixed(keys.clone()),
            JwksSource::Remote(remote) if shared.is_private() => {
                let (_, kind, uri) = first_step(remote);
                Cached::leased(shared, kind, &[&jwks::call(remote, uri)])
            }
            // Another module could write keys of its own into shared data that is not private. Each
            // thread fetches for itself, which is one call an hour.
            JwksSource::Remote(_) => Cached::unshared(shared),
        };
        let keys = match &issuer.jwks {
            JwksSource::Inline(_) => keys,
            JwksSource::Remote(remote) => {
                keys.with_early_budget(MAX_UNKNOWN_KEY_FETCHES, remote.unknown_kid_interval)
            }
        };
        Self { issuer, keys, step: FetchStep::Fetch, unusable: Unusable::default() }
    }

    /// Verifies the signature with the keys that are held.
    fn verify(
        &self,
        token: Token<'_>,
        index: IssuerIndex,
        crypto: &dyn Crypto,
        now: SystemTime,
    ) -> Signature {
        let keys = &self.keys;
        let Some(held) = keys.value(now) else {
            return Signature::KeysMissing(stop_for(
                Fetch::Keys(index),
                keys,
                keys_unavailable,
                now,
            ));
        };
        // A new key may have no `kid`, or that of an old one, even one of another type. So it shows
        // only in that no key fits.
        match token.verify(held, crypto) {
            Ok(verified) => Signature::Good(Rc::new(verified)),
            Err(denial) => Signature::OfNoKey(denial),
        }
    }

    /// Asks for keys that may be new, because those that are held do not verify a token, and makes
    /// its request wait for them. Keys that were requested after the request arrived settle it, and
    /// then `denial` holds.
    fn request_newer_keys(
        &mut self,
        index: IssuerIndex,
        denial: Denial,
        arrived: SystemTime,
        now: SystemTime,
    ) -> Stop {
        if let JwksSource::Inline(_) = self.issuer.jwks {
            return Stop::Deny(denial);
        }
        let keys = &mut self.keys;
        let fetch = Fetch::Keys(index);
        if keys.is_failing() {
            return stop_for(fetch, keys, keys_unavailable, now).doubtful();
        }
        if keys.is_as_new_as(arrived) || !keys.refresh_early(MAX_WAIT_FOR_FETCH_START, now) {
            return Stop::Deny(denial);
        }
        // If the answer is late, nobody knows whether the key is known.
        let otherwise = keys_unavailable(ALREADY_TRYING);
        Stop::Wait(Wait::for_doubtful_fetch(fetch, keys.ended(), otherwise))
    }

    /// Returns the call that is due, if one is.
    fn call(&mut self, now: SystemTime) -> Option<Call> {
        let JwksSource::Remote(remote) = &self.issuer.jwks else { return None };
        let lost_at = lost_at(remote.timeout, now);
        if let FetchStep::Found(uri) = &self.step {
            let call = jwks::call(remote, uri);
            self.step = FetchStep::Fetch;
            self.keys.extend(lost_at, now);
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
            FetchStep::Discover => {
                let issuer = self.issuer.accepted.first()?;
                match answer.content().and_then(|body| jwks::discovered(body, issuer)) {
                    Ok(uri) => {
                        self.step = FetchStep::Found(uri);
                        return None;
                    }
                    Err(error) => Err(error),
                }
            }
            FetchStep::Fetch | FetchStep::Found(_) => {
                answer.content().and_then(|body| keys(&self.issuer, remote, body, now))
            }
        };
        let keys = fetched.as_ref().ok().map(|fetched| self.told(&fetched.value));
        let outcome = self.keys.settle(fetched, answer, now);
        self.step = FetchStep::Fetch;
        if let Some(KeysReport { unusable, .. }) = &keys {
            self.unusable = unusable.clone();
        }
        Some(Report { keys, ..Report::of("jwks", &self.issuer.name, outcome, &self.keys) })
    }

    /// What there is to say of a key set.
    fn told(&self, keys: &KeySet) -> KeysReport {
        let unusable = keys.unusable().clone();
        let count = keys.len().saturating_add(unusable.count);
        KeysReport { count, is_news: unusable != self.unusable, unusable }
    }
}

/// Where a fetch begins, and what it is called: keys that are found and keys that are known.
fn first_step(remote: &RemoteJwks) -> (FetchStep, &'static str, &Uri) {
    match &remote.location {
        JwksLocation::Discovery(uri) => (FetchStep::Discover, "discovery", uri),
        JwksLocation::Known(uri) => (FetchStep::Fetch, "jwks", uri),
    }
}

/// Reads a key set that arrived then, and gives it the times that it is good for.
fn keys(
    issuer: &Issuer,
    remote: &RemoteJwks,
    body: &[u8],
    arrived: SystemTime,
) -> Result<FetchedValue<KeySet>, FetchError> {
    Ok(FetchedValue {
        value: KeySet::parse(body, issuer.tenant.as_ref())?,
        refresh_at: after(remote.refresh, arrived),
        expires: after(remote.max_age, arrived),
    })
}
