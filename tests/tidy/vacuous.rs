//! Finds tests that pass whatever the product does: tests that assert only under a condition, in a loop over a list that may be
//! empty, or if an environment variable is set; tests that retry; and tests that wait for a fixed time.

use super::honest::attributes;
use super::source::{Function, Source};
use super::{report, sources};

/// What counts as an assertion: an assertion macro, or a call that panics on failure.
const CHECKS: &[&str] = &["assert", "expect", "panic!", "unwrap_err", "report(", "expect_code", ".run(|"];
/// Seconds that a test may sleep or spin at once.
const SLEEP_SECONDS_MAX: u64 = 2;

/// Functions of tests that return a literal list, or that fail instead of returning an empty list.
const NEVER_EMPTY: &[&str] = &["cases", "decoder_cases", "devices", "folders", "golden_models", "levels", "matrix"];

fn tests_of(source: &Source) -> Vec<Function> {
    let text: Vec<&str> = source.text.lines().collect();
    let is_test = |function: &Function| {
        let attributes = attributes(&text, function.line);
        let runs = attributes.iter().any(|line| line.contains("test]") || line.contains("::test("));
        let is_exempt = |line: &&str| line.contains("#[ignore") || line.contains("#[should_panic");
        runs && !attributes.iter().any(is_exempt)
    };
    source.functions().into_iter().filter(is_test).collect()
}

#[test]
fn every_test_asserts_something_on_every_machine() {
    let mut findings = Vec::new();
    for source in sources("") {
        for test in tests_of(&source) {
            let finding = match &test.body {
                body if body.contains("env::var") => "reads an environment variable",
                body if !asserts(&unconditional(body)) => {
                    "asserts only under a condition or in a loop that may be empty"
                }
                _ => continue,
            };
            findings.push(format!("{}:{}: {} {finding}", source.name, test.line, test.name));
        }
    }
    report("F18: every test asserts something", &findings);
}

#[test]
fn no_test_retries_or_waits_for_a_fixed_time() {
    let mut findings = Vec::new();
    for source in sources("").iter().filter(|source| source.name.contains("tests")) {
        for (at, line) in source.code_lines().iter().enumerate() {
            let tries = ["tries_max", "retries", "attempts"].iter().any(|word| line.to_lowercase().contains(word));
            // Protocols and limits of the product use these words too; only constants of a test count.
            if tries && line.contains("const ") {
                findings.push(format!("{}:{}: a test that retries", source.name, at + 1));
            }
            if seconds_slept(line) > SLEEP_SECONDS_MAX {
                findings.push(format!("{}:{}: a test that waits for a fixed time", source.name, at + 1));
            }
        }
    }
    report("F18: a test waits for an event, and its first result counts", &findings);
}

fn asserts(body: &str) -> bool {
    CHECKS.iter().any(|check| body.contains(check)) || statements(body).iter().any(|statement| is_bare_call(statement))
}

fn statements(body: &str) -> Vec<String> {
    let (mut all, mut statement, mut depth) = (Vec::new(), String::new(), 0_i32);
    for c in body.chars() {
        statement.push(c);
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 && matches!(c, ';' | '}') {
            all.push(std::mem::take(&mut statement));
        }
    }
    all.push(statement);
    all
}

/// Whether a statement is a call of a helper function, which asserts for its caller.
fn is_bare_call(statement: &str) -> bool {
    let statement = statement.trim().trim_end_matches(';');
    let name: String = statement.chars().take_while(|c| c.is_alphanumeric() || "_:".contains(*c)).collect();
    let called =
        statement[name.len()..].starts_with('(') && (statement.ends_with([')', '?']) || statement.ends_with(".await"));
    !name.is_empty() && !name.contains("drop") && !name.contains("sleep") && called
}

/// `body` without code that may not run: an `if` without `else`, and loops that may be empty.
fn unconditional(body: &str) -> String {
    let code: Vec<char> = body.chars().collect();
    let (mut runs, mut at) = (String::new(), 0);
    while at < code.len() {
        let word: String = code[at..].iter().take_while(|c| c.is_alphanumeric() || **c == '_').collect();
        let conditional = matches!(word.as_str(), "if" | "while" | "for");
        if word.is_empty() || !conditional {
            let taken = word.chars().count().max(1);
            runs.extend(&code[at..at + taken]);
            at += taken;
            continue;
        }
        let (open, close) = block(&code, at);
        let head: String = code[at..open].iter().collect();
        let end = (close + 1).min(code.len());
        let after: String = code[end..].iter().take(8).collect();
        let certain = match word.as_str() {
            "if" => after.trim_start().starts_with("else"),
            "for" => is_certain(&head, body),
            _ => false,
        };
        if certain {
            let inner: String = code[(open + 1).min(close)..close].iter().collect();
            runs.push_str(&unconditional(&inner));
        }
        at = end;
    }
    runs
}

