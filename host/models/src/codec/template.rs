//! Chat templates: Jinja as Hugging Face renders it, under limits, because a template is a program from a downloaded
//! file.
//!
//! The environment is that of transformers' `_compile_jinja_template`: `trim_blocks`, `lstrip_blocks`, loop controls,
//! `tojson`, `raise_exception`, `strftime_now`, `{% generation %}`, and Python's methods on strings and mappings.

mod clock;
mod content;
mod continued;
mod inputs;
mod sources;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::sync::Arc;

use firebox_contract::{Chat, Message, PromptEnd, Role, limits};
use minijinja::{Environment, ErrorKind};

use crate::checkpoint::Checkpoint;
use crate::checkpoint::json::JsonFile;
use crate::codec::control::ControlTokens;
use crate::codec::jinja::{self, Now, Raised};
use crate::codec::template::content::{ContentForm, ContentForms};
use crate::codec::template::inputs::Inputs;
use crate::error::ModelError;

/// The compiled templates of a checkpoint, and the special tokens that they write.
pub(super) struct ChatTemplate {
    environment: Environment<'static>,
    /// Names and sources. The default template is the first, if there is one.
    sources: Vec<(String, Arc<str>)>,
    /// Names of templates that do not compile, and the reasons.
    broken: Vec<(String, String)>,
    tokens: Vec<(String, String)>,
    forms: ContentForms,
    keeps_questions: bool,
}

/// A prompt, ready for the tokenizer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rendered {
    /// The text that the template wrote.
    pub(super) text: String,
    /// The separator in every control token of the conversation's texts, if there are such texts.
    pub(super) separator: Option<String>,
}

/// Names of the two templates that are chosen by default.
const DEFAULT: &str = "default";

/// The templates of a checkpoint by name; that of the name `default` is the usual one.
///
/// # Errors
/// A file cannot be read or has no template.
pub(crate) fn sources(checkpoint: &Checkpoint) -> Result<Vec<(String, String)>, ModelError> {
    sources::read(checkpoint, checkpoint.json("tokenizer_config.json")?.as_ref())
}
const TOOL_USE: &str = "tool_use";

impl ChatTemplate {
    /// Reads the checkpoint's templates. `tokens` are the special tokens that they may write, by name.
    ///
    /// # Errors
    /// `Template` if the only template is too long or does not compile.
    pub(super) fn load(
        checkpoint: &Checkpoint,
        settings: Option<&JsonFile>,
        tokens: Vec<(String, String)>,
    ) -> Result<Option<Self>, ModelError> {
        let sources = sources::read(checkpoint, settings)?;
        if sources.is_empty() {
            return Ok(None);
        }
        let template = Self::compile(checkpoint.source.label(), sources, tokens, clock::local_time)?;
        for (name, reason) in &template.broken {
            let label = checkpoint.source.label();
            checkpoint
                .warnings()
                .add(format!("\"{label}\": chat template {name:?} is not used, it does not compile: {reason}"));
        }
        Ok(Some(template))
    }

    /// Compiles `(name, source)` pairs. If there are several, those that are not the default may be broken.
    pub(super) fn compile(
        checkpoint: String,
        sources: Vec<(String, String)>,
        tokens: Vec<(String, String)>,
        now: Now,
    ) -> Result<Self, ModelError> {
        let failed = |reason: String| ModelError::Template { checkpoint: checkpoint.clone(), reason };
        let mut environment = jinja::environment(now).map_err(|error| failed(describe(&error)))?;
        let mut broken = Vec::new();
        for (name, text) in &sources {
            match add(&mut environment, name, text) {
                Err(reason) if name == DEFAULT || sources.len() == 1 => return Err(failed(reason)),
                Err(reason) => broken.push((name.clone(), reason)),
                Ok(()) => {}
            }
        }
        let mut sources: Vec<(String, Arc<str>)> =
            sources.into_iter().map(|(name, text)| (name, Arc::from(text))).collect();
        sources.sort_by_key(|(name, _)| name != DEFAULT);
        let forms = ContentForms::default();
        let mut template = Self { environment, sources, broken, tokens, forms, keeps_questions: false };
        template.forms = template.tries_forms();
        template.keeps_questions = template.tries_questions();
        Ok(template)
    }

