//! Clients that try to take all connections, streams or time: each is limited, and other clients are served.

use std::cell::RefCell;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use super::mcp::{begin, rpc};
use super::{ANSWER, QUESTION, chat, config, content, never_ends, with};
use crate::harness::server::{Response, Server, finish, key, tenant};

/// Checks that other clients are served during the attack.
fn others_are_served(server: &Server) {
    let begun = Instant::now();
    assert_eq!(server.ask("GET", "/healthz", None, b"").status, 200);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    let done = server.post("/v1/chat/completions", "alpha", &chat(QUESTION));
    assert!(content(&done.json()).contains(ANSWER), "{done:?}");
}

fn refused(server: &Server, reason: &str) -> f64 {
    server.metric("alpha", &format!("firebox_connections_refused_total{{reason=\"{reason}\"}}"))
}

/// The status of the answer that begins on `stream`.
fn status(stream: &mut TcpStream) -> u16 {
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    let mut head = [0; 12];
    stream.read_exact(&mut head).expect("an answer begins");
    String::from_utf8_lossy(&head[9..]).parse().expect("a status")
}

/// Whether the server has closed the connection.
fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).expect("a socket");
    // Bytes that were sent before the close are read first.
    let closed = loop {
        match stream.read(&mut [0; 4_096]) {
            Ok(0) => break true,
            Ok(_) => {}
            Err(error) => break error.kind() != std::io::ErrorKind::WouldBlock,
        }
    };
    stream.set_nonblocking(false).expect("a socket");
    closed
}

