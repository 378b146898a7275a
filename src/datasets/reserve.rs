//! `reserve`: one row a reservation and day (resources, 2.7).
//!
//! Feishu lists reservations nowhere: who made one keeps its id. So the job names a file of ids.

use serde_json::{Map, Value};

use super::listing::{CodeMeans, Error, Node, NodeCall, Nodes, Told, text};
use super::request::USER_TYPES;
use super::room_node::{canonical, parameters as of_users, snapshot, user_id_type_column, whole};
use super::{
    Ask, Asked, Dataset, Definition, Endpoint, Extent, Fetch, Lineage, Method, Parameters, Piece,
    Plausibility, Request, RequestOption, Tier, UserIdType,
};
use crate::column::{Column, ColumnKind, EnumValue};

pub(super) const DEFINITION: Definition = Definition {
    name: "reserve",
    endpoint: RESERVE,
    scopes: &["vc:reserve:readonly"],
    fetch: Fetch::Nodes(Nodes {
        of: &[],
        calls: &[
            NodeCall {
                endpoint: RESERVE,
                parameters: by_id,
                codes: &[(NOT_FOUND, CodeMeans::Gone)],
                is_made: |_| true,
            },
            NodeCall {
                endpoint: Endpoint {
                    name: "reserve_active_meeting",
                    path: "reserves/:reserve_id/get_active_meeting",
                    ..RESERVE
                },
                parameters: by_id,
                // Nobody meets by it now.
                codes: &[(NOT_FOUND, CodeMeans::Nothing)],
                is_made: may_be_under_way,
            },
        ],
        rows,
        secrets: &[
            "data.reserve.password",
            "data.reserve.meeting_settings.password",
            "data.meeting.password",
        ],
    }),
    extent: Extent::Snapshot,
    ask: Ask::Windows(requests),
    parameters: |request| Parameters {
        segment: request.reserve_id.clone(),
        ..of_users(request)
    },
    query: None,
    fuller: None,
    options: &[RequestOption::UserIdType, RequestOption::IdsFile],
    user_id_type: UserIdType::UnionId,
    columns,
    partition_column: Some("snapshot_date"),
    sort_first: &[],
    time_columns: None,
    parent_columns: None,
    plausibility: Plausibility::None,
    provisional: None,
    early: None,
    job_file: include_str!("../../jobs/reserve.toml"),
};

const RESERVE: Endpoint = Endpoint {
    name: "reserve",
    method: Method::Get,
    path: "reserves/:reserve_id",
    tier: Tier::Four,
};

const NOT_FOUND: i64 = 121004;

/// On the wire, of a reservation whose number was given back.
const EXPIRED: i64 = 2;

/// One request for each id, so that one that is refused takes no other with it.
fn requests(piece: &Piece<'_>) -> Vec<Asked> {
    let ids = piece.options.reserve_ids.iter();
    let of_id = |id: &String| {
        let (request, lineage) = snapshot(Dataset::Reserve, piece);
        let reserve_id = Some(id.clone());
        let request = Request {
            reserve_id: reserve_id.clone(),
            ..request
        };
        let lineage = Lineage {
            reserve_id,
            ..lineage
        };
        (request, lineage)
    };
    ids.map(of_id).collect()
}

fn by_id(node: &Node) -> Parameters {
    Parameters {
        segment: Some(node.id.clone()),
        ..Parameters::default()
    }
}

fn reserve_of(told: &[Told]) -> Option<&Map<String, Value>> {
    match told.first()? {
        Told::Data(data) => data.get("reserve")?.as_object(),
        _ => None,
    }
}

fn may_be_under_way(told: &[Told]) -> bool {
    reserve_of(told).is_some_and(|reserve| whole(reserve.get("expire_status")) != Some(EXPIRED))
}

fn rows(node: &Node, told: &[Told]) -> Result<Vec<Map<String, Value>>, Error> {
    let garbled = |why: &str| Error::Garbled(why.to_owned());
    let reserve = reserve_of(told).ok_or_else(|| garbled("an answer has no object `reserve`"))?;
    let mut row = reserve.clone();
    // The id that was asked for is the task's. Another one's answer is not this one's.
    let id = row.remove("id");
    let is_other = text(id.as_ref()).is_some_and(|id| id != node.id);
    if is_other && !node.id.is_empty() {
        return Err(garbled("`reserve` has another `id`"));
    }
    if let Some(Told::Data(data)) = told.get(1)
        && let Some(meeting) = data.get("meeting").and_then(Value::as_object)
        && let Some(id) = meeting.get("id")
    {
        row.insert(ACTIVE_MEETING_ID.to_owned(), id.clone());
    }
    // Blanked already; a column would only say that there was one.
    row.remove("password");
    if let Some(Value::Object(settings)) = row.get_mut("meeting_settings") {
        settings.remove("password");
        if let Some(Value::Array(permissions)) = settings.get("action_permissions")
            && !permissions.is_empty()
        {
            let permissions = canonical(&Value::from(permissions.clone()));
            settings.remove("action_permissions");
            settings.insert("(derived) permissions".to_owned(), permissions);
        }
    }
    Ok(vec![row])
}

