//! Publishing to real object stores, started by the tests themselves: a folder, an S3 server (moto), an Azure server (Azurite).
//!
//! The servers come from `PyPI` and npm: `tests/run` installs them and names them in `MEETLAKE_TEST_PYTHON` and `MEETLAKE_AZURITE`. Where a variable is
//! not set, because somebody runs plain `cargo test`, the test says that it was left out.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use arrow::array::{
    ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, new_null_array,
};
use jiff::civil::{Date, date};
use jiff::{SignedDuration, Timestamp};
use meetlake::testing::contract::{Contract, lineage};
use meetlake::testing::dataset::Dataset;
use meetlake::testing::publish::manifest::{self, Revision};
use meetlake::testing::publish::{Error, PartitionPlan, Publisher, location};
use meetlake::testing::record::{ArchivedTask, PartitionId, PassedRows, SpooledTask};
use meetlake::testing::spool::Spool;
use meetlake::testing::store::{self, Lake, StoreErrorKind};
use meetlake::testing::task::{Lineage, Request, TaskKey};

pub(crate) const DAY: Date = date(2026, 11, 19);
/// Azurite's documented account, the same everywhere.
pub(crate) const AZURITE_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A server process that ends with the test.
pub(crate) struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    /// Starts what `command` makes for a port, and gives the port. A server that ends at once did not get it, and is tried on another.
    async fn start(command: impl Fn(u16) -> Command) -> (Self, u16) {
        for _ in 0..5 {
            let port = free_port();
            let mut command = command(port);
            let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
            let mut server = Self(quiet.spawn().expect("the server starts"));
            if server.listens(port).await {
                return (server, port);
            }
            eprintln!("{command:?} ended; once more on another port");
        }
        panic!("no server on any of five ports");
    }

    /// Waits until it listens; false if it ended before that.
    async fn listens(&mut self, port: u16) -> bool {
        for _ in 0..900 {
            let answers = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
            // Looked at after the port: what answers there may be somebody else.
            if self.0.try_wait().expect("a child of ours").is_some() {
                return false;
            }
            if answers.is_ok() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("no server on port {port} within 90 seconds");
    }

    /// An S3 server with a bucket.
    pub(crate) async fn s3(bucket: &str) -> Option<(Self, u16)> {
        moto()?;
        let (server, port) = Self::start(|port| {
            let mut command = moto().expect("it was there just now");
            command.args(["-p", &port.to_string()]);
            command
        })
        .await;
        let _ = rustls::crypto::ring::default_provider().install_default();
        let bucket = reqwest::Client::new().put(format!("http://127.0.0.1:{port}/{bucket}"));
        let made = bucket.send().await.expect("an answer");
        assert!(made.status().is_success(), "{made:?}");
        Some((server, port))
    }

    /// An Azure server with the container `meetlake`, and its endpoint.
    pub(crate) async fn azure() -> Option<(Self, u16)> {
        program("MEETLAKE_AZURITE")?;
        let (server, port) = Self::start(|port| {
            let mut command = program("MEETLAKE_AZURITE").expect("it was there just now");
            command.args(["--inMemoryPersistence", "--skipApiVersionCheck"]);
            command.args(["--silent", "--blobPort", &port.to_string()]);
            command
        })
        .await;
        create_container(&azure_endpoint(port)).await;
        Some((server, port))
    }
}

/// Where Azurite keeps its account.
pub(crate) fn azure_endpoint(port: u16) -> String {
    format!("http://127.0.0.1:{port}/devstoreaccount1")
}

/// A port that nobody listens on, below those that the system gives to whoever asks for any.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = (std::process::id() % 100) as u16 * 100;
    for _ in 0..10_000 {
        let port = 20_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}

/// The server that a variable names.
fn program(variable: &str) -> Option<Command> {
    let path = std::env::var_os(variable);
    if path.is_none() {
        eprintln!("left out: {variable} is not set; tests/run sets it");
    }
    path.map(Command::new)
}

/// The S3 server, which takes `-p PORT`.
fn moto() -> Option<Command> {
    let mut command = program("MEETLAKE_TEST_PYTHON")?;
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/moto_server.py"));
    Some(command)
}

fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

