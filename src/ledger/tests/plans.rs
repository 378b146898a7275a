//! How the database finds what it is asked for: no statement walks through a large table but those
//! that are named here, each of which is asked by somebody who wants all of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::*;
use crate::architecture::texts;

/// Tables that grow with history.
const LARGE: [&str; 7] = [
    "task",
    "input",
    "partition",
    "parent",
    "job_window",
    "event",
    "reported_day",
];

/// Beginnings of the statements that read a large table whole, and who asks for that.
const WHOLE: [(&str, &str); 9] = [
    (
        "SELECT * FROM partition ORDER BY tenant",
        "verify, orphans, `status --json`",
    ),
    (
        "SELECT COUNT(*) FROM partition WHERE revision > 0 GROUP BY",
        "`status` and /status.json, which count all that is published",
    ),
    (
        "SELECT tenant, dataset, dt, task_key, entry FROM input ORDER BY",
        "verify, orphans",
    ),
    (
        "SELECT key, tenant, dataset, phase, machine, pack FROM task WHERE phase NOT IN",
        "orphans",
    ),
    (
        "SELECT (SELECT COUNT(*) FROM schedule)",
        "a rebuild, which wants an empty ledger",
    ),
    (
        "SELECT MAX(at) AS last_entry FROM",
        "the first run after a start",
    ),
    (
        "SELECT key, tenant, request FROM task",
        "a change of the keys of all tasks",
    ),
    (
        "SELECT tenant FROM partition WHERE revision > 0 LIMIT 1",
        "whoever asks whether there is any, which is the first row",
    ),
    (
        "DELETE FROM event WHERE body IS NULL",
        "a table that holds the events of seven days",
    ),
];

/// What stands in for the places of a formatted statement.
const PLACES: [(&str, &str); 9] = [
    ("{COLUMNS}", "*"),
    ("{COUNTS}", "COUNT(*)"),
    ("{GROUPS}", "GROUP BY tenant, dataset"),
    ("{PARTITION_COLUMNS}", "*"),
    ("{WINDOW_COLUMNS}", "*"),
    ("VALUES {}", "VALUES ($1, $2, $3)"),
    ("{table}", "job_window"),
    ("{start}", "start_at"),
    ("{end}", "end_at"),
];

/// The statements in the sources of the ledger that find rows.
fn statements() -> BTreeSet<String> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/ledger"));
    let files = fs::read_dir(folder).expect("the sources are there");
    let files = files.map(|entry| entry.expect("an entry").path());
    let sources = files.filter(|path| path.extension().is_some_and(|of| of == "rs"));
    let sources = sources.filter(|path| !path.ends_with("tests.rs"));
    let texts = sources.flat_map(|path| texts(&fs::read_to_string(path).expect("text")));
    let finds = |text: &String| {
        ["SELECT ", "UPDATE ", "DELETE "]
            .iter()
            .any(|verb| text.starts_with(verb))
    };
    texts
        .filter(finds)
        .map(|text| {
            let filled = PLACES.iter();
            filled.fold(text, |text, (place, with)| text.replace(place, with))
        })
        .collect()
}

/// The large tables that a statement walks through.
async fn walks(ledger: &Ledger, statement: &str) -> Vec<String> {
    use sqlx::{AssertSqlSafe, Row as _};
    let plan = sqlx::raw_sql(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}")))
        .fetch_all(&ledger.read)
        .await
        .unwrap_or_else(|error| panic!("{statement}: {error}"));
    let steps = plan.iter().map(|row| row.get::<String, _>("detail"));
    // What is in these is a handful.
    let is_handful =
        |step: &str| step.ends_with(" window_open") || step.ends_with(" partition_partial");
    let is_walk = |step: &String| {
        // A search without an index looks for the largest of all.
        let rest = step.strip_prefix("SCAN ").or_else(|| {
            let rest = step.strip_prefix("SEARCH ");
            rest.filter(|rest| !rest.contains(" USING "))
        });
        let table = rest.and_then(|rest| rest.split(' ').next());
        let is_large = table.is_some_and(|table| LARGE.contains(&table) || table.len() == 1);
        is_large && !is_handful(step)
    };
    steps.filter(is_walk).collect()
}

#[tokio::test]
async fn no_statement_walks_through_a_large_table_but_those_that_want_all_of_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let ledger = Ledger::open(&folder.path().join("meetlake.db"), "test")
        .await
        .expect("opened");
    let statements = statements();
    assert!(statements.len() > 50, "{statements:#?}");
    let (mut found, mut excused) = (Vec::new(), BTreeSet::new());
    for statement in &statements {
        let walks = walks(&ledger, statement).await;
        if walks.is_empty() {
            continue;
        }
        match WHOLE
            .iter()
            .find(|(beginning, _)| statement.starts_with(beginning))
        {
            Some((beginning, _)) => drop(excused.insert(*beginning)),
            None => found.push(format!("{statement}: {walks:?}")),
        }
    }
    assert!(found.is_empty(), "{found:#?}");
    assert_eq!(
        excused.len(),
        WHOLE.len(),
        "{excused:?} are all that need an excuse"
    );
}

#[tokio::test]
async fn a_statement_that_walks_is_noticed() {
    let folder = tempfile::tempdir().expect("a folder");
    let ledger = Ledger::open(&folder.path().join("meetlake.db"), "test")
        .await
        .expect("opened");
    for (statement, is_walk) in [
        ("SELECT * FROM partition WHERE $1 = '' OR tenant = $1", true),
        ("SELECT * FROM job_window WHERE state = 'lost'", true),
        ("SELECT MAX(updated_at) FROM task", true),
        ("SELECT i.dt FROM input i WHERE i.generation = 1", true),
        ("SELECT * FROM partition WHERE tenant = $1", false),
        ("SELECT * FROM schedule", false),
    ] {
        assert_eq!(
            !walks(&ledger, statement).await.is_empty(),
            is_walk,
            "{statement}"
        );
    }
}
