//! The integer instructions of the machine, and the kernels compiled for each set.

#[cfg(target_arch = "x86_64")]
use super::amx::{self, TILE_ROWS, Tiles};
#[cfg(target_arch = "aarch64")]
use super::bytes::NeonBytes;
use super::bytes::PlainBytes;
#[cfg(target_arch = "x86_64")]
use super::bytes::{Avx2Bytes, CODES};
use super::formats::{
    BlockSize, CodeFormat, Iq4Nl, Iq4Xs, Mxfp4, Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0, RepackedFormat,
};
use super::gemm::panels::QuantizedPanel;
#[cfg(target_arch = "x86_64")]
use super::gemm::tiles::{self, TileRows};
use super::gemm::weights::UnpackedStep;
use super::inputs::{self, InputStep, QuantizedRow};
#[cfg(target_arch = "aarch64")]
use super::integers::NeonIntegers;
use super::integers::PlainIntegers;
#[cfg(target_arch = "x86_64")]
use super::integers::{Integers256, Integers512};
use super::{gemm, gemv};
#[cfg(target_arch = "x86_64")]
use crate::linear::vector::Avx2;
#[cfg(target_arch = "aarch64")]
use crate::linear::vector::Neon;
use crate::linear::vector::Plain;

/// Every block type with integer kernels.
static KERNELS: &[IntegerKernel] = &[
    IntegerKernel::with_repacked::<Q4_0>(),
    IntegerKernel::with_repacked::<Q4_1>(),
    IntegerKernel::of::<Q5_0>(),
    IntegerKernel::of::<Q5_1>(),
    IntegerKernel::with_repacked::<Q8_0>(),
    IntegerKernel::of::<Q2K>(),
    IntegerKernel::of::<Q3K>(),
    IntegerKernel::with_repacked::<Q4K>(),
    IntegerKernel::with_repacked::<Q5K>(),
    IntegerKernel::with_repacked_for_vnni::<Q6K>(),
    IntegerKernel::of::<Iq4Nl>(),
    IntegerKernel::of::<Iq4Xs>(),
    IntegerKernel::of::<Mxfp4>(),
];

/// Unpacks at most a step of a row.
// SAFETY: the instructions for which it is compiled are all that a caller has to know to be there.
type Unpack = unsafe fn(&[u8], &mut UnpackedStep);
/// The same to low bytes and high bytes.
#[cfg(target_arch = "x86_64")]
// SAFETY: as above.
type UnpackBytes = unsafe fn(&[u8], &mut UnpackedStep, [&mut [[i8; CODES]]; 2]);
/// The products of rows of weights, each of so many bytes, and all rows of `x`. The result is `[rows, m]`.
// SAFETY: as above.
type Gemv = unsafe fn(&[u8], usize, &[QuantizedRow], &mut [f32]);

/// A block type and its unpacker for each set of instructions that it is compiled for.
#[derive(Debug)]
pub(in crate::linear) struct IntegerKernel {
    number: u32,
    pub(super) size: BlockSize,
    pub(super) bytes: usize,
    pub(super) has_minima: bool,
    plain: Unpack,
    plain_gemv: Gemv,
    /// The processor must have AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    avx2: Unpack,
    /// The processor must have AVX-512BW and AVX-512VL, AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    avx512_bytes: UnpackBytes,
    /// The processor must have AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    avx2_gemv: Gemv,
    /// That of repacked weights. The processor must have AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    avx2_repacked: Option<Gemv>,
    /// As `avx2_gemv`, with AVX512-VNNI and AVX-512VL.
    #[cfg(target_arch = "x86_64")]
    vnni_gemv: Gemv,
    /// As `avx2_repacked`, with AVX512-VNNI and AVX-512VL.
    #[cfg(target_arch = "x86_64")]
    vnni_repacked: Option<Gemv>,
    #[cfg(target_arch = "aarch64")]
    neon: Unpack,
    #[cfg(target_arch = "aarch64")]
    neon_gemv: Gemv,
    /// The processor must have the dot product extension.
    #[cfg(target_arch = "aarch64")]
    neon_dot_gemv: Gemv,
}

