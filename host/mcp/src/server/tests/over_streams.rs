//! Tests over two streams, as over standard input and output.

use std::sync::Arc;
use std::time::Duration;

use firebox_contract::{Caller, Error, limits};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, ReadHalf, WriteHalf};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::fake::{FakeTools, SOON, initialize, meta};
use crate::server::{ServerInfo, serve_streams};

const REVISIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

/// A client that writes and reads lines.
struct LineClient {
    write: WriteHalf<DuplexStream>,
    read: BufReader<ReadHalf<DuplexStream>>,
    server: JoinHandle<Result<(), Error>>,
}

impl LineClient {
    fn of(source: &Arc<FakeTools>) -> Self {
        let (near, far) = tokio::io::duplex(1 << 16);
        let (far_read, far_write) = tokio::io::split(far);
        let source = Arc::clone(source) as Arc<dyn firebox_contract::ToolSource>;
        let served = serve_streams(source, Caller::local(), ServerInfo::firebox(), far_read, far_write);
        let server = tokio::spawn(served);
        let (read, write) = tokio::io::split(near);
        Self { write, read: BufReader::new(read), server }
    }

    async fn send(&mut self, message: Value) {
        let line = format!("{message}\n");
        self.write.write_all(line.as_bytes()).await.expect("the server reads");
    }

