//! Text on standard input: the whole of it, or what a pipe or a file adds to a prompt that was given as an argument.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use firebox_contract::{Error, limits};

use crate::error::CliError;

/// What stands beside a prompt.
pub(super) enum PipedInput {
    /// Text to add to it.
    Text(String),
    /// Nothing.
    Nothing,
    /// Nobody wrote in time, and nobody has closed it either; the reason in words.
    Unread(String),
}

/// Everything on standard input.
///
/// # Errors
/// For what is too long, cannot be read or is no text.
pub(super) fn read_all() -> Result<String, CliError> {
    text(io::stdin().lock())
}

/// What a pipe or a file on standard input adds. A terminal and a device such as `/dev/null` add nothing, and a pipe that
/// nobody writes to for a while, which many a parent process leaves open, is not waited for.
///
/// # Errors
/// As [`whole`], where something came.
pub(super) fn read_beside_prompt() -> Result<PipedInput, CliError> {
    if io::stdin().is_terminal() || !has_writer_or_file() {
        return Ok(PipedInput::Nothing);
    }
    let first = Arc::new(FirstRead::default());
    let told = Arc::clone(&first);
    // Joined only where something came: it may wait for what never does.
    let reader = std::thread::Builder::new().name("standard input".to_owned()).spawn(move || {
        let mut input = io::stdin().lock();
        let begins = input.fill_buf().map(|bytes| !bytes.is_empty());
        let goes_on = matches!(begins, Ok(true));
        told.tell(begins);
        if goes_on { text(input) } else { Ok(String::new()) }
    })?;
    match first.within(limits::RUN_PIPE_WAIT) {
        Some(Ok(false)) => Ok(PipedInput::Nothing),
        Some(Err(error)) => Ok(PipedInput::Unread(format!("standard input cannot be read ({error})"))),
        None => {
            let seconds = limits::RUN_PIPE_WAIT.as_secs();
            Ok(PipedInput::Unread(format!("nothing came from standard input within {seconds} s")))
        }
        Some(Ok(true)) => {
            let text = reader.join().map_err(|_| CliError::usage("standard input could not be read"))??;
            Ok(if text.trim().is_empty() { PipedInput::Nothing } else { PipedInput::Text(text) })
        }
    }
}

/// Whether anything came first, or the end.
#[derive(Default)]
struct FirstRead {
    came: Mutex<Option<io::Result<bool>>>,
    told: Condvar,
}

impl FirstRead {
    fn tell(&self, came: io::Result<bool>) {
        *self.came.lock().unwrap_or_else(PoisonError::into_inner) = Some(came);
        self.told.notify_one();
    }

    fn within(&self, time: Duration) -> Option<io::Result<bool>> {
        let came = self.came.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.told.wait_timeout_while(came, time, |came| came.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.take()
    }
}

/// Whether standard input is something whose content belongs to this command: a pipe, a socket or a file.
#[cfg(unix)]
fn has_writer_or_file() -> bool {
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::FileTypeExt as _;

    let owned = io::stdin().as_fd().try_clone_to_owned();
    let kind = owned.and_then(|owned| std::fs::File::from(owned).metadata()).map(|about| about.file_type());
    kind.is_ok_and(|kind| kind.is_file() || kind.is_fifo() || kind.is_socket())
}

#[cfg(not(unix))]
fn has_writer_or_file() -> bool {
    true
}

fn text(input: impl io::Read) -> Result<String, CliError> {
    let mut bytes = Vec::new();
    let limit = limits::PROMPT_BYTES_MAX as u64 + 1;
    input.take(limit).read_to_end(&mut bytes).map_err(|source| CliError::File {
        action: "read",
        path: "standard input".to_owned(),
        source,
    })?;
    if bytes.len() > limits::PROMPT_BYTES_MAX {
        let message = format!("standard input has more than the {} bytes allowed", limits::PROMPT_BYTES_MAX);
        return Err(CliError::Host(Error::TooLarge(message)));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        CliError::usage(format!(
            "standard input is not UTF-8 text: byte {at} is the first that is not; convert it first"
        ))
    })
}
