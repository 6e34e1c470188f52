use super::super::shared_data::InMemorySharedData;
use super::*;

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

fn lease(shared: &InMemorySharedData, holder: u64) -> Lease {
    Lease::new(Rc::new(shared.of_holder(holder)), "identity", &[&call("/token")])
}

fn two() -> (Lease, Lease, InMemorySharedData) {
    let shared = InMemorySharedData::new(true);
    (lease(&shared, 1), lease(&shared, 2), shared)
}

/// Puts a record under the lease's key, whatever is there.
fn overwrite(shared: &InMemorySharedData, lease: &Lease, record: &[u8]) {
    let version = shared.read(lease.key()).map(|(_, version)| version);
    assert!(shared.replace(lease.key(), version, record));
}

fn at(millis: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_000) + Duration::from_millis(millis)
}

fn token(requested: u64, body: &str) -> Publication {
    let arrived = at(requested + 50);
    Publication { requested: at(requested), early_spent: None, arrived, body: body.into() }
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
    one.keep_until_retry("timeout", at(30_000), at(0));
    assert_eq!(other.claim(at(7000), at(1000)), Claim::Failing(at(30_000), Some("timeout")));
    assert_eq!(other.claim(at(36_000), at(30_000)), Claim::Taken(at(30_010)), "its turn");
    assert_eq!(one.claim(at(36_001), at(30_001)), Claim::Granted);
    one.keep_until_retry("timeout", at(90_000), at(0));
    assert_eq!(other.claim(at(98_000), at(92_000)), Claim::Granted, "it did not take its turn");
    one.keep_until_retry("timeout", at(95_000), at(0));
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

/// Shared data in which another thread interferes.
struct Raced<F: Fn() -> bool>(InMemorySharedData, F);

impl<F: Fn() -> bool> SharedData for Raced<F> {
    fn read(&self, key: &str) -> Option<(Vec<u8>, u32)> {
        self.0.read(key)
    }

    /// Fails if the other thread was faster.
    fn replace(&self, key: &str, version: Option<u32>, record: &[u8]) -> bool {
        let is_faster = (self.1)();
        !is_faster && self.0.replace(key, version, record)
    }

    fn is_private(&self) -> bool {
        self.0.is_private()
    }

    fn holder(&self) -> u64 {
        self.0.holder()
    }
}

#[test]
fn of_two_that_claim_at_once_one_gets_it() {
    let shared = InMemorySharedData::new(true);
    let other = lease(&shared, 9);
    let claims_first = move || {
        assert_eq!(other.claim(at(6000), at(0)), Claim::Granted);
        false
    };
    let raced = Raced(shared.clone(), claims_first);
    let one = Lease::new(Rc::new(raced), "identity", &[&call("/token")]);
    assert_eq!(one.claim(at(6000), at(0)), Claim::Taken(at(10)), "the version has changed");
}

#[test]
fn where_other_modules_can_read_shared_data_threads_take_turns_and_publish_nothing() {
    let shared = InMemorySharedData::new(false);
    let (one, other) = (lease(&shared, 1), lease(&shared, 2));
    assert_eq!(one.claim(at(6000), at(0)), Claim::Granted);
    assert_eq!(other.claim(at(6000), at(0)), Claim::Taken(at(10)));
    one.publish(&token(0, "hunter2"));
    assert_eq!(other.published(None, at(90_000)), None);
    assert_eq!(other.claim(at(6000), at(60)), Claim::Granted);
    let written = shared.bytes();
    assert!(!written.is_empty() && !written.windows(7).any(|bytes| bytes == b"hunter2"));
}

#[test]
fn a_record_that_this_program_did_not_write_counts_as_empty() {
    let (one, _, shared) = two();
    for junk in [&b"\xff\xff\xff"[..], b"", b"{\"holder\":1}"] {
        overwrite(&shared, &one, junk);
        assert_eq!(one.published(None, at(90_000)), None);
        assert_eq!(one.claim(at(6000), at(0)), Claim::Granted, "{junk:?}");
    }
    let endless = LeaseRecord { holder: 9, lease_ends: u64::MAX, ..LeaseRecord::default() };
    overwrite(&shared, &one, &endless.encode_to_vec());
    assert_eq!(one.claim(at(6000), at(0)), Claim::Granted, "no lease of ours is that long");
}

#[test]
fn a_record_belongs_to_one_call_and_one_format_and_its_key_shows_neither() {
    let secret = |text| Call { body: Some(crate::secret::Secret::new(text)), ..call("/token") };
    let keys = [
        record_key("identity", &[&call("/token")]),
        record_key("jwks", &[&call("/token")]),
        record_key("identity", &[&call("/token2")]),
        record_key("identity", &[&secret("hunter2")]),
        record_key("identity", &[&secret("hunter3")]),
        record_key(
            "identity",
            &[&Call { cluster: "imd".into(), method: "sGET", ..call("/token") }],
        ),
    ];
    let distinct: std::collections::HashSet<_> = keys.iter().collect();
    assert_eq!(distinct.len(), keys.len());
    assert!(keys.iter().all(|key| !key.contains("hunter") && key.len() < 70), "{keys:?}");
    assert_eq!(keys[0], record_key("identity", &[&call("/token")]));
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
fn a_holder_that_dies_is_replaced_also_if_the_clock_is_set_back() {
    let (one, other, _) = two();
    let hour = 60 * 60 * 1000;
    assert_eq!(one.claim(at(hour + 6000), at(hour)), Claim::Granted);
    let stepped = hour - 9000;
    assert_eq!(other.claim(at(hour), at(stepped)), Claim::Taken(at(stepped + 10)), "a small step");
    assert_eq!(other.claim(at(6000), at(0)), Claim::Granted);
    other.keep_until_retry("timeout", at(hour), at(0));
    assert_eq!(one.claim(at(7000), at(1000)), Claim::Failing(at(hour), Some("timeout")));
}

#[test]
fn nobody_can_delay_the_retry_for_longer_than_the_lease_lasts() {
    let (one, _, shared) = two();
    let lease_ends = nanos(at(60_000));
    let endless =
        LeaseRecord { holder: 9, lease_ends, next_try: u64::MAX, ..LeaseRecord::default() };
    overwrite(&shared, &one, &endless.encode_to_vec());
    assert_eq!(one.claim(at(6000), at(0)), Claim::Failing(at(60_000), None));
    assert_eq!(one.claim(at(66_000), at(60_000)), Claim::Granted);
}

#[test]
fn an_answer_is_offered_again_if_another_thread_writes_in_between() {
    let shared = InMemorySharedData::new(true);
    let left = std::cell::Cell::new(2_usize);
    let writes_twice = move || left.replace(left.get().saturating_sub(1)) > 0;
    let raced = Raced(shared.clone(), writes_twice);
    Lease::new(Rc::new(raced), "identity", &[&call("/token")]).publish(&token(0, "a"));
    assert_eq!(lease(&shared, 2).published(None, at(100)), Some(token(0, "a")));
}
