//! The process is ended at random instants, by kill -9 and politely, or stopped while another takes its place; the simulator lives on in this
//! process and tells what was asked twice. `MEETLAKE_SEED` repeats a seed; `MEETLAKE_LONG` kills a thousand times.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::Child;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use meetlake::dataset::Dataset;
use meetlake::ledger::{Intent, Ledger};
use meetlake::task::machine::State;

use crate::app::{SPEED, Setup, TENANT, TestApp, signal, snapshot, wait};
use crate::checker::{Checker, Reader};
use crate::crash::{backfill, company, log};

/// Deaths of one lake before it is left to finish.
const DEATHS_A_LAKE: u64 = 10;
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

/// The seed of this run, printed so that a failure can be repeated.
fn seed() -> u64 {
    let given = std::env::var("MEETLAKE_SEED").ok();
    let seed = given.map_or_else(
        || Timestamp::now().as_microsecond().unsigned_abs() % 1_000_000,
        |text| text.parse().expect("MEETLAKE_SEED is a number"),
    );
    println!("MEETLAKE_SEED={seed}");
    seed
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
#[derive(Clone, Copy, PartialEq)]
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

/// Ends the processes of as many lakes as needed until `wanted` deaths came before the process's own end, and checks after each.
fn die(death: Death, wanted: u64) -> Toll {
    let (seed, whole) = (seed(), whole_run());
    let toll = Toll::default();
    let next_lake = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let worker = || {
            while toll.deaths.load(Ordering::Relaxed) < wanted {
                let lake = next_lake.fetch_add(1, Ordering::Relaxed);
                one_lake(death, seed, lake, whole, &toll);
            }
        };
        let workers: Vec<_> = (0..SIDE_BY_SIDE).map(|_| scope.spawn(worker)).collect();
        for worker in workers {
            worker.join().expect("every lake is right");
        }
    });
    toll
}

fn one_lake(death: Death, seed: u64, lake: u64, whole: Duration, toll: &Toll) {
    let mut draws = Draws(seed.wrapping_mul(1_000).wrapping_add(lake));
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
        // So that ten deaths are spread over one whole run.
        let first_call = live(&app, &mut child, draws.up_to(whole.mul_f64(0.3)));
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
        "MEETLAKE_SEED={seed}, lake {lake}:\n{}\n{}",
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

/// Lets a process live for a while; how long it took until it asked the service for something other than a token, if it did.
fn live(app: &TestApp, child: &mut Child, long: Duration) -> Option<Duration> {
    let useful = || {
        let calls = app.report().endpoints;
        let calls = calls.iter().filter(|(name, _)| !name.ends_with("token"));
        calls.map(|(_, of)| of.calls).sum::<u64>()
    };
    let (began, before) = (Instant::now(), useful());
    let mut first_call = None;
    while began.elapsed() < long && child.try_wait().expect("a child of ours").is_none() {
        if first_call.is_none() && useful() > before {
            first_call = Some(began.elapsed());
        }
        std::thread::sleep(Duration::from_millis(5).min(long.saturating_sub(began.elapsed())));
    }
    first_call
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
    /// The object is put, the manifest not.
    ObjectPut,
}

impl Standing {
    const fn failpoint(self) -> &'static str {
        match self {
            Self::Submitted => "w03-id-recorded=1*sleep(1500)",
            Self::Intended => "w08-intent-recorded=1*sleep(1500)",
            Self::ObjectPut => "w09-object-put=1*sleep(1500)",
        }
    }

    /// Whether the ledger and the lake show that the process has come there.
    async fn is_reached(self, app: &TestApp, ledger: &Ledger) -> bool {
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
            Self::ObjectPut => !crate::lake::files(&app.lake(), Dataset::MeetingList).is_empty(),
        }
    }
}

fn one_export() -> TestApp {
    let setup = Setup::fast().only(&[Dataset::MeetingList]);
    setup.with(|options| options.days = 1).start()
}

/// Starts a run and stops it (SIGSTOP) where it stands still.
fn stopped_at(app: &TestApp, standing: Standing, more: &str) -> Child {
    let (from, to) = (app.first_day().to_string(), app.end_day().to_string());
    let failpoints = format!("{}{more}", standing.failpoint());
    let mut command = app.command(&["backfill", "--from", &from, "--to", &to]);
    let mut child = app.spawn_command(command.env("FAILPOINTS", failpoints));
    let began = Instant::now();
    loop {
        let is_reached = app.block_on(async {
            match Ledger::open_for_reading(&app.path("meetlake.db")).await {
                Ok(Some(ledger)) => standing.is_reached(app, &ledger).await,
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

/// Stops a process, lets another take its place as after a lost lock, and wakes the first; what is wrong then.
fn zombie(standing: Standing, more: &str) -> Vec<String> {
    let app = one_export();
    let mut first = stopped_at(&app, standing, more);
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
    let status = backfill(&app, "");
    wrong.extend(checker.at_rest(status.code()));
    let (submits, before) = (app.submits(), snapshot(&app.lake()));
    signal(&first, "CONT");
    let (code, _) = wait(&mut first, Duration::from_secs(30));
    if before != snapshot(&app.lake()) || app.submits() != submits {
        wrong.push("the process that woke up changed the lake, or exported something".into());
    }
    if code != Some(9) || !log(&app).contains("another process has taken over the ledger") {
        wrong.push(format!("the process that woke up ended with {code:?}"));
    }
    wrong.extend(checker.at_rest(Some(0)));
    wrong
}

#[test]
fn a_process_that_wakes_up_after_another_took_over_changes_nothing_and_says_why() {
    for standing in [Standing::Submitted, Standing::Intended, Standing::ObjectPut] {
        let wrong = zombie(standing, "");
        assert!(wrong.is_empty(), "{standing:?}: {}", wrong.join("\n"));
    }
}

#[test]
fn a_fence_that_is_ignored_is_noticed() {
    for standing in [Standing::Submitted, Standing::Intended, Standing::ObjectPut] {
        let wrong = zombie(standing, ";planted-fence-ignored=return");
        println!("planted-fence-ignored, {standing:?}: {}", wrong.join("\n"));
        let said = wrong.join("\n");
        assert!(
            said.contains("the process that woke up ended with"),
            "{said}"
        );
    }
}
