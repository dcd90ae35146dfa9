//! A turn of a session: the user's messages and the answer, which are stored together.

use std::sync::Arc;

use firebox_contract::{Caller, Message, Role};

use super::locks::SessionLock;
use super::store::with_store;
use crate::http::Failure;
use crate::serve::App;
use crate::serve::connections::request_bytes::ReservedBytes;
use crate::sessions::{Session, SessionStore, StoredMessage};

/// Reads a session with its messages. Their bytes are added to `reserved` before they are read.
async fn read(
    app: &App,
    caller: &Caller,
    id: &str,
    reserved: &mut ReservedBytes,
) -> Result<(Session, Vec<StoredMessage>), Failure> {
    let (owner, name) = (caller.tenant.clone(), id.to_owned());
    let session = with_store(app, caller, move |store| store.get(&owner, &name)).await?;
    let bytes = session.bytes.saturating_add(session.length.saturating_mul(size_of::<StoredMessage>() as u64));
    reserved.grow(usize::try_from(bytes).unwrap_or(usize::MAX))?;
    let (owner, name) = (caller.tenant.clone(), id.to_owned());
    let messages = with_store(app, caller, move |store| store.messages(&owner, &name)).await?;
    Ok((session, messages))
}

/// A turn of a session. The session is locked until it is dropped.
pub(in crate::http) struct SessionTurn {
    app: Arc<App>,
    caller: Caller,
    session: Session,
    /// The messages that the request adds.
    new: Vec<Message>,
    lock: Arc<SessionLock>,
}

impl SessionTurn {
    /// Locks and reads the session. `new` are the messages that the request adds to it. Returns the turn, and all messages
    /// including the new ones. Their bytes are added to `reserved`.
    ///
    /// # Errors
    /// 400 for a system message in `new` and for a session without messages, 404 for an unknown session, 409 if another
    /// request uses it, 429 and 503 if the budget of request bytes is used up.
    pub(in crate::http) async fn begin(
        app: &Arc<App>,
        caller: &Caller,
        id: &str,
        new: Vec<Message>,
        reserved: &mut ReservedBytes,
    ) -> Result<(Self, Vec<StoredMessage>), Failure> {
        if new.iter().any(|message| message.role == Role::System) {
            let message = "the system message of a session is set when it is created; send only messages that follow";
            return Err(Failure::field("messages", message));
        }
        let lock = Arc::new(app.session_locks.turn(&caller.tenant, id)?);
        let (session, mut messages) = read(app, caller, id, reserved).await?;
        let mut last = messages.last().map_or(0, |message| message.seq);
        messages.extend(new.iter().map(|message| {
            last += 1;
            StoredMessage { seq: last, message: message.clone(), pinned: false, created: session.used }
        }));
        if messages.is_empty() {
            return Err(Failure::field("messages", "the session is empty; send at least one message"));
        }
        Ok((Self { app: Arc::clone(app), caller: caller.clone(), session, new, lock }, messages))
    }

    /// The session's id.
    pub(in crate::http) fn id(&self) -> &str {
        &self.session.id
    }

    /// The model of the session.
    pub(in crate::http) fn model(&self) -> &str {
        &self.session.model
    }

    /// Stores the new messages and the answer in one transaction.
    ///
    /// # Errors
    /// As [`with_store`], 409 if the session was changed in between.
    pub(in crate::http) async fn store(&mut self, answer: &[Message]) -> Result<(), Failure> {
        let messages: Vec<Message> = self.new.drain(..).chain(answer.iter().cloned()).collect();
        let (tenant, id, length) = (self.caller.tenant.clone(), self.session.id.clone(), self.session.length);
        // The lock is kept until the turn is written, also if the request is dropped before.
        let lock = Arc::clone(&self.lock);
        let write = move |store: &SessionStore| {
            let _lock = lock;
            store.append(&tenant, &id, Some(length), &messages)
        };
        with_store(&self.app, &self.caller, write).await.map(drop)
    }
}
