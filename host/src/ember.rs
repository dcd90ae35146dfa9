//! The small chat model that comes inside the binary, so that the first command works without any download.

/// Its name where a model is named.
pub const NAME: &str = "ember";

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!("../ember/model/", $name)).as_slice())),*]
    };
}

/// The files of its checkpoint, by name.
pub const FILES: &[(&str, &[u8])] = files![
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "model.safetensors",
];
