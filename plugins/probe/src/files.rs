//! Reads the preopened folders, and tries to leave and to change them.

use wasip2::filesystem::preopens;
use wasip2::filesystem::types::{Descriptor, DescriptorFlags, OpenFlags, PathFlags};

/// The preopened folders, each with the names in it.
pub(crate) fn list() -> Result<String, String> {
    let mut lines = Vec::new();
    for (folder, name) in preopens::get_directories() {
        let entries = folder.read_directory().map_err(|error| format!("{error:?}"))?;
        let mut names = Vec::new();
        while let Some(entry) = entries.read_directory_entry().map_err(|error| format!("{error:?}"))? {
            names.push(entry.name);
        }
        names.sort();
        lines.push(format!("{name}: {}", names.join(" ")));
    }
    Ok(lines.join("\n"))
}

/// The text of the file at `path` in the first folder. Links are followed.
pub(crate) fn read(path: &str) -> Result<String, String> {
    let file = open(path, OpenFlags::empty(), DescriptorFlags::READ)?;
    let (bytes, _) = file.read(1 << 16, 0).map_err(|error| format!("{error:?}"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Tries every way to change the folder or the file at `path`, and lists the ways that worked.
pub(crate) fn write(path: &str) -> Result<String, String> {
    let (folder, _) = first()?;
    let ways = [
        ("create", open("new", OpenFlags::CREATE, DescriptorFlags::WRITE).is_ok()),
        ("truncate", open(path, OpenFlags::TRUNCATE, DescriptorFlags::WRITE).is_ok()),
        ("open", open(path, OpenFlags::empty(), DescriptorFlags::READ | DescriptorFlags::WRITE).is_ok()),
        ("write", open(path, OpenFlags::empty(), DescriptorFlags::READ)?.write(b"x", 0).is_ok()),
        ("unlink", folder.unlink_file_at(path).is_ok()),
        ("rename", folder.rename_at(path, &folder, "other").is_ok()),
        ("mkdir", folder.create_directory_at("sub").is_ok()),
        ("symlink", folder.symlink_at("/etc/passwd", "link").is_ok()),
        ("link", folder.link_at(PathFlags::empty(), path, &folder, "hard").is_ok()),
    ];
    Ok(ways.iter().filter(|way| way.1).map(|way| way.0).collect::<Vec<_>>().join(" "))
}

fn first() -> Result<(Descriptor, String), String> {
    preopens::get_directories().into_iter().next().ok_or_else(|| "no folder".to_owned())
}

fn open(path: &str, how: OpenFlags, flags: DescriptorFlags) -> Result<Descriptor, String> {
    first()?.0.open_at(PathFlags::SYMLINK_FOLLOW, path, how, flags).map_err(|error| format!("{error:?}"))
}
