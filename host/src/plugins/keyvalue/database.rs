//! The SQLite file of all buckets: tenant and plugin are in the key of every table and every statement.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use firebox_contract::limits;
use firebox_sandbox::{BucketId, KeyValueAnswer, KeyValueError, KeyValueOperation, StoredValue};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

/// Marks a SQLite file as one of buckets ("FBXK"), in its `application_id`.
const APPLICATION_ID: i64 = 0x4642_584B;

/// `totals` counts what each plugin of a tenant stores. Its `version` grows with every value and never goes back, so that a
/// version names one value for ever.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS pairs (
        tenant  TEXT NOT NULL,
        plugin  TEXT NOT NULL,
        bucket  TEXT NOT NULL,
        key     TEXT NOT NULL,
        value   BLOB NOT NULL,
        version INTEGER NOT NULL,
        expires INTEGER,
        UNIQUE (tenant, plugin, bucket, key)
    ) STRICT;
    CREATE INDEX IF NOT EXISTS pairs_by_expiry ON pairs (tenant, plugin, expires) WHERE expires IS NOT NULL;
    CREATE TABLE IF NOT EXISTS totals (
        tenant  TEXT NOT NULL,
        plugin  TEXT NOT NULL,
        keys    INTEGER NOT NULL DEFAULT 0,
        bytes   INTEGER NOT NULL DEFAULT 0,
        version INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (tenant, plugin)
    ) STRICT, WITHOUT ROWID;
    CREATE TRIGGER IF NOT EXISTS pair_added AFTER INSERT ON pairs BEGIN
        UPDATE totals SET keys = keys + 1, bytes = bytes + octet_length(NEW.key) + octet_length(NEW.value)
            WHERE tenant = NEW.tenant AND plugin = NEW.plugin;
    END;
    CREATE TRIGGER IF NOT EXISTS pair_changed AFTER UPDATE OF value ON pairs BEGIN
        UPDATE totals SET bytes = bytes + octet_length(NEW.value) - octet_length(OLD.value)
            WHERE tenant = NEW.tenant AND plugin = NEW.plugin;
    END;
    CREATE TRIGGER IF NOT EXISTS pair_removed AFTER DELETE ON pairs BEGIN
        UPDATE totals SET keys = keys - 1, bytes = bytes - octet_length(OLD.key) - octet_length(OLD.value)
            WHERE tenant = OLD.tenant AND plugin = OLD.plugin;
    END;
";

/// The connection.
pub(super) struct Database {
    connection: Connection,
    /// Bytes that one tenant may store.
    tenant_bytes_max: u64,
}

/// Why the database did not do what it was asked.
enum DatabaseFailure {
    Store(KeyValueError),
    Sql(rusqlite::Error),
}

impl From<rusqlite::Error> for DatabaseFailure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<KeyValueError> for DatabaseFailure {
    fn from(error: KeyValueError) -> Self {
        Self::Store(error)
    }
}

impl DatabaseFailure {
    /// The error for the plugin. What the plugin cannot mend is logged.
    fn shown(self) -> KeyValueError {
        match self {
            Self::Store(error) => error,
            Self::Sql(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) => {
                KeyValueError::Quota("the key-value store of the host is full".to_owned())
            }
            Self::Sql(error) => {
                tracing::warn!(%error, "the key-value store failed");
                super::not_available()
            }
        }
    }
}

