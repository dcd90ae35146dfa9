//! Whose guest an instance runs: its plugin, the request, and what both may use.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, LazyLock};

use firebox_contract::ModelHandle;
use sha2::{Digest, Sha256};

use crate::capabilities::secrets::InstanceSecrets;
use crate::plugin::PluginShared;
use crate::plugin::grants::Permissions;

/// Random keys of this process. With them nobody can compute a placeholder from the id of a request, to have a plugin send it in a
/// text of somebody else.
static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

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
        (!secrets.is_empty()).then(|| Arc::new(InstanceSecrets::new(secrets, nonce(&self.seed("secrets")))))
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

/// What makes the placeholders of an instance unknown to others. It is the same for the same seed in one process.
fn nonce(seed: &[u8; 32]) -> u64 {
    KEYS.hash_one(seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_knows_the_request_and_the_plugin_does_not_know_the_placeholder() {
        let seed = [7; 32];
        assert_eq!(nonce(&seed), nonce(&seed), "every instance of a plugin in a request has the same");
        assert_ne!(nonce(&seed), nonce(&[8; 32]), "another request has another");
        let guesses = [RandomState::new().hash_one(seed), u64::from_be_bytes([7; 8]), u64::from_le_bytes([7; 8])];
        assert!(!guesses.contains(&nonce(&seed)), "the keys are those of the process");
    }
}
