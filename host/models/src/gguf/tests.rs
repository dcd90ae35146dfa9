//! Files made by hand: what is read of good ones, and what is said about bad ones.

mod hostile;

use std::path::PathBuf;

use firebox_contract::limits;
use half::f16;

use crate::checkpoint::Checkpoint;
use crate::error::ModelError;

/// Builds a file: metadata as `(key, type, value)`, and F32, F16 or block tensors with their bytes.
#[derive(Default)]
struct File {
    keys: Vec<(String, u32, Vec<u8>)>,
    tensors: Vec<(String, Vec<u64>, u32, Vec<u8>)>,
}

fn text(value: &str) -> Vec<u8> {
    [&(value.len() as u64).to_le_bytes()[..], value.as_bytes()].concat()
}

impl File {
    fn key(mut self, name: &str, kind: u32, value: impl Into<Vec<u8>>) -> Self {
        self.keys.retain(|key| key.0 != name);
        self.keys.push((name.to_owned(), kind, value.into()));
        self
    }

    fn text(self, name: &str, value: &str) -> Self {
        self.key(name, 8, text(value))
    }

    fn number(self, name: &str, value: u32) -> Self {
        self.key(name, 4, value.to_le_bytes())
    }

    fn texts(self, name: &str, values: &[String]) -> Self {
        let head = [&8_u32.to_le_bytes()[..], &(values.len() as u64).to_le_bytes()].concat();
        let list = values.iter().fold(head, |list, value| [list, text(value)].concat());
        self.key(name, 9, list)
    }

    /// A tensor with its dimensions in the file's order, the contiguous one first.
    fn tensor(mut self, name: &str, dimensions: &[u64], kind: u32, bytes: Vec<u8>) -> Self {
        self.tensors.retain(|tensor| tensor.0 != name);
        self.tensors.push((name.to_owned(), dimensions.to_vec(), kind, bytes));
        self
    }

    fn bytes(&self) -> Vec<u8> {
        self.bytes_with(|offset| offset)
    }

    /// `offset` may change where the tables say that a tensor is.
    fn bytes_with(&self, offset: impl Fn(u64) -> u64) -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        file.extend(3_u32.to_le_bytes());
        file.extend((self.tensors.len() as u64).to_le_bytes());
        file.extend((self.keys.len() as u64).to_le_bytes());
        for (name, kind, value) in &self.keys {
            file.extend([text(name), kind.to_le_bytes().to_vec(), value.clone()].concat());
        }
        let mut data = Vec::new();
        for (name, dimensions, kind, bytes) in &self.tensors {
            file.extend(text(name));
            file.extend((dimensions.len() as u32).to_le_bytes());
            dimensions.iter().for_each(|size| file.extend(size.to_le_bytes()));
            file.extend(kind.to_le_bytes());
            file.extend(offset(data.len() as u64).to_le_bytes());
            data.extend(bytes);
            data.resize(data.len().next_multiple_of(32), 0);
        }
        file.resize(file.len().next_multiple_of(32), 0);
        file.extend(data);
        file
    }
}

fn floats(count: usize) -> Vec<u8> {
    (0..count).flat_map(|index| (index as f32 / 64.0 - 1.0).to_le_bytes()).collect()
}

