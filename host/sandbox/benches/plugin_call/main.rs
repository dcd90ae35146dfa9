//! What a plugin costs, beside plain wasmtime in the same run: loading it, a new instance for a request, a call. Samples of both
//! alternate. Run with `benches/run plugins`. Arguments are names of rows. With `COLD` so many MiB pass through the caches before
//! each sample, as the weights of a model do between two tokens.

mod mask;
mod raw;

use std::error::Error;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use firebox_contract::{
    Caller, HookSource, Hooks, RequestInfo, TokenId, TokenSequence, TokenSession, TokenStep, ToolCall,
};
use firebox_sandbox::{ComponentSource, PluginChain, PluginSpec, Sandbox, SandboxOptions};

use self::raw::RawPlugin;

type Failure = Box<dyn Error>;

/// What a model emits in about five tokens.
const CHUNK: &str = "the quick brown fox ";
/// Tokens of the vocabulary of Qwen3.
const VOCABULARY: usize = 151_936;
const WARM_UP: usize = 200;
/// Samples of each kind with `COLD`.
const COLD_RUNS: usize = 300;
const EXPRESSION: &str = r#"{"expression": "1234 * 87"}"#;
const DETECT: &str = r#"{"detect": true}"#;

fn main() -> Result<(), Failure> {
    // As the command line has it.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(run())
}

async fn run() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let compiling = Sandbox::new(SandboxOptions::default())?;
    // A folder of the sandbox's own making, for it caches only where nobody else can look.
    let cache_dir = Some(folder.path().join("components"));
    let caching = Sandbox::new(SandboxOptions { cache_dir, ..SandboxOptions::default() })?;
    let mut out = std::io::stdout();
    writeln!(out, "instances: {:?}\n", caching.allocation())?;
    writeln!(
        out,
        "| what | plugin | median µs | p99 µs | wasmtime, median µs | ratio | n |\n|---|---|---|---|---|---|---|"
    )?;
    for plugin in ["calculator", "redact"] {
        load(&compiling, plugin, false).await?;
        caching.load(spec(plugin)).await?;
        load(&caching, plugin, true).await?;
    }
    new_instance(&caching, "redact").await?;
    tool_call(&caching).await?;
    text_push(&caching).await?;
    token_steps(&caching, folder.path()).await
}

/// The times of one thing in two ways.
struct Row<'a> {
    what: &'a str,
    plugin: &'a str,
    runs: usize,
}

impl Row<'_> {
    /// Runs both ways in turn and prints a row. Each returns how long the part to measure took.
    async fn measure(
        mut self,
        mut raw: Option<&mut dyn FnMut() -> Result<(), Failure>>,
        mut ours: impl AsyncFnMut() -> Result<Duration, Failure>,
    ) -> Result<(), Failure> {
        let mut wanted = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).peekable();
        if wanted.peek().is_some() && !wanted.any(|wanted| self.what == wanted) {
            return Ok(());
        }
        let weights = Weights::new()?;
        self.runs = if weights.0.is_empty() { self.runs } else { self.runs.min(COLD_RUNS) };
        let (mut times, mut raw_times) = (Vec::with_capacity(self.runs), Vec::with_capacity(self.runs));
        for run in 0..self.runs + WARM_UP.min(self.runs) {
            let is_counted = run >= WARM_UP.min(self.runs);
            if let Some(raw) = &mut raw {
                weights.pass();
                let began = Instant::now();
                raw()?;
                let took = began.elapsed();
                raw_times.extend(is_counted.then_some(took));
            }
            weights.pass();
            let took = ours().await?;
            times.extend(is_counted.then_some(took));
        }
        self.print(times, raw_times)
    }

    fn print(self, mut times: Vec<Duration>, mut raw_times: Vec<Duration>) -> Result<(), Failure> {
        times.sort();
        raw_times.sort();
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        let (median, p99) = (micros(times[self.runs / 2]), micros(times[self.runs * 99 / 100]));
        let beside = match raw_times.get(self.runs / 2) {
            Some(raw) => format!("{:.1} | {:.2}", micros(*raw), median / micros(*raw)),
            None => "- | -".to_owned(),
        };
        let Row { what, plugin, runs } = self;
        Ok(writeln!(std::io::stdout(), "| {what} | {plugin} | {median:.1} | {p99:.1} | {beside} | {runs} |")?)
    }
}

/// What passes through the caches before each sample, as the weights of a model do between two tokens.
struct Weights(Vec<u64>);

impl Weights {
    /// As many MiB as `COLD` says.
    fn new() -> Result<Self, Failure> {
        let mib = std::env::var("COLD").ok().map(|mib| mib.parse::<usize>()).transpose()?.unwrap_or(0);
        Ok(Self((0..mib << 17).map(|word| word as u64).collect()))
    }

    fn pass(&self) {
        std::hint::black_box(self.0.iter().fold(0, |sum: u64, word| sum.wrapping_add(*word)));
    }
}

fn path(plugin: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../plugins/prebuilt/{plugin}.wasm"))
}

fn spec(plugin: &str) -> PluginSpec {
    PluginSpec::new(plugin, ComponentSource::Path(path(plugin)))
}

async fn chain(sandbox: &Sandbox, spec: PluginSpec) -> Result<PluginChain, Failure> {
    Ok(PluginChain::new(vec![sandbox.load(spec).await?])?)
}

async fn bind(chain: &PluginChain) -> Result<Box<dyn Hooks>, Failure> {
    let request = RequestInfo::new("1", "none");
    Ok(chain.bind(&Caller::local(), request).await?)
}

