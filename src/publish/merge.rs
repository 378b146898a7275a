//! Merges a partition's current rows with newly spooled batches, in the order of the file, in
//! bounded memory.
//!
//! ```text
//! current object, less replaced and withdrawn tasks ─┐
//! spooled batches ─► sorted runs of bounded size ────┼─► k-way merge ─► one task a key ─► batches
//!                    (all but the last on disk) ─────┘
//! ```
//! Rows are ordered by natural key (nulls first), then `_task_key`, then `_source_row`. Where
//! different tasks bring the same natural key, the rows of the task submitted last survive; rows of
//! one task are never merged with one another. It does not know what a tenant or a store is.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::Path;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array, new_null_array,
};
use arrow::compute::{
    concat_batches, filter_record_batch, interleave_record_batch, take_record_batch,
};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow::row::{OwnedRow, RowConverter, Rows, SortField};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::Error;
use super::order::RowAddress;
use crate::contract::{Contract, lineage};
use crate::spool::{Spool, SpooledRows};
use crate::task::TaskKey;

/// Memory that spooled batches may take before they are sorted and put on disk, bytes. Sorting
/// needs about twice as much again.
const RUN_BYTES: usize = 16 * 1024 * 1024;
/// Rows read, merged and handed on at once.
const BATCH_ROWS: usize = 8_192;

/// Rows of each run on disk that are in memory at once. A busy day has dozens of runs.
const SPILL_ROWS: usize = 1_024;

type Batches = Box<dyn Iterator<Item = Result<RecordBatch, Error>>>;

/// What is merged.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// Columns and natural key.
    pub contract: &'static Contract,
    /// A copy of the current object.
    pub base: Option<&'a Path>,
    /// Tasks whose rows in the current object are replaced or withdrawn.
    pub replaced: &'a HashSet<TaskKey>,
    /// When each task's workbook was submitted; the later one wins. A task that is missing here
    /// loses against all others.
    pub ranks: &'a HashMap<TaskKey, i64>,
    /// Takes the runs that do not fit into memory.
    pub spool: &'a Spool,
}

/// How many rows each losing task lost to another task's rows with the same natural key.
pub type Overridden = BTreeMap<TaskKey, u64>;

/// Merges the current object with `spooled` batches and hands the result to `emit`, in order.
///
/// # Errors
/// If something cannot be read or written, or the current object is not one that we wrote.
pub fn merge(
    inputs: &Inputs<'_>,
    spooled: impl Iterator<Item = Result<SpooledRows, Error>>,
    emit: impl FnMut(RecordBatch) -> Result<(), Error>,
) -> Result<Overridden, Error> {
    merge_with(inputs, spooled, RUN_BYTES, emit)
}

fn merge_with(
    inputs: &Inputs<'_>,
    spooled: impl Iterator<Item = Result<SpooledRows, Error>>,
    run_bytes: usize,
    mut emit: impl FnMut(RecordBatch) -> Result<(), Error>,
) -> Result<Overridden, Error> {
    let order = RowOrder::new(inputs.contract)?;
    let mut sources = runs(&order, spooled, inputs.spool, run_bytes)?;
    if let Some(base) = inputs.base {
        sources.push(base_rows(base, inputs)?);
    }
    let mut merge = PartitionMerge::new(order, sources, inputs.ranks)?;
    while let Some(cursor) = merge.smallest() {
        merge.take(cursor)?;
        if merge.settled.len() >= BATCH_ROWS {
            emit(merge.flush()?)?;
        }
    }
    merge.settle_group();
    if !merge.settled.is_empty() {
        emit(merge.flush()?)?;
    }
    Ok(merge.overridden)
}

/// How rows compare.
struct RowOrder {
    schema: SchemaRef,
    key: RowConverter,
    key_columns: Vec<usize>,
    /// Task key and source row, which order rows with the same natural key.
    tie: RowConverter,
    tie_columns: [usize; 2],
}

impl RowOrder {
    fn new(contract: &Contract) -> Result<Self, Error> {
        let schema = contract.schema();
        let index = |name: &str| schema.index_of(name);
        let key_columns: Vec<usize> = contract
            .key_columns()
            .map(index)
            .collect::<Result<_, _>>()?;
        let tie_columns = [index(lineage::TASK_KEY)?, index(lineage::SOURCE_ROW)?];
        Ok(Self {
            key: converter(&schema, &key_columns)?,
            tie: converter(&schema, &tie_columns)?,
            schema,
            key_columns,
            tie_columns,
        })
    }

