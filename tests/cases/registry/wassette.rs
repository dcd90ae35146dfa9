//! Components with the worlds of wassette's examples, in the form in which wassette publishes them: pushed to a registry,
//! installed, granted and called as tools. They are written with the languages' own tools, without a word of Firebox.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::local::{Files, Registry};
use super::sha256;
use crate::harness::{Firebox, Run, root, scratch};

/// A user with a folder and a registry of its own.
struct User {
    registry: Registry,
    folder: tempfile::TempDir,
}

impl User {
    fn new() -> Self {
        Self { registry: Registry::start(None), folder: tempfile::tempdir().expect("writable") }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn run(&self, args: &[&str]) -> Run {
        let run = Firebox::new(args).current_dir(self.path()).env("FIREBOX_DATA", self.path().join("data"));
        run.env("DOCKER_CONFIG", self.path().join("docker")).env("FIREBOX_DEVICE", "cpu").run()
    }

    /// Pushes a component as wassette does, and installs it.
    fn install(&self, name: &str, component: &[u8]) {
        let repository = format!("microsoft/{name}");
        let layer = |kind: &str, bytes: &[u8]| {
            self.registry.upload(&repository, bytes);
            json!({ "mediaType": kind, "digest": format!("sha256:{}", sha256(bytes)), "size": bytes.len() })
        };
        let config = json!({ "architecture": "wasm", "os": "wasip2", "layerDigests": [format!("sha256:{}", sha256(component))] });
        let config = layer("application/vnd.wasm.config.v0+json", config.to_string().as_bytes());
        let wasm = layer("application/wasm", component);
        self.registry.manifest(&repository, "latest", &config, &[&wasm]);
        let installed =
            self.run(&["plugins", "install", &format!("oci://{}/{repository}:latest", self.registry.address)]);
        assert!(installed.expect_code(0).stdout.contains(&format!("installed {name}")));
    }

    /// Calls a tool of the installed plugin `plugin`, with these grants.
    fn call(&self, plugin: &str, tool: &str, arguments: &Value, grants: &[&str]) -> Run {
        let arguments = arguments.to_string();
        let mut args = vec!["plugins", "call", "tool", tool, &arguments, "--plugin", plugin];
        args.extend(grants.iter().flat_map(|grant| ["--grant", *grant]));
        self.run(&args)
    }
}

/// The folder of a toolchain that `plugins build` sets up: of a project without its WIT, of which nothing can be built.
fn toolchain(language: &str, name: &str) -> PathBuf {
    let folder = tempfile::tempdir().expect("writable");
    let run = |args: &[&str]| Firebox::new(args).current_dir(folder.path()).run();
    run(&["plugins", "new", "none", "--lang", language]).expect_code(0);
    std::fs::remove_dir_all(folder.path().join("none/wit")).expect("removed");
    run(&["plugins", "build", "none"]).expect_code(5);
    scratch("cache").join("toolchains").join(name)
}

/// The component that `command` writes to the path after its last argument. `guest` is a folder of `tests/guests`.
fn built(mut command: Command, guest: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("writable");
    let component = folder.path().join("out.wasm");
    let output =
        command.arg(&component).current_dir(root().join("tests/guests").join(guest)).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    std::fs::read(component).expect("a component")
}

#[test]
fn fetch_in_rust_reads_the_pages_that_were_granted() {
    let user = User::new();
    user.install("fetch-rs", &std::fs::read(root().join("plugins/prebuilt/fetch-rs.wasm")).expect("a component"));
    let files = Files::serve(&[("/page", b"The lamp turns.".to_vec())]);
    let (url, rule) = (format!("http://{}/page", files.address), format!("http:GET http://{}/page", files.address));
    let fetch = |url: &str, grants: &[&str]| user.call("fetch-rs", "fetch", &json!({ "url": url }), grants);
    assert_eq!(fetch(&url, &[&rule]).expect_code(0).stdout, "The lamp turns.\n");
    let denied = fetch(&url, &[]).expect_code(5);
    assert!(denied.stdout.contains("HttpRequestDenied"), "{}", denied.stdout);
    assert!(denied.stderr.contains(&format!("--grant \"http:GET http://{}", files.address)), "{}", denied.stderr);
    let other = fetch(&format!("http://{}/other", files.address), &[&rule]).expect_code(5);
    assert!(other.stdout.contains("HttpRequestDenied"), "{}", other.stdout);
    let call = format!("fetch={}", json!({ "url": url }));
    let args = [
        "run",
        "--plugin",
        "fetch-rs",
        "--grant",
        &rule,
        "--tool",
        &call,
        "--max-tokens",
        "8",
        "--json",
        "What is there?",
    ];
    let answer = user.run(&args).expect_code(0).json();
    assert_eq!(answer["tool_calls"][0]["result"], "The lamp turns.", "{answer}");
    let shared =
        user.run(&["run", "--plugin", "fetch-rs", "--plugin", "http-fetch", "--grant", &rule, "hi"]).expect_code(2);
    assert!(shared.stderr.contains("\"fetch-rs\" has no plugin.toml"), "{}", shared.stderr);
    let check = user.run(&["plugins", "check", "fetch-rs"]).expect_code(0);
    assert!(check.stdout.contains("imports wasi:http") && check.stdout.contains("--grant"), "{}", check.stdout);
}

#[test]
fn a_component_for_spin_uses_requests_and_buckets_that_were_granted() {
    let user = User::new();
    user.install("visits", &std::fs::read(root().join("plugins/prebuilt/visits.wasm")).expect("a component"));
    let files = Files::serve(&[("/page", Vec::new())]);
    let grants = [&*format!("http:GET http://{}", files.address), "keyvalue:default"];
    let status = |path: &str| {
        user.call("visits", "status", &json!({ "url": format!("http://{}/{path}", files.address) }), &grants)
    };
    assert_eq!(status("page").expect_code(0).stdout, "200\n");
    assert_eq!(status("none").expect_code(0).stdout, "404\n");
    let count = |older: bool, grants: &[&str]| {
        user.call("visits", "count", &json!({ "key": "page", "by": 1, "older": older }), grants)
    };
    // The bucket is in a file, so it outlives the program.
    for (older, expected) in [(false, "1\n"), (true, "2\n"), (false, "3\n")] {
        assert_eq!(count(older, &grants).expect_code(0).stdout, expected);
    }
    assert!(count(false, &[]).expect_code(5).stdout.contains("AccessDenied"));
    assert!(count(true, &[]).expect_code(5).stdout.contains("AccessDenied"));
}

#[test]
fn a_time_server_in_javascript_has_the_clock_that_was_granted() {
    let user = User::new();
    let tool = toolchain("js", "componentize-qjs-0.4.5").join("node_modules/componentize-qjs/bin/componentize-qjs");
    let mut command = Command::new("node");
    command.arg(tool).args(["-w", "world.wit", "-n", "time-server-js", "-j", "main.js", "--sync", "-o"]);
    user.install("time-server-js", &built(command, "time-server-js"));
    let now = |grants: &[&str]| {
        let run = user.call("time-server-js", "get_current_time", &json!({}), grants);
        run.expect_code(0).stdout.trim().trim_matches('"').to_owned()
    };
    let year = |text: String| text.split('-').next().and_then(|year| year.parse::<u32>().ok()).expect("a year");
    assert!(year(now(&["clock"])) >= 2025);
    assert_eq!(year(now(&[])), 1970, "it works without the grant, and learns nothing");
}

#[test]
fn an_interpreter_in_python_evaluates_inside_its_limits() {
    let user = User::new();
    let scripts = if cfg!(windows) { "Scripts" } else { "bin" };
    let tool = toolchain("python", "componentize-py-0.25.1").join("venv").join(scripts).join("componentize-py");
    let mut command = Command::new(tool);
    command.args(["-d", "world.wit", "-w", "eval-py", "componentize", "main", "-o"]);
    user.install("eval-py", &built(command, "eval-py"));
    let call = |tool: &str, arguments: Value| user.call("eval-py", tool, &arguments, &[]);
    assert_eq!(call("eval", json!({ "expression": "sum(range(10))" })).expect_code(0).stdout, "45\n");
    let printed = call("exec", json!({ "statements": "for word in ('a', 'b'): print(word)" })).expect_code(0).stdout;
    assert_eq!(printed.trim_end(), "a\nb");
    let wrong = call("eval", json!({ "expression": "1 / 0" })).expect_code(5).stdout;
    assert_eq!(wrong, "ZeroDivisionError: division by zero\n");
    let outside = call("eval", json!({ "expression": "open('/etc/passwd').read()" })).expect_code(5).stdout;
    assert!(outside.contains("Error"), "{outside}");
    let endless = call("exec", json!({ "statements": "while True: pass" })).expect_code(5);
    assert!(endless.stderr.contains("fuel") || endless.stderr.contains("time"), "{}", endless.stderr);
}
