//! Bytes become a table: the sheets of an exported workbook, or the list of a report, row by row into a [`RowSink`].
//!
//! Takes bytes (or a file of them), a contract (to recognise header rows) and limits; knows nothing of networks and tasks, and gives cells no
//! type of its own: that is `normalize`. A workbook is hostile until proven: `container` checks the zip and `markup` every part in it, with
//! bounded memory, before calamine sees a byte, and calamine lives in a process that may die (`child`).

mod child;
mod container;
mod frame;
mod layout;
mod markup;
mod own;
mod report;
mod sheet;

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::own::Source;
use crate::contract::Contract;
use crate::dataset::Dataset;
use crate::table::{Cell, Header, RowSink};

pub use child::{Fallback, VERB, serve};
pub use report::report;

/// What a workbook may cost. A workbook beyond a limit is refused, never cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Size of the file.
    pub container_bytes: u64,
    /// Parts in the zip.
    pub entries: usize,
    /// One part, inflated.
    pub entry_bytes: u64,
    /// All parts together, inflated.
    pub total_bytes: u64,
    /// How many times its compressed size a part may have, once it is larger than 1 MiB.
    pub ratio: u64,
    /// Shared strings.
    pub shared_strings: u64,
    /// Cell formats; Excel itself stops at 65,490.
    pub formats: u64,
    /// Rows of a sheet, as numbered.
    pub rows: u32,
    /// Columns of a sheet, as numbered.
    pub columns: u32,
    /// Cells of all sheets, empty ones too.
    pub cells: u64,
    /// UTF-8 bytes of one run of text; Excel's cells hold 32,767 characters.
    pub text_bytes: usize,
    /// UTF-8 bytes of all text cells; below the 2 GiB that one Arrow string column can hold.
    pub total_text_bytes: u64,
    /// Time in calamine, by the clock and of the processor.
    pub time: Duration,
    /// Memory of the process that calamine runs in.
    pub memory_bytes: u64,
}

impl Default for Limits {
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
            columns: 512,
            cells: 50_000_000,
            text_bytes: 1 << 20,
            total_text_bytes: 1 << 30,
            time: Duration::from_secs(120),
            memory_bytes: 2 << 30,
        }
    }
}

/// What was read; the rows went to the sink.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Sheets whose header was recognised, in the order of the workbook; never empty for a workbook.
    pub sheets: Vec<SheetRead>,
    /// Sheets that were looked at and left.
    pub ignored: Vec<IgnoredSheet>,
    /// What read it. Who asked for it knows, so a reading process does not say it.
    #[serde(skip)]
    pub reader: Reader,
}

/// Which of the two readers read a workbook. They give the same rows; the second is slower.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reader {
    /// The one for the shape that exports have (and for reports).
    #[default]
    Own,
    /// calamine.
    Calamine {
        /// What the first reader does not know.
        why: &'static str,
    },
}

impl Reader {
    /// What the first reader did not know, where the second had to read.
    #[must_use]
    pub fn left_to_calamine(self) -> Option<String> {
        match self {
            Self::Own => None,
            Self::Calamine { why } => Some(why.to_owned()),
        }
    }
}

/// A sheet whose rows were handed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SheetRead {
    /// Its name.
    pub name: String,
    /// Rows below the header that hold at least one cell.
    pub rows: u64,
}

/// A sheet without a header of the contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IgnoredSheet {
    /// Its name.
    pub name: String,
    /// Why it was left.
    pub reason: String,
}

