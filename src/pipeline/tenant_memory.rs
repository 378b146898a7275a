//! What is kept of a tenant between runs, beside its tasks: its rooms, how long exports take, and
//! the calls of the last minute.

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::Tenant;
use crate::cause::Failure;
use crate::client::limit::LimiterSnapshot;
use crate::client::{self, Client};
use crate::datasets::RoomOfLevel;
use crate::fetch;
use crate::fetch::pace::Pace;
use crate::ledger::{self, Ledger};

/// Asks Feishu for the tenant's rooms, with the fetch of their dataset, and keeps the list in the
/// ledger, where `plan` finds it.
///
/// # Errors
/// When the ledger refuses; the inner error is Feishu's.
pub async fn list_rooms(tenant: &Tenant) -> Result<std::result::Result<Vec<RoomOfLevel>, Failure>> {
    let rooms = match fetch::rooms::list(&tenant.fetcher.client).await {
        Ok(rooms) => rooms,
        Err(error) => return Ok(Err(failure_of(&error))),
    };
    let now = tenant.clock.now();
    tenant.ledger.set_rooms(&tenant.name, &rooms, now).await?;
    Ok(Ok(rooms))
}

/// What the last call to Feishu failed with, if it failed in a way that may pass.
#[must_use]
pub fn last_call_failure(tenant: &Tenant) -> Option<Failure> {
    let error = tenant.fetcher.client.last_retryable_error();
    error.as_ref().map(failure_of)
}

fn failure_of(error: &client::Error) -> Failure {
    Failure::new(error.kind(), error.to_string())
}

/// The calls of the last minute, as the ledger has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RememberedCalls {
    /// A run is under way, or was killed.
    Unknown,
    /// The last run ended and left them.
    Known(LimiterSnapshot),
}

/// Keeps what the next run should know: how long exports take, and the calls of the last minute.
///
/// # Errors
/// When the ledger refuses.
pub async fn remember_pace_and_calls(tenant: &Tenant) -> Result<()> {
    let (ledger, fetcher) = (&tenant.ledger, &tenant.fetcher);
    let pace = fetcher.pace.learned();
    ledger
        .set_meta_value(&pace_name(&tenant.name), &pace)
        .await?;
    let calls = RememberedCalls::Known(fetcher.client.limits().snapshot());
    ledger
        .set_meta_value(&calls_name(&tenant.name), &calls)
        .await?;
    Ok(())
}

/// Takes up how long exports took. What cannot be read is ignored: that costs only a few polls.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn restore_pace(ledger: &Ledger, tenant: &str, pace: &Pace) -> Result<()> {
    match ledger.meta_value(&pace_name(tenant)).await {
        Ok(Some(learned)) => pace.restore(learned),
        Ok(None) | Err(ledger::Error::Corrupt { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Takes up the calls of the last minute, and says whether they had to be guessed. Where the last
/// run left no record of them, because it was killed, everything is assumed to have been spent at
/// its last sign of life: a limit that is met a minute late is better than one that is broken.
///
/// # Errors
/// When the ledger refuses.
pub async fn restore_calls(
    ledger: &Ledger,
    tenant: &str,
    client: &Client,
    now: Timestamp,
) -> Result<bool> {
    let name = calls_name(tenant);
    let remembered = match ledger.meta_value(&name).await {
        // What cannot be read may have been any calls.
        Err(ledger::Error::Corrupt { .. }) => Some(RememberedCalls::Unknown),
        remembered => remembered?,
    };
    let mut is_guess = false;
    match remembered {
        Some(RememberedCalls::Unknown) => {
            let at = ledger.last_active().await?.unwrap_or(now).min(now);
            is_guess = at.checked_add(SignedDuration::from_mins(1))? > now;
            client.limits().assume_full(at);
        }
        Some(RememberedCalls::Known(calls)) => client.limits().restore(&calls),
        None => {}
    }
    ledger
        .set_meta_value(&name, &RememberedCalls::Unknown)
        .await?;
    Ok(is_guess)
}

fn pace_name(tenant: &str) -> String {
    format!("pace:{tenant}")
}

fn calls_name(tenant: &str) -> String {
    format!("calls:{tenant}")
}
