//! What must hold at every instant of a lake, whenever a process died, and what must hold when a run has ended: said in lines that name what is
//! wrong, so that a test can ask for none, and a test with a planted defect for the right one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use meetlake::testing::dataset::Dataset;
use meetlake::testing::record::{PartitionRow, Phase};
use meetlake::testing::store::Lake;
use meetlake::testing::task::State;
use meetlake::testing::task::{ExportId, TaskKey};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use crate::app::{TENANT, TestApp};
use crate::lake::{self, below, records, sha256, unsound};
use crate::truth::Truth;

/// Watches one application over all lives of its process.
pub(crate) struct Checker<'a> {
    app: &'a TestApp,
    /// A lake in a bucket; it is copied into the application's folder before each look.
    remote: Option<Lake>,
    /// Objects that may be visible before their manifest: SHA-256 of every intent that was recorded at a death.
    pub(crate) intended: BTreeSet<String>,
    /// The recorded export of each task and generation.
    exports: HashMap<(TaskKey, u32), ExportId>,
    /// Submits that may have been answered in vain.
    lost_answers: u64,
    /// Exports that were asked for again on purpose.
    pub(crate) asked_again: u64,
    /// Rows of each partition at the last look.
    rows: BTreeMap<PathBuf, usize>,
    /// How often a death found something in which state.
    pub(crate) found: BTreeMap<&'static str, u64>,
}

/// What the ledger says.
struct Recorded {
    partitions: Vec<PartitionRow>,
    tasks: Vec<(TaskKey, u32, Phase, State, bool)>,
}

impl<'a> Checker<'a> {
    pub(crate) fn new(app: &'a TestApp, remote: Option<Lake>) -> Self {
        Self {
            app,
            remote,
            intended: BTreeSet::new(),
            exports: HashMap::new(),
            lost_answers: 0,
            asked_again: 0,
            rows: BTreeMap::new(),
            found: BTreeMap::new(),
        }
    }

    /// What is wrong although a process may have died at any instant.
    pub(crate) fn after_a_death(&mut self) -> Vec<String> {
        self.copy_remote();
        let recorded = self.recorded();
        self.lost_answers += recorded
            .tasks
            .iter()
            .filter(|(_, _, phase, state, is_report)| {
                *phase == Phase::Open && *state == State::Submitting && !is_report
            })
            .count() as u64;
        self.count(&recorded);
        for intent in recorded
            .partitions
            .iter()
            .filter_map(|row| row.intent.as_ref())
        {
            self.intended.insert(intent.object_sha256.clone());
        }
        let mut wrong = self.exports_stay(&recorded);
        wrong.extend(self.partitions(&recorded, false));
        let truth = Truth::of(self.app.server().company(), self.app.now());
        wrong.extend(surplus(&truth, &self.app.lake()));
        wrong
    }

    /// What is wrong after a run that should have settled everything, and ended with `code`.
    pub(crate) fn at_rest(&mut self, code: Option<i32>) -> Vec<String> {
        self.copy_remote();
        let recorded = self.recorded();
        let mut wrong = self.exports_stay(&recorded);
        if code != Some(0) {
            wrong.push(format!("not settled: the run ended with {code:?}"));
        }
        wrong.extend(self.partitions(&recorded, true));
        wrong.extend(unsound(&self.app.lake()));
        let truth = Truth::of(self.app.server().company(), self.app.now());
        let datasets = self.app.setup.datasets.iter();
        for dataset in datasets {
            wrong.extend(truth.differences_of(&self.app.lake(), *dataset));
        }
        let report = self.app.report();
        let struck = |names: &[&str]| -> u64 {
            let counts = names
                .iter()
                .filter_map(|name| report.faults_struck.get(name));
            counts.sum()
        };
        let lost = self.lost_answers
            + self.asked_again
            + struck(&["drop", "5xx", "failed", "gone-file", "truncated"]);
        if report.duplicate_submits > lost {
            wrong.push(format!(
                "{} exports were asked for twice, and only {lost} answers were lost: {:?}",
                report.duplicate_submits, report.duplicates
            ));
        }
        let renewed = self.asked_again + struck(&["failed", "gone-file", "truncated"]);
        if report.duplicates_of_polled > renewed {
            wrong.push(format!(
                "{} exports were asked for again although their id was recorded, and only {renewed} were renewed: {:?}",
                report.duplicates_of_polled, report.duplicates
            ));
        }
        wrong
    }

