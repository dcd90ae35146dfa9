//! The part of `wasi:http/types` for components that answer requests. Plugins never get one, so these handles lead
//! nowhere; they exist because the interface has them.

use hyper::StatusCode;
use wasmtime::component::Resource;

use super::bindings::wasi::http::types::{
    ErrorCode, HostIncomingRequest, HostOutgoingResponse, HostResponseOutparam, Method, Scheme,
};
use super::fields::{Fields, too_much};
use super::request::body::OutgoingBody;
use super::response::body::IncomingBody;
use crate::instance::guest::GuestData;

/// A request to a component. There is none.
#[derive(Debug, Clone, Copy)]
#[allow(unreachable_pub, reason = "the generated code exports it")]
pub enum IncomingRequest {}

/// Where a component's answer would go. There is none.
#[derive(Debug, Clone, Copy)]
#[allow(unreachable_pub, reason = "the generated code exports it")]
pub enum ResponseOutparam {}

/// An answer that goes nowhere.
#[derive(Debug)]
#[allow(unreachable_pub, reason = "the generated code exports it")]
pub struct OutgoingResponse {
    status: u16,
    headers: Fields,
}

impl HostIncomingRequest for GuestData {
    fn method(&mut self, request: Resource<IncomingRequest>) -> wasmtime::Result<Method> {
        match *self.table().get(&request)? {}
    }

    fn path_with_query(&mut self, request: Resource<IncomingRequest>) -> wasmtime::Result<Option<String>> {
        match *self.table().get(&request)? {}
    }

    fn scheme(&mut self, request: Resource<IncomingRequest>) -> wasmtime::Result<Option<Scheme>> {
        match *self.table().get(&request)? {}
    }

    fn authority(&mut self, request: Resource<IncomingRequest>) -> wasmtime::Result<Option<String>> {
        match *self.table().get(&request)? {}
    }

    fn headers(&mut self, request: Resource<IncomingRequest>) -> wasmtime::Result<Resource<Fields>> {
        match *self.table().get(&request)? {}
    }

    fn consume(&mut self, request: Resource<IncomingRequest>) -> wasmtime::Result<Result<Resource<IncomingBody>, ()>> {
        match *self.table().get(&request)? {}
    }

    fn drop(&mut self, request: Resource<IncomingRequest>) -> wasmtime::Result<()> {
        self.table().delete(request)?;
        Ok(())
    }
}

impl HostResponseOutparam for GuestData {
    fn set(
        &mut self,
        param: Resource<ResponseOutparam>,
        _response: Result<Resource<OutgoingResponse>, ErrorCode>,
    ) -> wasmtime::Result<()> {
        match *self.table().get(&param)? {}
    }

    fn drop(&mut self, param: Resource<ResponseOutparam>) -> wasmtime::Result<()> {
        self.table().delete(param)?;
        Ok(())
    }
}

impl HostOutgoingResponse for GuestData {
    fn new(&mut self, headers: Resource<Fields>) -> wasmtime::Result<Resource<OutgoingResponse>> {
        let headers = self.table().delete(headers)?;
        Ok(self.table().push(OutgoingResponse { status: StatusCode::OK.as_u16(), headers })?)
    }

    fn status_code(&mut self, response: Resource<OutgoingResponse>) -> wasmtime::Result<u16> {
        Ok(self.table().get(&response)?.status)
    }

    fn set_status_code(
        &mut self,
        response: Resource<OutgoingResponse>,
        status: u16,
    ) -> wasmtime::Result<Result<(), ()>> {
        if StatusCode::from_u16(status).is_err() {
            return Ok(Err(()));
        }
        self.table().get_mut(&response)?.status = status;
        Ok(Ok(()))
    }

    fn headers(&mut self, response: Resource<OutgoingResponse>) -> wasmtime::Result<Resource<Fields>> {
        let held = self.held();
        let map = self.table().get(&response)?.headers.map().clone();
        let copy = Fields::fixed(map, held).ok_or_else(|| wasmtime::format_err!("{}", too_much()))?;
        Ok(self.table().push(copy)?)
    }

    fn body(&mut self, _response: Resource<OutgoingResponse>) -> wasmtime::Result<Result<Resource<OutgoingBody>, ()>> {
        Ok(Err(()))
    }

    fn drop(&mut self, response: Resource<OutgoingResponse>) -> wasmtime::Result<()> {
        self.table().delete(response)?;
        Ok(())
    }
}
