//! `participant_list`: one row a participant of one meeting (API reference, 3.2 and 4.3). The sheet
//! has no column for the meeting, which comes from the task.

use std::time::Duration;

use serde_json::{Value, json};

use super::export::{DAILY, EXPORT_SCOPES, second};
use super::{
    Ask, DAY, Dataset, Definition, Early, Endpoint, Fetch, Lineage, Method, Parameters, Parent,
    ParentColumns, ParticipantColumns, Plausibility, Request, RequestOption, RequestOptions, Siblings,
    Tier, UserIdType,
};
use crate::column::{Column, ColumnKind};

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
    options: &[RequestOption::UserIdType],
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
            // The documented sheet has no such column; its JSON sibling does.
            room_id_headers: &["会议室id", "meetingroomid", "roomid", "meeting_room_id"],
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

fn request(meetings: &Siblings<'_>, options: &RequestOptions) -> Option<(Request, Lineage)> {
    let (meeting, end) = (meetings.first, meetings.end);
    let end_s = end.as_second();
    // The participants of a meeting longer than a day are asked for by its last day, which was seen
    // to work.
    let start_s = meeting.start.as_second().max(end_s - DAY.as_secs().cast_signed());
    let request = Request {
        meeting_no: Some(meeting.meeting_no.clone()),
        user_id_type: Some(options.user_id_type),
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
            &["参会人", "参会者", "participant"],
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
            &["用户ID", "user id"],
            "employee id; empty for guests and rooms",
        )
        .personal()
        .key(),
        Column::new(
            "employee_no",
            ColumnKind::Id,
            &["工号", "job number"],
            "job number",
        )
        .personal(),
        Column::new(
            "mobile",
            ColumnKind::Id,
            &["电话", "phone number"],
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
            &["客户端版本", "app version"],
            "version of the app",
        ),
        Column::new(
            "public_ip",
            ColumnKind::Text,
            &["公网IP", "public network ip"],
            "public address, sometimes masked",
        )
        .personal(),
        Column::new(
            "internal_ip",
            ColumnKind::Text,
            &["内网IP", "internal network ip"],
            "internal address, sometimes masked",
        )
        .personal(),
        Column::new(
            "uses_proxy",
            ColumnKind::Bool,
            &["代理服务", "proxy"],
            "whether a proxy was used",
        ),
        Column::new("location", ColumnKind::Text, &["位置", "location"], "place").personal(),
        Column::new(
            "network_type",
            ColumnKind::Text,
            &["网络类型", "network type"],
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
            &["共享", "share"],
            "whether the screen was shared",
        ),
        Column::new(
            "join_time",
            ColumnKind::Time,
            &["入会时间", "join time"],
            "first join",
        )
        .required(),
        Column::new(
            "leave_time",
            ColumnKind::Time,
            &["离会时间", "leave time"],
            "last leave",
        ),
        Column::new(
            "time_in_meeting_s",
            ColumnKind::DurationS,
            &["参会时长", "duration"],
            "total time in the meeting, seconds",
        ),
        Column::new(
            "leave_reason",
            ColumnKind::Text,
            &["离会原因", "leave reason"],
            "why the participant left",
        ),
        Column::meeting_key(),
        Column::participation_key(),
    ]
}
