//! Options that several commands share, and their parsers.

pub mod answer_form;
pub mod hub;
pub mod mcp_servers;

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use firebox_contract::{Caller, ReasoningOptions, SamplingOverrides, ToolSource, limits};
use firebox_engine::Speculation;
use firebox_mcp::client::ClientPool;
use firebox_models::{KV_CACHE_TYPES, KvCacheType, Mixture};
use firebox_sandbox::{Plugin, TenantGrants};

use self::hub::HubOptions;
use super::Io;
use super::output::load_bar::load_progress;
use crate::config::{self, ModelConfig};
use crate::error::CliError;
use crate::host::source::LocalSource;
use crate::host::{Host, HostBuilder};
use crate::plugins;
use crate::system::units;

/// Which model answers, and on which device.
#[derive(Args, Debug, Clone)]
pub struct ModelOptions {
    /// The model: a .gguf file, a Hugging Face folder, or a model of a hub, which is downloaded once: org/name, org/name:Q4_K_M
    /// [default: the small built-in model]
    #[arg(short, long, value_name = "PATH|NAME")]
    pub model: Option<PathBuf>,
    #[command(flatten)]
    pub(super) hub: HubOptions,
    /// Maximum length of the conversation in tokens, with the answer; at most the model's own limit [default: 8192]
    #[arg(long, value_name = "N", value_parser = parse_context, allow_negative_numbers = true)]
    pub context: Option<usize>,
    #[command(flatten)]
    pub(super) quantize: QuantizeOption,
    /// Compute with quantized matrices as the file has them, which is slower; otherwise they are repacked for the CPU once, and
    /// later runs map them from the cache
    #[arg(long)]
    pub(super) no_repack: bool,
    #[command(flatten)]
    pub(super) device: DeviceOptions,
    #[command(flatten)]
    pub(super) threads: ThreadOptions,
    /// Type of keys and values in the KV cache of a model on the CPU
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = KvCacheChoice::default())]
    pub(super) kv_cache: KvCacheChoice,
    /// Show no progress while the model loads
    #[arg(short = 'q', long)]
    pub(super) quiet: bool,
}

/// How a model reads messages and writes answers.
#[derive(Args, Debug, Clone)]
pub struct AnswerOptions {
    /// Turn the text of a control token in messages and tool results into that token, as transformers does
    #[arg(long)]
    pub text_control_tokens: bool,
    /// Draft tokens from earlier text and verify them in one step: ngram drafts where it measures as a gain
    #[arg(long, value_enum, value_name = "HOW", default_value_t = SpeculationChoice::default())]
    pub(super) speculation: SpeculationChoice,
}

impl AnswerOptions {
    /// The builder with these options.
    pub(super) fn apply(&self, builder: HostBuilder) -> HostBuilder {
        let speculation = match self.speculation {
            SpeculationChoice::Ngram => Speculation::NGram,
            SpeculationChoice::Off => Speculation::Off,
        };
        builder.text_control_tokens(self.text_control_tokens).speculation(speculation)
    }
}

/// The type of keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(in crate::cli) enum KvCacheChoice {
    /// Half the memory of f32; long contexts are read twice as fast
    #[default]
    F16,
    /// Blocks of 32 codes of 8 bits with a scale each: 53 % of the memory of f16
    #[value(name = "q8_0")]
    Q8_0,
    /// As they are computed
    F32,
}

impl KvCacheChoice {
    pub(in crate::cli) fn kind(self) -> KvCacheType {
        match self {
            Self::F16 => KvCacheType::F16,
            Self::Q8_0 => KvCacheType::Q8_0,
            Self::F32 => KvCacheType::F32,
        }
    }

    /// The name of the type in which a device keeps keys and values: a GPU knows F32 only.
    pub(in crate::cli) fn name_on(self, device: &str) -> &'static str {
        let kind = if device.starts_with("cpu") { self.kind() } else { KvCacheType::F32 };
        KV_CACHE_TYPES.iter().find(|(_, known)| *known == kind).map_or("", |(name, _)| name)
    }
}

