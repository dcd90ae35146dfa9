//! A component for other hosts: plain functions over `wasi:http` and both drafts of `wasi:keyvalue`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use firebox_contract::{TenantId, ToolCall};
use firebox_sandbox::{
    ComponentSource, Grants, HttpFailure, HttpService, HttpStandIn, KeyValueService, PluginChain, PluginSpec, Sandbox,
    SandboxOptions, SentRequest, Services, StandInAnswer, TenantGrants,
};

use super::memory_store::MemoryStore;
use super::{NoProgress, texts};

const VISITS: &[u8] = include_bytes!("../../../../plugins/prebuilt/visits.wasm");

/// Answers one page, and writes down what was asked.
#[derive(Default)]
struct Pages {
    asked: Mutex<Vec<String>>,
}

impl HttpStandIn for Pages {
    fn answer(&self, request: &SentRequest<'_>) -> StandInAnswer {
        self.asked.lock().expect("not poisoned").push(format!("{} {}", request.method, request.url));
        match request.url.as_str() {
            "https://site.test/page" => {
                StandInAnswer::Response { status: 418, headers: Vec::new(), body: b"tea".to_vec() }
            }
            _ => StandInAnswer::Failure(HttpFailure::Timeout),
        }
    }
}

fn sandbox(pages: &Arc<Pages>) -> Sandbox {
    let keyvalue = KeyValueService::new(Arc::new(MemoryStore::default()));
    let http = HttpService::with_stand_in(pages.clone());
    let services = Services { keyvalue, http, ..Services::default() };
    Sandbox::new(SandboxOptions { pool_memories: 16, services, ..SandboxOptions::default() }).expect("an engine")
}

