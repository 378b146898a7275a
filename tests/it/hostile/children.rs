//! The process that calamine runs in: it is used again, it may die, and whatever it does costs one workbook.

use std::path::Path;
use std::time::Duration;

use meetlake::testing::contract::Contract;
use meetlake::testing::dataset::Dataset;
use meetlake::testing::decode::{self, DecodeSummary, Error, Fallback, WorkbookLimits};
use meetlake::testing::table::{Cell, Header, RowSink};

use super::{Parts, ROW};
use crate::app::fallback;

/// Everything that a reader hands over, as text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept(pub(crate) Vec<String>);

impl RowSink for Kept {
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

fn read(
    bytes: &[u8],
    fallback: &Fallback,
    limits: &WorkbookLimits,
) -> (Result<DecodeSummary, Error>, Kept) {
    let mut kept = Kept::default();
    let contract = Contract::of(Dataset::MeetingList);
    let outcome = decode::workbook_by_calamine(bytes, contract, limits, fallback, &mut kept);
    (outcome, kept)
}

#[test]
fn a_child_reads_what_this_process_reads_and_is_used_again() {
    let (children, here) = (fallback(), Fallback::in_this_process());
    let mut ids = Vec::new();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    for file in std::fs::read_dir(fixtures).expect("the fixtures") {
        let path = file.expect("a fixture").path();
        if path.extension().is_none_or(|kind| kind != "xlsx") {
            continue;
        }
        let bytes = std::fs::read(&path).expect("a fixture");
        let limits = WorkbookLimits::default();
        let apart = read(&bytes, &children, &limits);
        assert_eq!(apart, read(&bytes, &here, &limits), "{}", path.display());
        ids.extend(children.idle());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "one child for all of them");
}

#[test]
fn a_child_that_was_killed_while_idle_is_replaced() {
    let children = fallback();
    let good = Parts::new(ROW).stored(0);
    let limits = WorkbookLimits::default();
    assert!(read(&good, &children, &limits).0.is_ok());
    let first = children.idle();
    kill(first[0]);
    assert!(read(&good, &children, &limits).0.is_ok());
    assert_ne!(children.idle(), first);
}

#[test]
fn a_child_without_memory_costs_one_workbook() {
    let children = fallback();
    let good = Parts::new(ROW).stored(0);
    assert!(read(&good, &children, &WorkbookLimits::default()).0.is_ok());
    let little = WorkbookLimits {
        memory_bytes: size_in_pages(children.idle()[0]) * 4096 + (24 << 20),
        ..WorkbookLimits::default()
    };
    let error = read(&strings(400_000), &children, &little).0;
    let error = error.expect_err("it has no memory");
    assert!(matches!(error, Error::Reader(_)), "{error}");
    assert!(error.to_string().contains("memory"), "{error}");
    let (after, _) = read(&good, &children, &WorkbookLimits::default());
    assert_eq!(after.expect("the next one is read").sheets[0].rows, 1);
}

#[test]
fn a_child_without_time_costs_one_workbook() {
    let good = Parts::new(ROW).stored(0);
    let slow = Parts::new(&rows(200_000)).deflated();
    // On a machine under load a child may need longer to take the workbook than another machine needs to read it.
    for milliseconds in [20, 60, 180, 540, 1_620] {
        let children = fallback();
        assert!(read(&good, &children, &WorkbookLimits::default()).0.is_ok());
        let limits = WorkbookLimits {
            time: Duration::from_millis(milliseconds),
            ..WorkbookLimits::default()
        };
        match read(&slow, &children, &limits).0 {
            Err(Error::NoReader(reason)) => println!("{milliseconds} ms: {reason}"),
            Err(Error::Reader(reason)) => {
                assert!(reason.contains("took longer than "), "{reason}");
                let (after, _) = read(&good, &children, &WorkbookLimits::default());
                assert_eq!(after.expect("the next one is read").sheets[0].rows, 1);
                return;
            }
            other => panic!("it was read in {milliseconds} ms: {other:?}"),
        }
    }
    panic!("no child took the workbook in time");
}

/// The most memory that `convert` or its reader takes for whatever a workbook does to it, beside the text of its cells, …
const MOST_MEMORY_KIB: u64 = 256 << 10;
/// … which is held until it is written, up to `limits.workbook.text_total`.
const MOST_TEXT_KIB: u64 = 1 << 20;

#[test]
fn no_bomb_costs_more_memory_than_a_bound() {
    let cell = |row: u32, column: char| format!(r#"<c r="{column}{row}" t="s"><v>0</v></c>"#);
    let megabyte = "x".repeat(1 << 20);
    let references: String = (2..3_002)
        .map(|row| {
            format!(
                "<row r=\"{row}\">{}{}</row>",
                cell(row, 'A'),
                cell(row, 'C')
            )
        })
        .collect();
    let many: String = (2..12_002)
        .map(|row| {
            let cells: String = ('C'..='Z').map(|column| format!("<c r=\"{column}{row}\"><v>{row}</v></c>")).collect();
            format!(r#"<row r="{row}"><c r="A{row}"><v>123456789</v></c><c r="B{row}" t="inlineStr"><is><t>2026.10.12 06:10:42</t></is></c>{cells}</row>"#)
        })
        .collect();
    let tiny: Vec<String> = (0..500_000).map(|n| format!("{n:x}")).collect();
    let bombs = [
        (
            "comments that inflate hundredfold",
            Parts::new(&"<!-- -->\n".repeat(2 << 20)),
            7,
        ),
        (
            "a string of a megabyte, 6000 times",
            with_strings(&references, &[megabyte.as_str()]),
            7,
        ),
        ("half a million tiny strings", with_strings(ROW, &tiny), 0),
        ("300,000 cells", Parts::new(&many), 0),
    ];
    let folder = tempfile::tempdir().expect("a folder");
    for (name, parts, code) in bombs {
        let began = std::time::Instant::now();
        let (input, output) = (
            folder.path().join("in.xlsx"),
            folder.path().join("out.parquet"),
        );
        let bytes = match name {
            // Deflated, it would be refused for its ratio, as the first is.
            "a string of a megabyte, 6000 times" => parts.stored(0),
            _ => parts.deflated(),
        };
        std::fs::write(&input, bytes).expect("written");
        let measure = "import resource, subprocess, sys\nended = subprocess.run(sys.argv[1:], stdout=2)\n\
            print(ended.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)";
        let measured = std::process::Command::new("python3")
            .args([
                "-c",
                measure,
                env!("CARGO_BIN_EXE_meetlake"),
                "convert",
                "--dataset",
                "meeting_list",
            ])
            .args(["--time-zone", "UTC", "--out"])
            .arg(&output)
            .arg(&input)
            .output()
            .expect("Python is there");
        let (told, log) = (
            String::from_utf8_lossy(&measured.stdout),
            String::from_utf8_lossy(&measured.stderr),
        );
        let numbers: Vec<u64> = told
            .split_whitespace()
            .map(|n| n.parse().expect("a number"))
            .collect();
        println!(
            "{name}: code {}, {} MiB at most, {:?}; {}",
            numbers[0],
            numbers[1] >> 10,
            began.elapsed(),
            log.lines().next().unwrap_or_default()
        );
        let text = if name.starts_with("a string") {
            MOST_TEXT_KIB
        } else {
            0
        };
        assert!(
            numbers[1] <= MOST_MEMORY_KIB + text,
            "{name}: {} KiB",
            numbers[1]
        );
        assert_eq!(numbers[0], code, "{name}: {log}");
    }
}

#[test]
fn a_program_that_is_no_reader_is_not_the_workbooks_fault() {
    let good = Parts::new(ROW).stored(0);
    for program in ["/bin/true", "/bin/cat", "/nowhere/meetlake"] {
        let limits = WorkbookLimits {
            time: Duration::from_secs(5),
            ..WorkbookLimits::default()
        };
        let (outcome, kept) = read(&good, &Fallback::of_program(program), &limits);
        let error = outcome.expect_err(program);
        assert!(matches!(error, Error::NoReader(_)), "{program}: {error}");
        assert_eq!(kept, Kept::default());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_child_has_no_environment_no_files_and_no_way_to_get_any() {
    let children = fallback();
    let good = Parts::new(ROW).stored(0);
    assert!(read(&good, &children, &WorkbookLimits::default()).0.is_ok());
    let process = format!("/proc/{}", children.idle()[0]);
    let of = |file: &str| std::fs::read_to_string(format!("{process}/{file}")).expect(file);
    assert_eq!(of("environ"), "");
    let limits = of("limits");
    for (name, hard) in [
        ("Max open files", 0),
        ("Max file size", 0),
        ("Max core file size", 0),
    ] {
        let line = limits
            .lines()
            .find(|line| line.starts_with(name))
            .expect(name);
        let values: Vec<&str> = line[name.len()..].split_whitespace().collect();
        assert_eq!(values[..2], [hard.to_string(), hard.to_string()], "{line}");
    }
    let address_space = WorkbookLimits::default().memory_bytes.to_string();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max address space"));
    assert!(line.expect("a limit").contains(&address_space), "{line:?}");
    for file in std::fs::read_dir(format!("{process}/fd")).expect("its files") {
        let opened = std::fs::read_link(file.expect("a file").path()).expect("a link");
        let opened = opened.display().to_string();
        assert!(
            opened.starts_with("pipe:") || opened == "/dev/null",
            "{opened}"
        );
    }
    drop(children);
    assert!(
        !Path::new(&process).exists(),
        "it ends with its parent's handle"
    );
}

/// The address space that a child has.
fn size_in_pages(id: u32) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{id}/statm")).expect("a process");
    let (size, _) = statm.split_once(' ').expect("several numbers");
    size.parse().expect("a number")
}

fn kill(id: u32) {
    let status = std::process::Command::new("kill")
        .args(["-9", &id.to_string()])
        .status();
    assert!(status.expect("kill runs").success());
}

fn rows(count: u32) -> String {
    (2..count + 2)
        .map(|row| format!(r#"<row r="{row}"><c r="A{row}"><v>{row}</v></c><c r="B{row}" t="inlineStr"><is><t>2026.10.12 06:10:42</t></is></c></row>"#))
        .collect()
}

/// A workbook with so many shared strings, which calamine keeps in memory.
fn strings(count: u32) -> Vec<u8> {
    let strings: Vec<String> = (0..count).map(|n| format!("string {n}")).collect();
    with_strings(ROW, &strings).stored(0)
}

/// A workbook with these rows and shared strings.
fn with_strings<T: std::fmt::Display>(rows: &str, strings: &[T]) -> Parts {
    let count = strings.len();
    let strings: String = strings
        .iter()
        .map(|text| format!("<si><t>{text}</t></si>"))
        .collect();
    let table = format!(r#"<sst uniqueCount="{count}">{strings}</sst>"#);
    let target = r#"<Relationship Id="rId2" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/sharedStrings" Target="sharedStrings.xml"/></Relationships>"#;
    Parts::new(rows)
        .with("xl/sharedStrings.xml", table)
        .edit("xl/_rels/workbook.xml.rels", |xml| {
            xml.replace("</Relationships>", target)
        })
}
