//! What becomes of workbooks, good and bad, late and changed: a fake Feishu that hands out whatever workbook the test writes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, body::Bytes};
use meetlake::testing::convert::{self, Conversion};
use meetlake::testing::dataset::Dataset;
use meetlake::testing::exit::Code;
use meetlake::testing::run::Summary;
use meetlake::testing::task::Lineage;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use rust_xlsxwriter::{Workbook, Worksheet};
use serde_json::{Value, json};

use crate::app::{Setup, TestApp};
use crate::lake::{self, Row, below, read_json, sha256, unsound};

type Current = Arc<Mutex<Bytes>>;

/// One day of `meeting_list`, against a server whose every export is the current workbook.
pub(crate) struct Office {
    pub(crate) app: TestApp,
    current: Current,
}

pub(crate) const HEADER: [&str; 5] = [
    "会议ID",
    "会议主题",
    "会议开始时间",
    "会议结束时间",
    "参会人数量",
];
/// Of every meeting here; it must not appear outside of the lake's rows.
const TOPIC: &str = "  机密 ☎ 主题\n ";

impl Office {
    pub(crate) fn open() -> Self {
        let mut setup = Setup::fast()
            .only(&[Dataset::MeetingList])
            .with(|options| options.days = 1);
        let current = Current::default();
        // The listener must outlive no test: its thread ends with the process.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("for the runtime");
        let address = listener.local_addr().expect("an address");
        let router = router(Arc::clone(&current));
        std::thread::spawn(move || {
            crate::app::runtime().block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                axum::serve(listener, router).await.expect("it serves");
            });
        });
        setup.host = Some(format!("http://{address}"));
        Self {
            app: setup.start(),
            current,
        }
    }

    /// Exports the day (once more) and gets this.
    pub(crate) fn export(&self, workbook: &[u8]) -> Summary {
        *self.current.lock().expect("not poisoned") = Bytes::copy_from_slice(workbook);
        self.app.again()
    }

    fn rows(&self) -> Vec<Row> {
        lake::rows(&self.app.lake(), Dataset::MeetingList)
    }

    fn numbers(&self) -> Vec<String> {
        let numbers = self.rows().into_iter().map(|row| {
            row["meeting_no"]
                .as_str()
                .expect("a required column")
                .to_owned()
        });
        let mut numbers: Vec<String> = numbers.collect();
        numbers.sort();
        numbers
    }

    fn object(&self) -> Vec<u8> {
        let files = lake::files(&self.app.lake(), Dataset::MeetingList);
        assert_eq!(files.len(), 1, "{files:?}");
        fs::read(&files[0]).expect("an object")
    }

    pub(crate) fn revisions(&self) -> usize {
        let dt = self.app.first_day().to_string();
        lake::manifests(&self.app.lake(), Dataset::MeetingList, &dt).len()
    }

    fn newest_manifest(&self) -> Value {
        let dt = self.app.first_day().to_string();
        let manifests = lake::manifests(&self.app.lake(), Dataset::MeetingList, &dt);
        manifests.into_values().next_back().expect("a manifest")
    }

    fn quarantine(&self) -> Vec<PathBuf> {
        below(&self.app.lake().join("_quarantine"))
    }

    /// Asserts that the quarantine holds `workbook` as it came, with a reason that names no value.
    fn assert_quarantined(&self, workbook: &[u8]) {
        let files = self.quarantine();
        let digest = sha256(workbook);
        let kept = files.iter().find(|path| {
            path.extension()
                .is_some_and(|extension| extension != "json")
                && path.to_string_lossy().contains(&digest)
        });
        let kept = kept.unwrap_or_else(|| panic!("{digest} is not in {files:?}"));
        assert_eq!(fs::read(kept).expect("a file"), workbook);
        let record = files.iter().find(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
                && path.to_string_lossy().contains(&digest)
        });
        let record = record.unwrap_or_else(|| panic!("no reason for {digest} in {files:?}"));
        let text = read_json(record).to_string();
        assert!(text.contains("reason"), "{text}");
        assert!(!text.contains("机密"), "{text}");
        assert_eq!(unsound(&self.app.lake()), Vec::<String>::new());
    }
}

