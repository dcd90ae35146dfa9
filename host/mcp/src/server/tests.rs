//! Tests of the server with lines and requests written by hand, so that rmcp is not tested with itself.

mod ended;
mod fake;
mod over_http;
mod over_streams;
