//! `firebox models quantize`, and `--quantize` at load.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{Firebox, model_copy};

fn models_quantize(input: &Path, output: &Path, more: &[&str]) -> Firebox {
    let paths = [input.display().to_string(), output.display().to_string()];
    let args = ["models", "quantize"].map(str::to_owned).into_iter().chain(paths);
    Firebox::new(args.chain(more.iter().map(|arg| (*arg).to_owned())).collect::<Vec<_>>())
}

/// The answer of `firebox run` with the calculator.
fn answer(model: &Path, more: &[&str], cache: &Path) -> (Value, String) {
    let path = model.display().to_string();
    let args = ["run", "--json", "--device", "cpu", "--model", &path, "--plugin", "calculator", "--temperature", "0"];
    let run = Firebox::new(args.iter().chain(more).chain(&["What is 1234 * 87?"]));
    let run = run.env("FIREBOX_CACHE", cache.display().to_string()).run().expect_code(0);
    (run.json(), run.stderr)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("readable").map(|entry| entry.expect("readable").path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "gguf"));
    files
}

#[test]
fn a_folder_written_as_a_file_gives_the_same_answers() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let model = model_copy("to-be-quantized");
    let (expected, _) = answer(&model, &[], folder.path());
    assert!(expected["text"].as_str().expect("text").contains("107358"), "{expected}");
    for kind in ["f16", "q8_0", "q6_k"] {
        let file = folder.path().join(format!("{kind}.gguf"));
        let run = models_quantize(&model, &file, &["--type", kind]).run().expect_code(0);
        assert!(run.stderr.contains("written") && run.stderr.contains("F32"), "{}", run.stderr);
        let (found, _) = answer(&file, &[], folder.path());
        assert_eq!(found["text"], expected["text"], "{kind}");
        assert_eq!(found["usage"], expected["usage"], "{kind}: the same tokens");
    }
    let size = |kind: &str| std::fs::metadata(folder.path().join(format!("{kind}.gguf"))).expect("there").len();
    assert!(size("q8_0") < size("f16") * 6 / 10, "{} and {}", size("q8_0"), size("f16"));
}

#[test]
fn a_file_that_exists_a_type_that_does_not_and_quantizing_twice_are_refused() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let model = model_copy("to-be-refused");
    let file = folder.path().join("a.gguf");
    models_quantize(&model, &file, &["--type", "q8_0"]).run().expect_code(0);
    let run = models_quantize(&model, &file, &["--type", "q8_0"]).run().expect_code(2);
    assert!(run.stderr.contains("a.gguf\" exists") && run.stderr.contains("--force"), "{}", run.stderr);
    models_quantize(&model, &file, &["--type", "q8_0", "--force"]).run().expect_code(0);
    let run = models_quantize(&model, &file, &["--type", "q9_x"]).run().expect_code(2);
    assert!(run.stderr.contains("q9_x") && run.stderr.contains("q4_k_m"), "{}", run.stderr);
    let run = models_quantize(&file, &folder.path().join("b.gguf"), &["--type", "q4_0"]).run().expect_code(2);
    assert!(run.stderr.contains("Q8_0") && run.stderr.contains("--requantize"), "{}", run.stderr);
    models_quantize(&file, &folder.path().join("b.gguf"), &["--type", "q4_0", "--requantize"]).run().expect_code(0);
    let run = models_quantize(&model, &folder.path().join("model.bin"), &[]).run().expect_code(2);
    assert!(run.stderr.contains(".gguf"), "{}", run.stderr);
    assert_eq!(files(folder.path()).len(), 2, "and nothing unfinished is left");
}

#[test]
fn quantizing_at_load_happens_once_and_is_kept_in_the_cache() {
    let cache = tempfile::tempdir().expect("temporary directory");
    let model = model_copy("quantized-at-load");
    let (first, said) = answer(&model, &["--quantize", "q8_0"], cache.path());
    assert!(first["text"].as_str().expect("text").contains("107358"), "{first}");
    assert!(said.contains("quantizing") && said.contains("q8_0"), "{said}");
    let (second, said) = answer(&model, &["--quantize", "q8_0"], cache.path());
    assert_eq!(second["text"], first["text"]);
    assert!(!said.contains("quantizing"), "{said}");
    assert_eq!(files(&cache.path().join("quantized")).len(), 1);
    let (third, said) = answer(&model, &["--quantize", "q6_k"], cache.path());
    assert!(said.contains("quantizing") && !third["text"].is_null(), "{said}");
    assert_eq!(files(&cache.path().join("quantized")).len(), 2);
}
