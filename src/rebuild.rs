//! Published state for an empty ledger, from what the lake says of itself: the ledger is expendable.
//!
//! ```text
//! newest manifests ─► inputs ─► tasks ─┬─► windows, schedules
//! packs ─► originals read again ───────┘   parent rows, findings
//! ```
//! A manifest names every task of its partition, so those that brought their answer are published, and those that did not are open again.
//! What children need of their parents is read from the archived originals, as it was on the day they came, so that no child is exported
//! again whose parent did not change. Nothing is written to the lake, and Feishu is not asked for anything. What was exported and never
//! published is not known here; it is exported again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use jiff::civil::Date;
use object_store::path::Path;
use serde::Serialize;

use crate::dataset::Dataset;
use crate::job::JobSpec;
use crate::ledger::{
    Parent, Phase, PublishedPartition, Restored, RestoredPartition, RestoredSchedule, RestoredTask,
    ScheduleState, WindowRow, WindowState,
};
use crate::pipeline::{self, Reread, Tenant};
use crate::plan;
use crate::plan::fanout::{self, Known};
use crate::publish::manifest::{self, Found, Input, Outcome};
use crate::publish::{self, PartitionId, location};
use crate::schedule::Schedule;
use crate::task::machine::State;
use crate::task::{TaskKey, TaskSpec};
use crate::window::{Window, date_of, start_of_day};

/// What a rebuild found, for whoever shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// By tenant and dataset.
    pub datasets: Vec<DatasetReport>,
    /// What could not be taken over, and what that costs.
    pub problems: Vec<Problem>,
}

/// What was taken over of one dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DatasetReport {
    /// Whose data.
    pub tenant: String,
    /// Which data.
    pub dataset: Dataset,
    /// Partitions.
    pub partitions: u64,
    /// Of these, those that lack something.
    pub partial: u64,
    /// Their rows.
    pub rows: u64,
    /// Windows.
    pub windows: u64,
    /// Of these, those that the next run looks at again.
    pub open_windows: u64,
    /// Tasks that are published.
    pub tasks: u64,
    /// Tasks that are exported again.
    pub open_tasks: u64,
    /// Rows that others are asked for by.
    pub parents: u64,
}

/// Something that could not be taken over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// Where in the lake.
    pub path: String,
    /// What is wrong, and what comes of it.
    pub problem: String,
}

/// Reads the lake and says what an empty ledger should hold.
///
/// # Errors
/// When the lake cannot be read; a damaged part of it is a [`Problem`].
pub async fn from_lake(tenants: &[Arc<Tenant>], jobs: &[JobSpec]) -> Result<(Restored, Report)> {
    let mut rebuild = Rebuild {
        tenants,
        jobs,
        partitions: Vec::new(),
        tasks: BTreeMap::new(),
        windows: BTreeMap::new(),
        problems: BTreeSet::new(),
    };
    if let Some(tenant) = tenants.first() {
        for (id, records) in manifest::all(&tenant.lake).await? {
            rebuild.take_partition(&id, records).await?;
        }
    }
    rebuild.read_originals().await?;
    rebuild.form_windows();
    rebuild.open_what_is_partial();
    rebuild.look_at_children()?;
    let schedules = rebuild.schedules()?;
    Ok(rebuild.finish(schedules))
}

/// A tenant's dataset.
type Stream = (String, Dataset);

struct Rebuild<'a> {
    tenants: &'a [Arc<Tenant>],
    jobs: &'a [JobSpec],
    partitions: Vec<Partition>,
    tasks: BTreeMap<TaskKey, Task>,
    windows: BTreeMap<(Stream, Window), WindowRow>,
    problems: BTreeSet<Problem>,
}

struct Partition {
    id: PartitionId,
    found: Found,
    inputs: Vec<Input>,
    /// Whether the object is another one than the manifest's.
    is_cut_off: bool,
}

struct Task {
    tenant: String,
    input: Input,
    dts: BTreeSet<Date>,
    /// When its manifest was made.
    known_at: Timestamp,
    read: Option<Read>,
    /// Exported again although the manifest has its answer.
    is_lost: bool,
}

