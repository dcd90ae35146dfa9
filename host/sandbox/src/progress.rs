//! The host function through which a tool says how far it has come.

use firebox_contract::{Progress, limits};
use tokio::sync::mpsc;
use wasmtime::component::{HasSelf, Linker};

use self::bindings::firebox::plugin::progress::{Host, add_to_linker};
use crate::guest::GuestData;
use crate::log::cut;

#[allow(unreachable_pub, missing_docs, reason = "generated code")]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "package firebox:host-progress; world imports { import firebox:plugin/progress@0.1.0; }",
    });
}

/// One report of a guest.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Report {
    done: f64,
    total: Option<f64>,
    message: Option<String>,
}

impl Report {
    /// Passes it on.
    pub(crate) fn tell(&self, progress: &dyn Progress) {
        progress.report(self.done, self.total, self.message.as_deref());
    }
}

/// Where reports of one call go. A guest that reports faster than anybody listens loses reports, not time.
pub(crate) type Reports = mpsc::Sender<Report>;

/// A bounded way from a guest to its listener.
pub(crate) fn channel() -> (Reports, mpsc::Receiver<Report>) {
    mpsc::channel(limits::PLUGIN_PROGRESS_BUFFERED_MAX)
}

impl Host for GuestData {
    fn report(&mut self, done: f64, total: Option<f64>, message: Option<String>) {
        let Some(reports) = &self.reports else { return };
        let finite = |number: &f64| number.is_finite();
        if !done.is_finite() {
            return;
        }
        let message = message.map(|text| cut(&text, limits::PLUGIN_LOG_LINE_BYTES_MAX).to_owned());
        // Full, or nobody is there any more: the report is dropped, as its interface says.
        let _dropped = reports.try_send(Report { done, total: total.filter(finite), message });
    }
}

/// Adds the function to what guests can import.
///
/// # Errors
/// Wasmtime's, if the name is given twice.
pub(crate) fn link(linker: &mut Linker<GuestData>) -> wasmtime::Result<()> {
    add_to_linker::<GuestData, HasSelf<GuestData>>(linker, |data| data)
}
