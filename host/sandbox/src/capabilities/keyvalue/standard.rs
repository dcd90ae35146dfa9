//! `wasi:keyvalue@0.2.0-draft2`: store, atomics and batch.

use wasmtime::component::{HasSelf, Linker, Resource};

use self::bindings::wasi::keyvalue0_2_0_draft2::atomics::{self, CasError};
use self::bindings::wasi::keyvalue0_2_0_draft2::batch;
use self::bindings::wasi::keyvalue0_2_0_draft2::store::{self, Error, KeyResponse};
use super::{BucketId, KeyValueAnswer, KeyValueError, KeyValueOperation, Refusal, StoredValue, mixed_up, no_store};
use crate::instance::guest::GuestData;

#[allow(unreachable_pub, missing_docs, reason = "generated code")]
pub(super) mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "package firebox:host-keyvalue; world imports {
            import wasi:keyvalue/store@0.2.0-draft2;
            import wasi:keyvalue/atomics@0.2.0-draft2;
            import wasi:keyvalue/batch@0.2.0-draft2;
        }",
        imports: { default: async },
        with: {
            "wasi:keyvalue/store.bucket": super::super::BucketId,
            "wasi:keyvalue/atomics.cas": super::PendingSwap,
        },
    });
}

/// A value that a guest wants to replace.
#[derive(Debug)]
#[allow(unreachable_pub, reason = "the generated code exports it")]
pub struct PendingSwap {
    bucket: BucketId,
    key: String,
    seen: Option<StoredValue>,
}

impl From<KeyValueError> for Error {
    fn from(error: KeyValueError) -> Self {
        Self::Other(error.to_string())
    }
}

impl GuestData {
    fn of_handle(&mut self, bucket: &Resource<BucketId>) -> Result<BucketId, Error> {
        let bucket = self.wasi().table().get(bucket);
        bucket.cloned().map_err(|error| Error::Other(error.to_string()))
    }

    fn handle<T: Send + 'static>(&mut self, value: T) -> Result<Resource<T>, Error> {
        self.wasi().table().push(value).map_err(|error| Error::Other(error.to_string()))
    }

    async fn ask(
        &mut self,
        bucket: &Resource<BucketId>,
        operation: KeyValueOperation,
    ) -> Result<KeyValueAnswer, Error> {
        let bucket = self.of_handle(bucket)?;
        Ok(self.keyvalue(bucket, operation).await?)
    }

    async fn tell(&mut self, bucket: &Resource<BucketId>, operation: KeyValueOperation) -> Result<(), Error> {
        self.ask(bucket, operation).await.map(drop)
    }

    /// Adds to a number, and returns the sum. One below `least` is an error, and changes nothing.
    pub(super) async fn add(
        &mut self,
        bucket: &Resource<BucketId>,
        key: String,
        by: i64,
        least: Option<i64>,
    ) -> Result<i64, Error> {
        match self.ask(bucket, KeyValueOperation::Increment { key, by, lifetime: None, least }).await? {
            KeyValueAnswer::Number(number) => Ok(number),
            _ => Err(mixed_up().into()),
        }
    }

    async fn values(&mut self, bucket: BucketId, keys: Vec<String>) -> Result<Vec<Option<StoredValue>>, Error> {
        match self.keyvalue(bucket, KeyValueOperation::Get(keys)).await? {
            KeyValueAnswer::Values(values) => Ok(values),
            _ => Err(mixed_up().into()),
        }
    }

    /// A handle for replacing the value that the key has now.
    async fn begin(&mut self, bucket: BucketId, key: String) -> Result<Resource<PendingSwap>, Error> {
        let seen = self.values(bucket.clone(), vec![key.clone()]).await?.pop().flatten();
        self.handle(PendingSwap { bucket, key, seen })
    }
}

impl store::Host for GuestData {
    async fn open(&mut self, identifier: String) -> Result<Resource<BucketId>, Error> {
        let bucket = self.bucket(&identifier).map_err(|refusal| match refusal {
            Refusal::Denied => Error::AccessDenied,
            Refusal::NoStore => no_store().into(),
        })?;
        self.handle(bucket)
    }
}

impl store::HostBucket for GuestData {
    async fn get(&mut self, bucket: Resource<BucketId>, key: String) -> Result<Option<Vec<u8>>, Error> {
        let bucket = self.of_handle(&bucket)?;
        Ok(self.values(bucket, vec![key]).await?.pop().flatten().map(|value| value.bytes))
    }

    async fn set(&mut self, bucket: Resource<BucketId>, key: String, value: Vec<u8>) -> Result<(), Error> {
        self.tell(&bucket, KeyValueOperation::Set { pairs: vec![(key, value)], lifetime: None }).await
    }

