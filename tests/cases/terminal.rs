//! Terminal output contains no escape sequences from models, tools or servers. A pipe gets every byte unchanged.

use std::process::Command;

use crate::harness::{Firebox, root, scratch};

/// The bytes that `firebox` with these arguments writes to a terminal.
fn on_terminal(args: &[&str]) -> String {
    let output = Command::new("python3")
        .arg(root().join("tests/harness/terminal.py"))
        .args([r#"[["end"]]"#, env!("CARGO_BIN_EXE_firebox")])
        .args(args)
        .env("FIREBOX_CACHE", scratch("cache"))
        .env("FIREBOX_DATA", scratch("terminal-data"))
        .env("TERM", "xterm")
        .output()
        .expect("python3 is needed");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{stderr}"));
    assert!(told["failed"].is_null(), "{told}");
    told["raw"].as_str().expect("what was written").to_owned()
}

/// Whether `c` controls a terminal. The terminal itself adds `\r` before each line feed.
fn is_control(c: char) -> bool {
    (c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{e0000}'..='\u{e007f}')
}

fn assert_clean(shown: &str, args: &[&str]) {
    let found: Vec<char> = shown.chars().filter(|c| is_control(*c)).collect();
    assert!(found.is_empty(), "{args:?} wrote {found:?}:\n{shown:?}");
    assert!(!shown.replace("\r\n", "\n").contains('\r'), "{args:?} moves the cursor:\n{shown:?}");
}

fn server() -> String {
    format!("bad=python3 {}", root().join("tests/mcp/hostile_server.py").display())
}

#[test]
fn no_mcp_server_controls_the_terminal() {
    let server = server();
    for (args, shows) in [
        (vec!["mcp", "check"], "ok, revision 2025-11-25"),
        (vec!["mcp", "tools"], "refuse"),
        (vec!["mcp", "call", "bad", "say"], "said"),
        (vec!["mcp", "call", "bad", "fail"], "returned an error"),
        (vec!["mcp", "call", "bad", "refuse"], "refused"),
        (vec!["mcp", "call", "bad", "steps"], "said"),
        (vec!["mcp", "call", "bad", "say", "--json"], "blocks"),
    ] {
        let args: Vec<&str> = args.into_iter().chain(["--mcp", &server]).collect();
        let shown = on_terminal(&args);
        assert!(shown.contains(shows), "{args:?}:\n{shown:?}");
        assert_clean(&shown, &args);
    }
}

#[test]
fn no_name_and_no_answer_controls_the_terminal() {
    let hostile = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{202e}x";
    let file = format!("{hostile}.wasm");
    for args in [
        vec!["run", "--model", hostile, "hello"],
        vec!["run", "--plugin", &file, "hello"],
        vec!["serve", "--config", hostile],
        vec!["chat", "--session", hostile],
        vec!["embed", "--model", hostile, "--input", hostile, "--output", hostile],
        vec!["mcp", "serve", "--plugin", &file],
    ] {
        let shown = on_terminal(&args);
        assert!(shown.contains("owned"), "{args:?}:\n{shown:?}");
        assert_clean(&shown, &args);
    }
    // The answer and the line of the tool call repeat the text.
    let question = format!("Reverse the text a{hostile}b");
    let args = ["run", "--device", "cpu", &question];
    let shown = on_terminal(&args);
    assert!(shown.contains("tool     reverse_text"), "{shown:?}");
    assert_clean(&shown, &args);
}

#[test]
fn a_pipe_gets_every_byte() {
    let run = Firebox::new(["mcp", "call", "bad", "say", "--mcp", &server()]).run().expect_code(0);
    assert!(run.stdout.contains("\u{1b}]52;c;eA==\u{7}") && run.stdout.contains('\u{202e}'), "{:?}", run.stdout);
}
