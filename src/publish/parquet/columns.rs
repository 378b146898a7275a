//! Encodes and hashes the columns of a file. A single chunk is encoded in the calling thread. From
//! the second chunk on, lanes encode in parallel: each lane is a thread with some of the columns.
//!
//! A column's pages and its hash depend only on the chunks, so a file is the same byte for byte
//! however many lanes there are. Lanes hold at most one row group of their columns and the few
//! chunks that wait for them. The row group before it may be in memory too, encoded.

use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::thread::{self, JoinHandle};

use super::content::ColumnHash;
use crate::contract::Contract;
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves,
};
use parquet::errors::ParquetError;

/// The most lanes. More would only wait for the most expensive column.
const MAX_LANES: usize = 4;
/// Chunks that may wait for a lane.
const QUEUED_CHUNKS: usize = 2;
/// The `nice` increment of a lane: it yields the core to the thread that makes the rows, and to
/// other processes. Encoding can wait and runs in parallel, but one thread makes the rows. On two
/// cores a million rows took an eighth less time (measured).
const NICE_INCREMENT: i32 = 10;

/// The writers of one column's leaves: one, or two for a map.
type LeafWriters = Vec<ArrowColumnWriter>;
/// Encoded columns, each with its index in the schema.
type EncodedColumns = Vec<(usize, Vec<ArrowColumnChunk>)>;

/// The columns of one file.
pub(super) struct ColumnEncoders {
    schema: SchemaRef,
    chunks: usize,
    layout: LaneLayout,
    /// The row group that has ended and was not taken yet.
    pending: Option<PendingRowGroup>,
}

/// A row group that has ended. Its columns arrive as the lanes finish encoding them.
struct PendingRowGroup {
    columns: Receiver<EncodedColumns>,
    encoded: EncodedColumns,
}

enum LaneLayout {
    Inline(Lane),
    Threads(Vec<LaneThread>),
}

impl ColumnEncoders {
    pub(super) fn new(
        contract: &Contract,
        row_groups: &ArrowRowGroupWriterFactory,
    ) -> Result<Self, ParquetError> {
        let schema = contract.schema();
        let content: Vec<&str> = contract.content_columns().collect();
        let columns = writers(&schema, row_groups, 0)?.into_iter().enumerate();
        let columns = columns.map(|(index, writers)| {
            let name = schema.field(index).name();
            let is_content = content.contains(&name.as_str());
            let hash = is_content.then(|| ColumnHash::new(name));
            ColumnEncoder {
                index,
                writers,
                hash,
            }
        });
        Ok(Self {
            layout: LaneLayout::Inline(Lane {
                schema: SchemaRef::clone(&schema),
                columns: columns.collect(),
            }),
            schema,
            chunks: 0,
            pending: None,
        })
    }

    /// Appends a chunk.
    pub(super) fn write(&mut self, chunk: RecordBatch) -> Result<(), ParquetError> {
        self.chunks += 1;
        if self.chunks == 2 {
            self.start_threads();
        }
        match &mut self.layout {
            LaneLayout::Inline(lane) => lane.write(&chunk),
            LaneLayout::Threads(workers) => workers
                .iter_mut()
                .try_for_each(|worker| worker.send(LaneCommand::Write(chunk.clone()))),
        }
    }

    /// Ends the row group; the columns continue with row group `next`. The row group before must
    /// have been [taken](Self::take_encoded).
    pub(super) fn end_row_group(
        &mut self,
        row_groups: &ArrowRowGroupWriterFactory,
        next: usize,
    ) -> Result<(), ParquetError> {
        let mut writers = writers(&self.schema, row_groups, next)?;
        let (results, columns) = channel();
        match &mut self.layout {
            // The receiver exists and the channel is unbounded, so sending cannot fail.
            LaneLayout::Inline(lane) => drop(results.send(lane.end_row_group(writers)?)),
            LaneLayout::Threads(workers) => {
                for worker in workers.iter_mut() {
                    let own = worker.columns.iter();
                    let own = own.map(|&index| std::mem::take(&mut writers[index]));
                    let command = LaneCommand::EndRowGroup(own.collect(), Sender::clone(&results));
                    worker.send(command)?;
                }
            }
        }
        let encoded = Vec::new();
        self.pending = Some(PendingRowGroup { columns, encoded });
        Ok(())
    }

