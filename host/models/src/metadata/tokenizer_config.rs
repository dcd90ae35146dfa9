//! `tokenizer_config.json`. With a `tokenizer.json`, the keys without effect here have none in transformers 5.24
//! either.

use crate::metadata::{Row, Table, harmless, harmless_as, honoured};

const RECORD: &str = "a record of how the file was made";
const SLOW: &str = "a setting of tokenizers written in Python; tokenizer.json defines how text is cut";
const FILE: &str = "the post-processor of tokenizer.json adds the tokens around a text";
const REQUEST: &str = "padding and length are decided for each request";
const CLASS: &str = "codec::tokenizer::class: the classes that have a part of their own for it";

/// The keys of the file.
pub(crate) const TOKENIZER_CONFIG: Table = Table { name: "tokenizer_config.json", rows: ROWS };

const ROWS: &[Row] = &[
    honoured("chat_template", "codec::template"),
    honoured("*_token", "codec::tokenizer::special"),
    honoured("added_tokens_decoder", "codec::tokenizer::special"),
    honoured("additional_special_tokens", "codec::tokenizer::special"),
    honoured("extra_special_tokens", "codec::tokenizer::special"),
    honoured("tokenizer_class", "codec::tokenizer"),
    honoured("add_prefix_space", CLASS),
    honoured("legacy", CLASS),
    honoured("do_lower_case", CLASS),
    honoured("strip_accents", CLASS),
    honoured("tokenize_chinese_chars", CLASS),
    honoured("split_special_tokens", "codec::tokenizer"),
    honoured("clean_up_tokenization_spaces", "codec::tokenizer: a warning where it would be done"),
    honoured("clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output", "codec::tokenizer: as above"),
    honoured("fix_mistral_regex", "codec::tokenizer"),
    harmless("add_bos_token", FILE),
    harmless("add_eos_token", FILE),
    harmless("sp_model_kwargs", SLOW),
    harmless("errors", SLOW),
    harmless("do_basic_tokenize", SLOW),
    harmless("never_split", SLOW),
    harmless("from_slow", SLOW),
    harmless("use_fast", SLOW),
    harmless("use_default_system_prompt", SLOW),
    harmless("spaces_between_special_tokens", SLOW),
    harmless("init_inputs", SLOW),
    harmless_as("fast_tokenizer_files", &["[\"tokenizer.json\"]"], "tokenizer.json is what is read"),
    harmless("pad_token_type_id", REQUEST),
    harmless("pad_to_multiple_of", REQUEST),
    harmless("padding", REQUEST),
    harmless("padding_side", REQUEST),
    harmless("truncation", REQUEST),
    honoured("truncation_side", "sentence::intake; for decoders a text that is too long is refused"),
    harmless("truncation_strategy", REQUEST),
    harmless("stride", REQUEST),
    harmless("max_length", REQUEST),
    honoured("max_len", "sentence::intake: the older name of model_max_length"),
    honoured("model_max_length", "sentence::intake; the context of a decoder is in its config.json"),
    honoured("model_input_names", "codec::tokenizer: whether an encoder gets the types of tokens"),
    harmless("return_token_type_ids", REQUEST),
    harmless("auto_map", "code of a checkpoint is never run"),
    harmless("trust_remote_code", "code of a checkpoint is never run"),
    harmless("backend", RECORD),
    harmless("is_local", RECORD),
    harmless("local_files_only", RECORD),
    harmless("name_or_path", RECORD),
    harmless("special_tokens_map_file", RECORD),
    harmless("tokenizer_file", RECORD),
    harmless("vocab_file", RECORD),
    harmless("merges_file", RECORD),
    harmless("processor_class", RECORD),
    harmless("transformers_version", RECORD),
    harmless("device", RECORD),
    harmless("verbose", RECORD),
    harmless("unk_id", RECORD),
    harmless("response_schema", "how transformers reads an answer; formats of calls are recognised from the template"),
    harmless(
        "response_template",
        "how transformers reads an answer; formats of calls are recognised from the template",
    ),
    harmless("chat_control_tokens", "control tokens in text are plain text in any case"),
    harmless("image_processor_type", "models here take text only"),
];
