//! A simulated company, a configuration and job files in a folder of their own, and the program against them.
//!
//! [`TestApp::meetlake`] runs the real binary, which lives in real time: its company's last day is the day before yesterday. Where that would
//! take minutes, [`TestApp::reconcile`] runs the same parts in this process on a clock that is [`SPEED`] times as fast, as `demo` does.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use meetlake::testing::cli::App;
use meetlake::testing::clock::Clock;
use meetlake::testing::config;
use meetlake::testing::dataset::Dataset;
use meetlake::testing::decode::Fallback;
use meetlake::testing::ledger::Ledger;
use meetlake::testing::pipeline::Tenant;
use meetlake::testing::run::{self, Scope, Summary};
use meetlake_simulator::{Face, Fault, Knobs, Options, Report, Server, SimClock};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// Simulated seconds in a real one.
pub(crate) const SPEED: f64 = 400.0;
/// No run of the binary here takes longer, even beside others on a machine that is busy.
const LONGEST: Duration = Duration::from_secs(120);
pub(crate) const TENANT: &str = "acme";
pub(crate) const SECRET: &str = "simulator-secret";
const ZONE: &str = "Asia/Shanghai";
/// Apart from the ledger's folder. It is the key that everybody knows, so that two lakes of one company hold the same bytes.
pub(crate) const KEY_FILE: &str = "keys/lake.key";
/// So much more than the real quota that the real clock's limiter and the fast simulator never wait for one another.
const QUOTA_SCALE: f64 = 1_000.0;

/// Datasets that have a job unless a story asks for others.
pub(crate) const SHEETS_AND_REPORTS: [Dataset; 6] = [
    Dataset::DailyReport,
    Dataset::TopUser,
    Dataset::MeetingList,
    Dataset::ParticipantList,
    Dataset::ParticipantQualityList,
    Dataset::ResourceReservationList,
];

/// What a [`TestApp`] is made from.
pub(crate) struct Setup {
    pub(crate) options: Options,
    /// Other than the default folder.
    pub(crate) lake: Option<String>,
    /// Lines below `url` in `[lake]`.
    pub(crate) lake_options: String,
    /// Further lines of a dataset's job file.
    pub(crate) jobs: BTreeMap<Dataset, String>,
    /// How long after its end a day is asked for.
    pub(crate) settle_delay: &'static str,
    /// Datasets that have a job.
    pub(crate) datasets: Vec<Dataset>,
    /// Where the API is, if not at the simulator.
    pub(crate) host: Option<String>,
    /// A variable that the configuration reads.
    pub(crate) environment: Option<(&'static str, String)>,
    /// How events come in, where there is a job of them.
    pub(crate) inlet: String,
    is_fast: bool,
}

impl Setup {
    /// A company in October 2026 for [`TestApp::reconcile`]: two days of five meetings.
    pub(crate) fn fast() -> Self {
        Self::fast_of(Options::default())
    }

    /// The same of any company.
    pub(crate) fn fast_of(mut options: Options) -> Self {
        options.clock = SimClock::new(options.clock.start(), SPEED);
        options.real_time_headers = false;
        Self::of(options, true)
    }

    /// A company up to the day before yesterday for the real binary: two days of five meetings.
    pub(crate) fn real() -> Self {
        Self::real_of(Face::Feishu)
    }

    /// The same on one of the two sites.
    pub(crate) fn real_of(face: Face) -> Self {
        let now = Timestamp::now();
        let zone = TimeZone::get(face.time_zone()).expect("a bundled zone");
        let today = now.to_zoned(zone).date();
        let mut options = Options::of(face, today.saturating_sub(2.days()), SPEED);
        options.clock = SimClock::new(now, SPEED);
        Self::of(options, false)
    }

    fn of(options: Options, is_fast: bool) -> Self {
        Self {
            options: Options {
                days: 2,
                meetings_per_day: 5,
                quota_scale: QUOTA_SCALE,
                ..options
            },
            lake: None,
            lake_options: String::new(),
            jobs: BTreeMap::new(),
            settle_delay: "1m",
            // Each other kind has stories of its own.
            datasets: SHEETS_AND_REPORTS.to_vec(),
            host: None,
            environment: None,
            inlet: "inlet = \"long_connection\"\n".to_owned(),
            is_fast,
        }
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Options)) -> Self {
        change(&mut self.options);
        self
    }

    pub(crate) fn knobs(self, change: impl FnOnce(&mut Knobs)) -> Self {
        self.with(|options| change(&mut options.knobs))
    }

    pub(crate) fn faults(self, faults: &[&str]) -> Self {
        self.with(|options| options.faults = parse(faults))
    }