fn router(current: Current) -> Router {
    let token = || async {
        Json(json!({ "code": 0, "msg": "ok", "tenant_access_token": "t-fake", "expire": 7200 }))
    };
    let submit =
        || async { Json(json!({ "code": 0, "data": { "task_id": "7111325589855797267" } })) };
    let poll = || async {
        Json(json!({ "code": 0, "data": { "status": 3, "url": "", "file_token": "file" } }))
    };
    let download = |State(current): State<Current>| async move {
        current.lock().expect("not poisoned").clone()
    };
    Router::new()
        .route(
            "/open-apis/auth/v3/tenant_access_token/internal",
            post(token),
        )
        .route("/open-apis/vc/v1/exports/meeting_list", post(submit))
        .route("/open-apis/vc/v1/exports/download", get(download))
        .route("/open-apis/vc/v1/exports/{id}", get(poll))
        .with_state(current)
}

/// A workbook with a row for each number; an empty number leaves the cell blank.
pub(crate) fn workbook(header: &[&str], numbers: &[&str]) -> Vec<u8> {
    let mut workbook = Workbook::new();
    write_sheet(workbook.add_worksheet(), header, numbers);
    workbook.save_to_buffer().expect("a workbook")
}

fn write_sheet(sheet: &mut Worksheet, header: &[&str], numbers: &[&str]) {
    for (column, text) in header.iter().enumerate() {
        sheet
            .write_string(0, column as u16, *text)
            .expect("written");
    }
    for (index, number) in numbers.iter().enumerate() {
        let row = index as u32 + 1;
        let start = format!("2026.10.18 {:02}:00:00 (GMT+08:00)", 8 + index % 12);
        let end = format!("2026.10.18 {:02}:45:00 (GMT+08:00)", 8 + index % 12);
        for (column, name) in header.iter().enumerate() {
            let text = match *name {
                "会议ID" => *number,
                "会议主题" => TOPIC,
                "会议开始时间" => &start,
                "会议结束时间" => &end,
                "参会人数量" => "3",
                _ => "something new",
            };
            if !text.is_empty() {
                sheet
                    .write_string(row, column as u16, text)
                    .expect("written");
            }
        }
    }
}

/// What the footer of a Parquet file says of its rows and their order.
fn content_hash(file: &Path) -> Option<String> {
    let reader = SerializedFileReader::new(fs::File::open(file).expect("a file"));
    let reader = reader.expect("a Parquet file");
    let entries = reader.metadata().file_metadata().key_value_metadata()?;
    let entry = entries
        .iter()
        .find(|entry| entry.key == "meetlake.content_hash")?;
    entry.value.clone()
}

#[test]
fn a_run_and_convert_give_the_same_rows_in_the_same_order() {
    // Several batches in no order. On the second sheet stand meetings of the first one once more.
    let numbers: Vec<String> = (0..20_000u64)
        .map(|row| (100_000_000 + row * 7_919 % 15_013).to_string())
        .collect();
    let numbers: Vec<&str> = numbers.iter().map(String::as_str).collect();
    let mut workbook = Workbook::new();
    write_sheet(workbook.add_worksheet(), &HEADER, &numbers);
    write_sheet(workbook.add_worksheet(), &HEADER, &numbers[..500]);
    let workbook = workbook.save_to_buffer().expect("a workbook");
    let office = Office::open();
    assert_eq!(office.export(&workbook).exit(), Code::Done);
    let (input, output) = (office.app.path("a.xlsx"), office.app.path("a.parquet"));
    fs::write(&input, workbook).expect("written");
    let conversion = Conversion {
        dataset: Dataset::MeetingList,
        time_zone: crate::app::zone(),
        lineage: Lineage::default(),
        input,
        output: output.clone(),
        fallback: crate::app::fallback(),
    };
    convert::file(&conversion).expect("converted");
    let published = lake::files(&office.app.lake(), Dataset::MeetingList);
    let hash = content_hash(&published[0]);
    assert!(hash.is_some());
    assert_eq!(hash, content_hash(&output));
    let order = |file: &Path| -> Vec<(String, i64)> {
        let rows = lake::rows_of(file).into_iter();
        rows.map(|row| {
            let number = row["meeting_no"].as_str().expect("a number").to_owned();
            (number, row["_source_row"].as_i64().expect("a row"))
        })
        .collect()
    };
    assert_eq!(order(&published[0]), order(&output));
    assert_eq!(order(&output).len(), 20_500);
}

