//! The rows of one original on their way from normalize to the spool: completed, counted, passed by
//! the policy and cut by date.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::{AsArray as _, RecordBatch, StringArray};
use arrow::datatypes::Int32Type;
use jiff::Timestamp;
use jiff::civil::Date;

use super::reading::{ReadFailure, Reading, Unread};
use super::stranger::Strangers;
use super::{compared, parents};
use crate::contract::Contract;
use crate::datasets::Dataset;
use crate::findings::{ComparedRow, Findings};
use crate::normalize::{ConstantColumns, NormalizerOutput};
use crate::plan::resolve::NEARBY_S;
use crate::publish;
use crate::record::{FINAL_AFTER, ParentRows, ReportedDay};
use crate::spool::SpoolingRows;
use crate::task::disposition::Blame;
use crate::window::date_of;

/// What reading an original gave, beside its rows.
pub(crate) struct OriginalFacts {
    /// The partitions its rows fall into.
    pub(crate) dts: BTreeSet<Date>,
    /// What normalizing found.
    pub(crate) findings: Findings,
    /// What children need of its rows.
    pub(crate) parents: ParentRows,
    /// What it says of single days, if it is a daily report.
    pub(crate) reported: Vec<ReportedDay>,
    /// What of its rows is compared with the other source; nothing if that was not to be asked.
    pub(crate) compared: Vec<ComparedRow>,
}

/// Takes the batches of one original.
pub(super) struct RowKeeper<'r> {
    reading: &'r Reading,
    /// `None` if the rows themselves are not wanted.
    rows: Option<SpoolingRows>,
    /// For batches of so many rows at most.
    constants: Option<(usize, ConstantColumns)>,
    facts: RowFacts,
    /// What stopped it. Everything after that is ignored.
    failure: Option<ReadFailure>,
}

/// What is kept beside the rows.
#[derive(Default)]
struct RowFacts {
    rows: usize,
    dts: BTreeSet<Date>,
    parents: ParentRows,
    reported: Vec<ReportedDay>,
    compared: Vec<ComparedRow>,
    strangers: Strangers,
    unfinished: u64,
    /// When meetings begin that were looked for, Unix seconds.
    starts: Vec<i64>,
}

impl<'r> RowKeeper<'r> {
    pub(super) fn new(reading: &'r Reading, rows: Option<SpoolingRows>) -> Self {
        Self {
            reading,
            rows,
            constants: None,
            facts: RowFacts::default(),
            failure: None,
        }
    }

    /// Takes what the normalizer emits. A panic is kept, because it is no fault of the reader.
    pub(super) fn take(&mut self, output: NormalizerOutput) {
        if self.failure.is_none() {
            let taken = catch_unwind(AssertUnwindSafe(|| self.try_take(output)));
            self.failure = taken.unwrap_or_else(|panic| Err(panic.into())).err();
        }
    }

    fn try_take(&mut self, output: NormalizerOutput) -> Result<(), ReadFailure> {
        let batch = match output {
            NormalizerOutput::Restart => {
                self.facts = RowFacts::default();
                self.constants = None;
                let restarted = self.rows.as_mut().map_or(Ok(()), SpoolingRows::restart);
                return restarted.map_err(ReadFailure::NotKept);
            }
            NormalizerOutput::Rows(batch) => batch,
        };
        let batch = self.constants(batch.num_rows()).complete(&batch);
        let (spec, context) = (&self.reading.spec, &self.reading.context);
        let (dataset, zone) = (spec.dataset(), &context.tenant_zone);
        if let Some(parents) = parents::of_batch(dataset, &batch, self.facts.rows) {
            self.facts.parents.push(parents);
        }
        let reported = parents::reported_days(zone, &batch);
        self.facts.reported.extend(reported);
        if let Some(compared) = self.reading.compared {
            self.facts
                .compared
                .extend(compared::of_batch(compared, &batch));
        }
        self.facts.strangers.count(spec, &batch);
        if !spec.request.meetings.is_empty() {
            self.facts.starts.extend(parents::starts(dataset, &batch));
        }
        self.facts.unfinished += unfinished_rows(dataset, &batch);
        self.facts.rows += batch.num_rows();
        let passed = self.reading.policy.apply(batch);
        let home = date_of(zone, spec.window.start());
        let contract = Contract::of(dataset);
        let by_date = passed.cut(|rows| publish::split_by_dt(rows, contract, zone, home));
        let by_date = by_date.map_err(|error| ReadFailure::Mistake(error.into()))?;
        for (dt, rows) in &by_date {
            self.facts.dts.insert(*dt);
            if let Some(spooling) = &mut self.rows {
                spooling.add(*dt, rows).map_err(ReadFailure::NotKept)?;
            }
        }
        Ok(())
    }

