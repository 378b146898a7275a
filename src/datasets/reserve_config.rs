//! `reserve_config`: how each room and each level may be reserved, one row a node and day
//! (resources, 2.4).
//!
//! Four calls for each node, of which each allows 100 a minute: so it is off unless a job is
//! switched on. What one of them does not tell of a node is named in `missing_parts`.

use serde_json::{Map, Value};

use super::listing::{CodeMeans, Error, Node, NodeCall, Nodes, Told};
use super::room::SCOPES;
use super::room_node::{
    NODES, by_path, by_query, canonical, hash_column, key_columns, parameters, row_of, snapshot,
    user_id_type_column, whole,
};
use super::{
    Ask, Dataset, Definition, Endpoint, Extent, Fetch, Method, Plausibility, RequestOption, Tier,
    UserIdType,
};
use crate::column::{Column, ColumnKind, EnumValue};

pub(super) const DEFINITION: Definition = Definition {
    name: "reserve_config",
    endpoint: endpoint("reserve_scope", "reserve_configs/reserve_scope"),
    scopes: SCOPES,
    fetch: Fetch::Nodes(Nodes {
        of: NODES,
        calls: &[
            NodeCall {
                endpoint: endpoint("reserve_scope", "reserve_configs/reserve_scope"),
                parameters: by_query,
                codes: COMMON,
                is_made: |_| true,
            },
            NodeCall {
                endpoint: endpoint("reserve_form", "reserve_configs/:scope_id/form"),
                parameters: by_path,
                codes: OF_FORM,
                is_made: |_| true,
            },
            NodeCall {
                endpoint: endpoint("reserve_admin", "reserve_configs/:scope_id/admin"),
                parameters: by_path,
                codes: OF_ADMIN,
                is_made: |_| true,
            },
            NodeCall {
                endpoint: endpoint(
                    "reserve_disable_inform",
                    "reserve_configs/:scope_id/disable_inform",
                ),
                parameters: by_path,
                codes: COMMON,
                is_made: |_| true,
            },
        ],
        rows,
        secrets: &[],
    }),
    extent: Extent::Snapshot,
    ask: Ask::Windows(|piece| vec![snapshot(Dataset::ReserveConfig, piece)]),
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
    job_file: include_str!("../../jobs/reserve_config.toml"),
};

const fn endpoint(name: &'static str, path: &'static str) -> Endpoint {
    Endpoint {
        name,
        method: Method::Get,
        path,
        tier: Tier::Three,
    }
}

/// The node was listed a moment ago, and is there no more (126001 says it of every unknown id).
/// What is refused for one node alone is missing of that node.
const COMMON: &[(i64, CodeMeans)] = &[
    (126001, CodeMeans::Gone),
    (121004, CodeMeans::Gone),
    (121002, CodeMeans::Withheld),
    (121003, CodeMeans::Withheld),
    (121005, CodeMeans::Withheld),
];

const OF_FORM: &[(i64, CodeMeans)] = &[
    COMMON[0],
    COMMON[1],
    COMMON[2],
    COMMON[3],
    COMMON[4],
    // There is no form.
    (126002, CodeMeans::Nothing),
];

const OF_ADMIN: &[(i64, CodeMeans)] = &[
    COMMON[0],
    COMMON[1],
    COMMON[2],
    COMMON[3],
    COMMON[4],
    // The tenant's edition is too small.
    (125002, CodeMeans::NotOffered),
];

/// What the four calls tell, in their order.
const PARTS: [&str; 4] = ["scope", "form", "admin", "disable_inform"];

fn rows(node: &Node, told: &[Told]) -> Result<Vec<Map<String, Value>>, Error> {
    let mut row = row_of(node);
    let mut missing: Vec<Value> = Vec::new();
    for (part, told) in PARTS.into_iter().zip(told) {
        match told {
            Told::Data(data) => row.extend(data.clone()),
            Told::Nothing => {}
            Told::Withheld => missing.push(part.into()),
        }
        if part == "form" && *told != Told::Withheld {
            let has_form = matches!(told, Told::Data(_));
            row.insert(HAS_FORM.to_owned(), has_form.into());
        }
    }
    row.insert(MISSING_PARTS.to_owned(), missing.into());
    if let Some(Value::Object(form)) = row.get_mut("reserve_form_config") {
        derive_form(form);
    }
    Ok(vec![row])
}

