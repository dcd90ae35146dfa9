//! `firebox bench` on the built-in model: its tables, its JSON, and the comparison of two results.

use serde_json::Value;

use crate::harness::{Firebox, scratch};

fn bench(args: &[&str]) -> Firebox {
    Firebox::new(["bench", "--device", "cpu", "-t", "1", "-r", "2"].iter().chain(args))
}

#[test]
fn the_table_names_the_machine_and_has_a_row_for_each_test() {
    let done = bench(&["-p", "8,16", "-n", "4", "-pg", "8,4", "-d", "0,32", "-b", "1,2"]).run().expect_code(0);
    let first = done.stdout.lines().next().unwrap_or_default();
    assert!(
        first.starts_with(&format!("firebox {}", env!("CARGO_PKG_VERSION"))) && first.contains("1 threads"),
        "{first}"
    );
    let rows: Vec<&str> = done.stdout.lines().filter(|line| line.starts_with("| ember |")).collect();
    let cell = |row: &str, at: usize| row.split('|').nth(at + 1).unwrap_or_default().trim().to_owned();
    let tests: Vec<String> = rows.iter().map(|row| format!("{} x{}", cell(row, 7), cell(row, 6))).collect();
    assert_eq!(tests.len(), 16, "{tests:?}");
    for test in ["pp8 x1", "pp16 x2", "tg4 x1", "pp8+tg4 x2", "tg4 @ d32 x2", "pp8+tg4 @ d32 x1"] {
        assert!(tests.iter().any(|other| other == test), "{test} is missing in {tests:?}");
    }
    for row in rows {
        let rate: f64 = cell(row, 8).split(' ').next().and_then(|rate| rate.parse().ok()).expect("a number");
        assert!(rate > 1.0, "{row}");
    }
}

#[test]
fn json_has_the_samples_and_can_be_compared_with() {
    let file = scratch("bench").with_extension("json");
    let first = bench(&["-p", "16", "-n", "4", "-o", "json"]).run();
    let results: Value =
        serde_json::from_str(&first.stdout).unwrap_or_else(|error| panic!("{error}: {}", first.stdout));
    assert_eq!(results.as_array().map(Vec::len), Some(2), "{results}");
    let reading = &results[0];
    assert_eq!((&reading["n_prompt"], &reading["n_gen"], &reading["n_threads"]), (&16.into(), &0.into(), &1.into()));
    assert_eq!(reading["samples_ts"].as_array().map(Vec::len), Some(2));
    let (rate, time) =
        (reading["avg_ts"].as_f64().expect("a rate"), reading["samples_ns"][0].as_f64().expect("a time"));
    assert!(rate > 0.0 && time > 0.0 && reading["model_size"].as_u64() > Some(1_000_000), "{reading}");
    #[cfg(target_arch = "x86_64")]
    assert!(reading["cpu_flags"].is_string(), "{reading}");

    // Half of what was measured, so the ratio is about 2.
    let mut halved = results.clone();
    for result in halved.as_array_mut().expect("a list") {
        let half: Vec<f64> = result["samples_ts"].as_array().expect("rates").iter().filter_map(Value::as_f64).collect();
        result["samples_ts"] = half.iter().map(|rate| rate / 2.0).collect();
    }
    std::fs::write(&file, halved.to_string()).expect("writable");
    let path = file.display().to_string();
    let second = bench(&["-p", "16", "-n", "4", "-d", "0,8", "--compare", &path, "-o", "json"]).run();
    let compared: Value = serde_json::from_str(&second.stdout).expect("JSON");
    let ratio = compared[0]["ratio"].as_f64().expect("the same test");
    let expected =
        compared[0]["median_ts"].as_f64().expect("a rate") / (reading["median_ts"].as_f64().expect("a rate") / 2.0);
    assert!((ratio / expected - 1.0).abs() < 1e-6, "{ratio} for {expected}");
    assert!(compared[2]["ratio"].is_null() && second.stderr.contains("no test pp16 @ d8"), "{}", second.stderr);
}

#[test]
fn csv_has_a_line_for_each_test() {
    let done = bench(&["-p", "8", "-n", "2", "-o", "csv"]).run();
    let lines: Vec<&str> = done.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[0].starts_with("version,commit,") && lines[1].contains(",\"ember\","), "{lines:?}");
}

#[test]
fn wrong_numbers_and_files_are_refused_with_a_remedy() {
    for (args, why) in [
        (vec!["-p", "0", "-n", "0"], "there is no test"),
        (vec!["-b", "0"], "0"),
        (vec!["-pg", "5"], "--pg 512,128"),
        (vec!["-p", "16000000", "-n", "0"], "tokens of context"),
        (vec!["--compare", "/nowhere/results.json"], "/nowhere/results.json"),
        (vec!["--compare", "Cargo.toml"], "-o json"),
        (vec!["--model", "/nowhere"], "/nowhere"),
    ] {
        let done = bench(&args).run();
        assert!(done.code != Some(0) && done.stderr.contains(why), "{args:?}: {}", done.stderr);
        assert!(done.stdout.is_empty() || args.contains(&"16000000"), "{args:?}: {}", done.stdout);
    }
}

#[test]
fn options_that_change_no_step_are_refused() {
    for option in [&["--speculation", "off"][..], &["--text-control-tokens"]] {
        let refused = bench(option).run().expect_code(2);
        assert!(refused.stderr.contains(option[0]) && refused.stdout.is_empty(), "{}", refused.stderr);
    }
}
