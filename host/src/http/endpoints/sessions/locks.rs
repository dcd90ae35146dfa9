//! Locks of sessions. While a turn generates its answer, no other request may continue, change or delete the session:
//! the answer could not be stored.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use firebox_contract::TenantId;

use crate::http::Failure;

/// The locks of all sessions in use. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct SessionLocks(Arc<Mutex<HashMap<SessionKey, LockState>>>);

type SessionKey = (TenantId, String);

/// How a session is state; the limits of connections and threads bound the number.
#[derive(Debug, Default)]
struct LockState {
    has_turn: bool,
    changes: usize,
}

/// A lock of a session, released on drop.
#[derive(Debug)]
pub(super) struct SessionLock {
    locks: SessionLocks,
    key: SessionKey,
    is_turn: bool,
}

impl SessionLocks {
    /// Locks the session for a turn.
    ///
    /// # Errors
    /// 409 if another request uses the session.
    pub(super) fn turn(&self, tenant: &TenantId, id: &str) -> Result<SessionLock, Failure> {
        self.lock(tenant, id, true, |state| match (state.has_turn, state.changes) {
            (false, 0) => {
                state.has_turn = true;
                Ok(())
            }
            (true, _) => Err(Failure::conflict(format!(
                "session \"{id}\" is being continued by another request; wait until that has ended, or fork the session"
            ))),
            (false, _) => Err(Failure::conflict(format!(
                "session \"{id}\" is being changed by another request; retry when that has ended"
            ))),
        })
    }

    /// Locks the session for a change of its messages. Several changes may run at the same time.
    ///
    /// # Errors
    /// 409 while a turn runs.
    pub(super) fn change(&self, tenant: &TenantId, id: &str) -> Result<SessionLock, Failure> {
        self.lock(tenant, id, false, |state| match state.has_turn {
            false => {
                state.changes += 1;
                Ok(())
            }
            true => Err(Failure::conflict(format!(
                "session \"{id}\" is being continued by another request, whose answer would be lost; wait until \
                 that has ended, or fork the session and continue the fork"
            ))),
        })
    }

    fn lock(
        &self,
        tenant: &TenantId,
        id: &str,
        is_turn: bool,
        take: impl FnOnce(&mut LockState) -> Result<(), Failure>,
    ) -> Result<SessionLock, Failure> {
        let key = (tenant.clone(), id.to_owned());
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A refused request leaves no entry behind: its session has one already.
        take(states.entry(key.clone()).or_default())?;
        Ok(SessionLock { locks: self.clone(), key, is_turn })
    }
}

impl Drop for SessionLock {
    fn drop(&mut self) {
        let mut states = self.locks.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(state) = states.get_mut(&self.key) else { return };
        match self.is_turn {
            true => state.has_turn = false,
            false => state.changes -= 1,
        }
        if !state.has_turn && state.changes == 0 {
            states.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_excludes_all_other_use_and_changes_only_exclude_turns() {
        let (locks, tenant) = (SessionLocks::default(), TenantId::new("a"));
        let turn = locks.turn(&tenant, "s").expect("free");
        assert_eq!(locks.turn(&tenant, "s").expect_err("locked").status(), 409);
        assert_eq!(locks.change(&tenant, "s").expect_err("locked").status(), 409);
        let _other = locks.turn(&TenantId::new("b"), "s").expect("another tenant's");
        let _another = locks.change(&tenant, "t").expect("another session");
        drop(turn);
        let changes =
            [locks.change(&tenant, "s").expect("free"), locks.change(&tenant, "s").expect("together with the other")];
        assert_eq!(locks.turn(&tenant, "s").expect_err("locked").status(), 409);
        drop(changes);
        drop(locks.turn(&tenant, "s").expect("free again"));
        assert_eq!(locks.0.lock().expect("whole").len(), 2, "a session that is free has no entry");
    }
}
