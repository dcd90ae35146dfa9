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
/// Period of the clock that interrupts plugin calls.
pub const EPOCH_TICK: Duration = Duration::from_millis(1);
/// Periods of `EPOCH_TICK` without a running plugin call after which the clock that interrupts plugin calls sleeps.
pub const EPOCH_IDLE_TICKS: u32 = 10;
/// Fuel after which a plugin call yields to other tasks, less than it uses in one `EPOCH_TICK`. The clock is a thread, and it
/// may wait for the core of the plugin call that it interrupts.
pub const PLUGIN_TURN_FUEL: u64 = 250_000;
/// CPU time of a plugin call at normal priority. Concurrent calls of one tenant share it, and each gets at least one
/// `EPOCH_TICK`.
pub const PLUGIN_QUICK_TIME: Duration = Duration::from_millis(10);
/// Decay time (to 1/e) of the normal-priority CPU time that the plugin calls of a tenant have used.
pub const PLUGIN_QUICK_MEMORY: Duration = Duration::from_millis(100);
/// Low-priority threads for plugin calls, as a fraction of the cores.
pub const PLUGIN_SLOW_CORES_DIVISOR: usize = 2;
/// Niceness of the low-priority threads for plugin calls. At this value a thread gets less than a tenth of a busy core.
pub const PLUGIN_SLOW_NICENESS: i32 = 10;
/// CPU time per second and core that the plugin calls of a tenant can always use.
pub const PLUGIN_SHARE_RATE: Duration = Duration::from_millis(10);
/// Decay time (to 1/e) of the CPU time that the plugin calls of a tenant have used.
pub const PLUGIN_SHARE_MEMORY: Duration = Duration::from_secs(10);
/// Longest delay of a low-priority plugin call while models use every core.
pub const PLUGIN_HELD_BACK_MAX: Duration = Duration::from_millis(50);
/// Percentage of the CPU share of a tenant below which the share counts as low.
pub const PLUGIN_HELD_BACK_PERCENT: u32 = 50;
/// Period at which a delayed plugin call checks whether models still use every core.
pub const PLUGIN_HELD_BACK_PERIOD: Duration = Duration::from_millis(10);
/// Period at which an idle-priority plugin call checks whether its tenant has CPU share again.
pub const PLUGIN_RECALL_PERIOD: Duration = Duration::from_millis(100);
/// Time after its timeout at which a low-priority plugin call that got no CPU time is stopped.
pub const PLUGIN_SLOW_GRACE: Duration = Duration::from_millis(20);
