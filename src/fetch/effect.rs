//! Performs one effect of an export task: a submit, a poll or a download.

use std::time::Duration;

use secrecy::ExposeSecret as _;

use crate::cause::Cause;
use crate::client::{self, ExportStatus};
use crate::events::{EventKind, Subject};
use crate::record::TaskRow;
use crate::task::ExportId;
use crate::task::machine::{Effect, ExportEvent, FileToken, State};

use super::{Error, Fetcher, cause_of};

/// What came of an effect, and what is known of failures so far.
#[derive(Debug, Default)]
pub(super) struct Performed {
    event: Option<ExportEvent>,
    /// What went wrong, for people; empty if nothing did.
    pub(super) message: String,
    /// Why a call failed, if one did.
    pub(super) call: Option<Cause>,
    /// Feishu's id of that call.
    pub(super) log_id: Option<String>,
}

impl Performed {
    fn done(event: ExportEvent) -> Self {
        Self {
            event: Some(event),
            ..Self::default()
        }
    }

    fn failed(effect: &Effect, error: &client::Error) -> Self {
        let cause = cause_of(error);
        Self {
            event: Some(failed_event(effect, cause)),
            message: error.to_string(),
            call: Some(cause),
            log_id: error.log_id().map(str::to_owned),
        }
    }

    /// Takes over what the next effect brought. What went wrong before stays known until something
    /// else does.
    pub(super) fn remember(&mut self, next: Self) -> ExportEvent {
        if !next.message.is_empty() {
            self.message = next.message;
        }
        if next.call.is_some() {
            (self.call, self.log_id) = (next.call, next.log_id);
        }
        next.event.unwrap_or(ExportEvent::CallFailed)
    }
}

/// What a failed call means for the export task.
fn failed_event(effect: &Effect, cause: Cause) -> ExportEvent {
    match (effect, cause) {
        (Effect::Poll(_) | Effect::Download(_), Cause::Gone) => ExportEvent::Gone,
        (Effect::Download(_), Cause::BadRequest | Cause::Other) => ExportEvent::BadDownload,
        _ => ExportEvent::CallFailed,
    }
}

impl Fetcher {
    /// Performs one effect that leads to an event. A call that fails is an event too.
    pub(super) async fn perform(
        &self,
        task: &TaskRow,
        effect: &Effect,
        state: &State,
        first_poll: Duration,
    ) -> Result<Performed, Error> {
        let performed = match effect {
            Effect::Submit => self.submit(task).await,
            Effect::Poll(export_id) => self.poll(task, export_id, state, first_poll).await,
            Effect::Download(file_token) => self.download(file_token).await?,
            Effect::Decode | Effect::GiveUp(_) => unreachable!("the loop ends on these"),
        };
        Ok(performed.unwrap_or_else(|error| Performed::failed(effect, &error)))
    }

    async fn submit(&self, task: &TaskRow) -> Result<Performed, client::Error> {
        crash_point!("w01-submit-recorded");
        let submitted = self.client.submit(&task.spec.request).await;
        crash_point!("w02-submit-sent");
        Ok(Performed::done(ExportEvent::Submitted(submitted?)))
    }

    async fn poll(
        &self,
        task: &TaskRow,
        export_id: &ExportId,
        state: &State,
        first_poll: Duration,
    ) -> Result<Performed, client::Error> {
        let status = self.client.poll(export_id).await?;
        crash_point!("w04-polled");
        if let State::Submitted {
            polls: 0,
            relinked: false,
            ..
        } = state
        {
            let was_done = matches!(status, ExportStatus::Done { .. });
            self.pace
                .record_first_poll(task.spec.dataset(), first_poll, was_done);
        }
        Ok(match status {
            ExportStatus::Processing => Performed::done(ExportEvent::StillProcessing),
            ExportStatus::Unknown(status) => {
                let subject = Subject {
                    export_id: Some(export_id.clone()),
                    ..task.into()
                };
                self.events
                    .emit(subject, EventKind::UnknownExportStatus { status });
                Performed::done(ExportEvent::StillProcessing)
            }
            ExportStatus::Failed { message: reason } => {
                let mut message = "Feishu reports that the export failed".to_owned();
                match reason.as_str() {
                    "" => message.push_str(", without a reason"),
                    reason => message = format!("{message}: {reason}"),
                }
                Performed {
                    message,
                    ..Performed::done(ExportEvent::ExportFailed)
                }
            }
            ExportStatus::Done { file_token } => {
                let file_token = FileToken(file_token.expose_secret().to_owned());
                Performed::done(ExportEvent::FileReady(file_token))
            }
        })
    }

    /// The outer error is the spool's, the inner one that of the call.
    async fn download(
        &self,
        file_token: &FileToken,
    ) -> Result<Result<Performed, client::Error>, Error> {
        crash_point!("w05-ready");
        let temporary = self.spool.temp_file();
        let token = file_token.0.clone().into();
        let (path, most) = (temporary.path(), self.max_workbook_bytes);
        let download = match self.client.download(&token, path, most).await {
            Ok(download) => download,
            Err(error) => return Ok(Err(error)),
        };
        self.spool.adopt(temporary, &download.sha256)?;
        crash_point!("w06-original-kept");
        Ok(Ok(Performed::done(ExportEvent::Downloaded {
            sha256: download.sha256,
            size_bytes: download.size_bytes,
        })))
    }
}
