//! Connections: their limits of number, time and rate, the addresses of their clients, and the checks of host and origin.

pub mod address;
pub mod cors;
pub mod counters;
pub mod files;
pub mod guarded_body;
pub mod listener;
pub mod open_requests;
pub mod origin;
pub mod request_bytes;
pub mod table;
pub mod throughput;
pub mod write_timeout;

use firebox_contract::Error;

use counters::Refusal;

impl Refusal {
    /// The error for a client whose connection is refused.
    #[must_use]
    pub fn error(self) -> Error {
        match self {
            Self::Address => Error::Limited {
                message: "your address has its maximum number of connections; close some, or send a valid key"
                    .to_owned(),
                retry_after: std::time::Duration::from_secs(1),
            },
            _ => Error::Unavailable("the server has its maximum number of connections; retry soon".to_owned()),
        }
    }
}
