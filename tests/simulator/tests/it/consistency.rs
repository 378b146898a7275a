//! Every endpoint tells of the same company.

use std::collections::BTreeMap;

use jiff::Timestamp;
use meetlake_simulator::company::Meeting;
use serde_json::json;

use crate::app::{App, Sheet, fast, instant, seconds, with_knobs};

fn count(sheet: &Sheet, names: [&str; 2]) -> u64 {
    let name = names
        .into_iter()
        .find(|name| sheet.raw_header.iter().any(|header| header.trim() == *name))
        .unwrap();
    sheet
        .texts(name)
        .iter()
        .map(|text| text.parse::<u64>().unwrap())
        .sum()
}

#[tokio::test]
async fn the_daily_report_counts_the_meetings_that_the_export_lists() {
    let app = App::start(fast()).await;
    let (start, end) = app.window();
    let list = app.meetings().await;
    let path = format!(
        "/open-apis/vc/v1/reports/get_daily?start_time={}&end_time={}",
        start.as_second() - 86_400,
        end.as_second() + 86_400
    );
    let report = app.get(&path).await.body["data"]["meeting_report"].clone();
    assert_eq!(
        report["total_meeting_count"],
        json!(list.rows.len().to_string())
    );
    assert_eq!(
        report["total_participant_count"],
        json!(count(&list, ["参会人数", "参会人数量"]).to_string())
    );

    let mut buckets: BTreeMap<i64, u64> = BTreeMap::new();
    for start in list.texts("会议开始时间") {
        *buckets
            .entry(instant(&start).as_second().div_euclid(86_400) * 86_400)
            .or_default() += 1;
    }
    let number = |value: &serde_json::Value| value.as_str().unwrap().parse::<i64>().unwrap();
    for day in report["daily_report"].as_array().unwrap() {
        let expected = buckets.remove(&number(&day["date"])).unwrap_or(0);
        assert_eq!(number(&day["meeting_count"]) as u64, expected, "{day}");
    }
    assert!(buckets.is_empty());

    let truth = app
        .server
        .company()
        .day_summaries(app.server.options().clock.now());
    assert_eq!(
        number(&report["total_meeting_count"]) as u64,
        truth.iter().map(|day| day.meetings).sum::<u64>()
    );
    assert_eq!(
        number(&report["total_meeting_duration"]),
        truth.iter().map(|day| day.meeting_duration_s).sum::<i64>()
    );
}

fn participant_request(meeting: &Meeting) -> serde_json::Value {
    json!({
        "meeting_start_time": seconds(meeting.start),
        "meeting_end_time": seconds(meeting.end),
        "meeting_no": meeting.meeting_no,
    })
}

#[tokio::test]
async fn participants_and_quality_minutes_agree_down_to_the_row() {
    let mut options = fast();
    options.days = 3;
    let app = App::start(options).await;
    let company = app.server.company();
    let mut quality_minutes = 0;
    let mut switched = 0;
    for meeting in company.meetings() {
        let sheet = app
            .sheet("participant_list", &participant_request(meeting))
            .await;
        assert_eq!(sheet.rows.len() as u64, meeting.device_count());
        let joins: Vec<Timestamp> = sheet
            .texts("入会时间")
            .iter()
            .map(|text| instant(text))
            .collect();
        assert!(
            joins
                .iter()
                .all(|join| (meeting.start..=meeting.end).contains(join))
        );
        switched += meeting.device_count() - meeting.participant_count();
        let user_ids = sheet.texts("用户ID");
        for (participant, (user_id, join)) in meeting
            .participants
            .iter()
            .zip(user_ids.iter().zip(joins))
            .take(2)
        {
            assert_eq!(participant.user_id().unwrap_or(""), user_id);
            let mut request = participant_request(meeting);
            request["join_time"] = json!(seconds(join));
            match participant.room_id() {
                Some(room_id) => request["room_id"] = json!(room_id),
                None if user_id.is_empty() => continue,
                None => request["user_id"] = json!(user_id),
            }
            let kind = "participant_quality_list?user_id_type=user_id";
            let quality = app.sheet(kind, &request).await;
            assert_eq!(quality.rows.len() as u64, participant.quality_minutes());
            let minutes = quality.texts("时间");
            assert_eq!(
                instant(&minutes[0]).as_second(),
                participant.join_time.as_second() / 60 * 60
            );
            assert_eq!(
                instant(minutes.last().unwrap()).as_second(),
                participant.leave_time.as_second() / 60 * 60
            );
            let truth = participant.quality();
            let bitrate = quality
                .raw_header
                .iter()
                .position(|name| name.trim() == "音频-码率（接收）")
                .unwrap();
            assert_eq!(
                quality.rows[0][bitrate].to_string(),
                truth[0].cells[bitrate - 1]
            );
            quality_minutes += quality.rows.len();
        }
    }
    assert!(
        quality_minutes > 3_000 && switched > 0,
        "{quality_minutes} {switched}"
    );
}

