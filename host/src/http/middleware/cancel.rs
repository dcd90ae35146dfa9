//! The end of requests whose key is revoked or expires: the handler is dropped, or the stream of its answer is cut.
//! Dropping cancels everything that the request holds: a queue slot, a wait for an approval, a tool call, a generation.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::Response;
use axum::http::header::CONTENT_TYPE;
use firebox_contract::LivenessHandle;
use futures_util::task::AtomicWaker;
use hyper::body::{Frame, SizeHint};
use tokio::task::JoinHandle;

use crate::http::Failure;

/// Runs `work`, unless its caller's key is revoked or expires first.
///
/// # Errors
/// The errors of `work`, and the reason why the caller ended.
pub(super) async fn until_caller_ends<T>(
    liveness: &LivenessHandle,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    if !liveness.can_end() {
        return work.await;
    }
    tokio::select! {
        biased;
        error = liveness.ended() => Err(error.into()),
        outcome = work => outcome,
    }
}

/// The response, whose body ends with the caller if it is still being made. If `error_event`, an event stream then ends
/// with an error event in the shape of OpenAI's API.
pub(super) fn end_with_caller(
    liveness: &LivenessHandle,
    error_event: bool,
    id: &str,
    response: Response<Body>,
) -> Response<Body> {
    // A complete body was made while the key was valid.
    if !liveness.can_end() || response.body().size_hint().exact().is_some() {
        return response;
    }
    let kind = response.headers().get(CONTENT_TYPE);
    let events = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    response.map(|body| Body::new(CancellableBody::new(body, liveness, id.to_owned(), events && error_event)))
}

/// A body that ends when its caller ends, also if its client reads nothing.
struct CancellableBody {
    inner: Arc<CancellableInner>,
    watching: JoinHandle<()>,
}

struct CancellableInner {
    state: Mutex<BodyState>,
    reader: AtomicWaker,
}

enum BodyState {
    Open(Body),
    /// It was cut. The bytes are sent last.
    Cut(Option<Bytes>),
}

impl CancellableInner {
    fn state(&self) -> MutexGuard<'_, BodyState> {
        // After a panic of a body the state is that body or `Cut`, both of which are valid.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CancellableBody {
    /// If `error_event`, the last event of a cut body is an error.
    fn new(body: Body, liveness: &LivenessHandle, id: String, error_event: bool) -> Self {
        let inner = Arc::new(CancellableInner { state: Mutex::new(BodyState::Open(body)), reader: AtomicWaker::new() });
        let (ours, ended) = (Arc::clone(&inner), liveness.ended());
        let watching = tokio::spawn(async move {
            let failure = Failure::from(ended.await);
            tracing::info!(request = %id, error = %failure, "a stream was cut because its key is no longer valid");
            let last = serde_json::to_string(&failure.body_for(&id)).ok().filter(|_| error_event);
            let last = last.map(|text| Bytes::from(format!("data: {text}\n\n")));
            let cut = std::mem::replace(&mut *ours.state(), BodyState::Cut(last));
            // Outside the lock, since the drop ends generations and tool calls.
            drop(cut);
            ours.reader.wake();
        });
        Self { inner, watching }
    }
}

