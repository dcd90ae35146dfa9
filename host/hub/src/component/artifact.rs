//! The layout of a component in a registry: that of the CNCF (`application/vnd.wasm.config.v0+json` with one layer
//! `application/wasm`). What Firebox adds is in annotations, so that other hosts can use the artifact.
//!
//! Layout: <https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/>

use std::collections::BTreeMap;

use firebox_contract::limits;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::reference::{OciReference, is_digest};
use crate::digest::sha256;
use crate::error::{HubError, shown};

/// The media type of a manifest.
pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of the configuration of a component.
const CONFIG: &str = "application/vnd.wasm.config.v0+json";
/// The media type of a component.
const WASM: &str = "application/wasm";
/// Older media types of a component.
const OLDER: &[&str] =
    &["application/vnd.wasm.component.v1", "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm"];
/// The annotation with the text of `plugin.toml`.
const PLUGIN_MANIFEST: &str = "dev.firebox.plugin.manifest";
/// The annotation with the text of the signature.
const PLUGIN_SIGNATURE: &str = "dev.firebox.plugin.signature";

/// What a component imports and exports, for the configuration of its artifact.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ComponentInterfaces {
    /// The names of its imports.
    pub imports: Vec<String>,
    /// The names of its exports.
    pub exports: Vec<String>,
}

/// A component to publish.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Publication {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// One line about it.
    pub description: String,
    /// Its bytes.
    pub component: Vec<u8>,
    /// What it imports and exports.
    pub interfaces: ComponentInterfaces,
    /// The text of its `plugin.toml`.
    pub manifest: Option<String>,
    /// The text of its signature.
    pub signature: Option<String>,
    /// When it is published, as RFC 3339 writes it.
    pub created: String,
}

impl Publication {
    /// The configuration and the manifest of the artifact.
    pub(super) fn documents(&self) -> (Vec<u8>, Vec<u8>) {
        let layer = format!("sha256:{}", sha256(&self.component));
        let config = json!({
            "created": self.created,
            "architecture": "wasm",
            "os": "wasip2",
            "layerDigests": [layer],
            "component": { "imports": self.interfaces.imports, "exports": self.interfaces.exports, "target": null },
        });
        let config = config.to_string().into_bytes();
        let optional = [(PLUGIN_MANIFEST, &self.manifest), (PLUGIN_SIGNATURE, &self.signature)];
        let mut annotations: BTreeMap<&str, &str> = [
            ("org.opencontainers.image.title", self.name.as_str()),
            ("org.opencontainers.image.version", self.version.as_str()),
            ("org.opencontainers.image.description", self.description.as_str()),
            ("org.opencontainers.image.created", self.created.as_str()),
        ]
        .into_iter()
        .filter(|row| !row.1.is_empty())
        .collect();
        annotations.extend(optional.into_iter().filter_map(|(key, text)| Some((key, text.as_deref()?))));
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": { "mediaType": CONFIG, "digest": format!("sha256:{}", sha256(&config)), "size": config.len() },
            "layers": [{ "mediaType": WASM, "digest": layer, "size": self.component.len() }],
            "annotations": annotations,
        });
        (config, manifest.to_string().into_bytes())
    }
}

/// A part of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    pub(super) media_type: String,
    pub(super) digest: String,
    pub(super) size: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    media_type: Option<String>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Option<serde_json::Value>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

/// An artifact whose component is not downloaded yet.
#[derive(Debug)]
pub(super) struct Artifact {
    pub(super) layer: Descriptor,
    pub(super) manifest: Option<String>,
    pub(super) signature: Option<String>,
    pub(super) notes: Vec<String>,
}

