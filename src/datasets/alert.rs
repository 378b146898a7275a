//! `alert`: one row an alert of the rooms' monitoring (resources, 2.8).
//!
//! The endpoint answers self-built apps only, which is the one kind that we sign in as. Alerts are
//! processed and recover later, so days are read again for a week.

use serde_json::{Map, Value};

use super::export::{DAILY, second};
use super::listing::{Listed, text};
use super::{
    Ask, Dataset, Definition, Endpoint, Fetch, Lineage, Method, Parameters, Piece, Plausibility,
    Request, Tier, UserIdType,
};
use crate::column::{Column, ColumnKind, EnumValue, OTHER};

pub(super) const DEFINITION: Definition = Definition {
    name: "alert",
    endpoint: Endpoint {
        name: "alerts",
        method: Method::Get,
        path: "alerts",
        tier: Tier::Three,
    },
    scopes: &["vc:alert:readonly"],
    fetch: Fetch::Pages(Listed {
        list: "items",
        id: Some("alert_id"),
        // The page says at most 200 in one place and 1000 in another. 100 is the default.
        page_size: 100,
        secrets: &[],
        derive: lists_in_words,
        pivot: None,
        roles: None,
    }),
    // Which spans are taken, and how far back, is not documented: a day at a time.
    extent: DAILY,
    ask: Ask::Windows(requests),
    parameters,
    query: None,
    fuller: None,
    options: &[],
    user_id_type: UserIdType::OpenId,
    columns,
    partition_column: Some("alert_time"),
    sort_first: &["alert_time"],
    time_columns: Some(("alert_time", "alert_time")),
    parent_columns: None,
    plausibility: Plausibility::None,
    provisional: None,
    early: None,
    job_file: include_str!("../../jobs/alert.toml"),
};

fn requests(piece: &Piece<'_>) -> Vec<(Request, Lineage)> {
    let request = Request::between(Dataset::Alert, piece.start, piece.end);
    vec![(request, Lineage::default())]
}

fn parameters(request: &Request) -> Parameters {
    Parameters::default()
        .with("start_time", Some(second(request.start)))
        .with("end_time", Some(second(request.end)))
}

/// Says the numbers of two lists in words. The page has `notifyMethods` as a list of numbers, and
/// its example as a list of such lists. A list with a number that we do not know stays as well, so
/// that the number lands in `_extra`.
fn lists_in_words(alert: &mut Map<String, Value>) {
    if let Some(methods) = alert.get("notifyMethods") {
        let (words, all_known) = in_words(flat(methods), NOTIFY_METHODS);
        if all_known {
            alert.remove("notifyMethods");
        }
        alert.insert(METHODS_IN_WORDS.to_owned(), words);
    }
    let Some(Value::Array(contacts)) = alert.get_mut("contacts") else {
        return;
    };
    let types: Vec<&Value> = contacts
        .iter()
        .map(|contact| contact.get("contact_type").unwrap_or(&Value::Null))
        .collect();
    let (words, all_known) = in_words(types, CONTACT_TYPES);
    if all_known {
        let objects = contacts.iter_mut().filter_map(Value::as_object_mut);
        objects.for_each(|contact| drop(contact.remove("contact_type")));
    }
    alert.insert(TYPES_IN_WORDS.to_owned(), words);
}

/// The elements of a list and of the lists in it.
fn flat(list: &Value) -> Vec<&Value> {
    match list {
        Value::Array(elements) => elements.iter().flat_map(flat).collect(),
        element => vec![element],
    }
}

/// What the numbers mean, and whether all of them are known. No number means nothing.
fn in_words(numbers: Vec<&Value>, values: &[EnumValue]) -> (Value, bool) {
    let mut all_known = true;
    let words = numbers.into_iter().map(|number| {
        if number.is_null() {
            return Value::Null;
        }
        let number = text(Some(number)).unwrap_or_default();
        let meant = values.iter().find(|value| value.texts.contains(&number.as_str()));
        all_known &= meant.is_some();
        meant.map_or(OTHER, |value| value.value).into()
    });
    let words: Vec<Value> = words.collect();
    match words.iter().all(Value::is_null) {
        true => (Value::Null, all_known),
        false => (words.into(), all_known),
    }
}

const METHODS_IN_WORDS: &str = "(derived) notify_methods";
const TYPES_IN_WORDS: &str = "(derived) contact_types";