pub(crate) fn meetings(task: &str, numbers: &[&str]) -> RecordBatch {
    let schema = Contract::of(Dataset::MeetingList).schema();
    let rows = numbers.len();
    let start = TimestampMicrosecondArray::from(vec![1_795_046_400_000_000; rows]);
    let columns = schema
        .fields()
        .iter()
        .map(|field| match field.name().as_str() {
            "meeting_no" => Arc::new(StringArray::from(numbers.to_vec())) as ArrayRef,
            "start_time" => Arc::new(start.clone().with_timezone("UTC")),
            lineage::TASK_KEY => Arc::new(StringArray::from(vec![task; rows])),
            lineage::SOURCE_ROW => Arc::new((1..).take(rows).collect::<Int64Array>()),
            _ => new_null_array(field.data_type(), rows),
        });
    RecordBatch::try_new(Arc::clone(&schema), columns.collect()).expect("a batch")
}

fn plan(id: &PartitionId, previous: Option<String>, add: SpooledTask) -> PartitionPlan {
    PartitionPlan {
        id: id.clone(),
        destination: "eu".into(),
        previous_content_hash: previous,
        add: vec![add],
        drop: HashSet::new(),
        ranks: ["t1", "t2"]
            .map(|task| (TaskKey::from_stored(task), 0))
            .into(),
        from_scratch: false,
        key_id: None,
        known_objects: vec![],
    }
}

fn spooled(spool: &Spool, task: &str, numbers: &[&str]) -> SpooledTask {
    let key = TaskKey::from_stored(task);
    let rows = PassedRows::passed_by_policy(meetings(task, numbers));
    let mut spooling = spool.begin_rows(&key, 1).expect("begun");
    spooling.add(DAY, &rows).expect("added");
    spooling.keep().expect("kept");
    SpooledTask { key, generation: 1 }
}

/// Two revisions of a partition, a stale publisher, a pack and a quarantined workbook.
async fn publishes(lake: Lake) {
    let probe = lake.probe(&location::probe(Timestamp::now())).await;
    assert!(
        probe.iter().all(|finding| finding.problem.is_none()),
        "{probe:?}"
    );

    let folder = tempfile::tempdir().expect("a folder");
    let spool = Spool::open(folder.path()).expect("a spool");
    let publisher = Publisher::new(lake.clone(), spool.clone());
    let id = PartitionId {
        dataset: Dataset::MeetingList,
        tenant: "公司 a=b/c%".into(),
        dt: DAY,
    };
    let first = plan(
        &id,
        None,
        spooled(&spool, "t1", &["100000001", "100000002"]),
    );
    let first = publisher.stage(first).await.expect("staged");
    let object = publisher.put_object("eu", &id, &first).await.expect("put");
    let hash = Some(first.written.content_hash.clone());
    let second = spooled(&spool, "t2", &["100000003"]);
    let stale = publisher
        .stage(plan(&id, hash.clone(), second.clone()))
        .await
        .expect("staged");
    let second = publisher
        .stage(plan(&id, hash.clone(), second))
        .await
        .expect("staged");
    let third = spooled(&spool, "t3", &["100000004"]);
    let third = publisher
        .stage(plan(&id, hash, third))
        .await
        .expect("staged");
    let newer = publisher.put_object("eu", &id, &second).await.expect("put");
    assert_ne!(object.version, newer.version);
    // The same bytes from the same state: our own write, told twice. Other bytes: a conflict.
    publisher
        .put_object("eu", &id, &stale)
        .await
        .expect("already there");
    let refused = publisher
        .put_object("eu", &id, &third)
        .await
        .expect_err("stale");
    assert!(matches!(refused, Error::Store(error) if error.kind() == StoreErrorKind::Conflict));

    let revision = Revision {
        id: id.clone(),
        time_zone: "UTC".into(),
        reading: meetlake::testing::record::ReadingSettings {
            time_zone: "UTC".into(),
            duration_unit: None,
        },
        destination: "eu".into(),
        number: 1,
        reasons: vec![],
        rows: second.written.rows,
        object: newer,
        content_hash: second.written.content_hash.clone(),
        key_id: "k0".into(),
        previous_sha256: None,
        replayed_from: None,
        inputs: vec![],
        rejects: BTreeMap::new(),
        blank_columns: BTreeSet::new(),
        unknown_columns: BTreeSet::new(),
        coverage: Some(manifest::CoverageRecord::default()),
    };
    let put = manifest::put(&lake, revision, Timestamp::now())
        .await
        .expect("a manifest");
    let found = manifest::after(&lake, &id, 0).await.expect("read");
    assert_eq!(found, [put]);

    let original = spool.put_original(b"PK workbook").expect("put");
    let task = ArchivedTask {
        task_key: TaskKey::from_stored("t"),
        source_sha256: original.clone(),
        window_start: Timestamp::UNIX_EPOCH,
        window_end: Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24),
        request: Request::between(id.dataset, 1, 2),
        lineage: Lineage::default(),
        redacted: Vec::new(),
        witness: None,
    };
    let key = task.task_key.clone();
    let index = publisher
        .pack(
            &id.tenant,
            id.dataset,
            BTreeMap::from([(id.dt, vec![task])]),
        )
        .await
        .expect("packed");
    let mut pack = publisher
        .open_pack(&id.tenant, id.dataset, &index[&key])
        .await
        .expect("a pack");
    let copy = folder.path().join("copy");
    pack.extract(&original, &copy).expect("it");
    assert_eq!(std::fs::read(&copy).expect("read"), b"PK workbook");
    let reason = serde_json::json!({"cell": "F12"});
    let broken = publisher.quarantine(id.dataset, &id.tenant, "PK broken".into(), &reason);
    broken.await.expect("quarantined");
}

