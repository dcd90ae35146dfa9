//! A minimum rate for the bodies of requests.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use firebox_contract::limits;
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::serve::connections::throughput::MinThroughput;

/// A body that fails if its client sends it too slowly.
pub(in crate::http) struct PacedBody {
    body: Body,
    throughput: MinThroughput,
    /// `Some` while the body waits for the next frame.
    deadline: Option<Pin<Box<Sleep>>>,
}

/// The client sent a body too slowly.
#[derive(Debug, thiserror::Error)]
#[error("the body arrived too slowly")]
pub(in crate::http) struct SlowBody;

impl PacedBody {
    /// Applies `limits::HTTP_BODY_STALL_TIMEOUT` and `limits::HTTP_BODY_BYTES_PER_SECOND_MIN` to `body`.
    pub(in crate::http) fn new(body: Body) -> Self {
        Self::within(body, MinThroughput::new(limits::HTTP_BODY_STALL_TIMEOUT, limits::HTTP_BODY_BYTES_PER_SECOND_MIN))
    }

    fn within(body: Body, throughput: MinThroughput) -> Self {
        Self { body, throughput, deadline: None }
    }
}

/// Whether the body could not be read because its client was too slow.
pub(in crate::http) fn is_slow(error: &axum::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<SlowBody>() {
            return true;
        }
        cause = error.source();
    }
    false
}

impl HttpBody for PacedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
            this.throughput.moved(data.map_or(0, Bytes::len), Instant::now());
            this.deadline = None;
            return Poll::Ready(frame);
        }
        let until = this.throughput.deadline(Instant::now());
        let deadline = this.deadline.get_or_insert_with(|| Box::pin(sleep_until(until)));
        std::task::ready!(deadline.as_mut().poll(context));
        Poll::Ready(Some(Err(axum::Error::new(SlowBody))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use futures_util::StreamExt as _;
    use futures_util::stream::unfold;

    use super::*;

    /// Reads `count` chunks of `bytes` bytes that arrive `every` apart, at a minimum rate of 1 KiB/s with half a second of
    /// slack. Returns the number of bytes, or an error if the client was too slow.
    async fn read(count: usize, bytes: usize, every: Duration) -> Result<usize, ()> {
        let chunks = unfold(count, move |left| async move {
            let left = left.checked_sub(1)?;
            tokio::time::sleep(every).await;
            Some((Ok::<_, Infallible>(Bytes::from(vec![b'x'; bytes])), left))
        });
        let throughput = MinThroughput::new(Duration::from_millis(500), 1_024);
        let paced = PacedBody::within(Body::from_stream(chunks.boxed()), throughput);
        let (mut chunks, mut length) = (Body::new(paced).into_data_stream(), 0);
        while let Some(chunk) = chunks.next().await {
            match chunk {
                Ok(chunk) => length += chunk.len(),
                Err(error) => {
                    assert!(is_slow(&error), "{error}");
                    return Err(());
                }
            }
        }
        Ok(length)
    }

    #[tokio::test]
    async fn a_body_below_the_minimum_rate_fails_and_a_slow_one_above_it_is_read() {
        assert_eq!(read(1_000, 1, Duration::from_millis(50)).await, Err(()));
        assert_eq!(read(2, 1, Duration::from_secs(60)).await, Err(()));
        assert_eq!(read(10, 4_096, Duration::from_millis(100)).await, Ok(40_960));
    }
}
