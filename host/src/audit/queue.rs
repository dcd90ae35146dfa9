//! The size of the queue of lines, in total and for each tenant.

use std::collections::HashMap;
use std::sync::Arc;

use firebox_contract::limits;

/// Queued lines and their bytes, in total and by tenant. Only tenants with queued lines have an entry, so the table is no
/// larger than the queue.
#[derive(Debug, Default)]
pub(super) struct QueueUsage {
    pub(super) lines: usize,
    bytes: usize,
    tenants: HashMap<Arc<str>, (usize, usize)>,
}

impl QueueUsage {
    /// Counts a line of `tenant`; `None` if the queue has no room for its bytes.
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

    /// Removes a line from the counts.
    pub(super) fn leave(&mut self, tenant: &str, bytes: usize) {
        self.lines = self.lines.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
        let Some(own) = self.tenants.get_mut(tenant) else { return };
        *own = (own.0.saturating_sub(1), own.1.saturating_sub(bytes));
        if own.0 == 0 {
            self.tenants.remove(tenant);
        }
    }

    /// Whether the queue has room for lines of new work.
    pub(super) fn has_room(&self) -> bool {
        self.lines < limits::AUDIT_LINES_WAITING_MAX && self.bytes < limits::AUDIT_BYTES_WAITING_MAX / 2
    }

    /// Whether the queued lines of `tenant` are at most its share of the free room. So tenants with many queued lines leave room
    /// for others.
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
    fn queued_lines_of_some_tenants_leave_room_for_others() {
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
            let tenant = waiting.tenants.keys().next().cloned().expect("a tenant");
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
