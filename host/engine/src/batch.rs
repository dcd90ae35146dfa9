//! The model's thread: continuous batching, chunked prefill, KV residency and the prefix cache.
//!
//! One OS thread owns a model. [`worker`] is its handle and [`step_loop`] its loop. A *step* is one forward pass over a
//! batch of sequences: the scheduler gives each sequence one token to decode, or a chunk of its prompt to prefill.
//! Sequences join and leave the batch between steps (continuous batching, Yu et al. 2022, "Orca"), and long prompts are
//! split over several steps (chunked prefill, Agrawal et al. 2023, "Sarathi").
//!
//! [`sequence_pool`] decides which sequences have their keys and values in the model's memory. A sequence that must give
//! up its KV cache to others is preempted: it waits and is computed again (recomputation, Kwon et al. 2023, "vLLM").
//! [`prefix_cache`] keeps the caches of ended sequences for later prompts of the same tenant with the same beginning.
//! [`supervisor`] catches the model's panics and reloads it. [`warm_up`] runs the model before the first request.
//! [`speculation`] drafts tokens that a step verifies together with the next one. [`token_stage`] asks plugins about tokens.

pub(crate) mod prefix_cache;
pub(crate) mod sequence;
pub(crate) mod sequence_pool;
pub(crate) mod speculation;
pub(crate) mod step_loop;
pub(crate) mod supervisor;
pub(crate) mod token_stage;
pub(crate) mod warm_up;
pub(crate) mod worker;

pub use speculation::Speculation;
pub use supervisor::ModelFactory;