impl IntegerKernel {
    const fn of<F: CodeFormat>() -> Self {
        Self {
            number: F::NUMBER,
            size: F::SIZE,
            bytes: F::BYTES,
            has_minima: F::HAS_MINIMA,
            plain: unpack_plain::<F>,
            plain_gemv: gemv_plain::<F>,
            #[cfg(target_arch = "x86_64")]
            avx2: unpack_avx2::<F>,
            #[cfg(target_arch = "x86_64")]
            avx512_bytes: unpack_bytes_avx512::<F>,
            #[cfg(target_arch = "x86_64")]
            avx2_gemv: gemv_avx2::<F>,
            #[cfg(target_arch = "x86_64")]
            avx2_repacked: None,
            #[cfg(target_arch = "x86_64")]
            vnni_gemv: gemv_vnni::<F>,
            #[cfg(target_arch = "x86_64")]
            vnni_repacked: None,
            #[cfg(target_arch = "aarch64")]
            neon: unpack_neon::<F>,
            #[cfg(target_arch = "aarch64")]
            neon_gemv: gemv_neon::<F>,
            #[cfg(target_arch = "aarch64")]
            neon_dot_gemv: gemv_neon_dot::<F>,
        }
    }

    const fn with_repacked<F: RepackedFormat>() -> Self {
        Self {
            #[cfg(target_arch = "x86_64")]
            avx2_repacked: Some(gemv_repacked_avx2::<F>),
            #[cfg(target_arch = "x86_64")]
            vnni_repacked: Some(gemv_repacked_vnni::<F>),
            ..Self::of::<F>()
        }
    }

    /// Of a type that is not faster repacked with AVX2 alone.
    const fn with_repacked_for_vnni<F: RepackedFormat>() -> Self {
        Self {
            #[cfg(target_arch = "x86_64")]
            vnni_repacked: Some(gemv_repacked_vnni::<F>),
            ..Self::of::<F>()
        }
    }

    /// The kernel of the block type with this number in files.
    pub(in crate::linear) fn find(number: u32) -> Option<&'static Self> {
        KERNELS.iter().find(|kernel| kernel.number == number)
    }
}

