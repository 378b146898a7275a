//! The ledger is expendable, and the lake can be proven and made again: `ledger rebuild`, `verify`,
//! `replay`, `orphans`, and who may own a ledger.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use meetlake::testing::dataset::Dataset;
use meetlake::testing::lake_key::LakeKey;
use meetlake::testing::ledger::Ledger;
use meetlake::testing::orphans;
use meetlake::testing::publish::Publisher;
use meetlake::testing::publish::identity::{self, LakeRecord};
use meetlake::testing::publish::manifest::{self, Object, Revision};
use meetlake::testing::record::{ArchivedTask, Input, InputOutcome, PartitionId};
use meetlake::testing::spool::Spool;
use meetlake::testing::store::{Lake, Version, file_url};
use meetlake::testing::task::{ExportId, Lineage, Request, TaskKey, TaskOwner, UserIdType};
use meetlake::testing::window::Window;
use serde_json::{Value, json};

use crate::app::{Output, Setup, TENANT, TestApp, signal, snapshot, wait, zone};
use crate::lake::{self, sha256};

// --- a lost ledger -------------------------------------------------------------------------------

impl TestApp {
    /// What a lost machine takes with it.
    pub(crate) fn lose_ledger(&self) {
        for name in [
            "meetlake.db",
            "meetlake.db-wal",
            "meetlake.db-shm",
            "meetlake.db.lock",
        ] {
            let _ = fs::remove_file(self.path(name));
        }
        fs::remove_dir_all(self.path("spool")).expect("a spool");
    }

    /// The same where a refused verb may have left one.
    pub(crate) fn lose_ledger_if_there(&self) {
        let _ = fs::create_dir_all(self.path("spool"));
        self.lose_ledger();
    }

    pub(crate) fn rebuild(&self) -> Value {
        let output = self.meetlake(&["ledger", "rebuild", "--json"]);
        assert!(matches!(output.code, 0 | 7), "{output:?}");
        let report = output.json();
        // It ends well only if nothing was left out.
        let problems = report["problems"].as_array().expect("a list");
        let is_damaged = problems.iter().any(|problem| problem["is_damage"] == true);
        assert_eq!(output.code == 7, is_damaged, "{output:?}");
        assert_eq!(report["exit_code"], output.code, "{output:?}");
        report
    }

    /// The status, without what only the lost ledger could know: calls, runs, when something was
    /// checked, and whether anybody ever ran the schedules. A rebuilt ledger takes that for
    /// granted, and waits for the days since.
    fn published_state(&self) -> Value {
        let mut status = self.status();
        for dataset in status["datasets"].as_array_mut().expect("datasets") {
            for name in ["submits", "polls"] {
                dataset[name] = Value::Null;
            }
        }
        for partition in status["partitions"].as_array_mut().expect("partitions") {
            for name in ["published_at", "checked_at"] {
                partition[name] = Value::Null;
            }
        }
        let days = status["days"].as_array_mut().expect("days");
        days.retain(|day| day["outcome"] != "waiting");
        for day in days.iter_mut().filter(|day| day["outcome"] == "unchanged") {
            day["outcome"] = json!("published");
        }
        status["runs"] = Value::Null;
        status
    }

    pub(crate) fn verified(&self) {
        let output = self.meetlake(&["verify"]);
        assert_eq!(output.code, 0, "{output:?}");
    }

    pub(crate) fn newest_manifest(&self, dataset: Dataset) -> PathBuf {
        let folder = self.lake().join(format!("_manifest/{dataset}"));
        let is_record = |path: &PathBuf| {
            let name = path
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            name.starts_with('r') && !name.contains("coverage")
        };
        lake::below(&folder)
            .into_iter()
            .rfind(is_record)
            .expect("a manifest")
    }
}

/// All files but the lake's record, which says to which ledger the lake belongs.
fn without_lake_record<T>(mut files: BTreeMap<PathBuf, T>) -> BTreeMap<PathBuf, T> {
    files.retain(|path, _| !path.ends_with("_meetlake/lake.json"));
    files
}

#[test]
fn a_rebuilt_ledger_exports_nothing_again_and_late_data_still_comes() {
    let app = Setup::fast().start();
    assert!(app.reconcile().is_settled());
    let (before, submits) = (app.published_state(), app.submits());
    let (files, hashes) = (snapshot(&app.lake()), app.content_hashes());

    app.lose_ledger();
    let report = app.rebuild();
    assert_eq!(report["problems"], json!([]), "{report}");
    assert_eq!(app.published_state(), before);
    app.verified();
    assert!(app.reconcile().is_settled());
    assert_eq!(app.submits(), submits, "something was exported again");
    assert!(
        without_lake_record(files) == without_lake_record(snapshot(&app.lake())),
        "something was written"
    );
    let stands = |app: &TestApp| {
        let state = app.published_state();
        state["datasets"].clone()
    };
    assert_eq!(stands(&app), before["datasets"]);

    // Without the rebuild, another ledger on the same lake exports nothing.
    app.lose_ledger();
    let from = app.end_day().to_string();
    let range = [
        "backfill",
        "--from",
        &from,
        "--to",
        "2027-12-31",
        "--dataset",
        "top_user",
    ];
    let refused = app.meetlake(&range);
    assert_eq!(refused.code, 9, "{refused:?}");
    assert!(
        refused.stderr.contains("meetlake ledger rebuild"),
        "{refused:?}"
    );
    fs::remove_file(app.path("meetlake.db")).expect("removed");
    app.rebuild();

    // The meetings of one day vanish upstream, and come back: the rebuilt ledger withdraws their
    // children, and asks for them again.
    app.set_faults(&["empty@meeting_list:x1"]);
    app.again();
    assert_ne!(app.content_hashes(), hashes);
    app.set_faults(&[]);
    assert!(app.again().is_settled());
    assert_eq!(app.content_hashes(), hashes);
    app.assert_conserved();
    app.verified();
}

