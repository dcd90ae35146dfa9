//! One plugin's instance in one request: alive until its first fault.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use firebox_contract::BoxFuture;
use firebox_contract::{Error, Fault, FaultCause, LogLine, PluginUse, Stage};
use tokio::sync::Mutex as Turnstile;
use wasmtime::Store;

use crate::guest::GuestData;
use crate::log::Log;
use crate::meter::{self, Spent};
use crate::plugin::{Blueprint, OnFault, PluginLimits};
use crate::progress::Reports;
use crate::stages::{Calls, GuestFuture};

/// An instance with what it used so far. Calls wait for each other; what it used and logged can be read meanwhile.
pub(crate) struct Instance {
    blueprint: Arc<Blueprint>,
    limits: PluginLimits,
    log: Log,
    uses: Mutex<Vec<PluginUse>>,
    state: Turnstile<State>,
}

enum State {
    Alive(Box<Alive>),
    /// Discarded; the text is the fault that did it.
    Gone(String),
}

struct Alive {
    store: Store<GuestData>,
    calls: Calls,
}

/// What a skipped call left behind: what it had used until then.
pub(crate) type Attempt<T> = Result<(T, Spent), Spent>;

impl Instance {
    /// A fresh instance, configured. Where that ends in a fault the instance is there to be asked about it, but gone.
    pub(crate) async fn start(blueprint: Arc<Blueprint>, limits: PluginLimits) -> (Self, Result<(), Fault>) {
        let log = Log::default();
        let state = Turnstile::new(State::Gone("it was never started".to_owned()));
        let mut this = Self { blueprint, limits, log, uses: Mutex::new(Vec::new()), state };
        let runtime = Arc::clone(&this.blueprint.runtime);
        let mut store = GuestData::new(limits.memory_bytes, this.log.clone()).into_store(&runtime.engine);
        let (spent, result) =
            meter::call(&runtime.ticker, &limits, &mut store, &*this.blueprint, |blueprint, store| {
                instantiate(blueprint, store)
            })
            .await;
        this.record(Stage::Init, spent);
        let result = match result {
            Ok(Ok(calls)) => {
                *this.state.get_mut() = State::Alive(Box::new(Alive { store, calls }));
                return (this, Ok(()));
            }
            Ok(Err(message)) => this.fault(Stage::Init, FaultCause::Failed { message }, spent),
            Err(cause) => this.fault(Stage::Init, cause, spent),
        };
        *this.state.get_mut() = State::Gone(result.cause.to_string());
        (this, Err(result))
    }

    /// The plugin's name.
    pub(crate) fn name(&self) -> &str {
        &self.blueprint.name
    }

    /// Whether the plugin takes part in `stage`.
    pub(crate) fn has(&self, stage: Stage) -> bool {
        let exports = &self.blueprint.exports;
        match stage {
            Stage::Init => exports.lifecycle.is_some(),
            Stage::Prompt => exports.prompt.is_some(),
            Stage::Text => exports.text.is_some(),
            Stage::Tool => exports.tool.is_some(),
        }
    }

    /// Runs `start` on the guest. A trap or a broken limit ends the instance; the plugin's own error does not. Dropping
    /// the future cuts the guest off, which ends the instance too; what it had used is recorded all the same.
    ///
    /// # Errors
    /// How the call ended; `Refused` where an earlier call already ended the instance.
    pub(crate) async fn call<T, F>(&self, stage: Stage, start: F) -> Result<(T, Spent), Fault>
    where
        T: Send,
        F: for<'a> FnOnce(&'a Calls, &'a mut Store<GuestData>) -> GuestFuture<'a, T> + Send,
    {
        let mut state = self.state.lock().await;
        let alive = match std::mem::replace(&mut *state, State::Gone(CUT_OFF.to_owned())) {
            State::Alive(alive) => alive,
            State::Gone(why) => {
                let message = format!("its instance was discarded after it {why}; the next request has a new one");
                *state = State::Gone(why);
                return Err(self.fault(stage, FaultCause::Refused { message }, Spent::default()));
            }
        };
        let mut running = Running { instance: self, stage, alive: Some(alive), started: Instant::now() };
        let ticker = &self.blueprint.runtime.ticker;
        let Some(alive) = running.alive.as_deref_mut() else {
            return Err(self.fault(stage, FaultCause::Refused { message: CUT_OFF.to_owned() }, Spent::default()));
        };
        let (spent, result) = meter::call(ticker, &self.limits, &mut alive.store, &alive.calls, start).await;
        let alive = running.alive.take();
        self.record(stage, spent);
        match result {
            Ok(answer) => {
                if let Some(alive) = alive {
                    *state = State::Alive(alive);
                }
                answer
                    .map(|value| (value, spent))
                    .map_err(|message| self.fault(stage, FaultCause::Failed { message }, spent))
            }
            Err(cause) => {
                *state = State::Gone(cause.to_string());
                Err(self.fault(stage, cause, spent))
            }
        }
    }

