//! Which counter of a limit is a caller's: known by the limit and by a hash of what it counts by, so
//! that no claim of a caller stands in shared data.

use std::cell::RefCell;
use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use super::{Amount, Caller, Limit, Per};
use crate::ledger::{Key, Window};

/// Tells the counters of one limit from those of others.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tag([u8; 4]);

/// Makes the keys of callers' counters, and remembers those of callers that come again: hashing is
/// expensive in a sandbox.
///
/// Limits that count by the same have the same hash for a caller, and so its counters stand in one
/// page of the ledger.
#[derive(Debug, Default)]
pub struct CallerHashes(RefCell<HashMap<Box<[u8]>, Hash>>);

type Hash = [u8; 12];

/// How many hashes are remembered; all are forgotten when there are more.
const MAX_HASHES: usize = 4_096;

/// What counts by more text than this is hashed for each request.
const MAX_REMEMBERED: usize = 256;

impl Tag {
    /// Makes the tag of a limit: another name, unit or window has other counters, and a limit that is
    /// raised keeps its own.
    pub fn of(name: &str, amount: Amount, window: Window) -> Self {
        let mut hash = Sha256::new();
        for part in [name, amount.name(), window.name()] {
            hash.update(part);
            hash.update([0]);
        }
        Self(first(hash))
    }

    /// Returns the counter of all that hash to this.
    pub fn key(self, hash: [u8; 12]) -> Key {
        let mut key = [0; 16];
        for (place, byte) in key.iter_mut().zip(self.0.into_iter().chain(hash)) {
            *place = byte;
        }
        Key(key)
    }

    /// Returns true for the counters of its limit.
    pub fn is_of(self, key: &Key) -> bool {
        key.0.starts_with(&self.0)
    }
}

impl CallerHashes {
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// Returns the counter of a caller in a limit that is for it.
    pub fn key(&self, limit: &Limit, caller: &Caller<'_>) -> Key {
        let values = values(limit, caller);
        let mut known = self.0.borrow_mut();
        let hash = known.get(values.as_slice()).copied().unwrap_or_else(|| {
            let hash = first(Sha256::new_with_prefix(&values));
            if known.len() >= MAX_HASHES {
                known.clear();
            }
            if values.len() <= MAX_REMEMBERED {
                known.insert(values.into(), hash);
            }
            hash
        });
        limit.tag.key(hash)
    }
}

/// What a limit counts by: each value with its length before it, and no value with another.
fn values(limit: &Limit, caller: &Caller<'_>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(128);
    let mut push = |value: Option<&str>| {
        let length = value.map_or(u64::MAX, |value| value.len() as u64);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(value.unwrap_or_default().as_bytes());
    };
    for per in &limit.per {
        push(match per {
            Per::Client => caller.claims.client(),
            Per::Deployment => caller.deployment.name(),
            Per::Issuer => Some(caller.issuer),
            Per::Route => Some(caller.route_name),
            Per::Subject => caller.claims.text("sub"),
        });
    }
    for name in &limit.per_claims {
        push(caller.claims.claim(name).map(ToString::to_string).as_deref());
    }
    bytes
}

fn first<const LENGTH: usize>(hash: Sha256) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    for (place, byte) in bytes.iter_mut().zip(hash.finalize()) {
        *place = byte;
    }
    bytes
}
