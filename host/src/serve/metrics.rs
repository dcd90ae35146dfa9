//! The metrics of the server, in the text format of Prometheus. Names are `firebox_*` with their unit.
//!
//! Values of labels that a client can choose are bounded. Models and plugins come from the configuration. The first
//! `limits::METRICS_TENANTS_MAX` tenants and tools have labels; the rest share the label "other".

mod plugins;
mod scrape;

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use firebox_contract::{PluginUse, TenantId, ToolOutcome, Usage, limits};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::connections::counters::ConnectionCounters;
pub use plugins::PluginMetrics;
pub(crate) use scrape::is_up;
pub use scrape::{McpStates, ScrapeCollector};

/// The buckets of the histograms in seconds, as vLLM has them, so that its dashboards work.
const FIRST_TOKEN: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
    160.0, 640.0, 2560.0,
];
const INTER_TOKEN: &[f64] =
    &[0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0];
const WHOLE: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    model: String,
    tenant: String,
    outcome: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    model: String,
    tenant: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModelLabels {
    model: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PluginLabels {
    plugin: String,
    stage: &'static str,
    tenant: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ToolLabels {
    tool: String,
    tenant: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: &'static str,
    status: u16,
}

type Histograms = Family<ModelLabels, Histogram, fn() -> Histogram>;

/// The metrics of one server.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    prompt_tokens: Family<TokenLabels, Counter>,
    cached_tokens: Family<TokenLabels, Counter>,
    completion_tokens: Family<TokenLabels, Counter>,
    first_token: Histograms,
    inter_token: Histograms,
    per_token: Histograms,
    whole: Histograms,
    plugin_calls: Family<PluginLabels, Counter>,
    plugin_fuel: Family<PluginLabels, Counter>,
    plugin_seconds: Family<PluginLabels, Counter<f64, std::sync::atomic::AtomicU64>>,
    tool_calls: Family<ToolLabels, Counter>,
    http: Family<RouteLabels, Counter>,
    pub(crate) connections: ConnectionCounters,
    tenants: Mutex<HashSet<String>>,
    tools: Mutex<HashSet<String>>,
}

impl Metrics {
    /// Counters at zero, and the values that `collector` and `plugins` have at each scrape.
    #[must_use]
    pub fn new(collector: ScrapeCollector, plugins: PluginMetrics, connections: ConnectionCounters) -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("firebox"),
            requests: Family::default(),
            prompt_tokens: Family::default(),
            cached_tokens: Family::default(),
            completion_tokens: Family::default(),
            first_token: Family::new_with_constructor(|| Histogram::new(FIRST_TOKEN.iter().copied())),
            inter_token: Family::new_with_constructor(|| Histogram::new(INTER_TOKEN.iter().copied())),
            per_token: Family::new_with_constructor(|| Histogram::new(INTER_TOKEN.iter().copied())),
            whole: Family::new_with_constructor(|| Histogram::new(WHOLE.iter().copied())),
            plugin_calls: Family::default(),
            plugin_fuel: Family::default(),
            plugin_seconds: Family::default(),
            tool_calls: Family::default(),
            http: Family::default(),
            connections,
            tenants: Mutex::default(),
            tools: Mutex::default(),
        };
        metrics.register();
        metrics.registry.register_collector(Box::new(collector));
        metrics.registry.register_collector(Box::new(plugins));
        metrics
    }

    fn register(&mut self) {
        let to = &mut self.registry;
        to.register("requests", "Requests for text or embeddings that ended, by outcome", self.requests.clone());
        to.register("prompt_tokens", "Prompt tokens", self.prompt_tokens.clone());
        to.register(
            "cached_prompt_tokens",
            "Prompt tokens that were found in the prefix cache",
            self.cached_tokens.clone(),
        );
        to.register("completion_tokens", "Generated tokens", self.completion_tokens.clone());
        let seconds = || Unit::Seconds;
        let help = "Time from arrival to the first text or tool call";
        to.register_with_unit("time_to_first_token", help, seconds(), self.first_token.clone());
        let help = "Time between two tokens of an answer";
        to.register_with_unit("inter_token_latency", help, seconds(), self.inter_token.clone());
        let help = "Mean time between two tokens, one value per answer";
        to.register_with_unit("time_per_output_token", help, seconds(), self.per_token.clone());
        to.register_with_unit("e2e_request_latency", "Time from arrival to the end", seconds(), self.whole.clone());
        to.register("plugin_calls", "Plugin calls", self.plugin_calls.clone());
        to.register("plugin_fuel", "Fuel used by plugin calls", self.plugin_fuel.clone());
        to.register_with_unit("plugin_time", "Time spent in plugin calls", seconds(), self.plugin_seconds.clone());
        to.register("tool_calls", "Tool calls that the server ran, by outcome", self.tool_calls.clone());
        to.register("http_requests", "HTTP requests, by route and status", self.http.clone());
        self.connections.register(to);
    }

    /// The text of a scrape.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail. A partial text would be invalid.
        if encode(&mut text, &self.registry).is_err() {
            text.clear();
        }
        text
    }

    /// Counts a response.
    pub fn answered(&self, route: &'static str, status: u16) {
        self.http.get_or_create(&RouteLabels { route, status }).inc();
    }

    /// Records the time to the first token of an answer.
    pub fn first_token(&self, model: &str, after: Duration) {
        self.first_token.get_or_create(&ModelLabels { model: model.to_owned() }).observe(after.as_secs_f64());
    }

    /// Records the times between tokens.
    pub fn gaps(&self, model: &str, gaps: &[Duration]) {
        if gaps.is_empty() {
            return;
        }
        let times = self.inter_token.get_or_create(&ModelLabels { model: model.to_owned() });
        gaps.iter().for_each(|gap| times.observe(gap.as_secs_f64()));
    }

    /// Counts the end of a request after the time `took`. `per_token` is the mean time between its tokens, if it had several.
    pub fn ended(&self, model: &str, tenant: &TenantId, outcome: &str, took: Duration, per_token: Option<Duration>) {
        let of = ModelLabels { model: model.to_owned() };
        self.whole.get_or_create(&of).observe(took.as_secs_f64());
        if let Some(time) = per_token {
            self.per_token.get_or_create(&of).observe(time.as_secs_f64());
        }
        let tenant = capped(&self.tenants, tenant.as_str());
        self.requests.get_or_create(&RequestLabels { model: of.model, tenant, outcome: outcome.to_owned() }).inc();
    }

    /// Counts the usage of a request.
    pub fn used(&self, model: &str, tenant: &TenantId, usage: Usage, plugins: &[PluginUse]) {
        let tenant = capped(&self.tenants, tenant.as_str());
        let labels = TokenLabels { model: model.to_owned(), tenant: tenant.clone() };
        self.prompt_tokens.get_or_create(&labels).inc_by(usage.prompt_tokens as u64);
        self.cached_tokens.get_or_create(&labels).inc_by(usage.cached_tokens as u64);
        self.completion_tokens.get_or_create(&labels).inc_by(usage.completion_tokens as u64);
        for plugin in plugins {
            let (stage, tenant) = (plugin.stage.as_str(), tenant.clone());
            let labels = PluginLabels { plugin: plugin.plugin.clone(), stage, tenant };
            self.plugin_calls.get_or_create(&labels).inc_by(plugin.calls);
            self.plugin_fuel.get_or_create(&labels).inc_by(plugin.fuel);
            self.plugin_seconds.get_or_create(&labels).inc_by(plugin.elapsed.as_secs_f64());
        }
    }

    /// Counts a tool call. The model made up the name of a tool that no provider has; it does not become a label.
    pub fn tool_answered(&self, tenant: &TenantId, tool: &str, outcome: &ToolOutcome) {
        let tool = if tool.is_empty() || outcome.provider.is_empty() {
            "unknown".to_owned()
        } else {
            capped(&self.tools, tool)
        };
        let result = if outcome.is_error { "error" } else { "ok" };
        let tenant = capped(&self.tenants, tenant.as_str());
        self.tool_calls.get_or_create(&ToolLabels { tool, tenant, outcome: result }).inc();
    }
}