#[test]
fn a_rebuilt_schedule_goes_on_where_the_lost_one_was() {
    let app = Setup::real()
        .only(&[
            Dataset::DailyReport,
            Dataset::MeetingList,
            Dataset::ParticipantList,
        ])
        .start();
    app.teach_pace();
    assert_eq!(app.meetlake(&["run"]).code, 0);
    let (before, submits) = (app.published_state(), app.submits());
    let watermarks = |app: &TestApp| {
        let datasets = app.setup.datasets.clone();
        app.with_ledger(async |ledger| {
            let mut watermarks = Vec::new();
            for dataset in datasets {
                let state = ledger.schedule(dataset.as_str(), TENANT).await;
                watermarks.push(state.expect("read").expect("a schedule").watermark);
            }
            watermarks
        })
    };
    let ends = watermarks(&app);
    app.lose_ledger();
    app.rebuild();
    assert_eq!(watermarks(&app), ends);
    assert_eq!(app.published_state(), before);
    let run = app.meetlake(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stdout.contains("nothing was due"), "{run:?}");
    assert_eq!(app.submits(), submits);
}

#[test]
fn only_an_empty_ledger_is_rebuilt() {
    let app = Setup::fast().only(&[Dataset::TopUser]).start();
    let nothing = app.rebuild();
    assert_eq!(nothing["restored"], json!([]));
    assert!(app.reconcile().is_settled());
    let before = app.published_state();
    let refused = app.meetlake(&["ledger", "rebuild"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(
        refused.stderr.contains("meetlake.db is not empty"),
        "{refused:?}"
    );
    assert_eq!(app.published_state(), before);
}

#[test]
fn what_a_manifest_lacks_is_exported_again_and_nothing_else() {
    let app = Setup::fast()
        .only(&[Dataset::MeetingList, Dataset::ParticipantList])
        .start();
    assert!(app.reconcile().is_settled());
    let hashes = app.content_hashes();
    fail_one_input(&app.newest_manifest(Dataset::ParticipantList));
    app.lose_ledger();
    let report = app.rebuild();
    let participants = &report["restored"][1];
    assert_eq!(participants["dataset"], "participant_list");
    assert_eq!(
        (
            &participants["partial"],
            &participants["open_tasks"],
            &participants["open_windows"]
        ),
        (&json!(1), &json!(1), &json!(1)),
        "{report}"
    );
    let submits = app.submits();
    assert!(app.reconcile().is_settled());
    assert_eq!(app.submits(), submits + 1);
    assert_eq!(app.content_hashes(), hashes);
    assert_eq!(lake::unsound(&app.lake()), [""; 0]);
    app.verified();
}

/// Makes a manifest say that the first of its tasks failed.
fn fail_one_input(manifest: &Path) {
    let mut record = lake::read_json(manifest);
    let folder = manifest.parent().expect("a folder");
    let chunk = record["inputs"][0]["sha256"].as_str().expect("a hash");
    let mut inputs = lake::read_json(&folder.join(format!("inputs/{chunk}.json")));
    let input = inputs[0].as_object_mut().expect("an input");
    for name in [
        "export_id",
        "submitted_at",
        "extracted_at",
        "source_sha256",
        "pack",
    ] {
        input.remove(name);
    }
    input.insert("outcome".into(), json!("failed"));
    let bytes = serde_json::to_vec(&inputs).expect("JSON");
    fs::write(
        folder.join(format!("inputs/{}.json", sha256(&bytes))),
        &bytes,
    )
    .expect("written");
    record["inputs"][0]["sha256"] = json!(sha256(&bytes));
    record["state"] = json!("partial");
    record["reasons"] = json!([{ "kind": "failed", "count": 1 }]);
    fs::write(manifest, serde_json::to_vec(&record).expect("JSON")).expect("written");
}

#[test]
fn a_publish_cut_off_between_object_and_manifest_is_made_good() {
    let app = Setup::fast()
        .only(&[Dataset::MeetingList, Dataset::ParticipantList])
        .start();
    assert!(app.reconcile().is_settled());
    let hashes = app.content_hashes();

    // The first revision of a day.
    fs::remove_file(app.newest_manifest(Dataset::MeetingList)).expect("removed");
    app.lose_ledger();
    app.rebuild();
    assert!(app.reconcile().is_settled());
    assert_eq!(app.content_hashes(), hashes);
    assert_eq!(lake::unsound(&app.lake()), [""; 0]);

    // A later one, which took rows away.
    app.set_faults(&["empty@meeting_list:1"]);
    app.again();
    assert_ne!(app.content_hashes(), hashes);
    for dataset in [Dataset::MeetingList, Dataset::ParticipantList] {
        fs::remove_file(app.newest_manifest(dataset)).expect("removed");
    }
    app.set_faults(&[]);
    app.lose_ledger();
    let report = app.rebuild();
    let problems = report["problems"].to_string();
    assert!(problems.contains("a publish was cut off"), "{report}");
    assert!(app.reconcile().is_settled());
    assert!(app.again().is_settled());
    assert_eq!(app.content_hashes(), hashes);
    assert_eq!(lake::unsound(&app.lake()), [""; 0]);
    app.verified();
}

#[test]
fn a_parent_whose_pack_is_gone_is_exported_again_and_its_children_are_not() {
    let app = Setup::fast()
        .only(&[Dataset::MeetingList, Dataset::ParticipantList])
        .start();
    assert!(app.reconcile().is_settled());
    let hashes = app.content_hashes();
    let manifest = lake::read_json(&app.newest_manifest(Dataset::MeetingList));
    let pack = manifest["packs"][0].as_str().expect("a pack");
    let path = format!("_raw/tenant={TENANT}/meeting_list/{pack}.zip");
    fs::remove_file(app.lake().join(path)).expect("removed");
    app.lose_ledger();
    let report = app.rebuild();
    assert!(report["problems"].to_string().contains(pack), "{report}");
    let (submits, open) = (app.submits(), report["restored"][0]["open_tasks"].clone());
    assert!(open.as_u64() > Some(0), "{report}");
    assert!(app.reconcile().is_settled());
    assert_eq!(json!(app.submits() - submits), open);
    assert_eq!(app.content_hashes(), hashes);
}

#[test]
fn a_ledger_of_many_tasks_is_rebuilt() {
    let tasks = match std::env::var_os("MEETLAKE_LONG") {
        Some(_) => 10_000,
        None => 300,
    };
    let app = Setup::fast()
        .only(&[Dataset::MeetingList, Dataset::ParticipantList])
        .start();
    let sheet = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/observed_participant_list.xlsx"
    );
    let original = fs::read(sheet).expect("a workbook");
    let spool = Spool::open(app.path("spool")).expect("a spool");
    let sha256 = spool.put_original(&original).expect("put");
    let url = file_url(&app.lake()).expect("a url");
    let lake = Lake::open(&url, &BTreeMap::new()).expect("a lake");
    let day = Window::day(&zone(), app.first_day()).expect("a day");
    app.block_on(async {
        let record = LakeRecord {
            format: identity::FORMAT,
            lake_id: "a lake".into(),
            key: (&LakeKey::of_tests()).into(),
            ledger_id: "a ledger".into(),
        };
        identity::create(&lake, record).await.expect("made");
        let publisher = Publisher::new(lake.clone(), spool);
        let (archived, mut inputs): (Vec<_>, Vec<_>) =
            (0..tasks).map(|n| participants(n, day, &sha256)).unzip();
        let days = BTreeMap::from([(app.first_day(), archived)]);
        let packs = publisher.pack(TENANT, Dataset::ParticipantList, days);
        let packs = packs.await.expect("packed");
        for input in &mut inputs {
            input.pack = packs.get(&input.task_key).cloned();
        }
        let revision = revision(app.first_day(), inputs);
        manifest::put(&lake, revision, day.end())
            .await
            .expect("put");
    });
    let began = std::time::Instant::now();
    let report = app.rebuild();
    println!(
        "{tasks} tasks in {:?}: {}",
        began.elapsed(),
        report["restored"]
    );
    assert_eq!(report["restored"][0]["tasks"], json!(tasks), "{report}");
    assert_eq!(report["restored"][0]["open_tasks"], json!(0), "{report}");
    assert!(
        report["restored"][0]["parents"].as_u64() >= Some(tasks),
        "{report}"
    );
}

/// The export of one meeting's participants, as a pack and a manifest name it.
fn participants(n: u64, day: Window, sha256: &str) -> (ArchivedTask, Input) {
    let meeting_no = format!("{:09}", 100_000_000 + n);
    let start = day.start().as_second();
    let request = Request {
        meeting_no: Some(meeting_no.clone()),
        user_id_type: Some(UserIdType::UserId),
        ..Request::between(Dataset::ParticipantList, start, start + 3_600)
    };
    let key = LakeKey::of_tests();
    let owner = TaskOwner {
        tenant: TENANT,
        key: &key,
    };
    let archived = ArchivedTask {
        task_key: TaskKey::new(owner, &request),
        source_sha256: sha256.to_owned(),
        window_start: day.start(),
        window_end: day.end(),
        request,
        lineage: Lineage {
            meeting_no: Some(meeting_no),
            meeting_start_time: Some(day.start()),
            meeting_end_time: Some(day.start() + Duration::from_secs(3_600)),
            ..Lineage::default()
        },
        redacted: Vec::new(),
        witness: None,
    };
    let input = Input {
        task_key: archived.task_key.clone(),
        generation: 1,
        window_start: day.start(),
        window_end: day.end(),
        job_window: None,
        export_id: Some(ExportId(n.to_string())),
        submitted_at: Some(day.end()),
        extracted_at: Some(day.end()),
        source_sha256: Some(sha256.to_owned()),
        pack: None,
        rows: 1,
        overridden_rows: 0,
        outcome: InputOutcome::Published,
    };
    (archived, input)
}

fn revision(dt: jiff::civil::Date, inputs: Vec<Input>) -> Revision {
    Revision {
        id: PartitionId {
            dataset: Dataset::ParticipantList,
            tenant: TENANT.into(),
            dt,
        },
        time_zone: "Asia/Shanghai".into(),
        reading: meetlake::testing::record::ReadingSettings {
            time_zone: "Asia/Shanghai".into(),
            duration_unit: None,
        },
        destination: String::new(),
        number: 1,
        reasons: vec![],
        rows: 0,
        object: Object {
            path: format!("participant_list/tenant={TENANT}/dt={dt}/part-0.parquet"),
            size_bytes: 0,
            sha256: String::new(),
            version: Version::default(),
        },
        content_hash: "00".into(),
        key_id: LakeKey::of_tests().id(),
        previous_sha256: None,
        replayed_from: None,
        inputs,
        rejects: BTreeMap::new(),
        blank_columns: BTreeSet::new(),
        unknown_columns: BTreeSet::new(),
        coverage: None,
    }
}

// --- proof ---------------------------------------------------------------------------------------

/// Two days of meetings and participants with several revisions, and a way back to them after each
/// damage.
struct Proven {
    app: TestApp,
    files: BTreeMap<PathBuf, (Vec<u8>, SystemTime)>,
}

impl Proven {
    fn new() -> Self {
        let app = Setup::fast()
            .with(|options| options.meetings_per_day = 3)
            .only(&[Dataset::MeetingList, Dataset::ParticipantList])
            .start();
        assert!(app.reconcile().is_settled());
        app.set_faults(&["empty@meeting_list:1"]);
        app.again();
        app.set_faults(&[]);
        assert!(app.again().is_settled());
        let files = snapshot(&app.lake());
        Self { app, files }
    }

    /// Does damage, expects `verify` to name it, and undoes it.
    fn finds(&self, what: &str, where_: &str, why: &str, damage: impl FnOnce(&TestApp)) {
        damage(&self.app);
        let output = self.app.meetlake(&["verify", "--json"]);
        assert_eq!(output.code, 7, "{what} {where_}: {output:?}");
        let findings = output.json()["report"]["findings"].clone();
        let named = findings
            .as_array()
            .expect("findings")
            .iter()
            .any(|finding| {
                let says = |name: &str, text: &str| {
                    finding[name].as_str().is_some_and(|is| is.contains(text))
                };
                finding["what"] == what && says("path", where_) && says("problem", why)
            });
        assert!(named, "no {what} {where_} {why}: {findings:#}");
        fs::remove_dir_all(self.app.lake()).expect("a lake");
        for (path, (bytes, _)) in &self.files {
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, bytes).expect("written");
        }
    }

    fn object(&self, app: &TestApp) -> PathBuf {
        lake::files(&app.lake(), Dataset::MeetingList).remove(0)
    }

    fn pack(&self, app: &TestApp) -> PathBuf {
        let manifest = lake::read_json(&app.newest_manifest(Dataset::MeetingList));
        let pack = manifest["packs"][0].as_str().expect("a pack").to_owned();
        app.lake()
            .join(format!("_raw/tenant={TENANT}/meeting_list/{pack}.zip"))
    }
}