/// Whether tokens are drafted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum SpeculationChoice {
    /// Drafts the continuation of the last matching tokens
    #[default]
    Ngram,
    /// Computes one token of an answer at a time
    Off,
}

/// Prints a note if there is a configuration file, because `command` reads a small part of it.
pub(super) fn note_unused_config(command: &str, io: &mut Io) -> Result<(), CliError> {
    let Some(file) = config::default_file() else { return Ok(()) };
    let file = file.display();
    Ok(writeln!(
        io.err,
        "firebox: note: \"{file}\" configures firebox serve; {command} reads only its table [plugins], and takes the rest from options"
    )?)
}

impl ModelOptions {
    /// A builder for a host with this model. A model of a hub is downloaded if the cache does not have it.
    ///
    /// # Errors
    /// `CliError` of usage for a device name that is not valid; the errors of the hub.
    pub(super) async fn host_builder(&self) -> Result<HostBuilder, CliError> {
        let local = match &self.model {
            Some(model) => Some(self.hub.get(model).await?),
            None => None,
        };
        let config = ModelConfig {
            path: local.as_ref().map(|local| local.path.clone()),
            device: self.device.device.clone(),
            context_tokens: self.context,
            threads: self.threads.count(),
            quantize: self.quantize.quantize,
            repack: !self.no_repack,
            kv_cache: self.kv_cache.kind(),
            ..ModelConfig::ember()
        };
        let builder = Host::builder().configured(&config)?.notice(super::notice()).progress(load_progress(self.quiet));
        Ok(match local {
            Some(LocalSource { name, in_use, .. }) => builder.name(name).in_use(in_use),
            None => builder,
        })
    }
}

/// In which type the weights of a model in full precision are kept.
#[derive(Args, Debug, Clone)]
pub struct QuantizeOption {
    /// Quantize the matrices of a model in full precision, once; later runs map them from the cache: q8_0, q6_k, q5_k_m, q4_k_m,
    /// q4_0 and others
    #[arg(long, value_name = "TYPE", value_parser = parse_mixture)]
    pub quantize: Option<&'static Mixture>,
}

/// Parses a length of the conversation.
fn parse_context(text: &str) -> Result<usize, String> {
    let tokens = text.parse().ok().filter(|tokens| *tokens > 0);
    tokens.ok_or_else(|| format!("\"{text}\" is not a number of tokens from 1 on"))
}

/// Parses the name of a mixture of types.
pub(super) fn parse_mixture(text: &str) -> Result<&'static Mixture, String> {
    Mixture::named(text)
}

/// Which device models run on.
#[derive(Args, Debug, Clone)]
pub struct DeviceOptions {
    /// Device to run on: auto, vulkan, metal, dx12, webgpu or cpu; `:INDEX` selects one of several, as in vulkan:1
    #[arg(long, env = "FIREBOX_DEVICE", default_value = "auto", value_name = "DEVICE")]
    pub device: String,
}

/// How many threads a model computes with.
#[derive(Args, Debug, Clone)]
pub struct ThreadOptions {
    /// Number of threads that compute on the CPU. Default: one for each core
    #[arg(short = 't', long, env = "RAYON_NUM_THREADS", value_name = "N", value_parser = parse_threads)]
    pub threads: Option<usize>,
}

impl ThreadOptions {
    /// The number; `None` is one for each core.
    pub(super) fn count(&self) -> Option<usize> {
        self.threads.filter(|threads| *threads > 0)
    }
}

