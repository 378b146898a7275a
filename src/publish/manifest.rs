//! The record of one published revision of a partition: what is in it, where it came from, what is
//! missing, and which record it follows.
//!
//! Records are numbered, created only if absent, and each holds the SHA-256 of the one before, so
//! that a list of them is a history nobody rewrites. Long lists of inputs lie beside the record in
//! content-named chunks. What is here and in the packs is enough to rebuild the ledger. Nothing
//! here tells of a person: what was asked for, and of whom, lies in the packs.

pub mod format_1;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::civil::Date;
use object_store::path::Path;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Error;
use super::location::{self, Place};
use crate::contract;
use crate::datasets::Dataset;
use crate::findings::{Comparison, is_zero};
use crate::job::{FanOut, FanOutOrder};
use crate::record::{Coverage, Input, InputOutcome, PackId, PartitionId, ReadingSettings, Reason};
use crate::store::{Lake, Version};
use crate::task::hex;
use crate::text::is_hex;

/// Version of the record's layout.
pub const FORMAT: u32 = 2;
/// Inputs in one chunk: some 500 kB of JSON.
const CHUNK_INPUTS: usize = 1_000;
/// No record is larger. It has some kB, and some hundred bytes for each pack and for each thousand
/// inputs.
pub(super) const MANIFEST_BYTES: u64 = 16 << 20;
/// No chunk is larger: more than ten times what a thousand inputs take.
const CHUNK_BYTES: u64 = 8 << 20;
/// No coverage record is larger: it is a dozen numbers.
const COVERAGE_BYTES: u64 = 1 << 20;
/// Unknown headers that a record names, and the characters that it names of each: a workbook may
/// have hundreds, each of them a book.
const MOST_HEADERS: usize = 1_000;
const MOST_HEADER_CHARS: usize = 200;

/// One revision of a partition, as it lies in the lake.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Layout of this record.
    pub format: u32,
    /// Whose columns.
    pub dataset: Dataset,
    /// Whose data.
    pub tenant: String,
    /// The civil date of the events.
    pub dt: Date,
    /// The zone in which the day is cut: an IANA name. The first records of format 2 lack it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// How its originals were read. The first records of format 2 lack it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reading: Option<ReadingSettings>,
    /// Folder below the lake's root that holds the dataset; empty for the root.
    pub destination: String,
    /// Counts from 1.
    pub revision: u32,
    /// Whether everything that was planned is in.
    pub state: Completeness,
    /// Why the partition is partial; empty if it is complete.
    pub reasons: Vec<Reason>,
    /// Rows of the object.
    pub rows: u64,
    /// The partition's object.
    pub object: Object,
    /// Hash of the rows' values.
    pub content_hash: String,
    /// Version of the contract that the rows follow.
    pub contract_version: i32,
    /// The key of the lake under which task keys, and the keys in the rows, were made.
    pub key_id: String,
    /// SHA-256 of the record of the revision before; `None` for the first.
    pub previous_sha256: Option<String>,
    /// SHA-256 of the record, in the lake that it was replayed from, whose originals this is made
    /// of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replayed_from: Option<String>,
    /// Counts over the inputs.
    pub summary: InputSummary,
    /// Chunks of the input list, in order.
    pub inputs: Vec<Chunk>,
    /// The packs that hold the inputs' originals, sorted.
    pub packs: Vec<PackId>,
    /// What a fan-out left out; `None` for a dataset without parents.
    pub coverage: Option<CoverageRecord>,
    /// When this record was made.
    pub created_at: Timestamp,
}

/// Whether everything that was planned is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Completeness {
    /// Every planned task brought its answer, and the answers are plausible.
    Complete,
    /// Something is missing or implausible; the reasons say what.
    Partial,
}

/// The partition's object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Object {
    /// Below the lake's root.
    pub path: String,
    /// Length, bytes.
    pub size_bytes: u64,
    /// SHA-256 of the bytes.
    pub sha256: String,
    /// State in the store when it was published.
    #[serde(default)]
    pub version: Version,
}

