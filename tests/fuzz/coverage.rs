//! Code coverage of the crates of this project. `tests/fuzz/run` builds them with the inline 8-bit counters of SanitizerCoverage.

use std::sync::Mutex;

/// The counters of each crate: start address and count.
static COUNTERS: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());
/// The classes of counts seen so far, one byte of bits for each counter.
static SEEN: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Called before `main` by code that the compiler adds to each crate.
///
/// # Safety
/// `start` and `stop` are the ends of one array that lives as long as the program.
// SAFETY: the name is the one that the compiler's own call asks for, and nothing else has it.
#[unsafe(no_mangle)]
unsafe extern "C" fn __sanitizer_cov_8bit_counters_init(start: *mut u8, stop: *mut u8) {
    let count = (stop as usize).saturating_sub(start as usize);
    let mut counters = COUNTERS.lock().expect("nothing panics while it is held");
    if count > 0 && !counters.contains(&(start as usize, count)) {
        counters.push((start as usize, count));
    }
}

/// Whether a counter has a new class of counts since the last call. Sets all counters to 0.
pub(super) fn is_new() -> bool {
    let counters = COUNTERS.lock().expect("nothing panics while it is held");
    let mut seen = SEEN.lock().expect("nothing panics while it is held");
    seen.resize(counters.iter().map(|(_, count)| count).sum(), 0);
    let (mut new, mut at) = (false, 0);
    for (start, count) in counters.iter() {
        // SAFETY: the compiler gave these ends; other threads may count at the same time, and a lost count does no harm.
        let row = unsafe { std::slice::from_raw_parts_mut(*start as *mut u8, *count) };
        for counter in row {
            if *counter != 0 {
                // The classes are 1, 2 to 3, 4 to 7, 8 to 15, and so on.
                let class = 1_u8 << (7 - counter.leading_zeros());
                new |= seen[at] & class == 0;
                seen[at] |= class;
                *counter = 0;
            }
            at += 1;
        }
    }
    new
}

/// The number of counters that were ever above 0.
pub(super) fn covered() -> usize {
    SEEN.lock().expect("nothing panics while it is held").iter().filter(|classes| **classes != 0).count()
}
