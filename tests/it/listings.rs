//! Rooms and their levels: datasets that are listed page by page and hold the state of a day.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use meetlake::testing::dataset::Dataset;
use meetlake::testing::run::Scope;
use meetlake_simulator::company::Room;
use serde_json::Value;
use zip::ZipArchive;

use crate::app::{Output, SPEED, Setup, TestApp};
use crate::lake;
use crate::truth::Truth;

const SNAPSHOTS: [Dataset; 2] = [Dataset::Room, Dataset::RoomLevel];
/// Five items a page: 16 rooms are four pages, and the four levels below some of 12 are one each.
const PAGE: usize = 5;

fn setup() -> Setup {
    let setup = Setup::fast().only(&SNAPSHOTS);
    setup.knobs(|knobs| knobs.page_size = PAGE)
}

/// Starts with jobs that fire at five in the morning.
fn start(setup: Setup) -> TestApp {
    let app = setup.start();
    for dataset in &app.setup.datasets {
        let job = format!("version = 1\ndataset = \"{dataset}\"\ncron = \"0 5 * * *\"\n");
        app.write(&format!("jobs/{dataset}.toml"), &job);
    }
    app
}

/// Runs the binary at an instant of the company's zone.
fn run_at(app: &TestApp, args: &[&str], local: &str) -> Output {
    let mut command = app.command(args);
    at(&mut command, local, SPEED);
    crate::app::finish(&mut command)
}

fn at(command: &mut std::process::Command, local: &str, speed: f64) {
    let at: Timestamp = format!("{local}+08:00").parse().expect("an instant");
    command.env("MEETLAKE_TEST_CLOCK", format!("{at}@{speed}"));
}

fn calls(app: &TestApp, endpoint: &str) -> u64 {
    let endpoints = app.report().endpoints;
    endpoints.get(endpoint).map_or(0, |of| of.calls)
}

/// The days of a dataset that are in the lake.
fn days(app: &TestApp, dataset: Dataset) -> Vec<String> {
    let files = lake::files(&app.lake(), dataset);
    let day = |file: &std::path::PathBuf| {
        let folder = file.parent()?.file_name()?.to_string_lossy().into_owned();
        Some(folder.replace("dt=", ""))
    };
    files.iter().filter_map(day).collect()
}

fn assert_true(app: &TestApp, now: Timestamp) {
    let truth = Truth::of(app.server().company(), now);
    for dataset in &app.setup.datasets {
        let differences = truth.differences_of(&app.lake(), *dataset);
        assert!(differences.is_empty(), "{differences:#?}");
    }
}

/// The originals below `_raw`: a pack is a zip of zips.
fn originals(app: &TestApp) -> Vec<BTreeMap<String, Vec<u8>>> {
    let unzip = |bytes: Vec<u8>| {
        let mut zip = ZipArchive::new(std::io::Cursor::new(bytes)).expect("a zip");
        let mut files = BTreeMap::new();
        for index in 0..zip.len() {
            let mut file = zip.by_index(index).expect("a file");
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).expect("its bytes");
            let name = file.name().expect("a name").into_owned();
            files.insert(name, bytes);
        }
        files
    };
    let packs = lake::below(&app.lake().join("_raw"));
    packs
        .into_iter()
        .flat_map(|pack| unzip(fs::read(pack).expect("a pack")))
        .filter(|(name, _)| name != "tasks.jsonl")
        .map(|(_, original)| unzip(original))
        .collect()
}

#[test]
fn rooms_and_levels_are_those_of_the_company_and_stay_so() {
    let app = start(setup());
    let now = app.setup.options.clock.now();
    let summary = app.reconcile_scope(&Scope::Due);
    assert!(summary.is_settled(), "{summary:?}");
    assert_true(&app, now);
    // Four pages, and the first and the last one again.
    assert_eq!(calls(&app, "rooms"), 6);

    // The same hash, because nothing changed between two rows of one room; and every hash is its own.
    let rows = lake::rows(&app.lake(), Dataset::Room);
    let hashes: std::collections::BTreeSet<&str> = rows
        .iter()
        .filter_map(|row| row["attributes_hash"].as_str())
        .collect();
    assert_eq!(hashes.len(), rows.len());
    assert!(rows.iter().all(|row| row["contact_id_type"] == "union_id"));
    assert!(
        rows.iter().all(|row| row["_extra"].is_null()),
        "{:?}",
        rows[0]["_extra"]
    );

    // The originals are the bodies, in the order of the listing.
    let originals = originals(&app);
    let rooms = originals
        .iter()
        .find(|pages| pages.len() == 4)
        .expect("four pages of rooms");
    let names: Vec<&str> = rooms.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["000001.json", "000002.json", "000003.json", "000004.json"]
    );
    let listed = rooms.values().flat_map(|body| {
        let body: Value = serde_json::from_slice(body).expect("a body");
        body["data"]["rooms"].as_array().cloned().expect("rooms")
    });
    let listed: Vec<Value> = listed.map(|room| room["room_id"].clone()).collect();
    let company: Vec<&str> = app
        .server()
        .company()
        .rooms()
        .iter()
        .map(|room| room.room_id.as_str())
        .collect();
    assert_eq!(listed, company);

    let before = (app.calls(), app.content_hashes());
    let again = app.reconcile_scope(&Scope::Due);
    assert!(again.is_settled() && again.datasets.is_empty(), "{again:?}");
    let verified = app.meetlake(&["verify"]);
    assert_eq!(verified.code, 0, "{verified:?}");
    let today = now.to_zoned(crate::app::zone()).date();
    let (from, to) = (
        today.to_string(),
        today.tomorrow().expect("a day").to_string(),
    );
    let replayed = app.meetlake(&["replay", "--from", &from, "--to", &to]);
    assert_eq!(replayed.code, 0, "{replayed:?}");
    fs::remove_file(app.path("meetlake.db")).expect("a lost ledger");
    let rebuilt = app.meetlake(&["ledger", "rebuild"]);
    assert_eq!(rebuilt.code, 0, "{rebuilt:?}");
    let after = app.reconcile_scope(&Scope::Due);
    assert!(after.is_settled(), "{after:?}");
    assert_eq!(
        (app.calls(), app.content_hashes()),
        before,
        "nobody was asked again"
    );
}

