//! A server on this machine whose answers show what arrived, and which misbehaves where the path says so.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// The server; its thread ends with the process.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// Requests that arrived.
    pub(crate) requests: Arc<AtomicUsize>,
    /// Connections that their client has ended.
    pub(crate) ended: Arc<AtomicUsize>,
    /// The most requests for `/late` at a time.
    pub(crate) peak: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let own = Self { address, requests: Arc::default(), ended: Arc::default(), peak: Arc::default() };
        let (requests, ended, peak) = (Arc::clone(&own.requests), Arc::clone(&own.ended), Arc::clone(&own.peak));
        let late = Arc::new(AtomicUsize::new(0));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (requests, ended) = (Arc::clone(&requests), Arc::clone(&ended));
                let (peak, late) = (Arc::clone(&peak), Arc::clone(&late));
                thread::spawn(move || {
                    let wait = || {
                        peak.fetch_max(late.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        thread::sleep(Duration::from_millis(150));
                        late.fetch_sub(1, Ordering::SeqCst);
                    };
                    answer(stream, &requests, address.port(), wait);
                    ended.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        own
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// The head of a request and the part of its body that has arrived with it.
fn head(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let (mut all, mut part) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut part).ok().filter(|count| *count > 0)?;
        all.extend_from_slice(&part[..count]);
        if let Some(end) = all.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let body = all.split_off(end + 4);
            return Some((String::from_utf8_lossy(&all).into_owned(), body));
        }
    }
}

/// Reads until the client ends the connection.
fn wait_for_end(stream: &mut TcpStream) {
    let mut part = [0; 4096];
    while stream.read(&mut part).is_ok_and(|count| count > 0) {}
}

fn answer(mut stream: TcpStream, requests: &AtomicUsize, port: u16, wait: impl Fn()) {
    let Some((head, mut body)) = head(&mut stream) else { return };
    requests.fetch_add(1, Ordering::SeqCst);
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut part = [0; 65_536];
    while body.len() < length.unwrap_or(0) {
        let Ok(count) = stream.read(&mut part) else { return };
        body.extend_from_slice(&part[..count]);
    }
    let path = head.split(' ').nth(1).unwrap_or_default();
    let whole = |status: &str, more: &str, text: &str| {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{more}\r\n{text}", text.len())
    };
    let send = |stream: &mut TcpStream, text: &str| stream.write_all(text.as_bytes()).is_ok();
    let _gone = match path {
        "/redirect" => send(&mut stream, &whole("302 Found", &format!("location: http://other.test:{port}/x\r\n"), "")),
        "/echo" => {
            let text = format!("{head}{} bytes", body.len());
            send(&mut stream, &whole("200 OK", "", &text))
        }
        "/big" => {
            send(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 9000000\r\n\r\n");
            stream.write_all(&vec![b'x'; 9_000_000]).is_ok()
        }
        "/endless" => {
            send(&mut stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
            while send(&mut stream, &format!("10000\r\n{}\r\n", "x".repeat(65_536))) {}
            false
        }
        "/auth" => {
            let is_right = head.contains("authorization: Bearer first-s3cret-value\r\n");
            send(&mut stream, &whole("200 OK", "", if is_right { "right" } else { "wrong" }))
        }
        "/reveal" => send(&mut stream, &whole("200 OK", "", &format!("{}first-s3cret-value", "x".repeat(100_000)))),
        "/base64" => send(&mut stream, &whole("200 OK", "", "dXNlcjpmaXJzdC1zM2NyZXQtdmFsdWU=")),
        "/in-header" => send(&mut stream, &whole("200 OK", "x-key: FIRST-S3CRET-VALUE\r\n", "")),
        "/packed" => send(&mut stream, &whole("200 OK", "content-encoding: gzip\r\n", "\x1f\x0b")),
        "/packed-parts" => {
            send(&mut stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\n\x1f\x0b\r\n0\r\n\r\n")
        }
        "/escaped" => send(&mut stream, &whole("200 OK", "", "{\"key\": \"first\\u002ds3cret\\u002dvalue\"}")),
        "/headers" => send(&mut stream, &whole("200 OK", &format!("x-long: {}\r\n", "y".repeat(100_000)), "")),
        "/cut" => send(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this"),
        "/smuggle" => send(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 20\r\n\r\nx"),
        "/nonsense" => send(&mut stream, "SSH-2.0-OpenSSH_9.2\r\n\r\n"),
        "/silent" => {
            wait_for_end(&mut stream);
            false
        }
        "/drip" => {
            send(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n");
            while send(&mut stream, "x") {
                thread::sleep(Duration::from_millis(20));
            }
            false
        }
        "/late" => {
            wait();
            send(&mut stream, &whole("200 OK", "", "late"))
        }
        _ => send(&mut stream, &whole("200 OK", "", "hello")),
    };
}
