//! `meetlake api`: any call of the API by hand, and nothing changed by accident.

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use meetlake::testing::dataset::Dataset;
use serde_json::{Value, json};

use crate::api_faults::behind_a_gate;
use crate::app::{Output, Setup, TestApp};
use crate::gate::{Act, Answer, Does, Place, When, Wrong};

const WRITE_SECRET: &str = "canary-write-app-secret-3d1f";
const BODY_TEXT: &str = "canary-topic-of-a-body-77ac";
const QUERY_VALUE: &str = "canary-value-of-a-parameter-e0b2";
const JOURNAL: &str = "meetlake.writes.jsonl";

/// A company with an app that may write.
fn app() -> TestApp {
    let app = without_write_app();
    add_write_app(&app);
    app
}

fn add_write_app(app: &TestApp) {
    let id = &app.setup.options.write_app_id;
    let section = format!(
        "[tenants.acme.write_app]\napp_id = \"{id}\"\napp_secret = \"${{WRITE_SECRET}}\"\n"
    );
    let configuration = fs::read_to_string(app.path("meetlake.toml")).expect("a file");
    app.write("meetlake.toml", &format!("{configuration}{section}"));
}

fn without_write_app() -> TestApp {
    let setup = Setup::real().only(&[Dataset::Room]);
    let secret = |options: &mut meetlake_simulator::Options| {
        options.write_app_secret = WRITE_SECRET.to_owned();
    };
    let mut setup = setup.with(secret);
    setup.environment = Some(("WRITE_SECRET", WRITE_SECRET.to_owned()));
    setup.start()
}

fn api(app: &TestApp, args: &[&str]) -> Output {
    app.meetlake(&[&["api"], args].concat())
}

fn calls(app: &TestApp, endpoint: &str) -> u64 {
    app.report()
        .endpoints
        .get(endpoint)
        .map_or(0, |of| of.calls)
}

fn journal(app: &TestApp) -> Vec<Value> {
    let text = fs::read_to_string(app.path(JOURNAL)).unwrap_or_default();
    let line = |line: &str| serde_json::from_str(line).expect("a line of JSON");
    text.lines().map(line).collect()
}

/// Makes a reservation, whose password the answer holds.
fn reserve(app: &TestApp, more: &[&str]) -> Output {
    let body = json!({ "meeting_settings": { "topic": BODY_TEXT } });
    app.write("body.json", &body.to_string());
    let args = [
        "POST",
        "reserves/apply",
        "--body",
        "body.json",
        "--write",
        "--yes",
    ];
    api(app, &[&args, more].concat())
}

#[test]
fn a_read_is_printed_as_it_came_and_leaves_nothing_behind() {
    let app = app();
    let before = crate::app::snapshot(&app.path(""));
    let output = api(
        &app,
        &["get", "/open-apis/vc/v1/rooms", "--query", "page_size=3"],
    );
    assert_eq!(output.code, 0, "{output:?}");
    assert_eq!(output.stderr, "", "{output:?}");
    let answer = output.json();
    assert_eq!(answer["code"], 0);
    let rooms = answer["data"]["rooms"].as_array().expect("rooms");
    let company = app.server().company().rooms();
    let same = rooms
        .iter()
        .zip(company)
        .all(|(told, room)| told["room_id"] == room.room_id);
    assert!(rooms.len() == 3 && same, "{answer}");
    assert_eq!(
        (calls(&app, "rooms"), app.report().tenant_tokens_issued),
        (1, 1)
    );
    // A `POST` that only reads needs neither flag nor app.
    let ids = json!({ "room_ids": [company[0].room_id] });
    app.write("ids.json", &ids.to_string());
    let got = api(&app, &["POST", "rooms/mget", "--body", "ids.json"]);
    assert_eq!(got.code, 0, "{got:?}");
    assert_eq!(
        got.json()["data"]["items"][0]["room_id"],
        company[0].room_id
    );
    fs::remove_file(app.path("ids.json")).expect("ours");
    assert!(
        before == crate::app::snapshot(&app.path("")),
        "a read wrote a file"
    );
}

