//! Bodies of requests: read within limits of bytes and time, charged to the budget as they arrive, and read as JSON of a
//! bounded number of values.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use axum::http::{HeaderMap, Response};
use firebox_contract::{json_values, limits};
use futures_util::{Stream, StreamExt as _};
use serde_json::Value;

use super::content_encoding::{BodyBytes, BodyDecoder, ContentEncoding};
use super::{Call, Failure};
use crate::serve::App;
use crate::serve::request_bytes::HeldBytes;

/// What a body says, with the bytes that are held for it.
pub(super) struct Said<T> {
    pub(super) what: T,
    pub(super) held: HeldBytes,
}

/// What `read` makes of the body's JSON. A long body is read on a thread for blocking work.
pub(super) async fn json<T: Send + 'static>(
    app: &App,
    call: &mut Call,
    read: impl FnOnce(&Value) -> Result<T, Failure> + Send + 'static,
) -> Result<Said<T>, Failure> {
    said(app, call, app.body_bytes_max, false, read).await
}

/// As [`json`]; no body is an empty object.
pub(super) async fn json_or_nothing<T: Send + 'static>(
    app: &App,
    call: &mut Call,
    read: impl FnOnce(&Value) -> Result<T, Failure> + Send + 'static,
) -> Result<Said<T>, Failure> {
    said(app, call, app.body_bytes_max, true, read).await
}

/// As [`json`], of `max` bytes.
pub(super) async fn short_json<T: Send + 'static>(
    app: &App,
    call: &mut Call,
    max: usize,
    read: impl FnOnce(&Value) -> Result<T, Failure> + Send + 'static,
) -> Result<Said<T>, Failure> {
    said(app, call, max.min(app.body_bytes_max), false, read).await
}

async fn said<T: Send + 'static>(
    app: &App,
    call: &mut Call,
    max: usize,
    may_be_empty: bool,
    read: impl FnOnce(&Value) -> Result<T, Failure> + Send + 'static,
) -> Result<Said<T>, Failure> {
    let Said { what: mut bytes, mut held } = bytes(app, call, max).await?;
    if bytes.is_empty() && !may_be_empty {
        return Err(Failure::usage("the request has no body; send a JSON object"));
    }
    if bytes.is_empty() {
        bytes.extend_from_slice(b"{}");
    }
    let length = bytes.len();
    // As it came, and as it is read.
    held.grow(length)?;
    let work = move || {
        let value = parse(&bytes)?;
        drop(bytes);
        read(&value)
    };
    let what = match length <= limits::BODY_INLINE_BYTES {
        true => work()?,
        false => app.readings.run(&call.tenant()?.id, work).await??,
    };
    held.shrink_to(length);
    Ok(Said { what, held })
}

/// JSON of a bounded number of values: each takes many times the byte or two it may be written as.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, Failure> {
    let text = text_of(bytes)?;
    check_values(text.as_bytes())?;
    serde_json::from_str(text).map_err(|error| Failure::usage(format!("the request's body is not JSON: {error}")))
}

/// The text of a body, without the mark of its encoding with which some clients begin.
fn text_of(bytes: &[u8]) -> Result<&str, Failure> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let why = match bytes {
            [0x1f, 0x8b, ..] => "; it looks like gzip, which the header content-encoding has to say",
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "; it looks like UTF-16",
            _ => "",
        };
        Failure::usage(format!("the request's body is not UTF-8 from byte {} on{why}", error.valid_up_to()))
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// Refuses JSON of too many values.
pub(super) fn check_values(bytes: &[u8]) -> Result<(), Failure> {
    let max = limits::JSON_VALUES_MAX;
    if json_values(bytes, max) > max {
        let message = format!("the request's body has more than {max} JSON values; send less at a time");
        return Err(Failure::usage(message));
    }
    Ok(())
}

