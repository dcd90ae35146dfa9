//! Init: who a plugin is, and its configuration.

mod v1;

use wasmtime::Store;

use super::{GuestFuture, Returned, Version};
use crate::guest::GuestData;
use crate::plugin::PluginInfo;

/// The functions of `lifecycle`, whatever its version.
pub(crate) trait LifecycleCalls: Send + Sync {
    /// Who it is.
    fn describe<'a>(&'a self, store: &'a mut Store<GuestData>) -> GuestFuture<'a, PluginInfo>;
    /// Takes the text of one JSON object, before any other stage.
    fn init<'a>(&'a self, store: &'a mut Store<GuestData>, config_json: String) -> GuestFuture<'a, ()>;
}

/// Newest first.
pub(crate) const VERSIONS: &[Version<dyn LifecycleCalls>] = &[Version { interface: v1::INTERFACE, find: v1::find }];

impl Returned for PluginInfo {
    fn bytes(&self) -> usize {
        self.name.len() + self.version.len() + self.description.len()
    }
}
