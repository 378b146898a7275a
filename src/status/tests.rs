//! What is read out of a ledger: the forecast of a run, days in order, and implausible counts.

use std::collections::BTreeSet;

use jiff::civil::{Date, date};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::day::DayStory;
use super::forecast::{ForecastNote, Forecaster, JobForecast, cost};
use super::*;
use crate::cause::{Cause, Failure};
use crate::datasets::{CallLimits, Lineage, Parent, Request, UserIdType};
use crate::findings::{Fault, Findings, Reject};
use crate::ledger::{Ledger, Restored, RestoredPartition, RestoredSchedule, RestoredTask};
use crate::plan::children::{Budget, KnownChildren, children};
use crate::plan::tests::{job, meeting, task_row, window_row};
use crate::record::{
    Coverage, Phase, PublishedPartition, ReportedDay, ScheduleState, WindowRow, WindowState,
};
use crate::task::TaskSpec;
use crate::window::Window;

fn zone() -> TimeZone {
    TimeZone::get("Asia/Shanghai").expect("a zone")
}

fn dt(day: i8) -> Date {
    date(2026, 11, day)
}

/// A day of November.
fn window(day: i8) -> Window {
    Window::day(&zone(), dt(day)).expect("a day")
}

/// Two hours after a day's end: its windows are due, and the job's next firing is to come.
fn after(day: i8) -> Timestamp {
    window(day).end() + SignedDuration::from_hours(2)
}

/// A task of a day that stands for one meeting, or for the meeting's participants.
fn task(of: Dataset, day: i8, number: i64, phase: Phase) -> RestoredTask {
    let window = window(day);
    let (start, end) = (
        window.start().as_second() + number,
        window.end().as_second(),
    );
    let request = Request {
        meeting_no: of.parent().map(|_| number.to_string()),
        user_id_type: Some(UserIdType::UserId),
        ..Request::between(of, start, end)
    };
    let row = task_row(of, window, phase);
    RestoredTask {
        spec: TaskSpec::new(
            crate::plan::tests::owner(),
            window,
            request,
            Lineage::default(),
        ),
        job_window: window,
        priority: 0,
        generation: 1,
        phase,
        machine: row.machine,
        rows: None,
        dts: row.dts,
        pack: None,
        findings: None,
        failure: None,
        updated_at: window.end(),
        parents: vec![],
        reported: vec![],
    }
}

/// A meeting list's task that brought two meetings of ten participants.
fn two_meetings(day: i8) -> RestoredTask {
    let start = window(day).start() + SignedDuration::from_hours(1);
    let end = start + SignedDuration::from_hours(1);
    let mut task = task(Dataset::MeetingList, day, 0, Phase::Published);
    task.rows = Some(2);
    task.parents = vec![
        meeting("1", start, Some(end), 10),
        Parent {
            source_row: 3,
            ..meeting("2", start, Some(end), 10)
        },
    ];
    task
}

/// A new ledger that holds so much, and what keeps its folder.
async fn ledger_with(restored: &Restored) -> (tempfile::TempDir, Ledger) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("meetlake.db");
    let ledger = Ledger::open(&path, "test").await.expect("opened");
    ledger.restore(restored).await.expect("restored");
    (folder, ledger)
}

/// The forecast of a backfill of `[from, to)`.
async fn backfill_of<'j>(
    restored: &Restored,
    job: &'j JobSpec,
    from: i8,
    to: i8,
) -> JobForecast<'j> {
    let (_folder, ledger) = ledger_with(restored).await;
    let forecaster = Forecaster {
        ledger: Some(&ledger),
        jobs: &[],
        owner: crate::plan::tests::owner(),
        unit: None,
        range: Some((dt(from), dt(to))),
        now: after(20),
    };
    forecaster.job(job).await.expect("a forecast")
}

