//! House rules that a reader would otherwise have to keep in mind.

use super::source::Source;
use super::{ROOT, files, read, report, sources};

const FILE_LINES_MAX: usize = 600;
const FILE_LINES_MEDIAN_MAX: usize = 200;
const FUNCTION_LINES_MAX: usize = 70;
const FUNCTION_LINES_P90_MAX: usize = 30;
const FILE_BYTES_MAX: u64 = 6 << 20;

/// Files that may contain `unsafe` code: kernels, and calls whose contract the compiler cannot check.
const UNSAFE_FILES: &[&str] = &[
    "benches/peers/candle/src/main.rs",
    "host/cpu/src/priority.rs",
    "host/mcp/src/client/transport/orphan.rs",
    "host/kernels/src/weights/blob.rs",
    "host/kernels/src/attention.rs",
    "host/kernels/src/attention/rotate.rs",
    "host/kernels/src/attention/tile.rs",
    "host/kernels/src/elements.rs",
    "host/kernels/src/linear.rs",
    "host/kernels/src/linear/gemm.rs",
    "host/kernels/src/linear/level.rs",
    "host/kernels/src/linear/packed.rs",
    "host/kernels/src/linear/prefetch.rs",
    "host/kernels/src/linear/quantized.rs",
    "host/kernels/src/linear/quantized/amx.rs",
    "host/kernels/src/linear/quantized/bytes/avx2.rs",
    "host/kernels/src/linear/quantized/bytes/neon.rs",
    "host/kernels/src/linear/quantized/bytes/rows.rs",
    "host/kernels/src/linear/quantized/integers.rs",
    "host/kernels/src/linear/quantized/level.rs",
    "host/kernels/src/linear/quantized/tests.rs",
    "host/kernels/src/linear/vector.rs",
    "host/kernels/src/linear/vector/neon.rs",
    "host/kernels/src/threads.rs",
    "host/kernels/src/threads/pool.rs",
    "host/models/src/kernel/gpu.rs",
    "host/models/src/kernel/gpu/attention/combine.rs",
    "host/models/src/kernel/gpu/attention/online_softmax.rs",
    "host/models/src/kernel/gpu/attention/pages.rs",
    "host/models/src/kernel/gpu/attention/rotate.rs",
    "host/models/src/kernel/gpu/elements.rs",
    "host/models/src/kernel/gpu/linear/codes.rs",
    "host/models/src/kernel/gpu/linear/cooperative.rs",
    "host/models/src/kernel/gpu/linear/gemm.rs",
    "host/models/src/kernel/gpu/linear/gemv.rs",
    "host/models/src/kernel/gpu/recording.rs",
    "host/sandbox/src/compile/loader.rs",
    "host/sandbox/tests/hostile/usage.rs",
    "host/src/system/memory.rs",
    "tests/fuzz/coverage.rs",
];

fn rust() -> Vec<Source> {
    sources("")
}

#[test]
fn files_are_short() {
    let rust = rust();
    let mut lengths: Vec<usize> = rust.iter().map(|source| source.text.lines().count()).collect();
    lengths.sort_unstable();
    let median = lengths[lengths.len() / 2];
    let long = rust.iter().filter(|source| source.text.lines().count() > FILE_LINES_MAX);
    report(&format!("a file has at most {FILE_LINES_MAX} lines"), &long.map(|s| s.name.clone()).collect::<Vec<_>>());
    assert!(median <= FILE_LINES_MEDIAN_MAX, "the median file has {median} lines, {FILE_LINES_MEDIAN_MAX} at most");
}

#[test]
fn functions_are_short() {
    let mut lengths = Vec::new();
    let mut long = Vec::new();
    for source in rust() {
        for function in source.functions() {
            lengths.push(function.lines);
            if function.lines > FUNCTION_LINES_MAX {
                long.push(format!("{}:{} {} has {}", source.name, function.line, function.name, function.lines));
            }
        }
    }
    report(&format!("a function has at most {FUNCTION_LINES_MAX} lines"), &long);
    lengths.sort_unstable();
    let p90 = lengths[lengths.len() * 9 / 10];
    assert!(
        p90 <= FUNCTION_LINES_P90_MAX,
        "nine of ten functions have at most {p90} lines, not {FUNCTION_LINES_P90_MAX}"
    );
}

#[test]
fn unsafe_code_is_in_listed_files_and_has_a_safety_comment() {
    let mut findings = Vec::new();
    for source in rust() {
        for line in source.lines_of_token("unsafe") {
            if !UNSAFE_FILES.contains(&source.name.as_str()) {
                findings.push(format!("{}:{line} is unsafe in a file that is not listed", source.name));
            } else if !source.comment_before(line, "SAFETY") {
                findings.push(format!("{}:{line} has no SAFETY comment", source.name));
            }
        }
    }
    report("unsafe code is in listed files, and a SAFETY comment explains why it is sound", &findings);
}

#[test]
fn every_allow_has_a_reason() {
    let mut findings = Vec::new();
    for source in rust() {
        for call in source.calls_with(&["allow", "expect"]) {
            let attribute =
                source.text.lines().nth(call.line - 1).is_some_and(|l| l.contains("#[") || l.contains("#!["));
            let generated = call.path != "allow" && call.path != "expect";
            if attribute && !generated && !call.arguments.contains("reason") {
                findings.push(format!("{}:{}", source.name, call.line));
            }
        }
    }
    report("every allowed lint has a reason", &findings);
}

/// The text files of the repository that are written by hand.
fn texts() -> Vec<String> {
    const ENDINGS: &[&str] = &[".rs", ".toml", ".md", ".wit", ".sh", ".py", "/run", "/build", ".yml", ".yaml"];
    // The tidy tests contain the words that they look for.
    let own = |name: &String| name.starts_with("tests/tidy");
    files().into_iter().filter(|name| ENDINGS.iter().any(|end| name.ends_with(end)) && !own(name)).collect()
}

fn lines_with(words: &[&str]) -> Vec<String> {
    let mut findings = Vec::new();
    for name in texts() {
        let text = read(&name);
        for (number, line) in text.lines().enumerate() {
            let found = words.iter().filter(|word| line.contains(**word));
            findings.extend(found.map(|word| format!("{name}:{}: {word}", number + 1)));
        }
    }
    findings
}

#[test]
fn no_file_has_a_note_about_unfinished_work() {
    report("no file has a note about unfinished work", &lines_with(&["TODO", "FIXME", "XXX:", "todo!(", "dbg!("]));
}

#[test]
fn no_file_contains_a_path_of_one_machine() {
    report("no file contains a path of one machine", &lines_with(&["/root/", "/home/", "/work/", "../shared"]));
}

#[test]
fn no_file_is_large() {
    let bytes = |name: &String| std::fs::metadata(format!("{ROOT}/{name}")).map_or(0, |about| about.len());
    let large: Vec<String> = files().into_iter().filter(|name| bytes(name) > FILE_BYTES_MAX).collect();
    report(&format!("no file of the repository has more than {} MiB", FILE_BYTES_MAX >> 20), &large);
}
