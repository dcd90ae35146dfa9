//! `tokenizer_config.json`.

use crate::metadata::{Row, Table, harmless, honoured};

const RECORD: &str = "a record of how the file was made";
const SLOW: &str = "settings of the tokenizer in Python; tokenizer.json says how text is cut";
const REQUEST: &str = "padding and length are decided for each request";

/// The keys of the file.
pub(crate) const TOKENIZER_CONFIG: Table = Table { name: "tokenizer_config.json", rows: ROWS };

const ROWS: &[Row] = &[
    honoured("chat_template", "codec::template"),
    honoured("bos_token", "codec::template"),
    honoured("eos_token", "codec, codec::template"),
    honoured("pad_token", "codec::template"),
    honoured("unk_token", "codec::template"),
    honoured("sep_token", "codec::template"),
    honoured("cls_token", "codec::template"),
    honoured("mask_token", "codec::template"),
    harmless("added_tokens_decoder", SLOW),
    harmless("additional_special_tokens", SLOW),
    harmless("extra_special_tokens", SLOW),
    harmless("add_bos_token", SLOW),
    harmless("add_eos_token", SLOW),
    harmless("add_prefix_space", SLOW),
    harmless("legacy", SLOW),
    harmless("sp_model_kwargs", SLOW),
    harmless("errors", SLOW),
    harmless("split_special_tokens", SLOW),
    harmless("do_lower_case", SLOW),
    harmless("do_basic_tokenize", SLOW),
    harmless("never_split", SLOW),
    harmless("strip_accents", SLOW),
    harmless("tokenize_chinese_chars", SLOW),
    harmless("model_max_length", "the context of a model is in its config.json"),
    harmless("tokenizer_class", SLOW),
    harmless("auto_map", "code of a checkpoint is never run"),
    harmless("backend", RECORD),
    harmless("is_local", RECORD),
    harmless("name_or_path", RECORD),
    harmless("special_tokens_map_file", RECORD),
    harmless("tokenizer_file", RECORD),
    harmless("processor_class", RECORD),
    harmless("padding_side", REQUEST),
    harmless("pad_token_type_id", REQUEST),
    harmless("pad_to_multiple_of", REQUEST),
    harmless("truncation_strategy", REQUEST),
    harmless("stride", REQUEST),
    harmless("max_length", REQUEST),
    harmless("truncation_side", REQUEST),
    harmless("model_input_names", REQUEST),
    harmless("clean_up_tokenization_spaces", "transformers 5 does not clean up by default"),
    harmless("use_default_system_prompt", SLOW),
    harmless("spaces_between_special_tokens", SLOW),
];
