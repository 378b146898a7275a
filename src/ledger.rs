//! The record of what is known, due and done: the only writer of run state.
//!
//! It knows ground nouns and SQL, and has not heard of Feishu, of files or of the lake. All SQL
//! goes through `sqlx`'s database-neutral driver in the dialect that SQLite and PostgreSQL share,
//! so that the second can join without a second implementation.
//!
//! One process owns a ledger at a time: an operating-system lock says so. A process can lose the
//! lock because it was stopped and its lock taken over. A fence number in the file refuses whatever
//! it then still tries to write.
//!
//! Writes of finished steps are gathered: whatever is waiting goes into one transaction, and nobody
//! goes on before it is on disk.

mod access;
mod days;
mod format;
mod group;
mod lock;
mod parents;
mod partitions;
mod planning;
mod received;
mod remake;
mod rename;
mod restore;
mod steps;
mod stored;
mod tasks;
mod views;
mod windows;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::any::AnyPoolOptions;
use sqlx::{Any, AnyPool, Connection as _};

use crate::datasets::Dataset;
use crate::window::Window;
use crate::{disk, owner_only};

pub use received::Keeping;
pub use remake::NewSettings;
pub use restore::{Restored, RestoredPartition, RestoredSchedule, RestoredTask};
pub use views::{Attention, DatasetStatus, PartitionStatus, RunRecord};

use stored::{StoredRow, micros, to_json};

/// How every connection is set up. FULL: a step that was acknowledged survives a power cut, not
/// only a kill. The first connection makes sure that none of them writes to the disk: a pool tries
/// what fails here again and again, and never says why.
const PRAGMAS: [&str; 2] = ["PRAGMA busy_timeout = 10000", "PRAGMA synchronous = FULL"];

/// A transaction that writes.
type Transaction = sqlx::Transaction<'static, Any>;

/// A query whose values are being bound.
type Statement<'q> = sqlx::query::Query<'q, Any, <Any as sqlx::Database>::Arguments>;

/// Errors of the ledger.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process owns the ledger.
    #[error("the ledger {path} is in use by {holder}; wait for it to end, or stop it")]
    Locked {
        /// The ledger.
        path: PathBuf,
        /// Who holds it, as it wrote itself into the lock file.
        holder: String,
    },
    /// This process lost the ledger to another one.
    #[error(
        "another process has taken over the ledger {path}; nothing more is written by this one"
    )]
    Fenced {
        /// The ledger.
        path: PathBuf,
    },
    /// The file was written by a newer meetlake.
    #[error(
        "the ledger {path} has format {found}, this meetlake knows formats up to {known}; \
         use the newer meetlake"
    )]
    Newer {
        /// The ledger.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// What this program knows.
        known: i64,
    },
    /// The file was written by an older meetlake, and reading does not change it.
    #[error(
        "the ledger {path} has format {found}, this meetlake reads format {known}; \
         `meetlake run` migrates it, as every command that writes to the ledger does"
    )]
    Older {
        /// The ledger.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// What this program reads.
        known: i64,
    },
    /// The system does not let this user: a file or folder of another one, a read-only medium.
    #[error(
        "no permission to {action} the ledger: {}: {source}; {}",
        place.display(),
        access::remedy(action, place, source)
    )]
    NoPermission {
        /// What was attempted: `read` or `write`.
        action: &'static str,
        /// The ledger, a file beside it, or its folder.
        place: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A link that is not followed, in place of the ledger or its lock.
    #[error("the ledger cannot be used: {source}")]
    Link {
        /// Which link, and what to do.
        source: std::io::Error,
    },
    /// The ledger may not be written, and could not be copied to be read.
    #[error(
        "the ledger {} may not be written, and could not be copied to {}{} to be read; set TMPDIR to \
         a folder with room for it: {source}",
        path.display(),
        folder.display(),
        disk::free_space(folder)
    )]
    Copy {
        /// The ledger.
        path: PathBuf,
        /// Where copies go.
        folder: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The folder or lock file could not be used.
    #[error("could not use the ledger {path}: {source}")]
    Io {
        /// The ledger.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no ledger, or damaged.
    #[error(
        "the ledger {path} cannot be read: {source}; move it away together with its -wal and -shm \
         files, then `meetlake ledger rebuild` makes a new one from the lake"
    )]
    Unreadable {
        /// The ledger.
        path: PathBuf,
        /// Why.
        source: sqlx::Error,
    },
    /// The database refused.
    #[error("the ledger could not {action}: {source}")]
    Sql {
        /// What was attempted.
        action: &'static str,
        /// Why.
        source: sqlx::Error,
    },
    /// A stored value cannot be read.
    #[error("the ledger holds an unreadable {what}: {text:?}")]
    Corrupt {
        /// Which value: its column and the key of its row.
        what: String,
        /// The value, or its beginning.
        text: String,
    },
}

