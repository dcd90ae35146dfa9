//! Asks the graphics APIs what adapters there are.

use std::future::Future;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use super::report::{AdapterKind, AdapterLimits, AdapterReport};
use super::{DEVICES, DeviceApi};

/// Every device of this machine; the CPU is always there, and last.
#[must_use]
pub fn probe() -> Vec<AdapterReport> {
    let mut found: Vec<AdapterReport> = DEVICES.iter().flat_map(adapters_of).collect();
    found.push(AdapterReport::cpu());
    found
}

/// The Vulkan loader crashes when instances come and go on several threads at once.
static PROBING: Mutex<()> = Mutex::new(());

/// The adapters one API offers, in its own order; none where the API or its driver is missing.
pub(super) fn adapters_of(api: &DeviceApi) -> Vec<AdapterReport> {
    let Some((_, backend)) = api.graphics else { return Vec::new() };
    let _probing = PROBING.lock().unwrap_or_else(PoisonError::into_inner);
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: backend.into(),
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let adapters = ready(instance.enumerate_adapters(backend.into())).unwrap_or_default();
    let mut reports: Vec<AdapterReport> = Vec::with_capacity(adapters.len());
    for (index, adapter) in adapters.iter().enumerate() {
        let mut report = describe(api.name, index, adapter);
        report.ordinal = reports.iter().filter(|other| other.kind == report.kind).count();
        reports.push(report);
    }
    reports
}

fn describe(api: &'static str, index: usize, adapter: &wgpu::Adapter) -> AdapterReport {
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
        f16: features.contains(wgpu::Features::SHADER_F16),
        subgroups: features
            .contains(wgpu::Features::SUBGROUP)
            .then_some((info.subgroup_min_size, info.subgroup_max_size)),
    }
}

/// The value of a future that never waits, as wgpu's are outside a browser.
fn ready<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}
