//! The README, word for word.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

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
        assert!(shown.contains(line), "the README does not show \"{line}\"");
    }
    // Times and fuel differ from machine to machine; what is reported does not.
    let topics = |text: &str| -> Vec<String> {
        let kept = text.lines().filter(|line| !line.starts_with("firebox:"));
        kept.map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")).collect()
    };
    let plain = |topics: Vec<String>| -> Vec<String> {
        let words = topics.into_iter().filter(|topic| topic.starts_with("tool") || topic.starts_with("plugin"));
        words.collect()
    };
    assert_eq!(plain(topics(&stderr)), plain(topics(&shown)), "{stderr}");
}

#[test]
fn the_plugin_of_the_readme_is_written_built_and_run() {
    let tree = copy_of_the_guests();
    let script = blocks("Write a plugin in five minutes", "sh").concat();
    let output = Command::new("bash")
        .args(["-e", "-c", &script])
        .current_dir(&tree)
        .env("PATH", path_with_the_binary())
        .env("FIREBOX_DEVICE", "cpu")
        // A test run inside another toolchain's cargo inherits its choice; a person's shell has none.
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTUP_TOOLCHAIN")
        .output()
        .expect("bash runs");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    let shown = blocks("Write a plugin in five minutes", "text").swap_remove(0);
    assert_eq!(stdout.trim(), shown.trim(), "{stderr}");
}

/// Servers of the README listen on the default port, so one runs at a time.
static PORT: Mutex<()> = Mutex::new(());

/// Runs a script in an empty folder with the binary on its path, and gives its output and the server's log.
fn run_in_an_empty_folder(name: &str, script: &str) -> (Output, String) {
    let _alone = PORT.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = scratch(name);
    drop(std::fs::remove_dir_all(&folder));
    std::fs::create_dir_all(&folder).expect("writable");
    let output = Command::new("bash")
        .args(["-e", "-c", script])
        .current_dir(&folder)
        .env("PATH", path_with_the_binary())
        .env("FIREBOX_DEVICE", "cpu")
        .env("FIREBOX_CACHE", scratch("cache"))
        .output()
        .expect("bash runs");
    let log = std::fs::read_to_string(folder.join("serve.log")).unwrap_or_default();
    (output, log)
}

#[test]
fn the_server_of_the_quick_start_answers_what_the_readme_shows() {
    let (output, log) = run_in_an_empty_folder("readme-quick-start", &blocks("Quick start", "sh")[1]);
    assert!(output.status.success(), "{output:?}\n{log}");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let shown: Value = serde_json::from_str(&blocks("Quick start", "json")[0]).expect("JSON");
    assert_eq!(answer["choices"], shown["choices"]);
    let keys = |value: &Value, at: &str| -> BTreeSet<String> {
        let object = value.pointer(at).and_then(Value::as_object).unwrap_or_else(|| panic!("no {at} in {value}"));
        object.keys().cloned().collect()
    };
    for object in ["", "/usage", "/firebox", "/firebox/plugins/0", "/firebox/tool_calls/0", "/firebox/timing_ms"] {
        assert_eq!(keys(&answer, object), keys(&shown, object), "{object}");
    }
}

#[test]
fn the_server_of_the_readme_answers_its_two_tenants() {
    const SECTION: &str = "Serve tenants";
    let (output, log) = run_in_an_empty_folder("readme-server", &blocks(SECTION, "sh").concat());
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(stdout.trim(), blocks(SECTION, "text").swap_remove(0).trim(), "{stderr}\n{log}");
    assert!(output.status.success(), "{output:?}");
    assert!(log.contains("all requests had finished"), "{log}");
}

fn path_with_the_binary() -> std::ffi::OsString {
    let binary = Path::new(env!("CARGO_BIN_EXE_firebox")).parent().expect("a folder");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(binary.to_owned()).chain(std::env::split_paths(&path));
    std::env::join_paths(paths).expect("a path")
}

/// The folders the section works in, copied so that the tree stays as it is.
fn copy_of_the_guests() -> PathBuf {
    let tree = scratch("readme");
    for folder in ["plugins", "wit", "rust-toolchain.toml"] {
        let target = tree.join(folder);
        drop(std::fs::remove_dir_all(target.join("shout")));
        let copied = Command::new("bash")
            .args(["-c", "tar -C \"$0\" --exclude=target -chf - \"$1\" | tar -C \"$2\" -xf -"])
            .args([root(), Path::new(folder), &tree])
            .status()
            .expect("tar runs");
        assert!(copied.success());
    }
    tree
}

#[test]
fn the_library_example_is_the_one_that_is_tested() {
    let source = include_str!("library.rs");
    let example = source.split("// README example begins\n").nth(1).expect("marked");
    let example = example.split("// README example ends").next().expect("marked").trim();
    assert_eq!(blocks("Use it as a library", "rust").swap_remove(0).trim(), example);
    assert!(example.lines().count() < 50, "{} lines", example.lines().count());
}

#[test]
fn every_verb_and_option_the_readme_names_exists() {
    for verb in ["run", "chat", "serve", "mcp serve", "embed", "devices"] {
        let help = Firebox::new(verb.split(' ').chain(["--help"])).run().expect_code(0).stdout;
        let lines: Vec<String> = blocks("Quick start", "sh").concat().lines().map(str::to_owned).collect();
        let said = lines.iter().filter(|line| line.contains(&format!("firebox {verb}")));
        for option in said.flat_map(|line| line.split_whitespace()).filter(|word| word.starts_with("--")) {
            assert!(help.contains(option), "{verb} has no {option}");
        }
    }
}
