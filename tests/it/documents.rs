//! Documents that are kept equal to the code: the data dictionary and the README's exit codes. And the vendor's own SDK against the simulator.

use std::fmt::Write as _;
use std::fs;
use std::process::{Command, Output};

use arrow::datatypes::{DataType, Field};
use meetlake::testing::contract::{ColumnKind, ColumnSource, Contract, Key};
use meetlake::testing::dataset::Dataset;
use meetlake::testing::exit::Code;
use meetlake_simulator::{AlertPages, Knobs, Options, Report, Server, SimClock};
use tokio::net::TcpListener;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn the_data_dictionary_is_that_of_the_contracts() {
    let path = format!("{ROOT}/tests/data-dictionary.md");
    let rendered = dictionary();
    if std::env::var_os("UPDATE_DICTIONARY").is_some() {
        fs::write(&path, &rendered).expect("written");
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == rendered,
        "tests/data-dictionary.md is not that of the contracts; run UPDATE_DICTIONARY=1 tests/run data_dictionary"
    );
}

fn dictionary() -> String {
    let mut text = String::from(
        "# Data dictionary\n\nWritten from the contracts in `src/contract` by a test (`UPDATE_DICTIONARY=1 tests/run data_dictionary`).\n\n\
         `tenant` and `dt`, the civil date of the event in the tenant's zone, are in the path. In *key*, **K** is part of the natural key, **K!** as\n\
         well, and a row without it is quarantined. **P** marks personal data. Every column can be null. *id* is the field id in the\n\
         Parquet file: it stays when a column gets another name or place, and is never used again.\n\n\
         What is from the *key of the lake* is a keyed hash: whoever lacks the key cannot tell whom or what it stands for. Keys join\n\
         rows and are never null in a lake; `convert` leaves them null. Rows are sorted by what is named below each title.\n",
    );
    for dataset in Dataset::ALL {
        let contract = Contract::of(dataset);
        let _ = write!(
            text,
            "\n## {dataset}\n\nSorted by {}.\n\n| id | column | type | key | | from | meaning |\n|---|---|---|---|---|---|---|\n",
            contract
                .key_columns()
                .map(|name| format!("`{name}`"))
                .collect::<Vec<_>>()
                .join(", ")
        );
        let fields = contract.file_schema();
        for (column, field) in contract.columns.iter().zip(fields.fields()) {
            let from = match column.source {
                ColumnSource::Sheet => column
                    .headers
                    .first()
                    .map_or_else(String::new, |header| format!("`{header}`")),
                ColumnSource::Task => "task".into(),
                ColumnSource::Derived(_) => "derived".into(),
                ColumnSource::Keyed(_) => "key of the lake".into(),
            };
            let key = match column.key {
                Key::No => "",
                Key::Part => "K",
                Key::Required => "K!",
            };
            let personal = if column.personal { "P" } else { "" };
            let _ = writeln!(
                text,
                "| {} | {} | {} | {key} | {personal} | {from} | {} |",
                field_ids(field),
                column.name,
                kind(column.kind, &column.data_type()),
                column.doc
            );
        }
    }
    text.push_str(
        "\n## In every dataset\n\nBehind the dataset's own columns, in this order:\n\n| id | column | type |\n|---|---|---|\n",
    );
    let own = Contract::of(Dataset::TopUser).columns.len();
    for field in &Contract::of(Dataset::TopUser).file_schema().fields()[own..] {
        let _ = writeln!(
            text,
            "| {} | {} | {} |",
            field_ids(field),
            field.name(),
            arrow_type(field.data_type())
        );
    }
    text.push_str(
        "\n`_extra` holds columns that no contract knows and cells that did not parse, by header; it is personal data.\n",
    );
    text
}

/// The ids of a field and of what is inside of it: of a list its elements, of a map its keys and its values.
fn field_ids(field: &Field) -> String {
    let own = field.metadata().get("PARQUET:field_id").cloned();
    let inside = match field.data_type() {
        DataType::List(element) => vec![field_ids(element)],
        DataType::Map(entry, _) => vec![field_ids(entry)],
        DataType::Struct(fields) => fields.iter().map(|field| field_ids(field)).collect(),
        _ => vec![],
    };
    let all: Vec<String> = own.into_iter().chain(inside).collect();
    all.join(", ")
}

fn kind(kind: ColumnKind, data_type: &DataType) -> String {
    match kind {
        ColumnKind::Enum(values) => {
            let values: Vec<String> = values.iter().map(|v| format!("`{}`", v.value)).collect();
            format!("enum: {}, `other`", values.join(", "))
        }
        _ => arrow_type(data_type),
    }
}

fn arrow_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8 => "string".into(),
        DataType::Timestamp(..) => "timestamp(µs, UTC)".into(),
        DataType::List(item) => format!("list<{}>", arrow_type(item.data_type())),
        DataType::Map(..) => "map(string, string)".into(),
        other => other.to_string().to_lowercase(),
    }
}

#[test]
fn the_readme_lists_the_exit_codes() {
    let readme = fs::read_to_string(format!("{ROOT}/README.md")).expect("a README");
    for row in Code::markdown().lines().skip(2) {
        assert!(readme.contains(row), "the README lacks the row {row}");
    }
}

/// What the vendor's SDK finds in a company like the default one but for `knobs`; `None` without the SDK.
fn checked_by_sdk(change: impl FnOnce(&mut Knobs)) -> Option<(Output, Report)> {
    let Some(python) = std::env::var_os("MEETLAKE_TEST_PYTHON") else {
        println!("skipped: MEETLAKE_TEST_PYTHON is not set; tests/run sets it");
        return None;
    };
    let has_sdk = Command::new(&python)
        .args(["-c", "import lark_oapi"])
        .output();
    if !has_sdk.is_ok_and(|output| output.status.success()) {
        println!("skipped: {} has no lark_oapi", python.display());
        return None;
    }
    let runtime = crate::app::runtime();
    let server = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mut options = Options::default();
        options.clock = SimClock::new(options.clock.start(), 100.0);
        // Of the lists by query, which new apps get for users only.
        let scope = "vc:rooms.room.detailinfo:read".to_owned();
        options.knobs.scopes.insert(scope);
        change(&mut options.knobs);
        Server::start(listener, options).expect("a simulator")
    });
    let output = Command::new(python)
        .arg(format!("{ROOT}/tests/simulator/sdk_check.py"))
        .arg(server.base_url())
        .output()
        .expect("python starts");
    Some((output, server.report()))
}

#[test]
fn the_vendors_sdk_reads_every_endpoint_of_the_simulator() {
    // Short pages, so that every list has several.
    let Some((output, report)) = checked_by_sdk(|knobs| knobs.page_size = 7) else {
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(report.unknown_parameters.is_empty());
    // A user's token, what no documentation has, and what changes something.
    let others = [
        "user_token",
        "list_meetings",
        "write_reserve",
        "write_rooms",
    ];
    assert_eq!(report.never_called(), others, "{said}");
}

#[test]
fn the_check_by_the_vendors_sdk_notices_a_list_that_moves_and_one_without_an_end() {
    let endless = |knobs: &mut Knobs| knobs.alert_pages = AlertPages::Endless;
    let moving = |knobs: &mut Knobs| knobs.queries_move = 1;
    for (change, named) in [
        (endless as fn(&mut Knobs), "alerts has no end"),
        (
            moving,
            "mismatch: meeting_list: the ids that list_by_no gives",
        ),
    ] {
        let Some((output, _)) = checked_by_sdk(change) else {
            return;
        };
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(named), "{said}");
    }
}
