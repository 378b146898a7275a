//! When a job fires: a five-field cron expression in an IANA zone.
//!
//! It takes instants and gives instants. It does not know what a firing is for, nor what time it is
//! now. [`Schedule::clock_change_rule`] says what happens when clocks change.

use std::fmt;

use croner::parser::{CronParser, Seconds, Year};
use croner::{Cron, JobType};
use jiff::civil::Date;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp, Zoned};

use crate::window::Window;

const FIELDS: [&str; 5] = ["minute", "hour", "day of month", "month", "day of week"];

/// A cron expression that fires, in its zone.
///
/// ```
/// use jiff::{Timestamp, tz::TimeZone};
/// use meetlake::Schedule;
///
/// let nightly = Schedule::parse("0 5 * * *", TimeZone::get("Asia/Shanghai")?)?;
/// let noon: Timestamp = "2026-11-10T12:00:00Z".parse()?;
/// let firing = nightly.next_at_or_after(noon).expect("it fires");
/// assert_eq!(firing.to_string(), "2026-11-10T21:00:00Z");
/// assert!(Schedule::parse("0 25 * * *", TimeZone::UTC).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Schedule {
    cron: Cron,
    time_zone: TimeZone,
}

/// Why an expression is refused. The text continues "`expression` …".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not five fields.
    #[error(
        "has {0} fields; cron has five: minute, hour, day of month, month, day of week (seconds \
         are not possible)"
    )]
    FieldCount(usize),
    /// A field that cannot be read.
    #[error("has a wrong {field}; it may be {range}, *, lists, ranges and steps of them")]
    Field {
        /// Which of the five.
        field: &'static str,
        /// The values it may have.
        range: &'static str,
    },
    /// Cannot be read, although each field by itself can.
    #[error("is not a cron expression")]
    Unreadable,
    /// No date ever matches.
    #[error("never fires: no date matches its day and month")]
    NeverFires,
}

