//! Decodes the pages of a listing. Its items become one table, whose header is the names of all
//! their members.
//!
//! Takes the zip of page bodies that the fetch kept. The listing is gone through once more, so an
//! original that lacks a page, or has one too many, is refused. A member of a member is named with
//! a dot (`room_status.status`), the members of a list's objects with `[]` (`device[].name`).

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::report::cell;
use super::{DecodeSummary, Error, SheetRead};
use crate::contract::Contract;
use crate::datasets::listing::Listing;
use crate::datasets::{Fetch, Source, event};
use crate::pages::{PageArchive, received_times};
use crate::table::{Cell, Header, HeaderColumn, RowSink};

/// The most members of all items together. Rooms have some 20.
const MOST_COLUMNS: usize = 1_000;

/// Reads the items of a listing into `sink`. Rows are numbered from 0.
///
/// # Errors
/// The original is no zip of pages, a page is not what Feishu documents, or pages are missing.
pub fn listing(
    original: &[u8],
    contract: &Contract,
    source: &Source,
    sink: &mut dyn RowSink,
) -> Result<DecodeSummary, Error> {
    // The header comes before the first row. So the pages are gone through twice, and only one of
    // them is in memory at a time.
    let mut columns: Vec<HeaderColumn> = Vec::new();
    let mut places: HashSet<String> = HashSet::new();
    for_each_item(original, contract, source, |item| {
        for (name, value) in item {
            let is_new = columns.len() <= MOST_COLUMNS && !is_blanked(name, value, source);
            if is_new && places.insert(name.clone()) {
                columns.push(column_of(name, contract));
            }
        }
    })?;
    if columns.len() > MOST_COLUMNS {
        return Err(refuse(format!(
            "its items have more than {MOST_COLUMNS} different members"
        )));
    }
    let header = Header {
        sheet: source.endpoint.name.to_owned(),
        row: None,
        columns,
    };
    sink.sheet(&header);
    let mut rows = 0;
    let hidden = for_each_item(original, contract, source, |item| {
        let columns = header.columns.iter();
        let cells: Vec<Cell<'_>> = columns.map(|column| cell(item.get(&column.text))).collect();
        sink.row(rows, &cells);
        rows += 1;
    })?;
    Ok(DecodeSummary {
        sheets: vec![SheetRead {
            name: header.sheet,
            rows: rows.into(),
            is_hidden: false,
        }],
        hidden,
        ..DecodeSummary::default()
    })
}

fn refuse(reason: impl ToString) -> Error {
    Error::Listing(reason.to_string())
}

/// Whether a member is a secret that was blanked before its answer was kept. It is no column.
fn is_blanked(name: &str, value: &Value, source: &Source) -> bool {
    let is_it = |path: &&str| {
        let before = path.strip_suffix(name);
        before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
    };
    value == "" && source.secrets().iter().any(is_it)
}

/// Member names are compared exactly. Folding is for headers that people read.
fn column_of(name: &str, contract: &Contract) -> HeaderColumn {
    let is_named = |header: &String| header == name;
    HeaderColumn {
        text: name.to_owned(),
        column: contract
            .columns
            .iter()
            .position(|column| column.headers.iter().any(is_named)),
    }
}

/// Hands over each item of the listing, flattened, in the order in which it was listed. Says how
/// many are hidden from the app.
fn for_each_item(
    original: &[u8],
    contract: &Contract,
    source: &Source,
    mut each: impl FnMut(&Map<String, Value>),
) -> Result<u64, Error> {
    let dataset = contract.dataset;
    let pages = PageArchive::open(original);
    let mut pages = pages.map_err(|_| refuse("it is no zip of pages, or it is cut off"))?;
    if let Fetch::Received { derive, .. } = source.fetch {
        return for_each_event(&mut pages, contract, derive, each).map(|()| 0);
    }
    let listing = source.archived_listing(contract.dataset);
    let mut listing: Listing =
        listing.ok_or_else(|| refuse(format!("{dataset} is not listed in pages")))?;
    let pivot = match source.fetch {
        Fetch::Pages(listed) => listed.pivot,
        _ => None,
    };
    let mut each_row = |item: Map<String, Value>| {
        let mut flat = Map::new();
        flatten("", item, &mut flat);
        each(&flat);
    };
    let mut pivoted = Vec::new();
    for index in 0..pages.len() {
        let body = pages.body(index);
        let number = index + 1;
        let body = body.map_err(|error| refuse(format!("page {number}: {error}")))?;
        let items = listing.take(&body);
        for item in items.map_err(|error| refuse(format!("page {number}: {error}")))? {
            match pivot {
                None => each_row(item),
                Some(_) => pivoted.push(item),
            }
        }
    }
    if let Some(pivot) = pivot {
        pivot(pivoted).into_iter().for_each(each_row);
    }
    match listing.may_end() {
        true => Ok(listing.hidden()),
        false => Err(refuse(format!(
            "a page is missing after the {}.",
            pages.len()
        ))),
    }
}

