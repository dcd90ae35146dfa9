//! The body of a response, which the guest reads in parts while they arrive.

use std::pin::Pin;

use bytes::Bytes;
use tokio::sync::mpsc;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::{DynInputStream, DynPollable, InputStream, Pollable, StreamError, StreamResult, subscribe};

use super::OwnedTask;
use crate::capabilities::http::StreamFailure;
use crate::capabilities::http::bindings::wasi::http::types::{ErrorCode, HostFutureTrailers, HostIncomingBody};
use crate::capabilities::http::fields::Fields;
use crate::instance::guest::GuestData;

/// A part of a body: bytes, or `None` at its end.
pub(crate) type BodyPart = Result<Option<Bytes>, ErrorCode>;

/// The body of a response.
#[derive(Debug)]
#[allow(unreachable_pub, reason = "the generated code exports it")]
pub struct IncomingBody {
    /// The parts, until the stream has them.
    parts: Option<mpsc::Receiver<BodyPart>>,
    /// The task that receives them. It ends with the body.
    _task: Option<OwnedTask>,
}

impl IncomingBody {
    pub(super) fn new(parts: mpsc::Receiver<BodyPart>, task: Option<OwnedTask>) -> Self {
        Self { parts: Some(parts), _task: task }
    }
}

/// The stream of a body.
struct PartStream {
    parts: mpsc::Receiver<BodyPart>,
    /// What was received and not read yet.
    rest: Bytes,
    /// How the body ended, once it has.
    end: Option<Result<(), ErrorCode>>,
}

impl PartStream {
    fn take(&mut self, part: Option<BodyPart>) {
        match part {
            Some(Ok(Some(bytes))) => self.rest = bytes,
            Some(Ok(None)) => self.end = Some(Ok(())),
            Some(Err(error)) => self.end = Some(Err(error)),
            None => self.end = Some(Err(ErrorCode::HttpResponseIncomplete)),
        }
    }
}

impl InputStream for PartStream {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if self.rest.is_empty() && self.end.is_none() {
            match self.parts.try_recv() {
                Ok(part) => self.take(Some(part)),
                Err(mpsc::error::TryRecvError::Empty) => return Ok(Bytes::new()),
                Err(mpsc::error::TryRecvError::Disconnected) => self.take(None),
            }
        }
        match &mut self.end {
            _ if !self.rest.is_empty() => Ok(self.rest.split_to(size.min(self.rest.len()))),
            None => Ok(Bytes::new()),
            // An error is told once; then the stream is closed.
            Some(end) => match std::mem::replace(end, Ok(())) {
                Ok(()) => Err(StreamError::Closed),
                Err(error) => Err(StreamError::LastOperationFailed(StreamFailure(error).into())),
            },
        }
    }
}

impl Pollable for PartStream {
    fn ready<'life, 'future>(&'life mut self) -> Pin<Box<dyn Future<Output = ()> + Send + 'future>>
    where
        'life: 'future,
        Self: 'future,
    {
        Box::pin(async move {
            if self.rest.is_empty() && self.end.is_none() {
                let part = self.parts.recv().await;
                self.take(part);
            }
        })
    }
}

/// The trailers of a response, which the host does not keep.
#[derive(Debug)]
#[allow(unreachable_pub, reason = "the generated code exports it")]
pub struct FutureTrailers {
    is_taken: bool,
}

impl Pollable for FutureTrailers {
    fn ready<'life, 'future>(&'life mut self) -> Pin<Box<dyn Future<Output = ()> + Send + 'future>>
    where
        'life: 'future,
        Self: 'future,
    {
        Box::pin(std::future::ready(()))
    }
}

/// The answer to a guest that asks for trailers.
type GotTrailers = Option<Result<Result<Option<Resource<Fields>>, ErrorCode>, ()>>;

impl HostIncomingBody for GuestData {
    fn stream(&mut self, body: Resource<IncomingBody>) -> wasmtime::Result<Result<Resource<DynInputStream>, ()>> {
        let Some(parts) = self.table().get_mut(&body)?.parts.take() else { return Ok(Err(())) };
        let stream: DynInputStream = Box::new(PartStream { parts, rest: Bytes::new(), end: None });
        Ok(Ok(self.table().push_child(stream, &body)?))
    }

    fn finish(&mut self, body: Resource<IncomingBody>) -> wasmtime::Result<Resource<FutureTrailers>> {
        self.table().delete(body)?;
        Ok(self.table().push(FutureTrailers { is_taken: false })?)
    }

    fn drop(&mut self, body: Resource<IncomingBody>) -> wasmtime::Result<()> {
        self.table().delete(body)?;
        Ok(())
    }
}

impl HostFutureTrailers for GuestData {
    fn subscribe(&mut self, future: Resource<FutureTrailers>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table(), future)
    }

    fn get(&mut self, future: Resource<FutureTrailers>) -> wasmtime::Result<GotTrailers> {
        let was_taken = std::mem::replace(&mut self.table().get_mut(&future)?.is_taken, true);
        Ok(Some(if was_taken { Err(()) } else { Ok(Ok(None)) }))
    }

    fn drop(&mut self, future: Resource<FutureTrailers>) -> wasmtime::Result<()> {
        self.table().delete(future)?;
        Ok(())
    }
}
