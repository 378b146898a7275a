//! What people read: tables, numbers, lengths and times with units, and counted days.

use std::collections::HashSet;
use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{DayOutcome, DayStatus};
use crate::findings::Comparison;
use crate::record::{Coverage, LastTry};
use crate::text::count;
pub use crate::text::number;

/// A table with a header, as a person reads it.
#[must_use]
pub fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    use comfy_table::{CellAlignment, Table};
    use comfy_table::{LineStyle, TableStyle};
    let line = LineStyle::none().fill('─').junction('─');
    let mut table = Table::new();
    table
        .load_style(TableStyle::new().header_separator(line))
        .set_header(header.iter().copied());
    let mut numeric = vec![true; header.len()];
    for row in rows {
        for (index, cell) in row.iter().enumerate() {
            let is_number = cell.starts_with(|c: char| c.is_ascii_digit()) && !cell.contains('-');
            if let Some(numeric) = numeric.get_mut(index) {
                *numeric &= is_number;
            }
        }
        table.add_row(row);
    }
    for (index, numeric) in numeric.into_iter().enumerate() {
        if let Some(column) = table.column_mut(index).filter(|_| numeric) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

/// A length with a unit: `512 B`, `1.2 MB`.
#[must_use]
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if n < 1000 {
        return format!("{n} B");
    }
    let mut value = n as f64;
    let mut unit = "B";
    for larger in UNITS {
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        unit = larger;
    }
    format!("{value:.1} {unit}")
}

/// A time span for people: `45 s`, `12 min`, `3 h 20 min`.
#[must_use]
pub fn span(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// The outcomes of some days, counted: `5 published, 1 waiting, 1 late`.
#[must_use]
pub fn outcomes<'d>(days: impl Iterator<Item = &'d DayStatus> + Clone) -> String {
    let counted = DayOutcome::ALL.map(|outcome| {
        let n = days.clone().filter(|day| day.outcome == outcome).count();
        (outcome.as_str(), n)
    });
    let late = days.filter(|day| day.late_s.is_some()).count();
    let parts: Vec<String> = counted
        .into_iter()
        .chain([("late", late)])
        .filter(|(_, n)| *n > 0)
        .map(|(what, n)| format!("{n} {what}"))
        .collect();
    parts.join(", ")
}

/// An instant in a zone, as a person reads it: `2026-11-19 05:00 +08:00`.
#[must_use]
pub fn instant(at: Timestamp, zone: &TimeZone) -> String {
    let local = at.to_zoned(zone.clone());
    local.strftime("%F %H:%M %:z").to_string()
}

/// When a task was last tried, and when it is again: what its failure names may be mended since.
#[must_use]
pub fn last_try(last_try: &LastTry, zone: &TimeZone, now: Timestamp) -> String {
    let next = match last_try.next {
        None => "not tried again by itself".to_owned(),
        Some(next) if next <= now => "again with the next run".to_owned(),
        Some(next) => format!("again from {} on", instant(next, zone)),
    };
    format!("last tried {}, {next}", instant(last_try.at, zone))
}

/// What a fan-out left out, and why.
#[must_use]
pub fn left_out(coverage: &Coverage) -> String {
    let reasons = [
        (coverage.no_id, "without a user or room id"),
        (coverage.not_ended, "not ended"),
        (
            coverage.below_min_participants,
            "below the job's least number of participants",
        ),
        (coverage.not_sampled, "outside the job's sample"),
        (coverage.over_max_tasks, "over the job's tasks per run"),
    ];
    let reasons: Vec<String> = reasons
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, why)| format!("{} {why}", number(*n)))
        .collect();
    let mut text = format!(
        "{} of {} parents asked for",
        number(coverage.planned),
        number(coverage.parents),
    );
    if !reasons.is_empty() {
        let _ = write!(text, "; left out: {}", reasons.join(", "));
    }
    let without_id = coverage.ambiguous + coverage.unresolved;
    if without_id > 0 {
        let without_id = match without_id {
            1 => "1 meeting of the list has".to_owned(),
            meetings => format!("{} meetings of the list have", number(meetings)),
        };
        let _ = write!(text, "; {without_id} no unique id");
        if coverage.ambiguous > 0 {
            let _ = write!(
                text,
                ", {} because several could be it",
                number(coverage.ambiguous)
            );
        }
        if coverage.hidden > 0 {
            let _ = write!(
                text,
                ", {} because the app may not see them",
                number(coverage.hidden)
            );
        }
    }
    let disagree = [
        (
            coverage.without_event,
            "meeting of the list ended without an event",
            "meetings of the list ended without an event",
        ),
        (
            coverage.not_listed,
            "meeting with an event is not in the list",
            "meetings with an event are not in the list",
        ),
    ];
    for (meetings, one, several) in disagree.iter().filter(|(meetings, ..)| *meetings > 0) {
        let what = if *meetings == 1 { one } else { several };
        let _ = write!(text, "; {} {what}", number(*meetings));
    }
    text
}

