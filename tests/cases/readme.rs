//! The README: its first command, its library example and its options. `pages.rs` runs its other blocks.

use std::process::Command;

use crate::harness::{Firebox, root, scratch};

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).expect("readable")
}

/// The fenced blocks of one language under the heading, in order.
fn blocks(heading: &str, language: &str) -> Vec<String> {
    let text = readme();
    let section = text.split("\n## ").find(|part| part.starts_with(heading)).unwrap_or_else(|| panic!("no {heading}"));
    let open = format!("```{language}\n");
    section.split(&open).skip(1).map(|rest| rest.split("```").next().expect("closed").to_owned()).collect()
}

#[test]
fn the_first_command_prints_what_the_readme_shows() {
    let command = blocks("Quick start", "sh").swap_remove(0);
    let arguments = command.trim().strip_prefix("cargo run -- ").expect("the first command");
    let shown = blocks("Quick start", "text").swap_remove(0);
    let script = format!("exec \"$FIREBOX\" {arguments}");
    let output = Command::new("bash")
        .args(["-c", &script])
        .env("FIREBOX", env!("CARGO_BIN_EXE_firebox"))
        .env("FIREBOX_DEVICE", "cpu")
        .env("FIREBOX_CACHE", scratch("cache"))
        .output()
        .expect("bash runs");
    assert!(output.status.success(), "{output:?}");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    for line in stdout.lines() {
        assert!(shown.contains(line), "the README does not contain \"{line}\"");
    }
    // Times and fuel depend on the machine. The reported tools and plugins do not.
    let topics = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with("firebox:"));
        lines.map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")).collect()
    };
    let plain = |topics: Vec<String>| -> Vec<String> {
        let words = topics.into_iter().filter(|topic| topic.starts_with("tool") || topic.starts_with("plugin"));
        words.collect()
    };
    assert_eq!(plain(topics(&stderr)), plain(topics(&shown)), "{stderr}");
}

#[test]
fn the_library_example_is_the_tested_one() {
    let source = include_str!("library.rs");
    let example = source.split("// README example begins\n").nth(1).expect("marked");
    let example = example.split("// README example ends").next().expect("marked").trim();
    assert_eq!(blocks("Use it as a library", "rust").swap_remove(0).trim(), example);
    assert!(example.lines().count() < 50, "{} lines", example.lines().count());
}

#[test]
fn every_verb_and_option_in_the_readme_exists() {
    for verb in ["run", "chat", "serve", "mcp serve", "embed", "devices"] {
        let help = Firebox::new(verb.split(' ').chain(["--help"])).run().expect_code(0).stdout;
        let lines: Vec<String> = blocks("Quick start", "sh").concat().lines().map(str::to_owned).collect();
        let commands = lines.iter().filter(|line| line.contains(&format!("firebox {verb}")));
        for option in commands.flat_map(|line| line.split_whitespace()).filter(|word| word.starts_with("--")) {
            assert!(help.contains(option), "{verb} has no {option}");
        }
    }
}
