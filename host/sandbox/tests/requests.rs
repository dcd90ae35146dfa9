//! Plugins in requests: chains, stages, faults, and many requests at the same time.

mod chain;
mod concurrency;
mod policy;
mod stages;
