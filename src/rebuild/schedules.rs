//! Where each job's schedule stands.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use jiff::{SignedDuration, Timestamp};

use super::found::{FoundLake, Setting, Stream, Windows};
use crate::ledger::RestoredSchedule;
use crate::record::ScheduleState;
use crate::schedule::Schedule;
use crate::window::{Window, date_of, start_of_day};

/// Where each schedule stands: at the end of the windows that follow one another from the job's
/// start, or from the oldest one. A gap is looked at again, because a window that was never
/// published is not known here. Firings before the newest export were handled.
pub(super) fn of(
    setting: &Setting<'_>,
    found: &FoundLake,
    windows: &Windows,
) -> Result<Vec<RestoredSchedule>> {
    let newest = newest_answers(found);
    let mut schedules = Vec::new();
    for job in setting.jobs {
        for tenant in &job.tenants {
            let stream = (tenant.clone(), job.dataset);
            let of_stream: Vec<Window> = windows
                .iter()
                // The schedule did not ask for what an event told of.
                .filter(|((other, _), row)| *other == stream && !row.was_planned_early())
                .map(|((_, window), _)| *window)
                .collect();
            let (Some(oldest), Some(newest)) = (of_stream.first(), newest.get(&stream)) else {
                continue;
            };
            let start = job
                .start
                .unwrap_or_else(|| date_of(&job.time_zone, oldest.start()));
            let schedule = Schedule::parse(&job.cron, job.time_zone.clone())
                .with_context(|| format!("job {}", job.name))?;
            let last_firing = schedule.previous_at_or_before(*newest).unwrap_or(*newest);
            schedules.push(RestoredSchedule {
                job: job.name.clone(),
                tenant: tenant.clone(),
                state: ScheduleState {
                    watermark: watermark(start_of_day(&job.time_zone, start), &of_stream),
                    last_firing,
                },
            });
        }
    }
    Ok(schedules)
}

/// The first window may begin so much later than the job's first day: it was cut in a zone further
/// west. A day that is missing is as long, and is looked at again.
const CUT_ELSEWHERE: SignedDuration = SignedDuration::from_hours(23);

/// The end of the windows that follow one another from `start` on; `windows` are in order.
fn watermark(start: Timestamp, windows: &[Window]) -> Timestamp {
    let mut watermark = start;
    let first = windows.iter().find(|window| window.end() > start);
    if let Some(first) = first
        && first.start().duration_since(start) <= CUT_ELSEWHERE
    {
        watermark = watermark.max(first.start());
    }
    for window in windows {
        if window.start() <= watermark {
            watermark = watermark.max(window.end());
        }
    }
    watermark
}