fn change_json(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut record = lake::read_json(path);
    change(&mut record);
    fs::write(path, serde_json::to_vec(&record).expect("JSON")).expect("written");
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).expect("written");
}

#[test]
fn every_kind_of_damage_is_found() {
    let proven = Proven::new();
    let calls = proven.app.calls();
    let whole = proven.app.meetlake(&["verify", "--json"]);
    assert_eq!(whole.code, 0, "{whole:?}");
    let report = &whole.json()["report"];
    assert_eq!(report["has_ledger"], json!(true));
    for count in ["partitions", "rows", "manifests", "packs", "originals"] {
        assert!(report[count].as_u64() > Some(0), "{count}: {report}");
    }
    objects_and_packs(&proven);
    records(&proven);
    quarantine(&proven);
    proven.finds(
        "ledger",
        "_manifest/meeting_list",
        "whether it is complete",
        |app| {
            let dt = app.first_day();
            app.with_ledger(async |ledger| {
                let (of, now) = (Dataset::MeetingList, Timestamp::now());
                let checked = ledger.checked(TENANT, of, dt, false, &[], now);
                checked.await.expect("written");
            });
        },
    );
    assert_eq!(proven.app.calls(), calls, "Feishu was asked");
}

fn objects_and_packs(proven: &Proven) {
    let object = "meeting_list/tenant=acme/dt=";
    proven.finds("object", object, "bytes, the manifest says", |app| {
        let file = proven.object(app);
        let bytes = fs::read(&file).expect("a file");
        fs::write(&file, &bytes[..bytes.len() / 2]).expect("written");
    });
    proven.finds("object", object, "not those of the manifest", |app| {
        flip(&proven.object(app))
    });
    proven.finds("object", object, "the manifest says", |app| {
        let files = lake::files(&app.lake(), Dataset::ParticipantList);
        fs::copy(&files[0], proven.object(app)).expect("copied");
    });
    proven.finds("object", object, "it is gone", |app| {
        fs::remove_file(proven.object(app)).expect("removed");
    });
    proven.finds("object", "part-1.parquet", "lies beside", |app| {
        let file = proven.object(app);
        fs::copy(&file, file.with_file_name("part-1.parquet")).expect("copied");
    });
    // An object and a manifest that agree on bytes that are not the content.
    proven.finds("object", object, "rows hash to", |app| {
        let manifest = app.newest_manifest(Dataset::MeetingList);
        change_json(&manifest, |record| record["content_hash"] = json!("00"));
    });
    proven.finds(
        "pack",
        "_raw/tenant=acme/",
        "not what its name says",
        |app| flip(&proven.pack(app)),
    );
    proven.finds("pack", "_raw/tenant=acme/", "it is gone", |app| {
        fs::remove_file(proven.pack(app)).expect("removed");
    });
}

