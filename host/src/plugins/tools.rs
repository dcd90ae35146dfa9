//! The tools of plugins for callers who bring no prompt: MCP clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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

/// What one caller may call.
#[derive(Clone)]
pub struct CallerTools {
    /// The plugins whose tools they are, with the caller's own limits.
    pub chain: PluginChain,
    /// What is not offered, and what needs approval.
    pub policy: ToolPolicy,
}

/// What a caller is offered now; `None` is no tool at all.
pub type CallerToolsOf = Arc<dyn Fn(&Caller) -> Option<CallerTools> + Send + Sync>;

/// Each call whose arguments fit the tool's schema runs in a fresh, metered instance of the one plugin that offers the
/// tool; nothing survives it.
pub struct PluginTools {
    offer_of: CallerToolsOf,
    gate: Arc<dyn Gate>,
    arguments: ArgumentCheck,
    calls: AtomicU64,
    revision: Revision,
    /// What raises the plugins' limits.
    means: Audience,
}

impl PluginTools {
    /// The tools of `chain`, for every caller.
    #[must_use]
    pub fn of(chain: PluginChain) -> Self {
        let offer = CallerTools { chain, policy: ToolPolicy::ALLOW_ALL };
        Self { means: Audience::CommandLine, ..Self::for_each(Arc::new(move |_| Some(offer.clone()))) }
    }

    /// To each caller what `offer_of` says.
    #[must_use]
    pub fn for_each(offer_of: CallerToolsOf) -> Self {
        let arguments = ArgumentCheck::new(Arc::new(MachineClock::default()));
        let (gate, calls) = (Arc::new(OpenGate), AtomicU64::new(0));
        Self { offer_of, gate, arguments, calls, revision: Revision::default(), means: Audience::ServerClient }
    }

    /// Asks `gate` before each call, with no model's name, and settles with it after.
    #[must_use]
    pub fn gated(mut self, gate: Arc<dyn Gate>) -> Self {
        self.gate = gate;
        self
    }

    /// Says that what callers are offered is not what it was.
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
        let offer = (self.offer_of)(caller).ok_or_else(missing)?;
        let permission = offer.policy.permission(&call.name);
        let tool = offer.chain.tools().iter().find(|tool| tool.name == call.name);
        let tool = tool.filter(|_| permission != Permission::Deny).ok_or_else(missing)?;
        // Without a request of somebody's the call is one by itself.
        let own = || format!("mcp-{}", self.calls.fetch_add(1, Ordering::Relaxed));
        let id = request_id.map_or_else(own, str::to_owned);
        let mut account = self.gate.admit(caller, "", &id)?;
        if permission == Permission::Ask {
            return Ok(turn_away(&mut *account, call, Decision::Declined, &needs_approval(call)));
        }
        if let Err(reason) = self.arguments.check(tool, &call.arguments_json).await {
            // Whoever called can mend it, so it is an answer of the tool and no error of the protocol (SEP-1303).
            return Ok(turn_away(&mut *account, call, Decision::Rejected, &Error::Usage(reason)));
        }
        // RequestedLimits again, for checking arguments may take a while.
        let offer = (self.offer_of)(caller).filter(|offer| offer.policy.permission(&call.name) == Permission::Allow);
        let offer = offer.filter(|offer| offer.chain.tools().iter().any(|tool| tool.name == call.name));
        let Some(offer) = offer else {
            return Ok(turn_away(&mut *account, call, Decision::Denied, &missing()));
        };
        if let Err(error) = account.allow_call(call) {
            account.record_call(call, Decision::Rejected, &failed(&error));
            settle(&mut *account, None, error.kind().code());
            return Err(error);
        }
        let run = offer.chain.call_tool(call, progress).await;
        for line in run.iter().flat_map(|run| &run.log) {
            log::write(line, caller.tenant.as_str(), &id);
        }
        Ok(finish(&mut *account, call, run, self.means))
    }
}

impl ToolSource for PluginTools {
    fn tools<'a>(&'a self, caller: &'a Caller) -> BoxFuture<'a, Vec<ToolDefinition>> {
        let offered = (self.offer_of)(caller).map_or_else(Vec::new, |offer| {
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

/// Tells the account what came of it, and the caller too.
fn finish(account: &mut dyn Reservation, call: &ToolCall, run: Result<ToolRun, Error>, means: Audience) -> ToolOutcome {
    let (outcome, uses) = match run {
        Ok(ToolRun { outcome, uses, log: _ }) => (outcome, Some(uses)),
        Err(error) => (Err(error), None),
    };
    let (outcome, code) = match outcome {
        Ok(outcome) => (outcome, "stop"),
        Err(error) => {
            let elapsed = uses.iter().flatten().map(|row| row.elapsed).sum();
            let content = format!("error: {}", limit_remedy::with_remedy(&error, means));
            (ToolOutcome { elapsed, content, ..failed(&error) }, error.kind().code())
        }
    };
    account.record_call(call, Decision::Allowed, &outcome);
    settle(account, uses.as_deref(), code);
    outcome
}

fn settle(account: &mut dyn Reservation, uses: Option<&[firebox_contract::PluginUse]>, outcome: &str) {
    account.settle(&RequestUsage { usage: Usage::default(), plugins: uses.unwrap_or_default(), outcome });
}

/// A fault or a refusal as an answer, so that whoever called can read it.
fn failed(error: &Error) -> ToolOutcome {
    let (provider, fuel, memory_peak_bytes) = match error {
        Error::Fault(fault) => (fault.plugin.clone(), fault.fuel, fault.memory_peak_bytes),
        _ => (String::new(), 0, 0),
    };
    ToolOutcome {
        content: format!("error: {error}"),
        blocks: Vec::new(),
        is_error: true,
        provider,
        fuel,
        memory_peak_bytes,
        elapsed: Duration::ZERO,
    }
}

/// Answers a call that does not run.
fn turn_away(account: &mut dyn Reservation, call: &ToolCall, decision: Decision, error: &Error) -> ToolOutcome {
    let refused = failed(error);
    account.record_call(call, decision, &refused);
    settle(account, None, error.kind().code());
    refused
}

fn needs_approval(call: &ToolCall) -> Error {
    Error::Denied(format!(
        "tool \"{}\" needs approval, and nobody can be asked here; let the operator allow it by policy",
        call.name
    ))
}

#[cfg(test)]
mod tests;
