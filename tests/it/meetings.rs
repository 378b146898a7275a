//! Meetings by their unique id: from the numbers of a list to ids, details, participants and recordings.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use jiff::civil::Date;
use meetlake::testing::dataset::Dataset;
use meetlake_simulator::company::Meeting;
use meetlake_simulator::{HiddenMeetings, MeetingFilter, meetings as simulated};
use serde_json::{Value, json};

use crate::app::{Setup, TestApp, finish};
use crate::lake;
use crate::truth::Truth;

const CHAIN: [Dataset; 4] = [
    Dataset::MeetingList,
    Dataset::Meeting,
    Dataset::MeetingParticipant,
    Dataset::Recording,
];

fn assert_true(app: &TestApp) {
    let now = app.setup.options.clock.now();
    let truth = Truth::of(app.server().company(), now);
    for dataset in CHAIN {
        let differences = truth.differences_of(&app.lake(), dataset);
        assert!(differences.is_empty(), "{differences:#?}");
    }
}

fn calls(app: &TestApp, endpoint: &str) -> u64 {
    let endpoints = app.report().endpoints;
    endpoints.get(endpoint).map_or(0, |of| of.calls)
}

/// Different numbers of each day, and meetings, of the whole company.
fn numbers_and_meetings(app: &TestApp) -> (u64, u64) {
    let company = app.server().company();
    let number = |meeting: &Meeting| (company.date_of(meeting.start), meeting.meeting_no.clone());
    let meetings = company.meetings().iter();
    let numbers: BTreeSet<_> = meetings.map(|meeting| number(meeting)).collect();
    (numbers.len() as u64, company.meetings().len() as u64)
}

/// Two numbers recur within a day, so that a page of one id makes each of them two pages. Whatever
/// the endpoint compares with the range, the same meetings are found.
#[test]
fn every_meeting_of_the_list_has_its_id_participants_and_recording() {
    for filter in [
        MeetingFilter::Start,
        MeetingFilter::End,
        MeetingFilter::Overlap,
    ] {
        let setup = Setup::fast().only(&CHAIN).knobs(|knobs| {
            knobs.page_size = 1;
            knobs.meeting_filter = filter;
        });
        let app = setup.start();
        let summary = app.reconcile();
        assert!(summary.is_settled(), "{filter:?}: {summary:?}");
        assert_true(&app);
        let keys = |dataset| -> BTreeSet<String> {
            let rows = lake::rows(&app.lake(), dataset);
            let keys = rows.iter().filter_map(|row| row["meeting_key"].as_str());
            keys.map(str::to_owned).collect()
        };
        let listed = keys(Dataset::MeetingList);
        assert_eq!(listed, keys(Dataset::Meeting), "every row joins");
        assert_eq!(listed, keys(Dataset::MeetingParticipant));
        assert!(keys(Dataset::Recording).is_subset(&listed));
        assert!(!keys(Dataset::Recording).is_empty());

        let (_, meetings) = numbers_and_meetings(&app);
        // Once for the meeting, twice for its participants, and once for the documents of its notes.
        assert_eq!(calls(&app, "meeting"), 3 * meetings + with_notes(&app));
        let before = app.calls();
        let again = app.reconcile();
        assert!(again.is_settled() && again.datasets.is_empty(), "{again:?}");
        assert_eq!(app.calls(), before, "nothing is asked for twice");
    }
}

pub(crate) fn with_notes(app: &TestApp) -> u64 {
    let meetings = app.server().company().meetings().iter();
    meetings
        .filter_map(|meeting| simulated::notes(meeting))
        .count() as u64
}

/// Token and whether there is one, of both documents of a meeting.
fn documents(row: &lake::Row) -> Value {
    let of = |name: &str| json!([row[&format!("has_{name}")], row[&format!("{name}_token")]]);
    json!([of("note_doc"), of("verbatim_doc")])
}