#[tokio::test]
async fn a_forecast_knows_the_children_that_a_run_would_plan() {
    use Phase::{Failed, Published};
    let row = |of, state| window_row(of, window(10), state);
    let participants = job(Dataset::ParticipantList);
    let table = [
        (WindowState::Due, None, (0, 1)),
        (WindowState::Planned, Some(Published), (0, 1)),
        (WindowState::Settled, Some(Published), (2, 0)),
        // A run goes on with what a stuck parent brought.
        (WindowState::Stuck, Some(Published), (2, 0)),
        (WindowState::Stuck, Some(Failed), (0, 1)),
        // Nobody asks for the parent, so nobody asks for its children.
        (WindowState::Skipped, None, (0, 0)),
        (WindowState::Lost, None, (0, 0)),
    ];
    for (parent, phase, expected) in table {
        let mut tasks = Vec::new();
        tasks.extend(phase.map(|phase| RestoredTask {
            phase,
            ..two_meetings(10)
        }));
        if parent == WindowState::Stuck {
            tasks.push(task(Dataset::MeetingList, 10, 1, Failed));
        }
        let restored = Restored {
            windows: vec![
                row(Dataset::MeetingList, parent),
                row(Dataset::ParticipantList, WindowState::Due),
            ],
            tasks,
            ..Restored::default()
        };
        let forecast = backfill_of(&restored, &participants, 10, 11).await;
        let found = (forecast.tasks, forecast.unknown);
        assert_eq!(found, expected, "{parent:?} {phase:?}");
    }
}

/// What was asked for early is asked for once more when its night is planned.
#[tokio::test]
async fn a_forecast_counts_what_was_asked_for_early_once_more() {
    let details = job(Dataset::Meeting);
    let list = two_meetings(10);
    let children = children(
        &details,
        crate::plan::tests::owner(),
        &window(10),
        &list.parents,
        &KnownChildren::new(),
        &mut Budget::unlimited(),
    );
    let asked_early = children.tasks.into_iter().map(|planned| RestoredTask {
        spec: planned.spec,
        rows: Some(1),
        ..task(Dataset::Meeting, 10, 0, Phase::Published)
    });
    let tasks: Vec<RestoredTask> = asked_early.chain([list]).collect();
    for (told, coverage, expected) in [
        (Some("told"), None, 2),
        (Some("planned"), Some(Coverage::default()), 0),
    ] {
        let mut early = window_row(Dataset::Meeting, window(10), WindowState::Due);
        (early.parents, early.coverage) = (told.map(str::to_owned), coverage);
        let listed = window_row(Dataset::MeetingList, window(10), WindowState::Settled);
        let restored = Restored {
            windows: vec![listed, early],
            tasks: tasks.clone(),
            ..Restored::default()
        };
        let forecast = backfill_of(&restored, &details, 10, 11).await;
        assert_eq!(forecast.tasks, expected, "{told:?}");
    }
}

#[tokio::test]
async fn one_budget_serves_the_windows_of_a_forecast_and_planned_tasks_cost_nothing() {
    let mut participants = job(Dataset::ParticipantList);
    participants.fan_out.max_tasks_per_run = Some(3);
    let row = |of, day, state| window_row(of, window(day), state);
    let mut tasks: Vec<RestoredTask> = (0..5)
        .map(|number| task(Dataset::ParticipantList, 10, number, Phase::Open))
        .collect();
    tasks.push(task(Dataset::ParticipantList, 10, 5, Phase::Published));
    tasks.extend([11, 12].map(two_meetings));
    let restored = Restored {
        windows: vec![
            row(Dataset::MeetingList, 10, WindowState::Settled),
            row(Dataset::MeetingList, 11, WindowState::Settled),
            row(Dataset::MeetingList, 12, WindowState::Settled),
            row(Dataset::ParticipantList, 10, WindowState::Planned),
            row(Dataset::ParticipantList, 11, WindowState::Due),
            row(Dataset::ParticipantList, 12, WindowState::Due),
        ],
        tasks,
        ..Restored::default()
    };
    let forecast = backfill_of(&restored, &participants, 10, 13).await;
    let expected = Coverage {
        parents: 4,
        planned: 3,
        over_max_tasks: 1,
        ..Coverage::default()
    };
    assert_eq!(forecast.windows, [window(10), window(11), window(12)]);
    assert_eq!(forecast.coverage, Some(expected));
    assert_eq!(
        (forecast.tasks, forecast.unknown),
        (5 + 3, 0),
        "five are open, and three of four children are within the bound"
    );
}

