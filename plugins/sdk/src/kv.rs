//! Values under keys that expire, in buckets of the plugin: `firebox:plugin/kv`. The buckets are those of
//! [`keyvalue`](crate::keyvalue), and need the same grant. Works in WebAssembly only.
//!
//! ```no_run
//! use firebox_sdk::kv;
//!
//! fn remember(name: &str) -> Result<(), kv::Error> {
//!     kv::set("visits", "last", name.as_bytes(), Some(60_000))
//! }
//! ```

pub use crate::bindings::kv::firebox::plugin::kv::{Error, delete, get, increment, set};

/// The error as text for a person or a model.
#[must_use]
pub fn message(error: &Error) -> String {
    match error {
        Error::Denied => "the plugin was not granted the bucket".to_owned(),
        Error::Quota(reason) | Error::Invalid(reason) | Error::Unavailable(reason) => reason.clone(),
    }
}
