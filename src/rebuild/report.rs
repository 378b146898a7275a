//! What a rebuild found, for the ledger and for people.

use std::collections::BTreeMap;

use serde::Serialize;

use super::found::{FoundLake, FoundPartition, FoundTask, Stream, Windows};
use crate::datasets::Dataset;
use crate::ledger::{Restored, RestoredPartition, RestoredSchedule, RestoredTask};
use crate::pipeline::rows_without_key;
use crate::plan;
use crate::record::{Phase, PublishedPartition, WindowState};
use crate::task::machine::State;

/// What a rebuild found, for whoever shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RebuildReport {
    /// By tenant and dataset.
    pub datasets: Vec<DatasetReport>,
    /// What could not be taken over, and what that costs.
    pub problems: Vec<RebuildProblem>,
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
pub struct RebuildProblem {
    /// Where in the lake.
    pub path: String,
    /// What is wrong, and what comes of it.
    pub problem: String,
    /// Whether it costs something: what is there is left out, exported again, or has to be made
    /// again.
    pub is_damage: bool,
}

impl RebuildReport {
    /// Problems that cost something.
    #[must_use]
    pub fn damaged(&self) -> usize {
        let damaged = |problem: &&RebuildProblem| problem.is_damage;
        self.problems.iter().filter(damaged).count()
    }
}

