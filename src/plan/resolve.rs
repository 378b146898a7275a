//! Which unique meeting a row of a meeting list is (resources, 3).
//!
//! Both tell the number and the start, the list in text and the detail in Unix seconds. So they are
//! the same meeting if both are equal. Where they differ by a little, the only meeting nearby is
//! it. Of several, nobody knows.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::datasets::Parent;
use crate::record::Resolution;

/// How far the starts of one meeting may lie apart, seconds.
pub const NEARBY_S: u64 = 60;

/// Counts what became of the rows of a list: of each different number and start, whether one of the
/// meetings that were found is it. `hidden` are those that were found and may not be seen.
#[must_use]
pub fn resolve(listed: &[Parent], found: &[Parent], hidden: u64) -> Resolution {
    let mut ids: BTreeMap<&str, BTreeMap<i64, BTreeSet<&str>>> = BTreeMap::new();
    for meeting in found {
        let Some(id) = meeting.meeting_id.as_deref() else {
            continue;
        };
        let of_number = ids.entry(&meeting.meeting_no).or_default();
        let at_start = of_number.entry(meeting.start.as_second()).or_default();
        at_start.insert(id);
    }
    let rows: BTreeSet<(&str, Timestamp)> = listed
        .iter()
        .filter(|row| row.end.is_some())
        .map(|row| (row.meeting_no.as_str(), row.start))
        .collect();
    let mut counts = Resolution {
        hidden,
        ..Resolution::default()
    };
    for (number, start) in &rows {
        let start = start.as_second();
        let of_number = ids.get(number);
        let equal = of_number.and_then(|starts| starts.get(&start));
        // What is another row's by its own start is not this one's.
        let is_taken = |second: i64| {
            Timestamp::from_second(second).is_ok_and(|start| rows.contains(&(*number, start)))
        };
        let nearby = || {
            let around =
                start.saturating_sub_unsigned(NEARBY_S)..=start.saturating_add_unsigned(NEARBY_S);
            let starts = of_number
                .into_iter()
                .flat_map(|starts| starts.range(around.clone()));
            let free = starts.filter(|(second, _)| !is_taken(**second));
            free.map(|(_, ids)| ids.len()).sum()
        };
        match equal.map_or_else(nearby, BTreeSet::len) {
            0 => counts.unresolved += 1,
            1 => counts.resolved += 1,
            _ => counts.ambiguous += 1,
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::meeting;

    /// Rows as number and start; found meetings as number, start and id.
    fn counts(listed: &[(&str, i64)], found: &[(&str, i64, &str)]) -> (u64, u64, u64) {
        let at = |second| Timestamp::from_second(second).expect("in range");
        let listed: Vec<Parent> = listed
            .iter()
            .map(|(number, start)| meeting(number, at(*start), Some(at(start + 9)), 2))
            .collect();
        let found: Vec<Parent> = found
            .iter()
            .map(|(number, start, id)| Parent {
                meeting_id: Some((*id).to_owned()),
                ..meeting(number, at(*start), None, 2)
            })
            .collect();
        let counts = resolve(&listed, &found, 0);
        (counts.resolved, counts.ambiguous, counts.unresolved)
    }

    #[test]
    fn a_row_is_the_meeting_with_its_start_or_the_only_one_nearby() {
        for (listed, found, expected) in [
            (vec![("1", 1000)], vec![("1", 1000, "a")], (1, 0, 0)),
            (vec![("1", 1000)], vec![("2", 1000, "a")], (0, 0, 1)),
            (vec![("1", 1000)], vec![], (0, 0, 1)),
            // The same row in two exports, and the same meeting found twice.
            (
                vec![("1", 1000), ("1", 1000)],
                vec![("1", 1000, "a"), ("1", 1000, "a")],
                (1, 0, 0),
            ),
            (vec![("1", 1000)], vec![("1", 1060, "a")], (1, 0, 0)),
            (vec![("1", 1000)], vec![("1", 940, "a")], (1, 0, 0)),
            (vec![("1", 1000)], vec![("1", 1061, "a")], (0, 0, 1)),
            // An equal start decides, whatever is nearby.
            (
                vec![("1", 1000)],
                vec![("1", 1000, "a"), ("1", 1010, "b")],
                (1, 0, 0),
            ),
            (
                vec![("1", 1000)],
                vec![("1", 990, "a"), ("1", 1010, "b")],
                (0, 1, 0),
            ),
            (
                vec![("1", 1000)],
                vec![("1", 1000, "a"), ("1", 1000, "b")],
                (0, 1, 0),
            ),
            // What is nearby is the other row's.
            (
                vec![("1", 1000), ("1", 1030)],
                vec![("1", 1030, "b")],
                (1, 0, 1),
            ),
        ] {
            assert_eq!(counts(&listed, &found), expected, "{listed:?} {found:?}");
        }
    }

    #[test]
    fn a_meeting_that_has_not_ended_is_not_looked_for() {
        let at = Timestamp::from_second(1000).expect("in range");
        let listed = [meeting("1", at, None, 2)];
        assert_eq!(resolve(&listed, &[], 0), Resolution::default());
    }
}
