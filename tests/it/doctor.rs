//! `doctor` asks which scopes the app has, and what the documentation leaves open.

use std::collections::BTreeSet;

use meetlake::testing::dataset::Dataset;
use meetlake_simulator::{Knobs, ScopeList};
use serde_json::Value;

use crate::api_faults::behind_a_gate;
use crate::app::{Output, Setup, TENANT, TestApp};
use crate::gate::{Act, Answer, Does, Place, When, Wrong};

const DETAIL: &str = "vc:rooms.room.detailinfo:read";

fn setup() -> Setup {
    let every = [
        Dataset::DailyReport,
        Dataset::MeetingList,
        Dataset::ParticipantList,
        Dataset::Room,
        Dataset::RoomLevel,
        Dataset::Alert,
    ];
    Setup::real().only(&every)
}

/// The checks of the tenant: what is checked, whether it is well, whether it warns, and the text.
fn checks(output: &Output) -> Vec<(String, bool, bool, String)> {
    let checks = output.json()["checks"].as_array().cloned().expect("checks");
    let of_tenant = checks.iter().filter(|check| check["about"] == TENANT);
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    of_tenant
        .map(|check| {
            let (ok, warns) = (check["ok"] == true, check["warning"] == true);
            (text(&check["check"]), ok, warns, text(&check["found"]))
        })
        .collect()
}

fn check(output: &Output, what: &str) -> (bool, bool, String) {
    let found = checks(output).into_iter().find(|(name, ..)| name == what);
    let (_, ok, warns, text) = found.unwrap_or_else(|| panic!("no {what}: {output:?}"));
    (ok, warns, text)
}

fn doctor(app: &TestApp) -> Output {
    app.meetlake(&["doctor", "--json"])
}

fn calls(app: &TestApp, endpoint: &str) -> u64 {
    app.report()
        .endpoints
        .get(endpoint)
        .map_or(0, |of| of.calls)
}

#[test]
fn each_dataset_of_a_job_is_possible_by_a_scope_that_is_named() {
    let app = setup().start();
    let output = doctor(&app);
    assert_eq!(output.code, 0, "{output:?}");
    for (what, scope) in [
        ("scopes", "none of those granted can change anything"),
        ("daily_report", "the app may read it (vc:report:readonly)"),
        ("meeting_list", "possible: vc:export is granted"),
        ("participant_list", "possible: vc:export is granted"),
        ("room", "the app may read it (vc:room:readonly)"),
        ("room_level", "the app may read it (vc:room:readonly)"),
        ("alert", "the app may read it (vc:alert:readonly)"),
    ] {
        assert_eq!(
            check(&output, what),
            (true, false, scope.to_owned()),
            "{what}"
        );
    }
    assert_eq!(calls(&app, "scopes"), 1, "the list has no published limit");
}

#[test]
fn what_is_missing_is_named_in_full_for_both_sites_before_it_is_asked_for() {
    let app = setup().knobs(|knobs| knobs.scopes.clear()).start();
    let output = doctor(&app);
    assert_eq!(output.code, 4, "{output:?}");
    for (what, scopes) in [
        ("daily_report", &["vc:report:readonly"][..]),
        ("meeting_list", &["vc:export or vc:meeting:export"]),
        ("participant_list", &["vc:export or vc:meeting:export"]),
        (
            "room",
            &[
                "vc:rooms.room.basicinfo:read or vc:room:readonly",
                "(vc:room would do",
            ],
        ),
        (
            "room_level",
            &[
                "vc:rooms.roomlevel:read or vc:room:readonly",
                "(vc:room would do",
            ],
        ),
        ("alert", &["vc:alert:readonly"]),
    ] {
        let (ok, _, text) = check(&output, what);
        assert!(!ok && text.starts_with("missing: "), "{what}: {text}");
        let named = [
            "open.feishu.cn/app",
            "open.larksuite.com/app",
            "publish a version",
        ];
        for part in scopes.iter().chain(&named) {
            assert!(text.contains(part), "{what}: {part} in {text}");
        }
    }
    let (ok, warns, text) = check(&output, "user ids");
    assert!(
        ok && warns && text.contains("contact:user.employee_id:readonly"),
        "{text}"
    );
    assert!(text.contains("meeting_list, participant_list"), "{text}");
    for endpoint in [
        "get_daily",
        "rooms",
        "room_levels",
        "room_level",
        "alerts",
        "poll",
    ] {
        assert_eq!(calls(&app, endpoint), 0, "{endpoint}");
    }
}

