//! The built-in chat model, so that the first command works without a download.

/// The name of the built-in model.
pub const NAME: &str = "ember";

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!("../../ember/model/", $name)).as_slice())),*]
    };
}

/// The files of its checkpoint: name and content.
pub const FILES: &[(&str, &[u8])] = files![
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "model.safetensors",
];
