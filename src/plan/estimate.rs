//! What a plan costs: calls per endpoint, and the time they take at the quota.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::dataset::Dataset;

/// Calls per minute that each kind of endpoint allows.
#[derive(Clone, Copy, Debug)]
pub struct Quota {
    /// Each export endpoint, the poll and the download.
    pub exports_per_minute: u32,
    /// Each report endpoint; unpublished, so this is what the client assumes until it is told.
    pub reports_per_minute: u32,
}

/// One endpoint's share of a plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EndpointLoad {
    /// The endpoint, as in the API reference.
    pub endpoint: &'static str,
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

/// Cost of so many tasks of each dataset.
#[must_use]
pub fn estimate(tasks: &BTreeMap<Dataset, u64>, quota: Quota) -> Estimate {
    let mut calls: BTreeMap<&'static str, (u64, u32)> = BTreeMap::new();
    for (dataset, &tasks) in tasks {
        let (endpoint, per_minute) = match dataset {
            Dataset::DailyReport => ("GET reports/get_daily", quota.reports_per_minute),
            Dataset::TopUser => ("GET reports/get_top_user", quota.reports_per_minute),
            Dataset::MeetingList => ("POST exports/meeting_list", quota.exports_per_minute),
            Dataset::ParticipantList => ("POST exports/participant_list", quota.exports_per_minute),
            Dataset::ParticipantQualityList => (
                "POST exports/participant_quality_list",
                quota.exports_per_minute,
            ),
            Dataset::ResourceReservationList => (
                "POST exports/resource_reservation_list",
                quota.exports_per_minute,
            ),
        };
        let endpoints = [endpoint, "GET exports/:task_id", "GET exports/download"];
        for endpoint in &endpoints[..if dataset.is_report() { 1 } else { 3 }] {
            calls.entry(endpoint).or_insert((0, per_minute)).0 += tasks;
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

    #[test]
    fn all_exports_share_one_poll_and_one_download_endpoint() {
        let tasks = BTreeMap::from([
            (Dataset::ParticipantList, 150),
            (Dataset::ParticipantQualityList, 151),
            (Dataset::DailyReport, 7),
        ]);
        let estimate = estimate(
            &tasks,
            Quota {
                exports_per_minute: 100,
                reports_per_minute: 60,
            },
        );
        let poll = estimate
            .endpoints
            .iter()
            .find(|load| load.endpoint == "GET exports/:task_id")
            .expect("polls");
        assert_eq!((poll.calls, poll.at_quota_s), (301, 180));
        assert_eq!((estimate.calls, estimate.at_quota_s), (301 * 3 + 7, 180));
    }
}
