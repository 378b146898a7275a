//! A heat map of one tenant: days across, datasets down, an outcome a cell.
//!
//! Where the days are few, a cell shows a letter. In a year a day is three pixels wide, and the
//! shape of its bar is the sign. Either stands in the legend.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::ToSpan;
use jiff::civil::Date;
use maud::{Markup, html};

use super::{day_path, lateness};
use crate::datasets::Dataset;
use crate::status::text::number;
use crate::status::{DayOutcome, DayStatus};

/// Cells of so many days have room for a letter.
const WITH_LETTERS: i32 = 62;
/// The header of so many days has room for their numbers.
const WITH_NUMBERS: i32 = 35;

/// The days of one tenant.
#[derive(Clone, Debug)]
pub(super) struct Calendar<'d> {
    tenant: &'d str,
    first: Date,
    last: Date,
    rows: Vec<(Dataset, BTreeMap<Date, &'d DayStatus>)>,
}

impl<'d> Calendar<'d> {
    /// The calendar of the days in `[first, last]`, one row for each of the `datasets`.
    pub(super) fn new(
        tenant: &'d str,
        (first, last): (Date, Date),
        datasets: &[Dataset],
        days: &'d [DayStatus],
    ) -> Self {
        let of = |dataset: Dataset| {
            let of_dataset = days.iter().filter(move |day| day.dataset == dataset);
            let shown = of_dataset.filter(|day| first <= day.dt && day.dt <= last);
            (dataset, shown.map(|day| (day.dt, day)).collect())
        };
        Self {
            tenant,
            first,
            last,
            rows: datasets.iter().map(|dataset| of(*dataset)).collect(),
        }
    }

    fn dates(&self) -> impl Iterator<Item = Date> + use<> {
        let last = self.last;
        let dates = self.first.series(1.day());
        dates.take_while(move |date| *date <= last)
    }

    fn length(&self) -> i32 {
        self.last
            .since(self.first)
            .map_or(0, |span| span.get_days())
            + 1
    }

    pub(super) fn html(&self) -> Markup {
        let length = self.length();
        let class = match length <= WITH_LETTERS {
            true => "calendar letters",
            false => "calendar bars",
        };
        let label = format!("Days of {}, newest on the right", self.tenant);
        html! {
            div.(class) tabindex="0" role="group" aria-label=(label) {
                div.rows {
                    div.row {
                        div.name.range { (self.first) " to " (self.last) }
                        div.head aria-hidden="true" { (self.head(length)) }
                    }
                    @for (dataset, days) in &self.rows { (self.row(*dataset, days)) }
                }
            }
        }
    }

    /// Days of the month where there is room, else months. A cell's own label has the whole date.
    fn head(&self, length: i32) -> Markup {
        if length <= WITH_NUMBERS {
            return html! { @for date in self.dates() { span.f1 { (date.day()) } } };
        }
        let mut months: Vec<(Date, u32)> = Vec::new();
        for date in self.dates() {
            match months.last_mut() {
                Some((first, days)) if first.month() == date.month() => *days += 1,
                _ => months.push((date, 1)),
            }
        }
        html! {
            @for (first, days) in months {
                @let class = format!("f{days}");
                span.(class) { @if days > 9 { (first.strftime("%b %Y")) } }
            }
        }
    }

    fn row(&self, dataset: Dataset, days: &BTreeMap<Date, &DayStatus>) -> Markup {
        let late = days.values().filter(|day| day.late_s.is_some()).count();
        html! {
            div.row {
                div.name {
                    (dataset)
                    @if late > 0 { " " b.late { (late) " late" } }
                }
                div.cells {
                    @for date in self.dates() {
                        @match days.get(&date) {
                            Some(day) => (self.cell(day)),
                            None => i.n {},
                        }
                    }
                }
            }
        }
    }

    fn cell(&self, day: &DayStatus) -> Markup {
        let class = Appearance::of(day.outcome).class;
        let path = day_path(self.tenant, day.dataset, day.dt);
        let label = label(day);
        // A year has thousands of days that are well. The form leads to those by keyboard, and Tab
        // to those that are not.
        match is_well(day) {
            true => html! { a.(class) href=(path) aria-label=(label) tabindex="-1" {} },
            false => html! { a.(class) href=(path) aria-label=(label) {} },
        }
    }
}

/// Whether nobody has to look at a day.
const fn is_well(day: &DayStatus) -> bool {
    matches!(
        day.outcome,
        DayOutcome::Published | DayOutcome::Unchanged | DayOutcome::Empty | DayOutcome::Skipped
    )
}

/// What is said of a day when it is pointed at, or focused.
fn label(day: &DayStatus) -> String {
    let mut label = format!(
        "{} {}: {}",
        day.dataset,
        day.dt.strftime("%a %F"),
        day.outcome.as_str()
    );
    if day.rows > 0 {
        let _ = write!(label, ", {} rows", number(day.rows));
    }
    if let Some(late_s) = day.late_s {
        let _ = write!(label, ", {} late", lateness(late_s));
    }
    if let Some(why) = &day.why {
        let _ = write!(label, ": {why}");
    }
    label
}

/// How an outcome looks.
struct Appearance {
    /// Of the style, which has its colour, its letter and the shape of its bar.
    class: &'static str,
    /// What it means, for the legend.
    meaning: &'static str,
}

