//! One GET request through `wasi:http`.

use wasip2::http::outgoing_handler;
use wasip2::http::types::{ErrorCode, Fields, IncomingBody, IncomingResponse, OutgoingRequest, Scheme};
use wasip2::io::streams::StreamError;

use crate::url::Url;
use crate::{PAGE_BYTES_MAX, Page};

/// Bytes that are read at a time.
const READ_BYTES: u64 = 64 << 10;

/// The page at `url`.
pub(crate) fn get(url: &Url) -> Result<Page, String> {
    let headers = Fields::new();
    for (name, value) in [("accept", "text/html, text/*, application/json, */*;q=0.1"), ("user-agent", "firebox")] {
        headers.append(name, value.as_bytes()).map_err(|error| format!("{error:?}"))?;
    }
    let request = OutgoingRequest::new(headers);
    let scheme = if url.is_https { Scheme::Https } else { Scheme::Http };
    let wrong = |()| "the address is not valid".to_owned();
    request.set_scheme(Some(&scheme)).map_err(wrong)?;
    request.set_authority(Some(&url.authority)).map_err(wrong)?;
    request.set_path_with_query(Some(&url.path)).map_err(wrong)?;
    let future = outgoing_handler::handle(request, None).map_err(|error| message(&error))?;
    future.subscribe().block();
    let answer = future.get().and_then(Result::ok).ok_or("there is no answer")?;
    page(&answer.map_err(|error| message(&error))?)
}

fn page(response: &IncomingResponse) -> Result<Page, String> {
    let headers = response.headers();
    let value =
        |name: &str| headers.get(name).into_iter().next().map(|value| String::from_utf8_lossy(&value).into_owned());
    let body = response.consume().map_err(|()| "there is no body")?;
    let (bytes, is_cut) = read(&body)?;
    Ok(Page {
        status: response.status(),
        content_type: value("content-type").unwrap_or_default(),
        location: value("location"),
        body: bytes,
        is_cut,
    })
}

/// The beginning of a body, and whether there is more.
fn read(body: &IncomingBody) -> Result<(Vec<u8>, bool), String> {
    let stream = body.stream().map_err(|()| "there is no body")?;
    let mut bytes = Vec::new();
    while bytes.len() < PAGE_BYTES_MAX {
        match stream.blocking_read(READ_BYTES) {
            Ok(part) => bytes.extend(part),
            Err(StreamError::Closed) => return Ok((bytes, false)),
            Err(StreamError::LastOperationFailed(error)) => {
                return Err(format!("the page ended early: {}", error.to_debug_string()));
            }
        }
    }
    bytes.truncate(PAGE_BYTES_MAX);
    Ok((bytes, true))
}

/// The error as text for a model.
fn message(error: &ErrorCode) -> String {
    match error {
        ErrorCode::HttpRequestDenied => "this address was not granted to the plugin".to_owned(),
        ErrorCode::DestinationIpProhibited => "this host has an address that was not granted to the plugin".to_owned(),
        ErrorCode::DnsError(_) | ErrorCode::DnsTimeout => "this host is not known".to_owned(),
        ErrorCode::ConnectionRefused | ErrorCode::DestinationUnavailable => "this host does not answer".to_owned(),
        ErrorCode::ConnectionTimeout | ErrorCode::HttpResponseTimeout | ErrorCode::ConnectionReadTimeout => {
            "this host takes too long".to_owned()
        }
        ErrorCode::TlsCertificateError => "the certificate of this host is not valid".to_owned(),
        other => format!("the request failed: {other:?}"),
    }
}
