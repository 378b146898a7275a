//! The program is stopped at any instant, politely or not, and the next run goes on: nothing is lost, nothing is there twice, and no export whose
//! id is recorded is asked for again. The simulator survives in this process.

use std::time::Duration;

use meetlake::dataset::Dataset;
use meetlake::ledger::Phase;
use meetlake::task::machine::State;

use crate::app::{Setup, TENANT, TestApp, signal, snapshot, wait};

/// Repeatable instants for kills: splitmix64 of a seed.
struct Instants(u64);

impl Instants {
    fn between(&mut self, least_ms: u64, most_ms: u64) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Duration::from_millis(least_ms + (mixed >> 33) % (most_ms - least_ms))
    }
}

/// Exports whose submit was recorded and not answered: the only ones that may be asked for twice.
fn lost_answers(app: &TestApp) -> u64 {
    app.with_ledger(async |ledger| {
        let mut lost = 0;
        for dataset in Dataset::ALL
            .into_iter()
            .filter(|dataset| !dataset.is_report())
        {
            let windows = ledger
                .windows(TENANT, dataset, None)
                .await
                .expect("windows");
            for row in windows {
                let tasks = ledger
                    .tasks_of(TENANT, dataset, row.window)
                    .await
                    .expect("tasks");
                lost += tasks
                    .iter()
                    .filter(|task| task.phase == Phase::Open && task.machine == State::Submitting)
                    .count() as u64;
            }
        }
        lost
    })
}

#[test]
fn killed_ten_times_the_lake_is_whole_and_no_recorded_export_is_asked_for_again() {
    let app = Setup::real().start();
    app.teach_pace();
    let mut instants = Instants(7);
    let (mut kills, mut lost) = (0, 0);
    for _ in 0..10 {
        let mut child = app.spawn(&["run"]);
        std::thread::sleep(instants.between(150, 2_600));
        if child.try_wait().expect("a child of ours").is_none() {
            child.kill().expect("killed");
            kills += 1;
        }
        child.wait().expect("a child of ours");
        lost += lost_answers(&app);
        app.forget_calls();
    }
    let last = app.meetlake(&["run"]);
    assert_eq!(last.code, 0, "{last:?}");
    assert!(kills >= 3, "only {kills} kills came before the end");
    app.assert_conserved();
    let report = app.report();
    assert!(
        report.duplicate_submits <= lost,
        "{} submits twice, {lost} lost answers after {kills} kills: {:?}",
        report.duplicate_submits,
        report.duplicates
    );
    assert_changes_nothing(&app);
}

fn assert_changes_nothing(app: &TestApp) {
    let (submits, before) = (app.submits(), snapshot(&app.lake()));
    let again = app.meetlake(&["run"]);
    assert_eq!(again.code, 0, "{again:?}");
    assert_eq!(app.submits(), submits, "something was exported again");
    assert!(
        before == snapshot(&app.lake()),
        "something was written again"
    );
}

#[test]
fn a_request_to_terminate_ends_the_run_soon_and_the_next_one_finishes() {
    let app = Setup::real().start();
    app.teach_pace();
    let mut instants = Instants(11);
    for _ in 0..2 {
        let mut child = app.spawn(&["run"]);
        std::thread::sleep(instants.between(400, 3_000));
        if child.try_wait().expect("a child of ours").is_none() {
            signal(&child, "TERM");
        }
        let (code, took) = wait(&mut child, Duration::from_secs(25));
        assert!(took <= Duration::from_secs(20), "{took:?}");
        assert!(matches!(code, Some(0 | 3)), "{code:?}");
    }
    let last = app.meetlake(&["run"]);
    assert_eq!(last.code, 0, "{last:?}");
    app.assert_conserved();
    // Polite ends lose no answer.
    assert_eq!(app.report().duplicate_submits, 0);
    assert_changes_nothing(&app);
}

#[test]
fn a_deadline_ends_the_run_and_the_next_one_finishes() {
    let app = Setup::real().start();
    app.teach_pace();
    let first = app.meetlake(&["run", "--deadline", "1s"]);
    assert!(matches!(first.code, 3 | 5), "{first:?}");
    let last = app.meetlake(&["run"]);
    assert_eq!(last.code, 0, "{last:?}");
    app.assert_conserved();
}

#[test]
fn a_deadline_is_kept_while_a_failed_export_waits_for_its_next_attempt() {
    let app = Setup::real()
        .only(&[Dataset::MeetingList])
        .faults(&["failed@meeting_list:x1"])
        .start();
    app.teach_pace();
    let began = std::time::Instant::now();
    let first = app.meetlake(&["run", "--deadline", "5s"]);
    assert!(began.elapsed() < Duration::from_secs(20), "{first:?}");
    assert_eq!(first.code, 3, "{first:?}");
}
