//! The lake in a bucket: the same content as in a folder; and a bucket that is refused, absent or away ends the run with 8 and the cause, after
//! which a good one gets everything without a single new export.

use std::fs;

use meetlake::testing::dataset::Dataset;

use crate::app::{Output, Setup, TestApp};
use crate::stores::{Server, free_port};

const SECRET_KEY: &str = "test-secret-key";

fn lake_options(endpoint: &str) -> String {
    format!(
        "[lake.options]\naws_endpoint = \"{endpoint}\"\naws_region = \"us-east-1\"\naws_access_key_id = \"test-access-key\"\n\
         aws_secret_access_key = \"${{S3_SECRET}}\"\n"
    )
}

pub(crate) fn start(lake: &str, endpoint: &str) -> TestApp {
    let mut setup = Setup::real().only(&[Dataset::DailyReport, Dataset::MeetingList]);
    setup.lake = Some(lake.to_owned());
    setup.lake_options = lake_options(endpoint);
    let app = setup.start();
    app.teach_pace();
    app
}

pub(crate) fn run(app: &TestApp, args: &[&str]) -> Output {
    let output = crate::app::finish(app.command(args).env("S3_SECRET", SECRET_KEY));
    assert!(!output.text().contains(SECRET_KEY), "{output:?}");
    output
}

fn status_hashes(app: &TestApp) -> std::collections::BTreeMap<(String, String), String> {
    crate::app::content_hashes(&run(app, &["status", "--json"]).json())
}

/// A running S3 server with a bucket `lake`, and its address.
fn moto(app: &TestApp) -> Option<(Server, String)> {
    let (server, port) = app.block_on(Server::s3("lake"))?;
    Some((server, format!("http://127.0.0.1:{port}")))
}

/// The same application with another lake.
pub(crate) fn with_lake(mut app: TestApp, lake: &str, endpoint: &str) -> TestApp {
    app.setup.lake = Some(lake.to_owned());
    app.setup.lake_options = lake_options(endpoint);
    app.write_configuration();
    app
}

#[test]
fn a_bucket_holds_what_a_folder_holds_and_a_missing_one_is_named() {
    let folder = Setup::real()
        .only(&[Dataset::DailyReport, Dataset::MeetingList])
        .start();
    let Some((server, endpoint)) = moto(&folder) else {
        return;
    };
    folder.teach_pace();
    assert_eq!(folder.backfill(&[]).code, 0);

    let app = start("s3://no-such-bucket/some/where", &endpoint);
    let refused = run(&app, &["run"]);
    assert_eq!(refused.code, 8, "{refused:?}");
    assert!(refused.text().contains("no-such-bucket"), "{refused:?}");
    assert_eq!(app.submits(), 0, "exports for a lake that is not there");

    let app = with_lake(app, "s3://lake/some/where", &endpoint);
    let good = run(&app, &["run"]);
    assert_eq!(good.code, 0, "{good:?}");
    let in_bucket = status_hashes(&app);
    for (key, hash) in folder.content_hashes() {
        assert_eq!(in_bucket.get(&key), Some(&hash), "{key:?}");
    }
    let doctor = run(&app, &["doctor"]);
    assert_eq!(doctor.code, 0, "{doctor:?}");

    // A lake that is known and does not answer: what is exported meanwhile waits in the spool.
    drop(server);
    let submits = app.submits();
    let (from, to) = (app.first_day().to_string(), app.end_day().to_string());
    let away = run(&app, &["backfill", "--from", &from, "--to", &to, "--again"]);
    assert_eq!(away.code, 8, "{away:?}");
    assert!(app.submits() > submits, "the exports were not done");
}

#[test]
fn a_bucket_that_cannot_be_reached_ends_the_run_with_the_cause_and_doctor_says_so() {
    let endpoint = format!("http://127.0.0.1:{}", free_port());
    let app = start("s3://lake", &endpoint);
    let output = run(&app, &["run"]);
    assert_eq!(output.code, 8, "{output:?}");
    let doctor = run(&app, &["doctor", "--json"]);
    assert_eq!(doctor.code, 8, "{doctor:?}");
}

#[test]
fn a_folder_that_cannot_be_written_ends_the_run_with_8_and_the_next_run_goes_on() {
    let app = Setup::real()
        .only(&[Dataset::DailyReport, Dataset::MeetingList])
        .start();
    app.teach_pace();
    // A file in place of a dataset's folder stops root too.
    fs::create_dir_all(app.lake()).expect("a folder");
    for dataset in ["meeting_list", "daily_report"] {
        fs::write(app.lake().join(dataset), "in the way").expect("a file");
    }
    let output = app.meetlake(&["run"]);
    assert_eq!(output.code, 8, "{output:?}");
    assert!(output.text().contains("lake"), "{output:?}");
    let submits = app.submits();
    for dataset in ["meeting_list", "daily_report"] {
        fs::remove_file(app.lake().join(dataset)).expect("removed");
    }
    let next = app.meetlake(&["run"]);
    assert_eq!(next.code, 0, "{next:?}");
    assert_eq!(app.submits(), submits, "exports were done again");
    assert_eq!(crate::lake::unsound(&app.lake()), Vec::<String>::new());
}

#[test]
fn a_file_in_place_of_the_lake_ends_the_run_with_8() {
    let app = Setup::real().only(&[Dataset::DailyReport]).start();
    app.write("lake", "in the way");
    let output = app.meetlake(&["run"]);
    assert_eq!(output.code, 8, "{output:?}");
}