/// The verdict is what the endpoints then do, whichever scope is granted.
#[test]
fn the_verdict_is_what_the_endpoints_enforce() {
    let datasets = [
        Dataset::DailyReport,
        Dataset::Room,
        Dataset::RoomLevel,
        Dataset::Alert,
    ];
    for scope in [
        "vc:report:readonly",
        "vc:room:readonly",
        "vc:rooms.room.basicinfo:read",
        "vc:rooms.roomlevel:read",
        "vc:room",
        "vc:alert:readonly",
        "vc:export",
    ] {
        let only = |knobs: &mut Knobs| knobs.scopes = BTreeSet::from([scope.to_owned()]);
        let app = setup().only(&datasets).knobs(only).start();
        let said = doctor(&app);
        // Without the list, `doctor` asks each endpoint.
        let blind = |knobs: &mut Knobs| {
            only(knobs);
            knobs.scope_list = ScopeList::Absent;
        };
        let app = setup().only(&datasets).knobs(blind).start();
        let done = doctor(&app);
        for dataset in datasets {
            let name = dataset.as_str();
            let (said, done) = (check(&said, name), check(&done, name));
            assert_eq!(said.0, done.0, "{scope}, {name}: {said:?} {done:?}");
        }
        assert_eq!(said.code, done.code);
    }
}

#[test]
fn scopes_for_users_only_are_told_from_those_of_the_app() {
    let typed = |knobs: &mut Knobs| {
        knobs.scope_list = ScopeList::Typed;
        for scope in ["vc:alert:readonly", "vc:export"] {
            knobs.scopes.remove(scope);
            knobs.user_scopes.insert(scope.to_owned());
        }
    };
    let app = setup().knobs(typed).start();
    let output = doctor(&app);
    assert_eq!(output.code, 4, "{output:?}");
    for (what, advice) in [
        ("alert", "with which meetlake only exports"),
        ("meeting_list", "set refresh_token_file"),
    ] {
        let (ok, _, text) = check(&output, what);
        assert!(
            !ok && text.starts_with("needs a user token"),
            "{what}: {text}"
        );
        assert!(text.contains(advice), "{what}: {text}");
    }
    assert!(check(&output, "room").0, "{output:?}");

    // With a user, the same scope exports.
    app.write("refresh", &app.setup.options.refresh_token);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(app.path("refresh"), mode).expect("a mode");
    let configuration = std::fs::read_to_string(app.path("meetlake.toml")).expect("a file");
    let user = "allow_inline_secret = true\nrefresh_token_file = \"refresh\"";
    app.write(
        "meetlake.toml",
        &configuration.replace("allow_inline_secret = true", user),
    );
    let output = doctor(&app);
    let expected = (true, false, "possible: vc:export is granted".to_owned());
    assert_eq!(check(&output, "meeting_list"), expected, "{output:?}");
    assert!(check(&output, "exports").0, "{output:?}");
}

#[test]
fn scopes_that_could_change_things_are_warned_of() {
    let app = setup().knobs(|knobs| {
        for scope in ["vc:room", "vc:reserve", "vc:record"] {
            knobs.scopes.insert(scope.to_owned());
        }
    });
    let app = app.start();
    let output = doctor(&app);
    assert_eq!(output.code, 0, "a warning is no failure: {output:?}");
    let (ok, warns, text) = check(&output, "scopes");
    assert!(ok && warns, "{text}");
    assert!(
        text.contains("by vc:room, vc:record, vc:reserve;"),
        "{text}"
    );
    let shown = app.meetlake(&["doctor"]).stdout;
    let line = shown
        .lines()
        .find(|line| line.contains("may also change things"));
    assert!(
        line.is_some_and(|line| line.starts_with("note ")),
        "{shown}"
    );
}

