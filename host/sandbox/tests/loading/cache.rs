//! The cache of compiled components, as a user of the sandbox sees it.

use std::fs;
use std::path::Path;

use firebox_sandbox::{Sandbox, SandboxOptions};

use crate::support::{guest, push_once, spec};

fn sandbox(dir: &Path) -> Sandbox {
    let options = SandboxOptions { cache_dir: Some(dir.to_owned()), pool_memories: 4, ..SandboxOptions::default() };
    Sandbox::new(options).expect("an engine")
}

#[tokio::test]
async fn a_second_sandbox_loads_from_the_cache() {
    let above = tempfile::tempdir().expect("a directory");
    let dir = above.path().join("cache");
    let first = sandbox(&dir);
    assert!(!first.load(spec("count", guest("count"))).await.expect("loaded").from_cache());
    assert_eq!(first.compilations(), 1);
    let second = sandbox(&dir);
    let plugin = second.load(spec("count", guest("count"))).await.expect("loaded");
    assert!(plugin.from_cache() && second.compilations() == 0);
    push_once(&plugin, "x").await.expect("it runs");
}

#[tokio::test]
async fn a_changed_artifact_is_compiled_again() {
    let above = tempfile::tempdir().expect("a directory");
    let dir = above.path().join("cache");
    sandbox(&dir).load(spec("count", guest("count"))).await.expect("loaded");
    let artifact = fs::read_dir(&dir).expect("listed").next().expect("one").expect("readable").path();
    let mut bytes = fs::read(&artifact).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::write(&artifact, bytes).expect("tampered");
    let second = sandbox(&dir);
    let plugin = second.load(spec("count", guest("count"))).await.expect("compiled again");
    assert!(!plugin.from_cache() && second.compilations() == 1);
    assert_eq!(plugin.warnings().len(), 1, "{:?}", plugin.warnings());
}

#[tokio::test]
async fn a_cache_that_cannot_be_created_is_a_warning_and_no_error() {
    let sandbox = sandbox(Path::new("/proc/self/firebox-cache"));
    let plugin = sandbox.load(spec("count", guest("count"))).await.expect("loaded all the same");
    assert_eq!(plugin.warnings().len(), 1, "{:?}", plugin.warnings());
    push_once(&plugin, "x").await.expect("it runs");
}
