//! `firebox run`: streaming, limits, statistics, Ctrl-C, standard input and closed pipes.

use std::io::Read;
use std::process::{Command, Stdio};

use crate::harness::{Firebox, endless_model, firebox, run};

#[test]
fn the_component_computes_the_answer() {
    let run = firebox(&["run", "What is 1234 * 87?"]).expect_code(0);
    assert!(run.stdout.contains("107358"), "{}", run.stdout);
    assert!(run.stderr.contains("calculator") && run.stderr.contains("fuel"), "{}", run.stderr);
}

#[test]
fn json_output_has_the_values_of_stats() {
    let json = firebox(&["run", "--json", "What is 1234 * 87?"]).expect_code(0).json();
    assert!(json["text"].as_str().expect("text").contains("107358"), "{json}");
    assert_eq!(json["finish_reason"], "stop");
    assert_eq!(json["tool_calls"][0]["name"], "calculator");
    assert_eq!(json["tool_calls"][0]["result"], "107358");
    let used = json["plugins"].as_array().expect("plugins").iter().find(|row| row["stage"] == "tool");
    let used = used.expect("the tool stage was used");
    assert!(used["fuel"].as_u64() > Some(1_000) && used["memory_peak_bytes"].as_u64() > Some(65_000), "{used}");
    assert!(json["memory_peak_bytes"].as_u64() > Some(5_000_000), "{json}");
    let stats = firebox(&["run", "--stats", "What is 1234 * 87?"]).expect_code(0).stderr;
    for word in ["prefill", "decode", "tokens/s", "first token", "memory", "plugin   calculator at tool: 1 calls"] {
        assert!(stats.contains(word), "\"{word}\" is not in: {stats}");
    }
}

#[test]
fn a_plugin_changes_the_prompt_and_the_answer() {
    let ask = "Reverse the text ada@example.com";
    let json = firebox(&["run", "--json", "--plugin", "redact", ask]).expect_code(0).json();
    let sent = json["tool_calls"][0]["arguments"].as_str().expect("a call");
    assert!(!sent.contains("ada@example.com"), "the model never saw the address: {json}");
    for stage in ["prompt", "text"] {
        let plugins = json["plugins"].as_array().expect("plugins");
        let used = plugins.iter().find(|row| row["plugin"] == "redact" && row["stage"] == stage).expect(stage);
        assert!(used["calls"].as_u64() > Some(0), "{used}");
    }
}

#[test]
fn f7_max_tokens_is_exact() {
    let ask = |seed: u64, max: &str| {
        let seed = seed.to_string();
        let args = ["run", "--json", "--raw", "--temperature", "5", "--seed", &seed, "--max-tokens", max, "a"];
        firebox(&args).expect_code(0).json()
    };
    // At a high temperature the answer may end at any token; with this seed it has at least seven.
    let seed = (0..50).find(|seed| ask(*seed, "7")["finish_reason"] == "length").expect("a long answer");
    for max in ["1", "3", "7"] {
        let json = ask(seed, max);
        assert_eq!(json["usage"]["completion_tokens"].to_string(), max);
        assert_eq!(json["finish_reason"], "length");
    }
}

#[test]
fn stop_strings_are_trimmed_from_the_answer() {
    let whole = firebox(&["run", "What can you do?"]).expect_code(0).stdout;
    let middle: String = whole.chars().skip(10).take(5).collect();
    let cut = firebox(&["run", "--stop", &middle, "What can you do?"]).expect_code(0).stdout;
    let expected = &whole[..whole.find(&middle).expect("it is there")];
    assert_eq!(cut.trim_end(), expected.trim_end());
}

#[test]
fn f1_a_seed_determines_the_text() {
    let draw = |seed: &str| {
        let args = ["run", "--raw", "--temperature", "2", "--max-tokens", "40", "--seed", seed, "hello"];
        firebox(&args).expect_code(0).stdout
    };
    assert_eq!(draw("1"), draw("1"));
    assert_ne!(draw("1"), draw("2"));
}

#[test]
fn standard_input_is_the_prompt_without_an_argument() {
    let run = Firebox::new(["run", "--device", "cpu"]).input("What is 1234 * 87?\n").run().expect_code(0);
    assert!(run.stdout.contains("107358"), "{}", run.stdout);
}

/// The prompt tokens and the answer of a run with `input` on standard input.
fn run_with_input(prompt: &str, input: &str) -> (u64, String) {
    let args = ["run", "--device", "cpu", "--json", "--no-tools", prompt];
    let json = Firebox::new(args).input(input).run().expect_code(0).json();
    (json["usage"]["prompt_tokens"].as_u64().expect("a number"), json["text"].as_str().expect("text").to_owned())
}

