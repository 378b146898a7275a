//! What a file in `jobs/` says: one dataset, when to export it, and how much of it.
//!
//! This is the validated form, as the planner uses it; reading the TOML, with every problem named
//! by file and line, is `config/job_file.rs`.

use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::datasets::{Dataset, RequestOptions};

/// One job: a dataset of one or more tenants on a schedule.
#[derive(Clone, Debug)]
pub struct JobSpec {
    /// The file's name without `.toml`; unique.
    pub name: String,
    /// What is exported.
    pub dataset: Dataset,
    /// Whose data, by the names of the configuration; never empty after validation.
    pub tenants: Vec<String>,
    /// When the job fires: five-field cron, evaluated in `time_zone`.
    pub cron: String,
    /// The zone in which windows are cut and the cron expression is read. Date-times without a zone
    /// are understood in it too, unless the lake has the dataset read in another one.
    pub time_zone: TimeZone,
    /// Whether the zone is the job's own, and not that of its tenants.
    pub has_own_zone: bool,
    /// Length of a window in civil days, at least 1.
    pub window_days: u16,
    /// How long after its end a window is left alone, so that late data can arrive.
    pub settle_delay: Duration,
    /// How many days back closed windows are exported again at each firing, for late data.
    pub lookback_days: u16,
    /// First civil day ever exported; without one, the job begins with the windows of its first
    /// lookback.
    pub start: Option<Date>,
    /// What happens to windows whose firing was missed.
    pub missed: MissedPolicy,
    /// What happens to a firing while a run of this job is still active.
    pub overlap: OverlapPolicy,
    /// A firing is delayed by a fixed pseudo-random share of this, so that many jobs do not start
    /// in the same second.
    pub jitter: Duration,
    /// How long one task may take from its submit until its file is there.
    pub deadline: Duration,
    /// Folder below the lake's URL under which the dataset's directory stands; empty for the lake
    /// itself.
    pub destination: String,
    /// Bounds of the fan-out over parent rows.
    pub fan_out: FanOut,
    /// What is asked for, beyond the window.
    pub options: RequestOptions,
    /// When a result is implausible.
    pub check: Check,
}

/// What happens to windows whose firing was missed because nothing was running.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissedPolicy {
    /// Every missed window is exported.
    #[default]
    All,
    /// Only the newest missed window is exported; the others are recorded as skipped.
    Latest,
    /// Missed windows are recorded as skipped.
    None,
}

impl MissedPolicy {
    /// The word in the job file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Latest => "latest",
            Self::None => "none",
        }
    }
}

/// What happens to a firing while a run of the same job is active.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OverlapPolicy {
    /// The firing is dropped; the next one covers it, because what is due comes from the ledger.
    #[default]
    Skip,
    /// The job runs once more when the active run ends.
    Queue,
}

/// Bounds of a fan-out; what they leave out is counted and published as coverage.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FanOut {
    /// Meetings with fewer participants are left out (by the meeting's own count).
    pub min_participants: Option<i64>,
    /// Share of parents that is exported, in (0, 1]; decided by a hash of the task key, so the same
    /// ones every time.
    pub sample: Option<f64>,
    /// At most so many tasks are planned in one run of the job; the rest waits for the next run.
    pub max_tasks_per_run: Option<u32>,
    /// Which parents come first when there are too many.
    pub order: FanOutOrder,
    /// Whether a meeting is asked for once an event says that it ended; `None` if the job does not
    /// say.
    pub early: Option<bool>,
}

/// Which parents come first when not all fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FanOutOrder {
    /// The most recent first.
    #[default]
    Newest,
    /// Meetings with the most participants first; participants with the longest stay first.
    Largest,
}

/// How much of what Feishu counted elsewhere may be missing before a day is partial.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Check {
    /// Share that may be missing, 0 to 1: of the meetings that the daily report counted, or of a
    /// meeting's own participants.
    pub may_miss: f64,
}

impl Check {
    /// The defaults for a dataset.
    #[must_use]
    pub fn for_dataset(dataset: Dataset) -> Self {
        let check = dataset.definition().plausibility.check();
        Self {
            // Without a count from elsewhere, nothing is missing.
            may_miss: check.map_or(1.0, |(_, may_miss)| may_miss),
        }
    }

    /// Whether `found` is implausibly less than `counted`.
    #[must_use]
    pub fn is_short(&self, found: u64, counted: u64) -> bool {
        // Rounded down: of one participant, half is none.
        let may_miss = (counted as f64 * self.may_miss).floor();
        counted.saturating_sub(found) as f64 > may_miss
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_short_when_more_is_missing_than_may_be() {
        let half = Check { may_miss: 0.5 };
        for (found, counted, is_short) in [
            (0, 0, false),
            (0, 1, true),
            (0, 2, true),
            (1, 2, false),
            (5, 10, false),
            (4, 10, true),
            (11, 10, false),
        ] {
            assert_eq!(
                half.is_short(found, counted),
                is_short,
                "{found} of {counted}"
            );
        }
        let all = Check::for_dataset(Dataset::MeetingList);
        assert!(all.is_short(9, 10) && !all.is_short(10, 10));
        assert!(!Check { may_miss: 1.0 }.is_short(0, 10));
    }
}
