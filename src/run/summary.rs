//! What a run did, what is still missing and why, and the exit code that says so.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use serde::Serialize;

use crate::cause::{Cause, CauseClass, Failure, Reach};
use crate::datasets::Dataset;
use crate::exit::Code;
use crate::pipeline::{PublishedDay, TaskEnd};
use crate::record::{Coverage, Phase, TaskRow, WindowRow};
use crate::window::Window;

/// One dataset's share of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct DatasetSummary {
    /// Exports and reports that ended with rows or without.
    pub finished: u64,
    /// Of these, without a row.
    pub empty: u64,
    /// Rows they brought.
    pub rows: u64,
    /// Cells that did not fit and were kept as text.
    pub rejects: u64,
    /// Attempts that were put off.
    pub deferred: u64,
    /// Tasks whose workbook went to quarantine.
    pub quarantined: u64,
    /// Tasks whose attempts are used up.
    pub failed: u64,
    /// Partitions written.
    pub published: u64,
    /// Partitions whose content had not changed.
    pub unchanged: u64,
    /// Of the partitions written or found unchanged, those that miss something.
    pub partial: u64,
    /// Windows that Feishu no longer answers for and that were never exported.
    pub lost: u64,
    /// The days behind `partial`: a day that is written again counts by its last state.
    #[serde(skip)]
    partial_days: BTreeSet<Date>,
    /// What the fan-out left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Coverage>,
}

/// A window that should be in the lake and is not, or not whole.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UnsettledWindow {
    /// Which dataset.
    pub dataset: Dataset,
    /// First instant.
    pub start: jiff::Timestamp,
    /// First instant after.
    pub end: jiff::Timestamp,
    /// due, planned or stuck.
    pub state: &'static str,
    /// Tasks by phase.
    pub tasks: BTreeMap<&'static str, u64>,
    /// The first error of its tasks, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(skip)]
    class: Option<CauseClass>,
}

impl UnsettledWindow {
    pub(super) fn new(row: &WindowRow, tasks: &[TaskRow]) -> Self {
        let mut counted = BTreeMap::new();
        for task in tasks {
            *counted.entry(task.phase.as_str()).or_insert(0) += 1;
        }
        let failed = tasks
            .iter()
            .filter(|task| task.phase != Phase::Published)
            .find_map(|task| task.failure.as_ref());
        Self {
            dataset: row.dataset,
            start: row.window.start(),
            end: row.window.end(),
            state: row.state.as_str(),
            tasks: counted,
            error: failed.map(|failure| failure.message.clone()),
            class: failed.map(|failure| failure.cause.class()),
        }
    }
}

/// A day of which every task ended well, and whose result cannot be all there is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImplausibleDay {
    /// Which dataset.
    pub dataset: Dataset,
    /// Which day.
    pub dt: Date,
    /// What speaks against it.
    pub reason: String,
}

/// A range that was not exported while Feishu still had it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LostWindow {
    /// Which dataset.
    pub dataset: Dataset,
    /// First instant.
    pub start: jiff::Timestamp,
    /// First instant after.
    pub end: jiff::Timestamp,
}

/// What a run of one tenant did.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Whose data.
    pub tenant: String,
    /// By dataset.
    pub datasets: BTreeMap<Dataset, DatasetSummary>,
    /// What is due and not settled.
    pub unsettled: Vec<UnsettledWindow>,
    /// Days that are published and cannot be all there is.
    pub implausible: Vec<ImplausibleDay>,
    /// What this run found to be lost; later runs do not say it again.
    pub lost: Vec<LostWindow>,
    /// What a person should know.
    pub warnings: Vec<String>,
    /// Datasets that could not be asked for, and why.
    pub blocked: BTreeMap<Dataset, Failure>,
    /// What ended the run before its time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_cause: Option<Failure>,
    /// What kept partitions from being written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_error: Option<Failure>,
    /// Whether somebody asked the run to stop.
    pub stopped: bool,
    /// Whether the time given to the run was over.
    pub out_of_time: bool,
    /// What the last call was answered with when that time was over, if it failed: why so little
    /// was done in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Failure>,
}

/// What a refusal stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RefusalReach {
    /// Its dataset.
    Dataset,
    /// Every dataset that a tenant can do without.
    Optional,
    /// The run.
    Run,
}

