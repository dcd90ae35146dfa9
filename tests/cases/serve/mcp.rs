//! MCP in both directions: tools of MCP servers for models, and tools of tenants for MCP clients.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{ANSWER, QUESTION, chat, config, content, raw};
use crate::harness::server::{Server, key, tenant};

/// Firebox's own MCP server over standard input and output, configured as an external server.
fn own_server(more: &str) -> String {
    let binary = env!("CARGO_BIN_EXE_firebox");
    format!(
        "[[mcp.server]]\nname = \"sums\"\ncommand = [\"{binary}\", \"mcp\", \"serve\", \"--plugin\", \"calculator\"]\n\
         env_pass = [\"FIREBOX_CACHE\"]\n{more}\n"
    )
}

#[test]
fn only_tenants_with_access_use_an_mcp_servers_tools_and_its_process_ends_with_the_host() {
    let sees = tenant("sees", "mcp_servers = [\"sums\"]");
    let blind = tenant("blind", "");
    let mut server = Server::start(&config(&format!("{sees}{blind}{}", own_server("required = true"))));
    server.eventually("ready", |server| server.ask("GET", "/readyz", None, b"").status == 200);
    let done = server.post("/v1/chat/completions", "sees", &chat(QUESTION)).json();
    assert!(content(&done).contains(ANSWER), "{done}");
    assert_eq!(done["firebox"]["tool_calls"][0]["result"], ANSWER, "{done}");
    assert_eq!(server.metric("alpha", "firebox_mcp_server_up{server=\"sums\"}"), 1.0);
    let done = server.post("/v1/chat/completions", "blind", &chat(QUESTION)).json();
    assert_eq!(done["firebox"]["tool_calls"], json!([]), "{done}");
    server.signal("TERM");
    assert_eq!(server.ended(), Some(0), "{}", server.log());
    assert!(!server.log().contains("could not be ended"), "{}", server.log());
}

#[test]
fn a_broken_mcp_server_only_removes_its_own_tools_and_readiness_if_required() {
    let broken = "[[mcp.server]]\nname = \"broken\"\ncommand = [\"false\"]\nrequired = true\n";
    let sees = tenant("sees", "mcp_servers = [\"*\"]\nplugins = [\"calculator\"]");
    let server = Server::start(&config(&format!("{sees}{broken}")));
    server.eventually("missed", |server| {
        let ready = server.ask("GET", "/readyz", None, b"");
        ready.status == 503 && ready.body.contains("mcp server \\\"broken\\\"")
    });
    server.wait_until("said", |said| said.contains("mcp server \"broken\" does not answer"));
    let done = server.post("/v1/chat/completions", "sees", &chat(QUESTION)).json();
    assert!(content(&done).contains(ANSWER), "{done}");
}

/// A required server that never answers makes the host not ready. Only the first chat of its tenants waits for it, for a short
/// time, and each answer names the server whose tools are missing.
#[test]
fn a_hung_mcp_server_does_not_block_chats_and_blocks_readiness_if_required() {
    let hung =
        "[[mcp.server]]\nname = \"hung\"\ncommand = [\"sleep\", \"600\"]\nrequired = true\nconnect_timeout = \"60s\"\n";
    let sees = tenant("sees", "mcp_servers = [\"*\"]\nplugins = [\"calculator\"]");
    let server = Server::start(&config(&format!("{sees}{hung}")));
    let ready = server.ask("GET", "/readyz", None, b"");
    assert!(ready.status == 503 && ready.body.contains("mcp server \\\"hung\\\""), "{ready:?}");
    let mut times = Vec::new();
    for _ in 0..4 {
        let started = Instant::now();
        let done = server.post("/v1/chat/completions", "sees", &chat(QUESTION)).json();
        times.push(started.elapsed());
        assert!(content(&done).contains(ANSWER), "{done}");
        assert_eq!(done["firebox"]["mcp_servers_missing"], json!(["hung"]), "{done}");
    }
    assert!(times[0] < Duration::from_secs(10), "{times:?}");
    assert!(times[1..].iter().all(|time| *time < Duration::from_secs(2)), "{times:?}");
}

