//! Lark, the site for everybody outside of the mainland: English files, New York's days, fewer parameters and coarser scopes, and the same
//! program. Every row of every dataset is the company's.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::civil::date;
use meetlake::testing::dataset::Dataset;
use meetlake::testing::run::Scope;
use meetlake_simulator::{Face, Knobs, Options, ScopeList, Server, SimClock};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::app::{Output, SPEED, Setup, TENANT, TestApp};
use crate::events::{self, EVENTS};
use crate::lake::{self, unsound};
use crate::serving::Serving;
use crate::truth::Truth;

const OTHER: &str = "globex";

/// Headers and words that no English page has. They are kept as they came.
const UNPUBLISHED: [&str; 10] = [
    "external meeting",
    "meeting type",
    "number of devices",
    "protocol",
    "released early",
    "cpu avg usage of system",
    "Released (Released by sensor)",
    "to be signed in",
    "Sign-in unavailable (room disabled)",
    "meeting room id",
];

/// Every dataset that is asked for.
fn asked() -> Vec<Dataset> {
    let is_asked = |dataset: &Dataset| !dataset.is_received();
    Dataset::ALL.into_iter().filter(is_asked).collect()
}

/// Headers and cells of a row that were kept and not understood.
fn unread(row: &lake::Row) -> Vec<(String, String)> {
    let extra = row["_extra"].as_str().unwrap_or("{}");
    let extra: BTreeMap<String, Value> = serde_json::from_str(extra).expect("an object");
    let cell = |(header, value): (String, Value)| {
        let value = value.as_str().unwrap_or_default().to_owned();
        (header.trim().to_owned(), value)
    };
    extra.into_iter().map(cell).collect()
}

fn differences(company: &Server, lake: &Path, english: bool) -> Vec<String> {
    let mut truth = Truth::of(company.company(), company.options().clock.now());
    truth.english = english;
    let of_each = asked().into_iter();
    of_each
        .flat_map(|dataset| truth.differences_of(lake, dataset))
        .collect()
}

/// Two days in New York, the second of which has 25 hours and two offsets.
#[test]
fn every_dataset_of_a_lark_tenant_is_the_companys_where_a_day_has_25_hours() {
    let mut options = Options::of(Face::Lark, date(2026, 11, 1), SPEED);
    options.real_time_headers = false;
    let app = Setup::fast_of(options).only(&asked()).start();
    let summary = app.reconcile_scope(&Scope::Due);
    assert!(summary.is_settled(), "{summary:?}");
    let wrong = [
        unsound(&app.lake()),
        differences(app.server(), &app.lake(), true),
    ]
    .concat();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for dataset in asked() {
        let rows = lake::rows(&app.lake(), dataset);
        assert!(!rows.is_empty(), "{dataset} has rows");
        let unread = rows.iter().flat_map(unread);
        let unread: Vec<(String, String)> = unread
            .filter(|(header, value)| !UNPUBLISHED.iter().any(|one| header == one || value == one))
            .collect();
        assert!(unread.is_empty(), "{dataset}: {unread:?}");
    }
    let report = app.report();
    assert!(report.unknown_parameters.is_empty(), "{report:?}");
    assert_eq!(report.duplicate_submits, 0, "{:?}", report.duplicates);
    // Snapshots have no history: their jobs fire again every five minutes.
    let of_snapshots = [
        "room",
        "scope_config",
        "reserve_",
        "get_reserve",
        "active_meeting",
    ];
    let is_of_snapshot = |name: &str| of_snapshots.iter().any(|of| name.starts_with(of));
    let stays = |name: &str| !is_of_snapshot(name) && name != "tenant_token";
    // Addresses of pictures are signed anew at each call.
    let hashes = || {
        let mut hashes = app.content_hashes();
        hashes.retain(|(dataset, _), _| dataset != Dataset::RoomConfig.as_str());
        hashes
    };
    let calls = || -> BTreeMap<_, _> {
        let endpoints = app.report().endpoints.into_iter();
        let endpoints = endpoints.filter(|(name, _)| stays(name));
        endpoints.map(|(name, of)| (name, of.calls)).collect()
    };
    let before = (calls(), hashes());
    assert!(app.reconcile_scope(&Scope::Due).is_settled());
    assert_eq!(calls(), before.0, "nobody is asked again");
    assert_eq!(hashes(), before.1);
    let verified = app.meetlake(&["verify"]);
    assert_eq!(verified.code, 0, "{verified:?}");
}

// --- events ---------------------------------------------------------------------------------------------------------

