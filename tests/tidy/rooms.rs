//! Sizes of folders, so that the repository stays easy to find one's way in.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{files, report};

/// Entries of one folder of sources. A module `name.rs` and its folder `name/` count once.
const FOLDER_SIZE_MAX: usize = 12;

#[test]
fn folders_of_sources_are_small() {
    let mut folders: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for name in files().iter().filter(|name| name.ends_with(".rs") && name.contains("src/")) {
        let mut path = Path::new(name);
        while let Some(folder) =
            path.parent().filter(|folder| folder.components().any(|part| part.as_os_str() == "src"))
        {
            let entry = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            // The roots of a crate belong to no room.
            if ["lib", "main", "bin"].contains(&entry.as_str()) {
                path = folder;
                continue;
            }
            folders.entry(folder.display().to_string()).or_default().insert(entry);
            path = folder;
        }
    }
    let large = folders.iter().filter(|(_, entries)| entries.len() > FOLDER_SIZE_MAX);
    let large: Vec<String> = large.map(|(folder, entries)| format!("{folder} has {}", entries.len())).collect();
    report(&format!("a folder of sources has at most {FOLDER_SIZE_MAX} entries"), &large);
}
