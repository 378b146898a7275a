//! Which lake it is, under which key its ids are hashed, and to which ledger it belongs. And that
//! nothing in its records tells of a person.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use meetlake::testing::dataset::Dataset;
use serde_json::json;
use sqlx::Connection as _;

use crate::app::{KEY_FILE, Setup, TENANT, TestApp, snapshot};
use crate::lake::{self, below, read_json};

const FAMILY: [Dataset; 3] = [
    Dataset::MeetingList,
    Dataset::ParticipantList,
    Dataset::ParticipantQualityList,
];

impl TestApp {
    fn move_ledger_away(&self) {
        for name in ["meetlake.db", "meetlake.db-wal", "meetlake.db-shm"] {
            let _ = fs::remove_file(self.path(name));
        }
        let _ = fs::remove_dir_all(self.path("spool"));
    }

    /// Takes away what the ledger got with format 6, and whatever `more` says, as an earlier meetlake left it.
    fn ledger_of_format_5(&self, more: &'static str) {
        let url = format!("sqlite://{}", self.path("meetlake.db").display());
        self.block_on(async {
            sqlx::any::install_default_drivers();
            let connection = sqlx::AnyConnection::connect(&url).await;
            let mut connection = connection.expect("the ledger opens");
            for statement in [
                "DROP INDEX IF EXISTS window_open; DROP INDEX IF EXISTS partition_partial; \
                 UPDATE meta SET value = '5' WHERE name = 'format'",
                more,
            ] {
                let done = sqlx::raw_sql(statement).execute(&mut connection).await;
                done.expect("changed");
            }
            connection.close().await.expect("closed");
        });
    }

    fn ledger_format(&self) -> Option<String> {
        self.with_ledger(async |ledger| ledger.meta("format").await.expect("read"))
    }

    /// Values of a column of all objects of a dataset, with how often each occurs.
    fn column(&self, dataset: Dataset, name: &str) -> Vec<String> {
        let rows = lake::rows(&self.lake(), dataset).into_iter();
        rows.map(|row| format!("{:?}", row[name])).collect()
    }
}

fn distinct(values: &[String]) -> BTreeSet<&String> {
    values.iter().collect()
}

#[test]
fn a_lake_knows_itself_its_key_and_its_tenants() {
    let app = Setup::fast().only(&[Dataset::MeetingList]).start();
    fs::remove_file(app.path(KEY_FILE)).expect("removed");
    assert!(app.reconcile().is_settled());
    let key = fs::read_to_string(app.path(KEY_FILE)).expect("made on first use");
    let mode = fs::metadata(app.path(KEY_FILE))
        .expect("there")
        .permissions()
        .mode();
    assert_eq!((key.trim().len(), mode & 0o777), (64, 0o600));
    let record = read_json(&app.lake().join("_meetlake/lake.json"));
    assert_eq!(record["format"], json!(2));
    for name in ["lake_id", "ledger_id"] {
        assert_eq!(record[name].as_str().map(str::len), Some(32), "{record}");
    }
    let manifest = read_json(&app.newest_manifest(Dataset::MeetingList));
    assert_eq!(manifest["key_id"], record["key"]["id"]);
    let tenant = read_json(&app.lake().join(format!("_meetlake/tenant={TENANT}.json")));
    assert_eq!(tenant["time_zone"], json!("Asia/Shanghai"));
    let first = app.first_day().to_zoned(crate::app::zone()).expect("a day");
    assert_eq!(tenant["first_instant"], json!(first.timestamp()));
    let mut searched = 0;
    for path in below(&app.path("")) {
        // A ledger that was closed takes its last files away a little later.
        let Ok(bytes) = fs::read(&path) else {
            continue;
        };
        searched += 1;
        let holds_key = bytes.windows(64).any(|part| part == key.trim().as_bytes());
        assert_eq!(holds_key, path.ends_with(KEY_FILE), "{}", path.display());
    }
    assert!(searched > 10, "{searched} files");
}

