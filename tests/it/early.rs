//! A meeting is asked for minutes after an event told of its end, and its night is the truth all the same.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use meetlake::testing::dataset::Dataset;
use meetlake::testing::record::{ScheduleState, WindowBatch};
use meetlake_simulator::{LinkFaults, SentEvent};
use serde_json::Value;

use crate::app::{Setup, TENANT, TestApp, signal, wait};
use crate::lake;
use crate::serving::Serving;
use crate::truth::Truth;

const CHAIN: [Dataset; 6] = [
    Dataset::MeetingEvent,
    Dataset::MeetingList,
    Dataset::ParticipantList,
    Dataset::Meeting,
    Dataset::MeetingParticipant,
    Dataset::Recording,
];

/// A company all of whose days are days whose night is still to come.
fn before_the_night() -> TestApp {
    let setup = Setup::real().only(&CHAIN);
    let mut setup = setup.job(Dataset::ParticipantList, "[fan_out]\nearly = true\n");
    setup.settle_delay = "20d";
    setup.start()
}

/// The same lake, when all nights are over.
fn let_the_nights_pass(app: &mut TestApp) {
    app.setup.settle_delay = "1m";
    app.write_configuration();
}

/// Events of the first day's meetings that ended.
fn ended(app: &TestApp) -> Vec<SentEvent> {
    let company = app.server().company();
    let start = company.start_of_day(app.first_day());
    let end = company.start_of_day(app.first_day().tomorrow().expect("a day"));
    let mut events = app.server().events_in(start, end);
    events.retain(|event| event.event_type == "vc.meeting.all_meeting_ended_v1");
    events
}

fn text_of(event: &SentEvent, place: &str) -> String {
    let body: Value = serde_json::from_str(&event.body).expect("JSON");
    let value = body.pointer(place).and_then(Value::as_str);
    value.expect("a text").to_owned()
}

fn meeting_ids(app: &TestApp, dataset: Dataset) -> BTreeSet<String> {
    let rows = lake::rows(&app.lake(), dataset);
    let ids = rows.iter().filter_map(|row| row["meeting_id"].as_str());
    ids.map(str::to_owned).collect()
}

fn calls(app: &TestApp, endpoint: &str) -> u64 {
    let endpoints = app.report().endpoints;
    endpoints.get(endpoint).map_or(0, |of| of.calls)
}

/// Recordings wait for a quarter of an hour; nothing else does.
fn no_task_is_open(app: &TestApp) -> bool {
    let status = app.status();
    let datasets = status["datasets"].as_array().expect("datasets");
    let mut others = datasets.iter().filter(|of| of["dataset"] != "recording");
    others.all(|of| of["tasks"]["open"].is_null() && of["tasks"]["spooled"].is_null())
}

fn stop(mut serving: Serving<'_>) {
    signal(&serving.child, "TERM");
    assert_eq!(wait(&mut serving.child, Duration::from_secs(25)).0, Some(0));
}

fn assert_true(app: &TestApp) {
    let truth = Truth::of(app.server().company(), app.setup.options.clock.now());
    for dataset in &CHAIN[1..] {
        let differences = truth.differences_of(&app.lake(), *dataset);
        assert!(differences.is_empty(), "{differences:#?}");
    }
}