/// Reads the manifest of an artifact.
///
/// # Errors
/// `HubError::Content` for a manifest that is not valid or not that of a component, `HubError::TooLarge`.
pub(super) fn read(bytes: &[u8], reference: &OciReference) -> Result<Artifact, HubError> {
    let wrong = |why: String| HubError::Content(format!("\"{reference}\" {why}"));
    let manifest: Manifest =
        serde_json::from_slice(bytes).map_err(|error| wrong(format!("has a manifest that is not valid: {error}")))?;
    if manifest.manifests.is_some() {
        return Err(wrong("is an index of several artifacts; name one of them by its digest".to_owned()));
    }
    let is_wasm = |layer: &&Descriptor| layer.media_type == WASM || OLDER.contains(&layer.media_type.as_str());
    let layers: Vec<&Descriptor> = manifest.layers.iter().filter(is_wasm).collect();
    let [layer] = layers.as_slice() else {
        let types: Vec<String> = manifest.layers.iter().take(4).map(|layer| shown(&layer.media_type)).collect();
        let config = manifest.config.map(|config| config.media_type).or(manifest.media_type).unwrap_or_default();
        return Err(wrong(format!(
            "has {} layers of the type \"{WASM}\" and needs one; its layers are {}, its configuration is \"{}\"; container \
             images and proxy-wasm filters are no components",
            layers.len(),
            if types.is_empty() { "none".to_owned() } else { types.join(", ") },
            shown(&config)
        )));
    };
    if !is_digest(&layer.digest) {
        return Err(wrong(format!("has a layer whose digest \"{}\" is not of SHA-256", shown(&layer.digest))));
    }
    if layer.size > limits::PLUGIN_COMPONENT_BYTES_MAX {
        let (size, max) = (layer.size, limits::PLUGIN_COMPONENT_BYTES_MAX);
        return Err(HubError::TooLarge(format!("\"{reference}\" has a component of {size} bytes; {max} are allowed")));
    }
    let mut annotations = manifest.annotations.unwrap_or_default();
    let others = manifest.layers.iter().filter(|other| *other != *layer);
    let notes = others.map(|other| format!("left out a layer of the type \"{}\"", shown(&other.media_type))).collect();
    Ok(Artifact {
        layer: (*layer).clone(),
        manifest: annotations.remove(PLUGIN_MANIFEST),
        signature: annotations.remove(PLUGIN_SIGNATURE),
        notes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference() -> OciReference {
        "oci://ghcr.io/a/b:1".parse().expect("a reference")
    }

    #[test]
    fn what_is_published_is_read() {
        let publication = Publication {
            name: "p".to_owned(),
            component: b"\0asm".to_vec(),
            manifest: Some("id = \"p\"\n".to_owned()),
            created: "2026-01-01T00:00:00Z".to_owned(),
            ..Publication::default()
        };
        let (config, manifest) = publication.documents();
        let artifact = read(&manifest, &reference()).expect("an artifact");
        assert_eq!(artifact.layer.digest, format!("sha256:{}", sha256(b"\0asm")));
        assert_eq!((artifact.manifest, artifact.signature), (publication.manifest, None));
        assert!(artifact.notes.is_empty());
        let config: serde_json::Value = serde_json::from_slice(&config).expect("JSON");
        assert_eq!(config["layerDigests"][0], artifact.layer.digest);
        assert_eq!((&config["architecture"], &config["os"]), (&json!("wasm"), &json!("wasip2")));
    }

    #[test]
    fn artifacts_with_further_layers_are_read_and_others_refused() {
        let layer =
            |kind: &str| json!({ "mediaType": kind, "digest": format!("sha256:{}", "0".repeat(64)), "size": 4 });
        let manifest = |layers: &[&str]| {
            let layers: Vec<_> = layers.iter().map(|kind| layer(kind)).collect();
            json!({ "schemaVersion": 2, "layers": layers, "config": layer(CONFIG) }).to_string().into_bytes()
        };
        let policy = "application/vnd.wasm.policy.v1+yaml";
        let found = read(&manifest(&[policy, WASM]), &reference()).expect("a component with a policy");
        assert_eq!(found.notes, [format!("left out a layer of the type \"{policy}\"")]);
        assert!(read(&manifest(&[OLDER[0]]), &reference()).is_ok());
        let image = "application/vnd.oci.image.layer.v1.tar+gzip";
        let huge = json!({ "layers": [{ "mediaType": WASM, "digest": format!("sha256:{}", "0".repeat(64)), "size": u64::MAX }] });
        let path = json!({ "layers": [{ "mediaType": WASM, "digest": "sha256:../../x", "size": 1 }] });
        let rows = [
            (manifest(&[image]), "container images"),
            (manifest(&[]), "its layers are none"),
            (manifest(&[WASM, WASM]), "has 2 layers"),
            (json!({ "manifests": [] }).to_string().into_bytes(), "is an index"),
            (huge.to_string().into_bytes(), "bytes; "),
            (path.to_string().into_bytes(), "is not of SHA-256"),
            (b"<html>".to_vec(), "is not valid"),
            (b"[]".to_vec(), "is not valid"),
        ];
        for (bytes, expected) in rows {
            let error = read(&bytes, &reference()).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error} should contain {expected}");
        }
    }
}
