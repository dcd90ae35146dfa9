//! Errors of loading and running a model.

use std::time::Duration;

use firebox_contract::Error;

/// An error of loading or running a model. Its text names the file or tensor, the expectation and the value found.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The operating system cannot read a file.
    #[error("cannot read \"{file}\": {reason}")]
    Read {
        /// Path of the file.
        file: String,
        /// The system's message.
        reason: String,
    },
    /// The operating system cannot write a file.
    #[error("cannot write \"{file}\": {reason}")]
    Write {
        /// Path of the file.
        file: String,
        /// The system's message, or what is missing.
        reason: String,
    },
    /// A required file is missing.
    #[error("\"{file}\" is missing; {remedy}")]
    MissingFile {
        /// Path of the file.
        file: String,
        /// The remedy.
        remedy: &'static str,
    },
    /// The folder has no weights in a known format.
    #[error(
        "\"{folder}\" has no weights: it needs {files}; transformers' save_pretrained writes other formats as safetensors"
    )]
    NoWeights {
        /// Path of the folder.
        folder: String,
        /// The files that hold weights.
        files: String,
    },
    /// The file is a git-lfs pointer in the place of a large file.
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
    #[error("\"{file}\" is damaged or has another format than its name: {reason}")]
    Broken {
        /// Path of the file.
        file: String,
        /// The fault.
        reason: String,
    },
    /// A value in a JSON file is missing, of the wrong type or out of range.
    #[error("\"{file}\": \"{key}\" {reason}")]
    Config {
        /// Path of the file.
        file: String,
        /// The key.
        key: String,
        /// The expectation and the value found.
        reason: String,
    },
    /// The checkpoint has no tensor of this name.
    #[error("tensor \"{tensor}\" with shape {expected} is missing from \"{checkpoint}\"")]
    MissingTensor {
        /// The tensor's name.
        tensor: String,
        /// The expected shape.
        expected: String,
        /// Path of the checkpoint.
        checkpoint: String,
    },
    /// A tensor exists but cannot be used.
    #[error("tensor \"{tensor}\" in \"{file}\" has {what} {found}, expected {expected}")]
    Tensor {
        /// The tensor's name.
        tensor: String,
        /// Path of the file that holds it.
        file: String,
        /// `shape`, `type` or `size`.
        what: &'static str,
        /// The stored value.
        found: String,
        /// The value that the config requires.
        expected: String,
    },
    /// The checkpoint's architecture is not supported.
    #[error("architecture \"{found}\" is not supported; supported are {supported}")]
    Architecture {
        /// The name in `config.json`.
        found: String,
        /// The supported names.
        supported: String,
    },
    /// The model is supported, and does something else.
    #[error("architecture \"{found}\" {is}")]
    OtherKind {
        /// The name in `config.json`.
        found: String,
        /// What such a model does, and where it can be used.
        is: &'static str,
    },
    /// The checkpoint needs a feature that is not supported.
    #[error("\"{file}\": \"{key}\" = \"{found}\" is not supported; supported: {supported}")]
    Unsupported {
        /// Path of the file.
        file: String,
        /// The key.
        key: &'static str,
        /// Its value.
        found: String,
        /// The supported values.
        supported: &'static str,
    },
    /// The weights are quantized.
    #[error(
        "\"{file}\" declares quantized weights ({how}), which are not supported; use the checkpoint in BF16, F16 or F32"
    )]
    Quantized {
        /// Path of the file.
        file: String,
        /// The method, if the file names it.
        how: String,
    },
    /// The tokenizer failed.
    #[error("tokenizer \"{file}\" failed: {reason}")]
    Tokenizer {
        /// Path of the tokenizer.
        file: String,
        /// The library's message.
        reason: String,
    },
    /// The chat template failed.
    #[error("chat template of \"{checkpoint}\" failed: {reason}")]
    Template {
        /// Path of the checkpoint.
        checkpoint: String,
        /// The failure and its position.
        reason: String,
    },
    /// The chat template does not accept this conversation. The text is for the author of the conversation, so it has
    /// no path.
    #[error("{0}")]
    Conversation(String),
    /// A kernel, a driver or the memory of a device failed.
    #[error("device \"{device}\" failed: {reason}")]
    Device {
        /// The device, for people.
        device: String,
        /// The failure.
        reason: String,
    },
    /// No device has this name.
    #[error("device \"{name}\" is unknown; give {forms}")]
    DeviceName {
        /// The name as written.
        name: String,
        /// The valid forms.
        forms: String,
    },
    /// No device of this machine fits the requested one.
    #[error("no device \"{asked}\" on this machine{needs}; found: {found}")]
    DeviceMissing {
        /// As it was asked for.
        asked: String,
        /// The requirements of the kind, after a comma, where it has some.
        needs: String,
        /// The devices of the machine.
        found: String,
    },
    /// A device exists but does not work.
    #[error("device \"{asked}\" does not work: {reason}")]
    DeviceFailed {
        /// As it was asked for.
        asked: String,
        /// The fault.
        reason: String,
    },
    /// Larger than a fixed limit.
    #[error("{0}")]
    Exceeds(String),
    /// Other sequences use the memory that this one needs.
    #[error("{0}")]
    Busy(String),
    /// The caller used the model in a wrong way.
    #[error("{0}")]
    Usage(String),
}

/// The time after which KV cache memory may be free again: about a short answer.
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
