//! `firebox tenants`, from its arguments to its files.

use std::path::{Path, PathBuf};

use crate::harness::{Firebox, Run, scratch};

/// A fresh folder.
fn folder(name: &str) -> PathBuf {
    let dir = scratch("tenants").join(name);
    // Files of an earlier run.
    drop(std::fs::remove_dir_all(&dir));
    std::fs::create_dir_all(&dir).expect("writable");
    dir
}

fn tenants(dir: &Path, args: &[&str]) -> Run {
    Firebox::new(["tenants"].iter().chain(args)).current_dir(dir).run()
}

fn file(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("tenants.toml")).expect("there")
}

/// The key that a run printed, which must be alone on standard output.
fn key(run: &Run) -> String {
    let key = run.stdout.trim_end().to_owned();
    assert!(key.starts_with("fbx_") && key.len() == 85 && run.stdout.lines().count() == 1, "{}", run.stdout);
    key
}

#[test]
fn keys_of_a_tenant_are_added_rotated_and_revoked() {
    let dir = folder("life");
    let add =
        ["add", "acme", "--model", "ember", "--plugin", "redact", "--requests-per-minute", "60", "--expires", "90d"];
    let added = tenants(&dir, &add).expect_code(0);
    let first = key(&added);
    assert!(added.stderr.contains("shown once"), "{}", added.stderr);
    let secret = first.rsplit('_').next().expect("three parts");
    assert!(!file(&dir).contains(secret), "only the digest is kept");
    tenants(&dir, &["add", "acme"]).expect_code(2);
    let second = key(&tenants(&dir, &["rotate", "acme", "--keep", "--scope", "metrics"]).expect_code(0));
    assert_ne!(first, second);
    let listed = tenants(&dir, &["list", "--json"]).expect_code(0).json();
    let acme = &listed["tenants"][0];
    assert_eq!((&acme["name"], &acme["limits"]["requests_per_minute"]), (&"acme".into(), &60.into()));
    let ids: Vec<&str> = acme["keys"].as_array().expect("a list").iter().filter_map(|key| key["id"].as_str()).collect();
    assert_eq!(ids, [&first[4..20], &second[4..20]]);
    assert!(acme["keys"][0]["expires"].is_string() && acme["keys"][1]["expires"].is_null());
    assert_eq!(acme["keys"][1]["scopes"], serde_json::json!(["metrics"]));
    let revoked = tenants(&dir, &["revoke", ids[0]]).expect_code(0);
    assert!(revoked.stderr.contains("until it reloads: send it SIGHUP"), "{}", revoked.stderr);
    assert!(!file(&dir).contains(ids[0]) && file(&dir).contains(ids[1]));
    let third = key(&tenants(&dir, &["rotate", "acme"]).expect_code(0));
    assert!(!file(&dir).contains(ids[1]) && file(&dir).contains(&third[4..20]));
    let gone = tenants(&dir, &["revoke", "acme", "--json"]).expect_code(0);
    assert_eq!(gone.json()["revoked"], serde_json::json!([third[4..20]]));
    let checked = Firebox::new(["config", "check"]).current_dir(&dir).run().expect_code(0);
    assert!(checked.stderr.contains("tenant \"acme\" has no key"), "{}", checked.stderr);
    assert!(checked.stdout.contains("1 tenant,"), "{}", checked.stdout);
}

#[test]
fn wrong_arguments_are_named_and_change_nothing() {
    let dir = folder("wrong");
    tenants(&dir, &["add", "acme"]).expect_code(0);
    let before = file(&dir);
    let rows: &[(&[&str], &[&str])] = &[
        (&["add", "a b"], &["\"a b\" is not a valid name"]),
        (&["add", "x", "--scope", "everything"], &["everything", "chat"]),
        (&["add", "x", "--expires", "2020-01-01"], &["in the past"]),
        (&["add", "x", "--expires", "soon"], &["soon", "2027"]),
        (&["add", "x", "--weight", "0"], &["weight", "1..=1000"]),
        (&["rotate", "nobody"], &["nobody", "firebox tenants list"]),
        (&["revoke", "nobody"], &["nobody", "firebox tenants list"]),
    ];
    for (args, words) in rows {
        let run = tenants(&dir, args).expect_code(2);
        assert!(words.iter().all(|word| run.stderr.contains(word)), "{args:?}: {}", run.stderr);
        assert!(run.stdout.is_empty(), "no key of a tenant that is not there: {}", run.stdout);
    }
    assert_eq!(file(&dir), before);
}

