use std::cell::RefCell;
use std::collections::HashMap;

use super::*;

type Notes = Rc<RefCell<HashMap<String, (Vec<u8>, u32)>>>;

/// One thread's view of what all of them share; it behaves as Envoy's shared data does.
struct Thread {
    notes: Notes,
    number: u64,
    is_private: bool,
}

impl SharedData for Thread {
    fn read(&self, key: &str) -> Option<(Vec<u8>, u32)> {
        self.notes.borrow().get(key).cloned()
    }

    fn replace(&self, key: &str, version: Option<u32>, note: &[u8]) -> bool {
        let mut notes = self.notes.borrow_mut();
        let present = notes.get(key).map(|(_, version)| *version);
        let is_current = present.is_none() || present == version;
        if is_current {
            notes.insert(key.to_owned(), (note.to_vec(), present.unwrap_or(0) + 1));
        }
        is_current
    }

    fn is_private(&self) -> bool {
        self.is_private
    }

    fn holder(&self) -> u64 {
        self.number
    }
}

fn call(path: &str) -> Call {
    Call {
        cluster: "imds".to_owned(),
        method: "GET",
        authority: "169.254.169.254".to_owned(),
        path: path.to_owned(),
        headers: Vec::new(),
        body: None,
        timeout: Duration::from_secs(5),
    }
}

fn lease(notes: &Notes, number: u64, is_private: bool) -> Lease {
    let thread = Thread { notes: Rc::clone(notes), number, is_private };
    Lease::new(Rc::new(thread), "identity", &call("/token"))
}

fn two() -> (Lease, Lease, Notes) {
    let notes = Notes::default();
    (lease(&notes, 1, true), lease(&notes, 2, true), notes)
}

fn at(millis: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_000) + Duration::from_millis(millis)
}

fn token(asked: u64, body: &str) -> Publication {
    let (asked, arrived) = (at(asked), at(asked + 50));
    Publication { asked, arrived, is_hastened: false, body: body.into() }
}

#[test]
fn one_thread_fetches_and_the_others_take_over_what_it_brought() {
    let (one, other, _) = two();
    assert_eq!(one.claim(at(6000), at(0)), Claim::Granted);
    assert_eq!(other.claim(at(6001), at(1)), Claim::Taken(at(11)));
    assert_eq!(other.published(None, at(90_000)), None);
    one.publish(&token(0, "a"));
    assert_eq!(other.published(None, at(90_000)), Some(token(0, "a")));
    assert_eq!(other.published(Some(at(0)), at(90_000)), None, "it has that one");
    assert_eq!(other.claim(at(6100), at(100)), Claim::Granted, "the lease is free");
}

#[test]
fn a_holder_that_dies_is_replaced_when_its_fetch_counts_as_lost() {
    let (one, other, _) = two();
    assert_eq!(one.claim(at(6000), at(0)), Claim::Granted);
    assert_eq!(other.claim(at(11_999), at(5999)), Claim::Taken(at(6009)));
    assert_eq!(other.claim(at(12_000), at(6000)), Claim::Granted);
    one.publish(&token(0, "late"));
    assert_eq!(one.claim(at(12_100), at(6100)), Claim::Taken(at(6110)), "it is not its any more");
    assert_eq!(
        other.published(None, at(90_000)),
        Some(token(0, "late")),
        "but what it brought is good"
    );
    other.publish(&token(6000, "b"));
    one.publish(&token(0, "later still"));
    assert_eq!(
        one.published(None, at(90_000)),
        Some(token(6000, "b")),
        "older answers replace no newer ones"
    );
}

#[test]
fn while_the_holder_backs_off_nobody_else_tries() {
    let (one, other, _) = two();
    assert_eq!(one.claim(at(6000), at(0)), Claim::Granted);
    one.keep(at(30_000));
    assert_eq!(other.claim(at(7000), at(1000)), Claim::Failing(at(30_000)));
    assert_eq!(other.claim(at(36_000), at(30_000)), Claim::Taken(at(30_010)), "its turn");
    assert_eq!(one.claim(at(36_001), at(30_001)), Claim::Granted);
    one.keep(at(90_000));
    assert_eq!(other.claim(at(98_000), at(92_000)), Claim::Granted, "it did not take its turn");
    one.keep(at(95_000));
    assert_eq!(one.claim(at(98_100), at(92_100)), Claim::Taken(at(92_110)), "and lost it");
}

#[test]
fn a_lease_that_is_given_back_is_free_and_another_ones_is_not_given_back() {
    let (one, other, _) = two();
    assert_eq!(one.claim(at(6000), at(0)), Claim::Granted);
    other.release();
    assert_eq!(other.claim(at(6000), at(0)), Claim::Taken(at(10)));
    one.release();
    assert_eq!(other.claim(at(6000), at(0)), Claim::Granted);
}

#[test]
fn of_two_that_claim_at_once_one_gets_it() {
    struct Raced(Thread);
    impl SharedData for Raced {
        fn read(&self, key: &str) -> Option<(Vec<u8>, u32)> {
            let found = self.0.read(key);
            lease(&self.0.notes, 9, true).claim(at(6000), at(0));
            found
        }
        fn replace(&self, key: &str, version: Option<u32>, note: &[u8]) -> bool {
            self.0.replace(key, version.or(Some(u32::MAX)), note)
        }
        fn is_private(&self) -> bool {
            true
        }
        fn holder(&self) -> u64 {
            self.0.number
        }
    }
    let thread = Thread { notes: Notes::default(), number: 1, is_private: true };
    let raced = Lease::new(Rc::new(Raced(thread)), "identity", &call("/token"));
    assert_eq!(raced.claim(at(6000), at(0)), Claim::Taken(at(10)));
}

