//! Downloads models from a hub that speaks Hugging Face's protocol, into a cache on disk.
