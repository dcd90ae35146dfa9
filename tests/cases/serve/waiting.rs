//! Requests that wait for approval do not block others.

use serde_json::Value;

use super::{ANSWER, PLUGINS, QUESTION, Server, chat, config, content, key, tenant};

/// The number of requests that a model runs at the same time.
const WAITING: usize = 64;

#[test]
fn requests_that_wait_for_approval_leave_plugin_instances_for_others() {
    let plugins = PLUGINS.replace(']', ", \"redact\"]");
    let server = Server::start(&config(&tenant("asks", &format!("{plugins}\n[tenant.tools]\nask = [\"*\"]"))));
    let body = chat(QUESTION).to_string();
    let open = |_| server.open("POST", "/v1/chat/completions", Some(&key("asks")), body.as_bytes());
    let waiting: Vec<_> = (0..WAITING).map(open).collect();
    server.eventually("asked", |server| {
        let listed = server.get("/v1/approvals", "asks").json();
        listed["data"].as_array().map_or(0, Vec::len) == WAITING
    });
    for _ in 0..4 {
        let answered = server.post("/v1/chat/completions", "alpha", &chat(QUESTION));
        assert_eq!(answered.status, 200, "{answered:?}");
        let body: Value = answered.json();
        assert!(content(&body).contains(ANSWER), "{body}");
    }
    drop(waiting);
}
