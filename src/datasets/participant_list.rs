//! `participant_list`: one row a participant of one meeting (API reference, 3.2 and 4.3; by query:
//! resources, 4.1). Neither source has a column for the meeting, which comes from the task.

use std::time::Duration;

use serde_json::{Value, json};

use super::export::{DAILY, EXPORT_SCOPES, second};
use super::listing::{Listed, Roles};
use super::query;
use super::{
    Ask, ComparedColumns, DAY, Dataset, Definition, Early, Endpoint, Fetch, Lineage, Method,
    Parameters, Parent,
    ParentColumns, ParticipantColumns, Plausibility, Request, RequestOption, RequestOptions, Siblings,
    Tier, UserIdType,
};
use crate::column::{Column, ColumnKind, EnumValue};

pub(super) const DEFINITION: Definition = Definition {
    name: "participant_list",
    endpoint: Endpoint {
        name: "submit_participant_list",
        method: Method::Post,
        path: "exports/participant_list",
        tier: Tier::Three,
    },
    scopes: EXPORT_SCOPES,
    fetch: Fetch::Export,
    extent: DAILY,
    ask: Ask::Parents {
        of: Dataset::MeetingList,
        identity: Parent::meeting,
        request,
        has_child: |_| true,
    },
    parameters,
    query: Some(query::source(
        "query_participant_list",
        "participant_list",
        Listed {
            roles: Some(ROLES),
            ..query::listed("participants")
        },
        query::meeting,
        Some(&COMPARED),
    )),
    fuller: None,
    options: &[RequestOption::UserIdType, RequestOption::Mode],
    user_id_type: UserIdType::UserId,
    columns,
    partition_column: Some("meeting_start_time"),
    sort_first: &["meeting_start_time", "meeting_no", "join_time"],
    time_columns: Some(("join_time", "leave_time")),
    parent_columns: Some(ParentColumns {
        only: None,
        meeting_no: "meeting_no",
        start: "meeting_start_time",
        end: "meeting_end_time",
        participant_count: None,
        meeting: None,
        participant: Some(ParticipantColumns {
            name: "participant_name",
            device: "device",
            join_time: "join_time",
            stay_s: "time_in_meeting_s",
            user_id: "user_id",
            room_id: "room_id",
            // The documented sheet has no such column; its JSON sibling does.
            room_id_headers: &["会议室id", "meetingroomid", "roomid"],
            room_id_prefix: "omm_",
        }),
    }),
    // Whether a meeting's participant count means people at the same time, people, or joins is not
    // documented (API reference, 1); a sheet with a row for each join has at least half of each.
    plausibility: Plausibility::OfParent {
        key: "participants",
        may_miss: 0.5,
    },
    provisional: None,
    // Each meeting is exported once more at night, so this costs as many exports again.
    early: Some(Early {
        by: Dataset::MeetingEvent,
        after: Duration::ZERO,
        by_default: false,
    }),
    job_file: include_str!("../../jobs/participant_list.toml"),
};

/// A stay is told by who joined and when (resources, 4.2). The list alone names rooms by id.
const COMPARED: ComparedColumns = ComparedColumns {
    identity: &["join_time"],
    user_id: Some("user_id"),
    otherwise: &["participant_name", "device"],
    columns: &[
        "leave_time",
        "time_in_meeting_s",
        "used_audio",
        "used_video",
        "used_screen_share",
    ],
    may_be_alone: &[],
};

fn request(meetings: &Siblings<'_>, options: &RequestOptions) -> Option<(Request, Lineage)> {
    let (meeting, end) = (meetings.first, meetings.end);
    let end_s = end.as_second();
    // The participants of a meeting longer than a day are asked for by its last day, which was seen
    // to work.
    let start_s = meeting.start.as_second().max(end_s - DAY.as_secs().cast_signed());
    let request = Request {
        meeting_no: Some(meeting.meeting_no.clone()),
        user_id_type: Some(options.user_id_type),
        mode: options.mode,
        ..Request::between(Dataset::ParticipantList, start_s, end_s)
    };
    let lineage = Lineage {
        meeting_no: Some(meeting.meeting_no.clone()),
        meeting_start_time: Some(meeting.start),
        meeting_end_time: Some(end),
        ..Lineage::default()
    };
    Some((request, lineage))
}

fn parameters(request: &Request) -> Parameters {
    Parameters::body(meeting(request))
        .with("user_id_type", request.user_id_type.map(UserIdType::as_str))
}

/// The body's members that name a meeting.
pub(super) fn meeting(request: &Request) -> Value {
    json!({
        "meeting_no": request.meeting_no,
        "meeting_start_time": second(request.start),
        "meeting_end_time": second(request.end),
    })
}

