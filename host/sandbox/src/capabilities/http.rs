//! `wasi:http/outgoing-handler`: requests to the hosts that manifest, operator and tenant name.
//!
//! Each request is checked against the rules before anything of it is sent. The host's name is looked up once; the
//! connection goes to an address that was checked, so that no other answer of the name server counts. Redirects are
//! answers like any other: a guest that follows one sends a new request, which is checked in turn. Requests run on a
//! thread of their own, and end with the guest that sent them.

mod bindings;
mod body_limit;
mod exchange;
mod fields;
mod handler;
mod incoming;
mod request;
mod response;
mod service;
mod stand_in;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use firebox_contract::limits;
use wasmtime::component::{HasSelf, Linker, Resource, ResourceTable};

use self::bindings::wasi::http::outgoing_handler;
use self::bindings::wasi::http::types::{self, ErrorCode, HeaderError};
use self::body_limit::CallBudget;
pub use self::service::{HttpService, Resolver};
pub use self::stand_in::{HttpFailure, HttpStandIn, SentRequest, StandInAnswer};
use crate::instance::guest::GuestData;

/// The part of a guest's data for HTTP. It is created when the guest first uses the interface.
#[derive(Debug, Default)]
pub(crate) struct HttpState {
    /// Bytes of headers and bodies that the host holds for the guest.
    held: Arc<AtomicUsize>,
    /// What the current call may still send and receive.
    call: Arc<CallBudget>,
}

impl HttpState {
    /// Begins a call with its own budget.
    pub(crate) fn rearm(&mut self) {
        self.call = Arc::default();
    }
}

/// Bytes that the host holds for a guest, counted until the value is dropped.
#[derive(Debug)]
pub(crate) struct HeldBytes {
    total: Arc<AtomicUsize>,
    own: usize,
}

impl HeldBytes {
    fn new(total: &Arc<AtomicUsize>) -> Self {
        Self { total: Arc::clone(total), own: 0 }
    }

    /// Counts `bytes` more. Returns false, and counts nothing, if that exceeds what the host holds for one guest.
    fn grow(&mut self, bytes: usize) -> bool {
        let before = self.total.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > limits::HTTP_HELD_BYTES_MAX {
            self.total.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        self.own += bytes;
        true
    }

    fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.own);
        self.own -= bytes;
        self.total.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.shrink(self.own);
    }
}

/// The error of a stream whose request failed.
#[derive(Debug)]
struct StreamFailure(ErrorCode);

impl fmt::Display for StreamFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl std::error::Error for StreamFailure {}

impl GuestData {
    fn http(&mut self) -> &mut HttpState {
        self.http.get_or_insert_with(Box::default)
    }

    fn held(&mut self) -> HeldBytes {
        HeldBytes::new(&self.http().held)
    }

    fn table(&mut self) -> &mut ResourceTable {
        self.wasi().table()
    }
}

impl types::Host for GuestData {
    fn http_error_code(&mut self, error: Resource<wasmtime::Error>) -> wasmtime::Result<Option<ErrorCode>> {
        let error = self.table().get(&error)?;
        Ok(error.downcast_ref::<StreamFailure>().map(|failure| failure.0.clone()))
    }
}

/// Adds the interfaces to the imports of guests.
///
/// # Errors
/// Wasmtime's error, if a name is defined twice.
pub(super) fn link(linker: &mut Linker<GuestData>) -> wasmtime::Result<()> {
    types::add_to_linker::<GuestData, HasSelf<GuestData>>(linker, |data| data)?;
    outgoing_handler::add_to_linker::<GuestData, HasSelf<GuestData>>(linker, |data| data)
}

/// The error of a header that no list of headers can hold.
fn too_many_headers() -> HeaderError {
    HeaderError::Forbidden
}
