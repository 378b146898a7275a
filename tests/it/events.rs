//! Events: what Feishu sends over the long connection is on disk before it is acknowledged, and in the lake minutes later.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use jiff::tz::TimeZone;
use meetlake::testing::dataset::Dataset;
use meetlake_simulator::{LinkFaults, SentEvent, SimClock, TICKET, WebhookCall, WebhookSender};
use serde_json::Value;

use crate::app::{SECRET, Setup, TestApp, signal, wait};
use crate::lake::{self, Row};
use crate::serving::Serving;

pub(crate) const EVENTS: [Dataset; 2] = [Dataset::MeetingEvent, Dataset::RoomEvent];

fn setup() -> Setup {
    Setup::real().only(&EVENTS)
}

/// Sends the events of all days of the company.
pub(crate) fn send_all(app: &TestApp) -> Vec<SentEvent> {
    let company = app.server().company();
    let start = company.start_of_day(app.first_day());
    let end = company.start_of_day(app.end_day());
    app.server().send_events(start, end)
}

pub(crate) fn ids(events: &[SentEvent]) -> BTreeSet<String> {
    events.iter().map(|event| event.id.clone()).collect()
}

/// All rows of events in the lake by id. Each id has one row.
fn rows_by_id(lake: &Path) -> BTreeMap<String, Row> {
    let mut found = BTreeMap::new();
    for dataset in EVENTS {
        for row in lake::rows(lake, dataset) {
            let id = row["event_id"].as_str().expect("an id").to_owned();
            assert!(
                found.insert(id.clone(), row).is_none(),
                "{id} is there twice"
            );
        }
    }
    found
}

pub(crate) fn acknowledged(app: &TestApp) -> BTreeSet<String> {
    app.server().link_report().acknowledged
}

/// Lets the tenant's work end: what was acknowledged is in the lake after one more run.
pub(crate) fn stop(mut serving: Serving<'_>) {
    signal(&serving.child, "TERM");
    let (code, _) = wait(&mut serving.child, Duration::from_secs(25));
    assert_eq!(code, Some(0));
}

/// What was acknowledged and has no row.
fn lost(rows: &BTreeMap<String, Row>, acknowledged: &BTreeSet<String>) -> Vec<String> {
    let is_lost = |id: &&String| !rows.contains_key(*id);
    acknowledged.iter().filter(is_lost).cloned().collect()
}

/// Everything that was acknowledged is in the lake as it was sent, and nothing else.
pub(crate) fn assert_all_there(app: &TestApp, sent: &[SentEvent]) {
    assert_all_in(&app.lake(), &acknowledged(app), sent);
}

/// The same of a lake that has one tenant.
pub(crate) fn assert_all_in(lake: &Path, acknowledged: &BTreeSet<String>, sent: &[SentEvent]) {
    let rows = rows_by_id(lake);
    let lost = lost(&rows, acknowledged);
    assert_eq!(lost, [""; 0], "acknowledged and not in the lake");
    let found: BTreeSet<String> = rows.keys().cloned().collect();
    let invented: Vec<String> = found.difference(&ids(sent)).cloned().collect();
    assert!(invented.is_empty(), "never sent: {invented:?}");
    for event in sent.iter().filter(|event| found.contains(&event.id)) {
        let (row, body) = (&rows[&event.id], body_of(event));
        assert_eq!(row["event_type"], event.event_type);
        let payload: Value =
            serde_json::from_str(row["payload"].as_str().expect("text")).expect("JSON");
        assert_eq!(payload, body["event"], "{}", event.id);
        assert_eq!(row["event_time"], event.at.as_second());
        let meeting = &body["event"]["meeting"];
        if meeting.is_object() {
            assert_eq!(row["meeting_id"], meeting["id"]);
            assert_eq!(row["host_union_id"], meeting["host_user"]["id"]["union_id"]);
        }
        assert!(!row["received_time"].is_null());
    }
}

fn body_of(event: &SentEvent) -> Value {
    serde_json::from_str(&event.body).expect("JSON")
}

