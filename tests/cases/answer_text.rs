//! The text of an answer: the space after the prompt, and complete characters.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::harness::server::{Server, events, tenant};
use crate::harness::{Firebox, model_copy, root, scratch};

const STEPS: usize = 32;

/// A reference model whose token of number `n` is the word `wn` with a space before it, as SentencePiece writes it.
fn words(name: &str) -> PathBuf {
    let folder = scratch("models").join(name);
    std::fs::create_dir_all(&folder).expect("writable");
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(root().join("tests/parity/llama").join(file), folder.join(file)).expect("copied");
    }
    let vocabulary: Map<String, Value> = (0..256).map(|token| (format!("▁w{token}"), json!(token))).collect();
    let metaspace = json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true });
    let tokenizer = json!({
        "version": "1.0", "pre_tokenizer": metaspace, "decoder": metaspace,
        "model": { "type": "WordLevel", "vocab": vocabulary, "unk_token": "▁w0" },
    });
    std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).expect("writable");
    folder
}

/// The prompt of the reference, and the answer that transformers gives to it, in words.
fn reference() -> (String, String) {
    let bytes = std::fs::read(root().join("tests/parity/llama/golden.safetensors")).expect("readable");
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).expect("JSON");
    let words = |name: &str| -> Vec<String> {
        let offset = |end: usize| header[name]["data_offsets"][end].as_u64().expect("a number") as usize;
        let tokens = bytes[8 + length..][offset(0)..offset(1)].chunks_exact(4);
        tokens.map(|token| format!("w{}", i32::from_le_bytes(token.try_into().expect("four bytes")))).collect()
    };
    (words("prompt").join(" "), format!(" {}", words("answer").join(" ")))
}

fn run(model: &Path, prompt: &str) -> String {
    let model = model.display().to_string();
    let steps = STEPS.to_string();
    let args = ["run", "--model", &model, "--raw", "--temperature", "0", "--max-tokens", &steps, prompt];
    Firebox::new(args).env("FIREBOX_DEVICE", "cpu").run().expect_code(0).stdout
}

#[test]
fn a_completion_keeps_the_space_between_it_and_its_prompt() {
    let model = words("words");
    let (prompt, answer) = reference();
    assert_eq!(run(&model, &prompt).trim_end_matches('\n'), answer);
    let config = format!(
        "[[model]]\nname = \"words\"\npath = \"{}\"\ndevice = \"cpu\"\n{}",
        model.display(),
        tenant("acme", "models = [\"words\"]")
    );
    let server = Server::start(&config);
    let mut body = json!({ "model": "words", "prompt": prompt, "temperature": 0, "max_tokens": STEPS });
    let whole = server.post("/v1/completions", "acme", &body).json();
    assert_eq!(whole["choices"][0]["text"], answer, "{whole}");
    body["stream"] = json!(true);
    let streamed = server.post("/v1/completions", "acme", &body);
    let pieces = events(&streamed.body);
    let text: String = pieces.iter().filter_map(|event| event["choices"][0]["text"].as_str()).collect();
    assert_eq!(text, answer);
}

#[test]
fn an_incomplete_character_at_the_end_of_an_answer_is_left_out() {
    let model = model_copy("halves");
    let tokenizer: Value =
        serde_json::from_slice(&std::fs::read(model.join("tokenizer.json")).expect("readable")).expect("JSON");
    // The byte C3 is the first of a character of two bytes.
    let token = tokenizer["model"]["vocab"]["Ã"].as_u64().expect("a token");
    let config = format!(
        "[[model]]\nname = \"halves\"\npath = \"{}\"\ndevice = \"cpu\"\n{}",
        model.display(),
        tenant("acme", "models = [\"halves\"]")
    );
    let server = Server::start(&config);
    let answer = |tokens: usize, stream: bool| {
        let mut body = json!({ "model": "halves", "prompt": "a", "max_tokens": tokens, "stream": stream });
        body["logit_bias"] = json!({ token.to_string(): 100 });
        let response = server.post("/v1/completions", "acme", &body);
        if !stream {
            return response.json()["choices"][0]["text"].as_str().expect("text").to_owned();
        }
        let pieces = events(&response.body);
        pieces.iter().filter_map(|event| event["choices"][0]["text"].as_str()).collect()
    };
    for stream in [false, true] {
        assert_eq!(answer(1, stream), "");
        assert_eq!(answer(3, stream), "\u{FFFD}\u{FFFD}", "only the last may still become one");
    }
}
