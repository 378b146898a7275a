//! The process is ended at random instants, by kill -9 and politely, or stopped while another takes its place; the simulator lives on in this
//! process and tells what was asked twice. `MEETLAKE_LONG` kills a thousand times. A failure prints the command that repeats it: `MEETLAKE_SEED`,
//! `MEETLAKE_WHOLE_MS`, from which the instants are drawn, and `MEETLAKE_LAKE`, the only lake that is then worked on.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use meetlake::testing::dataset::Dataset;
use meetlake::testing::ledger::Ledger;
use meetlake::testing::record::Intent;
use meetlake::testing::task::State;

use crate::app::{SPEED, Setup, TENANT, TestApp, signal, snapshot, wait};
use crate::checker::{Checker, Reader};
use crate::crash::{backfill, company, log};

/// Deaths of one lake before it is left to finish.
const DEATHS_A_LAKE: u64 = 10;
/// One death in so many comes at any instant of the start, however long that takes on this machine; the others come after the first call, when
/// there is something to lose.
const DEATHS_AT_A_START: u64 = 4;
/// The longest wait for a first call: there is none if everything is done.
const LONGEST_START: Duration = Duration::from_secs(20);
/// Lakes that are worked on side by side; they mostly wait.
const SIDE_BY_SIDE: u64 = 2;
/// Everything that costs a retry, and nothing that is refused for good.
const FAULTS: &[&str] = &[
    "429:0.03",
    "5xx:0.03",
    "slow:0.03",
    "drop:0.02",
    "expired-token:0.01",
    "truncated:0.03",
    "gone-file:0.02",
];

fn is_long() -> bool {
    std::env::var_os("MEETLAKE_LONG").is_some()
}

/// A number that somebody gave in the environment.
fn given(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let Ok(number) = text.parse() else {
        panic!("{name} is no number: {text:?}");
    };
    Some(number)
}

/// What the instants of death are drawn from; printed, because with it a failure can be repeated.
#[derive(Clone, Copy)]
struct Course {
    seed: u64,
    whole: Duration,
}

impl Course {
    /// As it was given, or a new one.
    fn begin() -> Self {
        let any = || Timestamp::now().as_microsecond().unsigned_abs() % 1_000_000;
        let course = Self {
            seed: given("MEETLAKE_SEED").unwrap_or_else(any),
            whole: given("MEETLAKE_WHOLE_MS").map_or_else(whole_run, Duration::from_millis),
        };
        println!("{course}");
        course
    }
}

impl std::fmt::Display for Course {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let whole = self.whole.as_millis();
        write!(f, "MEETLAKE_SEED={} MEETLAKE_WHOLE_MS={whole}", self.seed)
    }
}

/// Repeatable draws: splitmix64.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn up_to(&mut self, longest: Duration) -> Duration {
        longest.mul_f64((self.next() >> 11) as f64 / (1u64 << 53) as f64)
    }
}

/// How the process is ended.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Death {
    /// kill -9.
    Kill,
    /// A request to terminate, which it has 25 s for.
    Terminate,
}

/// What became of many deaths.
#[derive(Default)]
struct Toll {
    deaths: AtomicU64,
    lakes: AtomicU64,
    looks: AtomicU64,
    /// How many deaths found something in which state.
    found: Mutex<BTreeMap<&'static str, u64>>,
    /// Of starts after a death: until the first call that is not for a token.
    first_calls: Mutex<Vec<Duration>>,
    /// Of last starts that still had something to do: until everything was settled.
    settled: Mutex<Vec<Duration>>,
    longest_end: Mutex<Duration>,
    /// Requests to terminate that came before the process listened for them, and before it had made any call.
    unheard: AtomicU64,
    /// Of the deaths, those of `serve`.
    of_serve: AtomicU64,
}

fn spawn(app: &TestApp) -> Child {
    let (from, to) = (app.first_day().to_string(), app.end_day().to_string());
    app.spawn(&["backfill", "--from", &from, "--to", &to])
}

