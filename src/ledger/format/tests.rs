//! A ledger of every earlier format is opened, and a migration is done whole or not at all.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::date;
use sqlx::Row as _;

use super::*;
use crate::datasets::Dataset;
use crate::ledger::{Ledger, pool};
use crate::record::{Damage, Phase, ReportedDay, TaskRow, WindowState};
use crate::task::machine::State;
use crate::window::Window;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

/// A ledger of every format there ever was, as it lay on somebody's disk: everything in it can be
/// read and worked on.
#[tokio::test]
async fn a_ledger_of_every_earlier_format_is_opened() {
    let fixtures = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/ledger"
    ));
    let mut formats = HashSet::new();
    for entry in std::fs::read_dir(fixtures).expect("fixtures") {
        let fixture = entry.expect("an entry").path();
        if fixture
            .extension()
            .is_none_or(|extension| extension != "db")
        {
            continue;
        }
        let name = fixture
            .file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let digit = name.split('-').nth(1).expect("format-N");
        formats.insert(digit.parse::<i64>().expect("a format"));
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("meetlake.db");
        std::fs::copy(&fixture, &path).expect("copied");
        let is_current = digit == FORMAT_VERSION.to_string();
        match Ledger::open_for_reading(&path).await {
            Ok(reader) => assert!(reader.is_some() && is_current, "{name}"),
            Err(error) => assert!(matches!(error, Error::Older { .. }), "{name}: {error}"),
        }
        let ledger = Ledger::open(&path, "test").await.expect(&name);
        works(&ledger).await;
        if digit != "1" {
            holds_what_format_2_added(&ledger).await;
        }
        let day = Window::new(at(1_795_046_400), at(1_795_132_800)).expect("a day");
        let stays = ledger.parents("acme", Dataset::ParticipantList, day).await;
        let devices = stays.expect("read").into_iter().map(|stay| stay.device);
        let added = ["3", "4", "5", "6"]
            .contains(&digit)
            .then(|| Some("Windows".to_owned()));
        assert!(devices.eq(added), "{name}");
        let meetings = ledger.parents("acme", Dataset::Meeting, day).await;
        let meetings = meetings.expect("read").into_iter();
        let ids = meetings.map(|meeting| (meeting.meeting_id, meeting.was_recorded));
        let added = ["4", "5", "6"]
            .contains(&digit)
            .then(|| (Some("7529416531681214468".to_owned()), Some(true)));
        assert!(ids.eq(added), "{name}");
        let waiting = ledger
            .waiting_events("acme", Dataset::MeetingEvent, 9)
            .await;
        let of_type = ledger.event_types("acme").await.expect("read");
        let repeated: u64 = of_type.iter().map(|of| of.repeated).sum();
        let added = if ["5", "6"].contains(&digit) {
            (1, 2)
        } else {
            (0, 0)
        };
        assert_eq!((waiting.expect("read").len(), repeated), added, "{name}");
        let format = ledger.meta("format").await.expect("read");
        assert_eq!(format, Some(FORMAT_VERSION.to_string()), "{name}");
    }
    assert_eq!(formats, (1..=FORMAT_VERSION).collect());
}

/// What the fixtures hold, and that it can be gone on with.
async fn works(ledger: &Ledger) {
    let schedule = ledger.schedule("meetings", "acme").await.expect("read");
    assert_eq!(schedule.expect("one").watermark, at(1_795_132_800));
    let mut found = Vec::new();
    for of in [Dataset::MeetingList, Dataset::ParticipantList] {
        for row in ledger.windows("acme", of, None).await.expect("windows") {
            let tasks = ledger
                .tasks_of("acme", of, row.window)
                .await
                .expect("tasks");
            let phases = tasks.iter().map(|task| (task.phase, task.machine.name()));
            found.push((row.state, row.generation, phases.collect::<Vec<_>>()));
        }
    }
    let open = |machine| (Phase::Open, machine);
    assert_eq!(
        found,
        [
            (WindowState::Settled, 2, vec![(Phase::Published, "fetched")]),
            (
                WindowState::Planned,
                1,
                vec![open("submitted"), open("ready")]
            ),
        ]
    );
    let day = Window::new(at(1_795_046_400), at(1_795_132_800)).expect("a day");
    let parents = ledger.parents("acme", Dataset::MeetingList, day).await;
    assert_eq!(parents.expect("parents").len(), 1);
    let partitions = ledger.partitions(None).await.expect("partitions");
    assert_eq!(partitions.len(), 2);
    assert_eq!(partitions[0].revision, 3);
    assert_eq!(
        partitions[1].intent.as_ref().map(|intent| intent.rows),
        Some(2)
    );
    assert_eq!(ledger.rooms("acme").await.expect("rooms").len(), 1);
    assert_eq!(ledger.runs(9).await.expect("runs").len(), 2);
    let task = ledger
        .runnable("acme", at(1_795_200_000), i64::MIN, 1)
        .await
        .expect("listed")
        .remove(0);
    ledger
        .advance(&task, &State::Planned, true, false, at(1_795_200_000))
        .await
        .expect("advanced");
}

