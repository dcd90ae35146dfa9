//! Version 0.1 of the interface `lifecycle`.

use firebox_contract::limits;
use wasmtime::Store;
use wasmtime::component::InstancePre;

use self::bindings::exports::firebox::plugin::lifecycle::{Guest, GuestIndices};
use super::LifecycleCalls;
use crate::instance::guest::GuestData;
use crate::instance::log::cut;
use crate::plugin::PluginInfo;
use crate::stages::{Binder, GuestFuture};

#[allow(unreachable_pub, missing_docs, reason = "generated code")]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "package firebox:host-lifecycle; world guest { export firebox:plugin/lifecycle@0.1.0; }",
        exports: { default: async },
    });
}

pub(super) const INTERFACE: &str = "firebox:plugin/lifecycle@0.1.0";

pub(super) fn find(pre: &InstancePre<GuestData>) -> wasmtime::Result<Binder<dyn LifecycleCalls>> {
    let indices = GuestIndices::new(pre)?;
    Ok(Box::new(move |store, instance| Ok(Box::new(indices.load(store, instance)?))))
}

impl LifecycleCalls for Guest {
    fn describe<'a>(&'a self, store: &'a mut Store<GuestData>) -> GuestFuture<'a, PluginInfo> {
        Box::pin(async move {
            let info = self.call_describe(store).await?;
            let short = |text: &str| cut(text, limits::PLUGIN_NAME_BYTES_MAX).to_owned();
            let description = cut(&info.description, limits::PLUGIN_ERROR_BYTES_MAX).to_owned();
            Ok(Ok(PluginInfo { name: short(&info.name), version: short(&info.version), description }))
        })
    }

    fn init<'a>(&'a self, store: &'a mut Store<GuestData>, config_json: String) -> GuestFuture<'a, ()> {
        Box::pin(async move { self.call_init(store, &config_json).await })
    }
}
