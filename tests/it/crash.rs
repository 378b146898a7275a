//! The process is ended at each named place (`src/failpoint.rs`), early, in the middle and late, and started again: the checker finds nothing, with
//! the lake in a folder, and for the steps of a publish in S3 and Azure too. And it does find something when a defect is planted.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use meetlake::testing::dataset::Dataset;
use meetlake::testing::store::{self, Lake};
use meetlake_simulator::Options;

use crate::api_faults::behind_a_gate;
use crate::app::{SPEED, Setup, TestApp};
use crate::checker::{Checker, Reader};
use crate::gate::{self, Act, Does, When, Wrong};
use crate::stores::{self, Server};

/// Of a process that aborted itself.
const SIGABRT: i32 = 6;
/// No run here takes longer, alive or not.
const LONGEST: Duration = Duration::from_secs(120);

/// How often a place is passed at least, in terms of what a whole run does.
#[derive(Clone, Copy)]
enum Passed {
    Exports,
    Tasks,
    Partitions,
    Windows,
    Datasets,
}

const EXPORTING: &[(&str, Passed)] = &[
    ("w01-submit-recorded", Passed::Exports),
    ("w02-submit-sent", Passed::Exports),
    ("w03-id-recorded", Passed::Exports),
    ("w04-polled", Passed::Exports),
    ("w05-ready", Passed::Exports),
];
const FETCHING: &[(&str, Passed)] = &[
    ("w06-mid-download", Passed::Exports),
    ("w06-original-kept", Passed::Exports),
    ("w07-fetched", Passed::Tasks),
    ("w08-rows-half-written", Passed::Partitions),
    ("w08-rows-kept", Passed::Tasks),
    ("w08-rows-recorded", Passed::Tasks),
];
const PUBLISHING: &[(&str, Passed)] = &[
    ("w08-pack-put", Passed::Datasets),
    ("w08-intent-recorded", Passed::Partitions),
    ("w09-object-put", Passed::Partitions),
    ("w09-inputs-put", Passed::Partitions),
    ("w10-manifest-put", Passed::Partitions),
    ("w11-partition-recorded", Passed::Partitions),
    ("w11-tasks-recorded", Passed::Datasets),
    ("w11-window-settled", Passed::Windows),
];

/// What one whole run does.
struct Whole {
    exports: u64,
    datasets: u64,
    partitions: u64,
    days: u64,
}

impl Whole {
    /// A run without a crash, which also shows that nothing is wrong without one.
    fn of(place: &Place) -> Self {
        let case = place.case("whole");
        let app = &case.app;
        assert_eq!(backfill(app, "").code(), Some(0), "{}", log(app));
        let wrong = case.checker().at_rest(Some(0));
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        let records = crate::lake::below(&app.lake().join("_manifest"));
        let is_first = |path: &&std::path::PathBuf| path.ends_with("r000001.json");
        Self {
            exports: app.submits(),
            datasets: app.setup.datasets.len() as u64,
            partitions: records.iter().filter(is_first).count() as u64,
            days: u64::from(app.setup.options.days),
        }
    }

    /// The first, the middle and a late passage of a place.
    fn passages(&self, passed: Passed) -> Vec<u64> {
        let most = match passed {
            Passed::Exports => self.exports,
            Passed::Tasks => self.exports + self.days,
            Passed::Partitions => self.partitions,
            Passed::Windows => self.datasets * self.days,
            Passed::Datasets => self.datasets,
        };
        let mut passages = vec![1, most.div_ceil(2), most];
        passages.dedup();
        passages
    }
}

/// Where the lake is.
enum Place {
    Folder,
    S3 { _server: Server, endpoint: String },
    Azure { _server: Server, endpoint: String },
}

impl Place {
    fn s3() -> Option<Self> {
        let (server, port) = crate::app::runtime().block_on(Server::s3("meetlake"))?;
        Some(Self::S3 {
            _server: server,
            endpoint: format!("http://127.0.0.1:{port}"),
        })
    }

