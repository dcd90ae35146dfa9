//! Read-only folders: nothing leads out of them, and nothing in them changes.

use std::fs;
use std::path::Path;

use super::{Three, answer, probe, sandbox};

/// A folder `docs` with a file, beside a file that a guest must not read.
fn folder() -> tempfile::TempDir {
    let above = tempfile::tempdir().expect("a folder");
    let docs = above.path().join("docs");
    fs::create_dir_all(docs.join("sub")).expect("made");
    fs::write(docs.join("a.txt"), "inside").expect("written");
    fs::write(docs.join("sub").join("b.txt"), "below").expect("written");
    fs::write(above.path().join("secret.txt"), "outside").expect("written");
    above
}

fn grant(above: &Path) -> String {
    format!("files:docs={}", above.join("docs").display())
}

fn read(path: &str) -> String {
    format!("{{\"do\": \"read\", \"path\": \"{path}\"}}")
}

#[tokio::test]
async fn a_granted_folder_can_be_read() {
    let above = folder();
    let three = Three { manifest: &["files:docs"], operator: &[&grant(above.path())], tenant: &["files:docs"] };
    let chain = probe(&sandbox(), "probe", "acme", three).await;
    assert_eq!(answer(&chain, "{\"do\": \"list\"}").await, "/docs: a.txt sub");
    assert_eq!(answer(&chain, &read("a.txt")).await, "inside");
    assert_eq!(answer(&chain, &read("sub/b.txt")).await, "below");
    assert_eq!(answer(&chain, &read("sub/../a.txt")).await, "inside");
}

#[tokio::test]
async fn a_folder_that_one_of_the_three_does_not_name_is_not_there() {
    let above = folder();
    let granted = grant(above.path());
    for (manifest, operator, tenant) in [
        (&[][..], &[granted.as_str()][..], &["*"][..]),
        (&["files:docs"], &[], &["*"]),
        (&["files:docs"], &[&granted], &["files:other"]),
        (&["files:other"], &[&granted], &["*"]),
        (&["files:docs"], &["files:*"], &["*"]),
    ] {
        let chain = probe(&sandbox(), "probe", "acme", Three { manifest, operator, tenant }).await;
        assert_eq!(answer(&chain, "{\"do\": \"list\"}").await, "", "{manifest:?} {operator:?} {tenant:?}");
        assert_eq!(answer(&chain, &read("a.txt")).await, "error: no folder");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn neither_dots_nor_links_lead_out_of_the_folder() {
    use std::os::unix::fs::symlink;
    let above = folder();
    let docs = above.path().join("docs");
    symlink(above.path().join("secret.txt"), docs.join("absolute")).expect("linked");
    symlink("../secret.txt", docs.join("relative")).expect("linked");
    symlink("..", docs.join("up")).expect("linked");
    symlink("/etc", docs.join("etc")).expect("linked");
    symlink("a.txt", docs.join("good")).expect("linked");
    symlink("loop", docs.join("loop")).expect("linked");
    let three = Three { manifest: &["files:docs"], operator: &[&grant(above.path())], tenant: &["*"] };
    let chain = probe(&sandbox(), "probe", "acme", three).await;
    assert_eq!(answer(&chain, &read("good")).await, "inside", "a link inside may be followed");
    for path in [
        "../secret.txt",
        "sub/../../secret.txt",
        "./../secret.txt",
        "/etc/passwd",
        "//etc/passwd",
        "absolute",
        "relative",
        "up/secret.txt",
        "etc/passwd",
        "loop",
        "sub/../../docs/../secret.txt",
    ] {
        let text = answer(&chain, &read(path)).await;
        assert!(text.starts_with("error: ErrorCode"), "{path}: {text}");
    }
}

#[tokio::test]
async fn nothing_in_a_folder_can_be_changed() {
    let above = folder();
    let three = Three { manifest: &["files:docs"], operator: &[&grant(above.path())], tenant: &["*"] };
    let chain = probe(&sandbox(), "probe", "acme", three).await;
    assert_eq!(answer(&chain, "{\"do\": \"write\", \"path\": \"a.txt\"}").await, "", "no way to write works");
    assert_eq!(fs::read_to_string(above.path().join("docs").join("a.txt")).expect("there"), "inside");
    assert_eq!(fs::read_dir(above.path().join("docs")).expect("there").count(), 2);
}

/// A named pipe without a writer would keep a thread waiting for ever.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_pipe_in_a_folder_is_not_opened() {
    let above = folder();
    let pipe = above.path().join("docs").join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo");
    assert!(made.success());
    std::os::unix::fs::symlink("pipe", above.path().join("docs").join("link")).expect("linked");
    let three = Three { manifest: &["files:docs"], operator: &[&grant(above.path())], tenant: &["*"] };
    let chain = probe(&sandbox(), "probe", "acme", three).await;
    for path in ["pipe", "link", "sub/../pipe"] {
        let text = answer(&chain, &read(path)).await;
        assert!(text.contains("not-permitted"), "{path}: {text}");
    }
    assert_eq!(answer(&chain, &read("a.txt")).await, "inside");
}
