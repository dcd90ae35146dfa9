//! Runs `firebox serve` and sends HTTP requests to it byte by byte, so that tests can also send invalid ones.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use sha2::{Digest, Sha256};
use socket2::{Domain, Socket, Type};

use super::scratch;

/// A wait that takes longer, even on a slow machine, fails its test.
const WAIT_MAX: Duration = Duration::from_secs(120);

/// A server under test. It is killed when it is dropped.
pub(crate) struct Server {
    child: Child,
    stderr: Arc<Mutex<String>>,
    pub(crate) address: String,
    pub(crate) folder: tempfile::TempDir,
}

/// An HTTP response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: String,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.body))
    }

    /// The code of the error in the body.
    pub(crate) fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// The API key of the tenant `name` in the configurations of the tests.
pub(crate) fn key(name: &str) -> String {
    format!("fbx_{name}key_0123456789")
}

/// The digest of the API key of a tenant, in hexadecimal.
pub(crate) fn digest(name: &str) -> String {
    Sha256::digest(key(name)).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string");
        text
    })
}

/// `[[tenant]]` with one key that has all scopes. `more` is inserted between the name and the key.
pub(crate) fn tenant(name: &str, more: &str) -> String {
    let digest = digest(name);
    format!(
        "[[tenant]]\nname = \"{name}\"\n{more}\n[[tenant.key]]\nid = \"{name}key\"\ndigest = \"{digest}\"\n\
         scopes = [\"chat\", \"embed\", \"sessions\", \"tools\", \"approve\", \"usage\", \"metrics\"]\n"
    )
}

/// The plugins that the built-in model was trained with.
pub(crate) const PLUGINS: &str = "plugins = [\"calculator\", \"text-tools\", \"units\"]";

impl Server {
    /// Starts a server with this configuration and waits until it is ready.
    pub(crate) fn start(config: &str) -> Self {
        let server = Self::listening(config, &[]);
        server.wait_until("ready", |stderr| stderr.lines().any(|line| line == "firebox: ready"));
        server
    }

    /// As `start`, with an address space of `kib` KiB.
    #[cfg(target_os = "linux")]
    pub(crate) fn start_within(config: &str, kib: u64) -> Self {
        let folder = tempfile::tempdir().expect("temporary directory");
        let command = super::within(&command(folder.path()), kib);
        let server = Self::listening_by(command, folder, config, &[]);
        server.wait_until("ready", |stderr| stderr.lines().any(|line| line == "firebox: ready"));
        server
    }

    /// Starts a server and waits until it listens.
    pub(crate) fn listening(config: &str, args: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("temporary directory");
        Self::listening_in(folder, config, args)
    }

    pub(crate) fn listening_in(folder: tempfile::TempDir, config: &str, args: &[&str]) -> Self {
        Self::listening_by(command(folder.path()), folder, config, args)
    }

    /// Starts a server from a shell that runs `prelude` first.
    #[cfg(unix)]
    pub(crate) fn listening_under(folder: tempfile::TempDir, prelude: &str, config: &str) -> Self {
        let mut command = command_of("sh", folder.path());
        command.args(["-c", &format!("{prelude} exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_firebox")]);
        Self::listening_by(command, folder, config, &[])
    }

