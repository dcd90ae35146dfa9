//! The KV cache of all sequences of a model on a GPU: one store of pages per layer. Each sequence owns some pages.

use std::sync::{Arc, Mutex, PoisonError};

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use crate::kernel::gpu::{DeviceBuffer, Gpu, lanes_of};

/// Positions in a page.
pub(crate) const PAGE_TOKENS: usize = 64;
/// Pages of a store at the beginning.
const PAGES_FIRST: usize = 16;
/// Units of a cube of the copy kernel.
const UNITS: u32 = 128;
/// Maximum number of cubes in one dimension of a grid, as in WebGPU.
const CUBES_MAX: usize = 65_535;

/// The shape of a position.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageShape {
    pub(crate) layers: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
}

impl PageShape {
    /// Elements of the keys of one page, and of the values.
    fn elements(&self) -> usize {
        self.kv_heads * self.head_dim * PAGE_TOKENS
    }

    /// Adjacent elements of a key.
    pub(super) fn key_lanes(&self) -> usize {
        lanes_of(self.head_dim)
    }
}

/// The pages of a model.
#[derive(Debug)]
pub(crate) struct PageStore {
    gpu: Gpu,
    shape: PageShape,
    /// Keys `[pages, kv_heads, head_dim / lanes, page, lanes]` and values `[pages, kv_heads, page, head_dim]`.
    layers: Vec<[DeviceBuffer; 2]>,
    pages: usize,
    /// The store doubles up to this number of pages.
    pages_max: usize,
    /// The number of times that the buffers were replaced.
    version: u64,
    free: Arc<Mutex<Vec<u32>>>,
}

/// The pages of one sequence. Dropping it frees them.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    ids: Vec<u32>,
    free: Option<Arc<Mutex<Vec<u32>>>>,
}

impl Pages {
    pub(super) fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The slot of a position in the store. The sequence has reserved it.
    pub(super) fn slot(&self, position: usize) -> u32 {
        let page = self.ids.get(position / PAGE_TOKENS).copied();
        // The decoder reserves it before the step.
        page.unwrap_or_else(|| panic!("a sequence has no page for position {position}")) * PAGE_TOKENS as u32
            + (position % PAGE_TOKENS) as u32
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        if let Some(free) = &self.free {
            free.lock().unwrap_or_else(PoisonError::into_inner).append(&mut self.ids);
        }
    }
}

impl PageStore {
    /// A store that has no memory yet, for at most `tokens_max` positions of all sequences.
    pub(crate) fn new(gpu: Gpu, shape: PageShape, tokens_max: usize) -> Self {
        Self {
            gpu,
            shape,
            layers: Vec::new(),
            pages: 0,
            pages_max: tokens_max / PAGE_TOKENS,
            version: 0,
            free: Arc::default(),
        }
    }

    pub(crate) fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    pub(crate) fn shape(&self) -> PageShape {
        self.shape
    }

    /// A number that changes whenever the buffers are replaced.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Keys and values of a layer.
    pub(super) fn layer(&self, layer: usize) -> &[DeviceBuffer; 2] {
        &self.layers[layer]
    }

    /// Grows `pages` to `tokens` positions.
    ///
    /// # Errors
    /// The device's message if it has no memory. Nothing has changed then.
    pub(crate) fn reserve(&mut self, pages: &mut Pages, tokens: usize) -> Result<(), String> {
        let missing = tokens.div_ceil(PAGE_TOKENS).saturating_sub(pages.ids.len());
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).len();
        if free < missing {
            let needed = self.pages + missing - free;
            let wanted = PAGES_FIRST.max(2 * self.pages).min(self.pages_max).max(needed);
            // A device without memory for twice as many pages may have memory for the needed ones.
            self.grow(wanted).or_else(|error| if wanted > needed { self.grow(needed) } else { Err(error) })?;
        }
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let rest = free.len() - missing;
        pages.ids.extend(free.drain(rest..).rev());
        pages.free.get_or_insert_with(|| self.free.clone());
        Ok(())
    }

    /// New pages for `room` positions, which begin with the first `tokens` positions of `from`.
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve).
    pub(crate) fn copy(&mut self, from: &Pages, tokens: usize, room: usize) -> Result<Pages, String> {
        let mut to = Pages::default();
        self.reserve(&mut to, room.max(tokens))?;
        let used = tokens.div_ceil(PAGE_TOKENS);
        let moves: Vec<u32> = from.ids.iter().zip(&to.ids).take(used).flat_map(|(from, to)| [*from, *to]).collect();
        if !moves.is_empty() {
            let moves = self.gpu.upload(&moves);
            for buffer in self.layers.iter().flatten() {
                self.copy_pages(buffer, buffer, &moves);
            }
        }
        Ok(to)
    }

    /// Grows the store to `pages` pages. Their contents stay.
    fn grow(&mut self, pages: usize) -> Result<(), String> {
        let room = || self.gpu.room(pages * self.shape.elements());
        let fresh: Vec<[DeviceBuffer; 2]> = (0..self.shape.layers).map(|_| [room(), room()]).collect();
        let moves: Vec<u32> = (0..self.pages as u32).flat_map(|page| [page, page]).collect();
        if !moves.is_empty() {
            let moves = self.gpu.upload(&moves);
            for (old, new) in self.layers.iter().flatten().zip(fresh.iter().flatten()) {
                self.copy_pages(old, new, &moves);
            }
        }
        self.gpu.check(fresh.iter().flatten())?;
        self.layers = fresh;
        self.version += 1;
        // The page with the lowest number is taken first.
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.splice(0..0, (self.pages as u32..pages as u32).rev());
        self.pages = pages;
        Ok(())
    }

    fn copy_pages(&self, from: &DeviceBuffer, to: &DeviceBuffer, moves: &DeviceBuffer) {
        let lanes = lanes_of(self.shape.elements());
        let vectors = self.shape.elements() / lanes;
        let count = moves.count / 2;
        let columns = count.min(CUBES_MAX);
        // SAFETY: both buffers have the pages that moves names. Units past the end of a page or of the moves return.
        unsafe {
            copy_pages::launch_unchecked(
                &self.gpu.client,
                CubeCount::Static(columns as u32, count.div_ceil(columns) as u32, 1),
                CubeDim::new_1d(UNITS),
                lanes,
                from.argument(lanes),
                to.argument(lanes),
                moves.argument(1),
                count as u32,
                vectors,
            );
        }
    }
}

#[cube(launch_unchecked)]
fn copy_pages<N: Size>(
    from: &[Vector<u32, N>],
    to: &mut [Vector<u32, N>],
    moves: &[u32],
    count: u32,
    #[comptime] vectors: usize,
) {
    let own = (CUBE_POS_Y * CUBE_COUNT_X + CUBE_POS_X) as usize;
    if own < count as usize {
        let source = moves[2 * own] as usize * vectors;
        let target = moves[2 * own + 1] as usize * vectors;
        let mut at = UNIT_POS as usize;
        while at < vectors {
            to[target + at] = from[source + at];
            at += CUBE_DIM as usize;
        }
    }
}
