use std::fs;
use std::path::PathBuf;

use firebox_sdk::Tool;

use super::*;

/// A folder with some files, for the test `name`.
fn place(name: &str) -> PathBuf {
    let place = std::env::temp_dir().join(format!("firebox-files-{}-{name}", std::process::id()));
    fs::create_dir_all(place.join("reports/2026")).unwrap();
    fs::write(place.join("notes.txt"), "first line\nSecond LINE\n").unwrap();
    fs::write(place.join("reports/2026/june.txt"), "nothing\nthe line of june\n").unwrap();
    fs::write(place.join("picture.png"), b"\x89PNG\0\xff").unwrap();
    folder::PLACE.set(Some(place.clone()));
    place
}

fn call(tool: &str, arguments: &str) -> String {
    Files.call(tool, arguments).to_text()
}

#[test]
fn files_are_listed_read_and_searched() {
    let place = place("plain");
    assert_eq!(call("list_files", "{}"), "notes.txt (23 bytes)\npicture.png (6 bytes)\nreports/");
    assert_eq!(call("list_files", r#"{"path": "./reports//2026/"}"#), "june.txt (25 bytes)");
    assert_eq!(call("read_file", r#"{"path": "notes.txt"}"#), "first line\nSecond LINE\n");
    assert_eq!(call("read_file", r#"{"path": "notes.txt", "line": 2}"#), "Second LINE\n");
    let found = "notes.txt:1: first line\nnotes.txt:2: Second LINE\nreports/2026/june.txt:2: the line of june";
    assert_eq!(call("search_files", r#"{"text": "Line"}"#), found);
    assert_eq!(call("search_files", r#"{"text": "line", "path": "reports"}"#), found.lines().last().unwrap());
    assert_eq!(call("search_files", r#"{"text": "line", "path": "notes.txt"}"#).lines().count(), 2);
    assert_eq!(call("search_files", r#"{"text": "absent"}"#), "nothing was found in 3 files");
    fs::remove_dir_all(place).unwrap();
}

#[test]
fn what_cannot_be_read_is_named_and_no_path_leads_out() {
    let place = place("wrong");
    for (tool, arguments, expected) in [
        ("read_file", r#"{"path": "absent.txt"}"#, "there is no \"absent.txt\""),
        ("read_file", r#"{"path": "picture.png"}"#, "\"picture.png\" is not a text file"),
        ("read_file", r#"{"path": "notes.txt", "line": 9}"#, "\"notes.txt\" has 2 lines"),
        ("read_file", r#"{"path": "notes.txt", "line": 0}"#, "must be a line number"),
        ("read_file", r#"{"path": "../secret"}"#, "\"../secret\" is not in the folder"),
        ("list_files", r#"{"path": "reports/../.."}"#, "is not in the folder"),
        ("search_files", r#"{"text": "x", "path": "absent"}"#, "there is no \"absent\""),
        ("write_file", "{}", "no tool \"write_file\""),
    ] {
        let answer = call(tool, arguments);
        assert!(answer.starts_with("error: ") && answer.contains(expected), "{answer}");
    }
    fs::remove_dir_all(&place).unwrap();
    folder::PLACE.set(None);
    assert!(call("list_files", "{}").contains("no folder was granted"));
}

#[test]
fn a_long_file_comes_in_parts_and_a_large_one_is_refused() {
    let place = place("long");
    let lines: Vec<String> = (1..=5_000).map(|n| format!("line {n}")).collect();
    fs::write(place.join("long.txt"), lines.join("\n")).unwrap();
    let (mut next, mut seen) = (1, 0);
    loop {
        let part = call("read_file", &format!(r#"{{"path": "long.txt", "line": {next}}}"#));
        seen += part.lines().filter(|line| line.starts_with("line ")).count();
        assert!(part.len() < PART_BYTES_MAX + 100);
        let Some((_, more)) = part.rsplit_once("from line ") else { break };
        next = more.trim_end_matches(']').parse().unwrap();
    }
    assert_eq!(seen, 5_000);
    fs::write(place.join("large.txt"), vec![b'x'; FILE_BYTES_MAX + 1]).unwrap();
    assert!(call("read_file", r#"{"path": "large.txt"}"#).contains("has more than"));
    assert!(call("search_files", r#"{"text": "zzz"}"#).contains("1 files or folders were left out"));
    fs::remove_dir_all(place).unwrap();
}
