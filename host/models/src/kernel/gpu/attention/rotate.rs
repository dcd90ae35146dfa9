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
    /// Pairs of elements that are rotated.
    pairs: usize,
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
    let Some(angles) = rows.angles.get(attention.rotary) else { return };
    let pairs = angles.count / rows.slots.count.max(1) / 2;
    let (key_lanes, norms) = (shape.key_lanes(), attention.norms.is_some());
    let plan = RotatePlan { heads, kv_heads, width, pairs, key_lanes, norms };
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
            angles.argument(1),
            rows.slots.argument(1),
            weights.as_ref().map_or_else(|| angles.argument(1), |weights| argument(weights, 1)),
            argument(queries, 1),
            keys.argument(1),
            values.argument(1),
            epsilon,
            attention.scores.scale,
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
    let (heads, kv_heads) = comptime!((plan.heads, plan.kv_heads));
    let (width, pairs) = comptime!((plan.width, plan.pairs));
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
        let query = (row * heads + head) * width;
        let key = (page * kv_heads + usize::max(head, heads) - heads) * width;
        let head_slot = HeadSlot { is_query: head < heads, query, key, offset };
        let mut pair = unit;
        while pair < pairs {
            let mut first = qkv[from + pair] * scale;
            let mut second = qkv[from + pairs + pair] * scale;
            if comptime!(plan.norms) {
                first *= norms[weights + pair];
                second *= norms[weights + pairs + pair];
            }
            let cos = angles[row * comptime!(2 * plan.pairs) + pair];
            let sin = angles[row * comptime!(2 * plan.pairs) + pairs + pair];
            let low = first * cos - second * sin;
            let high = second * cos + first * sin;
            put(queries, keys, &head_slot, pair, low, query_scale, comptime!(plan.key_lanes));
            put(queries, keys, &head_slot, pair + pairs, high, query_scale, comptime!(plan.key_lanes));
            pair += units;
        }
        // Elements behind the pairs are not rotated.
        let mut at = unit + comptime!(2 * plan.pairs);
        while at < width {
            let mut value = qkv[from + at] * scale;
            if comptime!(plan.norms) {
                value *= norms[weights + at];
            }
            put(queries, keys, &head_slot, at, value, query_scale, comptime!(plan.key_lanes));
            at += units;
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

/// Where the elements of a head go.
#[derive(CubeType)]
struct HeadSlot {
    is_query: bool,
    /// The first element of a query.
    query: usize,
    /// The first element of the head of a key, counted without positions, and the position in its page.
    key: usize,
    offset: usize,
}

/// Writes element `at` of a query, multiplied, or of a key.
#[cube]
fn put(
    queries: &mut [f32],
    keys: &mut [f32],
    head_slot: &HeadSlot,
    at: usize,
    value: f32,
    query_scale: f32,
    #[comptime] key_lanes: usize,
) {
    if head_slot.is_query {
        queries[head_slot.query + at] = value * query_scale;
    } else {
        keys[key_index(head_slot.key, head_slot.offset, at, key_lanes)] = value;
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