#[tokio::test]
async fn a_first_run_knows_no_children_and_says_what_it_leaves_out() {
    let jobs = [job(Dataset::ParticipantList), job(Dataset::MeetingList)];
    let mut forecaster = Forecaster {
        ledger: None,
        jobs: &jobs,
        owner: crate::plan::tests::owner(),
        unit: None,
        range: None,
        now: after(12),
    };
    let forecasts = forecaster.all().await.expect("forecasts");
    let found = forecasts.iter().map(|of| {
        let windows = of.windows.len();
        (of.job.dataset, windows, of.tasks, of.unknown, of.expected)
    });
    assert_eq!(
        found.collect::<Vec<_>>(),
        [
            (Dataset::MeetingList, 3, 3, 0, None),
            (Dataset::ParticipantList, 3, 0, 3, None)
        ]
    );
    forecaster.range = Some((date(2026, 8, 1), dt(14)));
    let reports = job(Dataset::DailyReport);
    let notes = forecaster.job(&reports).await.expect("a forecast").notes;
    let [
        ForecastNote::BeyondHorizon(lost, 90),
        ForecastNote::NotYet(first),
    ] = notes.as_slice()
    else {
        panic!("{notes:?}")
    };
    assert_eq!(lost.dates(&zone()).first(), Some(&date(2026, 8, 1)));
    assert_eq!(*first, window(12), "the UTC day of a report is not over");
}

/// A window that settled, with its day in the lake.
fn published(of: Dataset, tenant: &str, day: i8) -> (WindowRow, RestoredPartition) {
    let mut row = window_row(of, window(day), WindowState::Settled);
    row.tenant = tenant.into();
    let partition = RestoredPartition {
        tenant: tenant.into(),
        dataset: of,
        dt: dt(day),
        published: PublishedPartition {
            revision: 1,
            complete: true,
            content_hash: "ce".into(),
            manifest_sha256: "fa".into(),
            rows: 7,
            size_bytes: 9_000,
            inputs: vec![],
        },
        published_at: after(day),
    };
    (row, partition)
}

#[tokio::test]
async fn days_come_by_tenant_dataset_and_date_and_those_nobody_looked_at_are_late() {
    let mut jobs = [job(Dataset::MeetingList), job(Dataset::DailyReport)];
    for job in &mut jobs {
        job.tenants = vec!["acme".into(), "beta".into()];
    }
    let (windows, partitions) = [
        published(Dataset::MeetingList, "acme", 10),
        published(Dataset::DailyReport, "acme", 10),
        published(Dataset::MeetingList, "beta", 10),
    ]
    .into_iter()
    .unzip();
    let restored = Restored {
        schedules: vec![RestoredSchedule {
            job: "meeting_list".into(),
            tenant: "acme".into(),
            state: ScheduleState {
                watermark: window(10).end(),
                last_firing: after(10),
            },
        }],
        windows,
        partitions,
        ..Restored::default()
    };
    let (_folder, ledger) = ledger_with(&restored).await;
    let zone = zone();
    let tenants = [("beta", &zone), ("acme", &zone)];
    let days = async |only: Option<&str>| {
        let days = all_days(&ledger, &tenants, &jobs, only, after(12)).await;
        days.expect("days")
    };
    let all = days(None).await;
    let found = all.iter().map(|day| {
        let (tenant, dataset) = (day.tenant.as_str(), day.dataset);
        (tenant, dataset, day.dt.day(), day.outcome, day.rows)
    });
    use DayOutcome::{Published, Waiting};
    assert_eq!(
        found.collect::<Vec<_>>(),
        [
            ("beta", Dataset::MeetingList, 10, Published, 7),
            ("acme", Dataset::DailyReport, 10, Published, 7),
            ("acme", Dataset::MeetingList, 10, Published, 7),
            ("acme", Dataset::MeetingList, 11, Waiting, 0),
            ("acme", Dataset::MeetingList, 12, Waiting, 0),
        ]
    );
    assert_eq!(days(Some("acme")).await, all[1..]);
    let late: Vec<_> = all.iter().map(|day| day.late_s).collect();
    // Due at 01:00, expected by the firing at 05:00 and the hour of an export; it is 02:00 a day
    // later.
    assert_eq!(late, [None, None, None, Some(20 * 3600), None]);
    let why = all[3].why.as_deref();
    assert_eq!(why, Some("no run has looked at it since it was due"));
}

