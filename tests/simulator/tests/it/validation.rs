//! Wrong requests get the documented codes.

use serde_json::{Value, json};

use crate::app::{App, fast, with_knobs};

const NOW: i64 = 1_792_382_400; // 2026-10-19T04:00:00Z, noon after the last day
const HOUR: i64 = 3_600;

#[tokio::test]
async fn missing_and_malformed_fields_are_named() {
    let app = App::start(fast()).await;
    let answer = app
        .submit(
            "participant_quality_list",
            &json!({ "meeting_start_time": "soon" }),
        )
        .await;
    assert_eq!((answer.status, answer.code()), (400, 99_992_402));
    let fields: Vec<&str> = answer.body["error"]["field_violations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v["field"].as_str().unwrap())
        .collect();
    assert_eq!(
        fields,
        [
            "meeting_start_time",
            "meeting_end_time",
            "meeting_no",
            "join_time"
        ]
    );
}

#[tokio::test]
async fn wrong_values_get_their_codes() {
    let app = App::start(fast()).await;
    let meeting = |extra: Value| {
        let mut body = json!({ "meeting_start_time": NOW - HOUR, "meeting_end_time": NOW, "meeting_no": "123456789" });
        body.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        body
    };
    let window = |from: i64, to: i64| json!({ "start_time": NOW + from, "end_time": NOW + to });
    let day = 24 * HOUR;
    let table = [
        ("meeting_list", window(0, -1), 121_003),
        ("meeting_list", window(50 * day, 51 * day), 121_003),
        ("meeting_list", window(-367 * day, 0), 121_003),
        (
            "meeting_list",
            json!({ "start_time": 0, "end_time": NOW, "meeting_type": 4 }),
            99_992_402,
        ),
        (
            "meeting_list",
            json!({ "start_time": NOW - 1, "end_time": NOW, "user_id": "ou_x" }),
            99_992_351,
        ),
        (
            "meeting_list",
            json!({ "start_time": NOW - 1, "end_time": NOW, "meeting_no": "123456789", "room_id": "omm_x" }),
            121_003,
        ),
        ("meeting_list?user_id_type=name", window(-1, 0), 99_992_402),
        (
            "participant_list",
            meeting(json!({ "meeting_no": "12345" })),
            121_003,
        ),
        (
            "participant_list",
            meeting(json!({ "meeting_start_time": NOW - day - 1 })),
            121_003,
        ),
        (
            "participant_list",
            meeting(json!({ "meeting_start_time": NOW - day })),
            0,
        ),
        (
            "participant_quality_list",
            meeting(json!({ "join_time": NOW })),
            121_003,
        ),
        (
            "participant_quality_list",
            meeting(json!({ "join_time": NOW, "user_id": "x", "room_id": "y" })),
            121_003,
        ),
        ("resource_reservation_list", window(-1, 0), 99_992_402),
        (
            "resource_reservation_list",
            json!({ "start_time": NOW - day - 1, "end_time": NOW, "room_level_id": "omb_x" }),
            121_003,
        ),
        (
            "resource_reservation_list",
            json!({ "start_time": NOW - day, "end_time": NOW, "room_level_id": "omb_x" }),
            121_004,
        ),
        (
            "resource_reservation_list",
            json!({ "start_time": NOW - day, "end_time": NOW, "room_level_id": "x", "room_ids": "y" }),
            99_992_402,
        ),
    ];
    for (kind, body, code) in table {
        let answer = app.submit(kind, &body).await;
        assert_eq!(answer.code(), code, "{kind} {body} {}", answer.body);
    }
}

#[tokio::test]
async fn reports_know_their_horizon_and_their_limits() {
    let app = App::start(fast()).await;
    let daily = |from: i64, to: i64| {
        format!(
            "/open-apis/vc/v1/reports/get_daily?start_time={}&end_time={}",
            NOW + from,
            NOW + to
        )
    };
    let day = 24 * HOUR;
    assert_eq!(app.get(&daily(-89 * day, 2 * day)).await.code(), 0);
    assert_eq!(app.get(&daily(-91 * day, 0)).await.code(), 121_003);
    assert_eq!(app.get(&daily(0, -1)).await.code(), 121_003);
    assert_eq!(
        app.get(&format!("{}&unit=4", daily(-day, 0))).await.code(),
        99_992_402
    );
    let top = |extra: &str| {
        format!(
            "/open-apis/vc/v1/reports/get_top_user?start_time={}&end_time={NOW}{extra}",
            NOW - day
        )
    };
    for (extra, code) in [
        ("", 99_992_402),
        ("&limit=10", 99_992_402),
        ("&limit=101&order_by=1", 99_992_402),
        ("&limit=1&order_by=1", 0),
    ] {
        assert_eq!(app.get(&top(extra)).await.code(), code, "{extra}");
    }
    let lenient = App::start(with_knobs(|knobs| {
        knobs.refuse_old_reports = false;
        knobs.longest_report_days = Some(200);
    }))
    .await;
    assert_eq!(lenient.get(&daily(-91 * day, 0)).await.code(), 0);
    assert_eq!(lenient.get(&daily(-201 * day, 0)).await.code(), 121_003);
}

#[tokio::test]
async fn unknown_paths_methods_and_bodies_are_refused() {
    let app = App::start(fast()).await;
    let answer = app.get("/open-apis/vc/v1/nothing").await;
    assert_eq!((answer.status, answer.code()), (404, 99_991_201));
    assert_eq!(
        app.get("/open-apis/vc/v1/exports/meeting_list")
            .await
            .code(),
        99_991_301
    );
    assert_eq!(app.submit("meeting_list", &json!([1])).await.code(), 9_499);
    assert_eq!(
        app.get("/open-apis/vc/v1/room_levels/omb_none")
            .await
            .code(),
        121_004
    );
    assert_eq!(
        app.get("/open-apis/vc/v1/rooms?page_size=101").await.code(),
        99_992_402
    );
}

#[tokio::test]
async fn misspelt_parameters_show_up_in_the_report() {
    let app = App::start(fast()).await;
    let body = json!({ "start_time": NOW - HOUR, "end_time": NOW, "need_topics": true, "room_level_id": "0" });
    assert_eq!(
        app.submit("resource_reservation_list", &body).await.code(),
        0
    );
    let unknown: Vec<String> = app.server.report().unknown_parameters.into_iter().collect();
    assert_eq!(unknown, ["resource_reservation_list.need_topics"]);
}
