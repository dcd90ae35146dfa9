//! `rope_parameters` or `rope_scaling` of `config.json`.

use crate::metadata::{Row, Table, harmless, honoured};

const UNUSED: &str = "belongs to a kind of scaling that is refused";
const KINDS: &str = "settings of a kind of layers: ModernBERT reads them, and decoders refuse them";

/// The keys of the object.
pub(crate) const ROPE: Table = Table { name: "config.json: rope_parameters", rows: ROWS };

const ROWS: &[Row] = &[
    honoured("rope_theta", "arch::decoder::rotary"),
    honoured("rope_type", "arch::decoder::rotary"),
    honoured("type", "arch::decoder::rotary"),
    honoured("factor", "arch::decoder::rotary"),
    honoured("low_freq_factor", "arch::decoder::rotary"),
    honoured("high_freq_factor", "arch::decoder::rotary"),
    honoured("original_max_position_embeddings", "arch::decoder::rotary"),
    honoured("partial_rotary_factor", "arch::decoder::rotary"),
    honoured("attention_factor", "arch::decoder::rotary: longrope"),
    harmless("full_attention", KINDS),
    harmless("sliding_attention", KINDS),
    harmless("beta_fast", UNUSED),
    harmless("beta_slow", UNUSED),
    harmless("mscale", UNUSED),
    harmless("mscale_all_dim", UNUSED),
    harmless("truncate", UNUSED),
    honoured("short_factor", "arch::decoder::rotary: longrope"),
    honoured("long_factor", "arch::decoder::rotary: longrope"),
];