fn records(proven: &Proven) {
    let newest = |app: &TestApp| app.newest_manifest(Dataset::MeetingList);
    proven.finds("chain", "r000003.json", "revision 2 is missing", |app| {
        fs::remove_file(newest(app).with_file_name("r000002.json")).expect("removed");
    });
    proven.finds(
        "chain",
        "r000003.json",
        "does not follow revision 2",
        |app| {
            change_json(&newest(app), |record| {
                record["previous_sha256"] = json!("00")
            });
        },
    );
    proven.finds(
        "chain",
        "r000002.json",
        "does not follow revision 1",
        |app| {
            let first = newest(app).with_file_name("r000001.json");
            change_json(&first, |record| record["rows"] = json!(99));
        },
    );
    proven.finds("manifest", "r000003.json", "EOF", |app| {
        fs::write(newest(app), "{").expect("written");
    });
    proven.finds("ledger", "r000002.json", "its revision", |app| {
        fs::remove_file(newest(app)).expect("removed");
    });
    proven.finds("ledger", "_manifest/meeting_list", "is not there", |app| {
        fs::remove_dir_all(newest(app).parent().expect("a folder")).expect("removed");
    });
    let chunk = |app: &TestApp| {
        let record = lake::read_json(&newest(app));
        let sha256 = record["inputs"][0]["sha256"]
            .as_str()
            .expect("a hash")
            .to_owned();
        newest(app).with_file_name(format!("inputs/{sha256}.json"))
    };
    proven.finds("manifest", "inputs/", "it is gone", |app| {
        fs::remove_file(chunk(app)).expect("removed");
    });
    proven.finds("manifest", "inputs/", "not what its name says", |app| {
        flip(&chunk(app))
    });
}

