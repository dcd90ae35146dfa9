//! An imitation of a model hub on this machine, with faults on demand. It speaks enough of Hugging Face's protocol for a download.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// The commit of every model.
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A file of the hub.
#[derive(Clone)]
pub(crate) struct HubFile {
    pub(crate) bytes: Arc<Vec<u8>>,
    /// Its entity tag: SHA-256 of a large file, the id of the git blob of a small one.
    pub(crate) tag: String,
    /// Whether it is a large file: then the list has its digest, and a redirect leads to its bytes.
    pub(crate) is_large: bool,
}

/// What goes wrong with requests, until the number of times is used up.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum HubFault {
    /// The body ends after so many bytes.
    Short(usize),
    /// Nothing comes after so many bytes.
    Stall(usize),
    /// So many bytes come at a time, each after this wait.
    Drip(usize, Duration),
    /// The answer has this status and these headers.
    Status(u16, &'static str),
    /// The bytes are these.
    Bytes(Vec<u8>),
    /// The entity tag is this.
    Tag(&'static str),
    /// Ranges are ignored.
    NoRange,
    /// The answer to a range begins elsewhere.
    WrongRange,
}

/// A request that the hub got.
#[derive(Clone, Debug)]
pub(crate) struct HubRequest {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HashMap<String, String>,
    /// Whether it came to the second address, which stands for another host.
    pub(crate) elsewhere: bool,
}

#[derive(Default)]
struct HubState {
    files: HashMap<String, Vec<(String, HubFile)>>,
    faults: Vec<(&'static str, HubFault, usize)>,
    requests: Vec<HubRequest>,
    token: Option<String>,
    lists_sizes: bool,
    announced: Option<u64>,
    redirects_to: String,
}

/// A hub, and a second address to which it redirects large files. Both end with the process.
#[derive(Clone)]
pub(crate) struct FakeHub {
    state: Arc<Mutex<HubState>>,
    /// `http://127.0.0.1:PORT`.
    pub(crate) endpoint: String,
}

impl FakeHub {
    pub(crate) fn start() -> Self {
        let state = Arc::new(Mutex::new(HubState { lists_sizes: true, ..HubState::default() }));
        let elsewhere = listen(&state, true);
        let endpoint = listen(&state, false);
        // Another port is another origin.
        state.lock().expect("not poisoned").redirects_to = elsewhere;
        Self { state, endpoint }
    }

    fn with<T>(&self, change: impl FnOnce(&mut HubState) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds a file to a model.
    pub(crate) fn add(&self, model: &str, path: &str, bytes: impl Into<Vec<u8>>, tag: &str) -> &Self {
        let file = HubFile { bytes: Arc::new(bytes.into()), tag: tag.to_owned(), is_large: tag.len() == 64 };
        self.with(|state| {
            let files = state.files.entry(model.to_owned()).or_default();
            files.retain(|known| known.0 != path);
            files.push((path.to_owned(), file));
        });
        self
    }

    /// Requests whose path contains `part` fail so, `times` times. The first request of a kind takes the first fault.
    pub(crate) fn fail(&self, part: &'static str, fault: HubFault, times: usize) -> &Self {
        self.with(|state| state.faults.push((part, fault, times)));
        self
    }

    /// Only requests with this token are answered.
    pub(crate) fn require(&self, token: &str) -> &Self {
        self.with(|state| state.token = Some(token.to_owned()));
        self
    }

    /// The list of files has no sizes and digests, as with simple mirrors.
    pub(crate) fn hide_sizes(&self) -> &Self {
        self.with(|state| state.lists_sizes = false);
        self
    }

    /// The list says that every file has so many bytes.
    pub(crate) fn announce(&self, bytes: u64) -> &Self {
        self.with(|state| state.announced = Some(bytes));
        self
    }

    /// The requests so far.
    pub(crate) fn requests(&self) -> Vec<HubRequest> {
        self.with(|state| state.requests.clone())
    }

    /// Requests so far for the bytes of files.
    pub(crate) fn downloads(&self) -> Vec<HubRequest> {
        let is_download = |request: &HubRequest| request.method == "GET" && request.path.contains("/resolve/");
        self.requests().into_iter().filter(is_download).collect()
    }
}

fn listen(state: &Arc<Mutex<HubState>>, elsewhere: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    let state = Arc::clone(state);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let state = Arc::clone(&state);
            thread::spawn(move || answer(&state, &stream, elsewhere));
        }
    });
    address
}

/// Answers one request, and closes the connection.
fn answer(state: &Mutex<HubState>, stream: &TcpStream, elsewhere: bool) {
    let Some(request) = read(stream, elsewhere) else { return };
    let reply = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.requests.push(request.clone());
        reply(&mut state, &request)
    };
    // The client may have gone away.
    let _gone = send(stream, &request, reply);
}

fn read(stream: &TcpStream, elsewhere: bool) -> Option<HubRequest> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    for line in lines {
        let line = line.ok()?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    Some(HubRequest { method, path, headers, elsewhere })
}

/// An answer, and how its body goes wrong.
struct Reply {
    status: u16,
    headers: String,
    body: Vec<u8>,
    fault: Option<HubFault>,
}

fn status(status: u16, headers: &str, body: impl Into<Vec<u8>>) -> Reply {
    Reply { status, headers: headers.to_owned(), body: body.into(), fault: None }
}

