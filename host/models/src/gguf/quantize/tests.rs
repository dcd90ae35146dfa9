//! Files that are written and read back, and the cache of quantized matrices.

mod repacked;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::*;
use crate::checkpoint::Checkpoint;

/// The models of `tests/parity` and their class.
const MODELS: &[&str] = &["llama", "llama-linear-f16", "qwen2", "qwen3-bf16"];

fn parity(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity").join(name)
}

/// Letters, a merge, and an end.
fn tokenizer() -> String {
    let mut vocabulary: serde_json::Map<String, serde_json::Value> =
        (33_u8..127).zip(0..).map(|(byte, id)| (char::from(byte).to_string(), serde_json::json!(id))).collect();
    vocabulary.insert("Ġ".to_owned(), serde_json::json!(94));
    vocabulary.insert("ab".to_owned(), serde_json::json!(95));
    let end = serde_json::json!({ "id": 96, "content": "<|end|>", "special": true, "single_word": false, "lstrip": false,
                                  "rstrip": false, "normalized": false });
    let splitter =
        serde_json::json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    let model = serde_json::json!({ "type": "BPE", "vocab": vocabulary, "merges": ["a b"] });
    let decoder =
        serde_json::json!({ "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true });
    serde_json::json!({ "version": "1.0", "added_tokens": [end], "normalizer": null, "pre_tokenizer": splitter,
                        "post_processor": null, "decoder": decoder, "model": model })
    .to_string()
}

/// A model of `tests/parity` with a tokenizer.
fn folder(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("writable");
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(parity(name).join(file), folder.path().join(file)).expect("copied");
    }
    let write = |file: &str, text: &str| std::fs::write(folder.path().join(file), text).expect("writable");
    write("tokenizer.json", &tokenizer());
    write("tokenizer_config.json", r#"{"eos_token": "<|end|>", "chat_template": "{{ messages[0].content }}"}"#);
    folder
}

fn options(mixture: &str) -> QuantizeOptions {
    QuantizeOptions { mixture: Mixture::named(mixture).expect("it exists"), requantize: false }
}

fn quantize(input: &Path, output: &Path, mixture: &str) -> Result<(), ModelError> {
    let plan = QuantizePlan::of(input, options(mixture))?;
    plan.write(output, &mut |_| {})?;
    assert_eq!(std::fs::metadata(output).expect("it is there").len(), plan.bytes(), "the size was known before");
    Ok(())
}

fn values(checkpoint: &Checkpoint, name: &str) -> Vec<f32> {
    let shape = checkpoint.tensors.entries.get(name).expect("it is there").shape.clone();
    let mut values = Vec::new();
    checkpoint.tensors.get(name, &shape, "test").expect("it is read").append_to(&mut values);
    values
}

fn names(checkpoint: &Checkpoint) -> Vec<String> {
    let mut names: Vec<String> = checkpoint.tensors.entries.keys().cloned().collect();
    names.sort();
    names
}

/// The distance of the weights, as a part of their size.
fn distance(own: &[f32], other: &[f32]) -> f32 {
    let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|value| value * value).sum::<f32>().sqrt();
    norm(&mut own.iter().zip(other).map(|(a, b)| a - b)) / norm(&mut own.iter().copied()).max(f32::MIN_POSITIVE)
}

#[test]
fn a_folder_written_in_f32_has_the_same_tensors_config_and_tokens() {
    for model in MODELS {
        let folder = folder(model);
        let file = folder.path().join("out.gguf");
        quantize(folder.path(), &file, "f32").expect("it is written");
        let (own, written) = (Checkpoint::open(folder.path()), Checkpoint::open(&file));
        let (own, written) = (own.expect("it is read"), written.expect("it is read"));
        assert_eq!(written.warnings().list(), Vec::<String>::new(), "{model}");
        assert_eq!(names(&own), names(&written), "{model}");
        for name in names(&own) {
            assert_eq!(values(&own, &name), values(&written, &name), "{model}: {name}");
        }
        let text = |checkpoint: &Checkpoint| {
            let codec = crate::load_codec(checkpoint).expect("a codec");
            let ends: Vec<u32> = (0..256).filter(|token| codec.is_end(*token)).collect();
            (codec.encode_text("ab c<|end|>").expect("tokens"), ends)
        };
        let ((own_tokens, own_ends), (tokens, ends)) = (text(&own), text(&written));
        assert_eq!(own_tokens, tokens, "{model}");
        // In a GGUF file, control tokens with known texts end an answer as well.
        assert!(own_ends.iter().all(|end| ends.contains(end)), "{model}: {own_ends:?}, written {ends:?}");
    }
}

#[test]
fn matrices_are_in_the_type_that_was_asked_for_and_near_to_what_they_were() {
    let folder = folder("llama");
    let own = Checkpoint::open(folder.path()).expect("it is read");
    // 64 is no multiple of 256, so the K types fall back.
    for (mixture, kind, most) in
        [("q8_0", "Q8_0", 0.01), ("q5_1", "Q5_1", 0.05), ("q4_0", "Q4_0", 0.12), ("q4_k_s", "Q5_0", 0.06)]
    {
        let file = folder.path().join(format!("{mixture}.gguf"));
        quantize(folder.path(), &file, mixture).expect("it is written");
        let written = Checkpoint::open(&file).expect("it is read");
        let stored = |name: &str| written.tensors.entries[name].dtype.clone().expect("a type").name();
        assert_eq!(stored("model.layers.0.self_attn.q_proj.weight"), kind);
        assert_eq!(stored("model.layers.1.input_layernorm.weight"), "F32");
        for name in names(&own) {
            let far = distance(&values(&own, &name), &values(&written, &name));
            assert!(far <= most, "{mixture}: {name} is {far} away");
        }
        std::fs::remove_file(file).expect("removed");
    }
}

#[test]
fn a_gguf_file_is_quantized_with_all_its_keys_and_twice_only_if_allowed() {
    let folder = folder("qwen3-bf16");
    let path = |name: &str| folder.path().join(name);
    quantize(folder.path(), &path("half.gguf"), "bf16").expect("it is written");
    quantize(&path("half.gguf"), &path("small.gguf"), "q8_0").expect("it is written");
    quantize(folder.path(), &path("direct.gguf"), "q8_0").expect("it is written");
    assert_eq!(std::fs::read(path("small.gguf")).ok(), std::fs::read(path("direct.gguf")).ok(), "by way of BF16");
    let error = quantize(&path("small.gguf"), &path("again.gguf"), "q4_0").expect_err("it is quantized").to_string();
    assert!(error.contains("Q8_0") && error.contains("--requantize"), "{error}");
    assert!(!path("again.gguf").exists());
    let plan = QuantizePlan::of(&path("small.gguf"), QuantizeOptions { requantize: true, ..options("q4_0") });
    plan.expect("it is allowed").write(&path("again.gguf"), &mut |_| {}).expect("it is written");
    Checkpoint::open(&path("again.gguf")).expect("it is read");
    let types = QuantizePlan::of(folder.path(), options("q8_0")).expect("planned").types();
    assert_eq!(types.iter().map(|kind| kind.0).collect::<Vec<_>>(), ["Q8_0", "F32"]);
}

#[test]
fn what_gguf_has_no_place_for_is_refused_by_name() {
    let refusal = |folder: &tempfile::TempDir| {
        let error = quantize(folder.path(), &folder.path().join("out.gguf"), "q8_0").expect_err("it is refused");
        assert!(!folder.path().join("out.gguf").exists());
        error.to_string()
    };
    let change = |model: &str, file: &str, from: &str, to: &str| {
        let folder = folder(model);
        let path = folder.path().join(file);
        let text = std::fs::read_to_string(&path).expect("readable");
        assert!(text.contains(from), "{from}: {text}");
        std::fs::write(&path, text.replace(from, to)).expect("writable");
        refusal(&folder)
    };
    let error = change(
        "llama",
        "tokenizer.json",
        "\"trim_offsets\":true,\"use_regex\":true},\"post",
        "\"trim_offsets\":true,\"use_regex\":false},\"post",
    );
    assert!(error.contains("pre_tokenizer"), "{error}");
    let error = change("llama", "tokenizer.json", "\"type\":\"BPE\"", "\"type\":\"WordLevel\",\"unk_token\":\"a\"");
    assert!(error.contains("tokenizer.json"), "{error}");
    let error = change("llama", "config.json", "\"silu\"", "\"gelu\"");
    assert!(error.contains("activation"), "{error}");
    let error = refusal(&folder("phi3"));
    assert!(error.contains("Phi3ForCausalLM") || error.contains("cannot hold"), "{error}");
}

#[test]
fn a_weight_that_a_type_cannot_hold_and_a_full_disk_leave_no_file() {
    let folder = folder("llama");
    let file = folder.path().join("model.safetensors");
    let mut bytes = std::fs::read(&file).expect("readable");
    let at = bytes.len() - 64;
    bytes[at..at + 4].copy_from_slice(&1e30_f32.to_le_bytes());
    std::fs::write(&file, bytes).expect("writable");
    for mixture in ["f16", "q8_0"] {
        // The last tensor may be a vector, which stays as it is.
        let output = folder.path().join("out.gguf");
        match quantize(folder.path(), &output, mixture) {
            Ok(()) => std::fs::remove_file(&output).expect("removed"),
            Err(error) => {
                assert!(error.to_string().contains("cannot hold"), "{error}");
                assert!(!output.exists());
            }
        }
        let left = std::fs::read_dir(folder.path()).expect("readable").flatten();
        assert!(left.map(|entry| entry.file_name()).all(|name| !name.to_string_lossy().contains("partial")));
    }
    let nowhere = folder.path().join("missing/out.gguf");
    let error = quantize(folder.path(), &nowhere, "bf16").expect_err("there is no such folder").to_string();
    assert!(error.contains("cannot write") && error.contains("missing"), "{error}");
    assert!(
        writer::PartialFile::create(&folder.path().join("huge"), u64::MAX)
            .is_err_and(|error| error.to_string().contains("disk has"))
    );
}

fn cache(folder: &Path, bytes_max: u64) -> QuantizedCache {
    QuantizedCache { folder: folder.join("cache"), bytes_max }
}

/// The checkpoint, and how many bytes were quantized for it.
fn load(model: &Path, cache: &QuantizedCache, mixture: &str) -> Result<(Checkpoint, u64), ModelError> {
    let mut bytes = 0;
    let mixture = Mixture::named(mixture).expect("it exists");
    let checkpoint = Checkpoint::open(model)?.quantized(mixture, cache, &mut |progress| bytes = progress.bytes)?;
    Ok((checkpoint, bytes))
}

fn cached(cache: &QuantizedCache) -> Vec<String> {
    let names = std::fs::read_dir(&cache.folder).expect("readable").flatten();
    names.map(|entry| entry.file_name().to_string_lossy().into_owned()).filter(|name| name.ends_with(".gguf")).collect()
}

#[test]
fn matrices_are_quantized_once_and_mapped_afterwards() {
    let folder = folder("llama");
    let cache = cache(folder.path(), 1 << 30);
    let own = Checkpoint::open(folder.path()).expect("it is read");
    let (first, made) = load(folder.path(), &cache, "q8_0").expect("it is quantized");
    let (second, again) = load(folder.path(), &cache, "q8_0").expect("it is mapped");
    assert!(made > 0 && again == 0, "{made} and {again} bytes were quantized");
    assert_eq!(names(&own), names(&first));
    for name in names(&own) {
        assert_eq!(values(&first, &name), values(&second, &name), "{name}");
        assert!(distance(&values(&own, &name), &values(&first, &name)) < 0.01, "{name}");
    }
    let name = "model.layers.1.mlp.up_proj.weight";
    assert_eq!(first.tensors.entries[name].dtype.clone().map(StoredType::name), Ok("Q8_0"));
    assert!(second.stored_bytes() < own.stored_bytes() / 2);
    // Another type, and weights that changed, are other files.
    assert!(load(folder.path(), &cache, "q4_0").expect("quantized").1 > 0);
    let weights = folder.path().join("model.safetensors");
    let file = std::fs::OpenOptions::new().append(true).open(weights).expect("writable");
    file.set_modified(SystemTime::now() - Duration::from_secs(60)).expect("set");
    assert!(load(folder.path(), &cache, "q8_0").expect("quantized").1 > 0);
    assert_eq!(cached(&cache).len(), 3);
}

#[test]
fn a_damaged_file_is_made_again_and_the_oldest_make_room() {
    let folder = folder("llama");
    let size = {
        let cache = cache(folder.path(), 1 << 30);
        load(folder.path(), &cache, "q8_0").expect("quantized");
        let path = cache.folder.join(&cached(&cache)[0]);
        let size = std::fs::metadata(&path).expect("there").len();
        std::fs::write(&path, b"GGUF").expect("writable");
        assert!(load(folder.path(), &cache, "q8_0").expect("made again").1 > 0);
        size
    };
    let cache = cache(folder.path(), size + size / 2);
    load(folder.path(), &cache, "q5_0").expect("quantized");
    assert_eq!(cached(&cache).len(), 1, "the file of q8_0 had to go");
    let small = QuantizedCache { bytes_max: size / 4, ..cache };
    let error = load(folder.path(), &small, "q8_0").expect_err("too large").to_string();
    assert!(error.contains("cache"), "{error}");
}

#[test]
fn two_loads_at_once_quantize_once() {
    let folder = folder("qwen2");
    let cache = cache(folder.path(), 1 << 30);
    let made: Vec<u64> = std::thread::scope(|scope| {
        let loads: Vec<_> =
            (0..2).map(|_| scope.spawn(|| load(folder.path(), &cache, "q8_0").expect("loaded").1)).collect();
        loads.into_iter().map(|load| load.join().expect("no panic")).collect()
    });
    assert_eq!(made.iter().filter(|bytes| **bytes > 0).count(), 1, "{made:?}");
}

#[test]
fn quantized_and_built_in_models_are_not_quantized_at_load() {
    let folder = folder("llama");
    let file = folder.path().join("out.gguf");
    quantize(folder.path(), &file, "q8_0").expect("it is written");
    let cache = cache(folder.path(), 1 << 30);
    let error = load(&file, &cache, "q4_0").expect_err("refused").to_string();
    assert!(error.contains("quantized already"), "{error}");
    quantize(folder.path(), &file, "bf16").expect("it is written");
    let (checkpoint, _) = load(&file, &cache, "q8_0").expect("a file in full precision is like a folder");
    let own = Checkpoint::open(folder.path()).expect("it is read");
    for name in names(&own) {
        assert!(distance(&values(&own, &name), &values(&checkpoint, &name)) < 0.02, "{name}");
    }
}