    fn rows(&self, batch: &RecordBatch) -> Result<(Rows, Rows), ArrowError> {
        let columns = |indices: &[usize]| -> Vec<_> {
            indices
                .iter()
                .map(|&i| ArrayRef::clone(batch.column(i)))
                .collect()
        };
        Ok((
            self.key.convert_columns(&columns(&self.key_columns))?,
            self.tie.convert_columns(&columns(&self.tie_columns))?,
        ))
    }

    fn sorted(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let (keys, ties) = self.rows(batch)?;
        let rows = u32::try_from(batch.num_rows())
            .map_err(|_| ArrowError::ComputeError("a run has over four billion rows".into()))?;
        let mut indices: Vec<u32> = (0..rows).collect();
        indices.sort_by_key(|&row| (keys.row(row as usize), ties.row(row as usize)));
        take_record_batch(batch, &UInt32Array::from(indices))
    }
}

fn converter(schema: &SchemaRef, columns: &[usize]) -> Result<RowConverter, ArrowError> {
    // Ascending, nulls first: the default of a sort field.
    let field = |&column: &usize| SortField::new(schema.field(column).data_type().clone());
    RowConverter::new(columns.iter().map(field).collect())
}

/// Spooled batches as sorted runs of at most about `run_bytes`; all but the last are on disk.
fn runs(
    order: &RowOrder,
    spooled: impl Iterator<Item = Result<SpooledRows, Error>>,
    spool: &Spool,
    run_bytes: usize,
) -> Result<Vec<Batches>, Error> {
    let mut runs = Vec::new();
    let (mut held, mut held_bytes) = (Vec::new(), 0);
    for rows in spooled {
        let rows = rows?;
        held_bytes += rows.size_bytes;
        held.push(rows.batch);
        if held_bytes >= run_bytes {
            let run = order.sorted(&concat_batches(&order.schema, &held)?)?;
            runs.push(spilled(&run, spool)?);
            (held, held_bytes) = (Vec::new(), 0);
        }
    }
    let last = order.sorted(&concat_batches(&order.schema, &held)?)?;
    runs.push(Box::new(std::iter::once(Ok(last))));
    Ok(runs)
}

fn spilled(run: &RecordBatch, spool: &Spool) -> Result<Batches, Error> {
    let temp = spool.temp_file();
    let file = File::create(temp.path()).map_err(Error::local("make", temp.path()))?;
    let mut writer = StreamWriter::try_new(BufWriter::new(file), &run.schema())?;
    for start in (0..run.num_rows()).step_by(SPILL_ROWS) {
        let rows = SPILL_ROWS.min(run.num_rows() - start);
        writer.write(&run.slice(start, rows))?;
    }
    writer.finish()?;
    drop(writer);
    let file = File::open(temp.path()).map_err(Error::local("open", temp.path()))?;
    let reader = StreamReader::try_new(BufReader::new(file), None)?;
    Ok(Box::new(reader.map(move |batch| {
        // Keeps the file for as long as its reader lives.
        let _ = &temp;
        Ok(batch?)
    })))
}

/// Rows of the current object that stay.
fn base_rows(base: &Path, inputs: &Inputs<'_>) -> Result<Batches, Error> {
    let file = File::open(base).map_err(Error::local("open", base))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)?
        .with_batch_size(BATCH_ROWS)
        .build()?;
    let replaced: HashSet<String> = inputs.replaced.iter().map(ToString::to_string).collect();
    let schema = inputs.contract.schema();
    Ok(Box::new(reader.map(move |batch| {
        let batch = conform(&batch?, &schema)?;
        let tasks = batch
            .column_by_name(lineage::TASK_KEY)
            .expect("the contract has the column")
            .as_string::<i32>();
        let stays = |task: Option<&str>| Some(!task.is_some_and(|task| replaced.contains(task)));
        let keep: BooleanArray = tasks.iter().map(stays).collect();
        Ok(filter_record_batch(&batch, &keep)?)
    })))
}

