//! What people mistype, and what their machines do to a process: a range that cannot be meant, a
//! secret with a line end, an output that takes nothing.

use std::fs::File;
use std::process::{Command, Stdio};

use jiff::ToSpan as _;
use meetlake::testing::dataset::Dataset;
use meetlake::testing::record::{NewWindow, WindowBatch, WindowState};
use meetlake::testing::window::Window;
use serde_json::{Value, json};

use crate::app::{Setup, TENANT, TestApp, zone};

fn meetings() -> TestApp {
    Setup::fast().only(&[Dataset::MeetingList]).start()
}

/// Known windows of the meeting list.
fn windows(app: &TestApp) -> usize {
    app.with_ledger(async |ledger| {
        let windows = ledger.windows(TENANT, Dataset::MeetingList, None).await;
        windows.expect("read").len()
    })
}

// --- ranges --------------------------------------------------------------------------------------

#[test]
fn a_range_before_there_was_feishu_is_refused_and_nothing_is_begun() {
    let app = meetings();
    for from in ["1926-11-20", "0001-01-01", "1969-12-31", "2015-12-31"] {
        for verb in ["backfill", "plan"] {
            let refused = app.meetlake(&[verb, "--from", from, "--to", "2026-11-21"]);
            assert_eq!(refused.code, 2, "{verb} {from}: {refused:?}");
            assert!(
                refused
                    .stderr
                    .contains("there is no meeting before 2016-01-01"),
                "{refused:?}"
            );
        }
    }
    assert!(!app.path("meetlake.db").exists());
    let job = "version = 1\ndataset = 'meeting_list'\ncron = '0 5 * * *'\nstart = 1926-11-20\n";
    app.write("jobs/meeting_list.toml", job);
    let invalid = app.meetlake(&["validate"]);
    assert_eq!(invalid.code, 2, "{invalid:?}");
    assert!(invalid.text().contains("`start` 1926-11-20"), "{invalid:?}");
}

#[test]
fn a_long_range_needs_a_yes_where_nobody_can_be_asked() {
    let app = meetings();
    let end = app.end_day().to_string();
    let long = ["backfill", "--from", "2025-01-01", "--to", &end];
    let refused = app.meetlake(&long);
    assert_eq!(refused.code, 2, "{refused:?}");
    for says in [
        "this backfill asks for 6",
        " days: at least ",
        "hours at the quota",
    ] {
        assert!(refused.stderr.contains(says), "{refused:?}");
    }
    assert!(refused.stderr.contains("--yes"), "{refused:?}");
    assert!(!app.path("meetlake.db").exists());
    assert_eq!(app.submits(), 0);
    // A year is asked for without a question; the days to come do not count.
    let near = app.first_day().to_string();
    let open = ["backfill", "--from", &near, "--to", "2039-12-31"];
    let run = app.meetlake(&open);
    assert_eq!(run.code, 0, "{run:?}");
}

#[test]
fn windows_that_hold_nothing_are_taken_back_and_others_stay() {
    let app = Setup::fast()
        .only(&[Dataset::MeetingList, Dataset::ParticipantList])
        .start();
    assert!(app.reconcile().is_settled());
    let (published, hashes) = (windows(&app), app.content_hashes());
    // A variable of nobody's that is no text is none of our business.
    let bytes = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"\xff");
    let plan = app.command(&["plan"]).env("SOMETHING_ELSE", bytes).output();
    assert!(plan.expect("it starts").status.success());
    // What a mistyped backfill left: days that fail for ever, and those that nobody began.
    let first = app.first_day();
    let before = first.saturating_sub(40.days());
    let new: Vec<NewWindow> = before
        .series(1.day())
        .take_while(|date| *date < first)
        .filter_map(|date| Window::day(&zone(), date))
        .map(|window| NewWindow {
            window,
            due_at: window.end(),
            state: WindowState::Due,
        })
        .collect();
    app.with_ledger(async |ledger| {
        let batch = WindowBatch {
            job: "meeting_list",
            tenant: TENANT,
            dataset: Dataset::MeetingList,
            new: &new,
            again: &[],
            firing: new[0].due_at,
            schedule: None,
        };
        ledger.insert_windows(&batch).await.expect("inserted");
    });
    app.set_faults(&["failed@meeting_list"]);
    let (from, to) = (before.to_string(), app.end_day().to_string());
    let some = before.saturating_add(2.days()).to_string();
    let failing = app.meetlake(&["backfill", "--from", &from, "--to", &some]);
    assert_ne!(failing.code, 0, "{failing:?}");
    assert_eq!(windows(&app), published + 40);
    app.set_faults(&[]);
    let withdraw = [
        "backfill",
        "--withdraw",
        "--from",
        &from,
        "--to",
        &to,
        "--json",
    ];
    let taken = app.meetlake(&withdraw);
    assert_eq!(taken.code, 0, "{taken:?}");
    let told = taken.json();
    assert_eq!(told["taken_back"]["meeting_list"], 40, "{told}");
    assert_eq!(told["kept"], json!(2 * published), "{told}");
    assert_eq!(windows(&app), published);
    // Nothing is red any more, and nothing of the lake changed.
    assert!(app.reconcile().is_settled());
    assert_eq!(app.content_hashes(), hashes);
    let again = app.meetlake(&["backfill", "--withdraw", "--from", &from, "--to", &some]);
    assert_eq!(again.stdout, "Nothing was taken back.\n", "{again:?}");
}

