//! Registries that ask for tokens, and registries that lie, on this machine.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use firebox_hub::{FetchedComponent, HubError, OciReference, RegistryCredentials, pull};
use sha2::{Digest as _, Sha256};

const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
const BASIC: &str = "Basic YWRhOndvcmQ=";

/// What a server answers: status, headers, body.
type Reply = (u16, String, Vec<u8>);
/// Chooses the reply to a path with an authorization, or without one.
type Choose = dyn Fn(&str, Option<&str>) -> Reply + Send + Sync;

/// Paths with their authorizations.
type Requests = Arc<Mutex<Vec<(String, Option<String>)>>>;

/// A scripted server, and the requests that it got.
struct Server {
    address: String,
    got: Requests,
}

impl Server {
    fn start(choose: impl Fn(&str, Option<&str>) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let (got, choose) = (Arc::new(Mutex::new(Vec::new())), Arc::new(choose));
        let seen = Arc::clone(&got);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, choose) = (Arc::clone(&seen), Arc::clone(&choose));
                thread::spawn(move || answer(stream, &seen, &*choose));
            }
        });
        Self { address, got }
    }

    fn got(&self) -> Vec<(String, Option<String>)> {
        self.got.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn answer(mut stream: TcpStream, seen: &Mutex<Vec<(String, Option<String>)>>, choose: &Choose) {
    let mut lines = BufReader::new(stream.try_clone().expect("a second handle")).lines().map_while(Result::ok);
    let first = lines.next().unwrap_or_default();
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let headers: HashMap<String, String> = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned())))
        .collect();
    let authorization = headers.get("authorization").cloned();
    let (status, more, body) = choose(&path, authorization.as_deref());
    seen.lock().unwrap_or_else(PoisonError::into_inner).push((path, authorization));
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n{more}\r\n", body.len());
    // A client that leaves is not this server's business.
    drop(stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)));
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn manifest(digest: &str) -> Vec<u8> {
    let size = COMPONENT.len();
    format!(r#"{{"layers": [{{"mediaType": "application/wasm", "digest": "sha256:{digest}", "size": {size}}}]}}"#)
        .into_bytes()
}

fn ok(body: &[u8]) -> Reply {
    (200, String::new(), body.to_vec())
}

/// User `ada` with the password `word`, for every registry.
fn ada() -> RegistryCredentials {
    RegistryCredentials::of_environment(&|name| match name {
        "FIREBOX_REGISTRY_USER" => Some("ada".into()),
        "FIREBOX_REGISTRY_PASSWORD" => Some("word".into()),
        _ => None,
    })
}

async fn fetch(address: &str) -> Result<FetchedComponent, HubError> {
    let reference: OciReference = format!("oci://{address}/team/own:1").parse().expect("a reference");
    pull(&reference, &ada()).await
}

#[tokio::test]
async fn a_token_is_asked_for_and_sent_to_the_registry_only() {
    let elsewhere = Server::start(|_, _| ok(COMPONENT));
    let token = Server::start(|path, authorization| match authorization {
        Some(BASIC) if path.contains("scope=repository%3Ateam%2Fown%3Apull") && path.contains("service=here") => {
            ok(br#"{"token": "abc"}"#)
        }
        _ => (401, String::new(), Vec::new()),
    });
    let (realm, away) = (token.address.clone(), elsewhere.address.clone());
    let registry = Server::start(move |path, authorization| {
        let challenge = format!("WWW-Authenticate: Bearer realm=\"http://{realm}/token\",service=\"here\"\r\n");
        match (path, authorization) {
            (_, None) => (401, challenge, Vec::new()),
            ("/v2/team/own/manifests/1", Some("Bearer abc")) => ok(&manifest(&hex(COMPONENT))),
            (_, Some("Bearer abc")) => (307, format!("Location: http://{away}/blob\r\n"), Vec::new()),
            _ => (403, String::new(), Vec::new()),
        }
    });
    let fetched = fetch(&registry.address).await.expect("a component");
    assert_eq!((fetched.bytes.as_slice(), fetched.name.as_str()), (COMPONENT, "own"));
    assert!(
        fetched.pinned.ends_with(&format!("/team/own:1@sha256:{}", hex(&manifest(&hex(COMPONENT))))),
        "{}",
        fetched.pinned
    );
    assert_eq!(elsewhere.got(), [("/blob".to_owned(), None)], "no token leaves the registry");
    assert!(registry.got().iter().all(|row| row.1.as_deref() != Some(BASIC)), "the password goes to the token server");
}

#[tokio::test]
async fn what_a_registry_says_is_checked() {
    let lies: Vec<(&str, Box<Choose>)> = vec![
        (
            "was not followed",
            Box::new(|_, _| {
                let challenge = "WWW-Authenticate: Bearer realm=\"http://169.254.169.254/token\"\r\n";
                (401, challenge.to_owned(), Vec::new())
            }),
        ),
        (
            "and not",
            Box::new(
                |path, _| {
                    if path.contains("manifests") { ok(&manifest(&hex(b"another"))) } else { ok(COMPONENT) }
                },
            ),
        ),
        (
            "more than the 8 bytes",
            Box::new(|path, _| if path.contains("manifests") { ok(&manifest(&hex(COMPONENT))) } else { ok(&[0; 9]) }),
        ),
        (
            "the manifest of",
            Box::new(|path, _| {
                let header = format!("Docker-Content-Digest: sha256:{}\r\n", "0".repeat(64));
                if path.contains("manifests") { (200, header, manifest(&hex(COMPONENT))) } else { ok(COMPONENT) }
            }),
        ),
        ("more than the", Box::new(|_, _| ok(&vec![b' '; 5 << 20]))),
        ("is not valid", Box::new(|_, _| ok(b"<html>"))),
        (
            // Credentials are sent only to a registry that asks for them.
            "to everybody: no \\u{1b}",
            Box::new(|_, _| (403, String::new(), br#"{"errors": [{"message": "no \u001b[2J"}]}"#.to_vec())),
        ),
        ("check name and tag", Box::new(|_, _| (404, String::new(), Vec::new()))),
    ];
    assert_eq!(lies.len(), 8);
    for (expected, choose) in lies {
        let registry = Server::start(choose);
        let error = fetch(&registry.address).await.expect_err(expected).to_string();
        assert!(error.contains(expected), "{error} should contain {expected}");
        assert!(!error.contains("word") && !error.chars().any(char::is_control), "{error}");
    }
}
