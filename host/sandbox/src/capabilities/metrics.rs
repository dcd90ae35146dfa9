//! `firebox:plugin/metrics`: counters, gauges and histograms of plugins. The host brings what stores them. It also counts the
//! HTTP requests of a plugin there, under names that no plugin can use.

use std::sync::Arc;

use firebox_contract::{TenantId, limits};
use wasmtime::component::{HasSelf, Linker};

use self::bindings::firebox::plugin::metrics::{Error, Host, add_to_linker};
use crate::instance::guest::GuestData;
use crate::plugin::grants::capability::{Capability, Use};

#[allow(unreachable_pub, missing_docs, reason = "generated code")]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "package firebox:host-metrics; world imports { import firebox:plugin/metrics@0.1.0; }",
    });
}

/// How the names begin that only the host uses.
const OF_THE_HOST: &str = "host_";
/// Names of labels that the host sets.
const HOST_LABELS: &[&str] = &["plugin", "tenant", "name", "le", "quantile"];

/// One series of a plugin: a name and further labels in their order. Names are lower case, values printable.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MetricSeries {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Vec<(String, String)>,
}

/// A new value of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MetricSample {
    /// Added to a counter.
    Count(u64),
    /// The new value of a gauge.
    Gauge(f64),
    /// One value of a histogram.
    Histogram(f64),
}

/// Why a value is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricRefusal {
    /// There are as many series as there may be.
    Full,
    /// The series has values of another kind.
    OtherKind,
}

/// The metrics of one plugin and tenant.
pub trait PluginMeter: Send + Sync {
    /// Stores a value. Must not block.
    ///
    /// # Errors
    /// Why the value is not stored.
    fn record(&self, series: MetricSeries, sample: MetricSample) -> Result<(), MetricRefusal>;
}

/// Stores the metrics of all plugins and tenants.
pub trait MetricsStore: Send + Sync {
    /// The meter of one plugin and tenant.
    fn meter(&self, tenant: &TenantId, plugin: &str) -> Arc<dyn PluginMeter>;
}

/// The store of a sandbox, if its host has one. Without one, values are dropped.
#[derive(Clone, Default)]
pub struct MetricsService(Option<Arc<dyn MetricsStore>>);

impl MetricsService {
    /// The service with this store.
    #[must_use]
    pub fn new(store: Arc<dyn MetricsStore>) -> Self {
        Self(Some(store))
    }
}

impl std::fmt::Debug for MetricsService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "MetricsService" } else { "no MetricsService" })
    }
}

impl GuestData {
    /// The meter of the guest, if the host has a store.
    pub(crate) fn meter(&mut self) -> Option<Arc<dyn PluginMeter>> {
        if self.meter.is_none() {
            let identity = &self.identity;
            let store = identity.shared.services.metrics.0.as_ref()?;
            self.meter = Some(store.meter(identity.permissions.tenant.tenant(), identity.plugin()));
        }
        self.meter.clone()
    }

    fn record(&mut self, name: String, labels: Vec<(String, String)>, sample: MetricSample) -> Result<(), Error> {
        self.check(&Use::Of(Capability::Metrics)).map_err(|_| Error::Denied)?;
        let series = series(name, labels).map_err(Error::Invalid)?;
        if let Some(secrets) = &self.secrets {
            let mut texts =
                [&series.name].into_iter().chain(series.labels.iter().flat_map(|(name, value)| [name, value]));
            if texts.any(|text| secrets.scanner.find(text.as_bytes()).is_some()) {
                return Err(Error::Invalid("a name or a label contains a secret".to_owned()));
            }
        }
        if let MetricSample::Gauge(value) | MetricSample::Histogram(value) = sample
            && !value.is_finite()
        {
            return Err(Error::Invalid("the value must be a finite number".to_owned()));
        }
        let Some(meter) = self.meter() else { return Ok(()) };
        meter.record(series, sample).map_err(|refusal| match refusal {
            MetricRefusal::Full => Error::Full,
            MetricRefusal::OtherKind => Error::Invalid("the name has values of another kind".to_owned()),
        })
    }
}