#[test]
fn keys_join_meetings_participants_and_quality() {
    let app = Setup::fast().start();
    assert!(app.reconcile().is_settled());
    let meetings = app.column(Dataset::MeetingList, "meeting_key");
    assert_eq!(distinct(&meetings).len(), meetings.len());
    let stays = app.column(Dataset::ParticipantList, "participation_key");
    assert_eq!(distinct(&stays).len(), stays.len());
    for (dataset, name, known) in [
        (Dataset::ParticipantList, "meeting_key", &meetings),
        (Dataset::ParticipantQualityList, "meeting_key", &meetings),
        (Dataset::ParticipantQualityList, "participation_key", &stays),
    ] {
        let values = app.column(dataset, name);
        assert!(!values.is_empty());
        assert!(
            distinct(&values).is_subset(&distinct(known)),
            "{dataset}.{name}"
        );
    }
    let bookings = app.column(Dataset::ResourceReservationList, "booking_key");
    assert_eq!(distinct(&bookings).len(), bookings.len());
}

#[test]
fn a_key_that_is_lost_or_another_is_refused_and_named() {
    let app = Setup::real().only(&[Dataset::MeetingList]).start();
    assert_eq!(app.meetlake(&["run"]).code, 0);
    let before = snapshot(&app.lake());
    let key = fs::read_to_string(app.path(KEY_FILE)).expect("a key");
    let refused = |digits: Option<&str>, said: &[&str]| {
        fs::remove_file(app.path(KEY_FILE)).expect("removed");
        if let Some(digits) = digits {
            app.write_key(digits);
        }
        for verb in [&["run"][..], &["plan"], &["replay"], &["ledger", "rebuild"]] {
            let output = app.meetlake(verb);
            assert_eq!(output.code, 2, "{verb:?}: {output:?}");
            for said in said {
                assert!(output.stderr.contains(said), "{verb:?}: {output:?}");
            }
        }
        app.write_key(&key);
    };
    refused(None, &["is not at", "lake.key", "ledger rebuild --new-key"]);
    refused(
        Some(&"08".repeat(32)),
        &["has the key k", "set key or key_file"],
    );
    refused(Some("a password"), &["64 hex digits"]);
    // A ledger that is not empty keeps its key, whatever is asked.
    fs::remove_file(app.path(KEY_FILE)).expect("removed");
    assert_eq!(app.meetlake(&["ledger", "rebuild", "--new-key"]).code, 2);
    assert!(!app.path(KEY_FILE).exists());
    assert!(snapshot(&app.lake()) == before);
}

#[test]
fn a_ledger_is_rebuilt_under_a_new_key_and_nothing_is_exported_again() {
    let app = Setup::fast().only(&FAMILY).start();
    assert!(app.reconcile().is_settled());
    let (hashes, calls) = (app.content_hashes(), app.calls());
    let keys = app.column(Dataset::MeetingList, "meeting_key");
    app.move_ledger_away();
    fs::remove_file(app.path(KEY_FILE)).expect("removed");
    let rebuilt = app.meetlake(&["ledger", "rebuild", "--new-key", "--json"]);
    assert_eq!(
        (rebuilt.code, &rebuilt.json()["problems"]),
        (0, &json!([])),
        "{rebuilt:?}"
    );
    let key = fs::read_to_string(app.path(KEY_FILE)).expect("a new key");
    assert_ne!(key.trim(), "07".repeat(32));
    assert!(app.reconcile().is_settled());
    assert_eq!((app.content_hashes(), app.calls()), (hashes.clone(), calls));
    app.sound_and_verified();

    // One day is exported again and has less: its object is made anew from the archived originals.
    app.set_faults(&["short@meeting_list:#1"]);
    app.again();
    app.set_faults(&[]);
    assert!(app.again().is_settled());
    assert_eq!(app.content_hashes(), hashes);
    app.sound_and_verified();

    // A replay gives every row the new keys.
    assert_eq!(app.meetlake(&["replay"]).code, 0);
    let renamed = app.column(Dataset::MeetingList, "meeting_key");
    let known = distinct(&keys);
    assert!(renamed.iter().all(|key| !known.contains(key)));
    let replayed = app.meetlake(&["replay", "--json"]).json();
    let partitions = replayed["partitions"].as_array().expect("a list").len();
    assert_eq!(
        replayed["counts"]["unchanged"],
        json!(partitions),
        "{replayed}"
    );
    assert_eq!(app.content_hashes(), hashes);
    app.sound_and_verified();

    // And a ledger that is lost again is rebuilt with that key.
    app.move_ledger_away();
    let rebuilt = app.meetlake(&["ledger", "rebuild", "--json"]);
    assert_eq!(
        (rebuilt.code, &rebuilt.json()["problems"]),
        (0, &json!([])),
        "{rebuilt:?}"
    );
    let calls = app.calls();
    assert!(app.reconcile().is_settled());
    assert_eq!((app.content_hashes(), app.calls()), (hashes, calls));
}

