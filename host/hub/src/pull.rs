//! Finds a model in the cache, or downloads it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use firebox_contract::limits;

use crate::cache::{Cache, InUse};
use crate::client::Client;
use crate::client::listing::{Listing, RemoteFile};
use crate::download::{Download, is_whole, partial};
use crate::error::{HubError, bytes};
use crate::name::ModelName;
use crate::progress::{Progress, PullEvent};
use crate::select::{self, Selection};
use crate::settings::HubSettings;

/// A hub with its cache.
#[derive(Debug, Clone)]
pub struct Hub {
    settings: HubSettings,
    cache: Cache,
    /// Made for the first request, because most commands need none.
    client: Arc<Mutex<Option<Client>>>,
}

/// A model of the cache, to be opened.
#[derive(Debug)]
pub struct LocalModel {
    /// The GGUF file, or the folder.
    pub path: PathBuf,
    /// Its name: `org/name` with what distinguishes it.
    pub name: ModelName,
    /// Its mark: no Firebox process removes the model as long as this lives.
    pub in_use: InUse,
}

/// What a download did.
#[derive(Debug)]
pub struct Pulled {
    /// The model.
    pub model: LocalModel,
    /// The commit of the revision.
    pub commit: String,
    /// Its number of files.
    pub files: usize,
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes that came over the network.
    pub received: u64,
    /// Seconds that it took.
    pub seconds: f64,
}

impl Hub {
    /// The hub of these settings. Nothing is requested yet.
    #[must_use]
    pub fn new(settings: HubSettings) -> Self {
        let cache = Cache::new(settings.cache.clone());
        Self { settings, cache, client: Arc::default() }
    }

    /// The cache.
    #[must_use]
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &HubSettings {
        &self.settings
    }

    /// The model from the cache.
    ///
    /// # Errors
    /// `HubError::NotFound` if it is not there, or not all of it.
    pub fn find(&self, name: &ModelName) -> Result<LocalModel, HubError> {
        let (commit, selection) = self.cache.find(name).map_err(|why| {
            let root = self.cache.root().display();
            HubError::NotFound(format!(
                "\"{name}\" is not in the model cache \"{root}\": {why}; firebox models pull {name} downloads it"
            ))
        })?;
        Ok(self.local(name, &commit, &selection))
    }

    /// The model from the cache, else downloaded. A model that is in the cache needs no network.
    ///
    /// # Errors
    /// `HubError::Offline` if it is not there and nothing may be downloaded; the errors of [`Hub::pull`].
    pub async fn find_or_pull(&self, name: &ModelName, progress: Progress<'_>) -> Result<LocalModel, HubError> {
        match self.find(name) {
            Err(_) => self.pull(name, progress).await.map(|pulled| pulled.model),
            found => found,
        }
    }

    /// Downloads the newest state of a model. Files that the cache has are not downloaded again.
    ///
    /// # Errors
    /// What the hub refused, the network broke or the disk cannot hold; `HubError::Offline` if nothing may be downloaded.
    pub async fn pull(&self, name: &ModelName, progress: Progress<'_>) -> Result<Pulled, HubError> {
        if self.settings.offline {
            let root = self.cache.root().display();
            let why = self.cache.find(name).err().map_or_else(String::new, |why| format!(": {why}"));
            let remedy = format!("run \"firebox models pull {name}\" without --offline and HF_HUB_OFFLINE");
            return Err(HubError::Offline(format!(
                "offline, \"{name}\" must be in the model cache \"{root}\"{why}; {remedy}"
            )));
        }
        let client = self.client()?;
        if client.hides_token() {
            let text = "HF_TOKEN is not sent, because the hub's address is not HTTPS";
            progress(PullEvent::Note { text });
        }
        match self.pull_once(&client, name, progress).await {
            // The hub may have changed in between. Its new list has the new digests.
            Err(HubError::Content(why)) => {
                progress(PullEvent::Note { text: &format!("{why}; asking the hub again") });
                self.pull_once(&client, name, progress).await
            }
            done => done,
        }
    }

