use sha2::Digest as _;

use super::*;
use crate::fetch::InMemorySharedData;

const KEY: Key = Key([7; 16]);

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn ledger(shared: &InMemorySharedData, entries: usize) -> Ledger {
    Ledger::new(Rc::new(shared.clone()), entries, None)
}

fn key(number: u64) -> Key {
    let mut key = [0; 16];
    key[8..].copy_from_slice(&number.to_le_bytes());
    Key(key)
}

fn of(key: &Key, period: Period) -> Counter {
    Counter { key: *key, period, grain: 1 }
}

/// Shared data in which another thread writes between each reading and writing, so many times.
struct Contended(InMemorySharedData, std::cell::Cell<u32>);

impl SharedData for Contended {
    fn read(&self, key: &str) -> Option<(Vec<u8>, u32)> {
        let read = self.0.read(key);
        if self.1.get() > 0 {
            self.1.set(self.1.get() - 1);
            assert!(ledger(&self.0, 64).add(&of(&KEY, Window::Day.period(at(0))), 1).is_counted);
        }
        read
    }

    fn replace(&self, key: &str, version: Option<u32>, record: &[u8]) -> bool {
        self.0.replace(key, version, record)
    }

    fn is_private(&self) -> bool {
        false
    }

    fn holder(&self) -> u64 {
        1
    }
}

#[test]
fn windows_begin_and_end_with_their_multiples_since_the_epoch() {
    let day = 24 * 3600;
    let lengths = [60, 3600, day, 7 * day, 30 * day, 365 * day];
    for ((name, window), length) in Window::ALL.into_iter().zip(lengths) {
        assert_eq!(window.name(), name);
        for begin in [0, length, 3 * length] {
            let first = window.period(at(begin));
            assert_eq!(first.remaining, Duration::from_secs(length), "{name}");
            let last = window.period(at(begin + length - 1));
            assert_eq!((first.ends, last.remaining), (last.ends, Duration::from_secs(1)), "{name}");
            assert_ne!(window.period(at(begin + length)).ends, first.ends, "{name}");
        }
    }
    let half = Window::Minute.period(at(59) + Duration::from_millis(500));
    assert_eq!(half.remaining, Duration::from_millis(500));
}

#[test]
fn all_threads_count_together_and_exactly_to_the_limit() {
    let shared = InMemorySharedData::default();
    let threads: Vec<_> = (1..=4).map(|holder| ledger(&shared.of_holder(holder), 1024)).collect();
    let day = Window::Day.period(at(0));
    let taken =
        (0..400).filter(|at| threads[at % 4].take(&of(&KEY, day), 1, 100).is_counted).count();
    assert_eq!(taken, 100);
    assert_eq!(threads[0].look(&of(&KEY, day)).used, 100);
    assert_eq!(
        threads[1].add(&of(&KEY, day), 7).used,
        100,
        "what is known only later still counts"
    );
    threads[2].give_back(&of(&KEY, day), 10);
    assert_eq!(threads[3].look(&of(&KEY, day)).used, 97);
}

#[test]
fn no_count_is_lost_in_a_race() {
    let shared = InMemorySharedData::default();
    let contended = Rc::new(Contended(shared.clone(), 5.into()));
    let day = Window::Day.period(at(0));
    let count = Ledger::new(contended, 64, None).take(&of(&KEY, day), 1, 6);
    assert_eq!((count.used, count.is_counted), (5, true));
    assert_eq!(ledger(&shared, 64).look(&of(&KEY, day)).used, 6);

    let contended = Rc::new(Contended(shared.clone(), 1.into()));
    assert!(
        !Ledger::new(contended, 64, None).take(&of(&KEY, day), 1, 7).is_counted,
        "the other was faster"
    );
    assert_eq!(ledger(&shared, 64).look(&of(&KEY, day)).used, 7);
}

/// Shared data that counts how often it is read and written.
#[derive(Default)]
struct Watched(InMemorySharedData, std::cell::Cell<(u32, u32)>);

impl SharedData for Watched {
    fn read(&self, key: &str) -> Option<(Vec<u8>, u32)> {
        let (reads, writes) = self.1.get();
        self.1.set((reads + 1, writes));
        self.0.read(key)
    }

    fn replace(&self, key: &str, version: Option<u32>, record: &[u8]) -> bool {
        let (reads, writes) = self.1.get();
        self.1.set((reads, writes + 1));
        self.0.replace(key, version, record)
    }

    fn is_private(&self) -> bool {
        self.0.is_private()
    }

    fn holder(&self) -> u64 {
        self.0.holder()
    }
}

#[test]
fn counters_in_one_page_are_read_once_and_written_once_and_are_counted_all_or_none() {
    let day = Window::Day.period(at(0));
    let takings = |mosts: [u64; 3]| {
        let of = |(number, most)| {
            let mut key = [5; 16];
            key[0] = number;
            Taking { counter: of(&Key(key), day), amount: 1, most }
        };
        (0..).zip(mosts).map(of).collect::<Vec<_>>()
    };
    let shared = Rc::new(Watched::default());
    let ledger = Ledger::new(Rc::clone(&shared) as Rc<dyn SharedData>, 1024, None);
    let counts = ledger.take_all(&takings([9, 9, 9]));
    assert!(counts.iter().all(|count| count.is_counted && count.used == 0));
    assert_eq!(shared.1.take(), (1, 1));
    let counts = ledger.take_all(&takings([9, 1, 9]));
    assert!(counts.iter().all(|count| !count.is_counted && count.used == 1));
    assert_eq!(shared.1.take(), (1, 0), "what is refused is not written");
}

