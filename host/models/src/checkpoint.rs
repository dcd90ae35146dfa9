//! A checkpoint: the files of a model, opened, bounded and indexed. Nothing in them is trusted.

mod format;
pub(crate) mod json;
mod python;
pub(crate) mod source;
pub(crate) mod tensors;
pub(crate) mod weights;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use firebox_contract::limits;

pub use source::EmbeddedFiles;

use crate::checkpoint::json::JsonFile;
use crate::checkpoint::source::Source;
use crate::checkpoint::tensors::TensorIndex;
use crate::error::ModelError;
use crate::gguf::GgufFiles;
use crate::metadata::{self, Table, Warnings, files};

/// The files of one model. Weights stay on disk (memory-mapped) until they are used.
#[derive(Debug)]
pub struct Checkpoint {
    pub(crate) source: Source,
    pub(crate) tensors: TensorIndex,
    warnings: Warnings,
}

impl Checkpoint {
    /// Opens a GGUF file, a folder with nothing but one, or a Hugging Face folder: `config.json`, `tokenizer.json` and weights
    /// in one of the known formats.
    ///
    /// # Errors
    /// Names the file that is missing, too large or damaged.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        if let Some(file) = gguf_file(path)? {
            let warnings = Warnings::default();
            let source = Source::Gguf(Arc::new(GgufFiles::open(&file, &warnings)?));
            return Ok(Self { tensors: format::open(&source, &warnings)?, source, warnings });
        }
        if !path.is_dir() {
            return Err(ModelError::MissingFile {
                file: path.display().to_string(),
                remedy: "a model is a .gguf file, a folder with config.json, tokenizer.json and model.safetensors, or org/name",
            });
        }
        Self::index(Source::Folder(path.to_owned()))
    }

    /// Opens files that are part of the program. Their names are those of a folder.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn embedded(files: EmbeddedFiles) -> Result<Self, ModelError> {
        Self::index(Source::Embedded(files))
    }

    fn index(source: Source) -> Result<Self, ModelError> {
        let warnings = Warnings::default();
        files::check(&source, &warnings)?;
        let tensors = format::open(&source, &warnings)?;
        Ok(Self { source, tensors, warnings })
    }

    /// A folder inside of this one, with weights of its own.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub(crate) fn subfolder(&self, name: &str) -> Result<Self, ModelError> {
        match &self.source {
            Source::Folder(path) => {
                let inner = Self::index(Source::Folder(path.join(name)))?;
                inner.warnings.list().into_iter().for_each(|warning| self.warnings.add(warning));
                Ok(Self { warnings: self.warnings.clone(), ..inner })
            }
            Source::Embedded(_) | Source::Gguf(_) => Err(ModelError::MissingFile {
                file: self.source.path_of(name),
                remedy: "files that are part of the program, and GGUF files, have no folders",
            }),
        }
    }

    /// The folder's last name, or `embedded`.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.source {
            Source::Folder(path) => path
                .canonicalize()
                .ok()
                .and_then(|full| full.file_name().map(|name| name.to_string_lossy().into_owned()))
                .unwrap_or_else(|| path.display().to_string()),
            Source::Embedded(_) => self.source.label(),
            Source::Gguf(files) => {
                files.path().file_stem().map_or_else(|| self.source.label(), |name| name.to_string_lossy().into_owned())
            }
        }
    }

    /// Bytes of weights as stored.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.tensors.entries.values().map(|entry| entry.range.len() as u64).sum()
    }

    /// The types of the weights as stored, with the bytes of each type; the largest first.
    #[must_use]
    pub fn stored_types(&self) -> Vec<(String, u64)> {
        let mut types = BTreeMap::new();
        for entry in self.tensors.entries.values() {
            let name = entry.dtype.as_ref().map_or_else(Clone::clone, |dtype| dtype.name().to_owned());
            *types.entry(name).or_insert(0) += entry.range.len() as u64;
        }
        let mut types: Vec<(String, u64)> = types.into_iter().collect();
        types.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        types
    }

    /// Warnings about files that are used all the same: unused keys and tensors, unusual values.
    #[must_use]
    pub fn warnings(&self) -> &Warnings {
        &self.warnings
    }

    /// A JSON file that may be missing. Its unknown keys are named in a warning.
    pub(crate) fn json(&self, name: &str) -> Result<Option<JsonFile>, ModelError> {
        self.json_as(name, metadata::table_of(name))
    }

    /// As [`Checkpoint::json`], for a file whose table is not chosen by its name.
    pub(crate) fn json_as(&self, name: &str, table: Option<&'static Table>) -> Result<Option<JsonFile>, ModelError> {
        let file = JsonFile::read_as(&self.source, name, table, &self.warnings)?;
        if let Some(file) = &file {
            file.warn_unknown(None);
        }
        Ok(file)
    }

    /// `config.json`. Its keys depend on the class of the model, so the loader of the class warns about unknown ones.
    pub(crate) fn config(&self) -> Result<JsonFile, ModelError> {
        JsonFile::read(&self.source, "config.json", &self.warnings)?.ok_or_else(|| ModelError::MissingFile {
            file: self.source.path_of("config.json"),
            remedy: "it names the architecture of the weights",
        })
    }

    pub(crate) fn text(&self, name: &str, limit: usize) -> Result<Option<String>, ModelError> {
        self.source.read_text(name, limit as u64)
    }

    pub(crate) fn tokenizer_bytes(&self) -> Result<Vec<u8>, ModelError> {
        let bytes = self.source.read("tokenizer.json", limits::TOKENIZER_JSON_BYTES_MAX)?;
        let has = |names: &[&str]| names.iter().any(|name| self.source.has(name));
        bytes.map(std::borrow::Cow::into_owned).ok_or_else(|| ModelError::MissingFile {
            file: self.source.path_of("tokenizer.json"),
            remedy: match () {
                () if has(&["tokenizer.model", "spiece.model", "sentencepiece.bpe.model"]) => {
                    "the folder has a model of SentencePiece, which is not read: save tokenizer.json in its folder with \
                     transformers' AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
                }
                () if has(&["vocab.json", "vocab.txt", "tiktoken.model", "tekken.json"]) => {
                    "the folder has only a vocabulary, which is not read: save tokenizer.json in its folder with \
                     transformers' AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
                }
                () => "save the tokenizer in the fast format (tokenizer.json) in the folder of the weights",
            },
        })
    }
}

