//! The server as clients see it: lines and requests written by hand, so that rmcp does not judge itself.

mod ended;
mod fake;
mod over_http;
mod over_streams;