/// Counts over the inputs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputSummary {
    /// Planned tasks.
    pub tasks: u64,
    /// Rows that the tasks brought to this partition.
    pub rows: u64,
    /// Rows among them that a later task's rows with the same natural key replaced.
    pub overridden_rows: u64,
    /// Tasks that brought a workbook without rows.
    pub empty: u64,
    /// Tasks whose workbook is in quarantine.
    pub quarantined: u64,
    /// Tasks that failed for good.
    pub failed: u64,
    /// Tasks without an answer yet.
    pub missing: u64,
    /// Cells that did not parse, by column.
    pub rejects: BTreeMap<String, u64>,
    /// Columns in which not one row has a value.
    pub blank_columns: BTreeSet<String>,
    /// Headers that no contract knows.
    pub unknown_columns: BTreeSet<String>,
}

/// A content-named part of the input list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chunk {
    /// SHA-256 of the chunk, which is its name.
    pub sha256: String,
    /// Inputs in it.
    pub inputs: u64,
}

/// What a fan-out over parent rows asked for and what it left out, and what another source says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoverageRecord {
    /// Parent rows of the day.
    pub parents: u64,
    /// Parents for which a task was planned.
    pub planned: u64,
    /// Parents without one, by reason.
    pub left_out: LeftOut,
    /// Parents of whose end no event told.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub without_event: u64,
    /// Meetings of whose end an event told, and which are no parents.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub not_listed: u64,
    /// Rows that tell of something unfinished, such as a meeting that goes on.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unfinished: u64,
    /// The bounds in force.
    pub bounds: Bounds,
    /// How the export's rows compare with those of the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared: Option<Comparison>,
}

impl CoverageRecord {
    /// The record of these counts, with the bounds in force.
    #[must_use]
    pub fn new(counts: &Coverage, fan_out: &FanOut) -> Self {
        Self {
            parents: counts.parents,
            planned: counts.planned,
            left_out: LeftOut {
                not_ended: counts.not_ended,
                below_min_participants: counts.below_min_participants,
                not_sampled: counts.not_sampled,
                over_max_tasks: counts.over_max_tasks,
                no_id: counts.no_id,
                ambiguous: counts.ambiguous,
                unresolved: counts.unresolved,
                hidden: counts.hidden,
            },
            without_event: counts.without_event,
            not_listed: counts.not_listed,
            unfinished: counts.unfinished,
            bounds: fan_out.into(),
            compared: counts.compared.clone(),
        }
    }
}

/// Parents without a task, by reason; the names are those of [`Coverage`]. Earlier records call
/// three of them by their bounds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// Meetings without an end yet.
    #[serde(default)]
    pub not_ended: u64,
    /// Meetings with too few participants.
    #[serde(alias = "min_participants")]
    pub below_min_participants: u64,
    /// Not in the sample.
    #[serde(alias = "sampled")]
    pub not_sampled: u64,
    /// Left for a later run.
    #[serde(alias = "max_tasks")]
    pub over_max_tasks: u64,
    /// Rows without the id that the request needs.
    pub no_id: u64,
    /// Rows whose unique meeting could be several.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ambiguous: u64,
    /// Rows whose unique meeting was not found.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unresolved: u64,
    /// Meetings that the app may not see, among those without a row.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hidden: u64,
}

/// Bounds of a fan-out, as the job file has them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// Fewest participants of a meeting.
    pub min_participants: Option<i64>,
    /// Share of parents.
    pub sample: Option<f64>,
    /// Most tasks of one run.
    pub max_tasks_per_run: Option<u32>,
    /// Which parents come first: `newest` or `largest`.
    pub order: String,
}

impl From<&FanOut> for Bounds {
    fn from(fan_out: &FanOut) -> Self {
        Self {
            min_participants: fan_out.min_participants,
            sample: fan_out.sample,
            max_tasks_per_run: fan_out.max_tasks_per_run,
            order: match fan_out.order {
                FanOutOrder::Newest => "newest".to_owned(),
                FanOutOrder::Largest => "largest".to_owned(),
            },
        }
    }
}

