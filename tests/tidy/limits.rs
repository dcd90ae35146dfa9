//! The limits of `host/contract/src/limits`: each has a unit and a plain comment, and `specifications/reference/limits.md` is
//! generated from them. `UPDATE=1` writes the page.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

use super::{LIMITS, ROOT, read, report, sources};

const PAGE: &str = "specifications/reference/limits.md";

/// Words of a constant's name, with the unit that its value has. The last word of a name that is here counts.
const UNITS: &[(&str, &str)] = &[
    ("BYTES", "B"),
    ("BYTE", ""),
    ("FUEL", "units of fuel"),
    ("PERCENT", "%"),
    ("DIVISOR", "1/"),
    ("FACTOR", "×"),
    ("RATIO", "×"),
    ("DECODES", "×"),
    ("DEPTH", "levels"),
    ("TEMPERATURE", ""),
    ("NICENESS", ""),
    ("HIDDEN", "elements"),
    ("DIM", "elements"),
    ("FAILURES", "failures"),
    ("OPERANDS", "calls and operands"),
    ("SHARDS", "files"),
    ("ARTIFACTS", "compiled components"),
    ("CHAINS", "plugin chains"),
    ("ORIGINS", "requests"),
    ("READERS", "connections"),
    ("STREAMS", "answers"),
];

/// The same for names without a word of `UNITS`.
const UNITS_OF_OTHERS: &[(&str, &str)] = &[
    ("PORT", ""),
    ("WEIGHT", ""),
    ("LIVENESS", ""),
    ("EXPECTED", "tokens"),
    ("PREEMPTIONS", "steps"),
    ("REPEATS", "calls"),
    ("WAITING", "requests"),
    ("FLIGHT", "requests"),
    ("QUEUE", "connections"),
    ("PARALLEL", ""),
    ("BUFFERED", ""),
    ("UNANSWERED", "requests"),
    ("HISTORY", "lines"),
];

/// Words of names that are units as they are, in the plural.
const PLURALS: &[&str] = &[
    "ANSWERS",
    "APPROVALS",
    "ATTEMPTS",
    "BLOCKS",
    "BODIES",
    "CALLS",
    "CAPABILITIES",
    "CHARACTERS",
    "COMPONENTS",
    "CONNECTIONS",
    "CORES",
    "DAYS",
    "ELEMENTS",
    "EVENTS",
    "EXPERTS",
    "EXPORTS",
    "FILES",
    "FUNCTIONS",
    "GENERATIONS",
    "GLOBALS",
    "GRAMMARS",
    "HANDLES",
    "HEADS",
    "IMPORTS",
    "INSTANCES",
    "ITEMS",
    "KEYS",
    "KINDS",
    "LAYERS",
    "LINES",
    "LISTS",
    "LOCALS",
    "MEMORIES",
    "MESSAGES",
    "MODULES",
    "METERS",
    "NAMES",
    "SERIES",
    "OPERATIONS",
    "PAGES",
    "PARTS",
    "PATTERNS",
    "PLUGINS",
    "PROMPTS",
    "REDIRECTS",
    "REPETITIONS",
    "REQUESTS",
    "ROUNDS",
    "ROWS",
    "SCHEMAS",
    "SEGMENTS",
    "SEQUENCES",
    "SERVERS",
    "SESSIONS",
    "STATES",
    "STEPS",
    "STRINGS",
    "SUBSCRIPTIONS",
    "SYMBOLS",
    "TABLES",
    "TARGETS",
    "TENANTS",
    "TENSORS",
    "TESTS",
    "TEXTS",
    "THREADS",
    "TICKS",
    "TOKENS",
    "TOOLS",
    "TYPES",
    "VALUES",
    "WARNINGS",
];

/// Words that make a comment depend on another one, or that say nothing.
const VAGUE: &[&str] = &[
    "these", "such", "nobody", "somebody", "whoever", "anew", "in all", "for ever", "beside", "says", "said", "told",
    "held", "goes on", ";",
];

/// Words of one sentence of a comment at most.
const SENTENCE_WORDS_MAX: usize = 30;

/// A constant with its comment.
struct Limit {
    /// The heading of its section.
    topic: String,
    name: String,
    comment: String,
    /// The expression, as the source has it.
    source: String,
}

impl Limit {
    /// Whether a configuration key or an option changes it.
    fn is_setting(&self) -> bool {
        let mut sentences = self.comment.split(". ");
        sentences.any(|sentence| {
            ["Default", "Maximum", "Minimum"].iter().any(|bound| sentence.starts_with(bound)) && sentence.contains('`')
        })
    }
}

