//! Every number that bounds something, with its unit (invariant I6). Relations between them are proved below.

use std::time::Duration;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const GIB: u64 = 1024 * MIB as u64;

// ---- Requests -------------------------------------------------------------------------------------------------

/// Bytes of a prompt, system text or piped standard input.
pub const PROMPT_BYTES_MAX: usize = 8 * MIB;
/// Messages of one conversation.
pub const MESSAGES_MAX: usize = 1_024;
/// Tokens of an answer when nobody says otherwise.
pub const ANSWER_TOKENS_DEFAULT: usize = 512;
/// Tokens of an answer at most.
pub const ANSWER_TOKENS_MAX: usize = 32_768;
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
pub const HEALING_BYTES_MAX: usize = 256;
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
/// Bytes copied between host and guest in one call, results included.
pub const PLUGIN_OUTPUT_BYTES_MAX: usize = 8 * MIB;
/// Core instances in one component.
pub const PLUGIN_INSTANCES_MAX: usize = 32;
/// Linear memories in one component.
pub const PLUGIN_MEMORIES_MAX: usize = 8;
/// Tables in one component.
pub const PLUGIN_TABLES_MAX: usize = 32;
/// Elements of one table.
pub const PLUGIN_TABLE_ELEMENTS_MAX: usize = 20_000;
/// Component instances alive at once, all requests together.
pub const PLUGIN_POOL_INSTANCES: usize = 256;
/// Bytes of a component file.
pub const PLUGIN_COMPONENT_BYTES_MAX: u64 = 64 * MIB as u64;
/// Bytes of one logged line.
pub const PLUGIN_LOG_LINE_BYTES_MAX: usize = 4 * KIB;
/// Logged lines kept per request between two readings; later ones are counted, not kept.
pub const PLUGIN_LOG_LINES_MAX: usize = 256;
/// Plugins in one chain.
pub const PLUGINS_PER_REQUEST_MAX: usize = 32;
/// Period of the clock that interrupts guests.
pub const EPOCH_TICK: Duration = Duration::from_millis(1);
/// Bytes of a plugin's configuration.
pub const PLUGIN_CONFIG_BYTES_MAX: usize = 64 * KIB;
/// Bytes of a plugin's name.
pub const PLUGIN_NAME_BYTES_MAX: usize = 64;
/// Bytes of a tool's name.
pub const TOOL_NAME_BYTES_MAX: usize = 128;
/// Time a request waits for free instances before it is refused.
pub const PLUGIN_POOL_WAIT: Duration = Duration::from_secs(5);
/// Resource handles of one instance.
pub const PLUGIN_HANDLES_MAX: usize = 1_000;
/// Random bytes a guest gets from one call.
pub const PLUGIN_RANDOM_BYTES_MAX: u64 = 64 * KIB as u64;
/// Bytes of a compiled component in the cache.
pub const PLUGIN_ARTIFACT_BYTES_MAX: u64 = 8 * PLUGIN_COMPONENT_BYTES_MAX;
/// Time a guest computes in one call before it goes on at low priority.
pub const PLUGIN_QUICK_TIME: Duration = Duration::from_millis(10);
/// Guests that go on at low priority have the threads for one core of so many.
pub const PLUGIN_SLOW_CORES_DIVISOR: usize = 2;
/// How nice (a number as `nice` takes it) they are: less than a tenth of a core where others want all of it.
pub const PLUGIN_SLOW_NICENESS: i32 = 10;
/// Time for each second and core that the guests of a tenant have of the processor whatever others want.
pub const PLUGIN_SHARE_RATE: Duration = Duration::from_millis(10);
/// Time in which what they had is forgotten to 1/e.
pub const PLUGIN_SHARE_MEMORY: Duration = Duration::from_secs(10);
/// Time that a guest at low priority holds back at most while models want every core: once when it comes there, or before each
/// of its turns where its owner's share is low. One that waits for an idle processor does so until it may go on above. A turn
/// of one `EPOCH_TICK` in that time is the `PLUGIN_SHARE_RATE` of two cores, which have one such thread.
pub const PLUGIN_HELD_BACK_MAX: Duration = Duration::from_millis(50);
/// Part of a share of processor time, in percent, below which it is low.
pub const PLUGIN_HELD_BACK_PERCENT: u32 = 50;
/// How often one that holds back looks whether they still do.
pub const PLUGIN_HELD_BACK_PERIOD: Duration = Duration::from_millis(1);
/// How often a guest that waits for an idle processor is looked after: once its owner has a share again it goes on above.
pub const PLUGIN_RECALL_PERIOD: Duration = Duration::from_millis(20);
/// Time after its deadline at which a guest at low priority is cut off from outside, should it not have had a turn.
pub const PLUGIN_SLOW_GRACE: Duration = Duration::from_millis(20);
/// Compiled components kept in the cache; the oldest go first.
pub const PLUGIN_ARTIFACTS_MAX: usize = 256;
/// Ticks without a running guest after which the clock that interrupts guests sleeps.
pub const EPOCH_IDLE_TICKS: u32 = 100;

