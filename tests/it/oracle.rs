//! The fast reader against calamine: the same bytes give the same cells bit for bit, and the same batch and findings, or the same refusal.
//!
//! calamine behind the preflight is the judge. Whatever the fast reader knows it must know as the judge does; the rest it must leave alone.
//! `MEETLAKE_SEED` replays a case, `MEETLAKE_LONG` makes many more of them.

mod cases;
mod written;

use arrow::array::RecordBatch;
use meetlake::testing::contract::{Column, ColumnKind, Contract};
use meetlake::testing::dataset::Dataset;
use meetlake::testing::decode::{
    self, DecodeSummary, Error, Fallback, WorkbookLimits, WorkbookReader,
};
use meetlake::testing::findings::Findings;
use meetlake::testing::normalize::{self, Normalizer, Quarantine};
use meetlake::testing::table::{Cell, Header, RowSink, column_name};

use cases::{Case, Random};

/// Takes down what it is given, and normalizes it; `Debug` of a float tells any two apart.
struct Both<'n, 'c> {
    lines: Vec<String>,
    normalizer: &'n mut Normalizer<'c>,
}

impl RowSink for Both<'_, '_> {
    fn sheet(&mut self, header: &Header) {
        self.lines.push(format!("{header:?}"));
        self.normalizer.sheet(header);
    }

