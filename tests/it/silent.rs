//! Nothing wrong passes without being named: each outcome has a word of its own everywhere, what cannot be all there is makes its day partial,
//! and a day that is not there is late by its own time.

use std::collections::BTreeSet;

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};
use meetlake::testing::clock::Clock;
use meetlake::testing::config;
use meetlake::testing::dataset::Dataset;
use meetlake::testing::events::Events;
use meetlake::testing::exit::Code;
use meetlake::testing::ledger::Ledger;
use meetlake::testing::metrics::Metrics;
use meetlake::testing::record::{NewWindow, WindowBatch, WindowState};
use meetlake::testing::run::{Scope, Summary};
use meetlake::testing::server::{self, Pages};
use meetlake::testing::window::Window;
use meetlake_simulator::DayBucket;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::app::{Setup, TENANT, TestApp, zone};
use crate::lake;
use crate::truth::Truth;

/// The daily report and the meeting list; the report's days are the company's own.
fn meetings() -> Setup {
    Setup::fast()
        .only(&[Dataset::DailyReport, Dataset::MeetingList])
        .knobs(|knobs| knobs.day_bucket = DayBucket::Local)
}

fn newest_manifest(app: &TestApp, dataset: Dataset, dt: Date) -> Value {
    let manifests = lake::manifests(&app.lake(), dataset, &dt.to_string());
    manifests.into_values().next_back().expect("a manifest")
}

fn reasons(app: &TestApp, dataset: Dataset, dt: Date) -> String {
    newest_manifest(app, dataset, dt)["reasons"].to_string()
}

