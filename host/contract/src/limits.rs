//! Every number that bounds something, with its unit (invariant I6). Relations between them are proved below.

mod admission;
mod components;
mod instances;
mod mcp;
mod models;
mod sharing;
mod tenants;

use std::time::Duration;

pub use self::admission::*;
pub use self::components::*;
pub use self::instances::*;
pub use self::mcp::*;
pub use self::models::*;
pub use self::sharing::*;
pub use self::tenants::*;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const GIB: u64 = 1024 * MIB as u64;

// ---- Requests -------------------------------------------------------------------------------------------------

/// Bytes of a prompt, system text or piped standard input.
pub const PROMPT_BYTES_MAX: usize = 8 * MIB;
/// Messages of one conversation.
pub const MESSAGES_MAX: usize = 1_024;
/// Tokens of an answer for which memory and a tenant's rates are reserved ahead where its request says no number; the same
/// again each time the answer has grown so far.
pub const ANSWER_TOKENS_EXPECTED: usize = 512;
/// Token ids that end an answer, of one request (a number).
pub const STOP_TOKENS_MAX: usize = 256;
/// Stop strings of one request.
pub const STOP_STRINGS_MAX: usize = 20;
/// Bytes of one stop string.
pub const STOP_STRING_BYTES_MAX: usize = 400;
/// Tokens whose logits a request may bias.
pub const LOGIT_BIAS_MAX: usize = 1_024;
/// Highest temperature.
pub const TEMPERATURE_MAX: f32 = 5.0;

// ---- Engine ---------------------------------------------------------------------------------------------------

/// Requests admitted to one model at a time; those beyond wait.
pub const IN_FLIGHT_MAX: usize = 64;
/// Events that wait for one reader before its own sequence rests.
pub const EVENTS_BUFFERED_MAX: usize = 64;
/// Tokens of one prefill chunk.
pub const PREFILL_CHUNK_TOKENS: usize = 512;
/// Tokens of a sequence's cache when the checkpoint allows more and nobody asks for it.
pub const CONTEXT_TOKENS_DEFAULT: usize = 8_192;
/// Bytes at the end of a forced opening that the model may make again as tokens of its own choice.
pub const TOKEN_HEALING_BYTES_MAX: usize = 256;
/// Bytes of the texts of a vocabulary's tokens, all together; the forced openings of one with more stay as they are.
pub const TOKEN_TEXTS_BYTES_MAX: usize = 64 * MIB;

// ---- Tool calls -----------------------------------------------------------------------------------------------

/// Rounds of tool calls in one request.
pub const TOOL_ROUNDS_DEFAULT: usize = 5;
/// Calls in one round.
pub const TOOL_CALLS_PER_ROUND_MAX: usize = 16;
/// Bytes of one call's arguments.
pub const TOOL_ARGUMENTS_BYTES_MAX: usize = MIB;
/// Bytes of one result as the model sees it; the rest is cut, and the model is told.
pub const TOOL_RESULT_BYTES_MAX: usize = 64 * KIB;
/// Calls in all rounds of one request.
pub const TOOL_CALLS_MAX: usize = 64;
/// Calls of one round that run at a time.
pub const TOOL_CALLS_PARALLEL_MAX: usize = 4;
/// The same call with the same arguments this many times ends the answer.
pub const TOOL_REPEATS_MAX: usize = 3;
/// Time of one tool call outside the sandbox when nobody says otherwise.
pub const TOOL_CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Time of one request in all when nobody says otherwise.
pub const REQUEST_TIMEOUT_DEFAULT: Duration = Duration::from_secs(600);
/// Time of one request in all at most.
pub const REQUEST_TIMEOUT_MAX: Duration = Duration::from_secs(3_600);
/// Tools offered to a model at once.
pub const TOOLS_MAX: usize = 256;
/// Bytes of descriptions and schemas that are tokenized to say how many tokens the tools of one giver take.
pub const TOOL_SIZE_SAMPLE_BYTES: usize = 16 << 10;

