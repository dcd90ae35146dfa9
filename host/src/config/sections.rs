//! The sections of a configuration, and the types of their values.

pub(super) mod hub;
pub(super) mod keyvalue;
pub(super) mod mcp;
pub(super) mod models;
pub(super) mod network;
pub(super) mod origin;
pub(super) mod plugins;
pub(super) mod secret;
pub(super) mod server;
pub(super) mod tenants;
