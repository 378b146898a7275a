//! The JSON lists as a second source: the same lake by query as by export, one source a day, and what becomes of a lake whose job changes
//! its source.

use std::collections::{BTreeMap, BTreeSet};

use meetlake::testing::dataset::Dataset;
use meetlake_simulator::{AlertPages, Knobs, Layout};
use serde_json::Value;

use crate::app::{Setup, TestApp};
use crate::lake::{self, Row};

const TWO_SOURCES: [Dataset; 4] = [
    Dataset::MeetingList,
    Dataset::ParticipantList,
    Dataset::ParticipantQualityList,
    Dataset::ResourceReservationList,
];
/// What only the other source tells of a row, or what is made of its source.
const NOT_COMPARED: [&str; 2] = ["booking_key", "dt_of_file"];
const DETAIL: &str = "vc:rooms.room.detailinfo:read";
const BY_QUERY: &str = "[request]\nmode = \"query\"\n";

fn grant(knobs: &mut Knobs) {
    knobs.scopes.insert(DETAIL.to_owned());
    knobs.layout = Layout::Observed;
    knobs.room_id_column = true;
}

fn by_export() -> Setup {
    Setup::fast().only(&TWO_SOURCES).knobs(grant)
}

fn by_query() -> Setup {
    let mut setup = by_export();
    for dataset in TWO_SOURCES {
        setup = setup.job(dataset, BY_QUERY);
    }
    setup
}

/// Lets the jobs ask another source from now on.
fn switch(app: &mut TestApp, datasets: &[Dataset], lines: &str) {
    for dataset in datasets {
        app.setup.jobs.insert(*dataset, lines.to_owned());
    }
    app.write_configuration();
}

/// The columns that have a value in some row.
fn filled(rows: &[Row]) -> BTreeSet<&str> {
    let values = rows.iter().flat_map(|row| row.iter());
    let values = values.filter(|(name, value)| {
        !value.is_null() && !name.starts_with('_') && !NOT_COMPARED.contains(&name.as_str())
    });
    values.map(|(name, _)| name.as_str()).collect()
}

/// The rows by what they say in these columns, sorted.
fn told(rows: &[Row], columns: &BTreeSet<&str>) -> Vec<String> {
    let of_row = |row: &Row| {
        let row: BTreeMap<&str, &Value> = columns.iter().map(|name| (*name, &row[*name])).collect();
        serde_json::to_string(&row).expect("plain values")
    };
    let mut told: Vec<String> = rows.iter().map(of_row).collect();
    told.sort();
    told
}

/// The sources of the rows of each day.
fn sources(app: &TestApp, dataset: Dataset) -> BTreeMap<String, BTreeSet<String>> {
    let mut sources: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in lake::rows(&app.lake(), dataset) {
        let text = |name: &str| row[name].as_str().expect("text").to_owned();
        let of_day = sources.entry(text("dt")).or_default();
        of_day.insert(text("_source_mode"));
    }
    sources
}

fn assert_all_from(app: &TestApp, dataset: Dataset, source: &str) {
    let found = sources(app, dataset);
    assert!(!found.is_empty(), "{dataset}");
    let only = BTreeSet::from([source.to_owned()]);
    assert!(found.values().all(|of| *of == only), "{dataset}: {found:?}");
}

fn calls(app: &TestApp, endpoint: &str) -> u64 {
    let endpoints = app.report().endpoints;
    endpoints.get(endpoint).map_or(0, |of| of.calls)
}

/// In every column that both sources fill, the two lakes say the same; and the second one more.
fn assert_alike(exported: &TestApp, queried: &TestApp) {
    for (dataset, least, more) in [
        (Dataset::MeetingList, 20, "meeting_instance_id"),
        (Dataset::ParticipantList, 25, "room_id"),
        (Dataset::ParticipantQualityList, 25, "network_latency_ms"),
        (Dataset::ResourceReservationList, 14, "room_id"),
    ] {
        let one = lake::rows(&exported.lake(), dataset);
        let other = lake::rows(&queried.lake(), dataset);
        let of_other = filled(&other);
        let common: BTreeSet<&str> = filled(&one).intersection(&of_other).copied().collect();
        if !queried.setup.datasets.contains(&dataset) {
            continue;
        }
        assert!(common.len() >= least, "{dataset}: {common:?}");
        assert!(
            of_other.contains(more) && !common.contains(more),
            "{dataset}"
        );
        assert!(!one.is_empty());
        assert_eq!(told(&one, &common), told(&other, &common), "{dataset}");
        assert_all_from(exported, dataset, "export");
        assert_all_from(queried, dataset, "query");
    }
}

