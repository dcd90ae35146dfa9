//! The reservation of one request: it takes from the limits of its tenant and settles what the request used.

use std::sync::Arc;
use std::time::Duration;

use firebox_contract::{Caller, Decision, Error, ErrorKind, RequestUsage, Reservation, ToolCall, ToolOutcome, Usage};

use super::meters::Rates;
use super::window::WindowFull;
use super::{Tenancy, TenantEntry, keys, subject_of};
use crate::audit::{CallCost, Record, RequestCost, RequestRecord, ToolRecord, cut};

/// See [`Reservation`].
pub(super) struct TenantReservation {
    tenancy: Tenancy,
    entry: Arc<TenantEntry>,
    caller: Caller,
    model: Option<String>,
    request_id: String,
    /// Tokens reserved and not given back, by slot of the window.
    reserved: Vec<(u64, u64)>,
    /// Fuel of plugin calls that is charged already.
    fuel_charged: u64,
    memory_peak_bytes: u64,
    started: Duration,
    /// Whether a limit refused the last tool call.
    call_refused: bool,
    settled: bool,
}

impl TenantReservation {
    /// Admits a request. A refused request is recorded in the audit log.
    pub(super) fn open(
        tenancy: Tenancy,
        entry: Arc<TenantEntry>,
        caller: &Caller,
        model: Option<&str>,
        request_id: &str,
    ) -> Result<Self, Error> {
        let now = tenancy.0.clock.now();
        take_request(&tenancy, &entry, caller, model, request_id)?;
        let reservation = Self {
            tenancy,
            entry,
            caller: caller.clone(),
            model: None,
            request_id: request_id.to_owned(),
            reserved: Vec::new(),
            fuel_charged: 0,
            memory_peak_bytes: 0,
            started: now,
            call_refused: false,
            settled: false,
        };
        // The rate is checked first, so that a key that repeats a denied request cannot flood the log.
        match model {
            Some(model) => reservation.with_model(model),
            None => Ok(reservation),
        }
    }

    /// The reservation of a request whose model is not known yet. If the request ends before, there is nothing to settle and
    /// nothing to record.
    pub(super) fn without_model(mut self) -> Self {
        self.settled = true;
        self
    }

    /// Sets the model. If the tenant may not use it, the refusal is recorded and returned.
    pub(super) fn with_model(mut self, model: &str) -> Result<Self, Error> {
        if self.entry.may_use(model) {
            self.model = Some(model.to_owned());
            self.settled = false;
            return Ok(self);
        }
        let error = model_denied(&self.entry, model);
        self.tenancy.refused(&refusal(&error, &self.caller, &self.request_id, Some(model)));
        self.settled = true;
        Err(error)
    }

    /// Checks that a running request may continue: its key is valid, its tenant may use the model, and the audit log can be
    /// written. Returns the tenant as it is configured now.
    fn check_continue(&self) -> Result<Arc<TenantEntry>, Error> {
        let entry = self.tenancy.active_tenant(&self.caller)?;
        if let Some(model) = self.model.as_deref().filter(|model| !entry.may_use(model)) {
            return Err(model_denied(&entry, model));
        }
        self.tenancy.audit_ready_for(&self.caller)?;
        Ok(entry)
    }

    fn elapsed_ms(&self) -> u64 {
        millis(self.tenancy.0.clock.now().saturating_sub(self.started))
    }

    /// Gives back reserved tokens that were not used, and charges tokens beyond the reservation.
    fn settle_tokens(&mut self, rates: &mut Rates, usage: Usage) {
        let used = (usage.prompt_tokens as u64).saturating_add(usage.completion_tokens as u64);
        let reserved: u64 = self.reserved.iter().map(|(_, amount)| *amount).sum();
        if used > reserved {
            rates.tokens.charge(self.tenancy.0.clock.now(), used - reserved);
        }
        let mut unused = reserved.saturating_sub(used);
        for (slot, amount) in self.reserved.drain(..).rev() {
            let back = unused.min(amount);
            rates.tokens.give_back(slot, back);
            unused -= back;
        }
    }