    /// As `call`, under the operator's policy: a fault that is to be skipped is logged once and is no error.
    ///
    /// # Errors
    /// As `call`, where faults end the request.
    pub(crate) async fn attempt<T, F>(&self, stage: Stage, start: F) -> Result<Attempt<T>, Error>
    where
        T: Send,
        F: for<'a> FnOnce(&'a Calls, &'a mut Store<GuestData>) -> GuestFuture<'a, T> + Send,
    {
        let skips = self.blueprint.on_fault == OnFault::Skip;
        if skips && matches!(*self.state.lock().await, State::Gone(_)) {
            return Ok(Err(Spent::default()));
        }
        let begun = Instant::now();
        match self.call(stage, start).await {
            Ok(answered) => Ok(Ok(answered)),
            Err(fault) if skips => {
                self.log_skip(&fault);
                let Fault { fuel, memory_peak_bytes, .. } = fault;
                Ok(Err(Spent { fuel, memory_peak_bytes, elapsed: begun.elapsed() }))
            }
            Err(fault) => Err(fault.into()),
        }
    }

    /// Says in the log that `fault` was skipped.
    pub(crate) fn log_skip(&self, fault: &Fault) {
        self.log.write("warn", &format!("skipped: {fault}"));
    }

    /// Sends the guest's progress to `reports` from now on.
    pub(crate) fn report_to(&mut self, reports: Reports) {
        if let State::Alive(alive) = self.state.get_mut() {
            alive.store.data_mut().reports = Some(reports);
        }
    }

    /// What it used so far, by stage.
    pub(crate) fn uses(&self) -> Vec<PluginUse> {
        self.rows().clone()
    }

    fn rows(&self) -> MutexGuard<'_, Vec<PluginUse>> {
        // A panic while the lock was held leaves whole rows.
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it logged since the last reading.
    pub(crate) fn take_log(&self) -> Vec<LogLine> {
        self.log.take(self.name())
    }

    fn fault(&self, stage: Stage, cause: FaultCause, spent: Spent) -> Fault {
        Fault {
            plugin: self.name().to_owned(),
            stage,
            cause,
            fuel: spent.fuel,
            memory_peak_bytes: spent.memory_peak_bytes,
        }
    }

    fn record(&self, stage: Stage, spent: Spent) {
        let mut rows = self.rows();
        let place = rows.iter().position(|row| row.stage == stage).unwrap_or_else(|| {
            let (plugin, elapsed) = (self.blueprint.name.clone(), Duration::ZERO);
            rows.push(PluginUse { plugin, stage, calls: 0, fuel: 0, memory_peak_bytes: 0, elapsed });
            rows.len() - 1
        });
        if let Some(row) = rows.get_mut(place) {
            row.calls = row.calls.saturating_add(1);
            row.fuel = row.fuel.saturating_add(spent.fuel);
            row.memory_peak_bytes = row.memory_peak_bytes.max(spent.memory_peak_bytes);
            row.elapsed = row.elapsed.saturating_add(spent.elapsed);
        }
    }
}

/// Why an instance is gone whose caller left in the middle of a call.
const CUT_OFF: &str = "was cut off in the middle of a call";

/// A call on its way. Dropped before its end, it still records what the guest used: who leaves early pays too.
struct Running<'a> {
    instance: &'a Instance,
    stage: Stage,
    alive: Option<Box<Alive>>,
    started: Instant,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(alive) = self.alive.take() {
            let fuel = self.instance.limits.fuel.saturating_sub(alive.store.get_fuel().unwrap_or(0));
            let memory_peak_bytes = alive.store.data().limiter.peak_bytes();
            self.instance.record(self.stage, Spent { fuel, memory_peak_bytes, elapsed: self.started.elapsed() });
        }
    }
}

/// Makes the instance, finds its functions and gives it its configuration: one metered call.
fn instantiate<'a>(
    blueprint: &'a Blueprint,
    store: &'a mut Store<GuestData>,
) -> BoxFuture<'a, wasmtime::Result<Result<Calls, String>>> {
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
