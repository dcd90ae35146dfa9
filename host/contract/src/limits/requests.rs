//! Limits of one request: its text, its body, its sampling parameters and its tokenization.

use std::time::Duration;

use super::{KIB, MIB};

// ---- Content of a request -------------------------------------------------------------------------------------

/// Bytes of one prompt, one system message or piped standard input.
pub const PROMPT_BYTES_MAX: usize = 8 * MIB;
/// Default and maximum of `sessions.messages_max`. Also the messages of one conversation in a request.
pub const MESSAGES_MAX: usize = 1_024;
/// Tokens reserved for an answer whose request sets no maximum. Each time the answer fills them, as many are reserved again.
pub const ANSWER_TOKENS_EXPECTED: usize = 512;
/// Token ids that end an answer, in one request.
pub const STOP_TOKENS_MAX: usize = 256;
/// Stop strings of one request.
pub const STOP_STRINGS_MAX: usize = 20;
/// Bytes of one stop string.
pub const STOP_STRING_BYTES_MAX: usize = 400;
/// Tokens whose logits one request can bias.
pub const LOGIT_BIAS_TOKENS_MAX: usize = 1_024;
/// Most likely tokens that an answer can have for each of its tokens (`top_logprobs`).
pub const LOGPROB_TOKENS_MAX: usize = 20;
/// Answers of one request (`n`). Each of them counts as a request of its tenant.
pub const ANSWERS_PER_REQUEST_MAX: usize = 16;
/// Highest sampling temperature.
pub const TEMPERATURE_MAX: f32 = 5.0;
/// Default of `server.request_timeout`: time from the arrival of a request to the end of its answer.
pub const REQUEST_TIMEOUT_DEFAULT: Duration = Duration::from_secs(600);
/// Maximum of `server.request_timeout` and of every timeout of `[[mcp.server]]`.
pub const REQUEST_TIMEOUT_MAX: Duration = Duration::from_secs(3_600);

// ---- Request bodies -------------------------------------------------------------------------------------------

/// Default of `server.body_bytes_max`: bytes of one request body.
pub const BODY_BYTES_DEFAULT: usize = 16 * MIB;
/// Maximum of `server.body_bytes_max`.
pub const BODY_BYTES_MAX: usize = 256 * MIB;
/// Request bodies of the largest size that fit into memory at the same time by default.
pub const FULL_BODIES_DEFAULT: usize = 3;
/// Default of `server.request_bytes_max`: bytes of all request bodies in memory. Each body counts twice: received and parsed.
pub const REQUEST_BYTES_DEFAULT: usize = FULL_BODIES_DEFAULT * 2 * BODY_BYTES_DEFAULT;
/// Maximum of `server.request_bytes_max` and of `server.tenant_request_bytes_max`.
pub const REQUEST_BYTES_MAX: usize = 64 * 1024 * MIB;
/// The default of `server.request_bytes_max` is at most this fraction of the memory that the process can use.
pub const REQUEST_BYTES_MEMORY_DIVISOR: u64 = 8;
/// Lower bound of the default of `server.request_bytes_max` on a machine with little memory, in bytes.
pub const REQUEST_BYTES_MIN: usize = MIB;
/// Default of `server.tenant_request_bytes_max`: this fraction of `server.request_bytes_max`.
pub const TENANT_REQUEST_BYTES_DIVISOR: usize = FULL_BODIES_DEFAULT;
/// JSON values of one request, and of the arguments of all tool calls of one conversation.
pub const JSON_VALUES_MAX: usize = 65_536;
/// Bytes up to which a request body is parsed on the thread that received it. Larger bodies are parsed on a background thread.
pub const BODY_INLINE_BYTES: usize = 64 * KIB;
/// Bytes of a compressed body that are decompressed before other tasks can run. They can become a thousand times as many.
pub const COMPRESSED_CHUNK_BYTES: usize = 256;
/// Bytes of decompressed output that are produced before the size limit of the body is checked again.
pub const DECOMPRESSED_CHUNK_BYTES: usize = 16 * KIB;
/// Request bodies of one server that background threads parse at the same time.
pub const BODIES_PARSED_PARALLEL: usize = 2;
/// Bytes of the body of `POST /v1/approvals/{id}`.
pub const APPROVAL_BODY_BYTES_MAX: usize = 64 * KIB;

// ---- Requests in progress -------------------------------------------------------------------------------------

/// Requests of one tenant to the session endpoints that are in progress at the same time.
pub const SESSION_REQUESTS_IN_FLIGHT_MAX: usize = 16;
/// Requests of one tenant to `/mcp` that are in progress at the same time.
pub const MCP_REQUESTS_IN_FLIGHT_MAX: usize = 64;
/// Requests of one tenant to `POST /v1/approvals/{id}` that are in progress at the same time.
pub const APPROVAL_REQUESTS_IN_FLIGHT_MAX: usize = 8;

// ---- Tokenization ---------------------------------------------------------------------------------------------

/// Bytes up to which a prompt is tokenized on the thread that serves its request. Longer prompts use a background thread.
pub const TOKENIZE_INLINE_BYTES: usize = 4 * KIB;
/// Prompts of one model that background threads tokenize at the same time, one for each tenant.
pub const TOKENIZE_PARALLEL: usize = 2;
/// Bytes of one chunk of a long text that is tokenized in chunks until it is known whether the text fits the context.
pub const TOKENIZE_CHUNK_BYTES: usize = 16 * KIB;
/// Bytes of the smallest chunk of a long text that is tokenized in chunks, for a model with a short context.
pub const TOKENIZE_CHUNK_BYTES_MIN: usize = KIB;
/// Bytes for each token of the context up to which a text is tokenized in one piece.
pub const TOKENIZE_WHOLE_BYTES_PER_TOKEN: usize = 8;
/// Bytes of the longest text that is tokenized in one piece. A longer text that fits the context is tokenized in chunks.
pub const TOKENIZE_WHOLE_BYTES_MAX: usize = MIB;
/// Tokens beyond twice the context at which a text is refused from the tokens of its chunks alone. The limit is lower for a
/// context with fewer tokens. A cut can add a few tokens, so the count of the chunks is not exact.
pub const TOKENIZE_SLACK_TOKENS: usize = 1_024;
