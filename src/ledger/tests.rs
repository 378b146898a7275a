//! Who may write, what planning does to tasks, and what is there after reopening.

mod plans;
mod received;
mod values;

use std::collections::{BTreeSet, HashSet};

use jiff::Timestamp;

use super::*;
use crate::cause::{Cause, Failure};
use crate::datasets::{Lineage, Request, UserIdType};
use crate::findings::Findings;
use crate::lake_key::LakeKey;
use crate::record::{
    NewWindow, OpenTask, ParentRows, Phase, SpooledResult, TaskRow, WindowBatch, WindowRow,
    WindowState,
};
use crate::task::machine::State;
use crate::task::{ExportId, TaskKey, TaskOwner, TaskSpec};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

fn window(day: i64) -> Window {
    Window::new(at(day * 86_400), at((day + 1) * 86_400)).expect("a day")
}

fn spec(day: i64) -> TaskSpec {
    let request = Request {
        user_id_type: Some(UserIdType::UserId),
        ..Request::between(Dataset::MeetingList, day * 86_400, (day + 1) * 86_400)
    };
    TaskSpec::new(
        crate::plan::tests::owner(),
        window(day),
        request,
        Lineage::default(),
    )
}

async fn with_window(ledger: &Ledger, day: i64) -> WindowRow {
    let new = NewWindow {
        window: window(day),
        due_at: at(0),
        state: WindowState::Due,
    };
    ledger
        .insert_windows(&WindowBatch {
            job: "meetings",
            tenant: "acme",
            dataset: Dataset::MeetingList,
            new: &[new],
            again: &[],
            firing: at(0),
            schedule: None,
        })
        .await
        .expect("inserted");
    ledger
        .windows("acme", Dataset::MeetingList, Some(window(day)))
        .await
        .expect("listed")
        .remove(0)
}

fn open(day: i64, generation: u32) -> OpenTask {
    OpenTask {
        spec: spec(day),
        priority: 0,
        generation,
    }
}

/// A ledger with one open task, and what keeps its folder.
async fn with_task() -> (tempfile::TempDir, Ledger, WindowRow, TaskRow) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("meetlake.db");
    let ledger = Ledger::open(&path, "test").await.expect("opened");
    let row = with_window(&ledger, 1).await;
    ledger
        .plan_tasks(&row, &[open(1, 1)], None, None, None, at(5))
        .await
        .expect("planned");
    let task = the_task(&ledger).await;
    (folder, ledger, row, task)
}

/// The one task of the first window.
async fn the_task(ledger: &Ledger) -> TaskRow {
    let tasks = ledger.tasks_of("acme", Dataset::MeetingList, window(1));
    tasks.await.expect("listed").remove(0)
}

fn three_rows() -> SpooledResult {
    SpooledResult {
        dts: BTreeSet::new(),
        findings: Findings {
            rows_read: 3,
            rows_out: 3,
            ..Findings::default()
        },
        parents: ParentRows::default(),
        reported: vec![],
    }
}

#[tokio::test]
async fn planning_twice_creates_nothing_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let ledger = Ledger::open(&folder.path().join("a b%?.db"), "test")
        .await
        .expect("opened");
    let row = with_window(&ledger, 1).await;
    for _ in 0..2 {
        ledger
            .plan_tasks(&row, &[open(1, 1)], None, None, None, at(5))
            .await
            .expect("planned");
    }
    assert_eq!(
        ledger
            .runnable("acme", at(5), i64::MIN, 10)
            .await
            .expect("listed")
            .len(),
        1
    );
    assert_eq!(
        ledger
            .windows("acme", Dataset::MeetingList, None)
            .await
            .expect("listed")[0]
            .state,
        WindowState::Planned
    );
}

#[tokio::test]
async fn what_was_recorded_is_there_after_reopening() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("meetlake.db");
    let ledger = Ledger::open(&path, "test").await.expect("opened");
    let row = with_window(&ledger, 1).await;
    ledger
        .plan_tasks(&row, &[open(1, 1)], None, None, None, at(5))
        .await
        .expect("planned");
    let task = ledger
        .runnable("acme", at(5), i64::MIN, 1)
        .await
        .expect("listed")
        .remove(0);
    let state = State::Submitted {
        export_id: ExportId("7".into()),
        submitted_at: at(6),
        polls: 0,
        relinked: false,
    };
    ledger
        .advance(&task, &state, true, false, at(6))
        .await
        .expect("advanced");
    drop(ledger);
    let ledger = Ledger::open(&path, "test").await.expect("opened again");
    let task = ledger
        .runnable("acme", at(6), i64::MIN, 1)
        .await
        .expect("listed")
        .remove(0);
    assert_eq!(task.machine, state);
    let counts = ledger.dataset_status("acme", Dataset::MeetingList).await;
    assert_eq!(counts.expect("counted").submits, 1);
}

#[tokio::test]
async fn the_second_owner_is_told_who_the_first_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("meetlake.db");
    let first = Ledger::open(&path, "serve").await.expect("opened");
    let error = Ledger::open(&path, "run")
        .await
        .expect_err("locked")
        .to_string();
    assert!(
        error.contains("`meetlake serve`") && error.contains(&std::process::id().to_string()),
        "{error}"
    );
    assert!(
        Ledger::open_for_reading(&path)
            .await
            .expect("readable")
            .is_some()
    );
    drop(first);
    Ledger::open(&path, "run").await.expect("free again");
}

