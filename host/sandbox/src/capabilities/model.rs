//! `firebox:plugin/model`: the model that serves the request, for its plugins. The engine charges and limits the tenant; here the
//! stage, the depth and what one call of a guest may use are checked.

use std::sync::Arc;

use firebox_contract::{
    Error as HostError, FinishReason, Message, PluginAnswer, PluginPrompt, PluginVectors, Prompt, RequestModel, Role,
    SamplingOverrides, Stage, limits,
};
use wasmtime::component::{HasSelf, Linker};

use self::bindings::firebox::plugin::model::{self, Completion, Error, Finish, Host, Limits, Options, add_to_linker};
use self::bindings::firebox::plugin::types;
use super::metrics::count_of_host;
use crate::instance::guest::GuestData;
use crate::instance::log::cut;
use crate::plugin::grants::capability::{Capability, Use};

#[allow(unreachable_pub, missing_docs, reason = "generated code")]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "package firebox:host-model; world imports { import firebox:plugin/model@0.1.0; }",
        imports: { default: async },
    });
}

/// The functions of the interface, which are the parameters of the capability.
pub(crate) const FUNCTIONS: &[&str] = &["generate", "embed", "tokenize"];

/// What one call of a guest has used of the model.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ModelUse {
    calls: usize,
    tokens: usize,
}

impl ModelUse {
    fn calls_left(self) -> usize {
        limits::PLUGIN_MODEL_CALLS_MAX.saturating_sub(self.calls)
    }

    fn tokens_left(self) -> usize {
        limits::PLUGIN_MODEL_CALL_TOKENS_MAX.saturating_sub(self.tokens)
    }
}

impl GuestData {
    /// The model, if the guest may call `function` now.
    fn model_for(&mut self, function: &str) -> Result<Arc<dyn RequestModel>, Error> {
        self.check(&Use::Named(Capability::Model, function)).map_err(|_| Error::Denied)?;
        self.reachable()
    }

    /// The model, at a stage where the request computes nothing else.
    fn reachable(&self) -> Result<Arc<dyn RequestModel>, Error> {
        if !matches!(self.stage, Stage::Prompt | Stage::ToolCall | Stage::Tool) {
            return Err(Error::Stage);
        }
        let model = self.identity.own_model.get().cloned();
        let model = model.ok_or_else(|| Error::Absent("no model serves this request".to_owned()))?;
        if model.depth() >= limits::PLUGIN_MODEL_NESTED_GENERATIONS_MAX { Err(Error::Nested) } else { Ok(model) }
    }

    /// # Errors
    /// `Error::Invalid` for a text with a secret of the plugin, which other plugins and the model would see.
    fn check_secrets<'a>(&self, mut texts: impl Iterator<Item = &'a str>) -> Result<(), Error> {
        let Some(secrets) = &self.secrets else { return Ok(()) };
        match texts.find_map(|text| secrets.scanner.find(text.as_bytes())) {
            Some(name) => Err(Error::Invalid(format!("the text contains the secret \"{name}\""))),
            None => Ok(()),
        }
    }

    /// Counts a call of one of the functions, and returns the tokens that are left.
    fn count_call(&mut self) -> Result<usize, Error> {
        if self.model_use.calls_left() == 0 {
            let max = limits::PLUGIN_MODEL_CALLS_MAX;
            return Err(Error::Limited(format!("the model was called {max} times in this call, the limit")));
        }
        self.model_use.calls += 1;
        let meter = self.meter();
        count_of_host(meter.as_ref(), "model_calls", 1);
        match self.model_use.tokens_left() {
            0 => {
                let max = limits::PLUGIN_MODEL_CALL_TOKENS_MAX;
                Err(Error::Limited(format!("this call has used {max} tokens of the model, the limit")))
            }
            left => Ok(left),
        }
    }

    fn count_tokens(&mut self, tokens: usize) {
        self.model_use.tokens += tokens;
        self.call_state.add_model_tokens(tokens as u64);
        let meter = self.meter();
        count_of_host(meter.as_ref(), "model_tokens", tokens as u64);
    }

    /// The error for the guest. Its text names nothing of the host.
    fn model_error(error: &HostError) -> Error {
        let text = || cut(&error.to_string(), limits::PLUGIN_ERROR_BYTES_MAX).to_owned();
        match error {
            HostError::Limited { .. } | HostError::TooLarge(_) => Error::Limited(text()),
            HostError::Usage(_) => Error::Invalid(text()),
            HostError::Refused(_) | HostError::Denied(_) | HostError::Unauthorized(_) => Error::Refused(text()),
            HostError::NotFound(_) => Error::Absent(text()),
            HostError::Unavailable(_) | HostError::Timeout(_) | HostError::Fault(_) => Error::Unavailable(text()),
            _ => Error::Unavailable("the model failed".to_owned()),
        }
    }

    fn completion(&mut self, answer: PluginAnswer) -> Completion {
        let usage = answer.usage;
        self.count_tokens(usage.prompt_tokens + usage.completion_tokens);
        for line in answer.log {
            self.log.write(line.level, &format!("in its generation, {}: {}", line.plugin, line.message));
        }
        let usage =
            model::Usage { prompt_tokens: small(usage.prompt_tokens), answer_tokens: small(usage.completion_tokens) };
        Completion { text: answer.text, finish: finish(answer.finish), usage }
    }

    fn vectors(&mut self, found: &PluginVectors) -> Result<model::Vectors, Error> {
        self.count_tokens(found.tokens);
        let dimensions = found.vectors.first().map_or(0, Vec::len);
        if found.vectors.iter().any(|vector| vector.len() != dimensions) {
            return Err(Error::Unavailable("the vectors have several lengths".to_owned()));
        }
        Ok(model::Vectors {
            dimensions: small(dimensions),
            values: found.vectors.concat(),
            tokens: small(found.tokens),
        })
    }
}

