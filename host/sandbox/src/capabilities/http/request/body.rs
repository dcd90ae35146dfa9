//! The body of a request. The host holds it until the guest has finished it, and then sends it at once.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use firebox_contract::limits;
use tokio::sync::oneshot;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::{DynOutputStream, OutputStream, Pollable, StreamError, StreamResult};

use crate::capabilities::http::bindings::wasi::http::types::{ErrorCode, HostOutgoingBody};
use crate::capabilities::http::fields::Fields;
use crate::capabilities::http::{HeldBytes, StreamFailure};
use crate::instance::guest::GuestData;

/// The bytes written so far.
#[derive(Debug)]
struct Written {
    bytes: Vec<u8>,
    held: HeldBytes,
}

/// A body that a guest writes.
#[derive(Debug)]
#[allow(unreachable_pub, reason = "the generated code exports it")]
pub struct OutgoingBody {
    written: Arc<Mutex<Written>>,
    has_stream: bool,
    finished: oneshot::Sender<WholeBody>,
}

/// A finished body, counted for its guest until it is sent.
#[derive(Debug)]
pub(crate) struct WholeBody {
    pub(crate) bytes: Bytes,
    _held: HeldBytes,
}

/// Where the request gets its body from.
pub(crate) type BodySource = oneshot::Receiver<WholeBody>;

/// A body, and where the request gets it from.
pub(crate) fn pair(held: HeldBytes) -> (OutgoingBody, BodySource) {
    let (finished, source) = oneshot::channel();
    let written = Arc::new(Mutex::new(Written { bytes: Vec::new(), held }));
    (OutgoingBody { written, has_stream: false, finished }, source)
}

/// The stream of a body.
struct BodyStream(Arc<Mutex<Written>>);

impl OutputStream for BodyStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if written.bytes.len() + bytes.len() > limits::HTTP_REQUEST_BODY_BYTES_MAX || !written.held.grow(bytes.len()) {
            return Err(too_large());
        }
        written.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        let written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = limits::HTTP_REQUEST_BODY_BYTES_MAX.saturating_sub(written.bytes.len());
        // A stream without room for a byte is one that waits. This one is full, which the next write tells.
        Ok(left.clamp(1, limits::HTTP_WRITE_BYTES_MAX))
    }
}

fn too_large() -> StreamError {
    let max = limits::HTTP_REQUEST_BODY_BYTES_MAX as u64;
    StreamError::LastOperationFailed(StreamFailure(ErrorCode::HttpRequestBodySize(Some(max))).into())
}

impl Pollable for BodyStream {
    fn ready<'life, 'future>(&'life mut self) -> Pin<Box<dyn Future<Output = ()> + Send + 'future>>
    where
        'life: 'future,
        Self: 'future,
    {
        Box::pin(std::future::ready(()))
    }
}

impl HostOutgoingBody for GuestData {
    fn write(&mut self, body: Resource<OutgoingBody>) -> wasmtime::Result<Result<Resource<DynOutputStream>, ()>> {
        let own = self.table().get_mut(&body)?;
        if std::mem::replace(&mut own.has_stream, true) {
            return Ok(Err(()));
        }
        let stream: DynOutputStream = Box::new(BodyStream(Arc::clone(&own.written)));
        Ok(Ok(self.table().push_child(stream, &body)?))
    }

    fn finish(
        &mut self,
        body: Resource<OutgoingBody>,
        trailers: Option<Resource<Fields>>,
    ) -> wasmtime::Result<Result<(), ErrorCode>> {
        let OutgoingBody { written, finished, .. } = self.table().delete(body)?;
        if let Some(trailers) = trailers
            && !self.table().delete(trailers)?.map().is_empty()
        {
            return Ok(Err(ErrorCode::InternalError(Some("trailers are not sent; use headers".to_owned()))));
        }
        // The stream is a child of the body, so that nothing else has the bytes now.
        let Some(Written { bytes, held }) = Arc::into_inner(written).and_then(|written| written.into_inner().ok())
        else {
            return Ok(Err(ErrorCode::InternalError(None)));
        };
        // The request may be gone already.
        let _unsent = finished.send(WholeBody { bytes: bytes.into(), _held: held });
        Ok(Ok(()))
    }

    fn drop(&mut self, body: Resource<OutgoingBody>) -> wasmtime::Result<()> {
        self.table().delete(body)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_limited() {
        let (body, _source) = pair(HeldBytes::new(&Arc::default()));
        let mut stream = BodyStream(Arc::clone(&body.written));
        let mut written = 0;
        loop {
            let permit = stream.check_write().expect("open");
            match stream.write(vec![0; permit].into()) {
                Ok(()) => written += permit,
                Err(_) => break,
            }
        }
        assert_eq!(written, limits::HTTP_REQUEST_BODY_BYTES_MAX);
        assert!(matches!(stream.write(Bytes::from_static(b"x")), Err(StreamError::LastOperationFailed(_))));
    }
}
