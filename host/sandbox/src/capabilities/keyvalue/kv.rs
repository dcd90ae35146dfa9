//! `firebox:plugin/kv`: values that expire.

use std::time::Duration;

use wasmtime::component::{HasSelf, Linker};

use self::bindings::firebox::plugin::kv::{Error, Host, add_to_linker};
use super::{KeyValueAnswer, KeyValueError, KeyValueOperation, Refusal, mixed_up, no_store};
use crate::instance::guest::GuestData;

#[allow(unreachable_pub, missing_docs, reason = "generated code")]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "package firebox:host-kv; world imports { import firebox:plugin/kv@0.1.0; }",
        imports: { default: async },
    });
}

impl From<KeyValueError> for Error {
    fn from(error: KeyValueError) -> Self {
        match error {
            KeyValueError::Quota(reason) => Self::Quota(reason),
            KeyValueError::Invalid(reason) => Self::Invalid(reason),
            KeyValueError::Unavailable(reason) => Self::Unavailable(reason),
        }
    }
}

impl GuestData {
    async fn in_bucket(&mut self, name: &str, operation: KeyValueOperation) -> Result<KeyValueAnswer, Error> {
        let bucket = self.bucket(name).map_err(|refusal| match refusal {
            Refusal::Denied => Error::Denied,
            Refusal::NoStore => no_store().into(),
        })?;
        Ok(self.keyvalue(bucket, operation).await?)
    }
}

impl Host for GuestData {
    async fn get(&mut self, bucket: String, key: String) -> Result<Option<Vec<u8>>, Error> {
        match self.in_bucket(&bucket, KeyValueOperation::Get(vec![key])).await? {
            KeyValueAnswer::Values(mut values) => Ok(values.pop().flatten().map(|value| value.bytes)),
            _ => Err(mixed_up().into()),
        }
    }

    async fn set(&mut self, bucket: String, key: String, value: Vec<u8>, ttl_ms: Option<u64>) -> Result<(), Error> {
        let lifetime = ttl_ms.map(Duration::from_millis);
        let set = KeyValueOperation::Set { pairs: vec![(key, value)], lifetime };
        self.in_bucket(&bucket, set).await.map(drop)
    }

    async fn delete(&mut self, bucket: String, key: String) -> Result<(), Error> {
        self.in_bucket(&bucket, KeyValueOperation::Delete(vec![key])).await.map(drop)
    }

    async fn increment(&mut self, bucket: String, key: String, by: i64, ttl_ms: Option<u64>) -> Result<i64, Error> {
        let lifetime = ttl_ms.map(Duration::from_millis);
        match self.in_bucket(&bucket, KeyValueOperation::Increment { key, by, lifetime, least: None }).await? {
            KeyValueAnswer::Number(number) => Ok(number),
            _ => Err(mixed_up().into()),
        }
    }
}

pub(super) fn link(linker: &mut Linker<GuestData>) -> wasmtime::Result<()> {
    add_to_linker::<GuestData, HasSelf<GuestData>>(linker, |data| data)
}
