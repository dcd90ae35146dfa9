//! The reference pages in `specifications/reference/` are generated from the code. `UPDATE=1` writes them.

mod cli;
mod configuration;
mod errors;
mod metrics;
mod wit;

use crate::harness::root;

/// Compares a page with the expected text, and writes it first if `UPDATE=1` asks for it.
fn check(file: &str, expected: &str) {
    let path = root().join("specifications/reference").join(file);
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        std::fs::write(&path, expected).expect("writable");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, expected, "run UPDATE=1 cargo test --test main reference to write {file}");
}

/// A cell of a Markdown table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ").replace('<', "&lt;")
}