#[test]
fn what_is_no_path_of_this_api_is_refused_before_anything_is_sent() {
    let app = app();
    for (path, why) in [
        ("/open-apis/contact/v3/users", "another service"),
        ("rooms/../../../contact/v3/users", "`..`"),
        ("https://open.feishu.cn/open-apis/vc/v1/rooms", "host"),
        ("//127.0.0.1/rooms", "host"),
        ("rooms?page_size=1", "--query"),
        ("exports/download", "file"),
        ("rooms/%2e%2e", "character"),
    ] {
        let output = api(&app, &["GET", path]);
        assert_eq!(output.code, 2, "{path}: {output:?}");
        assert!(output.stderr.contains(why), "{path}: {output:?}");
    }
    app.write("body.json", "{}");
    app.write("broken.json", &format!("{{\"topic\": \"{BODY_TEXT}\""));
    for (args, why) in [
        (&["GRAB", "rooms"][..], "GET, POST, PUT, PATCH, DELETE"),
        (&["GET", "rooms", "--query", "page_size"], "NAME=VALUE"),
        (
            &["GET", "rooms", "--body", "body.json"],
            "a GET has no body",
        ),
        (
            &["POST", "rooms/mget", "--body", "broken.json"],
            "is no JSON (line 1",
        ),
        (
            &["POST", "rooms/mget", "--body", "absent.json"],
            "cannot be read",
        ),
        (
            &["GET", "rooms", "--tenant", "beta"],
            "there is no tenant `beta`; there is acme",
        ),
    ] {
        let output = api(&app, args);
        assert_eq!(output.code, 2, "{args:?}: {output:?}");
        assert!(output.stderr.contains(why), "{args:?}: {output:?}");
        assert!(!output.text().contains(BODY_TEXT), "{output:?}");
    }
    assert_eq!(app.calls(), 0);
}

#[test]
fn a_write_needs_a_flag_an_app_of_its_own_and_a_yes() {
    let app = app();
    for (method, path) in [
        ("POST", "rooms"),
        ("PATCH", "rooms/omm_1"),
        ("DELETE", "rooms/omm_1"),
        ("POST", "reserves/apply"),
        ("PUT", "reserves/7"),
        ("PATCH", "meetings/7/end"),
        ("POST", "exports/meeting_list"),
        ("POST", "something/new"),
    ] {
        for (more, why) in [
            (&[][..], "add --write"),
            (&["--write"], "nobody can be asked here"),
        ] {
            let output = api(&app, &[&[method, path], more].concat());
            assert_eq!(output.code, 2, "{method} {path}: {output:?}");
            assert!(output.stderr.contains(why), "{method} {path}: {output:?}");
        }
    }
    let single = without_write_app();
    let output = api(&single, &["DELETE", "rooms/omm_1", "--write", "--yes"]);
    assert_eq!(output.code, 2, "{output:?}");
    assert!(
        output.stderr.contains("[tenants.acme.write_app]"),
        "{output:?}"
    );
    for app in [app, single] {
        assert_eq!(app.calls(), 0);
        assert!(!app.path(JOURNAL).exists());
    }
}

#[test]
fn a_confirmed_write_is_made_by_the_other_app_and_recorded_without_its_body() {
    let app = app();
    let query = format!("user_id_type={QUERY_VALUE}");
    app.write("body.json", &json!({ "name": BODY_TEXT }).to_string());
    let args = [
        "PATCH",
        "rooms/omm_1",
        "--body",
        "body.json",
        "--query",
        &query,
        "--write",
    ];
    let output = api(&app, &[&args[..], &["--yes"]].concat());
    assert_eq!(
        (output.code, output.json()["code"].as_i64()),
        (0, Some(0)),
        "{output:?}"
    );
    assert!(
        output
            .stderr
            .contains("PATCH rooms/omm_1 at http://127.0.0.1"),
        "{output:?}"
    );
    assert!(
        output.stderr.contains(&app.setup.options.write_app_id),
        "{output:?}"
    );
    assert_eq!(calls(&app, "write_rooms"), 1);
    // The app that reads could not have done it.
    let alone = app.setup.options.knobs.scopes.contains("vc:room");
    assert!(!alone);

    let lines = journal(&app);
    let [begun, ended] = lines.as_slice() else {
        panic!("two lines: {lines:?}");
    };
    assert_eq!(begun["id"], ended["id"]);
    assert_eq!(begun["method"], "PATCH");
    assert_eq!(begun["path"], "rooms/omm_1");
    assert_eq!(begun["query"], json!(["user_id_type"]));
    assert_eq!(begun["app_id"], app.setup.options.write_app_id);
    assert_eq!(
        (&ended["outcome"], &ended["code"]),
        (&json!("done"), &json!(0))
    );
    assert!(
        ended["log_id"].as_str().is_some_and(|id| id.len() == 34),
        "{ended}"
    );
    let text = fs::read_to_string(app.path(JOURNAL)).expect("a file");
    for secret in [BODY_TEXT, QUERY_VALUE, WRITE_SECRET] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    let mode = fs::metadata(app.path(JOURNAL))
        .expect("a file")
        .permissions();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777,
        0o600
    );

    // A refusal is explained and recorded too.
    let refused = api(&app, &["DELETE", "reserves/7", "--write", "--yes"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("121004"), "{refused:?}");
    assert_eq!(journal(&app)[3]["outcome"], "refused");
}

