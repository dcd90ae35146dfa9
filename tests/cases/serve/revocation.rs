//! Keys that are revoked, expire or lose rights while their requests run.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime};

use firebox::time::rfc3339;
use serde_json::{Value, json};

use super::mcp::rpc;
use super::shutdown::long;
use super::{ANSWER, QUESTION, chat, content, with};
use crate::harness::server::{PLUGINS, Response, Server, digest, finish, key, tenant};

/// Requests of an invalid key end within a second. A busy machine needs more time.
const SOON: Duration = Duration::from_secs(15);

/// A tenant whose tool calls all need approval.
fn asking(name: &str) -> String {
    tenant(name, &format!("{PLUGINS}\n[tenant.tools]\nask = [\"*\"]"))
}

/// At most two requests of a tenant run at the same time. The first request of another tenant is admitted too.
fn config(tenants: &[&str]) -> String {
    format!("[[model]]\nname = \"ember\"\ndevice = \"cpu\"\nin_flight_max = 2\n{}", tenants.concat())
}

fn reload(server: &Server, config: &str) -> Instant {
    let before = server.log().matches("configuration reloaded").count();
    server.rewrite(config);
    server.signal("HUP");
    server.wait_until("reloaded", |said| said.matches("configuration reloaded").count() > before);
    Instant::now()
}

fn open(server: &Server, name: &str, body: &Value) -> TcpStream {
    server.open("POST", "/v1/chat/completions", Some(&key(name)), body.to_string().as_bytes())
}

fn waiting(server: &Server, name: &str) -> Vec<Value> {
    server.get("/v1/approvals", name).json()["data"].as_array().cloned().unwrap_or_default()
}

fn in_time(since: Instant, what: &str) {
    assert!(since.elapsed() < SOON, "{what} ended after {:?}", since.elapsed());
}

/// The event stream of an MCP session.
fn listen(server: &Server, name: &str) -> TcpStream {
    let begin = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}});
    let (status, _, session) = rpc(server, &key(name), "", &begin);
    assert_eq!(status, 200);
    rpc(server, &key(name), &session, &json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    let head = format!(
        "GET /mcp HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\naccept: text/event-stream\r\n\
         mcp-session-id: {session}\r\n\r\n",
        key(name)
    );
    let mut stream = TcpStream::connect(&server.address).expect("accepts");
    stream.set_read_timeout(Some(SOON * 4)).expect("a timeout");
    std::io::Write::write_all(&mut stream, head.as_bytes()).expect("taken");
    assert_eq!(stream.peek(&mut [0]).expect("it begins"), 1);
    stream
}

/// Whether the stream is still open after all received bytes are read.
fn is_open(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    loop {
        match std::io::Read::read(stream, &mut [0; 4_096]) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }
}

fn unauthorized(response: &Response) {
    assert!(response.body.contains("\"code\":\"unauthorized\""), "{response:?}");
    assert!(!response.body.contains("[DONE]"), "{response:?}");
}

