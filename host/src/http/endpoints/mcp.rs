//! `/mcp`: the tools of the key's tenant for MCP clients. The MCP service of `firebox_mcp` answers; the middleware has
//! checked the key.

use std::sync::Arc;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, Request, Response};
use firebox_mcp::server::RequestId;
use tower::ServiceExt as _;

use crate::http::{ApiRequest, Failure, body};
use crate::serve::App;

/// The content type of an event stream.
const EVENTS: &[u8] = b"text/event-stream";

/// `POST`, `GET` and `DELETE /mcp`.
pub(in crate::http) async fn mcp(app: Arc<App>, mut request: ApiRequest) -> Result<Response<Body>, Failure> {
    let (caller, id) = (request.tenant()?.caller.clone(), request.id.clone());
    // The bytes of the message stay reserved until it is answered, or until its event stream begins.
    let mut _reserved = None;
    let mut message = Body::empty();
    // The body is read here, so that the limits of bodies apply to it.
    if request.parts.method == Method::POST {
        let body = body::bytes(&app, &mut request).await?;
        message = Body::from(body.value);
        _reserved = Some(body.reserved);
    }
    if request.parts.method == Method::GET {
        request.slot.begin_stream()?;
    }
    let slot = request.slot;
    let mut request = Request::from_parts(request.parts, message);
    request.extensions_mut().insert(caller);
    request.extensions_mut().insert(RequestId(Arc::from(id)));
    match app.mcp_endpoint.clone().oneshot(request).await {
        Ok(response) => {
            if response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(EVENTS)) {
                slot.begin_stream()?;
            }
            Ok(response)
        }
        Err(never) => match never {},
    }
}
