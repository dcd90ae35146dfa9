//! The prompt stage over the texts of an embedding request: each text is a conversation of one user message.
//!
//! A plugin sees one prompt at most in its life, so that a text's vector does not depend on the texts beside it: each
//! text has instances of its own, one text after the other.

use firebox_contract::{
    Caller, Error, Fault, FaultCause, HookSource, Hooks, LogLine, Message, PluginUse, PromptVerdict, RequestInfo, Role,
    Stage, limits,
};

use super::ledger::Ledger;

/// Who passes a chain, and which.
pub(super) struct Passage<'a> {
    pub(super) source: &'a dyn HookSource,
    pub(super) caller: &'a Caller,
    pub(super) info: RequestInfo,
}

/// A chain that is bound for one text. What it used is told to the ledger on every path.
struct Bound<'a> {
    hooks: Box<dyn Hooks>,
    ledger: &'a mut Ledger,
}

impl Drop for Bound<'_> {
    fn drop(&mut self) {
        self.ledger.used(self.hooks.usage());
    }
}

impl Passage<'_> {
    /// Sends each of `texts` through the chain and puts what comes out in its place.
    ///
    /// # Errors
    /// `Error::Refused` where a plugin refuses a text, `Error::Fault` for a plugin that fails, answers in the model's
    /// place or returns anything but one user message, `Error::TooLarge` where all texts together use more than a
    /// request may, `Error::Limited` when the caller's fuel is used up.
    pub(super) async fn pass(&self, texts: &mut [String], ledger: &mut Ledger) -> Result<(), Error> {
        let mut log_lines = 0;
        let mut bytes_left = texts.iter().map(String::len).sum::<usize>() + limits::EMBED_PLUGIN_BYTES_ADDED_MAX;
        let count = texts.len();
        for (place, text) in texts.iter_mut().enumerate() {
            ledger.check_fuel()?;
            let log = self.one(place, text, ledger).await?;
            write_log(&log, self.caller, &self.info.id, &mut log_lines);
            check_fuel(place, count, ledger)?;
            bytes_left = bytes_left.checked_sub(text.len()).ok_or_else(|| {
                let max = limits::EMBED_PLUGIN_BYTES_ADDED_MAX;
                Error::TooLarge(format!("plugins made the texts more than {max} bytes longer; send fewer at a time"))
            })?;
            // Guest calls that need not wait would hold this thread for all texts together.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn one(&self, place: usize, text: &mut String, ledger: &mut Ledger) -> Result<Vec<LogLine>, Error> {
        let hooks = self.source.bind(self.caller, self.info.clone()).await?;
        let mut bound = Bound { hooks, ledger };
        let message = Message::text(Role::User, std::mem::take(text));
        let verdict = bound.hooks.process(vec![message]).await?;
        *text = match verdict {
            PromptVerdict::Continue(messages) => {
                only_text(messages).map_err(|problem| fault(place, problem, &bound.hooks.usage()))?
            }
            PromptVerdict::Respond(_) => {
                let problem = "it answered in the model's place, and a text cannot be embedded by that";
                return Err(fault(place, problem, &bound.hooks.usage()));
            }
            PromptVerdict::Refuse { plugin, message } => {
                return Err(Error::Refused(format!("plugin \"{plugin}\" refused input[{place}]: {message}")));
            }
        };
        Ok(bound.hooks.take_log())
    }
}

/// The text of the one user message that must have come back.
fn only_text(messages: Vec<Message>) -> Result<String, &'static str> {
    let [message] = <[Message; 1]>::try_from(messages).map_err(|_| "a text to embed must stay one message")?;
    if message.role != Role::User || !message.tool_calls.is_empty() {
        return Err("a text to embed must stay a message of the user");
    }
    if message.content.is_empty() { Err("it left nothing of the text to embed") } else { Ok(message.content) }
}

/// The verdict does not say whose it is; the plugins that saw the text are named.
fn fault(place: usize, problem: &str, uses: &[PluginUse]) -> Error {
    let seen: Vec<&PluginUse> = uses.iter().filter(|row| row.stage == Stage::Prompt).collect();
    let names: Vec<&str> = seen.iter().map(|row| row.plugin.as_str()).collect();
    Error::Fault(Fault {
        plugin: names.join(", "),
        stage: Stage::Prompt,
        cause: FaultCause::Failed { message: format!("input[{place}]: {problem}") },
        fuel: seen.iter().fold(0, |sum, row| sum.saturating_add(row.fuel)),
        memory_peak_bytes: seen.iter().map(|row| row.memory_peak_bytes).max().unwrap_or(0),
    })
}

/// What one call may use is multiplied by the number of texts; this bounds the product.
fn check_fuel(place: usize, count: usize, ledger: &Ledger) -> Result<(), Error> {
    let (fuel, max) = (ledger.fuel(), limits::EMBED_PLUGIN_FUEL_MAX);
    if fuel <= max {
        return Ok(());
    }
    let done = place + 1;
    Err(Error::TooLarge(format!(
        "plugins used {fuel} units of fuel for {done} of {count} texts where one request may use {max}; send fewer at a time"
    )))
}

/// Lines beyond what one request may log are dropped.
fn write_log(log: &[LogLine], caller: &Caller, request: &str, written: &mut usize) {
    for line in log.iter().take(limits::PLUGIN_LOG_LINES_MAX.saturating_sub(*written)) {
        crate::plugins::log::write(line, caller.tenant.as_str(), request);
        *written += 1;
    }
}
