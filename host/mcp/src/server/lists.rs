//! The cache of tool lists in the form that clients read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use firebox_contract::{Caller, ToolDefinition, ToolSource, limits};
use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde_json::Value;

/// The tools of one caller.
pub(super) type ToolList = Arc<[Tool]>;

/// The lists of recent callers, with the revision of each.
#[derive(Debug, Default)]
pub(super) struct ToolListCache(Mutex<HashMap<Caller, (u64, ToolList)>>);

impl ToolListCache {
    /// The current list of `caller`.
    pub(super) async fn of(&self, source: &dyn ToolSource, caller: &Caller) -> ToolList {
        // Read before the list: a change in between then only causes one more read.
        let revision = source.revision();
        if let Some((_, list)) = self.lock().get(caller).filter(|(cached, _)| *cached == revision) {
            return Arc::clone(list);
        }
        let list: ToolList = source.tools(caller).await.iter().map(tool).collect();
        let mut lists = self.lock();
        if lists.len() >= limits::MCP_LISTS_CACHED_MAX {
            lists.clear();
        }
        lists.insert(caller.clone(), (revision, Arc::clone(&list)));
        list
    }

    /// The list that `caller` saw last with its revision, or the current list if it has seen none.
    pub(super) async fn seen(&self, source: &dyn ToolSource, caller: &Caller) -> (u64, ToolList) {
        let cached = self.lock().get(caller).cloned();
        match cached {
            Some(seen) => seen,
            None => (source.revision(), self.of(source, caller).await),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Caller, (u64, ToolList)>> {
        // A panic under the lock leaves complete entries.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tool(definition: &ToolDefinition) -> Tool {
    let mut input = object(&definition.input_schema_json).unwrap_or_default();
    // The protocol requires the type, but plugins may leave it out.
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
