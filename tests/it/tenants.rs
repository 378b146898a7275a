//! Several tenants on one machine.

use meetlake::testing::dataset::Dataset;

use crate::app::{Setup, TENANT};
use crate::lake;

/// Tenants with the same data, which therefore get the same bytes again and again.
const OTHERS: [&str; 5] = ["beta", "gamma", "delta", "epsilon", "zeta"];

#[test]
fn tenants_with_the_same_bytes_do_not_take_them_from_one_another() {
    let datasets = [
        Dataset::MeetingList,
        Dataset::ParticipantList,
        Dataset::DailyReport,
    ];
    let app = Setup::fast()
        .only(&datasets)
        .with(|options| options.days = 2)
        .start();
    let alone = app.backfill(&[]);
    assert_eq!(alone.code, 0, "{alone:?}");
    let submits = app.submits();

    let config = std::fs::read_to_string(app.path("meetlake.toml")).expect("a configuration");
    let (head, tenant) = config
        .split_once(&format!("[tenants.{TENANT}]\n"))
        .expect("one");
    let (tenant, tail) = tenant.split_once("[limits]\n").expect("limits");
    let all = [&[TENANT], OTHERS.as_slice()].concat();
    let tenants: String = all
        .iter()
        .map(|name| format!("[tenants.{name}]\n{tenant}"))
        .collect();
    app.write("meetlake.toml", &format!("{head}{tenants}[limits]\n{tail}"));
    let together = app.backfill(&["--log", "warn"]);
    assert_eq!(together.code, 0, "{together:?}");
    let told = together.text();
    assert!(!told.contains("spool"), "{told}");
    assert_eq!(app.submits(), submits * all.len() as u64, "{told}");
    for dataset in datasets {
        let files = lake::files(&app.lake(), dataset);
        assert_eq!(files.len(), all.len() * 2, "{files:?}");
    }
    let kept = lake::below(&app.path("spool")).into_iter();
    let rows: Vec<_> = kept
        .filter(|path| path.to_string_lossy().contains("/rows/"))
        .collect();
    assert!(rows.is_empty(), "{rows:?}");
}