/// How long a whole run takes here and now, in the real time in which kills are drawn.
fn whole_run() -> Duration {
    let app = company(Setup::fast()).start();
    let began = Instant::now();
    assert_eq!(backfill(&app, "").code(), Some(0), "{}", log(&app));
    began.elapsed()
}

impl Death {
    /// The test that ends processes so.
    const fn test(self) -> &'static str {
        match self {
            Self::Kill => "killed_at_any_instant",
            Self::Terminate => "asked_to_terminate",
        }
    }
}

/// Ends the processes of as many lakes as needed until `wanted` deaths came before the process's own end, and checks after each.
fn die(death: Death, wanted: u64) -> Toll {
    let (course, toll) = (Course::begin(), Toll::default());
    if let Some(lake) = given("MEETLAKE_LAKE") {
        one_lake(death, course, lake, &toll);
        return toll;
    }
    let next_lake = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let worker = || {
            while toll.deaths.load(Ordering::Relaxed) < wanted {
                let lake = next_lake.fetch_add(1, Ordering::Relaxed);
                one_lake(death, course, lake, &toll);
            }
        };
        let workers: Vec<_> = (0..SIDE_BY_SIDE).map(|_| scope.spawn(worker)).collect();
        for worker in workers {
            worker.join().expect("every lake is right");
        }
    });
    toll
}

fn one_lake(death: Death, course: Course, lake: u64, toll: &Toll) {
    let mut draws = Draws(course.seed.wrapping_mul(1_000).wrapping_add(lake));
    let faults: &[&str] = if lake % 3 == 2 { FAULTS } else { &[] };
    let app = company(Setup::fast().with(|options| options.seed = draws.next() % 1_000));
    let app = app.faults(faults).start();
    let reader = Reader::start(app.lake());
    let mut checker = Checker::new(&app, None);
    let mut wrong = Vec::new();
    for number in 0..DEATHS_A_LAKE {
        let (is_serve, calls) = (death == Death::Terminate && number % 2 == 1, app.calls());
        let mut child = if is_serve {
            app.spawn(&["serve"])
        } else {
            spawn(&app)
        };
        let since = if draws.next().is_multiple_of(DEATHS_AT_A_START) {
            Since::Start
        } else {
            Since::FirstCall
        };
        // So that ten deaths are spread over one whole run.
        let long = draws.up_to(course.whole.mul_f64(0.15));
        let first_call = live(&app, &mut child, since, long);
        toll.first_calls
            .lock()
            .expect("not poisoned")
            .extend(first_call);
        if child.try_wait().expect("a child of ours").is_some() {
            break;
        }
        match death {
            Death::Kill => {
                child.kill().expect("killed");
                child.wait().expect("a child of ours");
            }
            Death::Terminate => {
                signal(&child, "TERM");
                let (code, took) = wait(&mut child, Duration::from_secs(25));
                let signal = child.wait().expect("a child of ours").signal();
                let is_unheard = signal == Some(15) && app.calls() == calls;
                toll.unheard
                    .fetch_add(u64::from(is_unheard), Ordering::Relaxed);
                toll.of_serve
                    .fetch_add(u64::from(is_serve), Ordering::Relaxed);
                let is_polite = code == Some(0) || code == Some(3) && !is_serve;
                if !is_polite && !is_unheard {
                    wrong.push(format!(
                        "asked to terminate, it ended with {code:?}, signal {signal:?}"
                    ));
                }
                let mut longest = toll.longest_end.lock().expect("not poisoned");
                *longest = took.max(*longest);
            }
        }
        toll.deaths.fetch_add(1, Ordering::Relaxed);
        wrong.extend(checker.after_a_death());
        if !wrong.is_empty() {
            break;
        }
    }
    app.set_faults(&[]);
    let (began, submits) = (Instant::now(), app.submits());
    let mut code = backfill(&app, "").code();
    if app.submits() > submits {
        toll.settled
            .lock()
            .expect("not poisoned")
            .push(began.elapsed());
    }
    // What a fault made fail for good gets its next attempts from the next run.
    if code != Some(0) && !faults.is_empty() {
        code = backfill(&app, "").code();
    }
    wrong.extend(checker.at_rest(code));
    if death == Death::Terminate && faults.is_empty() && app.report().duplicate_submits > 0 {
        wrong.push("a polite end lost an answer".into());
    }
    let seen = reader.stop();
    wrong.extend(seen.wrong(&app.lake(), &checker.intended));
    wrong.extend(changed_by_another_run(&app));
    assert!(
        wrong.is_empty(),
        "{course} MEETLAKE_LAKE={lake} tests/run --test it kill::{}\n{}\n{}",
        death.test(),
        wrong.join("\n"),
        log(&app)
    );
    toll.lakes.fetch_add(1, Ordering::Relaxed);
    toll.looks.fetch_add(seen.looks, Ordering::Relaxed);
    let mut found = toll.found.lock().expect("not poisoned");
    for (state, deaths) in &checker.found {
        *found.entry(state).or_default() += deaths;
    }
}

