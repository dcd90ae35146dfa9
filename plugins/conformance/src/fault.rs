//! Tools that compute for any time, and tools that exceed each limit.

use std::hint::black_box;

use firebox_sdk::{Outcome, progress};

/// A million steps, `steps` times, reporting each.
///
/// # Errors
/// `steps` is not a whole number.
pub(crate) fn work(steps: &str) -> Result<String, String> {
    let steps: u32 = steps.parse().map_err(|_| format!("argument \"steps\" must be a whole number, not {steps}"))?;
    for step in 0..steps {
        for small in 0..1_000_000_u32 {
            black_box(small);
        }
        progress::report(f64::from(step + 1), Some(f64::from(steps)), None);
    }
    Ok(format!("worked {steps} million steps"))
}

pub(crate) fn endless() -> Outcome {
    loop {
        black_box(());
    }
}

pub(crate) fn memory() -> Outcome {
    let mut held: Vec<Vec<u8>> = Vec::new();
    loop {
        held.push(black_box(vec![1; 1 << 20]));
    }
}
