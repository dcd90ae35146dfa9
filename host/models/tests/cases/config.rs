//! Unusual configs and tensor names mean the same as in transformers (`tests/parity/make_config_goldens.py`).

use burn::tensor::Device;
use firebox_contract::SequenceId;
use firebox_models::{Checkpoint, LoadOptions, load_decoder};
use serde_json::Value;

use crate::common::{Golden, exact, logits_of, max_difference, parity_folder};
use crate::folder::Folder;

/// The reference model of a case with the changes of the case.
fn folder_of(case: &Value) -> Folder {
    let folder = Folder::of(case["model"].as_str().expect("a model"));
    for key in case["unset"].as_array().expect("a list") {
        folder.remove_config(key.as_str().expect("a key"));
    }
    for (key, value) in case["set"].as_object().expect("an object") {
        folder.set_config(key, value.clone());
    }
    for (from, to) in case["rename"].as_object().into_iter().flatten() {
        folder.rename_tensors(from, to.as_str().expect("a prefix"));
    }
    folder
}

#[test]
fn the_part_for_text_of_a_model_for_images_is_loaded_alone() {
    let golden = Golden::read("gemma3");
    // In older files, and as transformers 5 writes them.
    for (model, head) in [("language_model.model.", "language_model.lm_head"), ("model.language_model.", "lm_head")] {
        let folder = Folder::of("gemma3");
        let text: Value = serde_json::from_slice(&folder.read("config.json")).expect("JSON");
        let config = serde_json::json!({
            "architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "text_config": text,
            "vision_config": {"hidden_size": 8}, "image_token_index": 7,
        });
        folder.write("config.json", config.to_string().as_bytes());
        folder.rename_tensors("lm_head", head);
        folder.rename_tensors("model.", model);
        let checkpoint = Checkpoint::open(folder.path()).expect("it opens");
        let loaded = load_decoder(&checkpoint, &Device::flex(), exact());
        let mut decoder = loaded.unwrap_or_else(|error| panic!("{model}: {error}"));
        assert_eq!(checkpoint.warnings().list(), Vec::<String>::new(), "{model}");
        let logits = logits_of(&mut *decoder, SequenceId(1), &golden.prompt);
        assert!(max_difference(&logits, &golden.logits[0]) / golden.scale() <= 1e-3, "{model}");
    }
}

#[test]
fn unusual_configs_and_names_give_the_logits_of_transformers() {
    let text = std::fs::read(parity_folder().join("configs/golden.json")).expect("the goldens are there");
    let cases: Vec<Value> = serde_json::from_slice(&text).expect("they are JSON");
    assert!(cases.len() >= 30, "{}", cases.len());
    for case in &cases {
        let (name, golden) = (&case["name"], Golden::read(case["model"].as_str().expect("a model")));
        let folder = folder_of(case);
        let checkpoint = Checkpoint::open(folder.path()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let context = case["context"].as_u64().map_or(8_192, |context| context as usize);
        let options = LoadOptions { context_tokens: Some(context), ..exact() };
        let loaded = load_decoder(&checkpoint, &Device::flex(), options);
        let mut model = loaded.unwrap_or_else(|error| panic!("{name}: {error}"));
        let count = case["tokens"].as_u64().map_or(golden.prompt.len(), |count| count as usize);
        let prompt: Vec<_> = golden.prompt.iter().copied().cycle().take(count).collect();
        let logits = logits_of(&mut *model, SequenceId(1), &prompt);
        let expected: Vec<f32> = serde_json::from_value(case["logits"].clone()).expect("numbers");
        let scale = case["scale"].as_f64().expect("a number") as f32;
        let worst = max_difference(&logits[..expected.len()], &expected) / scale;
        assert!(worst <= 1e-3, "{name}: {worst:e} of the logits' scale");
    }
}
