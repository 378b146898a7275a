//! What the events have in common: their envelope, which secrets it holds, and how an event becomes
//! a row (resources, 2.9; API reference, 7).
//!
//! ```text
//! {"schema":"2.0","header":{"event_id","event_type","create_time","token",…},"event":{…}}
//! ```
//! Nobody asks for an event. Feishu sends it, and `inlet` keeps it in the ledger until a batch of
//! them is published.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::secrets::without_secrets;
use super::{
    Ask, Dataset, Definition, Endpoint, Extent, Fetch, Method, Parameters, Plausibility, Tier,
    UserIdType,
};
use crate::column::{Column, ColumnKind};

/// The values of an envelope that are secret: the app's Verification Token, of either version of the
/// envelope, and a meeting's password, should one ever be there.
pub const SECRETS: &[&str] = &["token", "header.token", "event.meeting.password"];

/// Names of types and ids are short. Whatever is longer is something else.
const LONGEST_NAME: usize = 200;

/// What tells an event from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventHeader {
    /// The same at every delivery.
    pub id: String,
    /// Such as `vc.meeting.all_meeting_ended_v1`. New types come without notice.
    pub event_type: String,
    /// When it happened; `None` if the envelope does not say so.
    pub at: Option<Timestamp>,
}

/// Why a message is no event that could be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum UnreadableEvent {
    /// It is no JSON object.
    #[error("it is no JSON object")]
    NoJson,
    /// It does not say which event it is.
    #[error("it has no id or no type")]
    NoHeader,
    /// Where its secrets are is not known, so it cannot be kept without them.
    #[error("its token is not where it should be")]
    Secrets,
}

/// Reads the header of an event of either version of the envelope.
///
/// # Errors
/// It has none.
pub fn header(body: &[u8]) -> Result<EventHeader, UnreadableEvent> {
    let Ok(Value::Object(envelope)) = serde_json::from_slice(body) else {
        return Err(UnreadableEvent::NoJson);
    };
    header_of(&envelope)
}

fn header_of(envelope: &Map<String, Value>) -> Result<EventHeader, UnreadableEvent> {
    let within = |outer: &str, inner: &str| envelope.get(outer)?.get(inner);
    let id = within("header", "event_id").or_else(|| envelope.get("uuid"));
    let event_type = within("header", "event_type").or_else(|| within("event", "type"));
    let name = |value: Option<&Value>| {
        let text = value?.as_str()?;
        let is_name = !text.is_empty()
            && text.len() <= LONGEST_NAME
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        is_name.then(|| text.to_owned())
    };
    Ok(EventHeader {
        id: name(id).ok_or(UnreadableEvent::NoHeader)?,
        event_type: name(event_type).ok_or(UnreadableEvent::NoHeader)?,
        at: within("header", "create_time").and_then(instant),
    })
}

/// The body with its secrets blanked; every other byte stays as it came.
///
/// # Errors
/// [`UnreadableEvent::Secrets`]
pub fn keepable(body: &[u8]) -> Result<String, UnreadableEvent> {
    let kept = without_secrets(body, SECRETS).map_err(|_| UnreadableEvent::Secrets)?;
    String::from_utf8(kept.into_owned()).map_err(|_| UnreadableEvent::NoJson)
}

/// When an event happened, if what it says of that can be true. Feishu gives up sending an event
/// after hours; what would be of another year has no day in the lake.
#[must_use]
pub fn plausible(at: Option<Timestamp>, received_at: Timestamp) -> Option<Timestamp> {
    let since = |at: &Timestamp| received_at.duration_since(*at).as_hours();
    at.filter(|at| (-24..=30 * 24).contains(&since(at)))
}

/// An instant that the envelope gives as digits: 10 are seconds, 13 milliseconds, 16 microseconds.
/// The pages show both of the latter.
fn instant(value: &Value) -> Option<Timestamp> {
    let digits = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let number: i64 = digits.parse().ok().filter(|number| *number > 0)?;
    match digits.len() {
        10 => Timestamp::from_second(number).ok(),
        13 => Timestamp::from_millisecond(number).ok(),
        16 => Timestamp::from_microsecond(number).ok(),
        _ => None,
    }
}

// --- rows ---------------------------------------------------------------------------------------

const EVENT_TIME: &str = "(derived) event_time";
const RECEIVED_TIME: &str = "(received) at";
const PAYLOAD: &str = "(derived) payload";

