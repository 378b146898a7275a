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
    let find = |name: &&str| TextColumn::of(batch, name);
    let all = |names: &[&str]| -> Vec<Option<TextColumn<'_>>> { names.iter().map(find).collect() };
    let (identity, otherwise) = (all(compared.identity), all(compared.otherwise));
    let (user_id, columns) = (
        compared.user_id.and_then(|name| find(&name)),
        all(compared.columns),
    );
    let alone = compared.may_be_alone.iter();
    let alone: Vec<_> = alone.map(|(name, value)| (find(name), *value)).collect();
    let text = |column: &Option<TextColumn<'_>>, row: usize| column.as_ref()?.told(row);
    let joined = |columns: &[Option<TextColumn<'_>>], row: usize| {
        let texts = columns.iter().map(|column| text(column, row));
        let texts: Vec<String> = texts.map(Option::unwrap_or_default).collect();
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

/// A column whose values are read as text, whatever their type.
struct TextColumn<'b> {
    values: &'b ArrayRef,
    texts: ArrayFormatter<'b>,
}

impl<'b> TextColumn<'b> {
    fn of(batch: &'b RecordBatch, name: &str) -> Option<Self> {
        let values = batch.column_by_name(name)?;
        let texts = ArrayFormatter::try_new(values.as_ref(), &FORMAT).ok()?;
        Some(Self { values, texts })
    }

    /// The value of a row; `None` if it has none.
    fn told(&self, row: usize) -> Option<String> {
        let text = || self.texts.value(row).to_string();
        let told = (!self.values.is_null(row)).then(text);
        told.filter(|text| !text.is_empty())
    }
}

static FORMAT: FormatOptions<'static> = FormatOptions::new();

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
