//! Write a Firebox plugin: implement [`Plugin`] and the traits of the stages it serves, then name both in [`plugin!`].
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
//! Built for `wasm32-unknown-unknown` this is a component that exports `lifecycle` and `text` and imports nothing but
//! the log. Built for any other target it is an ordinary library that `cargo test` can run. There is no clock, no
//! environment and no standard output inside; a panic ends the call, and its message and place reach the host's log.

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

/// What every plugin has. One value serves one request.
pub trait Plugin: Sized + 'static {
    /// One line for people, shown by `firebox plugins`.
    const DESCRIPTION: &'static str;

    /// A new instance. `config_json` is the text of one JSON object, `{}` where the operator gave none.
    ///
    /// # Errors
    /// What is wrong with the configuration, and the remedy.
    fn init(config_json: &str) -> Result<Self, String>;
}

/// The prompt stage: before the model sees the messages.
pub trait Prompt: Plugin {
    /// Called at most once per instance.
    ///
    /// # Errors
    /// The plugin itself failed. To turn a request away answer [`PromptVerdict::Refuse`] instead.
    fn process(&mut self, request: PromptRequest) -> Result<PromptVerdict, String>;
}

/// The text stage: as the model's text streams out.
pub trait Text: Plugin {
    /// `chunk` is never empty and holds whole characters.
    ///
    /// # Errors
    /// The plugin itself failed.
    fn push(&mut self, chunk: String) -> Result<TextVerdict, String>;

    /// The turn is complete: returns what was held back. Another turn may follow on the same instance.
    ///
    /// # Errors
    /// The plugin itself failed.
    fn finish(&mut self) -> Result<String, String> {
        Ok(String::new())
    }
}

/// The tool stage: functions offered to the model, and to any MCP client.
pub trait Tool: Plugin {
    /// The same for every call on an instance.
    fn definitions(&self) -> Vec<Definition>;

    /// `arguments_json` is the text of one JSON object. Errors are outcomes: the model sees them and may try again.
    fn call(&mut self, name: &str, arguments_json: &str) -> Outcome;
}

/// Exports a type as the plugin: `plugin!(Type: stage, ...)` with the stages `prompt`, `text` and `tool`.
///
/// Name and version are those of the calling package. Use it once per crate, at its root.
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

/// Says in the plugin's own words which trait is missing, on every target.
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