/// From when on a process lives for a while.
#[derive(Clone, Copy, PartialEq)]
enum Since {
    Start,
    /// Its first call that is not for a token. How long that takes depends on the machine, so an instant that is counted from the start would come
    /// before it on a slow one.
    FirstCall,
}

/// Lets a process live for a while; how long it took until it asked the service for something other than a token, if it did.
fn live(app: &TestApp, child: &mut Child, since: Since, long: Duration) -> Option<Duration> {
    let useful = || {
        let calls = app.report().endpoints;
        let calls = calls.iter().filter(|(name, _)| !name.ends_with("token"));
        calls.map(|(_, of)| of.calls).sum::<u64>()
    };
    let (began, before) = (Instant::now(), useful());
    let mut first_call = None;
    loop {
        if first_call.is_none() && useful() > before {
            first_call = Some(began.elapsed());
        }
        let end = match since {
            Since::Start => long,
            Since::FirstCall => first_call.map_or(LONGEST_START, |first_call| first_call + long),
        };
        let left = end.saturating_sub(began.elapsed());
        if left.is_zero() || child.try_wait().expect("a child of ours").is_some() {
            return first_call;
        }
        std::thread::sleep(Duration::from_millis(2).min(left));
    }
}

fn changed_by_another_run(app: &TestApp) -> Vec<String> {
    let (submits, before) = (app.submits(), snapshot(&app.lake()));
    let status = backfill(app, "");
    let mut wrong = Vec::new();
    if status.code() != Some(0) || app.submits() != submits {
        wrong.push(format!(
            "another run ended with {status}, and exported something"
        ));
    }
    if before != snapshot(&app.lake()) {
        wrong.push("another run wrote".into());
    }
    wrong
}

#[test]
fn killed_at_any_instant_the_lake_is_whole_and_no_recorded_export_is_asked_for_again() {
    let wanted = if is_long() { 1_000 } else { 100 };
    let toll = die(Death::Kill, wanted);
    let median = |all: &Mutex<Vec<Duration>>| {
        let mut all = all.lock().expect("not poisoned").clone();
        all.sort();
        all.get(all.len() / 2).copied().unwrap_or_default()
    };
    let told = |median: Duration| {
        let simulated = (median.as_secs_f64() * SPEED).round();
        format!("{median:?} ({simulated} simulated seconds)")
    };
    let (first_call, settled) = (median(&toll.first_calls), median(&toll.settled));
    println!(
        "{} kills of {} lakes survived, {} looks; at the deaths there were {:?}; after a kill the first call came after {}, the end after {} (medians)",
        toll.deaths.load(Ordering::Relaxed),
        toll.lakes.load(Ordering::Relaxed),
        toll.looks.load(Ordering::Relaxed),
        toll.found.lock().expect("not poisoned"),
        told(first_call),
        told(settled),
    );
    let states = toll.found.lock().expect("not poisoned").len();
    assert!(states >= 5, "the deaths came in {states} states only");
    assert!(
        first_call < Duration::from_secs(5),
        "the first call after a kill came after {first_call:?}"
    );
}

