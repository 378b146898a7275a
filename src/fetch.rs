//! Drives one task from its current state until its bytes are in the spool: submit, poll and
//! download, or one call for a report.
//!
//! ```text
//! drive    asks the machine what comes next, journals the state, waits, has the effect performed
//! effect   performs one effect: a submit, a poll or a download
//! ```
//! Every state is in the ledger before its effect is performed. After a stop at any point, calling
//! [`Fetcher::fetch`] again continues. Nothing is retried here: the client retries within seconds,
//! the ledger within minutes. This module knows no jobs and no rows.

mod drive;
mod effect;
pub mod pace;

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::cause::Cause;
use crate::client::{self, Client};
use crate::clock::Clock;
use crate::events::Events;
use crate::ledger::{self, Ledger};
use crate::record::TaskRow;
use crate::spool::{self, Spool};
use crate::task::machine::{GaveUp, IllegalTransition, State};
use pace::Pace;

/// What is needed to drive the exports of one tenant; cheap to clone.
#[derive(Clone, Debug)]
pub struct Fetcher {
    /// Feishu.
    pub client: Client,
    /// Where states are recorded.
    pub ledger: Ledger,
    /// Where bytes go.
    pub spool: Spool,
    /// What time it is.
    pub clock: Clock,
    /// How long each kind of export usually takes.
    pub pace: Pace,
    /// Cancelled when the program stops. Exports under way then end at their next wait.
    pub stop: CancellationToken,
    /// Largest workbook that is fetched, bytes.
    pub max_workbook_bytes: u64,
    /// Where it is told what happened.
    pub events: Events,
}

/// Why an attempt ended without bytes.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This attempt is over. Holds the state to continue from, and the reason.
    #[error("{message}")]
    GaveUp {
        /// Where the next attempt starts.
        state: Box<State>,
        /// What the machine decided.
        gave_up: GaveUp,
        /// Why a call failed, if one did.
        call: Option<Cause>,
        /// Feishu's id of that call.
        log_id: Option<String>,
        /// For people.
        message: String,
    },
    /// The ledger could not record a step.
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
    /// The spool could not take the bytes.
    #[error(transparent)]
    Spool(#[from] spool::Error),
    /// The program is stopping. Everything is recorded.
    #[error("stopped")]
    Stopped,
    /// A defect of this driver.
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
}

impl Fetcher {
    /// Brings `task` to [`State::Fetched`], whatever its current state.
    ///
    /// # Errors
    /// [`Error::GaveUp`] when this attempt is over, [`Error::Stopped`] on request; anything else
    /// when something on this machine fails.
    pub async fn fetch(&self, task: &TaskRow, deadline: Duration) -> Result<State, Error> {
        match task.spec.dataset().is_report() {
            true => self.fetch_report(task).await,
            false => self.drive(task, deadline).await,
        }
    }

    async fn fetch_report(&self, task: &TaskRow) -> Result<State, Error> {
        if let State::Fetched { .. } = task.machine {
            return Ok(task.machine.clone());
        }
        self.ledger
            .advance(task, &State::Submitting, true, false, self.clock.now())
            .await?;
        let body = self
            .client
            .report(&task.spec.request)
            .await
            .map_err(|error| Error::GaveUp {
                state: Box::new(State::Planned),
                gave_up: GaveUp::CallFailed,
                call: Some(cause_of(&error)),
                log_id: error.log_id().map(str::to_owned),
                message: error.to_string(),
            })?;
        let now = self.clock.now();
        let sha256 = self.spool.put_original(&body)?;
        let size_bytes = body.len() as u64;
        let state = State::Fetched {
            export_id: None,
            submitted_at: now,
            sha256,
            size_bytes,
            extracted_at: now,
        };
        self.ledger.advance(task, &state, false, false, now).await?;
        Ok(state)
    }
}

/// The gateway saw no token although every call carries one. Something on the way removes it, so
/// waiting does not help.
const NO_TOKEN: Option<i64> = Some(99991661);

/// Why a call failed. A token that is refused right after its renewal works again later
/// (seen in the wild), so it is retried: the secret is not wrong.
fn cause_of(error: &client::Error) -> Cause {
    if error.is_stale_token() && error.code() != NO_TOKEN {
        Cause::Retry
    } else {
        error.kind()
    }
}
