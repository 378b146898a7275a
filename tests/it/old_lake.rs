//! A lake of format 1, as an earlier meetlake left it: it is known, refused by name, and written
//! into a new lake without asking Feishu.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use meetlake::testing::dataset::Dataset;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::app::{Output, binary, finish, snapshot};
use crate::lake::{self, below, read_json, rows_of};

/// A demo of two days and three meetings, with a short list, exports that failed, and a day that was published
/// twice; and its ledger.
const FIXTURE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/fixtures/lake-format-1.tar.xz"
);
const TENANT: &str = "demo";

/// A folder with the old lake, its ledger, and a configuration whose API is nowhere.
struct OldLake {
    folder: TempDir,
}

impl OldLake {
    fn unpacked() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut tar = Command::new("tar");
        let tar = tar.args(["-xJf", FIXTURE, "-C"]).arg(folder.path());
        assert!(tar.status().expect("tar runs").success());
        let this = Self { folder };
        this.configure("lake", "meetlake.db");
        // Reservations need ids, which no lake has.
        let has_ids = |dataset: &Dataset| dataset.as_str() == "reserve";
        for dataset in Dataset::ALL.into_iter().filter(|of| !has_ids(of)) {
            let days = match !dataset.has_history() {
                true => "",
                false => "settle_delay = \"1h\"\nlookback = \"0d\"\nstart = 2026-10-17\n",
            };
            let job = format!("version = 1\ndataset = \"{dataset}\"\ncron = \"0 5 * * *\"\n{days}");
            this.write(&format!("jobs/{dataset}.toml"), &job);
        }
        // What an earlier meetlake put aside.
        let quarantined = format!("lake/{}", quarantined());
        this.write(&format!("{quarantined}.bin"), "no workbook");
        let record = json!({ "task_key": "a hash without a key", "reason": "it is no workbook" });
        this.write(&format!("{quarantined}.json"), &record.to_string());
        this
    }

    fn configure(&self, lake: &str, ledger: &str) {
        let config = format!(
            "version = 1\n[lake]\nurl = \"{lake}\"\nkey_file = \"keys/lake.key\"\n[ledger]\npath = \"{ledger}\"\n\
             [tenants.{TENANT}]\nhost = \"http://127.0.0.1:9\"\napp_id = \"cli_1\"\napp_secret = \"no-secret\"\n\
             allow_inline_secret = true\ntime_zone = \"Asia/Shanghai\"\n"
        );
        self.write("meetlake.toml", &config);
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder above")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = binary();
        command
            .current_dir(self.folder.path())
            .args(args)
            .arg("--config")
            .arg(self.path("meetlake.toml"));
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        finish(&mut self.command(args))
    }
}

/// Where the workbook in quarantine lies, without its extension.
fn quarantined() -> String {
    let sha256 = lake::sha256(b"no workbook");
    format!("_quarantine/meeting_list/tenant={TENANT}/{sha256}")
}

#[test]
fn every_verb_refuses_it_and_names_the_one_that_takes_it_over() {
    let old = OldLake::unpacked();
    let before = snapshot(old.folder.path());
    let verbs: [&[&str]; 11] = [
        &["run"],
        &["backfill", "--from", "2026-10-17", "--to", "2026-10-18"],
        &["serve", "--listen", "127.0.0.1:0"],
        &["retry", "--quarantine"],
        &["replay"],
        &["verify"],
        &["orphans"],
        &["orphans", "--delete"],
        &["ledger", "rebuild"],
        &["plan"],
        &["status"],
    ];
    for verb in verbs {
        let output = old.run(verb);
        assert_eq!(output.code, 2, "{verb:?}: {output:?}");
        let said = format!("{}{}", output.stdout, output.stderr);
        assert!(
            said.contains("has format 1") && said.contains("`meetlake replay --into URL`"),
            "{verb:?}: {said}"
        );
    }
    let doctor = old.run(&["doctor"]).text();
    assert!(doctor.contains("has format 1"), "{doctor}");
    let after = snapshot(old.folder.path());
    let is_of_verbs = |path: &Path| path.extension().is_some_and(|e| e == "lock");
    let left: Vec<_> = after.keys().filter(|path| !is_of_verbs(path)).collect();
    assert_eq!(left, before.keys().collect::<Vec<_>>());
    for (path, content) in before {
        assert!(after[&path] == content, "{} was changed", path.display());
    }
}

