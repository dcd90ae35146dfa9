//! What one call may send and receive.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use firebox_contract::limits;

/// The requests and the bytes of bodies of one call, on all its connections.
#[derive(Debug, Default)]
pub(crate) struct CallBudget {
    requests: AtomicUsize,
    bytes: AtomicU64,
}

impl CallBudget {
    /// Counts one request. Returns false if the call has sent as many as it may.
    pub(super) fn request(&self) -> bool {
        self.requests.fetch_add(1, Ordering::Relaxed) < limits::HTTP_REQUESTS_PER_CALL_MAX
    }

    /// Counts bytes of a body. Returns false if the call has used up what it may.
    pub(super) fn bytes(&self, bytes: usize) -> bool {
        let before = self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        before.saturating_add(bytes as u64) <= limits::HTTP_CALL_BYTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_sends_so_many_requests_and_bytes() {
        let budget = CallBudget::default();
        assert_eq!((0..100).filter(|_| budget.request()).count(), limits::HTTP_REQUESTS_PER_CALL_MAX);
        let mib = 1 << 20;
        assert_eq!((0..100).filter(|_| budget.bytes(mib)).count() as u64, limits::HTTP_CALL_BYTES_MAX / mib as u64);
    }
}