const HAS_FORM: &str = "(derived) has_form";
const MISSING_PARTS: &str = "(derived) missing_parts";

/// Says how long before a meeting people are told of a form in minutes, and the form's questions as
/// they came.
fn derive_form(form: &mut Map<String, Value>) {
    // Days, unless it says otherwise.
    let minutes = match whole(form.get("time_unit")) {
        Some(1) => Some(1),
        Some(2) => Some(60),
        Some(3) | None => Some(1_440),
        Some(_) => None,
    };
    let time = whole(form.get("notified_time"));
    if let Some(total) = time.zip(minutes).and_then(|(time, unit)| time.checked_mul(unit)) {
        form.remove("notified_time");
        form.remove("time_unit");
        form.insert("(derived) notify_before_min".to_owned(), total.into());
    }
    if let Some(Value::Array(questions)) = form.get("custom_list")
        && !questions.is_empty()
    {
        let questions = canonical(&Value::from(questions.clone()));
        form.remove("custom_list");
        form.insert("(derived) questions".to_owned(), questions);
    }
}

const CONDITIONS: &[EnumValue] = &[
    EnumValue {
        value: "all",
        texts: &["0"],
    },
    EnumValue {
        value: "longer_than",
        texts: &["1"],
    },
];

fn columns() -> Vec<Column> {
    use ColumnKind::{Bool, Enum, Hours, Integer, SmallInteger, Text, TextList};
    let column = |name, kind, header: &str, doc| Column::new(name, kind, &[header], doc).sparse();
    let limits = [
        column(
            "is_approval_required",
            Bool,
            "approve_config.approval_switch",
            "whether somebody has to approve",
        ),
        column(
            "approval_condition",
            Enum(CONDITIONS),
            "approve_config.approval_condition",
            "which reservations have to be approved",
        ),
        column(
            "approval_over_hours",
            Hours,
            "approve_config.meeting_duration",
            "longer ones than this, hours, if the condition is `longer_than`",
        ),
        column(
            "approver_ids",
            TextList,
            "approve_config.approvers[].user_id",
            "who approves",
        )
        .personal(),
        column(
            "approver_names",
            TextList,
            "approve_config.approvers[].user_name",
            "their names, in the same order",
        )
        .personal(),
        column(
            "time_covers_children",
            Bool,
            "time_config.if_cover_child_scope",
            "whether the times are set for everything below too",
        ),
        column(
            "is_time_limited",
            Bool,
            "time_config.time_switch",
            "whether times are limited at all",
        ),
        column(
            "days_in_advance",
            SmallInteger,
            "time_config.days_in_advance",
            "how many days ahead it can be reserved, 1 to 730",
        ),
        column(
            "opening_second",
            SmallInteger,
            "time_config.opening_hour",
            "second of the day from which the newest day can be reserved",
        ),
        column(
            "first_second",
            SmallInteger,
            "time_config.start_time",
            "first second of the day that can be reserved",
        ),
        column(
            "last_second",
            SmallInteger,
            "time_config.end_time",
            "second of the day at which the last reservation ends",
        ),
        column(
            "max_duration_hours",
            SmallInteger,
            "time_config.max_duration",
            "longest reservation, hours, 1 to 99",
        ),
        column(
            "scope_covers_children",
            Bool,
            "reserve_scope_config.if_cover_child_scope",
            "whether who may reserve is set for everything below too",
        ),
        column(
            "allows_all_users",
            Bool,
            "reserve_scope_config.allow_all_users",
            "whether everybody may reserve",
        ),
        column(
            "allowed_user_ids",
            TextList,
            "reserve_scope_config.allow_users[].user_id",
            "who may reserve, if not everybody",
        )
        .personal(),
        column(
            "allowed_department_ids",
            TextList,
            "reserve_scope_config.allow_depts[].department_id",
            "whose people may reserve, always `open_department_id`",
        ),
    ];
    let forms = [
        column("has_form", Bool, HAS_FORM, "whether there is a form to fill in"),
        column(
            "is_form_enabled",
            Bool,
            "reserve_form_config.reserve_form",
            "whether the form is used",
        ),
        column(
            "form_covers_children",
            Bool,
            "reserve_form_config.if_cover_child_scope",
            "whether it is set for everything below too",
        ),
        column(
            "form_notified_user_ids",
            TextList,
            "reserve_form_config.notified_users[].user_id",
            "who is told of filled-in forms",
        )
        .personal(),
        column(
            "form_notify_before_min",
            Integer,
            "reserve_form_config.(derived) notify_before_min",
            "how long before a meeting they are told, minutes",
        ),
        column(
            "form_questions",
            Text,
            "reserve_form_config.(derived) questions",
            "the form's questions as a JSON list of objects: `custom_type`, `key`, `need_fill`, \
             `title`, `placeholder`, `options`, `conditions`",
        ),
    ];
    let people = [
        column(
            "admin_user_ids",
            TextList,
            "reserve_admin_config.users[].user_id",
            "who looks after it",
        )
        .personal(),
        column(
            "admin_department_ids",
            TextList,
            "reserve_admin_config.depts[].department_id",
            "whose people look after it",
        ),
        column(
            "inform_covers_children",
            Bool,
            "disable_inform.if_cover_child_scope",
            "whether the notice is set for everything below too",
        ),
        column(
            "is_inform_enabled",
            Bool,
            "disable_inform.if_inform",
            "whether people are told when a room is disabled",
        ),
        column(
            "informed_user_ids",
            TextList,
            "disable_inform.informed_users[].user_id",
            "who is told",
        )
        .personal(),
        column(
            "informed_department_ids",
            TextList,
            "disable_inform.informed_depts[].department_id",
            "whose people are told",
        ),
        column(
            "missing_parts",
            TextList,
            MISSING_PARTS,
            "what Feishu did not tell of this node: `scope`, `form`, `admin`, `disable_inform`; \
             their columns are null because they are not known",
        ),
    ];
    key_columns()
        .into_iter()
        .chain(limits)
        .chain(forms)
        .chain(people)
        .chain([
            user_id_type_column("user_id_type", "kind of all ids of users in the row"),
            hash_column(),
        ])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(told: &[Told]) -> Map<String, Value> {
        let node = Node {
            of: Dataset::RoomLevel,
            id: "omb_1".to_owned(),
        };
        rows(&node, told).expect("a row").remove(0)
    }

    fn data(data: Value) -> Told {
        Told::Data(data.as_object().expect("an object").clone())
    }

    #[test]
    fn a_part_that_is_not_told_is_named_and_no_form_is_none() {
        let there = || data(json!({}));
        for (told, has_form, missing) in [
            ([there(), there(), there(), there()], json!(true), json!([])),
            ([there(), Told::Nothing, there(), there()], json!(false), json!([])),
            (
                [there(), Told::Withheld, Told::Withheld, there()],
                json!(null),
                json!(["form", "admin"]),
            ),
            (
                [Told::Withheld, there(), there(), Told::Withheld],
                json!(true),
                json!(["scope", "disable_inform"]),
            ),
        ] {
            let row = row(&told);
            assert_eq!(row.get(HAS_FORM).cloned().unwrap_or_default(), has_form);
            assert_eq!(row[MISSING_PARTS], missing);
            assert_eq!(row["(node) scope_type"], "1");
        }
    }

    #[test]
    fn the_time_of_a_notice_is_in_minutes() {
        for (time, unit, minutes) in [
            (json!(3), json!(1), json!(3)),
            (json!(3), json!(2), json!(180)),
            (json!(3), json!(3), json!(4_320)),
            (json!("3"), json!(null), json!(4_320)),
            (json!(3), json!(4), json!(null)),
            (json!(null), json!(1), json!(null)),
            (json!(i64::MAX), json!(3), json!(null)),
        ] {
            let form = json!({ "notified_time": time, "time_unit": unit });
            let mut form = form.as_object().expect("an object").clone();
            derive_form(&mut form);
            let found = form.get("(derived) notify_before_min").cloned().unwrap_or_default();
            assert_eq!(found, minutes, "{form:?}");
            assert_eq!(form.contains_key("time_unit"), minutes.is_null());
        }
        let mut form = Map::from_iter([("custom_list".to_owned(), json!([{ "title": "b", "key": 1 }]))]);
        derive_form(&mut form);
        assert_eq!(form["(derived) questions"], r#"[{"key":1,"title":"b"}]"#);
    }
}
