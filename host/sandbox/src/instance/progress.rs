//! The host function `progress.report`, through which a tool reports its progress.

use firebox_contract::{Progress, limits};
use tokio::sync::mpsc;
use wasmtime::component::{HasSelf, Linker};

use self::bindings::firebox::plugin::progress::{Host, add_to_linker};
use crate::instance::guest::GuestData;
use crate::instance::log::cut;

#[allow(unreachable_pub, missing_docs, reason = "generated code")]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "package firebox:host-progress; world imports { import firebox:plugin/progress@0.1.0; }",
    });
}

/// One progress report of a guest.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ProgressReport {
    done: f64,
    total: Option<f64>,
    message: Option<String>,
}

impl ProgressReport {
    /// Sends the report to `progress`.
    pub(crate) fn send_to(&self, progress: &dyn Progress) {
        progress.report(self.done, self.total, self.message.as_deref());
    }
}

/// Sends the reports of one call. If the guest reports faster than the receiver reads, reports are dropped and the guest does
/// not wait.
pub(crate) type ProgressSender = mpsc::Sender<ProgressReport>;

/// A bounded channel from a guest to the receiver of its reports.
pub(crate) fn channel() -> (ProgressSender, mpsc::Receiver<ProgressReport>) {
    mpsc::channel(limits::PLUGIN_PROGRESS_BUFFERED_MAX)
}

impl Host for GuestData {
    fn report(&mut self, done: f64, total: Option<f64>, message: Option<String>) {
        let Some(reports) = &self.reports else { return };
        let finite = |number: &f64| number.is_finite();
        if !done.is_finite() {
            return;
        }
        let message = message.map(|text| match &self.secrets {
            Some(secrets) => secrets.scanner.redact(&text).into_owned(),
            None => text,
        });
        let message = message.map(|text| cut(&text, limits::PLUGIN_LOG_LINE_BYTES_MAX).to_owned());
        // If the channel is full or closed, the report is dropped. The WIT interface says so.
        let _dropped = reports.try_send(ProgressReport { done, total: total.filter(finite), message });
    }
}

/// Adds the function to the imports of guests.
///
/// # Errors
/// Wasmtime's error, if the name is defined twice.
pub(crate) fn link(linker: &mut Linker<GuestData>) -> wasmtime::Result<()> {
    add_to_linker::<GuestData, HasSelf<GuestData>>(linker, |data| data)
}
