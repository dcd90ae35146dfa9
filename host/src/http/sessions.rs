//! `/v1/sessions`: conversations kept on the server.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Response;
use firebox_contract::{Caller, limits};
use serde_json::{Value, json};

use super::fields::Fields;
use super::request_body::{self, Said};
use super::turn::stored;
use super::{Call, Failure, ask, stream, wire};
use crate::serve::App;
use crate::sessions::{NewSession, Page, Session, SessionStore, StoredMessage};

pub(super) async fn create(app: Arc<App>, mut call: Call) -> Result<Response<Body>, Failure> {
    let tenant = call.tenant()?.clone();
    let read = |body: &Value| {
        let fields = Fields::of(body, "")?;
        let model = fields.need("model", fields.text("model")?)?.to_owned();
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Ok(NewSession { title: owned(fields.text("title")?), system: owned(fields.text("system")?), model })
    };
    let Said { what: new, held: _held } = request_body::json(&app, &mut call, read).await?;
    let found = app.models.find(&tenant.config.models, &new.model);
    found.map_err(|error| Failure::from(error).about("model").coded("model_not_found"))?;
    let (id, max) = (tenant.id.clone(), tenant.config.limits.sessions_max);
    let session = stored(&app, &tenant.caller, move |store| store.create_within(&id, new, max)).await?;
    app.tenancy.log_session(&tenant.caller, &call.id, "create", &session.id);
    stream::json(&row(&session))
}

pub(super) async fn list(app: Arc<App>, call: Call) -> Result<Response<Body>, Failure> {
    let caller = call.tenant()?.caller.clone();
    app.tenancy.count_request(&caller, &call.id)?;
    let mut page = Page::default();
    for (key, value) in query(call.parts.uri.query().unwrap_or_default()) {
        match key {
            "limit" => page.limit = whole(key, value)?,
            "after" => page.after = Some(value.to_owned()),
            _ => {}
        }
    }
    let tenant = caller.tenant.clone();
    let found = stored(&app, &caller, move |store| store.list(&tenant, &page)).await?;
    let rows: Vec<Value> = found.sessions.iter().map(row).collect();
    stream::json(&json!({"object": "list", "data": rows, "has_more": found.next.is_some(), "next": found.next}))
}

/// The pairs of a query; ids and numbers need no decoding.
fn query(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split('&').filter_map(|pair| pair.split_once('='))
}

pub(super) async fn get(app: Arc<App>, call: Call) -> Result<Response<Body>, Failure> {
    let (caller, id) = whose(&call)?;
    app.tenancy.count_request(&caller, &call.id)?;
    let (mut after, mut limit) = (None, limits::SESSION_PAGE_MESSAGES_MAX);
    for (key, value) in query(call.parts.uri.query().unwrap_or_default()) {
        match key {
            "limit" => limit = whole(key, value)?,
            "after" => after = Some(whole(key, value)? as u64),
            _ => {}
        }
    }
    let tenant = caller.tenant.clone();
    let read = move |store: &SessionStore| store.page(&tenant, &id, after, limit);
    let (session, messages, more) = stored(&app, &caller, read).await?;
    let mut out = row(&session);
    if let Some(object) = out.as_object_mut() {
        let next = messages.last().filter(|_| more).map(|message| message.seq);
        object.insert("messages".to_owned(), messages.iter().map(message).collect());
        object.insert("has_more".to_owned(), json!(more));
        object.insert("next".to_owned(), json!(next));
    }
    request_body::held_while_read(&app, &call, stream::json(&out)?)
}

/// A number in a query.
fn whole(key: &str, value: &str) -> Result<usize, Failure> {
    value.parse().map_err(|_| Failure::field(key, format!("\"{key}\" must be a whole number, not \"{value}\"")))
}

pub(super) async fn delete(app: Arc<App>, call: Call) -> Result<Response<Body>, Failure> {
    let (caller, id) = whose(&call)?;
    app.tenancy.count_request(&caller, &call.id)?;
    let (tenant, name, hold) = (caller.tenant.clone(), id.clone(), app.busy.change(&caller.tenant, &id)?);
    let delete = move |store: &SessionStore| {
        let _hold = hold;
        store.delete(&tenant, &name)
    };
    stored(&app, &caller, delete).await?;
    app.tenancy.log_session(&caller, &call.id, "delete", &id);
    stream::json(&json!({"id": id, "object": "session.deleted", "deleted": true}))
}

pub(super) async fn append(app: Arc<App>, mut call: Call) -> Result<Response<Body>, Failure> {
    let (caller, id) = whose(&call)?;
    let read = |body: &Value| {
        let fields = Fields::of(body, "")?;
        let messages = ask::messages(fields.need("messages", fields.list("messages")?)?)?;
        Ok((messages, fields.count("expected_length")?.map(|length| length as u64)))
    };
    let Said { what: (messages, expected), held: _held } = request_body::json(&app, &mut call, read).await?;
    let (tenant, hold) = (caller.tenant.clone(), app.busy.change(&caller.tenant, &id)?);
    let append = move |store: &SessionStore| {
        let _hold = hold;
        store.append(&tenant, &id, expected, &messages)
    };
    let length = stored(&app, &caller, append).await?;
    stream::json(&json!({"object": "session.appended", "length": length}))
}

pub(super) async fn fork(app: Arc<App>, mut call: Call) -> Result<Response<Body>, Failure> {
    let (tenant, id) = (call.tenant()?.clone(), call.param("id").to_owned());
    let read = |body: &Value| Ok(Fields::of(body, "")?.count("at")?.map(|at| at as u64));
    let at = request_body::json_or_nothing(&app, &mut call, read).await?.what;
    let (owner, max) = (tenant.id.clone(), tenant.config.limits.sessions_max);
    let session = stored(&app, &tenant.caller, move |store| store.fork_within(&owner, &id, at, max)).await?;
    app.tenancy.log_session(&tenant.caller, &call.id, "fork", &session.id);
    stream::json(&row(&session))
}

/// Keeps a message in what the model sees when older turns are left out, or lets it go.
pub(super) async fn pin(app: Arc<App>, mut call: Call) -> Result<Response<Body>, Failure> {
    let (caller, id) = whose(&call)?;
    let tenant = caller.tenant.clone();
    let read = |body: &Value| {
        let fields = Fields::of(body, "")?;
        let seq = fields.need("seq", fields.count("seq")?)? as u64;
        Ok((seq, fields.flag("pinned")?.unwrap_or(true)))
    };
    let (seq, pinned) = request_body::json(&app, &mut call, read).await?.what;
    stored(&app, &caller, move |store| store.pin(&tenant, &id, seq, pinned)).await?;
    stream::json(&json!({"object": "session.pinned", "seq": seq, "pinned": pinned}))
}

/// Who asks, and about which session.
fn whose(call: &Call) -> Result<(Caller, String), Failure> {
    Ok((call.tenant()?.caller.clone(), call.param("id").to_owned()))
}

fn row(session: &Session) -> Value {
    json!({
        "id": session.id, "object": "session", "title": session.title, "model": session.model,
        "parent": session.parent, "created": wire::unix_seconds(session.created),
        "used": wire::unix_seconds(session.used), "length": session.length,
    })
}

fn message(stored: &StoredMessage) -> Value {
    let mut out = wire::message(&stored.message);
    out.insert("seq".to_owned(), json!(stored.seq));
    out.insert("pinned".to_owned(), json!(stored.pinned));
    out.insert("created".to_owned(), json!(wire::unix_seconds(stored.created)));
    Value::Object(out)
}
