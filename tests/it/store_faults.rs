//! Publishing to stores that lie: each kind of lie, at each kind of object, in front of a real S3 server and a real Azure server.
//!
//! A case publishes a first revision of a partition, then a second one with more rows, and puts a workbook aside, while the proxy breaks what
//! the case names. Either nothing is noticed, or the publish ends with an error of the store and the next one finishes. After that the lake
//! holds every row once, its manifests chain, and the ledger agrees with it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::Path;

use futures::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use meetlake::testing::cli::{App, Purpose};
use meetlake::testing::clock::Clock;
use meetlake::testing::config;
use meetlake::testing::dataset::Dataset;
use meetlake::testing::findings::Findings;
use meetlake::testing::orphans;
use meetlake::testing::pipeline::{self, Tenant};
use meetlake::testing::publish::manifest::{self, Revision};
use meetlake::testing::rebuild;
use meetlake::testing::record::{
    Intent, NewWindow, OpenTask, PartitionId, PassedRows, Reason, ReasonKind, SpooledResult,
    WindowBatch, WindowState,
};
use meetlake::testing::store::{self, Lake};
use meetlake::testing::task::State;
use meetlake::testing::task::{ExportId, Lineage, Request, TaskSpec, UserIdType};
use meetlake::testing::window::Window;
use serde_json::Value;

use crate::app::{Output, Setup, TENANT, TestApp, finish};
use crate::lake;
use crate::proxy::{Fault, Proxy, Rule};
use crate::stores::{AZURITE_KEY, DAY, Server, meetings};
use crate::truth::Truth;
use crate::workbooks::HEADER;

/// Cases at the same time; they mostly wait.
const AT_ONCE: usize = 16;
/// More than any client tries.
const FOR_EVER: usize = 1_000;

/// A real store behind the lies.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    S3,
    Azure,
}

/// A running server with a bucket `meetlake`.
pub(crate) struct Store {
    pub(crate) kind: Kind,
    pub(crate) port: u16,
    _server: Server,
}

impl Store {
    pub(crate) async fn start(kind: Kind) -> Option<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (server, port) = match kind {
            Kind::S3 => Server::s3("meetlake").await?,
            Kind::Azure => Server::azure().await?,
        };
        Some(Self {
            kind,
            port,
            _server: server,
        })
    }

    pub(crate) fn url(&self, prefix: &str) -> String {
        match self.kind {
            Kind::S3 => format!("s3://meetlake/{prefix}"),
            Kind::Azure => format!("az://meetlake/{prefix}"),
        }
    }

    /// Options of a lake that is reached through `port`.
    pub(crate) fn options(&self, port: u16) -> BTreeMap<String, String> {
        let pairs = match self.kind {
            Kind::S3 => vec![
                ("endpoint", format!("http://127.0.0.1:{port}")),
                ("region", "us-east-1".into()),
                ("access_key_id", "test-access-key".into()),
                ("secret_access_key", "test-secret-key".into()),
            ],
            Kind::Azure => vec![
                (
                    "endpoint",
                    format!("http://127.0.0.1:{port}/devstoreaccount1"),
                ),
                ("account_name", "devstoreaccount1".into()),
                ("access_key", AZURITE_KEY.into()),
            ],
        };
        pairs
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    }

    pub(crate) fn lake(&self, prefix: &str, port: u16) -> Lake {
        Lake::open(&self.url(prefix), &self.options(port)).expect("a lake")
    }

    /// Copies what lies below a prefix into a folder.
    pub(crate) async fn copy(&self, prefix: &str, folder: &Path) {
        let lake = self.lake(prefix, self.port);
        for path in lake
            .list(&object_store::path::Path::default())
            .await
            .expect("listed")
        {
            let to = folder.join(path.as_ref());
            fs::create_dir_all(to.parent().expect("a folder above")).expect("a folder");
            let bytes = lake
                .get(&path, u64::MAX)
                .await
                .expect("read")
                .expect("it was listed");
            fs::write(to, bytes).expect("written");
        }
    }
}

/// Options for a configuration, each from a variable of its name in capitals: secrets do not stand in files.
pub(crate) fn options_as_lines(options: &BTreeMap<String, String>) -> String {
    let line = |key: &String| format!("{key} = \"${{{}}}\"\n", key.to_uppercase());
    options.keys().map(line).collect()
}

