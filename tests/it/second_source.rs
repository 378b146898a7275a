//! The JSON lists as a second source: the same lake by query as by export, one source a day, and what becomes of a lake whose job changes
//! its source.

use std::collections::{BTreeMap, BTreeSet};

use meetlake::testing::dataset::Dataset;
use meetlake_simulator::{AlertPages, Knobs, Layout, WebinarList};
use serde_json::Value;

use crate::app::{Setup, TestApp};
use crate::lake::{self, Row};

pub(crate) const TWO_SOURCES: [Dataset; 4] = [
    Dataset::MeetingList,
    Dataset::ParticipantList,
    Dataset::ParticipantQualityList,
    Dataset::ResourceReservationList,
];
/// What only the other source tells of a row, or what is made of its source.
const NOT_COMPARED: [&str; 2] = ["booking_key", "dt_of_file"];
const DETAIL: &str = "vc:rooms.room.detailinfo:read";
pub(crate) const BY_QUERY: &str = "[request]\nmode = \"query\"\n";
const BY_BOTH: &str = "[request]\nmode = \"both\"\n";
/// Those whose sources are compared.
const COMPARED: [Dataset; 3] = [
    Dataset::MeetingList,
    Dataset::ParticipantList,
    Dataset::ParticipantQualityList,
];