// ---- Checkpoints ----------------------------------------------------------------------------------------------

/// Bytes of a safetensors header (the format's own limit).
pub const SAFETENSORS_HEADER_BYTES_MAX: usize = 100 * 1_000 * 1_000;
/// Bytes of `config.json`, `generation_config.json` or an index.
pub const CONFIG_JSON_BYTES_MAX: u64 = 16 * MIB as u64;
/// Bytes of `tokenizer.json`.
pub const TOKENIZER_JSON_BYTES_MAX: u64 = 256 * MIB as u64;
/// Bytes of a chat template.
pub const CHAT_TEMPLATE_BYTES_MAX: usize = MIB;
/// Steps a chat template may take per rendering.
pub const CHAT_TEMPLATE_FUEL: u64 = 4_000_000;
/// Bytes a chat template may render.
pub const CHAT_TEMPLATE_OUTPUT_BYTES_MAX: usize = 4 * PROMPT_BYTES_MAX;
/// Files of a sharded checkpoint.
pub const SHARDS_MAX: usize = 1_024;
/// Layers of a model.
pub const MODEL_LAYERS_MAX: usize = 1_024;
/// Width of a layer: hidden or intermediate size of a model.
pub const MODEL_HIDDEN_MAX: usize = 1 << 18;
/// Attention heads of one layer.
pub const MODEL_HEADS_MAX: usize = 1_024;
/// Elements of one attention head.
pub const MODEL_HEAD_DIM_MAX: usize = 1_024;
/// Token ids of a vocabulary.
pub const MODEL_VOCABULARY_MAX: usize = 1 << 22;
/// Tokens of a context, whatever a config claims.
pub const CONTEXT_TOKENS_MAX: usize = 1 << 24;
/// Bytes of keys and values of all sequences of one model together, when nobody says otherwise.
pub const KV_CACHE_BYTES_DEFAULT: u64 = 4 * GIB;
/// Bytes of one tensor on a device.
pub const TENSOR_BYTES_MAX: u64 = 4 * GIB;

// ---- Devices --------------------------------------------------------------------------------------------------

/// Bytes of weights up to which `auto` leaves a language model on the CPU: it reads so much in the time that a GPU needs for the
/// launches of a step, and has nothing to compile.
pub const CPU_WEIGHTS_BYTES_MAX: u64 = 64 * MIB as u64;
/// Time a child process has to prove that an adapter works.
pub const DEVICE_TEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes kept of what that process prints, per stream.
pub const DEVICE_TEST_OUTPUT_BYTES_MAX: u64 = 64 * KIB as u64;

// ---- Embedding ------------------------------------------------------------------------------------------------

/// Texts sorted by length together; bounds the memory of `embed` whatever the size of the input.
pub const EMBED_WINDOW_TEXTS: usize = 2_048;
/// Texts of one forward pass when nobody says otherwise.
pub const EMBED_BATCH_DEFAULT: usize = 32;
/// Bytes of one line of input.
pub const EMBED_LINE_BYTES_MAX: usize = 8 * MIB;
/// Bytes of text after which a window is full, however few its texts are.
pub const EMBED_WINDOW_BYTES_MAX: usize = 64 * MIB;
/// Texts of one forward pass at most.
pub const EMBED_BATCH_MAX: usize = 1_024;
/// Bytes of one Parquet row group, which is held in memory until it is full.
pub const EMBED_ROW_GROUP_BYTES: usize = 64 * MIB;
/// Time an interrupted run has to end by itself before it is cut off.
pub const EMBED_INTERRUPT_GRACE: Duration = Duration::from_secs(2);

// ---- Configuration and tenants --------------------------------------------------------------------------------

