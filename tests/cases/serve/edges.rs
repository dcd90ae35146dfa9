//! Edge cases of HTTP: web pages of other origins, slashes, methods, encodings of bodies.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::{Value, json};

use super::{ANSWER, QUESTION, chat, config, content, with};
use crate::harness::server::{Response, Server, finish, key, tenant};

const PAGE: &str = "https://app.example";

/// Sends a request with the lines `headers` and the headers that HTTP requires.
fn send(server: &Server, request: &str, headers: &[String], body: &[u8]) -> Response {
    let mut stream = TcpStream::connect(&server.address).expect("accepts");
    stream.set_read_timeout(Some(Duration::from_secs(120))).expect("a timeout");
    let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    let length = body.len();
    let head = format!(
        "{request} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n{lines}\r\n"
    );
    stream.write_all(head.as_bytes()).expect("taken");
    // The server may refuse the request before all of the body is sent.
    let _refused_early = stream.write_all(body);
    finish(stream)
}

fn with_key(tenant: &str) -> String {
    format!("authorization: Bearer {}", key(tenant))
}

fn origin(page: &str) -> String {
    format!("origin: {page}")
}

/// The value of a header of an answer.
fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).expect("a vector");
    encoder.finish().expect("a vector")
}

fn zlib(body: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).expect("a vector");
    encoder.finish().expect("a vector")
}

/// Requests and their statuses, one for each step of the middleware that can refuse.
fn refusals() -> Vec<(&'static str, Vec<String>, Vec<u8>, u16)> {
    let ask = chat(QUESTION).to_string().into_bytes();
    let alpha = || vec![with_key("alpha")];
    let brotli = vec![with_key("alpha"), "content-encoding: br".to_owned()];
    vec![
        ("POST /v1/chat/completions", vec![], ask.clone(), 401),
        ("POST /v1/responses", alpha(), ask.clone(), 404),
        ("PUT /v1/models", alpha(), vec![], 405),
        ("POST /v1/chat/completions", alpha(), vec![b' '; 5_000], 413),
        ("POST /v1/chat/completions", brotli, ask.clone(), 415),
        ("POST /v1/chat/completions", alpha(), b"{".to_vec(), 400),
        ("GET /v1/models/none", alpha(), vec![], 404),
        ("GET /v1/models/%ff", alpha(), vec![], 400),
        ("POST /v1/chat/completions", vec![with_key("limited")], ask.clone(), 429),
        ("GET /v1/models", alpha(), vec![], 200),
        ("POST /v1/chat/completions", alpha(), ask, 200),
    ]
}

fn pages_server(more: &str) -> Server {
    let limited = tenant("limited", "[tenant.limits]\nrequests_per_minute = 0");
    Server::start(&config(&format!("[server]\norigins = [\"{PAGE}/\"]\nbody_bytes_max = \"4KiB\"\n{more}{limited}")))
}

#[test]
fn only_pages_of_allowed_origins_can_read_answers_and_refusals() {
    let server = pages_server("");
    assert_eq!(refusals().len(), 11);
    for (request, mut headers, body, status) in refusals() {
        headers.push(origin(PAGE));
        let response = send(&server, request, &headers, &body);
        assert_eq!(response.status, status, "{request}: {response:?}");
        assert_eq!(header(&response, "access-control-allow-origin"), Some(PAGE), "{request}: {response:?}");
        assert_eq!(header(&response, "vary"), Some("origin"), "{request}: {response:?}");
        let exposed = header(&response, "access-control-expose-headers").expect("some are shown");
        // The exposed headers, in addition to those that browsers always expose.
        let plain = ["content-type", "content-length", "transfer-encoding", "connection", "vary", "cache-control"];
        let names = response.headers.lines().skip(1).filter_map(|line| line.split(':').next());
        for name in names.filter(|name| !plain.contains(name) && !name.starts_with("access-control-")) {
            assert!(exposed.split(", ").any(|shown| shown == name), "{name} of {request} is not shown to the page");
        }
    }
    for (request, mut headers, body, _) in refusals() {
        headers.push(origin("https://evil.example"));
        let response = send(&server, request, &headers, &body);
        assert!(response.status >= 400, "{request}: {response:?}");
        assert!(!response.headers.contains("access-control-"), "{request}: {response:?}");
    }
}

