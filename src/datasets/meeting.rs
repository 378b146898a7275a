//! `meeting`: one row a meeting, by its unique id (resources, 2.5 and 3).
//!
//! A sheet knows the nine-digit number of a meeting, which recurs. So each number of the list is
//! asked for its ids, once for all of its meetings, and each id for its meeting. The row is joined
//! to its row of the list by `meeting_key`, because both tell number and start to the second.

use std::time::Duration;

use serde_json::{Map, Value};

use super::listing::{Apart, Details, Listed, text};
use super::request::{USER_ID_TYPES, USER_TYPES};
use super::{
    Ask, Dataset, Definition, Early, Endpoint, Extent, Fetch, Lineage, MeetingColumns, Method,
    Parameters, Parent, ParentColumns, Pieces, Plausibility, Request, RequestOption,
    RequestOptions, Siblings, Tier, UserIdType,
};
use crate::column::{Column, ColumnKind, EnumValue};

pub(super) const DEFINITION: Definition = Definition {
    name: "meeting",
    endpoint: Endpoint {
        name: "meetings_by_no",
        method: Method::Get,
        path: "meetings/list_by_no",
        tier: Tier::Three,
    },
    scopes: &["vc:meeting.meetingid:read", "vc:meeting:readonly"],
    fetch: Fetch::Details(BRIEFS, DETAILS),
    extent: Extent::Windows {
        pieces: Pieces::Spans(super::DAY),
        horizon: Some(HORIZON),
        utc_buckets: false,
    },
    ask: Ask::Parents {
        of: Dataset::MeetingList,
        identity: Parent::number,
        request,
        has_child: |_| true,
    },
    parameters,
    query: None,
    fuller: Some(Fetch::Details(
        BRIEFS,
        Details {
            apart: Some(ARTIFACTS),
            ..DETAILS
        },
    )),
    options: &[RequestOption::Artifacts],
    // With another kind of id, rooms and telephones would be dropped from a meeting (resources, 2.5).
    user_id_type: UserIdType::OpenId,
    columns,
    partition_column: Some("start_time"),
    sort_first: &[],
    time_columns: Some(("start_time", "end_time")),
    parent_columns: Some(ParentColumns {
        only: None,
        meeting_no: "meeting_no",
        start: "start_time",
        end: "end_time",
        participant_count: Some("total_participant_count"),
        meeting: Some(MeetingColumns {
            meeting_id: "meeting_id",
            was_recorded: "was_recorded",
        }),
        participant: None,
    }),
    plausibility: Plausibility::None,
    provisional: Some(("status", &["calling", "ongoing"])),
    early: Some(Early {
        by: Dataset::MeetingEvent,
        after: Duration::ZERO,
        by_default: true,
    }),
    job_file: include_str!("../../jobs/meeting.toml"),
};

const BRIEFS: Listed = Listed {
    list: "meeting_briefs",
    id: Some("id"),
    page_size: 50,
    secrets: &["data.meeting_briefs.[].password", PASSWORD],
    derive,
    pivot: None,
    roles: None,
};

const DETAILS: Details = Details {
    endpoint: MEETING,
    scopes: DETAIL_SCOPES,
    query: &[
        ("with_participants", "false"),
        ("with_meeting_ability", "true"),
        ("user_id_type", "open_id"),
    ],
    item: "meeting",
    // The list has an id of which the detail knows nothing (any more).
    gone: &[NO_MEETING],
    // Whose owner is outside of the tenant, or of the scope's accessible data range.
    hidden: &[NOT_SHOWN],
    apart: None,
};

/// The documents that a meeting left behind (resources, 2.5 and 6.3). That only a meeting with
/// notes has any is not documented; a call for every other meeting would cost more than it tells.
const ARTIFACTS: Apart = Apart {
    query: &[("query_mode", "1")],
    part: "related_artifacts",
    may_have: |meeting| text(meeting.get("note_id")).is_some_and(|id| !id.is_empty()),
    // The scope is missing.
    withheld: &[99991672],
};

/// Scopes of single members of [`ARTIFACTS`]: without one, its member is absent.
pub const ARTIFACT_SCOPES: [&str; 2] = [
    "vc:meeting.artifact.note:read",
    "vc:meeting.artifact.verbatim:read",
];

/// One meeting by its unique id.
pub(super) const MEETING: Endpoint = Endpoint {
    name: "meeting",
    method: Method::Get,
    path: "meetings/:meeting_id",
    tier: Tier::Four,
};

/// Scopes of which the detail of a meeting needs one (resources, 6.3).
pub(super) const DETAIL_SCOPES: &[&str] =
    &["vc:meeting.meetingevent:read", "vc:meeting:readonly"];

/// How far back meetings are answered (resources, 1.1).
pub(super) const HORIZON: std::time::Duration = std::time::Duration::from_secs(90 * 86_400);