const ACCEPT_STATUSES: &[EnumValue] = &[
    EnumValue {
        value: "accepted",
        texts: &["1"],
    },
    EnumValue {
        value: "declined",
        texts: &["2"],
    },
    EnumValue {
        value: "tentative",
        texts: &["3"],
    },
    EnumValue {
        value: "none",
        texts: &["4"],
    },
];

/// Panelists and attendees of a webinar are two lists (resources, 4.1). What a list shows that is
/// asked for neither is not documented.
const ROLES: Roles = Roles {
    member: "webinar_user_role",
    values: &["0", "3"],
};

const WEBINAR_ROLES: &[EnumValue] = &[
    EnumValue {
        value: "panelist",
        texts: &["0"],
    },
    EnumValue {
        value: "attendee",
        texts: &["3"],
    },
];

fn columns() -> Vec<Column> {
    vec![
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
        Column::new(
            "meeting_end_time",
            ColumnKind::Time,
            &[],
            "end of the meeting",
        )
        .of_task(),
        Column::new(
            "participant_name",
            ColumnKind::Text,
            &["参会人", "参会者", "participant", "participant_name"],
            "name",
        )
        .personal()
        .required(),
        Column::new(
            "department",
            ColumnKind::Text,
            &["部门", "department"],
            "department",
        ),
        Column::new(
            "user_id",
            ColumnKind::Id,
            &["用户ID", "user id", "user_id"],
            "employee id; empty for guests and rooms",
        )
        .personal()
        .key(),
        Column::new(
            "employee_no",
            ColumnKind::Id,
            &["工号", "job number", "employee_id"],
            "job number",
        )
        .personal(),
        Column::new(
            "mobile",
            ColumnKind::Id,
            &["电话", "phone number", "phone"],
            "phone number, masked by Feishu",
        )
        .personal(),
        Column::new(
            "email",
            ColumnKind::Text,
            &["邮箱", "email"],
            "e-mail address",
        )
        .personal(),
        Column::new(
            "device",
            ColumnKind::Text,
            &["设备", "device"],
            "kind of device",
        )
        .key(),
        Column::new(
            "client_version",
            ColumnKind::Text,
            &["客户端版本", "app version", "app_version"],
            "version of the app",
        ),
        Column::new(
            "public_ip",
            ColumnKind::Text,
            &["公网IP", "public network ip", "public_ip"],
            "public address, sometimes masked",
        )
        .personal(),
        Column::new(
            "internal_ip",
            ColumnKind::Text,
            &["内网IP", "internal network ip", "internal_ip"],
            "internal address, sometimes masked",
        )
        .personal(),
        Column::new(
            "uses_proxy",
            ColumnKind::Bool,
            &["代理服务", "proxy", "use_rtc_proxy"],
            "whether a proxy was used",
        ),
        Column::new("location", ColumnKind::Text, &["位置", "location"], "place").personal(),
        Column::new(
            "network_type",
            ColumnKind::Text,
            &["网络类型", "network type", "network_type"],
            "kind of network",
        ),
        Column::new(
            "microphone",
            ColumnKind::Text,
            &["麦克风", "microphone"],
            "microphone",
        ),
        Column::new(
            "speaker",
            ColumnKind::Text,
            &["扬声器", "speaker"],
            "speaker",
        ),
        Column::new("camera", ColumnKind::Text, &["摄像头", "camera"], "camera"),
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
            "whether the screen was shared",
        ),
        Column::new(
            "join_time",
            ColumnKind::Time,
            &["入会时间", "join time", "join_time"],
            "first join",
        )
        .required(),
        Column::new(
            "leave_time",
            ColumnKind::Time,
            &["离会时间", "leave time", "leave_time"],
            "last leave",
        ),
        Column::new(
            "time_in_meeting_s",
            ColumnKind::DurationS,
            &["参会时长", "duration", "time_in_meeting"],
            "total time in the meeting, seconds",
        ),
        Column::new(
            "leave_reason",
            ColumnKind::Text,
            &["离会原因", "leave reason", "leave_reason"],
            "why the participant left",
        ),
        Column::new(
            "room_id",
            ColumnKind::Id,
            &["meeting_room_id"],
            "the room that took part; by query only",
        )
        .sparse(),
        Column::new(
            "protocol",
            ColumnKind::Text,
            &["protocol"],
            "how media came, such as udp; by query only",
        )
        .sparse(),
        Column::new(
            "accept_status",
            ColumnKind::Enum(ACCEPT_STATUSES),
            &["accept_status"],
            "answer to the invitation; by query only",
        )
        .sparse(),
        Column::new(
            "is_external",
            ColumnKind::Bool,
            &["is_external"],
            "whether from outside of the company; by query only",
        )
        .sparse(),
        Column::new(
            "webinar_user_role",
            ColumnKind::Enum(WEBINAR_ROLES),
            &["webinar_user_role"],
            "role in a webinar; by query only",
        )
        .sparse(),
        Column::source_mode(),
        Column::meeting_key(),
        Column::participation_key(),
    ]
}
