//! Lists of headers.

use firebox_contract::limits;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use wasmtime::component::Resource;

use super::bindings::wasi::http::types::{HeaderError, HostFields};
use super::{HeldBytes, too_many_headers};
use crate::instance::guest::GuestData;

/// Headers that frame a request or belong to its connection. The host writes them.
const OF_THE_HOST: [HeaderName; 9] = [
    header::HOST,
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
];

/// A list of headers.
#[derive(Debug)]
#[allow(unreachable_pub, reason = "the generated code exports it")]
pub struct Fields {
    map: HeaderMap,
    held: HeldBytes,
    is_mutable: bool,
}

impl Fields {
    fn empty(held: HeldBytes) -> Self {
        Self { map: HeaderMap::new(), held, is_mutable: true }
    }

    /// Headers that the guest cannot change; `None` if the host holds too much for it.
    pub(super) fn fixed(map: HeaderMap, mut held: HeldBytes) -> Option<Self> {
        let bytes = map.iter().map(|(name, value)| cost(name, value)).sum();
        held.grow(bytes).then_some(Self { map, held, is_mutable: false })
    }

    /// The headers.
    pub(super) fn map(&self) -> &HeaderMap {
        &self.map
    }

    fn append(&mut self, name: &HeaderName, value: Vec<u8>) -> Result<(), HeaderError> {
        let value = HeaderValue::from_bytes(&value).map_err(|_| HeaderError::InvalidSyntax)?;
        let bytes = cost(name, &value);
        let is_full = self.map.len() >= limits::HTTP_HEADER_NAMES_MAX
            || self.held.own + bytes > limits::HTTP_REQUEST_HEADER_BYTES_MAX;
        if is_full || !self.held.grow(bytes) {
            return Err(too_many_headers());
        }
        self.map.append(name, value);
        Ok(())
    }

    fn remove(&mut self, name: &HeaderName) {
        let bytes = self.map.get_all(name).iter().map(|value| cost(name, value)).sum();
        self.map.remove(name);
        self.held.shrink(bytes);
    }

    fn check_mutable(&self) -> Result<(), HeaderError> {
        if self.is_mutable { Ok(()) } else { Err(HeaderError::Immutable) }
    }
}

/// Bytes that a header counts.
fn cost(name: &HeaderName, value: &HeaderValue) -> usize {
    name.as_str().len() + value.len() + limits::HTTP_HEADER_BYTES_COUNTED
}

/// # Errors
/// `InvalidSyntax` for a text that is no name, `Forbidden` for a header that the host writes.
fn allowed(name: &str) -> Result<HeaderName, HeaderError> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| HeaderError::InvalidSyntax)?;
    if OF_THE_HOST.contains(&name) { Err(HeaderError::Forbidden) } else { Ok(name) }
}

/// What a call changes; the inner error is the interface's own.
type FieldsChange = wasmtime::Result<Result<(), HeaderError>>;

impl GuestData {
    fn change(
        &mut self,
        fields: &Resource<Fields>,
        name: &str,
        change: impl FnOnce(&mut Fields, &HeaderName) -> Result<(), HeaderError>,
    ) -> FieldsChange {
        let fields = self.table().get_mut(fields)?;
        Ok(fields.check_mutable().and_then(|()| change(fields, &allowed(name)?)))
    }
}

impl HostFields for GuestData {
    fn new(&mut self) -> wasmtime::Result<Resource<Fields>> {
        let fields = Fields::empty(self.held());
        Ok(self.table().push(fields)?)
    }

    fn from_list(
        &mut self,
        entries: Vec<(String, Vec<u8>)>,
    ) -> wasmtime::Result<Result<Resource<Fields>, HeaderError>> {
        let mut fields = Fields::empty(self.held());
        for (name, value) in entries {
            if let Err(error) = allowed(&name).and_then(|name| fields.append(&name, value)) {
                return Ok(Err(error));
            }
        }
        Ok(Ok(self.table().push(fields)?))
    }

