//! Damage by the thousand: flipped bits, which must never change what is read, and mutated XML with the right checksums, which must never
//! end more than one workbook or cost more than a bound.

use std::collections::BTreeMap;

use meetlake::testing::contract::Contract;
use meetlake::testing::dataset::Dataset;
use meetlake::testing::decode::{self, DecodeSummary, Error, Fallback, WorkbookLimits};
use meetlake::testing::table::{Cell, Header, RowSink};

use super::children::Kept;
use super::corpus::Rows;
use super::{HEADER, Parts};
use crate::app::fallback;

/// So much more than an idle child has may one need for a file of a few kilobytes.
const CHILD_GROWTH_KIB: u64 = 64 << 10;

fn many(quick: u64, long: u64) -> u64 {
    if std::env::var_os("MEETLAKE_LONG").is_some() {
        long
    } else {
        quick
    }
}

/// A small generator (splitmix64), so that a seed means the same for ever.
struct Random(u64);

impl Random {
    /// From `MEETLAKE_SEED`, or another one each time; printed, and shown when the test fails.
    fn seeded(test: &str) -> Self {
        let given = std::env::var("MEETLAKE_SEED").ok();
        let seed = given.and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            u64::from(now.expect("after 1970").subsec_nanos())
        });
        println!("{test}: MEETLAKE_SEED={seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % (end.max(1) as u64)).expect("it was one")
    }
}