    pub(crate) fn only(mut self, datasets: &[Dataset]) -> Self {
        self.datasets = datasets.to_vec();
        self
    }

    pub(crate) fn job(mut self, dataset: Dataset, lines: &str) -> Self {
        self.jobs.insert(dataset, lines.to_owned());
        self
    }

    /// The section of the tenant's inlet, if there is a job of events.
    fn inlet(&self) -> String {
        let is_received = |dataset: &Dataset| dataset.is_received();
        match self.datasets.iter().any(is_received) {
            true => format!("[tenants.{TENANT}.events]\n{}", self.inlet),
            false => String::new(),
        }
    }

    pub(crate) fn start(self) -> TestApp {
        TestApp::start(self)
    }
}

/// Reads faults as `simulate --faults` does.
pub(crate) fn parse(faults: &[&str]) -> Vec<Fault> {
    let fault = |text: &&str| Fault::parse(text).expect("a fault");
    faults.iter().map(fault).collect()
}

pub(crate) fn zone() -> TimeZone {
    TimeZone::get(ZONE).expect("the bundled zones hold Asia/Shanghai")
}

/// Children of the real binary.
pub(crate) fn fallback() -> Fallback {
    Fallback::of_program(env!("CARGO_BIN_EXE_meetlake"))
}

/// How a run of the binary ended.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    /// The JSON on standard output.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Both outputs.
    pub(crate) fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// A company, a configuration and a folder.
pub(crate) struct TestApp {
    pub(crate) setup: Setup,
    runtime: Runtime,
    server: Option<Server>,
    clock: Clock,
    folder: TempDir,
}

