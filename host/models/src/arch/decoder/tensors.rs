//! The names that a checkpoint gives to a decoder's tensors.

/// Names of a decoder's tensors, without `.weight` and `.bias` at their ends. In a checkpoint the names of a layer
/// begin with `layer`, in which `{}` is the number of the layer.
#[derive(Debug)]
pub(crate) struct DecoderTensors {
    /// The beginning of names that checkpoints of the model without its head leave out.
    pub(crate) base: &'static str,
    /// `[vocabulary, hidden]`
    pub(crate) embeddings: &'static str,
    /// `[hidden]`: the norm after the last layer.
    pub(crate) norm: &'static str,
    /// `[vocabulary, hidden]`
    pub(crate) head: &'static str,
    pub(crate) layer: &'static str,
    /// `[hidden]`: the norms around attention.
    pub(crate) attention_norms: Around<&'static str>,
    /// `[heads, kv_heads and kv_heads * head_dim, hidden]`
    pub(crate) qkv: Projections<3>,
    /// The norms of queries and of keys, as [`QkNorms`](crate::arch::decoder::QkNorms) says.
    pub(crate) qk_norms: [&'static str; 2],
    /// `[hidden, heads * head_dim]`
    pub(crate) attention_output: &'static str,
    /// `[hidden]`: the norms around the feed-forward part.
    pub(crate) mlp_norms: Around<&'static str>,
    /// `[2 * feed_forward, hidden]`
    pub(crate) gate_up: Projections<2>,
    /// `[hidden, feed_forward]`
    pub(crate) down: &'static str,
    pub(crate) experts: ExpertTensors,
}

/// What stands before and after a part of a layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Around<T> {
    pub(crate) before: Option<T>,
    /// Of the result, before it is added.
    pub(crate) after: Option<T>,
}

/// Names of the tensors of a mixture of experts, in the layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ExpertTensors {
    /// `[experts, hidden]`: the router.
    pub(crate) router: &'static str,
    /// The beginning of the names of all experts. The number of an expert follows, or nothing where the tensors of all
    /// experts are stacked to one.
    pub(crate) experts: &'static str,
    /// Gate and up, `[feed_forward, hidden]`, and down, `[hidden, feed_forward]`, of an expert.
    pub(crate) parts: [&'static str; 3],
}

/// Matrices with the same input.
#[derive(Debug)]
pub(crate) enum Projections<const N: usize> {
    /// A tensor for each.
    Separate([&'static str; N]),
    /// One tensor, with the rows of the first, then of the second, and so on.
    Fused(&'static str),
}

impl DecoderTensors {
    /// The name of a tensor of the layer.
    pub(crate) fn in_layer(&self, layer: usize, name: &str) -> String {
        self.layer.replace("{}", &layer.to_string()) + name
    }

    /// The tensors of `projections` in the layer, with the rows of each. The matrices have `rows`.
    pub(crate) fn projections<const N: usize>(
        &self,
        layer: usize,
        projections: &Projections<N>,
        rows: [usize; N],
    ) -> Vec<(String, usize)> {
        match projections {
            Projections::Separate(names) => {
                names.iter().zip(rows).map(|(name, rows)| (self.in_layer(layer, name), rows)).collect()
            }
            Projections::Fused(name) => vec![(self.in_layer(layer, name), rows.iter().sum())],
        }
    }
}
