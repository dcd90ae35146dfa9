//! `special_tokens_map.json`, which is read if `tokenizer_config.json` has no `added_tokens_decoder`.

use crate::metadata::{Row, Table, honoured};

/// The keys of the file.
pub(crate) const SPECIAL_TOKENS_MAP: Table = Table { name: "special_tokens_map.json", rows: ROWS };

const ROWS: &[Row] = &[
    honoured("*_token", "codec::tokenizer::special"),
    honoured("extra_special_tokens", "codec::tokenizer::special"),
    honoured("additional_special_tokens", "codec::tokenizer::special"),
];
