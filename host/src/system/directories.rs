//! The user's directories for data and caches.

use std::path::PathBuf;

/// The directory for files that cannot be made again: `$FIREBOX_DATA`, else `firebox` in the user's data directory.
/// `None` if there is neither.
#[must_use]
pub fn data_dir() -> Option<PathBuf> {
    path_of("FIREBOX_DATA")
        .or_else(|| path_of("XDG_DATA_HOME").map(|path| path.join("firebox")))
        .or_else(|| path_of("LOCALAPPDATA").map(|path| path.join("firebox").join("data")))
        .or_else(|| path_of("HOME").map(|path| path.join(".local").join("share").join("firebox")))
}

/// The directory `kind` for files that can be made again, below `$FIREBOX_CACHE`, else below `firebox` in the user's cache
/// directory. `None` if there is neither; then nothing is cached.
#[must_use]
pub fn cache_dir(kind: &str) -> Option<PathBuf> {
    let base = path_of("FIREBOX_CACHE")
        .or_else(|| path_of("XDG_CACHE_HOME").map(|path| path.join("firebox")))
        .or_else(|| path_of("LOCALAPPDATA").map(|path| path.join("firebox").join("cache")))
        .or_else(|| path_of("HOME").map(|path| path.join(".cache").join("firebox")))?;
    Some(base.join(kind))
}

/// The value of an environment variable that is set and not empty.
fn path_of(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}