#[tokio::test]
async fn an_owner_that_was_overtaken_writes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("meetlake.db");
    let first = Ledger::open(&path, "serve").await.expect("opened");
    let row = with_window(&first, 1).await;
    std::fs::remove_file(folder.path().join("meetlake.db.lock")).expect("the lock is lost");
    let _second = Ledger::open(&path, "run").await.expect("taken over");
    let error = first
        .plan_tasks(&row, &[open(1, 1)], None, None, None, at(5))
        .await
        .expect_err("fenced");
    assert!(matches!(error, Error::Fenced { .. }), "{error}");
}

#[tokio::test]
async fn a_task_that_is_exported_again_is_in_no_pack_until_its_bytes_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let ledger = Ledger::open(&folder.path().join("meetlake.db"), "test")
        .await
        .expect("opened");
    let row = with_window(&ledger, 1).await;
    ledger
        .plan_tasks(&row, &[open(1, 1)], None, None, None, at(5))
        .await
        .expect("planned");
    let key = spec(1).key;
    let task = async || {
        let tasks = ledger.tasks_of("acme", Dataset::MeetingList, row.window);
        tasks.await.expect("listed").remove(0)
    };
    let spool = async || {
        let task = task().await;
        let spooled = ledger.spool(&task, &State::Planned, three_rows(), at(6));
        spooled.await.expect("spooled");
    };
    let pack = async || {
        let packs = [(key.clone(), "dt=2026-11-19/ab".parse().expect("a pack"))];
        ledger.set_packs(&packs).await.expect("recorded");
        assert!(task().await.pack.is_some());
    };
    spool().await;
    pack().await;
    let keys = std::slice::from_ref(&key);
    ledger.export_again(keys, at(7)).await.expect("open again");
    assert_eq!(task().await.pack, None);
    // Also where somebody named a pack in between.
    pack().await;
    spool().await;
    assert_eq!(task().await.pack, None);
    pack().await;
    let ended = task().await;
    let failure = Failure::new(Cause::Data, "x");
    ledger
        .end(&ended, Phase::Quarantined, &State::Planned, &failure, at(8))
        .await
        .expect("ended");
    ledger
        .reopen_quarantined(&row, &[(key.clone(), State::Planned)], at(9))
        .await
        .expect("open again");
    assert_eq!(task().await.pack, None);
}

#[tokio::test]
async fn a_task_whose_parent_is_gone_is_withdrawn_and_comes_back_when_planned_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let ledger = Ledger::open(&folder.path().join("meetlake.db"), "test")
        .await
        .expect("opened");
    let row = with_window(&ledger, 1).await;
    ledger
        .plan_tasks(&row, &[open(1, 1)], None, None, None, at(5))
        .await
        .expect("planned");
    ledger
        .plan_tasks(&row, &[], Some(&HashSet::new()), None, None, at(6))
        .await
        .expect("planned");
    let phases = ledger
        .phases_of("acme", Dataset::MeetingList, row.window)
        .await
        .expect("counted");
    assert_eq!(phases, [Phase::Withdrawn].into_iter().collect());
    ledger
        .plan_tasks(&row, &[open(1, 1)], None, None, None, at(7))
        .await
        .expect("planned");
    assert_eq!(
        ledger
            .runnable("acme", at(7), i64::MIN, 1)
            .await
            .expect("listed")
            .len(),
        1
    );
}

#[tokio::test]
async fn a_new_generation_starts_the_task_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let ledger = Ledger::open(&folder.path().join("meetlake.db"), "test")
        .await
        .expect("opened");
    let row = with_window(&ledger, 1).await;
    ledger
        .plan_tasks(&row, &[open(1, 1)], None, None, None, at(5))
        .await
        .expect("planned");
    let task = ledger
        .runnable("acme", at(5), i64::MIN, 1)
        .await
        .expect("listed")
        .remove(0);
    ledger
        .spool(&task, &State::Planned, three_rows(), at(6))
        .await
        .expect("spooled");
    ledger
        .tasks_published(&[(task.spec.key.clone(), 1)], at(7))
        .await
        .expect("published");
    assert!(
        ledger
            .runnable("acme", at(8), i64::MIN, 1)
            .await
            .expect("listed")
            .is_empty()
    );
    ledger
        .plan_tasks(&row, &[open(1, 2)], None, None, None, at(8))
        .await
        .expect("planned");
    let again = ledger
        .runnable("acme", at(8), i64::MIN, 1)
        .await
        .expect("listed")
        .remove(0);
    assert_eq!((again.generation, again.rows), (2, None));
}

#[tokio::test]
async fn tasks_of_an_earlier_key_are_renamed_and_read_again_from_their_originals() {
    let (_folder, ledger, _, before) = with_task().await;
    let fetched = State::Fetched {
        export_id: None,
        submitted_at: at(1),
        sha256: "ab".into(),
        size_bytes: 1,
        extracted_at: at(2),
    };
    let spooled = ledger.spool(&before, &fetched, three_rows(), at(6));
    spooled.await.expect("spooled");
    let packs = [(
        before.spec.key.clone(),
        "dt=2026-11-19/ab".parse().expect("a pack"),
    )];
    ledger.set_packs(&packs).await.expect("recorded");
    assert!(!ledger.has_published().await.expect("read"));

    let key = LakeKey::new(&[9; 32]);
    ledger.rename_tasks(&key).await.expect("renamed");
    let after = the_task(&ledger).await;
    let owner = TaskOwner {
        tenant: "acme",
        key: &key,
    };
    assert_eq!(after.spec.key, TaskKey::new(owner, &before.spec.request));
    assert_ne!(after.spec.key, before.spec.key);
    assert_eq!(
        (after.phase, &after.machine, &after.pack),
        (Phase::Open, &fetched, &None)
    );
    // Renaming twice changes nothing.
    ledger.rename_tasks(&key).await.expect("renamed");
    assert_eq!(the_task(&ledger).await.spec.key, after.spec.key);
}
