//! Metrics of guests.

use std::sync::{Arc, Mutex};

use firebox_contract::TenantId;
use firebox_sandbox::{
    MetricRefusal, MetricSample, MetricSeries, MetricsService, MetricsStore, PluginMeter, Sandbox, SandboxOptions,
    Services,
};

use super::{Three, answer, ask, probe};

/// Remembers what was recorded: tenant, plugin, name, labels and value.
#[derive(Default, Clone)]
struct Recorded(Arc<Mutex<Vec<String>>>);

struct Meter {
    of: String,
    all: Recorded,
}

impl MetricsStore for Recorded {
    fn meter(&self, tenant: &TenantId, plugin: &str) -> Arc<dyn PluginMeter> {
        Arc::new(Meter { of: format!("{tenant} {plugin}"), all: self.clone() })
    }
}

impl PluginMeter for Meter {
    fn record(&self, series: MetricSeries, sample: MetricSample) -> Result<(), MetricRefusal> {
        match series.name.as_str() {
            "full" => Err(MetricRefusal::Full),
            "other" => Err(MetricRefusal::OtherKind),
            name => {
                let line = format!("{} {name} {:?} {sample:?}", self.of, series.labels);
                self.all.0.lock().expect("no panic").push(line);
                Ok(())
            }
        }
    }
}

fn call(kind: &str, name: &str, value: &str, label: &str) -> String {
    format!(
        "{{\"do\": \"metric\", \"kind\": \"{kind}\", \"name\": \"{name}\", \"value\": {value}, \"label\": \"{label}\"}}"
    )
}

fn sandbox(recorded: &Recorded) -> Sandbox {
    let services = Services { metrics: MetricsService::new(Arc::new(recorded.clone())), ..Services::default() };
    Sandbox::new(SandboxOptions { pool_memories: 16, services, ..SandboxOptions::default() }).expect("an engine")
}

#[tokio::test]
async fn values_have_the_plugin_and_the_tenant_of_their_request() {
    let recorded = Recorded::default();
    let sandbox = sandbox(&recorded);
    let own = probe(&sandbox, "probe", "acme", Three::all(&["metrics"])).await;
    let other = probe(&sandbox, "spy", "other", Three::all(&["metrics"])).await;
    assert_eq!(answer(&own, &call("count", "pages", "3", "a b")).await, "recorded");
    assert_eq!(answer(&own, &call("set", "size", "1.5", "x")).await, "recorded");
    assert_eq!(answer(&other, &call("observe", "took", "0.25", "x")).await, "recorded");
    let lines = recorded.0.lock().expect("no panic").clone();
    assert_eq!(
        lines,
        [
            "acme probe pages [(\"kind\", \"a b\")] Count(3)",
            "acme probe size [(\"kind\", \"x\")] Gauge(1.5)",
            "other spy took [(\"kind\", \"x\")] Histogram(0.25)",
        ]
    );
}

#[tokio::test]
async fn what_is_not_allowed_or_not_granted_is_an_error_of_the_interface() {
    let recorded = Recorded::default();
    let sandbox = sandbox(&recorded);
    let own = probe(&sandbox, "probe", "acme", Three::all(&["metrics"])).await;
    for (name, label, expected) in [
        ("full", "x", "Error::Full"),
        ("other", "x", "Error::Invalid(\"the name has values of another kind\")"),
        ("host_http_requests", "x", "Error::Invalid"),
        ("a-b", "x", "Error::Invalid"),
        ("a", "x\\ny", "Error::Invalid"),
    ] {
        let text = answer(&own, &call("count", name, "1", label)).await;
        assert!(text.contains(expected), "{name} {label}: {text}");
    }
    let text = answer(&own, &call("set", "a", "1e999", "x")).await;
    assert!(text.contains("finite"), "{text}");
    for three in [
        Three { manifest: &[], ..Three::all(&["metrics"]) },
        Three { operator: &[], ..Three::all(&["metrics"]) },
        Three { tenant: &[], ..Three::all(&["metrics"]) },
    ] {
        let denied = probe(&sandbox, "probe", "acme", three).await;
        let (text, log) = ask(&denied, &call("count", "a", "1", "x")).await;
        assert!(text.contains("Error::Denied") && log.len() == 1 && log[0].contains("metrics"), "{text} {log:?}");
    }
    assert!(recorded.0.lock().expect("no panic").is_empty());
}
