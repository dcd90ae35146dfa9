//! Tests with real guests in a real engine. `guests/` holds guests in WebAssembly text, most of them hostile.

mod capabilities;
mod hostile_guests;
mod limits;
mod loading;
mod requests;
mod support;