#[tokio::test]
async fn a_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = store::file_url(&folder.path().join("a lake")).expect("a url");
    publishes(Lake::open(&url, &BTreeMap::new()).expect("a lake")).await;
}

#[tokio::test]
async fn an_s3_server() {
    let Some((_server, port)) = Server::s3("meetlake").await else {
        return;
    };
    let endpoint = format!("http://127.0.0.1:{port}");
    let options = options(&[
        ("endpoint", &endpoint),
        ("region", "us-east-1"),
        ("access_key_id", "test-access-key"),
        ("secret_access_key", "test-secret-key"),
    ]);
    let elsewhere = Lake::open("s3://missing/some/lake", &options).expect("a lake");
    // Without the bucket: named, not retried for ever.
    let missing = elsewhere
        .put_create(&location::probe(Timestamp::now()), "1".into())
        .await;
    let missing = missing.expect_err("no bucket");
    assert_eq!(missing.kind(), StoreErrorKind::Misconfigured, "{missing}");
    let lake = Lake::open("s3://meetlake/some/lake", &options).expect("a lake");
    publishes(lake).await;
}

#[tokio::test]
async fn an_azure_server() {
    let Some((_server, port)) = Server::azure().await else {
        return;
    };
    let endpoint = azure_endpoint(port);
    let options = options(&[
        ("endpoint", &endpoint),
        ("account_name", "devstoreaccount1"),
        ("access_key", AZURITE_KEY),
    ]);
    publishes(Lake::open("az://meetlake/some/lake", &options).expect("a lake")).await;
}

/// Creates the container with a request signed by hand, which the store's client cannot send.
async fn create_container(endpoint: &str) {
    let created = Command::new("python3")
        .args(["-c", CREATE_CONTAINER, endpoint, AZURITE_KEY])
        .status();
    assert!(created.expect("python3").success());
}

/// Signs as <https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key> says.
const CREATE_CONTAINER: &str = r#"
import base64, email.utils, hashlib, hmac, sys, urllib.request
endpoint, key = sys.argv[1], base64.b64decode(sys.argv[2])
date = email.utils.formatdate(usegmt=True)
headers = f"x-ms-date:{date}\nx-ms-version:2021-12-02\n"
text = "PUT" + "\n" * 12 + headers + "/devstoreaccount1/devstoreaccount1/meetlake\nrestype:container"
sign = base64.b64encode(hmac.new(key, text.encode(), hashlib.sha256).digest()).decode()
request = urllib.request.Request(endpoint + "/meetlake?restype=container", method="PUT", headers={
    "x-ms-date": date, "x-ms-version": "2021-12-02", "Authorization": "SharedKey devstoreaccount1:" + sign})
print(urllib.request.urlopen(request).status)
"#;