/// Without a scope nothing of its document is told, which is another thing than that there is none.
#[test]
fn the_documents_of_a_meetings_notes_are_named_as_far_as_scopes_allow() {
    let note = "vc:meeting.artifact.note:read";
    let verbatim = "vc:meeting.artifact.verbatim:read";
    for (missing, artifacts) in [
        (vec![], true),
        (vec![verbatim], true),
        (vec![note, verbatim], true),
        (vec![], false),
    ] {
        let setup = Setup::fast().only(&CHAIN).knobs(|knobs| {
            knobs
                .scopes
                .retain(|scope| !missing.contains(&scope.as_str()));
        });
        let of_job = format!("[request]\nartifacts = {artifacts}\n");
        let app = setup.job(Dataset::Meeting, &of_job).start();
        assert!(app.reconcile().is_settled());
        assert_true(&app);
        let told = |scope, token: &str| match missing.contains(&scope) || !artifacts {
            true => json!([null, null]),
            false if token.is_empty() => json!([false, null]),
            false => json!([true, token]),
        };
        let company = app.server().company();
        let mut left = 0;
        for row in lake::rows(&app.lake(), Dataset::Meeting) {
            let is_it = |meeting: &&Arc<Meeting>| row["meeting_id"] == json!(meeting.id());
            let meeting = company.meetings().iter().find(is_it).expect("a meeting");
            let expected = match simulated::notes(meeting) {
                Some(notes) => {
                    left += 1;
                    assert_eq!(row["note_id"], json!(notes.id));
                    json!([
                        told(note, &notes.note_doc_token),
                        told(verbatim, &notes.verbatim_doc_token)
                    ])
                }
                None => json!([[null, null], [null, null]]),
            };
            assert_eq!(documents(&row), expected, "{missing:?}");
            assert_eq!(row["discovered_by"], json!(["export", "list_by_no"]));
        }
        assert_eq!(left, with_notes(&app));
        assert!(left > 1, "several meetings have notes");
        let doctor = app.meetlake(&["doctor"]).text();
        let is_told = doctor.contains("the tokens of a meeting's documents stay blank");
        assert_eq!(is_told, artifacts && !missing.is_empty(), "{doctor}");
        // Both kinds of originals are read again as they were written.
        let before = app.content_hashes();
        fs::remove_file(app.path("meetlake.db")).expect("lost");
        assert_eq!(app.meetlake(&["ledger", "rebuild"]).code, 0);
        assert_eq!(app.meetlake(&["replay"]).code, 0);
        assert_eq!(app.content_hashes(), before);
    }
}

#[test]
fn a_number_is_asked_for_once_a_day_however_many_meetings_it_has() {
    let app = Setup::fast().only(&CHAIN).start();
    assert!(app.reconcile().is_settled());
    let (numbers, meetings) = numbers_and_meetings(&app);
    assert!(numbers < meetings, "a number recurs");
    assert_eq!(calls(&app, "meeting_list_by_no"), numbers);
    let verified = app.meetlake(&["verify"]);
    assert_eq!(verified.code, 0, "{}", verified.text());
}

/// The `tasks.jsonl` of each pack.
fn packs(app: &TestApp) -> Vec<(String, String)> {
    let packs = lake::below(&app.lake().join("_raw")).into_iter();
    let tasks = |pack: std::path::PathBuf| {
        let file = fs::File::open(&pack).expect("a pack");
        let mut zip = zip::ZipArchive::new(file).expect("a zip");
        let mut tasks = String::new();
        let mut entry = zip.by_name("tasks.jsonl").expect("its tasks");
        std::io::Read::read_to_string(&mut entry, &mut tasks).expect("text");
        (pack.to_string_lossy().into_owned(), tasks)
    };
    packs.map(tasks).collect()
}

/// A list of numbers and a detail both have the meeting's password.
#[test]
fn no_password_is_kept_anywhere() {
    let app = Setup::fast().only(&CHAIN).start();
    assert!(app.reconcile().is_settled());
    let company = app.server().company();
    let passwords: Vec<String> = company
        .meetings()
        .iter()
        .map(|meeting| simulated::password(meeting))
        .collect();
    let mut has_blanked = false;
    for file in lake::below(&app.path("")) {
        // The ledger's own files come and go.
        let Ok(bytes) = fs::read(&file) else {
            continue;
        };
        for password in &passwords {
            let found = bytes
                .windows(password.len())
                .any(|at| at == password.as_bytes());
            assert!(!found, "{} holds a password", file.display());
        }
        has_blanked |= bytes.windows(13).any(|at| at == b"\"password\":\"\"");
    }
    // What was blanked stands beside each original, and nowhere where nothing was.
    for (pack, tasks) in packs(&app) {
        let is_redacted = pack.contains("/meeting/") || pack.contains("/meeting_participant/");
        for line in tasks.lines() {
            let task: Value = serde_json::from_str(line).expect("a line");
            let paths = task["redacted"].as_array().map_or(0, Vec::len);
            assert_eq!(paths > 0, is_redacted, "{pack}: {line}");
        }
    }
    assert!(
        has_blanked,
        "the members are still there, without their values"
    );
}