    /// The source of the template for conversations without tools.
    pub(super) fn source(&self) -> &str {
        self.sources.first().map_or("", |source| &*source.1)
    }

    /// Whether it writes the messages of users unchanged in a conversation of several turns.
    pub(super) fn renders_all_user_text(&self) -> bool {
        self.keeps_questions
    }

    /// The form of content that each role's messages are written from, found by rendering small conversations.
    fn tries_forms(&mut self) -> ContentForms {
        const TEXT: &str = "firebox tries a text";
        let conversations: [&[Role]; 4] = [
            &[Role::User],
            &[Role::System, Role::User],
            &[Role::User, Role::Assistant, Role::User],
            &[Role::User, Role::Assistant, Role::Tool],
        ];
        for (roles, tried) in conversations.into_iter().zip([Role::User, Role::System, Role::Assistant, Role::Tool]) {
            let said = |role: &Role| Message::text(*role, if *role == tried { TEXT } else { "firebox" });
            let messages: Vec<Message> = roles.iter().map(said).collect();
            let mut written = [None, None];
            for (form, written) in [ContentForm::Text, ContentForm::Parts].into_iter().zip(&mut written) {
                *self.forms.of_mut(tried) = form;
                match self.render(Chat::new(&messages, &[]), None, usize::MAX) {
                    // It fails with every conversation.
                    Err(ModelError::Exceeds(_)) => return ContentForms::default(),
                    rendered => *written = rendered.ok().flatten().map(|rendered| rendered.text),
                }
            }
            *self.forms.of_mut(tried) = ContentForm::detect(TEXT, written[0].as_deref(), written[1].as_deref());
        }
        self.forms
    }

    fn tries_questions(&self) -> bool {
        let roles = [Role::User, Role::Assistant, Role::User];
        let texts = ["firebox asks first", "firebox answers", "firebox asks again"];
        let messages: Vec<Message> =
            roles.into_iter().zip(texts).map(|(role, text)| Message::text(role, text)).collect();
        let rendered = self.render(Chat::new(&messages, &[]), None, usize::MAX);
        let text = rendered.ok().flatten().map(|rendered| rendered.text).unwrap_or_default();
        text.contains(texts[0]) && text.contains(texts[2])
    }

    /// The prompt for `chat`, up to the model's answer; `None` if it has more than `bytes` bytes. `control` marks the
    /// control tokens in its texts.
    ///
    /// # Errors
    /// `Conversation`: the template's own exception, its failure on this conversation, or a limit.
    pub(super) fn render(
        &self,
        chat: Chat<'_>,
        control: Option<&ControlTokens>,
        bytes: usize,
    ) -> Result<Option<Rendered>, ModelError> {
        let (name, source) = self.choose(!chat.tools.is_empty())?;
        let mut inputs = Inputs::of(chat, self.forms).map_err(ModelError::Conversation)?;
        let separator = control.and_then(|control| inputs.guard(control, source));
        let continued = (chat.options.end == PromptEnd::FinalMessage)
            .then(|| continued::tag(inputs.messages_mut(), source))
            .transpose()
            .map_err(ModelError::Conversation)?;
        // A template that needs a content may work with an empty one.
        let filled = inputs.with_contents();
        let written = match (self.write(name, inputs, bytes), filled) {
            (Err(_), Some(filled)) => self.write(name, filled, bytes)?,
            (written, _) => written?,
        };
        let Some(mut text) = written else { return Ok(None) };
        if let Some(last) = &continued {
            text = continued::cut(text, last).map_err(ModelError::Conversation)?;
        }
        text.push_str(chat.prefix);
        Ok(Some(Rendered { text, separator }))
    }

