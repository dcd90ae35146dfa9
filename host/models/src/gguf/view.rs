//! GGUF files as the files of a Hugging Face folder: texts by name, and an index of tensors.

use std::collections::HashSet;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use firebox_contract::limits;
use firebox_kernels::weights::{Blob, StoredType, blocks};
use serde_json::Value;

use crate::checkpoint::source;
use crate::checkpoint::tensors::{Entry, RowOrder, TensorIndex};
use crate::error::ModelError;
use crate::gguf::config::{self, Architecture, Tensors};
use crate::gguf::encoders::{self, GgufEncoder, TableRows};
use crate::gguf::metadata::Metadata;
use crate::gguf::names;
use crate::gguf::reader::{self, Tables, TensorInfo};
use crate::gguf::tokenizer::Vocabulary;
use crate::metadata::Warnings;

/// The tensor of what each rotary frequency is divided by. It is part of the config.
const ROPE_FACTORS: &str = "rope_freqs.weight";
/// The same for short and for long contexts.
const LONG_ROPE_FACTORS: [&str; 2] = ["rope_factors_short.weight", "rope_factors_long.weight"];
/// The tensor whose rows are the vocabulary.
const EMBEDDING: &str = "token_embd.weight";
/// Keys that say where a file comes from, or that only matter to programs which make or edit it.
const WITHOUT_EFFECT: &[&str] = &[
    "general.",
    "quantize.",
    "split.",
    "tokenizer.ggml.add_",
    "tokenizer.ggml.fim_",
    "tokenizer.ggml.prefix_token_id",
    "tokenizer.ggml.suffix_token_id",
    "tokenizer.ggml.middle_token_id",
    "tokenizer.ggml.remove_extra_whitespaces",
    "tokenizer.ggml.scores",
    "tokenizer.ggml.merges",
    "tokenizer.ggml.pre",
    "tokenizer.ggml.token_type_count",
];

