//! Turns from a pipe: no prompts, no editing, each line a turn.

use std::io::{BufRead, Read};

use firebox_contract::{Error, limits};
use tokio::sync::mpsc;

use super::{UserInput, is_complete, unfold};
use crate::error::CliError;

/// Reads standard input on a thread of its own, so that Ctrl-C is heard while it waits.
pub(in super::super) struct Pipe {
    lines: mpsc::Receiver<Result<String, CliError>>,
}

impl Pipe {
    /// Begins to read.
    pub(in super::super) fn open() -> Result<Self, CliError> {
        let (sender, lines) = mpsc::channel(limits::CHAT_LINES_BUFFERED_MAX);
        // Nobody joins it: it may wait for a line that never comes.
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

    /// The next turn.
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
    Error::TooLarge(format!("a turn on standard input has more than the {max} bytes allowed")).into()
}

/// One line without its end; `None` after the last.
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
    Some(line.map_err(|_| CliError::usage("standard input is not UTF-8 text; convert it first")))
}
