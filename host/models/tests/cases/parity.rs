//! The same numbers as Hugging Face transformers, on every device, however the tokens are cut into calls.
//!
//! `tests/parity/make_goldens.py` wrote the models and what transformers computes with them. Vulkan is tested when
//! `FIREBOX_TEST_VULKAN=1` (and then must be there); sentence vectors need the folder of all-MiniLM-L6-v2 in
//! `FIREBOX_TEST_MINILM`.

use crate::common::{Golden, argmax, devices, golden_models, load, logits_of, max_difference};
use firebox_contract::{LanguageModel, SequenceId, Span, TokenId};

const FIRST: SequenceId = SequenceId(1);
const SECOND: SequenceId = SequenceId(2);

/// Runs `tokens` in calls of `chunk` and gives the logits after the last.
fn prefill(model: &mut dyn LanguageModel, sequence: SequenceId, tokens: &[TokenId], chunk: usize) -> Vec<f32> {
    let mut logits = Vec::new();
    let count = tokens.len().div_ceil(chunk);
    for (index, tokens) in tokens.chunks(chunk).enumerate() {
        let wants_logits = index + 1 == count;
        let rows = model.forward(&[Span { sequence, tokens, wants_logits }]);
        let rows: Vec<_> = rows.into_iter().map(|row| row.expect("forward works")).collect();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].is_some(), wants_logits, "logits come exactly when they are wanted");
        logits = rows.into_iter().flatten().next().unwrap_or_default();
    }
    logits
}

/// The greedy continuation and all logits on the way.
fn continue_greedily(model: &mut dyn LanguageModel, golden: &Golden) -> (Vec<TokenId>, Vec<Vec<f32>>) {
    let mut rows = vec![prefill(model, FIRST, &golden.prompt, golden.prompt.len())];
    let mut answer = Vec::new();
    for _ in 0..golden.answer.len() {
        let token = argmax(rows.last().expect("there is a first row"));
        answer.push(token);
        rows.push(logits_of(model, FIRST, &[token]));
    }
    model.release(FIRST);
    (answer, rows)
}

#[test]
fn logits_and_greedy_text_agree_with_transformers() {
    for device in devices() {
        for name in golden_models() {
            let golden = Golden::read(&name);
            let mut model = load(&name, &device);
            let (answer, rows) = continue_greedily(&mut *model, &golden);
            assert_eq!(answer, golden.answer, "{name} on {}", device.name);
            let worst = rows.iter().zip(&golden.logits).map(|(row, golden)| max_difference(row, golden));
            let worst = worst.fold(0.0, f32::max) / golden.scale();
            assert!(worst <= device.tolerance, "{name} on {}: {worst:e} of the logits' scale", device.name);
        }
    }
}

#[test]
fn prefill_in_chunks_is_prefill_at_once() {
    for device in devices() {
        for name in golden_models() {
            let golden = Golden::read(&name);
            let mut model = load(&name, &device);
            for chunk in [1, 7, 16] {
                let logits = prefill(&mut *model, FIRST, &golden.prompt, chunk);
                model.release(FIRST);
                let difference = max_difference(&logits, &golden.logits[0]) / golden.scale();
                assert!(difference <= device.tolerance, "{name} on {}, chunks of {chunk}: {difference:e}", device.name);
            }
        }
    }
}

#[test]
fn interleaved_sequences_are_as_if_alone() {
    for device in devices() {
        for name in golden_models() {
            let golden = Golden::read(&name);
            let mut model = load(&name, &device);
            let other: Vec<TokenId> = golden.prompt.iter().rev().copied().collect();
            prefill(&mut *model, FIRST, &golden.prompt, 10);
            prefill(&mut *model, SECOND, &other[..5], 5);
            let mut worst: f32 = 0.0;
            for (index, token) in golden.answer.iter().enumerate() {
                let spans = [
                    Span { sequence: SECOND, tokens: &[other[index % other.len()]], wants_logits: false },
                    Span { sequence: FIRST, tokens: &[*token], wants_logits: true },
                ];
                let rows: Vec<_> = model.forward(&spans).into_iter().map(|row| row.expect("forward works")).collect();
                assert!(rows[0].is_none());
                let row = rows[1].as_ref().expect("logits were wanted");
                worst = worst.max(max_difference(row, &golden.logits[index + 1]));
            }
            let worst = worst / golden.scale();
            assert!(worst <= device.tolerance, "{name} on {}: {worst:e}", device.name);
        }
    }
}

#[test]
fn a_released_sequence_starts_anew() {
    for device in devices() {
        let golden = Golden::read("llama");
        let mut model = load("llama", &device);
        let fresh = prefill(&mut *model, FIRST, &golden.prompt, 24);
        model.release(FIRST);
        model.release(SECOND);
        let again = prefill(&mut *model, FIRST, &golden.prompt, 24);
        assert_eq!(fresh, again, "on {}", device.name);
    }
}

#[test]
fn a_cache_that_grows_keeps_what_it_holds() {
    for device in devices() {
        let golden = Golden::read("mistral");
        let (mut grown, mut whole) = (load("mistral", &device), load("mistral", &device));
        let long: Vec<TokenId> = golden.prompt.iter().cycle().take(240).copied().collect();
        let parts = prefill(&mut *grown, FIRST, &long, 100);
        let at_once = prefill(&mut *whole, FIRST, &long, 240);
        let difference = max_difference(&parts, &at_once) / golden.scale();
        assert!(difference <= device.tolerance, "on {}: {difference:e}", device.name);
    }
}