/// Bytes of a configuration file.
pub const CONFIG_BYTES_MAX: u64 = 64 * MIB as u64;
/// Bytes of the name of a model, plugin, tenant or MCP server.
pub const NAME_BYTES_MAX: usize = 64;
/// Bytes of a secret's file.
pub const SECRET_BYTES_MAX: u64 = 64 * KIB as u64;
/// Tenants of one configuration.
pub const TENANTS_MAX: usize = 100_000;
/// Keys of one tenant.
pub const KEYS_PER_TENANT_MAX: usize = 64;
/// Highest weight of a tenant.
pub const TENANT_WEIGHT_MAX: u32 = 1_000;
/// Sessions of one tenant when nobody says otherwise.
pub const SESSIONS_PER_TENANT_DEFAULT: usize = 1_000;
/// Sessions of one tenant at most.
pub const SESSIONS_PER_TENANT_MAX: usize = 1_000_000;
/// A session that nobody used for so long is deleted, when nobody says otherwise.
pub const SESSION_IDLE_DEFAULT: Duration = Duration::from_secs(86_400);
/// Longest life of an unused session.
pub const SESSION_IDLE_MAX: Duration = Duration::from_secs(366 * 86_400);
/// Port on which requests are taken when nobody says otherwise.
pub const LISTEN_PORT_DEFAULT: u16 = 8_080;
/// Bytes of a request's body when nobody says otherwise.
pub const BODY_BYTES_DEFAULT: usize = 16 * MIB;
/// Bytes of a request's body at most.
pub const BODY_BYTES_MAX: usize = 256 * MIB;
/// Connections at a time when nobody says otherwise.
pub const CONNECTIONS_DEFAULT: usize = 1_024;
/// Connections at a time at most.
pub const CONNECTIONS_MAX: usize = 65_536;
/// Time a client has to send its headers when nobody says otherwise.
pub const HEADER_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// Time a client has to send its headers at most.
pub const HEADER_TIMEOUT_MAX: Duration = Duration::from_secs(300);
/// Time running work has to end at shutdown when nobody says otherwise.
pub const DRAIN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// Time running work has to end at shutdown at most.
pub const DRAIN_TIMEOUT_MAX: Duration = Duration::from_secs(600);
/// Rounds of tool calls in one request at most.
pub const TOOL_ROUNDS_MAX: usize = 32;
/// Time somebody has to approve a tool call when nobody says otherwise.
pub const APPROVAL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(120);
/// Time somebody has to approve a tool call at most.
pub const APPROVAL_TIMEOUT_MAX: Duration = Duration::from_secs(3_600);
/// Time an MCP server has to start and shake hands when nobody says otherwise.
pub const MCP_CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);
/// Time of one MCP call in all, progress or not, when nobody says otherwise.
pub const MCP_TOTAL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(300);
/// Bytes of keys and values of all sequences of one model together at most.
pub const MODEL_CACHE_BYTES_MAX: u64 = 1_024 * GIB;
/// Time over which rates count: what happened longer ago is free again.
pub const RATE_WINDOW: Duration = Duration::from_secs(60);
/// Time within which what is counted is forgotten together; a window is at most this much longer.
pub const RATE_SLOT: Duration = Duration::from_millis(250);
/// Days of a tenant's usage that are kept apart; older ones are only in the total.
pub const USAGE_DAYS_MAX: usize = 32;
/// Time after which what tenants used is stored; a crash of the host forgets at most so much of it.
pub const USAGE_SAVE_PERIOD: Duration = Duration::from_secs(10);
/// Time after which a server gives back memory that its allocator holds for nobody.
pub const MEMORY_TRIM_PERIOD: Duration = Duration::from_secs(60);
/// Time a change of the tenants file waits for another one.
pub const TENANTS_LOCK_WAIT: Duration = Duration::from_secs(10);
/// Lines that wait to be written to the audit log before new work is refused.
pub const AUDIT_LINES_WAITING_MAX: usize = 8_192;
/// Lines of running work that may wait on top of that; what does not fit is counted as lost.
pub const AUDIT_LINES_RESERVED: usize = 2_048;
/// Bytes of lines that wait to be written to the audit log.
pub const AUDIT_BYTES_WAITING_MAX: usize = 64 * MIB;
/// Bytes of one prompt or call's arguments in the audit log, where their text is wanted; the rest is cut.
pub const AUDIT_TEXT_BYTES_MAX: usize = 64 * KIB;
/// Time after which what was written to the audit log is made to last.
pub const AUDIT_SYNC_PERIOD: Duration = Duration::from_secs(1);
/// Time after which a write to the audit log that failed is tried again.
pub const AUDIT_RETRY: Duration = Duration::from_millis(500);
/// Time the audit log has to write what waits when it is closed.
pub const AUDIT_CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

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
/// Time a connection may take nothing of what is written to it before it is closed.
pub const HTTP_WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes the host buffers of one connection, in either direction.
pub const HTTP_BUFFER_BYTES_MAX: usize = 64 * KIB;
/// Period of the comments that keep a quiet stream of events open.
pub const HTTP_KEEP_ALIVE_PERIOD: Duration = Duration::from_secs(10);
/// Time a request may take beyond its own timeout until its handler is ended from outside.
pub const HTTP_TIMEOUT_SLACK: Duration = Duration::from_secs(5);
/// Connections beyond the limit that are told so at a time; more are closed without a word. Counted in requests.
pub const HTTP_REFUSALS_MAX: usize = 64;
/// Time a connection beyond the limit has to take its refusal.
pub const HTTP_REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
/// Time between two tries to accept a connection when the machine has no more files to give.
pub const HTTP_ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Time connections have at the end to get their last words out.
pub const HTTP_CLOSE_GRACE: Duration = Duration::from_secs(2);
/// Time the parts of a server have to end once nothing runs any more.
pub const SERVE_CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// Period at which a server asks its MCP servers whether they answer.
pub const MCP_WATCH_PERIOD: Duration = Duration::from_secs(30);
/// Requests that wait for one encoder.
pub const EMBED_QUEUE_REQUESTS_MAX: usize = 64;
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
/// Tenants that metrics name; the requests of all others are counted together.
pub const METRICS_TENANTS_MAX: usize = 256;

