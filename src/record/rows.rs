//! Rows that a policy has passed.

use arrow::array::RecordBatch;

/// Rows that a policy has passed: the only ones that may be spooled and published.
#[derive(Clone, Debug, PartialEq)]
pub struct PassedRows(RecordBatch);

impl PassedRows {
    /// Only `policy` and tests call this; a test of the layers holds everybody else to it.
    #[must_use]
    pub fn passed_by_policy(batch: RecordBatch) -> Self {
        Self(batch)
    }

    /// The rows.
    #[must_use]
    pub const fn batch(&self) -> &RecordBatch {
        &self.0
    }

    /// The same rows in other batches, such as one a day.
    ///
    /// # Errors
    /// What `cut` says.
    pub fn cut<K: Ord, E>(
        &self,
        cut: impl FnOnce(&RecordBatch) -> Result<std::collections::BTreeMap<K, RecordBatch>, E>,
    ) -> Result<std::collections::BTreeMap<K, Self>, E> {
        let parts = cut(&self.0)?;
        Ok(parts
            .into_iter()
            .map(|(key, part)| (key, Self(part)))
            .collect())
    }
}