/// What an original gave, without its rows.
struct Read {
    size_bytes: u64,
    rows: u64,
    rows_quarantined: u64,
    dts: BTreeSet<Date>,
    findings: String,
    parents: Vec<Parent>,
}

impl<'a> Rebuild<'a> {
    // --- partitions and tasks -----------------------------------------------------------------------------------

    async fn take_partition(
        &mut self,
        id: &PartitionId,
        mut records: BTreeMap<u32, Path>,
    ) -> Result<()> {
        if self.job(&id.tenant, id.dataset).is_none() {
            let why = "no job of the configuration exports this dataset for this tenant, so it is left out";
            self.problem(location::manifests(id)?.as_ref(), why);
            return Ok(());
        }
        let Some(tenant) = self.tenant(&id.tenant) else {
            return Ok(());
        };
        let listed = records.last_key_value().map_or(0, |(number, _)| *number);
        match manifest::after(&tenant.lake, id, listed).await {
            Ok(newer) => {
                for record in newer {
                    let number = record.manifest.revision;
                    records.insert(number, location::manifest(id, number)?);
                }
            }
            Err(error) => {
                return self.damaged(error, "its partition is left out and exported again");
            }
        }
        let Some((_, newest)) = records.last_key_value() else {
            return Ok(());
        };
        let found = match manifest::read(&tenant.lake, newest).await {
            Ok(Some(found)) => found,
            Ok(None) => {
                let why = "it is listed and cannot be found; its partition is left out and exported again";
                self.problem(newest.as_ref(), why);
                return Ok(());
            }
            Err(error) => {
                return self.damaged(error, "its partition is left out and exported again");
            }
        };
        let inputs = match manifest::inputs(&tenant.lake, &found.manifest).await {
            Ok(inputs) => inputs,
            Err(error) => {
                return self.damaged(error, "its partition is left out and exported again");
            }
        };
        self.check_chain(&tenant, &records, &found).await?;
        let is_cut_off = self.is_cut_off(&tenant, id, &found).await?;
        for input in &inputs {
            self.take_input(id, &found, input);
        }
        self.partitions.push(Partition {
            id: id.clone(),
            found,
            inputs,
            is_cut_off,
        });
        Ok(())
    }

    async fn check_chain(
        &mut self,
        tenant: &Tenant,
        records: &BTreeMap<u32, Path>,
        newest: &Found,
    ) -> Result<()> {
        let number = newest.manifest.revision;
        let before = number
            .checked_sub(1)
            .filter(|number| *number > 0)
            .map(|number| records.get(&number));
        let sha256 = match before {
            None => None,
            Some(None) => Some(None),
            Some(Some(path)) => match manifest::read(&tenant.lake, path).await {
                Ok(found) => Some(found.map(|found| found.sha256)),
                Err(publish::Error::Record { .. }) => Some(None),
                Err(error) => return Err(error.into()),
            },
        };
        let follows = sha256.map_or(newest.manifest.previous_sha256.is_none(), |sha256| {
            sha256.is_some() && sha256 == newest.manifest.previous_sha256
        });
        if !follows || records.len() != number as usize {
            let why = "it does not follow from the revisions before it; it is taken over as it is, `meetlake verify` names what is missing";
            self.problem(
                location::manifest(&newest.manifest.id(), number)?.as_ref(),
                why,
            );
        }
        Ok(())
    }

    /// Whether the object is not the manifest's: gone, replaced, or put by a publish that died before its manifest. Compared by tag and
    /// length where those still say something, by content where they do not.
    async fn is_cut_off(
        &mut self,
        tenant: &Tenant,
        id: &PartitionId,
        found: &Found,
    ) -> Result<bool> {
        let object = &found.manifest.object;
        let path = location::object(&found.manifest.destination, id)?;
        let Some((version, size_bytes)) = tenant.lake.head(&path).await? else {
            let why =
                "the object is gone; `meetlake replay` makes it again from the archived originals";
            self.problem(path.as_ref(), why);
            return Ok(false);
        };
        if version.etag.is_some() && version == object.version && size_bytes == object.size_bytes {
            return Ok(false);
        }
        let copy = tenant.spool.temp_file();
        let stored = tenant.lake.download(&path, copy.path()).await?;
        if stored.is_some_and(|stored| stored.sha256 == object.sha256) {
            return Ok(false);
        }
        let why = "the object is not that of its manifest: a publish was cut off, or somebody replaced it; \
                   the next run exports and publishes the day again";
        self.problem(path.as_ref(), why);
        Ok(true)
    }