/// A Llama of one layer, 32 wide, with letters as its tokens.
fn llama() -> File {
    let letters: Vec<String> = (33_u8..97).map(|byte| char::from(byte).to_string()).collect();
    let mut file = File::default()
        .text("general.architecture", "llama")
        .text("general.name", "small")
        .text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", "llama-bpe")
        .texts("tokenizer.ggml.tokens", &letters)
        .texts("tokenizer.ggml.merges", &["A B".to_owned()])
        .number("tokenizer.ggml.bos_token_id", 0)
        .number("tokenizer.ggml.eos_token_id", 1)
        .key("llama.attention.layer_norm_rms_epsilon", 6, 1e-5_f32.to_le_bytes())
        .key("llama.rope.freq_base", 6, 10_000_f32.to_le_bytes());
    for (name, value) in [
        ("embedding_length", 32),
        ("block_count", 1),
        ("feed_forward_length", 64),
        ("attention.head_count", 2),
        ("attention.head_count_kv", 1),
        ("context_length", 128),
    ] {
        file = file.number(&format!("llama.{name}"), value);
    }
    file = file.tensor("token_embd.weight", &[32, 64], 0, floats(32 * 64));
    for (name, columns, rows) in [
        ("attn_q", 32, 32),
        ("attn_k", 32, 16),
        ("attn_v", 32, 16),
        ("attn_output", 32, 32),
        ("ffn_gate", 32, 64),
        ("ffn_up", 32, 64),
        ("ffn_down", 64, 32),
    ] {
        let weights = floats((columns * rows) as usize);
        file = file.tensor(&format!("blk.0.{name}.weight"), &[columns, rows], 0, weights);
    }
    for name in ["blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"] {
        file = file.tensor(&format!("{name}.weight"), &[32], 0, floats(32));
    }
    file
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("writable"))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).expect("writable");
        path
    }
}

fn open(bytes: &[u8]) -> Result<Checkpoint, ModelError> {
    let folder = Folder::new();
    Checkpoint::open(&folder.write("model.gguf", bytes))
}

fn refusal(bytes: &[u8]) -> String {
    match open(bytes) {
        Ok(_) => panic!("the file is taken"),
        Err(error) => error.to_string(),
    }
}

fn config_of(checkpoint: &Checkpoint) -> serde_json::Value {
    let bytes = checkpoint.source.read("config.json", 1 << 20).expect("readable").expect("there");
    serde_json::from_slice(&bytes).expect("JSON")
}

#[test]
fn metadata_is_the_config_of_hugging_face() {
    let checkpoint = open(&llama().bytes()).expect("it is read");
    let config = config_of(&checkpoint);
    let expected = serde_json::json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 32, "num_hidden_layers": 1,
        "intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5, "rope_theta": 10_000.0, "vocab_size": 64, "tie_word_embeddings": true,
        "attention_bias": false,
    });
    assert_eq!(config, expected);
    assert_eq!(checkpoint.warnings().list(), Vec::<String>::new());
    let unknown = open(&llama().number("llama.new_thing", 1).bytes()).expect("it is read");
    assert!(unknown.warnings().list().iter().any(|warning| warning.contains("llama.new_thing")));
}

#[test]
fn a_folder_with_one_file_is_that_file_and_with_two_it_is_refused() {
    let folder = Folder::new();
    folder.write("a.gguf", &llama().bytes());
    assert_eq!(Checkpoint::open(folder.0.path()).expect("it is read").name(), "a");
    folder.write("b.gguf", &llama().bytes());
    let error = Checkpoint::open(folder.0.path()).expect_err("two models").to_string();
    assert!(error.contains("2 GGUF models") && error.contains("give the path"), "{error}");
}

#[test]
fn rows_of_queries_are_put_back_into_the_order_of_hugging_face() {
    let checkpoint = open(&llama().bytes()).expect("it is read");
    let name = "model.layers.0.self_attn.q_proj.weight";
    let read = checkpoint.tensors.get(name, &[32, 32], "test").expect("it is there");
    let mut values = Vec::new();
    read.append_to(&mut values);
    let first: Vec<f32> = values.iter().step_by(32).copied().collect();
    // Two heads of 16 rows: in the file the halves of a head take turns.
    let stored = |row: usize| (row * 32) as f32 / 64.0 - 1.0;
    let expected: Vec<f32> =
        (0..32).map(|row| (row / 16, row % 16)).map(|(head, at)| stored(head * 16 + at % 8 * 2 + at / 8)).collect();
    assert_eq!(first, expected);
}

