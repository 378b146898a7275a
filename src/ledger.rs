//! The record of what is known, due and done: the only writer of run state.
//!
//! It knows ground nouns and SQL, and has not heard of Feishu, of files or of the lake. All SQL goes through `sqlx`'s database-neutral
//! driver in the dialect that SQLite and PostgreSQL share, so that the second can join without a second implementation.
//!
//! One process owns a ledger at a time: an operating-system lock says so, and a fence number in the file refuses whatever a process that
//! lost the lock (because it was stopped, and its lock taken over) still tries to write. Writes of finished steps are gathered: whatever is
//! waiting goes into one transaction, and nobody goes on before it is on disk.

mod lock;
mod partitions;
mod restore;
mod tasks;
mod views;
mod windows;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use sqlx::any::{AnyPoolOptions, AnyRow};
use sqlx::{AnyPool, Connection as _, Row};

pub use partitions::{Intent, PartitionRow, PublishedPartition};
pub use restore::{Restored, RestoredPartition, RestoredSchedule, RestoredTask};
pub use tasks::{OpenTask, Parent, Phase, SpooledResult, TaskRow, Unpublished};
pub use views::{Attention, DatasetStatus, PartitionStatus, RunRecord};
pub use windows::{NewWindow, ScheduleState, WindowBatch, WindowRow, WindowState};

use crate::dataset::Dataset;

/// Version of the ledger's tables; a newer file is refused, an older one is migrated by the first command that writes to it.
pub const FORMAT_VERSION: i64 = 1;

/// What takes a ledger of one format to the next, from format 1 on; `schema.sql` is what they lead to, all of them in one transaction. Once released, a step never changes,
/// and `tests/fixtures/ledger` gets a file of the format it starts from.
const STEPS: [&str; FORMAT_VERSION as usize - 1] = [];
/// How every connection is set up. FULL: a step that was acknowledged survives a power cut, not only a kill. The first connection makes
/// sure that none of them writes to the disk: a pool tries what fails here again and again, and never says why.
const PRAGMAS: [&str; 2] = ["PRAGMA busy_timeout = 10000", "PRAGMA synchronous = FULL"];

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
        "the ledger {path} has format {found}, this meetlake knows formats up to {known}; use the newer meetlake"
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
        "the ledger {path} has format {found}, this meetlake reads format {known}; `meetlake run` migrates it, as every command that writes to the ledger does"
    )]
    Older {
        /// The ledger.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// What this program reads.
        known: i64,
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
        "the ledger {path} cannot be read: {source}; move it away to begin a new one, the lake stays as it is"
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
        /// What kind of value.
        what: &'static str,
        /// The value.
        text: String,
    },
}

impl Error {
    /// Whether the cause is the disk: full, failing, or not to be written to.
    #[must_use]
    pub fn is_of_disk(&self) -> bool {
        match self {
            Self::Io { .. } => true,
            // SQLite's own words for SQLITE_FULL, _IOERR, _READONLY and _CANTOPEN, which the neutral driver gives as text.
            Self::Sql { source, .. } | Self::Unreadable { source, .. } => {
                let text = source.to_string();
                [
                    "disk is full",
                    "disk I/O error",
                    "readonly database",
                    "unable to open database file",
                ]
                .iter()
                .any(|words| text.contains(words))
            }
            _ => false,
        }
    }
}

/// An open ledger; cheap to clone.
#[derive(Clone, Debug)]
pub struct Ledger {
    path: PathBuf,
    read: AnyPool,
    write: AnyPool,
    writer: Option<writer::Writer>,
    fence: i64,
    _lock: Option<Arc<lock::Lock>>,
}

