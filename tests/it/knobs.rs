//! What the API leaves open makes no difference to the lake: the simulator answers each open question the other way, and the content hashes are
//! those of the default, or the rows are still the truth where the sheets carry other columns or words.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::Duration;

use meetlake::testing::dataset::Dataset;
use meetlake::testing::exit::Code;
use meetlake_simulator::{
    DayBucket, ExtraSheets, Knobs, Language, Layout, Selection, UnknownTarget,
};

use crate::app::{Setup, TestApp};
use crate::lake;

type Hashes = BTreeMap<(String, String), String>;

/// Three days: they hold a meeting of 25 hours and some that cross midnight. One layout: when two requests bring the same row, the last wins,
/// and with the default mixture the two could differ in their columns.
fn setup() -> Setup {
    Setup::fast()
        .with(|options| options.days = 3)
        .knobs(|knobs| knobs.layout = Layout::Observed)
}

fn run(change: impl FnOnce(&mut Knobs)) -> TestApp {
    let app = setup().knobs(change).start();
    let summary = app.reconcile();
    assert!(summary.is_settled(), "{summary:?}");
    app
}

static DEFAULT: LazyLock<Hashes> = LazyLock::new(|| run(|_| ()).content_hashes());

/// Partitions whose content is not that of the default.
fn differing(app: &TestApp) -> BTreeSet<(String, String)> {
    let hashes = app.content_hashes();
    let keys = hashes.keys().chain(DEFAULT.keys()).cloned();
    keys.filter(|key| hashes.get(key) != DEFAULT.get(key))
        .collect()
}

fn assert_same_content(change: impl FnOnce(&mut Knobs)) {
    let app = run(change);
    let differing = differing(&app);
    assert!(differing.is_empty(), "{differing:?}");
    app.assert_conserved();
}

#[test]
fn selection_by_overlap_gives_the_same_lake() {
    assert_same_content(|knobs| knobs.selection = Selection::Overlap);
}

#[test]
fn an_inclusive_end_gives_the_same_lake() {
    assert_same_content(|knobs| {
        (knobs.end_inclusive, knobs.selection) = (true, Selection::Overlap);
    });
}

#[test]
fn levels_with_their_descendants_give_the_same_lake() {
    assert_same_content(|knobs| knobs.with_descendants = true);
}

#[test]
fn sheets_of_notes_and_split_sheets_give_the_same_lake() {
    assert_same_content(|knobs| knobs.extra_sheets = ExtraSheets::Notes);
    let app = run(|knobs| knobs.extra_sheets = ExtraSheets::Split);
    app.assert_conserved();
    // A slot that was booked twice has one key: its rows stand in the order of their sheets.
    let datasets: BTreeSet<String> = differing(&app).into_iter().map(|key| key.0).collect();
    assert!(
        datasets
            .iter()
            .all(|dataset| dataset == "resource_reservation_list"),
        "{datasets:?}"
    );
}

#[test]
fn date_times_without_a_zone_and_numeric_counts_give_the_same_lake() {
    assert_same_content(|knobs| (knobs.zone_suffix, knobs.numeric_counts) = (false, true));
}

#[test]
fn accepted_spans_failed_targets_and_old_limits_give_the_same_lake() {
    assert_same_content(|knobs| {
        (knobs.refuse_long_spans, knobs.refuse_old_reports) = (false, false);
        knobs.unknown_target = UnknownTarget::FailedTask;
        (knobs.rate_limit_as_400, knobs.misleading_fail_msg) = (true, 1.0);
        knobs.export_times.participant_list = Duration::from_secs(90);
    });
}

#[test]
fn local_day_buckets_change_the_daily_report_and_nothing_else() {
    let app = run(|knobs| knobs.day_bucket = DayBucket::Local);
    let datasets: BTreeSet<String> = differing(&app).into_iter().map(|key| key.0).collect();
    assert_eq!(datasets, BTreeSet::from(["daily_report".to_owned()]));
    // Each day is there once all the same, and says where its bucket begins.
    app.assert_conserved_with(|truth| truth.utc_buckets = false);
}

#[test]
fn every_layout_and_language_tells_the_truth() {
    for layout in [Layout::Documented, Layout::Observed] {
        for language in [Language::Zh, Language::En] {
            let app = run(|knobs| (knobs.layout, knobs.language) = (layout, language));
            app.assert_conserved_with(|truth| truth.english = language == Language::En);
        }
    }
}

#[test]
fn what_only_the_observed_layout_carries_lands_in_extra() {
    let app = run(|knobs| knobs.layout = Layout::Observed);
    for (dataset, header) in [
        (Dataset::ParticipantList, "连接类型"),
        (Dataset::ResourceReservationList, "是否提前释放"),
    ] {
        let rows = lake::rows(&app.lake(), dataset);
        let carrying = rows.iter().filter(|row| {
            row["_extra"]
                .as_object()
                .is_some_and(|extra| extra.contains_key(header))
        });
        assert!(carrying.count() > 0, "{dataset}: {header}");
    }
    // This one has a column of its own.
    let minutes = lake::rows(&app.lake(), Dataset::ParticipantQualityList);
    let figure = |row: &lake::Row| row["system_cpu_avg_percent"] == 21.0;
    assert!(!minutes.is_empty() && minutes.iter().all(figure));
    assert!(minutes.iter().all(|row| row["_extra"].is_null()));
}

#[test]
fn rooms_with_ids_have_their_quality_too() {
    let app = run(|knobs| (knobs.room_id_column, knobs.layout) = (true, Layout::Documented));
    app.assert_conserved_with(|truth| truth.rooms_have_ids = true);
    let rows = lake::rows(&app.lake(), Dataset::ParticipantQualityList);
    assert!(rows.iter().any(|row| !row["room_id"].is_null()));
}

#[test]
fn a_refused_long_meeting_is_named_and_everything_else_is_there() {
    let app = setup()
        .knobs(|knobs| knobs.refuse_long_meetings = true)
        .start();
    let summary = app.reconcile();
    assert_eq!(summary.exit(), Code::NotSettled, "{summary:?}");
    let unsettled: Vec<_> = summary.unsettled.iter().map(|row| row.dataset).collect();
    assert!(
        unsettled
            .iter()
            .all(|dataset| *dataset == Dataset::ParticipantQualityList),
        "{summary:?}"
    );
    let error = summary.unsettled[0].error.as_deref().unwrap_or_default();
    assert!(error.contains("span"), "{error}");
}
