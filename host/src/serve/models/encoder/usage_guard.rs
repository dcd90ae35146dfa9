//! The usage of an embedding request. It is settled with the reservation exactly once, on every path.

use firebox_contract::{Error, PluginUse, RequestUsage, Reservation, Usage};

/// An open reservation and the usage so far. On drop it is settled as interrupted, unless it was settled before.
pub(super) struct UsageGuard {
    reservation: Option<Box<dyn Reservation>>,
    /// The tokens of the texts that were embedded.
    tokens: usize,
    plugins: Vec<PluginUse>,
    /// The fuel in `plugins` that was not reported to the reservation yet.
    unreported_fuel: u64,
}

impl UsageGuard {
    pub(super) fn new(reservation: Box<dyn Reservation>) -> Self {
        Self { reservation: Some(reservation), tokens: 0, plugins: Vec::new(), unreported_fuel: 0 }
    }

    /// Reserves the tokens of all texts.
    pub(super) fn reserve(&mut self, tokens: usize) -> Result<(), Error> {
        self.reservation.as_mut().map_or(Ok(()), |reservation| reservation.reserve(tokens))
    }

    /// Checks whether the request may continue.
    pub(super) fn check(&mut self) -> Result<(), Error> {
        self.reservation.as_mut().map_or(Ok(()), |reservation| reservation.may_continue(0))
    }

    /// Checks whether the request may continue, and reports the fuel of earlier plugin calls.
    pub(super) fn check_fuel(&mut self) -> Result<(), Error> {
        let fuel = std::mem::take(&mut self.unreported_fuel);
        self.reservation.as_mut().map_or(Ok(()), |reservation| reservation.may_continue(fuel))
    }

    /// Adds embedded tokens.
    pub(super) fn add_tokens(&mut self, tokens: usize) {
        self.tokens += tokens;
    }

    /// Adds the usage of plugins.
    pub(super) fn add(&mut self, plugins: Vec<PluginUse>) {
        for new in plugins {
            self.unreported_fuel = self.unreported_fuel.saturating_add(new.fuel);
            let same = |row: &&mut PluginUse| row.plugin == new.plugin && row.stage == new.stage;
            match self.plugins.iter_mut().find(same) {
                Some(row) => {
                    row.calls = row.calls.saturating_add(new.calls);
                    row.fuel = row.fuel.saturating_add(new.fuel);
                    row.memory_peak_bytes = row.memory_peak_bytes.max(new.memory_peak_bytes);
                    row.elapsed = row.elapsed.saturating_add(new.elapsed);
                    row.model_tokens = row.model_tokens.saturating_add(new.model_tokens);
                }
                None => self.plugins.push(new),
            }
        }
    }

    /// The fuel that plugins used so far.
    pub(super) fn fuel(&self) -> u64 {
        self.plugins.iter().fold(0, |sum, row| sum.saturating_add(row.fuel))
    }

    /// The usage of plugins so far, by plugin and stage.
    pub(super) fn plugins(&self) -> &[PluginUse] {
        &self.plugins
    }

    /// Settles the reservation. Later calls have no effect.
    pub(super) fn settle(&mut self, outcome: &str) {
        if let Some(mut reservation) = self.reservation.take() {
            let usage = Usage { prompt_tokens: self.tokens, ..Usage::default() };
            reservation.settle(&RequestUsage { usage, plugins: &self.plugins, outcome });
        }
    }
}

impl Drop for UsageGuard {
    fn drop(&mut self) {
        self.settle(Error::Interrupted.kind().code());
    }
}
