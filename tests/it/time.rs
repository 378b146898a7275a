//! Time is right in every zone: windows tile the time line, and schedules fire once for each time that their clocks show.
//!
//! Zones are those of the bundled database whose offset changes between 2020 and 2037. The oracles here share no code with the program: days
//! are found by walking a zone's clocks minute by minute, firings by matching a small cron reader of their own against each minute.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::civil::{Date, date};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp, ToSpan};
use meetlake::testing::dataset::Dataset;
use meetlake::testing::job::{FanOut, JobSpec, MissedPolicy, OverlapPolicy, RequestOptions};
use meetlake::testing::ledger::Ledger;
use meetlake::testing::plan::{self as due, Due};
use meetlake::testing::record::{NewWindow, ScheduleState, WindowBatch, WindowState};
use meetlake::testing::schedule::Schedule;
use meetlake::testing::window::{Window, closed_windows, date_of};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

const MINUTE: SignedDuration = SignedDuration::from_mins(1);
const HOUR: SignedDuration = SignedDuration::from_hours(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);

fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

fn is_long() -> bool {
    std::env::var_os("MEETLAKE_LONG").is_some()
}

/// A zone with the instants at which its offset changes between 2020 and 2037.
struct Zone {
    name: String,
    zone: TimeZone,
    changes: Vec<Timestamp>,
}

/// Every zone of the bundled database that changes its clocks between 2020 and 2037.
fn zones() -> Vec<Zone> {
    let database = TimeZoneDatabase::bundled();
    let names: Vec<String> = database.available().map(|name| name.to_string()).collect();
    let zones: Vec<Zone> = names
        .into_iter()
        .filter_map(|name| {
            let zone = database.get(&name).expect("a zone that is listed");
            let changes = changes(&zone);
            (!changes.is_empty()).then_some(Zone {
                name,
                zone,
                changes,
            })
        })
        .collect();
    assert!(
        zones.len() > 150,
        "{} zones change their clocks",
        zones.len()
    );
    zones
}

fn changes(zone: &TimeZone) -> Vec<Timestamp> {
    let (from, to) = (at("2020-01-01T00:00:00Z"), at("2038-01-01T00:00:00Z"));
    zone.following(from)
        .map(|change| change.timestamp())
        .take_while(|change| *change < to)
        .filter(|change| {
            zone.to_offset(*change) != zone.to_offset(*change - SignedDuration::from_secs(1))
        })
        .collect()
}

/// The zones by what their clocks do, each behaviour once: many names are links to the same rules.
fn distinct(zones: Vec<Zone>) -> Vec<Zone> {
    let mut seen = BTreeSet::new();
    zones
        .into_iter()
        .filter(|zone| {
            let behaviour: Vec<(Timestamp, i32)> = zone
                .changes
                .iter()
                .map(|change| (*change, zone.zone.to_offset(*change).seconds()))
                .collect();
            seen.insert(behaviour)
        })
        .collect()
}

// --- windows --------------------------------------------------------------------------------------------------------

/// Windows of `days` days from `first` until `now` tile the time line, and each civil date belongs to one of them.
fn assert_tiles(name: &str, zone: &TimeZone, first: Date, days: u16, now: Timestamp) -> usize {
    let windows = closed_windows(zone, first, days, now);
    assert!(!windows.is_empty(), "{name}");
    assert_eq!(date_of(zone, windows[0].start()), first, "{name}");
    let mut dates = Vec::new();
    for window in &windows {
        dates.extend(window.dates(zone));
        for date in window.dates(zone) {
            let day = Window::day(zone, date).expect("a date that the clocks showed");
            assert!(window.covers(&day), "{name} {window} {date}");
        }
        let pieces = window.split(Duration::from_secs(86_400));
        assert_eq!(pieces[0].start(), window.start(), "{name}");
        assert_eq!(pieces[pieces.len() - 1].end(), window.end(), "{name}");
        assert!(
            pieces
                .windows(2)
                .all(|pair| pair[0].end() == pair[1].start()),
            "{name} {window}"
        );
        assert!(
            pieces.iter().all(|piece| piece.length() <= DAY),
            "{name} {window}"
        );
    }
    for pair in windows.windows(2) {
        assert_eq!(pair[0].end(), pair[1].start(), "{name} {}", pair[0]);
    }
    assert!(
        dates.windows(2).all(|pair| pair[0] < pair[1]),
        "{name}: a date in two windows"
    );
    let last = windows[windows.len() - 1];
    assert!(last.end() <= now, "{name}");
    let next = date_of(zone, last.end());
    let expected = (0..)
        .map(|n: i64| first.saturating_add(n.days()))
        .take_while(|date| *date < next)
        .filter(|date| Window::day(zone, *date).is_some())
        .count();
    assert_eq!(dates.len(), expected, "{name}: a date in no window");
    windows.len()
}