/// A small workbook with all that one can have: shared, inline and formula texts, numbers, dates, booleans, two sheets.
fn whole() -> Parts {
    let row = |n: u32| {
        format!(
            r#"<row r="{n}"><c r="A{n}" t="s"><v>{}</v></c><c r="B{n}" s="1"><v>4630{n}.25</v></c><c r="C{n}"><v>{n}.5</v></c><c r="D{n}" t="b"><v>1</v></c><c r="E{n}" t="str"><f>A1&amp;"x"</f><v>a&amp;b</v></c><c r="F{n}" t="inlineStr"><is><r><t>run</t></r><r><t xml:space="preserve"> two</t></r></is></c></row>"#,
            n % 3
        )
    };
    let rows: String = (2..6).map(row).collect();
    let links = r#"<Relationship Id="rId2" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/sharedStrings" Target="sharedStrings.xml"/><Relationship Id="rId3" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/styles" Target="styles.xml"/><Relationship Id="rId4" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet" Target="worksheets/sheet2.xml"/></Relationships>"#;
    Parts::new(&rows)
        .with("xl/sharedStrings.xml", r#"<sst count="4" uniqueCount="3"><si><t>190924711</t></si><si><r><t>1909</t></r><r><t>24712</t></r></si><si><t>3</t><rPh sb="0" eb="1"><t>x</t></rPh></si></sst>"#)
        .with("xl/styles.xml", r#"<styleSheet><numFmts count="1"><numFmt numFmtId="164" formatCode="yyyy/mm/dd"/></numFmts><cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="164"/></cellXfs></styleSheet>"#)
        .with("xl/worksheets/sheet2.xml", format!("<worksheet><dimension ref=\"A1:B2\"/><sheetData>{HEADER}</sheetData></worksheet>"))
        .edit("xl/_rels/workbook.xml.rels", |xml| xml.replace("</Relationships>", links))
        .edit("xl/workbook.xml", |xml| xml.replace("</sheets>", r#"<sheet name="T" sheetId="2" r:id="rId4"/></sheets>"#))
}

type Read = (Result<DecodeSummary, Error>, Both);

/// Headers and cells as they came, and the rows as people write them.
#[derive(Debug, Default)]
struct Both {
    all: Kept,
    rows: Rows,
}

impl RowSink for Both {
    fn restart(&mut self) {
        self.all.restart();
        self.rows.restart();
    }

    fn sheet(&mut self, header: &Header) {
        self.all.sheet(header);
        self.rows.0.push(format!("{header:?}"));
    }

    fn row(&mut self, number: u32, cells: &[Cell<'_>]) {
        self.all.row(number, cells);
        self.rows.row(number, cells);
    }
}

/// What is in a workbook, whichever of the readers says so.
fn read(bytes: &[u8], children: &Fallback) -> Read {
    read_with(decode::workbook, bytes, children)
}

type Reads = fn(
    &[u8],
    &Contract,
    &WorkbookLimits,
    &Fallback,
    &mut dyn RowSink,
) -> Result<DecodeSummary, Error>;

fn read_with(reads: Reads, bytes: &[u8], children: &Fallback) -> Read {
    let limits = WorkbookLimits {
        time: std::time::Duration::from_secs(30),
        ..WorkbookLimits::default()
    };
    let mut sink = Both::default();
    let contract = Contract::of(Dataset::MeetingList);
    let outcome = reads(bytes, contract, &limits, children, &mut sink);
    let outcome = outcome.map(|summary| DecodeSummary {
        reader: decode::WorkbookReader::Own,
        ..summary
    });
    (outcome, sink)
}

#[test]
fn a_flipped_bit_is_refused_or_changes_nothing() {
    let mut random = Random::seeded("flips");
    let children = fallback();
    let mut counts = [0; 2];
    let originals = [whole().stored(0), whole().deflated()];
    let sound = originals.each_ref().map(|bytes| {
        let (outcome, rows) = read(bytes, &children);
        (outcome.expect("it is sound"), rows)
    });
    for number in 0..many(5_000, 60_000) {
        let which = usize::from(number % 2 == 1);
        let mut bytes = originals[which].clone();
        let flips: Vec<usize> = (0..=random.below(3))
            .map(|_| random.below(bytes.len() * 8))
            .collect();
        for bit in &flips {
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        let (outcome, rows) = read(&bytes, &children);
        if let Ok(summary) = outcome {
            let (same, same_rows) = &sound[which];
            assert_eq!(
                (&summary, &rows.all),
                (same, &same_rows.all),
                "bits {flips:?}"
            );
            counts[0] += 1;
        } else {
            counts[1] += 1;
        }
    }
    println!("{} unchanged, {} refused", counts[0], counts[1]);
    assert!(counts[1] > counts[0]);
}

#[test]
fn mutated_xml_ends_no_more_than_its_workbook() {
    let mut random = Random::seeded("mutations");
    let children = fallback();
    let original = whole();
    let sound = read(&original.stored(0), &children);
    assert!(sound.0.is_ok(), "{:?}", sound.0);
    // The sound one needs no child; one that is idle is there from here on.
    let by_calamine = read_with(decode::workbook_by_calamine, &original.stored(0), &children);
    assert_eq!(by_calamine.1.rows.0, sound.1.rows.0);
    let first = peak_kib(children.idle()[0]);
    let (mut peak, mut deaths, mut compared) = (0, 0, 0);
    let mut outcomes = BTreeMap::<String, u64>::new();
    for number in 0..many(20_000, 500_000) {
        let mut parts = Parts {
            entries: original.entries.clone(),
        };
        for _ in 0..=random.below(3) {
            let which = random.below(parts.entries.len());
            mutate(&mut parts.entries[which].1, &mut random);
        }
        let bytes = parts.stored(0);
        let before = children.idle().first().copied();
        let (outcome, found) = read(&bytes, &children);
        let after = children.idle().first().copied();
        deaths += u64::from(match (before, after) {
            (Some(before), after) => after != Some(before),
            // A child that was started for this workbook and did not outlive it.
            (None, None) => matches!(outcome, Err(Error::Reader(_))),
            (None, Some(_)) => false,
        });
        if number % 10 == 0 {
            let (by_calamine, of_calamine) =
                read_with(decode::workbook_by_calamine, &bytes, &children);
            if let Ok(summary) = &outcome {
                assert_eq!(Ok(summary), by_calamine.as_ref(), "{parts}");
                assert_eq!(found.rows.0, of_calamine.rows.0, "{parts}");
            } else {
                assert_eq!(outcome, by_calamine, "{parts}");
            }
            compared += 1;
        }
        let word = match outcome {
            Ok(_) => "read".to_owned(),
            Err(Error::NoReader(reason)) => panic!("the children ended: {reason}"),
            Err(Error::Reader(reason)) => {
                assert!(!reason.contains("took longer"), "{reason}");
                assert!(!reason.contains("makes no sense"), "{reason}");
                reason
            }
            Err(error) => format!("{error:?}")
                .split(['(', ' '])
                .next()
                .unwrap_or_default()
                .to_owned(),
        };
        *outcomes.entry(word).or_default() += 1;
        if let Some(&id) = children.idle().first() {
            peak = peak.max(peak_kib(id));
        }
    }
    println!(
        "{outcomes:?}; {compared} read by calamine as well, {deaths} children died, the largest had {peak} KiB, this process {} KiB",
        peak_kib(std::process::id())
    );
    assert!(peak < first + CHILD_GROWTH_KIB, "{peak} KiB after {first}");
    let again = read(&original.stored(0), &children);
    assert_eq!(
        (again.0, again.1.all),
        (sound.0, sound.1.all),
        "it still reads"
    );
}

impl std::fmt::Display for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (name, bytes) in &self.entries {
            writeln!(f, "{name}: {}", String::from_utf8_lossy(bytes))?;
        }
        Ok(())
    }
}

/// The most memory that a process has held; 0 where the system does not say.
fn peak_kib(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0)
}

/// Pieces that change what a reader does next.
const PIECES: [&str; 40] = [
    "<",
    ">",
    "\"",
    "&",
    "/",
    "0",
    "-1",
    "4294967296",
    "18446744073709551615",
    "1e999",
    "NaN",
    "é",
    "&amp;",
    "&#0;",
    "<!--",
    "-->",
    "<![CDATA[",
    "]]>",
    "<?x?>",
    "<c r=\"B2\"><v>1</v></c>",
    "<c/>",
    "</c>",
    "<row r=\"9\">",
    "</row>",
    "<row/>",
    " t=\"s\"",
    " t=\"e\"",
    " t=\"inlineStr\"",
    " r=\"A1\"",
    " r=\"XFD1048576\"",
    "<v>7</v>",
    "<is><t>x</t></is>",
    "<dimension ref=\"A1:XFD1048576\"/>",
    " uniqueCount=\"3\"",
    "<si><t>a</t></si>",
    "<xf numFmtId=\"14\"/>",
    "</sheetData>",
    "<mergeCell ref=\"A1:B9\"/>",
    " date1904=\"1\"",
    " Target=\"../x.xml\"",
];

fn mutate(xml: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(xml.len() + 1);
    let end = (at + random.below(40)).min(xml.len());
    match random.below(7) {
        0 if at < xml.len() => xml[at] ^= 1 << random.below(8),
        1 => drop(xml.drain(at..end)),
        2 => {
            let piece = xml[at..end].to_vec();
            let to = random.below(xml.len() + 1);
            drop(xml.splice(to..to, piece));
        }
        3 => drop(xml.splice(at..end, PIECES[random.below(PIECES.len())].bytes())),
        4 => {
            // A digit becomes another number.
            if let Some(digit) = xml[at..].iter().position(u8::is_ascii_digit) {
                let number = (random.next() >> random.below(64)).to_string();
                drop(xml.splice(at + digit..=at + digit, number.into_bytes()));
            }
        }
        5 => xml.truncate(at),
        _ => drop(xml.splice(at..at, PIECES[random.below(PIECES.len())].bytes())),
    }
}