// ---- Plugins --------------------------------------------------------------------------------------------------

/// Fuel of one guest call (about 10 million per millisecond of straight code).
pub const PLUGIN_FUEL_DEFAULT: u64 = 200_000_000;
/// Fuel of one guest call at most.
pub const PLUGIN_FUEL_MAX: u64 = 1_000_000_000_000;
/// Bytes of linear memory of one instance, all its memories together.
pub const PLUGIN_MEMORY_BYTES_DEFAULT: usize = 32 * MIB;
/// Bytes of linear memory of one instance at most; also the size of a slot in the pool.
pub const PLUGIN_MEMORY_BYTES_MAX: usize = 512 * MIB;
/// Wall-clock time of one guest call, host calls included.
pub const PLUGIN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(1);
/// Wall-clock time of one guest call at most.
pub const PLUGIN_TIMEOUT_MAX: Duration = Duration::from_secs(600);
/// A guest is stopped at most this long after its deadline.
pub const PLUGIN_TIMEOUT_SLACK: Duration = Duration::from_millis(100);
/// Wasm stack of a guest, in bytes.
pub const PLUGIN_STACK_BYTES: usize = 512 * KIB;
/// Native stack of a guest call, in bytes; what exceeds the wasm stack is for host functions.
pub const PLUGIN_ASYNC_STACK_BYTES: usize = MIB;
/// Linear memories in one component.
pub const PLUGIN_MEMORIES_MAX: usize = 8;
/// Tables in one component.
pub const PLUGIN_TABLES_MAX: usize = 32;
/// Elements of one table.
pub const PLUGIN_TABLE_ELEMENTS_MAX: usize = 20_000;
/// Bytes of a component file.
pub const PLUGIN_COMPONENT_BYTES_MAX: u64 = 64 * MIB as u64;
/// Bytes of one logged line.
pub const PLUGIN_LOG_LINE_BYTES_MAX: usize = 4 * KIB;
/// Logged lines of one plugin kept between two readings; later ones are counted, not kept.
pub const PLUGIN_LOG_LINES_MAX: usize = 256;
/// Plugins in one chain.
pub const PLUGINS_PER_REQUEST_MAX: usize = 32;
/// Fuel, in wasm instructions, after which a guest yields: less than it computes in an `EPOCH_TICK`. The clock is a thread, and may
/// wait for its core behind the guest that it is to interrupt.
pub const PLUGIN_TURN_FUEL: u64 = 250_000;
/// Period of the clock that interrupts guests.
pub const EPOCH_TICK: Duration = Duration::from_millis(1);
/// Bytes of a plugin's configuration.
pub const PLUGIN_CONFIG_BYTES_MAX: usize = 64 * KIB;
/// Bytes of a plugin's name.
pub const PLUGIN_NAME_BYTES_MAX: usize = 64;
/// Bytes of a tool's name.
pub const TOOL_NAME_BYTES_MAX: usize = 128;
/// Resource handles of one instance.
pub const PLUGIN_HANDLES_MAX: usize = 1_000;
/// Random bytes a guest gets from one call.
pub const PLUGIN_RANDOM_BYTES_MAX: u64 = 64 * KIB as u64;
/// Bytes of a compiled component in the cache.
pub const PLUGIN_ARTIFACT_BYTES_MAX: u64 = 8 * PLUGIN_COMPONENT_BYTES_MAX;
/// Time a guest computes in one call before it goes on at low priority; where its owner's calls come in quick succession, or
/// together, that is for all of them, but for one `EPOCH_TICK` each.
pub const PLUGIN_QUICK_TIME: Duration = Duration::from_millis(10);
/// Time in which what these had is forgotten to 1/e.
pub const PLUGIN_QUICK_MEMORY: Duration = Duration::from_millis(100);
/// Guests that go on at low priority have the threads for one core of so many.
pub const PLUGIN_SLOW_CORES_DIVISOR: usize = 2;
/// How nice (a number as `nice` takes it) they are: less than a tenth of a core where others want all of it.
pub const PLUGIN_SLOW_NICENESS: i32 = 10;
/// Time for each second and core that the guests of a tenant have of the processor whatever others want.
pub const PLUGIN_SHARE_RATE: Duration = Duration::from_millis(10);
/// Time in which what they had is forgotten to 1/e.
pub const PLUGIN_SHARE_MEMORY: Duration = Duration::from_secs(10);
/// Time that a guest at low priority holds back at most while models want every core: once when it comes there, or before each
/// of its turns where its owner's share is low or its owner's calls are long. Where they are, those of one owner do so one
/// after the other. One that waits for an idle processor does so until it may go on above. A turn of one `EPOCH_TICK` in
/// that time is the `PLUGIN_SHARE_RATE` of two cores, which have one such thread.
pub const PLUGIN_HELD_BACK_MAX: Duration = Duration::from_millis(50);
/// Part of a share of processor time, in percent, below which it is low.
pub const PLUGIN_HELD_BACK_PERCENT: u32 = 50;
/// How often one that holds back looks whether they still do.
pub const PLUGIN_HELD_BACK_PERIOD: Duration = Duration::from_millis(10);
/// How often a guest that waits for an idle processor is looked after: once its owner has a share again it goes on above.
pub const PLUGIN_RECALL_PERIOD: Duration = Duration::from_millis(100);
/// Time after its deadline at which a guest at low priority is cut off from outside, should it not have had a turn.
pub const PLUGIN_SLOW_GRACE: Duration = Duration::from_millis(20);
/// Compiled components kept in the cache; the oldest go first.
pub const PLUGIN_ARTIFACTS_MAX: usize = 256;
/// Ticks without a running guest after which the clock that interrupts guests sleeps.
pub const EPOCH_IDLE_TICKS: u32 = 10;

