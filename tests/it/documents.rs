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

/// Which columns join what: rows of one dataset, the dataset in which they have rows, by which columns of both (one name if it is
/// the same in both), of which rows that holds, and whether of each of those. `tests/check_lake.py` tries each on the lake of a demo.
const JOINS: &[(&str, &str, &[&str], &str, &str)] = &[
    (
        "participant_list",
        "meeting_list",
        &["meeting_key"],
        "",
        "each",
    ),
    (
        "participant_quality_list",
        "meeting_list",
        &["meeting_key"],
        "",
        "each",
    ),
    (
        "participant_quality_list",
        "participant_list",
        &["participation_key"],
        "",
        "each",
    ),
    ("meeting_list", "meeting", &["meeting_key"], "", "each"),
    ("meeting", "meeting_list", &["meeting_key"], "", "each"),
    (
        "meeting_participant",
        "meeting_list",
        &["meeting_key"],
        "",
        "each",
    ),
    (
        "meeting_participant",
        "meeting",
        &["meeting_id"],
        "",
        "each",
    ),
    (
        "meeting",
        "meeting_participant",
        &["meeting_id"],
        "",
        "each",
    ),
    ("participant_list", "meeting", &["meeting_key"], "", "each"),
    (
        "participant_quality_list",
        "meeting",
        &["meeting_key"],
        "",
        "each",
    ),
    ("recording", "meeting", &["meeting_id"], "", "each"),
    (
        "meeting",
        "recording",
        &["meeting_id"],
        "was_recorded",
        "each",
    ),
    ("recording", "meeting_list", &["meeting_key"], "", "each"),
    (
        "meeting_participant",
        "participant_list",
        &["meeting_key", "tenant_user_id = user_id"],
        "tenant_user_id IS NOT NULL",
        "each",
    ),
    (
        "participant_list",
        "meeting_participant",
        &["meeting_key", "user_id = tenant_user_id"],
        "user_id IS NOT NULL",
        "most",
    ),
    (
        "meeting",
        "meeting_participant",
        &["meeting_id", "host_id = participant_id"],
        "",
        "most",
    ),
    (
        "meeting_list",
        "meeting_participant",
        &["meeting_key", "organizer_user_id = tenant_user_id"],
        "",
        "most",
    ),
    (
        "top_user",
        "meeting_participant",
        &[
            "user_id = participant_id",
            "user_id_type = participant_id_type",
        ],
        "user_type = 'user'",
        "each",
    ),
    (
        "top_user",
        "participant_list",
        &["tenant_user_id = user_id"],
        "tenant_user_id IS NOT NULL",
        "some",
    ),
    (
        "meeting_participant",
        "room",
        &["participant_id = room_id"],
        "participant_type = 'room'",
        "each",
    ),
    ("alert", "room", &["room_id"], "room_id IS NOT NULL", "each"),
    (
        "meeting_event",
        "meeting",
        &["meeting_id"],
        "meeting_id IS NOT NULL",
        "each",
    ),
    ("meeting", "meeting_event", &["meeting_id"], "", "each"),
    (
        "room_event",
        "room",
        &["room_id"],
        "room_id IS NOT NULL",
        "each",
    ),
    (
        "room_event",
        "room_level",
        &["room_level_id"],
        "room_level_id IS NOT NULL",
        "each",
    ),
    ("room", "room_level", &["room_level_id", "dt"], "", "each"),
    (
        "room_config",
        "room",
        &["scope_id = room_id", "dt"],
        "scope_type = 'room'",
        "each",
    ),
    (
        "room_config",
        "room_level",
        &["scope_id = room_level_id", "dt"],
        "scope_type = 'level'",
        "each",
    ),
    (
        "room",
        "room_config",
        &["room_id = scope_id", "dt"],
        "",
        "each",
    ),
    (
        "reserve_config",
        "room",
        &["scope_id = room_id", "dt"],
        "scope_type = 'room'",
        "each",
    ),
    (
        "reserve_config",
        "room_level",
        &["scope_id = room_level_id", "dt"],
        "scope_type = 'level'",
        "each",
    ),
    (
        "room",
        "reserve_config",
        &["room_id = scope_id", "dt"],
        "",
        "each",
    ),
    (
        "daily_report",
        "meeting_list",
        &["date = dt"],
        "meeting_count > 0",
        "each",
    ),
];

/// The table of the joins.
fn joins() -> String {
    let mut text = String::from(
        "\n## What joins what\n\nRows of the first dataset have a row of the second by these columns, and always the same `tenant`. *each*: each of them has one, once both days\n\
         are complete; *most*: most have one; *some*: what is counted or told otherwise may lack one. A test tries every line on the lake of a demo.\n\n\
         | rows of | | have rows of | by |\n|---|---|---|---|\n",
    );
    for (from, to, by, only, how_many) in JOINS {
        for (dataset, place) in [(from, 0), (to, 1)] {
            let contract = Contract::of(dataset.parse().expect("a dataset"));
            for pair in *by {
                let column = pair.split(" = ").cycle().nth(place).expect("a column");
                let is_known = contract.columns.iter().any(|of| of.name == column);
                assert!(
                    is_known || column == "dt",
                    "{dataset} has no column {column}"
                );
            }
        }
        let only = if only.is_empty() {
            String::new()
        } else {
            format!(", where `{only}`")
        };
        let by: Vec<String> = by.iter().map(|pair| format!("`{pair}`")).collect();
        let _ = writeln!(
            text,
            "| `{from}`{only} | {how_many} | `{to}` | {} |",
            by.join(", ")
        );
    }
    text
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
    text.push_str(&joins());
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
