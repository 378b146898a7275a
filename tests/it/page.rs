//! The pages of `serve` as a browser asks for them, and what they cost.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use meetlake::testing::clock::Clock;
use meetlake::testing::config;
use meetlake::testing::events::Events;
use meetlake::testing::exit::Code;
use meetlake::testing::ledger::Ledger;
use meetlake::testing::metrics::Metrics;
use meetlake::testing::server::{self, Pages};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::app::{Setup, TENANT, binary, finish, runtime, zone};

/// The last day of a large ledger, and an instant in the middle of the next one.
const LAST_DAY: &str = "2026-11-27";
const NOW: &str = "2026-11-28T04:00:00Z";

/// The datasets of exports and reports.
const SIX: [&str; 6] = [
    "daily_report",
    "top_user",
    "meeting_list",
    "participant_list",
    "participant_quality_list",
    "resource_reservation_list",
];

/// Others that need no more configuration.
const MORE: [&str; 6] = [
    "meeting",
    "meeting_participant",
    "recording",
    "alert",
    "room",
    "room_level",
];

/// Writes a configuration of so many tenants, with jobs as `init` writes them.
fn write_configuration(folder: &Path, tenants: usize, datasets: &[&str]) {
    let mut text = "version = 1\n[lake]\nurl = \"lake\"\n".to_owned();
    for tenant in 0..tenants {
        let _ = write!(
            text,
            "[tenants.t{tenant:03}]\nhost = \"http://127.0.0.1:9\"\napp_id = \"cli_{tenant}\"\n\
             app_secret = \"s\"\nallow_inline_secret = true\ntime_zone = \"Asia/Shanghai\"\n"
        );
    }
    std::fs::write(folder.join("meetlake.toml"), text).expect("written");
    std::fs::create_dir_all(folder.join("jobs")).expect("made");
    for job in datasets {
        let file = format!("{}/jobs/{job}.toml", env!("CARGO_MANIFEST_DIR"));
        let to = folder.join(format!("jobs/{job}.toml"));
        std::fs::copy(file, to).expect("copied");
    }
}

/// The pages of a configuration and a ledger, served until the story is told.
async fn serving(
    folder: &Path,
    ledger: Ledger,
    now: jiff::Timestamp,
    story: impl AsyncFnOnce(String),
) {
    let config = config::load(&folder.join("meetlake.toml"), &config::process_environment);
    let config = config.expect("valid");
    let events = Events::new(Clock::scaled(now, 1.0));
    let pages = Pages {
        ledger,
        disks: Arc::new([("spool", folder.to_owned())]),
        tenants: config
            .tenants
            .values()
            .map(|of| (of.name.clone(), zone()))
            .collect(),
        jobs: config.jobs.into(),
        clock: Clock::scaled(now, 1.0),
        metrics: Arc::new(Metrics::new(&events, Vec::new())),
        events,
        began: now,
        hosts: Arc::default(),
        ready: Arc::default(),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    let stop = CancellationToken::new();
    let server = tokio::spawn(server::serve(listener, pages, stop.clone()));
    story(base).await;
    stop.cancel();
    server.await.expect("no panic").expect("served");
}

/// A ledger with the history of so many tenants.
async fn large_ledger(folder: &Path, tenants: usize, datasets: &[&str]) -> Ledger {
    write_configuration(folder, tenants, datasets);
    let path = folder.join("meetlake.db");
    let ledger = Ledger::open(&path, "test").await.expect("opened");
    let filled = Command::new("python3")
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/large_ledger.py"
        ))
        .arg(&path)
        .args([&tenants.to_string(), "365", LAST_DAY])
        .args(datasets)
        .status();
    assert!(filled.expect("Python is there").success());
    ledger
}

