//! Safetensors: one file, or shards with an index (<https://huggingface.co/docs/safetensors>).

use std::collections::{BTreeMap, BTreeSet};

use firebox_contract::limits;
use firebox_kernels::weights::Blob;
use firebox_kernels::weights::StoredType;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use crate::checkpoint::json::JsonFile;
use crate::checkpoint::source::Source;
use crate::checkpoint::tensors::{Entry, RowOrder, TensorIndex};
use crate::error::ModelError;
use crate::metadata::Warnings;

/// Bytes of the header's length, which comes before the header.
const PREFIX_BYTES: usize = 8;

/// `model.safetensors`.
pub(super) fn open_single(source: &Source, _warnings: &Warnings) -> Result<Option<TensorIndex>, ModelError> {
    let name = "model.safetensors";
    let Some(blob) = source.map(name)? else { return Ok(None) };
    let mut index = TensorIndex::default();
    for (tensor, entry) in add_file(&mut index, source.path_of(name), blob)? {
        index.entries.insert(tensor, entry);
    }
    Ok(Some(index))
}

/// Reads `model.safetensors.index.json` and the shards that it names. If several shards have a tensor, the shard that
/// the index names is used.
pub(super) fn open_sharded(source: &Source, warnings: &Warnings) -> Result<Option<TensorIndex>, ModelError> {
    let name = "model.safetensors.index.json";
    let Some(file) = JsonFile::read(source, name, warnings)? else { return Ok(None) };
    let map = weight_map(&file)?;
    let shards: BTreeSet<&str> = map.values().copied().collect();
    if shards.len() > limits::SHARDS_MAX {
        return Err(file.wrong("weight_map", format!("names {} files, at most {}", shards.len(), limits::SHARDS_MAX)));
    }
    let (mut index, mut contradicted) = (TensorIndex::default(), Vec::new());
    for shard in shards {
        let blob = source.map(shard)?.ok_or_else(|| ModelError::MissingFile {
            file: source.path_of(shard),
            remedy: "model.safetensors.index.json names it; download the checkpoint again",
        })?;
        for (tensor, entry) in add_file(&mut index, source.path_of(shard), blob)? {
            let named = map.get(tensor.as_str()).is_none_or(|named| *named == shard);
            match index.entries.get(&tensor) {
                Some(other) if !index.same(other, &entry) => contradicted.push(tensor.clone()),
                _ => {}
            }
            if named || !index.contains(&tensor) {
                index.entries.insert(tensor, entry);
            }
        }
    }
    let text = format!(
        "\"{}\": several shards have different values of a tensor; those of \"weight_map\" are used",
        file.file
    );
    warnings.add_names(&text, &contradicted);
    match map.keys().find(|tensor| !index.contains(tensor)) {
        Some(tensor) => Err(file.wrong("weight_map", format!("names tensor \"{tensor}\", which no shard holds"))),
        None => Ok(Some(index)),
    }
}

/// The shard of each tensor. Shard names are plain file names, so an index cannot reach outside its folder.
fn weight_map(file: &JsonFile) -> Result<BTreeMap<&str, &str>, ModelError> {
    let map = match file.get("weight_map") {
        Some(Value::Object(map)) => map,
        _ => return Err(file.wrong("weight_map", "is missing, expected an object from tensors to files")),
    };
    let mut checked = BTreeMap::new();
    for (tensor, shard) in map {
        let name = shard.as_str().filter(|name| is_plain_file_name(name)).ok_or_else(|| {
            file.wrong("weight_map", format!("names \"{shard}\" for \"{tensor}\", expected a plain file name"))
        })?;
        checked.insert(tensor.as_str(), name);
    }
    Ok(checked)
}

fn is_plain_file_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\\', ':', '\0'])
}

/// Checks the header of one file, adds the file, and returns its tensors.
fn add_file(index: &mut TensorIndex, path: String, blob: Blob) -> Result<Vec<(String, Entry)>, ModelError> {
    let broken = |reason: String| ModelError::Broken { file: path.clone(), reason };
    let bytes = blob.bytes();
    check_header_length(bytes).map_err(broken)?;
    let (header, metadata) = SafeTensors::read_metadata(bytes).map_err(|error| broken(error.to_string()))?;
    let data = PREFIX_BYTES + header;
    let mut tensors = Vec::new();
    for (name, info) in metadata.tensors() {
        let offset = |at: usize| data.checked_add(at).ok_or_else(|| broken(format!("tensor \"{name}\" lies outside")));
        let range = offset(info.data_offsets.0)?..offset(info.data_offsets.1)?;
        let entry = Entry {
            file: index.files.len(),
            range,
            dtype: stored_type(info.dtype),
            shape: info.shape.clone(),
            rows: RowOrder::AsStored,
            is_checked: false,
        };
        tensors.push((name, entry));
    }
    index.files.push((path, blob));
    Ok(tensors)
}

/// The library checks this as well, with a less helpful message.
fn check_header_length(bytes: &[u8]) -> Result<(), String> {
    let Some(prefix) = bytes.first_chunk::<PREFIX_BYTES>() else {
        return Err(format!("it has {} bytes, not even a safetensors header", bytes.len()));
    };
    let header = u64::from_le_bytes(*prefix);
    if header > limits::SAFETENSORS_HEADER_BYTES_MAX as u64 {
        let limit = limits::SAFETENSORS_HEADER_BYTES_MAX;
        return Err(format!("its header claims {header} bytes, at most {limit} are allowed"));
    }
    if header > (bytes.len() - PREFIX_BYTES) as u64 {
        return Err(format!("its header claims {header} bytes, but the file has only {}", bytes.len()));
    }
    Ok(())
}

fn stored_type(dtype: Dtype) -> Result<StoredType, String> {
    match dtype {
        Dtype::F32 => Ok(StoredType::F32),
        Dtype::F16 => Ok(StoredType::F16),
        Dtype::BF16 => Ok(StoredType::Bf16),
        other => Err(format!("{other:?}")),
    }
}
