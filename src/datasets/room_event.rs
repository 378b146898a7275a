//! `room_event`: one row an event of a room, a level of rooms, or a limit of their reservation
//! (resources, 2.9; API reference, 7.2).
//!
//! A level that is deleted with its children deletes rooms of which no event tells: only the next
//! snapshot does.

use serde_json::{Map, Value};

use super::Definition;
use super::event;
use crate::column::{Column, ColumnKind, EnumValue};

pub(super) const DEFINITION: Definition = event::definition(
    "room_event",
    "room_events",
    &["vc:room:readonly"],
    takes,
    level,
    columns,
    include_str!("../../jobs/room_event.toml"),
);

pub(super) fn takes(event_type: &str) -> bool {
    ["vc.room.", "vc.room_level.", "vc.reserve_config."]
        .iter()
        .any(|service| event_type.starts_with(service))
}

/// The three kinds of events that name a level do so in three places.
fn level(row: &mut Map<String, Value>) {
    let Some(event) = row.get("event") else {
        return;
    };
    let places = ["/room_level/room_level_id", "/room_level_id", "/room/room_level_id"];
    let level = places.iter().find_map(|place| event.pointer(place));
    if let Some(level) = level.cloned() {
        row.insert(ROOM_LEVEL_ID.to_owned(), level);
    }
}

const ROOM_LEVEL_ID: &str = "(derived) room_level_id";

const SCOPE_TYPES: &[EnumValue] = &[
    EnumValue {
        value: "level",
        texts: &["1"],
    },
    EnumValue {
        value: "room",
        texts: &["2"],
    },
];

fn columns() -> Vec<Column> {
    use ColumnKind::{Bool, Enum, Id};
    let mut columns = event::header_columns();
    columns.extend([
        Column::new(
            "room_id",
            Id,
            &["event.room.room_id"],
            "the room, `omm_…`; null if it is about a level or a limit",
        )
        .sparse(),
        Column::new(
            "room_level_id",
            Id,
            &[ROOM_LEVEL_ID],
            "the level, `omb_…`; of a room the one that owns it",
        )
        .sparse(),
        Column::new(
            "scope_type",
            Enum(SCOPE_TYPES),
            &["event.scope_type"],
            "what a limit of reservations is about",
        )
        .sparse(),
        Column::new(
            "scope_id",
            Id,
            &["event.scope_id"],
            "the room or level that a limit of reservations is about",
        )
        .sparse(),
        Column::new(
            "deletes_children",
            Bool,
            &["event.delete_child"],
            "whether what is below a deleted level is deleted too, without events of its own",
        )
        .sparse(),
        event::payload_column(),
    ]);
    columns
}