/// What the ledger takes over, and what is said of it.
pub(super) fn finish(
    found: FoundLake,
    windows: Windows,
    schedules: Vec<RestoredSchedule>,
) -> (Restored, RebuildReport) {
    let mut datasets: BTreeMap<Stream, DatasetReport> = BTreeMap::new();
    let mut restored = Restored {
        schedules,
        ..Restored::default()
    };
    for partition in found.partitions {
        let report = report_of(&mut datasets, &partition.id.tenant, partition.id.dataset);
        report.partitions += 1;
        report.partial += u64::from(!partition.is_complete());
        report.rows += partition.found.manifest.rows;
        restored.partitions.push(restored_partition(partition));
    }
    for task in found.tasks.into_values() {
        let Some(task) = restored_task(task) else {
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
    // Where two reports tell of the same day, the newer one comes last and stays.
    restored.tasks.sort_by_key(|task| task.updated_at);
    for row in windows.into_values() {
        let report = report_of(&mut datasets, &row.tenant, row.dataset);
        report.windows += 1;
        let is_open = matches!(row.state, WindowState::Due | WindowState::Planned);
        report.open_windows += u64::from(is_open);
        restored.windows.push(row);
    }
    let report = RebuildReport {
        datasets: datasets.into_values().collect(),
        problems: found.problems.into_iter().collect(),
    };
    (restored, report)
}

fn restored_partition(partition: FoundPartition) -> RestoredPartition {
    let complete = partition.is_complete();
    let manifest = partition.found.manifest;
    let inputs = partition.inputs.into_iter();
    RestoredPartition {
        tenant: partition.id.tenant,
        dataset: partition.id.dataset,
        dt: partition.id.dt,
        published_at: manifest.created_at,
        published: PublishedPartition {
            revision: manifest.revision.into(),
            complete,
            content_hash: manifest.content_hash,
            manifest_sha256: partition.found.sha256,
            rows: manifest.rows,
            size_bytes: manifest.object.size_bytes,
            inputs: inputs.filter(|input| input.is_answered()).collect(),
        },
    }
}

fn restored_task(task: FoundTask) -> Option<RestoredTask> {
    let (phase, rows) = (task.phase(), task.rows());
    let (input, spec) = (task.input, task.spec?);
    let is_open = phase == Phase::Open;
    let read = task.read;
    let machine = match (&input.source_sha256, input.submitted_at, input.extracted_at) {
        (Some(sha256), Some(submitted_at), Some(extracted_at)) if !is_open => State::Fetched {
            export_id: input.export_id.clone(),
            submitted_at,
            sha256: sha256.clone(),
            size_bytes: read.as_ref().map_or(0, |read| read.size_bytes),
            extracted_at,
        },
        _ => State::Planned,
    };
    let lacks_keys = read.as_ref().filter(|_| phase == Phase::Quarantined);
    let failure = lacks_keys.map(|read| rows_without_key(read.findings.rows_quarantined));
    let job_window = input.planned_for()?;
    let dts = read.as_ref().map_or(task.dts, |read| read.dts.clone());
    let (findings, parents, reported) = match read {
        Some(read) => (Some(read.findings), read.parents, read.reported),
        None => (None, Vec::new(), Vec::new()),
    };
    Some(RestoredTask {
        job_window,
        // How urgent it is, its window says when it is planned again.
        priority: plan::priority(spec.dataset(), spec.window.start().as_second()),
        generation: input.generation,
        phase,
        machine,
        rows: (!is_open).then_some(rows),
        dts: if is_open { Default::default() } else { dts },
        pack: input.pack.filter(|_| !is_open),
        failure,
        updated_at: input.extracted_at.unwrap_or(task.known_at),
        findings,
        parents,
        reported,
        spec,
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

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use jiff::civil::date;

    use super::super::found::tests::{answered, at, lake, meeting_at, partition, setting, task};
    use super::super::{schedules, windows};
    use super::*;
    use crate::cause::Cause;
    use crate::record::{InputOutcome, Reason, ReasonKind, ReportedDay};

    const OF: Dataset = Dataset::MeetingList;

    #[test]
    fn a_task_is_restored_as_its_original_says_or_else_its_manifest() {
        let mut read = answered("a", OF, 10);
        let original = read.read.as_mut().expect("read");
        original.findings.rows_out = 7;
        original.dts = [date(1970, 1, 12)].into();
        let mut without_key = read.clone();
        let original = without_key.read.as_mut().expect("read");
        original.findings.rows_quarantined = 2;
        let mut unread = task("a", OF, 10);
        unread.dts = [date(1970, 1, 11)].into();
        let mut failed = unread.clone();
        failed.input.outcome = InputOutcome::Failed;
        let mut lost = unread.clone();
        lost.is_lost = true;
        use Phase::{Open, Published, Quarantined};
        let table = [
            (read, Published, Some(7), vec![12], Some(1)),
            (without_key, Quarantined, Some(7), vec![12], Some(1)),
            (unread, Published, Some(1), vec![11], Some(0)),
            (failed, Open, None, vec![], None),
            (lost, Open, None, vec![], None),
        ];
        for (found, phase, rows, days, size_bytes) in table {
            let task = restored_task(found).expect("a window");
            assert_eq!((task.phase, task.rows), (phase, rows));
            let dts: Vec<i8> = task.dts.iter().map(|dt| dt.day()).collect();
            assert_eq!(dts, days, "{phase:?}");
            let size = match task.machine {
                State::Fetched { size_bytes, .. } => Some(size_bytes),
                _ => None,
            };
            assert_eq!((size, task.pack.is_some()), (size_bytes, size.is_some()));
            let causes: Vec<Cause> = task.failure.iter().map(|failure| failure.cause).collect();
            let lacks_keys = phase == Quarantined;
            assert_eq!(
                causes,
                if lacks_keys {
                    vec![Cause::Data]
                } else {
                    vec![]
                }
            );
        }
    }

    #[test]
    fn of_two_reports_of_a_day_the_later_one_stands_last() {
        let report = |name: &str, hour, meetings| {
            let mut task = answered(name, Dataset::DailyReport, 10);
            task.input.extracted_at = Some(at(11) + SignedDuration::from_hours(hour));
            let day = ReportedDay {
                date: date(1970, 1, 11),
                start: at(10),
                meetings,
            };
            task.read.as_mut().expect("read").reported = vec![day];
            task
        };
        for hours in [[1, 2], [2, 1]] {
            let [a, b] = hours;
            let found = lake(
                vec![report("a", a, a as u64), report("b", b, b as u64)],
                vec![],
            );
            let (restored, _) = finish(found, Windows::new(), vec![]);
            let days = restored.tasks.iter().flat_map(|task| &task.reported);
            let meetings: Vec<u64> = days.map(|day| day.meetings).collect();
            assert_eq!(meetings, [1, 2], "{hours:?}");
        }
    }

    #[test]
    fn the_report_counts_what_is_taken_over_and_what_is_open() {
        let mut open = task("open", OF, 11);
        open.is_lost = true;
        let failed = Reason::new(ReasonKind::Failed, 1);
        let mut days = [10, 9].map(|day| partition(OF, day, &[])).to_vec();
        days.push(partition(OF, 11, &[failed]));
        days[0].found.manifest.rows = 5;
        days[0].inputs = vec![open.input.clone(), open.input.clone()];
        days[0].inputs[1].outcome = InputOutcome::Failed;
        let mut answered = answered("a", OF, 10);
        answered.read.as_mut().expect("read").parents = vec![meeting_at(10), meeting_at(10)];
        let mut found = lake(vec![answered, open], days);
        found.problems.insert(RebuildProblem {
            path: "p".into(),
            problem: "damaged".into(),
            is_damage: true,
        });
        let windows = windows::form(&setting(), &found);
        let schedules = schedules::of(&setting(), &found, &windows).expect("schedules");
        let (restored, report) = finish(found, windows, schedules);
        assert_eq!(restored.schedules.len(), 1);
        assert_eq!(
            (
                restored.partitions.len(),
                restored.tasks.len(),
                restored.windows.len()
            ),
            (3, 2, 3)
        );
        let published = restored.partitions.iter().map(|row| &row.published);
        let published: Vec<_> = published
            .map(|row| (row.complete, row.rows, row.inputs.len()))
            .collect();
        assert_eq!(published, [(true, 5, 1), (true, 0, 0), (false, 0, 0)]);
        assert_eq!(
            serde_json::to_string(&report).expect("JSON"),
            "{\"datasets\":[{\"tenant\":\"acme\",\"dataset\":\"meeting_list\",\
             \"partitions\":3,\"partial\":1,\"rows\":5,\"windows\":3,\"open_windows\":1,\
             \"tasks\":1,\"open_tasks\":1,\"parents\":2}],\
             \"problems\":[{\"path\":\"p\",\"problem\":\"damaged\",\"is_damage\":true}]}"
        );
    }
}
