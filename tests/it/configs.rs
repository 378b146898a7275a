//! Configurations of rooms and levels, and reservations: what is asked for one by one, each week or on demand.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::{Date, Weekday};
use meetlake::testing::dataset::Dataset;
use meetlake::testing::run::Scope;
use serde_json::Value;

use crate::app::{Output, SPEED, Setup, TestApp};
use crate::lake;
use crate::truth::Truth;

const CONFIGS: [Dataset; 2] = [Dataset::RoomConfig, Dataset::ReserveConfig];
/// 12 levels and 16 rooms.
const NODES: u64 = 28;

/// Starts with jobs that fire at five in the morning of these days of the week.
fn start(setup: Setup, days: &str) -> TestApp {
    let app = setup.start();
    for dataset in app.setup.datasets.clone() {
        write_job(&app, dataset, &format!("cron = \"0 5 * * {days}\"\n"));
    }
    app
}

fn write_job(app: &TestApp, dataset: Dataset, lines: &str) {
    let mut job = format!("version = 1\ndataset = \"{dataset}\"\n{lines}");
    if dataset == Dataset::Reserve {
        job.push_str(&app.write_ids("reserves.txt", app.server()));
    }
    app.write(&format!("jobs/{dataset}.toml"), &job);
}

fn run_at(app: &TestApp, args: &[&str], local: &str) -> Output {
    let at: Timestamp = format!("{local}+08:00").parse().expect("an instant");
    let mut command = app.command(args);
    command.env("MEETLAKE_TEST_CLOCK", format!("{at}@{SPEED}"));
    crate::app::finish(&mut command)
}

fn calls(app: &TestApp, endpoint: &str) -> u64 {
    let endpoints = app.report().endpoints;
    endpoints.get(endpoint).map_or(0, |of| of.calls)
}

fn differences(app: &TestApp, now: Timestamp) -> Vec<String> {
    let truth = Truth::of(app.server().company(), now);
    let of = |dataset: &Dataset| truth.differences_of(&app.lake(), *dataset);
    app.setup.datasets.iter().flat_map(of).collect()
}

fn published(app: &TestApp, dataset: Dataset) -> usize {
    lake::files(&app.lake(), dataset).len()
}

#[test]
fn every_node_s_configuration_is_the_company_s_and_stays_so() {
    let setup = Setup::fast()
        .only(&CONFIGS)
        .knobs(|knobs| knobs.page_size = 5);
    let app = start(setup, "*");
    let now = app.setup.options.clock.now();
    let summary = app.reconcile_scope(&Scope::Due);
    assert!(summary.is_settled(), "{summary:?}");
    let found = differences(&app, now);
    assert!(found.is_empty(), "{found:#?}");
    for endpoint in [
        "scope_config",
        "reserve_scope",
        "reserve_form",
        "reserve_admin",
        "reserve_disable_inform",
    ] {
        assert_eq!(calls(&app, endpoint), NODES, "{endpoint}");
    }
    // Four pages, and the first and the last one again, each time.
    assert_eq!(calls(&app, "rooms"), 12);

    // Where the pictures are is told, and is no part of the hash.
    let company = app.server().company();
    let nodes = company.config_nodes(company.date_of(now));
    let rows = lake::rows(&app.lake(), Dataset::RoomConfig);
    for node in &nodes {
        let of_node =
            |row: &&lake::Row| row["scope_id"] == node.id() && row["is_effective"] == true;
        let row = rows.iter().find(of_node).expect("a row");
        let config = company.effective_config(node);
        let url = row["room_background_url"]
            .as_str()
            .expect("the tenant has one");
        assert!(
            url.contains(&config.background.expect("the tenant has one")),
            "{url}"
        );
        let materials = config.signage.map_or(0, |signage| signage.materials.len());
        let urls = row["signage_material_urls"].as_array();
        assert_eq!(urls.map_or(0, Vec::len), materials);
    }
    let extra = |dataset| {
        lake::rows(&app.lake(), dataset)
            .into_iter()
            .filter(|row| !row["_extra"].is_null())
            .count()
    };
    assert_eq!(CONFIGS.map(extra), [0, 0]);

    let before = (app.calls(), app.content_hashes());
    let again = app.reconcile_scope(&Scope::Due);
    assert!(again.is_settled() && again.datasets.is_empty(), "{again:?}");
    assert_eq!(app.meetlake(&["verify"]).code, 0);
    let today = now.to_zoned(crate::app::zone()).date();
    let (from, to) = (
        today.to_string(),
        today.tomorrow().expect("a day").to_string(),
    );
    assert_eq!(
        app.meetlake(&["replay", "--from", &from, "--to", &to]).code,
        0
    );
    fs::remove_file(app.path("meetlake.db")).expect("a lost ledger");
    assert_eq!(app.meetlake(&["ledger", "rebuild"]).code, 0);
    let after = app.reconcile_scope(&Scope::Due);
    assert!(after.is_settled(), "{after:?}");
    assert_eq!(
        (app.calls(), app.content_hashes()),
        before,
        "nobody was asked again"
    );
}

