//! Isolation of the tenants of one server.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{ANSWER, QUESTION, chat, config, content, with};
use crate::harness::server::{PLUGINS, Server, tenant};

/// I8: cached state that one tenant's text created cannot be hit by another tenant.
#[test]
fn a_prompt_hits_the_prefix_cache_of_its_own_tenant_only() {
    let server = Server::start(&config(&tenant("beta", PLUGINS)));
    let prompt = "Please convert 12 km into miles for me, and count the words of this sentence too.";
    let cached = |name: &str| {
        let done = server.post("/v1/chat/completions", name, &with(chat(prompt), "max_tokens", json!(1))).json();
        done["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap_or_else(|| panic!("{done}"))
    };
    assert_eq!(cached("alpha"), 0, "nothing is there yet");
    assert!(cached("alpha") > 16, "the own prefix is hit");
    assert_eq!(cached("beta"), 0, "another's prefix is missed");
    assert!(cached("beta") > 16, "and the own one hit again");
    assert_eq!(server.metric("alpha", "firebox_prefix_cache_hits_total{"), 2.0);
}

#[test]
fn a_key_cannot_see_anything_of_another_tenant() {
    let more = tenant("beta", "models = [\"other*\"]");
    let server = Server::start(&config(&more));
    let session = server.post("/v1/sessions", "alpha", &json!({"model": "ember", "title": "private"})).json();
    let path = format!("/v1/sessions/{}", session["id"].as_str().expect("an id"));
    assert_eq!(server.get(&path, "alpha").status, 200);
    let body = json!({"messages": [{"role": "user", "content": "hi"}]});
    for response in [
        server.get(&path, "beta"),
        server.post(&format!("{path}/messages"), "beta", &body),
        server.post(&format!("{path}/generate"), "beta", &body),
        server.post(&format!("{path}/fork"), "beta", &json!({})),
        server.ask("DELETE", &path, Some(&crate::harness::server::key("beta")), b""),
    ] {
        assert_eq!((response.status, response.code().as_str()), (404, "not_found"), "{response:?}");
    }
    assert_eq!(server.get("/v1/sessions", "beta").json()["data"], json!([]));
    assert_eq!(server.get("/v1/models", "beta").json()["data"], json!([]));
    let hidden = server.post("/v1/chat/completions", "beta", &chat(QUESTION));
    assert_eq!((hidden.status, hidden.code().as_str()), (404, "model_not_found"));
    assert!(!hidden.body.contains("ember\"."), "what it may not use is not listed: {}", hidden.body);
    assert!(content(&server.post("/v1/chat/completions", "alpha", &chat(QUESTION)).json()).contains(ANSWER));
    let usage = server.get("/v1/usage", "beta").json();
    assert_eq!((&usage["tenant"], &usage["total"]["completion_tokens"]), (&json!("beta"), &json!(0)));
}

#[test]
fn an_answer_ends_at_the_context_limit_of_its_tenant() {
    let more = tenant("small", "[tenant.limits]\ncontext_tokens_max = 64");
    let server = Server::start(&config(&more));
    let long = server.post("/v1/chat/completions", "small", &chat(&"word ".repeat(200)));
    assert_eq!((long.status, long.code().as_str()), (400, "too_large"), "{long:?}");
    let short = server.post("/v1/chat/completions", "small", &chat("Hello!")).json();
    assert!(short["usage"]["total_tokens"].as_u64().is_some_and(|tokens| tokens <= 64), "{short}");
}

#[test]
fn a_server_with_a_thousand_tenants_starts_as_fast_as_with_one() {
    let many = (0..1_000).fold(String::new(), |mut text, number| {
        write!(text, "{}", tenant(&format!("tenant{number}"), PLUGINS)).expect("a string");
        text
    });
    let start = |config: &str| {
        let started = Instant::now();
        let server = Server::start(config);
        (started.elapsed(), server)
    };
    // The first start may compile plugins and test devices. Later starts do not.
    drop(start(&config("")));
    let (one, _) = start(&config(""));
    let (thousand, server) = start(&config(&many));
    assert!(thousand < one + Duration::from_secs(2), "{thousand:?} against {one:?}");
    assert_eq!(server.get("/v1/models", "tenant999").status, 200);
}
