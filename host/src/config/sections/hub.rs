//! `[hub]`: which models a server may download.

use firebox_contract::limits;

use super::super::reader::Section;

/// `[hub]`. Without `models`, a server downloads nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubConfig {
    /// Addresses of the hubs that a server may use.
    pub endpoints: Vec<String>,
    /// Globs of the models that a server may download, as `org/name`.
    pub models: Vec<String>,
    /// Maximum size of the model cache, in bytes. Models that were not used for longest are removed before a download.
    pub cache_bytes_max: Option<u64>,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self { endpoints: vec!["https://huggingface.co".to_owned()], models: Vec::new(), cache_bytes_max: None }
    }
}

impl HubConfig {
    pub(in crate::config) fn read(mut section: Section<'_>) -> Self {
        let default = Self::default();
        let read = Self {
            endpoints: section.texts("endpoints").unwrap_or(default.endpoints),
            models: section.texts("models").unwrap_or_default(),
            cache_bytes_max: section.size("cache_bytes_max", 0..=limits::HUB_CACHE_BYTES_MAX),
        };
        section.finish();
        read
    }
}
