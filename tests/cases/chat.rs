//! `firebox chat` from a pipe and on a real terminal.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::{Firebox, Run, endless_model, root, scratch};

/// A folder for the sessions of one test.
fn data(name: &str) -> PathBuf {
    let folder = scratch("chat").join(name);
    // What an earlier run left there is not this run's business.
    drop(std::fs::remove_dir_all(&folder));
    std::fs::create_dir_all(&folder).expect("writable");
    folder
}

fn chat(data: &Path, args: &[&str], input: &str) -> Run {
    let args = ["chat", "--device", "cpu"].iter().chain(args);
    Firebox::new(args).env("FIREBOX_DATA", data).input(input).run()
}

/// What happened on a terminal.
struct Screen {
    code: Option<i64>,
    /// The terminal was left as a shell needs it.
    cooked: bool,
    text: String,
}

impl Screen {
    fn has(&self, wanted: &str) -> &Self {
        assert!(self.text.contains(wanted), "\"{wanted}\" is not on the screen:\n{}", self.text);
        self
    }
}

/// Plays `steps` (what to wait for, what to type) against a chat on a terminal of its own.
fn on_terminal(data: &Path, args: &[&str], steps: &[(&str, &str)]) -> Screen {
    let steps: Vec<Vec<&str>> =
        steps.iter().map(|(kind, text)| if text.is_empty() { vec![*kind] } else { vec![*kind, *text] }).collect();
    let output = Command::new("python3")
        .arg(root().join("tests/harness/terminal.py"))
        .arg(serde_json::to_string(&steps).expect("text"))
        .args([env!("CARGO_BIN_EXE_firebox"), "chat", "--device", "cpu"])
        .args(args)
        .env("FIREBOX_DATA", data)
        .env("FIREBOX_CACHE", scratch("cache"))
        .env("TERM", "xterm")
        .output()
        .expect("python3 is needed");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{stderr}"));
    let text = told["screen"].as_str().expect("a screen").to_owned();
    assert!(told["failed"].is_null(), "{}\n{text}", told["failed"]);
    assert!(!text.contains("panicked"), "{text}");
    Screen { code: told["code"].as_i64(), cooked: told["cooked"] == true, text }
}

#[test]
fn each_line_of_a_pipe_is_a_turn_and_the_turns_are_kept() {
    let data = data("piped");
    let run = chat(&data, &[], "What is 1234 * 87?\n\nReverse the text hello\n/history\n").expect_code(0);
    let answers: Vec<usize> = ["107358", "olleh"].iter().map(|text| run.stdout.find(text).expect(text)).collect();
    assert!(answers[0] < answers[1], "{}", run.stdout);
    assert!(!run.stdout.contains("> "), "no prompt decorates a pipe: {}", run.stdout);
    assert!(run.stderr.contains("tool     calculator") && run.stderr.contains("fuel"), "{}", run.stderr);
    let again = chat(&data, &["--session", "last"], "/history\n/sessions\n").expect_code(0);
    let roles: Vec<&str> = again.stdout.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    let expected = ["user", "assistant", "tool", "assistant", "user", "assistant", "tool", "assistant"];
    assert_eq!(roles[..8], expected, "tool calls and results are kept: {}", again.stdout);
    assert!(again.stdout.contains("calculator {") && again.stdout.contains("8 messages"), "{}", again.stdout);
}

#[test]
fn a_conversation_has_a_memory_that_commands_change() {
    let data = data("commands");
    let script = "Reverse the text hello\n/undo\n/history\n/set temperature=0\n/set\nReverse the text abc\n/retry\n\
                  /fork\n/system Be brief.\n/pin 1\n/history\n/stats\n/title three letters\n/sessions\n";
    let run = chat(&data, &[], script).expect_code(0);
    assert!(run.stderr.contains("removed: Reverse the text hello"), "{}", run.stderr);
    assert!(run.stdout.contains("temperature          0"), "{}", run.stdout);
    assert_eq!(
        run.stdout.matches("cba").count(),
        4,
        "twice answered, and in the history with its result: {}",
        run.stdout
    );
    for wanted in ["*   0 system    Be brief.", "*   1 user      Reverse", "prefill", "three letters"] {
        assert!(run.stdout.contains(wanted), "\"{wanted}\" is not in: {}", run.stdout);
    }
    assert_eq!(run.stdout.matches("messages  ").count(), 2, "the fork and its origin: {}", run.stdout);
    let list = chat(&data, &["--list"], "").expect_code(0);
    assert_eq!(list.stdout.lines().count(), 2, "{}", list.stdout);
}

