//! BERT (Devlin et al. 2019) as a text encoder: layers with norms after their sums, then one vector per text.

use burn::tensor::{DType, Device, Tensor, TensorData, activation, module};
use firebox_contract::limits;

use crate::activation::{self as functions, Activation};
use crate::checkpoint::json::JsonFile;
use crate::checkpoint::tensors::StoredTensor;
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::kernel::{Attention, HeadCache, Layout, Run, Sight, host_row, layer_norm, matmul};
use crate::linear::Linear;
use crate::load::is_cpu;
use crate::sentence::{Pooling, Rows};

/// Added to the score of a padding token.
const MASKED: f32 = -1e30;

/// The shape of a BERT.
#[derive(Debug, Clone)]
pub(crate) struct BertConfig {
    pub(crate) hidden: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) feed_forward: usize,
    pub(crate) vocabulary: usize,
    pub(crate) positions: usize,
    pub(crate) token_types: usize,
    pub(crate) norm_epsilon: f64,
    pub(crate) activation: Activation,
}

impl BertConfig {
    /// Reads the file; what it leaves out is as in transformers' `BertConfig`.
    pub(crate) fn read(file: &JsonFile) -> Result<Self, ModelError> {
        file.only("position_embedding_type", "absolute")?;
        if file.flag("is_decoder", false)? {
            return Err(
                file.wrong("is_decoder", "is true; a BERT that sees only what came before is no text encoder here")
            );
        }
        let hidden = file.number_or("hidden_size", 768, 1..=limits::MODEL_HIDDEN_MAX)?;
        let heads = file.number_or("num_attention_heads", 12, 1..=limits::MODEL_HEADS_MAX)?;
        if !hidden.is_multiple_of(heads) {
            return Err(file.wrong("num_attention_heads", format!("is {heads}, which does not divide {hidden}")));
        }
        Ok(Self {
            hidden,
            heads,
            layers: file.number_or("num_hidden_layers", 12, 1..=limits::MODEL_LAYERS_MAX)?,
            feed_forward: file.number_or("intermediate_size", 3_072, 1..=limits::MODEL_HIDDEN_MAX)?,
            vocabulary: file.number_or("vocab_size", 30_522, 1..=limits::MODEL_VOCABULARY_TOKENS_MAX)?,
            positions: file.number_or("max_position_embeddings", 512, 1..=limits::CONTEXT_TOKENS_MAX)?,
            token_types: file.number_or("type_vocab_size", 2, 1..=limits::MODEL_HEADS_MAX)?,
            norm_epsilon: file.float_or("layer_norm_eps", 1e-12, 0.0..=1.0)?,
            activation: read_activation(file)?,
        })
    }
}

fn read_activation(file: &JsonFile) -> Result<Activation, ModelError> {
    let name = file.optional_text("hidden_act")?.unwrap_or("gelu");
    Activation::in_config(name).ok_or_else(|| ModelError::Unsupported {
        file: file.file.clone(),
        key: "hidden_act",
        found: name.chars().take(40).collect(),
        supported: functions::IN_CONFIG,
    })
}

/// Layer norm (Ba et al. 2016).
#[derive(Debug)]
struct LayerNorm {
    weight: Tensor<1>,
    bias: Tensor<1>,
    /// Weight and bias where the kernels of the CPU read them.
    rows: [Vec<f32>; 2],
    epsilon: f64,
}

impl LayerNorm {
    fn load(weights: &Weights<'_>, name: &str, config: &BertConfig) -> Result<Self, ModelError> {
        let weight = weights.vector(&format!("{name}.weight"), config.hidden)?;
        let bias = weights.vector(&format!("{name}.bias"), config.hidden)?;
        Ok(Self { rows: [host_row(&weight), host_row(&bias)], weight, bias, epsilon: config.norm_epsilon })
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        if is_cpu(&x.device()) {
            let [weight, bias] = &self.rows;
            return layer_norm(x, weight, bias, self.epsilon as f32);
        }
        module::layer_norm(x, self.weight.clone(), Some(self.bias.clone()), self.epsilon)
    }
}