#[test]
fn where_others_can_read_the_notes_only_turns_are_taken() {
    let notes = Notes::default();
    let (one, other) = (lease(&notes, 1, false), lease(&notes, 2, false));
    assert_eq!(one.claim(at(6000), at(0)), Claim::Granted);
    assert_eq!(other.claim(at(6000), at(0)), Claim::Taken(at(10)));
    one.publish(&token(0, "hunter2"));
    assert_eq!(other.published(None, at(90_000)), None);
    assert_eq!(other.claim(at(6000), at(60)), Claim::Granted);
    let written = notes.borrow();
    let shows = |(note, _): &(Vec<u8>, u32)| note.windows(7).any(|bytes| bytes == b"hunter2");
    assert!(!written.is_empty() && !written.values().any(shows));
}

#[test]
fn a_note_that_is_not_ours_counts_as_none() {
    let (one, _, notes) = two();
    for junk in [&b"\xff\xff\xff"[..], b"", b"{\"holder\":1}"] {
        notes.borrow_mut().insert(one.key.clone(), (junk.to_vec(), 7));
        assert_eq!(one.published(None, at(90_000)), None);
        assert_eq!(one.claim(at(6000), at(0)), Claim::Granted, "{junk:?}");
    }
    let endless = Note { holder: 9, lease_ends: u64::MAX, ..Note::default() };
    notes.borrow_mut().insert(one.key.clone(), (endless.encode_to_vec(), 8));
    assert_eq!(one.claim(at(6000), at(0)), Claim::Granted, "no lease of ours is that long");
}

#[test]
fn a_note_belongs_to_one_call_and_one_reader_and_its_key_shows_neither() {
    let key = |kind, call: &Call| {
        let thread = Thread { notes: Notes::default(), number: 1, is_private: true };
        Lease::new(Rc::new(thread), kind, call).key
    };
    let secret = |text| Call { body: Some(crate::secret::Secret::new(text)), ..call("/token") };
    let keys = [
        key("identity", &call("/token")),
        key("jwks", &call("/token")),
        key("identity", &call("/token2")),
        key("identity", &secret("hunter2")),
        key("identity", &secret("hunter3")),
        key("identity", &Call { cluster: "imd".into(), method: "sGET", ..call("/token") }),
    ];
    let distinct: std::collections::HashSet<_> = keys.iter().collect();
    assert_eq!(distinct.len(), keys.len());
    assert!(keys.iter().all(|key| !key.contains("hunter") && key.len() < 70), "{keys:?}");
    assert_eq!(keys[0], key("identity", &call("/token")));
}

#[test]
fn what_was_published_by_a_clock_that_ran_ahead_is_not_taken_over_and_is_replaced() {
    let (one, other, _) = two();
    let day = 24 * 60 * 60 * 1000;
    assert_eq!(one.claim(at(day + 6000), at(day)), Claim::Granted);
    one.publish(&token(day, "ahead"));
    assert_eq!(other.published(None, at(1000)), None, "the clock was corrected");
    assert_eq!(other.published(None, at(day)), Some(token(day, "ahead")));
    assert_eq!(one.claim(at(8000), at(2000)), Claim::Granted);
    one.publish(&token(2000, "now"));
    assert_eq!(other.published(Some(at(1000)), at(3000)), Some(token(2000, "now")));
}

#[test]
fn nobody_can_put_off_the_next_try_for_longer_than_a_lease_lasts() {
    let (one, _, notes) = two();
    let lease_ends = nanos(at(60_000));
    let endless = Note { holder: 9, lease_ends, next_try: u64::MAX, ..Note::default() };
    notes.borrow_mut().insert(one.key.clone(), (endless.encode_to_vec(), 8));
    assert_eq!(one.claim(at(6000), at(0)), Claim::Failing(at(60_000)));
    assert_eq!(one.claim(at(66_000), at(60_000)), Claim::Granted);
}

#[test]
fn an_answer_is_offered_again_if_somebody_writes_in_between() {
    struct Busy(Thread, std::cell::Cell<usize>);
    impl SharedData for Busy {
        fn read(&self, key: &str) -> Option<(Vec<u8>, u32)> {
            self.0.read(key)
        }
        fn replace(&self, key: &str, version: Option<u32>, note: &[u8]) -> bool {
            let left = self.1.get();
            self.1.set(left.saturating_sub(1));
            left == 0 && self.0.replace(key, version, note)
        }
        fn is_private(&self) -> bool {
            true
        }
        fn holder(&self) -> u64 {
            self.0.number
        }
    }
    let notes = Notes::default();
    let thread = Thread { notes: Rc::clone(&notes), number: 1, is_private: true };
    let busy = Busy(thread, std::cell::Cell::new(2));
    Lease::new(Rc::new(busy), "identity", &call("/token")).publish(&token(0, "a"));
    assert_eq!(lease(&notes, 2, true).published(None, at(100)), Some(token(0, "a")));
}
