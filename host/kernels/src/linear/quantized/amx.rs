//! The tile registers of AMX (Sapphire Rapids and later): products of 16 rows and 16 rows of bytes in one instruction.
//!
//! A tile is up to 16 rows of 64 bytes. Rust has no stable names for these instructions, so they are written out here. No
//! other code of the process touches tiles, so their contents stay from one function to the next.

use std::arch::asm;
use std::marker::PhantomData;
use std::sync::OnceLock;

/// Rows of a tile.
pub(super) const TILE_ROWS: usize = 16;
/// Bytes of a row of a tile, and the distance of rows of inputs and of sums.
const ROW_BYTES: usize = 64;
/// Columns of one step of weights, which is also the distance of their rows.
pub(super) const STEP_BYTES: usize = 256;

/// Codes of four neighbouring columns of 16 rows of inputs: a row of a tile.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct TileInputs(pub(super) [[i8; 4]; TILE_ROWS]);

/// A step of a row of weights: a part of the rows of tiles.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct TileWeights(pub(super) [i8; STEP_BYTES]);

/// The sums of a tile, whose rows are those of weights, and whose columns are rows of inputs.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct TileSums(pub(super) [[i32; TILE_ROWS]; TILE_ROWS]);

impl TileSums {
    pub(super) const ZERO: Self = Self([[0; TILE_ROWS]; TILE_ROWS]);
}

/// Whether processor and system have these instructions. The first call asks the system for them, which is for the whole
/// process: Linux saves tiles only of those that ask.
pub(super) fn is_available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| {
        use std::arch::is_x86_feature_detected as has;
        has!("avx512f")
            && has!("avx512bw")
            && has!("avx512vl")
            && has!("avx512vnni")
            && processor_has_tiles()
            && system_allows_tiles()
    })
}

/// The bits of AMX-TILE and AMX-INT8.
fn processor_has_tiles() -> bool {
    const BITS: u32 = 1 << 24 | 1 << 25;
    std::arch::x86_64::__cpuid(0).eax >= 7 && std::arch::x86_64::__cpuid_count(7, 0).edx & BITS == BITS
}

