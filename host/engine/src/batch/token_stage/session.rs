//! A session that the model's thread calls and that the reader of its sequence ends.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use firebox_contract::{BoxFuture, Error, TokenAction, TokenSession, TokenStep};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, watch};

/// A session, until it has ended. One call has it at a time.
pub(super) struct SharedSession {
    session: Mutex<Option<Box<dyn TokenSession>>>,
    /// Closed when calls are to be cancelled.
    live: watch::Receiver<()>,
}

/// The reader's handle of a session. Dropping it cancels the call that runs, and every later one.
pub(crate) struct SessionHandle {
    session: Arc<SharedSession>,
    /// Cancels calls when it is dropped.
    live: Option<watch::Sender<()>>,
}

/// The result of polling a call.
pub(super) enum Polled {
    Ready(Result<TokenAction, Error>),
    Pending(BoxFuture<'static, Result<TokenAction, Error>>),
}

/// A session that two threads share, and the reader's handle of it.
pub(super) fn share(session: Box<dyn TokenSession>) -> (Arc<SharedSession>, SessionHandle) {
    let (sender, receiver) = watch::channel(());
    let session = Arc::new(SharedSession { session: Mutex::new(Some(session)), live: receiver });
    (Arc::clone(&session), SessionHandle { session, live: Some(sender) })
}

impl SharedSession {
    /// A call with `step`.
    pub(super) fn call(self: &Arc<Self>, step: TokenStep) -> BoxFuture<'static, Result<TokenAction, Error>> {
        let shared = Arc::clone(self);
        Box::pin(async move {
            let mut session = shared.session.lock().await;
            let Some(session) = session.as_mut().filter(|_| shared.is_live()) else { return Err(ended_early()) };
            let mut action = session.next(step);
            // Most calls end when they are first polled, and nobody has to wait for their end.
            match poll_fn(|context| Poll::Ready(action.as_mut().poll(context))).await {
                Poll::Ready(action) => action,
                Poll::Pending => Box::pin(shared.wait(action)).await,
            }
        })
    }

    /// Whether the reader's handle is there.
    fn is_live(&self) -> bool {
        self.live.has_changed().is_ok()
    }

    /// Waits for `action`, which was polled and is pending, or for the end of the reader's handle.
    async fn wait(&self, mut action: BoxFuture<'_, Result<TokenAction, Error>>) -> Result<TokenAction, Error> {
        let mut live = self.live.clone();
        let mut was_polled = true;
        let action = poll_fn(|context| match std::mem::take(&mut was_polled) {
            true => Poll::Pending,
            false => action.as_mut().poll(context),
        });
        tokio::select! {
            biased;
            // Nothing is sent, so it changes when the sender is dropped.
            _ = live.changed() => Err(ended_early()),
            action = action => action,
        }
    }
}

impl SessionHandle {
    /// Ends the session after the call that runs, if one does.
    pub(crate) async fn end(self) {
        drop(self.session.session.lock().await.take());
    }

    /// Ends the session. The call that runs is cancelled and has recorded what it used.
    pub(crate) async fn abort(&mut self) {
        drop(self.live.take());
        drop(self.session.session.lock().await.take());
    }
}

/// Polls `call` within `runtime`, whose timers it may use: twice, because the epoch may advance in the middle of a short call,
/// which then yields once. Whoever polls it next wakes it. A panic of the call is an error.
pub(super) fn poll_briefly(mut call: BoxFuture<'static, Result<TokenAction, Error>>, runtime: &Handle) -> Polled {
    let _runtime = runtime.enter();
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..2 {
        match catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(&mut context))) {
            Ok(Poll::Ready(action)) => return Polled::Ready(action),
            Ok(Poll::Pending) => {}
            Err(_) => return Polled::Ready(Err(ended_early())),
        }
    }
    Polled::Pending(call)
}

/// The error of a call whose session is gone.
pub(super) fn ended_early() -> Error {
    Error::Internal("the session of the token stage ended before its answer".to_owned())
}