#[test]
fn windows_tile_the_time_line_in_every_zone() {
    let (mut windows, mut names) = (0, 0);
    for zone in zones() {
        names += 1;
        for change in walked(&zone) {
            let first = date_of(&zone.zone, *change).saturating_sub(6.days());
            for days in [1, 2, 7] {
                windows += assert_tiles(&zone.name, &zone.zone, first, days, *change + DAY * 8);
            }
        }
    }
    println!("{names} zones, {windows} windows around their changes");
}

#[test]
fn windows_tile_eighteen_years_in_every_zone() {
    let (mut windows, mut rules) = (0, 0);
    for zone in if is_long() {
        zones()
    } else {
        distinct(zones())
    } {
        rules += 1;
        for days in [1, 2, 7, 31] {
            let (first, now) = (date(2019, 12, 30), at("2038-01-02T00:00:00Z"));
            windows += assert_tiles(&zone.name, &zone.zone, first, days, now);
        }
    }
    println!("{rules} different zones, {windows} windows from 2020 to 2037");
}

/// Changes whose surroundings are walked: the first and the last ones hold every rule; long mode takes all.
fn walked(zone: &Zone) -> impl Iterator<Item = &Timestamp> {
    let first = if is_long() { usize::MAX } else { 4 };
    let last = if is_long() { 0 } else { 2 };
    let changes = &zone.changes;
    changes
        .iter()
        .take(first)
        .chain(changes.iter().rev().take(last))
}

/// The length of the civil day of a change, found by looking at the clock at every minute around it.
#[test]
fn a_day_is_as_long_as_its_clocks_say_at_the_changes_of_every_zone() {
    let (mut checked, mut lengths) = (0, BTreeSet::new());
    for zone in distinct(zones()) {
        for change in walked(&zone) {
            let date = date_of(&zone.zone, *change);
            let Some(window) = Window::day(&zone.zone, date) else {
                continue;
            };
            let shown: Vec<Timestamp> = (-26 * 60..26 * 60)
                .map(|minutes| *change + MINUTE * minutes)
                .filter(|minute| zone.zone.to_datetime(*minute).date() == date)
                .collect();
            let walked = MINUTE * i32::try_from(shown.len()).expect("a day");
            assert_eq!(window.length(), walked, "{} {date}", zone.name);
            assert!(
                shown.iter().all(|minute| window.contains(*minute)),
                "{} {date}",
                zone.name
            );
            lengths.insert(window.length().as_mins());
            checked += 1;
        }
    }
    println!("{checked} days with a change; they last {lengths:?} minutes");
    assert!(lengths.contains(&(23 * 60)) && lengths.contains(&(25 * 60)));
}

#[test]
fn a_zone_that_skips_or_repeats_a_whole_day_is_tiled_as_well() {
    let skipped = [
        ("Pacific/Apia", date(2011, 12, 30)),
        ("Pacific/Fakaofo", date(2011, 12, 30)),
        ("Pacific/Kwajalein", date(1993, 8, 21)),
        ("Pacific/Enderbury", date(1994, 12, 31)),
    ];
    for (name, gone) in skipped {
        let zone = TimeZone::get(name).expect("a zone of the bundled database");
        assert_eq!(
            Window::day(&zone, gone),
            None,
            "{name}: {gone} did not happen"
        );
        let (first, now) = (
            gone.saturating_sub(20.days()),
            gone.saturating_add(20.days()),
        );
        let now = now.to_zoned(zone.clone()).expect("a day").timestamp();
        for days in [1, 2, 3, 7] {
            assert_tiles(name, &zone, first, days, now);
        }
    }
}

// --- firings --------------------------------------------------------------------------------------------------------

const CRONS: [&str; 6] = [
    "30 2 * * *",
    "0 0 * * *",
    "15 1 * * *",
    "*/15 * * * *",
    "0 1-3 * * *",
    "20 */6 * * 0,3",
];

