//! Requests end with their caller: a handler is dropped, and the stream of an answer is cut, when the key is no longer
//! good. Dropping is what cancels: a place in a queue, a wait for an approval, a tool call and a generation go with it.

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

use super::Failure;

/// `work`, unless its caller ends first.
pub(super) async fn while_alive<T>(
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

/// The response, whose body ends with the caller if it is still being made. An event stream ends with an event that says
/// why, in the shape of the API; one of `/mcp` only ends.
pub(super) fn cut_with(liveness: &LivenessHandle, path: &str, id: &str, response: Response<Body>) -> Response<Body> {
    // What is complete already was made while the caller was alive.
    if !liveness.can_end() || response.body().size_hint().exact().is_some() {
        return response;
    }
    let kind = response.headers().get(CONTENT_TYPE);
    let events = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    let told = events && path != "/mcp";
    response.map(|body| Body::new(Cuttable::new(body, liveness, id.to_owned(), told)))
}

/// A body that somebody else can end. A reader that reads nothing does not keep it.
struct Cuttable {
    shared: Arc<Shared>,
    watching: JoinHandle<()>,
}

struct Shared {
    state: Mutex<State>,
    reader: AtomicWaker,
}

enum State {
    Open(Body),
    /// It was cut, and this comes last.
    Cut(Option<Bytes>),
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic of a body leaves a body that panics again, or that was cut.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cuttable {
    /// `told` says that the last event tells why it was cut.
    fn new(body: Body, liveness: &LivenessHandle, id: String, told: bool) -> Self {
        let shared = Arc::new(Shared { state: Mutex::new(State::Open(body)), reader: AtomicWaker::new() });
        let (ours, ended) = (Arc::clone(&shared), liveness.ended());
        let watching = tokio::spawn(async move {
            let failure = Failure::from(ended.await);
            tracing::info!(request = %id, error = %failure, "the caller ended, and its stream with it");
            let last = serde_json::to_string(&failure.body_for(&id)).ok().filter(|_| told);
            let last = last.map(|text| Bytes::from(format!("data: {text}\n\n")));
            let cut = std::mem::replace(&mut *ours.state(), State::Cut(last));
            // Not under the lock: this ends generations and tool calls.
            drop(cut);
            ours.reader.wake();
        });
        Self { shared, watching }
    }
}

impl Drop for Cuttable {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

impl HttpBody for Cuttable {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        // Before the look, so that a cut in between is not missed.
        self.shared.reader.register(context.waker());
        match &mut *self.shared.state() {
            State::Open(body) => Pin::new(body).poll_frame(context),
            State::Cut(last) => Poll::Ready(last.take().map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &*self.shared.state() {
            State::Open(body) => body.is_end_stream(),
            State::Cut(last) => last.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &*self.shared.state() {
            State::Open(body) => body.size_hint(),
            State::Cut(_) => SizeHint::default(),
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

    /// Alive until it is told.
    struct Told(watch::Receiver<bool>);

    impl Liveness for Told {
        fn check(&self) -> Result<(), Error> {
            if *self.0.borrow() { Err(Error::Unauthorized("revoked".to_owned())) } else { Ok(()) }
        }

        fn permission(&self, _tool: &str) -> Permission {
            Permission::Allow
        }

        fn ended(&self) -> BoxFuture<'static, Error> {
            let mut told = self.0.clone();
            Box::pin(async move {
                told.wait_for(|told| *told).await.expect("the sender lives");
                Error::Unauthorized("revoked".to_owned())
            })
        }
    }

    fn caller() -> (watch::Sender<bool>, LivenessHandle) {
        let (sender, receiver) = watch::channel(false);
        (sender, LivenessHandle::new(Arc::new(Told(receiver))))
    }

    /// An event and then nothing, for as long as `held` is not dropped with it.
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
    async fn a_handler_ends_with_its_caller() {
        let (tell, liveness) = caller();
        let held = Arc::new(());
        let inner = Arc::clone(&held);
        let work = async move {
            let _held = inner;
            std::future::pending::<Result<(), Failure>>().await
        };
        let waits = tokio::spawn(async move { while_alive(&liveness, work).await });
        tokio::task::yield_now().await;
        tell.send_replace(true);
        let failure = waits.await.expect("ends").expect_err("its caller ended");
        assert_eq!((failure.status().as_u16(), Arc::strong_count(&held)), (401, 1), "and what it held is free");
    }

    #[tokio::test]
    async fn a_stream_ends_with_its_caller_and_says_why() {
        for (path, last) in [("/v1/chat/completions", Some("\"code\":\"unauthorized\"")), ("/mcp", None)] {
            let (tell, liveness) = caller();
            let held = Arc::new(());
            let response = cut_with(&liveness, path, "req_1", endless(Arc::clone(&held)));
            tell.send_replace(true);
            // Nobody reads yet, and all the same what it held is given back.
            tokio::time::timeout(Duration::from_secs(20), async {
                while Arc::strong_count(&held) > 1 {
                    tokio::task::yield_now().await;
                }
            })
            .await
            .expect("cut although nobody reads");
            let bytes = to_bytes(response.into_body(), 10_000).await.expect("it ends in order");
            let text = String::from_utf8_lossy(&bytes);
            match last {
                Some(last) => assert!(text.contains(last) && text.ends_with("\n\n"), "{text}"),
                None => assert_eq!(text, ""),
            }
        }
    }

    #[tokio::test]
    async fn a_reader_that_waits_is_woken() {
        let (tell, liveness) = caller();
        let response = cut_with(&liveness, "/v1/completions", "req_1", endless(Arc::new(())));
        let reading = tokio::spawn(to_bytes(response.into_body(), 10_000));
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        tell.send_replace(true);
        let bytes = tokio::time::timeout(Duration::from_secs(20), reading).await.expect("in time").expect("ends");
        let text = String::from_utf8_lossy(&bytes.expect("in order")).into_owned();
        assert!(text.starts_with("data: first\n\n") && text.contains("unauthorized"), "{text}");
    }

    #[tokio::test]
    async fn what_is_complete_stays_as_it_is() {
        let (tell, liveness) = caller();
        let response = cut_with(&liveness, "/v1/models", "req_1", Response::new(Body::from("whole")));
        tell.send_replace(true);
        tokio::task::yield_now().await;
        assert_eq!(to_bytes(response.into_body(), 100).await.expect("whole"), "whole");
    }
}