/// A detail that began a little later than its row says is found, and its row is not joined by
/// mistake; one that began much later is not found, and both are said.
#[test]
fn what_has_no_id_is_counted_and_shown() {
    for (drift, unresolved) in [(0, 0), (30, 0), (90, 1)] {
        let setup = Setup::fast().only(&CHAIN);
        let app = setup.knobs(|knobs| knobs.meeting_drift_s = drift).start();
        let summary = app.reconcile();
        assert!(summary.is_settled(), "{summary:?}");
        let (_, meetings) = numbers_and_meetings(&app);
        let coverage = summary.datasets[&Dataset::Meeting]
            .coverage
            .as_ref()
            .expect("a fan-out");
        let expected = (unresolved * meetings, 0);
        assert_eq!(
            (coverage.unresolved, coverage.ambiguous),
            expected,
            "{drift} s"
        );
        let text = app.meetlake(&["status"]).stdout;
        let said = format!("{meetings} meetings of the list have no unique id");
        assert_eq!(text.contains(&said), unresolved > 0, "{text}");
        let coverage = lake::below(&app.lake().join("_manifest/meeting"));
        let coverage: Vec<String> = coverage
            .iter()
            .filter(|file| file.to_string_lossy().contains("coverage"))
            .map(|file| fs::read_to_string(file).expect("a record"))
            .collect();
        assert!(!coverage.is_empty());
        let is_told = coverage
            .iter()
            .any(|record| record.contains("\"unresolved\""));
        assert_eq!(is_told, unresolved > 0, "{coverage:?}");
    }
}

/// Where the app may not see the meetings, nothing is called empty.
#[test]
fn meetings_that_the_app_may_not_see_are_an_error_that_says_what_to_do() {
    let setup = Setup::fast().only(&CHAIN);
    let app = setup
        .knobs(|knobs| knobs.hidden_meetings = HiddenMeetings::All)
        .start();
    let run = app.backfill(&[]);
    assert_eq!(run.code, 4, "{}", run.text());
    assert!(
        run.text().contains("accessible data range"),
        "{}",
        run.text()
    );
    assert!(lake::rows(&app.lake(), Dataset::Meeting).is_empty());
    assert!(!lake::rows(&app.lake(), Dataset::MeetingList).is_empty());
}

/// Of the meetings that others own, the rest of the day has no need to wait: they have no row, and are counted.
#[test]
fn a_meeting_that_is_hidden_from_the_app_holds_up_no_other() {
    let setup = Setup::fast().only(&CHAIN);
    let app = setup
        .knobs(|knobs| knobs.hidden_meetings = HiddenMeetings::EveryFourth)
        .start();
    let run = app.backfill(&[]);
    assert_eq!(run.code, 0, "{}", run.text());
    let (hidden, shown): (Vec<_>, Vec<_>) = app
        .server()
        .company()
        .meetings()
        .iter()
        .partition(|meeting| HiddenMeetings::EveryFourth.has(meeting));
    assert!(hidden.len() > 1 && shown.len() > 1, "some of each");
    for dataset in [Dataset::Meeting, Dataset::MeetingParticipant] {
        let rows = lake::rows(&app.lake(), dataset);
        let ids: BTreeSet<_> = rows
            .iter()
            .map(|row| row["meeting_id"].to_string())
            .collect();
        let expected: BTreeSet<_> = shown
            .iter()
            .map(|meeting| json!(meeting.id()).to_string())
            .collect();
        assert_eq!(ids, expected, "{dataset}");
    }
    let status = app.meetlake(&["status"]);
    let told = format!("{} because the app may not see them", hidden.len());
    assert!(status.stdout.contains(&told), "{}", status.stdout);
    // It is no cause to ask again, and the originals say so for ever.
    let before = app.calls();
    assert!(app.reconcile().is_settled());
    assert_eq!(app.calls(), before);
    let hashes = app.content_hashes();
    let again = app.backfill(&["--again", "--dataset", "meeting"]);
    assert_eq!(again.code, 0, "{}", again.text());
    assert_eq!(app.content_hashes(), hashes);
    fs::remove_file(app.path("meetlake.db")).expect("lost");
    assert_eq!(app.meetlake(&["ledger", "rebuild"]).code, 0);
    assert_eq!(app.meetlake(&["replay"]).code, 0);
    assert_eq!(app.content_hashes(), hashes);
    let status = app.meetlake(&["status"]);
    assert!(status.stdout.contains(&told), "{}", status.stdout);
}

