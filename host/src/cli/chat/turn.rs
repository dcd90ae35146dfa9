//! Prints one answer as it is generated, with its tool calls; asks for approvals; stops on Ctrl-C.

use std::io::Write;

use firebox_contract::{Event, Finish, FinishReason, ToolCall};
use firebox_engine::Generation;
use tokio::sync::mpsc;

use super::approval::{ApprovalAnswer, ApprovalPrompt, TerminalApprover};
use super::input::{Terminal, UserInput};
use super::show;
use crate::cli::Io;
use crate::cli::output::reasoning::ReasoningView;
use crate::error::CliError;

/// Runs one turn.
pub(super) struct TurnRunner<'a> {
    pub(super) io: &'a mut Io,
    /// Whether the model's reasoning is shown.
    pub(super) shows_thinking: bool,
    /// The terminal; `None` for a pipe.
    pub(super) terminal: Option<&'a mut Terminal>,
    pub(super) approvals: &'a TerminalApprover,
    pub(super) questions: &'a mut mpsc::Receiver<ApprovalPrompt>,
}

/// The end of a turn that can be saved.
pub(super) struct TurnResult {
    pub(super) finish: Finish,
    /// Ctrl-C stopped it.
    pub(super) interrupted: bool,
}

/// What the loop of a turn waits for.
enum ChatEvent {
    Event(Result<Option<Event>, firebox_contract::Error>),
    ApprovalPrompt(ApprovalPrompt),
    Interrupt,
}

impl TurnRunner<'_> {
    /// Runs `generation` until it ends or Ctrl-C.
    pub(super) async fn run(&mut self, mut generation: Generation) -> Result<TurnResult, CliError> {
        let reasoning = ReasoningView::new(self.shows_thinking);
        let mut view = TurnView { calls: Vec::new(), line_open: false, reasoning };
        let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
        let finish = loop {
            // The future is not dropped while the user answers: the tool call that waits for the answer runs inside it.
            let mut next = std::pin::pin!(generation.next());
            let event = loop {
                let chat_event = tokio::select! {
                    event = &mut next => ChatEvent::Event(event),
                    Some(question) = self.questions.recv() => ChatEvent::ApprovalPrompt(question),
                    _ = &mut interrupt => ChatEvent::Interrupt,
                };
                match chat_event {
                    ChatEvent::Event(event) => break Some(event),
                    ChatEvent::Interrupt => break None,
                    ChatEvent::ApprovalPrompt(question) => {
                        if !self.ask(question, &mut view)? {
                            break None;
                        }
                    }
                }
            };
            match event {
                Some(Ok(Some(Event::Finished(finish)))) => break Some(finish),
                Some(Ok(Some(event))) => self.show(event, &mut view)?,
                Some(Ok(None)) | None => break None,
                Some(Err(error)) => {
                    view.end_line(self.io)?;
                    return Err(error.into());
                }
            }
        };
        view.reasoning.end(self.io)?;
        view.end_line(self.io)?;
        self.io.out.flush()?;
        let interrupted = finish.is_none();
        let finish = finish.unwrap_or_else(|| generation.so_far(FinishReason::Interrupted));
        Ok(TurnResult { finish, interrupted })
    }

    fn show(&mut self, event: Event, view: &mut TurnView) -> Result<(), CliError> {
        match &event {
            Event::Reasoning(text) => return view.reasoning.print(text, self.io),
            _ => view.reasoning.end(self.io)?,
        }
        match event {
            Event::Text(text) => {
                self.io.out.write_all(text.as_bytes())?;
                self.io.out.flush()?;
                view.line_open = if text.is_empty() { view.line_open } else { !text.ends_with('\n') };
            }
            Event::ToolCall(call) => {
                view.end_line(self.io)?;
                writeln!(self.io.err, "{}", show::call(&call))?;
                view.calls.push(call);
            }
            Event::ToolProgress { id, done, total, message } => {
                let total = total.map(|total| format!(" of {total}")).unwrap_or_default();
                let message = message.map(|message| format!(": {}", show::line(&message, 100))).unwrap_or_default();
                view.end_line(self.io)?;
                writeln!(self.io.err, "tool     {} at {done}{total}{message}", show::line(view.name(&id), 100))?;
            }
            Event::ToolResult { id, outcome } => {
                view.end_line(self.io)?;
                writeln!(self.io.err, "{}", show::outcome(view.name(&id), &outcome))?;
            }
            Event::Log(line) => {
                view.end_line(self.io)?;
                let message = show::line(&line.message, 400);
                writeln!(self.io.err, "plugin   {} {}: {message}", line.plugin, line.level)?;
            }
            Event::Reasoning(_)
            | Event::Logprobs(_)
            | Event::ToolCallDelta { .. }
            | Event::ApprovalNeeded { .. }
            | Event::Finished(_) => {}
        }
        Ok(())
    }

    /// Asks the user about a call. Returns false on Ctrl-C.
    fn ask(&mut self, question: ApprovalPrompt, view: &mut TurnView) -> Result<bool, CliError> {
        let ApprovalPrompt { call, tool, answer } = question;
        if let Some(allowed) = self.approvals.remembered(&tool.name) {
            // The answer to an earlier call of this tool was for the whole chat.
            let _no_receiver = answer.send(if allowed { ApprovalAnswer::Once } else { ApprovalAnswer::No });
            return Ok(true);
        }
        view.end_line(self.io)?;
        self.io.out.flush()?;
        let Some(terminal) = self.terminal.as_deref_mut() else {
            let _no_receiver = answer.send(ApprovalAnswer::No);
            return Ok(true);
        };
        writeln!(self.io.err, "{}", ask_line(&call))?;
        loop {
            match terminal.ask("run it? [y]es, always in this [s]ession, [n]o, never: ")? {
                UserInput::Text(typed) => match ApprovalAnswer::of(&typed) {
                    Some(given) => {
                        // If the call has timed out, there is no receiver.
                        let _no_receiver = answer.send(given);
                        return Ok(true);
                    }
                    None => writeln!(self.io.err, "please answer y, s, n or never")?,
                },
                UserInput::End => {
                    let _no_receiver = answer.send(ApprovalAnswer::No);
                    return Ok(true);
                }
                UserInput::Interrupted { .. } => return Ok(false),
            }
        }
    }
}

/// The question. It shows all arguments, because a cut part could be the one that matters.
fn ask_line(call: &ToolCall) -> String {
    let (name, arguments) = (show::line(&call.name, usize::MAX), show::line(&call.arguments_json, usize::MAX));
    format!("the model wants to call {name} {arguments}")
}

/// The output of one turn: its calls, and whether a line of the answer is open.
struct TurnView {
    calls: Vec<ToolCall>,
    line_open: bool,
    reasoning: ReasoningView,
}

impl TurnView {
    fn name(&self, id: &str) -> &str {
        self.calls.iter().find(|call| call.id == id).map_or("?", |call| call.name.as_str())
    }

    /// Ends the line of the answer, so that the next message starts on its own line.
    fn end_line(&mut self, io: &mut Io) -> Result<(), CliError> {
        if std::mem::take(&mut self.line_open) {
            writeln!(io.out)?;
            io.out.flush()?;
        }
        Ok(())
    }
}
