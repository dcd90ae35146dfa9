//! `firebox mcp tools|call|check` and `firebox run --mcp` against real servers and against broken ones.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Run, firebox, root, scratch};

/// Where `tests/tools/mcp-servers` put the real servers; the test runner always says so.
fn servers() -> PathBuf {
    let prefix = std::env::var_os("FIREBOX_TEST_MCP_SERVERS");
    PathBuf::from(prefix.expect("eval \"$(tests/tools/mcp-servers)\" first; tests/run does"))
}

/// A server that misbehaves as its arguments say.
fn fake(name: &str, modes: &str) -> String {
    format!("{name}=python3 '{}' {modes}", root().join("host/mcp/tests/fake.py").display())
}

/// One real server: how it is started, what it is asked, what it must answer.
struct Row {
    name: &'static str,
    flag: String,
    revision: &'static str,
    tools_min: usize,
    tool: &'static str,
    arguments: String,
    answer: &'static str,
}

fn node(package: &str, rest: &str) -> String {
    let bin = servers().join("node_modules/.bin");
    format!("'{0}/node' '{0}/mcp-server-{package}' {rest}", bin.display())
}

fn python(environment: &str, program: &str, rest: &str) -> String {
    format!("'{}' {rest}", servers().join(environment).join("bin").join(program).display())
}

fn folder(name: &str) -> PathBuf {
    let path = scratch("mcp").join(name);
    // What an earlier run left there is not this run's business.
    drop(std::fs::remove_dir_all(&path));
    std::fs::create_dir_all(&path).expect("writable");
    path
}

fn repository(path: &Path) {
    let status = Command::new("git").args(["init", "--quiet"]).arg(path).status().expect("git is there");
    assert!(status.success());
}

/// Every real server, in folders of `test`'s own.
fn matrix(test: &str) -> Vec<Row> {
    let files = folder(&format!("{test}-files"));
    let repo = folder(&format!("{test}-repo"));
    repository(&repo);
    typescript(&files).into_iter().chain(python_servers(&files, &repo)).collect()
}

fn row(name: &'static str, command: &str, (tool, arguments, answer): (&'static str, &str, &'static str)) -> Row {
    let (flag, arguments) = (format!("{name}={command}"), arguments.to_owned());
    Row { name, flag, revision: "2025-11-25", tools_min: 5, tool, arguments, answer }
}

