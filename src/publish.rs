//! Publishes one partition: the steps, in the order that makes a crash harmless.
//!
//! ```text
//! pack ─► stage ─► (the ledger records the intent) ─► put_object ─► put_manifest ─► (the ledger records the revision)
//! ```
//! Takes spooled rows and originals and gives objects in the lake. Every step may run twice and may
//! be the last one that ran:
//!
//! | step | run twice | died just after |
//! |---|---|---|
//! | [`Publisher::pack`] | same originals, same pack, same name: found | a pack that no manifest names yet; the next round finds or leaves it |
//! | [`Publisher::stage`] | same file | a temporary file, removed at the next start |
//! | [`Publisher::begin_object`] | its own bytes are there: done | readers see the new object whole; staging again gives the same file |
//! | [`manifest::put`] | its own record is there: done | the lake is ahead of the ledger, which takes the revision over |
//!
//! The steps do not know the ledger; what is recorded between them, and that no other process
//! publishes to a local lake, is the caller's.

pub mod identity;
pub mod location;
pub mod manifest;
pub mod merge;
pub mod pack;
pub mod parquet;
#[cfg(test)]
pub(crate) mod rows;
pub mod sorted_file;
mod split;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path as FilePath, PathBuf};

use ::parquet::errors::ParquetError;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use bytes::Bytes;
use jiff::civil::Date;
use sha2::{Digest, Sha256};

use self::manifest::Object;
use self::merge::{Inputs, Overridden};
use self::pack::Pack;
use self::parquet::Written;
use crate::contract::Contract;
use crate::datasets::Dataset;
use crate::disk;
use crate::record::{ArchivedTask, PackId, PartitionId, SpooledTask};
use crate::spool::{self, Spool, SpooledRows, TempFile};
use crate::store::{self, Lake};
use crate::task::{TaskKey, hex};
use crate::workers;

pub use split::split_by_dt;

/// Publishes from one spool to one lake; clones share both.
#[derive(Clone, Debug)]
pub struct Publisher {
    lake: Lake,
    spool: Spool,
}

/// The first contract version whose rows are in today's order.
const ORDERED_BY_TIME_SINCE: i32 = 2;

/// Which pack holds the original of each task.
pub type PackIndex = BTreeMap<TaskKey, PackId>;

/// What a partition's next revision is made of.
#[derive(Clone, Debug)]
pub struct PartitionPlan {
    /// Which partition.
    pub id: PartitionId,
    /// Folder below the lake's root that holds the dataset; empty for the root.
    pub destination: String,
    /// Content hash of the last published revision; `None` before the first.
    pub previous_content_hash: Option<String>,
    /// Tasks that have rows of this date in the spool. Their rows in the current object are
    /// replaced.
    pub add: Vec<SpooledTask>,
    /// Tasks whose rows in the current object go: a newer generation without rows of this date, or
    /// withdrawn.
    pub drop: HashSet<TaskKey>,
    /// When the workbook of each task of the partition was submitted, on any scale; of equal
    /// natural keys, the greater wins.
    pub ranks: HashMap<TaskKey, i64>,
    /// Whether the current object is not read, because it is gone or damaged and `add` holds every
    /// task of the partition.
    pub from_scratch: bool,
    /// Id of the lake's key under which the keys of the rows are made. An object with keys of
    /// another one is not merged with.
    pub key_id: Option<String>,
    /// SHA-256 of each object that may be the current one, so that a read that came damaged or
    /// stale is not merged with; empty if none is known.
    pub known_objects: Vec<String>,
}

/// A partition's next object, written to a temporary file that goes away with this.
#[derive(Debug)]
pub struct Staged {
    /// Rows, size and hashes of the new object.
    pub written: Written,
    /// Whether the published rows have the same content.
    pub unchanged: bool,
    /// Whether they are rows of the same tasks too, so that object and lineage stay and nothing is
    /// put.
    pub stands: bool,
    /// Rows of this merge that a later task's rows with the same natural key pushed out. The
    /// current object never holds them again, so when the winner comes again or is withdrawn, these
    /// tasks must be added again too (from their packs), or their rows stay lost.
    pub overridden: Overridden,
    file: TempFile,
    /// The object that was merged with; `None` if there was none.
    base: Option<Object>,
}

impl Staged {
    /// The object that was there when the file was made, as it was read.
    #[must_use]
    pub const fn base(&self) -> Option<&Object> {
        self.base.as_ref()
    }
}

/// A partition's next object that no reader sees yet.
#[derive(Debug)]
pub struct NextObject {
    object: Object,
    replacement: store::Replacement,
}