#[test]
fn asked_to_terminate_at_any_instant_it_ends_soon_and_the_next_run_goes_on() {
    let toll = die(Death::Terminate, if is_long() { 1_000 } else { 100 });
    println!(
        "{} requests to terminate, {} of them to serve, {} before anybody listened; {} lakes; the longest end took {:?}; at the ends there were {:?}",
        toll.deaths.load(Ordering::Relaxed),
        toll.of_serve.load(Ordering::Relaxed),
        toll.unheard.load(Ordering::Relaxed),
        toll.lakes.load(Ordering::Relaxed),
        toll.longest_end.lock().expect("not poisoned"),
        toll.found.lock().expect("not poisoned"),
    );
}

// --- stopped, and another takes its place -------------------------------------------------------------------------

/// Where the process stands still when it is stopped.
#[derive(Clone, Copy, Debug)]
enum Standing {
    /// The export's id is recorded.
    Submitted,
    /// The intent is recorded, the object not put.
    Intended,
    /// The next object lies beside the one it replaces; who owns the ledger is looked at once more, and then it takes its name.
    Written,
    /// The object is put, the manifest not.
    ObjectPut,
}

impl Standing {
    const ALL: [Self; 4] = [
        Self::Submitted,
        Self::Intended,
        Self::Written,
        Self::ObjectPut,
    ];

    const fn failpoint(self) -> &'static str {
        match self {
            Self::Submitted => "w03-id-recorded=1*sleep(5000)",
            Self::Intended => "w08-intent-recorded=1*sleep(5000)",
            Self::Written => "w08-object-written=1*sleep(5000)",
            Self::ObjectPut => "w09-object-put=1*sleep(5000)",
        }
    }

    /// Whether the ledger and the lake show that the process has come there.
    async fn is_reached(self, app: &TestApp, ledger: &Ledger, before: &Files) -> bool {
        let windows = ledger.windows(TENANT, Dataset::MeetingList, None).await;
        let intents = ledger.partitions(Some(TENANT)).await.expect("partitions");
        let intent: Option<Intent> = intents.into_iter().find_map(|row| row.intent);
        match self {
            Self::Submitted => {
                for row in windows.expect("windows") {
                    let tasks = ledger.tasks_of(TENANT, row.dataset, row.window).await;
                    let is_submitted = |state: &State| matches!(state, State::Submitted { .. });
                    if tasks
                        .expect("tasks")
                        .iter()
                        .any(|task| is_submitted(&task.machine))
                    {
                        return true;
                    }
                }
                false
            }
            Self::Intended => intent.is_some(),
            Self::Written => {
                let is_beside = |path: &PathBuf| path.to_string_lossy().contains("part-0.parquet#");
                crate::lake::below(&app.lake()).iter().any(is_beside)
            }
            Self::ObjectPut => snapshot(&app.lake()).iter().any(|(path, file)| {
                path.ends_with("part-0.parquet") && before.get(path) != Some(file)
            }),
        }
    }
}

fn one_export() -> TestApp {
    let setup = Setup::fast().only(&[Dataset::MeetingList]);
    setup.with(|options| options.days = 1).start()
}

/// The command that exports everything once more.
fn again(app: &TestApp) -> Command {
    let (from, to) = (app.first_day().to_string(), app.end_day().to_string());
    app.command(&["backfill", "--again", "--from", &from, "--to", &to])
}

type Files = BTreeMap<PathBuf, (Vec<u8>, SystemTime)>;

/// The lake without what lies beside an object, which no reader sees.
fn visible(app: &TestApp) -> Files {
    let mut files = snapshot(&app.lake());
    files.retain(|path, _| !path.to_string_lossy().contains('#'));
    files
}