fn unpack_plain<F: CodeFormat>(blocks: &[u8], out: &mut UnpackedStep) {
    out.fill::<F, PlainBytes>(blocks);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,f16c,fma")]
fn unpack_avx2<F: CodeFormat>(blocks: &[u8], out: &mut UnpackedStep) {
    out.fill::<F, Avx2Bytes<false>>(blocks);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,f16c,fma")]
fn unpack_bytes_avx512<F: CodeFormat>(blocks: &[u8], out: &mut UnpackedStep, [low, high]: [&mut [[i8; CODES]]; 2]) {
    out.fill_bytes::<F, Avx2Bytes<false>>(blocks, low, high);
}

#[cfg(target_arch = "aarch64")]
fn unpack_neon<F: CodeFormat>(blocks: &[u8], out: &mut UnpackedStep) {
    out.fill::<F, NeonBytes<false>>(blocks);
}

/// A set of integer vector instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::linear) enum IntegerLevel {
    /// AVX-512 with VNNI, and AMX for GEMM.
    #[cfg(target_arch = "x86_64")]
    Amx,
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// NEON with the dot product extension.
    #[cfg(target_arch = "aarch64")]
    NeonDot,
    #[cfg(target_arch = "aarch64")]
    Neon,
    Plain,
}

impl IntegerLevel {
    /// The levels of this machine, the best first.
    pub(in crate::linear) fn all() -> Vec<Self> {
        let mut levels = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            let avx2 = has!("avx2") && has!("fma") && has!("f16c");
            if avx2 && amx::is_available() {
                levels.push(Self::Amx);
            }
            if avx2 && has!("avx512f") && has!("avx512bw") && has!("avx512vl") && has!("avx512vnni") {
                levels.push(Self::Avx512Vnni);
            }
            if avx2 && has!("avxvnni") {
                levels.push(Self::AvxVnni);
            }
            if avx2 {
                levels.push(Self::Avx2);
            }
        }
        #[cfg(target_arch = "aarch64")]
        {
            if std::arch::is_aarch64_feature_detected!("dotprod") {
                levels.push(Self::NeonDot);
            }
            levels.push(Self::Neon);
        }
        levels.push(Self::Plain);
        levels
    }

    /// The number of 32-bit lanes of a register.
    pub(in crate::linear) fn lanes(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Amx | Self::Avx512Vnni => 16,
            _ => 8,
        }
    }

    /// Whether GEMM has tiles of AMX.
    pub(super) fn has_tiles(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        let tiles = self == Self::Amx;
        #[cfg(not(target_arch = "x86_64"))]
        let tiles = false;
        tiles
    }

    /// Quantizes a row of `x`, whose length is a multiple of the block.
    pub(super) fn quantize(self, size: BlockSize, x: &[f32], row: &mut [InputStep]) {
        match self {
            Self::Plain => inputs::quantize_row(size, x, row),
            // SAFETY: `all` gives every other level out only where the processor has AVX2.
            #[cfg(target_arch = "x86_64")]
            _ => unsafe { quantize_avx2(size, x, row) },
            // The compiler may use NEON everywhere.
            #[cfg(target_arch = "aarch64")]
            Self::Neon | Self::NeonDot => inputs::quantize_row(size, x, row),
        }
    }

    /// Unpacks blocks to the start of a row.
    pub(super) fn unpack(self, kernel: &IntegerKernel, blocks: &[u8], out: &mut UnpackedStep) {
        match self {
            // SAFETY: it needs no instructions that a processor may not have.
            Self::Plain => unsafe { (kernel.plain)(blocks, out) },
            // SAFETY: `all` gives every other level out only where the processor has AVX2 and FMA.
            #[cfg(target_arch = "x86_64")]
            _ => unsafe { (kernel.avx2)(blocks, out) },
            // SAFETY: every AArch64 processor has NEON.
            #[cfg(target_arch = "aarch64")]
            Self::Neon | Self::NeonDot => unsafe { (kernel.neon)(blocks, out) },
        }
    }

    /// The products of rows of weights, each of `row_bytes`, and all rows of `x`. `out` is `[rows, m]`.
    pub(super) fn gemv(
        self,
        kernel: &IntegerKernel,
        weights: &[u8],
        row_bytes: usize,
        x: &[QuantizedRow],
        out: &mut [f32],
    ) {
        match self {
            // SAFETY: it needs no instructions that a processor may not have.
            Self::Plain => unsafe { (kernel.plain_gemv)(weights, row_bytes, x, out) },
            // SAFETY: `all` gives these out only where the processor has AVX512-VNNI, AVX-512VL, AVX2 and FMA.
            #[cfg(target_arch = "x86_64")]
            Self::Amx | Self::Avx512Vnni => unsafe { (kernel.vnni_gemv)(weights, row_bytes, x, out) },
            // SAFETY: `all` gives every other level out only where the processor has AVX2 and FMA.
            #[cfg(target_arch = "x86_64")]
            _ => unsafe { (kernel.avx2_gemv)(weights, row_bytes, x, out) },
            // SAFETY: every AArch64 processor has NEON.
            #[cfg(target_arch = "aarch64")]
            Self::Neon => unsafe { (kernel.neon_gemv)(weights, row_bytes, x, out) },
            // SAFETY: `all` gives this out only where the processor has the dot product extension.
            #[cfg(target_arch = "aarch64")]
            Self::NeonDot => unsafe { (kernel.neon_dot_gemv)(weights, row_bytes, x, out) },
        }
    }

    /// As [`Self::gemv`], of repacked weights. `None` where there is no kernel for them.
    #[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables, reason = "only AVX2 has kernels"))]
    pub(super) fn gemv_repacked(
        self,
        kernel: &IntegerKernel,
        weights: &[u8],
        row_bytes: usize,
        x: &[QuantizedRow],
        out: &mut [f32],
    ) -> Option<()> {
        match self {
            Self::Plain => None,
            #[cfg(target_arch = "x86_64")]
            Self::Amx | Self::Avx512Vnni => {
                let repacked = kernel.vnni_repacked?;
                // SAFETY: `all` gives these out only where the processor has AVX512-VNNI, AVX-512VL, AVX2 and FMA.
                unsafe { repacked(weights, row_bytes, x, out) };
                Some(())
            }
            #[cfg(target_arch = "x86_64")]
            _ => {
                let repacked = kernel.avx2_repacked?;
                // SAFETY: `all` gives every other level out only where the processor has AVX2 and FMA.
                unsafe { repacked(weights, row_bytes, x, out) };
                Some(())
            }
            #[cfg(target_arch = "aarch64")]
            Self::Neon | Self::NeonDot => None,
        }
    }

    /// Rows of `x` up to which the kernel of repacked weights is faster than GEMM.
    #[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables, reason = "only AVX2 has kernels"))]
    pub(super) fn repacked_rows_max(self, kernel: &IntegerKernel) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 if kernel.size == BlockSize::Small => usize::MAX,
            _ => 48,
        }
    }

    /// Whether repacked weights have a kernel that is faster than that of weights as they are.
    #[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables, reason = "only AVX2 has kernels"))]
    pub(in crate::linear) fn prefers_repacked(self, kernel: &IntegerKernel) -> bool {
        match self {
            Self::Plain => false,
            #[cfg(target_arch = "x86_64")]
            Self::Amx | Self::Avx512Vnni => kernel.vnni_repacked.is_some(),
            #[cfg(target_arch = "x86_64")]
            _ => kernel.avx2_repacked.is_some(),
            #[cfg(target_arch = "aarch64")]
            Self::Neon | Self::NeonDot => false,
        }
    }

    /// Adds the product of one step of rows of weights and a panel, packed for this level, to `sums`, `[rows, width]`.
    #[allow(clippy::too_many_arguments, reason = "what is multiplied and where it goes")]
    pub(super) fn gemm(
        self,
        kernel: &IntegerKernel,
        rows: &[UnpackedStep],
        columns: usize,
        step: usize,
        x: &QuantizedPanel,
        sums: &mut [f32],
    ) {
        let kind = (kernel.size, kernel.has_minima);
        match self {
            // SAFETY: `all` gives these out only where the processor has AVX512-VNNI and FMA.
            #[cfg(target_arch = "x86_64")]
            Self::Amx | Self::Avx512Vnni => unsafe { gemm_avx512(kind, rows, columns, step, x, sums) },
            // SAFETY: `all` gives this out only where the processor has AVX-VNNI, AVX2 and FMA.
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => unsafe { gemm_avx_vnni(kind, rows, columns, step, x, sums) },
            // SAFETY: `all` gives this out only where the processor has AVX2 and FMA.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { gemm_avx2(kind, rows, columns, step, x, sums) },
            #[cfg(target_arch = "aarch64")]
            Self::Neon | Self::NeonDot => gemm::run::<NeonIntegers>(kind, rows, columns, step, x, sums),
            Self::Plain => gemm::run::<PlainIntegers>(kind, rows, columns, step, x, sums),
        }
    }
}

