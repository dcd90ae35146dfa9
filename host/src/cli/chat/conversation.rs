//! Model, tools and book of one chat, and how a turn goes through all of them.

use std::io::Write;
use std::sync::Arc;

use firebox_contract::{
    Caller, Chat, Error, Finish, GenerationRequest, Message, Prompt, Role, SamplingOverrides, ToolDefinition,
    ToolOptions, ToolPolicy,
};
use tokio::sync::mpsc;

use super::approval::{ApprovalPrompt, TerminalApprover};
use super::input::Terminal;
use super::saved_conversation::{self, SaveOutcome, SavedConversation};
use super::show;
use super::turn::{TurnResult, TurnRunner};
use crate::cli::Io;
use crate::cli::output::finish::{self, Remedies};
use crate::cli::output::stats;
use crate::error::CliError;
use crate::host::Host;
use crate::sessions::{SYSTEM_SEQ, StoredMessage};

/// What a conversation is made of.
pub(super) struct ConversationParts {
    pub(super) host: Host,
    pub(super) book: SavedConversation,
    pub(super) sampling: SamplingOverrides,
    pub(super) rounds: usize,
    pub(super) policy: ToolPolicy,
    pub(super) plugin_tools: Vec<ToolDefinition>,
    pub(super) plugins: Vec<String>,
    pub(super) approvals: Arc<TerminalApprover>,
    pub(super) questions: mpsc::Receiver<ApprovalPrompt>,
    pub(super) stats: bool,
}

/// A chat while it runs.
pub(super) struct Conversation {
    pub(super) parts: ConversationParts,
    /// The plugins' tools and, after them, those of other servers, as they were listed last.
    pub(super) tools: Vec<ToolDefinition>,
    /// The last answer's cost.
    pub(super) last: Option<Finish>,
    /// The last question, for trying it again when it failed.
    pub(super) asked: Option<String>,
    told_of_dropping: bool,
}

impl Conversation {
    pub(super) fn new(parts: ConversationParts) -> Self {
        Self { parts, tools: Vec::new(), last: None, asked: None, told_of_dropping: false }
    }

    /// Lists the tools again: servers may have changed theirs.
    pub(super) async fn list_tools(&mut self) {
        self.tools = self.parts.plugin_tools.clone();
        self.tools.extend(self.parts.host.engine().source_tools(&Caller::local()).await);
    }

    /// What a person sees first.
    pub(super) fn greet(&self, io: &mut Io) -> Result<(), CliError> {
        let info = self.parts.host.engine().info();
        writeln!(io.err, "{} on {}; /help lists the commands, Ctrl-D ends", info.name, info.device)?;
        self.show_last_turn(io)
    }

    /// After a session was resumed: where it stands.
    pub(super) fn show_last_turn(&self, io: &mut Io) -> Result<(), CliError> {
        let Some(session) = self.parts.book.session() else { return Ok(()) };
        let title = show::line(session.title.as_deref().unwrap_or("without a title"), 80);
        writeln!(io.err, "session {} ({title}), {} messages", saved_conversation::short(&session.id), session.length)?;
        if session.model != self.parts.host.engine().info().name {
            writeln!(io.err, "it was begun with the model {}", show::line(&session.model, 80))?;
        }
        let messages = self.parts.book.messages()?;
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

    /// What a person sees last.
    pub(super) fn take_leave(&self, io: &mut Io) -> Result<(), CliError> {
        if let (Some(id), Some(_)) = (self.parts.book.short_id(), self.parts.book.path()) {
            writeln!(io.err, "kept; firebox chat --session {id} goes on with it")?;
        }
        Ok(())
    }

    /// One turn: `text` after the first `at` messages (all of them without it), answered and kept. True when Ctrl-C
    /// ended it.
    pub(super) async fn say(
        &mut self,
        text: String,
        at: Option<u64>,
        terminal: Option<&mut Terminal>,
        io: &mut Io,
    ) -> Result<bool, CliError> {
        self.asked = Some(text.clone());
        let mut before = self.parts.book.messages()?;
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
        let remedies = Remedies { tokens: "/set max_tokens=N allows more", room: "/clear begins anew" };
        if let Some(ending) = finish::line(finish.reason, finish.usage.completion_tokens, &remedies) {
            writeln!(io.err, "{ending}")?;
        }
        if self.parts.stats {
            io.err.write_all(stats::lines(self.parts.host.engine().info(), &finish).as_bytes())?;
        }
        self.keep(at, &before, question, &finish, io)?;
        self.last = Some(finish);
        Ok(interrupted)
    }

    /// `None` when Ctrl-C came before there was an answer at all.
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
        let mut stage =
            TurnRunner { io, terminal, approvals: &self.parts.approvals, questions: &mut self.parts.questions };
        stage.play(generation).await.map(Some)
    }

    /// The request for the next answer: as much of the conversation as the model's context has room for.
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
        if messages.len() < count && !std::mem::replace(&mut self.told_of_dropping, true) {
            let word =
                "the model no longer sees the oldest turns, for which its context has no room; /pin keeps a message";
            writeln!(io.err, "firebox: {word}")?;
        }
        let ConversationParts { sampling, rounds, policy, .. } = &self.parts;
        let tools = ToolOptions { rounds: *rounds, policy: policy.clone(), ..ToolOptions::default() };
        Ok(GenerationRequest { sampling: sampling.clone(), tools, ..GenerationRequest::new(Prompt::Chat(messages)) })
    }

    /// Leaves room for an answer, of a quarter of the context at most; where even the last turn alone leaves less,
    /// it gets what there is.
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

    /// Stores the turn if there is an answer in it, and tells what else became of it.
    fn keep(
        &mut self,
        at: u64,
        before: &[StoredMessage],
        question: Message,
        finish: &Finish,
        io: &mut Io,
    ) -> Result<(), CliError> {
        if !finish.messages.iter().any(|message| message.role == Role::Assistant) {
            writeln!(io.err, "there is no answer, so the question is not kept; /retry asks it again")?;
            return Ok(());
        }
        let turn: Vec<Message> = std::iter::once(question).chain(finish.messages.iter().cloned()).collect();
        match self.parts.book.keep(at, before, &turn)? {
            SaveOutcome::Stored => {}
            SaveOutcome::Forked => writeln!(
                io.err,
                "the session was continued elsewhere meanwhile; this conversation goes on in a fork of it"
            )?,
            SaveOutcome::InMemory(error) => writeln!(
                io.err,
                "firebox: {error}. The conversation goes on in memory; /save FILE writes it elsewhere"
            )?,
        }
        Ok(())
    }
}

/// The place of the last message from the user.
pub(super) fn last_question(messages: &[StoredMessage]) -> Option<usize> {
    messages.iter().rposition(|stored| stored.message.role == Role::User)
}