#[test]
fn a_pipe_is_appended_to_the_prompt_argument_and_an_empty_pipe_is_ignored() {
    let whole = run_with_input("Say this back\n\nhello there", "");
    assert_eq!(run_with_input("Say this back", "hello there"), whole);
    assert_ne!(run_with_input("Say this back", ""), whole);
    assert_eq!(run_with_input("Say this back\n\nhello there", " \n"), whole);
    let bad = Firebox::new(["run", "--device", "cpu", "hi"]).input(b"ab\xff".to_vec()).run().expect_code(2);
    assert!(bad.stderr.contains("byte 2"), "{}", bad.stderr);
}

#[test]
fn an_open_silent_pipe_delays_the_run_only_briefly() {
    let mut child = Firebox::new(["run", "--device", "cpu", "What is 1234 * 87?"]).spawn();
    let held = child.stdin.take();
    let output = child.wait_with_output().expect("it ends");
    drop(held);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("nothing came from standard input"), "{stderr}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("107358"), "{output:?}");
}

#[cfg(unix)]
#[test]
fn a_device_or_a_closed_standard_input_adds_nothing() {
    for redirect in ["</dev/null", "<&-", "<."] {
        let script = format!("exec \"$0\" run --device cpu 'What is 1234 * 87?' {redirect}");
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_firebox")]);
        let ended = run(command.env("FIREBOX_CACHE", crate::harness::scratch("cache")), Vec::new()).expect_code(0);
        assert!(ended.stdout.contains("107358") && !ended.stderr.contains("standard input"), "{ended:?}");
    }
    let file = crate::harness::scratch("piped").join("question");
    std::fs::write(&file, "1234 * 87?").expect("writable");
    let mut command = Command::new(env!("CARGO_BIN_EXE_firebox"));
    command
        .args(["run", "--device", "cpu", "--json", "What is"])
        .env("FIREBOX_CACHE", crate::harness::scratch("cache"));
    command.stdin(Stdio::from(std::fs::File::open(&file).expect("readable")));
    let output = command.output().expect("it runs");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let alone = Firebox::new(["run", "--device", "cpu", "--json", "What is\n\n1234 * 87?"]).run().expect_code(0).json();
    assert_eq!(json["usage"], alone["usage"]);
}

#[test]
fn a_truncated_answer_is_reported() {
    // The answer ends in the middle of a tool call, which is not shown.
    let cut = firebox(&["run", "--max-tokens", "6", "What is 1234 * 87?"]).expect_code(0);
    assert!(cut.stderr.contains("the answer was cut at 6 tokens; raise --max-tokens"), "{}", cut.stderr);
    let whole = firebox(&["run", "What is 1234 * 87?"]).expect_code(0);
    assert!(!whole.stderr.contains("cut"), "{}", whole.stderr);
    let model = endless_model("full").display().to_string();
    let args =
        ["run", "--raw", "--temperature", "2", "--seed", "1", "--context", "48", "--stats", "--model", &model, "a"];
    let full = firebox(&args).expect_code(0);
    assert!(full.stderr.contains("ended by context_full"), "{}", full.stderr);
    assert!(full.stderr.contains("the answer was cut: the context is full"), "{}", full.stderr);
}

#[test]
fn the_prefill_speed_counts_computed_tokens_only() {
    let json = firebox(&["run", "--json", "What is 1234 * 87?"]).expect_code(0).json();
    let number =
        |path: &str| json.pointer(path).and_then(serde_json::Value::as_f64).unwrap_or_else(|| panic!("{path}: {json}"));
    let (prompt, cached) = (number("/usage/prompt_tokens"), number("/usage/cached_tokens"));
    assert!(cached > 0.0, "the second round finds the first one's: {json}");
    let computed = number("/timing/prefill_tokens_per_second") * number("/timing/prefill_ms") / 1_000.0;
    assert!((computed - (prompt - cached)).abs() < 1.0, "{computed}: {json}");
    let stats = firebox(&["run", "--stats", "What is 1234 * 87?"]).expect_code(0).stderr;
    assert!(stats.contains(" of them cached)"), "{stats}");
}

/// A run whose answer ends only when the context is full.
fn endless(name: &str) -> Firebox {
    let model = endless_model(name).display().to_string();
    let fixed =
        ["run", "--device", "cpu", "--raw", "--temperature", "2", "--seed", "1", "--max-tokens", "1000", "--stats"];
    Firebox::new(fixed.into_iter().chain(["--model", &model, "a"]))
}

#[test]
fn a_closed_pipe_is_success() {
    let mut child = endless("piped").spawn();
    drop(child.stdin.take());
    let mut first = [0u8; 1];
    let mut stdout = child.stdout.take().expect("piped");
    stdout.read_exact(&mut first).expect("something is streamed");
    drop(stdout);
    let output = child.wait_with_output().expect("ends");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_the_run_and_leaves_the_partial_answer() {
    let mut child = endless("interrupted").spawn();
    drop(child.stdin.take());
    let mut first = [0u8; 1];
    let stdout = child.stdout.as_mut().expect("piped");
    stdout.read_exact(&mut first).expect("something is streamed");
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill exists");
    assert!(killed.success());
    let output = child.wait_with_output().expect("ends");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("ended by interrupted"), "{stderr}");
}
