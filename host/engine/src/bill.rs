//! The account of one request, settled exactly once on every path.

use firebox_contract::{Decision, Error, PluginUse, RequestUsage, Reservation, ToolCall, ToolOutcome, Usage};

/// An open account. Dropping it settles what nobody has settled.
pub(crate) struct Bill {
    account: Option<Box<dyn Reservation>>,
    /// Whether the round that is about to begin has its tokens reserved.
    reserved: bool,
}

impl Bill {
    /// Around an account that was opened for the request.
    pub(crate) fn new(account: Box<dyn Reservation>) -> Self {
        Self { account: Some(account), reserved: false }
    }

    /// Reserves a round's tokens, once for each round however often its beginning is tried.
    pub(crate) fn reserve(&mut self, tokens: usize) -> Result<(), Error> {
        if self.reserved {
            return Ok(());
        }
        if let Some(account) = &mut self.account {
            account.reserve(tokens)?;
        }
        self.reserved = true;
        Ok(())
    }

    /// Reserves more tokens for the round that runs.
    pub(crate) fn reserve_more(&mut self, tokens: usize) -> Result<(), Error> {
        self.account.as_mut().map_or(Ok(()), |account| account.reserve(tokens))
    }

    /// The round has begun; the next one reserves anew.
    pub(crate) fn begun(&mut self) {
        self.reserved = false;
    }

    pub(crate) fn allow_call(&mut self, call: &ToolCall) -> Result<(), Error> {
        self.account.as_mut().map_or(Ok(()), |account| account.allow_call(call))
    }

    pub(crate) fn record_call(&mut self, call: &ToolCall, decision: Decision, outcome: &ToolOutcome) {
        if let Some(account) = &mut self.account {
            account.record_call(call, decision, outcome);
        }
    }

    /// Closes the account; what is told later changes nothing.
    pub(crate) fn settle(&mut self, usage: Usage, plugins: &[PluginUse], outcome: &str) {
        if let Some(mut account) = self.account.take() {
            account.settle(&RequestUsage { usage, plugins, outcome });
        }
    }

    /// Closes the account of a request that came to nothing.
    pub(crate) fn refuse(&mut self, error: &Error) {
        self.settle(Usage::default(), &[], error.kind().code());
    }
}

impl Drop for Bill {
    fn drop(&mut self) {
        self.refuse(&Error::Interrupted);
    }
}