/// The GGUF file that `path` is, or that is the only model in the folder `path`: the first one where it is in several parts.
///
/// # Errors
/// `Broken` for a folder with several models, since a guess may be the wrong one.
pub(crate) fn gguf_file(path: &Path) -> Result<Option<PathBuf>, ModelError> {
    let is_gguf = |path: &Path| path.extension().is_some_and(|end| end.eq_ignore_ascii_case("gguf"));
    if path.is_file() {
        return Ok(is_gguf(path).then(|| path.to_owned()));
    }
    if path.join("config.json").exists() {
        return Ok(None);
    }
    let Ok(entries) = std::fs::read_dir(path) else { return Ok(None) };
    let files = entries.take(limits::CHECKPOINT_FOLDER_FILES_MAX).flatten().map(|entry| entry.path());
    let is_later = |path: &Path| {
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        stem.rsplit_once("-of-").is_some_and(|(first, _)| !first.ends_with("-00001"))
    };
    let mut files: Vec<PathBuf> = files.filter(|path| is_gguf(path) && !is_later(path)).collect();
    match files.len() {
        0 | 1 => Ok(files.pop()),
        count => Err(ModelError::Broken {
            file: path.display().to_string(),
            reason: format!("the folder holds {count} GGUF models; give the path of one of the files"),
        }),
    }
}
