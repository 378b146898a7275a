//! What the simulator received: the counts that a test or a person asks for afterwards.
//!
//! [`Tally`] counts while requests come in; [`Report`] is what it knows at an instant.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::endpoint::Endpoint;

/// Distinct parameters listed among the duplicates; more are only counted.
const LISTED_DUPLICATES: usize = 50;
const WINDOW_US: i64 = 60_000_000;

/// What was received and answered since the start.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Real seconds since the clock was made.
    pub seconds_since_start: f64,
    /// Simulated seconds since then.
    pub simulated_seconds_since_start: f64,
    /// By endpoint; those that were never called are absent.
    pub endpoints: BTreeMap<&'static str, EndpointReport>,
    /// Answers by HTTP status; a connection dropped by a fault has none.
    pub answers_by_status: BTreeMap<u16, u64>,
    /// Answers by the service's code; -1 for a body without one.
    pub answers_by_code: BTreeMap<i64, u64>,
    /// Accepted exports by kind.
    pub exports_submitted: BTreeMap<&'static str, u64>,
    /// Accepted exports of a kind and parameters that had been accepted before.
    pub duplicate_submits: u64,
    /// Those among them whose export before had been polled by then, so that whoever asked knew its id. An answer lost after that is none more.
    pub duplicates_of_polled: u64,
    /// How often each was accepted, by kind and parameters; at most 50 of them.
    pub duplicates: BTreeMap<String, u64>,
    /// Polls that were answered with a state.
    pub polls: u64,
    /// Exports that a poll has seen done or failed.
    pub finished_exports: u64,
    /// Polls per finished export, the last one included; 0 without any.
    pub polls_per_finished_export: f64,
    /// Files sent, whole or not.
    pub downloads: u64,
    /// Bytes of the files that were made.
    pub download_bytes: u64,
    /// Tenant tokens issued, not counting the same one again.
    pub tenant_tokens_issued: u64,
    /// Pairs of user tokens issued.
    pub user_tokens_issued: u64,
    /// How often each fault has struck.
    pub faults_struck: BTreeMap<&'static str, u64>,
    /// Parameters that no endpoint knows, as `endpoint.name`: misspelt ones, most likely.
    pub unknown_parameters: BTreeSet<String>,
}

/// What one endpoint received.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EndpointReport {
    /// Requests, whatever the answer.
    pub calls: u64,
    /// Requests answered with 99991400.
    pub rate_limited: u64,
    /// Most requests within any 60 simulated seconds.
    pub max_calls_in_60s: u64,
}

impl Report {
    /// The endpoints that nobody called.
    #[must_use]
    pub fn never_called(&self) -> Vec<&'static str> {
        let names = Endpoint::ALL.into_iter().map(Endpoint::name);
        names
            .filter(|name| !self.endpoints.contains_key(name))
            .collect()
    }
}

/// The counts while they grow.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    report: Report,
    windows: BTreeMap<Endpoint, VecDeque<i64>>,
    /// Accepted submits by hash of kind and parameters.
    submits: HashMap<u64, u64>,
    /// The same hash by the id of each export.
    exports: HashMap<String, u64>,
    /// Hashes whose newest export was polled.
    polled: HashSet<u64>,
    polls_of_finished: u64,
}

impl Tally {
    /// Counts a request at the simulated instant `now_us`; gives its number on the endpoint, from 0.
    pub(crate) fn request(&self, endpoint: Endpoint, now_us: i64) -> u64 {
        let mut state = self.lock();
        let window = state.windows.entry(endpoint).or_default();
        window.push_back(now_us);
        while window.front().is_some_and(|&at| at <= now_us - WINDOW_US) {
            window.pop_front();
        }
        let in_window = window.len() as u64;
        let counts = state.report.endpoints.entry(endpoint.name()).or_default();
        counts.max_calls_in_60s = counts.max_calls_in_60s.max(in_window);
        counts.calls += 1;
        counts.calls - 1
    }

