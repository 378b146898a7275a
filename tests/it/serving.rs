//! `meetlake serve`: it exports what is due at once, answers on its pages, ends when told to, and owns its ledger.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use meetlake::testing::dataset::Dataset;
use serde_json::Value;

use crate::app::{Setup, TENANT, TestApp, signal, wait};

pub(crate) struct Serving<'a> {
    app: &'a TestApp,
    pub(crate) child: Child,
    base: String,
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl<'a> Serving<'a> {
    pub(crate) fn start(app: &'a TestApp) -> Self {
        Self::start_by(app, None)
    }

    /// Starts it as the last arguments of another program.
    fn start_by(app: &'a TestApp, starter: Option<Command>) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        let address = format!("127.0.0.1:{port}");
        let serve = app.command(&["serve", "--listen", &address]);
        let mut command = match starter {
            None => serve,
            Some(mut starter) => {
                starter.arg(serve.get_program()).args(serve.get_args());
                starter
                    .current_dir(app.path(""))
                    .stdin(std::process::Stdio::null());
                starter.envs(
                    serve
                        .get_envs()
                        .filter_map(|(name, value)| Some((name, value?))),
                );
                starter
            }
        };
        let child = app.spawn_command(&mut command);
        let base = format!("http://{address}");
        let serving = Self { app, child, base };
        serving.until(|| serving.get("/healthz").is_some(), "it answers");
        serving
    }

    /// Status and body, if it answers.
    pub(crate) fn get(&self, path: &str) -> Option<(u16, String)> {
        let url = format!("{}{path}", self.base);
        self.app.block_on(async {
            let _ = rustls::crypto::ring::default_provider().install_default();
            let response = reqwest::get(url).await.ok()?;
            Some((response.status().as_u16(), response.text().await.ok()?))
        })
    }

    pub(crate) fn until(&self, holds: impl Fn() -> bool, what: &str) {
        let began = Instant::now();
        while !holds() {
            assert!(
                // A tenant's work begins again half a minute after it ended, and a dataset's events are published once a minute.
                began.elapsed() < Duration::from_secs(180),
                "not within 180 s: {what}; its log: {}",
                std::fs::read_to_string(self.app.path("child.log")).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn rows(&self, dataset: Dataset) -> u64 {
        let (_, body) = self.get("/status.json").expect("it answers");
        let status: Value = serde_json::from_str(&body).expect("JSON");
        let datasets = status["datasets"].as_array().expect("datasets");
        let of = datasets
            .iter()
            .find(|row| row["dataset"] == dataset.as_str());
        of.and_then(|row| row["rows"].as_u64()).unwrap_or(0)
    }
}

#[test]
fn it_exports_what_is_due_answers_and_ends_politely() {
    let app = Setup::real()
        .only(&[Dataset::DailyReport, Dataset::MeetingList])
        .start();
    app.teach_pace();
    let mut serving = Serving::start(&app);
    assert_eq!(serving.get("/readyz").map(|answer| answer.0), Some(200));
    serving.until(
        || serving.rows(Dataset::MeetingList) >= 10 && serving.rows(Dataset::DailyReport) >= 2,
        "both days are in the lake",
    );
    let (status, page) = serving.get("/").expect("it answers");
    assert_eq!(status, 200);
    assert!(page.contains("meeting_list"), "{page}");
    let day = format!("{TENANT}/meeting_list/{}", app.first_day());
    let asked = format!(
        "tenant={TENANT}&dataset=meeting_list&dt={}",
        app.first_day()
    );
    for path in [format!("/day/{day}"), format!("/day?{asked}")] {
        let (status, page) = serving.get(&path).expect("it answers");
        assert_eq!(status, 200, "{path}");
        let object = format!(
            "meeting_list/tenant={TENANT}/dt={}/part-0.parquet",
            app.first_day()
        );
        for said in [
            object.as_str(),
            "<b>settled</b>",
            "meetlake backfill --tenant",
        ] {
            assert!(page.contains(said), "{said}: {page}");
        }
    }
    for path in [
        "/nowhere",
        "/?tenant=nobody",
        "/status.json?tenant=nobody",
        "/day/nobody/meeting_list/2026-01-01",
        "/day/acme/nothing/2026-01-01",
    ] {
        assert_eq!(
            serving.get(path).map(|answer| answer.0),
            Some(404),
            "{path}"
        );
    }
    let headers = app.block_on(async {
        let answer = reqwest::get(format!("{}/", serving.base)).await;
        answer.expect("an answer").headers().clone()
    });
    let policy = headers["content-security-policy"].to_str().expect("a text");
    assert!(
        policy.starts_with("default-src 'none'; style-src 'self';") && !policy.contains("unsafe")
    );
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(headers["cache-control"], "no-store");
    let style = page.split("<link rel=\"stylesheet\" href=\"").nth(1);
    let style = style
        .and_then(|rest| rest.split('"').next())
        .expect("a style");
    assert!(
        serving
            .get(style)
            .expect("it answers")
            .1
            .contains(".calendar{")
    );
    // Another site's name that points here for a moment reads no page; a probe may use any name.
    for (path, host, expected) in [
        ("/", "evil.example.org", 421),
        ("/status.json", "evil.example.org:80", 421),
        ("/healthz", "evil.example.org", 200),
        ("/", "localhost:8642", 200),
    ] {
        let url = format!("{}{path}", serving.base);
        let status = app.block_on(async {
            let request = reqwest::Client::new().get(url).header("host", host);
            request.send().await.expect("an answer").status().as_u16()
        });
        assert_eq!(status, expected, "{path} {host}");
    }
    // A terminal that closes, or somebody who expects a reload, does not end a server.
    signal(&serving.child, "HUP");
    let log = || std::fs::read_to_string(app.path("child.log")).expect("a log");
    serving.until(|| log().contains("a hang-up changes nothing"), "it says so");
    assert_eq!(serving.get("/readyz").map(|answer| answer.0), Some(200));

    let second = app.meetlake(&["run"]);
    assert_eq!(second.code, 9, "{second:?}");
    assert!(second.stderr.contains("`meetlake serve`"), "{second:?}");
    let id = serving.child.id().to_string();
    assert!(second.stderr.contains(&id), "{second:?}");
    // Whoever only reads is not kept out.
    serving.until(
        || app.meetlake(&["status"]).code == 0,
        "nothing is late when the days without a meeting are there too",
    );
    assert_eq!(app.meetlake(&["plan"]).code, 0);

    signal(&serving.child, "TERM");
    let (code, took) = wait(&mut serving.child, Duration::from_secs(25));
    assert_eq!(code, Some(0));
    assert!(took <= Duration::from_secs(20), "{took:?}");
    assert_eq!(app.meetlake(&["run"]).code, 0);
}

#[test]
fn it_is_told_to_end_in_the_middle_of_exports_and_loses_nothing() {
    let app = Setup::real().start();
    app.teach_pace();
    let mut serving = Serving::start(&app);
    std::thread::sleep(Duration::from_millis(1_500));
    signal(&serving.child, "INT");
    let (code, took) = wait(&mut serving.child, Duration::from_secs(25));
    assert_eq!(code, Some(0));
    assert!(took <= Duration::from_secs(20), "{took:?}");
    let output = app.meetlake(&["run"]);
    assert_eq!(output.code, 0, "{output:?}");
    app.assert_conserved();
    assert_eq!(app.report().duplicate_submits, 0);
}

/// Serves two days of meetings with failpoints.
#[cfg(feature = "failpoints")]
fn struck(failpoints: &str) -> TestApp {
    let mut setup = Setup::real().only(&[Dataset::MeetingList]);
    setup.environment = Some(("FAILPOINTS", failpoints.to_owned()));
    let app = setup.start();
    app.teach_pace();
    app
}

#[cfg(feature = "failpoints")]
#[test]
fn a_panic_in_a_task_or_in_the_loop_ends_neither_the_daemon_nor_its_pages() {
    for (failpoints, told) in [
        ("w07-decoding=1*panic", "gave up in the middle"),
        ("w07-fetched=1*panic", "gave up in the middle"),
        ("w11-window-settled=1*panic", "begins again in"),
    ] {
        let app = struck(failpoints);
        let mut serving = Serving::start(&app);
        let log = || std::fs::read_to_string(app.path("child.log")).unwrap_or_default();
        serving.until(|| log().contains(told), "it says what happened");
        // The other day does not wait for it.
        serving.until(
            || serving.rows(Dataset::MeetingList) >= 5,
            "a day is in the lake",
        );
        assert_eq!(serving.child.try_wait().expect("ours"), None, "{}", log());
        assert_eq!(serving.get("/readyz").map(|answer| answer.0), Some(200));
        signal(&serving.child, "TERM");
        let (code, _) = wait(&mut serving.child, Duration::from_secs(25));
        assert_eq!(code, Some(0), "{failpoints}: {}", log());
    }
}

#[test]
fn a_ledger_that_cannot_be_read_is_not_called_quiet() {
    let app = Setup::real().only(&[Dataset::MeetingList]).start();
    app.teach_pace();
    assert_eq!(app.meetlake(&["run"]).code, 0);
    let serving = Serving::start(&app);
    let (status, page) = serving.get("/").expect("it answers");
    assert!(
        status == 200 && page.contains("Nothing needs attention"),
        "{page}"
    );
    // A failed task of a dataset that nobody knows, which no list but that of what needs attention reads.
    let spoil = "import sqlite3, sys\nledger = sqlite3.connect(sys.argv[1], timeout=20)\n\
        columns = [row[1] for row in ledger.execute('PRAGMA table_info(task)')]\n\
        row = dict(zip(columns, ledger.execute('SELECT * FROM task').fetchone()))\n\
        row.update(key='spoilt', dataset='nonsense', phase='failed')\n\
        ledger.execute('INSERT INTO task (%s) VALUES (%s)' % (','.join(row), ','.join('?' * len(row))), tuple(row.values()))\nledger.commit()";
    let output = std::process::Command::new("python3")
        .args(["-c", spoil])
        .arg(app.path("meetlake.db"))
        .output()
        .expect("Python is there");
    assert!(output.status.success(), "{output:?}");
    let (status, page) = serving.get("/").expect("it answers");
    assert_eq!(
        (status, page.as_str()),
        (500, "the ledger cannot be read\n")
    );
}

#[test]
fn a_client_that_holds_on_to_a_connection_keeps_nobody_from_the_end() {
    use std::io::Write as _;
    let app = Setup::real().only(&[Dataset::MeetingList]).start();
    app.teach_pace();
    let mut serving = Serving::start(&app);
    let address = serving.base.trim_start_matches("http://").to_owned();
    let held = [
        "",
        "GET / HTTP/1.1\r\nHost: lo",
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nab",
        // It asks, and never reads.
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\nHo",
    ];
    let held = held.map(|sent| {
        let mut stream = std::net::TcpStream::connect(&address).expect("connected");
        stream.write_all(sent.as_bytes()).expect("sent");
        stream
    });
    assert_eq!(serving.get("/healthz").map(|answer| answer.0), Some(200));
    signal(&serving.child, "TERM");
    let (code, took) = wait(&mut serving.child, Duration::from_secs(25));
    assert_eq!(code, Some(0));
    assert!(took <= Duration::from_secs(20), "{took:?}");
    assert_eq!(app.meetlake(&["run"]).code, 0, "nobody holds the ledger");
    drop(held);
}

#[test]
fn a_want_of_descriptors_is_named_and_the_limit_is_raised_at_the_start() {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let app = Setup::real().only(&[Dataset::MeetingList]).start();
    app.teach_pace();
    // As on a system that gives few unasked, and more to whoever asks.
    let mut few = Command::new("sh");
    few.args(["-c", "ulimit -Sn 256 && exec \"$0\" \"$@\""]);
    let serving = Serving::start_by(&app, Some(few));
    let pid = Pid::from_child(&serving.child);
    let limit = |wanted: Rlimit| prlimit(Some(pid), Resource::Nofile, wanted).expect("a limit");
    let none_left = |maximum| Rlimit {
        current: Some(3),
        maximum,
    };
    let ours = rustix::process::getrlimit(Resource::Nofile).maximum;
    let given = limit(none_left(ours));
    let most = given.maximum.unwrap_or(u64::MAX);
    assert_eq!(given.current, Some(most.min(8_192)));
    // Its address takes the connection; the process cannot.
    let address = serving.base.trim_start_matches("http://");
    let waiting = std::net::TcpStream::connect(address).expect("connected");
    let log = || std::fs::read_to_string(app.path("child.log")).expect("a log");
    let said = "could not accept a connection: ";
    serving.until(|| log().contains(said), "it is told");
    std::thread::sleep(Duration::from_millis(300));
    let line = log()
        .lines()
        .filter(|line| line.contains(said))
        .collect::<Vec<_>>()
        .join("\n");
    assert!(
        line.contains("may have 3 files and connections open") && line.contains("LimitNOFILE="),
        "{line}"
    );
    assert_eq!(line.lines().count(), 1, "{line}");
    limit(given);
    serving.until(|| serving.get("/healthz").is_some(), "it goes on");
    drop(waiting);
}

#[test]
fn an_address_for_others_needs_the_configuration() {
    let app = Setup::real().start();
    let output = app.meetlake(&["serve", "--listen", "0.0.0.0:0"]);
    assert_eq!(output.code, 2, "{output:?}");
}
