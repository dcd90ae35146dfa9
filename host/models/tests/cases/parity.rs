//! The logits of Hugging Face transformers, on every device and with any split of the tokens into calls.
//!
//! `tests/parity/make_goldens.py` wrote the models and their logits. With `FIREBOX_TEST_VULKAN=1` Vulkan is tested, and
//! must exist. Sentence vectors need the folder of all-MiniLM-L6-v2 in `FIREBOX_TEST_MINILM`.

use crate::common::{Golden, argmax, devices, golden_models, load, logits_of, max_difference, parity_folder};
use firebox_contract::{LanguageModel, SequenceId, Span, TokenId};
use firebox_models::{Checkpoint, KvCacheType, LoadOptions, load_decoder};

const FIRST: SequenceId = SequenceId(1);
const SECOND: SequenceId = SequenceId(2);

/// Runs `tokens` in calls of `chunk` tokens and returns the logits after the last.
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

/// Keys and values in halves, which is the default, have 11 bits, and in blocks the largest of 32 has 7 and a sign.
#[test]
fn smaller_types_in_the_kv_cache_change_logits_little() {
    assert_eq!(LoadOptions::default().kv_cache, KvCacheType::F16);
    let device = &devices()[0];
    let mut changed = [0; 2];
    for name in golden_models() {
        let golden = Golden::read(&name);
        let checkpoint = Checkpoint::open(&parity_folder().join(&name)).expect("the checkpoint opens");
        let last_row = |mut model: Box<dyn LanguageModel>| {
            golden.prompt.iter().map(|token| logits_of(&mut *model, FIRST, &[*token])).last().expect("a prompt")
        };
        let exact = last_row(load(&name, device));
        let types = [(KvCacheType::F16, 5e-3), (KvCacheType::Q8_0, 5e-2)];
        for ((kv_cache, tolerance), changed) in types.into_iter().zip(&mut changed) {
            let options = LoadOptions { kv_cache, ..LoadOptions::default() };
            let loaded = load_decoder(&checkpoint, &device.device, options).expect("the model loads");
            let difference = max_difference(&exact, &last_row(loaded)) / golden.scale();
            assert!(difference <= tolerance, "{name} with {kv_cache:?}: {difference:e} of the logits' scale");
            *changed += usize::from(difference > 0.0);
        }
    }
    assert!(changed.iter().all(|count| *count > 0), "a cache was in f32: {changed:?}");
}

/// A GPU keeps keys and values in f32, so it would not save the memory that was asked for.
#[test]
fn a_gpu_refuses_a_kv_cache_in_blocks() {
    let name = golden_models().remove(0);
    let checkpoint = Checkpoint::open(&parity_folder().join(&name)).expect("the checkpoint opens");
    for device in devices() {
        let options = LoadOptions { kv_cache: KvCacheType::Q8_0, ..LoadOptions::default() };
        let error = load_decoder(&checkpoint, &device.device, options).err().map(|error| error.to_string());
        let is_refused = error.as_ref().is_some_and(|error| error.contains("choose --device cpu, or no q8_0"));
        assert_eq!(is_refused, device.name != "cpu", "{error:?} on {}", device.name);
    }
}