/// The whole body, decoded, of `max` bytes at most, and held in the budget.
pub(super) async fn bytes(app: &App, call: &mut Call, max: usize) -> Result<Said<Vec<u8>>, Failure> {
    let body = std::mem::replace(&mut call.body, Body::empty());
    let held = app.request_bytes.begin(&call.tenant()?.id);
    let read = tokio::time::timeout(limits::HTTP_BODY_TIMEOUT, collect(body, held, &call.parts.headers, max)).await;
    let said = read.unwrap_or_else(|_| Err(Failure::slow(limits::HTTP_BODY_TIMEOUT)))?;
    // They are about the body as it came.
    if call.parts.headers.remove(CONTENT_ENCODING).is_some() {
        call.parts.headers.remove(CONTENT_LENGTH);
    }
    Ok(said)
}

/// What cannot be taken is read on for a while and thrown away: a client that still writes would not hear the refusal.
async fn collect(body: Body, held: HeldBytes, headers: &HeaderMap, max: usize) -> Result<Said<Vec<u8>>, Failure> {
    let mut stream = body.into_data_stream();
    let length: Option<usize> = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let encoding = match length {
        Some(length) if length > max => Err(Failure::body(max)),
        _ => ContentEncoding::of(headers),
    };
    let mut decoder = match encoding {
        Ok(encoding) => BodyDecoder::new(encoding, held, max),
        Err(failure) => {
            throw_away(&mut stream).await;
            return Err(failure);
        }
    };
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| Failure::unread(&error))?;
        if let Err(failure) = decoder.take(&chunk).await {
            drop(decoder);
            throw_away(&mut stream).await;
            return Err(failure);
        }
    }
    let BodyBytes { bytes, held, .. } = decoder.finish()?;
    Ok(Said { what: bytes, held })
}

/// Reads on, up to a limit. Whether that was all.
async fn throw_away<E>(stream: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin)) -> bool {
    let mut length = 0_usize;
    while let Some(Ok(chunk)) = stream.next().await {
        length += chunk.len();
        if length > limits::HTTP_DISCARD_BYTES_MAX {
            return false;
        }
    }
    true
}

/// Throws away what a client writes that is refused, for a while, so that its connection can go on. Whether that was all;
/// if not the connection must be closed, and the client told.
pub(crate) async fn discard(body: Body) -> bool {
    let mut stream = body.into_data_stream();
    tokio::time::timeout(limits::HTTP_DISCARD_TIME, throw_away(&mut stream)).await.unwrap_or(false)
}

/// `response`, whose body is held in the budget of request bytes for as long as its client reads it.
pub(super) fn held_while_read(app: &App, call: &Call, response: Response<Body>) -> Result<Response<Body>, Failure> {
    let mut held = app.request_bytes.begin(&call.tenant()?.id);
    let bytes = response.body().size_hint().exact().unwrap_or(0);
    held.grow(usize::try_from(bytes).unwrap_or(usize::MAX))?;
    Ok(response.map(|body| with(body, held)))
}

/// `body` with something that is kept until it has ended or its reader is gone.
pub(super) fn with<T: Send + Unpin + 'static>(body: Body, kept: T) -> Body {
    Body::new(With { body, _kept: kept })
}

struct With<T> {
    body: Body,
    _kept: T,
}

impl<T: Unpin> HttpBody for With<T> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_utf_8_with_a_mark_or_without() {
        assert_eq!(parse(b"\xef\xbb\xbf{\"a\": 1}").ok(), Some(serde_json::json!({"a": 1})));
        let words = |bytes: &[u8]| parse(bytes).expect_err("not JSON").to_string();
        assert!(words(b"{\"a\": \"caf\xe9\"}").contains("not UTF-8 from byte 10 on"));
        assert!(words(b"\x1f\x8b\x08\x00").contains("content-encoding"));
        assert!(words(b"\xff\xfe{\x00").contains("UTF-16"));
        assert!(words(b"a=1").contains("not JSON"));
    }

    #[test]
    fn a_body_of_many_values_is_refused_before_it_is_read() {
        let many = format!("[{}]", vec!["[0]"; 1 << 20].join(","));
        let started = std::time::Instant::now();
        let failure = parse(many.as_bytes()).expect_err("too many");
        assert!(failure.to_string().contains("JSON values"), "{failure}");
        assert!(started.elapsed() < std::time::Duration::from_secs(1));
        let text = serde_json::json!({"text": "[[0],".repeat(1 << 20)}).to_string();
        assert!(parse(text.as_bytes()).is_ok(), "a long text is one value");
    }
}
