//! Bodies of requests. They are read within limits of bytes and time, reserved in the budget of request bytes as they
//! arrive, and parsed as JSON of a bounded number of values.

mod content_encoding;
pub(super) mod paced;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use axum::http::{HeaderMap, Response};
use firebox_contract::{json_values, limits};
use futures_util::{Stream, StreamExt as _};
use serde_json::Value;

use super::{ApiRequest, Failure};
use crate::serve::App;
use crate::serve::connections::guarded_body::GuardedBody;
use crate::serve::connections::request_bytes::ReservedBytes;
pub(super) use content_encoding::ACCEPTED;
use content_encoding::{BodyDecoder, ContentEncoding, DecodedBody};

/// A parsed body, with the bytes of the budget that are reserved for it.
pub(super) struct ParsedBody<T> {
    pub(super) value: T,
    pub(super) reserved: ReservedBytes,
}

/// Parses the body as JSON and passes it to `read`. A body of more than `limits::BODY_INLINE_BYTES` is parsed on a thread
/// for blocking work.
///
/// # Errors
/// 400 for a body that is missing or no JSON, 408 for one that comes too slowly, 413 for one above the route's limit, 415
/// for an unknown encoding, 429 and 503 if the budget of request bytes is used up, and the errors of `read`.
pub(super) async fn json<T: Send + 'static>(
    app: &App,
    request: &mut ApiRequest,
    read: impl FnOnce(&Value) -> Result<T, Failure> + Send + 'static,
) -> Result<ParsedBody<T>, Failure> {
    read_json(app, request, false, read).await
}

/// As [`json`]; an empty body is an empty object.
pub(super) async fn json_or_empty<T: Send + 'static>(
    app: &App,
    request: &mut ApiRequest,
    read: impl FnOnce(&Value) -> Result<T, Failure> + Send + 'static,
) -> Result<ParsedBody<T>, Failure> {
    read_json(app, request, true, read).await
}

async fn read_json<T: Send + 'static>(
    app: &App,
    request: &mut ApiRequest,
    may_be_empty: bool,
    read: impl FnOnce(&Value) -> Result<T, Failure> + Send + 'static,
) -> Result<ParsedBody<T>, Failure> {
    let ParsedBody { value: mut bytes, mut reserved } = bytes(app, request).await?;
    if bytes.is_empty() && !may_be_empty {
        return Err(Failure::usage("the request has no body; send a JSON object"));
    }
    if bytes.is_empty() {
        bytes.extend_from_slice(b"{}");
    }
    let length = bytes.len();
    // Both the bytes and the parsed values are in memory.
    reserved.grow(length)?;
    let parse_body = move || {
        let value = parse(&bytes)?;
        drop(bytes);
        read(&value)
    };
    let value = match length <= limits::BODY_INLINE_BYTES {
        true => parse_body()?,
        false => app.body_parsers.run(&request.tenant()?.id, parse_body).await??,
    };
    reserved.shrink_to(length);
    Ok(ParsedBody { value, reserved })
}

/// Parses JSON of at most `limits::JSON_VALUES_MAX` values. A value takes much more memory than the byte or two of its text.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, Failure> {
    let text = text_of(bytes)?;
    check_values(text.as_bytes())?;
    serde_json::from_str(text).map_err(|error| Failure::usage(format!("the request's body is not JSON: {error}")))
}

/// The text of a body, without a byte order mark.
fn text_of(bytes: &[u8]) -> Result<&str, Failure> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let why = match bytes {
            [0x1f, 0x8b, ..] => "; it looks like gzip: set the header \"content-encoding\"",
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "; it looks like UTF-16",
            _ => "",
        };
        Failure::usage(format!("the request's body is not UTF-8 from byte {} on{why}", error.valid_up_to()))
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// Refuses JSON of too many values.
fn check_values(bytes: &[u8]) -> Result<(), Failure> {
    let max = limits::JSON_VALUES_MAX;
    if json_values(bytes, max) > max {
        let message = format!("the request's body has more than {max} JSON values; send fewer in one request");
        return Err(Failure::usage(message));
    }
    Ok(())
}

