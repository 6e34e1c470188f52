use super::*;

const SECOND: Duration = Duration::from_secs(1);
const FAILURE: FetchError = FetchError::Reset;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
}

fn empty() -> Cached<u8> {
    let shared: Rc<dyn SharedData> = Rc::new(InMemorySharedData::new(true));
    Cached::unshared(&shared)
}

/// Begins a fetch that is lost after five seconds.
fn begin(cached: &mut Cached<u8>, now: SystemTime) -> bool {
    cached.begin(now + 5 * SECOND, now, |_, _| Err(FAILURE))
}

fn succeed(cached: &mut Cached<u8>, refresh_at: SystemTime, expires: SystemTime, now: SystemTime) {
    let fetched = FetchedValue { value: 1, refresh_at, expires };
    let answer = Answer::Arrived { status: 200, retry_after: None, body: Vec::new() };
    cached.settle(Ok(fetched), &answer, now).result.unwrap();
}

fn fail(
    cached: &mut Cached<u8>,
    error: FetchError,
    retry_after: Option<Duration>,
    now: SystemTime,
) {
    let answer = Answer::Arrived { status: 500, retry_after, body: Vec::new() };
    cached.settle(Err(error), &answer, now).result.unwrap_err();
}

/// One that was fetched at second 0.
fn fetched(refresh_at: u64, expires: u64) -> Cached<u8> {
    let mut cached = empty();
    assert!(begin(&mut cached, at(0)));
    succeed(&mut cached, at(refresh_at), at(expires), at(0));
    cached
}

fn wait(cached: &Cached<u8>, now: SystemTime) -> Duration {
    cached.wake_at().unwrap().duration_since(now).unwrap()
}

#[test]
fn waits_longer_after_each_failure_up_to_a_limit_and_a_success_ends_the_series() {
    let mut cached = empty();
    let mut now = at(0);
    for most in [2, 6, 14, 30, 30, 30].map(Duration::from_secs) {
        assert!(begin(&mut cached, now));
        fail(&mut cached, FAILURE, None, now);
        let wait = wait(&cached, now);
        assert!(wait <= most && wait > most * 9 / 10, "{wait:?}, not {most:?}");
        now = cached.wake_at().unwrap();
        assert!(!begin(&mut cached, now - Duration::from_nanos(1)));
    }
    assert!(begin(&mut cached, now));
    assert!(cached.is_failing(), "a retry in flight is no success");
    succeed(&mut cached, now + 2 * SECOND, now + 2 * SECOND, now);
    assert!(!cached.is_failing());
    now = cached.wake_at().unwrap();
    assert!(begin(&mut cached, now));
    fail(&mut cached, FAILURE, None, now);
    assert!(wait(&cached, now) <= 2 * SECOND);
}

#[test]
fn a_value_that_is_about_to_expire_does_not_make_the_waits_longer() {
    let refused = || FetchError::Status { status: 403, error: None };
    for (expires, least) in [(10_000, 120), (171, 120), (170, 60), (51, 60)] {
        let mut cached = fetched(50, expires);
        assert!(begin(&mut cached, at(50)));
        fail(&mut cached, refused(), None, at(50));
        let wait = wait(&cached, at(50)).as_secs();
        assert!((least..least * 11 / 10).contains(&wait), "{expires}: {wait}");
    }
}

#[test]
fn a_clock_that_is_set_forward_ends_a_wait_and_one_that_is_set_back_does_not_extend_it() {
    let (day, ten_minutes) = (Duration::from_hours(24), Duration::from_mins(10));
    for jumped in [at(0) + day, at(0) - day] {
        let mut cached = empty();
        assert!(begin(&mut cached, at(0)));
        fail(&mut cached, FAILURE, Some(ten_minutes), at(0));
        assert_eq!(cached.next_fetch(jumped), NextFetch::Soon);
        assert!(begin(&mut cached, jumped));
        fail(&mut cached, FAILURE, Some(ten_minutes), jumped);
        assert!(!begin(&mut cached, jumped + ten_minutes - SECOND), "and from then on");
        assert!(begin(&mut cached, jumped + ten_minutes * 11 / 10));
    }
}

#[test]
fn a_failure_does_not_take_the_held_value_away() {
    let mut cached = fetched(50, 100);
    assert!(begin(&mut cached, at(50)));
    fail(&mut cached, FAILURE, None, at(55));
    assert_eq!((cached.value(at(99)), cached.value(at(100))), (Some(&1), None));
}

#[test]
fn a_fetch_without_an_answer_is_lost_at_its_deadline() {
    let mut cached = empty();
    assert!(begin(&mut cached, at(0)));
    assert!(!cached.is_lost(at(4)));
    assert!(cached.is_lost(at(5)));
    cached.extend(at(9), at(5));
    assert!(!cached.is_lost(at(8)), "its second call has a deadline of its own");
    fail(&mut cached, FetchError::Unanswered, None, at(9));
    assert!(!cached.is_lost(at(9)));
}

#[test]
fn a_value_that_expires_at_once_is_not_fetched_in_a_loop() {
    let cached = fetched(0, 0);
    assert_eq!(cached.wake_at(), Some(at(0) + MIN_REFETCH_INTERVAL));
}

#[test]
fn a_fixed_value_never_expires_and_is_never_fetched() {
    let mut cached = Cached::fixed(1);
    let jumps = [SystemTime::UNIX_EPOCH, at(0), at(0) + Duration::from_hours(24 * 365 * 50)];
    for now in jumps {
        assert!(!begin(&mut cached, now));
        assert!(cached.value(now).is_some() && !cached.is_lost(now));
    }
    assert_eq!(cached.wake_at(), None);
}

