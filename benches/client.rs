//! A light client of `/v1/completions` for measurements on the machine that serves: what it computes itself is a small part
//! of what it measures. Streams answers and says when the first token and the last came.
//!
//! ```text
//! client ADDRESS AUTHORIZATION BODY ask FIRST COUNT PAUSE_MS   one after the other; a line each: ms in all, to the first, in the model
//! client ADDRESS AUTHORIZATION BODY crowd THREADS              each in a loop until standard input ends, when all leave; how many ended
//! ```
//!
//! In BODY each `000000` is the number of the request, so that no two prompts begin alike. It has to ask for usage in the
//! stream, and `max_tokens` is what each answer must have.

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

type Failure = Box<dyn Error>;

/// Time for which a connection is sure to be kept.
const KEPT: Duration = Duration::from_secs(1);
/// Requests of one thread of a crowd, at most.
const NUMBERS: usize = 50_000;

fn main() -> Result<(), Failure> {
    // `cargo bench` adds a flag of its own.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    // For as long as the program runs, since the threads of a crowd are never waited for.
    let args: Vec<&'static str> = args.leak().iter().map(String::as_str).collect();
    match args.as_slice() {
        [address, authorization, body, "ask", first, count, pause] => {
            let target = Target::new(address, authorization, body)?;
            ask(&target, first.parse()?, count.parse()?, Duration::from_secs_f64(pause.parse::<f64>()? / 1e3))
        }
        [address, authorization, body, "crowd", threads] => {
            crowd(Arc::new(Target::new(address, authorization, body)?), threads.parse()?)
        }
        _ => Err("client ADDRESS AUTHORIZATION BODY ask FIRST COUNT PAUSE_MS | crowd THREADS".into()),
    }
}

/// What is asked, and where.
struct Target<'a> {
    address: &'a str,
    authorization: &'a str,
    body: &'a str,
    tokens: u64,
}

/// When an answer came, after it was asked for.
struct Times {
    first: Duration,
    all: Duration,
    /// Of that in the model, in ms, as the server says.
    model: f64,
}

impl<'a> Target<'a> {
    fn new(address: &'a str, authorization: &'a str, body: &'a str) -> Result<Self, Failure> {
        let tokens = serde_json::from_str::<Value>(body)?["max_tokens"].as_u64().ok_or("the body has no max_tokens")?;
        Ok(Self { address, authorization, body, tokens })
    }

    fn connect(&self) -> Result<BufReader<TcpStream>, Failure> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(600)))?;
        Ok(BufReader::new(stream))
    }

    /// One answer, from its request to its last byte.
    fn stream(&self, connection: &mut BufReader<TcpStream>, number: usize) -> Result<Times, Failure> {
        let body = self.body.replace("000000", &format!("{number:06}"));
        let begun = Instant::now();
        write!(
            connection.get_mut(),
            "POST /v1/completions HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.address,
            self.authorization,
            body.len()
        )?;
        let head = lines_until_empty(connection)?;
        if !head.starts_with("HTTP/1.1 200 ") || !head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
            return Err(format!("no stream: {head}").into());
        }
        let (mut first, mut all, mut usage, mut timing) = (None, None, Value::Null, Value::Null);
        while let Some(chunk) = chunk(connection)? {
            for line in chunk.lines().filter(|line| line.starts_with("data: {")) {
                if line.contains("\"text\":\"") && !line.contains("\"text\":\"\"") {
                    all = Some(begun.elapsed());
                    first = first.or(all);
                } else if line.contains("\"usage\":{") {
                    usage = serde_json::from_str::<Value>(&line[6..])?["usage"].take();
                }
                if line.contains("\"timing_ms\":{") {
                    timing = serde_json::from_str::<Value>(&line[6..])?["firebox"]["timing_ms"].take();
                }
            }
        }
        let model = timing["prefill"].as_f64().zip(timing["decode"].as_f64()).map(|(prefill, decode)| prefill + decode);
        let cached = usage["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap_or(0);
        match (first, all, model, usage["completion_tokens"].as_u64()) {
            (Some(first), Some(all), Some(model), Some(made)) if made == self.tokens && cached == 0 => {
                Ok(Times { first, all, model })
            }
            _ => Err(format!("answered other than asked: {usage}, {timing}").into()),
        }
    }
}

fn ask(target: &Target<'_>, first: usize, count: usize, pause: Duration) -> Result<(), Failure> {
    let mut connection = target.connect()?;
    let mut out = std::io::stdout();
    for number in first..first + count {
        if pause > KEPT {
            connection = target.connect()?;
        }
        let times = target.stream(&mut connection, number)?;
        let [all, first] = [times.all, times.first].map(|time| time.as_secs_f64() * 1e3);
        writeln!(out, "{all} {first} {}", times.model)?;
        std::thread::sleep(pause);
    }
    Ok(())
}

/// Leaves in the middle of what was asked for, so that its answers are cancelled.
fn crowd(target: Arc<Target<'static>>, threads: usize) -> Result<(), Failure> {
    let ended = Arc::new(AtomicUsize::new(0));
    for thread in 0..threads {
        let (target, ended) = (Arc::clone(&target), Arc::clone(&ended));
        std::thread::spawn(move || {
            let mut connection = None;
            for number in thread * NUMBERS..(thread + 1) * NUMBERS {
                let open = connection.take().map_or_else(|| target.connect(), Ok);
                // A fault of a plugin ends the answer; what counts is that the next request follows at once.
                connection = open.and_then(|mut open| target.stream(&mut open, number).map(|_| open)).ok();
                ended.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(writeln!(std::io::stdout(), "{}", ended.load(Ordering::Relaxed))?)
}

fn lines_until_empty(connection: &mut impl BufRead) -> Result<String, Failure> {
    let mut head = String::new();
    while connection.read_line(&mut head)? > 2 {}
    Ok(head)
}

/// The next chunk of a body; `None` after the last.
fn chunk(connection: &mut impl BufRead) -> Result<Option<String>, Failure> {
    let mut size = String::new();
    connection.read_line(&mut size)?;
    let size = usize::from_str_radix(size.trim_end(), 16)?;
    let mut chunk = vec![0; size + 2];
    connection.read_exact(&mut chunk)?;
    chunk.truncate(size);
    Ok((size > 0).then(|| String::from_utf8_lossy(&chunk).into_owned()))
}
