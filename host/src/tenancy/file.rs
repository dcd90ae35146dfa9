//! The file of tenants, which `firebox tenants` edits while comments, order and whatever else people wrote stay.
//!
//! One change at a time: a lock file beside it keeps others out. A change is made on the text, the result is read back
//! and must be the old tenants with that change and nothing else, and only then does it replace the file, at once and
//! for its owner's eyes only. A crash leaves the old file or the new one.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use firebox_contract::{Error, limits};

use super::keys::{NewKey, hex};
use crate::config::{self, KeyConfig, Scope, TenantConfig};
use crate::system::time;

const HEADER: &str =
    "# Tenants of this host, and the digests of their keys. `firebox tenants` edits this file: comments stay.\n";

/// The file at one path; it need not be there yet.
#[derive(Debug, Clone)]
pub struct TenantsFile {
    path: PathBuf,
}

/// What a new key is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyOptions {
    /// Until when.
    pub expires: Option<SystemTime>,
    /// What it opens.
    pub scopes: Vec<Scope>,
}

/// The text of the file with the tenants in it.
struct TenantsText {
    text: String,
    tenants: Vec<TenantConfig>,
}

impl TenantsFile {
    /// The file at `path`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path: PathBuf = path.into();
        // A link stays a link: what it points to is what is replaced.
        Self { path: std::fs::canonicalize(&path).unwrap_or(path) }
    }

    /// The tenants in it; none where it is not there.
    ///
    /// # Errors
    /// `Error::Usage` for a file that cannot be read or meant.
    pub fn tenants(&self) -> Result<Vec<TenantConfig>, Error> {
        self.read().map(|contents| contents.tenants)
    }

    /// Adds a tenant with one key. `settings` are lines of its table, such as `models = ["*"]`, and tables below it.
    ///
    /// # Errors
    /// `Error::Usage` for a name that cannot be or is there already, `Error::Internal` for a file that cannot be
    /// written.
    pub fn add(&self, name: &str, settings: &str, options: &KeyOptions) -> Result<NewKey, Error> {
        config::check_name(name).map_err(Error::Usage)?;
        let key = NewKey::generate()?;
        self.edit(|old| {
            if old.tenants.iter().any(|tenant| tenant.name == name) {
                let message =
                    format!("there is a tenant \"{name}\" already; firebox tenants rotate {name} makes it a new key");
                return Err(Error::Usage(message));
            }
            let gap = if old.text.is_empty() { "" } else { "\n" };
            let table = format!("[[tenant]]\nname = \"{name}\"\n{settings}{}", key_table(&key, options));
            Ok((format!("{}{gap}{table}", old.text), true))
        })?;
        Ok(key)
    }

    /// Gives the tenant `name` a new key; the old ones go, unless they are kept.
    ///
    /// # Errors
    /// As [`TenantsFile::add`]; `Error::NotFound` for a tenant that is not in this file.
    pub fn rotate(&self, name: &str, keep: bool, options: &KeyOptions) -> Result<NewKey, Error> {
        let key = NewKey::generate()?;
        self.edit(|old| {
            let tenant = old.find(name)?;
            let layout = TableLayout::of(&old.text);
            let table = key_table(&key, options);
            let mut lines: Vec<&str> = old.text.lines().collect();
            lines.insert(layout.tenant_end(tenant.at.line_number()), table.trim_end());
            // From the last on, so that the places of the earlier ones stay.
            for key in tenant.keys.iter().rev().filter(|_| !keep) {
                lines.drain(layout.table(key.at.line_number()));
            }
            Ok((lines.join("\n") + "\n", true))
        })?;
        Ok(key)
    }

    /// Takes back every key of the tenant `which`, or the one key `which`, and says the ids of those that went.
    ///
    /// # Errors
    /// As [`TenantsFile::rotate`].
    pub fn revoke(&self, which: &str) -> Result<Vec<String>, Error> {
        let mut gone = Vec::new();
        self.edit(|old| {
            let of_tenant = old.tenants.iter().find(|tenant| tenant.name == which);
            let keys: Vec<&KeyConfig> = match of_tenant {
                Some(tenant) => tenant.keys.iter().collect(),
                None => old.tenants.iter().flat_map(|tenant| &tenant.keys).filter(|key| key.id == which).collect(),
            };
            if keys.is_empty() && of_tenant.is_none() {
                return Err(not_here(which, &self.path));
            }
            gone = keys.iter().map(|key| key.id.clone()).collect();
            let layout = TableLayout::of(&old.text);
            let mut lines: Vec<&str> = old.text.lines().collect();
            let mut tables: Vec<_> = keys.iter().map(|key| layout.table(key.at.line_number())).collect();
            tables.sort_by_key(|table| std::cmp::Reverse(table.start));
            for table in tables {
                lines.drain(table);
            }
            Ok((lines.join("\n") + "\n", !gone.is_empty()))
        })?;
        Ok(gone)
    }

    fn read(&self) -> Result<TenantsText, Error> {
        let name = self.path.display().to_string();
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Error::Usage(format!("cannot read \"{name}\": {error}; check its permissions"))),
        };
        let tenants = config::parse_tenants(&text, &name)?;
        Ok(TenantsText { text, tenants })
    }

    /// Applies `change`, which gives the new text and whether anything changed.
    fn edit(&self, change: impl FnOnce(&TenantsText) -> Result<(String, bool), Error>) -> Result<(), Error> {
        let _lock = self.lock()?;
        let old = self.read()?;
        let (text, changed) = change(&old)?;
        if !changed {
            return Ok(());
        }
        let text = if old.text.is_empty() { format!("{HEADER}\n{text}") } else { text };
        let name = self.path.display().to_string();
        let new = config::parse_tenants(&text, &name).map_err(|error| unusual(&name, &error.to_string()))?;
        if !follows(&old.tenants, &new) {
            return Err(unusual(&name, "the change would touch other tenants"));
        }
        self.write(&text)
            .map_err(|error| Error::Internal(format!("cannot write \"{name}\": {error}; nothing has changed")))
    }

    fn lock(&self) -> Result<File, Error> {
        const POLL: Duration = Duration::from_millis(10);
        let path = self.path.with_added_extension("lock");
        let cannot = |error: io::Error| Error::Internal(format!("cannot lock \"{}\": {error}", path.display()));
        let mut options = OpenOptions::new();
        options.create(true).append(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path).map_err(cannot)?;
        let deadline = Instant::now() + limits::TENANTS_LOCK_WAIT;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(POLL),
                Err(TryLockError::WouldBlock) => {
                    let message =
                        format!("somebody else has been changing \"{}\" for too long; try again", self.path.display());
                    return Err(Error::Unavailable(message));
                }
                Err(TryLockError::Error(error)) => return Err(cannot(error)),
            }
        }
    }

    fn write(&self, text: &str) -> io::Result<()> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // Made with permissions for its owner alone.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(&self.path).map_err(|error| error.error)?;
        #[cfg(unix)]
        File::open(folder)?.sync_all()?;
        Ok(())
    }
}