#[test]
fn what_one_node_or_the_edition_does_not_tell_is_named() {
    let setup = Setup::fast().only(&[Dataset::ReserveConfig]);
    let app = start(
        setup.knobs(|knobs| {
            knobs.admins_offered = false;
            knobs.notices_withheld = 2;
            knobs.rooms_vanish = 3;
        }),
        "*",
    );
    let summary = app.reconcile_scope(&Scope::Due);
    assert!(summary.is_settled(), "{summary:?}");
    // The edition is asked for once, and what is gone is asked for nothing more.
    assert_eq!(calls(&app, "reserve_admin"), 1);
    assert_eq!(calls(&app, "reserve_scope"), NODES);
    assert_eq!(calls(&app, "reserve_form"), NODES - 3);
    let rows = lake::rows(&app.lake(), Dataset::ReserveConfig);
    let rooms = app.server().company().rooms();
    assert_eq!(
        rows.len() as u64,
        NODES - 3,
        "a room that is gone has no row"
    );
    for row in &rows {
        let withheld = rooms
            .iter()
            .take(2)
            .any(|room| row["scope_id"] == *room.room_id);
        let missing = match withheld {
            true => serde_json::json!(["admin", "disable_inform"]),
            false => serde_json::json!(["admin"]),
        };
        assert_eq!(row["missing_parts"], missing);
        assert!(row["admin_user_ids"].is_null());
        assert_eq!(row["is_inform_enabled"].is_null(), withheld);
    }
}

#[test]
fn a_part_that_is_refused_for_every_node_is_no_snapshot() {
    let setup = Setup::fast().only(&CONFIGS);
    let app = start(
        setup.knobs(|knobs| {
            knobs.rooms_vanish = usize::MAX;
        }),
        "*",
    );
    let summary = app.reconcile_scope(&Scope::Due);
    assert!(!summary.is_settled());
    let errors: Vec<_> = summary
        .unsettled
        .iter()
        .filter_map(|of| of.error.clone())
        .collect();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(
        errors
            .iter()
            .all(|error| error.contains("was refused for all of 16")),
        "{errors:?}"
    );
    assert_eq!(CONFIGS.map(|dataset| published(&app, dataset)), [0, 0]);
}

#[test]
fn one_node_that_fails_for_ever_keeps_the_whole_snapshot_back_and_is_named() {
    let setup = Setup::fast().only(&[Dataset::RoomConfig]);
    let app = start(setup, "*");
    app.set_faults(&["html-200@scope_config:#20+"]);
    let failed = run_at(&app, &["run"], "2026-10-20T06:00");
    assert_ne!(failed.code, 0);
    assert_eq!(published(&app, Dataset::RoomConfig), 0);
    // The last attempt does not come further than the first node.
    let level = &app.server().company().room_levels()[0].room_level_id;
    let named = format!("could not get the scope config of room level {level}");
    assert!(failed.text().contains(&named), "{failed:?}");
    app.set_faults(&[]);
    let mended = run_at(&app, &["run"], "2026-10-20T08:00");
    assert_eq!(mended.code, 0, "{mended:?}");
    let now: Timestamp = "2026-10-20T08:00+08:00".parse().expect("an instant");
    assert_eq!(differences(&app, now), [""; 0]);
}

#[test]
fn rooms_that_move_while_they_are_listed_are_listed_again_before_any_is_asked_for() {
    let setup = Setup::fast().only(&[Dataset::RoomConfig]);
    let app = start(
        setup.knobs(|knobs| (knobs.page_size, knobs.rooms_move) = (5, 1)),
        "*",
    );
    let now = app.setup.options.clock.now();
    let summary = app.reconcile_scope(&Scope::Due);
    assert!(summary.is_settled(), "{summary:?}");
    assert_eq!(calls(&app, "scope_config"), NODES);
    assert_eq!(calls(&app, "rooms"), 11);
    assert_eq!(differences(&app, now), [""; 0]);
}

