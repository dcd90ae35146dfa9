//! Unusual configs and tensor names mean the same as in transformers (`tests/parity/make_config_goldens.py`).

use burn::tensor::Device;
use firebox_contract::SequenceId;
use firebox_models::{Checkpoint, LoadOptions, load_decoder};
use serde_json::Value;

use crate::common::{Golden, logits_of, max_difference, parity_folder};
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
fn unusual_configs_and_names_give_the_logits_of_transformers() {
    let text = std::fs::read(parity_folder().join("configs/golden.json")).expect("the goldens are there");
    let cases: Vec<Value> = serde_json::from_slice(&text).expect("they are JSON");
    assert!(cases.len() >= 30, "{}", cases.len());
    for case in &cases {
        let (name, golden) = (&case["name"], Golden::read(case["model"].as_str().expect("a model")));
        let folder = folder_of(case);
        let checkpoint = Checkpoint::open(folder.path()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let options = LoadOptions { context_tokens: Some(8_192), ..LoadOptions::default() };
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
