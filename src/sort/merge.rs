//! Merges sorted runs.

use std::cmp::Ordering;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;

use super::order::{KeyedBatch, RowAddress, RowOrder, gather};
use super::{BATCH_ROWS, SortedRun};

/// One run and its current row.
struct RunCursor<E> {
    run: SortedRun<E>,
    keyed: KeyedBatch,
    /// Index of the current batch in [`RunMerge::batches`].
    slot: usize,
    row: usize,
    /// Of the current row's key.
    prefix: u128,
}

pub(super) struct RunMerge<'o, E> {
    order: &'o RowOrder,
    /// In the order the runs came.
    cursors: Vec<RunCursor<E>>,
    batches: Vec<RecordBatch>,
    addresses: Vec<RowAddress>,
}

impl<'o, E: From<ArrowError>> RunMerge<'o, E> {
    pub(super) fn new(order: &'o RowOrder, runs: Vec<SortedRun<E>>) -> Result<Self, E> {
        let mut merge = Self {
            order,
            cursors: Vec::with_capacity(runs.len()),
            batches: Vec::new(),
            addresses: Vec::with_capacity(BATCH_ROWS),
        };
        for run in runs {
            let cursor = merge.open(run)?;
            merge.cursors.extend(cursor);
        }
        Ok(merge)
    }

    /// A cursor on the first row of the run's next batch; `None` at the run's end.
    fn open(&mut self, mut run: SortedRun<E>) -> Result<Option<RunCursor<E>>, E> {
        for batch in run.batches.by_ref() {
            let batch = batch?;
            if batch.num_rows() == 0 {
                continue;
            }
            self.batches.push(batch.clone());
            let keyed = self.order.keyed(batch)?;
            return Ok(Some(RunCursor {
                run,
                slot: self.batches.len() - 1,
                prefix: keyed.prefix(0),
                keyed,
                row: 0,
            }));
        }
        Ok(None)
    }

    pub(super) fn run(
        mut self,
        mut emit: impl FnMut(RecordBatch) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(index) = self.smallest() {
            let cursor = &self.cursors[index];
            self.addresses.push((cursor.slot, cursor.row));
            self.advance(index)?;
            if self.addresses.len() == BATCH_ROWS {
                emit(self.flush()?)?;
            }
        }
        if !self.addresses.is_empty() {
            emit(self.flush()?)?;
        }
        Ok(())
    }

    /// The cursor with the smallest row. Runs are few, so looking at all is enough. Of equal rows
    /// that of the first run goes first, because `min_by` takes the first of equals.
    fn smallest(&self) -> Option<usize> {
        (0..self.cursors.len()).min_by(|&a, &b| self.compare(&self.cursors[a], &self.cursors[b]))
    }

    fn compare(&self, a: &RunCursor<E>, b: &RunCursor<E>) -> Ordering {
        let by_prefix = a.prefix.cmp(&b.prefix);
        by_prefix.then_with(|| self.order.compare((&a.keyed, a.row), (&b.keyed, b.row)))
    }

    fn advance(&mut self, index: usize) -> Result<(), E> {
        let cursor = &mut self.cursors[index];
        if cursor.row + 1 < cursor.keyed.num_rows() {
            let (last, next) = (cursor.row, cursor.row + 1);
            if let Some(not_in_order) = cursor.run.not_in_order
                && self
                    .order
                    .compare((&cursor.keyed, last), (&cursor.keyed, next))
                    .is_gt()
            {
                return Err(not_in_order());
            }
            cursor.row = next;
            cursor.prefix = cursor.keyed.prefix(next);
            return Ok(());
        }
        let RunCursor {
            run, keyed, row, ..
        } = self.cursors.remove(index);
        let not_in_order = run.not_in_order;
        let Some(next) = self.open(run)? else {
            return Ok(());
        };
        if let Some(not_in_order) = not_in_order
            && self.order.compare((&keyed, row), (&next.keyed, 0)).is_gt()
        {
            return Err(not_in_order());
        }
        self.cursors.insert(index, next);
        Ok(())
    }

    /// The rows taken so far. Batches that no cursor is in are dropped.
    fn flush(&mut self) -> Result<RecordBatch, ArrowError> {
        let batch = gather(&self.order.schema(), &self.batches, &self.addresses)?;
        self.addresses.clear();
        let kept = self.cursors.iter();
        self.batches = kept.map(|cursor| cursor.keyed.batch.clone()).collect();
        for (slot, cursor) in self.cursors.iter_mut().enumerate() {
            cursor.slot = slot;
        }
        Ok(batch)
    }
}
