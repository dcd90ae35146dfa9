//! `/v1/approvals`: tool calls that wait for somebody's word.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Response;
use firebox_contract::{Approval, limits};
use serde_json::{Value, json};

use super::fields::Fields;
use super::{Call, Failure, request_body, stream, wire};
use crate::serve::App;
use crate::serve::approvals::Pending;

pub(super) async fn list(app: Arc<App>, call: Call) -> Result<Response<Body>, Failure> {
    let rows = app.approvals.pending(&call.tenant()?.id).iter().map(row).collect();
    stream::json(&wire::List::<Value>::of(rows))
}

fn row(pending: &Pending) -> Value {
    json!({
        "id": pending.id, "object": "approval", "request_id": pending.request_id, "asked_by": key(&pending.asked_by),
        "created": wire::unix_seconds(pending.since), "description": pending.description,
        "tool_call": {"id": pending.call.id, "name": pending.call.name, "arguments": pending.call.arguments_json},
    })
}

/// What somebody decided.
struct Word {
    decision: Approval,
    remember: bool,
}

pub(super) async fn answer(app: Arc<App>, mut call: Call) -> Result<Response<Body>, Failure> {
    let caller = call.tenant()?.caller.clone();
    let id = call.param("id").to_owned();
    let said = request_body::short_json(&app, &mut call, limits::APPROVAL_BODY_BYTES_MAX, read).await?;
    let Word { decision, remember } = said.what;
    let word = if matches!(decision, Approval::Approve) { "approve" } else { "decline" };
    // Its key may have been revoked while the body came.
    caller.liveness.check()?;
    app.tenancy.audit_ready()?;
    let answered = app.approvals.answer(&caller, &id, decision, remember);
    let asked = answered.map_err(|_| Failure::not_found(format!("no call waits for approval under \"{id}\"")))?;
    app.tenancy.log_approval(&caller, &asked.request_id, &asked.call.name, word);
    stream::json(&json!({"id": id, "object": "approval", "decision": word, "by": key(&caller.key)}))
}

fn read(body: &Value) -> Result<Word, Failure> {
    let fields = Fields::of(body, "")?;
    let decision = match fields.need("decision", fields.text("decision")?)? {
        "approve" => Approval::Approve,
        "decline" => {
            let reason = fields.text("reason")?.unwrap_or("the user declined this call");
            Approval::Decline(reason.to_owned())
        }
        other => {
            let message = format!("decision \"{other}\" is not known; it is approve or decline");
            return Err(Failure::field("decision", message));
        }
    };
    let remember = match fields.text("remember")? {
        None | Some("once") => false,
        Some("session") => true,
        Some(other) => {
            let message = format!("\"remember\" is \"{other}\"; it is once or session");
            return Err(Failure::field("remember", message));
        }
    };
    Ok(Word { decision, remember })
}

/// The public part of a key; null where there are no keys.
fn key(id: &str) -> Value {
    if id.is_empty() { Value::Null } else { Value::from(id) }
}
