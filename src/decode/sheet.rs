//! The sheets of a checked workbook through calamine's streaming reader: find the header row, then hand over row after row.
//!
//! Only what [`super::container`] let through comes here. One row is held at a time (and the first rows while the header is looked for).

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::Cursor;

use calamine::{CellErrorType, DataRef, Reader, SheetType, Xlsx, XlsxCellReader};

use super::{Error, IgnoredSheet, Limits, SheetRead, Summary};
use crate::contract::Contract;
use crate::table::{Cell, Header, HeaderColumn, RowSink, cell_name};

/// How many rows with something in them may stand above and including the header.
pub(super) const HEADER_WITHIN: usize = 20;
/// Why a sheet with fewer rows was left.
pub(super) const NO_HEADER: &str = "it ends without a header";
/// First column and row that no spreadsheet has.
const GRID: (u32, u32) = (1_048_576, 16_384);

/// Reads all sheets.
pub(super) fn read_all(
    bytes: &[u8],
    contract: &Contract,
    limits: &Limits,
    sink: &mut dyn RowSink,
) -> Result<Summary, Error> {
    let mut workbook = Xlsx::new(Cursor::new(bytes))
        .map_err(|error| Error::Container(format!("calamine: {error}")))?;
    let is_1904 = workbook.has_1904_epoch();
    let sheets = workbook.sheets_metadata().to_vec();
    let mut spent = Spent::default();
    let mut summary = Summary::default();
    let mut best = Candidate::default();
    for sheet in sheets {
        let name = sheet.name;
        if sheet.typ != SheetType::WorkSheet {
            let reason = "it is a chart or a dialog".into();
            summary.ignored.push(IgnoredSheet { name, reason });
            continue;
        }
        let cells = workbook.worksheet_cells_reader(&name);
        let mut rows = Rows {
            sheet: &name,
            cells: cells.map_err(|error| refuse(&name, error.to_string()))?,
            is_1904,
            limits,
            spent: &mut spent,
            ahead: None,
            last: None,
            is_over: false,
        };
        let outcome = read_sheet(&mut rows, contract, sink, &mut best)?;
        drop(rows);
        match outcome {
            Ok(rows) => summary.sheets.push(SheetRead { name, rows }),
            Err(reason) => summary.ignored.push(IgnoredSheet { name, reason }),
        }
    }
    if summary.sheets.is_empty() {
        return Err(best.no_header(contract));
    }
    Ok(summary)
}

/// Reads one sheet; gives the number of rows below its header, or why it was left.
fn read_sheet(
    rows: &mut Rows<'_, '_>,
    contract: &Contract,
    sink: &mut dyn RowSink,
    best: &mut Candidate,
) -> Result<Result<u64, String>, Error> {
    let mut cells = Vec::new();
    for _ in 0..HEADER_WITHIN {
        let Some(row) = rows.next(&mut cells)? else {
            return Ok(Err(NO_HEADER.into()));
        };
        let header = header_of(rows.sheet, row, &cells, contract);
        let missing = missing(&header, contract);
        if missing.is_empty() {
            check_duplicates(&header, row, contract)?;
            sink.sheet(&header);
            return hand_over(rows, &mut cells, sink).map(Ok);
        }
        best.offer(&header, missing);
    }
    Ok(Err(no_header_within()))
}

/// Why a sheet with many rows was left.
pub(super) fn no_header_within() -> String {
    format!("none of its first {HEADER_WITHIN} rows names the key columns")
}

/// The key columns that a row does not name.
pub(super) fn missing(header: &Header, contract: &Contract) -> Vec<usize> {
    contract
        .required_in_sheet()
        .filter(|required| header.columns.iter().all(|c| c.column != Some(*required)))
        .collect()
}

fn hand_over<'s>(
    rows: &mut Rows<'s, '_>,
    cells: &mut Vec<Cell<'s>>,
    sink: &mut dyn RowSink,
) -> Result<u64, Error> {
    let mut count = 0;
    while let Some(row) = rows.next(cells)? {
        sink.row(row + 1, cells);
        count += 1;
    }
    Ok(count)
}