impl NextObject {
    /// Makes it the partition's object, by one PUT or one rename.
    ///
    /// # Errors
    /// [`store::StoreErrorKind::Conflict`] if the object was replaced since it was read: plan
    /// again. Otherwise if the lake fails.
    pub async fn finish(mut self) -> Result<Object, Error> {
        self.object.version = self.replacement.finish().await?;
        Ok(self.object)
    }
}

impl Publisher {
    /// Publishes from `spool` to `lake`.
    #[must_use]
    pub const fn new(lake: Lake, spool: Spool) -> Self {
        Self { lake, spool }
    }

    /// Archives the originals of tasks of a tenant and dataset, each in a pack of its day, and says
    /// which pack holds each task's. The originals stay in the spool.
    ///
    /// # Errors
    /// [`Error::OriginalsLost`] if the spool has lost some; otherwise if the lake cannot be
    /// written.
    pub async fn pack(
        &self,
        tenant: &str,
        dataset: Dataset,
        tasks: BTreeMap<Date, Vec<ArchivedTask>>,
    ) -> Result<PackIndex, Error> {
        let mut index = PackIndex::new();
        for (dt, tasks) in tasks {
            for mut group in pack::groups(self.sizes(&tasks), pack::PACK_BYTES) {
                let members: HashSet<String> = group.iter().cloned().collect();
                let of_group = |task: &&ArchivedTask| members.contains(&task.source_sha256);
                let mut of_pack: Vec<_> = tasks.iter().filter(of_group).cloned().collect();
                of_pack.sort_by(|a, b| a.task_key.cmp(&b.task_key));
                let witnesses = of_pack.iter().filter_map(ArchivedTask::witness_sha256);
                group.extend(witnesses.map(str::to_owned));
                group.sort_unstable();
                group.dedup();
                let keys: Vec<_> = of_pack.iter().map(|task| task.task_key.clone()).collect();
                let spool = self.spool.clone();
                let build = move || build_pack(&spool, dataset, &group, &of_pack);
                let (sha256, bytes) = blocking(build).await?;
                let id = PackId { dt, sha256 };
                let path = location::pack(tenant, dataset, &id)?;
                self.lake.sweep(&path);
                self.lake.put_create(&path, bytes).await?;
                index.extend(keys.into_iter().map(|key| (key, id.clone())));
            }
        }
        Ok(index)
    }

    /// The originals of tasks, each with its size and that of what its tasks were compared with,
    /// which goes into the same pack.
    fn sizes(&self, tasks: &[ArchivedTask]) -> Vec<(String, u64)> {
        let size_of = |sha256: &str| self.spool.original_size(sha256).unwrap_or(0);
        let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
        for task in tasks {
            let of_original = sizes.entry(task.source_sha256.clone());
            let size = of_original.or_insert_with(|| size_of(&task.source_sha256));
            *size += task.witness_sha256().map_or(0, size_of);
        }
        sizes.into_iter().collect()
    }

    /// Opens a pack of a tenant and dataset to read originals from it.
    ///
    /// # Errors
    /// If the lake cannot be read, or the pack is gone or damaged.
    pub async fn open_pack(
        &self,
        tenant: &str,
        dataset: Dataset,
        id: &PackId,
    ) -> Result<Pack, Error> {
        let path = location::pack(tenant, dataset, id)?;
        let pack = Pack::fetch(&self.lake, &path, &id.sha256, &self.spool).await?;
        pack.ok_or_else(|| Error::Record {
            path: path.to_string(),
            problem: "it is gone".to_owned(),
        })
    }

    /// Merges the current object with the plan's spooled rows into a temporary file.
    ///
    /// # Errors
    /// [`Error::RowsLost`] if the spool has lost rows; [`Error::Object`] if the current object is
    /// gone, not ours or none of the known ones; otherwise if lake or disk fail.
    pub async fn stage(&self, plan: PartitionPlan) -> Result<Staged, Error> {
        let path = location::object(&plan.destination, &plan.id)?;
        let copy = self.spool.temp_file();
        let base = self.lake.download(&path, copy.path()).await?;
        if base.is_none() && plan.previous_content_hash.is_some() && !plan.from_scratch {
            let problem = format!("{path} is gone although it was published");
            return Err(Error::Object { problem });
        }
        let base = base.map(|found| Object {
            path: path.to_string(),
            size_bytes: found.size_bytes,
            sha256: found.sha256,
            version: found.version,
        });
        if let Some(base) = &base
            && !plan.from_scratch
            && !plan.known_objects.is_empty()
            && !plan.known_objects.contains(&base.sha256)
        {
            let problem = format!("{path} was read with other bytes than were published");
            return Err(Error::Object { problem });
        }
        let spool = self.spool.clone();
        blocking(move || {
            let merged_with = (base.is_some() && !plan.from_scratch).then_some(copy.path());
            stage(&spool, &plan, merged_with, base.clone())
        })
        .await
    }

