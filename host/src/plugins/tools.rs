//! The tools of plugins for MCP clients, which call tools without a model.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use firebox_contract::{
    BoxFuture, Caller, Decision, Error, Gate, OpenGate, Permission, Progress, RequestUsage, Reservation, ToolCall,
    ToolDefinition, ToolOutcome, ToolPolicy, ToolSource, Usage,
};
use firebox_engine::ArgumentCheck;
use firebox_mcp::Revision;
use firebox_sandbox::{PluginChain, ToolRun};

use super::limit_remedy::{self, Audience};
use super::log;
use crate::system::clock::MachineClock;

/// The tools that one caller may call.
#[derive(Clone)]
pub struct CallerTools {
    /// The plugins of the tools, with the caller's limits.
    pub chain: PluginChain,
    /// Which tools are denied and which need approval.
    pub policy: ToolPolicy,
}

/// Returns the current tools of a caller; `None` for no tools.
pub type CallerToolsOf = Arc<dyn Fn(&Caller) -> Option<CallerTools> + Send + Sync>;

/// Runs each call in a new, metered instance of the plugin that has the tool, if the arguments match the schema of the tool.
pub struct PluginTools {
    tools_of: CallerToolsOf,
    gate: Arc<dyn Gate>,
    arguments: ArgumentCheck,
    calls: AtomicU64,
    revision: Revision,
    /// Who reads the error messages.
    audience: Audience,
}

impl PluginTools {
    /// The tools of `chain`, for every caller.
    #[must_use]
    pub fn of(chain: PluginChain) -> Self {
        let offer = CallerTools { chain, policy: ToolPolicy::ALLOW_ALL };
        Self { audience: Audience::CommandLine, ..Self::for_each(Arc::new(move |_| Some(offer.clone()))) }
    }

    /// The tools that `tools_of` returns for each caller.
    #[must_use]
    pub fn for_each(tools_of: CallerToolsOf) -> Self {
        let arguments = ArgumentCheck::new(Arc::new(MachineClock::default()));
        let (gate, calls) = (Arc::new(OpenGate), AtomicU64::new(0));
        Self { tools_of, gate, arguments, calls, revision: Revision::default(), audience: Audience::ServerClient }
    }

    /// Admits each call at `gate`, without a model, and settles its usage there.
    #[must_use]
    pub fn gated(mut self, gate: Arc<dyn Gate>) -> Self {
        self.gate = gate;
        self
    }

    /// Announces that the tools of callers have changed.
    pub fn announce(&self) {
        self.revision.advance();
    }

    async fn run(
        &self,
        caller: &Caller,
        request_id: Option<&str>,
        call: &ToolCall,
        progress: &dyn Progress,
    ) -> Result<ToolOutcome, Error> {
        let missing = || Error::NotFound(format!("there is no tool \"{}\"", call.name));
        let offer = (self.tools_of)(caller).ok_or_else(missing)?;
        let permission = offer.policy.permission(&call.name);
        let tool = offer.chain.tools().iter().find(|tool| tool.name == call.name);
        let tool = tool.filter(|_| permission != Permission::Deny).ok_or_else(missing)?;
        // A call without a request of a client gets an id of its own.
        let own = || format!("mcp-{}", self.calls.fetch_add(1, Ordering::Relaxed));
        let id = request_id.map_or_else(own, str::to_owned);
        let mut reservation = self.gate.admit(caller, "", &id)?;
        if permission == Permission::Ask {
            return Ok(refuse(&mut *reservation, call, Decision::Declined, &needs_approval(call)));
        }
        if let Err(reason) = self.arguments.check(tool, &call.arguments_json).await {
            // The caller can correct the arguments, so this is a tool result and not a protocol error (SEP-1303).
            return Ok(refuse(&mut *reservation, call, Decision::Rejected, &Error::Usage(reason)));
        }
        // Looked up again, because checking the arguments may have taken a while.
        let offer = (self.tools_of)(caller).filter(|offer| offer.policy.permission(&call.name) == Permission::Allow);
        let offer = offer.filter(|offer| offer.chain.tools().iter().any(|tool| tool.name == call.name));
        let Some(offer) = offer else {
            return Ok(refuse(&mut *reservation, call, Decision::Denied, &missing()));
        };
        if let Err(error) = reservation.allow_call(call) {
            reservation.record_call(call, Decision::Rejected, &failed(&error));
            settle(&mut *reservation, None, error.kind().code());
            return Err(error);
        }
        let run = offer.chain.call_tool(call, progress).await;
        for line in run.iter().flat_map(|run| &run.log) {
            log::write(line, caller.tenant.as_str(), &id);
        }
        Ok(finish(&mut *reservation, call, run, self.audience))
    }
}

