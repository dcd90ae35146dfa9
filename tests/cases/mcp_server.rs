//! `firebox mcp serve` as MCP clients meet it: the official suite, the inspector, fastmcp, and lines written by hand.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::devices::environment;
use crate::harness::{Firebox, firebox, root, run, scratch};

/// The fixture plugin, as it is committed.
fn fixture() -> PathBuf {
    root().join("plugins/prebuilt/conformance.wasm")
}

/// One of the clients that `tests/tools/conformance` fetches.
fn tool(name: &str) -> String {
    environment("conformance").into_iter().find(|(found, _)| found == name).expect("the tool says where").1
}

/// A command that runs `script` with the fetched Node.
fn node(script: &str) -> Command {
    let bin = tool("FIREBOX_TEST_NODE_BIN");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(Path::new(&bin).join("node"));
    command.arg(tool(script)).env("PATH", format!("{bin}:{path}"));
    command
}

/// A server that ends with the test.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    /// At a free port of this machine.
    fn start() -> Self {
        let plugin = fixture();
        let plugin = plugin.to_str().expect("UTF-8");
        let mut child = Firebox::new(["mcp", "serve", "--listen", "127.0.0.1:0", "--plugin", plugin]).spawn();
        let mut lines = BufReader::new(child.stderr.take().expect("piped"));
        let mut line = String::new();
        lines.read_line(&mut line).expect("it says where it is");
        let url = line.split_whitespace().find(|word| word.starts_with("http")).unwrap_or_else(|| panic!("{line}"));
        let url = url.trim_end_matches(';').to_owned();
        std::thread::spawn(move || drop(std::io::copy(&mut lines, &mut std::io::sink())));
        Self { child, url }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().expect("killable");
        self.child.wait().expect("waitable");
    }
}

/// Runs exactly what the revision requires. The suite itself fails on an unexpected failure and on a stale entry.
fn conformance(revision: &str) {
    let server = Server::start();
    let results = scratch("conformance").join(revision);
    let mut command = node("FIREBOX_TEST_CONFORMANCE");
    command.args(["server", "--url", &server.url, "--requirements", revision, "--expected-failures"]);
    command.arg(root().join("tests/mcp/expected-failures.yml")).arg("-o").arg(results);
    let ended = run(&mut command, Vec::new());
    let summary = ended.stdout.split("=== SUMMARY ===").nth(1).unwrap_or(&ended.stdout);
    assert_eq!(ended.code, Some(0), "{summary}\n{}", ended.stderr);
    for scenario in ["tools-list", "tools-call-with-progress", "tools-call-error", "dns-rebinding-protection"] {
        assert!(summary.contains(&format!("✓ {scenario}: ")), "{scenario} ran and passed: {summary}");
    }
}

#[test]
fn the_conformance_suite_of_2025_11_25() {
    conformance("2025-11-25");
}

#[test]
fn the_conformance_suite_of_2026_07_28() {
    conformance("2026-07-28");
}

/// The other way round: the suite is the server, and `firebox mcp` its client.
#[test]
fn the_conformance_scenarios_of_clients() {
    const SCENARIOS: &[(&str, &str)] = &[
        ("initialize", "2025-11-25"),
        ("tools_call", "2025-11-25"),
        ("tools_call", "2026-07-28"),
        ("sse-retry", "2025-11-25"),
        ("request-metadata", "2026-07-28"),
        ("http-standard-headers", "2026-07-28"),
        ("http-custom-headers", "2026-07-28"),
        ("http-invalid-tool-headers", "2026-07-28"),
    ];
    let client = format!("python3 {}", root().join("tests/mcp/conformance_client.py").display());
    for (scenario, revision) in SCENARIOS {
        let mut command = node("FIREBOX_TEST_CONFORMANCE");
        command.args(["client", "--command", &client, "--scenario", scenario, "--spec-version", revision]);
        command.env("FIREBOX", env!("CARGO_BIN_EXE_firebox")).env("FIREBOX_CACHE", scratch("cache"));
        let ended = run(&mut command, Vec::new());
        assert_eq!(ended.code, Some(0), "{scenario} of {revision}: {}\n{}", ended.stdout, ended.stderr);
        let said = ended.stdout + &ended.stderr;
        assert!(said.contains("OVERALL: PASSED"), "{scenario} of {revision} ran: {said}");
    }
}

