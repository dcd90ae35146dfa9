//! The vectors of sentence-transformers 6.2 for one tiny BERT with many kinds of metadata
//! (`tests/parity/make_embedding_goldens.py`), and refused metadata.

use std::path::Path;

use firebox_contract::{Encoder, EncoderText, Encoding, VectorForm};
use firebox_models::{Checkpoint, LoadOptions, ModelError, load_encoder};
use serde_json::{Value, json};

use crate::common::{TestDevice, devices, max_difference, minilm_folder, parity_folder};

/// The files of every case that does not replace them.
const SHARED: [&str; 4] = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];

fn goldens() -> Value {
    let bytes = std::fs::read(parity_folder().join("sentence-transformers/cases.json")).expect("the goldens are there");
    serde_json::from_slice(&bytes).expect("the goldens are JSON")
}

/// A folder with the shared files and the files of a case, which replace them.
fn folder(files: &Value) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let shared = parity_folder().join("sentence-transformers/shared");
    let copy = |from: &str, to: &Path| {
        std::fs::create_dir_all(to.parent().expect("a folder")).expect("made");
        std::fs::copy(shared.join(from), to).expect("copied");
    };
    SHARED.iter().for_each(|name| copy(name, &folder.path().join(name)));
    for (name, content) in files.as_object().expect("files") {
        let path = folder.path().join(name);
        if let Some(from) = content.get("file").and_then(Value::as_str) {
            copy(from, &path);
            continue;
        }
        let mut content = content.clone();
        if name == "config.json" {
            let mut all: Value = serde_json::from_slice(&std::fs::read(&path).expect("read")).expect("JSON");
            let map = all.as_object_mut().expect("an object");
            map.extend(content.as_object().expect("an object").clone());
            map.retain(|_, value| !value.is_null());
            content = all;
        }
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(&path, content.to_string()).expect("written");
    }
    folder
}

fn load(files: &Value, device: &TestDevice) -> Result<Box<dyn Encoder>, ModelError> {
    let folder = folder(files);
    load_encoder(&Checkpoint::open(folder.path())?, &device.device, LoadOptions::default())
}

/// The vectors of `firebox embed` with the same options.
fn vectors(encoder: &mut dyn Encoder, ask: &Value, texts: &[&str]) -> Vec<Encoding> {
    let profile = encoder.profile().clone();
    let prompt = match ask["prompt"].as_str() {
        Some(prompt) => prompt,
        None => profile.prompt(ask["prompt_name"].as_str()).expect("the prompt is there"),
    };
    let dimensions = ask["dimensions"].as_u64().map(|count| usize::try_from(count).expect("small"));
    let dimensions = profile.length(dimensions).expect("so many numbers are there");
    let form = VectorForm { dimensions, normalize: ask["normalize"] == true };
    let texts: Vec<EncoderText<'_>> =
        texts.iter().map(|text| EncoderText { prompt, query: None, text, max_tokens: None }).collect();
    let mut encodings = encoder.encode(&texts).expect("the texts are encoded");
    encodings.iter_mut().for_each(|encoding| form.apply(&mut encoding.embedding));
    encodings
}

fn numbers(list: &Value) -> Vec<f32> {
    list.as_array().expect("a vector").iter().map(|value| value.as_f64().expect("a number") as f32).collect()
}

