//! Events that were received, into batches; and days of events that are over.

use std::sync::Arc;

use anyhow::Result;
use jiff::SignedDuration;

use super::Run;
use crate::datasets::event;
use crate::events::{EventKind, Subject};
use crate::job::JobSpec;
use crate::plan;
use crate::plan::due::due_at;
use crate::plan::received::{batches, pause};
use crate::record::{OpenTask, WindowRow, WindowState};
use crate::task::Urgency;

/// Events looked at in one go. What is left waits for the next batch.
const AT_ONCE: u32 = 20_000;

impl Run {
    /// Makes tasks of the events that wait, at most once a minute for each dataset.
    pub(super) async fn batch_events(&mut self) -> Result<()> {
        let tenant = Arc::clone(&self.tenant);
        let (name, zone, ledger) = (&tenant.name, &tenant.time_zone, &tenant.ledger);
        for job in self.jobs.clone() {
            let (dataset, now) = (job.dataset, tenant.clock.now());
            let is_early = self.next_batch.get(&dataset).is_some_and(|at| now < *at);
            if !dataset.is_received() || is_early {
                continue;
            }
            let waiting = ledger.waiting_events(name, dataset, AT_ONCE).await?;
            let mut of_day = 0;
            for batch in batches(dataset, tenant.owner(), zone, &waiting) {
                let window = batch.spec.window;
                let row = WindowRow {
                    tenant: name.clone(),
                    dataset,
                    window,
                    job: job.name.clone(),
                    due_at: due_at(&job, &window),
                    state: WindowState::Planned,
                    generation: 1,
                    covered_at: now,
                    parents: None,
                    coverage: None,
                };
                let task = OpenTask {
                    // They cost no call, so nothing that does waits for long.
                    priority: plan::placed(
                        Urgency::Nightly,
                        plan::priority(dataset, window.start().as_second()),
                    ),
                    generation: row.generation,
                    spec: batch.spec,
                };
                ledger.plan_batch(&row, &task, &batch.ids, now).await?;
                crash_point!("w15-batch-planned");
                tenant
                    .events
                    .emit(&row, EventKind::TasksPlanned { tasks: 1 });
                let tasks = ledger.phases_of(name, dataset, window).await?;
                of_day = tasks.total().max(of_day);
            }
            if of_day > 0 {
                let pause = SignedDuration::try_from(pause(of_day))?;
                self.next_batch.insert(dataset, now + pause);
                (self.refill, self.look_again) = (true, true);
            }
        }
        Ok(())
    }

    /// Looks at the days of events that are partial: they are complete once they are over. Tells of
    /// ends that do not come, and forgets events that nobody sends again.
    pub(super) async fn close_days_of_events(&mut self, job: &JobSpec) -> Result<()> {
        if !job.dataset.is_received() {
            return Ok(());
        }
        let tenant = Arc::clone(&self.tenant);
        for row in tenant.ledger.partitions(Some(&tenant.name)).await? {
            if row.dataset == job.dataset && row.revision > 0 && !row.complete {
                self.recheck_day(job.dataset, row.dt).await?;
            }
        }
        let now = tenant.clock.now();
        for missing in tenant.ledger.missing_ends(&tenant.name, now).await? {
            if event::dataset_of(&missing.started) == Some(job.dataset) {
                let told = EventKind::EndsMissing { missing };
                tenant.events.emit(Subject::default(), told);
            }
        }
        Ok(tenant.ledger.forget_old_events(now).await?)
    }
}