/// A role that is lost hides every meeting, those too that were shown before. Whenever it is lost, no row goes
/// and no day is called empty.
#[test]
fn a_role_that_is_lost_is_no_hidden_meeting() {
    let app = Setup::fast().only(&CHAIN).start();
    let (first, second) = (app.first_day(), app.first_day().tomorrow().expect("a day"));
    let of_day = |day: Date, more: &[&str]| {
        let (from, to) = (day.to_string(), day.tomorrow().expect("a day").to_string());
        let args = [&["backfill", "--from", &from, "--to", &to], more].concat();
        app.meetlake(&args)
    };
    assert_eq!(of_day(first, &[]).code, 0);
    let ids = || -> BTreeSet<String> {
        let rows = lake::rows(&app.lake(), Dataset::Meeting);
        let ids = rows.iter().map(|row| row["meeting_id"].to_string());
        ids.collect()
    };
    let before = ids();
    for (day, more, lost_at) in [
        (second, &[][..], 1),
        (first, &["--again"], 1),
        (first, &["--again"], 2),
        (first, &["--again"], 4),
    ] {
        app.set_faults(&[&format!("permission-denied@meeting:#{lost_at}+")]);
        let refused = of_day(day, more);
        assert_eq!(refused.code, 4, "{}", refused.text());
        assert!(refused.text().contains("accessible data range"));
        assert!(ids().is_superset(&before), "of {day}, lost at {lost_at}");
    }
    app.set_faults(&[]);
    assert_eq!(of_day(second, &[]).code, 0);
    let rows = lake::rows(&app.lake(), Dataset::Meeting);
    let days: BTreeSet<_> = rows.iter().map(|row| row["dt"].to_string()).collect();
    assert_eq!(days.len(), 2);
    assert_eq!(app.backfill(&[]).code, 0);
    assert_true(&app);
}

/// Its owner left the company, say. What the lake knows of it is all that anybody knows.
#[test]
fn a_meeting_that_is_not_shown_any_more_keeps_its_row() {
    let mut app = Setup::fast().only(&CHAIN).start();
    assert_eq!(app.backfill(&[]).code, 0);
    let hashes = app.content_hashes();
    app.replace_server(|knobs| knobs.hidden_meetings = HiddenMeetings::EveryFourth);
    let again = app.backfill(&["--again", "--dataset", "meeting"]);
    assert_eq!(again.code, 4, "{}", again.text());
    let told = "this one is hidden from the app, and what the lake has of it stays";
    assert!(again.text().contains(told), "{}", again.text());
    assert_eq!(app.content_hashes(), hashes);
    assert_true(&app);
    app.replace_server(|knobs| knobs.hidden_meetings = HiddenMeetings::None);
    let shown = app.backfill(&[]);
    assert_eq!(shown.code, 0, "{}", shown.text());
    assert_eq!(app.content_hashes(), hashes);
    // Asked in another way, it is another task that is refused; the row is of the one before.
    let ids = |app: &TestApp| -> BTreeSet<String> {
        let rows = lake::rows(&app.lake(), Dataset::Meeting);
        let ids = rows.iter().map(|row| row["meeting_id"].to_string());
        ids.collect()
    };
    let before = ids(&app);
    app.set_job(Dataset::Meeting, "request.artifacts = false");
    app.replace_server(|knobs| knobs.hidden_meetings = HiddenMeetings::EveryFourth);
    for _ in 0..2 {
        let again = app.backfill(&["--again", "--dataset", "meeting"]);
        assert_eq!(again.code, 4, "{}", again.text());
        assert!(again.text().contains(told), "{}", again.text());
        assert_eq!(ids(&app), before);
    }
    app.replace_server(|knobs| knobs.hidden_meetings = HiddenMeetings::None);
    assert_eq!(app.backfill(&[]).code, 0);
    assert_eq!(ids(&app), before);
}

