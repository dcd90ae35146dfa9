//! What the crates of Firebox share: the traits, ids, limits and errors that let models, sandbox and engine
//! stay strangers to each other.
//!
//! Invariant I1: this crate depends on nothing heavier than `thiserror`. Invariant I5: nothing in it derives
//! `Serialize`; wire formats belong to the doors.

pub mod caller;
pub mod chat;
pub mod clock;
pub mod decaying_sum;
pub mod encoder;
pub mod error;
pub mod fault;
pub mod gate;
pub mod generation;
pub mod hook;
pub mod json;
pub mod limits;
pub mod liveness;
pub mod model;
pub mod sampling;
pub mod texts;
pub mod tool;

use std::future::Future;
use std::pin::Pin;

pub use caller::{Caller, TenantId};
pub use chat::{Chat, ChatOptions, Message, PromptEnd, Role, ToolCall, ToolDefinition, ToolEffects};
pub use clock::{Clock, DeliveryTracker, PendingDelivery};
pub use decaying_sum::DecayingSum;
pub use encoder::{Encoder, EncoderProfile, EncoderText, Encoding, VectorForm};
pub use error::{Error, ErrorKind};
pub use fault::{Fault, FaultCause, Stage};
pub use gate::{Decision, Gate, OpenGate, RequestUsage, Reservation};
pub use generation::{Event, Finish, FinishReason, GenerationRequest, Prompt, Timing, ToolOptions, Usage};
pub use hook::{
    HookSource, Hooks, LogLine, PluginUse, PromptHook, PromptVerdict, RequestInfo, TextHook, TextVerdict, ToolHook,
    ToolOutcome,
};
pub use json::json_values;
pub use liveness::{Liveness, LivenessHandle};
pub use model::{
    CacheUse, Encoded, LanguageModel, Logits, ModelInfo, SequenceId, Span, TextCodec, TextDecoder, TokenCount, TokenId,
};
pub use sampling::{Sampling, SamplingOverrides};
pub use texts::{TokenText, TokenTexts};
pub use tool::{Approval, Approver, Permission, Progress, ToolChoice, ToolContent, ToolPolicy, ToolSource};

/// A boxed future, so that the traits here stay object-safe without an async runtime below them.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