/// What a refusal of a task of this dataset stops: that of one endpoint its dataset, one that
/// concerns the app or this machine the run. Of a month's last calls, reports and exports have the
/// very last.
pub(super) fn refusal_reaches(cause: Cause, dataset: Dataset) -> RefusalReach {
    match cause.reach() {
        Reach::Dataset => RefusalReach::Dataset,
        Reach::Run if cause == Cause::QuotaExhausted && dataset.is_optional() => {
            RefusalReach::Optional
        }
        Reach::Run | Reach::Task => RefusalReach::Run,
    }
}

impl Summary {
    pub(super) fn new(tenant: &str) -> Self {
        Self {
            tenant: tenant.to_owned(),
            datasets: BTreeMap::new(),
            unsettled: Vec::new(),
            implausible: Vec::new(),
            lost: Vec::new(),
            warnings: Vec::new(),
            blocked: BTreeMap::new(),
            stop_cause: None,
            storage_error: None,
            stopped: false,
            out_of_time: false,
            trouble: None,
        }
    }

    /// Everything that stood in the way of more than one task, each once.
    pub fn causes(&self) -> impl Iterator<Item = &Failure> {
        let all = self.stop_cause.iter().chain(self.blocked.values());
        let all = all.chain(&self.storage_error).chain(&self.trouble);
        let mut causes: Vec<&Failure> = Vec::new();
        for cause in all {
            if causes.iter().all(|known| known.message != cause.message) {
                causes.push(cause);
            }
        }
        causes.into_iter()
    }

    pub(super) fn count_task(&mut self, dataset: Dataset, ended: &TaskEnd) {
        let counts = self.datasets.entry(dataset).or_default();
        match ended {
            TaskEnd::Spooled { rows, rejects } => {
                counts.finished += 1;
                counts.empty += u64::from(*rows == 0);
                counts.rows += rows;
                counts.rejects += rejects;
            }
            TaskEnd::Deferred { .. } => counts.deferred += 1,
            TaskEnd::Stopped => {}
            TaskEnd::Quarantined { .. } => counts.quarantined += 1,
            TaskEnd::Failed { .. } => counts.failed += 1,
            TaskEnd::Refused { failure } => self.refuse(dataset, failure.clone()),
        }
    }

    fn refuse(&mut self, dataset: Dataset, failure: Failure) {
        match refusal_reaches(failure.cause, dataset) {
            RefusalReach::Dataset | RefusalReach::Optional => self.block(dataset, failure),
            RefusalReach::Run => {
                self.stop_cause.get_or_insert(failure);
            }
        }
    }

    /// Takes over from an earlier summary what was refused because the month's calls are used up.
    pub(super) fn keep_refusals_of_quota(&mut self, earlier: &Self) {
        let is_of_quota = |failure: &&Failure| failure.cause == Cause::QuotaExhausted;
        self.stop_cause = earlier.stop_cause.as_ref().filter(is_of_quota).cloned();
        let blocked = earlier
            .blocked
            .iter()
            .filter(|(_, failure)| is_of_quota(failure));
        self.blocked = blocked
            .map(|(of, failure)| (*of, failure.clone()))
            .collect();
    }

    /// Whether nothing new of a dataset is begun any more.
    pub(super) fn is_refused(&self, dataset: Dataset) -> bool {
        self.stop_cause.is_some() || self.blocked.contains_key(&dataset)
    }

    pub(super) fn block(&mut self, dataset: Dataset, failure: Failure) {
        if failure.cause == Cause::Credentials {
            self.stop_cause.get_or_insert(failure.clone());
        }
        self.blocked.entry(dataset).or_insert(failure);
    }

    pub(super) fn count_published(&mut self, dataset: Dataset, published: &[PublishedDay]) {
        let counts = self.datasets.entry(dataset).or_default();
        for partition in published {
            if partition.unchanged {
                counts.unchanged += 1
            } else {
                counts.published += 1
            }
            if partition.complete {
                counts.partial_days.remove(&partition.dt);
            } else {
                counts.partial_days.insert(partition.dt);
            }
        }
        counts.partial = counts.partial_days.len() as u64;
    }

    pub(super) fn lose(&mut self, dataset: Dataset, window: &Window) {
        self.datasets.entry(dataset).or_default().lost += 1;
        self.lost.push(LostWindow {
            dataset,
            start: window.start(),
            end: window.end(),
        });
    }