#[test]
fn a_meeting_that_comes_late_is_a_second_revision_and_one_that_vanished_vanishes() {
    let office = Office::open();
    let two = workbook(&HEADER, &["111111111", "222222222"]);
    assert_eq!(office.export(&two).exit(), Code::Done);
    assert_eq!(
        (office.revisions(), office.rows()[0]["topic"].as_str()),
        (1, Some(TOPIC))
    );
    let first = office.object();

    let again = office.export(&two);
    assert_eq!(
        again.datasets[&Dataset::MeetingList].unchanged,
        1,
        "{again:#?}"
    );
    assert_eq!(office.revisions(), 1);
    assert!(
        office.object() == first,
        "the same content was written again"
    );

    let three = workbook(&HEADER, &["111111111", "222222222", "333333333"]);
    assert_eq!(office.export(&three).exit(), Code::Done);
    assert_eq!(office.numbers(), ["111111111", "222222222", "333333333"]);
    assert_eq!(office.revisions(), 2);

    let one = workbook(&HEADER, &["333333333"]);
    assert_eq!(office.export(&one).exit(), Code::Done);
    assert_eq!(office.numbers(), ["333333333"]);
    assert_eq!(office.revisions(), 3);

    let none = workbook(&HEADER, &[]);
    assert_eq!(office.export(&none).exit(), Code::Done);
    assert_eq!((office.numbers().len(), office.revisions()), (0, 4));
    office.object();
    assert_eq!(unsound(&office.app.lake()), Vec::<String>::new());
}

#[test]
fn a_workbook_without_its_key_column_is_quarantined_and_the_day_stays_as_it_was() {
    let office = Office::open();
    let good = workbook(&HEADER, &["111111111", "222222222"]);
    assert_eq!(office.export(&good).exit(), Code::Done);
    let before = office.object();

    let bad = workbook(&HEADER[1..], &["111111111"]);
    let summary = office.export(&bad);
    assert!(
        matches!(summary.exit(), Code::NotSettled | Code::Contract),
        "{summary:#?}"
    );
    office.assert_quarantined(&bad);
    assert!(office.object() == before, "the old partition was touched");
    let error = summary.unsettled[0].error.clone().unwrap_or_default();
    assert!(error.contains("quarantined"), "{error}");
    let status = office.app.status();
    assert_eq!(status["attention"][0]["kind"], "data", "{status}");

    // A sound workbook settles the day again.
    let better = workbook(&HEADER, &["111111111", "444444444"]);
    assert_eq!(office.export(&better).exit(), Code::Done);
    assert_eq!(office.numbers(), ["111111111", "444444444"]);
}

