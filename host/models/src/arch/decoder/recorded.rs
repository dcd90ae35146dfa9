//! Decode steps that a GPU replays: recorded once for each number of sequences, then launched as a whole with other rows.

use burn::tensor::{Device, Tensor};
use firebox_contract::Logits;
use firebox_contract::limits::{GPU_REPLAY_SEQUENCES_MAX, GPU_REPLAY_STEPS_MIN};

use crate::error::ModelError;
use crate::kernel::{Gpu, Input, PageStore, PagedRows, Recording, RowPlan};

/// The recorded steps of a model.
#[derive(Debug)]
pub(super) struct RecordedSteps {
    /// By the number of rows, from 1 on; for each, short and long sequences.
    sizes: [[StepSize; 2]; GPU_REPLAY_SEQUENCES_MAX],
    /// The version of the page store when they were recorded.
    version: u64,
    /// The device cannot record, or a recording failed.
    refused: bool,
}

#[derive(Debug, Default)]
struct StepSize {
    /// Steps of this size so far.
    seen: u32,
    recorded: Option<RecordedStep>,
}

#[derive(Debug)]
struct RecordedStep {
    x: Input,
    rows: PagedRows,
    recording: Recording<Tensor<2>>,
}

/// A step: its input, `[rows, width]`, and the plan of its rows.
pub(super) struct StepInput<'a> {
    pub(super) values: &'a [f32],
    pub(super) plan: &'a RowPlan,
    pub(super) rows: usize,
    pub(super) device: &'a Device,
    /// For error messages.
    pub(super) device_name: &'a str,
}

impl Default for RecordedSteps {
    fn default() -> Self {
        Self { sizes: std::array::from_fn(|_| Default::default()), version: 0, refused: false }
    }
}

impl RecordedSteps {
    /// Steps that are never recorded: they read results from the device on their way.
    pub(super) fn refused() -> Self {
        Self { refused: true, ..Self::default() }
    }

    /// The logits of a decode step, `[rows, vocabulary]`, read by `read`: replayed if a step of this size is recorded,
    /// else from `compute`, which is recorded while it runs. `None` if the step has prefill rows or if its size is not to
    /// be recorded (yet).
    pub(super) fn run<C, R>(
        &mut self,
        step: &StepInput<'_>,
        store: &PageStore,
        compute: C,
        read: R,
    ) -> Result<Option<Vec<Logits>>, ModelError>
    where
        C: FnMut(&Input, &PagedRows) -> Result<Tensor<2>, ModelError> + Send,
        R: FnOnce(Tensor<2>) -> Result<Vec<Logits>, ModelError> + Send,
    {
        if !step.plan.is_decode() || self.refused {
            return Ok(None);
        }
        if self.version != store.version() {
            // The recordings write to buffers that are gone.
            *self = Self { version: store.version(), ..Self::default() };
        }
        let Some([short, long]) = step.rows.checked_sub(1).and_then(|at| self.sizes.get_mut(at)) else {
            return Ok(None);
        };
        let size = if step.plan.is_long() { long } else { short };
        let gpu = store.gpu();
        if let Some(recorded) = &size.recorded
            && recorded.recording.is_of_this_thread()
            && recorded.rows.overwrite(step.plan, gpu)
        {
            recorded.x.overwrite(step.values, gpu);
            let failed = |reason| ModelError::Device { device: step.device_name.to_owned(), reason };
            return read(recorded.recording.replay().map_err(failed)?).map(Some);
        }
        size.recorded = None;
        size.seen += 1;
        if size.seen < GPU_REPLAY_STEPS_MIN {
            return Ok(None);
        }
        let (logits, recorded) = gpu.exactly(|| record(step, gpu, compute, read))?;
        self.refused = recorded.is_none();
        size.recorded = recorded;
        Ok(Some(logits))
    }
}

fn record(
    step: &StepInput<'_>,
    gpu: &Gpu,
    mut compute: impl FnMut(&Input, &PagedRows) -> Result<Tensor<2>, ModelError>,
    read: impl FnOnce(Tensor<2>) -> Result<Vec<Logits>, ModelError>,
) -> Result<(Vec<Logits>, Option<RecordedStep>), ModelError> {
    let x = Input::new(step.values, step.rows, gpu, step.device);
    let rows = step.plan.upload_roomy(gpu);
    let (logits, recording) = gpu.record(|| compute(&x, &rows), read)?;
    Ok((logits, recording.map(|recording| RecordedStep { x, rows, recording })))
}