#[test]
fn revoking_a_key_ends_its_requests_and_no_others() {
    let stays = asking("stays");
    let server = Server::start(&config(&[&stays, &asking("gone"), &tenant("talks", PLUGINS)]));
    let stream = with(chat(QUESTION), "stream", json!(true));
    let (held, whole) = (open(&server, "gone", &stream), open(&server, "gone", &chat(QUESTION)));
    server.eventually("asked", |server| waiting(server, "gone").len() == 2);
    let queued = open(&server, "gone", &chat(QUESTION));
    server.eventually("queued", |server| server.metric("stays", "firebox_requests_waiting{") >= 1.0);
    let listens = listen(&server, "gone");
    let (theirs, mut listens_on) = (open(&server, "stays", &stream), listen(&server, "stays"));
    server.eventually("asked", |server| waiting(server, "stays").len() == 1);
    // Sends requests one after another, so that one runs at the moment of the revocation.
    let address = server.address.clone();
    let talking = std::thread::spawn(move || {
        let request = long(900).to_string();
        loop {
            let head = format!(
                "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer \
                 {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{request}",
                key("talks"),
                request.len()
            );
            let mut stream = TcpStream::connect(&address).expect("accepts");
            std::io::Write::write_all(&mut stream, head.as_bytes()).expect("taken");
            let done = finish(stream);
            if !done.body.contains("[DONE]") {
                return done;
            }
        }
    });
    server.eventually("talked", |server| server.metric("stays", "firebox_requests_running{") >= 4.0);

    let since = reload(&server, &config(&[&stays]));
    let cut = finish(held);
    in_time(since, "the stream that waits for an approval");
    unauthorized(&cut);
    assert!(cut.status == 200 && cut.body.contains("approval_needed"), "{cut:?}");
    for (request, what) in [(whole, "the answer that waits for an approval"), (queued, "the request in the queue")] {
        let refused = finish(request);
        in_time(since, what);
        assert_eq!(refused.status, 401, "{what}: {refused:?}");
        unauthorized(&refused);
    }
    finish(listens);
    in_time(since, "the stream of notices");
    unauthorized(&talking.join().expect("no panic"));
    in_time(since, "the text stream");

    assert!(is_open(&mut listens_on), "another tenant's stream goes on");
    let id = waiting(&server, "stays")[0]["id"].as_str().expect("an id").to_owned();
    let approved = server.post(&format!("/v1/approvals/{id}"), "stays", &json!({"decision": "approve"}));
    assert_eq!((approved.status, &approved.json()["by"]), (200, &json!("stayskey")), "{approved:?}");
    assert!(finish(theirs).body.contains(ANSWER));
    assert!(content(&server.post("/v1/chat/completions", "stays", &chat("Hello!")).json()).len() > 1);
}

#[test]
fn a_call_of_a_revoked_key_cannot_be_approved() {
    let second = format!(
        "[[tenant.key]]\nid = \"otherkey\"\ndigest = \"{}\"\nscopes = [\"chat\", \"approve\", \"usage\"]\n",
        digest("other")
    );
    let both = format!("{}{second}", asking("gone"));
    let audit = "[audit]\npath = \"audit.jsonl\"\n";
    let server = Server::start(&format!("{audit}{}", config(&[&both])));
    let held = open(&server, "gone", &with(chat(QUESTION), "stream", json!(true)));
    server.eventually("asked", |server| waiting(server, "gone").len() == 1);
    let asked = waiting(&server, "other")[0].clone();
    assert_eq!(asked["asked_by"], "gonekey");
    // The tenant stays, and the key of the request is removed.
    let first = format!("[[tenant.key]]\nid = \"gonekey\"\ndigest = \"{}\"\n", digest("gone"));
    assert!(both.contains(&first), "{both}");
    let (begin, end) = (both.find(&first).expect("there"), both.find(&second).expect("there"));
    let since = reload(&server, &format!("{audit}{}{}", config(&[&both[..begin]]), &both[end..]));
    server.eventually("withdrawn", |server| waiting(server, "other").is_empty());
    in_time(since, "the wait");
    let id = asked["id"].as_str().expect("an id");
    let late = server.post(&format!("/v1/approvals/{id}"), "other", &json!({"decision": "approve"}));
    assert_eq!(late.status, 404, "{late:?}");
    unauthorized(&finish(held));
    assert_eq!(server.get("/v1/usage", "other").json()["total"]["tool_calls"], 0, "it did not run");
    server.eventually("logged", |server| {
        let log = std::fs::read_to_string(server.folder.path().join("audit.jsonl")).expect("readable");
        let ended = |line: &str| line.contains("\"event\":\"request\"") && line.contains("\"unauthorized\"");
        log.lines().any(ended) && !log.contains("\"decision\":\"approved\"")
    });
}

