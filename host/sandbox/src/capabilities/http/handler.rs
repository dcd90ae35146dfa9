//! `wasi:http/outgoing-handler`: checks a request and starts it.

use std::sync::Arc;

use firebox_contract::limits;
use hyper::header::{self, HeaderMap};
use hyper::http::uri::Authority;
use tokio::sync::oneshot;
use wasmtime::component::Resource;

use super::bindings::wasi::http::outgoing_handler::Host;
use super::bindings::wasi::http::types::{ErrorCode, Scheme};
use super::exchange::Exchange;
use super::request::{self, OutgoingRequest, RequestOptions};
use super::response::{FutureResponse, OwnedTask};
use crate::capabilities::secrets::scan::percent_decoded;
use crate::instance::guest::GuestData;
use crate::plugin::grants::capability::Use;
use crate::plugin::grants::http_rule::HttpTarget;

impl Host for GuestData {
    fn handle(
        &mut self,
        request: Resource<OutgoingRequest>,
        options: Option<Resource<RequestOptions>>,
    ) -> wasmtime::Result<Result<Resource<FutureResponse>, ErrorCode>> {
        let request = self.table().delete(request)?;
        let options = match options {
            Some(options) => self.table().delete(options)?,
            None => RequestOptions::default(),
        };
        match self.start(request, options) {
            Ok(future) => Ok(Ok(self.table().push(future)?)),
            Err(error) => Ok(Err(error)),
        }
    }
}

impl GuestData {
    /// Starts `request`, if the guest may send it.
    fn start(&mut self, request: OutgoingRequest, options: RequestOptions) -> Result<FutureResponse, ErrorCode> {
        let (target, method, path) = target(&request)?;
        self.check(&Use::Http(&target)).map_err(|_| ErrorCode::HttpRequestDenied)?;
        let call = Arc::clone(&self.http().call);
        if !call.request() {
            let max = limits::HTTP_REQUESTS_PER_CALL_MAX;
            self.log.write("warn", &format!("a request is refused: one call sends at most {max}"));
            return Err(ErrorCode::ConnectionLimitReached);
        }
        let none = || ErrorCode::InternalError(Some("this host sends no requests".to_owned()));
        let client = Arc::clone(self.identity.shared.services.http.client().ok_or_else(none)?);
        let handle = client.handle().ok_or_else(none)?.clone();
        let headers = self.with_secrets(&request, &target)?;
        let exchange = Exchange {
            client,
            permissions: self.identity.permissions.clone(),
            log: self.log.clone(),
            target,
            method,
            path,
            headers,
            body: request.body,
            options,
            call,
            secrets: self.secrets.clone(),
            meter: self.meter(),
        };
        let (sender, outcome) = oneshot::channel();
        let task = handle.spawn(exchange.run(sender));
        Ok(FutureResponse::new(outcome, OwnedTask(task.abort_handle())))
    }
}

impl GuestData {
    /// The headers of `request`, with secrets in place of their placeholders.
    fn with_secrets(&mut self, request: &OutgoingRequest, target: &HttpTarget) -> Result<HeaderMap, ErrorCode> {
        let headers = request.headers.map();
        let Some(secrets) = self.secrets.clone() else { return Ok(headers.clone()) };
        let scanner = &secrets.scanner;
        let in_headers = headers
            .iter()
            .find_map(|(name, value)| scanner.find(name.as_str().as_bytes()).or(scanner.find(value.as_bytes())));
        let text = format!("{} {} {}", target.method, target.host, target.path);
        if let Some(name) =
            in_headers.or_else(|| scanner.find(text.as_bytes())).or_else(|| scanner.find(&percent_decoded(&text)))
        {
            self.log.write("warn", &format!("a request is refused: it contains the secret \"{name}\""));
            return Err(ErrorCode::HttpRequestDenied);
        }
        let mut expanded = secrets.expand(headers, target).map_err(|misplaced| {
            self.log.write("warn", &format!("a request is refused: {misplaced}"));
            ErrorCode::HttpRequestDenied
        })?;
        // The response is searched, so it must come whole and as it is.
        for name in [header::RANGE, header::IF_RANGE, header::ACCEPT_ENCODING, header::TE] {
            expanded.remove(name);
        }
        Ok(expanded)
    }
}

/// Where a request goes, with its method and path.
fn target(request: &OutgoingRequest) -> Result<(HttpTarget, hyper::Method, hyper::http::uri::PathAndQuery), ErrorCode> {
    let invalid = || ErrorCode::HttpRequestUriInvalid;
    let method = request::method(&request.method).map_err(|()| ErrorCode::HttpRequestMethodInvalid)?;
    // It would make a tunnel, whose content no rule could check.
    if method == hyper::Method::CONNECT {
        return Err(ErrorCode::HttpRequestMethodInvalid);
    }
    let is_https = match &request.scheme {
        Some(Scheme::Https) | None => true,
        Some(Scheme::Http) => false,
        Some(Scheme::Other(_)) => return Err(ErrorCode::HttpProtocolError),
    };
    let text = request.authority.as_deref().ok_or_else(invalid)?;
    let authority: Authority = text.parse().map_err(|_| invalid())?;
    // A user's name and password belong into a header, and a zone into no address.
    if text.contains(['@', '%']) || authority.host().is_empty() {
        return Err(invalid());
    }
    let after_host = &text[authority.host().len().min(text.len())..];
    let port = match after_host {
        "" => None,
        _ => Some(authority.port_u16().filter(|port| *port > 0).ok_or_else(invalid)?),
    };
    let path = request::path(request.path.as_deref().unwrap_or_default()).map_err(|()| invalid())?;
    if text.len() + path.as_str().len() > limits::HTTP_URL_BYTES_MAX {
        return Err(ErrorCode::HttpRequestUriTooLong);
    }
    Ok((HttpTarget::new(method.as_str(), is_https, authority.host(), port, path.as_str()), method, path))
}