/// `name`, or "other" if too many names came before it.
fn capped(names: &Mutex<HashSet<String>>, name: &str) -> String {
    let mut names = names.lock().unwrap_or_else(PoisonError::into_inner);
    if !names.contains(name) {
        if names.len() >= limits::METRICS_TENANTS_MAX {
            return "other".to_owned();
        }
        names.insert(name.to_owned());
    }
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metric_names_have_units_and_tenants_beyond_the_maximum_are_other() {
        let metrics = Metrics::new(ScrapeCollector::default(), PluginMetrics::default(), ConnectionCounters::default());
        for number in 0..limits::METRICS_TENANTS_MAX + 5 {
            let tenant = TenantId::new(&format!("t{number}"));
            metrics.ended("m", &tenant, "stop", Duration::from_millis(5), Some(Duration::from_millis(1)));
        }
        metrics.first_token("m", Duration::from_millis(3));
        metrics.gaps("m", &[Duration::from_millis(1), Duration::from_secs(9)]);
        metrics.used(
            "m",
            &TenantId::new("t0"),
            Usage { prompt_tokens: 3, cached_tokens: 2, completion_tokens: 1, reasoning_tokens: 1 },
            &[],
        );
        metrics.answered("/v1/models", 200);
        let text = metrics.text();
        for line in [
            "firebox_requests_total{model=\"m\",tenant=\"other\",outcome=\"stop\"} 5",
            "firebox_time_to_first_token_seconds_bucket{le=\"0.005\",model=\"m\"} 1",
            "firebox_inter_token_latency_seconds_count{model=\"m\"} 2",
            "firebox_inter_token_latency_seconds_sum{model=\"m\"} 9.001",
            "firebox_time_per_output_token_seconds_bucket{le=\"0.01\",model=\"m\"} 261",
            "firebox_prompt_tokens_total{model=\"m\",tenant=\"t0\"} 3",
            "firebox_http_requests_total{route=\"/v1/models\",status=\"200\"} 1",
            "# EOF",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