#[test]
fn a_preflight_request_needs_no_key_and_allows_the_clients_headers() {
    let server = pages_server("");
    let asks = |path: &str, page: &str| {
        let names = "authorization,content-type,x-stainless-lang,x-stainless-retry-count,openai-organization,x-any";
        let asked = [
            origin(page),
            "access-control-request-method: POST".to_owned(),
            format!("access-control-request-headers: {names}"),
            "access-control-request-private-network: true".to_owned(),
        ];
        let response = send(&server, &format!("OPTIONS {path}"), &asked, b"");
        let allowed = header(&response, "access-control-allow-headers").unwrap_or_default().replace(' ', "");
        (allowed == names, response)
    };
    // Also for an unknown path, so that the page can read the 404.
    for path in
        ["/v1/chat/completions", "/v1/chat/completions/", "/v1/models", "/v1/models/some/model", "/mcp", "/nowhere"]
    {
        let (allowed, response) = asks(path, PAGE);
        assert!(response.status == 204 && allowed, "{path}: {response:?}");
        assert_eq!(header(&response, "access-control-allow-origin"), Some(PAGE));
        assert_eq!(header(&response, "access-control-allow-private-network"), Some("true"));
        assert!(header(&response, "access-control-allow-methods").is_some_and(|methods| methods.contains("delete")));
        assert!(header(&response, "access-control-max-age").is_some_and(|seconds| seconds.parse::<u32>().is_ok()));
        let (_, response) = asks(path, "https://evil.example");
        assert!(response.status == 403 && !response.headers.contains("access-control-"), "{path}: {response:?}");
        assert!(response.body.contains("server.origins"), "{response:?}");
    }
    // An origin without a port has the port of its scheme, at /mcp too.
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string();
    let knock = |page: &str| {
        let kinds =
            ["content-type: application/json", "accept: application/json, text/event-stream"].map(str::to_owned);
        let headers: Vec<String> = kinds.into_iter().chain([with_key("alpha"), origin(page)]).collect();
        send(&server, "POST /mcp", &headers, call.as_bytes()).status
    };
    assert_ne!(knock(PAGE), 403);
    assert_eq!((knock("https://app.example:8443"), knock("http://app.example")), (403, 403));
    let plain = send(&server, "OPTIONS /v1/models", &[], b"");
    assert_eq!((plain.status, header(&plain, "allow")), (204, Some("get,head")), "{plain:?}");
}

#[test]
fn a_page_can_read_the_refusal_when_all_connections_are_in_use() {
    let asks = "plugins = [\"calculator\"]\n[tenant.tools]\nask = [\"*\"]\n[tenant.limits]\nconnections_max = 1";
    let server = pages_server(&format!("connections_max = 1\n{}", tenant("greedy", asks)));
    let body = with(chat(QUESTION), "stream", json!(true)).to_string();
    let mut held = server.open("POST", "/v1/chat/completions", Some(&key("greedy")), body.as_bytes());
    // Its answer has begun, so the server does not close it to make room.
    held.read_exact(&mut [0; 12]).expect("a status");
    let preflight = [origin(PAGE), "access-control-request-method: POST".to_owned()];
    let response = send(&server, "OPTIONS /v1/chat/completions", &preflight, b"");
    assert_eq!((response.status, header(&response, "access-control-allow-origin")), (204, Some(PAGE)), "{response:?}");
    let response = send(&server, "GET /v1/models", &[origin(PAGE)], b"");
    assert_eq!((response.status, header(&response, "access-control-allow-origin")), (503, Some(PAGE)), "{response:?}");
    assert!(header(&response, "retry-after").is_some(), "{response:?}");
    drop(held);
}

#[test]
fn extra_slashes_and_the_probe_path_of_other_servers_are_accepted() {
    let server = Server::start(&config(""));
    for path in
        ["/v1/models/", "//v1//models", "/v1/models?x=/", "/v1/models/ember", "/v1/models/ember/", "/v1/models/%65mber"]
    {
        assert_eq!(server.get(path, "alpha").status, 200, "{path}");
    }
    let done = server.post("/v1/chat/completions/", "alpha", &chat(QUESTION));
    assert!(content(&done.json()).contains(ANSWER), "{done:?}");
    for path in ["/health", "/healthz", "/healthz/", "/readyz", "/", "/v1", "/v1/"] {
        let response = server.ask("GET", path, None, b"");
        assert!(response.status == 200 && response.json().is_object(), "{path}: {response:?}");
        let head = server.ask("HEAD", path, None, b"");
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}: {head:?}");
    }
    assert!(server.ask("GET", "/", None, b"").json()["endpoints"].as_array().is_some_and(|rows| rows.len() > 10));
}

