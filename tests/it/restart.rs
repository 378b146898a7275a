//! A run that ran out of time, and the next one that goes on. Ends that nobody planned are in `crash` and `kill`.

use std::time::Duration;

use meetlake::testing::dataset::Dataset;

use crate::app::Setup;

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