/// One model in GGUF, read and checked. Weights stay in the mapped files.
#[derive(Debug)]
pub(crate) struct GgufFiles {
    /// The path of the first file.
    path: PathBuf,
    /// The texts that a folder would have, by file name.
    texts: Vec<(&'static str, Vec<u8>)>,
    parts: Vec<Part>,
    kind: FileKind,
    heads: Heads,
}

/// What the file is a model of.
#[derive(Debug, Clone, Copy)]
enum FileKind {
    Encoder(&'static GgufEncoder),
    Decoder(&'static Architecture),
}

/// Heads of q and of k.
#[derive(Debug, Clone, Copy)]
struct Heads {
    queries: usize,
    keys: usize,
}

/// One of the files, without its metadata.
#[derive(Debug)]
struct Part {
    path: String,
    blob: Blob,
    tensors: Vec<TensorInfo>,
    /// Byte at which the tensors' data starts.
    data: usize,
    alignment: u64,
}

impl GgufFiles {
    /// Reads the file at `path`, and its siblings where it is one of several.
    ///
    /// # Errors
    /// Names the file, key or tensor that is not right, or what is not supported.
    pub(crate) fn open(path: &Path, warnings: &Warnings) -> Result<Self, ModelError> {
        let (metadata, parts) = open_parts(path)?;
        let metadata = &metadata;
        let vocabulary = Vocabulary::read(metadata)?;
        let facts = facts(&parts)?;
        vocabulary.check_rows(facts.vocabulary)?;
        let encoder = encoders::find(metadata)?;
        let (name, kind, config) = match encoder {
            Some(encoder) => {
                let pooling = encoders::pooling(encoder.name(), metadata)?;
                (
                    encoder.name(),
                    FileKind::Encoder(encoder),
                    encoder.config(metadata, &table_rows(&parts, &facts), pooling)?,
                )
            }
            None => {
                let architecture = config::architecture(metadata)?;
                let config = config::config(architecture, metadata, &facts)?;
                (architecture.name, FileKind::Decoder(architecture), config)
            }
        };
        let heads = Heads { queries: count(&config, "num_attention_heads"), keys: key_heads(&config) };
        let mut texts = vec![
            ("config.json", bytes(&config)),
            ("tokenizer.json", bytes(&vocabulary.tokenizer()?)),
            ("tokenizer_config.json", bytes(&vocabulary.settings()?)),
        ];
        if encoder.is_none() {
            texts.push(("generation_config.json", bytes(&config::generation(metadata, &vocabulary.tokens)?)));
        }
        let modules = encoders::pooling(name, metadata)?.map(encoders::modules).unwrap_or_default();
        texts.extend(modules.iter().map(|(name, value)| (*name, bytes(value))));
        // The rows of the embedding count, and not what the file says about them.
        let is_known =
            |key: &String| key.ends_with(".vocab_size") || WITHOUT_EFFECT.iter().any(|start| key.starts_with(start));
        let has_effect = |key: &String| !is_known(key);
        let unread: Vec<String> = metadata.unread().into_iter().filter(has_effect).collect();
        warnings.add_names(&format!("\"{}\": unknown keys are not used", metadata.file()), &unread);
        Ok(Self { path: path.to_owned(), texts, kind, heads, parts })
    }

    /// The path of the file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The text that a folder would have under `name`.
    pub(crate) fn text(&self, name: &str) -> Option<&[u8]> {
        self.texts.iter().find(|text| text.0 == name).map(|text| text.1.as_slice())
    }

    /// All tensors, by their names in Hugging Face checkpoints. Names that no model here has stay as they are.
    ///
    /// # Errors
    /// `Broken` where a tensor does not fit its file, or lies in the bytes of another.
    pub(crate) fn index(&self) -> Result<TensorIndex, ModelError> {
        let mut index = TensorIndex::default();
        for (number, part) in self.parts.iter().enumerate() {
            let broken = |reason| ModelError::Broken { file: part.path.clone(), reason };
            for (tensor, range) in ranges(part).map_err(broken)? {
                if tensor.name == ROPE_FACTORS || LONG_ROPE_FACTORS.contains(&tensor.name.as_str()) {
                    continue;
                }
                let known = match self.kind {
                    FileKind::Encoder(encoder) => encoder.hugging_face(&tensor.name),
                    FileKind::Decoder(decoder) => names::hugging_face(&tensor.name, decoder.names),
                };
                let name = known.unwrap_or_else(|| tensor.name.clone());
                let entry = Entry {
                    file: number,
                    range,
                    dtype: blocks::stored_type(tensor.kind),
                    shape: tensor.shape.clone(),
                    rows: self.order_of(&tensor.name),
                    is_checked: false,
                };
                if index.entries.insert(name.clone(), entry).is_some() {
                    return Err(broken(format!("tensor \"{name}\" is there twice")));
                }
            }
            index.files.push((part.path.clone(), part.blob.clone()));
        }
        Ok(index)
    }

    fn order_of(&self, name: &str) -> RowOrder {
        let is_interleaved = matches!(self.kind, FileKind::Decoder(decoder) if decoder.is_interleaved);
        if !is_interleaved || !names::is_rotated(name) {
            return RowOrder::AsStored;
        }
        let heads = if name.contains("attn_q") { self.heads.queries } else { self.heads.keys };
        RowOrder::Interleaved { heads }
    }
}

/// Metadata and tensors of the file at `path` and of its siblings, under the names and in the order that they have there.
/// Neither the architecture nor the tokenizer has to be one that can run.
///
/// # Errors
/// As [`GgufFiles::open`] and [`GgufFiles::index`].
pub(super) fn open_plain(path: &Path) -> Result<(Metadata, TensorIndex), ModelError> {
    let (metadata, parts) = open_parts(path)?;
    let mut index = TensorIndex::default();
    for (number, part) in parts.iter().enumerate() {
        let broken = |reason| ModelError::Broken { file: part.path.clone(), reason };
        for (tensor, range) in ranges(part).map_err(broken)? {
            let dtype = blocks::stored_type(tensor.kind);
            let (shape, rows) = (tensor.shape.clone(), RowOrder::AsStored);
            let entry = Entry { file: number, range, dtype, shape, rows, is_checked: false };
            index.entries.insert(tensor.name.clone(), entry);
        }
        index.files.push((part.path.clone(), part.blob.clone()));
    }
    Ok((metadata, index))
}

fn bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn count(config: &Value, key: &str) -> usize {
    config.get(key).and_then(Value::as_u64).and_then(|count| usize::try_from(count).ok()).unwrap_or(0)
}

fn key_heads(config: &Value) -> usize {
    match count(config, "num_key_value_heads") {
        0 => count(config, "num_attention_heads"),
        heads => heads,
    }
}

/// The sizes of an encoder's tables.
fn table_rows(parts: &[Part], facts: &Tensors) -> TableRows {
    let rows = |name: &str| {
        let tensor = parts.iter().flat_map(|part| &part.tensors).find(|tensor| tensor.name == name);
        tensor.and_then(|tensor| tensor.shape.first().copied())
    };
    let positions = rows("position_embd.weight");
    TableRows {
        vocabulary: facts.vocabulary,
        positions,
        types: rows("token_types.weight").unwrap_or(0),
        has_classifier: rows("cls.output.weight").is_some(),
        has_head_bias: rows("cls.bias").is_some(),
    }
}

/// What the config has to know about the tensors.
fn facts(parts: &[Part]) -> Result<Tensors, ModelError> {
    let find = |name: &str| {
        parts.iter().find_map(|part| Some((part, part.tensors.iter().find(|tensor| tensor.name == name)?)))
    };
    let first = parts.first().map(|part| part.path.clone()).unwrap_or_default();
    let vocabulary = find(EMBEDDING).and_then(|(_, tensor)| tensor.shape.first().copied());
    let missing = || ModelError::Broken { file: first.clone(), reason: format!("it has no tensor \"{EMBEDDING}\"") };
    let row = |name: &str| find(name).map(|(part, tensor)| factors(part, tensor)).transpose();
    let [short, long] = LONG_ROPE_FACTORS.map(row);
    Ok(Tensors {
        vocabulary: vocabulary.ok_or_else(missing)?,
        has_output: find("output.weight").is_some(),
        has_attention_bias: find("blk.0.attn_q.bias").is_some(),
        has_mlp_bias: find("blk.0.ffn_up.bias").is_some(),
        rope_factors: row(ROPE_FACTORS)?,
        long_factors: short?.zip(long?).map(|(short, long)| [short, long]),
    })
}

fn factors(part: &Part, tensor: &TensorInfo) -> Result<Vec<f32>, ModelError> {
    let broken = |reason: String| ModelError::Broken { file: part.path.clone(), reason };
    if blocks::stored_type(tensor.kind) != Ok(StoredType::F32) || tensor.shape.len() != 1 {
        return Err(broken(format!("tensor \"{}\" is not a row of F32 numbers", tensor.name)));
    }
    let range = range_of(part, tensor).map_err(broken)?;
    let (values, _) = part.blob.bytes().get(range).unwrap_or_default().as_chunks::<4>();
    Ok(values.iter().map(|value| f32::from_le_bytes(*value)).collect())
}

/// Each tensor with its bytes; none may share some with another.
fn ranges(part: &Part) -> Result<Vec<(&TensorInfo, Range<usize>)>, String> {
    let mut ranges = Vec::with_capacity(part.tensors.len());
    for tensor in &part.tensors {
        // The bytes of a type that cannot be read are not known; the type is refused by name where it is needed.
        let range = match blocks::stored_type(tensor.kind) {
            Ok(_) => range_of(part, tensor)?,
            Err(_) => 0..0,
        };
        ranges.push((tensor, range));
    }
    let mut sorted: Vec<&(&TensorInfo, Range<usize>)> = ranges.iter().filter(|(_, range)| !range.is_empty()).collect();
    sorted.sort_by_key(|(_, range)| range.start);
    for pair in sorted.windows(2) {
        let [(a, first), (b, second)] = pair else { continue };
        if first.end > second.start {
            return Err(format!("tensors \"{}\" and \"{}\" share bytes", a.name, b.name));
        }
    }
    Ok(ranges)
}

fn range_of(part: &Part, tensor: &TensorInfo) -> Result<Range<usize>, String> {
    let name = &tensor.name;
    let kind = blocks::stored_type(tensor.kind).map_err(|kind| format!("tensor \"{name}\" is of type {kind}"))?;
    if !tensor.offset.is_multiple_of(part.alignment) {
        return Err(format!("tensor \"{name}\" starts at {}, no multiple of {}", tensor.offset, part.alignment));
    }
    let row = tensor.shape.last().copied().unwrap_or(0);
    let whole = kind.row_bytes(row).ok_or_else(|| {
        format!("tensor \"{name}\" has rows of {row} weights, which are not whole blocks of {}", kind.name())
    })?;
    let rows = tensor.shape.iter().rev().skip(1).try_fold(1_usize, |rows, size| rows.checked_mul(*size));
    let size = rows.and_then(|rows| rows.checked_mul(whole));
    let start = usize::try_from(tensor.offset).ok().and_then(|offset| part.data.checked_add(offset));
    let range = start.zip(size).and_then(|(start, size)| Some(start..start.checked_add(size)?));
    let length = part.blob.bytes().len();
    let range = range.filter(|range| range.end <= length);
    range.ok_or_else(|| format!("tensor \"{name}\" of {:?} lies outside of its {length} bytes", tensor.shape))
}

/// The file at `path`, or all of its numbered siblings in their order; the metadata is that of the first.
fn open_parts(path: &Path) -> Result<(Metadata, Vec<Part>), ModelError> {
    let (metadata, part) = open_part(path)?;
    let key = "split.count";
    let count = metadata.number(key)?.unwrap_or(1);
    if count <= 1 {
        return Ok((metadata, vec![part]));
    }
    let wrong = |reason: String| metadata.wrong(key, reason);
    let count = usize::try_from(count).ok().filter(|count| *count <= limits::SHARDS_MAX);
    let count = count.ok_or_else(|| wrong(format!("is larger than {}", limits::SHARDS_MAX)))?;
    let names = split_names(path, count);
    let names = names.ok_or_else(|| {
        wrong(format!("is {count}, but the file is not called NAME-00001-of-{count:05}.gguf; keep the name it had"))
    })?;
    let (mut first, mut parts) = (None, Vec::with_capacity(count));
    for (number, name) in names.iter().enumerate() {
        let (metadata, part) = open_part(name)?;
        let own = metadata.number(key)?;
        if own != Some(count as u64) {
            return Err(metadata.wrong(key, format!("is {own:?}, and {count} in another of the files")));
        }
        let own = metadata.number("split.no")?;
        if own != Some(number as u64) {
            return Err(metadata.wrong("split.no", format!("is {own:?}, expected {number}")));
        }
        parts.push(part);
        first.get_or_insert(metadata);
    }
    let first = first.unwrap_or(metadata);
    check_split(&first, &parts)?;
    Ok((first, parts))
}

/// The count of tensors that the files name must be there, and none twice.
fn check_split(metadata: &Metadata, parts: &[Part]) -> Result<(), ModelError> {
    let mut names = HashSet::new();
    for part in parts {
        for tensor in &part.tensors {
            if !names.insert(&tensor.name) {
                let reason = format!("tensor \"{}\" is in two of the files", tensor.name);
                return Err(ModelError::Broken { file: part.path.clone(), reason });
            }
        }
    }
    let key = "split.tensors.count";
    match metadata.number(key)? {
        Some(count) if count != names.len() as u64 => {
            Err(metadata.wrong(key, format!("is {count}, but the files have {} tensors", names.len())))
        }
        _ => Ok(()),
    }
}

/// The paths of all files of which `path` is one, by its name `NAME-00002-of-00003.gguf`.
fn split_names(path: &Path, count: usize) -> Option<Vec<PathBuf>> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".gguf")?;
    let (stem, of) = stem.rsplit_once("-of-")?;
    let (stem, number) = stem.rsplit_once('-')?;
    let is_number = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(number) || !is_number(of) || of.parse() != Ok(count) {
        return None;
    }
    let name = |number: usize| path.with_file_name(format!("{stem}-{number:05}-of-{count:05}.gguf"));
    Some((1..=count).map(name).collect())
}

fn open_part(path: &Path) -> Result<(Metadata, Part), ModelError> {
    let file = path.display().to_string();
    let failed = |error: std::io::Error| ModelError::Read { file: file.clone(), reason: error.to_string() };
    let opened = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let remedy = "a model in several GGUF files needs all of them in one folder";
            return Err(ModelError::MissingFile { file: file.clone(), remedy });
        }
        opened => opened.map_err(failed)?,
    };
    let blob = Blob::map(&opened).map_err(failed)?;
    if source::is_pointer(blob.bytes()) {
        return Err(ModelError::Pointer { file });
    }
    let tables = reader::read(&file, &blob).map_err(|reason| ModelError::Broken { file: file.clone(), reason })?;
    let Tables { metadata, tensors, data, alignment } = tables;
    Ok((metadata, Part { path: file, blob, tensors, data, alignment }))
}
