//! Workbooks that other tools made, and that somebody once read wrongly or refused for a false reason: what both readers and `convert` make of each.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use arrow::array::AsArray as _;
use arrow::datatypes::Int64Type;
use meetlake::testing::contract::{Column, ColumnKind, Contract, Key};
use meetlake::testing::dataset::Dataset;
use meetlake::testing::decode::WorkbookLimits;
use meetlake::testing::normalize::Normalized;
use meetlake::testing::table::cell_name;
use serde_json::{Value, json};

use super::{Parts, read_as};
use crate::fixtures::value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/strangers")
}

/// What must become of a workbook.
struct Expected {
    /// Name of the file, without its ending.
    name: &'static str,
    dataset: Dataset,
    /// Exit code of `convert`.
    exit: i32,
    /// Rows in the output; `None` if there is none.
    rows: Option<usize>,
    /// Row of the sheet, column, and value.
    cells: &'static [(i64, &'static str, &'static str)],
    /// Pieces of what `convert` says.
    says: &'static [&'static str],
}

/// A workbook of which every row is read.
const fn read(name: &'static str, rows: usize) -> Expected {
    Expected {
        name,
        dataset: Dataset::MeetingList,
        exit: 0,
        rows: Some(rows),
        cells: &[],
        says: &[],
    }
}

