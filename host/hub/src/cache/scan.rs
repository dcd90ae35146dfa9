//! What the cache holds: a list of models.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use firebox_contract::limits;

use super::{Cache, read_id};
use crate::error::HubError;
use crate::name::{Choice, ModelName, RepoName, is_id};
use crate::select::{self, Selection};

/// One model of the cache: a GGUF file with its parts, or the other files of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedModel {
    /// Its repository.
    pub repo: RepoName,
    /// The commit of its snapshot.
    pub commit: String,
    /// The branches and tags that are this commit.
    pub refs: Vec<String>,
    /// What it is.
    pub contents: Contents,
    /// The file or folder to open.
    pub path: PathBuf,
    /// Its files in the snapshot.
    pub files: Vec<PathBuf>,
    /// Bytes of its files.
    pub bytes: u64,
    /// When it was last used.
    pub used: SystemTime,
}

/// What a model of the cache is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contents {
    /// A GGUF file, by what names it: its quantization, or its path.
    Gguf(Choice),
    /// The files of a safetensors folder, complete.
    Safetensors,
    /// Files that are no complete model, such as those that another tool has downloaded.
    Other,
}

impl CachedModel {
    /// The name by which commands find it.
    #[must_use]
    pub fn name(&self) -> ModelName {
        const COMMIT_DIGITS: usize = 12;
        let is_main = self.refs.iter().any(|name| name == "main");
        let commit = || self.commit.chars().take(COMMIT_DIGITS).collect();
        let revision = if is_main { None } else { Some(self.refs.first().cloned().unwrap_or_else(commit)) };
        let choice = match &self.contents {
            Contents::Gguf(choice) => choice.clone(),
            Contents::Safetensors => Choice::Safetensors,
            Contents::Other => Choice::Best,
        };
        ModelName { repo: self.repo.clone(), revision, choice }
    }
}

impl CachedModel {
    /// Whether it is what `choice` names; every model is for [`Choice::Best`].
    pub(super) fn is(&self, choice: &Choice) -> bool {
        let has_file = |path: &str| self.files.iter().any(|file| file.ends_with(path));
        match choice {
            Choice::Best => true,
            Choice::Safetensors => self.contents == Contents::Safetensors,
            Choice::File(path) => has_file(path),
            Choice::Quant(label) => match &self.contents {
                Contents::Gguf(Choice::Quant(own)) => own == label,
                Contents::Gguf(Choice::File(path)) => {
                    select::label(path.trim_end_matches(".gguf")).as_ref() == Some(label)
                }
                _ => false,
            },
        }
    }
}

/// A file of a snapshot.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotFile {
    /// Its path in the snapshot, with `/`.
    pub(crate) path: String,
    /// Where it is.
    pub(crate) full: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) used: SystemTime,
}

impl Cache {
    /// Every model of the cache, sorted by name.
    ///
    /// # Errors
    /// `HubError::File` if the cache's folder cannot be read; `TooLarge` if it has more files than are read.
    pub fn models(&self) -> Result<Vec<CachedModel>, HubError> {
        let mut models = Vec::new();
        let mut count = 0;
        for repo in self.repos()? {
            let refs = self.refs(&repo);
            for commit in names(&self.repo(&repo).join("snapshots")).into_iter().filter(|name| is_id(name)) {
                let files = self.snapshot_files(&repo, &commit);
                count += files.len();
                if count > limits::HUB_CACHE_FILES_MAX {
                    let (root, max) = (self.root().display(), limits::HUB_CACHE_FILES_MAX);
                    return Err(HubError::TooLarge(format!("the model cache \"{root}\" has more than {max} files")));
                }
                let refs = refs.iter().filter(|row| *row.1 == commit).map(|row| row.0.clone()).collect::<Vec<_>>();
                models.extend(self.models_of(&repo, &commit, &refs, files));
            }
        }
        Ok(models)
    }

    /// The repositories, sorted by name.
    pub(crate) fn repos(&self) -> Result<Vec<RepoName>, HubError> {
        match fs::read_dir(self.root()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(HubError::file("read", self.root(), error)),
            Ok(_) => {}
        }
        Ok(names(self.root()).iter().filter_map(|name| RepoName::of_folder(name)).collect())
    }

    /// Every ref with its commit.
    pub(crate) fn refs(&self, repo: &RepoName) -> BTreeMap<String, String> {
        let folder = self.repo(repo).join("refs");
        let mut files = Vec::new();
        walk(&folder, "", 0, &mut files);
        files.into_iter().filter_map(|(name, path)| Some((name, read_id(&path)?))).collect()
    }

