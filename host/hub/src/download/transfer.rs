//! The bytes of one file: written and digested as they arrive.

use std::fs::{File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use firebox_contract::limits;
use futures_util::StreamExt as _;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_RANGE, RANGE};
use reqwest::{Method, Response, StatusCode};

use super::Download;
use crate::client::{Answer, Fault, Subject, innermost, passing};
use crate::digest::Hasher;
use crate::error::{HubError, bytes, shown};
use crate::progress::PullEvent;

/// The beginnings of git-lfs pointers.
const POINTERS: [&[u8]; 2] = [b"version https://git-lfs.github.com/spec/", b"version https://hawser.github.com/spec/"];

/// A download with its file.
pub(super) struct Transfer<'a> {
    download: Download<'a>,
    path: PathBuf,
    file: File,
    hasher: Hasher,
    /// Bytes in the file.
    pub(super) written: u64,
    /// Bytes that came over the network.
    pub(super) received: u64,
    /// Whether a request was answered.
    pub(super) is_started: bool,
    resumed_at: u64,
    /// The entity tag of the server that sent the bytes, so that a later part is of the same file.
    validator: Option<HeaderValue>,
}

impl<'a> Transfer<'a> {
    /// Opens the partial file, and digests what an earlier attempt left in it.
    ///
    /// # Errors
    /// `HubError::File`, `DiskFull`.
    pub(super) fn open(download: Download<'a>, path: &Path) -> Result<Self, HubError> {
        let failed = |error| HubError::file("write", path, error);
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
        let remote = download.file;
        let mut hasher = Hasher::new(&remote.expected, remote.size);
        let mut written = file.metadata().map_err(failed)?.len();
        if written > remote.size {
            file.set_len(0).map_err(failed)?;
            written = 0;
        }
        if written > 0 {
            let show = |read| (download.progress)(PullEvent::Bytes { done: download.before + read });
            written = hasher.update_from(&mut file, show).map_err(failed)?;
        }
        file.seek(SeekFrom::Start(written)).map_err(failed)?;
        // An empty file needs no request to be whole, but nothing was resumed either.
        let is_started = written == remote.size && written > 0;
        let path = path.to_owned();
        Ok(Self {
            download,
            path,
            file,
            hasher,
            written,
            received: 0,
            is_started,
            resumed_at: written,
            validator: None,
        })
    }

    /// Whether bytes of an earlier attempt are used.
    pub(super) fn is_resumed(&self) -> bool {
        self.resumed_at > 0
    }

