//! `participant_quality_list`: one row a minute of one participant (API reference, 3.2 and 4.4; by
//! query: resources, 4.1). Neither source has a column for the participant, which the task has.
//!
//! The two sources tell different figures, and the columns are those of both. An item of the list
//! has a block for each kind of figure, and each block has its own time: rows are made by time.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::export::{DAILY, EXPORT_SCOPES, second};
use super::listing::{Items, Listed, text};
use super::participant_list::meeting;
use super::query;
use super::{
    Ask, ComparedColumns, Dataset, Definition, Endpoint, Fetch, Lineage, Method, Parameters, Parent,
    ParticipantId,
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
    query: Some(query::source(
        "query_participant_quality_list",
        "participant_quality_list",
        Listed {
            pivot: Some(by_time),
            ..query::listed("participant_quality_list")
        },
        queried,
        Some(&COMPARED),
    )),
    fuller: None,
    options: &[RequestOption::UserIdType, RequestOption::Mode],
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

/// A row is a minute of the stay that was asked for. Compared is what both sources measure.
const COMPARED: ComparedColumns = ComparedColumns {
    identity: &["time"],
    user_id: None,
    otherwise: &[],
    columns: &[
        "audio_recv_bitrate_kbps",
        "audio_recv_latency_ms",
        "audio_recv_jitter_ms",
        "audio_send_bitrate_kbps",
        "audio_send_latency_ms",
        "audio_send_jitter_ms",
        "video_recv_bitrate_kbps",
        "video_recv_latency_ms",
        "video_recv_jitter_ms",
        "video_send_bitrate_kbps",
        "video_send_latency_ms",
        "video_send_jitter_ms",
        "share_recv_bitrate_kbps",
        "share_recv_latency_ms",
        "share_recv_jitter_ms",
        "share_send_bitrate_kbps",
        "share_send_latency_ms",
        "share_send_jitter_ms",
        "client_cpu_avg_percent",
        "client_cpu_max_percent",
        "system_cpu_max_percent",
    ],
    may_be_alone: &[],
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
        mode: options.mode,
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

fn queried(request: &Request) -> Parameters {
    let (user_id, room_id) = match &request.participant {
        Some(ParticipantId::UserId(id)) => (Some(id), None),
        Some(ParticipantId::RoomId(id)) => (None, Some(id)),
        None => (None, None),
    };
    query::meeting(request)
        .with("join_time", request.join_time)
        .with("user_id", user_id)
        .with("room_id", room_id)
}

/// How a zone begins behind a time: `2022.07.21 11:30:00 (GMT+08:00)`.
const ZONE: &str = " (GMT";

/// Makes a row of all blocks with one time. A time without a zone is in that of the item's other
/// times: the block of the processor was seen without one, and a minute later than the others.
fn by_time(items: Items) -> Items {
    let mut rows: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    let mut without_time = Vec::new();
    for item in items {
        let time_of = |block: &Value| text(block.get("time")).filter(|time| !time.is_empty());
        let times = item.values().filter_map(time_of);
        let zone = times.into_iter().find_map(|time| {
            let at = time.find(ZONE)?;
            Some(time[at..].to_owned())
        });
        let mut rest = Map::new();
        for (name, mut block) in item {
            let Some(time) = time_of(&block) else {
                rest.insert(name, block);
                continue;
            };
            if let Value::Object(members) = &mut block {
                members.remove("time");
            }
            let time = match &zone {
                Some(zone) if !time.contains(ZONE) => format!("{time}{zone}"),
                _ => time,
            };
            let row = rows.entry(time).or_default();
            match row.get_mut(&name) {
                // Figures of one kind and minute that come twice: neither is left out.
                Some(_) => {
                    let name = format!("{name} (again)");
                    row.insert(name, block);
                }
                None => {
                    row.insert(name, block);
                }
            }
        }
        // What has no time is no figure that can be placed; it is told all the same.
        if rest.values().any(|value| !value.is_null()) {
            without_time.push(rest);
        }
    }
    let rows = rows.into_iter().map(|(time, mut row)| {
        row.insert("time".to_owned(), time.into());
        row
    });
    rows.chain(without_time).collect()
}

/// Prefix in the lake, the group in Chinese, in English and in the list.
const MEDIA: [(&str, &str, &str, &str); 3] = [
    ("audio", "音频", "audio", "audio"),
    ("video", "视频", "video", "video"),
    ("share", "共享屏幕", "share-screen", "screen_sharing"),
];
/// Infix in the lake, the direction in Chinese, in English and in the list.
const DIRECTIONS: [(&str, &str, &str, &str); 2] = [
    ("recv", "接收", "receiver", "received"),
    ("send", "发送", "sender", "sent"),
];
type Metric = (
    &'static str,
    ColumnKind,
    &'static str,
    &'static [&'static str],
    Option<&'static str>,
    &'static str,
);

/// Suffix in the lake, type, the metric in Chinese and in English (`birate` is the vendor's
/// spelling), in the list, and the line for the dictionary.
const METRICS: [Metric; 5] = [
    (
        "bitrate_kbps",
        ColumnKind::Kbps,
        "码率",
        &["birate", "bitrate"],
        Some("bitrate"),
        "bit rate, kbps",
    ),
    (
        "latency_ms",
        ColumnKind::Milliseconds,
        "延迟",
        &["lag"],
        Some("latency"),
        "latency, ms",
    ),
    (
        "jitter_ms",
        ColumnKind::Milliseconds,
        "抖动",
        &["jitter"],
        Some("jitter"),
        "jitter, ms",
    ),
    (
        "loss_avg_percent",
        ColumnKind::Percent,
        "丢包平均",
        &["loss avg"],
        None,
        "average packet loss, percent",
    ),
    (
        "loss_max_percent",
        ColumnKind::Percent,
        "丢包最大",
        &["loss max"],
        None,
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
    for (media, media_zh, media_en, media_listed) in MEDIA {
        for (direction, direction_zh, direction_en, direction_listed) in DIRECTIONS {
            for (metric, kind, metric_zh, metrics_en, metric_listed, doc) in METRICS {
                let mut headers = vec![format!("{media_zh}-{metric_zh}（{direction_zh}）")];
                headers.extend(
                    metrics_en
                        .iter()
                        .map(|metric_en| format!("{media_en}-{metric_en}({direction_en})")),
                );
                headers.extend(
                    metric_listed
                        .map(|metric| format!("{media_listed}.{metric}_{direction_listed}")),
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
            &["客户端平均 CPU 占用", "cpu avg usage of client", "cpu_usage.client_avg_cpu_usage"],
            "average CPU use of the app, percent",
        ),
        Column::new(
            "client_cpu_max_percent",
            ColumnKind::Percent,
            &["客户端最大 CPU 占用", "cpu max usage of client", "cpu_usage.client_max_cpu_usage"],
            "greatest CPU use of the app, percent",
        ),
        // Some sheets have it; the documented one has not.
        Column::new(
            "system_cpu_avg_percent",
            ColumnKind::Percent,
            &["系统平均 CPU 占用", "cpu avg usage of system", "cpu_usage.system_avg_cpu_usage"],
            "average CPU use of the machine, percent",
        )
        .sparse()
        .field_id(501),
        Column::new(
            "system_cpu_max_percent",
            ColumnKind::Percent,
            &["系统最大 CPU 占用", "cpu max usage of system", "cpu_usage.system_max_cpu_usage"],
            "greatest CPU use of the machine, percent",
        ),
    ]);
    columns.extend(by_query());
    columns.extend([
        Column::source_mode(),
        Column::meeting_key(),
        Column::participation_key(),
    ]);
    columns
}

/// The columns that only the list tells.
fn by_query() -> Vec<Column> {
    let column = |name: &str, kind, header: &str, doc| {
        Column::new(name, kind, &[header], doc).sparse()
    };
    let mut columns = vec![column(
        "network_latency_ms",
        ColumnKind::Milliseconds,
        "network.network_delay",
        "latency of the network, ms; by query only",
    )];
    for (direction, .., listed) in DIRECTIONS {
        for (metric, kind, header, doc) in [
            (
                "bitrate_kbps",
                ColumnKind::Kbps,
                "bitrate",
                "bit rate of all media, kbps; by query only",
            ),
            (
                "loss_avg_percent",
                ColumnKind::Percent,
                "packet_loss_avg",
                "average packet loss of all media, percent; by query only",
            ),
            (
                "loss_max_percent",
                ColumnKind::Percent,
                "packet_loss_max",
                "maximum packet loss of all media, percent; by query only",
            ),
        ] {
            let name = format!("network_{direction}_{metric}");
            let header = format!("network.{header}_{listed}");
            columns.push(column(&name, kind, &header, doc));
        }
    }
    for (name, header, doc) in [
        (
            "mic_volume_db",
            "audio.mic_input_volume",
            "level of the microphone, dB; by query only",
        ),
        (
            "speaker_volume_db",
            "audio.speaker_volume",
            "level of the speaker, dB; by query only",
        ),
    ] {
        columns.push(column(name, ColumnKind::Decibels, header, doc));
    }
    for (media, .., media_listed) in &MEDIA[1..] {
        for (direction, .., listed) in DIRECTIONS {
            columns.push(column(
                &format!("{media}_{direction}_max_resolution"),
                ColumnKind::Text,
                &format!("{media_listed}.maximum_resolution_{listed}"),
                "greatest resolution, such as 1080P; by query only",
            ));
            columns.push(column(
                &format!("{media}_{direction}_frame_rate_fps"),
                ColumnKind::FramesPerSecond,
                &format!("{media_listed}.framerate_{listed}"),
                "pictures a second; by query only",
            ));
        }
    }
    columns
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pivoted(items: Value) -> Value {
        let items = items.as_array().expect("a list").iter();
        let items = items.map(|item| item.as_object().expect("an object").clone());
        Value::from(by_time(items.collect()))
    }

    /// As in the documented example: the block of the processor is of the next minute, and its time
    /// has no zone.
    #[test]
    fn figures_of_a_minute_stand_in_one_row_whichever_item_they_came_in() {
        let zoned = |minute: u32| format!("2022.12.23 11:{minute}:00 (GMT+08:00)");
        let items = json!([
            {
                "network": { "time": zoned(16), "network_delay": "5ms" },
                "cpu_usage": { "time": "2022.12.23 11:17:00", "client_avg_cpu_usage": "2%" },
            },
            {
                "network": { "time": zoned(17), "network_delay": "6ms" },
                "audio": null,
                "cpu_usage": { "time": zoned(16), "client_avg_cpu_usage": "1%" },
            },
        ]);
        let expected = json!([
            {
                "time": zoned(16),
                "network": { "network_delay": "5ms" },
                "cpu_usage": { "client_avg_cpu_usage": "1%" },
            },
            {
                "time": zoned(17),
                "network": { "network_delay": "6ms" },
                "cpu_usage": { "client_avg_cpu_usage": "2%" },
            },
        ]);
        assert_eq!(pivoted(items), expected);
    }

    #[test]
    fn nothing_that_comes_twice_or_without_a_time_is_left_out() {
        let items = json!([
            { "audio": { "time": "t", "bitrate_sent": "1kbps" } },
            { "audio": { "time": "t", "bitrate_sent": "2kbps" } },
            { "video": { "bitrate_sent": "3kbps" } },
        ]);
        let expected = json!([
            {
                "time": "t",
                "audio": { "bitrate_sent": "1kbps" },
                "audio (again)": { "bitrate_sent": "2kbps" },
            },
            { "video": { "bitrate_sent": "3kbps" } },
        ]);
        assert_eq!(pivoted(items), expected);
    }
}