// ---- Serving --------------------------------------------------------------------------------------------------

/// Bytes of one request's line and headers together.
pub const HTTP_HEADER_BYTES_MAX: usize = 32 * KIB;
/// Header lines of one request.
pub const HTTP_HEADER_LINES_MAX: usize = 100;
/// Time a client has to send a request's body.
pub const HTTP_BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a body beyond its limit, or of a refused request, that are read and thrown away, so that the client hears why.
pub const HTTP_DISCARD_BYTES_MAX: usize = 64 * MIB;
/// Time for which the body of a refused request is read and thrown away before its connection is closed.
pub const HTTP_DISCARD_TIME: Duration = Duration::from_secs(1);
/// Time a client may be behind the minimum rate in sending a request's body.
pub const HTTP_BODY_STALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes a second of a request's body that a client has to send.
pub const HTTP_BODY_BYTES_PER_SECOND_MIN: u64 = 4_096;
/// Bytes a second that a client has to take while something waits to be sent to it.
pub const HTTP_READER_BYTES_PER_SECOND_MIN: u64 = 8_192;
/// Bytes the system is asked to buffer of one connection, in each direction. It takes twice as much for its own needs.
pub const HTTP_SOCKET_BUFFER_BYTES: u32 = 65_536;
/// Open files left for models, databases, logs, children and probes beside those of connections.
pub const FILES_RESERVED: usize = 256;
/// Connections that wait to be accepted.
pub const HTTP_ACCEPT_QUEUE: u32 = 1_024;
/// Bytes the host buffers of one connection, in either direction.
pub const HTTP_BUFFER_BYTES_MAX: usize = 64 * KIB;
/// Period of the comments that keep a quiet stream of events open.
pub const HTTP_KEEP_ALIVE_PERIOD: Duration = Duration::from_secs(10);
/// Time a request may take beyond its own timeout until its handler is ended from outside.
pub const HTTP_TIMEOUT_SLACK: Duration = Duration::from_secs(5);
/// Connections beyond the limit that have their probe answered, or are told no, at a time.
pub const HTTP_RESERVE_MAX: usize = 64;
/// Time a connection beyond the limit has in all.
pub const HTTP_RESERVE_TIME: Duration = Duration::from_secs(5);
/// Connections at a time at the address of probes and metrics.
pub const HTTP_ADMIN_CONNECTIONS_MAX: usize = 32;
/// Time between two lines of the log about refused connections.
pub const HTTP_REFUSAL_LOG_PERIOD: Duration = Duration::from_secs(1);
/// An address may have this fraction (one nth) of the connections when nobody says otherwise.
pub const ADDRESS_CONNECTIONS_DIVISOR: usize = 2;
/// A tenant may have requests open on this fraction (one nth) of the connections when nobody says otherwise.
pub const TENANT_CONNECTIONS_DIVISOR: usize = 4;
/// Time between two tries to accept a connection when the machine has no more files to give.
pub const HTTP_ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Time a browser may remember what a page was allowed to send.
pub const CORS_MAX_AGE: Duration = Duration::from_secs(600);
/// Names of headers that a page may ask for at a time (a number).
pub const CORS_HEADER_NAMES_MAX: usize = 64;
/// Bytes of each of them.
pub const CORS_HEADER_NAME_BYTES_MAX: usize = 128;
/// Time connections have at the end to get their last words out.
pub const HTTP_CLOSE_GRACE: Duration = Duration::from_secs(2);
/// Time the parts of a server have to end once nothing runs any more.
pub const SERVE_CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// Period at which a server asks its MCP servers whether they answer.
pub const MCP_WATCH_PERIOD: Duration = Duration::from_secs(30);
/// Texts of one embedding request.
pub const EMBED_REQUEST_TEXTS_MAX: usize = 2_048;
/// Tool calls of one tenant that wait for approval at a time.
pub const APPROVALS_PENDING_MAX: usize = 64;
/// Answers remembered for sessions, in tool calls; the oldest go first.
pub const APPROVALS_REMEMBERED_MAX: usize = 4_096;
/// Bytes of arguments shown with a call that waits for approval; the rest is cut.
pub const APPROVAL_ARGUMENTS_BYTES_MAX: usize = 16 * KIB;
/// Plugin chains kept ready, by tenant and added plugins; the oldest go first.
pub const PLUGIN_CHAINS_CACHED_MAX: usize = 1_024;
/// Plugin chains of one tenant among them; beyond that its own oldest goes first.
pub const PLUGIN_CHAINS_PER_TENANT_MAX: usize = 16;
/// Tenants that metrics name; the requests of all others are counted together.
pub const METRICS_TENANTS_MAX: usize = 256;

