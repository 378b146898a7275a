//! How many rows of a meeting list got their unique id, beside what the fan-out left out.

use anyhow::Result;

use super::Tenant;
use crate::datasets::Dataset;
use crate::plan::resolve::resolve;
use crate::record::WindowRow;
use crate::window::Window;

/// Counts it for windows of a dataset that resolves the rows of its parent, and records it with
/// their coverage. Any other dataset has nothing to count.
pub(super) async fn count(tenant: &Tenant, dataset: Dataset, windows: &[Window]) -> Result<()> {
    let Some(parent) = dataset.resolves() else {
        return Ok(());
    };
    let (ledger, name) = (&tenant.ledger, &tenant.name);
    for window in windows {
        let rows = ledger.windows(name, dataset, Some(*window)).await?;
        let is_planned = |row: &WindowRow| row.window == *window && row.coverage.is_some();
        let Some(row) = rows.into_iter().find(is_planned) else {
            continue;
        };
        let listed = ledger.parents(name, parent, *window).await?;
        let found = ledger.parents(name, dataset, *window).await?;
        let before = row.coverage.clone().unwrap_or_default();
        let after = before.clone().with(resolve(&listed, &found));
        if before != after {
            ledger.set_coverage(&row, &after).await?;
        }
    }
    Ok(())
}
