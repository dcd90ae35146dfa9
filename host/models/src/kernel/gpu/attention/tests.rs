use std::time::Instant;

use burn::tensor::{DType, Device, Tensor, TensorData};
use firebox_kernels::attention::AttentionMask;
use firebox_kernels::test_cases::{AttentionCase, attention_cases};

use super::*;
use crate::kernel::gpu::tests::test_gpu;

/// The sequences of a case on a GPU. The model has two layers, and the second is used.
struct Running<'a> {
    case: &'a AttentionCase,
    device: Device,
    store: PageStore,
    norms: Option<(Tensor<1>, f32)>,
}

impl<'a> Running<'a> {
    fn new(case: &'a AttentionCase, device: &Device) -> Self {
        let shape = PageShape { layers: 2, kv_heads: case.kv_heads, head_dim: case.head_dim };
        let vector = |values: Vec<f32>| {
            let count = values.len();
            Tensor::<1>::from_data(TensorData::new(values, [count]), (device, DType::F32))
        };
        let norms = case.norms.as_ref().map(|norms| {
            let both = [norms.queries.as_slice(), norms.keys.as_slice()].concat();
            (vector(both), norms.epsilon)
        });
        Self { case, device: device.clone(), store: PageStore::new(Gpu::new(device), shape, 1 << 20), norms }
    }

    /// One step of some sequences. Each gains the tokens from its first number up to its second.
    fn pass(&mut self, sequences: &mut [(&mut Pages, usize, usize)]) -> Vec<f32> {
        let (case, mut qkv, mut angles) = (self.case, Vec::new(), Vec::new());
        let pairs = case.pairs;
        for (pages, start, end) in sequences.iter_mut() {
            self.store.reserve(pages, *end).expect("there is memory");
            qkv.extend_from_slice(&case.qkv[*start * case.columns()..*end * case.columns()]);
            for token in *start..*end {
                angles.extend_from_slice(&case.cos[token * pairs..(token + 1) * pairs]);
                angles.extend_from_slice(&case.sin[token * pairs..(token + 1) * pairs]);
            }
        }
        let rows: Vec<PagedSequenceRows<'_>> = sequences
            .iter()
            .map(|(pages, start, end)| PagedSequenceRows { tokens: end - start, start: *start, pages })
            .collect();
        let rows = RowPlan::new(&rows, vec![angles]).upload(self.store.gpu());
        let AttentionMask::Causal(window) = case.mask else { panic!("a decoder's case") };
        let norms = self.norms.as_ref().map(|(weights, epsilon)| (weights, *epsilon));
        let attention = PagedAttention { heads: case.heads, layer: 1, norms, window, rotary: 0, scores: case.scores };
        let count = qkv.len() / case.columns();
        let qkv = Tensor::from_data(TensorData::new(qkv, [count, case.columns()]), (&self.device, DType::F32));
        attention.forward(qkv, &rows, &self.store).try_into_vec_as::<f32>().expect("the device answers")
    }
}

fn assert_close(got: &[f32], expected: &[f64], what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (at, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert!((f64::from(*got) - expected).abs() <= 1e-5, "{what} at {at}: {got} for {expected}");
    }
}

/// The cases of the CPU's attention, and cases with heads wider than a cube, with more query heads than a cube takes,
/// and with sequences of several tiles.
fn decoder_cases() -> Vec<AttentionCase> {
    let mut all = attention_cases();
    all.retain(|case| case.mask != AttentionMask::Full);
    all.push(AttentionCase::new([1, 1, 192], 140, None, true));
    all.push(AttentionCase::new([16, 1, 16], 300, Some(150), true));
    all.push(AttentionCase::new([2, 1, 64], 290, None, true));
    all
}

#[test]
fn attention_of_a_sequence_is_right_in_one_step_and_in_several() {
    let device = test_gpu();
    for case in decoder_cases() {
        let expected = case.expected();
        for size in [case.tokens, 1, 37] {
            let mut running = Running::new(&case, &device);
            let mut pages = Pages::default();
            let starts = (0..case.tokens).step_by(size);
            let got = starts
                .flat_map(|start| running.pass(&mut [(&mut pages, start, case.tokens.min(start + size))]))
                .collect::<Vec<_>>();
            assert_close(&got, &expected, &format!("{} {} {size}", case.heads, case.head_dim));
        }
    }
}

#[test]
fn a_step_of_a_sequence_with_more_tiles_than_cubes_share_is_right() {
    let device = test_gpu();
    for window in [None, Some(700)] {
        let case = AttentionCase::new([4, 2, 32], 2_200, window, true);
        let (expected, row) = (case.expected(), case.heads * case.head_dim);
        let mut running = Running::new(&case, &device);
        let (mut long, mut short) = (Pages::default(), Pages::default());
        running.pass(&mut [(&mut long, 0, 2_190), (&mut short, 0, 5)]);
        for step in 0..10 {
            let (at, other) = (2_190 + step, 5 + step);
            let got = running.pass(&mut [(&mut long, at, at + 1), (&mut short, other, other + 1)]);
            assert_close(&got[..row], &expected[at * row..(at + 1) * row], &format!("{window:?} {at}"));
            assert_close(&got[row..], &expected[other * row..(other + 1) * row], &format!("{window:?} {other}"));
        }
    }
}

