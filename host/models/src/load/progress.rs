//! How far a load is.

use std::fmt;
use std::sync::Arc;

/// How far a load is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadState {
    /// Bytes of weights, as stored, that are checked and in place.
    pub done_bytes: u64,
    /// Bytes of all weights, as stored.
    pub total_bytes: u64,
    /// Whether weights are copied to a device. On the CPU they stay in the mapped file.
    pub uploads: bool,
    /// Whether the load has ended. Weights that a model does not need are never done.
    pub ended: bool,
}

/// Receives the state of a load after each tensor and at its end, on the loading thread. The default receives nothing.
#[derive(Clone, Default)]
pub struct LoadProgress(Option<Arc<dyn Fn(LoadState) + Send + Sync>>);

impl LoadProgress {
    /// Calls `receive` with each state.
    #[must_use]
    pub fn new(receive: impl Fn(LoadState) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(receive)))
    }

    pub(crate) fn report(&self, state: LoadState) {
        if let Some(receive) = &self.0 {
            receive(state);
        }
    }
}

impl fmt::Debug for LoadProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LoadProgress")
    }
}