impl TestApp {
    pub(crate) fn sound_and_verified(&self) {
        assert_eq!(lake::unsound(&self.lake()), [""; 0]);
        let verified = self.meetlake(&["verify"]);
        assert_eq!(verified.code, 0, "{verified:?}");
    }
}

#[test]
fn a_lake_whose_record_is_gone_is_no_old_lake_and_a_rebuild_makes_it_anew() {
    let app = Setup::fast().only(&FAMILY).start();
    assert!(app.reconcile().is_settled());
    let (hashes, calls) = (app.content_hashes(), app.calls());
    fs::remove_dir_all(app.lake().join("_meetlake")).expect("removed");
    for verb in [&["run"][..], &["replay"], &["ledger", "rebuild"]] {
        let output = app.meetlake(verb);
        assert_eq!(output.code, 2, "{verb:?}: {output:?}");
        assert!(output.stderr.contains("lake.json"), "{verb:?}: {output:?}");
        assert!(!output.stderr.contains("format 1"), "{verb:?}: {output:?}");
    }
    app.move_ledger_away();
    let rebuilt = app.meetlake(&["ledger", "rebuild", "--json"]);
    assert_eq!(
        (rebuilt.code, &rebuilt.json()["problems"]),
        (0, &json!([])),
        "{rebuilt:?}"
    );
    assert!(app.reconcile().is_settled());
    assert_eq!((app.content_hashes(), app.calls()), (hashes, calls));
    app.sound_and_verified();
}

#[test]
fn a_ledger_of_an_earlier_format_is_migrated_by_whoever_writes_and_nothing_is_asked_again() {
    let app = Setup::real().only(&[Dataset::MeetingList]).start();
    assert_eq!(app.meetlake(&["run"]).code, 0);
    assert_eq!(app.backfill(&[]).code, 0);
    let newest = app.ledger_format();
    let (hashes, submits) = (app.content_hashes(), app.submits());
    for verb in ["run", "backfill", "replay", "orphans"] {
        app.ledger_of_format_5("");
        // Who only reads says who migrates it, and leaves it as it is.
        for reads in ["plan", "status", "verify", "doctor", "orphans"] {
            let output = app.meetlake(&[reads]);
            assert_eq!(output.code, 2, "{reads}: {output:?}");
            let said = output.text();
            assert!(
                said.contains("`meetlake run` migrates it"),
                "{reads}: {said}"
            );
        }
        let output = match verb {
            "backfill" => app.backfill(&[]),
            "orphans" => app.meetlake(&["orphans", "--delete"]),
            verb => app.meetlake(&[verb]),
        };
        assert_eq!(output.code, 0, "{verb}: {output:?}");
        assert_eq!(app.ledger_format(), newest, "{verb}");
        assert_eq!(app.content_hashes(), hashes, "{verb}");
        assert_eq!(app.submits(), submits, "{verb}");
    }
    // A rebuild needs an empty one, and says so.
    app.ledger_of_format_5("");
    let rebuild = app.meetlake(&["ledger", "rebuild"]);
    assert!(rebuild.stderr.contains("is not empty"), "{rebuild:?}");
    app.sound_and_verified();
}