fn quarantine(proven: &Proven) {
    let folder = |app: &TestApp| app.lake().join("_quarantine/meeting_list/tenant=acme");
    let put = |app: &TestApp, name: &str, bytes: &[u8]| {
        fs::create_dir_all(folder(app)).expect("a folder");
        fs::write(folder(app).join(name), bytes).expect("written");
    };
    let name = sha256(b"broken");
    proven.finds("quarantine", &name, "its original is gone", |app| {
        put(app, &format!("{name}.json"), b"{}");
    });
    proven.finds("quarantine", &name, "no record", |app| {
        put(app, &format!("{name}.xlsx"), b"broken");
    });
    proven.finds("quarantine", &name, "not what its name says", |app| {
        put(app, &format!("{name}.json"), b"{}");
        put(app, &format!("{name}.bin"), b"other");
    });
}

#[test]
fn a_lake_that_cannot_be_read_is_no_damage() {
    let app = Setup::fast().only(&[Dataset::TopUser]).start();
    app.write("lake", "a file where the folder should be");
    let output = app.meetlake(&["verify"]);
    assert_eq!(output.code, 8, "{output:?}");
}

// --- partitions made again -----------------------------------------------------------------------

fn replay(app: &TestApp, more: &[&str]) -> (Output, Value) {
    let output = app.meetlake(&[&["replay", "--json"], more].concat());
    let json = output.json();
    (output, json)
}

