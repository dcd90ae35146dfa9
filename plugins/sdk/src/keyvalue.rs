//! Values under keys, in buckets of the plugin: `wasi:keyvalue`. The manifest asks for each bucket, `[capabilities]
//! keyvalue = ["NAME"]`, and operator and tenant must grant it. Each tenant has its own buckets. Works in WebAssembly only.
//!
//! ```no_run
//! use firebox_sdk::keyvalue;
//!
//! fn count() -> Result<i64, keyvalue::Error> {
//!     let bucket = keyvalue::open("visits")?;
//!     keyvalue::increment(&bucket, "total", 1)
//! }
//! ```

pub use crate::bindings::keyvalue::wasi::keyvalue0_2_0_draft2::atomics::{Cas, CasError, increment, swap};
pub use crate::bindings::keyvalue::wasi::keyvalue0_2_0_draft2::batch::{delete_many, get_many, set_many};
pub use crate::bindings::keyvalue::wasi::keyvalue0_2_0_draft2::store::{Bucket, Error, KeyResponse, open};

/// The error as text for a person or a model.
#[must_use]
pub fn message(error: &Error) -> String {
    match error {
        Error::NoSuchStore => "there is no such bucket".to_owned(),
        Error::AccessDenied => "the plugin was not granted the bucket".to_owned(),
        Error::Other(reason) => reason.clone(),
    }
}
