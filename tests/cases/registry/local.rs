//! A registry and a file server on this machine.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::sha256;

/// A start that takes longer, even on a slow machine, fails its test.
const START_TIME_MAX: Duration = Duration::from_secs(60);
/// The password "word", as bcrypt stores it.
const WORD: &str = "$2b$04$13gMWs89lvOjY8QFCvzsgOCInsdAWq/tArc5FTyONH5XxCPIGWOei";

/// A registry (`tests/tools/registry`) with an empty store.
pub(super) struct Registry {
    child: Child,
    folder: tempfile::TempDir,
    pub(super) address: String,
}

impl Registry {
    /// Starts a registry that everybody can use, or only `user` with the password "word".
    pub(super) fn start(user: Option<&str>) -> Self {
        let program = std::env::var_os("FIREBOX_TEST_REGISTRY");
        let program = PathBuf::from(program.expect("eval \"$(tests/tools/registry)\" first; tests/run does"));
        let folder = tempfile::tempdir().expect("writable");
        let path = |name: &str| folder.path().join(name).display().to_string();
        let mut auth = String::new();
        if let Some(user) = user {
            std::fs::write(path("users"), format!("{user}:{WORD}\n")).expect("written");
            auth = format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", path("users"));
        }
        for _ in 0..5 {
            // The registry cannot choose a port itself, so another process may take this one.
            let free =
                TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
            let address = free.to_string();
            let config = format!(
                "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n{auth}",
                path("store")
            );
            std::fs::write(path("config.yml"), config).expect("written");
            let mut command = Command::new(&program);
            command.args(["serve", &path("config.yml")]).stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = command.spawn().expect("the registry starts");
            if answers(&address, &mut child) {
                return Self { child, folder, address };
            }
        }
        panic!("the registry did not start");
    }

    /// Replaces the bytes of a blob in the store.
    pub(super) fn replace(&self, digest: &str, bytes: &[u8]) {
        let blobs = self.folder.path().join("store/docker/registry/v2/blobs/sha256");
        let data = blobs.join(&digest[..2]).join(digest).join("data");
        assert!(data.is_file(), "{}", data.display());
        std::fs::write(data, bytes).expect("written");
    }

    /// Uploads a blob.
    pub(super) fn upload(&self, repository: &str, bytes: &[u8]) {
        let begun = self.send("POST", &format!("/v2/{repository}/blobs/uploads/"), "", b"");
        let location = begun.lines().find_map(|line| line.strip_prefix("Location: ")).expect("a location").trim();
        let path = location.strip_prefix(&format!("http://{}", self.address)).unwrap_or(location);
        let joint = if path.contains('?') { '&' } else { '?' };
        let done = self.send(
            "PUT",
            &format!("{path}{joint}digest=sha256:{}", sha256(bytes)),
            "application/octet-stream",
            bytes,
        );
        assert!(done.starts_with("HTTP/1.1 201"), "{done}");
    }

    /// Puts a manifest under a tag.
    pub(super) fn manifest(&self, repository: &str, tag: &str, config: &Value, layers: &[&Value]) {
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({ "schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers });
        let done =
            self.send("PUT", &format!("/v2/{repository}/manifests/{tag}"), kind, manifest.to_string().as_bytes());
        assert!(done.starts_with("HTTP/1.1 201"), "{done}");
    }

    fn send(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("it runs");
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // Killing fails if it has ended already.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Waits until the registry answers; false if it has ended.
fn answers(address: &str, child: &mut Child) -> bool {
    let started = Instant::now();
    while started.elapsed() < START_TIME_MAX {
        if child.try_wait().expect("waitable").is_some() {
            return false;
        }
        if TcpStream::connect(address).is_ok() {
            return true;
        }
        thread::sleep(Duration::from_millis(20));
    }
    false
}

/// A server of files, which also redirects (`/away`, `/circle`) and never ends (`/huge`). It lives as long as the tests.
pub(super) struct Files {
    pub(super) address: String,
}

impl Files {
    pub(super) fn serve(files: &[(&str, Vec<u8>)]) -> Self {
        let files: HashMap<String, Vec<u8>> =
            files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.clone())).collect();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let files = files.clone();
                // A client that leaves is not this server's business.
                thread::spawn(move || drop(answer(stream, &files)));
            }
        });
        Self { address }
    }
}

fn answer(mut stream: TcpStream, files: &HashMap<String, Vec<u8>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let path = first.split(' ').nth(1).unwrap_or_default();
    let head = |status: &str, more: &str| format!("HTTP/1.1 {status}\r\nConnection: close\r\n{more}\r\n");
    match path {
        "/away" => {
            stream.write_all(head("302 Found", "Location: http://example.org/x\r\nContent-Length: 0\r\n").as_bytes())
        }
        "/circle" => stream.write_all(head("302 Found", "Location: /circle\r\nContent-Length: 0\r\n").as_bytes()),
        "/huge" => {
            stream.write_all(head("200 OK", "").as_bytes())?;
            loop {
                stream.write_all(&[0; 65_536])?;
            }
        }
        _ => match files.get(path) {
            Some(bytes) => {
                stream.write_all(head("200 OK", &format!("Content-Length: {}\r\n", bytes.len())).as_bytes())?;
                stream.write_all(bytes)
            }
            None => stream.write_all(head("404 Not Found", "Content-Length: 0\r\n").as_bytes()),
        },
    }
}