#[test]
fn a_meeting_is_in_the_lake_minutes_after_its_event_and_the_night_is_the_truth() {
    let mut app = before_the_night();
    let plan = app.meetlake(&["plan"]).stdout;
    for told in ["meeting", "meeting_participant", "recording"] {
        let twice = format!("{told}: a month counts each meeting twice");
        assert!(plan.contains(&twice), "{plan}");
    }
    let serving = Serving::start(&app);
    serving.until(|| app.server().link_report().open == 1, "it is connected");
    let events = ended(&app);
    // Of one meeting no event comes, and one event is of a meeting that no list has.
    let (silent, told) = events.split_first().expect("meetings");
    let mut unknown = told[0].clone();
    unknown.id = "of-no-list".to_owned();
    unknown.body = unknown.body.replace(&told[0].id, &unknown.id);
    let number = text_of(&unknown, "/event/meeting/meeting_no");
    unknown.body = unknown.body.replace(&number, "999999999");
    let (began, ids) = (Instant::now(), |events: &[SentEvent]| -> BTreeSet<String> {
        let ids = events
            .iter()
            .map(|event| text_of(event, "/event/meeting/id"));
        ids.collect()
    });
    app.server().send(told);
    app.server().send(std::slice::from_ref(&unknown));
    let told_ids = ids(told);
    // A number that recurs brings the meeting of which no event told along.
    serving.until(
        || meeting_ids(&app, Dataset::Meeting).is_superset(&told_ids),
        "they are in the lake",
    );
    println!(
        "from the event to the row of its meeting: {:?}",
        began.elapsed()
    );
    let participants = || meeting_ids(&app, Dataset::MeetingParticipant);
    serving.until(
        || participants().is_superset(&told_ids),
        "and who took part",
    );
    println!("to those of its participants: {:?}", began.elapsed());
    serving.until(
        || serving.rows(Dataset::ParticipantList) > 0,
        "the sheets too",
    );
    println!("to its sheet of participants: {:?}", began.elapsed());
    // The meeting that no list has is asked for too. Left open, it would be asked for in the night.
    let numbers = told.iter().chain([&unknown]);
    let numbers = numbers.map(|event| text_of(event, "/event/meeting/meeting_no"));
    let numbers = numbers.collect::<BTreeSet<_>>().len() as u64;
    let meetings = told.len() as u64 + 1;
    serving.until(
        || {
            calls(&app, "meeting_list_by_no") >= numbers
                && calls(&app, "participant_list") >= meetings
                && serving.rows(Dataset::ParticipantList) > 0
                && no_task_is_open(&app)
        },
        "nothing is left to ask for before the night",
    );
    stop(serving);

    // Nothing is complete, nothing is late, and nobody is told to do anything.
    let status = app.meetlake(&["status"]);
    assert_eq!(status.code, 0, "{status:?}");
    assert!(!status.stdout.contains("complete"), "{status:?}");
    let log = std::fs::read_to_string(app.path("child.log")).expect("a log");
    let warnings: Vec<&str> = log.lines().filter(|line| line.contains("WARN")).collect();
    assert!(warnings.is_empty(), "{warnings:#?}");
    assert_eq!(calls(&app, "meeting_list"), 0, "the night is to come");
    let by = |app: &TestApp| -> BTreeSet<String> {
        let rows = lake::rows(&app.lake(), Dataset::Meeting);
        let by = rows.iter().map(|row| row["discovered_by"].to_string());
        by.collect()
    };
    let by_event = r#"["event","list_by_no"]"#.to_owned();
    assert_eq!(by(&app), BTreeSet::from([by_event]));
    assert_eq!(app.meetlake(&["verify"]).code, 0);
    let by_number = calls(&app, "meeting_list_by_no");

    let_the_nights_pass(&mut app);
    let run = app.meetlake(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert_true(&app);
    for partition in app.status()["partitions"].as_array().expect("partitions") {
        assert_eq!(partition["state"], "complete", "{partition}");
    }
    // Of numbers with an event, the list told too.
    let by_list = r#"["export","list_by_no"]"#.to_owned();
    let by_both = r#"["event","export","list_by_no"]"#.to_owned();
    assert_eq!(by(&app), BTreeSet::from([by_both, by_list]));
    // Everything is asked for once more.
    let company = app.server().company();
    let days = [app.first_day(), app.first_day().tomorrow().expect("a day")];
    let [of_first_day, of_second_day] = days.map(|day| {
        let meetings = company.meetings().iter();
        let of_day = meetings.filter(|meeting| company.date_of(meeting.start) == day);
        let numbers: BTreeSet<&str> = of_day.map(|meeting| meeting.meeting_no.as_str()).collect();
        numbers.len() as u64
    });
    let more = calls(&app, "meeting_list_by_no") - by_number;
    assert_eq!(more, of_first_day + of_second_day, "each number once");
    // Sheets are exported once more.
    let meetings = company.meetings().len() as u64;
    assert_eq!(
        calls(&app, "participant_list"),
        told.len() as u64 + 1 + meetings
    );
    // What events and list disagree on is shown.
    let status = app.meetlake(&["status"]).stdout;
    assert!(
        status.contains("1 meeting of the list ended without an event"),
        "{status}"
    );
    assert!(
        status.contains("1 meeting with an event is not in the list"),
        "{status}"
    );
    assert!(!meeting_ids(&app, Dataset::Meeting).is_empty());
    assert!(meeting_ids(&app, Dataset::Meeting).contains(&text_of(silent, "/event/meeting/id")));

    // The same from a ledger that was lost.
    let before = app.content_hashes();
    std::fs::remove_file(app.path("meetlake.db")).expect("lost");
    let rebuilt = app.meetlake(&["ledger", "rebuild"]);
    assert_eq!(rebuilt.code, 0, "{rebuilt:?}");
    let run = app.meetlake(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(app.content_hashes(), before);
}

/// Nobody cuts the days any more for which meetings were asked for early: those that are cut in their place bring everything.
#[test]
fn a_zone_or_a_length_that_changes_before_the_night_leaves_nothing_due_for_ever() {
    for change in ["time_zone = \"Asia/Tokyo\"\n", "window = \"2d\"\n"] {
        let mut app = before_the_night();
        let serving = Serving::start(&app);
        let events = ended(&app);
        app.server().send(&events);
        let told = events.len();
        serving.until(
            || meeting_ids(&app, Dataset::Meeting).len() >= told.min(3) && no_task_is_open(&app),
            "some are in the lake",
        );
        stop(serving);
        let_the_nights_pass(&mut app);
        for dataset in &CHAIN[1..] {
            let lines = app.setup.jobs.remove(dataset).unwrap_or_default();
            app.setup.jobs.insert(*dataset, format!("{change}{lines}"));
        }
        app.write_configuration();
        if change.starts_with("time_zone") {
            let read = app.meetlake(&["replay", "--re-read"]);
            assert_eq!(read.code, 0, "{read:?}");
        }
        let from = app.first_day().yesterday().expect("a day").to_string();
        let to = app.end_day().tomorrow().expect("a day").to_string();
        let run = app.meetlake(&["backfill", "--from", &from, "--to", &to]);
        assert_eq!(run.code, 0, "{change}: {run:?}");
        assert_true(&app);
        let status = app.meetlake(&["status"]);
        assert_eq!(status.code, 0, "{change}: {status:?}");
        assert_eq!(app.meetlake(&["verify"]).code, 0);
    }
}

/// Days that were missed and that nobody asks for show what was told of them early, and no more.
#[test]
fn days_that_are_left_out_keep_what_was_asked_for_early() {
    let mut app = before_the_night();
    let serving = Serving::start(&app);
    // Of several, a first look may know only some, and the next one comes a minute later.
    let event = &ended(&app)[..1];
    app.server().send(event);
    let told = text_of(&event[0], "/event/meeting/id");
    serving.until(
        || {
            let found = meeting_ids(&app, Dataset::MeetingParticipant);
            found.contains(&told) && no_task_is_open(&app)
        },
        "it is in the lake",
    );
    stop(serving);
    let_the_nights_pass(&mut app);
    let before = meeting_ids(&app, Dataset::Meeting);
    // The schedules ran before those days, and the jobs do not ask for what was missed.
    let begun = app.server().company().start_of_day(app.first_day());
    let state = ScheduleState {
        watermark: begun,
        last_firing: begun,
    };
    for dataset in &CHAIN[1..] {
        let lines = app.setup.jobs.remove(dataset).unwrap_or_default();
        app.setup
            .jobs
            .insert(*dataset, format!("missed = \"none\"\n{lines}"));
        app.with_ledger(async |ledger| {
            let batch = WindowBatch {
                job: dataset.as_str(),
                tenant: TENANT,
                dataset: *dataset,
                new: &[],
                again: &[],
                firing: begun,
                schedule: Some(state),
            };
            ledger.insert_windows(&batch).await.expect("recorded");
        });
    }
    app.write_configuration();
    let run = app.meetlake(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(meeting_ids(&app, Dataset::Meeting), before);
    assert!(no_task_is_open(&app));
}

#[cfg(feature = "failpoints")]
#[test]
fn killed_and_rebuilt_before_the_night_every_row_stands_once_after_it() {
    // Each waits a minute after its death, because nobody knows what the last calls were.
    std::thread::scope(|scope| {
        for place in [
            "w16-planned-early",
            "w08-rows-recorded",
            "w09-object-put",
            "w10-manifest-put",
        ] {
            scope.spawn(move || die_before_the_night(place));
        }
    });
}

#[cfg(feature = "failpoints")]
fn die_before_the_night(place: &str) {
    let mut app = before_the_night();
    app.server().set_link_faults(LinkFaults {
        duplicates: 0.3,
        reorder: true,
        ..LinkFaults::default()
    });
    // Events are published first, so that the second time is of what they told.
    app.setup.environment = Some(("FAILPOINTS", format!("{place}=1*off->return")));
    let mut serving = Serving::start(&app);
    app.server().send(&ended(&app));
    let (code, _) = wait(&mut serving.child, Duration::from_secs(150));
    assert_ne!(code, Some(0), "{place}: it died");
    drop(serving);
    app.setup.environment = None;
    if place == "w10-manifest-put" {
        std::fs::remove_file(app.path("meetlake.db")).expect("lost");
        let rebuilt = app.meetlake(&["ledger", "rebuild"]);
        assert_eq!(rebuilt.code, 0, "{rebuilt:?}");
    }
    let_the_nights_pass(&mut app);
    let run = app.meetlake(&["run"]);
    assert_eq!(run.code, 0, "{place}: {run:?}");
    assert_true(&app);
    let verify = app.meetlake(&["verify"]);
    assert_eq!(verify.code, 0, "{place}: {verify:?}");
}
