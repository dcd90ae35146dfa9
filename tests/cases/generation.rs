//! `firebox run` as a person meets it: streaming, limits, statistics, Ctrl-C, a closed pipe.

use std::io::Read;
use std::process::Command;

use crate::harness::{Firebox, endless_model, firebox};

#[test]
fn the_component_computes_the_answer() {
    let run = firebox(&["run", "What is 1234 * 87?"]).expect_code(0);
    assert!(run.stdout.contains("107358"), "{}", run.stdout);
    assert!(run.stderr.contains("calculator") && run.stderr.contains("fuel"), "{}", run.stderr);
}

#[test]
fn json_tells_programs_what_stats_tells_people() {
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
fn a_plugin_steps_in_before_and_after_the_model() {
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
    // A hot model may end its answer at any token; this one goes on for at least seven.
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
fn f1_the_same_seed_gives_the_same_text_and_another_one_another() {
    let draw = |seed: &str| {
        let args = ["run", "--raw", "--temperature", "2", "--max-tokens", "40", "--seed", seed, "hello"];
        firebox(&args).expect_code(0).stdout
    };
    assert_eq!(draw("1"), draw("1"));
    assert_ne!(draw("1"), draw("2"));
}

#[test]
fn standard_input_is_a_prompt_too() {
    let run = Firebox::new(["run", "--device", "cpu"]).input("What is 1234 * 87?\n").run().expect_code(0);
    assert!(run.stdout.contains("107358"), "{}", run.stdout);
}

/// A run that goes on until its context is full.
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
fn ctrl_c_ends_cleanly_with_what_there_is() {
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