impl Error {
    /// Whether the cause is the disk: full, failing, or not to be written to.
    #[must_use]
    pub fn is_of_disk(&self) -> bool {
        match self {
            Self::Io { .. } | Self::NoPermission { .. } | Self::Link { .. } | Self::Copy { .. } => {
                true
            }
            // SQLite's own words for SQLITE_FULL, _IOERR, _READONLY and _CANTOPEN, which the
            // neutral driver gives as text.
            Self::Sql { source, .. } | Self::Unreadable { source, .. } => {
                says(source, &["disk is full", "disk I/O error"]) || says(source, &DENIED)
            }
            _ => false,
        }
    }

    /// Whether the cause is that this user may not use the ledger, or would be led elsewhere. The
    /// error says what to do; no space helps.
    #[must_use]
    pub const fn is_of_permission(&self) -> bool {
        matches!(self, Self::NoPermission { .. } | Self::Link { .. })
    }

    /// The same error; of a file that SQLite calls damaged, or cannot use because this user may
    /// not, with what to do about it.
    fn of_file(self, path: &Path) -> Self {
        let damaged = [
            "disk image is malformed",
            "file is not a database",
            "unsupported file format",
        ];
        match self {
            Self::Sql { source, .. } if says(&source, &damaged) => Self::Unreadable {
                path: path.to_owned(),
                source,
            },
            Self::Sql { source, action } if says(&source, &DENIED) => {
                let why = access::check_writable(path);
                why.err().unwrap_or(Self::Sql { source, action })
            }
            other => other,
        }
    }

    /// The error of using a file or folder of the ledger.
    fn of_io(action: &'static str, place: &Path, source: std::io::Error) -> Self {
        let path = place.to_owned();
        match source.kind() {
            kind if kind == disk::link_kind() => Self::Link { source },
            _ if disk::is_denied(&source) => Self::NoPermission {
                action,
                place: path,
                source,
            },
            _ => Self::Io { path, source },
        }
    }
}

/// SQLite's words for a file that it may not write, or could not make. They do not say why.
const DENIED: [&str; 2] = ["readonly database", "unable to open database file"];

fn says(error: &sqlx::Error, words: &[&str]) -> bool {
    let text = error.to_string();
    words.iter().any(|words| text.contains(words))
}

/// Why this user may not write the ledger at `path`; `None` if nothing speaks against it.
#[must_use]
pub fn denial(path: &Path) -> Option<Error> {
    access::check_writable(path).err()
}

/// An open ledger; cheap to clone.
#[derive(Clone, Debug)]
pub struct Ledger {
    path: PathBuf,
    read: AnyPool,
    write: AnyPool,
    steps: Option<group::StepWriter>,
    fence: i64,
    _lock: Option<Arc<lock::Lock>>,
}

#[cfg(feature = "testing")]
impl Ledger {
    /// Closes the connections, and waits until their files are left alone. Dropped ones are closed
    /// some time later.
    pub async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
    }
}

impl Ledger {
    /// Opens the ledger at `path` for writing, and creates it if there is none. Takes ownership,
    /// under the name `verb`, until the last clone is dropped.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process owns it, [`Error::Newer`] if a newer meetlake wrote it,
    /// and whatever the disk says.
    pub async fn open(path: &Path, verb: &str) -> Result<Self, Error> {
        let failed = |source| Error::of_io("write", path, source);
        owner_only::refuse_foreign_link(path).map_err(failed)?;
        // Before a lock is made there that the ledger's owner could not take.
        access::check_writable(path)?;
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let lock = lock::Lock::take(path, verb)?;
        wait_point!("wait-ledger-locked");
        owner_only::make_file(path).map_err(failed)?;
        // SQLite makes these with the mode of the database.
        for end in ["-wal", "-shm"] {
            owner_only::close_if_there(&access::beside(path, end));
        }
        let damaged = |error: Error| error.of_file(path);
        let write = pool(path, "rwc", 1).await.map_err(damaged)?;
        let read = pool(path, "rwc", access::READERS).await.map_err(damaged)?;
        let migrated = format::migrate(path, &write, &format::STEPS).await;
        migrated.map_err(damaged)?;
        let fence = take_fence(&write).await.map_err(damaged)?;
        let steps = group::StepWriter::start(path.to_owned(), write.clone(), fence);
        Ok(Self {
            path: path.to_owned(),
            read,
            write,
            steps: Some(steps),
            fence,
            _lock: Some(Arc::new(lock)),
        })
    }

