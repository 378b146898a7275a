//! What a lake holds, as values.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::report::RebuildProblem;
use crate::datasets::{Dataset, Parent};
use crate::findings::Findings;
use crate::job::JobSpec;
use crate::lake_key::LakeKey;
use crate::pipeline::{OriginalFacts, Tenant};
use crate::plan::children::KnownChild;
use crate::publish::manifest::{Completeness, Found};
use crate::record::{Input, PartitionId, Phase, ReportedDay, WindowRow};
use crate::task::{TaskKey, TaskOwner, TaskSpec};
use crate::window::Window;

/// A tenant's dataset.
pub(super) type Stream = (String, Dataset);
/// Windows by stream and range.
pub(super) type Windows = BTreeMap<(Stream, Window), WindowRow>;
/// Tasks by key.
pub(super) type Tasks = BTreeMap<TaskKey, FoundTask>;

/// What the configuration says of the tenants and jobs whose lake is read.
pub(super) struct Setting<'a> {
    /// The zone in which each tenant's days are cut.
    pub(super) zones: BTreeMap<String, TimeZone>,
    /// The key of the lake, and where each tenant's data resides.
    pub(super) owners: BTreeMap<String, (LakeKey, Option<i32>)>,
    /// The jobs.
    pub(super) jobs: &'a [JobSpec],
}

impl<'a> Setting<'a> {
    pub(super) fn new(tenants: &[Arc<Tenant>], jobs: &'a [JobSpec]) -> Self {
        let zone = |tenant: &Arc<Tenant>| (tenant.name.clone(), tenant.time_zone.clone());
        let owner = |tenant: &Arc<Tenant>| (tenant.name.clone(), (tenant.key.clone(), tenant.unit));
        Self {
            zones: tenants.iter().map(zone).collect(),
            owners: tenants.iter().map(owner).collect(),
            jobs,
        }
    }

    /// Whose tasks a tenant's are, and where its data resides.
    pub(super) fn owner<'s>(&'s self, tenant: &'s str) -> Option<(TaskOwner<'s>, Option<i32>)> {
        let (key, unit) = self.owners.get(tenant)?;
        Some((TaskOwner { tenant, key }, *unit))
    }

    /// The job that exports a dataset for a tenant.
    pub(super) fn job(&self, tenant: &str, dataset: Dataset) -> Option<&'a JobSpec> {
        let exports = |job: &&JobSpec| {
            job.dataset == dataset && job.tenants.iter().any(|name| name == tenant)
        };
        self.zones.get(tenant)?;
        self.jobs.iter().find(exports)
    }

    /// The day of a partition.
    pub(super) fn day(&self, id: &PartitionId) -> Option<Window> {
        Window::day(self.zones.get(&id.tenant)?, id.dt)
    }
}

/// Everything that was found.
#[derive(Default)]
pub(super) struct FoundLake {
    pub(super) partitions: Vec<FoundPartition>,
    pub(super) tasks: Tasks,
    pub(super) problems: BTreeSet<RebuildProblem>,
}

impl FoundLake {
    /// Takes a partition over, with the tasks that it names.
    pub(super) fn take_partition(&mut self, partition: FoundPartition) {
        for input in &partition.inputs {
            self.take_input(&partition, input);
        }
        self.partitions.push(partition);
    }

    fn take_input(&mut self, partition: &FoundPartition, input: &Input) {
        let known_at = partition.found.manifest.created_at;
        let task = self.tasks.entry(input.task_key.clone());
        let task = task.or_insert_with(|| FoundTask {
            tenant: partition.id.tenant.clone(),
            dataset: partition.id.dataset,
            input: input.clone(),
            spec: None,
            dts: BTreeSet::new(),
            known_at,
            read: None,
            unread: None,
            is_lost: false,
        });
        // A generation that left a partition as it was is named by the others only.
        let newer = |input: &Input| (input.generation, input.is_answered());
        if newer(input) > newer(&task.input) {
            task.input = input.clone();
        }
        task.known_at = task.known_at.max(known_at);
        if input.rows > 0 {
            task.dts.insert(partition.id.dt);
        }
    }
}

