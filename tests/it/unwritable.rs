//! A ledger that this user may read and not write: a file of another user, a folder without permission, a read-only file system. Verbs that read
//! show what they show to its owner, and leave no file beside it; verbs that write say that they may not, and change nothing.
//!
//! As the superuser, who may everything, the tests run the binary as another user; as anybody else they take the permission from themselves. Only
//! the read-only file system needs the superuser.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use jiff::Timestamp;
use meetlake::testing::dataset::Dataset;
use serde_json::Value;

use crate::app::{Output, Setup, TestApp, finish, snapshot};

/// `nobody`.
const OTHER_USER: u32 = 65_534;
const LEDGER: &str = "meetlake.db";

fn is_superuser() -> bool {
    fs::metadata("/proc/self").is_ok_and(|data| data.uid() == 0)
}

/// A company whose days are in the lake, in a folder that others may look into.
fn published() -> TestApp {
    let app = Setup::real().only(&[Dataset::DailyReport]).start();
    let run = app.meetlake(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    chmod(&app, "a+rX", "");
    app
}

fn chmod(app: &TestApp, modes: &str, name: &str) {
    let mut command = Command::new("chmod");
    let done = command.args(["-R", modes]).arg(app.path(name)).status();
    assert!(done.expect("chmod is there").success());
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("a file of ours");
}

/// Has SQLite write the log into the database, after which database and lock are all there is.
fn write_back(app: &TestApp) {
    use sqlx::Connection as _;
    let url = format!("sqlite://{}", app.path(LEDGER).display());
    app.block_on(async {
        sqlx::any::install_default_drivers();
        let connection = sqlx::AnyConnection::connect(&url).await;
        let mut connection = connection.expect("the ledger opens");
        let read = sqlx::query("SELECT name FROM meta").fetch_all(&mut connection);
        read.await.expect("read");
        connection.close().await.expect("closed");
    });
    assert!(!app.path("meetlake.db-wal").exists() && !app.path("meetlake.db-shm").exists());
}

/// Leaves the ledger as a kill does after a commit: what was committed stands in the log only. The index is lost, as where the rest was copied.
fn kill(app: &TestApp) {
    let names = ["", "-wal"].map(|end| format!("{LEDGER}{end}"));
    app.with_ledger(async |ledger| {
        let began = ledger.run_began("killed", Timestamp::now()).await;
        began.expect("recorded");
        for name in &names {
            fs::copy(app.path(name), app.path(&format!("{name}.kept"))).expect("copied");
        }
    });
    let _ = fs::remove_file(app.path("meetlake.db-shm"));
    for name in &names {
        fs::rename(app.path(&format!("{name}.kept")), app.path(name)).expect("moved");
    }
    assert!(app.path("meetlake.db-wal").exists() && !app.path("meetlake.db-shm").exists());
}

/// Files of the ledger that are there.
fn files(app: &TestApp) -> Vec<PathBuf> {
    let names = ["", "-wal", "-shm", ".lock"].map(|end| app.path(&format!("{LEDGER}{end}")));
    names.into_iter().filter(|path| path.exists()).collect()
}

/// The binary as somebody who may write nothing that is closed to others.
fn as_reader(app: &TestApp, args: &[&str]) -> Output {
    let own = app.command(args);
    if !is_superuser() {
        return app.meetlake(args);
    }
    let mut command = Command::new("setpriv");
    let user = OTHER_USER.to_string();
    command
        .args(["--reuid", &user, "--regid", &user, "--clear-groups"])
        .arg(own.get_program())
        .args(own.get_args())
        .current_dir(app.path(""))
        .env("HOME", "/nonexistent")
        .stdin(Stdio::null());
    for (name, value) in own.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    finish(&mut command)
}

/// Whether the binary can be run so; says why not.
fn has_reader(app: &TestApp) -> bool {
    let is_superuser = is_superuser();
    let probe = Command::new("setpriv")
        .args(["--reuid", &OTHER_USER.to_string(), "--clear-groups"])
        .arg(app.command(&[]).get_program())
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if is_superuser && !probe.is_ok_and(|status| status.success()) {
        eprintln!("left out: the superuser cannot run the binary as another user here");
        return false;
    }
    true
}

/// What the verbs that read say: `status`, `plan` and `verify`, without the time of day.
fn told(run: impl Fn(&[&str]) -> Output) -> Vec<(i32, Value)> {
    let verbs: [&[&str]; 4] = [
        &["status", "--json"],
        &["plan", "--json"],
        &["verify", "--json"],
        &["orphans", "--json"],
    ];
    let verbs = verbs.map(|args| {
        let output = run(args);
        assert!(matches!(output.code, 0 | 3), "{args:?}: {output:?}");
        let mut json = output.json();
        if let Some(object) = json.as_object_mut() {
            object.remove("now");
        }
        (output.code, json)
    });
    verbs.to_vec()
}

/// Verbs that write are refused for `because`, and nothing changes.
fn assert_refused(app: &TestApp, because: &str, run: impl Fn(&[&str]) -> Output) {
    let before = snapshot(&app.path(""));
    for args in [
        &["run"] as &[_],
        &["retry", "--quarantine"],
        &["replay"],
        &["orphans", "--delete"],
        &["ledger", "rebuild"],
        &["ledger", "take-over"],
    ] {
        let refused = run(args);
        assert_eq!(refused.code, 8, "{args:?}: {refused:?}");
        let says = |words: &str| refused.stderr.contains(words);
        assert!(
            says("no permission to write the ledger") && says(because) && says(LEDGER),
            "{args:?}: {refused:?}"
        );
        assert!(
            !says("move it away") && !says("free some space"),
            "{args:?}: {refused:?}"
        );
    }
    let doctor = run(&["doctor"]);
    assert!(
        doctor.stdout.contains("no permission to write"),
        "{doctor:?}"
    );
    assert_eq!(snapshot(&app.path("")), before, "something was changed");
}

/// Reads with the modes given, then writes in vain, then reads with permission: all is the same, and no file came.
fn reads_the_same_and_refuses(app: &TestApp, folder: u32, file: u32) {
    for path in files(app) {
        set_mode(&path, file);
    }
    set_mode(&app.path(""), folder);
    let there = files(app);
    let before = snapshot(&app.path(""));
    let without = told(|args| as_reader(app, args));
    assert_eq!(snapshot(&app.path("")), before, "reading changed something");
    assert_refused(app, "Permission denied", |args| as_reader(app, args));
    assert_eq!(files(app), there);
    set_mode(&app.path(""), 0o755);
    for path in files(app) {
        set_mode(&path, 0o600);
    }
    assert_eq!(told(|args| app.meetlake(args)), without);
    let next = app.meetlake(&["run"]);
    assert_eq!(next.code, 0, "{next:?}");
}

#[test]
fn a_ledger_of_another_user_is_read_and_not_written() {
    let app = published();
    if !has_reader(&app) {
        return;
    }
    write_back(&app);
    reads_the_same_and_refuses(&app, 0o555, 0o444);
    // A folder that everybody may write: a lock or an index of the reader's would shut the owner out.
    if is_superuser() {
        write_back(&app);
        reads_the_same_and_refuses(&app, 0o777, 0o444);
    }
}

#[test]
fn a_ledger_behind_a_link_of_its_owner_is_read_with_its_log() {
    let app = published();
    if !has_reader(&app) {
        return;
    }
    kill(&app);
    fs::create_dir(app.path("disk")).expect("a folder");
    for path in files(&app) {
        let name = path.file_name().expect("a name");
        fs::rename(&path, app.path("disk").join(name)).expect("moved");
    }
    let real = app.path("disk").join(LEDGER);
    std::os::unix::fs::symlink(&real, app.path(LEDGER)).expect("linked");
    for end in ["", "-wal"] {
        set_mode(&app.path(&format!("disk/{LEDGER}{end}")), 0o444);
    }
    set_mode(&app.path("disk"), 0o555);
    let status = as_reader(&app, &["status", "--json"]).json();
    assert_eq!(status["runs"][0]["verb"], "killed", "{status}");
    assert_refused(&app, "Permission denied", |args| as_reader(&app, args));
    set_mode(&app.path("disk"), 0o755);
}

#[test]
fn a_link_that_another_user_has_put_there_is_not_followed() {
    if !is_superuser() {
        eprintln!("left out: only the superuser can make a link another user's");
        return;
    }
    let app = published();
    for name in [LEDGER, "spool", crate::app::KEY_FILE] {
        write_back(&app);
        let (link, target) = (app.path(name), app.path("target"));
        fs::rename(&link, &target).expect("moved");
        std::os::unix::fs::symlink(&target, &link).expect("linked");
        // One of this user's own is followed.
        let run = app.meetlake(&["run"]);
        assert_eq!(run.code, 0, "{name}: {run:?}");
        std::os::unix::fs::lchown(&link, Some(OTHER_USER), None).expect("given away");
        let before = target.is_dir().then(|| snapshot(&target));
        let refused = app.meetlake(&["run"]);
        assert_eq!(refused.code, 8, "{name}: {refused:?}");
        assert!(
            refused
                .stderr
                .contains("is a link of another user (uid 65534)")
                && !refused.stderr.contains("free some space"),
            "{name}: {refused:?}"
        );
        let after = target.is_dir().then(|| snapshot(&target));
        assert_eq!(after, before, "{name}");
        write_back(&app);
        fs::remove_file(&link).expect("removed");
        fs::rename(&target, &link).expect("moved back");
    }
}

#[test]
fn what_a_live_process_has_committed_is_read_without_permission_to_write() {
    let app = published();
    if !has_reader(&app) {
        return;
    }
    app.with_ledger(async |ledger| {
        ledger
            .run_began("committed a moment ago", Timestamp::now())
            .await
            .expect("recorded");
        for path in files(&app) {
            set_mode(&path, 0o444);
        }
        assert!(app.path("meetlake.db-shm").exists());
        set_mode(&app.path(""), 0o555);
        let before = snapshot(&app.path(""));
        let without = told(|args| as_reader(&app, args));
        let runs = &without[0].1["runs"];
        assert_eq!(runs[0]["verb"], "committed a moment ago", "{runs}");
        // A process that was begun later, and whose commit no reader has seen.
        ledger
            .run_began("committed later", Timestamp::now())
            .await
            .expect("recorded");
        let later = as_reader(&app, &["status", "--json"]).json();
        assert_eq!(later["runs"][0]["verb"], "committed later");
        assert_refused(&app, "Permission denied", |args| as_reader(&app, args));
        let names = |files: &std::collections::BTreeMap<PathBuf, _>| {
            files.keys().cloned().collect::<Vec<_>>()
        };
        assert_eq!(names(&snapshot(&app.path(""))), names(&before));
        set_mode(&app.path(""), 0o755);
        for path in files(&app) {
            set_mode(&path, 0o600);
        }
        let with = told(|args| app.meetlake(args));
        assert_eq!(with[1..], without[1..]);
        assert_eq!(with[0].1["partitions"], without[0].1["partitions"]);
    });
}

#[test]
fn what_a_killed_process_has_committed_is_read_without_permission_to_write() {
    let app = published();
    if !has_reader(&app) {
        return;
    }
    kill(&app);
    for path in files(&app) {
        set_mode(&path, 0o444);
    }
    set_mode(&app.path(""), 0o555);
    let status = as_reader(&app, &["status", "--json"]).json();
    assert_eq!(status["runs"][0]["verb"], "killed");
    reads_the_same_and_refuses(&app, 0o555, 0o444);
}

#[test]
fn a_ledger_that_may_not_be_read_is_not_taken_for_none() {
    let app = published();
    if !has_reader(&app) {
        return;
    }
    // A file that may not be read, and a folder that may not be entered.
    fs::create_dir(app.path("closed")).expect("a folder");
    let toml = fs::read_to_string(app.path("meetlake.toml")).expect("a file");
    let elsewhere = format!("{toml}[ledger]\npath = \"closed/{LEDGER}\"\n");
    fs::write(app.path("elsewhere.toml"), elsewhere).expect("written");
    set_mode(&app.path("elsewhere.toml"), 0o644);
    fs::copy(app.path(LEDGER), app.path(&format!("closed/{LEDGER}"))).expect("copied");
    set_mode(&app.path(LEDGER), 0o000);
    set_mode(&app.path("closed"), 0o000);
    for config in ["meetlake.toml", "elsewhere.toml"] {
        for verb in ["status", "plan", "verify", "orphans"] {
            let refused = as_reader(&app, &[verb, "--config", config]);
            assert_eq!(refused.code, 8, "{verb} {config}: {refused:?}");
            assert!(
                refused.stderr.contains("no permission to read the ledger")
                    && refused.stderr.contains("Permission denied"),
                "{verb} {config}: {refused:?}"
            );
        }
        let run = as_reader(&app, &["run", "--config", config]);
        assert_eq!(run.code, 8, "{config}: {run:?}");
        assert!(run.stderr.contains("no permission"), "{config}: {run:?}");
    }
    set_mode(&app.path("closed"), 0o755);
}

/// A folder that is mounted over itself for reading only, until dropped.
struct ReadOnly(PathBuf);

impl ReadOnly {
    fn mount(at: PathBuf) -> Option<Self> {
        let mount = |args: &[&str], paths: &[&Path]| {
            let mut command = Command::new("mount");
            command.args(args).args(paths).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        if !mount(&["--bind"], &[&at, &at]) {
            eprintln!("left out: nothing can be mounted here");
            return None;
        }
        let mounted = Self(at);
        let is_closed = mount(&["-o", "remount,bind,ro"], &[&mounted.0]);
        assert!(is_closed, "what is mounted can be closed");
        Some(mounted)
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_ledger_on_a_read_only_file_system_is_read_and_not_written() {
    let app = published();
    let temporary = tempfile::tempdir().expect("a folder");
    let run = |args: &[&str]| finish(app.command(args).env("TMPDIR", temporary.path()));
    // As SQLite leaves it, and as a kill does.
    write_back(&app);
    for is_killed in [false, true] {
        if is_killed {
            kill(&app);
        }
        let Some(mounted) = ReadOnly::mount(app.path("")) else {
            return;
        };
        let without = told(run);
        assert_refused(&app, "Read-only file system", run);
        drop(mounted);
        assert_eq!(told(|args| app.meetlake(args)), without);
        if is_killed {
            assert_eq!(without[0].1["runs"][0]["verb"], "killed");
        }
    }
    let run = app.meetlake(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    let left = fs::read_dir(temporary.path()).expect("a folder").count();
    assert_eq!(left, 0, "a copy of the ledger, or of an object");
}
