//! The model's reasoning on a terminal: shown on standard error, or hidden behind one line.

use std::io::Write;

use crate::cli::Io;
use crate::error::CliError;

/// Prints reasoning while it is generated.
pub(in crate::cli) struct ReasoningView {
    shows: bool,
    /// Whether a line of reasoning is open.
    line_open: bool,
    /// Whether the user was told that the model reasons.
    told: bool,
}

impl ReasoningView {
    /// A view that shows the reasoning, or hides it.
    pub(in crate::cli) fn new(shows: bool) -> Self {
        Self { shows, line_open: false, told: false }
    }

    /// Prints a piece of reasoning. If it is hidden, a terminal gets one line, so that the wait has a reason.
    pub(in crate::cli) fn print(&mut self, text: &str, io: &mut Io) -> Result<(), CliError> {
        if self.shows {
            io.err.write_all(text.as_bytes())?;
            io.err.flush()?;
            self.line_open = !text.ends_with('\n');
        } else if !std::mem::replace(&mut self.told, true) && io.err_is_terminal {
            writeln!(io.err, "(the model is thinking; --show-thinking shows it)")?;
        }
        Ok(())
    }

    /// Ends the reasoning, so that what follows starts on its own line.
    pub(in crate::cli) fn end(&mut self, io: &mut Io) -> Result<(), CliError> {
        if std::mem::take(&mut self.line_open) {
            writeln!(io.err)?;
        }
        self.told = false;
        Ok(())
    }
}
