//! The cache of compiled components, from outside.

use std::fs;
use std::path::Path;

use firebox_sandbox::{Sandbox, SandboxOptions};

use crate::support::{guest, push_once, spec};

fn sandbox(dir: &Path) -> Sandbox {
    let options = SandboxOptions { cache_dir: Some(dir.to_owned()), pool_memories: 4, ..SandboxOptions::default() };
    Sandbox::new(options).expect("an engine")
}

#[tokio::test]
async fn the_next_start_compiles_nothing() {
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
async fn a_tampered_artifact_is_never_loaded() {
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
async fn a_cache_that_cannot_be_made_is_only_a_warning() {
    let sandbox = sandbox(Path::new("/proc/self/firebox-cache"));
    let plugin = sandbox.load(spec("count", guest("count"))).await.expect("loaded all the same");
    assert_eq!(plugin.warnings().len(), 1, "{:?}", plugin.warnings());
    push_once(&plugin, "x").await.expect("it runs");
}
