//! Requests of a guest, until they are sent.

pub(crate) mod body;

use std::time::Duration;

use firebox_contract::limits;
use hyper::http::uri::{Authority, PathAndQuery};
use wasmtime::component::Resource;

use self::body::{BodySource, OutgoingBody};
use super::bindings::wasi::http::types::{HostOutgoingRequest, HostRequestOptions, Method, Scheme};
use super::fields::{Fields, too_much};
use crate::instance::guest::GuestData;

/// A request that was not sent yet.
#[derive(Debug)]
#[allow(unreachable_pub, reason = "the generated code exports it")]
pub struct OutgoingRequest {
    pub(super) method: Method,
    pub(super) scheme: Option<Scheme>,
    pub(super) authority: Option<String>,
    pub(super) path: Option<String>,
    pub(super) headers: Fields,
    /// The body, if the guest has asked for it.
    pub(super) body: Option<BodySource>,
}

/// How long a request may take.
#[derive(Debug, Clone, Copy)]
#[allow(unreachable_pub, reason = "the generated code exports it")]
pub struct RequestOptions {
    pub(super) connect: Duration,
    pub(super) first_byte: Duration,
    pub(super) between_bytes: Duration,
}

impl Default for RequestOptions {
    fn default() -> Self {
        Self {
            connect: limits::HTTP_CONNECT_TIMEOUT,
            first_byte: limits::HTTP_FIRST_BYTE_TIMEOUT,
            between_bytes: limits::HTTP_BETWEEN_BYTES_TIMEOUT,
        }
    }
}

/// What a call changes; the inner error has no content.
type RequestChange = wasmtime::Result<Result<(), ()>>;

/// Whether an optional text is one that `parse` accepts, of a length that an address can have.
fn is_valid<T, E>(text: Option<&str>, parse: impl Fn(&str) -> Result<T, E>) -> bool {
    text.is_none_or(|text| text.len() <= limits::HTTP_URL_BYTES_MAX && parse(text).is_ok())
}

/// # Errors
/// For a method that is no token, or too long.
pub(super) fn method(method: &Method) -> Result<hyper::Method, ()> {
    Ok(match method {
        Method::Get => hyper::Method::GET,
        Method::Head => hyper::Method::HEAD,
        Method::Post => hyper::Method::POST,
        Method::Put => hyper::Method::PUT,
        Method::Delete => hyper::Method::DELETE,
        Method::Connect => hyper::Method::CONNECT,
        Method::Options => hyper::Method::OPTIONS,
        Method::Trace => hyper::Method::TRACE,
        Method::Patch => hyper::Method::PATCH,
        Method::Other(name) if name.len() <= limits::HTTP_HEADER_BYTES_COUNTED => {
            hyper::Method::from_bytes(name.as_bytes()).map_err(drop)?
        }
        Method::Other(_) => return Err(()),
    })
}

/// The path of a request: empty, or from its `/` or `?` on.
///
/// # Errors
/// For a text that begins in another way, or has characters that no path has.
pub(super) fn path(text: &str) -> Result<PathAndQuery, ()> {
    if !text.is_empty() && !text.starts_with(['/', '?']) {
        return Err(());
    }
    let text = if text.starts_with('/') { text.to_owned() } else { format!("/{text}") };
    text.parse().map_err(drop)
}

impl GuestData {
    fn set(&mut self, request: &Resource<OutgoingRequest>, set: impl FnOnce(&mut OutgoingRequest)) -> RequestChange {
        set(self.table().get_mut(request)?);
        Ok(Ok(()))
    }
}

impl HostOutgoingRequest for GuestData {
    fn new(&mut self, headers: Resource<Fields>) -> wasmtime::Result<Resource<OutgoingRequest>> {
        let headers = self.table().delete(headers)?;
        let request =
            OutgoingRequest { method: Method::Get, scheme: None, authority: None, path: None, headers, body: None };
        Ok(self.table().push(request)?)
    }

    fn body(&mut self, request: Resource<OutgoingRequest>) -> wasmtime::Result<Result<Resource<OutgoingBody>, ()>> {
        let held = self.held();
        let request = self.table().get_mut(&request)?;
        if request.body.is_some() {
            return Ok(Err(()));
        }
        let (body, source) = body::pair(held);
        request.body = Some(source);
        Ok(Ok(self.table().push(body)?))
    }

    fn method(&mut self, request: Resource<OutgoingRequest>) -> wasmtime::Result<Method> {
        Ok(self.table().get(&request)?.method.clone())
    }

    fn set_method(&mut self, request: Resource<OutgoingRequest>, new: Method) -> RequestChange {
        if method(&new).is_err() { Ok(Err(())) } else { self.set(&request, |request| request.method = new) }
    }

