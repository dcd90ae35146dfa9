//! The body of a request, which has to come fast enough.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use firebox_contract::limits;
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::serve::connections::pace::Pace;

/// A body that fails once its client is too far behind a minimum rate.
pub(super) struct PacedBody {
    body: Body,
    pace: Pace,
    /// Runs while a frame is waited for.
    deadline: Option<Pin<Box<Sleep>>>,
}

/// Why a body ends early.
#[derive(Debug, thiserror::Error)]
#[error("it came too slowly")]
pub(super) struct SlowBody;

impl PacedBody {
    /// `body` under the limits of bodies.
    pub(super) fn new(body: Body) -> Self {
        Self::within(body, Pace::new(limits::HTTP_BODY_STALL_TIMEOUT, limits::HTTP_BODY_BYTES_PER_SECOND_MIN))
    }

    fn within(body: Body, pace: Pace) -> Self {
        Self { body, pace, deadline: None }
    }
}

/// Whether `error`, of reading a body, comes from a client that is too slow.
pub(super) fn is_slow(error: &axum::Error) -> bool {
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
            this.pace.moved(data.map_or(0, Bytes::len), Instant::now());
            this.deadline = None;
            return Poll::Ready(frame);
        }
        let until = this.pace.waits(Instant::now());
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

    /// Reads `count` chunks of `bytes`, of which one comes every `every`, where the client may be half a second behind a KiB
    /// a second: how many bytes, or that it was too slow.
    async fn read(count: usize, bytes: usize, every: Duration) -> Result<usize, ()> {
        let chunks = unfold(count, move |left| async move {
            let left = left.checked_sub(1)?;
            tokio::time::sleep(every).await;
            Some((Ok::<_, Infallible>(Bytes::from(vec![b'x'; bytes])), left))
        });
        let pace = Pace::new(Duration::from_millis(500), 1_024);
        let paced = PacedBody::within(Body::from_stream(chunks.boxed()), pace);
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
    async fn a_body_that_drips_is_given_up_and_a_slow_one_is_read() {
        assert_eq!(read(1_000, 1, Duration::from_millis(50)).await, Err(()));
        assert_eq!(read(2, 1, Duration::from_secs(60)).await, Err(()));
        assert_eq!(read(10, 4_096, Duration::from_millis(100)).await, Ok(40_960));
    }
}
