//! The official OpenAI clients, Python and npm, against the real binary.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use super::super::devices::environment;
use super::config;
use crate::harness::root;
use crate::harness::server::{PLUGINS, Server, digest, key, tenant};

fn variable(variables: &[(String, String)], name: &str) -> String {
    variables.iter().find(|row| row.0 == name).expect("the tool says where").1.clone()
}

/// A server with two models, and tenants with restricted access. `more` are more lines of `[server]`.
fn server(more: &str) -> Server {
    let minilm = variable(&environment("minilm"), "FIREBOX_TEST_MINILM");
    let chat_only = digest("chatonly");
    let one_stream = format!("{PLUGINS}\n[tenant.limits]\nstreams_max = 1\n[tenant.tools]\nask = [\"*\"]");
    let more = format!(
        "[[tenant.key]]\nid = \"chatonlykey\"\ndigest = \"{chat_only}\"\nscopes = [\"chat\"]\n\
         [[model]]\nname = \"minilm\"\npath = \"{minilm}\"\ndevice = \"cpu\"\n{}{}{}{more}",
        tenant("limited", "[tenant.limits]\nrequests_per_minute = 2"),
        tenant("plain", ""),
        tenant("one", &one_stream),
    );
    Server::start(&config(&more))
}

/// The environment of a file of cases: the address of the server and its keys.
fn case_environment(server: &Server) -> Vec<(&'static str, String)> {
    let keys = [
        ("KEY", "alpha"),
        ("KEY_CHAT", "chatonly"),
        ("KEY_LIMITED", "limited"),
        ("KEY_PLAIN", "plain"),
        ("KEY_ONE", "one"),
    ];
    let keys = keys.map(|(variable, tenant)| (variable, key(tenant)));
    let server = [("BASE_URL", format!("http://{}", server.address)), ("EMBED_MODEL", "minilm".to_owned())];
    server.into_iter().chain(keys).collect()
}

/// Checks that all cases passed, and their number.
fn judge(server: &Server, succeeded: bool, text: &str, cases: usize) {
    assert!(succeeded, "{text}\n{}", server.log());
    let passed = text.lines().filter(|line| line.starts_with("ok ")).count();
    assert_eq!(passed, cases, "another number of cases ran\n{text}");
}

fn run(program: &str, script: &Path, cases: usize) {
    let server = server("");
    let mut command = Command::new(program);
    command.arg(script).envs(case_environment(&server));
    // Without the variables that a client would read from its environment.
    command.env_remove("OPENAI_API_KEY").env_remove("OPENAI_BASE_URL").env("PYTHONDONTWRITEBYTECODE", "1");
    let output = command.stdin(Stdio::null()).output().expect("the client runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let text = format!("{text}\n{}", String::from_utf8_lossy(&output.stderr));
    judge(&server, output.status.success(), &text, cases);
}

#[test]
fn all_cases_of_the_python_client_pass() {
    let clients = environment("openai-clients");
    let script = root().join("tests/clients/openai_cases.py");
    run(&variable(&clients, "FIREBOX_TEST_OPENAI_PYTHON"), &script, 86);
}

/// Node searches packages in the script's folder, so the script runs from a folder that has them.
#[cfg(unix)]
#[test]
fn all_cases_of_the_npm_client_pass() {
    let clients = environment("openai-clients");
    let folder = tempfile::tempdir().expect("temporary directory");
    let modules = variable(&clients, "FIREBOX_TEST_OPENAI_MODULES");
    std::os::unix::fs::symlink(modules, folder.path().join("node_modules")).expect("a link");
    let script = folder.path().join("openai_cases.mjs");
    std::fs::copy(root().join("tests/clients/openai_cases.mjs"), &script).expect("copied");
    run(&variable(&clients, "FIREBOX_TEST_OPENAI_NODE"), &script, 25);
}

/// A page from one port uses the server on another port, in a browser with a new profile.
#[cfg(target_os = "linux")]
#[test]
fn the_npm_client_works_in_a_page_of_another_origin() {
    let (clients, browser) = (environment("openai-clients"), environment("browser"));
    let mut page = Command::new(variable(&clients, "FIREBOX_TEST_OPENAI_NODE"))
        .arg(root().join("tests/clients/browser_page.mjs"))
        .env("MODULES", variable(&clients, "FIREBOX_TEST_OPENAI_MODULES"))
        .env("BROWSER", variable(&browser, "FIREBOX_TEST_BROWSER"))
        .env("BROWSER_LIBRARIES", variable(&browser, "FIREBOX_TEST_BROWSER_LIBRARIES"))
        .env("CASES", root().join("tests/clients/browser_cases.mjs"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the page is served");
    let mut output = BufReader::new(page.stdout.take().expect("piped"));
    let mut line = String::new();
    output.read_line(&mut line).expect("its origin");
    let origin = line.trim().strip_prefix("origin ").expect("its origin");
    let server = server(&format!("[server]\norigins = [\"{origin}\"]\n"));
    let told: serde_json::Map<_, _> =
        case_environment(&server).into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    writeln!(page.stdin.take().expect("piped"), "{}", serde_json::Value::Object(told)).expect("it reads");
    let mut text = String::new();
    output.read_to_string(&mut text).expect("what it reports");
    let succeeded = page.wait().expect("it ends").success();
    judge(&server, succeeded, &text, 16);
}
