//! Manifests of format 1, which are only read to write their lake anew: see `replay_into`.
//!
//! They hold reasons as sentences, and what was asked for beside each input. Their packs lie by
//! tenant, `_raw/tenant=<t>/<sha256>.zip`, and hold originals only.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use object_store::path::Path;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{
    Chunk, Completeness, CoverageRecord, Error, InputSummary, MANIFEST_BYTES, Object, format_of,
    from_json, named_by_hash,
};
use crate::datasets::{Dataset, Lineage, Request};
use crate::publish::location;
use crate::record::{Input, InputOutcome, PartitionId, Reason, reason_format_1};
use crate::store::Lake;
use crate::task::{ExportId, TaskKey, hex};

/// The format that is read here.
pub const FORMAT: u32 = 1;

/// A record of format 1.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OldManifest {
    #[serde(rename = "format")]
    _format: u32,
    /// Whose columns.
    pub dataset: Dataset,
    /// Whose data.
    pub tenant: String,
    /// The civil date of the events.
    pub dt: Date,
    /// Folder below the lake's root that holds the dataset.
    pub destination: String,
    #[serde(rename = "revision")]
    _revision: u32,
    #[serde(rename = "state")]
    _state: Completeness,
    /// Why the partition is partial.
    #[serde(with = "reason_format_1")]
    pub reasons: Vec<Reason>,
    #[serde(rename = "rows")]
    _rows: u64,
    #[serde(rename = "object")]
    _object: Object,
    #[serde(rename = "content_hash")]
    _content_hash: String,
    #[serde(rename = "contract_version")]
    _contract_version: i32,
    #[serde(rename = "previous_sha256")]
    _previous_sha256: Option<String>,
    #[serde(rename = "summary")]
    _summary: InputSummary,
    inputs: Vec<Chunk>,
    #[serde(rename = "packs")]
    _packs: Vec<String>,
    /// What a fan-out left out.
    pub coverage: Option<CoverageRecord>,
    #[serde(rename = "created_at")]
    _created_at: Timestamp,
}

/// An input of format 1.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OldInput {
    /// The task, under the name that format 1 gave it.
    pub task_key: TaskKey,
    /// Which of its generations.
    pub generation: u32,
    /// What was asked for.
    pub request: Request,
    /// What the rows got from the task.
    pub lineage: Lineage,
    /// First instant of the task's window.
    pub window_start: Timestamp,
    /// First instant after it.
    pub window_end: Timestamp,
    /// The job's window that the task was planned for, where it is a longer one.
    #[serde(default)]
    pub job_window: Option<(Timestamp, Timestamp)>,
    /// Feishu's id of the export task.
    #[serde(default)]
    pub export_id: Option<ExportId>,
    /// When the export was submitted.
    #[serde(default)]
    pub submitted_at: Option<Timestamp>,
    /// When the bytes were received.
    #[serde(default)]
    pub extracted_at: Option<Timestamp>,
    /// SHA-256 of the original.
    #[serde(default)]
    pub source_sha256: Option<String>,
    /// SHA-256 of the pack that holds it.
    #[serde(default)]
    pub pack: Option<String>,
    /// Rows that the task brought to this partition.
    pub rows: u64,
    #[serde(default, rename = "overridden_rows")]
    _overridden_rows: u64,
    /// How the task ended.
    pub outcome: InputOutcome,
}

impl OldInput {
    /// Whether the task's workbook is in the partition, with rows or without.
    #[must_use]
    pub const fn is_answered(&self) -> bool {
        matches!(self.outcome, InputOutcome::Published | InputOutcome::Empty)
    }

    /// The same input under another name, in no pack yet.
    #[must_use]
    pub fn under(&self, task_key: TaskKey) -> Input {
        Input {
            task_key,
            generation: self.generation,
            window_start: self.window_start,
            window_end: self.window_end,
            job_window: self.job_window,
            export_id: self.export_id.clone(),
            submitted_at: self.submitted_at,
            extracted_at: self.extracted_at,
            source_sha256: self.source_sha256.clone(),
            pack: None,
            rows: self.rows,
            overridden_rows: 0,
            outcome: self.outcome,
        }
    }
}

impl OldManifest {
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

/// A record of format 1 and the SHA-256 of its bytes; `None` if there is no object.
///
/// # Errors
/// If the lake cannot be read, or the record is damaged or of another format.
pub async fn read(lake: &Lake, path: &Path) -> Result<Option<(OldManifest, String)>, Error> {
    let Some(bytes) = lake.get(path, MANIFEST_BYTES).await? else {
        return Ok(None);
    };
    let format = format_of(path, &bytes)?;
    if format != FORMAT {
        return Err(Error::Record {
            path: path.to_string(),
            problem: format!("it has format {format}, not {FORMAT}"),
        });
    }
    let manifest: OldManifest = from_json(path, &bytes)?;
    Ok(Some((manifest, hex(&Sha256::digest(&bytes)))))
}

/// The inputs of a record, by pack; those without one come first.
///
/// # Errors
/// If a chunk is missing or damaged.
pub async fn inputs(
    lake: &Lake,
    manifest: &OldManifest,
) -> Result<BTreeMap<Option<String>, Vec<OldInput>>, Error> {
    let mut inputs: BTreeMap<Option<String>, Vec<OldInput>> = BTreeMap::new();
    let id = manifest.id();
    let chunks = super::chunks::<OldInput>(lake, &id, &manifest.inputs);
    for input in chunks.await? {
        inputs.entry(input.pack.clone()).or_default().push(input);
    }
    Ok(inputs)
}

/// Where a pack of format 1 lies.
///
/// # Errors
/// If the tenant's name cannot be part of a path.
pub fn pack(tenant: &str, sha256: &str) -> Result<Path, Error> {
    named_by_hash("the manifest", sha256)?;
    Ok(location::pack_of_format_1(tenant, sha256)?)
}
