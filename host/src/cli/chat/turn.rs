//! One answer: streamed, its tool calls shown as they happen, its questions asked, stopped by Ctrl-C.

use std::io::Write;

use firebox_contract::{Event, Finish, FinishReason, ToolCall};
use firebox_engine::Generation;
use tokio::sync::mpsc;

use super::approval::{ApprovalAnswer, ApprovalPrompt, TerminalApprover};
use super::input::{Terminal, UserInput};
use super::show;
use crate::cli::Io;
use crate::error::CliError;

/// What one turn writes to and asks.
pub(super) struct TurnRunner<'a> {
    pub(super) io: &'a mut Io,
    /// The person, if there is one.
    pub(super) terminal: Option<&'a mut Terminal>,
    pub(super) approvals: &'a TerminalApprover,
    pub(super) questions: &'a mut mpsc::Receiver<ApprovalPrompt>,
}

/// How a turn ended well enough to be kept.
pub(super) struct TurnResult {
    pub(super) finish: Finish,
    /// Ctrl-C ended it.
    pub(super) interrupted: bool,
}

/// What the loop below heard.
enum ChatEvent {
    Event(Result<Option<Event>, firebox_contract::Error>),
    ApprovalPrompt(ApprovalPrompt),
    Interrupt,
}

impl TurnRunner<'_> {
    /// Reads a generation to its end, or to Ctrl-C.
    pub(super) async fn play(&mut self, mut generation: Generation) -> Result<TurnResult, CliError> {
        let mut screen = TurnView { calls: Vec::new(), line_open: false };
        let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
        let finish = loop {
            // A step that began is not given up for a question: the tool that waits for the answer is inside it.
            let mut step = std::pin::pin!(generation.next());
            let event = loop {
                let heard = tokio::select! {
                    event = &mut step => ChatEvent::Event(event),
                    Some(question) = self.questions.recv() => ChatEvent::ApprovalPrompt(question),
                    _ = &mut interrupt => ChatEvent::Interrupt,
                };
                match heard {
                    ChatEvent::Event(event) => break Some(event),
                    ChatEvent::Interrupt => break None,
                    ChatEvent::ApprovalPrompt(question) => {
                        if !self.ask(question, &mut screen)? {
                            break None;
                        }
                    }
                }
            };
            match event {
                Some(Ok(Some(Event::Finished(finish)))) => break Some(finish),
                Some(Ok(Some(event))) => self.show(event, &mut screen)?,
                Some(Ok(None)) | None => break None,
                Some(Err(error)) => {
                    screen.end_line(self.io)?;
                    return Err(error.into());
                }
            }
        };
        screen.end_line(self.io)?;
        self.io.out.flush()?;
        let interrupted = finish.is_none();
        let finish = finish.unwrap_or_else(|| generation.so_far(FinishReason::Interrupted));
        Ok(TurnResult { finish, interrupted })
    }

    fn show(&mut self, event: Event, screen: &mut TurnView) -> Result<(), CliError> {
        match event {
            Event::Text(text) => {
                self.io.out.write_all(text.as_bytes())?;
                self.io.out.flush()?;
                screen.line_open = if text.is_empty() { screen.line_open } else { !text.ends_with('\n') };
            }
            Event::ToolCall(call) => {
                screen.end_line(self.io)?;
                writeln!(self.io.err, "{}", show::call(&call))?;
                screen.calls.push(call);
            }
            Event::ToolProgress { id, done, total, message } => {
                let total = total.map(|total| format!(" of {total}")).unwrap_or_default();
                let message = message.map(|message| format!(": {}", show::line(&message, 100))).unwrap_or_default();
                screen.end_line(self.io)?;
                writeln!(self.io.err, "tool     {} at {done}{total}{message}", show::line(screen.name(&id), 100))?;
            }
            Event::ToolResult { id, outcome } => {
                screen.end_line(self.io)?;
                writeln!(self.io.err, "{}", show::outcome(screen.name(&id), &outcome))?;
            }
            Event::Log(line) => {
                screen.end_line(self.io)?;
                let message = show::line(&line.message, 400);
                writeln!(self.io.err, "plugin   {} {}: {message}", line.plugin, line.level)?;
            }
            Event::ApprovalNeeded { .. } | Event::Finished(_) => {}
        }
        Ok(())
    }

    /// Puts a question to the person. False when the answer was Ctrl-C.
    fn ask(&mut self, question: ApprovalPrompt, screen: &mut TurnView) -> Result<bool, CliError> {
        let ApprovalPrompt { call, tool, answer } = question;
        if let Some(allowed) = self.approvals.remembered(&tool.name) {
            // Answered for good while this call was waiting behind another.
            let _gone = answer.send(if allowed { ApprovalAnswer::Once } else { ApprovalAnswer::No });
            return Ok(true);
        }
        screen.end_line(self.io)?;
        self.io.out.flush()?;
        let Some(terminal) = self.terminal.as_deref_mut() else {
            let _gone = answer.send(ApprovalAnswer::No);
            return Ok(true);
        };
        writeln!(self.io.err, "{}", ask_line(&call))?;
        loop {
            match terminal.ask("run it? [y]es, yes for this [s]ession, [n]o, never: ")? {
                UserInput::Text(typed) => match ApprovalAnswer::of(&typed) {
                    Some(said) => {
                        // The call may have run out of time meanwhile; then nobody listens any more.
                        let _gone = answer.send(said);
                        return Ok(true);
                    }
                    None => writeln!(self.io.err, "please answer y, s, n or never")?,
                },
                UserInput::End => {
                    let _gone = answer.send(ApprovalAnswer::No);
                    return Ok(true);
                }
                UserInput::Interrupted { .. } => return Ok(false),
            }
        }
    }
}

/// What the person decides about: all of the arguments, since what is cut off could be what matters.
fn ask_line(call: &ToolCall) -> String {
    let (name, arguments) = (show::line(&call.name, usize::MAX), show::line(&call.arguments_json, usize::MAX));
    format!("the model wants to call {name} {arguments}")
}

/// What is on the screen of this turn.
struct TurnView {
    calls: Vec<ToolCall>,
    line_open: bool,
}

impl TurnView {
    fn name(&self, id: &str) -> &str {
        self.calls.iter().find(|call| call.id == id).map_or("?", |call| call.name.as_str())
    }

    /// Ends the line of text, so that what follows on the same terminal begins on its own.
    fn end_line(&mut self, io: &mut Io) -> Result<(), CliError> {
        if std::mem::take(&mut self.line_open) {
            writeln!(io.out)?;
            io.out.flush()?;
        }
        Ok(())
    }
}
