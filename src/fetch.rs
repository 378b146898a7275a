//! Drives one task from its current state until its bytes are in the spool: submit, poll and
//! download for an export, one call for a report, all pages for a listing.
//!
//! ```text
//! drive    asks the machine what comes next, journals the state, waits, has the effect performed
//! effect   performs one effect: a submit, a poll or a download
//! listing  reads the pages of a listing, all or nothing
//! sight    tells a hidden meeting from an app that is shown none
//! witness  asks the list beside an export for the same rows
//! ```
//! Every state is in the ledger before its effect is performed. After a stop at any point, calling
//! [`Fetcher::fetch`] again continues. Nothing is retried here: the client retries within seconds,
//! the ledger within minutes. This module knows no jobs and no rows.

mod drive;
mod effect;
pub mod listing;
pub mod pace;
pub mod rooms;
mod sight;
mod witness;

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::cause::Cause;
use crate::client::{self, Client};
use crate::clock::Clock;
use crate::datasets::listing as pages;
use crate::datasets::{Called, Fetch, SourceMode, without_named_secrets, without_secrets};
use crate::events::Events;
use crate::ledger::{self, Ledger};
use crate::pages::received_page;
use crate::record::TaskRow;
use crate::spool::{self, Spool};
use crate::task::Urgency;
use crate::task::machine::{GaveUp, IllegalTransition, State};
use listing::PageSink;
use pace::Pace;

pub use sight::Sight;
use sight::SightedPages;
pub use witness::Witnesses;

/// What is needed to get the originals of one tenant; cheap to clone.
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
    /// Which lists are asked beside exports.
    pub witnesses: Witnesses,
    /// Which meetings the app was shown.
    pub sight: Sight,
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
    /// The same for a task of this urgency.
    #[must_use]
    pub fn urgent(&self, urgency: Urgency) -> Self {
        Self {
            client: self.client.urgent(urgency),
            ..self.clone()
        }
    }

    /// Brings `task` to [`State::Fetched`], whatever its current state.
    ///
    /// # Errors
    /// [`Error::GaveUp`] when this attempt is over, [`Error::Stopped`] on request; anything else
    /// when something on this machine fails.
    pub async fn fetch(&self, task: &TaskRow, deadline: Duration) -> Result<State, Error> {
        if let State::Fetched { .. } = task.machine {
            return Ok(task.machine.clone());
        }
        self.check_day(task)?;
        if let Some(message) = task.spec.request.why_not_sent() {
            return Err(Error::GaveUp {
                state: Box::new(State::Planned),
                gave_up: GaveUp::CallFailed,
                call: Some(Cause::BadRequest),
                log_id: None,
                message,
            });
        }
        match task.spec.request.source().fetch {
            Fetch::Export => self.drive(task, deadline).await,
            Fetch::Call(called) => self.fetch_at_once(task, self.call(task, called)).await,
            Fetch::Pages(_) | Fetch::Walk(..) | Fetch::Details(..) | Fetch::Nodes(_) => {
                let list = Box::pin(self.list(task));
                Box::pin(self.fetch_at_once(task, list)).await
            }
            Fetch::Received { .. } => {
                let gathered = Box::pin(self.gather(task));
                Box::pin(self.fetch_at_once(task, gathered)).await
            }
        }
    }

    /// A snapshot is what Feishu says on its day. What it says on another day is another snapshot.
    fn check_day(&self, task: &TaskRow) -> Result<(), Error> {
        let (now, spec) = (self.clock.now(), &task.spec);
        if !spec.dataset().is_snapshot() || spec.window.contains(now) {
            return Ok(());
        }
        let (dataset, window) = (spec.dataset(), spec.window);
        let (gave_up, message) = match now < window.start() {
            true => {
                let message = format!("the day {window} of {dataset} has not begun yet");
                (GaveUp::CallFailed, message)
            }
            false => {
                let message = format!("the day {window} is over: {dataset} is listed on it only");
                (GaveUp::DayIsOver, message)
            }
        };
        Err(Error::GaveUp {
            state: Box::new(State::Planned),
            gave_up,
            call: None,
            log_id: None,
            message,
        })
    }

    /// Gets an original without an export task: what was begun and not ended is begun again.
    async fn fetch_at_once(
        &self,
        task: &TaskRow,
        get: impl Future<Output = Result<(String, u64), Error>>,
    ) -> Result<State, Error> {
        let submitted_at = self.clock.now();
        self.ledger
            .advance(task, &State::Submitting, true, false, submitted_at)
            .await?;
        let (sha256, size_bytes) = tokio::select! {
            got = get => got?,
            () = self.stop.cancelled() => return Err(Error::Stopped),
        };
        let now = self.clock.now();
        let state = State::Fetched {
            export_id: None,
            submitted_at,
            sha256,
            size_bytes,
            extracted_at: now,
        };
        self.ledger.advance(task, &state, false, false, now).await?;
        Ok(state)
    }

    /// One call; gives the hash and size of its body.
    async fn call(&self, task: &TaskRow, called: Called) -> Result<(String, u64), Error> {
        let body = self.client.answer(&task.spec.request).await;
        let body = body.map_err(|error| call_failed(&error))?;
        if called.is_of_another(&task.spec.request, &body) {
            let another = pages::Error::Garbled("it is of another meeting".to_owned());
            let endpoint = &task.spec.request.source().endpoint;
            return Err(call_failed(&client::Error::unlisted(endpoint, &another)));
        }
        let kept = self.blanked(task, &body, called.secrets)?;
        let sha256 = self.spool.put_original(&kept)?;
        Ok((sha256, kept.len() as u64))
    }

    /// A body as it is kept.
    fn blanked<'b>(
        &self,
        task: &TaskRow,
        body: &'b [u8],
        secrets: &[&str],
    ) -> Result<Cow<'b, [u8]>, Error> {
        let not_found = |error: &dyn std::fmt::Display| {
            let garbled = pages::Error::Garbled(format!("its secrets are not found: {error}"));
            call_failed(&client::Error::unlisted(
                &task.spec.request.source().endpoint,
                &garbled,
            ))
        };
        let kept = without_secrets(body, secrets).map_err(|error| not_found(&error))?;
        // Where it is not documented to be, too.
        let kept = without_named_secrets(&kept).map_err(|error| not_found(&error))?;
        Ok(Cow::Owned(kept.into_owned()))
    }

    /// The events of a batch, as they were kept in the ledger, and when each was received; gives the
    /// hash and size of their zip.
    async fn gather(&self, task: &TaskRow) -> Result<(String, u64), Error> {
        let events = self.ledger.events_of(&task.spec.key).await?;
        if events.is_empty() {
            let message = "its events are not in the ledger any more, and nothing replays them";
            return Err(Error::GaveUp {
                state: Box::new(State::Planned),
                gave_up: GaveUp::CallFailed,
                call: Some(Cause::Gone),
                log_id: None,
                message: message.to_owned(),
            });
        }
        let mut pages = self.spool.begin_pages()?;
        for event in &events {
            pages.add(event.body.as_bytes())?;
        }
        let received_at = events.iter().map(|event| event.received_at);
        pages.add(&received_page(received_at))?;
        Ok(pages.keep()?)
    }

    /// All pages of a listing; gives the hash and size of their zip.
    async fn list(&self, task: &TaskRow) -> Result<(String, u64), Error> {
        let mut sink = SpooledPages {
            fetcher: self,
            task,
            pages: None,
            size_bytes: 0,
        };
        let request = &task.spec.request;
        let pages = SightedPages {
            fetcher: self,
            task,
        };
        let read = listing::read(&pages, request, &mut sink).await?;
        read.map_err(|error| match call_failed(&error) {
            // New apps do not get the scope of the second source for themselves.
            Error::GaveUp {
                state,
                gave_up,
                call: Some(Cause::Scope),
                log_id,
                message,
            } if request.mode == SourceMode::Query => Error::GaveUp {
                state,
                gave_up,
                call: Some(Cause::Scope),
                log_id,
                message: format!("{message}; or write mode = \"export\" in the job"),
            },
            failed => failed,
        })?;
        let pages = sink.pages.expect("a listing has at least one page");
        Ok(pages.keep()?)
    }
}

