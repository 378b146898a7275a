//! What is recorded through the ledger's methods is what they give back, typed.

use std::collections::BTreeSet;

use jiff::civil::{Date, date};

use super::*;
use crate::datasets::Parent;
use crate::findings::Findings;
use crate::ledger::tasks::SpoolContent;
use crate::record::{
    Coverage, Damage, Input, InputOutcome, PublishedPartition, ReportedDay, ScheduleState,
};

/// Plants a value as no meetlake writes it.
async fn plant(ledger: &Ledger, statement: &'static str) {
    sqlx::raw_sql(statement)
        .execute(&ledger.write)
        .await
        .expect("planted");
}

const DAY: Date = date(1970, 1, 2);

#[tokio::test]
async fn all_that_a_spooled_task_leaves_is_given_back_typed() {
    let (_folder, ledger, _, task) = with_task().await;
    let meeting = Parent {
        source_row: 4,
        meeting_no: "123456789".to_owned(),
        start: at(90_000),
        end: None,
        participant_count: Some(2),
        join_time: Some(at(90_001)),
        stay_s: None,
        user_id: None,
        room_id: Some("omm_1".to_owned()),
        device: Some("电脑".to_owned()),
        meeting_id: Some("7529416531681214468".to_owned()),
        was_recorded: Some(false),
    };
    let report = |meetings| ReportedDay {
        date: DAY,
        start: at(86_400),
        meetings,
    };
    let result = SpooledResult {
        findings: Findings {
            witness: Some("5f".to_owned()),
            ..three_rows().findings
        },
        dts: [DAY, date(1970, 1, 3)].into(),
        parents: std::iter::once(meeting.clone()).collect(),
        reported: vec![report(8), report(9)],
    };
    let machine = State::Fetched {
        export_id: Some(ExportId("7".to_owned())),
        submitted_at: at(6),
        sha256: "5e".to_owned(),
        size_bytes: 9,
        extracted_at: at(7),
    };
    ledger
        .spool(&task, &machine, result.clone(), at(8))
        .await
        .expect("spooled");
    let task = the_task(&ledger).await;
    assert_eq!(task.phase, Phase::Spooled);
    assert_eq!(
        (task.rows, &task.dts, task.findings),
        (Some(3), &result.dts, Some(result.findings))
    );
    let parents = ledger.parents("acme", Dataset::MeetingList, window(1));
    assert_eq!(parents.await.expect("parents"), [meeting]);
    let day = ledger.reported_day("acme", DAY).await.expect("read");
    assert_eq!(day, Some(report(9)));
    let nobodys = ledger.reported_day("acm%", DAY).await.expect("read");
    assert_eq!(nobodys, None);
    let contents = ledger.spool_contents().await.expect("listed");
    let content = SpoolContent {
        tenant: "acme".to_owned(),
        key: task.spec.key,
        generation: 1,
        original: Some("5e".to_owned()),
        witness: Some("5f".to_owned()),
    };
    assert_eq!(contents, [content]);
}

#[tokio::test]
async fn damage_stays_until_a_result_or_another_generation_comes() {
    let (_folder, ledger, row, task) = with_task().await;
    let failure = Failure::new(Cause::Retry, "cut off");
    let damage = Damage {
        sha256: "d0".to_owned(),
        times: 2,
    };
    let defer = async |damage: Option<&Damage>| {
        let deferred = ledger.defer(&task, &State::Planned, at(9), &failure, damage, at(6));
        deferred.await.expect("deferred");
        the_task(&ledger).await
    };
    assert_eq!(defer(None).await.damage, None);
    assert_eq!(defer(Some(&damage)).await.damage, Some(damage.clone()));
    let deferred = defer(None).await;
    assert_eq!(deferred.damage, Some(damage.clone()));
    assert_eq!(deferred.failure.as_ref(), Some(&failure));
    assert_eq!(deferred.attempts, 3);
    let next = ledger.next_run_at("acme", &[]).await.expect("read");
    assert_eq!(next, Some(at(9)));
    ledger
        .spool(&task, &State::Planned, three_rows(), at(10))
        .await
        .expect("spooled");
    let spooled = the_task(&ledger).await;
    assert_eq!((spooled.damage, spooled.failure), (None, None));
    assert_eq!(defer(Some(&damage)).await.damage, Some(damage.clone()));
    ledger
        .plan_tasks(&row, &[open(1, 2)], None, None, None, at(11))
        .await
        .expect("planned");
    let again = the_task(&ledger).await;
    assert_eq!(
        (again.damage, again.failure, again.findings),
        (None, None, None)
    );
}

