//! The reference pages in `specifications/` say what the source says. `UPDATE=1` rewrites them.

use std::fmt::Write as _;
use std::path::PathBuf;

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

#[test]
fn the_page_of_limits_is_the_table_of_limits() {
    let limits = root().join("host/contract/src/limits");
    let entries = std::fs::read_dir(&limits).expect("a folder").map(|entry| entry.expect("readable").path());
    let mut files: Vec<PathBuf> = entries.chain([limits.with_extension("rs")]).collect();
    files.sort_by_key(|file| (file.parent() == Some(&limits), file.clone()));
    let source: String = files.iter().map(|file| std::fs::read_to_string(file).expect("readable")).collect();
    let mut page = "# Limits\n\nGenerated from `host/contract/src/limits.rs` and its folder.\n".to_owned();
    let mut meaning = String::new();
    for line in source.lines() {
        if let Some(title) = line.strip_prefix("// ---- ") {
            let title = title.trim_end_matches('-').trim();
            writeln!(page, "\n## {title}\n\n| limit | value | meaning |\n|---|---|---|").expect("a string");
        } else if let Some(text) = line.strip_prefix("/// ") {
            let space = if meaning.is_empty() { "" } else { " " };
            meaning = format!("{meaning}{space}{text}");
        } else if let Some((name, rest)) = line.strip_prefix("pub const ").and_then(|rest| rest.split_once(':')) {
            let value = rest.split_once('=').map_or("", |(_, value)| value).trim().trim_end_matches(';');
            writeln!(page, "| `{name}` | `{value}` | {meaning} |").expect("a string");
            meaning.clear();
        }
    }
    assert!(page.matches("| `").count() > 40, "the source was read");
    check("reference/limits.md", &page);
}
