//! Devices: which exist, which one is used, and why.
//!
//! Only this file names the kinds of device ([`DEVICES`]). It does not use burn's lazy device constructors, which panic
//! without an adapter. A device is listed first. A device that was not seen before is tested in a child process, since
//! a driver can crash the whole process at its first kernel. Then it is opened with the fallible constructors.

mod adapters;
mod child;
mod report;
mod selftest;
mod verdict;
mod wgsl;

#[cfg(test)]
pub(crate) mod tests;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use burn::backend::WgpuDeviceKind;
use burn::tensor::Device;
use burn_cubecl::cubecl::WgpuCompilationOptions;
use burn_cubecl::cubecl::wgpu::vulkan::register_vulkan_features;
use burn_wgpu::graphics::AutoGraphicsApi;
use burn_wgpu::{RuntimeOptions, WgpuBackend, WgpuDevice, try_init_setup};
use firebox_contract::limits;

use crate::error::ModelError;

pub use adapters::probe;
pub use child::TestChild;
pub use report::{AdapterKind, AdapterLimits, AdapterReport, ShaderLanguage};
pub use selftest::{TestReport, run_self_test};

/// A kind of device with a name.
#[derive(Debug, PartialEq, Eq)]
pub struct DeviceApi {
    /// The name on the command line.
    pub name: &'static str,
    /// burn's and wgpu's names of the API, and the language that kernels are compiled to if the driver has all features
    /// for it; `None` for the CPU.
    graphics: Option<(WgpuBackend, wgpu::Backend, ShaderLanguage)>,
    /// Whether `auto` may choose it.
    auto: bool,
    /// The machine's requirements for it, for people.
    pub needs: &'static str,
}

/// Every kind of device, in the order `auto` prefers them.
///
/// `webgpu` is WGSL compiled by wgpu, which natively means OpenGL: Vulkan and Metal have compilers of their own, and on
/// DirectX 12 `dx12` uses the same path. It is slow to compile and lacks f16 and subgroups, so `auto` prefers the CPU.
pub const DEVICES: &[DeviceApi] = &[
    DeviceApi {
        name: "vulkan",
        graphics: Some((WgpuBackend::Vulkan, wgpu::Backend::Vulkan, ShaderLanguage::SpirV)),
        auto: true,
        needs: "the Vulkan loader (libvulkan.so.1 or vulkan-1.dll) and a driver for your GPU",
    },
    DeviceApi {
        name: "metal",
        graphics: Some((WgpuBackend::Metal, wgpu::Backend::Metal, ShaderLanguage::Msl)),
        auto: true,
        needs: "macOS",
    },
    DeviceApi {
        name: "dx12",
        graphics: Some((WgpuBackend::Dx12, wgpu::Backend::Dx12, ShaderLanguage::Wgsl)),
        auto: true,
        needs: "Windows with a DirectX 12 driver",
    },
    DeviceApi {
        name: "webgpu",
        graphics: Some((WgpuBackend::Gl, wgpu::Backend::Gl, ShaderLanguage::Wgsl)),
        auto: false,
        needs: "an OpenGL ES 3.1 driver, through which wgpu runs WGSL outside a browser",
    },
    DeviceApi { name: CPU, graphics: None, auto: true, needs: "" },
];

const CPU: &str = "cpu";

/// The requested device: `auto`, or a kind with an optional index among the adapters of that kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeviceChoice {
    /// `None` is `auto`.
    api: Option<&'static DeviceApi>,
    index: Option<usize>,
}

impl DeviceChoice {
    /// The best GPU that works, else the CPU.
    pub const AUTO: Self = Self { api: None, index: None };

    /// The CPU.
    #[must_use]
    pub fn cpu() -> Self {
        Self { api: DEVICES.iter().find(|api| api.graphics.is_none()), index: None }
    }
}

impl FromStr for DeviceChoice {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        let unknown = || ModelError::DeviceName { name: text.to_owned(), forms: forms() };
        if text == "auto" {
            return Ok(Self::AUTO);
        }
        let (name, index) = match text.split_once(':') {
            Some((name, index)) => (name, Some(index.parse().map_err(|_| unknown())?)),
            None => (text, None),
        };
        let api = DEVICES.iter().find(|api| api.name == name).ok_or_else(unknown)?;
        Ok(Self { api: Some(api), index })
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.api, self.index) {
            (None, _) => f.write_str("auto"),
            (Some(api), None) => f.write_str(api.name),
            (Some(api), Some(index)) => write!(f, "{}:{index}", api.name),
        }
    }
}

/// The forms of device names, for messages and help.
#[must_use]
pub fn forms() -> String {
    let names: Vec<&str> = DEVICES.iter().map(|api| api.name).collect();
    format!("auto, {}, or one of these with an index as in vulkan:1", names.join(", "))
}

