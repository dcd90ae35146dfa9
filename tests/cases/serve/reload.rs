//! Hot reload of plugins: a new version replaces the old one only after it passes every check, and a request that runs keeps
//! the version that it began with.

use std::path::Path;

use serde_json::{Value, json};

use super::{ANSWER, QUESTION, chat, content, with};
use crate::harness::server::{Server, finish, key, tenant};
use crate::harness::{Firebox, root};

const MODEL: &str = "[[model]]\nname = \"ember\"\ndevice = \"cpu\"\n";

/// Makes `own.wasm` in `folder` a copy of the component of the built-in plugin `name`, at once, as a build does.
fn component(folder: &Path, name: &str) {
    let fresh = folder.join("own.new");
    std::fs::copy(root().join("plugins/prebuilt").join(name).with_extension("wasm"), &fresh).expect("copied");
    std::fs::rename(fresh, folder.join("own.wasm")).expect("renamed");
}

fn started(folder: tempfile::TempDir, config: &str) -> Server {
    let server = Server::listening_in(folder, config, &[]);
    server.wait_until("ready", |log| log.lines().any(|line| line == "firebox: ready"));
    server
}

/// Reloads, and waits until the log says `outcome` once more.
fn reload(server: &Server, outcome: &str) {
    let before = server.log().matches(outcome).count();
    server.signal("HUP");
    server.wait_until(outcome, |log| log.matches(outcome).count() > before);
}

fn answers(server: &Server) -> bool {
    content(&server.post("/v1/chat/completions", "alpha", &chat(QUESTION)).json()).contains(ANSWER)
}

#[test]
fn a_new_version_that_fails_a_check_leaves_the_old_one_in_place() {
    const KEPT: &str = "configuration not reloaded, the previous one stays in effect";
    let folder = tempfile::tempdir().expect("writable");
    component(folder.path(), "calculator");
    let own = |more: &str| {
        format!(
            "{MODEL}[[plugin]]\nname = \"own\"\nsource = \"own.wasm\"\n{more}{}",
            tenant("alpha", "plugins = [\"own\"]")
        )
    };
    let server = started(folder, &own(""));
    let folder = server.folder.path();
    assert!(answers(&server));
    let text = std::fs::read(root().join("plugins/prebuilt/calculator.wasm")).expect("readable");
    // Neither a component, nor a whole one, nor one with a known stage, nor one that starts with this configuration.
    let refused = |what: &str, bytes: &[u8], config: &str| {
        std::fs::write(folder.join("own.wasm"), bytes).expect("written");
        server.rewrite(config);
        reload(&server, KEPT);
        assert!(answers(&server), "{what}: {}", server.log());
    };
    refused("not a component", b"not a component", &own(""));
    refused("cut off", &text[..text.len() / 2], &own(""));
    refused("an empty component", b"\0asm\x0d\0\x01\0", &own(""));
    let redact = std::fs::read(root().join("plugins/prebuilt/redact.wasm")).expect("readable");
    refused("does not start", &redact, &own("config = { kinds = [\"nonsense\"] }\n"));
    refused("another digest", &redact, &own(&format!("digest = \"{}\"\n", "0".repeat(64))));
    // A version that was not accepted.
    component(folder, "calculator");
    server.rewrite(&own(""));
    Firebox::new(["lock"]).current_dir(folder).run().expect_code(0);
    reload(&server, "configuration reloaded");
    refused("not in the lock file", &redact, &own(""));
    assert!(server.log().contains("plugin \"own\" was not loaded: its component has the SHA-256"), "{}", server.log());
    // One that passes is used.
    Firebox::new(["lock"]).current_dir(folder).run().expect_code(0);
    reload(&server, "configuration reloaded");
    assert!(!answers(&server), "the calculator is gone");
}

#[test]
fn a_request_that_runs_keeps_the_version_that_it_began_with() {
    let config = |hide: &str| {
        let plugins = format!(
            "[[plugin]]\nname = \"own\"\nsource = \"own.wasm\"\n\
             [[plugin]]\nname = \"guard\"\nsource = \"tool-guard\"\nconfig = {{ hide = [{hide}] }}\n"
        );
        let alpha = "plugins = [\"own\", \"guard\"]\n[tenant.tools]\nask = [\"*\"]";
        format!("{MODEL}{plugins}{}", tenant("alpha", alpha))
    };
    let folder = tempfile::tempdir().expect("writable");
    component(folder.path(), "calculator");
    let server = started(folder, &config("\"nothing\""));
    let begin = || {
        let body = with(chat(QUESTION), "stream", json!(true)).to_string();
        server.open("POST", "/v1/chat/completions", Some(&key("alpha")), body.as_bytes())
    };
    let asked = || {
        server.eventually("asked", |server| server.get("/v1/approvals", "alpha").json()["data"][0]["id"].is_string());
        server.get("/v1/approvals", "alpha").json()["data"][0]["id"].as_str().expect("an id").to_owned()
    };
    let approve = |id: &str| {
        let path = format!("/v1/approvals/{id}");
        assert_eq!(server.post(&path, "alpha", &json!({"decision": "approve"})).status, 200);
    };
    let result = |stream| {
        let events = crate::harness::server::events(&finish(stream).body);
        let result = events.iter().find(|event| event["firebox"]["event"] == "tool_result").cloned();
        result.map_or(Value::Null, |event| event["firebox"].clone()).to_string()
    };
    let (old, id) = (begin(), asked());
    server.rewrite(&config(&format!("\"{ANSWER}\"")));
    reload(&server, "configuration reloaded");
    approve(&id);
    let text = result(old);
    assert!(text.contains(ANSWER), "the old version hides nothing: {text}");
    let (new, id) = (begin(), asked());
    approve(&id);
    let text = result(new);
    assert!(!text.contains(ANSWER), "the new version hides the result: {text}");
}
