//! The files of a revision: their paths, sizes and digests.

use firebox_contract::limits;
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde::Deserialize;

use super::{Answer, Client, Fault, Subject, body, passing, plain_tag};
use crate::digest::Expected;
use crate::error::{HubError, shown};
use crate::name::{ModelName, is_file_path, is_id};

/// A file on the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RemoteFile {
    pub(crate) path: String,
    pub(crate) size: u64,
    /// Its entity tag, which is its name in the cache.
    pub(crate) tag: String,
    pub(crate) expected: Expected,
}

/// The files of a commit.
#[derive(Debug, Clone)]
pub(crate) struct Listing {
    pub(crate) commit: String,
    pub(crate) files: Vec<ListedFile>,
}

/// A file as the hub lists it. A hub may leave its size and digest out.
#[derive(Debug, Clone)]
pub(crate) struct ListedFile {
    pub(crate) path: String,
    size: Option<u64>,
    tag: Option<String>,
}

/// The hub's answer: <https://huggingface.co/docs/hub/api>.
#[derive(Deserialize)]
struct ModelAnswer {
    sha: Option<String>,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    #[serde(alias = "oid")]
    sha256: Option<String>,
    size: Option<u64>,
}

impl Client {
    /// The files of a revision.
    pub(crate) async fn listing(&self, name: &ModelName) -> Result<Listing, Fault> {
        let subject = Subject { repo: &name.repo, revision: name.revision(), file: None };
        let parts = ["api", "models"].into_iter().chain(name.repo.as_str().split('/'));
        let mut url = self.url(parts.chain(["revision", name.revision()]))?;
        url.set_query(Some("blobs=true"));
        let answer = self.send(Method::GET, url, &HeaderMap::new(), subject).await?;
        let commit = answer.commit;
        let endpoint = &self.settings.endpoint;
        let max = limits::HUB_LISTING_BYTES_MAX;
        let read = body(answer.response, max, self.settings.retry.idle).await;
        let bytes = read.map_err(passing)?.ok_or_else(|| {
            HubError::TooLarge(format!("hub \"{endpoint}\" describes \"{}\" in more than {max} bytes", name.repo))
        })?;
        let found = read_listing(&bytes, commit).map_err(|why| {
            HubError::Unreachable(format!("\"{endpoint}\" does not answer as a hub does: {why}; check HF_ENDPOINT"))
        })?;
        Ok(found)
    }

    /// Size and digest of a file. Asks the hub for it if its list has none.
    pub(crate) async fn describe(
        &self,
        name: &ModelName,
        commit: &str,
        listed: &ListedFile,
    ) -> Result<RemoteFile, Fault> {
        let path = &listed.path;
        if !is_file_path(path) {
            return Err(
                HubError::Name(format!("the hub names a file \"{}\", which no cache can hold", shown(path))).into()
            );
        }
        let (mut size, mut tag) = (listed.size, listed.tag.clone());
        if size.is_none() || tag.is_none() {
            let subject = Subject { repo: &name.repo, revision: commit, file: Some(path) };
            let url = self.file_url(name, commit, path)?;
            let Answer { response, tag: own, size: linked, .. } =
                self.send(Method::HEAD, url, &HeaderMap::new(), subject).await?;
            let length = || response.headers().get("content-length")?.to_str().ok()?.parse().ok();
            size = size.or(linked).or_else(|| length().filter(|_| response.status().is_success()));
            tag = tag.or(own);
        }
        let unknown = |what: &str| HubError::Unreachable(format!("the hub does not say {what} of \"{}\"", shown(path)));
        let size = size.ok_or_else(|| unknown("the size"))?;
        let tag = tag.ok_or_else(|| unknown("the entity tag"))?;
        if size > limits::HUB_FILE_BYTES_MAX {
            let message =
                format!("\"{}\" has {size} bytes, at most {} are allowed", shown(path), limits::HUB_FILE_BYTES_MAX);
            return Err(HubError::TooLarge(message).into());
        }
        Ok(RemoteFile { path: path.clone(), size, expected: Expected::of_tag(&tag), tag })
    }

    /// The address of a file.
    pub(crate) fn file_url(&self, name: &ModelName, commit: &str, path: &str) -> Result<reqwest::Url, HubError> {
        let parts = name.repo.as_str().split('/').chain(["resolve", commit]).chain(path.split('/'));
        self.url(parts)
    }
}

fn read_listing(bytes: &[u8], commit: Option<String>) -> Result<Listing, String> {
    let answer: ModelAnswer = serde_json::from_slice(bytes).map_err(|error| shown(&error.to_string()))?;
    if answer.siblings.len() > limits::HUB_FILES_MAX {
        return Err(format!("it lists {} files, at most {}", answer.siblings.len(), limits::HUB_FILES_MAX));
    }
    let commit = answer.sha.filter(|id| is_id(id)).or(commit).ok_or("it names no commit")?;
    let file = |sibling: Sibling| {
        let (size, tag) = match sibling.lfs {
            // Without the digest of the large file, the blob's id is the id of its pointer.
            Some(lfs) => (lfs.size.or(sibling.size), lfs.sha256),
            None => (sibling.size, sibling.blob_id),
        };
        ListedFile { path: sibling.rfilename, size, tag: tag.as_deref().and_then(plain_tag) }
    };
    Ok(Listing { commit, files: answer.siblings.into_iter().map(file).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_have_sizes_and_digests_of_the_files_themselves() {
        let json = br#"{"sha": "c0ffee", "siblings": [
            {"rfilename": "a.gguf", "size": 130, "blobId": "p", "lfs": {"sha256": "d1", "size": 99, "pointerSize": 130}},
            {"rfilename": "config.json", "size": 7, "blobId": "b1"},
            {"rfilename": "plain"}], "extra": [1]}"#;
        let listing = read_listing(json, None).expect("readable");
        assert_eq!(listing.commit, "c0ffee");
        let files: Vec<_> =
            listing.files.iter().map(|file| (file.path.as_str(), file.size, file.tag.as_deref())).collect();
        assert_eq!(
            files,
            [("a.gguf", Some(99), Some("d1")), ("config.json", Some(7), Some("b1")), ("plain", None, None)]
        );
    }

    #[test]
    fn odd_lists_are_refused_or_lack_the_odd_value() {
        for odd in [&b"<html>"[..], b"[]", b"{\"siblings\": 1}", b"{}", b"{\"sha\": \"../x\"}"] {
            assert!(read_listing(odd, None).is_err(), "{}", String::from_utf8_lossy(odd));
        }
        let json = br#"{"siblings": [{"rfilename": "a", "size": 1, "blobId": "../../etc"}]}"#;
        let listing = read_listing(json, Some("c0ffee".to_owned())).expect("the header has the commit");
        assert_eq!(listing.files[0].tag, None);
    }
}
