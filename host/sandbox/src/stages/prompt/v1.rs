//! Version 0.1 of the interface `prompt`.

use std::sync::Arc;

use firebox_contract as contract;
use wasmtime::Store;
use wasmtime::component::InstancePre;

use self::bindings::exports::firebox::plugin::prompt::{self, Guest, GuestIndices, Request};
use self::bindings::firebox::plugin::types::{Message, Role, ToolCall};
use super::{GuestPromptVerdict, PromptCalls, PromptRequest};
use crate::instance::guest::GuestData;
use crate::stages::{Binder, GuestFuture};

#[allow(unreachable_pub, missing_docs, reason = "generated code")]
pub(super) mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "package firebox:host-prompt; world guest { export firebox:plugin/prompt@0.1.0; }",
        exports: { default: async },
    });
}

pub(super) const INTERFACE: &str = "firebox:plugin/prompt@0.1.0";

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
            let request = lower(&request);
            let verdict = self.call_process(store, &request).await?;
            Ok(verdict.map(lift))
        })
    }
}

/// Turns the host's request into that of the WIT.
fn lower(request: &PromptRequest) -> Request {
    Request {
        id: request.info.id.clone(),
        model: request.info.model.clone(),
        messages: request.messages.iter().map(lower_message).collect(),
    }
}

pub(super) fn lower_message(message: &contract::Message) -> Message {
    let call = |call: &contract::ToolCall| ToolCall {
        id: call.id.clone(),
        name: call.name.clone(),
        arguments_json: call.arguments_json.clone(),
    };
    Message {
        role: match message.role {
            contract::Role::System => Role::System,
            contract::Role::User => Role::User,
            contract::Role::Assistant => Role::Assistant,
            contract::Role::Tool => Role::Tool,
        },
        content: message.content.clone(),
        tool_calls: message.tool_calls.iter().map(call).collect(),
        tool_call_id: message.tool_call_id.clone(),
        name: message.name.clone(),
    }
}

/// Turns the verdict of the WIT into the host's.
fn lift(verdict: prompt::Verdict) -> GuestPromptVerdict {
    match verdict {
        prompt::Verdict::Unchanged => GuestPromptVerdict::Unchanged,
        prompt::Verdict::Replace(messages) => {
            GuestPromptVerdict::Replace(messages.into_iter().map(lift_message).collect())
        }
        prompt::Verdict::Refuse(message) => GuestPromptVerdict::Refuse(message),
        prompt::Verdict::Respond(answer) => GuestPromptVerdict::Respond(answer),
    }
}

pub(super) fn lift_message(message: Message) -> contract::Message {
    let call =
        |call: ToolCall| contract::ToolCall { id: call.id, name: call.name, arguments_json: call.arguments_json };
    contract::Message {
        role: match message.role {
            Role::System => contract::Role::System,
            Role::User => contract::Role::User,
            Role::Assistant => contract::Role::Assistant,
            Role::Tool => contract::Role::Tool,
        },
        content: message.content,
        tool_calls: message.tool_calls.into_iter().map(call).collect(),
        tool_call_id: message.tool_call_id,
        name: message.name,
        as_sent_json: None,
    }
}