/// When each tenant's dataset was last exported, or its parents were: whatever fired before that
/// was looked at. Where nothing was ever asked, when its manifests were made.
pub(super) fn newest_answers(found: &FoundLake) -> BTreeMap<Stream, Timestamp> {
    let mut newest: BTreeMap<Stream, Timestamp> = BTreeMap::new();
    let mut heard = |stream: Stream, at: Timestamp| {
        let entry = newest.entry(stream).or_insert(at);
        *entry = (*entry).max(at);
    };
    for task in found.tasks.values() {
        if let Some(at) = task.input.extracted_at {
            heard(task.stream(), at);
        }
    }
    for partition in &found.partitions {
        let id = &partition.id;
        let parents = found
            .tasks
            .values()
            .filter(|task| task.tenant == id.tenant && Some(task.dataset) == id.dataset.parent());
        if let Some(at) = parents.filter_map(|task| task.input.extracted_at).max() {
            heard(partition.stream(), at);
        }
    }
    for partition in &found.partitions {
        let made_at = partition.found.manifest.created_at;
        newest.entry(partition.stream()).or_insert(made_at);
    }
    newest
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::super::found::tests::{
        answered, at, lake, of_another_tenant, partition, setting, setting_with,
    };
    use super::super::found::{FoundPartition, FoundTask};
    use super::super::windows::form;
    use super::*;
    use crate::datasets::Dataset;

    #[test]
    fn a_schedule_stands_before_the_first_gap() {
        let window = |from, to| Window::new(at(from), at(to)).expect("a window");
        let table: [(&[Window], i64); 6] = [
            (&[], 1),
            (&[window(1, 2), window(2, 3)], 3),
            (&[window(1, 2), window(3, 4)], 2),
            (&[window(2, 3)], 1),
            (&[window(0, 2), window(1, 3), window(1, 2)], 3),
            (&[window(0, 1)], 1),
        ];
        for (windows, expected) in table {
            assert_eq!(watermark(at(1), windows), at(expected), "{windows:?}");
        }
    }

    /// The watermark and the last firing of a dataset's job, if it ever ran. Another tenant's older
    /// windows and newer answers make no difference.
    fn stands(
        setting: &Setting<'_>,
        mut tasks: Vec<FoundTask>,
        days: Vec<FoundPartition>,
        of: Dataset,
    ) -> Option<ScheduleState> {
        for day in [5, 30] {
            let task = answered(&format!("another's {day}"), Dataset::MeetingList, day);
            tasks.push(of_another_tenant(task));
        }
        let found = lake(tasks, days);
        let windows = form(setting, &found);
        let schedules = super::of(setting, &found, &windows).expect("a cron expression");
        let mut of_job = schedules
            .into_iter()
            .filter(|row| row.job == of.as_str() && row.tenant == "acme");
        of_job.next().map(|row| row.state)
    }

    #[test]
    fn a_schedule_goes_on_from_the_jobs_start_or_the_oldest_window() {
        let days = |days: &[i64]| -> Vec<FoundTask> {
            let of_day = |day: &i64| answered(&day.to_string(), Dataset::MeetingList, *day);
            days.iter().map(of_day).collect()
        };
        let tenth = date(1970, 1, 11);
        let ninth = date(1970, 1, 10);
        let table = [
            (None, days(&[]), None),
            (None, days(&[10, 11]), Some(12)),
            (None, days(&[10, 12]), Some(11)),
            (Some(tenth), days(&[10, 11]), Some(12)),
            // The job begins before what is there, or after.
            (Some(ninth), days(&[10, 11]), Some(9)),
            (Some(tenth), days(&[8, 10]), Some(11)),
        ];
        for (start, tasks, expected) in table {
            let setting = setting_with(|job| job.start = start);
            let state = stands(&setting, tasks, vec![], Dataset::MeetingList);
            let watermark = state.map(|state| state.watermark);
            assert_eq!(watermark, expected.map(at), "{start:?}");
        }
    }

    #[test]
    fn firings_up_to_the_newest_answer_were_handled() {
        use Dataset::{MeetingList, ParticipantList};
        let hours = SignedDuration::from_hours;
        // The jobs fire at five.
        let answered_at = |instant: Timestamp| {
            let mut task = answered(&instant.to_string(), MeetingList, 10);
            task.input.extracted_at = Some(instant);
            task
        };
        let days = || {
            vec![
                partition(MeetingList, 10, &[]),
                partition(ParticipantList, 10, &[]),
            ]
        };
        let fired = |day| at(day) + hours(5);
        let table = [
            (vec![answered_at(at(12) + hours(6))], MeetingList, fired(12)),
            (vec![answered_at(at(12) + hours(4))], MeetingList, fired(11)),
            (
                [6, 30, 5]
                    .map(|hour| answered_at(at(12) + hours(hour)))
                    .to_vec(),
                MeetingList,
                fired(13),
            ),
            // Nothing was asked for by the meetings: their own answer counts.
            (
                vec![answered_at(at(12) + hours(6))],
                ParticipantList,
                fired(12),
            ),
            // Nothing was asked at all: the manifest was made at midnight.
            (vec![], MeetingList, fired(10)),
        ];
        for (tasks, dataset, expected) in table {
            let state = stands(&setting(), tasks, days(), dataset);
            let state = state.expect("a schedule");
            assert_eq!(state.last_firing, expected, "{dataset}");
        }
    }
}