    fn listening_by(mut command: Command, folder: tempfile::TempDir, config: &str, args: &[&str]) -> Self {
        let file = folder.path().join("firebox.toml");
        std::fs::write(&file, config).expect("writable");
        command.args(["serve", "--config"]).arg(&file).args(["--listen", "127.0.0.1:0"]).args(args);
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the binary starts");
        let log = Arc::new(Mutex::new(String::new()));
        let (stderr, lines) = (child.stderr.take().expect("piped"), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
                lines.push_str(&line);
                lines.push('\n');
            }
        });
        let mut server = Self { child, stderr: log, address: String::new(), folder };
        server.wait_until("listening", |stderr| stderr.contains("listening on http://"));
        let log = server.log();
        let line = log.lines().find_map(|line| line.split("listening on http://").nth(1));
        line.expect("an address").clone_into(&mut server.address);
        server
    }

    /// Its standard error so far.
    pub(crate) fn log(&self) -> String {
        self.stderr.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn wait_until(&self, what: &str, enough: impl Fn(&str) -> bool) {
        let started = Instant::now();
        while !enough(&self.log()) {
            assert!(started.elapsed() < WAIT_MAX, "never {what}: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn rewrite(&self, config: &str) {
        std::fs::write(self.folder.path().join("firebox.toml"), config).expect("writable");
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &pid]).status().expect("kill is there");
        assert!(status.success(), "kill -{name}");
    }

    /// The number of open files and sockets of the process, and of its threads.
    #[cfg(target_os = "linux")]
    pub(crate) fn holds(&self) -> (usize, usize) {
        let count = |what: &str| {
            let folder = format!("/proc/{}/{what}", self.child.id());
            std::fs::read_dir(folder).expect("it runs").count()
        };
        (count("fd"), count("task"))
    }

    /// A field of `/proc/PID/status` that counts memory, in bytes.
    #[cfg(target_os = "linux")]
    pub(crate) fn memory_bytes(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line =
            status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).expect("Linux has the field");
        line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1_024
    }

    /// Waits until the server has ended by itself and returns its exit code.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("waitable") {
                return status.code();
            }
            assert!(started.elapsed() < WAIT_MAX, "did not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a request on a new connection.
    pub(crate) fn open(&self, method: &str, path: &str, key: Option<&str>, body: &[u8]) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("accepts");
        Self::send(stream, method, path, key, body)
    }

    /// As [`Self::open`] with POST, on a connection with a receive buffer of a few KB.
    pub(crate) fn open_narrow(&self, path: &str, key: &str, body: &[u8]) -> TcpStream {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        // Set before the connection is made, which fixes the TCP window.
        socket.set_recv_buffer_size(2_048).expect("a size");
        let address: std::net::SocketAddr = self.address.parse().expect("an address");
        socket.connect(&address.into()).expect("accepts");
        Self::send(socket.into(), "POST", path, Some(key), body)
    }

    fn send(stream: TcpStream, method: &str, path: &str, key: Option<&str>, body: &[u8]) -> TcpStream {
        Self::try_send(stream, method, path, key, body).expect("taken")
    }

    fn try_send(
        mut stream: TcpStream,
        method: &str,
        path: &str,
        key: Option<&str>,
        body: &[u8],
    ) -> std::io::Result<TcpStream> {
        stream.set_read_timeout(Some(WAIT_MAX))?;
        let key = key.map_or_else(String::new, |key| format!("authorization: Bearer {key}\r\n"));
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{key}content-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        // The server may refuse the request before it has read the body.
        let _refused_early = stream.write_all(body);
        Ok(stream)
    }

    /// As [`Self::post`], for a server that may be gone already.
    pub(crate) fn try_post(&self, path: &str, tenant: &str, body: &Value) -> std::io::Result<Response> {
        let stream = TcpStream::connect(&self.address)?;
        Ok(finish(Self::try_send(stream, "POST", path, Some(&key(tenant)), body.to_string().as_bytes())?))
    }

    pub(crate) fn ask(&self, method: &str, path: &str, key: Option<&str>, body: &[u8]) -> Response {
        finish(self.open(method, path, key, body))
    }

    pub(crate) fn get(&self, path: &str, tenant: &str) -> Response {
        self.ask("GET", path, Some(&key(tenant)), b"")
    }

    pub(crate) fn post(&self, path: &str, tenant: &str, body: &Value) -> Response {
        self.ask("POST", path, Some(&key(tenant)), body.to_string().as_bytes())
    }

    /// The value of the line of `/metrics` that starts with `begin`, or 0 if there is none.
    pub(crate) fn metric(&self, tenant: &str, begin: &str) -> f64 {
        let text = self.get("/metrics", tenant).body;
        let line = text.lines().find(|line| line.starts_with(begin));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
    }

    /// Waits until `check` returns true.
    pub(crate) fn eventually(&self, what: &str, check: impl Fn(&Self) -> bool) {
        let started = Instant::now();
        while !check(self) {
            assert!(started.elapsed() < WAIT_MAX, "never {what}: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Killing fails if the server has ended already.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The binary with the environment of the tests.
pub(crate) fn command(folder: &Path) -> Command {
    command_of(env!("CARGO_BIN_EXE_firebox"), folder)
}

fn command_of(program: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).env("FIREBOX_CACHE", scratch("cache")).env("FIREBOX_DEVICE", "cpu");
    command.env_remove("FIREBOX_CONFIG").stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Reads the response to its end.
pub(crate) fn finish(mut stream: TcpStream) -> Response {
    let mut bytes = Vec::new();
    // If the server resets the connection, the bytes before the reset are the response.
    let _reset = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (headers, body) = text.split_once("\r\n\r\n").unwrap_or((text.as_str(), ""));
    let status = headers.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let headers = headers.to_lowercase();
    let body = if headers.contains("transfer-encoding: chunked") { unchunk(body) } else { body.to_owned() };
    Response { status, headers, body }
}

fn unchunk(mut body: &str) -> String {
    let mut out = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 || size > rest.len() {
            break;
        }
        out.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    out
}

/// The JSON of each event of a stream.
pub(crate) fn events(body: &str) -> Vec<Value> {
    let data = body.lines().filter_map(|line| line.strip_prefix("data: "));
    data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).expect("JSON")).collect()
}

/// Text of a chat in events.
pub(crate) fn text_of(events: &[Value]) -> String {
    events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect()
}
