//! Version 0.1 of the interface `embedding`.

use std::sync::Arc;

use firebox_contract::RequestInfo;
use wasmtime::Store;
use wasmtime::component::InstancePre;

use self::bindings::exports::firebox::plugin::embedding::{
    Guest, GuestIndices, Request, Vectors, VectorsVerdict, Verdict,
};
use super::{EmbeddingCalls, GuestEmbeddingVerdict, GuestVectors};
use crate::instance::guest::GuestData;
use crate::stages::{Binder, GuestFuture};

#[allow(unreachable_pub, missing_docs, reason = "generated code")]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "package firebox:host-embedding; world guest { export firebox:plugin/embedding@0.1.0; }",
        exports: { default: async },
    });
}

pub(super) const INTERFACE: &str = "firebox:plugin/embedding@0.1.0";

pub(super) fn find(pre: &InstancePre<GuestData>) -> wasmtime::Result<Binder<dyn EmbeddingCalls>> {
    let indices = GuestIndices::new(pre)?;
    Ok(Box::new(move |store, instance| Ok(Box::new(indices.load(store, instance)?))))
}

impl EmbeddingCalls for Guest {
    fn before<'a>(
        &'a self,
        store: &'a mut Store<GuestData>,
        info: RequestInfo,
        texts: Arc<Vec<String>>,
    ) -> GuestFuture<'a, GuestEmbeddingVerdict> {
        Box::pin(async move {
            let request = Request { id: info.id, model: info.model, texts: Arc::unwrap_or_clone(texts) };
            let verdict = self.call_before(store, &request).await?;
            Ok(verdict.map(|verdict| match verdict {
                Verdict::Unchanged => GuestEmbeddingVerdict::Unchanged,
                Verdict::Replace(texts) => GuestEmbeddingVerdict::Replace(texts),
                Verdict::Refuse(reason) => GuestEmbeddingVerdict::Refuse(reason),
            }))
        })
    }

    fn after<'a>(
        &'a self,
        store: &'a mut Store<GuestData>,
        vectors: Arc<GuestVectors>,
    ) -> GuestFuture<'a, Option<GuestVectors>> {
        Box::pin(async move {
            let vectors = Arc::unwrap_or_clone(vectors);
            let vectors = Vectors { dimensions: vectors.dimensions, values: vectors.values };
            let verdict = self.call_after(store, &vectors).await?;
            Ok(verdict.map(|verdict| match verdict {
                VectorsVerdict::Unchanged => None,
                VectorsVerdict::Replace(Vectors { dimensions, values }) => Some(GuestVectors { dimensions, values }),
            }))
        })
    }
}
