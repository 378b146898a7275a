//! Cuts the events that wait into batches, which are tasks.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use sha2::{Digest as _, Sha256};

use crate::datasets::{Dataset, Lineage, Request};
use crate::record::WaitingEvent;
use crate::task::{TaskOwner, TaskSpec, hex};
use crate::window::{Window, date_of};

/// The most events of a batch.
pub const MOST_EVENTS: usize = 5_000;
/// The most bytes of a batch. Its original is read as a whole.
const MOST_BYTES: u64 = 32 << 20;

/// Hex digits that tell the batches of a day apart.
const DIGITS: usize = 16;

/// Events of one civil day that are published together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventBatch {
    /// The task that publishes them.
    pub spec: TaskSpec,
    /// Their ids, in order.
    pub ids: Vec<String>,
}

/// The batches of events that wait: each of one civil day of the tenant's `zone`.
///
/// A batch is named by its events. So the same events make the same task, even where a ledger was
/// lost, and no other events ever do: a counter would give a later batch the name of one that is
/// published, which it would replace.
#[must_use]
pub fn batches(
    dataset: Dataset,
    owner: TaskOwner<'_>,
    zone: &TimeZone,
    waiting: &[WaitingEvent],
) -> Vec<EventBatch> {
    let mut by_day: BTreeMap<Date, Vec<&WaitingEvent>> = BTreeMap::new();
    for event in waiting {
        by_day
            .entry(date_of(zone, event.at))
            .or_default()
            .push(event);
    }
    let mut batches = Vec::new();
    for (date, mut events) in by_day {
        let Some(day) = Window::day(zone, date) else {
            continue;
        };
        events.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
        for events in cut(&events) {
            let mut ids: Vec<String> = events.iter().map(|event| event.id.clone()).collect();
            ids.sort_unstable();
            let (start, end) = (day.start().as_second(), day.end().as_second());
            let request = Request {
                batch: Some(digest(&ids)),
                ..Request::between(dataset, start, end)
            };
            let spec = TaskSpec::new(owner, day, request, Lineage::default());
            batches.push(EventBatch { spec, ids });
        }
    }
    batches
}

/// Cuts events into pieces that are not too large. An event is never cut.
fn cut<'e>(events: &'e [&'e WaitingEvent]) -> Vec<&'e [&'e WaitingEvent]> {
    let (mut pieces, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (index, event) in events.iter().enumerate() {
        let is_full = index - start == MOST_EVENTS || bytes + event.size_bytes > MOST_BYTES;
        if is_full && index > start {
            pieces.push(&events[start..index]);
            (start, bytes) = (index, 0);
        }
        bytes += event.size_bytes;
    }
    pieces.push(&events[start..]);
    pieces
}

fn digest(ids: &[String]) -> String {
    let mut hash = Sha256::new();
    for id in ids {
        // No id has a line break.
        hash.update(id.as_bytes());
        hash.update(b"\n");
    }
    let mut digits = hex(&hash.finalize());
    digits.truncate(DIGITS);
    digits
}

/// How long after the last batch of a day the next one is cut. Every batch is an original and a
/// line of every later manifest of its day, so the more there are, the longer is the wait: a day
/// has some 360 of them at most, and its last events wait for seven minutes.
#[must_use]
pub fn pause(batches_of_day: u64) -> Duration {
    Duration::from_secs(60 + batches_of_day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::owner;

    fn event(id: &str, at: &str, size_bytes: u64) -> WaitingEvent {
        WaitingEvent {
            id: id.to_owned(),
            at: at.parse().expect("an instant"),
            size_bytes,
        }
    }

    fn cut_in_shanghai(waiting: &[WaitingEvent]) -> Vec<EventBatch> {
        let zone = TimeZone::get("Asia/Shanghai").expect("a zone");
        batches(Dataset::MeetingEvent, owner(), &zone, waiting)
    }

    #[test]
    fn a_batch_is_of_one_civil_day_and_named_by_its_events() {
        let waiting = [
            event("b", "2026-11-10T15:59:59Z", 1),
            event("c", "2026-11-10T16:00:00Z", 1),
            event("a", "2026-11-10T15:00:00Z", 1),
        ];
        let found = cut_in_shanghai(&waiting);
        let of_days: Vec<(String, &[String])> = found
            .iter()
            .map(|batch| (batch.spec.window.start().to_string(), batch.ids.as_slice()))
            .collect();
        assert_eq!(
            of_days,
            [
                (
                    "2026-11-09T16:00:00Z".to_owned(),
                    &["a".to_owned(), "b".to_owned()][..]
                ),
                ("2026-11-10T16:00:00Z".to_owned(), &["c".to_owned()][..]),
            ]
        );
        // The order in which they came does not matter, which they are does.
        let mut other_order = waiting.clone();
        other_order.reverse();
        assert_eq!(cut_in_shanghai(&other_order), found);
        let fewer = cut_in_shanghai(&waiting[..2]);
        assert_ne!(fewer[0].spec.key, found[0].spec.key);
        assert_eq!(fewer[1], found[1]);
        // Pinned: under another name published events would be published again.
        let batch = found[0].spec.request.batch.as_deref();
        assert_eq!(batch, Some("911169ddaaf146af"));
        assert_eq!(cut_in_shanghai(&[]), []);
    }

    #[test]
    fn a_batch_is_bounded_and_every_event_is_in_one() {
        let many: Vec<WaitingEvent> = (0..2 * MOST_EVENTS + 1)
            .map(|n| event(&format!("{n:06}"), "2026-11-10T15:00:00Z", 1))
            .collect();
        let sizes: Vec<usize> = cut_in_shanghai(&many).iter().map(|b| b.ids.len()).collect();
        assert_eq!(sizes, [MOST_EVENTS, MOST_EVENTS, 1]);
        let large = [("a", 1), ("b", MOST_BYTES + 1), ("c", MOST_BYTES), ("d", 1)]
            .map(|(id, size)| event(id, "2026-11-10T15:00:00Z", size));
        let ids: Vec<Vec<String>> = cut_in_shanghai(&large).into_iter().map(|b| b.ids).collect();
        assert_eq!(ids, [["a"], ["b"], ["c"], ["d"]]);
    }

    #[test]
    fn a_day_has_a_bounded_number_of_batches() {
        let (mut seconds, mut batches) = (0, 0);
        while seconds < 86_400 {
            seconds += pause(batches).as_secs();
            batches += 1;
        }
        assert_eq!(pause(0).as_secs(), 60);
        assert!(batches < 400, "{batches}");
        assert!(pause(batches).as_secs() < 8 * 60);
    }
}
