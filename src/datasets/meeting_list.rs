//! `meeting_list`: one row a meeting that has ended (API reference, 3.2 and 4.2).

use serde_json::json;

use super::export::{DAILY, EXPORT_SCOPES, second};
use super::{
    Ask, Dataset, Definition, Endpoint, Fetch, Lineage, Method, Parameters,
    ParentColumns, Piece, Plausibility, Request, RequestOption, Tier, UserIdType,
};
use crate::column::{Column, ColumnKind};

pub(super) const DEFINITION: Definition = Definition {
    name: "meeting_list",
    endpoint: Endpoint {
        name: "submit_meeting_list",
        method: Method::Post,
        path: "exports/meeting_list",
        tier: Tier::Three,
    },
    scopes: EXPORT_SCOPES,
    fetch: Fetch::Export,
    // The JSON sibling takes a year. A refused span costs a day of data, so a day at a time.
    extent: DAILY,
    ask: Ask::Windows(requests),
    parameters,
    options: &[RequestOption::UserIdType],
    user_id_type: UserIdType::UserId,
    columns,
    partition_column: Some("start_time"),
    sort_first: &["start_time"],
    time_columns: Some(("start_time", "end_time")),
    parent_columns: Some(ParentColumns {
        only: None,
        meeting_no: "meeting_no",
        start: "start_time",
        end: "end_time",
        participant_count: Some("participant_count"),
        meeting: None,
        participant: None,
    }),
    // Report and list tell of the same meetings, so not one may be missing.
    plausibility: Plausibility::Reported {
        by: Dataset::DailyReport,
        key: "meetings",
        may_miss: 0.0,
    },
    provisional: None,
    early: None,
    job_file: include_str!("../../jobs/meeting_list.toml"),
};

fn requests(piece: &Piece<'_>) -> Vec<(Request, Lineage)> {
    let request = Request {
        user_id_type: Some(piece.options.user_id_type),
        ..Request::between(Dataset::MeetingList, piece.start, piece.end)
    };
    vec![(request, Lineage::default())]
}

/// Instants are text, as documented. Parameters whose default is right are not sent
/// (`meeting_status`: ended), since Lark's older pages do not list all of them.
fn parameters(request: &Request) -> Parameters {
    Parameters::body(json!({
        "start_time": second(request.start),
        "end_time": second(request.end),
    }))
    .with("user_id_type", request.user_id_type.map(UserIdType::as_str))
}

fn columns() -> Vec<Column> {
    vec![
        Column::new(
            "meeting_no",
            ColumnKind::MeetingNo,
            &["会议ID", "会议 ID", "meeting id"],
            "9-digit number; recurs for recurring meetings",
        )
        .required(),
        Column::new(
            "topic",
            ColumnKind::Text,
            &["会议主题", "meeting topic"],
            "topic",
        )
        .personal(),
        Column::new(
            "organizer_name",
            ColumnKind::Text,
            &["会议组织者", "组织者", "meeting organizer"],
            "organizer, initiator or room",
        )
        .personal(),
        Column::new(
            "organizer_department",
            ColumnKind::Text,
            &["部门", "组织者部门", "department"],
            "the organizer's department",
        ),
        Column::new(
            "organizer_user_id",
            ColumnKind::Id,
            &["用户ID", "user id"],
            "the organizer's employee id",
        )
        .personal(),
        Column::new(
            "organizer_employee_no",
            ColumnKind::Id,
            &["工号", "job number"],
            "the organizer's job number",
        )
        .personal(),
        Column::new(
            "organizer_email",
            ColumnKind::Text,
            &["邮箱", "email"],
            "the organizer's e-mail address",
        )
        .personal(),
        Column::new(
            "organizer_mobile",
            ColumnKind::Id,
            &["手机", "phone number"],
            "the organizer's phone number, masked by Feishu",
        )
        .personal(),
        Column::new(
            "start_time",
            ColumnKind::Time,
            &["会议开始时间", "meeting start time"],
            "start of the meeting",
        )
        .required(),
        Column::new(
            "end_time",
            ColumnKind::Time,
            &["会议结束时间", "meeting end time"],
            "end of the meeting",
        )
        .key(),
        Column::new(
            "duration_s",
            ColumnKind::DurationS,
            &["会议持续时间", "会议时长", "meeting duration"],
            "length, seconds",
        ),
        Column::new(
            "participant_count",
            ColumnKind::Integer,
            &["参会人数量", "参会人数", "Number of participants"],
            "participants",
        ),
        Column::new(
            "device_count",
            ColumnKind::Integer,
            &["累计入会设备数"],
            "devices that joined",
        ),
        Column::new(
            "is_external",
            ColumnKind::Bool,
            &["外部会议"],
            "whether outsiders took part",
        ),
        Column::new(
            "meeting_type",
            ColumnKind::Text,
            &["会议类型"],
            "kind of meeting, as Feishu writes it",
        ),
        Column::new(
            "used_audio",
            ColumnKind::Bool,
            &["音频", "audio"],
            "whether audio was used",
        ),
        Column::new(
            "used_video",
            ColumnKind::Bool,
            &["视频", "video"],
            "whether video was used",
        ),
        Column::new(
            "used_screen_share",
            ColumnKind::Bool,
            &["共享", "share"],
            "whether a screen was shared",
        ),
        Column::new(
            "was_recorded",
            ColumnKind::Bool,
            &["录制", "recording"],
            "whether it was recorded",
        ),
        Column::new(
            "used_phone",
            ColumnKind::Bool,
            &["电话", "phone"],
            "whether anyone dialled in by phone",
        ),
        Column::meeting_key(),
    ]
}
