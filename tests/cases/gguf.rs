//! A chat model in GGUF that people use: SmolLM2-135M-Instruct in Q4_1.

use std::fs;

use super::devices::environment;
use crate::harness::Firebox;

fn smollm2() -> String {
    let variables = environment("smollm2");
    variables.into_iter().find(|(name, _)| name == "FIREBOX_TEST_SMOLLM2").expect("the tool prints it").1
}

/// Prompts, and the first 32 tokens of the greedy answers of llama.cpp with the same file, which quantizes inputs of products to 8
/// bits as Firebox does (`tests/parity/make_smollm2_goldens.py`). Its best two tokens are apart by more than 0.13 each time,
/// which is more than the rounding of scales and sums.
const ANSWERS: &[(&str, &str)] = &[
    (
        "What is photosynthesis?",
        "Photosynthesis is a vital biological process that occurs in plants, algae, and some bacteria, where they \
         convert light energy from the sun into chemical energy stored in glucose",
    ),
    (
        "Write two sentences about photosynthesis.",
        "Photosynthesis is a vital process that sustains life on Earth. It involves the conversion of light energy \
         into chemical energy, which is used to produce glucose and oxygen.",
    ),
    (
        "What is gravity?",
        "Gravity is a fundamental concept in physics that describes the curvature of spacetime caused by the presence \
         of mass. It's a fundamental aspect of the universe that underlies the",
    ),
    (
        "Write two sentences about gravity.",
        "Gravity is a fundamental concept in physics that describes the force of gravity, which is a result of the \
         curvature of spacetime caused by the presence of mass. It",
    ),
    (
        "Write two sentences about the water cycle.",
        "The water cycle is a fundamental process that sustains life on Earth. It involves the continuous movement of \
         water on Earth, from",
    ),
    (
        "What is a black hole?",
        "A black hole is a region in space where the gravitational pull is so strong that nothing, including light and \
         matter, can escape. It's a theoretical concept predicted",
    ),
];

fn run(model: &str, more: &[&str]) -> Firebox {
    let args = ["run", "--model", model, "--device", "cpu", "--no-tools", "--temperature", "0", "--max-tokens", "24"];
    Firebox::new(args.iter().chain(more))
}

#[test]
fn greedy_answers_of_smollm2_are_those_of_llama_cpp() {
    let model = smollm2();
    for (prompt, answer) in ANSWERS {
        let run = run(&model, &[prompt]).run().expect_code(0);
        let text = run.stdout.trim_end();
        assert!(text.len() > 60 && answer.starts_with(text), "{prompt}: {text:?} and not {answer:?}");
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