    /// The files of a snapshot, sorted by path. A link without a blob is not among them.
    pub(crate) fn snapshot_files(&self, repo: &RepoName, commit: &str) -> Vec<SnapshotFile> {
        let mut found = Vec::new();
        walk(&self.snapshot(repo, commit), "", 0, &mut found);
        let file = |(path, full): (String, PathBuf)| {
            let about = fs::metadata(&full).ok()?;
            let used = about.accessed().or_else(|_| about.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            Some(SnapshotFile { path, full, bytes: about.len(), used })
        };
        let mut files: Vec<SnapshotFile> = found.into_iter().filter_map(file).collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files
    }

    fn models_of(&self, repo: &RepoName, commit: &str, refs: &[String], files: Vec<SnapshotFile>) -> Vec<CachedModel> {
        let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
        let ggufs = select::gguf_models(&paths);
        let mut rest: BTreeSet<&str> = paths.iter().copied().collect();
        let mut parts: Vec<(Contents, Vec<&str>)> = Vec::new();
        for model in &ggufs {
            let same = ggufs.iter().filter(|other| other.label == model.label).count();
            let choice = match &model.label {
                Some(label) if same == 1 => Choice::Quant(label.clone()),
                _ => Choice::File(model.files.first().cloned().unwrap_or_default()),
            };
            for file in &model.files {
                rest.remove(file.as_str());
            }
            let is_whole = model.files.len() == model.parts;
            let contents = if is_whole { Contents::Gguf(choice) } else { Contents::Other };
            parts.push((contents, model.files.iter().map(String::as_str).collect()));
        }
        let folder = select::select(&paths, &Choice::Safetensors).is_ok();
        if !rest.is_empty() {
            let contents = if folder { Contents::Safetensors } else { Contents::Other };
            parts.push((contents, rest.into_iter().collect()));
        }
        let snapshot = self.snapshot(repo, commit);
        let model = |(contents, paths): (Contents, Vec<&str>)| {
            let own: Vec<&SnapshotFile> = files.iter().filter(|file| paths.contains(&file.path.as_str())).collect();
            let path = match (&contents, own.first()) {
                (Contents::Gguf(_), Some(first)) => first.full.clone(),
                _ => snapshot.clone(),
            };
            CachedModel {
                repo: repo.clone(),
                commit: commit.to_owned(),
                refs: refs.to_vec(),
                contents,
                path,
                files: own.iter().map(|file| file.full.clone()).collect(),
                bytes: own.iter().map(|file| file.bytes).sum(),
                used: own.iter().map(|file| file.used).max().unwrap_or(SystemTime::UNIX_EPOCH),
            }
        };
        parts.into_iter().map(model).collect()
    }

    /// The commit and the files of the complete model that `name` means, among the files of the cache.
    ///
    /// # Errors
    /// Why it is not there, in a part of a sentence.
    pub(crate) fn find(&self, name: &ModelName) -> Result<(String, Selection), String> {
        let missing = || format!("the cache has no revision \"{}\" of it", name.revision());
        let commit = self.commit(&name.repo, name.revision()).ok_or_else(missing)?;
        let files = self.snapshot_files(&name.repo, &commit);
        let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
        let selection = select::select(&paths, &name.choice).map_err(|why| format!("in the cache, {why}"))?;
        // Other tools may have downloaded a part of a folder.
        if selection.gguf.is_none() && !paths.contains(&"tokenizer.json") {
            return Err("in the cache, it has no tokenizer.json".to_owned());
        }
        Ok((commit, selection))
    }
}

/// The names in a folder, sorted; empty if it cannot be read.
pub(super) fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let names =
        entries.take(limits::HUB_CACHE_FILES_MAX).flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    names
}

/// Adds the files below `folder`, with their paths below the first folder. Links are not followed to folders.
fn walk(folder: &Path, prefix: &str, depth: usize, files: &mut Vec<(String, PathBuf)>) {
    if depth > limits::HUB_CACHE_DEPTH_MAX || files.len() > limits::HUB_CACHE_FILES_MAX {
        return;
    }
    for name in names(folder) {
        let (full, path) = (folder.join(&name), format!("{prefix}{name}"));
        match fs::symlink_metadata(&full) {
            Ok(about) if about.is_dir() => walk(&full, &format!("{path}/"), depth + 1, files),
            Ok(_) => files.push((path, full)),
            Err(_) => {}
        }
    }
}
