//! The operating system and the small tools around it: time, memory, threads, directories, file locks, units.

pub mod clock;
pub mod cpu;
pub mod directories;
pub(crate) mod file_lock;
pub(crate) mod log_rate_limit;
pub mod memory;
pub mod memory_limit;
pub(crate) mod threads;
pub mod time;
pub mod units;