/// How much further than its meetings a number is asked for, seconds: a sheet and a meeting may
/// differ a little.
const SLACK_S: i64 = 3_600;

/// Feishu knows no such meeting (any more).
pub(super) const NO_MEETING: i64 = 121004;

/// The app may not see this meeting, or no meeting at all.
const NOT_SHOWN: i64 = 121005;

/// Where the detail of a meeting has its password.
pub(super) const PASSWORD: &str = "data.meeting.password";

/// All meetings of a number that begin in the window. Whether Feishu compares their start, their
/// end or both with what is asked for is not documented, so the range holds all of each.
fn request(meetings: &Siblings<'_>, options: &RequestOptions) -> Option<(Request, Lineage)> {
    let mut looked_for: Vec<(i64, i64)> = meetings
        .all
        .iter()
        .filter_map(|meeting| Some((meeting.start.as_second(), meeting.end?.as_second())))
        .collect();
    looked_for.sort_unstable();
    looked_for.dedup();
    let start = looked_for.first()?.0 - SLACK_S;
    let end = meetings.end.as_second() + SLACK_S;
    let meeting_no = Some(meetings.first.meeting_no.clone());
    let user_id_type = Some(options.user_id_type);
    let request = Request {
        meeting_no: meeting_no.clone(),
        user_id_type,
        meetings: looked_for,
        artifacts: options.artifacts,
        ..Request::between(Dataset::Meeting, start, end)
    };
    let lineage = Lineage {
        meeting_no,
        user_id_type,
        ..Lineage::default()
    };
    Some((request, lineage))
}

fn parameters(request: &Request) -> Parameters {
    Parameters::default()
        .with("meeting_no", request.meeting_no.as_ref())
        .with("start_time", request.start)
        .with("end_time", request.end)
}

/// Adds the length of a meeting that has ended. Its participants are another dataset's, should they
/// come without being asked for.
fn derive(meeting: &mut Map<String, Value>) {
    meeting.remove("participants");
    let second = |name: &str| text(meeting.get(name))?.parse::<i64>().ok();
    let times = second("start_time").zip(second("end_time"));
    if let Some((start, end)) = times.filter(|(start, end)| *start > 0 && end >= start) {
        meeting.insert(DURATION_S.to_owned(), (end - start).into());
    }
    let artifacts = meeting.get(ARTIFACTS.part).and_then(Value::as_object);
    let is_there = |name: &str| {
        let token = text(artifacts?.get(name))?;
        Some(!token.is_empty())
    };
    let note = is_there("note_doc_token").map(|is_there| (HAS_NOTE_DOC, is_there));
    let verbatim = is_there("verbatim_doc_token").map(|is_there| (HAS_VERBATIM_DOC, is_there));
    for (name, is_there) in [note, verbatim].into_iter().flatten() {
        meeting.insert(name.to_owned(), is_there.into());
    }
}

const DURATION_S: &str = "(derived) duration_s";
const HAS_NOTE_DOC: &str = "(derived) has_note_doc";
const HAS_VERBATIM_DOC: &str = "(derived) has_verbatim_doc";

const STATUSES: &[EnumValue] = &[
    EnumValue {
        value: "calling",
        texts: &["1"],
    },
    EnumValue {
        value: "ongoing",
        texts: &["2"],
    },
    EnumValue {
        value: "ended",
        texts: &["3"],
    },
];