    fn take_input(&mut self, id: &PartitionId, found: &Found, input: &Input) {
        let known_at = found.manifest.created_at;
        let task = self
            .tasks
            .entry(input.task_key.clone())
            .or_insert_with(|| Task {
                tenant: id.tenant.clone(),
                input: input.clone(),
                dts: BTreeSet::new(),
                known_at,
                read: None,
                is_lost: false,
            });
        // A generation that left a partition as it was is named by the others only.
        let newer = |input: &Input| (input.generation, is_answered(input));
        if newer(input) > newer(&task.input) {
            task.input = input.clone();
        }
        task.known_at = task.known_at.max(known_at);
        if input.rows > 0 {
            task.dts.insert(id.dt);
        }
    }

    // --- originals ----------------------------------------------------------------------------------------------

    async fn read_originals(&mut self) -> Result<()> {
        let mut inputs: BTreeMap<Stream, Vec<Input>> = BTreeMap::new();
        for task in self.tasks.values().filter(|task| is_answered(&task.input)) {
            inputs
                .entry((task.tenant.clone(), task.input.request.dataset()))
                .or_default()
                .push(task.input.clone());
        }
        for ((name, dataset), inputs) in inputs {
            let (Some(tenant), Some(job)) = (self.tenant(&name), self.job(&name, dataset)) else {
                continue;
            };
            let (tasks, problems) = (&mut self.tasks, &mut self.problems);
            pipeline::reread(&tenant, job, &inputs, |input, read| {
                let Some(task) = tasks.get_mut(&input.task_key) else {
                    return Ok(());
                };
                match read {
                    Ok(read) => task.read = Some(Read::new(read)?),
                    Err(reason) => {
                        task.is_lost = has_children(dataset);
                        problems.insert(unread(
                            &name,
                            input,
                            &format!("{reason:#}"),
                            task.is_lost,
                        )?);
                    }
                }
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    // --- windows ------------------------------------------------------------------------------------------------

    fn form_windows(&mut self) {
        let newest = self.newest();
        let mut found: BTreeMap<(Stream, Window), (u32, Vec<Phase>)> = BTreeMap::new();
        for task in self.tasks.values() {
            if let Some(window) = task.input.planned_for() {
                let stream = (task.tenant.clone(), task.input.request.dataset());
                let entry = found.entry((stream, window)).or_default();
                entry.0 = entry.0.max(task.input.generation);
                entry.1.push(task.phase());
            }
        }
        for (stream, window) in self.windows_without_tasks(&found) {
            found.entry((stream, window)).or_default();
        }
        for ((stream, window), (generation, phases)) in found {
            let Some(job) = self.job(&stream.0, stream.1) else {
                continue;
            };
            let has = |wanted: Phase| phases.contains(&wanted);
            let row = WindowRow {
                tenant: stream.0.clone(),
                dataset: stream.1,
                window,
                job: job.name.clone(),
                due_at: plan::due_at(job, &window),
                state: match () {
                    () if has(Phase::Open) => WindowState::Planned,
                    () if has(Phase::Quarantined) => WindowState::Stuck,
                    () => WindowState::Settled,
                },
                generation: match stream.1.parent() {
                    Some(_) => 1,
                    None => generation.max(1),
                },
                covered_at: newest.get(&stream).copied().unwrap_or(window.end()),
                parents: None,
                coverage: None,
            };
            self.windows.insert((stream, window), row);
        }
    }

    /// Complete days for which nothing was asked: of a dataset that fans out, the parent's windows; of any other, the day of its job.
    fn windows_without_tasks(
        &self,
        found: &BTreeMap<(Stream, Window), (u32, Vec<Phase>)>,
    ) -> Vec<(Stream, Window)> {
        let mut windows = Vec::new();
        let complete = self
            .partitions
            .iter()
            .filter(|partition| partition.found.manifest.state == manifest::State::Complete);
        for Partition { id, .. } in complete {
            let stream = (id.tenant.clone(), id.dataset);
            let (Some(day), Some(job)) = (self.day(id), self.job(&id.tenant, id.dataset)) else {
                continue;
            };
            let of = |stream: &Stream| -> Vec<Window> {
                found
                    .keys()
                    .filter(|(other, window)| other == stream && window.overlaps(&day))
                    .map(|(_, window)| *window)
                    .collect()
            };
            match id.dataset.parent() {
                Some(parent) => {
                    let parents = of(&(id.tenant.clone(), parent));
                    windows.extend(parents.into_iter().map(|window| (stream.clone(), window)));
                }
                None if of(&stream).is_empty() && job.window_days == 1 => {
                    windows
                        .extend(Window::day(&job.time_zone, id.dt).map(|window| (stream, window)));
                }
                None => {}
            }
        }
        // Grandchildren take the windows that the children just got.
        let of_children: Vec<(Stream, Window)> = windows
            .iter()
            .filter(|((_, dataset), _)| *dataset == Dataset::ParticipantList)
            .cloned()
            .collect();
        for ((tenant, _), window) in of_children {
            let stream = (tenant, Dataset::ParticipantQualityList);
            let is_published = self.partitions.iter().any(|partition| {
                (partition.id.tenant.as_str(), partition.id.dataset) == (&stream.0, stream.1)
                    && partition.found.manifest.state == manifest::State::Complete
                    && self
                        .day(&partition.id)
                        .is_some_and(|day| day.overlaps(&window))
            });
            if is_published {
                windows.push((stream, window));
            }
        }
        windows
    }

    /// Lets the next run look at days again whose manifest or object says that an answer is missing, where no open task does so already.
    fn open_what_is_partial(&mut self) {
        let mut open = Vec::new();
        for partition in &self.partitions {
            let manifest = &partition.found.manifest;
            let lacks_an_answer = manifest.reasons.iter().any(|reason| {
                [
                    "quarantined",
                    "failed",
                    "not exported yet",
                    "not published yet",
                ]
                .iter()
                .any(|what| reason.ends_with(what))
            });
            if !partition.is_cut_off && !lacks_an_answer {
                continue;
            }
            let Some(day) = self.day(&partition.id) else {
                continue;
            };
            let id = &partition.id;
            let of_day: Vec<_> = self
                .windows
                .keys()
                .filter(|((tenant, dataset), window)| {
                    (tenant, *dataset) == (&id.tenant, id.dataset) && window.overlaps(&day)
                })
                .cloned()
                .collect();
            let is_open = of_day.iter().any(|key| {
                self.windows
                    .get(key)
                    .is_some_and(|row| row.state != WindowState::Settled)
            });
            if partition.is_cut_off || !is_open {
                open.extend(of_day);
            }
        }
        for key in open {
            if let Some(row) = self.windows.get_mut(&key)
                && row.state != WindowState::Due
            {
                row.state = WindowState::Due;
                // The tasks of a root have the window's generation; children are told apart by their parents' rows.
                row.generation += u32::from(row.dataset.parent().is_none());
            }
        }
    }

    /// Gives the windows of children what they were planned from, and opens those that do not fit the parents any more.
    fn look_at_children(&mut self) -> Result<()> {
        let mut planned = Vec::new();
        for ((stream, window), row) in &self.windows {
            let (Some(parent), Some(job)) = (stream.1.parent(), self.job(&stream.0, stream.1))
            else {
                continue;
            };
            let parents_row = self.windows.get(&((stream.0.clone(), parent), *window));
            let parents_are_known = parents_row
                .is_some_and(|row| matches!(row.state, WindowState::Settled | WindowState::Stuck));
            if !parents_are_known || row.state == WindowState::Due {
                continue;
            }
            let parents = self.parents(&stream.0, parent, window);
            let known: HashMap<TaskKey, Known> = self
                .tasks
                .iter()
                .filter(|(_, task)| {
                    task.tenant == stream.0
                        && task.input.request.dataset() == stream.1
                        && task.input.planned_for() == Some(*window)
                })
                .map(|(key, task)| (key.clone(), task.known()))
                .collect();
            let mut budget = u64::MAX;
            let fan_out = fanout::children(job, &stream.0, window, &parents, &known, &mut budget);
            let is_new = |key: &TaskKey| !known.contains_key(key);
            let differs = fan_out.tasks.iter().any(|task| is_new(&task.spec.key))
                || known.keys().any(|key| !fan_out.live.contains(key));
            let coverage = serde_json::to_string(&fan_out.coverage)?;
            let digest = fanout::digest(&parents);
            planned.push(((stream.clone(), *window), differs, digest, coverage));
        }
        for (key, differs, digest, coverage) in planned {
            if let Some(row) = self.windows.get_mut(&key) {
                if differs {
                    row.state = WindowState::Due;
                } else {
                    (row.parents, row.coverage) = (Some(digest), Some(coverage));
                }
            }
        }
        Ok(())
    }

    /// The parent rows that start in a window, in the ledger's order.
    fn parents(&self, tenant: &str, dataset: Dataset, window: &Window) -> Vec<Parent> {
        let mut found: Vec<(&TaskKey, &Parent)> = self
            .tasks
            .iter()
            .filter(|(_, task)| task.tenant == tenant && task.input.request.dataset() == dataset)
            .filter_map(|(key, task)| Some((key, task.read.as_ref()?)))
            .flat_map(|(key, read)| read.parents.iter().map(move |parent| (key, parent)))
            .filter(|(_, parent)| window.contains(parent.start))
            .collect();
        found.sort_by(|(a_key, a), (b_key, b)| {
            (a.start, &a.meeting_no, a_key, a.source_row).cmp(&(
                b.start,
                &b.meeting_no,
                b_key,
                b.source_row,
            ))
        });
        found
            .into_iter()
            .map(|(_, parent)| parent.clone())
            .collect()
    }

    // --- schedules ----------------------------------------------------------------------------------------------

    /// Where each schedule stands: at the end of the windows that follow one another from the job's start, or from the oldest one. A gap is
    /// looked at again, because a window that was never published is not known here. Firings before the newest export were handled.
    fn schedules(&self) -> Result<Vec<RestoredSchedule>> {
        let newest = self.newest();
        let mut schedules = Vec::new();
        for job in self.jobs {
            for tenant in &job.tenants {
                let stream = (tenant.clone(), job.dataset);
                let windows: Vec<Window> = self
                    .windows
                    .keys()
                    .filter(|(other, _)| *other == stream)
                    .map(|(_, window)| *window)
                    .collect();
                let (Some(oldest), Some(newest)) = (windows.first(), newest.get(&stream)) else {
                    continue;
                };
                let start = job
                    .start
                    .unwrap_or_else(|| date_of(&job.time_zone, oldest.start()));
                let mut watermark = start_of_day(&job.time_zone, start);
                for window in windows {
                    if window.start() <= watermark {
                        watermark = watermark.max(window.end());
                    }
                }
                let schedule = Schedule::parse(&job.cron, job.time_zone.clone())
                    .with_context(|| format!("job {}", job.name))?;
                let last_firing = schedule.previous_at_or_before(*newest).unwrap_or(*newest);
                schedules.push(RestoredSchedule {
                    job: job.name.clone(),
                    tenant: tenant.clone(),
                    state: ScheduleState {
                        watermark,
                        last_firing,
                    },
                });
            }
        }
        Ok(schedules)
    }

    /// When each tenant's dataset was last exported, or its parents were: whatever fired before that was looked at. Where nothing was ever asked,
    /// when its manifests were made.
    fn newest(&self) -> BTreeMap<Stream, Timestamp> {
        let mut newest: BTreeMap<Stream, Timestamp> = BTreeMap::new();
        let mut heard = |stream: Stream, at: Timestamp| {
            let entry = newest.entry(stream).or_insert(at);
            *entry = (*entry).max(at);
        };
        for task in self.tasks.values() {
            if let Some(at) = task.input.extracted_at {
                heard((task.tenant.clone(), task.input.request.dataset()), at);
            }
        }
        for Partition { id, .. } in &self.partitions {
            let parents = self.tasks.values().filter(|task| {
                task.tenant == id.tenant
                    && Some(task.input.request.dataset()) == id.dataset.parent()
            });
            if let Some(at) = parents.filter_map(|task| task.input.extracted_at).max() {
                heard((id.tenant.clone(), id.dataset), at);
            }
        }
        for Partition { id, found, .. } in &self.partitions {
            let stream = (id.tenant.clone(), id.dataset);
            newest.entry(stream).or_insert(found.manifest.created_at);
        }
        newest
    }

    // --- the end ------------------------------------------------------------------------------------------------

    fn finish(self, schedules: Vec<RestoredSchedule>) -> (Restored, Report) {
        let mut datasets: BTreeMap<Stream, DatasetReport> = BTreeMap::new();
        let mut restored = Restored {
            schedules,
            ..Restored::default()
        };
        for partition in self.partitions {
            let (id, manifest) = (&partition.id, &partition.found.manifest);
            let report = report_of(&mut datasets, &id.tenant, id.dataset);
            let is_complete = manifest.state == manifest::State::Complete;
            report.partitions += 1;
            report.partial += u64::from(!is_complete);
            report.rows += manifest.rows;
            restored.partitions.push(partition.restored(is_complete));
        }
        for task in self.tasks.into_values() {
            let Some(task) = task.restored() else {
                continue;
            };
            let report = report_of(&mut datasets, &task.spec.tenant, task.spec.dataset());
            match task.phase {
                Phase::Open => report.open_tasks += 1,
                _ => report.tasks += 1,
            }
            report.parents += task.parents.len() as u64;
            restored.tasks.push(task);
        }
        for row in self.windows.into_values() {
            let report = report_of(&mut datasets, &row.tenant, row.dataset);
            report.windows += 1;
            let is_open = matches!(row.state, WindowState::Due | WindowState::Planned);
            report.open_windows += u64::from(is_open);
            restored.windows.push(row);
        }
        let report = Report {
            datasets: datasets.into_values().collect(),
            problems: self.problems.into_iter().collect(),
        };
        (restored, report)
    }

    // --- small things -------------------------------------------------------------------------------------------

    fn tenant(&self, name: &str) -> Option<Arc<Tenant>> {
        let found = self.tenants.iter().find(|tenant| tenant.name == name);
        found.map(Arc::clone)
    }

    fn job(&self, tenant: &str, dataset: Dataset) -> Option<&'a JobSpec> {
        let knows = self.tenants.iter().any(|other| other.name == tenant);
        self.jobs
            .iter()
            .filter(|_| knows)
            .find(|job| job.dataset == dataset && job.tenants.iter().any(|name| name == tenant))
    }

    /// The day of a partition.
    fn day(&self, id: &PartitionId) -> Option<Window> {
        let tenant = self
            .tenants
            .iter()
            .find(|tenant| tenant.name == id.tenant)?;
        Window::day(&tenant.time_zone, id.dt)
    }

    fn problem(&mut self, path: &str, problem: &str) {
        self.problems.insert(Problem {
            path: path.to_owned(),
            problem: problem.to_owned(),
        });
    }

    /// Notes a damaged record and goes on; any other error ends the rebuild.
    fn damaged(&mut self, error: publish::Error, cost: &str) -> Result<()> {
        let publish::Error::Record { path, problem } = error else {
            return Err(error.into());
        };
        self.problem(&path, &format!("damaged: {problem}; {cost}"));
        Ok(())
    }
}

impl Read {
    fn new(read: Reread) -> Result<Self> {
        Ok(Self {
            size_bytes: read.size_bytes,
            rows: read.findings.rows_out,
            rows_quarantined: read.findings.rows_quarantined,
            dts: read.by_date.into_keys().collect(),
            findings: serde_json::to_string(&read.findings)?,
            parents: read.parents,
        })
    }
}

impl Partition {
    fn restored(self, complete: bool) -> RestoredPartition {
        let manifest = self.found.manifest;
        let entry = |input: &Input| serde_json::to_string(input).expect("an input came from JSON");
        let inputs = self.inputs.iter().filter(|input| is_answered(input));
        RestoredPartition {
            tenant: self.id.tenant,
            dataset: self.id.dataset,
            dt: self.id.dt,
            published_at: manifest.created_at,
            published: PublishedPartition {
                revision: manifest.revision.into(),
                complete,
                content_hash: manifest.content_hash,
                manifest_sha256: self.found.sha256,
                rows: manifest.rows,
                size_bytes: manifest.object.size_bytes,
                inputs: inputs
                    .map(|input| (input.task_key.clone(), input.generation, entry(input)))
                    .collect(),
            },
        }
    }
}

impl Task {
    fn phase(&self) -> Phase {
        match &self.read {
            _ if self.is_lost || !is_answered(&self.input) => Phase::Open,
            _ if planted!("planted-rebuild-opens-everything") => Phase::Open,
            Some(read) if read.rows_quarantined > 0 => Phase::Quarantined,
            _ => Phase::Published,
        }
    }

    fn known(&self) -> Known {
        Known {
            generation: self.input.generation,
            rows: (self.phase() == Phase::Published).then(|| self.rows()),
        }
    }

    fn rows(&self) -> u64 {
        self.read.as_ref().map_or(self.input.rows, |read| read.rows)
    }

    fn restored(self) -> Option<RestoredTask> {
        let (phase, rows) = (self.phase(), self.rows());
        let input = self.input;
        let spec = TaskSpec {
            key: input.task_key.clone(),
            tenant: self.tenant,
            window: input.window()?,
            request: input.request.clone(),
            lineage: input.lineage.clone(),
        };
        let is_open = phase == Phase::Open;
        let machine = match (&input.source_sha256, input.submitted_at, input.extracted_at) {
            (Some(sha256), Some(submitted_at), Some(extracted_at)) if !is_open => State::Fetched {
                export_id: input.export_id.clone(),
                submitted_at,
                sha256: sha256.clone(),
                size_bytes: self.read.as_ref().map_or(0, |read| read.size_bytes),
                extracted_at,
            },
            _ => State::Planned,
        };
        let error = self.read.as_ref().filter(|_| phase == Phase::Quarantined);
        let error = error.map(|read| {
            let rows = read.rows_quarantined;
            let text =
                format!("{rows} rows have no value in a key column; the others are published");
            ("data".to_owned(), text)
        });
        let dts = self.read.as_ref().map_or(&self.dts, |read| &read.dts);
        Some(RestoredTask {
            job_window: input.planned_for()?,
            priority: plan::priority(spec.dataset(), spec.window.start().as_second()),
            generation: input.generation,
            phase,
            machine,
            rows: (!is_open).then_some(rows),
            dts: (!is_open).then(|| serde_json::to_string(dts).expect("dates are plain strings")),
            pack: input.pack.filter(|_| !is_open),
            error,
            updated_at: input.extracted_at.unwrap_or(self.known_at),
            result: self.read.as_ref().map(|read| read.findings.clone()),
            parents: self.read.map(|read| read.parents).unwrap_or_default(),
            spec,
        })
    }
}

/// Whether the task's workbook is in the partition, with rows or without.
const fn is_answered(input: &Input) -> bool {
    matches!(input.outcome, Outcome::Published | Outcome::Empty)
}

fn has_children(dataset: Dataset) -> bool {
    Dataset::ALL
        .into_iter()
        .any(|child| child.parent() == Some(dataset))
}

/// What an original that cannot be read costs; once for each pack and reason.
fn unread(tenant: &str, input: &Input, reason: &str, is_lost: bool) -> Result<Problem> {
    let path = match &input.pack {
        Some(pack) => location::pack(tenant, pack)?.to_string(),
        None => format!("task {}", input.task_key),
    };
    let cost = match is_lost {
        true => "its task is exported again, because others are asked for by its rows",
        false => "its task counts as published, as its manifest says",
    };
    Ok(Problem {
        path,
        problem: format!("{reason}; {cost}"),
    })
}

fn report_of<'r>(
    reports: &'r mut BTreeMap<Stream, DatasetReport>,
    tenant: &str,
    dataset: Dataset,
) -> &'r mut DatasetReport {
    reports
        .entry((tenant.to_owned(), dataset))
        .or_insert_with(|| DatasetReport {
            tenant: tenant.to_owned(),
            dataset,
            partitions: 0,
            partial: 0,
            rows: 0,
            windows: 0,
            open_windows: 0,
            tasks: 0,
            open_tasks: 0,
            parents: 0,
        })
}
