//! The tenants file, which `firebox tenants` edits. Comments and order stay.
//!
//! A lock file allows one edit at a time. An edit changes the text, parses the result, and checks that only the intended
//! change was made. Then it replaces the file in one step, readable by its owner only. A crash leaves the old file or the
//! new one.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use firebox_contract::{Error, limits};

use super::keys::{NewKey, hex};
use crate::config::{self, KeyConfig, Scope, TenantConfig};
use crate::system::time;

const HEADER: &str =
    "# Tenants and the digests of their API keys. `firebox tenants` edits this file and keeps comments.\n";

/// A tenants file, which need not exist yet.
#[derive(Debug, Clone)]
pub struct TenantsFile {
    path: PathBuf,
}

/// Expiry and scopes of a new key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyOptions {
    /// When it expires; `None` for never.
    pub expires: Option<SystemTime>,
    /// Its scopes.
    pub scopes: Vec<Scope>,
}

/// The text of the file and the tenants in it.
struct TenantsText {
    text: String,
    tenants: Vec<TenantConfig>,
}

impl TenantsFile {
    /// The file at `path`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path: PathBuf = path.into();
        // If the path is a link, its target is replaced and the link stays.
        Self { path: std::fs::canonicalize(&path).unwrap_or(path) }
    }

    /// The tenants in the file; none if it does not exist.
    ///
    /// # Errors
    /// `Error::Usage` for a file that cannot be read or is not valid.
    pub fn tenants(&self) -> Result<Vec<TenantConfig>, Error> {
        self.read().map(|contents| contents.tenants)
    }

    /// Adds a tenant with one key. `settings` are lines of its table, such as `models = ["*"]`, and tables below it.
    ///
    /// # Errors
    /// `Error::Usage` for a name that is not valid or already exists, `Error::Internal` for a file that cannot be written.
    pub fn add(&self, name: &str, settings: &str, options: &KeyOptions) -> Result<NewKey, Error> {
        config::check_name(name).map_err(Error::Usage)?;
        let key = NewKey::generate()?;
        self.edit(|old| {
            if old.tenants.iter().any(|tenant| tenant.name == name) {
                let message =
                    format!("tenant \"{name}\" already exists; create a new key with `firebox tenants rotate {name}`");
                return Err(Error::Usage(message));
            }
            let gap = if old.text.is_empty() { "" } else { "\n" };
            let table = format!("[[tenant]]\nname = \"{name}\"\n{settings}{}", key_table(&key, options));
            Ok((format!("{}{gap}{table}", old.text), true))
        })?;
        Ok(key)
    }

    /// Creates a new key for the tenant `name`. Removes the old keys, unless `keep` is set.
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
            // From the last to the first, so that line numbers of earlier tables stay valid.
            for key in tenant.keys.iter().rev().filter(|_| !keep) {
                lines.drain(layout.table(key.at.line_number()));
            }
            Ok((lines.join("\n") + "\n", true))
        })?;
        Ok(key)
    }

    /// Removes all keys of the tenant `target`, or the key with the id `target`. Returns the ids of the removed keys.
    ///
    /// # Errors
    /// As [`TenantsFile::rotate`].
    pub fn revoke(&self, target: &str) -> Result<Vec<String>, Error> {
        let mut gone = Vec::new();
        self.edit(|old| {
            let of_tenant = old.tenants.iter().find(|tenant| tenant.name == target);
            let keys: Vec<&KeyConfig> = match of_tenant {
                Some(tenant) => tenant.keys.iter().collect(),
                None => old.tenants.iter().flat_map(|tenant| &tenant.keys).filter(|key| key.id == target).collect(),
            };
            if keys.is_empty() && of_tenant.is_none() {
                return Err(not_found(target, &self.path));
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

    /// Applies `change`, which returns the new text and whether it differs.
    fn edit(&self, change: impl FnOnce(&TenantsText) -> Result<(String, bool), Error>) -> Result<(), Error> {
        let _lock = self.lock()?;
        let old = self.read()?;
        let (text, changed) = change(&old)?;
        if !changed {
            return Ok(());
        }
        let text = if old.text.is_empty() { format!("{HEADER}\n{text}") } else { text };
        let name = self.path.display().to_string();
        let new = config::parse_tenants(&text, &name).map_err(|error| not_editable(&name, &error.to_string()))?;
        if !is_one_change(&old.tenants, &new) {
            return Err(not_editable(&name, "the change would touch other tenants"));
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
                    let message = format!("another process is still changing \"{}\"; try again", self.path.display());
                    return Err(Error::Unavailable(message));
                }
                Err(TryLockError::Error(error)) => return Err(cannot(error)),
            }
        }
    }

    fn write(&self, text: &str) -> io::Result<()> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // Temporary files are readable by their owner only.
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
        found.ok_or_else(|| not_found(name, Path::new(config::TENANTS_FILE)))
    }
}

