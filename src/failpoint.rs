//! Points at which a test ends the process, and defects that a test plants. Tests prove that
//! crashes are survived and defects are noticed.
//!
//! Both exist only with the feature `failpoints`, which no release enables. Without it the macros
//! compile to nothing, and not even the names remain. With it, the environment variable
//! `FAILPOINTS` switches them on, in the syntax of the package `fail`:
//! `w02-submit-sent=3*off->return` aborts at the fourth passage. `MEETLAKE_TEST_CLOCK`
//! (`<instant>@<speed>`) gives the binary the clock of a simulated company.
//!
//! | name | the process ends |
//! |---|---|
//! | `w01-submit-recorded` | when the ledger says that a submit is under way, before it is sent |
//! | `w02-submit-sent` | when the submit was answered, before the export's id is recorded |
//! | `w03-id-recorded` | when the id is recorded, before the first poll |
//! | `w04-polled` | when a poll was answered, before its answer is recorded |
//! | `w05-ready` | when the file's token is recorded, before the download |
//! | `w05-page-listed` | when a page of a listing was answered, before it is kept |
//! | `w06-mid-download` | when a first piece of a file is written |
//! | `w06-original-kept` | when the original is in the spool, before the ledger says so |
//! | `w07-fetched` | when the download is recorded, before it is decoded |
//! | `w07-witness-fetched` | when the list beside an export answered or failed |
//! | `w07-decoding` | when it is being decoded, in a thread of its own |
//! | `w08-rows-half-written` | when the rows of a task are written, not yet under their name |
//! | `w08-rows-kept` | when the rows are in the spool, before the ledger says so |
//! | `w08-rows-recorded` | when the ledger says that the rows are in the spool |
//! | `w08-pack-put` | when the originals are archived, before the ledger says so |
//! | `w08-intent-recorded` | when the intent is recorded, before the object is put |
//! | `w08-object-written` | in a folder: the new object lies beside the old, before its rename |
//! | `w09-object-put` | when the object is put, before its manifest |
//! | `w09-inputs-put` | when the manifest's lists are put, before the manifest |
//! | `w10-manifest-put` | when the manifest is put, before the ledger says so |
//! | `w11-partition-recorded` | when the partition is recorded, before its tasks are |
//! | `w11-tasks-recorded` | when the tasks of a round are recorded, before the spool is cleaned |
//! | `w11-window-settled` | when a window is settled, before its children are looked at |
//! | `w08-replayed-pack-put` | when the originals of a day are archived in a new lake |
//! | `w09-replayed-object-put` | when a replayed object is in a new lake, before its manifest |
//! | `w10-replayed-manifest-put` | when a replayed manifest is in a new lake, before the spool is cleaned |
//! | `w12-orphans-intended` | when the ledger names the orphans, before references are read again |
//! | `w12-orphan-deleted` | when one of them is gone |
//! | `w15-event-received` | when an event came, before it is kept |
//! | `w15-event-kept` | when an event is kept, before it is acknowledged |
//! | `w15-batch-planned` | when events are assigned to a batch, before its task begins |
//!
//! At `wait-ledger-locked` it waits, as long as the test says, when it holds a ledger's lock and
//! has not opened the ledger yet.
//!
//! A process that is suspended until it has lost its lock (W13) and a full disk (W14) need no
//! failpoint.

/// Aborts the process here if a test asked for it.
macro_rules! crash_point {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        if $crate::failpoint::is_on($name) {
            std::process::abort();
        }
    };
}

/// Waits here for as long as a test asked for, in the syntax of the package `fail`.
macro_rules! wait_point {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        let _ = $crate::failpoint::is_on($name);
    };
}

/// Whether a test planted this defect.
macro_rules! planted {
    ($name:literal) => {{
        #[cfg(feature = "failpoints")]
        let is_on = $crate::failpoint::is_on($name);
        #[cfg(not(feature = "failpoints"))]
        let is_on = false;
        is_on
    }};
}

use crate::clock::Clock;

/// Counts a passage and says whether the failpoint is on for it.
#[cfg(feature = "failpoints")]
pub(crate) fn is_on(name: &str) -> bool {
    fail::eval(name, |_| ()).is_some()
}

/// Switches on the failpoints that the environment names, for as long as the value lives.
#[cfg(feature = "failpoints")]
#[must_use]
pub fn set_up() -> fail::FailScenario<'static> {
    fail::FailScenario::setup()
}

/// The clock of the binary's runs: the machine's, unless a test sets another one.
#[must_use]
pub(crate) fn clock() -> Clock {
    #[cfg(feature = "failpoints")]
    if let Ok(text) = std::env::var("MEETLAKE_TEST_CLOCK") {
        let (now, speed) = text.split_once('@').expect("an instant and a speed");
        let now = now.parse().expect("an instant");
        return Clock::scaled(now, speed.parse().expect("a speed"));
    }
    Clock::system()
}
