//! `room_config`: what is set for each room and each level, two rows a node and day (resources,
//! 2.3): its own values, and those that hold for it.
//!
//! One call for each node: so it is off unless a job is switched on.

use serde_json::{Map, Value, json};

use super::listing::{CodeMeans, Error, Node, NodeCall, Nodes, Told, text};
use super::room::{SCOPES, is_disabled_forever, status_columns};
use super::room_node::{
    NODES, by_query, canonical, hash_column, key_columns, parameters, row_of, snapshot, whole,
};
use super::{
    Ask, Dataset, Definition, Endpoint, Extent, Fetch, Method, Plausibility, RequestOption, Tier,
    UserIdType,
};
use crate::column::{Column, ColumnKind};

pub(super) const DEFINITION: Definition = Definition {
    name: "room_config",
    endpoint: ENDPOINT,
    scopes: SCOPES,
    fetch: Fetch::Nodes(Nodes {
        of: NODES,
        calls: &[NodeCall {
            endpoint: ENDPOINT,
            parameters: by_query,
            // It was listed a moment ago, and is not there any more.
            codes: &[(NO_NODE, CodeMeans::Gone)],
            is_made: |_| true,
        }],
        rows,
        secrets: &[],
    }),
    extent: Extent::Snapshot,
    ask: Ask::Windows(|piece| vec![snapshot(Dataset::RoomConfig, piece)]),
    parameters,
    query: None,
    fuller: None,
    options: &[RequestOption::UserIdType],
    user_id_type: UserIdType::UnionId,
    columns,
    partition_column: Some("snapshot_date"),
    sort_first: &[],
    time_columns: None,
    parent_columns: None,
    plausibility: Plausibility::None,
    provisional: None,
    early: None,
    job_file: include_str!("../../jobs/room_config.toml"),
};

const ENDPOINT: Endpoint = Endpoint {
    name: "scope_config",
    method: Method::Get,
    path: "scope_config",
    tier: Tier::Four,
};

const NO_NODE: i64 = 121004;

/// The node's own values, if it has any, and those that hold for it. An answer names the values of
/// every level above as well, which are those levels' own rows.
fn rows(node: &Node, told: &[Told]) -> Result<Vec<Map<String, Value>>, Error> {
    let [Told::Data(data)] = told else {
        return Ok(Vec::new());
    };
    let garbled = |why: &str| Error::Garbled(why.to_owned());
    let origins = match data.get("origin_configs") {
        None | Some(Value::Null) => &[][..],
        Some(Value::Array(origins)) => origins,
        Some(_) => return Err(garbled("`origin_configs` is no list")),
    };
    let effective = match data.get("current_config") {
        Some(Value::Object(config)) => config.clone(),
        None | Some(Value::Null) if origins.is_empty() => Map::new(),
        _ => return Err(garbled("an answer has no object `current_config`")),
    };
    // What holds for a node is its own or a level's above it, never another room's.
    let is_of_another = |config: &Map<String, Value>| {
        let id = text(config.get("scope_id"));
        id.is_some_and(|id| id.starts_with("omm_") && id != node.id)
    };
    let mut above = origins.iter().filter_map(Value::as_object);
    let is_wrong = is_of_another(&effective) || above.any(is_of_another);
    if is_wrong && !node.id.is_empty() {
        return Err(garbled("an answer has the configuration of another room"));
    }
    let is_own = |config: &&Map<String, Value>| {
        text(config.get("scope_id")).is_some_and(|id| id == node.id)
    };
    let own = origins.first().and_then(Value::as_object).filter(is_own);
    let own = own.cloned().map(|config| (config, false));
    let both = own.into_iter().chain([(effective, true)]);
    Ok(both.map(|(config, is_effective)| row(node, config, is_effective)).collect())
}

fn row(node: &Node, mut config: Map<String, Value>, is_effective: bool) -> Map<String, Value> {
    // Which node it is of is known from the call.
    config.remove("scope_type");
    config.remove("scope_id");
    let mut row = row_of(node);
    if let Some(Value::Object(values)) = config.remove("scope_config") {
        row.extend(values);
    }
    row.extend(config);
    row.insert(IS_EFFECTIVE.to_owned(), is_effective.into());
    is_disabled_forever(&mut row);
    for signage in [SIGNAGE, BOX_SIGNAGE] {
        tell_materials(&mut row, signage);
    }
    row
}

/// What is shown on the screens of a room.
const SIGNAGE: &str = "digital_signage";
/// What is shown by its casting box.
const BOX_SIGNAGE: &str = "room_box_digital_signage";
const IS_EFFECTIVE: &str = "(derived) is_effective";

