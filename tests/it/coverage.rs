//! A job that bounds its fan-out: what is left out is counted, printed, and written beside the manifest.

use std::fs;

use meetlake::testing::dataset::Dataset;
use meetlake::testing::run::Summary;
use serde_json::Value;

use crate::app::{Setup, TENANT, TestApp};
use crate::lake;

fn start(bounds: &str) -> TestApp {
    Setup::fast()
        .only(&[Dataset::MeetingList, Dataset::ParticipantList])
        .job(Dataset::ParticipantList, &format!("[fan_out]\n{bounds}"))
        .start()
}

/// The newest coverage record of each day of `participant_list`.
fn records(app: &TestApp) -> Vec<Value> {
    let folder = app
        .lake()
        .join(format!("_manifest/participant_list/tenant={TENANT}"));
    let mut days: Vec<_> = fs::read_dir(folder)
        .expect("manifests")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    days.sort();
    days.iter()
        .map(|day| {
            let mut files = lake::below(day);
            files.retain(|file| file.to_string_lossy().ends_with(".coverage.json"));
            let newest = files
                .last()
                .unwrap_or_else(|| panic!("no coverage in {}", day.display()));
            lake::read_json(newest)
        })
        .collect()
}

/// Sums a number over the records, wherever it stands in them.
fn sum(records: &[Value], pointer: &str) -> u64 {
    let numbers = records.iter().map(|record| {
        record
            .pointer(pointer)
            .and_then(Value::as_u64)
            .unwrap_or_else(|| panic!("no {pointer} in {record}"))
    });
    numbers.sum()
}

fn assert_bounded(app: &TestApp, summary: &Summary, left_out: u64, reason: &str) {
    let coverage = summary.datasets[&Dataset::ParticipantList]
        .coverage
        .as_ref()
        .expect("coverage");
    assert_eq!(coverage.parents, 10);
    assert_eq!(coverage.planned, 10 - left_out);
    let records = records(app);
    assert_eq!(sum(&records, "/parents"), 10, "{records:?}");
    assert_eq!(sum(&records, "/planned"), 10 - left_out, "{records:?}");
    assert_eq!(
        sum(&records, &format!("/left_out/{reason}")),
        left_out,
        "{records:?}"
    );
    let status = app.status().to_string();
    assert!(status.contains("\"coverage\":{"), "{status}");
    let meetings: std::collections::BTreeSet<String> =
        lake::rows(&app.lake(), Dataset::ParticipantList)
            .iter()
            .map(|row| format!("{} {}", row["meeting_no"], row["meeting_start_time"]))
            .collect();
    assert_eq!(meetings.len() as u64, 10 - left_out);
}

#[test]
fn meetings_with_too_few_participants_are_counted() {
    let app = start("min_participants = 4");
    let summary = app.reconcile();
    let small = |meeting: &&std::sync::Arc<meetlake_simulator::company::Meeting>| {
        meeting.participant_count() < 4
    };
    let small = app
        .server()
        .company()
        .meetings()
        .iter()
        .filter(small)
        .count() as u64;
    assert!(small > 0, "choose another bound");
    assert!(summary.is_settled(), "{summary:#?}");
    assert_bounded(&app, &summary, small, "below_min_participants");
}

#[test]
fn a_sample_is_the_same_every_time_and_what_is_not_in_it_is_counted() {
    let planned = || {
        let app = start("sample = 0.5");
        let summary = app.reconcile();
        let left_out = summary.datasets[&Dataset::ParticipantList]
            .coverage
            .as_ref()
            .map_or(0, |coverage| coverage.not_sampled);
        assert!((1..10).contains(&left_out), "{summary:#?}");
        assert_bounded(&app, &summary, left_out, "not_sampled");
        app.content_hashes()
    };
    assert_eq!(planned(), planned());
}

#[test]
fn what_is_over_the_tasks_of_a_run_is_counted_and_comes_with_the_next() {
    let app = start("max_tasks_per_run = 4");
    let summary = app.reconcile();
    assert_bounded(&app, &summary, 6, "over_max_tasks");
    for _ in 0..2 {
        app.reconcile();
    }
    let rows = lake::rows(&app.lake(), Dataset::ParticipantList);
    let expected: usize = app
        .server()
        .company()
        .meetings()
        .iter()
        .map(|meeting| meeting.participants.len())
        .sum();
    assert_eq!(rows.len(), expected);
}