#[test]
fn events_of_a_day_are_acknowledged_and_in_the_lake_and_no_secret_is() {
    let app = setup().start();
    let serving = Serving::start(&app);
    let sent = send_all(&app);
    serving.until(|| acknowledged(&app) == ids(&sent), "all are acknowledged");
    let of_type = |dataset: Dataset| {
        let is_room = |event: &&SentEvent| event.event_type.starts_with("vc.room");
        let rooms = sent.iter().filter(is_room).count();
        match dataset {
            Dataset::RoomEvent => rooms,
            _ => sent.len() - rooms,
        }
    };
    for dataset in EVENTS {
        let expected = of_type(dataset) as u64;
        serving.until(|| serving.rows(dataset) == expected, "all are in the lake");
    }
    stop(serving);
    assert_all_there(&app, &sent);
    // Both days are over for longer than Feishu sends anything again. A meeting may have ended on the day after.
    let status = app.status();
    for partition in status["partitions"].as_array().expect("partitions") {
        let dt: jiff::civil::Date = partition["dt"]
            .as_str()
            .and_then(|dt| dt.parse().ok())
            .expect("a day");
        let end = app
            .server()
            .company()
            .start_of_day(dt.tomorrow().expect("a day"));
        // Feishu sends an event again for seven hours and five minutes.
        let states: &[&str] = match jiff::Timestamp::now().duration_since(end).as_mins() {
            ..=420 => &["partial"],
            421..480 => &["partial", "complete"],
            _ => &["complete"],
        };
        let state = partition["state"].as_str().expect("a state");
        assert!(states.contains(&state), "{partition}");
    }
    assert_eq!(app.meetlake(&["verify"]).code, 0);
    for canary in [
        app.setup.options.verification_token.as_str(),
        TICKET,
        SECRET,
    ] {
        for file in lake::below(&app.path("")) {
            let is_ours = !file.ends_with("meetlake.toml");
            let bytes = std::fs::read(&file).expect("a file");
            let has_it = bytes
                .windows(canary.len())
                .any(|part| part == canary.as_bytes());
            assert!(!(is_ours && has_it), "{canary} in {}", file.display());
        }
    }
    // Nobody's name and no topic is in the log.
    let log = std::fs::read_to_string(app.path("child.log")).expect("a log");
    for event in &sent {
        let body = body_of(event);
        for place in ["/event/meeting/topic", "/event/operator/id/union_id"] {
            let value = body
                .pointer(place)
                .and_then(Value::as_str)
                .unwrap_or_default();
            assert!(
                value.len() < 3 || !log.contains(value),
                "{value} is in the log"
            );
        }
    }
    // A lost ledger is made again from the lake, with every batch.
    let before = app.content_hashes();
    std::fs::remove_file(app.path("meetlake.db")).expect("lost");
    let rebuilt = app.meetlake(&["ledger", "rebuild"]);
    assert_eq!(rebuilt.code, 0, "{rebuilt:?}");
    assert_eq!(app.content_hashes(), before);
    assert_eq!(app.meetlake(&["verify"]).code, 0);
    assert_eq!(app.meetlake(&["run"]).code, 0);
    assert_eq!(app.content_hashes(), before);
    // The same events once more, which the new ledger does not know: still one row an event.
    let serving = Serving::start(&app);
    app.server().send(&sent[..3]);
    let count = |app: &TestApp| -> u64 { app.server().link_report().sent.values().sum() };
    serving.until(
        || count(&app) == sent.len() as u64 + 3,
        "they are sent again",
    );
    std::thread::sleep(Duration::from_secs(12));
    stop(serving);
    assert_eq!(app.meetlake(&["run"]).code, 0);
    assert_all_there(&app, &sent);
    assert_eq!(app.content_hashes(), before);
}

/// The archived originals by their path and content.
fn originals(app: &TestApp) -> BTreeMap<String, String> {
    let packs = lake::below(&app.lake().join("_raw")).into_iter();
    let pack = |path: std::path::PathBuf| {
        let hash = lake::sha256(&std::fs::read(&path).expect("a pack"));
        (path.display().to_string(), hash)
    };
    packs.map(pack).collect()
}

/// How many days `replay` found to be what.
fn replayed(app: &TestApp, code: i32) -> Value {
    let [meetings, rooms] = EVENTS.map(Dataset::as_str);
    let output = app.meetlake(&["replay", meetings, rooms, "--json"]);
    assert_eq!(output.code, code, "{output:?}");
    output.json()["counts"].clone()
}

/// Sends the company's events while `serve` runs, until all of them are in the lake.
fn receive_all(app: &TestApp) -> Vec<SentEvent> {
    let serving = Serving::start(app);
    let sent = send_all(app);
    serving.until(|| acknowledged(app) == ids(&sent), "all are acknowledged");
    stop(serving);
    assert_eq!(app.meetlake(&["run"]).code, 0);
    assert_all_there(app, &sent);
    sent
}