/// The batch with the contract's columns. A column that an earlier contract did not have is null.
fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, Error> {
    for field in batch.schema().fields() {
        if schema.field_with_name(field.name()).is_err() {
            let problem = format!("its column `{}` is not in the contract", field.name());
            return Err(Error::Object { problem });
        }
    }
    let columns = schema.fields().iter().map(|field| {
        let found = batch.column_by_name(field.name());
        found.map_or_else(
            || new_null_array(field.data_type(), batch.num_rows()),
            Clone::clone,
        )
    });
    RecordBatch::try_new(SchemaRef::clone(schema), columns.collect()).map_err(|error| {
        let problem = error.to_string();
        Error::Object { problem }
    })
}

/// One sorted source and its current row.
struct SourceCursor {
    batches: Batches,
    slot: usize,
    keys: Rows,
    ties: Rows,
    row: usize,
}

impl SourceCursor {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.keys.row(self.row), self.ties.row(self.row))
            .cmp(&(other.keys.row(other.row), other.ties.row(other.row)))
    }
}

/// The rows of the natural key that is being read; only those of the best task so far.
struct Group {
    key: OwnedRow,
    task: TaskKey,
    rows: Vec<RowAddress>,
}

struct PartitionMerge<'a> {
    order: RowOrder,
    cursors: Vec<SourceCursor>,
    ranks: &'a HashMap<TaskKey, i64>,
    /// Batches that a cursor, the group or a settled row still refers to.
    slots: Vec<RecordBatch>,
    group: Option<Group>,
    /// Rows of the result that were not handed on yet.
    settled: Vec<RowAddress>,
    overridden: Overridden,
}

impl<'a> PartitionMerge<'a> {
    fn new(
        order: RowOrder,
        sources: Vec<Batches>,
        ranks: &'a HashMap<TaskKey, i64>,
    ) -> Result<Self, Error> {
        let mut merge = Self {
            order,
            cursors: Vec::new(),
            ranks,
            slots: Vec::new(),
            group: None,
            settled: Vec::new(),
            overridden: Overridden::new(),
        };
        for batches in sources {
            let cursor = merge.next_batch(batches)?;
            merge.cursors.extend(cursor);
        }
        Ok(merge)
    }

    /// A cursor on the first row of the source's next batch; `None` at the source's end.
    fn next_batch(&mut self, mut batches: Batches) -> Result<Option<SourceCursor>, Error> {
        for batch in batches.by_ref() {
            let batch = batch?;
            if batch.num_rows() == 0 {
                continue;
            }
            let (keys, ties) = self.order.rows(&batch)?;
            self.slots.push(batch);
            return Ok(Some(SourceCursor {
                batches,
                slot: self.slots.len() - 1,
                keys,
                ties,
                row: 0,
            }));
        }
        Ok(None)
    }

    /// The cursor with the smallest row. Sources are few (one for each 16 MB of spooled rows), so
    /// looking at all is enough.
    fn smallest(&self) -> Option<usize> {
        (0..self.cursors.len()).min_by(|&a, &b| self.cursors[a].cmp(&self.cursors[b]))
    }

    /// Takes the cursor's row into the group or lets it lose, then moves the cursor on.
    fn take(&mut self, index: usize) -> Result<(), Error> {
        let cursor = &self.cursors[index];
        let address = (cursor.slot, cursor.row);
        let key = cursor.keys.row(cursor.row);
        if self
            .group
            .as_ref()
            .is_none_or(|group| group.key.row() != key)
        {
            let key = key.owned();
            self.settle_group();
            let task = TaskKey::from_stored(self.task_at(address));
            let rows = vec![address];
            self.group = Some(Group { key, task, rows });
        } else {
            self.join_or_compete(address);
        }
        self.advance(index)
    }

    /// A row of the group's task joins the group. A row of another task replaces the group's rows
    /// or loses.
    fn join_or_compete(&mut self, address: RowAddress) {
        let Some(mut group) = self.group.take() else {
            return;
        };
        let task = self.task_at(address);
        if group.task.as_str() == task {
            group.rows.push(address);
        } else {
            let task = TaskKey::from_stored(task);
            if self.rank(&task) > self.rank(&group.task) {
                let lost = group.rows.len() as u64;
                *self.overridden.entry(group.task).or_default() += lost;
                group.task = task;
                group.rows = vec![address];
            } else {
                *self.overridden.entry(task).or_default() += 1;
            }
        }
        self.group = Some(group);
    }