#[test]
fn the_inspector_lists_and_calls_over_standard_input() {
    let ask = |method: &[&str]| {
        let mut command = node("FIREBOX_TEST_INSPECTOR");
        command.arg("--cli").arg(env!("CARGO_BIN_EXE_firebox")).args(["mcp", "serve", "--plugin"]).arg(fixture());
        // Its catalogue of servers belongs to the person, not to this test.
        command.args(method).env("MCP_CATALOG_PATH", scratch("inspector").join("catalog.json"));
        run(&mut command, Vec::new())
    };
    let listed = ask(&["--method", "tools/list"]).expect_code(0).json();
    let tools = listed["tools"].as_array().expect("a list");
    assert!(tools.iter().any(|tool| tool["name"] == "test_simple_text"), "{listed}");
    let call = ["--method", "tools/call", "--tool-name", "test_work", "--tool-arg", "steps=2"];
    assert_eq!(ask(&call).expect_code(0).json()["content"][0]["text"], "worked 2 million steps");
    // The inspector's own code for a tool that answered with an error.
    let fault = ask(&["--method", "tools/call", "--tool-name", "fault_endless"]).expect_code(5);
    assert!(fault.stdout.contains("used all its fuel (200000000)"), "{}", fault.stdout);
}

fn fastmcp(target: &[&str]) {
    let mut command = Command::new(tool("FIREBOX_TEST_FASTMCP_PYTHON"));
    command.arg(root().join("tests/mcp/fastmcp_client.py")).args(target);
    let saw = run(&mut command, Vec::new()).expect_code(0).json();
    assert!(saw["tools"].as_array().is_some_and(|tools| tools.len() > 10), "{saw}");
    assert_eq!(saw["text"], "This is a simple text response for testing.");
    assert_eq!(saw["structured"], json!({ "temperature": 22.5, "conditions": "sunny" }));
    assert_eq!(saw["picture"], "image/png");
    let steps = [0.0, 50.0, 100.0].map(|done| json!([done, 100.0, "working"]));
    assert_eq!(saw["progress"], json!(steps));
    assert_eq!(saw["fault"][0], true);
    assert!(saw["fault"][1].as_str().is_some_and(|text| text.contains("bytes of memory where 33554432")), "{saw}");
}

#[test]
fn fastmcp_over_http() {
    let server = Server::start();
    fastmcp(&[&server.url]);
}

#[test]
fn fastmcp_over_standard_input() {
    let plugin = fixture();
    fastmcp(&[env!("CARGO_BIN_EXE_firebox"), "mcp", "serve", "--plugin", plugin.to_str().expect("UTF-8")]);
}

/// A client that writes and reads lines, after its handshake.
struct Lines {
    child: Child,
    write: Option<ChildStdin>,
    read: BufReader<ChildStdout>,
}

impl Lines {
    fn start(args: &[&str]) -> Self {
        let mut child = Firebox::new(["mcp", "serve"].iter().chain(args)).spawn();
        let (write, read) = (child.stdin.take(), BufReader::new(child.stdout.take().expect("piped")));
        let mut lines = Self { child, write, read };
        let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "0" } });
        lines.send(&json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params }));
        assert_eq!(lines.next()["result"]["serverInfo"]["name"], "firebox");
        lines.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        lines
    }

    fn send(&mut self, message: &Value) {
        writeln!(self.write.as_mut().expect("open"), "{message}").expect("the server reads");
    }

    fn call(&mut self, id: u64, tool: &str, arguments: Value) {
        let params = json!({ "name": tool, "arguments": arguments, "_meta": { "progressToken": id } });
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params }));
    }

    /// A server that says nothing more ends by its own limits, and then this fails.
    fn next(&mut self) -> Value {
        let mut line = String::new();
        self.read.read_line(&mut line).expect("a line");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("standard output has only messages: {error}: {line}"))
    }

    /// Closes standard input; the rest of standard output, and how long the server took to end.
    fn end(mut self) -> (String, Option<i32>, Duration) {
        let started = Instant::now();
        self.write = None;
        let mut rest = String::new();
        self.read.read_to_string(&mut rest).expect("readable");
        (rest, self.child.wait().expect("waitable").code(), started.elapsed())
    }
}

