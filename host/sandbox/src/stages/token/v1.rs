//! Version 0.1 of the interface `token`.

use std::sync::Arc;

use firebox_contract::{TokenNeeds, TokenStep};
use wasmtime::Store;
use wasmtime::component::{InstancePre, ResourceAny};

use self::bindings::exports::firebox::plugin::token::{Action, Guest, GuestIndices, Sequence, Step, Weighted};
use super::{GuestTokenAction, SessionStart, StartedSession, TokenCalls};
use crate::instance::guest::GuestData;
use crate::stages::{Binder, GuestFuture};

#[allow(unreachable_pub, missing_docs, reason = "generated code")]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "package firebox:host-token; world guest { export firebox:plugin/token@0.1.0; }",
        exports: { default: async },
    });
}

pub(super) const INTERFACE: &str = "firebox:plugin/token@0.1.0";

pub(super) fn find(pre: &InstancePre<GuestData>) -> wasmtime::Result<Binder<dyn TokenCalls>> {
    let indices = GuestIndices::new(pre)?;
    Ok(Box::new(move |store, instance| Ok(Box::new(indices.load(store, instance)?))))
}

impl TokenCalls for Guest {
    fn start<'a>(
        &'a self,
        store: &'a mut Store<GuestData>,
        start: Arc<SessionStart>,
        ended: Option<ResourceAny>,
    ) -> GuestFuture<'a, StartedSession> {
        Box::pin(async move {
            if let Some(ended) = ended {
                ended.resource_drop_async(&mut *store).await?;
            }
            store.data_mut().vocabulary = start.sequence.texts.clone();
            let sequence = Sequence {
                id: start.info.id.clone(),
                model: start.info.model.clone(),
                vocabulary: count(start.sequence.vocabulary),
                ends: start.sequence.ends.clone(),
                prompt: start.sequence.prompt.clone(),
            };
            let session = match self.session().call_start(&mut *store, &sequence).await? {
                Ok(session) => session,
                Err(message) => return Ok(Err(message)),
            };
            let needs = self.session().call_needs(store, session).await?;
            let size = |asked: u32| usize::try_from(asked).unwrap_or(usize::MAX);
            let needs = TokenNeeds { candidates: size(needs.candidates), hold_back: size(needs.hold_back) };
            Ok(Ok(StartedSession { session, needs }))
        })
    }

    fn next<'a>(
        &'a self,
        store: &'a mut Store<GuestData>,
        session: ResourceAny,
        step: TokenStep,
    ) -> GuestFuture<'a, GuestTokenAction> {
        Box::pin(async move {
            let (tokens, values) = step.candidates.into_iter().unzip();
            let step = Step {
                taken_back: count(step.taken_back),
                accepted: step.accepted,
                held: count(step.held),
                candidates: Weighted { tokens, values },
            };
            Ok(self.session().call_next(store, session, &step).await?.map(lift))
        })
    }
}

fn count(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// Turns the action of the WIT into the host's.
fn lift(action: Action) -> GuestTokenAction {
    match action {
        Action::Keep => GuestTokenAction::Keep,
        Action::AllowMask(words) => GuestTokenAction::AllowMask(words),
        Action::Allow(tokens) => GuestTokenAction::Allow(tokens),
        Action::Bias(Weighted { tokens, values }) => GuestTokenAction::Bias(tokens, values),
        Action::Force(tokens) => GuestTokenAction::Force(tokens),
        Action::Backtrack(tokens) => GuestTokenAction::Backtrack(tokens as usize),
        Action::Stop => GuestTokenAction::Stop,
    }
}