/// Which object is struck.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Target {
    Pack,
    /// The object of the first revision.
    FirstObject,
    /// The object that replaces it.
    NextObject,
    Chunk,
    Manifest,
    Quarantine,
}

impl Target {
    const ALL: [Self; 6] = [
        Self::Pack,
        Self::FirstObject,
        Self::NextObject,
        Self::Chunk,
        Self::Manifest,
        Self::Quarantine,
    ];

    const fn path(self) -> &'static str {
        match self {
            Self::Pack => "_raw/",
            Self::FirstObject | Self::NextObject => "part-0.parquet",
            Self::Chunk => "/inputs/",
            Self::Manifest => "/r0000",
            Self::Quarantine => "_quarantine/",
        }
    }
}

/// How the publish that meets the fault ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ends {
    /// As if nothing had been.
    Well,
    /// With an error of the store; the next publish finishes.
    InError,
    /// One or the other, by which object it is.
    Either,
}

#[derive(Clone, Copy, Debug)]
struct Lie {
    name: &'static str,
    fault: Fault,
    count: usize,
    ends: Ends,
}

const fn lie(name: &'static str, fault: Fault, count: usize, ends: Ends) -> Lie {
    Lie {
        name,
        fault,
        count,
        ends,
    }
}

/// Lies about writes.
const WRITES: [Lie; 14] = [
    lie("commit, then 500", Fault::CommitThen(500), 1, Ends::Well),
    lie("commit, then drop", Fault::CommitThenDrop, 1, Ends::Well),
    lie(
        "commit, then silence",
        Fault::CommitThenSilence,
        1,
        Ends::Well,
    ),
    lie("commit, then 409", Fault::CommitThen(409), 1, Ends::Well),
    lie("commit, then 412", Fault::CommitThen(412), 1, Ends::Well),
    lie("drop", Fault::Drop, 1, Ends::Either),
    lie("silence", Fault::Silence, 1, Ends::Either),
    lie("409 for nothing", Fault::Answer(409), 1, Ends::Well),
    lie("412 for nothing", Fault::Answer(412), 1, Ends::Well),
    lie("429 three times", Fault::Answer(429), 3, Ends::Well),
    lie("503 three times", Fault::Answer(503), 3, Ends::Well),
    lie("503 for ever", Fault::Answer(503), FOR_EVER, Ends::InError),
    lie(
        "credentials expire",
        Fault::Answer(403),
        FOR_EVER,
        Ends::InError,
    ),
    lie(
        "credentials expire, with 400",
        Fault::Answer(400),
        FOR_EVER,
        Ends::InError,
    ),
];

/// Lies about reads; where nothing reads the object, a write that was refused although it was done makes it read back.
const READS: [Lie; 8] = [
    lie("slow body", Fault::Slow, FOR_EVER, Ends::Well),
    lie("body cut once", Fault::CutBody, 1, Ends::Either),
    lie("body always cut", Fault::CutBody, FOR_EVER, Ends::Either),
    lie("half a body, once", Fault::ShortBody, 1, Ends::Either),
    lie("wrong bytes, once", Fault::WrongBytes, 1, Ends::Either),
    lie(
        "wrong bytes, always",
        Fault::WrongBytes,
        FOR_EVER,
        Ends::Either,
    ),
    lie("stale object and tag", Fault::Stale, FOR_EVER, Ends::Either),
    lie("503 to reads", Fault::Answer(503), FOR_EVER, Ends::InError),
];

#[derive(Clone, Copy, Debug)]
struct Case {
    lie: Lie,
    is_read: bool,
    target: Target,
}

impl Case {
    fn all() -> Vec<Self> {
        let of = |is_read| {
            move |lie: &Lie| {
                let lie = *lie;
                Target::ALL.map(|target| Self {
                    lie,
                    is_read,
                    target,
                })
            }
        };
        let writes = WRITES.iter().flat_map(of(false));
        writes.chain(READS.iter().flat_map(of(true))).collect()
    }

    fn plant(&self, proxy: &Proxy) {
        let rule = |methods, fault, count| Rule {
            methods,
            path: self.target.path().to_owned(),
            skip: 0,
            count,
            fault,
        };
        if self.is_read {
            proxy.rule(rule(&["PUT"], Fault::CommitThen(412), 1));
            proxy.rule(rule(&["GET", "HEAD"], self.lie.fault, self.lie.count));
        } else {
            proxy.rule(rule(&["PUT"], self.lie.fault, self.lie.count));
        }
    }
}