fn typescript(files: &Path) -> [Row; 3] {
    let note = files.join("note.txt");
    std::fs::write(&note, "written by a test\n").expect("writable");
    let note = format!(r#"{{"path": "{}"}}"#, note.display());
    let ada = r#"{"entities": [{"name": "ada", "entityType": "person", "observations": ["writes"]}]}"#;
    let memory = format!("MEMORY_FILE_PATH='{}' {}", files.join("graph.json").display(), node("memory", ""));
    [
        row("everything", &node("everything", "stdio"), ("echo", r#"{"message": "hello"}"#, "Echo: hello")),
        row(
            "filesystem",
            &node("filesystem", &format!("'{}'", files.display())),
            ("read_text_file", &note, "written by a test"),
        ),
        row("memory", &memory, ("create_entities", ada, "ada")),
    ]
}

fn python_servers(files: &Path, repo: &Path) -> [Row; 4] {
    let time = python("new", "mcp-server-time", "--local-timezone UTC");
    let noon = r#"{"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}"#;
    let git = python("new", "mcp-server-git", &format!("--repository '{}'", repo.display()));
    let status = format!(r#"{{"repo_path": "{}"}}"#, repo.display());
    let base = files.join("base.sqlite");
    let sqlite = python("old", "mcp-server-sqlite", &format!("--db-path '{}'", base.display()));
    let select = r#"{"query": "select 6 * 7 as answer"}"#;
    let fast = root().join("tests/mcp/fastmcp_server.py");
    let fast = python("new", "python", &format!("'{}'", fast.display()));
    let newest = |row: Row, tools_min| Row { revision: "2026-07-28", tools_min, ..row };
    [
        newest(row("time", &time, ("convert_time", noon, "21:00")), 2),
        newest(row("git", &git, ("git_status", &status, "No commits yet")), 10),
        row("sqlite", &sqlite, ("read_query", select, "42")),
        newest(row("fast", &fast, ("add", r#"{"a": 40, "b": 2}"#, "42")), 3),
    ]
}

fn mcp(action: &[&str], flags: &[String]) -> Run {
    let flags = flags.iter().flat_map(|flag| ["--mcp", flag.as_str()]);
    let args: Vec<&str> = ["mcp"].into_iter().chain(action.iter().copied()).chain(flags).collect();
    firebox(&args)
}

#[test]
fn real_servers_answer_calls() {
    for row in matrix("call") {
        let run = mcp(&["call", row.name, row.tool, &row.arguments], &[row.flag]).expect_code(0);
        assert!(run.stdout.contains(row.answer), "{}: {} {}", row.name, run.stdout, run.stderr);
    }
}

#[test]
fn real_servers_are_reached_on_their_newest_revision_all_at_once() {
    let rows = matrix("check");
    let flags: Vec<String> = rows.iter().map(|row| row.flag.clone()).collect();
    let report = mcp(&["check", "--json"], &flags).expect_code(0).json();
    for (row, server) in rows.iter().zip(report["servers"].as_array().expect("a list")) {
        assert_eq!((server["name"].as_str(), &server["reachable"]), (Some(row.name), &true.into()), "{server}");
        assert_eq!(server["revision"], row.revision, "{server}");
        assert!(server["tools"].as_array().is_some_and(|tools| tools.len() >= row.tools_min), "{server}");
    }
    let list = mcp(&["tools", "--json"], &flags).expect_code(0).json();
    let mut names: Vec<&str> =
        list["tools"].as_array().expect("a list").iter().map(|tool| tool["name"].as_str().expect("text")).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all, "names are unique");
    assert!(names.contains(&"read_text_file") && names.contains(&"add"), "{names:?}");
}

/// A real server over HTTP, ended when dropped.
struct Http(Child);

impl Drop for Http {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to do.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn serve(mut command: Command, port: u16) -> Http {
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    let started = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(started.elapsed() < Duration::from_secs(60), "the server never listens");
        std::thread::sleep(Duration::from_millis(50));
    }
    Http(child)
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port()
}

#[test]
fn real_servers_answer_over_http() {
    let port = free_port();
    let mut fast = Command::new(servers().join("new/bin/python"));
    fast.arg(root().join("tests/mcp/fastmcp_server.py")).arg(port.to_string());
    let _fast = serve(fast, port);
    let flag = [format!("fast=http://127.0.0.1:{port}/mcp")];
    assert_eq!(mcp(&["call", "fast", "add", r#"{"a": 40, "b": 2}"#], &flag).expect_code(0).stdout.trim(), "42");
    assert!(mcp(&["call", "fast", "fail"], &flag).expect_code(5).stdout.contains("no luck today"));
    assert_eq!(mcp(&["call", "fast", "steps"], &flag).expect_code(0).stdout.trim(), "done");
    let port = free_port();
    let mut everything = Command::new(servers().join("node_modules/.bin/node"));
    everything.arg(servers().join("node_modules/.bin/mcp-server-everything")).arg("streamableHttp");
    everything.env("PORT", port.to_string());
    let _everything = serve(everything, port);
    let flag = [format!("everything=http://127.0.0.1:{port}/mcp")];
    let run = mcp(&["call", "everything", "echo", r#"{"message": "hi"}"#], &flag).expect_code(0);
    assert_eq!(run.stdout.trim(), "Echo: hi");
    let image = mcp(&["call", "everything", "get-tiny-image", "--json"], &flag).expect_code(0).json();
    assert!(image["blocks"].as_array().expect("a list").iter().any(|block| block["mime"] == "image/png"), "{image}");
}

#[test]
fn each_way_to_fail_has_its_exit_code_and_its_words() {
    let good = fake("good", "");
    let rows: [(&[&str], &str, i32, &str); 7] = [
        (&["call", "nobody", "echo"], &good, 2, "there are: good"),
        (&["call", "good", "nothing"], &good, 2, "it has: echo"),
        (&["call", "good", "echo", "[1]"], &good, 2, "not a JSON object"),
        (&["call", "good", "fail"], &good, 5, "returned an error"),
        (&["check"], "bad=false", 3, "1 of 1 MCP servers cannot be used"),
        (&["tools"], "bad=no-such-program-anywhere", 3, "there is no program"),
        (&["tools"], "bad", 2, "write --mcp NAME=COMMAND"),
    ];
    for (action, flag, code, words) in rows {
        let run = mcp(action, &[flag.to_owned()]).expect_code(code);
        assert!(run.stderr.contains(words), "{action:?}: {}", run.stderr);
    }
    let none = mcp(&["check"], &[]).expect_code(2);
    assert!(none.stderr.contains("no MCP server given"), "{}", none.stderr);
}

#[test]
fn a_broken_server_costs_one_line_and_its_own_tools() {
    let flags = [fake("good", ""), fake("bad", "crash")];
    let run = mcp(&["tools"], &flags).expect_code(0);
    assert!(run.stdout.contains("echo") && run.stdout.contains("good (reads)"), "{}", run.stdout);
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    assert!(run.stderr.contains("\"bad\"") && run.stderr.contains("cannot find my files"), "{}", run.stderr);
    let run = mcp(&["check"], &flags).expect_code(3);
    assert!(run.stdout.contains("good: ok, revision 2025-11-25, fake 1,"), "{}", run.stdout);
    let args = ["run", "What is 12 * 12?", "--mcp", flags[0].as_str(), "--mcp", flags[1].as_str()];
    let run = firebox(&args).expect_code(0);
    assert!(run.stdout.contains("144"), "{}", run.stdout);
    assert!(run.stderr.contains("mcp server \"bad\" cannot be used"), "{}", run.stderr);
}

#[test]
fn tools_that_are_left_out_are_named() {
    let odd = format!("odd=python3 '{}' stdio tools_mixed", root().join("host/mcp/tests/odd.py").display());
    let run = mcp(&["check"], std::slice::from_ref(&odd)).expect_code(0);
    assert!(run.stdout.contains("odd: left out \"text\": its input schema"), "{}", run.stdout);
    let run = mcp(&["check", "--json"], std::slice::from_ref(&odd)).expect_code(0).json();
    assert_eq!(run["servers"][0]["left_out"].as_array().map(Vec::len), Some(5), "{run}");
    let run = mcp(&["tools"], &[odd]).expect_code(0);
    assert!(run.stderr.contains("left out \"entry 4\": it has no name"), "{}", run.stderr);
}

#[test]
fn headers_are_given_to_the_server_they_name_and_never_shown() {
    let web = "web=http://127.0.0.1:9/mcp".to_owned();
    for (header, code, words) in [
        ("nobody=X-Key: hunter22", 2, "unknown server \"nobody\""),
        ("web=X Key: hunter22", 2, "\"x key\" is not a valid header name"),
        ("web=X-Key: hunter22", 3, "1 of 1 MCP servers cannot be used"),
    ] {
        let run = mcp(&["check", "--mcp-header", header], std::slice::from_ref(&web)).expect_code(code);
        assert!(run.stderr.contains(words), "{}", run.stderr);
        assert!(!run.stderr.contains("hunter22") && !run.stdout.contains("hunter22"), "{} {}", run.stdout, run.stderr);
    }
}
