//! The corpus: hostile and odd workbooks, each with what any reader must make of it. [`run`] takes the reader, so that one list holds for all.

use std::fmt::Write as _;

use meetlake::testing::decode::{DecodeSummary, Error};
use meetlake::testing::table::{Cell, Header, RowSink};

use super::{HEADER, Parts, ROW, containers, crc32, markup};

/// One file.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) expected: Expected,
}

/// What must become of it.
pub(crate) enum Expected {
    /// An error whose variant has this name, and whose text has this piece; empty for any.
    Refused(&'static str, &'static str),
    /// These rows, as [`Rows`] writes them.
    Rows(Vec<String>),
}

/// What the sheet of [`Parts::new`] with [`ROW`] holds.
pub(crate) const PLAIN: &str = r#"2: "123456789" "2026.10.12 06:10:42""#;

pub(crate) fn refused(
    name: &str,
    bytes: impl Into<Vec<u8>>,
    kind: &'static str,
    piece: &'static str,
) -> Case {
    let expected = Expected::Refused(kind, piece);
    Case {
        name: name.to_owned(),
        bytes: bytes.into(),
        expected,
    }
}

pub(crate) fn read(name: &str, bytes: impl Into<Vec<u8>>, rows: &[&str]) -> Case {
    Case {
        name: name.to_owned(),
        bytes: bytes.into(),
        expected: Expected::Rows(rows.iter().map(|&row| row.to_owned()).collect()),
    }
}

/// The whole list.
pub(crate) fn corpus() -> Vec<Case> {
    let parts = [containers::cases(), markup::cases()];
    parts.into_iter().flatten().collect()
}

/// Rows as text: the number, then each cell; texts in quotes, nothing as `-`, no empty cells at the end.
#[derive(Debug, Default)]
pub(crate) struct Rows(pub(crate) Vec<String>);

impl RowSink for Rows {
    fn restart(&mut self) {
        self.0.clear();
    }

    fn sheet(&mut self, _: &Header) {}

    fn row(&mut self, number: u32, cells: &[Cell<'_>]) {
        let mut line = format!("{number}:");
        let end = cells.iter().rposition(|cell| *cell != Cell::Empty);
        for cell in &cells[..end.map_or(0, |last| last + 1)] {
            let written = match cell {
                Cell::Empty => write!(line, " -"),
                Cell::Text(text) => write!(line, " {text:?}"),
                Cell::Number(number) => write!(line, " {number}"),
                Cell::Bool(value) => write!(line, " {value}"),
                Cell::Date { days, is_1904 } => write!(
                    line,
                    " {}({days})",
                    if *is_1904 { "date1904" } else { "date" }
                ),
                Cell::Elapsed { days } => write!(line, " elapsed({days})"),
                Cell::Error(error) => write!(line, " {}", error.as_str()),
                Cell::Unstored => write!(line, " unstored"),
            };
            written.expect("a string takes everything");
        }
        self.0.push(line);
    }
}

/// Reads one file into the sink.
type Reader<'r> = dyn FnMut(&[u8], &mut dyn RowSink) -> Result<DecodeSummary, Error> + 'r;

/// Reads every file of the corpus and gives what is not as expected.
pub(crate) fn run(reader: &mut Reader<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    for case in corpus() {
        let mut rows = Rows::default();
        let outcome = reader(&case.bytes, &mut rows);
        let is_right = match (&case.expected, &outcome) {
            (Expected::Refused(kind, piece), Err(error)) => {
                format!("{error:?}").starts_with(kind) && error.to_string().contains(piece)
            }
            (Expected::Rows(expected), Ok(_)) => rows.0 == *expected,
            _ => false,
        };
        if is_right {
            continue;
        }
        let found = match outcome {
            Ok(_) => format!("read as {:?}", rows.0),
            Err(error) => format!("{error:?}"),
        };
        let wanted = match &case.expected {
            Expected::Refused(kind, piece) => format!("{kind} with `{piece}`"),
            Expected::Rows(rows) => format!("{rows:?}"),
        };
        let found: String = found.chars().take(300).collect();
        let wanted: String = wanted.chars().take(300).collect();
        wrong.push(format!("{}: {found}, not {wanted}", case.name));
    }
    wrong
}

/// The plain workbook with these rows below the header.
pub(crate) fn sheet(rows: &str) -> Vec<u8> {
    Parts::new(rows).stored(0)
}

/// The plain workbook with this cell as `C2`.
pub(crate) fn cell(xml: &str) -> Vec<u8> {
    sheet(&ROW.replace("</row>", &format!("{xml}</row>")))
}

/// The plain workbook with this as the whole sheet part, header and row in place of `HEADER` and `ROW`.
pub(crate) fn whole_sheet(xml: &str) -> Vec<u8> {
    let xml = xml.replace("HEADER", HEADER).replace("ROW", ROW);
    Parts::new("").sheet(xml).stored(0)
}

/// The checksum of a part, for those who need to lie about it.
pub(crate) fn checksum(bytes: &[u8]) -> u32 {
    crc32(bytes)
}
