//! Tests with windows of every size: what is cut in the middle must come out whole.

use flate2::Compression;
use flate2::write::DeflateEncoder;
use std::io::Write as _;

use super::*;
use crate::column::{Column, ColumnKind};
use crate::datasets::Dataset;
use crate::table::{Header, column_name};
use cases::{Case, Random};

#[allow(
    dead_code,
    reason = "shared with the integration tests, which use all of it"
)]
#[path = "../../../tests/it/oracle/cases.rs"]
mod cases;

#[derive(Debug, Default, PartialEq)]
struct RecordedLines(Vec<String>);

impl RowSink for RecordedLines {
    fn sheet(&mut self, header: &Header) {
        self.0.push(format!("{header:?}"));
    }

    fn row(&mut self, number: u32, cells: &[Cell<'_>]) {
        self.0.push(format!("{number} {cells:?}"));
    }

    fn restart(&mut self) {
        self.0.clear();
    }
}

const STYLES_TEXT: &str = "\
    <styleSheet><numFmts><numFmt numFmtId=\"164\" formatCode=\"[h]:mm\"/></numFmts><cellXfs>\
    <xf numFmtId=\"0\"/><xf numFmtId=\"22\"/><xf numFmtId=\"164\"/></cellXfs></styleSheet>";
const STRINGS_TEXT: &str = "\
    <?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<sst uniqueCount=\"4\"><si><t>会议ID</t></si>\n<si>\
    <t>会议开始时间</t></si><si><t xml:space=\"preserve\"> &amp;\r\n</t></si><si/></sst>\n";
const SHEET_TEXT: &str = "\
    <?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<worksheet><dimension ref=\"A1:B2\"/><cols>\
    <col min=\"1\"></col></cols><sheetData><row r=\"1\" spans=\"1:2\"><c r=\"A1\" t=\"s\">\
    <v>0</v></c><c r=\"B1\" s=\"1\" t=\"s\"><v>1</v></c></row><row><c r=\"A2\"><v>-1.5e3</v></c>\
    <c s=\"1\"><v>45000.25</v></c><c r=\"D2\" s=\"2\" t=\"n\"><v>1.25</v></c>\
    </row>\n <row r=\"9\"/><row r=\"10\"><c r=\"C10\" t=\"inlineStr\"><is>\
    <t> 😀字&#x41;_x0042_ </t></is></c> <c r=\"D10\" t=\"inlineStr\"><is>\
    <t xml:space=\"preserve\"> 字 </t></is></c><c r=\"E10\" cm='1' t=\"str\" ><v>é</v></c>\
    <c r=\"F10\" t=\"b\"><v>1</v></c><c r=\"G10\" t=\"e\"><v>#N/A</v></c><c r=\"H10\" t=\"s\">\
    <v>3</v></c><c r=\"I10\"/><c r=\"AA10\" t=\"s\"><v>2</v></c><c r=\"AB10\"></c></row>\
    <row r=\"1048576\"><c r=\"A1048576\"><v>7</v></c></row></sheetData><pageMargins left=\"字\"/>\
    </worksheet>\n";

fn parts() -> Vec<(String, String)> {
    let office = "http://x/relationships";
    let package = format!(
        "<Relationships><Relationship Id=\"a\" Type=\"{office}/officeDocument\" \
         Target=\"xl/workbook.xml\"/></Relationships>"
    );
    let relations = format!(
        "<Relationships><Relationship Id=\"r1\" Type=\"{office}/worksheet\" \
         Target=\"worksheets/s.xml\"/><Relationship Id=\"r2\" Type=\"{office}/styles\" \
         Target=\"styles.xml\"/><Relationship Id=\"r3\" Type=\"{office}/sharedStrings\" \
         Target=\"/xl/sharedStrings.xml\"/></Relationships>"
    );
    let workbook =
        "<workbook><sheets><sheet name=\"S\" r:id=\"r1\"/></sheets></workbook>".to_owned();
    [
        ("_rels/.rels", package),
        ("xl/workbook.xml", workbook),
        ("xl/_rels/workbook.xml.rels", relations),
        ("xl/sharedStrings.xml", STRINGS_TEXT.to_owned()),
        ("xl/styles.xml", STYLES_TEXT.to_owned()),
        ("xl/worksheets/s.xml", SHEET_TEXT.to_owned()),
        (
            "docProps/app.xml",
            "<Properties>字字字</Properties>".to_owned(),
        ),
        ("media/image.png", "\0\u{1}binary".to_owned()),
    ]
    .map(|(name, text)| (name.to_owned(), text))
    .into()
}

/// A zip with descriptors, as Go writes it.
fn zip(parts: &[(String, String)], is_stored: bool) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, text) in parts {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).expect("memory");
        let deflated = encoder.finish().expect("memory");
        let data = if is_stored {
            text.as_bytes()
        } else {
            &deflated
        };
        let sizes = [
            crc32fast::hash(text.as_bytes()),
            u32::try_from(data.len()).expect("small"),
            u32::try_from(text.len()).expect("small"),
        ];
        let sizes = sizes.map(u32::to_le_bytes).concat();
        let lengths = [u8::try_from(name.len()).expect("short"), 0, 0, 0];
        let common = [20, 0, 8, 0, if is_stored { 0 } else { 8 }, 0, 0, 0, 0, 0];
        let at = u32::try_from(file.len()).expect("small");
        for piece in [
            b"PK\x03\x04",
            &common[..],
            &[0; 12],
            &lengths,
            name.as_bytes(),
            data,
            b"PK\x07\x08",
            &sizes,
        ] {
            file.extend_from_slice(piece);
        }
        for piece in [
            b"PK\x01\x02\x14\0",
            &common[..],
            &sizes,
            &lengths,
            &[0; 10],
            &at.to_le_bytes(),
            name.as_bytes(),
        ] {
            directory.extend_from_slice(piece);
        }
    }
    let count = u8::try_from(parts.len()).expect("few");
    let at = u32::try_from(file.len()).expect("small").to_le_bytes();
    let size = u32::try_from(directory.len()).expect("small").to_le_bytes();
    for piece in [
        &directory[..],
        b"PK\x05\x06\0\0\0\0",
        &[count, 0, count, 0],
        &size,
        &at,
        &[0; 2],
    ] {
        file.extend_from_slice(piece);
    }
    file
}

