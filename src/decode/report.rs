//! Decodes the JSON answer of a report. The list in it becomes a table whose header is the field
//! names.
//!
//! Takes the raw body. Numbers arrive as JSON strings or as JSON numbers. Whole numbers are kept as
//! digits, so that no id passes through a floating-point number.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::{DecodeSummary, Error, SheetRead};
use crate::contract::Contract;
use crate::datasets::{CalledRows, Fetch};
use crate::table::{Cell, Header, HeaderColumn, RowSink};

/// Reads the list in the body of a dataset that one call answers into `sink`. Rows are numbered
/// from 0. If only the list is absent it counts as empty, because Feishu leaves out empty lists in
/// other answers too.
///
/// # Errors
/// The body is not JSON, its code is not 0, it has no `data`, or `list` is not a list of objects.
pub fn report(
    body: &[u8],
    contract: &Contract,
    sink: &mut dyn RowSink,
) -> Result<DecodeSummary, Error> {
    let Fetch::Call(called) = contract.dataset.definition().fetch else {
        let dataset = contract.dataset;
        return Err(refuse(format!("{dataset} is not answered by one call")));
    };
    let body: Value = serde_json::from_slice(body).map_err(|error| {
        refuse(format!(
            "it is no JSON (line {}, column {})",
            error.line(),
            error.column()
        ))
    })?;
    let code = code_of(&body, called.answers)?;
    let one;
    let (rows, sheet) = match called.rows {
        CalledRows::List(path) if code == 0 => (list(&body, path)?, path.join(".")),
        CalledRows::List(path) => (Vec::new(), path.join(".")),
        CalledRows::One(row_of) => {
            let body = body.as_object();
            one = row_of(body.ok_or_else(|| refuse("it is no object"))?);
            (vec![&one], contract.dataset.to_string())
        }
    };
    let header = header_of(sheet, &rows, contract);
    sink.sheet(&header);
    let mut cells = Vec::with_capacity(header.columns.len());
    for (index, row) in (0..).zip(&rows) {
        cells.clear();
        cells.extend(
            header
                .columns
                .iter()
                .map(|column| cell(row.get(&column.text))),
        );
        sink.row(index, &cells);
    }
    Ok(DecodeSummary {
        sheets: vec![SheetRead {
            name: header.sheet,
            rows: rows.len() as u64,
            is_hidden: false,
        }],
        ..DecodeSummary::default()
    })
}

pub(super) fn refuse(reason: impl Into<String>) -> Error {
    Error::Report(reason.into())
}

/// The code of a body that is an answer: 0 or one of `answers`.
fn code_of(body: &Value, answers: &[i64]) -> Result<i64, Error> {
    match body.get("code").and_then(Value::as_i64) {
        Some(code) if code == 0 || answers.contains(&code) => Ok(code),
        Some(code) => Err(refuse(format!("its code is {code}"))),
        None => Err(refuse("it has no code")),
    }
}

/// The objects in the list at `path`. The list itself may be absent. The objects that contain it
/// must be there.
fn list<'b>(body: &'b Value, path: &[&str]) -> Result<Vec<&'b Map<String, Value>>, Error> {
    let (last, way) = path.split_last().expect("a path has a list at its end");
    let mut inner = body;
    for step in way {
        let next = inner.get(step).filter(|value| value.is_object());
        inner = next.ok_or_else(|| refuse(format!("it has no object `{step}`")))?;
    }
    let rows = match inner.get(last) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(rows)) => rows,
        Some(_) => return Err(refuse(format!("`{last}` is no list"))),
    };
    let objects = rows.iter().map(Value::as_object);
    objects
        .collect::<Option<_>>()
        .ok_or_else(|| refuse(format!("`{last}` holds something else than objects")))
}

/// A header of all field names, in the order in which they first appear.
fn header_of(sheet: String, rows: &[&Map<String, Value>], contract: &Contract) -> Header {
    let mut columns: Vec<HeaderColumn> = Vec::new();
    for key in rows.iter().flat_map(|row| row.keys()) {
        if columns.iter().all(|column| column.text != *key) {
            columns.push(HeaderColumn {
                text: key.clone(),
                // Field names are compared exactly. Folding is for headers that people read.
                column: contract
                    .columns
                    .iter()
                    .position(|column| column.headers.contains(key)),
            });
        }
    }
    Header {
        sheet,
        row: None,
        columns,
    }
}

pub(super) fn cell(value: Option<&Value>) -> Cell<'_> {
    match value {
        None | Some(Value::Null) => Cell::Empty,
        Some(Value::String(text)) => Cell::Text(Cow::Borrowed(text)),
        Some(Value::Bool(value)) => Cell::Bool(*value),
        Some(Value::Number(number)) if number.is_f64() => {
            Cell::Number(number.as_f64().unwrap_or(f64::NAN))
        }
        Some(other) => Cell::Text(Cow::Owned(other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datasets::Dataset;

    /// Records what it is given.
    #[derive(Default)]
    struct RecordedTable {
        header: Vec<String>,
        rows: Vec<(u32, String)>,
    }

    impl RowSink for RecordedTable {
        fn sheet(&mut self, header: &Header) {
            self.header = header.columns.iter().map(|c| c.text.clone()).collect();
        }

        fn row(&mut self, number: u32, cells: &[Cell<'_>]) {
            self.rows.push((number, format!("{cells:?}")));
        }

        fn restart(&mut self) {
            *self = Self::default();
        }
    }

    fn read(dataset: Dataset, body: &str) -> Result<RecordedTable, Error> {
        let mut notes = RecordedTable::default();
        report(body.as_bytes(), Contract::of(dataset), &mut notes)?;
        Ok(notes)
    }

    #[test]
    fn strings_and_numbers_are_both_digits() {
        let body = r#"{"code":0,"data":{"meeting_report":{"daily_report":[
            {"date":"1609113600","meeting_count":3},
            {"date":1609200000,"new_field":[1],"meeting_count":null}]}}}"#;
        let notes = read(Dataset::DailyReport, body).expect("a report");
        assert_eq!(notes.header, ["date", "meeting_count", "new_field"]);
        assert_eq!(
            notes.rows[0],
            (0, r#"[Text("1609113600"), Text("3"), Empty]"#.into())
        );
        assert_eq!(
            notes.rows[1],
            (1, r#"[Text("1609200000"), Empty, Text("[1]")]"#.into())
        );
    }

    #[test]
    fn an_absent_list_is_empty_but_an_absent_answer_is_an_error() {
        for body in [
            r#"{"code":0,"data":{}}"#,
            r#"{"code":0,"data":{"top_user_report":null}}"#,
            r#"{"code":0,"data":{"top_user_report":[]}}"#,
        ] {
            assert!(read(Dataset::TopUser, body).expect(body).rows.is_empty());
        }
        for (body, reason) in [
            (r#"{"code":0}"#, "no object `data`"),
            (r#"{"data":{}}"#, "no code"),
            (r#"{"code":121003,"data":{}}"#, "code is 121003"),
            (r#"{"code":0,"data":{"top_user_report":{}}}"#, "no list"),
            (
                r#"{"code":0,"data":{"top_user_report":[1]}}"#,
                "else than objects",
            ),
            ("<html>", "no JSON"),
        ] {
            let error = read(Dataset::TopUser, body).err().expect(body).to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
