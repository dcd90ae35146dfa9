//! `wasi:keyvalue@0.2.0-draft`, the older draft: `store`, `atomics` and `batch`. Buckets are those of the newer one.

use wasmtime::component::{HasSelf, Linker, Resource};

use self::bindings::wasi::keyvalue0_2_0_draft::atomics;
use self::bindings::wasi::keyvalue0_2_0_draft::batch;
use self::bindings::wasi::keyvalue0_2_0_draft::store::{self, Error, KeyResponse};
use super::BucketId;
use super::standard::bindings::wasi::keyvalue0_2_0_draft2::{batch as new_batch, store as new_store};
use crate::instance::guest::GuestData;

#[allow(unreachable_pub, missing_docs, reason = "generated code")]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "package firebox:host-keyvalue-draft; world imports {
            import wasi:keyvalue/store@0.2.0-draft;
            import wasi:keyvalue/atomics@0.2.0-draft;
            import wasi:keyvalue/batch@0.2.0-draft;
        }",
        imports: { default: async },
        with: { "wasi:keyvalue/store.bucket": super::super::BucketId },
    });
}

impl From<new_store::Error> for Error {
    fn from(error: new_store::Error) -> Self {
        match error {
            new_store::Error::NoSuchStore => Self::NoSuchStore,
            new_store::Error::AccessDenied => Self::AccessDenied,
            new_store::Error::Other(reason) => Self::Other(reason),
        }
    }
}

impl store::Host for GuestData {
    async fn open(&mut self, identifier: String) -> Result<Resource<BucketId>, Error> {
        Ok(new_store::Host::open(self, identifier).await?)
    }
}

impl store::HostBucket for GuestData {
    async fn get(&mut self, bucket: Resource<BucketId>, key: String) -> Result<Option<Vec<u8>>, Error> {
        Ok(new_store::HostBucket::get(self, bucket, key).await?)
    }

    async fn set(&mut self, bucket: Resource<BucketId>, key: String, value: Vec<u8>) -> Result<(), Error> {
        Ok(new_store::HostBucket::set(self, bucket, key, value).await?)
    }

    async fn delete(&mut self, bucket: Resource<BucketId>, key: String) -> Result<(), Error> {
        Ok(new_store::HostBucket::delete(self, bucket, key).await?)
    }

    async fn exists(&mut self, bucket: Resource<BucketId>, key: String) -> Result<bool, Error> {
        Ok(new_store::HostBucket::exists(self, bucket, key).await?)
    }

    /// The cursor is the number of keys before the page.
    async fn list_keys(&mut self, bucket: Resource<BucketId>, cursor: Option<u64>) -> Result<KeyResponse, Error> {
        let mut before = cursor.unwrap_or(0);
        let mut after = None;
        loop {
            let page = new_store::HostBucket::list_keys(self, Resource::new_borrow(bucket.rep()), after).await?;
            let count = page.keys.len() as u64;
            if before < count || page.cursor.is_none() {
                let skipped = usize::try_from(before).unwrap_or(usize::MAX);
                let keys: Vec<String> = page.keys.into_iter().skip(skipped).collect();
                let next = cursor.unwrap_or(0) + keys.len() as u64;
                return Ok(KeyResponse { keys, cursor: page.cursor.map(|_| next) });
            }
            (before, after) = (before - count, page.cursor);
        }
    }

    async fn drop(&mut self, bucket: Resource<BucketId>) -> wasmtime::Result<()> {
        new_store::HostBucket::drop(self, bucket).await
    }
}

impl batch::Host for GuestData {
    async fn get_many(
        &mut self,
        bucket: Resource<BucketId>,
        keys: Vec<String>,
    ) -> Result<Vec<Option<(String, Vec<u8>)>>, Error> {
        Ok(new_batch::Host::get_many(self, bucket, keys).await?)
    }

    async fn set_many(&mut self, bucket: Resource<BucketId>, pairs: Vec<(String, Vec<u8>)>) -> Result<(), Error> {
        Ok(new_batch::Host::set_many(self, bucket, pairs).await?)
    }

    async fn delete_many(&mut self, bucket: Resource<BucketId>, keys: Vec<String>) -> Result<(), Error> {
        Ok(new_batch::Host::delete_many(self, bucket, keys).await?)
    }
}

impl atomics::Host for GuestData {
    async fn increment(&mut self, bucket: Resource<BucketId>, key: String, delta: u64) -> Result<u64, Error> {
        let by = i64::try_from(delta).map_err(|_| Error::Other("the number is too large".to_owned()))?;
        // This draft has no numbers below 0. The newer one may have left one; it comes up to 0 or stays as it is.
        let sum = self.add(&bucket, key, by, Some(0)).await?;
        u64::try_from(sum).map_err(|_| Error::Other("the number is below 0".to_owned()))
    }
}

pub(super) fn link(linker: &mut Linker<GuestData>) -> wasmtime::Result<()> {
    store::add_to_linker::<GuestData, HasSelf<GuestData>>(linker, |data| data)?;
    atomics::add_to_linker::<GuestData, HasSelf<GuestData>>(linker, |data| data)?;
    batch::add_to_linker::<GuestData, HasSelf<GuestData>>(linker, |data| data)
}
