//! Each knob turns what it says.

use std::time::Duration;

use calamine::Data;
use jiff::SignedDuration;
use meetlake_simulator::company::Meeting;
use meetlake_simulator::{
    DayBucket, ExportTimes, ExtraSheets, Face, Language, Layout, Options, Selection, TopUserUnit,
    UnknownTarget,
};
use serde_json::{Value, json};

use crate::app::{App, fast, seconds, sheets, with_knobs};

fn long_meeting(app: &App) -> Meeting {
    let meetings = app.server.company().meetings();
    meetings
        .iter()
        .find(|meeting| meeting.duration_s() > 25 * 3_600)
        .unwrap()
        .as_ref()
        .clone()
}

fn exact(meeting: &Meeting) -> Value {
    json!({ "meeting_start_time": seconds(meeting.start), "meeting_end_time": seconds(meeting.end), "meeting_no": meeting.meeting_no })
}

#[tokio::test]
async fn selection_is_by_start_or_by_overlap() {
    for (selection, finds) in [(Selection::Start, false), (Selection::Overlap, true)] {
        let app = App::start(with_knobs(|knobs| {
            knobs.selection = selection;
            knobs.layout = Layout::Documented;
        }))
        .await;
        let meeting = long_meeting(&app);
        let middle = meeting.start + SignedDuration::from_hours(12);
        let body = json!({ "start_time": seconds(middle), "end_time": middle.as_second() + 60 });
        let found = app
            .sheet("meeting_list", &body)
            .await
            .texts("会议ID")
            .contains(&meeting.meeting_no);
        assert_eq!(found, finds);
    }
}

#[tokio::test]
async fn the_end_can_be_included() {
    for (end_inclusive, rows) in [(false, 0), (true, 1)] {
        let app = App::start(with_knobs(|knobs| knobs.end_inclusive = end_inclusive)).await;
        let first = app.server.company().meetings()[0].start;
        let body = json!({ "start_time": first.as_second() - 1, "end_time": seconds(first) });
        assert_eq!(app.sheet("meeting_list", &body).await.rows.len(), rows);
    }
}

#[tokio::test]
async fn day_buckets_begin_in_utc_or_in_the_zone() {
    for (day_bucket, remainder) in [(DayBucket::Utc, 0), (DayBucket::Local, 16 * 3_600)] {
        let app = App::start(with_knobs(|knobs| knobs.day_bucket = day_bucket)).await;
        let (start, end) = app.window();
        let path = format!(
            "/open-apis/vc/v1/reports/get_daily?start_time={}&end_time={}",
            seconds(start),
            seconds(end)
        );
        let report = app.get(&path).await.body["data"]["meeting_report"].clone();
        let days = report["daily_report"].as_array().unwrap().clone();
        assert!(
            days.iter().all(
                |day| day["date"].as_str().unwrap().parse::<i64>().unwrap() % 86_400 == remainder
            )
        );
        assert_eq!(report["total_meeting_count"], json!("84"));
        if day_bucket == DayBucket::Local {
            assert_eq!(days.len(), 7);
            assert!(days.iter().all(|day| day["meeting_count"] == json!("12")));
        }
    }
}

#[tokio::test]
async fn a_level_stands_for_itself_or_for_its_descendants_too() {
    let mut counts = Vec::new();
    for with_descendants in [false, true] {
        let app = App::start(with_knobs(|knobs| {
            knobs.with_descendants = with_descendants
        }))
        .await;
        let city = &app.server.company().room_levels()[2];
        let path = format!(
            "/open-apis/vc/v1/rooms?page_size=100&room_level_id={}",
            city.room_level_id
        );
        let rooms = app.get(&path).await.body["data"]["rooms"]
            .as_array()
            .unwrap()
            .len();
        let (start, _) = app.window();
        let body = json!({
            "room_level_id": city.room_level_id,
            "start_time": seconds(start), "end_time": start.as_second() + 86_400,
        });
        counts.push((
            rooms,
            app.sheet("resource_reservation_list", &body)
                .await
                .rows
                .len(),
        ));
    }
    assert!(
        counts[0].0 == 1 && counts[1].0 == 8 && counts[1].1 > counts[0].1,
        "{counts:?}"
    );
}

