//! Columns of `participant_quality_list` (API reference, 4.4). The sheet has no column for the
//! participant, who comes from the task.

use crate::column::{Column, ColumnKind};

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

pub(super) fn columns() -> Vec<Column> {
    let mut columns = vec![
        Column::new(
            "meeting_no",
            ColumnKind::Id,
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
        Column::new(
            "system_cpu_max_percent",
            ColumnKind::Percent,
            &["系统最大 CPU 占用", "cpu max usage of system"],
            "greatest CPU use of the machine, percent",
        ),
    ]);
    columns
}
