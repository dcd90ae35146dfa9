//! The metrics that are read at each scrape: models, MCP servers and running requests.

use std::fmt;
use std::sync::Arc;

use firebox_engine::{EngineCounters, EngineStatus};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::serve::models::{LoadedModel, ModelState, ServedModels};
use crate::serve::server::drain::Drain;

/// Returns the name of each MCP server and whether it answers.
pub type McpStates = Arc<dyn Fn() -> Vec<(String, bool)> + Send + Sync>;

/// The sources of the values.
#[derive(Clone, Default)]
pub struct ScrapeCollector {
    /// The models.
    pub models: Option<Arc<ServedModels>>,
    /// Running requests.
    pub drain: Option<Drain>,
    /// MCP servers.
    pub mcp: Option<McpStates>,
}

impl fmt::Debug for ScrapeCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScrapeCollector")
    }
}

/// A metric of each model: name, help, unit, and how to read it.
type EngineMetric<T> = (&'static str, &'static str, Option<Unit>, fn(&EngineCounters) -> T);

const GAUGES: &[EngineMetric<f64>] = &[
    ("requests_running", "Requests that run at the model", None, |c| c.running as f64),
    ("requests_waiting", "Requests that wait for the model", None, |c| c.waiting as f64),
    ("sequences_cached", "Sequences in the prefix cache", None, |c| c.sequences_cached as f64),
    // The old name, exported for one more release.
    ("sequences_kept", "Deprecated: use sequences_cached", None, |c| c.sequences_cached as f64),
    ("kv_cache_used", "Bytes of the KV cache in use", Some(Unit::Bytes), |c| c.cache.used_bytes as f64),
    ("kv_cache_budget", "Maximum bytes of the KV cache", Some(Unit::Bytes), |c| c.cache.budget_bytes as f64),
];

const COUNTERS: &[EngineMetric<f64>] = &[
    ("requests_admitted", "Requests that the model admitted", None, |c| c.admitted as f64),
    ("requests_refused", "Requests that the model refused", None, |c| c.refused as f64),
    ("queue_wait", "Time that requests waited for the model", Some(Unit::Seconds), |c| c.queue_wait.as_secs_f64()),
    ("prefix_cache_queries", "Prompts that were looked up in the prefix cache", None, |c| c.prefix_queries as f64),
    ("prefix_cache_hits", "Prompts that were found in the prefix cache", None, |c| c.prefix_hits as f64),
    ("prefix_cache_hit_tokens", "Prompt tokens that were found in the prefix cache", None, |c| {
        c.prefix_hit_tokens as f64
    }),
    ("engine_drafted_tokens", "Drafted tokens that were verified", None, |c| c.drafted_tokens as f64),
    ("engine_accepted_tokens", "Drafted tokens that were accepted", None, |c| c.accepted_tokens as f64),
    ("engine_steps", "Forward passes", None, |c| c.steps as f64),
    ("engine_batched_sequences", "Sequences in forward passes, summed", None, |c| c.batched_sequences as f64),
    ("engine_steps_aborted", "Forward passes aborted for another tenant", None, |c| c.steps_aborted as f64),
    // The old name, exported for one more release.
    ("engine_steps_given_up", "Deprecated: use engine_steps_aborted", None, |c| c.steps_aborted as f64),
    ("engine_preemptions", "Sequences that gave up their cache", None, |c| c.preemptions as f64),
    ("engine_reloads", "Times that the model was reloaded after a failure", None, |c| c.reloads as f64),
];

impl ScrapeCollector {
    /// The counters of each loaded model.
    fn engines(&self) -> Vec<(String, EngineCounters)> {
        let all = self.models.iter().flat_map(|models| models.all());
        let engines = all.filter_map(|model| match model.state() {
            ModelState::Ready(LoadedModel::Chat(host)) => Some((model.name().to_owned(), host.engine().counters())),
            ModelState::Ready(LoadedModel::Encoder(encoder)) => Some((model.name().to_owned(), encoder.counters())),
            ModelState::Loading | ModelState::Failed(_) => None,
        });
        engines.collect()
    }

    /// Each model, and whether it can answer.
    fn up(&self) -> Vec<(String, bool)> {
        let all = self.models.iter().flat_map(|models| models.all());
        all.map(|model| (model.name().to_owned(), is_up(&model.state()))).collect()
    }
}

/// Whether a model in this state can answer.
pub(crate) fn is_up(state: &ModelState) -> bool {
    match state {
        ModelState::Ready(LoadedModel::Chat(host)) => host.engine().status() == EngineStatus::Ready,
        ModelState::Ready(LoadedModel::Encoder(_)) => true,
        ModelState::Loading | ModelState::Failed(_) => false,
    }
}

impl Collector for ScrapeCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let engines = self.engines();
        for (name, help, unit, of) in GAUGES {
            let mut metric = encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
            for (model, counters) in &engines {
                let labels = [("model", model.as_str())];
                ConstGauge::new(of(counters)).encode(metric.encode_family(&labels)?)?;
            }
        }
        for (name, help, unit, of) in COUNTERS {
            let mut metric = encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Counter)?;
            for (model, counters) in &engines {
                let labels = [("model", model.as_str())];
                ConstCounter::new(of(counters)).encode(metric.encode_family(&labels)?)?;
            }
        }
        flags(&mut encoder, "model_up", "1 if the model can answer", "model", &self.up())?;
        let servers = self.mcp.as_ref().map(|states| states()).unwrap_or_default();
        flags(&mut encoder, "mcp_server_up", "1 if the MCP server answers", "server", &servers)?;
        let running = self.drain.as_ref().map_or(0, Drain::running);
        let metric =
            encoder.encode_descriptor("http_requests_running", "Running HTTP requests", None, MetricType::Gauge)?;
        ConstGauge::new(running as f64).encode(metric)
    }
}

fn flags(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &str,
    rows: &[(String, bool)],
) -> Result<(), fmt::Error> {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (value, up) in rows {
        let labels = [(label, value.as_str())];
        ConstGauge::new(i64::from(*up)).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}
