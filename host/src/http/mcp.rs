//! `/mcp`: the tenant's own tools for MCP clients. Protocol and sessions are `firebox_mcp`'s; the key was read here.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, Response};
use tower::ServiceExt as _;

use super::{Call, Failure};
use crate::serve::App;

pub(super) async fn mcp(app: Arc<App>, call: Call) -> Result<Response<Body>, Failure> {
    let caller = call.tenant()?.caller.clone();
    let mut request = Request::from_parts(call.parts, call.body);
    request.extensions_mut().insert(caller);
    match app.mcp_door.clone().oneshot(request).await {
        Ok(response) => Ok(response),
        Err(never) => match never {},
    }
}
