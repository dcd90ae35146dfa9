//! Opens an adapter with kernels in WGSL if CubeCL's own choice would be SPIR-V.
//!
//! CubeCL chooses the compiler by the adapter's features and has no option for it. Its server is therefore made here
//! from its own parts, like its server for an adapter without a compiler of its own (`try_create_server` of cubecl-wgpu
//! 0.11.3). The server gets none of the features that kernels can do without: no subgroups, no matrix units, no driver
//! extensions.

use std::sync::Arc;

use burn_cubecl::cubecl::WgpuCompilationOptions;
use burn_cubecl::cubecl::client::Client;
use burn_cubecl::cubecl::features::{AtomicUsage, TypeUsage};
use burn_cubecl::cubecl::ir::{
    AddressType, DeviceIdentity, DeviceProperties, ElemType, FloatKind, HardwareProperties, IntKind,
    MemoryDeviceProperties, TargetProperties, Type, UIntKind,
};
use burn_cubecl::cubecl::logging::ServerLogger;
use burn_cubecl::cubecl::profile::TimingMethod;
use burn_cubecl::cubecl::server::ServerUtilities;
use burn_cubecl::cubecl::wgpu::WgpuServer;
use burn_wgpu::{AutoCompiler, RuntimeOptions, WgpuDevice};
use cubecl_common::device::{Device as _, ServiceId};
use cubecl_server::allocator::ContiguousMemoryLayoutPolicy;

use super::adapters::{ready, with_adapter};
use super::report::AdapterReport;

/// CubeCL's name of such a device in its logs.
const NAME: &str = "wgpu<wgsl>";
/// Maximum lanes of a vector, a limit of WGSL.
const LANES_MAX: usize = 4;
/// Bits of the widest load.
const LOAD_BITS: u32 = 128;
/// Subgroup sizes for a driver that names none. No kernel uses subgroups, but CubeCL divides by the size.
const SUBGROUP_SIZES: (u32, u32) = (8, 128);
/// Types that WGSL has if the adapter has the feature.
const OPTIONAL_TYPES: &[(wgpu::Features, ElemType)] = &[
    (wgpu::Features::SHADER_F16, ElemType::Float(FloatKind::F16)),
    (wgpu::Features::SHADER_INT64, ElemType::Int(IntKind::I64)),
    (wgpu::Features::SHADER_INT64, ElemType::UInt(UIntKind::U64)),
];

/// Opens `adapter` as `device`, so that burn finds it open.
///
/// # Errors
/// The message of the driver or of CubeCL.
pub(super) fn open(adapter: &AdapterReport, device: &WgpuDevice, options: RuntimeOptions) -> Result<(), String> {
    with_adapter(adapter, |adapter| register(adapter, device, options))
}

fn register(adapter: &wgpu::Adapter, device: &WgpuDevice, options: RuntimeOptions) -> Result<(), String> {
    let requested = ready(adapter.request_device(&wgpu::DeviceDescriptor {
        label: None,
        required_features: optional_features() & adapter.features(),
        required_limits: adapter.limits(),
        experimental_features: wgpu::ExperimentalFeatures::disabled(),
        memory_hints: wgpu::MemoryHints::MemoryUsage,
        trace: wgpu::Trace::Off,
    }));
    let (opened, queue) = requested.ok_or("gives no device")?.map_err(|error| error.to_string())?;
    let properties = properties(adapter);
    let supports_u64 = properties.supports_type(ElemType::UInt(UIntKind::U64));
    let compilation = WgpuCompilationOptions { supports_u64, ..WgpuCompilationOptions::default() };
    let memory = properties.memory.clone();
    let alignment = usize::try_from(memory.alignment).map_err(|error| error.to_string())?;
    let id = device.to_id();
    let (utilities, captures) = ServerUtilities::init(
        ServiceId::of::<WgpuServer<AutoCompiler>>(id),
        NAME,
        properties,
        TargetProperties { mma: Default::default() },
        Arc::new(ServerLogger::default()),
        ContiguousMemoryLayoutPolicy::new(alignment),
    );
    let server = WgpuServer::<AutoCompiler>::new(
        memory,
        options.memory_config,
        compilation,
        opened,
        queue,
        options.tasks_max,
        adapter.get_info().backend,
        TimingMethod::System,
        utilities,
        captures,
    );
    Client::try_init(id, server).map_err(|error| format!("{error:?}"))?;
    Ok(())
}

fn optional_features() -> wgpu::Features {
    OPTIONAL_TYPES.iter().fold(wgpu::Features::empty(), |all, (feature, _)| all | *feature)
}

/// The limits of kernels in WGSL on an adapter.
pub(super) fn properties(adapter: &wgpu::Adapter) -> DeviceProperties {
    let (info, limits) = (adapter.get_info(), adapter.limits());
    let memory = MemoryDeviceProperties::new(
        limits.max_storage_buffer_binding_size.min(limits.max_buffer_size),
        limits.min_uniform_buffer_offset_alignment.max(limits.min_storage_buffer_offset_alignment).into(),
    );
    let identity = DeviceIdentity {
        fingerprint: format!("wgsl_{}_{}", info.vendor, info.device),
        name: info.name.clone(),
        physical: None,
    };
    let hardware = hardware(&info, &limits);
    let mut properties = DeviceProperties::new(Default::default(), memory, hardware, TimingMethod::System, identity);
    properties.register_address_type(AddressType::U32);
    let (signed, unsigned) = (ElemType::Int(IntKind::I32), ElemType::UInt(UIntKind::U32));
    for element in [ElemType::Index, unsigned, signed, ElemType::Float(FloatKind::F32), ElemType::Bool] {
        properties.register_type_usage(element, TypeUsage::all());
    }
    for element in [signed, unsigned] {
        let usage = AtomicUsage::LoadStore | AtomicUsage::Exchange | AtomicUsage::Add;
        properties.register_atomic_type_usage(Type::atomic(element), usage);
    }
    for (feature, element) in OPTIONAL_TYPES {
        if adapter.features().contains(*feature) {
            properties.register_type_usage(*element, TypeUsage::all());
        }
    }
    properties
}

fn hardware(info: &wgpu::AdapterInfo, limits: &wgpu::Limits) -> HardwareProperties {
    let cubes = limits.max_compute_workgroups_per_dimension;
    let named = info.subgroup_min_size > 0 && info.subgroup_max_size > 0;
    let (plane_size_min, plane_size_max) =
        if named { (info.subgroup_min_size, info.subgroup_max_size) } else { SUBGROUP_SIZES };
    HardwareProperties {
        load_width: LOAD_BITS,
        vector_register_count: None,
        plane_size_min,
        plane_size_max,
        // One more buffer has a launch's sizes.
        max_bindings: limits.max_storage_buffers_per_shader_stage.saturating_sub(1),
        max_shared_memory_size: limits.max_compute_workgroup_storage_size as usize,
        max_cube_count: (cubes, cubes, cubes),
        max_units_per_cube: limits.max_compute_invocations_per_workgroup,
        max_cube_dim: (
            limits.max_compute_workgroup_size_x,
            limits.max_compute_workgroup_size_y,
            limits.max_compute_workgroup_size_z,
        ),
        num_streaming_multiprocessors: None,
        num_cpu_cores: None,
        last_level_cache_size: None,
        num_tensor_cores: None,
        min_tensor_cores_dim: None,
        max_vector_size: LANES_MAX,
        cube_mma_reserved_shared_memory: 0,
    }
}