impl Ledger {
    /// Opens the ledger at `path` for writing, creating it if there is none, and takes ownership until the last clone is dropped.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process owns it, [`Error::Newer`] if a newer meetlake wrote it, and whatever the disk says.
    pub async fn open(path: &Path, verb: &str) -> Result<Self, Error> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|source| Error::Io {
                path: path.to_owned(),
                source,
            })?;
        }
        let lock = lock::Lock::take(path, verb)?;
        let write = pool(path, "rwc", 1).await?;
        let read = pool(path, "rwc", 2).await?;
        migrate(path, &write, &STEPS).await?;
        let fence = take_fence(&write).await?;
        let writer = writer::Writer::start(path.to_owned(), write.clone(), fence);
        Ok(Self {
            path: path.to_owned(),
            read,
            write,
            writer: Some(writer),
            fence,
            _lock: Some(Arc::new(lock)),
        })
    }

    /// Opens the ledger at `path` for reading, beside whoever owns it; `None` if there is no ledger yet.
    ///
    /// # Errors
    /// As for [`Ledger::open`], but never [`Error::Locked`]; and [`Error::Older`] in place of a migration.
    pub async fn open_for_reading(path: &Path) -> Result<Option<Self>, Error> {
        if !path.exists() {
            return Ok(None);
        }
        let read = pool(path, "rw", 2).await?;
        if !is_readable(path, &read, &STEPS).await? {
            return Ok(None);
        }
        Ok(Some(Self {
            path: path.to_owned(),
            write: read.clone(),
            read,
            writer: None,
            fence: -1,
            _lock: None,
        }))
    }

    /// Where the ledger is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A value kept under a name: learned waiting times, recent calls.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn meta(&self, name: &str) -> Result<Option<String>, Error> {
        sqlx::query("SELECT value FROM meta WHERE name = $1")
            .bind(name)
            .fetch_optional(&self.read)
            .await
            .map(|row| row.map(|row| row.get(0)))
            .map_err(sql("read a value"))
    }

    /// Keeps a value under a name.
    ///
    /// # Errors
    /// When the database refuses, or another process has taken over.
    pub async fn set_meta(&self, name: &str, value: &str) -> Result<(), Error> {
        let mut transaction = self.begin().await?;
        put_meta(&mut transaction, name, value).await?;
        commit(transaction).await
    }

    /// Makes sure that this process still owns the ledger; for before a write to the lake.
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
    async fn begin(&self) -> Result<sqlx::Transaction<'static, sqlx::Any>, Error> {
        let mut transaction = self
            .write
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(sql("begin a transaction"))?;
        check_fence(&self.path, &mut transaction, self.fence).await?;
        Ok(transaction)
    }
}

async fn check_fence(
    path: &Path,
    transaction: &mut sqlx::Transaction<'static, sqlx::Any>,
    fence: i64,
) -> Result<(), Error> {
    let current: String = sqlx::query("SELECT value FROM meta WHERE name = 'fence'")
        .fetch_one(&mut **transaction)
        .await
        .map_err(sql("check who owns it"))?
        .get(0);
    if current == fence.to_string() || planted!("planted-fence-ignored") {
        Ok(())
    } else {
        Err(Error::Fenced {
            path: path.to_owned(),
        })
    }
}

async fn commit(transaction: sqlx::Transaction<'static, sqlx::Any>) -> Result<(), Error> {
    transaction.commit().await.map_err(sql("commit"))
}

async fn pool(path: &Path, mode: &str, connections: u32) -> Result<AnyPool, Error> {
    sqlx::any::install_default_drivers();
    let encoded: String = url::form_urlencoded::byte_serialize(path.as_os_str().as_encoded_bytes())
        .collect::<String>()
        .replace('+', "%20")
        .replace("%2F", "/");
    let url = format!("sqlite://{encoded}?mode={mode}");
    // One connection by itself first: a pool would try a file that is no database again and again for a minute.
    let mut first = sqlx::AnyConnection::connect(&url)
        .await
        .map_err(sql("be opened"))?;
    sqlx::query("PRAGMA schema_version")
        .execute(&mut first)
        .await
        .map_err(|source| Error::Unreadable {
            path: path.to_owned(),
            source,
        })?;
    // The file remembers it.
    sqlx::query("PRAGMA journal_mode = WAL")
        .execute(&mut first)
        .await
        .map_err(sql("be opened"))?;
    // Makes what the connections share, so that they find it.
    sqlx::query("PRAGMA schema_version")
        .execute(&mut first)
        .await
        .map_err(sql("be opened"))?;
    let pool = AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(60))
        // SQLite rolls back by itself when a disk is full; the driver does not notice and would refuse every later transaction.
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

