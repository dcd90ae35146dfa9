//! A decoder whose last token is the vector of a text, as Qwen3-Embedding is published, gives the vectors of
//! sentence-transformers. `tests/parity/make_encoder_goldens.py embedder` wrote the model.

use firebox_contract::{EncoderTask, EncoderText};
use firebox_models::{Checkpoint, LoadOptions, is_encoder, load_encoder};
use serde_json::Value;

use crate::common::{devices, max_difference, parity_folder};

#[test]
fn a_decoder_with_modules_gives_the_vectors_of_sentence_transformers() {
    check("last-token");
}

/// The longest text has the long factors, and the others have the short ones, alone and next to it.
#[test]
fn each_text_has_the_longrope_factors_of_its_length() {
    check("last-token-longrope");
}

fn check(name: &str) {
    let device = &devices()[0];
    let folder = parity_folder().join("encoders").join(name);
    let golden = std::fs::read(folder.join("golden.json")).expect("the golden is there");
    let golden: Value = serde_json::from_slice(&golden).expect("the golden is JSON");
    let checkpoint = Checkpoint::open(&folder).expect("the checkpoint opens");
    assert!(is_encoder(&checkpoint).expect("it is read"));
    let mut encoder = load_encoder(&checkpoint, &device.device, LoadOptions::default()).expect("it loads");
    assert_eq!(checkpoint.warnings().list(), Vec::<String>::new());
    let profile = encoder.profile().clone();
    assert_eq!((profile.task, profile.width, encoder.info().context_tokens), (EncoderTask::Embed, 16, 280));
    for (key, name) in [("vectors", None), ("queries", Some("query"))] {
        let prompt = profile.prompt(name).expect("the prompt is there");
        let texts = golden["texts"].as_array().expect("texts").iter().filter_map(Value::as_str);
        let texts: Vec<EncoderText<'_>> =
            texts.map(|text| EncoderText { prompt, text, ..EncoderText::default() }).collect();
        let together = encoder.encode(&texts).expect("the texts are encoded");
        for (at, text) in texts.iter().enumerate() {
            let alone = encoder.encode(&[*text]).expect("the text is encoded");
            let expected = golden[key][at].as_array().expect("a vector").iter();
            let expected: Vec<f32> = expected.map(|value| value.as_f64().expect("a number") as f32).collect();
            for encoding in [&together[at], &alone[0]] {
                let difference = max_difference(&encoding.embedding, &expected);
                assert!(difference <= 1e-4, "{:?}, {key}: {difference:e}", text.text);
            }
            if name.is_none() {
                assert_eq!(alone[0].tokens as u64, golden["tokens"][at], "{:?}", text.text);
            }
        }
    }
}
