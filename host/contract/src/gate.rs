//! Reservations: what a request may use, checked before it is used and settled afterwards. The tenancy layer implements
//! them; the engine calls them.

use crate::caller::Caller;
use crate::chat::ToolCall;
use crate::error::Error;
use crate::generation::Usage;
use crate::hook::{PluginUse, ToolOutcome};

/// Opens the reservation of each request.
pub trait Gate: Send + Sync {
    /// Opens the reservation of a request at `model`, or refuses the request.
    ///
    /// # Errors
    /// `Error::Limited` if a rate limit or a quota is used up, `Error::Denied` if the caller may not use the model.
    fn admit(&self, caller: &Caller, model: &str, request_id: &str) -> Result<Box<dyn Reservation>, Error>;
}

/// The reservation of one request. If it is dropped without being settled, everything reserved is charged: quotas fail
/// closed.
pub trait Reservation: Send {
    /// Reserves tokens of prompt and answer before they are computed. It is called once per turn, and again if an answer
    /// without a maximum length outgrows the reserved tokens.
    ///
    /// # Errors
    /// `Error::Limited` if the quota has fewer tokens left.
    fn reserve(&mut self, tokens: usize) -> Result<(), Error>;

    /// Checks a tool call before it runs.
    ///
    /// # Errors
    /// `Error::Limited` if the quota of calls is used up.
    fn allow_call(&mut self, call: &ToolCall) -> Result<(), Error>;

    /// Reports the fuel that plugins used since the last call, and checks whether the request may continue. It is called
    /// between plugin calls. `fuel` may be 0.
    ///
    /// # Errors
    /// `Error::Limited` if the quota of fuel is used up, `Error::Unauthorized` if the key is not valid any more.
    fn may_continue(&mut self, fuel: u64) -> Result<(), Error>;

    /// Records a tool call after it ended, or after it was refused.
    fn record_call(&mut self, call: &ToolCall, decision: Decision, outcome: &ToolOutcome);

    /// Charges what the request used and gives back the rest. It is called once, at the end.
    fn settle(&mut self, usage: &RequestUsage<'_>);
}

/// The decision about a tool call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decision {
    /// Policy allows it.
    Allowed,
    /// The approver approved it.
    Approved,
    /// The approver declined it, or there was no approver.
    Declined,
    /// Policy denies it.
    Denied,
    /// The call is invalid: no such tool, arguments that do not fit, or a limit.
    Rejected,
}

impl Decision {
    /// Its stable name.
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

/// The use of one request.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestUsage<'a> {
    /// Its tokens.
    pub usage: Usage,
    /// The use of plugins, by plugin and stage.
    pub plugins: &'a [PluginUse],
    /// The finish reason's stable name, or the stable code of the error.
    pub outcome: &'a str,
}

/// A gate without limits, for the command line.
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

    fn settle(&mut self, _usage: &RequestUsage<'_>) {}
}
