use std::fs;

use super::*;

fn key() -> ArtifactKey {
    ArtifactKey::new("c0ffee", 7)
}

fn private() -> (tempfile::TempDir, PathBuf) {
    let above = tempfile::tempdir().expect("a directory");
    let dir = above.path().join("cache");
    (above, dir)
}

#[test]
fn a_written_artifact_can_be_read() {
    let (_above, dir) = private();
    let cache = ArtifactCache::open(&dir).expect("made");
    assert!(cache.find(&key()).expect("nothing wrong").is_none());
    cache.write(&key(), b"code").expect("written");
    let file = cache.find(&key()).expect("nothing wrong").expect("an artifact");
    assert!(fs::read(file.path()).expect("read").starts_with(b"code"));
    assert_eq!(fs::read_dir(&dir).expect("listed").count(), 1, "no temporary file is left");
}

#[test]
fn a_change_of_any_byte_or_of_the_length_is_noticed() {
    let (_above, dir) = private();
    let cache = ArtifactCache::open(&dir).expect("made");
    cache.write(&key(), b"code").expect("written");
    let path = dir.join(&key().0);
    let good = fs::read(&path).expect("read");
    for index in 0..good.len() {
        let mut bad = good.clone();
        bad[index] ^= 1;
        fs::write(&path, bad).expect("changed");
        assert!(cache.find(&key()).is_err(), "byte {index}");
    }
    for length in 0..good.len() {
        fs::write(&path, &good[..length]).expect("cut");
        assert!(cache.find(&key()).is_err(), "length {length}");
    }
}

#[test]
fn an_artifact_under_another_name_is_not_loaded() {
    let (_above, dir) = private();
    let cache = ArtifactCache::open(&dir).expect("made");
    cache.write(&key(), b"code").expect("written");
    let other = ArtifactKey::new("decaf", 7);
    fs::rename(dir.join(&key().0), dir.join(&other.0)).expect("renamed");
    assert!(cache.find(&other).is_err());
}

#[test]
fn the_oldest_artifacts_beyond_the_limit_are_removed() {
    let (_above, dir) = private();
    let cache = ArtifactCache::open(&dir).expect("made");
    for number in 0..limits::PLUGIN_ARTIFACTS_MAX + 3 {
        fs::write(dir.join(format!("{number}.cwasm")), b"old").expect("written");
    }
    cache.write(&key(), b"code").expect("written");
    assert_eq!(fs::read_dir(&dir).expect("listed").count(), limits::PLUGIN_ARTIFACTS_MAX);
}

#[test]
fn a_file_instead_of_the_directory_is_a_warning() {
    let (_above, dir) = private();
    fs::write(&dir, b"not a directory").expect("written");
    assert!(ArtifactCache::open(&dir).is_err_and(|warning| warning.contains("nothing is cached")));
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("mode set");
    }

    #[test]
    fn the_directory_is_created_with_mode_700() {
        let (_above, dir) = private();
        ArtifactCache::open(&dir).expect("made");
        assert_eq!(fs::metadata(&dir).expect("there").permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_directory_open_to_others_is_not_used() {
        let (_above, dir) = private();
        ArtifactCache::open(&dir).expect("made");
        mode(&dir, 0o770);
        assert!(ArtifactCache::open(&dir).is_err_and(|warning| warning.contains("mode 700")));
    }

    #[test]
    fn a_link_is_not_followed() {
        let (above, dir) = private();
        ArtifactCache::open(&dir).expect("made");
        let link = above.path().join("link");
        symlink(&dir, &link).expect("linked");
        assert!(ArtifactCache::open(&link).is_err());

        let cache = ArtifactCache::open(&dir).expect("made");
        cache.write(&key(), b"code").expect("written");
        let elsewhere = above.path().join("elsewhere");
        fs::rename(dir.join(&key().0), &elsewhere).expect("moved");
        symlink(&elsewhere, dir.join(&key().0)).expect("linked");
        assert!(cache.find(&key()).is_err());
    }

    #[test]
    fn what_was_checked_is_loaded_although_another_file_takes_its_place() {
        let (above, dir) = private();
        let cache = ArtifactCache::open(&dir).expect("made");
        cache.write(&key(), b"code").expect("written");
        let found = cache.find(&key()).expect("nothing wrong").expect("an artifact");
        let other = above.path().join("other");
        fs::write(&other, b"evil").expect("written");
        fs::rename(&other, dir.join(&key().0)).expect("exchanged");
        assert!(fs::read(found.path()).expect("read").starts_with(b"code"));
    }

    #[test]
    fn an_artifact_others_can_write_is_not_loaded() {
        let (_above, dir) = private();
        let cache = ArtifactCache::open(&dir).expect("made");
        cache.write(&key(), b"code").expect("written");
        mode(&dir.join(&key().0), 0o666);
        assert!(cache.find(&key()).is_err());
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_a_warning() {
        // Permissions do not stop the superuser, so this path is on a file system that no user can write to.
        assert!(ArtifactCache::open(Path::new("/proc/self/firebox-cache")).is_err());
    }
}