/// The rows of an object without what depends on format, key and contract, in an order of their own.
fn rows(object: &Path) -> Vec<String> {
    let mut rows: Vec<String> = rows_of(object)
        .into_iter()
        .map(|mut row| {
            // What format 1 had no column for.
            if let Some(extra) = row.get_mut("_extra").and_then(Value::as_object_mut)
                && let Some(text) = extra.remove("系统平均 CPU 占用")
            {
                let percent = text.as_str().and_then(|text| text.strip_suffix('%'));
                let percent = percent.and_then(|text| text.parse::<f64>().ok());
                if extra.is_empty() {
                    row.insert("_extra".into(), Value::Null);
                }
                row.insert("system_cpu_avg_percent".into(), json!(percent));
            }
            for name in [
                "_task_key",
                "_contract_version",
                "_source_mode",
                "meeting_key",
                "participation_key",
                "booking_key",
            ] {
                row.remove(name);
            }
            // A column that came later has nothing to tell of an older row.
            row.retain(|_, value| !value.is_null());
            format!("{row:?}")
        })
        .collect();
    rows.sort();
    rows
}

/// The objects below a lake, by their paths.
fn objects(lake: &Path) -> BTreeMap<PathBuf, Vec<String>> {
    let objects = below(lake).into_iter();
    objects
        .filter(|path| path.extension().is_some_and(|e| e == "parquet"))
        .map(|path| {
            let name = path.strip_prefix(lake).expect("below it").to_owned();
            (name, rows(&path))
        })
        .collect()
}

/// The newest manifest of each partition, by the folder it lies in.
fn newest(lake: &Path) -> BTreeMap<PathBuf, Value> {
    let mut newest = BTreeMap::new();
    for path in below(&lake.join("_manifest")) {
        let folder = path.parent().expect("a folder");
        if folder.ends_with("inputs") {
            continue;
        }
        if let Some((_, record)) = lake::records(folder).into_iter().next_back() {
            let name = folder.strip_prefix(lake).expect("below it").to_owned();
            newest.insert(name, read_json(&record));
        }
    }
    newest
}

/// The new lake holds what the old one does, and is sound.
fn is_taken_over(old: &OldLake, new: &Path) {
    assert_eq!(objects(new), objects(&old.path("lake")));
    assert_eq!(lake::unsound(new), [""; 0]);
    let (before, after) = (newest(&old.path("lake")), newest(new));
    assert_eq!(before.len(), after.len());
    let mut reasons = Vec::new();
    for (folder, record) in after {
        assert_eq!(record["format"], json!(2));
        assert_eq!(record["contract_version"], json!(2));
        let mut old = before[&folder].clone();
        // Three counts have the names now that they have everywhere else.
        for (was, is) in [
            ("min_participants", "below_min_participants"),
            ("sampled", "not_sampled"),
            ("max_tasks", "over_max_tasks"),
        ] {
            if let Some(left_out) = old.pointer_mut("/coverage/left_out") {
                let left_out = left_out.as_object_mut().expect("counts");
                let count = left_out.remove(was).expect("a count");
                left_out.insert(is.to_owned(), count);
            }
        }
        for same in ["state", "rows", "coverage"] {
            assert_eq!(record[same], old[same], "{same} of {}", folder.display());
        }
        let replayed = record["replayed_from"].as_str().expect("a hash");
        assert_eq!(replayed.len(), 64);
        reasons.extend(record["reasons"].as_array().expect("a list").clone());
    }
    let kinds: Vec<&str> = reasons
        .iter()
        .filter_map(|reason| reason["kind"].as_str())
        .collect();
    assert_eq!(kinds, ["unknown", "not_exported"]);
    let quarantined = new.join(quarantined());
    assert_eq!(
        fs::read(quarantined.with_extension("bin")).expect("copied"),
        b"no workbook"
    );
    let record = read_json(&quarantined.with_extension("json"));
    assert_eq!(record, json!({ "reason": "it is no workbook" }));
}

#[test]
fn a_lake_does_not_go_into_itself_or_into_nowhere() {
    let old = OldLake::unpacked();
    let before = snapshot(&old.path("lake"));
    for (into, says) in [
        ("", "--into has no value"),
        ("lake", "is the configured lake itself"),
        ("lake/new", "inside of the other"),
        ("lake/meeting_list/tenant=demo", "inside of the other"),
        (".", "inside of the other"),
    ] {
        let refused = old.run(&["replay", "--into", into]);
        assert_eq!(refused.code, 2, "{into:?} {refused:?}");
        assert!(refused.stderr.contains(says), "{into:?} {refused:?}");
    }
    assert!(snapshot(&old.path("lake")) == before);
}