/// Hands over each event of a batch, flattened. Its last page says when each was received.
fn for_each_event(
    pages: &mut PageArchive<'_>,
    contract: &Contract,
    derive: fn(&mut Map<String, Value>),
    mut each: impl FnMut(&Map<String, Value>),
) -> Result<(), Error> {
    let Some(last) = pages.len().checked_sub(1) else {
        return Err(refuse("it has no page"));
    };
    let mut body = |index: usize| {
        let body = pages.body(index);
        body.map_err(|error| refuse(format!("page {}: {error}", index + 1)))
    };
    let received = received_times(&body(last)?);
    let received =
        received.map_err(|_| refuse("its last page does not say when it was received"))?;
    if received.len() != last {
        let said = received.len();
        return Err(refuse(format!("it has {last} events, and says {said}")));
    }
    for (index, received_at) in received.iter().enumerate() {
        let row = event::row(&body(index)?, received_at);
        let mut row = row.map_err(|error| refuse(format!("page {}: {error}", index + 1)))?;
        derive(&mut row);
        let mut flat = Map::new();
        flatten("", row, &mut flat);
        // What no column shows is in the payload.
        let is_shown = |name: &str| column_of(name, contract).column.is_some();
        flat.retain(|name, _| !event::is_in_payload(name) || is_shown(name));
        each(&flat);
    }
    Ok(())
}

/// Adds the members of an object, those of its objects under their path. An empty list or object
/// says nothing: Feishu writes "none" as an empty list, as null, or not at all.
fn flatten(prefix: &str, members: Map<String, Value>, flat: &mut Map<String, Value>) {
    for (member, value) in members {
        let name = format!("{prefix}{member}");
        match value {
            Value::Object(members) => flatten(&format!("{name}."), members, flat),
            Value::Null => {}
            Value::Array(elements) if elements.is_empty() => {}
            Value::Array(elements) if elements.iter().all(Value::is_object) => {
                for (member, list) in by_member(elements) {
                    add(format!("{name}[].{member}"), list, flat);
                }
            }
            value => add(name, value, flat),
        }
    }
}

/// For each member of the elements, the list of its values; null where an element lacks it.
fn by_member(elements: Vec<Value>) -> Map<String, Value> {
    let count = elements.len();
    let mut lists: HashMap<String, Vec<Value>> = HashMap::new();
    for (index, element) in elements.into_iter().enumerate() {
        let mut members = Map::new();
        if let Value::Object(element) = element {
            flatten("", element, &mut members);
        }
        for (member, value) in members {
            let list = lists.entry(member).or_default();
            list.resize(index, Value::Null);
            list.push(value);
        }
    }
    let lists = lists.into_iter().map(|(member, mut list)| {
        list.resize(count, Value::Null);
        (member, Value::Array(list))
    });
    lists.collect()
}

