//! `/v1/approvals`: tool calls that wait for approval.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Response;
use firebox_contract::Approval;
use serde_json::{Value, json};

use crate::http::request::fields::Fields;
use crate::http::response::{json as json_response, wire};
use crate::http::{ApiRequest, Failure, body};
use crate::serve::App;
use crate::serve::approvals::PendingApproval;

/// `GET /v1/approvals`: the tenant's calls that wait.
pub(in crate::http) async fn list(app: Arc<App>, request: ApiRequest) -> Result<Response<Body>, Failure> {
    let rows = app.approvals.pending(&request.tenant()?.id).iter().map(row).collect();
    json_response(&wire::ListObject::<Value>::of(rows))
}

fn row(pending: &PendingApproval) -> Value {
    json!({
        "id": pending.id, "object": "approval", "request_id": pending.request_id, "asked_by": key(&pending.asked_by),
        "created": wire::unix_seconds(pending.since), "description": pending.description,
        "tool_call": {"id": pending.call.id, "name": pending.call.name, "arguments": pending.call.arguments_json},
    })
}

/// A decision about a call.
struct ApprovalDecision {
    decision: Approval,
    remember: bool,
}

/// `POST /v1/approvals/{id}`: approves or declines a call.
pub(in crate::http) async fn answer(app: Arc<App>, mut request: ApiRequest) -> Result<Response<Body>, Failure> {
    let caller = request.tenant()?.caller.clone();
    let id = request.param("id").to_owned();
    let ApprovalDecision { decision, remember } = body::json(&app, &mut request, read).await?.value;
    let word = if matches!(decision, Approval::Approve) { "approve" } else { "decline" };
    // The key may have been revoked while the body was read.
    caller.liveness.check()?;
    app.tenancy.audit_ready()?;
    let answered = app.approvals.answer(&caller, &id, decision, remember);
    let pending =
        answered.map_err(|_| Failure::not_found(format!("no tool call waits for approval with the id \"{id}\"")))?;
    app.tenancy.log_approval(&caller, &pending.request_id, &pending.call.name, word);
    json_response(&json!({"id": id, "object": "approval", "decision": word, "by": key(&caller.key)}))
}

fn read(body: &Value) -> Result<ApprovalDecision, Failure> {
    let fields = Fields::of(body, "")?;
    let decision = match fields.need("decision", fields.text("decision")?)? {
        "approve" => Approval::Approve,
        "decline" => {
            let reason = fields.text("reason")?.unwrap_or("the user declined this call");
            Approval::Decline(reason.to_owned())
        }
        other => {
            let message = format!("unknown decision \"{other}\"; use approve or decline");
            return Err(Failure::field("decision", message));
        }
    };
    let remember = match fields.text("remember")? {
        None | Some("once") => false,
        Some("session") => true,
        Some(other) => {
            let message = format!("unknown value \"{other}\" of \"remember\"; use once or session");
            return Err(Failure::field("remember", message));
        }
    };
    Ok(ApprovalDecision { decision, remember })
}

/// The public part of a key; null on a server without keys.
fn key(id: &str) -> Value {
    if id.is_empty() { Value::Null } else { Value::from(id) }
}
