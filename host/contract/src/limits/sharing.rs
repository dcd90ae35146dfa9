//! Limits of what many requests share: a model, its KV caches and the cores of the machine.

use std::time::Duration;

use super::{KIB, PREFILL_CHUNK_TOKENS};

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
pub const DELIVERY_LATE_AFTER: Duration = Duration::from_micros(100);
/// Bytes from which on the keys or values of a layer have pages of their own on the CPU.
pub const CACHE_PAGES_BYTES: usize = 32 * KIB;
/// Time that a thread which computes waits for another such thread before it sleeps.
pub const COMPUTE_SPIN_TIME: Duration = Duration::from_micros(200);
/// Time that one which helps waits for work before it sleeps: longer than it takes to choose a token and send it on its way,
/// since to be woken takes as long as half a pass of a small model.
pub const COMPUTE_IDLE_SPIN: Duration = Duration::from_millis(1);
/// Time after a pass on the CPU for which its cores still count as wanted: most are followed by the next.
pub const CORES_BUSY_HOLD: Duration = Duration::from_millis(1);
/// Sequences of a step of decode up to which a GPU runs it as a whole, recorded (a number): with more, kernels take longer than
/// it takes to launch them.
pub const REPLAYED_ROWS_MAX: usize = 8;
/// Steps of so many sequences, one of which is recorded the last (a number).
pub const REPLAYED_STEPS_MIN: u32 = 2;
/// Prompt tokens of one turn, all sequences together.
pub const STEP_PREFILL_TOKENS: usize = PREFILL_CHUNK_TOKENS;
/// Prompt tokens of one turn that several tenants share, until it is known how long the device takes; and at least of one
/// that a tenant has for itself while others were there lately.
pub const STEP_PREFILL_TOKENS_SHARED: usize = 128;
/// Prompt tokens of one turn at least, however slow the device.
pub const STEP_PREFILL_TOKENS_MIN: usize = 32;
/// Time of one turn with prompts that several tenants share, or that may not be given up for another. Where it is more,
/// `STEP_DECODES_SHARED` counts.
pub const STEP_TIME_SHARED: Duration = Duration::from_millis(1);
/// The same in steps of a single token (a number): on a slow device shorter turns would only read the weights more often.
pub const STEP_DECODES_SHARED: u32 = 4;
/// Time of one turn with prompts beside answers of the same tenant: what these may be held up.
pub const STEP_TIME_ALONE: Duration = Duration::from_millis(500);
/// Time after which what a tenant used of the device counts for 1/e of what it was.
pub const SHARE_DECAY: Duration = Duration::from_secs(10);
/// Device time, per weight, that a tenant may have used beyond another that has work before it rests. What it used up to its
/// fair share of the last `SHARE_DECAY` is never held against it.
pub const SHARE_LEAD_MAX: Duration = Duration::from_secs(1);
/// Device time, per weight, of what a tenant has asked for, up to which it may go before what others asked for; and time, of
/// the last `SHARE_DECAY`, that these wait for such at most.
pub const SHORT_JOB_TIME: Duration = Duration::from_secs(2);
/// The same device time in percent of what they asked for, where that is more.
pub const SHORT_JOB_PERCENT: u32 = 10;
/// The same time at most, however much they asked for. And what a tenant that had nothing to do before may use before it rests
/// for others that used less.
pub const SHORT_JOB_TIME_MAX: Duration = Duration::from_secs(8);
/// Times that the others must have asked for more than that (a number).
pub const SHORT_JOB_TIMES: u32 = 2;
/// Part of a turn's time, in percent, by which tenants that rest may lengthen the turns of others, so that they still move.
pub const THROTTLE_PERCENT: u32 = 5;
/// Time that a tenant rests before it does that: nobody notices a short pause, and short answers of others are not made longer.
pub const THROTTLE_TIME: Duration = Duration::from_secs(1);
/// Time after its last turn for which a tenant's use is remembered at all.
pub const SHARE_FORGET_TIME: Duration = Duration::from_secs(100);
/// Turns of a sequence, one after the other, that are given up for others (a number); the next is not.
pub const STEP_PREEMPTIONS_MAX: u32 = 4;
/// Answers of one tenant, per weight, that advance in one turn while another tenant has fewer.
pub const STEP_SEQUENCES_SHARED: usize = 8;
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
