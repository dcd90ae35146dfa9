//! The official OpenAI clients, Python and npm, against the real binary.

use std::path::Path;
use std::process::{Command, Stdio};

use super::super::devices::environment;
use super::config;
use crate::harness::root;
use crate::harness::server::{Server, digest, key, tenant};

fn variable(variables: &[(String, String)], name: &str) -> String {
    variables.iter().find(|row| row.0 == name).expect("the tool says where").1.clone()
}

fn server() -> Server {
    let minilm = variable(&environment("minilm"), "FIREBOX_TEST_MINILM");
    let chat_only = digest("chatonly");
    let more = format!(
        "[[tenant.key]]\nid = \"chatonlykey\"\ndigest = \"{chat_only}\"\nscopes = [\"chat\"]\n\
         [[model]]\nname = \"minilm\"\npath = \"{minilm}\"\ndevice = \"cpu\"\n{}{}",
        tenant("limited", "[tenant.limits]\nrequests_per_minute = 2"),
        tenant("plain", ""),
    );
    Server::start(&config(&more))
}

/// Runs a file of cases; all of them must pass, and they must be as many as promised.
fn run(server: &Server, program: &str, script: &Path, cases: usize) {
    let mut command = Command::new(program);
    command.arg(script).env("BASE_URL", format!("http://{}", server.address)).env("EMBED_MODEL", "minilm");
    let keys = [("KEY", "alpha"), ("KEY_CHAT", "chatonly"), ("KEY_LIMITED", "limited"), ("KEY_PLAIN", "plain")];
    command.envs(keys.map(|(variable, tenant)| (variable, key(tenant))));
    let output = command.stdin(Stdio::null()).output().expect("the client runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}\n{}", server.said());
    let passed = text.lines().filter(|line| line.starts_with("ok ")).count();
    assert!(passed >= cases, "{passed} of {cases} cases ran\n{text}");
}

#[test]
fn the_python_client_is_served() {
    let clients = environment("openai-clients");
    let script = root().join("tests/clients/openai_cases.py");
    run(&server(), &variable(&clients, "FIREBOX_TEST_OPENAI_PYTHON"), &script, 48);
}

/// Node looks for packages beside the script, so it is run from a folder that has them.
#[cfg(unix)]
#[test]
fn the_npm_client_is_served() {
    let clients = environment("openai-clients");
    let folder = tempfile::tempdir().expect("temporary directory");
    let modules = variable(&clients, "FIREBOX_TEST_OPENAI_MODULES");
    std::os::unix::fs::symlink(modules, folder.path().join("node_modules")).expect("a link");
    let script = folder.path().join("openai_cases.mjs");
    std::fs::copy(root().join("tests/clients/openai_cases.mjs"), &script).expect("copied");
    run(&server(), &variable(&clients, "FIREBOX_TEST_OPENAI_NODE"), &script, 13);
}
