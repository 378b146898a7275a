//! Turns civil days in a zone into half-open windows of instants, and cuts windows into pieces.
//!
//! Only this file turns a civil date into an instant. A day lasts from its first instant to the
//! first instant of the next day, so it has 23 or 25 hours when daylight saving changes. Whatever a
//! zone does at midnight, consecutive days touch and never overlap.

use std::fmt;
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

/// A half-open range of instants `[start, end)`; never empty, never reversed.
///
/// ```
/// use jiff::{civil::date, tz::TimeZone};
/// use meetlake::Window;
///
/// let zone = TimeZone::get("Europe/Berlin")?;
/// let day = Window::day(&zone, date(2026, 10, 25)).expect("a day");
/// assert_eq!(day.length().as_hours(), 25); // the clocks go back
/// let next = Window::day(&zone, date(2026, 10, 26)).expect("a day");
/// assert_eq!(day.end(), next.start());
/// assert!(Window::new(day.end(), day.start()).is_none());
/// # Ok::<(), jiff::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    start: Timestamp,
    end: Timestamp,
}

impl Window {
    /// The range `[start, end)`, or `None` if it would be empty or reversed.
    #[must_use]
    pub fn new(start: Timestamp, end: Timestamp) -> Option<Self> {
        (start < end).then_some(Self { start, end })
    }

    /// The days `[first, last_exclusive)` of `zone`, or `None` if there are none.
    #[must_use]
    pub fn days(zone: &TimeZone, first: Date, last_exclusive: Date) -> Option<Self> {
        Self::new(
            start_of_day(zone, first),
            start_of_day(zone, last_exclusive),
        )
    }

    /// The day `date` of `zone`; `None` for a date that the zone skipped, and at the end of time.
    #[must_use]
    pub fn day(zone: &TimeZone, date: Date) -> Option<Self> {
        Self::days(zone, date, date.tomorrow().ok()?)
    }

    /// First instant that belongs to the window.
    #[must_use]
    pub fn start(&self) -> Timestamp {
        self.start
    }

    /// First instant after the window.
    #[must_use]
    pub fn end(&self) -> Timestamp {
        self.end
    }

    /// Length in time, at least one nanosecond.
    #[must_use]
    pub fn length(&self) -> SignedDuration {
        self.end.duration_since(self.start)
    }

    /// Whether `instant` lies in `[start, end)`.
    #[must_use]
    pub fn contains(&self, instant: Timestamp) -> bool {
        self.start <= instant && instant < self.end
    }

    /// Whether all of `other` lies inside.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// Whether the two share an instant.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// The window widened by `margin` on both sides.
    #[must_use]
    pub fn widened(&self, margin: Duration) -> Self {
        let margin = SignedDuration::try_from(margin).unwrap_or(SignedDuration::MAX);
        Self {
            start: self.start.checked_sub(margin).unwrap_or(Timestamp::MIN),
            end: self.end.checked_add(margin).unwrap_or(Timestamp::MAX),
        }
    }

    /// The window, cut from its start into pieces no longer than `max_span`. The pieces touch, and
    /// the last may be shorter.
    ///
    /// A day of 25 hours with a span of one day gives a piece of 24 hours and one of an hour.
    #[must_use]
    pub fn split(&self, max_span: Duration) -> Vec<Self> {
        let span = SignedDuration::try_from(max_span.max(Duration::from_secs(1)))
            .unwrap_or(SignedDuration::MAX);
        let mut pieces = Vec::new();
        let mut start = self.start;
        while start < self.end {
            let end = start
                .checked_add(span)
                .map_or(self.end, |end| end.min(self.end));
            pieces.push(Self { start, end });
            start = end;
        }
        pieces
    }

    /// The parts of the window that none of `others` has, in order.
    #[must_use]
    pub fn less(&self, others: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let mut others: Vec<Self> = others.into_iter().collect();
        others.sort_unstable();
        let mut reached = self.start;
        let mut left = Vec::new();
        for other in others.iter().filter(|other| other.overlaps(self)) {
            left.extend(Self::new(reached, other.start));
            reached = reached.max(other.end);
        }
        left.extend(Self::new(reached, self.end));
        left
    }

    /// The same civil days in another zone; `None` if the window is not made of whole days of
    /// `from`.
    #[must_use]
    pub fn in_zone(&self, from: &TimeZone, to: &TimeZone) -> Option<Self> {
        let (first, last) = (date_of(from, self.start), date_of(from, self.end));
        (Self::days(from, first, last) == Some(*self))
            .then(|| Self::days(to, first, last))
            .flatten()
    }