#[test]
fn a_ledger_of_an_earlier_format_is_not_migrated_for_a_lake_that_is_not_its_own() {
    let app = Setup::real().only(&[Dataset::MeetingList]).start();
    assert_eq!(app.meetlake(&["run"]).code, 0);
    let ledger = || fs::read(app.path("meetlake.db")).expect("a ledger");
    let refused = |known: &str| {
        let before = ledger();
        for verb in ["run", "replay", "plan", "status", "doctor"] {
            let output = app.meetlake(&[verb]);
            let said = output.text();
            assert_eq!(output.code, 2, "{verb}: {said}");
            for part in [known, "set [lake] url back"] {
                assert!(said.contains(part), "{verb}: {said}");
            }
        }
        assert!(ledger() == before, "it was changed");
    };
    app.ledger_of_format_5("UPDATE meta SET value = replace(value, 'lake_id\":\"', 'lake_id\":\"b') WHERE name = 'lake'");
    refused("belongs to the lake b");
    app.ledger_of_format_5("DELETE FROM meta WHERE name = 'lake'");
    refused("belongs to a lake of format 1");
}

#[test]
fn another_lake_or_zone_under_a_ledger_is_refused() {
    let app = Setup::real().only(&[Dataset::MeetingList]).start();
    assert_eq!(app.meetlake(&["run"]).code, 0);
    let config = fs::read_to_string(app.path("meetlake.toml")).expect("a configuration");
    let with = |from: &str, to: &str| {
        let changed = config.replace(from, to);
        assert_ne!(changed, config);
        app.write("meetlake.toml", &changed);
    };
    let refused = |verb: &[&str], said: &[&str]| {
        let output = app.meetlake(verb);
        assert_eq!(output.code, 2, "{verb:?}: {output:?}");
        for said in said {
            assert!(output.stderr.contains(said), "{said}: {output:?}");
        }
    };
    // An empty one.
    with("url = \"lake\"", "url = \"elsewhere\"");
    refused(
        &["run"],
        &["belongs to the lake", "is empty", "set [lake] url back"],
    );
    assert!(below(&app.path("elsewhere")).is_empty());
    // Somebody else's.
    let other = Setup::real().only(&[Dataset::MeetingList]).start();
    assert_eq!(other.meetlake(&["run"]).code, 0);
    let url = other.lake().display().to_string();
    with("url = \"lake\"", &format!("url = \"{url}\""));
    let before = snapshot(&other.lake());
    refused(&["run"], &["belongs to the lake", "move the ledger"]);
    refused(
        &["orphans", "--delete", "--older-than", "1s"],
        &["belongs to the lake"],
    );
    assert!(snapshot(&other.lake()) == before);
    // A copy is the same lake.
    let copied = std::process::Command::new("cp")
        .args(["-r", "lake", "copy"])
        .current_dir(app.path(""))
        .status();
    assert!(copied.expect("cp runs").success());
    with("url = \"lake\"", "url = \"copy\"");
    let (output, calls) = (app.meetlake(&["run"]), app.calls());
    assert_eq!((output.code, app.calls()), (0, calls), "{output:?}");
    // Another zone would put a meeting into two days.
    with("Asia/Shanghai", "America/New_York");
    refused(
        &["run"],
        &["are cut in Asia/Shanghai", "set time_zone back"],
    );
    // A lake of a later meetlake.
    app.write("meetlake.toml", &config);
    let path = app.lake().join("_meetlake/lake.json");
    let mut record = read_json(&path);
    record["format"] = json!(3);
    fs::write(&path, record.to_string()).expect("written");
    let output = app.meetlake(&["run"]);
    assert!(
        output.code != 0 && output.stderr.contains("has format 3"),
        "{output:?}"
    );
}

#[cfg(feature = "failpoints")]
#[test]
fn a_run_that_was_killed_before_its_lake_was_made_goes_on() {
    let app = Setup::real().only(&[Dataset::MeetingList]).start();
    // The ledger knows its lake, and the lake is not there: nothing was published by then.
    let mut command = app.command(&["run"]);
    let killed = command
        .env("FAILPOINTS", "w01-submit-recorded=return")
        .output();
    assert_eq!(killed.expect("the binary starts").status.code(), None);
    fs::remove_dir_all(app.lake().join("_meetlake")).expect("removed");
    crate::disk::forget_calls(&app, "meetlake.db");
    assert_eq!(app.meetlake(&["run"]).code, 0);
    app.sound_and_verified();
}