/// A row as the header it may be.
pub(super) fn header_of(sheet: &str, row: u32, cells: &[Cell<'_>], contract: &Contract) -> Header {
    let columns = cells.iter().map(|cell| {
        let text = match cell {
            Cell::Text(text) => text.as_ref(),
            _ => "",
        };
        HeaderColumn {
            text: text.to_owned(),
            column: contract.column_of_header(text),
        }
    });
    Header {
        sheet: sheet.to_owned(),
        row: Some(row + 1),
        columns: columns.collect(),
    }
}

pub(super) fn check_duplicates(
    header: &Header,
    row: u32,
    contract: &Contract,
) -> Result<(), Error> {
    let mut places = vec![None; contract.columns.len()];
    for (position, column) in (0..).zip(&header.columns) {
        let Some(index) = column.column else { continue };
        if let Some(first) = places[index].replace(position) {
            return Err(Error::DuplicateHeader {
                sheet: header.sheet.clone(),
                column: contract.columns[index].name.clone(),
                first: cell_name(row, first),
                second: cell_name(row, position),
            });
        }
    }
    Ok(())
}

/// The row that came nearest to a header, for the message.
#[derive(Debug, Default)]
struct Candidate {
    missing: Vec<usize>,
    recognised: usize,
    sheet: String,
    texts: Vec<String>,
}

impl Candidate {
    fn offer(&mut self, header: &Header, missing: Vec<usize>) {
        let recognised = header.columns.iter().filter(|c| c.column.is_some()).count();
        if recognised <= self.recognised {
            return;
        }
        *self = Self {
            missing,
            recognised,
            sheet: header.sheet.clone(),
            texts: header.columns.iter().map(|c| c.text.clone()).collect(),
        };
    }

    /// Texts are shown only of a row that names a column of the contract: any other row may be somebody's data.
    fn no_header(self, contract: &Contract) -> Error {
        let missing = if self.recognised == 0 {
            contract.required_in_sheet().collect()
        } else {
            self.missing
        };
        let names: Vec<String> = missing
            .into_iter()
            .map(|index| &contract.columns[index])
            .map(|c| format!("{} ({})", c.name, c.headers.join(", ")))
            .collect();
        let mut found = String::new();
        if self.recognised > 0 {
            let texts: Vec<String> = self
                .texts
                .iter()
                .map(|t| t.chars().take(40).collect())
                .collect();
            write!(found, "; sheet `{}` has {}", self.sheet, texts.join(", "))
                .expect("writing to a string");
        }
        Error::NoHeader {
            dataset: contract.dataset,
            missing: names.join(" and "),
            found,
        }
    }
}

/// What all sheets have cost so far.
#[derive(Debug, Default)]
struct Spent {
    cells: u64,
    text_bytes: u64,
}

/// The rows of one sheet that hold at least one cell.
struct Rows<'s, 'a> {
    sheet: &'s str,
    cells: XlsxCellReader<'s, Cursor<&'a [u8]>>,
    is_1904: bool,
    limits: &'s Limits,
    spent: &'s mut Spent,
    /// The first cell of the next row.
    ahead: Option<(u32, u32, Cell<'s>)>,
    /// Where the last cell was, to notice one that comes twice.
    last: Option<(u32, u32)>,
    /// calamine reads on behind the end if asked again.
    is_over: bool,
}

impl<'s> Rows<'s, '_> {
    /// Fills `row` with the next row and gives its 0-based number.
    fn next(&mut self, row: &mut Vec<Cell<'s>>) -> Result<Option<u32>, Error> {
        row.clear();
        let first = match self.ahead.take() {
            Some(cell) => Some(cell),
            None => self.next_cell()?,
        };
        let Some((number, column, cell)) = first else {
            return Ok(None);
        };
        place(row, column, cell);
        while let Some((next, column, cell)) = self.next_cell()? {
            if next != number {
                self.ahead = Some((next, column, cell));
                break;
            }
            place(row, column, cell);
        }
        Ok(Some(number))
    }

    /// The next cell that holds something.
    fn next_cell(&mut self) -> Result<Option<(u32, u32, Cell<'s>)>, Error> {
        while !self.is_over {
            let next = self.cells.next_cell();
            let Some(cell) = next.map_err(|error| refuse(self.sheet, error.to_string()))? else {
                self.is_over = true;
                break;
            };
            let (row, column) = cell.get_position();
            self.check_place(row, column)?;
            let cell = convert(cell.get_value(), self.is_1904);
            if matches!(cell, Cell::Empty) {
                continue;
            }
            self.check_cost(row, column, &cell)?;
            return Ok(Some((row, column, cell)));
        }
        Ok(None)
    }

    fn check_place(&mut self, row: u32, column: u32) -> Result<(), Error> {
        if row >= GRID.0 || column >= GRID.1 {
            return Err(refuse(
                self.sheet,
                format!("row {row}, column {column} is outside of any sheet"),
            ));
        }
        if self.last.replace((row, column)) >= Some((row, column)) {
            let name = cell_name(row, column);
            return Err(refuse(
                self.sheet,
                format!("cell {name} comes twice or out of order"),
            ));
        }
        self.spent.cells += 1;
        self.check(self.spent.cells, self.limits.cells, "cells")
    }

    fn check_cost(&mut self, row: u32, column: u32, cell: &Cell<'_>) -> Result<(), Error> {
        self.check(u64::from(row) + 1, self.limits.rows.into(), "rows")?;
        self.check(u64::from(column) + 1, self.limits.columns.into(), "columns")?;
        let Cell::Text(text) = cell else {
            return Ok(());
        };
        let most = self.limits.text_bytes as u64;
        self.check(text.len() as u64, most, "bytes of text in a cell")?;
        self.spent.text_bytes += text.len() as u64;
        let most = self.limits.total_text_bytes;
        self.check(self.spent.text_bytes, most, "bytes of text")
    }

    fn check(&self, amount: u64, most: u64, what: &str) -> Result<(), Error> {
        if amount > most {
            let sheet = self.sheet;
            return Err(Error::TooLarge(format!(
                "sheet `{sheet}` has more than {most} {what}"
            )));
        }
        Ok(())
    }
}

fn refuse(sheet: &str, reason: String) -> Error {
    Error::Sheet {
        sheet: sheet.to_owned(),
        reason,
    }
}

/// Puts a cell at its column; those to the left that are missing are empty.
fn place<'s>(row: &mut Vec<Cell<'s>>, column: u32, cell: Cell<'s>) {
    row.resize(column as usize, Cell::Empty);
    row.push(cell);
}

