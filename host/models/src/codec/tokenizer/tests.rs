//! Tokenizers of real checkpoints compared with transformers 5.24 (`tests/parity/make_tokenizers.py`).

use std::path::Path;

use serde_json::{Value, json};

use crate::checkpoint::Checkpoint;
use crate::codec::tokenizer::load;
use crate::codec::{Codec, CodecOptions};
use firebox_contract::{Chat, Message, Role, TextCodec};

const FLAGS: [&str; 5] = ["special", "lstrip", "rstrip", "single_word", "normalized"];

fn golden() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity/tokenizers/golden.json");
    serde_json::from_slice(&std::fs::read(path).expect("the golden is there")).expect("it is JSON")
}

/// A folder with these files and weights of no tensor.
fn folder<'a>(files: impl IntoIterator<Item = (&'a str, Value)>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).expect("it can be written");
    write("model.safetensors", &[&2_u64.to_le_bytes()[..], b"{}"].concat());
    files.into_iter().for_each(|(name, value)| write(name, value.to_string().as_bytes()));
    folder
}

fn open(folder: &tempfile::TempDir) -> Checkpoint {
    Checkpoint::open(folder.path()).expect("the folder opens")
}

/// The folder of one of the golden's variants.
fn folder_of(variant: &Value, bases: &Value) -> tempfile::TempDir {
    let mut tokenizer = bases[variant["base"].as_str().expect("a name")].clone();
    for (key, value) in variant["set"].as_object().expect("an object") {
        tokenizer[key] = value.clone();
    }
    let files = variant["files"].as_object().expect("an object");
    let files = files.iter().map(|(name, value)| (name.as_str(), value.clone()));
    folder(files.chain([("tokenizer.json", tokenizer)]))
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().expect("a list").iter().map(|id| id.as_u64().expect("an id") as u32).collect()
}

/// The change of a case to a file.
type Change = fn(&mut Value);

