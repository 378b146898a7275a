//! What the configurations of rooms and of room levels share: which nodes there are, and how a row
//! says which one it is of.

use serde_json::{Map, Value};

use super::listing::Node;
use super::request::USER_ID_TYPES;
use super::{Dataset, Lineage, Parameters, Piece, Request, UserIdType};
use crate::column::{Column, ColumnKind, Derivation, EnumValue};

/// Every room and every level has a configuration of its own.
pub(super) const NODES: &[Dataset] = &[Dataset::RoomLevel, Dataset::Room];

/// What a node is, by its number on the wire (resources, 2.3).
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

/// A snapshot is asked for by its day, so that each day is a task of its own.
pub(super) fn snapshot(dataset: Dataset, piece: &Piece<'_>) -> (Request, Lineage) {
    let user_id_type = Some(piece.options.user_id_type);
    let request = Request {
        snapshot_date: Some(piece.date),
        user_id_type,
        ..Request::of(dataset)
    };
    let lineage = Lineage {
        snapshot_date: Some(piece.date),
        user_id_type,
        ..Lineage::default()
    };
    (request, lineage)
}

/// What every call of a request sends.
pub(super) fn parameters(request: &Request) -> Parameters {
    Parameters::default().with("user_id_type", request.user_id_type.map(UserIdType::as_str))
}

/// The node's number on the wire.
fn scope_type(node: &Node) -> &'static str {
    match node.of {
        Dataset::RoomLevel => "1",
        _ => "2",
    }
}

/// A call that names the node in the path.
pub(super) fn by_path(node: &Node) -> Parameters {
    Parameters {
        segment: Some(node.id.clone()),
        ..Parameters::default().with("scope_type", Some(scope_type(node)))
    }
}

/// A call that names the node among the parameters.
pub(super) fn by_query(node: &Node) -> Parameters {
    Parameters::default()
        .with("scope_type", Some(scope_type(node)))
        .with("scope_id", Some(&node.id))
}

/// The beginning of each row of a node.
pub(super) fn row_of(node: &Node) -> Map<String, Value> {
    Map::from_iter([
        (SCOPE_TYPE.to_owned(), scope_type(node).into()),
        (SCOPE_ID.to_owned(), node.id.clone().into()),
    ])
}

const SCOPE_TYPE: &str = "(node) scope_type";
const SCOPE_ID: &str = "(node) scope_id";

/// The columns that say when and of what.
pub(super) fn key_columns() -> [Column; 3] {
    use ColumnKind::{Date, Enum, Id};
    [
        Column::new(
            "snapshot_date",
            Date,
            &[],
            "civil day, in the tenant's zone, on which the rooms and levels were listed",
        )
        .of_task()
        .required(),
        Column::new(
            "scope_type",
            Enum(SCOPE_TYPES),
            &[SCOPE_TYPE],
            "whether it is of a room or of a level",
        )
        .required(),
        Column::new(
            "scope_id",
            Id,
            &[SCOPE_ID],
            "the room, `omm_…`, or the level, `omb_…`: `room.room_id` or `room_level.room_level_id`",
        )
        .required(),
    ]
}

/// The kind of all ids of users in a row.
pub(super) fn user_id_type_column(name: &str, doc: &'static str) -> Column {
    Column::new(name, ColumnKind::Enum(USER_ID_TYPES), &[], doc).of_task_field("user_id_type")
}

/// The digest of what stands before it.
pub(super) fn hash_column() -> Column {
    Column::new(
        "attributes_hash",
        ColumnKind::Text,
        &[],
        "SHA-256 over the values before it that Feishu answered: equal hashes, equal values",
    )
    .derived(Derivation::AttributesHash)
}

/// A value as JSON with sorted members, which reads the same whenever it is the same.
pub(super) fn canonical(value: &Value) -> Value {
    value.to_string().into()
}

/// A whole number that is written as a number or as a text.
pub(super) fn whole(value: Option<&Value>) -> Option<i64> {
    super::listing::text(value)?.parse().ok()
}