/// Adds a value. Two members may get the same name, such as `a.b` and the `b` of `a`. Neither takes
/// the place of the other.
fn add(mut name: String, value: Value, flat: &mut Map<String, Value>) {
    while flat.contains_key(&name) {
        name.push_str(" (again)");
    }
    flat.insert(name, value);
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use serde_json::json;

    use super::*;
    use crate::datasets::Dataset;
    use crate::pages::PagesWriter;

    /// Records what it is given.
    #[derive(Default)]
    struct ListedTable {
        header: Vec<(String, bool)>,
        rows: Vec<(u32, String)>,
    }

    impl RowSink for ListedTable {
        fn sheet(&mut self, header: &Header) {
            let columns = header.columns.iter();
            self.header = columns
                .map(|column| (column.text.clone(), column.column.is_some()))
                .collect();
        }

        fn row(&mut self, number: u32, cells: &[Cell<'_>]) {
            self.rows.push((number, format!("{cells:?}")));
        }

        fn restart(&mut self) {
            *self = Self::default();
        }
    }

    fn zip(bodies: &[Value]) -> Vec<u8> {
        let mut writer = PagesWriter::new(Cursor::new(Vec::new()));
        for body in bodies {
            writer
                .add(body.to_string().as_bytes())
                .expect("memory takes it");
        }
        writer.finish().expect("memory takes it").into_inner()
    }

    fn read(dataset: Dataset, original: &[u8]) -> Result<ListedTable, Error> {
        let mut table = ListedTable::default();
        let source = dataset.own_source();
        listing(original, Contract::of(dataset), &source, &mut table)?;
        Ok(table)
    }

    fn page(rooms: Value, token: Option<&str>) -> Value {
        let data = json!({ "rooms": rooms, "has_more": token.is_some(), "page_token": token });
        json!({ "code": 0, "data": data })
    }

    #[test]
    fn a_secret_that_was_blanked_is_no_column() {
        let list = json!({ "code": 0, "data": { "has_more": false,
            "meeting_briefs": [{ "id": "7" }] } });
        for (password, is_column) in [("", false), ("kept by mistake", true)] {
            let item = json!({ "id": "7", "password": password, "new": "" });
            let detail = json!({ "code": 0, "data": { "meeting": item } });
            let original = zip(&[list.clone(), detail]);
            let table = read(Dataset::Meeting, &original).expect("a listing");
            let has = |name: &str| table.header.iter().any(|(column, _)| column == name);
            assert_eq!((has("password"), has("new")), (is_column, true));
        }
    }

    #[test]
    fn items_of_all_pages_are_one_table() {
        let first = json!([{ "room_id": "omm_1", "capacity": 8, "room_status": { "status": true },
            "device": [{ "name": "a" }, { "mac": "00:11" }] }]);
        let second = json!([{ "room_id": "omm_1", "capacity": 9 },
            { "room_id": "omm_2", "device": [], "path": ["omb_1"], "new": { "thing": null } }]);
        let original = zip(&[page(first, Some("t")), page(second, None)]);
        let table = read(Dataset::Room, &original).expect("a listing");
        let header: Vec<(&str, bool)> = table
            .header
            .iter()
            .map(|(name, known)| (name.as_str(), *known))
            .collect();
        assert_eq!(
            header,
            [
                ("(derived) is_disabled_forever", true),
                ("capacity", true),
                ("device[].mac", false),
                ("device[].name", true),
                ("room_id", true),
                ("room_status.status", true),
                ("path", true),
            ]
        );
        assert_eq!(table.rows.len(), 2, "a room that moved counts once");
        assert_eq!(
            table.rows[0].1,
            r#"[Bool(false), Text("8"), Text("[null,\"00:11\"]"), Text("[\"a\",null]"), Text("omm_1"), Bool(true), Empty]"#
        );
        assert!(table.rows[1].1.ends_with(r#"Empty, Text("[\"omb_1\"]")]"#));
    }

    #[test]
    fn members_that_get_the_same_name_are_both_kept() {
        let room = json!([{ "room_id": "omm_1", "": { "room_id": "other" }, "a.b": 1,
            "a": { "b": 2 }, "none": {}, "list": [{}, { "x": 1 }] }]);
        let table = read(Dataset::Room, &zip(&[page(room, None)])).expect("a listing");
        let header: Vec<&str> = table.header.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            header,
            [".room_id", "a.b", "a.b (again)", "list[].x", "room_id"]
        );
        assert_eq!(
            table.rows[0].1,
            r#"[Text("other"), Text("2"), Text("1"), Text("[null,1]"), Text("omm_1")]"#
        );
    }

    #[test]
    fn a_walk_says_how_deep_and_which_is_the_root() {
        let root = json!({ "code": 0, "data": { "room_level": { "room_level_id": "omb_0" } } });
        let level = json!({ "has_child": false, "room_level_id": "omb_1" });
        let below = json!({ "code": 0, "data": { "items": [level] } });
        let table = read(Dataset::RoomLevel, &zip(&[root, below])).expect("a walk");
        assert_eq!(
            table.rows[0].1,
            r#"[Text("0"), Bool(true), Text("omb_0"), Empty]"#
        );
        assert_eq!(
            table.rows[1].1,
            r#"[Text("1"), Bool(false), Text("omb_1"), Bool(false)]"#
        );
    }

    #[test]
    fn an_original_with_a_page_too_few_or_too_many_is_refused() {
        let page = |token| page(json!([]), token);
        for (bodies, reason) in [
            (vec![], "a page is missing after the 0."),
            (vec![page(Some("t"))], "a page is missing after the 1."),
            (
                vec![page(None), page(None)],
                "page 2: there is a page after the last one",
            ),
            (
                vec![json!({ "code": 1 })],
                "page 1: the code of a page is 1",
            ),
        ] {
            let error = read(Dataset::Room, &zip(&bodies)).err().expect(reason);
            assert_eq!(error, Error::Listing(reason.to_owned()));
        }
        assert!(read(Dataset::Room, b"no zip").is_err());
    }

    const EVENT: &str = r#"{"schema":"2.0","header":{"event_id":"e1","event_type":"vc.room_level.deleted_v1","create_time":"1608725989000","new":1},"event":{"room_level_id":"omb_1","delete_child":true,"unknown":{"a":1}}}"#;

    fn batch(bodies: &[&str], received: &str) -> Vec<u8> {
        let mut writer = PagesWriter::new(Cursor::new(Vec::new()));
        for body in bodies.iter().chain([&received]) {
            writer.add(body.as_bytes()).expect("memory takes it");
        }
        writer.finish().expect("memory takes it").into_inner()
    }

    #[test]
    fn an_event_is_a_row_of_its_header_its_columns_and_its_payload() {
        let received = r#"{"received_at":["2020-12-23T12:19:50.5Z"]}"#;
        let table = read(Dataset::RoomEvent, &batch(&[EVENT], received)).expect("a batch");
        let header: Vec<(&str, bool)> = table
            .header
            .iter()
            .map(|(name, is_known)| (name.as_str(), *is_known))
            .collect();
        assert_eq!(
            header,
            [
                ("(derived) event_time", true),
                ("(derived) payload", true),
                ("(derived) room_level_id", true),
                ("(received) at", true),
                ("event.delete_child", true),
                ("header.event_id", true),
                ("header.event_type", true),
                ("header.new", false),
                ("schema", false),
            ]
        );
        assert!(
            table.rows[0].1.contains(r#"Text("2020-12-23T12:19:49Z")"#),
            "{:?}",
            table.rows
        );
    }

    #[test]
    fn a_batch_that_lacks_something_is_refused() {
        let received = r#"{"received_at":["2020-12-23T12:19:50Z"]}"#;
        for (bodies, last, reason) in [
            (
                &[][..],
                "{}",
                "its last page does not say when it was received",
            ),
            (
                &[EVENT][..],
                EVENT,
                "its last page does not say when it was received",
            ),
            (&[EVENT, EVENT][..], received, "it has 2 events, and says 1"),
            (&[][..], received, "it has 0 events, and says 1"),
            (&["[]"][..], received, "page 1: it is no JSON object"),
            (&["{}"][..], received, "page 1: it has no id or no type"),
        ] {
            let error = read(Dataset::RoomEvent, &batch(bodies, last)).err();
            assert_eq!(error, Some(Error::Listing(reason.to_owned())), "{last}");
        }
        let error = read(Dataset::RoomEvent, &zip(&[])).err();
        assert_eq!(error, Some(Error::Listing("it has no page".to_owned())));
    }
}
