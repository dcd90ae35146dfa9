//! The periodic tasks of a server.

use std::collections::HashMap;
use std::sync::Arc;

use firebox_contract::{Error, TenantId, limits};
use tokio::task::JoinHandle;

use super::StatusSink;
use crate::audit::Audit;
use crate::serve::App;
use crate::sessions::SessionStore;
use crate::system::memory;
use crate::tenancy::{Tenancy, UsageReport};

/// The running periodic tasks.
pub(super) struct Background([JoinHandle<()>; 5]);

impl Background {
    pub(super) fn start(app: &Arc<App>, status: &StatusSink) -> Self {
        Self([
            tokio::spawn(sweep(app.sessions.clone())),
            tokio::spawn(probe(app.audit.clone(), app.sessions.clone())),
            tokio::spawn(save_usage_periodically(app.tenancy.clone(), app.sessions.clone())),
            tokio::spawn(app.mcp_servers.clone().watch(Arc::clone(status))),
            tokio::spawn(memory::keep_trimmed()),
        ])
    }

    pub(super) fn abort(self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// Stores the usage that changed since the last save.
pub(super) fn save_usage_now(tenancy: &Tenancy, sessions: &SessionStore) {
    save_usage(tenancy, sessions, &mut HashMap::new());
}

/// Checks every `limits::STORAGE_PROBE_PERIOD` whether audit log and session file can be written, so that `/readyz` reports
/// a problem before a request meets it.
async fn probe(audit: Option<Audit>, sessions: SessionStore) {
    loop {
        tokio::time::sleep(limits::STORAGE_PROBE_PERIOD).await;
        if let Some(audit) = &audit {
            audit.probe();
        }
        let (store, before) = (sessions.clone(), sessions.trouble());
        // The store logs a problem and reports it in `trouble`.
        let found = tokio::task::spawn_blocking(move || store.probe()).await;
        if matches!(found, Ok(Ok(()))) && before.is_some() {
            tracing::info!("the session file can be used again");
        }
    }
}

/// Removes expired sessions every `limits::SESSIONS_SWEEP_PERIOD`.
async fn sweep(sessions: SessionStore) {
    loop {
        tokio::time::sleep(limits::SESSIONS_SWEEP_PERIOD).await;
        let store = sessions.clone();
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || store.sweep()).await {
            tracing::error!(%error, "expired sessions could not be removed");
        }
    }
}

/// Stores the usage of tenants every `limits::USAGE_SAVE_PERIOD`. The next start continues from it.
async fn save_usage_periodically(tenancy: Tenancy, sessions: SessionStore) {
    let mut waiting = HashMap::new();
    loop {
        tokio::time::sleep(limits::USAGE_SAVE_PERIOD).await;
        let (tenancy, store) = (tenancy.clone(), sessions.clone());
        let save = move || {
            save_usage(&tenancy, &store, &mut waiting);
            waiting
        };
        // A panic loses the reports that waited for this save. The sums themselves are in memory.
        waiting = tokio::task::spawn_blocking(save).await.unwrap_or_default();
    }
}

/// Stores the usage that changed since the last save, and the reports in `waiting`, which could not be stored then.
fn save_usage(tenancy: &Tenancy, sessions: &SessionStore, waiting: &mut HashMap<TenantId, String>) {
    match tenancy.changed_usage() {
        Ok(changed) => waiting.extend(changed.into_iter().map(|(tenant, report)| (tenant, report.text()))),
        Err(error) => tracing::error!(%error, "the counters of tenants are uncertain"),
    }
    if waiting.is_empty() {
        return;
    }
    let rows: Vec<(TenantId, String)> = waiting.iter().map(|(tenant, text)| (tenant.clone(), text.clone())).collect();
    match sessions.store_usage(&rows) {
        Ok(()) => waiting.clear(),
        Err(error) => tracing::error!(%error, "the usage of tenants could not be stored; the server will retry"),
    }
}

/// Continues to count from the usage that an earlier run stored.
///
/// # Errors
/// `Error::Usage` if the session file cannot be read.
pub(super) fn resume_usage(tenancy: &Tenancy, sessions: &SessionStore, status: &StatusSink) -> Result<(), Error> {
    let rows = sessions.stored_usage().map_err(|error| Error::Usage(error.to_string()))?;
    let mut stored = Vec::with_capacity(rows.len());
    for (tenant, text) in rows {
        match UsageReport::parse(&text) {
            Some(report) => stored.push((tenant, report)),
            None => {
                status(&format!("the stored usage of tenant \"{tenant}\" cannot be read; counting starts from zero"))
            }
        }
    }
    tenancy.resume(stored)
}