/// Tells what is shown apart from its addresses, which may be others at every call.
fn tell_materials(row: &mut Map<String, Value>, signage: &str) {
    let Some(Value::Object(members)) = row.get_mut(signage) else {
        return;
    };
    let Some(materials) = members.get("materials").and_then(Value::as_array) else {
        return;
    };
    let materials: Option<Vec<_>> = materials.iter().map(Value::as_object).collect();
    let Some(materials) = materials.filter(|materials| !materials.is_empty()) else {
        return;
    };
    let of = |name: &str| -> Vec<Value> {
        let values = materials.iter().map(|material| material.get(name));
        values.map(|value| value.cloned().unwrap_or_default()).collect()
    };
    let (urls, covers) = (of("url"), of("cover"));
    let told: Vec<Value> = materials.iter().map(|material| told_of(material)).collect();
    let told = canonical(&told.into());
    members.remove("materials");
    members.insert("(derived) materials".to_owned(), told);
    members.insert("(derived) urls".to_owned(), urls.into());
    members.insert("(derived) covers".to_owned(), covers.into());
}

/// A material without its addresses, in words and with units. What does not fit stays as it came.
fn told_of(material: &Map<String, Value>) -> Value {
    let mut told = material.clone();
    told.remove("url");
    told.remove("cover");
    let kind = match whole(told.get("material_type")) {
        Some(1) => Some("image"),
        Some(2) => Some("video"),
        Some(3) => Some("gif"),
        _ => None,
    };
    for (name, to, value) in [
        ("material_type", "type", kind.map(Value::from)),
        ("duration", "duration_s", whole(told.get("duration")).map(Value::from)),
        ("size", "size_bytes", whole(told.get("size")).map(Value::from)),
    ] {
        if let Some(value) = value {
            told.remove(name);
            told.insert(to.to_owned(), value);
        }
    }
    json!(told)
}

fn columns() -> Vec<Column> {
    use ColumnKind::{Bool, Text, TextList};
    let is_effective = Column::new(
        "is_effective",
        Bool,
        &[IS_EFFECTIVE],
        "false: what is set for the node itself; true: what holds for it, its own or else that of \
         the nearest level above",
    )
    .required();
    let hashed = key_columns()
        .into_iter()
        .chain([is_effective])
        .chain(signage_columns())
        .chain(status_columns())
        .chain([hash_column()]);
    // Addresses may be signed anew at every call. So they stand behind the hash.
    let url = |name, header: &str, doc| Column::new(name, Text, &[header], doc).sparse();
    let urls = |name, header: &str, doc| Column::new(name, TextList, &[header], doc).sparse();
    let addresses = [
        url("room_background_url", "room_background", "picture behind the room's screen"),
        url(
            "check_in_board_background_url",
            "display_background",
            "picture on the check-in board",
        ),
        urls(
            "signage_material_urls",
            "digital_signage.(derived) urls",
            "where `signage_materials` are, in their order",
        ),
        urls(
            "signage_cover_urls",
            "digital_signage.(derived) covers",
            "where their covers are, in their order",
        ),
        urls(
            "box_signage_material_urls",
            "room_box_digital_signage.(derived) urls",
            "where `box_signage_materials` are, in their order",
        ),
        urls(
            "box_signage_cover_urls",
            "room_box_digital_signage.(derived) covers",
            "where their covers are, in their order",
        ),
    ];
    hashed.chain(addresses).collect()
}