// ---- Chat on the terminal -------------------------------------------------------------------------------------

/// Sessions the person at this machine keeps.
pub const CHAT_SESSIONS_MAX: usize = 10_000;
/// Lines of the history file that line editing reads.
pub const CHAT_HISTORY_LINES: usize = 1_000;
/// Bytes of one line of the history file; longer input is not remembered.
pub const CHAT_HISTORY_LINE_BYTES_MAX: usize = 16 * KIB;
/// Tool calls that wait for the person's approval at a time.
pub const CHAT_QUESTIONS_MAX: usize = 1;
/// Characters of one tool call or result shown on the terminal.
pub const CHAT_SHOWN_CHARACTERS_MAX: usize = 400;
/// Bytes of an error message on the command line; what is longer is cut and says how long it was.
pub const CLI_MESSAGE_BYTES_MAX: usize = 16 << 10;
/// Lines read ahead from a pipe.
pub const CHAT_LINES_BUFFERED_MAX: usize = 1;
/// Period in which a chat on a terminal interrupts itself from SIGTERM on, until it has ended.
pub const CHAT_TERMINATION_PERIOD: Duration = Duration::from_millis(100);
/// Time that `run`, `chat` and `mcp` have to end in order after SIGTERM or SIGHUP.
pub const CLI_TERMINATION_MAX: Duration = Duration::from_secs(15);
/// Time that a pipe beside a prompt of `firebox run` has to say something.
pub const RUN_PIPE_WAIT: Duration = Duration::from_secs(3);

