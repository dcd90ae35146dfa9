//! The system's limit on open files. Each connection is an open file.

use firebox_contract::limits;

/// The number of connections, at most `wanted`, that the limit on open files allows. Raises the limit first if the system
/// permits it.
#[cfg(unix)]
#[must_use]
pub fn room_for(wanted: usize) -> usize {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return wanted };
    let needed = wanted.saturating_add(limits::OPEN_FILES_RESERVED) as u64;
    let asked = needed.min(hard).max(soft);
    let files = if asked > soft && setrlimit(Resource::RLIMIT_NOFILE, asked, hard).is_ok() { asked } else { soft };
    within(wanted, files)
}

/// This system has no such limit.
#[cfg(not(unix))]
#[must_use]
pub fn room_for(wanted: usize) -> usize {
    wanted
}

#[cfg(unix)]
fn within(wanted: usize, files: u64) -> usize {
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    // With a very low limit, connections get half of the files.
    let left = files.saturating_sub(limits::OPEN_FILES_RESERVED).max(files / 2);
    wanted.min(left).max(1)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn some_files_are_reserved_for_other_uses() {
        assert_eq!(within(1_024, 1 << 20), 1_024);
        assert_eq!(within(1_024, 1_024), 1_024 - limits::OPEN_FILES_RESERVED);
        assert_eq!(within(1_024, 64), 32);
        assert_eq!(within(8, 0), 1);
        assert!((1..=4).contains(&room_for(4)));
    }
}