    /// The constant columns for a batch of so many rows. A small export needs short ones.
    fn constants(&mut self, rows: usize) -> &ConstantColumns {
        let context = &self.reading.context;
        if self.constants.as_ref().is_none_or(|(most, _)| *most < rows) {
            self.constants = None;
        }
        let new = || (rows, ConstantColumns::new(context, &context.stamp, rows));
        &self.constants.get_or_insert_with(new).1
    }

    /// Keeps the rows of an original that was accepted.
    pub(super) fn finish(
        self,
        findings: Findings,
        refuses_strangers: bool,
    ) -> Result<OriginalFacts, ReadFailure> {
        let kept = AssertUnwindSafe(|| self.keep(findings, refuses_strangers));
        catch_unwind(kept).unwrap_or_else(|panic| Err(panic.into()))
    }

    fn keep(
        self,
        mut findings: Findings,
        refuses_strangers: bool,
    ) -> Result<OriginalFacts, ReadFailure> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let is_export = self.reading.spec.request.source().is_export();
        let why = self.facts.strangers.why_not_of_task(is_export);
        if let Some(reason) = why.filter(|_| refuses_strangers) {
            // What belongs to another request is as good as damaged: the next attempt fetches the
            // file once more.
            return Err(ReadFailure::Unread(Box::new(Unread {
                reason,
                findings,
                blame: Blame::Bytes,
            })));
        }
        let not_found = self.reading.not_found(&self.facts.starts);
        findings.rows_unfinished = self.facts.unfinished;
        let provisional = match self.reading.is_final() {
            true => 0,
            false => self.facts.unfinished,
        };
        findings.rows_provisional = provisional + not_found;
        if let Some(rows) = self.rows {
            rows.keep().map_err(ReadFailure::NotKept)?;
        }
        Ok(OriginalFacts {
            dts: self.facts.dts,
            findings,
            parents: self.facts.parents,
            reported: self.facts.reported,
            compared: self.facts.compared,
        })
    }
}

impl Reading {
    /// How many of the meetings that were looked for are not among those that begin then, and may
    /// still be found later.
    fn not_found(&self, starts: &[i64]) -> u64 {
        let asked_at = self.context.stamp.extracted_at;
        let is_late = |end: i64| {
            let end = Timestamp::from_second(end).ok();
            let since = asked_at.zip(end);
            since.is_some_and(|(asked_at, end)| asked_at.duration_since(end) >= FINAL_AFTER)
        };
        let is_found = |start: i64| starts.iter().any(|found| found.abs_diff(start) <= NEARBY_S);
        let missing = self.spec.request.meetings.iter();
        let missing = missing.filter(|(start, end)| !is_found(*start) && !is_late(*end));
        missing.count() as u64
    }

    /// Whether what was said stays: it was asked for a day after the meeting's end.
    fn is_final(&self) -> bool {
        let asked_at = self.context.stamp.extracted_at;
        let end = self.spec.lineage.meeting_end_time;
        let end = end.or_else(|| Timestamp::from_second(self.spec.request.end?).ok());
        let times = asked_at.zip(end);
        times.is_some_and(|(asked_at, end)| asked_at.duration_since(end) >= FINAL_AFTER)
    }
}

/// How many rows tell of something unfinished.
fn unfinished_rows(dataset: Dataset, batch: &RecordBatch) -> u64 {
    let Some((column, values)) = dataset.definition().provisional else {
        return 0;
    };
    let Some(column) = batch.column_by_name(column) else {
        return 0;
    };
    let Some(states) = column.as_dictionary_opt::<Int32Type>() else {
        return 0;
    };
    let Some(states) = states.downcast_dict::<StringArray>() else {
        return 0;
    };
    let states = states.into_iter().flatten();
    states.filter(|state| values.contains(state)).count() as u64
}
