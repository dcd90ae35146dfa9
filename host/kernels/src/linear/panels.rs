//! `x` packed for GEMM: a panel has the rows of two vector registers, column after column.

use crate::threads::share_chunks;

/// If all panels together have at most this many bytes, all their columns are taken in one pass: panels of this size
/// come from the second or third-level cache in time, and weights are read as they are stored, one row to its end after
/// another.
const WHOLE_BYTES: usize = 768 << 10;
/// Bytes of a panel in one pass otherwise: half of a first-level cache.
const STEP_BYTES: usize = 16 << 10;
/// Bytes of a cache line, to which panels are aligned.
const LINE_BYTES: usize = 64;
/// Elements of `x` up to which packing is not worth a second thread.
const SERIAL_ELEMENTS: usize = 1 << 14;
/// Columns copied from a row at a time: a cache line.
const COPIED_COLUMNS: usize = LINE_BYTES / size_of::<f32>();

/// Packed `x`.
#[derive(Debug)]
pub(super) struct Panels {
    values: Vec<f32>,
    /// Values before the first cache line.
    skipped: usize,
    lanes: usize,
    rows: usize,
    columns: usize,
}

/// Some columns of one panel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Panel<'a> {
    /// The first row of `x` in the panel.
    pub(super) first: usize,
    /// The number of rows of `x` in the panel.
    pub(super) rows: usize,
    /// The number of rows that the panel has room for: the lanes of one vector or of two. Rows beyond `rows` are zero.
    pub(super) width: usize,
    /// `[columns, width]`.
    pub(super) values: &'a [f32],
}

impl Panels {
    /// `x` is `[rows, columns]`, row-major. `lanes` is the number of lanes of a vector.
    pub(super) fn new(x: &[f32], columns: usize, lanes: usize) -> Self {
        let rows = x.len() / columns.max(1);
        let width = (rows / (2 * lanes) * 2 + (rows % (2 * lanes)).div_ceil(lanes)) * lanes;
        let room = LINE_BYTES / size_of::<f32>();
        let mut values = vec![0.0; width * columns + room];
        let skipped = values.as_ptr().align_offset(LINE_BYTES).min(room);
        let out = &mut values[skipped..skipped + width * columns];
        let most = (2 * lanes * columns).max(1);
        if x.len() <= SERIAL_ELEMENTS {
            out.chunks_mut(most).zip(x.chunks(most)).for_each(|(out, x)| pack(x, columns, out));
        } else {
            // Each chunk is a panel. The last one may have fewer rows of `x` than it has room for.
            share_chunks(out, most, |index, out| pack(&x[index * most..x.len().min((index + 1) * most)], columns, out));
        }
        Self { values, skipped, lanes, rows, columns }
    }

    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    /// The number of rows that all panels together have room for.
    pub(super) fn width(&self) -> usize {
        (self.values.len() - LINE_BYTES / size_of::<f32>()) / self.columns.max(1)
    }

    /// Columns of one pass.
    pub(super) fn step(&self) -> usize {
        let most = STEP_BYTES / (2 * self.lanes * size_of::<f32>());
        let whole = self.width() * self.columns * size_of::<f32>() <= WHOLE_BYTES;
        if whole { self.columns.max(1) } else { most }
    }

    /// Columns `from..to` of every panel.
    pub(super) fn part(&self, from: usize, to: usize) -> impl Iterator<Item = Panel<'_>> {
        let most = 2 * self.lanes;
        (0..self.rows).step_by(most).map(move |first| {
            let rows = (self.rows - first).min(most);
            let width = rows.next_multiple_of(self.lanes);
            let start = self.skipped + first * self.columns;
            Panel { first, rows, width, values: &self.values[start + from * width..start + to * width] }
        })
    }
}

/// Packs the rows `x` of one panel.
pub(super) fn pack(x: &[f32], columns: usize, out: &mut [f32]) {
    let width = out.len() / columns;
    for (block, out) in out.chunks_mut(COPIED_COLUMNS * width).enumerate() {
        for (lane, row) in x.chunks_exact(columns).enumerate() {
            let values = &row[block * COPIED_COLUMNS..];
            out[lane..].iter_mut().step_by(width).zip(values).for_each(|(out, value)| *out = *value);
        }
    }
}