impl TenantsText {
    fn find(&self, name: &str) -> Result<&TenantConfig, Error> {
        let found = self.tenants.iter().find(|tenant| tenant.name == name);
        found.ok_or_else(|| not_here(name, Path::new(config::TENANTS_FILE)))
    }
}

fn not_here(which: &str, path: &Path) -> Error {
    let path = path.display();
    Error::NotFound(format!(
        "\"{which}\" is not in \"{path}\"; firebox tenants list shows what is, and tenants of another file are changed there"
    ))
}

fn unusual(name: &str, why: &str) -> Error {
    Error::Usage(format!("\"{name}\" is laid out in a way that cannot be edited from here ({why}); edit it by hand"))
}

/// Whether `new` is `old` with keys or one whole tenant added or keys removed, and nothing else changed.
fn follows(old: &[TenantConfig], new: &[TenantConfig]) -> bool {
    let bare =
        |tenant: &TenantConfig| TenantConfig { keys: Vec::new(), at: config::Origin::nowhere(), ..tenant.clone() };
    let stays = old.iter().zip(new).filter(|(old, new)| bare(old) == bare(new)).count() == old.len();
    let changed = old.iter().zip(new).filter(|(old, new)| key_ids(old) != key_ids(new)).count();
    let added = new.len().saturating_sub(old.len());
    stays && changed + added == 1
}

fn key_ids(tenant: &TenantConfig) -> Vec<&str> {
    tenant.keys.iter().map(|key| key.id.as_str()).collect()
}

/// The table of a new key.
fn key_table(key: &NewKey, options: &KeyOptions) -> String {
    let expires = options.expires.map(|expires| format!("expires = {}\n", time::rfc3339(expires))).unwrap_or_default();
    let scopes: Vec<&str> = options.scopes.iter().map(|scope| scope.as_str()).collect();
    let (id, digest, scopes) = (&key.id, hex(&key.digest), config::toml_list(&scopes));
    format!("\n[[tenant.key]]\nid = \"{id}\"\ndigest = \"{digest}\"\n{expires}scopes = {scopes}\n")
}

/// Where the tables of a file begin and end, in lines counted from 0.
struct TableLayout {
    /// The lines of headers, and whether each begins a tenant.
    headers: Vec<(usize, bool)>,
    /// Whether a line says something: neither empty nor a comment.
    speaks: Vec<bool>,
    /// Whether a line is empty.
    empty: Vec<bool>,
}

impl TableLayout {
    fn of(text: &str) -> Self {
        let header = |(at, line): (usize, &str)| {
            let line: String = line.split_whitespace().collect();
            let is_header = line.starts_with("[[tenant") || line.starts_with("[tenant");
            is_header.then(|| (at, line.starts_with("[[tenant]]")))
        };
        let speaks = text.lines().map(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#')).collect();
        let empty = text.lines().map(|line| line.trim().is_empty()).collect();
        Self { headers: text.lines().enumerate().filter_map(header).collect(), speaks, empty }
    }

    /// Where to insert into the tenant with something on `line` (counted from 1): after the last line of its that
    /// says something, so that the comment above the next tenant stays with that.
    fn tenant_end(&self, line: usize) -> usize {
        let next =
            self.headers.iter().find(|(at, tenant)| *at >= line && *tenant).map_or(self.speaks.len(), |(at, _)| *at);
        self.last_word(next)
    }

    /// The lines of the table with something on `line` (counted from 1), from its header to its last word, with the
    /// empty line above it.
    fn table(&self, line: usize) -> std::ops::Range<usize> {
        let begin = self.headers.iter().rev().find(|(at, _)| *at < line).map_or(0, |(at, _)| *at);
        let next = self.headers.iter().find(|(at, _)| *at >= line).map_or(self.speaks.len(), |(at, _)| *at);
        let gap = usize::from(begin > 0 && self.empty[begin - 1]);
        begin - gap..self.last_word(next)
    }

    /// The line after the last one before `end` that says something.
    fn last_word(&self, end: usize) -> usize {
        self.speaks[..end].iter().rposition(|speaks| *speaks).map_or(end, |at| at + 1)
    }
}