#[test]
fn sequences_of_one_step_do_not_attend_to_each_other_and_copies_are_independent() {
    let device = test_gpu();
    let case = AttentionCase::new([4, 2, 32], 200, None, true);
    let (expected, row) = (case.expected(), case.heads * case.head_dim);
    let mut running = Running::new(&case, &device);
    let (mut one, mut two) = (Pages::default(), Pages::default());
    let got = running.pass(&mut [(&mut one, 0, 150), (&mut two, 0, 3)]);
    assert_close(&got[..150 * row], &expected[..150 * row], "the first");
    assert_close(&got[150 * row..], &expected[..3 * row], "the second");
    // More pages than the store begins with, so that it grows while pages are in use.
    let mut three = running.store.copy(&one, 130, 64 * 40).expect("there is memory");
    let got = running.pass(&mut [(&mut three, 130, 131), (&mut one, 150, 151), (&mut two, 3, 4)]);
    let rows = [130, 150, 3].map(|at| &expected[at * row..(at + 1) * row]).concat();
    assert_close(&got, &rows, "a copy and both");
}

#[test]
fn freed_pages_are_reused() {
    let device = test_gpu();
    let case = AttentionCase::new([1, 1, 2], 1, None, true);
    let mut store = Running::new(&case, &device).store;
    let mut one = Pages::default();
    store.reserve(&mut one, PAGE_TOKENS * 3 + 1).expect("there is memory");
    assert_eq!(one.ids(), [0, 1, 2, 3]);
    let mut two = store.copy(&one, PAGE_TOKENS + 1, PAGE_TOKENS * 2).expect("there is memory");
    assert_eq!(two.ids(), [4, 5]);
    drop(one);
    store.reserve(&mut two, PAGE_TOKENS * 200).expect("there is memory");
    let mut all = two.ids().to_vec();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 200, "no page is given twice");
}

#[test]
fn a_device_without_memory_refuses_one_sequence_and_the_others_continue() {
    let device = test_gpu();
    let case = AttentionCase::new([4, 2, 32], 70, None, true);
    let (expected, row) = (case.expected(), case.heads * case.head_dim);
    let mut running = Running::new(&case, &device);
    let mut one = Pages::default();
    let got = running.pass(&mut [(&mut one, 0, 69)]);
    assert_close(&got, &expected[..69 * row], "before");
    // A terabyte: more than any device has.
    let mut greedy = Pages::default();
    let refused = running.store.reserve(&mut greedy, 1 << 30).expect_err("more than there is");
    assert!(!refused.is_empty() && greedy.ids().is_empty(), "{refused}");
    let got = running.pass(&mut [(&mut one, 69, 70)]);
    assert_close(&got, &expected[69 * row..], "after");
}

/// Not a test: prints the time of attention of the shape of Qwen3-0.6B. `FIREBOX_TEST_VULKAN=1 cargo test --workspace
/// --lib -- --ignored --nocapture rates`
#[test]
#[ignore = "prints figures"]
fn rates() {
    let device = test_gpu();
    let case = AttentionCase::new([16, 8, 128], 1, None, true);
    for (context, rows, sequences) in
        [(64, 1, 1), (512, 1, 1), (2_048, 1, 1), (512, 1, 16), (0, 512, 1), (1_536, 512, 1)]
    {
        let mut running = Running::new(&case, &device);
        let mut all: Vec<Pages> = (0..sequences).map(|_| Pages::default()).collect();
        all.iter_mut().for_each(|pages| running.store.reserve(pages, context + rows).expect("there is memory"));
        let sequence_rows: Vec<PagedSequenceRows<'_>> =
            all.iter().map(|pages| PagedSequenceRows { tokens: rows, start: context, pages }).collect();
        let count = rows * sequences;
        let paged = RowPlan::new(&sequence_rows, vec![vec![0.5; count * 128]]).upload(running.store.gpu());
        let norms = running.norms.as_ref().map(|(weights, epsilon)| (weights, *epsilon));
        let attention = PagedAttention { heads: 16, layer: 1, norms, window: None, rotary: 0, scores: case.scores };
        let shape = [count, case.columns()];
        let qkv = Tensor::<2>::from_data(TensorData::new(vec![0.25_f32; count * case.columns()], shape), &device);
        let run = |times: usize| {
            let started = Instant::now();
            (1..times).for_each(|_| drop(attention.forward(qkv.clone(), &paged, &running.store)));
            let last = attention.forward(qkv.clone(), &paged, &running.store).slice([0..1, 0..1]);
            last.try_into_vec_as::<f32>().expect("the device answers");
            started.elapsed().as_secs_f64()
        };
        run(2);
        let took = (run(104) - run(4)) / 100.0 * 1e6;
        println!("{sequences} x {rows} rows after {context}: {took:.1} us");
    }
}
