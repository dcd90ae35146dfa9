//! Plugins in requests: chains, stages, faults, and many requests at the same time.

mod chain;
mod concurrency;
mod embeddings;
mod functions;
mod policy;
mod stages;
mod tokens;
mod tool_calls;
