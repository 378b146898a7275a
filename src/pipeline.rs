//! One task through all stages, and one partition into the lake. This is the only file that names all stages, so it is the flow.
//!
//! ```text
//! run_task:         export ──► decode ──► normalize ──► spool ──► ledger            rows wait beside the ledger
//! publish_windows:  spool ──► pack ──► stage ──► intent ──► object ──► manifest ──► ledger
//! ```
//!
//! Both are idempotent at every arrow: what was recorded is not done again, what was not is done again with the same result.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use arrow::array::RecordBatch;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Semaphore;

use crate::client::{self, Client, ErrorKind, Snapshot};
use crate::clock::Clock;
use crate::contract::Contract;
use crate::dataset::Dataset;
use crate::decode;
use crate::export::pace::Pace;
use crate::export::{self, Exporter};
use crate::job::JobSpec;
use crate::ledger::{self, Intent, Ledger, Parent, Phase, PublishedPartition, SpooledResult, TaskRow, WindowState};
use crate::normalize;
use crate::publish::{self, Publisher};
use crate::run::summary::{Cause, CauseKind};
use crate::spool::{self, Spool};
use crate::task::TaskKey;
use crate::task::machine::{GaveUp, State};
use crate::window::{Window, date_of};

/// Everything that the tasks of one tenant are done with.
#[derive(Debug)]
pub struct Tenant {
    /// Its name in the configuration and in the lake.
    pub name: String,
    /// The zone in which its rows get their `dt`.
    pub time_zone: TimeZone,
    /// Where its data resides.
    pub unit: Option<i32>,
    /// What time it is.
    pub clock: Clock,
    /// The record of what is due and done.
    pub ledger: Ledger,
    /// Where results wait.
    pub spool: Spool,
    /// Puts partitions into the lake.
    pub publisher: Publisher,
    /// Gets bytes from Feishu.
    pub exporter: Exporter,
    /// Limits of workbooks.
    pub workbook_limits: decode::Limits,
    /// Workbooks decoded at the same time; decoding is what takes memory.
    pub decoders: Arc<Semaphore>,
}

/// How one attempt at a task ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its rows are in the spool.
    Spooled {
        /// How many.
        rows: u64,
        /// Cells that did not fit.
        rejects: u64,
    },
    /// The next attempt starts later.
    Deferred {
        /// When.
        run_at: Timestamp,
    },
    /// Its workbook broke the contract.
    Quarantined {
        /// How.
        reason: String,
    },
    /// Its attempts are used up, or more would not help.
    Failed {
        /// Why.
        cause: Cause,
    },
    /// Something that concerns more than this task.
    Refused {
        /// What.
        cause: Cause,
    },
}

/// A partition that was written, or found to be as it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Which day.
    pub dt: Date,
    /// Its rows.
    pub rows: u64,
    /// Its length.
    pub size_bytes: u64,
    /// Whether every task of the day is in it.
    pub complete: bool,
    /// Whether the content was the same as before, so that nothing was written.
    pub unchanged: bool,
}

/// Attempts of one generation of a task.
const MOST_ATTEMPTS: u32 = 5;
/// Wait before the second attempt; doubled for each further one.
const FIRST_DELAY: Duration = Duration::from_secs(60);
/// Longest wait between attempts.
const LONGEST_DELAY: Duration = Duration::from_secs(15 * 60);

// --- one task -------------------------------------------------------------------------------------------------------

/// Takes a task from wherever it was left to rows in the spool.
///
/// # Errors
/// When this machine is at fault; what Feishu or the data did wrong is recorded and returned as an [`Ended`].
pub async fn run_task(tenant: &Tenant, job: &JobSpec, task: &TaskRow) -> Result<Ended> {
    let fetched = match tenant.exporter.fetch(task, job.deadline).await {
        Ok(fetched) => fetched,
        Err(error) => return gave_up(tenant, task, error).await,
    };
    let State::Fetched { sha256, .. } = &fetched else { anyhow::bail!("an export ended without bytes") };
    let original = match tenant.spool.read_original(sha256) {
        Ok(original) => original,
        Err(error) => {
            tracing::warn!(task.key = %task.spec.key, %error, "the spool lost an original; it is exported again");
            return put_off(tenant, task, State::Planned, "spool", &error.to_string()).await;
        }
    };
    let permit = tenant.decoders.acquire().await?;
    let normalized = {
        let (limits, context) = (tenant.workbook_limits.clone(), context_of(tenant, job, task, &fetched));
        tokio::task::spawn_blocking(move || decode_and_normalize(&original, &limits, &context)).await?
    };
    drop(permit);
    match normalized {
        Ok(normalized) => spool_rows(tenant, task, &fetched, &normalized).await,
        Err(reason) => quarantine(tenant, task, &fetched, &reason).await,
    }
}