#[test]
fn each_kind_of_metadata_gives_the_vectors_of_sentence_transformers() {
    let goldens = goldens();
    let texts: Vec<&str> = goldens["texts"].as_array().expect("texts").iter().filter_map(Value::as_str).collect();
    let cases = goldens["cases"].as_array().expect("cases");
    assert!(cases.len() >= 100 && texts.len() == 3, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for device in devices() {
        for case in cases {
            let name = case["name"].as_str().expect("a name");
            let mut encoder = match load(&case["files"], &device) {
                Ok(encoder) => encoder,
                Err(error) => {
                    wrong.push(format!("{name}: {error}"));
                    continue;
                }
            };
            let expected: Vec<Vec<f32>> = case["vectors"].as_array().expect("vectors").iter().map(numbers).collect();
            let together = vectors(&mut *encoder, &case["ask"], &texts);
            let alone = texts.iter().flat_map(|text| vectors(&mut *encoder, &case["ask"], &[text]));
            for (at, got) in together.iter().chain(&alone.collect::<Vec<_>>()).enumerate() {
                let (text, expected) = (texts[at % 3], &expected[at % 3]);
                let scale = expected.iter().fold(1.0_f32, |scale, value| scale.max(value.abs()));
                let same = got.embedding.len() == expected.len();
                if !same || max_difference(&got.embedding, expected) > 1e-4 * scale.max(device.tolerance / 1e-3) {
                    wrong.push(format!(
                        "{name}: {:?} and not {expected:?} for {text:?} on {}",
                        got.embedding, device.name
                    ));
                    break;
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// all-MiniLM-L6-v2 as this version of sentence-transformers saves it: the same facts under other names in other files.
#[test]
fn minilm_saved_by_a_newer_version_gives_the_same_vectors() {
    let minilm = minilm_folder();
    let anew = tempfile::tempdir().expect("a temporary folder");
    let saved = parity_folder().join("minilm/resaved");
    for name in ["", "1_Pooling", "2_Normalize"] {
        std::fs::create_dir_all(anew.path().join(name)).expect("made");
        for entry in std::fs::read_dir(saved.join(name)).expect("the files are there") {
            let entry = entry.expect("an entry");
            if entry.path().is_file() {
                std::fs::copy(entry.path(), anew.path().join(name).join(entry.file_name())).expect("copied");
            }
        }
    }
    for name in ["model.safetensors", "tokenizer.json"] {
        std::fs::hard_link(minilm.join(name), anew.path().join(name))
            .or_else(|_| std::fs::copy(minilm.join(name), anew.path().join(name)).map(drop))
            .expect("linked");
    }
    let load = |folder: &Path| {
        let checkpoint = Checkpoint::open(folder).expect("it opens");
        load_encoder(&checkpoint, &devices()[0].device, LoadOptions::default()).expect("it loads")
    };
    let (mut before, mut after) = (load(&minilm), load(anew.path()));
    let long = "The Café is CLOSED. ".repeat(80);
    for text in ["The cat sat on the mat.", long.as_str()] {
        let [before, after] = [&mut before, &mut after].map(|encoder| encoder.encode(&[text.into()]).expect("encoded"));
        assert_eq!(before, after, "{text}");
    }
    assert_eq!((after.info().context_tokens, after.profile().prompts.len()), (256, 2));
}

/// Refused modules, and the part of the message that names them.
fn refused_modules() -> Vec<(Value, &'static str)> {
    let modules = |kinds: &[&str]| {
        let module = |(at, kind): (usize, &&str)| {
            let folder = if at == 0 { String::new() } else { format!("{at}_M") };
            json!({"idx": at, "path": folder, "type": kind})
        };
        kinds.iter().enumerate().map(module).collect::<Value>()
    };
    let (transformer, pooling) = ("sentence_transformers.models.Transformer", "sentence_transformers.models.Pooling");
    let dense = "sentence_transformers.models.Dense";
    let mean = json!({"word_embedding_dimension": 16, "pooling_mode": "mean"});
    let with = |more: Value| {
        let mut files = json!({"modules.json": modules(&[transformer, pooling]), "1_M/config.json": mean});
        files.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        files
    };
    let with_dense = |config: Value| {
        let weights = json!({"file": "dense.safetensors"});
        with(json!({"modules.json": modules(&[transformer, pooling, dense]), "2_M/config.json": config,
                    "2_M/model.safetensors": weights}))
    };
    vec![
        (with(json!({"1_M/config.json": {"pooling_mode": "median"}})), "\"pooling_mode\" = \"median\""),
        (with(json!({"1_M/config.json": {"pooling_mode": "mean+max"}})), "\"pooling_mode\" = \"mean+max\""),
        (with(json!({"1_M/config.json": {"pooling_mode": []}})), "\"pooling_mode\" is an empty list"),
        (with(json!({"1_M/config.json": {"pooling_mode_mean_tokens": "yes"}})), "\"pooling_mode_mean_tokens\""),
        (json!({"modules.json": modules(&[transformer, pooling])}), "1_M/config.json\" is missing"),
        (with(json!({"modules.json": {}})), "expected a list of modules"),
        (with(json!({"modules.json": modules(&[transformer])})), "names no Pooling"),
        (with(json!({"modules.json": modules(&[pooling])})), "must begin with a Transformer"),
        (with(json!({"modules.json": modules(&["sentence_transformers.models.LSTM"])})), "models.LSTM"),
        (
            with(json!({"modules.json": modules(&[transformer, pooling, "sentence_transformers.models.LayerNorm"])})),
            "LayerNorm",
        ),
        (with(json!({"modules.json": modules(&[transformer, "mine.Pooling"])})), "\"mine.Pooling\""),
        (with(json!({"modules.json": [{"type": transformer, "path": "0_Transformer"}]})), "in the folder itself"),
        (
            with(json!({"modules.json": [{"type": transformer, "path": ""}, {"type": pooling, "path": "../1_M"}]})),
            "plain folder name",
        ),
        (
            with_dense(json!({"in_features": 16, "out_features": 8, "activation_function": "torch.nn.Softmax"})),
            "torch.nn.Softmax",
        ),
        (with_dense(json!({"in_features": 16, "out_features": 8, "activation_function": "my.Tanh"})), "my.Tanh"),
        (with_dense(json!({"in_features": 8, "out_features": 8})), "16 numbers come in"),
        (with_dense(json!({"in_features": 16, "out_features": 9})), "\"linear.weight\""),
        (
            with_dense(json!({"in_features": 16, "out_features": 8, "module_input_name": "token_embeddings"})),
            "token_embeddings",
        ),
        (with(json!({"config_sentence_transformers.json": {"model_type": "SparseEncoder"}})), "SparseEncoder"),
        (with(json!({"config_sentence_transformers.json": {"default_prompt_name": "nothing"}})), "none of \"prompts\""),
        (with(json!({"config_sentence_transformers.json": {"prompts": {"a": 7}}})), "expected text"),
        (with(json!({"config_sentence_transformers.json": {"truncate_dim": 0}})), "\"truncate_dim\""),
    ]
}

/// Refused values in the files of a model with a mean pooling, and the part of the message that names them.
fn refused_values() -> Vec<(Value, &'static str)> {
    let with = |more: Value| {
        let mut files = json!({"modules.json": [{"type": "sentence_transformers.models.Transformer", "path": ""},
            {"type": "sentence_transformers.models.Pooling", "path": "1_M"}], "1_M/config.json": {"pooling_mode": "mean"}});
        files.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        files
    };
    vec![
        (with(json!({"sentence_bert_config.json": {"transformer_task": "fill-mask"}})), "fill-mask"),
        (
            with(json!({"sentence_bert_config.json": {"modality_config": {"text": {"method": "forward",
            "method_output_name": "pooler_output"}}}})),
            "pooler_output",
        ),
        (with(json!({"sentence_bert_config.json": {"modality_config": {"message": {}}}})), "\"message\""),
        (with(json!({"sentence_bert_config.json": {"config_args": {"hidden_act": "relu"}}})), "\"hidden_act\""),
        (
            with(json!({"sentence_bert_config.json": {"processing_kwargs": {"text": {"add_special_tokens": false}}}})),
            "\"add_special_tokens\"",
        ),
        (with(json!({"sentence_bert_config.json": {"max_seq_length": 0}})), "\"max_seq_length\""),
        (json!({"config.json": {"is_decoder": true}}), "\"is_decoder\""),
        (json!({"config.json": {"position_embedding_type": "relative_key"}}), "relative_key"),
        (json!({"config.json": {"hidden_act": "mish"}}), "mish"),
        (json!({"config.json": {"architectures": ["BertForSequenceClassification"]}}), "\"num_labels\" stands for 2"),
        (
            json!({"config.json": {"architectures": ["RobertaModel"], "model_type": "roberta", "pad_token_id": 31}}),
            "\"max_position_embeddings\" is 32",
        ),
        (json!({"config.json": {"architectures": ["XLMRobertaModel"]}}), "\"model_type\""),
    ]
}

#[test]
fn settings_that_would_change_the_vectors_are_refused_by_name() {
    let mut wrong = Vec::new();
    for (files, expected) in refused_modules().into_iter().chain(refused_values()) {
        match load(&files, &devices()[0]) {
            Err(error) if error.to_string().contains(expected) => {}
            Err(error) => wrong.push(format!("{error} should name {expected}")),
            Ok(_) => wrong.push(format!("{files} loads")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn similarity_and_prompts_are_read_from_the_checkpoint() {
    let mean = json!({"modules.json": [{"type": "sentence_transformers.models.Transformer", "path": ""},
        {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}], "1_Pooling/config.json": {"pooling_mode": "mean"}});
    for (name, uses_cosine) in [("cosine", true), ("dot", false), ("euclidean", false), ("maxsim", true)] {
        let mut files = mean.clone();
        files["config_sentence_transformers.json"] = json!({"similarity_fn_name": name, "prompts": {"title": "t: "}});
        let encoder = load(&files, &devices()[0]).expect("it loads");
        assert_eq!(encoder.profile().uses_cosine, uses_cosine, "{name}");
        assert_eq!(encoder.profile().prompts.keys().collect::<Vec<_>>(), ["document", "query", "title"]);
    }
}
