//! Decoding: the bytes of an exported workbook, of a report or of a listing become rows, which go
//! into a [`RowSink`] one by one.
//!
//! Takes bytes or a file, a contract (to recognise header rows) and limits. It knows nothing of
//! networks and tasks. It does not give cells a type either: `normalize` does.
//!
//! A workbook is treated as hostile until it has been checked. `own` reads the usual shape of an
//! export. Any other workbook goes to calamine: `container` first checks the zip, and `markup` every
//! part in it that is read, with bounded memory. What calamine gets is a copy of these parts alone.
//! calamine itself runs in a child process that may die (`child`).

mod child;
mod container;
mod frame;
mod layout;
mod listing;
mod markup;
mod odd_cell;
mod own;
mod package;
mod padding;
mod report;
mod sheet;

use std::borrow::Cow;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::own::WorkbookBytes;
use crate::contract::Contract;
use crate::datasets::{Dataset, Fetch, Source};
use crate::findings::Findings;
use crate::table::{Cell, Header, RowSink};

pub use child::{Fallback, READER_VERB, serve_reader};
pub use listing::listing;
pub use report::report;

/// What reading a workbook may cost. A workbook beyond a limit is refused. It is never cut short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkbookLimits {
    /// Size of the file.
    pub container_bytes: u64,
    /// Parts in the zip.
    pub entries: usize,
    /// One part, inflated.
    pub entry_bytes: u64,
    /// All parts together, inflated.
    pub total_bytes: u64,
    /// How many times larger than its compressed size a part may be. Parts up to 1 MiB are exempt.
    pub ratio: u64,
    /// Shared strings.
    pub shared_strings: u64,
    /// Cell formats; Excel itself stops at 65,490.
    pub formats: u64,
    /// Highest row number in a sheet.
    pub rows: u32,
    /// Highest column number in a sheet.
    pub columns: u32,
    /// Cells of all sheets together, including empty ones. Also the cells of the rows that are
    /// handed on, including the gaps in them.
    pub cells: u64,
    /// UTF-8 bytes of one run of text. A cell in Excel holds at most 32,767 characters.
    pub text_bytes: usize,
    /// UTF-8 bytes of all text cells together. One Arrow string column can hold 2 GiB.
    pub total_text_bytes: u64,
    /// Time that calamine may take. It bounds elapsed time and processor time.
    pub time: Duration,
    /// Memory of the child process that calamine runs in.
    pub memory_bytes: u64,
}

impl Default for WorkbookLimits {
    fn default() -> Self {
        Self {
            container_bytes: 256 << 20,
            entries: 1_000,
            entry_bytes: 2 << 30,
            total_bytes: 4 << 30,
            ratio: 200,
            shared_strings: 5_000_000,
            formats: 100_000,
            rows: 1_048_576,
            columns: 16_384,
            cells: 50_000_000,
            text_bytes: 1 << 20,
            total_text_bytes: 1 << 30,
            time: Duration::from_secs(120),
            memory_bytes: 2 << 30,
        }
    }
}

/// What was read from a workbook or report. The rows themselves went to the sink.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecodeSummary {
    /// Sheets whose header was recognised, in the order of the workbook. A workbook has at least
    /// one.
    pub sheets: Vec<SheetRead>,
    /// Sheets that were skipped because they have no header of the contract.
    pub ignored: Vec<IgnoredSheet>,
    /// Items of a listing that are hidden from the app, and have no row.
    #[serde(default)]
    pub hidden: u64,
    /// Which reader read it. The child process does not send this: its parent knows.
    #[serde(skip)]
    pub reader: WorkbookReader,
}

/// Which of the two readers read a workbook. Both give the same rows. calamine is slower.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WorkbookReader {
    /// Our own reader, for the usual shape of an export and for reports.
    #[default]
    Own,
    /// calamine.
    Calamine {
        /// What our own reader does not support.
        why: &'static str,
    },
}

impl DecodeSummary {
    /// Tells what the rows do not: which sheets are hidden, and which reader read them.
    pub fn tell(&self, findings: &mut Findings) {
        findings.left_to_calamine = self.reader.left_to_calamine();
        let hidden = self.sheets.iter();
        let hidden = hidden.filter(|sheet| sheet.is_hidden && sheet.rows > 0);
        findings.hidden_sheets = hidden.map(|sheet| sheet.name.clone()).collect();
        findings.items_hidden = self.hidden;
    }
}