#[test]
fn events_of_lark_come_over_the_long_connection() {
    let app = Setup::real_of(Face::Lark).only(&EVENTS).start();
    let serving = Serving::start(&app);
    let sent = events::send_all(&app);
    assert!(sent[0].body.contains("7e05f1aa92c4b3d0"), "{:?}", sent[0]);
    serving.until(
        || events::acknowledged(&app) == events::ids(&sent),
        "all are acknowledged",
    );
    events::stop(serving);
    assert_eq!(app.meetlake(&["run"]).code, 0);
    events::assert_all_there(&app, &sent);
    assert_eq!(app.meetlake(&["verify"]).code, 0);
    assert_days_are_of(&app.lake(), "America/New_York");
}

#[test]
fn events_of_lark_come_by_the_webhook() {
    let address = events::free_address();
    let mut setup = Setup::real_of(Face::Lark).only(&EVENTS);
    setup.inlet = format!(
        "inlet = \"webhook\"\nlisten = \"{address}\"\nverification_token = \"{}\"\n\
         encrypt_key = \"of-lark\"\n",
        setup.options.verification_token
    );
    let app = setup.start();
    let serving = Serving::start(&app);
    let sender = events::sender(&app, Some("of-lark"));
    let sent = events::events_of(&app);
    for (number, event) in sent.iter().enumerate() {
        let call = sender.event(&event.body, &number.to_string());
        assert_eq!(events::post(&app, &address, &call).0, 200);
    }
    events::stop(serving);
    assert_eq!(app.meetlake(&["run"]).code, 0);
    assert_eq!(rows_of_events(&app), sent.len());
    events::assert_all_there(&app, &sent);
    assert_days_are_of(&app.lake(), "America/New_York");
}

fn rows_of_events(app: &TestApp) -> usize {
    let rows = EVENTS.map(|dataset| lake::rows(&app.lake(), dataset).len());
    rows.iter().sum()
}

/// Each event stands on its day in that zone.
fn assert_days_are_of(lake: &Path, zone: &str) {
    let zone = jiff::tz::TimeZone::get(zone).expect("a bundled zone");
    for row in EVENTS.map(|of| lake::rows(lake, of)).concat() {
        let second = row["event_time"].as_i64().expect("an instant");
        let at = jiff::Timestamp::from_second(second).expect("an instant");
        let day = at.to_zoned(zone.clone()).date().to_string();
        assert_eq!(row["dt"], day, "{row:?}");
    }
}

// --- doctor ---------------------------------------------------------------------------------------------------------

fn check(output: &Output, what: &str) -> (bool, String) {
    let checks = output.json()["checks"].as_array().cloned().expect("checks");
    let found = checks.iter().find(|check| check["check"] == what);
    let found = found.unwrap_or_else(|| panic!("no {what}: {output:?}"));
    let text = found["found"].as_str().expect("a text").to_owned();
    (found["ok"] == true, text)
}

#[test]
fn doctor_knows_the_scopes_that_lark_has() {
    let app = Setup::real_of(Face::Lark).only(&asked()).start();
    let output = app.meetlake(&["doctor", "--json", "--deep"]);
    assert_eq!(output.code, 0, "{output:?}");
    for dataset in asked() {
        assert!(check(&output, dataset.as_str()).0, "{output:?}");
    }
    assert!(output.json()["facts"][TENANT].is_array(), "{output:?}");

    let bare = |knobs: &mut Knobs| knobs.scopes.clear();
    let app = Setup::real_of(Face::Lark)
        .only(&asked())
        .knobs(bare)
        .start();
    let output = app.meetlake(&["doctor", "--json"]);
    assert_eq!(output.code, 4, "{output:?}");
    // What the site has comes first; the other names are still there for the other site.
    for (what, scope, elsewhere) in [
        ("room", "vc:room:readonly", "vc:rooms.room.basicinfo:read"),
        ("room_level", "vc:room:readonly", "vc:rooms.roomlevel:read"),
        ("meeting_list", "vc:export", "vc:meeting:export"),
        (
            "meeting",
            "vc:meeting:readonly",
            "vc:meeting.meetingid:read",
        ),
    ] {
        let (ok, text) = check(&output, what);
        assert!(!ok, "{text}");
        assert!(text.starts_with(&format!("missing: {scope}")), "{text}");
        assert!(
            text.contains(&format!("this site does not list {elsewhere}")),
            "{text}"
        );
    }
    // Names that both sites have need no such remark.
    let (_, text) = check(&output, "alert");
    assert!(text.starts_with("missing: vc:alert:readonly;"), "{text}");
}