#[tokio::test]
async fn long_spans_are_refused_or_not() {
    let app = App::start(fast()).await;
    let meeting = long_meeting(&app);
    assert_eq!(
        app.sheet("participant_list", &exact(&meeting))
            .await
            .rows
            .len() as u64,
        meeting.device_count()
    );
    let mut wider = exact(&meeting);
    wider["meeting_start_time"] = json!(meeting.start.as_second() - 120);
    assert_eq!(app.submit("participant_list", &wider).await.code(), 121_003);

    let strict = App::start(with_knobs(|knobs| knobs.refuse_long_meetings = true)).await;
    assert_eq!(
        strict
            .submit("participant_list", &exact(&meeting))
            .await
            .code(),
        121_003
    );
    let lenient = App::start(with_knobs(|knobs| knobs.refuse_long_spans = false)).await;
    assert_eq!(lenient.submit("participant_list", &wider).await.code(), 0);
}

#[tokio::test]
async fn layouts_differ_in_columns_and_mixed_is_decided_by_the_request() {
    let mut widths = Vec::new();
    for layout in [Layout::Documented, Layout::Observed] {
        let app = App::start(with_knobs(|knobs| knobs.layout = layout)).await;
        let list = app.meetings().await;
        widths.push(list.raw_header.len());
        assert_eq!(
            list.raw_header.iter().any(|name| name.trim() != name),
            layout == Layout::Observed
        );
    }
    assert_eq!(widths, [17, 20]);
    let app = App::start(fast()).await;
    let (start, _) = app.window();
    let mut seen = std::collections::BTreeSet::new();
    for hour in 0..12 {
        let body =
            json!({ "start_time": seconds(start), "end_time": start.as_second() + hour * 3_600 });
        let width = app.sheet("meeting_list", &body).await.raw_header.len();
        assert_eq!(
            app.sheet("meeting_list", &body).await.raw_header.len(),
            width
        );
        seen.insert(width);
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [17, 20]);
}

#[tokio::test]
async fn files_can_be_english() {
    let app = App::start(with_knobs(|knobs| knobs.language = Language::En)).await;
    let list = app.meetings().await;
    assert!(
        list.texts("audio")
            .iter()
            .all(|text| text == "yes" || text == "no")
    );
    assert_eq!(list.texts("meeting id").len(), 84);
}

#[tokio::test]
async fn lark_has_english_files_fewer_parameters_and_coarser_scopes() {
    let options = Options::of(Face::Lark, Options::default().last_day, 100_000.0);
    let app = App::start(options).await;
    let (start, end) = app.window();
    let mut body = json!({ "start_time": seconds(start), "end_time": seconds(end) });
    let list = app.sheet("meeting_list", &body).await;
    assert!(
        list.texts("meeting start time")
            .iter()
            .all(|text| text.ends_with("(GMT-04:00)"))
    );
    body["meeting_status"] = json!(2);
    let refused = app.submit("meeting_list", &body).await;
    assert_eq!(refused.code(), 99_992_402);
    assert!(
        refused.body["error"]["troubleshooter"]
            .as_str()
            .is_some_and(
                |text| text.starts_with("Troubleshooting suggestions: https://open.larksuite.com/")
            )
    );

    let mut options = Options::of(Face::Lark, Options::default().last_day, 100_000.0);
    options.knobs.scopes = ["vc:rooms.room.basicinfo:read".to_owned()].into();
    let app = App::start(options).await;
    let refused = app.get("/open-apis/vc/v1/rooms").await;
    assert_eq!(refused.code(), 99_991_672);
    assert_eq!(
        refused.body["error"]["permission_violations"]
            .as_array()
            .map(Vec::len),
        Some(2)
    );
}

#[tokio::test]
async fn sheets_can_be_more_than_one() {
    for (extra_sheets, rows) in [
        (ExtraSheets::Notes, vec![84, 1]),
        (ExtraSheets::Split, vec![42, 42]),
    ] {
        let app = App::start(with_knobs(|knobs| knobs.extra_sheets = extra_sheets)).await;
        let (start, end) = app.window();
        let file = app
            .file(
                "meeting_list",
                &json!({ "start_time": seconds(start), "end_time": seconds(end) }),
            )
            .await;
        assert_eq!(
            sheets(file)
                .iter()
                .map(|sheet| sheet.rows.len())
                .collect::<Vec<_>>(),
            rows
        );
    }
}

