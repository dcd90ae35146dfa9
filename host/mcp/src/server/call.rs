//! One tool call: its progress told, its cancellation obeyed, its failure readable.

use firebox_contract::{Caller, Error, Progress, ToolCall, ToolOutcome, limits};
use rmcp::model::{CallToolRequestParams, CallToolResult, ProgressNotificationParam, ProgressToken};
use rmcp::service::{Peer, RequestContext};
use rmcp::{ErrorData, RoleServer};
use tokio::sync::mpsc;

use super::{RequestId, Shared, content};

/// A report on its way to the client.
type Report = (f64, Option<f64>, Option<String>);

/// Runs what `request` asks for. Dropping the future, like a client's cancellation or the end of the caller, drops the call.
///
/// # Errors
/// Only for a tool that this caller does not have, and for a call that was cancelled, whose answer nobody reads.
pub(super) async fn run(
    shared: &Shared,
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
    let Some(_place) = shared.calls.take(&caller.tenant, caller.in_flight_max) else {
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

fn busy(shared: &Shared, caller: &Caller) -> Error {
    let message = format!(
        "too many tool calls at a time: tenant \"{}\" may have {} and {} run in all; try again when one has ended",
        caller.tenant,
        caller.in_flight_max,
        shared.calls.taken()
    );
    Error::Limited { message, retry_after: limits::MCP_RETRY_AFTER }
}

/// The call, and beside it the notices that its reports become where the client asked for them.
async fn with_progress(
    shared: &Shared,
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
        let reporter = Reporter(sender);
        shared.source.call_within(caller, request, call, &reporter).await
        // The reporter ends here, and with it the telling, once all is told: progress never follows the result.
    };
    let (outcome, ()) = tokio::join!(running, tell(&context.peer, token, reports));
    outcome
}

/// A listener that never blocks: a client that reads slowly misses reports.
struct Reporter(mpsc::Sender<Report>);

impl Progress for Reporter {
    fn report(&self, done: f64, total: Option<f64>, message: Option<&str>) {
        let _missed = self.0.try_send((done, total, message.map(str::to_owned)));
    }
}

async fn tell(peer: &Peer<RoleServer>, token: ProgressToken, mut reports: mpsc::Receiver<Report>) {
    let mut last = f64::NEG_INFINITY;
    while let Some((done, total, message)) = reports.recv().await {
        // The protocol wants it to grow, whatever a tool reports.
        if done <= last {
            continue;
        }
        last = done;
        let mut notice = ProgressNotificationParam::new(token.clone(), done);
        notice.total = total;
        notice.message = message;
        if peer.notify_progress(notice).await.is_err() {
            // Nobody is there any more; the call itself ends by its own cancellation.
            return;
        }
    }
}