#[test]
fn counters_in_several_pages_are_counted_all_or_none() {
    let ledger = ledger(&InMemorySharedData::default(), 1024);
    let day = Window::Day.period(at(0));
    let key = |number| Key([number; 16]);
    ledger.add(&of(&key(4), day), 1);
    for order in [[1, 2, 3, 4], [4, 3, 2, 1], [2, 4, 1, 3]] {
        let taking = |number| Taking { counter: of(&key(number), day), amount: 1, most: 1 };
        let counts = ledger.take_all(&order.map(taking));
        assert!(counts.iter().all(|count| !count.is_counted));
        let used = order.map(|number| u64::from(number == 4));
        assert_eq!(order.map(|number| ledger.look(&of(&key(number), day)).used), used);
    }
}

#[test]
fn a_new_window_begins_with_nothing_used() {
    let ledger = ledger(&InMemorySharedData::default(), 64);
    for minute in 0..3 {
        let period = Window::Minute.period(at(60 * minute));
        assert_eq!(ledger.add(&of(&KEY, period), 5).used, 0);
        assert_eq!(ledger.look(&of(&KEY, period)).used, 5);
    }
}

#[test]
fn a_clock_that_is_set_back_over_the_border_of_a_window_gives_nothing_back() {
    let ledger = ledger(&InMemorySharedData::default(), 64);
    ledger.add(&of(&KEY, Window::Minute.period(at(61))), 5);
    let before = Window::Minute.period(at(59));
    assert_eq!(ledger.look(&of(&KEY, before)).used, 5);
    assert_eq!(ledger.add(&of(&KEY, before), 1).used, 5);
    assert_eq!(ledger.look(&of(&KEY, Window::Minute.period(at(62)))).used, 6);
}

#[test]
fn a_clock_that_was_days_ahead_blocks_nobody() {
    let ledger = ledger(&InMemorySharedData::default(), 64);
    ledger.add(&of(&KEY, Window::Minute.period(at(86_400))), 5);
    assert_eq!(ledger.look(&of(&KEY, Window::Minute.period(at(60)))).used, 0);
}

#[test]
fn a_full_page_gives_up_a_window_that_is_over_and_else_the_least_used() {
    let ledger = ledger(&InMemorySharedData::default(), 64);
    let (minute, day) = (Window::Minute.period(at(0)), Window::Day.period(at(0)));
    ledger.add(&of(&key(0), minute), 1_000);
    for number in 1..128 {
        assert!(!ledger.add(&of(&key(number), day), 100 + number).is_evicting);
    }
    let later = Window::Day.period(at(60));
    assert!(!ledger.add(&of(&key(128), later), 1_000).is_evicting, "the minute is over");
    let count = ledger.add(&of(&key(129), later), 1_000);
    assert!(count.is_counted && count.is_evicting);
    assert_eq!(ledger.look(&of(&key(1), later)).used, 0, "the least used is gone");
    let kept: Vec<_> = (2..=129).map(|number| ledger.look(&of(&key(number), later)).used).collect();
    assert!(kept.iter().all(|used| *used > 100), "{kept:?}");
}

#[test]
fn counters_need_no_more_memory_than_configured() {
    let shared = InMemorySharedData::default();
    let ledger = ledger(&shared, 1024);
    let day = Window::Day.period(at(0));
    for number in 0_u32..20_000 {
        let mut key = [9; 16];
        key[12..].copy_from_slice(&number.wrapping_mul(2_654_435_761).to_be_bytes());
        assert!(ledger.add(&of(&Key(key), day), 1).is_counted);
    }
    assert!(shared.bytes().len() <= 1024 * 49 + 16 * 8, "{}", shared.bytes().len());
}

#[test]
fn a_hundred_thousand_counters_are_kept_in_eight_mebibytes() {
    let shared = InMemorySharedData::default();
    let ledger = ledger(&shared, 131_072);
    let day = Window::Day.period(at(0));
    let key = |number: u32| {
        let hash = sha2::Sha256::digest(number.to_le_bytes());
        Key(*hash.first_chunk().unwrap())
    };
    let evicted = (0..100_000).filter(|number| ledger.add(&of(&key(*number), day), 1).is_evicting);
    assert!(evicted.count() < 1_000, "pages fill unevenly");
    let bytes = shared.bytes().len();
    assert!((4 << 20..8 << 20).contains(&bytes), "{bytes}");
}

#[test]
fn foreign_bytes_in_a_page_count_as_an_empty_one() {
    let day = Window::Day.period(at(0));
    let shapes: [&[u8]; 5] = [b"", b"keyless", b"keyless2x", &[0xff; 4096], &[b'k'; 57]];
    for bytes in shapes.into_iter().chain([&b"keyless2".repeat(1_000)[..]]) {
        let shared = InMemorySharedData::default();
        let ledger = ledger(&shared, 64);
        assert!(shared.replace("keyless.ledger.0", None, bytes));
        assert_eq!(ledger.look(&of(&KEY, day)).used, 0);
        assert!(ledger.take(&of(&KEY, day), 1, 1).is_counted);
        assert_eq!(ledger.look(&of(&KEY, day)).used, 1);
    }
    let shared = InMemorySharedData::default();
    let full = [&b"keyless2"[..], &[7; 16], &day.ends.to_le_bytes(), &[0xff; 8], &[0; 21]].concat();
    assert!(shared.replace("keyless.ledger.0", None, &full));
    let count = ledger(&shared, 64).add(&of(&KEY, day), 5);
    assert_eq!((count.used, count.is_counted), (u64::MAX, true), "no overflow");
}
