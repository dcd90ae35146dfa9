//! Choices among real lists of files.

use super::*;
use crate::name::ModelName;

fn choice(text: &str) -> Choice {
    format!("a/b:{text}").parse::<ModelName>().expect("a name").choice
}

fn opened(paths: &[&str], asked: &str) -> Result<String, String> {
    select(paths, &choice(asked)).map(|selection| selection.gguf.unwrap_or_else(|| "folder".to_owned()))
}

const MANY: &[&str] =
    &["README.md", "m-Q2_K.gguf", "m-Q8_0.gguf", "m-Q4_K_M.gguf", "m-IQ2_XXS.gguf", "mmproj-F16.gguf"];

#[test]
fn the_stated_order_picks_among_several_gguf_files() {
    assert_eq!(opened(MANY, "latest").as_deref(), Ok("m-Q4_K_M.gguf"));
    assert_eq!(opened(&["m-Q8_0.gguf", "m-Q2_K.gguf", "m-F16.gguf"], "latest").as_deref(), Ok("m-Q8_0.gguf"));
    assert_eq!(opened(&["m-IQ2_XXS.gguf", "m.gguf"], "latest").as_deref(), Ok("m.gguf"), "unknown before unwanted");
    assert_eq!(opened(&["m-UD-Q8_K_XL.gguf", "m-UD-Q4_K_XL.gguf"], "latest").as_deref(), Ok("m-UD-Q4_K_XL.gguf"));
    assert_eq!(opened(&["m-IQ2_XXS.gguf"], "latest").as_deref(), Ok("m-IQ2_XXS.gguf"));
}

#[test]
fn a_quantization_or_a_file_can_be_named() {
    assert_eq!(opened(MANY, "q8_0").as_deref(), Ok("m-Q8_0.gguf"));
    assert_eq!(opened(MANY, "m-Q2_K.gguf").as_deref(), Ok("m-Q2_K.gguf"));
    assert_eq!(opened(MANY, "mmproj-F16.gguf").as_deref(), Ok("mmproj-F16.gguf"), "who names it gets it");
    let refused = opened(MANY, "Q6_K").expect_err("it has none");
    assert!(refused.contains("Q6_K") && refused.contains("Q4_K_M, Q8_0") && !refused.contains("mmproj"), "{refused}");
    assert!(opened(MANY, "x.gguf").is_err_and(|why| why.contains("no file \"x.gguf\"")));
}

#[test]
fn several_models_of_one_label_must_be_named() {
    let two = &["a-Q4_0.gguf", "b-Q4_0.gguf"];
    for asked in ["latest", "Q4_0"] {
        assert!(opened(two, asked).is_err_and(|why| why.contains("a-Q4_0.gguf, b-Q4_0.gguf")), "{asked}");
    }
    assert_eq!(opened(two, "b-Q4_0.gguf").as_deref(), Ok("b-Q4_0.gguf"));
}

#[test]
fn split_models_are_taken_whole() {
    let parts = ["d/m-Q8_0-00002-of-00003.gguf", "d/m-Q8_0-00003-of-00003.gguf", "d/m-Q8_0-00001-of-00003.gguf"];
    for asked in ["latest", "Q8_0", "d/m-Q8_0-00002-of-00003.gguf"] {
        let selection = select(&parts, &choice(asked)).expect("whole");
        assert_eq!(selection.gguf.as_deref(), Some("d/m-Q8_0-00001-of-00003.gguf"), "{asked}");
        assert_eq!((selection.files.len(), selection.label.as_deref()), (3, Some("Q8_0")));
    }
    assert!(opened(&parts[..2], "Q8_0").is_err_and(|why| why.contains("only 2")));
    assert_eq!(split_name("a-00001-of-00002.gguf"), Some(("a", 1, 2)));
    for odd in ["a-1-of-2.gguf", "a-00003-of-00002.gguf", "a-00000-of-00002.gguf", "a.gguf", "-of-.gguf"] {
        assert_eq!(split_name(odd), None, "{odd}");
    }
}

#[test]
fn a_folder_is_config_tokenizer_template_and_weights_only() {
    let paths = &[
        ".gitattributes",
        "README.md",
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "model.safetensors",
        "pytorch_model.bin",
        "tf_model.h5",
        "onnx/model.onnx",
        "onnx/config.json",
        "1_Pooling/config.json",
        "modules.json",
        "2_Dense/model.safetensors",
        "2_Dense/pytorch_model.bin",
        "chat_template.jinja",
        "original/consolidated.00.pth",
        "additional_chat_templates/rag.jinja",
        "runs/events",
        "train_script.py",
    ];
    let selection = select(paths, &Choice::Best).expect("a folder");
    let expected = [
        "1_Pooling/config.json",
        "2_Dense/model.safetensors",
        "additional_chat_templates/rag.jinja",
        "chat_template.jinja",
        "config.json",
        "model.safetensors",
        "modules.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    assert_eq!(selection.files, expected);
}

#[test]
fn gguf_wins_over_safetensors_unless_asked() {
    let both = &["config.json", "model.safetensors", "m-Q8_0.gguf"];
    assert_eq!(opened(both, "latest").as_deref(), Ok("m-Q8_0.gguf"));
    assert_eq!(opened(both, "safetensors").as_deref(), Ok("folder"));
}

#[test]
fn shards_are_taken_with_their_index() {
    let shards = ["config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    let with_index = [&shards[..], &["model.safetensors.index.json", "consolidated.safetensors"]].concat();
    assert_eq!(select(&with_index, &Choice::Best).expect("whole").files.len(), 4);
    assert!(opened(&shards, "latest").is_err_and(|why| why.contains("index")));
    assert!(opened(&with_index[..2], "latest").is_err_and(|why| why.contains("only 1")));
}

#[test]
fn a_repository_without_a_model_says_what_it_has() {
    let rows: [(&[&str], &str); 4] = [
        (&["README.md"], "neither a GGUF file nor config.json"),
        (&["config.json"], "nor model.safetensors"),
        (&["config.json", "pytorch_model.bin"], "PyTorch"),
        (&["config.json", "weights.safetensors"], "not called"),
    ];
    for (paths, expected) in rows {
        assert!(opened(paths, "latest").is_err_and(|why| why.contains(expected)), "{paths:?}");
    }
    assert!(opened(&["config.json"], "Q4_0").is_err_and(|why| why.contains("no GGUF")));
}

#[test]
fn odd_paths_are_not_offered() {
    assert!(gguf_models(&["../x-Q4_0.gguf", "/x-Q4_0.gguf", "a\\b.gguf", "a\n.gguf"]).is_empty());
}