    #[cfg(any(test, feature = "testing"))]
    /// Makes the staged file the partition's object, by one PUT that depends on the object that was
    /// merged with.
    ///
    /// # Errors
    /// [`store::StoreErrorKind::Conflict`] if the object was replaced since it was read: plan
    /// again. Otherwise if lake or disk fail.
    pub async fn put_object(
        &self,
        destination: &str,
        id: &PartitionId,
        staged: &Staged,
    ) -> Result<Object, Error> {
        let next = self.begin_object(destination, id, staged).await?;
        next.finish().await
    }

    /// All of [`Publisher::begin_object`] but its last step, so that the caller can make sure in
    /// between that this process may still publish.
    ///
    /// # Errors
    /// As for [`Publisher::begin_object`].
    pub async fn begin_object(
        &self,
        destination: &str,
        id: &PartitionId,
        staged: &Staged,
    ) -> Result<NextObject, Error> {
        let path = location::object(destination, id)?;
        let file = staged.file.path().to_owned();
        let bytes: Bytes = tokio::fs::read(&file)
            .await
            .map_err(Error::local("read", &file))?
            .into();
        self.lake.sweep(&path);
        let replacement = match &staged.base {
            Some(seen) => self.lake.replacement(&path, bytes, &seen.version).await?,
            None => self.lake.creation(&path, bytes),
        };
        Ok(NextObject {
            object: Object {
                path: path.to_string(),
                size_bytes: staged.written.size_bytes,
                sha256: staged.written.sha256.clone(),
                version: store::Version::default(),
            },
            replacement,
        })
    }

    /// Puts aside a workbook that broke its contract, with the reason (positions and causes, never
    /// values). Run twice, it is there once.
    ///
    /// # Errors
    /// If the lake cannot be written.
    pub async fn quarantine(
        &self,
        dataset: Dataset,
        tenant: &str,
        original: Bytes,
        reason: &serde_json::Value,
    ) -> Result<(), Error> {
        let sha256 = hex(&Sha256::digest(&original));
        // Bytes that are no workbook keep apart from the reason's `.json`.
        let extension = if original.starts_with(b"PK") {
            "xlsx"
        } else {
            "bin"
        };
        let workbook = location::quarantine(dataset, tenant, &sha256, extension)?;
        let record = location::quarantine(dataset, tenant, &sha256, "json")?;
        self.lake.put_create(&workbook, original).await?;
        self.lake
            .put_overwrite(&record, format!("{reason:#}\n").into())
            .await?;
        Ok(())
    }

    /// A workbook from the quarantine; `None` if it is not there, larger than `most_bytes`, or no
    /// longer what its name says.
    ///
    /// # Errors
    /// When the lake refuses.
    pub async fn quarantined(
        &self,
        dataset: Dataset,
        tenant: &str,
        sha256: &str,
        most_bytes: u64,
    ) -> Result<Option<Bytes>, Error> {
        for extension in ["xlsx", "bin"] {
            let path = location::quarantine(dataset, tenant, sha256, extension)?;
            let found = match self.lake.get(&path, most_bytes).await {
                Err(error) if error.kind() == store::StoreErrorKind::TooLarge => return Ok(None),
                found => found?,
            };
            if let Some(bytes) = found {
                return Ok((hex(&Sha256::digest(&bytes)) == sha256).then_some(bytes));
            }
        }
        Ok(None)
    }
}

fn stage(
    spool: &Spool,
    plan: &PartitionPlan,
    base: Option<&FilePath>,
    base_object: Option<Object>,
) -> Result<Staged, Error> {
    let contract = Contract::of(plan.id.dataset);
    let base_hash = match base {
        Some(path) => Some(hash_of_base(path, contract, plan.key_id.as_deref())?),
        None => None,
    };
    let mut replaced = plan.drop.clone();
    replaced.extend(plan.add.iter().map(|task| task.key.clone()));
    let of_base = base.map(merge::tasks_in).transpose()?;
    let is_known = |task: &TaskKey| plan.ranks.contains_key(task) || replaced.contains(task);
    if let Some(stray) = of_base.iter().flatten().find(|task| !is_known(task)) {
        let problem = format!("it has rows of task {stray}, which its record does not name");
        return Err(Error::Object { problem });
    }
    let inputs = Inputs {
        contract,
        key_id: plan.key_id.as_deref(),
        base,
        replaced: &replaced,
        ranks: &plan.ranks,
    };
    let file = spool.temp_file();
    let mut spooled = SpooledBatches {
        spool,
        schema: contract.schema(),
        dt: plan.id.dt,
        tasks: plan.add.iter(),
        open: None,
        lost: Vec::new(),
    };
    let merged = merge::merge(&inputs, &mut spooled, file.path());
    let (written, overridden) = merged.map_err(|error| error.of_disk(file.path()))?;
    if !spooled.lost.is_empty() {
        return Err(Error::RowsLost(spooled.lost));
    }
    let hash = Some(&written.content_hash);
    // Both: an object whose manifest is missing still needs one.
    let unchanged = base_hash.as_ref() == hash && plan.previous_content_hash.as_ref() == hash;
    let stands = match base.filter(|_| unchanged) {
        Some(_) if planted!("planted-rows-of-others") => true,
        Some(base) => merge::have_same_tasks(base, file.path())?,
        None => false,
    };
    Ok(Staged {
        written,
        unchanged,
        stands,
        overridden,
        file,
        base: base_object,
    })
}

