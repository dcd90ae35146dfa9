//! A chat model in GGUF that people use: SmolLM2-135M-Instruct in Q4_1.

use std::fs;

use super::devices::environment;
use crate::harness::Firebox;

fn smollm2() -> String {
    let variables = environment("smollm2");
    variables.into_iter().find(|(name, _)| name == "FIREBOX_TEST_SMOLLM2").expect("the tool prints it").1
}

/// Prompts, and the greedy answers of transformers 5.24 with the same file unpacked to F32, or their first 24 tokens. The best
/// two tokens are apart by 0.03 or more each time, which is far more than the rounding of F32.
const ANSWERS: &[(&str, &str)] = &[
    ("Hi!", "Hello! How can I assist you today?"),
    ("Name three primary colors.", "The primary colors are: Red, Blue, and Yellow."),
    (
        "Write one short sentence about a dog.",
        "A dog is a loyal and loving companion that brings joy to those who love them.",
    ),
    (
        "What is photosynthesis?",
        "Photosynthesis is a vital biological process that occurs in plants, algae, and some bacteria, where they convert \
         light energy from",
    ),
];

fn run(model: &str, more: &[&str]) -> Firebox {
    let args = ["run", "--model", model, "--device", "cpu", "--no-tools", "--temperature", "0", "--max-tokens", "40"];
    Firebox::new(args.iter().chain(more))
}

#[test]
fn greedy_answers_of_smollm2_are_those_of_transformers() {
    let model = smollm2();
    for (prompt, answer) in ANSWERS {
        let run = run(&model, &[prompt]).run().expect_code(0);
        assert!(run.stdout.starts_with(answer), "{prompt}: {:?} and not {answer:?}", run.stdout);
    }
}

#[test]
fn a_file_that_is_cut_off_is_refused_with_its_path_and_a_reason() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let path = folder.path().join("cut.gguf");
    let whole = fs::read(smollm2()).expect("readable");
    for (length, reason) in [(2_000, "more than its 2000 bytes can hold"), (whole.len() - 1_000, "lies outside")] {
        fs::write(&path, &whole[..length]).expect("writable");
        let run = run(&path.display().to_string(), &["Hi!"]).run().expect_code(3);
        assert!(run.stderr.contains("cut.gguf") && run.stderr.contains(reason), "{}", run.stderr);
    }
}
