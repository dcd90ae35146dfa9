//! What a call of a plugin's tool costs an MCP client: in the host, over standard input and output, over HTTP with a
//! session (2025-11-25) and without (2026-07-28). Run with `benches/run mcp`.

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use firebox::contract::{Caller, ToolCall, ToolSource};
use firebox::plugins::sandbox::load_chain;
use firebox::plugins::tools::PluginTools;
use firebox::sandbox::{ComponentSource, Notice, PluginSpec};
use serde_json::{Value, json};

type Failure = Box<dyn Error>;

const WARM_UP: usize = 200;
const RUNS: usize = 5_000;
const CALCULATOR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/plugins/prebuilt/calculator.wasm");

fn main() -> Result<(), Failure> {
    let mut out = std::io::stdout();
    writeln!(out, "| tools/call of calculator, 1234 * 87 | median µs | p99 µs | calls/s | n |\n|---|---|---|---|---|")?;
    in_the_host()?;
    over_streams()?;
    over_http("HTTP, 2025-11-25, one session", true)?;
    over_http("HTTP, 2026-07-28, no session", false)
}

/// Runs `work`, one call, often enough, and prints how long it takes.
fn measure(what: &str, mut work: impl FnMut() -> Result<(), Failure>) -> Result<(), Failure> {
    for _ in 0..WARM_UP {
        work()?;
    }
    let began = Instant::now();
    let mut times = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let began = Instant::now();
        work()?;
        times.push(began.elapsed());
    }
    let rate = RUNS as f64 / began.elapsed().as_secs_f64();
    times.sort();
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let (median, p99) = (micros(times[RUNS / 2]), micros(times[RUNS * 99 / 100]));
    Ok(writeln!(std::io::stdout(), "| {what} | {median:.1} | {p99:.1} | {rate:.0} | {RUNS} |")?)
}

fn in_the_host() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let spec = PluginSpec::new("calculator", ComponentSource::Path(CALCULATOR.into()));
    let tools = PluginTools::of(runtime.block_on(load_chain(vec![spec], Notice::default(), &mut Vec::new()))?);
    let call = ToolCall {
        id: "1".to_owned(),
        name: "calculator".to_owned(),
        arguments_json: r#"{"expression": "1234 * 87"}"#.to_owned(),
    };
    let caller = Caller::local();
    measure("in the host, a fresh instance each", || {
        let outcome = runtime.block_on(tools.call(&caller, &call, &()))?;
        check(&outcome.content)
    })
}

fn check(text: &str) -> Result<(), Failure> {
    if text == "107358" { Ok(()) } else { Err(format!("the answer was {text}").into()) }
}

fn check_answer(answer: &str) -> Result<(), Failure> {
    let answer: Value = serde_json::from_str(answer)?;
    check(answer["result"]["content"][0]["text"].as_str().unwrap_or_default())
}

/// The server under measurement, ended with its value.
struct Server(Child);

impl Server {
    fn start(args: &[&str]) -> Result<Self, Failure> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_firebox"));
        command.args(["mcp", "serve", "--plugin", "calculator"]).args(args);
        Ok(Self(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already, and then there is nothing to end.
        let _ended = self.0.kill().and_then(|()| self.0.wait());
    }
}

fn initialize() -> Value {
    let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "bench", "version": "0" } });
    json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params })
}

fn call(id: usize, meta: Option<&Value>) -> Value {
    let mut params = json!({ "name": "calculator", "arguments": { "expression": "1234 * 87" } });
    if let Some(meta) = meta {
        params["_meta"] = meta.clone();
    }
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params })
}

fn over_streams() -> Result<(), Failure> {
    let mut server = Server::start(&[])?;
    let mut write = server.0.stdin.take().ok_or("no standard input")?;
    let mut read = BufReader::new(server.0.stdout.take().ok_or("no standard output")?);
    let mut line = String::new();
    writeln!(write, "{}", initialize())?;
    read.read_line(&mut line)?;
    writeln!(write, "{}", json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))?;
    let mut id = 0;
    measure("standard input and output", || {
        id += 1;
        writeln!(write, "{}", call(id, None))?;
        line.clear();
        read.read_line(&mut line)?;
        check_answer(&line)
    })
}

/// One connection that is kept open, as clients have it.
struct Connection {
    stream: BufReader<TcpStream>,
    address: String,
    head: String,
}

impl Connection {
    /// Posts `body`; the answer's JSON and its session, where it has one.
    fn post(&mut self, body: &Value) -> Result<(String, Option<String>), Failure> {
        let body = body.to_string();
        let head = format!(
            "POST /mcp HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\n{}content-length: {}\r\n\r\n",
            self.address,
            self.head,
            body.len()
        );
        self.stream.get_mut().write_all(format!("{head}{body}").as_bytes())?;
        let (mut length, mut session, mut line) = (None, None, String::new());
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            match line.trim_end().split_once(": ") {
                Some(("content-length", value)) => length = Some(value.parse::<usize>()?),
                Some(("mcp-session-id", value)) => session = Some(value.to_owned()),
                Some(_) => {}
                None if line.trim_end().is_empty() => break,
                None if line.starts_with("HTTP/1.1 2") => {}
                None => return Err(line.into()),
            }
        }
        let text = match length {
            Some(length) => {
                let mut body = vec![0; length];
                self.stream.read_exact(&mut body)?;
                String::from_utf8(body)?
            }
            None => self.chunks()?,
        };
        let last = text.lines().filter_map(|line| line.strip_prefix("data:")).next_back().unwrap_or(&text);
        Ok((last.trim().to_owned(), session))
    }

    fn chunks(&mut self) -> Result<String, Failure> {
        let (mut text, mut line) = (String::new(), String::new());
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            let length = usize::from_str_radix(line.trim_end(), 16)?;
            let mut chunk = vec![0; length + 2];
            self.stream.read_exact(&mut chunk)?;
            if length == 0 {
                return Ok(text);
            }
            text.push_str(std::str::from_utf8(&chunk[..length])?);
        }
    }
}

fn over_http(what: &str, with_session: bool) -> Result<(), Failure> {
    let mut server = Server::start(&["--listen", "127.0.0.1:0"])?;
    let mut line = String::new();
    // Kept until the end: a server whose standard error is closed could not say anything more.
    let mut words = BufReader::new(server.0.stderr.take().ok_or("no standard error")?);
    // There may be a warning before it.
    while !line.contains("http://") {
        line.clear();
        if words.read_line(&mut line)? == 0 {
            return Err("no address".into());
        }
    }
    let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next()).ok_or("no address")?.to_owned();
    let stream = TcpStream::connect(&address)?;
    stream.set_nodelay(true)?;
    let mut connection = Connection { stream: BufReader::new(stream), address, head: String::new() };
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "bench", "version": "0" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    if with_session {
        let (_, session) = connection.post(&initialize())?;
        connection.head = format!("mcp-session-id: {}\r\n", session.ok_or("no session")?);
    } else {
        "mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: calculator\r\n"
            .clone_into(&mut connection.head);
    }
    let meta = (!with_session).then_some(&meta);
    let mut id = 0;
    measure(what, || {
        id += 1;
        check_answer(&connection.post(&call(id, meta))?.0)
    })
}