impl Drop for CancellableBody {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

impl HttpBody for CancellableBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        // Before the state is read, so that a cut in between wakes the task.
        self.inner.reader.register(context.waker());
        match &mut *self.inner.state() {
            BodyState::Open(body) => Pin::new(body).poll_frame(context),
            BodyState::Cut(last) => Poll::Ready(last.take().map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &*self.inner.state() {
            BodyState::Open(body) => body.is_end_stream(),
            BodyState::Cut(last) => last.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &*self.inner.state() {
            BodyState::Open(body) => body.size_hint(),
            BodyState::Cut(_) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::body::to_bytes;
    use axum::http::HeaderValue;
    use firebox_contract::{BoxFuture, Error, Liveness, Permission};
    use futures_util::stream;
    use tokio::sync::watch;

    use super::*;

    /// Alive until the channel's value is true.
    struct RevocableLiveness(watch::Receiver<bool>);

    impl Liveness for RevocableLiveness {
        fn check(&self) -> Result<(), Error> {
            if *self.0.borrow() { Err(Error::Unauthorized("revoked".to_owned())) } else { Ok(()) }
        }

        fn permission(&self, _tool: &str) -> Permission {
            Permission::Allow
        }

        fn ended(&self) -> BoxFuture<'static, Error> {
            let mut revoked = self.0.clone();
            Box::pin(async move {
                revoked.wait_for(|revoked| *revoked).await.expect("the sender lives");
                Error::Unauthorized("revoked".to_owned())
            })
        }
    }

    fn caller() -> (watch::Sender<bool>, LivenessHandle) {
        let (sender, receiver) = watch::channel(false);
        (sender, LivenessHandle::new(Arc::new(RevocableLiveness(receiver))))
    }

    /// A stream of one event that never ends. It owns `held` until it is dropped.
    fn endless(held: Arc<()>) -> Response<Body> {
        let events = stream::unfold((held, true), |(held, first)| async move {
            if !first {
                std::future::pending::<()>().await;
            }
            Some((Ok::<_, Error>("data: first\n\n"), (held, false)))
        });
        let mut response = Response::new(Body::from_stream(events));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        response
    }

    #[tokio::test]
    async fn a_handler_is_dropped_when_its_key_is_revoked() {
        let (revoke, liveness) = caller();
        let held = Arc::new(());
        let inner = Arc::clone(&held);
        let work = async move {
            let _held = inner;
            std::future::pending::<Result<(), Failure>>().await
        };
        let waits = tokio::spawn(async move { until_caller_ends(&liveness, work).await });
        tokio::task::yield_now().await;
        revoke.send_replace(true);
        let failure = waits.await.expect("ends").expect_err("its caller ended");
        assert_eq!((failure.status().as_u16(), Arc::strong_count(&held)), (401, 1), "what it held was dropped");
    }

    #[tokio::test]
    async fn a_cut_stream_ends_with_an_error_event_where_the_route_has_one() {
        for (error_event, last) in [(true, Some("\"code\":\"unauthorized\"")), (false, None)] {
            let (revoke, liveness) = caller();
            let held = Arc::new(());
            let response = end_with_caller(&liveness, error_event, "req_1", endless(Arc::clone(&held)));
            revoke.send_replace(true);
            // The client reads nothing, and the stream is dropped all the same.
            tokio::time::timeout(Duration::from_secs(20), async {
                while Arc::strong_count(&held) > 1 {
                    tokio::task::yield_now().await;
                }
            })
            .await
            .expect("cut although the client reads nothing");
            let bytes = to_bytes(response.into_body(), 10_000).await.expect("it ends in order");
            let text = String::from_utf8_lossy(&bytes);
            match last {
                Some(last) => assert!(text.contains(last) && text.ends_with("\n\n"), "{text}"),
                None => assert_eq!(text, ""),
            }
        }
    }

    #[tokio::test]
    async fn a_cut_wakes_a_client_that_waits() {
        let (revoke, liveness) = caller();
        let response = end_with_caller(&liveness, true, "req_1", endless(Arc::new(())));
        let reading = tokio::spawn(to_bytes(response.into_body(), 10_000));
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        revoke.send_replace(true);
        let bytes = tokio::time::timeout(Duration::from_secs(20), reading).await.expect("in time").expect("ends");
        let text = String::from_utf8_lossy(&bytes.expect("in order")).into_owned();
        assert!(text.starts_with("data: first\n\n") && text.contains("unauthorized"), "{text}");
    }

    #[tokio::test]
    async fn a_complete_body_is_not_cut() {
        let (revoke, liveness) = caller();
        let response = end_with_caller(&liveness, true, "req_1", Response::new(Body::from("whole")));
        revoke.send_replace(true);
        tokio::task::yield_now().await;
        assert_eq!(to_bytes(response.into_body(), 100).await.expect("whole"), "whole");
    }
}