impl Schedule {
    /// Reads `minute hour day-of-month month day-of-week` in `time_zone`.
    ///
    /// Refusing an expression that never fires takes some ten milliseconds, because the search for
    /// its first date runs to the year 5000.
    ///
    /// # Errors
    /// Not five fields, a field out of its range, or an expression that never fires.
    pub fn parse(text: &str, time_zone: TimeZone) -> Result<Self, Error> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        if fields.len() != FIELDS.len() {
            return Err(Error::FieldCount(fields.len()));
        }
        let cron = parser()
            .parse(text)
            .map_err(|_| first_wrong(&fields).unwrap_or(Error::Unreadable))?;
        // Day, month and weekday repeat every 400 years, so the search may start anywhere.
        let origin = Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
        cron.find_next_occurrence(&origin, true)
            .map_err(|_| Error::NeverFires)?;
        Ok(Self { cron, time_zone })
    }

    /// The first firing after `instant`; `None` at the end of time.
    #[must_use]
    pub fn next_after(&self, instant: Timestamp) -> Option<Timestamp> {
        let next = instant.checked_add(SignedDuration::from_nanos(1)).ok()?;
        self.next_at_or_after(next)
    }

    /// The first firing at or after `instant`; `None` at the end of time.
    #[must_use]
    pub fn next_at_or_after(&self, instant: Timestamp) -> Option<Timestamp> {
        let second = whole_second_from(instant)?;
        let found = self.cron.find_next_occurrence(&self.local(second), true);
        found.ok().map(|zoned| zoned.timestamp())
    }

    /// The newest firing at or before `instant`; `None` at the beginning of time.
    #[must_use]
    pub fn previous_at_or_before(&self, instant: Timestamp) -> Option<Timestamp> {
        let found = self
            .cron
            .find_previous_occurrence(&self.local(instant), true);
        found.ok().map(|zoned| zoned.timestamp())
    }

    /// The firings after `instant`, in order.
    pub fn after(&self, instant: Timestamp) -> impl Iterator<Item = Timestamp> + '_ {
        std::iter::successors(self.next_after(instant), |firing| self.next_after(*firing))
    }

    /// An instant in the schedule's zone.
    #[must_use]
    pub fn local(&self, instant: Timestamp) -> Zoned {
        instant.to_zoned(self.time_zone.clone())
    }

    /// What happens when clocks change. One minute of one hour is a fixed time; everything else is
    /// an interval.
    #[must_use]
    pub fn clock_change_rule(&self) -> &'static str {
        match self.cron.determine_job_type() {
            JobType::FixedTime => {
                "a fixed time that is skipped fires at the first instant after the gap, one that \
                 comes twice fires once"
            }
            JobType::IntervalWildcard => {
                "several times a day leave out what is skipped, and fire in both hours of one \
                 that comes twice"
            }
        }
    }

    /// Whether day of month and day of week are both restricted. Then it fires on days that match
    /// either, as cron always did.
    #[must_use]
    pub fn days_are_alternatives(&self) -> bool {
        !self.cron.pattern.is_dom_wildcard() && !self.cron.pattern.is_dow_wildcard()
    }

    /// The first change of clocks after `instant`; `None` in a zone whose clocks no longer change.
    #[must_use]
    pub fn next_clock_change(&self, instant: Timestamp) -> Option<ClockChange> {
        // A zone that still changes its clocks does so within a year. Transitions to the same
        // offset are not a change.
        let change = self.time_zone.following(instant).take(8).find(|change| {
            let just_before = change.timestamp() - SignedDuration::from_nanos(1);
            self.time_zone.to_offset(just_before) != change.offset()
        })?;
        let at = change.timestamp();
        Some(ClockChange {
            before: self.time_zone.to_offset(at - SignedDuration::from_nanos(1)),
            after: self.local(at),
        })
    }

    /// What a change of clocks does to the firings of its civil day, in words.
    ///
    /// It compares the times that the expression names with the instants at which it fires that
    /// day.
    #[must_use]
    pub fn effect_of(&self, change: &ClockChange) -> String {
        let date = change.date();
        let plain = Self {
            cron: self.cron.clone(),
            time_zone: TimeZone::UTC,
        };
        let (Some(named), Some(fired)) = (plain.firings_on(date), self.firings_on(date)) else {
            return "no firing moves".to_owned();
        };
        match (named.as_slice(), fired.as_slice()) {
            ([], []) => "nothing fires that day".to_owned(),
            ([named], [fired]) if named.datetime() != fired.datetime() => format!(
                "{} does not exist and fires at {}",
                named.strftime("%H:%M"),
                fired.strftime("%H:%M %:z")
            ),
            ([_], [fired]) if change.comes_twice(fired) => format!(
                "{} comes twice and fires once, at {}",
                fired.strftime("%H:%M"),
                fired.strftime("%H:%M %:z")
            ),
            (named, fired) if named.len() == fired.len() => "no firing moves".to_owned(),
            (named, fired) => format!("it fires {} times in place of {}", fired.len(), named.len()),
        }
    }

    /// The firings of a civil day, in the schedule's zone; `None` at the end of time.
    fn firings_on(&self, date: Date) -> Option<Vec<Zoned>> {
        let day = Window::day(&self.time_zone, date)?;
        let mut firings = Vec::new();
        let mut next = self.next_at_or_after(day.start());
        while let Some(firing) = next.filter(|firing| day.contains(*firing)) {
            firings.push(self.local(firing));
            next = self.next_after(firing);
        }
        Some(firings)
    }
}

/// A change of clocks in a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClockChange {
    before: Offset,
    after: Zoned,
}

impl ClockChange {
    /// When it happens.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.after.timestamp()
    }

    /// The civil day on which it falls. If the change is at midnight, the day that ends.
    #[must_use]
    pub fn date(&self) -> Date {
        let (before, after) = (self.before.to_datetime(self.at()), self.after.datetime());
        if before < after && before.date() < after.date() {
            return before.date();
        }
        after.date().min(before.date())
    }

    /// How long that day is.
    #[must_use]
    pub fn day_length(&self) -> Option<SignedDuration> {
        Some(Window::day(self.after.time_zone(), self.date())?.length())
    }

    /// Whether clocks show this time both before and after the change.
    fn comes_twice(&self, time: &Zoned) -> bool {
        let (from, to) = (self.after.datetime(), self.before.to_datetime(self.at()));
        from <= time.datetime() && time.datetime() < to
    }
}

impl fmt::Display for ClockChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, offset) = (self.at(), self.after.offset());
        let from = self.before.to_datetime(at).strftime("%Y-%m-%d %H:%M");
        let to = self.after.strftime("%H:%M");
        write!(
            f,
            "clocks go from {from} to {to} (offset {} to {offset})",
            self.before
        )
    }
}

fn whole_second_from(instant: Timestamp) -> Option<Timestamp> {
    let second = instant.as_second() + i64::from(instant.subsec_nanosecond() > 0);
    Timestamp::from_second(second).ok()
}

/// The first field that cannot be read when all other fields are `*`.
fn first_wrong(fields: &[&str]) -> Option<Error> {
    const HINTS: [&str; 5] = [
        "0 to 59",
        "0 to 23",
        "1 to 31",
        "1 to 12 or JAN to DEC",
        "0 to 7 (0 and 7 are Sunday) or SUN to SAT",
    ];
    (0..FIELDS.len()).find_map(|index| {
        let mut alone = ["*"; 5];
        alone[index] = fields[index];
        let is_wrong = parser().parse(&alone.join(" ")).is_err();
        is_wrong.then(|| Error::Field {
            field: FIELDS[index],
            range: HINTS[index],
        })
    })
}

