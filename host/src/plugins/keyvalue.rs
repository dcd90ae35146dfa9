//! The key-value buckets of plugins, in one SQLite file. One thread owns the connection. It starts, and the file is opened, when
//! a plugin first uses a bucket.
//!
//! A call waits for the thread without holding one. A tenant has at most `KEYVALUE_CALLS_PER_TENANT_MAX` calls in the queue, so
//! that the calls of others are not behind all of its own.

mod database;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

use firebox_contract::{BoxFuture, TenantId, limits};
use firebox_sandbox::{BucketId, KeyValueAnswer, KeyValueError, KeyValueOperation, KeyValueStore};
use tokio::sync::{Semaphore, mpsc, oneshot};

use self::database::Database;

/// One call for the thread.
struct Job {
    bucket: BucketId,
    operation: KeyValueOperation,
    answer: oneshot::Sender<Result<KeyValueAnswer, KeyValueError>>,
}

/// A store in one file.
pub struct SqliteBuckets {
    path: PathBuf,
    file_bytes_max: u64,
    /// The queue of the thread, once it was started.
    jobs: OnceLock<mpsc::Sender<Job>>,
    /// The calls that each tenant may have in the queue.
    shares: Mutex<HashMap<TenantId, Arc<Semaphore>>>,
}

impl SqliteBuckets {
    /// A store in the file `path`, or in memory for `:memory:`, of at most `file_bytes_max` bytes.
    #[must_use]
    pub fn new(path: PathBuf, file_bytes_max: u64) -> Self {
        Self { path, file_bytes_max, jobs: OnceLock::new(), shares: Mutex::default() }
    }

    fn share(&self, tenant: &TenantId) -> Arc<Semaphore> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if shares.len() >= limits::KEYVALUE_TENANTS_CACHED {
            // A share without a call is as good as a new one.
            shares.retain(|_, share| Arc::strong_count(share) > 1);
        }
        let new = || Arc::new(Semaphore::new(limits::KEYVALUE_CALLS_PER_TENANT_MAX));
        Arc::clone(shares.entry(tenant.clone()).or_insert_with(new))
    }

    fn jobs(&self) -> mpsc::Sender<Job> {
        let start = || {
            let (sender, receiver) = mpsc::channel(limits::KEYVALUE_CALLS_WAITING_MAX);
            let (path, file_bytes_max) = (self.path.clone(), self.file_bytes_max);
            let thread = thread::Builder::new().name("firebox-keyvalue".to_owned());
            // Without the thread the receiver is gone, and each call answers that the store is not available.
            if let Err(error) = thread.spawn(move || work(&path, file_bytes_max, receiver)) {
                tracing::warn!(%error, "the thread of the key-value store cannot be started");
            }
            sender
        };
        self.jobs.get_or_init(start).clone()
    }
}

/// Runs the calls one after the other, until the store is dropped.
fn work(path: &std::path::Path, file_bytes_max: u64, mut jobs: mpsc::Receiver<Job>) {
    let mut database = None;
    while let Some(Job { bucket, operation, answer }) = jobs.blocking_recv() {
        if answer.is_closed() {
            // The plugin no longer waits, so its call has not begun.
            continue;
        }
        let opened = match database.take() {
            Some(opened) => Ok(opened),
            None => Database::open(path, file_bytes_max),
        };
        let result = match opened {
            Ok(mut opened) => {
                let result = opened.run(&bucket, operation);
                database = Some(opened);
                result
            }
            Err(error) => {
                // The path is for the operator's log, and not for the plugin.
                tracing::warn!(path = %path.display(), %error, "the key-value store cannot be opened");
                Err(not_available())
            }
        };
        // The plugin may have stopped waiting.
        let _unread = answer.send(result);
    }
}

fn not_available() -> KeyValueError {
    KeyValueError::Unavailable("the key-value store is not available".to_owned())
}

impl KeyValueStore for SqliteBuckets {
    fn run(
        &self,
        bucket: BucketId,
        operation: KeyValueOperation,
    ) -> BoxFuture<'static, Result<KeyValueAnswer, KeyValueError>> {
        let (share, jobs) = (self.share(&bucket.tenant), self.jobs());
        Box::pin(async move {
            // The semaphore is never closed.
            let _permit = share.acquire().await.map_err(|_| not_available())?;
            let (answer, answered) = oneshot::channel();
            jobs.send(Job { bucket, operation, answer }).await.map_err(|_| not_available())?;
            answered.await.unwrap_or_else(|_| Err(not_available()))
        })
    }
}