/// What a revision says, before it is numbered into the lake.
#[derive(Clone, Debug)]
pub struct Revision {
    /// Which partition.
    pub id: PartitionId,
    /// The zone in which the day is cut: an IANA name.
    pub time_zone: String,
    /// How its originals were read.
    pub reading: ReadingSettings,
    /// Folder below the lake's root that holds the dataset.
    pub destination: String,
    /// Counts from 1.
    pub number: u32,
    /// Why the partition is partial; empty makes it complete.
    pub reasons: Vec<Reason>,
    /// Rows of the object.
    pub rows: u64,
    /// The partition's object.
    pub object: Object,
    /// Hash of the rows' values.
    pub content_hash: String,
    /// The key of the lake.
    pub key_id: String,
    /// SHA-256 of the record of the revision before.
    pub previous_sha256: Option<String>,
    /// SHA-256 of the record that it was replayed from in another lake.
    pub replayed_from: Option<String>,
    /// Every task of the partition.
    pub inputs: Vec<Input>,
    /// Cells that did not parse, by column.
    pub rejects: BTreeMap<String, u64>,
    /// Columns in which not one row has a value.
    pub blank_columns: BTreeSet<String>,
    /// Headers that no contract knows.
    pub unknown_columns: BTreeSet<String>,
    /// What a fan-out left out.
    pub coverage: Option<CoverageRecord>,
}

/// A record as it was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The record.
    pub manifest: Manifest,
    /// SHA-256 of its bytes, which its successor repeats.
    pub sha256: String,
}

/// The coverage record beside a manifest.
#[derive(Serialize)]
struct CoverageFile<'a> {
    dataset: Dataset,
    tenant: &'a str,
    dt: Date,
    revision: u32,
    #[serde(flatten)]
    coverage: &'a CoverageRecord,
}

/// What a coverage record is of.
#[derive(Deserialize)]
struct CoverageName {
    dataset: Dataset,
    tenant: String,
    dt: Date,
    revision: u32,
}

impl CoverageName {
    fn id(&self) -> PartitionId {
        PartitionId {
            dataset: self.dataset,
            tenant: self.tenant.clone(),
            dt: self.dt,
        }
    }
}

/// Puts a revision's record into the lake: input chunks, then coverage, then the manifest, which
/// alone makes the others count. Run twice, or again after a crash at any point, it finds or
/// completes its own record.
///
/// # Errors
/// [`crate::store::StoreErrorKind::Conflict`] if the number is taken by another revision; otherwise
/// if the lake cannot be written.
pub async fn put(lake: &Lake, mut revision: Revision, now: Timestamp) -> Result<Found, Error> {
    revision.inputs.sort_by(|a, b| a.task_key.cmp(&b.task_key));
    let path = location::manifest(&revision.id, revision.number)?;
    let chunks = put_chunks(lake, &revision).await?;
    let manifest = build(&revision, chunks, now);
    match read(lake, &path).await? {
        Some(found)
            if is_same(&found.manifest, &manifest) && !planted!("planted-recovery-skipped") =>
        {
            return Ok(found);
        }
        // The number is taken, which the store says below; the coverage beside it is not ours to
        // touch.
        Some(_) => {}
        None => put_coverage(lake, &revision).await?,
    }
    crash_point!("w09-inputs-put");
    let bytes = to_json(&manifest);
    let sha256 = hex(&Sha256::digest(&bytes));
    lake.sweep(&path);
    lake.put_create(&path, bytes.into()).await?;
    Ok(Found { manifest, sha256 })
}

/// The records of a partition that follow revision `number`, read by their keys one after the
/// other, because a list may lack the newest.
///
/// # Errors
/// If the lake cannot be read or a record is damaged.
pub async fn after(lake: &Lake, id: &PartitionId, number: u32) -> Result<Vec<Found>, Error> {
    let mut found = Vec::new();
    for next in number.saturating_add(1).. {
        match read(lake, &location::manifest(id, next)?).await? {
            Some(record) => found.push(record),
            None => break,
        }
    }
    Ok(found)
}

