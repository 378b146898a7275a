//! Disks that give way: calls of the real binary fail at a chosen place, through a library that is loaded before the system's own; and disks that
//! are really full, where the tests may mount one. The run names the cause and ends with 8, and the next one finishes with a whole lake.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use meetlake::testing::dataset::Dataset;
use sqlx::Connection as _;

use crate::app::{Output, Setup, TestApp, finish, signal, wait};
use crate::lake;
use crate::stores::free_port;
use crate::truth::Truth;

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
/// From the struck call on, for the rest of the process.
const FOR_GOOD: u32 = 1_000_000;

/// The library that lets calls fail.
struct Shim {
    library: PathBuf,
    _folder: tempfile::TempDir,
}

/// Which calls fail.
#[derive(Clone, Copy, Debug)]
struct Break {
    /// Only on paths that contain this.
    path: &'static str,
    call: &'static str,
    errno: i32,
    /// How many fail, from the one that is chosen.
    count: u32,
}

impl Shim {
    fn build() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (source, library) = (folder.path().join("shim.c"), folder.path().join("shim.so"));
        fs::write(&source, include_str!("disk_shim.c")).expect("written");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&library, &source])
            .arg("-ldl")
            .status();
        assert!(
            compiled
                .expect("a C compiler, which the build needs too")
                .success()
        );
        Self {
            library,
            _folder: folder,
        }
    }

    /// Lets the `at`-th call of `command` fail; the file says that it did.
    fn plant(&self, command: &mut Command, what: Break, at: u32, struck: &Path) {
        command
            .env("LD_PRELOAD", &self.library)
            .env("SHIM_PATH", what.path)
            .env("SHIM_CALL", what.call)
            .env("SHIM_ERRNO", what.errno.to_string())
            .env("SHIM_COUNT", what.count.to_string())
            .env("SHIM_AT", at.to_string())
            .env("SHIM_STRUCK", struck);
    }
}

/// The first few calls, and then ever sparser; each one in the long mode.
fn places() -> impl Iterator<Item = u32> {
    let is_long = std::env::var_os("MEETLAKE_LONG").is_some();
    let mut next = 1;
    std::iter::from_fn(move || {
        let at = next;
        next = if is_long { at + 1 } else { at * 3 };
        Some(at)
    })
}

fn start() -> TestApp {
    Setup::real().only(&[Dataset::DailyReport]).start()
}

/// The same with workbooks, in a company whose exports take no time worth waiting for.
fn start_with_exports() -> TestApp {
    let app = Setup::real().only(&[Dataset::MeetingList]).start();
    app.teach_pace();
    app
}

/// Whether the run says what happened, where, and what to do.
fn names_the_cause(output: &Output) -> bool {
    let text = output.text();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    has(&[
        "Input/output error",
        "disk I/O error",
        "No space left",
        "no space left",
        "disk is full",
    ]) && has(&["lake", "spool", "meetlake.db"])
        && has(&["again", "meetlake doctor"])
}

/// Lets the next run begin at once, after a kill: what the killed one called is not guessed. The ledger may be anywhere, and may have got no
/// further than its name.
pub(crate) fn forget_calls(app: &TestApp, ledger: &str) {
    let url = format!("sqlite://{}", app.path(ledger).display());
    app.block_on(async {
        sqlx::any::install_default_drivers();
        if let Ok(mut connection) = sqlx::AnyConnection::connect(&url).await {
            let forget = sqlx::query("DELETE FROM meta WHERE name LIKE 'calls:%'");
            let _ = forget.execute(&mut connection).await;
        }
    });
}

fn assert_whole(app: &TestApp, lake: &Path, ledger: &str) {
    let truth = Truth::of(app.server().company(), app.setup.options.clock.now());
    let wrong = [
        lake::unsound(lake),
        truth.differences_of(lake, app.setup.datasets[0]),
    ]
    .concat();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let url = format!("sqlite://{}", app.path(ledger).display());
    let checked: String = app.block_on(async {
        sqlx::any::install_default_drivers();
        let mut connection = sqlx::AnyConnection::connect(&url)
            .await
            .expect("the ledger opens");
        let check = sqlx::query_scalar("PRAGMA integrity_check");
        check.fetch_one(&mut connection).await.expect("an answer")
    });
    assert_eq!(checked, "ok");
}

/// Breaks one call after the other, each in a new folder, until a run makes no more of them; how many runs were struck and how many of those
/// ended well all the same.
fn survives(what: Break) -> (u32, u32) {
    survives_of(start, what)
}

