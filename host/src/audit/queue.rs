//! What waits for the log's thread, and whose it is.

use std::collections::HashMap;
use std::sync::Arc;

use firebox_contract::limits;

/// Lines that wait and their bytes, in all and by tenant. There is an entry only for who has a line waiting, so that
/// the table is as bounded as the queue.
#[derive(Debug, Default)]
pub(super) struct QueueUsage {
    pub(super) lines: usize,
    bytes: usize,
    tenants: HashMap<Arc<str>, (usize, usize)>,
}

impl QueueUsage {
    /// Counts a line of `tenant`; `None` where its bytes find no room.
    pub(super) fn enter(&mut self, tenant: &str, bytes: usize) -> Option<Arc<str>> {
        if self.bytes + bytes > limits::AUDIT_BYTES_WAITING_MAX {
            return None;
        }
        self.lines += 1;
        self.bytes += bytes;
        let known = self.tenants.get_key_value(tenant).map(|(name, _)| Arc::clone(name));
        let name = known.unwrap_or_else(|| Arc::from(tenant));
        let own = self.tenants.entry(Arc::clone(&name)).or_default();
        *own = (own.0 + 1, own.1 + bytes);
        Some(name)
    }

    /// The line waits no more.
    pub(super) fn leave(&mut self, tenant: &str, bytes: usize) {
        self.lines = self.lines.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
        let Some(own) = self.tenants.get_mut(tenant) else { return };
        *own = (own.0.saturating_sub(1), own.1.saturating_sub(bytes));
        if own.0 == 0 {
            self.tenants.remove(tenant);
        }
    }

    /// Whether the queue as a whole has room for lines of new work.
    pub(super) fn has_room(&self) -> bool {
        self.lines < limits::AUDIT_LINES_WAITING_MAX && self.bytes < limits::AUDIT_BYTES_WAITING_MAX / 2
    }

    /// Whether `tenant` may begin work that adds lines: what it has waiting is no more than a part of what is free. So
    /// whatever some have waiting, others find room.
    pub(super) fn has_room_for(&self, tenant: &str) -> bool {
        let (lines, bytes) = self.tenants.get(tenant).copied().unwrap_or_default();
        let free_lines = limits::AUDIT_LINES_WAITING_MAX.saturating_sub(self.lines);
        let free_bytes = (limits::AUDIT_BYTES_WAITING_MAX / 2).saturating_sub(self.bytes);
        self.has_room()
            && lines <= free_lines / limits::AUDIT_TENANT_DIVISOR
            && bytes <= free_bytes / limits::AUDIT_TENANT_DIVISOR
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_of_one_tenant_leaves_room_for_others() {
        let mut waiting = QueueUsage::default();
        let mut taken = 0;
        for tenant in ["a", "b", "c"] {
            while waiting.has_room_for(tenant) {
                waiting.enter(tenant, 100).expect("few bytes");
                taken += 1;
            }
        }
        assert!(taken < limits::AUDIT_LINES_WAITING_MAX / 2, "{taken}");
        assert!(waiting.has_room() && waiting.has_room_for("d"));
        for _ in 0..taken {
            let tenant = waiting.tenants.keys().next().cloned().expect("somebody");
            waiting.leave(&tenant, 100);
        }
        assert_eq!((waiting.lines, waiting.bytes, waiting.tenants.len()), (0, 0, 0));
        let text = limits::AUDIT_TEXT_BYTES_MAX;
        while waiting.has_room_for("a") {
            waiting.enter("a", text).expect("bytes");
        }
        assert!(waiting.has_room_for("b"), "bytes have shares too");
    }
}