/// A field as the oracle reads it: `*`, numbers, lists, ranges and steps.
fn matches(field: &str, value: i8) -> bool {
    field.split(',').any(|part| {
        let (range, step) = part.split_once('/').unwrap_or((part, "1"));
        let step: i8 = step.parse().expect("a step");
        match range.split_once('-') {
            _ if range == "*" => value % step == 0,
            Some((low, high)) => {
                let (low, high): (i8, i8) =
                    (low.parse().expect("low"), high.parse().expect("high"));
                (low..=high).contains(&value) && (value - low) % step == 0
            }
            None => range.parse::<i8>().expect("a number") == value,
        }
    })
}

/// When `cron` (without day of month and month) fires in `[from, to)`, by looking at the clock at every minute. An interval fires at each minute
/// whose clock matches. A fixed time fires at the first such minute of a date, or at the first instant after the gap that swallowed it.
fn oracle(cron: &str, zone: &TimeZone, from: Timestamp, to: Timestamp) -> Vec<Timestamp> {
    let fields: Vec<&str> = cron.split(' ').collect();
    let is_fixed = fields[..2].iter().all(|field| field.parse::<i8>().is_ok());
    let shows = |time: jiff::civil::DateTime| {
        matches(fields[0], time.minute())
            && matches(fields[1], time.hour())
            && matches(fields[4], time.weekday().to_sunday_zero_offset())
    };
    let mut firings = Vec::new();
    let mut fired_for = BTreeSet::new();
    let mut minute = from;
    let mut last = zone.to_datetime(from - MINUTE);
    while minute < to {
        let clock = zone.to_datetime(minute);
        if !is_fixed {
            if shows(clock) {
                firings.push(minute);
            }
        } else {
            // Every time on the clock since the last minute: one, or those of a gap as well.
            let mut swallowed = last.saturating_add(1.minute());
            let mut due = false;
            while swallowed <= clock {
                due |= shows(swallowed) && fired_for.insert(swallowed);
                swallowed = swallowed.saturating_add(1.minute());
            }
            due |= shows(clock) && fired_for.insert(clock);
            if due {
                firings.push(minute);
            }
        }
        last = clock;
        minute += MINUTE;
    }
    firings
}

#[test]
fn every_zone_fires_as_its_clocks_show_never_lost_and_never_twice() {
    let (mut cases, mut firings_seen) = (0, 0);
    let zones = distinct(zones());
    for zone in &zones {
        for change in walked(zone) {
            let (from, to) = (*change - HOUR * 30, *change + HOUR * 30);
            for cron in CRONS {
                let schedule = Schedule::parse(cron, zone.zone.clone()).expect("a cron");
                let found: Vec<Timestamp> = schedule
                    .after(from - SignedDuration::from_nanos(1))
                    .take_while(|firing| *firing < to)
                    .collect();
                let expected = oracle(cron, &zone.zone, from, to);
                assert_eq!(found, expected, "{cron} in {} around {change}", zone.name);
                for firing in &found {
                    assert_eq!(
                        schedule.previous_at_or_before(*firing),
                        Some(*firing),
                        "{cron} in {}",
                        zone.name
                    );
                }
                cases += 1;
                firings_seen += found.len();
            }
        }
    }
    println!(
        "{} distinct zones, {cases} cases, {firings_seen} firings",
        zones.len()
    );
}

#[test]
fn the_oracle_notices_a_schedule_that_keeps_the_offset_of_the_day_it_was_made() {
    let zone = TimeZone::get("America/New_York").expect("a zone");
    let (from, to) = (at("2026-10-30T00:00:00Z"), at("2026-11-04T00:00:00Z"));
    let frozen = TimeZone::fixed(zone.to_offset(from));
    let firings = |zone: &TimeZone| -> Vec<Timestamp> {
        let schedule = Schedule::parse("0 9 * * *", zone.clone()).expect("a cron");
        schedule
            .after(from)
            .take_while(|firing| *firing < to)
            .collect()
    };
    let expected = oracle("0 9 * * *", &zone, from, to);
    assert_eq!(firings(&zone), expected);
    assert_ne!(firings(&frozen), expected);
}

// --- any sequence of runs -------------------------------------------------------------------------------------------

fn job(zone: &TimeZone, missed: MissedPolicy, window_days: u16) -> JobSpec {
    JobSpec {
        name: "meetings".into(),
        dataset: Dataset::MeetingList,
        tenants: vec!["acme".into()],
        cron: "20 3 * * *".into(),
        time_zone: zone.clone(),
        has_own_zone: false,
        window_days,
        settle_delay: Duration::from_secs(3600),
        lookback_days: 3,
        start: Some(date(2026, 3, 1)),
        missed,
        overlap: OverlapPolicy::Skip,
        jitter: Duration::ZERO,
        deadline: Duration::from_secs(3600),
        destination: String::new(),
        fan_out: FanOut::default(),
        options: RequestOptions::for_dataset(Dataset::MeetingList),
        check: meetlake::testing::job::Check::for_dataset(Dataset::MeetingList),
    }
}