#[test]
fn a_refresh_comes_up_to_a_tenth_early_and_not_at_the_same_time_on_two_threads() {
    let shared = InMemorySharedData::new(true);
    let wakes: std::collections::BTreeSet<_> = (1..=20)
        .map(|holder| {
            let shared: Rc<dyn SharedData> = Rc::new(shared.of_holder(holder));
            let mut cached = Cached::unshared(&shared);
            assert!(begin(&mut cached, at(0)));
            succeed(&mut cached, at(1000), at(2000), at(0));
            cached.wake_at().unwrap()
        })
        .collect();
    assert!(wakes.len() > 15, "{wakes:?}");
    assert!(wakes.iter().all(|wake| (at(900)..=at(1000)).contains(wake)), "{wakes:?}");
}

const INTERVAL: Duration = Duration::from_secs(30);
const MAX_WAIT: Duration = Duration::from_secs(10);

#[test]
fn early_fetches_begin_once_an_interval() {
    let mut cached = fetched(3600, 7200).with_early_budget(1, INTERVAL);
    assert!(cached.refresh_early(MAX_WAIT, at(1)), "the first need not wait");
    assert!(begin(&mut cached, at(1)));
    assert!(cached.refresh_early(MAX_WAIT, at(2)), "in flight");
    succeed(&mut cached, at(3600), at(7200), at(2));
    assert!(!cached.refresh_early(MAX_WAIT, at(20)), "eleven seconds are too long");
    assert!(!begin(&mut cached, at(31)), "and nothing is due early");
    assert!(cached.refresh_early(MAX_WAIT, at(21)));
    assert!(!begin(&mut cached, at(30)));
    assert!(begin(&mut cached, at(31)));
}

#[test]
fn a_few_fetches_may_be_early_at_once_and_then_one_an_interval() {
    let mut cached = fetched(36_000, 72_000).with_early_budget(3, INTERVAL);
    let mut early = |seconds| {
        let begins =
            cached.refresh_early(Duration::ZERO, at(seconds)) && begin(&mut cached, at(seconds));
        if begins {
            succeed(&mut cached, at(36_000), at(72_000), at(seconds));
        }
        begins
    };
    let begun: Vec<u64> = (1..=200).filter(|seconds| early(*seconds)).collect();
    assert_eq!(begun, [1, 2, 3, 31, 61, 91, 121, 151, 181], "three, then one for each 30 s");
    assert!((0..3).all(|more| early(1000 + more)) && !early(1003), "earned again meanwhile");
    assert!(early(0), "a clock that was set back does not count");
}

/// Half of the threads ask for an early fetch each second, then the others for as long, for three
/// minutes; returns how many fetches all of them make.
fn early_fetches(threads: u64, turn: usize) -> usize {
    let shared = InMemorySharedData::new(true);
    let call = Call {
        cluster: "idp".to_owned(),
        method: "GET",
        authority: "idp.example.com".to_owned(),
        path: "/jwks.json".to_owned(),
        headers: Vec::new(),
        body: None,
        timeout: SECOND,
    };
    let mut threads: Vec<_> = (1..=threads)
        .map(|holder| {
            let shared: Rc<dyn SharedData> = Rc::new(shared.of_holder(holder));
            Cached::leased(&shared, "jwks", &[&call]).with_early_budget(3, INTERVAL)
        })
        .collect();
    let mut fetches = 0;
    let times = (0..180).map(|seconds| at(0) + seconds * SECOND);
    for (second, now) in times.enumerate() {
        for (thread, cached) in threads.iter_mut().enumerate() {
            if second / turn % 2 == thread % 2 {
                cached.refresh_early(Duration::ZERO, now);
            }
            let read = |_: &[u8], arrived| {
                Ok(FetchedValue {
                    value: 1,
                    refresh_at: arrived + 3600 * SECOND,
                    expires: arrived + 7200 * SECOND,
                })
            };
            if cached.begin(now + 5 * SECOND, now, read) {
                fetches += 1;
                succeed(cached, now + 3600 * SECOND, now + 7200 * SECOND, now);
            }
        }
    }
    fetches
}

#[test]
fn early_fetches_of_all_threads_together_are_bounded() {
    for threads in [1, 2, 4] {
        for turn in [1, 4, 10] {
            let fetches = early_fetches(threads, turn);
            let most = 1 + 3 + 180 / 30;
            assert!(fetches <= most, "{fetches} fetches of {threads} threads, not {most}");
        }
    }
}

#[test]
fn a_fetch_that_is_due_anyway_is_not_delayed_by_an_early_one() {
    let mut cached = fetched(50, 100);
    assert!(cached.refresh_early(MAX_WAIT, at(50)));
    assert!(begin(&mut cached, at(50)));
}

#[test]
fn a_clock_that_is_set_back_blocks_no_fetch() {
    let mut cached = fetched(50, 100);
    assert!(begin(&mut cached, at(0) - Duration::from_hours(24)));
}

#[test]
fn an_answer_to_a_call_from_before_the_clock_was_set_back_is_no_newer_than_its_arrival() {
    let mut cached = empty();
    assert!(begin(&mut cached, at(3600)));
    succeed(&mut cached, at(50), at(100), at(1));
    assert_eq!(cached.held(), Some((at(1), at(100))));
}
