//! Options of the hub that models come from.

use std::io::Write as _;
use std::path::Path;

use clap::Args;
use firebox_contract::{Error, limits};
use firebox_hub::{Hub, HubSettings, PullEvent};

use crate::cli::output;
use crate::error::CliError;
use crate::host::download::{DownloadDisplay, DownloadOutput};
use crate::host::source::{LocalSource, ModelSource};

/// Whether models may be downloaded. The hub itself is configured by Hugging Face's environment variables.
#[derive(Args, Debug, Clone, Default)]
pub struct HubOptions {
    /// Download nothing; a model of the hub must be in the cache already (also with HF_HUB_OFFLINE=1)
    #[arg(long)]
    pub offline: bool,
}

impl HubOptions {
    /// The hub of the environment.
    ///
    /// # Errors
    /// `CliError` of usage for a variable that is not valid.
    pub(in crate::cli) fn hub(&self) -> Result<Hub, CliError> {
        let mut settings = HubSettings::of_environment(&|name| std::env::var_os(name)).map_err(Error::from)?;
        settings.offline |= self.offline;
        Ok(Hub::new(settings))
    }
    /// The model that `model` names, on this machine. A model of a hub is downloaded if the cache does not have it.
    ///
    /// # Errors
    /// The errors of the hub.
    pub(in crate::cli) async fn get(&self, model: &Path) -> Result<LocalSource, CliError> {
        let source = ModelSource::of(model);
        let display = match &source {
            ModelSource::Hub(name) => Some(DownloadDisplay::new(name, terminal_or_lines())),
            ModelSource::Path(_) => None,
        };
        let show = |event: PullEvent<'_>| {
            if let Some(display) = &display {
                display.show(&event);
            }
        };
        source.get(|| self.hub(), &show).await
    }
}

/// A bar if standard error is a terminal, else lines on standard error.
pub(in crate::cli) fn terminal_or_lines() -> DownloadOutput {
    if output::stderr_is_terminal() { DownloadOutput::Bar } else { DownloadOutput::Lines(Box::new(print)) }
}

fn print(line: &str) {
    let line = output::line(line, limits::CLI_MESSAGE_BYTES_MAX);
    // Nobody is left to tell when standard error itself is gone.
    let _ignored = writeln!(output::stderr(), "firebox: {line}");
}
