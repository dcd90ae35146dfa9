//! The token stage of one sequence: plugins decide which token may come next.
//!
//! A call of a session begins on the model's thread, because most calls end within microseconds, and waking another thread takes
//! longer. A call that has to wait, or that computes for longer than an epoch tick, continues as a task beside the model's thread.
//! A session that has delayed the batch by `TOKEN_STAGE_DELAY_MAX` has all further calls beside it. When the logits come before the
//! decision, they are kept and the sequence rests: the other sequences of the batch go on. A session gets its step when a token
//! was accepted, so that it decides while the model computes the next logits; one that needs candidates gets it with the logits.
//!
//! Tokens that the session wants to be able to take back are held back. What was sent to the reader is never taken back.

mod session;

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::Thread;
use std::time::Duration;

use firebox_contract::limits::{TOKEN_STAGE_DELAY_MAX, TOKEN_STAGE_WAIT};
use firebox_contract::{Clock, Error, FinishReason, Logits, TokenAction, TokenId, TokenNeeds, TokenSession, TokenStep};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

pub(crate) use self::session::SessionHandle;
use self::session::{Polled, SharedSession};
use crate::sampler::scores::{TokenScores, most_likely};

/// The token stage on the model's thread.
pub(crate) struct TokenStage {
    session: Arc<SharedSession>,
    /// Where calls continue that do not end at once.
    runtime: Handle,
    /// The model's thread, which is unparked after each call that continued beside it.
    worker: Thread,
    clock: Arc<dyn Clock>,
    needs: TokenNeeds,
    /// The call that decides about the next token, if it has begun.
    call: Option<SessionCall>,
    /// Time that calls have taken on the model's thread beyond `TOKEN_STAGE_WAIT` each.
    delay: Duration,
    /// What happened since the last step.
    taken_back: usize,
    accepted: Vec<TokenId>,
    /// Tokens that come next, whatever the model prefers.
    pub(super) forced: VecDeque<TokenId>,
    /// Tokens that were accepted and not sent, the oldest first.
    pub(super) held: VecDeque<HeldToken>,
    /// The logits of the next token, until it is chosen.
    pub(super) logits: Option<Logits>,
    /// The reason for which the answer ends, unless the session takes tokens back.
    pub(super) ending: Option<FinishReason>,
    /// Whether the last decision came so late that the batch went on without this sequence.
    pub(super) is_late: bool,
}

/// A call of the session.
enum SessionCall {
    /// It ended on the model's thread.
    Ended(Result<TokenAction, Error>),
    /// It runs beside the model's thread.
    Beside(oneshot::Receiver<Result<TokenAction, Error>>),
}

/// A token that was accepted and not sent yet, with the time at which it was chosen.
pub(crate) struct HeldToken {
    pub(super) token: TokenId,
    pub(super) at: Duration,
    pub(super) scores: Option<Box<TokenScores>>,
}

impl TokenStage {
    /// The token stage of a sequence, and the handle of its reader, who starts it within a Tokio runtime. `worker` is the
    /// model's thread.
    pub(crate) fn start(
        session: Box<dyn TokenSession>,
        worker: Thread,
        clock: Arc<dyn Clock>,
    ) -> (Self, SessionHandle) {
        let needs = session.needs();
        let (session, handle) = session::share(session);
        let stage = Self {
            session,
            runtime: Handle::current(),
            worker,
            clock,
            needs,
            call: None,
            delay: Duration::ZERO,
            taken_back: 0,
            accepted: Vec::new(),
            forced: VecDeque::new(),
            held: VecDeque::new(),
            logits: None,
            ending: None,
            is_late: false,
        };
        (stage, handle)
    }

    /// Whether the sequence waits for the session.
    pub(super) fn rests(&self) -> bool {
        self.logits.is_some() || self.ending.is_some()
    }

    /// Most tokens that are held back.
    pub(super) fn hold_back(&self) -> usize {
        self.needs.hold_back
    }

    /// Whether a step needs the logits of the next token.
    pub(super) fn needs_logits(&self) -> bool {
        self.needs.candidates > 0
    }

    /// Records an accepted token.
    pub(super) fn accept(&mut self, token: TokenId) {
        self.accepted.push(token);
    }

    /// Takes back the last `count` tokens. Returns false if fewer are held.
    pub(super) fn take_back(&mut self, count: usize) -> bool {
        let Some(kept) = self.held.len().checked_sub(count) else { return false };
        self.held.truncate(kept);
        let unseen = count.min(self.accepted.len());
        self.accepted.truncate(self.accepted.len() - unseen);
        self.taken_back += count - unseen;
        true
    }

    /// Gives the session a step, unless it has one.
    pub(super) fn ask(&mut self) {
        if self.call.is_none() {
            let step = self.step();
            self.call = Some(self.call_session(step));
        }
    }

    /// What the session has not seen yet.
    fn step(&mut self) -> TokenStep {
        let candidates = match &self.logits {
            Some(logits) if self.needs.candidates > 0 => most_likely(logits, self.needs.candidates)
                .into_iter()
                .filter_map(|token| Some((token, *logits.get(token as usize)?)))
                .collect(),
            _ => Vec::new(),
        };
        TokenStep {
            taken_back: std::mem::take(&mut self.taken_back),
            accepted: std::mem::take(&mut self.accepted),
            held: self.held.len().min(self.needs.hold_back),
            candidates,
        }
    }

    /// Begins a call on this thread, unless earlier calls took too long. A call that does not end at once continues as a task.
    fn call_session(&mut self, step: TokenStep) -> SessionCall {
        let mut call = self.session.call(step);
        if self.delay < TOKEN_STAGE_DELAY_MAX {
            let began = self.clock.now();
            let polled = session::poll_briefly(call, &self.runtime);
            self.delay += self.clock.now().saturating_sub(began).saturating_sub(TOKEN_STAGE_WAIT);
            call = match polled {
                Polled::Ready(action) => return SessionCall::Ended(action),
                Polled::Pending(call) => call,
            };
        }
        let (decided, action) = oneshot::channel();
        let worker = self.worker.clone();
        // The reader's handle cancels the call, after which the task ends.
        drop(self.runtime.spawn(async move {
            // If the sequence is gone, nobody needs the decision.
            let _sent = decided.send(call.await);
            worker.unpark();
        }));
        SessionCall::Beside(action)
    }

    /// The decision, if it has come.
    pub(super) fn decision(&mut self) -> Option<Result<TokenAction, Error>> {
        self.ask();
        match self.call.take()? {
            SessionCall::Ended(decision) => Some(decision),
            SessionCall::Beside(mut action) => match action.try_recv() {
                Ok(decision) => Some(decision),
                Err(oneshot::error::TryRecvError::Empty) => {
                    self.call = Some(SessionCall::Beside(action));
                    None
                }
                Err(oneshot::error::TryRecvError::Closed) => Some(Err(session::ended_early())),
            },
        }
    }
}
