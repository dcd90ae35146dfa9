//! The state of one chat, and how it runs a turn.

use std::io::Write;
use std::sync::Arc;

use firebox_contract::{
    Caller, Chat, Error, Finish, GenerationRequest, Grammar, Message, Prompt, Role, SamplingOverrides, ToolDefinition,
    ToolOptions, ToolPolicy,
};
use tokio::sync::mpsc;

use super::approval::{ApprovalPrompt, TerminalApprover};
use super::input::Terminal;
use super::saved_conversation::{self, SaveOutcome, SavedConversation};
use super::show;
use super::turn::{TurnResult, TurnRunner};
use crate::cli::Io;
use crate::cli::options::ReasoningArgs;
use crate::cli::output::finish::{self, Remedies};
use crate::cli::output::stats;
use crate::error::CliError;
use crate::host::Host;
use crate::sessions::{SYSTEM_SEQ, StoredMessage};

/// The parts of a conversation.
pub(super) struct ConversationParts {
    pub(super) host: Host,
    pub(super) saved: SavedConversation,
    pub(super) sampling: SamplingOverrides,
    /// The form of every answer.
    pub(super) grammar: Option<Grammar>,
    pub(super) reasoning: ReasoningArgs,
    pub(super) rounds: usize,
    pub(super) policy: ToolPolicy,
    pub(super) plugin_tools: Vec<ToolDefinition>,
    /// A line about the limits of each plugin, in chain order.
    pub(super) plugin_limits: Vec<String>,
    pub(super) approvals: Arc<TerminalApprover>,
    pub(super) questions: mpsc::Receiver<ApprovalPrompt>,
    pub(super) stats: bool,
}

/// A running chat.
pub(super) struct Conversation {
    pub(super) parts: ConversationParts,
    /// The tools of the plugins, then the tools of MCP servers, as listed last.
    pub(super) tools: Vec<ToolDefinition>,
    /// The end of the last answer, for statistics.
    pub(super) last: Option<Finish>,
    /// The last message of the user, for `/retry`.
    pub(super) asked: Option<String>,
    warned_of_dropped_turns: bool,
}

impl Conversation {
    pub(super) fn new(parts: ConversationParts) -> Self {
        Self { parts, tools: Vec::new(), last: None, asked: None, warned_of_dropped_turns: false }
    }

    /// Lists the tools again, because servers may have changed them.
    pub(super) async fn list_tools(&mut self) {
        self.tools = self.parts.plugin_tools.clone();
        self.tools.extend(self.parts.host.engine().source_tools(&Caller::local()).await);
    }

    /// Prints the greeting and the last turn.
    pub(super) fn greet(&self, io: &mut Io) -> Result<(), CliError> {
        let info = self.parts.host.engine().info();
        writeln!(io.err, "{} on {}; /help lists commands, Ctrl-D quits", info.name, info.device)?;
        self.show_last_turn(io)
    }