fn limits() -> Vec<Limit> {
    let mut limits = Vec::new();
    for source in sources(LIMITS) {
        let (mut topic, mut comment) = (String::new(), Vec::new());
        for line in source.text.lines() {
            if let Some(title) = line.strip_prefix("// ---- ") {
                title.trim_end_matches('-').trim().clone_into(&mut topic);
            } else if let Some(text) = line.strip_prefix("/// ") {
                comment.push(text);
            } else if let Some((name, rest)) = line.strip_prefix("pub const ").and_then(|rest| rest.split_once(':')) {
                let value = rest.split_once('=').map_or("", |(_, value)| value).trim().trim_end_matches(';');
                limits.push(Limit {
                    topic: topic.clone(),
                    name: name.to_owned(),
                    comment: std::mem::take(&mut comment).join(" "),
                    source: value.to_owned(),
                });
            } else {
                comment.clear();
            }
        }
    }
    limits
}

/// The value of every constant, as the page shows it.
fn shown(limits: &[Limit]) -> HashMap<&str, String> {
    let mut values: HashMap<&str, f64> =
        [("KIB", 1024.0), ("MIB", 1024.0 * 1024.0), ("GIB", 1024.0_f64.powi(3))].into();
    // A constant may use one that comes later.
    for _ in 0..3 {
        for limit in limits {
            if let Some(value) = value(&limit.source, &values) {
                values.insert(&limit.name, value);
            }
        }
    }
    let show = |limit: &Limit| match values.get(limit.name.as_str()) {
        Some(value) if limit.source.contains("Duration::") => time(*value),
        Some(value) => amount(&limit.name, *value),
        None => panic!("{} = {}: the test cannot read this value", limit.name, limit.source),
    };
    limits.iter().map(|limit| (limit.name.as_str(), show(limit))).collect()
}

/// The value of a product, a shift or a duration (in microseconds).
fn value(source: &str, known: &HashMap<&str, f64>) -> Option<f64> {
    let source = source.trim();
    for (unit, micros) in [("micros", 1.0), ("millis", 1e3), ("secs", 1e6)] {
        if let Some(inner) = source.strip_prefix(&format!("Duration::from_{unit}(")) {
            return Some(value(inner.trim_end_matches(')'), known)? * micros);
        }
    }
    if let Some((left, right)) = source.split_once("<<") {
        return Some(value(left, known)? * 2.0_f64.powf(value(right, known)?));
    }
    if let Some((left, right)) = source.split_once(" * ") {
        return Some(value(left, known)? * value(right, known)?);
    }
    let word = source.split(" as ").next()?.trim_start_matches("super::").trim();
    known.get(word).copied().or_else(|| word.replace('_', "").parse().ok())
}

/// Microseconds in the largest unit that gives a whole number.
fn time(micros: f64) -> String {
    let units = [("days", 86_400e6), ("h", 3_600e6), ("min", 60e6), ("s", 1e6), ("ms", 1e3), ("µs", 1.0)];
    let whole = units
        .iter()
        .find(|(unit, size)| micros >= *size && (*unit != "days" || micros > *size) && (micros / size).fract() == 0.0);
    whole.map_or_else(|| "0 s".to_owned(), |(unit, size)| format!("{} {unit}", grouped(micros / size)))
}

/// A number with the unit that the name of its constant implies.
fn amount(name: &str, value: f64) -> String {
    let rate = if name.contains("PER_SECOND") { "/s" } else { "" };
    match unit(name).as_deref() {
        Some("B") => format!("{}{rate}", size(value)),
        Some("1/") => format!("1/{}", grouped(value)),
        Some("%") => format!("{} %", grouped(value)),
        Some("") | None => grouped(value),
        Some(unit) if value == 1.0 => format!("1 {}", unit.trim_end_matches('s')),
        Some(unit) => format!("{} {unit}{rate}", grouped(value)),
    }
}

fn unit(name: &str) -> Option<String> {
    let of = |units: &[(&str, &str)], word: &str| units.iter().find(|row| row.0 == word).map(|row| row.1.to_owned());
    let plural = |word: &str| PLURALS.contains(&word).then(|| word.to_lowercase());
    let certain = name.rsplit('_').find_map(|word| of(UNITS, word).or_else(|| plural(word)));
    certain.or_else(|| name.rsplit('_').find_map(|word| of(UNITS_OF_OTHERS, word)))
}

fn size(bytes: f64) -> String {
    let binary = [("TiB", 4), ("GiB", 3), ("MiB", 2), ("KiB", 1)].map(|(unit, power)| (unit, 1024.0_f64.powi(power)));
    let decimal = [("MB", 1e6)];
    let whole = binary.iter().chain(&decimal).find(|(_, size)| bytes >= *size && (bytes / size).fract() == 0.0);
    whole
        .map_or_else(|| format!("{} bytes", grouped(bytes)), |(unit, size)| format!("{} {unit}", grouped(bytes / size)))
}

