//! A stream that fails when its peer takes what is written to it too slowly: a slow reader costs no more than its buffers.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::pace::Pace;

/// A stream whose writes fail once its peer is too far behind a minimum rate. Time in which there is nothing to write does
/// not count.
#[derive(Debug)]
pub struct Stalling<S> {
    inner: S,
    pace: Pace,
    /// Runs while a write waits.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> Stalling<S> {
    /// `inner`, whose peer has to take `rate` bytes a second, or be behind that by `budget` at most.
    pub fn new(inner: S, budget: Duration, rate: u64) -> Self {
        Self { inner, pace: Pace::new(budget, rate), deadline: None }
    }

    /// Passes `outcome` on, unless the peer is too slow. `bytes` of it are the peer's.
    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
        bytes: impl Fn(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        if let Poll::Ready(outcome) = outcome {
            self.deadline = None;
            self.pace.moved(outcome.as_ref().map_or(0, bytes), Instant::now());
            return Poll::Ready(outcome);
        }
        let until = self.pace.waits(Instant::now());
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep_until(until)));
        ready!(deadline.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the reader takes too little for too long")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stalling<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stalling<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.watch(context, outcome, |bytes| *bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write_vectored(context, bytes);
        self.watch(context, outcome, |bytes| *bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_flush(context);
        self.watch(context, outcome, |()| 0)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_shutdown(context);
        self.watch(context, outcome, |()| 0)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    /// What becomes of 2 KiB for a reader that takes `bytes` every `every`, where it may be half a second behind a KiB a
    /// second.
    async fn write_to(bytes: usize, every: Duration) -> io::Result<()> {
        let (near, mut far) = duplex(16);
        let mut stalling = Stalling::new(near, Duration::from_millis(500), 1_024);
        let reads = tokio::spawn(async move {
            let mut taken = vec![0; bytes];
            loop {
                tokio::time::sleep(every).await;
                far.read_exact(&mut taken).await.expect("bytes come");
            }
        });
        let outcome = stalling.write_all(&[7; 2_048]).await;
        reads.abort();
        outcome
    }

    #[tokio::test]
    async fn a_reader_that_takes_too_little_is_given_up_and_a_slow_one_is_not() {
        write_to(16, Duration::from_millis(1)).await.expect("slow, and fast enough");
        for (bytes, every) in
            [(1, Duration::from_millis(50)), (16, Duration::from_millis(200)), (1, Duration::from_secs(60))]
        {
            let begun = Instant::now();
            let error = write_to(bytes, every).await.expect_err("too slow");
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            let took = begun.elapsed();
            assert!(took >= Duration::from_millis(500), "{bytes} bytes every {every:?}: {took:?}");
            assert!(took < Duration::from_secs(10), "{bytes} bytes every {every:?}: {took:?}");
        }
    }

    #[tokio::test]
    async fn a_writer_with_nothing_to_say_does_not_count_against_its_reader() {
        let (near, mut far) = duplex(16);
        let mut stalling = Stalling::new(near, Duration::from_millis(500), 1_024);
        let reads = tokio::spawn(async move {
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.expect("bytes come");
            all.len()
        });
        for _ in 0..3 {
            stalling.write_all(&[7; 40]).await.expect("it reads at once");
            tokio::time::sleep(Duration::from_millis(600)).await;
        }
        drop(stalling);
        assert_eq!(reads.await.expect("reads"), 120);
    }
}