impl TestApp {
    fn start(setup: Setup) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let runtime = runtime();
        let server = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            Server::start(listener, setup.options.clone()).expect("a simulator")
        });
        let clock = if setup.is_fast {
            Clock::scaled(setup.options.clock.now(), SPEED)
        } else {
            Clock::system()
        };
        let app = Self {
            setup,
            runtime,
            server: Some(server),
            clock,
            folder,
        };
        app.write_configuration();
        app
    }

    /// Puts another simulator of the same company in the place of this one.
    pub(crate) fn replace_server(&mut self, change: impl FnOnce(&mut Knobs)) {
        change(&mut self.setup.options.knobs);
        let options = self.setup.options.clone();
        self.server = Some(self.runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            Server::start(listener, options).expect("a simulator")
        }));
        self.write_configuration();
    }

    /// Writes other lines into the job file of a dataset.
    pub(crate) fn set_job(&mut self, dataset: Dataset, lines: &str) {
        self.setup.jobs.insert(dataset, lines.to_owned());
        self.write_configuration();
    }

    /// Writes `meetlake.toml` and the job files anew.
    pub(crate) fn write_configuration(&self) {
        let setup = &self.setup;
        let host = setup
            .host
            .clone()
            .unwrap_or_else(|| self.server().base_url().to_owned());
        let lake = setup.lake.as_deref().unwrap_or("lake");
        let mut config = format!(
            "version = 1\n[lake]\nurl = \"{lake}\"\nkey_file = \"{KEY_FILE}\"\n{}\n[tenants.{TENANT}]\nhost = \"{host}\"\napp_id = \"{}\"\n",
            setup.lake_options, setup.options.app_id
        );
        let _ = write!(
            config,
            "app_secret = \"{SECRET}\"\nallow_inline_secret = true\ntime_zone = \"{}\"\n{}\
             [limits]\nexports_per_minute = 10000\nrooms_per_minute = 10000\nreports_per_minute = 10000\n\
             [serve]\nlisten = \"127.0.0.1:0\"\n",
            setup.options.time_zone,
            setup.inlet()
        );
        self.write("meetlake.toml", &config);
        if !self.path(KEY_FILE).exists() {
            self.write_key(&"07".repeat(32));
        }
        for dataset in &setup.datasets {
            let extra = setup.jobs.get(dataset).map_or("", String::as_str);
            let days = match dataset.has_history() {
                false => String::new(),
                true => format!(
                    "settle_delay = \"{}\"\nlookback = \"0d\"\nstart = {}\n",
                    setup.settle_delay,
                    self.first_day()
                ),
            };
            let ids = match *dataset == Dataset::Reserve {
                true => self.write_ids("reserves.txt", self.server()),
                false => String::new(),
            };
            let job = format!(
                "version = 1\ndataset = \"{dataset}\"\ncron = \"*/5 * * * *\"\n{days}{ids}{extra}\n"
            );
            self.write(&format!("jobs/{dataset}.toml"), &job);
        }
    }

    /// Writes the ids of a company's reservations beside the jobs, and gives the line of a job that names them.
    pub(crate) fn write_ids(&self, name: &str, server: &Server) -> String {
        let reserves = server.company().reserves();
        let ids: Vec<String> = reserves.into_iter().map(|of| of.reserve_id).collect();
        self.write(&format!("jobs/{name}"), &ids.join("\n"));
        format!("request.ids_file = \"{name}\"\n")
    }

    /// Puts a key in place of the lake's.
    pub(crate) fn write_key(&self, digits: &str) {
        self.write(KEY_FILE, digits);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(self.path(KEY_FILE), mode).expect("a mode");
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder above")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    /// A path in the test's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn lake(&self) -> PathBuf {
        self.path("lake")
    }

    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().expect("it runs until the test ends")
    }

    pub(crate) fn report(&self) -> Report {
        self.server().report()
    }

    pub(crate) fn submits(&self) -> u64 {
        self.report().exports_submitted.values().sum()
    }

    pub(crate) fn calls(&self) -> u64 {
        self.report().endpoints.values().map(|of| of.calls).sum()
    }

    pub(crate) fn set_faults(&self, faults: &[&str]) {
        self.server().set_faults(&parse(faults));
    }

    pub(crate) fn first_day(&self) -> Date {
        self.server().first_day()
    }

    /// First day without data.
    pub(crate) fn end_day(&self) -> Date {
        self.server().last_day().saturating_add(1.day())
    }

    // --- the parts, on a fast clock ---------------------------------------------------------------------------------

    /// Backfills all days of the company in this process.
    pub(crate) fn reconcile(&self) -> Summary {
        self.reconcile_scope(&self.all_days(false))
    }

    /// The same for days that are in the lake already.
    pub(crate) fn again(&self) -> Summary {
        self.reconcile_scope(&self.all_days(true))
    }

    pub(crate) fn all_days(&self, again: bool) -> Scope {
        Scope::Backfill {
            from: self.first_day(),
            to: self.end_day(),
            datasets: self.setup.datasets.clone(),
            again,
        }
    }

    pub(crate) fn reconcile_scope(&self, scope: &Scope) -> Summary {
        self.reconcile_with(scope, |_, _| ())
    }

    /// The same, with something about the tenant changed before anything begins.
    pub(crate) fn reconcile_with(
        &self,
        scope: &Scope,
        change: impl FnOnce(&mut Tenant, &Clock),
    ) -> Summary {
        assert!(self.setup.is_fast, "real time needs the real binary");
        self.runtime.block_on(async {
            let config = config::load(&self.path("meetlake.toml"), &config::process_environment)
                .expect("the configuration is valid");
            let mut app = App::open(config, self.clock.clone(), "test")
                .await
                .expect("everything opens");
            let only = app.tenants.first_mut().and_then(std::sync::Arc::get_mut);
            let only = only.expect("nobody else has it yet");
            // This program is a test, and no reader of workbooks.
            only.fallback = fallback();
            change(only, &self.clock);
            let [tenant] = app.tenants.as_slice() else {
                panic!("there is one tenant");
            };
            let summary = run::reconcile(
                std::sync::Arc::clone(tenant),
                &app.config.jobs,
                scope,
                &app.limits(),
                CancellationToken::new(),
            )
            .await
            .expect("this machine is not at fault");
            // As in `with_ledger`.
            tenant.ledger.close().await;
            summary
        })
    }

    // --- the real binary --------------------------------------------------------------------------------------------

    /// The binary with this test's configuration. On a fast clock, `run` and `backfill` live in the company's time, if the binary was built with
    /// the feature `failpoints`.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = binary();
        command.envs(self.setup.environment.clone());
        if self.setup.is_fast {
            let now = self.setup.options.clock.now();
            command.env("MEETLAKE_TEST_CLOCK", format!("{now}@{SPEED}"));
        }
        command
            .args(args)
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs the binary to its end.
    pub(crate) fn meetlake(&self, args: &[&str]) -> Output {
        finish(&mut self.command(args))
    }

    /// `backfill` of all days of the company.
    pub(crate) fn backfill(&self, more: &[&str]) -> Output {
        let (from, to) = (self.first_day().to_string(), self.end_day().to_string());
        let range = ["backfill", "--from", &from, "--to", &to];
        self.meetlake(&[&range, more].concat())
    }

    /// Starts the binary with its output in `child.log`.
    pub(crate) fn spawn(&self, args: &[&str]) -> Child {
        self.spawn_command(&mut self.command(args))
    }

    pub(crate) fn spawn_command(&self, command: &mut Command) -> Child {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("child.log"))
            .expect("a log");
        let error_log = log.try_clone().expect("a second handle");
        command.stdout(log).stderr(error_log);
        command.spawn().expect("the binary starts")
    }

    /// Tells the ledger that exports take two seconds, so that the real binary does not wait ten for each kind it has never seen.
    pub(crate) fn teach_pace(&self) {
        let pace: BTreeMap<Dataset, f64> =
            Dataset::ALL.into_iter().map(|kind| (kind, 2.0)).collect();
        let pace = serde_json::to_string(&pace).expect("names and numbers");
        self.set_meta(&format!("pace:{TENANT}"), &pace);
    }

    fn set_meta(&self, name: &str, value: &str) {
        self.with_ledger(async |ledger| ledger.set_meta(name, value).await.expect("written"));
    }

    /// Asks the ledger, which nobody else may hold.
    pub(crate) fn with_ledger<T>(&self, ask: impl AsyncFnOnce(&Ledger) -> T) -> T {
        self.runtime.block_on(async {
            let ledger = Ledger::open(&self.path("meetlake.db"), "test")
                .await
                .expect("the ledger opens");
            let answer = ask(&ledger).await;
            // Whoever changes its files next must not meet a connection that is still closing.
            ledger.close().await;
            answer
        })
    }

    pub(crate) fn status(&self) -> Value {
        let output = self.meetlake(&["status", "--json"]);
        // 3 where the test left a day that is late.
        assert!(matches!(output.code, 0 | 3), "{output:?}");
        output.json()
    }

    /// Content hash of each partition, by dataset and day.
    pub(crate) fn content_hashes(&self) -> BTreeMap<(String, String), String> {
        content_hashes(&self.status())
    }

    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