/// Asked in another way, the same rows are another task's. An object that was left as it is would have rows that nobody finds by their task.
#[test]
fn rows_are_of_tasks_that_their_record_names() {
    // Without these scopes both requests have the same answer.
    let setup = Setup::fast().only(&CHAIN).knobs(|knobs| {
        let is_of_notes = |scope: &String| scope.contains("artifact");
        knobs.scopes.retain(|scope| !is_of_notes(scope));
    });
    let mut app = setup.start();
    assert_eq!(app.backfill(&[]).code, 0);
    let before = lake::rows(&app.lake(), Dataset::Meeting).len();
    app.set_job(Dataset::Meeting, "request.artifacts = false");
    let (from, to) = (app.first_day().to_string(), app.end_day().to_string());
    let again = [
        "backfill",
        "--from",
        &from,
        "--to",
        &to,
        "--again",
        "--dataset",
        "meeting",
    ];
    let planted = "planted-rows-of-others=return";
    let run = finish(app.command(&again).env("FAILPOINTS", planted));
    assert_eq!(run.code, 0, "{}", run.text());
    let stray = app.meetlake(&["verify"]);
    let told = "which its manifest does not name; `meetlake replay` makes it again";
    assert!(stray.text().contains(told), "{}", stray.text());
    assert_ne!(stray.code, 0);
    // The next publish makes the day anew.
    assert_eq!(app.meetlake(&again).code, 0);
    let verified = app.meetlake(&["verify"]);
    assert_eq!(verified.code, 0, "{}", verified.text());
    assert_eq!(lake::rows(&app.lake(), Dataset::Meeting).len(), before);
}

fn states(app: &TestApp) -> BTreeSet<String> {
    let rows = lake::rows(&app.lake(), Dataset::Recording);
    let states = rows.iter().filter_map(|row| row["state"].as_str());
    states.map(str::to_owned).collect()
}

/// Jobs that look at the last days again at each firing.
fn looks_again(app: &TestApp) {
    for dataset in CHAIN {
        let days = format!(
            "settle_delay = \"1m\"\nlookback = \"4d\"\nstart = {}\n",
            app.first_day()
        );
        let job = format!("version = 1\ndataset = \"{dataset}\"\ncron = \"*/5 * * * *\"\n{days}");
        app.write(&format!("jobs/{dataset}.toml"), &job);
    }
}

/// A list that lacked a meeting is asked for again; one that has all of them is not.
#[test]
fn a_number_of_which_a_meeting_was_not_found_is_asked_for_again() {
    let app = Setup::fast()
        .only(&CHAIN)
        .faults(&["short@meeting_list_by_no:x4"])
        .start();
    looks_again(&app);
    let unresolved = || {
        let status = app.status();
        let datasets = status["datasets"].as_array().expect("datasets").clone();
        let windows = datasets
            .iter()
            .flat_map(|of| of["windows"].as_array().expect("windows").clone());
        let counts = windows.filter_map(|window| window["coverage"]["unresolved"].as_u64());
        counts.sum::<u64>()
    };
    let first = app.meetlake(&["run"]);
    assert!(
        first.text().contains("have no unique id"),
        "{}",
        first.text()
    );
    let missing = unresolved();
    assert!(missing > 0);
    app.set_faults(&[]);
    app.server()
        .options()
        .clock
        .clone()
        .advance(Duration::from_secs(600));
    let before = calls(&app, "meeting_list_by_no");
    let again = app.meetlake(&["run"]);
    assert_eq!(again.code, 0, "{}", again.text());
    // Those whose meetings ended more than a day ago have their last answer.
    let asked = calls(&app, "meeting_list_by_no") - before;
    assert!((1..=4).contains(&asked), "{asked} asked");
    assert!(unresolved() < missing, "{} of {missing}", unresolved());
}

