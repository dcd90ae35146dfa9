//! The modules of a folder after the transformer.

use burn::tensor::{DType, Device, Tensor, TensorData};
use firebox_contract::EncoderTask;
use firebox_contract::model::encoder::to_unit_length;

use crate::checkpoint::Checkpoint;
use crate::checkpoint::json::JsonFile;
use crate::error::ModelError;
use crate::layers::LayerNorm;
use crate::metadata::{DENSE, NORMALIZE, POOLING, Table};
use crate::sentence::dense::Dense;
use crate::sentence::{Modules, Pooling};

/// The pooling and the modules after it.
#[derive(Debug)]
pub(crate) struct EmbeddingHead {
    pub(crate) task: EncoderTask,
    pub(crate) pooling: Pooling,
    pub(super) steps: Vec<HeadStep>,
    /// Numbers of a text's vector.
    pub(crate) width: usize,
}

#[derive(Debug)]
pub(super) enum HeadStep {
    Normalize,
    Dense(Box<Dense>),
    Norm(Box<LayerNorm>),
}

impl EmbeddingHead {
    /// Reads the modules and their weights. Without `modules.json` the pooling is the mean, as in
    /// sentence-transformers. A token's vector has `hidden` numbers.
    ///
    /// # Errors
    /// Names the module, key or tensor that is not right.
    pub(crate) fn read(
        checkpoint: &Checkpoint,
        modules: Option<&Modules>,
        hidden: usize,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let Some(modules) = modules else {
            return Ok(Self {
                task: EncoderTask::Embed,
                pooling: Pooling::default(),
                steps: Vec::new(),
                width: hidden,
            });
        };
        let mut head: Option<Self> = None;
        for (kind, folder) in modules.after_transformer() {
            match (kind, &mut head) {
                // A later pooling starts again from the vectors of the tokens.
                ("Pooling", head) => {
                    let pooling = Pooling::read(&needed(checkpoint, folder, &POOLING)?)?;
                    *head = Some(Self {
                        task: EncoderTask::Embed,
                        width: pooling.width(hidden),
                        pooling,
                        steps: Vec::new(),
                    });
                }
                ("Normalize", Some(head)) => {
                    check_names(config(checkpoint, folder, &NORMALIZE)?.as_ref())?;
                    head.steps.push(HeadStep::Normalize);
                }
                ("Dense", Some(head)) => {
                    let config = needed(checkpoint, folder, &DENSE)?;
                    check_names(Some(&config))?;
                    let dense = Dense::read(&checkpoint.subfolder(folder)?, &config, head.width, device)?;
                    head.width = dense.width;
                    head.steps.push(HeadStep::Dense(Box::new(dense)));
                }
                // Dropout has no effect outside of training.
                ("Dropout", Some(_)) => {}
                (kind, _) => {
                    let reason = format!("has the module \"{kind}\" at a position where it is not allowed");
                    return Err(ModelError::Config { file: modules.file.clone(), key: "type".to_owned(), reason });
                }
            }
        }
        head.ok_or_else(|| ModelError::Config {
            file: modules.file.clone(),
            key: "type".to_owned(),
            reason: "names no Pooling, so that there is no vector of a text".to_owned(),
        })
    }

    /// The modules after the pooling: `[texts, pooling's width]` to `[texts, width]`.
    ///
    /// # Errors
    /// `Device` when the device fails.
    pub(crate) fn finish(&self, pooled: Vec<f32>, hidden: usize, device: &Device) -> Result<Vec<f32>, ModelError> {
        let (mut vectors, mut width) = (pooled, self.pooling.width(hidden));
        for step in &self.steps {
            match step {
                HeadStep::Normalize => vectors.chunks_exact_mut(width.max(1)).for_each(to_unit_length),
                HeadStep::Dense(dense) => {
                    vectors = on_device(vectors, width, device, |x| dense.forward(x))?;
                    width = dense.width;
                }
                HeadStep::Norm(norm) => vectors = on_device(vectors, width, device, |x| norm.forward(x))?,
            }
        }
        Ok(vectors)
    }
}

/// Computes a step of rows of `width` numbers.
fn on_device(
    rows: Vec<f32>,
    width: usize,
    device: &Device,
    step: impl FnOnce(Tensor<2>) -> Tensor<2>,
) -> Result<Vec<f32>, ModelError> {
    let shape = [rows.len() / width.max(1), width];
    let x = Tensor::from_data(TensorData::new(rows, shape), (device, DType::F32));
    step(x)
        .try_into_vec_as::<f32>()
        .map_err(|error| ModelError::Device { device: format!("{device:?}"), reason: error.to_string() })
}

fn config(checkpoint: &Checkpoint, folder: &str, table: &'static Table) -> Result<Option<JsonFile>, ModelError> {
    if folder.is_empty() { Ok(None) } else { checkpoint.json_as(&format!("{folder}/config.json"), Some(table)) }
}

fn needed(checkpoint: &Checkpoint, folder: &str, table: &'static Table) -> Result<JsonFile, ModelError> {
    let remedy = "modules.json names it; download the checkpoint again";
    let missing =
        || ModelError::MissingFile { file: checkpoint.source.path_of(&format!("{folder}/config.json")), remedy };
    config(checkpoint, folder, table)?.ok_or_else(missing)
}

/// Refuses modules that read or write other vectors than the text's, such as each token's.
fn check_names(config: Option<&JsonFile>) -> Result<(), ModelError> {
    let Some(config) = config else { return Ok(()) };
    for key in ["module_input_name", "module_output_name"] {
        config.only(key, "sentence_embedding")?;
    }
    Ok(())
}
