//! The vector instructions of the machine, and the kernels compiled for each set.

use std::sync::OnceLock;

use super::gemm::{self, OutputColumns};
use super::gemv;
use super::packed::{self, PackedTask};
use super::panels::Panels;
use super::quantized::IntegerLevel;
#[cfg(target_arch = "aarch64")]
use super::vector::Neon;
#[cfg(target_arch = "x86_64")]
use super::vector::{Avx2, Avx512};
use super::vector::{Plain, Vector};
use crate::elements::Activation;
use crate::weights::StoredType;

/// A set of vector instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "aarch64")]
    Neon,
    Plain,
}

/// The best level of this machine.
pub(crate) fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| levels().first().copied().unwrap_or(Level::Plain))
}

/// The levels of this machine, the best first.
pub(crate) fn levels() -> Vec<Level> {
    let mut levels = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        let avx2 = std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma");
        let avx2 = avx2 && std::arch::is_x86_feature_detected!("f16c");
        if avx2 && std::arch::is_x86_feature_detected!("avx512f") {
            levels.push(Level::Avx512);
        }
        if avx2 {
            levels.push(Level::Avx2);
        }
    }
    #[cfg(target_arch = "aarch64")]
    levels.push(Level::Neon);
    levels.push(Level::Plain);
    levels
}

impl Level {
    /// The level for this number of rows: with few rows half of a wider register would be empty.
    #[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables, reason = "only AVX-512 has a narrower level"))]
    pub(super) fn for_rows(self, rows: usize) -> Self {
        match self {
            // A processor with AVX-512 has AVX2 too.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 if rows <= Avx2::LANES => Self::Avx2,
            _ => self,
        }
    }

    pub(crate) fn lanes(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => Avx512::LANES,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => Avx2::LANES,
            #[cfg(target_arch = "aarch64")]
            Self::Neon => Neon::LANES,
            Self::Plain => Plain::LANES,
        }
    }

    /// Rows of weights in a panel of a packed matrix.
    pub(super) fn packed_rows(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => 4 * Avx512::LANES,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => 2 * Avx2::LANES,
            #[cfg(target_arch = "aarch64")]
            Self::Neon => 4 * Neon::LANES,
            Self::Plain => 2 * Plain::LANES,
        }
    }

    /// The product of a panel that was packed for this level, finished with a bias and a function.
    pub(super) fn packed(self, task: &PackedTask<'_>, finish: (&[f32], Activation), out: &OutputColumns<'_>) {
        match self {
            // SAFETY: `levels` gives this out only where the processor has AVX-512F and FMA.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { packed_avx512(task, finish, out) },
            // SAFETY: `levels` gives this out only where the processor has AVX2, F16C and FMA.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { packed_avx2(task, finish, out) },
            #[cfg(target_arch = "aarch64")]
            Self::Neon => packed::run::<Neon, 4>(self, task, finish, out),
            Self::Plain => packed::run::<Plain, 2>(self, task, finish, out),
        }
    }

    /// The integer instructions to use next to those of this level.
    pub(super) fn integers(self) -> IntegerLevel {
        static LEVELS: OnceLock<Vec<IntegerLevel>> = OnceLock::new();
        let levels = LEVELS.get_or_init(IntegerLevel::all);
        let best = levels.iter().find(|level| level.lanes() <= self.lanes());
        if self == Self::Plain { IntegerLevel::Plain } else { best.copied().unwrap_or(IntegerLevel::Plain) }
    }

    /// The products of rows of weights, each as long as a row of `x`, and all of `x`. `out` is `[rows, m]`.
    pub(super) fn gemv(self, dtype: StoredType, weights: &[u8], x: &[&[f32]], out: &mut [f32]) {
        match self {
            // SAFETY: `levels` gives this out only where the processor has AVX-512F and FMA.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { gemv_avx512(dtype, weights, x, out) },
            // SAFETY: `levels` gives this out only where the processor has AVX2, F16C and FMA.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { gemv_avx2(dtype, weights, x, out) },
            #[cfg(target_arch = "aarch64")]
            Self::Neon => gemv::run::<Neon>(dtype, weights, x, out),
            Self::Plain => gemv::run::<Plain>(dtype, weights, x, out),
        }
    }

    /// The products of rows of weights and all of `x`, whose panels were packed for this level. They are written to the
    /// columns of `out` from `column`.
    pub(super) fn gemm(self, dtype: StoredType, weights: &[u8], x: &Panels, out: &OutputColumns<'_>, column: usize) {
        match self {
            // SAFETY: `levels` gives this out only where the processor has AVX-512F and FMA.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { gemm_avx512(dtype, weights, x, out, column) },
            // SAFETY: `levels` gives this out only where the processor has AVX2, F16C and FMA.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { gemm_avx2(dtype, weights, x, out, column) },
            #[cfg(target_arch = "aarch64")]
            Self::Neon => gemm::run::<Neon>(dtype, weights, x, out, column),
            Self::Plain => gemm::run::<Plain>(dtype, weights, x, out, column),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,fma")]
fn gemv_avx512(dtype: StoredType, weights: &[u8], x: &[&[f32]], out: &mut [f32]) {
    gemv::run::<Avx512>(dtype, weights, x, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,f16c,fma")]
fn gemv_avx2(dtype: StoredType, weights: &[u8], x: &[&[f32]], out: &mut [f32]) {
    gemv::run::<Avx2>(dtype, weights, x, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,fma")]
fn gemm_avx512(dtype: StoredType, weights: &[u8], x: &Panels, out: &OutputColumns<'_>, column: usize) {
    gemm::run::<Avx512>(dtype, weights, x, out, column);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,f16c,fma")]
fn gemm_avx2(dtype: StoredType, weights: &[u8], x: &Panels, out: &OutputColumns<'_>, column: usize) {
    gemm::run::<Avx2>(dtype, weights, x, out, column);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,fma")]
fn packed_avx512(task: &PackedTask<'_>, finish: (&[f32], Activation), out: &OutputColumns<'_>) {
    packed::run::<Avx512, 4>(Level::Avx512, task, finish, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,f16c,fma")]
fn packed_avx2(task: &PackedTask<'_>, finish: (&[f32], Activation), out: &OutputColumns<'_>) {
    packed::run::<Avx2, 2>(Level::Avx2, task, finish, out);
}
