//! What the company did is in the lake: every row once, nothing else, the second run changes nothing; and the checkers that say so would notice
//! if it were not.

use std::fs;
use std::path::{Path, PathBuf};

use arrow::compute::concat_batches;
use meetlake::testing::dataset::Dataset;
use parquet::arrow::ArrowWriter;

use crate::app::{Setup, TestApp, snapshot};
use crate::lake::{self, unsound};
use crate::truth::Truth;

impl TestApp {
    /// Asserts that the lake is sound and holds the company's truth.
    pub(crate) fn assert_conserved(&self) {
        self.assert_conserved_with(|_| ());
    }

    pub(crate) fn assert_conserved_with(&self, change: impl FnOnce(&mut Truth<'_>)) {
        let mut truth = Truth::of(self.server().company(), self.now());
        change(&mut truth);
        let wrong = [unsound(&self.lake()), truth.differences(&self.lake())].concat();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    pub(crate) fn now(&self) -> jiff::Timestamp {
        self.setup.options.clock.now()
    }
}

#[test]
fn a_run_of_the_binary_brings_every_row_once_and_the_next_changes_nothing() {
    let app = Setup::real().start();
    app.teach_pace();
    let first = app.meetlake(&["run", "--json"]);
    assert_eq!(first.code, 0, "{first:?}");
    app.assert_conserved();
    let report = app.report();
    assert_eq!(report.duplicate_submits, 0, "{:?}", report.duplicates);
    assert!(report.unknown_parameters.is_empty(), "{report:?}");
    let before = snapshot(&app.lake());
    let second = app.meetlake(&["run"]);
    assert_eq!(second.code, 0, "{second:?}");
    assert_eq!(
        app.submits(),
        report.exports_submitted.values().sum::<u64>()
    );
    assert!(before == snapshot(&app.lake()), "the second run wrote");
}

#[test]
fn a_week_is_conserved_value_by_value() {
    let app = Setup::fast()
        .with(|options| (options.days, options.meetings_per_day) = (7, 8))
        .start();
    let summary = app.reconcile();
    assert!(summary.is_settled(), "{summary:?}");
    app.assert_conserved();
    assert_eq!(app.report().duplicate_submits, 0);
}

#[test]
fn top_users_are_ranked_without_gaps_for_both_orders() {
    let app = Setup::fast().only(&[Dataset::TopUser]).start();
    assert!(app.reconcile().is_settled());
    let rows = lake::rows(&app.lake(), Dataset::TopUser);
    for dt in [app.first_day(), app.server().last_day()] {
        for order in ["meeting_count", "meeting_duration"] {
            let of_day = rows
                .iter()
                .filter(|row| row["dt"] == dt.to_string() && row["order_by"] == order);
            let mut ranks: Vec<i64> = of_day
                .clone()
                .map(|row| row["rank"].as_i64().expect("a rank"))
                .collect();
            ranks.sort_unstable();
            assert_eq!(
                ranks,
                (1..=ranks.len() as i64).collect::<Vec<_>>(),
                "{dt} {order}"
            );
            assert!(ranks.len() > 5, "{dt} {order}");
        }
    }
}

// --- the checkers notice ------------------------------------------------------------------------------------------

#[test]
fn a_lost_row_is_noticed() {
    with_planted(
        |app| {
            let file = object(app);
            let batch = lake::batches(&file);
            let batch = concat_batches(&batch[0].schema(), &batch).expect("one batch");
            let mut writer = ArrowWriter::try_new(
                fs::File::create(&file).expect("a file"),
                batch.schema(),
                None,
            )
            .expect("a writer");
            writer
                .write(&batch.slice(1, batch.num_rows() - 1))
                .expect("written");
            writer.close().expect("closed");
        },
        &[
            "missing",
            "the object is not that of the newest manifest",
            "rows, the manifest says",
        ],
    );
}

#[test]
fn a_doubled_file_is_noticed() {
    with_planted(
        |app| {
            let file = object(app);
            fs::copy(&file, file.with_file_name("part-1.parquet")).expect("copied");
        },
        &["not in the truth", "not one part-0.parquet"],
    );
}

#[test]
fn a_broken_chain_and_a_lost_revision_are_noticed() {
    let first = |app: &TestApp| manifest_folder(&app.lake(), app).join("r000001.json");
    with_planted(
        |app| {
            // A second revision that follows nothing.
            let second = first(app).with_file_name("r000002.json");
            fs::copy(first(app), second).expect("copied");
        },
        &["the chain is broken at revision 2"],
    );
    with_planted(
        |app| fs::rename(first(app), first(app).with_file_name("r000002.json")).expect("renamed"),
        &["revision 1 is missing"],
    );
}

#[test]
fn changed_originals_are_noticed() {
    with_planted(
        |app| {
            let pack = lake::below(&app.lake().join("_raw")).remove(0);
            let mut bytes = fs::read(&pack).expect("a pack");
            bytes.push(0);
            fs::write(&pack, bytes).expect("written");
        },
        &["its name is not its content"],
    );
}

fn with_planted(plant: impl FnOnce(&TestApp), expected: &[&str]) {
    let app = Setup::fast().only(&[Dataset::MeetingList]).start();
    assert!(app.reconcile().is_settled());
    let truth = Truth::of(app.server().company(), app.now());
    let check = || {
        let differing = truth.differences_of(&app.lake(), Dataset::MeetingList);
        [differing, unsound(&app.lake())].concat().join("\n")
    };
    assert_eq!(check(), "");
    plant(&app);
    let found = check();
    for text in expected {
        assert!(found.contains(text), "{text} is not in:\n{found}");
    }
}

#[test]
fn a_day_whose_object_is_gone_or_damaged_is_made_anew() {
    let app = Setup::fast().start();
    app.reconcile();
    let hashes = app.content_hashes();
    fs::remove_file(object(&app)).expect("removed");
    let people = lake::files(&app.lake(), Dataset::ParticipantList).remove(0);
    fs::write(&people, "garbage").expect("damaged");
    // Participants of unchanged meetings are not exported again: theirs come from the archived originals.
    app.again();
    app.assert_conserved();
    assert_eq!(app.content_hashes(), hashes);
}

fn object(app: &TestApp) -> PathBuf {
    lake::files(&app.lake(), Dataset::MeetingList).remove(0)
}

fn manifest_folder(lake: &Path, app: &TestApp) -> PathBuf {
    let object = object(app);
    let partition = object.parent().expect("a folder");
    lake.join("_manifest")
        .join(partition.strip_prefix(lake).expect("below the lake"))
}