    fn path_with_query(&mut self, request: Resource<OutgoingRequest>) -> wasmtime::Result<Option<String>> {
        Ok(self.table().get(&request)?.path.clone())
    }

    fn set_path_with_query(&mut self, request: Resource<OutgoingRequest>, new: Option<String>) -> RequestChange {
        let valid = is_valid(new.as_deref(), path);
        if valid { self.set(&request, |request| request.path = new) } else { Ok(Err(())) }
    }

    fn scheme(&mut self, request: Resource<OutgoingRequest>) -> wasmtime::Result<Option<Scheme>> {
        Ok(self.table().get(&request)?.scheme.clone())
    }

    fn set_scheme(&mut self, request: Resource<OutgoingRequest>, new: Option<Scheme>) -> RequestChange {
        let is_plain = |name: &str| name.bytes().all(|c| c.is_ascii_alphanumeric() || b"+-.".contains(&c));
        match &new {
            Some(Scheme::Other(name)) if name.len() > limits::HTTP_HEADER_BYTES_COUNTED || !is_plain(name) => {
                Ok(Err(()))
            }
            _ => self.set(&request, |request| request.scheme = new),
        }
    }

    fn authority(&mut self, request: Resource<OutgoingRequest>) -> wasmtime::Result<Option<String>> {
        Ok(self.table().get(&request)?.authority.clone())
    }

    fn set_authority(&mut self, request: Resource<OutgoingRequest>, new: Option<String>) -> RequestChange {
        let valid = is_valid(new.as_deref(), str::parse::<Authority>);
        if valid { self.set(&request, |request| request.authority = new) } else { Ok(Err(())) }
    }

    fn headers(&mut self, request: Resource<OutgoingRequest>) -> wasmtime::Result<Resource<Fields>> {
        let held = self.held();
        let map = self.table().get(&request)?.headers.map().clone();
        let copy = Fields::fixed(map, held).ok_or_else(|| wasmtime::format_err!("{}", too_much()))?;
        Ok(self.table().push(copy)?)
    }

    fn drop(&mut self, request: Resource<OutgoingRequest>) -> wasmtime::Result<()> {
        self.table().delete(request)?;
        Ok(())
    }
}

impl GuestData {
    /// Sets one time of `options` to `nanoseconds`, at most to `max`.
    fn set_time(
        &mut self,
        options: &Resource<RequestOptions>,
        nanoseconds: Option<u64>,
        max: Duration,
        field: fn(&mut RequestOptions) -> &mut Duration,
    ) -> RequestChange {
        *field(self.table().get_mut(options)?) = nanoseconds.map_or(max, |time| max.min(Duration::from_nanos(time)));
        Ok(Ok(()))
    }
}

/// Nanoseconds, for the guest.
fn nanoseconds(time: Duration) -> Option<u64> {
    u64::try_from(time.as_nanos()).ok()
}

impl HostRequestOptions for GuestData {
    fn new(&mut self) -> wasmtime::Result<Resource<RequestOptions>> {
        Ok(self.table().push(RequestOptions::default())?)
    }

    fn connect_timeout(&mut self, options: Resource<RequestOptions>) -> wasmtime::Result<Option<u64>> {
        Ok(nanoseconds(self.table().get(&options)?.connect))
    }

    fn set_connect_timeout(&mut self, options: Resource<RequestOptions>, time: Option<u64>) -> RequestChange {
        self.set_time(&options, time, limits::HTTP_CONNECT_TIMEOUT, |options| &mut options.connect)
    }

    fn first_byte_timeout(&mut self, options: Resource<RequestOptions>) -> wasmtime::Result<Option<u64>> {
        Ok(nanoseconds(self.table().get(&options)?.first_byte))
    }

    fn set_first_byte_timeout(&mut self, options: Resource<RequestOptions>, time: Option<u64>) -> RequestChange {
        self.set_time(&options, time, limits::HTTP_FIRST_BYTE_TIMEOUT, |options| &mut options.first_byte)
    }

    fn between_bytes_timeout(&mut self, options: Resource<RequestOptions>) -> wasmtime::Result<Option<u64>> {
        Ok(nanoseconds(self.table().get(&options)?.between_bytes))
    }

    fn set_between_bytes_timeout(&mut self, options: Resource<RequestOptions>, time: Option<u64>) -> RequestChange {
        self.set_time(&options, time, limits::HTTP_BETWEEN_BYTES_TIMEOUT, |options| &mut options.between_bytes)
    }

    fn drop(&mut self, options: Resource<RequestOptions>) -> wasmtime::Result<()> {
        self.table().delete(options)?;
        Ok(())
    }
}
