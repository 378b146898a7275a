//! `meeting_participant`: one row a participant of a meeting (resources, 2.5).
//!
//! A row is a person or a room over all of their stays: first join, last leave, time in the
//! meeting. So it costs one call a meeting where the export takes three, and knows neither devices
//! nor names.

use std::time::Duration;

use serde_json::Value;

use super::meeting::{DETAIL_SCOPES, HORIZON, MEETING, NO_MEETING, PASSWORD};
use super::request::{USER_ID_TYPES, USER_TYPES};
use super::listing::{CodeMeans, Error, Node, NodeCall, NodeRows, Nodes, Told, text};
use super::{
    Ask, Called, CalledRows, Dataset, Definition, Early, Extent, Fetch, Lineage, Parameters, Parent,
    Pieces, Plausibility, Request, RequestOption, RequestOptions, Siblings, UserIdType, tenant_ids,
};
use crate::column::{Column, ColumnKind, Derivation, EnumValue};

pub(super) const DEFINITION: Definition = Definition {
    name: "meeting_participant",
    endpoint: MEETING,
    scopes: DETAIL_SCOPES,
    fetch: Fetch::Call(Called {
        rows: CalledRows::List(&["data", "meeting", "participants"]),
        // Its meeting was there a moment ago, and is not any more.
        answers: &[NO_MEETING],
        meeting_id: Some(&["data", "meeting", "id"]),
        secrets: &[PASSWORD],
    }),
    extent: Extent::Windows {
        pieces: Pieces::Spans(super::DAY),
        horizon: Some(HORIZON),
        utc_buckets: false,
    },
    ask: Ask::Parents {
        of: Dataset::Meeting,
        identity: Parent::unique_meeting,
        request,
        has_child: |_| true,
    },
    parameters,
    query: None,
    fuller: Some(Fetch::Nodes(Nodes {
        of: &[],
        calls: &[
            NodeCall {
                endpoint: MEETING,
                parameters: by_id,
                codes: &[(NO_MEETING, CodeMeans::Gone)],
                is_made: |_| true,
            },
            NodeCall {
                endpoint: MEETING,
                parameters: |node| {
                    by_id(node).with("user_id_type", Some(UserIdType::UserId.as_str()))
                },
                codes: tenant_ids::NOT_TOLD,
                is_made: |_| true,
            },
        ],
        rows,
        secrets: &[PASSWORD],
    })),
    options: &[RequestOption::TenantUserIds],
    user_id_type: UserIdType::OpenId,
    columns,
    partition_column: Some("meeting_start_time"),
    sort_first: &["meeting_id"],
    time_columns: Some(("first_join_time", "final_leave_time")),
    parent_columns: None,
    // Whether Feishu counts people or joins is not documented. A list of people has at least half
    // of the joins of most meetings.
    plausibility: Plausibility::OfParent {
        key: "participants",
        may_miss: 0.5,
    },
    provisional: None,
    early: Some(Early {
        by: Dataset::Meeting,
        after: Duration::ZERO,
        by_default: true,
    }),
    job_file: include_str!("../../jobs/meeting_participant.toml"),
};

fn by_id(node: &Node) -> Parameters {
    Parameters {
        segment: Some(node.id.clone()),
        ..Parameters::default()
    }
}

fn rows(node: &Node, told: &[Told]) -> Result<NodeRows, Error> {
    for told in told {
        let Told::Data(data) = told else { continue };
        let meeting = data.get("meeting").and_then(Value::as_object);
        let id = meeting.and_then(|meeting| text(meeting.get("id")));
        if id.is_some_and(|id| id != node.id && !node.id.is_empty()) {
            return Err(Error::Garbled("it is of another meeting".to_owned()));
        }
    }
    tenant_ids::rows(told, &["meeting", "participants"])
}

fn request(meetings: &Siblings<'_>, options: &RequestOptions) -> Option<(Request, Lineage)> {
    let meeting = meetings.first;
    let user_id_type = Some(options.user_id_type);
    let request = Request {
        meeting_id: Some(meeting.meeting_id.clone()?),
        user_id_type,
        tenant_user_ids: options.asks_twice(),
        // Not sent: a meeting with another end is asked for again.
        ..Request::between(
            Dataset::MeetingParticipant,
            meeting.start.as_second(),
            meetings.end.as_second(),
        )
    };
    let lineage = Lineage {
        user_id_type,
        ..of_meeting(meetings)
    };
    Some((request, lineage))
}

/// What rows of a meeting with a unique id get from their task.
pub(super) fn of_meeting(meetings: &Siblings<'_>) -> Lineage {
    let meeting = meetings.first;
    Lineage {
        meeting_id: meeting.meeting_id.clone(),
        meeting_no: Some(meeting.meeting_no.clone()),
        meeting_start_time: Some(meeting.start),
        meeting_end_time: Some(meetings.end),
        ..Lineage::default()
    }
}

fn parameters(request: &Request) -> Parameters {
    Parameters {
        segment: request.meeting_id.clone(),
        ..Parameters::default()
    }
    .with("with_participants", Some(true))
    .with("user_id_type", request.user_id_type.map(UserIdType::as_str))
}

const STATUSES: &[EnumValue] = &[
    EnumValue {
        value: "calling",
        texts: &["1"],
    },
    EnumValue {
        value: "in_meeting",
        texts: &["2"],
    },
    EnumValue {
        value: "ringing",
        texts: &["3"],
    },
    EnumValue {
        value: "left",
        texts: &["4"],
    },
];

/// The columns that say of which meeting a row is.
pub(super) fn meeting_columns() -> [Column; 3] {
    use ColumnKind::{Id, MeetingNo, Time};
    [
        Column::new("meeting_id", Id, &[], "unique id of the meeting, 19 digits")
            .of_task()
            .required(),
        Column::new("meeting_no", MeetingNo, &[], "9-digit number of the meeting").of_task(),
        Column::new("meeting_start_time", Time, &[], "start of the meeting").of_task(),
    ]
}

fn columns() -> Vec<Column> {
    use ColumnKind::{Bool, Enum, Id, Integer, SmallInteger, UnixTime};
    let of_row = [
        Column::new(
            "participant_index",
            SmallInteger,
            &[],
            "place in the meeting's list, from 1; ids may repeat, and guests may have none",
        )
        .derived(Derivation::Rank)
        .key(),
        Column::new("participant_id", Id, &["id"], "id of the user or room")
            .personal()
            .key(),
        Column::new("participant_id_type", Enum(USER_ID_TYPES), &[], "kind of `participant_id`")
            .of_task_field("user_id_type"),
        Column::new(
            "participant_type",
            Enum(USER_TYPES),
            &["user_type"],
            "what kind of participant",
        ),
        Column::new("first_join_time", UnixTime, &["first_join_time"], "first join"),
        Column::new("final_leave_time", UnixTime, &["final_leave_time"], "last leave"),
        Column::new(
            "in_meeting_s",
            Integer,
            &["in_meeting_duration"],
            "time in the meeting over all stays, seconds",
        ),
        Column::new("is_host", Bool, &["is_host"], "whether they were its host"),
        Column::new("is_cohost", Bool, &["is_cohost"], "whether they were a co-host"),
        Column::new("is_external", Bool, &["is_external"], "whether they are from outside"),
        Column::new("status", Enum(STATUSES), &["status"], "where they stand"),
        tenant_ids::column(),
        Column::meeting_key(),
    ];
    meeting_columns().into_iter().chain(of_row).collect()
}