#[tokio::test]
async fn cells_follow_their_knobs() {
    let app = App::start(with_knobs(|knobs| {
        knobs.zone_suffix = false;
        knobs.numeric_counts = true;
        knobs.layout = Layout::Observed;
        knobs.room_id_column = true;
    }))
    .await;
    let list = app.meetings().await;
    assert!(
        list.texts("会议开始时间")
            .iter()
            .all(|text| text.len() == 19)
    );
    let count = list.column("参会人数");
    assert!(
        list.rows
            .iter()
            .all(|row| matches!(row[count], Data::Float(_) | Data::Int(_)))
    );
    let company = app.server.company();
    let with_room = company
        .meetings()
        .iter()
        .find(|meeting| {
            meeting
                .participants
                .iter()
                .any(|who| who.room_id().is_some())
        })
        .unwrap();
    let rooms = app
        .sheet("participant_list", &exact(with_room))
        .await
        .texts("会议室ID");
    let expected: Vec<&str> = with_room
        .participants
        .iter()
        .map(|who| who.room_id().unwrap_or(""))
        .collect();
    assert_eq!(rooms, expected);
}

#[tokio::test]
async fn an_unknown_target_is_an_empty_file_or_a_failed_task() {
    let body = json!({ "meeting_start_time": 1_792_300_000, "meeting_end_time": 1_792_303_600, "meeting_no": "123456789" });
    for (unknown_target, status) in [
        (UnknownTarget::EmptyFile, 3),
        (UnknownTarget::FailedTask, 2),
    ] {
        let app = App::start(with_knobs(|knobs| knobs.unknown_target = unknown_target)).await;
        let state = app.finish(&app.task("participant_list", &body).await).await;
        assert_eq!(state["status"], json!(status));
    }
}

#[tokio::test]
async fn the_unit_of_top_users_is_a_knob() {
    let mut durations = Vec::new();
    for unit in [TopUserUnit::Minutes, TopUserUnit::Seconds] {
        let app = App::start(with_knobs(|knobs| knobs.top_user_unit = unit)).await;
        let (start, end) = app.window();
        let path = format!(
            "/open-apis/vc/v1/reports/get_top_user?start_time={}&end_time={}&limit=1&order_by=2",
            seconds(start),
            seconds(end)
        );
        let report =
            app.get(&path).await.body["data"]["top_user_report"][0]["meeting_duration"].clone();
        durations.push(report.as_str().unwrap().parse::<i64>().unwrap());
    }
    assert_eq!(durations[0], durations[1] / 60);
}

#[tokio::test]
async fn export_times_and_misleading_messages_are_knobs() {
    let mut options = Options {
        quota_scale: 100.0,
        ..Options::default()
    };
    options.knobs.misleading_fail_msg = 1.0;
    options.knobs.export_times = ExportTimes {
        meeting_list: Duration::from_secs(100),
        ..ExportTimes::default()
    };
    let clock = options.clock.clone();
    let app = App::start(options).await;
    let (start, end) = app.window();
    let task = app
        .task(
            "meeting_list",
            &json!({ "start_time": seconds(start), "end_time": seconds(end) }),
        )
        .await;
    assert_eq!(task.len(), 19);
    let state = async || {
        app.get(&format!("/open-apis/vc/v1/exports/{task}"))
            .await
            .body["data"]
            .clone()
    };
    clock.advance(Duration::from_secs(48));
    assert_eq!(state().await["status"], json!(1));
    clock.advance(Duration::from_secs(103));
    let done = state().await;
    assert_eq!(
        (&done["status"], &done["fail_msg"]),
        (&json!(3), &json!("no permission"))
    );
    assert!(done["file_token"].as_str().unwrap().ends_with("=="));
    assert_eq!(app.server.report().polls_per_finished_export, 2.0);
}
