//! What of a partition's rows survives: the current object less replaced tasks, and of the rows
//! with the same natural key those of the task submitted last.
//!
//! ```text
//! current object, less replaced and withdrawn tasks ─┐
//! spooled batches ───────────────────────────────────┴► SortedFile ─► one task a key ─► the file
//! ```
//! Where different tasks bring the same natural key, the rows of the task submitted last survive;
//! rows of one task are never merged with one another. It does not know what a tenant or a store
//! is.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::path::Path;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch, StringArray, new_null_array};
use arrow::compute::{BatchCoalescer, concat_batches, filter_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::row::OwnedRow;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::Error;
use super::parquet::{FileWriter, Written};
use super::sorted_file::{LastStep, SortedFile};
use crate::contract::{Contract, lineage};
use crate::sort::{BATCH_ROWS, RUN_ROWS, RowOrder, RunSize, SortedRun};
use crate::task::TaskKey;

/// What is merged.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// Columns and natural key.
    pub contract: &'static Contract,
    /// The key of the lake under which the keys of all rows were made.
    pub key_id: Option<&'a str>,
    /// A copy of the current object.
    pub base: Option<&'a Path>,
    /// Tasks whose rows in the current object are replaced or withdrawn.
    pub replaced: &'a HashSet<TaskKey>,
    /// When each task's workbook was submitted; the later one wins. A task that is missing here
    /// loses against all others.
    pub ranks: &'a HashMap<TaskKey, i64>,
}

/// How many rows each losing task lost to another task's rows with the same natural key.
pub type Overridden = BTreeMap<TaskKey, u64>;

/// Merges the current object with `spooled` batches into a new file at `path`.
///
/// # Errors
/// If something cannot be read or written, or the current object is not one that we wrote.
pub fn merge(
    inputs: &Inputs<'_>,
    spooled: impl Iterator<Item = Result<RecordBatch, Error>>,
    path: &Path,
) -> Result<(Written, Overridden), Error> {
    merge_with(inputs, spooled, path, RunSize::default(), BATCH_ROWS)
}

fn merge_with(
    inputs: &Inputs<'_>,
    spooled: impl Iterator<Item = Result<RecordBatch, Error>>,
    path: &Path,
    run_size: RunSize,
    batch_rows: usize,
) -> Result<(Written, Overridden), Error> {
    let schema = inputs.contract.schema();
    let winners = Winners {
        order: order_of(inputs.contract)?,
        contract: inputs.contract,
        ranks: inputs.ranks,
        open: Vec::new(),
        open_key: None,
        overridden: Overridden::new(),
    };
    let order = order_of(inputs.contract)?;
    let (contract, key_id) = (inputs.contract, inputs.key_id);
    let mut file = SortedFile::create(path, contract, key_id, order, run_size, winners)?;
    if let Some(base) = inputs.base {
        file.merge_with(base_rows(base, inputs)?);
    }
    // Most exports have a few rows: sorting them one export at a time would cost more.
    let mut coalescer = BatchCoalescer::new(schema, batch_rows)
        .with_biggest_coalesce_batch_size(Some(batch_rows / 2));
    for batch in spooled {
        coalescer.push_batch(batch?)?;
        while let Some(batch) = coalescer.next_completed_batch() {
            file.push(batch)?;
        }
    }
    coalescer.finish_buffered_batch()?;
    while let Some(batch) = coalescer.next_completed_batch() {
        file.push(batch)?;
    }
    let (written, winners) = file.finish()?;
    Ok((written, winners.overridden))
}

fn order_of(contract: &Contract) -> Result<RowOrder, Error> {
    Ok(RowOrder::new(contract.schema(), contract.key_columns())?)
}

