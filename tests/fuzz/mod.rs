//! Fuzz tests of the parsers of untrusted input. No input may panic or take longer than [`INPUT_TIME_MAX`]; each target also checks
//! a property of its own.
//!
//! `cargo test` mutates the seeds of each target for [`TEST_TIME`]. `tests/fuzz/run SECONDS [TARGET]` runs longer and uses the
//! coverage of the crates of this project. A failing input is written to `target/fuzz`; add it to `tests/fuzz/seeds`.

#[cfg(fuzzing)]
mod coverage;
mod mutate;
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::harness::root;
use mutate::Mutator;

/// Time for each target in `cargo test`.
const TEST_TIME: Duration = Duration::from_secs(2);
/// Time for one input, even on a slow machine.
const INPUT_TIME_MAX: Duration = Duration::from_secs(10);
/// Inputs in the pool that mutations start from.
const POOL_MAX: usize = 4_096;
/// Bytes of an input.
const INPUT_BYTES_MAX: usize = 64 << 10;

/// A parser under test.
struct Target {
    name: &'static str,
    /// Words of the format, which mutations insert.
    words: &'static [&'static str],
    /// Seeds in addition to the files in `seeds/<name>`.
    seeds: Vec<Vec<u8>>,
}

impl Target {
    /// Runs `read` on the seeds and on mutations of them. `read` panics if its property does not hold.
    fn run(mut self, mut read: impl FnMut(&[u8])) {
        let mut pool = std::mem::take(&mut self.seeds);
        pool.extend(self.seed_files());
        assert!(!pool.is_empty(), "{} has no seed", self.name);
        for input in pool.clone() {
            self.one(&input, &mut read);
        }
        let time = std::env::var("FIREBOX_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
        let until = Instant::now() + time.map_or(TEST_TIME, Duration::from_secs);
        let seed = std::env::var("FIREBOX_FUZZ_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
        let mut mutator = Mutator::new(seed, self.words);
        let mut runs = 0_u64;
        while Instant::now() < until {
            let input = mutator.next(&pool, INPUT_BYTES_MAX);
            runs += 1;
            if self.one(&input, &mut read) && pool.len() < POOL_MAX {
                pool.push(input);
            }
        }
        assert!(runs > 0, "{}: no input was tried", self.name);
        if time.is_some() {
            let line = format!("{}: {runs} runs, {} inputs in the pool, {}\n", self.name, pool.len(), covered());
            std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).expect("writable");
        }
    }

    /// Runs one input. Returns whether it covered new code.
    fn one(&self, input: &[u8], read: &mut impl FnMut(&[u8])) -> bool {
        let begun = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| read(input)));
        let took = begun.elapsed();
        if outcome.is_err() || took > INPUT_TIME_MAX {
            let file = self.write_failure(input);
            panic!("{}: failed or took {took:?}; the input is {}", self.name, file.display());
        }
        is_new()
    }

    fn write_failure(&self, input: &[u8]) -> PathBuf {
        let folder = root().join("target/fuzz");
        std::fs::create_dir_all(&folder).expect("writable");
        let digest = input
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
        let file = folder.join(format!("{}-{digest:016x}", self.name));
        std::fs::write(&file, input).expect("writable");
        file
    }

    fn seed_files(&self) -> Vec<Vec<u8>> {
        let Ok(entries) = std::fs::read_dir(root().join("tests/fuzz/seeds").join(self.name)) else { return Vec::new() };
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
        files.sort();
        files.iter().map(|file| std::fs::read(file).expect("readable")).collect()
    }
}

#[cfg(fuzzing)]
fn is_new() -> bool {
    coverage::is_new()
}

/// Without coverage, no input counts as new.
#[cfg(not(fuzzing))]
fn is_new() -> bool {
    false
}

#[cfg(fuzzing)]
fn covered() -> String {
    format!("{} counters covered", coverage::covered())
}

#[cfg(not(fuzzing))]
fn covered() -> String {
    "without coverage".to_owned()
}