pub(crate) fn grant(knobs: &mut Knobs) {
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

/// While the new answers do not come, a day is what the other source said, whole: the daily report does not call it short.
#[test]
fn a_day_that_waits_for_its_other_source_is_not_called_short() {
    let datasets = [Dataset::DailyReport, Dataset::MeetingList];
    let mut app = by_export().only(&datasets).start();
    assert!(app.reconcile().is_settled());
    let before = lake::rows(&app.lake(), Dataset::MeetingList).len();
    switch(&mut app, &[Dataset::MeetingList], BY_QUERY);
    app.set_faults(&["5xx@query_meetings"]);
    let summary = app.again();
    assert!(!summary.unsettled.is_empty(), "{summary:?}");
    assert!(summary.implausible.is_empty(), "{summary:?}");
    assert_all_from(&app, Dataset::MeetingList, "export");
    assert_eq!(lake::rows(&app.lake(), Dataset::MeetingList).len(), before);
    app.set_faults(&[]);
    let summary = app.reconcile();
    assert!(summary.is_settled(), "{summary:?}");
    assert_all_from(&app, Dataset::MeetingList, "query");
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
    // What only the answers tell is said.
    let webinars = "participant_list: a webinar takes 2 calls more";
    assert!(plan.stdout.contains(webinars), "{}", plan.stdout);
    assert!(!plan.stdout.contains("exports/"), "{}", plan.stdout);
}

#[test]
fn what_is_no_source_is_refused_with_what_to_write() {
    let dataset = Dataset::ResourceReservationList;
    for (lines, said) in [
        (BY_BOTH, "write export or query"),
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

/// Panelists and attendees are two lists. What one shows that is asked for neither is not documented.
#[test]
fn everybody_of_a_webinar_is_listed_once_whatever_a_list_shows_by_itself() {
    let datasets = [Dataset::MeetingList, Dataset::ParticipantList];
    let exported = by_export().only(&datasets).start();
    assert!(exported.reconcile().is_settled());
    let truth = lake::rows(&exported.lake(), Dataset::ParticipantList);
    let ordinary = by_query().only(&datasets).start();
    assert!(ordinary.reconcile().is_settled());
    let usual = calls(&ordinary, "query_participants");
    for shown in [
        WebinarList::Whole,
        WebinarList::Panelists,
        WebinarList::Nobody,
    ] {
        let app = by_query().only(&datasets);
        let app = app.knobs(|knobs| knobs.webinars = Some(shown)).start();
        let summary = app.reconcile();
        assert!(summary.is_settled(), "{shown:?}: {summary:?}");
        let meetings = lake::rows(&app.lake(), Dataset::MeetingList);
        let is_webinar = |row: &&Row| row["meeting_subtype"] == "webinar";
        let webinars = meetings.iter().filter(is_webinar).count() as u64;
        assert!(webinars > 0 && webinars < meetings.len() as u64);
        let rows = lake::rows(&app.lake(), Dataset::ParticipantList);
        let of_both = filled(&rows);
        let common: BTreeSet<&str> = filled(&truth).intersection(&of_both).copied().collect();
        assert!(common.len() >= 25, "{shown:?}: {common:?}");
        assert_eq!(told(&rows, &common), told(&truth, &common), "{shown:?}");
        let roles: BTreeSet<&str> = rows
            .iter()
            .filter_map(|row| row["webinar_user_role"].as_str())
            .collect();
        assert_eq!(roles, BTreeSet::from(["panelist", "attendee"]), "{shown:?}");
        // The list of each webinar, and one for each role.
        assert_eq!(calls(&app, "query_participants"), usual + 2 * webinars);
        assert!(app.report().unknown_parameters.is_empty());

        // The archived pages say by themselves which lists they are.
        let before = (app.calls(), app.content_hashes());
        std::fs::remove_file(app.path("meetlake.db")).expect("a lost ledger");
        let rebuilt = app.meetlake(&["ledger", "rebuild"]);
        assert_eq!(rebuilt.code, 0, "{}", rebuilt.text());
        assert!(app.reconcile().is_settled());
        assert_eq!((app.calls(), app.content_hashes()), before, "{shown:?}");
    }
}

// --- both sources of one day ----------------------------------------------------------------------

fn by_both(datasets: &[Dataset]) -> Setup {
    let mut setup = by_export().only(datasets);
    for dataset in datasets {
        setup = setup.job(*dataset, BY_BOTH);
    }
    setup
}

/// What the newest manifests of a dataset say of both sources, by day.
fn compared_days(app: &TestApp, dataset: Dataset) -> BTreeMap<String, Value> {
    let days = app.first_day().series(jiff::ToSpan::day(1)).take(10);
    days.filter_map(|dt| {
        let manifests = lake::manifests(&app.lake(), dataset, &dt.to_string());
        let newest = manifests.into_values().next_back()?;
        Some((dt.to_string(), newest["coverage"]["compared"].clone()))
    })
    .collect()
}

/// The same of all days together: a count of it.
fn compared(app: &TestApp, dataset: Dataset, count: &str) -> u64 {
    let days = compared_days(app, dataset);
    days.values()
        .map(|day| day[count].as_u64().unwrap_or(0))
        .sum()
}

/// What the ledger has of both sources, by window.
fn compared_windows(app: &TestApp) -> Vec<Value> {
    let status = app.meetlake(&["status", "--json"]).json();
    let datasets = status["datasets"].as_array().expect("datasets").iter();
    let windows = datasets.flat_map(|of| of["windows"].as_array().expect("windows"));
    windows
        .map(|window| window["coverage"]["compared"].clone())
        .collect()
}

fn differing(app: &TestApp, dataset: Dataset) -> BTreeMap<String, u64> {
    let mut sum = BTreeMap::new();
    for day in compared_days(app, dataset).values() {
        for (column, rows) in day["differing"].as_object().into_iter().flatten() {
            *sum.entry(column.clone()).or_insert(0) += rows.as_u64().expect("a count");
        }
    }
    sum
}

fn revisions(app: &TestApp) -> usize {
    let records = app.lake().join("_manifest");
    let files = lake::below(&records).into_iter();
    files
        .filter(|path| !path.to_string_lossy().contains("coverage"))
        .count()
}

fn assert_agree(app: &TestApp, datasets: &[Dataset]) {
    for dataset in datasets {
        let days = compared_days(app, *dataset);
        assert!(
            days.len() >= 2 && days.values().all(Value::is_object),
            "{dataset}: {days:?}"
        );
        let rows = lake::rows(&app.lake(), *dataset).len() as u64;
        assert!(
            rows > 0 && compared(app, *dataset, "in_both") >= rows,
            "{dataset}: {days:?}"
        );
        for count in ["not_compared", "export_only", "query_only"] {
            assert_eq!(compared(app, *dataset, count), 0, "{dataset}: {days:?}");
        }
        assert!(differing(app, *dataset).is_empty(), "{dataset}: {days:?}");
        assert_all_from(app, *dataset, "export");
    }
}

#[test]
fn the_export_is_published_and_the_list_agrees() {
    let exported = by_export().only(&COMPARED).start();
    assert_eq!(exported.backfill(&[]).code, 0);
    let app = by_both(&COMPARED).start();
    let run = app.backfill(&[]);
    assert_eq!(run.code, 0, "{}", run.text());
    assert!(!run.stdout.contains("compared"), "{}", run.stdout);
    assert_eq!(app.content_hashes(), exported.content_hashes());
    assert_eq!(app.submits(), exported.submits());
    assert_agree(&app, &COMPARED);
    let verified = app.meetlake(&["verify"]);
    assert_eq!(verified.code, 0, "{}", verified.text());
    let status = app.meetlake(&["status"]);
    let told = "meeting_list: compared with the list: ";
    assert!(status.stdout.contains(told), "{}", status.stdout);

    // Looked at once more, there is nothing new to say.
    let before = (app.content_hashes(), revisions(&app));
    assert!(app.again().is_settled());
    assert_eq!((app.content_hashes(), revisions(&app)), before);

    // A lost ledger is made again from the lake, with what was compared.
    let told = compared_windows(&app);
    assert!(
        told.iter().any(|of| of["in_both"].as_u64() > Some(0)),
        "{told:?}"
    );
    std::fs::remove_file(app.path("meetlake.db")).expect("a lost ledger");
    let rebuilt = app.meetlake(&["ledger", "rebuild"]);
    assert_eq!(rebuilt.code, 0, "{}", rebuilt.text());
    assert_eq!(compared_windows(&app), told);
    let calls = app.calls();
    assert!(app.reconcile().is_settled());
    assert_eq!(app.calls(), calls, "nothing is asked for again");
    assert_eq!((app.content_hashes(), revisions(&app)), before);
    let (from, to) = (app.first_day().to_string(), app.end_day().to_string());
    let replayed = app.meetlake(&["replay", "--from", &from, "--to", &to]);
    assert_eq!(replayed.code, 0, "{}", replayed.text());
    assert_eq!((app.content_hashes(), revisions(&app)), before);
    assert_agree(&app, &COMPARED);
}

#[test]
fn what_only_one_source_has_or_both_tell_otherwise_is_counted_and_told() {
    let dataset = Dataset::MeetingList;
    let export = by_export().only(&[dataset]).start();
    assert!(export.reconcile().is_settled());
    let lacks = by_both(&[dataset])
        .knobs(|knobs| knobs.queries_lack = 1)
        .start();
    let run = lacks.backfill(&[]);
    assert_eq!(run.code, 0, "{}", run.text());
    let windows = compared(&lacks, dataset, "compared");
    assert!(windows >= 2);
    assert_eq!(compared(&lacks, dataset, "export_only"), windows);
    assert_eq!(compared(&lacks, dataset, "query_only"), 0);
    let told = format!("{windows} in the export only, 0 in the list only");
    assert!(run.stdout.contains(&told), "{}", run.stdout);
    assert_eq!(lacks.content_hashes(), export.content_hashes());

    let member = "number_of_participants";
    let differs = by_both(&[dataset]).knobs(|knobs| knobs.queries_differ = Some(member.to_owned()));
    let differs = differs.start();
    let run = differs.backfill(&[]);
    assert_eq!(run.code, 0, "{}", run.text());
    let windows = compared(&differs, dataset, "compared");
    let expected = BTreeMap::from([("participant_count".to_owned(), windows)]);
    assert_eq!(differing(&differs, dataset), expected);
    assert!(
        run.stdout.contains("they differ in participant_count of"),
        "{}",
        run.stdout
    );
    assert_eq!(differs.content_hashes(), export.content_hashes());

    let short = by_both(&[dataset]).faults(&["short@meeting_list"]).start();
    let run = short.backfill(&[]);
    let [has, lists] = ["in_both", "query_only"].map(|count| compared(&short, dataset, count));
    let rows = lake::rows(&export.lake(), dataset).len() as u64;
    assert!(
        has > 0 && lists > 0 && has + lists >= rows,
        "{has} {lists} {rows}"
    );
    assert_eq!(compared(&short, dataset, "export_only"), 0);
    assert!(run.stdout.contains("in the list only"), "{}", run.stdout);
}

/// The day of the export does not wait for the list, whatever is wrong with it.
#[test]
fn a_list_that_does_not_answer_holds_nothing_up() {
    let datasets = [Dataset::MeetingList, Dataset::ParticipantList];
    let export = by_export().only(&datasets).start();
    assert!(export.reconcile().is_settled());
    let no_scope = by_both(&datasets);
    let no_scope = no_scope.knobs(|knobs| knobs.scopes.retain(|scope| scope != DETAIL));
    let broken = by_both(&datasets);
    let broken = broken.faults(&["html-200@query_meetings", "html-200@query_participants"]);
    for (setup, most_calls) in [(no_scope, 8), (broken, 1_000)] {
        let app = setup.start();
        let run = app.backfill(&[]);
        assert_eq!(run.code, 0, "{}", run.text());
        assert_eq!(app.content_hashes(), export.content_hashes());
        assert_eq!(app.submits(), export.submits());
        let asked = calls(&app, "query_meetings") + calls(&app, "query_participants");
        assert!((1..=most_calls).contains(&asked), "{asked} calls");
        for dataset in datasets {
            assert!(compared(&app, dataset, "not_compared") >= 2, "{dataset}");
            assert_eq!(compared(&app, dataset, "compared"), 0, "{dataset}");
        }
        assert!(
            run.stdout.contains("not compared with the list"),
            "{}",
            run.stdout
        );
        let verified = app.meetlake(&["verify"]);
        assert_eq!(verified.code, 0, "{}", verified.text());
        // What was not compared is known from the lake too.
        let before = datasets.map(|dataset| compared_days(&app, dataset));
        std::fs::remove_file(app.path("meetlake.db")).expect("a lost ledger");
        let rebuilt = app.meetlake(&["ledger", "rebuild"]);
        assert_eq!(rebuilt.code, 0, "{}", rebuilt.text());
        let written = revisions(&app);
        assert!(app.reconcile().is_settled());
        assert_eq!(datasets.map(|dataset| compared_days(&app, dataset)), before);
        assert_eq!(revisions(&app), written);
        // Once it answers, the next export is compared. That of a meeting's participants was the only one.
        if most_calls > 8 {
            app.set_faults(&[]);
            assert!(app.again().is_settled());
            assert_agree(&app, &[Dataset::MeetingList]);
            assert_eq!(app.content_hashes(), export.content_hashes());
        } else {
            let doctor = app.meetlake(&["doctor"]);
            assert_eq!(doctor.code, 0, "{}", doctor.text());
            for said in [
                "the list beside the export: ",
                DETAIL,
                "and are not compared",
            ] {
                assert!(doctor.stdout.contains(said), "{}", doctor.stdout);
            }
        }
    }
}

/// Killed before, while and after the list is asked: every day is compared, and everything is there once.
#[cfg(feature = "failpoints")]
#[test]
fn killed_between_both_sources_every_day_is_compared() {
    let datasets = [Dataset::MeetingList, Dataset::ParticipantList];
    let sound = by_both(&datasets).start();
    assert!(sound.reconcile().is_settled());
    let app = by_both(&datasets).start();
    let mut deaths = 0;
    for place in [
        "w07-fetched",
        "w05-page-listed",
        "w07-witness-fetched",
        "w08-rows-kept",
        "w08-rows-recorded",
        "w08-pack-put",
        "w10-manifest-put",
    ] {
        for passed in [0, 1] {
            let (from, to) = (app.first_day().to_string(), app.end_day().to_string());
            let mut command = app.command(&["backfill", "--from", &from, "--to", &to]);
            let failpoint = format!("{place}={passed}*off->return");
            let ended = command.env("FAILPOINTS", failpoint).output();
            deaths += u64::from(ended.expect("it ran").status.code().is_none());
        }
    }
    assert!(deaths >= 10, "{deaths} deaths");
    let last = app.backfill(&[]);
    assert_eq!(last.code, 0, "{}", last.text());
    assert_eq!(app.content_hashes(), sound.content_hashes());
    for dataset in datasets {
        assert_eq!(
            compared_days(&app, dataset),
            compared_days(&sound, dataset),
            "{dataset}"
        );
    }
    assert_agree(&app, &datasets);
    let verified = app.meetlake(&["verify"]);
    assert_eq!(verified.code, 0, "{}", verified.text());
}

#[test]
fn a_job_that_comes_to_compare_and_leaves_it_keeps_its_days() {
    let datasets = [Dataset::MeetingList, Dataset::ParticipantList];
    let mut app = by_export().only(&datasets).start();
    assert!(app.reconcile().is_settled());
    let (hashes, calls) = (app.content_hashes(), app.calls());
    switch(&mut app, &datasets, BY_BOTH);
    assert!(app.reconcile().is_settled());
    assert_eq!((app.content_hashes(), app.calls()), (hashes.clone(), calls));
    assert!(app.again().is_settled());
    assert_eq!(app.content_hashes(), hashes);
    assert!(compared(&app, Dataset::MeetingList, "in_both") > 0);
    switch(&mut app, &datasets, "");
    assert!(app.reconcile().is_settled());
    assert!(app.again().is_settled());
    assert_eq!(app.content_hashes(), hashes);
    assert_eq!(compared(&app, Dataset::MeetingList, "in_both"), 0);
    for dataset in datasets {
        assert_all_from(&app, dataset, "export");
    }
    let verified = app.meetlake(&["verify"]);
    assert_eq!(verified.code, 0, "{}", verified.text());
}

#[test]
fn plan_counts_the_calls_of_both_sources() {
    let app = by_both(&[Dataset::MeetingList]).start();
    let (from, to) = (app.first_day().to_string(), app.end_day().to_string());
    let plan = |app: &TestApp| {
        let plan = app.meetlake(&["plan", "--from", &from, "--to", &to, "--json"]);
        plan.json()["tenants"][0].clone()
    };
    let both = plan(&app);
    let export = plan(&by_export().only(&[Dataset::MeetingList]).start());
    let days = both["jobs"][0]["tasks"].as_u64().expect("a count");
    let calls = |plan: &Value| plan["cost"]["calls"].as_u64().expect("a count");
    assert_eq!((calls(&export), calls(&both)), (3 * days, 4 * days));
    let month = |plan: &Value| plan["month"]["calls"].as_u64().expect("a count");
    assert!(month(&both) > month(&export), "{both}");
}

/// Days that are cut anew are made of the same answers, which compare as before.
#[test]
fn a_re_cut_keeps_what_was_compared() {
    let datasets = [Dataset::MeetingList, Dataset::ParticipantList];
    let app = by_both(&datasets).start();
    assert_eq!(app.backfill(&[]).code, 0);
    let of_windows = compared_windows(&app);
    assert!(of_windows.iter().any(Value::is_object), "{of_windows:?}");
    let rows = |app: &TestApp| datasets.map(|dataset| lake::rows(&app.lake(), dataset).len());
    let (before, calls) = (rows(&app), app.calls());
    crate::remake::configure(&app, "Asia/Shanghai", "America/New_York");
    let recut = app.meetlake(&["replay", "--re-cut"]);
    assert_eq!(recut.code, 0, "{}", recut.text());
    assert_eq!((rows(&app), app.calls()), (before, calls));
    app.sound_and_verified();
    assert_eq!(compared_windows(&app), of_windows);
    for dataset in datasets {
        assert!(compared(&app, dataset, "in_both") > 0, "{dataset}");
        for count in ["not_compared", "export_only", "query_only"] {
            assert_eq!(compared(&app, dataset, count), 0, "{dataset}");
        }
    }
    let rebuilt = revisions(&app);
    std::fs::remove_file(app.path("meetlake.db")).expect("a lost ledger");
    let output = app.meetlake(&["ledger", "rebuild"]);
    assert_eq!(output.code, 0, "{}", output.text());
    assert_eq!(compared_windows(&app), of_windows);
    assert_eq!(revisions(&app), rebuilt);
}