// ---- Tool loop ------------------------------------------------------------------------------------------------

/// Depth of one call's arguments.
pub const TOOL_ARGUMENTS_DEPTH_MAX: usize = 32;
/// Time a request waits for the list of tools beyond its plugins; without them it goes on.
pub const TOOL_LIST_WAIT: Duration = Duration::from_secs(10);
/// Events of progress that wait for one reader; later ones are dropped.
pub const TOOL_PROGRESS_BUFFERED_MAX: usize = 64;
/// Bytes of the word that goes with a report of progress.
pub const TOOL_PROGRESS_BYTES_MAX: usize = KIB;
/// Bytes of a tool's input schema.
pub const SCHEMA_BYTES_MAX: usize = 64 * KIB;
/// Depth of a schema, references followed.
pub const SCHEMA_DEPTH_MAX: usize = 64;
/// Steps through a schema, references followed: what one check may have to look at.
pub const SCHEMA_STEPS_MAX: usize = 50_000;
/// Steps through a schema up to which arguments are checked where the call is, and not on a thread for blocking work.
pub const SCHEMA_SMALL_STEPS: usize = 128;
/// Bytes of arguments up to which they are.
pub const SCHEMA_SMALL_ARGUMENTS_BYTES: usize = 2 * KIB;
/// Compiled schemas of tools kept for one model; the oldest go first.
pub const SCHEMAS_CACHED_MAX: usize = 256;
/// Time to compile a schema and check one call's arguments against it.
pub const SCHEMA_CHECK_TIME: Duration = Duration::from_secs(2);
/// Backtracking steps of one match of a schema's pattern.
pub const SCHEMA_PATTERN_STEPS_MAX: usize = 10_000;
/// Bytes of one compiled pattern of a schema.
pub const SCHEMA_PATTERN_BYTES_MAX: usize = MIB;
/// Bytes of the reason a model is given for arguments that do not fit.
pub const SCHEMA_REASON_BYTES_MAX: usize = KIB;

const _: () = assert!(PLUGIN_STACK_BYTES < PLUGIN_ASYNC_STACK_BYTES, "host functions need stack too");
const _: () = assert!(PLUGIN_MEMORY_BYTES_DEFAULT <= PLUGIN_MEMORY_BYTES_MAX);
const _: () = assert!(PLUGIN_FUEL_DEFAULT <= PLUGIN_FUEL_MAX);
const _: () = assert!(
    2 * PLUGINS_PER_REQUEST_MAX * PLUGIN_MEMORIES_MAX <= PLUGIN_POOL_MEMORIES,
    "the longest chain leaves as much as it takes of an empty pool"
);
const _: () = assert!(TOOL_RESULT_BYTES_MAX <= PLUGIN_REQUEST_BYTES_MAX);
const _: () = assert!(PREFILL_CHUNK_TOKENS <= CONTEXT_TOKENS_DEFAULT);
const _: () = assert!(TOOL_ROUNDS_DEFAULT <= TOOL_ROUNDS_MAX);
const _: () = assert!(RATE_SLOT.as_millis() > 0 && RATE_WINDOW.as_millis().is_multiple_of(RATE_SLOT.as_millis()));
const _: () = assert!(SESSION_BYTES_MAX_DEFAULT <= SESSIONS_FILE_BYTES_MAX_DEFAULT);
const _: () = assert!(STEP_PREFILL_TOKENS_MIN <= STEP_PREFILL_TOKENS_SHARED);
const _: () = assert!(SHORT_JOB_TIME.as_millis() <= SHORT_JOB_TIME_MAX.as_millis());
const _: () = assert!(STEP_PREFILL_TOKENS_SHARED <= STEP_PREFILL_TOKENS);
const _: () = assert!(PREFIX_TAIL_TOKENS >= PREFIX_TOKENS_MIN, "a cache is cut rather than copied where little goes");