/// Starts a run that exports everything once more, and stops it (SIGSTOP) where it stands still.
fn stopped_at(app: &TestApp, standing: Standing, more: &str) -> Child {
    let failpoints = format!("{}{more}", standing.failpoint());
    let (mut command, before) = (again(app), snapshot(&app.lake()));
    let mut child = app.spawn_command(command.env("FAILPOINTS", failpoints));
    let began = Instant::now();
    loop {
        let is_reached = app.block_on(async {
            match Ledger::open_for_reading(&app.path("meetlake.db")).await {
                Ok(Some(ledger)) => standing.is_reached(app, &ledger, &before).await,
                _ => false,
            }
        });
        if is_reached {
            signal(&child, "STOP");
            return child;
        }
        assert!(
            began.elapsed() < Duration::from_secs(40) && child.try_wait().expect("ours").is_none(),
            "{standing:?} was not reached: {}",
            log(app)
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What the process does that takes over while the first one is stopped.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Second {
    /// Finishes what the first began, and exports it once more.
    Works,
    /// Owns the ledger, and leaves the day as it is: whatever the first then does to it, nothing but the fence can stop.
    Owns,
}

/// Stops a process, lets another take its place as after a lost lock, and wakes the first; what is wrong then. The day is published before. The
/// first process was told that it is empty, and the second is told that it is as it was: so whatever the first still writes is seen.
fn zombie(standing: Standing, second: Second, more: &str) -> Vec<String> {
    let app = one_export();
    assert_eq!(backfill(&app, "").code(), Some(0), "{}", log(&app));
    app.set_faults(&["empty@meeting_list"]);
    let mut first = stopped_at(&app, standing, more);
    app.set_faults(&[]);
    let refused = backfill(&app, "");
    let mut wrong = Vec::new();
    if refused.code() != Some(9) {
        wrong.push(format!(
            "a second process beside the first ended with {refused}"
        ));
    }
    // What an operator does who believes that it is dead, or a file system that loses locks.
    let lock: PathBuf = app.path("meetlake.db.lock");
    std::fs::remove_file(&lock).expect("removed");
    let mut checker = Checker::new(&app, None);
    // By the first process, and by the second.
    checker.asked_again = 2;
    let settle = || {
        let finished = backfill(&app, "");
        assert_eq!(finished.code(), Some(0), "{}", log(&app));
        let mut second = app.spawn_command(&mut again(&app));
        wait(&mut second, Duration::from_secs(60)).0
    };
    match second {
        Second::Works => wrong.extend(checker.at_rest(settle())),
        Second::Owns => {
            let owned = app.meetlake(&["orphans", "--delete"]);
            assert_eq!(owned.code, 0, "{owned:?}");
        }
    }
    let (submits, before) = (app.submits(), visible(&app));
    signal(&first, "CONT");
    let (code, _) = wait(&mut first, Duration::from_secs(30));
    if before != visible(&app) {
        wrong.push("the process that woke up changed the lake".into());
    }
    if app.submits() != submits {
        wrong.push("the process that woke up exported something".into());
    }
    if code != Some(9) || !log(&app).contains("another process has taken over the ledger") {
        wrong.push(format!("the process that woke up ended with {code:?}"));
    }
    let settled = match second {
        Second::Works => Some(0),
        Second::Owns => settle(),
    };
    wrong.extend(checker.at_rest(settled));
    wrong
}

/// Wakes a process up wherever it stands still.
fn wake_up_after(second: Second) {
    for standing in Standing::ALL {
        let wrong = zombie(standing, second, "");
        assert!(wrong.is_empty(), "{standing:?}: {}", wrong.join("\n"));
    }
}

#[test]
fn a_process_that_wakes_up_after_another_took_over_changes_nothing_and_says_why() {
    wake_up_after(Second::Works);
}

#[test]
fn a_process_that_wakes_up_after_another_owned_the_ledger_changes_nothing_and_says_why() {
    wake_up_after(Second::Owns);
}

#[test]
fn a_fence_that_is_ignored_is_noticed() {
    for standing in Standing::ALL {
        let wrong = zombie(standing, Second::Owns, ";planted-fence-ignored=return");
        let said = wrong.join("\n");
        println!("planted-fence-ignored, {standing:?}: {said}");
        for what in [
            "the process that woke up changed the lake",
            "the process that woke up ended with",
        ] {
            assert!(said.contains(what), "{what} is not in: {said}");
        }
    }
}