/// A ledger, a spool and a lake through a proxy, without anything to export from.
struct Bench {
    app: App,
    _folder: tempfile::TempDir,
}

impl Bench {
    async fn open(
        url: &str,
        options: &BTreeMap<String, String>,
        folder: tempfile::TempDir,
    ) -> Self {
        Self::open_for(url, options, folder, Purpose::Run).await
    }

    async fn open_for(
        url: &str,
        options: &BTreeMap<String, String>,
        folder: tempfile::TempDir,
        purpose: Purpose,
    ) -> Self {
        let lines = options_as_lines(options);
        let config = format!(
            "version = 1\n[lake]\nurl = \"{url}\"\nkey_file = \"keys/lake.key\"\n[lake.options]\n{}\n[tenants.{TENANT}]\nhost = \"http://127.0.0.1:9\"\napp_id = \"cli_x\"\n\
             app_secret = \"not-a-secret\"\nallow_inline_secret = true\ntime_zone = \"UTC\"\n",
            lines
        );
        fs::create_dir(folder.path().join("jobs")).expect("a folder");
        fs::create_dir(folder.path().join("keys")).expect("a folder");
        // The same for every ledger of a lake.
        fs::write(folder.path().join("keys/lake.key"), "07".repeat(32)).expect("a key");
        let job = "version = 1\ndataset = \"meeting_list\"\ncron = \"0 9 * * *\"\n";
        fs::write(folder.path().join("jobs/meeting_list.toml"), job).expect("a job");
        fs::write(folder.path().join("meetlake.toml"), config).expect("a configuration");
        let environment = |name: &str| options.get(&name.to_lowercase()).cloned();
        let config =
            config::load(&folder.path().join("meetlake.toml"), &environment).expect("valid");
        let app = App::open_with(config, Clock::system(), "test", purpose).await;
        Self {
            app: app.expect("everything opens"),
            _folder: folder,
        }
    }

    fn tenant(&self) -> &Tenant {
        &self.app.tenants[0]
    }

    /// Brings the result of one export into the spool, as a task does: meetings of the given half of the day.
    async fn spool(&self, half: i64, numbers: &[&str]) -> Window {
        let (tenant, now) = (self.tenant(), Timestamp::now());
        let midnight = Window::day(&tenant.time_zone, DAY).expect("a day").start();
        let start = midnight + SignedDuration::from_hours(12 * half);
        let window =
            Window::new(start, start + SignedDuration::from_hours(12)).expect("half a day");
        let request = Request {
            user_id_type: Some(UserIdType::UserId),
            ..Request::between(
                Dataset::MeetingList,
                window.start().as_second(),
                window.end().as_second(),
            )
        };
        let spec = TaskSpec::new(tenant.owner(), window, request, Lineage::default());
        let new = NewWindow {
            window,
            due_at: now,
            state: WindowState::Due,
        };
        let ledger = &tenant.ledger;
        let batch = WindowBatch {
            job: "meeting_list",
            tenant: TENANT,
            dataset: Dataset::MeetingList,
            new: &[new],
            again: &[],
            firing: now,
            schedule: None,
        };
        ledger.insert_windows(&batch).await.expect("inserted");
        let rows = ledger
            .windows(TENANT, Dataset::MeetingList, Some(window))
            .await
            .expect("windows");
        let row = rows
            .iter()
            .find(|row| row.window == window)
            .expect("the window");
        let open = OpenTask {
            spec: spec.clone(),
            priority: 0,
            generation: 1,
        };
        ledger
            .plan_tasks(row, &[open], None, None, None, now)
            .await
            .expect("planned");
        let tasks = ledger
            .runnable(TENANT, Timestamp::now(), i64::MIN, 10)
            .await
            .expect("runnable");
        let task = tasks
            .iter()
            .find(|task| task.spec.key == spec.key)
            .expect("the task");
        let original = workbook(numbers);
        let fetched = State::Fetched {
            export_id: Some(ExportId("7".into())),
            submitted_at: now,
            sha256: tenant.spool.put_original(&original).expect("kept"),
            size_bytes: original.len() as u64,
            extracted_at: now,
        };
        let batch = meetings(spec.key.as_str(), numbers);
        let passed = PassedRows::passed_by_policy(batch);
        let mut spooling = tenant.spool.begin_rows(&spec.key, 1).expect("begun");
        spooling.add(DAY, &passed).expect("added");
        spooling.keep().expect("kept");
        let result = SpooledResult {
            dts: BTreeSet::from([DAY]),
            findings: Findings {
                rows_out: numbers.len() as u64,
                ..Findings::default()
            },
            parents: Default::default(),
            reported: vec![],
        };
        ledger
            .spool(task, &fetched, result, now)
            .await
            .expect("recorded");
        window
    }

