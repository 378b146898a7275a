//! What the ledger says: which days are late and why, what is in the lake, and what is under way.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use jiff::tz::TimeZone;

use super::NumberSources;
use super::families::{Family, Unit, labels, number};
use crate::datasets::Dataset;
use crate::datasets::event::dataset_of;
use crate::ledger::PartitionStatus;
use crate::record::{EventTypeRecord, Phase};
use crate::status::verdict::Verdict;
use crate::status::{LateDays, jobs_of, overview};
use crate::window::Window;

/// Late days that are looked into: a statement or several each.
const LATE_DAYS: usize = 300;
const DAY_S: f64 = 86_400.0;

/// What the ledger says.
#[derive(Debug)]
pub struct LakeNumbers {
    /// Every dataset that a tenant has a job for.
    expected: Vec<(String, Dataset)>,
    verdict: Verdict,
    /// Days of each tenant that may be late and were not looked into.
    more: BTreeMap<String, usize>,
    published: Vec<PartitionStatus>,
    tasks: Vec<(String, Dataset, Phase, u64)>,
    event_types: Vec<EventTypeRecord>,
    took: Duration,
}

impl LakeNumbers {
    /// Reads it.
    ///
    /// # Errors
    /// When the ledger cannot be read, or a job's schedule.
    pub async fn read(sources: &NumberSources<'_>) -> Result<Self> {
        let reading_since = Instant::now();
        let NumberSources {
            ledger,
            tenants,
            jobs,
            began,
            now,
            ..
        } = *sources;
        let named: Vec<(&str, &TimeZone)> = tenants
            .iter()
            .map(|(name, zone)| (name.as_str(), zone))
            .collect();
        let late = LateDays::read(ledger, &named, jobs, now, LATE_DAYS).await?;
        let window_of = |tenant: &str, dt| {
            let (_, zone) = tenants.iter().find(|(name, _)| name == tenant)?;
            Window::day(zone, dt)
        };
        let mut expected = Vec::new();
        let mut event_types = Vec::new();
        for (tenant, _) in tenants {
            let of_tenant = jobs_of(jobs, tenant).map(|job| (tenant.clone(), job.dataset));
            expected.extend(of_tenant);
            event_types.extend(ledger.event_types(tenant).await?);
        }
        expected.dedup();
        let published = overview::published(ledger, &named).await?;
        let mut tasks = ledger.tasks_under_way().await?;
        tasks.retain(|(of, ..)| tenants.iter().any(|(name, _)| name == of));
        Ok(Self {
            expected,
            verdict: Verdict::of(&late, window_of, began, now),
            more: late.more,
            published,
            tasks,
            event_types,
            took: reading_since.elapsed(),
        })
    }

    /// It as families.
    pub fn families(&self) -> Vec<Family> {
        let mut families = self.of_days();
        families.extend(self.of_partitions());
        let mut tasks = Family::gauge(
            "meetlake_tasks",
            "Tasks that are not over, and those that wait for a person or the next run",
        );
        for (tenant, dataset, phase, times) in &self.tasks {
            let phase = ("phase", phase.as_str().to_owned());
            let [tenant, dataset] = labels(tenant, Some(*dataset));
            tasks.push([tenant, dataset, phase], number(*times));
        }
        let mut events = Family::gauge(
            "meetlake_event_last_received_timestamp",
            "When an event of a type was last received, in seconds since 1970",
        )
        .in_unit(Unit::Seconds);
        for of in &self.event_types {
            // Others are whatever somebody names, and each would be a series.
            if dataset_of(&of.event_type).is_none() {
                continue;
            }
            let at = of.last_received_at.as_millisecond();
            #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
            let at_s = at as f64 / 1_000.0;
            events.push(
                [
                    ("tenant", of.tenant.clone()),
                    ("type", of.event_type.clone()),
                ],
                at_s,
            );
        }
        let took = Family::gauge(
            "meetlake_ledger_read",
            "How long it took to read from the ledger what is told here",
        );
        families.extend([
            tasks,
            events,
            took.in_unit(Unit::Seconds)
                .with([], self.took.as_secs_f64()),
        ]);
        families
    }

    fn of_days(&self) -> Vec<Family> {
        let mut late_s = Family::gauge(
            "meetlake_late",
            "How long the oldest day that is missing has been due; 0 if none is",
        )
        .in_unit(Unit::Seconds);
        let mut horizon = Family::gauge(
            "meetlake_horizon",
            "How long Feishu still answers for the oldest day that is missing, in whole days",
        )
        .in_unit(Unit::Seconds);
        let mut days = Family::gauge(
            "meetlake_late_days",
            "Days that should be in the lake, whole, and are not, by what became of them and why",
        );
        for (tenant, dataset) in &self.expected {
            let problems = self.verdict.problems.iter();
            let own = problems.filter(|of| of.tenant == *tenant && of.dataset == *dataset);
            let oldest = own.clone().map(|of| of.late_s).max().unwrap_or(0);
            late_s.push(labels(tenant, Some(*dataset)), number(oldest));
            let left = own.filter_map(|of| of.days_left).min();
            #[expect(clippy::cast_precision_loss, reason = "days of a horizon")]
            if let Some(left) = left {
                horizon.push(labels(tenant, Some(*dataset)), left as f64 * DAY_S);
            }
        }
        let mut counted: BTreeMap<_, usize> = BTreeMap::new();
        for of in &self.verdict.problems {
            let cause = of.cause.map_or("", |cause| cause.as_str());
            let word = of.outcome.as_str();
            let of_person = of.needs_a_person;
            let key = (of.tenant.as_str(), of.dataset, word, cause, of_person);
            *counted.entry(key).or_default() += of.days;
        }
        for ((tenant, dataset, outcome, cause, needs_a_person), late) in counted {
            let [tenant, dataset] = labels(tenant, Some(dataset));
            let of = [
                tenant,
                dataset,
                ("outcome", outcome.to_owned()),
                ("cause", cause.to_owned()),
                ("needs_a_person", needs_a_person.to_string()),
            ];
            days.push(of, number(late as u64));
        }
        let mut more = Family::gauge(
            "meetlake_days_not_looked_into",
            "Days that may be late too, and were not looked into because there are so many",
        );
        for (tenant, days) in &self.more {
            more.push([("tenant", tenant.clone())], number(*days as u64));
        }
        vec![late_s, horizon, days, more]
    }

    fn of_partitions(&self) -> Vec<Family> {
        let mut partitions = Family::gauge("meetlake_partitions", "Partitions in the lake");
        let mut rows = Family::gauge("meetlake_lake_rows", "Rows in the lake");
        let mut bytes =
            Family::gauge("meetlake_lake", "Bytes of the lake's Parquet").in_unit(Unit::Bytes);
        for of in &self.published {
            for (state, count) in [
                ("complete", of.partitions - of.partial),
                ("partial", of.partial),
            ] {
                let [tenant, dataset] = labels(&of.tenant, Some(of.dataset));
                let state = ("state", state.to_owned());
                partitions.push([tenant, dataset, state], number(count));
            }
            rows.push(labels(&of.tenant, Some(of.dataset)), number(of.rows));
            bytes.push(labels(&of.tenant, Some(of.dataset)), number(of.size_bytes));
        }
        vec![partitions, rows, bytes]
    }
}