/// The columns of what is shown while nobody meets, on screens and by casting boxes.
fn signage_columns() -> Vec<Column> {
    use ColumnKind::{Bool, SmallInteger, Text};
    let column = |name, kind, header: &str, doc| Column::new(name, kind, &[header], doc).sparse();
    vec![
        column(
            "is_signage_enabled",
            Bool,
            "digital_signage.enable",
            "whether screens show something while nobody meets",
        ),
        column(
            "signage_covers_children",
            Bool,
            "digital_signage.if_cover_child_scope",
            "whether it is set for everything below too",
        ),
        column("is_signage_muted", Bool, "digital_signage.mute", "whether it is silent"),
        column(
            "signage_start_after_meeting_min",
            SmallInteger,
            "digital_signage.start_display",
            "minutes after a meeting's end until it starts, 1 to 720",
        ),
        column(
            "signage_stop_before_meeting_min",
            SmallInteger,
            "digital_signage.stop_display",
            "minutes before a meeting at which it stops, 1 to 720",
        ),
        column(
            "signage_materials",
            Text,
            "digital_signage.(derived) materials",
            "what is shown: a JSON list of objects with `id`, `name`, `type` (image, video, gif), \
             `duration_s`, `size_bytes`, `md5`, `vid`",
        ),
        column(
            "is_box_signage_enabled",
            Bool,
            "room_box_digital_signage.enable",
            "whether casting boxes show something while nobody meets",
        ),
        column(
            "box_signage_covers_children",
            Bool,
            "room_box_digital_signage.if_cover_child_scope",
            "whether it is set for everything below too",
        ),
        column(
            "is_box_signage_muted",
            Bool,
            "room_box_digital_signage.mute",
            "whether it is silent",
        ),
        column(
            "box_signage_start_after_meeting_min",
            SmallInteger,
            "room_box_digital_signage.start_display",
            "minutes; Feishu documents no meaning for casting boxes",
        ),
        column(
            "box_signage_stop_before_meeting_min",
            SmallInteger,
            "room_box_digital_signage.stop_display",
            "minutes; Feishu documents no meaning for casting boxes",
        ),
        column(
            "box_signage_materials",
            Text,
            "room_box_digital_signage.(derived) materials",
            "what casting boxes show, as `signage_materials`",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> Node {
        Node {
            of: Dataset::Room,
            id: "omm_1".to_owned(),
        }
    }

    fn rows_of(data: Value) -> Result<Vec<Map<String, Value>>, Error> {
        let Value::Object(data) = data else {
            unreachable!("an object")
        };
        rows(&node(), &[Told::Data(data)])
    }

    #[test]
    fn a_node_has_what_holds_for_it_and_what_is_its_own_if_there_is_any() {
        let config = |id: &str| json!({ "scope_type": 2, "scope_id": id, "scope_config": {} });
        for (data, effective) in [
            (json!({}), vec![true]),
            (json!({ "current_config": config("omm_1") }), vec![true]),
            (
                json!({ "current_config": config("omm_1"), "origin_configs": [config("omm_1"), config("omb_1")] }),
                vec![false, true],
            ),
            // Nothing is set here: the first one is a level's.
            (
                json!({ "current_config": config("omm_1"), "origin_configs": [config("omb_1")] }),
                vec![true],
            ),
        ] {
            let rows = rows_of(data.clone()).expect("rows");
            let found: Vec<_> = rows.iter().map(|row| row[IS_EFFECTIVE].clone()).collect();
            assert_eq!(found, effective, "{data}");
            assert!(rows.iter().all(|row| row["(node) scope_id"] == "omm_1"));
        }
        for garbled in [
            json!({ "origin_configs": {} }),
            json!({ "origin_configs": [config("omm_1")] }),
            json!({ "current_config": [] }),
            json!({ "current_config": config("omm_2") }),
            json!({ "current_config": config("omm_1"), "origin_configs": [config("omm_2")] }),
        ] {
            assert!(rows_of(garbled.clone()).is_err(), "{garbled}");
        }
    }

    #[test]
    fn what_is_shown_is_told_apart_from_where_it_is() {
        let materials = json!([
            { "id": "7", "name": "a", "material_type": 2, "url": "https://a/1?sign=x", "duration": 30,
              "cover": "https://a/2", "md5": "m", "vid": "v", "size": "123456789012" },
            { "id": "8", "material_type": 9, "new": 1 },
        ]);
        let signage = json!({ "enable": true, "materials": materials });
        let data = json!({ "current_config": { "scope_config": { "digital_signage": signage } } });
        let rows = rows_of(data).expect("rows");
        let signage = &rows[0]["digital_signage"];
        assert_eq!(
            signage["(derived) materials"],
            r#"[{"duration_s":30,"id":"7","md5":"m","name":"a","size_bytes":123456789012,"type":"video","vid":"v"},{"id":"8","material_type":9,"new":1}]"#
        );
        assert_eq!(signage["(derived) urls"], json!(["https://a/1?sign=x", null]));
        assert_eq!(signage["(derived) covers"], json!(["https://a/2", null]));
        assert_eq!(signage.get("materials"), None);
    }

    /// Addresses that are signed anew would make every day look changed.
    #[test]
    fn no_address_is_part_of_the_hash() {
        let names: Vec<String> = columns().into_iter().map(|column| column.name).collect();
        let (hashed, behind) = names.split_at(
            names.iter().position(|name| name == "attributes_hash").expect("a hash"),
        );
        assert!(hashed.iter().all(|name| !name.ends_with("url") && !name.ends_with("urls")));
        assert_eq!(behind.len(), 7);
    }
}
