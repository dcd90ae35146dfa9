//! What is known of connections and shared among them.

pub mod address;