/// Whatever the windows, tasks and partitions of some tenants are: the late days that are found by
/// index are those that a walk through all days finds.
#[tokio::test]
async fn the_late_days_found_by_index_are_those_of_a_whole_walk() {
    let mut jobs = [job(Dataset::MeetingList), job(Dataset::TopUser)];
    for job in &mut jobs {
        job.tenants = vec!["acme".into(), "beta".into()];
    }
    let mut restored = Restored::default();
    let mut window_of = |tenant: &str, of, day, state| {
        let mut row = window_row(of, window(day), state);
        row.tenant = tenant.to_owned();
        row.due_at = row.window.end();
        restored.windows.push(row);
    };
    use WindowState::{Due, Lost, Planned, Settled, Skipped, Stuck};
    for (day, state) in [
        (1, Settled),
        (2, Stuck),
        (3, Planned),
        (4, Due),
        (5, Lost),
        (6, Skipped),
        (7, Settled),
        (8, Planned),
    ] {
        window_of("acme", Dataset::MeetingList, day, state);
        window_of("beta", Dataset::TopUser, day, state);
    }
    // An export that is asked for once more, of a day that is in the lake.
    window_of("acme", Dataset::TopUser, 9, Planned);
    for (tenant, of, days) in [
        ("acme", Dataset::MeetingList, &[1, 2, 7, 8][..]),
        ("beta", Dataset::TopUser, &[1, 3, 7]),
        ("acme", Dataset::TopUser, &[9]),
    ] {
        for day in days {
            let (_, mut partition) = published(of, tenant, *day);
            partition.published.complete = [1, 9].contains(day) || (tenant, *day) == ("beta", 7);
            restored.partitions.push(partition);
        }
    }
    let mut failed = task(Dataset::MeetingList, 2, 0, Phase::Failed);
    failed.failure = Some(Failure::new(Cause::Export, "no file"));
    restored.tasks.push(failed);
    for (job, tenant, day) in [("meeting_list", "acme", 8), ("top_user", "beta", 8)] {
        restored.schedules.push(RestoredSchedule {
            job: job.into(),
            tenant: tenant.into(),
            state: ScheduleState {
                watermark: window(day).end(),
                last_firing: after(day),
            },
        });
    }
    let (_folder, ledger) = ledger_with(&restored).await;
    let zone = zone();
    let tenants = [("acme", &zone), ("beta", &zone)];
    for day in 9..14 {
        let now = after(day);
        let mut expected = all_days(&ledger, &tenants, &jobs, None, now)
            .await
            .expect("days");
        expected.retain(|day| day.late_s.is_some());
        let found = LateDays::read(&ledger, &tenants, &jobs, now, 100)
            .await
            .expect("late days");
        assert_eq!(found.days, expected, "{now}");
        assert!(found.more.is_empty());
        let outcomes: BTreeSet<&str> = expected.iter().map(|day| day.outcome.as_str()).collect();
        assert!(expected.len() >= 8, "{expected:#?}");
        assert_eq!(outcomes, ["failed", "partial", "waiting"].into());
        let few = LateDays::read(&ledger, &tenants, &jobs, now, 3)
            .await
            .expect("late days");
        // Of both tenants, in the same order.
        let told = expected.iter().filter(|day| few.days.contains(day));
        assert_eq!(few.days, told.cloned().collect::<Vec<_>>());
        let of = |tenant| few.days.iter().filter(|day| day.tenant == tenant).count();
        assert_eq!((few.days.len(), of("acme"), of("beta")), (3, 2, 1));
        assert!(few.more.values().sum::<usize>() >= expected.len() - 3);
    }
}

