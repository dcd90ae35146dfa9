//! What three plugins (prompt, token, text) add to an answer: to its first token, and to each further token. Answers with and
//! without them alternate. `MODEL` is a file or folder to measure with instead of the built-in model, `RUNS` the answers of
//! each kind, `PLUGINS` other plugins of `plugins/prebuilt`, with commas between them. Run with `benches/run plugins`.

use std::error::Error;
use std::io::Write as _;
use std::path::Path;

use firebox::Host;
use firebox::contract::{Caller, Event, GenerationRequest, Prompt};
use firebox::engine::Speculation;
use firebox::sandbox::{ComponentSource, PluginSpec};

type Failure = Box<dyn Error>;

/// Tokens of an answer.
const TOKENS: usize = 64;
const WARM_UP: usize = 5;
const PLUGINS: &str = "scripted-prompt,watermark,redact";

fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(run())
}

async fn run() -> Result<(), Failure> {
    let runs = std::env::var("RUNS").ok().map(|runs| runs.parse()).transpose()?.unwrap_or(300);
    let plugins = std::env::var("PLUGINS").unwrap_or_else(|_| PLUGINS.to_owned());
    let plain = host(Vec::new()).await?;
    let chained = host(plugins.split(',').map(spec).collect()).await?;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for run in 0..runs + WARM_UP {
        let times = (answer(&plain).await?, answer(&chained).await?);
        if run >= WARM_UP {
            without.push(times.0);
            with.push(times.1);
        }
    }
    let (without, with) = (AnswerTimes::median(without), AnswerTimes::median(with));
    let mut out = std::io::stdout();
    writeln!(out, "\n| {runs} answers of {TOKENS} tokens | first token, ms | each further token, µs |\n|---|---|---|")?;
    let mut row =
        |what: &str, first: f64, further: f64| writeln!(out, "| {what} | {:.3} | {:.1} |", first * 1e3, further * 1e6);
    row("without plugins", without.first, without.further)?;
    row(&plugins, with.first, with.further)?;
    Ok(row("added", with.first - without.first, with.further - without.further)?)
}

async fn host(plugins: Vec<PluginSpec>) -> Result<Host, Failure> {
    let mut builder = Host::builder().plugins(plugins).warm_up(true).speculation(Speculation::Off);
    if let Some(model) = std::env::var_os("MODEL") {
        builder = builder.folder(model);
    }
    Ok(builder.build().await?)
}

fn spec(plugin: &str) -> PluginSpec {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("plugins/prebuilt/{plugin}.wasm"));
    PluginSpec::new(plugin, ComponentSource::Path(path))
}

/// The times of an answer, in seconds.
#[derive(Clone, Copy)]
struct AnswerTimes {
    first: f64,
    /// The mean of a token after the first one.
    further: f64,
}

impl AnswerTimes {
    fn median(times: Vec<Self>) -> Self {
        let of = |part: fn(&Self) -> f64| {
            let mut parts: Vec<f64> = times.iter().map(part).collect();
            parts.sort_by(f64::total_cmp);
            parts[parts.len() / 2]
        };
        Self { first: of(|times| times.first), further: of(|times| times.further) }
    }
}

async fn answer(host: &Host) -> Result<AnswerTimes, Failure> {
    let mut request = GenerationRequest::new(Prompt::Text("The capital of France is".to_owned()));
    (request.sampling.max_tokens, request.sampling.ignore_end) = (Some(TOKENS), true);
    request.sampling.temperature = Some(0.0);
    let mut generation = host.engine().generate(&Caller::local(), request).await?;
    while let Some(event) = generation.next().await? {
        let Event::Finished(finish) = event else { continue };
        let tokens = finish.usage.completion_tokens;
        if tokens != TOKENS {
            return Err(format!("the answer has {tokens} tokens, not {TOKENS}").into());
        }
        let (first, total) = (finish.timing.first_token.as_secs_f64(), finish.timing.total.as_secs_f64());
        return Ok(AnswerTimes { first, further: (total - first) / (TOKENS - 1) as f64 });
    }
    Err("the answer has no end".into())
}
