//! The account of one embedding request with what the request used so far, settled exactly once on every path.

use firebox_contract::{Error, PluginUse, RequestUsage, Reservation, Usage};

/// An open account. Dropping it settles what nobody has settled.
pub(super) struct Ledger {
    account: Option<Box<dyn Reservation>>,
    /// Tokens of the texts that were embedded.
    tokens: usize,
    plugins: Vec<PluginUse>,
    /// Fuel in `plugins` that the account was not told yet.
    fuel_untold: u64,
}

impl Ledger {
    pub(super) fn new(account: Box<dyn Reservation>) -> Self {
        Self { account: Some(account), tokens: 0, plugins: Vec::new(), fuel_untold: 0 }
    }

    /// Reserves the tokens of all texts.
    pub(super) fn reserve(&mut self, tokens: usize) -> Result<(), Error> {
        self.account.as_mut().map_or(Ok(()), |account| account.reserve(tokens))
    }

    /// Asks whether the request may go on.
    pub(super) fn check(&mut self) -> Result<(), Error> {
        self.account.as_mut().map_or(Ok(()), |account| account.may_continue(0))
    }

    /// The same before guest calls: what those before used counts now.
    pub(super) fn check_fuel(&mut self) -> Result<(), Error> {
        let fuel = std::mem::take(&mut self.fuel_untold);
        self.account.as_mut().map_or(Ok(()), |account| account.may_continue(fuel))
    }

    /// So many tokens were embedded.
    pub(super) fn embedded(&mut self, tokens: usize) {
        self.tokens += tokens;
    }

    /// Plugins used this.
    pub(super) fn used(&mut self, plugins: Vec<PluginUse>) {
        for new in plugins {
            self.fuel_untold = self.fuel_untold.saturating_add(new.fuel);
            let same = |row: &&mut PluginUse| row.plugin == new.plugin && row.stage == new.stage;
            match self.plugins.iter_mut().find(same) {
                Some(row) => {
                    row.calls = row.calls.saturating_add(new.calls);
                    row.fuel = row.fuel.saturating_add(new.fuel);
                    row.memory_peak_bytes = row.memory_peak_bytes.max(new.memory_peak_bytes);
                    row.elapsed = row.elapsed.saturating_add(new.elapsed);
                }
                None => self.plugins.push(new),
            }
        }
    }

    /// Fuel that plugins used so far.
    pub(super) fn fuel(&self) -> u64 {
        self.plugins.iter().fold(0, |sum, row| sum.saturating_add(row.fuel))
    }

    /// What plugins used so far, by plugin and stage.
    pub(super) fn plugins(&self) -> &[PluginUse] {
        &self.plugins
    }

    /// Closes the account; what is told later changes nothing.
    pub(super) fn settle(&mut self, outcome: &str) {
        if let Some(mut account) = self.account.take() {
            let usage = Usage { prompt_tokens: self.tokens, ..Usage::default() };
            account.settle(&RequestUsage { usage, plugins: &self.plugins, outcome });
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.settle(Error::Interrupted.kind().code());
    }
}