/// The days of a week on which nothing fires are no holes, and what a week's hash says holds.
#[test]
fn a_weekly_snapshot_has_no_holes_and_its_hash_tells_what_changed() {
    let app = start(Setup::fast().only(&CONFIGS), "0");
    // A job that never ran takes its first snapshot at once; then it waits for Sundays.
    for (local, days, outcome) in [
        ("2026-10-20T09:00", 1, 0),
        ("2026-10-21T09:00", 1, 0),
        ("2026-10-25T06:00", 2, 0),
        ("2026-10-27T06:00", 2, 0),
        ("2026-11-01T06:00", 3, 0),
    ] {
        let run = run_at(&app, &["run"], local);
        assert_eq!(run.code, outcome, "{local}: {run:?}");
        for dataset in CONFIGS {
            assert_eq!(published(&app, dataset), days, "{local} {dataset}");
        }
        let status = run_at(&app, &["status", "--json"], local);
        assert_eq!(status.code, 0, "{status:?}");
        // `status` lives in the present, weeks later: it misses Sundays, and no other day.
        let days = status.json()["days"].as_array().cloned().expect("days");
        let dates = days
            .iter()
            .filter_map(|day| day["dt"].as_str()?.parse::<Date>().ok());
        let dates: Vec<Date> = dates.collect();
        assert!(dates.len() >= 2);
        let is_expected = |date: &Date| {
            date.weekday() == Weekday::Sunday || *date == Date::constant(2026, 10, 20)
        };
        assert!(dates.iter().all(is_expected), "{dates:?}");
        app.setup.options.clock.advance(Duration::from_secs(86_400));
    }
    let hashes = |dataset| {
        let mut by_node: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for row in lake::rows(&app.lake(), dataset) {
            let node = format!(
                "{}{}",
                row["scope_id"],
                row.get("is_effective").unwrap_or(&Value::Null)
            );
            by_node
                .entry(node)
                .or_default()
                .push(row["attributes_hash"].to_string());
        }
        by_node
    };
    for dataset in CONFIGS {
        for (node, of_node) in hashes(dataset) {
            assert_eq!(of_node.len(), 3, "{node}");
            assert!(
                of_node.windows(2).all(|pair| pair[0] == pair[1]),
                "{node} did not change"
            );
        }
    }
    // A Sunday without a run is lost, and the days around it are not.
    let later = run_at(&app, &["run"], "2026-11-10T06:00");
    assert!(
        later.stdout.contains("lost: room_config: 1 window in"),
        "{later:?}"
    );
}

#[test]
fn a_listing_of_nodes_that_was_cut_off_begins_anew() {
    let app = start(Setup::fast().only(&[Dataset::RoomConfig]), "*");
    let local = "2026-10-20T06:00";
    for pages in [0, 3, 12, 30] {
        let mut command = app.command(&["run"]);
        let at: Timestamp = format!("{local}+08:00").parse().expect("an instant");
        command.env("MEETLAKE_TEST_CLOCK", format!("{at}@{SPEED}"));
        let failpoint = format!("w05-page-listed={pages}*off->return");
        let ended = command
            .env("FAILPOINTS", failpoint)
            .output()
            .expect("it ran");
        assert_eq!(ended.status.code(), None, "{pages}: {ended:?}");
        assert_eq!(published(&app, Dataset::RoomConfig), 0);
    }
    let last = run_at(&app, &["run"], local);
    assert_eq!(last.code, 0, "{last:?}");
    let now: Timestamp = format!("{local}+08:00").parse().expect("an instant");
    assert_eq!(differences(&app, now), [""; 0]);
}