/// Sheets without a header whose cells happen to be headers too: rows alone, a card, a sheet on its
/// side. What is said of them shows no other cell.
#[test]
fn a_refusal_shows_headers_and_nothing_else() {
    let personal = ["测试甲", "jia@example.com", "203.0.113.9", "机密"];
    let table: [(&str, &[&[&str]]); 3] = [
        (
            "rows alone",
            &[&[
                "测试甲",
                "jia@example.com",
                "203.0.113.9",
                "会议主题",
                "机密",
            ]],
        ),
        (
            "a card",
            &[
                &["会议主题", "机密"],
                &["参会人数量", "测试甲"],
                &["用户", "jia@example.com"],
            ],
        ),
        (
            "on its side",
            &[
                &["会议主题", "机密", "测试甲"],
                &["会议结束时间", "203.0.113.9", "jia@example.com"],
            ],
        ),
    ];
    for (name, rows) in table {
        let mut workbook = Workbook::new();
        let sheet = workbook.add_worksheet();
        for (row, cells) in (0..).zip(rows) {
            for (column, text) in (0..).zip(*cells) {
                sheet.write_string(row, column, *text).expect("written");
            }
        }
        let bytes = workbook.save_to_buffer().expect("a workbook");
        let office = Office::open();
        let summary = office.export(&bytes);
        let error = summary.unsettled[0].error.clone().expect("an error");
        assert!(
            error.contains("会议ID"),
            "{name}: what is missing is named: {error}"
        );
        assert!(
            error.contains("has 会议"),
            "{name}: what was recognised is shown: {error}"
        );
        office.assert_quarantined(&bytes);
        let mut told = vec![error, office.app.meetlake(&["status", "--json"]).text()];
        let records = office.quarantine().into_iter();
        let records = records.filter(|path| path.extension().is_some_and(|of| of == "json"));
        told.extend(records.map(|path| fs::read_to_string(path).expect("a record")));
        for text in told {
            for value in personal {
                assert!(!text.contains(value), "{name}: {value} in {text}");
            }
        }
    }
}

/// Half of the rows would be missing, and nobody would know.
#[test]
fn a_sheet_that_goes_on_without_a_header_quarantines_the_workbook() {
    let office = Office::open();
    let two = |header: bool| {
        let mut workbook = Workbook::new();
        write_sheet(workbook.add_worksheet(), &HEADER, &["111111111"]);
        let sheet = workbook.add_worksheet();
        write_sheet(sheet, &HEADER, &["222222222", "333333333"]);
        sheet.set_hidden(true);
        if !header {
            sheet.clear_cell(0, 0).clear_cell(0, 2);
        }
        workbook.save_to_buffer().expect("a workbook")
    };
    let bad = two(false);
    let summary = office.export(&bad);
    let error = summary.unsettled[0].error.clone().unwrap_or_default();
    assert!(error.contains("has no header"), "{error}");
    office.assert_quarantined(&bad);
    assert_eq!(office.export(&two(true)).exit(), Code::Done);
    assert_eq!(office.numbers(), ["111111111", "222222222", "333333333"]);
}

#[test]
fn a_row_without_its_key_is_quarantined_and_the_run_ends_non_zero() {
    let office = Office::open();
    let mut numbers: Vec<String> = (0..30).map(|n| format!("{}", 100_000_000 + n)).collect();
    numbers[7].clear();
    let numbers: Vec<&str> = numbers.iter().map(String::as_str).collect();
    let bytes = workbook(&HEADER, &numbers);
    let summary = office.export(&bytes);
    assert!(
        matches!(summary.exit(), Code::NotSettled | Code::Contract),
        "{summary:#?}"
    );
    office.assert_quarantined(&bytes);
    assert_eq!(office.numbers().len(), 29);
    assert_eq!(office.newest_manifest()["state"], "partial");
}

#[test]
fn a_workbook_that_cannot_be_read_is_quarantined() {
    let office = Office::open();
    let bytes = b"PK\x03\x04 and then nothing that a zip would have".to_vec();
    let summary = office.export(&bytes);
    assert!(
        matches!(
            summary.exit(),
            Code::NotSettled | Code::Contract | Code::Upstream
        ),
        "{summary:#?}"
    );
    office.assert_quarantined(&bytes);
}

#[test]
fn a_column_that_nobody_knows_lands_in_extra_and_is_named() {
    let office = Office::open();
    let header = [&HEADER[..], &["新的一列"]].concat();
    assert_eq!(
        office.export(&workbook(&header, &["111111111"])).exit(),
        Code::Done
    );
    assert_eq!(
        office.rows()[0]["_extra"],
        json!({ "新的一列": "something new" })
    );
    let manifest = office.newest_manifest().to_string();
    assert!(manifest.contains("新的一列"), "{manifest}");
}