#[test]
fn the_error_for_an_unknown_path_suggests_the_right_one() {
    let server = Server::start(&config(""));
    let rows = [
        ("POST", "/v1/v1/chat/completions", 404, "\"/v1/chat/completions\""),
        ("POST", "/chat/completions", 404, "\"/v1/chat/completions\""),
        ("GET", "/models", 404, "\"/v1/models\""),
        ("POST", "/v1/responses", 404, "Responses API"),
        ("GET", "/v1/models/org/name%2Fpart", 404, "\"org/name/part\""),
        ("GET", "/v1/models/%ff%fe", 400, "UTF-8"),
        ("GET", "/v1/chat/completions", 405, "allow"),
        ("DELETE", "/v1/models/ember", 405, "allow"),
    ];
    for (method, path, status, words) in rows {
        let response = server.ask(method, path, Some(&key("alpha")), b"");
        let error = response.json()["error"].clone();
        assert!(
            response.status == status && error["message"].as_str().is_some_and(|text| text.contains(words)),
            "{response:?}"
        );
        assert!(error["type"].is_string() && error["code"].is_string(), "{response:?}");
        assert_eq!(header(&response, "allow").is_some(), status == 405, "{response:?}");
    }
    assert_eq!(server.get("/v1/models/none", "alpha").code(), "model_not_found");
}

/// Requests of curl without `-H`, bodies with a byte order mark, and compressed bodies.
#[test]
fn a_body_is_accepted_with_any_content_type_and_supported_encoding() {
    let server = Server::start(&config(""));
    let body = chat(QUESTION).to_string().into_bytes();
    let marked = [b"\xef\xbb\xbf", &body[..]].concat();
    let rows: [(&[&str], Vec<u8>); 9] = [
        (&[], body.clone()),
        (&["content-type: text/plain"], body.clone()),
        (&["content-type: application/x-www-form-urlencoded", "accept: text/html, image/*;q=0.1"], body.clone()),
        (&["content-type: application/json; charset=utf-8", "accept: *"], body.clone()),
        (&["content-type: application/json", "content-encoding: identity", "accept: "], marked.clone()),
        (&["content-encoding: gzip"], gzip(&body)),
        (&["content-encoding: x-gzip"], gzip(&marked)),
        (&["content-encoding: deflate"], zlib(&body)),
        (&["expect: 100-continue"], body.clone()),
    ];
    for (lines, body) in rows {
        let headers: Vec<String> = lines.iter().map(|line| (*line).to_owned()).chain([with_key("alpha")]).collect();
        let response = send(&server, "POST /v1/chat/completions", &headers, &body);
        assert!(response.body.contains(ANSWER), "{lines:?}: {response:?}");
    }
    // /mcp accepts them too.
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}).to_string();
    let headers = [
        with_key("alpha"),
        "content-encoding: gzip".to_owned(),
        "content-type: application/json".to_owned(),
        "accept: application/json, text/event-stream".to_owned(),
        "mcp-protocol-version: 2025-06-18".to_owned(),
    ];
    let plain: Vec<String> = headers.iter().filter(|line| !line.contains("gzip")).cloned().collect();
    let packed = send(&server, "POST /mcp", &headers, &gzip(call.as_bytes()));
    assert_eq!(packed.status, send(&server, "POST /mcp", &plain, call.as_bytes()).status, "{packed:?}");
}

#[test]
fn a_body_that_cannot_be_read_is_refused_with_the_reason() {
    let server = Server::start(&config("[server]\nbody_bytes_max = \"1MiB\"\n"));
    let body = chat(QUESTION).to_string().into_bytes();
    let bomb = gzip(&vec![b' '; 64 << 20]);
    assert!(bomb.len() < 100_000, "it comes small");
    let rows: [(&str, Vec<u8>, u16, &str); 10] = [
        ("content-encoding: br", body.clone(), 415, "\\\"br\\\""),
        ("content-encoding: zstd", body.clone(), 415, "\\\"zstd\\\""),
        ("content-encoding: gzip, gzip", gzip(&gzip(&body)), 415, "gzip, gzip"),
        ("content-encoding: gzip", body.clone(), 400, "not valid gzip"),
        ("content-encoding: gzip", gzip(&body)[..20].to_vec(), 400, "cut off"),
        ("content-encoding: deflate", body.clone(), 400, "not valid deflate"),
        ("content-encoding: gzip", bomb, 413, "1048576"),
        ("x-any: 1", gzip(&body), 400, "content-encoding"),
        ("x-any: 1", b"{\"model\": \"caf\xe9\"}".to_vec(), 400, "UTF-8"),
        ("x-any: 1", Vec::new(), 400, "no body"),
    ];
    for (line, body, status, words) in rows {
        let response = send(&server, "POST /v1/chat/completions", &[with_key("alpha"), line.to_owned()], &body);
        assert!(response.status == status && response.body.contains(words), "{line}: {response:?}");
        let error: Value = response.json();
        assert!(error["error"]["type"].is_string() && error["error"]["code"].is_string(), "{response:?}");
        assert_eq!(header(&response, "accept-encoding").is_some(), status == 415, "{response:?}");
    }
    let done = server.post("/v1/chat/completions", "alpha", &chat(QUESTION));
    assert!(content(&done.json()).contains(ANSWER), "the server goes on: {done:?}");
}