#[derive(Debug)]
struct Layer {
    qkv: Linear,
    attention: Linear,
    attention_norm: LayerNorm,
    wide: Linear,
    narrow: Linear,
    norm: LayerNorm,
}

impl Layer {
    fn load(weights: &Weights<'_>, config: &BertConfig, layer: usize) -> Result<Self, ModelError> {
        let name = |part: &str| format!("encoder.layer.{layer}.{part}");
        let (hidden, wide) = (config.hidden, config.feed_forward);
        let qkv = ["query", "key", "value"].map(|part| (name(&format!("attention.self.{part}")), hidden));
        let linear = |part: &str, output, input| weights.linear(&[(name(part), output)], input, true);
        Ok(Self {
            qkv: weights.linear(&qkv, hidden, true)?,
            attention: linear("attention.output.dense", hidden, hidden)?,
            attention_norm: LayerNorm::load(weights, &name("attention.output.LayerNorm"), config)?,
            wide: linear("intermediate.dense", wide, hidden)?,
            narrow: linear("output.dense", hidden, wide)?,
            norm: LayerNorm::load(weights, &name("output.LayerNorm"), config)?,
        })
    }

    /// `x` is `[rows, hidden]`.
    fn forward(&self, x: Tensor<2>, texts: &mut Texts, config: &BertConfig) -> Tensor<2> {
        let qkv = self.qkv.forward(x.clone());
        let mixed = self.attention.forward(texts.mix(qkv, config.heads));
        let x = self.attention_norm.forward(x + mixed);
        let wide = config.activation.apply(self.wide.forward(x.clone()));
        self.norm.forward(x + self.narrow.forward(wide))
    }
}

/// What the layers of a pass have in common.
enum Texts {
    /// On the CPU a text has as many rows as tokens, and its keys and values have a place of their own.
    Host(Vec<(usize, HeadCache)>),
    /// Elsewhere all are padded to the same number; this is added to scores, `[texts, 1, 1, tokens]`.
    Device(Box<Tensor<4>>),
}

impl Texts {
    /// Attention of each text over itself: `[rows, 3 * hidden]` to `[rows, hidden]`.
    fn mix(&mut self, qkv: Tensor<2>, heads: usize) -> Tensor<2> {
        match self {
            Self::Host(texts) => {
                let mut first = 0;
                let mut runs = Vec::with_capacity(texts.len());
                for (tokens, cache) in texts {
                    runs.push(Run { first, tokens: *tokens, start: 0, cache });
                    first += *tokens;
                }
                let attention = Attention { heads, norms: None, cos: &[], sin: &[], sight: Sight::All };
                attention.forward(qkv, &mut runs)
            }
            Self::Device(mask) => mix_on_device(qkv, heads, Tensor::clone(mask)),
        }
    }
}

fn mix_on_device(qkv: Tensor<2>, heads: usize, mask: Tensor<4>) -> Tensor<2> {
    let [texts, _, _, tokens] = mask.dims();
    let [rows, columns] = qkv.dims();
    let width = columns / (3 * heads);
    let qkv = qkv.reshape([texts, tokens, 3 * heads, width]).swap_dims(1, 2);
    let part = |index: usize| qkv.clone().narrow(1, index * heads, heads);
    let queries = part(0) * (1.0 / (width as f64).sqrt());
    let scores = matmul(queries, part(1).swap_dims(2, 3)) + mask;
    let mixed = matmul(activation::softmax(scores, 3), part(2));
    mixed.swap_dims(1, 2).reshape([rows, heads * width])
}

/// A loaded BERT.
#[derive(Debug)]
pub(crate) struct BertEncoder {
    config: BertConfig,
    device: Device,
    words: StoredTensor,
    positions: StoredTensor,
    /// Row 0 of the token types: these models are given one text at a time.
    token_type: Vec<f32>,
    norm: LayerNorm,
    layers: Vec<Layer>,
}

