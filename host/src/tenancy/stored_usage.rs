//! Usage that is stored across restarts.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use firebox_contract::{Error, TenantId};
use serde::{Deserialize, Serialize};

use super::{Tenancy, TenantTable, UsageCounts, UsageReport, state_in_doubt};

/// The JSON form of a report. Fields that an older Firebox did not write are zero.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct StoredReport {
    /// Milliseconds since 1970-01-01.
    since: u64,
    total: UsageCounts,
    days: Vec<(String, UsageCounts)>,
}

impl UsageReport {
    /// The report as text for [`UsageReport::parse`].
    #[must_use]
    pub fn text(&self) -> String {
        let since = self.since.duration_since(UNIX_EPOCH).unwrap_or_default();
        let since = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let text = StoredReport { since, total: self.total, days: self.days.clone() };
        // Numbers and strings always become JSON.
        serde_json::to_string(&text).unwrap_or_default()
    }

    /// Parses the text of [`UsageReport::text`]; `None` for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let StoredReport { since, total, days } = serde_json::from_str(text).ok()?;
        Some(Self { since: UNIX_EPOCH.checked_add(Duration::from_millis(since))?, total, days })
    }
}

/// The usage of a tenant that is not configured now.
pub(super) struct UnconfiguredUsage {
    report: UsageReport,
    /// Whether it is not stored yet.
    changed: bool,
}

/// The usage of tenants that are not configured, by tenant.
pub(super) type UnconfiguredTenants = HashMap<TenantId, UnconfiguredUsage>;

impl Tenancy {
    /// Adds the stored usage of earlier runs. Tenants that are not configured now get theirs when a reload adds them.
    ///
    /// # Errors
    /// `Error::Unavailable` if the table is uncertain after a panic.
    pub fn resume(&self, stored: impl IntoIterator<Item = (TenantId, UsageReport)>) -> Result<(), Error> {
        let table = self.table()?;
        let mut unconfigured = self.0.unconfigured.lock().map_err(|_poisoned| state_in_doubt())?;
        unconfigured
            .extend(stored.into_iter().map(|(tenant, report)| (tenant, UnconfiguredUsage { report, changed: false })));
        restore(&table, &mut unconfigured);
        Ok(())
    }

    /// The usage of each tenant that changed since the last call, for storing it. Tenants whose counters are uncertain after a
    /// panic are left out.
    ///
    /// # Errors
    /// As [`Tenancy::resume`].
    pub fn changed_usage(&self) -> Result<Vec<(TenantId, UsageReport)>, Error> {
        let table = self.table()?;
        let mut unconfigured = self.0.unconfigured.lock().map_err(|_poisoned| state_in_doubt())?;
        let removed = unconfigured.iter_mut().filter_map(|(tenant, usage)| {
            std::mem::take(&mut usage.changed).then(|| (tenant.clone(), usage.report.clone()))
        });
        let mut changed: Vec<_> = removed.collect();
        for entry in table.tenants.values() {
            let Ok(mut rates) = entry.meters.lock() else { continue };
            if rates.daily.take_changed() {
                changed.push((entry.id.clone(), rates.daily.report(entry.since)));
            }
        }
        Ok(changed)
    }

    /// Keeps the usage of tenants that were removed, and gives added tenants their earlier usage.
    pub(super) fn hand_over(&self, old: &TenantTable, new: &TenantTable) -> Result<(), Error> {
        let mut unconfigured = self.0.unconfigured.lock().map_err(|_poisoned| state_in_doubt())?;
        for entry in old.tenants.values().filter(|entry| !new.tenants.contains_key(&entry.id)) {
            let Ok(mut rates) = entry.meters.lock() else { continue };
            let changed = rates.daily.take_changed();
            unconfigured
                .insert(entry.id.clone(), UnconfiguredUsage { report: rates.daily.report(entry.since), changed });
        }
        restore(new, &mut unconfigured);
        Ok(())
    }
}

/// Gives the tenants of `table` their kept usage.
fn restore(table: &TenantTable, unconfigured: &mut UnconfiguredTenants) {
    for entry in table.tenants.values().filter(|entry| unconfigured.contains_key(&entry.id)).collect::<Vec<_>>() {
        let Ok(mut rates) = entry.meters.lock() else { continue };
        if let Some(UnconfiguredUsage { report, changed }) = unconfigured.remove(&entry.id) {
            rates.daily.resume(report, changed);
        }
    }
}

/// The earlier of two times, of which the first may be unknown.
pub(super) fn earlier(a: Option<SystemTime>, b: SystemTime) -> SystemTime {
    a.map_or(b, |a| a.min(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_report_is_parsed_and_other_text_is_not() {
        let counts = UsageCounts { requests: 3, prompt_tokens: u64::MAX, plugin_fuel: 7, ..UsageCounts::default() };
        let days = vec![("2026-11-24".to_owned(), counts), ("2026-11-25".to_owned(), UsageCounts::default())];
        let report = UsageReport { since: UNIX_EPOCH + Duration::from_millis(1_700_000_000_123), total: counts, days };
        assert_eq!(UsageReport::parse(&report.text()).as_ref(), Some(&report));
        assert_eq!(UsageReport::parse("{\"total\":{\"requests\":2}}").expect("older").total.requests, 2);
        for bad in ["", "7", "{\"since\":-1}", "{\"total\":7}"] {
            assert!(UsageReport::parse(bad).is_none(), "{bad}");
        }
    }
}
