//! What an export's rows are compared with: the other source's answer to the same request, read as
//! if it were the task's. It changes no row, and whatever is wrong with it costs the comparison
//! alone.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::Result;
use arrow::array::{Array as _, ArrayRef, RecordBatch};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::Tenant;
use super::reading::Reading;
use super::rows::OriginalFacts;
use crate::datasets::{ComparedColumns, Dataset, SourceMode, UserIdType};
use crate::findings::{ComparedRow, Comparison};
use crate::plan;
use crate::record::{Coverage, WindowRow};
use crate::spool::SpooledOriginal;
use crate::window::Window;

/// What is compared of the rows of a batch.
pub(super) fn of_batch(compared: &ComparedColumns, batch: &RecordBatch) -> Vec<ComparedRow> {
    let find = |name: &&str| batch.column_by_name(name).cloned();
    let all =
        |names: &[&'static str]| -> Vec<Option<ArrayRef>> { names.iter().map(find).collect() };
    let (identity, otherwise) = (all(compared.identity), all(compared.otherwise));
    let (user_id, columns) = (
        compared.user_id.and_then(|id| find(&id)),
        all(compared.columns),
    );
    let alone = compared.may_be_alone.iter();
    let alone: Vec<_> = alone.map(|(name, value)| (find(name), *value)).collect();
    let text = |column: &Option<ArrayRef>, row: usize| told(column.as_ref()?, row);
    let joined = |columns: &[Option<ArrayRef>], row: usize| {
        let texts: Vec<String> = columns
            .iter()
            .map(|column| text(column, row).unwrap_or_default())
            .collect();
        texts.join("\u{1f}")
    };
    (0..batch.num_rows())
        .map(|row| ComparedRow {
            identity: joined(&identity, row),
            user_id: text(&user_id, row),
            otherwise: joined(&otherwise, row),
            values: columns
                .iter()
                .map(|column| text(column, row).map(hashed))
                .collect(),
            may_be_alone: alone
                .iter()
                .any(|(column, value)| text(column, row).as_deref() == Some(*value)),
        })
        .collect()
}

/// The value of a row as text; `None` if it has none.
fn told(column: &ArrayRef, row: usize) -> Option<String> {
    if column.is_null(row) {
        return None;
    }
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(column.as_ref(), &options).ok()?;
    Some(formatter.value(row).to_string()).filter(|text| !text.is_empty())
}

/// Whether two values are the same is all that is asked of it, in one process.
fn hashed(text: String) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

impl Reading {
    /// Compares what reading the task's original gave with the other source's answer, which has
    /// this hash; without one, says that there was none.
    pub(super) fn compare(
        &self,
        witness: Option<(String, SpooledOriginal)>,
        facts: &mut OriginalFacts,
    ) {
        let export = std::mem::take(&mut facts.compared);
        let answer = witness.and_then(|(sha256, original)| {
            let read = || self.of_witness().read(&original, None, false);
            let read = catch_unwind(AssertUnwindSafe(read)).ok()?;
            Some((sha256, read.ok()?.compared))
        });
        let findings = &mut facts.findings;
        let request = &self.spec.request;
        let (Some(compared), Some((sha256, query))) = (request.dataset.compared(), answer) else {
            (findings.compared, findings.witness) = (Some(Comparison::missing()), None);
            return;
        };
        // A sheet shows employee ids, whatever was asked for.
        let ids_are_alike = request.user_id_type == Some(UserIdType::UserId);
        let found = Comparison::of(compared.columns, &export, &query, ids_are_alike);
        (findings.compared, findings.witness) = (Some(found), Some(sha256));
    }

    /// The same for the other source's answer.
    fn of_witness(&self) -> Self {
        let mut other = self.clone();
        other.spec.request.mode = SourceMode::Query;
        other
    }
}

/// Records with the windows how their rows compare, once their days tell it.
pub(super) async fn record(tenant: &Tenant, dataset: Dataset, windows: &[Window]) -> Result<()> {
    if dataset.compared().is_none() {
        return Ok(());
    }
    let (ledger, name) = (&tenant.ledger, &tenant.name);
    for window in windows {
        let rows = ledger.windows(name, dataset, Some(*window)).await?;
        let is_it = |row: &WindowRow| row.window == *window;
        let Some(row) = rows.into_iter().find(is_it) else {
            continue;
        };
        let tasks = ledger.tasks_of(name, dataset, *window).await?;
        let compared = plan::partition::compared(&tasks);
        let after = Coverage::compared(row.coverage.as_ref(), compared);
        if let Some(after) = after.filter(|after| row.coverage.as_ref() != Some(after)) {
            ledger.set_coverage(&row, &after).await?;
        }
    }
    Ok(())
}