    /// Requests the rest of the file, and takes what arrives.
    pub(super) async fn attempt(&mut self) -> Result<(), Fault> {
        let Download { client, name, commit, file, .. } = self.download;
        let url = client.file_url(name, commit, &file.path)?;
        let subject = Subject { repo: &name.repo, revision: commit, file: Some(&file.path) };
        let answer = client.send(Method::GET, url, &self.headers()?, subject).await?;
        self.is_started = true;
        self.check_tag(&answer)?;
        match answer.response.status() {
            StatusCode::PARTIAL_CONTENT if self.continues(&answer.response) => {}
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                self.restart()?;
                return Err(passing(format!("the server sent another part of \"{}\"", self.shown_path())));
            }
            // A server without ranges, or one whose file has changed, sends the whole file.
            _ => self.restart()?,
        }
        self.validator = answer.response.headers().get(ETAG).filter(|tag| is_strong(tag)).cloned();
        self.body(answer.response).await
    }

    fn headers(&self) -> Result<HeaderMap, Fault> {
        let mut headers = HeaderMap::new();
        if self.written > 0 {
            let range = HeaderValue::from_str(&format!("bytes={}-", self.written));
            headers.insert(RANGE, range.map_err(|_| passing("the range is no header".to_owned()))?);
            if let Some(tag) = &self.validator {
                headers.insert(IF_RANGE, tag.clone());
            }
        }
        Ok(headers)
    }

    /// The hub must still name the file by the same entity tag.
    fn check_tag(&self, answer: &Answer) -> Result<(), Fault> {
        let file = self.download.file;
        match &answer.tag {
            Some(tag) if *tag != file.tag => {
                let path = self.shown_path();
                let remedy = "run the command again; if it fails again, the hub is broken";
                Err(HubError::Content(format!("\"{path}\" changed on the hub while it was downloaded; {remedy}"))
                    .into())
            }
            _ => Ok(()),
        }
    }

    /// Whether the part begins where the file ends.
    fn continues(&self, response: &Response) -> bool {
        let read = || {
            let text = response.headers().get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?;
            let (range, total) = text.split_once('/')?;
            let start: u64 = range.split_once('-')?.0.parse().ok()?;
            let is_total = total == "*" || total.parse() == Ok(self.download.file.size);
            Some(start == self.written && is_total)
        };
        read().unwrap_or(false)
    }

    fn restart(&mut self) -> Result<(), HubError> {
        if self.written > 0 {
            let failed = |error| HubError::file("write", &self.path, error);
            self.file.set_len(0).map_err(failed)?;
            self.file.rewind().map_err(failed)?;
        }
        let file = self.download.file;
        self.hasher = Hasher::new(&file.expected, file.size);
        (self.written, self.resumed_at, self.validator) = (0, 0, None);
        Ok(())
    }

    /// Takes the body of an answer that begins where the file ends.
    async fn body(&mut self, response: Response) -> Result<(), Fault> {
        let remaining = self.download.file.size - self.written;
        let announced =
            response.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if let Some(announced) = announced.filter(|announced| *announced != remaining) {
            return Err(self.other_size(response, announced).await.into());
        }
        let retry = self.download.client.settings.retry;
        let mut chunks = response.bytes_stream();
        let mut window = (Instant::now(), self.written);
        while self.written < self.download.file.size {
            let chunk = match tokio::time::timeout(retry.idle, chunks.next()).await {
                Err(_) => return Err(self.short("the connection stood still")),
                Ok(None) => return Err(self.short("the connection ended early")),
                Ok(Some(Err(error))) => {
                    let why = shown(&innermost(&error));
                    return Err(self.short(&format!("the connection broke: {why}")));
                }
                Ok(Some(Ok(chunk))) => chunk,
            };
            self.take(&chunk)?;
            if window.0.elapsed() >= retry.speed_window {
                if self.written - window.1 < limits::HUB_SPEED_BYTES_MIN && self.written < self.download.file.size {
                    return Err(self.short("the connection was too slow"));
                }
                window = (Instant::now(), self.written);
            }
        }
        Ok(())
    }

    fn take(&mut self, chunk: &[u8]) -> Result<(), Fault> {
        if self.written + chunk.len() as u64 > self.download.file.size {
            let (path, size) = (self.shown_path(), self.download.file.size);
            return Err(HubError::Content(format!(
                "the server sends more than the {size} bytes of \"{path}\" that it announced; report this to the hub"
            ))
            .into());
        }
        self.file.write_all(chunk).map_err(|error| HubError::file("write", &self.path, error))?;
        self.hasher.update(chunk);
        self.written += chunk.len() as u64;
        self.received += chunk.len() as u64;
        (self.download.progress)(PullEvent::Bytes { done: self.download.before + self.written });
        Ok(())
    }

    /// The error for a body that is not as long as the file.
    async fn other_size(&self, response: Response, announced: u64) -> HubError {
        const POINTER_BYTES_MAX: u64 = 1_024;
        let (path, size) = (self.shown_path(), self.download.file.size);
        let mut start = Vec::new();
        if announced <= POINTER_BYTES_MAX {
            let read =
                crate::client::body(response, limits::HUB_REFUSAL_BYTES_MAX, self.download.client.settings.retry.idle);
            start = read.await.ok().flatten().unwrap_or_default();
        }
        if POINTERS.iter().any(|pointer| start.starts_with(pointer)) {
            let remedy = "the hub, or a mirror in HF_ENDPOINT, has only the pointers of large files";
            return HubError::Content(format!("the server sent a git-lfs pointer and not \"{path}\" itself; {remedy}"));
        }
        let remedy = "the file changed, or the hub is broken";
        HubError::Content(format!("the server sends {announced} bytes of \"{path}\", which has {size}; {remedy}"))
    }

    fn short(&self, what: &str) -> Fault {
        let (written, size) = (bytes(self.written), bytes(self.download.file.size));
        passing(format!("{what} after {written} of {size} of \"{}\"", self.shown_path()))
    }

    fn shown_path(&self) -> String {
        shown(&self.download.file.path)
    }

    /// Checks the whole file and writes it to the disk.
    ///
    /// # Errors
    /// `HubError::Content` for another digest; `HubError::File`, `DiskFull`.
    pub(super) fn finish(self) -> Result<(), HubError> {
        let path = self.shown_path();
        self.hasher.check(&self.download.file.expected).map_err(|found| {
            let tag = &self.download.file.tag;
            let remedy = "it was removed; run the command again, and report it to the hub if it happens again";
            HubError::Content(format!("\"{path}\" has the digest {found} and not {tag} as the hub says; {remedy}"))
        })?;
        self.file.sync_all().map_err(|error| HubError::file("write", &self.path, error))
    }
}

/// A weak tag does not say that two files have the same bytes.
fn is_strong(tag: &HeaderValue) -> bool {
    tag.as_bytes().starts_with(b"\"")
}
