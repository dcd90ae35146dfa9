//! Reports the progress of a tool call to a waiting caller. Outside WebAssembly, in tests, reports go to standard error.

/// Reports `done` of `total`, if there is a total, with an optional message. Each `done` must be larger than the last.
pub fn report(done: f64, total: Option<f64>, message: Option<&str>) {
    #[cfg(target_arch = "wasm32")]
    crate::bindings::progress::firebox::plugin::progress::report(done, total, message);
    #[cfg(not(target_arch = "wasm32"))]
    crate::log::info(format!("{done} of {total:?}: {}", message.unwrap_or_default()));
}