/// How tokens are sampled. The default of each option is the value in the checkpoint's generation_config.json.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingOptions {
    /// Randomness of the answer; 0 always takes the most likely token
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub temperature: Option<f32>,
    /// Sample from the N most likely tokens (0 and -1: from all)
    #[arg(long, value_name = "N", value_parser = parse_top_k, allow_negative_numbers = true)]
    pub top_k: Option<usize>,
    /// Sample from the smallest set of tokens whose probabilities add up to P
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub top_p: Option<f32>,
    /// Ignore tokens with less than P times the probability of the most likely token
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub min_p: Option<f32>,
    /// Penalize tokens that already occur in the prompt or the answer (1: off)
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub repetition_penalty: Option<f32>,
    /// Penalize tokens that already occur in the answer
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub presence_penalty: Option<f32>,
    /// Penalize tokens by how often they occur in the answer
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub frequency_penalty: Option<f32>,
    /// Seed of the random numbers; the same seed gives the same answer
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub seed: Option<u64>,
    /// Maximum length of the answer in tokens [default: the room left in the context]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub max_tokens: Option<usize>,
    /// Stop the answer before TEXT (repeatable)
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
}

impl SamplingOptions {
    /// The options as the engine takes them. The engine checks their ranges.
    #[must_use]
    pub fn overrides(&self) -> SamplingOverrides {
        SamplingOverrides {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            logit_bias: Vec::new(),
            seed: self.seed,
            max_tokens: self.max_tokens,
            stop: self.stop.clone(),
            ..SamplingOverrides::default()
        }
    }
}

/// Whether and how much a reasoning model thinks before it answers.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Reasoning")]
pub struct ReasoningArgs {
    /// Print the model's reasoning on standard error
    #[arg(long)]
    pub show_thinking: bool,
    /// Switch reasoning off, by the switch of the model's chat template
    #[arg(long, conflicts_with_all = ["show_thinking", "thinking_budget"])]
    pub no_thinking: bool,
    /// Maximum number of reasoning tokens; then the model has to answer
    #[arg(long, value_name = "N")]
    pub thinking_budget: Option<usize>,
}

impl ReasoningArgs {
    /// The options as the engine takes them.
    #[must_use]
    pub fn options(&self) -> ReasoningOptions {
        let enabled = self.no_thinking.then_some(false);
        ReasoningOptions { enabled, max_tokens: self.thinking_budget, ..ReasoningOptions::default() }
    }
}

/// Which plugins run, and their limits.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Plugins")]
pub struct PluginOptions {
    /// Run a plugin: a built-in NAME (`firebox plugins list` has them) or the PATH of a component (repeatable, in order)
    #[arg(long = "plugin", value_name = "NAME|PATH")]
    pub plugins: Vec<String>,
    /// Configuration of a plugin: a JSON object (repeatable)
    #[arg(long = "plugin-config", value_name = "NAME=JSON")]
    pub configs: Vec<String>,
    /// Maximum fuel of each plugin call (1 ms of work is about 10 million)
    #[arg(long, value_name = "N")]
    pub fuel: Option<u64>,
    /// Maximum memory of each plugin instance, such as 64MiB (a number without unit: MiB)
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub plugin_memory: Option<usize>,
    /// Maximum time of each plugin call, such as 500ms or 2s (a number without unit: milliseconds)
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub plugin_timeout: Option<Duration>,
    /// Allow plugins to use a capability that they ask for: clock, random, model:generate, keyvalue:BUCKET, files:NAME=PATH,
    /// "http:METHODS URL" or "secret:NAME=env:VARIABLE for URL" (repeatable)
    #[arg(long = "grant", value_name = "CAPABILITY")]
    pub grants: Vec<String>,
    /// List what each plugin asks for, whether it was granted, and what to write if not
    #[arg(long)]
    pub explain_grants: bool,
    /// Do not offer the built-in tools to the built-in model
    #[arg(long)]
    pub no_tools: bool,
    /// Maximum number of tool rounds before the answer
    #[arg(long, value_name = "N", default_value_t = limits::TOOL_ROUNDS_DEFAULT)]
    pub tool_rounds: usize,
}

/// Prints what each of `plugins` asks for and was granted.
pub(in crate::cli) fn print_grants(plugins: &[Arc<Plugin>], io: &mut Io) -> Result<(), CliError> {
    for line in plugins::grant_lines(plugins, &TenantGrants::of_operator(Caller::local().tenant)) {
        writeln!(io.err, "{line}")?;
    }
    Ok(io.err.flush()?)
}

