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
pub mod log;
pub mod progress;
mod tool;

pub use arguments::Arguments;
pub use bindings::prompt::exports::firebox::plugin::prompt::{Request as PromptRequest, Verdict as PromptVerdict};
pub use bindings::prompt::firebox::plugin::types::{Message, Role, ToolCall};
pub use bindings::text::exports::firebox::plugin::text::Verdict as TextVerdict;
pub use bindings::tool::exports::firebox::plugin::tool::{Blob, Content, Definition, Effects, Outcome};

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

/// Exports a type as the plugin: `plugin!(Type: stage, ...)` with the stages `prompt`, `text` and `tool`.
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
    (text, $type:ident) => {{
        fn serves_text<T: $crate::Text>() {}
        serves_text::<$type>();
    }};
    (tool, $type:ident) => {{
        fn serves_tool<T: $crate::Tool>() {}
        serves_tool::<$type>();
    }};
    ($other:ident, $type:ident) => {
        compile_error!(concat!("no stage \"", stringify!($other), "\": the stages are prompt, text and tool"));
    };
}