    async fn publish(&self, window: Window) -> anyhow::Result<()> {
        let job = &self.app.config.jobs[0];
        let published = pipeline::publish_windows(self.tenant(), job, &[window]).await;
        published.map(drop)
    }

    async fn put_aside(&self) -> anyhow::Result<()> {
        let reason = serde_json::json!({"cell": "F12"});
        let publisher = &self.tenant().publisher;
        let put = publisher.quarantine(Dataset::MeetingList, TENANT, "PK broken".into(), &reason);
        Ok(put.await?)
    }

    /// What is wrong with the copy of a lake that should hold both halves of the day.
    async fn wrong(&self, copy: &Path) -> Vec<String> {
        let mut wrong = lake::unsound(copy);
        let mut numbers: Vec<String> = lake::rows(copy, Dataset::MeetingList)
            .iter()
            .map(|row| row["meeting_no"].as_str().unwrap_or_default().to_owned())
            .collect();
        numbers.sort();
        if numbers != ["100000001", "100000002", "100000003"] {
            wrong.push(format!("the lake holds {numbers:?}"));
        }
        let manifests = lake::manifests(copy, Dataset::MeetingList, &DAY.to_string());
        let Some((revision, newest)) = manifests.last_key_value() else {
            return vec!["there is no manifest".into()];
        };
        let folder = copy.join(format!("_manifest/meeting_list/tenant={TENANT}/dt={DAY}"));
        let mut inputs = 0;
        for chunk in newest["inputs"].as_array().expect("chunks") {
            let name = chunk["sha256"].as_str().expect("a name");
            let bytes = fs::read(folder.join(format!("inputs/{name}.json"))).unwrap_or_default();
            if lake::sha256(&bytes) != name {
                wrong.push(format!("chunk {name} is torn or gone"));
            }
            let entries: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            inputs += entries.as_array().map_or(0, Vec::len);
        }
        if inputs != 2 {
            wrong.push(format!("the newest manifest has {inputs} inputs"));
        }
        for pack in newest["packs"].as_array().expect("packs") {
            let pack = copy.join(format!(
                "_raw/tenant={TENANT}/meeting_list/{}.zip",
                pack.as_str().expect("a name")
            ));
            if !pack.exists() {
                wrong.push(format!("{} is gone", pack.display()));
            }
        }
        if lake::below(&copy.join("_quarantine")).len() != 2 {
            wrong.push("the quarantine is not a workbook and its reason".into());
        }
        let row = self
            .tenant()
            .ledger
            .partition(TENANT, Dataset::MeetingList, DAY)
            .await;
        let row = row.expect("read").expect("the partition");
        let bytes = fs::read(folder.join(format!("r{revision:06}.json"))).expect("it was listed");
        if row.revision != u64::from(*revision) || row.manifest_sha256 != Some(lake::sha256(&bytes))
        {
            wrong.push(format!(
                "the ledger has revision {}, the lake {revision}",
                row.revision
            ));
        }
        if row.intent.is_some() || !row.complete {
            wrong.push(format!("the ledger has not closed the publish: {row:?}"));
        }
        wrong
    }
}

/// What the rows were exported from, so that a day can be made anew.
fn workbook(numbers: &[&str]) -> Vec<u8> {
    let mut workbook = rust_xlsxwriter::Workbook::new();
    let sheet = workbook.add_worksheet();
    for (column, text) in HEADER.iter().enumerate() {
        sheet
            .write_string(0, column as u16, *text)
            .expect("written");
    }
    for (index, number) in numbers.iter().enumerate() {
        let (start, end) = (
            format!("{DAY} 00:00:00 (GMT+00:00)"),
            format!("{DAY} 00:45:00 (GMT+00:00)"),
        );
        let cells = [
            number,
            "a topic",
            &start.replace('-', "."),
            &end.replace('-', "."),
            "3",
        ];
        for (column, text) in cells.iter().enumerate() {
            sheet
                .write_string(index as u32 + 1, column as u16, *text)
                .expect("written");
        }
    }
    workbook.save_to_buffer().expect("a workbook")
}

