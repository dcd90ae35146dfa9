//! Key-value buckets: what a store must do, and the interfaces through which guests use it. The host brings the store.

mod draft;
mod kv;
mod standard;

use std::sync::Arc;
use std::time::Duration;

use firebox_contract::{BoxFuture, TenantId, limits};
use wasmtime::component::Linker;

use crate::instance::guest::GuestData;
use crate::plugin::grants::capability::{Capability, Use};

/// The bucket of one plugin and tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BucketId {
    /// The tenant, whose share of the store counts.
    pub tenant: TenantId,
    /// The name of the plugin.
    pub plugin: String,
    /// The name of the bucket.
    pub bucket: String,
}

/// One operation on a bucket. Keys and values are within their limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyValueOperation {
    /// Reads the values of these keys; answered with `Values`.
    Get(Vec<String>),
    /// Whether there is such a key; answered with `Found`.
    Contains(String),
    /// Sets all pairs or none; answered with `Done`.
    Set {
        /// Keys with their values.
        pairs: Vec<(String, Vec<u8>)>,
        /// After this time the keys are removed.
        lifetime: Option<Duration>,
    },
    /// Removes these keys; answered with `Done`.
    Delete(Vec<String>),
    /// The next keys in their order after this one; answered with `Keys`.
    List(Option<String>),
    /// Adds to the number under a key, which starts at 0; answered with `Number`.
    Increment {
        /// The key.
        key: String,
        /// What is added.
        by: i64,
        /// After this time a new number is removed.
        lifetime: Option<Duration>,
        /// A lower sum is refused as invalid, and the number stays as it is.
        least: Option<i64>,
    },
    /// Sets a value if its version is still this one, `None` for no value; answered with `Found`.
    Swap {
        /// The key.
        key: String,
        /// The version that was read.
        version: Option<i64>,
        /// The new value.
        value: Vec<u8>,
    },
}

/// A value and its version, which no other value of the plugin has or will have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredValue {
    /// The value.
    pub bytes: Vec<u8>,
    /// The version.
    pub version: i64,
}

/// The answer to an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyValueAnswer {
    /// The values in the order of the keys.
    Values(Vec<Option<StoredValue>>),
    /// Whether the key was found, or the value was swapped.
    Found(bool),
    /// It is done.
    Done,
    /// One page of keys, and whether there are more.
    Keys(Vec<String>, bool),
    /// The new number.
    Number(i64),
}

/// Why an operation failed. The texts are for plugins and name nothing of the host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyValueError {
    /// A quota is used up.
    #[error("{0}")]
    Quota(String),
    /// The key or value is not allowed.
    #[error("{0}")]
    Invalid(String),
    /// The store cannot be used.
    #[error("{0}")]
    Unavailable(String),
}

/// Stores the buckets of all plugins and tenants.
pub trait KeyValueStore: Send + Sync {
    /// Runs `operation` on a bucket, which exists as soon as it is used. Must not block, and must give each tenant a share.
    fn run(
        &self,
        bucket: BucketId,
        operation: KeyValueOperation,
    ) -> BoxFuture<'static, Result<KeyValueAnswer, KeyValueError>>;
}

/// The store of a sandbox, if its host has one.
#[derive(Clone, Default)]
pub struct KeyValueService(Option<Arc<dyn KeyValueStore>>);

impl KeyValueService {
    /// The service with this store.
    #[must_use]
    pub fn new(store: Arc<dyn KeyValueStore>) -> Self {
        Self(Some(store))
    }
}

impl std::fmt::Debug for KeyValueService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "KeyValueService" } else { "no KeyValueService" })
    }
}

/// Why a guest does not get a bucket.
enum Refusal {
    Denied,
    NoStore,
}

impl GuestData {
    /// The bucket `name` of the guest, if it may use it.
    fn bucket(&mut self, name: &str) -> Result<BucketId, Refusal> {
        self.check(&Use::Named(Capability::KeyValue, name)).map_err(|_| Refusal::Denied)?;
        let identity = &self.identity;
        identity.shared.services.keyvalue.0.as_ref().ok_or(Refusal::NoStore)?;
        let tenant = identity.permissions.tenant.tenant().clone();
        Ok(BucketId { tenant, plugin: identity.plugin().to_owned(), bucket: name.to_owned() })
    }

    async fn keyvalue(
        &mut self,
        bucket: BucketId,
        operation: KeyValueOperation,
    ) -> Result<KeyValueAnswer, KeyValueError> {
        check(&operation)?;
        let Some(store) = &self.identity.shared.services.keyvalue.0 else { return Err(no_store()) };
        store.run(bucket, operation).await
    }
}

fn no_store() -> KeyValueError {
    KeyValueError::Unavailable("this host has no key-value store".to_owned())
}

/// The error for an answer of another kind than asked for, which a store never gives.
fn mixed_up() -> KeyValueError {
    KeyValueError::Unavailable("the key-value store failed".to_owned())
}

/// # Errors
/// `KeyValueError::Invalid` for a key or value beyond its limit.
fn check(operation: &KeyValueOperation) -> Result<(), KeyValueError> {
    let none: &[u8] = &[];
    match operation {
        KeyValueOperation::Get(keys) | KeyValueOperation::Delete(keys) => {
            check_count(keys.len())?;
            keys.iter().try_for_each(|key| check_pair(key, none))
        }
        KeyValueOperation::Contains(key) | KeyValueOperation::Increment { key, .. } => check_pair(key, none),
        KeyValueOperation::Set { pairs, .. } => {
            check_count(pairs.len())?;
            pairs.iter().try_for_each(|(key, value)| check_pair(key, value))
        }
        KeyValueOperation::Swap { key, value, .. } => check_pair(key, value),
        KeyValueOperation::List(after) => after.iter().try_for_each(|after| check_pair(after, none)),
    }
}

fn check_count(keys: usize) -> Result<(), KeyValueError> {
    let max = limits::KEYVALUE_BATCH_KEYS_MAX;
    if keys > max {
        Err(KeyValueError::Invalid(format!("{keys} keys at once are too many; at most {max}")))
    } else {
        Ok(())
    }
}

fn check_pair(key: &str, value: &[u8]) -> Result<(), KeyValueError> {
    let (key_max, value_max) = (limits::KEYVALUE_KEY_BYTES_MAX, limits::KEYVALUE_VALUE_BYTES_MAX);
    if key.is_empty() || key.len() > key_max {
        return Err(KeyValueError::Invalid(format!("a key of {} bytes is not allowed; 1 to {key_max}", key.len())));
    }
    if value.len() > value_max {
        let message = format!("a value of {} bytes is too large; at most {value_max}", value.len());
        return Err(KeyValueError::Invalid(message));
    }
    Ok(())
}

/// Adds the interfaces to the imports of guests.
///
/// # Errors
/// Wasmtime's error, if a name is defined twice.
pub(super) fn link(linker: &mut Linker<GuestData>) -> wasmtime::Result<()> {
    standard::link(linker)?;
    draft::link(linker)?;
    kv::link(linker)
}
