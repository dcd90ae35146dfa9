//! The pages that people read: their links lead somewhere, and the files and functions they name exist.

use std::path::{Component, Path, PathBuf};

use super::{ROOT, files, read, report};

/// Folders of the repository that a page names files of.
const FOLDERS: &[&str] = &["benches/", "host/", "plugins/", "specifications/", "tests/", "wit/"];

/// Pages that follow one request through the code, stop by stop.
const WALKS: &[&str] = &["specifications/architecture/run.md", "specifications/architecture/tool-call.md"];
/// Stops of one walk.
const STOPS_MAX: usize = 12;

fn pages() -> Vec<(String, String)> {
    let all = files().into_iter().filter(|name| name.ends_with(".md") && !name.contains("/recipe/"));
    all.map(|name| (read(&name), name)).map(|(text, name)| (name, text)).collect()
}

/// The lines of `text` outside of fenced blocks, counted from 1.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut fenced = false;
    let outside = move |line: &str| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fence && !fenced
    };
    let mut outside = outside;
    text.lines().enumerate().filter(|(_, line)| outside(line)).map(|(at, line)| (at + 1, line)).collect()
}

/// The targets of the links `[text](target)` of a line.
fn links(line: &str) -> Vec<&str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect()
}

/// What stands between backticks in a line.
fn code(line: &str) -> Vec<&str> {
    line.split('`').skip(1).step_by(2).collect()
}

/// The anchor that GitHub gives a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn headings(text: &str) -> Vec<String> {
    let lines = prose(text).into_iter().filter(|(_, line)| line.starts_with('#'));
    lines.map(|(_, line)| anchor(line.trim_start_matches('#'))).collect()
}

/// `path` without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(normal.pop()),
            Component::CurDir => {}
            part => normal.push(part),
        }
    }
    normal
}

#[test]
fn every_relative_link_of_a_page_leads_to_a_file_and_a_heading() {
    let mut findings = Vec::new();
    for (name, text) in pages() {
        let folder = Path::new(&name).parent().map(Path::to_owned).unwrap_or_default();
        for (line, target) in
            prose(&text).into_iter().flat_map(|(at, line)| links(line).into_iter().map(move |t| (at, t)))
        {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (path, heading) = target.split_once('#').unwrap_or((target, ""));
            let path = if path.is_empty() { PathBuf::from(&name) } else { normal(&folder.join(path)) };
            let full = Path::new(ROOT).join(&path);
            let found = heading.is_empty()
                || std::fs::read_to_string(&full)
                    .is_ok_and(|text| headings(&text).iter().any(|known| known == heading));
            if !full.exists() || !found {
                findings.push(format!("{name}:{line}: {target}"));
            }
        }
    }
    report("every relative link leads to a file and a heading of it", &findings);
}

#[test]
fn every_file_that_a_page_names_exists() {
    let mut findings = Vec::new();
    for (name, text) in pages() {
        for (line, word) in prose(&text).into_iter().flat_map(|(at, line)| code(line).into_iter().map(move |w| (at, w)))
        {
            let is_path =
                FOLDERS.iter().any(|folder| word.starts_with(folder)) && !word.contains(['<', '*', ' ', '{', '$']);
            let made = word.contains("/target/") || word.starts_with("plugins/shout");
            if is_path && !made && !Path::new(ROOT).join(word).exists() {
                findings.push(format!("{name}:{line}: {word}"));
            }
        }
    }
    report("every file that a page names exists", &findings);
}

/// The stops of a walk: file and function.
fn stops(text: &str) -> Vec<(&str, &str)> {
    let rows =
        text.lines().filter(|line| line.starts_with("| ") && line[2..].starts_with(|c: char| c.is_ascii_digit()));
    rows.filter_map(|row| match code(row)[..] {
        [file, function, ..] => Some((file, function)),
        _ => None,
    })
    .collect()
}

#[test]
fn every_stop_of_a_walk_is_a_function_that_exists() {
    let mut findings = Vec::new();
    for page in WALKS {
        let text = read(page);
        let stops = stops(&text);
        if stops.len() < 6 || stops.len() > STOPS_MAX {
            findings.push(format!("{page} has {} stops; a walk has 6 to {STOPS_MAX}", stops.len()));
        }
        for (file, function) in stops {
            let defines =
                |text: String| text.contains(&format!("fn {function}(")) || text.contains(&format!("fn {function}<"));
            if !std::fs::read_to_string(Path::new(ROOT).join(file)).is_ok_and(defines) {
                findings.push(format!("{page}: {file} has no function {function}"));
            }
        }
    }
    report("every stop of a walk is a function that exists", &findings);
}

#[test]
fn the_anchors_of_headings_are_those_of_github() {
    for (heading, expected) in
        [("Reload, backup, upgrade", "reload-backup-upgrade"), ("`[server]` keys", "server-keys")]
    {
        assert_eq!(anchor(heading), expected);
    }
    assert_eq!(links("see [a](b.md) and [c](../d.md#e)"), ["b.md", "../d.md#e"]);
    assert_eq!(prose("a\n```sh\nb\n```\nc"), [(1, "a"), (5, "c")]);
    assert_eq!(stops("| stop |\n| 1 | `a.rs` | `b` | uses `c` |"), [("a.rs", "b")]);
}