    fn record(&self, spent: &RequestUsage<'_>, fuel: u64) {
        let peak = spent.plugins.iter().map(|plugin| plugin.memory_peak_bytes).max().unwrap_or(0);
        let refused = decision_of(spent.outcome).filter(|_| spent.usage == Usage::default() && fuel == 0);
        let call = CallCost { fuel, memory_peak_bytes: peak.max(self.memory_peak_bytes), ms: self.elapsed_ms() };
        let (prompt_tokens, completion_tokens) =
            (spent.usage.prompt_tokens as u64, spent.usage.completion_tokens as u64);
        let record = Record::Request(RequestRecord {
            subject: subject_of(&self.caller, &self.request_id),
            model: self.model.as_deref(),
            decision: Some(refused.unwrap_or("admitted")),
            outcome: spent.outcome,
            cost: Some(RequestCost { prompt_tokens, completion_tokens, call }),
        });
        match refused {
            Some(_) => self.tenancy.refused(&record),
            None => self.tenancy.record(&record),
        }
    }
}

/// The decision in the record of a refused request with this outcome; `None` if the outcome is not a refusal.
fn decision_of(outcome: &str) -> Option<&'static str> {
    let rows = [
        (ErrorKind::Limited, "limited"),
        (ErrorKind::Unauthorized, "unauthorized"),
        (ErrorKind::Denied, "denied"),
        (ErrorKind::NotFound, "refused"),
        (ErrorKind::Usage, "refused"),
        (ErrorKind::TooLarge, "refused"),
        (ErrorKind::Unavailable, "refused"),
    ];
    rows.into_iter().find(|row| row.0.code() == outcome).map(|row| row.1)
}

/// The record of a request that was refused before it was admitted.
fn refusal<'a>(error: &Error, caller: &'a Caller, request_id: &'a str, model: Option<&'a str>) -> Record<'a> {
    let outcome = error.kind().code();
    let (subject, decision) = (subject_of(caller, request_id), decision_of(outcome));
    Record::Request(RequestRecord { subject, model, decision, outcome, cost: None })
}

/// Counts a request against the rate of its tenant.
pub(super) fn take_request(
    tenancy: &Tenancy,
    entry: &TenantEntry,
    caller: &Caller,
    model: Option<&str>,
    request_id: &str,
) -> Result<(), Error> {
    let (now, wall) = (tenancy.0.clock.now(), (tenancy.0.wall)());
    let mut rates = entry.meters.lock()?;
    let admitted = admit(entry, &mut rates, now);
    rates.daily.add(wall, |counts| match admitted {
        Ok(()) => counts.requests += 1,
        Err(_) => counts.limited += 1,
    });
    drop(rates);
    admitted.inspect_err(|error| tenancy.refused(&refusal(error, caller, request_id, model)))
}

/// Checks whether the rate of the tenant allows a request now, without counting one.
pub(super) fn check_rate(
    tenancy: &Tenancy,
    entry: &TenantEntry,
    caller: &Caller,
    request_id: &str,
) -> Result<(), Error> {
    let now = tenancy.0.clock.now();
    let mut rates = entry.meters.lock()?;
    let room = fuel_left(entry, &mut rates, now).and_then(|()| match entry.config.limits.requests_per_minute {
        Some(limit) if rates.requests.used(now) >= limit => {
            let retry_after = rates.requests.until(now, limit.saturating_sub(1));
            Err(limited(entry, "requests", limit, WindowFull { retry_after }))
        }
        _ => Ok(()),
    });
    drop(rates);
    room.inspect_err(|error| log_limited(tenancy, entry, caller, request_id, error))
}

