//! The first page: whether a person is needed and for what, a calendar a tenant, what comes next.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use maud::{Markup, html};

use super::calendar::{Calendar, legend};
use super::{beside_serve, command_line, day_path, days, lateness, local, shell, tried};
use crate::datasets::Dataset;
use crate::disk::Room;
use crate::ledger::Attention;
use crate::status::DayStatus;
use crate::status::text::{bytes, number, span};
use crate::status::verdict::{Trouble, Verdict};

/// Days of a calendar, at most and if nothing is older.
pub const MOST_DAYS: u16 = 365;
const FEWEST_DAYS: u16 = 28;
/// Ranges to choose from, days.
const RANGES: [(u16, &str); 3] = [(28, "4 weeks"), (91, "3 months"), (MOST_DAYS, "a year")];
/// Tasks that need attention that the page is given, the newest.
pub const MOST_TASKS: u32 = 100;
/// Problems that are shown.
const PROBLEMS: usize = 20;
/// It is said first that Feishu forgets something within so many days.
const SOON_DAYS: i64 = 14;
/// It is said of a day that Feishu forgets it within so many days.
const FORGOTTEN_DAYS: i64 = 45;
/// Less than this share of a disk left is told as a problem, percent.
const LITTLE_ROOM: u64 = 5;

/// What the page is made of.
#[derive(Clone, Debug)]
pub struct OverviewPage<'a> {
    /// When it was made.
    pub now: Timestamp,
    /// All tenants, each with the zone in which its days are cut.
    pub tenants: &'a [(String, TimeZone)],
    /// The one that was asked for; all without.
    pub only: Option<&'a str>,
    /// Days of a calendar that were asked for.
    pub length: Option<u16>,
    /// The late days, folded.
    pub verdict: &'a Verdict,
    /// Days of each tenant that were not looked into.
    pub more: &'a BTreeMap<String, usize>,
    /// Tenants with a calendar, each with its datasets and its days.
    pub calendars: &'a [TenantDays],
    /// Tasks that somebody should look at.
    pub attention: &'a [Attention],
    /// When each job fires next.
    pub firings: &'a [Firing],
    /// Tasks whose rows wait in the spool.
    pub spooled: u64,
    /// What there is room for on the disks of ledger and spool.
    pub rooms: &'a [Room],
}

/// The days of a tenant.
#[derive(Clone, Debug)]
pub struct TenantDays {
    /// Whose.
    pub tenant: String,
    /// Its datasets, parents before children.
    pub datasets: Vec<Dataset>,
    /// Its days of the last year.
    pub days: Vec<DayStatus>,
    /// The date by its own zone.
    pub today: Date,
}

/// When a job fires next.
#[derive(Clone, Debug)]
pub struct Firing {
    /// Its name.
    pub job: String,
    /// When.
    pub at: Timestamp,
    /// By whose clock.
    pub zone: TimeZone,
}

/// The first day of a calendar that ends with `today`: of so many days as were asked for, or from
/// the oldest known day on.
#[must_use]
fn first_shown(today: Date, length: Option<u16>, oldest: Option<Date>) -> Date {
    let back = |days: u16| today.saturating_sub((i64::from(days) - 1).days());
    match length {
        Some(days) => back(days.clamp(7, MOST_DAYS)),
        None => oldest
            .map_or(Date::MAX, |oldest| oldest)
            .clamp(back(MOST_DAYS), back(FEWEST_DAYS)),
    }
}