/// `1,234,567`; one decimal where there is a fraction.
fn grouped(value: f64) -> String {
    if value.fract() != 0.0 {
        return format!("{value}");
    }
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn page(limits: &[Limit]) -> String {
    let values = shown(limits);
    let mut page = "# Limits\n\nGenerated from the comments in `host/contract/src/limits/`. The constants are the Rust names in \
                    `firebox::contract::limits`.\n\n## Settings\n\nDefaults and bounds of configuration keys and options.\n"
        .to_owned();
    let head = "\n| limit | value | meaning |\n|---|---|---|\n";
    page.push_str(head);
    let row = |limit: &Limit| format!("| `{}` | {} | {} |\n", limit.name, values[limit.name.as_str()], limit.comment);
    limits.iter().filter(|limit| limit.is_setting()).for_each(|limit| page.push_str(&row(limit)));
    page.push_str("\n## Fixed limits\n\nNo setting changes these values.\n");
    let mut topic = "";
    for limit in limits.iter().filter(|limit| !limit.is_setting()) {
        if limit.topic != topic {
            topic = &limit.topic;
            write!(page, "\n### {topic}\n{head}").expect("a string");
        }
        page.push_str(&row(limit));
    }
    page
}

/// Writes the page if `UPDATE=1` asks for it.
fn update(page: &str) {
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        std::fs::write(Path::new(ROOT).join(PAGE), page).expect("writable");
    }
}

#[test]
fn the_page_of_limits_shows_every_limit() {
    let limits = limits();
    assert!(limits.len() > 300, "{} limits were read", limits.len());
    let page = page(&limits);
    update(&page);
    assert_eq!(read(PAGE), page, "run UPDATE=1 cargo test --test tidy limits to write {PAGE}");
}

#[test]
fn i6_every_limit_has_a_unit_and_a_comment_that_stands_alone() {
    let mut findings = Vec::new();
    for Limit { name, comment, source, .. } in limits() {
        let lower = format!(" {} ", comment.to_lowercase());
        if comment.is_empty() {
            findings.push(format!("{name} has no comment"));
        }
        if !source.contains("Duration") && unit(&name).is_none() {
            findings.push(format!("the name {name} shows no unit that tests/tidy/limits.rs knows"));
        }
        let vague = |word: &&&str| match word.chars().all(char::is_alphabetic) {
            true => lower.split(|c: char| !c.is_alphabetic()).any(|own| own == **word),
            false => lower.contains(**word),
        };
        findings.extend(VAGUE.iter().filter(vague).map(|word| format!("{name}: \"{word}\"")));
        let long = comment.split(". ").filter(|sentence| sentence.split_whitespace().count() > SENTENCE_WORDS_MAX);
        findings.extend(long.map(|sentence| format!("{name}: a long sentence: {sentence}")));
    }
    report("I6: every limit has a unit, and a comment of short sentences that stands alone", &findings);
}

#[test]
fn values_are_shown_as_people_write_them() {
    let known = HashMap::from([("MIB", 1024.0 * 1024.0), ("A", 3.0)]);
    for (name, source, expected) in [
        ("X_BYTES_MAX", "8 * MIB", "8 MiB"),
        ("X_BYTES_MAX", "400", "400 bytes"),
        ("X_BYTES_MAX", "100 * 1_000 * 1_000", "100 MB"),
        ("X_BYTES_PER_SECOND_MIN", "4_096", "4 KiB/s"),
        ("X_BYTES_MAX", "1 << 44", "16 TiB"),
        ("X_FUEL_MAX", "200_000_000", "200,000,000 units of fuel"),
        ("CALLS_PER_ROUND_MAX", "16", "16 calls"),
        ("LINES_WAITING_MAX", "1", "1 line"),
        ("X_DIVISOR", "A", "1/3"),
        ("X_PERCENT", "5", "5 %"),
        ("TEMPERATURE_MAX", "5.5", "5.5"),
    ] {
        assert_eq!(amount(name, value(source, &known).expect("a value")), expected, "{source}");
    }
    for (source, expected) in [
        ("Duration::from_secs(600)", "10 min"),
        ("Duration::from_secs(90)", "90 s"),
        ("Duration::from_secs(86_400)", "24 h"),
        ("Duration::from_secs(366 * 86_400)", "366 days"),
        ("Duration::from_micros(200)", "200 µs"),
    ] {
        assert_eq!(time(value(source, &known).expect("a value")), expected, "{source}");
    }
}