#[test]
fn an_approval_needs_the_approve_scope_and_the_audit_log_names_its_key() {
    let keys =
        |id: &str, scopes: &str| format!("[[tenant.key]]\nid = \"{id}key\"\ndigest = \"{}\"\n{scopes}\n", digest(id));
    let tenant = format!(
        "[[tenant]]\nname = \"acme\"\n{PLUGINS}\n[tenant.tools]\nask = [\"*\"]\n{}{}",
        keys("plain", ""),
        keys("boss", "scopes = [\"approve\"]")
    );
    let audit = "[audit]\npath = \"audit.jsonl\"\n[tools]\napproval_timeout = \"3000s\"\n";
    let server = Server::start(&format!("{audit}{}", config(&[&tenant])));
    let held = open(&server, "plain", &chat(QUESTION));
    server.eventually("asked", |server| waiting(server, "boss").len() == 1);
    let path = format!("/v1/approvals/{}", waiting(&server, "boss")[0]["id"].as_str().expect("an id"));
    let own = server.post(&path, "plain", &json!({"decision": "approve"}));
    assert_eq!((own.status, own.code().as_str()), (403, "denied"), "a key does not approve what it asked: {own:?}");
    assert!(own.body.contains("approve"), "{own:?}");
    assert_eq!(server.post(&path, "boss", &json!({"decision": "approve"})).json()["by"], "bosskey");
    assert!(content(&finish(held).json()).contains(ANSWER));
    server.eventually("logged", |server| {
        let log = std::fs::read_to_string(server.folder.path().join("audit.jsonl")).expect("readable");
        let approval = |line: &&str| line.contains("\"event\":\"approval\"") && line.contains("\"key\":\"bosskey\"");
        log.lines().find(approval).is_some_and(|line| line.contains("\"tool\":\"calculator\""))
    });
    // A reload applies the new approval timeout.
    reload(&server, &format!("{}{}", audit.replace("3000s", "1s"), config(&[&tenant])));
    let declined = finish(open(&server, "plain", &with(chat(QUESTION), "stream", json!(true))));
    assert!(declined.body.contains("no approval within 1 s"), "{declined:?}");
}

#[test]
fn an_expired_key_ends_its_requests() {
    let begun = SystemTime::now();
    // Long enough to start a server on a busy machine.
    let expires = begun + Duration::from_secs(20);
    let gone = format!("{}expires = {}\n", asking("gone"), rfc3339(expires));
    let server = Server::start(&config(&[&tenant("stays", PLUGINS), &gone]));
    let held = open(&server, "gone", &with(chat(QUESTION), "stream", json!(true)));
    server.eventually("asked", |server| waiting(server, "gone").len() == 1);
    let listens = listen(&server, "gone");
    unauthorized(&finish(held));
    finish(listens);
    let late = SystemTime::now().duration_since(expires).expect("not before it expires");
    assert!(late < SOON, "{late:?}");
    assert_eq!(server.get("/v1/models", "gone").status, 401);
    assert_eq!(server.get("/v1/models", "stays").status, 200);
}

/// The plugin of a call is removed while the call waits for approval.
#[test]
fn an_approved_call_does_not_run_if_its_plugin_was_removed() {
    let server = Server::start(&config(&[&asking("acme")]));
    let held = open(&server, "acme", &chat(QUESTION));
    server.eventually("asked", |server| waiting(server, "acme").len() == 1);
    reload(&server, &config(&[&asking("acme").replace("\"calculator\", ", "")]));
    let id = waiting(&server, "acme")[0]["id"].as_str().expect("an id").to_owned();
    let approved = server.post(&format!("/v1/approvals/{id}"), "acme", &json!({"decision": "approve"}));
    assert_eq!(approved.status, 200);
    let done = finish(held).json();
    let call = &done["firebox"]["tool_calls"][0];
    assert!(call["result"].as_str().is_some_and(|result| result.contains("was removed")), "{done}");
}
