//! Finds tests that cannot fail, limits that no code reads, and settings that have no effect.

use std::collections::HashSet;

use super::source::Source;
use super::{LIMITS, read, report, sources};

/// An ignored test states a reason, and every other test reaches its assertions.
#[test]
fn f18_no_test_is_ignored_without_a_reason_or_returns_early() {
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
                    findings.push(format!("{}:{}: a test that may return before its assertions", source.name, at + 1));
                }
                if says_it_skips(text[at]) && !source.name.starts_with("tests/tidy") {
                    findings.push(format!("{}:{}: a test that prints that it skips, and passes", source.name, at + 1));
                }
            }
        }
    }
    report("F18: every test reaches its assertions", &findings);
}

/// The attributes directly above a line, which is counted from 1.
pub(crate) fn attributes<'a>(text: &[&'a str], line: usize) -> Vec<&'a str> {
    let above = text[..line - 1].iter().rev().map(|line| line.trim());
    above.take_while(|line| line.starts_with("#[")).collect()
}

/// Whether the line returns from a test.
fn leaves_early(line: &str) -> bool {
    let after = line.split("return").skip(1).map(str::trim_start);
    after.into_iter().any(|rest| rest.starts_with([';', '}']) || rest.starts_with("Ok(())"))
}

fn says_it_skips(line: &str) -> bool {
    line.contains("print") && line.to_lowercase().contains("skip")
}

#[test]
fn an_early_return_is_distinguished_from_a_return_of_a_value() {
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

/// The identifiers of the product code in these files.
fn words(sources: &[Source]) -> HashSet<String> {
    let product = sources.iter().filter(|source| !source.is_test());
    product.flat_map(|source| source.words()).collect()
}

/// Limits that only tests use, because they measure the host against them.
const MEASURED: &[&str] = &["PLUGIN_TIMEOUT_SLACK"];

#[test]
fn f14_product_code_reads_every_limit() {
    let (limits, host): (Vec<Source>, Vec<Source>) =
        sources("host/").into_iter().partition(|source| source.name.starts_with(LIMITS));
    let known = words(&host);
    let lines = limits.iter().flat_map(|source| source.text.lines());
    let names = lines.filter_map(|line| line.strip_prefix("pub const ")?.split(':').next());
    let unread = names.filter(|name| !known.contains(*name) && !MEASURED.contains(name));
    report("F14, F16: product code reads every limit", &unread.map(str::to_owned).collect::<Vec<_>>());
}

#[test]
fn f19_code_outside_the_configuration_reads_every_setting() {
    let (config, rest): (Vec<Source>, Vec<Source>) =
        sources("host/src/").into_iter().partition(|source| source.name.starts_with("host/src/config"));
    let product = rest.iter().filter(|source| !source.is_test());
    let known: HashSet<String> = product.flat_map(Source::fields_read).collect();
    let mut findings = Vec::new();
    // The fields of a problem and of a row of the reference page are no settings.
    let others = ["/problem.rs", "/keys.rs"];
    let is_other = |source: &&Source| others.iter().any(|file| source.name.ends_with(file));
    for source in config.iter().filter(|source| !source.is_test() && !is_other(source)) {
        let fields = source.text.lines().filter_map(|line| line.strip_prefix("    pub ")?.split_once(": "));
        let unread = fields.filter(|(name, _)| name.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
        let unread = unread.filter(|(name, _)| !known.contains(*name));
        findings.extend(unread.map(|(name, _)| format!("{}: {name}", source.name)));
    }
    report("F16, F19: code outside host/src/config reads every setting", &findings);
}

/// The keys in a source of the configuration reader: the literal arguments of `functions`.
fn keys_asked(text: &str, functions: &[&str]) -> Vec<String> {
    let mut keys = Vec::new();
    for function in functions {
        for (at, _) in text.match_indices(&format!("{function}(")) {
            let arguments = &text[at + function.len() + 1..];
            let Some((before, rest)) = arguments.split_once('"') else { continue };
            // Only the section may come before the key.
            let is_first = before.chars().all(|c| c.is_ascii_lowercase() || " \n&,".contains(c));
            let key = rest.split('"').next().unwrap_or_default();
            if is_first && !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
                keys.push(key.to_owned());
            }
        }
    }
    keys
}

/// `firebox config init` writes every key.
#[test]
fn the_example_configuration_has_every_key() {
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
    report("the example that `firebox config init` writes has every key", &missing);
}
