//! The files that sentence-transformers writes beside a text encoder.

use crate::metadata::{Row, Table, harmless, harmless_as, honoured};

const RECORD: &str = "a record of how the file was made";

/// `config_sentence_transformers.json`.
pub(crate) const CONFIG_SENTENCE_TRANSFORMERS: Table =
    Table { name: "config_sentence_transformers.json", rows: &[harmless("__version__", RECORD)] };

/// `sentence_bert_config.json`.
pub(crate) const SENTENCE_BERT_CONFIG: Table = Table {
    name: "sentence_bert_config.json",
    rows: &[honoured("max_seq_length", "load"), harmless_as("do_lower_case", &["false"], "off")],
};

/// The config of a pooling, in the folder that `modules.json` names.
pub(crate) const POOLING: Table = Table { name: "1_Pooling/config.json", rows: POOLING_ROWS };

const POOLING_ROWS: &[Row] = &[
    honoured("pooling_mode_cls_token", "pooling"),
    honoured("pooling_mode_mean_tokens", "pooling"),
    harmless_as("pooling_mode_max_tokens", &["false"], "off"),
    harmless_as("pooling_mode_mean_sqrt_len_tokens", &["false"], "off"),
    harmless_as("pooling_mode_weightedmean_tokens", &["false"], "off"),
    harmless_as("pooling_mode_lasttoken", &["false"], "off"),
    harmless("word_embedding_dimension", "the width of the model itself counts"),
];