impl ToolSource for PluginTools {
    fn tools<'a>(&'a self, caller: &'a Caller) -> BoxFuture<'a, Vec<ToolDefinition>> {
        let offered = (self.tools_of)(caller).map_or_else(Vec::new, |offer| {
            let allowed = |tool: &&ToolDefinition| offer.policy.permission(&tool.name) != Permission::Deny;
            offer.chain.tools().iter().filter(allowed).cloned().collect()
        });
        Box::pin(std::future::ready(offered))
    }

    fn call<'a>(
        &'a self,
        caller: &'a Caller,
        call: &'a ToolCall,
        progress: &'a dyn Progress,
    ) -> BoxFuture<'a, Result<ToolOutcome, Error>> {
        Box::pin(self.run(caller, None, call, progress))
    }

    fn call_within<'a>(
        &'a self,
        caller: &'a Caller,
        request_id: Option<&'a str>,
        call: &'a ToolCall,
        progress: &'a dyn Progress,
    ) -> BoxFuture<'a, Result<ToolOutcome, Error>> {
        Box::pin(self.run(caller, request_id, call, progress))
    }

    fn revision(&self) -> u64 {
        self.revision.now()
    }

    fn changed(&self, seen: u64) -> BoxFuture<'_, u64> {
        self.revision.after(seen)
    }
}

/// Records and settles a call that ran, and returns its result for the caller.
fn finish(
    reservation: &mut dyn Reservation,
    call: &ToolCall,
    run: Result<ToolRun, Error>,
    audience: Audience,
) -> ToolOutcome {
    let (outcome, uses) = match run {
        Ok(ToolRun { outcome, uses, log: _ }) => (outcome, Some(uses)),
        Err(error) => (Err(error), None),
    };
    let (outcome, code) = match outcome {
        Ok(outcome) => (outcome, "stop"),
        Err(error) => {
            let elapsed = uses.iter().flatten().map(|row| row.elapsed).sum();
            let content = format!("error: {}", limit_remedy::with_remedy(&error, audience));
            (ToolOutcome { elapsed, content, ..failed(&error) }, error.kind().code())
        }
    };
    reservation.record_call(call, Decision::Allowed, &outcome);
    settle(reservation, uses.as_deref(), code);
    outcome
}

fn settle(reservation: &mut dyn Reservation, uses: Option<&[firebox_contract::PluginUse]>, outcome: &str) {
    reservation.settle(&RequestUsage { usage: Usage::default(), plugins: uses.unwrap_or_default(), outcome });
}

/// An error as a tool result.
fn failed(error: &Error) -> ToolOutcome {
    let (provider, fuel, memory_peak_bytes) = match error {
        Error::Fault(fault) => (fault.plugin.clone(), fault.fuel, fault.memory_peak_bytes),
        _ => (String::new(), 0, 0),
    };
    ToolOutcome { fuel, memory_peak_bytes, ..ToolOutcome::refused(provider, &error.to_string()) }
}

/// Records, settles and answers a call that does not run.
fn refuse(reservation: &mut dyn Reservation, call: &ToolCall, decision: Decision, error: &Error) -> ToolOutcome {
    let refused = failed(error);
    reservation.record_call(call, decision, &refused);
    settle(reservation, None, error.kind().code());
    refused
}

fn needs_approval(call: &ToolCall) -> Error {
    Error::Denied(format!(
        "tool \"{}\" needs approval, which is not possible over MCP; ask the operator to allow the tool",
        call.name
    ))
}

#[cfg(test)]
mod tests;
