//! The files of sentence-transformers for a text encoder, read as its version 6.2 reads them.
//!
//! ```text
//! encoder    the text encoder                          pooling   from one vector per token to one per text
//! input      length limit, truncation and lower case   head      the modules after the pooling
//! tokenizer  the tokenizer with lower case             dense     a linear layer in a folder of its own
//! settings   prompts, length of the vectors            classifier  the head of a cross-encoder, which scores pairs
//! ```
//!
//! A folder without `modules.json` is a plain model of transformers: only its tokenizer is used, and the vector is the
//! mean of the token vectors.

mod classifier;
mod dense;
mod encoder;
mod head;
mod input;
mod pooling;
mod settings;
mod tokenizer;

pub(crate) use classifier::ClassifierHead;
pub(crate) use encoder::TextEncoder;
pub(crate) use head::EmbeddingHead;
pub(crate) use input::InputSettings;
pub(crate) use pooling::{Pooling, Rows};
pub(crate) use settings::EncoderSettings;

use crate::checkpoint::Checkpoint;
use crate::checkpoint::json::{JsonFile, shorten};
use crate::error::ModelError;
use crate::metadata::MODULE;
use serde_json::Value;

/// The modules of a folder, in their order. `Modules::read` returns `None` if the folder has no `modules.json`.
#[derive(Debug)]
pub(crate) struct Modules {
    file: String,
    list: Vec<Module>,
}

#[derive(Debug)]
struct Module {
    /// The class without its Python module.
    kind: String,
    /// The folder of its files; empty for the checkpoint's own.
    folder: String,
}

const KINDS: &str = "Transformer, Pooling, Dense, Normalize, Dropout of sentence_transformers";

impl Modules {
    /// Reads `modules.json`.
    ///
    /// # Errors
    /// `Broken` and `Config` if it is not a list of modules, `Unsupported` for a module that is not supported.
    pub(crate) fn read(checkpoint: &Checkpoint) -> Result<Option<Self>, ModelError> {
        let Some(value) = JsonFile::read_value(&checkpoint.source, "modules.json")? else { return Ok(None) };
        let file = checkpoint.source.path_of("modules.json");
        let Value::Array(list) = value else {
            return Err(ModelError::Broken { file, reason: "expected a list of modules".to_owned() });
        };
        for map in list.iter().filter_map(Value::as_object) {
            let unknown = MODULE.unknown(map, None);
            checkpoint.warnings().add_names(&format!("\"{file}\": unknown keys are not used"), &unknown);
        }
        let list = list.iter().map(|module| Module::read(module, &file)).collect::<Result<Vec<_>, _>>()?;
        match list.first() {
            Some(Module { kind, folder }) if kind == "Transformer" && folder.is_empty() => {}
            _ => {
                let reason = "must begin with a Transformer in the folder itself, \"path\": \"\"".to_owned();
                return Err(ModelError::Config { file, key: "path".to_owned(), reason });
            }
        }
        Ok(Some(Self { file, list }))
    }

    /// Whether a pooling makes a vector of each text.
    pub(crate) fn pools(&self) -> bool {
        self.list.iter().any(|module| module.kind == "Pooling")
    }

    /// Refuses modules after the transformer, which a cross-encoder does not have.
    ///
    /// # Errors
    /// `Config`, with the module.
    pub(crate) fn only_transformer(&self) -> Result<(), ModelError> {
        match self.after_transformer().find(|(kind, _)| *kind != "Dropout") {
            None => Ok(()),
            Some((kind, _)) => {
                let reason = format!("has the module \"{kind}\" after a classifier, which is not supported");
                Err(ModelError::Config { file: self.file.clone(), key: "type".to_owned(), reason })
            }
        }
    }

    /// The modules after the transformer: kind and folder.
    fn after_transformer(&self) -> impl Iterator<Item = (&str, &str)> {
        self.list.iter().skip(1).map(|module| (module.kind.as_str(), module.folder.as_str()))
    }
}

impl Module {
    fn read(module: &Value, file: &str) -> Result<Self, ModelError> {
        let text = |key: &str| module.get(key).and_then(Value::as_str);
        let class = text("type").unwrap_or_default();
        // A class of another package is code in the checkpoint's own folder.
        let kind = class.strip_prefix("sentence_transformers.").and_then(|class| class.rsplit('.').next());
        let Some(kind) = kind.filter(|kind| ["Transformer", "Pooling", "Dense", "Normalize", "Dropout"].contains(kind))
        else {
            return Err(ModelError::Unsupported {
                file: file.to_owned(),
                key: "type",
                found: shorten(&Value::from(class)).trim_matches('"').to_owned(),
                supported: KINDS,
            });
        };
        let folder = text("path").unwrap_or_default().trim_end_matches('/');
        if folder.contains(['/', '\\', ':', '\0']) || folder.starts_with('.') {
            let reason = format!("is {}, expected a plain folder name", shorten(&Value::from(folder)));
            return Err(ModelError::Config { file: file.to_owned(), key: "path".to_owned(), reason });
        }
        Ok(Self { kind: kind.to_owned(), folder: folder.to_owned() })
    }
}