// ---- Sessions -------------------------------------------------------------------------------------------------

/// Messages of one session when nobody says otherwise.
pub const SESSION_MESSAGES_MAX_DEFAULT: usize = 10_000;
/// Bytes of all messages of one session when nobody says otherwise.
pub const SESSION_BYTES_MAX_DEFAULT: u64 = 2 * PROMPT_BYTES_MAX as u64;
/// Bytes of the file that holds all sessions when nobody says otherwise.
pub const SESSIONS_FILE_BYTES_MAX_DEFAULT: u64 = 16 * GIB;
/// Period at which the server removes expired sessions.
pub const SESSIONS_SWEEP_PERIOD: Duration = Duration::from_secs(60);
/// Expired sessions (a number of table rows) removed in one transaction, so that writers wait no longer than for that.
pub const SESSIONS_SWEEP_BATCH: usize = 256;
/// Sessions in one page of a list: table rows read at once.
pub const SESSIONS_PAGE_MAX: usize = 100;
/// Connections that read sessions; each is an open file and serves one thread at a time.
pub const SESSION_READERS: usize = 4;
/// Time one statement waits for another process that writes to the same file.
pub const SESSIONS_BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes the write-ahead log keeps on disk once what it holds is in the database.
pub const SESSIONS_LOG_BYTES: u64 = 4 * MIB as u64;
/// Bytes of a session's title.
pub const SESSION_TITLE_BYTES_MAX: usize = 256;
/// Bytes of one line of an exported session.
pub const SESSION_LINE_BYTES_MAX: usize = 8 * PROMPT_BYTES_MAX;

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
/// Lines read ahead from a pipe.
pub const CHAT_LINES_BUFFERED_MAX: usize = 1;
/// Period in which a chat on a terminal interrupts itself from SIGTERM on, until it has ended.
pub const CHAT_TERMINATION_PERIOD: Duration = Duration::from_millis(100);

// ---- Serving many ---------------------------------------------------------------------------------------------