#[tokio::test]
async fn a_day_is_said_to_be_withdrawable_where_it_holds_nothing_and_nobody_asks_for_it() {
    use Phase::{Failed, Open, Quarantined, Spooled};
    let list = Dataset::MeetingList;
    let story = async |restored: &Restored| {
        let (_folder, ledger) = ledger_with(restored).await;
        let (zone, job) = (zone(), job(list));
        let story = DayStory::read(
            &ledger,
            ("acme", &zone),
            list,
            Some(&job),
            dt(10),
            after(12),
        );
        story.await.expect("a story")
    };
    let asked_for = |of, state| Restored {
        windows: vec![window_row(of, window(10), state)],
        ..Restored::default()
    };
    assert!(!story(&Restored::default()).await.may_be_withdrawn);
    for (state, phase, expected) in [
        (WindowState::Due, None, true),
        (WindowState::Lost, None, true),
        (WindowState::Planned, Some(Open), true),
        (WindowState::Stuck, Some(Failed), true),
        (WindowState::Stuck, Some(Quarantined), false),
        (WindowState::Planned, Some(Spooled), false),
        (WindowState::Settled, None, false),
    ] {
        let mut restored = asked_for(list, state);
        restored
            .tasks
            .extend(phase.map(|phase| task(list, 10, 0, phase)));
        let found = story(&restored).await.may_be_withdrawn;
        assert_eq!(found, expected, "{state:?} {phase:?}");
    }
    let mut in_the_lake = asked_for(list, WindowState::Due);
    in_the_lake.partitions.push(published(list, "acme", 10).1);
    let mut has_a_child = asked_for(list, WindowState::Due);
    let child = window_row(Dataset::ParticipantList, window(10), WindowState::Due);
    has_a_child.windows.push(child);
    let mut of_a_schedule = asked_for(list, WindowState::Due);
    of_a_schedule.schedules.push(RestoredSchedule {
        job: "meeting_list".into(),
        tenant: "acme".into(),
        state: ScheduleState {
            watermark: window(10).end(),
            last_firing: after(10),
        },
    });
    for kept in [in_the_lake, has_a_child, of_a_schedule] {
        assert!(!story(&kept).await.may_be_withdrawn, "{kept:?}");
    }
}

#[tokio::test]
async fn cells_that_do_not_fit_are_counted_and_the_first_are_named_with_task_and_sheet() {
    let cell = |row: usize, column: &str| Reject {
        sheet: "会议列表".into(),
        cell: format!("F{row}"),
        column: column.into(),
        reason: Fault::NotATime,
    };
    let mut rejects: Vec<Reject> = (2..9).map(|row| cell(row, "start_time")).collect();
    rejects.push(cell(30, "end_time"));
    let mut task = task(Dataset::MeetingList, 10, 0, Phase::Published);
    task.findings = Some(Findings {
        rejects,
        ..Findings::default()
    });
    let key = task.spec.key.clone();
    let restored = Restored {
        windows: vec![window_row(
            Dataset::MeetingList,
            window(10),
            WindowState::Settled,
        )],
        tasks: vec![task],
        ..Restored::default()
    };
    let (_folder, ledger) = ledger_with(&restored).await;
    let zone = zone();
    let story = DayStory::read(
        &ledger,
        ("acme", &zone),
        Dataset::MeetingList,
        None,
        dt(10),
        after(12),
    );
    let found = story.await.expect("a story").rejects.cells;
    let told = found.iter().map(|((column, what), cells)| {
        let first = cells.first.iter().map(|at| {
            assert_eq!((&at.task_key, at.sheet.as_str()), (&key, "会议列表"));
            at.cell.as_str()
        });
        (
            column.as_str(),
            what.as_str(),
            cells.count,
            first.collect::<Vec<_>>(),
        )
    });
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            ("end_time", "is no date-time", 1, vec!["F30"]),
            (
                "start_time",
                "is no date-time",
                7,
                vec!["F2", "F3", "F4", "F5", "F6"]
            ),
        ]
    );
}