/// Why bytes are no table. None of it but [`Error::Unreadable`] and [`Error::NoReader`] is cured by asking for the same bytes again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Error {
    /// The file cannot be read from disk.
    #[error("the file cannot be read: {0}")]
    Unreadable(String),
    /// No bytes at all.
    #[error("the file is empty (0 bytes)")]
    Empty,
    /// Something else than a workbook.
    #[error("the file is no workbook: {0}")]
    NotAWorkbook(String),
    /// A zip that is damaged, or built in a way no spreadsheet program does.
    #[error("the workbook's container is refused: {0}")]
    Container(String),
    /// More than the limits allow.
    #[error("the workbook is larger than allowed: {0}")]
    TooLarge(String),
    /// XML that readers would understand differently, or not at all.
    #[error("the workbook's part `{part}` is refused: {reason}")]
    Part {
        /// Path in the zip.
        part: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A sheet that cannot be read to its end.
    #[error("sheet `{sheet}` cannot be read: {reason}")]
    Sheet {
        /// Name of the sheet.
        sheet: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No sheet has a row that names the key columns.
    #[error("no sheet has the header of {dataset}: {missing} not found{found}")]
    NoHeader {
        /// The contract's dataset.
        dataset: Dataset,
        /// The key columns that the best candidate lacks, with a header each.
        missing: String,
        /// What the best candidate has, ready to append; empty if nothing resembled a header.
        found: String,
    },
    /// Two columns of one header row name the same column.
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
    /// The reader did not live to the end of it.
    #[error("the workbook's reader failed: {0}")]
    Reader(String),
    /// This machine cannot start a reader; that says nothing about the workbook.
    #[error("could not start a process to read the workbook in: {0}")]
    NoReader(String),
    /// A report's answer that is not what its page documents.
    #[error("the report's answer is refused: {0}")]
    Report(String),
}

/// Reads all sheets of a workbook that have a header of `contract`, in order, into `sink`. A file that the fast reader does not know
/// exactly is read again by calamine, after the sink was told to forget. On an error the sink has seen an unknown part of the rows, and
/// must be dropped.
///
/// # Errors
/// The bytes are no workbook, the workbook is damaged, dangerous or larger than `limits`, or no sheet has the contract's header.
pub fn workbook(
    bytes: &[u8],
    contract: &Contract,
    limits: &Limits,
    fallback: &Fallback,
    sink: &mut dyn RowSink,
) -> Result<Summary, Error> {
    read(Source::Memory(bytes), contract, limits, fallback, sink)
}

/// The same of a file, `length` bytes long, which is not held in memory unless calamine has to read it.
///
/// # Errors
/// Those of [`workbook`], and [`Error::Unreadable`].
pub fn workbook_file(
    file: &File,
    length: usize,
    contract: &Contract,
    limits: &Limits,
    fallback: &Fallback,
    sink: &mut dyn RowSink,
) -> Result<Summary, Error> {
    if length as u64 > limits.container_bytes {
        return Err(container::too_large(length, limits));
    }
    let source = Source::File(file, length);
    read(source, contract, limits, fallback, sink)
}

fn read(
    source: Source<'_>,
    contract: &Contract,
    limits: &Limits,
    fallback: &Fallback,
    sink: &mut dyn RowSink,
) -> Result<Summary, Error> {
    let mut watched = Watched {
        sink,
        is_at_work: false,
    };
    let read = AssertUnwindSafe(|| own::read(source, contract, limits, &mut watched));
    let why = match catch_unwind(read) {
        Ok(Ok(summary)) => {
            // A file may have changed meanwhile, which whoever opened it finds out.
            if let Source::Memory(bytes) = source {
                debug_assert!(
                    layout::check(bytes).is_ok(),
                    "what is read fast is laid out in one way only"
                );
            }
            return Ok(summary);
        }
        Ok(Err(own::Unknown(why))) => why,
        // Not the reader's fault, and no other reader would cure it.
        Err(panic) if watched.is_at_work => resume_unwind(panic),
        Err(_) => "the fast reader gave up in the middle of it",
    };
    sink.restart();
    let bytes = source
        .whole()
        .map_err(|error| Error::Unreadable(error.to_string()))?;
    let mut summary = workbook_by_calamine(&bytes, contract, limits, fallback, sink)?;
    summary.reader = Reader::Calamine { why };
    Ok(summary)
}

/// Knows whether a panic is the sink's own.
struct Watched<'s> {
    sink: &'s mut dyn RowSink,
    is_at_work: bool,
}

impl RowSink for Watched<'_> {
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

    fn restart(&mut self) {
        self.sink.restart();
    }
}

/// The same by calamine alone: slower, and the judge of what a workbook holds. For comparisons.
///
/// # Errors
/// Those of [`workbook`].
pub fn workbook_by_calamine(
    bytes: &[u8],
    contract: &Contract,
    limits: &Limits,
    fallback: &Fallback,
    sink: &mut dyn RowSink,
) -> Result<Summary, Error> {
    container::check(bytes, limits)?;
    let mut summary = fallback.read(bytes, contract, limits, sink)?;
    summary.reader = Reader::Calamine { why: "asked for" };
    Ok(summary)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sink with a fault.
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
                &Limits::default(),
                &Fallback::in_this_process(),
                &mut sink,
            )
        });
        let panic = catch_unwind(read).expect_err("the sink's panic");
        assert_eq!(panic.downcast_ref(), Some(&"a fault of the sink"));
        assert_eq!(sink.restarts, 0, "calamine was not asked");
    }
}
