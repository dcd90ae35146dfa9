//! The token stage of one sequence: plugins decide which token may come next.
//!
//! A session runs as a task beside the model's thread. The thread sends it a step when a token was accepted, so that the session
//! decides while the model computes the next logits. When the logits come before the decision, they are kept and the sequence
//! rests: the other sequences of the batch go on. A session that needs candidates gets its step with the logits.
//!
//! Tokens that the session wants to be able to take back are held back. What was sent to the reader is never taken back.

use std::collections::VecDeque;
use std::thread::Thread;
use std::time::Duration;

use firebox_contract::limits::STAGE_STEPS_BUFFERED_MAX;
use firebox_contract::{Error, FinishReason, Logits, TokenAction, TokenId, TokenNeeds, TokenSession, TokenStep};
use tokio::sync::{mpsc, oneshot};

use crate::sampler::scores::{TokenScores, most_likely};

/// The token stage on the model's thread.
pub(crate) struct TokenStage {
    steps: mpsc::Sender<TokenStep>,
    actions: mpsc::Receiver<Result<TokenAction, Error>>,
    needs: TokenNeeds,
    /// Whether the session has a step and has not answered it.
    asked: bool,
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

/// A token that was accepted and not sent yet, with the time at which it was chosen.
pub(crate) struct HeldToken {
    pub(super) token: TokenId,
    pub(super) at: Duration,
    pub(super) scores: Option<Box<TokenScores>>,
}

/// The task of a session. Dropping it aborts the session, even in the middle of a call.
pub(crate) struct SessionTask {
    handle: tokio::task::JoinHandle<()>,
    stop: Option<oneshot::Sender<()>>,
}

impl SessionTask {
    /// Ends the session after the call that runs, if one does.
    pub(crate) async fn end(mut self) {
        drop(self.stop.take());
        // The task has no result, and a panic of it was reported to the sequence.
        let _ended = (&mut self.handle).await;
    }

    /// Aborts the session and waits until the call that runs has recorded what it used.
    pub(crate) async fn abort(mut self) {
        self.handle.abort();
        let _aborted = (&mut self.handle).await;
    }
}

impl Drop for SessionTask {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

impl TokenStage {
    /// Starts the task of `session` beside the task of its reader. It unparks `worker`, the model's thread, after each decision.
    pub(crate) fn start(session: Box<dyn TokenSession>, worker: Thread) -> (Self, SessionTask) {
        let needs = session.needs();
        let (steps, asked) = mpsc::channel(STAGE_STEPS_BUFFERED_MAX);
        let (decided, actions) = mpsc::channel(STAGE_STEPS_BUFFERED_MAX);
        let (stop, stopped) = oneshot::channel();
        let handle = tokio::spawn(decide(session, asked, decided, stopped, worker));
        let stage = Self {
            steps,
            actions,
            needs,
            asked: false,
            taken_back: 0,
            accepted: Vec::new(),
            forced: VecDeque::new(),
            held: VecDeque::new(),
            logits: None,
            ending: None,
            is_late: false,
        };
        (stage, SessionTask { handle, stop: Some(stop) })
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

    /// Sends a step, unless the session has one.
    pub(super) fn ask(&mut self) {
        if self.asked {
            return;
        }
        let candidates = match &self.logits {
            Some(logits) if self.needs.candidates > 0 => most_likely(logits, self.needs.candidates)
                .into_iter()
                .filter_map(|token| Some((token, *logits.get(token as usize)?)))
                .collect(),
            _ => Vec::new(),
        };
        let step = TokenStep {
            taken_back: std::mem::take(&mut self.taken_back),
            accepted: std::mem::take(&mut self.accepted),
            held: self.held.len().min(self.needs.hold_back),
            candidates,
        };
        // The channel is empty, because there is one step at a time. If the task is gone, `decision` says so.
        let _sent = self.steps.try_send(step);
        self.asked = true;
    }

    /// The decision, if it has come.
    pub(super) fn decision(&mut self) -> Option<Result<TokenAction, Error>> {
        self.ask();
        match self.actions.try_recv() {
            Ok(decision) => {
                self.asked = false;
                Some(decision)
            }
            Err(mpsc::error::TryRecvError::Empty) => None,
            Err(mpsc::error::TryRecvError::Disconnected) => {
                Some(Err(Error::Internal("the session of the token stage ended before its answer".to_owned())))
            }
        }
    }
}

/// Answers steps until the sequence or the turn ends.
async fn decide(
    mut session: Box<dyn TokenSession>,
    mut steps: mpsc::Receiver<TokenStep>,
    decided: mpsc::Sender<Result<TokenAction, Error>>,
    mut stopped: oneshot::Receiver<()>,
    worker: Thread,
) {
    loop {
        let step = tokio::select! {
            biased;
            _ = &mut stopped => return,
            step = steps.recv() => step,
        };
        let Some(step) = step else { return };
        let action = session.next(step).await;
        let failed = action.is_err();
        if decided.send(action).await.is_err() {
            return;
        }
        worker.unpark();
        if failed {
            return;
        }
    }
}