#[tokio::test]
async fn what_needs_attention_is_told_with_phase_and_failure() {
    let (_folder, ledger, row, task) = with_task().await;
    let failure = Failure::new(Cause::Data, "no such column");
    let ended = ledger.end(&task, Phase::Quarantined, &State::Planned, &failure, at(6));
    ended.await.expect("ended");
    let listed = async |tenant, limit| {
        let listed = ledger.attention(tenant, limit).await;
        listed.expect("listed")
    };
    let attention = listed(None, 9).await.remove(0);
    assert_eq!(
        (attention.phase, attention.failure, attention.attempts),
        (Phase::Quarantined, failure, 1)
    );
    assert_eq!(listed(Some("acme"), 9).await.len(), 1);
    assert!(listed(Some("beta"), 9).await.is_empty());
    assert!(listed(None, 0).await.is_empty());
    let status = ledger.dataset_status("acme", Dataset::MeetingList).await;
    let status = status.expect("counted");
    assert_eq!(status.windows, [(WindowState::Planned, 1)]);
    assert_eq!(status.tasks, [Phase::Quarantined].into_iter().collect());
    ledger
        .reopen_quarantined(&row, &[(task.spec.key, State::Planned)], at(7))
        .await
        .expect("open again");
    assert!(listed(None, 9).await.is_empty());
}

fn input(task: &TaskRow, rows: u64) -> Input {
    Input {
        task_key: task.spec.key.clone(),
        generation: task.generation,
        window_start: task.spec.window.start(),
        window_end: task.spec.window.end(),
        job_window: None,
        export_id: None,
        submitted_at: Some(at(6)),
        extracted_at: None,
        source_sha256: None,
        pack: None,
        rows,
        overridden_rows: 0,
        outcome: InputOutcome::Published,
    }
}

fn published(inputs: Vec<Input>) -> PublishedPartition {
    PublishedPartition {
        revision: 1,
        complete: true,
        content_hash: "ce".to_owned(),
        manifest_sha256: "fa".to_owned(),
        rows: 3,
        size_bytes: 9_000,
        inputs,
    }
}

#[tokio::test]
async fn a_partition_gives_back_its_inputs_and_a_check_adds_those_that_were_not_known() {
    let (_folder, ledger, _, task) = with_task().await;
    let of = Dataset::MeetingList;
    let first = input(&task, 3);
    let done = published(vec![first.clone()]);
    ledger
        .published("acme", of, DAY, &done, at(9))
        .await
        .expect("recorded");
    let other = Input {
        task_key: spec(2).key,
        rows: 0,
        ..first.clone()
    };
    let new = [other.clone(), input(&task, 4)];
    ledger
        .checked("acme", of, DAY, false, &new, at(10))
        .await
        .expect("recorded");
    let mut expected = [first.clone(), other];
    expected.sort_by(|a, b| a.task_key.cmp(&b.task_key));
    let inputs = ledger.inputs("acme", of, DAY).await.expect("listed");
    assert_eq!(inputs, expected);
    assert_eq!(ledger.all_inputs().await.expect("listed"), expected);
    let row = ledger.partition("acme", of, DAY).await.expect("read");
    let row = row.expect("a partition");
    assert_eq!((row.complete, row.checked_at), (false, Some(at(10))));
    // The next revision has its own list.
    let done = published(vec![first.clone()]);
    ledger
        .published("acme", of, DAY, &done, at(11))
        .await
        .expect("recorded");
    assert_eq!(ledger.all_inputs().await.expect("listed"), [first]);
}

