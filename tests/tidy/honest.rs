//! A test that cannot fail holds nothing, and a limit or setting that nobody reads limits and sets nothing.

use std::collections::HashSet;

use super::source::Source;
use super::{LIMITS, read, report, sources};

/// Why a test may be ignored stands beside it, and everything else is run and looks at something.
#[test]
fn f18_no_test_is_ignored_without_a_reason_or_passes_without_looking() {
    let mut findings = Vec::new();
    for source in sources("") {
        let bare = source.text.lines().enumerate().filter(|(_, line)| line.trim() == "#[ignore]");
        findings.extend(bare.map(|(at, _)| format!("{}:{}: ignored without a reason", source.name, at + 1)));
        let text: Vec<&str> = source.text.lines().collect();
        let code = source.code_lines();
        for function in source.functions() {
            let attributes = attributes(&text, function.line);
            if !attributes.iter().any(|line| line.contains("test]") || line.contains("::test(")) {
                continue;
            }
            let ignored = attributes.iter().any(|line| line.contains("#[ignore"));
            for at in function.line - 1..function.line - 1 + function.lines {
                if !ignored && leaves_early(&code[at]) {
                    findings.push(format!("{}:{}: a test that may end before it looked", source.name, at + 1));
                }
                if says_it_skips(text[at]) && !source.name.starts_with("tests/tidy") {
                    findings.push(format!("{}:{}: a test that says it skips and passes", source.name, at + 1));
                }
            }
        }
    }
    report("F18: what is tested is looked at, or the test fails", &findings);
}

/// The attributes right above a line that is counted from 1.
pub(crate) fn attributes<'a>(text: &[&'a str], line: usize) -> Vec<&'a str> {
    let above = text[..line - 1].iter().rev().map(|line| line.trim());
    above.take_while(|line| line.starts_with("#[")).collect()
}

/// Whether the line returns without a value.
fn leaves_early(line: &str) -> bool {
    let after = line.split("return").skip(1).map(str::trim_start);
    after.into_iter().any(|rest| rest.starts_with([';', '}']) || rest.starts_with("Ok(())"))
}

fn says_it_skips(line: &str) -> bool {
    line.contains("print") && line.to_lowercase().contains("skip")
}

#[test]
fn what_leaves_early_is_told_from_what_returns_a_value() {
    for (line, expected) in [
        ("return;", true),
        ("let Some(x) = y else { return };", true),
        ("    return Ok(());", true),
        ("return value;", false),
        ("returned += 1;", false),
    ] {
        assert_eq!(leaves_early(line), expected, "{line}");
    }
}

/// The identifiers of all product code in these files.
fn words(sources: &[Source]) -> HashSet<String> {
    let product = sources.iter().filter(|source| !source.is_test());
    product.flat_map(|source| source.words()).collect()
}

/// A promise about the host that tests measure, and nothing a program could read.
const MEASURED: &[&str] = &["PLUGIN_TIMEOUT_SLACK"];

#[test]
fn f14_every_limit_is_read_by_the_product() {
    let (limits, host): (Vec<Source>, Vec<Source>) =
        sources("host/").into_iter().partition(|source| source.name.starts_with(LIMITS));
    let known = words(&host);
    let lines = limits.iter().flat_map(|source| source.text.lines());
    let names = lines.filter_map(|line| line.strip_prefix("pub const ")?.split(':').next());
    let unread = names.filter(|name| !known.contains(*name) && !MEASURED.contains(name));
    report("F14, F16: every limit is read by product code", &unread.map(str::to_owned).collect::<Vec<_>>());
}

#[test]
fn f19_every_setting_is_read_outside_of_the_configuration() {
    let (config, rest): (Vec<Source>, Vec<Source>) =
        sources("host/src/").into_iter().partition(|source| source.name.starts_with("host/src/config"));
    let product = rest.iter().filter(|source| !source.is_test());
    let known: HashSet<String> = product.flat_map(Source::fields_read).collect();
    let mut findings = Vec::new();
    // Mistakes in a configuration are not settings.
    for source in config.iter().filter(|source| !source.is_test() && !source.name.ends_with("/problem.rs")) {
        let fields = source.text.lines().filter_map(|line| line.strip_prefix("    pub ")?.split_once(": "));
        let unread = fields.filter(|(name, _)| name.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
        let unread = unread.filter(|(name, _)| !known.contains(*name));
        findings.extend(unread.map(|(name, _)| format!("{}: {name}", source.name)));
    }
    report("F16, F19: every setting is read by what it sets", &findings);
}

/// The keys that a file of the configuration's reader asks for, by the names of the `functions` that take one.
fn keys_asked(text: &str, functions: &[&str]) -> Vec<String> {
    let mut keys = Vec::new();
    for function in functions {
        for (at, _) in text.match_indices(&format!("{function}(")) {
            let arguments = &text[at + function.len() + 1..];
            let Some((before, rest)) = arguments.split_once('"') else { continue };
            // Between the parenthesis and the key there is at most the section.
            let is_first = before.chars().all(|c| c.is_ascii_lowercase() || " \n&,".contains(c));
            let key = rest.split('"').next().unwrap_or_default();
            if is_first && !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
                keys.push(key.to_owned());
            }
        }
    }
    keys
}

/// `firebox config init` promises every key.
#[test]
fn every_key_of_the_configuration_is_in_its_example() {
    let product = |source: &Source| source.name.starts_with("host/src/config/") && !source.is_test();
    let reader: Vec<Source> = sources("host/src/config").into_iter().filter(product).collect();
    let signatures =
        reader.iter().flat_map(|source| source.text.lines()).filter(|line| line.contains("key: &'static str"));
    let names = signatures.filter_map(|line| line.split("fn ").nth(1)?.split(['<', '(']).next());
    let functions: Vec<&str> = names.collect();
    assert!(functions.len() > 10, "{functions:?}");
    let example = read("host/src/config/example.toml");
    let words: HashSet<&str> = example.split(|c: char| !c.is_ascii_lowercase() && c != '_').collect();
    let keys: Vec<String> = reader.iter().flat_map(|source| keys_asked(&source.text, &functions)).collect();
    assert!(keys.iter().any(|key| key == "header_timeout") && keys.len() > 50, "{keys:?}");
    let missing: Vec<String> = keys.into_iter().filter(|key| !words.contains(key.as_str())).collect();
    report("every key is in the example that `config init` writes", &missing);
}