    pub(super) fn cover(&mut self, dataset: Dataset, coverage: &Coverage) {
        let sum = self
            .datasets
            .entry(dataset)
            .or_default()
            .coverage
            .get_or_insert_with(Coverage::default);
        sum.add(coverage);
    }

    /// Counts the rows of a window that ended of which the unique meeting is not known, and how
    /// they compare with those of another source.
    pub(super) fn resolve(&mut self, dataset: Dataset, coverage: &Coverage) {
        let of_dataset = self.datasets.entry(dataset).or_default();
        if let Some(compared) = &coverage.compared {
            let sum = of_dataset.coverage.get_or_insert_default();
            sum.compared.get_or_insert_default().add(compared);
        }
        if let Some(sum) = &mut of_dataset.coverage {
            sum.ambiguous += coverage.ambiguous;
            sum.unresolved += coverage.unresolved;
            sum.hidden += coverage.hidden;
        }
    }

    /// Whether everything that is due is in the lake, whole.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.unsettled.is_empty()
            && self.implausible.is_empty()
            && self.lost.is_empty()
            && self.storage_error.is_none()
    }

    /// The exit code: 0 when all is settled; the cause's own when one cause stopped the whole run,
    /// and 3 when anything was achieved beside it or somebody stopped it; but always 4 or 8 when it
    /// is access or storage.
    #[must_use]
    pub fn exit(&self) -> Code {
        if self.is_settled() {
            return Code::Done;
        }
        // Whatever else was achieved: somebody must grant or free something before the rest can
        // come.
        match self.sole_cause() {
            Some(CauseClass::Access) => return Code::Credentials,
            Some(CauseClass::Storage) => return Code::Storage,
            _ => {}
        }
        let achieved = self
            .datasets
            .values()
            .any(|counts| counts.published + counts.unchanged > 0);
        // What a run was told to leave undone says nothing about what it would have come to.
        if achieved || self.stopped {
            return Code::NotSettled;
        }
        match self.sole_cause() {
            Some(CauseClass::Quota) => Code::Quota,
            Some(CauseClass::Export) => Code::Upstream,
            Some(CauseClass::Data) => Code::Contract,
            _ => Code::NotSettled,
        }
    }

    /// The one kind of cause behind everything that is missing, if there is just one.
    fn sole_cause(&self) -> Option<CauseClass> {
        if let Some(cause) = self.storage_error.as_ref().or(self.stop_cause.as_ref()) {
            return Some(cause.cause.class());
        }
        if self.out_of_time {
            let trouble = self.trouble.as_ref().map(|failure| failure.cause.class());
            return Some(trouble.unwrap_or(CauseClass::Quota));
        }
        let mut kinds: Vec<CauseClass> = self
            .blocked
            .values()
            .map(|failure| failure.cause.class())
            .chain(self.unsettled.iter().filter_map(|window| window.class))
            .collect();
        kinds.sort_unstable();
        kinds.dedup();
        if kinds.len() == 1 { kinds.pop() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_calls_of_a_month_are_those_of_reports_and_exports() {
        use RefusalReach::{Optional, Run};
        for (cause, dataset, reaches) in [
            (Cause::QuotaExhausted, Dataset::RoomConfig, Optional),
            (Cause::QuotaExhausted, Dataset::Meeting, Optional),
            (Cause::QuotaExhausted, Dataset::DailyReport, Run),
            (Cause::QuotaExhausted, Dataset::ParticipantQualityList, Run),
            (Cause::Credentials, Dataset::RoomConfig, Run),
            (Cause::Storage, Dataset::Room, Run),
            (Cause::Scope, Dataset::Room, RefusalReach::Dataset),
            (Cause::Role, Dataset::MeetingList, RefusalReach::Dataset),
        ] {
            assert_eq!(
                refusal_reaches(cause, dataset),
                reaches,
                "{cause} {dataset}"
            );
        }
    }

    #[test]
    fn only_refusals_of_the_quota_are_kept() {
        let failure = |cause| Failure::new(cause, "x");
        let mut earlier = Summary::new("acme");
        earlier.block(Dataset::Room, failure(Cause::QuotaExhausted));
        earlier.block(Dataset::Alert, failure(Cause::Scope));
        earlier.stop_cause = Some(failure(Cause::Storage));
        let mut later = Summary::new("acme");
        later.keep_refusals_of_quota(&earlier);
        assert_eq!(later.blocked.keys().collect::<Vec<_>>(), [&Dataset::Room]);
        assert_eq!(later.stop_cause, None);
    }
}