    /// The task submitted later wins. Of two submitted at the same time, the greater key wins, so
    /// that the result is always the same.
    fn rank<'k>(&self, task: &'k TaskKey) -> (i64, &'k TaskKey) {
        (self.ranks.get(task).copied().unwrap_or(i64::MIN), task)
    }

    fn task_at(&self, (slot, row): RowAddress) -> &str {
        let tasks = self.slots[slot]
            .column(self.order.tie_columns[0])
            .as_string::<i32>();
        if tasks.is_null(row) {
            ""
        } else {
            tasks.value(row)
        }
    }

    fn advance(&mut self, index: usize) -> Result<(), Error> {
        let cursor = &mut self.cursors[index];
        let last = (cursor.keys.row(cursor.row), cursor.ties.row(cursor.row));
        if cursor.row + 1 < cursor.keys.num_rows() {
            let next = (
                cursor.keys.row(cursor.row + 1),
                cursor.ties.row(cursor.row + 1),
            );
            check_order(last <= next)?;
            cursor.row += 1;
            return Ok(());
        }
        let last = (last.0.owned(), last.1.owned());
        let batches = std::mem::replace(&mut cursor.batches, Box::new(std::iter::empty()));
        match self.next_batch(batches)? {
            Some(next) => {
                check_order((last.0.row(), last.1.row()) <= (next.keys.row(0), next.ties.row(0)))?;
                self.cursors[index] = next;
            }
            None => drop(self.cursors.swap_remove(index)),
        }
        Ok(())
    }

    fn settle_group(&mut self) {
        if let Some(group) = self.group.take() {
            self.settled.extend(group.rows);
        }
    }

    /// The settled rows as a batch. Batches that nothing refers to any more are dropped.
    fn flush(&mut self) -> Result<RecordBatch, Error> {
        let slots: Vec<&RecordBatch> = self.slots.iter().collect();
        let batch = interleave_record_batch(&slots, &self.settled)?;
        self.settled.clear();
        self.drop_unused_slots();
        Ok(batch)
    }

    fn drop_unused_slots(&mut self) {
        let mut moved: HashMap<usize, usize> = HashMap::new();
        let mut kept = Vec::new();
        let slots = &self.slots;
        let mut keep = |slot: &mut usize| {
            *slot = *moved.entry(*slot).or_insert_with(|| {
                kept.push(slots[*slot].clone());
                kept.len() - 1
            });
        };
        for cursor in &mut self.cursors {
            keep(&mut cursor.slot);
        }
        for (slot, _) in self.group.iter_mut().flat_map(|group| &mut group.rows) {
            keep(slot);
        }
        self.slots = kept;
    }
}

