//! The head of a class for sequence classification, from a pooled vector to a score.

use firebox_kernels::elements::Activation;

use crate::checkpoint::json::JsonFile;
use crate::error::ModelError;

/// The end of the names of such classes.
pub(crate) const CLASS_END: &str = "ForSequenceClassification";

/// The layers of a head: `output(norm(activation(dense(pooled))))`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ClassifierConfig {
    /// Whether the mean of all tokens is pooled and not the first token.
    pub(crate) pools_mean: bool,
    /// `[hidden, hidden]`
    pub(crate) dense: &'static str,
    pub(crate) has_dense_bias: bool,
    pub(crate) activation: Activation,
    /// The norm after it: its name, epsilon, and whether it has a bias.
    pub(crate) norm: Option<(&'static str, f64, bool)>,
    /// `[labels, hidden]`
    pub(crate) output: &'static str,
}

/// The head of BERT: its pooler, and a layer.
pub(crate) const BERT: ClassifierConfig = ClassifierConfig {
    pools_mean: false,
    dense: "pooler.dense",
    has_dense_bias: true,
    activation: Activation::Tanh,
    norm: None,
    output: "classifier",
};

/// The head of RoBERTa: two layers of its own.
pub(crate) const ROBERTA: ClassifierConfig =
    ClassifierConfig { dense: "classifier.dense", output: "classifier.out_proj", ..BERT };

/// Checks that a classifier has one label, so that its output is a score.
///
/// # Errors
/// `Config` for another number of labels.
pub(crate) fn check_labels(file: &JsonFile) -> Result<(), ModelError> {
    let listed = file.get("id2label").and_then(|labels| labels.as_object()).map(serde_json::Map::len);
    let given = file.optional_number("num_labels", 0..=usize::MAX)?;
    // Two labels are the default of transformers.
    match listed.or(given).unwrap_or(2) {
        1 => Ok(()),
        count => {
            let key = if listed.is_some() { "id2label" } else { "num_labels" };
            let reason = format!("stands for {count} labels, and a cross-encoder that ranks texts has one");
            Err(file.wrong(key, reason))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_classifier_with_one_label_is_a_reranker() {
        let check = |keys| check_labels(&JsonFile::of("config.json", keys));
        assert!(check(json!({"num_labels": 1})).is_ok() && check(json!({"id2label": {"0": "LABEL_0"}})).is_ok());
        for (keys, key) in [(json!({}), "num_labels"), (json!({"id2label": {"0": "a", "1": "b"}}), "id2label")] {
            let error = check(keys).expect_err("two labels").to_string();
            assert!(error.contains("2 labels") && error.contains(key), "{error}");
        }
    }
}
