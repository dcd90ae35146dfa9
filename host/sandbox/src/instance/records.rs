//! The records of one plugin in one request, over all its instances: what it used, logged and returned.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use firebox_contract::{LogLine, PluginUse, Stage};

use crate::instance::log::PluginLog;
use crate::instance::meter::CallUsage;

/// The records. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Records {
    pub(crate) log: PluginLog,
    stages: Arc<Mutex<Vec<StageRecord>>>,
}

/// The record of one stage.
#[derive(Debug)]
struct StageRecord {
    used: PluginUse,
    /// Bytes that the plugin returned.
    returned: usize,
}

impl Records {
    /// Adds the usage of one call.
    pub(crate) fn record(&self, plugin: &str, stage: Stage, usage: CallUsage) {
        self.with(plugin, stage, |row| {
            let used = &mut row.used;
            used.calls = used.calls.saturating_add(1);
            used.fuel = used.fuel.saturating_add(usage.fuel);
            used.memory_peak_bytes = used.memory_peak_bytes.max(usage.memory_peak_bytes);
            used.elapsed = used.elapsed.saturating_add(usage.elapsed);
            used.model_tokens = used.model_tokens.saturating_add(usage.model_tokens);
        });
    }

    /// Adds `bytes` that the plugin returned. Returns whether the sum at this stage is within `limit`.
    pub(crate) fn allows(&self, plugin: &str, stage: Stage, bytes: usize, limit: usize) -> bool {
        // The sum was within the limit before, or the instance would be discarded.
        bytes == 0
            || self.with(plugin, stage, |row| {
                row.returned = row.returned.saturating_add(bytes);
                row.returned <= limit
            })
    }

    fn with<T>(&self, plugin: &str, stage: Stage, change: impl FnOnce(&mut StageRecord) -> T) -> T {
        // A panic under the lock leaves complete rows.
        let mut rows = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(row) = rows.iter_mut().find(|row| row.used.stage == stage) {
            return change(row);
        }
        let (plugin, elapsed) = (plugin.to_owned(), Duration::ZERO);
        let used = PluginUse { plugin, stage, calls: 0, fuel: 0, memory_peak_bytes: 0, elapsed, model_tokens: 0 };
        let mut row = StageRecord { used, returned: 0 };
        let changed = change(&mut row);
        rows.push(row);
        changed
    }

    /// The usage so far, by stage.
    pub(crate) fn uses(&self) -> Vec<PluginUse> {
        let rows = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        rows.iter().map(|row| row.used.clone()).collect()
    }

    /// Removes and returns the unread log lines, with `plugin` as their source.
    pub(crate) fn take_log(&self, plugin: &str) -> Vec<LogLine> {
        self.log.take(plugin)
    }

    /// Logs that `fault` was skipped.
    pub(crate) fn log_skip(&self, fault: &firebox_contract::Fault) {
        self.log.write("warn", &format!("skipped: {fault}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returned_bytes_are_summed_by_stage() {
        let records = Records::default();
        assert!(records.allows("p", Stage::Text, 6, 10));
        assert!(records.clone().allows("p", Stage::Tool, 6, 10), "another stage");
        assert!(records.allows("p", Stage::Text, 4, 10));
        assert!(!records.clone().allows("p", Stage::Text, 1, 10), "clones share the records");
        records.record("p", Stage::Text, CallUsage { fuel: 7, ..CallUsage::default() });
        let uses = records.uses();
        assert_eq!((uses.len(), uses[0].calls, uses[0].fuel), (2, 1, 7));
    }
}
