//! Version 0.1 of the interface `tool-call`.

use std::sync::Arc;

use firebox_contract as contract;
use wasmtime::Store;
use wasmtime::component::InstancePre;

use self::bindings::exports::firebox::plugin::tool_call::{
    Guest, GuestIndices, Outcome, OutcomeVerdict, ToolCall, Verdict,
};
use super::{GuestCallVerdict, GuestOutcomeVerdict, SeenOutcome, ToolCallCalls};
use crate::instance::guest::GuestData;
use crate::stages::{Binder, GuestFuture};

#[allow(unreachable_pub, missing_docs, reason = "generated code")]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "package firebox:host-tool-call; world guest { export firebox:plugin/tool-call@0.1.0; }",
        exports: { default: async },
    });
}

pub(super) const INTERFACE: &str = "firebox:plugin/tool-call@0.1.0";

pub(super) fn find(pre: &InstancePre<GuestData>) -> wasmtime::Result<Binder<dyn ToolCallCalls>> {
    let indices = GuestIndices::new(pre)?;
    Ok(Box::new(move |store, instance| Ok(Box::new(indices.load(store, instance)?))))
}

impl ToolCallCalls for Guest {
    fn before<'a>(
        &'a self,
        store: &'a mut Store<GuestData>,
        call: Arc<contract::ToolCall>,
    ) -> GuestFuture<'a, GuestCallVerdict> {
        Box::pin(async move {
            let verdict = self.call_before(store, &lower(&call)).await?;
            Ok(verdict.map(|verdict| match verdict {
                Verdict::Unchanged => GuestCallVerdict::Unchanged,
                Verdict::Rewrite(arguments) => GuestCallVerdict::Rewrite(arguments),
                Verdict::Refuse(reason) => GuestCallVerdict::Refuse(reason),
            }))
        })
    }

    fn after<'a>(
        &'a self,
        store: &'a mut Store<GuestData>,
        call: Arc<contract::ToolCall>,
        outcome: SeenOutcome,
    ) -> GuestFuture<'a, GuestOutcomeVerdict> {
        Box::pin(async move {
            let outcome = Outcome { content: outcome.content, is_error: outcome.is_error };
            let verdict = self.call_after(store, &lower(&call), &outcome).await?;
            Ok(verdict.map(|verdict| match verdict {
                OutcomeVerdict::Unchanged => GuestOutcomeVerdict::Unchanged,
                OutcomeVerdict::Rewrite(Outcome { content, is_error }) => {
                    GuestOutcomeVerdict::Rewrite(SeenOutcome { content, is_error })
                }
                OutcomeVerdict::Refuse(reason) => GuestOutcomeVerdict::Refuse(reason),
            }))
        })
    }
}

fn lower(call: &contract::ToolCall) -> ToolCall {
    ToolCall { id: call.id.clone(), name: call.name.clone(), arguments_json: call.arguments_json.clone() }
}
