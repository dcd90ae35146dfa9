//! The cache without a hub: its layout, its list, and what may be removed.

use std::time::{Duration, SystemTime};

use super::*;
use crate::Contents;
use crate::name::ModelName;

const COMMIT: &str = "1111111111111111111111111111111111111111";
const OLD: &str = "2222222222222222222222222222222222222222";
/// `printf hello | sha256sum`, and of `world`.
const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
const WORLD: &str = "486ea46224d1bb4fb680f34f7c9ad96a8f24ec88be73ea8e5a6c65260e9cb8a7";

fn name(text: &str) -> ModelName {
    text.parse().expect("a name")
}

/// Adds a file to the cache, and sets its last use to so many seconds ago.
fn add(cache: &Cache, model: &str, commit: &str, path: &str, (tag, bytes): (&str, &str), seconds: u64) {
    let repo = name(model).repo;
    let blob = cache.blob(&repo, tag);
    fs::create_dir_all(blob.parent().expect("a folder")).expect("writable");
    fs::write(&blob, bytes).expect("writable");
    cache.link(&repo, commit, path, tag).expect("linked");
    let used = SystemTime::now() - Duration::from_secs(seconds);
    let file = fs::File::open(&blob).expect("readable");
    file.set_times(fs::FileTimes::new().set_accessed(used)).expect("own file");
}

fn folder() -> (tempfile::TempDir, Cache) {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = Cache::new(folder.path().join("hub"));
    (folder, cache)
}

fn listed(cache: &Cache) -> Vec<String> {
    cache.models().expect("readable").iter().map(|model| model.name().to_string()).collect()
}

#[cfg(unix)]
#[test]
fn the_layout_is_that_of_hugging_faces_tools() {
    let (_folder, cache) = folder();
    add(&cache, "o/m", COMMIT, "1_Pooling/config.json", (HELLO, "hello"), 0);
    let repo = name("o/m").repo;
    cache.write_ref(&repo, "refs/pr/1", COMMIT).expect("written");
    let root = cache.root().join("models--o--m");
    let link = root.join("snapshots").join(COMMIT).join("1_Pooling/config.json");
    assert_eq!(fs::read_link(&link).expect("a link"), Path::new("../../../blobs").join(HELLO));
    assert_eq!(fs::read_to_string(&link).expect("leads to the blob"), "hello");
    assert_eq!(fs::read_to_string(root.join("refs/refs/pr/1")).expect("there"), COMMIT);
    cache.link(&repo, COMMIT, "1_Pooling/config.json", WORLD).expect("replaced");
    assert_eq!(fs::read_link(&link).expect("a link"), Path::new("../../../blobs").join(WORLD));
}

#[test]
fn revisions_are_refs_commits_and_short_commits() {
    let (_folder, cache) = folder();
    add(&cache, "o/m", COMMIT, "a", (HELLO, "hello"), 0);
    let repo = name("o/m").repo;
    cache.write_ref(&repo, "main", COMMIT).expect("written");
    for revision in ["main", COMMIT, &COMMIT[..7]] {
        assert_eq!(cache.commit(&repo, revision).as_deref(), Some(COMMIT), "{revision}");
    }
    for revision in ["v1", &COMMIT[..6], "3333333"] {
        assert_eq!(cache.commit(&repo, revision), None, "{revision}");
    }
    add(&cache, "o/m", "1111111000000000000000000000000000000000", "a", (HELLO, "hello"), 0);
    assert_eq!(cache.commit(&repo, &COMMIT[..7]), None, "two commits begin so");
    fs::write(cache.repo(&repo).join("refs/main"), "../../elsewhere").expect("writable");
    assert_eq!(cache.commit(&repo, "main"), None, "a commit is no path");
}

