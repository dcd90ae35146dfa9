//! Key-value buckets of guests.

use firebox_sandbox::PluginChain;

use super::{Three, answer, ask, probe, sandbox};

async fn store(chain: &PluginChain, with: &str, more: &str) -> String {
    answer(chain, &format!("{{\"do\": \"store\", \"bucket\": \"notes\", \"with\": \"{with}\", {more}}}")).await
}

const NOTES: &[&str] = &["keyvalue:notes"];

#[tokio::test]
async fn a_guest_stores_reads_counts_and_swaps() {
    let chain = probe(&sandbox(), "probe", "acme", Three::all(NOTES)).await;
    let k = "\"key\": \"k\"";
    for (with, more, expected) in [
        ("get", k, "-"),
        ("exists", k, "false"),
        ("set", "\"key\": \"k\", \"value\": \"v\"", "done"),
        ("get", k, "v"),
        ("exists", k, "true"),
        ("swap", "\"key\": \"k\", \"value\": \"w\"", "swapped v"),
        ("get", k, "w"),
        ("lost-swap", "\"key\": \"k\", \"value\": \"mine\"", "lost to other, then true"),
        ("get", k, "mine"),
        ("delete", k, "done"),
        ("get", k, "-"),
        ("increment", "\"key\": \"n\", \"value\": 5", "5"),
        ("increment", "\"key\": \"n\", \"value\": -7", "-2"),
        ("many", "\"key\": \"m\", \"value\": \"x\"", "x x -"),
        ("keys", k, "1 in 1: n"),
    ] {
        assert_eq!(store(&chain, with, more).await, expected, "{with} {more}");
    }
}

#[tokio::test]
async fn keys_come_in_pages() {
    let chain = probe(&sandbox(), "probe", "acme", Three::all(NOTES)).await;
    assert_eq!(store(&chain, "fill", "\"value\": 300").await, "300");
    let text = store(&chain, "keys", "\"key\": \"\"").await;
    assert!(text.starts_with("300 in 2: key000000 key000001"), "{text}");
}

/// A denied bucket is the interface's own error, and the log says once who denies it and what to write.
#[tokio::test]
async fn a_bucket_that_one_of_the_three_does_not_name_is_denied() {
    let sandbox = sandbox();
    for (manifest, operator, tenant, expected) in [
        (&[][..], NOTES, NOTES, "[capabilities] keyvalue = [\"notes\"]"),
        (&["keyvalue:other"], &["*"], &["*"], "[capabilities] keyvalue = [\"notes\"]"),
        (NOTES, &[], &["*"], "--grant \"keyvalue:notes\""),
        (NOTES, &["keyvalue:other", "clock"], &["*"], "grants = [\"keyvalue:notes\"]"),
        (NOTES, NOTES, &[], "[tenant.grants] needs probe = [\"keyvalue:notes\"]"),
        (NOTES, NOTES, &["keyvalue:other"], "the tenant does not grant it"),
    ] {
        let chain = probe(&sandbox, "probe", "acme", Three { manifest, operator, tenant }).await;
        let arguments = "{\"do\": \"store\", \"bucket\": \"notes\", \"with\": \"get\", \"key\": \"k\"}";
        let (text, log) = ask(&chain, arguments).await;
        assert_eq!(text, "error: Error::AccessDenied", "{manifest:?} {operator:?} {tenant:?}");
        assert!(log.len() == 1 && log[0].contains(expected), "{log:?}");
    }
}

#[tokio::test]
async fn tenants_and_plugins_with_the_same_component_share_nothing() {
    let sandbox = sandbox();
    let own = probe(&sandbox, "probe", "acme", Three::all(NOTES)).await;
    assert_eq!(store(&own, "set", "\"key\": \"k\", \"value\": \"secret\"").await, "done");
    for (name, tenant) in [("probe", "other"), ("spy", "acme")] {
        let other = probe(&sandbox, name, tenant, Three::all(NOTES)).await;
        assert_eq!(store(&other, "get", "\"key\": \"k\"").await, "-", "{name} of {tenant}");
        assert_eq!(store(&other, "keys", "\"key\": \"\"").await, "0 in 1: ");
    }
    assert_eq!(store(&own, "get", "\"key\": \"k\"").await, "secret");
}

/// What is beyond a limit is refused before the store sees it, and the guest can go on.
#[tokio::test]
async fn keys_values_and_names_beyond_their_limits_are_errors() {
    let chain = probe(&sandbox(), "probe", "acme", Three::all(NOTES)).await;
    let long = format!("\"key\": \"{}\", \"value\": \"v\"", "k".repeat(257));
    for (with, more, expected) in [
        ("set", "\"key\": \"\", \"value\": \"v\"", "a key of 0 bytes"),
        ("set", long.as_str(), "a key of 257 bytes"),
        ("big", "\"key\": \"k\", \"value\": 1048577", "a value of 1048577 bytes is too large"),
        ("big", "\"key\": \"k\", \"value\": 1048576", "done"),
    ] {
        let text = store(&chain, with, more).await;
        assert!(text.contains(expected), "{with}: {text}");
    }
    for bucket in ["", "..", "notes/../other", "notes\\u0000", "NOTES", "other"] {
        let arguments = format!("{{\"do\": \"store\", \"bucket\": \"{bucket}\", \"with\": \"get\", \"key\": \"k\"}}");
        let (text, log) = ask(&chain, &arguments).await;
        assert_eq!(text, "error: Error::AccessDenied", "{bucket}");
        assert!(log.iter().all(|line| !line.chars().any(char::is_control)), "{log:?}");
    }
}

#[tokio::test]
async fn a_host_without_a_store_says_so() {
    let options = firebox_sandbox::SandboxOptions { pool_memories: 4, ..firebox_sandbox::SandboxOptions::default() };
    let sandbox = firebox_sandbox::Sandbox::new(options).expect("an engine");
    let chain = probe(&sandbox, "probe", "acme", Three::all(NOTES)).await;
    let text = store(&chain, "get", "\"key\": \"k\"").await;
    assert!(text.contains("this host has no key-value store"), "{text}");
}
