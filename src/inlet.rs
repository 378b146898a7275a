//! Where events come in: each is kept in the ledger before it is acknowledged, and nothing else
//! happens before that.
//!
//! ```text
//! long connection ─┬─► header, secrets blanked ─► ledger ─► acknowledged
//! webhook, verified ┘                                └────► `run` cuts batches, which are tasks
//! ```
//! Only the process that owns the ledger receives. Feishu gives each event to one connection of an
//! app, whichever: a second program with the same app would get a share of them.
//!
//! What is acknowledged is either on disk or counted by name. An event that cannot be read, or that
//! no job takes, is acknowledged too: refused, the same bytes would only come four times more.

mod verification;
mod webhook;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::client::long_connection::LinkNews;
use crate::datasets::{Dataset, event};
use crate::events::{EventKind, Subject};
use crate::ledger::{self, Keeping};
use crate::pipeline::Tenant;
use crate::record::ReceivedEvent;

pub use verification::WebhookSecrets;
#[cfg(feature = "testing")]
pub use verification::{Signature, accept};

/// Wait before a connection is tried again that Feishu refused for good. Whoever mends the cause in
/// Feishu's console should not have to start the server too.
const AGAIN: Duration = Duration::from_secs(300);

/// Takes the events of one tenant.
#[derive(Debug)]
pub struct Inlet {
    tenant: Arc<Tenant>,
    /// Datasets that have a job.
    datasets: Vec<Dataset>,
    /// How often something was left out, by what it was.
    left_out: Mutex<BTreeMap<String, u64>>,
    /// Cancelled when somebody asks to stop, or when the ledger is not ours any more.
    ends: CancellationToken,
    /// Whether it is the latter.
    is_lost: AtomicBool,
}

impl Inlet {
    /// An inlet for events that are rows of `datasets`, until `stop`.
    #[must_use]
    pub fn new(tenant: Arc<Tenant>, datasets: Vec<Dataset>, stop: &CancellationToken) -> Self {
        Self {
            tenant,
            datasets,
            left_out: Mutex::default(),
            ends: stop.child_token(),
            is_lost: AtomicBool::new(false),
        }
    }

    /// Receives over the long connection.
    ///
    /// # Errors
    /// If no connection can be set up on this machine, or if another process has taken over the
    /// ledger.
    pub async fn receive(&self) -> Result<()> {
        let connection = self.tenant.fetcher.client.long_connection();
        let connection = connection.with_context(|| format!("tenant {}", self.tenant.name))?;
        let (keep, tell) = (|body| self.take(body), |news| self.tell(news));
        while let Some(end) = connection.receive(keep, tell, &self.ends).await {
            let told = EventKind::InletStopped {
                problem: end.to_string(),
                again_in_s: AGAIN.as_secs(),
            };
            self.tenant.events.emit(Subject::default(), told);
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                () = self.ends.cancelled() => break,
            }
        }
        self.check_owner().await
    }

    /// Answers calls of the webhook.
    ///
    /// # Errors
    /// If the listener fails, or if another process has taken over the ledger.
    pub async fn answer_calls(self, listener: TcpListener, secrets: WebhookSecrets) -> Result<()> {
        let inlet = Arc::new(self);
        let tenant = &inlet.tenant;
        let address = listener.local_addr()?.to_string();
        let told = EventKind::WebhookListens { address };
        tenant.events.emit(Subject::default(), told);
        let served = webhook::serve(Arc::clone(&inlet), listener, secrets).await;
        served.with_context(|| format!("the webhook of tenant {} failed", tenant.name))?;
        inlet.check_owner().await
    }

    /// The error of whoever was ended because the ledger is another process's.
    async fn check_owner(&self) -> Result<()> {
        match self.is_lost.load(Ordering::Relaxed) {
            true => Ok(self.tenant.ledger.check_owner().await?),
            false => Ok(()),
        }
    }

    /// Keeps an event, and says whether it may be acknowledged.
    async fn take(&self, body: Vec<u8>) -> bool {
        match self.keep(&body).await {
            Ok(()) => true,
            Err(error) => {
                if matches!(error, ledger::Error::Fenced { .. }) {
                    self.is_lost.store(true, Ordering::Relaxed);
                    self.ends.cancel();
                }
                let problem = error.to_string();
                let told = EventKind::EventNotKept { problem };
                self.tenant.events.emit(Subject::default(), told);
                false
            }
        }
    }

    async fn keep(&self, body: &[u8]) -> Result<(), ledger::Error> {
        let (name, ledger) = (&self.tenant.name, &self.tenant.ledger);
        let received_at = self.tenant.clock.now();
        let read = event::header(body).and_then(|header| Ok((header, event::keepable(body)?)));
        let (header, body) = match read {
            Ok(read) => read,
            Err(error) => {
                self.count(&format!("an event could not be read: {error}"));
                return Ok(());
            }
        };
        let dataset = event::dataset_of(&header.event_type);
        let Some(dataset) = dataset.filter(|dataset| self.datasets.contains(dataset)) else {
            self.count(&format!(
                "no job takes events of the type {}",
                header.event_type
            ));
            return ledger
                .leave_event_out(name, &header.event_type, received_at)
                .await;
        };
        let event = ReceivedEvent {
            id: header.id,
            event_type: header.event_type,
            dataset,
            at: event::plausible(header.at, received_at).unwrap_or(received_at),
            received_at,
            body,
        };
        crash_point!("w15-event-received");
        if planted!("planted-event-dropped") {
            return Ok(());
        }
        let kept = ledger.keep_event(name, &event).await?;
        crash_point!("w15-event-kept");
        if kept == Keeping::Repeated {
            tracing::debug!(event.kind = event.event_type, "an event came again");
        }
        Ok(())
    }

    fn tell(&self, news: LinkNews) {
        let kind = match news {
            LinkNews::Connected => EventKind::InletConnected,
            LinkNews::Disconnected { why, again_in } => EventKind::InletDisconnected {
                problem: why,
                again_in_s: again_in.as_secs(),
            },
            LinkNews::Ignored(what) => return self.count(&what.to_string()),
            LinkNews::LateAnswer => {
                return self.count("an event took too long to be kept, and comes again");
            }
        };
        self.tenant.events.emit(Subject::default(), kind);
    }

    /// Counts something that was left out, and tells of it more seldom the more often it happens.
    fn count(&self, what: &str) {
        let mut left_out = self
            .left_out
            .lock()
            .expect("nothing panics while it holds the counts");
        let times = left_out.entry(what.to_owned()).or_insert(0);
        *times += 1;
        if times.is_power_of_two() {
            let told = EventKind::EventLeftOut {
                what: what.to_owned(),
                times: *times,
            };
            self.tenant.events.emit(Subject::default(), told);
        }
    }
}