    fn get(&mut self, fields: Resource<Fields>, name: String) -> wasmtime::Result<Vec<Vec<u8>>> {
        let values = self.table().get(&fields)?.map.get_all(&name);
        Ok(values.iter().map(|value| value.as_bytes().to_vec()).collect())
    }

    fn has(&mut self, fields: Resource<Fields>, name: String) -> wasmtime::Result<bool> {
        Ok(self.table().get(&fields)?.map.contains_key(&name))
    }

    fn set(&mut self, fields: Resource<Fields>, name: String, values: Vec<Vec<u8>>) -> FieldsChange {
        self.change(&fields, &name, |fields, name| {
            fields.remove(name);
            values.into_iter().try_for_each(|value| fields.append(name, value))
        })
    }

    fn delete(&mut self, fields: Resource<Fields>, name: String) -> FieldsChange {
        self.change(&fields, &name, |fields, name| {
            fields.remove(name);
            Ok(())
        })
    }

    fn append(&mut self, fields: Resource<Fields>, name: String, value: Vec<u8>) -> FieldsChange {
        self.change(&fields, &name, |fields, name| fields.append(name, value))
    }

    fn entries(&mut self, fields: Resource<Fields>) -> wasmtime::Result<Vec<(String, Vec<u8>)>> {
        let entries = self.table().get(&fields)?.map.iter();
        Ok(entries.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect())
    }

    fn clone(&mut self, fields: Resource<Fields>) -> wasmtime::Result<Resource<Fields>> {
        let held = self.held();
        let map = self.table().get(&fields)?.map.clone();
        // The interface has no error for this call.
        let copy = Fields::fixed(map, held).ok_or_else(|| wasmtime::format_err!("{}", too_much()))?;
        Ok(self.table().push(Fields { is_mutable: true, ..copy })?)
    }

    fn drop(&mut self, fields: Resource<Fields>) -> wasmtime::Result<()> {
        self.table().delete(fields)?;
        Ok(())
    }
}

/// Why a guest ends that holds too much.
pub(super) fn too_much() -> String {
    let max = limits::HTTP_HELD_BYTES_MAX;
    format!("its HTTP headers and bodies exceed {max} bytes at once; drop those that are not needed")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn the_host_writes_the_headers_of_the_connection() {
        for name in ["host", "Host", "CONNECTION", "Transfer-Encoding", "upgrade", "proxy-authorization", "Keep-Alive"]
        {
            assert!(matches!(allowed(name), Err(HeaderError::Forbidden)), "{name}");
        }
        for name in ["", "a b", "a:b", "a\r\nb", "é", "a\0"] {
            assert!(matches!(allowed(name), Err(HeaderError::InvalidSyntax)), "{name:?}");
        }
        assert!(allowed("X-Custom").is_ok());
    }

    #[test]
    fn no_value_ends_its_line() {
        let mut fields = Fields::empty(HeldBytes::new(&Arc::default()));
        let name = HeaderName::from_static("x-a");
        for value in ["a\r\nhost: evil", "a\nb", "a\rb", "a\0b", "\u{7f}"] {
            let appended = fields.append(&name, value.as_bytes().to_vec());
            assert!(matches!(appended, Err(HeaderError::InvalidSyntax)), "{value:?}");
        }
        assert!(fields.map.is_empty() && fields.append(&name, b"a b".to_vec()).is_ok());
    }

    #[test]
    fn a_list_and_all_lists_together_are_limited() {
        let total = Arc::default();
        let name = HeaderName::from_static("x-a");
        let full = || {
            let mut fields = Fields::empty(HeldBytes::new(&total));
            while fields.append(&name, vec![b'x'; 1_000]).is_ok() {}
            fields
        };
        let first = full();
        assert!(first.held.own <= limits::HTTP_REQUEST_HEADER_BYTES_MAX && first.map.len() > 10);
        let all: Vec<Fields> = (0..1_000).map(|_| full()).collect();
        assert!(all.last().is_some_and(|last| last.map.is_empty()));
        drop((first, all));
        assert_eq!(HeldBytes::new(&total).total.load(std::sync::atomic::Ordering::Relaxed), 0);
    }
}
