//! What a plan costs: calls per endpoint, and the time they take at the quota.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::datasets::{CallLimits, Dataset};

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
    /// Rows that a day had lately; a listing needs more calls the more it has.
    pub rows: u64,
}

/// Cost of what is planned of each dataset.
#[must_use]
pub fn estimate(loads: &BTreeMap<Dataset, Load>, limits: &CallLimits) -> Estimate {
    let mut calls: BTreeMap<String, (u64, u32)> = BTreeMap::new();
    for (dataset, load) in loads {
        for (endpoint, of_a_task) in dataset.calls(load.rows) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn load(tasks: u64, rows: u64) -> Load {
        Load { tasks, rows }
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