    /// Opens the ledger at `path` for reading, beside whoever owns it, and even if this user may
    /// not write it; `None` if there is no ledger yet.
    ///
    /// # Errors
    /// As for [`Ledger::open`], but never [`Error::Locked`]; and [`Error::Older`] in place of a
    /// migration.
    pub async fn open_for_reading(path: &Path) -> Result<Option<Self>, Error> {
        let damaged = |error: Error| error.of_file(path);
        let Some(read) = access::pool_for_reading(path).await.map_err(damaged)? else {
            return Ok(None);
        };
        let is_readable = format::is_readable(path, &read, &format::STEPS).await;
        if !is_readable.map_err(damaged)? {
            return Ok(None);
        }
        Ok(Some(Self::of_readers(path, read)))
    }

    /// Opens a ledger of an earlier format as it is, to ask whose it is before it is migrated:
    /// [`Ledger::meta_value`] and [`Ledger::has_published`], which all formats answer. `None` if
    /// there is no such ledger; what else is wrong with it is said by whoever opens it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn open_older(path: &Path) -> Result<Option<Self>, Error> {
        match Self::open_for_reading(path).await {
            Err(Error::Older { .. }) => {}
            _ => return Ok(None),
        }
        let read = access::pool_for_reading(path).await?;
        Ok(read.map(|read| Self::of_readers(path, read)))
    }

    fn of_readers(path: &Path, read: AnyPool) -> Self {
        Self {
            path: path.to_owned(),
            write: read.clone(),
            read,
            steps: None,
            fence: -1,
            _lock: None,
        }
    }

    /// Where the ledger is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A text kept under a name: the ledger's id, its format.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn meta(&self, name: &str) -> Result<Option<String>, Error> {
        self.meta_row(name, |row| row.get("value")).await
    }

    /// The same for a structure, which is kept as JSON.
    ///
    /// # Errors
    /// When the database refuses; [`Error::Corrupt`] if it is no such structure.
    pub async fn meta_value<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Error> {
        self.meta_row(name, |row| row.json("value")).await
    }

    async fn meta_row<T>(
        &self,
        name: &str,
        read: impl FnOnce(StoredRow<'_>) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let row = sqlx::query("SELECT name, value FROM meta WHERE name = $1")
            .bind(name)
            .fetch_optional(&self.read)
            .await
            .map_err(sql("read a value"))?;
        row.as_ref()
            .map(|row| read(StoredRow::meta(row)))
            .transpose()
    }

    /// Keeps a structure under a name, in place of the one before.
    ///
    /// # Errors
    /// When the database refuses, or another process has taken over.
    pub async fn set_meta_value<T: Serialize>(&self, name: &str, value: &T) -> Result<(), Error> {
        self.set_meta(name, &to_json(value)).await
    }

    /// Keeps a text under a name, in place of the one before.
    ///
    /// # Errors
    /// When the database refuses, or another process has taken over.
    pub async fn set_meta(&self, name: &str, value: &str) -> Result<(), Error> {
        let mut transaction = self.begin().await?;
        put_meta(&mut transaction, name, value).await?;
        commit(transaction).await
    }

    /// Makes sure that this process still owns the ledger; asked before a write to the lake.
    ///
    /// # Errors
    /// [`Error::Fenced`] if another process has taken over; otherwise when the database refuses.
    pub async fn check_owner(&self) -> Result<(), Error> {
        let transaction = self.begin().await?;
        transaction
            .rollback()
            .await
            .map_err(sql("check who owns it"))
    }

    /// Starts a write transaction, after checking that this process still owns the ledger.
    async fn begin(&self) -> Result<Transaction, Error> {
        let mut transaction = self
            .write
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(sql("begin a transaction"))?;
        check_fence(&self.path, &mut transaction, self.fence).await?;
        Ok(transaction)
    }

    /// The error of whoever does not own the ledger and would write to it.
    fn fenced(&self) -> Error {
        Error::Fenced {
            path: self.path.clone(),
        }
    }
}