fn convert<'s>(value: &DataRef<'s>, is_1904: bool) -> Cell<'s> {
    match value {
        DataRef::Empty => Cell::Empty,
        DataRef::String(text) | DataRef::DateTimeIso(text) | DataRef::DurationIso(text) => {
            // calamine lends its cell, so an inline string is copied once.
            Cell::Text(Cow::Owned(text.clone()))
        }
        DataRef::SharedString(text) => Cell::Text(Cow::Borrowed(text)),
        DataRef::Int(number) => Cell::Text(Cow::Owned(number.to_string())),
        DataRef::Float(number) => Cell::Number(*number),
        DataRef::Bool(value) => Cell::Bool(*value),
        DataRef::DateTime(value) if value.is_duration() => Cell::Elapsed {
            days: value.as_f64(),
        },
        DataRef::DateTime(value) => Cell::Date {
            days: value.as_f64(),
            is_1904,
        },
        DataRef::Error(error) => Cell::Error(error_text(error)),
    }
}

fn error_text(error: &CellErrorType) -> &'static str {
    match error {
        CellErrorType::Div0 => "#DIV/0!",
        CellErrorType::NA => "#N/A",
        CellErrorType::Name => "#NAME?",
        CellErrorType::Null => "#NULL!",
        CellErrorType::Num => "#NUM!",
        CellErrorType::Ref => "#REF!",
        CellErrorType::Value => "#VALUE!",
        CellErrorType::GettingData => "#GETTING_DATA",
    }
}
