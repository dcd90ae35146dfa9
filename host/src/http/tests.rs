//! The effect of every column of every row of the route table, in the process and without a model.

mod columns;

use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use axum::http::{Request, Response};
use futures_util::stream;
use tower::ServiceExt as _;

use super::*;
use crate::config::{Config, KeyConfig, Scope, TenantConfig, TenantLimits, parse_tenants};
use crate::serve::server::test_app;
use crate::tenancy::keys;

/// The key of the scope `name`.
fn key(name: &str) -> String {
    format!("fbx_{name}_secret")
}

/// The configuration of one tenant with a key for each scope, and a key named `all`.
fn config(limits: TenantLimits) -> Config {
    let none = Config::load_with(None, &[], &[]).expect("the defaults are valid");
    let mut tenant = parse_tenants("[[tenant]]\nname = \"one\"\n", "test").expect("a valid tenant").remove(0);
    let at = tenant.at.clone();
    let scopes = Scope::ALL.iter().map(|(name, scope)| (*name, vec![*scope]));
    let all = [("all", Scope::ALL.iter().map(|row| row.1).collect())];
    let key_config = |(name, scopes): (&str, Vec<Scope>)| KeyConfig {
        id: format!("fbx_{name}"),
        digest: keys::digest(&key(name)),
        expires: None,
        scopes,
        at: at.clone(),
    };
    tenant.keys = scopes.chain(all).map(key_config).collect();
    let tenant = TenantConfig { limits, ..tenant };
    let mut config = Config { tenants: vec![tenant], ..none };
    config.sessions.path = ":memory:".into();
    config
}

async fn app(limits: TenantLimits) -> Arc<App> {
    test_app(config(limits)).await
}

/// A request to `route` with this key and body.
fn request(route: &Route, key: Option<&str>, body: Body) -> Request<Body> {
    let path = route.path.replace("{*id}", "x").replace("{id}", "x");
    let mut request = Request::builder().method(route.method.clone()).uri(path).header(HOST, "localhost");
    if let Some(key) = key {
        request = request.header(AUTHORIZATION, format!("Bearer {key}"));
    }
    request.header(CONTENT_TYPE, "application/json").body(body).expect("a request")
}

async fn send(app: &Arc<App>, request: Request<Body>) -> Response<Body> {
    let Ok(response) = router(app, Port::Only).oneshot(request).await;
    response
}

/// The status and the text of the answer to a request with the key `all` and an empty object.
async fn answer(app: &Arc<App>, route: &Route) -> (u16, String) {
    read(send(app, request(route, Some(&key("all")), Body::from("{}"))).await).await
}

/// The text of an event stream is not read, since it need not end.
async fn read(response: Response<Body>) -> (u16, String) {
    let status = response.status().as_u16();
    let is_stream = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream");
    let text = if is_stream { Bytes::new() } else { to_bytes(response.into_body(), 1 << 24).await.expect("a body") };
    (status, String::from_utf8_lossy(&text).into_owned())
}

/// A body of a few bytes that never ends.
fn endless() -> Body {
    let chunks = stream::unfold(true, |first| async move {
        if !first {
            std::future::pending::<()>().await;
        }
        Some((Ok::<_, Error>(Bytes::from_static(b"{")), false))
    });
    Body::from_stream(chunks)
}
