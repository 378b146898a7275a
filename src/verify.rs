//! Proves a lake: what its records say is compared with what is there, byte by byte, and with the ledger. Reads only.
//!
//! Every partition is one object, that of its newest manifest; manifests follow one another from revision 1; each names its inputs, whose
//! originals lie untouched in packs; a quarantined workbook has its record. Beside a run, what is being published may show as a finding.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use anyhow::Result;
use object_store::path::Path;
use serde::Serialize;

use crate::contract::Contract;
use crate::ledger::{Intent, Ledger, PartitionRow, Phase};
use crate::publish::location::{self, Place};
use crate::publish::manifest::{self, Found, Input, Manifest, Outcome, State};
use crate::publish::pack::Pack;
use crate::publish::{self, PartitionId, parquet};
use crate::spool::Spool;
use crate::store::{Entry, Lake};

/// What was looked at, and what is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
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
    pub what: What,
    /// Where in the lake.
    pub path: String,
    /// What is wrong, and what to do about it.
    pub problem: String,
}

/// What kind of thing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
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
}

impl What {
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
        }
    }
}

/// What makes an object whole again.
const REPLAY: &str = "`meetlake replay` makes it again from the archived originals";

/// Looks at everything in the lake. Objects are copied to `scratch` one at a time.
///
/// # Errors
/// When the lake, the scratch folder or the ledger cannot be read; what is damaged is a [`Finding`].
pub async fn verify(lake: &Lake, ledger: Option<&Ledger>, scratch: &Spool) -> Result<Report> {
    let mut verify = Verify {
        lake,
        scratch,
        findings: BTreeSet::new(),
        report: Report {
            has_ledger: ledger.is_some(),
            ..Report::default()
        },
        chunks: HashSet::new(),
        packs: BTreeMap::new(),
    };
    let lies = Lies::sorted(lake.entries(&Path::default()).await?);
    let known = match ledger {
        Some(ledger) => ledger.partitions(None).await?,
        None => Vec::new(),
    };
    let intents: HashMap<PartitionId, Intent> = known
        .iter()
        .filter_map(|row| Some((id_of(row), row.intent.clone()?)))
        .collect();
    let mut newest = BTreeMap::new();
    for (id, records) in &lies.manifests {
        if let Some(found) = verify.chain(id, records).await? {
            verify.object(id, &found, &lies, intents.get(id)).await?;
            newest.insert(id.clone(), found);
        }
    }
    verify.strangers(&lies, &intents);
    verify.originals(&lies).await?;
    verify.quarantine(&lies, ledger).await?;
    if let Some(ledger) = ledger {
        verify.ledger(ledger, &known, &newest).await?;
    }
    verify.report.findings = verify.findings.into_iter().collect();
    Ok(verify.report)
}

/// The lake's objects by what they are.
#[derive(Default)]
struct Lies {
    manifests: BTreeMap<PartitionId, BTreeMap<u32, Path>>,
    /// Everything in the folders of partitions: path, length, and whether it has the object's name.
    partitions: BTreeMap<PartitionId, Vec<(Path, u64, bool)>>,
    packs: BTreeSet<(String, String)>,
    /// Path without the extension, to the workbook's hash and the extensions that are there.
    quarantine: BTreeMap<String, (String, BTreeSet<String>)>,
}

impl Lies {
    fn sorted(entries: Vec<Entry>) -> Self {
        let mut lies = Self::default();
        for Entry {
            path, size_bytes, ..
        } in entries
        {
            match location::place(&path) {
                Place::Manifest(id, revision) => {
                    lies.manifests.entry(id).or_default().insert(revision, path);
                }
                Place::Partition { id, is_object } => {
                    let files = lies.partitions.entry(id).or_default();
                    files.push((path, size_bytes, is_object));
                }
                Place::Pack(tenant, sha256) => drop(lies.packs.insert((tenant, sha256))),
                Place::Quarantine {
                    sha256, extension, ..
                } => {
                    let name = path.as_ref().strip_suffix(&extension).unwrap_or_default();
                    let (_, extensions) = lies
                        .quarantine
                        .entry(name.to_owned())
                        .or_insert_with(|| (sha256, BTreeSet::new()));
                    extensions.insert(extension);
                }
                Place::Coverage(..) | Place::Inputs(..) | Place::Probe | Place::Other => {}
            }
        }
        lies
    }
}