    async fn next(&mut self) -> Value {
        let mut line = String::new();
        timeout(SOON, self.read.read_line(&mut line)).await.expect("soon").expect("a line");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// A client after a handshake of `revision`.
    async fn session(source: &Arc<FakeTools>, revision: &str) -> Self {
        let mut client = Self::of(source);
        client.send(initialize(revision)).await;
        assert_eq!(client.next().await["result"]["protocolVersion"], revision);
        client.send(json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await;
        client
    }

    async fn call(&mut self, id: u64, tool: &str) {
        self.send(json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": tool } })).await;
    }

    /// Sends a request. Returns the notifications before the answer, and the answer.
    async fn ask(&mut self, id: u64, method: &str, params: Value) -> (Vec<Value>, Value) {
        self.send(json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })).await;
        let mut notifications = Vec::new();
        loop {
            let message = self.next().await;
            if message["id"] == id {
                return (notifications, message);
            }
            notifications.push(message);
        }
    }
}

fn changes(notifications: &[Value]) -> usize {
    notifications.iter().filter(|notice| notice["method"] == "notifications/tools/list_changed").count()
}

#[tokio::test]
async fn f4_list_changed_is_sent_to_the_client() {
    for revision in REVISIONS {
        let source = Arc::new(FakeTools::default());
        let mut client = LineClient::session(&source, revision).await;
        // An answer after `initialized` shows that `initialized` was handled.
        let (before, listed) = client.ask(1, "tools/list", json!({})).await;
        assert_eq!((changes(&before), listed["result"]["tools"].as_array().map(Vec::len)), (0, Some(5)));
        source.give("another", "theirs");
        source.give("local", "mine");
        let notice = client.next().await;
        assert_eq!(notice, json!({ "jsonrpc": "2.0", "method": "notifications/tools/list_changed" }), "{revision}");
        let (after, listed) = client.ask(2, "tools/list", json!({})).await;
        assert_eq!((changes(&after), listed["result"]["tools"].as_array().map(Vec::len)), (0, Some(6)), "{revision}");
    }
}

#[tokio::test]
async fn f4_list_changed_is_sent_to_a_subscription() {
    let source = Arc::new(FakeTools::default());
    let mut client = LineClient::of(&source);
    let wants = json!({ "_meta": meta(), "notifications": { "toolsListChanged": true, "promptsListChanged": true } });
    client.send(json!({ "jsonrpc": "2.0", "id": 7, "method": "subscriptions/listen", "params": wants })).await;
    let acknowledged = client.next().await;
    assert_eq!(acknowledged["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(acknowledged["params"]["notifications"], json!({ "toolsListChanged": true }));
    // Changes are compared with the list that was read last.
    client.ask(8, "tools/list", json!({ "_meta": meta() })).await;
    source.give("local", "mine");
    let notice = client.next().await;
    assert_eq!(notice["method"], "notifications/tools/list_changed");
    assert_eq!(notice["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], 7);
}

#[tokio::test]
async fn a_cancelled_call_is_dropped() {
    let source = Arc::new(FakeTools::default());
    let mut client = LineClient::session(&source, "2025-11-25").await;
    client.call(3, "wait").await;
    timeout(SOON, source.started.notified()).await.expect("it starts");
    client.send(json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 3 } })).await;
    timeout(SOON, source.dropped.notified()).await.expect("it is dropped");
    // It gets no answer: the next answer is for the next request.
    let (notifications, _) = client.ask(4, "tools/list", json!({})).await;
    assert!(notifications.is_empty(), "{notifications:?}");
}

#[tokio::test]
async fn progress_comes_before_the_answer_and_only_if_asked_for() {
    let source = Arc::new(FakeTools::default());
    let mut client = LineClient::session(&source, "2025-11-25").await;
    let (notifications, _) = client.ask(1, "tools/call", json!({ "name": "steps" })).await;
    assert!(notifications.is_empty(), "{notifications:?}");
    let asks = json!({ "name": "steps", "_meta": { "progressToken": "p" } });
    let (notifications, answer) = client.ask(2, "tools/call", asks).await;
    let done: Vec<f64> = notifications.iter().filter_map(|notice| notice["params"]["progress"].as_f64()).collect();
    assert_eq!(done, [1.0, 2.0, 3.0], "progress that does not grow is not sent");
    assert!(notifications.iter().all(|notice| notice["params"]["progressToken"] == "p"), "{notifications:?}");
    assert_eq!(answer["result"]["content"][0]["text"], "stepped");
}

#[tokio::test]
async fn an_unknown_tool_is_a_protocol_error_and_a_failure_is_a_result() {
    let source = Arc::new(FakeTools::default());
    let mut client = LineClient::session(&source, "2025-11-25").await;
    let (_, unknown) = client.ask(1, "tools/call", json!({ "name": "nothing" })).await;
    assert_eq!(unknown["error"]["code"], -32602);
    assert!(unknown["error"]["message"].as_str().is_some_and(|text| text.contains("\"nothing\"")), "{unknown}");
    for (id, tool, words) in
        [(2, "busy", "3 of 3"), (3, "broken", "\"broken\" at stage \"tool\" used all its fuel (1234)")]
    {
        let (_, failed) = client.ask(id, "tools/call", json!({ "name": tool })).await;
        assert_eq!(failed["result"]["isError"], true, "{failed}");
        let text = failed["result"]["content"][0]["text"].as_str().expect("text");
        assert!(text.contains(words), "{text}");
    }
}

#[tokio::test]
async fn calls_that_run_at_the_end_of_the_input_are_answered() {
    let source = Arc::new(FakeTools::default());
    let mut client = LineClient::session(&source, "2025-11-25").await;
    client.call(1, "wait").await;
    timeout(SOON, source.started.notified()).await.expect("it starts");
    client.write.shutdown().await.expect("closed");
    source.proceed.notify_one();
    assert_eq!(client.next().await["result"]["content"][0]["text"], "waited");
    let ended = timeout(SOON, client.server).await.expect("soon").expect("no panic");
    assert!(ended.is_ok(), "{ended:?}");
}

#[tokio::test]
async fn a_client_that_sends_nothing_ends_the_server() {
    let source = Arc::new(FakeTools::default());
    let mut silent = LineClient::of(&source);
    silent.write.shutdown().await.expect("closed");
    assert!(timeout(SOON, silent.server).await.expect("soon").expect("no panic").is_ok());
}

#[tokio::test]
async fn an_invalid_message_gets_a_readable_error_and_the_next_one_is_served() {
    let source = Arc::new(FakeTools::default());
    let mut client = LineClient::of(&source);
    let cases: [(&[u8], Value, i64, &str); 8] = [
        (b"hello", Value::Null, -32_700, "not JSON"),
        (b"\xff\xfe", Value::Null, -32_700, "not UTF-8"),
        (b"42", Value::Null, -32_600, "a message is a JSON object"),
        (b"[{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"ping\"}]", Value::Null, -32_600, "one message at a time"),
        (b"{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"ping\"}", Value::Null, -32_600, "a string or an integer"),
        (b"{\"jsonrpc\":\"2.0\",\"id\":2.5,\"method\":\"ping\"}", json!(2.5), -32_600, "not a 64-bit integer"),
        (b"{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"tools/list\"}", json!(7), -32_600, "send \"initialize\" first"),
        (b"{\"jsonrpc\":\"2.0\",\"id\":8,\"method\":\"initialize\"}", json!(8), -32_602, "\"protocolVersion\""),
    ];
    // A notification before the handshake is ignored.
    client.send(json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await;
    for (line, id, code, words) in cases {
        client.write.write_all(&[line, b"\r\n"].concat()).await.expect("the server reads");
        let refused = client.next().await;
        assert_eq!((&refused["id"], &refused["error"]["code"]), (&id, &json!(code)), "{refused}");
        assert!(refused["error"]["message"].as_str().is_some_and(|text| text.contains(words)), "{refused}");
    }
    let long = "x".repeat(limits::MCP_SERVER_LINE_BYTES_MAX + 10);
    client.write.write_all(format!("{long}\n").as_bytes()).await.expect("the server reads");
    assert_eq!(client.next().await["error"]["code"], -32_600, "a line that is too long");
    client.send(initialize("2025-11-25")).await;
    assert_eq!(client.next().await["result"]["protocolVersion"], "2025-11-25");
    client.send(json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await;
    for (id, method, params, code) in [
        (1, "no/such", json!({}), -32_601),
        (2, "tools/call", json!({ "arguments": {} }), -32_602),
        (3, "tools/call", json!({ "name": "nothing" }), -32_602),
        (4, "tools/call", json!({ "name": "whoami", "arguments": "{}" }), -32_602),
        (5, "tools/list", json!({ "cursor": "nowhere" }), -32_602),
    ] {
        let (_, refused) = client.ask(id, method, params).await;
        assert_eq!(refused["error"]["code"], code, "{refused}");
    }
    let (_, served) = client.ask(6, "tools/call", json!({ "name": "whoami", "arguments": null, "_meta": null })).await;
    assert_eq!(served["result"]["content"][0]["text"], "local");
}

#[tokio::test]
async fn batches_are_accepted_only_in_revisions_that_have_them() {
    let source = Arc::new(FakeTools::default());
    let list = |id: u64| json!({ "jsonrpc": "2.0", "id": id, "method": "tools/list" });
    for revision in REVISIONS {
        let mut client = LineClient::session(&source, revision).await;
        client.send(json!([list(1), { "jsonrpc": "2.0", "id": 2, "method": 5 }, list(3)])).await;
        if revision >= "2025-06-18" {
            assert_eq!(client.next().await["error"]["code"], -32_600, "{revision}");
            continue;
        }
        let mut answers = [client.next().await, client.next().await, client.next().await];
        answers.sort_by_key(|answer| answer["id"].as_u64());
        assert!(answers[0]["result"]["tools"].is_array() && answers[2]["result"]["tools"].is_array(), "{answers:?}");
        assert_eq!(answers[1]["error"]["code"], -32_600, "{answers:?}");
        client.send(json!([])).await;
        assert_eq!(client.next().await["error"]["message"], "the batch is empty");
    }
}

#[tokio::test]
async fn an_id_in_use_is_refused_until_its_request_is_answered() {
    let source = Arc::new(FakeTools::default());
    let mut client = LineClient::session(&source, "2025-11-25").await;
    client.call(5, "wait").await;
    timeout(SOON, source.started.notified()).await.expect("it starts");
    client.call(5, "whoami").await;
    let refused = client.next().await;
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(5), &json!(-32_600)), "{refused}");
    source.proceed.notify_one();
    assert_eq!(client.next().await["result"]["content"][0]["text"], "waited");
    client.call(5, "whoami").await;
    assert_eq!(client.next().await["result"]["content"][0]["text"], "local");
}

#[tokio::test]
async fn the_end_of_input_loses_no_answer_with_progress_notifications() {
    let source = Arc::new(FakeTools::default());
    let mut client = LineClient::session(&source, "2025-11-25").await;
    for id in 1..=9 {
        let params = json!({ "name": "steps", "_meta": { "progressToken": id } });
        client.send(json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params })).await;
    }
    // The last line may lack an end of line.
    client.write.write_all(br#"{"jsonrpc":"2.0","id":10,"method":"tools/list"}"#).await.expect("the server reads");
    client.write.shutdown().await.expect("closed");
    let mut answered = Vec::new();
    while answered.len() < 10 {
        let message = client.next().await;
        answered.extend(message["id"].as_u64());
    }
    answered.sort_unstable();
    assert_eq!(answered, (1..=10).collect::<Vec<u64>>());
    let ended = timeout(SOON, client.server).await.expect("soon").expect("no panic");
    assert!(ended.is_ok(), "{ended:?}");
}

#[tokio::test]
async fn a_caller_cannot_exceed_its_maximum_of_calls() {
    let source = Arc::new(FakeTools::default());
    let mut client = LineClient::session(&source, "2025-11-25").await;
    let most = Caller::local().in_flight_max as u64;
    for id in 0..most {
        client.call(100 + id, "wait").await;
        timeout(SOON, source.started.notified()).await.expect("it starts");
    }
    let (_, refused) = client.ask(1, "tools/call", json!({ "name": "whoami" })).await;
    let text = refused["result"]["content"][0]["text"].as_str().expect("text");
    assert!(text.contains("too many tool calls") && text.contains(&most.to_string()), "{text}");
    source.proceed.notify_one();
    assert_eq!(client.next().await["result"]["content"][0]["text"], "waited");
    timeout(Duration::from_secs(1), source.dropped.notified()).await.expect("the call is dropped");
    let (_, served) = client.ask(2, "tools/call", json!({ "name": "whoami" })).await;
    assert_eq!(served["result"]["content"][0]["text"], "local");
}
