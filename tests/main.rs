//! The whole binary, as its users meet it. One test target, linked once.

mod harness;

mod cases;
#[path = "fuzz/mod.rs"]
mod fuzz;