/// The braces of the block whose head starts at `from`.
fn block(code: &[char], from: usize) -> (usize, usize) {
    let (mut depth, mut open) = (0_i32, code.len());
    for (at, c) in code.iter().enumerate().skip(from) {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '{' if depth == 0 => {
                open = at;
                break;
            }
            _ => {}
        }
    }
    let mut depth = 0_i32;
    for (at, c) in code.iter().enumerate().skip(open) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return (open, at);
        }
    }
    (open, code.len())
}

/// Whether the list of a `for` is known not to be empty: a literal, a range, a constant, or a variable with one of them.
fn is_certain(head: &str, body: &str) -> bool {
    let Some((_, list)) = head.split_once(" in ").or_else(|| head.split_once(" in\n")) else { return false };
    let list = list.trim().trim_start_matches(['&', '(', '*']);
    let first: String = list.chars().take_while(|c| c.is_alphanumeric() || "_:".contains(*c)).collect();
    let last = first.rsplit("::").next().unwrap_or_default();
    let is_constant =
        !last.is_empty() && last.chars().all(|c| c.is_ascii_uppercase() || c == '_' || c.is_ascii_digit());
    // A list in a row of a table; another test checks that it is not empty.
    let is_field = list.split('.').count() == 2 && list.chars().all(|c| c.is_alphanumeric() || "_. ".contains(c));
    let is_literal = list.starts_with(['[', '"']) || list.starts_with("vec![") || list.contains("..");
    is_literal || is_field || is_constant || NEVER_EMPTY.contains(&last) || is_written_down(&first, body)
}

/// Whether `body` assigns a literal list to `name`.
fn is_written_down(name: &str, body: &str) -> bool {
    let given = body.split("let ").skip(1).filter_map(|rest| rest.split_once('='));
    let of_it = given.filter(|(left, _)| left.trim_start_matches("mut ").split([':', ' ']).next() == Some(name));
    of_it.into_iter().any(|(_, value)| value.trim_start().trim_start_matches('&').starts_with('['))
}

/// Seconds that a line sleeps or spins.
fn seconds_slept(line: &str) -> u64 {
    let spins = line.contains("while ") && line.contains("elapsed() <") && line.trim_end().ends_with("{}");
    let waits = line.contains("sleep(") || spins;
    if !waits {
        return 0;
    }
    let number = |unit: &str| -> u64 {
        let digits = line.split(&format!("{unit}(")).nth(1).map(|rest| rest.replace('_', ""));
        let digits: String = digits.unwrap_or_default().chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap_or(0)
    };
    number("from_secs").max(number("from_millis") / 1_000)
}

#[test]
fn code_that_may_not_run_is_distinguished_from_code_that_runs() {
    for (body, expected) in [
        ("assert!(a);", true),
        ("conformance(x);", true),
        ("let a = b(); drop(a);", false),
        ("if x { assert!(a); }", false),
        ("if x { assert!(a); } else { assert!(b); }", true),
        ("for a in list() { assert!(a); }", false),
        ("for a in [1, 2] { assert!(a); }", true),
        ("for (a, b) in CASES { assert!(a); }", true),
        ("let rows = [1]; for a in &rows { assert!(a); }", true),
        ("let rows = read(); for a in &rows { assert!(a); }", false),
        ("for a in 0..9 { for b in list() { assert!(a); } }", false),
        ("while a { assert!(a); }", false),
    ] {
        assert_eq!(asserts(&unconditional(body)), expected, "{body}");
    }
    for (line, expected) in [
        ("thread::sleep(Duration::from_secs(17));", 17),
        ("sleep(Duration::from_millis(17_000)).await;", 17),
        ("while begun.elapsed() < Duration::from_secs(17) {}", 17),
        ("assert!(begun.elapsed() < Duration::from_secs(17));", 0),
    ] {
        assert_eq!(seconds_slept(line), expected, "{line}");
    }
}
