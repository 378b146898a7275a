//! Ids of users in the tenant, which the sheets and events show, beside ids that everybody has.
//!
//! An endpoint that lists rooms or telephones too leaves them out, or refuses, where it is asked
//! for ids in the tenant: they have none (API reference, 2.2; resources, 2.5). So it is asked
//! twice, and what both answers tell alike is one row with both ids.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::listing::{CodeMeans, Error, NodeRows, Told, text};
use crate::column::{Column, ColumnKind};

/// Codes of the second answer that say that there are no such ids, or that they are not told. The
/// rows are those of the first answer all the same.
pub(super) const NOT_TOLD: &[(i64, CodeMeans)] = &[
    // Not everybody in the answer has one.
    (122359, CodeMeans::Withheld),
    (99992359, CodeMeans::Withheld),
    // The scope `contact:user.employee_id:readonly` is not granted; `doctor` says so.
    (99991672, CodeMeans::Withheld),
    // It was there a moment ago, and is not any more.
    (super::meeting::NO_MEETING, CodeMeans::Withheld),
];

/// Member that is added to a row.
const TENANT_USER_ID: &str = "(derived) tenant_user_id";

/// The column of both datasets that ask twice.
pub(super) fn column() -> Column {
    let doc = "id of the user in the tenant, which the sheets call `user_id`; null for rooms, \
               telephones and people from outside, and where two fit";
    Column::new("tenant_user_id", ColumnKind::Id, &[TENANT_USER_ID], doc)
        .personal()
        .sparse()
        .field_id(501)
}

/// The rows of both answers: of the list at `path` in each, which may be absent.
pub(super) fn rows(told: &[Told], path: &[&str]) -> Result<NodeRows, Error> {
    let rows = |told: Option<&Told>| match told {
        Some(Told::Data(data)) => list(data, path),
        _ => Ok(Vec::new()),
    };
    let mut all = rows(told.first())?;
    add(&mut all, &rows(told.get(1))?);
    Ok(all)
}

fn list(data: &Map<String, Value>, path: &[&str]) -> Result<NodeRows, Error> {
    let garbled = |why: String| Error::Garbled(why);
    let (last, way) = path.split_last().expect("a path has a list at its end");
    let mut inner = data;
    for step in way {
        let next = inner.get(*step).and_then(Value::as_object);
        inner = next.ok_or_else(|| garbled(format!("an answer has no object `{step}`")))?;
    }
    let rows = match inner.get(*last) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(rows)) => rows.iter().map(|row| row.as_object().cloned()),
        Some(_) => return Err(garbled(format!("`{last}` is no list"))),
    };
    let objects = rows.collect::<Option<_>>();
    objects.ok_or_else(|| garbled(format!("`{last}` holds something else than objects")))
}

/// Adds to each row the id that the second answer has for it: that of the row which is equal in
/// everything but its id. Where people are equal, nobody knows whose is whose, and none gets one.
fn add(rows: &mut NodeRows, told_again: &[Map<String, Value>]) {
    let (first, second) = (only_ids(rows), only_ids(told_again));
    for row in rows {
        let (own, rest) = id_and_rest(row);
        // The second answer may lack one of those who are equal, so it alone does not tell.
        let is_known = first.get(&rest).is_some_and(Option::is_some);
        let id = second.get(&rest).cloned().flatten();
        // An answer in the same kind of ids is not what was asked for.
        if let Some(id) = id.filter(|id| is_known && Some(id) != own.as_ref()) {
            row.insert(TENANT_USER_ID.to_owned(), id.into());
        }
    }
}

/// The one id of all rows that are equal but for it; none where they have several, or none.
fn only_ids(rows: &[Map<String, Value>]) -> HashMap<String, Option<String>> {
    let mut ids: HashMap<String, Option<String>> = HashMap::new();
    for row in rows {
        let (id, rest) = id_and_rest(row);
        let only = ids.entry(rest).or_insert_with(|| id.clone());
        if *only != id {
            *only = None;
        }
    }
    ids
}

fn id_and_rest(row: &Map<String, Value>) -> (Option<String>, String) {
    let mut rest = row.clone();
    let id = rest.remove("id");
    let id = text(id.as_ref()).filter(|id| !id.is_empty());
    (id, Value::Object(rest).to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rows(rows: Value) -> NodeRows {
        serde_json::from_value(rows).expect("rows")
    }

    #[test]
    fn a_row_gets_the_id_of_its_only_equal() {
        let a = |id: &str| json!({ "id": id, "user_type": 1, "first_join_time": "10" });
        let b = |id: &str| json!({ "id": id, "user_type": 1, "first_join_time": "20" });
        let room = json!({ "id": "omm_1", "user_type": 2, "first_join_time": "10" });
        let guest = json!({ "id": "", "user_type": 5, "first_join_time": "10" });
        for (what, first, second, expected) in [
            (
                "a person each",
                json!([a("ou_a"), b("ou_b")]),
                json!([b("B"), a("A")]),
                vec![Some("A"), Some("B")],
            ),
            (
                "rooms and guests have none",
                json!([room, a("ou_a"), guest]),
                json!([a("A")]),
                vec![None, Some("A"), None],
            ),
            (
                "two fit",
                json!([a("ou_1"), a("ou_2"), b("ou_b")]),
                json!([a("A"), a("B"), b("C")]),
                vec![None, None, Some("C")],
            ),
            (
                "one of two is not told",
                json!([a("ou_1"), a("ou_2")]),
                json!([a("A")]),
                vec![None, None],
            ),
            (
                "one of two came meanwhile",
                json!([a("ou_1")]),
                json!([a("A"), a("B")]),
                vec![None],
            ),
            (
                "somebody twice",
                json!([a("ou_1"), a("ou_1")]),
                json!([a("A"), a("A")]),
                vec![Some("A"), Some("A")],
            ),
            (
                "another kind of id",
                json!([a("ou_1")]),
                json!([a("ou_1")]),
                vec![None],
            ),
            (
                "no id is shown",
                json!([a("ou_1")]),
                json!([a("")]),
                vec![None],
            ),
            ("nothing", json!([a("ou_1")]), json!([]), vec![None]),
        ] {
            let mut told = rows(first);
            add(&mut told, &rows(second));
            let ids: Vec<_> = told
                .iter()
                .map(|row| row.get(TENANT_USER_ID).and_then(Value::as_str))
                .collect();
            assert_eq!(ids, expected, "{what}");
        }
    }
}
