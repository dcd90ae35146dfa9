//! Usage that outlives the process: what is to be stored, what was stored, and both as text.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use firebox_contract::{Error, TenantId};
use serde::{Deserialize, Serialize};

use super::{Counts, Tenancy, TenantTable, UsageReport, state_in_doubt};

/// A report as it is stored. Fields that an older Firebox did not write are zero.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct StoredReport {
    /// Milliseconds since 1970.
    since: u64,
    total: Counts,
    days: Vec<(String, Counts)>,
}

impl UsageReport {
    /// As text that [`UsageReport::parse`] reads.
    #[must_use]
    pub fn text(&self) -> String {
        let since = self.since.duration_since(UNIX_EPOCH).unwrap_or_default();
        let since = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let text = StoredReport { since, total: self.total, days: self.days.clone() };
        // Numbers and strings always become JSON.
        serde_json::to_string(&text).unwrap_or_default()
    }

    /// What [`UsageReport::text`] wrote; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let StoredReport { since, total, days } = serde_json::from_str(text).ok()?;
        Some(Self { since: UNIX_EPOCH.checked_add(Duration::from_millis(since))?, total, days })
    }
}

/// The usage of a tenant that is not configured now.
pub(super) struct UnconfiguredUsage {
    report: UsageReport,
    /// Nobody stored it yet.
    changed: bool,
}

/// What is kept, by tenant.
pub(super) type UnconfiguredTenants = HashMap<TenantId, UnconfiguredUsage>;

impl Tenancy {
    /// Goes on from what was stored when the host ran before. Tenants that are not configured now get theirs when a
    /// reload brings them back.
    ///
    /// # Errors
    /// `Error::Unavailable` where a fault left the table in doubt.
    pub fn resume(&self, stored: impl IntoIterator<Item = (TenantId, UsageReport)>) -> Result<(), Error> {
        let table = self.table()?;
        let mut kept = self.0.kept.lock().map_err(|_poisoned| state_in_doubt())?;
        kept.extend(stored.into_iter().map(|(tenant, report)| (tenant, UnconfiguredUsage { report, changed: false })));
        take_up(&table, &mut kept);
        Ok(())
    }

    /// The usage of every tenant that used something since this was asked last, for who stores it. Tenants whose
    /// counters are in doubt are left out.
    ///
    /// # Errors
    /// As [`Tenancy::resume`].
    pub fn changed_usage(&self) -> Result<Vec<(TenantId, UsageReport)>, Error> {
        let table = self.table()?;
        let mut kept = self.0.kept.lock().map_err(|_poisoned| state_in_doubt())?;
        let gone = kept.iter_mut().filter_map(|(tenant, kept)| {
            std::mem::take(&mut kept.changed).then(|| (tenant.clone(), kept.report.clone()))
        });
        let mut changed: Vec<_> = gone.collect();
        for entry in table.tenants.values() {
            let Ok(mut rates) = entry.meters.lock() else { continue };
            if rates.book.take_changed() {
                changed.push((entry.id.clone(), rates.book.report(entry.since)));
            }
        }
        Ok(changed)
    }

    /// Remembers the tenants of `old` that are gone, and gives those that came their usage from before.
    pub(super) fn hand_over(&self, old: &TenantTable, new: &TenantTable) -> Result<(), Error> {
        let mut kept = self.0.kept.lock().map_err(|_poisoned| state_in_doubt())?;
        for entry in old.tenants.values().filter(|entry| !new.tenants.contains_key(&entry.id)) {
            let Ok(mut rates) = entry.meters.lock() else { continue };
            let changed = rates.book.take_changed();
            kept.insert(entry.id.clone(), UnconfiguredUsage { report: rates.book.report(entry.since), changed });
        }
        take_up(new, &mut kept);
        Ok(())
    }
}

/// Gives tenants of `table` what is kept of them.
fn take_up(table: &TenantTable, kept: &mut UnconfiguredTenants) {
    for entry in table.tenants.values().filter(|entry| kept.contains_key(&entry.id)).collect::<Vec<_>>() {
        let Ok(mut rates) = entry.meters.lock() else { continue };
        if let Some(UnconfiguredUsage { report, changed }) = kept.remove(&entry.id) {
            rates.book.resume(report, changed);
        }
    }
}

/// The moment the sums of a report begin.
pub(super) fn earlier(a: Option<SystemTime>, b: SystemTime) -> SystemTime {
    a.map_or(b, |a| a.min(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_as_it_was_written_and_nothing_else_is() {
        let counts = Counts { requests: 3, prompt_tokens: u64::MAX, plugin_fuel: 7, ..Counts::default() };
        let days = vec![("2026-11-24".to_owned(), counts), ("2026-11-25".to_owned(), Counts::default())];
        let report = UsageReport { since: UNIX_EPOCH + Duration::from_millis(1_700_000_000_123), total: counts, days };
        assert_eq!(UsageReport::parse(&report.text()).as_ref(), Some(&report));
        assert_eq!(UsageReport::parse("{\"total\":{\"requests\":2}}").expect("older").total.requests, 2);
        for bad in ["", "7", "{\"since\":-1}", "{\"total\":7}"] {
            assert!(UsageReport::parse(bad).is_none(), "{bad}");
        }
    }
}
