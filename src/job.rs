//! What a file in `jobs/` says: one dataset, when to export it, and how much of it.
//!
//! This is the validated form, as the planner uses it; reading the TOML, with every problem named by file and line, is `config/job_file.rs`.

use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::dataset::Dataset;
use crate::task::UserIdType;

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
    /// The zone in which days are cut, the cron expression is read, and date-times without a zone are understood.
    pub time_zone: TimeZone,
    /// Length of a window in civil days, at least 1.
    pub window_days: u16,
    /// How long after its end a window is left alone, so that late data can arrive.
    pub settle_delay: Duration,
    /// How many days back closed windows are exported again at each firing, for late data.
    pub lookback_days: u16,
    /// First civil day ever exported; without one, the job begins with the windows of its first lookback.
    pub start: Option<Date>,
    /// What happens to windows whose firing was missed.
    pub missed: MissedPolicy,
    /// What happens to a firing while a run of this job is still active.
    pub overlap: OverlapPolicy,
    /// A firing is delayed by a fixed pseudo-random share of this, so that many jobs do not start in the same second.
    pub jitter: Duration,
    /// How long one task may take from its submit until its file is there.
    pub deadline: Duration,
    /// Folder below the lake's URL under which the dataset's directory stands; empty for the lake itself.
    pub destination: String,
    /// Bounds of the fan-out over parent rows.
    pub fan_out: FanOut,
    /// What is asked for, beyond the window.
    pub options: RequestOptions,
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
    /// Share of parents that is exported, in (0, 1]; decided by a hash of the task key, so the same ones every time.
    pub sample: Option<f64>,
    /// At most so many tasks are planned in one run of the job; the rest waits for the next run.
    pub max_tasks_per_run: Option<u32>,
    /// Which parents come first when there are too many.
    pub order: FanOutOrder,
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

/// Options of the requests a job makes. What a dataset's endpoint does not have is rejected when the file is read.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestOptions {
    /// Kind of user ids asked for. Top users use `open_id`, because `user_id` fails when a room is among them; everything else `user_id`,
    /// because that is what the sheets show.
    pub user_id_type: UserIdType,
    /// How many top users are asked for, 1 to 100.
    pub top_user_limit: u32,
    /// Unit in which `get_top_user` reports durations; the vendor's pages contradict each other (API reference, 0.1).
    pub top_user_duration_unit: DurationUnit,
    /// Whether reservation topics are asked for.
    pub need_topic: bool,
    /// Whether each room gets an export of its own, which fills `room_id`.
    pub per_room: bool,
}

/// Unit of a duration on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DurationUnit {
    /// As the endpoint's page says.
    #[default]
    Minutes,
    /// As the overview page says.
    Seconds,
}

impl RequestOptions {
    /// The defaults for a dataset.
    #[must_use]
    pub const fn for_dataset(dataset: Dataset) -> Self {
        Self {
            user_id_type: match dataset {
                Dataset::TopUser => UserIdType::OpenId,
                _ => UserIdType::UserId,
            },
            top_user_limit: 100,
            top_user_duration_unit: DurationUnit::Minutes,
            need_topic: true,
            per_room: false,
        }
    }
}