#[tokio::test]
async fn what_a_rebuild_found_is_restored_once_and_only_into_an_empty_ledger() {
    let (_folder, _, row, task) = with_task().await;
    let coverage = Coverage {
        parents: 2,
        planned: 1,
        ..Coverage::default()
    };
    let row = WindowRow {
        coverage: Some(coverage),
        ..row
    };
    let report = ReportedDay {
        date: DAY,
        start: at(86_400),
        meetings: 7,
    };
    let failure = Failure::new(Cause::Data, "1 row has no key");
    let restored = Restored {
        schedules: vec![RestoredSchedule {
            job: "meetings".to_owned(),
            tenant: "acme".to_owned(),
            state: ScheduleState {
                watermark: at(1),
                last_firing: at(2),
            },
        }],
        windows: vec![row.clone()],
        tasks: vec![RestoredTask {
            spec: task.spec.clone(),
            job_window: task.job_window,
            priority: 0,
            generation: 4,
            phase: Phase::Quarantined,
            machine: State::Planned,
            rows: Some(3),
            dts: [DAY].into(),
            pack: None,
            findings: Some(three_rows().findings),
            failure: Some(failure.clone()),
            updated_at: at(9),
            parents: vec![],
            reported: vec![report],
        }],
        partitions: vec![RestoredPartition {
            tenant: "acme".to_owned(),
            dataset: Dataset::MeetingList,
            dt: DAY,
            published: published(vec![input(&task, 3)]),
            published_at: at(8),
        }],
    };
    let folder = tempfile::tempdir().expect("a folder");
    let ledger = Ledger::open(&folder.path().join("meetlake.db"), "test")
        .await
        .expect("opened");
    ledger.restore(&restored).await.expect("restored");
    let found = the_task(&ledger).await;
    assert_eq!((found.generation, found.failure), (4, Some(failure)));
    assert_eq!(found.findings, Some(three_rows().findings));
    assert_eq!(found.dts, BTreeSet::from([DAY]));
    let windows = ledger.windows("acme", Dataset::MeetingList, None).await;
    assert_eq!(windows.expect("windows"), [row]);
    let day = ledger.reported_day("acme", DAY).await.expect("read");
    assert_eq!(day, Some(report));
    assert_eq!(ledger.all_inputs().await.expect("inputs").len(), 1);
    // A partition alone is enough to refuse.
    let again = Restored {
        partitions: restored.partitions,
        ..Restored::default()
    };
    let refused = ledger.restore(&again).await;
    assert!(matches!(refused, Err(Error::Sql { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_stored_value_that_cannot_be_read_is_named_by_column_and_row() {
    let (_folder, ledger, row, task) = with_task().await;
    let key = task.spec.key.as_str();
    let tables = [
        ("UPDATE task SET phase = 'lost'", "phase", r#""lost""#),
        (
            "UPDATE task SET phase = 'open', dts = '[1]'",
            "dts",
            r#""[1]""#,
        ),
        (
            "UPDATE task SET dts = NULL, result = '{'",
            "result",
            r#""{""#,
        ),
        (
            "UPDATE task SET result = NULL, attempts = -1",
            "attempts",
            r#""-1""#,
        ),
        (
            "UPDATE task SET attempts = 0, error = 'x'",
            "error_kind",
            "",
        ),
        (
            "UPDATE task SET error = NULL, damaged_times = 1",
            "damaged_sha256",
            "",
        ),
        (
            "UPDATE task SET damaged_times = NULL, generation = 'x'",
            "generation",
            "",
        ),
    ];
    for (statement, column, value) in tables {
        plant(&ledger, statement).await;
        let tasks = ledger.tasks_of("acme", Dataset::MeetingList, row.window);
        let error = tasks.await.expect_err(statement).to_string();
        let begin = format!("the ledger holds an unreadable {column} of task {key}: ");
        assert!(
            error.starts_with(&begin) && error.ends_with(value),
            "{error}"
        );
    }
    plant(&ledger, "UPDATE job_window SET coverage = '{}'").await;
    let windows = ledger.windows("acme", Dataset::MeetingList, None).await;
    let error = windows.expect_err("unreadable").to_string();
    let window = "coverage of window acme/meeting_list/86400000000/172800000000";
    assert!(error.contains(window), "{error}");
    let done = published(vec![input(&task, 3)]);
    ledger
        .published("acme", Dataset::MeetingList, DAY, &done, at(9))
        .await
        .expect("recorded");
    plant(
        &ledger,
        "UPDATE input SET entry = '{}'; UPDATE partition SET state = 'whole'",
    )
    .await;
    let error = ledger.all_inputs().await.expect_err("unreadable");
    let named = format!("entry of input acme/meeting_list/{DAY}/{key}");
    assert!(error.to_string().contains(&named), "{error}");
    let error = ledger.partitions(None).await.expect_err("unreadable");
    let named = format!("state of partition acme/meeting_list/{DAY}");
    assert!(error.to_string().contains(&named), "{error}");
}
