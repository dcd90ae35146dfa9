//! Sizes of folders and of one subsystem, so that the repository stays easy to find one's way in.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{LIMITS, files, read, report, sources};

/// Entries of one folder of sources. A module `name.rs` and its folder `name/` count once.
const FOLDER_SIZE_MAX: usize = 12;
/// Lines of product code that share the CPU between models and plugins.
const CPU_LINES_MAX: usize = 700;
/// Constants in the section "Sharing the CPU" of the limits.
const CPU_LIMITS_MAX: usize = 12;
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

#[test]
fn sharing_the_cpu_stays_small() {
    let own = ["host/cpu/src/", "host/sandbox/src/background"];
    let product = own.iter().flat_map(|folder| sources(folder)).filter(|source| !source.is_test());
    let lines: usize = product.map(|source| source.product_lines()).sum();
    assert!(lines > 0 && lines <= CPU_LINES_MAX, "{} have {lines} lines, at most {CPU_LINES_MAX}", own.join(" and "));
    let text = read(&format!("{LIMITS}/sharing.rs"));
    let section = text.split("// ---- ").find(|section| section.starts_with("Sharing the CPU")).expect("the section");
    let constants = section.matches("\npub const ").count();
    assert!(constants <= CPU_LIMITS_MAX, "\"Sharing the CPU\" has {constants} constants, at most {CPU_LIMITS_MAX}");
}