#[test]
fn a_required_mcp_server_without_tenants_blocks_readiness_and_is_reported() {
    let server = Server::start(&config(&own_server("required = true")));
    let ready = server.ask("GET", "/readyz", None, b"");
    assert!(ready.status == 503 && ready.body.contains("mcp server \\\"sums\\\""), "{ready:?}");
    assert!(server.log().contains("\"sums\" is required, but no tenant can use it"), "{}", server.log());
}

/// If two servers have tools of the same name, both tools are renamed. Denied tools stay denied (I9).
#[test]
fn a_rule_for_a_tool_applies_when_a_second_server_has_the_same_tool_name() {
    let servers = format!("{}{}", own_server(""), own_server("").replace("\"sums\"", "\"twin\""));
    let denied = tenant("denied", "mcp_servers = [\"*\"]\n[tenant.tools]\ndeny = [\"calculator\"]");
    let server = Server::start(&config(&format!("{servers}{}{denied}", tenant("free", "mcp_servers = [\"*\"]"))));
    for tool in ["sums__calculator", "twin__calculator"] {
        let mut body = chat(QUESTION);
        body["tool_choice"] = json!({"type": "function", "function": {"name": tool}});
        body["max_tokens"] = json!(1);
        server.eventually("offered", |server| server.post("/v1/chat/completions", "free", &body).status == 200);
        let refused = server.post("/v1/chat/completions", "denied", &body);
        assert_eq!(refused.status, 400, "{refused:?}");
        assert!(refused.body.contains("not among the tools offered"), "{refused:?}");
    }
}

/// Sends a request to `/mcp`. Returns the status, the JSON and the MCP session of the answer.
pub(super) fn rpc(server: &Server, key: &str, session: &str, body: &Value) -> (u16, Value, String) {
    let text = body.to_string();
    let session = if session.is_empty() { String::new() } else { format!("mcp-session-id: {session}\r\n") };
    let response = raw(
        server,
        &format!(
            "POST /mcp HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {key}\r\n\
             accept: application/json, text/event-stream\r\ncontent-type: application/json\r\n{session}\
             content-length: {}\r\n\r\n{text}",
            text.len()
        ),
    );
    let header = response.headers.lines().find_map(|line| line.strip_prefix("mcp-session-id: "));
    // An answer may be an event stream with one event.
    let mut events =
        response.body.lines().filter_map(|line| line.strip_prefix("data: ").filter(|data| !data.is_empty()));
    let data = events.next_back().unwrap_or(&response.body);
    (response.status, serde_json::from_str(data).unwrap_or_default(), header.unwrap_or_default().trim().to_owned())
}

/// The first request of an MCP session.
pub(super) fn begin() -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}})
}