impl Host for GuestData {
    async fn generate(&mut self, prompt: model::Prompt, options: Options) -> Result<Completion, Error> {
        let model = self.model_for("generate")?;
        let prompt = prompt_of(prompt)?;
        match &prompt {
            Prompt::Text(text) => self.check_secrets(std::iter::once(text.as_str()))?,
            Prompt::Chat(messages) => self.check_secrets(messages.iter().map(|message| message.content.as_str()))?,
        }
        let left = self.count_call()?;
        let max_tokens = options.max_tokens.map_or(limits::PLUGIN_MODEL_ANSWER_TOKENS_DEFAULT, |max| max as usize);
        let sampling = SamplingOverrides {
            temperature: options.temperature,
            seed: options.seed,
            max_tokens: Some(max_tokens.min(left)),
            stop: options.stop,
            ..SamplingOverrides::default()
        };
        let prompt = PluginPrompt { prompt, sampling, tokens_max: left };
        let answer = model.generate(self.identity.plugin(), prompt).await;
        answer.map(|answer| self.completion(answer)).map_err(|error| Self::model_error(&error))
    }

    async fn embed(&mut self, name: Option<String>, texts: Vec<String>) -> Result<model::Vectors, Error> {
        let model = self.model_for("embed")?;
        check_texts(&texts)?;
        self.check_secrets(texts.iter().map(String::as_str))?;
        let left = self.count_call()?;
        let found = model.embed(self.identity.plugin(), name, texts, left).await;
        self.vectors(&found.map_err(|error| Self::model_error(&error))?)
    }

    async fn tokenize(&mut self, text: String) -> Result<Vec<u32>, Error> {
        let model = self.model_for("tokenize")?;
        check_bytes(text.len())?;
        self.count_call()?;
        model.tokenize(text).await.map_err(|error| Self::model_error(&error))
    }

    async fn remaining(&mut self) -> Result<Limits, Error> {
        let permissions = &self.identity.permissions;
        let granted = FUNCTIONS.iter().find(|name| permissions.allow(&Use::Named(Capability::Model, name)));
        let model = match granted {
            Some(_) => self.reachable()?,
            // Says in the log what is missing.
            None => self.model_for("generate")?,
        };
        let (used, context) = (self.model_use, model.context_tokens());
        Ok(Limits {
            context_tokens: small(context),
            tokens: small(used.tokens_left()),
            calls: small(used.calls_left()),
        })
    }
}

/// The prompt, within its limits.
fn prompt_of(prompt: model::Prompt) -> Result<Prompt, Error> {
    let messages = match prompt {
        model::Prompt::Text(text) => {
            check_bytes(text.len())?;
            return Ok(Prompt::Text(text));
        }
        model::Prompt::Chat(messages) => messages,
    };
    let max = limits::PLUGIN_MODEL_MESSAGES_MAX;
    if messages.is_empty() || messages.len() > max {
        return Err(Error::Invalid(format!("a conversation has 1 to {max} messages, not {}", messages.len())));
    }
    check_bytes(messages.iter().map(|message| message.content.len()).sum())?;
    let message = |message: model::Message| {
        let role = match message.role {
            types::Role::System => Role::System,
            types::Role::User => Role::User,
            types::Role::Assistant => Role::Assistant,
            types::Role::Tool => return Err(Error::Invalid("a message of a tool is not allowed".to_owned())),
        };
        Ok(Message::text(role, message.content))
    };
    messages.into_iter().map(message).collect::<Result<_, _>>().map(Prompt::Chat)
}

fn check_texts(texts: &[String]) -> Result<(), Error> {
    let max = limits::PLUGIN_MODEL_TEXTS_MAX;
    if texts.is_empty() || texts.len() > max || texts.iter().any(String::is_empty) {
        return Err(Error::Invalid(format!("1 to {max} texts are embedded at once, and none is empty")));
    }
    check_bytes(texts.iter().map(String::len).sum())
}

fn check_bytes(bytes: usize) -> Result<(), Error> {
    let max = limits::PLUGIN_MODEL_INPUT_BYTES_MAX;
    if bytes <= max {
        Ok(())
    } else {
        Err(Error::Invalid(format!("{bytes} bytes of text are too many; at most {max}")))
    }
}

fn finish(reason: FinishReason) -> Finish {
    match reason {
        FinishReason::Length | FinishReason::ContextFull => Finish::Length,
        FinishReason::Timeout => Finish::Timeout,
        FinishReason::Plugin => Finish::Plugin,
        _ => Finish::Stop,
    }
}

/// A number that its limit keeps small.
fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Adds the interface to the imports of guests.
///
/// # Errors
/// Wasmtime's error, if a name is defined twice.
pub(super) fn link(linker: &mut Linker<GuestData>) -> wasmtime::Result<()> {
    add_to_linker::<GuestData, HasSelf<GuestData>>(linker, |data| data)
}