struct Verify<'a> {
    lake: &'a Lake,
    scratch: &'a Spool,
    findings: BTreeSet<Finding>,
    report: Report,
    /// Chunks of input lists that were read and are whole.
    chunks: HashSet<Path>,
    /// The originals that newest manifests expect in each pack of a tenant.
    packs: BTreeMap<(String, String), BTreeSet<String>>,
}

impl Verify<'_> {
    /// Reads the revisions of a partition in order and gives the newest.
    async fn chain(
        &mut self,
        id: &PartitionId,
        records: &BTreeMap<u32, Path>,
    ) -> Result<Option<Found>> {
        let mut previous: Option<Found> = None;
        let mut expected = 1;
        for (revision, path) in records {
            self.report.manifests += 1;
            let found = match manifest::read(self.lake, path).await {
                Ok(Some(found)) => found,
                Ok(None) => continue,
                Err(publish::Error::Record { problem, .. }) => {
                    self.find(What::Manifest, path.as_ref(), problem);
                    (previous, expected) = (None, revision + 1);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let manifest = &found.manifest;
            if manifest.id() != *id || manifest.revision != *revision {
                let other = format!(
                    "it describes {} revision {}",
                    manifest.id(),
                    manifest.revision
                );
                self.find(What::Manifest, path.as_ref(), other);
            }
            let before = previous.as_ref().map(|found| &found.sha256);
            if *revision != expected {
                let missing = format!("revision {expected} is missing before it");
                self.find(What::Chain, path.as_ref(), missing);
            } else if (previous.is_some() || *revision == 1)
                && manifest.previous_sha256.as_ref() != before
            {
                let broken = format!(
                    "it does not follow revision {}: the hash of the record before it is another",
                    revision - 1
                );
                self.find(What::Chain, path.as_ref(), broken);
            }
            self.input_lists(path, manifest).await?;
            expected = revision + 1;
            previous = Some(found);
        }
        let is_newest = |found: &Found| records.keys().last() == Some(&found.manifest.revision);
        Ok(previous.filter(is_newest))
    }

    /// Whether all chunks of a record's input list are there; those of older revisions are mostly the same.
    async fn input_lists(&mut self, path: &Path, manifest: &Manifest) -> Result<()> {
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
                self.find(What::Manifest, &of, problem);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Whether a partition's object is the one of its newest manifest.
    async fn object(
        &mut self,
        id: &PartitionId,
        found: &Found,
        lies: &Lies,
        intent: Option<&Intent>,
    ) -> Result<()> {
        let manifest = &found.manifest;
        self.report.partitions += 1;
        self.report.rows += manifest.rows;
        self.expect_originals(manifest).await?;
        let path = location::object(&manifest.destination, id)?;
        for (other, _, _) in lies.partitions.get(id).into_iter().flatten() {
            if *other != path {
                let why = format!(
                    "it lies beside {path}, so a reader sees rows twice; nothing of meetlake's writes it: move it away"
                );
                self.find(What::Object, other.as_ref(), why);
            }
        }
        let copy = self.scratch.temp_file();
        let Some(stored) = self.lake.download(&path, copy.path()).await? else {
            self.find(What::Object, path.as_ref(), format!("it is gone; {REPLAY}"));
            return Ok(());
        };
        let object = &manifest.object;
        if stored.sha256 != object.sha256 {
            let why = if intent.is_some_and(|intent| intent.object_sha256 == stored.sha256) {
                "a publish was cut off between the object and its manifest; `meetlake run` completes it".to_owned()
            } else if stored.size_bytes != object.size_bytes {
                format!(
                    "it has {} bytes, the manifest says {}; {REPLAY}",
                    stored.size_bytes, object.size_bytes
                )
            } else {
                format!("its bytes are not those of the manifest; {REPLAY}")
            };
            self.find(What::Object, path.as_ref(), why);
            return Ok(());
        }
        let (file, contract) = (copy.path().to_owned(), Contract::of(id.dataset));
        let again =
            tokio::task::spawn_blocking(move || parquet::content_hash_again(&file, contract));
        match again.await? {
            Ok((hash, rows)) => {
                if hash != manifest.content_hash || rows != manifest.rows {
                    let why = format!(
                        "its {rows} rows hash to {hash}, the manifest says {} rows and {}; \
                         it was written with another contract: {REPLAY}",
                        manifest.rows, manifest.content_hash
                    );
                    self.find(What::Object, path.as_ref(), why);
                }
            }
            Err(error) => {
                let why = format!("it cannot be read: {error}; {REPLAY}");
                self.find(What::Object, path.as_ref(), why);
            }
        }
        Ok(())
    }

    /// Notes which originals a newest manifest expects where.
    async fn expect_originals(&mut self, manifest: &Manifest) -> Result<()> {
        let inputs = match manifest::inputs(self.lake, manifest).await {
            Err(publish::Error::Record { .. }) => return Ok(()),
            inputs => inputs?,
        };
        for input in inputs {
            match (&input.pack, &input.source_sha256) {
                (Some(pack), Some(sha256)) => {
                    let key = (manifest.tenant.clone(), pack.clone());
                    self.packs.entry(key).or_default().insert(sha256.clone());
                }
                _ if matches!(input.outcome, Outcome::Published | Outcome::Empty) => {
                    let path = location::manifest(&manifest.id(), manifest.revision)?;
                    let why = format!("its input {} names no archived original", input.task_key);
                    self.find(What::Manifest, path.as_ref(), why);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Objects of partitions that no manifest describes.
    fn strangers(&mut self, lies: &Lies, intents: &HashMap<PartitionId, Intent>) {
        for (id, files) in &lies.partitions {
            if lies.manifests.contains_key(id) {
                continue;
            }
            for (path, _, _) in files {
                let why = match intents.contains_key(id) {
                    true => {
                        "a publish was cut off between the object and its manifest; `meetlake run` completes it"
                    }
                    false => "no manifest describes it",
                };
                self.find(What::Object, path.as_ref(), why.to_owned());
            }
        }
    }

    /// Whether every pack that a newest manifest names is whole and holds what it should.
    async fn originals(&mut self, lies: &Lies) -> Result<()> {
        for ((tenant, name), originals) in std::mem::take(&mut self.packs) {
            let path = location::pack(&tenant, &name)?;
            if !lies.packs.contains(&(tenant.clone(), name.clone())) {
                let why = format!("it is gone, and with it {} originals", originals.len());
                self.find(What::Pack, path.as_ref(), why);
                continue;
            }
            let Some(bytes) = self.lake.get(&path).await? else {
                continue;
            };
            self.report.packs += 1;
            let read = tokio::task::spawn_blocking(move || {
                let mut pack = match Pack::open(&name, bytes) {
                    Ok(pack) => pack,
                    Err(error) => return (0, vec![error.to_string()]),
                };
                let wrong: Vec<String> = originals
                    .iter()
                    .filter_map(|sha256| Some(pack.original(sha256).err()?.to_string()))
                    .collect();
                (originals.len() as u64, wrong)
            });
            let (originals, wrong) = read.await?;
            self.report.originals += originals;
            for why in wrong {
                self.find(What::Pack, path.as_ref(), why);
            }
        }
        Ok(())
    }

    /// Whether every quarantined workbook is whole and has its record, and the other way round.
    async fn quarantine(&mut self, lies: &Lies, ledger: Option<&Ledger>) -> Result<()> {
        let mut there = HashSet::new();
        for (name, (sha256, extensions)) in &lies.quarantine {
            there.insert(sha256.clone());
            let workbook = extensions.iter().find(|extension| *extension != "json");
            let Some(extension) = workbook else {
                let path = format!("{name}json");
                let why = "its workbook is gone".to_owned();
                self.find(What::Quarantine, &path, why);
                continue;
            };
            self.report.quarantined += 1;
            let path = format!("{name}{extension}");
            if !extensions.contains("json") {
                let why = "it has no record that says why it is here".to_owned();
                self.find(What::Quarantine, &path, why);
            }
            let copy = self.scratch.temp_file();
            let stored = self
                .lake
                .download(&Path::parse(&path)?, copy.path())
                .await?;
            if stored.is_some_and(|stored| stored.sha256 != *sha256) {
                let why = "its content is not what its name says".to_owned();
                self.find(What::Quarantine, &path, why);
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
                    "the workbook of task {} is not there, the ledger says it was quarantined",
                    task.key
                );
                self.find(What::Quarantine, path.as_ref(), why);
            }
        }
        Ok(())
    }

    /// Whether the ledger says of each partition what its newest manifest says.
    async fn ledger(
        &mut self,
        ledger: &Ledger,
        known: &[PartitionRow],
        newest: &BTreeMap<PartitionId, Found>,
    ) -> Result<()> {
        let published: BTreeMap<PartitionId, &PartitionRow> = known
            .iter()
            .filter(|row| row.revision > 0)
            .map(|row| (id_of(row), row))
            .collect();
        for (id, found) in newest {
            let path = location::manifest(id, found.manifest.revision)?;
            let Some(row) = published.get(id) else {
                let why = "the ledger does not know the partition; a publish that was cut off is completed by `meetlake run`, \
                           a lost ledger is rebuilt by `meetlake ledger rebuild`";
                self.find(What::Ledger, path.as_ref(), why.to_owned());
                continue;
            };
            let mut differs = differences(row, found);
            differs.extend(self.inputs_differ(ledger, found).await?);
            if !differs.is_empty() {
                let why = format!("the ledger differs in {}", differs.join(", "));
                self.find(What::Ledger, path.as_ref(), why);
            }
        }
        for id in published.keys().filter(|id| !newest.contains_key(id)) {
            let path = location::manifests(id)?;
            let why =
                "the ledger says the partition is published, and its newest manifest is not there"
                    .to_owned();
            self.find(What::Ledger, path.as_ref(), why);
        }
        Ok(())
    }

    async fn inputs_differ(&self, ledger: &Ledger, found: &Found) -> Result<Option<&'static str>> {
        let id = found.manifest.id();
        let named = match manifest::inputs(self.lake, &found.manifest).await {
            Err(publish::Error::Record { .. }) => return Ok(None),
            inputs => inputs?,
        };
        let recorded: HashMap<_, Input> = ledger
            .inputs(&id.tenant, id.dataset, id.dt)
            .await?
            .into_iter()
            .filter_map(|(key, _, entry)| Some((key, serde_json::from_str(&entry).ok()?)))
            .collect();
        let agrees = named
            .iter()
            .filter(|input| matches!(input.outcome, Outcome::Published | Outcome::Empty))
            .all(|input| recorded.get(&input.task_key) == Some(input));
        Ok((!agrees).then_some("its list of inputs"))
    }

    fn find(&mut self, what: What, path: &str, problem: String) {
        self.findings.insert(Finding {
            what,
            path: path.to_owned(),
            problem,
        });
    }
}

fn differences(row: &PartitionRow, found: &Found) -> Vec<&'static str> {
    let manifest = &found.manifest;
    let pairs = [
        (row.revision == u64::from(manifest.revision), "its revision"),
        (
            row.manifest_sha256.as_ref() == Some(&found.sha256),
            "the hash of its manifest",
        ),
        (
            row.content_hash.as_ref() == Some(&manifest.content_hash),
            "its content hash",
        ),
        (row.rows == manifest.rows, "its rows"),
        (
            row.size_bytes == manifest.object.size_bytes,
            "the length of its object",
        ),
        (
            row.complete == (manifest.state == State::Complete),
            "whether it is complete",
        ),
    ];
    pairs
        .into_iter()
        .filter(|(agrees, _)| !agrees)
        .map(|(_, what)| what)
        .collect()
}

fn id_of(row: &PartitionRow) -> PartitionId {
    PartitionId {
        dataset: row.dataset,
        tenant: row.tenant.clone(),
        dt: row.dt,
    }
}