#[test]
fn each_day_holds_the_rooms_of_that_day_and_equal_hashes_mean_equal_rooms() {
    let setup = setup().only(&[Dataset::Room]);
    let app = start(setup.knobs(|knobs| knobs.rooms_change = true));
    let company = app.server().company();
    let mut asked = Vec::new();
    for _ in 0..4 {
        let now = app.setup.options.clock.now();
        let local = now.to_zoned(crate::app::zone()).datetime().to_string();
        assert_eq!(run_at(&app, &["run"], &local).code, 0);
        asked.push(company.date_of(now));
        app.setup.options.clock.advance(Duration::from_secs(86_400));
    }
    let rows = lake::rows(&app.lake(), Dataset::Room);
    let of_day = |day: Date| -> BTreeMap<String, &lake::Row> {
        let of_day = rows.iter().filter(|row| row["dt"] == day.to_string());
        of_day
            .map(|row| (row["room_id"].to_string(), row))
            .collect()
    };
    let mut changes = 0;
    for pair in asked.windows(2) {
        let (before, after) = (of_day(pair[0]), of_day(pair[1]));
        let truth = |day: Date| -> BTreeMap<String, Arc<Room>> {
            let rooms = company.rooms_on(day).into_iter();
            rooms
                .map(|room| (format!("{:?}", room.room_id), room))
                .collect()
        };
        let (was, is) = (truth(pair[0]), truth(pair[1]));
        assert!(after.keys().eq(is.keys()), "{}", pair[1]);
        for (id, room) in &is {
            let Some(earlier) = was.get(id) else { continue };
            let hash = |rows: &BTreeMap<String, &lake::Row>| rows[id]["attributes_hash"].clone();
            assert_eq!(hash(&before) == hash(&after), earlier == room, "{id}");
            changes += u32::from(earlier != room);
        }
        changes += u32::from(!before.keys().eq(after.keys()));
    }
    assert!(changes > 0, "the company never changed");
}

#[test]
fn a_list_that_changes_while_it_is_read_is_read_again() {
    let setup = setup().knobs(|knobs| knobs.rooms_move = 1);
    let app = start(setup);
    let now = app.setup.options.clock.now();
    let summary = app.reconcile_scope(&Scope::Due);
    assert!(summary.is_settled(), "{summary:?}");
    // Four pages and the first one again, which differs; then all of it once more.
    assert_eq!(calls(&app, "rooms"), 11);
    assert_true(&app, now);
}

#[test]
fn a_list_that_never_holds_still_is_not_published() {
    let setup = setup().knobs(|knobs| knobs.rooms_move = u32::MAX);
    let app = start(setup);
    let summary = app.reconcile_scope(&Scope::Due);
    assert!(!summary.is_settled());
    assert_eq!(days(&app, Dataset::Room), [""; 0]);
    assert_eq!(
        days(&app, Dataset::RoomLevel).len(),
        1,
        "the levels are there"
    );
    // Five attempts, of two readings each.
    assert_eq!(calls(&app, "rooms"), 50);
}

