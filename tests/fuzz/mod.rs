//! Readers of what strangers write, under mutated input: no panic, no run that takes seconds, and each target's own rule.
//!
//! In the tests each target takes its seeds and mutates them for [`SHORT`]. `tests/fuzz/run SECONDS [TARGET]` goes on for longer
//! and is guided by coverage of this project's own crates. An input that fails is kept under `target/fuzz` and becomes a seed.

#[cfg(fuzzing)]
mod coverage;
mod mutate;
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::harness::root;
use mutate::Mutator;

/// Time of each target in the tests.
const SHORT: Duration = Duration::from_secs(2);
/// Time that one input may take on a slow machine.
const SLOW: Duration = Duration::from_secs(10);
/// Inputs that are kept to be mutated.
const POOL_MAX: usize = 4_096;
/// Bytes of an input.
const INPUT_BYTES_MAX: usize = 64 << 10;

/// One reader under test.
struct Target {
    name: &'static str,
    /// Words of the format, which mutations put in.
    words: &'static [&'static str],
    /// Inputs that are made here; those of `seeds/<name>` come besides.
    seeds: Vec<Vec<u8>>,
}

impl Target {
    /// Runs `read` on the seeds and on mutations of them. It panics where a rule does not hold.
    fn run(mut self, mut read: impl FnMut(&[u8])) {
        let mut pool = std::mem::take(&mut self.seeds);
        pool.extend(self.kept_seeds());
        assert!(!pool.is_empty(), "{} has no seed", self.name);
        for input in pool.clone() {
            self.one(&input, &mut read);
        }
        let time = std::env::var("FIREBOX_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
        let until = Instant::now() + time.map_or(SHORT, Duration::from_secs);
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
        assert!(runs > 0, "{}: nothing was tried", self.name);
        if time.is_some() {
            let line = format!("{}: {runs} runs, {} inputs in the pool, {}\n", self.name, pool.len(), covered());
            std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).expect("shown");
        }
    }

    /// One run. Whether it went where none went before.
    fn one(&self, input: &[u8], read: &mut impl FnMut(&[u8])) -> bool {
        let begun = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| read(input)));
        let took = begun.elapsed();
        if outcome.is_err() || took > SLOW {
            let file = self.keep(input);
            panic!("{}: failed or took {took:?}; the input is {}", self.name, file.display());
        }
        is_new()
    }

    fn keep(&self, input: &[u8]) -> PathBuf {
        let folder = root().join("target/fuzz");
        std::fs::create_dir_all(&folder).expect("writable");
        let digest = input
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
        let file = folder.join(format!("{}-{digest:016x}", self.name));
        std::fs::write(&file, input).expect("writable");
        file
    }

    fn kept_seeds(&self) -> Vec<Vec<u8>> {
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

/// Without coverage no input is known to be new.
#[cfg(not(fuzzing))]
fn is_new() -> bool {
    false
}

#[cfg(fuzzing)]
fn covered() -> String {
    format!("{} places covered", coverage::covered())
}

#[cfg(not(fuzzing))]
fn covered() -> String {
    "without coverage".to_owned()
}
