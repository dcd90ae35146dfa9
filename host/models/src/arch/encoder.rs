//! The transformer encoder of the BERT family (Devlin et al. 2019): layers with a norm after each sum, then one vector per
//! text.

use burn::tensor::{DType, Device, Tensor, TensorData, activation, module};
use firebox_contract::limits;

use crate::checkpoint::json::JsonFile;
use crate::checkpoint::tensors::StoredTensor;
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::kernel::{Attention, AttentionMask, HeadCache, HeadCacheLayout, SequenceRows, host_row, layer_norm, matmul};
use crate::layers::{Activation, Linear};
use crate::load::is_cpu;
use crate::sentence::{Pooling, Rows};

/// Added to the score of a padding token.
const MASKED: f32 = -1e30;

/// The keys of `config.json` that [`EncoderConfig::read`] reads and that decoders do not have.
pub(crate) const CONFIG_KEYS: &[&str] = &["layer_norm_eps", "type_vocab_size", "position_embedding_type", "is_decoder"];

/// A loaded text encoder.
pub(crate) trait EncoderModel: Send {
    /// Numbers in the vector of a token.
    fn hidden(&self) -> usize;

    /// Tokens that the model has embeddings for.
    fn vocabulary(&self) -> usize;

    /// Tokens of a text at most.
    fn positions(&self) -> usize;

    fn device(&self) -> &Device;

    /// One vector per text, `[texts, pooling's width]`. On a GPU the texts, whose tokens are `ids`, are padded to `tokens`
    /// each. The first `left_out` tokens of each text are not pooled.
    ///
    /// # Errors
    /// `Broken` when the tokenizer makes ids that have no embedding.
    fn forward(
        &self,
        ids: &[&[u32]],
        left_out: &[usize],
        tokens: usize,
        pooling: &Pooling,
    ) -> Result<Tensor<2>, ModelError>;
}

/// The position embedding of a text's first token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FirstPosition {
    /// The first one.
    Zero,
    /// The one after the number of the padding token. Padding tokens within a text all have their own number's position,
    /// and do not count.
    AfterPad(usize),
}

impl FirstPosition {
    /// The positions of the tokens of a text.
    fn positions(self, text: &[u32]) -> Vec<usize> {
        match self {
            Self::Zero => (0..text.len()).collect(),
            Self::AfterPad(pad) => {
                let mut last = pad;
                let mut position = |id: &u32| {
                    let is_padding = *id as usize == pad;
                    last += usize::from(!is_padding);
                    if is_padding { pad } else { last }
                };
                text.iter().map(&mut position).collect()
            }
        }
    }

    /// Positions that no token of a text has.
    fn skipped(self) -> usize {
        match self {
            Self::Zero => 0,
            Self::AfterPad(pad) => pad + 1,
        }
    }
}

/// The shape of an encoder of the BERT family.
#[derive(Debug, Clone)]
pub(crate) struct EncoderConfig {
    pub(crate) hidden: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) feed_forward: usize,
    pub(crate) vocabulary: usize,
    /// Position embeddings.
    pub(crate) positions: usize,
    pub(crate) first_position: FirstPosition,
    pub(crate) token_types: usize,
    pub(crate) norm_epsilon: f64,
    pub(crate) activation: Activation,
}

