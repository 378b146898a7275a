//! The process that calamine runs in: it is used again, it may die, and whatever it does costs one workbook.

use std::path::Path;
use std::time::Duration;

use meetlake::contract::Contract;
use meetlake::dataset::Dataset;
use meetlake::decode::{self, Error, Fallback, Limits, Summary};
use meetlake::table::{Cell, Header, RowSink};

use super::{Parts, ROW};
use crate::app::fallback;

/// Everything that a reader hands over, as text.
#[derive(Debug, Default, PartialEq, Eq)]
struct Kept(Vec<String>);

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

fn read(bytes: &[u8], fallback: &Fallback, limits: &Limits) -> (Result<Summary, Error>, Kept) {
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
        let limits = Limits::default();
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
    let limits = Limits::default();
    assert!(read(&good, &children, &limits).0.is_ok());
    let first = children.idle();
    kill(first[0]);
    assert!(read(&good, &children, &limits).0.is_ok());
    assert_ne!(children.idle(), first);
}

#[test]
fn a_child_without_memory_or_time_costs_one_workbook() {
    let children = fallback();
    let good = Parts::new(ROW).stored(0);
    let slow = Parts::new(&rows(60_000)).deflated();
    assert!(read(&good, &children, &Limits::default()).0.is_ok());
    let little = size_in_pages(children.idle()[0]) * 4096 + (24 << 20);
    for (limits, bytes, because) in [
        (
            Limits {
                time: Duration::from_millis(20),
                ..Limits::default()
            },
            &slow,
            "took longer than 0.02 s",
        ),
        (
            Limits {
                memory_bytes: little,
                ..Limits::default()
            },
            &strings(400_000),
            "memory",
        ),
    ] {
        let error = read(bytes, &children, &limits).0.expect_err(because);
        assert!(matches!(error, Error::Reader(_)), "{error}");
        assert!(error.to_string().contains(because), "{error}");
        let (after, _) = read(&good, &children, &Limits::default());
        assert_eq!(after.expect("the next one is read").sheets[0].rows, 1);
    }
}

#[test]
fn a_program_that_is_no_reader_is_not_the_workbooks_fault() {
    let good = Parts::new(ROW).stored(0);
    for program in ["/bin/true", "/bin/cat", "/nowhere/meetlake"] {
        let limits = Limits {
            time: Duration::from_secs(5),
            ..Limits::default()
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
    assert!(read(&good, &children, &Limits::default()).0.is_ok());
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
    let address_space = Limits::default().memory_bytes.to_string();
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
    let strings: String = (0..count)
        .map(|n| format!("<si><t>string {n}</t></si>"))
        .collect();
    let table = format!(r#"<sst uniqueCount="{count}">{strings}</sst>"#);
    let target = r#"<Relationship Id="rId2" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/sharedStrings" Target="sharedStrings.xml"/></Relationships>"#;
    Parts::new(ROW)
        .with("xl/sharedStrings.xml", table)
        .edit("xl/_rels/workbook.xml.rels", |xml| {
            xml.replace("</Relationships>", target)
        })
        .stored(0)
}
