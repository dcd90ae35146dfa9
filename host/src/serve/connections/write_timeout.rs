//! A timeout for writes to a client that reads too slowly.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::throughput::MinThroughput;

/// A stream whose writes fail if its peer reads too slowly. Time without anything to write does not count.
#[derive(Debug)]
pub struct WriteTimeout<S> {
    inner: S,
    throughput: MinThroughput,
    /// `Some` while a write waits.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> WriteTimeout<S> {
    /// `inner`, whose peer must read `rate` bytes per second and may be behind by at most `budget`.
    pub fn new(inner: S, budget: Duration, rate: u64) -> Self {
        Self { inner, throughput: MinThroughput::new(budget, rate), deadline: None }
    }

    /// Returns `outcome`, or an error if the peer is too slow. `bytes` is the number of bytes that the peer took.
    fn check<T>(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
        bytes: impl Fn(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        if let Poll::Ready(outcome) = outcome {
            self.deadline = None;
            self.throughput.moved(outcome.as_ref().map_or(0, bytes), Instant::now());
            return Poll::Ready(outcome);
        }
        let until = self.throughput.deadline(Instant::now());
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep_until(until)));
        ready!(deadline.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client read too slowly")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeout<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteTimeout<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.check(context, outcome, |bytes| *bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write_vectored(context, bytes);
        self.check(context, outcome, |bytes| *bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_flush(context);
        self.check(context, outcome, |()| 0)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_shutdown(context);
        self.check(context, outcome, |()| 0)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    /// Writes 2 KiB to a peer that reads `bytes` bytes every `every`, at a minimum rate of 1 KiB/s with half a second of slack.
    async fn write_to(bytes: usize, every: Duration) -> io::Result<()> {
        let (near, mut far) = duplex(16);
        let mut stream = WriteTimeout::new(near, Duration::from_millis(500), 1_024);
        let reads = tokio::spawn(async move {
            let mut taken = vec![0; bytes];
            loop {
                tokio::time::sleep(every).await;
                far.read_exact(&mut taken).await.expect("bytes arrive");
            }
        });
        let outcome = stream.write_all(&[7; 2_048]).await;
        reads.abort();
        outcome
    }

    #[tokio::test]
    async fn a_write_fails_if_the_peer_reads_below_the_minimum_rate() {
        write_to(16, Duration::from_millis(1)).await.expect("slow, but above the minimum rate");
        for (bytes, every) in
            [(1, Duration::from_millis(50)), (16, Duration::from_millis(200)), (1, Duration::from_secs(60))]
        {
            let started = Instant::now();
            let error = write_to(bytes, every).await.expect_err("too slow");
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            let took = started.elapsed();
            assert!(took >= Duration::from_millis(500), "{bytes} bytes every {every:?}: {took:?}");
            assert!(took < Duration::from_secs(10), "{bytes} bytes every {every:?}: {took:?}");
        }
    }

    #[tokio::test]
    async fn time_without_anything_to_write_does_not_count() {
        let (near, mut far) = duplex(16);
        let mut stream = WriteTimeout::new(near, Duration::from_millis(500), 1_024);
        let reads = tokio::spawn(async move {
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.expect("bytes arrive");
            all.len()
        });
        for _ in 0..3 {
            stream.write_all(&[7; 40]).await.expect("it reads at once");
            tokio::time::sleep(Duration::from_millis(600)).await;
        }
        drop(stream);
        assert_eq!(reads.await.expect("reads"), 120);
    }
}
