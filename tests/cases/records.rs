//! The audit log and the session database of a server, also when another program changes their files.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::harness::server::{PLUGINS, Server, command, key, tenant};

const RECORDS: &str = "[audit]\npath = \"audit.jsonl\"\n[sessions]\npath = \"sessions.db\"\n";

fn config(tenants: &str) -> String {
    format!("[server]\nlisten = \"127.0.0.1:0\"\n{RECORDS}{tenants}")
}

fn alpha() -> String {
    tenant("alpha", PLUGINS)
}

fn path(server: &Server, name: &str) -> PathBuf {
    server.folder.path().join(name)
}

fn log(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("readable");
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect()
}

fn verify(files: &[&Path]) -> (i32, String) {
    let folder = files[0].parent().expect("a folder");
    let output = command(folder).args(["audit", "verify"]).args(files).stdout(Stdio::piped()).output().expect("runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().expect("a code"), String::from_utf8(said).expect("text"))
}

fn session(server: &Server) -> String {
    let made = server.post("/v1/sessions", "alpha", &json!({"model": "ember"})).json();
    format!("/v1/sessions/{}", made["id"].as_str().unwrap_or_else(|| panic!("{made}")))
}

fn missing(server: &Server, what: &str) -> bool {
    let ready = server.ask("GET", "/readyz", None, b"");
    ready.status == 503 && ready.json()["missing"].as_array().is_some_and(|rows| rows.iter().any(|row| row == what))
}

#[test]
fn the_log_has_every_refusal_and_session_with_its_address_and_counts_floods() {
    let narrow = tenant("narrow", "").replace("\"chat\", ", "");
    let mut server = Server::start(&config(&format!("{}{narrow}", alpha())));
    let path = session(&server);
    assert_eq!(server.post("/v1/chat/completions", "narrow", &json!({})).status, 403);
    for _ in 0..200 {
        assert_eq!(server.ask("GET", "/v1/models", Some("fbx_nobody_0123456789"), b"").status, 401);
    }
    assert_eq!(server.get("/v1/sessions/none", "alpha").status, 404);
    assert_eq!(server.ask("GET", "/no/such/%1b[31mplace", None, b"").status, 404);
    assert_eq!(server.ask("DELETE", &path, Some(&key("alpha")), b"").status, 200);
    server.signal("TERM");
    assert_eq!(server.ended(), Some(0), "{}", server.log());
    let file = self::path(&server, "audit.jsonl");
    let lines = log(&file);
    let of = |event: &str, outcome: &str| -> Vec<&Value> {
        lines.iter().filter(|line| line["event"] == event && line["outcome"] == outcome).collect()
    };
    let strangers = of("refusal", "unauthorized");
    let sum: u64 = strangers
        .iter()
        .map(|line| line["count"].as_u64().unwrap_or(0) + u64::from(line["action"] != "repeated"))
        .sum();
    assert_eq!(sum, 200, "{strangers:?}");
    assert!(strangers.len() < 60, "{} lines", strangers.len());
    assert!(strangers.iter().all(|line| line["address"] == "127.0.0.1"), "{strangers:?}");
    let denied = of("refusal", "denied");
    assert!(denied.len() == 1 && denied[0]["tenant"] == "narrow" && denied[0]["key"] == "narrowkey", "{denied:?}");
    assert!(of("refusal", "not_found").iter().any(|line| line["tenant"] == "alpha"), "{lines:?}");
    let sessions: Vec<&Value> = lines.iter().filter(|line| line["event"] == "session").collect();
    let actions: Vec<&str> = sessions.iter().filter_map(|line| line["action"].as_str()).collect();
    assert_eq!(actions, ["create", "delete"], "{sessions:?}");
    assert!(
        sessions
            .iter()
            .all(|line| line["key"] == "alphakey" && path.ends_with(line["session"].as_str().expect("an id")))
    );
    assert!(!server.log().contains('\u{1b}'), "{}", server.log());
    assert_eq!(verify(&[&file]).0, 0);
}

#[test]
fn the_request_id_of_a_client_is_logged_in_addition_to_the_id_of_the_server() {
    let server = Server::start(&config(&alpha()));
    let ask = |id: &str| {
        let request = format!(
            "GET /v1/sessions/none HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx-request-id: {id}\r\n\
             authorization: Bearer {}\r\n\r\n",
            key("alpha")
        );
        let mut stream = std::net::TcpStream::connect(&server.address).expect("accepts");
        std::io::Write::write_all(&mut stream, request.as_bytes()).expect("taken");
        crate::harness::server::finish(stream)
    };
    let good = ask("trace-17");
    assert!(good.headers.contains("x-client-request-id: trace-17") && good.headers.contains("x-request-id: req_"));
    let bad = ask("a b\"c");
    assert!(!bad.headers.contains("x-client-request-id") && bad.headers.contains("x-request-id: req_"), "{bad:?}");
    server.eventually("told", |server| {
        log(&path(server, "audit.jsonl")).iter().any(|line| line["client_request"] == "trace-17")
    });
}

#[test]
fn a_tool_call_over_mcp_is_logged_with_the_id_of_its_request() {
    let server = Server::start(&config(&alpha()));
    let rpc = |session: &str, body: &Value| {
        let text = body.to_string();
        let request = format!(
            "POST /mcp HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {}\r\n\
             accept: application/json, text/event-stream\r\ncontent-type: application/json\r\n{session}\
             content-length: {}\r\n\r\n{text}",
            key("alpha"),
            text.len()
        );
        let mut stream = std::net::TcpStream::connect(&server.address).expect("accepts");
        std::io::Write::write_all(&mut stream, request.as_bytes()).expect("taken");
        crate::harness::server::finish(stream)
    };
    let about =
        json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let begun = rpc("", &json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": about}));
    let line = begun.headers.lines().find(|line| line.starts_with("mcp-session-id: ")).expect("a session");
    let session = format!("{line}\r\n");
    rpc(&session, &json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    let call = json!({"name": "calculator", "arguments": {"expression": "2+2"}});
    let called = rpc(&session, &json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": call}));
    assert!(called.body.contains("\"4\""), "{called:?}");
    let id = called.headers.lines().find_map(|line| line.strip_prefix("x-request-id: ")).expect("an id");
    server.eventually("told", |server| {
        let lines = log(&path(server, "audit.jsonl"));
        let of_call = |line: &&Value| line["request"].as_str().is_some_and(|of| of.eq_ignore_ascii_case(id));
        let events: Vec<&str> = lines.iter().filter(of_call).filter_map(|line| line["event"].as_str()).collect();
        events == ["tool", "request"]
    });
}

#[test]
fn the_log_chain_survives_a_rotation_and_every_change_is_found() {
    let mut server = Server::start(&config(&alpha()));
    let (file, old) = (path(&server, "audit.jsonl"), path(&server, "audit.1"));
    session(&server);
    server.eventually("written", |_| log(&file).iter().any(|line| line["event"] == "session"));
    std::fs::rename(&file, &old).expect("moved");
    // Another process writes to the chain before the server is told about the rotation.
    let added = command(server.folder.path()).args(["tenants", "add", "beta"]).output().expect("runs");
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    session(&server);
    server.signal("HUP");
    server.wait_until("reloaded", |said| said.contains("configuration reloaded"));
    session(&server);
    server.signal("TERM");
    assert_eq!(server.ended(), Some(0), "{}", server.log());
    let (code, said) = verify(&[&old, &file]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("OK: "), "{said}");
    let text = std::fs::read_to_string(&file).expect("readable");
    std::fs::write(&file, text.replacen("\"create\"", "\"delete\"", 1)).expect("written");
    let (code, said) = verify(&[&old, &file]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("audit.jsonl") && said.contains("line "), "{said}");
    let cut: String =
        text.lines().rev().skip(2).collect::<Vec<_>>().into_iter().rev().map(|line| format!("{line}\n")).collect();
    std::fs::write(&file, cut).expect("written");
    let (code, said) = verify(&[&old, &file]);
    assert!(code == 2 && said.contains("are missing"), "{code} {said}");
}

#[test]
fn a_second_server_with_the_same_log_or_sessions_does_not_start_and_names_the_first() {
    let server = Server::start(&config(&alpha()));
    let folder = server.folder.path();
    for (name, other) in
        [("audit", "[audit]\npath = \"audit.jsonl\"\n"), ("sessions", "[sessions]\npath = \"sessions.db\"\n")]
    {
        let file = folder.join(format!("{name}.toml"));
        std::fs::write(&file, format!("{other}{}", alpha())).expect("written");
        let second = command(folder)
            .args(["serve", "--listen", "127.0.0.1:0", "--config"])
            .arg(&file)
            .stderr(Stdio::piped())
            .output()
            .expect("ends");
        let said = String::from_utf8_lossy(&second.stderr);
        assert!(!second.status.success() && said.contains("process "), "{name}: {said}");
    }
    session(&server);
    assert_eq!(server.ask("GET", "/readyz", None, b"").status, 200, "the first goes on");
}

#[cfg(unix)]
#[test]
fn a_deleted_or_damaged_session_database_is_an_error_at_once() {
    for damage in ["deleted", "written over"] {
        let mut server = Server::start(&config(&alpha()));
        let made = session(&server);
        let file = path(&server, "sessions.db");
        match damage {
            "deleted" => std::fs::remove_file(&file).expect("removed"),
            _ => std::fs::write(&file, "not a database any more").expect("written"),
        }
        for (method, path) in [("GET", made.as_str()), ("GET", "/v1/sessions"), ("DELETE", made.as_str())] {
            let answer = server.ask(method, path, Some(&key("alpha")), b"");
            assert_eq!((answer.status, answer.code().as_str()), (503, "sessions_unavailable"), "{damage}: {answer:?}");
            assert!(!answer.body.contains("sessions.db"), "{answer:?}");
        }
        assert!(missing(&server, "the session store"), "{damage}");
        let hello = json!({"model": "ember", "messages": [{"role": "user", "content": "Hello!"}]});
        assert_eq!(server.post("/v1/chat/completions", "alpha", &hello).status, 200, "what needs no session goes on");
        server.signal("TERM");
        assert_eq!(server.ended(), Some(0), "{}", server.log());
        let left = std::fs::read_to_string(&file).ok();
        assert_eq!(left.as_deref(), (damage != "deleted").then_some("not a database any more"));
    }
}

#[test]
fn reading_sessions_counts_as_requests_and_is_paged() {
    let few = tenant("few", &format!("{PLUGINS}\n[tenant.limits]\nrequests_per_minute = 5"));
    let server = Server::start(&config(&format!("{}{few}", alpha())));
    let answers: Vec<u16> = (0..8).map(|_| server.get("/v1/sessions", "few").status).collect();
    assert_eq!(answers, [200, 200, 200, 200, 200, 429, 429, 429]);
    let made = session(&server);
    let messages: Vec<Value> = (0..5).map(|at| json!({"role": "user", "content": at.to_string()})).collect();
    assert_eq!(server.post(&format!("{made}/messages"), "alpha", &json!({"messages": messages})).status, 200);
    let page = |query: &str| server.get(&format!("{made}{query}"), "alpha").json();
    let first = page("?limit=2");
    assert_eq!((first["messages"].as_array().map(Vec::len), &first["next"]), (Some(2), &json!(2)), "{first}");
    let rest = page("?after=2");
    assert_eq!((rest["messages"].as_array().map(Vec::len), &rest["has_more"]), (Some(3), &json!(false)), "{rest}");
    assert_eq!(server.get(&format!("{made}?limit=x"), "alpha").json()["error"]["param"], "limit");
}

/// The files of this server cannot grow beyond 1 MiB, as on a full disk, and its log is almost that large.
#[cfg(unix)]
#[test]
fn a_full_disk_fails_readiness_and_sessions_can_still_be_deleted() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let file = folder.path().join("audit.jsonl");
    let old = format!("{{\"event\":\"old\",\"text\":\"{}\"}}\n", "x".repeat(970));
    std::fs::write(&file, old.repeat((1 << 20) / old.len() - 3)).expect("written");
    let server = Server::listening_under(folder, "trap '' XFSZ; ulimit -f 2048;", &config(&alpha()));
    server.wait_until("ready", |said| said.lines().any(|line| line == "firebox: ready"));
    let made: Vec<String> = (0..3).map(|_| session(&server)).collect();
    let hello = json!({"model": "ember", "messages": [{"role": "user", "content": "Hello!"}]});
    server.eventually("full", |server| {
        server.post("/v1/chat/completions", "alpha", &hello);
        missing(server, "the audit log")
    });
    let refused = server.post("/v1/chat/completions", "alpha", &hello);
    assert_eq!((refused.status, refused.code().as_str()), (503, "unavailable"), "{refused:?}");
    for path in made {
        let deleted = server.ask("DELETE", &path, Some(&key("alpha")), b"");
        assert_eq!(deleted.status, 200, "{deleted:?}");
    }
}