/// Rust fuses no product and sum by itself, so it rounds as the portable code does.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn quantize_avx2(size: BlockSize, x: &[f32], row: &mut [InputStep]) {
    inputs::quantize_row(size, x, row);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,f16c,fma")]
fn gemv_avx2<F: CodeFormat>(weights: &[u8], row_bytes: usize, x: &[QuantizedRow], out: &mut [f32]) {
    gemv::run::<F, Avx2Bytes<false>, Avx2>(weights, row_bytes, x, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,f16c,fma")]
fn gemv_repacked_avx2<F: RepackedFormat>(weights: &[u8], row_bytes: usize, x: &[QuantizedRow], out: &mut [f32]) {
    gemv::repacked::run::<F, Avx2Bytes<false>>(weights, row_bytes, x, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c,fma")]
fn gemv_vnni<F: CodeFormat>(weights: &[u8], row_bytes: usize, x: &[QuantizedRow], out: &mut [f32]) {
    gemv::run::<F, Avx2Bytes<true>, Avx2>(weights, row_bytes, x, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c,fma")]
fn gemv_repacked_vnni<F: RepackedFormat>(weights: &[u8], row_bytes: usize, x: &[QuantizedRow], out: &mut [f32]) {
    gemv::repacked::run::<F, Avx2Bytes<true>>(weights, row_bytes, x, out);
}

#[cfg(target_arch = "aarch64")]
fn gemv_neon<F: CodeFormat>(weights: &[u8], row_bytes: usize, x: &[QuantizedRow], out: &mut [f32]) {
    gemv::run::<F, NeonBytes<false>, Neon>(weights, row_bytes, x, out);
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "dotprod")]
fn gemv_neon_dot<F: CodeFormat>(weights: &[u8], row_bytes: usize, x: &[QuantizedRow], out: &mut [f32]) {
    gemv::run::<F, NeonBytes<true>, Neon>(weights, row_bytes, x, out);
}

fn gemv_plain<F: CodeFormat>(weights: &[u8], row_bytes: usize, x: &[QuantizedRow], out: &mut [f32]) {
    gemv::run::<F, PlainBytes, Plain>(weights, row_bytes, x, out);
}

/// As [`IntegerLevel::unpack`], with codes as bytes for tiles.
///
/// # Panics
/// Where the level has no tiles.
#[cfg(target_arch = "x86_64")]
pub(super) fn unpack_tiles(
    level: IntegerLevel,
    kernel: &IntegerKernel,
    blocks: &[u8],
    out: &mut UnpackedStep,
    bytes: [&mut [[i8; CODES]]; 2],
) {
    assert!(level.has_tiles(), "tiles of {level:?}");
    // SAFETY: `all` gives the level out only where the processor has AVX-512BW and AVX-512VL, AVX2 and FMA.
    unsafe { (kernel.avx512_bytes)(blocks, out, bytes) }
}

/// As [`IntegerLevel::gemm`] for all panels, with tiles. `rows` are whole tiles.
///
/// # Panics
/// Where the level has no tiles.
#[cfg(target_arch = "x86_64")]
pub(super) fn gemm_tiles(
    level: IntegerLevel,
    kernel: &IntegerKernel,
    (rows, bytes): (&[UnpackedStep], &TileRows),
    step: usize,
    x: &[QuantizedPanel],
    sums: &mut [f32],
) {
    assert!(level.has_tiles() && rows.len().is_multiple_of(TILE_ROWS), "{} rows of tiles of {level:?}", rows.len());
    // SAFETY: `all` gives the level out only where processor and system have AMX, and AVX-512 with VNNI.
    unsafe { gemm_amx((kernel.size, kernel.has_minima), (rows, bytes), step, x, sums) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,fma")]
// SAFETY: the processor and the system have AMX.
unsafe fn gemm_amx(
    kind: (BlockSize, bool),
    (rows, bytes): (&[UnpackedStep], &TileRows),
    step: usize,
    x: &[QuantizedPanel],
    mut sums: &mut [f32],
) {
    // SAFETY: the caller's promise.
    let tiles = unsafe { Tiles::new(if kind.0 == BlockSize::Small { 32 } else { 64 }) };
    for panel in x {
        let (own, later) = sums.split_at_mut(rows.len() * panel.width);
        sums = later;
        tiles::run(&tiles, kind, (rows, bytes), step, panel, own);
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vnni,avx2,fma")]
fn gemm_avx512(
    kind: (BlockSize, bool),
    rows: &[UnpackedStep],
    columns: usize,
    step: usize,
    x: &QuantizedPanel,
    sums: &mut [f32],
) {
    gemm::run::<Integers512>(kind, rows, columns, step, x, sums);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avxvnni,avx2,fma")]
fn gemm_avx_vnni(
    kind: (BlockSize, bool),
    rows: &[UnpackedStep],
    columns: usize,
    step: usize,
    x: &QuantizedPanel,
    sums: &mut [f32],
) {
    gemm::run::<Integers256<true>>(kind, rows, columns, step, x, sums);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,f16c,fma")]
fn gemm_avx2(
    kind: (BlockSize, bool),
    rows: &[UnpackedStep],
    columns: usize,
    step: usize,
    x: &QuantizedPanel,
    sums: &mut [f32],
) {
    gemm::run::<Integers256<false>>(kind, rows, columns, step, x, sums);
}
