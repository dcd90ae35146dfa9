//! Responses for a guest.

pub(crate) mod body;

use std::pin::Pin;

use hyper::HeaderMap;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

use self::body::{BodyPart, IncomingBody};
use super::bindings::wasi::http::types::{ErrorCode, HostFutureIncomingResponse, HostIncomingResponse};
use super::fields::{Fields, too_much};
use crate::instance::guest::GuestData;

/// A task that ends when its owner does.
#[derive(Debug)]
pub(crate) struct OwnedTask(pub(super) AbortHandle);

impl Drop for OwnedTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The beginning of a response. Its body follows in parts.
#[derive(Debug)]
pub(crate) struct ResponseHead {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) parts: mpsc::Receiver<BodyPart>,
}

/// What a request comes to.
pub(crate) type Outcome = Result<ResponseHead, ErrorCode>;

/// A response that may not be there yet.
#[derive(Debug)]
#[allow(unreachable_pub, reason = "the generated code exports it")]
pub struct FutureResponse {
    state: FutureState,
    /// The task of the request, until the response owns it.
    task: Option<OwnedTask>,
}

#[derive(Debug)]
enum FutureState {
    Waiting(oneshot::Receiver<Outcome>),
    Ready(Outcome),
    Taken,
}

impl FutureResponse {
    /// The response that `task` sends through `outcome`.
    pub(super) fn new(outcome: oneshot::Receiver<Outcome>, task: OwnedTask) -> Self {
        Self { state: FutureState::Waiting(outcome), task: Some(task) }
    }

    /// Looks whether the response is there.
    fn poll(&mut self) {
        if let FutureState::Waiting(outcome) = &mut self.state {
            match outcome.try_recv() {
                Ok(outcome) => self.state = FutureState::Ready(outcome),
                Err(oneshot::error::TryRecvError::Empty) => {}
                Err(oneshot::error::TryRecvError::Closed) => self.state = FutureState::Ready(Err(ended())),
            }
        }
    }
}

/// The error of a request whose task ended without an answer.
fn ended() -> ErrorCode {
    ErrorCode::ConnectionTerminated
}

impl Pollable for FutureResponse {
    fn ready<'life, 'future>(&'life mut self) -> Pin<Box<dyn Future<Output = ()> + Send + 'future>>
    where
        'life: 'future,
        Self: 'future,
    {
        Box::pin(async move {
            if let FutureState::Waiting(outcome) = &mut self.state {
                self.state = FutureState::Ready(outcome.await.unwrap_or_else(|_| Err(ended())));
            }
        })
    }
}

/// A response.
#[derive(Debug)]
#[allow(unreachable_pub, reason = "the generated code exports it")]
pub struct IncomingResponse {
    status: u16,
    headers: Fields,
    body: Option<IncomingBody>,
}

/// The answer to a guest that asks for its response.
type GotResponse = Option<Result<Result<Resource<IncomingResponse>, ErrorCode>, ()>>;

impl HostFutureIncomingResponse for GuestData {
    fn subscribe(&mut self, future: Resource<FutureResponse>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table(), future)
    }

    fn get(&mut self, future: Resource<FutureResponse>) -> wasmtime::Result<GotResponse> {
        let held = self.held();
        let own = self.table().get_mut(&future)?;
        own.poll();
        let ResponseHead { status, headers, parts } = match std::mem::replace(&mut own.state, FutureState::Taken) {
            waiting @ FutureState::Waiting(_) => {
                own.state = waiting;
                return Ok(None);
            }
            FutureState::Taken => return Ok(Some(Err(()))),
            FutureState::Ready(Err(error)) => return Ok(Some(Ok(Err(error)))),
            FutureState::Ready(Ok(head)) => head,
        };
        let body = IncomingBody::new(parts, own.task.take());
        let Some(headers) = Fields::fixed(headers, held) else {
            return Ok(Some(Ok(Err(ErrorCode::HttpResponseHeaderSectionSize(None)))));
        };
        let response = IncomingResponse { status, headers, body: Some(body) };
        Ok(Some(Ok(Ok(self.table().push(response)?))))
    }

    fn drop(&mut self, future: Resource<FutureResponse>) -> wasmtime::Result<()> {
        self.table().delete(future)?;
        Ok(())
    }
}

impl HostIncomingResponse for GuestData {
    fn status(&mut self, response: Resource<IncomingResponse>) -> wasmtime::Result<u16> {
        Ok(self.table().get(&response)?.status)
    }

    fn headers(&mut self, response: Resource<IncomingResponse>) -> wasmtime::Result<Resource<Fields>> {
        let held = self.held();
        let map = self.table().get(&response)?.headers.map().clone();
        let copy = Fields::fixed(map, held).ok_or_else(|| wasmtime::format_err!("{}", too_much()))?;
        Ok(self.table().push(copy)?)
    }

    fn consume(
        &mut self,
        response: Resource<IncomingResponse>,
    ) -> wasmtime::Result<Result<Resource<IncomingBody>, ()>> {
        match self.table().get_mut(&response)?.body.take() {
            Some(body) => Ok(Ok(self.table().push(body)?)),
            None => Ok(Err(())),
        }
    }

    fn drop(&mut self, response: Resource<IncomingResponse>) -> wasmtime::Result<()> {
        self.table().delete(response)?;
        Ok(())
    }
}
