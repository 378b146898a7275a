//! The verbs that look and do not touch: `plan`, `status`, `validate`, `doctor`, `completions`, `--help`, `convert`, `simulate`.

use std::io::{self, BufRead as _, BufReader};
use std::process::Stdio;

use meetlake::testing::dataset::Dataset;
use meetlake::testing::exit::Code;
use serde_json::Value;

use crate::app::{SECRET, Setup, binary, finish, signal};
use crate::lake;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/");

#[test]
fn a_plan_calls_nobody_and_is_empty_once_everything_is_there() {
    let app = Setup::real()
        .only(&[Dataset::MeetingList, Dataset::ParticipantList])
        .start();
    let before = app.meetlake(&["plan", "--json"]);
    assert_eq!(before.code, 0, "{before:?}");
    let jobs = &before.json()["tenants"][0]["jobs"];
    assert_eq!(jobs[0]["dataset"], "meeting_list");
    assert!(jobs[0]["tasks"].as_u64() >= Some(2), "{jobs}");
    assert!(
        jobs[1]["windows_with_unknown_tasks"].as_u64() >= Some(2),
        "{jobs}"
    );
    assert_eq!(app.calls(), 0);
    assert!(!app.path("meetlake.db").exists(), "a plan wrote a ledger");

    app.teach_pace();
    assert_eq!(app.meetlake(&["run"]).code, 0);
    let calls = app.calls();
    let after = app.meetlake(&["plan", "--json"]).json();
    for job in after["tenants"][0]["jobs"].as_array().expect("jobs") {
        assert_eq!(job["tasks"], 0, "{job}");
    }
    assert_eq!(after["tenants"][0]["cost"]["calls"], 0, "{after}");
    let text = app.meetlake(&["plan"]);
    assert!(text.stdout.contains("nothing due"), "{text:?}");
    assert_eq!(app.calls(), calls);
}

#[test]
fn a_backfill_of_a_reversed_range_is_refused() {
    let app = Setup::real().start();
    let output = app.meetlake(&["backfill", "--from", "2026-01-02", "--to", "2026-01-02"]);
    assert_eq!(output.code, 2);
    assert!(output.stderr.contains("half-open"), "{output:?}");
    assert_eq!(app.calls(), 0);
}

#[test]
fn status_without_a_ledger_says_so_and_ends_well() {
    let app = Setup::real().start();
    let text = app.meetlake(&["status"]);
    assert_eq!(text.code, 0);
    assert!(text.stdout.contains("nothing was ever run"), "{text:?}");
    let json = app.meetlake(&["status", "--json"]);
    assert_eq!((json.code, json.json()["ledger"].is_null()), (0, true));
}

#[test]
fn validate_shows_each_job_and_its_next_firings() {
    let app = Setup::real().start();
    let report = app.meetlake(&["validate", "--json"]);
    assert_eq!(report.code, 0, "{report:?}");
    let report = report.json();
    assert_eq!(report["valid"], true);
    let jobs = report["jobs"].as_array().expect("jobs");
    assert_eq!(jobs.len(), app.setup.datasets.len());
    for job in jobs {
        assert_eq!(
            job["next_firings"].as_array().map(Vec::len),
            Some(5),
            "{job}"
        );
    }
    assert_eq!(app.calls(), 0);
}

#[test]
fn doctor_finds_everything_well_or_names_what_is_not() {
    let app = Setup::real().start();
    let good = app.meetlake(&["doctor", "--json"]);
    assert_eq!(good.code, 0, "{good:?}");
    let checks = good.json()["checks"].as_array().cloned().expect("checks");
    for check in [
        "ledger",
        "bucket",
        "token",
        "clock",
        "daily_report",
        "top_user",
        "room",
        "exports",
    ] {
        let found = checks.iter().find(|found| found["check"] == check);
        assert_eq!(
            found.map(|found| &found["ok"]),
            Some(&Value::Bool(true)),
            "{check}: {good:?}"
        );
    }
    assert_eq!(app.submits(), 0, "doctor only reads");
    assert!(
        lake::below(&app.lake()).is_empty(),
        "doctor left something in the lake"
    );

    let without_scope = Setup::real()
        .knobs(|knobs| {
            knobs.scopes.remove("vc:report:readonly");
        })
        .start();
    let wrong = without_scope.meetlake(&["doctor", "--json"]);
    assert_eq!(wrong.code, 4, "{wrong:?}");
    assert!(wrong.stdout.contains("vc:report:readonly"), "{wrong:?}");

    let wrong_secret = Setup::real()
        .with(|options| options.app_secret = "another".into())
        .start();
    let wrong = wrong_secret.meetlake(&["doctor"]);
    assert_eq!(wrong.code, 4, "{wrong:?}");
    assert!(
        wrong.stdout.contains("WRONG") && wrong.stdout.contains("app_secret"),
        "{wrong:?}"
    );
    assert!(!wrong.text().contains(SECRET), "{wrong:?}");
}

#[test]
fn a_reader_that_stops_reading_ends_every_verb_without_a_word() {
    let app = Setup::real().start();
    for args in [
        &["validate"][..],
        &["validate", "--json"],
        &["status"],
        &["plan"],
        &["completions", "bash"],
    ] {
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(reader);
        let mut command = app.command(args);
        let output = writer.try_clone().expect("its other end");
        let status = command.stdout(output).stderr(writer).status();
        assert_eq!(status.expect("it starts").code(), Some(141), "{args:?}");
    }
}

