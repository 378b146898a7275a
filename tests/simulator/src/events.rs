//! The bodies of the events that the company's meetings and rooms give cause for.
//!
//! Only what an ordinary company's app gets: every meeting's start and end, and changes of rooms and levels. Each body carries the app's
//! Verification Token, as the service's do: whoever keeps it has kept a secret.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::company::{Company, Employee, Meeting, MeetingKind, Room};
use crate::random::Draw;

/// An event as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentEvent {
    /// `header.event_id`.
    pub id: String,
    /// `header.event_type`.
    pub event_type: &'static str,
    /// `header.create_time`.
    pub at: Timestamp,
    /// The whole body.
    pub body: String,
}

/// Who sends and who subscribed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sender<'a> {
    pub(crate) app_id: &'a str,
    pub(crate) tenant_key: &'static str,
    pub(crate) verification_token: &'a str,
    pub(crate) draw: Draw,
}

/// Events of meetings that begin in `[start, end)`, and one change of a room for each of them, in the order in which they happened.
pub(crate) fn of_days(
    company: &Company,
    sender: Sender<'_>,
    start: Timestamp,
    end: Timestamp,
) -> Vec<SentEvent> {
    let mut events = Vec::new();
    for (number, meeting) in (0_u64..).zip(company.meetings_in(start, end)) {
        let meeting_id = meeting.id();
        for (event_type, at) in [
            ("vc.meeting.all_meeting_started_v1", meeting.start),
            ("vc.meeting.all_meeting_ended_v1", meeting.end),
        ] {
            let has_ended = at == meeting.end;
            let event = json!({
                "meeting": meeting_value(meeting, &meeting_id, has_ended),
                "operator": user(&meeting.organizer, 2),
            });
            events.push(sent(sender, event_type, at, &meeting_id, &event));
        }
        let rooms = company.rooms();
        let place = usize::try_from(number).unwrap_or(0) % rooms.len();
        let (event_type, event) = match number % 3 {
            0 => (
                "vc.room.updated_v1",
                json!({ "room": room_value(&rooms[place]) }),
            ),
            1 => (
                "vc.room.deleted_v1",
                json!({ "room": { "room_id": rooms[place].room_id } }),
            ),
            _ => (
                "vc.room_level.deleted_v1",
                json!({ "room_level_id": rooms[place].room_level_id, "delete_child": true }),
            ),
        };
        events.push(sent(sender, event_type, meeting.start, &meeting_id, &event));
    }
    events.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
    events
}

fn sent(
    sender: Sender<'_>,
    event_type: &'static str,
    at: Timestamp,
    of: &str,
    event: &Value,
) -> SentEvent {
    let draw = sender.draw.label(event_type).label(of);
    let id = draw.hex(32);
    // The pages show both lengths.
    let create_time = match draw.chance(0.5) {
        true => at.as_millisecond(),
        false => at.as_microsecond(),
    };
    let body = json!({
        "schema": "2.0",
        "header": {
            "event_id": id,
            "event_type": event_type,
            "create_time": create_time.to_string(),
            "token": sender.verification_token,
            "app_id": sender.app_id,
            "tenant_key": sender.tenant_key,
        },
        "event": event,
    });
    SentEvent {
        id,
        event_type,
        at,
        body: body.to_string(),
    }
}

fn meeting_value(meeting: &Meeting, id: &str, has_ended: bool) -> Value {
    let mut value = json!({
        "id": id,
        "topic": meeting.topic,
        "meeting_no": meeting.meeting_no,
        "meeting_source": match meeting.kind {
            MeetingKind::Video if meeting.is_recurring => 1,
            _ => 2,
        },
        "start_time": meeting.start.as_second().to_string(),
        "host_user": user(&meeting.organizer, 2),
        "owner": user(&meeting.organizer, 2),
        "security_setting": {
            "security_level": 2,
            "group_ids": [],
            "user_ids": [],
            "room_ids": [],
            "has_set_security_contacts_and_group": false,
        },
    });
    if has_ended {
        value["end_time"] = meeting.end.as_second().to_string().into();
    }
    if meeting.is_recurring {
        let of_calendar = format!("{id}_{}", meeting.start.as_second());
        value["calendar_event_id"] = of_calendar.into();
    }
    value
}

fn user(employee: &Arc<Employee>, role: u8) -> Value {
    json!({ "id": ids(employee), "user_role": role, "user_type": 1 })
}

fn ids(employee: &Employee) -> Value {
    json!({
        "union_id": employee.union_id,
        "user_id": employee.user_id,
        "open_id": employee.open_id,
    })
}

/// In events, people are objects of three ids where answers have one.
fn room_value(room: &Room) -> Value {
    let contacts: Vec<Value> = room.contacts.iter().map(|contact| ids(contact)).collect();
    json!({
        "room_id": room.room_id,
        "name": room.name,
        "capacity": room.capacity,
        "room_level_id": room.room_level_id,
        "path": room.path,
        "room_status": { "status": room.enabled, "contact_ids": contacts },
    })
}
