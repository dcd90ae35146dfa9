//! `firebox embed` on a real encoder.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::devices::environment;
use crate::harness::{Firebox, Run};

fn minilm() -> String {
    let variables = environment("minilm");
    variables.into_iter().find(|(name, _)| name == "FIREBOX_TEST_MINILM").expect("the tool says where").1
}

/// A folder to work in, and the model.
struct Bench {
    folder: tempfile::TempDir,
    model: String,
}

impl Bench {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("temporary directory"), model: minilm() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn firebox(&self, input: &str, output: &str, more: &[&str]) -> Firebox {
        let args = ["embed", "--model", &self.model, "--input", input, "--output", output, "--device", "cpu"];
        Firebox::new(args.iter().chain(more)).current_dir(self.folder.path())
    }

    fn embed(&self, text: impl AsRef<[u8]>, output: &str, more: &[&str]) -> Run {
        fs::write(self.path("in.txt"), text).expect("writes");
        self.firebox("in.txt", output, more).run()
    }

    /// What is in the folder beside the input.
    fn left(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).expect("lists");
        let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
        names.filter(|name| name != "in.txt").collect()
    }
}

fn rows(path: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(path).expect("written");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn vector(row: &serde_json::Value) -> Vec<f64> {
    row["embedding"].as_array().expect("a vector").iter().map(|x| x.as_f64().expect("a number")).collect()
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

const TEXTS: &str = "A cat sat on the mat.\nThe stock market fell today, and analysts expect it to go on falling for a \
                     while yet.\nA kitten rested on the rug.\n";

#[test]
fn vectors_come_in_order_and_mean_something() {
    let bench = Bench::new();
    let run = bench.embed(TEXTS, "out.jsonl", &["--normalize"]).expect_code(0);
    assert!(run.stderr.contains("3 texts embedded"), "{}", run.stderr);
    let rows = rows(&bench.path("out.jsonl"));
    let texts: Vec<&str> = rows.iter().map(|row| row["text"].as_str().expect("text")).collect();
    assert_eq!(texts, TEXTS.lines().collect::<Vec<_>>());
    let vectors: Vec<_> = rows.iter().map(vector).collect();
    assert!(vectors.iter().all(|v| v.len() == 384 && (cosine(v, v) - 1.0).abs() < 1e-9));
    let lengths = vectors.iter().map(|v| v.iter().map(|x| x * x).sum::<f64>());
    assert!(lengths.into_iter().all(|length| (length - 1.0).abs() < 1e-4));
    assert!(cosine(&vectors[0], &vectors[2]) > 0.5 && cosine(&vectors[0], &vectors[1]) < 0.2);
}

/// A text's vector does not depend on what it is batched with.
#[test]
fn batches_change_nothing_but_speed() {
    let bench = Bench::new();
    bench.embed(TEXTS, "one.jsonl", &["--batch", "1"]).expect_code(0);
    bench.embed(TEXTS, "all.jsonl", &["--batch", "32"]).expect_code(0);
    for (one, all) in rows(&bench.path("one.jsonl")).iter().zip(rows(&bench.path("all.jsonl"))) {
        assert!(cosine(&vector(one), &vector(&all)) > 0.99999);
        assert_eq!(one["sequence_length"], all["sequence_length"]);
    }
}

#[test]
fn parquet_holds_the_same_rows_as_json_lines() {
    use arrow_array::cast::AsArray as _;
    use arrow_array::types::Float32Type;
    let bench = Bench::new();
    bench.embed(TEXTS, "out.jsonl", &[]).expect_code(0);
    bench.embed(TEXTS, "out.parquet", &[]).expect_code(0);
    let file = fs::File::open(bench.path("out.parquet")).expect("written");
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet");
    let batch = reader.build().expect("a reader").next().expect("a batch").expect("rows");
    for (number, row) in rows(&bench.path("out.jsonl")).iter().enumerate() {
        assert_eq!(batch["text"].as_string::<i32>().value(number), row["text"].as_str().expect("text"));
        assert_eq!(batch["text_hash"].as_string::<i32>().value(number), row["text_hash"].as_str().expect("hash"));
        let values = batch["embedding"].as_fixed_size_list().value(number);
        let values = values.as_primitive::<Float32Type>().values().iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
        assert!(cosine(&values, &vector(row)) > 0.999_999);
    }
}

/// The model as it is, with a file that says what goes before texts and how long vectors are.
#[cfg(unix)]
#[test]
fn prompts_and_dimensions_are_those_of_the_model_or_those_asked_for() {
    let bench = Bench::new();
    let model = bench.path("model");
    fs::create_dir(&model).expect("made");
    for entry in fs::read_dir(&bench.model).expect("lists") {
        let path = entry.expect("an entry").path();
        std::os::unix::fs::symlink(&path, model.join(path.file_name().expect("a name"))).expect("linked");
    }
    let settings = model.join("config_sentence_transformers.json");
    fs::remove_file(&settings).expect("linked");
    let says = r#"{"prompts": {"query": "query: ", "title": "a title: "}, "default_prompt_name": "query", "truncate_dim": 100}"#;
    fs::write(&settings, says).expect("written");
    let bench = Bench { model: model.display().to_string(), ..bench };
    let embed = |text: &str, more: &[&str]| {
        let run = bench.embed(text, "out.jsonl", more).expect_code(0);
        (vector(&rows(&bench.path("out.jsonl"))[0]), run.stderr)
    };
    let (default, said) = embed("cats", &[]);
    assert!(default.len() == 100 && said.contains("default prompt \"query\""), "{said}");
    let (none, _) = embed("query: cats", &["--prompt", ""]);
    assert_eq!(default, none, "the prompt is part of the text");
    let (title, _) = embed("cats", &["--prompt-name", "title", "--dimensions", "7"]);
    let (written, _) = embed("cats", &["--prompt", "a title: ", "--dimensions", "7"]);
    assert!(title == written && title.len() == 7 && title[..] != default[..7], "{title:?}");
    let (unit, _) = embed("cats", &["--normalize"]);
    assert!((unit.iter().map(|x| x * x).sum::<f64>() - 1.0).abs() < 1e-5, "what is kept has unit length");
    assert!((default.iter().map(|x| x * x).sum::<f64>() - 1.0).abs() > 1e-3, "what is cut has not");
}

#[test]
fn json_fields_and_standard_input_are_read() {
    let bench = Bench::new();
    let input = "{\"id\": 1, \"body\": \"first\"}\n{\"id\": 2, \"body\": \"second\"}\n";
    bench.firebox("-", "out.jsonl", &["--field", "body"]).input(input).run().expect_code(0);
    let texts: Vec<_> = rows(&bench.path("out.jsonl")).iter().map(|row| row["text"].clone()).collect();
    assert_eq!(texts, ["first", "second"]);
}

#[test]
fn a_bad_line_ends_the_run_with_its_number_and_leaves_nothing() {
    let bench = Bench::new();
    let cases: [(&[u8], &[&str], &str); 3] = [
        (b"fine\nbro\xffken\n", &[], "line 2 is not UTF-8"),
        (b"{\"t\":\"fine\"}\n{\"u\":1}\n", &["--field", "t"], "line 2 has no field \"t\""),
        (b"{\"t\":\"fine\"}\noops\n", &["--field", "t"], "line 2 is not JSON"),
    ];
    for (input, more, expected) in cases {
        let run = bench.embed(input, "out.jsonl", more).expect_code(2);
        assert!(run.stderr.contains(expected), "{}", run.stderr);
        assert!(bench.left().is_empty(), "{:?}", bench.left());
        let run = bench.embed(input, "out.jsonl", &[more, &["--on-error", "skip"]].concat()).expect_code(0);
        assert!(
            run.stderr.contains("1 texts embedded") && run.stderr.contains("1 invalid lines skipped"),
            "{}",
            run.stderr
        );
        fs::remove_file(bench.path("out.jsonl")).expect("written");
    }
}

/// What was there is replaced whole once the new file is complete, and until then, or after a failure, it is as it was.
#[test]
fn f17_an_output_that_is_there_is_replaced_whole_or_stays() {
    let bench = Bench::new();
    for name in ["out.jsonl", "out.parquet"] {
        fs::write(bench.path(name), "of yesterday").expect("writes");
        bench.embed("fine\n\nfine\n", name, &[]).expect_code(2);
        assert_eq!(fs::read(bench.path(name)).expect("there"), b"of yesterday", "{name}");
        bench.embed(TEXTS, name, &[]).expect_code(0);
        let first = fs::read(bench.path(name)).expect("there");
        bench.embed(TEXTS, name, &[]).expect_code(0);
        let again = fs::read(bench.path(name)).expect("there");
        // The same rows and no others: only the times in them differ.
        assert!(again.len().abs_diff(first.len()) < 200, "{name}: {} and {} bytes", first.len(), again.len());
        assert_eq!(bench.left().len(), if name == "out.jsonl" { 1 } else { 2 }, "{:?}", bench.left());
    }
    assert_eq!(rows(&bench.path("out.jsonl")).len(), TEXTS.lines().count());
}

#[test]
fn what_cannot_work_is_said_before_any_work() {
    let bench = Bench::new();
    let cases: [(&str, &str, &[&str], i32, &str); 8] = [
        ("in.txt", "out.csv", &[], 2, "\"out.csv\" must end in .parquet or .jsonl"),
        ("none.txt", "out.jsonl", &[], 2, "none.txt"),
        ("in.txt", "nowhere/out.jsonl", &[], 2, "nowhere/out.jsonl"),
        ("in.txt", "out.jsonl", &["--batch", "0"], 2, "--batch"),
        ("in.txt", "out.jsonl", &["--max-length", "0"], 2, "--max-length"),
        ("in.txt", "out.jsonl", &["--dimensions", "385"], 2, "1 to the 384"),
        ("in.txt", "out.jsonl", &["--prompt-name", "nothing"], 2, "it has \"document\", \"query\""),
        ("in.txt", "out.jsonl", &["--prompt-name", "query", "--prompt", "x"], 2, "--prompt"),
    ];
    fs::write(bench.path("in.txt"), "text\n").expect("writes");
    for (input, output, more, code, expected) in cases {
        let run = bench.firebox(input, output, more).run().expect_code(code);
        assert!(run.stderr.contains(expected), "{}", run.stderr);
        assert!(bench.left().is_empty(), "{:?}", bench.left());
    }
    let args = ["embed", "--model", "nowhere", "--input", "in.txt", "--output", "out.jsonl", "--device", "cpu"];
    let run = Firebox::new(args).current_dir(bench.folder.path()).run();
    assert!(run.code == Some(3) && run.stderr.contains("nowhere"), "{:?} {}", run.code, run.stderr);
    assert!(bench.left().is_empty(), "{:?}", bench.left());
}

/// Ctrl-C or a polite kill while waiting for input that never comes: exit code 130, no file, no waiting.
#[cfg(unix)]
#[test]
fn an_interrupt_leaves_no_file() {
    let bench = Bench::new();
    for signal in ["-INT", "-TERM"] {
        let mut child = bench.firebox("-", "out.jsonl", &[]).spawn();
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(b"one\ntwo\n").expect("writes");
        wait_until("the run has begun", || !bench.left().is_empty());
        let sent = std::process::Command::new("kill").args([signal, &child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
        let asked = Instant::now();
        assert_eq!(child.wait().expect("ends").code(), Some(130), "{signal}");
        assert!(asked.elapsed() < Duration::from_secs(10), "{signal} {:?}", asked.elapsed());
        assert!(bench.left().is_empty(), "{signal} {:?}", bench.left());
        drop(stdin);
    }
}

#[cfg(unix)]
fn wait_until(what: &str, done: impl Fn() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