#[test]
fn mcp_clients_see_the_tools_of_their_own_tenant() {
    let server = Server::start(&config(&tenant("bare", "")));
    let begin = begin();
    assert_eq!(rpc(&server, "fbx_nobody_0", "", &begin).0, 401);
    for (name, expected) in [("alpha", true), ("bare", false)] {
        let (status, _, session) = rpc(&server, &key(name), "", &begin);
        assert_eq!((status, session.is_empty()), (200, false), "{name}");
        let told =
            rpc(&server, &key(name), &session, &json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        assert_eq!(told.0, 202, "{name}");
        let list = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"});
        let (_, tools, _) = rpc(&server, &key(name), &session, &list);
        let offered =
            tools["result"]["tools"].as_array().expect("a list").iter().any(|tool| tool["name"] == "calculator");
        assert_eq!(offered, expected, "{name}: {tools}");
        let call = json!({"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {
            "name": "calculator", "arguments": {"expression": "1234 * 87"}}});
        let (_, result, _) = rpc(&server, &key(name), &session, &call);
        assert_eq!(result["result"]["content"][0]["text"] == ANSWER, expected, "{name}: {result}");
        let stolen = rpc(&server, &key(if expected { "bare" } else { "alpha" }), &session, &list);
        assert_eq!(stolen.0, 404, "a session is its tenant's");
    }
    let usage = || server.get("/v1/usage", "alpha").json()["total"].clone();
    let before = usage();
    assert!(before["tool_calls"] == 1 && before["plugin_fuel"].as_u64() > Some(0), "{before}");
    let (_, _, session) = rpc(&server, &key("alpha"), "", &begin);
    rpc(&server, &key("alpha"), &session, &json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    let call = json!({"jsonrpc": "2.0", "id": 4, "method": "tools/call", "params": {
        "name": "calculator", "arguments": {"expression": 1234}}});
    let (_, result, _) = rpc(&server, &key("alpha"), &session, &call);
    let text = result["result"]["content"][0]["text"].as_str().unwrap_or_default();
    assert!(result["result"]["isError"] == true && text.contains("1234 is not of type \"string\""), "{result}");
    let after = usage();
    assert_eq!(
        (&after["tool_calls"], &after["plugin_fuel"]),
        (&before["tool_calls"], &before["plugin_fuel"]),
        "it did not run"
    );
}

/// The log has a plugin's lines with the id of the request. An error for a client names keys of the configuration, and not
/// options of the command line.
#[test]
fn plugin_lines_are_logged_and_errors_name_keys_of_the_configuration() {
    let plugin = crate::harness::root().join("plugins/prebuilt/conformance.wasm");
    let plugins = format!(
        "[[plugin]]\nname = \"conformance\"\nsource = \"{}\"\ngrants = [\"log\"]\nfuel = 5_000_000\ntimeout = \"9s\"\n",
        plugin.display()
    );
    let server = Server::start(&config(&format!("{plugins}{}", tenant("tools", "plugins = [\"conformance\"]"))));
    let (_, _, session) = rpc(&server, &key("tools"), "", &begin());
    rpc(&server, &key("tools"), &session, &json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    let call = |id: u64, tool: &str| json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": tool, "arguments": {}}});
    let (_, result, _) = rpc(&server, &key("tools"), &session, &call(2, "test_logging_tool"));
    assert_eq!(result["result"]["isError"], false, "{result}");
    server.wait_until("logged", |said| said.contains("Tool execution completed"));
    let said = server.log();
    let line = said.lines().find(|line| line.contains("Tool execution started")).expect("the line");
    for word in ["INFO", "request=\"req_", "tenant=\"tools\"", "plugin=\"conformance\"", "level=\"info\""] {
        assert!(line.contains(word), "{word} is not in: {line}");
    }
    let (_, result, _) = rpc(&server, &key("tools"), &session, &call(3, "fault_endless"));
    let text = result["result"]["content"][0]["text"].as_str().expect("text");
    assert!(text.contains("the operator can raise \"fuel\"") && text.contains("\"plugin_fuel\""), "{text}");
    assert!(!text.contains("--fuel"), "{text}");
}

/// Every invalid message is answered with a JSON-RPC error.
#[test]
fn invalid_messages_get_a_json_rpc_error() {
    let server = Server::start(&config(""));
    let (status, answer, _) = rpc(&server, &key("alpha"), "", &json!([]));
    assert_eq!((status, &answer["error"]["code"]), (400, &json!(-32_600)), "{answer}");
    let many = json!({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"x": vec![1; 70_000]}});
    let (status, answer, _) = rpc(&server, &key("alpha"), "", &many);
    assert_eq!((status, &answer["error"]["code"]), (400, &json!(-32_600)), "{answer}");
    let list = json!({"jsonrpc": "2.0", "id": 9, "method": "tools/list"});
    let (status, answer, _) = rpc(&server, &key("alpha"), "nope", &list);
    assert_eq!((status, &answer["id"]), (404, &json!(9)), "{answer}");
}
