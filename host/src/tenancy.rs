//! Tenants: authentication by API key, scopes, quotas and usage.
//!
//! A [`Tenancy`] is made from a [`Config`] and is the [`Gate`] of every model. [`Tenancy::replace`] loads a new configuration
//! while requests run: tenants keep their counters, and removed keys are invalid at once, also for running requests. If a
//! quota or a key cannot be checked, the request is refused.

mod admission;
pub mod file;
pub mod keys;
mod liveness;
mod meters;
mod reservation;
mod stored_usage;
#[cfg(test)]
mod tests;
mod window;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, RwLock};
use std::time::SystemTime;

use firebox_contract::tool::matches_glob;
use firebox_contract::{Caller, Clock, Error, Gate, LivenessHandle, Prompt, Reservation, TenantId};
use tokio::sync::watch;

use crate::audit::{Audit, Record, Subject, cut};
use crate::config::{Config, KeyConfig, Scope, TenantConfig};
use crate::system::clock::MachineClock;
pub use admission::{AdmittedRequest, InFlight, WorkKind};
use meters::Meters;
pub use meters::{Rate, RateState, UsageCounts, UsageReport};
use reservation::TenantReservation;
use stored_usage::UnconfiguredTenants;

/// Returns the time of day.
type TimeOfDay = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// The tenant of a request, authenticated by one of its keys.
#[derive(Debug, Clone)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// The tenant as the engine, the sandbox and the stores see it.
    pub caller: Caller,
    /// Its configuration.
    pub config: Arc<TenantConfig>,
    /// The scopes of the key.
    pub scopes: Arc<[Scope]>,
    /// The id of the key.
    pub key_id: Arc<str>,
}

/// All tenants of a server. Cheap to clone.
#[derive(Clone)]
pub struct Tenancy(Arc<TenancyState>);

struct TenancyState {
    table: RwLock<Arc<TenantTable>>,
    clock: Arc<dyn Clock>,
    wall: TimeOfDay,
    audit: Option<Audit>,
    /// The usage of tenants that are not configured now.
    unconfigured: Mutex<UnconfiguredTenants>,
    /// Notified each time the table is replaced.
    changed: watch::Sender<()>,
}

/// The tenants of one configuration. A table is replaced, never changed.
#[derive(Default)]
struct TenantTable {
    tenants: HashMap<TenantId, Arc<TenantEntry>>,
    /// By digest. A client cannot choose the digest of its key, so the time of a look-up reveals nothing about other keys.
    keys: HashMap<[u8; 32], Arc<ActiveKey>>,
    key_ids: HashMap<Arc<str>, Arc<ActiveKey>>,
}

struct TenantEntry {
    id: TenantId,
    config: Arc<TenantConfig>,
    meters: Arc<Meters>,
    since: SystemTime,
}

struct ActiveKey {
    entry: Arc<TenantEntry>,
    caller: Caller,
    digest: [u8; 32],
    expires: Option<SystemTime>,
    scopes: Arc<[Scope]>,
}

impl Tenancy {
    /// The tenants of `config`, with counters at zero. Their requests are recorded in `audit`.
    ///
    /// # Errors
    /// `Error::Usage` for a configuration that [`Config::load`] would refuse.
    pub fn new(config: &Config, audit: Option<Audit>) -> Result<Self, Error> {
        Self::with_clocks(config, audit, Arc::new(MachineClock::default()), Arc::new(SystemTime::now))
    }

    /// [`Tenancy::new`] with given clocks.
    pub(crate) fn with_clocks(
        config: &Config,
        audit: Option<Audit>,
        clock: Arc<dyn Clock>,
        wall: TimeOfDay,
    ) -> Result<Self, Error> {
        let table = RwLock::new(Arc::new(TenantTable::new(&config.tenants, &TenantTable::default(), wall())?));
        let (unconfigured, changed) = (Mutex::default(), watch::Sender::new(()));
        Ok(Self(Arc::new(TenancyState { table, clock, wall, audit, unconfigured, changed })))
    }

    /// The tenant of a value of the header `Authorization`.
    ///
    /// # Errors
    /// `Error::Unauthorized`, with the same message for an unknown, a revoked and an expired key.
    pub fn authenticate(&self, authorization: Option<&str>) -> Result<Tenant, Error> {
        let Some(header) = authorization else {
            let message = "an API key is required; send the header \"Authorization: Bearer fbx_…\"";
            return Err(Error::Unauthorized(message.to_owned()));
        };
        let digest = keys::bearer(header).map(keys::digest).ok_or_else(invalid_key)?;
        let table = self.table()?;
        let key = table.keys.get(&digest).filter(|key| self.is_valid(key)).ok_or_else(invalid_key)?;
        Ok(Tenant {
            id: key.entry.id.clone(),
            caller: Caller { liveness: self.liveness_of(key, &[]), ..key.caller.clone() },
            config: Arc::clone(&key.entry.config),
            scopes: Arc::clone(&key.scopes),
            key_id: Arc::clone(&key.caller.key),
        })
    }

