//! What can go wrong between a folder of files and a running model.

use std::time::Duration;

use firebox_contract::Error;

/// Every way loading or running a model fails. The text names the file or tensor, what was expected and what was found.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The operating system refused.
    #[error("cannot read \"{file}\": {reason}")]
    Read {
        /// Path of the file.
        file: String,
        /// The system's words.
        reason: String,
    },
    /// A file the model cannot do without is not there.
    #[error("\"{file}\" is missing; {remedy}")]
    MissingFile {
        /// Path of the file.
        file: String,
        /// What would help.
        remedy: &'static str,
    },
    /// Git's stand-in for a large file was downloaded in its place.
    #[error(
        "\"{file}\" is a git-lfs pointer and not the file itself; run \"git lfs pull\" in its folder or download it again"
    )]
    Pointer {
        /// Path of the file.
        file: String,
    },
    /// A file is larger than its limit.
    #[error("\"{file}\" has {found} bytes, at most {limit} are allowed")]
    TooLarge {
        /// Path of the file.
        file: String,
        /// Its size, in bytes.
        found: u64,
        /// The limit, in bytes.
        limit: u64,
    },
    /// A file's content breaks its format.
    #[error("\"{file}\" is damaged or not what its name says: {reason}")]
    Broken {
        /// Path of the file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A value in a JSON file is missing, of the wrong type or out of range.
    #[error("\"{file}\": \"{key}\" {reason}")]
    Config {
        /// Path of the file.
        file: String,
        /// The key.
        key: String,
        /// What was expected and what was found.
        reason: String,
    },
    /// The checkpoint has no tensor of this name.
    #[error("tensor \"{tensor}\" with shape {expected} is missing from \"{checkpoint}\"")]
    MissingTensor {
        /// The tensor's name.
        tensor: String,
        /// The shape that was looked for.
        expected: String,
        /// Path of the checkpoint.
        checkpoint: String,
    },
    /// A tensor is there but cannot be used.
    #[error("tensor \"{tensor}\" in \"{file}\" has {what} {found}, expected {expected}")]
    Tensor {
        /// The tensor's name.
        tensor: String,
        /// Path of the file that holds it.
        file: String,
        /// `shape`, `type` or `size`.
        what: &'static str,
        /// As stored.
        found: String,
        /// As the config demands.
        expected: String,
    },
    /// The checkpoint is of an architecture nobody here knows.
    #[error("architecture \"{found}\" is not supported; supported are {supported}")]
    Architecture {
        /// As `config.json` names it.
        found: String,
        /// All that are.
        supported: String,
    },
    /// The checkpoint asks for something this version does not do.
    #[error("\"{file}\": \"{key}\" = \"{found}\" is not supported; supported: {supported}")]
    Unsupported {
        /// Path of the file.
        file: String,
        /// The key.
        key: &'static str,
        /// Its value.
        found: String,
        /// The values that are.
        supported: &'static str,
    },
    /// The weights are quantized.
    #[error(
        "\"{file}\" says that the weights are quantized ({how}), which is not supported; use the checkpoint in BF16, F16 or F32"
    )]
    Quantized {
        /// Path of the file.
        file: String,
        /// The method, as far as the file names it.
        how: String,
    },
    /// The tokenizer failed.
    #[error("tokenizer \"{file}\" failed: {reason}")]
    Tokenizer {
        /// Path of the tokenizer.
        file: String,
        /// Its words.
        reason: String,
    },
    /// The chat template failed.
    #[error("chat template of \"{checkpoint}\" failed: {reason}")]
    Template {
        /// Path of the checkpoint.
        checkpoint: String,
        /// What happened and where.
        reason: String,
    },
    /// The chat template does not take this conversation; without the path of the checkpoint, for whoever wrote it.
    #[error("{0}")]
    Conversation(String),
    /// A kernel, a driver or the memory of a device failed.
    #[error("device \"{device}\" failed: {reason}")]
    Device {
        /// The device, for people.
        device: String,
        /// What happened.
        reason: String,
    },
    /// No device is called that.
    #[error("device \"{name}\" is unknown; give {forms}")]
    DeviceName {
        /// As it was written.
        name: String,
        /// The forms there are.
        forms: String,
    },
    /// Nothing on this machine fits the device asked for.
    #[error("no device \"{asked}\" on this machine, it needs {needs}; found: {found}")]
    DeviceMissing {
        /// As it was asked for.
        asked: String,
        /// What the kind needs.
        needs: &'static str,
        /// What there is.
        found: String,
    },
    /// A device is there but does not work.
    #[error("device \"{asked}\" does not work: {reason}")]
    DeviceFailed {
        /// As it was asked for.
        asked: String,
        /// What went wrong.
        reason: String,
    },
    /// Larger than a fixed limit.
    #[error("{0}")]
    Exceeds(String),
    /// Other sequences hold what this one needs.
    #[error("{0}")]
    Busy(String),
    /// The caller used the model in a way it cannot be meant.
    #[error("{0}")]
    Usage(String),
}

/// When room in the caches may be there again: about the time of a short answer.
const BUSY_RETRY: Duration = Duration::from_secs(2);

impl From<ModelError> for Error {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::Exceeds(text) => Self::TooLarge(text),
            ModelError::Busy(message) => Self::Limited { message, retry_after: BUSY_RETRY },
            ModelError::Usage(text) | ModelError::Conversation(text) => Self::Usage(text),
            name @ ModelError::DeviceName { .. } => Self::Usage(name.to_string()),
            other => Self::Model(other.to_string()),
        }
    }
}
