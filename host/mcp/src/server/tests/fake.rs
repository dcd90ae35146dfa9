//! A set of tools for tests, which signals when calls start and are dropped.

use std::sync::Mutex;
use std::time::Duration;

use firebox_contract::{
    BoxFuture, Caller, Error, Fault, FaultCause, Progress, Stage, TenantId, ToolCall, ToolDefinition, ToolEffects,
    ToolOutcome, ToolSource,
};
use tokio::sync::Notify;

use crate::Revision;

/// Longer than any step of these tests takes on a busy machine.
pub(super) const SOON: Duration = Duration::from_secs(20);

/// Every tenant has the tools `whoami`, `steps`, `wait`, `busy` and `broken`, and those added by `give`.
#[derive(Default)]
pub(super) struct FakeTools {
    more: Mutex<Vec<(TenantId, String)>>,
    revision: Revision,
    pub(super) started: Notify,
    pub(super) dropped: Notify,
    pub(super) proceed: Notify,
}

impl FakeTools {
    pub(super) fn give(&self, tenant: &str, tool: &str) {
        self.more.lock().expect("no panic").push((TenantId::new(tenant), tool.to_owned()));
        self.revision.advance();
    }

    fn names(&self, caller: &Caller) -> Vec<String> {
        let more = self.more.lock().expect("no panic");
        let own = more.iter().filter(|(tenant, _)| *tenant == caller.tenant).map(|(_, tool)| tool.clone());
        ["whoami", "steps", "wait", "busy", "broken"].map(str::to_owned).into_iter().chain(own).collect()
    }

    async fn run(&self, caller: &Caller, call: &ToolCall, progress: &dyn Progress) -> Result<ToolOutcome, Error> {
        match call.name.as_str() {
            "whoami" => Ok(answer(caller.tenant.as_str())),
            "steps" => {
                for done in [1.0, 2.0, 2.0, 3.0] {
                    progress.report(done, Some(3.0), Some("on it"));
                }
                Ok(answer("stepped"))
            }
            "wait" => {
                let _signal = DropSignal(&self.dropped);
                self.started.notify_one();
                self.proceed.notified().await;
                Ok(answer("waited"))
            }
            "busy" => {
                Err(Error::Limited { message: "3 of 3 are taken".to_owned(), retry_after: Duration::from_secs(1) })
            }
            "broken" => Err(Error::Fault(Fault {
                plugin: "broken".to_owned(),
                stage: Stage::Tool,
                cause: FaultCause::OutOfFuel { limit: 1_234 },
                fuel: 1_234,
                memory_peak_bytes: 65_536,
            })),
            own if self.names(caller).iter().any(|name| name == own) => Ok(answer(own)),
            other => Err(Error::NotFound(format!("there is no tool \"{other}\""))),
        }
    }
}

/// Notifies when it is dropped.
struct DropSignal<'a>(&'a Notify);

impl Drop for DropSignal<'_> {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

fn answer(text: &str) -> ToolOutcome {
    ToolOutcome::ok("fake", text)
}

impl ToolSource for FakeTools {
    fn tools<'a>(&'a self, caller: &'a Caller) -> BoxFuture<'a, Vec<ToolDefinition>> {
        let definition = |name: String| ToolDefinition {
            name,
            description: "does something".to_owned(),
            title: None,
            input_schema_json: "{}".to_owned(),
            output_schema_json: None,
            as_sent_json: None,
            effects: ToolEffects::default(),
        };
        Box::pin(std::future::ready(self.names(caller).into_iter().map(definition).collect()))
    }

    fn call<'a>(
        &'a self,
        caller: &'a Caller,
        call: &'a ToolCall,
        progress: &'a dyn Progress,
    ) -> BoxFuture<'a, Result<ToolOutcome, Error>> {
        Box::pin(self.run(caller, call, progress))
    }

    fn revision(&self) -> u64 {
        self.revision.now()
    }

    fn changed(&self, seen: u64) -> BoxFuture<'_, u64> {
        self.revision.after(seen)
    }
}

/// `_meta` of a request of revision 2026-07-28.
pub(super) fn meta() -> serde_json::Value {
    serde_json::json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "0" },
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

/// An `initialize` request.
pub(super) fn initialize(revision: &str) -> serde_json::Value {
    let info = serde_json::json!({ "name": "test", "version": "0" });
    let params = serde_json::json!({ "protocolVersion": revision, "capabilities": {}, "clientInfo": info });
    serde_json::json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params })
}