    fn recorded(&self) -> Recorded {
        self.app.with_ledger(async |ledger| {
            let mut tasks = Vec::new();
            for dataset in Dataset::ALL {
                let windows = ledger.windows(TENANT, dataset, None).await;
                for row in windows.expect("windows") {
                    let of = ledger.tasks_of(TENANT, dataset, row.window).await;
                    tasks.extend(of.expect("tasks").into_iter().map(|task| {
                        let is_report = !dataset.is_export();
                        (
                            task.spec.key,
                            task.generation,
                            task.phase,
                            task.machine,
                            is_report,
                        )
                    }));
                }
            }
            let partitions = ledger.partitions(Some(TENANT)).await.expect("partitions");
            Recorded { partitions, tasks }
        })
    }

    fn count(&mut self, recorded: &Recorded) {
        let states = recorded
            .tasks
            .iter()
            .map(|(_, _, phase, state, _)| match phase {
                Phase::Open => state.name(),
                phase => phase.as_str(),
            });
        let states: BTreeSet<&'static str> = states.collect();
        let intents = recorded.partitions.iter().any(|row| row.intent.is_some());
        for state in states.into_iter().chain(intents.then_some("intent")) {
            *self.found.entry(state).or_default() += 1;
        }
    }

    /// An export whose id is recorded stays the export of its task; where the service loses some, others take their place.
    fn exports_stay(&mut self, recorded: &Recorded) -> Vec<String> {
        let mut wrong = Vec::new();
        let has_faults = !self.app.report().faults_struck.is_empty();
        for (key, generation, _, state, _) in &recorded.tasks {
            let Some(id) = state.export_id() else {
                continue;
            };
            let before = self.exports.insert((key.clone(), *generation), id.clone());
            if let Some(before) = before.filter(|before| before != id && !has_faults) {
                wrong.push(format!(
                    "task {key} was exported again as {id} although {before} was recorded"
                ));
            }
        }
        wrong
    }

    /// Each partition is one whole file that a manifest or a recorded intent describes, never with fewer rows than before, and the ledger knows of
    /// it what its newest manifest says.
    fn partitions(&mut self, recorded: &Recorded, at_rest: bool) -> Vec<String> {
        let lake = self.app.lake();
        let mut wrong = Vec::new();
        let mut rows = BTreeMap::new();
        for dataset in Dataset::ALL {
            let manifests = lake.join(format!("_manifest/{dataset}/tenant={TENANT}"));
            let mut days: BTreeSet<String> = BTreeSet::new();
            for folder in [manifests, lake.join(format!("{dataset}/tenant={TENANT}"))] {
                let names = fs::read_dir(folder).into_iter().flatten();
                days.extend(names.filter_map(|entry| {
                    let name = entry.expect("an entry").file_name();
                    Some(name.to_str()?.strip_prefix("dt=")?.to_owned())
                }));
            }
            let known = recorded
                .partitions
                .iter()
                .filter(|row| row.dataset == dataset);
            let known: BTreeMap<String, &PartitionRow> =
                known.map(|row| (row.dt.to_string(), row)).collect();
            days.extend(known.keys().cloned());
            for day in days {
                let at = format!("{dataset}/tenant={TENANT}/dt={day}");
                let known = known.get(&day).copied();
                let partition = Partition::read(&lake, &at, known);
                let found = partition.wrong(at_rest);
                wrong.extend(found.into_iter().map(|what| format!("{at}: {what}")));
                let now = partition.object.map_or(0, |(_, rows)| rows);
                let before = self.rows.get(Path::new(&at)).copied().unwrap_or(0);
                if now < before {
                    wrong.push(format!("{at}: {now} rows, {before} were there before"));
                }
                rows.insert(PathBuf::from(at), now);
            }
        }
        self.rows = rows;
        wrong
    }

    fn copy_remote(&self) {
        let Some(remote) = &self.remote else { return };
        let folder = self.app.lake();
        if folder.exists() {
            fs::remove_dir_all(&folder).expect("removed");
        }
        self.app.block_on(async {
            let paths = remote.list(&Default::default()).await.expect("listed");
            for path in paths {
                let bytes = remote
                    .get(&path, u64::MAX)
                    .await
                    .expect("read")
                    .expect("an object");
                let file = folder.join(path.as_ref());
                fs::create_dir_all(file.parent().expect("a folder")).expect("made");
                fs::write(file, bytes).expect("written");
            }
        });
    }
}

/// One partition: its object, its manifests and the ledger's row.
struct Partition<'a> {
    /// SHA-256 and rows.
    object: Option<(String, usize)>,
    problems: Vec<String>,
    /// Revision, bytes and content.
    manifests: Vec<(u32, Vec<u8>, Value)>,
    known: Option<&'a PartitionRow>,
}

