//! Reads the sheets of a checked workbook with calamine's streaming reader: finds the header row,
//! then passes on row after row.
//!
//! Only workbooks that [`super::container`] has accepted come here. One row is in memory at a time.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::Cursor;

use calamine::{
    CellErrorType, DataRef, Reader, SheetType, SheetVisible, Style, Xlsx, XlsxCellReader,
};

use super::padding::Padding;
use super::{DecodeSummary, Error, IgnoredSheet, SheetRead, WorkbookLimits, odd_cell};
use crate::contract::Contract;
use crate::table::{Cell, Header, HeaderColumn, RowSink, cell_name};

/// The header must be among this many first rows. Rows without cells do not count.
pub(super) const HEADER_WITHIN: usize = 20;
/// Why a sheet with fewer rows was skipped.
pub(super) const NO_HEADER: &str = "it ends without a header";
/// Number of rows and columns of a spreadsheet's grid.
const GRID_SIZE: (u32, u32) = (1_048_576, 16_384);

/// Reads all sheets.
pub(super) fn read_all(
    bytes: &[u8],
    contract: &Contract,
    limits: &WorkbookLimits,
    sink: &mut dyn RowSink,
) -> Result<DecodeSummary, Error> {
    let mut workbook = Xlsx::new(Cursor::new(bytes))
        .map_err(|error| Error::Container(format!("calamine: {error}")))?;
    let is_1904 = workbook.has_1904_epoch();
    let sheets = workbook.sheets_metadata().to_vec();
    let mut spent = ContentSize::default();
    let mut summary = DecodeSummary::default();
    let mut best = HeaderCandidate::default();
    let mut paddings: Option<Vec<Option<Padding>>> = None;
    for sheet in sheets {
        let name = sheet.name;
        let is_hidden = sheet.visible != SheetVisible::Visible;
        if sheet.typ != SheetType::WorkSheet {
            let reason = "it is a chart or a dialog".into();
            summary.ignored.push(IgnoredSheet { name, reason });
            continue;
        }
        let cells = workbook.worksheet_cells_reader(&name);
        let cells = cells.map_err(|error| refuse(&name, error.to_string()))?;
        let paddings = paddings.get_or_insert_with(|| {
            let styles = cells.styles().iter();
            styles.map(padding_of).collect()
        });
        let mut rows = CalamineRows {
            sheet: &name,
            cells,
            paddings,
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
            Ok(rows) => summary.sheets.push(SheetRead {
                name,
                rows,
                is_hidden,
            }),
            Err(reason) => summary.ignored.push(IgnoredSheet { name, reason }),
        }
    }
    if summary.sheets.is_empty() {
        return Err(best.no_header(contract));
    }
    Ok(summary)
}

/// Reads one sheet. Returns the number of rows below its header, or why it was skipped.
fn read_sheet(
    rows: &mut CalamineRows<'_, '_>,
    contract: &Contract,
    sink: &mut dyn RowSink,
    best: &mut HeaderCandidate,
) -> Result<Result<u64, String>, Error> {
    let mut cells = Vec::new();
    for _ in 0..HEADER_WITHIN {
        let Some(row) = rows.next(&mut cells)? else {
            return Ok(Err(NO_HEADER.into()));
        };
        let header = header_of(rows.sheet, row, &cells, contract);
        let missing = missing_keys(&header, contract);
        if missing.is_empty() {
            check_duplicates(&header, row, contract)?;
            sink.sheet(&header);
            return hand_over(rows, &mut cells, sink).map(Ok);
        }
        best.keep_if_better(&header, missing, contract);
        sink.above(rows.sheet, &cells);
    }
    Ok(Err(no_header_within()))
}

/// Why a sheet with many rows was skipped.
pub(super) fn no_header_within() -> String {
    format!("none of its first {HEADER_WITHIN} rows names the key columns")
}

/// The key columns that a header lacks.
pub(super) fn missing_keys(header: &Header, contract: &Contract) -> Vec<usize> {
    contract
        .required_in_sheet()
        .filter(|required| header.columns.iter().all(|c| c.column != Some(*required)))
        .collect()
}

