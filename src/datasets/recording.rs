//! `recording`: one row a recorded meeting (resources, 2.6).
//!
//! A recording is linked to its meeting minutes after the meeting ended, and sometimes hours. So a
//! row says how far it was when it was asked for, and what was not ready is asked for again.

use std::time::Duration;

use serde_json::{Map, Value};
use url::Url;

use super::listing::text;
use super::meeting::{HORIZON, NO_MEETING};
use super::meeting_participant::{meeting_columns, of_meeting};
use super::{
    Ask, Called, CalledRows, Dataset, Definition, Early, Endpoint, Extent, Fetch, Lineage, Method,
    Parameters, Parent, Pieces, Plausibility, Request, RequestOptions, Siblings, Tier, UserIdType,
};
use crate::column::{Column, ColumnKind, EnumValue};

pub(super) const DEFINITION: Definition = Definition {
    name: "recording",
    endpoint: Endpoint {
        name: "recording",
        method: Method::Get,
        path: "meetings/:meeting_id/recording",
        tier: Tier::Four,
    },
    scopes: &["vc:record:readonly"],
    fetch: Fetch::Call(Called {
        rows: CalledRows::One(recording_of),
        answers: &[STILL_PROCESSING, STILL_RUNNING, NO_RECORDING, NO_MEETING],
        meeting_id: Some(&["data", "recording", "meeting_id"]),
        secrets: &[],
    }),
    // How far back recordings are answered is not stated; their meetings have this horizon.
    extent: Extent::Windows {
        pieces: Pieces::Spans(super::DAY),
        horizon: Some(HORIZON),
        utc_buckets: false,
    },
    ask: Ask::Parents {
        of: Dataset::Meeting,
        identity: Parent::unique_meeting,
        request,
        has_child: |meeting| meeting.was_recorded == Some(true),
    },
    parameters: |request| Parameters {
        segment: request.meeting_id.clone(),
        ..Parameters::default()
    },
    query: None,
    fuller: None,
    options: &[],
    user_id_type: UserIdType::OpenId,
    columns,
    partition_column: Some("meeting_start_time"),
    sort_first: &[],
    time_columns: None,
    parent_columns: None,
    plausibility: Plausibility::None,
    provisional: Some(("state", &["processing", "none"])),
    // A recording is linked minutes after the meeting's end, at the earliest (resources, 3).
    early: Some(Early {
        by: Dataset::Meeting,
        after: Duration::from_secs(15 * 60),
        by_default: true,
    }),
    job_file: include_str!("../../jobs/recording.toml"),
};

const STILL_RUNNING: i64 = 122001;
const NO_RECORDING: i64 = 122002;
const STILL_PROCESSING: i64 = 124002;

fn request(meetings: &Siblings<'_>, _: &RequestOptions) -> Option<(Request, Lineage)> {
    let meeting = meetings.first;
    let request = Request {
        meeting_id: Some(meeting.meeting_id.clone()?),
        // Not sent: a meeting with another end is asked for again.
        ..Request::between(
            Dataset::Recording,
            meeting.start.as_second(),
            meetings.end.as_second(),
        )
    };
    Some((request, of_meeting(meetings)))
}

/// The row that an answer is. Soon after a meeting the answer is good and has no recording.
fn recording_of(body: &Map<String, Value>) -> Map<String, Value> {
    let code = body.get("code").and_then(Value::as_i64);
    let recording = body.get("data").and_then(|data| data.get("recording"));
    let mut row = match recording {
        Some(Value::Object(recording)) if code == Some(0) => recording.clone(),
        _ => Map::new(),
    };
    // The id that was asked for.
    row.remove("meeting_id");
    let url = text(row.get("url")).filter(|url| !url.is_empty());
    let state = match (&url, code) {
        (Some(_), _) => "ready",
        (None, Some(STILL_PROCESSING | STILL_RUNNING)) => "processing",
        (None, _) => "none",
    };
    row.insert(STATE.to_owned(), state.into());
    if let Some(token) = url.as_deref().and_then(minute_token) {
        row.insert(MINUTE_TOKEN.to_owned(), token.into());
    }
    row
}

/// The id at the end of the address of a Minutes page, `…/minutes/obcn…`.
fn minute_token(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let mut segments = url.path_segments()?.rev();
    let token = segments.next().filter(|token| !token.is_empty())?;
    (segments.next() == Some("minutes")).then(|| token.to_owned())
}

const STATE: &str = "(derived) state";
const MINUTE_TOKEN: &str = "(derived) minute_token";

const STATES: &[EnumValue] = &[
    EnumValue {
        value: "ready",
        texts: &["ready"],
    },
    EnumValue {
        value: "processing",
        texts: &["processing"],
    },
    EnumValue {
        value: "none",
        texts: &["none"],
    },
];

fn columns() -> Vec<Column> {
    use ColumnKind::{Enum, Id, Integer, Text};
    let of_row = [
        Column::new("recording_id", Id, &["id"], "the recording").sparse(),
        Column::new("recording_url", Text, &["url"], "its Minutes page, which checks permissions")
            .personal()
            .sparse(),
        Column::new("minute_token", Id, &[MINUTE_TOKEN], "id of the Minutes page").sparse(),
        Column::new("duration_ms", Integer, &["duration"], "length, milliseconds").sparse(),
        Column::new(
            "state",
            Enum(STATES),
            &[STATE],
            "`ready`; `processing` or `none` when it was last asked for",
        ),
        Column::meeting_key(),
    ];
    meeting_columns().into_iter().chain(of_row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_answer_is_a_state() {
        let url = "https://acme.feishu.cn/minutes/obcnq3b9jl72l83w4f149w9c";
        let ready = json!({ "url": url, "duration": "30000", "meeting_id": "7" });
        let row_of = |body: Value| {
            let row = recording_of(body.as_object().expect("an object"));
            let text = |name| row.get(name).and_then(Value::as_str).map(str::to_owned);
            let unasked = row.contains_key("meeting_id");
            (text(STATE).expect("a state"), text(MINUTE_TOKEN), unasked)
        };
        let without_token = |state: &str| (state.to_owned(), None, false);
        for (body, expected) in [
            (
                json!({ "code": 0, "data": { "recording": ready } }),
                ("ready".to_owned(), Some("obcnq3b9jl72l83w4f149w9c".to_owned()), false),
            ),
            (
                json!({ "code": 0, "data": { "recording": { "url": "https://a.cn/x/obcn" } } }),
                without_token("ready"),
            ),
            (json!({ "code": 0, "data": { "recording": { "url": "" } } }), without_token("none")),
            (json!({ "code": 0, "data": {} }), without_token("none")),
            (json!({ "code": 0 }), without_token("none")),
            (json!({ "code": 124002, "data": {} }), without_token("processing")),
            (json!({ "code": 122001 }), without_token("processing")),
            (json!({ "code": 122002 }), without_token("none")),
            (json!({ "code": 121004 }), without_token("none")),
        ] {
            assert_eq!(row_of(body.clone()), expected, "{body}");
        }
    }
}