    /// Name and source of the template to use, as transformers chooses it.
    fn choose(&self, tools: bool) -> Result<(&str, &str), ModelError> {
        let find = |name: &str| self.sources.iter().find(|source| source.0 == name);
        let found = Some(TOOL_USE).filter(|_| tools).and_then(find).or_else(|| find(DEFAULT));
        let Some((name, source)) = found else {
            let names = self.sources.iter().map(|source| format!("\"{}\"", source.0)).collect::<Vec<_>>().join(", ");
            return Err(ModelError::Conversation(format!(
                "the model has chat templates of the names {names} and none is called \"default\""
            )));
        };
        match self.broken.iter().find(|broken| broken.0 == *name) {
            Some((name, reason)) => Err(ModelError::Conversation(format!(
                "the model's chat template \"{name}\", which is used with tools, does not compile: {reason}; leave the tools out"
            ))),
            None => Ok((name, source)),
        }
    }

    /// The text that the template writes; `None` if it has more than `bytes` bytes.
    fn write(&self, name: &str, inputs: Inputs, bytes: usize) -> Result<Option<String>, ModelError> {
        let template = self.environment.get_template(name).map_err(|error| refusal(&error))?;
        let limit = bytes.min(limits::CHAT_TEMPLATE_OUTPUT_BYTES_MAX);
        let mut output = Bounded { bytes: Vec::new(), limit, full: false };
        match template.render_captured_to(inputs.into_context(&self.tokens), &mut output) {
            _ if output.full && limit == bytes => Ok(None),
            _ if output.full => {
                let limit = limits::CHAT_TEMPLATE_OUTPUT_BYTES_MAX;
                Err(ModelError::Exceeds(format!("the chat template writes more than {limit} bytes")))
            }
            Ok(_) => {
                let failed = |error: std::string::FromUtf8Error| ModelError::Conversation(error.to_string());
                String::from_utf8(output.bytes).map(Some).map_err(failed)
            }
            Err(error) => Err(refusal(&error)),
        }
    }
}

/// Compiles one template, or returns the reason why it cannot be compiled.
fn add(environment: &mut Environment<'static>, name: &str, text: &str) -> Result<(), String> {
    if text.len() > limits::CHAT_TEMPLATE_BYTES_MAX {
        let limit = limits::CHAT_TEMPLATE_BYTES_MAX;
        return Err(format!("it has {} bytes, at most {limit} are allowed", text.len()));
    }
    environment.add_template_owned(name.to_owned(), jinja::sanitize(text)).map_err(|error| describe(&error))
}

/// The reason why the template did not render a conversation, for the author of the conversation.
fn refusal(error: &minijinja::Error) -> ModelError {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(current) = cause {
        let source = current.source();
        if source.is_some_and(|source| source.is::<Raised>()) {
            let words = current.downcast_ref::<minijinja::Error>().and_then(minijinja::Error::detail);
            return ModelError::Conversation(format!(
                "the chat template refuses the conversation: {}",
                words.unwrap_or_default()
            ));
        }
        cause = source;
    }
    match error.kind() {
        ErrorKind::OutOfFuel => {
            ModelError::Exceeds(format!("the conversation is too long for the chat template: {}", describe(error)))
        }
        _ => ModelError::Conversation(format!("the chat template fails on this conversation: {}", describe(error))),
    }
}

/// The error with its position, without the template's whole source.
fn describe(error: &minijinja::Error) -> String {
    let position = error.line().map_or(String::new(), |line| format!(" (line {line})"));
    match error.kind() {
        ErrorKind::OutOfFuel => format!("it takes more than {} steps{position}", limits::CHAT_TEMPLATE_STEPS_MAX),
        kind => format!("{}{position}", error.detail().map_or_else(|| kind.to_string(), str::to_owned)),
    }
}

/// Output that ends at its limit.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
    full: bool,
}

impl Write for Bounded {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + data.len() > self.limit {
            self.full = true;
            return Err(io::Error::new(io::ErrorKind::StorageFull, "output limit"));
        }
        self.bytes.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