    fn azure() -> Option<Self> {
        let (server, port) = crate::app::runtime().block_on(Server::azure())?;
        Some(Self::Azure {
            _server: server,
            endpoint: stores::azure_endpoint(port),
        })
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Folder => "folder",
            Self::S3 { .. } => "s3",
            Self::Azure { .. } => "azure",
        }
    }

    /// Scheme and options of the store; none for a folder.
    fn store(&self) -> Option<(&'static str, Vec<(&'static str, String)>)> {
        match self {
            Self::Folder => None,
            Self::S3 { endpoint, .. } => Some((
                "s3",
                vec![
                    ("endpoint", endpoint.clone()),
                    ("region", "us-east-1".into()),
                    ("access_key_id", "test-access-key".into()),
                    ("secret_access_key", "test-secret-key".into()),
                ],
            )),
            Self::Azure { endpoint, .. } => Some((
                "az",
                vec![
                    ("endpoint", endpoint.clone()),
                    ("account_name", "devstoreaccount1".into()),
                    ("access_key", stores::AZURITE_KEY.into()),
                ],
            )),
        }
    }

    /// A fresh company with an empty lake here.
    fn case(&self, name: &str) -> Case {
        let mut setup = company(Setup::fast());
        let Some((scheme, options)) = self.store() else {
            return Case {
                app: setup.start(),
                lake: None,
            };
        };
        setup = setup.only(&[Dataset::DailyReport, Dataset::MeetingList]);
        // A lake belongs to one ledger, so each case has a lake of its own.
        static CASES: AtomicU32 = AtomicU32::new(0);
        let number = CASES.fetch_add(1, Ordering::Relaxed);
        let url = format!("{scheme}://meetlake/{name}-{number}");
        let is_secret = |name: &str| name.ends_with("access_key");
        setup.lake = Some(url.clone());
        setup.lake_options = "[lake.options]\n".into();
        for (name, value) in &options {
            let mut shown = value.as_str();
            if is_secret(name) {
                shown = "${STORE_SECRET}";
                setup.environment = Some(("STORE_SECRET", value.clone()));
            }
            setup
                .lake_options
                .push_str(&[name, " = \"", shown, "\"\n"].concat());
        }
        let options = options
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value));
        Case {
            app: setup.start(),
            lake: Some(Lake::open(&url, &options.collect()).expect("a lake")),
        }
    }
}

/// Two days of two short meetings: everything there is, and little of it.
pub(crate) fn company(setup: Setup) -> Setup {
    let last_day = jiff::civil::date(2026, 10, 20);
    setup.with(|options| {
        options.clock = Options::ending(last_day, SPEED).clock;
        options.last_day = last_day;
        options.meetings_per_day = 2;
    })
}

/// The same with one export, so that every run meets it at the same place.
fn one_export() -> TestApp {
    let setup = company(Setup::fast()).only(&[Dataset::MeetingList]);
    setup.with(|options| options.days = 1).start()
}

struct Case {
    app: TestApp,
    lake: Option<Lake>,
}

impl Case {
    fn checker(&self) -> Checker<'_> {
        Checker::new(&self.app, self.lake.clone())
    }
}

/// `backfill` of the whole company with failpoints, to its end of whatever kind.
pub(crate) fn backfill(app: &TestApp, failpoints: &str) -> ExitStatus {
    let (from, to) = (app.first_day().to_string(), app.end_day().to_string());
    let mut command = app.command(&["backfill", "--from", &from, "--to", &to]);
    ended(app, command.env("FAILPOINTS", failpoints))
}

