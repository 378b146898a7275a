//! Workbooks that are damaged, dangerous or odd, and what each of them gets: an error that names the cause, or the right rows.

pub(crate) mod children;
pub(crate) mod containers;
pub(crate) mod corpus;
mod damage;
pub(crate) mod markup;
mod strangers;

use std::io::{Cursor, Write};

use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use meetlake::testing::contract::Contract;
use meetlake::testing::dataset::Dataset;
use meetlake::testing::decode::{self, Fallback, WorkbookLimits};
use meetlake::testing::findings::Fault;
use meetlake::testing::job::DurationUnit;
use meetlake::testing::normalize::{self, Context, Normalized, Stamp};
use meetlake::testing::task::Lineage;
use rust_xlsxwriter::{ExcelDateTime, Format, Workbook};
use zip::write::SimpleFileOptions;

/// Parts of the smallest workbook: header and one row of a meeting list, inline.
struct Parts {
    entries: Vec<(String, Vec<u8>)>,
}

const HEADER: &str = r#"<row r="1"><c r="A1" t="inlineStr"><is><t>会议ID</t></is></c><c r="B1" t="inlineStr"><is><t>会议开始时间</t></is></c></row>"#;
const ROW: &str = r#"<row r="2"><c r="A2" t="inlineStr"><is><t>123456789</t></is></c><c r="B2" t="inlineStr"><is><t>2026.10.12 06:10:42</t></is></c></row>"#;

impl Parts {
    fn new(rows: &str) -> Self {
        let rels = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
        let package = "http://schemas.openxmlformats.org/package/2006/relationships";
        let xml = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>";
        let parts = [
            (
                "_rels/.rels",
                format!(
                    r#"{xml}<Relationships xmlns="{package}"><Relationship Id="rId1" Type="{rels}/officeDocument" Target="xl/workbook.xml"/></Relationships>"#
                ),
            ),
            (
                "xl/workbook.xml",
                format!(
                    r#"{xml}<workbook xmlns:r="{rels}"><sheets><sheet name="S" sheetId="1" r:id="rId1"/></sheets></workbook>"#
                ),
            ),
            (
                "xl/_rels/workbook.xml.rels",
                format!(
                    r#"{xml}<Relationships xmlns="{package}"><Relationship Id="rId1" Type="{rels}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>"#
                ),
            ),
            (
                "xl/worksheets/sheet1.xml",
                format!("{xml}<worksheet><sheetData>{HEADER}{rows}</sheetData></worksheet>"),
            ),
        ];
        Self {
            entries: parts
                .map(|(name, text)| (name.to_owned(), text.into_bytes()))
                .into(),
        }
    }

    fn with(mut self, name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.entries.retain(|(known, _)| known != name);
        self.entries.push((name.to_owned(), bytes.into()));
        self
    }

    /// With cell formats, and the relation that leads to them.
    fn with_styles(self, styles: &str) -> Self {
        self.with("xl/styles.xml", styles)
            .with_relation("styles", "styles.xml")
    }

    /// With a table of strings, and the relation that leads to it.
    fn with_strings(self, table: &str) -> Self {
        self.with("xl/sharedStrings.xml", table)
            .with_relation("sharedStrings", "sharedStrings.xml")
    }

    fn with_relation(self, kind: &str, target: &str) -> Self {
        let relation = format!(
            r#"<Relationship Id="{kind}" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/{kind}" Target="{target}"/></Relationships>"#
        );
        self.edit("xl/_rels/workbook.xml.rels", |xml| {
            xml.replace("</Relationships>", &relation)
        })
    }

    fn without(mut self, name: &str) -> Self {
        self.entries.retain(|(known, _)| known != name);
        self
    }

    /// Changes the text of a part.
    fn edit(mut self, name: &str, change: impl FnOnce(String) -> String) -> Self {
        let part = self.entries.iter_mut().find(|(known, _)| known == name);
        let bytes = &mut part.expect("the part is there").1;
        *bytes = change(String::from_utf8(std::mem::take(bytes)).expect("UTF-8")).into_bytes();
        self
    }

