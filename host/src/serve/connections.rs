//! Connections of a listener: whose they are, how many each may have, and how fast they have to be.

pub mod address;
pub mod counters;
pub mod files;
pub mod guarded;
pub mod pace;
pub mod stall;
pub mod table;
pub mod tenants;

use firebox_contract::Error;

use counters::Refusal;

impl Refusal {
    /// What a client is told whose connection finds no room.
    #[must_use]
    pub fn error(self) -> Error {
        match self {
            Self::Address => Error::Limited {
                message:
                    "your address has all the connections it may have; close some, or send a key that is known here"
                        .to_owned(),
                retry_after: std::time::Duration::from_secs(1),
            },
            _ => Error::Unavailable("the server has all the connections it may have; try again soon".to_owned()),
        }
    }
}