fn not_found(target: &str, path: &Path) -> Error {
    let path = path.display();
    Error::NotFound(format!(
        "there is no tenant or key \"{target}\" in \"{path}\"; list them with `firebox tenants list`, and edit tenants of the main configuration file there"
    ))
}

fn not_editable(name: &str, why: &str) -> Error {
    Error::Usage(format!("\"{name}\" cannot be edited by this command ({why}); edit it by hand"))
}

/// Whether `new` is `old` with one tenant added or the keys of one tenant changed, and nothing else.
fn is_one_change(old: &[TenantConfig], new: &[TenantConfig]) -> bool {
    let bare = |tenant: &TenantConfig| TenantConfig {
        keys: Vec::new(),
        at: config::SourceLocation::nowhere(),
        ..tenant.clone()
    };
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

/// Where the tables of a file start and end. Lines are counted from 0.
struct TableLayout {
    /// The lines of headers, and whether each starts a tenant.
    headers: Vec<(usize, bool)>,
    /// For each line, whether it is neither empty nor a comment.
    has_content: Vec<bool>,
    /// For each line, whether it is empty.
    empty: Vec<bool>,
}

impl TableLayout {
    fn of(text: &str) -> Self {
        let header = |(at, line): (usize, &str)| {
            let line: String = line.split_whitespace().collect();
            let is_header = line.starts_with("[[tenant") || line.starts_with("[tenant");
            is_header.then(|| (at, line.starts_with("[[tenant]]")))
        };
        let has_content =
            text.lines().map(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#')).collect();
        let empty = text.lines().map(|line| line.trim().is_empty()).collect();
        Self { headers: text.lines().enumerate().filter_map(header).collect(), has_content, empty }
    }

    /// Where to insert a table into the tenant of `line` (counted from 1): after its last line with content, so that a comment
    /// above the next tenant stays there.
    fn tenant_end(&self, line: usize) -> usize {
        let next = self
            .headers
            .iter()
            .find(|(at, tenant)| *at >= line && *tenant)
            .map_or(self.has_content.len(), |(at, _)| *at);
        self.content_end(next)
    }

    /// The lines of the table of `line` (counted from 1), from its header to its last line with content, and the empty line
    /// above it.
    fn table(&self, line: usize) -> std::ops::Range<usize> {
        let begin = self.headers.iter().rev().find(|(at, _)| *at < line).map_or(0, |(at, _)| *at);
        let next = self.headers.iter().find(|(at, _)| *at >= line).map_or(self.has_content.len(), |(at, _)| *at);
        let gap = usize::from(begin > 0 && self.empty[begin - 1]);
        begin - gap..self.content_end(next)
    }

    /// The line after the last line with content before `end`.
    fn content_end(&self, end: usize) -> usize {
        self.has_content[..end].iter().rposition(|has_content| *has_content).map_or(end, |at| at + 1)
    }
}
