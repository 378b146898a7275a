//! Windows and schedules: what should exist by now.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::{Phase, PhaseCounts};
use crate::datasets::Dataset;
use crate::findings::{Comparison, is_zero};
use crate::window::Window;

/// How far a job's schedule has been looked at for one tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ScheduleState {
    /// End of the newest window that the schedule ever inserted.
    pub watermark: Timestamp,
    /// Newest firing that was handled.
    pub last_firing: Timestamp,
}

/// Where a window stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WindowState {
    /// Its current generation has no tasks yet.
    Due,
    /// Its tasks are known and not all of them ended.
    Planned,
    /// All its tasks ended well, and their partitions were published.
    Settled,
    /// All its tasks ended, some of them badly; what there is was published.
    Stuck,
    /// Left out by the job's policy for missed firings.
    Skipped,
    /// Feishu no longer has the data.
    Lost,
}

impl WindowState {
    /// All states.
    pub const ALL: [Self; 6] = [
        Self::Due,
        Self::Planned,
        Self::Settled,
        Self::Stuck,
        Self::Skipped,
        Self::Lost,
    ];

    /// The word in the ledger and in `status`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Planned => "planned",
            Self::Settled => "settled",
            Self::Stuck => "stuck",
            Self::Skipped => "skipped",
            Self::Lost => "lost",
        }
    }

    /// The state behind a word of the ledger.
    #[must_use]
    pub fn from_stored(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Whether all its tasks ended, well or badly.
    #[must_use]
    pub const fn has_ended(self) -> bool {
        matches!(self, Self::Settled | Self::Stuck)
    }

    /// The state of a window that Feishu no longer answers for: lost if nothing of it is in the
    /// lake, settled if an earlier generation is. `None`, and it goes on, if one of its tasks has
    /// brought something that is not published yet, or is.
    #[must_use]
    pub fn when_out_of_reach(tasks: &PhaseCounts, has_inputs: bool) -> Option<Self> {
        if tasks.has(Phase::Spooled) || tasks.has(Phase::Published) {
            return None;
        }
        Some(match has_inputs {
            true => Self::Settled,
            false => Self::Lost,
        })
    }

    /// Whether a window may be taken back: nothing of it is in the lake or waits to be, and nothing
    /// is in quarantine.
    #[must_use]
    pub fn holds_nothing(self, tasks: &PhaseCounts, has_inputs: bool) -> bool {
        let has_brought = [Phase::Spooled, Phase::Published, Phase::Quarantined]
            .iter()
            .any(|phase| tasks.has(*phase));
        self != Self::Settled && !has_brought && !has_inputs
    }

    /// Whether nobody asks for it: the policy left it out, or Feishu no longer has it.
    #[must_use]
    pub const fn is_left_out(self) -> bool {
        matches!(self, Self::Skipped | Self::Lost)
    }
}

/// A window to be inserted if it is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewWindow {
    /// The range.
    pub window: Window,
    /// Not exported before this instant.
    pub due_at: Timestamp,
    /// Due, skipped or lost.
    pub state: WindowState,
}

/// What a job's schedule, or a backfill, asks for at one time.
#[derive(Clone, Copy, Debug)]
pub struct WindowBatch<'a> {
    /// The job.
    pub job: &'a str,
    /// Whose data.
    pub tenant: &'a str,
    /// Which data.
    pub dataset: Dataset,
    /// Windows that should exist.
    pub new: &'a [NewWindow],
    /// Windows to be exported once more.
    pub again: &'a [Window],
    /// The firing that asks.
    pub firing: Timestamp,
    /// Where the schedule stands afterwards; `None` for a backfill.
    pub schedule: Option<ScheduleState>,
}

/// A window as recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowRow {
    /// Whose data.
    pub tenant: String,
    /// Which data.
    pub dataset: Dataset,
    /// The range.
    pub window: Window,
    /// The job that asked for it.
    pub job: String,
    /// Not exported before this instant.
    pub due_at: Timestamp,
    /// Where it stands.
    pub state: WindowState,
    /// 1, and one more with each lookback.
    pub generation: u32,
    /// The firing that asked for this generation.
    pub covered_at: Timestamp,
    /// Digest of the parent rows from which its tasks were planned.
    pub parents: Option<String>,
    /// What the fan-out left out, and what another source says; `None` for a dataset without
    /// parents that was not compared.
    pub coverage: Option<Coverage>,
}

impl WindowRow {
    /// Whether it should be in the lake by `now` and is not, or not whole.
    #[must_use]
    pub fn is_unsettled(&self, now: Timestamp) -> bool {
        let is_open = matches!(
            self.state,
            WindowState::Due | WindowState::Planned | WindowState::Stuck
        );
        self.due_at <= now && is_open
    }

    /// Whether its tasks are those of which events told, and none that its parents' own day gave
    /// rise to.
    #[must_use]
    pub const fn was_planned_early(&self) -> bool {
        matches!(self.state, WindowState::Due) && self.parents.is_some() && self.coverage.is_none()
    }
}

