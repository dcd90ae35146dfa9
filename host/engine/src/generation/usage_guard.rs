//! The reservation of one request, settled exactly once on every path.

use firebox_contract::{Decision, Error, PluginUse, RequestUsage, Reservation, ToolCall, ToolOutcome, Usage};

/// Holds a reservation. Dropping it settles the reservation as interrupted, if it is not settled yet.
pub(crate) struct UsageGuard {
    reservation: Option<Box<dyn Reservation>>,
    /// Whether the tokens of the turn that starts next are reserved.
    turn_reserved: bool,
}

impl UsageGuard {
    /// Guards the reservation of a request.
    pub(crate) fn new(reservation: Box<dyn Reservation>) -> Self {
        Self { reservation: Some(reservation), turn_reserved: false }
    }

    /// Reserves the tokens of a turn. Repeated calls for the same turn reserve once.
    pub(crate) fn reserve(&mut self, tokens: usize) -> Result<(), Error> {
        if self.turn_reserved {
            return Ok(());
        }
        if let Some(reservation) = &mut self.reservation {
            reservation.reserve(tokens)?;
        }
        self.turn_reserved = true;
        Ok(())
    }

    /// Reserves more tokens for the running turn.
    pub(crate) fn reserve_more(&mut self, tokens: usize) -> Result<(), Error> {
        self.reservation.as_mut().map_or(Ok(()), |reservation| reservation.reserve(tokens))
    }

    /// Records that the turn has started. The next turn needs a reservation of its own.
    pub(crate) fn turn_started(&mut self) {
        self.turn_reserved = false;
    }

    pub(crate) fn allow_call(&mut self, call: &ToolCall) -> Result<(), Error> {
        self.reservation.as_mut().map_or(Ok(()), |reservation| reservation.allow_call(call))
    }

    pub(crate) fn record_call(&mut self, call: &ToolCall, decision: Decision, outcome: &ToolOutcome) {
        if let Some(reservation) = &mut self.reservation {
            reservation.record_call(call, decision, outcome);
        }
    }

    /// Settles the reservation. Later calls have no effect.
    pub(crate) fn settle(&mut self, usage: Usage, plugins: &[PluginUse], outcome: &str) {
        if let Some(mut reservation) = self.reservation.take() {
            reservation.settle(&RequestUsage { usage, plugins, outcome });
        }
    }

    /// The guard of the same reservation, which leaves none here.
    pub(crate) fn take(&mut self) -> Self {
        Self { reservation: self.reservation.take(), turn_reserved: false }
    }

    /// Settles the reservation of a request that failed before it used any token.
    pub(crate) fn refuse(&mut self, error: &Error) {
        self.settle(Usage::default(), &[], error.kind().code());
    }
}

impl Drop for UsageGuard {
    fn drop(&mut self) {
        self.refuse(&Error::Interrupted);
    }
}
