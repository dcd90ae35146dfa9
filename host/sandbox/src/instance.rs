//! One plugin's instance in one request: alive until its first fault.

use std::sync::Arc;

use firebox_contract::BoxFuture;
use firebox_contract::{Error, Fault, FaultCause, LogLine, PluginUse, Stage};
use wasmtime::Store;

use crate::guest::GuestData;
use crate::log::Log;
use crate::meter::{self, Spent};
use crate::plugin::{Blueprint, OnFault, PluginLimits};
use crate::progress::Reports;
use crate::stages::{Calls, GuestFuture};

/// An instance with what it used so far.
pub(crate) struct Instance {
    blueprint: Arc<Blueprint>,
    limits: PluginLimits,
    log: Log,
    uses: Vec<PluginUse>,
    last_spent: Spent,
    state: State,
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

impl Instance {
    /// A fresh instance, configured. Where that ends in a fault the instance is there to be asked about it, but gone.
    pub(crate) async fn start(blueprint: Arc<Blueprint>, limits: PluginLimits) -> (Self, Result<(), Fault>) {
        let log = Log::default();
        let state = State::Gone("it was never started".to_owned());
        let (uses, last_spent) = (Vec::new(), Spent::default());
        let mut this = Self { blueprint, limits, log, uses, last_spent, state };
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
                this.state = State::Alive(Box::new(Alive { store, calls }));
                return (this, Ok(()));
            }
            Ok(Err(message)) => this.fault(Stage::Init, FaultCause::Failed { message }, spent),
            Err(cause) => this.fault(Stage::Init, cause, spent),
        };
        this.state = State::Gone(result.cause.to_string());
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

    /// Runs `start` on the guest. A trap or a broken limit ends the instance; the plugin's own error does not.
    ///
    /// # Errors
    /// How the call ended; `Refused` where an earlier call already ended the instance.
    pub(crate) async fn call<T, F>(&mut self, stage: Stage, start: F) -> Result<(T, Spent), Fault>
    where
        T: Send,
        F: for<'a> FnOnce(&'a Calls, &'a mut Store<GuestData>) -> GuestFuture<'a, T> + Send,
    {
        let alive = match &mut self.state {
            State::Alive(alive) => alive,
            State::Gone(why) => {
                let message = format!("its instance was discarded after it {why}; the next request has a new one");
                return Err(self.fault(stage, FaultCause::Refused { message }, Spent::default()));
            }
        };
        let ticker = &self.blueprint.runtime.ticker;
        let (spent, result) = meter::call(ticker, &self.limits, &mut alive.store, &alive.calls, start).await;
        self.record(stage, spent);
        match result {
            Ok(Ok(value)) => Ok((value, spent)),
            Ok(Err(message)) => Err(self.fault(stage, FaultCause::Failed { message }, spent)),
            Err(cause) => {
                self.state = State::Gone(cause.to_string());
                Err(self.fault(stage, cause, spent))
            }
        }
    }

    /// As `call`, under the operator's policy: `None` where the fault is to be skipped, which is logged once.
    ///
    /// # Errors
    /// As `call`, where faults end the request.
    pub(crate) async fn attempt<T, F>(&mut self, stage: Stage, start: F) -> Result<Option<(T, Spent)>, Error>
    where
        T: Send,
        F: for<'a> FnOnce(&'a Calls, &'a mut Store<GuestData>) -> GuestFuture<'a, T> + Send,
    {
        let skips = self.blueprint.on_fault == OnFault::Skip;
        if skips && matches!(self.state, State::Gone(_)) {
            self.last_spent = Spent::default();
            return Ok(None);
        }
        match self.call(stage, start).await {
            Ok(answered) => Ok(Some(answered)),
            Err(fault) if skips => {
                self.log_skip(&fault);
                Ok(None)
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
        if let State::Alive(alive) = &mut self.state {
            alive.store.data_mut().reports = Some(reports);
        }
    }

    /// What the last call used.
    pub(crate) fn last_spent(&self) -> Spent {
        self.last_spent
    }

    /// What it used so far, by stage.
    pub(crate) fn uses(&self) -> &[PluginUse] {
        &self.uses
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

    fn record(&mut self, stage: Stage, spent: Spent) {
        self.last_spent = spent;
        let place = self.uses.iter().position(|row| row.stage == stage).unwrap_or_else(|| {
            let plugin = self.blueprint.name.clone();
            let elapsed = std::time::Duration::ZERO;
            self.uses.push(PluginUse { plugin, stage, calls: 0, fuel: 0, memory_peak_bytes: 0, elapsed });
            self.uses.len() - 1
        });
        if let Some(row) = self.uses.get_mut(place) {
            row.calls = row.calls.saturating_add(1);
            row.fuel = row.fuel.saturating_add(spent.fuel);
            row.memory_peak_bytes = row.memory_peak_bytes.max(spent.memory_peak_bytes);
            row.elapsed = row.elapsed.saturating_add(spent.elapsed);
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