// --- secrets -------------------------------------------------------------------------------------

/// Every verb that reads the configuration says which value is wrong, and none gives up.
#[test]
fn a_line_end_in_a_credential_is_named_by_every_verb() {
    let mut setup = Setup::fast().only(&[Dataset::MeetingList]);
    setup.lake = Some("s3://bucket/lake".to_owned());
    setup.lake_options = "[lake.options]\nendpoint = \"http://127.0.0.1:9\"\n\
                          access_key_id = \"${THE_KEY_ID}\"\nregion = \"x\"\n\
                          secret_access_key = \"${THE_SECRET}\"\n"
        .to_owned();
    let app = setup.start();
    let verbs = [
        "validate", "doctor", "run", "verify", "status", "serve", "plan",
    ];
    for (name, value) in [
        ("THE_KEY_ID", "AKIAEXAMPLEKEY\n"),
        ("THE_KEY_ID", "AKIAEXAMPLEKEY\r\n"),
        ("THE_SECRET", "hunter22hunter22\n"),
        ("THE_SECRET", "\u{feff}hunter22hunter22"),
        ("AWS_SESSION_TOKEN", "atokenatoken\n"),
    ] {
        for verb in verbs {
            // A variable of the store's own is read when the store is opened.
            let opens = !["validate", "status", "plan"].contains(&verb);
            if name.starts_with("AWS_") && !opens {
                continue;
            }
            let mut command = app.command(&[verb]);
            command
                .env("THE_KEY_ID", "AKIAEXAMPLEKEY")
                .env("THE_SECRET", "hunter22hunter22")
                .env(name, value);
            let output = crate::app::finish(&mut command);
            let text = output.text();
            assert!(text.contains(name), "{verb} {name} {value:?}: {output:?}");
            assert!(!text.contains("panicked"), "{verb}: {output:?}");
            assert!(
                !text.contains("hunter22") && !text.contains("atoken"),
                "{output:?}"
            );
            assert!(matches!(output.code, 2 | 8), "{verb} {name}: {output:?}");
        }
    }
}

// --- outputs -------------------------------------------------------------------------------------

fn full() -> Stdio {
    let full = File::options().write(true).open("/dev/full");
    full.expect("Linux has one").into()
}