/// How an export's rows compare with those of the list beside it.
#[must_use]
pub fn compared(comparison: &Comparison) -> String {
    let Comparison {
        compared,
        not_compared,
        in_both,
        export_only,
        query_only,
        query_only_expected,
        differing,
    } = comparison;
    let mut text = match compared {
        0 => "not compared with the list".to_owned(),
        _ => format!(
            "compared with the list: {} rows in both, {} in the export only, {} in the list only",
            number(*in_both),
            number(*export_only),
            number(*query_only),
        ),
    };
    if *query_only_expected > 0 {
        let _ = write!(
            text,
            " ({} of them external meetings or webinars)",
            number(*query_only_expected)
        );
    }
    if !differing.is_empty() {
        let columns = differing.iter();
        let columns: Vec<String> = columns
            .map(|(column, rows)| format!("{column} of {}", number(*rows)))
            .collect();
        let _ = write!(text, "; they differ in {}", columns.join(", "));
    }
    if *not_compared > 0 && *compared > 0 {
        let _ = write!(
            text,
            "; {} of the list {} missing",
            count(*not_compared, "answer"),
            if *not_compared == 1 { "is" } else { "are" }
        );
    } else if *not_compared > 0 {
        text.push_str(", which did not answer; `meetlake doctor` says whether it may be asked");
    }
    text
}

/// The causes that a person was told already: many days may wait for one thing.
#[derive(Clone, Debug, Default)]
pub struct CauseList(HashSet<String>);

impl CauseList {
    /// The cause, if this is where it is first mentioned; later, that it is one of those before.
    pub fn first_mention<'c>(&mut self, cause: &'c str) -> &'c str {
        if self.0.insert(cause.to_owned()) {
            cause
        } else {
            "the same cause"
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::datasets::Dataset;

    #[test]
    fn a_comparison_says_who_has_what_and_where_they_differ() {
        let missing = Comparison::missing();
        let mut found = Comparison {
            compared: 2,
            in_both: 1_200,
            ..Comparison::default()
        };
        let alike = compared(&found);
        (
            found.export_only,
            found.query_only,
            found.query_only_expected,
        ) = (1, 3, 2);
        found.differing = [("end_time".to_owned(), 4)].into();
        found.add(&missing);
        assert_eq!(
            [compared(&missing), alike, compared(&found)],
            [
                "not compared with the list, which did not answer; `meetlake doctor` says whether \
                 it may be asked",
                "compared with the list: 1,200 rows in both, 0 in the export only, 0 in the list \
                 only",
                "compared with the list: 1,200 rows in both, 1 in the export only, 3 in the list \
                 only (2 of them external meetings or webinars); they differ in end_time of 4; 1 \
                 answer of the list is missing",
            ]
        );
    }

    #[test]
    fn numbers_and_lengths_are_easy_to_read() {
        assert_eq!(
            [number(0), number(999), number(1000), number(1_234_567)],
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(
            [bytes(999), bytes(1000), bytes(999_950), bytes(12_340_000)],
            ["999 B", "1.0 kB", "1.0 MB", "12.3 MB"]
        );
        assert_eq!(
            [span(59), span(600), span(12_000)],
            ["59 s", "10 min", "3 h 20 min"]
        );
    }

    #[test]
    fn days_are_counted_by_outcome_and_those_that_are_late_once_more() {
        let day = |outcome, late_s| DayStatus {
            tenant: "acme".into(),
            dataset: Dataset::MeetingList,
            dt: date(2026, 11, 10),
            outcome,
            rows: 0,
            expected_at: Timestamp::UNIX_EPOCH,
            late_s,
            why: None,
            last_try: None,
            cause: None,
            asked_at: None,
            is_on_its_way: false,
        };
        let days = [
            day(DayOutcome::Waiting, Some(5)),
            day(DayOutcome::Published, None),
            day(DayOutcome::Waiting, None),
        ];
        assert_eq!(outcomes(days.iter()), "1 published, 2 waiting, 1 late");
        assert_eq!(outcomes([].iter()), "");
    }

    #[test]
    fn a_last_try_says_when_the_next_one_is() {
        let zone = TimeZone::get("Asia/Shanghai").expect("a zone");
        let at: Timestamp = "2026-11-19T21:03:59Z".parse().expect("an instant");
        let now = at + jiff::SignedDuration::from_mins(30);
        let said = |next| last_try(&LastTry { at, next }, &zone, now);
        let tried = "last tried 2026-11-20 05:03 +08:00";
        assert_eq!(said(None), format!("{tried}, not tried again by itself"));
        assert_eq!(said(Some(at)), format!("{tried}, again with the next run"));
        let later = now + jiff::SignedDuration::from_mins(7);
        assert_eq!(
            said(Some(later)),
            format!("{tried}, again from 2026-11-20 05:40 +08:00 on")
        );
    }

    #[test]
    fn only_what_was_left_out_is_named() {
        let coverage = Coverage {
            parents: 1_200,
            planned: 1_000,
            no_id: 150,
            over_max_tasks: 50,
            ..Coverage::default()
        };
        let not_found = Coverage {
            parents: 5,
            planned: 5,
            ambiguous: 1,
            unresolved: 2,
            without_event: 1,
            not_listed: 2,
            ..Coverage::default()
        };
        assert_eq!(
            left_out(&not_found),
            "5 of 5 parents asked for; 3 meetings of the list have no unique id, 1 because \
             several could be it; 1 meeting of the list ended without an event; 2 meetings with an \
             event are not in the list"
        );
        assert_eq!(
            left_out(&coverage),
            "1,000 of 1,200 parents asked for; left out: 150 without a user or room id, \
             50 over the job's tasks per run"
        );
    }

    #[test]
    fn a_cause_is_told_where_it_is_first_mentioned() {
        let mut causes = CauseList::default();
        let told = ["a", "b", "a"].map(|cause| causes.first_mention(cause));
        assert_eq!(told, ["a", "b", "the same cause"]);
    }
}
