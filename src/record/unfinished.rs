//! Rows that still tell of something unfinished when nobody asks for them any more: a meeting that
//! goes on although its list says that it ended, a recording that never became ready.

use std::fmt;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};

use super::WindowRow;
use crate::datasets::Dataset;
use crate::text::count;
use crate::window::date_of;

/// An answer that is so much younger than its meeting's end is final: nobody asks for it again.
pub const FINAL_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// Rows of one dataset that stay as they are, although they tell of something unfinished: those of
/// days that follow one another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Whose data.
    pub tenant: String,
    /// Which data.
    pub dataset: Dataset,
    /// How many rows.
    pub rows: u64,
    /// The first civil day with one, in the job's zone.
    pub from: Date,
    /// The first civil day after the last one.
    pub to: Date,
}

impl Unfinished {
    /// What the windows of one dataset of one tenant, in their order, hold of such rows at `now`.
    /// Of a window whose day ended less than [`FINAL_AFTER`] ago, they may still be asked for. Of
    /// what Feishu no longer answers for, nobody can ask.
    #[must_use]
    pub fn of<'r>(
        windows: impl IntoIterator<Item = &'r WindowRow>,
        zone: &TimeZone,
        now: Timestamp,
    ) -> Vec<Self> {
        let mut found: Vec<Self> = Vec::new();
        for row in windows {
            let rows = row.coverage.as_ref().map_or(0, |counts| counts.unfinished);
            let end = row.window.end();
            let since = row.dataset.answers_since(now);
            let is_forgotten = since.is_some_and(|since| row.window.start() < since);
            if rows == 0 || is_forgotten || now.duration_since(end) < FINAL_AFTER {
                continue;
            }
            let from = date_of(zone, row.window.start());
            let last = date_of(zone, end - SignedDuration::from_nanos(1));
            let to = last.saturating_add(1.day());
            match found.last_mut() {
                Some(before) if before.to >= from => {
                    before.rows += rows;
                    before.to = before.to.max(to);
                }
                _ => found.push(Self {
                    tenant: row.tenant.clone(),
                    dataset: row.dataset,
                    rows,
                    from,
                    to,
                }),
            }
        }
        found
    }
}

/// The sentence for people, with what they can do.
impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            tenant,
            dataset,
            rows,
            from,
            to,
        } = self;
        let states = dataset.definition().provisional;
        let states = states.map_or(String::new(), |(_, states)| states.join(" or "));
        let say = if *rows == 1 { "says" } else { "say" };
        let rows = count(*rows, "row");
        let last = to.saturating_sub(1.day());
        let days = match last == *from {
            true => from.to_string(),
            false => format!("{from} to {last}"),
        };
        write!(
            f,
            "{dataset}: {rows} of {days} still {say} {states} a day later; to ask once more, \
             `meetlake backfill --tenant {tenant} --dataset {dataset} --from {from} --to {to} --again`"
        )
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::plan::tests::window_row;
    use crate::record::{Coverage, WindowState};
    use crate::window::Window;

    #[test]
    fn only_what_nobody_asks_for_again_is_unfinished_for_good() {
        let zone = TimeZone::get("Asia/Shanghai").expect("a zone");
        let row = |day: i8, unfinished: u64| {
            let window = Window::day(&zone, date(2026, 11, day)).expect("a day");
            let mut row = window_row(Dataset::Meeting, window, WindowState::Settled);
            row.coverage = Some(Coverage {
                unfinished,
                ..Coverage::default()
            });
            row
        };
        let now: Timestamp = "2026-11-13T00:00:00+08:00".parse().expect("an instant");
        let of = |rows: &[WindowRow]| Unfinished::of(rows, &zone, now);
        let found = |rows, from: i8, to: i8| Unfinished {
            tenant: "acme".into(),
            dataset: Dataset::Meeting,
            rows,
            from: date(2026, 11, from),
            to: date(2026, 11, to),
        };
        assert_eq!(of(&[]), []);
        assert_eq!(of(&[row(10, 0)]), []);
        assert_eq!(of(&[row(11, 2)]), [found(2, 11, 12)], "a day ago");
        assert_eq!(of(&[row(12, 2)]), [], "may still be asked for");
        let all = [row(7, 1), row(8, 1), row(9, 0), row(10, 3), row(12, 5)];
        assert_eq!(of(&all), [found(2, 7, 9), found(3, 10, 11)]);
        let later = now + SignedDuration::from_hours(90 * 24);
        assert_eq!(Unfinished::of(&all, &zone, later), [], "forgotten");
    }

    #[test]
    fn a_person_is_told_how_many_of_which_days_and_what_to_do() {
        let mut found = Unfinished {
            tenant: "acme".into(),
            dataset: Dataset::Meeting,
            rows: 1,
            from: date(2026, 11, 10),
            to: date(2026, 11, 11),
        };
        assert_eq!(
            found.to_string(),
            "meeting: 1 row of 2026-11-10 still says calling or ongoing a day later; to ask once \
             more, `meetlake backfill --tenant acme --dataset meeting --from 2026-11-10 \
             --to 2026-11-11 --again`"
        );
        (found.rows, found.to) = (5, date(2026, 11, 13));
        let text = found.to_string();
        assert!(
            text.contains("5 rows of 2026-11-10 to 2026-11-12 still say"),
            "{text}"
        );
    }
}