/// The row of an event: its body as it was kept, and when it was received. What no column shows is
/// in `payload`, so only the members of the header are left as they are.
///
/// # Errors
/// The body is no event. None that was received is not.
pub fn row(body: &[u8], received_at: &str) -> Result<Map<String, Value>, UnreadableEvent> {
    let Ok(Value::Object(mut envelope)) = serde_json::from_slice(body) else {
        return Err(UnreadableEvent::NoJson);
    };
    let header = header_of(&envelope)?;
    let mut payload = envelope.get("event").cloned().unwrap_or_default();
    payload.sort_all_objects();
    // The earlier version of the envelope has its header around the event.
    let mut members = match envelope.remove("header") {
        Some(Value::Object(members)) => members,
        _ => Map::new(),
    };
    let received = received_at.parse().ok();
    let at = received.map_or(header.at, |received| plausible(header.at, received));
    envelope.remove("token");
    members.remove("token");
    // A time that cannot be true is shown as it came.
    if at.is_some() || header.at.is_none() {
        envelope.remove("create_time");
        members.remove("create_time");
    }
    members.insert("event_id".to_owned(), header.id.into());
    members.insert("event_type".to_owned(), header.event_type.into());
    envelope.insert("header".to_owned(), members.into());
    let mut add = |name: &str, value: String| envelope.insert(name.to_owned(), value.into());
    if let Some(at) = at {
        add(EVENT_TIME, at.to_string());
    }
    add(RECEIVED_TIME, received_at.to_owned());
    if !payload.is_null() {
        add(PAYLOAD, payload.to_string());
    }
    Ok(envelope)
}

/// Whether a member of a row, by the path under which it stands in a flattened one, is in `payload`
/// too.
#[must_use]
pub fn is_in_payload(member: &str) -> bool {
    member.starts_with("event.")
}

// --- definitions --------------------------------------------------------------------------------

/// The definition of a dataset of events.
pub(super) const fn definition(
    name: &'static str,
    sheet: &'static str,
    scopes: &'static [&'static str],
    takes: fn(&str) -> bool,
    derive: fn(&mut Map<String, Value>),
    columns: fn() -> Vec<Column>,
    job_file: &'static str,
) -> Definition {
    Definition {
        name,
        // Nobody calls it: Feishu does. Its name is that of the table.
        endpoint: Endpoint {
            name: sheet,
            method: Method::Post,
            path: "events",
            tier: Tier::Special,
        },
        scopes,
        fetch: Fetch::Received { takes, derive },
        extent: Extent::Received,
        provisional: None,
        early: None,
        ask: Ask::Nobody,
        parameters: |_| Parameters::default(),
        query: None,
        fuller: None,
        options: &[],
        user_id_type: UserIdType::UnionId,
        columns,
        partition_column: Some("event_time"),
        sort_first: &["event_time"],
        time_columns: None,
        parent_columns: None,
        plausibility: Plausibility::None,
        job_file,
    }
}

/// The dataset that events of a type are rows of; `None` if the type is not of the video-meeting
/// API.
#[must_use]
pub fn dataset_of(event_type: &str) -> Option<Dataset> {
    Dataset::ALL
        .into_iter()
        .find(|dataset| match dataset.definition().fetch {
            Fetch::Received { takes, .. } => takes(event_type),
            _ => false,
        })
}

/// Columns that every event begins with.
pub(super) fn header_columns() -> Vec<Column> {
    use ColumnKind::{Id, Text, Time};
    vec![
        Column::new(
            "event_time",
            Time,
            &[EVENT_TIME],
            "when it happened, `header.create_time`",
        )
        .key(),
        Column::new(
            "event_id",
            Id,
            &["header.event_id"],
            "the event; the same at every delivery",
        )
        .required(),
        Column::new(
            "event_type",
            Text,
            &["header.event_type"],
            "such as `vc.meeting.all_meeting_ended_v1`; new types come without notice",
        ),
        Column::new(
            "received_time",
            Time,
            &[RECEIVED_TIME],
            "when it was first received; no part of the content",
        )
        .incidental(),
        Column::new("app_id", Id, &["header.app_id"], "the app that subscribed"),
        Column::new("tenant_key", Id, &["header.tenant_key"], "the tenant"),
    ]
}

