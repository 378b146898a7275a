//! People join across datasets: open ids, which rooms have too, and beside them the ids that the sheets show.

use std::collections::{BTreeMap, BTreeSet};

use meetlake::testing::dataset::Dataset::{
    self, Meeting, MeetingList, MeetingParticipant, ParticipantList, TopUser,
};
use meetlake_simulator::Company;
use serde_json::Value;

use crate::app::{Setup, TestApp};
use crate::lake::{self, Row};
use crate::meetings::with_notes;

const SCOPE: &str = "contact:user.employee_id:readonly";
const PEOPLE: [Dataset; 5] = [
    MeetingList,
    Meeting,
    MeetingParticipant,
    ParticipantList,
    TopUser,
];

/// The id in the tenant of each open id.
fn ids(company: &Company) -> BTreeMap<String, String> {
    let employees = company.employees().iter();
    employees
        .map(|who| (who.open_id.clone(), who.user_id.clone()))
        .collect()
}

fn text<'r>(row: &'r Row, column: &str) -> Option<&'r str> {
    row[column].as_str()
}

fn calls(app: &TestApp, endpoint: &str) -> u64 {
    let endpoints = app.report().endpoints;
    endpoints.get(endpoint).map_or(0, |of| of.calls)
}

/// Rows with an id in the tenant, of which each is true; and all rows of users.
fn known(app: &TestApp, dataset: Dataset, id: &str, kind: &str) -> (usize, usize) {
    let ids = ids(app.server().company());
    let rows = lake::rows(&app.lake(), dataset);
    let mut known = 0;
    for row in &rows {
        if let Some(found) = text(row, "tenant_user_id") {
            let open_id = text(row, id).expect("whose it is");
            assert_eq!(Some(found), ids.get(open_id).map(String::as_str));
            assert_eq!(text(row, kind), Some("user"));
            known += 1;
        }
    }
    let users = rows.iter().filter(|row| text(row, kind) == Some("user"));
    (known, users.count())
}

/// But for those whom nobody can tell apart, every user of a meeting has an id in the tenant.
fn assert_most_are_known(app: &TestApp) {
    let (known, users) = known(
        app,
        MeetingParticipant,
        "participant_id",
        "participant_type",
    );
    assert!(known * 10 >= users * 9 && known > 20, "{known} of {users}");
}

/// The people of a meeting by its sheet are those of the meeting by its id, but for those whom nobody can tell apart.
#[test]
fn people_join_by_the_id_that_the_sheets_show() {
    let app = Setup::fast().only(&PEOPLE).start();
    assert!(app.reconcile().is_settled());
    assert_most_are_known(&app);
    let of_sheets: BTreeSet<(String, String)> = lake::rows(&app.lake(), ParticipantList)
        .into_iter()
        .map(|row| (row["meeting_key"].to_string(), row["user_id"].to_string()))
        .collect();
    let mut rooms = 0;
    for row in lake::rows(&app.lake(), MeetingParticipant) {
        rooms += usize::from(text(&row, "participant_type") == Some("room"));
        if !row["tenant_user_id"].is_null() {
            let who = (
                row["meeting_key"].to_string(),
                row["tenant_user_id"].to_string(),
            );
            assert!(of_sheets.contains(&who), "{row:?}");
        }
    }
    assert!(rooms > 0, "rooms are not dropped");
    let asked = calls(&app, "meeting");
    let meetings = app.server().company().meetings().len() as u64;
    let notes = with_notes(&app);
    assert_eq!(
        asked,
        3 * meetings + notes,
        "its detail, the documents of its notes, and its participants twice"
    );

    // Another ledger reads the same from the originals.
    let before = app.content_hashes();
    app.lose_ledger();
    assert_eq!(app.rebuild()["problems"], Value::Array(Vec::new()));
    assert!(app.reconcile().is_settled());
    assert_eq!(app.content_hashes(), before);
    assert_eq!(calls(&app, "meeting"), asked);
    app.sound_and_verified();
}