/// The paths of all records of all partitions, by revision.
///
/// # Errors
/// If the lake cannot be listed.
pub async fn all(lake: &Lake) -> Result<BTreeMap<PartitionId, BTreeMap<u32, Path>>, Error> {
    let mut all: BTreeMap<PartitionId, BTreeMap<u32, Path>> = BTreeMap::new();
    for path in lake.list(&location::all_manifests(None)).await? {
        if let Place::Manifest(id, revision) = location::place(&path) {
            all.entry(id).or_default().insert(revision, path);
        }
    }
    Ok(all)
}

/// The newest record of the newest day of a tenant's dataset; `None` if there is no day.
///
/// # Errors
/// If the lake cannot be read or the record is damaged.
pub async fn newest(
    lake: &Lake,
    tenant: &str,
    dataset: Dataset,
) -> Result<Option<Manifest>, Error> {
    let mut newest = None;
    for path in lake.list(&location::all_manifests(Some(dataset))).await? {
        if let Place::Manifest(id, revision) = location::place(&path)
            && id.tenant == tenant
        {
            newest = newest.max(Some((id.dt, revision, path)));
        }
    }
    match newest {
        Some((_, _, path)) => Ok(read(lake, &path).await?.map(|found| found.manifest)),
        None => Ok(None),
    }
}

/// The objects of all partitions, whether or not a record describes them.
///
/// # Errors
/// If the lake cannot be listed.
pub async fn objects(lake: &Lake) -> Result<Vec<(PartitionId, Path)>, Error> {
    let paths = lake.list(&Path::default()).await?;
    let objects = paths
        .into_iter()
        .filter_map(|path| match location::place(&path) {
            Place::Partition {
                id,
                is_object: true,
            } => Some((id, path)),
            _ => None,
        });
    Ok(objects.collect())
}

/// What the coverage record beside a manifest says; `None` if there is none.
///
/// # Errors
/// If the lake cannot be read or the record is damaged.
pub async fn coverage(
    lake: &Lake,
    id: &PartitionId,
    revision: u32,
) -> Result<Option<CoverageRecord>, Error> {
    let path = location::coverage(id, revision)?;
    let Some(bytes) = lake.get(&path, COVERAGE_BYTES).await? else {
        return Ok(None);
    };
    let named: CoverageName = from_json(&path, &bytes)?;
    if named.id() != *id || named.revision != revision {
        return Err(Error::Record {
            path: path.to_string(),
            problem: format!("it describes {} revision {}", named.id(), named.revision),
        });
    }
    let mut record: serde_json::Map<String, serde_json::Value> = from_json(&path, &bytes)?;
    let counts = [
        "parents",
        "planned",
        "left_out",
        "without_event",
        "not_listed",
        "bounds",
        "compared",
    ];
    record.retain(|key, _| counts.contains(&key.as_str()));
    let record = serde_json::Value::Object(record);
    let read = serde_json::from_value(record).map_err(|error| Error::Record {
        path: path.to_string(),
        problem: error.to_string(),
    });
    read.map(Some)
}

/// A record by its path; `None` if there is no object.
///
/// # Errors
/// If the lake cannot be read or the record is damaged.
pub async fn read(lake: &Lake, path: &Path) -> Result<Option<Found>, Error> {
    let Some(bytes) = lake.get(path, MANIFEST_BYTES).await? else {
        return Ok(None);
    };
    let manifest = manifest_of(path, &bytes)?;
    check_place(path, &manifest)?;
    Ok(Some(Found {
        manifest,
        sha256: hex(&Sha256::digest(&bytes)),
    }))
}

/// Refuses a record that is another's than its path says, or that names an object that is not its
/// partition's: whoever reads it looks for the object where it belongs.
fn check_place(path: &Path, manifest: &Manifest) -> Result<(), Error> {
    let (id, revision) = (manifest.id(), manifest.revision);
    let problem = if location::place(path) != Place::Manifest(id.clone(), revision) {
        format!("it describes {id} revision {revision}")
    } else {
        match location::object(&manifest.destination, &id) {
            Ok(object) if object.as_ref() == manifest.object.path => return Ok(()),
            Ok(object) => {
                format!("it names another object than {object}, which is its partition's")
            }
            Err(error) => error.to_string(),
        }
    };
    Err(Error::Record {
        path: path.to_string(),
        problem,
    })
}

