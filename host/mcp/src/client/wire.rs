//! What servers say, read leniently: their bytes become messages that rmcp's exact types take, and whatever cannot be
//! read is told, to the request it answers where that can be known.

mod exchange;
mod message;
mod text;
mod tools;

pub(super) use exchange::{Asked, Exchange, Remarks, request_of};
pub(super) use message::{CALL_RESULT, LOST, Reader, SAID, fault};
pub(super) use text::excerpt;
pub(super) use tools::{LEFT_OUT, NAMES};
