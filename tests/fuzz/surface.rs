//! What is fuzzed: one function a target, which takes any bytes and must come back. Shared with the integration tests, which feed each its
//! seeds in every run.

use std::io::{Cursor, Write};

use jiff::tz::TimeZone;
use meetlake::config;
use meetlake::contract::Contract;
use meetlake::dataset::Dataset;
use meetlake::decode::{self, Fallback, Limits};
use meetlake::normalize::cell;
use meetlake::table::{Cell, Header, RowSink};

struct Nothing;

impl RowSink for Nothing {
    fn restart(&mut self) {}
    fn sheet(&mut self, _: &Header) {}
    fn row(&mut self, _: u32, _: &[Cell<'_>]) {}
}

/// A file that somebody says is a workbook.
pub fn container(bytes: &[u8]) {
    // A fuzzer's machine is small.
    let limits = Limits {
        entry_bytes: 16 << 20,
        total_bytes: 64 << 20,
        ..Limits::default()
    };
    let contract = Contract::of(Dataset::MeetingList);
    let fallback = Fallback::in_this_process();
    let _ = decode::workbook(bytes, contract, &limits, &fallback, &mut Nothing);
}

/// The XML of a sheet, in a sound container.
pub fn sheet(bytes: &[u8]) {
    let links = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
    let workbook = format!(
        "<workbook xmlns:r=\"{links}\"><sheets><sheet name=\"S\" sheetId=\"1\" r:id=\"r\"/></sheets></workbook>"
    );
    let link = format!(
        "<Relationships><Relationship Id=\"r\" Type=\"{links}/worksheet\" Target=\"worksheets/sheet1.xml\"/></Relationships>"
    );
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let stored =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, content) in [
        ("xl/workbook.xml", workbook.as_bytes()),
        ("xl/_rels/workbook.xml.rels", link.as_bytes()),
        ("xl/worksheets/sheet1.xml", bytes),
    ] {
        zip.start_file(name, stored).expect("memory");
        zip.write_all(content).expect("memory");
    }
    container(zip.finish().expect("memory").get_ref());
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
