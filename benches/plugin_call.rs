//! What a plugin costs: loading it, a fresh instance for a request, a call. Prints a table with the budget of each
//! beside it: a call at every token may take 1 % of a token at 2 ms, a request's own instance 1 % of a first token at
//! 10 ms. Run with `benches/run plugins`.

use std::error::Error;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use firebox::contract::{Caller, HookSource, Hooks, RequestInfo, TokenId, TokenSequence, TokenStep, ToolCall};
use firebox::sandbox::{ComponentSource, PluginChain, PluginSpec, Sandbox, SandboxOptions};

type Failure = Box<dyn Error>;

/// What a model emits in about five tokens.
const CHUNK: &str = "the quick brown fox ";
const WARM_UP: usize = 50;

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
    writeln!(out, "| what | plugin | median µs | p99 µs | budget µs | n |\n|---|---|---|---|---|---|")?;
    for plugin in ["calculator", "redact"] {
        load(&compiling, plugin, false).await?;
        let chain = PluginChain::new(vec![caching.load(spec(plugin)).await?])?;
        load(&caching, plugin, true).await?;
        fresh_instance(&chain, plugin).await?;
        if plugin == "calculator" {
            tool_call(&chain).await?;
        } else {
            text_push(&chain).await?;
        }
    }
    let candidates: Vec<(TokenId, f32)> = (0..64).map(|token| (token * 97, -(token as f32))).collect();
    let plain = spec("watermark");
    let ends = PluginSpec { config_json: Some(r#"{"detect": true}"#.to_owned()), ..spec("watermark") };
    for (what, spec, candidates) in
        [("token step", ends, Vec::new()), ("token step with 64 candidates", plain, candidates)]
    {
        token_step(&PluginChain::new(vec![caching.load(spec).await?])?, what, candidates).await?;
    }
    Ok(())
}

/// How often something runs, and how long it may take.
struct Row {
    runs: usize,
    budget: Duration,
}

impl Row {
    /// Runs `work`, which says how long the part to measure took, and prints median and 99th percentile.
    async fn measure(
        self,
        what: &str,
        plugin: &str,
        mut work: impl AsyncFnMut() -> Result<Duration, Failure>,
    ) -> Result<(), Failure> {
        for _ in 0..WARM_UP.min(self.runs) {
            work().await?;
        }
        let mut times = Vec::with_capacity(self.runs);
        for _ in 0..self.runs {
            times.push(work().await?);
        }
        times.sort();
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        let (median, p99) = (micros(times[self.runs / 2]), micros(times[self.runs * 99 / 100]));
        let (budget, runs) = (micros(self.budget), self.runs);
        Ok(writeln!(std::io::stdout(), "| {what} | {plugin} | {median:.1} | {p99:.1} | {budget:.0} | {runs} |")?)
    }
}

fn spec(plugin: &str) -> PluginSpec {
    let prebuilt = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/prebuilt");
    PluginSpec::new(plugin, ComponentSource::Path(prebuilt.join(format!("{plugin}.wasm"))))
}

async fn bind(chain: &PluginChain) -> Result<Box<dyn Hooks>, Failure> {
    let request = RequestInfo { id: "1".to_owned(), model: "none".to_owned(), plugins: Vec::new() };
    Ok(chain.bind(&Caller::local(), request).await?)
}

async fn load(sandbox: &Sandbox, plugin: &str, cached: bool) -> Result<(), Failure> {
    let (what, row) = match cached {
        true => ("load from the cache", Row { runs: 100, budget: Duration::from_millis(10) }),
        false => ("load, compiled", Row { runs: 10, budget: Duration::from_secs(3) }),
    };
    row.measure(what, plugin, async || {
        let began = Instant::now();
        let loaded = sandbox.load(spec(plugin)).await?;
        let took = began.elapsed();
        if loaded.from_cache() != cached {
            return Err(format!("\"{plugin}\" was not loaded as expected: {}", loaded.warnings().join("; ")).into());
        }
        Ok(took)
    })
    .await
}

async fn fresh_instance(chain: &PluginChain, plugin: &str) -> Result<(), Failure> {
    let row = Row { runs: 5_000, budget: Duration::from_micros(100) };
    row.measure("fresh instance", plugin, async || {
        let began = Instant::now();
        let _hooks = bind(chain).await?;
        Ok(began.elapsed())
    })
    .await
}

async fn tool_call(chain: &PluginChain) -> Result<(), Failure> {
    let call = ToolCall {
        id: "1".to_owned(),
        name: "calculator".to_owned(),
        arguments_json: r#"{"expression": "1234 * 87"}"#.to_owned(),
    };
    let hooks = bind(chain).await?;
    let row = Row { runs: 10_000, budget: Duration::from_micros(100) };
    row.measure("tool call, 1234 * 87", "calculator", async || {
        let began = Instant::now();
        hooks.call(&call).await?;
        Ok(began.elapsed())
    })
    .await?;
    let row = Row { runs: 5_000, budget: Duration::from_micros(100) };
    row.measure("create, tool call, drop", "calculator", async || {
        let began = Instant::now();
        bind(chain).await?.call(&call).await?;
        Ok(began.elapsed())
    })
    .await
}

async fn text_push(chain: &PluginChain) -> Result<(), Failure> {
    let mut hooks = bind(chain).await?;
    let row = Row { runs: 10_000, budget: Duration::from_micros(20) };
    row.measure("text push, 20 bytes", "redact", async || {
        let began = Instant::now();
        hooks.push(CHUNK.to_owned()).await?;
        Ok(began.elapsed())
    })
    .await?;
    let row = Row { runs: 5_000, budget: Duration::from_micros(100) };
    row.measure("create, text push, finish, drop", "redact", async || {
        let began = Instant::now();
        let mut hooks = bind(chain).await?;
        hooks.push(CHUNK.to_owned()).await?;
        hooks.finish().await?;
        drop(hooks);
        Ok(began.elapsed())
    })
    .await
}

async fn token_step(chain: &PluginChain, what: &str, candidates: Vec<(TokenId, f32)>) -> Result<(), Failure> {
    let mut hooks = bind(chain).await?;
    let sequence = || TokenSequence { vocabulary: 151_936, ends: vec![0], prompt: vec![1, 2, 3], texts: None };
    let mut session = hooks.start_tokens(&sequence).await?.ok_or("the plugin has no token stage")?;
    let row = Row { runs: 10_000, budget: Duration::from_micros(20) };
    row.measure(what, "watermark", async || {
        let step = TokenStep { accepted: vec![5], candidates: candidates.clone(), ..TokenStep::default() };
        let began = Instant::now();
        session.next(step).await?;
        Ok(began.elapsed())
    })
    .await
}