const ACTIVE_MEETING_ID: &str = "(derived) active_meeting_id";

const fn value(value: &'static str, texts: &'static [&'static str]) -> EnumValue {
    EnumValue { value, texts }
}

const EXPIRE_STATUSES: &[EnumValue] = &[value("active", &["1"]), value("expired", &["2"])];

const INITIAL_TYPES: &[EnumValue] = &[value("multi", &["1"]), value("one_to_one", &["2"])];

fn columns() -> Vec<Column> {
    use ColumnKind::{Bool, Date, Enum, Id, MeetingNo, Text, TextList, UnixTime};
    let column = |name, kind, header: &str, doc| Column::new(name, kind, &[header], doc);
    vec![
        Column::new(
            "snapshot_date",
            Date,
            &[],
            "civil day, in the tenant's zone, on which it was asked for",
        )
        .of_task()
        .required(),
        Column::new("reserve_id", Id, &[], "the reservation").of_task().required(),
        column("meeting_no", MeetingNo, "meeting_no", "9-digit number, given back when it expires"),
        column("topic", Text, "meeting_settings.topic", "topic").personal(),
        column("url", Text, "url", "link that lets people in").personal(),
        column("app_link", Text, "app_link", "link that opens the app").personal().sparse(),
        column("live_url", Text, "live_link", "page of its livestream").personal().sparse(),
        column("end_time", UnixTime, "end_time", "when it expires"),
        column(
            "expire_status",
            Enum(EXPIRE_STATUSES),
            "expire_status",
            "whether its number can be met by still",
        ),
        column("reserved_by_id", Id, "reserve_user_id", "who reserved it").personal().sparse(),
        column(
            "initial_type",
            Enum(INITIAL_TYPES),
            "meeting_settings.meeting_initial_type",
            "whether it is for many or for two",
        )
        .sparse(),
        column(
            "is_interop",
            Bool,
            "meeting_settings.meeting_connect",
            "whether Feishu and Lark users can meet in it",
        )
        .sparse(),
        column(
            "is_auto_record",
            Bool,
            "meeting_settings.auto_record",
            "whether it is recorded by itself",
        )
        .sparse(),
        column(
            "assigned_host_ids",
            TextList,
            "meeting_settings.assign_host_list[].id",
            "who may become host",
        )
        .personal()
        .sparse(),
        column(
            "permissions",
            Text,
            "meeting_settings.(derived) permissions",
            "who may do what, as a JSON list: `permission` 1 host, 2 invite, 3 join",
        )
        .personal()
        .sparse(),
        column(
            "callee_type",
            Enum(USER_TYPES),
            "meeting_settings.call_setting.callee.user_type",
            "kind of who is called",
        )
        .sparse(),
        column("callee_id", Id, "meeting_settings.call_setting.callee.id", "who is called")
            .personal()
            .sparse(),
        column(
            "callee_number",
            Text,
            "meeting_settings.call_setting.callee.pstn_sip_info.main_address",
            "number or address that is called",
        )
        .personal()
        .sparse(),
        column(
            "callee_name",
            Text,
            "meeting_settings.call_setting.callee.pstn_sip_info.nickname",
            "name of who is called",
        )
        .personal()
        .sparse(),
        column(
            "active_meeting_id",
            Id,
            ACTIVE_MEETING_ID,
            "unique id of the meeting that was held by it when it was asked for: \
             `meeting.meeting_id`",
        )
        .sparse(),
        user_id_type_column("user_id_type", "kind of all ids of users in the row"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn data(data: Value) -> Told {
        Told::Data(data.as_object().expect("an object").clone())
    }

    fn node(id: &str) -> Node {
        Node {
            of: Dataset::Reserve,
            id: id.to_owned(),
        }
    }

    #[test]
    fn only_what_has_not_expired_is_asked_for_its_meeting() {
        for (status, is_asked) in [
            (json!(1), true),
            (json!(2), false),
            (json!("2"), false),
            // As in the documentation's example.
            (json!(0), true),
            (json!(null), true),
        ] {
            let told = data(json!({ "reserve": { "expire_status": status } }));
            assert_eq!(may_be_under_way(&[told]), is_asked, "{status}");
        }
    }

    #[test]
    fn a_row_is_of_the_id_that_was_asked_for_and_holds_no_password() {
        let settings = json!({ "password": "", "topic": "t", "action_permissions": [{ "permission": 1 }] });
        let reserve = json!({ "id": "7", "password": "", "meeting_settings": settings });
        let meeting = data(json!({ "meeting": { "id": "9", "password": "" } }));
        let told = [data(json!({ "reserve": reserve })), meeting];
        for id in ["7", ""] {
            let row = rows(&node(id), &told).expect("a row").remove(0);
            assert_eq!(
                Value::from(row),
                json!({
                    ACTIVE_MEETING_ID: "9",
                    "meeting_settings": { "topic": "t", "(derived) permissions": "[{\"permission\":1}]" },
                })
            );
        }
        let other = rows(&node("8"), &told).expect_err("another one");
        assert_eq!(other.to_string(), "`reserve` has another `id`");
        assert!(rows(&node("7"), &[data(json!({ "reserve": [] })), Told::Nothing]).is_err());
    }
}