/// What the schedule asks for at `now`, as a run asks it.
async fn ask(ledger: &Ledger, job: &JobSpec, now: Timestamp) -> Due {
    let schedule = Schedule::parse(&job.cron, job.time_zone.clone()).expect("a cron");
    let state = ledger.schedule(&job.name, "acme").await.expect("read");
    let known = ledger.windows("acme", job.dataset, None);
    due::due(job, &schedule, now, state, &known.await.expect("listed"))
}

/// Looks at the schedule at `now` as a run does, and records what it asks for; generations of each window afterwards are in the ledger.
async fn tick(ledger: &Ledger, job: &JobSpec, now: Timestamp) {
    let asked = ask(ledger, job, now).await;
    let batch = WindowBatch {
        job: &job.name,
        tenant: "acme",
        dataset: job.dataset,
        new: &asked.new,
        again: &asked.again,
        firing: asked.firing,
        schedule: asked.schedule,
    };
    ledger.insert_windows(&batch).await.expect("inserted");
    for row in ledger
        .windows("acme", job.dataset, None)
        .await
        .expect("listed")
    {
        if row.state == WindowState::Due {
            ledger
                .set_window_state(&row, WindowState::Settled)
                .await
                .expect("settled");
        }
    }
}

/// What happens to a machine between two looks at its schedule.
#[derive(Clone, Copy, Debug)]
enum Step {
    Wait(i64),
    Jump(SignedDuration),
    Again,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1i64..7 * 3600).prop_map(Step::Wait),
        2 => (86_400i64..6 * 86_400).prop_map(Step::Wait),
        1 => prop_oneof![Just(HOUR), Just(-HOUR), Just(DAY), Just(-DAY)].prop_map(Step::Jump),
        1 => Just(Step::Again),
    ];
    prop::collection::vec(step, 1..24)
}