    /// The civil dates of `zone` that the window touches, in order.
    #[must_use]
    pub fn dates(&self, zone: &TimeZone) -> Vec<Date> {
        let last_instant = self.end.checked_sub(1.nanosecond()).unwrap_or(self.start);
        let (mut date, last) = (date_of(zone, self.start), date_of(zone, last_instant));
        let mut dates = vec![date];
        while date < last {
            let Ok(next) = date.tomorrow() else { break };
            date = next;
            dates.push(date);
        }
        dates
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", self.start, self.end)
    }
}

/// The first day of the month after the one in which an instant lies.
#[must_use]
pub fn next_month(zone: &TimeZone, instant: Timestamp) -> Date {
    let last = date_of(zone, instant).last_of_month();
    last.tomorrow().unwrap_or(last)
}

/// First instant of `date` in `zone`. If midnight falls into a gap, the first instant after the
/// gap.
#[must_use]
pub fn start_of_day(zone: &TimeZone, date: Date) -> Timestamp {
    zone.to_ambiguous_zoned(date.at(0, 0, 0, 0))
        .compatible()
        .and_then(|midnight| midnight.start_of_day())
        .map_or_else(
            |_| {
                if date.year() > 0 {
                    Timestamp::MAX
                } else {
                    Timestamp::MIN
                }
            },
            |start| start.timestamp(),
        )
}

/// The civil date on which `instant` falls in `zone`.
#[must_use]
pub fn date_of(zone: &TimeZone, instant: Timestamp) -> Date {
    zone.to_datetime(instant).date()
}

/// The date of a daily-report bucket that starts at `date_unix`. It is the UTC date if the bucket
/// starts at a UTC midnight, as in the only documented example; else the date in `zone`. `None`
/// outside of years -9999 to 9999.
#[must_use]
pub fn bucket_date(zone: &TimeZone, date_unix: i64) -> Option<Date> {
    let instant = Timestamp::from_second(date_unix).ok()?;
    let zone = if date_unix.rem_euclid(86_400) == 0 {
        &TimeZone::UTC
    } else {
        zone
    };
    Some(date_of(zone, instant))
}

