//! Tools for the model that list, read and search the text files of one folder, which the operator grants for reading:
//! `files:folder=PATH`. Nothing can be written, and no path leads out of the folder.

mod folder;

use firebox_sdk::{Arguments, Definition, Outcome, Plugin, Tool};

use folder::{Entry, Folder, Kind};

/// Entries that `list_files` shows at most.
const LISTED_MAX: usize = 200;
/// Bytes of a part of a file that `read_file` returns at most, so that a model can read it.
const PART_BYTES_MAX: usize = 16 << 10;
/// Bytes of a file that is read or searched at most.
const FILE_BYTES_MAX: usize = 4 << 20;
/// Files that `search_files` reads at most.
const SEARCHED_MAX: usize = 1_000;
/// Lines that `search_files` shows at most.
const FOUND_MAX: usize = 50;
/// Characters of a line that `search_files` shows at most.
const LINE_CHARACTERS_MAX: usize = 200;
/// Folders below each other that are searched at most.
const DEPTH_MAX: usize = 16;

const LIST_SCHEMA: &str = r#"{"type":"object","properties":{"path":{"type":"string","description":"A folder, such as reports/2026. The default is the whole folder."}},"additionalProperties":false}"#;
const READ_SCHEMA: &str = r#"{"type":"object","properties":{"path":{"type":"string","description":"The file, such as reports/june.txt."},"line":{"type":"integer","minimum":1,"description":"The first line to read. The default is 1."}},"required":["path"],"additionalProperties":false}"#;
const SEARCH_SCHEMA: &str = r#"{"type":"object","properties":{"text":{"type":"string","minLength":1,"description":"The text to find, in upper or lower case."},"path":{"type":"string","description":"A folder or a file. The default is the whole folder."}},"required":["text"],"additionalProperties":false}"#;

struct Files;

impl Plugin for Files {
    const DESCRIPTION: &'static str = "Tools for the model that read the text files of one folder.";

    fn init(config_json: &str) -> Result<Self, String> {
        Arguments::parse_config(config_json)?.only(&[])?;
        Ok(Self)
    }
}

impl Tool for Files {
    fn definitions(&self) -> Vec<Definition> {
        vec![
            Definition::pure("list_files", "Lists the files and folders in a folder.", LIST_SCHEMA),
            Definition::pure("read_file", "Reads a text file, from a line on.", READ_SCHEMA),
            Definition::pure("search_files", "Finds the lines of all text files with a text in them.", SEARCH_SCHEMA),
        ]
    }

    fn call(&mut self, name: &str, arguments_json: &str) -> Outcome {
        let run = match name {
            "list_files" => list,
            "read_file" => read,
            "search_files" => search,
            _ => return Outcome::unknown_tool(name),
        };
        let call = |given: Arguments| run(&Folder::open()?, &given);
        Outcome::from(Arguments::parse(arguments_json).and_then(call))
    }
}

/// The path of an argument, relative to the folder and without `.`; the empty path is the folder itself.
fn path(given: &Arguments) -> Result<String, String> {
    let path = if given.get("path").is_some() { given.text("path")? } else { String::new() };
    let mut parts = Vec::new();
    for part in path.split('/').filter(|part| !matches!(*part, "" | ".")) {
        if part == ".." || part.chars().any(char::is_control) {
            return Err(format!("the path \"{}\" is not in the folder", path.escape_debug()));
        }
        parts.push(part);
    }
    Ok(parts.join("/"))
}

fn list(folder: &Folder, given: &Arguments) -> Result<String, String> {
    let path = path(given)?;
    let entries = folder.entries(&path)?;
    let shown = |entry: &Entry| match entry.kind {
        Kind::Folder => format!("{}/", entry.name),
        Kind::File => format!("{} ({} bytes)", entry.name, entry.bytes),
    };
    let lines: Vec<String> = entries.iter().take(LISTED_MAX).map(shown).collect();
    Ok(match (lines.is_empty(), entries.len() > LISTED_MAX) {
        (true, _) => "the folder is empty".to_owned(),
        (false, false) => lines.join("\n"),
        (false, true) => format!("{}\nand {} more", lines.join("\n"), entries.len() - LISTED_MAX),
    })
}