/// Runs a test over random values; the seed is printed, and taken back through `MEETLAKE_SEED`.
fn check<S: Strategy>(
    cases: u32,
    strategy: S,
    test: impl Fn(S::Value) -> Result<(), TestCaseError>,
) {
    let seed: u64 = std::env::var("MEETLAKE_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| Timestamp::now().as_nanosecond() as u64);
    println!("MEETLAKE_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, rng);
    if let Err(error) = runner.run(&strategy, test) {
        panic!("MEETLAKE_SEED={seed}: {error}");
    }
}

const JUMPY: [&str; 6] = [
    "America/New_York",
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "America/Santiago",
    "Africa/Casablanca",
    "Asia/Shanghai",
];

fn block_on<T>(future: impl Future<Output = T>) -> T {
    crate::app::runtime().block_on(future)
}

#[test]
fn downtime_jumping_clocks_and_repeated_ticks_give_the_windows_of_an_undisturbed_run() {
    let cases = if is_long() { 1_000 } else { 60 };
    check(
        cases,
        (steps(), 0..JUMPY.len(), 1u16..4),
        |(steps, index, days)| {
            let zone = TimeZone::get(JUMPY[index]).expect("a zone");
            let job = job(&zone, MissedPolicy::All, days);
            let windows = block_on(async {
                let folder = tempfile::tempdir().expect("a folder");
                let ledger = Ledger::open(&folder.path().join("meetlake.db"), "test")
                    .await
                    .expect("opened");
                let mut now = at("2026-03-05T12:00:00Z");
                let mut latest = now;
                tick(&ledger, &job, now).await;
                for step in &steps {
                    now += match step {
                        Step::Wait(seconds) => SignedDuration::from_secs(*seconds),
                        Step::Jump(by) => *by,
                        Step::Again => SignedDuration::ZERO,
                    };
                    latest = latest.max(now);
                    tick(&ledger, &job, now).await;
                }
                // Up to a horizon that both have seen.
                tick(&ledger, &job, latest).await;
                (
                    ledger
                        .windows("acme", job.dataset, None)
                        .await
                        .expect("listed"),
                    latest,
                )
            });
            let (rows, latest) = windows;
            let expected: Vec<Window> = closed_windows(&zone, date(2026, 3, 1), days, latest)
                .into_iter()
                .filter(|window| due::due_at(&job, window) <= latest)
                .collect();
            let found: Vec<Window> = rows.iter().map(|row| row.window).collect();
            prop_assert_eq!(found, expected);
            prop_assert!(rows.iter().all(|row| row.state == WindowState::Settled));
            // A lookback comes with a firing, and a window is within it for a few days; and each time that the clock goes back, what it had
            // called over too early is exported once more.
            let is_back = |step: &&Step| matches!(step, Step::Jump(by) if by.is_negative());
            let back = steps.iter().filter(is_back).count() as u32;
            let most = u32::from(job.lookback_days) + 2 + back;
            prop_assert!(rows.iter().all(|row| row.generation <= most), "{:?}", rows);
            Ok(())
        },
    );
}

#[test]
fn a_day_that_a_clock_called_over_too_early_is_exported_again_when_it_is_over() {
    let zone = TimeZone::get("Asia/Shanghai").expect("a zone");
    // Without a lookback nothing else would ask for it again.
    let mut job = job(&zone, MissedPolicy::All, 1);
    job.lookback_days = 0;
    block_on(async {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("meetlake.db");
        let ledger = Ledger::open(&path, "test").await.expect("opened");
        let newest = async |of: &Ledger| {
            let rows = of.windows("acme", job.dataset, None).await.expect("listed");
            rows.into_iter().next_back().expect("a window")
        };
        let now = at("2026-03-05T12:00:00Z");
        tick(&ledger, &job, now).await;
        let before = newest(&ledger).await;
        tick(&ledger, &job, now + DAY).await;
        let early = newest(&ledger).await;
        assert!(
            early.window.start() == before.window.end() && early.due_at > now,
            "{early:?}"
        );
        // The clock is right again.
        let now = now + HOUR;
        let asked = ask(&ledger, &job, now).await;
        assert_eq!((asked.new, &asked.again), (vec![], &vec![early.window]));
        let schedule = asked.schedule.expect("a schedule");
        assert_eq!(
            schedule.last_firing, asked.firing,
            "the next firing is not the wrong clock's"
        );
        let batch = WindowBatch {
            job: &job.name,
            tenant: "acme",
            dataset: job.dataset,
            new: &[],
            again: &asked.again,
            firing: asked.firing,
            schedule: asked.schedule,
        };
        ledger.insert_windows(&batch).await.expect("inserted");
        let row = newest(&ledger).await;
        assert_eq!((row.state, row.generation), (WindowState::Due, 2));
        assert!(row.due_at > now, "no run plans it before: {row:?}");
        let asked = ask(&ledger, &job, now).await;
        assert_eq!(asked.again, [], "once");
    });
}

#[test]
fn the_policies_for_missed_windows_mean_what_they_say() {
    let cases = if is_long() { 1_000 } else { 60 };
    check(cases, (1i64..8, 0..JUMPY.len()), |(days_down, index)| {
        let zone = TimeZone::get(JUMPY[index]).expect("a zone");
        let before: ScheduleState = ScheduleState {
            watermark: Window::day(&zone, date(2026, 3, 20)).expect("a day").end(),
            last_firing: Schedule::parse("20 3 * * *", zone.clone())
                .expect("a cron")
                .previous_at_or_before(
                    date(2026, 3, 21)
                        .at(12, 0, 0, 0)
                        .to_zoned(zone.clone())
                        .expect("noon")
                        .timestamp(),
                )
                .expect("a firing"),
        };
        // Noon after the outage: the firing of that morning is the newest one, and its own window was not missed.
        let noon = date(2026, 3, 21)
            .saturating_add(days_down.days())
            .at(12, 0, 0, 0);
        let now = noon.to_zoned(zone.clone()).expect("noon").timestamp();
        for (policy, expected) in [
            (MissedPolicy::All, days_down),
            (MissedPolicy::Latest, 1),
            (MissedPolicy::None, 1),
        ] {
            let job = job(&zone, policy, 1);
            let schedule = Schedule::parse(&job.cron, zone.clone()).expect("a cron");
            let new: Vec<NewWindow> = due::due(&job, &schedule, now, Some(before), &[]).new;
            let count = |state| new.iter().filter(|new| new.state == state).count() as i64;
            // Every window is there, exported or named as skipped.
            prop_assert_eq!(new.len() as i64, days_down);
            prop_assert_eq!(count(WindowState::Due), expected, "{:?} {:?}", policy, new);
            prop_assert_eq!(count(WindowState::Skipped), days_down - expected);
            prop_assert_eq!(new.last().map(|new| new.state), Some(WindowState::Due));
        }
        Ok(())
    });
}
