//! The heartbeat of `serve`: tokio-cron-scheduler pings, and our planner decides.
//!
//! A ping carries no data. Its channel holds one ping; more are dropped while it waits. What is due
//! is always read from the ledger, so a ping that is lost, doubled or late changes nothing. The
//! crate does no more than that, because its zoned jobs freeze their UTC offset and drop missed
//! ticks (measured on 0.15.1).

use anyhow::{Context as _, Result};
use tokio::sync::mpsc::{self, Receiver};
use tokio_cron_scheduler::{Job, JobScheduler};

/// Every ten seconds, UTC, in the crate's six-field form. A firing is at most that late.
const HEARTBEAT: &str = "*/10 * * * * *";

/// A running heartbeat; it stops when it is dropped.
pub struct Heartbeat {
    scheduler: JobScheduler,
}

impl std::fmt::Debug for Heartbeat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Heartbeat").finish_non_exhaustive()
    }
}

impl Heartbeat {
    /// Starts a heartbeat and gives one receiver of its ticks to each of `listeners`.
    ///
    /// # Errors
    /// When the scheduler does not start.
    pub async fn start(listeners: usize) -> Result<(Self, Vec<Receiver<()>>)> {
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..listeners).map(|_| mpsc::channel(1)).unzip();
        let scheduler = JobScheduler::new()
            .await
            .context("could not start the heartbeat")?;
        let ping = Job::new(HEARTBEAT, move |_, _| {
            for sender in &senders {
                // Full: a tick is already waiting. Closed: nobody listens any more.
                let _ = sender.try_send(());
            }
        })
        .context("could not make the heartbeat")?;
        scheduler
            .add(ping)
            .await
            .context("could not add the heartbeat")?;
        scheduler
            .start()
            .await
            .context("could not start the heartbeat")?;
        Ok((Self { scheduler }, receivers))
    }

    /// Ends the heartbeat; its receivers close.
    pub async fn stop(mut self) {
        if let Err(error) = self.scheduler.shutdown().await {
            tracing::debug!(%error, "the heartbeat did not stop by itself");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn ticks_that_nobody_takes_do_not_pile_up() {
        let (heartbeat, mut receivers) = Heartbeat::start(2).await.expect("started");
        tokio::time::timeout(Duration::from_secs(15), receivers[0].recv())
            .await
            .expect("a tick within its period");
        heartbeat.stop().await;
        assert!(receivers[1].len() <= 1);
    }
}