#[test]
fn a_list_of_scopes_that_does_not_come_is_no_failure_unless_it_says_why() {
    let with = |list| setup().knobs(|knobs| knobs.scope_list = list).start();
    let app = with(ScopeList::Absent);
    let output = doctor(&app);
    assert_eq!(output.code, 0, "{output:?}");
    let (ok, warns, text) = check(&output, "scopes");
    assert!(ok && !warns && text.contains("does not say"), "{text}");
    assert!(check(&output, "alert").0 && check(&output, "exports").0);
    assert!(
        checks(&output)
            .iter()
            .all(|(name, ..)| name != "meeting_list")
    );

    let app = with(ScopeList::NotInstalled);
    let output = doctor(&app);
    assert_eq!(output.code, 4, "{output:?}");
    let (ok, _, text) = check(&output, "scopes");
    assert!(!ok && text.contains("212100"), "{text}");
    assert!(text.contains("install or enable the app"), "{text}");

    let app = with(ScopeList::Plain);
    app.set_faults(&["html-200@scopes:1"]);
    let output = doctor(&app);
    assert_eq!(output.code, 0, "{output:?}");
    let (ok, warns, text) = check(&output, "scopes");
    assert!(
        ok && warns && text.contains("each dataset is asked instead"),
        "{text}"
    );
}

/// The cause has one exit code, whichever verb meets it and whatever is asked.
#[test]
fn a_month_without_calls_left_ends_doctor_as_it_ends_api() {
    let app = setup().start();
    for (endpoint, what) in [
        ("get_daily", "daily_report"),
        ("poll", "exports"),
        ("rooms", "room"),
    ] {
        app.set_faults(&[&format!("quota@{endpoint}")]);
        let output = doctor(&app);
        assert_eq!(output.code, 5, "{endpoint}: {output:?}");
        let (ok, _, text) = check(&output, what);
        assert!(!ok && text.contains("monthly API quota"), "{text}");
    }
    let asked = app.meetlake(&["api", "GET", "/open-apis/vc/v1/rooms"]);
    assert_eq!(asked.code, 5, "{asked:?}");
}

