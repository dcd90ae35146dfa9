//! A host: one model with its plugins, limits and engine, ready for requests.

mod builder;
pub mod device;
pub(crate) mod download;
pub mod ember;
mod prompt_bound;
pub(crate) mod quantized;
pub mod source;

use std::sync::Arc;
use std::time::Duration;

use firebox_contract::{Chat, Error, Message, TextCodec, limits};
use firebox_engine::Engine;
use firebox_hub::InUse;
use firebox_sandbox::Plugin;

use crate::sessions::{self, StoredMessage};
pub(crate) use builder::BareModel;
pub use builder::HostBuilder;

/// A loaded model with its plugins. [`Host::engine`] runs requests.
pub struct Host {
    engine: Engine,
    codec: Arc<dyn TextCodec>,
    notes: Vec<String>,
    plugins: Vec<Arc<Plugin>>,
    /// The mark of a model of the cache, so that no other process removes it.
    _in_use: InUse,
    load: LoadReport,
}

/// What loading the model took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadReport {
    /// The time: device, tokenizer, weights, and the warm-up if there is one.
    pub time: Duration,
    /// Resident memory of the process before, in bytes; mapped pages of the weights included. `None` if the system does not
    /// tell.
    pub before_bytes: Option<u64>,
    /// Resident memory after.
    pub after_bytes: Option<u64>,
}

impl Host {
    /// A builder for the built-in model on the best device, without plugins.
    #[must_use]
    pub fn builder() -> HostBuilder {
        HostBuilder::new()
    }

    /// The engine: it runs requests, counts tokens and reports its state.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Messages for the user about how this host was built, such as a device that could not be used. One line each.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What loading the model took.
    #[must_use]
    pub fn load_report(&self) -> LoadReport {
        self.load
    }

    /// The plugins of [`HostBuilder::plugins`], in chain order. Empty with [`HostBuilder::hooks`].
    #[must_use]
    pub fn plugins(&self) -> &[Arc<Plugin>] {
        &self.plugins
    }

    /// The expected length of an answer in tokens, for requests without a maximum: the checkpoint's own number, else
    /// [`limits::ANSWER_TOKENS_EXPECTED`].
    #[must_use]
    pub fn answer_tokens(&self) -> usize {
        self.codec.defaults().max_tokens.unwrap_or(limits::ANSWER_TOKENS_EXPECTED)
    }

    /// Whether the text of the chat template contains `word`, such as the name of a variable.
    #[must_use]
    pub fn template_contains(&self, word: &str) -> bool {
        self.codec.chat_template().is_some_and(|template| template.contains(word))
    }

    /// The messages of a session that fit into `tokens_max` tokens together with `chat`'s tools and options; the messages
    /// of `chat` itself are ignored. The oldest turns are left out, as few as possible.
    ///
    /// # Errors
    /// `Error::TooLarge` if the last turn alone does not fit; errors of the chat template.
    pub fn fit_to_context(
        &self,
        session: Vec<StoredMessage>,
        chat: Chat<'_>,
        tokens_max: usize,
    ) -> Result<Vec<Message>, Error> {
        // Counting the bytes of the user's messages is much cheaper than rendering and counting the tokens.
        let cannot_fit = |user_bytes: usize| {
            user_bytes > limits::PROMPT_BYTES_MAX || self.least_user_tokens(user_bytes) > tokens_max
        };
        sessions::fit_quickly(session, cannot_fit, |messages| {
            let bytes: usize = messages.iter().map(|message| message.content.len()).sum();
            if messages.len() > limits::MESSAGES_MAX || bytes > limits::PROMPT_BYTES_MAX {
                return Ok(false);
            }
            // The engine renders and tokenizes the prompt again, so what surely fits is not counted here.
            if prompt_bound::most_tokens(&*self.codec, messages, chat.tools) <= tokens_max {
                return Ok(true);
            }
            let counted = self.engine.count_tokens(Chat { messages, ..chat }, tokens_max)?;
            Ok(counted.tokens <= tokens_max)
        })
    }

    /// The least number of tokens of a conversation whose user messages have `bytes` bytes. 0 if the template may leave
    /// user messages out.
    fn least_user_tokens(&self, bytes: usize) -> usize {
        if self.codec.renders_all_user_text() { self.codec.min_tokens(bytes) } else { 0 }
    }
}