#[test]
fn without_plugins_named_the_built_in_tools_are_offered_and_the_end_of_input_ends_it() {
    let mut lines = Lines::start(&[]);
    lines.send(&json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" }));
    let listed = lines.next();
    let names: Vec<&str> =
        listed["result"]["tools"].as_array().expect("a list").iter().filter_map(|t| t["name"].as_str()).collect();
    assert!(names.contains(&"calculator") && names.contains(&"reverse_text"), "{names:?}");
    lines.call(2, "calculator", json!({ "expression": "1234 * 87" }));
    let answer = lines.next();
    assert_eq!(answer["result"]["content"][0]["text"], "107358");
    assert!(answer["result"]["_meta"]["firebox/use"]["fuel"].as_u64().is_some_and(|fuel| fuel > 0), "{answer}");
    lines.call(3, "calculator", json!({ "expression": "1", "more": true }));
    let answer = lines.next();
    assert_eq!(answer["result"]["isError"], true, "an answer, no protocol error: {answer}");
    let text = answer["result"]["content"][0]["text"].as_str().expect("text");
    assert!(text.contains("do not fit the tool's schema") && text.contains("'more' was unexpected"), "{text}");
    assert_eq!(answer["result"]["_meta"]["firebox/use"]["fuel"], 0, "the plugin did not run: {answer}");
    let (rest, code, _) = lines.end();
    assert_eq!((rest.as_str(), code), ("", Some(0)));
}

/// Sends `lines` at once, closes standard input, and reads all that is answered.
fn at_once(args: &[&str], messages: &[Value]) -> (Vec<Value>, Option<i32>) {
    let text: String = messages.iter().map(|message| format!("{message}\n")).collect();
    let ended = Firebox::new(["mcp", "serve"].iter().chain(args)).input(text.trim_end()).run();
    let lines = ended.stdout.lines().map(|line| serde_json::from_str(line).expect("a message"));
    (lines.collect(), ended.code)
}

fn handshake() -> [Value; 2] {
    let params =
        json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "t", "version": "0" } });
    [
        json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params }),
        json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }),
    ]
}

#[test]
fn every_call_that_came_before_the_end_of_input_is_answered() {
    let call = |id: u64| {
        let meta = json!({ "progressToken": id });
        let params = json!({ "name": "test_work", "arguments": { "steps": 30 }, "_meta": meta });
        json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params })
    };
    let plugin = fixture();
    let args = ["--plugin", plugin.to_str().expect("UTF-8"), "--fuel", "100000000000", "--plugin-timeout", "60s"];
    let messages: Vec<Value> = handshake().into_iter().chain((1..=5).map(call)).collect();
    let (said, code) = at_once(&args, &messages);
    let mut answered: Vec<u64> = said.iter().filter_map(|message| message["id"].as_u64()).collect();
    answered.sort_unstable();
    assert_eq!(answered, [0, 1, 2, 3, 4, 5], "{said:?}");
    assert!(said.iter().any(|message| message["method"] == "notifications/progress"), "{said:?}");
    assert_eq!(code, Some(0));
}

