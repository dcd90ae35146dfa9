//! The head of a cross-encoder: from the pooled vector of a pair of texts to its score, with the activation that
//! sentence-transformers' `CrossEncoder` applies.

use firebox_contract::EncoderTask;
use firebox_kernels::elements::Activation;

use crate::arch::{CLASS_END, ClassifierConfig, EncoderArchitecture, check_labels};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::json::JsonFile;
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::layers::{IN_TORCH, LayerNorm, activation};
use crate::sentence::dense::Dense;
use crate::sentence::head::{EmbeddingHead, HeadStep};
use crate::sentence::{Modules, Pooling};

/// The head of a cross-encoder, before its weights are loaded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClassifierHead {
    layers: ClassifierConfig,
    /// The activation of the score.
    score: Activation,
}

impl ClassifierHead {
    /// Reads the head if `name` is a class for sequence classification and no pooling makes vectors of texts.
    ///
    /// # Errors
    /// Names the key that is not right: a cross-encoder has one label and no modules after the classifier.
    pub(crate) fn read(
        checkpoint: &Checkpoint,
        modules: Option<&Modules>,
        config: &JsonFile,
        name: &str,
        architecture: &EncoderArchitecture,
    ) -> Result<Option<Self>, ModelError> {
        if !name.ends_with(CLASS_END) || modules.is_some_and(Modules::pools) {
            return Ok(None);
        }
        modules.map(Modules::only_transformer).transpose()?;
        check_labels(config)?;
        let score = score_activation(checkpoint, modules, config)?;
        Ok(Some(Self { layers: (architecture.classifier)(config)?, score }))
    }
}

/// `activation_fn` of `config_sentence_transformers.json`, else the one of `config.json` under its newer or older name. The
/// default is the sigmoid, also for a class of another package, which sentence-transformers does not trust.
fn score_activation(
    checkpoint: &Checkpoint,
    modules: Option<&Modules>,
    config: &JsonFile,
) -> Result<Activation, ModelError> {
    let settings = modules.map(|_| checkpoint.json("config_sentence_transformers.json")).transpose()?.flatten();
    let newer = config.optional_object("sentence_transformers")?;
    let key = "activation_fn";
    let named = [
        settings.as_ref().map(|file| (file, key)),
        newer.as_ref().map(|file| (file, key)),
        Some((config, "sbert_ce_default_activation_function")),
    ];
    for (file, key) in named.into_iter().flatten() {
        let Some(class) = file.optional_text(key)? else { continue };
        if !class.starts_with("torch.") {
            file.warn(key, "is not used, since it is not a class of torch; scores go through a sigmoid");
            continue;
        }
        return activation::in_torch(class).ok_or_else(|| ModelError::Unsupported {
            file: file.file.clone(),
            key,
            found: class.chars().take(80).collect(),
            supported: IN_TORCH,
        });
    }
    Ok(Activation::Sigmoid)
}

impl EmbeddingHead {
    /// Loads the head of a cross-encoder whose tokens have vectors of `hidden` numbers. Its vectors are scores, one number
    /// each.
    ///
    /// # Errors
    /// The tensor that is missing or wrong.
    pub(crate) fn of_classifier(
        weights: &Weights<'_>,
        head: &ClassifierHead,
        hidden: usize,
    ) -> Result<Self, ModelError> {
        let ClassifierHead { layers: config, score } = head;
        let linear = |name: &str, width, bias| weights.linear(&[(name.to_owned(), width)], hidden, bias);
        let dense = linear(config.dense, hidden, config.has_dense_bias)?;
        let mut steps = vec![HeadStep::Dense(Box::new(Dense::new(dense, config.activation, hidden)))];
        if let Some((name, epsilon, has_bias)) = config.norm {
            steps.push(HeadStep::Norm(Box::new(LayerNorm::load(weights, name, hidden, epsilon, has_bias)?)));
        }
        let output = linear(config.output, 1, true)?;
        steps.push(HeadStep::Dense(Box::new(Dense::new(output, *score, 1))));
        let pooling = if config.pools_mean { Pooling::default() } else { Pooling::first() };
        Ok(Self { task: EncoderTask::Rank, pooling, steps, width: 1 })
    }
}