fn assert_whole(app: &TestApp, datasets: &[Dataset]) {
    let truth = Truth::of(app.server().company(), app.setup.options.clock.now());
    for dataset in datasets {
        let wrong = truth.differences_of(&app.lake(), *dataset);
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

// --- implausible results --------------------------------------------------------------------------------------------

#[test]
fn an_empty_meeting_list_on_a_day_with_meetings_is_partial_until_it_comes_whole() {
    let app = meetings().faults(&["empty@meeting_list"]).start();
    let summary = app.reconcile();
    assert_eq!(summary.exit(), Code::NotSettled, "{summary:#?}");
    let days: Vec<Date> = summary.implausible.iter().map(|day| day.dt).collect();
    assert_eq!(
        days,
        [app.first_day(), app.first_day().saturating_add(1.day())]
    );
    let reason = &summary.implausible[0].reason;
    assert!(reason.contains("the list has 0"), "{reason}");
    let manifest = newest_manifest(&app, Dataset::MeetingList, app.first_day());
    assert_eq!(manifest["state"], "partial");
    assert!(
        manifest["reasons"].to_string().contains(reason),
        "{manifest}"
    );
    // Nothing is asked for again by a run that nobody told to, and it still says so.
    let submits = app.submits();
    assert_eq!(app.reconcile().exit(), Code::NotSettled);
    assert_eq!(app.submits(), submits);
    app.set_faults(&[]);
    let summary = app.again();
    assert_eq!(summary.exit(), Code::Done, "{summary:#?}");
    assert_eq!(
        newest_manifest(&app, Dataset::MeetingList, app.first_day())["state"],
        "complete"
    );
    assert_whole(&app, &[Dataset::MeetingList]);
}

#[test]
fn a_list_that_lacks_some_meetings_says_how_many() {
    let app = meetings().faults(&["short@meeting_list:x1"]).start();
    let summary = app.reconcile();
    assert_eq!(summary.exit(), Code::NotSettled, "{summary:#?}");
    let [day] = summary.implausible.as_slice() else {
        panic!("one list was short: {summary:#?}");
    };
    // What the company held that day, and what came of it.
    let window = Window::day(&zone(), day.dt).expect("a day");
    let company = app.server().company();
    let held = company.meetings_in(window.start(), window.end()).len();
    let manifest = newest_manifest(&app, Dataset::MeetingList, day.dt);
    let listed = manifest["rows"].as_u64().expect("a number");
    assert!(0 < listed && listed < held as u64, "{listed} of {held}");
    let says = format!("the daily report counted {held} meetings, the list has {listed}");
    assert!(day.reason.starts_with(&says), "{says:?}: {day:?}");
}

#[test]
fn a_tolerance_in_the_job_file_decides_what_is_short() {
    let app = meetings()
        .job(Dataset::MeetingList, "[check]\nmeetings = \"100%\"")
        .faults(&["empty@meeting_list"])
        .start();
    assert_eq!(app.reconcile().exit(), Code::Done);
}

#[test]
fn a_report_whose_days_may_be_utc_s_accuses_no_day_that_is_whole() {
    // Every day is whole under one reading and not under the other.
    for bucket in [DayBucket::Utc, DayBucket::Local] {
        let app = Setup::fast()
            .only(&[Dataset::DailyReport, Dataset::MeetingList])
            .with(|options| options.days = 5)
            .knobs(|knobs| knobs.day_bucket = bucket)
            .start();
        let summary = app.reconcile();
        assert_eq!(summary.exit(), Code::Done, "{bucket:?} {summary:#?}");
    }
}

#[test]
fn a_report_whose_days_may_be_utc_s_still_accuses_a_day_that_is_short_either_way() {
    let app = Setup::fast()
        .only(&[Dataset::DailyReport, Dataset::MeetingList])
        .faults(&["empty@meeting_list"])
        .start();
    let summary = app.reconcile();
    assert_eq!(summary.exit(), Code::NotSettled, "{summary:#?}");
    // The last day's UTC day ends on a day that nobody asked for.
    let days: Vec<Date> = summary.implausible.iter().map(|day| day.dt).collect();
    assert_eq!(days, [app.first_day()]);
}

#[test]
fn a_report_that_comes_after_the_list_is_compared_all_the_same() {
    let app = meetings().faults(&["short@meeting_list"]).start();
    let only = |datasets: &[Dataset]| Scope::Backfill {
        from: app.first_day(),
        to: app.end_day(),
        datasets: datasets.to_vec(),
        again: false,
    };
    let summary = app.reconcile_scope(&only(&[Dataset::MeetingList]));
    assert_eq!(
        summary.exit(),
        Code::Done,
        "nothing speaks against it yet: {summary:#?}"
    );
    let summary = app.reconcile_scope(&only(&[Dataset::DailyReport]));
    assert_eq!(
        summary.exit(),
        Code::Done,
        "the report itself is whole: {summary:#?}"
    );
    let state = &newest_manifest(&app, Dataset::MeetingList, app.first_day())["state"];
    assert_eq!(state, "partial");
    let summary = app.reconcile_scope(&only(&[Dataset::MeetingList]));
    assert_eq!(summary.exit(), Code::NotSettled, "{summary:#?}");
}

#[test]
fn participant_sheets_with_too_few_rows_make_their_day_partial_and_are_asked_for_again() {
    let chain = [Dataset::MeetingList, Dataset::ParticipantList];
    for fault in ["empty@participant_list", "short@participant_list"] {
        let app = Setup::fast()
            .only(&chain)
            .job(Dataset::ParticipantList, "[check]\nparticipants = \"10%\"")
            .faults(&[fault])
            .start();
        let summary = app.reconcile();
        assert_eq!(summary.exit(), Code::NotSettled, "{fault} {summary:#?}");
        let days: BTreeSet<Dataset> = summary.implausible.iter().map(|day| day.dataset).collect();
        assert_eq!(days, BTreeSet::from([Dataset::ParticipantList]), "{fault}");
        let reason = &summary.implausible[0].reason;
        assert!(
            reason.contains("fewer participants than they counted"),
            "{fault} {reason}"
        );
        app.set_faults(&[]);
        let summary = app.again();
        assert_eq!(summary.exit(), Code::Done, "{fault} {summary:#?}");
        assert_whole(&app, &chain);
    }
}

// --- outcomes -------------------------------------------------------------------------------------------------------

/// What a scenario ends with.
struct Scenario {
    name: &'static str,
    /// The word of its first day in `status`.
    outcome: &'static str,
    code: Code,
    /// The counter of the summary that names it.
    counter: fn(&Summary) -> u64,
    make: fn() -> (TestApp, Summary),
}

fn of(summary: &Summary, count: impl Fn(&meetlake::testing::run::DatasetSummary) -> u64) -> u64 {
    summary.datasets.values().map(count).sum()
}

fn one_list(setup: Setup) -> TestApp {
    setup
        .only(&[Dataset::MeetingList])
        .with(|options| options.days = 1)
        .start()
}

fn ran(app: TestApp) -> (TestApp, Summary) {
    let summary = app.reconcile();
    (app, summary)
}

const SCENARIOS: [Scenario; 7] = [
    Scenario {
        name: "a whole day",
        outcome: "published",
        code: Code::Done,
        counter: |summary| of(summary, |counts| counts.published),
        make: || ran(one_list(Setup::fast())),
    },
    Scenario {
        name: "the same day again",
        outcome: "unchanged",
        code: Code::Done,
        counter: |summary| of(summary, |counts| counts.unchanged),
        make: || {
            let app = one_list(Setup::fast());
            app.reconcile();
            let summary = app.again();
            (app, summary)
        },
    },
    Scenario {
        name: "a day without a meeting",
        outcome: "empty",
        code: Code::Done,
        counter: |summary| of(summary, |counts| counts.empty),
        make: || ran(one_list(Setup::fast().faults(&["empty@meeting_list"]))),
    },
    Scenario {
        name: "a list shorter than the report",
        outcome: "partial",
        code: Code::NotSettled,
        counter: |summary| of(summary, |counts| counts.partial),
        make: || {
            ran(meetings()
                .with(|options| options.days = 1)
                .faults(&["short@meeting_list"])
                .start())
        },
    },
    Scenario {
        name: "a workbook over the limit",
        outcome: "quarantined",
        code: Code::Contract,
        counter: |summary| of(summary, |counts| counts.quarantined),
        make: || {
            let app = one_list(Setup::fast());
            limit_cells(&app, 20);
            ran(app)
        },
    },
    Scenario {
        name: "an export that Feishu never finishes",
        outcome: "failed",
        code: Code::Upstream,
        counter: |summary| of(summary, |counts| counts.failed),
        make: || ran(one_list(Setup::fast().faults(&["failed"]))),
    },
    Scenario {
        name: "a report that Feishu no longer has",
        outcome: "lost",
        code: Code::NotSettled,
        counter: |summary| of(summary, |counts| counts.lost),
        make: || {
            let app = Setup::fast().only(&[Dataset::DailyReport]).start();
            let summary = app.reconcile_scope(&long_ago(&app));
            (app, summary)
        },
    },
];

/// A day beyond the reports' 90.
fn long_ago(app: &TestApp) -> Scope {
    let from = app.first_day().saturating_sub(100.days());
    Scope::Backfill {
        from,
        to: from.saturating_add(1.day()),
        datasets: vec![Dataset::DailyReport],
        again: false,
    }
}

fn limit_cells(app: &TestApp, cells: u32) {
    let config = std::fs::read_to_string(app.path("meetlake.toml")).expect("a file");
    let limited = format!("{config}\n[limits.workbook]\ncells = {cells}\n");
    app.write("meetlake.toml", &limited);
}

#[test]
fn every_outcome_has_a_word_of_its_own_everywhere() {
    let mut words = BTreeSet::new();
    for scenario in SCENARIOS {
        let name = scenario.name;
        let (app, summary) = (scenario.make)();
        assert!((scenario.counter)(&summary) > 0, "{name}: {summary:#?}");
        assert_eq!(summary.exit(), scenario.code, "{name}: {summary:#?}");
        let status = app.status();
        let days = status["days"].as_array().expect("days");
        let wanted = if scenario.outcome == "partial" {
            "meeting_list"
        } else {
            ""
        };
        let first = days
            .iter()
            .find(|day| wanted.is_empty() || day["dataset"] == wanted)
            .unwrap_or_else(|| panic!("{name}: {status}"));
        assert_eq!(first["outcome"], scenario.outcome, "{name}: {first}");
        let text = app.meetlake(&["status"]).stdout;
        assert!(
            text.contains(&format!("1 {}", scenario.outcome)),
            "{name}: {text}"
        );
        // The pages of `serve` and the end of a run say the same of the same day.
        let (page, json) = pages(&app);
        let dt: Date = first["dt"]
            .as_str()
            .and_then(|dt| dt.parse().ok())
            .expect("a date");
        let cell = format!(
            "{} {}: {}",
            first["dataset"].as_str().expect("a name"),
            dt.strftime("%a %F"),
            scenario.outcome
        );
        assert!(page.contains(&cell), "{name}: {cell}: {page}");
        let run = app.backfill(&["--json"]).json();
        for (place, value) in [("status.json", &json), ("run --json", &run)] {
            let days = value["days"].as_array().expect("days");
            let same =
                |day: &&Value| day["dataset"] == first["dataset"] && day["dt"] == first["dt"];
            let day = days
                .iter()
                .find(same)
                .unwrap_or_else(|| panic!("{name}, {place}: {value}"));
            assert_eq!(day["outcome"], scenario.outcome, "{name}, {place}");
        }
        let is_good = matches!(scenario.outcome, "published" | "unchanged" | "empty");
        assert_eq!(first["why"].is_null(), is_good, "{name}: {first}");
        words.insert(scenario.outcome);
        // What the lake itself says; a lost day has no object and no record.
        let dataset = first["dataset"]
            .as_str()
            .expect("a name")
            .parse()
            .expect("a dataset");
        let manifests =
            lake::manifests(&app.lake(), dataset, first["dt"].as_str().expect("a date"));
        match scenario.outcome {
            "published" | "unchanged" => assert_eq!(manifests.len(), 1, "{name}"),
            "empty" => assert_eq!(
                manifests.values().next_back().expect("one")["summary"]["empty"],
                1
            ),
            "partial" => assert_eq!(
                manifests.values().next_back().expect("one")["state"],
                "partial"
            ),
            _ => assert!(manifests.is_empty(), "{name}: {manifests:?}"),
        }
    }
    assert_eq!(words.len(), SCENARIOS.len());
}

/// The status page of `serve`, and its JSON.
fn pages(app: &TestApp) -> (String, Value) {
    let config = config::load(&app.path("meetlake.toml"), &config::process_environment)
        .expect("the configuration is valid");
    app.block_on(async {
        let ledger = Ledger::open_for_reading(&app.path("meetlake.db")).await;
        let events = Events::new(Clock::scaled(app.now(), 1.0));
        let pages = Pages {
            ledger: ledger.expect("readable").expect("there"),
            tenants: std::sync::Arc::new([(TENANT.to_owned(), zone())]),
            jobs: config.jobs.into(),
            disks: std::sync::Arc::new([("spool", app.path("spool"))]),
            clock: Clock::scaled(app.now(), 1.0),
            metrics: std::sync::Arc::new(Metrics::new(&events, Vec::new())),
            events,
            began: app.now(),
            hosts: std::sync::Arc::default(),
            ready: std::sync::Arc::default(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let stop = CancellationToken::new();
        let server = tokio::spawn(server::serve(listener, pages, stop.clone()));
        let _ = rustls::crypto::ring::default_provider().install_default();
        let get = async |path: &str| {
            let answer = reqwest::get(format!("{base}{path}"))
                .await
                .expect("an answer");
            assert_eq!(answer.status().as_u16(), 200);
            answer.text().await.expect("a text")
        };
        let (page, json) = (get("/").await, get("/status.json").await);
        stop.cancel();
        server.await.expect("no panic").expect("served");
        (page, serde_json::from_str(&json).expect("JSON"))
    })
}

#[test]
fn a_window_that_a_wrong_clock_called_lost_comes_with_a_backfill() {
    let app = Setup::fast().only(&[Dataset::DailyReport]).start();
    let lose = |day: Date| {
        let window = Window::day(&zone(), day).expect("a day");
        app.with_ledger(async |ledger| {
            let new = NewWindow {
                window,
                due_at: window.end(),
                state: WindowState::Lost,
            };
            let batch = WindowBatch {
                job: "daily_report",
                tenant: TENANT,
                dataset: Dataset::DailyReport,
                new: &[new],
                again: &[],
                firing: window.end(),
                schedule: None,
            };
            ledger.insert_windows(&batch).await.expect("inserted");
        });
    };
    lose(app.first_day());
    let summary = app.reconcile();
    assert_eq!(summary.exit(), Code::Done, "{summary:#?}");
    assert_eq!(summary.datasets[&Dataset::DailyReport].published, 2);
    assert_whole(&app, &[Dataset::DailyReport]);
    // What Feishu no longer has stays lost.
    let summary = app.reconcile_scope(&long_ago(&app));
    assert_eq!((summary.exit(), summary.lost.len()), (Code::NotSettled, 1));
    let again = app.reconcile_scope(&long_ago(&app));
    assert_eq!(again.lost.len(), 1, "{again:#?}");
}

#[test]
fn what_is_lost_is_said_once() {
    let app = Setup::fast().only(&[Dataset::DailyReport]).start();
    app.reconcile();
    // Planned in time, and never exported until Feishu forgot it.
    let day = app.first_day().saturating_sub(100.days());
    let window = Window::day(&zone(), day).expect("a day");
    app.with_ledger(async |ledger| {
        let new = NewWindow {
            window,
            due_at: window.end(),
            state: WindowState::Due,
        };
        let batch = WindowBatch {
            job: "daily_report",
            tenant: TENANT,
            dataset: Dataset::DailyReport,
            new: &[new],
            again: &[],
            firing: window.end(),
            schedule: None,
        };
        ledger.insert_windows(&batch).await.expect("inserted");
    });
    let first = app.reconcile();
    assert_eq!(first.exit(), Code::NotSettled, "{first:#?}");
    assert_eq!(first.lost.len(), 1, "{first:#?}");
    assert_eq!(first.lost[0].start, window.start());
    let second = app.reconcile();
    assert_eq!(
        (second.exit(), second.lost.len()),
        (Code::Done, 0),
        "{second:#?}"
    );
}

// --- late, quarantine, what was left over ---------------------------------------------------------------------------

#[test]
fn a_day_is_late_by_its_own_time_though_others_are_there() {
    let app = Setup::real().only(&[Dataset::MeetingList]).start();
    app.teach_pace();
    let run = app.meetlake(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(app.meetlake(&["status"]).code, 0);
    // The first day as if its export were under way since then, and nothing of it in the lake.
    let gone = app.first_day();
    let window = Window::day(&zone(), gone).expect("a day");
    app.with_ledger(async |ledger| {
        let batch = WindowBatch {
            job: "meeting_list",
            tenant: TENANT,
            dataset: Dataset::MeetingList,
            new: &[],
            again: &[window],
            firing: window.end(),
            schedule: None,
        };
        ledger.insert_windows(&batch).await.expect("once more");
    });
    // While it is exported once more it is in the lake, whole: not late.
    assert_eq!(app.meetlake(&["status"]).code, 0);
    let forget = "import sqlite3, sys\nledger = sqlite3.connect(sys.argv[1])\n\
        ledger.execute('DELETE FROM partition WHERE dt = ?', (sys.argv[2],))\nledger.commit()";
    let output = std::process::Command::new("python3")
        .args(["-c", forget])
        .arg(app.path("meetlake.db"))
        .arg(gone.to_string())
        .output()
        .expect("Python is there");
    assert!(output.status.success(), "{output:?}");
    let status = app.meetlake(&["status"]);
    assert_eq!(status.code, 3, "{status:?}");
    assert!(
        status
            .stdout
            .contains(&format!("meeting_list {gone}: waiting, ")),
        "{status:?}"
    );
    assert_eq!(
        status.stdout.matches(" late (expected by ").count(),
        1,
        "{status:?}"
    );
    let run = app.meetlake(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(app.meetlake(&["status"]).code, 0);
}

/// A cause may be mended since: `status` says when it was met, and when it is tried again.
#[test]
fn a_cause_is_told_with_the_time_of_the_last_try() {
    let app = Setup::real().only(&[Dataset::MeetingList]).start();
    app.set_faults(&["permission-denied"]);
    let began = Timestamp::now();
    assert_eq!(app.meetlake(&["run"]).code, 4);
    app.set_faults(&[]);
    let status = app.status();
    let instant = |value: &Value| -> Timestamp {
        let text = value
            .as_str()
            .unwrap_or_else(|| panic!("no time in {status}"));
        text.parse().expect("an instant")
    };
    let tried = began..Timestamp::now();
    let waits = |day: &&Value| day["why"].is_string();
    let days = status["days"].as_array().expect("days").iter();
    let tasks = status["attention"].as_array().expect("tasks").iter();
    let told: Vec<&Value> = days.filter(waits).chain(tasks).collect();
    let met = told.iter().filter(|of| of["last_tried_at"].is_string());
    assert!(met.count() >= 2, "a day and a task: {status}");
    for of in told {
        if of["last_tried_at"].is_string() {
            assert!(tried.contains(&instant(&of["last_tried_at"])), "{of}");
            assert!(instant(&of["next_try_at"]) <= Timestamp::now(), "{of}");
        }
    }
    let text = app.meetlake(&["status"]).stdout;
    assert!(text.contains("    last tried "), "{text}");
    assert!(text.contains(", again with the next run\n"), "{text}");
}

#[test]
fn quarantine_stops_no_other_day_and_is_tried_again_without_a_call() {
    let app = Setup::real().only(&[Dataset::MeetingList]).start();
    app.teach_pace();
    let config = std::fs::read_to_string(app.path("meetlake.toml")).expect("a file");
    limit_cells(&app, 20);
    let broken = app.backfill(&["--json"]);
    assert_eq!(broken.code, 7, "{broken:?}");
    assert_eq!(
        broken.json()["tenants"][0]["datasets"]["meeting_list"]["quarantined"],
        2
    );
    app.write("meetlake.toml", &config);
    // Without being asked, a run leaves the quarantine alone.
    let calls = app.calls();
    let retried = app.meetlake(&[
        "retry",
        "--quarantine",
        "--from",
        &app.first_day().to_string(),
        "--to",
        &app.first_day().saturating_add(1.day()).to_string(),
    ]);
    assert_eq!(
        retried.code, 3,
        "the second day is still there: {retried:?}"
    );
    let retried = app.meetlake(&["retry", "--quarantine", "--dataset", "meeting_list"]);
    assert_eq!(retried.code, 0, "{retried:?}");
    assert_eq!(
        app.calls(),
        calls,
        "the bytes that were put aside were read"
    );
    assert_whole(&app, &[Dataset::MeetingList]);
    // Where they are gone, they are asked for.
    limit_cells(&app, 20);
    assert_ne!(app.backfill(&["--again"]).code, 0);
    std::fs::remove_dir_all(app.lake().join("_quarantine")).expect("it is there");
    app.write("meetlake.toml", &config);
    let submits = app.submits();
    let retried = app.meetlake(&["retry", "--quarantine"]);
    assert_eq!(retried.code, 0, "{retried:?}");
    assert_eq!(app.submits(), submits + 2);
    assert_eq!(app.meetlake(&["retry"]).code, 2);
}

#[test]
fn plan_lists_the_windows_in_which_the_last_run_left_tasks_over() {
    let app = Setup::real()
        .only(&[Dataset::MeetingList, Dataset::ParticipantList])
        .job(Dataset::ParticipantList, "[fan_out]\nmax_tasks_per_run = 4")
        .start();
    app.teach_pace();
    let run = app.meetlake(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    let plan = app.meetlake(&["plan", "--json"]).json();
    let jobs = plan["tenants"][0]["jobs"].as_array().expect("jobs");
    let participants = jobs
        .iter()
        .find(|job| job["dataset"] == "participant_list")
        .expect("a job");
    assert!(
        participants["windows_left_over"].as_u64() > Some(0),
        "{participants}"
    );
    assert_eq!(participants["tasks"], 4, "{participants}");
    let text = app.meetlake(&["plan"]).stdout;
    assert!(
        text.contains("go on where the last run's bound of tasks left off"),
        "{text}"
    );
    assert!(reasons(&app, Dataset::MeetingList, app.first_day()).contains("[]"));
}