#[test]
fn a_person_at_a_terminal_is_asked() {
    const AT_A_TERMINAL: &str = "import os, pty, sys\n\
        pid, fd = pty.fork()\n\
        if pid == 0: os.execv(sys.argv[2], sys.argv[2:])\n\
        seen = b''\n\
        while b'[y/N]' not in seen: seen += os.read(fd, 4096)\n\
        os.write(fd, sys.argv[1].encode() + b'\\n')\n\
        try:\n\
        \twhile True: seen += os.read(fd, 4096)\n\
        except OSError: pass\n\
        print(seen.decode())\n\
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n";
    let python = std::env::var("MEETLAKE_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    for (answer, code, sent) in [("n", 2, 0), ("", 2, 0), ("yes", 0, 1)] {
        let app = app();
        let meetlake = app.command(&["api", "POST", "rooms", "--write"]);
        let mut terminal = std::process::Command::new(&python);
        terminal
            .args(["-c", AT_A_TERMINAL, answer])
            .arg(meetlake.get_program());
        terminal
            .args(meetlake.get_args())
            .env("WRITE_SECRET", WRITE_SECRET);
        terminal.current_dir(app.path("")).stdin(Stdio::null());
        let output = crate::app::finish(&mut terminal);
        assert_eq!(output.code, code, "{answer:?}: {output:?}");
        assert_eq!(calls(&app, "write_rooms"), sent, "{answer:?}: {output:?}");
        assert_eq!(
            output.stdout.contains("Nothing was sent"),
            sent == 0,
            "{output:?}"
        );
        assert_eq!(journal(&app).len() as u64, 2 * sent);
    }
}

#[test]
fn a_write_whose_answer_is_lost_is_not_sent_again() {
    let app = app();
    let write = |more: &[&str]| {
        let args = ["POST", "rooms", "--write", "--yes"];
        api(&app, &[&args[..], more].concat())
    };
    assert_eq!(write(&[]).code, 0);
    // The second request has its effect, and its answer never comes.
    app.set_faults(&["drop@write_rooms:x1"]);
    let lost = write(&[]);
    assert_eq!(lost.code, 1, "{lost:?}");
    assert!(
        lost.stderr
            .contains("is not known, so it is not sent again"),
        "{lost:?}"
    );
    assert_eq!(
        calls(&app, "write_rooms"),
        2,
        "once more, and no third time"
    );
    assert_eq!(journal(&app)[3]["outcome"], "unknown");
    // A gateway that does not know either.
    app.set_faults(&["html-200@write_rooms:x1"]);
    assert_eq!(write(&[]).code, 1);
    assert_eq!(calls(&app, "write_rooms"), 3);
    // What the service itself refused for now was not carried out.
    app.set_faults(&["429@write_rooms:x1"]);
    let later = write(&[]);
    assert_eq!(later.code, 0, "{later:?}");
    assert_eq!(calls(&app, "write_rooms"), 5);
    // A read is sent again.
    app.set_faults(&["drop@rooms:x1"]);
    assert_eq!(api(&app, &["GET", "rooms"]).code, 0);
    assert_eq!(calls(&app, "rooms"), 2);
}

#[test]
fn without_a_record_nothing_is_sent() {
    let app = app();
    fs::create_dir(app.path(JOURNAL)).expect("a folder in its place");
    let output = api(&app, &["POST", "rooms", "--write", "--yes"]);
    assert_eq!(output.code, 8, "{output:?}");
    assert!(output.stderr.contains("record of writes"), "{output:?}");
    assert_eq!(app.calls(), 0);
    // Another user's link leads nowhere: the record is no link at all.
    fs::remove_dir(app.path(JOURNAL)).expect("ours");
    std::os::unix::fs::symlink(app.path("elsewhere"), app.path(JOURNAL)).expect("a link");
    let output = api(&app, &["POST", "rooms", "--write", "--yes"]);
    assert!(output.stderr.contains("is a link"), "{output:?}");
    assert!(!app.path("elsewhere").exists());
    assert_eq!(app.calls(), 0);
}

