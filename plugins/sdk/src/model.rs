//! The model that serves the request: `firebox:plugin/model`. The functions work at the stages prompt, tool call and tool, and
//! need the grants `model:generate`, `model:embed` and `model:tokenize`. The tenant of the request pays for what a plugin uses.
//! Works in WebAssembly only.
//!
//! ```no_run
//! use firebox_sdk::model::{self, Options};
//!
//! fn translated(text: &str) -> Result<String, String> {
//!     let options = Options { max_tokens: Some(200), ..Options::default() };
//!     let answer = model::ask("Translate the text of the user into French.", text, &options);
//!     Ok(answer.map_err(|error| model::message(&error))?.text)
//! }
//! ```

pub use crate::bindings::model::firebox::plugin::model::{
    Completion, Error, Finish, Limits, Message, Options, Prompt, Usage, Vectors, embed, generate, remaining, tokenize,
};
pub use crate::bindings::prompt::types::Role;

impl Default for Options {
    /// The defaults of the model, and an answer of at most 512 tokens.
    fn default() -> Self {
        Self { max_tokens: None, temperature: None, seed: None, stop: Vec::new() }
    }
}

/// The answer of the model to `user`, with the instructions `system`.
///
/// # Errors
/// As [`generate`].
pub fn ask(system: &str, user: &str, options: &Options) -> Result<Completion, Error> {
    let message = |role, content: &str| Message { role, content: content.to_owned() };
    generate(&Prompt::Chat(vec![message(Role::System, system), message(Role::User, user)]), options)
}

/// The error as text for a person or a model.
#[must_use]
pub fn message(error: &Error) -> String {
    match error {
        Error::Denied => "the plugin was not granted the model".to_owned(),
        Error::Stage => "the model cannot be used at this stage".to_owned(),
        Error::Nested => "the model cannot be used within a generation of a plugin".to_owned(),
        Error::Absent(reason)
        | Error::Limited(reason)
        | Error::Invalid(reason)
        | Error::Refused(reason)
        | Error::Unavailable(reason) => reason.clone(),
    }
}
