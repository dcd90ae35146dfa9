//! Sends an HTTP request.

use firebox_sdk::Arguments;

use crate::bindings::firebox::plugin::secrets;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{Fields, IncomingBody, Method, OutgoingBody, OutgoingRequest, RequestOptions, Scheme};
use wasip2::io::streams::StreamError;

/// Sends the request, and returns its status, the header `location` and the body.
pub(crate) fn run(given: &Arguments) -> Result<String, String> {
    let secret = match given.text("secret") {
        Ok(name) => placeholder(&name)?,
        Err(_) => String::new(),
    };
    let with_secret = |text: String| text.replace("{secret}", &secret);
    let url = with_secret(given.text("url")?);
    let (scheme, rest) = url.split_once("://").ok_or("no scheme")?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let headers = Fields::new();
    if let Ok(header) = given.text("header").map(with_secret) {
        let (name, value) = header.split_once(": ").ok_or("no header")?;
        headers.append(name, value.as_bytes()).map_err(|error| format!("{error:?}"))?;
    }
    let request = OutgoingRequest::new(headers);
    let scheme = match scheme {
        "https" => Scheme::Https,
        "http" => Scheme::Http,
        other => Scheme::Other(other.to_owned()),
    };
    let method = match given.text("method").unwrap_or_else(|_| "GET".to_owned()).as_str() {
        "GET" => Method::Get,
        "POST" => Method::Post,
        other => Method::Other(other.to_owned()),
    };
    request.set_method(&method).map_err(|()| "bad method")?;
    request.set_scheme(Some(&scheme)).map_err(|()| "bad scheme")?;
    request.set_authority(Some(authority)).map_err(|()| "bad authority")?;
    request.set_path_with_query(Some(path)).map_err(|()| "bad path")?;
    let body = request.body().map_err(|()| "no body")?;
    let future = outgoing_handler::handle(request, Some(options(given)?)).map_err(|error| format!("{error:?}"))?;
    let times = given.number_text("times").ok().and_then(|times| times.parse().ok()).unwrap_or(1);
    send(&body, &with_secret(given.text("body").unwrap_or_default()).repeat(times))?;
    OutgoingBody::finish(body, None).map_err(|error| format!("{error:?}"))?;
    future.subscribe().block();
    let response = future.get().ok_or("not ready")?.map_err(|()| "taken")?.map_err(|error| format!("{error:?}"))?;
    let location = response.headers().get("location").into_iter().next().unwrap_or_default();
    let body = read(&response.consume().map_err(|()| "consumed")?)?;
    Ok(format!("{} {}{body}", response.status(), String::from_utf8_lossy(&location)))
}

/// The placeholder of a secret.
pub(crate) fn placeholder(name: &str) -> Result<String, String> {
    secrets::placeholder(name).map_err(|error| format!("{error:?}"))
}

/// Sends `count` requests without waiting for their answers, and returns how many were begun and the first error.
pub(crate) fn flood(given: &Arguments) -> Result<String, String> {
    let (url, count) = (given.text("url")?, given.number_text("count")?);
    let count: usize = count.parse().map_err(|_| "not a number".to_owned())?;
    let mut begun = Vec::new();
    for _ in 0..count {
        let request = plain(&url)?;
        match outgoing_handler::handle(request, None) {
            Ok(future) => begun.push(future),
            Err(error) => return Ok(format!("{} then {error:?}", begun.len())),
        }
    }
    Ok(format!("{}", begun.len()))
}

/// A GET request for `url`.
fn plain(url: &str) -> Result<OutgoingRequest, String> {
    let (scheme, rest) = url.split_once("://").ok_or("no scheme")?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let request = OutgoingRequest::new(Fields::new());
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    request.set_scheme(Some(&scheme)).map_err(|()| "bad scheme")?;
    request.set_authority(Some(authority)).map_err(|()| "bad authority")?;
    request.set_path_with_query(Some(path)).map_err(|()| "bad path")?;
    Ok(request)
}

fn options(given: &Arguments) -> Result<RequestOptions, String> {
    let options = RequestOptions::new();
    if let Ok(time) = given.number_text("timeout_ms") {
        let time: u64 = time.parse().map_err(|_| "not a number".to_owned())?;
        options.set_first_byte_timeout(Some(time * 1_000_000)).map_err(|()| "no timeout")?;
    }
    Ok(options)
}

fn send(body: &OutgoingBody, text: &str) -> Result<(), String> {
    let stream = body.write().map_err(|()| "no stream")?;
    for chunk in text.as_bytes().chunks(4096) {
        stream.blocking_write_and_flush(chunk).map_err(|error| stream_error(&error))?;
    }
    Ok(())
}

fn stream_error(error: &StreamError) -> String {
    match error {
        StreamError::Closed => "closed".to_owned(),
        StreamError::LastOperationFailed(error) => error.to_debug_string(),
    }
}

/// The body, cut at 200 bytes, with the number of all bytes.
fn read(body: &IncomingBody) -> Result<String, String> {
    let stream = body.stream().map_err(|()| "no stream")?;
    let (mut start, mut total) = (Vec::new(), 0);
    loop {
        match stream.blocking_read(1 << 16) {
            Ok(bytes) => {
                total += bytes.len();
                start.extend(bytes.into_iter().take(200 - start.len().min(200)));
            }
            Err(StreamError::Closed) => return Ok(format!(" {total}: {}", String::from_utf8_lossy(&start))),
            Err(StreamError::LastOperationFailed(error)) => {
                return Err(format!("after {total} bytes: {}", error.to_debug_string()));
            }
        }
    }
}