/// Runs one case; how it ended, and what is wrong.
async fn run(store: &Store, index: usize, case: Case) -> (Ends, Vec<String>) {
    let proxy = Proxy::start(store.port).await;
    let prefix = format!("case-{index}");
    let mut options = store.options(proxy.port);
    if matches!(case.lie.fault, Fault::Silence | Fault::CommitThenSilence) {
        options.insert("timeout".into(), "3 seconds".into());
    }
    let folder = tempfile::tempdir().expect("a folder");
    let bench = Bench::open(&store.url(&prefix), &options, folder).await;
    // A new lake is looked for in a list; nothing after that is.
    let opened = proxy.log().len();
    // In every case, whoever lists sees nothing of what is new.
    proxy.rule(rule(&["GET"], "list", 0, Fault::StaleList));
    let mut wrong = Vec::new();
    let mut ends = Ends::Well;
    let first = bench.spool(0, &["100000001", "100000002"]).await;
    if case.target == Target::FirstObject {
        case.plant(&proxy);
    }
    let mut failed = |result: anyhow::Result<()>| match result {
        Ok(()) => false,
        Err(error) => {
            ends = Ends::InError;
            if pipeline::storage_failure(&error).is_none() {
                wrong.push(format!("not an error of the store: {error:#}"));
            }
            true
        }
    };
    if failed(bench.publish(first).await) {
        proxy.clear();
        bench
            .publish(first)
            .await
            .expect("the next publish finishes");
    }
    if case.target != Target::FirstObject {
        case.plant(&proxy);
    }
    let second = bench.spool(1, &["100000003"]).await;
    let again = failed(bench.publish(second).await);
    let aside = failed(bench.put_aside().await);
    proxy.clear();
    if again {
        bench
            .publish(second)
            .await
            .expect("the next publish finishes");
    }
    if aside {
        bench.put_aside().await.expect("the next one puts it aside");
    }
    if proxy.struck() == 0 {
        wrong.push("the fault never struck".into());
    }
    if case.lie.ends != Ends::Either && case.lie.ends != ends {
        wrong.push(format!("ended {ends:?}"));
    }
    let lists = proxy
        .log()
        .iter()
        .skip(opened)
        .filter(|request| request.is_list())
        .count();
    if lists > 0 {
        wrong.push(format!("{lists} lists, which may be stale"));
    }
    if matches!(store.kind, Kind::S3) {
        let puts = proxy
            .log()
            .into_iter()
            .filter(|request| request.method == "PUT");
        let bare = puts
            .filter(|put| !put.has_true_sha256())
            .map(|put| put.target);
        wrong.extend(bare.map(|target| format!("without its checksum: {target}")));
    }
    let copy = tempfile::tempdir().expect("a folder");
    store.copy(&prefix, copy.path()).await;
    wrong.extend(bench.wrong(copy.path()).await);
    (ends, wrong)
}

