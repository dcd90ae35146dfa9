//! `firebox serve`: models, plugins and tools over HTTP, until a signal.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args as ClapArgs;
use firebox_contract::{Error, limits};
use firebox_hub::ModelName;
use tracing::Level;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::options::{DeviceOptions, ThreadOptions};
use super::output::log_lines::LogLines;
use super::{Io, output};
use crate::config::{Config, ModelConfig, PluginConfig};
use crate::error::CliError;
use crate::host::source::ModelSource;
use crate::serve::{Server, StatusSink};
use crate::system::threads;

/// Serve models, plugins and tools over an OpenAI-compatible HTTP API.
#[derive(ClapArgs, Debug)]
pub struct Args {
    /// Configuration file [default: firebox.toml if it exists, else the built-in model on this machine only]
    #[arg(long, value_name = "FILE", env = "FIREBOX_CONFIG")]
    config: Option<PathBuf>,
    /// Address to listen on, such as 127.0.0.1:8080 (port 0: any free port)
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Serve this model instead of the configured models: a .gguf file, a Hugging Face folder, or org/name[:Q4_K_M] of a hub,
    /// which must be in the cache or allowed in [hub]. Its name is that of the file, folder or model (repeatable)
    #[arg(short, long, value_name = "PATH|NAME")]
    model: Vec<PathBuf>,
    /// Run a plugin in every request: a built-in NAME or a PATH. Only for a server without tenants (repeatable, in order)
    #[arg(long = "plugin", value_name = "NAME|PATH")]
    plugins: Vec<String>,
    #[command(flatten)]
    device: DeviceOptions,
    #[command(flatten)]
    threads: ThreadOptions,
}

/// Runs the command.
///
/// # Errors
/// Errors of the configuration; the first model's error if no model could be loaded.
pub fn run(args: Args, _io: &mut Io) -> Result<(), CliError> {
    let config = load(&args)?;
    start_log(config.server.log_json);
    let runtime = threads::runtime(None)?;
    let outcome = runtime.block_on(serve(&args, config));
    // Everything is closed. Threads that still block are not waited for without a limit.
    runtime.shutdown_timeout(limits::SERVE_CLOSE_TIMEOUT);
    outcome
}

fn load(args: &Args) -> Result<Config, CliError> {
    let mut flags = Vec::new();
    flags.extend(args.listen.iter().map(|listen| ("server.listen".to_owned(), listen.clone())));
    let mut config = Config::load(args.config.as_deref(), &flags)?;
    if !args.model.is_empty() {
        config.models = args.model.iter().map(|path| model(path)).collect::<Result<_, _>>()?;
        check_names(&config.models)?;
    }
    if args.device.device != "auto" {
        for model in config.models.iter_mut().filter(|model| model.device == "auto") {
            model.device.clone_from(&args.device.device);
        }
    }
    for model in &mut config.models {
        model.threads = model.threads.or(args.threads.count());
    }
    if !args.plugins.is_empty() {
        add_plugins(&mut config, &args.plugins)?;
    }
    Ok(config)
}

/// The model in the folder `path`, under the name of the folder.
fn model(path: &Path) -> Result<ModelConfig, CliError> {
    let ember = ModelConfig::ember();
    if path.as_os_str() == crate::host::ember::NAME {
        return Ok(ember);
    }
    if let ModelSource::Hub(hub) = ModelSource::of(path) {
        // A revision is no part of the name in requests.
        let name = ModelName { revision: None, ..hub.clone() }.to_string();
        return Ok(ModelConfig { name, hub: Some(hub), ..ember });
    }
    let full = path.canonicalize().map_err(|source| CliError::File {
        action: "read",
        path: path.display().to_string(),
        source,
    })?;
    let name = full.file_name().map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned());
    Ok(ModelConfig { name, path: Some(full), ..ember })
}

fn check_names(models: &[ModelConfig]) -> Result<(), CliError> {
    for (at, model) in models.iter().enumerate() {
        if models.iter().take(at).any(|other| other.name == model.name) {
            let name = &model.name;
            let message =
                format!("two models have the name \"{name}\"; configure them with [[model]] and give each a name");
            return Err(CliError::usage(message));
        }
    }
    Ok(())
}

