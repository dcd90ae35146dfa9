//! One instance of a plugin, from its start until its first fault or the end of its request or call.

pub(crate) mod guest;
pub(crate) mod identity;
pub(crate) mod limiter;
pub(crate) mod log;
pub(crate) mod meter;
pub(crate) mod pool;
pub(crate) mod progress;
pub(crate) mod records;
pub(crate) mod wasi;

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use firebox_contract::{BoxFuture, ModelHandle, limits};
use firebox_contract::{Error, Fault, FaultCause, Stage};
use tokio::sync::{Mutex as AsyncMutex, MutexGuard};
use wasmtime::Store;

use self::guest::GuestData;
use self::identity::GuestIdentity;
use self::limiter::Limiter;
use self::log::cut;
use self::meter::{CallFailure, CallUsage};
use self::pool::SharedPermit;
use self::progress::ProgressSender;
use self::records::Records;
use crate::background::{CallState, CpuBudget, TimedOut};
use crate::capabilities::secrets::InstanceSecrets;
use crate::capabilities::secrets::scan::TailScan;
use crate::error::SandboxError;
use crate::plugin::grants::{Permissions, TenantGrants};
use crate::plugin::{Blueprint, OnFault, PluginLimits};
use crate::stages::{GuestFuture, GuestReturn, StageCalls};

/// Everything that an instance is started with, besides its plugin.
pub(crate) struct InstanceOptions {
    pub(crate) limits: PluginLimits,
    /// The CPU budget of its tenant, if it has one.
    pub(crate) budget: Option<Arc<CpuBudget>>,
    /// Its part of the instance pool.
    pub(crate) permit: SharedPermit,
    /// The records of the plugin in its request.
    pub(crate) records: Records,
    /// What the tenant of its request grants.
    pub(crate) tenant: Arc<TenantGrants>,
    /// The id of its request.
    pub(crate) request: Arc<str>,
    /// The model that serves its request.
    pub(crate) own_model: ModelHandle,
}

/// An instance and its records. Its calls wait for each other. The records can be read while a call runs.
pub(crate) struct Instance {
    blueprint: Arc<Blueprint>,
    limits: PluginLimits,
    records: Records,
    /// What the plugin must not return.
    secrets: Option<Arc<InstanceSecrets>>,
    /// What it returned last at the text stage.
    emitted: Mutex<TailScan>,
    state: AsyncMutex<InstanceState>,
    // Must come after `state`: the store must be dropped before its part of the pool is released.
    permit: SharedPermit,
}

/// Whether the instance can be called.
enum InstanceState {
    Live(Box<LiveInstance>),
    /// Discarded. `why` is the end of a sentence about it. `is_skipped` says whether the request continues without it.
    Discarded {
        why: Cow<'static, str>,
        is_skipped: bool,
    },
}

/// A store and the functions of its guest.
struct LiveInstance {
    store: Store<GuestData>,
    calls: StageCalls,
}

impl Drop for LiveInstance {
    fn drop(&mut self) {
        // `meter::cancelled` reads these for a call that was cancelled.
        let data = self.store.data();
        data.call_state.record(self.store.get_fuel().unwrap_or(0), data.limiter.peak_bytes());
    }
}

/// The result of one call: the instance with the guest's answer, or the failure that discarded the instance.
type CallResult<T> = Result<(Box<LiveInstance>, Result<T, String>), CallFailure>;

/// The result of a call under the operator's policy: the value with the usage, or only the usage if the fault was skipped.
pub(crate) type Attempt<T> = Result<(T, CallUsage), CallUsage>;

impl Instance {
    /// Starts and configures an instance. If that fails, the returned instance is discarded, and has the records of the attempt.
    pub(crate) async fn start(blueprint: Arc<Blueprint>, options: InstanceOptions) -> (Self, Result<(), SandboxError>) {
        let InstanceOptions { limits, budget, permit, records, tenant, request, own_model } = options;
        let state = AsyncMutex::new(InstanceState::Discarded { why: "was never started".into(), is_skipped: false });
        let mut this = Self { blueprint, limits, records, secrets: None, emitted: Mutex::default(), state, permit };
        let permissions = Permissions { plugin: Arc::clone(&this.blueprint.shared.grants), tenant };
        let identity = GuestIdentity { permissions, shared: Arc::clone(&this.blueprint.shared), request, own_model };
        this.secrets = identity.secrets();
        let (usage, result) = this.first_call(budget, identity).await;
        let failure = match result {
            Ok(Ok(live)) => {
                *this.state.get_mut() = InstanceState::Live(live);
                return (this, Ok(()));
            }
            Ok(Err(message)) => this.failed(&message).into(),
            Err(failure) => failure,
        };
        *this.state.get_mut() = this.discarded(&failure);
        let error = this.error(Stage::Init, failure, usage);
        (this, Err(error))
    }

