//! Who gets the quota: last night's day first, whatever else is asked for.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use meetlake::testing::dataset::Dataset;
use meetlake_simulator::SimClock;

use crate::app::{Setup, TestApp, signal, wait};
use crate::lake;

/// Simulated seconds in a real one: slow enough that the quota counts, and not this machine.
const SPEED: f64 = 10.0;
const CHAIN: [Dataset; 3] = [
    Dataset::MeetingList,
    Dataset::ParticipantList,
    Dataset::ParticipantQualityList,
];

/// A company of a year, at Feishu's own quota.
fn company(days_asked_for: i64) -> TestApp {
    let setup = Setup::fast().only(&CHAIN).with(|options| {
        options.clock = SimClock::new(options.clock.start(), SPEED);
        (options.days, options.meetings_per_day) = (365, 2);
        options.quota_scale = 1.0;
    });
    let app = setup.start();
    let config = std::fs::read_to_string(app.path("meetlake.toml")).expect("a configuration");
    app.write(
        "meetlake.toml",
        &config.replace("_per_minute = 10000", "_per_minute = 100"),
    );
    let start = app
        .end_day()
        .saturating_sub(jiff::Span::new().days(days_asked_for));
    for dataset in CHAIN {
        let job = format!(
            "version = 1\ndataset = \"{dataset}\"\ncron = \"0 3 * * *\"\nwindow = \"1d\"\n\
             settle_delay = \"1h\"\nlookback = \"1d\"\nstart = {start}\n"
        );
        app.write(&format!("jobs/{dataset}.toml"), &job);
    }
    app
}

/// How long after the run's begin the last day of every dataset was there, whole, on the simulated clock.
fn until_last_day(days_asked_for: i64) -> SignedDuration {
    let app = company(days_asked_for);
    app.teach_pace();
    let began: Timestamp = app.setup.options.clock.now();
    let mut command = app.command(&["run"]);
    command.env("MEETLAKE_TEST_CLOCK", format!("{began}@{SPEED}"));
    let mut child = app.spawn_command(&mut command);
    let last_day = app.server().last_day().to_string();
    let patience = Instant::now() + Duration::from_secs(100);
    let done = loop {
        let times: Option<Vec<Timestamp>> = CHAIN
            .into_iter()
            .map(|dataset| {
                let manifests = lake::manifests(&app.lake(), dataset, &last_day);
                let (_, newest) = manifests.last_key_value()?;
                let at = newest["created_at"].as_str()?.parse().ok()?;
                (newest["state"] == "complete").then_some(at)
            })
            .collect();
        if let Some(times) = times {
            break times.into_iter().max().expect("three datasets");
        }
        assert!(
            Instant::now() < patience,
            "the last day is not there: {}",
            log(&app)
        );
        std::thread::sleep(Duration::from_millis(50));
    };
    signal(&child, "TERM");
    wait(&mut child, Duration::from_secs(30));
    done.duration_since(began)
}

fn log(app: &TestApp) -> String {
    let log = std::fs::read_to_string(app.path("child.log")).unwrap_or_default();
    log.lines().rev().take(30).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_year_that_is_asked_for_delays_last_night_by_five_minutes_at_most() {
    let alone = until_last_day(1);
    let beside_a_year = until_last_day(365);
    println!("alone after {alone:#}, beside a year after {beside_a_year:#}");
    let delay = beside_a_year - alone;
    assert!(
        delay <= SignedDuration::from_mins(5),
        "{alone:#} alone, {beside_a_year:#} beside a year"
    );
}

/// Another program uses the same app: what it needs is left to it for a while, and said.
#[test]
fn a_quota_that_somebody_else_uses_up_is_shared_and_told() {
    let app = Setup::fast().only(&CHAIN).faults(&["429@poll:x3"]).start();
    let run = app.backfill(&[]);
    assert_eq!(run.code, 0, "{}", run.text());
    let said = "calls were refused although we had not used up the limit";
    assert!(run.text().contains(said), "{}", run.text());
    assert!(
        run.text().contains("lower `share` in [limits]"),
        "{}",
        run.text()
    );

    let quiet = Setup::fast().only(&CHAIN).start();
    let run = quiet.backfill(&[]);
    assert!(!run.text().contains(said), "{}", run.text());
}