/// A partition, as its newest manifest describes it.
#[derive(Clone)]
pub(super) struct FoundPartition {
    pub(super) id: PartitionId,
    pub(super) found: Found,
    pub(super) inputs: Vec<Input>,
    /// Whether the object is another one than the manifest's.
    pub(super) is_cut_off: bool,
}

impl FoundPartition {
    /// Whether everything that was planned is in.
    pub(super) fn is_complete(&self) -> bool {
        self.found.manifest.state == Completeness::Complete
    }

    pub(super) fn stream(&self) -> Stream {
        (self.id.tenant.clone(), self.id.dataset)
    }
}

/// A task, as the manifests name it.
#[derive(Clone)]
pub(super) struct FoundTask {
    pub(super) tenant: String,
    pub(super) dataset: Dataset,
    pub(super) input: Input,
    /// What was asked for: read from its pack, or planned again. Without it the task cannot be
    /// restored; its window is planned again.
    pub(super) spec: Option<TaskSpec>,
    pub(super) dts: BTreeSet<Date>,
    /// When its manifest was made.
    pub(super) known_at: Timestamp,
    pub(super) read: Option<ReadOriginal>,
    /// Why its original cannot be read.
    pub(super) unread: Option<String>,
    /// Exported again although the manifest has its answer.
    pub(super) is_lost: bool,
}

/// What an original gave, without its rows.
#[derive(Clone)]
pub(super) struct ReadOriginal {
    pub(super) size_bytes: u64,
    pub(super) dts: BTreeSet<Date>,
    pub(super) findings: Findings,
    pub(super) parents: Vec<Parent>,
    pub(super) reported: Vec<ReportedDay>,
}

impl ReadOriginal {
    pub(super) fn new(size_bytes: u64, read: OriginalFacts) -> Self {
        Self {
            size_bytes,
            dts: read.dts,
            findings: read.findings,
            parents: read.parents.iter().collect(),
            reported: read.reported,
        }
    }
}

impl FoundTask {
    /// Takes over what another record of the same task says: the newer generation stays, and of one
    /// generation the answer.
    pub(super) fn merge(&mut self, mut other: Self) {
        let newer = |task: &Self| (task.input.generation, task.input.is_answered());
        if newer(&other) > newer(self) {
            std::mem::swap(self, &mut other);
        }
        self.dts.extend(other.dts);
        self.known_at = self.known_at.max(other.known_at);
    }

    pub(super) fn stream(&self) -> Stream {
        (self.tenant.clone(), self.dataset)
    }

    /// What became of it: published, or open again.
    pub(super) fn phase(&self) -> Phase {
        match &self.read {
            _ if self.is_lost || self.spec.is_none() || !self.input.is_answered() => Phase::Open,
            _ if planted!("planted-rebuild-opens-everything") => Phase::Open,
            Some(read) => Phase::once_published(&read.findings),
            None => Phase::Published,
        }
    }

    /// Its rows: those of the original, or what the manifest says where that was not read.
    pub(super) fn rows(&self) -> u64 {
        let read = self.read.as_ref();
        read.map_or(self.input.rows, |read| read.findings.rows_out)
    }

    /// What its parent's window knows of it.
    pub(super) fn known_child(&self) -> KnownChild {
        KnownChild {
            generation: self.input.generation,
            rows: (self.phase() == Phase::Published).then(|| self.rows()),
            is_provisional: self
                .read
                .as_ref()
                .is_some_and(|read| read.findings.rows_provisional > 0),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::contract;
    use crate::datasets::{Lineage, Request, UserIdType};
    use crate::plan::tests::{job, meeting};
    use crate::publish::manifest::{self, InputSummary, Manifest, Object};
    use crate::record::{InputOutcome, PackId, Reason};
    use crate::store::Version;

    const TENANTS: [&str; 2] = ["acme", "other"];

    /// Days are numbered from 1970.
    pub(in crate::rebuild) fn at(day: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * day)
    }

    /// Two tenants in UTC, with a daily job for each dataset.
    pub(in crate::rebuild) fn setting() -> Setting<'static> {
        setting_with(|_| {})
    }