#[tokio::test]
async fn the_window_of_a_day_before_the_end_finds_the_meetings_of_that_number() {
    let app = App::start(fast()).await;
    let company = app.server.company();
    let twice_a_day = company
        .meetings()
        .iter()
        .find(|meeting| company.meetings_numbered(&meeting.meeting_no).len() == 14)
        .unwrap();
    let occurrences = company.meetings_numbered(&twice_a_day.meeting_no);
    let afternoon = &occurrences[3];
    let mut request = participant_request(afternoon);
    request["meeting_start_time"] = json!(afternoon.end.as_second() - 86_400);
    let found = app.sheet("participant_list", &request).await.rows.len() as u64;
    let from = afternoon.end.as_second() - 86_400;
    let expected: u64 = occurrences
        .iter()
        .filter(|meeting| meeting.end.as_second() > from && meeting.start < afternoon.end)
        .map(|meeting| meeting.device_count())
        .sum();
    assert_eq!(found, expected);
    assert!(found > afternoon.device_count());
    let exact = app
        .sheet("participant_list", &participant_request(afternoon))
        .await;
    assert_eq!(exact.rows.len() as u64, afternoon.device_count());
}

#[tokio::test]
async fn topics_and_ids_survive_the_file() {
    let app = App::start(with_knobs(|knobs| {
        knobs.layout = meetlake_simulator::Layout::Observed
    }))
    .await;
    let (start, end) = app.window();
    let list = app.meetings().await;
    let truth = app.server.company().meetings_in(start, end);
    let topics: Vec<&str> = truth.iter().map(|meeting| meeting.topic.as_str()).collect();
    assert_eq!(list.texts("会议主题"), topics);
    assert!(
        topics.iter().any(|topic| topic.starts_with('='))
            && topics.iter().any(|topic| topic.contains('\n'))
    );
    let numbers: Vec<&str> = truth
        .iter()
        .map(|meeting| meeting.meeting_no.as_str())
        .collect();
    assert_eq!(list.texts("会议 ID"), numbers);
    let devices: u64 = list
        .texts("累计入会设备数")
        .iter()
        .map(|text| text.parse::<u64>().unwrap())
        .sum();
    assert_eq!(
        devices,
        truth
            .iter()
            .map(|meeting| meeting.device_count())
            .sum::<u64>()
    );
}

#[tokio::test]
async fn reservations_of_a_day_are_the_company_s() {
    let app = App::start(fast()).await;
    let company = app.server.company();
    let (start, _) = app.window();
    let end = start + jiff::SignedDuration::from_hours(24);
    let mut rows = 0;
    for level in company.room_levels() {
        let rooms: Vec<&str> = company
            .rooms()
            .iter()
            .filter(|room| room.room_level_id == level.room_level_id)
            .map(|room| room.room_id.as_str())
            .collect();
        let body = json!({
            "room_level_id": level.room_level_id, "room_ids": rooms, "need_topic": true,
            "start_time": seconds(start), "end_time": seconds(end),
        });
        rows += app
            .sheet("resource_reservation_list", &body)
            .await
            .rows
            .len();
    }
    assert_eq!(rows, company.reservations_in(start, end).len());
    let all =
        json!({ "room_level_id": "0", "start_time": seconds(start), "end_time": seconds(end) });
    assert_eq!(
        app.sheet("resource_reservation_list", &all)
            .await
            .rows
            .len(),
        rows
    );
    let one = company.rooms()[0].room_id.clone();
    let without = json!({
        "room_level_id": "0", "room_ids": [one], "is_exclude": true,
        "start_time": seconds(start), "end_time": seconds(end),
    });
    let of_one = company
        .reservations_in(start, end)
        .iter()
        .filter(|booking| booking.room.room_id == one)
        .count();
    assert_eq!(
        app.sheet("resource_reservation_list", &without)
            .await
            .rows
            .len(),
        rows - of_one
    );
}

#[tokio::test]
async fn rooms_and_levels_are_found_page_by_page() {
    let app = App::start(fast()).await;
    let company = app.server.company();
    let mut rooms = Vec::new();
    let mut token = String::new();
    loop {
        let page = app
            .get(&format!(
                "/open-apis/vc/v1/rooms?page_size=5&page_token={token}"
            ))
            .await
            .body["data"]
            .clone();
        rooms.extend(
            page["rooms"]
                .as_array()
                .unwrap()
                .iter()
                .map(|room| room["room_id"].as_str().unwrap().to_owned()),
        );
        assert_eq!(
            page["has_more"] == json!(true),
            page.get("page_token").is_some()
        );
        let Some(next) = page["page_token"].as_str() else {
            break;
        };
        token = next.to_owned();
    }
    assert_eq!(
        rooms,
        company
            .rooms()
            .iter()
            .map(|room| room.room_id.clone())
            .collect::<Vec<_>>()
    );

    let root = app.get("/open-apis/vc/v1/room_levels/0").await.body["data"]["room_level"].clone();
    assert_eq!(
        root["room_level_id"],
        json!(company.room_levels()[0].room_level_id)
    );
    let mut found = 1;
    let mut ahead = vec![String::new()];
    while let Some(parent) = ahead.pop() {
        let page = app
            .get(&format!(
                "/open-apis/vc/v1/room_levels?page_size=100&room_level_id={parent}"
            ))
            .await;
        for level in page.body["data"]["items"].as_array().unwrap() {
            found += 1;
            if level["has_child"] == json!(true) {
                ahead.push(level["room_level_id"].as_str().unwrap().to_owned());
            }
        }
    }
    assert_eq!(found, company.room_levels().len());
}

