//! Learns how long each kind of export takes, so that one late poll finds it done.
//!
//! Polls are scarce: all kinds share one endpoint with 100 calls a minute, so 100 exports a minute
//! finish only if each needs one poll. Waiting longer costs nothing but a place among the tasks in
//! flight.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::datasets::Dataset;

/// First guess for a kind that was never exported, seconds. Public clients poll every five.
const FIRST_GUESS_S: f64 = 10.0;
const SHORTEST_S: f64 = 2.0;
const LONGEST_S: f64 = 120.0;
/// After a poll that came too early, wait a fifth longer.
const TOO_EARLY_FACTOR: f64 = 1.2;
/// After a poll that found the file, wait 0.5 % less.
const FOUND_FACTOR: f64 = 0.995;
/// An observation counts only if its waiting time was about the present one. So a burst of a
/// hundred polls is one observation, not a hundred.
const SAME_WAIT: f64 = 0.99;

/// The learned waiting times of one tenant; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Pace(Arc<Mutex<BTreeMap<Dataset, f64>>>);

impl Pace {
    /// How long after its submit an export of this kind is first polled.
    #[must_use]
    pub fn first_poll(&self, dataset: Dataset) -> Duration {
        Duration::from_secs_f64(
            self.seconds()
                .get(&dataset)
                .copied()
                .unwrap_or(FIRST_GUESS_S),
        )
    }

    /// Learns from a first poll that was made after `waited`.
    pub fn record_first_poll(&self, dataset: Dataset, waited: Duration, was_done: bool) {
        let mut seconds = self.seconds();
        let present = seconds.entry(dataset).or_insert(FIRST_GUESS_S);
        let waited = waited.as_secs_f64();
        let is_shorter = waited < *present * SAME_WAIT;
        let is_longer = waited * SAME_WAIT > *present;
        if is_shorter || was_done && is_longer {
            return;
        }
        let wanted = if was_done {
            *present * FOUND_FACTOR
        } else {
            waited * TOO_EARLY_FACTOR
        };
        *present = wanted.clamp(SHORTEST_S, LONGEST_S);
    }

    /// What was learned, for the ledger: seconds by dataset.
    #[must_use]
    pub fn learned(&self) -> BTreeMap<Dataset, f64> {
        self.seconds().clone()
    }

    /// Continues with what an earlier run learned. Times that nobody can have learned are ignored.
    pub fn restore(&self, learned: BTreeMap<Dataset, f64>) {
        let sound = learned
            .into_iter()
            .filter(|(_, s)| (SHORTEST_S..=LONGEST_S).contains(s));
        self.seconds().extend(sound);
    }

    fn seconds(&self) -> MutexGuard<'_, BTreeMap<Dataset, f64>> {
        self.0
            .lock()
            .expect("nothing panics while holding the waiting times")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Dataset = Dataset::ParticipantList;

    /// Batches of exports that take between `least` and `most` seconds; returns polls per export
    /// over the last half.
    fn polls_per_export(least: u64, most: u64) -> f64 {
        let pace = Pace::default();
        let (mut polls, mut exports) = (0u32, 0u32);
        let mut noise = 7u64;
        for batch in 0..600 {
            let waited = pace.first_poll(KIND);
            for _ in 0..20 {
                noise = noise
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let takes = Duration::from_millis(
                    least * 1000 + (noise >> 33) % ((most - least) * 1000 + 1),
                );
                pace.record_first_poll(KIND, waited, takes <= waited);
                if batch >= 300 {
                    exports += 1;
                    polls += 1 + u32::from(takes > waited);
                }
            }
        }
        f64::from(polls) / f64::from(exports)
    }

    #[test]
    fn one_poll_finds_most_exports_done() {
        for (least, most) in [(5, 5), (3, 9), (20, 60)] {
            let ratio = polls_per_export(least, most);
            assert!(ratio < 1.1, "{least}..{most} s: {ratio}");
        }
    }

    #[test]
    fn a_burst_of_early_polls_is_one_observation() {
        let pace = Pace::default();
        let waited = pace.first_poll(KIND);
        for _ in 0..100 {
            pace.record_first_poll(KIND, waited, false);
        }
        assert_eq!(pace.first_poll(KIND), Duration::from_secs(12));
    }

    #[test]
    fn what_was_learned_survives_and_nonsense_does_not() {
        let pace = Pace::default();
        pace.record_first_poll(KIND, Duration::from_secs(10), false);
        let later = Pace::default();
        later.restore(pace.learned());
        later.restore(BTreeMap::from([(Dataset::MeetingList, 1e9)]));
        assert_eq!(later.first_poll(KIND), pace.first_poll(KIND));
        assert_eq!(
            later.first_poll(Dataset::MeetingList),
            Duration::from_secs_f64(FIRST_GUESS_S)
        );
    }
}
