//! `room_level`: one row a level of the room hierarchy and day (resources, 2.2).
//!
//! The endpoint lists the children of one level. So the tree is walked from the tenant's root.

use super::listing::{DEPTH, IS_ROOT, Listed, Tree};
use super::{
    Ask, Dataset, Definition, Endpoint, Extent, Fetch, Lineage, Method, Parameters, Piece,
    Plausibility, Request, Tier, UserIdType,
};
use crate::column::{Column, ColumnKind, Derivation};

pub(super) const DEFINITION: Definition = Definition {
    name: "room_level",
    endpoint: Endpoint {
        name: "room_levels",
        method: Method::Get,
        path: "room_levels",
        tier: Tier::Four,
    },
    scopes: &["vc:rooms.roomlevel:read", "vc:room:readonly"],
    fetch: Fetch::Walk(
        Listed {
            list: "items",
            id: Some("room_level_id"),
            page_size: 100,
            secrets: &[],
            derive: |_| {},
            pivot: None,
            roles: None,
        },
        Tree {
            root: "0",
            root_item: "room_level",
            parent: "room_level_id",
            has_child: "has_child",
        },
    ),
    extent: Extent::Snapshot,
    ask: Ask::Windows(requests),
    parameters: |_| Parameters::default(),
    query: None,
    fuller: None,
    options: &[],
    user_id_type: UserIdType::UnionId,
    columns,
    partition_column: Some("snapshot_date"),
    sort_first: &[],
    time_columns: None,
    parent_columns: None,
    plausibility: Plausibility::None,
    provisional: None,
    early: None,
    job_file: include_str!("../../jobs/room_level.toml"),
};

fn requests(piece: &Piece<'_>) -> Vec<(Request, Lineage)> {
    let request = Request {
        snapshot_date: Some(piece.date),
        ..Request::of(Dataset::RoomLevel)
    };
    let lineage = Lineage {
        snapshot_date: Some(piece.date),
        ..Lineage::default()
    };
    vec![(request, lineage)]
}

fn columns() -> Vec<Column> {
    use ColumnKind::{Bool, Date, Id, SmallInteger, Text, TextList};
    vec![
        Column::new(
            "snapshot_date",
            Date,
            &[],
            "civil day, in the tenant's zone, on which the levels were listed",
        )
        .of_task()
        .required(),
        Column::new("room_level_id", Id, &["room_level_id"], "the level, `omb_…`").required(),
        Column::new("name", Text, &["name"], "name"),
        Column::new(
            "parent_level_id",
            Id,
            &["parent_id"],
            "the level above; what the root has is not documented",
        )
        .sparse(),
        Column::new(
            "custom_level_id",
            Text,
            &["custom_group_id"],
            "number that the company gave the level",
        )
        .sparse(),
        Column::new(
            "level_path",
            TextList,
            &["path"],
            "level ids as Feishu lists them; their order is not documented",
        ),
        Column::new("has_child", Bool, &["has_child"], "whether there are levels below"),
        Column::new("is_root", Bool, &[IS_ROOT], "whether it is the tenant itself"),
        Column::new("depth", SmallInteger, &[DEPTH], "steps from the root"),
        Column::new(
            "attributes_hash",
            Text,
            &[],
            "SHA-256 over the values before it that Feishu answered: equal hashes, equal values",
        )
        .derived(Derivation::AttributesHash),
    ]
}