fn read_with(size: usize, bytes: &[u8]) -> FastResult<(DecodeSummary, RecordedLines)> {
    let here = read_in(
        InflateOptions {
            piece_bytes: size,
            ahead_from_bytes: u64::MAX,
        },
        bytes,
    );
    let ahead = read_in(
        InflateOptions {
            piece_bytes: size,
            ahead_from_bytes: 0,
        },
        bytes,
    );
    assert_eq!(here, ahead, "by a thread of its own, {size} bytes");
    here
}

fn read_in(options: InflateOptions, bytes: &[u8]) -> FastResult<(DecodeSummary, RecordedLines)> {
    let read_from = |source| {
        let mut notes = RecordedLines::default();
        let contract = Contract::of(Dataset::MeetingList);
        let summary = read_with_options(
            options,
            source,
            contract,
            &WorkbookLimits::default(),
            &mut notes,
        )?;
        Ok((summary, notes))
    };
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(bytes).expect("written");
    let from_memory = read_from(WorkbookBytes::Memory(bytes));
    let from_file = read_from(WorkbookBytes::File(&file, bytes.len()));
    assert_eq!(from_memory, from_file, "from a file, {options:?}");
    let is_laid_out = crate::decode::layout::check(bytes).is_ok();
    assert!(
        from_memory.is_err() || is_laid_out,
        "the judge of layouts refuses what was read"
    );
    from_memory
}

