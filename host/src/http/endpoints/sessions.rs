//! `/v1/sessions`: conversations that the server stores.

mod locks;
mod store;
mod turn;

use std::sync::Arc;

use axum::body::Body;
use axum::http::Response;
use firebox_contract::{Caller, limits};
use serde_json::{Value, json};

use self::store::with_store;
pub(in crate::http) use self::turn::SessionTurn;
pub use self::{locks::SessionLocks, store::StorePermits};
use crate::http::body::{self, ParsedBody};
use crate::http::request::{self, fields::Fields};
use crate::http::response::{json as json_response, wire};
use crate::http::{ApiRequest, Failure};
use crate::serve::App;
use crate::sessions::{NewSession, PageRequest, Session, SessionStore, StoredMessage};

/// `POST /v1/sessions`.
pub(in crate::http) async fn create(app: Arc<App>, mut request: ApiRequest) -> Result<Response<Body>, Failure> {
    let tenant = request.tenant()?.clone();
    let read = |body: &Value| {
        let fields = Fields::of(body, "")?;
        let model = fields.need("model", fields.text("model")?)?.to_owned();
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Ok(NewSession { title: owned(fields.text("title")?), system: owned(fields.text("system")?), model })
    };
    let ParsedBody { value: new, reserved: _reserved } = body::json(&app, &mut request, read).await?;
    let found = app.models.find(&tenant.config.models, &new.model);
    found.map_err(|error| Failure::from(error).with_param("model").with_code("model_not_found"))?;
    let (id, max) = (tenant.id.clone(), tenant.config.limits.sessions_max);
    let session = with_store(&app, &tenant.caller, move |store| store.create_within(&id, new, max)).await?;
    app.tenancy.log_session(&tenant.caller, &request.id, "create", &session.id);
    json_response(&row(&session))
}

/// `GET /v1/sessions`.
pub(in crate::http) async fn list(app: Arc<App>, request: ApiRequest) -> Result<Response<Body>, Failure> {
    let caller = request.tenant()?.caller.clone();
    let mut page = PageRequest::default();
    for (key, value) in query(request.parts.uri.query().unwrap_or_default()) {
        match key {
            "limit" => page.limit = whole(key, value)?,
            "after" => page.after = Some(value.to_owned()),
            _ => {}
        }
    }
    let tenant = caller.tenant.clone();
    let found = with_store(&app, &caller, move |store| store.list(&tenant, &page)).await?;
    let rows: Vec<Value> = found.sessions.iter().map(row).collect();
    json_response(&json!({"object": "list", "data": rows, "has_more": found.next.is_some(), "next": found.next}))
}

/// The pairs of a query string. Ids and numbers need no decoding.
fn query(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split('&').filter_map(|pair| pair.split_once('='))
}

/// `GET /v1/sessions/{id}`.
pub(in crate::http) async fn get(app: Arc<App>, request: ApiRequest) -> Result<Response<Body>, Failure> {
    let (caller, id) = caller_and_id(&request)?;
    let (mut after, mut limit) = (None, limits::SESSION_PAGE_MESSAGES_MAX);
    for (key, value) in query(request.parts.uri.query().unwrap_or_default()) {
        match key {
            "limit" => limit = whole(key, value)?,
            "after" => after = Some(whole(key, value)? as u64),
            _ => {}
        }
    }
    let tenant = caller.tenant.clone();
    let read = move |store: &SessionStore| store.page(&tenant, &id, after, limit);
    let (session, messages, more) = with_store(&app, &caller, read).await?;
    let mut out = row(&session);
    if let Some(object) = out.as_object_mut() {
        let next = messages.last().filter(|_| more).map(|message| message.seq);
        object.insert("messages".to_owned(), messages.iter().map(message).collect());
        object.insert("has_more".to_owned(), json!(more));
        object.insert("next".to_owned(), json!(next));
    }
    body::reserve_response(&app, &request, json_response(&out)?)
}

/// A whole number of a query string.
fn whole(key: &str, value: &str) -> Result<usize, Failure> {
    value.parse().map_err(|_| Failure::field(key, format!("\"{key}\" must be a whole number, not \"{value}\"")))
}

/// `DELETE /v1/sessions/{id}`.
pub(in crate::http) async fn delete(app: Arc<App>, request: ApiRequest) -> Result<Response<Body>, Failure> {
    let (caller, id) = caller_and_id(&request)?;
    let (tenant, name, lock) = (caller.tenant.clone(), id.clone(), app.session_locks.change(&caller.tenant, &id)?);
    let delete = move |store: &SessionStore| {
        let _lock = lock;
        store.delete(&tenant, &name)
    };
    with_store(&app, &caller, delete).await?;
    app.tenancy.log_session(&caller, &request.id, "delete", &id);
    json_response(&json!({"id": id, "object": "session.deleted", "deleted": true}))
}

/// `POST /v1/sessions/{id}/messages`.
pub(in crate::http) async fn append(app: Arc<App>, mut request: ApiRequest) -> Result<Response<Body>, Failure> {
    let (caller, id) = caller_and_id(&request)?;
    let read = |body: &Value| {
        let fields = Fields::of(body, "")?;
        let messages = request::messages(fields.need("messages", fields.list("messages")?)?)?;
        Ok((messages, fields.count("expected_length")?.map(|length| length as u64)))
    };
    let ParsedBody { value: (messages, expected), reserved: _reserved } = body::json(&app, &mut request, read).await?;
    let (tenant, lock) = (caller.tenant.clone(), app.session_locks.change(&caller.tenant, &id)?);
    let append = move |store: &SessionStore| {
        let _lock = lock;
        store.append(&tenant, &id, expected, &messages)
    };
    let length = with_store(&app, &caller, append).await?;
    json_response(&json!({"object": "session.appended", "length": length}))
}

/// `POST /v1/sessions/{id}/fork`.
pub(in crate::http) async fn fork(app: Arc<App>, mut request: ApiRequest) -> Result<Response<Body>, Failure> {
    let (tenant, id) = (request.tenant()?.clone(), request.param("id").to_owned());
    let read = |body: &Value| Ok(Fields::of(body, "")?.count("at")?.map(|at| at as u64));
    let at = body::json_or_empty(&app, &mut request, read).await?.value;
    let (owner, max) = (tenant.id.clone(), tenant.config.limits.sessions_max);
    let session = with_store(&app, &tenant.caller, move |store| store.fork_within(&owner, &id, at, max)).await?;
    app.tenancy.log_session(&tenant.caller, &request.id, "fork", &session.id);
    json_response(&row(&session))
}

/// `POST /v1/sessions/{id}/pin`: pins or unpins a message. Fitting a long session to the context never drops a pinned
/// message.
pub(in crate::http) async fn pin(app: Arc<App>, mut request: ApiRequest) -> Result<Response<Body>, Failure> {
    let (caller, id) = caller_and_id(&request)?;
    let tenant = caller.tenant.clone();
    let read = |body: &Value| {
        let fields = Fields::of(body, "")?;
        let seq = fields.need("seq", fields.count("seq")?)? as u64;
        Ok((seq, fields.flag("pinned")?.unwrap_or(true)))
    };
    let (seq, pinned) = body::json(&app, &mut request, read).await?.value;
    with_store(&app, &caller, move |store| store.pin(&tenant, &id, seq, pinned)).await?;
    json_response(&json!({"object": "session.pinned", "seq": seq, "pinned": pinned}))
}

/// The caller, and the id of the session in the path.
fn caller_and_id(request: &ApiRequest) -> Result<(Caller, String), Failure> {
    Ok((request.tenant()?.caller.clone(), request.param("id").to_owned()))
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