impl<'a> Partition<'a> {
    fn read(lake: &Path, at: &str, known: Option<&'a PartitionRow>) -> Self {
        let mut problems = Vec::new();
        let mut object = None;
        for file in below(&lake.join(at)) {
            let name = file.file_name().expect("a name").to_string_lossy();
            if name.contains('#') {
                // What a writer leaves when it is killed: no glob for Parquet files finds it, and the next publish removes it.
            } else if name == "part-0.parquet" {
                match read_object(&file) {
                    Ok(found) => object = Some(found),
                    Err(error) => problems.push(format!("a torn object: {error}")),
                }
            } else {
                problems.push(format!("a second file, {name}"));
            }
        }
        let manifests = records(&lake.join("_manifest").join(at)).into_iter();
        let manifests = manifests.map(|(revision, path)| {
            let bytes = fs::read(path).expect("a manifest");
            let content = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            (revision, bytes, content)
        });
        Self {
            object,
            problems,
            manifests: manifests.collect(),
            known,
        }
    }

    fn wrong(&self, at_rest: bool) -> Vec<String> {
        let mut wrong = self.problems.clone();
        let mut before: Option<&(u32, Vec<u8>, Value)> = None;
        for one in &self.manifests {
            let (revision, _, content) = one;
            let expected = before.map_or(1, |(revision, _, _)| revision + 1);
            let previous = before.map_or(Value::Null, |(_, bytes, _)| json!(sha256(bytes)));
            if *revision != expected {
                wrong.push(format!("revision {expected} is missing"));
            }
            if content["previous_sha256"] != previous {
                wrong.push(format!("the chain is broken at revision {revision}"));
            }
            let same = |name: &str| before.is_some_and(|(_, _, old)| old[name] == content[name]);
            if ["content_hash", "inputs", "state", "reasons", "summary"]
                .into_iter()
                .all(same)
            {
                wrong.push(format!("revision {revision} repeats the one before it"));
            }
            before = Some(one);
        }
        wrong.extend(self.object_without_description(at_rest));
        wrong.extend(self.ledger_disagrees(at_rest));
        wrong
    }

    fn object_without_description(&self, at_rest: bool) -> Option<String> {
        let newest = self.manifests.last();
        let described = newest.map(|(_, _, content)| content["object"]["sha256"].clone());
        let is_described = |sha256: &str| described == Some(json!(sha256));
        match (&self.object, newest) {
            (None, None) => None,
            (None, Some((revision, _, _))) => Some(format!(
                "revision {revision} names an object that is not there"
            )),
            (Some((sha256, _)), _) if is_described(sha256) => None,
            (Some((sha256, _)), newest) => {
                let newest = newest.map_or(0, |(revision, _, _)| u64::from(*revision));
                let intent = self.known.and_then(|row| row.intent.as_ref());
                let is_intended = intent.is_some_and(|intent| {
                    intent.object_sha256 == *sha256 && intent.revision > newest
                });
                (at_rest || !is_intended).then(|| {
                    format!(
                        "the object is neither that of revision {newest} nor the intended next one"
                    )
                })
            }
        }
    }

    fn ledger_disagrees(&self, at_rest: bool) -> Option<String> {
        let newest = self.manifests.last();
        let revision = newest.map_or(0, |(revision, _, _)| u64::from(*revision));
        let Some(row) = self.known else {
            return newest.map(|_| "the ledger does not know it".to_owned());
        };
        if at_rest && row.intent.is_some() {
            return Some("the ledger still holds an intent".to_owned());
        }
        let is_ahead = row.revision + 1 == revision && row.intent.is_some();
        if row.revision != revision && (at_rest || !is_ahead) {
            return Some(format!(
                "the ledger has revision {}, the lake {revision}",
                row.revision
            ));
        }
        let (_, bytes, content) = newest.filter(|_| row.revision == revision)?;
        let is_same = row.manifest_sha256 == Some(sha256(bytes))
            && content["content_hash"] == json!(row.content_hash)
            && content["rows"] == json!(row.rows)
            && (content["state"] == "complete") == row.complete;
        (!is_same)
            .then(|| format!("the ledger has another revision {revision} than the lake: {row:?}"))
    }
}

fn read_object(file: &Path) -> Result<(String, usize), String> {
    let bytes = Bytes::from(fs::read(file).map_err(|error| error.to_string())?);
    let sha256 = sha256(&bytes);
    Ok((sha256, count(bytes)?))
}

fn count(bytes: Bytes) -> Result<usize, String> {
    let text = |error: parquet::errors::ParquetError| error.to_string();
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(text)?;
    let mut rows = 0;
    for batch in reader.build().map_err(text)? {
        rows += batch.map_err(|error| error.to_string())?.num_rows();
    }
    Ok(rows)
}

