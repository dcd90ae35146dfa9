//! The commands of operators: the configuration, tenants, devices and the audit log.

pub mod audit;
pub mod config;
pub mod devices;
pub mod lock;
pub mod tenants;