    fn sheet(self, xml: impl Into<Vec<u8>>) -> Self {
        self.with("xl/worksheets/sheet1.xml", xml)
    }

    fn deflated(&self) -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in &self.entries {
            writer
                .start_file(name.as_str(), SimpleFileOptions::default())
                .expect("a part");
            writer.write_all(bytes).expect("memory");
        }
        writer.finish().expect("a zip").into_inner()
    }

    /// A zip written by hand, so that it can be wrong: stored, names as they are, duplicates and flags allowed.
    fn stored(&self, flags: u16) -> Vec<u8> {
        let (mut file, mut directory) = (Vec::new(), Vec::new());
        for (name, bytes) in &self.entries {
            let size = u32::try_from(bytes.len()).expect("small");
            let mut common = Vec::new();
            common.extend(20u16.to_le_bytes());
            common.extend(flags.to_le_bytes());
            common.extend([0; 6]);
            common.extend(crc32(bytes).to_le_bytes());
            common.extend(size.to_le_bytes());
            common.extend(size.to_le_bytes());
            common.extend(u16::try_from(name.len()).expect("short").to_le_bytes());
            common.extend([0; 2]);
            directory.extend(*b"PK\x01\x02\x14\x00");
            directory.extend(&common);
            directory.extend([0; 10]);
            directory.extend(u32::try_from(file.len()).expect("small").to_le_bytes());
            directory.extend(name.as_bytes());
            file.extend(*b"PK\x03\x04");
            file.extend(&common);
            file.extend(name.as_bytes());
            file.extend(bytes);
        }
        let entries = u16::try_from(self.entries.len())
            .expect("few")
            .to_le_bytes();
        let (at, size) = (file.len() as u32, directory.len() as u32);
        file.extend(&directory);
        file.extend(*b"PK\x05\x06\0\0\0\0");
        file.extend([entries, entries].concat());
        file.extend(size.to_le_bytes());
        file.extend(at.to_le_bytes());
        file.extend([0; 2]);
        file
    }
}

#[test]
fn every_file_of_the_corpus_gets_what_it_deserves() {
    let files = corpus::corpus().len();
    assert!(files >= 250, "{files} files");
    let children = crate::app::fallback();
    let contract = Contract::of(Dataset::MeetingList);
    let readers: [Read; 2] = [decode::workbook, decode::workbook_by_calamine];
    for reader in readers {
        let wrong = corpus::run(&mut |bytes, sink| {
            reader(bytes, contract, &WorkbookLimits::default(), &children, sink)
        });
        assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
    }
    assert_eq!(children.idle().len(), 1, "one child read them all");
}