    /// The same, with jobs that differ.
    pub(in crate::rebuild) fn setting_with(change: impl Fn(&mut JobSpec)) -> Setting<'static> {
        let jobs = Dataset::ALL.map(|dataset| {
            let mut job = job(dataset);
            job.time_zone = TimeZone::UTC;
            job.tenants = TENANTS.map(str::to_owned).to_vec();
            change(&mut job);
            job
        });
        let zones = TENANTS.map(|tenant| (tenant.to_owned(), TimeZone::UTC));
        let owners = TENANTS.map(|tenant| (tenant.to_owned(), (LakeKey::of_tests(), None)));
        Setting {
            zones: BTreeMap::from(zones),
            owners: BTreeMap::from(owners),
            jobs: Box::leak(Box::new(jobs)),
        }
    }

    pub(in crate::rebuild) fn meeting_at(day: i64) -> Parent {
        meeting(
            "1",
            at(day),
            Some(at(day) + SignedDuration::from_hours(1)),
            2,
        )
    }

    /// A task of a day that its manifest calls published, and that was not read.
    pub(in crate::rebuild) fn task(name: &str, dataset: Dataset, day: i64) -> FoundTask {
        let (start, end) = (at(day).as_second(), at(day + 1).as_second());
        let request = Request {
            meeting_no: dataset.parent().map(|_| "1".into()),
            user_id_type: Some(UserIdType::UserId),
            ..Request::between(dataset, start, end)
        };
        let spec = TaskSpec {
            key: TaskKey::from_stored(name),
            tenant: "acme".into(),
            window: Window::new(at(day), at(day + 1)).expect("a day"),
            request,
            lineage: Lineage::default(),
        };
        let input = Input {
            task_key: spec.key.clone(),
            generation: 1,
            window_start: at(day),
            window_end: at(day + 1),
            job_window: None,
            export_id: None,
            submitted_at: Some(at(day + 1)),
            extracted_at: Some(at(day + 1)),
            source_sha256: Some("aa".into()),
            pack: Some(PackId {
                dt: TimeZone::UTC.to_datetime(at(day)).date(),
                sha256: "bb".into(),
            }),
            rows: 1,
            overridden_rows: 0,
            outcome: InputOutcome::Published,
        };
        FoundTask {
            tenant: "acme".into(),
            dataset,
            input,
            spec: Some(spec),
            dts: BTreeSet::new(),
            known_at: at(day + 1),
            read: None,
            unread: None,
            is_lost: false,
        }
    }

    /// The same, with its original read.
    pub(in crate::rebuild) fn answered(name: &str, dataset: Dataset, day: i64) -> FoundTask {
        let findings = Findings {
            rows_out: 1,
            ..Findings::default()
        };
        FoundTask {
            read: Some(ReadOriginal {
                size_bytes: 1,
                dts: BTreeSet::new(),
                findings,
                parents: vec![],
                reported: vec![],
            }),
            ..task(name, dataset, day)
        }
    }

    /// A task of another tenant.
    pub(in crate::rebuild) fn of_another_tenant(task: FoundTask) -> FoundTask {
        let tenant = "other".to_owned();
        FoundTask { tenant, ..task }
    }

    /// The first revision of a day: complete without reasons.
    pub(in crate::rebuild) fn partition(
        dataset: Dataset,
        day: i64,
        reasons: &[Reason],
    ) -> FoundPartition {
        let dt = TimeZone::UTC.to_datetime(at(day)).date();
        let manifest = Manifest {
            format: manifest::FORMAT,
            dataset,
            tenant: "acme".into(),
            dt,
            time_zone: None,
            reading: None,
            destination: String::new(),
            revision: 1,
            state: match reasons {
                [] => Completeness::Complete,
                _ => Completeness::Partial,
            },
            reasons: reasons.to_vec(),
            rows: 0,
            object: Object {
                path: String::new(),
                size_bytes: 0,
                sha256: String::new(),
                version: Version::default(),
            },
            content_hash: String::new(),
            contract_version: contract::VERSION,
            key_id: LakeKey::of_tests().id(),
            previous_sha256: None,
            replayed_from: None,
            summary: InputSummary::default(),
            inputs: vec![],
            packs: vec![],
            coverage: None,
            created_at: at(day + 1),
        };
        FoundPartition {
            id: manifest.id(),
            found: Found {
                manifest,
                sha256: String::new(),
            },
            inputs: vec![],
            is_cut_off: false,
        }
    }

    pub(in crate::rebuild) fn lake(
        tasks: Vec<FoundTask>,
        partitions: Vec<FoundPartition>,
    ) -> FoundLake {
        let by_key = |task: FoundTask| (task.input.task_key.clone(), task);
        FoundLake {
            partitions,
            tasks: tasks.into_iter().map(by_key).collect(),
            problems: BTreeSet::new(),
        }
    }

    #[test]
    fn of_two_manifests_the_newer_generation_of_a_task_stays_and_of_one_the_answer() {
        use InputOutcome::{Empty, Failed, Missing, Published};
        let input = |generation, outcome| Input {
            generation,
            outcome,
            ..task("a", Dataset::MeetingList, 10).input
        };
        let table = [
            ((1, Published), (2, Failed), (2, Failed)),
            ((2, Empty), (1, Published), (2, Empty)),
            ((1, Missing), (1, Published), (1, Published)),
            ((1, Published), (1, Missing), (1, Published)),
        ];
        for (first, second, expected) in table {
            let mut found = FoundLake::default();
            for (day, (generation, outcome)) in [(10, first), (11, second)] {
                let mut of_day = partition(Dataset::MeetingList, day, &[]);
                of_day.inputs = vec![input(generation, outcome)];
                found.take_partition(of_day);
            }
            let task = found.tasks.values().next().expect("the task");
            let stays = (task.input.generation, task.input.outcome);
            assert_eq!(stays, expected, "{first:?} {second:?}");
            // The days and the time are those of both.
            assert_eq!((task.dts.len(), task.known_at), (2, at(12)));
        }
        let mut of_day = partition(Dataset::MeetingList, 10, &[]);
        let (rows, outcome) = (0, InputOutcome::Empty);
        of_day.inputs = vec![Input {
            rows,
            ..input(1, outcome)
        }];
        let mut found = FoundLake::default();
        found.take_partition(of_day);
        assert!(found.tasks.values().all(|task| task.dts.is_empty()));
    }

    #[test]
    fn a_job_is_one_of_a_configured_tenant_and_of_its_dataset() {
        let only_acme = setting_with(|job| job.tenants = vec!["acme".into(), "gone".into()]);
        for dataset in Dataset::ALL {
            let job = |tenant| only_acme.job(tenant, dataset).map(|job| job.dataset);
            assert_eq!(job("acme"), Some(dataset));
            assert_eq!((job("other"), job("gone")), (None, None));
        }
    }

    #[test]
    fn a_task_whose_rows_are_in_the_lake_is_published_and_any_other_open() {
        let published = task("a", Dataset::MeetingList, 10);
        let mut failed = published.clone();
        failed.input.outcome = InputOutcome::Failed;
        let mut lost = published.clone();
        lost.is_lost = true;
        let mut without_key = answered("a", Dataset::MeetingList, 10);
        let read = without_key.read.as_mut().expect("read");
        read.findings.rows_quarantined = 1;
        for (task, phase, rows) in [
            (published, Phase::Published, Some(1)),
            (failed, Phase::Open, None),
            (lost, Phase::Open, None),
            (without_key, Phase::Quarantined, None),
        ] {
            assert_eq!((task.phase(), task.known_child().rows), (phase, rows));
        }
    }
}
