//! One plugin's instance in one request: alive until its first fault.

pub(crate) mod limiter;
pub(crate) mod log;
pub(crate) mod pool;
pub(crate) mod progress;
pub(crate) mod records;
pub(crate) mod wasi;

use std::sync::Arc;
use std::time::Instant;

use firebox_contract::{BoxFuture, limits};
use firebox_contract::{Error, Fault, FaultCause, Stage};
use tokio::sync::Mutex as Turnstile;
use wasmtime::Store;

use self::limiter::Limiter;
use self::log::cut;
use self::pool::Room;
use self::progress::ProgressSender;
use self::records::Records;
use self::wasi::World;
use crate::background::{CallState, CpuBudget, TimedOut};
use crate::error::SandboxError;
use crate::guest::GuestData;
use crate::meter::{self, Ending, Spent};
use crate::plugin::{Blueprint, OnFault, PluginLimits};
use crate::stages::{GuestFuture, GuestReturn, StageCalls};

/// What an instance is started with.
pub(crate) struct Terms {
    pub(crate) limits: PluginLimits,
    /// The CPU budget of its tenant, if it has one.
    pub(crate) budget: Option<Arc<CpuBudget>>,
    /// Where its memory is.
    pub(crate) room: Room,
    /// Where its request keeps what it does.
    pub(crate) records: Records,
    /// The id of its request.
    pub(crate) request: Arc<str>,
}

/// An instance with what it used so far. StageCalls wait for each other; what it used and logged can be read meanwhile.
pub(crate) struct Instance {
    blueprint: Arc<Blueprint>,
    limits: PluginLimits,
    records: Records,
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
    calls: StageCalls,
}

impl Drop for Alive {
    fn drop(&mut self) {
        // For the usage of a call that was cut off.
        let data = self.store.data();
        data.call_state.record(self.store.get_fuel().unwrap_or(0), data.limiter.peak_bytes());
    }
}

/// How one call ended: with the instance and the guest's answer, or with what ended it.
type Answered<T> = Result<(Box<Alive>, Result<T, String>), Ending>;

/// What a skipped call left behind: what it had used until then.
pub(crate) type Attempt<T> = Result<(T, Spent), Spent>;

impl Instance {
    /// A fresh instance, configured. Where that ends badly the instance is there to be asked about it, but gone.
    pub(crate) async fn start(blueprint: Arc<Blueprint>, terms: Terms) -> (Self, Result<(), SandboxError>) {
        let Terms { limits, budget, room, records, request } = terms;
        let state = Turnstile::new(State::Gone("it was never started".to_owned()));
        let mut this = Self { blueprint, limits, records, state, room };
        let (spent, result) = this.first_call(budget, request).await;
        let ending = match result {
            Ok(Ok(alive)) => {
                *this.state.get_mut() = State::Alive(alive);
                return (this, Ok(()));
            }
            Ok(Err(message)) => failed(&message).into(),
            Err(ending) => ending,
        };
        *this.state.get_mut() = State::Gone(ending.to_string());
        let error = this.error(Stage::Init, ending, spent);
        (this, Err(error))
    }

    async fn first_call(
        &self,
        budget: Option<Arc<CpuBudget>>,
        request: Arc<str>,
    ) -> (Spent, Result<Result<Box<Alive>, String>, Ending>) {
        let (blueprint, limits, room) = (Arc::clone(&self.blueprint), self.limits, Arc::clone(&self.room));
        let state = Arc::new(CallState::new(budget));
        state.begin(limits.fuel);
        let limiter = Limiter::new(limits.memory_bytes, Some(Arc::clone(&room)));
        let world = World { grants: blueprint.grants.clone(), plugin: blueprint.name.clone(), request };
        let data = GuestData::new(limiter, self.records.log.clone(), Arc::clone(&state), world);
        let mut running = self.running(Stage::Init, Arc::clone(&state));
        let call = async move {
            let _room = room;
            let runtime = &blueprint.runtime;
            let mut store = data.into_store(&runtime.engine);
            let (spent, result) =
                meter::call(&runtime.ticker, &limits, Stage::Init, &mut store, &*blueprint, |blueprint, store| {
                    instantiate(blueprint, store)
                })
                .await;
            (spent, result.map(|calls| calls.map(|calls| Box::new(Alive { store, calls }))))
        };
        let driven = self.blueprint.runtime.executor.run(&state, limits.timeout, Box::pin(call)).await;
        running.over = true;
        let (spent, result) = driven.unwrap_or_else(|TimedOut| {
            let (spent, cause) = meter::cut_off(&limits, &state, running.started.elapsed());
            (spent, Err(cause.into()))
        });
        self.record(Stage::Init, spent);
        (spent, result)
    }

