//! Tokens and key sets that others published, with their results and ours.
//!
//! `data/README.md` says where they come from. No row is skipped: [`census`] counts every verdict of
//! every file, and [`differences`] names each row that we refuse though its source accepts it.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail loudly, and its values are made for it"
)]

mod audiences;
mod census;
mod differences;
mod key_sets;
mod row;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;

use census::{CENSUS, File};
use differences::DIFFERENCES;
use row::{Row, Verdict};

/// The rows of one file of `data/`.
fn rows<T: DeserializeOwned>(file: &str) -> Vec<T> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/data");
    serde_json::from_slice(&fs::read(data.join(file)).unwrap()).unwrap()
}

fn all_rows() -> Vec<Row> {
    CENSUS.iter().flat_map(|File { name, .. }| rows::<Row>(name)).collect()
}

#[test]
fn every_row_gets_the_verdict_that_is_counted_here() {
    for File { name, results } in CENSUS {
        let mut counted = BTreeMap::new();
        for row in rows::<Row>(name) {
            *counted.entry((row.expect, row.outcome())).or_insert(0) += 1;
        }
        let counted: Vec<_> = counted
            .into_iter()
            .map(|((expect, outcome), rows)| (expect, outcome.token, outcome.signature, rows))
            .collect();
        assert_eq!(counted, *results, "{name}");
    }
}

#[test]
fn what_its_source_refuses_is_refused() {
    for row in all_rows().iter().filter(|row| row.expect == Verdict::Reject) {
        assert!(!row.outcome().is_accepted(), "{} is accepted", row.name);
    }
}

#[test]
fn what_its_source_accepts_is_accepted_or_listed_with_the_reason() {
    let mut listed = BTreeMap::new();
    for difference in DIFFERENCES {
        for name in difference.rows {
            assert!(listed.insert(*name, difference).is_none(), "{name} is listed twice");
        }
    }
    for row in all_rows().iter().filter(|row| row.expect == Verdict::Accept) {
        let outcome = row.outcome();
        match listed.remove(row.name.as_str()) {
            Some(difference) => {
                assert_eq!(outcome, difference.outcome, "{}: {}", row.name, difference.reason);
                assert!((difference.holds)(&row.parts()), "{}: {}", row.name, difference.reason);
            }
            None => assert!(outcome.is_accepted(), "{}: {outcome:?}", row.name),
        }
    }
    assert!(listed.is_empty(), "no accepted rows of these names: {:?}", listed.keys());
}

#[test]
fn a_token_is_verified_if_its_signature_alone_is() {
    let rows = all_rows();
    let verified = rows.iter().filter_map(|row| Some((row, row.verified()?)));
    let verified: Vec<_> = verified.filter(|(row, _)| row.outcome().signature != "-").collect();
    for (row, verified) in &verified {
        assert_eq!(*verified, row.outcome().signature == "ok", "{}", row.name);
    }
    assert_eq!(verified.len(), 99);
}

#[test]
fn no_two_rows_have_one_name() {
    let rows = all_rows();
    let names: BTreeSet<_> = rows.iter().map(|row| &row.name).collect();
    assert_eq!((rows.len(), names.len()), (803, 803));
}