/// The column that every event ends with.
pub(super) fn payload_column() -> Column {
    Column::new(
        "payload",
        ColumnKind::Text,
        &[PAYLOAD],
        "all of `event`, as JSON with sorted members",
    )
    .personal()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn body(header: &Value, event: &Value) -> Vec<u8> {
        let body = json!({ "schema": "2.0", "header": header, "event": event });
        body.to_string().into_bytes()
    }

    #[test]
    fn an_event_says_which_it_is_or_is_refused() {
        let long = "x".repeat(LONGEST_NAME + 1);
        let v1 = json!({ "uuid": "u1", "token": "t", "type": "event_callback", "event": { "type": "app_ticket" } });
        let ok = |id: &str, event_type: &str, at: Option<&str>| {
            Ok(EventHeader {
                id: id.to_owned(),
                event_type: event_type.to_owned(),
                at: at.map(|at| at.parse().expect("an instant")),
            })
        };
        let header_with = |time: Value| {
            let header = json!({ "event_id": "e1", "event_type": "vc.x", "create_time": time });
            body(&header, &json!({}))
        };
        let at = |time| ok("e1", "vc.x", time);
        for (body, expected) in [
            (
                header_with(json!("1608725989")),
                at(Some("2020-12-23T12:19:49Z")),
            ),
            (
                header_with(json!("1608725989123")),
                at(Some("2020-12-23T12:19:49.123Z")),
            ),
            (
                header_with(json!(1_608_725_989_123_456_i64)),
                at(Some("2020-12-23T12:19:49.123456Z")),
            ),
            (header_with(json!("0")), at(None)),
            (header_with(json!("160872598912")), at(None)),
            (header_with(json!("yesterday")), at(None)),
            (header_with(json!(null)), at(None)),
            (v1.to_string().into_bytes(), ok("u1", "app_ticket", None)),
            (b"[]".to_vec(), Err(UnreadableEvent::NoJson)),
            (b"{".to_vec(), Err(UnreadableEvent::NoJson)),
            (b"\xff".to_vec(), Err(UnreadableEvent::NoJson)),
            (b"{}".to_vec(), Err(UnreadableEvent::NoHeader)),
            (
                body(&json!({ "event_id": "e1", "event_type": 7 }), &json!({})),
                Err(UnreadableEvent::NoHeader),
            ),
            (
                body(&json!({ "event_id": "", "event_type": "vc.x" }), &json!({})),
                Err(UnreadableEvent::NoHeader),
            ),
            (
                body(&json!({ "event_id": "e1", "event_type": long }), &json!({})),
                Err(UnreadableEvent::NoHeader),
            ),
            (
                body(
                    &json!({ "event_id": "e1", "event_type": "a\u{1b}[31m" }),
                    &json!({}),
                ),
                Err(UnreadableEvent::NoHeader),
            ),
        ] {
            let shown = String::from_utf8_lossy(&body).into_owned();
            assert_eq!(header(&body), expected, "{shown}");
        }
    }

    #[test]
    fn an_event_of_another_month_is_of_the_day_on_which_it_came() {
        let received_at = Timestamp::from_second(1_795_000_000).expect("an instant");
        let hour = 3_600;
        for (ahead_s, is_plausible) in [
            (0, true),
            (24 * hour, true),
            (26 * hour, false),
            (70 * 365 * 24 * hour, false),
            (-7 * hour, true),
            (-30 * 24 * hour, true),
            (-31 * 24 * hour, false),
        ] {
            let at = Timestamp::from_second(1_795_000_000 + ahead_s).ok();
            let expected = at.filter(|_| is_plausible);
            assert_eq!(plausible(at, received_at), expected, "{ahead_s}");
            let created = (1_795_000_000 + ahead_s).to_string();
            let header = json!({ "event_id": "e", "event_type": "t", "create_time": created });
            let row = row(&body(&header, &json!({})), &received_at.to_string()).expect("a row");
            assert_eq!(row.contains_key(EVENT_TIME), is_plausible, "{ahead_s}");
            // What cannot be true is kept as it came.
            let kept = row["header"].get("create_time").is_some();
            assert_eq!(kept, !is_plausible, "{ahead_s}");
        }
        assert_eq!(plausible(None, received_at), None);
    }

    #[test]
    fn the_token_is_blanked_wherever_the_envelope_has_it() {
        let kept = keepable(br#"{"header":{"token":"canary","event_id":"e"},"token":"canary"}"#);
        assert_eq!(
            kept.as_deref(),
            Ok(r#"{"header":{"token":"","event_id":"e"},"token":""}"#)
        );
        let hidden = keepable(br#"{"header":[{"token":"canary"}]}"#);
        assert_eq!(hidden, Err(UnreadableEvent::Secrets));
    }

    #[test]
    fn a_type_belongs_to_one_dataset_or_to_none() {
        for (event_type, dataset) in [
            (
                "vc.meeting.all_meeting_ended_v1",
                Some(Dataset::MeetingEvent),
            ),
            (
                "vc.meeting.not_invented_yet_v9",
                Some(Dataset::MeetingEvent),
            ),
            ("vc.bot.meeting_started_v1", Some(Dataset::MeetingEvent)),
            ("vc.room.updated_v1", Some(Dataset::RoomEvent)),
            ("vc.room_level.deleted_v1", Some(Dataset::RoomEvent)),
            ("vc.reserve_config.updated_v1", Some(Dataset::RoomEvent)),
            ("im.message.receive_v1", None),
            ("vcx.room.updated_v1", None),
            ("vc", None),
        ] {
            assert_eq!(dataset_of(event_type), dataset, "{event_type}");
            let takers = Dataset::ALL.into_iter().filter(|dataset| {
                matches!(dataset.definition().fetch, Fetch::Received { takes, .. } if takes(event_type))
            });
            assert!(takers.count() <= 1, "{event_type}");
        }
    }

    #[test]
    fn a_row_has_the_header_the_payload_and_no_token() {
        let header = json!({
            "event_id": "e1", "event_type": "vc.x", "create_time": "1608725989123", "token": "", "new": 1,
        });
        let event = json!({ "z": 1, "a": { "y": 2, "b": 3 } });
        let row = row(&body(&header, &event), "2020-12-23T12:19:50Z").expect("a row");
        assert_eq!(row[EVENT_TIME], "2020-12-23T12:19:49.123Z");
        assert_eq!(row[PAYLOAD], r#"{"a":{"b":3,"y":2},"z":1}"#);
        assert_eq!(
            row["header"],
            json!({ "event_id": "e1", "event_type": "vc.x", "new": 1 })
        );
    }
}
