//! Encoders in GGUF files give the vectors and scores of their Hugging Face folders. `tests/parity/make_gguf_encoder_goldens.py`
//! wrote the files.

use firebox_contract::{Encoder, EncoderTask, EncoderText};
use firebox_models::{Checkpoint, LoadOptions, ModelError, is_encoder, load_encoder};
use serde_json::Value;

use crate::common::{devices, max_difference, parity_folder};

fn load(name: &str) -> Result<Box<dyn Encoder>, ModelError> {
    let checkpoint = Checkpoint::open(&parity_folder().join("gguf-encoders").join(name))?;
    assert!(is_encoder(&checkpoint)?, "{name}");
    let encoder = load_encoder(&checkpoint, &devices()[0].device, LoadOptions::default())?;
    assert_eq!(checkpoint.warnings().list(), Vec::<String>::new(), "{name}");
    Ok(encoder)
}

fn golden(folder: &str) -> Value {
    let path = parity_folder().join(folder).join("golden.json");
    serde_json::from_slice(&std::fs::read(path).expect("the golden is there")).expect("the golden is JSON")
}

#[test]
fn encoders_in_gguf_give_the_vectors_of_transformers() {
    let files = [
        ("distilbert", "distilbert"),
        ("nomic-bert", "nomic-bert"),
        ("roberta", "roberta"),
        ("modernbert", "modern-bert"),
    ];
    for (name, file) in files {
        let golden = golden(&format!("encoders/{name}"));
        let mut encoder = load(&format!("{file}.gguf")).expect("it loads");
        assert_eq!(encoder.profile().task, EncoderTask::Embed);
        for (at, text) in golden["texts"].as_array().expect("texts").iter().enumerate() {
            let encoding = &encoder.encode(&[text.as_str().expect("a text").into()]).expect("it is encoded")[0];
            let expected = golden["vectors"][at].as_array().expect("a vector").iter();
            let expected: Vec<f32> = expected.map(|value| value.as_f64().expect("a number") as f32).collect();
            let scale = expected.iter().fold(1.0_f32, |scale, value| scale.max(value.abs()));
            let difference = max_difference(&encoding.embedding, &expected) / scale;
            assert_eq!(encoding.tokens as u64, golden["tokens"][at], "{name}: {text}");
            assert!(difference <= 1e-3, "{name}, {text}: {difference:e}");
        }
    }
}

/// The ModernBERT file names no pooling, as converters write it. A head of one label is there all the same.
#[test]
fn cross_encoders_in_gguf_give_the_scores_of_sentence_transformers() {
    for (name, file) in [("xlm-roberta", "xlm-roberta"), ("modernbert", "modern-bert-reranker")] {
        let golden = golden(&format!("rerankers/{name}"));
        let mut encoder = load(&format!("{file}.gguf")).expect("it loads");
        assert_eq!(encoder.profile().task, EncoderTask::Rank);
        let query = golden["query"].as_str();
        let mut score = |text: &str| {
            let pair = EncoderText { query, text, max_tokens: Some(280), ..EncoderText::default() };
            encoder.encode(&[pair]).expect("it is scored").remove(0)
        };
        for (at, text) in golden["documents"].as_array().expect("documents").iter().enumerate() {
            let encoding = score(text.as_str().expect("a text"));
            let expected = golden["cases"][0]["scores"][at].as_f64().expect("a number") as f32;
            assert_eq!(encoding.tokens as u64, golden["cases"][0]["tokens"][at], "{name}: {text}");
            assert!(
                (encoding.embedding[0] - expected).abs() <= 1e-3,
                "{name}, {text}: {encoding:?} and not {expected}"
            );
        }
        // The file's table of characters replaces this full stop by the usual one.
        assert_eq!(score("The cat sat\u{ff0e}") == score("The cat sat."), name == "xlm-roberta");
    }
}

/// What llama.cpp's converter writes and no architecture here computes.
#[test]
fn other_encoders_of_llama_cpp_are_refused_by_name() {
    let whole = std::fs::read(parity_folder().join("gguf-encoders/modern-bert.gguf")).expect("the file is there");
    let key = b"general.architecture\x08\0\0\0";
    let at = whole.windows(key.len()).position(|bytes| bytes == key).expect("the key is there") + key.len();
    let rest = at + 8 + "modern-bert".len();
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in
        ["neo-bert", "jina-bert-v2", "jina-bert-v3", "nomic-bert-moe", "eurobert", "t5encoder", "gemma-embedding"]
    {
        let length = (name.len() as u64).to_le_bytes();
        let changed = [&whole[..at], &length, name.as_bytes(), &whole[rest..]].concat();
        let path = folder.path().join("changed.gguf");
        std::fs::write(&path, changed).expect("written");
        let error = Checkpoint::open(&path).expect_err("it is refused").to_string();
        assert!(error.contains(&format!("\"{name}\"")) && error.contains("modern-bert"), "{error}");
    }
}

#[test]
fn files_that_no_encoder_reads_are_refused_by_name() {
    let whole = std::fs::read(parity_folder().join("gguf-encoders/distilbert.gguf")).expect("the file is there");
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Replacements of the same length.
    let cases: [(&[u8], &[u8], &str); 4] = [
        (
            b"general.architecture\x08\0\0\0\x04\0\0\0\0\0\0\0bert",
            b"general.architecture\x08\0\0\0\x04\0\0\0\0\0\0\0bort",
            "bort",
        ),
        (
            b"tokenizer.ggml.model\x08\0\0\0\x04\0\0\0\0\0\0\0bert",
            b"tokenizer.ggml.model\x08\0\0\0\x04\0\0\0\0\0\0\0bart",
            "bart",
        ),
        (b"bert.pooling_type\x04\0\0\0\x01", b"bert.pooling_type\x04\0\0\0\x09", "pooling_type"),
        (b"bert.attention.causal\x07\0\0\0\0", b"bert.attention.causal\x07\0\0\0\x01", "attention.causal"),
    ];
    for (from, to, expected) in cases {
        let at = whole.windows(from.len()).position(|bytes| bytes == from);
        let at = at.unwrap_or_else(|| panic!("{} is not in the file", String::from_utf8_lossy(from)));
        let mut bytes = whole.clone();
        bytes[at..at + to.len()].copy_from_slice(to);
        let path = folder.path().join("changed.gguf");
        std::fs::write(&path, bytes).expect("written");
        let opened = Checkpoint::open(&path).and_then(|checkpoint| is_encoder(&checkpoint).map(drop));
        let error = opened.expect_err("it is refused").to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}