fn hand_over<'s>(
    rows: &mut CalamineRows<'s, '_>,
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

/// Takes a row as a header: which column of the contract each cell names.
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

/// The row that came closest to a header, for the error message.
#[derive(Debug, Default)]
struct HeaderCandidate {
    missing: Vec<usize>,
    /// Its headers of the contract, and where they stand.
    recognised: Vec<String>,
    /// Headers of the contract that its other texts nearly are, and where they stand.
    nearly: Vec<String>,
    /// The rest of its texts.
    others: usize,
    sheet: String,
    row: Option<u32>,
}

impl HeaderCandidate {
    fn keep_if_better(&mut self, header: &Header, missing: Vec<usize>, contract: &Contract) {
        let mut found = Self {
            missing,
            sheet: header.sheet.clone(),
            row: header.row,
            ..Self::default()
        };
        for (position, column) in (0..).zip(&header.columns) {
            let text = column.text.trim();
            let place = || cell_name(header.row.unwrap_or(1) - 1, position);
            if column.column.is_some() {
                found.recognised.push(format!("{text} ({})", place()));
            } else if let Some(known) = contract.header_nearly(text) {
                found.nearly.push(format!("{known} ({})", place()));
            } else if !text.is_empty() {
                found.others += 1;
            }
        }
        let rank = |row: &Self| {
            (
                row.recognised.len() + row.nearly.len(),
                row.recognised.len(),
            )
        };
        if rank(&found) > rank(self) {
            *self = found;
        }
    }

    /// Shows of a row only what is a header of the contract. Anything else may be personal data: a
    /// sheet without a header has rows whose cells happen to be headers too.
    fn no_header(self, contract: &Contract) -> Error {
        let is_nothing = self.row.is_none();
        let missing = if is_nothing {
            contract.required_in_sheet().collect()
        } else {
            self.missing
        };
        let names: Vec<String> = missing
            .into_iter()
            .map(|index| &contract.columns[index])
            .map(|c| format!("{} ({})", c.name, c.headers.join(", ")))
            .collect();
        let mut found = format!(" in the first {HEADER_WITHIN} rows");
        if let Some(row) = self.row {
            let mut pieces = Vec::new();
            if !self.recognised.is_empty() {
                pieces.push(self.recognised.join(", "));
            }
            if !self.nearly.is_empty() {
                pieces.push(format!("what is nearly {}", self.nearly.join(", ")));
            }
            if self.others > 0 {
                pieces.push(format!("{} other texts", self.others));
            }
            let (sheet, texts) = (&self.sheet, pieces.join(" and "));
            write!(found, "; row {row} of sheet `{sheet}` has {texts}")
                .expect("writing to a string");
        }
        Error::NoHeader {
            dataset: contract.dataset,
            missing: names.join(" and "),
            found,
        }
    }
}

/// How many cells and bytes of text all sheets have had so far, to compare with the limits.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ContentSize {
    pub(super) cells: u64,
    /// Cells of the rows that were handed on, with the gaps in them.
    pub(super) places: u64,
    pub(super) text_bytes: u64,
}

/// The rows of one sheet that hold at least one cell.
struct CalamineRows<'s, 'a> {
    sheet: &'s str,
    cells: XlsxCellReader<'s, Cursor<&'a [u8]>>,
    /// For each cell format, the zeros that it shows.
    paddings: &'s [Option<Padding>],
    is_1904: bool,
    limits: &'s WorkbookLimits,
    spent: &'s mut ContentSize,
    /// The first cell of the next row.
    ahead: Option<(u32, u32, Cell<'s>)>,
    /// Position of the last cell, to notice cells that come twice or out of order.
    last: Option<(u32, u32)>,
    /// Set at the end of the rows, because calamine would read on if it were asked again.
    is_over: bool,
}

impl<'s> CalamineRows<'s, '_> {
    /// Fills `row` with the next row and returns its 0-based number.
    fn next(&mut self, row: &mut Vec<Cell<'s>>) -> Result<Option<u32>, Error> {
        row.clear();
        let first = match self.ahead.take() {
            Some(cell) => Some(cell),
            None => self.next_cell()?,
        };
        let Some((number, column, cell)) = first else {
            return Ok(None);
        };
        put(row, column, cell);
        while let Some((next, column, cell)) = self.next_cell()? {
            if next != number {
                self.ahead = Some((next, column, cell));
                break;
            }
            put(row, column, cell);
        }
        self.spent.places += row.len() as u64;
        self.check_limit(
            self.spent.places,
            self.limits.cells,
            "cells, with the gaps between them",
        )?;
        Ok(Some(number))
    }