impl Database {
    /// The database at `path`, readable by its owner only.
    ///
    /// # Errors
    /// SQLite's, or that the file belongs to another program.
    pub(super) fn open(path: &Path, file_bytes_max: u64) -> rusqlite::Result<Self> {
        let in_memory = path == Path::new(":memory:");
        if !in_memory {
            make_private(path).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        }
        let connection = if in_memory { Connection::open_in_memory()? } else { Connection::open(path)? };
        connection.busy_timeout(limits::KEYVALUE_BUSY_TIMEOUT)?;
        let application: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if application != APPLICATION_ID && tables > 0 {
            return Err(rusqlite::Error::InvalidPath(path.to_owned()));
        }
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // A power failure may lose the last values, and never damages the file.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "trusted_schema", false)?;
        connection.pragma_update(None, "cell_size_check", true)?;
        connection.pragma_update(None, "secure_delete", true)?;
        let page: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let pages = i64::try_from(file_bytes_max).unwrap_or(i64::MAX) / page.max(1);
        connection.pragma_update(None, "max_page_count", pages.max(1))?;
        connection.execute_batch(SCHEMA)?;
        connection.pragma_update(None, "application_id", APPLICATION_ID)?;
        let share = file_bytes_max / limits::KEYVALUE_TENANT_DIVISOR;
        Ok(Self { connection, tenant_bytes_max: share.min(limits::KEYVALUE_TENANT_BYTES_MAX) })
    }

    /// Runs one operation in one transaction.
    pub(super) fn run(
        &mut self,
        bucket: &BucketId,
        operation: KeyValueOperation,
    ) -> Result<KeyValueAnswer, KeyValueError> {
        let tenant_bytes_max = self.tenant_bytes_max;
        let mut run = || -> Result<KeyValueAnswer, DatabaseFailure> {
            let change = self.connection.transaction_with_behavior(behavior(&operation))?;
            let pairs = Pairs { change: &change, bucket, now: millis(SystemTime::now()), tenant_bytes_max };
            let answer = pairs.run(operation.clone())?;
            change.commit()?;
            Ok(answer)
        };
        run().map_err(DatabaseFailure::shown)
    }
}

fn behavior(operation: &KeyValueOperation) -> TransactionBehavior {
    match operation {
        KeyValueOperation::Get(_) | KeyValueOperation::Contains(_) | KeyValueOperation::List(_) => {
            TransactionBehavior::Deferred
        }
        _ => TransactionBehavior::Immediate,
    }
}

/// One bucket in one transaction.
struct Pairs<'a> {
    change: &'a Transaction<'a>,
    bucket: &'a BucketId,
    /// Milliseconds since 1970. A key that expired before is not there.
    now: i64,
    tenant_bytes_max: u64,
}

const THIS_KEY: &str = "tenant = ?1 AND plugin = ?2 AND bucket = ?3 AND key = ?4";
const IS_ALIVE: &str = "(expires IS NULL OR expires > ?5)";