/// The days of `zone` from `first` on that are over at `now`, as windows of `days_per_window` days.
/// Windows are counted from `first`, so the same `first` always gives the same windows.
#[must_use]
pub fn closed_windows(
    zone: &TimeZone,
    first: Date,
    days_per_window: u16,
    now: Timestamp,
) -> Vec<Window> {
    let step = i64::from(days_per_window.max(1)).days();
    let mut windows = Vec::new();
    let mut start = first;
    while let Ok(end) = start.checked_add(step) {
        let window = Window::days(zone, start, end);
        if start_of_day(zone, end) > now {
            break;
        }
        windows.extend(window);
        start = end;
    }
    windows
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;
    use proptest::prelude::*;

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).expect("a zone of the bundled database")
    }

    #[test]
    fn days_follow_the_zone_and_not_24_hours() {
        let new_york = zone("America/New_York");
        let hours = |d| {
            Window::day(&new_york, d)
                .expect("a day")
                .length()
                .as_hours()
        };
        assert_eq!(hours(date(2026, 3, 8)), 23);
        assert_eq!(hours(date(2026, 11, 1)), 25);
        assert_eq!(hours(date(2026, 11, 2)), 24);
    }

    #[test]
    fn days_of_one_zone_are_the_same_days_of_another() {
        let (shanghai, new_york) = (zone("Asia/Shanghai"), zone("America/New_York"));
        let of = |zone: &TimeZone| Window::days(zone, date(2026, 10, 30), date(2026, 11, 3));
        let there = of(&shanghai).expect("days");
        let here = there.in_zone(&shanghai, &new_york).expect("whole days");
        assert_eq!(Some(here), of(&new_york));
        assert_eq!(here.length().as_hours(), 97); // the clocks go back
        assert_eq!(here.in_zone(&new_york, &shanghai), Some(there));
        assert_eq!(there.in_zone(&new_york, &shanghai), None);
    }

    #[test]
    fn a_day_whose_midnight_does_not_exist_starts_after_the_gap() {
        // Chile, 2026-09-06: 00:00 becomes 01:00.
        let santiago = zone("America/Santiago");
        let day = Window::day(&santiago, date(2026, 9, 6)).expect("a day");
        assert_eq!(day.start().to_string(), "2026-09-06T04:00:00Z");
        assert_eq!(day.length().as_hours(), 23);
    }

    #[test]
    fn a_date_that_a_zone_skipped_has_no_window() {
        // Samoa crossed the date line: 2011-12-30 did not happen.
        let apia = zone("Pacific/Apia");
        assert_eq!(Window::day(&apia, date(2011, 12, 30)), None);
        let before = Window::day(&apia, date(2011, 12, 29)).expect("a day");
        let after = Window::day(&apia, date(2011, 12, 31)).expect("a day");
        assert_eq!(before.end(), after.start());
    }

    #[test]
    fn a_long_day_splits_into_a_day_and_an_hour() {
        let day = Window::day(&zone("Europe/Berlin"), date(2026, 10, 25)).expect("a day");
        let hours: Vec<_> = day
            .split(Duration::from_secs(86_400))
            .iter()
            .map(|w| w.length().as_hours())
            .collect();
        assert_eq!(hours, [24, 1]);
    }

    #[test]
    fn a_bucket_at_utc_midnight_has_the_utc_date() {
        let shanghai = zone("Asia/Shanghai");
        assert_eq!(
            bucket_date(&shanghai, 1_609_113_600),
            Some(date(2020, 12, 28))
        );
        // 16:00 UTC is midnight of the next day in Shanghai.
        assert_eq!(
            bucket_date(&shanghai, 1_609_113_600 - 8 * 3600),
            Some(date(2020, 12, 28))
        );
    }

    #[test]
    fn only_closed_windows_are_counted() {
        let utc = TimeZone::UTC;
        let now: Timestamp = "2026-11-04T00:00:00Z".parse().expect("an instant");
        assert_eq!(closed_windows(&utc, date(2026, 11, 1), 1, now).len(), 3);
        assert_eq!(closed_windows(&utc, date(2026, 11, 1), 2, now).len(), 1);
        assert_eq!(closed_windows(&utc, date(2026, 11, 4), 1, now).len(), 0);
    }

    proptest! {
        #[test]
        fn split_tiles_a_window(
            start in 0i64..4_000_000_000,
            length in 1i64..10_000_000,
            span in 1u64..200_000,
        ) {
            let at = |s| Timestamp::from_second(s).expect("in range");
            let window = Window::new(at(start), at(start + length)).expect("not empty");
            let pieces = window.split(Duration::from_secs(span));
            prop_assert_eq!(pieces[0].start(), window.start());
            prop_assert_eq!(pieces[pieces.len() - 1].end(), window.end());
            for pair in pieces.windows(2) {
                prop_assert_eq!(pair[0].end(), pair[1].start());
            }
            let longest = SignedDuration::from_secs(span as i64);
            prop_assert!(pieces.iter().all(|piece| piece.length() <= longest));
        }

        #[test]
        fn what_is_left_of_a_window_is_what_no_other_has(
            others in proptest::collection::vec((0i64..40, 1i64..12), 0..8),
        ) {
            let at = |s| Timestamp::from_second(s).expect("in range");
            let window = |start, length| Window::new(at(start), at(start + length));
            let whole = window(10, 20).expect("not empty");
            let others: Vec<Window> = others.iter().filter_map(|(s, l)| window(*s, *l)).collect();
            let left = whole.less(others.iter().copied());
            for instant in (0..50).map(at) {
                let is_left = left.iter().any(|part| part.contains(instant));
                let is_elsewhere = others.iter().any(|other| other.contains(instant));
                prop_assert_eq!(is_left, whole.contains(instant) && !is_elsewhere);
            }
            prop_assert!(left.windows(2).all(|pair| pair[0].end() < pair[1].start()));
        }

        #[test]
        fn days_tile_the_time_line_in_any_zone(zone_index in 0usize..7, day in 0i64..6000) {
            let names = [
                "Asia/Shanghai",
                "America/New_York",
                "Europe/Berlin",
                "America/Santiago",
                "Australia/Lord_Howe",
                "Pacific/Apia",
                "Africa/Cairo",
            ];
            let zone = zone(names[zone_index]);
            let date = date(2010, 1, 1).checked_add(day.days()).expect("in range");
            let next = date.tomorrow().expect("in range");
            prop_assert!(start_of_day(&zone, date) <= start_of_day(&zone, next));
            if let Some(window) = Window::day(&zone, date) {
                prop_assert_eq!(date_of(&zone, window.start()), date);
                prop_assert_eq!(window.dates(&zone), vec![date]);
            }
        }
    }
}
