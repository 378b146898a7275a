//! What keeps a workbook from being read on this machine costs an attempt: a reader that cannot start or dies, a panic of ours. Only what ends
//! the same way again and again is quarantined, and everything else goes on.

use std::fs;
use std::io::{Cursor, Read, Write};
use std::os::unix::fs::PermissionsExt as _;

use meetlake::testing::dataset::Dataset;
use meetlake::testing::decode::Fallback;
use meetlake::testing::exit::Code;
use meetlake::testing::run::Summary;

use crate::app::{Setup, TestApp};
use crate::gate::{Act, Answer, Does, Gate, Place, When, Wrong};
use crate::truth::Truth;

const LIST: Dataset = Dataset::MeetingList;

/// Two days of meetings behind a gate that strikes the first one's downloads.
fn behind_a_gate(does: Does) -> (TestApp, Gate) {
    let mut app = Setup::fast().only(&[LIST]).start();
    let gate = app.block_on(Gate::start(app.server().base_url()));
    app.setup.host = Some(gate.url());
    app.write_configuration();
    gate.set(&[Wrong {
        place: Place::Download,
        when: When::Victim,
        does,
    }]);
    (app, gate)
}

/// The same workbook with a comment in each sheet: only calamine reads it.
fn unusual(answer: Answer) -> Act {
    let mut zip = zip::ZipArchive::new(Cursor::new(&answer.body)).expect("a workbook");
    let mut copy = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for index in 0..zip.len() {
        let mut part = zip.by_index(index).expect("a part");
        let name = part.name().expect("a name").into_owned();
        let mut text = String::new();
        part.read_to_string(&mut text).expect("text");
        let text = text.replace("<sheetData>", "<!-- unusual --><sheetData>");
        copy.start_file(name, zip::write::SimpleFileOptions::default())
            .expect("a part");
        copy.write_all(text.as_bytes()).expect("memory");
    }
    let body = copy.finish().expect("a zip").into_inner();
    Act::Answer(Answer { body, ..answer })
}

const UNUSUAL: Does = Does::After(|_, _, answer| unusual(answer));

fn reconcile(app: &TestApp, fallback: Fallback) -> Summary {
    app.reconcile_with(&app.all_days(false), |tenant, _| tenant.fallback = fallback)
}