#[test]
fn the_lake_by_query_is_the_lake_by_export() {
    let exported = by_export().start();
    let summary = exported.reconcile();
    assert!(summary.is_settled(), "{summary:?}");
    // The quality of a long meeting has several pages.
    let queried = by_query().knobs(|knobs| knobs.page_size = 40).start();
    let summary = queried.reconcile();
    assert!(summary.is_settled(), "{summary:?}");
    assert_alike(&exported, &queried);
    assert_eq!(queried.submits(), 0, "nothing was exported");
    assert!(queried.report().unknown_parameters.is_empty());

    // The originals are the pages, and a lost ledger is made again from them.
    let verified = queried.meetlake(&["verify"]);
    assert_eq!(verified.code, 0, "{}", verified.text());
    let before = (queried.calls(), queried.content_hashes());
    let again = queried.reconcile();
    assert!(again.is_settled() && again.datasets.is_empty(), "{again:?}");
    std::fs::remove_file(queried.path("meetlake.db")).expect("a lost ledger");
    let rebuilt = queried.meetlake(&["ledger", "rebuild"]);
    assert_eq!(rebuilt.code, 0, "{}", rebuilt.text());
    let (from, to) = (
        queried.first_day().to_string(),
        queried.end_day().to_string(),
    );
    let replayed = queried.meetlake(&["replay", "--from", &from, "--to", &to]);
    assert_eq!(replayed.code, 0, "{}", replayed.text());
    let after = queried.reconcile();
    assert!(after.is_settled(), "{after:?}");
    assert_eq!((queried.calls(), queried.content_hashes()), before);
}

/// Quality of rooms can be asked for by query alone: the documented sheet has no ids of rooms.
#[test]
fn the_list_names_rooms_so_that_their_quality_is_asked_for() {
    let app = by_query()
        .knobs(|knobs| knobs.room_id_column = false)
        .start();
    let summary = app.reconcile();
    assert!(summary.is_settled(), "{summary:?}");
    let rows = lake::rows(&app.lake(), Dataset::ParticipantQualityList);
    let keys = |rows: &[Row]| -> BTreeSet<String> {
        let keys = rows.iter().map(|row| row["participation_key"].as_str());
        keys.map(|key| key.expect("a key").to_owned()).collect()
    };
    let of_rooms: Vec<Row> = rows
        .iter()
        .filter(|row| !row["room_id"].is_null())
        .cloned()
        .collect();
    assert!(!of_rooms.is_empty());
    let stays = lake::rows(&app.lake(), Dataset::ParticipantList);
    assert!(keys(&of_rooms).is_subset(&keys(&stays)), "they join");
}

/// What was published stays as it is until it is asked for again, and a day is of one source.
#[test]
fn a_job_that_changes_its_source_changes_days_when_they_are_asked_for_again() {
    for (first, lines, second, other_lines) in [
        ("export", "", "query", BY_QUERY),
        ("query", BY_QUERY, "export", ""),
    ] {
        let mut app = match first {
            "export" => by_export().start(),
            _ => by_query().start(),
        };
        assert!(app.reconcile().is_settled());
        let before = (app.calls(), app.content_hashes());
        switch(&mut app, &TWO_SOURCES, other_lines);
        let summary = app.reconcile();
        assert!(summary.is_settled(), "{summary:?}");
        assert_eq!((app.calls(), app.content_hashes()), before, "to {second}");
        for dataset in TWO_SOURCES {
            assert_all_from(&app, dataset, first);
        }
        let again = app.again();
        assert!(again.is_settled(), "{again:?}");
        for dataset in TWO_SOURCES {
            assert_all_from(&app, dataset, second);
        }
        let verified = app.meetlake(&["verify"]);
        assert_eq!(verified.code, 0, "{}", verified.text());
        switch(&mut app, &TWO_SOURCES, lines);
        assert!(app.again().is_settled());
        for dataset in TWO_SOURCES {
            assert_all_from(&app, dataset, first);
        }
    }
}