    /// The next cell that is not empty.
    fn next_cell(&mut self) -> Result<Option<(u32, u32, Cell<'s>)>, Error> {
        while !self.is_over {
            let next = self.cells.next_cell_with_style_id();
            let next = next.map_err(|error| refuse(self.sheet, error.to_string()))?;
            let Some((cell, style)) = next else {
                self.is_over = true;
                break;
            };
            let (row, column) = cell.get_position();
            self.check_place(row, column)?;
            let cell = self.cell_of_value(cell.get_value(), style);
            if matches!(cell, Cell::Empty) {
                continue;
            }
            self.check_limits(row, column, &cell)?;
            return Ok(Some((row, column, cell)));
        }
        Ok(None)
    }

    fn check_place(&mut self, row: u32, column: u32) -> Result<(), Error> {
        if row >= GRID_SIZE.0 || column >= GRID_SIZE.1 {
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
        self.check_limit(self.spent.cells, self.limits.cells, "cells")
    }

    fn check_limits(&mut self, row: u32, column: u32, cell: &Cell<'_>) -> Result<(), Error> {
        self.check_limit(u64::from(row) + 1, self.limits.rows.into(), "rows")?;
        self.check_limit(u64::from(column) + 1, self.limits.columns.into(), "columns")?;
        let Cell::Text(text) = cell else {
            return Ok(());
        };
        let most = self.limits.text_bytes as u64;
        self.check_limit(text.len() as u64, most, "bytes of text in a cell")?;
        self.spent.text_bytes += text.len() as u64;
        let most = self.limits.total_text_bytes;
        self.check_limit(self.spent.text_bytes, most, "bytes of text")
    }

    fn cell_of_value(&self, value: &DataRef<'s>, style: usize) -> Cell<'s> {
        match value {
            DataRef::Empty => Cell::Empty,
            // calamine only lends its cell, so an inline string must be copied.
            DataRef::String(text) | DataRef::DurationIso(text) => {
                Cell::Text(Cow::Owned(text.clone()))
            }
            DataRef::DateTimeIso(text) => odd_cell::read(text),
            DataRef::SharedString(text) => Cell::Text(Cow::Borrowed(text)),
            DataRef::Int(number) => Cell::Text(Cow::Owned(number.to_string())),
            DataRef::Float(number) => {
                let padding = self.paddings.get(style).and_then(Option::as_ref);
                match padding.and_then(|padding| padding.shown(*number)) {
                    Some(shown) => Cell::Text(Cow::Owned(shown)),
                    None => Cell::Number(*number),
                }
            }
            DataRef::Bool(value) => Cell::Bool(*value),
            DataRef::DateTime(value) if value.is_duration() => Cell::Elapsed {
                days: value.as_f64(),
            },
            DataRef::DateTime(value) => Cell::Date {
                days: value.as_f64(),
                is_1904: self.is_1904,
            },
            DataRef::Error(error) => Cell::Error(error_text(error).into()),
        }
    }

    fn check_limit(&self, amount: u64, most: u64, what: &str) -> Result<(), Error> {
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

/// Puts a cell at its column. Missing cells to the left become empty ones.
fn put<'s>(row: &mut Vec<Cell<'s>>, column: u32, cell: Cell<'s>) {
    row.resize(column as usize, Cell::Empty);
    row.push(cell);
}

fn padding_of(style: &Style) -> Option<Padding> {
    let format = style.number_format.as_ref()?;
    Padding::of(&format.format_code)
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
