//! The files that sentence-transformers adds to a text encoder.

use crate::metadata::{Row, Table, harmless, honoured, object};

const RECORD: &str = "a record of how the file was made";
const TASK: &str = "for encode_query and encode_document only, and a text here has no such task";
const REFUSED: &str = "sentence::intake: what changes a vector is refused by name";
const NAMES: &str = "sentence::head: only the vector of the text goes in and out";
const LIBRARY: &str = "how the library loads, not what";

/// One module of `modules.json`.
pub(crate) const MODULE: Table = Table {
    name: "modules.json",
    rows: &[
        honoured("path", "sentence"),
        honoured("type", "sentence"),
        harmless("idx", "the order of the list decides"),
        harmless("name", "a name for people"),
        harmless("kwargs", "names of arguments that a caller may pass to the module"),
    ],
};

/// `config_sentence_transformers.json`.
pub(crate) const CONFIG_SENTENCE_TRANSFORMERS: Table = Table {
    name: "config_sentence_transformers.json",
    rows: &[
        honoured(
            "model_type",
            "sentence::settings: refused unless it is SentenceTransformer, or CrossEncoder of a classifier",
        ),
        honoured("activation_fn", "sentence::classifier"),
        harmless("keep_in_fp32_modules", "computation is in f32"),
        honoured("prompts", "sentence::settings"),
        honoured("default_prompt_name", "sentence::settings"),
        honoured("truncate_dim", "sentence::settings"),
        honoured("similarity_fn_name", "sentence::settings: whether the length of a vector matters"),
        harmless("__version__", RECORD),
        harmless("requirements", "versions of other programs"),
    ],
};

/// `sentence_bert_config.json`, also under its older names.
pub(crate) const SENTENCE_BERT_CONFIG: Table = Table {
    name: "sentence_bert_config.json",
    rows: &[
        honoured("max_seq_length", "sentence::intake"),
        honoured("do_lower_case", "sentence::intake"),
        honoured("transformer_task", REFUSED),
        honoured("module_output_name", REFUSED),
        honoured("modality_config", REFUSED),
        honoured("processing_kwargs", REFUSED),
        honoured("model_args", REFUSED),
        honoured("model_kwargs", REFUSED),
        honoured("config_args", REFUSED),
        honoured("config_kwargs", REFUSED),
        honoured("tokenizer_name_or_path", REFUSED),
        object("tokenizer_args", &ARGUMENTS, "sentence::intake"),
        object("processor_kwargs", &ARGUMENTS, "sentence::intake"),
        harmless("query_length", TASK),
        harmless("document_length", TASK),
        harmless("query_expansion", TASK),
        harmless("unpad_inputs", "no text is padded where that could change it"),
    ],
};

/// The arguments of the tokenizer, besides its own file.
pub(crate) const ARGUMENTS: Table = Table {
    name: "sentence_bert_config.json: tokenizer_args",
    rows: &[
        honoured("model_max_length", "sentence::intake"),
        honoured("truncation_side", "sentence::intake"),
        harmless("padding_side", "a text is computed as if it were alone"),
        harmless("use_fast", LIBRARY),
        harmless("trust_remote_code", LIBRARY),
        harmless("revision", LIBRARY),
        harmless("cache_dir", LIBRARY),
        harmless("local_files_only", LIBRARY),
    ],
};

/// The config of a pooling, in the folder that `modules.json` names.
pub(crate) const POOLING: Table = Table { name: "1_Pooling/config.json", rows: POOLING_ROWS };

const POOLING_ROWS: &[Row] = &[
    honoured("pooling_mode", "sentence::pooling"),
    honoured("pooling_mode_cls_token", "sentence::pooling"),
    honoured("pooling_mode_max_tokens", "sentence::pooling"),
    honoured("pooling_mode_mean_tokens", "sentence::pooling"),
    honoured("pooling_mode_mean_sqrt_len_tokens", "sentence::pooling"),
    honoured("pooling_mode_weightedmean_tokens", "sentence::pooling"),
    honoured("pooling_mode_lasttoken", "sentence::pooling"),
    honoured("include_prompt", "sentence::pooling"),
    harmless("word_embedding_dimension", "the width of the model itself is used"),
    harmless("embedding_dimension", "the width of the model itself is used"),
];

/// The config of a linear layer, in the folder that `modules.json` names.
pub(crate) const DENSE: Table = Table {
    name: "2_Dense/config.json",
    rows: &[
        honoured("in_features", "sentence::dense"),
        honoured("out_features", "sentence::dense"),
        honoured("bias", "sentence::dense"),
        honoured("activation_function", "sentence::dense"),
        honoured("use_residual", "sentence::dense"),
        honoured("module_input_name", NAMES),
        honoured("module_output_name", NAMES),
    ],
};

/// The config of a normalization, in the folder that `modules.json` names.
pub(crate) const NORMALIZE: Table = Table {
    name: "2_Normalize/config.json",
    rows: &[honoured("module_input_name", NAMES), honoured("module_output_name", NAMES)],
};