async fn holds_what_format_2_added(ledger: &Ledger) {
    let day = ledger.reported_day("acme", date(2026, 11, 19)).await;
    let expected = ReportedDay {
        date: date(2026, 11, 19),
        start: at(1_795_046_400),
        meetings: 12,
    };
    assert_eq!(day.expect("read"), Some(expected));
    let damage = Damage {
        sha256: "d0".repeat(32),
        times: 2,
    };
    let damaged = task(ledger, DAMAGED).await;
    assert_eq!(damaged.damage, Some(damage));
}

/// Keys of tasks in the fixtures: one that is published, and two that are open.
const PUBLISHED: &str = "c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0";
const SUBMITTED: &str = "c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1";
const DAMAGED: &str = "c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2";

/// One task of the fixtures.
async fn task(ledger: &Ledger, key: &str) -> TaskRow {
    let day = Window::new(at(1_795_046_400), at(1_795_132_800)).expect("a day");
    let mut tasks = Vec::new();
    for of in [Dataset::MeetingList, Dataset::ParticipantList] {
        tasks.extend(ledger.tasks_of("acme", of, day).await.expect("tasks"));
    }
    tasks.retain(|task| task.spec.key.as_str() == key);
    tasks.remove(0)
}

/// Steps that no meetlake has, after those that this one does.
const FIRST: &str = "ALTER TABLE task ADD COLUMN colour TEXT; UPDATE task SET colour = 'red'";
const SECOND: &str = "CREATE TABLE shade (task_key TEXT PRIMARY KEY, shade TEXT NOT NULL); \
     INSERT INTO shade SELECT key, colour FROM task";

/// The real steps, and the invented ones after them.
fn steps_and(invented: &[&'static str]) -> Vec<&'static str> {
    [&STEPS, invented].concat()
}

/// A copy of the ledger that format 1 left on somebody's disk.
fn of_format_1() -> (tempfile::TempDir, PathBuf) {
    let fixture = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/ledger/format-1.db"
    );
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("meetlake.db");
    std::fs::copy(fixture, &path).expect("copied");
    (folder, path)
}

async fn format_of(pool: &AnyPool) -> Option<i64> {
    let mut connection = pool.acquire().await.expect("a connection");
    format(&mut connection).await.expect("read")
}

#[tokio::test]
async fn an_older_ledger_takes_all_steps_it_lacks_and_those_only() {
    let (_folder, path) = of_format_1();
    let pool = pool(&path, "rw", 1).await.expect("opened");
    let tasks: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM task")
        .fetch_one(&pool)
        .await
        .expect("counted");
    assert!(tasks > 0);
    let red = async || -> i64 {
        let count = sqlx::query_scalar("SELECT COUNT(*) FROM shade WHERE shade = 'red'");
        count.fetch_one(&pool).await.expect("counted")
    };
    migrate(&path, &pool, &STEPS).await.expect("migrated");
    assert_eq!(format_of(&pool).await, Some(FORMAT_VERSION));
    migrate(&path, &pool, &steps_and(&[FIRST]))
        .await
        .expect("migrated");
    assert_eq!(format_of(&pool).await, Some(FORMAT_VERSION + 1));
    // Steps that are done are not done again: the first would fail.
    for _ in 0..2 {
        migrate(&path, &pool, &steps_and(&[FIRST, SECOND]))
            .await
            .expect("migrated");
        let expected = (Some(FORMAT_VERSION + 2), tasks);
        assert_eq!((format_of(&pool).await, red().await), expected);
    }
    let older = migrate(&path, &pool, &steps_and(&[FIRST])).await;
    let older = older.expect_err("newer than known");
    let Error::Newer { found, known, .. } = older else {
        panic!("{older}");
    };
    assert_eq!((found, known), (FORMAT_VERSION + 2, FORMAT_VERSION + 1));
}

#[tokio::test]
async fn a_step_that_fails_leaves_the_format_and_the_tables_as_they_were() {
    let (_folder, path) = of_format_1();
    let pool = pool(&path, "rw", 1).await.expect("opened");
    let broken = "UPDATE task SET colour = 'blue'; INSERT INTO nowhere VALUES (1)";
    for _ in 0..2 {
        let failed = migrate(&path, &pool, &steps_and(&[FIRST, broken])).await;
        assert!(matches!(failed, Err(Error::Sql { .. })), "{failed:?}");
        assert_eq!(format_of(&pool).await, Some(1));
        for new in [
            "SELECT colour FROM task",
            "SELECT damaged_sha256 FROM task",
            "SELECT date FROM reported_day",
        ] {
            let read = sqlx::query(new).fetch_all(&pool).await;
            assert!(read.is_err(), "half of a migration stayed: {new}");
        }
    }
    pool.close().await;
    works(&Ledger::open(&path, "test").await.expect("opened")).await;
}

#[tokio::test]
async fn of_many_that_migrate_at_once_one_does() {
    let (_folder, path) = of_format_1();
    // All of them find format 1, and wait for whoever writes at the moment.
    let busy = pool(&path, "rw", 1).await.expect("opened");
    let writing = busy.begin_with("BEGIN IMMEDIATE").await.expect("begun");
    let release = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        writing.rollback().await.expect("rolled back");
    };
    let openers = futures::future::join_all((0..8).map(|_| async {
        let pool = pool(&path, "rw", 1).await?;
        migrate(&path, &pool, &steps_and(&[FIRST, SECOND])).await?;
        Ok::<_, Error>(format_of(&pool).await)
    }));
    let (opened, ()) = futures::join!(openers, release);
    for opened in opened {
        assert_eq!(opened.expect("migrated"), Some(FORMAT_VERSION + 2));
    }
}