/// Options for opening a device.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// The command that tests an adapter that was not seen before. Without it drivers are trusted, and a driver that
    /// crashes ends this process.
    pub test_child: Option<TestChild>,
    /// The folder of recorded test verdicts. Without it, or if it cannot be written, every process tests again.
    pub verdict_cache_dir: Option<PathBuf>,
    /// Bytes of weights of the language model, if one will run: `auto` keeps a small model on the CPU.
    pub weights_bytes: Option<u64>,
}

impl OpenOptions {
    /// Refuses a GPU that would be slower than the CPU.
    fn worth_a_gpu(&self, adapter: &AdapterReport) -> Result<(), String> {
        match self.weights_bytes {
            Some(bytes) if bytes <= limits::AUTO_CPU_WEIGHTS_BYTES_MAX => {
                let (size, choice) = (bytes as f64 / f64::from(1 << 20), adapter.choice());
                Err(format!("slower than the CPU for a model of {size:.1} MiB (--device {choice} takes it)"))
            }
            _ => Ok(()),
        }
    }
}

/// An open device, ready for tensors.
#[derive(Debug)]
pub struct Opened {
    /// For burn.
    pub device: Device,
    /// Its properties.
    pub info: AdapterReport,
    /// Notes for the user, one line each: devices that were not used, and the reason for the CPU.
    pub notes: Vec<String>,
}

/// Opens the requested device. `auto` never fails because of a GPU: a GPU's fault is noted, and the CPU is used.
/// Software adapters (SwiftShader, lavapipe, WARP) are slower than the CPU itself, so `auto` ignores them. They can be
/// chosen by name.
///
/// # Errors
/// `ModelError::DeviceMissing` with the devices of the machine if none fits the name; `ModelError::DeviceFailed` with
/// the fault of the one that does.
pub fn open(choice: &DeviceChoice, options: &OpenOptions) -> Result<Opened, ModelError> {
    let tested = |adapter: &AdapterReport| {
        verdict::check(adapter, options)?;
        instantiate(adapter)
    };
    match choice.api {
        None => Ok(choose(hardware(), |adapter| options.worth_a_gpu(adapter).and_then(|()| tested(adapter)))),
        Some(api) if api.graphics.is_none() => open_cpu(choice),
        Some(_) => open_named(choice, tested),
    }
}

/// Opens without testing, for the process that runs the test.
fn open_untested(choice: &DeviceChoice) -> Result<Opened, ModelError> {
    open(choice, &OpenOptions::default())
}

fn open_cpu(choice: &DeviceChoice) -> Result<Opened, ModelError> {
    if choice.index.unwrap_or(0) > 0 {
        return Err(missing(choice));
    }
    Ok(Opened { device: Device::flex(), info: AdapterReport::cpu(), notes: Vec::new() })
}

/// The candidates of `auto`: `(adapters to try, ignored software adapters)`, best first.
fn hardware() -> (Vec<AdapterReport>, Vec<AdapterReport>) {
    let kinds = DEVICES.iter().filter(|api| api.auto);
    let mut found: Vec<AdapterReport> = Vec::new();
    for api in kinds {
        let mut adapters = adapters::adapters_of(api);
        adapters.sort_by_key(|adapter| adapter.kind);
        found.append(&mut adapters);
    }
    found.into_iter().partition(|adapter| adapter.kind != AdapterKind::Software)
}

/// The first adapter that `open_adapter` accepts, else the CPU with the reasons in one line.
fn choose(
    (candidates, software): (Vec<AdapterReport>, Vec<AdapterReport>),
    open_adapter: impl Fn(&AdapterReport) -> Result<Device, String>,
) -> Opened {
    let mut reasons = Vec::new();
    for adapter in candidates {
        match open_adapter(&adapter) {
            Ok(device) => {
                let notes = reasons.into_iter().map(|reason| format!("passed over {reason}")).collect();
                return Opened { device, info: adapter, notes };
            }
            Err(reason) => reasons.push(format!("{adapter}: {reason}")),
        }
    }
    if reasons.is_empty() {
        reasons.push(match software.first() {
            Some(adapter) => format!(
                "no GPU found, only the software adapter \"{}\", which is slower (--device {} takes it)",
                adapter.name,
                adapter.choice()
            ),
            None => "no GPU found".to_owned(),
        });
    }
    let note = format!("running on the CPU: {}", reasons.join("; "));
    Opened { device: Device::flex(), info: AdapterReport::cpu(), notes: vec![note] }
}