    /// Counts an answer.
    pub(crate) fn answer(&self, endpoint: Endpoint, status: u16, code: i64) {
        let mut state = self.lock();
        *state.report.answers_by_status.entry(status).or_default() += 1;
        *state.report.answers_by_code.entry(code).or_default() += 1;
        if code == 99_991_400 {
            state
                .report
                .endpoints
                .entry(endpoint.name())
                .or_default()
                .rate_limited += 1;
        }
    }

    /// Counts an accepted export, which got `id`.
    pub(crate) fn submitted(&self, endpoint: Endpoint, parameters: &str, id: &str) {
        let mut hasher = DefaultHasher::new();
        (endpoint, parameters).hash(&mut hasher);
        let hash = hasher.finish();
        let mut state = self.lock();
        state.exports.insert(id.to_owned(), hash);
        *state
            .report
            .exports_submitted
            .entry(endpoint.name())
            .or_default() += 1;
        let times = state.submits.entry(hash).or_default();
        *times += 1;
        let times = *times;
        if times == 1 {
            return;
        }
        state.report.duplicate_submits += 1;
        if state.polled.remove(&hash) {
            state.report.duplicates_of_polled += 1;
        }
        let key = format!("{} {parameters}", endpoint.name());
        if state.report.duplicates.len() < LISTED_DUPLICATES
            || state.report.duplicates.contains_key(&key)
        {
            state.report.duplicates.insert(key, times);
        }
    }

    /// Counts an answered poll of the export `id`; `finished_after` when it was the first to see the export finished.
    pub(crate) fn polled(&self, id: &str, finished_after: Option<u64>) {
        let mut state = self.lock();
        if let Some(hash) = state.exports.get(id).copied() {
            state.polled.insert(hash);
        }
        state.report.polls += 1;
        if let Some(polls) = finished_after {
            state.report.finished_exports += 1;
            state.polls_of_finished += polls;
        }
    }

    /// Counts a file.
    pub(crate) fn downloaded(&self, size_bytes: u64) {
        let mut state = self.lock();
        state.report.downloads += 1;
        state.report.download_bytes += size_bytes;
    }

    /// Notes parameters that nobody knows.
    pub(crate) fn unknown_parameters(&self, endpoint: Endpoint, names: Vec<String>) {
        if names.is_empty() {
            return;
        }
        let names = names
            .into_iter()
            .map(|name| format!("{}.{name}", endpoint.name()));
        self.lock().report.unknown_parameters.extend(names);
    }

    /// What was counted so far, without what others know.
    pub(crate) fn report(&self) -> Report {
        let state = self.lock();
        let mut report = state.report.clone();
        if report.finished_exports > 0 {
            report.polls_per_finished_export =
                state.polls_of_finished as f64 / report.finished_exports as f64;
        }
        report
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_minute_is_remembered() {
        let tally = Tally::default();
        for second in [0, 1, 2, 61, 62, 200] {
            tally.request(Endpoint::Poll, second * 1_000_000);
        }
        let report = tally.report();
        assert_eq!(
            report.endpoints["poll"],
            EndpointReport {
                calls: 6,
                rate_limited: 0,
                max_calls_in_60s: 3
            }
        );
    }

    #[test]
    fn duplicates_are_counted_and_listed() {
        let tally = Tally::default();
        for (id, parameters) in ["a", "b", "a", "a", "a"].into_iter().enumerate() {
            if id == 3 {
                tally.polled("2", None);
            }
            tally.submitted(Endpoint::MeetingList, parameters, &id.to_string());
        }
        let report = tally.report();
        assert_eq!(report.duplicate_submits, 3);
        // The fourth; that of the fifth was never polled, so its answer may have been lost.
        assert_eq!(report.duplicates_of_polled, 1);
        assert_eq!(
            report.duplicates,
            BTreeMap::from([("meeting_list a".to_owned(), 4)])
        );
    }
}
