//! The prose of the pages: plain words and short sentences. Also the form of `benches/RESULTS.md`.

use super::{files, read, report};

/// Phrases that no page uses, each with the plain phrase.
const PHRASES: &[(&str, &str)] = &[
    ("anew", "again"),
    ("for ever", "without end"),
    ("whoever", "any tenant that"),
    ("whomever", "any tenant that"),
    ("nobody says otherwise", "by default"),
    ("unless said otherwise", "by default"),
    ("says so", "prints a message"),
    ("says otherwise", "by default"),
    ("told apart", "distinguished"),
    ("courtesy", "throttle"),
    ("keeper", "supervisor"),
    ("modest tenant", "light tenant"),
    ("the bill", "usage"),
    ("at the door", "on arrival"),
    ("lends", "provides"),
    ("in the same words", "with the same message"),
    ("given up", "preempted or evicted"),
    ("is said", "is reported"),
    ("is told", "is sent or reported"),
    ("goes on", "continues"),
    ("held by", "tested by"),
    ("passed over", "ignored"),
    ("taken over", "applied"),
];

/// Words of one sentence of a page.
const SENTENCE_WORDS_MAX: usize = 40;
/// Lines of `benches/RESULTS.md`.
const RESULTS_LINES_MAX: usize = 150;
const RESULTS: &str = "benches/RESULTS.md";

#[test]
fn pages_use_plain_words() {
    let mut findings = Vec::new();
    for name in files().iter().filter(|name| name.starts_with("specifications/") && name.ends_with(".md")) {
        for (at, line) in read(name).lines().enumerate() {
            let lower = line.to_lowercase();
            let found = PHRASES.iter().filter(|(phrase, _)| has_phrase(&lower, phrase));
            findings.extend(found.map(|(phrase, plain)| format!("{name}:{}: \"{phrase}\"; say {plain}", at + 1)));
        }
    }
    report("pages use plain words", &findings);
}

fn has_phrase(text: &str, phrase: &str) -> bool {
    text.match_indices(phrase).any(|(at, _)| {
        let outside = |c: Option<char>| !c.is_some_and(char::is_alphanumeric);
        outside(text[..at].chars().next_back()) && outside(text[at + phrase.len()..].chars().next())
    })
}

/// A line directly above each table of measurements: commit, command and machine.
fn is_source(line: &str) -> bool {
    let commit =
        line.split('`').nth(1).is_some_and(|hash| hash.len() >= 7 && hash.chars().all(|c| c.is_ascii_hexdigit()));
    line.starts_with("Commit `") && commit && line.matches('`').count() >= 4 && line.matches(" · ").count() >= 2
}

#[test]
fn every_measurement_names_commit_command_and_machine() {
    let text = read(RESULTS);
    let lines: Vec<&str> = text.lines().collect();
    let mut findings = Vec::new();
    if lines.len() > RESULTS_LINES_MAX {
        findings.push(format!("{} lines, at most {RESULTS_LINES_MAX}", lines.len()));
    }
    let starts = (1..lines.len()).filter(|at| lines[*at].starts_with('|') && !lines[at - 1].starts_with('|'));
    for start in starts.filter(|start| !lines[*start].starts_with("| machine ")) {
        let above = lines[..start].iter().rev().find(|line| !line.trim().is_empty());
        if !above.is_some_and(|line| is_source(line)) {
            findings.push(format!("line {}: no line \"Commit `…` · `command` · machine\" above the table", start + 1));
        }
    }
    report(&format!("{RESULTS} shows where its figures come from"), &findings);
}

/// The sentences of a page outside of tables and fenced blocks, with the line where each starts.
fn sentences(text: &str) -> Vec<(usize, String)> {
    let (mut sentences, mut fenced): (Vec<(usize, String)>, bool) = (Vec::new(), false);
    let mut open = false;
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with("```") {
            (fenced, open) = (!fenced, false);
            continue;
        }
        let starts = line.starts_with(['-', '*', '#', '>']) || line.chars().next().is_some_and(|c| c.is_ascii_digit());
        if fenced || line.is_empty() || line.starts_with('|') || starts {
            open = false;
        }
        if fenced || line.is_empty() || line.starts_with('|') {
            continue;
        }
        for word in line.split_whitespace() {
            if !open {
                sentences.push((at + 1, String::new()));
            }
            let sentence = &mut sentences.last_mut().expect("an open sentence").1;
            sentence.push_str(word);
            sentence.push(' ');
            open = !word.trim_end_matches([')', '"', '*', '`']).ends_with(['.', '?', '!', ':']);
        }
    }
    sentences
}

#[test]
fn sentences_of_pages_are_short() {
    let mut findings = Vec::new();
    for name in files().iter().filter(|name| name.starts_with("specifications/") && name.ends_with(".md")) {
        let text = read(name);
        let long =
            sentences(&text).into_iter().filter(|(_, text)| text.split_whitespace().count() > SENTENCE_WORDS_MAX);
        findings.extend(
            long.map(|(line, text)| format!("{name}:{line}: {} words: {text}", text.split_whitespace().count())),
        );
    }
    report(&format!("a sentence of a page has at most {SENTENCE_WORDS_MAX} words"), &findings);
}

#[test]
fn sentences_and_sources_are_recognised() {
    let text = "# Head\n\nOne two. Three\nfour (five).\n\n| a b c |\n|---|\n\n- Six.\n```sh\nseven\n```\nEight\n";
    let found: Vec<(usize, String)> =
        sentences(text).into_iter().map(|(line, text)| (line, text.trim().to_owned())).collect();
    let expected = [(1, "# Head"), (3, "One two."), (3, "Three four (five)."), (9, "- Six."), (13, "Eight")];
    assert!(has_phrase("written anew.", "anew") && !has_phrase("renewed", "new"));
    assert_eq!(found, expected.map(|(line, text)| (line, text.to_owned())));
    assert!(is_source("Commit `1234abc` · `benches/run tenants` · two cores of Zen 5"));
    assert!(!is_source("| a table |") && !is_source("Commit `main` · `x` · y"));
}
