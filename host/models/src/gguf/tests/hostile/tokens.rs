//! Vocabularies and settings that lie.

use super::*;

#[test]
fn numbers_of_tokens_that_the_vocabulary_does_not_have_are_refused() {
    for name in ["bos", "eos", "unknown", "padding", "seperator", "cls", "mask", "eot", "eom"] {
        for id in [64_u32, 1 << 20, u32::MAX] {
            let key = format!("tokenizer.ggml.{name}_token_id");
            let error = soon_refused(&llama().number(&key, id).bytes());
            assert!(error.contains(&key) && error.contains(&id.to_string()), "{error}");
        }
        let key = format!("tokenizer.ggml.{name}_token_id");
        let error = soon_refused(&llama().key(&key, 5, (-1_i32).to_le_bytes()).bytes());
        assert!(error.contains(&key) && error.contains("negative"), "{error}");
    }
}

#[test]
fn a_vocabulary_larger_than_the_embedding_is_refused() {
    let tokens: Vec<String> = (0..1_000).map(|index| format!("t{index}")).collect();
    let error = soon_refused(&llama().texts("tokenizer.ggml.tokens", &tokens).bytes());
    assert!(error.contains("1000 tokens") && error.contains("64"), "{error}");
    let error = soon_refused(&llama().texts("tokenizer.ggml.tokens", &[]).bytes());
    assert!(error.contains("tokenizer.ggml.eos_token_id") || error.contains("tokens"), "{error}");
}

#[test]
fn types_and_scores_that_do_not_fit_the_vocabulary_are_refused() {
    let error = soon_refused(&llama().key("tokenizer.ggml.token_type", 9, list(5, 3, &[0; 12])).bytes());
    assert!(error.contains("3 entries for 64 tokens"), "{error}");
    let pieces = llama().text("tokenizer.ggml.model", "llama");
    let error = soon_refused(&pieces.bytes());
    assert!(error.contains("scores"), "{error}");
    let pieces = llama().text("tokenizer.ggml.model", "llama").key("tokenizer.ggml.scores", 9, list(6, 2, &[0; 8]));
    let error = soon_refused(&pieces.bytes());
    assert!(error.contains("2 entries for 64 tokens"), "{error}");
}

#[test]
fn scores_that_are_no_numbers_do_no_harm() {
    let scores = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0].map(f32::to_le_bytes).concat().repeat(16);
    let pieces = llama().text("tokenizer.ggml.model", "llama").key("tokenizer.ggml.scores", 9, list(6, 64, &scores));
    let codec = open(&pieces.bytes()).and_then(|checkpoint| crate::load_codec(&checkpoint));
    // The letters have no merges, so their order does not matter.
    codec.expect("it is read").encode_text("AB").expect("tokens");
}

#[test]
fn pieces_that_take_long_to_merge_are_refused() {
    // Every cut of every token gives two tokens.
    let tokens: Vec<String> = (1..=limits::GGUF_TOKEN_BYTES_MAX).map(|length| "a".repeat(length)).collect();
    let rows = tokens.len() as u64;
    let scores = list(6, rows, &vec![0; 4 * tokens.len()]);
    let file = llama()
        .text("tokenizer.ggml.model", "llama")
        .texts("tokenizer.ggml.tokens", &tokens)
        .key("tokenizer.ggml.scores", 9, scores)
        .tensor("token_embd.weight", &[32, rows], 0, floats(32 * tokens.len()));
    let begun = Instant::now();
    drop(open(&file.bytes()));
    assert!(begun.elapsed() < REFUSAL_TIME_MAX, "{:?}", begun.elapsed());
    let tokens: Vec<u8> = (0..40_000).flat_map(|index| text(&format!("{index:0>500}"))).collect();
    let scores = list(6, 40_000, &vec![0; 160_000]);
    let file = llama()
        .text("tokenizer.ggml.model", "llama")
        .key("tokenizer.ggml.tokens", 9, list(8, 40_000, &tokens))
        .key("tokenizer.ggml.scores", 9, scores)
        .tensor("token_embd.weight", &[32, 40_000], 0, vec![0; 4 * 32 * 40_000]);
    let error = soon_refused(&file.bytes());
    assert!(error.contains("tokenizer.ggml.tokens") && error.contains("too long"), "{error}");
}

#[test]
fn merges_that_are_no_pairs_are_refused_when_the_tokenizer_is_made() {
    for merge in ["AB", "", "A B C", "A  B", " ", "A \u{0}"] {
        let checkpoint = open(&llama().texts("tokenizer.ggml.merges", &[merge.to_owned()]).bytes());
        let codec = checkpoint.and_then(|checkpoint| crate::load_codec(&checkpoint).map(drop));
        let error = codec.expect_err("it is refused").to_string();
        assert!(error.contains("tokenizer"), "{merge:?}: {error}");
    }
}

#[test]
fn shapes_in_the_metadata_that_no_model_has_are_refused_before_anything_is_allocated() {
    for (name, value) in [
        ("block_count", u32::MAX),
        ("embedding_length", u32::MAX),
        ("feed_forward_length", 1 << 30),
        ("attention.head_count", 0),
        ("attention.head_count", u32::MAX),
        ("attention.head_count_kv", 3),
        ("context_length", 0),
        ("attention.key_length", u32::MAX),
    ] {
        let begun = Instant::now();
        let file = llama().number(&format!("llama.{name}"), value);
        let loaded = open(&file.bytes()).and_then(|checkpoint| {
            let config = checkpoint.config()?;
            crate::arch::decoder("LlamaForCausalLM").and_then(|row| (row.config)(&config)).map(drop)
        });
        let error = loaded.expect_err("it is refused").to_string();
        assert!(error.contains("expected") || error.contains("which"), "{name} of {value}: {error}");
        assert!(begun.elapsed() < REFUSAL_TIME_MAX, "{name}: {:?}", begun.elapsed());
    }
    for (key, kind) in [("llama.block_count", 8), ("general.architecture", 4), ("llama.rope.freq_base", 8)] {
        let value = if kind == 8 { text("1") } else { vec![1; 4] };
        let error = soon_refused(&llama().key(key, kind, value).bytes());
        assert!(error.contains(key), "{error}");
    }
}