#[tokio::test]
async fn counts_of_the_ledger_make_a_day_implausible() {
    let mut list = two_meetings(10);
    list.reported = vec![ReportedDay {
        date: dt(10),
        start: window(10).start(),
        meetings: 9,
    }];
    let sheet = |number: usize, rows| {
        let meeting = list.parents[number].clone();
        let mut sheet = task(
            Dataset::ParticipantList,
            10,
            number as i64,
            Phase::Published,
        );
        sheet.spec.lineage.meeting_no = Some(meeting.meeting_no);
        sheet.spec.lineage.meeting_start_time = Some(meeting.start);
        sheet.spec.lineage.meeting_end_time = meeting.end;
        sheet.rows = Some(rows);
        sheet
    };
    let row = |of| window_row(of, window(10), WindowState::Settled);
    let restored = Restored {
        windows: vec![row(Dataset::MeetingList), row(Dataset::ParticipantList)],
        tasks: vec![sheet(0, 10), sheet(1, 1), list.clone()],
        ..Restored::default()
    };
    let (_folder, ledger) = ledger_with(&restored).await;
    let reason = async |of, day| {
        let reason = implausible(&ledger, "acme", &zone(), &job(of), dt(day)).await;
        reason.expect("read").map(|reason| reason.to_string())
    };
    assert_eq!(
        reason(Dataset::MeetingList, 10).await.as_deref(),
        Some("the daily report counted 9 meetings, the list has 2")
    );
    assert_eq!(
        reason(Dataset::ParticipantList, 10).await.as_deref(),
        Some("1 of 2 meetings have fewer participants than they counted, at worst 1 of 10")
    );
    for (of, day) in [
        (Dataset::MeetingList, 11),
        (Dataset::ParticipantList, 11),
        (Dataset::DailyReport, 10),
    ] {
        assert_eq!(reason(of, day).await, None, "{of} {day}");
    }
}

#[test]
fn what_is_made_from_rooms_costs_a_listing_of_them_once() {
    let of = |dataset, windows: i8| JobForecast {
        job: Box::leak(Box::new(job(dataset))),
        windows: (1..=windows)
            .map(|day| Window::day(&TimeZone::UTC, dt(day)).expect("a day"))
            .collect(),
        left_over: 0,
        tasks: 1,
        unknown: 0,
        expected: None,
        usual: None,
        asks_a_month: 0,
        lists: Vec::new(),
        rows: 0,
        coverage: None,
        notes: Vec::new(),
    };
    let calls_of_rooms = |forecasts: &[JobForecast<'_>]| {
        let cost = cost(forecasts, &CallLimits::default());
        let of_rooms = cost
            .endpoints
            .into_iter()
            .find(|load| load.endpoint == "GET rooms");
        of_rooms.map_or(0, |load| load.calls)
    };
    let reservations = Dataset::ResourceReservationList;
    assert_eq!(calls_of_rooms(&[of(reservations, 0)]), 0);
    assert_eq!(calls_of_rooms(&[of(reservations, 3)]), 1);
    assert_eq!(
        calls_of_rooms(&[of(reservations, 3), of(Dataset::Room, 1)]),
        2
    );
    assert_eq!(calls_of_rooms(&[of(Dataset::MeetingList, 3)]), 0);
}