fn ended(app: &TestApp, command: &mut Command) -> ExitStatus {
    let mut child = app.spawn_command(command);
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a child of ours") {
            return status;
        }
        if began.elapsed() > LONGEST {
            let _ = child.kill();
            panic!("{command:?} did not end: {}", log(app));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What the binary has printed so far.
pub(crate) fn log(app: &TestApp) -> String {
    std::fs::read_to_string(app.path("child.log")).unwrap_or_default()
}

/// A failpoint that acts at its `passage`-th passage, from 1.
fn at_passage(point: &str, passage: u64) -> String {
    match passage {
        1 => format!("{point}=return"),
        n => format!("{point}={}*off->return", n - 1),
    }
}

/// Ends the process at one place, starts it again, and says what is wrong.
fn crash_and_go_on(place: &Place, point: &str, passage: u64) -> Vec<String> {
    let case = place.case(&format!("{point}-{passage}"));
    let app = &case.app;
    let reader = matches!(place, Place::Folder).then(|| Reader::start(app.lake()));
    let mut checker = case.checker();
    let status = backfill(app, &at_passage(point, passage));
    assert_eq!(
        status.signal(),
        Some(SIGABRT),
        "{point} {passage}: {}",
        log(app)
    );
    let mut wrong = checker.after_a_death();
    let status = backfill(app, "");
    wrong.extend(checker.at_rest(status.code()));
    if let Some(reader) = reader {
        let seen = reader.stop();
        wrong.extend(seen.wrong(&app.lake(), &checker.intended));
    }
    if !wrong.is_empty() {
        wrong.push(log(app));
    }
    wrong
}

fn survives(place: &Place, points: &[(&str, Passed)]) {
    let whole = Whole::of(place);
    let (began, mut cases) = (Instant::now(), 0);
    for (point, passed) in points {
        for passage in whole.passages(*passed) {
            let wrong = crash_and_go_on(place, point, passage);
            let at = format!("{}, {point}, passage {passage}", place.name());
            assert!(wrong.is_empty(), "{at}:\n{}", wrong.join("\n"));
            cases += 1;
        }
    }
    println!(
        "{cases} crashes at {} places survived ({}), {:?}",
        points.len(),
        place.name(),
        began.elapsed()
    );
}

#[test]
fn an_end_at_any_step_of_an_export_is_survived() {
    survives(&Place::Folder, EXPORTING);
}

#[test]
fn an_end_at_any_step_from_download_to_spool_is_survived() {
    survives(&Place::Folder, FETCHING);
}

#[test]
fn an_end_at_any_step_of_a_publish_to_a_folder_is_survived() {
    survives(&Place::Folder, PUBLISHING);
}

#[test]
fn an_end_at_any_step_of_a_publish_to_s3_is_survived() {
    if let Some(place) = Place::s3() {
        survives(&place, &FETCHING[2..3]);
        survives(&place, PUBLISHING);
    }
}

#[test]
fn an_end_at_any_step_of_a_publish_to_azure_is_survived() {
    if let Some(place) = Place::azure() {
        survives(&place, &FETCHING[2..3]);
        survives(&place, PUBLISHING);
    }
}

#[test]
fn a_link_that_expired_while_the_process_was_dead_is_renewed_or_the_file_exported_again() {
    let case = Place::Folder.case("expired");
    let mut checker = case.checker();
    let status = backfill(&case.app, &at_passage("w05-ready", 2));
    assert_eq!(status.signal(), Some(SIGABRT), "{}", log(&case.app));
    let mut wrong = checker.after_a_death();
    case.app.set_faults(&["gone-file:x2"]);
    let status = backfill(&case.app, "");
    wrong.extend(checker.at_rest(status.code()));
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), log(&case.app));
    let struck = case.app.report().faults_struck;
    assert_eq!(struck.get("gone-file"), Some(&2), "{struck:?}");
}

