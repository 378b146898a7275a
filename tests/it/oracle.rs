//! The fast reader against calamine: the same bytes give the same cells bit for bit, or the same refusal.
//!
//! calamine behind the preflight is the judge. Whatever the fast reader knows it must know as the judge does; the rest it must leave alone.
//! `MEETLAKE_SEED` replays a case, `MEETLAKE_LONG` makes many more of them.

mod cases;

use meetlake::contract::Contract;
use meetlake::dataset::Dataset;
use meetlake::decode::{self, Error, Fallback, Limits, Reader, Summary};
use meetlake::table::{Cell, Header, RowSink};

use cases::{Case, Random};

/// Takes down what it is given; `Debug` of a float tells any two apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Notes {
    lines: Vec<String>,
}

impl RowSink for Notes {
    fn sheet(&mut self, header: &Header) {
        self.lines.push(format!("{header:?}"));
    }

    fn row(&mut self, number: u32, cells: &[Cell<'_>]) {
        self.lines.push(format!("{number} {cells:?}"));
    }

    fn restart(&mut self) {
        self.lines.clear();
    }
}

/// Without what read it.
fn rows_of(summary: Summary) -> Summary {
    Summary {
        reader: Reader::Own,
        ..summary
    }
}

type Outcome = Result<(Summary, Notes), Error>;

fn by_calamine(dataset: Dataset, bytes: &[u8], limits: &Limits) -> Outcome {
    let mut notes = Notes::default();
    let contract = Contract::of(dataset);
    let summary = decode::workbook_by_calamine(
        bytes,
        contract,
        limits,
        &Fallback::in_this_process(),
        &mut notes,
    )?;
    Ok((rows_of(summary), notes))
}

/// What the project does with the bytes, and what read them.
fn read(dataset: Dataset, bytes: &[u8], limits: &Limits) -> (Outcome, Option<Reader>) {
    let mut notes = Notes::default();
    let contract = Contract::of(dataset);
    match decode::workbook(
        bytes,
        contract,
        limits,
        &Fallback::in_this_process(),
        &mut notes,
    ) {
        Ok(summary) => {
            let reader = summary.reader;
            (Ok((rows_of(summary), notes)), Some(reader))
        }
        Err(error) => (Err(error), None),
    }
}

/// Compares both on one file; gives what read it.
fn compare(what: &str, dataset: Dataset, bytes: &[u8], limits: &Limits) -> Option<Reader> {
    let (outcome, reader) = read(dataset, bytes, limits);
    let judged = by_calamine(dataset, bytes, limits);
    if outcome != judged {
        panic!("{what}: read by {reader:?}\n{outcome:#?}\n\ncalamine:\n{judged:#?}");
    }
    reader
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
        let dataset = Dataset::ALL.into_iter().filter(|d| !d.is_report());
        let dataset = dataset.filter(|d| name.contains(d.as_str()));
        let dataset = dataset.max_by_key(|d| d.as_str().len());
        let dataset = dataset.unwrap_or(Dataset::ResourceReservationList);
        let bytes = std::fs::read(&path).expect("a fixture");
        let reader = compare(&name, dataset, &bytes, &Limits::default());
        assert_eq!(reader, Some(Reader::Own), "{name}");
        count += 1;
    }
    assert_eq!(count, 12);
}

#[test]
fn workbooks_in_the_shape_of_exports_are_read_by_the_fast_reader() {
    for seed in seeds(cases(1_500)) {
        let case = Case::usual(&mut Random::new(seed));
        let reader = compare(
            &format!("MEETLAKE_SEED={seed} (usual)\n{case}"),
            Dataset::MeetingList,
            &case.zip(),
            &Limits::default(),
        );
        assert_eq!(reader, Some(Reader::Own), "MEETLAKE_SEED={seed}\n{case}");
    }
}

#[test]
fn workbooks_of_any_shape_are_read_alike_or_refused_alike() {
    let (mut own, mut calamine, mut refused) = (0, 0, 0);
    let total = cases(3_500);
    for seed in seeds(total) {
        let case = Case::odd(&mut Random::new(seed));
        let reader = compare(
            &format!("MEETLAKE_SEED={seed} (odd)\n{case}"),
            Dataset::MeetingList,
            &case.zip(),
            &Limits::default(),
        );
        match reader {
            Some(Reader::Own) => own += 1,
            Some(Reader::Calamine { .. }) => calamine += 1,
            None => refused += 1,
        }
    }
    println!("{own} by the fast reader, {calamine} by calamine, {refused} refused");
    if total > 1 && std::env::var_os("MEETLAKE_SEED").is_none() {
        // A generator that has lost one of the three compares nothing.
        assert!(
            own.min(calamine).min(refused) * 20 > total,
            "{own} {calamine} {refused}"
        );
    }
}

#[test]
fn a_flipped_bit_anywhere_never_makes_the_readers_differ() {
    let seed = seeds(1).next().expect("a seed");
    let mut random = Random::new(seed);
    for round in 0..cases(300) {
        let mut bytes = Case::usual(&mut random).zip();
        let at = random.below(bytes.len());
        bytes[at] ^= 1 << random.below(8);
        compare(
            &format!("MEETLAKE_SEED={seed}, round {round}, byte {at}"),
            Dataset::MeetingList,
            &bytes,
            &Limits::default(),
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
            0 => Limits {
                cells: random.below(60) as u64,
                ..Limits::default()
            },
            1 => Limits {
                text_bytes: random.below(120),
                ..Limits::default()
            },
            2 => Limits {
                total_text_bytes: random.below(900) as u64,
                ..Limits::default()
            },
            3 => Limits {
                rows: random.below(12) as u32,
                ..Limits::default()
            },
            4 => Limits {
                columns: random.below(12) as u32,
                ..Limits::default()
            },
            5 => Limits {
                shared_strings: random.below(20) as u64,
                ..Limits::default()
            },
            6 => Limits {
                formats: random.below(6) as u64,
                ..Limits::default()
            },
            _ => Limits {
                total_bytes: random.below(9_000) as u64,
                ..Limits::default()
            },
        };
        compare(
            &format!("MEETLAKE_SEED={seed}, round {round}, {limits:?}\n{case}"),
            Dataset::MeetingList,
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
        let (outcome, _) = read(Dataset::MeetingList, &case.zip(), &Limits::default());
        let judged = by_calamine(Dataset::MeetingList, &other.zip(), &Limits::default());
        noticed += u32::from(outcome != judged);
    }
    assert_eq!(noticed, 50);
}
