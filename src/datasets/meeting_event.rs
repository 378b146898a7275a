//! `meeting_event`: one row an event of a meeting (resources, 2.9; API reference, 7.2).
//!
//! For an ordinary company only `all_meeting_started` and `all_meeting_ended` come: the other types
//! are sent for meetings that were reserved through the API.

use super::request::EVENT_USER_TYPES;
use super::{Definition, ParentColumns, event};
use crate::column::{Column, ColumnKind, EnumValue};

pub(super) const DEFINITION: Definition = Definition {
    // What ends is asked for at once, and not the next morning.
    parent_columns: Some(ParentColumns {
        only: Some(("event_type", ENDED)),
        meeting_no: "meeting_no",
        start: "start_time",
        end: "end_time",
        participant_count: None,
        meeting: None,
        participant: None,
    }),
    ..event::definition(
    "meeting_event",
    "meeting_events",
    &["vc:meeting.all_meeting:readonly", "vc:meeting.meetingevent:read"],
    takes,
    |_| {},
    columns,
    include_str!("../../jobs/meeting_event.toml"),
)
};

/// Events of meetings that ended: every one of the company, or one that was reserved through the
/// API.
const ENDED: &[&str] = &["vc.meeting.all_meeting_ended_v1", "vc.meeting.meeting_ended_v1"];

/// Whatever the video-meeting API sends that is not about rooms, types that nobody knows yet among
/// it.
fn takes(event_type: &str) -> bool {
    event_type.starts_with("vc.") && !super::room_event::takes(event_type)
}

const SOURCES: &[EnumValue] = &[
    EnumValue {
        value: "calendar",
        texts: &["1"],
    },
    EnumValue {
        value: "instant",
        texts: &["2"],
    },
    EnumValue {
        value: "interview",
        texts: &["3"],
    },
    EnumValue {
        value: "open_platform",
        texts: &["4"],
    },
    EnumValue {
        value: "other",
        texts: &["100"],
    },
];

const SUB_TYPES: &[EnumValue] = &[
    EnumValue {
        value: "cast",
        texts: &["1"],
    },
    EnumValue {
        value: "wired_share",
        texts: &["2"],
    },
    EnumValue {
        value: "magic_share",
        texts: &["3"],
    },
    EnumValue {
        value: "enterprise_phone",
        texts: &["4"],
    },
    EnumValue {
        value: "ip_phone",
        texts: &["5"],
    },
    EnumValue {
        value: "webinar",
        texts: &["6"],
    },
];

const ROLES: &[EnumValue] = &[
    EnumValue {
        value: "participant",
        texts: &["1"],
    },
    EnumValue {
        value: "host",
        texts: &["2"],
    },
    EnumValue {
        value: "cohost",
        texts: &["3"],
    },
];

const LEAVE_REASONS: &[EnumValue] = &[
    EnumValue {
        value: "left",
        texts: &["1"],
    },
    EnumValue {
        value: "meeting_ended",
        texts: &["2"],
    },
    EnumValue {
        value: "kicked",
        texts: &["3"],
    },
];

const SECURITY_LEVELS: &[EnumValue] = &[
    EnumValue {
        value: "anyone",
        texts: &["1"],
    },
    EnumValue {
        value: "company",
        texts: &["2"],
    },
    EnumValue {
        value: "listed",
        texts: &["3"],
    },
    EnumValue {
        value: "host_only",
        texts: &["4"],
    },
];

fn columns() -> Vec<Column> {
    use ColumnKind::{Enum, Id, Integer, MeetingNo, Text, UnixTime};
    let mut columns = event::header_columns();
    columns.extend([
        Column::new("meeting_id", Id, &["event.meeting.id"], "the meeting, 19 digits"),
        Column::new(
            "meeting_no",
            MeetingNo,
            &["event.meeting.meeting_no"],
            "its number, 9 digits; it recurs",
        ),
        Column::new("topic", Text, &["event.meeting.topic"], "topic")
            .personal()
            .sparse(),
        Column::new(
            "meeting_source",
            Enum(SOURCES),
            &["event.meeting.meeting_source"],
            "how it came about",
        )
        .sparse(),
        Column::new(
            "meeting_sub_type",
            Enum(SUB_TYPES),
            &["event.meeting.meeting_sub_type"],
            "what it is, if it is no ordinary meeting",
        )
        .sparse(),
        Column::new(
            "start_time",
            UnixTime,
            &["event.meeting.start_time"],
            "its start; absent once a recording is ready",
        )
        .sparse(),
        Column::new("end_time", UnixTime, &["event.meeting.end_time"], "its end").sparse(),
        Column::new(
            "calendar_event_id",
            Id,
            &["event.meeting.calendar_event_id"],
            "the calendar's event, `<uid>_<original_time>`",
        )
        .sparse(),
    ]);
    for (name, headers, doc) in [
        ("host_union_id", "event.meeting.host_user.id.union_id", "the host"),
        ("host_open_id", "event.meeting.host_user.id.open_id", "the host, to this app"),
        ("host_user_id", "event.meeting.host_user.id.user_id", "the host's employee id"),
        ("owner_union_id", "event.meeting.owner.id.union_id", "the owner"),
        ("owner_open_id", "event.meeting.owner.id.open_id", "the owner, to this app"),
        ("owner_user_id", "event.meeting.owner.id.user_id", "the owner's employee id"),
        ("operator_union_id", "event.operator.id.union_id", "who did it; who joined, if somebody did"),
        ("operator_open_id", "event.operator.id.open_id", "who did it, to this app"),
        ("operator_user_id", "event.operator.id.user_id", "who did it, as employee id"),
    ] {
        columns.push(Column::new(name, Id, &[headers], doc).personal().sparse());
    }
    columns.extend([
        Column::new(
            "operator_role",
            Enum(ROLES),
            &["event.operator.user_role"],
            "role of who did it",
        )
        .sparse(),
        Column::new(
            "operator_type",
            Enum(EVENT_USER_TYPES),
            &["event.operator.user_type"],
            "kind of who did it",
        )
        .sparse(),
        Column::new(
            "leave_reason",
            Enum(LEAVE_REASONS),
            &["event.leave_reason"],
            "why somebody left",
        )
        .sparse(),
        Column::new(
            "leaver_union_id",
            Id,
            &["event.leave_user.id.union_id"],
            "who left",
        )
        .personal()
        .sparse(),
        Column::new(
            "recording_url",
            Text,
            &["event.url"],
            "page of the recording",
        )
        .personal()
        .sparse(),
        Column::new(
            "recording_duration_ms",
            Integer,
            &["event.duration"],
            "length of the recording, milliseconds",
        )
        .sparse(),
        Column::new(
            "security_level",
            Enum(SECURITY_LEVELS),
            &["event.meeting.security_setting.security_level"],
            "who may join; the lists are in `payload`",
        )
        .sparse(),
        event::payload_column(),
    ]);
    columns
}
