//! Names of files and types: words that a reader cannot guess do not come back, and no two types of a crate share a name.

use super::source::Source;
use super::{files, report, sources};

/// Words that are no part of the name of a file or of a type, each with the word to use.
const NAMES: &[(&str, &str)] = &[
    ("account", "reservation, usage or CPU budget"),
    ("accounts", "reservation, usage or CPU budget"),
    ("ask", "request"),
    ("bill", "usage"),
    ("book", "history, conversation or recorder"),
    ("books", "history, conversation or recorder"),
    ("courtesy", "throttle"),
    ("door", "handler, endpoint or origin policy"),
    ("doors", "handler, endpoint or origin policy"),
    ("faded", "decaying sum"),
    ("gauge", "call state"),
    ("heard", "event"),
    ("house", "sequence pool"),
    ("keeper", "supervisor"),
    ("kept", "cached, stored or reserved"),
    ("lane", "priority pool"),
    ("lanes", "priority pool"),
    ("left", "remaining"),
    ("owner", "tenant"),
    ("place", "slot, position, core, key, path, permit or location"),
    ("places", "slots, positions, cores, keys, paths, permits or locations"),
    ("road", "pipeline"),
    ("shelf", "fixture"),
    ("standing", "load"),
    ("ticket", "permit"),
    ("told", "notified"),
    ("turns", "steps"),
    ("vault", "placeholder map"),
];

/// Names of files and types that use a word of `NAMES` in the field's sense: `(part of the name, word)`.
const NAME_EXCEPTIONS: &[(&str, &str)] = &[("host/models/src/kernel/", "lane"), ("host/models/src/kernel/", "lanes")];

/// The words of a name: `CallState`, `call_state` and `call-state` are `call` and `state`.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for c in name.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && words.last().is_some_and(|word| !word.is_empty())) {
            words.push(String::new());
        }
        if c.is_alphanumeric() {
            words.last_mut().expect("one at least").extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The types that a source defines, with their lines.
fn types(source: &Source) -> Vec<(usize, String)> {
    let kinds = ["struct ", "enum ", "trait ", "type ", "union "];
    let mut types = Vec::new();
    for (at, line) in source.code_lines().iter().enumerate() {
        let line = line.trim_start();
        let line = line.strip_prefix("pub").map_or(line, |rest| {
            let rest = rest.trim_start();
            rest.strip_prefix('(').and_then(|rest| rest.split_once(')')).map_or(rest, |(_, rest)| rest.trim_start())
        });
        let line = line.strip_prefix("unsafe ").unwrap_or(line);
        let Some(rest) = kinds.iter().find_map(|kind| line.strip_prefix(kind)) else { continue };
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        // An associated type is named by its trait.
        let associated =
            line.starts_with("type ") && source.text.lines().nth(at).is_some_and(|text| text.starts_with(' '));
        if !name.is_empty() && !associated {
            types.push((at + 1, name));
        }
    }
    types
}

fn finding(place: &str, name: &str) -> Vec<String> {
    let words = words(name);
    let bad = NAMES.iter().filter(|row| words.iter().any(|word| word == row.0));
    let excused =
        |word: &str| NAME_EXCEPTIONS.iter().any(|row| row.1 == word && (place.contains(row.0) || name.contains(row.0)));
    bad.filter(|row| !excused(row.0))
        .map(|(word, better)| format!("{place}: {name}: \"{word}\"; say {better}"))
        .collect()
}

#[test]
fn names_of_files_and_types_use_the_fields_words() {
    let mut findings = Vec::new();
    for name in files().iter().filter(|name| name.ends_with(".rs")) {
        findings
            .extend(name.rsplit('/').next().into_iter().flat_map(|file| finding(name, file.trim_end_matches(".rs"))));
    }
    for source in sources("") {
        for (line, name) in types(&source) {
            findings.extend(finding(&format!("{}:{line}", source.name), &name));
        }
    }
    report("names of files and types use the words of the field", &findings);
}

/// Names that several modules of one crate may give to a type.
const REPEATED: &[&str] = &["Args"];

#[test]
fn no_two_types_of_a_crate_have_one_name() {
    let crates =
        ["host/contract/", "host/cpu/", "host/engine/", "host/mcp/", "host/models/", "host/sandbox/", "host/src/"];
    let mut findings = Vec::new();
    for folder in crates {
        let mut known: Vec<(String, String)> = Vec::new();
        for source in sources(folder).iter().filter(|source| !source.is_test()) {
            let end = source.code_lines().iter().position(|line| line.starts_with("mod tests {")).unwrap_or(usize::MAX);
            for (line, name) in types(source).into_iter().filter(|(line, _)| *line <= end) {
                let at = format!("{}:{line}", source.name);
                // Two types of one file are one type for different systems.
                let first = known.iter().find(|row| row.0 == name && !row.1.starts_with(&format!("{}:", source.name)));
                if let Some((_, first)) = first.filter(|_| !REPEATED.contains(&name.as_str())) {
                    findings.push(format!("{at}: {name} is also at {first}"));
                }
                known.push((name, at));
            }
        }
    }
    report("no two types of one crate have the same name", &findings);
}

#[test]
fn words_and_types_are_found() {
    assert_eq!(words("McpServerDoor"), ["mcp", "server", "door"]);
    assert_eq!(words("token_healing"), ["token", "healing"]);
    let text =
        "pub(crate) struct A;\n// struct B\nenum C<T> {}\nimpl X for Y {\n    type Item = u8;\n}\npub type D = u8;\n";
    let names: Vec<String> = types(&Source::new("a.rs", text)).into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["A", "C", "D"]);
}