/// What is not ready is asked for again at each look, until the answer is a day younger than the
/// meeting's end. Then it stays as it was, and nobody asks any more.
#[test]
fn a_recording_that_is_not_ready_is_asked_for_again_for_a_day() {
    let after = SignedDuration::from_hours(70);
    let setup = Setup::fast().only(&CHAIN).with(|options| {
        options.meetings_per_day = 12;
        options.knobs.recording_after = after;
    });
    let app = setup.start();
    looks_again(&app);
    let clock = app.server().options().clock.clone();
    let run = || {
        let run = app.meetlake(&["run"]);
        assert_eq!(run.code, 0, "{}", run.text());
    };
    run();
    let not_ready: BTreeSet<String> = ["none", "processing"].map(str::to_owned).into();
    assert_eq!(states(&app), not_ready);
    let recorded = lake::rows(&app.lake(), Dataset::Recording).len() as u64;
    let first = calls(&app, "recording");
    assert_eq!(first, recorded);

    clock.advance(Duration::from_secs(3_600));
    run();
    let again = calls(&app, "recording") - first;
    assert!(
        (1..recorded).contains(&again),
        "{again} of {recorded}: the old ones are final"
    );

    clock.advance(Duration::from_secs(60 * 3_600));
    run();
    let said = states(&app);
    assert!(said.contains("ready"), "{said:?}: those of the last day");
    let stays = said.intersection(&not_ready).count();
    assert!(
        stays > 0,
        "{said:?}: the day before was asked too early, and is final"
    );
    let before = calls(&app, "recording");
    clock.advance(Duration::from_secs(3_600));
    run();
    assert_eq!(calls(&app, "recording"), before, "nothing is left to ask");
}

/// What never ends is asked for until a day after its end. Then it is said how many of which days stay so, and the command that is named
/// asks once more.
#[test]
fn a_meeting_that_never_ends_is_told_of_with_a_command_that_asks_once_more() {
    let setup = Setup::fast().only(&CHAIN).knobs(|knobs| {
        knobs.goes_on_for = SignedDuration::from_hours(30 * 24);
    });
    let app = setup.start();
    looks_again(&app);
    let clock = app.server().options().clock.clone();
    let unfinished = || app.status()["unfinished"].clone();
    let (from, to) = (app.first_day().to_string(), app.end_day().to_string());
    let (numbers, meetings) = numbers_and_meetings(&app);
    let sentence = |meetings: u64, days: &str, to: &str| {
        format!(
            "meeting: {meetings} rows of {days} still say calling or ongoing a day later; to ask once more, \
             `meetlake backfill --tenant acme --dataset meeting --from {from} --to {to} --again`"
        )
    };

    let first = app.meetlake(&["run"]);
    let second_day = app.first_day().tomorrow().expect("a day").to_string();
    let text = sentence(meetings / 2, &from, &second_day);
    assert!(first.text().contains(&text), "{}", first.text());
    clock.advance(Duration::from_secs(48 * 3_600));
    app.meetlake(&["run"]);
    let text = sentence(meetings, &format!("{from} to {second_day}"), &to);
    let status = app.meetlake(&["status"]).stdout;
    assert!(status.contains(&text), "{status}");
    let found = serde_json::json!([
        { "tenant": "acme", "dataset": "meeting", "rows": meetings, "from": from, "to": to }
    ]);
    assert_eq!(unfinished(), found);
    let settled = app.meetlake(&["run"]);
    let before = calls(&app, "meeting_list_by_no");
    app.meetlake(&["run"]);
    assert_eq!(calls(&app, "meeting_list_by_no"), before, "{settled:?}");

    app.lose_ledger();
    app.rebuild();
    assert_eq!(unfinished(), found, "the originals say it too");

    clock.advance(Duration::from_secs(30 * 24 * 3_600));
    let again = app.backfill(&["--dataset", "meeting", "--again"]);
    assert_eq!(again.code, 0, "{}", again.text());
    assert_eq!(calls(&app, "meeting_list_by_no"), before + numbers);
    assert_eq!(unfinished(), serde_json::json!([]));
    let rows = lake::rows(&app.lake(), Dataset::Meeting);
    assert_eq!(rows.len() as u64, meetings);
    assert!(rows.iter().all(|row| row["status"] == "ended"), "{rows:?}");
}

