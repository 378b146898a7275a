//! Records that somebody lost: what they named is never called nobody's, what they said is not
//! guessed, and `verify` misses them.

use std::fs;
use std::path::{Path, PathBuf};

use meetlake::testing::dataset::Dataset;
use serde_json::{Value, json};

use crate::app::{Setup, TENANT, TestApp, snapshot};
use crate::lake::{self, below};

const FAMILY: [Dataset; 2] = [Dataset::MeetingList, Dataset::ParticipantList];

fn whole() -> TestApp {
    let app = Setup::fast().only(&FAMILY).start();
    assert!(app.reconcile().is_settled());
    app
}

/// What `verify` finds: kind and path.
fn found(app: &TestApp) -> Vec<(String, String)> {
    let output = app.meetlake(&["verify", "--json"]);
    let findings = output.json()["report"]["findings"].clone();
    let findings = findings.as_array().expect("findings");
    assert_eq!(output.code, if findings.is_empty() { 0 } else { 7 });
    let text = |finding: &Value, name: &str| finding[name].as_str().expect("text").to_owned();
    findings
        .iter()
        .map(|finding| (text(finding, "what"), text(finding, "path")))
        .collect()
}

fn identity(app: &TestApp, name: &str) -> PathBuf {
    app.lake().join("_meetlake").join(name)
}

fn write_config(app: &TestApp, from: &str, to: &str) {
    let config = fs::read_to_string(app.path("meetlake.toml")).expect("a configuration");
    assert!(config.contains(from), "{config}");
    app.write("meetlake.toml", &config.replace(from, to));
}

#[test]
fn what_a_lost_manifest_named_is_no_orphan() {
    let delete = ["orphans", "--delete", "--older-than", "0s"];
    // All manifests, one of a day, the first of two: with the ledger, and with a rebuilt one.
    for lose in [0, 1, 2] {
        for is_rebuilt in [false, true] {
            let app = whole();
            let newest = app.newest_manifest(Dataset::MeetingList);
            match lose {
                0 => fs::remove_dir_all(app.lake().join("_manifest")).expect("removed"),
                1 => fs::remove_file(&newest).expect("removed"),
                _ => {
                    app.set_faults(&["short@meeting_list"]);
                    app.again();
                    fs::remove_file(&newest).expect("removed");
                }
            }
            if is_rebuilt {
                app.lose_ledger();
                let report = app.rebuild();
                let problems = report["problems"].as_array().expect("a list");
                assert!(!problems.is_empty(), "{lose}: {report}");
            }
            let before = snapshot(&app.lake());
            let output = app.meetlake(&delete);
            let says = "nothing of meeting_list of acme is an orphan";
            assert!(output.stdout.contains(says), "{lose}: {output:?}");
            let is_of_meetings = |path: &Path| {
                let path = path.display().to_string();
                path.contains("meeting_list") && !path.contains("participant_list")
            };
            let after = snapshot(&app.lake());
            for path in before.keys().filter(|path| is_of_meetings(path)) {
                assert!(after.contains_key(path), "{lose}: {} went", path.display());
            }
        }
    }
}