/// Counts and records a request that a limit refused before its body was read.
pub(super) fn log_limited(tenancy: &Tenancy, entry: &TenantEntry, caller: &Caller, request_id: &str, error: &Error) {
    // Poisoned counters refuse every request of the tenant anyway.
    if let Ok(mut rates) = entry.meters.lock() {
        rates.daily.add((tenancy.0.wall)(), |counts| counts.limited += 1);
    }
    tenancy.refused(&refusal(error, caller, request_id, None));
}

fn admit(entry: &TenantEntry, rates: &mut Rates, now: Duration) -> Result<(), Error> {
    fuel_left(entry, rates, now)?;
    match entry.config.limits.requests_per_minute {
        Some(limit) => {
            let taken = rates.requests.take(now, 1, limit);
            taken.map(|_slot| ()).map_err(|full| limited(entry, "requests", limit, full))
        }
        None => Ok(()),
    }
}

/// Refuses new work while the fuel of the last minute is at its limit. The fuel of a call is known only after the call.
fn fuel_left(entry: &TenantEntry, rates: &mut Rates, now: Duration) -> Result<(), Error> {
    let Some(limit) = entry.config.limits.plugin_fuel_per_minute else { return Ok(()) };
    if rates.fuel.used(now) < limit {
        return Ok(());
    }
    let retry_after = rates.fuel.until(now, limit.saturating_sub(1));
    Err(limited(entry, "units of plugin fuel", limit, WindowFull { retry_after }))
}

fn model_denied(entry: &TenantEntry, model: &str) -> Error {
    let tenant = &entry.id;
    Error::Denied(format!("tenant \"{tenant}\" may not use model \"{model}\"; list its models with GET /v1/models"))
}