fn reply(state: &mut HubState, request: &HubRequest) -> Reply {
    let fault = state.faults.iter_mut().find(|fault| fault.2 > 0 && request.path.contains(fault.0));
    let fault = fault.map(|fault| {
        fault.2 -= 1;
        fault.1.clone()
    });
    if let Some(HubFault::Status(code, headers)) = fault {
        return status(code, headers, "{\"error\": \"as it was asked to\"}");
    }
    let bearer = request.headers.get("authorization").and_then(|value| value.strip_prefix("Bearer "));
    if !request.elsewhere && state.token.is_some() && bearer != state.token.as_deref() {
        let code = if bearer.is_none() { "x-error-code: GatedRepo\r\n" } else { "" };
        return status(401, code, "{}");
    }
    let path = request.path.split('?').next().unwrap_or_default().trim_start_matches('/');
    let path = path.strip_prefix("bytes/").unwrap_or(path);
    if let Some(model) = path.strip_prefix("api/models/") {
        let (model, revision) = model.split_once("/revision/").unwrap_or((model, "main"));
        return list(state, model, revision);
    }
    let Some((model, file)) = path.split_once("/resolve/") else { return status(404, "", "") };
    let (_revision, file) = file.split_once('/').unwrap_or((file, ""));
    let found = state.files.get(model).and_then(|files| files.iter().find(|known| known.0 == file.replace("%20", " ")));
    let Some((_, found)) = found.cloned() else { return status(404, "x-error-code: EntryNotFound\r\n", "") };
    if found.is_large && !request.elsewhere {
        return redirect(state, request, &found, fault);
    }
    content(request, &found, fault)
}

fn list(state: &HubState, model: &str, revision: &str) -> Reply {
    let Some(files) = state.files.get(model) else { return status(404, "x-error-code: RepoNotFound\r\n", "") };
    if !["main", COMMIT, "v1"].contains(&revision) {
        return status(404, "x-error-code: RevisionNotFound\r\n", "");
    }
    let mut siblings = Vec::new();
    for (path, file) in files {
        let size = state.announced.unwrap_or(file.bytes.len() as u64);
        let mut entry = format!("{{\"rfilename\": {path:?}");
        if state.lists_sizes && file.is_large {
            let tag = &file.tag;
            write!(entry, ", \"size\": {size}, \"lfs\": {{\"sha256\": \"{tag}\", \"size\": {size}}}")
                .expect("a string");
        } else if state.lists_sizes {
            write!(entry, ", \"size\": {size}, \"blobId\": \"{}\"", file.tag).expect("a string");
        }
        siblings.push(format!("{entry}}}"));
    }
    let body = format!("{{\"id\": \"{model}\", \"sha\": \"{COMMIT}\", \"siblings\": [{}]}}", siblings.join(", "));
    status(200, "content-type: application/json\r\n", body)
}

/// Sends a client to the other address, as hubs do with large files.
fn redirect(state: &mut HubState, request: &HubRequest, file: &HubFile, fault: Option<HubFault>) -> Reply {
    let tag = match &fault {
        Some(HubFault::Tag(tag)) => (*tag).to_owned(),
        _ => file.tag.clone(),
    };
    let (to, size, path) = (&state.redirects_to, file.bytes.len(), &request.path);
    let headers = format!(
        "location: {to}/bytes{path}\r\nx-linked-etag: \"{tag}\"\r\nx-linked-size: {size}\r\nx-repo-commit: {COMMIT}\r\n"
    );
    // Faults of the body are for the other address.
    if let Some(fault) = fault.filter(|fault| !matches!(fault, HubFault::Tag(_))) {
        state.faults.insert(0, ("bytes/", fault, 1));
    }
    status(302, &headers, "")
}

fn content(request: &HubRequest, file: &HubFile, fault: Option<HubFault>) -> Reply {
    let bytes = match &fault {
        Some(HubFault::Bytes(bytes)) => bytes.clone(),
        _ => file.bytes.to_vec(),
    };
    let tag = match &fault {
        Some(HubFault::Tag(tag)) => (*tag).to_owned(),
        // Another host has entity tags of its own.
        _ if request.elsewhere => format!("own-{}", file.tag),
        _ => file.tag.clone(),
    };
    let start =
        request.headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let is_same = request.headers.get("if-range").is_none_or(|wanted| wanted.trim_matches('"') == tag);
    let headers = format!("etag: \"{tag}\"\r\nx-repo-commit: {COMMIT}\r\n");
    let total = bytes.len();
    let mut reply = match start.filter(|_| is_same && fault != Some(HubFault::NoRange)) {
        None => status(200, &headers, bytes),
        Some(start) if start >= total => status(416, &format!("content-range: bytes */{total}\r\n"), ""),
        Some(start) => {
            let shown = if fault == Some(HubFault::WrongRange) { 0 } else { start };
            let range = format!("{headers}content-range: bytes {shown}-{}/{total}\r\n", total - 1);
            status(206, &range, &bytes[start..])
        }
    };
    reply.fault = fault;
    reply
}

fn send(mut stream: &TcpStream, request: &HubRequest, reply: Reply) -> std::io::Result<()> {
    let Reply { status, headers, body, fault } = reply;
    let length = body.len();
    write!(stream, "HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n")?;
    if request.method == "HEAD" {
        return Ok(());
    }
    match fault {
        Some(HubFault::Short(count)) => stream.write_all(&body[..count.min(length)]),
        Some(HubFault::Stall(count)) => {
            stream.write_all(&body[..count.min(length)])?;
            // Until the client goes away.
            stream.read(&mut [0]).map(drop)
        }
        Some(HubFault::Drip(count, wait)) => body.chunks(count).try_for_each(|chunk| {
            thread::sleep(wait);
            stream.write_all(chunk)
        }),
        _ => stream.write_all(&body),
    }
}