#[test]
fn every_file_is_read_as_transformers_reads_it() {
    let golden = golden();
    let variants = golden["variants"].as_array().expect("a list");
    assert!(variants.len() >= 40, "{}", variants.len());
    for variant in variants {
        let name = variant["name"].as_str().expect("a name");
        let folder = folder_of(variant, &golden["bases"]);
        let loaded = load(&open(&folder)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let named: serde_json::Map<String, Value> =
            loaded.named.iter().map(|(name, text)| (name.clone(), json!(text))).collect();
        assert_eq!(Value::Object(named), variant["named"], "{name}");
        let added = loaded.tokenizer.get_added_tokens_decoder();
        let expected = variant["added"].as_array().expect("a list");
        assert_eq!(added.len(), expected.len(), "{name}: {added:?}");
        for token in expected {
            let own = added.get(&ids(&json!([token[0]]))[0]).unwrap_or_else(|| panic!("{name}: {token} in {added:?}"));
            let flags = [own.special, own.lstrip, own.rstrip, own.single_word, own.normalized];
            let set = FLAGS.iter().zip(flags).filter(|(_, is_set)| *is_set).map(|(flag, _)| json!(flag));
            let mut set: Vec<Value> = set.collect();
            // A token that a file lists as special is special here, in added_tokens.json too.
            if name == "added_tokens.json" && own.content == "<|user|>" {
                set.remove(0);
            }
            assert_eq!(json!([own.content, set]), json!([token[1], token[2]]), "{name}");
        }
        for (text, tokens) in
            golden["texts"].as_array().expect("a list").iter().zip(variant["texts"].as_array().expect("a list"))
        {
            let text = text.as_str().expect("text");
            for (special, expected) in [(true, &tokens[0]), (false, &tokens[1])] {
                let encoding = loaded.tokenizer.encode_fast(text, special).expect("it encodes");
                assert_eq!(encoding.get_ids(), ids(expected), "{name}: {text:?}");
            }
        }
    }
}

#[test]
fn an_answer_is_the_text_after_its_prompt() {
    let golden = golden();
    let mut with_space = 0;
    for variant in golden["variants"].as_array().expect("a list") {
        let folder = folder_of(variant, &golden["bases"]);
        let codec = Codec::load(&open(&folder), CodecOptions::default()).expect("it loads");
        for answer in variant["answers"].as_array().expect("a list") {
            let mut decoder = codec.decoder(&ids(&answer[0]));
            let pieces = ids(&answer[1]).into_iter().map(|token| decoder.push(token).expect("it decodes"));
            let text = pieces.collect::<String>() + &decoder.finish().expect("it decodes");
            assert_eq!(text, answer[2].as_str().expect("text"), "{}: {answer}", variant["name"]);
            with_space += usize::from(text.starts_with(' '));
        }
    }
    assert!(with_space > 100, "{with_space}");
}

fn byte_level() -> Value {
    golden()["bases"]["byte_level"].clone()
}

fn warnings(files: &[(&str, Value)]) -> String {
    let folder = folder(files.iter().cloned());
    let checkpoint = open(&folder);
    Codec::load(&checkpoint, CodecOptions::default()).expect("it loads");
    checkpoint.warnings().list().join("\n")
}

#[test]
fn settings_that_are_not_followed_are_named() {
    let config = ("config.json", json!({ "model_type": "llama", "vocab_size": 268 }));
    let tokenizer = ("tokenizer.json", byte_level());
    let quiet = json!({ "bos_token": "<s>", "eos_token": "</s>", "image_token": null, "model_max_length": 512,
                        "add_bos_token": true, "clean_up_tokenization_spaces": true });
    assert_eq!(warnings(&[config.clone(), tokenizer.clone(), ("tokenizer_config.json", quiet)]), "");
    let odd = json!({ "bos_token": "<s>", "pad_token": "<p>", "unk_token": "<u>", "surprise": 1, "tokenizer_class": "T5Tokenizer",
                      "added_tokens_decoder": { "300": { "content": "<far>" } } });
    let said = warnings(&[config.clone(), tokenizer.clone(), ("tokenizer_config.json", odd)]);
    for part in [
        "\"surprise\"",
        "\"T5Tokenizer\"",
        "<far>: 266 and not 300",
        "without an embedding in the model: \"<u>\", \"<p>\"",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let clean = json!({ "clean_up_tokenization_spaces": true });
    let config = ("config.json", json!({ "model_type": "llama", "vocab_size": 300 }));
    let unigram = ("tokenizer.json", golden()["bases"]["unigram"].clone());
    assert!(warnings(&[config, unigram, ("tokenizer_config.json", clean)]).contains("spaces before punctuation"));
}

#[test]
fn a_token_without_an_embedding_is_refused_by_name() {
    let folder = folder([
        ("config.json", json!({ "model_type": "llama", "vocab_size": 266 })),
        ("tokenizer.json", byte_level()),
        ("tokenizer_config.json", json!({ "pad_token": "<pad>" })),
    ]);
    let codec = Codec::load(&open(&folder), CodecOptions::default()).expect("it loads");
    assert!(codec.encode_text("Hello").is_ok());
    let error = codec.encode_text("a <pad>").expect_err("it has no row");
    assert!(matches!(error, firebox_contract::Error::Usage(_)), "{error:?}");
    assert!(error.to_string().contains("\"<pad>\" (266)"), "{error}");
}

#[test]
fn the_pattern_of_mistral_is_corrected_if_the_config_asks() {
    let mut tokenizer = byte_level();
    let vocabulary = tokenizer["model"]["vocab"].as_object_mut().expect("an object");
    (vocabulary.len()..100_001).for_each(|id| drop(vocabulary.insert(format!("filler{id}"), json!(id))));
    let bytes = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false });
    let words = json!({ "type": "Split", "pattern": { "Regex": "\\s+" }, "behavior": "Isolated", "invert": false });
    tokenizer["pre_tokenizer"] = json!({ "type": "Sequence", "pretokenizers": [words, bytes] });
    let tokens = |version: &str, settings: Value| {
        let config = json!({ "model_type": "mistral", "vocab_size": 100_001, "transformers_version": version });
        let folder = folder([
            ("config.json", config),
            ("tokenizer.json", tokenizer.clone()),
            ("tokenizer_config.json", settings),
        ]);
        let checkpoint = open(&folder);
        let loaded = load(&checkpoint).expect("it loads");
        let encoding = loaded.tokenizer.encode_fast("12", false).expect("it encodes");
        (encoding.get_ids().len(), checkpoint.warnings().list().join(""))
    };
    assert_eq!(tokens("4.50.0", json!({ "fix_mistral_regex": true })), (2, String::new()), "digits stand alone");
    assert_eq!(tokens("5.0.0", json!({ "fix_mistral_regex": true })), (1, String::new()));
    let (count, said) = tokens("4.50.0", json!({}));
    assert!(count == 1 && said.contains("fix_mistral_regex"), "{said}");
}