#[test]
fn a_client_that_sends_nonsense_is_told_and_served() {
    let [begin, begun] = handshake();
    let list = |id: Value| json!({ "jsonrpc": "2.0", "id": id, "method": "tools/list" });
    let messages =
        [begun.clone(), list(json!(1)), begin, begun, json!([list(json!(2))]), list(json!(2.5)), list(json!("last"))];
    let (said, code) = at_once(&[], &messages);
    let errors: Vec<(&Value, &Value)> =
        said.iter().filter(|message| message.get("error").is_some()).map(|m| (&m["id"], &m["error"]["code"])).collect();
    let code_of_request = json!(-32_600);
    assert_eq!(
        errors,
        [(&json!(1), &code_of_request), (&Value::Null, &code_of_request), (&json!(2.5), &code_of_request)],
        "{said:?}"
    );
    assert!(said.iter().any(|message| message["id"] == "last" && message["result"]["tools"].is_array()), "{said:?}");
    assert_eq!(code, Some(0));
}

#[test]
fn who_started_the_server_is_told_of_its_options() {
    let plugin = fixture();
    let mut lines = Lines::start(&["--plugin", plugin.to_str().expect("UTF-8"), "--fuel", "50000000"]);
    lines.call(1, "fault_endless", json!({}));
    let answer = lines.next().to_string();
    assert!(answer.contains("raise the limit with --fuel"), "{answer}");
}

#[test]
fn a_broken_tool_is_an_answer_and_the_next_call_works() {
    let plugin = fixture();
    let mut lines = Lines::start(&["--plugin", plugin.to_str().expect("UTF-8"), "--fuel", "50000000"]);
    let faults = [
        ("fault_endless", "all its fuel (50000000)"),
        ("fault_memory", "bytes of memory"),
        ("fault_panic", "panics as asked"),
    ];
    for (id, (tool, words)) in (1..).zip(faults) {
        lines.call(id, tool, json!({}));
        let answer = lines.next();
        assert_eq!(answer["result"]["isError"], true, "{answer}");
        let text = answer["result"]["content"][0]["text"].as_str().expect("text");
        assert!(text.contains("plugin \"conformance\" at stage \"tool\"") && text.contains(words), "{text}");
    }
    lines.call(9, "test_simple_text", json!({}));
    assert_eq!(lines.next()["result"]["isError"], false);
    assert_eq!(lines.end().1, Some(0));
}

#[test]
fn a_cancelled_call_stops_computing() {
    let plugin = fixture();
    let plugin = plugin.to_str().expect("UTF-8");
    let mut lines = Lines::start(&["--plugin", plugin, "--fuel", "1000000000000", "--plugin-timeout", "600s"]);
    lines.call(1, "test_work", json!({ "steps": 4_000_000_000_u32 }));
    // It works, and says so while it works.
    for _ in 0..3 {
        assert_eq!(lines.next()["method"], "notifications/progress");
    }
    lines.send(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 1 } }));
    lines.send(&json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list" }));
    while lines.next()["id"] != 2 {}
    // A call that still ran would be waited for: five seconds.
    let (rest, code, took) = lines.end();
    assert_eq!(code, Some(0));
    // A report may have been on its way; it goes on working no more, and there is no answer.
    let reports = rest.lines().filter(|line| line.contains("notifications/progress")).count();
    assert!(reports <= 2 && rest.lines().count() == reports, "{rest}");
    assert!(took < Duration::from_secs(4), "it took {took:?} to end");
}

#[test]
fn what_cannot_be_served_is_said_before_anything_listens() {
    let cases: [(&[&str], &str); 4] = [
        (&["--listen", "0.0.0.0:0"], "can be reached from other machines"),
        (&["--plugin", "redact"], "\"redact\" has no tools"),
        (&["--plugin", "nonsense"], "there is no plugin \"nonsense\""),
        (&["--listen", "nowhere"], "invalid"),
    ];
    for (args, words) in cases {
        let ended = firebox(&[&["mcp", "serve"], args].concat()).expect_code(2);
        assert!(ended.stderr.contains(words), "{args:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "");
    }
}

#[cfg(unix)]
#[test]
fn a_signal_ends_it_in_order() {
    let mut server = Server::start();
    let signalled = Command::new("kill").arg("-TERM").arg(server.child.id().to_string()).status();
    assert!(signalled.expect("kill is there").success());
    assert_eq!(server.child.wait().expect("waitable").code(), Some(0));
}
