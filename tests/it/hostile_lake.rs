//! A lake whose records somebody else has written: one that names another object or another day than its place, and ones that are far too large.
//! Whoever reads them says that they are damaged, takes nothing from them, and does not take them into memory.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use meetlake::testing::dataset::Dataset;
use serde_json::{Value, json};

use crate::app::{Output, Setup, TENANT, TestApp, snapshot};
use crate::lake;

/// More than any record has. The files are sparse: the disk does not hold so much.
const HUGE_BYTES: u64 = 300 << 20;

fn whole() -> TestApp {
    let app = Setup::fast()
        .only(&[Dataset::MeetingList, Dataset::ParticipantList])
        .start();
    assert!(app.reconcile().is_settled());
    app
}

/// The object of a day, below the lake.
fn object_of(manifest: &Path) -> String {
    let record = lake::read_json(manifest);
    record["object"]["path"]
        .as_str()
        .expect("a path")
        .to_owned()
}

fn change(manifest: &Path, change: impl FnOnce(&mut Value)) {
    let mut record = lake::read_json(manifest);
    change(&mut record);
    fs::write(manifest, serde_json::to_vec(&record).expect("JSON")).expect("written");
}

fn assert_damaged(output: &Output, code: i32, path: &Path, because: &str) {
    assert_eq!(output.code, code, "{output:?}");
    let text = output.text();
    let name = path.file_name().expect("a name").to_string_lossy();
    assert!(
        text.contains(&*name) && text.contains(because),
        "{because}: {output:?}"
    );
}

#[test]
fn a_manifest_that_names_another_object_or_day_is_damaged_to_whoever_reads_it() {
    let app = whole();
    let manifest = app.newest_manifest(Dataset::MeetingList);
    let kept = fs::read(&manifest).expect("a manifest");
    let other = object_of(&app.newest_manifest(Dataset::ParticipantList));
    let table: [(&str, Value, &str); 3] = [
        ("/object/path", json!(other), "names another object"),
        ("/tenant", json!("else"), "it describes"),
        ("/dt", json!("2026-01-01"), "it describes"),
    ];
    for (at, value, because) in table {
        change(&manifest, |record| {
            *record.pointer_mut(at).expect("it is there") = value;
        });
        let objects = |app: &TestApp| {
            let files = snapshot(&app.lake()).into_iter();
            let files = files.map(|(path, (bytes, _))| (path, bytes));
            let is_object = |path: &Path| path.extension().is_some_and(|end| end == "parquet");
            files
                .filter(|(path, _)| is_object(path))
                .collect::<BTreeMap<_, _>>()
        };
        let before = objects(&app);
        assert_damaged(&app.meetlake(&["verify"]), 7, &manifest, because);
        assert_damaged(&app.meetlake(&["replay"]), 7, &manifest, because);
        app.lose_ledger();
        let rebuilt = app.meetlake(&["ledger", "rebuild"]);
        assert_damaged(&rebuilt, 7, &manifest, because);
        let last = rebuilt.stdout.lines().last().unwrap_or_default();
        assert!(
            last.contains("the ledger lacks what") && last.contains("meetlake verify"),
            "{rebuilt:?}"
        );
        // With the rebuilt ledger, which has nothing of the day.
        assert_damaged(&app.meetlake(&["verify"]), 7, &manifest, because);
        let run = app.backfill(&[]);
        assert_damaged(&run, 8, &manifest, because);
        let after = objects(&app);
        let untouched = |path: &&PathBuf| after.get(*path) == before.get(*path);
        assert!(before.keys().all(|path| untouched(&path)), "{run:?}");
        fs::write(&manifest, &kept).expect("restored");
        app.lose_ledger();
        app.rebuild();
        app.verified();
    }
}

#[test]
fn a_record_of_300_megabytes_is_damaged_and_not_read() {
    let app = whole();
    let manifest = app.newest_manifest(Dataset::ParticipantList);
    let folder = manifest.parent().expect("a folder");
    let chunk = lake::read_json(&manifest)["inputs"][0]["sha256"].clone();
    let chunk = folder.join(format!("inputs/{}.json", chunk.as_str().expect("a hash")));
    let coverage = manifest.with_extension("coverage.json");
    let of_tenant = app.lake().join(format!("_meetlake/tenant={TENANT}.json"));
    let of_lake = app.lake().join("_meetlake/lake.json");
    let because = format!("{HUGE_BYTES} bytes, and none has more than");
    for (path, verify, replay) in [
        (&manifest, 7, 7),
        (&chunk, 7, 7),
        (&coverage, 7, 0),
        (&of_tenant, 7, 8),
        (&of_lake, 8, 8),
    ] {
        let kept = fs::read(path).expect("a record");
        let file = fs::File::create(path).expect("emptied");
        file.set_len(HUGE_BYTES).expect("a sparse file");
        assert_damaged(&app.meetlake(&["verify"]), verify, path, &because);
        let replayed = app.meetlake(&["replay"]);
        match replay {
            0 => assert_eq!(replayed.code, 0, "{replayed:?}"),
            code => assert_damaged(&replayed, code, path, &because),
        }
        fs::write(path, kept).expect("restored");
    }
    app.verified();
}
