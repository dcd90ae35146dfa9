//! Candle's Qwen3 on the CPU: one prompt, greedy decoding, twice in one process. Prints one JSON object.
//!
//! Usage: candle-peer MODEL PROMPT DECODE_TOKENS
//! The prompt's bytes are its token ids, as make_model.py's tokenizer has it. The first pass is as cold as firebox's
//! only one; the second shows what a warm process does.

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::qwen3::{Config, ModelForCausalLM};
use serde_json::{Value, json};

/// Prefill and decode rates in tokens/s, and the tokens chosen.
fn generate(model: &mut ModelForCausalLM, prompt: &[u32], steps: usize) -> candle_core::Result<(Value, Vec<u32>)> {
    model.clear_kv_cache();
    let began = Instant::now();
    let mut tokens = vec![next(model, prompt, 0)?];
    let prefill = began.elapsed().as_secs_f64();
    let prefilled = Instant::now();
    for step in 0..steps {
        tokens.push(next(model, &tokens[step..], prompt.len() + step)?);
    }
    let decode = prefilled.elapsed().as_secs_f64();
    let rates = json!({
        "prefill_tokens_per_second": prompt.len() as f64 / prefill,
        "decode_tokens_per_second": steps as f64 / decode,
    });
    Ok((rates, tokens))
}

fn next(model: &mut ModelForCausalLM, tokens: &[u32], position: usize) -> candle_core::Result<u32> {
    let input = Tensor::new(tokens, &Device::Cpu)?.unsqueeze(0)?;
    let logits = model.forward(&input, position)?.flatten_all()?.to_dtype(DType::F32)?;
    logits.argmax(0)?.to_scalar()
}

/// VmHWM: the most memory this process ever had in RAM.
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [folder, prompt, steps] = args.as_slice() else {
        return Err("usage: candle-peer MODEL PROMPT DECODE_TOKENS".into());
    };
    let prompt: Vec<u32> = prompt.bytes().map(u32::from).collect();
    let steps = steps.parse()?;
    let config: Value = serde_json::from_slice(&std::fs::read(Path::new(folder).join("config.json"))?)?;
    let dtype = if config["torch_dtype"] == "bfloat16" { DType::BF16 } else { DType::F32 };
    let weights = Path::new(folder).join("model.safetensors");
    // SAFETY: nobody writes the file while this runs.
    let weights = unsafe { VarBuilder::from_mmaped_safetensors(&[weights], dtype, &Device::Cpu)? };
    let config: Config = serde_json::from_value(config)?;
    let mut model = ModelForCausalLM::new(&config, weights)?;
    let (first, tokens) = generate(&mut model, &prompt, steps)?;
    let peak = peak_bytes();
    let (second, _) = generate(&mut model, &prompt, steps)?;
    let report = json!({
        "version": "candle 0.11.1", "dtype": dtype.as_str(), "first": first, "second": second, "tokens": tokens,
        "memory_peak_bytes": peak,
    });
    println!("{report}");
    Ok(())
}
