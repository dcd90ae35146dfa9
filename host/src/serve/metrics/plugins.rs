//! The metrics of plugins, for the page of metrics of a server.
//!
//! Each plugin and tenant has a lock of its own, and a number of series that no other can use up.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use firebox_contract::{TenantId, limits};
use firebox_sandbox::{MetricRefusal, MetricSample, MetricSeries, MetricsService, MetricsStore, PluginMeter};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;

/// The upper ends of the buckets of every histogram of a plugin.
const BUCKETS: [f64; 14] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 50.0, 100.0, 500.0, 1_000.0, 10_000.0];

/// The metrics of all plugins and tenants. Clones share them.
#[derive(Clone, Default)]
pub struct PluginMetrics(Arc<Mutex<MeterMap>>);

/// The meters by tenant and plugin.
type MeterMap = BTreeMap<(String, String), Arc<Meter>>;

impl PluginMetrics {
    /// The service through which plugins store their metrics here.
    #[must_use]
    pub fn service(&self) -> MetricsService {
        MetricsService::new(Arc::new(self.clone()))
    }
}

impl fmt::Debug for PluginMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PluginMetrics")
    }
}

/// The values of one series.
enum Values {
    Counter(u64),
    Gauge(f64),
    Histogram(Histogram),
}

impl Values {
    fn of(sample: MetricSample) -> Self {
        match sample {
            MetricSample::Count(_) => Self::Counter(0),
            MetricSample::Gauge(_) => Self::Gauge(0.0),
            MetricSample::Histogram(_) => Self::Histogram(Histogram::new(BUCKETS)),
        }
    }

    fn add(&mut self, sample: MetricSample) -> Result<(), MetricRefusal> {
        match (self, sample) {
            (Self::Counter(sum), MetricSample::Count(by)) => *sum = sum.saturating_add(by),
            (Self::Gauge(value), MetricSample::Gauge(new)) => *value = new,
            (Self::Histogram(histogram), MetricSample::Histogram(value)) => histogram.observe(value),
            _ => return Err(MetricRefusal::OtherKind),
        }
        Ok(())
    }

    /// The index of its family in `FAMILIES`.
    fn family(&self) -> usize {
        match self {
            Self::Counter(_) => 0,
            Self::Gauge(_) => 1,
            Self::Histogram(_) => 2,
        }
    }

    fn encode(&self, encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        match self {
            Self::Counter(sum) => ConstCounter::new(*sum).encode(encoder),
            Self::Gauge(value) => ConstGauge::new(*value).encode(encoder),
            Self::Histogram(histogram) => histogram.encode(encoder),
        }
    }
}

/// The metrics of one plugin and tenant.
#[derive(Default)]
struct Meter(Mutex<BTreeMap<MetricSeries, Values>>);

impl PluginMeter for Meter {
    fn record(&self, series: MetricSeries, sample: MetricSample) -> Result<(), MetricRefusal> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(values) = all.get_mut(&series) {
            return values.add(sample);
        }
        if all.len() >= limits::PLUGIN_METRIC_SERIES_MAX {
            return Err(MetricRefusal::Full);
        }
        let mut values = Values::of(sample);
        values.add(sample)?;
        all.insert(series, values);
        Ok(())
    }
}

impl MetricsStore for PluginMetrics {
    fn meter(&self, tenant: &TenantId, plugin: &str) -> Arc<dyn PluginMeter> {
        let mut meters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (tenant.as_str().to_owned(), plugin.to_owned());
        if !meters.contains_key(&key) && meters.len() >= limits::PLUGIN_METERS_MAX {
            // Its values are not on the page.
            return Arc::new(Meter::default());
        }
        Arc::clone(meters.entry(key).or_default()) as Arc<dyn PluginMeter>
    }
}

/// The families: name, help and kind.
const FAMILIES: &[(&str, &str, MetricType)] = &[
    ("plugin_counter", "Counters of plugins, by their names", MetricType::Counter),
    ("plugin_gauge", "Gauges of plugins, by their names", MetricType::Gauge),
    ("plugin_histogram", "Histograms of plugins, by their names", MetricType::Histogram),
];

impl Collector for PluginMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let meters = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (family, (name, help, kind)) in FAMILIES.iter().enumerate() {
            let mut metric = encoder.encode_descriptor(name, help, None, *kind)?;
            for ((tenant, plugin), meter) in &meters {
                let all = meter.0.lock().unwrap_or_else(PoisonError::into_inner);
                for (series, values) in all.iter().filter(|entry| entry.1.family() == family) {
                    let own = [("plugin", plugin.as_str()), ("tenant", tenant), ("name", &series.name)];
                    let more = series.labels.iter().map(|(label, value)| (label.as_str(), value.as_str()));
                    let labels: Vec<(&str, &str)> = own.into_iter().chain(more).collect();
                    values.encode(metric.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    fn series(name: &str) -> MetricSeries {
        MetricSeries { name: name.to_owned(), labels: vec![("kind".to_owned(), "a".to_owned())] }
    }

    fn page(metrics: &PluginMetrics) -> String {
        let mut registry = Registry::with_prefix("firebox");
        registry.register_collector(Box::new(metrics.clone()));
        let mut text = String::new();
        encode(&mut text, &registry).expect("text");
        text
    }

    #[test]
    fn the_page_has_the_numbers_of_each_plugin_and_tenant() {
        let metrics = PluginMetrics::default();
        let (acme, other) = (TenantId::new("acme"), TenantId::new("other"));
        for (tenant, by) in [(&acme, 2), (&acme, 3), (&other, 7)] {
            metrics.meter(tenant, "p").record(series("pages"), MetricSample::Count(by)).expect("stored");
        }
        let meter = metrics.meter(&acme, "p");
        meter.record(series("size"), MetricSample::Gauge(1.5)).expect("stored");
        meter.record(series("took"), MetricSample::Histogram(0.2)).expect("stored");
        assert_eq!(meter.record(series("pages"), MetricSample::Gauge(1.0)), Err(MetricRefusal::OtherKind));
        let text = page(&metrics);
        for line in [
            "firebox_plugin_counter_total{plugin=\"p\",tenant=\"acme\",name=\"pages\",kind=\"a\"} 5",
            "firebox_plugin_counter_total{plugin=\"p\",tenant=\"other\",name=\"pages\",kind=\"a\"} 7",
            "firebox_plugin_gauge{plugin=\"p\",tenant=\"acme\",name=\"size\",kind=\"a\"} 1.5",
            "firebox_plugin_histogram_count{plugin=\"p\",tenant=\"acme\",name=\"took\",kind=\"a\"} 1",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }

    #[test]
    fn a_plugin_of_a_tenant_has_a_number_of_series_of_its_own() {
        let metrics = PluginMetrics::default();
        let meter = metrics.meter(&TenantId::new("acme"), "p");
        let record = |number: usize| meter.record(series(&format!("n{number}")), MetricSample::Count(1));
        assert_eq!((0..1_000).filter(|number| record(*number).is_ok()).count(), limits::PLUGIN_METRIC_SERIES_MAX);
        assert_eq!(record(0), Ok(()), "one that is there goes on");
        let other = metrics.meter(&TenantId::new("other"), "p");
        assert_eq!(other.record(series("n"), MetricSample::Count(1)), Ok(()));
    }
}