/// Opens an MCP session of `tenant`. Returns the request that opens its event stream.
fn listening(server: &Server, tenant: &str) -> String {
    let (_, _, session) = rpc(server, &key(tenant), "", &begin());
    rpc(server, &key(tenant), &session, &json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    format!(
        "GET /mcp HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {}\r\n\
         accept: text/event-stream\r\nmcp-session-id: {session}\r\n\r\n",
        key(tenant)
    )
}

#[test]
fn a_key_cannot_open_more_streams_than_its_tenants_limit() {
    let server = Server::start(&config(&tenant("greedy", "")));
    // A session closes its older streams, so the test uses many sessions.
    let requests: Vec<String> = (0..96).map(|_| listening(&server, "greedy")).collect();
    let (mut open, mut refused) = (Vec::new(), 0);
    for request in requests.iter().cycle().take(1_024) {
        let mut stream = TcpStream::connect(&server.address).expect("accepts");
        stream.write_all(request.as_bytes()).expect("taken");
        match status(&mut stream) {
            200 => open.push(stream),
            429 => {
                let words = finish(stream).body;
                assert!(words.contains("close one of them"), "{words}");
                refused += 1;
            }
            other => panic!("{other}"),
        }
    }
    let still_open = |open: &mut Vec<TcpStream>| open.iter_mut().map(is_closed).filter(|closed| !closed).count();
    assert_eq!((still_open(&mut open), refused), (64, 1_024 - open.len()), "as many as a tenant may have");
    others_are_served(&server);
    drop(open);
    server.eventually("given back", |server| {
        let mut stream = TcpStream::connect(&server.address).expect("accepts");
        stream.write_all(requests[0].as_bytes()).expect("taken");
        status(&mut stream) == 200
    });
}

#[test]
fn a_tenants_limits_bound_its_streams_and_open_requests() {
    let limits = "[tenant.tools]\nask = [\"*\"]\n[tenant.limits]\nconnections_max = 3\nstreams_max = 2";
    let server = Server::start(&config(&tenant("greedy", &format!("plugins = [\"calculator\"]\n{limits}"))));
    let body = with(chat(QUESTION), "stream", json!(true)).to_string();
    let open = || server.open("POST", "/v1/chat/completions", Some(&key("greedy")), body.as_bytes());
    let mut streams: Vec<TcpStream> = (0..2).map(|_| open()).collect();
    assert!(streams.iter_mut().all(|stream| status(stream) == 200));
    let third = finish(open());
    assert_eq!(third.status, 429, "{third:?}");
    assert!(third.body.contains("2 streams open") && third.headers.contains("retry-after"), "{third:?}");
    assert_eq!(server.get("/v1/models", "greedy").status, 200, "its third request");
    let body = chat(QUESTION).to_string();
    let open_whole = || server.open("POST", "/v1/chat/completions", Some(&key("greedy")), body.as_bytes());
    let whole = RefCell::new(open_whole());
    server.eventually("three are open", |server| {
        // The request before it counts until the server has closed its connection, which may be after its last byte came.
        if is_closed(&mut whole.borrow_mut()) {
            whole.replace(open_whole());
        }
        server.get("/v1/models", "greedy").status == 429
    });
    let mut whole = whole.into_inner();
    others_are_served(&server);
    assert!(refused(&server, "streams") >= 1.0 && refused(&server, "tenant") >= 1.0);
    assert!(!is_closed(&mut whole));
    drop((streams, whole));
    server.eventually("given back", |server| server.get("/v1/models", "greedy").status == 200);
}

#[test]
fn idle_connections_are_closed_to_make_room() {
    let server = Server::start(&config("[server]\nconnections_max = 16\nheader_timeout = \"5m\"\n"));
    let begins: [&[u8]; 4] =
        [b"", b"GET / HTTP/1.1\r\nx-drip: ", b"\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"];
    let mut held = Vec::new();
    for begin in begins {
        for _ in 0..32 {
            let mut stream = TcpStream::connect(&server.address).expect("accepts");
            // The server may close it before the client has sent anything.
            let _closed_already = stream.write_all(begin);
            held.push(stream);
        }
        others_are_served(&server);
    }
    assert!(refused(&server, "made_room") >= 32.0);
    let closed = held.iter_mut().map(is_closed).filter(|closed| *closed).count();
    assert!(closed >= held.len() - 16, "{closed} of {} are closed", held.len());
}

#[test]
fn slow_bodies_use_their_tenants_slots_only_and_are_ended() {
    let server = Server::start(&config(&format!("[server]\nconnections_max = 16\n{}", tenant("greedy", ""))));
    let drip = |key: &str| {
        let mut stream = TcpStream::connect(&server.address).expect("accepts");
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n\
             content-type: application/json\r\ncontent-length: 100000\r\n\r\n{{"
        );
        // The server may close it before the client has sent anything.
        let _closed_already = stream.write_all(head.as_bytes());
        // The server reads its key before the next connection.
        std::thread::sleep(Duration::from_millis(30));
        stream
    };
    let begun = Instant::now();
    let mut known: Vec<TcpStream> = (0..32).map(|_| drip(&key("greedy"))).collect();
    server.eventually("four of sixteen are a tenant's", |server| refused(server, "tenant") >= 1.0);
    let _unknown: Vec<TcpStream> = (0..32).map(|_| drip("fbx_nobody_0")).collect();
    others_are_served(&server);
    let ends = |stream: &mut TcpStream| {
        // One byte per second is below the minimum rate.
        while begun.elapsed() < Duration::from_secs(60) {
            if is_closed(stream) || stream.write_all(b" ").is_err() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        false
    };
    assert!(known.iter_mut().all(ends), "all end within a minute");
    assert!(refused(&server, "slow_body") >= 1.0);
}

#[test]
fn probes_are_answered_when_all_connections_are_in_use() {
    let asks = "plugins = [\"calculator\"]\n[tenant.tools]\nask = [\"*\"]\n[tenant.limits]\nconnections_max = 4";
    let server = Server::start(&config(&format!("[server]\nconnections_max = 4\n{}", tenant("greedy", asks))));
    let body = with(chat(QUESTION), "stream", json!(true)).to_string();
    let open = || server.open("POST", "/v1/chat/completions", Some(&key("greedy")), body.as_bytes());
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut stream = open();
        assert_eq!(status(&mut stream), 200);
        held.push(stream);
    }
    let full = server.get("/v1/models", "alpha");
    assert_eq!((full.status, full.code().as_str()), (503, "unavailable"), "{full:?}");
    assert!(full.headers.contains("retry-after"), "{full:?}");
    for path in ["/healthz", "/readyz"] {
        assert_eq!(server.ask("GET", path, None, b"").status, 200, "{path}");
    }
    assert!(refused(&server, "full") >= 1.0, "metrics are a probe too");
    // Idle connections in the reserve for probes are closed to make room too.
    let _silent: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(&server.address).expect("accepts")).collect();
    assert_eq!(server.ask("GET", "/healthz", None, b"").status, 200);
    drop(held);
    server.eventually("free again", |server| server.get("/v1/models", "alpha").status == 200);
    server.wait_until("logged", |said| said.contains("refused or closed"));
}

#[test]
fn probes_and_metrics_have_an_address_of_their_own() {
    let server = Server::start(&config("[server]\nadmin_listen = \"127.0.0.1:0\"\n"));
    let said = server.log();
    let admin = said.lines().find_map(|line| line.split("probes and metrics on http://").nth(1)).expect("an address");
    let ask = |path: &str, key: &str| -> Response {
        let mut stream = TcpStream::connect(admin).expect("accepts");
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {key}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).expect("taken");
        finish(stream)
    };
    for (path, key, expected) in [
        ("/healthz", "", 200),
        ("/readyz", "", 200),
        ("/metrics", "", 401),
        ("/metrics", key("alpha").as_str(), 200),
        ("/v1/models", key("alpha").as_str(), 404),
    ] {
        assert_eq!(ask(path, key).status, expected, "{path}");
    }
    assert_eq!(server.get("/metrics", "alpha").status, 404, "not at the address of everybody");
    assert_eq!(server.ask("GET", "/healthz", None, b"").status, 200);
}