impl OverviewPage<'_> {
    /// The page.
    #[must_use]
    pub fn html(&self) -> String {
        let content = html! {
            (self.answer())
            (self.problems())
            @if !self.calendars.is_empty() {
                section {
                    h2 { "Days" }
                    (self.ranges())
                    @for of in self.calendars {
                        @if self.names_tenants() { h3 { (of.tenant) } }
                        (self.calendar(of))
                    }
                    (legend())
                }
            }
            @if self.names_tenants() { (self.tenant_list()) }
            (self.day_form())
            (self.attention())
            (self.next())
        };
        shell("meetlake", &content)
    }

    /// Whether several tenants are told of.
    fn names_tenants(&self) -> bool {
        self.tenants.len() > 1 && self.only.is_none()
    }

    /// The zone of a tenant.
    fn zone_of(&self, tenant: &str) -> TimeZone {
        let found = self.tenants.iter().find(|(name, _)| name == tenant);
        found.map_or(TimeZone::UTC, |(_, zone)| zone.clone())
    }

    /// The zone of the tenant that was asked for, or of the first.
    fn zone(&self) -> TimeZone {
        let first = self.tenants.first().map(|(name, _)| name.as_str());
        self.zone_of(self.only.or(first).unwrap_or_default())
    }

    /// Whether a person is needed, before all else.
    fn answer(&self) -> Markup {
        let needs_a_person = self.verdict.problems.iter().any(|of| of.needs_a_person);
        let class = match (needs_a_person, self.verdict.is_well()) {
            (true, _) => "answer needed",
            (false, false) => "answer waiting",
            (false, true) => "answer well",
        };
        // What is forgotten already is no news, and what comes with another comes with its alarm.
        let of_its_own = self.verdict.problems.iter();
        let of_its_own = of_its_own.filter(|of| of.comes_with.is_none());
        let left = of_its_own
            .filter_map(|of| of.days_left)
            .filter(|left| (0..=SOON_DAYS).contains(left))
            .min();
        let rooms = self.rooms.iter();
        let little = rooms.filter(|room| room.left < room.all / 100 * LITTLE_ROOM);
        html! {
            div.(class) role="status" {
                h1 { (self.verdict.sentence()) }
                @if let Some(left) = left {
                    p.alarm { (forgotten_in(left)) }
                }
                @for room in little {
                    p.alarm { "Only " (bytes(room.left)) " are left on the disk of " (room.of) "." }
                }
                p.when {
                    "As of " (local(self.now, &self.zone()))
                    @if let Some(tenant) = self.only {
                        ", tenant " b { (tenant) } ". " a href="/" { "All tenants" }
                    }
                }
            }
        }
    }

    fn problems(&self) -> Markup {
        let problems = &self.verdict.problems;
        let more = problems.len().saturating_sub(PROBLEMS);
        html! {
            @if !problems.is_empty() {
                section {
                    h2 { "Late" }
                    ol.problems {
                        @for problem in problems.iter().take(PROBLEMS) { (self.problem(problem)) }
                    }
                    @if more > 0 { p { "… and " (more) " more like these; ask for one tenant." } }
                    (beside_serve())
                }
            }
        }
    }

    fn problem(&self, problem: &Trouble) -> Markup {
        let class = if problem.needs_a_person {
            "needed"
        } else {
            "waiting"
        };
        let range = match problem.first == problem.last {
            true => problem.first.to_string(),
            false => format!("{} to {}", problem.first, problem.last),
        };
        html! {
            li.(class) {
                p.what {
                    b {
                        @if self.names_tenants() { (problem.tenant) " " }
                        (problem.dataset)
                    }
                    " " (days(problem.days)) " " (problem.outcome.as_str()) ": "
                    a href=(day_path(&problem.tenant, problem.dataset, problem.first)) { (range) }
                    ", late for " (lateness(problem.late_s)) "."
                    @if problem.needs_a_person { " " strong { "Needs a person." } }
                }
                p.why {
                    @if problem.days > 1 { "The first: " }
                    (problem.why) "."
                    @if let Some(parent) = problem.comes_with { " It comes with " b { (parent) } "." }
                    @if let Some(left) = problem.days_left.filter(|left| *left <= FORGOTTEN_DAYS) {
                        " " (forgotten_in(left))
                    }
                }
                @if let Some(last) = &problem.last_try {
                    (tried(last, &self.zone_of(&problem.tenant), self.now))
                }
                @if problem.needs_a_person { p { (command_line(&problem.command())) } }
            }
        }
    }

    fn ranges(&self) -> Markup {
        html! {
            p.ranges {
                @for (days, name) in RANGES {
                    @let tenant = self.only.map_or(String::new(), |of| format!("&tenant={of}"));
                    @let path = format!("/?days={days}{tenant}");
                    @match self.length == Some(days) {
                        true => a href=(path) aria-current="true" { (name) },
                        false => a href=(path) { (name) },
                    }
                    " "
                }
            }
        }
    }

    fn calendar(&self, of: &TenantDays) -> Markup {
        let oldest = of.days.iter().map(|day| day.dt).min();
        let first = first_shown(of.today, self.length, oldest);
        Calendar::new(&of.tenant, (first, of.today), &of.datasets, &of.days).html()
    }

    /// All tenants, those with late days first.
    fn tenant_list(&self) -> Markup {
        let mut late: BTreeMap<&str, (bool, usize)> = BTreeMap::new();
        for problem in &self.verdict.problems {
            let (needs_a_person, days) = late.entry(problem.tenant.as_str()).or_default();
            *needs_a_person |= problem.needs_a_person;
            *days += problem.days;
        }
        let of = |name: &str| late.get(name).copied().unwrap_or_default();
        let mut tenants: Vec<(&str, (bool, usize))> = self
            .tenants
            .iter()
            .map(|(name, _)| (name.as_str(), of(name)))
            .collect();
        tenants.sort_by_key(|(name, (needs, days))| (!needs, usize::MAX - days, *name));
        html! {
            section {
                h2 { "Tenants" }
                ul.tenants {
                    @for (name, (needs_a_person, late)) in tenants {
                        li {
                            a href=(format!("/?tenant={name}")) { (name) }
                            @match late {
                                0 if self.more.contains_key(name) => " may be late",
                                0 => " nothing late",
                                late => { " " b.late { (days(late)) " late" } },
                            }
                            @if needs_a_person { " (needs a person)" }
                        }
                    }
                }
            }
        }
    }

    /// Leads to any day, by keyboard too.
    fn day_form(&self) -> Markup {
        let of_calendars = self
            .calendars
            .iter()
            .flat_map(|of| of.datasets.iter().copied());
        let mut datasets: Vec<Dataset> = of_calendars.collect();
        if datasets.is_empty() {
            datasets = Dataset::ALL.to_vec();
        }
        datasets.sort_unstable();
        datasets.dedup();
        let today = self.now.to_zoned(self.zone()).date();
        let yesterday = today.yesterday().unwrap_or(today);
        html! {
            section {
                h2 { "A day" }
                form action="/day" method="get" {
                    label { "tenant " select name="tenant" {
                        @for (name, _) in self.tenants {
                            option value=(name) selected[Some(name.as_str()) == self.only] { (name) }
                        }
                    } }
                    label { "dataset " select name="dataset" {
                        @for dataset in datasets { option { (dataset) } }
                    } }
                    label { "date " input type="date" name="dt" value=(yesterday) required; }
                    button { "Show" }
                }
            }
        }
    }

    /// Tasks that failed, folded by cause.
    fn attention(&self) -> Markup {
        let mut folded: BTreeMap<_, (usize, &Attention)> = BTreeMap::new();
        for task in self.attention {
            // Of one cause each task has a sentence of its own, with numbers and log ids.
            let phase = task.phase.as_str();
            let key = (&task.tenant, task.dataset, phase, task.failure.cause);
            folded.entry(key).or_insert((0, task)).0 += 1;
        }
        html! {
            section {
                h2 { "Tasks that failed" }
                @if folded.is_empty() {
                    p { "Nothing needs attention." }
                } @else {
                    @if self.attention.len() >= MOST_TASKS as usize {
                        p { "Of the newest " (MOST_TASKS) ":" }
                    }
                    ul.tasks {
                        @for (tasks, task) in folded.values() {
                            @let zone = self.zone_of(&task.tenant);
                            li {
                                b {
                                    @if self.names_tenants() { (task.tenant) " " }
                                    (task.dataset)
                                }
                                " " (number(*tasks as u64)) " " (task.phase.as_str())
                                " (" (task.failure.cause) "). The newest, of the window from "
                                (local(task.window_start, &zone)) ": "
                                (task.failure.message)
                                (tried(&task.last_try, &zone, self.now))
                            }
                        }
                    }
                }
            }
        }
    }

    /// What comes next, and what there is room for.
    fn next(&self) -> Markup {
        let mut firings: BTreeMap<(Timestamp, String), Vec<&str>> = BTreeMap::new();
        for firing in self.firings {
            let at = (firing.at, local(firing.at, &firing.zone));
            firings.entry(at).or_default().push(&firing.job);
        }
        html! {
            section {
                h2 { "Next" }
                @if firings.is_empty() { p { "No job fires." } }
                ul.firings {
                    @for ((at, local), jobs) in firings {
                        @let in_s = at.duration_since(self.now).as_secs().unsigned_abs();
                        li {
                            time datetime=(at) { (local) }
                            " in " (span(in_s)) ": " b { (jobs.join(", ")) }
                        }
                    }
                }
            }
            section {
                h2 { "Spool and disk" }
                p {
                    @match self.spooled {
                        0 => "Nothing waits in the spool to be published.",
                        1 => "The rows of 1 task wait in the spool to be published.",
                        tasks => { "The rows of " (number(tasks)) " tasks wait in the spool to be published." },
                    }
                    @for room in self.rooms {
                        " " (bytes(room.left)) " of " (bytes(room.all)) " are left on the disk of " (room.of) "."
                    }
                }
            }
        }
    }
}

