//! Components of other hosts: each function that one exports is a tool, without a word of Firebox in it. The schema of its
//! arguments comes from its WIT types, and its result is JSON.

mod schema;
mod value;

use std::collections::BTreeMap;
use std::sync::Arc;

use firebox_contract::{ToolCall, ToolContent, ToolDefinition, ToolEffects, limits};
use serde_json::{Map, Value, json};
use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{ComponentExportIndex, Instance, InstancePre, Type, Val};
use wasmtime::{Engine, Store};

use self::schema::SchemaBudget;
use super::{GuestToolOutcome, ToolCalls};
use crate::instance::guest::GuestData;
use crate::stages::{Binder, GuestFuture};

/// A function that is a tool.
struct FunctionTool {
    definition: ToolDefinition,
    at: ComponentExportIndex,
    params: Vec<(String, Type)>,
    results: usize,
}

/// The functions of a component as tools.
pub(crate) struct FoundFunctions {
    /// Binds the tools to an instance. `None` if no function can be a tool.
    pub(crate) binder: Option<Binder<dyn ToolCalls>>,
    /// The name of each function that cannot be a tool, and the reason.
    pub(crate) refused: Vec<(String, String)>,
}

/// Whether a component with these exports may have functions of its own. The interfaces of WASI and of this host are not tools.
pub(crate) fn possible(exports: &[String]) -> bool {
    exports.iter().any(|name| is_own(name))
}

fn is_own(export: &str) -> bool {
    !export.starts_with("wasi:") && !export.starts_with("firebox:")
}

/// The functions that the component behind `pre` exports, by itself or in an interface.
pub(crate) fn find(pre: &InstancePre<GuestData>, engine: &Engine) -> FoundFunctions {
    let (mut found, mut refused) = (Vec::new(), Vec::new());
    let component = pre.component();
    for (export, item) in component.component_type().exports(engine).filter(|(name, _)| is_own(name)) {
        let Some(at) = component.get_export_index(None, export) else { continue };
        match item.ty {
            ComponentItem::ComponentFunc(function) => found.push((None, export.to_owned(), at, function)),
            ComponentItem::ComponentInstance(interface) => {
                for (name, item) in interface.exports(engine) {
                    let at = component.get_export_index(Some(&at), name);
                    if let (ComponentItem::ComponentFunc(function), Some(at)) = (item.ty, at) {
                        found.push((Some(export.to_owned()), name.to_owned(), at, function));
                    }
                }
            }
            _ => {}
        }
    }
    let names = tool_names(found.iter().map(|(interface, name, ..)| (interface.as_deref(), name.as_str())));
    let mut tools = BTreeMap::new();
    for ((interface, name, at, function), tool) in found.into_iter().zip(names) {
        match function_tool(&tool, interface.as_deref(), &name, at, &function) {
            Ok(made) => drop(tools.insert(tool, made)),
            Err(reason) => refused.push((name, reason)),
        }
    }
    let tools = Arc::new(tools);
    let binder = (!tools.is_empty()).then(|| {
        let bind: Binder<dyn ToolCalls> = Box::new(move |_store, instance| {
            Ok(Box::new(FunctionTools { tools: Arc::clone(&tools), instance: *instance }))
        });
        bind
    });
    FoundFunctions { binder, refused }
}

/// The tools' names: the functions' names with `_` for `-`. A name that two interfaces have gets the interface's name before it.
fn tool_names<'a>(functions: impl Iterator<Item = (Option<&'a str>, &'a str)> + Clone) -> Vec<String> {
    let plain = |name: &str| name.replace('-', "_");
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    functions.clone().for_each(|(_, name)| *counts.entry(plain(name)).or_default() += 1);
    let full = |(interface, name): (Option<&str>, &str)| {
        let name = plain(name);
        let short = interface.and_then(|interface| interface.split('@').next()?.split('/').next_back());
        match short {
            Some(short) if counts.get(&name).is_some_and(|count| *count > 1) => format!("{}_{name}", plain(short)),
            _ => name,
        }
    };
    functions.map(full).collect()
}