impl WorkbookReader {
    /// Why calamine had to read the workbook; `None` if our own reader read it.
    #[must_use]
    pub fn left_to_calamine(self) -> Option<String> {
        match self {
            Self::Own => None,
            Self::Calamine { why } => Some(why.to_owned()),
        }
    }
}

/// A sheet whose rows went to the sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SheetRead {
    /// Its name.
    pub name: String,
    /// Number of rows below the header that hold at least one cell.
    pub rows: u64,
    /// Whether a program that shows the workbook hides the sheet.
    pub is_hidden: bool,
}

/// A sheet without a header of the contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IgnoredSheet {
    /// Its name.
    pub name: String,
    /// Why it was skipped.
    pub reason: String,
}

/// Why bytes could not be decoded. Only [`Error::Unreadable`] and [`Error::NoReader`] may go away
/// when the same bytes are read again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Error {
    /// The file cannot be read from disk.
    #[error("the file cannot be read: {0}")]
    Unreadable(String),
    /// The file has no bytes.
    #[error("the file is empty (0 bytes)")]
    Empty,
    /// The file is something other than a workbook.
    #[error("the file is no workbook: {0}")]
    NotAWorkbook(String),
    /// The zip is damaged, or built in a way that no spreadsheet program builds it.
    #[error("the workbook's container is refused: {0}")]
    Container(String),
    /// The workbook exceeds a limit.
    #[error("the workbook is larger than allowed: {0}")]
    TooLarge(String),
    /// A part holds XML that readers would understand differently, or not at all.
    #[error("the workbook's part `{part}` is refused: {reason}")]
    Part {
        /// Path in the zip.
        part: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A sheet cannot be read to its end.
    #[error("sheet `{sheet}` cannot be read: {reason}")]
    Sheet {
        /// Name of the sheet.
        sheet: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No sheet has a header row with the key columns.
    #[error("no sheet has the header of {dataset}: {missing} not found{found}")]
    NoHeader {
        /// The contract's dataset.
        dataset: Dataset,
        /// The key columns that the best candidate lacks, each with its possible headers.
        missing: String,
        /// The headers of the best candidate, ready to append. Empty if no row resembled a header.
        found: String,
    },
    /// Two cells of one header row name the same column.
    #[error("sheet `{sheet}` names the column `{column}` twice, in {first} and {second}")]
    DuplicateHeader {
        /// Name of the sheet.
        sheet: String,
        /// Name in the contract.
        column: String,
        /// The first cell.
        first: String,
        /// The second cell.
        second: String,
    },
    /// The child process ended before it had read the workbook.
    #[error("the workbook's reader failed: {0}")]
    Reader(String),
    /// This machine cannot start a child process. That says nothing about the workbook.
    #[error("could not start a process to read the workbook in: {0}")]
    NoReader(String),
    /// A report's answer differs from what Feishu documents.
    #[error("the report's answer is refused: {0}")]
    Report(String),
    /// The pages of a listing are damaged, incomplete, or not what Feishu documents.
    #[error("the listing is refused: {0}")]
    Listing(String),
}

/// Reads an original of a source of the contract's dataset, a file of `length` bytes, in the form
/// in which its fetch keeps it. A workbook is read piece by piece. It is held in memory only if
/// calamine has to read it.
///
/// # Errors
/// [`Error::Unreadable`], and what [`report()`] and [`listing()`] say. For a workbook: the bytes are
/// no workbook, it is damaged, dangerous or larger than `limits`, or no sheet has the contract's header.
pub fn original(
    file: &File,
    length: usize,
    (contract, source): (&Contract, &Source),
    limits: &WorkbookLimits,
    fallback: &Fallback,
    sink: &mut dyn RowSink,
) -> Result<DecodeSummary, Error> {
    let bytes = WorkbookBytes::File(file, length);
    match source.fetch {
        Fetch::Export if length as u64 > limits.container_bytes => {
            Err(container::too_large(length, limits))
        }
        Fetch::Export => read(bytes, contract, limits, fallback, sink),
        Fetch::Call(_) => report(&read_all(bytes)?, contract, sink),
        Fetch::Pages(_)
        | Fetch::Walk(..)
        | Fetch::Details(..)
        | Fetch::Nodes(_)
        | Fetch::Received { .. } => listing(&read_all(bytes)?, contract, source, sink),
    }
}

fn read_all(source: WorkbookBytes<'_>) -> Result<Cow<'_, [u8]>, Error> {
    let bytes = source.read_all();
    bytes.map_err(|error| Error::Unreadable(error.to_string()))
}

/// Reads all sheets of a workbook that have a header of `contract`, in order, into `sink`.
///
/// If our own reader does not support the file, the sink is restarted and calamine reads it. After
/// an error the sink has seen some of the rows and must be dropped.
///
/// # Errors
/// The bytes are no workbook, the workbook is damaged, dangerous or larger than `limits`, or no
/// sheet has the contract's header.
#[cfg(any(test, feature = "testing"))]
pub fn workbook(
    bytes: &[u8],
    contract: &Contract,
    limits: &WorkbookLimits,
    fallback: &Fallback,
    sink: &mut dyn RowSink,
) -> Result<DecodeSummary, Error> {
    read(
        WorkbookBytes::Memory(bytes),
        contract,
        limits,
        fallback,
        sink,
    )
}

fn read(
    source: WorkbookBytes<'_>,
    contract: &Contract,
    limits: &WorkbookLimits,
    fallback: &Fallback,
    sink: &mut dyn RowSink,
) -> Result<DecodeSummary, Error> {
    let mut watched = WatchedSink {
        sink,
        is_at_work: false,
    };
    let read = AssertUnwindSafe(|| own::read(source, contract, limits, &mut watched));
    let why = match catch_unwind(read) {
        Ok(Ok(summary)) => {
            // Not for files: one may have changed meanwhile, which its owner checks.
            if let WorkbookBytes::Memory(bytes) = source {
                debug_assert!(
                    layout::check(bytes).is_ok(),
                    "the careful reader accepts the layout too"
                );
            }
            return Ok(summary);
        }
        Ok(Err(own::Unsupported(why))) => why,
        // The sink panicked. Another reader would not help.
        Err(panic) if watched.is_at_work => resume_unwind(panic),
        Err(_) => "the fast reader panicked",
    };
    sink.restart();
    let bytes = read_all(source)?;
    let mut summary = workbook_by_calamine(&bytes, contract, limits, fallback, sink)?;
    summary.reader = WorkbookReader::Calamine { why };
    Ok(summary)
}

/// Passes rows on, and knows whether the sink is running. So a panic of the sink can be told from a
/// panic of the reader.
struct WatchedSink<'s> {
    sink: &'s mut dyn RowSink,
    is_at_work: bool,
}

impl RowSink for WatchedSink<'_> {
    fn sheet(&mut self, header: &Header) {
        self.is_at_work = true;
        self.sink.sheet(header);
        self.is_at_work = false;
    }

    fn row(&mut self, number: u32, cells: &[Cell<'_>]) {
        self.is_at_work = true;
        self.sink.row(number, cells);
        self.is_at_work = false;
    }

    fn above(&mut self, sheet: &str, cells: &[Cell<'_>]) {
        self.is_at_work = true;
        self.sink.above(sheet, cells);
        self.is_at_work = false;
    }

    fn restart(&mut self) {
        self.sink.restart();
    }
}

/// Like [`workbook`], by calamine alone. It is slower, and the reference for what a workbook holds.
///
/// # Errors
/// Those of [`workbook`].
pub fn workbook_by_calamine(
    bytes: &[u8],
    contract: &Contract,
    limits: &WorkbookLimits,
    fallback: &Fallback,
    sink: &mut dyn RowSink,
) -> Result<DecodeSummary, Error> {
    let copy = container::checked_copy(bytes, limits)?;
    let mut summary = fallback.read(&copy, contract, limits, sink)?;
    summary.reader = WorkbookReader::Calamine { why: "asked for" };
    Ok(summary)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sink that panics.
    #[derive(Default)]
    struct Faulty {
        restarts: u32,
    }

    impl RowSink for Faulty {
        fn sheet(&mut self, _: &Header) {}

        fn row(&mut self, _: u32, _: &[Cell<'_>]) {
            panic!("a fault of the sink");
        }

        fn restart(&mut self) {
            self.restarts += 1;
        }
    }

    #[test]
    fn a_panic_of_the_sink_is_not_blamed_on_the_reader() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/observed_meeting_list.xlsx"
        );
        let bytes = std::fs::read(path).expect("a fixture");
        let mut sink = Faulty::default();
        let read = AssertUnwindSafe(|| {
            workbook(
                &bytes,
                Contract::of(Dataset::MeetingList),
                &WorkbookLimits::default(),
                &Fallback::in_this_process(),
                &mut sink,
            )
        });
        let panic = catch_unwind(read).expect_err("the sink's panic");
        assert_eq!(panic.downcast_ref(), Some(&"a fault of the sink"));
        assert_eq!(sink.restarts, 0, "calamine was not asked");
    }
}
