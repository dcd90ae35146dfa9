//! The cooperative matrices of a device.

use std::sync::{Mutex, PoisonError};

use burn::tensor::Device;
use burn_cubecl::cubecl::features::MmaConfig;
use burn_cubecl::cubecl::ir::{ElemType, FloatKind};
use burn_cubecl::cubecl::prelude::*;

use super::{DEPTH, LANES, OWN, PLANES, ROW_UNITS, SHARED_BYTES, SUMS_MAX, TILE};

/// The size of the small matrices, `[m, k] x [k, n]`, that the units of a plane multiply together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in super::super) struct Fragment {
    pub(super) m: usize,
    pub(super) n: usize,
    pub(super) k: usize,
    /// Units of a plane. If planes are smaller than that, several compute the same.
    pub(super) plane: usize,
}

impl Fragment {
    /// Units of a cube.
    pub(super) fn units(self) -> usize {
        self.plane * PLANES
    }

    /// Small matrices that a plane sums up.
    pub(super) fn sums(self) -> usize {
        OWN / self.m * (OWN / self.n)
    }

    /// The largest that the device has and that the kernel's tiles are made of.
    fn of(client: &Client) -> Option<Self> {
        let properties = client.properties();
        let hardware = &properties.hardware;
        let plane = hardware.plane_size_max as usize;
        let units = plane * PLANES;
        let fits = units <= hardware.max_units_per_cube as usize
            && ROW_UNITS <= hardware.max_units_per_cube as usize
            && units > 0
            && (TILE * DEPTH / LANES).is_multiple_of(units)
            && SHARED_BYTES <= hardware.max_shared_memory_size;
        let usable = |config: &&MmaConfig| {
            let [f16, f32] = [FloatKind::F16, FloatKind::F32].map(ElemType::Float);
            let divides = |size: u32, whole: usize| size > 0 && whole.is_multiple_of(size as usize);
            (config.a_type, config.b_type, config.cd_type) == (f16, f16, f32)
                && divides(config.m, OWN)
                && divides(config.n, OWN)
                && divides(config.k, DEPTH)
                && config.k.is_multiple_of(LANES as u32)
                && (config.m * config.n) as usize <= SUMS_MAX
        };
        let largest = properties.features.matmul.cmma.iter().filter(usable).max_by_key(|it| it.m * it.n * it.k)?;
        let [m, n, k] = [largest.m, largest.n, largest.k].map(|size| size as usize);
        fits.then_some(Self { m, n, k, plane })
    }
}

/// The devices asked so far.
static FRAGMENTS: Mutex<Vec<(Device, Option<Fragment>)>> = Mutex::new(Vec::new());

/// The cooperative matrices of a device, if it has some and `is_right` finds that it computes rightly with them. A device
/// is tested once.
pub(in super::super) fn fragment_of(
    device: &Device,
    client: &Client,
    is_right: impl FnOnce(Fragment) -> bool,
) -> Option<Fragment> {
    let mut fragments = FRAGMENTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, fragment)) = fragments.iter().find(|(asked, _)| asked == device) {
        return *fragment;
    }
    let fragment = Fragment::of(client).filter(|fragment| is_right(*fragment));
    fragments.push((device.clone(), fragment));
    fragment
}
