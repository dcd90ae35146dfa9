//! A key-value store in memory, with a quota of keys.

use std::collections::BTreeMap;
use std::sync::Mutex;

use firebox_contract::{BoxFuture, limits};
use firebox_sandbox::{BucketId, KeyValueAnswer, KeyValueError, KeyValueOperation, KeyValueStore, StoredValue};

#[derive(Default)]
pub(crate) struct MemoryStore(Mutex<Buckets>);

impl MemoryStore {
    /// A store whose buckets have at most `keys` keys.
    pub(crate) fn with_keys(keys: usize) -> Self {
        Self(Mutex::new(Buckets { keys_max: Some(keys), ..Buckets::default() }))
    }
}

#[derive(Default)]
struct Buckets {
    /// By tenant, plugin and bucket, then by key.
    pairs: BTreeMap<(String, String, String), BTreeMap<String, StoredValue>>,
    version: i64,
    /// Keys of each bucket at most.
    keys_max: Option<usize>,
}

impl KeyValueStore for MemoryStore {
    fn run(
        &self,
        bucket: BucketId,
        operation: KeyValueOperation,
    ) -> BoxFuture<'static, Result<KeyValueAnswer, KeyValueError>> {
        let mut buckets = self.0.lock().expect("no panic");
        let answer = match buckets.is_full(&bucket, &operation) {
            true => Err(KeyValueError::Quota("the quota is used up".to_owned())),
            false => buckets.run(&bucket, operation),
        };
        Box::pin(std::future::ready(answer))
    }
}

impl Buckets {
    fn is_full(&self, id: &BucketId, operation: &KeyValueOperation) -> bool {
        let key = (id.tenant.as_str().to_owned(), id.plugin.clone(), id.bucket.clone());
        let keys = self.pairs.get(&key).map_or(0, BTreeMap::len);
        matches!(operation, KeyValueOperation::Set { .. }) && self.keys_max.is_some_and(|max| keys >= max)
    }

    fn run(&mut self, id: &BucketId, operation: KeyValueOperation) -> Result<KeyValueAnswer, KeyValueError> {
        self.version += 1;
        let version = self.version;
        let key = (id.tenant.as_str().to_owned(), id.plugin.clone(), id.bucket.clone());
        let pairs = self.pairs.entry(key).or_default();
        Ok(match operation {
            KeyValueOperation::Get(keys) => {
                KeyValueAnswer::Values(keys.iter().map(|key| pairs.get(key).cloned()).collect())
            }
            KeyValueOperation::Contains(key) => KeyValueAnswer::Found(pairs.contains_key(&key)),
            KeyValueOperation::Set { pairs: new, .. } => {
                pairs.extend(new.into_iter().map(|(key, bytes)| (key, StoredValue { bytes, version })));
                KeyValueAnswer::Done
            }
            KeyValueOperation::Delete(keys) => {
                keys.iter().for_each(|key| drop(pairs.remove(key)));
                KeyValueAnswer::Done
            }
            KeyValueOperation::List(after) => {
                let after = after.unwrap_or_default();
                let mut keys = pairs.keys().filter(|key| **key > after).cloned();
                let page = keys.by_ref().take(limits::KEYVALUE_PAGE_KEYS_MAX).collect();
                KeyValueAnswer::Keys(page, keys.next().is_some())
            }
            KeyValueOperation::Increment { key, by, least, .. } => {
                let old = pairs.get(&key).map_or(0, |value| String::from_utf8_lossy(&value.bytes).parse().unwrap_or(0));
                let sum: i64 = old + by;
                if least.is_some_and(|least| sum < least) {
                    return Err(KeyValueError::Invalid("too low".to_owned()));
                }
                pairs.insert(key, StoredValue { bytes: sum.to_string().into_bytes(), version });
                KeyValueAnswer::Number(sum)
            }
            KeyValueOperation::Swap { key, version: seen, value } => {
                let same = pairs.get(&key).map(|value| value.version) == seen;
                if same {
                    pairs.insert(key, StoredValue { bytes: value, version });
                }
                KeyValueAnswer::Found(same)
            }
        })
    }
}