impl EncoderConfig {
    /// Reads the file. Absent keys have the defaults of transformers' `BertConfig`, except for `vocabulary`.
    ///
    /// # Errors
    /// `Config` and `Unsupported`, with the key.
    pub(crate) fn read(file: &JsonFile, vocabulary: usize, first_position: FirstPosition) -> Result<Self, ModelError> {
        file.only("position_embedding_type", "absolute")?;
        if file.flag("is_decoder", false)? {
            let reason = "is true, which is not supported: in a text encoder every token attends to all others";
            return Err(file.wrong("is_decoder", reason));
        }
        let hidden = file.number_or("hidden_size", 768, 1..=limits::MODEL_HIDDEN_MAX)?;
        let heads = file.number_or("num_attention_heads", 12, 1..=limits::MODEL_HEADS_MAX)?;
        if !hidden.is_multiple_of(heads) {
            return Err(file.wrong("num_attention_heads", format!("is {heads}, which does not divide {hidden}")));
        }
        let positions = file.number_or("max_position_embeddings", 512, 1..=limits::CONTEXT_TOKENS_MAX)?;
        let skipped = first_position.skipped();
        if positions <= skipped {
            let reason =
                format!("is {positions}, expected more than {skipped}, since \"pad_token_id\" is {}", skipped - 1);
            return Err(file.wrong("max_position_embeddings", reason));
        }
        Ok(Self {
            hidden,
            heads,
            positions,
            first_position,
            layers: file.number_or("num_hidden_layers", 12, 1..=limits::MODEL_LAYERS_MAX)?,
            feed_forward: file.number_or("intermediate_size", 3_072, 1..=limits::MODEL_HIDDEN_MAX)?,
            vocabulary: file.number_or("vocab_size", vocabulary, 1..=limits::MODEL_VOCABULARY_TOKENS_MAX)?,
            token_types: file.number_or("type_vocab_size", 2, 1..=limits::MODEL_HEADS_MAX)?,
            norm_epsilon: file.float_or("layer_norm_eps", 1e-12, 0.0..=1.0)?,
            activation: Activation::read(file, "gelu")?,
        })
    }
}

/// Layer norm (Ba et al. 2016).
#[derive(Debug)]
struct LayerNorm {
    weight: Tensor<1>,
    bias: Tensor<1>,
    /// Weight and bias for the kernels of the CPU.
    rows: [Vec<f32>; 2],
    epsilon: f64,
}

