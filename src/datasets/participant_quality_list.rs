//! `participant_quality_list`: one row a minute of one participant (API reference, 3.2 and 4.4).
//! The sheet has no column for the participant, who comes from the task.

use serde_json::Value;

use super::export::{DAILY, EXPORT_SCOPES, second};
use super::participant_list::meeting;
use super::{
    Ask, Dataset, Definition, Endpoint, Fetch, Lineage, Method, Parameters, Parent, ParticipantId,
    Plausibility, Request, RequestOption, RequestOptions, Siblings, Tier, UserIdType,
};
use crate::column::{Column, ColumnKind};

pub(super) const DEFINITION: Definition = Definition {
    name: "participant_quality_list",
    endpoint: Endpoint {
        name: "submit_participant_quality_list",
        method: Method::Post,
        path: "exports/participant_quality_list",
        tier: Tier::Three,
    },
    scopes: EXPORT_SCOPES,
    fetch: Fetch::Export,
    extent: DAILY,
    ask: Ask::Parents {
        of: Dataset::ParticipantList,
        identity: Parent::stay,
        request,
        has_child: |_| true,
    },
    parameters,
    options: &[RequestOption::UserIdType],
    user_id_type: UserIdType::UserId,
    columns,
    partition_column: Some("meeting_start_time"),
    sort_first: &["meeting_start_time", "meeting_no", "time"],
    time_columns: Some(("time", "time")),
    parent_columns: None,
    plausibility: Plausibility::None,
    provisional: None,
    early: None,
    job_file: include_str!("../../jobs/participant_quality_list.toml"),
};

/// Quality names one stay by exact times, so it gets the meeting's own, however long the meeting
/// was: a refusal is loud, while a stay that is not found would be an empty sheet.
fn request(stays: &Siblings<'_>, options: &RequestOptions) -> Option<(Request, Lineage)> {
    let (stay, end) = (stays.first, stays.end);
    let participant = match (&stay.user_id, &stay.room_id) {
        (Some(user), _) => ParticipantId::UserId(user.clone()),
        (None, Some(room)) => ParticipantId::RoomId(room.clone()),
        (None, None) => return None,
    };
    let join_time = stay.join_time?;
    let (user_id, room_id) = match participant.clone() {
        ParticipantId::UserId(user) => (Some(user), None),
        ParticipantId::RoomId(room) => (None, Some(room)),
    };
    let lineage = Lineage {
        meeting_no: Some(stay.meeting_no.clone()),
        meeting_start_time: Some(stay.start),
        join_time: Some(join_time),
        user_id,
        room_id,
        device: stay.device.clone(),
        ..Lineage::default()
    };
    let (start_s, end_s) = (stay.start.as_second(), end.as_second());
    let request = Request {
        meeting_no: Some(stay.meeting_no.clone()),
        join_time: Some(join_time.as_second()),
        participant: Some(participant),
        user_id_type: Some(options.user_id_type),
        ..Request::between(Dataset::ParticipantQualityList, start_s, end_s)
    };
    Some((request, lineage))
}

fn parameters(request: &Request) -> Parameters {
    let mut body = meeting(request);
    body["join_time"] = Value::from(second(request.join_time));
    match &request.participant {
        Some(ParticipantId::UserId(id)) => body["user_id"] = Value::from(id.as_str()),
        Some(ParticipantId::RoomId(id)) => body["room_id"] = Value::from(id.as_str()),
        None => {}
    }
    Parameters::body(body).with("user_id_type", request.user_id_type.map(UserIdType::as_str))
}

/// Prefix in the lake, the group in Chinese, the group in English.
const MEDIA: [(&str, &str, &str); 3] = [
    ("audio", "音频", "audio"),
    ("video", "视频", "video"),
    ("share", "共享屏幕", "share-screen"),
];
/// Infix in the lake, the direction in Chinese, the direction in English.
const DIRECTIONS: [(&str, &str, &str); 2] =
    [("recv", "接收", "receiver"), ("send", "发送", "sender")];
/// Suffix in the lake, type, the metric in Chinese and in English (`birate` is the vendor's
/// spelling).
const METRICS: [(&str, ColumnKind, &str, &[&str], &str); 5] = [
    (
        "bitrate_kbps",
        ColumnKind::Kbps,
        "码率",
        &["birate", "bitrate"],
        "bit rate, kbps",
    ),
    (
        "latency_ms",
        ColumnKind::Milliseconds,
        "延迟",
        &["lag"],
        "latency, ms",
    ),
    (
        "jitter_ms",
        ColumnKind::Milliseconds,
        "抖动",
        &["jitter"],
        "jitter, ms",
    ),
    (
        "loss_avg_percent",
        ColumnKind::Percent,
        "丢包平均",
        &["loss avg"],
        "average packet loss, percent",
    ),
    (
        "loss_max_percent",
        ColumnKind::Percent,
        "丢包最大",
        &["loss max"],
        "maximum packet loss, percent",
    ),
];

fn columns() -> Vec<Column> {
    let mut columns = vec![
        Column::new(
            "meeting_no",
            ColumnKind::MeetingNo,
            &[],
            "9-digit number of the meeting",
        )
        .of_task()
        .required(),
        Column::new(
            "meeting_start_time",
            ColumnKind::Time,
            &[],
            "start of the meeting",
        )
        .of_task()
        .required(),
        Column::new("user_id", ColumnKind::Id, &[], "the participant's user id")
            .of_task()
            .personal()
            .key(),
        Column::new("room_id", ColumnKind::Id, &[], "the participating room")
            .of_task()
            .key(),
        Column::new(
            "join_time",
            ColumnKind::Time,
            &[],
            "when the participant joined",
        )
        .of_task()
        .required(),
        Column::new("time", ColumnKind::Time, &["时间", "time"], "the minute").required(),
    ];
    for (media, media_zh, media_en) in MEDIA {
        for (direction, direction_zh, direction_en) in DIRECTIONS {
            for (metric, kind, metric_zh, metrics_en, doc) in METRICS {
                let mut headers = vec![format!("{media_zh}-{metric_zh}（{direction_zh}）")];
                headers.extend(
                    metrics_en
                        .iter()
                        .map(|metric_en| format!("{media_en}-{metric_en}({direction_en})")),
                );
                let mut column =
                    Column::new(&format!("{media}_{direction}_{metric}"), kind, &[], doc);
                column.headers = headers;
                columns.push(column);
            }
        }
    }
    columns.extend([
        Column::new(
            "client_cpu_min_percent",
            ColumnKind::Percent,
            &["客户端最小 CPU 占用", "cpu min usage of client"],
            "least CPU use of the app, percent",
        ),
        Column::new(
            "client_cpu_avg_percent",
            ColumnKind::Percent,
            &["客户端平均 CPU 占用", "cpu avg usage of client"],
            "average CPU use of the app, percent",
        ),
        Column::new(
            "client_cpu_max_percent",
            ColumnKind::Percent,
            &["客户端最大 CPU 占用", "cpu max usage of client"],
            "greatest CPU use of the app, percent",
        ),
        // Some sheets have it; the documented one has not.
        Column::new(
            "system_cpu_avg_percent",
            ColumnKind::Percent,
            &["系统平均 CPU 占用", "cpu avg usage of system"],
            "average CPU use of the machine, percent",
        )
        .sparse()
        .field_id(501),
        Column::new(
            "system_cpu_max_percent",
            ColumnKind::Percent,
            &["系统最大 CPU 占用", "cpu max usage of system"],
            "greatest CPU use of the machine, percent",
        ),
        Column::meeting_key(),
        Column::participation_key(),
    ]);
    columns
}