/// What a window is compared with: how many parents a fan-out met and what became of each, and what
/// another source says of its rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Distinct parent rows of the window.
    pub parents: u64,
    /// Of these, exported or about to be.
    pub planned: u64,
    /// Left out: the meeting has no end yet.
    pub not_ended: u64,
    /// Left out: the participant has neither a user id nor a room id (guests, rooms, PSTN), so the
    /// API cannot be asked.
    pub no_id: u64,
    /// Left out: fewer participants than the job wants.
    pub below_min_participants: u64,
    /// Left out: not in the sample.
    pub not_sampled: u64,
    /// Left out of this run: more than the job allows in one run.
    pub over_max_tasks: u64,
    /// Rows of the meeting list whose unique id is not known: several meetings could be it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ambiguous: u64,
    /// Rows of the meeting list whose unique id is not known: no meeting could be it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unresolved: u64,
    /// Meetings that the app may not see, among those without a row.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hidden: u64,
    /// Rows of the meeting list of whose end no event told, on a day of which events came.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub without_event: u64,
    /// Meetings of whose end an event told, and which the list does not have.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub not_listed: u64,
    /// Rows that tell of something unfinished, such as a meeting that goes on.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unfinished: u64,
    /// How the export's rows compare with those of the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared: Option<Comparison>,
}

/// How many rows of a meeting list are which unique meeting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resolution {
    /// One meeting is it.
    pub resolved: u64,
    /// Several could be it.
    pub ambiguous: u64,
    /// None could be it.
    pub unresolved: u64,
    /// Meetings that were found and may not be seen.
    pub hidden: u64,
}

impl Coverage {
    /// Whether a bound of the job left anything out.
    #[must_use]
    pub const fn is_bounded(&self) -> bool {
        self.below_min_participants + self.not_sampled + self.over_max_tasks > 0
    }

    /// Adds another window's counts.
    pub fn add(&mut self, other: &Self) {
        self.parents += other.parents;
        self.planned += other.planned;
        self.not_ended += other.not_ended;
        self.no_id += other.no_id;
        self.below_min_participants += other.below_min_participants;
        self.not_sampled += other.not_sampled;
        self.over_max_tasks += other.over_max_tasks;
        self.ambiguous += other.ambiguous;
        self.unresolved += other.unresolved;
        self.hidden += other.hidden;
        self.without_event += other.without_event;
        self.not_listed += other.not_listed;
        self.unfinished += other.unfinished;
        if let Some(compared) = &other.compared {
            self.compared.get_or_insert_default().add(compared);
        }
    }

    /// Whether a parent has no task, or none that brought what was looked for, or whether events
    /// tell of other meetings than the list.
    #[must_use]
    pub const fn is_worth_telling(&self) -> bool {
        self.planned < self.parents
            || self.ambiguous + self.unresolved > 0
            || self.without_event + self.not_listed > 0
    }

    /// The same with what became of the rows that were looked for.
    #[must_use]
    pub fn with(self, resolution: Resolution) -> Self {
        Self {
            ambiguous: resolution.ambiguous,
            unresolved: resolution.unresolved,
            hidden: resolution.hidden,
            ..self
        }
    }

    /// These counts with another comparison; `None` if there is nothing to say.
    #[must_use]
    pub fn compared(coverage: Option<&Self>, compared: Option<Comparison>) -> Option<Self> {
        if coverage.is_none() && compared.is_none() {
            return None;
        }
        Some(Self {
            compared,
            ..coverage.cloned().unwrap_or_default()
        })
    }

    /// The counts of several windows together; `None` if none of them has any.
    #[must_use]
    pub fn sum<'c>(all: impl IntoIterator<Item = &'c WindowRow>) -> Option<Self> {
        let mut sum: Option<Self> = None;
        for coverage in all.into_iter().filter_map(|row| row.coverage.as_ref()) {
            sum.get_or_insert_with(Self::default).add(coverage);
        }
        sum
    }
}

/// What a daily report says of one day. It outlives the report's task, so that a report that is
/// being asked for again, or refused, does not silence the comparison with the meeting list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportedDay {
    /// The date of the bucket, as `window::bucket_date` reads it.
    pub date: Date,
    /// First instant of the bucket.
    pub start: Timestamp,
    /// Meetings that the report counted.
    pub meetings: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(phases: &[Phase]) -> PhaseCounts {
        phases.iter().copied().collect()
    }

    #[test]
    fn a_window_out_of_reach_is_lost_unless_it_brought_something() {
        use Phase::{Failed, Open, Published, Quarantined, Spooled, Withdrawn};
        use WindowState::{Lost, Settled};
        let table: [(&[Phase], bool, Option<WindowState>); 6] = [
            (&[], false, Some(Lost)),
            (&[Open, Failed, Quarantined, Withdrawn], false, Some(Lost)),
            (&[Open], true, Some(Settled)),
            (&[Open, Spooled], false, None),
            (&[Published], true, None),
            (&[Published], false, None),
        ];
        for (phases, has_inputs, expected) in table {
            let found = WindowState::when_out_of_reach(&counts(phases), has_inputs);
            assert_eq!(found, expected, "{phases:?} {has_inputs}");
        }
    }

    #[test]
    fn only_a_window_that_holds_nothing_may_be_taken_back() {
        for state in WindowState::ALL {
            let is_open = state != WindowState::Settled;
            assert_eq!(state.holds_nothing(&counts(&[]), false), is_open);
            assert!(!state.holds_nothing(&counts(&[]), true));
            for phase in Phase::ALL {
                let is_empty = matches!(phase, Phase::Open | Phase::Failed | Phase::Withdrawn);
                let found = state.holds_nothing(&counts(&[phase]), false);
                assert_eq!(found, is_open && is_empty, "{state:?} {phase:?}");
            }
        }
    }
}
