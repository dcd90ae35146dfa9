//! The SDK for Firebox plugins: implement [`Plugin`] and the trait of each stage, then list them in [`plugin!`].
//!
//! ```
//! use firebox_sdk::{Plugin, Text, TextVerdict};
//!
//! struct Shout;
//!
//! impl Plugin for Shout {
//!     const DESCRIPTION: &'static str = "Says everything louder.";
//!
//!     fn init(_config_json: &str) -> Result<Self, String> {
//!         Ok(Shout)
//!     }
//! }
//!
//! impl Text for Shout {
//!     fn push(&mut self, chunk: String) -> Result<TextVerdict, String> {
//!         Ok(TextVerdict::Emit(chunk.to_uppercase()))
//!     }
//! }
//!
//! firebox_sdk::plugin!(Shout: text);
//! ```
//!
//! Built for `wasm32-unknown-unknown`, this is a component that exports `lifecycle` and `text` and imports only the log. Built
//! for any other target, it is a library that `cargo test` can run. A plugin has no clock, environment or standard output. A
//! panic ends the call, and its message and location reach the host's log.

mod arguments;
#[doc(hidden)]
pub mod bindings;
#[doc(hidden)]
pub mod instance;
mod json;
pub mod keyvalue;
pub mod kv;
pub mod log;
pub mod model;
pub mod progress;
mod tool;
pub mod vocabulary;

pub use arguments::Arguments;
pub use bindings::embedding::exports::firebox::plugin::embedding::{
    Request as EmbeddingRequest, Vectors, VectorsVerdict, Verdict as EmbeddingVerdict,
};
pub use bindings::prompt::stage::{
    Adjustment as PromptAdjustment, Request as PromptRequest, Sampling as PromptSampling, Verdict as PromptVerdict,
};
pub use bindings::prompt::types::{Message, Role, ToolCall};
pub use bindings::text::exports::firebox::plugin::text::Verdict as TextVerdict;
pub use bindings::token::exports::firebox::plugin::token::{
    Action as TokenAction, Needs as TokenNeeds, Sequence as TokenSequence, Step as TokenStep, Weighted,
};
pub use bindings::tool::exports::firebox::plugin::tool::{Blob, Content, Definition, Effects, Outcome};
pub use bindings::tool_call::exports::firebox::plugin::tool_call::{
    Outcome as SeenOutcome, OutcomeVerdict, Verdict as CallVerdict,
};
pub use json::quoted as json_string;

/// A plugin. One value serves one request.
pub trait Plugin: Sized + 'static {
    /// One-line description of the plugin. The command `/plugins` of `firebox chat` shows it.
    const DESCRIPTION: &'static str;

    /// Creates an instance. `config_json` is the text of one JSON object, or `{}` if the operator gave none.
    ///
    /// # Errors
    /// The problem with the configuration, and the remedy.
    fn init(config_json: &str) -> Result<Self, String>;
}

/// The prompt stage. It runs before the model sees the messages.
pub trait Prompt: Plugin {
    /// Decides about the messages. Called at most once per instance.
    ///
    /// # Errors
    /// A failure of the plugin itself. To refuse a request, return [`PromptVerdict::Refuse`].
    fn process(&mut self, request: PromptRequest) -> Result<PromptVerdict, String>;
}

impl Default for PromptSampling {
    /// Every token by its own probability, without limit, for tests.
    fn default() -> Self {
        Self { temperature: 1.0, top_p: 1.0, top_k: 0, min_p: 0.0, max_tokens: None, stop: Vec::new() }
    }
}

impl Default for PromptAdjustment {
    /// No change.
    fn default() -> Self {
        Self {
            messages: None,
            temperature: None,
            top_p: None,
            top_k: None,
            min_p: None,
            max_tokens: None,
            stop: Vec::new(),
        }
    }
}

/// The token stage. It runs for each token of an answer, before the token is chosen.
pub trait Token: Plugin {
    /// The state for one sequence, which is one message of the assistant.
    type Session: TokenSession;

    /// Starts a session, at the start of each message of the assistant.
    ///
    /// # Errors
    /// A failure of the plugin itself.
    fn start(&mut self, sequence: TokenSequence) -> Result<Self::Session, String>;
}

/// The token stage of one sequence.
pub trait TokenSession: 'static {
    /// What the session needs at each call. By default no candidates, and no tokens are held back.
    fn needs(&self) -> TokenNeeds {
        TokenNeeds { candidates: 0, hold_back: 0 }
    }

    /// Decides about the next token.
    ///
    /// # Errors
    /// A failure of the plugin itself.
    fn next(&mut self, step: TokenStep) -> Result<TokenAction, String>;
}

/// The text stage. It runs while the model's text streams out.
pub trait Text: Plugin {
    /// Decides about a chunk, which is not empty and contains complete characters.
    ///
    /// # Errors
    /// A failure of the plugin itself.
    fn push(&mut self, chunk: String) -> Result<TextVerdict, String>;