/// Nothing sends an event again, so that a lake of events is made again from what is archived, or not at all.
#[test]
fn events_are_made_again_from_their_originals_and_stay_the_same() {
    let mut app = Setup::real()
        .only(&[EVENTS[0], EVENTS[1], Dataset::MeetingList])
        .start();
    app.teach_pace();
    receive_all(&app);
    let deliveries = app.server().link_report().sent;
    let (rows, packs) = (rows_by_id(&app.lake()), originals(&app));
    assert!(!packs.is_empty());
    let assert_same = |app: &TestApp| {
        assert_eq!(rows_by_id(&app.lake()), rows);
        assert_eq!(originals(app), packs);
        assert_eq!(app.meetlake(&["verify"]).code, 0);
    };
    let is_of_events = |name: &str| EVENTS.iter().any(|of| of.as_str() == name);
    let hashes = app.content_hashes();
    let days = hashes.keys().filter(|(name, _)| is_of_events(name)).count();
    let all = |outcome: &str, count: usize| {
        let mut counts = serde_json::json!({ "unchanged": days - count, "restored": 0, "changed": 0, "left": 0 });
        counts[outcome] = match outcome {
            "unchanged" => days.into(),
            _ => count.into(),
        };
        counts
    };
    assert_eq!(replayed(&app, 0), all("unchanged", 0));
    assert_same(&app);

    // A job's zone is another, and all originals are read again: events name instants. The second time, the ledger is new.
    for is_rebuilt in [false, true] {
        let zone = ["time_zone = \"Asia/Tokyo\"", ""][usize::from(is_rebuilt)];
        app.setup.jobs.insert(Dataset::MeetingList, zone.to_owned());
        if is_rebuilt {
            app.lose_ledger();
            app.rebuild();
        }
        app.write_configuration();
        let read = app.meetlake(&["replay", "--re-read", "--json"]);
        assert_eq!(read.code, 0, "{read:?}");
        assert_eq!(read.json()["is_done"], true, "{read:?}");
        let of = read.json()["partitions"]
            .as_array()
            .cloned()
            .expect("a list");
        let of_events = |of: &&Value| of["dataset"].as_str().is_some_and(is_of_events);
        let read_again: Vec<&Value> = of.iter().filter(of_events).collect();
        assert_eq!(read_again.len(), days, "{of:?}");
        for of in read_again {
            assert_eq!(of["outcome"], "unchanged", "{of}");
        }
        assert_same(&app);
        assert_eq!(replayed(&app, 0), all("unchanged", 0));
    }

    // A file that is gone comes back with the same rows; without its originals it does not, and that is told.
    let of_day = || {
        let files = lake::files(&app.lake(), Dataset::MeetingEvent);
        files.into_iter().next().expect("a day")
    };
    let file = of_day();
    std::fs::remove_file(&file).expect("lost");
    assert_ne!(app.meetlake(&["verify"]).code, 0);
    assert_eq!(replayed(&app, 0), all("restored", 1));
    assert_same(&app);
    std::fs::remove_file(&file).expect("lost");
    let dt = file.parent().and_then(Path::file_name).expect("a day");
    let dt = dt.to_string_lossy();
    let is_of_day = |path: &&String| path.contains("/meeting_event/") && path.contains(&*dt);
    for pack in packs.keys().filter(is_of_day) {
        std::fs::remove_file(pack).expect("lost");
    }
    assert_eq!(replayed(&app, 7), all("left", 1));
    assert!(!file.exists());
    assert_eq!(
        app.server().link_report().sent,
        deliveries,
        "nobody sent again"
    );
}

