use super::*;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
}

fn fetched(refresh_at: u64, expires: u64) -> Refresh<u8> {
    let mut refresh = Refresh::new();
    assert!(refresh.begin(at(5), at(0)));
    refresh.renew(1, at(refresh_at), at(expires), at(0));
    refresh
}

#[test]
fn waits_longer_after_each_failure_up_to_a_limit_and_a_success_ends_the_series() {
    let mut refresh = Refresh::<u8>::new();
    let mut now = at(0);
    for pause in [2, 6, 14, 30, 30, 30] {
        assert!(refresh.begin(now + SOON, now));
        refresh.fail(FetchError::Reset, None, now);
        assert_eq!(refresh.wake_at(), now + Duration::from_secs(pause));
        assert!(!refresh.begin(now + SOON, refresh.wake_at() - Duration::from_nanos(1)));
        now = refresh.wake_at();
    }
    assert!(refresh.begin(now + SOON, now));
    refresh.renew(1, now + SOON, now + SOON, now);
    assert_eq!((refresh.is_failing(), refresh.failure()), (false, None));
    now = refresh.wake_at();
    assert!(refresh.begin(now + SOON, now));
    refresh.fail(FetchError::Reset, None, now);
    assert_eq!(refresh.wake_at(), now + Duration::from_secs(2));
}

#[test]
fn a_value_that_is_about_to_end_does_not_make_the_pauses_longer() {
    let refused = || FetchError::Status { status: 403, error: None };
    for (expires, pause) in [(10_000, 120), (171, 120), (170, 60), (51, 60)] {
        let mut refresh = fetched(50, expires);
        assert!(refresh.begin(at(55), at(50)));
        refresh.fail(refused(), None, at(50));
        assert_eq!(refresh.wake_at(), at(50 + pause), "{expires}");
    }
}

#[test]
fn a_clock_that_is_set_forward_ends_a_pause_and_one_that_is_set_back_does_not_prolong_it() {
    for jump in [1_i64, -1] {
        let mut refresh = Refresh::<u8>::new();
        let now = at(0);
        assert!(refresh.begin(now + SOON, now));
        refresh.fail(FetchError::Reset, Some(Duration::from_mins(10)), now);
        let day = Duration::from_hours(24);
        let now = if jump > 0 { now + day } else { now - day };
        assert_eq!(refresh.prospect(now), Prospect::Soon);
        assert!(refresh.begin(now + SOON, now));
        refresh.fail(FetchError::Reset, Some(Duration::from_mins(10)), now);
        assert!(!refresh.begin(now + SOON, now + Duration::from_secs(599)), "and from then on");
        assert!(refresh.begin(now + SOON, now + Duration::from_mins(10)));
    }
}

#[test]
fn a_failure_does_not_take_the_held_value_away() {
    let mut refresh = fetched(50, 100);
    assert!(refresh.begin(at(55), at(50)));
    refresh.fail(FetchError::Reset, None, at(55));
    assert_eq!(refresh.value(at(99)), Some(&1));
    assert_eq!(refresh.value(at(100)), None);
}

#[test]
fn a_fetch_without_an_answer_is_lost_at_its_deadline() {
    let mut refresh = Refresh::<u8>::new();
    assert!(refresh.begin(at(5), at(0)));
    assert!(!refresh.is_lost(at(4)));
    assert!(refresh.is_lost(at(5)));
    refresh.fail(FetchError::Unanswered, None, at(5));
    assert!(!refresh.is_lost(at(5)));
}

#[test]
fn a_value_that_ends_at_once_is_not_fetched_in_a_loop() {
    let refresh = fetched(0, 0);
    assert_eq!(refresh.wake_at(), at(0) + FLOOR);
}

const INTERVAL: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn fetches_are_hastened_once_an_interval() {
    let mut refresh = fetched(3600, 7200);
    assert!(refresh.hasten(INTERVAL, PATIENCE, at(1)), "the first need not wait");
    assert!(refresh.begin(at(6), at(1)));
    assert!(refresh.hasten(INTERVAL, PATIENCE, at(2)), "in flight");
    refresh.renew(2, at(3600), at(7200), at(2));
    assert!(!refresh.hasten(INTERVAL, PATIENCE, at(20)), "eleven seconds are too long");
    assert!(!refresh.begin(at(36), at(31)), "and nothing was brought forward");
    assert!(refresh.hasten(INTERVAL, PATIENCE, at(21)));
    assert!(!refresh.begin(at(35), at(30)));
    assert!(refresh.begin(at(36), at(31)));
}

#[test]
fn a_fetch_that_is_due_anyway_is_not_put_off_by_hastening() {
    let mut refresh = fetched(50, 100);
    assert!(refresh.hasten(INTERVAL, PATIENCE, at(50)));
    assert!(refresh.begin(at(55), at(50)));
}

#[test]
fn a_clock_that_is_set_back_stops_no_fetch() {
    let mut refresh = fetched(50, 100);
    let long_ago = at(0) - Duration::from_hours(24);
    assert!(refresh.begin(long_ago + SOON, long_ago));
}

#[test]
fn a_wait_is_shortened_by_a_tenth_at_most() {
    let wait = Duration::from_secs(1000);
    assert_eq!(spread(wait, at(0)), wait);
    let spread = spread(wait, at(0) + Duration::from_nanos(999));
    assert!(spread >= Duration::from_mins(15) && spread < Duration::from_secs(901));
}