#[test]
fn a_session_travels_as_json_lines() {
    let (from, to) = (data("export"), data("import"));
    chat(&from, &["--system", "Be kind."], "What is 1234 * 87?\n").expect_code(0);
    let lines = chat(&from, &["--export", "last"], "").expect_code(0).stdout;
    let roles: Vec<String> = lines
        .lines()
        .skip(1)
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["role"].to_string())
        .collect();
    assert_eq!(roles, ["\"system\"", "\"user\"", "\"assistant\"", "\"tool\"", "\"assistant\""]);
    let file = to.join("session.jsonl");
    std::fs::write(&file, &lines).expect("written");
    let path = file.display().to_string();
    let copy = to.join("copy.jsonl");
    let script = format!("/history\n/save {}\n/delete last\n", copy.display());
    let run = chat(&to, &["--import", &path], &script).expect_code(0);
    assert_eq!(std::fs::read_to_string(&copy).expect("written"), lines, "what went in comes out");
    assert!(run.stdout.contains("107358") && run.stdout.contains("Be kind."), "{}", run.stdout);
    assert!(chat(&to, &["--list"], "").stdout.contains("no sessions"), "deleted for good");
}

#[test]
fn plugins_are_listed_with_their_descriptions_and_limits() {
    let run = chat(&data("plugins"), &["--plugin", "redact"], "/plugins\n").expect_code(0);
    for wanted in ["calculator               2000000000 fuel, 32 MiB, 2000 ms a call", "redact ", "exact arithmetic"] {
        assert!(run.stdout.contains(wanted), "\"{wanted}\" is not in: {}", run.stdout);
    }
}

#[test]
fn several_lines_make_one_turn() {
    let run = chat(&data("folded"), &[], "\"\"\"\nReverse the text\nhello\n\"\"\"\n/history\n").expect_code(0);
    assert!(run.stdout.contains("   1 user      Reverse the text hello\n"), "{}", run.stdout);
    assert!(!run.stdout.contains("   5 user"), "one turn: {}", run.stdout);
}

#[test]
fn no_save_keeps_nothing_at_all() {
    let data = data("unsaved");
    let run = chat(&data, &["--no-save"], "Reverse the text hello\n/save\n").expect_code(0);
    assert!(run.stdout.contains("olleh") && run.stdout.contains("memory only"), "{}", run.stdout);
    assert_eq!(std::fs::read_dir(&data).expect("there").count(), 0);
}

#[test]
fn old_turns_make_room_and_pinned_ones_stay() {
    let data = data("room");
    let turns: String = (0..8).map(|n| format!("Reverse the text word{n}\n")).collect();
    let script = format!("{turns}/pin 1\n/history\nReverse the text end\n");
    let run = chat(&data, &["--context", "640"], &script).expect_code(0);
    assert!(run.stdout.contains("dne"), "the last turn is answered although all of them do not fit: {}", run.stdout);
    assert_eq!(run.stderr.matches("the oldest turns no longer fit into the context").count(), 1, "{}", run.stderr);
    assert!(run.stdout.contains("word0"), "and nothing is lost from the session: {}", run.stdout);
}

#[test]
fn what_goes_wrong_in_a_pipe_ends_it_with_its_exit_code() {
    let data = data("wrong");
    for (args, input, code, wanted) in [
        (&[][..], "/hlep\n", 2, "did you mean /help?"),
        (&[][..], "/set temperature=99\n", 2, "temperature \"99\""),
        (&["--session", "last"][..], "", 2, "there is no session \"last\""),
        (&["--session", "7YZZY"][..], "", 2, "\"7YZZY\""),
        (&["--import", "nowhere.jsonl"][..], "", 2, "nowhere.jsonl"),
        (&["--approve", "sometimes"][..], "", 2, "sometimes"),
        (&["--no-save", "--session", "last"][..], "", 2, "cannot be used with"),
    ] {
        let run = chat(&data, args, input).expect_code(code);
        assert!(run.stderr.contains(wanted), "\"{wanted}\" is not in: {}", run.stderr);
    }
}