/// Counts `by` under a name of the host.
pub(crate) fn count_of_host(meter: Option<&Arc<dyn PluginMeter>>, name: &str, by: u64) {
    if let Some(meter) = meter {
        let series = MetricSeries { name: format!("{OF_THE_HOST}{name}"), labels: Vec::new() };
        // A meter that is full has no room for the counters of the host either.
        let _uncounted = meter.record(series, MetricSample::Count(by));
    }
}

/// # Errors
/// What is wrong with the name or a label.
fn series(name: String, mut labels: Vec<(String, String)>) -> Result<MetricSeries, String> {
    let max = limits::PLUGIN_METRIC_NAME_BYTES_MAX;
    let is_name = |name: &str| {
        let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_';
        name.len() <= max && name.bytes().all(allowed) && name.starts_with(|c: char| c.is_ascii_lowercase())
    };
    if !is_name(&name) || name.starts_with(OF_THE_HOST) {
        return Err(format!(
            "a name has 1 to {max} characters a-z, 0-9 and '_', and does not begin with \"{OF_THE_HOST}\""
        ));
    }
    if labels.len() > limits::PLUGIN_METRIC_LABEL_NAMES_MAX {
        return Err(format!("{} labels are too many; at most {}", labels.len(), limits::PLUGIN_METRIC_LABEL_NAMES_MAX));
    }
    // Other characters would need an escape on the page.
    let is_value = |value: &str| {
        value.len() <= max && value.bytes().all(|c| (c.is_ascii_graphic() || c == b' ') && !matches!(c, b'"' | b'\\'))
    };
    for (label, value) in &labels {
        if !is_name(label) || HOST_LABELS.contains(&label.as_str()) {
            return Err(format!("a label has a name of 1 to {max} characters a-z, 0-9 and '_', of its own"));
        }
        if !is_value(value) {
            return Err(format!("a label has a value of at most {max} printable characters of ASCII, without quotes"));
        }
    }
    labels.sort();
    if labels.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return Err("a label is given twice".to_owned());
    }
    Ok(MetricSeries { name, labels })
}

impl Host for GuestData {
    fn count(&mut self, name: String, by: u64, labels: Vec<(String, String)>) -> Result<(), Error> {
        self.record(name, labels, MetricSample::Count(by))
    }

    fn set(&mut self, name: String, value: f64, labels: Vec<(String, String)>) -> Result<(), Error> {
        self.record(name, labels, MetricSample::Gauge(value))
    }

    fn observe(&mut self, name: String, value: f64, labels: Vec<(String, String)>) -> Result<(), Error> {
        self.record(name, labels, MetricSample::Histogram(value))
    }
}

/// Adds the interface to the imports of guests.
///
/// # Errors
/// Wasmtime's error, if a name is defined twice.
pub(super) fn link(linker: &mut Linker<GuestData>) -> wasmtime::Result<()> {
    add_to_linker::<GuestData, HasSelf<GuestData>>(linker, |data| data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn names_and_labels_are_bounded_and_need_no_escape() {
        let good = series("pages_read".to_owned(), labels(&[("kind", "a b"), ("code", "404")])).expect("valid");
        assert_eq!(good.labels, labels(&[("code", "404"), ("kind", "a b")]), "in one order");
        let long = "x".repeat(65);
        for name in ["", "1a", "A", "a-b", "a b", "a\n", "host_x", "é", &long] {
            assert!(series(name.to_owned(), Vec::new()).is_err(), "{name:?}");
        }
        let many: Vec<(&str, &str)> = [("a", ""), ("b", ""), ("c", ""), ("d", ""), ("e", "")].to_vec();
        for bad in [
            &[("tenant", "other")][..],
            &[("plugin", "x")],
            &[("le", "1")],
            &[("A", "x")],
            &[("a", "x\"y")],
            &[("a", "x\ny")],
            &[("a", "\\")],
            &[("a", "é")],
            &[("a", &long)],
            &[("a", "1"), ("a", "2")],
            &many,
        ] {
            assert!(series("n".to_owned(), labels(bad)).is_err(), "{bad:?}");
        }
    }
}
