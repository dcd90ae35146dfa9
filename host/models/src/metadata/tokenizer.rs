//! The top level of `tokenizer.json`. The tokenizers library reads the levels below, and refuses what it does not know.

use crate::metadata::{Row, Table, harmless, honoured};

/// The keys of the file.
pub(crate) const TOKENIZER: Table = Table { name: "tokenizer.json", rows: ROWS };

const ROWS: &[Row] = &[
    honoured("version", "tokenizers"),
    honoured("added_tokens", "tokenizers"),
    honoured("normalizer", "tokenizers"),
    honoured("pre_tokenizer", "tokenizers"),
    honoured("post_processor", "tokenizers"),
    honoured("decoder", "tokenizers"),
    honoured("model", "tokenizers"),
    harmless("padding", "decided for each request"),
    harmless("truncation", "decided for each request"),
];
