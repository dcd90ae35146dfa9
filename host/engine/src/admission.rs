//! Who may come in: a ticket a request, and a clear refusal when there are none left.

use std::sync::Arc;
use std::time::Duration;

use firebox_contract::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The door of one model.
pub(crate) struct Admission {
    permits: Arc<Semaphore>,
    capacity: usize,
}

/// A place on the road; travels with the request and is given back when that is dropped, on every path.
pub(crate) struct Ticket {
    _permit: OwnedSemaphorePermit,
}

impl Admission {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(capacity)), capacity }
    }

    /// A ticket now, or a refusal now.
    pub(crate) fn admit(&self) -> Result<Ticket, Error> {
        match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => Ok(Ticket { _permit: permit }),
            Err(_) => Err(Error::Limited {
                message: format!(
                    "the model already answers {} requests, which is its limit; try again when one has ended",
                    self.capacity
                ),
                retry_after: Duration::from_secs(1),
            }),
        }
    }
}
