//! Standard input of `firebox run`: as the whole prompt, or as text added to a prompt argument.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use firebox_contract::{Error, limits};

use crate::error::CliError;

/// The text on standard input in addition to a prompt argument.
pub(super) enum PipedInput {
    /// Text to add to the prompt.
    Text(String),
    /// No text.
    Empty,
    /// Standard input is open, but nothing was read. The reason, for a message.
    NotRead(String),
}

/// All of standard input.
///
/// # Errors
/// If it is too long, cannot be read or is not UTF-8.
pub(super) fn read_all() -> Result<String, CliError> {
    text(io::stdin().lock())
}

/// The text of a pipe or a file on standard input. A terminal and a device such as `/dev/null` have no text. Many parent
/// processes leave a pipe open without writing to it, so the wait for the first byte is at most
/// [`limits::RUN_PIPE_WAIT`].
///
/// # Errors
/// As [`read_all`], once a byte came.
pub(super) fn read_beside_prompt() -> Result<PipedInput, CliError> {
    if io::stdin().is_terminal() || !has_writer_or_file() {
        return Ok(PipedInput::Empty);
    }
    let first = Arc::new(FirstRead::default());
    let sender = Arc::clone(&first);
    // Joined only after a byte came. Otherwise the thread may wait forever.
    let reader = std::thread::Builder::new().name("standard input".to_owned()).spawn(move || {
        let mut input = io::stdin().lock();
        let begins = input.fill_buf().map(|bytes| !bytes.is_empty());
        let has_text = matches!(begins, Ok(true));
        sender.set(begins);
        if has_text { text(input) } else { Ok(String::new()) }
    })?;
    match first.within(limits::RUN_PIPE_WAIT) {
        Some(Ok(false)) => Ok(PipedInput::Empty),
        Some(Err(error)) => Ok(PipedInput::NotRead(format!("standard input cannot be read ({error})"))),
        None => {
            let seconds = limits::RUN_PIPE_WAIT.as_secs();
            Ok(PipedInput::NotRead(format!("nothing came from standard input within {seconds} s")))
        }
        Some(Ok(true)) => {
            let text = reader.join().map_err(|_| CliError::usage("standard input could not be read"))??;
            Ok(if text.trim().is_empty() { PipedInput::Empty } else { PipedInput::Text(text) })
        }
    }
}

/// Whether the first read returned bytes (true) or the end (false), once it returned.
#[derive(Default)]
struct FirstRead {
    came: Mutex<Option<io::Result<bool>>>,
    changed: Condvar,
}

impl FirstRead {
    fn set(&self, came: io::Result<bool>) {
        *self.came.lock().unwrap_or_else(PoisonError::into_inner) = Some(came);
        self.changed.notify_one();
    }

    fn within(&self, time: Duration) -> Option<io::Result<bool>> {
        let came = self.came.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(came, time, |came| came.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.take()
    }
}

/// Whether standard input is a pipe, a socket or a file.
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
        let message = format!("standard input is longer than {} bytes", limits::PROMPT_BYTES_MAX);
        return Err(CliError::Host(Error::TooLarge(message)));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        CliError::usage(format!("standard input is not UTF-8 (byte {at}); convert it to UTF-8"))
    })
}
