//! Tool lists as clients see them, kept ready until they change.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use firebox_contract::{Caller, ToolDefinition, ToolSource, limits};
use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde_json::Value;

/// One caller's tools.
pub(super) type List = Arc<[Tool]>;

/// The lists of the callers seen since the last change.
#[derive(Debug, Default)]
pub(super) struct Lists(Mutex<HashMap<Caller, (u64, List)>>);

impl Lists {
    /// What `caller` may see now.
    pub(super) async fn of(&self, source: &dyn ToolSource, caller: &Caller) -> List {
        // Read before the list, so that a change in between only means asking once more.
        let revision = source.revision();
        if let Some((_, list)) = self.lock().get(caller).filter(|(kept, _)| *kept == revision) {
            return Arc::clone(list);
        }
        let list: List = source.tools(caller).await.iter().map(tool).collect();
        let mut lists = self.lock();
        if lists.len() >= limits::MCP_LISTS_CACHED_MAX {
            lists.clear();
        }
        lists.insert(caller.clone(), (revision, Arc::clone(&list)));
        list
    }

    /// What `caller` saw last and at which revision; what it may see now, if it has not looked yet.
    pub(super) async fn seen(&self, source: &dyn ToolSource, caller: &Caller) -> (u64, List) {
        let kept = self.lock().get(caller).cloned();
        match kept {
            Some(seen) => seen,
            None => (source.revision(), self.of(source, caller).await),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Caller, (u64, List)>> {
        // A panic while the lock was held leaves whole entries.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tool(definition: &ToolDefinition) -> Tool {
    let mut input = object(&definition.input_schema_json).unwrap_or_default();
    // The protocol wants it said, also where a plugin found it obvious.
    input.entry("type").or_insert_with(|| Value::from("object"));
    let effects = definition.effects;
    let mut tool = Tool::new(definition.name.clone(), definition.description.clone(), Arc::new(input));
    tool.title.clone_from(&definition.title);
    tool.output_schema = definition.output_schema_json.as_deref().and_then(object).map(Arc::new);
    tool.annotations = Some(ToolAnnotations::from_raw(
        None,
        Some(effects.read_only),
        Some(effects.destructive),
        Some(effects.idempotent),
        Some(effects.open_world),
    ));
    tool
}

fn object(json: &str) -> Option<JsonObject> {
    serde_json::from_str(json).ok()
}