    async fn first_call(
        &self,
        budget: Option<Arc<CpuBudget>>,
        identity: GuestIdentity,
    ) -> (CallUsage, Result<Result<Box<LiveInstance>, String>, CallFailure>) {
        let (blueprint, limits, permit) = (Arc::clone(&self.blueprint), self.limits, Arc::clone(&self.permit));
        let state = Arc::new(CallState::new(budget));
        state.begin(limits.fuel);
        let limiter = Limiter::new(limits.memory_bytes, Some(Arc::clone(&permit)));
        let data = GuestData::new(limiter, self.records.log.clone(), Arc::clone(&state), identity);
        let mut running = self.running(Stage::Init, Arc::clone(&state));
        let call = async move {
            let _permit = permit;
            let runtime = &blueprint.runtime;
            let mut store = data.into_store(&runtime.engine);
            let (usage, result) =
                meter::call(&runtime.ticker, &limits, Stage::Init, &mut store, &*blueprint, |blueprint, store| {
                    instantiate(blueprint, store)
                })
                .await;
            (usage, result.map(|calls| calls.map(|calls| Box::new(LiveInstance { store, calls }))))
        };
        let outcome =
            self.blueprint.runtime.executor.run(&state, running.started, limits.timeout, Box::pin(call)).await;
        running.ended = true;
        let (usage, result) = outcome.unwrap_or_else(|TimedOut| {
            let (usage, cause) = meter::cancelled(&limits, &state, running.started.elapsed());
            (usage, Err(cause.into()))
        });
        self.record(Stage::Init, usage);
        (usage, result)
    }