impl Appearance {
    const fn of(outcome: DayOutcome) -> Self {
        let (class, meaning) = match outcome {
            DayOutcome::Published => ("p", "in the lake"),
            DayOutcome::Unchanged => ("u", "in the lake; a later export gave the same"),
            DayOutcome::Empty => ("e", "in the lake, without a row"),
            DayOutcome::Partial => ("h", "in the lake, and something is missing"),
            DayOutcome::Quarantined => ("q", "an original broke its contract"),
            DayOutcome::Failed => ("f", "the attempts are used up"),
            DayOutcome::Lost => ("l", "Feishu no longer answers for it"),
            DayOutcome::Skipped => ("s", "left out by the job's policy"),
            DayOutcome::Waiting => ("w", "expected, and not there yet"),
        };
        Self { class, meaning }
    }
}

/// Every sign that a cell can show.
pub(super) fn legend() -> Markup {
    html! {
        ul.legend aria-label="Legend" {
            @for outcome in DayOutcome::ALL {
                @let Appearance { class, meaning } = Appearance::of(outcome);
                li {
                    span.letters { i.(class) {} }
                    span.bars { i.(class) {} }
                    b { (outcome.as_str()) } " " (meaning)
                }
            }
            li {
                span.letters { i.n {} }
                span.bars { i.n {} }
                b { "not expected" } " no job asks for it, or it is not due"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use jiff::Timestamp;
    use jiff::civil::date;

    use super::super::STYLE;
    use super::*;

    fn day(dt: i8, outcome: DayOutcome) -> DayStatus {
        DayStatus {
            tenant: "acme".into(),
            dataset: Dataset::MeetingList,
            dt: date(2026, 11, dt),
            outcome,
            rows: 1_234,
            expected_at: Timestamp::UNIX_EPOCH,
            late_s: None,
            why: None,
            last_try: None,
            cause: None,
            asked_at: None,
            is_on_its_way: false,
        }
    }

    fn html_of(days: &[DayStatus], range: (Date, Date)) -> String {
        let datasets = [Dataset::MeetingList, Dataset::TopUser];
        Calendar::new("acme", range, &datasets, days)
            .html()
            .into_string()
    }

    #[test]
    fn every_outcome_has_its_own_colour_letter_bar_and_entry_in_the_legend() {
        let classes: BTreeSet<&str> = DayOutcome::ALL.map(|of| Appearance::of(of).class).into();
        assert_eq!(classes.len(), DayOutcome::ALL.len());
        let legend = legend().into_string();
        let value = |class: &str, before: &str, key: &str| {
            let rule = format!("{before}.{class}{{");
            let found = STYLE.lines().map(|line| line.replace(' ', ""));
            let line = found
                .into_iter()
                .find(|line| line.starts_with(&rule.replace(' ', "")));
            let line = line.unwrap_or_else(|| panic!("the style lacks {rule}"));
            let (_, after) = line.split_once(&format!("{key}:")).expect("the key");
            after.split([';', '}']).next().expect("a value").to_owned()
        };
        let mut looks = [BTreeSet::new(), BTreeSet::new(), BTreeSet::new()];
        for outcome in DayOutcome::ALL {
            let class = Appearance::of(outcome).class;
            assert!(
                legend.contains(&format!("<b>{}</b>", outcome.as_str())),
                "{outcome:?}"
            );
            looks[0].insert(value(class, "", "--c"));
            looks[1].insert(value(class, "", "--letter"));
            looks[2].insert(value(class, "", "--bar"));
        }
        assert!(legend.contains("<b>not expected</b>"));
        let counts = looks.map(|of| of.len());
        assert_eq!(counts, [DayOutcome::ALL.len(); 3]);
    }

    #[test]
    fn a_day_is_told_whole_and_only_what_is_not_well_is_in_the_way_of_tab() {
        let mut failed = day(11, DayOutcome::Failed);
        (failed.late_s, failed.why) = (Some(7_200), Some("<b> & \"x\"".into()));
        let days = [day(10, DayOutcome::Published), failed];
        let html = html_of(&days, (date(2026, 11, 9), date(2026, 11, 12)));
        for part in [
            "<a class=\"p\" href=\"/day/acme/meeting_list/2026-11-10\" aria-label=\"meeting_list \
             Tue 2026-11-10: published, 1,234 rows\" tabindex=\"-1\"></a>",
            "<a class=\"f\" href=\"/day/acme/meeting_list/2026-11-11\" aria-label=\"meeting_list \
             Wed 2026-11-11: failed, 1,234 rows, 2 h 0 min late: &lt;b&gt; &amp; &quot;x&quot;\"></a>",
            "<div class=\"name\">meeting_list <b class=\"late\">1 late</b></div>",
            "<div class=\"name\">top_user</div>",
        ] {
            assert!(html.contains(part), "{part}\n{html}");
        }
        assert_eq!(html.matches("<i class=\"n\">").count(), 2 + 4);
        assert!(html.contains("calendar letters") && html.contains("<span class=\"f1\">12</span>"));
    }

    #[test]
    fn a_year_has_months_above_it() {
        let html = html_of(&[], (date(2025, 11, 29), date(2026, 11, 28)));
        assert!(html.contains("calendar bars"));
        assert_eq!(html.matches("<i class=\"n\">").count(), 2 * 365);
        assert!(html.contains("<span class=\"f2\"></span><span class=\"f31\">Dec 2025</span>"));
        assert!(html.contains("<span class=\"f28\">Nov 2026</span></div>"));
    }
}