#[test]
fn a_tenants_record_that_is_gone_stops_every_verb_that_writes() {
    let app = whole();
    let path = identity(&app, &format!("tenant={TENANT}.json"));
    let record = fs::read(&path).expect("a record");
    fs::remove_file(&path).expect("removed");
    write_config(&app, "Asia/Shanghai", "Europe/Berlin");
    let before = snapshot(&app.lake());
    for verb in [&["run"][..], &["replay"]] {
        let refused = app.meetlake(verb);
        assert_eq!(refused.code, 2, "{verb:?} {refused:?}");
        assert!(
            refused
                .stderr
                .contains("_meetlake/tenant=acme.json of the lake"),
            "{refused:?}"
        );
    }
    assert_eq!(
        found(&app),
        [(
            "identity".to_owned(),
            format!("_meetlake/tenant={TENANT}.json")
        )]
    );
    // A rebuild makes it anew, in the zone that the manifests name and in no other.
    app.lose_ledger();
    let refused = app.meetlake(&["ledger", "rebuild"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(
        refused.stderr.contains("are cut in Asia/Shanghai"),
        "{refused:?}"
    );
    assert!(snapshot(&app.lake()) == before);
    write_config(&app, "Europe/Berlin", "Asia/Shanghai");
    app.lose_ledger_if_there();
    app.rebuild();
    assert_eq!(fs::read(&path).expect("made anew"), record);
    assert_eq!(found(&app), []);
    // A record of another tenant is none.
    let other = String::from_utf8(record)
        .expect("text")
        .replace(TENANT, "else");
    fs::write(&path, other).expect("written");
    let refused = app.meetlake(&["replay"]);
    assert!(refused.code != 0 && refused.stderr.contains("names the tenant else"));
    assert_eq!(found(&app).len(), 1);
}

#[test]
fn verify_misses_the_lakes_own_record_and_coverage() {
    let app = whole();
    let lake_record = identity(&app, "lake.json");
    let bytes = fs::read(&lake_record).expect("a record");
    fs::remove_file(&lake_record).expect("removed");
    assert_eq!(
        found(&app),
        [("identity".to_owned(), "_meetlake/lake.json".to_owned())]
    );
    let refused = app.meetlake(&["orphans"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(
        refused.stderr.contains("lake.json of the lake"),
        "{refused:?}"
    );
    // Another lake's id is another lake.
    let mut other: Value = serde_json::from_slice(&bytes).expect("JSON");
    other["lake_id"] = json!("0".repeat(32));
    fs::write(&lake_record, other.to_string()).expect("written");
    let refused = app.meetlake(&["verify"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    fs::write(&lake_record, bytes).expect("written");
    assert_eq!(found(&app), []);
    let is_coverage = |path: &PathBuf| path.display().to_string().ends_with(".coverage.json");
    let coverage = below(&app.lake()).into_iter().find(is_coverage);
    let coverage = coverage.expect("a fan-out has one");
    let mut record = lake::read_json(&coverage);
    record["planned"] = json!(99);
    fs::write(&coverage, record.to_string()).expect("written");
    assert_eq!(found(&app).len(), 1);
    fs::remove_file(&coverage).expect("removed");
    let [(kind, path)] = found(&app).try_into().expect("one finding");
    assert!(
        kind == "manifest" && path.ends_with(".coverage.json"),
        "{path}"
    );
}

#[test]
fn a_damaged_ledger_is_named_with_the_way_out() {
    let app = whole();
    // A process that ends leaves everything in the one file.
    assert_eq!(app.meetlake(&["run"]).code, 0);
    let ledger = app.path("meetlake.db");
    let bytes = fs::read(&ledger).expect("a ledger");
    for damaged in [&bytes[..20_000], &[7; 40_000][..]] {
        for name in ["meetlake.db-wal", "meetlake.db-shm"] {
            let _ = fs::remove_file(app.path(name));
        }
        fs::write(&ledger, damaged).expect("written");
        for verb in [
            &["run"][..],
            &["ledger", "rebuild"],
            &["status"],
            &["plan"],
            &["verify"],
        ] {
            let refused = app.meetlake(verb);
            assert_eq!(refused.code, 8, "{verb:?} {refused:?}");
            for says in [
                "meetlake.db cannot be read",
                "-wal and -shm",
                "ledger rebuild",
            ] {
                assert!(refused.stderr.contains(says), "{says}: {refused:?}");
            }
        }
    }
    app.lose_ledger();
    app.rebuild();
    assert_eq!(found(&app), []);
}

/// A day taken away whole, a revision taken away from the end, an object replaced together with its
/// manifest: the lake agrees with itself, and the ledger knows better. Without one, a revision is missed by its
/// number, and an object of another day is known by the tasks of its rows.
#[test]
fn what_was_taken_away_with_its_records_is_known_to_the_ledger() {
    let app = whole();
    app.set_faults(&["short@meeting_list"]);
    app.again();
    let folder = |kind: &str, dt: jiff::civil::Date| {
        app.lake()
            .join(format!("{kind}meeting_list/tenant={TENANT}/dt={dt}"))
    };
    let (first, second) = (app.first_day(), app.first_day().tomorrow().expect("a day"));
    let keep = tempfile::tempdir().expect("a folder");
    let copy = |from: &Path, to: &Path| {
        let copied = std::process::Command::new("cp")
            .arg("-rT")
            .args([from, to])
            .status();
        assert!(copied.expect("cp runs").success());
    };
    copy(&app.lake(), keep.path());
    let take = |taken: &dyn Fn()| {
        taken();
        let with = found(&app);
        let ledger = fs::read(app.path("meetlake.db")).expect("a ledger");
        fs::rename(app.path("meetlake.db"), app.path("aside.db")).expect("moved");
        let without = app.meetlake(&["verify"]);
        fs::rename(app.path("aside.db"), app.path("meetlake.db")).expect("moved back");
        assert_eq!(fs::read(app.path("meetlake.db")).expect("a ledger"), ledger);
        fs::remove_dir_all(app.lake()).expect("removed");
        copy(keep.path(), &app.lake());
        (with, without)
    };
    let whole_day = || {
        for kind in ["", "_manifest/"] {
            fs::remove_dir_all(folder(kind, first)).expect("removed");
        }
    };
    let newest_revision = || {
        let newest = folder("_manifest/", first).join("r000002.json");
        fs::remove_file(newest).expect("there are two");
    };
    // The second day's object, under the first one's name, with a manifest that says so.
    let swapped = || {
        let object = |dt| folder("", dt).join("part-0.parquet");
        let record = |dt| folder("_manifest/", dt).join("r000002.json");
        fs::copy(object(second), object(first)).expect("copied");
        let (mut of_first, of_second) = (
            lake::read_json(&record(first)),
            lake::read_json(&record(second)),
        );
        for name in ["rows", "content_hash"] {
            of_first[name] = of_second[name].clone();
        }
        for name in ["sha256", "size_bytes"] {
            of_first["object"][name] = of_second["object"][name].clone();
        }
        fs::write(record(first), of_first.to_string()).expect("written");
    };
    for (name, taken) in [
        ("a day", &whole_day as &dyn Fn()),
        ("a revision", &newest_revision),
        ("an object", &swapped),
    ] {
        let (with, without) = take(taken);
        assert!(
            with.iter().any(|(kind, _)| kind == "ledger"),
            "{name}: {with:?}"
        );
        let text = without.text();
        assert_eq!(
            text.contains("which its manifest does not name"),
            name == "an object",
            "{name}: {text}"
        );
        match without.code {
            0 => assert!(text.contains("nobody knows without one"), "{name}: {text}"),
            code => assert_eq!((code, name != "a day"), (7, true), "{name}: {text}"),
        }
    }
}