#[test]
fn every_shell_gets_its_completions() {
    for (shell, word) in [
        ("bash", "complete"),
        ("zsh", "#compdef meetlake"),
        ("fish", "complete -c meetlake"),
    ] {
        let output = finish(binary().args(["completions", shell]));
        assert_eq!(output.code, 0, "{output:?}");
        assert!(
            output.stdout.contains(word) && output.stdout.contains("backfill"),
            "{shell}"
        );
    }
    assert_eq!(finish(binary().args(["completions", "cmd"])).code, 2);
}

#[test]
fn every_command_and_every_argument_has_a_help_text() {
    let top = finish(binary().arg("--help"));
    assert_eq!(top.code, 0);
    assert!(top.stdout.contains(&Code::help()), "{}", top.stdout);
    let commands = commands(&top.stdout);
    assert!(commands.len() >= 12, "{commands:?}");
    for (name, about) in commands {
        assert!(!about.is_empty(), "{name} has no help text");
        if name == "help" {
            continue;
        }
        let help = finish(binary().args([name.as_str(), "--help"]));
        assert_eq!(help.code, 0, "{name}");
        let lines: Vec<&str> = help.stdout.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            let trimmed = line.trim_start();
            if !trimmed.starts_with("--")
                && !trimmed.starts_with("-c,")
                && !trimmed.starts_with("-h,")
            {
                continue;
            }
            let beside = trimmed
                .split_once("  ")
                .is_some_and(|(_, text)| !text.trim().is_empty());
            let below = lines.get(index + 1).is_some_and(|next| {
                next.starts_with("          ") && !next.trim_start().starts_with("--")
            });
            assert!(beside || below, "{name}: no help text for {trimmed}");
        }
    }
    assert_eq!(finish(binary().arg("backfil")).code, 2);
}

/// Names and first words of the commands in `--help`.
fn commands(help: &str) -> Vec<(String, String)> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            let (name, about) = line.trim().split_once(' ')?;
            Some((name.to_owned(), about.trim().to_owned()))
        })
        .collect()
}

#[test]
fn a_workbook_downloaded_by_hand_becomes_parquet() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out.parquet");
    let convert = |dataset: &str, fixture: &str| {
        finish(
            binary()
                .args(["convert", "--json", "--dataset", dataset, "--out"])
                .arg(&out)
                .arg(format!("{FIXTURES}{fixture}")),
        )
    };
    let output = convert("meeting_list", "observed_meeting_list.xlsx");
    assert_eq!(output.code, 0, "{output:?}");
    let rows = lake::rows_of(&out);
    assert_eq!(
        output.json()["report"]["findings"]["rows_out"],
        rows.len(),
        "{output:?}"
    );
    assert!(rows.iter().all(|row| row["meeting_no"].is_string()));
    let wrong = convert("participant_list", "observed_meeting_list.xlsx");
    assert_eq!(wrong.code, 7, "{wrong:?}");
    assert_eq!(convert("meeting_list", "no_such_file.xlsx").code, 2);
}

#[test]
fn simulate_says_where_it_listens_and_what_to_write() {
    for (face, zone) in [("feishu", "Asia/Shanghai"), ("lark", "America/New_York")] {
        let said = simulated(face);
        assert_eq!(said["time_zone"], zone, "{said}");
    }
    let wrong = finish(binary().args(["simulate", "--face", "other"]));
    assert!(
        wrong.code == 2 && wrong.stderr.contains("a site is feishu or lark"),
        "{wrong:?}"
    );
}

/// What `simulate` says of itself, before it is stopped.
fn simulated(face: &str) -> Value {
    let mut child = binary()
        .args([
            "simulate",
            "--face",
            face,
            "--listen",
            "127.0.0.1:0",
            "--days",
            "2",
            "--speed",
            "400",
            "--json",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("it is piped");
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    signal(&child, "TERM");
    let status = child.wait().expect("a child of ours");
    assert_eq!(status.code(), Some(0));
    let line: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(line["app_id"], "cli_a000000000000001");
    assert_eq!(line["app_secret"], SECRET);
    for key in ["base_url", "first_day", "last_day", "time_zone"] {
        assert!(line[key].is_string(), "{key}: {line}");
    }
    line
}

#[test]
fn init_writes_what_validate_accepts() {
    let folder = tempfile::tempdir().expect("a folder");
    let there = folder.path().join("lake of mine");
    let init = finish(binary().arg("init").arg(&there));
    assert_eq!(init.code, 0, "{init:?}");
    let check = || {
        finish(
            binary()
                .arg("validate")
                .current_dir(&there)
                .env("FEISHU_APP_ID", "cli_1")
                .env("FEISHU_APP_SECRET", "s"),
        )
    };
    assert_eq!(check().code, 0, "{:?}", check());
    let before = crate::app::snapshot(&there);
    finish(binary().arg("init").arg(&there));
    assert!(
        before == crate::app::snapshot(&there),
        "init overwrote files"
    );
}
