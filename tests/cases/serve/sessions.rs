//! Sessions over HTTP: one turn at a time, stored completely or not at all.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::{QUESTION, config};
use crate::harness::server::{PLUGINS, Server, key, tenant};

/// Creates a session of this tenant and returns its path.
fn begin(server: &Server, name: &str) -> String {
    let session = server.post("/v1/sessions", name, &json!({"model": "ember"})).json();
    format!("/v1/sessions/{}", session["id"].as_str().unwrap_or_else(|| panic!("{session}")))
}

fn messages(server: &Server, path: &str, name: &str) -> Vec<Value> {
    server.get(path, name).json()["messages"].as_array().expect("a list").clone()
}

#[test]
fn a_session_runs_one_turn_at_a_time_and_stores_no_cancelled_turn() {
    let asking = tenant("asks", &format!("{PLUGINS}\n[tenant.tools]\nask = [\"*\"]"));
    let server = Server::start(&config(&asking));
    let path = begin(&server, "asks");
    let turn = json!({"temperature": 0, "messages": [{"role": "user", "content": QUESTION}]});
    // It waits for an approval, so that it runs as long as the test needs.
    let open = server.open("POST", &format!("{path}/generate"), Some(&key("asks")), turn.to_string().as_bytes());
    server.eventually("asked", |server| server.get("/v1/approvals", "asks").json()["data"][0].is_object());
    let second = server.post(&format!("{path}/generate"), "asks", &turn);
    assert_eq!((second.status, second.code().as_str()), (409, "conflict"), "{second:?}");
    // Changes that would prevent storing the answer are refused while it is generated. Reading, pinning and forking are not.
    let note = json!({"messages": [{"role": "user", "content": "note"}]});
    let changes =
        [server.post(&format!("{path}/messages"), "asks", &note), server.ask("DELETE", &path, Some(&key("asks")), b"")];
    for refused in changes {
        assert_eq!((refused.status, refused.code().as_str()), (409, "conflict"), "{refused:?}");
        assert!(refused.body.contains("or fork the session"), "{refused:?}");
    }
    assert_eq!(server.post(&format!("{path}/fork"), "asks", &json!({})).status, 200);
    assert!(messages(&server, &path, "asks").is_empty(), "nothing is there before the answer is");
    drop(open);
    server.eventually("withdrawn", |server| server.get("/v1/approvals", "asks").json()["data"] == json!([]));
    assert!(messages(&server, &path, "asks").is_empty(), "a turn that was left leaves nothing");
    // The session is unlocked.
    let hello = json!({"temperature": 0, "messages": [{"role": "user", "content": "Hello!"}]});
    server.eventually("free", |server| server.post(&format!("{path}/generate"), "asks", &hello).status == 200);
    assert_eq!(messages(&server, &path, "asks").len(), 2);
    assert_eq!(server.post(&format!("{path}/messages"), "asks", &note).json()["length"], 3);
    assert_eq!(server.ask("DELETE", &path, Some(&key("asks")), b"").status, 200);
}

#[test]
fn an_append_to_a_session_that_has_grown_is_a_conflict() {
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
    assert!(late.body.contains("has 1 messages instead of 0"), "{late:?}");
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
fn a_message_can_be_pinned_and_unpinned_over_the_api() {
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

/// Appends numbered messages until the server is gone. Returns how many were acknowledged.
fn append_until_killed(server: &Server, path: &str, already: usize, began: &AtomicBool) -> usize {
    for number in already.. {
        let message = json!({"messages": [{"role": "user", "content": format!("message {number}")}]});
        // The kill may come between two requests.
        let Ok(answer) = server.try_post(&format!("{path}/messages"), "alpha", &message) else {
            return number;
        };
        if answer.status != 200 {
            assert_eq!(answer.status, 0, "{answer:?}");
            return number;
        }
        began.store(true, Ordering::Relaxed);
    }
    0
}

/// The server is killed with SIGKILL and started again.
#[test]
fn f12_no_acknowledged_message_is_lost_when_the_server_is_killed() {
    const KILLS: u64 = 8;
    let folder = tempfile::tempdir().expect("temporary directory");
    let config = config(&format!("[sessions]\npath = \"{}\"\n", folder.path().join("sessions.db").display()));
    let (mut path, mut acknowledged) = (String::new(), 0);
    for kill in 0..=KILLS {
        let server = Server::start(&config);
        if path.is_empty() {
            path = begin(&server, "alpha");
        }
        let kept = messages(&server, &path, "alpha");
        let texts: Vec<String> = (0..kept.len()).map(|number| format!("message {number}")).collect();
        assert_eq!(
            kept.iter().map(|message| &message["content"]).collect::<Vec<_>>(),
            texts.iter().collect::<Vec<_>>()
        );
        // The last message may have been written without an acknowledgement.
        assert!(
            (acknowledged..=acknowledged + 1).contains(&kept.len()),
            "{acknowledged} acknowledged, {} kept",
            kept.len()
        );
        if kill == KILLS {
            break;
        }
        let began = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| append_until_killed(&server, &path, kept.len(), &began));
            server.eventually("written", |_| began.load(Ordering::Relaxed));
            std::thread::sleep(Duration::from_millis(kill * 7));
            server.signal("KILL");
            acknowledged = writer.join().expect("no other answer");
        });
    }
    assert!(acknowledged as u64 >= KILLS, "each server acknowledged one at least: {acknowledged}");
}