#[test]
fn an_answer_that_could_not_be_written_is_no_success_and_stops_nothing() {
    let app = meetings();
    let (from, to) = (app.first_day().to_string(), app.end_day().to_string());
    let verbs: [&[&str]; 7] = [
        &["backfill", "--from", &from, "--to", &to],
        &["run", "--json"],
        &["status"],
        &["verify"],
        &["plan"],
        &["validate"],
        &["completions", "bash"],
    ];
    for args in verbs {
        let code = |command: &mut Command| {
            let status = command.status().expect("the binary starts");
            status.code()
        };
        let mut quiet = app.command(args);
        let own = code(quiet.stdout(Stdio::null()).stderr(Stdio::null()));
        assert!(matches!(own, Some(0 | 3)), "{args:?}: {own:?}");
        let mut full_out = app.command(args);
        full_out.stdout(full()).stderr(Stdio::null());
        // The work is done, and half of its answer is nobody's.
        let expected = if own == Some(0) { Some(8) } else { own };
        assert_eq!(code(&mut full_out), expected, "{args:?} > /dev/full");
        let mut both = app.command(args);
        both.stdout(full()).stderr(full());
        assert_eq!(code(&mut both), expected, "{args:?} 2> /dev/full");
        let mut full_error = app.command(args);
        full_error.stdout(Stdio::null()).stderr(full());
        assert_eq!(code(&mut full_error), own, "{args:?} 2> /dev/full only");
    }
    // A server that cannot log goes on.
    let mut server = app.command(&["serve", "--listen", "127.0.0.1:0"]);
    let mut server = server
        .stdout(full())
        .stderr(full())
        .spawn()
        .expect("it starts");
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(server.try_wait().expect("ours"), None, "it serves");
    crate::app::signal(&server, "TERM");
    let (code, _) = crate::app::wait(&mut server, std::time::Duration::from_secs(25));
    assert_eq!(code, Some(0));
    let mut failing = app.command(&["run", "--tenant", "nobody"]);
    let status = failing.stderr(full()).stdout(full()).status();
    assert_eq!(status.expect("it starts").code(), Some(2));
    let told = app.command(&["status"]).stdout(full()).output();
    let told = String::from_utf8(told.expect("it starts").stderr).expect("text");
    assert!(
        told.starts_with("error: could not write to standard output"),
        "{told}"
    );
    assert!(app.meetlake(&["status", "--json"]).json() != Value::Null);
}

// --- other users ---------------------------------------------------------------------------------

fn mode(path: &std::path::Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = std::fs::metadata(path).expect("there");
    metadata.permissions().mode() & 0o777
}

#[cfg(feature = "failpoints")]
#[test]
fn ledger_and_spool_are_their_owners_whatever_the_umask() {
    let app = meetings();
    let (from, to) = (app.first_day().to_string(), app.end_day().to_string());
    let plain = app.command(&["backfill", "--from", &from, "--to", &to]);
    let mut open = Command::new("sh");
    open.args(["-c", "umask 0; exec \"$@\"", "sh"]);
    open.arg(plain.get_program()).args(plain.get_args());
    open.current_dir(app.path(""));
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => open.env(name, value),
            None => open.env_remove(name),
        };
    }
    // Ended in the middle, so that there is something in the spool.
    open.env("FAILPOINTS", "w08-rows-recorded=return");
    let ended = open.output().expect("it starts");
    assert!(!ended.status.success(), "{ended:?}");
    for name in [
        "meetlake.db",
        "meetlake.db-wal",
        "meetlake.db-shm",
        "meetlake.db.lock",
    ] {
        assert_eq!(mode(&app.path(name)), 0o600, "{name}");
    }
    assert_eq!(mode(&app.path("spool")), 0o700);
    let spooled = crate::lake::below(&app.path("spool"));
    assert!(!spooled.is_empty(), "rows and an original");
    // Somebody widens them, and the next run closes them again.
    let widened = Command::new("chmod")
        .args(["-R", "a+rwX", "meetlake.db", "spool"])
        .current_dir(app.path(""))
        .status();
    assert!(widened.expect("chmod runs").success());
    let run = app.meetlake(&["backfill", "--from", &from, "--to", &to]);
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(
        (mode(&app.path("meetlake.db")), mode(&app.path("spool"))),
        (0o600, 0o700)
    );
}

#[test]
fn a_link_in_place_of_the_lock_is_not_followed() {
    let app = meetings();
    app.write("precious", "text");
    std::os::unix::fs::symlink(app.path("precious"), app.path("meetlake.db.lock")).expect("linked");
    let refused = app.meetlake(&["run"]);
    assert_eq!(refused.code, 8, "{refused:?}");
    assert!(
        refused.stderr.contains("meetlake.db.lock is a link")
            && !refused.stderr.contains("free some space"),
        "{refused:?}"
    );
    assert_eq!(
        std::fs::read_to_string(app.path("precious")).expect("read"),
        "text"
    );
}