#[test]
fn a_replay_gives_what_is_there_and_brings_back_what_is_not() {
    let app = Setup::fast().start();
    assert!(app.reconcile().is_settled());
    let (calls, files, hashes) = (app.calls(), snapshot(&app.lake()), app.content_hashes());
    let partitions = json!(hashes.len());

    let (output, json) = replay(&app, &[]);
    assert_eq!(output.code, 0, "{output:?}");
    assert_eq!(json["counts"]["unchanged"], partitions, "{json}");
    assert!(files == snapshot(&app.lake()), "a replay wrote");

    for dataset in &app.setup.datasets {
        fs::remove_dir_all(app.lake().join(dataset.as_str())).expect("removed");
    }
    let (output, json) = replay(&app, &[]);
    assert_eq!(output.code, 0, "{output:?}");
    assert_eq!(json["counts"]["restored"], partitions, "{json}");
    let bytes = |files: BTreeMap<PathBuf, (Vec<u8>, SystemTime)>| -> BTreeMap<PathBuf, Vec<u8>> {
        files
            .into_iter()
            .map(|(path, (bytes, _))| (path, bytes))
            .collect()
    };
    assert!(
        bytes(snapshot(&app.lake())) == bytes(files),
        "not the same bytes"
    );
    app.verified();

    // One object is damaged: a replay of its day and dataset alone mends it.
    let dt = app.first_day().to_string();
    let object = lake::files(&app.lake(), Dataset::MeetingList).remove(0);
    fs::write(object, "not Parquet").expect("written");
    let end = app.server().last_day().to_string();
    let (_, json) = replay(&app, &["meeting_list", "--from", &dt, "--to", &end]);
    assert_eq!(json["counts"]["restored"], json!(1), "{json}");
    assert_eq!(json["partitions"].as_array().map(Vec::len), Some(1));
    app.verified();
    assert_eq!(app.content_hashes(), hashes);
    assert_eq!(app.calls(), calls, "Feishu was asked");
    assert!(
        lake::below(&app.path(&format!("spool/tenant={TENANT}/rows"))).is_empty(),
        "rows were left in the spool"
    );
    assert!(app.reconcile().is_settled());
    app.assert_conserved();
}

#[test]
fn what_the_originals_give_now_is_published_and_what_they_cannot_is_left() {
    let app = Setup::fast().only(&[Dataset::MeetingList]).start();
    assert!(app.reconcile().is_settled());
    let hashes = app.content_hashes();
    // As an older decoder would have left it: another content under a manifest that the ledger
    // knows.
    let manifest = app.newest_manifest(Dataset::MeetingList);
    change_json(&manifest, |record| record["content_hash"] = json!("00"));
    app.lose_ledger();
    app.rebuild();
    assert_ne!(app.content_hashes(), hashes);
    let (output, json) = replay(&app, &[]);
    assert_eq!(output.code, 0, "{output:?}");
    assert_eq!(json["counts"]["changed"], json!(1), "{json}");
    assert_eq!(json["counts"]["unchanged"], json!(1), "{json}");
    assert_eq!(app.content_hashes(), hashes);
    app.verified();

    for pack in lake::below(&app.lake().join("_raw")) {
        flip(&pack);
    }
    let files = snapshot(&app.lake());
    let (output, json) = replay(&app, &[]);
    assert_eq!(output.code, 7, "{output:?}");
    assert_eq!(json["counts"]["left"], json!(2), "{json}");
    assert!(
        files == snapshot(&app.lake()),
        "a replay without originals wrote"
    );
}

// --- leftovers -----------------------------------------------------------------------------------

/// What cut-off publishes leave, all of it two days old.
fn litter(app: &TestApp) -> Vec<PathBuf> {
    let day = app.first_day();
    let manifests = format!("lake/_manifest/meeting_list/tenant={TENANT}/dt={day}");
    let hash = sha256(b"nobody's");
    let names = [
        format!("lake/_raw/tenant={TENANT}/meeting_list/dt={day}/{hash}.zip"),
        format!("{manifests}/inputs/{hash}.json"),
        format!("{manifests}/r000009.coverage.json"),
        format!("lake/meeting_list/tenant={TENANT}/dt={day}/part-0.parquet#1"),
        "lake/_doctor/probe-1".to_owned(),
    ];
    for name in &names {
        app.write(name, "nobody's");
        age(&app.path(name));
    }
    names.iter().map(|name| app.path(name)).collect()
}

/// How a manifest names a pack.
fn pack_name(pack: &Path) -> String {
    let part = |path: &Path| {
        let part = path.file_stem().and_then(|name| name.to_str());
        part.expect("a name").to_owned()
    };
    let day = part(pack.parent().expect("a folder"));
    format!("{day}/{}", part(pack))
}

fn age(path: &Path) {
    let file = fs::File::options().write(true).open(path).expect("a file");
    let two_days_ago = SystemTime::now() - Duration::from_secs(2 * 86_400);
    file.set_modified(two_days_ago).expect("aged");
}