/// Rows of the current object that stay.
fn base_rows(base: &Path, inputs: &Inputs<'_>) -> Result<SortedRun<Error>, Error> {
    let file = File::open(base).map_err(Error::local("open", base))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)?
        .with_batch_size(RUN_ROWS)
        .build()?;
    let replaced: HashSet<String> = inputs.replaced.iter().map(ToString::to_string).collect();
    let schema = inputs.contract.schema();
    let rows = reader.map(move |batch| {
        let batch = conform(&batch?, &schema)?;
        let stays = |task: Option<&str>| Some(!task.is_some_and(|task| replaced.contains(task)));
        let keep: BooleanArray = tasks_of(&batch).iter().map(stays).collect();
        Ok(filter_record_batch(&batch, &keep)?)
    });
    Ok(SortedRun::checked(rows, || Error::Object {
        problem: "its rows are not in the order of the contract".to_owned(),
    }))
}

/// The task of each row of a file that we wrote, in their order.
fn task_column(path: &Path) -> Result<impl Iterator<Item = Result<RecordBatch, Error>>, Error> {
    let file = File::open(path).map_err(Error::local("open", path))?;
    let file = ParquetRecordBatchReaderBuilder::try_new(file)?;
    let tasks = ProjectionMask::columns(file.parquet_schema(), [lineage::TASK_KEY]);
    let batches = file.with_projection(tasks).build()?;
    Ok(batches.map(|batch| Ok(batch?)))
}

/// The tasks that have rows in a file that we wrote.
///
/// # Errors
/// If it cannot be read.
pub fn tasks_in(path: &Path) -> Result<HashSet<TaskKey>, Error> {
    let mut found: HashSet<String> = HashSet::new();
    for batch in task_column(path)? {
        for task in tasks_of(&batch?).iter().flatten() {
            if !found.contains(task) {
                found.insert(task.to_owned());
            }
        }
    }
    Ok(found.into_iter().map(TaskKey::from_stored).collect())
}

/// Whether the rows of two files that we wrote are of the same tasks, one after the other.
///
/// # Errors
/// If one cannot be read.
pub fn have_same_tasks(one: &Path, other: &Path) -> Result<bool, Error> {
    let (mut ones, mut others) = (task_column(one)?, task_column(other)?);
    loop {
        // Both are read in batches of one size.
        match (ones.next().transpose()?, others.next().transpose()?) {
            (None, None) => return Ok(true),
            (Some(one), Some(other)) if tasks_of(&one) == tasks_of(&other) => {}
            _ => return Ok(false),
        }
    }
}

fn tasks_of(batch: &RecordBatch) -> &StringArray {
    let column = batch.column_by_name(lineage::TASK_KEY);
    column
        .expect("every contract has the column")
        .as_string::<i32>()
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

/// Lets one task a natural key pass.
struct Winners<'a> {
    order: RowOrder,
    contract: &'static Contract,
    ranks: &'a HashMap<TaskKey, i64>,
    /// The rows of the last natural key so far. More may follow.
    open: Vec<RecordBatch>,
    /// That key; `None` before the first row.
    open_key: Option<OwnedRow>,
    overridden: Overridden,
}

impl LastStep for Winners<'_> {
    type Error = Error;

    fn write(&mut self, rows: RecordBatch, file: &mut FileWriter) -> Result<(), Error> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let keys = self.order.keys_of(&rows)?;
        let count = rows.num_rows();
        let last = keys.row(count - 1);
        let is_last = |row: &usize| keys.row(*row) == last;
        let last_group = (0..count).rev().take_while(is_last).count();
        let goes_on = |open: &OwnedRow| open.row() == keys.row(0);
        let mut settled = std::mem::take(&mut self.open);
        if !self.open_key.as_ref().is_some_and(goes_on) {
            self.settle(std::mem::take(&mut settled), file)?;
        }
        if last_group < count {
            settled.push(rows.slice(0, count - last_group));
            self.settle(settled, file)?;
            settled = Vec::new();
        }
        settled.push(rows.slice(count - last_group, last_group));
        self.open = settled;
        self.open_key = Some(last.owned());
        Ok(())
    }

    fn end(&mut self, file: &mut FileWriter) -> Result<(), Error> {
        self.open_key = None;
        let open = std::mem::take(&mut self.open);
        self.settle(open, file)
    }

    fn reader(&self) -> impl Fn(&RecordBatch) -> Result<RecordBatch, Error> + Send + 'static {
        let schema = self.contract.schema();
        move |batch| conform(batch, &schema)
    }
}