fn parser() -> CronParser {
    CronParser::builder()
        .seconds(Seconds::Disallowed)
        .year(Year::Disallowed)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn schedule(text: &str, zone: &str) -> Schedule {
        let zone = TimeZone::get(zone).expect("a zone of the bundled database");
        Schedule::parse(text, zone).expect("a schedule that fires")
    }

    fn error(text: &str) -> Error {
        Schedule::parse(text, TimeZone::UTC).expect_err("a schedule that is refused")
    }

    fn instant(text: &str) -> Timestamp {
        text.parse().expect("a literal instant")
    }

    fn local_firings(schedule: &Schedule, after: &str, count: usize) -> Vec<String> {
        schedule
            .after(instant(after))
            .take(count)
            .map(|firing| schedule.local(firing).strftime("%d %H:%M %:z").to_string())
            .collect()
    }

    #[test]
    fn a_fixed_time_in_a_gap_fires_at_the_first_instant_after_it() {
        let job = schedule("30 2 * * *", "America/New_York");
        let firings = local_firings(&job, "2026-03-07T12:00:00Z", 2);
        assert_eq!(firings, ["08 03:00 -04:00", "09 02:30 -04:00"]);
        let job = schedule("30 2 * * *", "Europe/Berlin");
        let firings = local_firings(&job, "2026-03-28T12:00:00Z", 2);
        assert_eq!(firings, ["29 03:00 +02:00", "30 02:30 +02:00"]);
    }

    #[test]
    fn a_fixed_time_that_comes_twice_fires_once() {
        let job = schedule("30 1 * * *", "America/New_York");
        let firings = local_firings(&job, "2026-10-31T12:00:00Z", 2);
        assert_eq!(firings, ["01 01:30 -04:00", "02 01:30 -05:00"]);
        // In the second half it does not fire again.
        let in_second_half = instant("2026-11-01T06:10:00Z");
        let next = job.next_after(in_second_half).expect("a firing");
        assert_eq!(next, instant("2026-11-02T06:30:00Z"));
    }

    #[test]
    fn an_interval_runs_in_both_halves_and_leaves_out_the_gap() {
        let job = schedule("*/30 * * * *", "Europe/Berlin");
        let firings = local_firings(&job, "2026-10-24T23:59:00Z", 6);
        let expected = [
            "25 02:00 +02:00",
            "25 02:30 +02:00",
            "25 02:00 +01:00",
            "25 02:30 +01:00",
            "25 03:00 +01:00",
            "25 03:30 +01:00",
        ];
        assert_eq!(firings, expected);
        let firings = local_firings(&job, "2026-03-29T00:29:00Z", 2);
        assert_eq!(firings, ["29 01:30 +01:00", "29 03:00 +02:00"]);
    }

    #[test]
    fn a_zone_without_changes_fires_every_24_hours() {
        let job = schedule("20 3 * * *", "Asia/Shanghai");
        let firings: Vec<_> = job
            .after(instant("2026-10-20T00:00:00Z"))
            .take(30)
            .collect();
        let day = SignedDuration::from_hours(24);
        assert!(
            firings
                .windows(2)
                .all(|pair| pair[1].duration_since(pair[0]) == day)
        );
        assert_eq!(job.next_clock_change(firings[0]), None);
    }

    #[test]
    fn an_expression_that_never_fires_is_refused() {
        assert_eq!(error("0 0 31 2 *"), Error::NeverFires);
        assert_eq!(error("0 0 30 2 *"), Error::NeverFires);
        assert_eq!(error("0 0 31 4,6,9,11 *"), Error::NeverFires);
        // Rare is not never.
        let leap = schedule("0 0 29 2 *", "UTC");
        let next = leap.next_after(instant("2026-01-01T00:00:00Z"));
        assert_eq!(next, Some(instant("2028-02-29T00:00:00Z")));
    }

    #[test]
    fn seconds_years_and_nicknames_are_refused() {
        assert_eq!(error("* * * * * *"), Error::FieldCount(6));
        assert_eq!(error("0 0 0 1 1 * 2027"), Error::FieldCount(7));
        assert_eq!(error("@daily"), Error::FieldCount(1));
        assert_eq!(error(""), Error::FieldCount(0));
    }

    #[test]
    fn the_wrong_field_is_named() {
        for (text, name) in [
            ("60 * * * *", "minute"),
            ("0 24 * * *", "hour"),
            ("0 0 32 * *", "day of month"),
            ("0 0 * FOO *", "month"),
            ("0 0 * * 8", "day of week"),
            ("0 0 * * MOND", "day of week"),
        ] {
            let Error::Field { field, .. } = error(text) else {
                panic!("{text}: {}", error(text));
            };
            assert_eq!(field, name, "{text}");
        }
    }

    #[test]
    fn a_day_of_month_and_a_day_of_week_are_alternatives() {
        let job = schedule("0 0 30 2 1", "UTC");
        assert!(job.days_are_alternatives());
        let firings = local_firings(&job, "2026-01-31T00:00:00Z", 2);
        assert_eq!(firings, ["02 00:00 +00:00", "09 00:00 +00:00"]);
        assert!(!schedule("0 0 * * 1", "UTC").days_are_alternatives());
    }

    #[test]
    fn a_firing_is_its_own_next_and_previous() {
        let job = schedule("20 3 * * *", "Asia/Shanghai");
        let firing = instant("2026-11-19T19:20:00Z");
        assert_eq!(job.next_at_or_after(firing), Some(firing));
        assert_eq!(job.previous_at_or_before(firing), Some(firing));
        assert_eq!(
            job.next_after(firing),
            Some(instant("2026-11-20T19:20:00Z"))
        );
        let just_after = firing + SignedDuration::from_nanos(1);
        assert_eq!(job.previous_at_or_before(just_after), Some(firing));
        assert_ne!(job.next_at_or_after(just_after), Some(firing));
        assert_eq!(job.next_at_or_after(Timestamp::MAX), None);
    }

    #[test]
    fn the_next_change_of_clocks_is_told_with_what_it_does_to_the_firings() {
        for (cron, zone, after, change, hours, effect) in [
            (
                "30 1 * * *",
                "America/New_York",
                "2026-10-30T00:00:00Z",
                "clocks go from 2026-11-01 02:00 to 01:00 (offset -04 to -05)",
                25,
                "01:30 comes twice and fires once, at 01:30 -04:00",
            ),
            (
                "30 2 * * *",
                "Europe/Berlin",
                "2026-11-01T00:00:00Z",
                "clocks go from 2027-03-28 02:00 to 03:00 (offset +01 to +02)",
                23,
                "02:30 does not exist and fires at 03:00 +02:00",
            ),
            (
                "0 5 * * *",
                "Europe/Berlin",
                "2026-11-01T00:00:00Z",
                "clocks go from 2027-03-28 02:00 to 03:00 (offset +01 to +02)",
                23,
                "no firing moves",
            ),
            (
                "*/30 * * * *",
                "Europe/Berlin",
                "2026-10-01T00:00:00Z",
                "clocks go from 2026-10-25 03:00 to 02:00 (offset +02 to +01)",
                25,
                "it fires 50 times in place of 48",
            ),
            (
                "0 5 1 * *",
                "Europe/Berlin",
                "2026-10-01T00:00:00Z",
                "clocks go from 2026-10-25 03:00 to 02:00 (offset +02 to +01)",
                25,
                "nothing fires that day",
            ),
        ] {
            let job = schedule(cron, zone);
            let found = job.next_clock_change(instant(after)).expect("a change");
            assert_eq!(found.to_string(), change);
            assert_eq!(
                found.day_length().map(|length| length.as_hours()),
                Some(hours)
            );
            assert_eq!(job.effect_of(&found), effect, "{cron} in {zone}");
        }
        assert_eq!(
            schedule("0 5 * * *", "Asia/Shanghai")
                .next_clock_change(instant("2026-10-01T00:00:00Z")),
            None
        );
    }

    proptest! {
        #[test]
        fn forwards_and_backwards_see_the_same_firings(
            zone_index in 0usize..4,
            cron_index in 0usize..4,
            second in 1_767_225_600i64..1_798_761_600,
        ) {
            let zones = [
                "America/New_York",
                "Europe/Berlin",
                "Asia/Shanghai",
                "Australia/Lord_Howe",
            ];
            let crons = ["30 2 * * *", "0 1 * * *", "*/15 * * * *", "15 1-3 * * *"];
            let job = schedule(crons[cron_index], zones[zone_index]);
            let now = Timestamp::from_second(second).expect("in 2026");
            let next = job.next_after(now).expect("a firing");
            prop_assert!(next > now);
            prop_assert_eq!(job.previous_at_or_before(next), Some(next));
            let previous = job.previous_at_or_before(now).expect("a firing");
            prop_assert!(previous <= now);
            prop_assert_eq!(job.next_after(previous), Some(next));
        }
    }
}
