//! The traits, ids, limits and errors that the crates of Firebox share. Because of them `models`, `sandbox`, `engine` and
//! `mcp` do not depend on each other.
//!
//! Invariant I1: this crate depends on `thiserror` only. Invariant I5: no type in it derives `Serialize`; the CLI, HTTP
//! and MCP layers define the wire formats.

pub mod caller;
pub mod chat;
pub mod clock;
pub mod decaying_sum;
pub mod error;
pub mod gate;
pub mod generation;
pub mod hook;
pub mod limits;
pub mod model;
pub mod tool;

use std::future::Future;
use std::pin::Pin;

pub use caller::liveness::{Liveness, LivenessHandle};
pub use caller::{Caller, TenantId};
pub use chat::json::json_values;
pub use chat::{Chat, ChatOptions, Message, PromptEnd, Role, ToolCall, ToolDefinition, ToolEffects};
pub use clock::{Clock, DeliveryTracker, PendingDelivery};
pub use decaying_sum::DecayingSum;
pub use error::fault::{Fault, FaultCause, Stage};
pub use error::panic::panic_text;
pub use error::{Error, ErrorKind};
pub use gate::{Decision, Gate, OpenGate, RequestUsage, Reservation};
pub use generation::grammar::{ArgumentStyle, ArgumentValues, Grammar, GrammarCompiler, TokenConstraint, TokenMask};
pub use generation::logprobs::{LOGPROB_LEAST, ScoredToken, TokenLogprobs};
pub use generation::sampling::{Sampling, SamplingChange, SamplingOverrides};
pub use generation::{
    Event, Finish, FinishReason, GenerationRequest, Prompt, ReasoningOptions, Timing, ToolOptions, Usage,
};
pub use hook::embedding::{EmbeddingHook, EmbeddingVerdict};
pub use hook::model::{
    ModelHandle, PluginAnswer, PluginEmbedder, PluginPrompt, PluginTexts, PluginVectors, RequestModel,
};
pub use hook::token::{TokenAction, TokenHook, TokenNeeds, TokenRule, TokenSequence, TokenSession, TokenStep};
pub use hook::tool_call::{CallVerdict, ToolCallHook};
pub use hook::{
    HookSource, Hooks, LogLine, PluginUse, PromptHook, PromptVerdict, RequestInfo, TextHook, TextVerdict, ToolHook,
    ToolOutcome,
};
pub use model::encoder::{Encoder, EncoderProfile, EncoderTask, EncoderText, Encoding, VectorForm};
pub use model::token_texts::{TokenText, TokenTexts};
pub use model::{
    CacheUse, Encoded, LanguageModel, Logits, ModelInfo, SequenceId, Span, TextCodec, TextDecoder, TokenCount, TokenId,
};
pub use tool::{Approval, Approver, Permission, Progress, ToolChoice, ToolContent, ToolPolicy, ToolSource};

/// A boxed future. It keeps the traits of this crate object-safe without an async runtime.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
