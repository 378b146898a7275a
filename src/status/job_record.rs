//! What the ledger has of one job and tenant, and what the job's schedule makes of it.

use std::borrow::Cow;

use anyhow::{Context as _, Result};
use jiff::Timestamp;

use crate::job::JobSpec;
use crate::ledger::Ledger;
use crate::plan::due::{Due, due};
use crate::record::{ScheduleState, WindowRow};
use crate::schedule::Schedule;

/// A job's schedule, how far it came, and the windows that are known.
#[derive(Debug)]
pub(super) struct JobRecord<'w> {
    pub(super) schedule: Schedule,
    pub(super) state: Option<ScheduleState>,
    pub(super) windows: Cow<'w, [WindowRow]>,
}

/// A job's schedule.
pub(super) fn schedule_of(job: &JobSpec) -> Result<Schedule> {
    let schedule = Schedule::parse(&job.cron, job.time_zone.clone());
    schedule.with_context(|| format!("job {}", job.name))
}

impl JobRecord<'_> {
    /// Reads the record; without a ledger, as if nothing ever ran.
    pub(super) async fn read(ledger: Option<&Ledger>, tenant: &str, job: &JobSpec) -> Result<Self> {
        let (state, windows) = match ledger {
            Some(ledger) => (
                ledger.schedule(&job.name, tenant).await?,
                ledger.windows(tenant, job.dataset, None).await?,
            ),
            None => (None, Vec::new()),
        };
        Ok(Self {
            schedule: schedule_of(job)?,
            state,
            windows: windows.into(),
        })
    }

    /// What the schedule asks for at `now`.
    pub(super) fn due(&self, job: &JobSpec, now: Timestamp) -> Due {
        due(job, &self.schedule, now, self.state, &self.windows)
    }
}
