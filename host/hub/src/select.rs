//! Chooses the files of one model among those of a repository, by their names.

mod folder;
mod quant;

use crate::error::shown;
use crate::name::{Choice, is_file_path};
pub use quant::QUANTS;
pub(crate) use quant::label;

/// A model in GGUF: one file, or the parts of a split one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GgufModel {
    /// Its quantization, if its name says it.
    pub(crate) label: Option<String>,
    /// Its files in order. The first is the one to open.
    pub(crate) files: Vec<String>,
    /// How many files there must be.
    pub(crate) parts: usize,
}

/// The files of one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selection {
    /// All files.
    pub(crate) files: Vec<String>,
    /// The GGUF file to open; `None` for a safetensors folder.
    pub(crate) gguf: Option<String>,
    /// The quantization of the GGUF file, if its name says it.
    pub(crate) label: Option<String>,
}

/// The files of `choice` among `paths`.
///
/// # Errors
/// What there is instead, in one sentence without the name of the repository.
pub(crate) fn select(paths: &[&str], choice: &Choice) -> Result<Selection, String> {
    let models = gguf_models(paths);
    match choice {
        Choice::Safetensors => folder::select(paths),
        Choice::Best if models.is_empty() => folder::select(paths),
        Choice::Best => best(&models).and_then(whole),
        Choice::Quant(label) => of_label(&models, label).and_then(whole),
        Choice::File(file) => of_file(paths, &models, file),
    }
}

/// All GGUF models, without the parts that belong to another model: projectors of images, and importance matrices.
pub(crate) fn gguf_models(paths: &[&str]) -> Vec<GgufModel> {
    let mut models: Vec<(String, GgufModel)> = Vec::new();
    let mut sorted: Vec<&str> = paths.iter().copied().filter(|path| is_gguf(path)).collect();
    sorted.sort_unstable();
    for path in sorted.into_iter().filter(|path| is_file_path(path) && !is_companion(path)) {
        let (base, parts) = split_name(path).map_or((stem(path), 1), |(base, _, parts)| (base, parts));
        match models.iter_mut().find(|model| model.0 == base && model.1.parts == parts && parts > 1) {
            Some((_, model)) => model.files.push(path.to_owned()),
            None => {
                models.push((base.to_owned(), GgufModel { label: label(base), files: vec![path.to_owned()], parts }));
            }
        }
    }
    models.into_iter().map(|model| model.1).collect()
}

fn best(models: &[GgufModel]) -> Result<&GgufModel, String> {
    let rank = |model: &GgufModel| quant::rank(model.label.as_deref());
    let first = models.iter().map(rank).min();
    let mut found = models.iter().filter(|model| Some(rank(model)) == first);
    match (found.next(), found.next()) {
        (Some(only), None) => Ok(only),
        _ => Err(format!("it has several models; name one of its files after a colon: {}", listed(models))),
    }
}

fn of_label<'a>(models: &'a [GgufModel], label: &str) -> Result<&'a GgufModel, String> {
    let mut found = models.iter().filter(|model| model.label.as_deref() == Some(label));
    match (found.next(), found.next()) {
        (Some(only), None) => Ok(only),
        (None, _) if models.is_empty() => Err("it has no GGUF file".to_owned()),
        (None, _) => Err(format!("it has no GGUF file with \"{label}\" in its name; it has {}", listed(models))),
        _ => Err(format!("several of its files are \"{label}\"; name one of them after the colon: {}", listed(models))),
    }
}

fn of_file(paths: &[&str], models: &[GgufModel], file: &str) -> Result<Selection, String> {
    if let Some(model) = models.iter().find(|model| model.files.iter().any(|path| path == file)) {
        return whole(model);
    }
    // A projector is not offered, but who names it gets it.
    if paths.contains(&file) {
        return Ok(Selection { files: vec![file.to_owned()], gguf: Some(file.to_owned()), label: None });
    }
    let has = if models.is_empty() { "no GGUF file".to_owned() } else { listed(models) };
    Err(format!("it has no file \"{file}\"; it has {has}"))
}

/// All files of a model.
fn whole(model: &GgufModel) -> Result<Selection, String> {
    if model.files.len() != model.parts {
        let first = model.files.first().map(String::as_str).unwrap_or_default();
        let (parts, found) = (model.parts, model.files.len());
        return Err(format!("of the {parts} files of \"{}\" only {found} are there", shown(first)));
    }
    Ok(Selection { files: model.files.clone(), gguf: model.files.first().cloned(), label: model.label.clone() })
}

/// The models, as they can be asked for.
fn listed(models: &[GgufModel]) -> String {
    const SHOWN_MAX: usize = 24;
    let name = |model: &GgufModel| {
        let unique = |label: &&String| models.iter().filter(|other| other.label.as_ref() == Some(*label)).count() == 1;
        let file = || model.files.first().map(|file| shown(file)).unwrap_or_default();
        model.label.as_ref().filter(unique).cloned().unwrap_or_else(file)
    };
    let names: Vec<String> = models.iter().take(SHOWN_MAX).map(name).collect();
    let rest = if models.len() > SHOWN_MAX { format!(" and {} more", models.len() - SHOWN_MAX) } else { String::new() };
    format!("{}{rest}", names.join(", "))
}

fn is_gguf(path: &str) -> bool {
    path.to_ascii_lowercase().ends_with(".gguf")
}

fn is_companion(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    name.contains("mmproj") || name.contains("imatrix")
}

/// The path without its ending.
fn stem(path: &str) -> &str {
    path.rsplit_once('.').map_or(path, |(stem, _)| stem)
}

/// The common part of the names of a split model, the number of this file and the number of files:
/// `BASE-00001-of-00003.ENDING`.
pub(crate) fn split_name(path: &str) -> Option<(&str, usize, usize)> {
    let (rest, of) = stem(path).rsplit_once("-of-")?;
    let (base, number) = rest.rsplit_once('-')?;
    let read = |text: &str| {
        let is_number = text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<usize>().ok().filter(|_| is_number)
    };
    let (number, of) = (read(number)?, read(of)?);
    (1..=of).contains(&number).then_some((base, number, of))
}

#[cfg(test)]
mod tests;