#[test]
fn jobs_that_are_off_ask_for_nothing_and_are_shown_with_what_they_would_cost() {
    let datasets = [
        Dataset::Room,
        Dataset::RoomLevel,
        Dataset::RoomConfig,
        Dataset::ReserveConfig,
    ];
    let app = start(Setup::fast().only(&datasets), "*");
    for dataset in CONFIGS {
        write_job(&app, dataset, "enabled = false\ncron = \"0 5 * * 0\"\n");
    }
    let before = run_at(&app, &["plan"], "2026-10-20T06:00");
    assert!(
        before
            .stdout
            .contains("room_config: off; its file says enabled = false"),
        "{before:?}"
    );
    assert_eq!(run_at(&app, &["run"], "2026-10-20T06:00").code, 0);
    assert_eq!(CONFIGS.map(|dataset| published(&app, dataset)), [0, 0]);
    assert_eq!(
        calls(&app, "scope_config") + calls(&app, "reserve_scope"),
        0
    );
    // Each room and each level, and the lists that name them.
    let plan = run_at(&app, &["plan"], "2026-10-20T07:00");
    for (job, least) in [("room_config", NODES), ("reserve_config", 4 * NODES)] {
        let line = plan
            .stdout
            .lines()
            .find(|line| line.starts_with(&format!("{job}: off")));
        let line = line.expect("it is told");
        let (_, told) = line.split_once("about ").expect("a cost");
        let told: u64 = told
            .split(' ')
            .next()
            .and_then(|told| told.replace(',', "").parse().ok())
            .expect("a number");
        assert!((least + 1..least + 30).contains(&told), "{line}");
    }
    let status = run_at(&app, &["status"], "2026-10-20T07:00");
    assert!(status.stdout.contains("reserve_config: off"), "{status:?}");
    let told = run_at(&app, &["status", "--json"], "2026-10-20T07:00").json();
    assert_eq!(
        told["jobs_off"],
        serde_json::json!(["reserve_config", "room_config"])
    );
    let valid = app.meetlake(&["validate"]);
    assert!(valid.stdout.contains("room_config: off"), "{valid:?}");
}

#[test]
fn a_plan_counts_a_call_for_each_node() {
    let setup = Setup::fast().only(&[
        Dataset::Room,
        Dataset::RoomLevel,
        Dataset::RoomConfig,
        Dataset::ReserveConfig,
    ]);
    let app = start(setup, "*");
    let unknown = run_at(&app, &["plan", "--json"], "2026-10-20T06:00").json();
    let not_known = &unknown["tenants"][0]["month"]["not_known"];
    assert_eq!(
        *not_known,
        serde_json::json!(["room_config", "reserve_config"])
    );
    assert_eq!(run_at(&app, &["run"], "2026-10-20T06:00").code, 0);
    let plan = run_at(&app, &["plan", "--json"], "2026-10-21T06:00").json();
    let endpoints = plan["tenants"][0]["cost"]["endpoints"]
        .as_array()
        .cloned()
        .expect("endpoints");
    let calls_of = |path: &str| {
        let of = endpoints
            .iter()
            .find(|of| of["endpoint"] == format!("GET {path}"));
        of.map_or(0, |of| of["calls"].as_u64().expect("a number"))
    };
    assert_eq!(calls_of("scope_config"), NODES);
    assert_eq!(calls_of("reserve_configs/:scope_id/form"), NODES);
    // For the rooms themselves, and for each of the two.
    assert_eq!(calls_of("rooms"), 3);
}

#[test]
fn a_backfill_of_configurations_is_refused_with_the_reason() {
    let app = start(Setup::fast().only(&CONFIGS), "0");
    let range = ["--from", "2026-10-01", "--to", "2026-10-05"];
    let named = app.meetlake(&[&["backfill", "--dataset", "reserve_config"], &range[..]].concat());
    assert_eq!(named.code, 2, "{named:?}");
    assert!(named.stderr.contains("the API has no history"), "{named:?}");
    assert_eq!(app.calls(), 0);
}