/// Where the list has none of the names that are documented, it says nothing, and the endpoints are asked.
#[test]
fn scopes_of_other_names_are_no_missing_scopes() {
    let renamed = |knobs: &mut Knobs| knobs.scope_list = ScopeList::Renamed;
    let setup = Setup::real_of(Face::Lark).only(&asked());
    let app = setup.knobs(renamed).start();
    let output = app.meetlake(&["doctor", "--json"]);
    assert_eq!(output.code, 0, "{output:?}");
    let (ok, text) = check(&output, "alert");
    assert!(ok && text.contains("the app may read it"), "{text}");
    assert!(check(&output, "exports").0, "{output:?}");

    let without = |knobs: &mut Knobs| {
        renamed(knobs);
        knobs.scopes.clear();
    };
    let setup = Setup::real_of(Face::Lark).only(&asked());
    let output = setup.knobs(without).start().meetlake(&["doctor", "--json"]);
    assert_eq!(output.code, 4, "{output:?}");
    for what in ["alert", "room", "exports"] {
        let (ok, text) = check(&output, what);
        assert!(!ok && text.contains("99991672"), "{what}: {text}");
    }
}

/// Parameters that Lark's pages lack are refused there, and the refusal names them.
#[test]
fn a_parameter_that_lark_lacks_is_named() {
    let app = Setup::real_of(Face::Lark)
        .only(&[Dataset::DailyReport])
        .start();
    let config = fs::read_to_string(app.path("meetlake.toml")).expect("a configuration");
    let of_tenant = format!("[tenants.{TENANT}]\n");
    let with_unit = config.replace(&of_tenant, &format!("{of_tenant}unit = 1\n"));
    app.write("meetlake.toml", &with_unit);
    let run = app.meetlake(&["run"]);
    assert_ne!(run.code, 0, "{run:?}");
    assert!(run.text().contains("unit"), "{run:?}");
    assert!(run.text().contains("99992402"), "{run:?}");
}

// --- both sites at once ---------------------------------------------------------------------------------------------