#[test]
fn windows_of_any_size_give_what_calamine_gives() {
    for is_stored in [false, true] {
        let bytes = zip(&parts(), is_stored);
        let mut notes = RecordedLines::default();
        let contract = Contract::of(Dataset::MeetingList);
        let summary = crate::decode::workbook_by_calamine(
            &bytes,
            contract,
            &WorkbookLimits::default(),
            &crate::decode::Fallback::in_this_process(),
            &mut notes,
        );
        let summary = DecodeSummary {
            reader: crate::decode::WorkbookReader::Own,
            ..summary.expect("a workbook")
        };
        assert_eq!((summary.sheets[0].rows, notes.0.len()), (3, 4));
        for size in (1..=700).chain([4_096, INFLATE_OPTIONS.piece_bytes]) {
            let read = read_with(size, &bytes).unwrap_or_else(|e| panic!("{size}: {e:?}"));
            assert_eq!(read.0, summary, "a window of {size} bytes");
            assert_eq!(read.1, notes, "a window of {size} bytes");
        }
    }
}

#[test]
fn a_part_cut_anywhere_is_never_read() {
    for index in [3, 5] {
        for length in 0..parts()[index].1.len() {
            let mut cut = parts();
            let text = &mut cut[index].1;
            // Cutting the blank at the very end loses nothing.
            if text.is_char_boundary(length) && length + 1 < text.len() {
                text.truncate(length);
                for size in [1, 7, 64, INFLATE_OPTIONS.piece_bytes] {
                    let read = read_with(size, &zip(&cut, true));
                    assert!(read.is_err(), "part {index} cut to {length} bytes");
                }
            }
        }
    }
}

#[test]
fn a_container_that_lies_is_left_to_the_judge() {
    let good = zip(&parts(), false);
    assert!(read_with(INFLATE_OPTIONS.piece_bytes, &good).is_ok());
    for at in 0..good.len() {
        for bit in [0, 3, 7] {
            let mut flipped = good.clone();
            flipped[at] ^= 1 << bit;
            // Only a part's date and its author's system may change without effect.
            if let Ok(read) = read_with(INFLATE_OPTIONS.piece_bytes, &flipped) {
                assert_eq!(
                    read,
                    read_with(INFLATE_OPTIONS.piece_bytes, &good).expect("good"),
                    "byte {at}"
                );
            }
        }
        assert!(
            read_with(INFLATE_OPTIONS.piece_bytes, &good[..at]).is_err(),
            "cut to {at} bytes"
        );
    }
}

#[test]
fn a_changed_cell_is_noticed() {
    let judged = read_with(INFLATE_OPTIONS.piece_bytes, &zip(&parts(), false))
        .expect("good")
        .1;
    for (from, to) in [
        ("-1.5e3", "-1.4e3"),
        ("45000.25", "45000.5"),
        ("&#x41;", "&#x42;"),
        ("<v>3</v>", "<v>2</v>"),
        ("s=\"2\"", "s=\"1\""),
        ("<row r=\"9\"/>", "<row r=\"9\"><c><v>1</v></c></row>"),
    ] {
        let mut changed = parts();
        assert!(changed[5].1.contains(from));
        changed[5].1 = changed[5].1.replace(from, to);
        let read = read_with(64, &zip(&changed, false)).expect("still good").1;
        assert_ne!(read, judged, "{from} became {to}");
    }
}

/// What calamine reads, or `None` if it refuses the file.
fn judged(dataset: Dataset, bytes: &[u8]) -> Option<(DecodeSummary, RecordedLines)> {
    let mut notes = RecordedLines::default();
    let summary = crate::decode::workbook_by_calamine(
        bytes,
        Contract::of(dataset),
        &WorkbookLimits::default(),
        &crate::decode::Fallback::in_this_process(),
        &mut notes,
    );
    let reader = crate::decode::WorkbookReader::Own;
    let summary = DecodeSummary {
        reader,
        ..summary.ok()?
    };
    Some((summary, notes))
}

