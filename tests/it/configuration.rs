//! A wrong configuration: everything that is wrong at once, with file, line and the nearest right word; and no secret in any output.

use crate::app::{Output, SECRET, Setup, TestApp};

const CANARY: &str = "canary-4f1d-do-not-print";

fn broken() -> TestApp {
    let app = Setup::real().start();
    app.write(
        "meetlake.toml",
        &format!(
            "version = 1\n[lake]\nurl = \"ftp://example.com/lake\"\n[tenants.acme]\nhost = \"feishu\"\napp_id = \"cli_1\"\n\
             app_secret = \"{CANARY}\"\ntime_zone = \"Asia/Shangai\"\n[limits]\nexports_per_minut = 100\n"
        ),
    );
    app.write(
        "jobs/meeting_list.toml",
        "version = 1\ndataset = \"meeting_list\"\ncron = \"0 0 31 2 *\"\n",
    );
    app.write(
        "jobs/top_user.toml",
        "version = 1\ndataset = \"top_users\"\ncron = \"0 5 * * *\"\n",
    );
    app
}

fn assert_tells_all(output: &Output) {
    let text = output.text();
    for expected in [
        "meetlake.toml:3:",
        "s3://",
        "meetlake.toml:7:",
        "app_secret_file",
        "meetlake.toml:8:",
        "Asia/Shangai",
        "meetlake.toml:10:",
        "did you mean `exports_per_minute`?",
        "meeting_list.toml:3:",
        "never fires",
        "top_user.toml:2:",
        "`top_user`",
    ] {
        assert!(text.contains(expected), "{expected} is not in:\n{text}");
    }
    assert!(!text.contains(CANARY), "{text}");
}

#[test]
fn six_mistakes_are_told_at_once_by_every_verb_and_none_shows_the_secret() {
    let app = broken();
    for args in [
        &["validate"][..],
        &["run"],
        &["plan"],
        &["status"],
        &["doctor"],
        &["serve"],
        &["backfill", "--from", "2026-01-01", "--to", "2026-01-02"],
    ] {
        let output = app.meetlake(args);
        assert_eq!(output.code, 2, "{args:?}: {output:?}");
        assert_tells_all(&output);
    }
    assert_eq!(app.calls(), 0);
    let json = app.meetlake(&["validate", "--json"]);
    assert_eq!(json.code, 2);
    let problems = json.json()["problems"].as_array().map_or(0, Vec::len);
    assert!(problems >= 6, "{json:?}");
    assert!(!json.text().contains(CANARY));
}

#[test]
fn an_unknown_key_of_a_job_names_the_right_one() {
    let app = Setup::real().start();
    app.write(
        "jobs/meeting_list.toml",
        "version = 1\ndataset = \"meeting_list\"\ncron = \"0 5 * * *\"\nsetle_delay = \"1h\"\n",
    );
    let output = app.meetlake(&["validate"]);
    assert_eq!(output.code, 2);
    assert!(
        output.text().contains(
            "meeting_list.toml:4:1: unknown key `setle_delay`; did you mean `settle_delay`?"
        ),
        "{output:?}"
    );
}

#[test]
fn no_configuration_says_how_to_write_one() {
    let app = Setup::real().start();
    let output = app.meetlake(&["run", "--config", "elsewhere.toml"]);
    assert_eq!(output.code, 2);
    assert!(output.text().contains("meetlake init"), "{output:?}");
}

#[test]
fn nothing_that_is_printed_or_kept_holds_the_secret_or_a_token() {
    let app = Setup::real()
        .only(&[meetlake::testing::dataset::Dataset::DailyReport])
        .start();
    let mut texts = Vec::new();
    for args in [
        &["run", "--log", "trace"][..],
        &["run", "--json", "--log", "trace", "--log-json"],
        &["doctor", "--log", "trace"],
        &["status", "--json", "--log", "trace"],
        &["validate", "--json"],
        &["plan", "--json"],
    ] {
        let output = app.meetlake(args);
        assert_eq!(output.code, 0, "{args:?}: {output:?}");
        texts.push((format!("{args:?}"), output.text()));
    }
    for (path, (bytes, _)) in crate::app::snapshot(&app.path("")) {
        if !path.ends_with("meetlake.toml") {
            texts.push((
                path.display().to_string(),
                String::from_utf8_lossy(&bytes).into_owned(),
            ));
        }
    }
    for (what, text) in texts {
        assert!(!text.contains(SECRET), "{what} holds the secret");
        assert!(!text.contains("Bearer "), "{what} holds a token");
    }
}