#[test]
fn blocks_are_read_as_weights_and_a_scale_that_is_no_number_is_refused() {
    let block = |scale: f16| [&scale.to_le_bytes()[..], &[3; 32]].concat();
    let name = "model.layers.0.self_attn.v_proj.weight";
    let with = |scale: f16| open(&llama().tensor("blk.0.attn_v.weight", &[32, 16], 8, block(scale).repeat(16)).bytes());
    let checkpoint = with(f16::from_f32(0.5)).expect("it is read");
    let mut values = Vec::new();
    checkpoint.tensors.get(name, &[16, 32], "test").expect("it is there").append_to(&mut values);
    assert_eq!(values, vec![1.5; 512]);
    let broken = with(f16::NAN).expect("the tables are good");
    let error = broken.tensors.get(name, &[16, 32], "test").expect_err("it is broken").to_string();
    assert!(error.contains(name) && error.contains("NaN"), "{error}");
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let cases = [
        (llama().text("general.architecture", "rwkv6"), "rwkv6"),
        (llama().text("tokenizer.ggml.pre", "new-words"), "new-words"),
        (llama().text("tokenizer.ggml.model", "plamo2"), "plamo2"),
        (llama().text("general.architecture", "qwen2").number("qwen2.expert_count", 8), "mixtures of experts"),
        (llama().number("llama.expert_count", 8), "expert_used_count"),
        (llama().text("general.architecture", "qwen3moe"), "qwen3moe.expert_count"),
        (llama().number("tokenizer.ggml.eos_token_id", 64), "is 64, of 64 tokens"),
    ];
    for (file, part) in cases {
        let error = refusal(&file.bytes());
        assert!(error.contains(part), "{part}: {error}");
    }
    let strange =
        open(&llama().tensor("blk.0.attn_v.weight", &[32, 16], 142, Vec::new()).bytes()).expect("tables are good");
    let error = strange.tensors.get("model.layers.0.self_attn.v_proj.weight", &[16, 32], "test").expect_err("refused");
    assert!(error.to_string().contains("142") && error.to_string().contains("Q4_K"), "{error}");
}

#[test]
fn ends_of_answers_are_found_by_their_texts() {
    let ends_of = |texts: [&str; 4]| {
        let words = ["!", "eos"].into_iter().chain(texts).map(str::to_owned);
        let words: Vec<String> = words.chain((0..58).map(|number| format!("w{number}"))).collect();
        let checkpoint =
            open(&llama().texts("tokenizer.ggml.tokens", &words).texts("tokenizer.ggml.merges", &[]).bytes());
        let bytes = checkpoint.expect("it is read").source.read("generation_config.json", 1 << 20);
        let config: serde_json::Value =
            serde_json::from_slice(&bytes.expect("readable").expect("there")).expect("JSON");
        config["eos_token_id"].clone()
    };
    assert_eq!(ends_of(["<end_of_turn>", "a", "<|im_end|>", "<|end|>"]), serde_json::json!([1, 2, 4, 5]));
    assert_eq!(ends_of(["<|endoftext|>", "<｜end▁of▁sentence｜>", "<|eot_id|>", "b"]), serde_json::json!([1, 2, 3, 4]));
    // In harmony an answer goes on after the end of one of its parts.
    assert_eq!(ends_of(["<|return|>", "<|call|>", "<|end|>", "b"]), serde_json::json!([1, 2, 3]));
}