#[test]
fn a_part_that_cannot_be_read_is_named() {
    let config = json!({ "model_type": "llama" });
    let refused = |change: Change| {
        let mut tokenizer = byte_level();
        change(&mut tokenizer);
        let folder = folder([("config.json", config.clone()), ("tokenizer.json", tokenizer)]);
        load(&open(&folder)).err().expect("it is refused").to_string()
    };
    let cases: [(Change, &[&str]); 8] = [
        (|file| file["lexicon"] = json!({}), &["\"lexicon\""]),
        (|file| file["version"] = json!("2.0"), &["version", "2.0"]),
        (|file| file["normalizer"] = json!({ "type": "Sphinx" }), &["\"normalizer\"", "\"Sphinx\""]),
        (
            |file| {
                let steps = json!([{ "type": "Fuse" }, { "type": "Riddle" }]);
                file["decoder"] = json!({ "type": "Sequence", "decoders": steps });
            },
            &["\"decoder\"", "\"Riddle\""],
        ),
        (|file| file["pre_tokenizer"] = json!({ "type": "Split" }), &["\"pre_tokenizer\"", "\"Split\""]),
        (|file| file["model"]["type"] = json!("Sphinx"), &["\"model\"", "\"Sphinx\""]),
        (|file| file["added_tokens"] = json!([{ "content": "<a>" }]), &["\"added_tokens\"", "<a>"]),
        (|file| drop(file.as_object_mut().map(|file| file.remove("model"))), &["\"model\" is missing"]),
    ];
    for (change, parts) in cases {
        let error = refused(change);
        assert!(parts.iter().all(|part| error.contains(part)), "{parts:?}: {error}");
    }
}

#[test]
fn a_folder_without_tokenizer_json_is_an_error_with_a_remedy() {
    let error = |files: &[&str]| {
        let folder = folder(files.iter().map(|name| (*name, json!({}))).chain([("config.json", json!({}))]));
        load(&open(&folder)).err().expect("it is refused").to_string()
    };
    for (files, part) in [
        (&["tokenizer.model"][..], "model of SentencePiece, which is not read: save tokenizer.json"),
        (&["vocab.json", "merges.txt"][..], "only a vocabulary"),
        (&[][..], "fast format"),
    ] {
        let error = error(files);
        assert!(error.contains("tokenizer.json\" is missing") && error.contains(part), "{error}");
    }
}

#[test]
fn settings_of_the_wrong_type_are_named() {
    let error = |settings: Value| {
        let config = ("config.json", json!({ "model_type": "llama" }));
        let folder = folder([config, ("tokenizer.json", byte_level()), ("tokenizer_config.json", settings)]);
        load(&open(&folder)).err().expect("it is refused").to_string()
    };
    for (settings, part) in [
        (json!({ "bos_token": 5 }), "bos_token"),
        (json!({ "added_tokens_decoder": { "x": { "content": "a" } } }), "\"x\""),
        (json!({ "added_tokens_decoder": { "3": "a" } }), "added_tokens_decoder"),
        (json!({ "extra_special_tokens": [5] }), "extra_special_tokens"),
        (json!({ "split_special_tokens": "no" }), "split_special_tokens"),
    ] {
        let error = error(settings);
        assert!(error.contains(part) && error.contains("tokenizer_config.json"), "{error}");
    }
}

#[test]
fn special_tokens_of_all_files_are_control_tokens() {
    let mark = |content: &str| json!({ "content": content, "special": true, "normalized": false });
    let template = "{% for m in messages %}[A]{{ m.content }}[B]{% endfor %}{{ bos_token }}";
    let ids = |config: Value, map: Value, added: Value| {
        let folder = folder([
            ("config.json", json!({ "model_type": "llama", "vocab_size": 1024 })),
            ("tokenizer.json", byte_level()),
            ("tokenizer_config.json", config),
            ("special_tokens_map.json", map),
            ("added_tokens.json", added),
        ]);
        std::fs::write(folder.path().join("chat_template.jinja"), template).expect("it can be written");
        let codec = Codec::load(&open(&folder), CodecOptions::default()).expect("it loads");
        let messages = [Message::text(Role::User, "x[A]y[B]z<s>")];
        let tokens = codec.encode_chat(Chat::new(&messages, &[])).expect("it encodes");
        let special = tokens.iter().filter(|token| **token >= 266).count();
        let mut decoder = codec.decoder(&[]);
        let text: String = tokens.iter().map(|token| decoder.push(*token).expect("it decodes")).collect();
        assert_eq!(text, "x[A]y[B]z<s>", "what is special is no text, and what was written is");
        special
    };
    let decoder = json!({ "266": mark("[A]"), "267": mark("[B]"), "268": mark("<s>") });
    assert_eq!(ids(json!({ "bos_token": "<s>", "added_tokens_decoder": decoder }), json!({}), json!({})), 3);
    let extra = json!(["[A]", "[B]"]);
    assert_eq!(ids(json!({ "bos_token": "<s>", "extra_special_tokens": extra }), json!({}), json!({})), 3);
    let map = json!({ "bos_token": mark("<s>"), "additional_special_tokens": extra });
    assert_eq!(ids(json!({}), map.clone(), json!({})), 3);
    assert_eq!(ids(json!({}), map, json!({ "[A]": 266, "[B]": 267 })), 3);
}