#[test]
fn orphans_are_shown_and_only_old_ones_that_are_nobodys_go() {
    let app = Setup::fast()
        .only(&[Dataset::MeetingList, Dataset::ParticipantList])
        .start();
    assert!(app.reconcile().is_settled());
    let none = app.meetlake(&["orphans"]);
    assert_eq!(
        (none.code, none.stdout.as_str()),
        (0, "There are no orphans.\n")
    );
    let clean = snapshot(&app.lake());
    let orphans = litter(&app);
    let foreign = "lake/_raw/tenant=other/meeting_list/dt=2026-10-12/00.zip";
    app.write(foreign, "another ledger's");
    let foreign = app.path(foreign);
    age(&foreign);
    // Evidence stays, although a rebuilt ledger knows nothing of it.
    let hash = sha256(b"nobody's");
    let evidence = ["xlsx", "json"].map(|extension| {
        let name = format!("lake/_quarantine/meeting_list/tenant={TENANT}/{hash}.{extension}");
        app.write(&name, "nobody's");
        age(&app.path(&name));
        app.path(&name)
    });

    let dry = app.meetlake(&["orphans", "--json"]);
    assert_eq!(dry.code, 0, "{dry:?}");
    let listed = dry.json()["orphans"].as_array().cloned().expect("orphans");
    assert_eq!(listed.len(), orphans.len(), "{dry:?}");
    assert!(
        listed
            .iter()
            .all(|orphan| orphan["deleted"] == json!(false))
    );
    assert!(
        orphans.iter().all(|path| path.exists()),
        "a dry run deleted"
    );

    let young = app.meetlake(&["orphans", "--delete", "--older-than", "3d"]);
    assert_eq!(young.code, 0, "{young:?}");
    assert!(
        orphans.iter().all(|path| path.exists()),
        "too young: {young:?}"
    );

    let deleted = app.meetlake(&["orphans", "--delete"]);
    assert_eq!(deleted.code, 0, "{deleted:?}");
    assert!(foreign.exists(), "another tenant's pack went");
    fs::remove_dir_all(app.path("lake/_raw/tenant=other")).expect("removed");
    for file in &evidence {
        assert!(file.exists(), "{} went", file.display());
        fs::remove_file(file).expect("removed");
    }
    assert!(clean == snapshot(&app.lake()), "{deleted:?}");
    assert!(!app.path("lake/_doctor").exists());
    app.verified();
}

#[test]
fn a_pack_that_a_publish_begins_to_name_is_not_collected() {
    let app = Setup::fast().only(&[Dataset::MeetingList]).start();
    assert!(app.reconcile().is_settled());
    let litter = litter(&app);
    let pack = litter[0].clone();
    let url = file_url(&app.lake()).expect("a url");
    let tenants = HashSet::from([TENANT.to_owned()]);
    let deleted = app.with_ledger(async |ledger| {
        let lake = Lake::open(&url, &BTreeMap::new()).expect("a lake");
        let found = orphans::find(&lake, ledger, &tenants).await;
        let found = found.expect("found").orphans;
        assert_eq!(found.len(), litter.len());
        // Between the list and the deletion: another revision, which names the pack.
        let manifest = app.newest_manifest(Dataset::MeetingList);
        let mut next = lake::read_json(&manifest);
        next["revision"] = json!(2);
        next["packs"] = json!([pack_name(&pack)]);
        let bytes = serde_json::to_vec(&next).expect("JSON");
        fs::write(manifest.with_file_name("r000002.json"), bytes).expect("written");
        // And one that is written once more, as a publish does that is about to name it.
        fs::write(&litter[2], "nobody's").expect("written");
        let before = Timestamp::now() - Duration::from_secs(86_400);
        let collected = orphans::collect(&lake, ledger, &tenants, &found, before).await;
        collected.expect("collected")
    });
    assert_eq!(deleted.len(), litter.len() - 2, "{deleted:?}");
    assert!(pack.exists() && litter[2].exists());
    assert!(!litter[1].exists());
}

/// Runs the binary with a failpoint switched on, and gives its code; `None` if it ended itself
/// there.
#[cfg(feature = "failpoints")]
fn with_failpoint(app: &TestApp, args: &[&str], failpoint: &str) -> Option<i32> {
    let output = app.command(args).env("FAILPOINTS", failpoint).output();
    output.expect("the binary starts").status.code()
}

#[cfg(feature = "failpoints")]
#[test]
fn a_collection_that_is_cut_off_is_finished_by_the_next() {
    let app = Setup::fast().only(&[Dataset::MeetingList]).start();
    assert!(app.reconcile().is_settled());
    let clean = snapshot(&app.lake());
    let orphans = litter(&app);
    let left = || orphans.iter().filter(|path| path.exists()).count();
    let delete = ["orphans", "--delete"];
    let intended = with_failpoint(&app, &delete, "w12-orphans-intended=return");
    assert_eq!(intended, None);
    assert_eq!(left(), orphans.len());
    let one = with_failpoint(&app, &delete, "w12-orphan-deleted=return");
    assert_eq!(one, None);
    assert_eq!(left(), orphans.len() - 1);
    assert_eq!(app.meetlake(&delete).code, 0);
    assert!(clean == snapshot(&app.lake()));
}

