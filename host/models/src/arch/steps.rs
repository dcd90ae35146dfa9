//! Steps of decode that a GPU runs as a whole: recorded once for each number of sequences, then launched with other rows.

use burn::tensor::{Device, Tensor};
use firebox_contract::Logits;
use firebox_contract::limits::{GPU_REPLAY_SEQUENCES_MAX, GPU_REPLAY_STEPS_MIN};

use crate::error::ModelError;
use crate::kernel::{Gpu, Input, PageStore, PagedRows, Recording, RowPlan};

/// The recorded steps of a model.
#[derive(Debug)]
pub(super) struct Steps {
    /// By their rows, from one on, of short and of long sequences.
    sizes: [[Size; 2]; GPU_REPLAY_SEQUENCES_MAX],
    /// That of the store when they were recorded.
    version: u64,
    /// The device cannot record, or failed to.
    refused: bool,
}

#[derive(Debug, Default)]
struct Size {
    /// Steps of this size so far.
    seen: u32,
    recorded: Option<Recorded>,
}

#[derive(Debug)]
struct Recorded {
    x: Input,
    rows: PagedRows,
    step: Recording<Tensor<2>>,
}

/// A pass: its input, `[rows, width]`, and where its rows are.
pub(super) struct Pass<'a> {
    pub(super) values: &'a [f32],
    pub(super) plan: &'a RowPlan,
    pub(super) rows: usize,
    pub(super) device: &'a Device,
    /// For people.
    pub(super) device_name: &'a str,
}

impl Default for Steps {
    fn default() -> Self {
        Self { sizes: std::array::from_fn(|_| Default::default()), version: 0, refused: false }
    }
}

impl Steps {
    /// The logits of a step of decode: what `read` makes of `[rows, vocabulary]`, from a recorded step or from `compute`, which
    /// is recorded meanwhile. `None` where the pass is no step, or of none that is recorded.
    pub(super) fn run<C, R>(
        &mut self,
        pass: &Pass<'_>,
        store: &PageStore,
        compute: C,
        read: R,
    ) -> Result<Option<Vec<Logits>>, ModelError>
    where
        C: FnMut(&Input, &PagedRows) -> Result<Tensor<2>, ModelError> + Send,
        R: FnOnce(Tensor<2>) -> Result<Vec<Logits>, ModelError> + Send,
    {
        if !pass.plan.is_step() || self.refused {
            return Ok(None);
        }
        if self.version != store.version() {
            // They write to buffers that are gone.
            *self = Self { version: store.version(), ..Self::default() };
        }
        let Some([short, long]) = pass.rows.checked_sub(1).and_then(|at| self.sizes.get_mut(at)) else {
            return Ok(None);
        };
        let size = if pass.plan.is_long() { long } else { short };
        let gpu = store.gpu();
        if let Some(recorded) = &size.recorded
            && recorded.step.is_here()
            && recorded.rows.overwrite(pass.plan, gpu)
        {
            recorded.x.overwrite(pass.values, gpu);
            let failed = |reason| ModelError::Device { device: pass.device_name.to_owned(), reason };
            return read(recorded.step.replay().map_err(failed)?).map(Some);
        }
        size.recorded = None;
        size.seen += 1;
        if size.seen < GPU_REPLAY_STEPS_MIN {
            return Ok(None);
        }
        let (logits, recorded) = gpu.exactly(|| record(pass, gpu, compute, read))?;
        self.refused = recorded.is_none();
        size.recorded = recorded;
        Ok(Some(logits))
    }
}

fn record(
    pass: &Pass<'_>,
    gpu: &Gpu,
    mut compute: impl FnMut(&Input, &PagedRows) -> Result<Tensor<2>, ModelError>,
    read: impl FnOnce(Tensor<2>) -> Result<Vec<Logits>, ModelError>,
) -> Result<(Vec<Logits>, Option<Recorded>), ModelError> {
    let x = Input::new(pass.values, pass.rows, gpu, pass.device);
    let rows = pass.plan.upload_roomy(gpu);
    let (logits, step) = gpu.record(|| compute(&x, &rows), read)?;
    Ok((logits, step.map(|step| Recorded { x, rows, step })))
}