/// A reader with nothing but a glob, in a thread of its own, over all lives of the writer.
pub(crate) struct Reader {
    done: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

/// Inode, length and change of a file, the last in seconds and nanoseconds.
type Identity = (u64, u64, i64, i64);

/// What a reader saw.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) looks: u64,
    wrong: BTreeSet<String>,
    /// Objects by partition: SHA-256 and rows of each that was seen.
    objects: BTreeMap<PathBuf, BTreeMap<String, usize>>,
    /// Rows at the last look.
    rows: BTreeMap<PathBuf, usize>,
    /// Which file each partition's object was at the last look, by inode, length and change; the same one need not be read again.
    files: HashMap<PathBuf, (Identity, usize)>,
}

impl Reader {
    /// Begins to read the local lake at `lake`.
    pub(crate) fn start(lake: PathBuf) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let is_done = Arc::clone(&done);
        let thread = std::thread::spawn(move || {
            let mut seen = Seen::default();
            while !is_done.load(Ordering::Relaxed) {
                seen.look(&lake);
                std::thread::sleep(Duration::from_millis(10));
            }
            seen
        });
        Self { done, thread }
    }

    pub(crate) fn stop(self) -> Seen {
        self.done.store(true, Ordering::Relaxed);
        self.thread.join().expect("the reader ends")
    }
}

impl Seen {
    fn look(&mut self, lake: &Path) {
        self.looks += 1;
        let mut rows: BTreeMap<PathBuf, usize> = BTreeMap::new();
        for dataset in Dataset::ALL {
            let files = lake::files(lake, dataset);
            let is_parquet = |file: &&PathBuf| file.extension().is_some_and(|e| e == "parquet");
            for file in files.iter().filter(is_parquet) {
                let at = file.parent().expect("a folder").to_owned();
                let count = match self.read(file, &at) {
                    Ok(count) => count,
                    Err(error) => {
                        self.wrong
                            .insert(format!("{}: torn: {error}", at.display()));
                        continue;
                    }
                };
                if rows.insert(at.clone(), count).is_some() {
                    self.wrong.insert(format!("{}: doubled", at.display()));
                }
            }
        }
        for (at, before) in &self.rows {
            if rows.get(at).is_none_or(|now| now < before) {
                let line = format!("{}: {before} rows, then {:?}", at.display(), rows.get(at));
                self.wrong.insert(line);
            }
        }
        self.rows = rows;
    }

    fn read(&mut self, file: &Path, at: &Path) -> Result<usize, String> {
        let found = fs::metadata(file).map_err(|error| error.to_string())?;
        let identity = (found.ino(), found.len(), found.mtime(), found.mtime_nsec());
        if let Some((_, rows)) = self.files.get(file).filter(|(same, _)| *same == identity) {
            return Ok(*rows);
        }
        let rows = self.read_anew(file, at)?;
        self.files.insert(file.to_owned(), (identity, rows));
        Ok(rows)
    }

    fn read_anew(&mut self, file: &Path, at: &Path) -> Result<usize, String> {
        let bytes = Bytes::from(fs::read(file).map_err(|error| error.to_string())?);
        let known = self.objects.entry(at.to_owned()).or_default();
        let sha256 = sha256(&bytes);
        if let Some(rows) = known.get(&sha256) {
            return Ok(*rows);
        }
        let rows = count(bytes)?;
        known.insert(sha256, rows);
        Ok(rows)
    }

    /// What it saw and should not have: anything torn, missing or doubled, and objects that are no revision and were never intended to be one.
    pub(crate) fn wrong(&self, lake: &Path, intended: &BTreeSet<String>) -> Vec<String> {
        let mut wrong: Vec<String> = self.wrong.iter().cloned().collect();
        for (at, objects) in &self.objects {
            let relative = at.strip_prefix(lake).expect("below the lake");
            let manifests = records(&lake.join("_manifest").join(relative)).into_values();
            let revisions: BTreeSet<String> = manifests
                .map(|path| {
                    lake::read_json(&path)["object"]["sha256"]
                        .as_str()
                        .expect("a hash")
                        .to_owned()
                })
                .collect();
            let strange = objects
                .keys()
                .filter(|sha256| !revisions.contains(*sha256) && !intended.contains(*sha256));
            wrong.extend(
                strange
                    .map(|sha256| format!("{}: saw {sha256}, which is no revision", at.display())),
            );
        }
        wrong
    }
}

/// What is in the lake and should not be, or is there twice; a lake that is not finished may lack rows, but never has such.
fn surplus(truth: &Truth<'_>, lake: &Path) -> Vec<String> {
    let lines = Dataset::ALL
        .into_iter()
        .flat_map(|dataset| truth.balance_of(lake, dataset));
    lines
        .filter(|line| line.contains("not in the truth"))
        .collect()
}