/// Between the intent and the deletion a publish begins to name the pack. Says whether the pack is
/// there after that.
#[cfg(feature = "failpoints")]
fn pack_survives(planted: &str) -> bool {
    let app = Setup::fast().only(&[Dataset::MeetingList]).start();
    assert!(app.reconcile().is_settled());
    let pack = litter(&app)[0].clone();
    let mut command = app.command(&["orphans", "--delete"]);
    let failpoints = format!("w12-orphans-intended=1*sleep(5000){planted}");
    let mut child = app.spawn_command(command.env("FAILPOINTS", failpoints));
    let began = std::time::Instant::now();
    let intended = async || {
        let ledger = Ledger::open_for_reading(&app.path("meetlake.db")).await;
        let ledger = ledger.expect("it opens").expect("a ledger");
        let intent = ledger.meta("orphans").await.expect("read");
        intent.unwrap_or_default()
    };
    let name = pack.file_stem().and_then(|name| name.to_str());
    let name = name.expect("a name");
    while !app.block_on(intended()).contains(name) {
        assert!(began.elapsed() < Duration::from_secs(20), "no intent");
        std::thread::sleep(Duration::from_millis(10));
    }
    let manifest = app.newest_manifest(Dataset::MeetingList);
    let mut next = lake::read_json(&manifest);
    next["revision"] = json!(2);
    next["packs"] = json!([pack_name(&pack)]);
    let bytes = serde_json::to_vec(&next).expect("JSON");
    fs::write(manifest.with_file_name("r000002.json"), bytes).expect("written");
    assert!(pack.exists(), "it was deleted before it was looked up");
    let (code, _) = wait(&mut child, Duration::from_secs(30));
    assert_eq!(code, Some(0));
    pack.exists()
}

#[cfg(feature = "failpoints")]
#[test]
fn orphans_are_looked_up_again_right_before_they_go() {
    assert!(pack_survives(""), "a pack that a manifest names went");
    let planted = ";planted-orphans-not-looked-up-again=return";
    assert!(!pack_survives(planted), "the planted defect is not noticed");
}

#[cfg(feature = "failpoints")]
#[test]
fn a_rebuild_that_opens_what_is_published_would_be_noticed() {
    let app = Setup::fast().only(&[Dataset::MeetingList]).start();
    assert!(app.reconcile().is_settled());
    let submits = app.submits();
    app.lose_ledger();
    let planted = "planted-rebuild-opens-everything=return";
    let code = with_failpoint(&app, &["ledger", "rebuild"], planted);
    assert_eq!(code, Some(0));
    assert!(app.reconcile().is_settled());
    assert!(app.submits() > submits);
}

#[test]
fn without_a_ledger_nobody_knows_what_is_an_orphan() {
    let app = Setup::fast().only(&[Dataset::MeetingList]).start();
    assert!(app.reconcile().is_settled());
    let orphans = litter(&app);
    app.lose_ledger();
    let refused = app.meetlake(&["orphans", "--delete"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(orphans.iter().all(|path| path.exists()));
}

// --- who may own a ledger ------------------------------------------------------------------------

#[test]
fn a_second_owner_is_told_who_the_first_is() {
    let app = Setup::real().only(&[Dataset::TopUser]).start();
    let mut first = app.spawn(&["serve"]);
    let lock = app.path("meetlake.db.lock");
    let began = std::time::Instant::now();
    while fs::read_to_string(&lock).unwrap_or_default().is_empty() {
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "it does not serve"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let (from, to) = (app.first_day().to_string(), app.end_day().to_string());
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    for second in [
        &["run"][..],
        &["serve"],
        &["backfill", "--from", &from, "--to", &to],
        &["ledger", "rebuild"],
        &["replay"],
        &["orphans", "--delete"],
    ] {
        let output = app.meetlake(second);
        assert_eq!(output.code, 9, "{second:?}: {output:?}");
        for part in [
            "`meetlake serve`",
            &first.id().to_string(),
            host.trim(),
            "since 20",
        ] {
            assert!(
                output.stderr.contains(part),
                "{second:?} does not say {part}: {output:?}"
            );
        }
    }
    // Whoever only reads is not kept out.
    assert_eq!(app.meetlake(&["orphans"]).code, 0);
    signal(&first, "TERM");
    wait(&mut first, Duration::from_secs(25));
    assert_eq!(app.meetlake(&["replay"]).code, 0);
}

#[test]
fn a_ledger_from_the_future_is_refused_by_its_format() {
    let app = Setup::real().only(&[Dataset::TopUser]).start();
    app.with_ledger(async |ledger: &Ledger| ledger.set_meta("format", "99").await.expect("set"));
    for verb in [
        &["run"][..],
        &["status"],
        &["verify"],
        &["ledger", "rebuild"],
    ] {
        let output = app.meetlake(verb);
        assert_eq!(output.code, 2, "{verb:?}: {output:?}");
        assert!(output.stderr.contains("has format 99"), "{output:?}");
    }
}