fn limited(entry: &TenantEntry, what: &str, limit: u64, full: WindowFull) -> Error {
    let (tenant, seconds) = (&entry.id, full.retry_after.as_secs_f64());
    let message = if limit == 0 {
        format!("the limit of tenant \"{tenant}\" is 0 {what} a minute; ask the operator to raise it")
    } else {
        format!("tenant \"{tenant}\" has used its limit of {limit} {what} a minute; retry in {seconds:.1} s")
    };
    // Waiting does not help with a limit of 0, so clients that retry do so rarely.
    let retry_after = if limit == 0 { firebox_contract::limits::RATE_WINDOW } else { full.retry_after };
    Error::Limited { message, retry_after }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Reservation for TenantReservation {
    fn reserve(&mut self, tokens: usize) -> Result<(), Error> {
        let (entry, now) = (self.check_continue()?, self.tenancy.0.clock.now());
        let limits = &entry.config.limits;
        if let Some(max) = limits.context_tokens_max.filter(|max| tokens > *max) {
            let tenant = &entry.id;
            let message = format!(
                "prompt and longest answer have {tokens} tokens; tenant \"{tenant}\" may use {max} in one conversation; shorten the prompt or the answer"
            );
            return Err(Error::TooLarge(message));
        }
        let mut rates = self.entry.meters.lock()?;
        fuel_left(&entry, &mut rates, now)?;
        let tokens = tokens as u64;
        let Some(limit) = limits.tokens_per_minute else { return Ok(()) };
        if tokens > limit && limit > 0 {
            let message = format!(
                "prompt and longest answer have {tokens} tokens; tenant \"{}\" may use {limit} a minute; shorten the prompt or the answer",
                entry.id
            );
            return Err(Error::TooLarge(message));
        }
        match rates.tokens.take(now, tokens, limit) {
            Ok(slot) => {
                self.reserved.push((slot, tokens));
                Ok(())
            }
            Err(full) => {
                rates.daily.add((self.tenancy.0.wall)(), |counts| counts.limited += 1);
                Err(limited(&entry, "tokens", limit, full))
            }
        }
    }

    fn allow_call(&mut self, _call: &ToolCall) -> Result<(), Error> {
        // Reset below once the call is allowed.
        self.call_refused = true;
        let (entry, now) = (self.check_continue()?, self.tenancy.0.clock.now());
        let mut rates = self.entry.meters.lock()?;
        fuel_left(&entry, &mut rates, now)?;
        if let Some(limit) = entry.config.limits.tool_calls_per_minute {
            let taken = rates.tool_calls.take(now, 1, limit);
            taken.map(|_slot| ()).map_err(|full| limited(&entry, "tool calls", limit, full))?;
        }
        drop(rates);
        self.call_refused = false;
        Ok(())
    }

    fn may_continue(&mut self, fuel: u64) -> Result<(), Error> {
        let now = self.tenancy.0.clock.now();
        let own = Arc::clone(&self.entry);
        let mut rates = own.meters.lock()?;
        rates.fuel.charge(now, fuel);
        self.fuel_charged = self.fuel_charged.saturating_add(fuel);
        let entry = self.check_continue()?;
        fuel_left(&entry, &mut rates, now)
    }

    fn record_call(&mut self, call: &ToolCall, decision: Decision, outcome: &ToolOutcome) {
        let ran = matches!(decision, Decision::Allowed | Decision::Approved);
        self.memory_peak_bytes = self.memory_peak_bytes.max(outcome.memory_peak_bytes);
        // A poisoned lock refuses all later requests, so a call that is not counted here gains nothing.
        if let Ok(mut rates) = self.entry.meters.lock() {
            rates.fuel.charge(self.tenancy.0.clock.now(), outcome.fuel);
            self.fuel_charged = self.fuel_charged.saturating_add(outcome.fuel);
            rates.daily.add((self.tenancy.0.wall)(), |counts| counts.tool_calls += u64::from(ran));
        }
        let texts = self.tenancy.0.audit.as_ref().is_some_and(crate::audit::Audit::prompts);
        let record = Record::Tool(ToolRecord {
            subject: subject_of(&self.caller, &self.request_id),
            model: self.model.as_deref(),
            tool: &call.name,
            provider: Some(outcome.provider.as_str()).filter(|provider| !provider.is_empty()),
            arguments_sha256: keys::hex(&keys::digest(&call.arguments_json)),
            arguments: texts.then(|| cut(&call.arguments_json)),
            decision: decision.as_str(),
            outcome: if outcome.is_error { "error" } else { "ok" },
            cost: CallCost {
                fuel: outcome.fuel,
                memory_peak_bytes: outcome.memory_peak_bytes,
                ms: millis(outcome.elapsed),
            },
        });
        // A client can repeat a call over MCP as fast as it likes, so refused ones are recorded with a count.
        if !ran && (self.call_refused || self.model.is_none()) {
            self.tenancy.refused(&record);
        } else {
            self.tenancy.record(&record);
        }
    }

    fn settle(&mut self, spent: &RequestUsage<'_>) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        let fuel =
            spent.plugins.iter().fold(0, |sum: u64, plugin| sum.saturating_add(plugin.fuel)).max(self.fuel_charged);
        let entry = Arc::clone(&self.entry);
        if let Ok(mut rates) = entry.meters.lock() {
            rates.fuel.charge(self.tenancy.0.clock.now(), fuel - self.fuel_charged);
            self.settle_tokens(&mut rates, spent.usage);
            rates.daily.add((self.tenancy.0.wall)(), |counts| {
                counts.tokens(spent.usage);
                counts.plugin_fuel = counts.plugin_fuel.saturating_add(fuel);
            });
        }
        self.record(spent, fuel);
    }
}

impl Drop for TenantReservation {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        if let Ok(mut rates) = self.entry.meters.lock() {
            let fuel = self.fuel_charged;
            rates.daily.add((self.tenancy.0.wall)(), |counts| {
                counts.unsettled += 1;
                counts.plugin_fuel = counts.plugin_fuel.saturating_add(fuel);
            });
        }
        self.record(&RequestUsage { usage: Usage::default(), plugins: &[], outcome: "unsettled" }, self.fuel_charged);
    }
}
