//! `room`: one row a meeting room and day (resources, 2.1).
//!
//! The endpoint answers with the rooms of now. So a day holds the rooms as they were when its
//! listing began.

use serde_json::{Map, Value};

use super::listing::Listed;
use super::request::USER_ID_TYPES;
use super::{
    Ask, Dataset, Definition, Endpoint, Extent, Fetch, Lineage, Method, Parameters, Piece,
    Plausibility, Request, RequestOption, Tier, UserIdType,
};
use crate::column::{Column, ColumnKind, Derivation};

pub(super) const DEFINITION: Definition = Definition {
    name: "room",
    endpoint: Endpoint {
        name: "rooms",
        method: Method::Get,
        path: "rooms",
        tier: Tier::Four,
    },
    scopes: SCOPES,
    fetch: Fetch::Pages(Listed {
        list: "rooms",
        id: Some("room_id"),
        page_size: 100,
        secrets: &[],
        derive: is_disabled_forever,
        pivot: None,
        roles: None,
    }),
    extent: Extent::Snapshot,
    ask: Ask::Windows(requests),
    parameters,
    query: None,
    fuller: None,
    options: &[RequestOption::UserIdType],
    // Needs no scope of its own and is the same for all apps of a developer (resources, 2).
    user_id_type: UserIdType::UnionId,
    columns,
    partition_column: Some("snapshot_date"),
    sort_first: &[],
    time_columns: None,
    parent_columns: None,
    plausibility: Plausibility::None,
    provisional: None,
    early: None,
    job_file: include_str!("../../jobs/room.toml"),
};

/// Scopes that list rooms and cannot change them (resources, 6.3).
pub(super) const SCOPES: &[&str] = &["vc:rooms.room.basicinfo:read", "vc:room:readonly"];

/// A snapshot is asked for by its day, so that each day is a task of its own.
fn requests(piece: &Piece<'_>) -> Vec<(Request, Lineage)> {
    let user_id_type = Some(piece.options.user_id_type);
    let request = Request {
        snapshot_date: Some(piece.date),
        user_id_type,
        ..Request::of(Dataset::Room)
    };
    let lineage = Lineage {
        snapshot_date: Some(piece.date),
        user_id_type,
        ..Lineage::default()
    };
    vec![(request, lineage)]
}

fn parameters(request: &Request) -> Parameters {
    Parameters::default().with("user_id_type", request.user_id_type.map(UserIdType::as_str))
}

/// Feishu says "for ever" as an end of 0 beside a start.
pub(super) fn is_disabled_forever(room: &mut Map<String, Value>) {
    let Some(Value::Object(status)) = room.get("room_status") else {
        return;
    };
    let second = |name| match status.get(name)? {
        Value::String(text) => text.parse::<i64>().ok(),
        number => number.as_i64(),
    };
    let starts = second("disable_start_time").is_some_and(|second| second > 0);
    let forever = starts && second("disable_end_time") == Some(0);
    room.insert(IS_DISABLED_FOREVER.to_owned(), forever.into());
}

const IS_DISABLED_FOREVER: &str = "(derived) is_disabled_forever";

fn columns() -> Vec<Column> {
    use ColumnKind::{Date, Id, SmallInteger, Text, TextList};
    let before = vec![
        Column::new(
            "snapshot_date",
            Date,
            &[],
            "civil day, in the tenant's zone, on which the rooms were listed",
        )
        .of_task()
        .required(),
        Column::new("room_id", Id, &["room_id"], "the room, `omm_…`").required(),
        Column::new("name", Text, &["name"], "name; not unique"),
        Column::new("capacity", SmallInteger, &["capacity"], "seats"),
        Column::new("description", Text, &["description"], "free text").sparse(),
        Column::new("display_id", Text, &["display_id"], "number on the door, `LM…`"),
        Column::new(
            "custom_room_id",
            Text,
            &["custom_room_id"],
            "number that the company gave the room",
        )
        .sparse(),
        Column::new(
            "room_level_id",
            Id,
            &["room_level_id"],
            "level that owns the room, `omb_…`",
        ),
        Column::new(
            "level_path",
            TextList,
            &["path"],
            "level ids as Feishu lists them; their order is not documented, so derive ancestry \
             from `room_level.parent_level_id`",
        ),
    ];
    let after = vec![
        Column::new("devices", TextList, &["device[].name"], "names of its devices").sparse(),
        Column::new(
            "attributes_hash",
            Text,
            &[],
            "SHA-256 over the values before it that Feishu answered: equal hashes, equal values",
        )
        .derived(Derivation::AttributesHash),
    ];
    before.into_iter().chain(status_columns()).chain(after).collect()
}

/// What is said of a room's status, wherever it is said.
pub(super) fn status_columns() -> Vec<Column> {
    use ColumnKind::{Bool, Enum, Text, TextList, UnixTime};
    vec![
        Column::new(
            "is_enabled",
            Bool,
            &["room_status.status"],
            "whether the room can be booked",
        ),
        Column::new(
            "is_enabled_later",
            Bool,
            &["room_status.schedule_status"],
            "the state that a schedule will set",
        )
        .sparse(),
        Column::new(
            "disable_start_time",
            UnixTime,
            &["room_status.disable_start_time"],
            "from when the room is disabled",
        )
        .sparse(),
        Column::new(
            "disable_end_time",
            UnixTime,
            &["room_status.disable_end_time"],
            "until when; null also if for ever",
        )
        .sparse(),
        Column::new(
            "is_disabled_forever",
            Bool,
            &[IS_DISABLED_FOREVER],
            "whether it is disabled without an end",
        )
        .sparse(),
        Column::new(
            "disable_reason",
            Text,
            &["room_status.disable_reason"],
            "free text",
        )
        .personal()
        .sparse(),
        Column::new(
            "contact_ids",
            TextList,
            &["room_status.contact_ids"],
            "users to ask while it is disabled",
        )
        .personal()
        .sparse(),
        Column::new(
            "contact_id_type",
            Enum(USER_ID_TYPES),
            &[],
            "kind of `contact_ids`",
        )
        .of_task_field("user_id_type"),
        Column::new(
            "notifies_on_disable",
            Bool,
            &["room_status.disable_notice"],
            "whether people are told when it is disabled",
        )
        .sparse(),
        Column::new(
            "notifies_on_resume",
            Bool,
            &["room_status.resume_notice"],
            "whether people are told when it can be booked again",
        )
        .sparse(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn for_ever_is_an_end_of_0_beside_a_start() {
        for (start, end, forever) in [
            (json!("1735660800"), json!("0"), json!(true)),
            (json!(1735660800), json!(0), json!(true)),
            (json!("1735660800"), json!("1735747200"), json!(false)),
            (json!("0"), json!("0"), json!(false)),
            (json!(""), json!("0"), json!(false)),
            (json!("1735660800"), json!(""), json!(false)),
            (json!(null), json!(null), json!(false)),
        ] {
            let status = json!({ "disable_start_time": start, "disable_end_time": end });
            let mut room = Map::from_iter([("room_status".to_owned(), status)]);
            is_disabled_forever(&mut room);
            let found = room.get(IS_DISABLED_FOREVER).cloned().unwrap_or_default();
            assert_eq!(found, forever, "{room:?}");
        }
        let mut unknown = Map::new();
        is_disabled_forever(&mut unknown);
        assert!(unknown.is_empty(), "without a status nothing is known");
    }
}
