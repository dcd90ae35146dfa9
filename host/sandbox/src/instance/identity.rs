//! Whose guest an instance runs: its plugin, the request, and what both may use.

use std::sync::Arc;

use firebox_contract::ModelHandle;
use sha2::{Digest, Sha256};

use crate::capabilities::secrets::InstanceSecrets;
use crate::plugin::PluginShared;
use crate::plugin::grants::Permissions;

/// The plugin, the request and the permissions of an instance.
#[derive(Debug, Clone)]
pub(crate) struct GuestIdentity {
    pub(crate) permissions: Permissions,
    pub(crate) shared: Arc<PluginShared>,
    /// The id of the request that the instance runs in.
    pub(crate) request: Arc<str>,
    /// The model that serves the request.
    pub(crate) own_model: ModelHandle,
}

impl GuestIdentity {
    /// The plugin's name.
    pub(crate) fn plugin(&self) -> &str {
        &self.permissions.plugin.name
    }

    /// The secrets that the guest may use; `None` if there are none.
    pub(crate) fn secrets(&self) -> Option<Arc<InstanceSecrets>> {
        let secrets = self.permissions.secrets();
        (!secrets.is_empty()).then(|| Arc::new(InstanceSecrets::new(secrets, self.seed("secrets"))))
    }

    /// A seed for random numbers: the same for every instance of the plugin in one request.
    pub(crate) fn seed(&self, purpose: &str) -> [u8; 32] {
        let mut hash = Sha256::new();
        for part in ["firebox", purpose, self.plugin(), &self.request] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }
}