#[test]
fn the_list_has_a_model_for_each_quantization_and_folder() {
    let (_folder, cache) = folder();
    assert_eq!(listed(&cache), Vec::<String>::new(), "no folder is an empty cache");
    for (path, tag) in [("m-Q8_0.gguf", HELLO), ("m-Q4_0.gguf", WORLD), ("README.md", "r")] {
        add(&cache, "o/m", COMMIT, path, (tag, "12345"), 0);
    }
    cache.write_ref(&name("o/m").repo, "main", COMMIT).expect("written");
    for path in ["config.json", "model.safetensors", "tokenizer.json"] {
        add(&cache, "o/s", OLD, path, (path, "123"), 0);
    }
    fs::create_dir_all(cache.root().join("datasets--o--d/snapshots/x")).expect("writable");
    assert_eq!(listed(&cache), ["o/m:Q4_0", "o/m:Q8_0", "o/m", "o/s@222222222222:safetensors"]);
    let models = cache.models().expect("readable");
    assert_eq!(
        (models[3].bytes, &models[3].contents, models[2].contents == Contents::Other),
        (9, &Contents::Safetensors, true)
    );
    assert!(models[0].path.ends_with("m-Q4_0.gguf") && models[3].path.ends_with(OLD));
    for text in listed(&cache) {
        assert!(!cache.matching(&name(&text)).expect(&text).is_empty(), "{text} finds it");
    }
}

#[test]
fn only_complete_models_are_found() {
    let (_folder, cache) = folder();
    add(&cache, "o/m", COMMIT, "m-Q8_0-00001-of-00002.gguf", (HELLO, "hello"), 0);
    cache.write_ref(&name("o/m").repo, "main", COMMIT).expect("written");
    assert!(cache.find(&name("o/m:Q8_0")).is_err_and(|why| why.contains("only 1")));
    add(&cache, "o/m", COMMIT, "m-Q8_0-00002-of-00002.gguf", (WORLD, "world"), 0);
    assert_eq!(cache.find(&name("o/m")).expect("whole").1.files.len(), 2);
    fs::remove_file(cache.blob(&name("o/m").repo, WORLD)).expect("there");
    assert!(cache.find(&name("o/m")).is_err(), "a link without a blob is no file");
    assert!(cache.find(&name("o/m@v2")).is_err_and(|why| why.contains("v2")));
    for path in ["config.json", "model.safetensors"] {
        add(&cache, "o/s", COMMIT, path, (path, "x"), 0);
    }
    cache.write_ref(&name("o/s").repo, "main", COMMIT).expect("written");
    assert!(cache.find(&name("o/s")).is_err_and(|why| why.contains("tokenizer.json")));
}

#[test]
fn removal_keeps_blobs_of_other_snapshots() {
    let (_folder, cache) = folder();
    add(&cache, "o/m", OLD, "m-Q8_0.gguf", (HELLO, "hello"), 0);
    add(&cache, "o/m", COMMIT, "m-Q8_0.gguf", (HELLO, "hello"), 0);
    add(&cache, "o/m", COMMIT, "m-Q4_0.gguf", (WORLD, "world"), 0);
    let repo = name("o/m").repo;
    cache.write_ref(&repo, "main", COMMIT).expect("written");
    let remove = |text: &str| {
        let models = cache.matching(&name(text)).expect(text);
        models.iter().map(|model| cache.remove(model).expect("removed")).sum::<u64>()
    };
    assert_eq!(remove("o/m@1111111:Q8_0"), 0, "the old snapshot has the same blob");
    assert!(cache.blob(&repo, HELLO).exists());
    assert_eq!(remove("o/m@2222222"), 5);
    assert!(!cache.blob(&repo, HELLO).exists() && cache.blob(&repo, WORLD).exists());
    assert_eq!(listed(&cache), ["o/m:Q4_0"]);
    add(&cache, "o/m", COMMIT, "copy-Q5_0.gguf", (WORLD, "world"), 0);
    assert_eq!(remove("o/m"), 5, "two files of one blob");
    assert!(!cache.repo(&repo).exists() && !cache.locks(&repo).exists());
    assert!(matches!(cache.matching(&name("o/m")), Err(HubError::NotFound(_))));
}