/// The MCP servers whose tools the model can call.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "MCP servers")]
pub struct McpOptions {
    /// Connect to an MCP server: NAME=COMMAND starts a program, NAME=URL connects over HTTP. Write variables of the program
    /// before the command: VARIABLE=VALUE, or VARIABLE=env:NAME for a secret (repeatable)
    #[arg(long, value_name = "NAME=COMMAND|URL")]
    pub mcp: Vec<String>,
    /// HTTP header for the MCP server NAME, such as 'web=Authorization: Bearer env:TOKEN'. env:NAME is replaced with a
    /// variable, file:PATH with the content of a file; values are never printed (repeatable)
    #[arg(long, value_name = "NAME=HEADER: VALUE")]
    pub mcp_header: Vec<String>,
}

impl McpOptions {
    /// Adds the tools of the servers in `pool`, which was made from these options, to `builder`.
    pub(super) fn add_tools(&self, builder: HostBuilder, pool: &ClientPool) -> HostBuilder {
        if self.mcp.is_empty() { builder } else { builder.tools(Arc::new(pool.clone()) as Arc<dyn ToolSource>) }
    }
}

/// Parses `64MiB`, `65536KiB`, `1GiB`, `1000000B` or a number of MiB.
pub(super) fn parse_bytes(text: &str) -> Result<usize, String> {
    let bytes = usize::try_from(units::parse_size(text, Some("MiB"))?).unwrap_or(usize::MAX);
    if (1..=limits::PLUGIN_MEMORY_BYTES_MAX).contains(&bytes) {
        return Ok(bytes);
    }
    Err(format!("\"{text}\" is not a size between 1B and {}MiB", limits::PLUGIN_MEMORY_BYTES_MAX >> 20))
}

/// Parses a number of threads. In the environment variable, 0 and an empty text mean one for each core, as in rayon.
pub(super) fn parse_threads(text: &str) -> Result<usize, String> {
    let max = limits::COMPUTE_THREADS_MAX;
    let count = if text.is_empty() { Some(0) } else { text.parse().ok().filter(|count| *count <= max) };
    count.ok_or_else(|| format!("\"{text}\" is not a number of threads from 1 to {max}"))
}

/// Parses a number of tokens. -1 means no limit, as in other programs.
pub(super) fn parse_top_k(text: &str) -> Result<usize, String> {
    if text == "-1" {
        return Ok(0);
    }
    text.parse().map_err(|_| format!("\"{text}\" is not a whole number; 0 and -1 keep all tokens"))
}

/// Parses `500ms`, `2s` or a number of milliseconds.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let time = units::parse_time(text, Some("ms"))?;
    if time.is_zero() || time > limits::PLUGIN_TIMEOUT_MAX {
        return Err(format!("\"{text}\" is not a time between 1ms and {}s", limits::PLUGIN_TIMEOUT_MAX.as_secs()));
    }
    Ok(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_of_zero_are_one_for_each_core() {
        assert_eq!(parse_threads("3"), Ok(3));
        assert_eq!((parse_threads("0"), parse_threads("")), (Ok(0), Ok(0)));
        assert_eq!(ThreadOptions { threads: Some(0) }.count(), None);
        for bad in ["-1", "two", "1025"] {
            assert!(parse_threads(bad).is_err_and(|error| error.contains(bad)), "{bad}");
        }
    }

    #[test]
    fn sizes_and_times_are_parsed_with_their_units() {
        assert_eq!(parse_bytes("64MiB"), Ok(64 << 20));
        assert_eq!(parse_bytes("8"), Ok(8 << 20));
        assert_eq!(parse_bytes("65536 KiB"), Ok(64 << 20));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("2s"), Ok(Duration::from_secs(2)));
        for bad in ["", "MiB", "0", "5MB", "-1", "99999999999999999999GiB", "9999GiB"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
        for bad in ["", "0", "1h", "-5", "601s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
