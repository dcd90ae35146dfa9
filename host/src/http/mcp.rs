//! `/mcp`: the tenant's own tools for MCP clients. Protocol and sessions are `firebox_mcp`'s; the key was read here.

use std::sync::Arc;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, Request, Response};
use firebox_contract::limits;
use firebox_mcp::server::RequestId;
use tower::ServiceExt as _;

use super::{Call, Failure, request_body};
use crate::serve::App;

/// The type of an answer that is a stream.
const EVENTS: &[u8] = b"text/event-stream";

pub(super) async fn mcp(app: Arc<App>, mut call: Call) -> Result<Response<Body>, Failure> {
    let (caller, id) = (call.tenant()?.caller.clone(), call.id.clone());
    // Until the message is answered, or its stream of events has begun.
    let mut _held = None;
    let mut body = Body::empty();
    // Read here, so that a body that never ends is bounded in time too.
    if call.parts.method == Method::POST {
        let max = app.body_bytes_max.min(limits::MCP_BODY_BYTES_MAX);
        let said = request_body::bytes(&app, &mut call, max).await?;
        body = Body::from(said.what);
        _held = Some(said.held);
    }
    if call.parts.method == Method::GET {
        call.open.begin_stream()?;
    }
    let mut request = Request::from_parts(call.parts, body);
    request.extensions_mut().insert(caller);
    request.extensions_mut().insert(RequestId(Arc::from(id)));
    match app.mcp_door.clone().oneshot(request).await {
        Ok(response) => {
            if response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(EVENTS)) {
                call.open.begin_stream()?;
            }
            Ok(response)
        }
        Err(never) => match never {},
    }
}