impl Winners<'_> {
    /// Writes the winners among rows whose natural keys are complete.
    fn settle(&mut self, rows: Vec<RecordBatch>, file: &mut FileWriter) -> Result<(), Error> {
        if rows.iter().all(has_one_task) && is_one_task(&rows) {
            return rows.iter().try_for_each(|batch| Ok(file.write(batch)?));
        }
        let rows = match rows.as_slice() {
            [one] => one.clone(),
            many => concat_batches(&self.contract.schema(), many)?,
        };
        let keys = self.order.keys_of(&rows)?;
        let tasks = tasks_of(&rows);
        let mut wins = vec![true; rows.num_rows()];
        let mut start = 0;
        while start < rows.num_rows() {
            let same = |row: &usize| keys.row(*row) == keys.row(start);
            let end = start + (start..rows.num_rows()).take_while(same).count();
            self.decide(tasks, start, &mut wins[start..end]);
            start = end;
        }
        let kept = if wins.iter().all(|wins| *wins) {
            rows
        } else {
            filter_record_batch(&rows, &BooleanArray::from(wins))?
        };
        Ok(file.write(&kept)?)
    }

    /// Decides which rows of one natural key win: those from `start` on, which are ordered by task.
    fn decide(&mut self, tasks: &StringArray, start: usize, wins: &mut [bool]) {
        let task = |row: usize| text(tasks, start + row);
        if task(0) == task(wins.len() - 1) {
            return;
        }
        let rank = |task: &str| {
            let key = TaskKey::from_stored(task);
            (self.ranks.get(&key).copied().unwrap_or(i64::MIN), key)
        };
        // The task submitted later wins. Of two submitted at the same time, the greater key wins,
        // so that the result is always the same.
        let winner = (0..wins.len()).map(task).max_by_key(|task| rank(task));
        let winner = winner.unwrap_or_default().to_owned();
        for (row, wins) in wins.iter_mut().enumerate() {
            let task = task(row);
            *wins = task == winner;
            if !*wins {
                let lost = self.overridden.entry(TaskKey::from_stored(task));
                *lost.or_default() += 1;
            }
        }
    }
}

/// A task key; a row without one has none.
fn text(tasks: &StringArray, row: usize) -> &str {
    if tasks.is_null(row) {
        ""
    } else {
        tasks.value(row)
    }
}

fn has_one_task(batch: &RecordBatch) -> bool {
    let tasks = tasks_of(batch);
    (1..tasks.len()).all(|row| text(tasks, row) == text(tasks, 0))
}