#[test]
fn tables_that_lie_are_refused_with_a_reason() {
    let good = llama().bytes();
    let patched = |at: usize, bytes: &[u8]| {
        let mut file = good.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    };
    let huge = u64::MAX.to_le_bytes();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("nothing", Vec::new(), "ends at byte 0"),
        ("another format", b"PK\x03\x04rest of it".to_vec(), "\"GGUF\""),
        ("version 1", patched(4, &1_u32.to_le_bytes()), "version 1"),
        ("big-endian", patched(4, &3_u32.to_be_bytes()), "big-endian"),
        ("tensors", patched(8, &huge), "tensors"),
        ("many tensors", patched(8, &60_000_u64.to_le_bytes()), "60000 tensors"),
        ("keys", patched(16, &huge), "metadata keys"),
        ("a long key", patched(24, &huge), "longer than the file"),
        ("cut tables", [&good[..8], &[0; 8]].concat(), "ends at byte 16"),
        ("cut data", good[..good.len() - 64].to_vec(), "lies outside"),
        ("outside", llama().bytes_with(|offset| offset + (1 << 40)), "lies outside"),
        ("shared", llama().bytes_with(|_| 0), "share bytes"),
        ("crooked", llama().bytes_with(|offset| offset + 4), "no multiple of 32"),
        ("alignment", llama().number("general.alignment", 12).bytes(), "general.alignment"),
        ("a row of parts of blocks", llama().tensor("x.weight", &[31, 2], 8, vec![0; 68]).bytes(), "whole blocks"),
        ("no size", llama().tensor("x.weight", &[0, 2], 0, Vec::new()).bytes(), "is 0"),
        ("a product", llama().tensor("x.weight", &[1 << 62, 1 << 62], 0, Vec::new()).bytes(), "lies outside"),
        ("no embedding", llama().tensor("token_embd.weight", &[32, 64], 0, Vec::new()).bytes(), "lies outside"),
    ];
    for (name, file, part) in cases {
        let error = refusal(&file);
        assert!(error.contains(part), "{name}: {error}");
    }
}

#[test]
fn lists_in_lists_and_lists_longer_than_the_file_are_refused() {
    let list = |kind: u32, count: u64| [&kind.to_le_bytes()[..], &count.to_le_bytes()].concat();
    let nested = (0..3).fold(list(4, 0), |inner, _| [list(9, 1), inner].concat());
    let error = refusal(&llama().key("x", 9, nested).bytes());
    assert!(error.contains("nested"), "{error}");
    let error = refusal(&llama().key("x", 9, list(0, 1 << 40)).bytes());
    assert!(error.contains("elements of a list"), "{error}");
    let many = vec![0; limits::MODEL_VOCABULARY_TOKENS_MAX + 1];
    let error =
        refusal(&llama().key("tokenizer.ggml.token_type", 9, [list(0, many.len() as u64), many].concat()).bytes());
    assert!(error.contains("token_type") && error.contains("at most"), "{error}");
    let long = ["x".repeat(limits::GGUF_TOKEN_BYTES_MAX + 1)];
    let scores = [list(6, 1), vec![0; 4]].concat();
    let file = llama().text("tokenizer.ggml.model", "llama").texts("tokenizer.ggml.tokens", &long);
    let error = refusal(&file.key("tokenizer.ggml.scores", 9, scores).number("tokenizer.ggml.eos_token_id", 0).bytes());
    assert!(error.contains("a token of 513 bytes"), "{error}");
    let error = refusal(&llama().key("x", 13, Vec::new()).bytes());
    assert!(error.contains("unknown type 13"), "{error}");
}

#[test]
fn numbered_files_are_one_model_and_all_of_them_must_be_there() {
    let half = |number: u32, file: File| {
        file.number("split.count", 2).number("split.no", number).key("split.tensors.count", 5, 11_i32.to_le_bytes())
    };
    let mut first = llama();
    let mut second = File { keys: first.keys.clone(), tensors: first.tensors.split_off(5) };
    let folder = Folder::new();
    let path = folder.write("m-00001-of-00002.gguf", &half(0, first).bytes());
    let error = Checkpoint::open(&path).expect_err("one is missing").to_string();
    assert!(error.contains("m-00002-of-00002.gguf") && error.contains("missing"), "{error}");
    second = half(1, second);
    folder.write("m-00002-of-00002.gguf", &second.bytes());
    for name in ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"] {
        let checkpoint = Checkpoint::open(&folder.0.path().join(name)).expect("both are there");
        assert_eq!(checkpoint.tensors.entries.len(), 11, "{name}");
    }
    folder.write("m-00002-of-00002.gguf", &second.number("split.no", 0).bytes());
    let error = Checkpoint::open(&path).expect_err("the second is the first again").to_string();
    assert!(error.contains("split.no"), "{error}");
}
