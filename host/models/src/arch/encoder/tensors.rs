//! The names that a checkpoint gives to an encoder's tensors.

/// Names of an encoder's tensors, without `.weight` and `.bias` at their ends. In a checkpoint the names of a layer begin
/// with `layer`, in which `{}` is the number of the layer. A part that an architecture lacks has an empty name.
#[derive(Debug)]
pub(crate) struct EncoderTensors {
    /// `[vocabulary, hidden]`
    pub(crate) words: &'static str,
    /// `[positions, hidden]`
    pub(crate) positions: &'static str,
    /// `[token types, hidden]`
    pub(crate) types: &'static str,
    /// `[hidden]`: the norm of the sum of embeddings.
    pub(crate) norm: &'static str,
    pub(crate) layer: &'static str,
    /// `[hidden, hidden]` for each of queries, keys and values, or one tensor with the rows of all three.
    pub(crate) qkv: &'static [&'static str],
    /// `[hidden, hidden]`
    pub(crate) attention_output: &'static str,
    /// `[hidden]`: the norm of attention.
    pub(crate) attention_norm: &'static str,
    /// `[feed_forward, hidden]`, for gated units also the rows that are gated, in the same tensor or in another.
    pub(crate) wide: &'static [&'static str],
    /// `[hidden, feed_forward]`
    pub(crate) narrow: &'static str,
    /// `[hidden]`: the norm of the feed-forward part.
    pub(crate) output_norm: &'static str,
    /// `[hidden]`: the norm after the last layer.
    pub(crate) final_norm: &'static str,
    /// `[buckets, heads]`: what is added to scores, by distance.
    pub(crate) relative_bias: &'static str,
}

impl EncoderTensors {
    /// The name of a tensor of the layer.
    pub(crate) fn in_layer(&self, layer: usize, name: &str) -> String {
        self.layer.replace("{}", &layer.to_string()) + name
    }

    /// The tensors of `names` in the layer, which together have `rows`.
    pub(crate) fn stacked(&self, layer: usize, names: &[&str], rows: usize) -> Vec<(String, usize)> {
        let each = rows / names.len().max(1);
        names.iter().map(|name| (self.in_layer(layer, name), each)).collect()
    }
}