#[test]
fn a_workbook_that_is_in_the_spool_is_not_downloaded_again() {
    for point in [
        "w07-fetched",
        "w08-rows-half-written",
        "w08-rows-kept",
        "w08-pack-put",
    ] {
        let app = one_export();
        let status = backfill(&app, &at_passage(point, 1));
        assert_eq!(status.signal(), Some(SIGABRT), "{point}: {}", log(&app));
        let status = backfill(&app, "");
        let wrong = Checker::new(&app, None).at_rest(status.code());
        assert!(
            wrong.is_empty(),
            "{point}: {}\n{}",
            wrong.join("\n"),
            log(&app)
        );
        let calls = app.report().endpoints["download"].calls;
        assert_eq!(
            (app.submits(), calls),
            (1, 1),
            "{point}: submits, downloads"
        );
    }
}

#[test]
fn bytes_that_came_after_their_task_was_packed_are_archived_too() {
    let app = one_export();
    app.set_faults(&["short@meeting_list:x1"]);
    let status = backfill(&app, &at_passage("w08-intent-recorded", 1));
    assert_eq!(status.signal(), Some(SIGABRT), "{}", log(&app));
    // The originals are in a pack, the ledger says so, and the rows are lost: the task is exported again, with other bytes.
    let spool = app.path("spool");
    std::fs::remove_dir_all(&spool).expect("a spool");
    let mut checker = Checker::new(&app, None);
    checker.asked_again = 1;
    let status = backfill(&app, "");
    let wrong = checker.at_rest(status.code());
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), log(&app));
    assert_eq!(app.submits(), 2);
    let packs = crate::lake::below(&app.lake().join("_raw"));
    assert_eq!(packs.len(), 2, "{packs:?}");
    for verb in ["verify", "replay"] {
        let output = app.meetlake(&[verb]);
        assert_eq!(output.code, 0, "{verb}: {output:?}");
    }
}

/// A collection that dies at each of its steps, and a ledger that is lost after it: the lake is as it was.
fn orphans_and_a_lost_ledger(place: &Place) {
    let case = place.case("orphans");
    let (app, lake) = (&case.app, case.lake.as_ref().expect("a bucket"));
    assert_eq!(backfill(app, "").code(), Some(0), "{}", log(app));
    let listed = || {
        app.block_on(lake.list(&Default::default()))
            .expect("listed")
    };
    let clean = listed();
    let nobodys = crate::lake::sha256(b"nobody's");
    let folder = format!(
        "_raw/tenant={}/meeting_list/dt=2026-10-12",
        crate::app::TENANT
    );
    let pack = format!("{folder}/{nobodys}.zip");
    let pack = object_store::path::Path::parse(pack).expect("a path");
    app.block_on(async {
        lake.put_create(&pack, "nobody's".into())
            .await
            .expect("put");
        lake.put_create(&"_doctor/probe-1".into(), "nobody's".into())
            .await
            .expect("put");
    });
    // Clocks of buckets tick in seconds.
    std::thread::sleep(Duration::from_secs(3));
    let delete = ["orphans", "--delete", "--older-than", "1s"];
    for (point, left) in [("w12-orphans-intended", 2), ("w12-orphan-deleted", 1)] {
        let failpoint = format!("{point}=return");
        let status = ended(app, app.command(&delete).env("FAILPOINTS", failpoint));
        assert_eq!(status.signal(), Some(SIGABRT), "{point}: {}", log(app));
        assert_eq!(listed().len(), clean.len() + left, "{point}");
    }
    let deleted = app.meetlake(&delete);
    assert_eq!(deleted.code, 0, "{deleted:?}");
    assert_eq!(listed(), clean);

    for name in ["meetlake.db", "meetlake.db-wal", "meetlake.db-shm"] {
        let _ = std::fs::remove_file(app.path(name));
    }
    std::fs::remove_dir_all(app.path("spool")).expect("a spool");
    let submits = app.submits();
    let rebuilt = app.meetlake(&["ledger", "rebuild", "--json"]);
    assert_eq!(rebuilt.code, 0, "{rebuilt:?}");
    assert_eq!(rebuilt.json()["problems"], serde_json::json!([]));
    let status = backfill(app, "");
    let wrong = case.checker().at_rest(status.code());
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), log(app));
    assert_eq!(app.submits(), submits, "something was exported again");
    assert_eq!(listed(), clean, "something was written");
}