fn columns() -> Vec<Column> {
    use ColumnKind::{Bool, Enum, Id, Integer, MeetingNo, Text, TextList, UnixTime};
    let used = |name, header: &str, doc| Column::new(name, Bool, &[header], doc);
    vec![
        Column::new("meeting_id", Id, &["id"], "unique id of the meeting, 19 digits").required(),
        Column::new(
            "meeting_no",
            MeetingNo,
            &["meeting_no"],
            "9-digit number; recurs for recurring meetings",
        ),
        Column::new("topic", Text, &["topic"], "topic").personal(),
        Column::new("url", Text, &["url"], "link that lets people in").personal(),
        Column::new("create_time", UnixTime, &["create_time"], "when it was made"),
        Column::new("start_time", UnixTime, &["start_time"], "start of the meeting"),
        Column::new("end_time", UnixTime, &["end_time"], "end of the meeting"),
        Column::new("duration_s", Integer, &[DURATION_S], "length, seconds"),
        Column::new("status", Enum(STATUSES), &["status"], "where it stands"),
        Column::new("host_id", Id, &["host_user.id"], "its host").personal(),
        Column::new("host_id_type", Enum(USER_ID_TYPES), &[], "kind of `host_id`")
            .of_task_field("user_id_type"),
        Column::new(
            "host_type",
            Enum(USER_TYPES),
            &["host_user.user_type"],
            "what kind of participant the host is",
        ),
        Column::new(
            "is_interop",
            Bool,
            &["meeting_connect"],
            "whether Feishu and Lark users could meet in it",
        )
        .sparse(),
        Column::new(
            "peak_participant_count",
            Integer,
            &["participant_count"],
            "most participants at one time",
        ),
        Column::new(
            "total_participant_count",
            Integer,
            &["participant_count_accumulated"],
            "participants over the whole meeting",
        ),
        used("used_video", "ability.use_video", "whether video was used"),
        used("used_audio", "ability.use_audio", "whether audio was used"),
        used(
            "used_screen_share",
            "ability.use_share_screen",
            "whether a screen was shared",
        ),
        used(
            "used_magic_share",
            "ability.use_follow_screen",
            "whether a document was shared with Magic Share",
        ),
        used("was_recorded", "ability.use_recording", "whether it was recorded"),
        used("used_phone", "ability.use_pstn", "whether anyone dialled in by phone"),
        Column::new("note_id", Id, &["note_id"], "id of its notes, where an assistant took them")
            .sparse(),
        Column::new(
            "has_note_doc",
            Bool,
            &[HAS_NOTE_DOC],
            "whether there is a document of its notes; null where that is not told",
        )
        .sparse(),
        Column::new(
            "note_doc_token",
            Text,
            &["related_artifacts.note_doc_token"],
            "token of the document of its notes; needs `vc:meeting.artifact.note:read`",
        )
        .sparse(),
        Column::new(
            "has_verbatim_doc",
            Bool,
            &[HAS_VERBATIM_DOC],
            "whether there is a document of what was said; null where that is not told",
        )
        .sparse(),
        Column::new(
            "verbatim_doc_token",
            Text,
            &["related_artifacts.verbatim_doc_token"],
            "token of the document of what was said; needs `vc:meeting.artifact.verbatim:read`",
        )
        .sparse(),
        Column::new(
            "discovered_by",
            TextList,
            &[],
            "what told of it: `event`, `export`, `query`, and `list_by_no`, which told its id",
        )
        .of_task(),
        Column::meeting_key(),
    ]
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::plan::tests::meeting;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    /// One of the meetings has no end yet.
    #[test]
    fn a_number_is_asked_for_from_before_its_first_meeting_to_after_its_last() {
        let rows = [
            meeting("123456789", at(80_000), Some(at(90_000)), 2),
            meeting("123456789", at(10_000), Some(at(20_000)), 2),
            meeting("123456789", at(30_000), None, 2),
        ];
        let all: Vec<&Parent> = rows.iter().collect();
        let siblings = Siblings {
            first: all[0],
            all: &all,
            end: at(90_000),
        };
        let options = RequestOptions::for_dataset(Dataset::Meeting);
        let (request, lineage) = super::request(&siblings, &options).expect("a request");
        assert_eq!((request.start, request.end), (Some(6_400), Some(93_600)));
        assert_eq!(request.meetings, [(10_000, 20_000), (80_000, 90_000)]);
        assert_eq!(lineage.meeting_no.as_deref(), Some("123456789"));
        let sent = parameters(&request).query;
        assert_eq!(
            sent,
            [
                ("meeting_no", "123456789".to_owned()),
                ("start_time", "6400".to_owned()),
                ("end_time", "93600".to_owned()),
            ]
        );
    }

    /// An absent member is not told, and an empty one says that there is none (resources, 2.5).
    #[test]
    fn a_document_is_there_or_not_or_that_is_not_told() {
        for (artifacts, note, verbatim) in [
            (json!(null), json!(null), json!(null)),
            (json!({}), json!(null), json!(null)),
            (json!({ "note_doc_token": "d" }), json!(true), json!(null)),
            (
                json!({ "note_doc_token": "", "verbatim_doc_token": "v" }),
                json!(false),
                json!(true),
            ),
        ] {
            let Value::Object(mut meeting) = json!({ "related_artifacts": artifacts }) else {
                unreachable!("an object")
            };
            derive(&mut meeting);
            let found = |name: &str| meeting.get(name).cloned().unwrap_or_default();
            assert_eq!(
                (found(HAS_NOTE_DOC), found(HAS_VERBATIM_DOC)),
                (note, verbatim),
                "{meeting:?}"
            );
        }
    }

    #[test]
    fn a_meeting_has_a_length_once_it_has_ended() {
        for (start, end, length) in [
            (json!("1700000000"), json!("1700000060"), json!(60)),
            (json!(1_700_000_000), json!(1_700_000_060), json!(60)),
            (json!("1700000000"), json!("0"), json!(null)),
            (json!("1700000000"), json!(""), json!(null)),
            (json!("1700000000"), json!(null), json!(null)),
            (json!("0"), json!("1700000060"), json!(null)),
        ] {
            let meeting = json!({ "start_time": start, "end_time": end, "participants": [] });
            let Value::Object(mut meeting) = meeting else {
                unreachable!("an object")
            };
            derive(&mut meeting);
            assert_eq!(meeting.get(DURATION_S).cloned().unwrap_or_default(), length);
            assert!(!meeting.contains_key("participants"));
        }
    }
}