/// How long Feishu still answers for a day.
fn forgotten_in(days_left: i64) -> String {
    match days_left {
        ..0 => "Feishu has forgotten it.".to_owned(),
        0 => "Feishu forgets it today.".to_owned(),
        1 => "Feishu forgets it in 1 day.".to_owned(),
        left => format!("Feishu forgets it in {left} days."),
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::cause::{Cause, Failure};
    use crate::record::{LastTry, Phase};
    use crate::status::DayOutcome;

    fn problem(needs_a_person: bool) -> Trouble {
        Trouble {
            tenant: "acme".into(),
            dataset: Dataset::TopUser,
            outcome: DayOutcome::Failed,
            first: date(2026, 9, 10),
            last: date(2026, 9, 12),
            days: 2,
            late_s: 7_200,
            why: "<b> is 'gone'".into(),
            comes_with: None,
            cause: Some(Cause::Scope),
            last_try: Some(LastTry {
                at: "2026-11-27T21:03:00Z".parse().expect("an instant"),
                next: None,
            }),
            needs_a_person,
            days_left: Some(3),
        }
    }

    fn verdict(problems: Vec<Trouble>) -> Verdict {
        Verdict { problems, more: 0 }
    }

    fn page(verdict: &Verdict, attention: &[Attention], left: u64) -> String {
        let tenants = [("acme".to_owned(), TimeZone::UTC)];
        let calendars = [TenantDays {
            tenant: "acme".into(),
            datasets: vec![Dataset::TopUser],
            days: vec![],
            today: date(2026, 11, 28),
        }];
        let now = "2026-11-28T04:00:00Z".parse().expect("an instant");
        let firings = [Firing {
            job: "top_user".into(),
            at: "2026-11-28T19:20:00Z".parse().expect("an instant"),
            zone: TimeZone::get("Asia/Shanghai").expect("a zone"),
        }];
        let page = OverviewPage {
            now,
            tenants: &tenants,
            only: None,
            length: None,
            verdict,
            more: &BTreeMap::new(),
            calendars: &calendars,
            attention,
            firings: &firings,
            spooled: 0,
            rooms: &[Room {
                of: "ledger and spool".into(),
                left,
                all: 100,
            }],
        };
        page.html()
    }

    fn has_all(page: &str, parts: &[&str]) {
        for part in parts {
            assert!(page.contains(part), "{part}\n{page}");
        }
    }

    #[test]
    fn a_quiet_lake_is_said_to_be_quiet() {
        let page = page(&Verdict::default(), &[], 50);
        has_all(
            &page,
            &[
                "<h1>Nobody is needed: no day is late.</h1>",
                "As of Sat 2026-11-28 04:00 UTC",
                "Nothing needs attention.",
                "Nothing waits in the spool to be published. 50 B of 100 B are left",
                ">Sun 2026-11-29 03:20 Asia/Shanghai</time> in 15 h 20 min: <b>top_user</b>",
            ],
        );
        for absent in [
            "<h2>Late</h2>",
            "<h2>Tenants</h2>",
            "<style",
            "<script",
            " style=",
        ] {
            assert!(!page.contains(absent), "{absent}\n{page}");
        }
    }

    #[test]
    fn a_problem_says_what_since_when_why_and_what_to_type() {
        let verdict = verdict(vec![problem(true)]);
        let failure = |message| Failure::new(Cause::Gone, message);
        let attention = ["\"x\" > y", "\"x\" > y"].map(|message| Attention {
            key: "k".into(),
            tenant: "acme".into(),
            dataset: Dataset::TopUser,
            window_start: Timestamp::UNIX_EPOCH,
            phase: Phase::Failed,
            attempts: 3,
            failure: failure(message),
            last_try: LastTry {
                at: Timestamp::UNIX_EPOCH,
                next: None,
            },
        });
        let found = page(&verdict, &attention, 4);
        has_all(
            &found,
            &[
                "<h1>A person is needed: 2 days are late and will not come without one.</h1>",
                "<p class=\"alarm\">Feishu forgets it in 3 days.</p>",
                "<p class=\"alarm\">Only 4 B are left on the disk of ledger and spool.</p>",
                "<b>top_user</b> 2 days failed: <a href=\"/day/acme/top_user/2026-09-10\">\
                     2026-09-10 to 2026-09-12</a>, late for 2 h 0 min. <strong>Needs a person.",
                "The first: &lt;b&gt; is 'gone'. Feishu forgets it in 3 days.</p>\
                     <p class=\"why\">It was last tried 2026-11-27 21:03 +00:00, not tried again by \
                     itself.</p>",
                "<code class=\"command\">meetlake doctor</code>",
                "<b>top_user</b> 2 failed (gone). The newest, of the window from Thu 1970-01-01 00:00 UTC: \
                     &quot;x&quot; &gt; y<p class=\"why\">It was last tried 1970-01-01 00:00 +00:00, not \
                     tried again by itself.</p></li>",
            ],
        );
        assert!(!found.contains("<b> is"));
    }

    #[test]
    fn an_alarm_is_of_what_can_still_be_fetched_and_of_nothing_else() {
        let forgotten = "Feishu has forgotten it.";
        let in_3_days = "Feishu forgets it in 3 days.";
        for (days_left, comes_with, alarm, said) in [
            (Some(15), None, None, Some("Feishu forgets it in 15 days.")),
            (Some(3), None, Some(in_3_days), Some(in_3_days)),
            (
                Some(0),
                None,
                Some("Feishu forgets it today."),
                Some("Feishu forgets it today."),
            ),
            (Some(-1), None, None, Some(forgotten)),
            (Some(-40), None, None, Some(forgotten)),
            (Some(3), Some(Dataset::MeetingList), None, Some(in_3_days)),
            (None, None, None, None),
        ] {
            let of = Trouble {
                days_left,
                comes_with,
                ..problem(true)
            };
            let page = page(&verdict(vec![of]), &[], 50);
            let alarms = page.matches("<p class=\"alarm\">").count();
            assert_eq!(alarms, usize::from(alarm.is_some()), "{days_left:?}");
            let alarm = alarm.map(|alarm| format!("<p class=\"alarm\">{alarm}</p>"));
            assert!(
                alarm.is_none_or(|alarm| page.contains(&alarm)),
                "{days_left:?}"
            );
            let why = page.split("The first: ").nth(1).expect("why");
            let why = why.split("</p>").next().expect("one paragraph");
            assert_eq!(why.contains("Feishu"), said.is_some(), "{why}");
            assert!(said.is_none_or(|said| why.contains(said)), "{why}");
        }
        // What is forgotten hides nothing that is not.
        let both = [-3, 5].map(|left| Trouble {
            days_left: Some(left),
            ..problem(true)
        });
        let page = page(&verdict(both.into()), &[], 50);
        has_all(
            &page,
            &["<p class=\"alarm\">Feishu forgets it in 5 days.</p>"],
        );
    }

    #[test]
    fn a_page_is_well_only_if_all_was_looked_into() {
        for (problems, more, class) in [
            (vec![], 0, "answer well"),
            (vec![], 7, "answer waiting"),
            (vec![problem(false)], 0, "answer waiting"),
            (vec![problem(true)], 7, "answer needed"),
        ] {
            let page = page(&Verdict { problems, more }, &[], 50);
            has_all(&page, &[&format!("<div class=\"{class}\"")]);
        }
    }

    #[test]
    fn what_is_tried_again_by_itself_asks_for_nothing() {
        let verdict = verdict(vec![problem(false)]);
        let page = page(&verdict, &[], 50);
        has_all(
            &page,
            &["<h1>Nobody is needed: 2 days are late and tried again by themselves."],
        );
        assert!(!page.contains("class=\"command\""));
    }

    #[test]
    fn a_calendar_begins_with_the_oldest_day_or_as_asked() {
        let today = date(2026, 11, 28);
        for (length, oldest, expected) in [
            (None, None, date(2026, 11, 1)),
            (None, Some(date(2026, 11, 20)), date(2026, 11, 1)),
            (None, Some(date(2026, 8, 5)), date(2026, 8, 5)),
            (None, Some(date(2020, 1, 1)), date(2025, 11, 29)),
            (Some(28), Some(date(2020, 1, 1)), date(2026, 11, 1)),
            (Some(1), None, date(2026, 11, 22)),
            (Some(9_999), None, date(2025, 11, 29)),
        ] {
            assert_eq!(
                first_shown(today, length, oldest),
                expected,
                "{length:?} {oldest:?}"
            );
        }
    }
}