#[test]
fn both_readers_make_the_same_of_every_file_of_the_corpus() {
    let children = crate::app::fallback();
    let (mut own, mut calamine, mut refused, mut rows) = (0, 0, 0, 0);
    for case in corpus::corpus() {
        let compared = crate::oracle::compare_in(
            &children,
            &case.name,
            Dataset::MeetingList,
            &case.bytes,
            &WorkbookLimits::default(),
        );
        match compared.reader {
            Some(decode::WorkbookReader::Own) => own += 1,
            Some(decode::WorkbookReader::Calamine { .. }) => calamine += 1,
            None => refused += 1,
        }
        rows += compared.rows;
    }
    let files = own + calamine + refused;
    println!(
        "{files} files: {own} read by the fast reader, {calamine} by calamine, {refused} refused; {rows} rows in their batches"
    );
    assert!(files >= 150, "{files} files");
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

pub(crate) fn context(dataset: Dataset) -> Context {
    Context {
        contract: Contract::of(dataset),
        time_zone: TimeZone::UTC,
        tenant_zone: TimeZone::UTC,
        lineage: Lineage::default(),
        stamp: Stamp::default(),
        buckets: None,
        top_user_duration: DurationUnit::Minutes,
        keys_from_task_required: false,
        keys: None,
    }
}

fn read_as(dataset: Dataset, bytes: &[u8], limits: &WorkbookLimits) -> Result<Normalized, String> {
    let context = context(dataset);
    let fallback = Fallback::in_this_process();
    let by = |read: Read| {
        let (read, table) = normalize::whole(&context, |normalizer| {
            read(bytes, context.contract, limits, &fallback, normalizer)
        });
        read.map_err(|e| e.to_string())?;
        table.map_err(|e| e.to_string())
    };
    let (table, judged) = (by(decode::workbook), by(decode::workbook_by_calamine));
    match (&table, &judged) {
        (Ok(table), Ok(judged)) => {
            assert_eq!(table.batch, judged.batch);
            assert_eq!(table.findings, judged.findings);
        }
        _ => assert_eq!(table.as_ref().err(), judged.as_ref().err()),
    }
    table
}

/// One of the two readers, which must agree on every file here.
type Read = fn(
    &[u8],
    &Contract,
    &WorkbookLimits,
    &Fallback,
    &mut dyn meetlake::testing::table::RowSink,
) -> Result<decode::DecodeSummary, decode::Error>;

fn read(bytes: &[u8]) -> Result<Normalized, String> {
    read_as(Dataset::MeetingList, bytes, &WorkbookLimits::default())
}

fn assert_refused(what: &str, bytes: &[u8], because: &str) {
    match read(bytes) {
        Ok(table) => panic!("{what}: read as {} rows", table.batch.num_rows()),
        Err(error) => assert!(error.contains(because), "{what}: {error}"),
    }
}

#[test]
fn the_smallest_workbook_is_read() {
    for bytes in [Parts::new(ROW).deflated(), Parts::new(ROW).stored(0)] {
        let table = read(&bytes).expect("a good workbook");
        assert_eq!(table.batch.num_rows(), 1);
    }
}

#[test]
fn what_is_no_workbook_is_named() {
    let good = Parts::new(ROW).deflated();
    for (what, bytes, because) in [
        ("nothing", &b""[..], "empty (0 bytes)"),
        (
            "HTML",
            b"\xef\xbb\xbf <!DOCTYPE html><html>expired</html>",
            "HTML or XML",
        ),
        (
            "JSON",
            b"{\"code\":99991400,\"msg\":\"x\"}",
            "code 99991400",
        ),
        (
            "OLE",
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0\0\0\0",
            "password-protected",
        ),
        ("gzip", b"\x1f\x8b\x08\0\0\0\0\0", "gzip"),
        (
            "an empty zip",
            b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            "without any file",
        ),
        ("text", b"meeting id,start", "does not begin with"),
        ("half a magic", b"PK", "cut-off"),
        ("half a file", &good[..good.len() / 2], "cut off"),
        (
            "a file without its last byte",
            &good[..good.len() - 1],
            "cut off",
        ),
    ] {
        assert_refused(what, bytes, because);
    }
}

#[test]
fn a_damaged_or_dishonest_container_is_refused() {
    let mut wrong_crc = Parts::new(ROW).stored(0);
    let at = wrong_crc
        .windows(9)
        .position(|w| w == b"123456789")
        .expect("the id");
    wrong_crc[at] = b'9';
    let duplicate = Parts {
        entries: [Parts::new(ROW).entries, Parts::new(ROW).entries].concat(),
    };
    let many = (0..1_001).fold(Parts::new(ROW), |parts, n| {
        parts.with(&format!("x{n}.xml"), "<a/>")
    });
    for (what, bytes, because) in [
        ("a wrong CRC", wrong_crc, "damaged"),
        ("duplicate parts", duplicate.stored(0), "same name"),
        (
            "parts that differ in case",
            Parts::new(ROW).with("XL/Workbook.xml", "<a/>").stored(0),
            "apart from case",
        ),
        (
            "a traversing part",
            Parts::new(ROW).with("xl/../../etc/passwd", "x").stored(0),
            "outside",
        ),
        (
            "an absolute part",
            Parts::new(ROW).with("/etc/passwd", "x").stored(0),
            "absolute",
        ),
        (
            "a macro",
            Parts::new(ROW).with("xl/vbaProject.bin", "x").stored(0),
            "macro",
        ),
        ("encryption", Parts::new(ROW).stored(1), "encrypted"),
        ("too many parts", many.stored(0), "parts"),
        (
            "no workbook.xml",
            Parts::new(ROW).without("xl/workbook.xml").stored(0),
            "no workbook inside",
        ),
    ] {
        assert_refused(what, &bytes, because);
    }
}

#[test]
fn markup_that_readers_would_misread_is_refused() {
    let sheet = |inner: &str| Parts::new(inner).stored(0);
    let utf16: Vec<u8> = std::iter::once(0xfeff)
        .chain(format!("<worksheet><sheetData>{HEADER}</sheetData></worksheet>").encode_utf16())
        .flat_map(u16::to_le_bytes)
        .collect();
    for (what, bytes, because) in [
        ("a string index of -1", sheet(r#"<row r="2"><c r="A2" t="s"><v>-1</v></c></row>"#), "string index"),
        ("a string index beyond the table", sheet(r#"<row r="2"><c r="A2" t="s"><v>7</v></c></row>"#), "string index"),
        ("a wrapped row", sheet(r#"<row r="2"><c r="A4294967297"/></row>"#), "no place"),
        ("a wrapped column", sheet(r#"<row r="2"><c r="ABCDEFGHIJKL2"/></row>"#), "no place"),
        ("a cell beyond the grid", sheet(r#"<row r="2"><c r="ZZZ2"><v>1</v></c></row>"#), "outside of any sheet"),
        ("a cell that comes twice", sheet(r#"<row r="2"><c r="B2"><v>1</v></c><c r="B2"><v>2</v></c></row>"#), "twice or out of order"),
        ("rows out of order", sheet(r#"<row r="3"><c r="A3"><v>1</v></c></row><row r="2"><c r="A2"><v>1</v></c></row>"#), "out of order"),
        ("two sheetData", Parts::new("").sheet(format!("<worksheet><sheetData>{HEADER}</sheetData><sheetData>{ROW}</sheetData></worksheet>")).stored(0), "one <sheetData>"),
        ("a sheet without its end", Parts::new("").sheet(format!("<worksheet><sheetData>{HEADER}{ROW}")).stored(0), "one <worksheet>"),
        ("a sheet in UTF-16", Parts::new("").sheet(utf16).stored(0), "UTF-16"),
        ("a document type", Parts::new("").sheet("<!DOCTYPE x [<!ENTITY a \"b\">]><worksheet><sheetData/></worksheet>").stored(0), "document type"),
        ("a reversed dimension", Parts::new("").sheet(format!("<worksheet><dimension ref=\"B9:A1\"/><sheetData>{HEADER}</sheetData></worksheet>")).stored(0), "no place"),
        ("a sheet in a part that is no XML", Parts::new(ROW).with("xl/media/a.png", "PNG\0").with("xl/_rels/workbook.xml.rels", r#"<Relationships><Relationship Id="rId1" Type="x/worksheet" Target="media/a.png"/></Relationships>"#).stored(0), "NUL"),
        ("a sheet in another file", Parts::new(ROW).edit("xl/_rels/workbook.xml.rels", |xml| xml.replace("Target=", "TargetMode=\"External\" Target=")).stored(0), "in another file"),
        ("two tables of strings", Parts::new(ROW).with_strings("<sst/>").with_relation("sharedStrings", "b.xml").stored(0), "two relations"),
    ] {
        assert_refused(what, &bytes, because);
    }
}

#[test]
fn bombs_are_refused_before_they_are_built() {
    let blanks = format!(
        "<worksheet><sheetData>{HEADER}{}</sheetData></worksheet>",
        " ".repeat(64 << 20)
    );
    assert_refused(
        "64 MiB of blanks",
        &Parts::new("").sheet(blanks).deflated(),
        "text of more than",
    );
    let rows = "<row/>".repeat(1 << 20);
    assert_refused(
        "a million empty rows",
        &Parts::new(&rows).deflated(),
        "zip bomb",
    );
    let tiny = WorkbookLimits {
        container_bytes: 100,
        ..WorkbookLimits::default()
    };
    let error = read_as(Dataset::MeetingList, &Parts::new(ROW).deflated(), &tiny);
    assert!(error.expect_err("too large").contains("at most 100"));
}

#[test]
fn limits_hold_for_cells_rows_and_text() {
    let bytes = Parts::new(ROW).stored(0);
    for (limits, because) in [
        (
            WorkbookLimits {
                cells: 3,
                ..WorkbookLimits::default()
            },
            "more than 3 cells",
        ),
        (
            WorkbookLimits {
                rows: 1,
                ..WorkbookLimits::default()
            },
            "more than 1 rows",
        ),
        (
            WorkbookLimits {
                columns: 1,
                ..WorkbookLimits::default()
            },
            "more than 1 columns",
        ),
        (
            WorkbookLimits {
                total_text_bytes: 20,
                ..WorkbookLimits::default()
            },
            "bytes of text",
        ),
        (
            WorkbookLimits {
                text_bytes: 5,
                ..WorkbookLimits::default()
            },
            "text of more than 5",
        ),
        (
            WorkbookLimits {
                total_bytes: 300,
                ..WorkbookLimits::default()
            },
            "300 bytes inflated",
        ),
        (
            WorkbookLimits {
                entry_bytes: 300,
                ..WorkbookLimits::default()
            },
            "inflates to more than 300",
        ),
    ] {
        let error = read_as(Dataset::MeetingList, &bytes, &limits).expect_err(because);
        assert!(error.contains(because), "{error}");
    }
}

#[test]
fn a_lying_dimension_and_phantom_cells_do_no_harm() {
    let sheet = format!(
        "<worksheet><dimension ref=\"A1:XFD1048576\"/><sheetData>{HEADER}{}</sheetData></worksheet>",
        ROW.replace("</row>", "<c r=\"XFD2\"/></row>")
    );
    let table = read(&Parts::new("").sheet(sheet).stored(0)).expect("harmless");
    assert_eq!(table.batch.num_rows(), 1);
    let table = read(&Parts::new("").stored(0)).expect("a header without rows");
    assert_eq!(table.batch.num_rows(), 0);
}

/// A meeting list with the given cells in row 2 and on, under `会议ID`, `会议开始时间`, `会议时长`.
fn written(fill: impl FnOnce(&mut rust_xlsxwriter::Worksheet)) -> Vec<u8> {
    let mut workbook = Workbook::new();
    let sheet = workbook.add_worksheet();
    for (column, header) in (0..).zip(["会议ID", "会议开始时间", "会议时长"]) {
        sheet.write(0, column, header).expect("a header");
    }
    fill(sheet);
    workbook.save_to_buffer().expect("a workbook")
}

#[test]
fn native_dates_and_durations_are_read_in_both_epochs() {
    let bytes = written(|sheet| {
        let date = Format::new().set_num_format("yyyy-mm-dd hh:mm:ss");
        let elapsed = Format::new().set_num_format("[h]:mm:ss");
        let start = ExcelDateTime::parse_from_str("2026-10-12 06:10:42").expect("a date");
        sheet.write(1, 0, 190_924_711).expect("a number");
        sheet
            .write_datetime_with_format(1, 1, start, &date)
            .expect("a date");
        sheet
            .write_with_format(1, 2, 25.0 / 24.0, &elapsed)
            .expect("a duration");
    });
    let check = |bytes: &[u8], start: &str| {
        let table = read(bytes).expect("a good workbook");
        let start: Timestamp = start.parse().expect("an instant");
        let times = table.batch["start_time"].as_primitive::<TimestampMicrosecondType>();
        assert_eq!(times.value(0), start.as_microsecond());
        assert_eq!(
            table.batch["meeting_no"].as_string::<i32>().value(0),
            "190924711"
        );
        assert_eq!(
            table.batch["duration_s"]
                .as_primitive::<arrow::datatypes::Int64Type>()
                .value(0),
            90_000
        );
    };
    check(&bytes, "2026-10-12T06:10:42Z");
    check(&in_1904(&bytes), "2030-10-13T06:10:42Z");
}

/// The same workbook with the 1904 epoch: all dates 1,462 days later.
fn in_1904(bytes: &[u8]) -> Vec<u8> {
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).expect("a zip");
    let mut entries = Vec::new();
    for index in 0..archive.len() {
        let mut part = archive.by_index(index).expect("a part");
        let mut content = Vec::new();
        std::io::copy(&mut part, &mut content).expect("memory");
        let name = part.name().expect("a name").into_owned();
        if name == "xl/workbook.xml" {
            let text = String::from_utf8(content).expect("UTF-8");
            assert!(text.contains("<workbookPr "));
            content = text
                .replace("<workbookPr ", "<workbookPr date1904=\"1\" ")
                .into_bytes();
        }
        entries.push((name, content));
    }
    Parts { entries }.stored(0)
}

#[test]
fn an_id_that_lost_its_digits_is_rejected_and_its_row_named() {
    let bytes = written(|sheet| {
        for row in 1..=100 {
            let id = if row == 7 {
                6_937_000_000_000_000_001.0
            } else {
                f64::from(row)
            };
            sheet.write(row, 0, id).expect("a number");
            sheet.write(row, 1, "2026.10.12 06:10:42").expect("a time");
        }
    });
    let table = read(&bytes).expect("one bad row of a hundred");
    assert_eq!(
        (table.batch.num_rows(), table.findings.rows_quarantined),
        (99, 1)
    );
    let reject = &table.findings.rejects[0];
    assert_eq!(
        (reject.cell.as_str(), reject.reason),
        ("A8", Fault::InexactId)
    );
}

#[test]
fn an_id_of_19_digits_reaches_parquet_as_it_is_or_not_at_all() {
    let id = "6937000000000000001";
    let numbers = (2..80).map(|row| {
        let cell = if row == 7 {
            format!("<c r=\"A{row}\"><v>{id}</v></c>")
        } else {
            format!("<c r=\"A{row}\" t=\"str\"><v>{id}</v></c>")
        };
        format!(
            "<row r=\"{row}\">{cell}<c r=\"B{row}\" t=\"str\"><v>2026.10.12 06:10:42</v></c></row>"
        )
    });
    let folder = tempfile::tempdir().expect("a folder");
    let (input, output) = (
        folder.path().join("in.xlsx"),
        folder.path().join("out.parquet"),
    );
    std::fs::write(&input, Parts::new(&numbers.collect::<String>()).deflated()).expect("written");
    let conversion = meetlake::testing::convert::Conversion {
        dataset: Dataset::MeetingList,
        time_zone: TimeZone::UTC,
        lineage: Lineage::default(),
        input,
        output: output.clone(),
        fallback: crate::app::fallback(),
    };
    let report = meetlake::testing::convert::file(&conversion).expect("one row of 78 is left out");
    assert_eq!(report.findings.rows_quarantined, 1);
    let file = std::fs::File::open(&output).expect("an output");
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file);
    let mut rows = 0;
    for batch in reader.expect("Parquet").build().expect("a reader") {
        let batch = batch.expect("a batch");
        let ids = batch["meeting_no"].as_string::<i32>();
        assert!(ids.iter().all(|read| read == Some(id)));
        rows += batch.num_rows();
    }
    assert_eq!(rows, 77);
}

#[test]
fn a_formula_error_is_a_rejected_cell() {
    let row = |n: u32| {
        ROW.replace("r=\"2\"", &format!("r=\"{n}\""))
            .replace("A2", &format!("A{n}"))
            .replace("B2", &format!("B{n}"))
    };
    let mut rows: String = (2..60).map(row).collect();
    rows += r##"<row r="60"><c r="A60"><v>1</v></c><c r="B60" t="e"><v>#N/A</v></c></row>"##;
    let table = read(&Parts::new(&rows).stored(0)).expect("one cell of 59 is wrong");
    assert_eq!(table.batch.num_rows(), 58);
    let reject = &table.findings.rejects[0];
    assert_eq!(
        (reject.cell.as_str(), reject.reason),
        ("B60", Fault::FormulaError)
    );
}

#[test]
fn a_header_below_titles_on_a_later_sheet_is_found() {
    let mut workbook = Workbook::new();
    workbook
        .add_worksheet()
        .set_name("说明")
        .expect("a name")
        .write(0, 0, "read me")
        .expect("a cell");
    let sheet = workbook.add_worksheet();
    sheet.set_name("数据").expect("a name");
    sheet
        .merge_range(0, 0, 0, 3, "会议明细 2026-10-12", &Format::new())
        .expect("a title");
    for (column, text) in (1..).zip(["会议开始时间", "会议 ＩＤ", "Meeting Topic"]) {
        sheet.write(3, column, text).expect("a header");
    }
    for (column, text) in (1..).zip(["2026-10-12 06:10:42", "123", " =1+1 "]) {
        sheet.write(5, column, text).expect("a cell");
    }
    let bytes = workbook.save_to_buffer().expect("a workbook");
    let context = context(Dataset::MeetingList);
    let (summary, table) = normalize::whole(&context, |normalizer| {
        decode::workbook(
            &bytes,
            context.contract,
            &WorkbookLimits::default(),
            &Fallback::in_this_process(),
            normalizer,
        )
    });
    let summary = summary.expect("one sheet");
    assert_eq!(
        (summary.sheets[0].name.as_str(), summary.sheets[0].rows),
        ("数据", 1)
    );
    assert_eq!(summary.ignored[0].name, "说明");
    let batch = table.expect("a table").batch;
    assert_eq!(batch["topic"].as_string::<i32>().value(0), " =1+1 ");
    assert_eq!(
        batch["_source_row"]
            .as_primitive::<arrow::datatypes::Int64Type>()
            .value(0),
        6
    );
}

#[test]
fn a_workbook_of_something_else_says_what_it_lacks() {
    let bytes = written(|_| ());
    let error = read_as(Dataset::ParticipantList, &bytes, &WorkbookLimits::default())
        .expect_err("another dataset");
    assert!(
        error.contains(
            "participant_name (参会人, 参会者, participant, participant_name) and join_time"
        ),
        "{error}"
    );
    assert!(
        !error.contains("会议ID"),
        "only texts of a row that looks like this header: {error}"
    );
    let mut workbook = Workbook::new();
    let sheet = workbook.add_worksheet();
    for (column, text) in (0..).zip(["会议ID", "会议 ID", "会议开始时间"]) {
        sheet.write(0, column, text).expect("a header");
    }
    let error = read(&workbook.save_to_buffer().expect("a workbook")).expect_err("twice");
    assert!(
        error.contains("`meeting_no` twice, in A1 and B1"),
        "{error}"
    );
}

#[test]
fn a_fixture_cut_anywhere_or_with_a_flipped_byte_is_never_read_differently() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/observed_meeting_list.xlsx"
    );
    let whole = std::fs::read(path).expect("a fixture");
    let rows = read(&whole).expect("a good workbook").batch;
    for length in (0..whole.len()).step_by(97) {
        assert!(read(&whole[..length]).is_err(), "cut to {length} bytes");
    }
    let mut refused = 0;
    for at in (0..whole.len()).step_by(31) {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        match read(&flipped) {
            // Bytes that carry nothing, such as a part's date.
            Ok(table) => assert_eq!(table.batch, rows, "byte {at}"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused * 10 > whole.len() / 31 * 8, "{refused} refused");
}