/// One binary, one configuration, one lake: a company in Shanghai and one in New York.
#[test]
fn a_feishu_and_a_lark_tenant_share_a_lake_and_nothing_else() {
    let app = both_sites();
    let lark = lark_company(&app);
    let config = fs::read_to_string(app.path("meetlake.toml")).expect("a configuration");
    let other = format!("{}[limits]\n", section_of(&lark));
    app.write("meetlake.toml", &config.replace("[limits]\n", &other));
    // A job has the days of one zone.
    for dataset in asked() {
        let path = format!("jobs/{dataset}.toml");
        let job = fs::read_to_string(app.path(&path)).expect("a job");
        let of = |tenant: &str| format!("{job}tenants = [\"{tenant}\"]\n");
        app.write(&path, &of(TENANT));
        let (there, here) = (lark.first_day().to_string(), app.first_day().to_string());
        let other = of(OTHER).replace(&here, &there);
        let other = other.replace("reserves.txt", "reserves-lark.txt");
        app.write(&format!("jobs/{dataset}-lark.toml"), &other);
    }
    app.write_ids("reserves-lark.txt", &lark);
    let run = app.meetlake(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    let verified = app.meetlake(&["verify"]);
    assert_eq!(verified.code, 0, "{verified:?}");
    for (tenant, company, english) in [(TENANT, app.server(), false), (OTHER, &lark, true)] {
        let own = part_of(&app, tenant, &asked());
        let wrong = differences(company, &own, english);
        assert!(wrong.is_empty(), "{tenant}: {}", wrong.join("\n"));
        // Ids of the other company's people stand in no byte of this one's files, originals and manifests.
        let of_other = if english { app.server() } else { &lark };
        let ids = of_other
            .company()
            .employees()
            .iter()
            .map(|who| &who.open_id);
        let ids: Vec<&String> = ids.collect();
        let rows = asked()
            .into_iter()
            .flat_map(|dataset| lake::rows(&own, dataset));
        for row in rows {
            let row = Value::Object(row).to_string();
            let foreign = ids.iter().find(|id| row.contains(id.as_str()));
            assert!(foreign.is_none(), "{tenant}: {row}");
        }
        assert!(company.report().unknown_parameters.is_empty());
    }
    let status = app.meetlake(&["status", "--json"]).json();
    let rows = status["partitions"].as_array().expect("partitions");
    for tenant in [TENANT, OTHER] {
        assert!(rows.iter().any(|row| row["tenant"] == tenant), "{tenant}");
    }
    app.block_on(lark.stop());
}

/// One binary receives the events of both: each tenant has those of its own company, on the days of its own zone.
#[test]
fn a_feishu_and_a_lark_tenant_both_receive_their_events() {
    let app = Setup::real().only(&EVENTS).start();
    let lark = lark_company(&app);
    let config = fs::read_to_string(app.path("meetlake.toml")).expect("a configuration");
    let other = format!(
        "{}[tenants.{OTHER}.events]\ninlet = \"long_connection\"\n[limits]\n",
        section_of(&lark)
    );
    app.write("meetlake.toml", &config.replace("[limits]\n", &other));
    for dataset in EVENTS {
        let path = format!("jobs/{dataset}.toml");
        let job = fs::read_to_string(app.path(&path)).expect("a job");
        let of = |tenant: &str| format!("{job}tenants = [\"{tenant}\"]\n");
        app.write(&path, &of(TENANT));
        app.write(&format!("jobs/{dataset}-lark.toml"), &of(OTHER));
    }
    let serving = Serving::start(&app);
    let here = events::send_all(&app);
    let company = lark.company();
    let there = lark.send_events(
        company.start_of_day(lark.first_day()),
        company.start_of_day(lark.last_day().tomorrow().expect("a day")),
    );
    let both = events::ids(&here).is_disjoint(&events::ids(&there));
    assert!(both && !here.is_empty() && !there.is_empty());
    for (server, sent) in [(app.server(), &here), (&lark, &there)] {
        let acknowledged = || server.link_report().acknowledged;
        serving.until(
            || acknowledged() == events::ids(sent),
            "all are acknowledged",
        );
        assert_eq!(server.link_report().connections, 1);
    }
    events::stop(serving);
    let run = app.meetlake(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    for (tenant, server, sent, zone) in [
        (TENANT, app.server(), &here, "Asia/Shanghai"),
        (OTHER, &lark, &there, "America/New_York"),
    ] {
        let own = part_of(&app, tenant, &EVENTS);
        events::assert_all_in(&own, &server.link_report().acknowledged, sent);
        assert_days_are_of(&own, zone);
    }
    assert_eq!(app.meetlake(&["verify"]).code, 0);
    // One row a tenant and type, which counts its own.
    let status = app.status();
    let of_types = status["events"].as_array().expect("events");
    for (tenant, sent) in [(TENANT, &here), (OTHER, &there)] {
        let own = of_types.iter().filter(|of| of["tenant"] == tenant);
        let kept: u64 = own.filter_map(|of| of["kept"].as_u64()).sum();
        assert_eq!(kept, sent.len() as u64, "{tenant}: {status}");
    }
    app.block_on(lark.stop());
}

/// The tenant of the company on Lark.
fn section_of(lark: &Server) -> String {
    format!(
        "[tenants.{OTHER}]\nhost = \"{}\"\napp_id = \"{}\"\napp_secret = \"{}\"\n\
         allow_inline_secret = true\ntime_zone = \"America/New_York\"\n",
        lark.base_url(),
        lark.options().app_id,
        lark.options().app_secret
    )
}

/// Both clocks are as slow as ours, so that an alert stands where it stood when it was read.
fn both_sites() -> TestApp {
    let setup = Setup::real().only(&asked());
    let now = setup.options.clock.start();
    setup
        .with(|options| options.clock = SimClock::new(now, 1.0))
        .knobs(quick)
        .start()
}

fn quick(knobs: &mut Knobs) {
    let at_once = std::time::Duration::from_millis(50);
    let times = &mut knobs.export_times;
    for time in [
        &mut times.meeting_list,
        &mut times.participant_list,
        &mut times.participant_quality_list,
        &mut times.resource_reservation_list,
    ] {
        *time = at_once;
    }
}

fn lark_company(app: &TestApp) -> Server {
    let Setup { mut options, .. } = Setup::real_of(Face::Lark).knobs(quick);
    // Other people than those of the first company.
    options.seed = 2;
    options.clock = app.setup.options.clock.clone();
    app.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        Server::start(listener, options).expect("a simulator")
    })
}

/// A lake of one tenant's files only.
fn part_of(app: &TestApp, tenant: &str, datasets: &[Dataset]) -> PathBuf {
    let own = app.path(&format!("of-{tenant}"));
    let folder = format!("tenant={tenant}");
    for dataset in datasets {
        for file in lake::files(&app.lake(), *dataset) {
            let name = file.strip_prefix(app.lake()).expect("below the lake");
            if name.iter().any(|part| part == folder.as_str()) {
                let copy = own.join(name);
                fs::create_dir_all(copy.parent().expect("a folder")).expect("a folder");
                fs::copy(&file, copy).expect("a copy");
            }
        }
    }
    own
}