#[test]
fn a_missing_role_is_explained_with_the_range_that_an_app_may_see() {
    let app = setup().knobs(|knobs| knobs.admin_role = false).start();
    let output = doctor(&app);
    let (ok, _, text) = check(&output, "exports");
    assert!(!ok && text.contains("121005"), "{text}");
    for part in ["Meeting management", "accessible data range"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

// --- `--deep` -------------------------------------------------------------------------------------------------------

/// Whether each question has an answer, and which.
fn facts(output: &Output) -> Vec<(String, bool, String)> {
    let facts = output.json()["facts"][TENANT].as_array().cloned();
    let facts = facts.unwrap_or_else(|| panic!("no facts: {output:?}"));
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let fact = |fact: &Value| {
        (
            text(&fact["name"]),
            fact["is_known"] == true,
            text(&fact["answer"]),
        )
    };
    facts.iter().map(fact).collect()
}

fn fact(output: &Output, name: &str) -> (bool, String) {
    let found = facts(output).into_iter().find(|(of, ..)| of == name);
    let (_, is_known, answer) = found.unwrap_or_else(|| panic!("no {name}: {output:?}"));
    (is_known, answer)
}

fn deep(app: &TestApp) -> Output {
    let output = app.meetlake(&["doctor", "--json", "--deep"]);
    assert_eq!(output.code, 0, "{output:?}");
    output
}

#[test]
fn what_is_open_is_answered_as_the_tenant_answers() {
    let app = setup().start();
    let output = deep(&app);
    for (name, is_known, answer) in [
        (
            "rooms_by_level",
            true,
            "yes: 16 rooms either way, of 12 levels; each stands below one",
        ),
        ("default_page_size", true, "10"),
        ("rate_headers", true, "no"),
        ("meetings_by_query", true, "no: the scope is missing"),
        (
            "end_of_an_ongoing_meeting",
            false,
            "no meeting can be found",
        ),
        ("undocumented_meetings", true, "no: there is no such path"),
        ("span_of_alerts", true, "1, and not 7: "),
    ] {
        let (known, said) = fact(&output, name);
        assert_eq!(known, is_known, "{name}: {said}");
        assert!(said.starts_with(answer), "{name}: {said}");
    }
    assert_eq!(app.submits(), 0, "it only reads");
    let shown = app.meetlake(&["doctor", "--deep"]).stdout;
    assert!(shown.contains("What acme answers today:"), "{shown}");
    assert!(
        shown.contains("not kept: there is no ledger yet"),
        "{shown}"
    );
    assert!(!app.path("meetlake.db").exists());

    let other = setup().knobs(|knobs| {
        knobs.with_descendants = true;
        knobs.rate_headers = true;
        knobs.lists_meetings = true;
        knobs.refuse_long_spans = false;
        knobs.page_size = 16;
        for scope in [DETAIL, "vc:meeting:readonly"] {
            knobs.scopes.insert(scope.to_owned());
        }
    });
    let app = other.start();
    let output = deep(&app);
    for (name, is_known, answer) in [
        (
            "rooms_by_level",
            true,
            "yes: 16 rooms either way, of 12 levels; a level lists those",
        ),
        ("rate_headers", true, "yes: x-ogw-ratelimit-limit is "),
        ("meetings_by_query", true, "yes"),
        ("end_of_an_ongoing_meeting", true, "\"0\""),
        ("undocumented_meetings", true, "yes: "),
        ("span_of_alerts", true, "at least 365"),
    ] {
        let (known, said) = fact(&output, name);
        assert_eq!(known, is_known, "{name}: {said}");
        assert!(said.starts_with(answer), "{name}: {said}");
    }
}

/// An answer without `data` is no empty list: nothing follows from it.
#[test]
fn nothing_follows_from_an_answer_without_data() {
    let (app, gate) = behind_a_gate(setup());
    let nothing =
        |_: &_, _: &_, answer: Answer| Act::Answer(answer.edit(|body| body["data"] = Value::Null));
    gate.set(&[Wrong {
        place: Place::Rooms,
        when: When::Always,
        does: Does::After(nothing),
    }]);
    let output = app.meetlake(&["doctor", "--json", "--deep"]);
    for name in ["rooms_by_level", "default_page_size", "rate_headers"] {
        let (is_known, said) = fact(&output, name);
        assert!(!is_known && said.contains("no data"), "{name}: {said}");
    }
    // What was answered is known all the same.
    assert!(fact(&output, "span_of_alerts").0, "{output:?}");
}

#[test]
fn facts_are_kept_only_in_a_ledger_that_is_there_and_free() {
    let app = setup().start();
    assert_eq!(deep(&app).json()["facts_kept"], false);
    app.teach_pace();
    assert_eq!(deep(&app).json()["facts_kept"], true);
    let kept = app.with_ledger(async |ledger| {
        let name = format!("facts:{TENANT}");
        // Held here, so nobody else writes.
        let kept = ledger.meta(&name).await.expect("read");
        (kept, deep(&app).json()["facts_kept"].clone())
    });
    let (kept, while_held) = kept;
    let kept: Value = serde_json::from_str(&kept.expect("kept")).expect("JSON");
    assert_eq!(kept["facts"].as_array().map(Vec::len), Some(7), "{kept}");
    assert_eq!(while_held, false, "another process holds it");
}