/// The pages of a listing, on their way into the spool.
struct SpooledPages<'f> {
    fetcher: &'f Fetcher,
    task: &'f TaskRow,
    /// None before the first page.
    pages: Option<spool::SpoolingPages>,
    size_bytes: u64,
}

impl PageSink for SpooledPages<'_> {
    type Error = Error;

    fn restart(&mut self) -> Result<(), Error> {
        (self.pages, self.size_bytes) = (None, 0);
        Ok(())
    }

    fn page(&mut self, body: &Bytes, _: Vec<Map<String, Value>>) -> Result<(), Error> {
        let kept =
            self.fetcher
                .blanked(self.task, body, self.task.spec.request.source().secrets())?;
        self.size_bytes += kept.len() as u64;
        let most = self.fetcher.max_workbook_bytes;
        if self.size_bytes > most {
            let why = format!(
                "the listing has more than {most} bytes; if it is right, raise `size` in \
                 [limits.workbook]"
            );
            let endless = pages::Error::Endless(why);
            let endpoint = &self.task.spec.request.source().endpoint;
            return Err(call_failed(&client::Error::unlisted(endpoint, &endless)));
        }
        let pages = match &mut self.pages {
            Some(pages) => pages,
            None => {
                // The listing begins now, however long its first page had to wait.
                self.fetcher.check_day(self.task)?;
                self.pages.insert(self.fetcher.spool.begin_pages()?)
            }
        };
        Ok(pages.add(&kept)?)
    }
}

fn call_failed(error: &client::Error) -> Error {
    Error::GaveUp {
        state: Box::new(State::Planned),
        gave_up: GaveUp::CallFailed,
        call: Some(cause_of(error)),
        log_id: error.log_id().map(str::to_owned),
        message: error.to_string(),
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