/// The company's zone was wrong: each event stands in the day of the right one, and is otherwise the same.
#[test]
fn a_re_cut_puts_every_event_into_its_day_and_changes_none() {
    const NEW_YORK: &str = "America/New_York";
    let app = setup().start();
    let sent = receive_all(&app);
    let without_day = |lake: &Path| -> BTreeMap<String, Row> {
        let mut rows = rows_by_id(lake);
        for row in rows.values_mut() {
            // The day is another, and so are the ends of the job's window.
            for name in ["dt", "_window_start", "_window_end"] {
                row.remove(name).expect("a column");
            }
        }
        rows
    };
    let (before, originals_before) = (without_day(&app.lake()), originals(&app));
    let days = |zone: &TimeZone| -> BTreeMap<String, Value> {
        let day = |event: &SentEvent| event.at.to_zoned(zone.clone()).date().to_string();
        let days = sent
            .iter()
            .map(|event| (event.id.clone(), day(event).into()));
        days.collect()
    };
    let found = |app: &TestApp| -> BTreeMap<String, Value> {
        let rows = rows_by_id(&app.lake()).into_iter();
        rows.map(|(id, row)| (id, row["dt"].clone())).collect()
    };
    let old = TimeZone::get(app.setup.options.time_zone.as_str()).expect("a zone");
    let new = TimeZone::get(NEW_YORK).expect("a zone");
    assert_eq!(found(&app), days(&old));
    assert_ne!(days(&old), days(&new), "some stand in another day");
    let path = app.path("meetlake.toml");
    let config = std::fs::read_to_string(path).expect("a configuration");
    app.write(
        "meetlake.toml",
        &config.replace(&app.setup.options.time_zone, NEW_YORK),
    );
    let recut = app.meetlake(&["replay", "--re-cut"]);
    assert_eq!(recut.code, 0, "{recut:?}");
    assert_eq!(found(&app), days(&new));
    assert!(without_day(&app.lake()) == before, "a row is another");
    assert_eq!(app.meetlake(&["verify"]).code, 0);
    // What is known of them is known of the new days: nothing is due, and nothing changes.
    let run = app.meetlake(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(found(&app), days(&new));
    assert!(without_day(&app.lake()) == before, "a row is another");
    for (pack, hash) in originals_before {
        assert_eq!(originals(&app).get(&pack), Some(&hash), "{pack}");
    }
}

#[test]
fn a_backfill_of_events_is_refused_with_the_reason() {
    let app = setup().start();
    let output = app.meetlake(&[
        "backfill",
        "--dataset",
        "meeting_event",
        "--from",
        "2026-11-01",
        "--to",
        "2026-11-02",
    ]);
    assert_eq!(output.code, 2, "{output:?}");
    assert!(output.stderr.contains("nothing replays"), "{output:?}");
}

/// Feishu takes fifty connections of an app. One more waits for minutes, says what to do, and is no reason to end.
#[test]
fn a_connection_too_many_is_told_with_what_to_do() {
    let app = setup().start();
    app.server().set_link_faults(LinkFaults {
        handshake: Some((514, Some(1_000_040_350), 1)),
        ..LinkFaults::default()
    });
    let serving = Serving::start(&app);
    let log = || std::fs::read_to_string(app.path("child.log")).expect("a log");
    let told =
        "all 50 connections of the app are in use (1000040350); end programs that use the same";
    serving.until(|| log().contains(told), "it is told");
    assert!(log().contains("It is tried again in 300 s"), "{}", log());
    assert_eq!(app.server().link_report().open, 0);
    stop(serving);
}

#[test]
fn every_fault_of_the_connection_at_once_loses_and_doubles_nothing() {
    let app = setup().start();
    let serving = Serving::start(&app);
    // Before the first answer of discovery, a failed try waits for two minutes.
    serving.until(|| app.server().link_report().open == 1, "it is connected");
    app.server().set_link_faults(LinkFaults {
        discovery: Some((1, 1)),
        handshake: Some((514, None, 1)),
        duplicates: 0.3,
        reorder: true,
        delay: Duration::from_secs(300),
        parts: 8,
        closes_after: Some(7),
        lost_answers: 0.3,
        ping_interval: Some(2),
        garbage: true,
        ..LinkFaults::default()
    });
    let sent = send_all(&app);
    // Feishu gives up after five deliveries. What it delivered is there all the same.
    serving.until(|| app.server().link_report().waiting == 0, "all were sent");
    stop(serving);
    assert_eq!(app.meetlake(&["run"]).code, 0);
    assert_all_there(&app, &sent);
    let report = app.server().link_report();
    assert!(
        report.connections > 2 && report.sent.values().any(|times| *times > 1),
        "{report:?}"
    );
    assert!(
        report.acknowledged.len() * 10 >= sent.len() * 9,
        "{report:?}"
    );
    assert_eq!(report.refused, 0, "{report:?}");
    assert_eq!(app.meetlake(&["verify"]).code, 0);
}

/// So many events like `events`, each with an id of its own.
fn copies(events: &[SentEvent], count: usize) -> Vec<SentEvent> {
    let copies = events.iter().cycle().take(count).enumerate();
    copies
        .map(|(number, event)| {
            let id = format!("{number:032x}");
            SentEvent {
                body: event.body.replace(&event.id, &id),
                id,
                ..event.clone()
            }
        })
        .collect()
}

/// Thousands of events while everything goes wrong at once, a hundred thousand with `MEETLAKE_LONG`.
#[test]
fn a_flood_with_every_fault_loses_and_doubles_nothing() {
    let is_long = std::env::var_os("MEETLAKE_LONG").is_some();
    let (count, half_open) = if is_long { (100_000, 3) } else { (2_000, 1) };
    let app = setup()
        .with(|options| {
            options.event_pause = Duration::ZERO;
            // Six hours to the last delivery take three seconds.
            options.clock = SimClock::new(options.clock.now(), 8_000.0);
        })
        .start();
    let short_pings = LinkFaults {
        ping_interval: Some(2),
        ..LinkFaults::default()
    };
    app.server().set_link_faults(short_pings);
    let serving = Serving::start(&app);
    let pings = || app.server().link_report().pings;
    serving.until(|| pings() > 1, "it has heard of the interval");
    app.server().set_link_faults(LinkFaults {
        discovery: Some((1, 2)),
        handshake: Some((514, None, 2)),
        duplicates: 0.2,
        reorder: true,
        delay: Duration::from_secs(4 * 60 * 60),
        parts: 6,
        closes_after: Some(count as u64 / 7),
        half_open,
        lost_answers: 0.1,
        ping_interval: Some(2),
        garbage: true,
        oversize: Some((10 << 20, 2)),
        ..LinkFaults::default()
    });
    let sent = copies(&events_of(&app), count);
    let began = std::time::Instant::now();
    app.server().send(&sent);
    while app.server().events_waiting() > 0 {
        let longest = Duration::from_secs(if is_long { 3_000 } else { 240 });
        assert!(
            began.elapsed() < longest,
            "{} wait",
            app.server().events_waiting()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    let took = began.elapsed();
    stop(serving);
    // A run cuts some 20,000 events into batches; what is left is for the next one.
    while {
        let before = app.content_hashes();
        assert_eq!(app.meetlake(&["run"]).code, 0);
        before != app.content_hashes()
    } {}
    assert_all_there(&app, &sent);
    let report = app.server().link_report();
    let deliveries: u64 = report.sent.values().sum();
    println!(
        "{} events, {deliveries} deliveries in {took:.0?}, {} acknowledged, {} connections: 0 of them lost, 0 doubled",
        sent.len(),
        report.acknowledged.len(),
        report.connections
    );
    assert_eq!(report.refused, 0, "{report:?}");
    assert!(report.acknowledged.len() * 10 >= sent.len() * 9);
    assert!(report.connections > 5 && deliveries > sent.len() as u64);
    assert_eq!(app.meetlake(&["verify"]).code, 0);
}

/// An app that is not subscribed to ends hears of beginnings only. `status` and the log say so, and what to do; an app that hears of
/// both is told nothing.
#[test]
fn ends_that_do_not_come_are_told() {
    const ENDED: &str = "vc.meeting.all_meeting_ended_v1";
    for (drops, is_told) in [(Some(ENDED), true), (None, false)] {
        let app = setup().start();
        app.server().set_link_faults(LinkFaults {
            drops,
            ..LinkFaults::default()
        });
        let serving = Serving::start(&app);
        let sent = send_all(&app);
        let started = sent
            .iter()
            .filter(|event| event.event_type.contains("all_meeting_started"))
            .count();
        serving.until(|| app.server().link_report().waiting == 0, "all were sent");
        stop(serving);
        let run = app.meetlake(&["run"]);
        assert_eq!(run.code, 0, "{}", run.text());
        let (status, text) = (app.status(), app.meetlake(&["status"]).stdout);
        let missing = status["missing_ends"].as_array().expect("a list");
        assert_eq!(!missing.is_empty(), is_told, "{missing:?}");
        let advice = format!("no {ENDED}: subscribe the app to it");
        assert_eq!(text.contains(&advice), is_told, "{text}");
        assert_eq!(run.stderr.contains(&advice), is_told, "{}", run.stderr);
        if is_told {
            assert_eq!(missing.len(), 1, "{missing:?}");
            assert_eq!(missing[0]["count"], started);
        }
    }
}

#[test]
fn a_message_that_is_no_event_is_named_and_counted_and_the_connection_goes_on() {
    let app = setup().start();
    let serving = Serving::start(&app);
    app.server().set_link_faults(LinkFaults {
        garbage: true,
        oversize: Some((10 << 20, 2)),
        ..LinkFaults::default()
    });
    let sent = send_all(&app);
    serving.until(|| acknowledged(&app) == ids(&sent), "all are acknowledged");
    let report = app.server().link_report();
    assert_eq!((report.connections, report.refused), (1, 0), "{report:?}");
    let log = std::fs::read_to_string(app.path("child.log")).expect("a log");
    for named in [
        "a message is no frame: a field is of no known kind",
        "a message is no frame: the required field `method` is missing",
        "a message is no frame: it is longer than 9437184 bytes",
        "a frame is neither an event nor a pong",
        "a part of an event does not fit: the number of the part makes no sense",
        "a part of an event does not fit: its parts do not agree on their number",
        "a part of an event does not fit: it is larger than what is kept",
    ] {
        assert!(log.contains(named), "{named}: {log}");
    }
    stop(serving);
    assert_eq!(app.meetlake(&["run"]).code, 0);
    assert_all_there(&app, &sent);
}

#[test]
fn a_message_that_is_longer_than_is_read_costs_one_connection_and_no_event() {
    let app = setup().start();
    let serving = Serving::start(&app);
    serving.until(|| app.server().link_report().open == 1, "it is connected");
    app.server().set_link_faults(LinkFaults {
        oversize: Some((33 << 20, 1)),
        ..LinkFaults::default()
    });
    let sent = send_all(&app);
    serving.until(|| acknowledged(&app) == ids(&sent), "all are acknowledged");
    assert_eq!(app.server().link_report().connections, 2);
    let log = std::fs::read_to_string(app.path("child.log")).expect("a log");
    assert!(
        log.contains("a message is longer than 33554432 bytes"),
        "{log}"
    );
    stop(serving);
    assert_eq!(app.meetlake(&["run"]).code, 0);
    assert_all_there(&app, &sent);
}

#[test]
fn a_half_open_connection_is_noticed_and_left() {
    let app = setup().start();
    // Before it connects: it hears of the interval in the answer to its first ping.
    app.server().set_link_faults(LinkFaults {
        ping_interval: Some(2),
        half_open: 1,
        ..LinkFaults::default()
    });
    let serving = Serving::start(&app);
    let report = || app.server().link_report();
    serving.until(|| report().pings > 1, "it has heard of the interval");
    let began = jiff::Timestamp::now();
    let sent = send_all(&app);
    serving.until(|| acknowledged(&app) == ids(&sent), "all are acknowledged");
    assert!(report().connections == 2, "{:?}", report());
    let log = std::fs::read_to_string(app.path("child.log")).expect("a log");
    // By the client's clock.
    let times = |told: &str| -> Vec<jiff::Timestamp> {
        let lines = log.lines().filter(|line| line.contains(told));
        let time = |line: &str| line.split(' ').next().and_then(|time| time.parse().ok());
        lines.filter_map(time).collect()
    };
    let left = times("not even an answer to a ping");
    let opened = times("events come in over the long connection");
    assert_eq!((left.len(), opened.len()), (1, 2), "{log}");
    let noticed = left[0].duration_since(began).as_secs_f64();
    let back = opened[1].duration_since(left[0]).as_secs_f64();
    println!(
        "a half-open connection was noticed after {noticed:.1} s and left once; the next was open {back:.1} s later"
    );
    // Two seconds to the next ping, 30 of silence after it, and a busy machine.
    assert!(
        (29.0..60.0).contains(&noticed) && back < 30.0,
        "{noticed} {back}"
    );
    stop(serving);
    assert_eq!(app.meetlake(&["run"]).code, 0);
    assert_all_there(&app, &sent);
}

/// A server that answers no ping is left for dead, however open its socket is; what it sends on the next connection is kept, and none of it
/// is lost when that one is left too.
#[test]
fn a_connection_without_any_pong_is_left_and_no_event_is_lost() {
    let app = setup().start();
    app.server().set_link_faults(LinkFaults {
        no_pong: true,
        ..LinkFaults::default()
    });
    let serving = Serving::start(&app);
    let report = || app.server().link_report();
    serving.until(|| report().connections == 1, "it is connected");
    // Events are life as well: half of them come while nothing else does.
    serving.until(|| report().connections == 2, "the first one was left");
    let company = app.server().company();
    let middle = company.start_of_day(app.first_day().tomorrow().expect("a day"));
    let (start, end) = (
        company.start_of_day(app.first_day()),
        company.start_of_day(app.end_day()),
    );
    let mut sent = app.server().send_events(start, middle);
    serving.until(|| acknowledged(&app) == ids(&sent), "half are acknowledged");
    app.server().set_link_faults(LinkFaults {
        no_pong: true,
        closes_after: Some(1),
        ..LinkFaults::default()
    });
    sent.extend(app.server().send_events(middle, end));
    serving.until(|| acknowledged(&app) == ids(&sent), "all are acknowledged");
    let log = std::fs::read_to_string(app.path("child.log")).expect("a log");
    let left = log.matches("not even an answer to a ping").count();
    assert_eq!(left, 1, "{log}");
    assert!(
        report().pings > 1 && report().connections > 2,
        "{:?}",
        report()
    );
    stop(serving);
    assert_eq!(app.meetlake(&["run"]).code, 0);
    assert_all_there(&app, &sent);
}

#[test]
fn what_was_acknowledged_survives_every_kill() {
    let app = setup().start();
    app.server().set_link_faults(LinkFaults {
        parts: 4,
        duplicates: 0.2,
        ..LinkFaults::default()
    });
    let mut sent = Vec::new();
    for round in 0..6_u64 {
        let mut serving = Serving::start(&app);
        // Each time the same events once more, so that some are in the lake, some in the ledger, and some on their way.
        sent = send_all(&app);
        std::thread::sleep(Duration::from_millis(40 + round * 45));
        serving.child.kill().expect("it lives");
        serving.child.wait().expect("it ended");
        assert!(round % 2 == 0 || app.meetlake(&["run"]).code == 0);
    }
    let serving = Serving::start(&app);
    serving.until(|| acknowledged(&app) == ids(&sent), "all are acknowledged");
    serving.until(
        || app.server().link_report().waiting == 0,
        "nothing is left",
    );
    stop(serving);
    assert_eq!(app.meetlake(&["run"]).code, 0);
    assert_all_there(&app, &sent);
    assert_eq!(app.meetlake(&["verify"]).code, 0);
}

/// Serves with failpoints until the process has ended by itself.
#[cfg(feature = "failpoints")]
fn serve_until_struck(app: &mut TestApp, failpoints: &str) {
    app.setup.environment = Some(("FAILPOINTS", failpoints.to_owned()));
    let mut serving = Serving::start(app);
    let (code, _) = wait(&mut serving.child, Duration::from_secs(60));
    assert_ne!(code, Some(0), "{failpoints}");
    drop(serving);
    app.setup.environment = None;
}

#[cfg(feature = "failpoints")]
#[test]
fn a_process_that_dies_at_any_step_of_an_event_loses_and_doubles_none() {
    let mut app = setup().start();
    let sent = send_all(&app);
    for failpoint in ["w15-event-received", "w15-event-kept"] {
        serve_until_struck(&mut app, &format!("{failpoint}=4*off->return"));
    }
    let serving = Serving::start(&app);
    serving.until(|| acknowledged(&app) == ids(&sent), "all are acknowledged");
    stop(serving);
    // Each step from the ledger to the lake, one run after the other over what is left.
    for failpoint in [
        "w15-batch-planned",
        "w07-fetched",
        "w08-rows-kept",
        "w08-rows-recorded",
        "w08-pack-put",
        "w08-intent-recorded",
        "w09-object-put",
        "w10-manifest-put",
        "w11-partition-recorded",
        "w11-tasks-recorded",
    ] {
        app.setup.environment = Some(("FAILPOINTS", format!("{failpoint}=return")));
        let mut child = app.spawn(&["run"]);
        let (code, _) = wait(&mut child, Duration::from_secs(60));
        assert_eq!(code, None, "{failpoint} ends it with a signal");
        app.setup.environment = None;
    }
    assert_eq!(app.meetlake(&["run"]).code, 0);
    assert_all_there(&app, &sent);
    assert_eq!(rows_by_id(&app.lake()).len(), sent.len());
    assert_eq!(app.meetlake(&["verify"]).code, 0);
}

#[cfg(feature = "failpoints")]
#[test]
fn an_event_that_is_acknowledged_and_not_kept_is_noticed() {
    let mut app = setup().start();
    app.setup.environment = Some((
        "FAILPOINTS",
        "planted-event-dropped=3*off->1*return".to_owned(),
    ));
    let serving = Serving::start(&app);
    let sent = send_all(&app);
    serving.until(|| acknowledged(&app) == ids(&sent), "all are acknowledged");
    stop(serving);
    assert_eq!(app.meetlake(&["run"]).code, 0);
    let rows = rows_by_id(&app.lake());
    assert_eq!(lost(&rows, &acknowledged(&app)).len(), 1);
}

// --- the webhook ----------------------------------------------------------------------------------------------------

const ENCRYPT_KEY: &str = "canary-encrypt-key";

pub(crate) fn sender(app: &TestApp, encrypt_key: Option<&str>) -> WebhookSender {
    WebhookSender {
        verification_token: app.setup.options.verification_token.clone(),
        encrypt_key: encrypt_key.map(str::to_owned),
    }
}

/// Posts a call; gives status and body.
pub(crate) fn post(app: &TestApp, address: &str, call: &WebhookCall) -> (u16, String) {
    app.block_on(async {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut request = reqwest::Client::new().post(format!("http://{address}/"));
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        let response = request
            .body(call.body.clone())
            .send()
            .await
            .expect("an answer");
        let status = response.status().as_u16();
        (status, response.text().await.expect("a body"))
    })
}

pub(crate) fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").to_string()
}

fn webhook_app(encrypt_key: Option<&str>) -> (TestApp, String) {
    let address = free_address();
    let mut setup = setup();
    let key = encrypt_key.map_or_else(String::new, |key| format!("encrypt_key = \"{key}\"\n"));
    setup.inlet = format!(
        "inlet = \"webhook\"\nlisten = \"{address}\"\nverification_token = \"{}\"\n{key}",
        setup.options.verification_token
    );
    (setup.start(), address)
}

/// Events of the company that nobody sends over the long connection.
pub(crate) fn events_of(app: &TestApp) -> Vec<SentEvent> {
    let company = app.server().company();
    let start = company.start_of_day(app.first_day());
    app.server()
        .events_in(start, company.start_of_day(app.end_day()))
}

#[test]
fn calls_of_the_webhook_are_kept_and_forged_ones_are_not() {
    for encrypt_key in [Some(ENCRYPT_KEY), None] {
        let (app, address) = webhook_app(encrypt_key);
        let serving = Serving::start(&app);
        let sender = sender(&app, encrypt_key);
        let events = events_of(&app);
        let (status, answer) = post(&app, &address, &sender.challenge("are you there"));
        assert_eq!(
            (status, answer.as_str()),
            (200, r#"{"challenge":"are you there"}"#)
        );
        let (genuine, others) = events.split_at(10);
        for (number, event) in genuine.iter().enumerate() {
            let call = sender.event(&event.body, &number.to_string());
            assert_eq!(post(&app, &address, &call).0, 200);
            // The same bytes once more: acknowledged, and not kept twice.
            assert_eq!(post(&app, &address, &call).0, 200);
        }
        let forger = WebhookSender {
            verification_token: "another-token".to_owned(),
            encrypt_key: encrypt_key.map(|_| "another-key".to_owned()),
        };
        let foreign = |body: &str| body.replace(&sender.verification_token, "another-token");
        let mut forged = vec![
            forger.challenge("x"),
            forger.event(&foreign(&others[0].body), "n"),
            WebhookCall {
                headers: vec![],
                body: b"no JSON".to_vec(),
            },
        ];
        if encrypt_key.is_some() {
            let mut unsigned = sender.event(&others[1].body, "n");
            unsigned.headers.clear();
            let mut tampered = sender.event(&others[2].body, "n");
            tampered.body.push(b' ');
            let mut of_another = sender.event(&others[3].body, "n");
            of_another.headers = sender.event(&others[4].body, "n").headers;
            let in_the_clear = WebhookCall {
                headers: sender.event(&others[5].body, "n").headers,
                body: others[5].body.clone().into_bytes(),
            };
            forged.extend([unsigned, tampered, of_another, in_the_clear]);
        }
        for call in &forged {
            let found = post(&app, &address, call);
            assert_eq!(found, (401, String::new()), "{call:?}");
        }
        let too_long = WebhookCall {
            headers: vec![],
            body: vec![b' '; (1 << 20) + 1],
        };
        assert_eq!(post(&app, &address, &too_long).0, 413);
        stop(serving);
        let log = std::fs::read_to_string(app.path("child.log")).expect("a log");
        assert!(log.contains("a call of the webhook was refused"), "{log}");
        for canary in [ENCRYPT_KEY, sender.verification_token.as_str()] {
            assert!(!log.contains(canary), "{canary} is in the log");
        }
        assert_eq!(app.meetlake(&["run"]).code, 0);
        let found: BTreeSet<String> = rows_by_id(&app.lake()).into_keys().collect();
        assert_eq!(found, ids(genuine));
        let status = app.status();
        let of_types = status["events"].as_array().expect("events");
        let sum = |what: &str| {
            of_types
                .iter()
                .map(|of| of[what].as_u64().expect("a count"))
                .sum::<u64>()
        };
        assert_eq!((sum("kept"), sum("repeated"), sum("left_out")), (10, 10, 0));
    }
}

#[test]
fn messages_of_other_services_are_acknowledged_counted_and_not_kept() {
    let (app, address) = webhook_app(None);
    let serving = Serving::start(&app);
    let sender = sender(&app, None);
    let token = &sender.verification_token;
    let chat = format!(
        r#"{{"schema":"2.0","header":{{"event_id":"c1","event_type":"im.message.receive_v1","token":"{token}"}},"event":{{"text":"canary-of-a-chat"}}}}"#
    );
    let unreadable = format!(r#"{{"header":{{"token":"{token}"}}}}"#);
    for body in [&chat, &chat, &unreadable] {
        assert_eq!(post(&app, &address, &sender.event(body, "n")).0, 200);
    }
    stop(serving);
    let status = app.status();
    let of_chat = &status["events"][0];
    assert_eq!(of_chat["event_type"], "im.message.receive_v1");
    assert_eq!(
        (&of_chat["kept"], &of_chat["left_out"]),
        (&0.into(), &2.into())
    );
    for file in lake::below(&app.path("")) {
        let text = String::from_utf8_lossy(&std::fs::read(&file).expect("a file")).into_owned();
        assert!(!text.contains("canary-of-a-chat"), "{}", file.display());
    }
    let log = std::fs::read_to_string(app.path("child.log")).expect("a log");
    assert!(log.contains("it has no id or no type"), "{log}");
}

// --- the vendor's SDK -----------------------------------------------------------------------------------------------

/// The simulator is what the vendor's own client takes it for, so that what ours does with it counts.
#[test]
fn the_vendors_sdk_receives_the_simulators_events() {
    let Some(python) = std::env::var_os("MEETLAKE_TEST_PYTHON") else {
        println!("skipped: MEETLAKE_TEST_PYTHON is not set; tests/run sets it");
        return;
    };
    let has_sdk = std::process::Command::new(&python)
        .args(["-c", "import lark_oapi.ws"])
        .output();
    if !has_sdk.is_ok_and(|output| output.status.success()) {
        println!("skipped: {} has no lark_oapi", python.display());
        return;
    }
    let app = setup().start();
    app.server().set_link_faults(LinkFaults {
        parts: 5,
        duplicates: 0.3,
        reorder: true,
        ..LinkFaults::default()
    });
    let sent = send_all(&app);
    let output = std::process::Command::new(python)
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/simulator/sdk_events.py"
        ))
        .arg(app.server().base_url())
        .args([&app.setup.options.app_id, &app.setup.options.app_secret])
        .arg(sent.len().to_string())
        .output()
        .expect("python starts");
    let text = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&text)
    );
    assert_eq!(acknowledged(&app), ids(&sent));
}
