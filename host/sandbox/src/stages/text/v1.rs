//! Version 0.1 of the interface `text`.

use wasmtime::Store;
use wasmtime::component::InstancePre;

use self::bindings::exports::firebox::plugin::text::{self, Guest, GuestIndices};
use super::{GuestTextVerdict, TextCalls};
use crate::instance::guest::GuestData;
use crate::stages::{Binder, GuestFuture};

#[allow(unreachable_pub, missing_docs, reason = "generated code")]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "package firebox:host-text; world guest { export firebox:plugin/text@0.1.0; }",
        exports: { default: async },
    });
}

pub(super) const INTERFACE: &str = "firebox:plugin/text@0.1.0";

pub(super) fn find(pre: &InstancePre<GuestData>) -> wasmtime::Result<Binder<dyn TextCalls>> {
    let indices = GuestIndices::new(pre)?;
    Ok(Box::new(move |store, instance| Ok(Box::new(indices.load(store, instance)?))))
}

impl TextCalls for Guest {
    fn push<'a>(&'a self, store: &'a mut Store<GuestData>, chunk: String) -> GuestFuture<'a, GuestTextVerdict> {
        Box::pin(async move {
            let verdict = self.call_push(store, &chunk).await?;
            Ok(verdict.map(|verdict| match verdict {
                text::Verdict::Pass => GuestTextVerdict::Pass,
                text::Verdict::Emit(text) => GuestTextVerdict::Emit(text),
                text::Verdict::Stop(text) => GuestTextVerdict::Stop(text),
            }))
        })
    }

    fn finish<'a>(&'a self, store: &'a mut Store<GuestData>) -> GuestFuture<'a, String> {
        Box::pin(async move { self.call_finish(store).await })
    }
}
