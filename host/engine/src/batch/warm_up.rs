//! Steps before the first request. The first steps of a model are slow: weights come into memory, the device compiles
//! kernels, threads start. Without a warm-up the first request would wait for them, and the scheduler would learn wrong
//! costs: it plans steps by their measured time.

use std::time::Duration;

use firebox_contract::limits::STEP_PREFILL_TOKENS_MIN;
use firebox_contract::{Clock, SequenceId, Span};

use super::supervisor::ModelSupervisor;

/// Tokens of the steps that are timed: one decode token, and a small piece of a prompt.
const TIMED_TOKENS: [usize; 2] = [1, STEP_PREFILL_TOKENS_MIN];
/// Decode steps after each kernel size. Devices finish some set-up only in the second one.
const DECODE_STEPS: usize = 2;
/// The sequence of the warm-up. Requests have ids from 1.
const WARM_UP_SEQUENCE: SequenceId = SequenceId(0);

/// Number of tokens of a step, and the time that the step took.
pub(crate) type StepTiming = (usize, Duration);

/// Runs one prefill for each of the model's kernel sizes, with decode steps after it. Then runs a step of each of
/// `TIMED_TOKENS` twice and returns the time of the second run. A step that fails returns no time: the first request
/// reports the failure.
pub(crate) fn warm_up(model: &mut ModelSupervisor, clock: &dyn Clock) -> Vec<StepTiming> {
    let (context, kernel_sizes) =
        model.model().map_or((0, &[][..]), |model| (model.info().context_tokens, model.kernel_sizes()));
    for size in kernel_sizes.iter().filter(|size| **size + DECODE_STEPS <= context) {
        let ran = (0..=DECODE_STEPS).all(|step| forward(model, if step == 0 { *size } else { 1 }));
        model.release(WARM_UP_SEQUENCE);
        if !ran {
            break;
        }
    }
    let sizes = TIMED_TOKENS.into_iter().filter(|size| *size <= context);
    sizes.filter_map(|size| timed_step(model, size, clock).and_then(|_cold| timed_step(model, size, clock))).collect()
}

fn timed_step(model: &mut ModelSupervisor, tokens: usize, clock: &dyn Clock) -> Option<StepTiming> {
    let began = clock.now();
    let done = forward(model, tokens);
    let took = clock.now().saturating_sub(began);
    model.release(WARM_UP_SEQUENCE);
    done.then_some((tokens, took))
}

/// Runs one step of `count` tokens. Returns whether it succeeded.
fn forward(model: &mut ModelSupervisor, count: usize) -> bool {
    let tokens = vec![0; count];
    let span = Span { sequence: WARM_UP_SEQUENCE, tokens: &tokens, wants_logits: true };
    model.forward(&[span], &[0], &mut || true).is_some_and(|results| results.iter().all(Result::is_ok))
}
