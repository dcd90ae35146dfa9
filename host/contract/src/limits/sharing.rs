//! Limits of sharing the CPU: request threads, model threads and background work on the same cores.

use std::time::Duration;

// ---- Sharing the CPU ------------------------------------------------------------------------------------------

/// Time slice that the threads which serve requests ask the scheduler of Linux for.
pub const SERVING_SLICE: Duration = Duration::from_micros(100);
/// Time after which a token that was sent and not yet delivered counts as late. Compute threads then yield their cores once.
pub const DELIVERY_LATE_AFTER: Duration = Duration::from_micros(100);
/// Time after a step on the CPU for which its cores still count as busy, because the next step usually follows.
pub const CORES_BUSY_HOLD: Duration = Duration::from_millis(1);
/// Background threads of one process, which parse large bodies and tokenize long prompts of all models.
pub const BACKGROUND_THREADS_MAX: usize = 16;
/// Niceness of the background threads. At this value a thread gets a third of the time of a thread at normal priority.
pub const BACKGROUND_NICENESS: i32 = 5;
/// Period of the epoch, at which a plugin call yields to other tasks of its thread.
pub const EPOCH_TICK: Duration = Duration::from_millis(1);
/// Periods of `EPOCH_TICK` without a running plugin call after which the thread that advances the epoch sleeps.
pub const EPOCH_IDLE_TICKS: u32 = 10;
/// Time of a plugin call at normal priority. After that it continues on low-priority threads.
pub const PLUGIN_NORMAL_TIME: Duration = Duration::from_millis(10);
/// Low-priority threads for plugin calls, as a fraction of the cores.
pub const PLUGIN_LOW_CORES_DIVISOR: usize = 2;
/// Niceness of the low-priority threads for plugin calls. At this value a thread gets less than a tenth of a busy core.
pub const PLUGIN_LOW_NICENESS: i32 = 10;
/// CPU budget of a tenant's plugin calls, in CPU time per second and core.
pub const PLUGIN_CPU_BUDGET_RATE: Duration = Duration::from_millis(10);
/// Decay time (to 1/e) of the CPU time that the plugin calls of a tenant have used.
pub const PLUGIN_CPU_BUDGET_DECAY: Duration = Duration::from_secs(10);
/// Pause before each time slice of a low-priority plugin call, while models use every core and its tenant is over its CPU
/// budget.
pub const PLUGIN_THROTTLE_PAUSE: Duration = Duration::from_millis(50);
/// Time after its timeout at which a low-priority plugin call that got no CPU time is stopped.
pub const PLUGIN_TIMEOUT_GRACE: Duration = Duration::from_millis(20);