fn survives_of(start: fn() -> TestApp, what: Break) -> (u32, u32) {
    let shim = Shim::build();
    let (mut struck, mut absorbed) = (0, 0);
    for at in places() {
        let app = start();
        let mark = app.path("struck");
        let mut command = app.command(&["run"]);
        shim.plant(&mut command, what, at, &mark);
        let broken = finish(&mut command);
        if !mark.exists() {
            assert_eq!(broken.code, 0, "{what:?} was not struck: {broken:?}");
            break;
        }
        struck += 1;
        match broken.code {
            0 => absorbed += 1,
            8 => assert!(names_the_cause(&broken), "{what:?} at {at}: {broken:?}"),
            _ => panic!("{what:?} at {at}: {broken:?}"),
        }
        forget_calls(&app, "meetlake.db");
        let next = app.meetlake(&["run"]);
        assert_eq!(next.code, 0, "{what:?} at {at}: {broken:?} then {next:?}");
        assert_whole(&app, &app.lake(), "meetlake.db");
    }
    assert!(struck > 0, "{what:?} never struck");
    println!("{what:?}: {struck} runs struck, {absorbed} of them ended well");
    (struck, absorbed)
}

#[test]
fn a_flush_that_fails_is_a_failed_write_of_the_lake() {
    let (struck, absorbed) = survives(Break {
        path: "/lake/",
        call: "fsync",
        errno: EIO,
        count: 1,
    });
    assert_eq!(
        absorbed, 0,
        "of {struck} failed flushes some were taken for done"
    );
}

#[test]
fn a_flush_of_the_ledger_that_fails_ends_the_run() {
    survives(Break {
        path: "meetlake.db",
        call: "fsync",
        errno: EIO,
        count: 1,
    });
}

#[test]
fn a_lake_without_space_ends_the_run() {
    for call in ["write", "name"] {
        survives(Break {
            path: "/lake/",
            call,
            errno: ENOSPC,
            count: FOR_GOOD,
        });
    }
}

#[test]
fn a_ledger_without_space_ends_the_run() {
    survives(Break {
        path: "meetlake.db",
        call: "write",
        errno: ENOSPC,
        count: FOR_GOOD,
    });
}

#[test]
fn a_spool_without_space_ends_the_run() {
    // Its calls name it as the configuration does, relative to the folder of the run.
    for call in ["write", "name"] {
        survives(Break {
            path: "spool/",
            call,
            errno: ENOSPC,
            count: FOR_GOOD,
        });
    }
}

#[test]
fn a_spool_without_space_for_a_workbook_ends_the_run() {
    for call in ["write", "name"] {
        let what = Break {
            path: "spool/",
            call,
            errno: ENOSPC,
            count: FOR_GOOD,
        };
        survives_of(start_with_exports, what);
    }
}

// --- a disk that is really full -----------------------------------------------------------------------------------

/// A small disk, gone with the test.
struct Disk(PathBuf);

impl Disk {
    /// Mounts one; `None` where that is not allowed.
    fn mount(at: PathBuf, size: &str) -> Option<Self> {
        fs::create_dir_all(&at).expect("a folder");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(&at)
            .stderr(Stdio::null())
            .status();
        if !mounted.is_ok_and(|status| status.success()) {
            eprintln!(
                "left out: a disk cannot be mounted here; the other tests of this file break the calls instead"
            );
            return None;
        }
        Some(Self(at))
    }

