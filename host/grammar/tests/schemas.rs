//! The JSON Schema Test Suite, and the cost of masks.

#[path = "schemas/cost.rs"]
mod cost;
#[path = "schemas/suite.rs"]
mod suite;
#[path = "schemas/support.rs"]
mod support;
