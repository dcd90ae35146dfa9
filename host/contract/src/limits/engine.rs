//! Limits of what the requests to one model share: the queue, the steps of the scheduler, device time and KV caches.

use std::time::Duration;

use super::{GIB, KIB, MIB};

// ---- Queue of a model -----------------------------------------------------------------------------------------

/// Default and maximum of `model.in_flight_max`, and of `tenant.limits.in_flight_max`: requests that run at the same time.
pub const IN_FLIGHT_MAX: usize = 64;
/// Requests that run beyond `model.in_flight_max`, each for a tenant without a running request.
pub const IN_FLIGHT_RESERVED: usize = 16;
/// Requests that wait for one model. When the queue is full, the tenant with the most waiting requests loses one.
pub const WAITING_MAX: usize = 256;
/// Time a request waits in the queue of a model before it is refused.
pub const WAITING_TIME_MAX: Duration = Duration::from_secs(30);
/// Highest `Retry-After` of a refused request.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
/// Events buffered for one client. When the buffer is full, only the sequence of that client pauses.
pub const EVENTS_BUFFERED_MAX: usize = 64;
/// Time between two attempts to load a model that failed to load.
pub const MODEL_RELOAD_RETRY: Duration = Duration::from_secs(10);
/// Time the thread of a model has to finish its last step when the engine closes.
pub const MODEL_STOP_WAIT: Duration = Duration::from_secs(10);

// ---- Context and KV cache -------------------------------------------------------------------------------------

/// Default of `model.context_tokens`: tokens of one conversation, at most the context of the checkpoint.
pub const CONTEXT_TOKENS_DEFAULT: usize = 8_192;
/// Maximum of `model.context_tokens` and of `tenant.limits.context_tokens_max`, whatever the checkpoint states.
pub const CONTEXT_TOKENS_MAX: usize = 1 << 24;
/// Default of `model.cache_bytes`: bytes of the KV caches of all sequences of one model.
pub const KV_CACHE_BYTES_DEFAULT: u64 = 4 * GIB;
/// Maximum of `model.cache_bytes`.
pub const MODEL_CACHE_BYTES_MAX: u64 = 1_024 * GIB;
/// Bytes of the keys or values of one layer from which they get memory pages of their own on the CPU.
pub const KV_CACHE_OWN_PAGES_BYTES: usize = 32 * KIB;
/// Tokens that a prompt must share with the start of a cached prefix for the cache to be used.
pub const PREFIX_TOKENS_MIN: usize = 16;
/// Tokens at the end of a cached prefix that can be cut off for a new prompt. If more would go, the cache is copied.
pub const PREFIX_TAIL_TOKENS: usize = 64;
/// Finished sequences of one tenant whose KV caches stay in the prefix cache.
pub const PREFIX_SEQUENCES_PER_TENANT: usize = 16;
/// The prefix cache uses at most this fraction of `model.cache_bytes`.
pub const PREFIX_BUDGET_DIVISOR: u64 = 2;

// ---- Steps ----------------------------------------------------------------------------------------------------

/// Tokens of one prefill chunk.
pub const PREFILL_CHUNK_TOKENS: usize = 512;
/// Prompt tokens of one step, all sequences together.
pub const STEP_PREFILL_TOKENS: usize = PREFILL_CHUNK_TOKENS;
/// Prompt tokens of a step that several tenants share, until the speed of the device is known. Also the minimum for a step
/// of one tenant while another tenant was active within `SHARE_FORGET_TIME`.
pub const STEP_PREFILL_TOKENS_SHARED: usize = 128;
/// Prompt tokens that one step can always compute, even on a slow device.
pub const STEP_PREFILL_TOKENS_MIN: usize = 32;
/// Time of a step with prompt tokens that several tenants share or that cannot be preempted. `STEP_DECODES_SHARED` counts
/// instead if it gives more time.
pub const STEP_TIME_SHARED: Duration = Duration::from_millis(1);
/// Time of a step with prompt tokens that several tenants share, as a multiple of a decode step of one token.
pub const STEP_DECODES_SHARED: u32 = 4;
/// Time of a step that computes prompt tokens and answers of the same tenant.
pub const STEP_TIME_ALONE: Duration = Duration::from_millis(500);
/// Steps in a row that one sequence can lose to other tenants by preemption. The next step of the sequence is not preempted.
pub const STEP_PREEMPTIONS_MAX: u32 = 4;
/// Sequences of one tenant, per weight, that get a token in one step while another tenant has fewer sequences.
pub const STEP_SEQUENCES_SHARED: usize = 8;
/// Sequences of a decode step up to which a GPU replays a recorded step. With more sequences, the launch time is negligible.
pub const GPU_REPLAY_SEQUENCES_MAX: usize = 8;
/// Decode steps with the same number of sequences after which a GPU records the step.
pub const GPU_REPLAY_STEPS_MIN: u32 = 2;

// ---- Shares of a model ----------------------------------------------------------------------------------------