/// # Errors
/// Why the function cannot be a tool, as the end of a sentence about it.
fn function_tool(
    tool: &str,
    interface: Option<&str>,
    name: &str,
    at: ComponentExportIndex,
    function: &ComponentFunc,
) -> Result<FunctionTool, String> {
    if function.async_() {
        return Err("is asynchronous".to_owned());
    }
    let params: Vec<(String, Type)> = function.params().map(|(name, ty)| (name.to_owned(), ty)).collect();
    let results: Vec<Type> = function.results().collect();
    let mut budget = SchemaBudget::default();
    let (mut properties, mut required, mut shown) = (Map::new(), Vec::new(), Vec::new());
    for (name, ty) in &params {
        properties.insert(name.clone(), budget.schema(ty, 0)?);
        shown.push(format!("{name}: {}", schema::text(ty)));
        if !matches!(ty, Type::Option(_)) {
            required.push(name.clone());
        }
    }
    // The schema of the result is not shown, but a result that JSON cannot hold is found here.
    results.iter().try_for_each(|ty| budget.schema(ty, 0).map(drop))?;
    let input =
        json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false });
    let answers: Vec<String> = results.iter().map(schema::text).collect();
    let arrow = if answers.is_empty() { String::new() } else { format!(" -> {}", answers.join(", ")) };
    let of = interface.map(|interface| format!(" of {interface}")).unwrap_or_default();
    let description = format!("{name}: func({}){arrow}{of}", shown.join(", "));
    let definition = ToolDefinition {
        name: tool.to_owned(),
        title: None,
        description: crate::instance::log::cut(&description, limits::PLUGIN_TOOL_TEXT_BYTES_MAX).to_owned(),
        input_schema_json: input.to_string(),
        output_schema_json: None,
        as_sent_json: None,
        effects: ToolEffects::default(),
    };
    Ok(FunctionTool { definition, at, params, results: results.len() })
}

/// The tools in one instance.
struct FunctionTools {
    tools: Arc<BTreeMap<String, FunctionTool>>,
    instance: Instance,
}

impl ToolCalls for FunctionTools {
    fn definitions<'a>(&'a self, _store: &'a mut Store<GuestData>) -> GuestFuture<'a, Vec<ToolDefinition>> {
        let definitions = self.tools.values().map(|tool| tool.definition.clone()).collect();
        Box::pin(std::future::ready(Ok(Ok(definitions))))
    }

    fn call<'a>(&'a self, store: &'a mut Store<GuestData>, call: ToolCall) -> GuestFuture<'a, GuestToolOutcome> {
        Box::pin(async move {
            let Some(tool) = self.tools.get(&call.name) else {
                return Ok(Ok(error(format!("error: there is no tool \"{}\"", call.name))));
            };
            let arguments = match arguments(tool, &call.arguments_json) {
                Ok(arguments) => arguments,
                Err(reason) => return Ok(Ok(error(format!("error: {reason}")))),
            };
            let Some(function) = self.instance.get_func(&mut *store, tool.at) else {
                return Ok(Err(format!("its function for \"{}\" is gone", call.name)));
            };
            let mut results = vec![Val::Bool(false); tool.results];
            function.call_async(store, &arguments, &mut results).await?;
            Ok(Ok(outcome(results)))
        })
    }
}

/// # Errors
/// The first argument that does not fit its type.
fn arguments(tool: &FunctionTool, json: &str) -> Result<Vec<Val>, String> {
    let mut given: Map<String, Value> =
        serde_json::from_str(json).map_err(|error| format!("the arguments are not one JSON object: {error}"))?;
    let value = |(name, ty): &(String, Type)| {
        let given = given.remove(name).unwrap_or_default();
        value::to_val(given, ty).map_err(|reason| format!("the argument \"{name}\" {reason}"))
    };
    tool.params.iter().map(value).collect()
}

fn error(text: String) -> GuestToolOutcome {
    GuestToolOutcome { content: vec![ToolContent::Text(text)], is_error: true }
}

/// The result of a function as the result of a tool. The error of a `result` is an error of the tool.
fn outcome(results: Vec<Val>) -> GuestToolOutcome {
    let (value, is_error) = match results.into_iter().next() {
        Some(Val::Result(Ok(value))) => (value.map(|value| *value), false),
        Some(Val::Result(Err(value))) => (value.map(|value| *value), true),
        other => (other, false),
    };
    let content = match value {
        None => ToolContent::Text(if is_error { "error" } else { "done" }.to_owned()),
        Some(Val::String(text)) => ToolContent::Text(text),
        Some(value) => ToolContent::Json(value::to_json(value).to_string()),
    };
    GuestToolOutcome { content: vec![content], is_error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tool_names_are_plain_and_unique_across_interfaces() {
        let functions = [(None, "get-time"), (Some("a:b/one@1.0.0"), "run"), (Some("a:b/two-x"), "run")];
        assert_eq!(tool_names(functions.into_iter()), ["get_time", "one_run", "two_x_run"]);
    }

    #[test]
    fn interfaces_of_wasi_and_of_this_host_are_no_tools() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert!(!possible(&names(&["wasi:cli/run@0.2.0", "firebox:plugin/lifecycle@0.1.0"])));
        assert!(possible(&names(&["wasi:cli/run@0.2.0", "fetch"])));
    }
}
