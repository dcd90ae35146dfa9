//! Lenient reading of messages from servers: bytes become messages that rmcp's strict types accept. If a message cannot be
//! read, the request that it answers fails with the reason. If that request is unknown, the reason is logged.

mod exchange;
mod message;
mod text;
mod tools;

pub(super) use exchange::{Exchange, RequestKind, ServerWarnings, request_of};
pub(super) use message::{CALL_RESULT, CONNECTION_LOST, MessageReader, UNREADABLE, error_answer};
pub(super) use text::excerpt;
pub(super) use tools::{NAMES, REJECTED};
