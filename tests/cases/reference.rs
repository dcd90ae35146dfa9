//! The reference pages in `specifications/` say what the source says. `UPDATE=1` rewrites them.

use std::fmt::Write as _;

use firebox::contract::error::ERROR_KINDS;
use firebox::contract::fault::FAULT_CODES;

use crate::harness::root;

fn check(file: &str, expected: &str) {
    let path = root().join("specifications").join(file);
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        std::fs::write(&path, expected).expect("writable");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, expected, "run UPDATE=1 cargo test --test main reference to rewrite {file}");
}

#[test]
fn the_page_of_errors_is_the_table_of_errors() {
    let mut page = "# Errors\n\nGenerated from `host/contract/src/error.rs` and `fault.rs`.\n\n\
                    | kind | exit code | HTTP status | code |\n|---|---|---|---|\n"
        .to_owned();
    page.push_str("| (none) | 0 | 200 | |\n");
    for (kind, exit, status, code) in ERROR_KINDS {
        writeln!(page, "| {kind:?} | {exit} | {status} | `{code}` |").expect("a string");
    }
    page.push_str("\nA plugin's fault carries one of these codes besides:\n\n| code | meaning |\n|---|---|\n");
    for (code, meaning) in FAULT_CODES {
        writeln!(page, "| `{code}` | {meaning} |").expect("a string");
    }
    check("reference/errors.md", &page);
}