/// Whether batches of one task each are of the same one.
fn is_one_task(batches: &[RecordBatch]) -> bool {
    let mut tasks = batches.iter().map(|batch| text(tasks_of(batch), 0));
    let first = tasks.next();
    tasks.all(|task| Some(task) == first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::{Column, ColumnKind, list_element};
    use crate::datasets::Dataset;
    use crate::publish::parquet::write_file;
    use crate::publish::rows::{TopUserRow, batch, row};
    use arrow::array::{ArrayRef, ListBuilder, StringBuilder};
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

    /// Rows of a run and of a batch: more than any test has.
    const LARGE: (usize, usize) = (1_000_000, 1_000_000);

    struct MergeFixture {
        folder: tempfile::TempDir,
        contract: &'static Contract,
    }

    impl MergeFixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let contract = Contract::of(Dataset::TopUser);
            Self { folder, contract }
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
            (run_rows, batch_rows): (usize, usize),
        ) -> Result<(Written, Vec<u8>, Overridden), Error> {
            let replaced = replaced.iter().map(|&t| TaskKey::from_stored(t)).collect();
            let base = base.map(|name| self.folder.path().join(name));
            let inputs = Inputs {
                contract: self.contract,
                key_id: None,
                base: base.as_deref(),
                replaced: &replaced,
                ranks,
            };
            let path = self.folder.path().join("merged");
            let run_size = RunSize {
                rows: run_rows,
                ..RunSize::default()
            };
            let spooled = spooled.into_iter().map(Ok);
            let (written, overridden) = merge_with(&inputs, spooled, &path, run_size, batch_rows)?;
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
            .merge(None, &[], &ranks, spooled, LARGE)
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
            .merge(Some("base"), &["t"], &HashMap::new(), again, LARGE)
            .expect("merged");
        assert_eq!(merged.0, fixture.write("expected", &twice[..2]).0);
    }

    #[test]
    fn an_object_in_another_order_is_refused() {
        let fixture = MergeFixture::new();
        fixture.write("base", &[row("b", 1, "t", 1), row("a", 1, "t", 2)]);
        let merged = fixture.merge(Some("base"), &[], &HashMap::new(), vec![], LARGE);
        assert!(matches!(merged, Err(Error::Object { .. })));
    }

    /// Rooms with their lists, as rows of the tasks.
    fn rooms(contract: &Contract, rows: &[(&str, &str, &[&str])]) -> RecordBatch {
        let text = |values: Vec<&str>| Arc::new(StringArray::from(values)) as ArrayRef;
        let mut lists = ListBuilder::new(StringBuilder::new()).with_field(list_element());
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
            .merge(Some("base"), &["replaced"], &HashMap::new(), come, (2, 1))
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
            run_rows in prop::sample::select(vec![1usize, 20, 1_000_000]),
            batch_rows in prop::sample::select(vec![1usize, 2, 7, 1_000_000]),
            has_base in any::<bool>(),
            in_order_until in 0usize..60,
        ) {
            let fixture = MergeFixture::new();
            // Without a base, rows in order go to the file as they come.
            let in_base = if has_base { in_base } else { vec![false; 6] };
            for (n, row) in rows.iter_mut().enumerate() {
                row.source_row = n as i64;
            }
            let ranks: HashMap<_, _> = order.iter().enumerate()
                .map(|(n, &rank)| (TaskKey::from_stored(format!("task{n}")), rank)).collect();
            let lies_in_base =
                |row: &TopUserRow| in_base[row.task[4..].parse::<usize>().expect("a number")];
            // The base holds the tasks that stay, and an older generation of those that come again.
            let (stay, mut come): (Vec<_>, Vec<_>) =
                rows.iter().cloned().partition(|row| lies_in_base(row));
            let replaced_rows = stale.into_iter().filter(|row| !lies_in_base(row));
            let mut base: Vec<_> = stay.iter().cloned().chain(replaced_rows).collect();
            let position = |row: &TopUserRow| {
                (row.order_by.clone(), row.rank, row.task.clone(), row.source_row)
            };
            base.sort_by_key(position);
            fixture.write("base", &base);
            let until = in_order_until.min(come.len());
            come[..until].sort_by_key(position);
            let base = has_base.then_some("base");
            let replaced: Vec<String> =
                (0..6).filter(|&n| !in_base[n]).map(|n| format!("task{n}")).collect();
            let replaced: Vec<&str> = replaced.iter().map(String::as_str).collect();
            let spooled = come.chunks(chunk).map(batch).collect();
            let merged = fixture
                .merge(base, &replaced, &ranks, spooled, (run_rows, batch_rows))
                .expect("merged");

            let (written, bytes) = fixture.write("expected", &oracle(&rows, &ranks));
            prop_assert_eq!(&merged.0, &written);
            prop_assert!(merged.1 == bytes);
            prop_assert_eq!(merged.2.values().sum::<u64>() + written.rows, rows.len() as u64);
        }
    }
}