    async fn pull_once(&self, client: &Client, name: &ModelName, progress: Progress<'_>) -> Result<Pulled, HubError> {
        let started = Instant::now();
        let listing = client.retrying(progress, || client.listing(name)).await?;
        let (selection, files) = choose(client, name, &listing, progress).await?;
        let commit = &listing.commit;
        let total: u64 = files.iter().map(|file| file.size).sum();
        let cached = self.check_space(name, &files)?;
        progress(PullEvent::Started { commit, files: files.len(), bytes: total, cached });
        let (mut before, mut received) = (0, 0);
        for file in &files {
            let download = Download { client, cache: &self.cache, name, commit, file, progress, before };
            received += download.fetch().await?;
            before += file.size;
        }
        self.cache.write_ref(&name.repo, name.revision(), commit)?;
        let model = self.local(name, commit, &selection);
        let (commit, seconds) = (commit.clone(), started.elapsed().as_secs_f64());
        Ok(Pulled { model, commit, files: files.len(), bytes: total, received, seconds })
    }

    /// Checks that the disk can hold what is not there yet. Returns the bytes that are there.
    fn check_space(&self, name: &ModelName, files: &[RemoteFile]) -> Result<u64, HubError> {
        let length = |path: &Path| std::fs::metadata(path).map_or(0, |about| about.len());
        let (mut cached, mut needed) = (0, 0_u64);
        for file in files {
            let blob = self.cache.blob(&name.repo, &file.tag);
            if is_whole(&blob, file.size) {
                cached += file.size;
            } else {
                needed = needed.saturating_add(file.size.saturating_sub(length(&partial(&blob))));
            }
        }
        let free = self.cache.free_bytes().unwrap_or(u64::MAX);
        if needed > 0 && needed.saturating_add(limits::HUB_DISK_RESERVE_BYTES) > free {
            let (root, needed, free) = (self.cache.root().display(), bytes(needed), bytes(free));
            let reserve = bytes(limits::HUB_DISK_RESERVE_BYTES);
            let remedy = "free some (firebox models cache --max SIZE), or name another cache in HF_HUB_CACHE";
            let message = format!(
                "\"{name}\" needs {needed} and {reserve} to spare; the disk of \"{root}\" has {free}; {remedy}"
            );
            return Err(HubError::DiskFull(message));
        }
        Ok(cached)
    }

    fn local(&self, name: &ModelName, commit: &str, selection: &Selection) -> LocalModel {
        let snapshot = self.cache.snapshot(&name.repo, commit);
        let paths: Vec<PathBuf> = selection.files.iter().map(|file| snapshot.join(file)).collect();
        let path = selection.gguf.as_ref().map_or(snapshot.clone(), |file| snapshot.join(file));
        LocalModel { path, name: name.clone(), in_use: InUse::mark(&paths) }
    }

    fn client(&self) -> Result<Client, HubError> {
        let mut client = self.client.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(client) = &*client {
            return Ok(client.clone());
        }
        let fresh = Client::new(self.settings.clone())?;
        *client = Some(fresh.clone());
        Ok(fresh)
    }
}

/// The files of a model, with their sizes and digests.
async fn choose(
    client: &Client,
    name: &ModelName,
    listing: &Listing,
    progress: Progress<'_>,
) -> Result<(Selection, Vec<RemoteFile>), HubError> {
    let paths: Vec<&str> = listing.files.iter().map(|file| file.path.as_str()).collect();
    let selection = select::select(&paths, &name.choice)
        .map_err(|why| HubError::NotFound(format!("model \"{}\" cannot be used: {why}", name.repo)))?;
    let mut files = Vec::with_capacity(selection.files.len());
    for path in &selection.files {
        let Some(listed) = listing.files.iter().find(|file| file.path == *path) else { continue };
        files.push(client.retrying(progress, || client.describe(name, &listing.commit, listed)).await?);
    }
    Ok((selection, files))
}
