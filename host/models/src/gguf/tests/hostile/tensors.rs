//! Lists of tensors that lie, and weights that are no numbers.

use firebox_kernels::weights::blocks::BLOCK_TYPES;

use super::*;

#[test]
fn tensors_that_share_bytes_or_lie_outside_are_refused_by_name() {
    let cases: [(&str, Vec<u8>); 5] = [
        ("share bytes", llama().bytes_with(|_| 0)),
        ("share bytes", llama().bytes_with(|offset| offset - offset.min(32))),
        ("lies outside", llama().bytes_with(|offset| offset + (1 << 62))),
        ("lies outside", llama().bytes_with(|offset| offset.max(u64::MAX - 31))),
        ("no multiple of 32", llama().bytes_with(|offset| offset + 1)),
    ];
    for (reason, bytes) in cases {
        let error = soon_refused(&bytes);
        assert!(error.contains(reason) && error.contains(".weight"), "{reason}: {error}");
    }
}

#[test]
fn shapes_whose_product_overflows_are_refused_by_name() {
    for shape in
        [vec![1 << 32, 1 << 32], vec![u64::MAX], vec![1 << 62, 2, 2, 2], vec![3, u64::MAX / 3, 5], vec![1 << 40, 1]]
    {
        for kind in [0, 1, 2, 8, 12] {
            let error = soon_refused(&llama().tensor("x.weight", &shape, kind, Vec::new()).bytes());
            assert!(error.contains("x.weight"), "{shape:?} of type {kind}: {error}");
        }
    }
    for shape in [vec![], vec![1; 5], vec![0], vec![32, 0]] {
        let error = soon_refused(&llama().tensor("x.weight", &shape, 0, Vec::new()).bytes());
        assert!(error.contains("x.weight") && error.contains("dimensions"), "{shape:?}: {error}");
    }
}

#[test]
fn rows_of_parts_of_blocks_are_refused_for_every_type() {
    for kind in BLOCK_TYPES {
        let width = kind.weights as u64 + 1;
        let file = llama().tensor("x.weight", &[width, 2], kind.number, vec![0; 4 * kind.bytes]);
        let error = soon_refused(&file.bytes());
        assert!(error.contains("x.weight") && error.contains(kind.name), "{error}");
    }
}

#[test]
fn a_tensor_that_is_there_twice_is_refused() {
    let mut file = llama();
    let (name, shape, kind, bytes) = file.tensors[1].clone();
    file.tensors.push((name.clone(), shape, kind, bytes));
    let error = soon_refused(&file.bytes());
    assert!(error.contains(&name) && error.contains("twice"), "{error}");
    let long = "n".repeat(300);
    let error = soon_refused(&llama().tensor(&long, &[32], 0, vec![0; 128]).bytes());
    assert!(error.contains("300 bytes"), "{error}");
}

/// What reading `attn_v` says when its bytes are these, of 16 rows of `width` weights.
fn reading(kind: u32, width: u64, bytes: Vec<u8>) -> String {
    let bytes = llama().tensor("blk.0.attn_v.weight", &[width, 16], kind, bytes).bytes();
    let checkpoint = open(&bytes).expect("the tables are good");
    let name = "model.layers.0.self_attn.v_proj.weight";
    let read = checkpoint.tensors.get(name, &[16, width as usize], "test");
    read.expect_err("the weights are no numbers").to_string()
}

#[test]
fn scales_that_are_not_finite_are_refused_in_every_type() {
    for kind in BLOCK_TYPES {
        for at in kind.scales {
            for scale in [f16::NAN, f16::INFINITY, f16::NEG_INFINITY] {
                let mut bytes = vec![0; 16 * kind.bytes];
                let last = 15 * kind.bytes + at;
                bytes[last..last + 2].copy_from_slice(&scale.to_le_bytes());
                let error = reading(kind.number, kind.weights as u64, bytes);
                assert!(error.contains("v_proj") && error.contains("broken"), "{}: {error}", kind.name);
            }
        }
    }
    // Its scales are powers of two, and the largest ones give infinite weights.
    let mut bytes = vec![0x77; 16 * 17];
    for exponent in [253, 254, 255] {
        bytes[15 * 17] = exponent;
        let error = reading(39, 32, bytes.clone());
        assert!(error.contains("v_proj") && error.contains("broken"), "{exponent}: {error}");
    }
}

#[test]
fn weights_without_blocks_that_are_not_finite_are_refused() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let filled = |bytes: &[u8], count: usize| [&[0_u8; 4][..bytes.len()].repeat(count - 1), bytes].concat();
        let half = f16::from_f32(value).to_le_bytes();
        let short = half::bf16::from_f32(value).to_le_bytes();
        for (kind, bytes) in
            [(0, filled(&value.to_le_bytes(), 512)), (1, filled(&half, 512)), (30, filled(&short, 512))]
        {
            let error = reading(kind, 32, bytes);
            assert!(error.contains("v_proj") && error.contains("broken"), "type {kind}: {error}");
        }
    }
}

#[test]
fn factors_of_rotary_embedding_that_are_no_factors_are_refused() {
    let factors = |value: f32| [1.0, value, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0].map(f32::to_le_bytes).concat();
    let load = |file: File| {
        let checkpoint = open(&file.bytes())?;
        let config = checkpoint.config()?;
        crate::arch::decoder("LlamaForCausalLM").and_then(|row| (row.config)(&config)).map(drop)
    };
    load(llama().tensor("rope_freqs.weight", &[8], 0, factors(4.0))).expect("these are factors");
    for value in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e30] {
        let error =
            load(llama().tensor("rope_freqs.weight", &[8], 0, factors(value))).expect_err("refused").to_string();
        assert!(error.contains("factor"), "{value}: {error}");
    }
    let error = load(llama().tensor("rope_freqs.weight", &[4], 0, vec![0; 16])).expect_err("too few").to_string();
    assert!(error.contains("factor"), "{error}");
    let error = soon_refused(&llama().tensor("rope_freqs.weight", &[8, 1 << 40], 0, vec![0; 32]).bytes());
    assert!(error.contains("rope_freqs"), "{error}");
}