fn add_plugins(config: &mut Config, asked: &[String]) -> Result<(), CliError> {
    if !config.tenants.is_empty() {
        let message =
            "--plugin cannot be used with tenants; configure [[plugin]] and the plugins of the tenant instead";
        return Err(CliError::usage(message));
    }
    let has_ember = config.models.iter().any(ModelConfig::is_ember);
    if config.plugins.is_empty() && has_ember {
        config.plugins = crate::plugins::with_ember().map(PluginConfig::builtin).collect();
    }
    for source in asked {
        let name = crate::plugins::name_of(source)?;
        config.plugins.retain(|plugin| plugin.name != name);
        config.plugins.push(PluginConfig { source: source.clone(), ..PluginConfig::builtin(&name) });
    }
    Ok(())
}

fn start_log(json: bool) {
    // Libraries log every handshake at INFO, so only their warnings are shown.
    let levels = Targets::new().with_target("firebox", Level::INFO).with_default(Level::WARN);
    let lines = tracing_subscriber::fmt::layer().with_writer(|| LogLines(output::stderr())).with_ansi(false);
    let registry = tracing_subscriber::registry();
    // A program that embeds Firebox may have set a subscriber; it stays.
    let _first_wins = match json {
        true => registry.with(lines.json().with_filter(levels)).try_init(),
        false => registry.with(lines.with_filter(levels)).try_init(),
    };
}

/// Prints messages for the operator on standard error, where the log goes.
fn speaker() -> StatusSink {
    Arc::new(|line: &str| {
        // If standard error is closed, there is nowhere left to report it.
        let line = output::line(line, limits::CLI_MESSAGE_BYTES_MAX);
        let _ignored = writeln!(output::stderr(), "firebox: {line}");
    })
}

async fn serve(args: &Args, config: Config) -> Result<(), CliError> {
    let say = speaker();
    let mut signals = Signals::listen()?;
    // A server without tenants prints its own warning.
    if !config.tenants.is_empty() {
        config.warnings.iter().for_each(|warning| say(&warning.to_string()));
    }
    let drain_timeout = config.server.drain_timeout;
    let mut server = Server::start(config, Arc::clone(&say)).await?;
    say(&format!("listening on http://{}", server.address()));
    let mut loading = true;
    let failed: Option<Error> = loop {
        tokio::select! {
            loaded = server.loaded(), if loading => match loaded {
                Ok(()) => {
                    loading = false;
                    say("ready");
                }
                Err(error) => break Some(error),
            },
            signal = signals.next() => match signal {
                Signal::End => break None,
                Signal::Reload => reload(args, &mut server, &say).await,
            },
        }
    };
    if failed.is_none() {
        let seconds = drain_timeout.as_secs();
        say(&format!(
            "shutting down; running requests have {seconds} s to finish (send the signal again to cancel them)"
        ));
    }
    let drained = server.drain(async { signals.end().await }).await;
    match drained.cut {
        0 => say("stopped; all requests had finished"),
        cut => say(&format!("stopped; {cut} running requests were cancelled")),
    }
    failed.map_or(Ok(()), |error| Err(error.into()))
}

async fn reload(args: &Args, server: &mut Server, say: &StatusSink) {
    let outcome = match load(args) {
        Ok(config) => server.reload(config).await.map_err(CliError::from),
        Err(error) => Err(error),
    };
    match outcome {
        Ok(()) => say("configuration reloaded"),
        Err(error) => say(&format!("configuration not reloaded, the previous one stays in effect: {error}")),
    }
}

/// A signal that the server handles.
enum Signal {
    End,
    Reload,
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    /// Handles the signals from now on; none of them ends the process by itself.
    fn listen() -> Result<Self, CliError> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::End,
            _ = self.interrupt.recv() => Signal::End,
            _ = self.hangup.recv() => Signal::Reload,
        }
    }

    async fn end(&mut self) {
        while !matches!(self.next().await, Signal::End) {}
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> Result<Self, CliError> {
        Ok(Self)
    }

    async fn next(&mut self) -> Signal {
        // On an error the system cannot report interrupts, so none comes.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        Signal::End
    }

    async fn end(&mut self) {
        self.next().await;
    }
}
