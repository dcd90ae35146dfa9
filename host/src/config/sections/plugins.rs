//! `[plugins]`, and the same keys of tenants: which signatures of plugins are trusted and required.

use super::super::reader::Section;
use crate::plugins::distribution::policy::SignaturePolicy;
use crate::plugins::distribution::signature::PublicKey;

impl SignaturePolicy {
    /// Reads `[plugins]`.
    pub(in crate::config) fn read(mut section: Section<'_>) -> Self {
        let policy = Self::keys(&mut section);
        section.finish();
        policy
    }

    /// Reads the keys of `section`.
    pub(in crate::config) fn keys(section: &mut Section<'_>) -> Self {
        let texts = section.texts("trusted_keys").unwrap_or_default();
        let parse = |text: &String| -> Option<PublicKey> {
            text.parse()
                .map_err(|why| section.error(section.at("trusted_keys"), format!("\"trusted_keys\": {why}")))
                .ok()
        };
        let trusted_keys = texts.iter().filter_map(parse).collect();
        let require_signature = section.boolean("require_signature").unwrap_or(false);
        Self { trusted_keys, require_signature }
    }
}