fn read(folder: &Folder, given: &Arguments) -> Result<String, String> {
    let path = path(given)?;
    let first: usize = match given.get("line") {
        None => 1,
        Some(number) => {
            number.parse().ok().filter(|line| *line > 0).ok_or("argument \"line\" must be a line number")?
        }
    };
    let text = text(folder.read(&path, FILE_BYTES_MAX)?, &path)?;
    let all: Vec<&str> = text.lines().collect();
    if first > all.len().max(1) {
        return Err(format!("\"{path}\" has {} lines", all.len()));
    }
    let mut part = String::new();
    for (index, line) in all.iter().enumerate().skip(first - 1) {
        if part.len() + line.len() > PART_BYTES_MAX && !part.is_empty() {
            part.push_str(&format!("[cut: {} lines in all; read on from line {}]", all.len(), index + 1));
            return Ok(part);
        }
        part.push_str(&line[..line.floor_char_boundary(PART_BYTES_MAX)]);
        part.push('\n');
    }
    Ok(if part.is_empty() { "the file is empty".to_owned() } else { part })
}

/// # Errors
/// The file is not text.
fn text(bytes: Vec<u8>, path: &str) -> Result<String, String> {
    match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text),
        _ => Err(format!("\"{path}\" is not a text file")),
    }
}

fn search(folder: &Folder, given: &Arguments) -> Result<String, String> {
    let (wanted, path) = (given.text("text")?.to_lowercase(), path(given)?);
    let mut search = Search { folder, wanted, found: Vec::new(), read: 0, left_out: 0 };
    match folder.entries(&path) {
        Ok(entries) => search.entries(&path, entries, 0),
        Err(_) => search.file(&path)?,
    }
    let mut lines = search.found;
    if lines.len() > FOUND_MAX {
        lines.truncate(FOUND_MAX);
        lines.push("and more".to_owned());
    }
    if lines.is_empty() {
        lines.push(format!("nothing was found in {} files", search.read));
    }
    if search.left_out > 0 {
        lines.push(format!("{} files or folders were left out: too many, too large, or too deep", search.left_out));
    }
    Ok(lines.join("\n"))
}

struct Search<'a> {
    folder: &'a Folder,
    wanted: String,
    found: Vec<String>,
    read: usize,
    left_out: usize,
}

impl Search<'_> {
    fn entries(&mut self, path: &str, entries: Vec<Entry>, depth: usize) {
        for entry in entries {
            let below = if path.is_empty() { entry.name } else { format!("{path}/{}", entry.name) };
            match entry.kind {
                _ if self.found.len() > FOUND_MAX => return,
                Kind::Folder if depth < DEPTH_MAX => match self.folder.entries(&below) {
                    Ok(inner) => self.entries(&below, inner, depth + 1),
                    Err(_) => self.left_out += 1,
                },
                Kind::File if self.read < SEARCHED_MAX && entry.bytes <= FILE_BYTES_MAX as u64 => {
                    // A file that is not text has no lines.
                    let _no_text = self.file(&below);
                }
                _ => self.left_out += 1,
            }
        }
    }

    fn file(&mut self, path: &str) -> Result<(), String> {
        self.read += 1;
        let text = text(self.folder.read(path, FILE_BYTES_MAX)?, path)?;
        for (index, line) in text.lines().enumerate().filter(|(_, line)| line.to_lowercase().contains(&self.wanted)) {
            let shown: String = line.trim().chars().take(LINE_CHARACTERS_MAX).collect();
            self.found.push(format!("{path}:{}: {shown}", index + 1));
            if self.found.len() > FOUND_MAX {
                break;
            }
        }
        Ok(())
    }
}

firebox_sdk::plugin!(Files: tool);

#[cfg(test)]
mod tests;
