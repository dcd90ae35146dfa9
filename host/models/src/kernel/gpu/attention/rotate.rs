//! Splits the product of a layer's first matrix into queries, keys and values: norms over heads, rotary embedding (Su
//! et al. 2021, in the rotate-half layout), and writing keys and values into pages.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::tensor::CubeTensor;

use super::pages::{PAGE_TOKENS, PageStore};
use super::{PagedAttention, PagedRows};
use crate::kernel::gpu::{argument, cube_sum, primitive};

/// Units of a cube, which is one head of one row.
const UNITS: usize = 32;

/// The compile-time parameters of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct RotatePlan {
    heads: usize,
    kv_heads: usize,
    width: usize,
    key_lanes: usize,
    norms: bool,
}

pub(super) fn launch(
    attention: &PagedAttention<'_>,
    qkv: &CubeTensor,
    rows: &PagedRows,
    store: &PageStore,
    queries: &CubeTensor,
) {
    let shape = store.shape();
    let (heads, kv_heads, width) = (attention.heads, shape.kv_heads, shape.head_dim);
    let plan = RotatePlan { heads, kv_heads, width, key_lanes: shape.key_lanes(), norms: attention.norms.is_some() };
    let [keys, values] = store.layer(attention.layer);
    let weights = attention.norms.map(|(weights, _)| primitive(weights.clone()));
    let epsilon = attention.norms.map_or(0.0, |(_, epsilon)| epsilon);
    // SAFETY: the grid has a cube for each row and head, and qkv and queries have as many. Slots are on pages that
    // sequences own, and the layer's store has those pages.
    unsafe {
        rotate_heads::launch_unchecked(
            &qkv.client,
            CubeCount::Static(rows.slots.count as u32, (heads + 2 * kv_heads) as u32, 1),
            CubeDim::new_1d(UNITS as u32),
            argument(qkv, 1),
            rows.angles.argument(1),
            rows.slots.argument(1),
            weights.as_ref().map_or_else(|| rows.angles.argument(1), |weights| argument(weights, 1)),
            argument(queries, 1),
            keys.argument(1),
            values.argument(1),
            epsilon,
            1.0 / (width as f32).sqrt(),
            plan,
        );
    }
}

#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments, reason = "a kernel's buffers and sizes are its arguments")]
fn rotate_heads(
    qkv: &[f32],
    angles: &[f32],
    slots: &[u32],
    norms: &[f32],
    queries: &mut [f32],
    keys: &mut [f32],
    values: &mut [f32],
    epsilon: f32,
    query_scale: f32,
    #[comptime] plan: RotatePlan,
) {
    let row = CUBE_POS_X as usize;
    let head = CUBE_POS_Y as usize;
    let unit = UNIT_POS as usize;
    let heads = comptime!(plan.heads);
    let kv_heads = comptime!(plan.kv_heads);
    let width = comptime!(plan.width);
    let half = comptime!(plan.width / 2);
    let units = comptime!(UNITS);
    let page_tokens = comptime!(PAGE_TOKENS);
    let slot = slots[row] as usize;
    let page = slot / page_tokens;
    let offset = slot % page_tokens;
    let from = (row * (heads + 2 * kv_heads) + head) * width;
    if head < heads + kv_heads {
        let mut scale = 1.0f32;
        let mut weights = 0usize;
        if comptime!(plan.norms) {
            scale = norm_scale(qkv, from, epsilon, width);
            if head >= heads {
                weights = width;
            }
        }
        let mut pair = unit;
        while pair < half {
            let mut first = qkv[from + pair] * scale;
            let mut second = qkv[from + half + pair] * scale;
            if comptime!(plan.norms) {
                first *= norms[weights + pair];
                second *= norms[weights + half + pair];
            }
            let cos = angles[row * width + pair];
            let sin = angles[row * width + half + pair];
            let low = first * cos - second * sin;
            let high = second * cos + first * sin;
            if head < heads {
                let to = (row * heads + head) * width + pair;
                queries[to] = low * query_scale;
                queries[to + half] = high * query_scale;
            } else {
                let start = (page * kv_heads + head - heads) * width;
                keys[key_index(start, offset, pair, comptime!(plan.key_lanes))] = low;
                keys[key_index(start, offset, pair + half, comptime!(plan.key_lanes))] = high;
            }
            pair += units;
        }
    } else {
        let to = ((page * kv_heads + head - heads - kv_heads) * page_tokens + offset) * width;
        let mut at = unit;
        while at < width {
            values[to + at] = qkv[from + at];
            at += units;
        }
    }
}

/// The factor of a head's root mean square norm.
#[cube]
fn norm_scale(qkv: &[f32], from: usize, epsilon: f32, #[comptime] width: usize) -> f32 {
    let unit = UNIT_POS as usize;
    let mut squares = 0.0f32;
    let mut at = unit;
    while at < width {
        squares += qkv[from + at] * qkv[from + at];
        at += comptime!(UNITS);
    }
    let mut shared = Shared::<[f32]>::new_slice(comptime!(UNITS));
    let sum = cube_sum(squares, &mut shared, unit, comptime!(UNITS));
    1.0f32 / (sum / comptime!(width as f32) + epsilon).sqrt()
}

/// The index of element `at` of a position's key. `start` is the first element of its head, counted without positions.
#[cube]
fn key_index(start: usize, offset: usize, at: usize, #[comptime] lanes: usize) -> usize {
    (start + at / lanes * lanes) * comptime!(PAGE_TOKENS) + offset * lanes + at % lanes
}