#[test]
fn a_trusted_proxy_names_the_client() {
    let ask = |server: &Server| {
        super::raw(
            server,
            &format!(
                "GET /v1/models HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {}\r\n\
                 x-forwarded-for: 192.0.2.1, 198.51.100.7\r\n\r\n",
                key("alpha")
            ),
        )
    };
    for (more, expected) in
        [("", "address=\"127.0.0.1\""), ("trusted_proxies = [\"127.0.0.0/8\"]\n", "address=\"198.51.100.7\"")]
    {
        let server = Server::start(&config(&format!("[server]\n{more}")));
        assert_eq!(ask(&server).status, 200);
        server.wait_until("logged", |said| {
            said.lines().any(|line| line.contains("/v1/models") && line.contains(expected))
        });
    }
}

#[test]
fn unusual_requests_are_answered_or_closed_and_do_no_harm() {
    let server = Server::start(&config(""));
    let probe = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n";
    let raw = |bytes: &str| super::raw(&server, bytes);
    assert_eq!(raw("GET /healthz HTTP/1.0\r\n\r\n").status, 200, "an old client, whose connection ends by itself");
    let three = raw(&format!("{probe}\r\n{probe}\r\n{probe}connection: close\r\n\r\n"));
    let all = format!("{}\r\n\r\n{}", three.headers, three.body).to_lowercase();
    assert_eq!(all.matches("http/1.1 200").count(), 3, "one after the other: {all}");
    assert!([0, 400].contains(&raw("\x16\x03\x01\x02\x00\x01\x00\x01").status), "TLS where there is none");
    let mut half = TcpStream::connect(&server.address).expect("accepts");
    half.write_all(format!("{probe}\r\n").as_bytes()).expect("taken");
    half.shutdown(std::net::Shutdown::Write).expect("a socket");
    assert!([0, 200].contains(&finish(half).status), "a client that will say nothing more");
    let body = chat(QUESTION).to_string();
    let mut polite = TcpStream::connect(&server.address).expect("accepts");
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\nconnection: close\r\n\
         expect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        key("alpha"),
        body.len()
    );
    polite.write_all(head.as_bytes()).expect("taken");
    assert_eq!(status(&mut polite), 100);
    polite.write_all(body.as_bytes()).expect("taken");
    let mut rest = String::new();
    polite.read_to_string(&mut rest).expect("an answer");
    assert!(rest.contains("HTTP/1.1 200") && rest.contains(ANSWER), "{rest}");
    others_are_served(&server);
}

/// A connection with a small receive buffer.
fn with_small_buffers(address: &str) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4_096).expect("small buffers");
        socket.connect(address.parse().expect("an address")).await.expect("accepts").into_std().expect("a socket")
    });
    stream.set_nonblocking(false).expect("a socket");
    stream
}

#[test]
fn a_client_that_reads_too_slowly_is_closed_and_releases_its_slots() {
    let limits = "plugins = []\n[tenant.limits]\nin_flight_max = 2";
    let server = Server::start(
        &config(&format!("[server]\nreader_timeout = \"2s\"\n{}", tenant("slow", limits)))
            .replace("\"ember\"", &format!("\"{NAME}\"\npath = {:?}", crate::harness::root().join("host/ember/model"))),
    );
    let long = with(
        with(with(chat("Tell me something."), "max_tokens", json!(900)), "stream", json!(true)),
        "logit_bias",
        never_ends(),
    );
    let long = with(with(long, "model", json!(NAME)), "stream_options", json!({"include_usage": true})).to_string();
    let mut readers: Vec<TcpStream> = (0..2).map(|_| with_small_buffers(&server.address)).collect();
    for stream in &mut readers {
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{long}",
            key("slow"),
            long.len()
        );
        stream.write_all(head.as_bytes()).expect("taken");
        assert_eq!(status(stream), 200);
    }
    let short = with(with(chat("Hi."), "max_tokens", json!(1)), "model", json!(NAME));
    assert_eq!(server.post("/v1/chat/completions", "slow", &short).status, 429, "both of its requests run");
    // One client reads nothing, and the other 16 bytes now and then.
    let begun = Instant::now();
    while refused(&server, "slow_reader") < 2.0 {
        assert!(begun.elapsed() < Duration::from_secs(100), "{}", server.log());
        // The rest of a cut answer may still arrive.
        let _cut = readers[1].read(&mut [0; 16]);
        std::thread::sleep(Duration::from_millis(100));
    }
    server.eventually("freed", |server| server.metric("alpha", "firebox_requests_running{") == 0.0);
    assert_eq!(server.post("/v1/chat/completions", "slow", &short).status, 200);
    let line = format!("firebox_requests_total{{model=\"{NAME}\",tenant=\"slow\",outcome=\"cancelled\"}}");
    assert_eq!(server.metric("alpha", &line), 2.0, "cancelled, and not done");
}

/// A long model name makes long events.
const NAME: &str = "ember-with-a-name-that-makes-every-event-of-its-answers-longer";