#[test]
fn passwords_and_tokens_are_printed_only_when_asked_for() {
    let app = app();
    let made = reserve(&app, &["--show-secrets"]);
    assert_eq!(made.code, 0, "{made:?}");
    let reserve_of = |output: &Output| output.json()["data"]["reserve"].clone();
    let password = reserve_of(&made)["password"]
        .as_str()
        .expect("a password")
        .to_owned();
    let path = format!(
        "reserves/{}",
        reserve_of(&made)["id"].as_str().expect("an id")
    );
    let shown = api(&app, &["GET", &path, "--show-secrets"]);
    assert_eq!(reserve_of(&shown)["password"], password);
    let blanked = api(&app, &["GET", &path]);
    assert_eq!(blanked.code, 0, "{blanked:?}");
    assert_eq!(reserve_of(&blanked)["password"], "");
    assert_eq!(reserve_of(&blanked)["meeting_settings"]["topic"], BODY_TEXT);
    assert!(!blanked.stdout.contains(&password));
    let again = reserve(&app, &[]);
    assert_eq!(reserve_of(&again)["password"], "");
}

#[test]
fn no_secret_and_no_body_is_in_a_log_an_error_or_a_file() {
    let app = app();
    let password = {
        let made = reserve(&app, &["--show-secrets"]);
        let reserve = made.json()["data"]["reserve"].clone();
        reserve["password"].as_str().expect("a password").to_owned()
    };
    let query = format!("user_id_type={QUERY_VALUE}");
    let mut said = String::new();
    for format in [&["--log", "trace"][..], &["--log", "trace", "--log-json"]] {
        for fault in [
            "",
            "drop@write_reserve:x1",
            "html-200@write_reserve:x1",
            "5xx@rooms:x1",
        ] {
            app.set_faults(&[fault][..usize::from(!fault.is_empty())]);
            let more = [&["--query", &query][..], format].concat();
            said.push_str(&reserve(&app, &more).stderr);
            let read = api(
                &app,
                &[&["GET", "rooms", "--query", &query], format].concat(),
            );
            said.push_str(&read.stderr);
        }
    }
    assert!(
        said.contains("answered") && said.len() > 10_000,
        "{} bytes",
        said.len()
    );
    fs::remove_file(app.path("body.json")).expect("ours");
    let mut places = vec![("standard error".to_owned(), said)];
    for (path, (bytes, _)) in crate::app::snapshot(&app.path("")) {
        let name = path.display().to_string();
        places.push((name, String::from_utf8_lossy(&bytes).into_owned()));
    }
    assert!(places.iter().any(|(name, _)| name.ends_with(JOURNAL)));
    for (name, text) in places {
        let secrets = [
            BODY_TEXT,
            WRITE_SECRET,
            QUERY_VALUE,
            crate::app::SECRET,
            &*password,
        ];
        // The configuration holds the one that it may hold.
        let is_configuration = name.ends_with("meetlake.toml");
        for secret in secrets.into_iter().filter(|_| !is_configuration) {
            assert!(!text.contains(secret), "{secret} in {name}");
        }
    }
}

#[test]
fn an_error_is_explained_and_ends_with_the_code_of_its_cause() {
    let app = without_write_app();
    for (path, code, parts) in [
        ("notes/7", 1, &["99991201"][..]),
        (
            "meeting_list",
            4,
            &["99991672", "vc:rooms.room.detailinfo:read", "grant one"],
        ),
        ("rooms", 2, &[]),
    ] {
        let args: &[&str] = match parts.is_empty() {
            true => &["GET", path, "--query"],
            false => &["GET", path],
        };
        let output = api(&app, args);
        assert_eq!(output.code, code, "{path}: {output:?}");
        assert_eq!(output.stdout, "", "{path}: {output:?}");
        for part in parts {
            assert!(output.stderr.contains(part), "{path}: {output:?}");
        }
    }
    let wrong = api(&app, &["GET", "rooms", "--query", "page_size=1000"]);
    assert_eq!(wrong.code, 1, "{wrong:?}");
    assert!(wrong.stderr.contains("99992402"), "{wrong:?}");
}

