//! A turn of a stored conversation: one at a time, and stored whole when its answer is complete.

use std::sync::Arc;

use firebox_contract::{Caller, Error, Message, Role};

use super::Failure;
use super::busy::Hold;
use crate::serve::App;
use crate::serve::request_bytes::HeldBytes;
use crate::sessions::{Session, SessionError, SessionStore, StoredMessage};

/// Runs `work` on the store for `caller`, who must still be alive then, where blocking does no harm, once one of the
/// tenant's places is free.
pub(super) async fn stored<T: Send + 'static>(
    app: &App,
    caller: &Caller,
    work: impl FnOnce(&SessionStore) -> Result<T, SessionError> + Send + 'static,
) -> Result<T, Failure> {
    let permit = app.store_shares.take(&caller.tenant).await;
    let (store, liveness) = (app.sessions.clone(), caller.liveness.clone());
    let done = tokio::task::spawn_blocking(move || {
        // Held by the work and not by who waits for it, who may be gone.
        let _permit = permit;
        // Asked here, where no wait for a thread comes between.
        liveness.check()?;
        work(&store).map_err(failure)
    });
    done.await.map_err(|error| Error::Internal(format!("the session store stopped: {error}")))?
}

/// How an error of the store is told to a client. What is wrong with the file is in the log, and readiness shows it.
fn failure(error: SessionError) -> Failure {
    if error.is_of_the_store() {
        let message = "sessions cannot be read or written now; the operator must look at their file";
        return Failure::from(Error::Unavailable(message.to_owned())).coded("sessions_unavailable");
    }
    match error {
        SessionError::Conflict { .. } => Failure::conflict(error.to_string()),
        error => Error::from(error).into(),
    }
}

/// A session with its messages, charged to `held` before they are read.
async fn read(
    app: &App,
    caller: &Caller,
    id: &str,
    held: &mut HeldBytes,
) -> Result<(Session, Vec<StoredMessage>), Failure> {
    let (owner, name) = (caller.tenant.clone(), id.to_owned());
    let session = stored(app, caller, move |store| store.get(&owner, &name)).await?;
    let bytes = session.bytes.saturating_add(session.length.saturating_mul(size_of::<StoredMessage>() as u64));
    held.grow(usize::try_from(bytes).unwrap_or(usize::MAX))?;
    let (owner, name) = (caller.tenant.clone(), id.to_owned());
    let messages = stored(app, caller, move |store| store.messages(&owner, &name)).await?;
    Ok((session, messages))
}

/// One turn of one session.
pub(super) struct Turn {
    app: Arc<App>,
    caller: Caller,
    session: Session,
    new: Vec<Message>,
    hold: Arc<Hold>,
}

impl Turn {
    /// Takes hold of the session and reads it; `new` is what the request adds to it. What is read is charged to `held`.
    pub(super) async fn begin(
        app: &Arc<App>,
        caller: &Caller,
        id: &str,
        new: Vec<Message>,
        held: &mut HeldBytes,
    ) -> Result<(Self, Vec<StoredMessage>), Failure> {
        if new.iter().any(|message| message.role == Role::System) {
            let message = "a session has its system message from when it was created; send only what follows";
            return Err(Failure::field("messages", message));
        }
        let hold = Arc::new(app.busy.turn(&caller.tenant, id)?);
        let (session, mut messages) = read(app, caller, id, held).await?;
        let mut last = messages.last().map_or(0, |message| message.seq);
        messages.extend(new.iter().map(|message| {
            last += 1;
            StoredMessage { seq: last, message: message.clone(), pinned: false, created: session.used }
        }));
        if messages.is_empty() {
            return Err(Failure::field("messages", "the session is empty; send at least one message"));
        }
        Ok((Self { app: Arc::clone(app), caller: caller.clone(), session, new, hold }, messages))
    }

    /// The session's id.
    pub(super) fn id(&self) -> &str {
        &self.session.id
    }

    /// The model it is held with.
    pub(super) fn model(&self) -> &str {
        &self.session.model
    }

    /// Stores what was asked and what was answered together: a turn is there whole or not at all.
    pub(super) async fn store(&mut self, answer: &[Message]) -> Result<(), Failure> {
        let messages: Vec<Message> = self.new.drain(..).chain(answer.iter().cloned()).collect();
        let (tenant, id, length) = (self.caller.tenant.clone(), self.session.id.clone(), self.session.length);
        // Held until it is written, also where nobody waits for that any more.
        let hold = Arc::clone(&self.hold);
        let write = move |store: &SessionStore| {
            let _hold = hold;
            store.append(&tenant, &id, Some(length), &messages)
        };
        stored(&self.app, &self.caller, write).await.map(drop)
    }
}