/// Requests beyond `IN_FLIGHT_MAX`, each for a tenant that has none running, so that one tenant's flood never shuts out another.
pub const IN_FLIGHT_RESERVED: usize = 16;
/// Requests that wait for one model; when there are more, the tenant with the most gives one up.
pub const WAITING_MAX: usize = 256;
/// Time a request waits for its turn before it is refused.
pub const WAITING_TIME_MAX: Duration = Duration::from_secs(30);
/// Time after which a refused request is told to try again, at most.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
/// Slice of a core that the threads which serve requests ask of the system.
pub const SERVING_SLICE: Duration = Duration::from_micros(100);
/// Time that a token may be on its way before threads that compute offer their cores to those that serve.
pub const DELIVERY_PATIENCE: Duration = Duration::from_micros(100);
/// Bytes from which on the keys or values of a layer have pages of their own on the CPU.
pub const CACHE_PAGES_BYTES: usize = 32 * KIB;
/// Time that a thread which computes waits for work or for another such thread before it sleeps.
pub const COMPUTE_SPIN_TIME: Duration = Duration::from_micros(200);
/// Time after a pass on the CPU for which its cores still count as wanted: most are followed by the next.
pub const CORES_CLAIM_LINGER: Duration = Duration::from_millis(1);
/// Sequences of a step of decode up to which a GPU runs it as a whole, recorded (a number): with more, kernels take longer than
/// it takes to launch them.
pub const REPLAYED_ROWS_MAX: usize = 8;
/// Steps of so many sequences, one of which is recorded the last (a number).
pub const REPLAYED_STEPS_MIN: u32 = 2;
/// Prompt tokens of one turn, all sequences together.
pub const PREFILL_TURN_TOKENS: usize = PREFILL_CHUNK_TOKENS;
/// Prompt tokens of one turn that several tenants share, until it is known how long the device takes; and at least of one
/// that a tenant has for itself while others were there lately.
pub const PREFILL_TURN_TOKENS_SHARED: usize = 128;
/// Prompt tokens of one turn at least, however slow the device.
pub const PREFILL_TURN_TOKENS_MIN: usize = 32;
/// Time of one turn with prompts that several tenants share, or that may not be given up for another. Where it is more,
/// `TURN_STEPS_SHARED` counts.
pub const TURN_TIME_SHARED: Duration = Duration::from_millis(1);
/// The same in steps of a single token (a number): on a slow device shorter turns would only read the weights more often.
pub const TURN_STEPS_SHARED: u32 = 4;
/// Time of one turn with prompts beside answers of the same tenant: what these may be held up.
pub const TURN_TIME_ALONE: Duration = Duration::from_millis(500);
/// Time after which what a tenant used of the device counts for 1/e of what it was.
pub const SHARE_MEMORY: Duration = Duration::from_secs(10);
/// Device time, per weight, that a tenant may have used beyond another that has work before it rests.
pub const SHARE_SLACK: Duration = Duration::from_secs(1);
/// Device time, per weight, of what a tenant has asked for, up to which it may go before what others asked for.
pub const SHORT_JOB_TIME: Duration = Duration::from_secs(2);
/// Times that the others must have asked for more than that (a number).
pub const SHORT_JOB_TIMES: u32 = 2;
/// Part of a turn's time, in percent, by which tenants that rest may lengthen the turns of others, so that they still move.
pub const SHARE_REST_PERCENT: u32 = 5;
/// Time that a tenant rests before it does that: nobody notices a short pause, and short answers of others are not made longer.
pub const SHARE_REST_TIME: Duration = Duration::from_secs(1);
/// Time after its last turn for which a tenant's use is remembered at all.
pub const SHARE_KEPT_TIME: Duration = Duration::from_secs(100);
/// Turns of a sequence, one after the other, that are given up for others (a number); the next is not.
pub const TURN_CUTS_MAX: u32 = 4;
/// Answers of one tenant, per weight, that advance in one turn while another tenant has fewer.
pub const TURN_SEQUENCES_SHARED: usize = 8;
/// Tokens that two prompts must share at their beginning before a kept cache is used again.
pub const PREFIX_TOKENS_MIN: usize = 16;
/// Tokens of a kept cache that may be cut off to go on from it; when more would go, it is copied and stays.
pub const PREFIX_TAIL_TOKENS: usize = 64;
/// Sequences of one tenant whose caches are kept after they ended.
pub const PREFIX_SEQUENCES_PER_TENANT: usize = 16;
/// Kept caches have at most this fraction (one nth) of the bytes that caches may have.
pub const PREFIX_BUDGET_DIVISOR: u64 = 2;
/// Time after which a model that could not be loaded again is tried once more.
pub const MODEL_RELOAD_RETRY: Duration = Duration::from_secs(10);
/// Time a model's thread has to leave its last step when the engine closes.
pub const MODEL_STOP_WAIT: Duration = Duration::from_secs(10);
/// Reports of progress that wait for one listener; a tool that reports faster loses some lines and no time.
pub const PLUGIN_REPORTS_BUFFERED_MAX: usize = 64;
/// Bytes of one request's body at `/mcp`.
pub const MCP_BODY_BYTES_MAX: usize = 4 * MIB;
/// Sessions that requests of revisions before 2026-07-28 may have open, all tenants together.
pub const MCP_SESSIONS_MAX: usize = 1_024;
/// Sessions that requests of one tenant may have open.
pub const MCP_SESSIONS_PER_TENANT_MAX: usize = 128;
/// Time after which a session without requests ends.
pub const MCP_SESSION_IDLE: Duration = Duration::from_secs(600);
/// Time a new session has for its first request.
pub const MCP_SESSION_START: Duration = Duration::from_secs(10);
/// Time for which the events of an answered request can be read again by a client that lost its connection.
pub const MCP_REPLAY: Duration = Duration::from_secs(60);
/// Events that wait in one session for its reader.
pub const MCP_EVENTS_BUFFERED_MAX: usize = 64;
/// Open requests that wait for changes of tool lists, all tenants together.
pub const MCP_LISTENERS_MAX: usize = 1_024;
/// Open requests of one tenant that wait for changes of its tool list.
pub const MCP_LISTENERS_PER_TENANT_MAX: usize = 64;
/// Time after which a client that was told to wait should call again.
pub const MCP_RETRY: Duration = Duration::from_secs(1);
/// Time that the last answers have to reach their clients when the server stops.
pub const MCP_LAST_ANSWER: Duration = Duration::from_millis(100);
/// Callers whose tool lists are kept ready.
pub const MCP_LISTS_KEPT_MAX: usize = 256;
/// Time for which a client may reuse a tool list without asking again.
pub const MCP_LIST_FRESH: Duration = Duration::from_secs(5);
/// Period of the empty lines that keep a waiting connection open.
pub const MCP_KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Time a connection of `firebox mcp serve --listen` has to send a request's headers.
pub const MCP_HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Time that running calls have to end when the server stops.
pub const MCP_DRAIN: Duration = Duration::from_secs(5);