    /// The encoded columns of the row group that has ended, in the order of the schema. `None` if
    /// no row group has ended. While a lane still works on it: waits if `wait`, else `None`.
    pub(super) fn take_encoded(
        &mut self,
        wait: bool,
    ) -> Result<Option<Vec<ArrowColumnChunk>>, ParquetError> {
        let Some(pending) = &mut self.pending else {
            return Ok(None);
        };
        while pending.encoded.len() < self.schema.fields().len() {
            let next = if wait {
                pending
                    .columns
                    .recv()
                    .map_err(|_| TryRecvError::Disconnected)
            } else {
                pending.columns.try_recv()
            };
            match (next, &mut self.layout) {
                (Ok(encoded), _) => pending.encoded.extend(encoded),
                (Err(TryRecvError::Empty), _) => return Ok(None),
                (Err(_), LaneLayout::Threads(workers)) => return Err(first_error(workers)),
                (Err(_), LaneLayout::Inline(_)) => return Err(lane_ended_early()),
            }
        }
        let mut encoded = std::mem::take(&mut pending.encoded);
        self.pending = None;
        encoded.sort_by_key(|(index, _)| *index);
        Ok(Some(
            encoded.into_iter().flat_map(|(_, chunks)| chunks).collect(),
        ))
    }

    /// The hashes of the columns that the content hash covers, in any order.
    pub(super) fn finish(self) -> Result<Vec<ColumnHash>, ParquetError> {
        let columns = match self.layout {
            LaneLayout::Inline(lane) => lane.columns,
            LaneLayout::Threads(mut workers) => {
                let mut columns = Vec::new();
                for worker in &mut workers {
                    columns.extend(worker.join()?.columns);
                }
                columns
            }
        };
        let hashed = columns.into_iter();
        Ok(hashed.filter_map(|column| column.hash).collect())
    }

    /// Starts the lanes and shares the columns out: the most expensive first, each to the lane with
    /// the least work.
    fn start_threads(&mut self) {
        let lanes = thread::available_parallelism().map_or(1, usize::from);
        let LaneLayout::Inline(lane) = &mut self.layout else {
            return;
        };
        let mut columns = std::mem::take(&mut lane.columns);
        columns.sort_by_key(|column| std::cmp::Reverse(column.cost(&self.schema)));
        let mut shares: Vec<(u32, Vec<ColumnEncoder>)> = Vec::new();
        shares.resize_with(lanes.clamp(1, MAX_LANES), Default::default);
        for column in columns {
            let least = shares.iter_mut().min_by_key(|share| share.0);
            let share = least.expect("there is a lane");
            share.0 += column.cost(&self.schema);
            share.1.push(column);
        }
        let lanes = shares.into_iter().map(|(_, columns)| {
            LaneThread::start(Lane {
                schema: SchemaRef::clone(&self.schema),
                columns,
            })
        });
        self.layout = LaneLayout::Threads(lanes.collect());
    }
}

/// The writers of one row group, by column of the schema.
fn writers(
    schema: &SchemaRef,
    row_groups: &ArrowRowGroupWriterFactory,
    row_group: usize,
) -> Result<Vec<LeafWriters>, ParquetError> {
    let mut leaves = row_groups.create_column_writers(row_group)?.into_iter();
    let fields = schema.fields().iter();
    Ok(fields
        .map(|field| {
            let is_map = matches!(field.data_type(), DataType::Map(_, _));
            leaves.by_ref().take(if is_map { 2 } else { 1 }).collect()
        })
        .collect())
}

/// Some of the columns, encoded by one thread.
struct Lane {
    schema: SchemaRef,
    columns: Vec<ColumnEncoder>,
}

struct ColumnEncoder {
    /// Its index in the schema.
    index: usize,
    writers: LeafWriters,
    /// Only for columns that the content hash covers.
    hash: Option<ColumnHash>,
}