/// A reader that dies at work as often as `left` says, and reads after that.
fn mortal(app: &TestApp, left: u32) -> Fallback {
    let (program, count) = (app.path("reader"), app.path("left"));
    fs::write(&count, format!("{left}\n")).expect("written");
    let script = format!(
        "#!/bin/sh\nread left < {count}\nif [ $left -gt 0 ]; then\necho $((left - 1)) > {count}\n/usr/bin/head -c 64 > /dev/null\n\
         printf '\\001\\000\\000\\000\\000\\000\\000\\000\\000'\nexit 1\nfi\nexec {reader} \"$@\"\n",
        count = count.display(),
        reader = env!("CARGO_BIN_EXE_meetlake"),
    );
    fs::write(&program, script).expect("written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("set");
    Fallback::of_program(program)
}

fn assert_whole(app: &TestApp) {
    let truth = Truth::of(app.server().company(), app.setup.options.clock.now());
    let wrong = truth.differences_of(&app.lake(), LIST);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn counts(summary: &Summary) -> (u64, u64, u64, u64) {
    let of = &summary.datasets[&LIST];
    (of.published, of.deferred, of.quarantined, of.failed)
}

#[test]
fn where_no_reader_starts_a_workbook_waits_and_the_others_are_published() {
    for program in ["/nowhere/meetlake", "/bin/false"] {
        let (app, gate) = behind_a_gate(UNUSUAL);
        let summary = reconcile(&app, Fallback::of_program(program));
        assert_ne!(summary.exit(), Code::Done, "{summary:#?}");
        assert_eq!(counts(&summary), (1, 4, 0, 1), "{program}");
        let error = summary.unsettled[0].error.as_deref().unwrap_or_default();
        let says = "could not start a process to read the workbook in";
        assert!(error.contains(says), "{program}: {error}");
        let kinds = app.with_ledger(async |ledger| ledger.attention(None, 9).await.expect("rows"));
        assert_eq!(kinds[0].failure.cause.as_str(), "local", "{kinds:?}");
        // What failed is not kept in the spool: the next run asks for it once more.
        let summary = reconcile(&app, crate::app::fallback());
        assert_eq!(summary.exit(), Code::Done, "{summary:#?}");
        assert_eq!(
            (gate.calls(Place::Submit), gate.calls(Place::Download)),
            (3, 3)
        );
        assert_whole(&app);
    }
}

#[test]
fn a_reader_that_dies_twice_costs_two_attempts_and_no_download() {
    let (app, gate) = behind_a_gate(UNUSUAL);
    let summary = reconcile(&app, mortal(&app, 2));
    assert_eq!(summary.exit(), Code::Done, "{summary:#?}");
    assert_eq!(counts(&summary), (2, 2, 0, 0));
    assert_eq!(
        (gate.calls(Place::Submit), gate.calls(Place::Download)),
        (2, 2)
    );
    assert_whole(&app);
}

#[test]
fn a_workbook_that_ends_its_reader_three_times_is_quarantined_and_later_windows_go_on() {
    let (app, gate) = behind_a_gate(UNUSUAL);
    let summary = reconcile(&app, mortal(&app, 99));
    assert_eq!(summary.exit(), Code::NotSettled, "{summary:#?}");
    assert_eq!(counts(&summary), (1, 2, 1, 0));
    assert_eq!(
        (gate.calls(Place::Submit), gate.calls(Place::Download)),
        (2, 2)
    );
    let left = fs::read_to_string(app.path("left")).expect("a number");
    assert_eq!(left.trim(), "96", "it was tried three times");
    let error = summary.unsettled[0].error.as_deref().unwrap_or_default();
    assert!(error.contains("the workbook's reader failed"), "{error}");
}

#[test]
fn a_damaged_download_costs_one_export_and_three_downloads_and_later_windows_go_on() {
    let (app, gate) = behind_a_gate(Does::After(|_, _, mut answer| {
        answer.body.truncate(answer.body.len() - 100);
        Act::Answer(answer)
    }));
    let summary = reconcile(&app, crate::app::fallback());
    assert_eq!(summary.exit(), Code::NotSettled, "{summary:#?}");
    assert_eq!(counts(&summary), (1, 2, 1, 0));
    let of_victim = |place| {
        let seen = gate.seen();
        seen.iter()
            .filter(|call| call.place == place && call.is_victim)
            .count()
    };
    let (submits, downloads) = (of_victim(Place::Submit), of_victim(Place::Download));
    println!("{submits} submit, {downloads} downloads until the quarantine");
    assert_eq!((submits, downloads), (1, 3));
    assert_eq!(
        (gate.calls(Place::Submit), gate.calls(Place::Download)),
        (2, 4)
    );
}

#[cfg(feature = "failpoints")]
#[test]
fn a_panic_costs_an_attempt_and_neither_the_run_nor_the_export() {
    for place in [
        "w07-fetched",
        "w07-decoding",
        "w08-rows-half-written",
        "w08-rows-kept",
        "w03-id-recorded",
    ] {
        let mut setup = Setup::fast().only(&[LIST]);
        setup.environment = Some(("FAILPOINTS", format!("{place}=1*panic(canary)")));
        let app = setup.start();
        let output = app.backfill(&[]);
        assert_eq!(output.code, 0, "{place}: {output:?}");
        assert!(output.stderr.contains("canary"), "{place}: {output:?}");
        assert_whole(&app);
        assert_eq!(
            (app.submits(), app.report().duplicate_submits),
            (2, 0),
            "{place}"
        );
    }
}

#[cfg(feature = "failpoints")]
#[test]
fn a_panic_beyond_the_reader_is_not_the_workbook_s_fault() {
    let mut setup = Setup::fast().only(&[LIST]);
    let failpoints = "w08-rows-half-written=panic(canary)".to_owned();
    setup.environment = Some(("FAILPOINTS", failpoints));
    let mut app = setup.start();
    let output = app.backfill(&[]);
    assert_ne!(output.code, 0, "{output:?}");
    assert!(output.stderr.contains("canary"), "{output:?}");
    assert!(!app.lake().join("_quarantine").exists(), "{output:?}");
    app.setup.environment = None;
    let output = app.backfill(&["--again"]);
    assert_eq!(output.code, 0, "{output:?}");
    assert_whole(&app);
}

#[cfg(feature = "failpoints")]
#[test]
fn a_reading_that_always_panics_is_quarantined_and_told() {
    let mut setup = Setup::fast().only(&[LIST]);
    setup.environment = Some(("FAILPOINTS", "w07-decoding=panic(canary)".to_owned()));
    let mut app = setup.start();
    let output = app.backfill(&[]);
    assert_eq!(output.code, 7, "{output:?}");
    assert!(output.stdout.contains("a mistake in it"), "{output:?}");
    app.setup.environment = None;
    let output = app.meetlake(&["retry", "--quarantine"]);
    assert_eq!(output.code, 0, "{output:?}");
    assert_eq!(app.submits(), 2);
    assert_whole(&app);
}

#[cfg(feature = "failpoints")]
#[test]
fn a_run_that_ends_with_an_error_is_recorded_as_ended() {
    let mut setup = Setup::fast().only(&[LIST]);
    setup.environment = Some(("FAILPOINTS", "planted-run-fails=return".to_owned()));
    let mut app = setup.start();
    let output = app.backfill(&[]);
    assert_eq!(output.code, 1, "{output:?}");
    app.setup.environment = None;
    let run = app.status()["runs"][0].clone();
    assert_eq!(run["exit_code"], 1, "{run}");
    assert!(run["ended_at"].is_string(), "{run}");
    assert!(
        run["summary"]
            .as_str()
            .is_some_and(|text| text.contains("planted")),
        "{run}"
    );
}