    /// Ends the turn, and returns the text that the plugin has buffered. Another turn may follow on the same instance.
    ///
    /// # Errors
    /// A failure of the plugin itself.
    fn finish(&mut self) -> Result<String, String> {
        Ok(String::new())
    }
}

/// The tool stage: functions for the model and for MCP clients.
pub trait Tool: Plugin {
    /// The tools of the plugin. They must be the same at every call of an instance.
    fn definitions(&self) -> Vec<Definition>;

    /// Runs the tool `name`. `arguments_json` is the text of one JSON object. Errors are outcomes, which the model sees.
    fn call(&mut self, name: &str, arguments_json: &str) -> Outcome;
}

/// The tool call stage. It sees each call that the host runs, whoever offers the tool, and its result.
pub trait ToolGuard: Plugin {
    /// Decides about a call, before it is approved.
    ///
    /// # Errors
    /// A failure of the plugin itself. To stop a call, return [`CallVerdict::Refuse`].
    fn before(&mut self, call: ToolCall) -> Result<CallVerdict, String> {
        let _ = call;
        Ok(CallVerdict::Unchanged)
    }

    /// Decides about the result of a call that ran.
    ///
    /// # Errors
    /// A failure of the plugin itself.
    fn after(&mut self, call: ToolCall, outcome: SeenOutcome) -> Result<OutcomeVerdict, String> {
        let _ = (call, outcome);
        Ok(OutcomeVerdict::Unchanged)
    }
}

/// The embedding stage. It runs before and after an encoder computes vectors.
pub trait Embedding: Plugin {
    /// Decides about the texts.
    ///
    /// # Errors
    /// A failure of the plugin itself. To refuse texts, return [`EmbeddingVerdict::Refuse`].
    fn before(&mut self, request: EmbeddingRequest) -> Result<EmbeddingVerdict, String> {
        let _ = request;
        Ok(EmbeddingVerdict::Unchanged)
    }

    /// Decides about the vectors.
    ///
    /// # Errors
    /// A failure of the plugin itself.
    fn after(&mut self, vectors: Vectors) -> Result<VectorsVerdict, String> {
        let _ = vectors;
        Ok(VectorsVerdict::Unchanged)
    }
}

/// Exports a type as the plugin: `plugin!(Type: stage, ...)` with the stages `prompt`, `token`, `text`, `tool_call`, `tool`
/// and `embedding`.
///
/// The plugin's name and version are those of the calling package. Use the macro once, at the root of the crate.
#[macro_export]
macro_rules! plugin {
    ($type:ident : $($stage:ident),+ $(,)?) => {
        #[cfg(target_arch = "wasm32")]
        #[doc(hidden)]
        mod __firebox_component {
            struct Component;

            ::std::thread_local! {
                static INSTANCE: $crate::instance::Slot<super::$type> = const { $crate::instance::Slot::new(None) };
            }

            impl $crate::instance::Host for Component {
                type Plugin = super::$type;
                const NAME: &'static str = env!("CARGO_PKG_NAME");
                const VERSION: &'static str = env!("CARGO_PKG_VERSION");

                fn with_slot<R>(f: impl FnOnce(&mut Option<super::$type>) -> R) -> R {
                    INSTANCE.with(|slot| f(&mut slot.borrow_mut()))
                }
            }

            $crate::bindings::base::export!(Component with_types_in $crate::bindings::base);
            $($crate::bindings::$stage::export!(Component with_types_in $crate::bindings::$stage);)+
        }

        const _: fn() = || {
            $($crate::__serves!($stage, $type);)+
        };
    };
}

/// Checks on every target that the type implements the trait of each stage, so that the compiler names a missing trait.
#[doc(hidden)]
#[macro_export]
macro_rules! __serves {
    (prompt, $type:ident) => {{
        fn serves_prompt<T: $crate::Prompt>() {}
        serves_prompt::<$type>();
    }};
    (token, $type:ident) => {{
        fn serves_token<T: $crate::Token>() {}
        serves_token::<$type>();
    }};
    (tool_call, $type:ident) => {{
        fn serves_tool_call<T: $crate::ToolGuard>() {}
        serves_tool_call::<$type>();
    }};
    (embedding, $type:ident) => {{
        fn serves_embedding<T: $crate::Embedding>() {}
        serves_embedding::<$type>();
    }};
    (text, $type:ident) => {{
        fn serves_text<T: $crate::Text>() {}
        serves_text::<$type>();
    }};
    (tool, $type:ident) => {{
        fn serves_tool<T: $crate::Tool>() {}
        serves_tool::<$type>();
    }};
    ($other:ident, $type:ident) => {
        compile_error!(concat!(
            "no stage \"",
            stringify!($other),
            "\": the stages are prompt, token, text, tool_call, tool and embedding"
        ));
    };
}