    /// Checks that the key of the request has `scope`.
    ///
    /// # Errors
    /// `Error::Denied` names the missing scope.
    pub fn require(tenant: &Tenant, scope: Scope) -> Result<(), Error> {
        if tenant.scopes.contains(&scope) {
            return Ok(());
        }
        Err(liveness::missing_scope(&tenant.key_id, scope))
    }

    /// Replaces the tenants with those of `config`, all or none. Tenants in both keep their counters. Requests whose key was
    /// removed are notified.
    ///
    /// # Errors
    /// `Error::Usage` for a configuration that [`Config::load`] would refuse; then nothing changes.
    pub fn replace(&self, config: &Config) -> Result<(), Error> {
        let old = self.table()?;
        let new = Arc::new(TenantTable::new(&config.tenants, &old, (self.0.wall)())?);
        self.hand_over(&old, &new)?;
        *self.0.table.write().map_err(|_poisoned| state_in_doubt())? = new;
        self.0.changed.send_replace(());
        if let Some(audit) = &self.0.audit {
            audit.reopen();
            audit.record(&Record::Admin { action: "reload", outcome: None });
        }
        Ok(())
    }

    /// The usage of a tenant.
    ///
    /// # Errors
    /// `Error::NotFound` for an unknown tenant; `Error::Unavailable` if its counters are uncertain after a panic.
    pub fn usage(&self, tenant: &TenantId) -> Result<UsageReport, Error> {
        let entry = self.entry(tenant)?;
        let report = entry.meters.lock()?.daily.report(entry.since);
        Ok(report)
    }

    /// The patterns of the names of models that a tenant may use.
    ///
    /// # Errors
    /// `Error::NotFound` for an unknown tenant.
    pub fn models_of(&self, tenant: &TenantId) -> Result<Vec<String>, Error> {
        Ok(self.entry(tenant)?.config.models.clone())
    }

    /// How much of its limits a tenant has used, for the headers of its answers.
    ///
    /// # Errors
    /// As [`Tenancy::usage`].
    pub fn rate(&self, tenant: &TenantId) -> Result<RateState, Error> {
        let entry = self.entry(tenant)?;
        let limits = &entry.config.limits;
        let state =
            entry.meters.lock()?.state(self.0.clock.now(), limits.requests_per_minute, limits.tokens_per_minute);
        Ok(state)
    }

    /// All tenants, for reports about the server.
    ///
    /// # Errors
    /// `Error::Unavailable` if the table is uncertain after a panic.
    pub fn tenants(&self) -> Result<Vec<TenantId>, Error> {
        let mut tenants: Vec<TenantId> = self.table()?.tenants.keys().cloned().collect();
        tenants.sort();
        Ok(tenants)
    }

    /// Admits a request that uses no model, such as a tool call over MCP.
    ///
    /// # Errors
    /// As [`Gate::admit`].
    pub fn admit_tools(&self, caller: &Caller, request_id: &str) -> Result<Box<dyn Reservation>, Error> {
        self.open(caller, None, request_id)
    }

    /// The text of a prompt for the audit log; `None` unless `audit.prompts` is set. The caller takes it before the prompt is
    /// moved, and passes it to [`Tenancy::log_prompt`] once the request is admitted.
    #[must_use]
    pub fn prompt_text(&self, prompt: &Prompt) -> Option<String> {
        self.0.audit.as_ref().filter(|audit| audit.prompts())?;
        let mut text = String::new();
        match prompt {
            Prompt::Text(whole) => text.push_str(cut(whole)),
            Prompt::Chat(messages) => {
                for message in messages {
                    if text.len() >= firebox_contract::limits::AUDIT_TEXT_BYTES_MAX {
                        break;
                    }
                    let gap = if text.is_empty() { "" } else { "\n" };
                    text.push_str(&format!("{gap}{}: {}", message.role.as_str(), cut(&message.content)));
                }
            }
        }
        Some(text)
    }

    /// Records the prompt of an admitted request.
    pub fn log_prompt(&self, caller: &Caller, request_id: &str, text: &str) {
        self.record(&Record::Prompt { subject: subject_of(caller, request_id), prompt: cut(text) });
    }

    /// Counts a request without a reservation, such as one that reads sessions.
    ///
    /// # Errors
    /// As [`Gate::admit`].
    pub fn count_request(&self, caller: &Caller, request_id: &str) -> Result<(), Error> {
        reservation::take_request(self, &*self.active_tenant(caller)?, caller, None, request_id)
    }

    /// Records an action on a session.
    pub fn log_session(&self, caller: &Caller, request_id: &str, action: &str, session: &str) {
        self.record(&Record::Session { subject: subject_of(caller, request_id), action, session });
    }

    /// Records that the key of `by` approved or declined a tool call of the request `request_id`.
    pub fn log_approval(&self, by: &Caller, request_id: &str, tool: &str, decision: &str) {
        self.record(&Record::Approval { subject: subject_of(by, request_id), tool, decision });
    }