fn open_named(
    choice: &DeviceChoice,
    open_adapter: impl Fn(&AdapterReport) -> Result<Device, String>,
) -> Result<Opened, ModelError> {
    let mut candidates = choice.api.map(adapters::adapters_of).unwrap_or_default();
    candidates.retain(|adapter| choice.index.is_none_or(|index| index == adapter.index));
    candidates.sort_by_key(|adapter| adapter.kind);
    if candidates.is_empty() {
        return Err(missing(choice));
    }
    let mut reasons = Vec::new();
    for adapter in candidates {
        match open_adapter(&adapter) {
            Ok(device) => return Ok(Opened { device, info: adapter, notes: reasons }),
            Err(reason) => reasons.push(format!("passed over {adapter}: {reason}")),
        }
    }
    Err(ModelError::DeviceFailed { asked: choice.to_string(), reason: reasons.join("; ") })
}

fn missing(choice: &DeviceChoice) -> ModelError {
    let found = probe().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let needs = choice.api.filter(|api| !api.needs.is_empty()).map(|api| format!(", it needs {}", api.needs));
    let needs = needs.unwrap_or_default();
    ModelError::DeviceMissing { asked: choice.to_string(), needs, found }
}

/// The devices that this process has opened: burn refuses to initialise a device twice.
static OPEN: Mutex<Vec<(String, Device)>> = Mutex::new(Vec::new());

/// Opens an adapter in this process. burn's runtime is configured only here.
fn instantiate(adapter: &AdapterReport) -> Result<Device, String> {
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    let name = adapter.choice();
    if let Some((_, device)) = open.iter().find(|(opened, _)| *opened == name) {
        return Ok(device.clone());
    }
    let api = DEVICES.iter().find(|api| api.name == adapter.api);
    let (backend, _, native) = api.and_then(|api| api.graphics).ok_or("is not a GPU")?;
    let device = WgpuDevice::new(wgpu_kind(adapter)?).on(backend);
    let options = RuntimeOptions::try_default().map_err(|error| error.to_string())?;
    if adapter.shaders == Some(native) {
        try_init_setup::<AutoGraphicsApi>(&device, options).map_err(|error| error.to_string())?;
    } else {
        wgsl::open(adapter, &device, options)?;
    }
    let device = Device::new(device);
    open.push((name, device.clone()));
    Ok(device)
}

fn wgpu_kind(adapter: &AdapterReport) -> Result<WgpuDeviceKind, String> {
    match adapter.kind {
        AdapterKind::Discrete => Ok(WgpuDeviceKind::DiscreteGpu(adapter.ordinal)),
        AdapterKind::Integrated => Ok(WgpuDeviceKind::IntegratedGpu(adapter.ordinal)),
        AdapterKind::Virtual => Ok(WgpuDeviceKind::VirtualGpu(adapter.ordinal)),
        AdapterKind::Other => Ok(WgpuDeviceKind::Other(adapter.ordinal)),
        AdapterKind::Software if adapter.ordinal == 0 => Ok(WgpuDeviceKind::Cpu),
        AdapterKind::Software => {
            Err("burn reaches only the first software adapter; hide the others (VK_DRIVER_FILES)".to_owned())
        }
    }
}

/// The language that kernels are compiled to for an adapter. `native` is the language for which its API has its own
/// compiler.
///
/// CubeCL takes SPIR-V for every Vulkan driver that reads it. Without `VK_KHR_workgroup_memory_explicit_layout` its
/// SPIR-V declares shared memory with the type of a pointer to it (`lower_shared_implicit` of cubecl-spirv 0.11.3). No
/// driver refuses that, and kernels with shared memory compute wrong results or crash. Such an adapter gets WGSL, which
/// wgpu translates to SPIR-V.
fn shader_language(native: ShaderLanguage, compiler: &WgpuCompilationOptions) -> ShaderLanguage {
    let sound = compiler.supports_vulkan_compiler && compiler.vulkan.supports_explicit_smem;
    if native == ShaderLanguage::SpirV && !sound { ShaderLanguage::Wgsl } else { native }
}

/// The properties by which CubeCL chooses a compiler. Its SPIR-V compiler reads the same values.
fn compiler_options(adapter: &wgpu::Adapter) -> WgpuCompilationOptions {
    let mut options = WgpuCompilationOptions::default();
    register_vulkan_features(adapter, &mut wgsl::properties(adapter), &mut options);
    options
}

/// Tests one device in a child process, ignoring earlier records, and records the outcome.
///
/// # Errors
/// The device's fault: a crash, a wrong result, or no answer in time.
pub fn test_in_child(adapter: &AdapterReport, options: &OpenOptions) -> Result<TestReport, String> {
    verdict::test_and_record(adapter, options)
}
