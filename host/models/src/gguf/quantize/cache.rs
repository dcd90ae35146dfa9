//! Matrices that were quantized when their model was loaded. They are kept in a folder, so that the next load maps them.

use std::fs::{self, File, FileTimes, OpenOptions};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use firebox_contract::limits;
use firebox_kernels::weights::{StoredType, blocks};

use crate::checkpoint::Checkpoint;
use crate::checkpoint::tensors::TensorIndex;
use crate::error::ModelError;
use crate::gguf::quantize::checksum::{self, CHECKSUMS};
use crate::gguf::quantize::mixture::{Mixture, ModelFacts};
use crate::gguf::quantize::source::Item;
use crate::gguf::quantize::writer::WrittenTables;
use crate::gguf::quantize::{QuantizePlan, QuantizeProgress};
use crate::gguf::{names, view};

/// The folder of quantized matrices.
#[derive(Debug, Clone)]
pub struct QuantizedCache {
    /// It is created where it is missing.
    pub folder: PathBuf,
    /// Bytes of all files together. The files that were not used for the longest time make room.
    pub bytes_max: u64,
}

/// Changes when the same weights would give other files.
const WRITER_VERSION: u32 = 1;
/// The key of a file that says what it was made from.
const MADE_FROM: &str = "firebox.made_from";

impl Checkpoint {
    /// This checkpoint with its matrices in the types of `mixture`: mapped from the cache, where they are put the first time.
    /// Everything else is as it was. Two processes may do this at once.
    ///
    /// # Errors
    /// `Usage` for a model that is quantized already or built in; `Exceeds` where the cache is too small; `Write`.
    pub fn quantized(
        mut self,
        mixture: &'static Mixture,
        cache: &QuantizedCache,
        progress: &mut dyn FnMut(QuantizeProgress),
    ) -> Result<Self, ModelError> {
        let items = items(&self, mixture)?;
        let made_from = made_from(&self, mixture.name)?;
        let index = std::mem::take(&mut self.tensors);
        let plan = QuantizePlan::of_matrices(self.source.label(), index, items, &made_from);
        let matrices = cache.fill(&made_from, &plan, progress)?;
        let mut index = plan.index;
        let first = index.files.len();
        index.files.extend(matrices.files);
        for (name, mut entry) in matrices.entries {
            entry.file += first;
            index.entries.insert(name, entry);
        }
        self.tensors = index;
        Ok(self)
    }
}

impl QuantizePlan {
    /// A file of matrices alone.
    pub(super) fn of_matrices(label: String, index: TensorIndex, items: Vec<Item>, made_from: &str) -> Self {
        let mut tables = WrittenTables::default();
        tables.text("general.architecture", "firebox-matrices");
        tables.text(MADE_FROM, made_from);
        tables.text(CHECKSUMS, &checksum::text(&vec![0; items.len()]));
        items.iter().for_each(|item| tables.tensor(&item.name, &item.shape, item.kind));
        Self { label, index, items, tables, is_cached: true }
    }
}

/// The tensors that become another type.
fn items(checkpoint: &Checkpoint, mixture: &Mixture) -> Result<Vec<Item>, ModelError> {
    let entries = &checkpoint.tensors.entries;
    let name = |key: &str| names::gguf(key).unwrap_or_else(|| key.to_owned());
    let layer = |key: &String| name(key).strip_prefix("blk.")?.split_once('.')?.0.parse::<usize>().ok();
    let facts = ModelFacts {
        layers: entries.keys().filter_map(layer).max().map_or(0, |last| last + 1),
        experts: 0,
        is_tied: !entries.keys().any(|key| name(key) == "output.weight"),
    };
    let mut items = Vec::new();
    for (key, entry) in entries {
        let Ok(stored) = entry.dtype.clone() else { continue };
        if let StoredType::Blocks(kind) = stored {
            let label = checkpoint.source.label();
            return Err(ModelError::Usage(format!(
                "\"{label}\" is quantized already ({}); leave the type of weights out",
                kind.name
            )));
        }
        let target = if entry.shape.len() == 2 { mixture.target(&name(key), &entry.shape, &facts) } else { None };
        if let Some(kind) = target.filter(|kind| *kind != stored) {
            let (name, shape) = (key.clone(), entry.shape.clone());
            items.push(Item { key: name.clone(), name, shape, heads: None, widens: false, kind });
        }
    }
    items.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(items)
}

/// Everything that a cached file depends on, as text: `target` says what the matrices become.
pub(super) fn made_from(checkpoint: &Checkpoint, target: &str) -> Result<String, ModelError> {
    let mut text = format!("writer {WRITER_VERSION}, {target}");
    for (path, _) in &checkpoint.tensors.files {
        let failed = |error: std::io::Error| ModelError::Usage(format!("\"{path}\" cannot be quantized: {error}"));
        let full = fs::canonicalize(path).map_err(failed)?;
        let facts = fs::metadata(&full).map_err(failed)?;
        let changed = facts.modified().ok().and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
        let changed = changed.unwrap_or_default().as_nanos();
        text.push_str(&format!("\n{} of {} bytes, changed at {changed}", full.display(), facts.len()));
    }
    Ok(text)
}