impl LayerNorm {
    fn load(weights: &Weights<'_>, name: &str, config: &EncoderConfig) -> Result<Self, ModelError> {
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
struct EncoderLayer {
    qkv: Linear,
    attention: Linear,
    attention_norm: LayerNorm,
    wide: Linear,
    narrow: Linear,
    norm: LayerNorm,
}

impl EncoderLayer {
    fn load(weights: &Weights<'_>, config: &EncoderConfig, layer: usize) -> Result<Self, ModelError> {
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
    fn forward(&self, x: Tensor<2>, texts: &mut TextRows, config: &EncoderConfig) -> Tensor<2> {
        let qkv = self.qkv.forward(x.clone());
        let attended = self.attention.forward(texts.attend(qkv, config.heads));
        let x = self.attention_norm.forward(x + attended);
        let wide = config.activation.apply(self.wide.forward(x.clone()));
        self.norm.forward(x + self.narrow.forward(wide))
    }
}

/// The rows of the texts of a forward pass, for attention.
enum TextRows {
    /// On the CPU a text has as many rows as tokens, and a cache for the keys and values of the current layer.
    Host(Vec<(usize, HeadCache)>),
    /// On a GPU all texts are padded to the same number of tokens. This is added to the scores, `[texts, 1, 1, tokens]`.
    Device(Box<Tensor<4>>),
}

impl TextRows {
    /// Attention of each text over itself: `[rows, 3 * hidden]` to `[rows, hidden]`.
    fn attend(&mut self, qkv: Tensor<2>, heads: usize) -> Tensor<2> {
        match self {
            Self::Host(texts) => {
                let mut first = 0;
                let mut rows = Vec::with_capacity(texts.len());
                for (tokens, cache) in texts {
                    rows.push(SequenceRows { first, tokens: *tokens, start: 0, cache });
                    first += *tokens;
                }
                let attention = Attention { heads, norms: None, cos: &[], sin: &[], mask: AttentionMask::Full };
                attention.forward(qkv, &mut rows)
            }
            Self::Device(mask) => attend_on_device(qkv, heads, Tensor::clone(mask)),
        }
    }
}

fn attend_on_device(qkv: Tensor<2>, heads: usize, mask: Tensor<4>) -> Tensor<2> {
    let [texts, _, _, tokens] = mask.dims();
    let [rows, columns] = qkv.dims();
    let width = columns / (3 * heads);
    let qkv = qkv.reshape([texts, tokens, 3 * heads, width]).swap_dims(1, 2);
    let part = |index: usize| qkv.clone().narrow(1, index * heads, heads);
    let queries = part(0) * (1.0 / (width as f64).sqrt());
    let scores = matmul(queries, part(1).swap_dims(2, 3)) + mask;
    let attended = matmul(activation::softmax(scores, 3), part(2));
    attended.swap_dims(1, 2).reshape([rows, heads * width])
}

/// A loaded encoder of the BERT family.
#[derive(Debug)]
pub(crate) struct TransformerEncoder {
    config: EncoderConfig,
    device: Device,
    words: StoredTensor,
    positions: StoredTensor,
    /// Row 0 of the token types: the input is always a single text.
    token_type: Vec<f32>,
    norm: LayerNorm,
    layers: Vec<EncoderLayer>,
}

impl TransformerEncoder {
    pub(crate) fn load(weights: &Weights<'_>, config: EncoderConfig) -> Result<Self, ModelError> {
        let hidden = config.hidden;
        let types = weights.stored("embeddings.token_type_embeddings.weight", &[config.token_types, hidden])?;
        let mut token_type = Vec::new();
        types.append_row(0, &mut token_type);
        let layers = (0..config.layers).map(|layer| EncoderLayer::load(weights, &config, layer));
        Ok(Self {
            device: weights.device().clone(),
            words: weights.stored("embeddings.word_embeddings.weight", &[config.vocabulary, hidden])?,
            positions: weights.stored("embeddings.position_embeddings.weight", &[config.positions, hidden])?,
            token_type,
            norm: LayerNorm::load(weights, "embeddings.LayerNorm", &config)?,
            layers: layers.collect::<Result<_, _>>()?,
            config,
        })
    }

    fn text_rows(&self, lengths: &[usize], tokens: usize) -> TextRows {
        if is_cpu(&self.device) {
            let layout = HeadCacheLayout::new(self.config.heads, self.config.hidden / self.config.heads);
            return TextRows::Host(lengths.iter().map(|length| (*length, HeadCache::new(layout, *length))).collect());
        }
        let mask = |length: &usize| (0..tokens).map(|at| if at < *length { 0.0 } else { MASKED }).collect::<Vec<f32>>();
        let mask = lengths.iter().flat_map(mask).collect();
        TextRows::Device(Box::new(self.upload(mask, [lengths.len(), 1, 1, tokens])))
    }

    /// Appends the sums of word, position and type embeddings of one text, then zeros up to `tokens`.
    fn embed(&self, text: &[u32], tokens: usize, values: &mut Vec<f32>) -> Result<(), ModelError> {
        let start = values.len();
        let mut positions = Vec::with_capacity(text.len() * self.config.hidden);
        for (position, id) in self.config.first_position.positions(text).into_iter().zip(text) {
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

impl EncoderModel for TransformerEncoder {
    fn hidden(&self) -> usize {
        self.config.hidden
    }

    fn vocabulary(&self) -> usize {
        self.config.vocabulary
    }

    fn positions(&self) -> usize {
        self.config.positions - self.config.first_position.skipped()
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn forward(
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
        let mut texts = self.text_rows(&lengths, tokens);
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
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::arch::decoder::config_tests::defaults;

    #[test]
    fn an_empty_config_has_the_defaults_of_the_class_in_transformers() {
        let rows = [
            ("BertModel", 30_522, FirstPosition::Zero),
            ("RobertaModel", 50_265, FirstPosition::AfterPad(1)),
            ("XLMRobertaModel", 30_522, FirstPosition::AfterPad(1)),
        ];
        for (class, vocabulary, first) in rows {
            let config = EncoderConfig::read(&JsonFile::of("config.json", json!({})), vocabulary, first);
            let config = config.expect("it is read");
            let read = json!({
                "hidden_size": config.hidden, "intermediate_size": config.feed_forward,
                "num_hidden_layers": config.layers, "num_attention_heads": config.heads,
                "vocab_size": config.vocabulary, "max_position_embeddings": config.positions,
                "type_vocab_size": config.token_types, "layer_norm_eps": config.norm_epsilon,
            });
            assert_eq!(&read, &defaults()[class], "{class}");
        }
    }

    #[test]
    fn positions_of_padding_tokens_are_not_counted() {
        assert_eq!(FirstPosition::Zero.positions(&[5, 1, 6]), [0, 1, 2]);
        assert_eq!(FirstPosition::AfterPad(1).positions(&[0, 5, 1, 6, 2]), [2, 3, 1, 4, 5]);
        assert!(FirstPosition::AfterPad(1).positions(&[]).is_empty());
    }
}