#[test]
fn a_model_in_use_or_in_download_is_not_removed() {
    let (_folder, cache) = folder();
    add(&cache, "o/m", COMMIT, "m-Q8_0.gguf", (HELLO, "hello"), 100);
    add(&cache, "o/n", COMMIT, "n-Q8_0.gguf", (WORLD, "world"), 50);
    let model = cache.matching(&name("o/m")).expect("there").remove(0);
    let mark = InUse::mark(std::slice::from_ref(&model.path));
    assert_eq!(mark.len(), 1);
    assert!(matches!(cache.remove(&model), Err(HubError::Busy(_))));
    let shrunk = cache.shrink(0).expect("the other one goes");
    assert_eq!((shrunk.before, shrunk.after), (10, 5));
    assert_eq!(shrunk.in_use, [name("o/m@111111111111:Q8_0")]);
    assert!(model.path.exists());
    drop(mark);
    let lock = BlobLock::try_take(&cache, &model.repo, HELLO).expect("usable").expect("free");
    assert!(matches!(cache.remove(&model), Err(HubError::Busy(why)) if why.contains("downloads")));
    drop(lock);
    assert_eq!(cache.remove(&model).expect("free now"), 5);
}

#[test]
fn the_least_recently_used_models_go_first() {
    let (_folder, cache) = folder();
    for (model, tag, seconds) in [("o/a", "a", 30), ("o/b", "b", 90), ("o/c", "c", 60)] {
        add(&cache, model, COMMIT, "m-Q8_0.gguf", (tag, "12345"), seconds);
        cache.write_ref(&name(model).repo, "main", COMMIT).expect("written");
    }
    assert_eq!(cache.shrink(15).expect("fits").removed, []);
    let shrunk = cache.shrink(9).expect("shrunk");
    assert_eq!(shrunk.removed, [name("o/b:Q8_0"), name("o/c:Q8_0")]);
    assert_eq!((shrunk.after, listed(&cache)), (5, vec!["o/a:Q8_0".to_owned()]));
    let used = InUse::mark(&[cache.matching(&name("o/a")).expect("there").remove(0).path]);
    drop(used);
    let age = cache.models().expect("readable")[0].used.elapsed().unwrap_or_default();
    assert!(age < Duration::from_secs(20), "use sets the time of access: {age:?}");
}

#[test]
fn old_incomplete_downloads_go_before_models() {
    let (_folder, cache) = folder();
    add(&cache, "o/a", COMMIT, "m-Q8_0.gguf", ("a", "12345"), 0);
    let blobs = cache.repo(&name("o/a").repo).join("blobs");
    let (old, fresh) = (blobs.join("b.0a1b2c3d.incomplete"), blobs.join("c.incomplete"));
    fs::write(&old, "123").expect("writable");
    fs::write(&fresh, "12").expect("writable");
    let past = SystemTime::now() - limits::HUB_INCOMPLETE_AGE - Duration::from_secs(60);
    fs::File::open(&old).expect("readable").set_times(fs::FileTimes::new().set_modified(past)).expect("own file");
    let shrunk = cache.shrink(9).expect("shrunk");
    assert_eq!((shrunk.before, shrunk.after, shrunk.removed), (10, 7, Vec::new()));
    assert!(!old.exists() && fresh.exists());
}

#[test]
fn damaged_files_are_found() {
    let (_folder, cache) = folder();
    add(&cache, "o/m", COMMIT, "a.bin", (HELLO, "hello"), 0);
    add(&cache, "o/m", COMMIT, "b.bin", (WORLD, "w0rld"), 0);
    // `printf hello | git hash-object --stdin`
    add(&cache, "o/m", COMMIT, "c.json", ("b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0", "hello"), 0);
    add(&cache, "o/m", COMMIT, "d.json", ("some-tag", "hello"), 0);
    let model = cache.matching(&name("o/m")).expect("there").remove(0);
    let checked = cache.verify(&model, |_| {}).expect("readable");
    let states: Vec<_> = checked.into_iter().map(|checked| checked.state).collect();
    use crate::BlobState::{Damaged, Good, Unknown};
    assert!(matches!(states.as_slice(), [Good, Damaged(_), Good, Unknown]), "{states:?}");
}