#[test]
fn a_page_that_fails_costs_the_whole_snapshot_and_no_day_is_made_from_another() {
    let app = start(setup());
    app.set_faults(&["html-200@rooms:1"]);
    let failed = run_at(&app, &["run"], "2026-10-20T06:00");
    assert_ne!(failed.code, 0, "{failed:?}");
    assert_eq!(days(&app, Dataset::Room), [""; 0]);
    app.set_faults(&[]);

    // Past midnight, before the job fires: the day is gone, and the next one is not due.
    let past = run_at(&app, &["run", "--json"], "2026-10-21T00:10");
    assert_eq!(days(&app, Dataset::Room), [""; 0]);
    assert!(past.stdout.contains("\"lost\""), "{past:?}");
    // The 21st and 22nd pass without a run.
    let later = run_at(&app, &["run"], "2026-10-23T08:00");
    assert_eq!(days(&app, Dataset::Room), ["2026-10-23"]);
    let lost = "lost: room: 2 windows in [2026-10-20T16:00:00Z, 2026-10-22T16:00:00Z)";
    assert!(later.stdout.contains(lost), "{later:?}");
    assert_eq!(days(&app, Dataset::RoomLevel), ["2026-10-20", "2026-10-23"]);
    assert_eq!(run_at(&app, &["run"], "2026-10-23T09:00").code, 0);
    let hash_of = |day: &str| {
        let rows = lake::rows(&app.lake(), Dataset::RoomLevel);
        let of_day = rows.into_iter().filter(|row| row["dt"] == day);
        of_day
            .map(|row| row["attributes_hash"].to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        hash_of("2026-10-20"),
        hash_of("2026-10-23"),
        "nothing changed in between"
    );
}

#[test]
fn what_was_fetched_on_its_day_is_published_after_midnight_without_a_call() {
    let app = start(setup().only(&[Dataset::Room]));
    let mut command = app.command(&["run"]);
    // Slow, so that midnight is far even on a machine under load.
    at(&mut command, "2026-10-20T23:30", 10.0);
    let killed = command
        .env("FAILPOINTS", "w07-fetched=return")
        .output()
        .expect("it ran");
    assert_eq!(killed.status.code(), None, "{killed:?}");
    let before = calls(&app, "rooms");
    let after = run_at(&app, &["run"], "2026-10-21T00:10");
    assert_eq!(after.code, 0, "{after:?}");
    assert_eq!(days(&app, Dataset::Room), ["2026-10-20"]);
    assert_eq!(calls(&app, "rooms"), before);
    let rows = lake::rows(&app.lake(), Dataset::Room);
    assert!(rows.iter().all(|row| row["snapshot_date"] == "2026-10-20"));
    assert_eq!(rows.len(), app.server().company().rooms().len());
}

#[test]
fn a_listing_that_was_cut_off_begins_anew_and_leaves_no_half() {
    let app = start(setup());
    let local = "2026-10-20T06:00";
    for page in 0..8 {
        let mut command = app.command(&["run"]);
        at(&mut command, local, SPEED);
        let failpoint = format!("w05-page-listed={page}*off->return");
        let ended = command
            .env("FAILPOINTS", failpoint)
            .output()
            .expect("it ran");
        if ended.status.success() {
            break;
        }
        assert_eq!(ended.status.code(), None, "{ended:?}");
    }
    let last = run_at(&app, &["run"], local);
    assert_eq!(last.code, 0, "{last:?}");
    let now: Timestamp = "2026-10-20T06:00+08:00".parse().expect("an instant");
    assert_true(&app, now + SignedDuration::from_secs(1));
    let originals = originals(&app);
    assert_eq!(originals.len(), SNAPSHOTS.len(), "one original a dataset");
}

#[test]
fn a_backfill_of_a_snapshot_is_refused_with_the_reason() {
    let app = start(setup());
    let range = ["--from", "2026-10-01", "--to", "2026-10-05"];
    let named = app.meetlake(&[&["backfill", "--dataset", "room"], &range[..]].concat());
    assert_eq!(named.code, 2, "{named:?}");
    assert!(named.stderr.contains("the API has no history"), "{named:?}");
    let planned = app.meetlake(&[&["plan"], &range[..]].concat());
    assert!(
        planned.stdout.contains("the API has no history"),
        "{planned:?}"
    );
    let all = app.meetlake(&[&["backfill"], &range[..]].concat());
    assert_eq!(all.code, 0, "{all:?}");
    assert!(
        all.stderr.contains("leaves out room, room_level"),
        "{all:?}"
    );
    assert_eq!(app.calls(), 0);
}

#[test]
fn keys_without_a_meaning_for_a_snapshot_are_refused() {
    let app = start(setup());
    let job = "version = 1\ndataset = \"room\"\ncron = \"0 5 * * *\"\nlookback = \"3d\"\n\
               settle_delay = \"1h\"\ntime_zone = \"Europe/Berlin\"\n";
    app.write("jobs/room.toml", job);
    let output = app.meetlake(&["validate"]);
    assert_eq!(output.code, 2, "{output:?}");
    for key in ["lookback", "settle_delay", "time_zone"] {
        assert!(output.text().contains(&format!("`{key}`")) || output.text().contains(key));
    }
    assert!(output.text().contains("3 problems"), "{output:?}");
}

#[test]
fn reservations_list_rooms_with_the_same_fetch() {
    let setup = Setup::fast().only(&[Dataset::ResourceReservationList]);
    let setup = setup.knobs(|knobs| {
        (knobs.page_size, knobs.rooms_move) = (PAGE, 1);
    });
    let app = setup.start();
    let summary = app.reconcile();
    assert!(summary.is_settled(), "{summary:?}");
    assert_eq!(
        calls(&app, "rooms"),
        11,
        "the list changed, so it was read again"
    );
    let differences = Truth::of(app.server().company(), app.setup.options.clock.now())
        .differences_of(&app.lake(), Dataset::ResourceReservationList);
    assert!(differences.is_empty(), "{differences:#?}");
}
