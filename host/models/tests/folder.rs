//! A valid checkpoint folder that a test can damage.

use std::path::Path;

use burn::tensor::Device;
use firebox_contract::{Chat, Message, Role};
use firebox_models::{Checkpoint, LoadOptions, ModelError, load_language_model};
use serde_json::{Value, json};

/// A copy of the smallest reference model with a tokenizer of bytes and a template, in a folder of its own.
pub(crate) struct Folder {
    folder: tempfile::TempDir,
}

impl Folder {
    /// The reference model `name`, without a tokenizer.
    pub(crate) fn of(name: &str) -> Self {
        let copy = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity").join(name);
        for entry in std::fs::read_dir(source).expect("the reference model is there") {
            let path = entry.expect("the folder can be read").path();
            let file = path.file_name().expect("a file has a name").to_string_lossy();
            copy.write(&file, &std::fs::read(&path).expect("the file can be read"));
        }
        copy
    }

    pub(crate) fn good() -> Self {
        let good = Self::of("qwen2");
        good.write("tokenizer.json", byte_tokenizer().to_string().as_bytes());
        good.write("chat_template.jinja", b"{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}");
        good
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path().join(name), bytes).expect("the file can be written");
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path().join(name)).expect("the file can be read")
    }

    pub(crate) fn remove(&self, name: &str) {
        std::fs::remove_file(self.path().join(name)).expect("the file can be removed");
    }

    /// Cuts off the last `bytes`.
    pub(crate) fn cut(&self, name: &str, bytes: usize) {
        let content = self.read(name);
        self.write(name, &content[..content.len() - bytes]);
    }

    pub(crate) fn append(&self, name: &str, bytes: &[u8]) {
        self.write(name, &[self.read(name), bytes.to_vec()].concat());
    }

    pub(crate) fn set_config(&self, key: &str, value: Value) {
        let mut config: Value = serde_json::from_slice(&self.read("config.json")).expect("the config is JSON");
        config[key] = value;
        self.write("config.json", config.to_string().as_bytes());
    }

    pub(crate) fn remove_config(&self, key: &str) {
        let mut config: Value = serde_json::from_slice(&self.read("config.json")).expect("the config is JSON");
        config.as_object_mut().expect("an object").remove(key);
        self.write("config.json", config.to_string().as_bytes());
    }

    /// Replaces the weights by an index.
    pub(crate) fn index(&self, map: Value) {
        std::fs::rename(self.path().join("model.safetensors"), self.path().join("hidden")).expect("it can be renamed");
        self.write("model.safetensors.index.json", json!({ "weight_map": map }).to_string().as_bytes());
    }

    /// After [`Folder::index`]: restores the weights under another name.
    pub(crate) fn move_weights(&self, name: &str) {
        std::fs::rename(self.path().join("hidden"), self.path().join(name)).expect("it can be renamed");
    }

    /// Gives a tensor another name in the header.
    pub(crate) fn rename_tensor(&self, from: &str, to: &str) {
        self.edit_header(|header| {
            let entry = header.as_object_mut().expect("an object").remove(from).expect("the tensor is there");
            header[to] = entry;
        });
    }

    /// Gives all tensors whose names begin with `from` names that begin with `to`.
    pub(crate) fn rename_tensors(&self, from: &str, to: &str) {
        self.edit_header(|header| {
            let old = std::mem::take(header.as_object_mut().expect("an object"));
            let new = |name: String| name.strip_prefix(from).map(|end| format!("{to}{end}")).unwrap_or(name);
            *header = old.into_iter().map(|(name, entry)| (new(name), entry)).collect();
        });
    }

    /// Overwrites the first bytes of a tensor.
    pub(crate) fn overwrite_tensor(&self, name: &str, with: &[u8]) {
        let mut bytes = self.read("model.safetensors");
        let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
        let value: Value = serde_json::from_slice(&bytes[8..8 + length]).expect("the header is JSON");
        let start = 8 + length + value[name]["data_offsets"][0].as_u64().expect("a number") as usize;
        bytes[start..start + with.len()].copy_from_slice(with);
        self.write("model.safetensors", &bytes);
    }

    /// Declares that a tensor's bytes have another type of the same size.
    pub(crate) fn retype_tensor(&self, name: &str, dtype: &str) {
        self.edit_header(|header| header[name]["dtype"] = json!(dtype));
    }

    fn edit_header(&self, edit: impl FnOnce(&mut Value)) {
        let bytes = self.read("model.safetensors");
        let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
        let mut value: Value = serde_json::from_slice(&bytes[8..8 + length]).expect("the header is JSON");
        edit(&mut value);
        let text = value.to_string();
        self.write(
            "model.safetensors",
            &[header(text.len() as u64, text.as_bytes()), bytes[8 + length..].to_vec()].concat(),
        );
    }

    /// The warnings of a whole load.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let checkpoint = Checkpoint::open(self.path()).expect("the checkpoint opens");
        load_language_model(&checkpoint, &Device::flex(), LoadOptions::default()).expect("the model loads");
        checkpoint.warnings().list()
    }

    /// Opens and loads everything.
    pub(crate) fn load(&self) -> Result<(), ModelError> {
        let checkpoint = Checkpoint::open(self.path())?;
        load_language_model(&checkpoint, &Device::flex(), LoadOptions::default()).map(|_| ())
    }

    /// The error of the first chat.
    pub(crate) fn chat_error(&self) -> String {
        let checkpoint = Checkpoint::open(self.path()).expect("the checkpoint opens");
        let loaded = load_language_model(&checkpoint, &Device::flex(), LoadOptions::default());
        let codec = match loaded {
            Ok((_, codec)) => codec,
            Err(error) => return error.to_string(),
        };
        let messages = [Message::text(Role::User, "hello")];
        let chat = Chat::new(&messages, &[]);
        codec.encode_chat(chat).expect_err("the template is hostile").to_string()
    }
}

/// A safetensors file's start: the claimed header length, then the header.
pub(crate) fn header(claimed: u64, text: &[u8]) -> Vec<u8> {
    [claimed.to_le_bytes().to_vec(), text.to_vec()].concat()
}

/// A safetensors file with this header and `bytes` bytes of data.
pub(crate) fn tensors_of(text: &str, bytes: usize) -> Vec<u8> {
    [header(text.len() as u64, text.as_bytes()), vec![0; bytes]].concat()
}

/// A byte-level tokenizer without merges: a token per byte.
pub(crate) fn byte_tokenizer() -> Value {
    let vocabulary: serde_json::Map<String, Value> =
        byte_letters().into_iter().enumerate().map(|(id, letter)| (letter.to_string(), json!(id))).collect();
    json!({
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false },
        "decoder": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false },
        "model": { "type": "BPE", "vocab": vocabulary, "merges": [] },
    })
}

/// The letter GPT-2 writes for each byte.
fn byte_letters() -> Vec<char> {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut next = 256;
    let letter = |byte: u8| match printable(byte) {
        true => char::from(byte),
        false => {
            next += 1;
            char::from_u32(next - 1).unwrap_or_default()
        }
    };
    (0..=255).map(letter).collect()
}