/// Tasks of children are named by what their parents' rows say, whichever source said it.
#[test]
fn another_source_of_the_parents_is_no_reason_to_ask_for_the_children() {
    let datasets = [Dataset::MeetingList, Dataset::ParticipantList];
    let mut app = by_export().only(&datasets).start();
    assert!(app.reconcile().is_settled());
    let before = app.submits();
    switch(&mut app, &[Dataset::MeetingList], BY_QUERY);
    app.setup.datasets = vec![Dataset::MeetingList];
    let scope = app.all_days(true);
    app.setup.datasets = datasets.to_vec();
    let again = app.reconcile_scope(&scope);
    assert!(again.is_settled(), "{again:?}");
    assert_all_from(&app, Dataset::MeetingList, "query");
    assert_all_from(&app, Dataset::ParticipantList, "export");
    assert_eq!(app.submits(), before, "no child was exported again");
}

/// Days of which not all new answers came stay as they were, whole; then they change at once.
#[test]
fn a_day_changes_its_source_once_all_of_its_new_answers_are_there() {
    let datasets = [Dataset::MeetingList, Dataset::ParticipantList];
    let mut app = by_export().only(&datasets).start();
    assert!(app.reconcile().is_settled());
    let rows = |app: &TestApp| lake::rows(&app.lake(), Dataset::ParticipantList).len();
    let before = rows(&app);
    switch(&mut app, &[Dataset::ParticipantList], BY_QUERY);
    // Some lists come, and the others never.
    app.set_faults(&["5xx@query_participants:#3+"]);
    let summary = app.again();
    assert!(!summary.is_settled(), "{summary:?}");
    assert!(calls(&app, "query_participants") > 3);
    let found = sources(&app, Dataset::ParticipantList);
    assert!(
        found.values().all(|of| of.len() == 1),
        "one source a day: {found:?}"
    );
    assert!(
        found.values().flatten().any(|of| of == "export"),
        "{found:?}"
    );
    assert_eq!(rows(&app), before, "no row is gone");
    app.set_faults(&[]);
    let summary = app.reconcile();
    assert!(summary.is_settled(), "{summary:?}");
    assert_all_from(&app, Dataset::ParticipantList, "query");
    assert_eq!(rows(&app), before);
    let verified = app.meetlake(&["verify"]);
    assert_eq!(verified.code, 0, "{}", verified.text());
}

/// Killed at each step; then everything is there once.
#[cfg(feature = "failpoints")]
#[test]
fn killed_between_its_pages_nothing_is_lost_doubled_or_half() {
    let datasets = [
        Dataset::MeetingList,
        Dataset::ParticipantList,
        Dataset::ResourceReservationList,
    ];
    let exported = by_export().only(&datasets).start();
    assert!(exported.reconcile().is_settled());
    // So that nearly every list has several pages.
    let app = by_query().only(&datasets);
    let app = app.knobs(|knobs| knobs.page_size = 3).start();
    let mut deaths = 0;
    for place in ["w05-page-listed", "w07-fetched", "w08-rows-recorded"] {
        for passed in [0, 1, 5] {
            let (from, to) = (app.first_day().to_string(), app.end_day().to_string());
            let mut command = app.command(&["backfill", "--from", &from, "--to", &to]);
            let failpoint = format!("{place}={passed}*off->return");
            let ended = command.env("FAILPOINTS", failpoint).output();
            deaths += u64::from(ended.expect("it ran").status.code().is_none());
        }
    }
    assert!(deaths >= 8, "{deaths} deaths");
    let last = app.backfill(&[]);
    assert_eq!(last.code, 0, "{}", last.text());
    assert_alike(&exported, &app);
}