const fn value(value: &'static str, texts: &'static [&'static str]) -> EnumValue {
    EnumValue { value, texts }
}

const LEVELS: &[EnumValue] = &[
    value("info", &["0"]),
    value("warning", &["1"]),
    value("critical", &["2"]),
];

const TARGET_TYPES: &[EnumValue] = &[
    value("room", &["1"]),
    value("check_in_board", &["2"]),
    value("cast_box", &["3"]),
    value("cast", &["4"]),
    value("sip_room", &["5"]),
    value("erc_node", &["6"]),
    value("sensor", &["7"]),
];

/// 0 and 3 are deprecated names of 1 and 4.
const STATUSES: &[EnumValue] = &[
    value("pending", &["0", "1"]),
    value("processing", &["2"]),
    value("recovered", &["3", "4"]),
];

const NOTIFY_METHODS: &[EnumValue] = &[value("bot", &["0"]), value("email", &["1"])];

const CONTACT_TYPES: &[EnumValue] = &[
    value("user", &["1"]),
    value("group", &["2"]),
    value("department", &["3"]),
];

fn columns() -> Vec<Column> {
    use ColumnKind::{Enum, Id, Text, TextList, UnixTime};
    vec![
        Column::new("alert_id", Id, &["alert_id"], "the alert").required(),
        Column::new(
            "alert_time",
            UnixTime,
            &["alert_time"],
            "when people were told; without it, the row is in the day that was asked for",
        )
        .key(),
        Column::new("level", Enum(LEVELS), &["alert_level"], "how grave it is"),
        Column::new(
            "target_type",
            Enum(TARGET_TYPES),
            &["monitor_target"],
            "kind of what is watched",
        ),
        Column::new(
            "target_name",
            Text,
            &["resource_scope"],
            "name of the room or the server",
        ),
        Column::new("rule_name", Text, &["alertRule"], "name of the rule"),
        Column::new("rule_id", Id, &["alert_rule_id"], "the rule"),
        Column::new(
            "condition",
            Text,
            &["alert_strategy"],
            "the rule in the words of the console",
        ),
        Column::new(
            "room_id",
            Id,
            &["monitor_target_room_id"],
            "the room, `omm_…`, if it is one",
        )
        .sparse(),
        Column::new(
            "room_mac",
            Text,
            &["monitor_target_room_mac"],
            "hardware address of the room's computer",
        )
        .personal()
        .sparse(),
        Column::new(
            "contact_names",
            TextList,
            &["contacts[].contact_name"],
            "whom the rule names, in the order of `contact_types`",
        )
        .personal()
        .sparse(),
        Column::new(
            "contact_types",
            TextList,
            &[TYPES_IN_WORDS],
            "for each of them `user`, `group`, `department` or `other`",
        )
        .sparse(),
        Column::new(
            "notify_methods",
            TextList,
            &[METHODS_IN_WORDS],
            "how they were told: `bot`, `email` or `other`",
        )
        .sparse(),
        Column::new(
            "status",
            Enum(STATUSES),
            &["process_status"],
            "where it stood when the day was last read",
        ),
        Column::new(
            "process_time",
            UnixTime,
            &["process_time"],
            "when somebody took it up; the unit is not documented, the example is in seconds",
        )
        .sparse(),
        Column::new(
            "recover_time",
            UnixTime,
            &["recover_time"],
            "when it was over; as `process_time`",
        )
        .sparse(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_in_lists_become_words_and_unknown_ones_stay() {
        for (methods, words, rest) in [
            (json!([0, 1]), json!(["bot", "email"]), None),
            (json!([[0, 1]]), json!(["bot", "email"]), None),
            (json!([[1], ["0"]]), json!(["email", "bot"]), None),
            (json!([0, 9]), json!(["bot", "other"]), Some(json!([0, 9]))),
            (json!([0.5]), json!(["other"]), Some(json!([0.5]))),
            (json!([{}]), json!(["other"]), Some(json!([{}]))),
            (json!(1), json!(["email"]), None),
            (json!([]), json!(null), None),
            (json!(null), json!(null), None),
        ] {
            let mut alert = Map::from_iter([("notifyMethods".to_owned(), methods.clone())]);
            lists_in_words(&mut alert);
            assert_eq!(alert[METHODS_IN_WORDS], words, "{methods}");
            assert_eq!(alert.get("notifyMethods").cloned(), rest, "{methods}");
        }
        let mut without = Map::new();
        lists_in_words(&mut without);
        assert!(without.is_empty());
    }

    #[test]
    fn a_contact_keeps_its_name_beside_the_word_for_its_type() {
        let contacts = |types: [Value; 2]| {
            let [first, second] = types;
            let mut alert = Map::from_iter([(
                "contacts".to_owned(),
                json!([{ "contact_name": "张三", "contact_type": first },
                       { "contact_name": "B", "contact_type": second }]),
            )]);
            lists_in_words(&mut alert);
            alert
        };
        let known = contacts([json!(1), json!("3")]);
        assert_eq!(known[TYPES_IN_WORDS], json!(["user", "department"]));
        assert_eq!(
            known["contacts"],
            json!([{ "contact_name": "张三" }, { "contact_name": "B" }])
        );
        let unknown = contacts([json!(2), json!(8)]);
        assert_eq!(unknown[TYPES_IN_WORDS], json!(["group", "other"]));
        assert_eq!(unknown["contacts"][1]["contact_type"], 8);
        let untyped = contacts([json!(null), json!(1)]);
        assert_eq!(untyped[TYPES_IN_WORDS], json!([null, "user"]));
    }
}
