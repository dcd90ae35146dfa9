//! How far a quantized model's distributions are from those of reference logits: `divergence MODEL.gguf BASE [KV]`, where KV is
//! the type of keys and values (f16).
//!
//! BASE is a file of llama.cpp's `llama-perplexity --kl-divergence-base`: tokens, and the log-probabilities of all tokens at
//! the positions of the second half of each chunk. Prints one JSON object. `benches/run divergence` runs it.

use std::error::Error;
use std::fs::File;
use std::io::{BufReader, Read, Write as _};
use std::path::Path;

use firebox::contract::{LanguageModel, Logits, SequenceId, Span};
use firebox::models::device::{self, DeviceChoice};
use firebox::models::{Checkpoint, KV_CACHE_TYPES, KvCacheType, LoadOptions, load_decoder};

type Failure = Box<dyn Error>;

const SEQUENCE: SequenceId = SequenceId(1);
/// Rows of logits in one step: they are read at once.
const ROWS: usize = 15;
/// llama.cpp leaves out tokens that are less likely, because the file rounds them.
const LOG_PROBABILITY_LEAST: f32 = -16.0;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let (Some(model), Some(base)) = (arguments.next(), arguments.next()) else {
        return Err("usage: divergence MODEL.gguf BASE [KV]".into());
    };
    let named = arguments.next().unwrap_or_else(|| "f16".to_owned());
    let kv_cache = KV_CACHE_TYPES.iter().find(|(name, _)| *name == named).ok_or("KV is f16, q8_0 or f32")?.1;
    let mut base = Base::open(Path::new(&base))?;
    let mut model = load(Path::new(&model), base.context, kv_cache)?;
    if model.info().vocabulary < base.vocabulary {
        return Err("the file of logits belongs to another vocabulary".into());
    }
    let mut divergences = Vec::new();
    let mut same = 0;
    for chunk in 0..base.chunks {
        for row in logits(&mut *model, base.tokens(chunk), base.first())? {
            let expected = base.next_row()?;
            divergences.push(divergence(&expected, &row[..base.vocabulary]));
            same += usize::from(best(&expected) == best(&row[..base.vocabulary]));
        }
    }
    let count = divergences.len();
    divergences.sort_by(f64::total_cmp);
    let report = serde_json::json!({
        "positions": count,
        "mean": divergences.iter().sum::<f64>() / count as f64,
        "p99": divergences[count * 99 / 100],
        "same_top": same as f64 / count as f64,
    });
    writeln!(std::io::stdout(), "{report}")?;
    Ok(())
}

fn load(path: &Path, context: usize, kv_cache: KvCacheType) -> Result<Box<dyn LanguageModel>, Failure> {
    let checkpoint = Checkpoint::open(path)?;
    let opened = device::open(&DeviceChoice::cpu(), &device::OpenOptions::default())?;
    let options = LoadOptions { context_tokens: Some(context), kv_cache, ..LoadOptions::default() };
    Ok(load_decoder(&checkpoint, &opened.device, options)?)
}

/// The logits after each token from `first` to the last but one.
fn logits(model: &mut dyn LanguageModel, tokens: &[u32], first: usize) -> Result<Vec<Logits>, Failure> {
    model.release(SEQUENCE);
    let (prompt, rest) = tokens[..tokens.len() - 1].split_at(first);
    model.forward(&[Span { sequence: SEQUENCE, tokens: prompt, wants_logits: false }]).remove(0)?;
    let mut rows = Vec::with_capacity(rest.len());
    for tokens in rest.chunks(ROWS) {
        let span = Span { sequence: SEQUENCE, tokens, wants_logits: true };
        let results = model.forward_drafts(&[span], &[tokens.len() - 1], &mut || true).ok_or("the step stopped")?;
        for result in results {
            rows.extend(result?);
        }
    }
    Ok(rows)
}

/// The Kullback-Leibler divergence of `logits` from `expected` log-probabilities, in nats.
fn divergence(expected: &[f32], logits: &[f32]) -> f64 {
    let most = logits.iter().copied().fold(f32::MIN, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - most).exp()).sum();
    let log_sum = sum.ln() + f64::from(most);
    let likely = expected.iter().zip(logits).filter(|(expected, _)| **expected > LOG_PROBABILITY_LEAST);
    likely
        .map(|(expected, logit)| f64::from(*expected).exp() * (f64::from(*expected) - f64::from(*logit) + log_sum))
        .sum()
}

fn best(scores: &[f32]) -> usize {
    (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap_or(0)
}

/// A file of reference logits.
struct Base {
    file: BufReader<File>,
    context: usize,
    vocabulary: usize,
    chunks: usize,
    tokens: Vec<u32>,
}

impl Base {
    fn open(path: &Path) -> Result<Self, Failure> {
        let mut file = BufReader::new(File::open(path)?);
        let mut magic = [0; 8];
        file.read_exact(&mut magic)?;
        if &magic != b"_logits_" {
            return Err("this is no file of --kl-divergence-base".into());
        }
        let context = number(&mut file)? as usize;
        let vocabulary = number(&mut file)? as usize;
        let chunks = number(&mut file)? as usize;
        let tokens = (0..chunks * context).map(|_| number(&mut file)).collect::<Result<_, _>>()?;
        Ok(Self { file, context, vocabulary, chunks, tokens })
    }

    fn tokens(&self, chunk: usize) -> &[u32] {
        &self.tokens[chunk * self.context..][..self.context]
    }

    /// The first position of a chunk that has logits.
    fn first(&self) -> usize {
        self.context / 2
    }

    /// The next position's log-probabilities: a scale, the least one, and steps of 16 bits from it.
    fn next_row(&mut self) -> Result<Vec<f32>, Failure> {
        let scale = f32::from_bits(number(&mut self.file)?);
        let least = f32::from_bits(number(&mut self.file)?);
        // A row has an even number of steps.
        let mut bytes = vec![0; self.vocabulary.next_multiple_of(2) * 2];
        self.file.read_exact(&mut bytes)?;
        let steps = bytes.as_chunks::<2>().0.iter().map(|bytes| u16::from_le_bytes(*bytes));
        Ok(steps.take(self.vocabulary).map(|step| scale * f32::from(step) + least).collect())
    }
}

fn number(file: &mut impl Read) -> Result<u32, Failure> {
    let mut bytes = [0; 4];
    file.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}
