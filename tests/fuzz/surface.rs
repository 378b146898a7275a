//! What is fuzzed: one function a target, which takes any bytes and must come back. Shared with the integration tests, which feed each its
//! seeds in every run.

use std::io::{Cursor, Write};

use jiff::tz::TimeZone;
use meetlake::testing::config;
use meetlake::testing::contract::Contract;
use meetlake::testing::dataset::Dataset;
use meetlake::testing::decode::{self, DecodeSummary, Fallback, WorkbookLimits, WorkbookReader};
use meetlake::testing::normalize::cell;
use meetlake::testing::table::{Cell, Header, RowSink};

struct Nothing;

impl RowSink for Nothing {
    fn restart(&mut self) {}
    fn sheet(&mut self, _: &Header) {}
    fn row(&mut self, _: u32, _: &[Cell<'_>]) {}
}

/// A file that somebody says is a workbook.
pub fn container(bytes: &[u8]) {
    // A fuzzer's machine is small.
    let limits = WorkbookLimits {
        entry_bytes: 16 << 20,
        total_bytes: 64 << 20,
        ..WorkbookLimits::default()
    };
    let contract = Contract::of(Dataset::MeetingList);
    let fallback = Fallback::in_this_process();
    let _ = decode::workbook(bytes, contract, &limits, &fallback, &mut Nothing);
}

/// The XML of a sheet, in a sound container.
pub fn sheet(bytes: &[u8]) {
    container(&book(&[bytes]));
}

/// The parts of a workbook, separated by [`SEPARATOR`], in a sound container: whatever the fast reader reads, it reads as calamine does.
/// Says whether the fast reader read it.
pub fn differential(bytes: &[u8]) -> bool {
    let parts: Vec<&[u8]> = bytes.split(|byte| *byte == SEPARATOR).collect();
    let book = book(&parts);
    let contract = Contract::of(Dataset::MeetingList);
    let limits = WorkbookLimits::default();
    let fallback = Fallback::in_this_process();
    let mut notes = Notes::default();
    let read = decode::workbook(&book, contract, &limits, &fallback, &mut notes);
    // A file that was left to calamine, or refused, is calamine's outcome already.
    let Ok(summary) = read else { return false };
    if let WorkbookReader::Calamine { why } = summary.reader {
        assert!(!why.contains("gave up"), "the fast reader panicked");
        return false;
    }
    let mut judged = Notes::default();
    let judge = decode::workbook_by_calamine(&book, contract, &limits, &fallback, &mut judged);
    let judge = judge.map(|summary| DecodeSummary {
        reader: WorkbookReader::Own,
        ..summary
    });
    assert_eq!(Ok(summary), judge);
    assert_eq!(notes, judged);
    true
}

/// Between the parts of an input; no part may hold it.
const SEPARATOR: u8 = 0x1e;

/// Takes down what it is given; `Debug` of a float tells any two apart.
#[derive(Debug, Default, PartialEq)]
struct Notes(Vec<String>);

impl RowSink for Notes {
    fn above(&mut self, sheet: &str, cells: &[Cell<'_>]) {
        self.0.push(format!("above {sheet} {cells:?}"));
    }

    fn restart(&mut self) {
        self.0.clear();
    }

    fn sheet(&mut self, header: &Header) {
        self.0.push(format!("{header:?}"));
    }

    fn row(&mut self, number: u32, cells: &[Cell<'_>]) {
        self.0.push(format!("{number} {cells:?}"));
    }
}

/// A workbook of the given sheet, shared strings, formats, workbook and its relations, in this order; sound ones where they are absent.
fn book(parts: &[&[u8]]) -> Vec<u8> {
    let links = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
    let relation = |id: &str, kind: &str, target: &str| {
        format!("<Relationship Id=\"{id}\" Type=\"{links}/{kind}\" Target=\"{target}\"/>")
    };
    let list =
        |relations: &[String]| format!("<Relationships>{}</Relationships>", relations.concat());
    let package = list(&[relation("r", "officeDocument", "xl/workbook.xml")]);
    let link = list(&[
        relation("r", "worksheet", "worksheets/sheet1.xml"),
        relation("t", "sharedStrings", "sharedStrings.xml"),
        relation("f", "styles", "styles.xml"),
    ]);
    let workbook = format!(
        "<workbook xmlns:r=\"{links}\"><sheets><sheet name=\"S\" sheetId=\"1\" r:id=\"r\"/></sheets></workbook>"
    );
    let part = |at: usize| parts.get(at).copied().filter(|part| !part.is_empty());
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let stored =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, content) in [
        ("_rels/.rels", Some(package.as_bytes())),
        ("[Content_Types].xml", Some(&b"<Types/>"[..])),
        ("xl/worksheets/sheet1.xml", parts.first().copied()),
        ("xl/sharedStrings.xml", part(1)),
        ("xl/styles.xml", part(2)),
        ("xl/workbook.xml", part(3).or(Some(workbook.as_bytes()))),
        (
            "xl/_rels/workbook.xml.rels",
            part(4).or(Some(link.as_bytes())),
        ),
    ] {
        let Some(content) = content else { continue };
        zip.start_file(name, stored).expect("memory");
        zip.write_all(content).expect("memory");
    }
    zip.finish().expect("memory").into_inner()
}

/// The text of a cell, read as every type that a column may have.
pub fn cell_text(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let text = Cell::Text(text.as_ref().into());
    let _ = cell::time(&text, &TimeZone::UTC);
    let _ = cell::duration_s(&text);
    let _ = cell::integer(&text);
    let _ = cell::boolean(&text);
    let _ = cell::kbps(&text);
    let _ = cell::milliseconds(&text);
    let _ = cell::percent(&text);
    let _ = cell::id(&text);
    let _ = cell::meeting_no(&text);
    let _ = cell::text(&text);
}

/// A job file beside a sound configuration.
pub fn job_file(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(config::FILE_NAME);
    let configuration = "version = 1\nlake.url = 'memory:///'\n[tenants.acme]\nhost = 'feishu'\napp_id = 'a'\napp_secret = '${SECRET}'\n";
    std::fs::write(&path, configuration).expect("written");
    std::fs::create_dir(folder.path().join("jobs")).expect("a folder");
    std::fs::write(folder.path().join("jobs/job.toml"), bytes).expect("written");
    let _ = config::load(&path, &|name| (name == "SECRET").then(|| "s".to_owned()));
}

/// The answer of a report.
pub fn envelope(bytes: &[u8]) {
    for dataset in [Dataset::DailyReport, Dataset::TopUser] {
        let _ = decode::report(bytes, Contract::of(dataset), &mut Nothing);
    }
}
