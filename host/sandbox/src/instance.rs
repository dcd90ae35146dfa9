//! One plugin's instance in one request: alive until its first fault.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use firebox_contract::BoxFuture;
use firebox_contract::{Error, Fault, FaultCause, LogLine, PluginUse, Stage};
use tokio::sync::Mutex as Turnstile;
use wasmtime::Store;

use crate::account::Account;
use crate::gauge::Gauge;
use crate::guest::GuestData;
use crate::lane::Late;
use crate::log::Log;
use crate::meter::{self, Spent};
use crate::plugin::{Blueprint, OnFault, PluginLimits};
use crate::progress::Reports;
use crate::runtime::Room;
use crate::stages::{Calls, GuestFuture};

/// An instance with what it used so far. Calls wait for each other; what it used and logged can be read meanwhile.
pub(crate) struct Instance {
    blueprint: Arc<Blueprint>,
    limits: PluginLimits,
    log: Log,
    uses: Mutex<Vec<PluginUse>>,
    state: Turnstile<State>,
    // After the store in it, so that the places are free when they are given back.
    room: Room,
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

impl Drop for Alive {
    fn drop(&mut self) {
        // For whoever asks what a call used that was cut off.
        let data = self.store.data();
        data.gauge.note(self.store.get_fuel().unwrap_or(0), data.limiter.peak_bytes());
    }
}

/// How one call ended: with the instance and the guest's answer, or with the fault that ended it.
type Answered<T> = Result<(Box<Alive>, Result<T, String>), FaultCause>;

/// What a skipped call left behind: what it had used until then.
pub(crate) type Attempt<T> = Result<(T, Spent), Spent>;

impl Instance {
    /// A fresh instance in its part of `room`, configured; `account` pays for its time. Where that ends in a fault the
    /// instance is there to be asked about it, but gone.
    pub(crate) async fn start(
        blueprint: Arc<Blueprint>,
        limits: PluginLimits,
        account: Option<Arc<Account>>,
        room: Room,
    ) -> (Self, Result<(), Fault>) {
        let log = Log::default();
        let state = Turnstile::new(State::Gone("it was never started".to_owned()));
        let mut this = Self { blueprint, limits, room, log, uses: Mutex::new(Vec::new()), state };
        let (spent, result) = this.first_call(account).await;
        this.record(Stage::Init, spent);
        let result = match result {
            Ok(Ok(alive)) => {
                *this.state.get_mut() = State::Alive(alive);
                return (this, Ok(()));
            }
            Ok(Err(message)) => this.fault(Stage::Init, FaultCause::Failed { message }, spent),
            Err(cause) => this.fault(Stage::Init, cause, spent),
        };
        *this.state.get_mut() = State::Gone(result.cause.to_string());
        (this, Err(result))
    }

    async fn first_call(
        &self,
        account: Option<Arc<Account>>,
    ) -> (Spent, Result<Result<Box<Alive>, String>, FaultCause>) {
        let (blueprint, limits, room) = (Arc::clone(&self.blueprint), self.limits, Arc::clone(&self.room));
        let gauge = Arc::new(Gauge::of(account));
        let data = GuestData::new(limits.memory_bytes, self.log.clone(), Arc::clone(&gauge));
        let begun = Instant::now();
        let call = async move {
            let _room = room;
            let runtime = &blueprint.runtime;
            let mut store = data.into_store(&runtime.engine);
            let (spent, result) = meter::call(&runtime.ticker, &limits, &mut store, &*blueprint, |blueprint, store| {
                instantiate(blueprint, store)
            })
            .await;
            (spent, result.map(|calls| calls.map(|calls| Box::new(Alive { store, calls }))))
        };
        match self.blueprint.runtime.lanes.drive(&gauge, limits.timeout, Box::pin(call)).await {
            Ok(ended) => ended,
            Err(Late) => {
                let (spent, cause) = meter::cut_off(&limits, &gauge, begun.elapsed());
                (spent, Err(cause))
            }
        }
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
        T: Send + 'static,
        F: for<'a> FnOnce(&'a Calls, &'a mut Store<GuestData>) -> GuestFuture<'a, T> + Send + 'static,
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
        let gauge = Arc::clone(&alive.store.data().gauge);
        // What the last call computed says nothing of where this one begins.
        gauge.rearm(self.limits.fuel);
        let mut running = Running { instance: self, stage, gauge, over: false, started: Instant::now() };
        let call = self.call_on(alive, start);
        let driven = self.blueprint.runtime.lanes.drive(&running.gauge, self.limits.timeout, call).await;
        running.over = true;
        let (spent, result) = driven.unwrap_or_else(|Late| {
            let (spent, cause) = meter::cut_off(&self.limits, &running.gauge, running.started.elapsed());
            (spent, Err(cause))
        });
        self.record(stage, spent);
        match result {
            Ok((alive, answer)) => {
                *state = State::Alive(alive);
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

    /// One metered call that owns all it needs, wherever it is run. The instance comes back unless it is gone.
    fn call_on<T, F>(&self, mut alive: Box<Alive>, start: F) -> BoxFuture<'static, (Spent, Answered<T>)>
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&'a Calls, &'a mut Store<GuestData>) -> GuestFuture<'a, T> + Send + 'static,
    {
        let (runtime, limits, room) = (Arc::clone(&self.blueprint.runtime), self.limits, Arc::clone(&self.room));
        Box::pin(async move {
            let _room = room;
            let Alive { store, calls } = &mut *alive;
            let (spent, result) = meter::call(&runtime.ticker, &limits, store, &*calls, start).await;
            (spent, result.map(|answer| (alive, answer)))
        })
    }

    /// As `call`, under the operator's policy: a fault that is to be skipped is logged once and is no error.
    ///
    /// # Errors
    /// As `call`, where faults end the request.
    pub(crate) async fn attempt<T, F>(&self, stage: Stage, start: F) -> Result<Attempt<T>, Error>
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&'a Calls, &'a mut Store<GuestData>) -> GuestFuture<'a, T> + Send + 'static,
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
    gauge: Arc<Gauge>,
    over: bool,
    started: Instant,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.over {
            let (spent, _) = meter::cut_off(&self.instance.limits, &self.gauge, self.started.elapsed());
            self.instance.record(self.stage, spent);
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