async fn every_lie_is_survived(kind: Kind) {
    let Some(store) = Store::start(kind).await else {
        return;
    };
    let cases = futures::stream::iter(Case::all().into_iter().enumerate())
        .map(|(index, case)| {
            let store = &store;
            async move {
                let (ends, wrong) = run(store, index, case).await;
                (case, ends, wrong)
            }
        })
        .buffer_unordered(AT_ONCE);
    let results: Vec<_> = cases.collect().await;
    let mut table: BTreeMap<&str, BTreeMap<String, Ends>> = BTreeMap::new();
    let mut failures = Vec::new();
    for (case, ends, wrong) in results {
        let row = table.entry(case.lie.name).or_default();
        row.insert(format!("{:?}", case.target), ends);
        failures.extend(
            wrong
                .iter()
                .map(|what| format!("{} at {:?}: {what}", case.lie.name, case.target)),
        );
    }
    for (lie, row) in &table {
        println!("{kind:?}: {lie}: {row:?}");
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lying_s3_server_loses_doubles_and_tears_nothing() {
    every_lie_is_survived(Kind::S3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lying_azure_server_loses_doubles_and_tears_nothing() {
    every_lie_is_survived(Kind::Azure).await;
}

// --- what lists lack, and what a publish that died left --------------------------------------------------------

/// A second revision of a day that lists do not show yet: a rebuilt ledger takes it over all the same, and nothing that it names is an orphan.
async fn a_stale_list_hides_no_revision(kind: Kind) {
    let Some(store) = Store::start(kind).await else {
        return;
    };
    let proxy = Proxy::start(store.port).await;
    let (url, options) = (store.url("stale"), store.options(proxy.port));
    let folder = || tempfile::tempdir().expect("a folder");
    let bench = Bench::open(&url, &options, folder()).await;
    let first = bench.spool(0, &["100000001", "100000002"]).await;
    bench.publish(first).await.expect("published");
    proxy.forget("");
    let second = bench.spool(1, &["100000003"]).await;
    bench.publish(second).await.expect("published");
    // Of the second revision, the list lacks the manifest.
    proxy.forget("/_raw/");
    proxy.forget("/inputs/");
    proxy.rule(rule(&["GET"], "list", 0, Fault::StaleList));

    let tenants = HashSet::from([TENANT.to_owned()]);
    let (lake, ledger) = (&bench.tenant().lake, &bench.tenant().ledger);
    let listed = manifest::all(lake).await.expect("listed");
    let numbers: Vec<u32> = listed.into_values().flat_map(BTreeMap::into_keys).collect();
    assert_eq!(numbers, [1], "the list is not stale");
    let found = orphans::find(lake, ledger, &tenants).await;
    let found = found.expect("found").orphans;
    assert_eq!(found, [], "the inputs of a published revision are nobody's");

    let other = Bench::open_for(&url, &options, folder(), Purpose::Rebuild).await;
    let app = &other.app;
    let (restored, report) = rebuild::from_lake(&app.tenants, &app.config.jobs)
        .await
        .expect("rebuilt");
    let revisions: Vec<u64> = restored
        .partitions
        .iter()
        .map(|partition| partition.published.revision)
        .collect();
    assert_eq!(revisions, [2], "{report:?}");
    assert_eq!(report.datasets[0].tasks, 2, "{report:?}");
    assert_eq!(report.problems, []);
    // A ledger that knows nothing of the second revision finds it by its key too.
    let found = orphans::find(lake, &other.tenant().ledger, &tenants).await;
    assert_eq!(found.expect("found").orphans, []);

    // What is listed and cannot be found names who knows what.
    proxy.clear();
    proxy.rule(rule(&["GET"], "/r000002", 0, Fault::Answer(404)));
    let refused = orphans::find(lake, ledger, &tenants).await;
    let refused = format!("{:#}", refused.expect_err("its references are unknown"));
    assert!(
        refused.contains("is listed and cannot be found"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_list_of_an_s3_server_hides_no_revision() {
    a_stale_list_hides_no_revision(Kind::S3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_list_of_an_azure_server_hides_no_revision() {
    a_stale_list_hides_no_revision(Kind::Azure).await;
}

/// A publish died after its manifest, which differed by the state alone; the next one finds the day as the ledger has it.
#[tokio::test]
async fn a_state_that_flips_back_after_a_publish_died_brings_ledger_and_lake_together() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = store::file_url(&folder.path().join("lake")).expect("a url");
    let bench = Bench::open(&url, &BTreeMap::new(), folder).await;
    let (lake, ledger) = (&bench.tenant().lake, &bench.tenant().ledger);
    // Both halves of the day, so that it is covered.
    let other = bench.spool(1, &["100000002"]).await;
    let half = bench.spool(0, &["100000001"]).await;
    for half in [other, half] {
        bench.publish(half).await.expect("published");
    }
    let row = async || {
        let row = ledger.partition(TENANT, Dataset::MeetingList, DAY).await;
        row.expect("read").expect("the partition")
    };
    let (first, id) = (
        row().await,
        PartitionId {
            dataset: Dataset::MeetingList,
            tenant: TENANT.into(),
            dt: DAY,
        },
    );
    assert_eq!((first.revision, first.complete), (2, true));
    let intent = Intent {
        revision: 3,
        content_hash: first.content_hash.clone().expect("it is published"),
        object_sha256: String::new(),
        size_bytes: 1,
        rows: 1,
        packs: vec![],
    };
    let intend = async || {
        let intended = ledger.intend(TENANT, Dataset::MeetingList, DAY, &intent);
        intended.await.expect("recorded");
    };
    let newest = async || {
        let mut records = manifest::after(lake, &id, 0).await.expect("read");
        records.pop().expect("one").manifest
    };

    // Died before the manifest: nothing is ahead, and no revision repeats the first.
    intend().await;
    bench.publish(half).await.expect("checked");
    assert_eq!((row().await.revision, row().await.intent), (2, None));

    intend().await;
    let record = newest().await;
    let inputs = manifest::inputs(lake, &record).await.expect("inputs");
    let partial = Revision {
        id: id.clone(),
        time_zone: "UTC".into(),
        reading: meetlake::testing::record::ReadingSettings {
            time_zone: "UTC".into(),
            duration_unit: None,
        },
        destination: record.destination,
        number: 3,
        reasons: vec![Reason::new(ReasonKind::NotExported, 1)],
        rows: record.rows,
        object: record.object,
        content_hash: record.content_hash,
        key_id: record.key_id,
        replayed_from: None,
        previous_sha256: first.manifest_sha256,
        inputs,
        rejects: BTreeMap::new(),
        blank_columns: BTreeSet::new(),
        unknown_columns: BTreeSet::new(),
        coverage: None,
    };
    let put = manifest::put(lake, partial, Timestamp::now()).await;
    let put = put.expect("a manifest");
    bench.publish(half).await.expect("published");
    let (now, newest) = (row().await, newest().await);
    assert_eq!((now.revision, now.complete, now.intent), (4, true, None));
    assert_eq!(
        (newest.revision, newest.state),
        (4, manifest::Completeness::Complete)
    );
    assert_eq!(newest.previous_sha256, Some(put.sha256));
}

// --- the real binary ----------------------------------------------------------------------------------------------

/// A store, a proxy in front of it, and the program with its lake behind both.
struct Fronted {
    store: Store,
    proxy: Proxy,
    app: TestApp,
    options: BTreeMap<String, String>,
}

impl Fronted {
    fn start(kind: Kind) -> Option<Self> {
        let mut setup = Setup::real().only(&[Dataset::DailyReport]);
        let runtime = crate::app::runtime();
        let started = runtime.block_on(async {
            let store = Store::start(kind).await?;
            Some(store)
        });
        let store = started?;
        setup.lake = Some(store.url("lake"));
        let names = options_as_lines(&store.options(0));
        setup.lake_options = format!("[lake.options]\n{names}");
        let app = setup.start();
        let proxy = app.block_on(Proxy::start(store.port));
        let options = store.options(proxy.port);
        Some(Self {
            store,
            proxy,
            app,
            options,
        })
    }

    fn run(&self, args: &[&str]) -> Output {
        self.run_with(args, None)
    }

    /// The same with defects that are planted.
    fn run_with(&self, args: &[&str], planted: Option<&str>) -> Output {
        let mut command = self.app.command(args);
        if let Some(planted) = planted {
            command.env("FAILPOINTS", planted);
        }
        for (key, value) in &self.options {
            command.env(key.to_uppercase(), value);
        }
        finish(&mut command)
    }

    /// The lake as it is, without what lies.
    fn assert_whole(&self) {
        let copy = tempfile::tempdir().expect("a folder");
        self.app.block_on(self.store.copy("lake", copy.path()));
        let truth = Truth::of(
            self.app.server().company(),
            self.app.setup.options.clock.now(),
        );
        let wrong = [
            lake::unsound(copy.path()),
            truth.differences_of(copy.path(), Dataset::DailyReport),
        ]
        .concat();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

fn rule(methods: &'static [&'static str], path: &str, skip: usize, fault: Fault) -> Rule {
    Rule {
        methods,
        path: path.to_owned(),
        skip,
        count: FOR_EVER,
        fault,
    }
}

fn a_run_names_the_store_and_the_next_finishes(kind: Kind) {
    let Some(fronted) = Fronted::start(kind) else {
        return;
    };
    for (rule, words) in [
        (
            rule(&["PUT"], "part-0", 1, Fault::Answer(403)),
            "get new credentials for the lake",
        ),
        (
            rule(&["PUT"], "part-0", 0, Fault::Answer(400)),
            "get new credentials for the lake",
        ),
        (rule(&["PUT"], "_raw", 0, Fault::Answer(503)), "run again"),
        (rule(&["PUT"], "/r0000", 1, Fault::Answer(429)), "run again"),
    ] {
        fronted.proxy.rule(rule);
        let broken = fronted.run(&["run"]);
        assert_eq!(broken.code, 8, "{broken:?}");
        assert!(broken.text().contains(words), "{broken:?}");
        assert!(broken.text().contains("://meetlake/lake"), "{broken:?}");
        fronted.proxy.clear();
        let next = fronted.run(&["run"]);
        assert_eq!(next.code, 0, "{next:?}");
        fronted.assert_whole();
        let (app, prefix) = (&fronted.app, "lake");
        app.block_on(async {
            let lake = fronted.store.lake(prefix, fronted.store.port);
            for path in lake
                .list(&object_store::path::Path::default())
                .await
                .expect("listed")
            {
                lake.delete(&path).await.expect("deleted");
            }
        });
        for entry in lake::below(&app.path("")) {
            let name = entry
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            if name.starts_with("meetlake.db") {
                fs::remove_file(entry).expect("removed");
            }
        }
    }
}

#[test]
fn a_run_names_the_s3_server_and_the_next_finishes() {
    a_run_names_the_store_and_the_next_finishes(Kind::S3);
}

#[test]
fn a_run_names_the_azure_server_and_the_next_finishes() {
    a_run_names_the_store_and_the_next_finishes(Kind::Azure);
}

#[cfg(feature = "failpoints")]
#[test]
fn a_program_that_does_not_read_back_takes_its_own_write_for_another_s_and_is_noticed() {
    let Some(fronted) = Fronted::start(Kind::S3) else {
        return;
    };
    let mut lie = rule(&["PUT"], "part-0", 0, Fault::CommitThen(412));
    lie.count = 1;
    fronted.proxy.rule(lie.clone());
    let planted = fronted.run_with(&["run"], Some("planted-read-back-ignored=return"));
    assert_eq!(planted.code, 8, "{planted:?}");
    assert!(
        planted.text().contains("another process publishes"),
        "{planted:?}"
    );
    fronted.proxy.clear();
    fronted.proxy.rule(lie);
    fronted
        .proxy
        .rule(rule(&["PUT"], "part-0", 1, Fault::CommitThen(500)));
    let sound = fronted.run(&["run"]);
    assert_eq!(sound.code, 0, "{sound:?}");
    fronted.assert_whole();
}

/// Problems that `doctor` has with the lake, and its exit code.
fn doctor(fronted: &Fronted) -> (i32, String) {
    let doctor = fronted.run(&["doctor", "--json"]);
    let json = doctor.json();
    let checks = json["checks"].as_array().expect("checks");
    let lake = checks
        .iter()
        .find(|check| check["about"] == "lake")
        .expect("the lake");
    (
        doctor.code,
        lake["found"].as_str().expect("text").to_owned(),
    )
}

#[test]
fn doctor_flags_a_store_that_loses_races_although_it_is_right_one_by_one() {
    let Some(fronted) = Fronted::start(Kind::S3) else {
        return;
    };
    let rounds = if std::env::var_os("MEETLAKE_LONG").is_some() {
        20
    } else {
        3
    };
    for _ in 0..rounds {
        fronted.proxy.clear();
        let (code, found) = doctor(&fronted);
        assert_eq!(code, 0, "{found}");
        fronted
            .proxy
            .rule(rule(&["PUT"], "_doctor", 0, Fault::Racy));
        let (code, found) = doctor(&fronted);
        assert_eq!(code, 8, "{found}");
        assert!(
            found.starts_with("one winner among racing writers: "),
            "{found}"
        );
        assert!(
            found.contains("racing writers were told that they created the same object"),
            "{found}"
        );
        assert!(found.contains("only one process ever publishes"), "{found}");
    }
}

#[test]
fn doctor_says_when_objects_cannot_be_deleted_or_listed_or_are_read_wrongly() {
    let Some(fronted) = Fronted::start(Kind::S3) else {
        return;
    };
    for (rule, words) in [
        (
            rule(&["POST", "DELETE"], "delete", 0, Fault::Answer(403)),
            "delete",
        ),
        (
            rule(&["GET"], "list", 0, Fault::Answer(403)),
            "list objects",
        ),
        (
            rule(&["GET"], "_doctor", 0, Fault::WrongBytes),
            "what was written is not what is read",
        ),
    ] {
        fronted.proxy.rule(rule);
        let (code, found) = doctor(&fronted);
        assert_eq!(code, 8, "{found}");
        assert!(found.contains(words), "{found}");
        fronted.proxy.clear();
    }
}