/// Killed at each of its calls, one start after the other; then everything is there once.
#[test]
fn killed_at_every_call_nothing_is_lost_doubled_or_half() {
    let app = Setup::fast()
        .only(&CHAIN)
        .with(|options| options.days = 3)
        .start();
    let mut deaths = 0;
    for place in [
        "w05-page-listed",
        "w07-fetched",
        "w08-rows-recorded",
        "w11-window-settled",
    ] {
        for passed in 0..6 {
            let (from, to) = (app.first_day().to_string(), app.end_day().to_string());
            let mut command = app.command(&["backfill", "--from", &from, "--to", &to]);
            let failpoint = format!("{place}={passed}*off->return");
            let ended = command
                .env("FAILPOINTS", failpoint)
                .output()
                .expect("it ran");
            deaths += u64::from(ended.status.code().is_none());
            if ended.status.success() {
                break;
            }
        }
    }
    assert!(deaths >= 8, "{deaths} deaths");
    let last = app.backfill(&[]);
    assert_eq!(last.code, 0, "{}", last.text());
    assert_true(&app);
    app.verified();
}

/// What was not found is known again from the originals, and nobody is asked again.
#[test]
fn a_rebuilt_ledger_knows_ids_and_what_has_none() {
    let setup = Setup::fast().only(&CHAIN);
    let app = setup.knobs(|knobs| knobs.meeting_drift_s = 90).start();
    assert!(app.reconcile().is_settled());
    let coverage = |app: &TestApp| -> Vec<Value> {
        let status = app.status();
        let datasets = status["datasets"].as_array().expect("datasets").clone();
        let windows = datasets
            .iter()
            .flat_map(|of| of["windows"].as_array().expect("windows").clone());
        windows.map(|window| window["coverage"].clone()).collect()
    };
    let (before, calls) = (coverage(&app), app.calls());
    assert!(
        before
            .iter()
            .any(|coverage| coverage["unresolved"].as_u64() > Some(0)),
        "{before:?}"
    );
    app.lose_ledger();
    let report = app.rebuild();
    assert_eq!(report["problems"], Value::Array(Vec::new()), "{report}");
    assert_eq!(coverage(&app), before);
    assert!(app.reconcile().is_settled());
    assert_eq!(app.calls(), calls, "somebody was asked again");
}

/// A plan tells what a usual month costs once a first run has told how many meetings a day has.
#[test]
fn a_plan_tells_the_calls_of_a_month() {
    let app = Setup::fast().only(&CHAIN).start();
    let unknown = app.meetlake(&["plan", "--json"]).json();
    let not_known = unknown["tenants"][0]["month"]["not_known"].clone();
    assert_eq!(
        not_known.to_string(),
        r#"["meeting","meeting_participant","recording"]"#
    );
    assert!(app.reconcile().is_settled());
    let month = app.meetlake(&["plan", "--json"]).json()["tenants"][0]["month"].clone();
    assert_eq!(month["not_known"].to_string(), "[]");
    let of = |path: &str| {
        let endpoints = month["endpoints"].as_array().expect("endpoints").clone();
        let of_path = endpoints.into_iter().find(|load| load["endpoint"] == path);
        of_path.expect("an endpoint")["calls"]
            .as_u64()
            .expect("a number")
    };
    // Jobs without a lookback, on days of five meetings with four numbers.
    let (numbers, meetings) = numbers_and_meetings(&app);
    assert_eq!(of("GET meetings/list_by_no"), 30 * numbers / 2);
    assert_eq!(of("POST exports/meeting_list"), 30);
    // At most two for each number's detail, and two for each meeting's participants.
    assert_eq!(
        of("GET meetings/:meeting_id"),
        30 * (2 * numbers / 2 + 2 * meetings / 2)
    );
    let text = app.meetlake(&["plan"]).stdout;
    assert!(
        text.contains("In a usual month these jobs make about"),
        "{text}"
    );
}