#[test]
fn orphans_of_a_bucket_are_collected_over_crashes_and_its_ledger_is_rebuilt() {
    for place in [Place::s3(), Place::azure()].into_iter().flatten() {
        orphans_and_a_lost_ledger(&place);
    }
}

// --- the checker notices ------------------------------------------------------------------------------------------

/// What the checker says when a run crashes, with `first` switched on, and is followed by one with `second`.
fn with_planted(first: &str, second: &str) -> String {
    let app = one_export();
    let mut checker = Checker::new(&app, None);
    let status = backfill(&app, first);
    assert_eq!(status.signal(), Some(SIGABRT), "{}", log(&app));
    let mut wrong = checker.after_a_death();
    let status = backfill(&app, second);
    wrong.extend(checker.at_rest(status.code()));
    println!("{first} then {second:?}: {}", wrong.join("\n"));
    wrong.join("\n")
}

fn assert_noticed(first: &str, second: &str, what: &str) {
    let said = with_planted(first, second);
    assert!(said.contains(what), "{what} is not in:\n{said}");
}

#[test]
fn a_start_that_does_not_reconcile_is_noticed() {
    let planted = "planted-reconcile-skipped=return";
    assert_noticed("w11-tasks-recorded=return", planted, "not settled");
}

#[test]
fn a_start_that_does_not_recognise_its_own_manifest_is_noticed() {
    let planted = "planted-recovery-skipped=return";
    assert_noticed(
        "w10-manifest-put=return",
        planted,
        "repeats the one before it",
    );
}

#[test]
fn an_id_that_is_recorded_only_after_the_poll_is_noticed() {
    let planted = "planted-id-after-poll=return;w04-polled=return";
    assert_noticed(planted, "", "although their id was recorded");
}

#[test]
fn a_manifest_that_comes_before_its_object_is_noticed() {
    let planted = "planted-manifest-first=return;w08-intent-recorded=return";
    assert_noticed(planted, "", "names an object that is not there");
}

#[test]
fn a_create_that_does_not_read_back_is_noticed() {
    let planted = "planted-read-back-ignored=return";
    assert_noticed("w08-pack-put=return", planted, "not settled");
}

#[test]
fn an_ignored_crc_is_noticed() {
    for (planted, is_noticed) in [("", false), ("planted-crc-ignored=return", true)] {
        let setup = company(Setup::fast()).only(&[Dataset::MeetingList]);
        let (app, gate) = behind_a_gate(setup.with(|options| options.days = 1));
        gate.set(&[Wrong {
            place: gate::Place::Download,
            when: When::First(1),
            does: Does::After(|_, _, answer| Act::Answer(with_another_number(answer))),
        }]);
        let mut checker = Checker::new(&app, None);
        let status = backfill(&app, planted);
        assert_eq!(gate.struck(), 1, "{}", log(&app));
        // Unnoticed, the file is taken for good; noticed, it is downloaded again.
        let downloads = if is_noticed { 1 } else { 2 };
        assert_eq!(
            gate.calls(gate::Place::Download),
            downloads,
            "{}",
            log(&app)
        );
        let said = checker.at_rest(status.code()).join("\n");
        println!("{planted:?}: {said}");
        match is_noticed {
            true => assert!(said.contains("not in the truth"), "{said}\n{}", log(&app)),
            false => assert_eq!(said, "", "{}", log(&app)),
        }
    }
}