/// A ranking with a room in it is refused where ids in the tenant are asked for. It is in the lake with open ids then.
#[test]
fn a_ranking_with_a_room_falls_back_to_open_ids() {
    let setup = Setup::fast()
        .only(&[TopUser])
        .job(TopUser, "[request]\nlimit = 3\n");
    let app = setup.with(|options| options.days = 6).start();
    assert!(app.reconcile().is_settled());
    let mut rankings: BTreeMap<(String, String), Vec<Row>> = BTreeMap::new();
    for row in lake::rows(&app.lake(), TopUser) {
        let of = |column: &str| text(&row, column).expect("text").to_owned();
        rankings
            .entry((of("dt"), of("order_by")))
            .or_default()
            .push(row);
    }
    let (mut with_rooms, mut without) = (0, 0);
    for (ranking, rows) in &rankings {
        assert_eq!(rows.len(), 3, "{ranking:?}");
        let has_room = rows
            .iter()
            .any(|row| text(row, "user_type") == Some("room"));
        let with_id = rows
            .iter()
            .filter(|row| !row["tenant_user_id"].is_null())
            .count();
        match has_room {
            true => (with_rooms += 1, assert_eq!(with_id, 0, "{ranking:?}")),
            false => (without += 1, assert!(with_id > 0, "{ranking:?}")),
        };
    }
    assert!(with_rooms > 0 && without > 0, "{with_rooms} and {without}");
    known(&app, TopUser, "user_id", "user_type");
}

/// Without the scope, and where nobody asks, all rows are there, without ids. `doctor` tells of the scope.
#[test]
fn without_the_scope_or_the_wish_there_are_no_ids_and_all_rows() {
    let people = [MeetingList, Meeting, MeetingParticipant];
    let without_scope = Setup::fast().only(&people).knobs(|knobs| {
        knobs.scopes.remove(SCOPE);
    });
    let without_wish = Setup::fast()
        .only(&people)
        .job(MeetingParticipant, "[request]\ntenant_user_ids = false\n");
    let mut hashes = Vec::new();
    for (setup, calls_each) in [(without_scope, 3), (without_wish, 2)] {
        let app = setup.start();
        assert!(app.reconcile().is_settled());
        let (known, users) = known(
            &app,
            MeetingParticipant,
            "participant_id",
            "participant_type",
        );
        assert!(known == 0 && users > 20, "{known} of {users}");
        let meetings = app.server().company().meetings().len() as u64;
        let notes = with_notes(&app);
        assert_eq!(calls(&app, "meeting"), calls_each * meetings + notes);
        let rows = lake::rows(&app.lake(), MeetingParticipant);
        let told = rows
            .iter()
            .map(|row| (row["meeting_id"].clone(), row["participant_id"].clone()));
        let mut told: Vec<String> = told.map(|row| format!("{row:?}")).collect();
        told.sort();
        hashes.push(told);
        if calls_each == 3 {
            let said = app.meetlake(&["doctor"]).text();
            assert!(
                said.contains("meeting_participant") && said.contains(SCOPE),
                "{said}"
            );
        }
    }
    assert_eq!(hashes[0], hashes[1]);
}

/// A lake that was begun without these ids goes on with them, day by day, and a day that is read again keeps its rows.
#[test]
fn a_lake_without_ids_gets_them_when_they_are_asked_for() {
    let without = "[request]\ntenant_user_ids = false\n";
    let people = [MeetingList, Meeting, MeetingParticipant];
    let mut app = Setup::fast()
        .only(&people)
        .job(MeetingParticipant, without)
        .start();
    assert!(app.reconcile().is_settled());
    let rows = lake::rows(&app.lake(), MeetingParticipant).len();
    app.setup
        .jobs
        .insert(MeetingParticipant, without.replace("false", "true"));
    app.write_configuration();
    let again = app.backfill(&["--dataset", "meeting_participant", "--again"]);
    assert_eq!(again.code, 0, "{}", again.text());
    assert_most_are_known(&app);
    assert_eq!(lake::rows(&app.lake(), MeetingParticipant).len(), rows);
    let replayed = app.meetlake(&["replay", "--re-read"]);
    assert_eq!(replayed.code, 0, "{}", replayed.text());
    app.sound_and_verified();
}
