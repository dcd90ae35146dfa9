//! The init stage: the plugin's description of itself, and its configuration.

mod v1;

use wasmtime::Store;

use super::{GuestFuture, GuestReturn, StageVersion};
use crate::instance::guest::GuestData;
use crate::plugin::PluginInfo;

/// The functions of the interface `lifecycle`, in any version.
pub(crate) trait LifecycleCalls: Send + Sync {
    /// The plugin's description of itself.
    fn describe<'a>(&'a self, store: &'a mut Store<GuestData>) -> GuestFuture<'a, PluginInfo>;
    /// Gives the plugin its configuration, the text of one JSON object, before any other stage runs.
    fn init<'a>(&'a self, store: &'a mut Store<GuestData>, config_json: String) -> GuestFuture<'a, ()>;
}

/// The supported versions, newest first.
pub(crate) const VERSIONS: &[StageVersion<dyn LifecycleCalls>] =
    &[StageVersion { interface: v1::INTERFACE, find: v1::find }];

impl GuestReturn for PluginInfo {
    fn bytes(&self) -> usize {
        self.name.len() + self.version.len() + self.description.len()
    }
}