#[tokio::test]
async fn ongoing_and_upcoming_meetings_are_listed_but_never_ended() {
    let app = App::start(fast()).await;
    let now = app.server.options().clock.now();
    let span = |from: i64, to: i64, status: i64| json!({ "start_time": now.as_second() + from, "end_time": now.as_second() + to, "meeting_status": status });
    let ongoing = app.sheet("meeting_list", &span(-14_400, 14_400, 1)).await;
    assert!(!ongoing.rows.is_empty());
    assert!(ongoing.texts("会议结束时间").iter().all(String::is_empty));
    let upcoming = app.sheet("meeting_list", &span(0, 86_400, 3)).await;
    assert!(!upcoming.rows.is_empty());
    let number = if ongoing.raw_header[0] == "会议ID" {
        "会议ID"
    } else {
        "会议 ID"
    };
    let participants = json!({
        "meeting_no": ongoing.texts(number)[0], "meeting_status": 1,
        "meeting_start_time": now.as_second() - 14_400, "meeting_end_time": now.as_second(),
    });
    assert!(
        !app.sheet("participant_list", &participants)
            .await
            .rows
            .is_empty()
    );
    let ended = app.sheet("meeting_list", &span(-14_400, 0, 2)).await;
    assert!(ended.rows.is_empty());
}

#[tokio::test]
async fn filters_find_the_meetings_of_a_user_or_a_room() {
    let app = App::start(fast()).await;
    let company = app.server.company();
    let (start, end) = app.window();
    let employee = &company.employees()[3];
    let attended = |meeting: &Meeting| {
        meeting
            .participants
            .iter()
            .any(|who| who.user_id() == Some(&employee.user_id))
    };
    let expected = company
        .meetings()
        .iter()
        .filter(|meeting| attended(meeting))
        .count();
    let mut body = json!({ "start_time": seconds(start), "end_time": seconds(end), "user_id": employee.open_id });
    assert_eq!(app.sheet("meeting_list", &body).await.rows.len(), expected);
    body["user_id"] = json!(employee.user_id);
    assert_eq!(
        app.sheet("meeting_list?user_id_type=user_id", &body)
            .await
            .rows
            .len(),
        expected
    );
    body["user_id"] = json!(employee.union_id);
    assert_eq!(
        app.sheet("meeting_list?user_id_type=union_id", &body)
            .await
            .rows
            .len(),
        expected
    );
}

#[tokio::test]
async fn top_users_are_those_who_met_most() {
    let app = App::start(fast()).await;
    let company = app.server.company();
    let (start, end) = app.window();
    let path = |order: u8, id_type: &str, limit: u8| {
        format!(
            "/open-apis/vc/v1/reports/get_top_user?start_time={}&end_time={}&limit={limit}&order_by={order}&user_id_type={id_type}",
            start.as_second(),
            end.as_second()
        )
    };
    let top = app.get(&path(1, "open_id", 10)).await.body["data"]["top_user_report"]
        .as_array()
        .unwrap()
        .clone();
    assert_eq!(top.len(), 10);
    let number = |value: &serde_json::Value| value.as_str().unwrap().parse::<usize>().unwrap();
    assert!(
        top.windows(2)
            .all(|pair| number(&pair[0]["meeting_count"]) >= number(&pair[1]["meeting_count"]))
    );
    let user = top
        .iter()
        .find(|user| user["user_type"] == json!(1))
        .unwrap();
    let employee = company
        .employees()
        .iter()
        .find(|employee| user["id"] == json!(employee.open_id))
        .unwrap();
    let attended = |meeting: &Meeting| {
        meeting
            .participants
            .iter()
            .any(|who| who.user_id() == Some(&employee.user_id))
    };
    assert_eq!(
        number(&user["meeting_count"]),
        company
            .meetings()
            .iter()
            .filter(|meeting| attended(meeting))
            .count()
    );
    assert_eq!(app.get(&path(2, "union_id", 100)).await.code(), 0);
    let refused = app.get(&path(2, "user_id", 100)).await;
    assert_eq!((refused.status, refused.code()), (400, 122_359));
}
