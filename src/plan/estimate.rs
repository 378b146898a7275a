//! What a plan costs: calls per endpoint, and the time they take at the quota.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::datasets::{CallLimits, Dataset, SourceMode};
use crate::job::JobSpec;

/// One endpoint's share of a plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EndpointLoad {
    /// The endpoint, as in the API reference.
    pub endpoint: String,
    /// Calls, if no poll comes too early and nothing fails.
    pub calls: u64,
    /// Calls per minute that the endpoint allows.
    pub per_minute: u32,
    /// Time the calls take at the quota, seconds.
    pub at_quota_s: u64,
}

/// The whole plan's cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Estimate {
    /// Every endpoint that is called.
    pub endpoints: Vec<EndpointLoad>,
    /// All calls.
    pub calls: u64,
    /// Time of the busiest endpoint, seconds: endpoints are limited separately and used side by
    /// side.
    pub at_quota_s: u64,
}

/// What is planned of a dataset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Tasks.
    pub tasks: u64,
    /// Rows that a task brought lately; a listing needs more calls the more it has.
    pub rows: u64,
    /// Which source is asked.
    pub mode: SourceMode,
    /// Whether what takes a call of its own is asked for too.
    pub is_fuller: bool,
    /// Whether the list is asked beside the export.
    pub is_compared: bool,
}

/// Cost of what is planned of each dataset.
#[must_use]
pub fn estimate(loads: &BTreeMap<Dataset, Load>, limits: &CallLimits) -> Estimate {
    let mut calls: BTreeMap<String, (u64, u32)> = BTreeMap::new();
    for (dataset, load) in loads {
        let own = dataset.source(load.mode, load.is_fuller);
        let list = dataset.definition().query.filter(|_| load.is_compared);
        let sources = [Some(own), list].into_iter().flatten();
        for (endpoint, of_a_task) in sources.flat_map(|source| source.calls(load.rows)) {
            let per_minute = limits.per_minute(endpoint.tier);
            let entry = calls.entry(endpoint.to_string());
            entry.or_insert((0, per_minute)).0 += load.tasks * of_a_task;
        }
    }
    let endpoints: Vec<_> = calls
        .into_iter()
        .filter(|(_, (calls, _))| *calls > 0)
        .map(|(endpoint, (calls, per_minute))| EndpointLoad {
            endpoint,
            calls,
            per_minute,
            // The first minute's worth goes at once.
            at_quota_s: calls.saturating_sub(1) / u64::from(per_minute.max(1)) * 60,
        })
        .collect();
    Estimate {
        calls: endpoints.iter().map(|load| load.calls).sum(),
        at_quota_s: endpoints
            .iter()
            .map(|load| load.at_quota_s)
            .max()
            .unwrap_or(0),
        endpoints,
    }
}

/// Days of the month for which a usual cost is told.
pub const MONTH_DAYS: u32 = 30;

/// How often the tasks of a window are asked for in a usual month, given how often the job fires in
/// it. What fans out from parents is asked for once, because its key changes with its parent; and
/// once more where an event `is_told` of, because what is asked for early is asked for again in the
/// night. Each firing takes a snapshot. Of all else, each firing asks for what the lookback
/// reaches, the newest window among it.
#[must_use]
pub fn asks_a_month(job: &JobSpec, firings: u64, is_told: bool) -> u64 {
    let windows = u64::from(MONTH_DAYS) / u64::from(job.window_days.max(1));
    let reached = u64::from(job.lookback_days) / u64::from(job.window_days.max(1));
    match job.dataset.parent() {
        None if job.dataset.is_snapshot() => firings,
        None => windows.max(firings * reached),
        Some(_) => windows * (1 + u64::from(is_told)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::job;

    #[test]
    fn a_month_has_what_firings_reach_and_each_child_once() {
        for (dataset, lookback_days, firings, asks) in [
            (Dataset::MeetingList, 0, 30, 30),
            (Dataset::MeetingList, 3, 30, 90),
            (Dataset::MeetingList, 3, 90, 270),
            // Fires on Mondays: every day is asked for all the same.
            (Dataset::MeetingList, 3, 4, 30),
            (Dataset::ParticipantList, 3, 90, 30),
            (Dataset::Recording, 3, 90, 30),
            (Dataset::Room, 3, 30, 30),
            (Dataset::RoomLevel, 0, 4, 4),
        ] {
            let mut job = job(dataset);
            job.lookback_days = lookback_days;
            let found = asks_a_month(&job, firings, false);
            assert_eq!(found, asks, "{dataset} {firings}");
        }
        assert_eq!(asks_a_month(&job(Dataset::Recording), 90, true), 60);
    }

    fn load(tasks: u64, rows: u64) -> Load {
        Load {
            tasks,
            rows,
            ..Load::default()
        }
    }

    #[test]
    fn all_exports_share_one_poll_and_one_download_endpoint() {
        let loads = BTreeMap::from([
            (Dataset::ParticipantList, load(150, 9_000)),
            (Dataset::ParticipantQualityList, load(151, 0)),
            (Dataset::DailyReport, load(7, 1)),
        ]);
        let estimate = estimate(&loads, &CallLimits::default());
        let poll = estimate
            .endpoints
            .iter()
            .find(|load| load.endpoint == "GET exports/:task_id")
            .expect("polls");
        assert_eq!((poll.calls, poll.at_quota_s), (301, 180));
        assert_eq!((estimate.calls, estimate.at_quota_s), (301 * 3 + 7, 180));
    }

    #[test]
    fn a_comparison_costs_the_pages_of_the_list_beside_the_export() {
        for (rows, calls) in [(0, 4), (100, 4), (250, 8)] {
            let compared = Load {
                is_compared: true,
                ..load(10, rows)
            };
            let loads = BTreeMap::from([(Dataset::MeetingList, compared)]);
            let estimate = estimate(&loads, &CallLimits::default());
            assert_eq!(estimate.calls, 10 * calls, "{rows} rows");
        }
    }

    #[test]
    fn a_listing_costs_by_what_it_listed_before() {
        for (dataset, rows, calls) in [
            (Dataset::Room, 0, 1),
            (Dataset::Room, 100, 1),
            // Three pages, and the first and the last one again.
            (Dataset::Room, 201, 5),
            // The root, what is below it, and at most a call for each level more.
            (Dataset::RoomLevel, 0, 2),
            (Dataset::RoomLevel, 12, 15),
        ] {
            let loads = BTreeMap::from([(dataset, load(1, rows))]);
            let estimate = estimate(&loads, &CallLimits::default());
            assert_eq!(estimate.calls, calls, "{rows} of {dataset}");
        }
    }
}