impl BertEncoder {
    pub(crate) fn load(weights: &Weights<'_>, config: BertConfig) -> Result<Self, ModelError> {
        let hidden = config.hidden;
        let types = weights.stored("embeddings.token_type_embeddings.weight", &[config.token_types, hidden])?;
        let mut token_type = Vec::new();
        types.append_row(0, &mut token_type);
        Ok(Self {
            device: weights.device().clone(),
            words: weights.stored("embeddings.word_embeddings.weight", &[config.vocabulary, hidden])?,
            positions: weights.stored("embeddings.position_embeddings.weight", &[config.positions, hidden])?,
            token_type,
            norm: LayerNorm::load(weights, "embeddings.LayerNorm", &config)?,
            layers: (0..config.layers).map(|layer| Layer::load(weights, &config, layer)).collect::<Result<_, _>>()?,
            config,
        })
    }

    pub(crate) fn config(&self) -> &BertConfig {
        &self.config
    }

    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// One vector per text, `[texts, pooling's width]`. `ids` are padded here to `tokens` each, but not on the CPU. The
    /// first `left_out` tokens of each are no part of its pooling.
    ///
    /// # Errors
    /// `Broken` when the tokenizer makes ids the weights do not know.
    pub(crate) fn forward(
        &self,
        ids: &[&[u32]],
        left_out: &[usize],
        tokens: usize,
        pooling: &Pooling,
    ) -> Result<Tensor<2>, ModelError> {
        let (host, hidden) = (is_cpu(&self.device), self.config.hidden);
        let lengths: Vec<usize> = ids.iter().map(|text| text.len()).collect();
        let rows: Vec<Rows> =
            lengths.iter().zip(left_out).map(|(&tokens, &left_out)| Rows { tokens, left_out }).collect();
        let mut values = Vec::new();
        for text in ids {
            self.embed(text, if host { text.len() } else { tokens }, &mut values)?;
        }
        let count = values.len() / hidden;
        let mut x = self.norm.forward(self.upload(values, [count, hidden]));
        let mut texts = self.texts(&lengths, tokens);
        for layer in &self.layers {
            x = layer.forward(x, &mut texts, &self.config);
        }
        if host {
            let x = x.into_data().convert::<f32>();
            let pooled = pooling.pool_rows(x.as_slice().unwrap_or_default(), hidden, &rows);
            return Ok(self.upload(pooled, [ids.len(), pooling.width(hidden)]));
        }
        Ok(pooling.pool(&x.reshape([ids.len(), tokens, hidden]), &rows))
    }

    fn texts(&self, lengths: &[usize], tokens: usize) -> Texts {
        if is_cpu(&self.device) {
            let layout = Layout::new(self.config.heads, self.config.hidden / self.config.heads);
            return Texts::Host(lengths.iter().map(|length| (*length, HeadCache::new(layout, *length))).collect());
        }
        let hide = |length: &usize| (0..tokens).map(|at| if at < *length { 0.0 } else { MASKED }).collect::<Vec<f32>>();
        let hide = lengths.iter().flat_map(hide).collect();
        Texts::Device(Box::new(self.upload(hide, [lengths.len(), 1, 1, tokens])))
    }

    /// Appends word, position and type embeddings of one text, summed, then zeros up to `tokens`.
    fn embed(&self, text: &[u32], tokens: usize, values: &mut Vec<f32>) -> Result<(), ModelError> {
        let start = values.len();
        let mut positions = Vec::with_capacity(text.len() * self.config.hidden);
        for (position, id) in text.iter().enumerate() {
            if !self.words.append_row(*id as usize, values) || !self.positions.append_row(position, &mut positions) {
                let size = self.config.vocabulary;
                let positions = self.config.positions;
                return Err(ModelError::Broken {
                    file: "tokenizer.json".to_owned(),
                    reason: format!("token {id} at {position} is outside {size} tokens or {positions} positions"),
                });
            }
        }
        let types = self.token_type.iter().cycle();
        for ((value, position), kind) in values.iter_mut().skip(start).zip(&positions).zip(types) {
            *value += position + kind;
        }
        values.resize(start + tokens * self.config.hidden, 0.0);
        Ok(())
    }

    fn upload<const D: usize>(&self, values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
        Tensor::from_data(TensorData::new(values, shape), (&self.device, DType::F32))
    }
}