#[tokio::test]
async fn who_only_reads_migrates_nothing_and_says_who_does() {
    let (_folder, path) = of_format_1();
    let pool = pool(&path, "rw", 1).await.expect("opened");
    assert!(is_readable(&path, &pool, &[]).await.expect("readable"));
    let refused = is_readable(&path, &pool, &STEPS).await;
    let refused = refused.expect_err("older").to_string();
    assert!(
        refused.contains("has format 1") && refused.contains("`meetlake run` migrates it"),
        "{refused}"
    );
    assert_eq!(format_of(&pool).await, Some(1));
    let empty = path.with_file_name("empty.db");
    std::fs::write(&empty, "").expect("written");
    let none = Ledger::open_for_reading(&empty).await.expect("no ledger");
    assert!(none.is_none());
}

/// Rows of format 1 as they were in places of something else.
async fn plant_format_1(pool: &AnyPool) {
    let tenants = [
        "acme",
        "a:b",
        "100%",
        "reported:",
        "x-1:2026-11-19",
        "日程",
        "it's",
    ];
    for (tenant, meetings) in tenants.iter().zip(1_i64..) {
        for (date, start) in [("2026-11-19", 1_795_046_400_i64), ("-009999-01-02", -1)] {
            let value = format!(r#"{{"start":{start},"meetings":{meetings}}}"#);
            sqlx::query("INSERT INTO meta (name, value) VALUES ($1, $2)")
                .bind(format!("reported:{tenant}:{date}"))
                .bind(value)
                .execute(pool)
                .await
                .expect("planted");
        }
    }
    for (tenant, value) in [("broken", "no JSON"), ("half", r#"{"start":1}"#)] {
        sqlx::query("INSERT INTO meta (name, value) VALUES ($1, $2)")
            .bind(format!("reported:{tenant}:2026-11-18"))
            .bind(value)
            .execute(pool)
            .await
            .expect("planted");
    }
    let findings = r#"{"rows_read":2,"rows_out":1,"rows_blank":1,"rows_quarantined":0,
        "rows_outside":0,"cells_rejected":0,"unknown_values":0,"rejects":[],"rejects_unnamed":0,
        "extra_columns":["damaged_sha256"],"missing_columns":[],"blank_columns":[]}"#;
    let note = format!(r#"{{"damaged_sha256":"{}","times":2}}"#, "d0".repeat(32));
    for (key, phase, result) in [
        (PUBLISHED, "published", findings),
        (SUBMITTED, "quarantined", &note),
        (DAMAGED, "open", &note),
    ] {
        sqlx::query("UPDATE task SET phase = $1, result = $2 WHERE key = $3")
            .bind(phase)
            .bind(result)
            .bind(key)
            .execute(pool)
            .await
            .expect("planted");
    }
    sqlx::query("INSERT INTO meta (name, value) VALUES ('Reported:acme:2026-11-19', 'mine')")
        .execute(pool)
        .await
        .expect("planted");
}

#[tokio::test]
async fn format_2_gives_reported_days_and_damage_places_of_their_own() {
    let (_folder, path) = of_format_1();
    let format_1 = pool(&path, "rw", 1).await.expect("opened");
    plant_format_1(&format_1).await;
    format_1.close().await;
    let ledger = Ledger::open(&path, "test").await.expect("migrated");
    let tenants = [
        "acme",
        "a:b",
        "100%",
        "reported:",
        "x-1:2026-11-19",
        "日程",
        "it's",
    ];
    for (tenant, meetings) in tenants.iter().zip(1_u64..) {
        for (date, start) in [
            (date(2026, 11, 19), at(1_795_046_400)),
            (date(-9999, 1, 2), at(-1)),
        ] {
            let day = ledger.reported_day(tenant, date).await.expect("read");
            let expected = ReportedDay {
                date,
                start,
                meetings,
            };
            assert_eq!(day, Some(expected), "{tenant}");
        }
    }
    for tenant in ["broken", "half"] {
        let day = ledger.reported_day(tenant, date(2026, 11, 18)).await;
        assert_eq!(day.expect("read"), None, "{tenant}");
    }
    let damage = Damage {
        sha256: "d0".repeat(32),
        times: 2,
    };
    for key in [SUBMITTED, DAMAGED] {
        let task = task(&ledger, key).await;
        let found = (task.damage, task.findings);
        assert_eq!(found, (Some(damage.clone()), None), "{key}");
    }
    let published = task(&ledger, PUBLISHED).await;
    let findings = published.findings.expect("kept as it is");
    assert_eq!((findings.rows_read, findings.rows_out), (2, 1));
    assert_eq!(published.damage, None);
    // Nothing of the old places is left, and nothing else was taken.
    let reader = pool(&path, "rw", 1).await.expect("opened");
    let rows = sqlx::query("SELECT name FROM meta ORDER BY name");
    let rows = rows.fetch_all(&reader).await.expect("read");
    let names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let kept = [
        "Reported:acme:2026-11-19",
        "calls:acme",
        "fence",
        "format",
        "pace:acme",
    ];
    assert_eq!(names, kept);
    let days: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM reported_day")
        .fetch_one(&reader)
        .await
        .expect("counted");
    assert_eq!(days, 2 * 7);
    let notes: i64 =
        sqlx::query_scalar(r#"SELECT COUNT(*) FROM task WHERE result LIKE '{"damaged%'"#)
            .fetch_one(&reader)
            .await
            .expect("counted");
    assert_eq!(notes, 0);
}

/// Name, type, NOT NULL and place in the primary key of every column, and every index.
async fn tables(pool: &AnyPool) -> Vec<String> {
    let rows = sqlx::query(
        "SELECT m.type || ' ' || m.tbl_name || ' ' || m.name || ' ' || c.name || ' ' \
         || COALESCE(c.type || ' ' || c.\"notnull\" || ' ' || c.pk, '') AS line \
         FROM sqlite_master m JOIN pragma_table_info(m.name) c ORDER BY line",
    );
    let rows = rows.fetch_all(pool).await.expect("listed");
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn a_migrated_ledger_has_the_tables_of_a_new_one() {
    let (folder, path) = of_format_1();
    let migrated = pool(&path, "rw", 1).await.expect("opened");
    migrate(&path, &migrated, &STEPS).await.expect("migrated");
    let path = folder.path().join("new.db");
    let new = pool(&path, "rwc", 1).await.expect("opened");
    migrate(&path, &new, &STEPS).await.expect("made");
    let expected = tables(&new).await;
    assert!(expected.len() > 50, "{expected:?}");
    assert_eq!(tables(&migrated).await, expected);
}

#[tokio::test]
async fn a_newer_ledger_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("meetlake.db");
    let ledger = Ledger::open(&path, "test").await.expect("opened");
    ledger.set_meta("format", "99").await.expect("set");
    drop(ledger);
    assert!(matches!(
        Ledger::open(&path, "test").await,
        Err(Error::Newer { found: 99, .. })
    ));
}
