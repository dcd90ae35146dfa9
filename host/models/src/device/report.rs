//! The properties of a device before it is opened.

use std::fmt;

use super::CPU;

/// The kind of an adapter, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AdapterKind {
    /// A GPU with memory of its own.
    Discrete,
    /// A GPU that shares the machine's memory.
    Integrated,
    /// A GPU provided by a hypervisor.
    Virtual,
    /// An adapter that the driver does not classify.
    Other,
    /// A driver that computes on the CPU, or the CPU itself.
    Software,
}

impl AdapterKind {
    /// The name for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Discrete => "discrete",
            Self::Integrated => "integrated",
            Self::Virtual => "virtual",
            Self::Other => "other",
            Self::Software => "cpu",
        }
    }
}

/// The language that kernels are compiled to for an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShaderLanguage {
    /// SPIR-V from CubeCL's compiler, passed to the driver unchanged.
    SpirV,
    /// The Metal Shading Language, passed to the driver unchanged.
    Msl,
    /// WGSL, which wgpu translates for the driver.
    Wgsl,
}

impl ShaderLanguage {
    /// The name for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SpirV => "spirv",
            Self::Msl => "msl",
            Self::Wgsl => "wgsl",
        }
    }
}

/// The limits of an adapter for kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdapterLimits {
    /// Bytes of the largest buffer.
    pub buffer_bytes: u64,
    /// Bytes of the largest storage binding: the largest tensor.
    pub binding_bytes: u64,
    /// Bytes of memory shared in a workgroup.
    pub workgroup_bytes: u32,
    /// Invocations in a workgroup.
    pub invocations: u32,
}

/// One device of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterReport {
    /// Its name in [`super::DEVICES`].
    pub api: &'static str,
    /// Its index among the adapters of that kind: `vulkan:1`.
    pub index: usize,
    /// Its index among the adapters of the same API and kind, as burn counts.
    pub(super) ordinal: usize,
    /// The adapter's own name.
    pub name: String,
    /// Its kind.
    pub kind: AdapterKind,
    /// Vendor and device id as the API reports them.
    pub(super) ids: (u32, u32),
    /// The driver's name.
    pub driver: String,
    /// The driver's version and further information.
    pub driver_info: String,
    /// `None` for the CPU.
    pub limits: Option<AdapterLimits>,
    /// The language that kernels are compiled to; `None` for the CPU.
    pub shaders: Option<ShaderLanguage>,
    /// Whether kernels can compute in 16-bit floats.
    pub f16: bool,
    /// Smallest and largest subgroup, if it has subgroups.
    pub subgroups: Option<(u32, u32)>,
}

impl AdapterReport {
    /// The CPU, which every machine has.
    #[must_use]
    pub fn cpu() -> Self {
        Self {
            api: CPU,
            index: 0,
            ordinal: 0,
            name: format!("CPU ({})", std::env::consts::ARCH),
            kind: AdapterKind::Software,
            ids: (0, 0),
            driver: "burn-flex".to_owned(),
            driver_info: String::new(),
            limits: None,
            shaders: None,
            f16: true,
            subgroups: None,
        }
    }

    /// Whether this is the CPU itself, without a driver in between.
    #[must_use]
    pub fn is_cpu(&self) -> bool {
        self.api == CPU
    }

    /// The name of the device in `--device`.
    #[must_use]
    pub fn choice(&self) -> String {
        if self.is_cpu() { self.api.to_owned() } else { format!("{}:{}", self.api, self.index) }
    }

    /// A key of adapter, driver version and shader language. Another driver version or language needs another test.
    pub(super) fn key(&self) -> String {
        let (vendor, device) = self.ids;
        let version = env!("CARGO_PKG_VERSION");
        let shaders = self.shaders.map_or("none", ShaderLanguage::as_str);
        let Self { api, name, driver, driver_info, .. } = self;
        format!("{api} | {name} | {vendor:x}:{device:x} | {driver} | {driver_info} | {shaders} | firebox {version}")
    }
}

impl fmt::Display for AdapterReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} \"{}\"", self.choice(), self.name)
    }
}