// ---- MCP client -----------------------------------------------------------------------------------------------

/// MCP servers of one host. (Plugins and tools have numbers of their own.)
pub const MCP_CLIENT_SERVERS_MAX: usize = 64;
/// Connections to MCP servers at a time, all tenants together; the one idle longest makes room. Each holds some memory.
pub const MCP_CLIENT_CONNECTIONS_MAX: usize = 256;
/// The longest time that can be set for an MCP server.
pub const MCP_CLIENT_TIMEOUT_MAX: Duration = Duration::from_secs(3_600);
/// Bytes of one message of an MCP server; a longer one ends the connection.
pub const MCP_CLIENT_LINE_BYTES_MAX: usize = 16 * MIB;
/// Calls one MCP connection carries at a time; further ones wait.
pub const MCP_CLIENT_CALLS_MAX: usize = 16;
/// Requests of an MCP server that wait for their answers; one more ends the connection.
pub const MCP_CLIENT_SERVER_REQUESTS_MAX: usize = 64;
/// Progress reports of one call that wait to be heard; later ones are dropped.
pub const MCP_CLIENT_PROGRESS_BUFFERED_MAX: usize = 16;
/// Pages read of one MCP server's list of tools.
pub const MCP_CLIENT_PAGES_MAX: usize = 64;
/// Tools taken from one MCP server.
pub const MCP_CLIENT_TOOLS_MAX: usize = 1_024;
/// Bytes of the name a model sees for an MCP server's tool.
pub const MCP_CLIENT_TOOL_NAME_BYTES_MAX: usize = 64;
/// Bytes of the description of one MCP server's tool; the rest is cut.
pub const MCP_CLIENT_TOOL_TEXT_BYTES_MAX: usize = 16 * KIB;
/// Bytes of a schema of one MCP server's tool; a tool with a larger one is not offered.
pub const MCP_CLIENT_SCHEMA_BYTES_MAX: usize = 256 * KIB;
/// Bytes of all descriptions and schemas of one MCP server together; further tools are not offered.
pub const MCP_CLIENT_LIST_BYTES_MAX: usize = 8 * MIB;
/// Bytes of the words of one progress report; the rest is cut.
pub const MCP_CLIENT_PROGRESS_TEXT_BYTES_MAX: usize = KIB;
/// Bytes of the words with which an MCP server explains a failure; the rest is cut.
pub const MCP_CLIENT_REASON_BYTES_MAX: usize = 8 * KIB;
/// Bytes of one line of an MCP server's standard error.
pub const MCP_CLIENT_STDERR_LINE_BYTES_MAX: usize = 4 * KIB;
/// Lines a second of an MCP server's standard error that are logged; the rest is counted.
pub const MCP_CLIENT_STDERR_LINES_PER_SECOND_MAX: usize = 100;
/// Last lines of an MCP server's standard error that are kept for the message about its end.
pub const MCP_CLIENT_STDERR_TAIL_LINES: usize = 5;
/// Time without use after which a connection to an MCP server is closed.
pub const MCP_CLIENT_IDLE_TIME: Duration = Duration::from_secs(900);
/// Time before an MCP server that failed once is tried again; doubled with each failure.
pub const MCP_CLIENT_BACKOFF_MIN: Duration = Duration::from_millis(500);
/// Time before an MCP server that failed often is tried again.
pub const MCP_CLIENT_BACKOFF_MAX: Duration = Duration::from_secs(30);
/// Failures in a row (times) after which an MCP server is tried only for somebody who asks.
pub const MCP_CLIENT_BREAKER_FAILURES: u32 = 5;
/// Time that must pass between two such tries.
pub const MCP_CLIENT_BREAKER_OPEN: Duration = Duration::from_secs(60);
/// Time after which a connection without a call counts as one that works.
pub const MCP_CLIENT_STABLE_TIME: Duration = Duration::from_secs(10);
/// Time a request waits for an MCP server that is being reached again; without it, it has to do.
pub const MCP_CLIENT_RECONNECT_WAIT: Duration = Duration::from_secs(2);
/// Period of asking a quiet MCP server whether it still answers.
pub const MCP_CLIENT_HEALTH_PERIOD: Duration = Duration::from_secs(30);
/// Time an MCP server has for that answer.
pub const MCP_CLIENT_HEALTH_TIMEOUT: Duration = Duration::from_secs(5);
/// Shortest period between two readings of a list that changes.
pub const MCP_CLIENT_LIST_REFRESH_PERIOD: Duration = Duration::from_millis(250);
/// Time of each step of ending an MCP server: end of input, SIGTERM, SIGKILL.
pub const MCP_CLIENT_CLOSE_GRACE: Duration = Duration::from_secs(2);