/// `MEETLAKE_TENANTS=1,50,500 tests/run page::what_the_pages_cost -- --ignored --nocapture`
#[test]
#[ignore = "measures, and takes minutes"]
fn what_the_pages_cost() {
    let counts = std::env::var("MEETLAKE_TENANTS").unwrap_or_else(|_| "1,50,500".to_owned());
    for tenants in counts
        .split(',')
        .map(|count| count.parse().expect("a count"))
    {
        let folder = tempfile::tempdir().expect("a folder");
        runtime().block_on(async {
            let ledger = large_ledger(folder.path(), tenants, &SIX).await;
            let now = NOW.parse().expect("an instant");
            serving(folder.path(), ledger, now, async |base| {
                let _ = rustls::crypto::ring::default_provider().install_default();
                for path in [
                    "/",
                    "/",
                    "/?tenant=t000",
                    "/?tenant=t000",
                    "/day/t000/meeting_list/2026-11-24",
                    "/status.json?tenant=t000",
                    "/status.json",
                ] {
                    let began = Instant::now();
                    let answer = reqwest::get(format!("{base}{path}"))
                        .await
                        .expect("an answer");
                    let body = answer.bytes().await.map(|body| body.len());
                    println!(
                        "{tenants} tenants, {path}: {:?}, {body:?} bytes",
                        began.elapsed()
                    );
                }
            })
            .await;
        });
        let began = Instant::now();
        let status = finish(
            binary()
                .args(["status", "--config"])
                .arg(folder.path().join("meetlake.toml")),
        );
        println!(
            "{tenants} tenants, status: {:?}, code {}, {} bytes",
            began.elapsed(),
            status.code,
            status.stdout.len()
        );
        assert!(status.code == 3 || status.code == 0, "{status:?}");
    }
}

#[test]
fn machines_are_told_every_day_of_few_tenants_and_the_late_days_of_many() {
    let folder = tempfile::tempdir().expect("a folder");
    runtime().block_on(async {
        let ledger = large_ledger(folder.path(), 11, &["top_user"]).await;
        let now = NOW.parse().expect("an instant");
        serving(folder.path(), ledger, now, async |base| {
            let _ = rustls::crypto::ring::default_provider().install_default();
            let get = async |path: &str| -> Value {
                let answer = reqwest::get(format!("{base}{path}")).await;
                let text = answer.expect("an answer").text().await.expect("a body");
                serde_json::from_str(&text).expect("JSON")
            };
            let list = |of: &Value, name: &str| of[name].as_array().cloned().unwrap_or_default();
            let all = get("/status.json").await;
            assert_eq!(list(&all, "datasets").len(), 11);
            assert!(all.get("days").is_none(), "{all}");
            let late = list(&all, "late");
            let told = late
                .iter()
                .map(|day| (&day["tenant"], &day["dt"], &day["outcome"]));
            let (last, waiting) = (json!(LAST_DAY), json!("waiting"));
            let expected = [json!("t000"), json!("t010")];
            let expected = expected.iter().map(|tenant| (tenant, &last, &waiting));
            assert_eq!(told.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
            assert_eq!(all["may_be_late"], json!({}));
            let one = get("/status.json?tenant=t010").await;
            let days = list(&one, "days");
            assert_eq!((days.len(), list(&one, "datasets").len()), (365, 1));
            let are_late = days.into_iter().filter(|day| !day["late_s"].is_null());
            assert_eq!(are_late.collect::<Vec<_>>(), late[1..]);
            assert_eq!(list(&one, "late"), late[1..]);
        })
        .await;
    });
}

/// What `tests/browser` looks at: pages of a company where all went well, of one where much did not, and of a year of twelve datasets.
#[test]
#[ignore = "needs Chromium; tests/browser has it"]
fn a_browser_sees_the_pages() {
    let program = std::env::var("MEETLAKE_BROWSER").expect("tests/browser sets it");
    let look = async |base: String, name: &str| {
        let status = tokio::process::Command::new("node")
            .args([&program, &base, name])
            .status()
            .await;
        assert!(status.expect("node is there").success(), "{name}");
    };
    for (name, faults) in [
        ("well", &[][..]),
        (
            "faults",
            &[
                "permission-denied@resource_reservation_list",
                "short@meeting_list",
                "failed@participant_quality_list",
            ],
        ),
    ] {
        let app = Setup::fast()
            .with(|options| options.days = 9)
            .faults(faults)
            .start();
        let summary = app.reconcile();
        assert_eq!(
            summary.exit() == Code::Done,
            faults.is_empty(),
            "{summary:#?}"
        );
        let config = std::fs::read_to_string(app.path("meetlake.toml")).expect("a file");
        assert!(config.contains(TENANT));
        app.block_on(async {
            let ledger = Ledger::open_for_reading(&app.path("meetlake.db")).await;
            let ledger = ledger.expect("readable").expect("there");
            serving(&app.path(""), ledger, app.now(), async |base| {
                look(base, name).await
            })
            .await;
        });
    }
    let folder = tempfile::tempdir().expect("a folder");
    runtime().block_on(async {
        let ledger = large_ledger(folder.path(), 12, &[SIX, MORE].concat()).await;
        let now = NOW.parse().expect("an instant");
        serving(folder.path(), ledger, now, async |base| {
            look(base, "year").await
        })
        .await;
    });
}