#[cfg(target_os = "linux")]
fn system_allows_tiles() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const REQUEST_PERMISSION: u64 = 0x1023;
    const TILE_DATA: u64 = 18;
    let mut result = ARCH_PRCTL;
    // SAFETY: the system call changes nothing but which registers this process may use. It is refused if there are none.
    unsafe {
        asm!("syscall", inlateout("rax") result, in("rdi") REQUEST_PERMISSION, in("rsi") TILE_DATA,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn system_allows_tiles() -> bool {
    false
}

/// Shapes of tiles 4 and 5, weights, and of 6 and 7, inputs, for products of so many columns. Tiles 0 to 3 are sums.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start: u8,
    unused: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Tiles that are in use by this thread, until it is dropped: then switching threads saves none.
pub(super) struct Tiles(PhantomData<*const ()>);

impl Tiles {
    /// Tiles for products of so many columns, at most 64.
    ///
    /// # Safety
    /// [`is_available`] was true.
    // SAFETY: the caller's promise is the only requirement.
    pub(super) unsafe fn new(columns: usize) -> Self {
        let mut shapes = Shapes { palette: 1, start: 0, unused: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        for tile in 0..8 {
            shapes.row_bytes[tile] = if (4..6).contains(&tile) { columns as u16 } else { ROW_BYTES as u16 };
            shapes.rows[tile] = if tile >= 6 { (columns / 4) as u8 } else { TILE_ROWS as u8 };
        }
        // SAFETY: the caller's promise; the shapes are 64 bytes.
        unsafe { asm!("ldtilecfg [{0}]", in(reg) &raw const shapes, options(nostack, preserves_flags, readonly)) };
        Self(PhantomData)
    }

    /// The sums of the products of 16 rows of weights, which are low bytes and 256 times high ones, and of two tiles of
    /// rows of inputs: those of the low bytes with each tile, then those of the high ones. The tiles have shapes for 64
    /// columns.
    #[inline(always)]
    pub(super) fn wide_products(
        &self,
        [low, high]: [&[TileWeights; TILE_ROWS]; 2],
        inputs: [&[TileInputs; STEP_BYTES / 4]; 2],
        sums: &mut [TileSums; 4],
    ) {
        // SAFETY: that there is a value of this type is the promise of its maker. Tiles of weights are 16 rows of 64
        // bytes, `STEP_BYTES` apart, which start at 0, 64, 128 and 192 bytes of the first row. Tiles of inputs are 16
        // rows after another. The sums have room for four tiles.
        unsafe {
            asm!(
                "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
                "tileloadd tmm4, [{low} + {far}]", "tileloadd tmm6, [{a} + {near}]",
                "tdpbssd tmm0, tmm4, tmm6", "tileloadd tmm7, [{b} + {near}]",
                "tdpbssd tmm1, tmm4, tmm7", "tileloadd tmm5, [{high} + {far}]",
                "tdpbssd tmm2, tmm5, tmm6", "tdpbssd tmm3, tmm5, tmm7",
                "tileloadd tmm4, [{low} + {far} + 64]", "tileloadd tmm6, [{a} + {near} + 1024]",
                "tdpbssd tmm0, tmm4, tmm6", "tileloadd tmm7, [{b} + {near} + 1024]",
                "tdpbssd tmm1, tmm4, tmm7", "tileloadd tmm5, [{high} + {far} + 64]",
                "tdpbssd tmm2, tmm5, tmm6", "tdpbssd tmm3, tmm5, tmm7",
                "tileloadd tmm4, [{low} + {far} + 128]", "tileloadd tmm6, [{a} + {near} + 2048]",
                "tdpbssd tmm0, tmm4, tmm6", "tileloadd tmm7, [{b} + {near} + 2048]",
                "tdpbssd tmm1, tmm4, tmm7", "tileloadd tmm5, [{high} + {far} + 128]",
                "tdpbssd tmm2, tmm5, tmm6", "tdpbssd tmm3, tmm5, tmm7",
                "tileloadd tmm4, [{low} + {far} + 192]", "tileloadd tmm6, [{a} + {near} + 3072]",
                "tdpbssd tmm0, tmm4, tmm6", "tileloadd tmm7, [{b} + {near} + 3072]",
                "tdpbssd tmm1, tmm4, tmm7", "tileloadd tmm5, [{high} + {far} + 192]",
                "tdpbssd tmm2, tmm5, tmm6", "tdpbssd tmm3, tmm5, tmm7",
                "tilestored [{out} + {near}], tmm0", "tilestored [{out} + {near} + 1024], tmm1",
                "tilestored [{out} + {near} + 2048], tmm2", "tilestored [{out} + {near} + 3072], tmm3",
                low = in(reg) low.as_ptr(), high = in(reg) high.as_ptr(),
                a = in(reg) inputs[0].as_ptr(), b = in(reg) inputs[1].as_ptr(), out = in(reg) sums.as_mut_ptr(),
                near = in(reg) ROW_BYTES, far = in(reg) STEP_BYTES,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, preserves_flags)
            );
        }
    }

    /// The sums of the products of four blocks of 32 columns, the first of which is `first`, of 16 rows of weights and of a
    /// tile of rows of inputs. The tiles have shapes for 32 columns.
    #[inline(always)]
    pub(super) fn narrow_products(
        &self,
        first: usize,
        weights: &[TileWeights; TILE_ROWS],
        inputs: &[TileInputs; STEP_BYTES / 4],
        sums: &mut [TileSums; 4],
    ) {
        const BLOCK: usize = 32;
        assert!(first <= 4, "four blocks from block {first} of eight");
        let weights = weights.as_ptr().cast::<i8>().wrapping_add(first * BLOCK);
        let inputs = inputs.as_ptr().wrapping_add(first * BLOCK / 4);
        // SAFETY: that there is a value of this type is the promise of its maker. Tiles of weights are 16 rows of 32
        // bytes, `STEP_BYTES` apart, which start at most 7 blocks after the first row. Tiles of inputs are 8 rows after
        // another. The sums have room for four tiles.
        unsafe {
            asm!(
                "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
                "tileloadd tmm4, [{weights} + {far}]", "tileloadd tmm6, [{inputs} + {near}]",
                "tdpbssd tmm0, tmm4, tmm6",
                "tileloadd tmm5, [{weights} + {far} + 32]", "tileloadd tmm7, [{inputs} + {near} + 512]",
                "tdpbssd tmm1, tmm5, tmm7", "tilestored [{out} + {near}], tmm0",
                "tileloadd tmm4, [{weights} + {far} + 64]", "tileloadd tmm6, [{inputs} + {near} + 1024]",
                "tdpbssd tmm2, tmm4, tmm6", "tilestored [{out} + {near} + 1024], tmm1",
                "tileloadd tmm5, [{weights} + {far} + 96]", "tileloadd tmm7, [{inputs} + {near} + 1536]",
                "tdpbssd tmm3, tmm5, tmm7", "tilestored [{out} + {near} + 2048], tmm2",
                "tilestored [{out} + {near} + 3072], tmm3",
                weights = in(reg) weights, inputs = in(reg) inputs, out = in(reg) sums.as_mut_ptr(),
                near = in(reg) ROW_BYTES, far = in(reg) STEP_BYTES,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, preserves_flags)
            );
        }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: that there is a value of this type is the promise of its maker.
        unsafe { asm!("tilerelease", options(nostack, preserves_flags)) };
    }
}
