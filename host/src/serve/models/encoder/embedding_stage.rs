//! The embedding stage of a request: plugins see all its texts before the encoder, and all its vectors after it.

use firebox_contract::{Caller, EmbeddingVerdict, Error, HookSource, Hooks, PluginUse, RequestInfo, limits};

use super::prompt_stage::write_log;
use super::usage_guard::UsageGuard;

/// The plugins of one request, with instances of their own.
pub(super) struct EmbeddingStage {
    hooks: Box<dyn Hooks>,
    caller: Caller,
    request: String,
    /// The usage that was reported.
    reported: Vec<PluginUse>,
    log_lines: usize,
}

impl EmbeddingStage {
    /// Starts the plugins.
    ///
    /// # Errors
    /// A plugin's fault, or the refusal of the instance pool.
    pub(super) async fn start(source: &dyn HookSource, caller: &Caller, info: RequestInfo) -> Result<Self, Error> {
        let request = info.id.clone();
        let hooks = source.bind(caller, info).await?;
        Ok(Self { hooks, caller: caller.clone(), request, reported: Vec::new(), log_lines: 0 })
    }

    /// Replaces the texts by those that the plugins return.
    ///
    /// # Errors
    /// `Error::Refused` if a plugin refuses them, `Error::TooLarge`, or a plugin's fault.
    pub(super) async fn before(&mut self, texts: &mut Vec<String>, usage: &mut UsageGuard) -> Result<(), Error> {
        usage.check_fuel()?;
        let bytes = |texts: &[String]| texts.iter().map(String::len).sum::<usize>();
        let most = bytes(texts) + limits::EMBED_PLUGIN_BYTES_ADDED_MAX;
        let verdict = self.hooks.before_embedding(std::mem::take(texts)).await;
        self.report(usage);
        match verdict? {
            EmbeddingVerdict::Continue(new) if bytes(&new) <= most => *texts = new,
            EmbeddingVerdict::Continue(_) => {
                let max = limits::EMBED_PLUGIN_BYTES_ADDED_MAX;
                let message =
                    format!("plugins made the texts more than {max} bytes longer; send fewer texts in one request");
                return Err(Error::TooLarge(message));
            }
            EmbeddingVerdict::Refuse { plugin, message } => {
                return Err(Error::Refused(format!("plugin \"{plugin}\" refused the texts: {message}")));
            }
        }
        Ok(())
    }

    /// The vectors that the plugins return.
    ///
    /// # Errors
    /// A plugin's fault.
    pub(super) async fn after(
        &mut self,
        vectors: Vec<Vec<f32>>,
        usage: &mut UsageGuard,
    ) -> Result<Vec<Vec<f32>>, Error> {
        let vectors = self.hooks.after_embedding(vectors).await;
        self.report(usage);
        vectors
    }

    /// Adds what the plugins used since the last report, and writes their log.
    fn report(&mut self, usage: &mut UsageGuard) {
        let total = self.hooks.usage();
        let reported = std::mem::replace(&mut self.reported, total.clone());
        let new = total.into_iter().map(|row| {
            let same = |old: &&PluginUse| old.plugin == row.plugin && old.stage == row.stage;
            match reported.iter().find(same) {
                Some(old) => PluginUse {
                    calls: row.calls.saturating_sub(old.calls),
                    fuel: row.fuel.saturating_sub(old.fuel),
                    elapsed: row.elapsed.saturating_sub(old.elapsed),
                    model_tokens: row.model_tokens.saturating_sub(old.model_tokens),
                    ..row
                },
                None => row,
            }
        });
        usage.add(new.collect());
        write_log(&self.hooks.take_log(), &self.caller, &self.request, &mut self.log_lines);
    }
}