/// The workbook with one bit flipped, which makes another number of a meeting's: without compression nothing but the CRC can tell.
fn with_another_number(mut answer: gate::Answer) -> gate::Answer {
    let mut bytes = stored(&answer.body);
    let is_number = |window: &[u8]| {
        let (first, rest) = window.split_first().expect("eleven bytes");
        let (last, digits) = rest.split_last().expect("ten bytes");
        *first == b'>' && *last == b'<' && digits.iter().all(u8::is_ascii_digit)
    };
    let at = bytes.windows(11).position(is_number);
    bytes[at.expect("a number of nine digits") + 5] ^= 1;
    answer.body = bytes;
    answer
        .headers
        .retain(|(name, _)| !name.eq_ignore_ascii_case("content-length"));
    answer
}

/// The same workbook without compression.
fn stored(workbook: &[u8]) -> Vec<u8> {
    use std::io::{Cursor, Read as _, Write as _};
    let mut from = zip::ZipArchive::new(Cursor::new(workbook)).expect("a container");
    let mut to = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let method = zip::CompressionMethod::Stored;
    let options = zip::write::SimpleFileOptions::default().compression_method(method);
    for index in 0..from.len() {
        let mut part = from.by_index(index).expect("a part");
        let mut bytes = Vec::new();
        part.read_to_end(&mut bytes).expect("inflated");
        let name = part.name().expect("a name").into_owned();
        to.start_file(name, options).expect("begun");
        to.write_all(&bytes).expect("written");
    }
    to.finish().expect("a container").into_inner()
}

// --- many publishers, one winner ----------------------------------------------------------------------------------

/// Sixteen publishers create one object at the same time, and then replace it from the same state: one wins, the others are told, and the object
/// is the winner's.
async fn race(lake: &Lake, can_replace: bool) {
    for round in 0..6 {
        let path = format!("race/{round}").as_str().into();
        let writes =
            (0..16).map(|n| lake.put_create(&path, bytes::Bytes::from(format!("{n} creates"))));
        let created = futures::future::join_all(writes).await;
        let seen = only_winner(lake, &path, created, "creates").await;
        if !can_replace {
            continue;
        }
        let write = |n| lake.put_if_unchanged(&path, format!("{n} replaces").into(), &seen);
        let replaced = futures::future::join_all((0..16).map(write)).await;
        only_winner(lake, &path, replaced, "replaces").await;
        let late = lake.put_if_unchanged(&path, "late".into(), &seen).await;
        assert_eq!(
            late.expect_err("stale").kind(),
            store::StoreErrorKind::Conflict
        );
    }
}

async fn only_winner(
    lake: &Lake,
    path: &object_store::path::Path,
    outcomes: Vec<Result<store::Version, store::Error>>,
    what: &str,
) -> store::Version {
    let found = lake
        .get(path, u64::MAX)
        .await
        .expect("read")
        .expect("an object");
    let winners: Vec<usize> = (0..outcomes.len())
        .filter(|n| outcomes[*n].is_ok())
        .collect();
    let [winner] = winners.as_slice() else {
        panic!("{winners:?} were told that they won");
    };
    assert_eq!(found, format!("{winner} {what}"));
    let mut version = None;
    for outcome in outcomes {
        match outcome {
            Ok(won) => version = Some(won),
            Err(error) => assert_eq!(error.kind(), store::StoreErrorKind::Conflict, "{error}"),
        }
    }
    version.expect("there is a winner")
}

#[test]
fn of_racing_publishers_with_a_stale_tag_exactly_one_wins() {
    let places = [Some(Place::Folder), Place::s3(), Place::azure()];
    for place in places.into_iter().flatten() {
        let case = place.case("race");
        // In a folder, replacing is decided by the ledger's lock: see the process that is refused in `kill`.
        let can_replace = case.lake.is_some();
        let lake = case.lake.unwrap_or_else(|| {
            let url = store::file_url(&case.app.lake()).expect("a url");
            Lake::open(&url, &Default::default()).expect("a lake")
        });
        case.app.block_on(race(&lake, can_replace));
    }
}