    fn grow(&self, size: &str) {
        let grown = Command::new("mount")
            .args(["-o", &format!("remount,size={size}")])
            .arg(&self.0)
            .status();
        assert!(grown.expect("mount is there").success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_disk_that_is_full_is_named_and_when_space_returns_the_next_run_finishes() {
    let mut named = 0;
    for size in [
        "64k", "128k", "192k", "256k", "384k", "512k", "768k", "1536k",
    ] {
        let mut setup = Setup::real().only(&[Dataset::DailyReport]);
        setup.lake = Some("disk/lake".into());
        setup.lake_options = "[ledger]\npath = \"disk/meetlake.db\"\n".into();
        let app = setup.start();
        let Some(disk) = Disk::mount(app.path("disk"), size) else {
            return;
        };
        let full = app.meetlake(&["run"]);
        match full.code {
            0 => {}
            8 => {
                named += 1;
                assert!(names_the_cause(&full), "{size}: {full:?}");
                assert!(full.text().contains("kB left"), "{size}: {full:?}");
            }
            _ => panic!("{size}: {full:?}"),
        }
        println!(
            "{size}: exit {}: {}",
            full.code,
            full.text().lines().last().unwrap_or_default()
        );
        disk.grow("64m");
        forget_calls(&app, "disk/meetlake.db");
        let next = app.meetlake(&["run"]);
        assert_eq!(next.code, 0, "{size}: {full:?} then {next:?}");
        assert_whole(&app, &app.path("disk/lake"), "disk/meetlake.db");
    }
    println!("{named} of 8 disks were too small");
    assert!(named >= 2, "only {named} disks were too small");
}

/// `serve` whose disk gives way at `what` while it has work, and comes back.
fn serve_lives_on(app: &TestApp, what: Break, says: &str) {
    let shim = Shim::build();
    // Work waits for the API until the disk is broken.
    app.set_faults(&["5xx"]);
    let address = format!("127.0.0.1:{}", free_port());
    let full = app.path("full");
    let output = fs::File::create(app.path("serve.log")).expect("a log");
    let mut command = app.command(&["serve", "--listen", &address]);
    shim.plant(&mut command, what, 1, &app.path("struck"));
    command.env("SHIM_WHILE", &full);
    command
        .stdout(output.try_clone().expect("a handle"))
        .stderr(output);
    let mut child = command.spawn().expect("it starts");
    let log = || fs::read_to_string(app.path("serve.log")).expect("a log");
    let until_log_has = |words: &str| {
        let began = Instant::now();
        while !log().contains(words) {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "no {words:?} within a minute: {}",
                log()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    until_log_has("serving");
    fs::write(&full, "").expect("a file");
    app.set_faults(&[]);
    until_log_has(says);
    assert!(log().contains("kB left"), "{}", log());
    assert!(app.path("struck").exists(), "{}", log());
    assert!(
        child.try_wait().expect("a child of ours").is_none(),
        "{}",
        log()
    );
    fs::remove_file(&full).expect("removed");
    until_log_has("partition published");
    signal(&child, "TERM");
    let (code, _) = wait(&mut child, Duration::from_secs(25));
    assert_eq!(code, Some(0), "{}", log());
    forget_calls(app, "meetlake.db");
    let next = app.meetlake(&["run"]);
    assert_eq!(next.code, 0, "{next:?}");
    assert_whole(app, &app.lake(), "meetlake.db");
}

#[test]
fn serve_lives_on_when_the_disk_of_its_ledger_gives_way_and_goes_on_when_space_returns() {
    let what = Break {
        path: "meetlake.db",
        call: "write",
        errno: ENOSPC,
        count: FOR_GOOD,
    };
    serve_lives_on(&start(), what, "gives way");
}

#[test]
fn serve_lives_on_when_the_disk_of_its_lake_is_full_and_goes_on_when_space_returns() {
    let what = Break {
        path: "/lake/",
        call: "write",
        errno: ENOSPC,
        count: FOR_GOOD,
    };
    // On a fast clock, because it tries a lake again only after minutes.
    let app = Setup::fast().only(&[Dataset::DailyReport]).start();
    serve_lives_on(&app, what, "could not publish");
}

/// An event that is not on disk is not acknowledged: it comes again, and is kept once there is room.
#[test]
fn an_event_that_the_disk_does_not_take_is_refused_and_comes_again() {
    let app = Setup::real().only(&[Dataset::MeetingEvent]).start();
    let shim = Shim::build();
    let address = format!("127.0.0.1:{}", free_port());
    let full = app.path("full");
    let mut command = app.command(&["serve", "--listen", &address]);
    let what = Break {
        path: "meetlake.db",
        call: "write",
        errno: ENOSPC,
        count: FOR_GOOD,
    };
    shim.plant(&mut command, what, 1, &app.path("struck"));
    command.env("SHIM_WHILE", &full);
    let mut child = app.spawn_command(&mut command);
    let report = || app.server().link_report();
    let until = |holds: &dyn Fn() -> bool, what: &str| {
        let began = Instant::now();
        while !holds() {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "not within a minute: {what}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    until(&|| report().open == 1, "it is connected");
    fs::write(&full, "").expect("a file");
    let company = app.server().company();
    let (start, end) = (app.first_day(), app.end_day());
    let (start, end) = (company.start_of_day(start), company.start_of_day(end));
    let mut sent = app.server().events_in(start, end);
    sent.retain(|event| event.event_type.starts_with("vc.meeting"));
    app.server().send(&sent);
    until(&|| report().refused >= sent.len() as u64, "all are refused");
    assert_eq!(report().acknowledged.len(), 0);
    fs::remove_file(&full).expect("removed");
    until(
        &|| report().acknowledged.len() == sent.len(),
        "all are acknowledged",
    );
    signal(&child, "TERM");
    let (code, _) = wait(&mut child, Duration::from_secs(25));
    let log = fs::read_to_string(app.path("child.log")).expect("a log");
    assert_eq!(code, Some(0), "{log}");
    assert!(
        log.contains("an event was not kept, and Feishu sends it again"),
        "{log}"
    );
    assert_eq!(app.meetlake(&["run"]).code, 0);
    let rows = lake::rows(&app.lake(), Dataset::MeetingEvent);
    assert_eq!(rows.len(), sent.len());
}
