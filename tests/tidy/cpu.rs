//! The code that shares the CPU has a budget, so that it is not tuned finer than its measurements can see.

use std::collections::HashSet;

use super::source::Source;
use super::{LIMITS, sources};

/// What shares the CPU between models, plugins and request threads.
const FOLDERS: &[&str] = &["host/cpu/src/", "host/sandbox/src/background"];
/// Lines of product code, comments included.
const LINES_MAX: usize = 700;
/// Constants of `host/contract/src/limits` that this code reads.
const CONSTANTS_MAX: usize = 12;

#[test]
fn the_code_that_shares_the_cpu_keeps_its_budget() {
    let found: Vec<Source> = FOLDERS.iter().flat_map(|folder| sources(folder)).collect();
    let product: Vec<&Source> = found.iter().filter(|source| !source.is_test()).collect();
    let lines: usize = product.iter().map(|source| source.product().lines().count()).sum();
    assert!((1..=LINES_MAX).contains(&lines), "{FOLDERS:?} have {lines} lines; {LINES_MAX} are allowed");
    let words: HashSet<String> = product.iter().flat_map(|source| source.words()).collect();
    let limits: String = sources(LIMITS).into_iter().map(|source| source.text).collect();
    let names = limits.lines().filter_map(|line| line.strip_prefix("pub const ")?.split(':').next());
    let read: Vec<&str> = names.filter(|name| words.contains(*name)).collect();
    let count = read.len();
    assert!((1..=CONSTANTS_MAX).contains(&count), "{FOLDERS:?} read {count} constants: {read:?}");
}
