//! Limits of tools: calls, schemas, progress and approvals.

use std::time::Duration;

use super::{KIB, MIB};

// ---- Tool calls -----------------------------------------------------------------------------------------------

/// Default of `tools.rounds` and of `--tool-rounds`: tool rounds of one request.
pub const TOOL_ROUNDS_DEFAULT: usize = 5;
/// Maximum of `tools.rounds`.
pub const TOOL_ROUNDS_MAX: usize = 32;
/// Default and maximum of `tools.calls_max`: tool calls of one request, all rounds together.
pub const TOOL_CALLS_MAX: usize = 64;
/// Tool calls of one round.
pub const TOOL_CALLS_PER_ROUND_MAX: usize = 16;
/// Tool calls of one round that run at the same time.
pub const TOOL_CALLS_PARALLEL_MAX: usize = 4;
/// Times that a request can make the same call with the same arguments. The last one ends the answer.
pub const TOOL_REPEATS_MAX: usize = 3;
/// Bytes of the arguments of one call.
pub const TOOL_ARGUMENTS_BYTES_MAX: usize = MIB;
/// Levels of nesting in the arguments of one call.
pub const TOOL_ARGUMENTS_DEPTH_MAX: usize = 32;
/// Bytes of one result that the model sees. The rest is cut, and the model gets a note about the cut.
pub const TOOL_RESULT_BYTES_MAX: usize = 64 * KIB;
/// Default of `mcp.server.call_timeout`: time of a tool call outside the sandbox without a message from the tool.
pub const TOOL_CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of the name of a tool.
pub const TOOL_NAME_BYTES_MAX: usize = 128;

// ---- Tools offered to a model ---------------------------------------------------------------------------------

/// Tools offered to a model in one request.
pub const TOOLS_MAX: usize = 256;
/// Bytes of descriptions and schemas that are tokenized to estimate the tokens of the tools of one plugin or MCP server.
pub const TOOL_SIZE_SAMPLE_BYTES: usize = 16 << 10;
/// Time a request waits for the tool lists of MCP servers. After that the request runs without their tools.
pub const TOOL_LIST_WAIT: Duration = Duration::from_secs(10);
/// Progress events buffered for one client. Further progress events are dropped.
pub const TOOL_PROGRESS_BUFFERED_MAX: usize = 64;
/// Bytes of the message of one progress event.
pub const TOOL_PROGRESS_BYTES_MAX: usize = KIB;

// ---- Schemas of tools -----------------------------------------------------------------------------------------

/// Bytes of the input schema of one tool.
pub const SCHEMA_BYTES_MAX: usize = 64 * KIB;
/// Levels of nesting in one schema, with references followed.
pub const SCHEMA_DEPTH_MAX: usize = 64;
/// Parts of one schema, with references followed.
pub const SCHEMA_PARTS_MAX: usize = 50_000;
/// Parts of a schema up to which arguments are checked on the thread of the request. Larger schemas use a background thread.
pub const SCHEMA_INLINE_PARTS: usize = 128;
/// Bytes of arguments up to which they are checked on the thread of the request. Larger arguments use a background thread.
pub const SCHEMA_INLINE_ARGUMENTS_BYTES: usize = 2 * KIB;
/// Compiled schemas cached for one model. The oldest schema is evicted first.
pub const SCHEMAS_CACHED_MAX: usize = 256;
/// Time to compile a schema and check the arguments of one call against it.
pub const SCHEMA_CHECK_TIME: Duration = Duration::from_secs(2);
/// Backtracking steps of one match of a regular expression in a schema.
pub const SCHEMA_PATTERN_STEPS_MAX: usize = 10_000;
/// Bytes of one compiled regular expression of a schema.
pub const SCHEMA_PATTERN_BYTES_MAX: usize = MIB;
/// Bytes of the error message that a model gets for arguments that do not match the schema.
pub const SCHEMA_REASON_BYTES_MAX: usize = KIB;

// ---- Approvals ------------------------------------------------------------------------------------------------

/// Default of `tools.approval_timeout`: time to approve a tool call. After that the call is declined.
pub const APPROVAL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(120);
/// Maximum of `tools.approval_timeout`.
pub const APPROVAL_TIMEOUT_MAX: Duration = Duration::from_secs(3_600);
/// Tool calls of one tenant that wait for approval at the same time.
pub const APPROVALS_PENDING_MAX: usize = 64;
/// Decisions about tool calls that are remembered for sessions. The oldest decision is forgotten first.
pub const APPROVALS_REMEMBERED_MAX: usize = 4_096;
/// Bytes of arguments shown with a tool call that waits for approval. The rest is cut.
pub const APPROVAL_ARGUMENTS_BYTES_MAX: usize = 16 * KIB;
