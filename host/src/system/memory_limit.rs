//! The memory limit of this process: the lowest of its control group, its own limits and the machine.

use std::path::{Path, PathBuf};

/// The memory limit of this process in bytes; `None` if the system does not report one.
#[must_use]
pub fn memory_limit() -> Option<u64> {
    let limits =
        [cgroup_limit(Path::new("/proc/self/cgroup"), Path::new("/sys/fs/cgroup")), address_space(), physical()];
    limits.into_iter().flatten().min()
}

/// The lowest `memory.max` (version 2) or `memory.limit_in_bytes` (version 1) of the process's control group and its parents.
fn cgroup_limit(groups: &Path, mount: &Path) -> Option<u64> {
    let groups = std::fs::read_to_string(groups).ok()?;
    let limits = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let (root, file) = match controllers {
            "" => (mount.to_owned(), "memory.max"),
            list if list.split(',').any(|name| name == "memory") => (mount.join("memory"), "memory.limit_in_bytes"),
            _ => return None,
        };
        // In a container the path may be that of the host. Then the mount itself is the group.
        let group = root.join(path.trim_start_matches('/'));
        above(&group, &root).filter_map(|folder| number(&folder.join(file))).min()
    });
    limits.min()
}

/// `group` and every folder above it up to `root`.
fn above<'a>(group: &'a Path, root: &'a Path) -> impl Iterator<Item = PathBuf> + 'a {
    group.ancestors().take_while(move |folder| folder.starts_with(root)).map(Path::to_owned)
}

/// The number in a file. "No limit" is the word `max`, which is no number, or a number larger than any machine's memory.
fn number(file: &Path) -> Option<u64> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// The limit of `ulimit -v`, from `/proc`.
fn address_space() -> Option<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The memory of the machine.
fn physical() -> Option<u64> {
    let memory = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(rows: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("temporary directory");
        for (path, text) in rows {
            let file = folder.path().join(path);
            std::fs::create_dir_all(file.parent().expect("a folder")).expect("writable");
            std::fs::write(file, text).expect("writable");
        }
        folder
    }

    fn limit(rows: &[(&str, &str)]) -> Option<u64> {
        let folder = files(rows);
        cgroup_limit(&folder.path().join("groups"), &folder.path().join("mount"))
    }

    #[test]
    fn the_lowest_limit_of_a_group_and_its_parents_counts() {
        let version_2 = [
            ("groups", "0::/slice/service\n"),
            ("mount/slice/service/memory.max", "max\n"),
            ("mount/slice/memory.max", "536870912\n"),
        ];
        assert_eq!(limit(&version_2), Some(512 << 20));
        let version_1 = [
            ("groups", "5:cpu,cpuacct:/x\n4:memory:/docker/abc\n"),
            ("mount/memory/docker/abc/memory.limit_in_bytes", "268435456\n"),
            ("mount/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ];
        assert_eq!(limit(&version_1), Some(256 << 20));
        let container = [("groups", "0::/host/path\n"), ("mount/memory.max", "1073741824\n")];
        assert_eq!(limit(&container), Some(1 << 30), "the path is the host's, the mount the container's");
        assert_eq!(limit(&[("groups", "0::/\n"), ("mount/memory.max", "max\n")]), None);
        assert_eq!(limit(&[]), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn linux_reports_a_limit() {
        assert!(memory_limit().expect("it tells") >= 64 << 20);
    }
}
