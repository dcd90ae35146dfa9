//! Each family of encoders gives the vectors of transformers. `tests/parity/make_embedding_goldens.py families` and
//! `make_encoder_goldens.py families` wrote the models, with tokenizers that only their classes complete.

use firebox_contract::EncoderText;
use firebox_models::{Checkpoint, LoadOptions, load_encoder};
use serde_json::Value;

use crate::common::{devices, max_difference, parity_folder};

#[test]
fn every_family_of_encoders_gives_the_vectors_of_transformers() {
    for device in devices() {
        for family in ["roberta", "xlm-roberta", "distilbert", "mpnet", "modernbert", "nomic-bert"] {
            let folder = parity_folder().join("encoders").join(family);
            let golden = std::fs::read(folder.join("golden.json")).expect("the golden is there");
            let golden: Value = serde_json::from_slice(&golden).expect("the golden is JSON");
            let checkpoint = Checkpoint::open(&folder).expect("the checkpoint opens");
            let loaded = load_encoder(&checkpoint, &device.device, LoadOptions::default());
            let mut encoder = loaded.unwrap_or_else(|error| panic!("{family}: {error}"));
            assert_eq!(checkpoint.warnings().list(), Vec::<String>::new(), "{family}");
            let limit = golden["limit"].as_u64().unwrap_or(100);
            assert_eq!(encoder.info().context_tokens as u64, limit, "{family}");
            let texts: Vec<&str> =
                golden["texts"].as_array().expect("texts").iter().filter_map(Value::as_str).collect();
            let texts: Vec<EncoderText<'_>> = texts.into_iter().map(EncoderText::from).collect();
            let together = encoder.encode(&texts).expect("the texts are encoded");
            let alone = texts.iter().flat_map(|text| encoder.encode(&[*text]).expect("the text is encoded"));
            let alone: Vec<_> = alone.collect();
            for (at, text) in texts.iter().enumerate() {
                let expected = golden["vectors"][at].as_array().expect("a vector").iter();
                let expected: Vec<f32> = expected.map(|value| value.as_f64().expect("a number") as f32).collect();
                let scale = expected.iter().fold(1.0_f32, |scale, value| scale.max(value.abs()));
                for encoding in [&together[at], &alone[at]] {
                    assert_eq!(encoding.tokens as u64, golden["tokens"][at], "{family}: {:?}", text.text);
                    let difference = max_difference(&encoding.embedding, &expected) / scale;
                    assert!(difference <= device.tolerance, "{family} on {}: {difference:e}", device.name);
                }
            }
        }
    }
}
