//! The way of an author who is new, from `plugins new` to a plugin that works, in every language and outside of this
//! repository. It is a test target of its own, because it is timed: no other test may run at the same time.

#[allow(dead_code, reason = "the other targets use the rest")]
mod harness;

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use harness::Firebox;
use harness::toolchains::toolchains;

/// The time from `plugins new` to the first answer, with the compilers of the language on the machine. What a language
/// needs beyond them is downloaded, and everything is compiled for the first time.
const TIME_MAX: Duration = Duration::from_secs(300);

/// The languages, with their compilers.
const LANGUAGES: [&str; 4] = ["rust", "c", "js", "python"];

#[test]
fn a_newcomer_has_a_working_plugin_within_five_minutes_in_every_language() {
    // The compilers themselves are there already.
    let compilers = toolchains();
    let mut times = Vec::new();
    for language in LANGUAGES {
        let folder = tempfile::tempdir().expect("a folder");
        let above = folder.path();
        let run = |place: &Path, args: &[&str]| {
            let author = Firebox::new(args).current_dir(place).env("FIREBOX_DEVICE", "cpu");
            let author = author.env("FIREBOX_CACHE", above.join("cache")).env("FIREBOX_DATA", above.join("data"));
            let author = author.env("CARGO_TARGET_DIR", above.join("target"));
            compilers.iter().fold(author, |author, (name, value)| author.env(name, value)).run().expect_code(0)
        };
        let begun = Instant::now();
        run(above, &["plugins", "new", "mine", "--lang", language]);
        let place = above.join("mine");
        run(&place, &["plugins", "build"]);
        let called = run(&place, &["plugins", "call", "tool", "shout", r#"{"text": "it works"}"#]);
        let took = begun.elapsed();
        assert_eq!(called.stdout, "IT WORKS\n", "{language}");
        assert!(run(&place, &["plugins", "test"]).stdout.contains("cases passed"), "{language}");
        times.push((language, took));
    }
    let shown: Vec<String> =
        times.iter().map(|(language, took)| format!("{language} {:.0} s", took.as_secs_f64())).collect();
    // Beside the test harness, which keeps what a test that passes prints.
    let written = writeln!(std::io::stderr(), "from plugins new to the first answer: {}", shown.join(", "));
    written.expect("standard error");
    assert!(times.iter().all(|(_, took)| *took < TIME_MAX), "{shown:?}");
}
