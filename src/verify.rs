//! Verifies a lake: compares its records with its objects, byte by byte, and with the ledger. It
//! only reads.
//!
//! It checks that every partition is one object, the one of its newest manifest. Manifests must
//! follow one another from revision 1. Each names its inputs, whose originals must be unchanged in
//! packs. A quarantined workbook must have its record. While a run publishes, unfinished work may
//! show up as a finding.

mod against_ledger;
mod identities;
mod objects;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use anyhow::Result;
use object_store::path::Path;
use serde::Serialize;

use crate::contract::Contract;
use crate::ledger::Ledger;
use crate::publish::identity::{self, LakeState};
use crate::publish::location;
use crate::publish::manifest::{self, Found, Manifest};
use crate::publish::pack::Pack;
use crate::publish::{self, merge, parquet};
use crate::record::{InputOutcome, Intent, PartitionId, Phase};
use crate::spool::Spool;
use crate::store::Lake;
use crate::task::TaskKey;
use crate::workers;
use objects::{LakeObjects, PackOf};

/// How much was checked, and what is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Partitions.
    pub partitions: u64,
    /// Their rows.
    pub rows: u64,
    /// Manifests of all revisions.
    pub manifests: u64,
    /// Packs that were read.
    pub packs: u64,
    /// Originals that were read from them.
    pub originals: u64,
    /// Workbooks in quarantine.
    pub quarantined: u64,
    /// Whether there is a ledger to compare with.
    pub has_ledger: bool,
    /// What is wrong; empty if all is well.
    pub findings: Vec<Finding>,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// What kind of thing is wrong.
    #[serde(rename = "what")]
    pub kind: FindingKind,
    /// Where in the lake.
    pub path: String,
    /// What is wrong, and what to do about it.
    pub problem: String,
}

/// What kind of thing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// A partition's object.
    Object,
    /// A record of a revision, or its input list.
    Manifest,
    /// The order of the revisions.
    Chain,
    /// A pack of originals.
    Pack,
    /// The ledger says something else.
    Ledger,
    /// A workbook or a record in quarantine.
    Quarantine,
    /// What the lake says of itself or of a tenant.
    Identity,
}

impl FindingKind {
    /// The word for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Manifest => "manifest",
            Self::Chain => "chain",
            Self::Pack => "pack",
            Self::Ledger => "ledger",
            Self::Quarantine => "quarantine",
            Self::Identity => "identity",
        }
    }
}

/// How an object is repaired.
const REPLAY: &str = "`meetlake replay` makes it again from the archived originals";

/// Checks everything in the lake. Objects are copied to `scratch` one at a time.
///
/// # Errors
/// When the lake, the scratch folder or the ledger cannot be read. Damage is a [`Finding`], not an
/// error.
pub async fn verify(lake: &Lake, ledger: Option<&Ledger>, scratch: &Spool) -> Result<VerifyReport> {
    let state = identity::find(lake).await?;
    let key_id = match &state {
        LakeState::Known(record, _) => Some(record.key.id.clone()),
        LakeState::OfFormat1 | LakeState::RecordLost | LakeState::Nothing => None,
    };
    let mut verifier = Verifier {
        lake,
        key_id,
        scratch,
        findings: BTreeSet::new(),
        report: VerifyReport {
            has_ledger: ledger.is_some(),
            ..VerifyReport::default()
        },
        chunks: HashSet::new(),
        packs: BTreeMap::new(),
    };
    let objects = LakeObjects::sort(lake.entries(&Path::default()).await?);
    let known = match ledger {
        Some(ledger) => ledger.partitions(None).await?,
        None => Vec::new(),
    };
    let intents: HashMap<PartitionId, Intent> = known
        .iter()
        .filter_map(|row| Some((row.id(), row.intent.clone()?)))
        .collect();
    let mut newest = BTreeMap::new();
    for (id, records) in &objects.manifests {
        if let Some(found) = verifier.check_revisions(records).await? {
            verifier
                .check_object(id, &found, &objects, intents.get(id))
                .await?;
            newest.insert(id.clone(), found);
        }
    }
    verifier.check_identities(&state, &newest).await?;
    verifier.find_undescribed(&objects, &intents);
    verifier.check_packs(&objects).await?;
    verifier.check_quarantine(&objects, ledger).await?;
    if let Some(ledger) = ledger {
        verifier
            .compare_with_ledger(ledger, &known, &newest)
            .await?;
    }
    verifier.report.findings = verifier.findings.into_iter().collect();
    Ok(verifier.report)
}