/// Makes the tables of a new ledger, or takes those of an older one to the format that `steps` lead to, all of it in one transaction. Others
/// may do the same at the same time, so the format is read inside of it.
async fn migrate(path: &Path, pool: &AnyPool, steps: &[&'static str]) -> Result<(), Error> {
    let known = format_after(steps);
    let mut transaction = pool
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(sql("begin a transaction"))?;
    let statements = match format(&mut transaction).await? {
        None => vec![include_str!("ledger/schema.sql")],
        Some(found) if found == known => return Ok(()),
        Some(found) if found > known => return Err(newer(path, found, known)),
        Some(found) => {
            let done = usize::try_from(found - 1).map_err(|_| corrupt("format", found))?;
            steps.iter().skip(done).copied().collect()
        }
    };
    for statement in statements {
        sqlx::raw_sql(statement)
            .execute(&mut *transaction)
            .await
            .map_err(sql("make or migrate its tables"))?;
    }
    put_meta(&mut transaction, "format", &known.to_string()).await?;
    commit(transaction).await
}

/// Whether there are tables that can be read as they are. Reading never migrates: the owner may be an older meetlake that is still at work.
async fn is_readable(path: &Path, pool: &AnyPool, steps: &[&'static str]) -> Result<bool, Error> {
    let known = format_after(steps);
    let mut connection = pool.acquire().await.map_err(sql("be opened"))?;
    match format(&mut connection).await? {
        None => Ok(false),
        Some(found) if found == known => Ok(true),
        Some(found) if found > known => Err(newer(path, found, known)),
        Some(found) => Err(Error::Older {
            path: path.to_owned(),
            found,
            known,
        }),
    }
}

/// The format that `steps` lead to.
fn format_after(steps: &[&'static str]) -> i64 {
    i64::try_from(steps.len()).unwrap_or(i64::MAX - 1) + 1
}

/// The format of the tables; `None` if there are none.
async fn format(connection: &mut sqlx::AnyConnection) -> Result<Option<i64>, Error> {
    let has_meta: Option<AnyRow> =
        sqlx::query("SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'meta'")
            .fetch_optional(&mut *connection)
            .await
            .map_err(sql("look at its tables"))?;
    if has_meta.is_none() {
        return Ok(None);
    }
    let row = sqlx::query("SELECT value FROM meta WHERE name = 'format'")
        .fetch_optional(&mut *connection)
        .await
        .map_err(sql("read its format"))?;
    let text: String = row.map(|row| row.get(0)).unwrap_or_default();
    match text.parse() {
        Ok(format) => Ok(Some(format)),
        Err(_) => Err(corrupt("format", text)),
    }
}

fn newer(path: &Path, found: i64, known: i64) -> Error {
    Error::Newer {
        path: path.to_owned(),
        found,
        known,
    }
}

async fn put_meta(
    transaction: &mut sqlx::Transaction<'static, sqlx::Any>,
    name: &str,
    value: &str,
) -> Result<(), Error> {
    sqlx::query("INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value")
        .bind(name.to_owned())
        .bind(value.to_owned())
        .execute(&mut **transaction)
        .await
        .map_err(sql("keep a value"))?;
    Ok(())
}

async fn take_fence(pool: &AnyPool) -> Result<i64, Error> {
    let mut transaction = pool
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(sql("begin a transaction"))?;
    let last: Option<AnyRow> = sqlx::query("SELECT value FROM meta WHERE name = 'fence'")
        .fetch_optional(&mut *transaction)
        .await
        .map_err(sql("read its fence"))?;
    let fence = last
        .and_then(|row| row.get::<String, _>(0).parse::<i64>().ok())
        .unwrap_or(0)
        + 1;
    put_meta(&mut transaction, "fence", &fence.to_string()).await?;
    commit(transaction).await?;
    Ok(fence)
}

fn sql(action: &'static str) -> impl Fn(sqlx::Error) -> Error {
    move |source| Error::Sql { action, source }
}

// --- values as the tables hold them ---------------------------------------------------------------------------------

fn micros(instant: Timestamp) -> i64 {
    instant.as_microsecond()
}

fn instant(micros: i64) -> Result<Timestamp, Error> {
    Timestamp::from_microsecond(micros).map_err(|_| corrupt("instant", micros))
}

fn corrupt(what: &'static str, text: impl ToString) -> Error {
    Error::Corrupt {
        what,
        text: text.to_string(),
    }
}

fn dataset(text: &str) -> Result<Dataset, Error> {
    text.parse().map_err(|_| corrupt("dataset", text))
}

fn date(text: &str) -> Result<Date, Error> {
    text.parse().map_err(|_| corrupt("date", text))
}

fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("ledger values are plain strings, numbers and lists")
}

fn from_json<T: serde::de::DeserializeOwned>(what: &'static str, text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|_| corrupt(what, text))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::task::machine::State;
    use crate::task::{ExportId, Lineage, Request, TaskSpec, UserIdType};
    use crate::window::Window;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn window(day: i64) -> Window {
        Window::new(at(day * 86_400), at((day + 1) * 86_400)).expect("a day")
    }

    fn spec(day: i64) -> TaskSpec {
        let request = Request::MeetingList {
            start: day * 86_400,
            end: (day + 1) * 86_400,
            user_id_type: UserIdType::UserId,
        };
        TaskSpec::new("acme", window(day), request, Lineage::default())
    }

    async fn with_window(ledger: &Ledger, day: i64) -> WindowRow {
        let new = NewWindow {
            window: window(day),
            due_at: at(0),
            state: WindowState::Due,
        };
        ledger
            .insert_windows(&WindowBatch {
                job: "meetings",
                tenant: "acme",
                dataset: Dataset::MeetingList,
                new: &[new],
                again: &[],
                firing: at(0),
                schedule: None,
            })
            .await
            .expect("inserted");
        ledger
            .windows("acme", Dataset::MeetingList, Some(window(day)))
            .await
            .expect("listed")
            .remove(0)
    }

    fn open(day: i64, generation: u32) -> OpenTask {
        OpenTask {
            spec: spec(day),
            priority: 0,
            generation,
        }
    }

    #[tokio::test]
    async fn planning_twice_creates_nothing_twice() {
        let folder = tempfile::tempdir().expect("a folder");
        let ledger = Ledger::open(&folder.path().join("a b%?.db"), "test")
            .await
            .expect("opened");
        let row = with_window(&ledger, 1).await;
        for _ in 0..2 {
            ledger
                .plan_tasks(&row, &[open(1, 1)], None, None, None, at(5))
                .await
                .expect("planned");
        }
        assert_eq!(
            ledger
                .runnable("acme", at(5), 10)
                .await
                .expect("listed")
                .len(),
            1
        );
        assert_eq!(
            ledger
                .windows("acme", Dataset::MeetingList, None)
                .await
                .expect("listed")[0]
                .state,
            WindowState::Planned
        );
    }

    #[tokio::test]
    async fn what_was_recorded_is_there_after_reopening() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("meetlake.db");
        let ledger = Ledger::open(&path, "test").await.expect("opened");
        let row = with_window(&ledger, 1).await;
        ledger
            .plan_tasks(&row, &[open(1, 1)], None, None, None, at(5))
            .await
            .expect("planned");
        let task = ledger
            .runnable("acme", at(5), 1)
            .await
            .expect("listed")
            .remove(0);
        let state = State::Submitted {
            export_id: ExportId("7".into()),
            submitted_at: at(6),
            polls: 0,
            relinked: false,
        };
        ledger
            .advance(&task, &state, true, false, at(6))
            .await
            .expect("advanced");
        drop(ledger);
        let ledger = Ledger::open(&path, "test").await.expect("opened again");
        let task = ledger
            .runnable("acme", at(6), 1)
            .await
            .expect("listed")
            .remove(0);
        assert_eq!((task.machine, task.submits), (state, 1));
    }

    #[tokio::test]
    async fn the_second_owner_is_told_who_the_first_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("meetlake.db");
        let first = Ledger::open(&path, "serve").await.expect("opened");
        let error = Ledger::open(&path, "run")
            .await
            .expect_err("locked")
            .to_string();
        assert!(
            error.contains("`meetlake serve`") && error.contains(&std::process::id().to_string()),
            "{error}"
        );
        assert!(
            Ledger::open_for_reading(&path)
                .await
                .expect("readable")
                .is_some()
        );
        drop(first);
        Ledger::open(&path, "run").await.expect("free again");
    }

    #[tokio::test]
    async fn an_owner_that_was_overtaken_writes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("meetlake.db");
        let first = Ledger::open(&path, "serve").await.expect("opened");
        let row = with_window(&first, 1).await;
        std::fs::remove_file(folder.path().join("meetlake.db.lock")).expect("the lock is lost");
        let _second = Ledger::open(&path, "run").await.expect("taken over");
        let error = first
            .plan_tasks(&row, &[open(1, 1)], None, None, None, at(5))
            .await
            .expect_err("fenced");
        assert!(matches!(error, Error::Fenced { .. }), "{error}");
    }

    /// A ledger of every format there ever was, as it lay on somebody's disk: everything in it can be read and worked on.
    #[tokio::test]
    async fn a_ledger_of_every_earlier_format_is_opened() {
        let fixtures = Path::new(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/ledger"
        ));
        let mut formats = HashSet::new();
        for entry in std::fs::read_dir(fixtures).expect("fixtures") {
            let fixture = entry.expect("an entry").path();
            if fixture
                .extension()
                .is_none_or(|extension| extension != "db")
            {
                continue;
            }
            let name = fixture
                .file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            let digit = name.split('-').nth(1).expect("format-N");
            formats.insert(digit.parse::<i64>().expect("a format"));
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("meetlake.db");
            std::fs::copy(&fixture, &path).expect("copied");
            let is_current = digit == FORMAT_VERSION.to_string();
            match Ledger::open_for_reading(&path).await {
                Ok(reader) => assert!(reader.is_some() && is_current, "{name}"),
                Err(error) => assert!(matches!(error, Error::Older { .. }), "{name}: {error}"),
            }
            let ledger = Ledger::open(&path, "test").await.expect(&name);
            works(&ledger).await;
            let format = ledger.meta("format").await.expect("read");
            assert_eq!(format, Some(FORMAT_VERSION.to_string()), "{name}");
        }
        assert_eq!(formats, (1..=FORMAT_VERSION).collect());
    }

    /// What the fixtures hold, and that it can be gone on with.
    async fn works(ledger: &Ledger) {
        let schedule = ledger.schedule("meetings", "acme").await.expect("read");
        assert_eq!(schedule.expect("one").watermark, at(1_795_132_800));
        let mut found = Vec::new();
        for of in [Dataset::MeetingList, Dataset::ParticipantList] {
            for row in ledger.windows("acme", of, None).await.expect("windows") {
                let tasks = ledger
                    .tasks_of("acme", of, row.window)
                    .await
                    .expect("tasks");
                let phases = tasks.iter().map(|task| (task.phase, task.machine.name()));
                found.push((row.state, row.generation, phases.collect::<Vec<_>>()));
            }
        }
        let open = |machine| (Phase::Open, machine);
        assert_eq!(
            found,
            [
                (WindowState::Settled, 2, vec![(Phase::Published, "fetched")]),
                (
                    WindowState::Planned,
                    1,
                    vec![open("submitted"), open("ready")]
                ),
            ]
        );
        let day = Window::new(at(1_795_046_400), at(1_795_132_800)).expect("a day");
        let parents = ledger.parents("acme", Dataset::MeetingList, day).await;
        assert_eq!(parents.expect("parents").len(), 1);
        let partitions = ledger.partitions(None).await.expect("partitions");
        assert_eq!(partitions.len(), 2);
        assert_eq!(partitions[0].revision, 3);
        assert_eq!(
            partitions[1].intent.as_ref().map(|intent| intent.rows),
            Some(2)
        );
        assert_eq!(ledger.rooms("acme").await.expect("rooms").len(), 1);
        assert_eq!(ledger.runs(9).await.expect("runs").len(), 2);
        let task = ledger
            .runnable("acme", at(1_795_200_000), 1)
            .await
            .expect("listed")
            .remove(0);
        ledger
            .advance(&task, &State::Planned, true, false, at(1_795_200_000))
            .await
            .expect("advanced");
    }

    const FIRST: &str = "ALTER TABLE task ADD COLUMN colour TEXT; UPDATE task SET colour = 'red'";
    const SECOND: &str = "CREATE TABLE shade (task_key TEXT PRIMARY KEY, shade TEXT NOT NULL); \
         INSERT INTO shade SELECT key, colour FROM task";

    /// A copy of the ledger that format 1 left on somebody's disk.
    fn of_format_1() -> (tempfile::TempDir, PathBuf) {
        let fixture = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/ledger/format-1.db"
        );
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("meetlake.db");
        std::fs::copy(fixture, &path).expect("copied");
        (folder, path)
    }

    async fn format_of(pool: &AnyPool) -> Option<i64> {
        let mut connection = pool.acquire().await.expect("a connection");
        format(&mut connection).await.expect("read")
    }

    #[tokio::test]
    async fn an_older_ledger_takes_all_steps_it_lacks_and_those_only() {
        let (_folder, path) = of_format_1();
        let pool = pool(&path, "rw", 1).await.expect("opened");
        let tasks: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM task")
            .fetch_one(&pool)
            .await
            .expect("counted");
        assert!(tasks > 0);
        let red = async || -> i64 {
            let count = sqlx::query_scalar("SELECT COUNT(*) FROM shade WHERE shade = 'red'");
            count.fetch_one(&pool).await.expect("counted")
        };
        migrate(&path, &pool, &[FIRST]).await.expect("migrated");
        assert_eq!(format_of(&pool).await, Some(2));
        // Steps that are done are not done again: the first would fail.
        for _ in 0..2 {
            migrate(&path, &pool, &[FIRST, SECOND])
                .await
                .expect("migrated");
            assert_eq!((format_of(&pool).await, red().await), (Some(3), tasks));
        }
        let older = migrate(&path, &pool, &[FIRST]).await;
        let older = older.expect_err("newer than known");
        assert!(matches!(
            older,
            Error::Newer {
                found: 3,
                known: 2,
                ..
            }
        ));
    }

    #[tokio::test]
    async fn a_step_that_fails_leaves_the_format_and_the_tables_as_they_were() {
        let (_folder, path) = of_format_1();
        let pool = pool(&path, "rw", 1).await.expect("opened");
        let broken = "UPDATE task SET colour = 'blue'; INSERT INTO nowhere VALUES (1)";
        for _ in 0..2 {
            let failed = migrate(&path, &pool, &[FIRST, broken]).await;
            assert!(matches!(failed, Err(Error::Sql { .. })), "{failed:?}");
            assert_eq!(format_of(&pool).await, Some(1));
            let colour = sqlx::query("SELECT colour FROM task")
                .fetch_all(&pool)
                .await;
            assert!(colour.is_err(), "half of a migration stayed");
        }
        pool.close().await;
        works(&Ledger::open(&path, "test").await.expect("opened")).await;
    }

    #[tokio::test]
    async fn of_many_that_migrate_at_once_one_does() {
        let (_folder, path) = of_format_1();
        // All of them find format 1, and wait for whoever writes at the moment.
        let busy = pool(&path, "rw", 1).await.expect("opened");
        let writing = busy.begin_with("BEGIN IMMEDIATE").await.expect("begun");
        let release = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            writing.rollback().await.expect("rolled back");
        };
        let openers = futures::future::join_all((0..8).map(|_| async {
            let pool = pool(&path, "rw", 1).await?;
            migrate(&path, &pool, &[FIRST, SECOND]).await?;
            Ok::<_, Error>(format_of(&pool).await)
        }));
        let (opened, ()) = futures::join!(openers, release);
        for opened in opened {
            assert_eq!(opened.expect("migrated"), Some(3));
        }
    }

    #[tokio::test]
    async fn who_only_reads_migrates_nothing_and_says_who_does() {
        let (_folder, path) = of_format_1();
        let pool = pool(&path, "rw", 1).await.expect("opened");
        assert!(is_readable(&path, &pool, &[]).await.expect("readable"));
        let refused = is_readable(&path, &pool, &[FIRST]).await;
        let refused = refused.expect_err("older").to_string();
        assert!(
            refused.contains("has format 1") && refused.contains("`meetlake run` migrates it"),
            "{refused}"
        );
        assert_eq!(format_of(&pool).await, Some(1));
        let empty = path.with_file_name("empty.db");
        std::fs::write(&empty, "").expect("written");
        let none = Ledger::open_for_reading(&empty).await.expect("no ledger");
        assert!(none.is_none());
    }

    #[tokio::test]
    async fn a_task_that_is_exported_again_is_in_no_pack_until_its_bytes_are() {
        let folder = tempfile::tempdir().expect("a folder");
        let ledger = Ledger::open(&folder.path().join("meetlake.db"), "test")
            .await
            .expect("opened");
        let row = with_window(&ledger, 1).await;
        ledger
            .plan_tasks(&row, &[open(1, 1)], None, None, None, at(5))
            .await
            .expect("planned");
        let key = spec(1).key;
        let task = async || {
            let tasks = ledger.tasks_of("acme", Dataset::MeetingList, row.window);
            tasks.await.expect("listed").remove(0)
        };
        let spool = async || {
            let result = SpooledResult {
                rows: 3,
                dts: "[]".into(),
                result: "{}".into(),
                parents: vec![],
            };
            let task = task().await;
            let spooled = ledger.spool(&task, &State::Planned, result, at(6));
            spooled.await.expect("spooled");
        };
        let pack = async || {
            let packs = [(key.clone(), "the first bytes".to_owned())];
            ledger.set_packs(&packs).await.expect("recorded");
            assert!(task().await.pack.is_some());
        };
        spool().await;
        pack().await;
        let keys = std::slice::from_ref(&key);
        ledger.export_again(keys, at(7)).await.expect("open again");
        assert_eq!(task().await.pack, None);
        // Also where somebody named a pack in between.
        pack().await;
        spool().await;
        assert_eq!(task().await.pack, None);
        pack().await;
        let ended = task().await;
        let quarantined = ledger.end(
            &ended,
            Phase::Quarantined,
            &State::Planned,
            "data",
            "x",
            at(8),
        );
        quarantined.await.expect("ended");
        ledger
            .reopen_quarantined(&row, &[(key.clone(), State::Planned)], at(9))
            .await
            .expect("open again");
        assert_eq!(task().await.pack, None);
    }

    #[tokio::test]
    async fn a_newer_ledger_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("meetlake.db");
        let ledger = Ledger::open(&path, "test").await.expect("opened");
        ledger.set_meta("format", "99").await.expect("set");
        drop(ledger);
        assert!(matches!(
            Ledger::open(&path, "test").await,
            Err(Error::Newer { found: 99, .. })
        ));
    }

    #[tokio::test]
    async fn a_task_whose_parent_is_gone_is_withdrawn_and_comes_back_when_planned_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let ledger = Ledger::open(&folder.path().join("meetlake.db"), "test")
            .await
            .expect("opened");
        let row = with_window(&ledger, 1).await;
        ledger
            .plan_tasks(&row, &[open(1, 1)], None, None, None, at(5))
            .await
            .expect("planned");
        ledger
            .plan_tasks(&row, &[], Some(&HashSet::new()), None, None, at(6))
            .await
            .expect("planned");
        let phases = ledger
            .phases_of("acme", Dataset::MeetingList, row.window)
            .await
            .expect("counted");
        assert_eq!(phases, [(Phase::Withdrawn, 1)]);
        ledger
            .plan_tasks(&row, &[open(1, 1)], None, None, None, at(7))
            .await
            .expect("planned");
        assert_eq!(
            ledger
                .runnable("acme", at(7), 1)
                .await
                .expect("listed")
                .len(),
            1
        );
    }

    #[tokio::test]
    async fn a_new_generation_starts_the_task_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let ledger = Ledger::open(&folder.path().join("meetlake.db"), "test")
            .await
            .expect("opened");
        let row = with_window(&ledger, 1).await;
        ledger
            .plan_tasks(&row, &[open(1, 1)], None, None, None, at(5))
            .await
            .expect("planned");
        let task = ledger
            .runnable("acme", at(5), 1)
            .await
            .expect("listed")
            .remove(0);
        let result = SpooledResult {
            rows: 3,
            dts: "[]".into(),
            result: "{}".into(),
            parents: vec![],
        };
        ledger
            .spool(&task, &State::Planned, result, at(6))
            .await
            .expect("spooled");
        ledger
            .tasks_published(&[(task.spec.key.clone(), 1)], at(7))
            .await
            .expect("published");
        assert!(
            ledger
                .runnable("acme", at(8), 1)
                .await
                .expect("listed")
                .is_empty()
        );
        ledger
            .plan_tasks(&row, &[open(1, 2)], None, None, None, at(8))
            .await
            .expect("planned");
        let again = ledger
            .runnable("acme", at(8), 1)
            .await
            .expect("listed")
            .remove(0);
        assert_eq!((again.generation, again.rows), (2, None));
    }
}
