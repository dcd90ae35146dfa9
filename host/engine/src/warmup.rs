//! Passes before the first request. A model's first pass is not like those after it: weights come into memory, a device
//! compiles its kernels, threads start. Somebody would wait for that; and turns are planned by what they take, so that one
//! slow pass among the first would count for what a token takes, and who asks for little would share the turns of a flood.

use std::time::Duration;

use firebox_contract::limits::STEP_PREFILL_TOKENS_MIN;
use firebox_contract::{Clock, SequenceId, Span};

use crate::keeper::Keeper;

/// Tokens of a pass: a step of an answer, and a piece of a prompt.
const SIZES: [usize; 2] = [1, STEP_PREFILL_TOKENS_MIN];
/// No request's: those begin with one.
const NOBODY: SequenceId = SequenceId(0);

/// What a pass of so many tokens took.
pub(crate) type Measured = (usize, Duration);

/// Steps after each pass of a kind: what a device settles for the steps to come it does in the second.
const STEPS: usize = 2;

/// Runs a pass for each kind of kernel and steps after it, then each of `SIZES` twice, and says what the second took. A pass
/// that fails says nothing: whoever asks hears why.
pub(crate) fn warm_up(keeper: &mut Keeper, clock: &dyn Clock) -> Vec<Measured> {
    let (context, kernels) =
        keeper.model().map_or((0, &[][..]), |model| (model.info().context_tokens, model.kernel_sizes()));
    for size in kernels.iter().filter(|size| **size + STEPS <= context) {
        let ran = (0..=STEPS).all(|step| forward(keeper, if step == 0 { *size } else { 1 }));
        keeper.release(NOBODY);
        if !ran {
            break;
        }
    }
    let sizes = SIZES.into_iter().filter(|size| *size <= context);
    sizes.filter_map(|size| pass(keeper, size, clock).and_then(|_cold| pass(keeper, size, clock))).collect()
}

fn pass(keeper: &mut Keeper, size: usize, clock: &dyn Clock) -> Option<Measured> {
    let began = clock.now();
    let done = forward(keeper, size);
    let took = clock.now().saturating_sub(began);
    keeper.release(NOBODY);
    done.then_some((size, took))
}

/// Whether the model did that.
fn forward(keeper: &mut Keeper, size: usize) -> bool {
    let tokens = vec![0; size];
    let span = Span { sequence: NOBODY, tokens: &tokens, wants_logits: true };
    keeper.forward(&[span], &mut || true).is_some_and(|rows| rows.iter().all(Result::is_ok))
}
