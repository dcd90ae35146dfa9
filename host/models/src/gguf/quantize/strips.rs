//! A tensor in another type, a strip of rows at a time.

use firebox_kernels::weights::blocks::BlockType;
use firebox_kernels::weights::repacked::{REPACKED_ROWS, repack};
use firebox_kernels::weights::{StoredTensor, StoredType};
use half::{bf16, f16};
use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::{ParallelSlice, ParallelSliceMut};

use crate::error::ModelError;

/// Weights of one strip: 16 MiB of f32, enough that all threads have work.
const STRIP_WEIGHTS: usize = 4 << 20;
/// Weights that one thread converts at a time: a whole number of blocks of any type.
const PART_WEIGHTS: usize = 16 << 10;

/// Hands the bytes of `tensor` in type `kind` to `write`, in order.
///
/// # Errors
/// `Exceeds` where a weight is beyond the range of the type; the errors of `write`.
pub(super) fn write(
    tensor: &StoredTensor,
    kind: StoredType,
    name: &str,
    write: &mut dyn FnMut(&[u8]) -> Result<(), ModelError>,
) -> Result<(), ModelError> {
    if let (StoredType::Repacked(to), StoredType::Blocks(_)) = (kind, tensor.dtype) {
        return write_repacked(tensor, to, write);
    }
    let (weights, bytes) = tensor.dtype.unit();
    // Rows do not matter: each is a whole number of blocks of both types.
    let strip = STRIP_WEIGHTS / weights * bytes;
    for stored in tensor.bytes().chunks(strip) {
        if tensor.dtype == kind {
            write(stored)?;
            continue;
        }
        let mut values = Vec::with_capacity(stored.len() / bytes * weights);
        firebox_kernels::weights::append_f32(stored, tensor.dtype, &mut values);
        let packed = pack(&values, kind);
        if firebox_kernels::weights::has_odd_value(&packed, kind) {
            let most = values.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
            return Err(ModelError::Exceeds(format!(
                "tensor \"{name}\" has a weight of {most}, which {} cannot hold; take bf16 or f32",
                kind.name()
            )));
        }
        write(&packed)?;
    }
    Ok(())
}

/// The same for a matrix of blocks that is repacked.
fn write_repacked(
    tensor: &StoredTensor,
    kind: &BlockType,
    write: &mut dyn FnMut(&[u8]) -> Result<(), ModelError>,
) -> Result<(), ModelError> {
    let group = (REPACKED_ROWS * tensor.row_bytes()).max(1);
    let strip = (STRIP_WEIGHTS / kind.weights * kind.bytes / group).max(1) * group;
    for rows in tensor.bytes().chunks(strip) {
        let groups = rows.par_chunks(group).map(|rows| repack(kind, rows, tensor.row_bytes()));
        write(&groups.collect::<Vec<_>>().concat())?;
    }
    Ok(())
}

/// Whole blocks of weights in type `kind`, by all threads.
fn pack(values: &[f32], kind: StoredType) -> Vec<u8> {
    let (weights, bytes) = kind.unit();
    let mut packed = vec![0; values.len() / weights * bytes];
    let parts = values.par_chunks(PART_WEIGHTS).zip(packed.par_chunks_mut(PART_WEIGHTS / weights * bytes));
    parts.for_each(|(values, out)| pack_part(values, kind, out));
    packed
}

fn pack_part(values: &[f32], kind: StoredType, out: &mut [u8]) {
    match kind {
        StoredType::F32 => {
            values.iter().zip(out.as_chunks_mut::<4>().0).for_each(|(value, out)| *out = value.to_le_bytes());
        }
        StoredType::F16 => {
            let halves = values.iter().zip(out.as_chunks_mut::<2>().0);
            halves.for_each(|(value, out)| *out = f16::from_f32(*value).to_le_bytes());
        }
        StoredType::Bf16 => {
            let halves = values.iter().zip(out.as_chunks_mut::<2>().0);
            halves.for_each(|(value, out)| *out = bf16::from_f32(*value).to_le_bytes());
        }
        // Only blocks are repacked.
        StoredType::Repacked(_) => {}
        // A mixture names only types that have a function for it.
        StoredType::Blocks(kind) => {
            if let Some(pack) = kind.pack() {
                pack(values, out);
            }
        }
    }
}
