//! What is kept of a tenant between runs, beside its tasks: its rooms, how long exports take, and
//! the calls of the last minute.

use anyhow::Result;

use super::Tenant;
use crate::cause::Failure;
use crate::client;
use crate::datasets::RoomOfLevel;
use crate::fetch;

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

/// Keeps what the next run should know: how long exports take, and the calls of the last minute.
///
/// # Errors
/// When the ledger refuses.
pub async fn remember_pace_and_calls(tenant: &Tenant) -> Result<()> {
    let (ledger, fetcher) = (&tenant.ledger, &tenant.fetcher);
    let pace = fetcher.pace.to_json();
    ledger.set_meta(&pace_name(&tenant.name), &pace).await?;
    let calls = serde_json::to_string(&fetcher.client.limits().snapshot())?;
    ledger.set_meta(&calls_name(&tenant.name), &calls).await?;
    Ok(())
}

/// Name under which the ledger keeps a tenant's learned waiting times.
#[must_use]
pub fn pace_name(tenant: &str) -> String {
    format!("pace:{tenant}")
}

/// Name under which the ledger keeps a tenant's calls of the last minute.
#[must_use]
pub fn calls_name(tenant: &str) -> String {
    format!("calls:{tenant}")
}
