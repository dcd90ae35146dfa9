//! `special_tokens_map.json`.

use crate::metadata::{Row, Table, harmless};

const SLOW: &str = "settings of the tokenizer in Python; tokenizer.json says how text is cut";

/// The keys of the file.
pub(crate) const SPECIAL_TOKENS_MAP: Table = Table { name: "special_tokens_map.json", rows: ROWS };

const ROWS: &[Row] = &[harmless("cls_token", SLOW), harmless("mask_token", SLOW)];