/// The input list of a revision, in the order of task keys.
///
/// # Errors
/// If a chunk is missing or damaged.
pub async fn inputs(lake: &Lake, manifest: &Manifest) -> Result<Vec<Input>, Error> {
    chunks(lake, &manifest.id(), &manifest.inputs).await
}

async fn chunks<T: DeserializeOwned>(
    lake: &Lake,
    id: &PartitionId,
    named: &[Chunk],
) -> Result<Vec<T>, Error> {
    let mut inputs = Vec::new();
    for chunk in named {
        named_by_hash("the manifest", &chunk.sha256)?;
        let path = location::inputs(id, &chunk.sha256)?;
        let damaged = |problem: &str| Error::Record {
            path: path.to_string(),
            problem: problem.to_owned(),
        };
        let bytes = lake
            .get(&path, CHUNK_BYTES)
            .await?
            .ok_or_else(|| damaged("it is gone"))?;
        if hex(&Sha256::digest(&bytes)) != chunk.sha256 {
            return Err(damaged("its content is not what its name says"));
        }
        let of_chunk: Vec<T> = from_json(&path, &bytes)?;
        if of_chunk.len() as u64 != chunk.inputs {
            return Err(damaged(
                "it has another number of inputs than its manifest says",
            ));
        }
        inputs.extend(of_chunk);
    }
    Ok(inputs)
}

impl Manifest {
    /// Which partition.
    #[must_use]
    pub fn id(&self) -> PartitionId {
        PartitionId {
            dataset: self.dataset,
            tenant: self.tenant.clone(),
            dt: self.dt,
        }
    }
}

async fn put_chunks(lake: &Lake, revision: &Revision) -> Result<Vec<Chunk>, Error> {
    let mut chunks = Vec::new();
    for inputs in revision.inputs.chunks(CHUNK_INPUTS) {
        let bytes = to_json(&inputs);
        let sha256 = hex(&Sha256::digest(&bytes));
        let path = location::inputs(&revision.id, &sha256)?;
        lake.sweep(&path);
        lake.put_create(&path, bytes.into()).await?;
        chunks.push(Chunk {
            sha256,
            inputs: inputs.len() as u64,
        });
    }
    Ok(chunks)
}

async fn put_coverage(lake: &Lake, revision: &Revision) -> Result<(), Error> {
    let Some(coverage) = &revision.coverage else {
        return Ok(());
    };
    let record = CoverageFile {
        dataset: revision.id.dataset,
        tenant: &revision.id.tenant,
        dt: revision.id.dt,
        revision: revision.number,
        coverage,
    };
    let path = location::coverage(&revision.id, revision.number)?;
    // An attempt that died before its manifest may have left another count; without a manifest it
    // never counted.
    lake.put_overwrite(&path, to_json(&record).into()).await?;
    Ok(())
}

fn build(revision: &Revision, inputs: Vec<Chunk>, now: Timestamp) -> Manifest {
    let is_complete = revision.reasons.is_empty();
    Manifest {
        format: FORMAT,
        dataset: revision.id.dataset,
        tenant: revision.id.tenant.clone(),
        dt: revision.id.dt,
        time_zone: Some(revision.time_zone.clone()),
        reading: Some(revision.reading.clone()),
        destination: revision.destination.clone(),
        revision: revision.number,
        state: if is_complete {
            Completeness::Complete
        } else {
            Completeness::Partial
        },
        reasons: revision.reasons.clone(),
        rows: revision.rows,
        object: revision.object.clone(),
        content_hash: revision.content_hash.clone(),
        contract_version: contract::VERSION,
        key_id: revision.key_id.clone(),
        previous_sha256: revision.previous_sha256.clone(),
        replayed_from: revision.replayed_from.clone(),
        summary: summary(revision),
        inputs,
        packs: packs_of(&revision.inputs),
        coverage: revision.coverage.clone(),
        created_at: now,
    }
}

/// The packs that hold the originals of inputs, sorted.
#[must_use]
pub fn packs_of(inputs: &[Input]) -> Vec<PackId> {
    let packs = inputs.iter().filter_map(|input| input.pack.clone());
    let packs: BTreeSet<PackId> = packs.collect();
    packs.into_iter().collect()
}