// ---- MCP server ------------------------------------------------------------------------------------------------

/// Bytes of one line on standard input of `firebox mcp serve`.
pub const MCP_SERVER_LINE_BYTES_MAX: usize = 4 * MIB;
/// Tool calls of MCP clients that run at a time, all tenants together.
pub const MCP_SERVER_CALLS_MAX: usize = 256;
/// Connections that requests of `firebox mcp serve --listen` come through at a time.
pub const MCP_SERVER_CONNECTIONS_MAX: usize = 256;

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
    PLUGINS_PER_REQUEST_MAX * PLUGIN_MEMORIES_MAX <= PLUGIN_POOL_INSTANCES,
    "the longest chain must fit into an empty pool"
);
const _: () = assert!(TOOL_RESULT_BYTES_MAX <= PLUGIN_OUTPUT_BYTES_MAX);
const _: () = assert!(PREFILL_CHUNK_TOKENS <= CONTEXT_TOKENS_DEFAULT);
const _: () = assert!(TOOL_ROUNDS_DEFAULT <= TOOL_ROUNDS_MAX);
const _: () = assert!(RATE_SLOT.as_millis() > 0 && RATE_WINDOW.as_millis().is_multiple_of(RATE_SLOT.as_millis()));
const _: () = assert!(SESSION_BYTES_MAX_DEFAULT <= SESSIONS_FILE_BYTES_MAX_DEFAULT);
const _: () = assert!(PREFILL_TURN_TOKENS_MIN <= PREFILL_TURN_TOKENS_SHARED);
const _: () = assert!(PREFILL_TURN_TOKENS_SHARED <= PREFILL_TURN_TOKENS);
const _: () = assert!(PREFIX_TAIL_TOKENS >= PREFIX_TOKENS_MIN, "a cache is cut rather than copied where little goes");
