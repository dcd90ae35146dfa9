//! Cross-encoders give the scores of sentence-transformers' `CrossEncoder`. `tests/parity/make_encoder_goldens.py rerankers`
//! wrote the models.

use std::path::Path;

use firebox_contract::{Encoder, EncoderTask, EncoderText};
use firebox_models::{Checkpoint, LoadOptions, ModelError, load_encoder};
use serde_json::{Value, json};

use crate::common::{TestDevice, devices, parity_folder};

const FAMILIES: [&str; 7] = ["bert", "roberta", "xlm-roberta", "distilbert", "mpnet", "modernbert", "nomic-bert"];

/// The folder of a family with the files of a case put over its own.
fn folder(family: &str, files: &Value) -> tempfile::TempDir {
    let (folder, own) =
        (tempfile::tempdir().expect("a temporary folder"), parity_folder().join("rerankers").join(family));
    for entry in std::fs::read_dir(&own).expect("the model is there") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).expect("copied");
    }
    for (name, content) in files.as_object().expect("files") {
        put(folder.path(), name, content);
    }
    folder
}

fn put(folder: &Path, name: &str, content: &Value) {
    let path = folder.join(name);
    if let Some(from) = content["file"].as_str() {
        std::fs::copy(folder.join(from), path).expect("copied");
        return;
    }
    let mut all: Value = std::fs::read(&path)
        .map_or_else(|_| content.clone(), |bytes| serde_json::from_slice(&bytes).expect("the file is JSON"));
    if let (Some(all), Some(content)) = (all.as_object_mut(), content.as_object()) {
        all.extend(content.clone());
    }
    std::fs::write(path, all.to_string()).expect("written");
}

fn load(family: &str, files: &Value, device: &TestDevice) -> Result<Box<dyn Encoder>, ModelError> {
    let folder = folder(family, files);
    load_encoder(&Checkpoint::open(folder.path())?, &device.device, LoadOptions::default())
}

fn golden(family: &str) -> Value {
    let path = parity_folder().join("rerankers").join(family).join("golden.json");
    serde_json::from_slice(&std::fs::read(path).expect("the golden is there")).expect("the golden is JSON")
}

#[test]
fn every_family_scores_pairs_as_sentence_transformers_does() {
    let mut wrong = Vec::new();
    for device in devices() {
        for family in FAMILIES {
            let golden = golden(family);
            let query = golden["query"].as_str().expect("a query");
            for case in golden["cases"].as_array().expect("cases") {
                let mut encoder = match load(family, &case["files"], &device) {
                    Ok(encoder) => encoder,
                    Err(error) => {
                        wrong.push(format!("{family}, {}: {error}", case["name"]));
                        continue;
                    }
                };
                let profile = encoder.profile().clone();
                assert_eq!((profile.task, profile.width), (EncoderTask::Rank, 1), "{family}");
                let prompt = profile.prompt(None).expect("the prompt is there");
                let documents = golden["documents"].as_array().expect("documents").iter().filter_map(Value::as_str);
                let pairs: Vec<EncoderText<'_>> =
                    documents.map(|text| EncoderText { prompt, query: Some(query), text, max_tokens: None }).collect();
                let together = encoder.encode(&pairs).expect("the pairs are scored");
                for (at, pair) in pairs.iter().enumerate() {
                    let alone = encoder.encode(&[*pair]).expect("the pair is scored");
                    let expected = case["scores"][at].as_f64().expect("a number") as f32;
                    let near = |score: f32| (score - expected).abs() <= device.tolerance * expected.abs().max(0.1);
                    let (alone, together) = (&alone[0], &together[at]);
                    let same_tokens = alone.tokens as u64 == case["tokens"][at].as_u64().expect("a number");
                    if !near(alone.embedding[0]) || !near(together.embedding[0]) || !same_tokens {
                        wrong.push(format!(
                            "{family}, {} on {}, document {at}: {alone:?} and {together:?}, expected {expected} with {} tokens",
                            case["name"], device.name, case["tokens"][at]
                        ));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn pairs_that_are_too_long_are_counted_whole_and_cut_to_the_limit() {
    let mut encoder = load("bert", &json!({}), &devices()[0]).expect("it loads");
    let long = "the cat ".repeat(2_000);
    let pair = EncoderText { query: Some("the cat"), text: &long, ..EncoderText::default() };
    assert!(encoder.count_tokens(&pair).expect("counted") > 280);
    assert_eq!(encoder.encode(&[pair]).expect("scored")[0].tokens, 280);
    // Query and document are cut alike if both are long.
    let both = EncoderText { query: Some(&long), max_tokens: Some(9), ..pair };
    assert_eq!(encoder.encode(&[both]).expect("scored")[0].tokens, 9);
    let error = encoder.encode(&[EncoderText { max_tokens: Some(4), ..pair }]).expect_err("no room").to_string();
    assert!(error.contains("max tokens \"4\" is less than 5"), "{error}");
}

#[test]
fn classifiers_that_do_not_rank_are_refused_by_name() {
    let device = &devices()[0];
    let module = |kind: &str, path: &str| json!({"type": format!("sentence_transformers.models.{kind}"), "path": path});
    let cases = [
        (json!({"config.json": {"id2label": {"0": "a", "1": "b", "2": "c"}}}), "3 labels"),
        (
            json!({"config.json": {"sbert_ce_default_activation_function": "torch.nn.modules.activation.Hardtanh"}}),
            "Hardtanh",
        ),
        (json!({"modules.json": [module("Transformer", ""), module("Dense", "1_Dense")]}), "the module \"Dense\""),
        (
            json!({"modules.json": [module("Transformer", "")], "config_sentence_transformers.json": {"model_type": "SparseEncoder"}}),
            "SparseEncoder",
        ),
        (
            json!({"modules.json": [module("Transformer", "")], "sentence_bert_config.json": {"transformer_task": "feature-extraction"}}),
            "transformer_task",
        ),
    ];
    for (files, expected) in cases {
        let error = load("bert", &files, device).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(expected), "{files}: {error}");
    }
}

/// With a pooling, the weights of a classifier are those of a text encoder.
#[test]
fn a_classifier_with_a_pooling_embeds_texts() {
    let module = |kind: &str, path: &str| json!({"type": format!("sentence_transformers.models.{kind}"), "path": path});
    let files = json!({"modules.json": [module("Transformer", ""), module("Pooling", "")]});
    let error = load("bert", &files, &devices()[0]).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("config.json"), "a pooling has a config of its own: {error}");
}