/// The component without a manifest in requests of `tenant`. It has what the operator grants.
async fn visits(sandbox: &Sandbox, tenant: &str, operator: &[&str]) -> PluginChain {
    let spec = PluginSpec {
        has_manifest: false,
        config_json: Some(r#"{"greeting": "hello"}"#.to_owned()),
        grants: Grants::parse(operator).expect("valid"),
        ..PluginSpec::new("visits", ComponentSource::BuiltIn(VISITS))
    };
    let plugin = sandbox.load(spec).await.unwrap_or_else(|error| panic!("{error}"));
    let own = BTreeMap::from([("visits".to_owned(), Grants::parse(&texts(&["*"])).expect("valid"))]);
    let tenant = TenantGrants::new(TenantId::new(tenant), own);
    PluginChain::new(vec![plugin]).expect("a chain").for_tenant(Arc::new(tenant))
}

async fn call(chain: &PluginChain, name: &str, arguments: &str) -> String {
    let call = ToolCall { id: "1".to_owned(), name: name.to_owned(), arguments_json: arguments.to_owned() };
    let run = chain.call_tool(&call, &NoProgress).await.expect("it has the tool");
    run.outcome.unwrap_or_else(|error| panic!("{name} {arguments}: {error}")).content
}

const GRANTS: &[&str] = &["keyvalue:default", "http:GET https://site.test/page"];

#[tokio::test]
async fn both_drafts_of_keyvalue_share_a_bucket_with_its_grant_and_quota() {
    let sandbox = sandbox(&Arc::default());
    let chain = visits(&sandbox, "acme", GRANTS).await;
    for (older, other) in [("false", "true"), ("true", "false")] {
        let remember = |by: &str| format!(r#"{{"texts": [["a{older}", "x"], ["b{older}", "y"]], "older": {by}}}"#);
        assert_eq!(call(&chain, "remember", &remember(older)).await, "true");
        assert_eq!(call(&chain, "remember", &remember(other)).await, "false", "the other draft sees it");
        let recall = format!(r#"{{"keys": ["b{older}", "none"], "older": {other}}}"#);
        assert_eq!(call(&chain, "recall", &recall).await, r#"["y",null]"#);
        let count = format!(r#"{{"key": "n", "by": 2, "older": {older}}}"#);
        assert_eq!(call(&chain, "count", &count).await, if older == "false" { "2" } else { "4" });
    }
    assert_eq!(call(&chain, "keys", r#"{"older": true}"#).await, "[5,1]");
    assert_eq!(call(&chain, "keys", r#"{"older": false}"#).await, "[5,1]");
    let forget = r#"{"keys": ["afalse", "bfalse", "none"], "older": true}"#;
    call(&chain, "forget", forget).await;
    assert_eq!(call(&chain, "keys", r#"{"older": false}"#).await, "[3,1]");
    // Many keys: pages of the older draft are counted with numbers, those of the newer one have a text.
    for hundred in 0..5 {
        let many: Vec<String> = (0..100).map(|n| format!("[\"k{hundred}{n:02}\", \"\"]")).collect();
        let texts = format!(r#"{{"texts": [{}], "older": true}}"#, many.join(","));
        assert_eq!(call(&chain, "remember", &texts).await, "true");
    }
    let newer = call(&chain, "keys", r#"{"older": false}"#).await;
    assert!(newer.starts_with("[503,") && newer != "[503,1]", "{newer}");
    assert_eq!(call(&chain, "keys", r#"{"older": true}"#).await, newer);
}

#[tokio::test]
async fn the_older_draft_leaves_a_number_that_it_cannot_return_as_it_is() {
    let sandbox = sandbox(&Arc::default());
    let chain = visits(&sandbox, "acme", GRANTS).await;
    assert_eq!(call(&chain, "remember", r#"{"texts": [["n", "-5"]], "older": false}"#).await, "true");
    for _ in 0..2 {
        let low = call(&chain, "count", r#"{"key": "n", "by": 2, "older": true}"#).await;
        assert!(low.contains("too low"), "it has no numbers below 0: {low}");
    }
    assert_eq!(call(&chain, "count", r#"{"key": "n", "by": 5, "older": true}"#).await, "0");
}

#[tokio::test]
async fn both_drafts_deny_a_bucket_that_was_not_granted_and_keep_tenants_apart() {
    let sandbox = sandbox(&Arc::default());
    let own = visits(&sandbox, "acme", GRANTS).await;
    let other = visits(&sandbox, "other", GRANTS).await;
    let denied = visits(&sandbox, "acme", &[]).await;
    for older in ["false", "true"] {
        let remember = format!(r#"{{"texts": [["k{older}", "own"]], "older": {older}}}"#);
        assert_eq!(call(&own, "remember", &remember).await, "true");
        assert_eq!(call(&other, "recall", &format!(r#"{{"keys": ["k{older}"], "older": {older}}}"#)).await, "[null]");
        assert!(call(&denied, "remember", &remember).await.contains("AccessDenied"));
        let long = format!(r#"{{"texts": [["{}", "x"]], "older": {older}}}"#, "k".repeat(1_000));
        assert!(
            call(&own, "remember", &long).await.contains("Other"),
            "a key beyond its limit is the interface's own error"
        );
    }
}

#[tokio::test]
async fn a_grant_that_names_nothing_gives_nothing_to_a_component_without_a_manifest() {
    let sandbox = sandbox(&Arc::default());
    for wide in [&["*"][..], &["keyvalue:*", "http:*"]] {
        let chain = visits(&sandbox, "acme", wide).await;
        assert!(call(&chain, "remember", r#"{"texts": [["k", "x"]], "older": false}"#).await.contains("AccessDenied"));
        let denied = call(&chain, "status", r#"{"url": "https://site.test/page"}"#).await;
        assert!(denied.contains("HttpRequestDenied"), "{denied}");
        assert!(chain.plugins()[0].warnings()[0].contains("gives it nothing"), "{:?}", chain.plugins()[0].warnings());
    }
}

#[tokio::test]
async fn a_request_goes_where_the_operator_says_and_nowhere_else() {
    let pages = Arc::default();
    let sandbox = sandbox(&pages);
    let chain = visits(&sandbox, "acme", GRANTS).await;
    assert_eq!(call(&chain, "status", r#"{"url": "https://site.test/page"}"#).await, "418");
    for url in ["https://site.test/other", "http://site.test/page", "https://other.test/page"] {
        let denied = call(&chain, "status", &format!(r#"{{"url": "{url}"}}"#)).await;
        assert!(denied.contains("HttpRequestDenied"), "{url}: {denied}");
    }
    assert_eq!(call(&chain, "setting", r#"{"key": "greeting"}"#).await, r#""hello""#);
    assert_eq!(call(&chain, "setting", r#"{"key": "other"}"#).await, "null");
    let every = visits(&sandbox, "acme", &["http:* https://*:*"]).await;
    assert!(call(&every, "status", r#"{"url": "https://other.test/"}"#).await.contains("HttpResponseTimeout"));
    assert_eq!(*pages.asked.lock().expect("not poisoned"), ["GET https://site.test/page", "GET https://other.test/"]);
}