/// The binary, without what the environment of whoever runs the tests would tell it.
pub(crate) fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meetlake"));
    command
        .env_remove("MEETLAKE_CONFIG")
        .env_remove("MEETLAKE_LOG");
    command
}

/// Runs a command to its end, which must come within [`LONGEST`].
pub(crate) fn finish(command: &mut Command) -> Output {
    let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("the binary starts");
    let read = |mut pipe: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut text = Vec::new();
            pipe.read_to_end(&mut text).expect("its output");
            String::from_utf8_lossy(&text).into_owned()
        })
    };
    let stdout = read(Box::new(child.stdout.take().expect("it is piped")));
    let stderr = read(Box::new(child.stderr.take().expect("it is piped")));
    let code = ended(&mut child, LONGEST);
    let output = Output {
        code: code.unwrap_or(-1),
        stdout: stdout.join().expect("read"),
        stderr: stderr.join().expect("read"),
    };
    assert!(
        code.is_some(),
        "{command:?} did not end by itself: {output:?}"
    );
    output
}

pub(crate) fn content_hashes(status: &Value) -> BTreeMap<(String, String), String> {
    let partitions = status["partitions"].as_array().expect("partitions");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    partitions
        .iter()
        .map(|row| {
            (
                (text(&row["dataset"]), text(&row["dt"])),
                text(&row["content_hash"]),
            )
        })
        .collect()
}

/// Sends a signal by its name, such as `TERM`.
pub(crate) fn signal(child: &Child, name: &str) {
    let status = Command::new("kill")
        .args([&format!("-{name}"), &child.id().to_string()])
        .status()
        .expect("kill is there");
    assert!(status.success(), "the process is still there");
}

/// Waits for a process to end; its code and how long it took.
pub(crate) fn wait(child: &mut Child, at_most: Duration) -> (Option<i32>, Duration) {
    let began = Instant::now();
    let code = ended(child, at_most);
    assert!(began.elapsed() < at_most, "still running after {at_most:?}");
    (code, began.elapsed())
}

/// The code of a process that ends in time; it is killed after that.
fn ended(child: &mut Child, at_most: Duration) -> Option<i32> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a child of ours") {
            return status.code();
        }
        if began.elapsed() > at_most {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Every file below `folder` with its bytes and the time of its last change. Where a process still
/// writes, a half-written file may be renamed after it was listed; then all is listed again.
pub(crate) fn snapshot(folder: &Path) -> BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)> {
    let whole = (0..100).find_map(|_| read_all(folder));
    whole.expect("files stay for as long as it takes to read them")
}

/// `None` if something vanished meanwhile.
fn read_all(folder: &Path) -> Option<BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)>> {
    let there = |error: std::io::Error| {
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}");
    };
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).map_err(there).ok()? {
            let entry = entry.expect("an entry");
            if entry.file_type().map_err(there).ok()?.is_dir() {
                folders.push(entry.path());
            } else {
                let changed = entry.metadata().and_then(|data| data.modified());
                let bytes = fs::read(entry.path()).map_err(there).ok()?;
                files.insert(entry.path(), (bytes, changed.map_err(there).ok()?));
            }
        }
    }
    Some(files)
}
