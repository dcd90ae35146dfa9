//! Input from a pipe: each line is a message or a command.

use std::io::{BufRead, Read};

use firebox_contract::{Error, limits};
use tokio::sync::mpsc;

use super::{UserInput, is_complete, unfold};
use crate::error::CliError;

/// Reads standard input on its own thread, so that Ctrl-C works while it waits.
pub(in super::super) struct Pipe {
    lines: mpsc::Receiver<Result<String, CliError>>,
}

impl Pipe {
    /// Starts to read.
    pub(in super::super) fn open() -> Result<Self, CliError> {
        let (sender, lines) = mpsc::channel(limits::CHAT_LINES_BUFFERED_MAX);
        // The thread is never joined, because it may wait forever.
        std::thread::Builder::new().name("standard input".to_owned()).spawn(move || {
            let mut input = std::io::stdin().lock();
            while let Some(line) = next_line(&mut input) {
                let last = line.is_err();
                if sender.blocking_send(line).is_err() || last {
                    return;
                }
            }
        })?;
        Ok(Self { lines })
    }

    /// The next input.
    pub(in super::super) async fn read(&mut self) -> Result<UserInput, CliError> {
        let mut text = String::new();
        loop {
            let line = tokio::select! {
                line = self.lines.recv() => line,
                _ = tokio::signal::ctrl_c() => return Ok(UserInput::Interrupted { empty: text.is_empty() }),
            };
            match line {
                Some(line) => text.push_str(&line?),
                None if text.is_empty() => return Ok(UserInput::End),
                None => return Ok(UserInput::Text(unfold(&text))),
            }
            if is_complete(&text) {
                return Ok(UserInput::Text(unfold(&text)));
            }
            if text.len() > limits::PROMPT_BYTES_MAX {
                return Err(too_long());
            }
            text.push('\n');
        }
    }
}

fn too_long() -> CliError {
    let max = limits::PROMPT_BYTES_MAX;
    Error::TooLarge(format!("a message on standard input is longer than {max} bytes")).into()
}

/// One line without its line break; `None` after the last.
fn next_line(input: &mut impl BufRead) -> Option<Result<String, CliError>> {
    let mut bytes = Vec::new();
    let limit = limits::PROMPT_BYTES_MAX as u64 + 2;
    let read = match Read::take(input, limit).read_until(b'\n', &mut bytes) {
        Ok(read) => read,
        Err(source) => {
            return Some(Err(CliError::File { action: "read", path: "standard input".to_owned(), source }));
        }
    };
    if read == 0 {
        return None;
    }
    if bytes.len() > limits::PROMPT_BYTES_MAX + 1 {
        return Some(Err(too_long()));
    }
    let line = String::from_utf8(bytes);
    let line = line.map(|line| line.trim_end_matches('\n').trim_end_matches('\r').to_owned());
    Some(line.map_err(|_| CliError::usage("standard input is not UTF-8; convert it to UTF-8")))
}
