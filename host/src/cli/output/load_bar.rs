//! The progress of a load on a terminal: a bar that appears when a load takes long and vanishes at its end.

use std::sync::OnceLock;
use std::time::Instant;

use firebox_contract::limits::LOAD_BAR_DELAY;
use firebox_models::{LoadProgress, LoadState};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar on standard error for the first load, if standard error is a terminal and `quiet` is not set.
pub(in crate::cli) fn load_progress(quiet: bool) -> LoadProgress {
    if quiet || !super::stderr_is_terminal() {
        return LoadProgress::default();
    }
    let began = Instant::now();
    let bar = OnceLock::new();
    LoadProgress::new(move |state| {
        let bar: Option<&ProgressBar> = match began.elapsed() >= LOAD_BAR_DELAY && !state.ended {
            true => Some(bar.get_or_init(|| visible_bar(state))),
            false => bar.get(),
        };
        // A later load, of a model that failed, finds a finished bar.
        let Some(bar) = bar.filter(|bar| !bar.is_finished()) else { return };
        bar.set_position(state.done_bytes);
        if state.ended {
            bar.finish_and_clear();
        }
    })
}

fn visible_bar(state: LoadState) -> ProgressBar {
    let bar = ProgressBar::new(state.total_bytes);
    bar.set_draw_target(ProgressDrawTarget::stderr());
    // The template is a constant. An invalid one would leave the default style.
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:30} {binary_bytes} of {binary_total_bytes} ({elapsed})")
    {
        bar.set_style(style);
    }
    bar.set_message(if state.uploads { "uploading the model" } else { "mapping the model" });
    bar
}