#[test]
fn its_data_goes_into_a_new_lake_and_its_ledger_is_rebuilt_from_that() {
    let old = OldLake::unpacked();
    let before = snapshot(&old.path("lake"));
    let ledger = fs::read(old.path("meetlake.db")).expect("a ledger");
    let output = old.run(&["replay", "--into", "new"]);
    assert_eq!(output.code, 0, "{output:?}");
    for step in ["set url = ", "meetlake.db away", "meetlake ledger rebuild"] {
        assert!(output.stdout.contains(step), "{step}: {}", output.stdout);
    }
    assert!(
        snapshot(&old.path("lake")) == before,
        "the old lake was changed"
    );
    assert!(fs::read(old.path("meetlake.db")).expect("there") == ledger);
    let left = fs::read_dir(old.path("")).expect("a folder").flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
    let is_scratch = |name: &std::ffi::OsString| name.to_string_lossy().contains("replay-into");
    assert!(!left.iter().any(is_scratch), "{left:?}");
    let new = old.path("new");
    is_taken_over(&old, &new);

    // A second time there is nothing to do.
    let files = snapshot(&new);
    let again = old.run(&["replay", "--into", "new", "--json"]);
    assert_eq!(
        (again.code, &again.json()["counts"]["written"]),
        (0, &json!(0)),
        "{again:?}"
    );
    let same = |files: &BTreeMap<PathBuf, (Vec<u8>, _)>| -> Vec<(PathBuf, Vec<u8>)> {
        let of_data = |path: &&PathBuf| !path.ends_with("lake.json");
        let files = files.iter().filter(|(path, _)| of_data(path));
        files
            .map(|(path, (bytes, _))| (path.clone(), bytes.clone()))
            .collect()
    };
    assert!(same(&files) == same(&snapshot(&new)));

    // The old ledger does not go with the new lake; a new one takes it over.
    old.configure("new", "meetlake.db");
    let refused = old.run(&["run"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(
        refused.stderr.contains("meetlake ledger rebuild"),
        "{refused:?}"
    );
    let same = fs::read(old.path("meetlake.db")).expect("there") == ledger;
    assert!(same, "the old ledger was migrated before it was refused");
    old.configure("new", "state/meetlake.db");
    let rebuilt = old.run(&["ledger", "rebuild", "--json"]);
    assert_eq!(
        (rebuilt.code, &rebuilt.json()["problems"]),
        (0, &json!([])),
        "{rebuilt:?}"
    );
    let verified = old.run(&["verify"]);
    assert_eq!(verified.code, 0, "{verified:?}");
    // What was published is not asked for again: of the two days only the failed exports are.
    let range = [
        "plan",
        "--from",
        "2026-10-17",
        "--to",
        "2026-10-19",
        "--json",
    ];
    let plan = old.run(&range).json();
    println!("{plan}");
    let asked: BTreeMap<&str, &Value> = plan["tenants"][0]["jobs"]
        .as_array()
        .expect("jobs")
        .iter()
        .map(|job| (job["dataset"].as_str().expect("a name"), &job["tasks"]))
        .collect();
    for dataset in [
        "daily_report",
        "meeting_list",
        "top_user",
        "resource_reservation_list",
    ] {
        assert_eq!(asked[dataset], &json!(0), "{dataset}: {plan}");
    }
}

#[test]
fn a_day_that_the_new_lake_has_published_itself_stays_as_it_is() {
    let old = OldLake::unpacked();
    assert_eq!(old.run(&["replay", "--into", "new"]).code, 0);
    let folder = format!("new/_manifest/meeting_list/tenant={TENANT}/dt=2026-10-18");
    let first = fs::read(old.path(&folder).join("r000001.json")).expect("a manifest");
    let mut next: Value = serde_json::from_slice(&first).expect("JSON");
    next["revision"] = json!(2);
    next["previous_sha256"] = json!(lake::sha256(&first));
    next.as_object_mut()
        .expect("a record")
        .remove("replayed_from");
    old.write(&format!("{folder}/r000002.json"), &next.to_string());
    let before = objects(&old.path("new"));
    let output = old.run(&["replay", "--into", "new"]);
    assert_eq!(output.code, 7, "{output:?}");
    let said = "the new lake has published the day itself since";
    assert_eq!(output.stdout.matches(said).count(), 1, "{output:?}");
    assert_eq!(objects(&old.path("new")), before);
    // What is only a part does not end with the way on.
    let part = old.run(&["replay", "room", "--into", "part"]);
    assert_eq!(part.code, 0, "{part:?}");
    assert!(part.stdout.contains("Only what was named"), "{part:?}");
    assert!(!part.stdout.contains("set url"), "{part:?}");
}

#[test]
fn a_pack_that_is_damaged_leaves_its_days_out_and_says_so() {
    let old = OldLake::unpacked();
    let meetings = old.path(&format!(
        "lake/_manifest/meeting_list/tenant={TENANT}/dt=2026-10-18"
    ));
    let record = read_json(&meetings.join("r000001.json"));
    let pack = record["packs"][0].as_str().expect("a pack");
    let pack = old.path(&format!("lake/_raw/tenant={TENANT}/{pack}.zip"));
    let mut bytes = fs::read(&pack).expect("a pack");
    bytes[100] ^= 1;
    fs::write(&pack, bytes).expect("written");
    let output = old.run(&["replay", "--into", "new"]);
    assert_eq!(output.code, 7, "{output:?}");
    assert!(
        output.stdout.contains("not what its name says"),
        "{output:?}"
    );
    assert!(!output.stdout.contains("set url"), "{output:?}");
    let left = objects(&old.path("lake"));
    let taken = objects(&old.path("new"));
    assert!(taken.len() < left.len() && !taken.is_empty());
    for (name, rows) in taken {
        assert_eq!(rows, left[&name], "{}", name.display());
    }
}

/// Two at once into the same new lake: one does it, and the other is told that somebody does, or did.
#[test]
fn two_at_once_do_it_once_and_the_other_is_told_why_not() {
    for round in 0..4 {
        let old = OldLake::unpacked();
        let into = ["replay", "--into", "new"];
        let children = [0, 1].map(|number| {
            // One begins while the other works, or while it ends.
            std::thread::sleep(Duration::from_millis(number * round * 700));
            let mut command = old.command(&into);
            let child = command.stdout(Stdio::piped()).stderr(Stdio::piped());
            child.spawn().expect("it starts")
        });
        let ended = children.map(|child| child.wait_with_output().expect("it ends"));
        let codes = ended.each_ref().map(|output| output.status.code());
        assert!(codes.contains(&Some(0)), "{ended:?}");
        for output in &ended {
            let code = output.status.code();
            assert!([Some(0), Some(9)].contains(&code), "{round}: {output:?}");
        }
        is_taken_over(&old, &old.path("new"));
    }
}

/// The folder of a replay is gone before its ledger is open, because the other one ended in that moment.
#[cfg(feature = "failpoints")]
#[test]
fn one_that_begins_while_the_other_ends_says_so() {
    let old = OldLake::unpacked();
    let mut command = old.command(&["replay", "--into", "new"]);
    let command = command.env("FAILPOINTS", "wait-ledger-locked=sleep(2000)");
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("it starts");
    let scratch = || {
        let entries = fs::read_dir(old.folder.path()).expect("a folder");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        paths.into_iter().find(|path| {
            let name = path.file_name().expect("a name").to_string_lossy();
            name.contains("replay-into") && path.join("meetlake.db.lock").exists()
        })
    };
    let began = Instant::now();
    while scratch().is_none() {
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "no lock is taken"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    fs::remove_dir_all(scratch().expect("it is there")).expect("removed");
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(9), "{said}");
    assert!(
        said.contains("another `meetlake replay --into new` has ended meanwhile"),
        "{said}"
    );
    assert_eq!(old.run(&["replay", "--into", "new"]).code, 0);
    is_taken_over(&old, &old.path("new"));
}

#[test]
fn what_is_no_lake_of_format_1_is_not_taken_over() {
    let old = OldLake::unpacked();
    for (into, said) in [
        ("lake", "is the configured lake itself"),
        ("ftp://example.com/x", "must begin with"),
    ] {
        let output = old.run(&["replay", "--into", into]);
        assert_eq!(output.code, 2, "{output:?}");
        assert!(output.stderr.contains(said), "{output:?}");
    }
    assert_eq!(old.run(&["replay", "--into", "new"]).code, 0);
    old.configure("new", "meetlake.db");
    let output = old.run(&["replay", "--into", "newer"]);
    assert!(
        output.stderr.contains("has the present format"),
        "{output:?}"
    );
    old.configure("nothing", "meetlake.db");
    let output = old.run(&["replay", "--into", "newer"]);
    assert!(output.stderr.contains("holds nothing"), "{output:?}");
}

/// Killed at each of its steps, at an early and at a late partition, it goes on and ends with the same lake.
#[cfg(feature = "failpoints")]
#[test]
fn killed_at_any_step_it_goes_on() {
    let points = [
        "w08-replayed-pack-put",
        "w08-object-written",
        "w09-replayed-object-put",
        "w09-inputs-put",
        "w10-replayed-manifest-put",
    ];
    for point in points {
        let old = OldLake::unpacked();
        for passes in [0, 3, 5] {
            let mut command = old.command(&["replay", "--into", "new"]);
            command.env("FAILPOINTS", format!("{point}={passes}*off->return"));
            let killed = command.output().expect("the binary starts");
            assert_eq!(
                killed.status.code(),
                None,
                "{point} after {passes}: {killed:?}"
            );
        }
        let output = old.run(&["replay", "--into", "new"]);
        assert_eq!(output.code, 0, "{point}: {output:?}");
        is_taken_over(&old, &old.path("new"));
    }
}