#[test]
fn prefill_in_chunks_equals_prefill_at_once() {
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
fn interleaved_sequences_do_not_affect_each_other() {
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
fn drafted_tokens_have_the_logits_of_steps_of_their_own_and_can_be_removed() {
    for device in devices() {
        for name in golden_models() {
            let golden = Golden::read(&name);
            let mut model = load(&name, &device);
            assert!(model.verifies_drafts(), "{name}");
            prefill(&mut *model, FIRST, &golden.prompt, golden.prompt.len());
            // The next token, two drafts that are right and one that is not, beside another sequence.
            let right = &golden.answer[..3];
            let wrong = (golden.answer[3] + 1) % 2;
            let tokens = [right, &[wrong]].concat();
            let spans = [
                Span { sequence: SECOND, tokens: &golden.prompt[..4], wants_logits: false },
                Span { sequence: FIRST, tokens: &tokens, wants_logits: true },
            ];
            let results = model.forward_drafts(&spans, &[0, 3], &mut || true).expect("not stopped");
            let rows: Vec<_> = results.into_iter().map(|rows| rows.expect("forward works")).collect();
            assert_eq!((rows[0].len(), rows[1].len()), (0, 4), "{name} on {}", device.name);
            // The logits after the first three tokens, and after the fourth once the draft is removed.
            let mut worst =
                rows[1].iter().zip(&golden.logits[1..4]).map(|(a, b)| max_difference(a, b)).fold(0.0, f32::max);
            assert!(model.truncate(FIRST, golden.prompt.len() + 3));
            worst = worst.max(max_difference(&logits_of(&mut *model, FIRST, &golden.answer[3..4]), &golden.logits[4]));
            let worst = worst / golden.scale();
            assert!(worst <= device.tolerance, "{name} on {}: {worst:e}", device.name);
        }
    }
}

#[test]
fn a_released_sequence_starts_empty() {
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
fn a_growing_kv_cache_keeps_its_contents() {
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

/// The logits of one step for all of these sequences.
fn together(model: &mut dyn LanguageModel, spans: &[(u64, &[TokenId])]) -> Vec<Vec<f32>> {
    let spans: Vec<Span<'_>> =
        spans.iter().map(|(id, tokens)| Span { sequence: SequenceId(*id), tokens, wants_logits: true }).collect();
    let rows = model.forward(&spans);
    rows.into_iter().map(|row| row.expect("forward works").expect("logits were wanted")).collect()
}

#[test]
fn a_batch_gives_the_logits_of_each_sequence_alone() {
    for device in devices() {
        for name in golden_models() {
            let golden = Golden::read(&name);
            let mut model = load(&name, &device);
            let reversed: Vec<TokenId> = golden.prompt.iter().rev().copied().collect();
            let prompts: [&[TokenId]; 3] = [&reversed[..7], &golden.prompt, &reversed];
            let alone: Vec<Vec<f32>> = [10, 11, 12]
                .iter()
                .zip(prompts)
                .map(|(id, prompt)| prefill(&mut *model, SequenceId(*id), prompt, prompt.len()))
                .collect();
            let batch = together(&mut *model, &[(20, prompts[0]), (21, prompts[1]), (22, prompts[2])]);
            let mut worst = alone.iter().zip(&batch).map(|(a, b)| max_difference(a, b)).fold(0.0, f32::max);
            // One sequence decodes the golden tokens, one prefills further, and one decodes other tokens.
            for (index, token) in golden.answer.iter().take(8).enumerate() {
                let other = [reversed[index]];
                let rows = together(&mut *model, &[(20, &reversed[..5]), (21, &[*token]), (22, &other)]);
                worst = worst.max(max_difference(&rows[1], &golden.logits[index + 1]));
                let alone = logits_of(&mut *model, SequenceId(12), &other);
                worst = worst.max(max_difference(&rows[2], &alone));
            }
            let worst = worst / golden.scale();
            assert!(worst <= device.tolerance, "{name} on {}: {worst:e}", device.name);
        }
    }
}

/// Each step has one token of each sequence. Sequences join and leave, so that a recorded step is replayed with other
/// sequences.
#[test]
fn steps_with_joining_and_leaving_sequences_match_the_cpu() {
    let devices = devices();
    for device in &devices[1..] {
        let golden = Golden::read("qwen3-bf16");
        let (mut here, mut there) = (load("qwen3-bf16", &devices[0]), load("qwen3-bf16", device));
        let mut running: Vec<u64> = Vec::new();
        let mut worst: f32 = 0.0;
        for round in 0..12_u64 {
            if round < 6 {
                // The page store grows with them.
                let prompt: Vec<TokenId> =
                    golden.prompt.iter().cycle().skip(round as usize).take(200).copied().collect();
                for model in [&mut here, &mut there] {
                    prefill(&mut **model, SequenceId(round), &prompt, 200);
                }
                running.push(round);
            } else if round > 8 {
                let gone = running.remove(0);
                [&mut here, &mut there].into_iter().for_each(|model| model.release(SequenceId(gone)));
            }
            for step in 0..4 {
                let tokens: Vec<TokenId> =
                    running.iter().map(|id| golden.prompt[(*id as usize + 7 * step) % golden.prompt.len()]).collect();
                let spans: Vec<(u64, &[TokenId])> = running.iter().copied().zip(tokens.chunks(1)).collect();
                let [expected, got] = [&mut here, &mut there].map(|model| together(&mut **model, &spans));
                let apart = expected.iter().zip(&got).map(|(a, b)| max_difference(a, b));
                worst = apart.fold(worst, f32::max);
            }
        }
        let worst = worst / golden.scale();
        assert!(worst <= device.tolerance, "on {}: {worst:e}", device.name);
    }
}

#[test]
fn an_invalid_span_does_not_affect_its_batch() {
    let device = &devices()[0];
    let golden = Golden::read("llama");
    let mut model = load("llama", device);
    let spans = [
        Span { sequence: FIRST, tokens: &[TokenId::MAX], wants_logits: true },
        Span { sequence: SECOND, tokens: &golden.prompt, wants_logits: true },
    ];
    let rows = model.forward(&spans);
    assert!(rows[0].is_err());
    let row = rows[1].as_ref().expect("forward works").as_ref().expect("logits were wanted");
    assert!(max_difference(row, &golden.logits[0]) / golden.scale() <= device.tolerance);
}

#[test]
fn a_truncated_or_forked_sequence_continues_from_its_prefix() {
    for device in devices() {
        for name in golden_models() {
            let golden = Golden::read(&name);
            let mut model = load(&name, &device);
            let (last, before) = golden.prompt.split_last().expect("there is a prompt");
            prefill(&mut *model, FIRST, &golden.prompt, golden.prompt.len());
            for token in &golden.answer {
                logits_of(&mut *model, FIRST, &[*token]);
            }
            assert!(model.fork(FIRST, SECOND, before.len()), "there is room");
            assert!(!model.fork(FIRST, SECOND, 1), "and the place is taken then");
            assert!(!model.truncate(FIRST, 10_000), "it has not that many");
            assert!(model.truncate(FIRST, before.len()));
            let used = model.cache_use();
            assert!(
                used.used_bytes >= 2 * before.len() as u64 * used.token_bytes && used.used_bytes <= used.budget_bytes
            );
            for id in [FIRST, SECOND] {
                let difference = max_difference(&logits_of(&mut *model, id, &[*last]), &golden.logits[0]);
                let difference = difference / golden.scale();
                assert!(difference <= device.tolerance, "{name} on {}: {difference:e}", device.name);
            }
        }
    }
}

#[test]
fn a_stopped_step_leaves_all_sequences_unchanged() {
    for device in devices() {
        for name in golden_models() {
            let golden = Golden::read(&name);
            let mut model = load(&name, &device);
            let (head, tail) = golden.prompt.split_at(golden.prompt.len() / 2);
            prefill(&mut *model, FIRST, head, head.len());
            let span = Span { sequence: FIRST, tokens: tail, wants_logits: true };
            let fresh = Span { sequence: SECOND, tokens: &golden.prompt, wants_logits: true };
            // Before the first layer, and before the second.
            for layers in [0, 1] {
                let mut left = layers;
                let given_up = model.forward_while(&[span, fresh], &mut || std::mem::replace(&mut left, 0) > 0);
                assert!(given_up.is_none(), "{name} on {}", device.name);
            }
            for row in model.forward_while(&[span, fresh], &mut || true).expect("to its end") {
                let logits = row.expect("forward works").expect("logits were wanted");
                let difference = max_difference(&logits, &golden.logits[0]) / golden.scale();
                assert!(difference <= device.tolerance, "{name} on {}: {difference:e}", device.name);
            }
        }
    }
}
