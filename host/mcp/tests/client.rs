//! Tests of the client with servers that misbehave, each in its own process or on its own port.

#[path = "client/calls.rs"]
mod calls;
#[path = "client/failures.rs"]
mod failures;
#[path = "client/harness.rs"]
mod harness;
#[path = "client/http.rs"]
mod http;
#[path = "client/matrix.rs"]
mod matrix;
#[path = "client/pins.rs"]
mod pins;
#[path = "client/pooling.rs"]
mod pooling;