/// Reads the whole body, decoded, within the route's limit and the budget of request bytes.
///
/// # Errors
/// As [`json`], without those of parsing.
pub(super) async fn bytes(app: &App, request: &mut ApiRequest) -> Result<ParsedBody<Vec<u8>>, Failure> {
    let max = request.body_limit.bytes(app.body_bytes_max);
    let body = std::mem::replace(&mut request.body, Body::empty());
    let reserved = app.request_bytes.begin(&request.tenant()?.id);
    let read = collect(body, reserved, &request.parts.headers, max);
    let read = tokio::time::timeout(limits::HTTP_BODY_TIMEOUT, read).await;
    let read = read.unwrap_or_else(|_| Err(Failure::body_timeout(limits::HTTP_BODY_TIMEOUT)))?;
    // Both headers describe the encoded body.
    if request.parts.headers.remove(CONTENT_ENCODING).is_some() {
        request.parts.headers.remove(CONTENT_LENGTH);
    }
    Ok(read)
}

/// Collects the body. A body that is refused is read to its end and dropped, within limits: a client that still writes
/// would not see the refusal.
async fn collect(
    body: Body,
    reserved: ReservedBytes,
    headers: &HeaderMap,
    max: usize,
) -> Result<ParsedBody<Vec<u8>>, Failure> {
    let mut stream = body.into_data_stream();
    let length: Option<usize> = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let encoding = match length {
        Some(length) if length > max => Err(Failure::body_too_large(max)),
        _ => ContentEncoding::of(headers),
    };
    let mut decoder = match encoding {
        Ok(encoding) => BodyDecoder::new(encoding, reserved, max),
        Err(failure) => {
            drain(&mut stream).await;
            return Err(failure);
        }
    };
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| Failure::body_unreadable(&error))?;
        if let Err(failure) = decoder.push(&chunk).await {
            drop(decoder);
            drain(&mut stream).await;
            return Err(failure);
        }
    }
    let DecodedBody { bytes, reserved, .. } = decoder.finish()?;
    Ok(ParsedBody { value: bytes, reserved })
}

/// Reads and drops at most `limits::HTTP_DISCARD_BYTES_MAX` bytes. Returns whether the body ended.
async fn drain<E>(stream: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin)) -> bool {
    let mut length = 0_usize;
    while let Some(Ok(chunk)) = stream.next().await {
        length += chunk.len();
        if length > limits::HTTP_DISCARD_BYTES_MAX {
            return false;
        }
    }
    true
}

/// Reads and drops the body of a refused request for at most `limits::HTTP_DISCARD_TIME`, so that its connection can be
/// used again. Returns whether the body ended; if not, the connection must be closed.
pub(crate) async fn discard(body: Body) -> bool {
    let mut stream = body.into_data_stream();
    tokio::time::timeout(limits::HTTP_DISCARD_TIME, drain(&mut stream)).await.unwrap_or(false)
}

/// Reserves the bytes of `response` in the budget of request bytes until the client has read them.
///
/// # Errors
/// 429 and 503 if the budget is used up.
pub(super) fn reserve_response(
    app: &App,
    request: &ApiRequest,
    response: Response<Body>,
) -> Result<Response<Body>, Failure> {
    let mut reserved = app.request_bytes.begin(&request.tenant()?.id);
    let bytes = response.body().size_hint().exact().unwrap_or(0);
    reserved.grow(usize::try_from(bytes).unwrap_or(usize::MAX))?;
    Ok(response.map(|body| Body::new(GuardedBody::new(body, reserved))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_must_be_utf_8_and_may_have_a_byte_order_mark() {
        assert_eq!(parse(b"\xef\xbb\xbf{\"a\": 1}").ok(), Some(serde_json::json!({"a": 1})));
        let message = |bytes: &[u8]| parse(bytes).expect_err("not JSON").to_string();
        assert!(message(b"{\"a\": \"caf\xe9\"}").contains("not UTF-8 from byte 10 on"));
        assert!(message(b"\x1f\x8b\x08\x00").contains("content-encoding"));
        assert!(message(b"\xff\xfe{\x00").contains("UTF-16"));
        assert!(message(b"a=1").contains("not JSON"));
    }

    #[test]
    fn a_body_of_too_many_values_is_refused_before_it_is_parsed() {
        let many = format!("[{}]", vec!["[0]"; 1 << 20].join(","));
        let started = std::time::Instant::now();
        let failure = parse(many.as_bytes()).expect_err("too many");
        assert!(failure.to_string().contains("JSON values"), "{failure}");
        assert!(started.elapsed() < std::time::Duration::from_secs(1));
        let text = serde_json::json!({"text": "[[0],".repeat(1 << 20)}).to_string();
        assert!(parse(text.as_bytes()).is_ok(), "a long text is one value");
    }
}