#[test]
fn reservations_are_those_that_the_job_names_and_their_passwords_are_nowhere() {
    let app = start(Setup::fast().only(&[Dataset::Reserve]), "*");
    let reserves = app.server().company().reserves();
    let ids: Vec<&str> = reserves.iter().map(|of| of.reserve_id.as_str()).collect();
    app.write(
        "jobs/reserves.txt",
        &format!(
            "# mine\n{}\n6900000000000000007 # long gone\n",
            ids.join("\n")
        ),
    );
    let run = run_at(&app, &["run", "--json"], "2026-10-20T06:00");
    assert_eq!(run.code, 0, "{run:?}");
    let now: Timestamp = "2026-10-20T06:00+08:00".parse().expect("an instant");
    assert_eq!(differences(&app, now), [""; 0]);
    // The one that is gone brought no row, and is counted.
    let counts = &run.json()["tenants"][0]["datasets"]["reserve"];
    assert_eq!(
        (counts["finished"].as_u64(), counts["empty"].as_u64()),
        (Some(5), Some(1)),
        "{run:?}"
    );
    // The expired one is not asked for its meeting.
    assert_eq!(
        (calls(&app, "get_reserve"), calls(&app, "active_meeting")),
        (5, 3)
    );
    let mut secrets: Vec<String> = reserves.iter().map(|of| of.password.clone()).collect();
    secrets.extend(reserves.iter().map(|of| of.settings_password.clone()));
    let places = lake::below(&app.path(""));
    assert!(places.len() > 5, "{places:?}");
    let rows = lake::rows(&app.lake(), Dataset::Reserve);
    let told = format!("{rows:?}{}", run.text());
    for secret in &secrets {
        assert!(!told.contains(secret.as_str()));
        for place in &places {
            let bytes = fs::read(place).expect("a file");
            let found = unpacked(&bytes)
                .iter()
                .any(|bytes| contains(bytes, secret.as_bytes()));
            assert!(!found, "a password is in {}", place.display());
        }
    }
    // The check finds one that is there.
    assert!(contains(
        format!("x{}y", secrets[0]).as_bytes(),
        secrets[0].as_bytes()
    ));
    let topic = reserves[0].topic.as_bytes();
    let has_topic = |place: &std::path::PathBuf| {
        let bytes = fs::read(place).expect("a file");
        unpacked(&bytes).iter().any(|bytes| contains(bytes, topic))
    };
    assert!(places.iter().any(has_topic), "the archive is looked into");
    // One that is refused takes no other with it.
    app.set_faults(&["html-200@active_meeting"]);
    app.setup.options.clock.advance(Duration::from_secs(86_400));
    let next = run_at(&app, &["run"], "2026-10-21T06:00");
    assert_ne!(next.code, 0, "{next:?}");
    assert!(
        next.text().contains("reserve active meeting of "),
        "{next:?}"
    );
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

/// The bytes, and those of every file of a zip in them.
fn unpacked(bytes: &[u8]) -> Vec<Vec<u8>> {
    use std::io::Read as _;
    let mut all = vec![bytes.to_vec()];
    if let Ok(mut zip) = zip::ZipArchive::new(std::io::Cursor::new(bytes)) {
        for index in 0..zip.len() {
            let mut inner = Vec::new();
            let mut file = zip.by_index(index).expect("a file");
            file.read_to_end(&mut inner).expect("its bytes");
            all.extend(unpacked(&inner));
        }
    }
    all
}

#[test]
fn a_job_of_reservations_needs_its_ids() {
    let app = start(Setup::fast().only(&[Dataset::Reserve]), "*");
    app.write("jobs/reserves.txt", "7\n8 9\n");
    let bad = app.meetlake(&["validate"]);
    assert_eq!(bad.code, 2);
    assert!(bad.text().contains("has no id in line 2"), "{bad:?}");
    fs::remove_file(app.path("jobs/reserves.txt")).expect("it was there");
    let missing = app.meetlake(&["validate"]);
    assert!(
        missing.text().contains("`ids_file` `reserves.txt`"),
        "{missing:?}"
    );
    write_job(
        &app,
        Dataset::Reserve,
        "enabled = false\ncron = \"0 5 * * *\"\n",
    );
    fs::remove_file(app.path("jobs/reserves.txt")).expect("it was there");
    app.write(
        "jobs/room.toml",
        "version = 1\ndataset = \"room\"\ncron = \"0 5 * * *\"\n",
    );
    let off = app.meetlake(&["validate"]);
    assert_eq!(off.code, 0, "{off:?}");
}

/// The month's calls are scarce where an edition is small. What a lake is kept for goes on.
#[test]
fn a_month_without_calls_stops_what_is_optional_first() {
    let datasets = [
        Dataset::DailyReport,
        Dataset::MeetingList,
        Dataset::Room,
        Dataset::RoomConfig,
        Dataset::Alert,
    ];
    let app = Setup::fast().only(&datasets).start();
    app.set_faults(&[
        "quota@scope_config",
        "quota@room_levels",
        "quota@rooms",
        "quota@alerts",
    ]);
    let summary = app.reconcile_scope(&Scope::Due);
    assert_eq!(summary.stop_cause, None, "{summary:?}");
    let blocked: Vec<Dataset> = summary.blocked.keys().copied().collect();
    assert_eq!(
        blocked,
        [Dataset::Room, Dataset::RoomConfig, Dataset::Alert]
    );
    for failure in summary.blocked.values() {
        let renews = "the quota renews on 2026-11-01";
        assert!(failure.message.contains(renews), "{failure:?}");
    }
    assert_eq!(
        [Dataset::Room, Dataset::Alert].map(|of| published(&app, of)),
        [0, 0]
    );
    for kept in [Dataset::DailyReport, Dataset::MeetingList] {
        assert!(published(&app, kept) > 0, "{kept}");
    }
    // One call was enough to know it, but for those that were under way beside it.
    let asked = calls(&app, "rooms") + calls(&app, "alerts") + calls(&app, "room_levels");
    assert!(asked <= 6, "{asked}");

    // Without a call for exports either, the run ends, and says so.
    let app = Setup::fast().only(&datasets).start();
    app.set_faults(&["quota"]);
    let summary = app.reconcile_scope(&Scope::Due);
    let stopped = summary.stop_cause.as_ref().expect("it was stopped");
    assert!(
        stopped.message.contains("the quota renews on 2026-11-01"),
        "{stopped:?}"
    );
    assert_eq!(summary.exit().number(), 5);
}

/// A missed day ends nothing, and a room that a snapshot lacks ended by then.
#[test]
fn the_documented_view_says_since_when_and_until_when_each_room_was_as_it_is() {
    let Some(python) = std::env::var_os("MEETLAKE_TEST_PYTHON") else {
        println!("skipped: MEETLAKE_TEST_PYTHON is not set; tests/run sets it");
        return;
    };
    let setup = Setup::fast().only(&[Dataset::Room, Dataset::RoomConfig, Dataset::ReserveConfig]);
    let app = start(setup.knobs(|knobs| knobs.rooms_change = true), "*");
    let company = app.server().company();
    let mut snapshots: Vec<Date> = Vec::new();
    for day in 0..8 {
        let now = app.setup.options.clock.now();
        // On the fourth day nothing runs.
        if day != 3 {
            let local = now.to_zoned(crate::app::zone()).datetime().to_string();
            let run = run_at(&app, &["run"], &local);
            assert!([0, 3].contains(&run.code), "a lost day is told: {run:?}");
            snapshots.push(company.date_of(now));
        }
        app.setup.options.clock.advance(Duration::from_secs(86_400));
    }
    assert_eq!(published(&app, Dataset::Room), 7);
    let mut expected: Vec<String> = Vec::new();
    let of_day = |date: &Date| company.rooms_on(*date);
    for (place, date) in snapshots.iter().enumerate() {
        let before = place
            .checked_sub(1)
            .map(|before| of_day(&snapshots[before]));
        for room in of_day(date) {
            if before.as_ref().is_some_and(|before| before.contains(&room)) {
                continue;
            }
            let ends = snapshots[place..]
                .iter()
                .find(|later| !of_day(later).contains(&room));
            let ends = ends.map_or("None".to_owned(), Date::to_string);
            expected.push(format!("{} {date} {ends}", room.room_id));
        }
    }
    expected.sort();
    assert!(
        expected.iter().any(|line| !line.ends_with("None")),
        "something ended"
    );

    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/rooms.md"));
    let page = page.expect("the page is there");
    let (_, sql) = page.split_once("```sql\n").expect("a view");
    let (sql, _) = sql.split_once("```").expect("its end");
    let lake = app.lake().display().to_string();
    let sql = sql.replace("'lake/", &format!("'{lake}/"));
    let script = "import duckdb, sys\nc = duckdb.connect()\nc.execute(sys.argv[1])\n\
                  for r in c.execute('SELECT room_id, valid_from, valid_to FROM room_validity').fetchall():\n    print(*r)\n";
    let rows = |sql: &str, script: &str| {
        let output = std::process::Command::new(&python)
            .args(["-c", script, sql])
            .output();
        let output = output.expect("python starts");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let mut found: Vec<String> = String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(str::to_owned)
            .collect();
        found.sort();
        found
    };
    assert_eq!(rows(&sql, script), expected);
    // As the page says for the others.
    for (dataset, ids) in [
        ("room_config", "scope_type, scope_id, is_effective"),
        ("reserve_config", "scope_type, scope_id"),
    ] {
        let sql = sql
            .replace("room_id", ids)
            .replace("/room/", &format!("/{dataset}/"));
        let spells = rows(&sql, &script.replace("room_id", ids));
        assert!(spells.len() >= 28, "{dataset}: {spells:#?}");
        let once: std::collections::BTreeSet<&String> = spells.iter().collect();
        assert_eq!(once.len(), spells.len(), "{dataset}");
    }
}