    async fn delete(&mut self, bucket: Resource<BucketId>, key: String) -> Result<(), Error> {
        self.tell(&bucket, KeyValueOperation::Delete(vec![key])).await
    }

    async fn exists(&mut self, bucket: Resource<BucketId>, key: String) -> Result<bool, Error> {
        match self.ask(&bucket, KeyValueOperation::Contains(key)).await? {
            KeyValueAnswer::Found(found) => Ok(found),
            _ => Err(mixed_up().into()),
        }
    }

    async fn list_keys(&mut self, bucket: Resource<BucketId>, cursor: Option<String>) -> Result<KeyResponse, Error> {
        match self.ask(&bucket, KeyValueOperation::List(cursor)).await? {
            // The next page begins after the last key of this one.
            KeyValueAnswer::Keys(keys, has_more) => {
                Ok(KeyResponse { cursor: keys.last().filter(|_| has_more).cloned(), keys })
            }
            _ => Err(mixed_up().into()),
        }
    }

    async fn drop(&mut self, bucket: Resource<BucketId>) -> wasmtime::Result<()> {
        self.wasi().table().delete(bucket)?;
        Ok(())
    }
}

impl batch::Host for GuestData {
    async fn get_many(
        &mut self,
        bucket: Resource<BucketId>,
        keys: Vec<String>,
    ) -> Result<Vec<Option<(String, Vec<u8>)>>, Error> {
        let bucket = self.of_handle(&bucket)?;
        let values = self.values(bucket, keys.clone()).await?;
        Ok(keys.into_iter().zip(values).map(|(key, value)| value.map(|value| (key, value.bytes))).collect())
    }

    async fn set_many(&mut self, bucket: Resource<BucketId>, pairs: Vec<(String, Vec<u8>)>) -> Result<(), Error> {
        self.tell(&bucket, KeyValueOperation::Set { pairs, lifetime: None }).await
    }

    async fn delete_many(&mut self, bucket: Resource<BucketId>, keys: Vec<String>) -> Result<(), Error> {
        self.tell(&bucket, KeyValueOperation::Delete(keys)).await
    }
}

impl atomics::Host for GuestData {
    async fn increment(&mut self, bucket: Resource<BucketId>, key: String, by: i64) -> Result<i64, Error> {
        self.add(&bucket, key, by, None).await
    }

    async fn swap(&mut self, cas: Resource<PendingSwap>, value: Vec<u8>) -> Result<(), CasError> {
        let failed =
            |error: wasmtime::component::ResourceTableError| CasError::StoreError(Error::Other(error.to_string()));
        let PendingSwap { bucket, key, seen } = self.wasi().table().delete(cas).map_err(failed)?;
        let version = seen.map(|seen| seen.version);
        let swap = KeyValueOperation::Swap { key: key.clone(), version, value };
        match self.keyvalue(bucket.clone(), swap).await {
            Ok(KeyValueAnswer::Found(true)) => Ok(()),
            Ok(KeyValueAnswer::Found(false)) => match self.begin(bucket, key).await {
                Ok(again) => Err(CasError::CasFailed(again)),
                Err(error) => Err(CasError::StoreError(error)),
            },
            Ok(_) => Err(CasError::StoreError(mixed_up().into())),
            Err(error) => Err(CasError::StoreError(error.into())),
        }
    }
}

impl atomics::HostCas for GuestData {
    async fn new(&mut self, bucket: Resource<BucketId>, key: String) -> Result<Resource<PendingSwap>, Error> {
        let bucket = self.of_handle(&bucket)?;
        self.begin(bucket, key).await
    }

    async fn current(&mut self, cas: Resource<PendingSwap>) -> Result<Option<Vec<u8>>, Error> {
        let pending = self.wasi().table().get(&cas).map_err(|error| Error::Other(error.to_string()))?;
        Ok(pending.seen.as_ref().map(|seen| seen.bytes.clone()))
    }

    async fn drop(&mut self, cas: Resource<PendingSwap>) -> wasmtime::Result<()> {
        self.wasi().table().delete(cas)?;
        Ok(())
    }
}

pub(super) fn link(linker: &mut Linker<GuestData>) -> wasmtime::Result<()> {
    store::add_to_linker::<GuestData, HasSelf<GuestData>>(linker, |data| data)?;
    atomics::add_to_linker::<GuestData, HasSelf<GuestData>>(linker, |data| data)?;
    batch::add_to_linker::<GuestData, HasSelf<GuestData>>(linker, |data| data)
}