/// The spooled rows of one date, task by task.
struct SpooledBatches<'a> {
    spool: &'a Spool,
    schema: SchemaRef,
    dt: Date,
    tasks: std::slice::Iter<'a, SpooledTask>,
    open: Option<(&'a SpooledTask, SpooledRows)>,
    /// Tasks whose rows are not there, or not whole.
    lost: Vec<TaskKey>,
}

impl Iterator for SpooledBatches<'_> {
    type Item = Result<RecordBatch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((task, mut rows)) = self.open.take() {
                match rows.next() {
                    Some(Ok(Some(batch))) => {
                        self.open = Some((task, rows));
                        return Some(Ok(batch));
                    }
                    Some(Ok(None)) => self.lost.push(task.key.clone()),
                    Some(Err(error)) => return Some(Err(error.into())),
                    None => {}
                }
            }
            let task = self.tasks.next()?;
            let (key, generation) = (&task.key, task.generation);
            match self.spool.read_rows(key, generation, self.dt, &self.schema) {
                Ok(Some(rows)) => self.open = Some((task, rows)),
                Ok(None) => self.lost.push(task.key.clone()),
                Err(error) => return Some(Err(error.into())),
            }
        }
    }
}

/// The content hash of an object that can be merged with.
fn hash_of_base(
    path: &FilePath,
    contract: &Contract,
    key_id: Option<&str>,
) -> Result<String, Error> {
    let problem = match parquet::footer(path, contract) {
        Ok(Some(footer)) if footer.contract_version < ORDERED_BY_TIME_SINCE => {
            let version = footer.contract_version;
            format!("its rows are in the order of contract {version}")
        }
        Ok(Some(footer)) if footer.key_id.as_deref() != key_id => {
            "its keys were made with another key of the lake".to_owned()
        }
        Ok(Some(footer)) => return Ok(footer.content_hash),
        Ok(None) => format!("it is no {} of meetlake", contract.dataset),
        Err(error) => error.to_string(),
    };
    Err(Error::Object { problem })
}

/// The pack of originals of the spool: its name and its bytes.
fn build_pack(
    spool: &Spool,
    dataset: Dataset,
    hashes: &[String],
    tasks: &[ArchivedTask],
) -> Result<(String, Bytes), Error> {
    let mut lost = Vec::new();
    let originals = hashes.iter().filter_map(|sha256| {
        let original = match spool.open_original(sha256).transpose() {
            // What is lost is counted to the end; there will be no pack.
            Some(_) if !lost.is_empty() => return None,
            Some(original) => original,
            None => {
                lost.push(sha256.clone());
                return None;
            }
        };
        let named = original.map(|original| (sha256.clone(), original));
        Some(named.map_err(Error::from))
    });
    let file = spool.temp_file();
    let name = pack::build(dataset, originals, tasks, file.path())?;
    if !lost.is_empty() {
        return Err(Error::OriginalsLost(lost));
    }
    let bytes = std::fs::read(file.path()).map_err(Error::local("read", file.path()))?;
    Ok((name, bytes.into()))
}

/// Runs `work` where blocking is allowed; a panic in it goes on here.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match workers::work(work).await {
        Ok(result) => result,
        Err(stopped) => match stopped.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(cancelled) => Err(Error::Local {
                action: "finish the work on",
                path: PathBuf::from("the spool"),
                source: cancelled.into(),
            }),
        },
    }
}

