//! Version 0.1 of the interface `tool`.

use firebox_contract as contract;
use wasmtime::Store;
use wasmtime::component::InstancePre;

use self::bindings::exports::firebox::plugin::tool::{self, Definition, Effects, Guest, GuestIndices};
use super::{GuestToolOutcome, ToolCalls};
use crate::instance::guest::GuestData;
use crate::stages::{Binder, GuestFuture};

#[allow(unreachable_pub, missing_docs, reason = "generated code")]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "package firebox:host-tool; world guest { export firebox:plugin/tool@0.1.0; }",
        exports: { default: async },
    });
}

pub(super) const INTERFACE: &str = "firebox:plugin/tool@0.1.0";

pub(super) fn find(pre: &InstancePre<GuestData>) -> wasmtime::Result<Binder<dyn ToolCalls>> {
    let indices = GuestIndices::new(pre)?;
    Ok(Box::new(move |store, instance| Ok(Box::new(indices.load(store, instance)?))))
}

impl ToolCalls for Guest {
    fn definitions<'a>(&'a self, store: &'a mut Store<GuestData>) -> GuestFuture<'a, Vec<contract::ToolDefinition>> {
        Box::pin(async move {
            let definitions = self.call_definitions(store).await?;
            Ok(Ok(definitions.into_iter().map(lift).collect()))
        })
    }

    fn call<'a>(
        &'a self,
        store: &'a mut Store<GuestData>,
        call: contract::ToolCall,
    ) -> GuestFuture<'a, GuestToolOutcome> {
        Box::pin(async move {
            let outcome = self.call_call(store, &call.name, &call.arguments_json).await?;
            let content = outcome.content.into_iter().map(lift_content).collect();
            Ok(Ok(GuestToolOutcome { content, is_error: outcome.is_error }))
        })
    }
}

fn lift(definition: Definition) -> contract::ToolDefinition {
    contract::ToolDefinition {
        name: definition.name,
        title: definition.title,
        description: definition.description,
        input_schema_json: definition.input_schema_json,
        output_schema_json: definition.output_schema_json,
        as_sent_json: None,
        effects: contract::ToolEffects {
            read_only: definition.effects.contains(Effects::READ_ONLY),
            destructive: definition.effects.contains(Effects::DESTRUCTIVE),
            idempotent: definition.effects.contains(Effects::IDEMPOTENT),
            open_world: definition.effects.contains(Effects::OPEN_WORLD),
        },
    }
}

fn lift_content(content: tool::Content) -> contract::ToolContent {
    match content {
        tool::Content::Text(text) => contract::ToolContent::Text(text),
        tool::Content::Json(text) => contract::ToolContent::Json(text),
        tool::Content::Media(blob) => {
            let mime = crate::instance::log::cut(&blob.mime, contract::limits::PLUGIN_MIME_BYTES_MAX).to_owned();
            contract::ToolContent::Media { mime, data: blob.data.into() }
        }
    }
}