    fn running(&self, stage: Stage, state: Arc<CallState>) -> RunningCall<'_> {
        RunningCall { instance: self, stage, state, over: false, started: Instant::now() }
    }

    /// The plugin's name.
    pub(crate) fn name(&self) -> &str {
        &self.blueprint.name
    }

    /// Whether the plugin has the stage `stage`.
    pub(crate) fn has(&self, stage: Stage) -> bool {
        self.blueprint.exports.has(stage)
    }

    /// Runs `start` on the guest. A trap or a broken limit ends the instance; the plugin's own error does not. Dropping
    /// the future cuts the guest off, which ends the instance too; what it had used is recorded all the same.
    ///
    /// # Errors
    /// How the call ended; `Refused` where an earlier call already ended the instance.
    pub(crate) async fn call<T, F>(&self, stage: Stage, start: F) -> Result<(T, Spent), SandboxError>
    where
        T: GuestReturn + Send + 'static,
        F: for<'a> FnOnce(&'a StageCalls, &'a mut Store<GuestData>) -> GuestFuture<'a, T> + Send + 'static,
    {
        let mut state = self.state.lock().await;
        let alive = match std::mem::replace(&mut *state, State::Gone(CUT_OFF.to_owned())) {
            State::Alive(alive) => alive,
            State::Gone(why) => {
                let message = format!("its instance was discarded after it {why}; the next request has a new one");
                *state = State::Gone(why);
                return Err(self.error(stage, FaultCause::Refused { message }.into(), Spent::default()));
            }
        };
        let call_state = Arc::clone(&alive.store.data().call_state);
        // Before the executor asks how long the call has computed.
        call_state.begin(self.limits.fuel);
        let mut running = self.running(stage, call_state);
        let call = self.call_on(stage, alive, start);
        let driven = self.blueprint.runtime.executor.run(&running.state, self.limits.timeout, call).await;
        running.over = true;
        let (spent, result) = driven.unwrap_or_else(|TimedOut| {
            let (spent, cause) = meter::cut_off(&self.limits, &running.state, running.started.elapsed());
            (spent, Err(cause.into()))
        });
        self.record(stage, spent);
        let ending = match result {
            Ok((alive, Ok(value))) => match self.too_much(stage, &value) {
                None => {
                    *state = State::Alive(alive);
                    return Ok((value, spent));
                }
                Some(cause) => cause.into(),
            },
            Ok((alive, Err(message))) => {
                *state = State::Alive(alive);
                return Err(self.error(stage, failed(&message).into(), spent));
            }
            Err(ending) => ending,
        };
        *state = State::Gone(ending.to_string());
        Err(self.error(stage, ending, spent))
    }

    /// What is wrong with `value` where it makes all that its plugin returned in this request too much.
    fn too_much<T: GuestReturn>(&self, stage: Stage, value: &T) -> Option<FaultCause> {
        let limit = value.limit(stage);
        let allowed = self.records.allows(self.name(), stage, value.bytes(), limit);
        (!allowed).then_some(FaultCause::OutputTooLarge { limit_bytes: limit as u64 })
    }

    /// One metered call that owns all it needs, wherever it is run. The instance comes back unless it is gone.
    fn call_on<T, F>(&self, stage: Stage, mut alive: Box<Alive>, start: F) -> BoxFuture<'static, (Spent, Answered<T>)>
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&'a StageCalls, &'a mut Store<GuestData>) -> GuestFuture<'a, T> + Send + 'static,
    {
        let (runtime, limits, room) = (Arc::clone(&self.blueprint.runtime), self.limits, Arc::clone(&self.room));
        Box::pin(async move {
            let _room = room;
            let Alive { store, calls } = &mut *alive;
            let (spent, result) = meter::call(&runtime.ticker, &limits, stage, store, &*calls, start).await;
            (spent, result.map(|answer| (alive, answer)))
        })
    }

    /// As `call`, under the operator's policy: a fault that is to be skipped is logged once and is no error.
    ///
    /// # Errors
    /// As `call`, where faults end the request.
    pub(crate) async fn attempt<T, F>(&self, stage: Stage, start: F) -> Result<Attempt<T>, Error>
    where
        T: GuestReturn + Send + 'static,
        F: for<'a> FnOnce(&'a StageCalls, &'a mut Store<GuestData>) -> GuestFuture<'a, T> + Send + 'static,
    {
        let skips = self.blueprint.on_fault == OnFault::Skip;
        if skips && matches!(*self.state.lock().await, State::Gone(_)) {
            return Ok(Err(Spent::default()));
        }
        let begun = Instant::now();
        match self.call(stage, start).await {
            Ok(answered) => Ok(Ok(answered)),
            Err(SandboxError::Fault(fault)) if skips => {
                self.records.log_skip(&fault);
                let Fault { fuel, memory_peak_bytes, .. } = fault;
                Ok(Err(Spent { fuel, memory_peak_bytes, elapsed: begun.elapsed() }))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Holds against the plugin that what it answered at `stage` cannot be used.
    ///
    /// # Errors
    /// That as its fault, unless faults are to be skipped.
    pub(crate) fn reject(&self, stage: Stage, message: String, spent: Spent) -> Result<(), Error> {
        match self.error(stage, FaultCause::Refused { message }.into(), spent) {
            SandboxError::Fault(fault) if self.blueprint.on_fault == OnFault::Skip => {
                self.records.log_skip(&fault);
                Ok(())
            }
            error => Err(error.into()),
        }
    }

    /// Sends the guest's progress to `reports` from now on.
    pub(crate) fn report_to(&mut self, reports: ProgressSender) {
        if let State::Alive(alive) = self.state.get_mut() {
            alive.store.data_mut().reports = Some(reports);
        }
    }

    /// What its request keeps of it.
    pub(crate) fn records(&self) -> &Records {
        &self.records
    }

    fn error(&self, stage: Stage, ending: Ending, spent: Spent) -> SandboxError {
        match ending {
            Ending::NoRoom(error) => error,
            Ending::Fault(cause) => Fault {
                plugin: self.name().to_owned(),
                stage,
                cause,
                fuel: spent.fuel,
                memory_peak_bytes: spent.memory_peak_bytes,
            }
            .into(),
        }
    }

    fn record(&self, stage: Stage, spent: Spent) {
        self.records.record(self.name(), stage, spent);
    }
}

/// The plugin's own words, short enough for a message.
fn failed(message: &str) -> FaultCause {
    FaultCause::Failed { message: cut(message, limits::PLUGIN_ERROR_BYTES_MAX).to_owned() }
}

/// Why an instance is gone whose caller left in the middle of a call.
const CUT_OFF: &str = "was cut off in the middle of a call";

/// A call on its way. Dropped before its end, it still records what the guest used: who leaves early pays too.
struct RunningCall<'a> {
    instance: &'a Instance,
    stage: Stage,
    state: Arc<CallState>,
    over: bool,
    started: Instant,
}

impl Drop for RunningCall<'_> {
    fn drop(&mut self) {
        if !self.over {
            let (spent, _) = meter::cut_off(&self.instance.limits, &self.state, self.started.elapsed());
            self.instance.record(self.stage, spent);
        }
    }
}

/// Makes the instance, finds its functions and gives it its configuration: one metered call.
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
