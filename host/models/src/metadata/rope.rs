//! `rope_parameters` or `rope_scaling` of `config.json`.

use crate::metadata::{Row, Table, honoured, object};

/// The rows of settings, and more rows.
macro_rules! rows {
    ($($more:expr),*) => {
        &[
            honoured("rope_theta", "arch::decoder::rotary"),
            honoured("rope_type", "arch::decoder::rotary"),
            honoured("type", "arch::decoder::rotary"),
            honoured("factor", "arch::decoder::rotary"),
            honoured("low_freq_factor", "arch::decoder::rotary: llama3"),
            honoured("high_freq_factor", "arch::decoder::rotary: llama3"),
            honoured("original_max_position_embeddings", "arch::decoder::rotary"),
            honoured("partial_rotary_factor", "arch::decoder::rotary"),
            honoured("attention_factor", "arch::decoder::rotary: yarn, longrope"),
            honoured("beta_fast", "arch::decoder::rotary: yarn"),
            honoured("beta_slow", "arch::decoder::rotary: yarn"),
            honoured("mscale", "arch::decoder::rotary: yarn"),
            honoured("mscale_all_dim", "arch::decoder::rotary: yarn"),
            honoured("truncate", "arch::decoder::rotary: yarn"),
            honoured("short_factor", "arch::decoder::rotary: longrope"),
            honoured("long_factor", "arch::decoder::rotary: longrope"),
            $($more),*
        ]
    };
}

/// The keys of the object.
pub(crate) const ROPE: Table = Table { name: "config.json: rope_parameters", rows: ROWS };

/// The keys of the settings of one kind of layers.
const KIND: Table = Table { name: "config.json: rope_parameters of a kind of layers", rows: KIND_ROWS };

const KIND_ROWS: &[Row] = rows![];

const ROWS: &[Row] = rows![
    honoured("llama_4_scaling_beta", "arch::decoders::mistral"),
    object("full_attention", &KIND, "arch::decoders::gemma"),
    object("sliding_attention", &KIND, "arch::decoders::gemma")
];
