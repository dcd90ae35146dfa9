//! The plugin that a verb works on, and a chain of it alone.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args as ClapArgs;
use firebox_contract::{Caller, LogLine, PluginUse, limits};
use firebox_sandbox::{Plugin, PluginChain, PluginSpec};

use crate::cli::options::{PluginOptions, parse_bytes, parse_duration};
use crate::cli::output::{self, stats};
use crate::cli::termination::Termination;
use crate::cli::{Io, notice};
use crate::error::CliError;
use crate::host::Host;
use crate::plugins::{self, sandbox};
use crate::system::threads;

/// Which plugin, and with which configuration and limits.
#[derive(ClapArgs, Debug, Clone)]
#[command(next_help_heading = "Plugin")]
pub(super) struct Target {
    /// The plugin: a NAME of `firebox plugins list`, the PATH of a component, or a folder with plugin.toml
    #[arg(long = "plugin", value_name = "NAME|PATH", default_value = ".")]
    pub(super) plugin: String,
    #[command(flatten)]
    pub(super) settings: PluginSettings,
}

/// The configuration and the limits of a plugin.
#[derive(ClapArgs, Debug, Clone, Default)]
#[command(next_help_heading = "Plugin")]
pub(super) struct PluginSettings {
    /// Configuration of the plugin: a JSON object
    #[arg(long = "plugin-config", value_name = "JSON")]
    config: Option<String>,
    /// Maximum fuel of each call (1 ms of work is about 10 million)
    #[arg(long, value_name = "N")]
    fuel: Option<u64>,
    /// Maximum memory of each instance, such as 64MiB (a number without unit: MiB)
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    plugin_memory: Option<usize>,
    /// Maximum time of each call, such as 500ms or 2s (a number without unit: milliseconds)
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    plugin_timeout: Option<Duration>,
    /// Allow the plugin to use a capability that it asks for (repeatable)
    #[arg(long = "grant", value_name = "CAPABILITY")]
    grants: Vec<String>,
}

/// The model for a plugin that uses one.
#[derive(ClapArgs, Debug, Clone, Default)]
#[command(next_help_heading = "Plugin")]
pub(super) struct CalledModel {
    /// Model for a plugin that uses one: a .gguf file or a Hugging Face folder [default: the small built-in model]
    #[arg(long = "model", value_name = "PATH")]
    path: Option<PathBuf>,
}

impl Target {
    /// The plugin `plugin` with its own limits.
    pub(super) fn of(plugin: &str) -> Self {
        Self { plugin: plugin.to_owned(), settings: PluginSettings::default() }
    }

    /// The plugin, with its limits and grants.
    ///
    /// # Errors
    /// As [`PluginSettings::spec`].
    pub(super) fn spec(&self) -> Result<PluginSpec, CliError> {
        self.settings.spec(&self.plugin)
    }

    /// The same plugin with this configuration, if there is one, and these grants in addition.
    pub(super) fn mocked(&self, config: Option<String>, grants: Vec<String>) -> Self {
        let mut mocked = self.clone();
        mocked.settings.config = config.or(mocked.settings.config);
        mocked.settings.grants.extend(grants);
        mocked
    }

    /// Runs `work` with a chain of the plugin alone. Ctrl-C ends it.
    ///
    /// # Errors
    /// The errors of loading the plugin, and those of `work`.
    pub(super) fn with_chain<T>(
        &self,
        io: &mut Io,
        work: impl AsyncFnOnce(&PluginChain, &mut Io) -> Result<T, CliError>,
    ) -> Result<T, CliError> {
        with_chain(self.spec()?, io, work)
    }

    /// As [`Target::with_chain`], for a plugin that may use `model`.
    ///
    /// # Errors
    /// As [`Target::with_chain`], and those of loading the model.
    pub(super) fn with_model<T>(
        &self,
        model: &CalledModel,
        io: &mut Io,
        work: impl AsyncFnOnce(&PluginChain, &mut Io) -> Result<T, CliError>,
    ) -> Result<T, CliError> {
        with_model(self.spec()?, model, io, work)
    }
}

impl PluginSettings {
    /// The plugin `asked` with these settings.
    ///
    /// # Errors
    /// As [`plugins::resolve`]; a `CliError` of usage for a project that is not built yet.
    pub(super) fn spec(&self, asked: &str) -> Result<PluginSpec, CliError> {
        built(asked)?;
        let config = |json: &String| plugins::name_of(asked).map(|name| format!("{name}={json}"));
        let options = PluginOptions {
            plugins: vec![asked.to_owned()],
            configs: self.config.iter().map(config).collect::<Result<_, _>>()?,
            fuel: self.fuel,
            plugin_memory: self.plugin_memory,
            plugin_timeout: self.plugin_timeout,
            grants: self.grants.clone(),
            explain_grants: false,
            no_tools: true,
            tool_rounds: limits::TOOL_ROUNDS_DEFAULT,
        };
        let resolved = plugins::resolve(&options, false)?;
        resolved.into_iter().next().ok_or_else(|| CliError::usage(format!("there is no plugin \"{asked}\"")))
    }
}

