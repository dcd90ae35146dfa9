//! The handlers of the endpoints, one file for each subject. `ROUTES` in `http/routes.rs` lists them.

pub(super) mod approvals;
pub(super) mod completions;
pub(super) mod encoders;
pub(super) mod mcp;
pub(super) mod models;
pub(super) mod sessions;
pub(super) mod status;
pub(super) mod usage;