    fn running(&self, stage: Stage, state: Arc<CallState>) -> CallGuard<'_> {
        CallGuard { instance: self, stage, state, ended: false, started: Instant::now() }
    }

    /// The plugin's name.
    pub(crate) fn name(&self) -> &str {
        &self.blueprint.name
    }

    /// Whether the plugin has the stage `stage`.
    pub(crate) fn has(&self, stage: Stage) -> bool {
        self.blueprint.exports.has(stage)
    }

    /// Runs `start` on the guest. A trap or an exceeded limit discards the instance. The plugin's own error does not. Dropping the
    /// future cancels the call, which discards the instance, too. Its usage is recorded in every case.
    ///
    /// # Errors
    /// The failure of the call, or a `Refused` fault if the instance was discarded earlier.
    pub(crate) async fn call<T, F>(&self, stage: Stage, start: F) -> Result<(T, CallUsage), SandboxError>
    where
        T: GuestReturn + Send + 'static,
        F: for<'a> FnOnce(&'a StageCalls, &'a mut Store<GuestData>) -> GuestFuture<'a, T> + Send + 'static,
    {
        let state = self.state.lock().await;
        self.call_locked(state, stage, start).await
    }

    /// As `call`, by the caller that holds `state`.
    async fn call_locked<T, F>(
        &self,
        mut state: MutexGuard<'_, InstanceState>,
        stage: Stage,
        start: F,
    ) -> Result<(T, CallUsage), SandboxError>
    where
        T: GuestReturn + Send + 'static,
        F: for<'a> FnOnce(&'a StageCalls, &'a mut Store<GuestData>) -> GuestFuture<'a, T> + Send + 'static,
    {
        let is_skipped = self.blueprint.policy.on_fault == OnFault::Skip;
        let cancelled = InstanceState::Discarded { why: Cow::Borrowed(CANCELLED), is_skipped };
        let live = match std::mem::replace(&mut *state, cancelled) {
            InstanceState::Live(live) => live,
            InstanceState::Discarded { why, is_skipped } => {
                let message = format!("its instance was discarded after it {why}; the next request has a new one");
                *state = InstanceState::Discarded { why, is_skipped };
                return Err(self.error(stage, FaultCause::Refused { message }.into(), CallUsage::default()));
            }
        };
        let call_state = Arc::clone(&live.store.data().call_state);
        // Must come before the executor reads how long the call has computed.
        call_state.begin(self.limits.fuel);
        let mut running = self.running(stage, call_state);
        let call = self.call_on(stage, live, start);
        let outcome =
            self.blueprint.runtime.executor.run(&running.state, running.started, self.limits.timeout, call).await;
        running.ended = true;
        let (usage, result) = outcome.unwrap_or_else(|TimedOut| {
            let (usage, cause) = meter::cancelled(&self.limits, &running.state, running.started.elapsed());
            (usage, Err(cause.into()))
        });
        self.record(stage, usage);
        let failure = match result {
            Ok((live, Ok(value))) => match self.fault_of(stage, &value) {
                None => {
                    *state = InstanceState::Live(live);
                    return Ok((value, usage));
                }
                Some(cause) => cause.into(),
            },
            Ok((live, Err(message))) => {
                *state = InstanceState::Live(live);
                return Err(self.error(stage, self.failed(&message).into(), usage));
            }
            Err(failure) => failure,
        };
        *state = self.discarded(&failure);
        Err(self.error(stage, failure, usage))
    }

    /// The fault, if `value` brings the plugin above the limit of bytes that it may return in this request, or contains a secret.
    fn fault_of<T: GuestReturn>(&self, stage: Stage, value: &T) -> Option<FaultCause> {
        let limit = value.limit(stage);
        let allowed = self.records.allows(self.name(), stage, value.bytes(), limit);
        if !allowed {
            return Some(FaultCause::OutputTooLarge { limit_bytes: limit as u64 });
        }
        let secrets = self.secrets.as_ref()?;
        let (mut found, mut texts) = (None, 0);
        // A panic under the lock leaves a shorter end of the text.
        let mut emitted = self.emitted.lock().unwrap_or_else(PoisonError::into_inner);
        value.each_text(&mut |text| {
            texts += 1;
            let name = match stage {
                Stage::Text => emitted.find(&secrets.scanner, text),
                _ => secrets.scanner.find(text),
            };
            found = found.take().or_else(|| name.map(str::to_owned));
        });
        if texts == 0 {
            // A chunk of the model came between the plugin's own texts.
            emitted.interrupt();
        }
        found.map(|name| FaultCause::Refused { message: format!("its answer contains the secret \"{name}\"") })
    }

    /// The fault for an error of the plugin itself, with its message shortened and without secrets.
    fn failed(&self, message: &str) -> FaultCause {
        let message = match &self.secrets {
            Some(secrets) => secrets.scanner.redact(message),
            None => message.into(),
        };
        FaultCause::Failed { message: cut(&message, limits::PLUGIN_ERROR_BYTES_MAX).to_owned() }
    }

    /// One metered call that owns everything it needs, so that it can move between threads. It returns the instance, unless the
    /// instance is discarded.
    fn call_on<T, F>(
        &self,
        stage: Stage,
        mut live: Box<LiveInstance>,
        start: F,
    ) -> BoxFuture<'static, (CallUsage, CallResult<T>)>
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&'a StageCalls, &'a mut Store<GuestData>) -> GuestFuture<'a, T> + Send + 'static,
    {
        let (runtime, limits, permit) = (Arc::clone(&self.blueprint.runtime), self.limits, Arc::clone(&self.permit));
        Box::pin(async move {
            let _permit = permit;
            let LiveInstance { store, calls } = &mut *live;
            let (usage, result) = meter::call(&runtime.ticker, &limits, stage, store, &*calls, start).await;
            (usage, result.map(|answer| (live, answer)))
        })
    }

    /// As `call`, under the operator's policy. If faults are skipped, a fault is logged once and is not an error.
    ///
    /// # Errors
    /// As `call`, if faults end the request.
    pub(crate) async fn attempt<T, F>(&self, stage: Stage, start: F) -> Result<Attempt<T>, Error>
    where
        T: GuestReturn + Send + 'static,
        F: for<'a> FnOnce(&'a StageCalls, &'a mut Store<GuestData>) -> GuestFuture<'a, T> + Send + 'static,
    {
        let state = self.state.lock().await;
        let is_discarded = match *state {
            InstanceState::Discarded { is_skipped: true, .. } => return Ok(Err(CallUsage::default())),
            InstanceState::Discarded { is_skipped: false, .. } => true,
            InstanceState::Live(_) => false,
        };
        let begun = Instant::now();
        match self.call_locked(state, stage, start).await {
            Ok(answered) => Ok(Ok(answered)),
            Err(SandboxError::Fault(fault)) if !is_discarded && self.blueprint.policy.skips(&fault.cause) => {
                self.records.log_skip(&fault);
                let Fault { fuel, memory_peak_bytes, .. } = fault;
                Ok(Err(CallUsage { fuel, memory_peak_bytes, elapsed: begun.elapsed(), ..CallUsage::default() }))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Reports that the plugin's answer at `stage` cannot be used.
    ///
    /// # Errors
    /// The fault, unless faults are skipped.
    pub(crate) fn reject(&self, stage: Stage, message: String, usage: CallUsage) -> Result<(), Error> {
        match self.error(stage, FaultCause::Refused { message }.into(), usage) {
            SandboxError::Fault(fault) if self.blueprint.policy.skips(&fault.cause) => {
                self.records.log_skip(&fault);
                Ok(())
            }
            error => Err(error.into()),
        }
    }

    /// Sends the guest's progress reports to `reports` from now on.
    pub(crate) fn report_to(&mut self, reports: ProgressSender) {
        if let InstanceState::Live(live) = self.state.get_mut() {
            live.store.data_mut().reports = Some(reports);
        }
    }

    /// The records of the plugin in its request.
    pub(crate) fn records(&self) -> &Records {
        &self.records
    }

    /// The state after a failed call.
    fn discarded(&self, failure: &CallFailure) -> InstanceState {
        let policy = self.blueprint.policy;
        let is_skipped = match failure {
            CallFailure::Fault(cause) => policy.skips(cause),
            CallFailure::PoolRefused(_) => policy.on_fault == OnFault::Skip,
        };
        InstanceState::Discarded { why: failure.to_string().into(), is_skipped }
    }

    fn error(&self, stage: Stage, failure: CallFailure, usage: CallUsage) -> SandboxError {
        match failure {
            CallFailure::PoolRefused(error) => error,
            CallFailure::Fault(cause) => Fault {
                plugin: self.name().to_owned(),
                stage,
                cause,
                fuel: usage.fuel,
                memory_peak_bytes: usage.memory_peak_bytes,
            }
            .into(),
        }
    }

    fn record(&self, stage: Stage, usage: CallUsage) {
        self.records.record(self.name(), stage, usage);
    }
}

/// The reason for an instance whose call was cancelled.
const CANCELLED: &str = "was cancelled in the middle of a call";

/// Records the usage of a call. If it is dropped before the end of the call, it records the usage until then.
struct CallGuard<'a> {
    instance: &'a Instance,
    stage: Stage,
    state: Arc<CallState>,
    ended: bool,
    started: Instant,
}

impl Drop for CallGuard<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let (usage, _) = meter::cancelled(&self.instance.limits, &self.state, self.started.elapsed());
            self.instance.record(self.stage, usage);
        }
    }
}

/// Creates the instance, binds its functions and passes its configuration, in one metered call.
fn instantiate<'a>(
    blueprint: &'a Blueprint,
    store: &'a mut Store<GuestData>,
) -> BoxFuture<'a, wasmtime::Result<Result<StageCalls, String>>> {
    Box::pin(async move {
        let instance = blueprint.pre.instantiate_async(&mut *store).await?;
        let calls = blueprint.exports.bind(store, &instance)?;
        if let Some(lifecycle) = &calls.lifecycle {
            let config = blueprint.config_json.clone().unwrap_or_else(|| "{}".to_owned());
            if let Err(message) = lifecycle.init(store, config).await? {
                return Ok(Err(message));
            }
        }
        Ok(Ok(calls))
    })
}