    fn row(&mut self, number: u32, cells: &[Cell<'_>]) {
        self.lines.push(format!("{number} {cells:?}"));
        self.normalizer.row(number, cells);
    }

    fn above(&mut self, sheet: &str, cells: &[Cell<'_>]) {
        self.lines.push(format!("above {sheet} {cells:?}"));
        self.normalizer.above(sheet, cells);
    }

    fn restart(&mut self) {
        self.lines.clear();
        self.normalizer.restart();
    }
}

/// All that a caller sees of a workbook but what read it.
#[derive(Debug, PartialEq)]
struct Seen {
    summary: DecodeSummary,
    lines: Vec<String>,
    table: Result<(RecordBatch, Findings), Box<Quarantine>>,
}

type Outcome = Result<Seen, Error>;

/// One of the two readers.
type Read = fn(
    &[u8],
    &Contract,
    &WorkbookLimits,
    &Fallback,
    &mut dyn RowSink,
) -> Result<DecodeSummary, Error>;

/// What one of the readers makes of the bytes, and what read them.
fn read_by(
    reader: Read,
    dataset: Dataset,
    bytes: &[u8],
    limits: &WorkbookLimits,
    fallback: &Fallback,
) -> (Outcome, Option<WorkbookReader>) {
    let context = crate::hostile::context(dataset);
    let ((read, lines), table) = normalize::whole(&context, |normalizer| {
        let mut both = Both {
            lines: Vec::new(),
            normalizer,
        };
        let read = reader(bytes, context.contract, limits, fallback, &mut both);
        (read, both.lines)
    });
    let mut summary = match read {
        Ok(summary) => summary,
        Err(error) => return (Err(error), None),
    };
    let read_by = std::mem::take(&mut summary.reader);
    let seen = Seen {
        summary,
        lines,
        table: table.map(|table| (table.batch, table.findings)),
    };
    (Ok(seen), Some(read_by))
}

/// What the comparison of one file was about.
pub(crate) struct Compared {
    /// What read it; nothing if both refused it.
    pub(crate) reader: Option<WorkbookReader>,
    /// How many rows came out of it.
    pub(crate) rows: usize,
}

/// Compares both readers on one file: the same summary, cells, batch and findings, or the same refusal.
pub(crate) fn compare_in(
    fallback: &Fallback,
    what: &dyn std::fmt::Display,
    dataset: Dataset,
    bytes: &[u8],
    limits: &WorkbookLimits,
) -> Compared {
    let (outcome, reader) = read_by(decode::workbook, dataset, bytes, limits, fallback);
    let by_calamine = decode::workbook_by_calamine;
    let (judged, _) = read_by(by_calamine, dataset, bytes, limits, fallback);
    if outcome != judged {
        panic!("{what}: read by {reader:?}\n{outcome:#?}\n\ncalamine:\n{judged:#?}");
    }
    let table = outcome.ok().and_then(|seen| seen.table.ok());
    Compared {
        reader,
        rows: table.map_or(0, |(batch, _)| batch.num_rows()),
    }
}

fn compare(
    what: &dyn std::fmt::Display,
    dataset: Dataset,
    bytes: &[u8],
    limits: &WorkbookLimits,
) -> Compared {
    compare_in(&Fallback::in_this_process(), what, dataset, bytes, limits)
}

fn cases(quick: u64) -> u64 {
    let is_long = std::env::var_os("MEETLAKE_LONG").is_some();
    if is_long { quick * 40 } else { quick }
}

/// The seeds of a test: one that is asked for, or the first so many behind the time.
fn seeds(count: u64) -> impl Iterator<Item = u64> {
    let asked = std::env::var("MEETLAKE_SEED").ok();
    let asked: Option<u64> = asked.map(|seed| seed.parse().expect("MEETLAKE_SEED is a number"));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let start = asked.unwrap_or_else(|| now.expect("after 1970").as_secs() << 20);
    start..start + asked.map_or(count, |_| 1)
}

#[test]
fn every_fixture_is_read_by_the_fast_reader() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("the fixtures") {
        let path = entry.expect("a fixture").path();
        if path.extension().is_none_or(|extension| extension != "xlsx") {
            continue;
        }
        let name = path.file_name().expect("a name").to_string_lossy();
        let dataset = Dataset::ALL.into_iter().filter(|d| d.is_export());
        let dataset = dataset.filter(|d| name.contains(d.as_str()));
        let dataset = dataset.max_by_key(|d| d.as_str().len());
        let dataset = dataset.unwrap_or(Dataset::ResourceReservationList);
        let bytes = std::fs::read(&path).expect("a fixture");
        let compared = compare(&name, dataset, &bytes, &WorkbookLimits::default());
        assert_eq!(compared.reader, Some(WorkbookReader::Own), "{name}");
        count += 1;
    }
    assert_eq!(count, 12);
}

#[test]
fn workbooks_in_the_shape_of_exports_are_read_by_the_fast_reader() {
    let (mut tables, mut rows) = (0, 0);
    let total = cases(1_500);
    for seed in seeds(total) {
        let case = Case::usual(&mut Random::new(seed));
        let what = format_args!("MEETLAKE_SEED={seed} (usual)\n{case}");
        let compared = compare(&what, case.dataset, &case.zip(), &WorkbookLimits::default());
        assert_eq!(compared.reader, Some(WorkbookReader::Own), "{what}");
        tables += u64::from(compared.rows > 0);
        rows += compared.rows;
    }
    println!("{total} workbooks, {tables} with {rows} rows in their batches");
    if total > 1 && std::env::var_os("MEETLAKE_SEED").is_none() {
        assert!(tables * 5 > total, "{tables} of {total} gave a batch");
    }
}

#[test]
fn workbooks_longer_than_a_window_are_read_by_the_fast_reader() {
    let (mut bytes, mut rows) = (0, 0);
    let total = cases(12);
    for seed in seeds(total) {
        let case = Case::large(&mut Random::new(seed));
        assert!(case.longest_part() > 256 << 10, "MEETLAKE_SEED={seed}");
        let what = format_args!("MEETLAKE_SEED={seed} (large)");
        let compared = compare(&what, case.dataset, &case.zip(), &WorkbookLimits::default());
        assert_eq!(compared.reader, Some(WorkbookReader::Own), "{what}");
        bytes += case.longest_part();
        rows += compared.rows;
    }
    println!(
        "{total} workbooks, {bytes} bytes in their longest parts, {rows} rows in their batches"
    );
}

#[test]
fn workbooks_of_any_shape_are_read_alike_or_refused_alike() {
    let mut counts = Counts::default();
    let total = cases(3_500);
    for seed in seeds(total) {
        let case = Case::odd(&mut Random::new(seed));
        let what = format_args!("MEETLAKE_SEED={seed} (odd)\n{case}");
        counts.add(&compare(
            &what,
            case.dataset,
            &case.zip(),
            &WorkbookLimits::default(),
        ));
    }
    println!("{counts:?}");
    if total > 1 && std::env::var_os("MEETLAKE_SEED").is_none() {
        // A generator that has lost one of the three compares nothing.
        let least = counts.own.min(counts.calamine).min(counts.refused);
        assert!(least * 20 > total, "{counts:?}");
    }
}

#[test]
fn workbooks_of_another_writer_are_read_alike() {
    let mut counts = Counts::default();
    let total = cases(200);
    for seed in seeds(total) {
        let (dataset, bytes) = written::workbook(&mut Random::new(seed));
        let what = format_args!("MEETLAKE_SEED={seed} (written)");
        counts.add(&compare(&what, dataset, &bytes, &WorkbookLimits::default()));
    }
    println!("{counts:?}");
    if total > 1 && std::env::var_os("MEETLAKE_SEED").is_none() {
        assert_eq!(counts.refused, 0);
        assert!(counts.own.min(counts.calamine) * 10 > total, "{counts:?}");
    }
}

/// How many files were read by what, and how many rows their batches had.
#[derive(Debug, Default)]
struct Counts {
    own: u64,
    calamine: u64,
    refused: u64,
    rows: usize,
}

impl Counts {
    fn add(&mut self, compared: &Compared) {
        match compared.reader {
            Some(WorkbookReader::Own) => self.own += 1,
            Some(WorkbookReader::Calamine { .. }) => self.calamine += 1,
            None => self.refused += 1,
        }
        self.rows += compared.rows;
    }
}

#[test]
fn a_flipped_bit_anywhere_never_makes_the_readers_differ() {
    let seed = seeds(1).next().expect("a seed");
    let mut random = Random::new(seed);
    for round in 0..cases(300) {
        let case = Case::usual(&mut random);
        let mut bytes = case.zip();
        let at = random.below(bytes.len());
        bytes[at] ^= 1 << random.below(8);
        compare(
            &format_args!("MEETLAKE_SEED={seed}, round {round}, byte {at}"),
            case.dataset,
            &bytes,
            &WorkbookLimits::default(),
        );
    }
}

#[test]
fn limits_stop_both_readers_at_the_same_files() {
    let seed = seeds(1).next().expect("a seed");
    let mut random = Random::new(seed);
    for round in 0..cases(300) {
        let case = Case::usual(&mut random);
        let limits = match random.below(8) {
            0 => WorkbookLimits {
                cells: random.below(60) as u64,
                ..WorkbookLimits::default()
            },
            1 => WorkbookLimits {
                text_bytes: random.below(120),
                ..WorkbookLimits::default()
            },
            2 => WorkbookLimits {
                total_text_bytes: random.below(900) as u64,
                ..WorkbookLimits::default()
            },
            3 => WorkbookLimits {
                rows: random.below(12) as u32,
                ..WorkbookLimits::default()
            },
            4 => WorkbookLimits {
                columns: random.below(12) as u32,
                ..WorkbookLimits::default()
            },
            5 => WorkbookLimits {
                shared_strings: random.below(20) as u64,
                ..WorkbookLimits::default()
            },
            6 => WorkbookLimits {
                formats: random.below(6) as u64,
                ..WorkbookLimits::default()
            },
            _ => WorkbookLimits {
                total_bytes: random.below(9_000) as u64,
                ..WorkbookLimits::default()
            },
        };
        compare(
            &format_args!("MEETLAKE_SEED={seed}, round {round}, {limits:?}\n{case}"),
            case.dataset,
            &case.zip(),
            &limits,
        );
    }
}

/// A comparison that notices nothing proves nothing: the same workbook with one cell changed, on the side of the judge only.
#[test]
fn the_comparison_notices_a_wrong_cell() {
    let mut noticed = 0;
    let mut random = Random::new(7);
    for _ in 0..50 {
        let case = Case::usual(&mut random);
        let other = case.with_another_value(&mut random);
        let read = |reader: Read, case: &Case| {
            let (fallback, limits) = (Fallback::in_this_process(), WorkbookLimits::default());
            read_by(reader, case.dataset, &case.zip(), &limits, &fallback).0
        };
        let outcome = read(decode::workbook, &case);
        let judged = read(decode::workbook_by_calamine, &other);
        noticed += u32::from(outcome != judged);
    }
    assert_eq!(noticed, 50);
}