    /// Prints the session and its last turn, after it was resumed.
    pub(super) fn show_last_turn(&self, io: &mut Io) -> Result<(), CliError> {
        let Some(session) = self.parts.saved.session() else { return Ok(()) };
        let title = show::line(session.title.as_deref().unwrap_or("no title"), 80);
        writeln!(io.err, "session {} ({title}), {} messages", saved_conversation::short(&session.id), session.length)?;
        if session.model != self.parts.host.engine().info().name {
            writeln!(io.err, "the session was started with model {}", show::line(&session.model, 80))?;
        }
        let messages = self.parts.saved.messages()?;
        let from = last_question(&messages).unwrap_or(messages.len());
        for StoredMessage { message, .. } in messages.get(from..).unwrap_or_default() {
            match message.role {
                Role::User => writeln!(io.err, "> {}", message.content)?,
                Role::Assistant if !message.content.is_empty() => writeln!(io.err, "{}", message.content)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Prints how to continue the session.
    pub(super) fn say_goodbye(&self, io: &mut Io) -> Result<(), CliError> {
        if let (Some(id), Some(_)) = (self.parts.saved.short_id(), self.parts.saved.path()) {
            writeln!(io.err, "saved; continue with: firebox chat --session {id}")?;
        }
        Ok(())
    }

    /// Runs one turn: sends `text` after the first `at` messages (default: all), prints the answer and saves both. Returns
    /// true if Ctrl-C stopped the answer.
    pub(super) async fn say(
        &mut self,
        text: String,
        at: Option<u64>,
        terminal: Option<&mut Terminal>,
        io: &mut Io,
    ) -> Result<bool, CliError> {
        self.asked = Some(text.clone());
        let mut before = self.parts.saved.messages()?;
        let length = before.last().map_or(SYSTEM_SEQ, |stored| stored.seq);
        let at = at.unwrap_or(length);
        before.retain(|stored| stored.seq <= at);
        let question = Message::text(Role::User, text);
        self.list_tools().await;
        let request = self.request(&before, &question, io)?;
        let Some(TurnResult { finish, interrupted }) = self.answer(request, terminal, io).await? else {
            writeln!(io.err, "stopped")?;
            return Ok(true);
        };
        let remedies =
            Remedies { tokens: "raise it with /set max_tokens=N", room: "start a new conversation with /clear" };
        if let Some(ending) = finish::line(finish.reason, finish.usage, &remedies) {
            writeln!(io.err, "{ending}")?;
        }
        if self.parts.stats {
            io.err.write_all(stats::lines(&self.parts.host, &finish).as_bytes())?;
        }
        self.save(at, &before, question, &finish, io)?;
        self.last = Some(finish);
        Ok(interrupted)
    }

    /// `None` if Ctrl-C came before the answer started.
    async fn answer(
        &mut self,
        request: GenerationRequest,
        terminal: Option<&mut Terminal>,
        io: &mut Io,
    ) -> Result<Option<TurnResult>, CliError> {
        let caller = Caller::local();
        let generation = tokio::select! {
            generation = self.parts.host.engine().generate(&caller, request) => generation?,
            _ = tokio::signal::ctrl_c() => return Ok(None),
        };
        let mut runner = TurnRunner {
            io,
            shows_thinking: self.parts.reasoning.show_thinking,
            terminal,
            approvals: &self.parts.approvals,
            questions: &mut self.parts.questions,
        };
        runner.run(generation).await.map(Some)
    }

    /// The request for the next answer, with as many turns as fit into the context.
    fn request(
        &mut self,
        before: &[StoredMessage],
        question: &Message,
        io: &mut Io,
    ) -> Result<GenerationRequest, CliError> {
        let mut all = before.to_vec();
        let seq = before.last().map_or(SYSTEM_SEQ, |stored| stored.seq) + 1;
        let created = std::time::SystemTime::now();
        all.push(StoredMessage { seq, message: question.clone(), pinned: false, created });
        let count = all.len();
        let messages = self.fitting(all)?;
        if messages.len() < count && !std::mem::replace(&mut self.warned_of_dropped_turns, true) {
            let warning = "the oldest turns no longer fit into the context and are left out; keep a message with /pin";
            writeln!(io.err, "firebox: {warning}")?;
        }
        let ConversationParts { sampling, grammar, rounds, policy, .. } = &self.parts;
        let tools = ToolOptions { rounds: *rounds, policy: policy.clone(), ..ToolOptions::default() };
        let (sampling, grammar) = (sampling.clone(), grammar.clone());
        let reasoning = self.parts.reasoning.options();
        Ok(GenerationRequest { sampling, reasoning, grammar, tools, ..GenerationRequest::new(Prompt::Chat(messages)) })
    }

    /// The messages that fit, with room for an answer of at most a quarter of the context. If the last turn alone leaves less
    /// room, the answer gets that.
    fn fitting(&self, all: Vec<StoredMessage>) -> Result<Vec<Message>, Error> {
        let ConversationParts { host, sampling, rounds, .. } = &self.parts;
        let context = host.engine().info().context_tokens;
        let answer = sampling.max_tokens.unwrap_or_else(|| host.answer_tokens()).min(context / 4);
        let tools = if *rounds > 0 { self.tools.as_slice() } else { &[] };
        let chat = Chat::new(&[], tools);
        match host.fit_to_context(all.clone(), chat, context.saturating_sub(answer)) {
            Err(Error::TooLarge(_)) => host.fit_to_context(all, chat, context.saturating_sub(1)),
            fitted => fitted,
        }
    }

    /// Saves a turn that has an answer, and prints a message if it was not saved as usual.
    fn save(
        &mut self,
        at: u64,
        before: &[StoredMessage],
        question: Message,
        finish: &Finish,
        io: &mut Io,
    ) -> Result<(), CliError> {
        if !finish.messages.iter().any(|message| message.role == Role::Assistant) {
            writeln!(io.err, "there is no answer, so the message is not saved; send it again with /retry")?;
            return Ok(());
        }
        let turn: Vec<Message> = std::iter::once(question).chain(finish.messages.iter().cloned()).collect();
        match self.parts.saved.save_turn(at, before, &turn)? {
            SaveOutcome::Stored => {}
            SaveOutcome::Forked => {
                writeln!(io.err, "another chat continued this session; this conversation continues in a fork of it")?
            }
            SaveOutcome::InMemory(error) => {
                writeln!(io.err, "firebox: {error}. The conversation continues in memory; save it with /save FILE")?
            }
        }
        Ok(())
    }
}

/// The index of the user's last message.
pub(super) fn last_question(messages: &[StoredMessage]) -> Option<usize> {
    messages.iter().rposition(|stored| stored.message.role == Role::User)
}
