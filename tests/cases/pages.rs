//! Runs the examples of the pages. The command blocks of a page run in order, in one shell and one empty folder; configurations
//! pass `firebox config check`, and JSON parses. Comments on the line above a block change that:
//!
//! - `<!-- not run: REASON -->`: the block is not run.
//! - `<!-- new folder -->`: this block and the next ones run in a new shell and an empty folder.
//! - `<!-- in a clone -->`: the same, in a folder with the plugins and interfaces of the repository.
//! - `<!-- output varies -->`: the output below the block is not compared.
//! - `<!-- numbers vary -->`: the output is compared without its numbers and ids.
//!
//! A `text` block below a command block is its standard output. A `json` block is an answer of the same shape.

mod blocks;
mod shape;
mod shell;

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use blocks::{Block, Session, blocks, sessions};

use crate::harness::{Firebox, root, scratch};

/// Command blocks that may be marked as not run, on all pages.
const NOT_RUN_MAX: usize = 40;
/// Sessions that run at the same time.
const PARALLEL: usize = 2;

/// The pages with examples, by their path in the repository.
fn pages() -> Vec<(String, String)> {
    let mut pages = Vec::new();
    for file in ["README.md", "CONTRIBUTING.md", "plugins/sdk/README.md"] {
        if let Ok(text) = std::fs::read_to_string(root().join(file)) {
            pages.push((file.to_owned(), text));
        }
    }
    let mut folders = vec![root().join("specifications")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("readable").path();
            let name = path.strip_prefix(root()).expect("below the root").display().to_string();
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(".md") {
                pages.push((name, std::fs::read_to_string(&path).expect("readable")));
            }
        }
    }
    pages.sort();
    assert!(pages.len() > 10, "{} pages", pages.len());
    pages
}

fn all_blocks() -> Vec<(String, Block)> {
    let of_page = |(page, text): (String, String)| blocks(&text).into_iter().map(move |block| (page.clone(), block));
    pages().into_iter().flat_map(of_page).collect()
}

#[test]
fn every_command_block_runs() {
    let all: Vec<(String, Session)> = pages()
        .iter()
        .flat_map(|(page, text)| sessions(&blocks(text)).into_iter().map(|one| (page.clone(), one)))
        .collect();
    assert!(!all.is_empty(), "the pages have command blocks");
    let (queue, failures) = (Mutex::new(all), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..PARALLEL {
            scope.spawn(|| {
                loop {
                    let Some((page, session)) = queue.lock().expect("no panic").pop() else { break };
                    let failed = shell::run(&page, &session);
                    failures.lock().expect("no panic").extend(failed.err());
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no panic");
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn blocks_that_are_not_run_state_a_reason() {
    let blocks = all_blocks();
    let unrun: Vec<String> = blocks
        .iter()
        .filter_map(|(page, block)| block.not_run().map(|reason| format!("{page}:{}: {reason}", block.line)))
        .collect();
    assert!(unrun.iter().all(|line| !line.ends_with(": ")), "{unrun:#?}");
    assert!(unrun.len() <= NOT_RUN_MAX, "{} blocks are not run, at most {NOT_RUN_MAX} may be: {unrun:#?}", unrun.len());
}

#[test]
fn every_configuration_is_valid() {
    let mut failures = Vec::new();
    for (page, block) in all_blocks().iter().filter(|(_, block)| block.language == "toml" && block.not_run().is_none())
    {
        if let Err(error) = block.text.parse::<toml::Table>() {
            failures.push(format!("{page}:{}: {error}", block.line));
        } else if is_configuration(&block.text) {
            failures.extend(check(&block.text).err().map(|error| format!("{page}:{}: {error}", block.line)));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Whether the block is a configuration of the host, and not a manifest.
fn is_configuration(text: &str) -> bool {
    let tables = [
        "[server]",
        "[[model]]",
        "[[plugin]]",
        "[[mcp.server]]",
        "[sessions]",
        "[audit]",
        "[tools]",
        "[hub]",
        "[[tenant]]",
    ];
    text.lines().any(|line| tables.contains(&line.trim()))
}

/// Runs `firebox config check`. A file, folder or variable of the reader's own machine may be missing.
fn check(text: &str) -> Result<(), String> {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("firebox.toml"), text).expect("writable");
    let run = Firebox::new(["config", "check"]).current_dir(folder.path()).run();
    let missing = ["there is no file or folder", "is neither a component", "is not set", "cannot be read"];
    let is_problem = |line: &&str| line.contains("firebox.toml:") && !line.contains("warning");
    let (of_the_machine, others): (Vec<&str>, Vec<&str>) =
        run.stderr.lines().filter(is_problem).partition(|line| missing.iter().any(|known| line.contains(known)));
    let is_valid = run.code == Some(0) || (others.is_empty() && !of_the_machine.is_empty());
    if is_valid { Ok(()) } else { Err(run.stderr) }
}

#[test]
fn every_json_example_parses() {
    let blocks = all_blocks();
    let json = blocks.iter().filter(|(_, block)| block.language == "json" && block.not_run().is_none());
    let wrong: Vec<String> = json
        .filter_map(|(page, block)| {
            let error = serde_json::from_str::<serde_json::Value>(&block.text).err()?;
            Some(format!("{page}:{}: {error}", block.line))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_command_block_names_its_language() {
    let commands = ["firebox ", "curl ", "cargo ", "$ "];
    let bare = all_blocks().into_iter().filter(|(_, block)| block.language.is_empty() || block.language == "text");
    let unmarked = bare.filter(|(_, block)| commands.iter().any(|command| block.text.starts_with(command)));
    let unmarked: Vec<String> = unmarked.map(|(page, block)| format!("{page}:{}", block.line)).collect();
    assert!(unmarked.is_empty(), "command blocks without the language sh: {unmarked:?}");
}

/// A folder with the plugins and interfaces of the repository. It stays, so that the next run does not build everything again.
fn copy_of_the_plugins(page: &str) -> PathBuf {
    let target = scratch("pages").join(page.replace('/', "-"));
    drop(std::fs::remove_dir_all(target.join("plugins/shout")));
    std::fs::create_dir_all(&target).expect("writable");
    for folder in ["plugins", "wit", "rust-toolchain.toml"] {
        let copied = std::process::Command::new("bash")
            .args(["-c", "tar -C \"$0\" --exclude=target -chf - \"$1\" | tar -C \"$2\" -xf -"])
            .args([root(), Path::new(folder), &target])
            .status()
            .expect("tar runs");
        assert!(copied.success());
    }
    target
}