impl Pairs<'_> {
    fn run(&self, operation: KeyValueOperation) -> Result<KeyValueAnswer, DatabaseFailure> {
        match operation {
            KeyValueOperation::Get(keys) => self.get_all(&keys),
            KeyValueOperation::Contains(key) => Ok(KeyValueAnswer::Found(self.contains(&key)?)),
            KeyValueOperation::Set { pairs, lifetime } => {
                self.forget_expired()?;
                let expires = self.expires(lifetime);
                pairs.iter().try_for_each(|(key, value)| self.set(key, value, expires))?;
                self.check_quotas()?;
                Ok(KeyValueAnswer::Done)
            }
            KeyValueOperation::Delete(keys) => {
                let sql = format!("DELETE FROM pairs WHERE {THIS_KEY}");
                let BucketId { tenant, plugin, bucket } = self.bucket;
                for key in keys {
                    self.change.prepare_cached(&sql)?.execute(params![tenant.as_str(), plugin, bucket, key])?;
                }
                Ok(KeyValueAnswer::Done)
            }
            KeyValueOperation::List(after) => self.list(after),
            KeyValueOperation::Increment { key, by, lifetime, least } => self.increment(&key, by, lifetime, least),
            KeyValueOperation::Swap { key, version, value } => {
                self.forget_expired()?;
                if self.get(&key)?.map(|stored| stored.version) != version {
                    return Ok(KeyValueAnswer::Found(false));
                }
                self.set(&key, &value, None)?;
                self.check_quotas()?;
                Ok(KeyValueAnswer::Found(true))
            }
        }
    }

    fn expires(&self, lifetime: Option<Duration>) -> Option<i64> {
        let millis = lifetime.map(|lifetime| i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX));
        millis.map(|millis| self.now.saturating_add(millis))
    }

    fn get(&self, key: &str) -> rusqlite::Result<Option<StoredValue>> {
        let sql = format!("SELECT value, version FROM pairs WHERE {THIS_KEY} AND {IS_ALIVE}");
        let BucketId { tenant, plugin, bucket } = self.bucket;
        let stored = |row: &rusqlite::Row<'_>| Ok(StoredValue { bytes: row.get(0)?, version: row.get(1)? });
        let mut statement = self.change.prepare_cached(&sql)?;
        statement.query_row(params![tenant.as_str(), plugin, bucket, key, self.now], stored).optional()
    }

    fn contains(&self, key: &str) -> rusqlite::Result<bool> {
        let sql = format!("SELECT 1 FROM pairs WHERE {THIS_KEY} AND {IS_ALIVE}");
        let BucketId { tenant, plugin, bucket } = self.bucket;
        self.change.prepare_cached(&sql)?.exists(params![tenant.as_str(), plugin, bucket, key, self.now])
    }

    fn get_all(&self, keys: &[String]) -> Result<KeyValueAnswer, DatabaseFailure> {
        let (mut values, mut bytes) = (Vec::with_capacity(keys.len()), 0);
        for key in keys {
            let value = self.get(key)?;
            bytes += value.as_ref().map_or(0, |value| value.bytes.len());
            if bytes > limits::KEYVALUE_ANSWER_BYTES_MAX {
                let max = limits::KEYVALUE_ANSWER_BYTES_MAX;
                return Err(KeyValueError::Invalid(format!(
                    "the values have more than {max} bytes; ask for fewer keys"
                ))
                .into());
            }
            values.push(value);
        }
        Ok(KeyValueAnswer::Values(values))
    }

    fn list(&self, after: Option<String>) -> Result<KeyValueAnswer, DatabaseFailure> {
        let sql = format!(
            "SELECT key FROM pairs WHERE tenant = ?1 AND plugin = ?2 AND bucket = ?3 AND key > ?4 AND {IS_ALIVE} \
             ORDER BY key LIMIT ?6"
        );
        let BucketId { tenant, plugin, bucket } = self.bucket;
        let page = limits::KEYVALUE_PAGE_KEYS_MAX;
        let limit = i64::try_from(page + 1).unwrap_or(i64::MAX);
        let mut statement = self.change.prepare_cached(&sql)?;
        let after = after.unwrap_or_default();
        let rows =
            statement.query_map(params![tenant.as_str(), plugin, bucket, after, self.now, limit], |row| row.get(0))?;
        let mut keys: Vec<String> = rows.collect::<rusqlite::Result<_>>()?;
        let has_more = keys.len() > page;
        keys.truncate(page);
        Ok(KeyValueAnswer::Keys(keys, has_more))
    }

    fn increment(
        &self,
        key: &str,
        by: i64,
        lifetime: Option<Duration>,
        least: Option<i64>,
    ) -> Result<KeyValueAnswer, DatabaseFailure> {
        self.forget_expired()?;
        let sum = match self.get(key)? {
            None => {
                self.set(key, by.to_string().as_bytes(), self.expires(lifetime))?;
                by
            }
            Some(stored) => {
                let number = std::str::from_utf8(&stored.bytes).ok().and_then(|text| text.parse::<i64>().ok());
                let number =
                    number.ok_or_else(|| KeyValueError::Invalid("the value is not a whole number".to_owned()))?;
                let sum = number.checked_add(by);
                let sum = sum.ok_or_else(|| KeyValueError::Invalid("the sum is beyond 64 bits".to_owned()))?;
                self.replace(key, sum.to_string().as_bytes())?;
                sum
            }
        };
        if least.is_some_and(|least| sum < least) {
            // The transaction is not committed.
            return Err(KeyValueError::Invalid(format!("the sum is {sum}, which is too low; nothing was added")).into());
        }
        self.check_quotas()?;
        Ok(KeyValueAnswer::Number(sum))
    }

    /// A version that no value of the plugin had before.
    fn next_version(&self) -> rusqlite::Result<i64> {
        let BucketId { tenant, plugin, .. } = self.bucket;
        let mut statement = self.change.prepare_cached(
            "INSERT INTO totals (tenant, plugin, version) VALUES (?1, ?2, 1)
                 ON CONFLICT (tenant, plugin) DO UPDATE SET version = version + 1 RETURNING version",
        )?;
        statement.query_row(params![tenant.as_str(), plugin], |row| row.get(0))
    }

    fn set(&self, key: &str, value: &[u8], expires: Option<i64>) -> Result<(), DatabaseFailure> {
        let version = self.next_version()?;
        let BucketId { tenant, plugin, bucket } = self.bucket;
        let mut statement = self.change.prepare_cached(
            "INSERT INTO pairs (tenant, plugin, bucket, key, value, version, expires) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT (tenant, plugin, bucket, key)
                 DO UPDATE SET value = excluded.value, version = excluded.version, expires = excluded.expires",
        )?;
        statement.execute(params![tenant.as_str(), plugin, bucket, key, value, version, expires])?;
        Ok(())
    }

    /// Sets the value of a key that is there, which keeps its expiry.
    fn replace(&self, key: &str, value: &[u8]) -> Result<(), DatabaseFailure> {
        let version = self.next_version()?;
        let BucketId { tenant, plugin, bucket } = self.bucket;
        let sql = format!("UPDATE pairs SET value = ?5, version = ?6 WHERE {THIS_KEY}");
        let mut statement = self.change.prepare_cached(&sql)?;
        statement.execute(params![tenant.as_str(), plugin, bucket, key, value, version])?;
        Ok(())
    }

    fn forget_expired(&self) -> rusqlite::Result<()> {
        let BucketId { tenant, plugin, .. } = self.bucket;
        let sql = "DELETE FROM pairs WHERE tenant = ?1 AND plugin = ?2 AND expires IS NOT NULL AND expires <= ?3";
        self.change.prepare_cached(sql)?.execute(params![tenant.as_str(), plugin, self.now]).map(drop)
    }

    /// Fails the transaction if the plugin or its tenant now stores too much.
    fn check_quotas(&self) -> Result<(), DatabaseFailure> {
        let BucketId { tenant, plugin, .. } = self.bucket;
        let mut own = self.change.prepare_cached("SELECT keys, bytes FROM totals WHERE tenant = ?1 AND plugin = ?2")?;
        let counts = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        // A plugin that never stored anything has no row.
        let (keys, bytes): (i64, i64) =
            own.query_row(params![tenant.as_str(), plugin], counts).optional()?.unwrap_or_default();
        let mut all = self.change.prepare_cached("SELECT coalesce(sum(bytes), 0) FROM totals WHERE tenant = ?1")?;
        let of_tenant: i64 = all.query_row(params![tenant.as_str()], |row| row.get(0))?;
        let [keys, bytes, of_tenant] = [keys, bytes, of_tenant].map(|count| u64::try_from(count).unwrap_or_default());
        let over = |what: &str, max: u64| {
            Err(KeyValueError::Quota(format!("the quota of {max} {what} is used up; remove keys first")).into())
        };
        if keys > limits::KEYVALUE_PLUGIN_KEYS_MAX {
            return over("keys of a plugin", limits::KEYVALUE_PLUGIN_KEYS_MAX);
        }
        if bytes > limits::KEYVALUE_PLUGIN_BYTES_MAX {
            return over("bytes of a plugin", limits::KEYVALUE_PLUGIN_BYTES_MAX);
        }
        if of_tenant > self.tenant_bytes_max {
            return over("bytes of a tenant", self.tenant_bytes_max);
        }
        Ok(())
    }
}

fn millis(now: SystemTime) -> i64 {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Creates a missing file and its folder, readable by their owner only.
fn make_private(path: &Path) -> std::io::Result<()> {
    let mut folder = std::fs::DirBuilder::new();
    folder.recursive(true);
    let mut file = std::fs::OpenOptions::new();
    file.read(true).write(true).create(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
        folder.mode(0o700);
        file.mode(0o600);
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        folder.create(parent)?;
    }
    file.open(path).map(drop)
}
