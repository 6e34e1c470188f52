//! Remembers tokens that were verified, so that the next request pays for no crypto and no JSON.
//!
//! Only good tokens get in, so nobody without one can push another's out or make memory grow. What
//! is remembered is what the signature vouches for; whether the token is still in time, whether its
//! key is still trusted and what its bearer may do is checked each time.

use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;

use lru::LruCache;

use crate::jwt::{IssuerIndex, Verified};

/// Holds the tokens that were verified last, within bounds.
///
/// A token is found by its end, which is the end of a signature and as good as random, and only
/// then compared as a whole. Of two good tokens that ended alike, the later one would be kept.
pub struct TokenCache {
    entries: LruCache<Tail, (Box<[u8]>, CachedToken), BuildHasherDefault<TailHasher>>,
    limits: Limits,
    weight: usize,
}

/// Bounds what is remembered by one thread.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// The most tokens.
    pub max_entries: usize,
    /// The most memory that they may take, in bytes, by estimate.
    pub max_bytes: usize,
}

/// Holds what is remembered of one token.
#[derive(Clone)]
pub struct CachedToken {
    /// The issuer that vouched for it.
    pub issuer: IssuerIndex,
    /// What it vouched for.
    pub verified: Rc<Verified>,
    /// The version of the issuer's keys in which the token's key was last seen.
    pub keys: u64,
}

/// The last bytes of a token.
type Tail = [u8; 16];

/// A token is kept as text and once more as parsed claims, which take about three times as much
/// (measured with Entra's access tokens).
const WEIGHT_OF_A_BYTE: usize = 4;

/// An odd number without a pattern, from the golden ratio.
const SPREAD: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;

impl TokenCache {
    /// Makes an empty memory with these bounds.
    pub fn new(limits: Limits) -> Self {
        let entries = LruCache::unbounded_with_hasher(BuildHasherDefault::default());
        Self { entries, limits, weight: 0 }
    }

    /// Returns what is remembered of a token, which thereby becomes the last to be forgotten.
    pub fn find(&mut self, token: &[u8]) -> Option<&mut CachedToken> {
        let (known, cached) = self.entries.get_mut(token.last_chunk::<16>()?)?;
        is_same(known, token).then_some(cached)
    }

    /// Remembers a verified token, and forgets as many of the longest unused as the bounds demand.
    pub fn insert(&mut self, token: &[u8], cached: CachedToken) {
        let Some(tail) = token.last_chunk::<16>() else { return };
        self.weight = self.weight.saturating_add(weight(token));
        let displaced = self.entries.put(*tail, (token.into(), cached));
        self.weigh_out(displaced);
        while self.entries.len() > self.limits.max_entries || self.weight > self.limits.max_bytes {
            let Some((_, oldest)) = self.entries.pop_lru() else { break };
            self.weigh_out(Some(oldest));
        }
    }

    /// Forgets a token that is good no longer.
    pub fn remove(&mut self, token: &[u8]) {
        if self.find(token).is_some() {
            let forgotten = token.last_chunk::<16>().and_then(|tail| self.entries.pop(tail));
            self.weigh_out(forgotten);
        }
    }

    fn weigh_out(&mut self, gone: Option<(Box<[u8]>, CachedToken)>) {
        let weight = gone.map_or(0, |(token, _)| weight(&token));
        self.weight = self.weight.saturating_sub(weight);
    }

    /// Returns how many tokens are remembered.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns true if nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "TokenCache({} tokens)", self.len())
    }
}

impl fmt::Debug for CachedToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "CachedToken({:?})", self.verified)
    }
}

fn weight(token: &[u8]) -> usize {
    token.len().saturating_mul(WEIGHT_OF_A_BYTE)
}

/// Compares by eight bytes; `==` is wasi-libc's `memcmp`, which goes through them one by one.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let ((words, rest), (other_words, other_rest)) = (one.as_chunks::<8>(), other.as_chunks::<8>());
    let is_same_word = |(word, other): (&[u8; 8], &[u8; 8])| {
        u64::from_ne_bytes(*word) == u64::from_ne_bytes(*other)
    };
    one.len() == other.len()
        && words.iter().zip(other_words).all(is_same_word)
        && rest == other_rest
}

/// Hashes a [`Tail`], which is random but for two bits of each character.
#[derive(Debug, Default)]
struct TailHasher(u64);

impl Hasher for TailHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let Some(tail) = bytes.first_chunk::<16>() else { return };
        // The product spreads the six good bits of each base64url character over all the others.
        let product = u128::from_le_bytes(*tail).wrapping_mul(SPREAD).to_le_bytes();
        if let (Some(low), Some(high)) = (product.first_chunk(), product.last_chunk()) {
            self.0 = u64::from_le_bytes(*low) ^ u64::from_le_bytes(*high);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher as _, BuildHasherDefault};

    use super::*;

    fn token(number: usize) -> Vec<u8> {
        format!("{number:0>100}").into_bytes()
    }

    fn cached() -> CachedToken {
        CachedToken { issuer: IssuerIndex(0), verified: Rc::new(Verified::sample()), keys: 0 }
    }

    fn filled(limits: Limits, tokens: usize) -> TokenCache {
        let mut cache = TokenCache::new(limits);
        for number in 0..tokens {
            cache.insert(&token(number), cached());
        }
        cache
    }

    const ROOMY: Limits = Limits { max_entries: 100, max_bytes: 1 << 20 };

    #[test]
    fn what_is_remembered_is_recalled_by_the_whole_token() {
        let mut cache = filled(ROOMY, 3);
        assert!(cache.find(&token(2)).is_some());
        let other = [b"1", &token(2)[1..]].concat();
        assert!(cache.find(&other).is_none(), "the same end, another beginning");
        assert!(cache.find(b"").is_none());
    }

    #[test]
    fn the_longest_unused_is_forgotten_first() {
        let mut cache = filled(Limits { max_entries: 3, ..ROOMY }, 3);
        cache.find(&token(0));
        cache.insert(&token(3), cached());
        assert_eq!(cache.len(), 3);
        assert!(cache.find(&token(0)).is_some() && cache.find(&token(1)).is_none());
    }

    #[test]
    fn memory_is_bounded_by_bytes_too() {
        let cache = filled(Limits { max_bytes: 4000, ..ROOMY }, 50);
        assert_eq!(cache.len(), 10, "each weighs four times its 100 bytes");
        assert_eq!(filled(Limits { max_bytes: 399, ..ROOMY }, 5).len(), 0);
    }

    #[test]
    fn remembering_twice_and_forgetting_keep_the_books_right() {
        let mut cache = filled(ROOMY, 5);
        for _ in 0..10 {
            cache.insert(&token(1), cached());
        }
        assert_eq!((cache.len(), cache.weight), (5, 2000));
        for number in 0..9 {
            cache.remove(&token(number));
        }
        assert_eq!((cache.len(), cache.weight), (0, 0));
    }

    #[test]
    fn tokens_that_end_alike_but_for_one_character_hash_apart() {
        let hasher = BuildHasherDefault::<TailHasher>::default();
        let groups: std::collections::HashSet<u64> = (0..1000)
            .map(|number| hasher.hash_one(token(number).last_chunk::<16>().unwrap()) >> 57)
            .collect();
        assert!(groups.len() > 100, "{} of 128 groups", groups.len());
    }
}
