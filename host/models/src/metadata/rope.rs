//! `rope_parameters` or `rope_scaling` of `config.json`.

use crate::metadata::{Row, Table, harmless, honoured};

const UNUSED: &str = "belongs to a kind of scaling that is refused";

/// The keys of the object.
pub(crate) const ROPE: Table = Table { name: "config.json: rope_parameters", rows: ROWS };

const ROWS: &[Row] = &[
    honoured("rope_theta", "arch::rotary"),
    honoured("rope_type", "arch::rotary"),
    honoured("type", "arch::rotary"),
    honoured("factor", "arch::rotary"),
    honoured("low_freq_factor", "arch::rotary"),
    honoured("high_freq_factor", "arch::rotary"),
    honoured("original_max_position_embeddings", "arch::rotary"),
    honoured("partial_rotary_factor", "arch::rotary"),
    harmless("attention_factor", UNUSED),
    harmless("beta_fast", UNUSED),
    harmless("beta_slow", UNUSED),
    harmless("mscale", UNUSED),
    harmless("mscale_all_dim", UNUSED),
    harmless("truncate", UNUSED),
    harmless("short_factor", UNUSED),
    harmless("long_factor", UNUSED),
];