async fn load(sandbox: &Sandbox, plugin: &str, is_cached: bool) -> Result<(), Failure> {
    let (what, runs) = if is_cached { ("load from the cache", 100) } else { ("load, compiled", 10) };
    let ours = async || {
        let began = Instant::now();
        let loaded = sandbox.load(spec(plugin)).await?;
        let took = began.elapsed();
        if loaded.from_cache() != is_cached {
            return Err(format!("\"{plugin}\" was not loaded as expected: {}", loaded.warnings().join("; ")).into());
        }
        Ok(took)
    };
    Row { what, plugin, runs }.measure(None, ours).await
}

/// What a request waits for: the instance with its configuration. It is dropped after the request.
async fn new_instance(sandbox: &Sandbox, plugin: &str) -> Result<(), Failure> {
    let chain = chain(sandbox, spec(plugin)).await?;
    let ours = async || {
        let began = Instant::now();
        let _hooks = bind(&chain).await?;
        Ok(began.elapsed())
    };
    Row { what: "new instance, configured", plugin, runs: 5_000 }.measure(None, ours).await?;
    let raw = RawPlugin::compile(&path(plugin))?;
    let ours = async || {
        let began = Instant::now();
        drop(bind(&chain).await?);
        Ok(began.elapsed())
    };
    let row = Row { what: "new instance, configured, dropped", plugin, runs: 5_000 };
    row.measure(Some(&mut || Ok(raw.text().map(drop)?)), ours).await?;
    let ours = async || {
        let began = Instant::now();
        raw.instance()?;
        Ok(began.elapsed())
    };
    Row { what: "wasmtime alone: instance, dropped", plugin, runs: 5_000 }.measure(None, ours).await
}

async fn tool_call(sandbox: &Sandbox) -> Result<(), Failure> {
    let (id, name) = ("1".to_owned(), "calculator".to_owned());
    let call = ToolCall { id, name, arguments_json: EXPRESSION.to_owned() };
    let chain = chain(sandbox, spec("calculator")).await?;
    let raw = RawPlugin::compile(&path("calculator"))?;
    let ours = async || {
        let began = Instant::now();
        bind(&chain).await?.call(&call).await?;
        Ok(began.elapsed())
    };
    let row = Row { what: "instance, tool call 1234 * 87, drop", plugin: "calculator", runs: 5_000 };
    row.measure(Some(&mut || Ok(raw.tool_call("calculator", EXPRESSION)?)), ours).await
}

async fn text_push(sandbox: &Sandbox) -> Result<(), Failure> {
    let chain = chain(sandbox, spec("redact")).await?;
    let mut hooks = bind(&chain).await?;
    let mut raw = RawPlugin::compile(&path("redact"))?.text()?;
    let ours = async || {
        let began = Instant::now();
        hooks.push(CHUNK.to_owned()).await?;
        Ok(began.elapsed())
    };
    let row = Row { what: "text push, 20 bytes", plugin: "redact", runs: 10_000 };
    row.measure(Some(&mut || Ok(raw.push(CHUNK)?)), ours).await
}

async fn token_steps(sandbox: &Sandbox, folder: &Path) -> Result<(), Failure> {
    let watermark = path("watermark");
    let candidates: Vec<(TokenId, f32)> = (0..64).map(|token| (token * 97, -(token as f32))).collect();
    token_step(sandbox, ("token step", "watermark"), (&watermark, Some(DETECT)), &[]).await?;
    token_step(sandbox, ("token step, 64 candidates", "watermark"), (&watermark, None), &candidates).await?;
    for (what, answer) in
        [("token step, kept", mask::Answer::Keep), ("token step, mask of 151,936 bits", mask::Answer::Mask)]
    {
        let component = folder.join("mask.wasm");
        std::fs::write(&component, mask::component(VOCABULARY, answer)?)?;
        token_step(sandbox, (what, "assembled"), (&component, None), &[]).await?;
    }
    Ok(())
}

async fn token_step(
    sandbox: &Sandbox,
    (what, plugin): (&str, &str),
    (component, config): (&Path, Option<&str>),
    candidates: &[(TokenId, f32)],
) -> Result<(), Failure> {
    let source = ComponentSource::Path(component.to_owned());
    let spec = PluginSpec { config_json: config.map(str::to_owned), ..PluginSpec::new(plugin, source) };
    let chain = chain(sandbox, spec).await?;
    let mut hooks = bind(&chain).await?;
    let mut session = start(&mut *hooks).await?;
    let vocabulary = u32::try_from(VOCABULARY)?;
    let mut raw = RawPlugin::compile(component)?.tokens(config.unwrap_or("{}"), vocabulary)?;
    let raw_step = raw::step(candidates);
    let ours = async || {
        let step = TokenStep { accepted: vec![5], candidates: candidates.to_vec(), ..TokenStep::default() };
        let began = Instant::now();
        session.next(step).await?;
        Ok(began.elapsed())
    };
    Row { what, plugin, runs: 10_000 }.measure(Some(&mut || Ok(raw.next(&raw_step)?)), ours).await
}

async fn start(hooks: &mut dyn Hooks) -> Result<Box<dyn TokenSession>, Failure> {
    let sequence = || TokenSequence { vocabulary: VOCABULARY, ends: vec![0], prompt: vec![1, 2, 3], texts: None };
    Ok(hooks.start_tokens(&sequence).await?.ok_or("the plugin has no token stage")?)
}
