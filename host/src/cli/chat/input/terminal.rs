//! Input from a terminal: line editing, history, completion of commands.

use std::cell::Cell;
use std::io;
use std::path::PathBuf;

use firebox_contract::limits;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Behavior, Cmd, Config, Context, Editor, Helper, KeyCode, KeyEvent, Modifiers};

use super::{UserInput, is_complete, unfold};
use crate::cli::output;
use crate::cli::termination::Termination;
use crate::error::CliError;

/// The prompt of a message.
const PROMPT: &str = "> ";

/// The user's terminal.
pub(in super::super) struct Terminal {
    editor: Editor<LineEditorHelper, FileHistory>,
    /// The file of the history; `None` if none is kept.
    history: Option<PathBuf>,
    termination: Termination,
}

impl Terminal {
    /// Opens the terminal and reads the history. If the history cannot be read, a note says why.
    pub(in super::super) fn open(
        history: Option<PathBuf>,
        commands: Vec<String>,
        termination: Termination,
    ) -> Result<(Self, Option<String>), CliError> {
        // If answers go to a file, the prompt goes to the terminal itself.
        let behavior = if output::stdout_is_terminal() { Behavior::Stdio } else { Behavior::PreferTerm };
        let config = Config::builder()
            .max_history_size(limits::CHAT_HISTORY_LINES)
            .and_then(|config| config.history_ignore_dups(true))
            .map_err(failed)?
            .history_ignore_space(true)
            .behavior(behavior)
            .build();
        let mut editor = Editor::with_history(config.clone(), FileHistory::with_config(&config)).map_err(failed)?;
        editor.set_helper(Some(LineEditorHelper { commands, asking: Cell::new(false), empty: Cell::new(true) }));
        editor.bind_sequence(KeyEvent(KeyCode::Enter, Modifiers::ALT), Cmd::Newline);
        let note = history.as_ref().filter(|path| path.exists()).and_then(|path| {
            let read = editor.load_history(path);
            let path = path.display();
            read.err().map(|error| format!("cannot read the history \"{path}\": {error}; delete the file"))
        });
        Ok((Self { editor, history, termination }, note))
    }

    /// The termination signal; after it, every read returns `UserInput::End`.
    pub(in super::super) fn termination(&self) -> &Termination {
        &self.termination
    }

    /// The next input.
    pub(in super::super) fn read(&mut self) -> Result<UserInput, CliError> {
        let typed = self.line(PROMPT, false)?;
        if let UserInput::Text(text) = &typed {
            self.remember(text);
        }
        Ok(match typed {
            UserInput::Text(text) => UserInput::Text(unfold(&text)),
            other => other,
        })
    }

    /// The answer to a question. It is not added to the history.
    pub(in super::super) fn ask(&mut self, question: &str) -> Result<UserInput, CliError> {
        self.line(question, true)
    }

    fn line(&mut self, prompt: &str, asking: bool) -> Result<UserInput, CliError> {
        if let Some(helper) = self.editor.helper() {
            helper.asking.set(asking);
            helper.empty.set(true);
        }
        if self.termination.is_asked() {
            return Ok(UserInput::End);
        }
        match self.editor.readline(prompt) {
            Ok(text) => Ok(UserInput::Text(text)),
            Err(ReadlineError::Eof) => Ok(UserInput::End),
            Err(ReadlineError::Interrupted | ReadlineError::Signal(_)) if self.termination.is_asked() => {
                Ok(UserInput::End)
            }
            Err(ReadlineError::Interrupted | ReadlineError::Signal(_)) => {
                Ok(UserInput::Interrupted { empty: self.editor.helper().is_none_or(|helper| helper.empty.get()) })
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn remember(&mut self, text: &str) {
        if text.trim().is_empty() || text.len() > limits::CHAT_HISTORY_LINE_BYTES_MAX {
            return;
        }
        // A history that cannot be written must not end the chat.
        let _unwritten = self.editor.add_history_entry(text);
        if let Some(path) = &self.history {
            let _unwritten = self.editor.append_history(path);
        }
    }
}

fn failed(error: ReadlineError) -> CliError {
    let source = match error {
        ReadlineError::Io(error) => error,
        other => io::Error::other(other.to_string()),
    };
    CliError::File { action: "read", path: "the terminal".to_owned(), source }
}

/// Validates lines and completes commands for the line editor.
struct LineEditorHelper {
    /// The names of the commands.
    commands: Vec<String>,
    /// Whether a question is open. Then every line is a complete answer.
    asking: Cell<bool>,
    /// Whether the line is empty.
    empty: Cell<bool>,
}

impl Helper for LineEditorHelper {}

impl Highlighter for LineEditorHelper {}

impl Hinter for LineEditorHelper {
    type Hint = String;

    /// Gives no hints. The editor calls it with the line as typed so far.
    fn hint(&self, line: &str, _pos: usize, _context: &Context<'_>) -> Option<String> {
        self.empty.set(line.is_empty());
        None
    }
}

impl Validator for LineEditorHelper {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let complete = self.asking.get() || is_complete(context.input());
        Ok(if complete { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

impl Completer for LineEditorHelper {
    type Candidate = String;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = line.get(..pos).unwrap_or(line);
        if self.asking.get() || !typed.starts_with('/') || typed.contains(char::is_whitespace) {
            return Ok((pos, Vec::new()));
        }
        Ok((0, self.commands.iter().filter(|command| command.starts_with(typed)).cloned().collect()))
    }
}
