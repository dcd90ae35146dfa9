//! Sessions as clients meet them: one turn at a time, whole or not at all.

use serde_json::{Value, json};

use super::{QUESTION, config};
use crate::harness::server::{PLUGINS, Server, key, tenant};

/// A new session of this tenant: its path.
fn begin(server: &Server, name: &str) -> String {
    let session = server.post("/v1/sessions", name, &json!({"model": "ember"})).json();
    format!("/v1/sessions/{}", session["id"].as_str().unwrap_or_else(|| panic!("{session}")))
}

fn messages(server: &Server, path: &str, name: &str) -> Vec<Value> {
    server.get(path, name).json()["messages"].as_array().expect("a list").clone()
}

#[test]
fn a_session_takes_one_turn_at_a_time_and_keeps_none_that_was_left() {
    let asking = tenant("asks", &format!("{PLUGINS}\n[tenant.tools]\nask = [\"*\"]"));
    let server = Server::start(&config(&asking));
    let path = begin(&server, "asks");
    let turn = json!({"temperature": 0, "messages": [{"role": "user", "content": QUESTION}]});
    // It waits for an approval, so that it runs for as long as the test wants.
    let open = server.open("POST", &format!("{path}/generate"), Some(&key("asks")), turn.to_string().as_bytes());
    server.eventually("asked", |server| server.get("/v1/approvals", "asks").json()["data"][0].is_object());
    let second = server.post(&format!("{path}/generate"), "asks", &turn);
    assert_eq!((second.status, second.code().as_str()), (409, "conflict"), "{second:?}");
    // What would make the answer impossible to store is refused while it is made; looking, pinning and forking are not.
    let note = json!({"messages": [{"role": "user", "content": "note"}]});
    let changes =
        [server.post(&format!("{path}/messages"), "asks", &note), server.ask("DELETE", &path, Some(&key("asks")), b"")];
    for refused in changes {
        assert_eq!((refused.status, refused.code().as_str()), (409, "conflict"), "{refused:?}");
        assert!(refused.body.contains("wait for it or end it, or fork"), "{refused:?}");
    }
    assert_eq!(server.post(&format!("{path}/fork"), "asks", &json!({})).status, 200);
    assert!(messages(&server, &path, "asks").is_empty(), "nothing is there before the answer is");
    drop(open);
    server.eventually("withdrawn", |server| server.get("/v1/approvals", "asks").json()["data"] == json!([]));
    assert!(messages(&server, &path, "asks").is_empty(), "a turn that was left leaves nothing");
    // And the session is free again.
    let hello = json!({"temperature": 0, "messages": [{"role": "user", "content": "Hello!"}]});
    server.eventually("free", |server| server.post(&format!("{path}/generate"), "asks", &hello).status == 200);
    assert_eq!(messages(&server, &path, "asks").len(), 2);
    assert_eq!(server.post(&format!("{path}/messages"), "asks", &note).json()["length"], 3);
    assert_eq!(server.ask("DELETE", &path, Some(&key("asks")), b"").status, 200);
}

#[test]
fn who_appends_to_what_has_grown_meanwhile_is_told() {
    let server = Server::start(&config(""));
    let path = begin(&server, "alpha");
    let append = |expected: Option<u64>| {
        let mut body = json!({"messages": [{"role": "user", "content": "note"}]});
        body["expected_length"] = json!(expected);
        server.post(&format!("{path}/messages"), "alpha", &body)
    };
    assert_eq!(append(Some(0)).json()["length"], 1);
    let late = append(Some(0));
    assert_eq!((late.status, late.code().as_str()), (409, "conflict"), "{late:?}");
    assert!(late.body.contains("has 1 messages where 0 were expected"), "{late:?}");
    assert_eq!(append(None).json()["length"], 2);
    assert_eq!(messages(&server, &path, "alpha").len(), 2);
}

#[test]
fn lists_come_in_pages() {
    let server = Server::start(&config(""));
    for _ in 0..3 {
        begin(&server, "alpha");
    }
    let page = |query: &str| server.get(&format!("/v1/sessions{query}"), "alpha").json();
    let first = page("?limit=2");
    assert_eq!((first["data"].as_array().map(Vec::len), &first["has_more"]), (Some(2), &json!(true)));
    let rest = page(&format!("?limit=2&after={}", first["next"].as_str().expect("a place")));
    assert_eq!((rest["data"].as_array().map(Vec::len), &rest["has_more"]), (Some(1), &json!(false)));
    assert_eq!(server.get("/v1/sessions?limit=many", "alpha").json()["error"]["param"], "limit");
}

#[test]
fn a_message_is_pinned_and_let_go_over_the_api() {
    let server = Server::start(&config(&tenant("beta", PLUGINS)));
    let session = server.post("/v1/sessions", "alpha", &json!({"model": "ember", "system": "Be brief."})).json();
    let path = format!("/v1/sessions/{}", session["id"].as_str().expect("an id"));
    let messages = json!({"messages": [{"role": "user", "content": "My name is Ada."}]});
    assert_eq!(server.post(&format!("{path}/messages"), "alpha", &messages).status, 200);
    let pin = |name: &str, body: Value| server.post(&format!("{path}/pin"), name, &body);
    let pinned = || {
        let kept = server.get(&path, "alpha").json();
        let rows = kept["messages"].as_array().expect("a list").clone();
        rows.into_iter().find(|row| row["seq"] == 1).expect("the message")["pinned"].clone()
    };
    assert_eq!(pinned(), false);
    assert_eq!(pin("alpha", json!({"seq": 1})).status, 200);
    assert_eq!(pinned(), true);
    assert_eq!(pin("beta", json!({"seq": 1, "pinned": false})).status, 404, "another tenant's session");
    assert_eq!(pin("alpha", json!({"seq": 7})).status, 404);
    assert_eq!(pin("alpha", json!({})).json()["error"]["param"], "seq");
    assert_eq!(pinned(), true);
    assert_eq!(pin("alpha", json!({"seq": 1, "pinned": false})).status, 200);
    assert_eq!(pinned(), false);
}
