//! Alerts: a list of pages for each day that is over, whose rows change for a while.

use std::time::Duration;

use jiff::Timestamp;
use meetlake::testing::dataset::Dataset;
use meetlake::testing::run::Scope;
use meetlake_simulator::AlertPages;

use crate::app::{Setup, TestApp};
use crate::lake::{self, Row};
use crate::truth::Truth;

/// Two items a page, so that each of the company's days has three pages at least.
const PAGE: usize = 2;

fn setup() -> Setup {
    let setup = Setup::fast().only(&[Dataset::Alert]);
    setup.knobs(|knobs| knobs.page_size = PAGE)
}

fn calls(app: &TestApp) -> u64 {
    let endpoints = app.report().endpoints;
    endpoints.get("alerts").map_or(0, |of| of.calls)
}

fn assert_true(app: &TestApp) {
    let now = app.setup.options.clock.now();
    let truth = Truth::of(app.server().company(), now);
    let differences = truth.differences_of(&app.lake(), Dataset::Alert);
    assert!(differences.is_empty(), "{differences:#?}");
}

fn rows(app: &TestApp) -> Vec<Row> {
    lake::rows(&app.lake(), Dataset::Alert)
}

#[test]
fn alerts_are_those_of_the_company_and_stay_so() {
    let app = setup().start();
    let summary = app.reconcile();
    assert!(summary.is_settled(), "{summary:?}");
    assert_true(&app);
    let alerts = app.server().company().alerts();
    let nested = alerts.iter().filter(|alert| alert.is_nested);
    let plain = alerts.iter().filter(|alert| !alert.is_nested);
    assert!(nested.count() > 0 && plain.count() > 0, "both spellings");
    assert!(alerts.iter().any(|alert| alert.is_deprecated));
    let extra: Vec<_> = rows(&app)
        .into_iter()
        .map(|row| row["_extra"].clone())
        .collect();
    assert!(extra.iter().all(serde_json::Value::is_null), "{extra:?}");

    let before = (app.calls(), app.content_hashes());
    let again = app.reconcile_scope(&Scope::Due);
    assert!(again.is_settled() && again.datasets.is_empty(), "{again:?}");
    let verified = app.meetlake(&["verify"]);
    assert_eq!(verified.code, 0, "{verified:?}");
    let (from, to) = (app.first_day().to_string(), app.end_day().to_string());
    let replayed = app.meetlake(&["replay", "--from", &from, "--to", &to]);
    assert_eq!(replayed.code, 0, "{replayed:?}");
    std::fs::remove_file(app.path("meetlake.db")).expect("a lost ledger");
    let rebuilt = app.meetlake(&["ledger", "rebuild"]);
    assert_eq!(rebuilt.code, 0, "{rebuilt:?}");
    let after = app.reconcile();
    assert!(after.is_settled(), "{after:?}");
    assert_eq!(
        (app.calls(), app.content_hashes()),
        before,
        "nobody was asked again"
    );
}

#[test]
fn an_alert_at_midnight_stands_once_whatever_the_end_of_a_window_means() {
    let lakes = [false, true].map(|end_inclusive| {
        let app = setup().knobs(|knobs| knobs.end_inclusive = end_inclusive);
        let app = app.start();
        let summary = app.reconcile();
        assert!(summary.is_settled(), "{summary:?}");
        assert_true(&app);
        app.content_hashes()
    });
    let of_both: Vec<_> = lakes[0].keys().collect();
    assert!(of_both.len() >= 2, "{of_both:?}");
    assert!(lakes[1].keys().eq(of_both));
}

#[test]
fn an_alert_that_recovers_is_read_again() {
    let app = setup().job(Dataset::Alert, "").start();
    let job = "version = 1\ndataset = \"alert\"\ncron = \"0 5 * * *\"\nsettle_delay = \"1m\"\n\
               lookback = \"7d\"\n";
    app.write(
        "jobs/alert.toml",
        &format!("{job}start = {}\n", app.first_day()),
    );
    let summary = app.reconcile_scope(&Scope::Due);
    assert!(summary.is_settled(), "{summary:?}");
    assert_true(&app);
    let open = |rows: &[Row]| {
        rows.iter()
            .filter(|row| row["status"] != "recovered")
            .count()
    };
    let before = rows(&app);
    // Two days later most of what recovers in the morning has recovered.
    app.setup
        .options
        .clock
        .advance(Duration::from_secs(2 * 86_400));
    let now = app.setup.options.clock.now();
    let mut command = app.command(&["run"]);
    command.env(
        "MEETLAKE_TEST_CLOCK",
        format!("{now}@{}", crate::app::SPEED),
    );
    let run = crate::app::finish(&mut command);
    assert_eq!(run.code, 0, "{run:?}");
    assert_true(&app);
    let after = rows(&app);
    assert_eq!(before.len(), after.len());
    assert!(
        open(&after) < open(&before),
        "{} {}",
        open(&before),
        open(&after)
    );
}

#[test]
fn pages_that_contradict_one_another_double_nothing_and_hide_nothing() {
    let overlapping = setup().knobs(|knobs| knobs.alert_pages = AlertPages::Overlapping);
    let app = overlapping.start();
    let summary = app.reconcile();
    assert!(summary.is_settled(), "{summary:?}");
    assert_true(&app);

    let endless = setup().knobs(|knobs| knobs.alert_pages = AlertPages::Endless);
    let app = endless.start();
    let run = app.backfill(&["--json"]);
    assert_ne!(run.code, 0, "{run:?}");
    assert!(
        run.stdout.contains("the listing repeats a page_token"),
        "{run:?}"
    );
    assert!(rows(&app).is_empty(), "nothing of it is published");
    // It ends: the pages of two days, and the one call more that shows the circle, each a few times.
    assert!(calls(&app) < 200, "{}", calls(&app));
}

#[test]
fn a_day_costs_its_pages_and_the_first_and_the_last_one_again() {
    let app = setup().start();
    let days = 2;
    let pages = |alerts: usize| alerts.div_ceil(PAGE);
    let company = app.server().company();
    let of_day = |day: i64| {
        let date = app.first_day().saturating_add(jiff::Span::new().days(day));
        let is_of =
            |alert: &&meetlake_simulator::company::Alert| company.date_of(alert.time) == date;
        company.alerts().iter().filter(is_of).count()
    };
    let expected: usize = (0..days).map(|day| pages(of_day(day)) + 2).sum();
    assert!(app.reconcile().is_settled());
    assert_eq!(calls(&app), expected as u64);
}

#[test]
fn without_the_scope_the_run_and_doctor_name_it() {
    let app = setup().knobs(|knobs| {
        knobs.scopes.remove("vc:alert:readonly");
    });
    let app = app.start();
    let run = app.backfill(&[]);
    assert_eq!(run.code, 4, "{run:?}");
    assert!(run.text().contains("vc:alert:readonly"), "{run:?}");
    let doctor = app.meetlake(&["doctor"]);
    assert_eq!(doctor.code, 4, "{doctor:?}");
    assert!(doctor.stdout.contains("vc:alert:readonly"), "{doctor:?}");
}

#[test]
fn a_plan_counts_the_calls_of_each_day() {
    let app = setup().start();
    let (from, to) = (app.first_day().to_string(), app.end_day().to_string());
    let plan = app.meetlake(&["plan", "--json", "--from", &from, "--to", &to]);
    assert_eq!(plan.code, 0, "{plan:?}");
    assert!(plan.stdout.contains("GET alerts"), "{plan:?}");
    let now: Timestamp = app.setup.options.clock.now();
    assert_eq!(calls(&app), 0, "at {now} nobody was called");
}