struct Verifier<'a> {
    lake: &'a Lake,
    /// The key that the lake has now.
    key_id: Option<String>,
    scratch: &'a Spool,
    findings: BTreeSet<Finding>,
    report: VerifyReport,
    /// Chunks of input lists that were read and are intact.
    chunks: HashSet<Path>,
    /// The originals that newest manifests expect in each pack.
    packs: BTreeMap<PackOf, BTreeSet<String>>,
}

impl Verifier<'_> {
    /// Reads the revisions of a partition in order and gives the newest.
    async fn check_revisions(&mut self, records: &BTreeMap<u32, Path>) -> Result<Option<Found>> {
        let mut previous: Option<Found> = None;
        let mut expected = 1;
        for (revision, path) in records {
            self.report.manifests += 1;
            let found = match manifest::read(self.lake, path).await {
                Ok(Some(found)) => found,
                Ok(None) => continue,
                Err(publish::Error::Record { problem, .. }) => {
                    self.add_finding(FindingKind::Manifest, path.as_ref(), problem);
                    (previous, expected) = (None, revision + 1);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let manifest = &found.manifest;
            let before = previous.as_ref().map(|found| &found.sha256);
            if *revision != expected {
                let missing = format!("revision {expected} is missing before it");
                self.add_finding(FindingKind::Chain, path.as_ref(), missing);
            } else if (previous.is_some() || *revision == 1)
                && manifest.previous_sha256.as_ref() != before
            {
                let broken = format!(
                    "it does not follow revision {}: the hash of the record before it is another",
                    revision - 1
                );
                self.add_finding(FindingKind::Chain, path.as_ref(), broken);
            }
            self.check_input_lists(path, manifest).await?;
            expected = revision + 1;
            previous = Some(found);
        }
        let is_newest = |found: &Found| records.keys().last() == Some(&found.manifest.revision);
        Ok(previous.filter(is_newest))
    }

    /// Checks that all chunks of a record's input list are there. Revisions share most of their
    /// chunks, so each is read once.
    async fn check_input_lists(&mut self, path: &Path, manifest: &Manifest) -> Result<()> {
        let id = manifest.id();
        let mut all_known = true;
        for chunk in &manifest.inputs {
            all_known &= self.chunks.contains(&location::inputs(&id, &chunk.sha256)?);
        }
        if all_known {
            return Ok(());
        }
        match manifest::inputs(self.lake, manifest).await {
            Ok(_) => {
                for chunk in &manifest.inputs {
                    self.chunks.insert(location::inputs(&id, &chunk.sha256)?);
                }
            }
            Err(publish::Error::Record { path: of, problem }) => {
                let problem = format!("{problem}; {} names it", path.as_ref());
                self.add_finding(FindingKind::Manifest, &of, problem);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Checks that a partition's object is the one of its newest manifest.
    async fn check_object(
        &mut self,
        id: &PartitionId,
        found: &Found,
        objects: &LakeObjects,
        intent: Option<&Intent>,
    ) -> Result<()> {
        let manifest = &found.manifest;
        self.report.partitions += 1;
        self.report.rows += manifest.rows;
        let named = self.expect_originals(manifest).await?;
        self.check_coverage(manifest).await?;
        let path = location::object(&manifest.destination, id)?;
        for (other, _, _) in objects.partitions.get(id).into_iter().flatten() {
            if *other != path {
                let why = format!(
                    "it lies beside {path}, so readers see rows twice; meetlake did not \
                     write it: move it away"
                );
                self.add_finding(FindingKind::Object, other.as_ref(), why);
            }
        }
        let copy = self.scratch.temp_file();
        let Some(stored) = self.lake.download(&path, copy.path()).await? else {
            self.add_finding(
                FindingKind::Object,
                path.as_ref(),
                format!("it is gone; {REPLAY}"),
            );
            return Ok(());
        };
        let object = &manifest.object;
        if stored.sha256 != object.sha256 {
            let why = if intent.is_some_and(|intent| intent.object_sha256 == stored.sha256) {
                "a publish was cut off between the object and its manifest; `meetlake run` \
                 completes it"
                    .to_owned()
            } else if stored.size_bytes != object.size_bytes {
                format!(
                    "it has {} bytes, the manifest says {}; {REPLAY}",
                    stored.size_bytes, object.size_bytes
                )
            } else {
                format!("its bytes are not those of the manifest; {REPLAY}")
            };
            self.add_finding(FindingKind::Object, path.as_ref(), why);
            return Ok(());
        }
        let (file, contract) = (copy.path().to_owned(), Contract::of(id.dataset));
        let again = workers::work(move || {
            let content = parquet::hash_content_of_file(&file, contract);
            (content, merge::tasks_in(&file))
        });
        let (content, tasks) = again.await?;
        let strays = tasks.unwrap_or_default().into_iter();
        let stray = strays.filter(|task| !named.contains(task)).min();
        if let Some(stray) = stray.filter(|_| !named.is_empty()) {
            let why =
                format!("it has rows of task {stray}, which its manifest does not name; {REPLAY}");
            self.add_finding(FindingKind::Object, path.as_ref(), why);
        }
        match content {
            Ok((hash, rows)) => {
                if hash != manifest.content_hash || rows != manifest.rows {
                    let why = format!(
                        "its {rows} rows hash to {hash}, the manifest says {} rows and {}; \
                         it was written with another contract: {REPLAY}",
                        manifest.rows, manifest.content_hash
                    );
                    self.add_finding(FindingKind::Object, path.as_ref(), why);
                }
            }
            Err(error) => {
                let why = format!("it cannot be read: {error}; {REPLAY}");
                self.add_finding(FindingKind::Object, path.as_ref(), why);
            }
        }
        Ok(())
    }

    /// Checks that the coverage record beside a manifest says what the manifest does.
    async fn check_coverage(&mut self, manifest: &Manifest) -> Result<()> {
        if manifest.coverage.is_none() {
            return Ok(());
        }
        let (id, revision) = (manifest.id(), manifest.revision);
        let problem = match manifest::coverage(self.lake, &id, revision).await {
            Ok(found) if found == manifest.coverage => return Ok(()),
            Ok(None) => "it is gone; its manifest has the same counts".to_owned(),
            Ok(Some(_)) => "it has other counts than its manifest, which are right".to_owned(),
            Err(publish::Error::Record { problem, .. }) => problem,
            Err(error) => return Err(error.into()),
        };
        let path = location::coverage(&id, revision)?;
        self.add_finding(FindingKind::Manifest, path.as_ref(), problem);
        Ok(())
    }

    /// Records which originals a newest manifest expects in which pack, and gives the tasks that it
    /// names; none, if its record of them is damaged.
    async fn expect_originals(&mut self, manifest: &Manifest) -> Result<HashSet<TaskKey>> {
        let inputs = match manifest::inputs(self.lake, manifest).await {
            Err(publish::Error::Record { .. }) => return Ok(HashSet::new()),
            inputs => inputs?,
        };
        let mut named = HashSet::new();
        for input in inputs {
            named.insert(input.task_key.clone());
            match (&input.pack, &input.source_sha256) {
                (Some(pack), Some(sha256)) => {
                    let of = (manifest.tenant.clone(), manifest.dataset, pack.clone());
                    self.packs.entry(of).or_default().insert(sha256.clone());
                }
                _ if matches!(input.outcome, InputOutcome::Published | InputOutcome::Empty) => {
                    let path = location::manifest(&manifest.id(), manifest.revision)?;
                    let why = format!("its input {} names no archived original", input.task_key);
                    self.add_finding(FindingKind::Manifest, path.as_ref(), why);
                }
                _ => {}
            }
        }
        Ok(named)
    }

    /// Finds objects in partitions that no manifest describes.
    fn find_undescribed(&mut self, objects: &LakeObjects, intents: &HashMap<PartitionId, Intent>) {
        for (id, files) in &objects.partitions {
            if objects.manifests.contains_key(id) {
                continue;
            }
            for (path, _, _) in files {
                let why = match intents.contains_key(id) {
                    true => {
                        "a publish was cut off between the object and its manifest; `meetlake \
                         run` completes it"
                    }
                    false => "no manifest describes it",
                };
                self.add_finding(FindingKind::Object, path.as_ref(), why.to_owned());
            }
        }
    }

    /// Checks that every pack named by a newest manifest is intact and holds the expected
    /// originals.
    async fn check_packs(&mut self, objects: &LakeObjects) -> Result<()> {
        for (of, originals) in std::mem::take(&mut self.packs) {
            let (tenant, dataset, id) = &of;
            let path = location::pack(tenant, *dataset, id)?;
            if !objects.packs.contains(&of) {
                let why = format!("it is gone, and with it {} originals", originals.len());
                self.add_finding(FindingKind::Pack, path.as_ref(), why);
                continue;
            }
            let mut pack = match Pack::fetch(self.lake, &path, &id.sha256, self.scratch).await {
                Ok(Some(pack)) => pack,
                Ok(None) => continue,
                Err(error @ publish::Error::Record { .. }) => {
                    self.report.packs += 1;
                    self.add_finding(FindingKind::Pack, path.as_ref(), error.to_string());
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            self.report.packs += 1;
            let read = workers::work(move || {
                let mut wrong = Vec::new();
                for sha256 in &originals {
                    match pack.check(sha256) {
                        Ok(()) => {}
                        Err(error @ publish::Error::Record { .. }) => wrong.push(error.to_string()),
                        Err(error) => return Err(error),
                    }
                }
                Ok((originals.len() as u64, wrong))
            });
            let (originals, wrong) = read.await??;
            self.report.originals += originals;
            for why in wrong {
                self.add_finding(FindingKind::Pack, path.as_ref(), why);
            }
        }
        Ok(())
    }

    /// Checks that every quarantined workbook is intact and has its record, and every record its
    /// workbook.
    async fn check_quarantine(
        &mut self,
        objects: &LakeObjects,
        ledger: Option<&Ledger>,
    ) -> Result<()> {
        let mut there = HashSet::new();
        for (name, (sha256, extensions)) in &objects.quarantine {
            there.insert(sha256.clone());
            let workbook = extensions.iter().find(|extension| *extension != "json");
            let Some(extension) = workbook else {
                let path = format!("{name}json");
                let why = "its original is gone".to_owned();
                self.add_finding(FindingKind::Quarantine, &path, why);
                continue;
            };
            self.report.quarantined += 1;
            let path = format!("{name}{extension}");
            if !extensions.contains("json") {
                let why = "it has no record that says why it is here".to_owned();
                self.add_finding(FindingKind::Quarantine, &path, why);
            }
            let copy = self.scratch.temp_file();
            let stored = self
                .lake
                .download(&Path::parse(&path)?, copy.path())
                .await?;
            if stored.is_some_and(|stored| stored.sha256 != *sha256) {
                let why = "its content is not what its name says".to_owned();
                self.add_finding(FindingKind::Quarantine, &path, why);
            }
        }
        let tasks = match ledger {
            Some(ledger) => ledger.unpublished().await?,
            None => Vec::new(),
        };
        for task in tasks.iter().filter(|task| task.phase == Phase::Quarantined) {
            if let Some(sha256) = &task.sha256
                && !there.contains(sha256)
            {
                let path = location::quarantine(task.dataset, &task.tenant, sha256, "json")?;
                let why = format!(
                    "the original of task {} is not there, the ledger says it was quarantined",
                    task.key
                );
                self.add_finding(FindingKind::Quarantine, path.as_ref(), why);
            }
        }
        Ok(())
    }

    fn add_finding(&mut self, kind: FindingKind, path: &str, problem: String) {
        self.findings.insert(Finding {
            kind,
            path: path.to_owned(),
            problem,
        });
    }
}
