//! How a plugin gets from its author to a host, and what a host accepts: signatures, and the policy about them.

pub mod policy;
pub mod signature;
pub mod source;