impl ColumnEncoder {
    /// The cost of encoding, roughly and relative to other columns.
    fn cost(&self, schema: &SchemaRef) -> u32 {
        let own = match schema.field(self.index).data_type() {
            DataType::Utf8 | DataType::List(_) => 6,
            DataType::Boolean | DataType::Map(_, _) => 1,
            _ => 3,
        };
        own + u32::from(self.hash.is_some())
    }
}

impl Lane {
    fn write(&mut self, chunk: &RecordBatch) -> Result<(), ParquetError> {
        for column in &mut self.columns {
            let array = chunk.column(column.index);
            if let Some(hash) = &mut column.hash {
                hash.update(array)?;
            }
            let leaves = compute_leaves(self.schema.field(column.index), array)?;
            for (writer, leaf) in column.writers.iter_mut().zip(leaves) {
                writer.write(&leaf)?;
            }
        }
        Ok(())
    }

    /// Ends the row group and continues with the writers `next`, one entry for each of the lane's
    /// columns.
    fn end_row_group(&mut self, next: Vec<LeafWriters>) -> Result<EncodedColumns, ParquetError> {
        let mut encoded = Vec::with_capacity(self.columns.len());
        for (column, next) in self.columns.iter_mut().zip(next) {
            let writers = std::mem::replace(&mut column.writers, next);
            let chunks = writers.into_iter().map(ArrowColumnWriter::close);
            encoded.push((column.index, chunks.collect::<Result<_, _>>()?));
        }
        Ok(encoded)
    }
}

enum LaneCommand {
    Write(RecordBatch),
    /// The writers of the next row group for the lane's columns, and where to send the columns of
    /// this one.
    EndRowGroup(Vec<LeafWriters>, Sender<EncodedColumns>),
}

/// A lane on a thread of its own.
struct LaneThread {
    /// The lane's columns, as indices in the schema.
    columns: Vec<usize>,
    commands: Option<SyncSender<LaneCommand>>,
    thread: Option<JoinHandle<Result<Lane, ParquetError>>>,
}

impl LaneThread {
    fn start(lane: Lane) -> Self {
        let (commands, received) = sync_channel(QUEUED_CHUNKS);
        Self {
            columns: lane.columns.iter().map(|column| column.index).collect(),
            commands: Some(commands),
            thread: Some(thread::spawn(move || run_lane(lane, &received))),
        }
    }

    /// Passes the command on. If the lane has ended, gives its error.
    fn send(&mut self, command: LaneCommand) -> Result<(), ParquetError> {
        let sent = self
            .commands
            .as_ref()
            .map(|commands| commands.send(command));
        match sent {
            Some(Ok(())) => Ok(()),
            _ => Err(self.join().err().unwrap_or_else(lane_ended_early)),
        }
    }

    /// Waits for the commands sent so far, and ends the lane.
    fn join(&mut self) -> Result<Lane, ParquetError> {
        self.commands = None;
        let thread = self.thread.take().ok_or_else(lane_ended_early)?;
        thread.join().unwrap_or_else(|_| Err(lane_ended_early()))
    }
}

fn run_lane(mut lane: Lane, commands: &Receiver<LaneCommand>) -> Result<Lane, ParquetError> {
    // Elsewhere `nice` applies to the whole process. If it is not allowed, the lane keeps its
    // priority.
    if cfg!(target_os = "linux") {
        let _ = rustix::process::nice(NICE_INCREMENT);
    }
    for command in commands {
        match command {
            LaneCommand::Write(chunk) => lane.write(&chunk)?,
            LaneCommand::EndRowGroup(next, results) => {
                let encoded = lane.end_row_group(next)?;
                // The receiver may be gone after an error in another lane.
                let _ = results.send(encoded);
            }
        }
    }
    Ok(lane)
}

fn first_error(workers: &mut [LaneThread]) -> ParquetError {
    let error = workers.iter_mut().find_map(|worker| worker.join().err());
    error.unwrap_or_else(lane_ended_early)
}

fn lane_ended_early() -> ParquetError {
    ParquetError::General("a thread that encodes columns has ended early".to_owned())
}