fn summary(revision: &Revision) -> InputSummary {
    let inputs = &revision.inputs;
    let ended = |outcome| {
        inputs
            .iter()
            .filter(|input| input.outcome == outcome)
            .count() as u64
    };
    InputSummary {
        tasks: inputs.len() as u64,
        rows: inputs.iter().map(|input| input.rows).sum(),
        overridden_rows: inputs.iter().map(|input| input.overridden_rows).sum(),
        empty: ended(InputOutcome::Empty),
        quarantined: ended(InputOutcome::Quarantined),
        failed: ended(InputOutcome::Failed),
        missing: ended(InputOutcome::Missing),
        rejects: revision.rejects.clone(),
        blank_columns: revision.blank_columns.clone(),
        unknown_columns: short_headers(&revision.unknown_columns),
    }
}

fn short_headers(headers: &BTreeSet<String>) -> BTreeSet<String> {
    let short = |header: &String| header.chars().take(MOST_HEADER_CHARS).collect();
    headers.iter().take(MOST_HEADERS).map(short).collect()
}

/// Whether two records say the same in the lake; when they were made, and the tag that a repeated
/// PUT got, may differ.
fn is_same(one: &Manifest, other: &Manifest) -> bool {
    let mut one = one.clone();
    one.created_at = other.created_at;
    one.object.version = other.object.version.clone();
    one == *other
}

pub(super) fn to_json(value: &impl Serialize) -> Vec<u8> {
    let mut json = serde_json::to_vec_pretty(value).expect("records are plain values");
    json.push(b'\n');
    json
}

/// Refuses what should be a hash and could be a path.
fn named_by_hash(path: &str, name: &str) -> Result<(), Error> {
    if is_hex(name) {
        return Ok(());
    }
    Err(Error::Record {
        path: path.to_owned(),
        problem: "it names something that is no hash".to_owned(),
    })
}

/// The format that a record says it has.
pub(super) fn format_of(path: &Path, bytes: &[u8]) -> Result<u32, Error> {
    #[derive(Deserialize)]
    struct Layout {
        format: u32,
    }
    let Layout { format } = from_json(path, bytes)?;
    Ok(format)
}

/// Reads a record, and refuses one of another format by name.
fn manifest_of(path: &Path, bytes: &[u8]) -> Result<Manifest, Error> {
    let format = format_of(path, bytes)?;
    if format != FORMAT {
        return Err(Error::Record {
            path: path.to_string(),
            problem: format!("it has format {format}, this meetlake reads format {FORMAT}"),
        });
    }
    from_json(path, bytes)
}

