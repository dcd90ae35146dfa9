//! Runs the requests of one model, from admission to the last event. The command line and the HTTP server both call
//! [`Engine::generate`].
//!
//! A request goes through these rooms, in this order:
//! - `admission`: a permit to run, by start-time fair queueing between tenants, or a refusal.
//! - `generation`: the request's stream of events. It renders and tokenizes the prompt, reads tokens, turns them into
//!   text and settles the usage. An *assistant turn* is one message of the model.
//! - `batch`: the thread that owns the model, with continuous batching, chunked prefill, preemption and the prefix cache.
//! - `scheduler`: how many tokens each sequence gets in a step, by fair shares of the device time between tenants.
//! - `sampler`: from logits to the next token, and token healing of forced openings.
//! - `reasoning`: separates the reasoning of a turn from its content.
//! - `toolcall`: finds tool calls in the text of a turn. `tools` decides which tools are offered and runs the calls.
//!
//! Invariant I3: this crate touches no file, socket or clock, except those that [`EngineOptions`] gives it.

mod admission;
mod batch;
mod engine;
mod generation;
mod reasoning;
mod sampler;
mod scheduler;
mod status;
#[cfg(test)]
mod tests;
pub mod toolcall;
mod tools;

pub use admission::fair_clock::FairClock;
pub use admission::tenant_permits::{TenantPermit, TenantPermits};
pub use admission::{Admission, AdmissionLimits, AdmissionPermit};
pub use batch::{ModelFactory, Speculation};
pub use engine::{Engine, EngineOptions};
pub use generation::Generation;
pub use generation::prompt_encoding::{message_bytes, prompt_bytes, tool_bytes, user_text_bytes};
pub use status::{EngineCounters, EngineStatus};
pub use tools::arguments::{ArgumentCheck, check_schema};

pub(crate) use engine::Pipeline;
