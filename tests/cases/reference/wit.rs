//! The page of the WIT interfaces, from the files of `wit/`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::check;
use crate::harness::root;

/// The WIT files of a folder, in the order of their names.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("readable").path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == "wit")).collect();
    files.sort();
    files
}

#[test]
fn the_page_of_interfaces_shows_every_wit_file() {
    let mut page = "# WIT interfaces\n\nGenerated from `wit/`, the interfaces between plugins and the host. Bindings of every language \
                    are made from\nthese files. [Plugin contract](plugins.md) says when the host calls what, and what a call may use.\n"
        .to_owned();
    for (version, folder) in [("0.1.0", "wit"), ("0.2.0", "wit/v0.2")] {
        write!(page, "\n## firebox:plugin@{version}\n").expect("a string");
        for path in files(&root().join(folder)) {
            let text = std::fs::read_to_string(&path).expect("readable");
            let package = format!("package firebox:plugin@{version};\n");
            assert!(text.contains(&package), "{}", path.display());
            let body = text.replace(&package, "");
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            write!(page, "\n### {name}\n\n```wit\n{}\n```\n", body.trim()).expect("a string");
        }
    }
    check("wit.md", &page);
}
