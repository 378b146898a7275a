//! The late days of all tenants, found without a walk through the days that are there.
//!
//! A day can only be late if a window of it did not end well, if what is in the lake of it is
//! partial, or if no run has looked since it was due. The ledger finds the first two by index, the
//! third follows from the jobs' schedules. What a whole walk says of these days is asked here too,
//! so both say the same; a window that ended well has its days in the lake.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::Result;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::days::{ExpectedWindow, Lookup};
use super::job_record::schedule_of;
use super::{DayStatus, jobs_of};
use crate::datasets::Dataset;
use crate::job::JobSpec;
use crate::ledger::Ledger;
use crate::plan::due::{due, expected_at};
use crate::record::{NewWindow, PartitionId, PartitionRow, ScheduleState, WindowRow};
use crate::schedule::Schedule;

/// The late days of all tenants.
#[derive(Clone, Debug, Default)]
pub struct LateDays {
    /// They, by tenant, dataset, job and date.
    pub days: Vec<DayStatus>,
    /// How many more of each tenant may be late and were not looked into, because there are so
    /// many.
    pub more: BTreeMap<String, usize>,
}

/// A day that may be late.
struct MaybeLate<'j> {
    tenant: &'j str,
    zone: &'j TimeZone,
    job: &'j JobSpec,
    schedule: &'j Schedule,
    dt: Date,
    new: Vec<ExpectedWindow>,
}

impl LateDays {
    /// Finds those of the `tenants`, each of which comes with the zone in which its days are cut.
    /// At most `most` days are told, of each tenant and dataset as many if there are more.
    ///
    /// # Errors
    /// When the ledger cannot be read, or a job's schedule.
    pub async fn read(
        ledger: &Ledger,
        tenants: &[(&str, &TimeZone)],
        jobs: &[JobSpec],
        now: Timestamp,
        most: usize,
    ) -> Result<Self> {
        let schedules: Vec<Schedule> = jobs.iter().map(schedule_of).collect::<Result<_>>()?;
        let known = OpenRecords::read(ledger).await?;
        let mut asked = HashMap::new();
        let mut candidates = Vec::new();
        for (tenant, zone) in tenants {
            for job in jobs_of(jobs, tenant) {
                let index = jobs.iter().position(|of| std::ptr::eq(of, job));
                let Some(schedule) = index.and_then(|index| schedules.get(index)) else {
                    continue;
                };
                let state = known
                    .schedules
                    .get(&(job.name.clone(), (*tenant).to_owned()));
                // Tenants of one job mostly stand at the same place.
                let new = asked
                    .entry((index, state.copied()))
                    .or_insert_with(|| new_windows(job, schedule, state.copied(), now));
                candidates.extend(
                    known
                        .dates(tenant, zone, job, schedule, new, now)
                        .into_iter()
                        .map(|(dt, new)| MaybeLate {
                            tenant,
                            zone,
                            job,
                            schedule,
                            dt,
                            new,
                        }),
                );
            }
        }
        let partitions = known.partitions(ledger, &candidates).await?;
        let is_whole = |candidate: &MaybeLate<'_>| {
            let partition = partitions.get(&candidate.id());
            partition.is_some_and(|row| row.complete)
        };
        candidates.retain(|candidate| !is_whole(candidate));
        let mut more: BTreeMap<String, usize> = BTreeMap::new();
        let mut late = Vec::new();
        let whose = candidates.iter().map(|of| (of.tenant, of.job.dataset));
        for place in in_turns(whose) {
            let candidate = &candidates[place];
            if late.len() >= most {
                *more.entry(candidate.tenant.to_owned()).or_default() += 1;
                continue;
            }
            let lookup = Lookup {
                ledger,
                tenant: candidate.tenant,
                zone: candidate.zone,
                now,
            };
            let (job, schedule, dt) = (candidate.job, candidate.schedule, candidate.dt);
            let partition = partitions.get(&candidate.id());
            let day = lookup
                .date(job, schedule, dt, &candidate.new, partition)
                .await?;
            let day = day.filter(|day| day.late_s.is_some());
            late.extend(day.map(|day| (place, day)));
        }
        late.sort_unstable_by_key(|(place, _)| *place);
        let days = late.into_iter().map(|(_, day)| day).collect();
        Ok(Self { days, more })
    }
}

/// The places of days, given by tenant and dataset, in the order in which they are looked into: one
/// of each tenant, then another of each, and of a tenant one of each dataset in turn. So nobody's
/// days are hidden behind those of others.
fn in_turns<'t>(days: impl Iterator<Item = (&'t str, Dataset)>) -> Vec<usize> {
    let mut of_dataset: HashMap<(&str, Dataset), usize> = HashMap::new();
    let mut turns = Vec::new();
    for (place, (tenant, dataset)) in days.enumerate() {
        let turn = of_dataset.entry((tenant, dataset)).or_default();
        turns.push((*turn, place, tenant));
        *turn += 1;
    }
    turns.sort_unstable();
    let mut of_tenant: HashMap<&str, usize> = HashMap::new();
    for (turn, _, tenant) in &mut turns {
        let next = of_tenant.entry(tenant).or_default();
        *turn = *next;
        *next += 1;
    }
    turns.sort_unstable();
    turns.into_iter().map(|(_, place, _)| place).collect()
}

