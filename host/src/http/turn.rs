//! A turn of a stored conversation: one at a time, and stored whole when its answer is complete.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use firebox_contract::{Error, Message, Role, TenantId};

use super::Failure;
use crate::serve::App;
use crate::sessions::{Session, SessionError, SessionStore, StoredMessage};

/// Sessions in which an answer is being made. Cheap to clone: clones share them.
#[derive(Debug, Clone, Default)]
pub struct BusySessions(Arc<Mutex<HashSet<Place>>>);

type Place = (TenantId, String);

/// Holds a session for one turn.
#[derive(Debug)]
struct Hold {
    busy: BusySessions,
    place: Place,
}

impl BusySessions {
    fn hold(&self, tenant: &TenantId, id: &str) -> Result<Hold, Failure> {
        let place = (tenant.clone(), id.to_owned());
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(place.clone()) {
            return Ok(Hold { busy: self.clone(), place });
        }
        Err(Failure::conflict(format!(
            "session \"{id}\" is being continued by another request; wait for it, or fork it"
        )))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.busy.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.place);
    }
}

/// Runs `work` on the store where blocking does no harm.
pub(super) async fn stored<T: Send + 'static>(
    app: &App,
    work: impl FnOnce(&SessionStore) -> Result<T, SessionError> + Send + 'static,
) -> Result<T, Failure> {
    let store = app.sessions.clone();
    let done = tokio::task::spawn_blocking(move || work(&store)).await;
    let done = done.map_err(|error| Error::Internal(format!("the session store stopped: {error}")))?;
    done.map_err(|error| match error {
        SessionError::Conflict { .. } => Failure::conflict(error.to_string()),
        error => Error::from(error).into(),
    })
}

/// One turn of one session.
pub(super) struct Turn {
    app: Arc<App>,
    tenant: TenantId,
    session: Session,
    new: Vec<Message>,
    _hold: Hold,
}

impl Turn {
    /// Takes hold of the session and reads it; `new` is what the request adds to it.
    pub(super) async fn begin(
        app: &Arc<App>,
        tenant: &TenantId,
        id: &str,
        new: Vec<Message>,
    ) -> Result<(Self, Vec<StoredMessage>), Failure> {
        if new.iter().any(|message| message.role == Role::System) {
            let message = "a session has its system message from when it was created; send only what follows";
            return Err(Failure::field("messages", message));
        }
        let hold = app.busy.hold(tenant, id)?;
        let (owner, name) = (tenant.clone(), id.to_owned());
        let read = move |store: &SessionStore| Ok((store.get(&owner, &name)?, store.messages(&owner, &name)?));
        let (session, mut messages) = stored(app, read).await?;
        let mut last = messages.last().map_or(0, |message| message.seq);
        messages.extend(new.iter().map(|message| {
            last += 1;
            StoredMessage { seq: last, message: message.clone(), pinned: false, created: session.used }
        }));
        if messages.is_empty() {
            return Err(Failure::field("messages", "the session is empty; send at least one message"));
        }
        Ok((Self { app: Arc::clone(app), tenant: tenant.clone(), session, new, _hold: hold }, messages))
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
        let (tenant, id, length) = (self.tenant.clone(), self.session.id.clone(), self.session.length);
        stored(&self.app, move |store| store.append(&tenant, &id, Some(length), &messages)).await.map(drop)
    }
}
