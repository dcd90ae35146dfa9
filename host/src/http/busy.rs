//! Who uses a session now. An answer that is being made would be lost if the session changed below it, so one turn runs at
//! a time, and nobody appends to a session or deletes it meanwhile.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use firebox_contract::TenantId;

use super::Failure;

/// Sessions in use. Cheap to clone: clones share them.
#[derive(Debug, Clone, Default)]
pub struct BusySessions(Arc<Mutex<HashMap<Place, Use>>>);

type Place = (TenantId, String);

/// How a session is used; the limits of connections and threads bound the number.
#[derive(Debug, Default)]
struct Use {
    turn: bool,
    changes: usize,
}

/// Holds a session until it is dropped.
#[derive(Debug)]
pub(super) struct Hold {
    busy: BusySessions,
    place: Place,
    turn: bool,
}

impl BusySessions {
    /// Holds it for one turn, alone.
    pub(super) fn turn(&self, tenant: &TenantId, id: &str) -> Result<Hold, Failure> {
        self.hold(tenant, id, true, |used| match (used.turn, used.changes) {
            (false, 0) => {
                used.turn = true;
                Ok(())
            }
            (true, _) => Err(Failure::conflict(format!(
                "session \"{id}\" is being continued by another request; wait for it, or fork it"
            ))),
            (false, _) => Err(Failure::conflict(format!(
                "session \"{id}\" is being changed by another request; try again when that has ended"
            ))),
        })
    }

    /// Holds it for a change of its messages, beside other changes.
    pub(super) fn change(&self, tenant: &TenantId, id: &str) -> Result<Hold, Failure> {
        self.hold(tenant, id, false, |used| match used.turn {
            false => {
                used.changes += 1;
                Ok(())
            }
            true => Err(Failure::conflict(format!(
                "session \"{id}\" is being continued by another request, whose answer would be lost; wait for it or end \
                 it, or fork the session and go on there"
            ))),
        })
    }

    fn hold(
        &self,
        tenant: &TenantId,
        id: &str,
        turn: bool,
        take: impl FnOnce(&mut Use) -> Result<(), Failure>,
    ) -> Result<Hold, Failure> {
        let place = (tenant.clone(), id.to_owned());
        let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What is refused is in use already, so that no entry is left behind.
        take(uses.entry(place.clone()).or_default())?;
        Ok(Hold { busy: self.clone(), place, turn })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut uses = self.busy.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(used) = uses.get_mut(&self.place) else { return };
        match self.turn {
            true => used.turn = false,
            false => used.changes -= 1,
        }
        if !used.turn && used.changes == 0 {
            uses.remove(&self.place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_alone_and_changes_are_not() {
        let (busy, tenant) = (BusySessions::default(), TenantId::new("a"));
        let turn = busy.turn(&tenant, "s").expect("free");
        assert_eq!(busy.turn(&tenant, "s").expect_err("held").status(), 409);
        assert_eq!(busy.change(&tenant, "s").expect_err("held").status(), 409);
        let _other = busy.turn(&TenantId::new("b"), "s").expect("another tenant's");
        let _another = busy.change(&tenant, "t").expect("another session");
        drop(turn);
        let changes = [busy.change(&tenant, "s").expect("free"), busy.change(&tenant, "s").expect("beside it")];
        assert_eq!(busy.turn(&tenant, "s").expect_err("held").status(), 409);
        drop(changes);
        drop(busy.turn(&tenant, "s").expect("free again"));
        assert_eq!(busy.0.lock().expect("whole").len(), 2, "nothing is remembered about what is free");
    }
}
