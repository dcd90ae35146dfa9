//! The prompt plugins on the texts of an embedding or rerank request. Each text is a conversation of one user message.
//!
//! Each text gets plugin instances of its own, one text after another, so that its vector does not depend on the other
//! texts.

use firebox_contract::{
    Caller, Error, Fault, FaultCause, HookSource, Hooks, LogLine, Message, PluginUse, PromptVerdict, RequestInfo, Role,
    Stage, limits,
};

use super::usage_guard::UsageGuard;

/// The plugins, and the request whose texts go through them.
pub(super) struct PromptStage<'a> {
    pub(super) source: &'a dyn HookSource,
    pub(super) caller: &'a Caller,
    pub(super) info: RequestInfo,
    /// Whether the first text is the query of the others.
    pub(super) has_query: bool,
}

/// The plugins for one text. On drop, their usage is added to the request's.
struct BoundPlugins<'a> {
    hooks: Box<dyn Hooks>,
    usage: &'a mut UsageGuard,
}

impl Drop for BoundPlugins<'_> {
    fn drop(&mut self) {
        self.usage.add(self.hooks.usage());
    }
}

impl PromptStage<'_> {
    /// The name of a text in messages.
    fn name_of(&self, index: usize) -> String {
        match (self.has_query, index.checked_sub(1)) {
            (true, None) => "query".to_owned(),
            (true, Some(index)) => format!("documents[{index}]"),
            (false, _) => format!("input[{index}]"),
        }
    }

    /// Replaces each text by the output of the plugins.
    ///
    /// # Errors
    /// `Error::Refused` if a plugin refuses a text, `Error::Fault` if a plugin fails, responds in place of the model or does
    /// not return one user message, `Error::TooLarge` if all texts together exceed the limits of a request, `Error::Limited`
    /// if the caller's fuel is used up.
    pub(super) async fn run(&self, texts: &mut [String], usage: &mut UsageGuard) -> Result<(), Error> {
        let mut log_lines = 0;
        let mut bytes_left = texts.iter().map(String::len).sum::<usize>() + limits::EMBED_PLUGIN_BYTES_ADDED_MAX;
        let count = texts.len();
        for (index, text) in texts.iter_mut().enumerate() {
            usage.check_fuel()?;
            let log = self.run_one(&self.name_of(index), text, usage).await?;
            write_log(&log, self.caller, &self.info.id, &mut log_lines);
            check_fuel(index, count, usage)?;
            bytes_left = bytes_left.checked_sub(text.len()).ok_or_else(|| {
                let max = limits::EMBED_PLUGIN_BYTES_ADDED_MAX;
                Error::TooLarge(format!(
                    "plugins made the texts more than {max} bytes longer; send fewer texts in one request"
                ))
            })?;
            // Plugin calls that complete at once would otherwise block this thread for all texts together.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn run_one(&self, name: &str, text: &mut String, usage: &mut UsageGuard) -> Result<Vec<LogLine>, Error> {
        let hooks = self.source.bind(self.caller, self.info.clone()).await?;
        let mut bound = BoundPlugins { hooks, usage };
        let message = Message::text(Role::User, std::mem::take(text));
        let verdict = bound.hooks.process(vec![message]).await?;
        *text = match verdict {
            PromptVerdict::Continue(messages) => {
                only_text(messages).map_err(|problem| fault(name, problem, &bound.hooks.usage()))?
            }
            PromptVerdict::Respond(_) => {
                let problem = "it responded in place of the model, which has no meaning for embeddings and scores";
                return Err(fault(name, problem, &bound.hooks.usage()));
            }
            PromptVerdict::Refuse { plugin, message } => {
                return Err(Error::Refused(format!("plugin \"{plugin}\" refused {name}: {message}")));
            }
        };
        Ok(bound.hooks.take_log())
    }
}

/// The text of the only message, which must be the user's.
fn only_text(messages: Vec<Message>) -> Result<String, &'static str> {
    let [message] = <[Message; 1]>::try_from(messages).map_err(|_| "it must return exactly one message")?;
    if message.role != Role::User || !message.tool_calls.is_empty() {
        return Err("it must return a message of the user without tool calls");
    }
    if message.content.is_empty() { Err("it returned an empty text") } else { Ok(message.content) }
}

/// A fault. The verdict does not tell which plugin returned it, so all plugins of the stage are named.
fn fault(name: &str, problem: &str, uses: &[PluginUse]) -> Error {
    let seen: Vec<&PluginUse> = uses.iter().filter(|row| row.stage == Stage::Prompt).collect();
    let names: Vec<&str> = seen.iter().map(|row| row.plugin.as_str()).collect();
    Error::Fault(Fault {
        plugin: names.join(", "),
        stage: Stage::Prompt,
        cause: FaultCause::Failed { message: format!("{name}: {problem}") },
        fuel: seen.iter().fold(0, |sum, row| sum.saturating_add(row.fuel)),
        memory_peak_bytes: seen.iter().map(|row| row.memory_peak_bytes).max().unwrap_or(0),
    })
}

/// Limits the fuel of all texts together, since each text may use the fuel of a whole call.
fn check_fuel(index: usize, count: usize, usage: &UsageGuard) -> Result<(), Error> {
    let (fuel, max) = (usage.fuel(), limits::EMBED_PLUGIN_FUEL_MAX);
    if fuel <= max {
        return Ok(());
    }
    let done = index + 1;
    Err(Error::TooLarge(format!(
        "plugins used {fuel} fuel for {done} of {count} texts, and a request may use {max}; send fewer texts in one request"
    )))
}

/// Writes the plugins' log lines. Lines above the maximum of a request are dropped.
pub(super) fn write_log(log: &[LogLine], caller: &Caller, request: &str, written: &mut usize) {
    for line in log.iter().take(limits::PLUGIN_LOG_LINES_MAX.saturating_sub(*written)) {
        crate::plugins::log::write(line, caller.tenant.as_str(), request);
        *written += 1;
    }
}