    fn open(&self, caller: &Caller, model: Option<&str>, request_id: &str) -> Result<Box<dyn Reservation>, Error> {
        let entry = self.active_tenant(caller)?;
        self.audit_ready_for(caller)?;
        TenantReservation::open(self.clone(), entry, caller, model, request_id)
            .map(|account| Box::new(account) as Box<_>)
    }

    /// # Errors
    /// `Error::Unavailable` if an audit log is configured and cannot be written.
    pub(crate) fn audit_ready(&self) -> Result<(), Error> {
        self.0.audit.as_ref().map_or(Ok(()), Audit::ready)
    }

    fn audit_ready_for(&self, caller: &Caller) -> Result<(), Error> {
        self.0.audit.as_ref().map_or(Ok(()), |audit| audit.ready_for(caller.tenant.as_str()))
    }

    fn refused(&self, record: &Record<'_>) {
        if let Some(audit) = &self.0.audit {
            audit.refused(record);
        }
    }

    fn record(&self, record: &Record<'_>) {
        if let Some(audit) = &self.0.audit {
            audit.record(record);
        }
    }

    fn table(&self) -> Result<Arc<TenantTable>, Error> {
        self.0.table.read().map(|table| Arc::clone(&table)).map_err(|_poisoned| state_in_doubt())
    }

    fn entry(&self, tenant: &TenantId) -> Result<Arc<TenantEntry>, Error> {
        let table = self.table()?;
        let entry = table.tenants.get(tenant).cloned();
        entry.ok_or_else(|| Error::NotFound(format!("there is no tenant \"{tenant}\"")))
    }

    fn is_valid(&self, key: &ActiveKey) -> bool {
        key.expires.is_none_or(|expires| (self.0.wall)() < expires)
    }

    /// The tenant of `caller`, whose key must still be valid. A caller without a key belongs to this process and needs only
    /// its tenant.
    fn active_tenant(&self, caller: &Caller) -> Result<Arc<TenantEntry>, Error> {
        caller.liveness.check()?;
        let table = self.table()?;
        if caller.key.is_empty() {
            return table.tenants.get(&caller.tenant).cloned().ok_or_else(invalid_key);
        }
        let key = table.key_ids.get(&caller.key).filter(|key| key.entry.id == caller.tenant && self.is_valid(key));
        key.map(|key| Arc::clone(&key.entry)).ok_or_else(invalid_key)
    }
}

impl Gate for Tenancy {
    fn admit(&self, caller: &Caller, model: &str, request_id: &str) -> Result<Box<dyn Reservation>, Error> {
        self.open(caller, Some(model), request_id)
    }
}

impl TenantTable {
    /// The tenants of a configuration, with their counters from `old`.
    fn new(tenants: &[TenantConfig], old: &Self, now: SystemTime) -> Result<Self, Error> {
        let mut table = Self::default();
        for config in tenants {
            let id = TenantId::new(&config.name);
            let (meters, since) = match old.tenants.get(&id) {
                Some(entry) => (Arc::clone(&entry.meters), entry.since),
                None => (Arc::default(), now),
            };
            let entry = Arc::new(TenantEntry { id: id.clone(), config: Arc::new(config.clone()), meters, since });
            for key in &config.keys {
                table.add(key, &entry)?;
            }
            if table.tenants.insert(id, entry).is_some() {
                return Err(Error::Usage(format!("two tenants have the name \"{}\"", config.name)));
            }
        }
        Ok(table)
    }

    fn add(&mut self, key: &KeyConfig, entry: &Arc<TenantEntry>) -> Result<(), Error> {
        let id: Arc<str> = Arc::from(key.id.as_str());
        let caller = Caller {
            tenant: entry.id.clone(),
            key: Arc::clone(&id),
            weight: entry.config.weight,
            in_flight_max: entry.config.limits.in_flight_max,
            // Set for each request when it is authenticated.
            liveness: LivenessHandle::default(),
        };
        let scopes = Arc::from(key.scopes.as_slice());
        let made =
            Arc::new(ActiveKey { entry: Arc::clone(entry), caller, digest: key.digest, expires: key.expires, scopes });
        let is_duplicate =
            self.keys.insert(key.digest, Arc::clone(&made)).is_some() || self.key_ids.insert(id, made).is_some();
        if is_duplicate { Err(Error::Usage(format!("two keys have the id \"{}\"", key.id))) } else { Ok(()) }
    }
}

impl TenantEntry {
    fn may_use(&self, model: &str) -> bool {
        self.config.models.iter().any(|glob| matches_glob(glob, model))
    }
}

fn subject_of<'a>(caller: &'a Caller, request_id: &'a str) -> Subject<'a> {
    let key = Some(caller.key.as_ref()).filter(|key| !key.is_empty());
    Subject { tenant: Some(caller.tenant.as_str()), key, request: Some(request_id) }
}

fn invalid_key() -> Error {
    Error::Unauthorized("invalid API key; check it, or ask the operator for a new one".to_owned())
}

fn state_in_doubt() -> Error {
    Error::Unavailable(
        "the table of tenants is uncertain after an internal error; the operator must restart the server".to_owned(),
    )
}
