//! What a tenant may use, asked before it is used and settled after. The door implements it; the engine obeys.

use crate::caller::Caller;
use crate::chat::ToolCall;
use crate::error::Error;
use crate::generation::Usage;
use crate::hook::{PluginUse, ToolOutcome};

/// Decides whether a request may begin.
pub trait Gate: Send + Sync {
    /// Opens the account of one request at `model`, or refuses it now.
    ///
    /// # Errors
    /// `Error::Limited` when a rate or quota is used up, `Error::Denied` when the caller may not use the model.
    fn admit(&self, caller: &Caller, model: &str, request_id: &str) -> Result<Box<dyn Reservation>, Error>;
}

/// The account of one request. Dropping it unsettled leaves what was reserved as spent: quotas fail closed.
pub trait Reservation: Send {
    /// Reserves tokens (prompt and longest answer together) before they are computed; called once a round, and again where
    /// an answer whose request says no number grows beyond what was reserved.
    ///
    /// # Errors
    /// `Error::Limited` when they exceed what is left.
    fn reserve(&mut self, tokens: usize) -> Result<(), Error>;

    /// Asked before each tool call.
    ///
    /// # Errors
    /// `Error::Limited` when there are no calls left.
    fn allow_call(&mut self, call: &ToolCall) -> Result<(), Error>;

    /// Tells what plugins used since this was called last, and asks whether the request may go on: between guest calls
    /// where a request makes many, and before each of its steps. `fuel` is in units of fuel, and may be 0.
    ///
    /// # Errors
    /// `Error::Limited` when the fuel is used up, `Error::Unauthorized` when the key is no longer good.
    fn may_continue(&mut self, fuel: u64) -> Result<(), Error>;

    /// Told after each tool call, and for each that was not allowed to run.
    fn record_call(&mut self, call: &ToolCall, decision: Decision, outcome: &ToolOutcome);

    /// What was really used, told once at the end; the rest of the reservation is given back.
    fn settle(&mut self, spent: &RequestUsage<'_>);
}

/// What became of a wish to call a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decision {
    /// Policy allows it.
    Allowed,
    /// A person or program was asked and allowed it.
    Approved,
    /// Somebody was asked, or nobody could be, and it did not run.
    Declined,
    /// Policy forbids it.
    Denied,
    /// It did not get as far: no such tool, arguments that do not fit, a limit.
    Rejected,
}

impl Decision {
    /// The stable name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Approved => "approved",
            Self::Declined => "declined",
            Self::Denied => "denied",
            Self::Rejected => "rejected",
        }
    }
}

/// What one request used.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestUsage<'a> {
    /// Tokens.
    pub usage: Usage,
    /// Plugins, by plugin and stage.
    pub plugins: &'a [PluginUse],
    /// The finish reason's stable name, or the stable code of the error.
    pub outcome: &'a str,
}

/// No limits: the gate of the command line, where the person at the machine owns all of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenGate;

impl Gate for OpenGate {
    fn admit(&self, _caller: &Caller, _model: &str, _request_id: &str) -> Result<Box<dyn Reservation>, Error> {
        Ok(Box::new(Self))
    }
}

impl Reservation for OpenGate {
    fn reserve(&mut self, _tokens: usize) -> Result<(), Error> {
        Ok(())
    }

    fn allow_call(&mut self, _call: &ToolCall) -> Result<(), Error> {
        Ok(())
    }

    fn may_continue(&mut self, _fuel: u64) -> Result<(), Error> {
        Ok(())
    }

    fn record_call(&mut self, _call: &ToolCall, _decision: Decision, _outcome: &ToolOutcome) {}

    fn settle(&mut self, _spent: &RequestUsage<'_>) {}
}
