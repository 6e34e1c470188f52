//! Walks through more memory than the caches of a core hold, until it is ended. Where it runs
//! whenever another process of its core waits, it leaves that process cold caches.

use std::hint::black_box;

/// More than the second-level cache of any core.
const SIZE: usize = 16 << 20;

/// The bytes that a cache holds together.
const LINE: usize = 64;

fn main() {
    let mut memory = vec![0_u8; SIZE];
    loop {
        for byte in memory.iter_mut().step_by(LINE) {
            *byte = byte.wrapping_add(1);
        }
        black_box(&mut memory);
    }
}