/// Found by fuzzing: a column of that many letters overflows 32 bits.
#[test]
fn a_dimension_is_measured_only_if_it_is_one() {
    for reference in ["A1", "A1:XFD1048576", "B2:B2"] {
        assert_eq!(check_dimension(Some(reference)), Ok(()), "{reference}");
    }
    for reference in [
        "AJJJJJJJJJJJJJJ1:A1",
        "A1:B2:C3",
        "B2:A1",
        "A99999999999",
        "A",
        "1",
        "",
        "A01",
    ] {
        assert!(check_dimension(Some(reference)).is_err(), "{reference}");
    }
    assert!(check_dimension(None).is_err());
}

/// The window may end anywhere in an empty cell.
#[test]
fn an_empty_cell_is_known_wherever_the_window_ends() {
    let mut parts = parts();
    let rows: String = (3..300)
        .map(|n| format!("<row r=\"{n}\"><c r=\"A{n}\" s=\"1\"></c></row>"))
        .collect();
    let (head, _) = SHEET_TEXT.split_once("<row>").expect("rows");
    parts[5].1 = format!("{head}{rows}</sheetData></worksheet>");
    let bytes = zip(&parts, false);
    for size in 1..=200 {
        let read = read_with(size, &bytes);
        assert!(read.is_ok(), "a window of {size} bytes: {read:?}");
    }
}

fn random_window_bytes(random: &mut Random) -> usize {
    match random.below(3) {
        0 => 1 + random.below(40),
        1 => 1 + random.below(700),
        _ => 1 + random.below(9_000),
    }
}

#[test]
fn workbooks_by_dice_are_read_alike_through_windows_of_any_size() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.expect("after 1970").as_secs() << 20;
    let asked = std::env::var("MEETLAKE_SEED").ok();
    let asked: Option<u64> = asked.map(|seed| seed.parse().expect("MEETLAKE_SEED is a number"));
    let first = asked.unwrap_or(now);
    let (mut own, mut unknown) = (0, 0);
    let is_long = std::env::var_os("MEETLAKE_LONG").is_some();
    let count = if is_long { 16_000 } else { 300 };
    for seed in first..first + asked.map_or(count, |_| 1) {
        let random = &mut Random::new(seed);
        let case = match random.below(32) {
            0 => Case::large(random),
            1..16 => Case::odd(random),
            _ => Case::usual(random),
        };
        let bytes = case.zip();
        let judged = judged(case.dataset, &bytes);
        let mut known = Vec::new();
        let sizes = [
            INFLATE_OPTIONS.piece_bytes,
            random_window_bytes(random),
            random_window_bytes(random),
            random_window_bytes(random),
        ];
        for size in sizes {
            let mut notes = RecordedLines::default();
            let contract = Contract::of(case.dataset);
            let ahead_from_bytes = if size % 2 == 0 { 0 } else { u64::MAX };
            let options = InflateOptions {
                piece_bytes: size,
                ahead_from_bytes,
            };
            let source = WorkbookBytes::Memory(&bytes);
            let read = read_with_options(
                options,
                source,
                contract,
                &WorkbookLimits::default(),
                &mut notes,
            );
            if let Ok(summary) = &read {
                let judged = judged.as_ref().map(|(summary, notes)| (summary, notes));
                let is_same = judged == Some((summary, &notes));
                assert!(is_same, "MEETLAKE_SEED={seed}, a window of {size} bytes");
            }
            known.push(read.err());
        }
        let is_known = known[0].is_none();
        let is_same = known.iter().all(|unknown| unknown.is_none() == is_known);
        assert!(is_same, "MEETLAKE_SEED={seed}, {sizes:?}: {known:?}");
        own += u32::from(is_known);
        unknown += u32::from(!is_known);
    }
    println!("{own} workbooks read through four windows each, {unknown} left alone at all sizes");
}