impl CalledModel {
    /// The model for the plugin of `chain`, if it asks for one or the user names one.
    async fn host(&self, chain: &PluginChain) -> Result<Option<Host>, CliError> {
        let asks = |plugin: &Arc<Plugin>| plugin.asks().iter().any(|ask| ask.starts_with(MODEL_ASKS));
        if self.path.is_none() && !chain.plugins().iter().any(asks) {
            return Ok(None);
        }
        let builder = match &self.path {
            Some(path) => Host::builder().folder(path),
            None => Host::builder(),
        };
        Ok(Some(builder.notice(notice()).build().await?))
    }
}

/// How the text of the capability begins that is for the model.
const MODEL_ASKS: &str = "model:";

/// # Errors
/// A `CliError` of usage, if `asked` is a folder without a plugin in it or whose component is not there.
fn built(asked: &str) -> Result<(), CliError> {
    let folder = Path::new(asked);
    if !folder.is_dir() || plugins::is_builtin(asked) {
        return Ok(());
    }
    let shown = output::line(asked, limits::CHAT_SHOWN_CHARACTERS_MAX);
    if !folder.join("plugin.toml").exists() {
        return Err(CliError::usage(format!(
            "there is no plugin.toml in the folder \"{shown}\"; go to the folder of a plugin, or give one with its \
             path or name"
        )));
    }
    let name = plugins::name_of(asked)?;
    if folder.join(format!("{name}.wasm")).exists() {
        return Ok(());
    }
    Err(CliError::usage(format!(
        "the plugin in \"{shown}\" is not built: there is no {name}.wasm beside its plugin.toml; run: firebox plugins build {shown}"
    )))
}

/// Runs `work` with a chain of `spec` alone. Ctrl-C ends it.
///
/// # Errors
/// The errors of loading the plugin, and those of `work`.
pub(super) fn with_chain<T>(
    spec: PluginSpec,
    io: &mut Io,
    work: impl AsyncFnOnce(&PluginChain, &mut Io) -> Result<T, CliError>,
) -> Result<T, CliError> {
    interruptible(async {
        let mut notes = Vec::new();
        let chain = sandbox::load_chain(vec![spec], notice(), &mut notes).await?;
        for note in notes {
            writeln!(io.err, "firebox: {note}")?;
        }
        work(&chain, io).await
    })
}

/// As [`with_chain`], for a plugin that may use `model`.
///
/// # Errors
/// As [`with_chain`], and those of loading the model.
pub(super) fn with_model<T>(
    spec: PluginSpec,
    model: &CalledModel,
    io: &mut Io,
    work: impl AsyncFnOnce(&PluginChain, &mut Io) -> Result<T, CliError>,
) -> Result<T, CliError> {
    with_chain(spec, io, async |chain, io| {
        let Some(host) = model.host(chain).await? else { return work(chain, io).await };
        // The host is held until the work is done: without it the model is gone.
        let chain = chain.clone().with_model(host.engine().model_of_calls(&Caller::local()));
        work(&chain, io).await
    })
}

/// Runs `work` until Ctrl-C.
///
/// # Errors
/// Those of `work`, and `CliError::Interrupted`.
pub(super) fn interruptible<T>(work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = threads::runtime(Some(2))?;
    Termination::default().listen(&runtime)?;
    runtime.block_on(async {
        tokio::select! {
            result = work => result,
            _ = tokio::signal::ctrl_c() => Err(CliError::Interrupted),
        }
    })
}

/// Prints the lines that a plugin logged.
///
/// # Errors
/// `CliError::Output`.
pub(super) fn print_log(log: &[LogLine], io: &mut Io) -> Result<(), CliError> {
    for line in log {
        let message = output::line(&line.message, limits::CHAT_SHOWN_CHARACTERS_MAX);
        writeln!(io.err, "plugin {} {}: {message}", line.plugin, line.level)?;
    }
    Ok(())
}

/// Prints one line for each stage that ran.
///
/// # Errors
/// `CliError::Output`.
pub(super) fn print_uses(uses: &[PluginUse], io: &mut Io) -> Result<(), CliError> {
    for row in uses {
        writeln!(io.err, "{}", stats::use_line(row))?;
    }
    Ok(())
}
