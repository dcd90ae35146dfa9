//! The arguments of a call, checked before anything runs: in the same way whether a model or an MCP client wrote them.

use std::sync::Arc;

use firebox_contract::limits::{TOOL_ARGUMENTS_BYTES_MAX, TOOL_ARGUMENTS_DEPTH_MAX};
use firebox_contract::{Clock, ToolDefinition};
use serde_json::Value;

use crate::schema::{self, Schemas, Verdict};

/// Holds arguments to the schemas of their tools, which are compiled once. Cheap to clone: clones share them.
#[derive(Clone)]
pub struct ArgumentCheck {
    schemas: Arc<Schemas>,
    clock: Arc<dyn Clock>,
}

impl ArgumentCheck {
    /// One whose waits are bounded by `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { schemas: Arc::default(), clock }
    }

    /// Whether `arguments_json` is one JSON object within bounds that fits the input schema of `tool`.
    ///
    /// # Errors
    /// What is wrong, in words for whoever made the call.
    pub async fn check(&self, tool: &ToolDefinition, arguments_json: &str) -> Result<(), String> {
        let arguments = read(arguments_json)?;
        let (schemas, clock) = (Arc::clone(&self.schemas), Arc::clone(&self.clock));
        match schemas.check(tool.input_schema_json.clone(), arguments, clock).await {
            Verdict::Fits => Ok(()),
            Verdict::Misfit(reason) => Err(reason),
            Verdict::Unusable(reason) => Err(format!("the tool \"{}\" cannot be called: {reason}", tool.name)),
        }
    }
}

/// Whether `tool` has an input schema that calls can be held to.
///
/// # Errors
/// What is wrong with it, as the end of a sentence about the tool.
pub fn check_schema(tool: &ToolDefinition) -> Result<(), String> {
    schema::check(&tool.input_schema_json).map_err(|reason| format!("cannot be called: {reason}"))
}

/// The arguments as one JSON object within bounds.
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