fn check_order(is_in_order: bool) -> Result<(), Error> {
    if is_in_order {
        return Ok(());
    }
    let problem = "its rows are not in the order of the contract".to_owned();
    Err(Error::Object { problem })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::{Column, ColumnKind};
    use crate::datasets::Dataset;
    use crate::publish::parquet::{FileWriter, Written, write_file};
    use crate::publish::rows::{TopUserRow, batch, row};
    use arrow::array::{ListBuilder, StringArray, StringBuilder};
    use proptest::prelude::*;
    use std::sync::Arc;

    /// What the merge must give, computed without streams: every winning row, sorted.
    fn oracle(rows: &[TopUserRow], ranks: &HashMap<TaskKey, i64>) -> Vec<TopUserRow> {
        let rank = |task: &str| {
            let key = TaskKey::from_stored(task);
            (
                ranks.get(&key).copied().unwrap_or(i64::MIN),
                task.to_owned(),
            )
        };
        let mut winners: HashMap<_, (i64, String)> = HashMap::new();
        for row in rows {
            let key = (row.order_by.clone(), row.rank);
            let best = winners.entry(key).or_insert_with(|| rank(&row.task));
            *best = best.clone().max(rank(&row.task));
        }
        let mut kept: Vec<TopUserRow> = rows
            .iter()
            .filter(|row| winners[&(row.order_by.clone(), row.rank)].1 == row.task)
            .cloned()
            .collect();
        kept.sort_by_key(|row| {
            (
                row.order_by.clone(),
                row.rank,
                row.task.clone(),
                row.source_row,
            )
        });
        kept
    }

    struct MergeFixture {
        folder: tempfile::TempDir,
        spool: Spool,
        contract: &'static Contract,
    }

    impl MergeFixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let spool = Spool::open(folder.path()).expect("a spool");
            let contract = Contract::of(Dataset::TopUser);
            Self {
                folder,
                spool,
                contract,
            }
        }

        fn write(&self, name: &str, rows: &[TopUserRow]) -> (Written, Vec<u8>) {
            let path = self.folder.path().join(name);
            let written = write_file(&path, self.contract, [batch(rows)]).expect("written");
            (written, std::fs::read(path).expect("read"))
        }

        fn merge(
            &self,
            base: Option<&str>,
            replaced: &[&str],
            ranks: &HashMap<TaskKey, i64>,
            spooled: Vec<RecordBatch>,
            run_bytes: usize,
        ) -> Result<(Written, Vec<u8>, Overridden), Error> {
            let replaced = replaced.iter().map(|&t| TaskKey::from_stored(t)).collect();
            let base = base.map(|name| self.folder.path().join(name));
            let inputs = Inputs {
                contract: self.contract,
                base: base.as_deref(),
                replaced: &replaced,
                ranks,
                spool: &self.spool,
            };
            let path = self.folder.path().join("merged");
            let mut out = FileWriter::create(&path, self.contract)?;
            // A spooled batch counts 100 bytes, so that `run_bytes` decides how many runs there
            // are.
            let spooled = spooled.into_iter().map(|batch| {
                Ok(SpooledRows {
                    batch,
                    size_bytes: 100,
                })
            });
            let spooled = spooled.collect::<Vec<_>>().into_iter();
            let overridden =
                merge_with(&inputs, spooled, run_bytes, |batch| Ok(out.write(&batch)?))?;
            let written = out.finish()?;
            Ok((written, std::fs::read(path).expect("read"), overridden))
        }
    }

    fn ranks(pairs: &[(&str, i64)]) -> HashMap<TaskKey, i64> {
        pairs
            .iter()
            .map(|&(t, r)| (TaskKey::from_stored(t), r))
            .collect()
    }

    #[test]
    fn the_workbook_submitted_last_wins_a_natural_key_and_losers_are_counted() {
        let fixture = MergeFixture::new();
        let rows = [
            row("a", 1, "early", 1),
            row("a", 1, "early", 2),
            row("a", 1, "late", 1),
        ];
        let ranks = ranks(&[("early", 1), ("late", 2)]);
        let spooled = vec![batch(&rows[..2]), batch(&rows[2..])];
        let merged = fixture
            .merge(None, &[], &ranks, spooled, RUN_BYTES)
            .expect("merged");
        assert_eq!(merged.0, fixture.write("expected", &rows[2..]).0);
        assert_eq!(
            merged.2,
            Overridden::from([(TaskKey::from_stored("early"), 2)])
        );
    }

    #[test]
    fn rows_of_one_task_are_never_merged_and_rows_it_lost_vanish() {
        let fixture = MergeFixture::new();
        let twice = [
            row("a", 1, "t", 1),
            row("a", 1, "t", 2),
            row("a", 2, "t", 3),
        ];
        fixture.write("base", &twice);
        let again = vec![batch(&twice[..2])];
        let merged = fixture
            .merge(Some("base"), &["t"], &HashMap::new(), again, RUN_BYTES)
            .expect("merged");
        assert_eq!(merged.0, fixture.write("expected", &twice[..2]).0);
    }

    #[test]
    fn an_object_in_another_order_is_refused() {
        let fixture = MergeFixture::new();
        fixture.write("base", &[row("b", 1, "t", 1), row("a", 1, "t", 2)]);
        let merged = fixture.merge(Some("base"), &[], &HashMap::new(), vec![], RUN_BYTES);
        assert!(matches!(merged, Err(Error::Object { .. })));
    }

    /// Rooms with their lists, as rows of the tasks.
    fn rooms(contract: &Contract, rows: &[(&str, &str, &[&str])]) -> RecordBatch {
        let text = |values: Vec<&str>| Arc::new(StringArray::from(values)) as ArrayRef;
        let mut lists = ListBuilder::new(StringBuilder::new());
        for (_, _, list) in rows {
            let list = (!list.is_empty()).then(|| list.iter().map(Some));
            lists.append_option(list);
        }
        let lists: ArrayRef = Arc::new(lists.finish());
        let schema = contract.schema();
        let columns = schema
            .fields()
            .iter()
            .map(|field| match field.name().as_str() {
                "room_id" => text(rows.iter().map(|row| row.0).collect()),
                "path" => ArrayRef::clone(&lists),
                lineage::TASK_KEY => text(rows.iter().map(|row| row.1).collect()),
                _ => new_null_array(field.data_type(), rows.len()),
            });
        RecordBatch::try_new(SchemaRef::clone(&schema), columns.collect()).expect("a batch")
    }

    #[test]
    fn lists_survive_writing_reading_and_merging() {
        let mut fixture = MergeFixture::new();
        fixture.contract = Contract::of_columns(vec![
            Column::new("room_id", ColumnKind::Id, &[], "").required(),
            Column::new("path", ColumnKind::TextList, &[], ""),
        ]);
        let rooms = |rows: &[_]| rooms(fixture.contract, rows);
        let base = rooms(&[
            ("1", "stays", &["a", "b"]),
            ("2", "replaced", &["c"]),
            ("3", "stays", &[]),
        ]);
        let path = fixture.folder.path().join("base");
        write_file(&path, fixture.contract, [base]).expect("written");
        let come = vec![
            rooms(&[("4", "comes", &["d", ""]), ("2", "comes", &["c", "e"])]),
            rooms(&[("0", "comes", &[])]),
        ];
        // The first batch is sorted and spilled as a run of its own.
        let merged = fixture
            .merge(Some("base"), &["replaced"], &HashMap::new(), come, 100)
            .expect("merged");
        let expected = rooms(&[
            ("0", "comes", &[]),
            ("1", "stays", &["a", "b"]),
            ("2", "comes", &["c", "e"]),
            ("3", "stays", &[]),
            ("4", "comes", &["d", ""]),
        ]);
        let path = fixture.folder.path().join("expected");
        let written = write_file(&path, fixture.contract, [expected]).expect("written");
        assert_eq!(merged.0, written);
        assert!(merged.1 == std::fs::read(path).expect("read"));
    }

    fn any_row() -> impl Strategy<Value = TopUserRow> {
        let order_by = prop::option::of(prop::sample::select(vec!["a", "b", "meeting_count"]));
        let extra = prop::collection::vec((".{0,3}", prop::option::of(".{0,3}")), 0..3);
        let name = prop::option::of(".{0,4}");
        (order_by, 0i32..4, name, 0usize..6, extra).prop_map(
            |(order_by, rank, user_name, task, extra)| TopUserRow {
                order_by: order_by.map(str::to_owned),
                rank,
                user_name,
                task: format!("task{task}"),
                source_row: 0,
                extra,
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(192))]
        #[test]
        fn any_split_into_tasks_generations_and_batches_gives_the_same_file(
            mut rows in prop::collection::vec(any_row(), 0..60),
            stale in prop::collection::vec(any_row(), 0..20),
            in_base in prop::collection::vec(any::<bool>(), 6),
            order in prop::collection::vec(0i64..4, 6),
            chunk in 1usize..9,
            run_bytes in prop::sample::select(vec![100usize, 300, 1_000_000]),
        ) {
            let fixture = MergeFixture::new();
            for (n, row) in rows.iter_mut().enumerate() {
                row.source_row = n as i64;
            }
            let ranks: HashMap<_, _> = order.iter().enumerate()
                .map(|(n, &rank)| (TaskKey::from_stored(format!("task{n}")), rank)).collect();
            let lies_in_base =
                |row: &TopUserRow| in_base[row.task[4..].parse::<usize>().expect("a number")];
            // The base holds the tasks that stay, and an older generation of those that come again.
            let (stay, come): (Vec<_>, Vec<_>) =
                rows.iter().cloned().partition(|row| lies_in_base(row));
            let replaced_rows = stale.into_iter().filter(|row| !lies_in_base(row));
            let mut base: Vec<_> = stay.iter().cloned().chain(replaced_rows).collect();
            base.sort_by_key(|row| {
                (row.order_by.clone(), row.rank, row.task.clone(), row.source_row)
            });
            fixture.write("base", &base);
            let replaced: Vec<String> =
                (0..6).filter(|&n| !in_base[n]).map(|n| format!("task{n}")).collect();
            let replaced: Vec<&str> = replaced.iter().map(String::as_str).collect();
            let spooled = come.chunks(chunk).map(batch).collect();
            let merged = fixture
                .merge(Some("base"), &replaced, &ranks, spooled, run_bytes)
                .expect("merged");

            let (written, bytes) = fixture.write("expected", &oracle(&rows, &ranks));
            prop_assert_eq!(&merged.0, &written);
            prop_assert!(merged.1 == bytes);
            prop_assert_eq!(merged.2.values().sum::<u64>() + written.rows, rows.len() as u64);
        }
    }
}