/// Decay time (to 1/e) of the device time that a tenant has used.
pub const SHARE_DECAY: Duration = Duration::from_secs(10);
/// Device time, per weight, that a tenant can be ahead of another tenant with work before it is throttled. A tenant within
/// its fair share of the last `SHARE_DECAY` is never throttled.
pub const SHARE_LEAD_MAX: Duration = Duration::from_secs(1);
/// Time after its last work for which the use of a tenant is remembered.
pub const SHARE_FORGET_TIME: Duration = Duration::from_secs(100);
/// Pending work of a tenant up to this device time (per weight) is always short enough to run before longer work.
pub const SHORT_JOB_TIME: Duration = Duration::from_secs(2);
/// Pending work of a tenant is short if it is at most this percentage of the pending work of another tenant.
pub const SHORT_JOB_PERCENT: u32 = 10;
/// Pending work above this device time (per weight) is never short. Also the device time that a tenant can use after an idle
/// period before it is throttled.
pub const SHORT_JOB_TIME_MAX: Duration = Duration::from_secs(8);
/// Pending work runs before the work of another tenant only if the other tenant has more than this many times as much.
pub const SHORT_JOB_RATIO: u32 = 2;
/// Time that throttled tenants may add to each step, in percent of the step.
pub const THROTTLE_PERCENT: u32 = 5;
/// Time that a throttled tenant waits before `THROTTLE_PERCENT` applies to it.
pub const THROTTLE_TIME: Duration = Duration::from_secs(1);

// ---- Grammars of answers --------------------------------------------------------------------------------------

/// Bytes of a regular expression or Lark grammar of a request.
pub const GRAMMAR_BYTES_MAX: usize = 32 * KIB;
/// Parts and listed values of a JSON Schema that answers are kept to.
pub const GRAMMAR_SCHEMA_PARTS_MAX: usize = 10_000;
/// Levels of nesting in a JSON Schema that answers are kept to.
pub const GRAMMAR_SCHEMA_DEPTH_MAX: usize = 48;
/// Patterns and formats in a JSON Schema that answers are kept to.
pub const GRAMMAR_PATTERNS_MAX: usize = 64;
/// Bytes of one pattern in a JSON Schema that answers are kept to.
pub const GRAMMAR_PATTERN_BYTES_MAX: usize = KIB;
/// Patterns and formats that apply to one string of a JSON Schema that answers are kept to.
pub const GRAMMAR_STACKED_PATTERNS_MAX: usize = 2;
/// Patterns of one `patternProperties` in a JSON Schema that answers are kept to.
pub const GRAMMAR_NAME_PATTERNS_MAX: usize = 8;
/// Characters of indentation of one line of JSON that is kept to a schema.
pub const GRAMMAR_INDENT_CHARACTERS_MAX: usize = 32;
/// Symbols of a compiled grammar.
pub const GRAMMAR_SYMBOLS_MAX: usize = 100_000;
/// Work to compile the regular expressions of a grammar, in nodes of expressions. One millisecond does about 50,000.
pub const GRAMMAR_COMPILE_FUEL: u64 = 1_000_000;
/// Time to compile the grammar of a request. After that the request is refused.
pub const GRAMMAR_COMPILE_TIME: Duration = Duration::from_secs(15);
/// Stack of the thread that compiles a grammar. Each reference of a schema that leads to the next one takes up to 20 KiB of it.
pub const GRAMMAR_STACK_BYTES: usize = 64 * MIB;
/// Grammars that are compiled at the same time, one for each tenant at most.
pub const GRAMMARS_COMPILED_PARALLEL: usize = 2;
/// Work on regular expressions to find the tokens that may come next, in nodes of expressions. One millisecond does about 14,000.
pub const GRAMMAR_STEP_FUEL: u64 = 100_000;
/// Items of the parser to find the tokens that may come next. One millisecond does about 20,000.
pub const GRAMMAR_STEP_ITEMS_MAX: usize = 50_000;
/// Time of one answer to find the tokens that may come next, all steps together. After that the answer fails.
pub const GRAMMAR_ANSWER_TIME: Duration = Duration::from_secs(20);
/// States of one grammar's regular expressions, 1 to 2 KiB each.
pub const GRAMMAR_STATES_MAX: usize = 16_384;
/// Compiled grammars of one tenant in the cache of a model. The one that was used longest ago is evicted first.
pub const GRAMMARS_CACHED_PER_TENANT: usize = 16;
/// Compiled grammars in the cache of a model. The tenant with the most grammars loses one first.
pub const GRAMMARS_CACHED_MAX: usize = 64;
/// Bytes of the states of a cached grammar. A larger one is compiled again for its next answer.
pub const GRAMMAR_CACHED_BYTES_MAX: usize = 8 * MIB;

// ---- Speculation ----------------------------------------------------------------------------------------------

/// Drafted tokens that one step verifies for one sequence.
pub const DRAFT_TOKENS_MAX: usize = 15;
/// Tokens at the end of a text that must occur earlier in it for a draft.
pub const DRAFT_MATCH_TOKENS_MIN: usize = 2;
/// Tokens at the end of a text that are compared with earlier places. The longest match is drafted from.
pub const DRAFT_MATCH_TOKENS_MAX: usize = 4;
/// Tokens at the end of a text that are searched for a match.
pub const DRAFT_LOOKBACK_TOKENS: usize = 16_384;

// ---- Token healing --------------------------------------------------------------------------------------------

/// Bytes at the end of a forced opening that the model may generate again with tokens of its own choice.
pub const TOKEN_HEALING_BYTES_MAX: usize = 256;
/// Bytes of the texts of all tokens of a vocabulary. With a larger vocabulary, forced openings are not healed.
pub const TOKEN_TEXTS_BYTES_MAX: usize = 64 * MIB;