fn from_json<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| Error::Record {
        path: path.to_string(),
        problem: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::ReasonKind;
    use crate::store::StoreErrorKind;
    use crate::task::{ExportId, TaskKey};
    use jiff::civil::date;

    fn lake(name: &str) -> Lake {
        Lake::open(&format!("memory:///manifest/{name}"), &BTreeMap::new()).expect("a lake")
    }

    fn now(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("an instant")
    }

    fn pack_id() -> PackId {
        PackId {
            dt: date(2026, 11, 19),
            sha256: "cd".into(),
        }
    }

    fn input(n: usize) -> Input {
        Input {
            task_key: TaskKey::from_stored(format!("{n:032}")),
            generation: 1,
            window_start: now(1),
            window_end: now(2),
            job_window: None,
            export_id: Some(ExportId("7".into())),
            submitted_at: Some(now(3)),
            extracted_at: Some(now(4)),
            source_sha256: Some("ab".into()),
            pack: Some(pack_id()),
            rows: 2,
            overridden_rows: 0,
            outcome: if n == 0 {
                InputOutcome::Empty
            } else {
                InputOutcome::Published
            },
        }
    }

    fn object_path() -> String {
        let id = PartitionId {
            dataset: Dataset::MeetingList,
            tenant: "公司".into(),
            dt: date(2026, 11, 19),
        };
        let path = location::object("", &id).expect("a path");
        path.to_string()
    }

    fn revision(number: u32, inputs: usize) -> Revision {
        Revision {
            id: PartitionId {
                dataset: Dataset::MeetingList,
                tenant: "公司".into(),
                dt: date(2026, 11, 19),
            },
            time_zone: "UTC".into(),
            reading: ReadingSettings {
                time_zone: "UTC".into(),
                duration_unit: None,
            },
            destination: String::new(),
            number,
            reasons: vec![],
            rows: 3,
            object: Object {
                path: object_path(),
                size_bytes: 1,
                sha256: "ef".into(),
                version: Version::default(),
            },
            content_hash: "00".into(),
            key_id: "k0".into(),
            previous_sha256: None,
            replayed_from: None,
            inputs: (0..inputs).rev().map(input).collect(),
            rejects: BTreeMap::new(),
            blank_columns: BTreeSet::new(),
            unknown_columns: BTreeSet::new(),
            coverage: Some(CoverageRecord {
                compared: Some(Comparison::missing()),
                ..CoverageRecord::default()
            }),
        }
    }

    #[tokio::test]
    async fn records_are_found_one_after_the_other_with_all_their_inputs() {
        let lake = lake("after");
        let id = revision(1, 0).id;
        assert_eq!(after(&lake, &id, 0).await.expect("none"), []);
        let first = put(&lake, revision(1, 1), now(10)).await.expect("put");
        let mut second = revision(2, 2_500);
        second.previous_sha256 = Some(first.sha256.clone());
        let second = put(&lake, second, now(11)).await.expect("put");
        let newer = after(&lake, &id, 1).await.expect("read");
        assert_eq!(newer, std::slice::from_ref(&second));
        assert_eq!(
            after(&lake, &id, 0).await.expect("read"),
            [first, second.clone()]
        );
        let found = second;
        assert_eq!(found.manifest.summary.tasks, 2_500);
        assert_eq!(found.manifest.summary.empty, 1);
        assert_eq!(found.manifest.packs, [pack_id()]);
        assert_eq!(found.manifest.inputs.len(), 3);
        let read_back = inputs(&lake, &found.manifest).await.expect("inputs");
        assert_eq!(read_back, (0..2_500).map(input).collect::<Vec<_>>());
        let all = all(&lake).await.expect("all");
        let paths = [1, 2].map(|number| location::manifest(&id, number).expect("a path"));
        assert_eq!(all[&id].values().cloned().collect::<Vec<_>>(), paths);
    }

    #[tokio::test]
    async fn a_revision_is_put_once_and_never_replaced_by_another() {
        let lake = lake("once");
        let first = put(&lake, revision(1, 1), now(10)).await.expect("put");
        let again = put(&lake, revision(1, 1), now(99)).await.expect("again");
        assert_eq!(again, first);
        let partial = || {
            let detail = "the daily report counted 10 meetings, the list has 7".to_owned();
            let mut partial = revision(2, 1);
            partial.reasons = vec![
                Reason::new(ReasonKind::NotPlanned, 2),
                Reason::with_detail(ReasonKind::FewerMeetings, 3, detail),
            ];
            partial
        };
        let first = put(&lake, partial(), now(10)).await.expect("put");
        let again = put(&lake, partial(), now(99))
            .await
            .expect("its own record");
        assert_eq!(again.sha256, first.sha256);
        let mut other = revision(1, 1);
        other.content_hash = "11".into();
        let refused = put(&lake, other, now(10)).await.expect_err("taken");
        assert!(matches!(refused, Error::Store(error) if error.kind() == StoreErrorKind::Conflict));
    }

    /// The record at `path` with one value changed.
    async fn changed(lake: &Lake, path: &Path, name: &str, value: serde_json::Value) {
        let bytes = lake.get(path, MANIFEST_BYTES).await.expect("read");
        let mut record: serde_json::Value =
            serde_json::from_slice(&bytes.expect("a record")).expect("JSON");
        record[name] = value;
        let changed = to_json(&record).into();
        lake.put_overwrite(path, changed).await.expect("written");
    }

    #[tokio::test]
    async fn a_record_that_is_not_of_its_place_is_damaged() {
        let path = object_path();
        let object = |path: &str| {
            let object = Object {
                path: path.into(),
                ..revision(1, 1).object
            };
            serde_json::to_value(object).expect("JSON")
        };
        let other_day = path.replace("11-19", "11-20");
        let table = [
            ("object", object(&other_day), "another object than"),
            ("object", object("../x/part-0.parquet"), "another object"),
            ("object", object(&format!("bi/{path}")), "another object"),
            ("destination", "bi".into(), "another object than bi/"),
            ("destination", "../..".into(), ".."),
            ("dataset", "daily_report".into(), "describes daily_report"),
            ("tenant", "acme".into(), "describes"),
            ("dt", "2026-11-20".into(), "2026-11-20 revision 1"),
            ("revision", 2.into(), "revision 2"),
        ];
        for (n, (name, value, because)) in table.into_iter().enumerate() {
            let lake = lake(&format!("place-{n}"));
            let standing = put(&lake, revision(1, 1), now(10)).await.expect("put");
            let id = revision(1, 1).id;
            let at = location::manifest(&id, 1).expect("a path");
            assert_eq!(read(&lake, &at).await.expect("read"), Some(standing));
            changed(&lake, &at, name, value.clone()).await;
            for error in [
                read(&lake, &at).await.expect_err("damaged"),
                after(&lake, &id, 0).await.expect_err("damaged"),
            ] {
                let is_damage = matches!(error, Error::Record { .. });
                let told = error.to_string();
                assert!(
                    is_damage && told.contains(because),
                    "{name} {value}: {told}"
                );
            }
            let at = location::coverage(&id, 1).expect("a path");
            if ["dataset", "tenant", "dt", "revision"].contains(&name) {
                changed(&lake, &at, name, value).await;
                let error = coverage(&lake, &id, 1).await.expect_err("damaged");
                assert!(error.to_string().contains(because), "{name}: {error}");
            }
        }
    }

    #[tokio::test]
    async fn what_is_larger_than_any_record_is_damaged_and_not_fetched() {
        let lake = lake("large");
        let put = put(&lake, revision(1, 1), now(10)).await.expect("put");
        let id = revision(1, 1).id;
        let chunk = location::inputs(&id, &put.manifest.inputs[0].sha256).expect("a path");
        let at = location::manifest(&id, 1).expect("a path");
        let coverage_at = location::coverage(&id, 1).expect("a path");
        for (path, most) in [
            (&at, MANIFEST_BYTES),
            (&chunk, CHUNK_BYTES),
            (&coverage_at, COVERAGE_BYTES),
        ] {
            let most = usize::try_from(most).expect("it fits");
            let spaces = vec![b' '; most + 1].into();
            lake.put_overwrite(path, spaces).await.expect("written");
        }
        for error in [
            read(&lake, &at).await.expect_err("large"),
            inputs(&lake, &put.manifest).await.expect_err("large"),
            coverage(&lake, &id, 1).await.expect_err("large"),
        ] {
            let told = error.to_string();
            assert!(matches!(error, Error::Record { .. }), "{told}");
            assert!(told.contains(" bytes, and none has more than "), "{told}");
        }
    }

    #[tokio::test]
    async fn the_largest_records_that_are_written_are_read() {
        let lake = lake("largest");
        let mut large = revision(1, 20 * CHUNK_INPUTS);
        for (n, input) in large.inputs.iter_mut().enumerate() {
            let sha256 = format!("{n:064x}");
            input.source_sha256 = Some(sha256.clone());
            input.pack = Some(PackId {
                sha256,
                ..pack_id()
            });
        }
        large.unknown_columns = (0..5_000)
            .map(|n| format!("{n}{}", "长".repeat(9_999)))
            .collect();
        let written = put(&lake, large, now(10)).await.expect("put");
        let at = location::manifest(&revision(1, 1).id, 1).expect("a path");
        assert_eq!(read(&lake, &at).await.expect("read"), Some(written.clone()));
        let read = inputs(&lake, &written.manifest).await.expect("inputs");
        assert_eq!(read.len(), 20 * CHUNK_INPUTS);
    }
}