/// Two installations, one lake: the second is refused whatever it would do, until somebody says
/// that the lake is its own; then the first is, even in the middle of a run.
#[test]
fn a_lake_belongs_to_one_ledger() {
    let app = Setup::real().only(&[Dataset::MeetingList]).start();
    app.teach_pace();
    assert_eq!(app.meetlake(&["run"]).code, 0);
    let (before, calls) = (snapshot(&app.lake()), app.calls());
    let config = fs::read_to_string(app.path("meetlake.toml")).expect("a configuration");
    let second = config.replace(
        "[limits]",
        "[ledger]\npath = \"second/meetlake.db\"\n[limits]",
    );
    app.write("second.toml", &second);
    let with_second = |args: &[&str]| app.meetlake(&[&["--config", "second.toml"], args].concat());
    for verb in [
        &["run"][..],
        &["replay"],
        &["retry", "--quarantine"],
        &["backfill", "--from", "2026-10-01", "--to", "2026-10-02"],
        &["orphans", "--delete", "--older-than", "0s"],
        &["verify"],
    ] {
        let refused = with_second(verb);
        assert_eq!(refused.code, 9, "{verb:?} {refused:?}");
        assert!(
            refused.stderr.contains("belongs to the ledger"),
            "{refused:?}"
        );
        assert!(
            refused.stderr.contains("meetlake ledger rebuild"),
            "{refused:?}"
        );
    }
    // With nothing in its hands it would export everything again.
    let refused = with_second(&["ledger", "take-over"]);
    assert_eq!(refused.code, 9, "{refused:?}");
    assert!(
        refused.stderr.contains("meetlake ledger rebuild"),
        "{refused:?}"
    );
    assert!(snapshot(&app.lake()) == before && app.calls() == calls);
    let taken = with_second(&["ledger", "rebuild"]);
    assert_eq!(taken.code, 0, "{taken:?}");
    let refused = app.meetlake(&["run"]);
    assert_eq!(refused.code, 9, "{refused:?}");
    assert!(
        refused.stderr.contains("meetlake ledger take-over"),
        "{refused:?}"
    );
    // Back again.
    assert_eq!(app.meetlake(&["ledger", "take-over"]).code, 0);
    assert_eq!(app.meetlake(&["run"]).code, 0);
    assert_eq!(with_second(&["run"]).code, 9);
    assert_eq!(with_second(&["ledger", "take-over"]).code, 0);
    assert_eq!(app.meetlake(&["replay"]).code, 9);
    assert_eq!(app.calls(), calls, "nobody asked for anything again");
}

#[cfg(feature = "failpoints")]
#[test]
fn a_run_whose_lake_is_taken_over_meanwhile_publishes_nothing_more() {
    let app = Setup::fast().only(&[Dataset::MeetingList]).start();
    assert!(app.reconcile().is_settled());
    app.set_faults(&["short@meeting_list"]);
    let config = fs::read_to_string(app.path("meetlake.toml")).expect("a configuration");
    let second = config.replace(
        "[limits]",
        "[ledger]\npath = \"second/meetlake.db\"\n[limits]",
    );
    app.write("second.toml", &second);
    let (from, to) = (app.first_day().to_string(), app.end_day().to_string());
    let mut first = app.command(&["backfill", "--from", &from, "--to", &to, "--again"]);
    first.env("FAILPOINTS", "w08-rows-recorded=sleep(4000)");
    let mut first = app.spawn_command(&mut first);
    // It has the ledger by now, and its rows wait.
    std::thread::sleep(std::time::Duration::from_millis(2_000));
    let taken = app.meetlake(&["--config", "second.toml", "ledger", "rebuild"]);
    assert_eq!(taken.code, 0, "{taken:?}");
    let before = snapshot(&app.lake());
    let (code, _) = crate::app::wait(&mut first, std::time::Duration::from_secs(60));
    let log = fs::read_to_string(app.path("child.log")).expect("a log");
    assert_eq!(code, Some(9), "{log}");
    assert!(log.contains("belongs to another ledger by now"), "{log}");
    assert!(snapshot(&app.lake()) == before, "nothing is published");
}
