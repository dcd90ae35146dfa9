//! One tool call, with progress notifications and cancellation. A failure becomes a readable result.

use firebox_contract::{Caller, Error, Progress, ToolCall, ToolOutcome, limits};
use rmcp::model::{CallToolRequestParams, CallToolResult, ProgressNotificationParam, ProgressToken};
use rmcp::service::{Peer, RequestContext};
use rmcp::{ErrorData, RoleServer};
use tokio::sync::mpsc;

use super::{RequestId, ServerContext, content};

/// A progress report: done, total and message.
type ProgressUpdate = (f64, Option<f64>, Option<String>);

/// Runs the call `request`. Dropping the future cancels the call, as does a cancellation by the client or the end of the caller.
///
/// # Errors
/// A protocol error for a tool that this caller does not have, and for a cancelled call.
pub(super) async fn run(
    shared: &ServerContext,
    caller: &Caller,
    request: CallToolRequestParams,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResult, ErrorData> {
    let arguments = request.arguments.unwrap_or_default();
    let call = ToolCall {
        id: context.id.to_string(),
        name: request.name.into_owned(),
        arguments_json: serde_json::Value::Object(arguments).to_string(),
    };
    let Some(_permit) = shared.calls.take(&caller.tenant, caller.in_flight_max) else {
        return Ok(content::failure(&busy(shared, caller)));
    };
    let outcome = tokio::select! {
        biased;
        error = caller.liveness.ended() => Err(error),
        outcome = with_progress(shared, caller, &call, context) => outcome,
        () = context.ct.cancelled() => return Err(ErrorData::internal_error("the call was cancelled", None)),
    };
    match outcome {
        Ok(outcome) => Ok(content::result(&call.name, &outcome)),
        Err(Error::NotFound(message)) => Err(ErrorData::invalid_params(message, None)),
        Err(error) => Ok(content::failure(&error)),
    }
}

fn busy(shared: &ServerContext, caller: &Caller) -> Error {
    let message = format!(
        "too many tool calls at the same time: tenant \"{}\" may have {} and {} run in total; try again when one has ended",
        caller.tenant,
        caller.in_flight_max,
        shared.calls.taken()
    );
    Error::Limited { message, retry_after: limits::MCP_RETRY_AFTER }
}

/// Runs the call. If the client asked for progress, its reports are sent as notifications while the call runs.
async fn with_progress(
    shared: &ServerContext,
    caller: &Caller,
    call: &ToolCall,
    context: &RequestContext<RoleServer>,
) -> Result<ToolOutcome, Error> {
    let request = context.extensions.get::<::http::request::Parts>();
    let request = request.and_then(|parts| parts.extensions.get::<RequestId>()).map(|id| &*id.0);
    let Some(token) = context.meta.get_progress_token() else {
        return shared.source.call_within(caller, request, call, &()).await;
    };
    let (sender, reports) = mpsc::channel(limits::PLUGIN_PROGRESS_BUFFERED_MAX);
    let running = async move {
        let reporter = ProgressReporter(sender);
        shared.source.call_within(caller, request, call, &reporter).await
        // The reporter is dropped here. The notifications then end, so none of them follows the result.
    };
    let (outcome, ()) = tokio::join!(running, send_progress(&context.peer, token, reports));
    outcome
}

/// Receives progress reports without blocking. If the client reads slowly, reports are dropped.
struct ProgressReporter(mpsc::Sender<ProgressUpdate>);

impl Progress for ProgressReporter {
    fn report(&self, done: f64, total: Option<f64>, message: Option<&str>) {
        let _missed = self.0.try_send((done, total, message.map(str::to_owned)));
    }
}

async fn send_progress(peer: &Peer<RoleServer>, token: ProgressToken, mut reports: mpsc::Receiver<ProgressUpdate>) {
    let mut last = f64::NEG_INFINITY;
    while let Some((done, total, message)) = reports.recv().await {
        // The protocol requires that progress grows.
        if done <= last {
            continue;
        }
        last = done;
        let mut notification = ProgressNotificationParam::new(token.clone(), done);
        notification.total = total;
        notification.message = message;
        if peer.notify_progress(notification).await.is_err() {
            // The client has gone. The call itself is cancelled separately.
            return;
        }
    }
}
