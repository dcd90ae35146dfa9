//! Lists the adapters of the graphics APIs.

use std::future::Future;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use super::report::{AdapterKind, AdapterLimits, AdapterReport, ShaderLanguage};
use super::{DEVICES, DeviceApi, compiler_options, shader_language};

/// Every device of this machine. The CPU is always one of them, and the last.
#[must_use]
pub fn probe() -> Vec<AdapterReport> {
    let mut found: Vec<AdapterReport> = DEVICES.iter().flat_map(adapters_of).collect();
    found.push(AdapterReport::cpu());
    found
}

/// The Vulkan loader crashes if several threads create and destroy instances at once.
static PROBING: Mutex<()> = Mutex::new(());

/// The adapters of one API, in its own order; empty if the API or its driver is missing.
pub(super) fn adapters_of(api: &DeviceApi) -> Vec<AdapterReport> {
    let Some((_, backend, native)) = api.graphics else { return Vec::new() };
    let _probing = PROBING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut reports: Vec<AdapterReport> = Vec::new();
    for (index, adapter) in enumerate(backend).iter().enumerate() {
        let mut report = describe(api.name, index, adapter, native);
        report.ordinal = reports.iter().filter(|other| other.kind == report.kind).count();
        reports.push(report);
    }
    reports
}

/// Calls `task` with an adapter that was found before.
///
/// # Errors
/// The errors of `task`, and an error if the adapter has gone.
pub(super) fn with_adapter<R>(
    found: &AdapterReport,
    task: impl FnOnce(&wgpu::Adapter) -> Result<R, String>,
) -> Result<R, String> {
    let api = DEVICES.iter().find(|api| api.name == found.api);
    let (_, backend, _) = api.and_then(|api| api.graphics).ok_or("is not a GPU")?;
    let _probing = PROBING.lock().unwrap_or_else(PoisonError::into_inner);
    let adapters = enumerate(backend);
    let adapter = adapters.get(found.index).filter(|adapter| adapter.get_info().name == found.name);
    task(adapter.ok_or("is not there any more")?)
}

fn enumerate(backend: wgpu::Backend) -> Vec<wgpu::Adapter> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: backend.into(),
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    ready(instance.enumerate_adapters(backend.into())).unwrap_or_default()
}

fn describe(api: &'static str, index: usize, adapter: &wgpu::Adapter, native: ShaderLanguage) -> AdapterReport {
    let info = adapter.get_info();
    let limits = adapter.limits();
    let features = adapter.features();
    AdapterReport {
        api,
        index,
        ordinal: 0,
        name: info.name,
        kind: match info.device_type {
            wgpu::DeviceType::DiscreteGpu => AdapterKind::Discrete,
            wgpu::DeviceType::IntegratedGpu => AdapterKind::Integrated,
            wgpu::DeviceType::VirtualGpu => AdapterKind::Virtual,
            wgpu::DeviceType::Other => AdapterKind::Other,
            wgpu::DeviceType::Cpu => AdapterKind::Software,
        },
        ids: (info.vendor, info.device),
        driver: info.driver,
        driver_info: info.driver_info,
        limits: Some(AdapterLimits {
            buffer_bytes: limits.max_buffer_size,
            binding_bytes: limits.max_storage_buffer_binding_size,
            workgroup_bytes: limits.max_compute_workgroup_storage_size,
            invocations: limits.max_compute_invocations_per_workgroup,
        }),
        shaders: Some(shader_language(native, &compiler_options(adapter))),
        f16: features.contains(wgpu::Features::SHADER_F16),
        subgroups: features
            .contains(wgpu::Features::SUBGROUP)
            .then_some((info.subgroup_min_size, info.subgroup_max_size)),
    }
}

/// The value of a future that never waits, as wgpu's are outside a browser.
pub(super) fn ready<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}