async fn check_fence(path: &Path, transaction: &mut Transaction, fence: i64) -> Result<(), Error> {
    let row = sqlx::query("SELECT name, value FROM meta WHERE name = 'fence'")
        .fetch_one(&mut **transaction)
        .await
        .map_err(sql("check who owns it"))?;
    let current: String = StoredRow::meta(&row).get("value")?;
    if current == fence.to_string() || planted!("planted-fence-ignored") {
        Ok(())
    } else {
        Err(Error::Fenced {
            path: path.to_owned(),
        })
    }
}

async fn commit(transaction: Transaction) -> Result<(), Error> {
    transaction.commit().await.map_err(sql("commit"))
}

async fn pool(path: &Path, mode: &str, connections: u32) -> Result<AnyPool, Error> {
    sqlx::any::install_default_drivers();
    let encoded: String = url::form_urlencoded::byte_serialize(path.as_os_str().as_encoded_bytes())
        .collect::<String>()
        .replace('+', "%20")
        .replace("%2F", "/");
    let url = format!("sqlite://{encoded}?mode={mode}");
    // One connection by itself first: a pool would try a file that is no database again and again
    // for a minute.
    let mut first = sqlx::AnyConnection::connect(&url)
        .await
        .map_err(sql("be opened"))?;
    sqlx::query("PRAGMA schema_version")
        .execute(&mut first)
        .await
        .map_err(sql("be opened"))?;
    // The file remembers it.
    if mode != "ro" {
        sqlx::query("PRAGMA journal_mode = WAL")
            .execute(&mut first)
            .await
            .map_err(sql("be opened"))?;
    }
    // Makes what the connections share, so that they find it.
    sqlx::query("PRAGMA schema_version")
        .execute(&mut first)
        .await
        .map_err(sql("be opened"))?;
    let pool = AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(60))
        // A connection does not age, and the file of one that only reads may have no name any more.
        .idle_timeout(None)
        .max_lifetime(None)
        // SQLite rolls back by itself when a disk is full. The driver does not notice, and would
        // refuse every later transaction.
        .before_acquire(|connection, _| {
            let is_free = !connection.is_in_transaction();
            Box::pin(async move { Ok(is_free) })
        })
        .after_connect(|connection, _| {
            Box::pin(async move {
                use sqlx::Executor as _;
                for pragma in PRAGMAS {
                    connection.execute(pragma).await?;
                }
                Ok(())
            })
        })
        .connect(&url)
        .await
        .map_err(sql("be opened"))?;
    first.close().await.map_err(sql("be opened"))?;
    Ok(pool)
}

async fn put_meta(transaction: &mut Transaction, name: &str, value: &str) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO meta (name, value) VALUES ($1, $2) \
         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )
    .bind(name)
    .bind(value)
    .execute(&mut **transaction)
    .await
    .map_err(sql("keep a value"))?;
    Ok(())
}

/// Takes the next fence number; whoever has an earlier one writes no more.
async fn take_fence(pool: &AnyPool) -> Result<i64, Error> {
    let mut transaction = pool
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(sql("begin a transaction"))?;
    let last = sqlx::query("SELECT name, value FROM meta WHERE name = 'fence'")
        .fetch_optional(&mut *transaction)
        .await
        .map_err(sql("read its fence"))?;
    let last: i64 = match &last {
        Some(row) => StoredRow::meta(row).word("value", |text| text.parse().ok())?,
        None => 0,
    };
    let fence = last + 1;
    put_meta(&mut transaction, "fence", &fence.to_string()).await?;
    commit(transaction).await?;
    Ok(fence)
}

fn sql(action: &'static str) -> impl Fn(sqlx::Error) -> Error {
    move |source| Error::Sql { action, source }
}

/// Binds which window of a job it is: tenant, dataset, start and end, in this order.
fn bind_window<'q>(
    query: Statement<'q>,
    tenant: &'q str,
    of: Dataset,
    window: Window,
) -> Statement<'q> {
    query
        .bind(tenant)
        .bind(of.as_str())
        .bind(micros(window.start()))
        .bind(micros(window.end()))
}
