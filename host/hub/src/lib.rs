//! Downloads models from a hub that speaks Hugging Face's protocol, into the cache on disk that Hugging Face's own tools use,
//! and WebAssembly components from web addresses and registries.
//!
//! ```text
//! name      org/name@revision:choice        client    requests: redirects, retries, refusals
//! settings  endpoint, token, folders        download  one file: lock, resume, check
//! select    the files of one model          cache     blobs, snapshots, refs; list, remove, verify, shrink
//! pull      a whole model                   component components from the web and from registries
//! ```
//!
//! Nothing that a hub sends is trusted: not its names, sizes, redirects or bytes. A file gets its name in the cache when its size
//! and its digest are right.

mod cache;
mod client;
mod component;
mod digest;
mod download;
mod error;
mod name;
mod progress;
mod pull;
mod select;
mod settings;

pub use cache::scan::{CachedModel, Contents};
pub use cache::shrink::Shrunk;
pub use cache::verify::{BlobState, Checked};
pub use cache::{Cache, InUse};
pub use component::{
    ComponentInterfaces, FetchedComponent, OciReference, Publication, RegistryCredentials, fetch_file, fetch_url, pull,
    push,
};
pub use error::HubError;
pub use name::{Choice, ModelName, RepoName};
pub use progress::{Progress, PullEvent};
pub use pull::{Hub, LocalModel, Pulled};
pub use select::QUANTS;
pub use settings::{HubSettings, RetryPolicy, Token};
