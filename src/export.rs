//! Drives one task from wherever it stands until its bytes are in the spool: submit, poll, download; or, for a report, one call.
//!
//! Every state is in the ledger before its effect is performed, so a stop at any point is continued by calling [`Exporter::fetch`] again.
//! What is retried here is nothing: seconds are the client's business, minutes the ledger's. It knows no jobs and no rows.

pub mod pace;

use std::time::Duration;

use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use tokio_util::sync::CancellationToken;

use crate::client::{self, Client, ErrorKind, ExportStatus};
use crate::clock::Clock;
use crate::ledger::{self, Ledger, TaskRow};
use crate::spool::{self, Spool};
use crate::task::machine::{Effect, Event, FileToken, GaveUp, IllegalTransition, Machine, State};
use pace::Pace;

/// What one tenant's exports are driven with; cheap to clone.
#[derive(Clone, Debug)]
pub struct Exporter {
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
    /// Cancelled when nothing more may be waited for; what is under way ends at its next wait.
    pub stop: CancellationToken,
    /// Largest workbook that is fetched, bytes.
    pub max_workbook_bytes: u64,
}

/// Why an attempt ended without bytes.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This attempt is over; the state to go on from, and why.
    #[error("{message}")]
    GaveUp {
        /// Where the next attempt starts.
        state: Box<State>,
        /// What the machine decided.
        why: GaveUp,
        /// What kind of call failed, if one did.
        kind: Option<ErrorKind>,
        /// For people.
        message: String,
    },
    /// The ledger could not record a step.
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
    /// The spool could not take the bytes.
    #[error(transparent)]
    Spool(#[from] spool::Error),
    /// Somebody asked to stop; everything is recorded.
    #[error("stopped")]
    Stopped,
    /// A mistake in this driver.
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
}

impl Exporter {
    /// Brings `task` to [`State::Fetched`], whatever state it was left in.
    ///
    /// # Errors
    /// [`Error::GaveUp`] when this attempt is over; anything else when this machine is at fault.
    pub async fn fetch(&self, task: &TaskRow, deadline: Duration) -> Result<State, Error> {
        if task.spec.dataset().is_report() {
            return self.fetch_report(task).await;
        }
        let dataset = task.spec.dataset();
        let first_poll = self.pace.first_poll(dataset);
        let machine = Machine {
            first_poll,
            deadline,
        };
        let mut message = String::new();
        let mut failure = None;
        let mut step = machine.step(task.machine.clone(), Event::Resumed, self.clock.now())?;
        let mut recorded = task.machine.clone();
        loop {
            let is_late = planted!("planted-id-after-poll")
                && matches!(step.state, State::Submitted { polls: 0, .. });
            if (step.state != recorded || step.effect == Effect::Submit) && !is_late {
                let submitted = step.effect == Effect::Submit;
                let polled = matches!(step.state, State::Submitted { polls, .. } if polls > 0)
                    || matches!(step.state, State::Ready { .. });
                self.ledger
                    .advance(task, &step.state, submitted, polled, self.clock.now())
                    .await?;
                recorded = step.state.clone();
                if let Effect::Poll(_) = step.effect {
                    crash_point!("w03-id-recorded");
                }
            }
            tokio::select! {
                () = self.clock.sleep_until(step.wake_at) => {}
                () = self.stop.cancelled() => return Err(Error::Stopped),
            }
            let event = match &step.effect {
                Effect::Decode => return Ok(step.state),
                Effect::GiveUp(why) => {
                    if *why == GaveUp::DeadlinePassed {
                        message =
                            format!("the export did not finish within {} s", deadline.as_secs());
                    }
                    return Err(Error::GaveUp {
                        state: Box::new(step.state),
                        why: *why,
                        kind: failure,
                        message,
                    });
                }
                effect => match self
                    .perform(task, effect, &step.state, first_poll, &mut message)
                    .await?
                {
                    Ok(event) => event,
                    Err(error) => {
                        message = error.to_string();
                        failure = Some(kind_of(&error));
                        failed_event(effect, kind_of(&error))
                    }
                },
            };
            step = machine.step(step.state, event, self.clock.now())?;
        }
    }

    /// Performs one effect; the inner error is the call's.
    async fn perform(
        &self,
        task: &TaskRow,
        effect: &Effect,
        state: &State,
        first_poll: Duration,
        message: &mut String,
    ) -> Result<Result<Event, client::Error>, Error> {
        match effect {
            Effect::Submit => {
                crash_point!("w01-submit-recorded");
                let submitted = self.client.submit(&task.spec.request).await;
                crash_point!("w02-submit-sent");
                Ok(submitted.map(Event::Submitted))
            }
            Effect::Poll(export_id) => {
                let status = match self.client.poll(export_id).await {
                    Ok(status) => status,
                    Err(error) => return Ok(Err(error)),
                };
                crash_point!("w04-polled");
                if let State::Submitted {
                    polls: 0,
                    relinked: false,
                    ..
                } = state
                {
                    let was_done = matches!(status, ExportStatus::Done { .. });
                    self.pace
                        .observed(task.spec.dataset(), first_poll, was_done);
                }
                Ok(Ok(match status {
                    ExportStatus::Processing => Event::StillProcessing,
                    ExportStatus::Unknown(status) => {
                        tracing::warn!(task.key = %task.spec.key, export.id = %export_id, status, "unknown export status, taken as still processing");
                        Event::StillProcessing
                    }
                    ExportStatus::Failed { message: reason } => {
                        *message = if reason.is_empty() {
                            "Feishu reports that the export failed, without a reason".to_owned()
                        } else {
                            format!("Feishu reports that the export failed: {reason}")
                        };
                        Event::ExportFailed
                    }
                    ExportStatus::Done { file_token } => {
                        Event::FileReady(FileToken(file_token.expose_secret().to_owned()))
                    }
                }))
            }
            Effect::Download(file_token) => {
                crash_point!("w05-ready");
                let temporary = self.spool.temp_file();
                match self
                    .client
                    .download(
                        &file_token.0.clone().into(),
                        temporary.path(),
                        self.max_workbook_bytes,
                    )
                    .await
                {
                    Ok(download) => {
                        self.spool.adopt(temporary, &download.sha256)?;
                        crash_point!("w06-original-kept");
                        Ok(Ok(Event::Downloaded {
                            sha256: download.sha256,
                            size_bytes: download.size_bytes,
                        }))
                    }
                    Err(error) => Ok(Err(error)),
                }
            }
            Effect::Decode | Effect::GiveUp(_) => unreachable!("the loop ends on these"),
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
                why: GaveUp::CallFailed,
                kind: Some(kind_of(&error)),
                message: error.to_string(),
            })?;
        let now: Timestamp = self.clock.now();
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

/// The gateway saw no token although every call carries one: something on the way takes it out, and waiting does not help.
const NO_TOKEN: Option<i64> = Some(99991661);

/// What a failed call asks for. A token that is refused though it was renewed a moment ago passes (seen in the wild); the secret is not wrong.
fn kind_of(error: &client::Error) -> ErrorKind {
    if error.is_stale_token() && error.code() != NO_TOKEN {
        ErrorKind::Retry
    } else {
        error.kind()
    }
}

/// What a failed call means to the export's life.
fn failed_event(effect: &Effect, kind: ErrorKind) -> Event {
    match (effect, kind) {
        (Effect::Poll(_) | Effect::Download(_), ErrorKind::Gone) => Event::Gone,
        (Effect::Download(_), ErrorKind::BadRequest | ErrorKind::Other) => Event::BadDownload,
        _ => Event::CallFailed,
    }
}