/// What the schedule of a job asks for that no run has looked at, and that is late.
fn new_windows(
    job: &JobSpec,
    schedule: &Schedule,
    state: Option<ScheduleState>,
    now: Timestamp,
) -> Vec<NewWindow> {
    // Nobody waits for a job that never ran.
    if state.is_none() {
        return Vec::new();
    }
    let mut new = due(job, schedule, now, state, &[]).new;
    new.retain(|new| expected_at(job, schedule, new.due_at) < now);
    new
}

/// What the ledger finds by index.
struct OpenRecords {
    schedules: HashMap<(String, String), ScheduleState>,
    open: HashMap<(String, Dataset), Vec<WindowRow>>,
    partial: HashMap<(String, Dataset), BTreeMap<Date, PartitionRow>>,
}

impl OpenRecords {
    async fn read(ledger: &Ledger) -> Result<Self> {
        let mut open: HashMap<_, Vec<WindowRow>> = HashMap::new();
        for row in ledger.open_windows().await? {
            let of = (row.tenant.clone(), row.dataset);
            open.entry(of).or_default().push(row);
        }
        let mut partial: HashMap<_, BTreeMap<Date, PartitionRow>> = HashMap::new();
        for row in ledger.partial_partitions().await? {
            if row.revision > 0 {
                let of = (row.tenant.clone(), row.dataset);
                partial.entry(of).or_default().insert(row.dt, row);
            }
        }
        Ok(Self {
            schedules: ledger.schedules().await?,
            open,
            partial,
        })
    }

    /// The dates of a job that may be late, each with the windows that no run has looked at.
    fn dates(
        &self,
        tenant: &str,
        zone: &TimeZone,
        job: &JobSpec,
        schedule: &Schedule,
        new: &[NewWindow],
        now: Timestamp,
    ) -> BTreeMap<Date, Vec<ExpectedWindow>> {
        let of = (tenant.to_owned(), job.dataset);
        let mut dates: BTreeMap<Date, Vec<ExpectedWindow>> = BTreeMap::new();
        for new in new {
            for dt in new.window.dates(zone) {
                dates.entry(dt).or_default().push(ExpectedWindow::new(new));
            }
        }
        let open = self.open.get(&of).into_iter().flatten();
        // One that is exported once more every night is not late before it is expected.
        let is_expected = |row: &&WindowRow| expected_at(job, schedule, row.due_at) < now;
        for row in open.filter(is_expected) {
            for dt in row.window.dates(zone) {
                dates.entry(dt).or_default();
            }
        }
        for dt in self.partial.get(&of).into_iter().flat_map(BTreeMap::keys) {
            dates.entry(*dt).or_default();
        }
        dates
    }

    /// What is in the lake of the candidates.
    async fn partitions(
        &self,
        ledger: &Ledger,
        candidates: &[MaybeLate<'_>],
    ) -> Result<HashMap<PartitionId, PartitionRow>> {
        let mut unknown = BTreeSet::new();
        let mut found = HashMap::new();
        for candidate in candidates {
            let of = (candidate.tenant.to_owned(), candidate.job.dataset);
            let partial = self.partial.get(&of).and_then(|of| of.get(&candidate.dt));
            match partial {
                Some(row) => drop(found.insert(row.id(), row.clone())),
                None => drop(unknown.insert(candidate.id())),
            }
        }
        let unknown: Vec<PartitionId> = unknown.into_iter().collect();
        let rows = ledger.partitions_at(&unknown).await?.into_iter();
        found.extend(
            rows.filter(|row| row.revision > 0)
                .map(|row| (row.id(), row)),
        );
        Ok(found)
    }
}

impl MaybeLate<'_> {
    fn id(&self) -> PartitionId {
        PartitionId {
            dataset: self.job.dataset,
            tenant: self.tenant.to_owned(),
            dt: self.dt,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tenant_has_its_turn_and_each_of_its_datasets() {
        use Dataset::{MeetingList, TopUser};
        for (days, expected) in [
            (vec![], vec![]),
            (vec![("a", TopUser); 3], vec![0, 1, 2]),
            (
                vec![
                    ("a", MeetingList),
                    ("a", MeetingList),
                    ("a", MeetingList),
                    ("a", TopUser),
                    ("b", MeetingList),
                    ("c", TopUser),
                    ("c", TopUser),
                ],
                vec![0, 4, 5, 3, 6, 1, 2],
            ),
        ] {
            assert_eq!(in_turns(days.into_iter()), expected);
        }
    }
}
