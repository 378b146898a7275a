//! What the answers of a window leave open, beside what the fan-out left out: rows of a meeting
//! list without a unique id, and rows that tell of something unfinished.

use anyhow::Result;

use super::Tenant;
use crate::datasets::Dataset;
use crate::plan::children::{hidden_items, unfinished_rows};
use crate::plan::resolve::resolve;
use crate::record::WindowRow;
use crate::window::Window;

/// Counts it for windows of a dataset, and records it with their coverage. Most datasets have
/// nothing to count.
pub(super) async fn count(tenant: &Tenant, dataset: Dataset, windows: &[Window]) -> Result<()> {
    let has_states = dataset.definition().provisional.is_some();
    if dataset.resolves().is_none() && !has_states {
        return Ok(());
    }
    let (ledger, name) = (&tenant.ledger, &tenant.name);
    for window in windows {
        let rows = ledger.windows(name, dataset, Some(*window)).await?;
        let is_planned = |row: &WindowRow| row.window == *window && row.coverage.is_some();
        let Some(row) = rows.into_iter().find(is_planned) else {
            continue;
        };
        let before = row.coverage.clone().unwrap_or_default();
        let mut after = before.clone();
        let tasks = ledger.tasks_of(name, dataset, *window).await?;
        if let Some(parent) = dataset.resolves() {
            let listed = ledger.parents(name, parent, *window).await?;
            let found = ledger.parents(name, dataset, *window).await?;
            after = after.with(resolve(&listed, &found, hidden_items(&tasks)));
        }
        if has_states {
            after.unfinished = unfinished_rows(&tasks);
        }
        if before != after {
            ledger.set_coverage(&row, &after).await?;
        }
    }
    Ok(())
}