#[test]
fn pages_that_move_overlap_or_never_end_are_no_list() {
    let only = [Dataset::MeetingList];
    let sound = by_query().only(&only).start();
    assert!(sound.reconcile().is_settled());
    let truth = sound.content_hashes();
    // The first page read again is another one: the list is read once more.
    let moved = by_query().only(&only).knobs(|knobs| {
        knobs.page_size = 2;
        knobs.queries_move = 1;
    });
    let moved = moved.start();
    assert!(moved.reconcile().is_settled());
    assert_eq!(moved.content_hashes(), truth);
    // An item that is on two pages comes once, by its id.
    let overlapping = by_query().only(&only).knobs(|knobs| {
        knobs.page_size = 2;
        knobs.alert_pages = AlertPages::Overlapping;
    });
    let overlapping = overlapping.start();
    assert!(overlapping.reconcile().is_settled());
    assert_eq!(overlapping.content_hashes(), truth);
    let endless = by_query().only(&only);
    let endless = endless
        .knobs(|knobs| knobs.alert_pages = AlertPages::Endless)
        .start();
    let summary = endless.reconcile();
    assert!(!summary.is_settled(), "{summary:?}");
    assert!(lake::rows(&endless.lake(), Dataset::MeetingList).is_empty());
}

/// New apps do not get the scope for themselves.
#[test]
fn an_app_without_the_scope_is_told_the_way_out() {
    let only = [Dataset::MeetingList];
    let setup = by_query().only(&only);
    let app = setup
        .knobs(|knobs| knobs.scopes.retain(|scope| scope != DETAIL))
        .start();
    let way_out = "mode = \"export\"";
    let doctor = app.meetlake(&["doctor"]);
    assert_eq!(doctor.code, 4, "{}", doctor.text());
    assert!(
        doctor.stdout.contains(DETAIL) && doctor.stdout.contains(way_out),
        "{}",
        doctor.stdout
    );
    let run = app.backfill(&[]);
    assert_eq!(run.code, 4, "{}", run.text());
    assert!(
        run.text().contains("99991672") && run.text().contains(way_out),
        "{}",
        run.text()
    );

    // What it asks for is of now.
    let mut granted = Setup::real().only(&only).knobs(grant);
    granted = granted.job(Dataset::MeetingList, BY_QUERY);
    let doctor = granted.start().meetlake(&["doctor"]);
    assert_eq!(doctor.code, 0, "{}", doctor.text());
}

#[test]
fn plan_counts_the_calls_of_the_source_that_is_asked() {
    let app = by_query().start();
    let (from, to) = (app.first_day().to_string(), app.end_day().to_string());
    let plan = app.meetlake(&["plan", "--from", &from, "--to", &to]);
    assert_eq!(plan.code, 0, "{}", plan.text());
    assert!(plan.stdout.contains("GET meeting_list"), "{}", plan.stdout);
    assert!(!plan.stdout.contains("exports/"), "{}", plan.stdout);
}

#[test]
fn what_is_no_source_is_refused_with_what_to_write() {
    let dataset = Dataset::ResourceReservationList;
    for (lines, said) in [
        ("[request]\nmode = \"both\"\n", "write export or query"),
        ("[request]\nmode = \"quary\"\n", "query"),
        (
            "[request]\nmode = \"query\"\nper_room = true\n",
            "each row names its room",
        ),
    ] {
        let app = Setup::fast().only(&[dataset]).job(dataset, lines).start();
        let output = app.meetlake(&["validate"]);
        assert_eq!(output.code, 2, "{}", output.text());
        assert!(output.text().contains(said), "{}", output.text());
    }
    let app = Setup::fast().only(&[Dataset::TopUser]);
    let app = app.job(Dataset::TopUser, BY_QUERY).start();
    let output = app.meetlake(&["validate"]);
    assert!(
        output
            .text()
            .contains("`mode` is an option of meeting_list"),
        "{}",
        output.text()
    );
}