#[test]
fn the_app_that_writes_is_another_one_and_its_secret_is_not_in_the_file() {
    let app = without_write_app();
    let configuration = fs::read_to_string(app.path("meetlake.toml")).expect("a file");
    let reading = &app.setup.options.app_id;
    for (section, why) in [
        (
            format!("app_id = \"{reading}\"\napp_secret = \"${{WRITE_SECRET}}\""),
            "let another one",
        ),
        (
            format!("app_id = \"cli_2\"\napp_secret = \"{WRITE_SECRET}\""),
            "allow_inline_secret = true beside it permits it",
        ),
        ("app_id = \"cli_2\"".to_owned(), "app_secret"),
        ("app_secret = \"${WRITE_SECRET}\"".to_owned(), "app_id"),
        (
            "app_id = \"cli_2\"\napp_secret = \"${WRITE_SECRET}\"\nhost = \"lark\"".to_owned(),
            "host",
        ),
    ] {
        let section = format!("[tenants.acme.write_app]\n{section}\n");
        app.write("meetlake.toml", &format!("{configuration}{section}"));
        let output = app.meetlake(&["validate"]);
        assert_eq!(output.code, 2, "{section}: {output:?}");
        assert!(output.text().contains(why), "{section}: {output:?}");
        assert!(!output.text().contains(WRITE_SECRET), "{output:?}");
    }
    assert_eq!(app.calls(), 0);
}

#[test]
fn a_body_that_is_no_file_is_refused_and_nobody_waits_for_it() {
    let app = app();
    let made = std::process::Command::new("mkfifo")
        .arg(app.path("pipe"))
        .status();
    assert!(made.expect("it is there").success());
    for name in ["pipe", "jobs", "/dev/zero"] {
        let output = api(&app, &["POST", "rooms/mget", "--body", name]);
        assert_eq!(output.code, 2, "{output:?}");
        let why = format!("--body {name} is no regular file");
        assert!(output.stderr.contains(&why), "{output:?}");
        assert!(output.stderr.contains("--body -"), "{output:?}");
    }
    assert_eq!(app.calls(), 0);
}

#[test]
fn a_call_says_what_it_waits_for_and_its_errors_promise_nothing() {
    let app = app();
    app.set_faults(&["5xx@rooms:x3"]);
    let output = api(&app, &["GET", "rooms"]);
    assert_eq!(output.code, 0, "{output:?}");
    let waiting = "waiting to call again: could not call GET rooms";
    assert!(output.stderr.contains(waiting), "{output:?}");
    assert!(!output.stderr.contains("tried again"), "{output:?}");
    let wrong = api(&app, &["GET", "alerts"]);
    assert_ne!(wrong.code, 0, "{wrong:?}");
    let advice = "start_time (start_time is required)";
    assert!(wrong.stderr.contains(advice), "{wrong:?}");
    assert!(!wrong.stderr.contains("of the job"), "{wrong:?}");
}

/// An answer that is too deep for the search for secrets is not shown; what it answers has happened.
#[test]
fn a_write_that_was_carried_out_says_so_when_its_answer_is_not_shown() {
    let setup = Setup::real().only(&[Dataset::Room]);
    let mut setup = setup.with(|options| options.write_app_secret = WRITE_SECRET.to_owned());
    setup.environment = Some(("WRITE_SECRET", WRITE_SECRET.to_owned()));
    let (app, gate) = behind_a_gate(setup);
    add_write_app(&app);
    let deep = |_: &_, _: &_, answer: Answer| {
        Act::Answer(answer.edit(|body| {
            let mut deep = json!(1);
            for _ in 0..100 {
                deep = json!([deep]);
            }
            body["data"] = json!({ "deep": deep });
        }))
    };
    gate.set(&[Wrong {
        place: Place::Rooms,
        when: When::Always,
        does: Does::After(deep),
    }]);
    let output = api(&app, &["POST", "rooms", "--write", "--yes"]);
    assert_eq!(output.code, 1, "{output:?}");
    assert!(
        output.stderr.contains("the answer is not shown"),
        "{output:?}"
    );
    assert!(
        output.stderr.contains("POST rooms was carried out"),
        "{output:?}"
    );
    assert_eq!(journal(&app)[1]["outcome"], "done");
}

#[test]
fn a_body_can_come_from_standard_input() {
    let app = app();
    let mut command = app.command(&["api", "POST", "rooms/mget", "--body", "-"]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let id = &app.server().company().rooms()[1].room_id;
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin
        .write_all(json!({ "room_ids": [id] }).to_string().as_bytes())
        .expect("written");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(answer["data"]["items"][0]["room_id"], **id);
}