/// A workbook that is refused.
const fn refused(name: &'static str, says: &'static [&'static str]) -> Expected {
    Expected {
        exit: 7,
        rows: None,
        says,
        ..read(name, 0)
    }
}

const UNSTORED: &str = "has no stored value";

/// Every file of the folder. Texts of cells that `convert` says anything of are its own ones.
fn expectations() -> Vec<Expected> {
    vec![
        read("cdata_in_shared_strings", 60),
        read("custom_xml_utf16", 60),
        Expected {
            cells: &[(21, "organizer_employee_no", "\"000123\"")],
            ..read("employee_no_zero_padded_by_format", 60)
        },
        Expected {
            cells: &[(21, "end_time", "1791756642000000")],
            ..read("end_time_lrm", 60)
        },
        Expected {
            says: &[
                "cells that do not fit, kept in _extra: 1",
                "Sheet1!R5 (备注): holds a formula's error",
            ],
            ..read("error_value_calc", 4)
        },
        read("external_link_part", 60),
        Expected {
            says: &["column XFD"],
            ..read("far_cell", 4)
        },
        Expected {
            cells: &[(6, "end_time", "null"), (6, "topic", "null")],
            says: &["S1!L6 (end_time)", "S1!C6 (topic)", UNSTORED],
            ..read("formula_without_value_end_time", 60)
        },
        Expected {
            cells: &[(21, "topic", "null")],
            says: &["S1!C21 (topic)", UNSTORED],
            ..read("formula_without_value_topic", 60)
        },
        Expected {
            says: &["rows skipped that repeat the header: 5"],
            ..read("header_repeated_every_10_rows", 60)
        },
        refused(
            "header_with_colon",
            &[
                "in the first 20 rows",
                "row 1 of sheet `S1` has what is nearly 会议 ID (A1)",
            ],
        ),
        Expected {
            says: &[
                "rows that repeat the natural key of another row, all kept: 60",
                "hidden sheets, whose rows are kept too: 备份",
            ],
            ..read("hidden_copy_of_the_sheet", 120)
        },
        Expected {
            cells: &[(21, "topic", "null")],
            says: &["S1!C21 (topic)", UNSTORED],
            ..read("inline_string_in_v", 60)
        },
        Expected {
            dataset: Dataset::ParticipantList,
            ..refused(
                "leak_headerless_participants",
                &["row 4 of sheet `S1` has 电话 (G4) and 22 other texts"],
            )
        },
        refused(
            "meeting_no_apostrophe_in_all_rows",
            &[
                "60 of 60 cells of the column `meeting_no` do not fit",
                "is no meeting number",
            ],
        ),
        Expected {
            cells: &[(21, "meeting_no", "\"190924711\"")],
            ..read("meeting_no_sp", 60)
        },
        Expected {
            exit: 7,
            says: &[
                "S1!A21 (meeting_no): is no meeting number",
                "rows left out, without their key: 1",
            ],
            ..read("meeting_no_text", 59)
        },
        Expected {
            cells: &[(21, "meeting_no", "\"190924711\"")],
            ..read("meeting_no_zwsp", 60)
        },
        read("no_break_space_in_all_dates", 60),
        Expected {
            cells: &[(2, "topic", r#""Roadmap\nsync""#)],
            ..read("renamed_shared_strings", 60)
        },
        read("renamed_workbook", 60),
        Expected {
            says: &["rows that repeat the natural key of another row, all kept: 1"],
            ..read("row_twice", 61)
        },
        Expected {
            says: &[
                "missing in sheet S2: device_count, used_audio, used_video, used_screen_share, was_recorded, used_phone",
            ],
            ..read("second_sheet_lacks_columns", 60)
        },
        refused("second_sheet_without_header", &["sheet `S2` has no header"]),
        Expected {
            cells: &[(2, "topic", r#""Roadmap\nsync""#)],
            ..read("stale_shared_strings", 60)
        },
        Expected {
            cells: &[(21, "topic", "\"46307.5\"")],
            ..read("stale_styles_text", 60)
        },
        read("target_dotdot", 60),
        refused(
            "two_bytes_behind_the_zip",
            &["there are 2 bytes behind its end"],
        ),
        read("unique_count_too_large", 60),
        read("wide_other_sheet", 4),
        read("zip64_small", 4),
    ]
}

/// Exit code and text of `convert`.
fn convert(dataset: Dataset, input: &Path, output: &Path) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meetlake"));
    command
        .args(["convert", "--dataset", dataset.as_str(), "--out"])
        .arg(output)
        .args(["--set", "meeting_no=100000001"])
        .args(["--set", "meeting_start_time=2026.10.12 00:00:00"])
        .arg(input);
    let output = command.output().expect("it starts");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).expect("text");
    (output.status.code().expect("it ends"), text)
}

fn cell(table: &Normalized, row: i64, column: &str) -> Value {
    let rows = table.batch["_source_row"].as_primitive::<Int64Type>();
    let at = rows.values().iter().position(|at| *at == row);
    value(&table.batch, column, at.expect("the row is there"))
}

#[test]
fn what_other_tools_make_is_read_right_or_refused_for_the_true_reason() {
    let folder = folder();
    let out = tempfile::tempdir().expect("a folder");
    let expectations = expectations();
    let files = fs::read_dir(&folder).expect("the fixtures").count();
    assert_eq!(expectations.len(), files, "every file is in the table");
    let observed = folder.with_file_name("observed_meeting_list.xlsx");
    let observed = fs::read(observed).expect("a fixture");
    let limits = WorkbookLimits::default();
    let observed = read_as(Dataset::MeetingList, &observed, &limits).expect("a good workbook");
    for expected in expectations {
        let name = expected.name;
        let input = folder.join(format!("{name}.xlsx"));
        let output = out.path().join(format!("{name}.parquet"));
        let (exit, said) = convert(expected.dataset, &input, &output);
        assert_eq!(exit, expected.exit, "{name}: {said}");
        assert_eq!(output.exists(), expected.rows.is_some(), "{name}: {said}");
        for piece in expected.says {
            assert!(said.contains(piece), "{name}: no `{piece}` in {said}");
        }
        for personal in ["测试甲", "jia@example.com", "203.0.113.9", "****0000"] {
            assert!(!said.contains(personal), "{name}: {said}");
        }
        // Asserts too that both readers agree.
        let bytes = fs::read(&input).expect("a fixture");
        let table = read_as(expected.dataset, &bytes, &limits);
        let Some(rows) = expected.rows else {
            assert!(table.is_err(), "{name}");
            continue;
        };
        let table = table.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(table.batch.num_rows(), rows, "{name}");
        for (row, column, expected) in expected.cells {
            let expected: Value = serde_json::from_str(expected).expect("JSON");
            assert_eq!(
                cell(&table, *row, column),
                expected,
                "{name}: {column} of row {row}"
            );
        }
        // Nothing but the table of strings is unusual in these.
        if name.contains("shared_strings") {
            for column in ["topic", "organizer_name", "organizer_department"] {
                for row in 2..62 {
                    assert_eq!(
                        cell(&table, row, column),
                        cell(&observed, row, column),
                        "{name}"
                    );
                }
            }
        }
    }
}

/// A file in the format for more than 4 GiB is read only if all of its records agree.
#[test]
fn the_records_of_zip64_are_not_taken_on_trust() {
    let whole = fs::read(folder().join("zip64_small.xlsx")).expect("a fixture");
    let limits = WorkbookLimits::default();
    let read = |bytes: &[u8]| read_as(Dataset::MeetingList, bytes, &limits);
    let rows = read(&whole).expect("a good workbook").batch;
    let records = b"PK\x06\x06";
    let at = whole.windows(4).position(|window| window == records);
    let directory = b"PK\x01\x02";
    let first = whole.windows(4).position(|window| window == directory);
    let (from, records) = (first.expect("a directory"), at.expect("the records"));
    let mut refused = 0;
    for at in from..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        match read(&flipped) {
            // Dates, versions and what else carries nothing.
            Ok(table) => assert_eq!(table.batch, rows, "byte {at}"),
            Err(_) => refused += usize::from(at >= records),
        }
    }
    assert!(refused > 80, "{refused} bytes of the records matter");
    // Nothing needs the records, and the end record has all values itself.
    let mut plain = whole.clone();
    let end = whole.len() - 22;
    let place = u32::try_from(from).expect("small").to_le_bytes();
    plain[end + 16..end + 20].copy_from_slice(&place);
    assert_eq!(read(&plain).expect("a good workbook").batch, rows);
}

/// A workbook of any dataset: all columns that a sheet has and one that nobody knows, in a table of strings.
struct Made {
    dataset: Dataset,
    header: Vec<String>,
    /// Texts of a row.
    row: Vec<String>,
    /// Places of a required date-time, of another column and of the unknown one.
    required: usize,
    other: usize,
    unknown: usize,
    /// Name of the other column.
    other_name: String,
}

const ROWS: u32 = 30;

impl Made {
    fn of(dataset: Dataset) -> Self {
        let contract = Contract::of(dataset);
        let columns = contract
            .columns
            .iter()
            .filter(|column| !column.headers.is_empty());
        let columns: Vec<_> = columns.collect();
        let place = |wanted: &dyn Fn(&Column) -> bool| {
            columns
                .iter()
                .position(|column| wanted(column))
                .expect("a column")
        };
        let is_required = |column: &Column| column.key == Key::Required;
        let other =
            place(&|column| column.key == Key::No && !matches!(column.kind, ColumnKind::Enum(_)));
        let text = |column: &Column| match column.kind {
            ColumnKind::MeetingNo => "190924711",
            ColumnKind::Id => "x1",
            ColumnKind::Time => "2026.10.12 06:10:42",
            ColumnKind::DurationS => "00:10:00",
            ColumnKind::Integer | ColumnKind::SmallInteger => "3",
            ColumnKind::Bool => "是",
            ColumnKind::Kbps => "50kbps",
            ColumnKind::Milliseconds => "5ms",
            ColumnKind::Percent => "2%",
            ColumnKind::Decibels => "6dB",
            ColumnKind::FramesPerSecond => "30fps",
            ColumnKind::TextList => "[\"a\",\"b\"]",
            ColumnKind::Enum(values) => values[0].texts[0],
            _ => "测试甲",
        };
        let headers = columns.iter().map(|column| column.headers[0].clone());
        let texts = columns.iter().map(|column| text(column).to_owned());
        Self {
            dataset,
            header: headers.chain(["备注".to_owned()]).collect(),
            row: texts.chain(["y".to_owned()]).collect(),
            required: place(&|column| is_required(column) && column.kind == ColumnKind::Time),
            other,
            unknown: columns.len(),
            other_name: columns[other].name.clone(),
        }
    }

    /// The strings of the header, and then those of a row.
    fn strings(&self, change: impl Fn(&str) -> String) -> String {
        let texts = self.header.iter().chain(&self.row);
        let texts: String = texts
            .map(|text| format!("<si><t>{}</t></si>", change(text)))
            .collect();
        format!("<sst uniqueCount=\"999\">{texts}</sst>")
    }

    fn sheet_row(&self, number: u32, first: usize) -> String {
        let cells = (0..self.header.len()).map(|column| {
            let place = cell_name(number - 1, column as u32);
            format!("<c r=\"{place}\" t=\"s\"><v>{}</v></c>", first + column)
        });
        format!("<row r=\"{number}\">{}</row>", cells.collect::<String>())
    }

    fn sheet(&self, with_header: bool) -> String {
        let header = self.sheet_row(1, 0);
        let rows = (2..2 + ROWS).map(|number| self.sheet_row(number, self.header.len()));
        let rows: String = with_header
            .then_some(header)
            .into_iter()
            .chain(rows)
            .collect();
        format!("<worksheet><sheetData>{rows}</sheetData></worksheet>")
    }

    fn parts(&self) -> Parts {
        Parts::new("")
            .sheet(self.sheet(true))
            .with_strings(&self.strings(str::to_owned))
    }

    /// With a second sheet.
    fn two(&self, second: &str, state: &str) -> Parts {
        let entry = format!(
            "<sheet name=\"T\" sheetId=\"2\" state=\"{state}\" r:id=\"worksheet\"/></sheets>"
        );
        self.parts()
            .with("xl/worksheets/two.xml", second)
            .with_relation("worksheet", "worksheets/two.xml")
            .edit("xl/workbook.xml", |xml| xml.replace("</sheets>", &entry))
    }

    /// With another cell at a place of the sheet.
    fn with_cell(&self, place: &str, xml: &str) -> Parts {
        let xml = xml.replace("PLACE", place);
        self.parts()
            .sheet(with_cell(&self.sheet(true), place, &xml))
    }

    fn read(&self, parts: &Parts) -> Result<Normalized, String> {
        let limits = WorkbookLimits::default();
        let read = |bytes: &[u8]| read_as(self.dataset, bytes, &limits);
        let (table, stored) = (read(&parts.deflated()), read(&parts.stored(0)));
        let rows =
            |table: &Result<Normalized, String>| table.as_ref().map(|t| t.batch.num_rows()).ok();
        assert_eq!(rows(&table), rows(&stored), "{}", self.dataset);
        table
    }
}

fn with_cell(sheet: &str, place: &str, xml: &str) -> String {
    let from = sheet.find(&format!("<c r=\"{place}\"")).expect("the cell");
    let to = from + sheet[from..].find("</c>").expect("its end") + "</c>".len();
    format!("{}{xml}{}", &sheet[..from], &sheet[to..])
}

const EXPORTS: [Dataset; 4] = [
    Dataset::MeetingList,
    Dataset::ParticipantList,
    Dataset::ParticipantQualityList,
    Dataset::ResourceReservationList,
];

/// Error values, formulas without a value and padded numbers, in every export.
#[test]
fn odd_cells_are_named_in_every_dataset() {
    for dataset in EXPORTS {
        let made = Made::of(dataset);
        let plain = made.read(&made.parts()).expect("a good workbook");
        assert_eq!(plain.batch.num_rows(), ROWS as usize, "{dataset}");
        let [required, other, unknown] =
            [made.required, made.other, made.unknown].map(|column| cell_name(4, column as u32));
        for cell in [
            "<c r=\"PLACE\" t=\"e\"><v>#CALC!</v></c>",
            "<c r=\"PLACE\" t=\"e\"><v>#SPILL!</v></c>",
            "<c r=\"PLACE\" t=\"e\"><f>1</f><v>#FIELD!</v></c>",
            "<c r=\"PLACE\" t=\"e\"><v>#GETTING_DATA</v></c>",
            "<c r=\"PLACE\" t=\"e\"><v>#N/A</v></c>",
            "<c r=\"PLACE\" t=\"e\"><v>Err:502</v></c>",
            "<c r=\"PLACE\"><f>1+1</f></c>",
            "<c r=\"PLACE\"><f>1+1</f><v></v></c>",
            "<c r=\"PLACE\" t=\"str\"><f>1+1</f></c>",
            "<c r=\"PLACE\" t=\"inlineStr\"><v>x</v></c>",
            "<c r=\"PLACE\" t=\"s\"><v></v></c>",
        ] {
            for (place, rows) in [(&required, ROWS - 1), (&other, ROWS), (&unknown, ROWS)] {
                let what = format!("{dataset}, {place}: {cell}");
                let table = made.read(&made.with_cell(place, cell));
                let table = table.unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_eq!(table.batch.num_rows(), rows as usize, "{what}");
                let named = table.findings.rejects.iter().map(|reject| &reject.cell);
                assert_eq!(named.collect::<Vec<_>>(), [place], "{what}");
                assert_eq!(table.findings.cells_rejected, 1, "{what}");
            }
        }
        let styles = "<styleSheet><numFmts><numFmt numFmtId=\"164\" formatCode=\"000000\"/></numFmts><cellXfs><xf numFmtId=\"0\"/><xf numFmtId=\"164\"/></cellXfs></styleSheet>";
        let padded = made
            .with_cell(&unknown, "<c r=\"PLACE\" s=\"1\"><v>123</v></c>")
            .with_styles(styles);
        let table = made.read(&padded).expect("a good workbook");
        assert_eq!(
            cell(&table, 5, "_extra")["备注"],
            json!("000123"),
            "{dataset}"
        );
    }
}

/// The relations decide in every export, whatever lies at the usual places.
#[test]
fn relations_decide_which_parts_are_read_in_every_dataset() {
    const LINKS: &str = "xl/_rels/workbook.xml.rels";
    const BOOK: &str = "xl/workbook.xml";
    for dataset in EXPORTS {
        let made = Made::of(dataset);
        let stale = made.strings(|text| format!("STALE {text}"));
        let dates = "<styleSheet><cellXfs><xf numFmtId=\"14\"/></cellXfs></styleSheet>";
        let relinked = |from: &str, to: &str| {
            made.parts().edit(LINKS, |xml| {
                assert!(xml.contains(from), "{xml}");
                xml.replace(from, to)
            })
        };
        let strings = made.strings(str::to_owned);
        let moved_book = |to: &str| {
            let parts = made.parts();
            let text = |name: &str| {
                let part = parts.entries.iter().find(|(known, _)| known == name);
                part.expect("a part").1.clone()
            };
            let (book, links) = (text(BOOK), text(LINKS));
            let links = String::from_utf8(links).expect("text");
            let links = links.replace("Target=\"", "Target=\"/xl/");
            let (folder, name) = to.rsplit_once('/').unwrap_or(("", to));
            let folder = if folder.is_empty() {
                String::new()
            } else {
                format!("{folder}/")
            };
            parts
                .without(LINKS)
                .edit("_rels/.rels", |xml| xml.replace(BOOK, &format!("/{to}")))
                .with(BOOK, "<workbook><sheets/></workbook>")
                .with(to, book)
                .with(&format!("{folder}_rels/{name}.rels"), links)
        };
        let cases = [
            (
                "strings elsewhere",
                relinked("sharedStrings.xml", "texts/s.xml")
                    .without("xl/sharedStrings.xml")
                    .with("xl/texts/s.xml", strings.clone()),
            ),
            (
                "strings elsewhere, old ones beside",
                relinked("sharedStrings.xml", "s2.xml")
                    .with("xl/sharedStrings.xml", stale)
                    .with("xl/s2.xml", strings.clone()),
            ),
            (
                "strings that are no .xml",
                relinked("sharedStrings.xml", "../s.dat")
                    .without("xl/sharedStrings.xml")
                    .with("s.dat", strings),
            ),
            (
                "formats that no relation leads to",
                made.parts().with("xl/styles.xml", dates),
            ),
            (
                "a target with dots",
                relinked("worksheets/sheet1.xml", "../xl/./worksheets/sheet1.xml"),
            ),
            (
                "an absolute target",
                relinked("worksheets/sheet1.xml", "/xl/worksheets/sheet1.xml"),
            ),
            ("another workbook", moved_book("xl/workbook2.xml")),
            ("a workbook at the root", moved_book("book.xml")),
            (
                "a workbook in another folder",
                moved_book("office/data/book.xml"),
            ),
            (
                "a link to another workbook",
                made.parts().with(
                    "xl/externalLinks/externalLink1.xml",
                    "<externalLink><sheetData/></externalLink>",
                ),
            ),
            (
                "UTF-16 that nobody reads",
                made.parts()
                    .with("customXml/item1.xml", b"\xff\xfe<\0a\0/\0>\0".to_vec()),
            ),
            (
                "a sheet that nobody lists",
                made.parts()
                    .with("xl/worksheets/sheet9.xml", "<!DOCTYPE x><worksheet/>"),
            ),
        ];
        for (what, parts) in cases {
            let table = made.read(&parts);
            let table = table.unwrap_or_else(|error| panic!("{dataset}, {what}: {error}"));
            assert_eq!(table.batch.num_rows(), ROWS as usize, "{dataset}, {what}");
            assert_eq!(
                cell(&table, 5, "_extra")["备注"],
                json!("y"),
                "{dataset}, {what}"
            );
        }
        let twice = relinked(
            "</Relationships>",
            "<Relationship Id=\"z\" Type=\"x/sharedStrings\" Target=\"z.xml\"/></Relationships>",
        );
        let error = made.read(&twice).expect_err("which one?");
        assert!(error.contains("two relations"), "{error}");
        let same = made.two("<worksheet/>", "visible").edit(LINKS, |xml| {
            xml.replace("worksheets/two.xml", "/xl/../xl/worksheets/sheet1.xml")
        });
        let error = made.read(&same).expect_err("its rows would come twice");
        assert!(error.contains("same part"), "{error}");
    }
}

/// What is told of sheets: copies, lost headers, missing columns.
#[test]
fn sheets_that_repeat_or_lack_something_are_told_in_every_dataset() {
    for dataset in EXPORTS {
        let made = Made::of(dataset);
        for (state, hidden) in [("hidden", true), ("veryHidden", true), ("visible", false)] {
            let table = made
                .read(&made.two(&made.sheet(true), state))
                .expect("a good workbook");
            assert_eq!(table.batch.num_rows(), 2 * ROWS as usize, "{dataset}");
            // All rows of the first sheet have one key.
            assert_eq!(
                table.findings.rows_repeated,
                u64::from(2 * ROWS - 1),
                "{dataset}"
            );
            let folder = tempfile::tempdir().expect("a folder");
            let input = folder.path().join("in.xlsx");
            fs::write(&input, made.two(&made.sheet(true), state).deflated()).expect("written");
            let (exit, said) = convert(dataset, &input, &folder.path().join("out.parquet"));
            assert_eq!(exit, 0, "{said}");
            let is_told = said.contains("hidden sheets, whose rows are kept too: T");
            assert_eq!(is_told, hidden, "{said}");
        }
        let error = made
            .read(&made.two(&made.sheet(false), "visible"))
            .expect_err("half of it");
        assert!(
            error.contains("sheet `T` has no header"),
            "{dataset}: {error}"
        );
        let first_without = made
            .two(&made.sheet(true), "visible")
            .sheet(made.sheet(false));
        let error = made.read(&first_without).expect_err("half of it");
        assert!(
            error.contains("sheet `S` has no header"),
            "{dataset}: {error}"
        );
        // What a reader of the workbook is told is no row of it.
        let notes = "<worksheet><sheetData><row r=\"1\"><c r=\"A1\" t=\"str\"><v>导出时间</v></c><c r=\"B1\" t=\"str\"><v>2026.10.12 06:10:42</v></c></row></sheetData></worksheet>";
        let table = made
            .read(&made.two(notes, "visible"))
            .expect("a good workbook");
        assert_eq!(table.batch.num_rows(), ROWS as usize, "{dataset}");
        let lacking = with_cell(&made.sheet(true), &cell_name(0, made.other as u32), "");
        let table = made
            .read(&made.two(&lacking, "visible"))
            .expect("a good workbook");
        let missing = &table.findings.missing_in_sheets;
        assert_eq!(missing.len(), 1, "{dataset}");
        assert_eq!(
            missing["T"],
            std::slice::from_ref(&made.other_name),
            "{dataset}"
        );
        let again = made.parts().edit("xl/worksheets/sheet1.xml", |sheet| {
            let header = made.sheet_row(40, 0);
            sheet.replace(
                "</sheetData>",
                &format!(
                    "{header}{}</sheetData>",
                    made.sheet_row(41, made.header.len())
                ),
            )
        });
        let table = made.read(&again).expect("a good workbook");
        assert_eq!(
            (table.findings.rows_header, table.batch.num_rows()),
            (1, ROWS as usize + 1),
            "{dataset}"
        );
    }
}
