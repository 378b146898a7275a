//! `meeting_list`: one row a meeting that has ended (API reference, 3.2 and 4.2; by query:
//! resources, 4.1).

use serde_json::{Map, Value, json};

use super::export::{DAILY, EXPORT_SCOPES, second};
use super::listing::{Listed, text};
use super::query;
use super::{
    Ask, ComparedColumns, Dataset, Definition, Endpoint, Fetch, Lineage, Method, Parameters,
    ParentColumns, Piece, Plausibility, Request, RequestOption, Tier, UserIdType,
};
use crate::column::{Column, ColumnKind, EnumValue};

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
    query: Some(query::source(
        "query_meeting_list",
        "meeting_list",
        Listed {
            id: Some("meeting_instance_id"),
            derive: nothing_said,
            ..query::listed("meeting_list")
        },
        queried,
        Some(&COMPARED),
    )),
    fuller: None,
    options: &[RequestOption::UserIdType, RequestOption::Mode],
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

/// Which meeting it is, what is to be equal, and what an export may leave out (resources, 4.2).
const COMPARED: ComparedColumns = ComparedColumns {
    identity: &["meeting_no", "start_time"],
    user_id: None,
    otherwise: &[],
    columns: &[
        "end_time",
        "duration_s",
        "participant_count",
        "device_count",
        "used_audio",
        "used_video",
        "used_screen_share",
        "was_recorded",
        "used_phone",
    ],
    may_be_alone: &[("is_external", "true"), ("meeting_subtype", "webinar")],
};

fn requests(piece: &Piece<'_>) -> Vec<(Request, Lineage)> {
    let request = Request {
        user_id_type: Some(piece.options.user_id_type),
        mode: piece.options.mode,
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

/// The list hides external meetings and webinars unless it is asked for them.
fn queried(request: &Request) -> Parameters {
    Parameters::default()
        .with("start_time", request.start)
        .with("end_time", request.end)
        .with("include_external_meetings", Some(true))
        .with("include_webinar", Some(true))
        .with("user_id_type", request.user_id_type.map(UserIdType::as_str))
}

/// A kind of 1 stands for all kinds, and a subtype of 0 for none: both say nothing.
fn nothing_said(meeting: &mut Map<String, Value>) {
    for (member, nothing) in [("meeting_type", "1"), ("meeting_subtype", "0")] {
        if text(meeting.get(member)).as_deref() == Some(nothing) {
            meeting.remove(member);
        }
    }
}

const MEETING_KINDS: &[EnumValue] = &[
    EnumValue {
        value: "video_meeting",
        texts: &["2"],
    },
    EnumValue {
        value: "local_cast",
        texts: &["3"],
    },
];

/// Not numbered as in events.
const MEETING_SUBTYPES: &[EnumValue] = &[
    EnumValue {
        value: "cast",
        texts: &["1"],
    },
    EnumValue {
        value: "wired_cast",
        texts: &["2"],
    },
    EnumValue {
        value: "magic_share",
        texts: &["3"],
    },
    EnumValue {
        value: "chat_room",
        texts: &["4"],
    },
    EnumValue {
        value: "reading",
        texts: &["5"],
    },
    EnumValue {
        value: "enterprise_phone",
        texts: &["6"],
    },
    EnumValue {
        value: "ip_phone",
        texts: &["7"],
    },
    EnumValue {
        value: "webinar",
        texts: &["8"],
    },
    EnumValue {
        value: "offline",
        texts: &["9"],
    },
    EnumValue {
        value: "minutes",
        texts: &["10"],
    },
];

fn columns() -> Vec<Column> {
    vec![
        Column::new(
            "meeting_no",
            ColumnKind::MeetingNo,
            &["会议ID", "会议 ID", "meeting id", "meeting_id"],
            "9-digit number; recurs for recurring meetings",
        )
        .required(),
        Column::new(
            "topic",
            ColumnKind::Text,
            &["会议主题", "meeting topic", "meeting_topic"],
            "topic",
        )
        .personal(),
        Column::new(
            "organizer_name",
            ColumnKind::Text,
            &["会议组织者", "组织者", "meeting organizer", "organizer"],
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
            &["用户ID", "user id", "user_id"],
            "the organizer's employee id",
        )
        .personal(),
        Column::new(
            "organizer_employee_no",
            ColumnKind::Id,
            &["工号", "job number", "employee_id"],
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
            &["手机", "phone number", "mobile"],
            "the organizer's phone number, masked by Feishu",
        )
        .personal(),
        Column::new(
            "start_time",
            ColumnKind::Time,
            &["会议开始时间", "meeting start time", "meeting_start_time"],
            "start of the meeting",
        )
        .required(),
        Column::new(
            "end_time",
            ColumnKind::Time,
            &["会议结束时间", "meeting end time", "meeting_end_time"],
            "end of the meeting",
        )
        .key(),
        Column::new(
            "duration_s",
            ColumnKind::DurationS,
            &[
                "会议持续时间",
                "会议时长",
                "meeting duration",
                "meeting_duration",
            ],
            "length, seconds",
        ),
        Column::new(
            "participant_count",
            ColumnKind::Integer,
            &[
                "参会人数量",
                "参会人数",
                "Number of participants",
                "number_of_participants",
            ],
            "participants",
        ),
        Column::new(
            "device_count",
            ColumnKind::Integer,
            &["累计入会设备数", "number_of_devices"],
            "devices that joined",
        ),
        Column::new(
            "is_external",
            ColumnKind::Bool,
            &["外部会议", "is_external"],
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
            &["共享", "share", "sharing"],
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
            &["电话", "phone", "telephone"],
            "whether anyone dialled in by phone",
        ),
        Column::new(
            "meeting_instance_id",
            ColumnKind::Id,
            &["meeting_instance_id"],
            "the meeting's unique id, 19 digits; by query only",
        )
        .sparse(),
        Column::new(
            "meeting_kind",
            ColumnKind::Enum(MEETING_KINDS),
            &["meeting_type"],
            "kind of meeting as a number tells it; by query only",
        )
        .sparse(),
        Column::new(
            "meeting_subtype",
            ColumnKind::Enum(MEETING_SUBTYPES),
            &["meeting_subtype"],
            "what it is beside a video meeting; by query only",
        )
        .sparse(),
        Column::new(
            "reserved_room_ids",
            ColumnKind::TextList,
            &["reserved_rooms[].room_id"],
            "rooms booked for it; by query only, and there of upcoming meetings only",
        )
        .sparse(),
        Column::new(
            "reserved_room_names",
            ColumnKind::TextList,
            &["reserved_rooms[].room_name"],
            "their names, in the same order",
        )
        .sparse(),
        Column::new(
            "has_related_document",
            ColumnKind::Bool,
            &["has_related_document"],
            "whether a document belongs to it; by query only",
        )
        .sparse(),
        Column::new(
            "used_ai_note",
            ColumnKind::Bool,
            &["ai_note"],
            "whether notes were taken by an assistant; by query only",
        )
        .sparse(),
        Column::new(
            "webinar_viewer_count",
            ColumnKind::Integer,
            &["number_of_webinar_viewers"],
            "viewers of a webinar; by query only",
        )
        .sparse(),
        Column::source_mode(),
        Column::meeting_key(),
    ]
}