/// A name for a file. The text itself is in the file and is compared, so the name need not be unique.
fn digest(text: &str) -> String {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, text).hash(&mut hasher);
        hasher.finish()
    };
    format!("{:016x}{:016x}", half(0), half(1))
}

impl QuantizedCache {
    /// Makes the file of a plan if it is not there, or is not as it was written. The result is the tensors of the file.
    pub(super) fn fill(
        &self,
        made_from: &str,
        plan: &QuantizePlan,
        progress: &mut dyn FnMut(QuantizeProgress),
    ) -> Result<TensorIndex, ModelError> {
        let path = self.folder.join(format!("{}.gguf", digest(made_from)));
        let failed = |error: std::io::Error| ModelError::Write {
            file: self.folder.display().to_string(),
            reason: error.to_string(),
        };
        if plan.bytes() > self.bytes_max {
            let limit = self.bytes_max;
            return Err(ModelError::Exceeds(format!(
                "the quantized weights have {} bytes, and the cache in \"{}\" may have {limit}",
                plan.bytes(),
                self.folder.display()
            )));
        }
        fs::create_dir_all(&self.folder).map_err(failed)?;
        // Another process may be making the same file. Without the lock both make it, and either is right.
        let _lock = lock(&path.with_extension("lock"));
        if let Some(index) = whole(&path, made_from, plan) {
            // A cache on a disk that is read-only can be used as well.
            let _ignored = touch(&path);
            return Ok(index);
        }
        self.make_room(&path, plan.bytes());
        plan.write(&path, progress)?;
        view::open_plain(&path).map(|(_, index)| index)
    }

    /// Removes the files that were not used for the longest time, until there is room for `bytes` more, and what crashes left.
    /// A file that cannot be removed stays.
    fn make_room(&self, own: &Path, bytes: u64) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        let mut files: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for entry in entries.flatten() {
            let (path, Ok(facts)) = (entry.path(), entry.metadata()) else { continue };
            let changed = facts.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let used = facts.accessed().map_or(changed, |used| used.max(changed));
            match path.extension().and_then(|end| end.to_str()) {
                Some("gguf") if path != own => files.push((used, facts.len(), path)),
                Some("partial") if changed.elapsed().is_ok_and(|age| age > limits::QUANTIZED_PARTIAL_AGE_MAX) => {
                    let _ignored = fs::remove_file(path);
                }
                _ => {}
            }
        }
        files.sort();
        let mut total: u64 = files.iter().map(|file| file.1).sum();
        for (_, size, path) in files {
            if total.saturating_add(bytes) <= self.bytes_max {
                return;
            }
            if fs::remove_file(&path).is_ok() {
                total -= size;
                let _ignored = fs::remove_file(path.with_extension("lock"));
            }
        }
    }
}

/// Waits for the lock, but not for ever.
fn lock(path: &Path) -> Option<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path).ok()?;
    let begun = Instant::now();
    while file.try_lock().is_err() {
        if begun.elapsed() > limits::QUANTIZED_LOCK_WAIT_MAX {
            return None;
        }
        std::thread::sleep(LOCK_PERIOD);
    }
    Some(file)
}

/// Between two looks at a lock.
const LOCK_PERIOD: Duration = Duration::from_millis(50);

/// The tensors of the file at `path`, if it was made from this and every byte of them is as it was written.
fn whole(path: &Path, made_from: &str, plan: &QuantizePlan) -> Option<TensorIndex> {
    let (metadata, mut index) = view::open_plain(path).ok()?;
    let is_same = metadata.text(MADE_FROM).ok().flatten() == Some(made_from);
    let fits = |item: &Item| {
        let entry = index.entries.get(&item.name);
        let is_same = |kind: &StoredType| blocks::number_of(*kind) == blocks::number_of(item.kind);
        entry.is_some_and(|entry| entry.dtype.as_ref().is_ok_and(is_same) && entry.shape == item.shape)
    };
    if !is_same || !plan.items.iter().all(fits) {
        return None;
    }
    let sum = |item: &Item| {
        let entry = index.entries.get(&item.name)?;
        Some(checksum::of(index.files.get(entry.file)?.1.bytes().get(entry.range.clone())?))
    };
    let sums = plan.items.iter().map(sum).collect::<Option<Vec<_>>>()?;
    if metadata.text(CHECKSUMS).ok().flatten() != Some(&checksum::text(&sums)) {
        return None;
    }
    index.entries.values_mut().for_each(|entry| entry.is_checked = true);
    Some(index)
}

/// Notes that a file was used. The time of its last change stays, since other files may be made from it.
fn touch(path: &Path) -> std::io::Result<()> {
    OpenOptions::new().append(true).open(path)?.set_times(FileTimes::new().set_accessed(SystemTime::now()))
}