/// A partition that could not be published; what was published before it stays as it was.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name that cannot become a path.
    #[error(transparent)]
    Location(#[from] location::Error),
    /// The lake.
    #[error(transparent)]
    Store(store::Error),
    /// The spool.
    #[error(transparent)]
    Spool(#[from] spool::Error),
    /// Rows that the ledger knows of are not in the spool any more: these tasks must run again.
    #[error(
        "the spool has lost the rows of {} tasks, the first of them {}; they are exported again",
        .0.len(), .0[0]
    )]
    RowsLost(Vec<TaskKey>),
    /// Originals that the ledger knows of are not in the spool any more: their tasks must run
    /// again.
    #[error(
        "the spool has lost {} originals, the first of them {}; their tasks are exported again",
        .0.len(), .0[0]
    )]
    OriginalsLost(Vec<String>),
    /// The partition's object is not one that this version wrote, or it is gone.
    #[error("the current object cannot be merged with: {problem}")]
    Object {
        /// What is wrong with it.
        problem: String,
    },
    /// A record in the lake that is not what its name says.
    #[error("{path} is damaged: {problem}")]
    Record {
        /// Which record.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A temporary file.
    #[error("could not {action} {}{}", path.display(), disk::advice(source, path))]
    Local {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Rows that cannot be merged or encoded.
    #[error("could not merge the rows")]
    Arrow(#[from] ArrowError),
    /// A Parquet file that cannot be read or written.
    #[error("could not read or write parquet")]
    Parquet(#[from] ParquetError),
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        match error.kind() {
            store::StoreErrorKind::TooLarge => Self::Record {
                path: error.path().to_owned(),
                problem: error.cause().to_owned(),
            },
            _ => Self::Store(error),
        }
    }
}

impl Error {
    /// Names the temporary file, where the encoder says only that the system failed.
    fn of_disk(self, path: &FilePath) -> Self {
        if !matches!(self, Self::Parquet(_) | Self::Arrow(_)) {
            return self;
        }
        let source = match disk::io_cause(&self) {
            Some(io) => Some(std::io::Error::new(io.kind(), io.to_string())),
            None => disk::io_cause_in_text(&self),
        };
        match source {
            Some(source) => Self::local("write", path)(source),
            None => self,
        }
    }

    fn local(action: &'static str, path: &FilePath) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Local {
            action,
            path,
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::manifest::Revision;
    use super::rows::{TopUserRow, batch, row};
    use super::*;
    use crate::datasets::{Lineage, Request, TopUserOrder, UserIdType};
    use crate::findings::Witness;
    use crate::plan::tests::owner;
    use crate::record::{Input, InputOutcome, PassedRows, ReadingSettings};
    use jiff::Timestamp;
    use jiff::civil::{Date, date};
    use std::collections::BTreeSet;

    const DAY: Date = date(2026, 11, 19);

    struct Fixture {
        publisher: Publisher,
        id: PartitionId,
        _folder: tempfile::TempDir,
    }

    impl Fixture {
        fn new(lake: Option<&str>) -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let spool = Spool::open(folder.path().join("spool")).expect("a spool");
            let local = store::file_url(&folder.path().join("lake")).expect("a url");
            let url = lake.unwrap_or(&local);
            let lake = Lake::open(url, &BTreeMap::new()).expect("a lake");
            let id = PartitionId {
                dataset: Dataset::TopUser,
                tenant: "公司".into(),
                dt: DAY,
            };
            Self {
                publisher: Publisher::new(lake, spool),
                id,
                _folder: folder,
            }
        }

        /// Spools one generation of a task, as the pipeline would.
        fn spool(&self, task: &str, generation: u32, rows: &[TopUserRow]) -> SpooledTask {
            let key = TaskKey::from_stored(task);
            let rows = PassedRows::passed_by_policy(batch(rows));
            let spool = &self.publisher.spool;
            let mut spooling = spool.begin_rows(&key, generation).expect("begun");
            spooling.add(DAY, &rows).expect("added");
            spooling.keep().expect("kept");
            SpooledTask { key, generation }
        }

        fn plan(&self, previous: Option<&str>, add: &[SpooledTask]) -> PartitionPlan {
            PartitionPlan {
                id: self.id.clone(),
                destination: String::new(),
                previous_content_hash: previous.map(str::to_owned),
                add: add.to_vec(),
                drop: HashSet::new(),
                ranks: ["t0", "t1"].map(|t| (TaskKey::from_stored(t), 0)).into(),
                from_scratch: false,
                key_id: None,
                known_objects: vec![],
            }
        }

        async fn stage(&self, previous: Option<&str>, add: &[SpooledTask]) -> Staged {
            let staged = self.publisher.stage(self.plan(previous, add)).await;
            staged.expect("staged")
        }

        async fn put(&self, staged: &Staged) -> Object {
            let put = self.publisher.put_object("", &self.id, staged).await;
            put.expect("put")
        }

        async fn object(&self) -> Bytes {
            let path = location::object("", &self.id).expect("a path");
            let object = self
                .publisher
                .lake
                .get(&path, u64::MAX)
                .await
                .expect("read");
            object.expect("an object")
        }

        fn revision(&self, number: u32, staged: &Staged, object: Object) -> Revision {
            Revision {
                id: self.id.clone(),
                time_zone: "UTC".into(),
                reading: ReadingSettings {
                    time_zone: "UTC".into(),
                    duration_unit: None,
                },
                destination: String::new(),
                number,
                reasons: vec![],
                rows: staged.written.rows,
                object,
                content_hash: staged.written.content_hash.clone(),
                key_id: "k0".into(),
                previous_sha256: None,
                replayed_from: None,
                inputs: vec![input()],
                rejects: BTreeMap::new(),
                blank_columns: BTreeSet::new(),
                unknown_columns: BTreeSet::new(),
                coverage: None,
            }
        }
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1_795_000_000).expect("an instant")
    }

    /// A task with this key, or with the key of its request if that is empty.
    fn archived(key: &str, original: &str) -> ArchivedTask {
        let request = Request {
            order_by: Some(TopUserOrder::MeetingCount),
            limit: Some(1),
            user_id_type: Some(UserIdType::OpenId),
            ..Request::between(Dataset::TopUser, 1, 2)
        };
        ArchivedTask {
            task_key: TaskKey::from_stored(key),
            source_sha256: original.to_owned(),
            window_start: Timestamp::UNIX_EPOCH,
            window_end: now(),
            request,
            lineage: Lineage::default(),
            redacted: Vec::new(),
            witness: None,
        }
    }

    #[tokio::test]
    async fn originals_are_packed_by_day_and_found_under_another_key_too() {
        let fixture = Fixture::new(None);
        let put = |bytes: &[u8]| fixture.publisher.spool.put_original(bytes).expect("put");
        let (same, other) = (put(b"PK the same"), put(b"PK other"));
        let next = DAY.tomorrow().expect("a day");
        let days = BTreeMap::from([
            (DAY, vec![archived("b", &same), archived("a", &same)]),
            (next, vec![archived("c", &same), archived("d", &other)]),
        ]);
        let publisher = &fixture.publisher;
        let index = publisher.pack("公司", Dataset::TopUser, days).await;
        let index = index.expect("packed");
        let pack_of = |key: &str| &index[&TaskKey::from_stored(key)];
        assert_eq!((pack_of("a"), pack_of("c")), (pack_of("b"), pack_of("d")));
        assert_eq!((pack_of("a").dt, pack_of("c").dt), (DAY, next));
        // One original, two tasks; each day has its own copy.
        let pack = publisher
            .open_pack("公司", Dataset::TopUser, pack_of("a"))
            .await;
        let pack = pack.expect("a pack");
        assert_eq!(pack.originals(), [same]);
        // Packed under an earlier key of the lake, asked for under the present one.
        let request = archived("", "").request;
        let key = TaskKey::new(owner(), &request);
        assert_eq!(pack.task(&key, owner()).expect("it").request, request);
        let unknown = TaskKey::from_stored("unknown");
        assert!(matches!(
            pack.task(&unknown, owner()),
            Err(Error::Record { .. })
        ));
    }

    #[tokio::test]
    async fn what_an_original_was_compared_with_lies_in_its_pack() {
        let fixture = Fixture::new(None);
        let (publisher, dataset) = (&fixture.publisher, Dataset::MeetingList);
        let put = |bytes: &[u8]| publisher.spool.put_original(bytes).expect("put");
        let (export, list) = (put(b"PK export"), put(b"PK list"));
        let compared = |witness| {
            let mut task = archived("t", &export);
            (task.request.dataset, task.witness) = (dataset, Some(witness));
            BTreeMap::from([(DAY, vec![task])])
        };
        for (witness, held) in [
            (Witness::Unanswered, vec![export.clone()]),
            (
                Witness::Sha256(list.clone()),
                vec![export.clone(), list.clone()],
            ),
        ] {
            let index = publisher.pack("公司", dataset, compared(witness)).await;
            let index = index.expect("packed");
            let pack = publisher.open_pack("公司", dataset, &index[&TaskKey::from_stored("t")]);
            let mut pack = pack.await.expect("a pack");
            let mut expected = held.clone();
            expected.sort();
            assert_eq!(pack.originals(), expected);
            pack.check(&export).expect("whole");
            let copy = publisher.spool.temp_file();
            assert_eq!(
                pack.extract(&list, copy.path()).is_ok(),
                held.contains(&list)
            );
        }
        // One that the spool has lost is named.
        let lost = compared(Witness::Sha256("00".repeat(32)));
        let error = publisher
            .pack("公司", dataset, lost)
            .await
            .expect_err("lost");
        assert!(matches!(&error, Error::OriginalsLost(lost) if lost[0].starts_with("00")));
    }

    fn input() -> Input {
        Input {
            task_key: TaskKey::from_stored("t"),
            generation: 1,
            window_start: Timestamp::UNIX_EPOCH,
            window_end: now(),
            job_window: None,
            export_id: None,
            submitted_at: None,
            extracted_at: None,
            source_sha256: None,
            pack: None,
            rows: 1,
            overridden_rows: 0,
            outcome: InputOutcome::Published,
        }
    }

    #[tokio::test]
    async fn an_object_with_keys_of_another_key_is_not_merged_with() {
        let fixture = Fixture::new(None);
        let first = fixture.spool("t1", 1, &[row("a", 1, "t1", 1)]);
        let second = fixture.spool("t2", 1, &[row("b", 1, "t2", 1)]);
        let plan = |key_id: Option<&str>, previous, add| PartitionPlan {
            key_id: key_id.map(str::to_owned),
            ..fixture.plan(previous, &[add])
        };
        let staged = fixture
            .publisher
            .stage(plan(Some("k1"), None, first.clone()));
        let staged = staged.await.expect("staged");
        fixture.put(&staged).await;
        let previous = Some(staged.written.content_hash.as_str());
        for other in [Some("k2"), None] {
            let refused = fixture
                .publisher
                .stage(plan(other, previous, second.clone()));
            let refused = refused.await.expect_err("another key");
            assert!(
                matches!(&refused, Error::Object { problem }
                    if problem == "its keys were made with another key of the lake"),
                "{refused}"
            );
            let anew = PartitionPlan {
                from_scratch: true,
                add: vec![first.clone(), second.clone()],
                ..plan(other, previous, second.clone())
            };
            let anew = fixture.publisher.stage(anew).await.expect("staged");
            assert_eq!(anew.written.rows, 2);
        }
        let merged = fixture.publisher.stage(plan(Some("k1"), previous, second));
        assert_eq!(merged.await.expect("staged").written.rows, 2);
    }

    async fn publishes(fixture: Fixture) {
        let original = fixture
            .publisher
            .spool
            .put_original(b"PK workbook")
            .expect("put");
        let task = archived("t", &original);
        let days = || BTreeMap::from([(DAY, vec![task.clone()])]);
        let pack = || fixture.publisher.pack("公司", Dataset::TopUser, days());
        let index = pack().await.expect("packed");
        assert_eq!(pack().await.expect("packed"), index);
        let name = &index[&task.task_key];
        assert_eq!(name.dt, DAY);
        let opened = fixture.publisher.open_pack("公司", Dataset::TopUser, name);
        let mut opened = opened.await.expect("a pack");
        assert_eq!(opened.task(&task.task_key, owner()).expect("it"), &task);
        let copy = fixture.publisher.spool.temp_file();
        opened.extract(&original, copy.path()).expect("it");
        let read = std::fs::read(copy.path()).expect("read");
        assert_eq!(read, b"PK workbook");

        let first = fixture.spool("t1", 1, &[row("a", 1, "t1", 1), row("a", 2, "t1", 2)]);
        let staged = fixture.stage(None, &[first]).await;
        assert!(!staged.unchanged);
        let object = fixture.put(&staged).await;
        let first_hash = staged.written.content_hash.clone();
        let revision = fixture.revision(1, &staged, object);
        manifest::put(&fixture.publisher.lake, revision, now())
            .await
            .expect("a manifest");

        // A second generation with the same rows changes nothing.
        let same = fixture.spool("t1", 2, &[row("a", 1, "t1", 1), row("a", 2, "t1", 2)]);
        let staged = fixture.stage(Some(&first_hash), &[same]).await;
        assert!(staged.unchanged && staged.stands);

        // Another task in its place brings them, and they get its name.
        let same = fixture.spool("t0", 1, &[row("a", 1, "t0", 1), row("a", 2, "t0", 2)]);
        let mut plan = fixture.plan(Some(&first_hash), &[same]);
        plan.drop = [TaskKey::from_stored("t1")].into();
        let staged = fixture.publisher.stage(plan).await.expect("staged");
        assert!(staged.unchanged && !staged.stands);

        // Rows of a task that nobody names cannot be taken back, so the day is made anew.
        let mut plan = fixture.plan(Some(&first_hash), &[]);
        plan.ranks.clear();
        let refused = fixture.publisher.stage(plan).await;
        let Err(Error::Object { problem }) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(
            problem,
            "it has rows of task t1, which its record does not name"
        );

        // A third one lost a row, and another task brought one.
        let newer = fixture.spool("t1", 3, &[row("a", 2, "t1", 1)]);
        let other = fixture.spool("t2", 1, &[row("b", 1, "t2", 1)]);
        let staged = fixture.stage(Some(&first_hash), &[newer, other]).await;
        assert_eq!(staged.written.rows, 2);
        fixture.put(&staged).await;
        assert_eq!(
            hex(&Sha256::digest(fixture.object().await)),
            staged.written.sha256
        );

        // Both tasks are withdrawn: a settled day without rows is an object too.
        let mut plan = fixture.plan(Some(&staged.written.content_hash), &[]);
        plan.drop = ["t1", "t2"].map(TaskKey::from_stored).into();
        let empty = fixture.publisher.stage(plan).await.expect("staged");
        assert_eq!(empty.written.rows, 0);
        fixture.put(&empty).await;

        let reason = serde_json::json!({"cell": "F12"});
        for _ in 0..2 {
            let bytes = Bytes::from_static(b"PK broken");
            let quarantined =
                fixture
                    .publisher
                    .quarantine(Dataset::TopUser, "公司", bytes, &reason);
            quarantined.await.expect("quarantined");
        }
    }

    #[tokio::test]
    async fn a_partition_is_published_to_memory() {
        publishes(Fixture::new(Some("memory:///publish/whole"))).await;
    }

    #[tokio::test]
    async fn a_partition_is_published_to_a_folder() {
        publishes(Fixture::new(None)).await;
    }

    #[tokio::test]
    async fn a_process_that_dies_after_any_step_leaves_the_same_content_to_the_next() {
        let rows = [row("a", 1, "t1", 1), row("b", 1, "t1", 2)];
        let mut contents = Vec::new();
        for steps in 0..=3 {
            let fixture = Fixture::new(None);
            let old = fixture.spool("t0", 1, &[row("c", 1, "t0", 1)]);
            let base = fixture.stage(None, &[old]).await;
            let object = fixture.put(&base).await;
            let lake = &fixture.publisher.lake;
            let first = manifest::put(lake, fixture.revision(1, &base, object), now()).await;
            let first = first.expect("a manifest");
            let add = [fixture.spool("t1", 1, &rows)];
            let previous = Some(base.written.content_hash.as_str());

            // The process that dies: 0 before the stage, 1 after it, 2 after the PUT, 3 after the
            // manifest.
            if steps >= 1 {
                let staged = fixture.stage(previous, &add).await;
                if steps >= 2 {
                    let object = fixture.put(&staged).await;
                    if steps >= 3 {
                        let revision = fixture.revision(2, &staged, object);
                        manifest::put(lake, revision, now())
                            .await
                            .expect("a manifest");
                    }
                }
            }

            // The next one plans and stages again and goes all the way.
            let staged = fixture.stage(previous, &add).await;
            assert!(!staged.unchanged);
            let object = fixture.put(&staged).await;
            let revision = fixture.revision(2, &staged, object);
            manifest::put(lake, revision, now())
                .await
                .expect("a manifest");
            let mut newer = manifest::after(lake, &fixture.id, 1).await.expect("read");
            let last = newer.pop().expect("one");
            assert_eq!(last.manifest.revision, 2);
            assert_ne!(last.sha256, first.sha256);
            assert_eq!(
                last.manifest.object.sha256,
                hex(&Sha256::digest(fixture.object().await))
            );
            contents.push(fixture.object().await);
        }
        assert!(contents.windows(2).all(|pair| pair[0] == pair[1]));
    }

    #[tokio::test]
    async fn a_publisher_with_a_stale_object_loses() {
        for lake in [None, Some("memory:///publish/stale")] {
            let fixture = Fixture::new(lake);
            let a = fixture.spool("t1", 1, &[row("a", 1, "t1", 1)]);
            let b = fixture.spool("t2", 1, &[row("b", 1, "t2", 1)]);
            let first = fixture.stage(None, &[a]).await;
            let second = fixture.stage(None, &[b]).await;
            fixture.put(&first).await;
            let refused = fixture.publisher.put_object("", &fixture.id, &second).await;
            let refused = refused.expect_err("stale");
            assert!(
                matches!(refused, Error::Store(e) if e.kind() == store::StoreErrorKind::Conflict)
            );
        }
    }

    #[tokio::test]
    async fn lost_rows_and_lost_objects_are_named_and_nothing_is_published() {
        let fixture = Fixture::new(None);
        let gone = SpooledTask {
            key: TaskKey::from_stored("gone"),
            generation: 1,
        };
        let here = fixture.spool("t1", 1, &[row("a", 1, "t1", 1)]);
        let plan = fixture.plan(None, &[gone.clone(), here]);
        let error = fixture.publisher.stage(plan).await.expect_err("lost");
        assert!(matches!(error, Error::RowsLost(keys) if keys == [gone.key]));
        let plan = fixture.plan(Some("00"), &[]);
        let error = fixture.publisher.stage(plan).await.expect_err("no object");
        assert!(
            error
                .to_string()
                .contains("is gone although it was published"),
            "{error}"
        );
        let error = fixture
            .publisher
            .pack(
                "公司",
                Dataset::TopUser,
                BTreeMap::from([(DAY, vec![archived("t", "00")])]),
            )
            .await
            .expect_err("lost");
        assert!(matches!(error, Error::OriginalsLost(_)));
    }
}
