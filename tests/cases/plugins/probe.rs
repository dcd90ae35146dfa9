//! The probe of the tests: a plugin that uses the capabilities of the host as its prompt says.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::root;
use crate::harness::server::{Response, Server};

/// A folder of the probe, whose manifest has these lines in `[capabilities]`.
pub(crate) fn probe_folder(capabilities: &str) -> String {
    with_manifest(&root().join("plugins/prebuilt/probe.wasm"), "probe", &["prompt", "tool"], capabilities)
}

/// A folder with `component` as the plugin `id`, and a manifest of these stages and capabilities. It stays until the machine
/// cleans up.
pub(crate) fn with_manifest(component: &Path, id: &str, stages: &[&str], capabilities: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder").keep();
    std::fs::copy(component, folder.join(format!("{id}.wasm"))).expect("copied");
    let manifest = format!(
        "id = \"{id}\"\nversion = \"1\"\ndescription = \"d\"\nstages = {stages:?}\n[capabilities]\n{capabilities}\n[limits]\ntimeout_ms = 60000\n"
    );
    std::fs::write(folder.join("plugin.toml"), manifest).expect("written");
    folder.display().to_string()
}

/// An answer to a prompt of `tenant`.
pub(crate) fn chat(server: &Server, tenant: &str, text: &str) -> Response {
    let body = json!({ "model": "ember", "temperature": 0, "max_tokens": 12, "tool_choice": "none", "messages": [{ "role": "user", "content": text }] });
    server.post("/v1/chat/completions", tenant, &body)
}

/// The text of an answer.
pub(crate) fn content(response: &Response) -> String {
    assert_eq!(response.status, 200, "{response:?}");
    response.json()["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned()
}

/// What the probe of `tenant` answers to these arguments.
pub(crate) fn probe_answer(server: &Server, tenant: &str, arguments: &Value) -> String {
    content(&chat(server, tenant, &format!("probe: {arguments}")))
}
