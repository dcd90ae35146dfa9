//! Checks the arguments of a tool call before it runs, whether a model or an MCP client wrote them.

use std::sync::Arc;

use firebox_contract::limits::{TOOL_ARGUMENTS_BYTES_MAX, TOOL_ARGUMENTS_DEPTH_MAX};
use firebox_contract::{Clock, ToolDefinition};
use serde_json::Value;

use super::Tools;
use super::schema::{self, SchemaCache, SchemaVerdict};

/// Validates arguments against the schemas of their tools. Compiled schemas are cached; clones share the cache.
#[derive(Clone)]
pub struct ArgumentCheck {
    schemas: Arc<SchemaCache>,
    clock: Arc<dyn Clock>,
}

impl ArgumentCheck {
    /// A check whose time limit is measured by `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { schemas: Arc::default(), clock }
    }

    /// A check with the schemas and the clock of `tools`.
    pub(crate) fn sharing(tools: &Tools) -> Self {
        Self { schemas: Arc::clone(&tools.schemas), clock: Arc::clone(&tools.clock) }
    }

    /// Checks that `arguments_json` is a JSON object within the limits and fits the input schema of `tool`.
    ///
    /// # Errors
    /// The reason why it does not, as a sentence for the author of the call.
    pub async fn check(&self, tool: &ToolDefinition, arguments_json: &str) -> Result<(), String> {
        let arguments = read(arguments_json)?;
        let (schemas, clock) = (Arc::clone(&self.schemas), Arc::clone(&self.clock));
        match schemas.check(tool.input_schema_json.clone(), arguments, clock).await {
            SchemaVerdict::Fits => Ok(()),
            SchemaVerdict::Misfit(reason) => Err(reason),
            SchemaVerdict::Unusable(reason) => Err(format!("the tool \"{}\" cannot be called: {reason}", tool.name)),
        }
    }
}

/// Checks that calls of `tool` can be validated against its input schema.
///
/// # Errors
/// The reason why not, as the end of a sentence about the tool.
pub fn check_schema(tool: &ToolDefinition) -> Result<(), String> {
    schema::check(&tool.input_schema_json).map_err(|reason| format!("cannot be called: {reason}"))
}

/// Parses arguments as one JSON object within the limits of bytes and depth.
pub(crate) fn read(written: &str) -> Result<Value, String> {
    if written.len() > TOOL_ARGUMENTS_BYTES_MAX {
        return Err(format!("the arguments are longer than {TOOL_ARGUMENTS_BYTES_MAX} bytes"));
    }
    let object = serde_json::from_str::<serde_json::Map<String, Value>>(written);
    let value = object.map_err(|problem| format!("the arguments are not a JSON object ({problem})"))?.into();
    if schema::depth(&value) > TOOL_ARGUMENTS_DEPTH_MAX {
        return Err(format!("the arguments are nested deeper than {TOOL_ARGUMENTS_DEPTH_MAX}"));
    }
    Ok(value)
}