#[test]
fn a_broken_file_is_reported_with_its_line_and_not_changed() {
    let dir = folder("broken");
    std::fs::write(dir.join("tenants.toml"), "[[tenant]]\nname = \"a\"\nwieght = 2\n").expect("writable");
    let run = tenants(&dir, &["add", "b"]).expect_code(2);
    assert!(run.stderr.contains("tenants.toml:3: ") && run.stderr.contains("weight"), "{}", run.stderr);
    assert_eq!(file(&dir), "[[tenant]]\nname = \"a\"\nwieght = 2\n");
}

#[test]
fn tenants_added_by_several_processes_at_once_are_all_kept() {
    let dir = folder("together");
    let children: Vec<_> = (0..12)
        .map(|number| {
            let mut firebox = Firebox::new(["tenants", "add", &format!("t{number}")]).current_dir(&dir);
            firebox.spawn()
        })
        .collect();
    let keys: Vec<String> = children
        .into_iter()
        .map(|child| {
            let output = child.wait_with_output().expect("ends");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
        })
        .collect();
    let listed = tenants(&dir, &["list", "--json"]).expect_code(0).json();
    assert_eq!(listed["tenants"].as_array().map(Vec::len), Some(12));
    let text = file(&dir);
    assert!(keys.iter().all(|key| text.contains(&key[4..20])), "every key that was shown is in the file");
}

#[cfg(unix)]
#[test]
fn files_with_key_digests_are_readable_by_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let dir = folder("modes");
    std::fs::write(dir.join("firebox.toml"), "tenants_file = \"keys/t.toml\"\n[audit]\npath = \"audit.jsonl\"\n")
        .expect("writable");
    std::fs::create_dir_all(dir.join("keys")).expect("writable");
    tenants(&dir, &["add", "acme"]).expect_code(0);
    for name in ["keys/t.toml", "audit.jsonl"] {
        let mode = std::fs::metadata(dir.join(name)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let log = std::fs::read_to_string(dir.join("audit.jsonl")).expect("there");
    assert!(log.contains("\"action\":\"tenants add acme\""), "{log}");
}

#[cfg(target_os = "linux")]
#[test]
fn no_key_is_created_if_the_audit_log_cannot_be_written() {
    let dir = folder("unlogged");
    std::fs::write(dir.join("firebox.toml"), "[audit]\npath = \"/dev/full\"\n").expect("writable");
    let run = tenants(&dir, &["add", "acme"]).expect_code(3);
    assert!(run.stderr.contains("audit log") && run.stdout.is_empty(), "{}", run.stderr);
    assert!(!dir.join("tenants.toml").exists());
}

#[test]
fn a_tenant_with_a_plugin_that_the_server_does_not_know_is_not_added() {
    let dir = folder("unknown-plugin");
    std::fs::write(dir.join("firebox.toml"), "[[plugin]]\nname = \"mask\"\nsource = \"redact\"\n").expect("writable");
    let refused = tenants(&dir, &["add", "acme", "--plugin", "msk"]).expect_code(2);
    assert!(refused.stderr.contains("no plugin \"msk\"; did you mean \"mask\"?"), "{}", refused.stderr);
    assert!(refused.stdout.is_empty() && !dir.join("tenants.toml").exists(), "{}", refused.stdout);
    tenants(&dir, &["add", "acme", "--plugin", "mask", "--plugin", "calculator"]).expect_code(0);
}
