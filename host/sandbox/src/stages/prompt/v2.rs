//! Version 0.2 of the interface `prompt`: the request has sampling parameters, and a verdict can change them.

use std::sync::Arc;

use firebox_contract::{self as contract, SamplingChange};
use wasmtime::Store;
use wasmtime::component::InstancePre;

use self::bindings::exports::firebox::plugin0_2_0::prompt::{self, Guest, GuestIndices, Request, Sampling};
use super::v1::{lift_message, lower_message};
use super::{GuestPromptVerdict, PromptCalls, PromptRequest};
use crate::instance::guest::GuestData;
use crate::stages::{Binder, GuestFuture};

#[allow(unreachable_pub, missing_docs, reason = "generated code")]
mod bindings {
    wasmtime::component::bindgen!({
        path: ["../../wit", "../../wit/v0.2"],
        inline: "package firebox:host-prompt2; world guest { export firebox:plugin/prompt@0.2.0; }",
        exports: { default: async },
        // The messages are those of version 0.1.
        with: { "firebox:plugin/types@0.1.0": crate::stages::prompt::v1::bindings::firebox::plugin::types },
    });
}

pub(super) const INTERFACE: &str = "firebox:plugin/prompt@0.2.0";

pub(super) fn find(pre: &InstancePre<GuestData>) -> wasmtime::Result<Binder<dyn PromptCalls>> {
    let indices = GuestIndices::new(pre)?;
    Ok(Box::new(move |store, instance| Ok(Box::new(indices.load(store, instance)?))))
}

impl PromptCalls for Guest {
    fn process<'a>(
        &'a self,
        store: &'a mut Store<GuestData>,
        request: Arc<PromptRequest>,
    ) -> GuestFuture<'a, GuestPromptVerdict> {
        Box::pin(async move {
            let request = Request {
                id: request.info.id.clone(),
                model: request.info.model.clone(),
                messages: request.messages.iter().map(lower_message).collect(),
                sampling: lower(&request.sampling),
            };
            let verdict = self.call_process(store, &request).await?;
            Ok(verdict.map(lift))
        })
    }
}

fn lower(sampling: &contract::Sampling) -> Sampling {
    let count = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    Sampling {
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        top_k: count(sampling.top_k),
        min_p: sampling.min_p,
        max_tokens: sampling.max_tokens.map(count),
        stop: sampling.stop.clone(),
    }
}

/// Turns the verdict of the WIT into the host's.
fn lift(verdict: prompt::Verdict) -> GuestPromptVerdict {
    match verdict {
        prompt::Verdict::Unchanged => GuestPromptVerdict::Unchanged,
        prompt::Verdict::Replace(messages) => {
            GuestPromptVerdict::Replace(messages.into_iter().map(lift_message).collect())
        }
        prompt::Verdict::Adjust(prompt::Adjustment {
            messages,
            temperature,
            top_p,
            top_k,
            min_p,
            max_tokens,
            stop,
        }) => {
            let messages = messages.map(|messages| messages.into_iter().map(lift_message).collect());
            let count = |value: u32| usize::try_from(value).unwrap_or(usize::MAX);
            let (top_k, max_tokens) = (top_k.map(count), max_tokens.map(count));
            GuestPromptVerdict::Adjust(messages, SamplingChange { temperature, top_k, top_p, min_p, max_tokens, stop })
        }
        prompt::Verdict::Refuse(message) => GuestPromptVerdict::Refuse(message),
        prompt::Verdict::Respond(answer) => GuestPromptVerdict::Respond(answer),
    }
}