#[test]
fn a_damaged_session_file_is_set_aside_only_when_the_user_says_so() {
    let data = data("damaged");
    let path = data.join("sessions.db");
    std::fs::write(&path, vec![7u8; 9_000]).expect("written");
    let run = chat(&data, &[], "Reverse the text hello\n").expect_code(1);
    assert!(run.stderr.contains("is damaged") && run.stderr.contains("--set-aside"), "{}", run.stderr);
    assert_eq!(std::fs::read(&path).expect("there"), vec![7u8; 9_000], "and is as it was");
    let run = chat(&data, &["--set-aside"], "Reverse the text hello\n").expect_code(0);
    assert!(run.stdout.contains("olleh") && run.stderr.contains("sessions.db.damaged-"), "{}", run.stderr);
    assert_eq!(
        std::fs::read_dir(&data)
            .expect("there")
            .filter(|entry| {
                let name = entry.as_ref().expect("readable").file_name();
                name.to_string_lossy().contains("damaged")
            })
            .count(),
        1
    );
}

#[cfg(unix)]
#[test]
fn a_full_disk_costs_no_answer() {
    let data = data("full");
    // Writes beyond 100 KiB of any file fail as on a full disk, and the signal that would come with it is ignored.
    let script = "trap '' XFSZ; ulimit -f 200; exec \"$0\" chat --device cpu";
    let turns: String = (0..30).map(|n| format!("Reverse the text word{n}\n")).collect();
    let export = data.join("saved.jsonl");
    let mut child = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_firebox")])
        .env("FIREBOX_DATA", &data)
        .env("FIREBOX_CACHE", scratch("cache"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let input = format!("{turns}/save {}\n/history\n", export.display());
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("read");
    let output = child.wait_with_output().expect("ends");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert_eq!(stderr.matches("continues in memory").count(), 1, "told once: {stderr}");
    assert!(stdout.contains(" user      Reverse the text word0\n"), "nothing said is lost: {stdout}");
    assert!(stdout.contains("92drow") && stdout.contains("  120 assistant"), "{stdout}");
    let lines = std::fs::read_to_string(&export).expect("written").lines().count();
    assert_eq!(lines, 121, "and what is in memory can be written elsewhere");
    let kept = chat(&data, &["--session", "last"], "/history\n").expect_code(0);
    assert!(kept.stdout.contains("word0"), "what was stored before stays: {}", kept.stdout);
}

#[cfg(unix)]
#[test]
fn a_line_is_edited_and_recalled_on_a_terminal() {
    let data = data("edited");
    let left = "\u{1b}[D";
    let typed = format!("What is 1234 * 8?{left}7\r");
    let screen = on_terminal(
        &data,
        &[],
        &[
            ("expect", "> "),
            ("send", &typed),
            ("expect", "tool     calculator"),
            ("expect", "fuel"),
            ("expect", "107358"),
            ("expect", "> "),
            ("send", "\u{1b}[A\r"),
            ("expect", "107358"),
            ("expect", "> "),
            ("send", "/histo\t\r"),
            ("expect", "8 assistant"),
            ("expect", "> "),
            ("send", "\u{4}"),
            ("end", ""),
        ],
    );
    assert_eq!(screen.code, Some(0));
    screen.has("firebox chat --session");
    use std::os::unix::fs::PermissionsExt;
    for name in ["chat_history", "sessions.db"] {
        let mode = std::fs::metadata(data.join(name)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let history = std::fs::read_to_string(data.join("chat_history")).expect("there");
    assert!(history.contains("What is 1234 * 87?"), "{history}");
    let again = on_terminal(
        &data,
        &["--session", "last"],
        &[
            ("expect", "8 messages"),
            ("expect", "> What is 1234 * 87?"),
            ("expect", "107358"),
            ("expect", "> "),
            ("send", "\u{1b}[A\u{1b}[A\r"),
            ("expect", "107358"),
            ("expect", "> "),
            ("send", "/quit\r"),
            ("end", ""),
        ],
    );
    assert_eq!(again.code, Some(0), "the history of lines outlives the process too");
}

#[cfg(unix)]
#[test]
fn several_lines_are_typed_on_a_terminal() {
    let steps = [
        ("expect", "> "),
        ("send", "Reverse the text\u{1b}\rhello\r"),
        ("expect", "ended by"),
        ("expect", "> "),
        ("send", "Reverse the text \\\rabc\r"),
        ("expect", "ended by"),
        ("expect", "> "),
        ("send", "/history\r"),
        ("expect", "1 user      Reverse the text hello"),
        ("expect", " user      Reverse the text  abc"),
        ("expect", "> "),
        ("send", "/nonsense\r"),
        ("expect", "there is no command \"/nonsense\""),
        ("expect", "> "),
        ("send", "\u{4}"),
        ("end", ""),
    ];
    assert_eq!(on_terminal(&data("typed"), &["--stats"], &steps).code, Some(0), "and a slip does not end it");
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_the_answer_and_not_the_program() {
    let model = endless_model("endless_chat").display().to_string();
    let args = ["--model", &model, "--temperature", "2", "--seed", "1", "--max-tokens", "1500"];
    let steps = [
        ("expect", "> "),
        ("send", "go on\r"),
        ("expect", "go on\r\n"),
        ("expect", "e"),
        ("send", "\u{3}"),
        ("expect", "stopped"),
        ("expect", "> "),
        ("send", "/history\r"),
        ("expect", "2 assistant"),
        ("expect", "> "),
        ("send", "typed"),
        ("expect", "typed"),
        ("send", "\u{3}"),
        ("expect", "> "),
        ("send", "\u{3}"),
        ("expect", "press Ctrl-C again"),
        ("expect", "> "),
        ("send", "/model\r"),
        ("expect", "tokens"),
        ("expect", "> "),
        ("send", "\u{3}"),
        ("expect", "press Ctrl-C again"),
        ("expect", "> "),
        ("send", "\u{3}"),
        ("end", ""),
    ];
    let screen = on_terminal(&data("stopped"), &args, &steps);
    assert_eq!(screen.code, Some(0), "{}", screen.text);
    screen.has("firebox chat --session");
}

#[cfg(unix)]
#[test]
fn sigterm_ends_it_in_order_and_leaves_the_terminal_as_it_was() {
    let typing = [
        ("expect", "> "),
        ("send", "half a li"),
        ("expect", "half a li"),
        ("raw", ""),
        ("signal", "TERM"),
        ("end", ""),
    ];
    let screen = on_terminal(&data("terminated"), &[], &typing);
    assert_eq!((screen.code, screen.cooked), (Some(0), true), "while a person types: {}", screen.text);
    let asked = [
        ("expect", "> "),
        ("send", "Reverse the text hello\r"),
        ("expect", "run it?"),
        ("raw", ""),
        ("signal", "TERM"),
        ("end", ""),
    ];
    let data_asked = data("terminated_asked");
    let screen = on_terminal(&data_asked, &["--approve", "ask"], &asked);
    assert_eq!((screen.code, screen.cooked), (Some(0), true), "while a person is asked: {}", screen.text);
    assert!(!screen.text.contains("olleh"), "and nothing runs that was not approved: {}", screen.text);
    let model = endless_model("endless_terminated").display().to_string();
    let args = ["--model", &model, "--temperature", "2", "--seed", "1", "--max-tokens", "30000"];
    let answering = [
        ("expect", "> "),
        ("send", "go on\r"),
        ("expect", "go on\r\n"),
        ("expect", "e"),
        ("signal", "TERM"),
        ("expect", "stopped"),
        ("end", ""),
    ];
    let data = data("terminated_answer");
    let screen = on_terminal(&data, &args, &answering);
    assert_eq!((screen.code, screen.cooked), (Some(0), true), "in the middle of an answer: {}", screen.text);
    let kept = chat(&data, &["--session", "last"], "/history\n").expect_code(0);
    assert!(kept.stdout.contains("2 assistant"), "what there was of it is kept: {}", kept.stdout);
}

#[cfg(unix)]
#[test]
fn the_person_is_asked_before_tools_run() {
    let ask = "run it?";
    let steps = [
        ("expect", "> "),
        ("send", "Reverse the text hello\r"),
        ("expect", "the model wants to call reverse_text {\"text\": \"hello\"}"),
        ("expect", ask),
        ("send", "perhaps\r"),
        ("expect", "please answer"),
        ("expect", ask),
        ("send", "y\r"),
        ("expect", "olleh"),
        ("expect", "> "),
        ("send", "Reverse the text abc\r"),
        ("expect", ask),
        ("send", "n\r"),
        ("expect", "declined"),
        ("expect", "> "),
        ("send", "What is 1234 * 87?\r"),
        ("expect", ask),
        ("send", "s\r"),
        ("expect", "107358"),
        ("expect", "> "),
        ("send", "What is 1234 * 88?\r"),
        ("expect", "108592"),
        ("expect", "> "),
        ("send", "Reverse the text xyz\r"),
        ("expect", ask),
        ("send", "never\r"),
        ("expect", "declined"),
        ("expect", "> "),
        ("send", "Reverse the text uvw\r"),
        ("expect", "declined"),
        ("expect", "> "),
        ("send", "/approvals\r"),
        ("expect", "always runs in this chat"),
        ("expect", "never runs in this chat"),
        ("expect", "> "),
        ("send", "/approvals forget\r"),
        ("expect", "> "),
        ("send", "Reverse the text hello\r"),
        ("expect", ask),
        ("send", "\u{3}"),
        ("expect", "stopped"),
        ("expect", "> "),
        ("send", "\u{4}"),
        ("end", ""),
    ];
    let screen = on_terminal(&data("asked"), &["--approve", "ask"], &steps);
    assert_eq!(screen.code, Some(0));
    assert_eq!(screen.text.matches("the model wants to call").count(), 5, "{}", screen.text);
}

#[cfg(unix)]
#[test]
fn tools_of_other_servers_ask_and_plugins_do_not() {
    let data = data("servers");
    let server = data.join("server.py");
    std::fs::copy(root().join("tests/mcp/reverse_server.py"), &server).expect("copied");
    let flag = format!("text=python3 {}", server.display());
    let steps = [
        ("expect", "> "),
        ("send", "/tools\r"),
        ("expect", "calculator               runs"),
        ("expect", "reverse_text             asks"),
        ("expect", "> "),
        ("send", "What is 1234 * 87?\r"),
        ("expect", "107358 (calculator"),
        ("expect", "> "),
        ("send", "Reverse the text hello\r"),
        ("expect", "run it?"),
        ("send", "s\r"),
        ("expect", "olleh (text"),
        ("expect", "> "),
        ("send", "\u{3}"),
        ("expect", "> "),
        ("send", "Reverse the text abc\r"),
        ("expect", "cba (text"),
        ("expect", "> "),
        ("send", "\u{4}"),
        ("end", ""),
    ];
    let args = ["--no-tools", "--plugin", "calculator", "--mcp", &flag];
    let screen = on_terminal(&data, &args, &steps);
    assert_eq!(screen.code, Some(0));
    assert_eq!(screen.text.matches("the model wants to call").count(), 1, "{}", screen.text);
    let left = Command::new("pgrep").arg("-f").arg(&server).output().expect("pgrep is needed").stdout;
    assert!(left.is_empty(), "the server ended with the chat: {}", String::from_utf8_lossy(&left));
}

#[test]
fn from_a_pipe_nobody_can_be_asked() {
    let ask = "Reverse the text hello\n";
    let run = chat(&data("unasked"), &["--approve", "ask"], ask).expect_code(0);
    assert!(
        !run.stdout.contains("olleh") && run.stderr.contains("no terminal to ask on"),
        "{}{}",
        run.stdout,
        run.stderr
    );
    let run = chat(&data("always"), &["--approve", "always"], ask).expect_code(0);
    assert!(run.stdout.contains("olleh"), "{}", run.stdout);
    let run = chat(&data("never"), &["--approve", "never"], &format!("{ask}/tools\n")).expect_code(0);
    assert!(!run.stderr.contains("tool     "), "no tool is offered: {}", run.stderr);
    assert!(run.stdout.contains("calculator               never"), "{}", run.stdout);
}
