//! The columns of a file while they are encoded and hashed: in one place as long as there is one chunk, then side by side in lanes.
//!
//! A column's pages and its hash depend on the chunks only, so a file is the same byte for byte however many lanes there are. Lanes hold
//! what their columns hold, at most one row group, and the few chunks that wait for them; a row group that has ended is there once more, encoded.

use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::thread::{self, JoinHandle};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves,
};
use parquet::errors::ParquetError;
use sha2::{Digest, Sha256};

use super::write_canonical;
use crate::contract::{Contract, lineage};

/// More lanes than this wait for the longest column.
const MOST_LANES: usize = 4;
/// Chunks that may wait for a lane.
const AHEAD: usize = 2;
/// How much a lane stands back behind whoever makes the rows (`nice`), and behind other processes. Encoding can wait for a core and be done side by side, making rows is one
/// thread's work: on two cores a million rows took an eighth less time (measured).
const STANDS_BACK: i32 = 10;

/// The leaves of one column: one, or two for a map.
type Writers = Vec<ArrowColumnWriter>;
/// Encoded columns, by column of the schema.
type Ended = Vec<(usize, Vec<ArrowColumnChunk>)>;

/// The columns of one file.
pub(super) struct Columns {
    schema: SchemaRef,
    chunks: usize,
    place: Place,
    /// The row group that has ended and was not taken.
    ending: Option<Ending>,
}

/// A row group whose columns come when their lanes have encoded them.
struct Ending {
    columns: Receiver<Ended>,
    ended: Ended,
}

enum Place {
    Here(Lane),
    Lanes(Vec<Worker>),
}

impl Columns {
    pub(super) fn new(
        contract: &Contract,
        row_groups: &ArrowRowGroupWriterFactory,
    ) -> Result<Self, ParquetError> {
        let schema = contract.schema();
        let data = contract.columns.len();
        let columns = writers(&schema, row_groups, 0)?.into_iter().enumerate();
        let columns = columns.map(|(index, writers)| {
            let name = schema.field(index).name();
            let is_content = index < data || name == lineage::EXTRA;
            let hash = is_content.then(Sha256::new);
            Column {
                index,
                writers,
                hash,
            }
        });
        Ok(Self {
            place: Place::Here(Lane {
                schema: SchemaRef::clone(&schema),
                columns: columns.collect(),
                canonical: Vec::new(),
            }),
            schema,
            chunks: 0,
            ending: None,
        })
    }

    /// Appends a chunk.
    pub(super) fn write(&mut self, chunk: RecordBatch) -> Result<(), ParquetError> {
        self.chunks += 1;
        if self.chunks == 2 {
            self.spread();
        }
        match &mut self.place {
            Place::Here(lane) => lane.write(&chunk),
            Place::Lanes(workers) => workers
                .iter_mut()
                .try_for_each(|worker| worker.send(Order::Write(chunk.clone()))),
        }
    }

    /// Ends the row group; the columns go on with row group `next`. The one before must have been [taken](Self::take_ended).
    pub(super) fn end_row_group(
        &mut self,
        row_groups: &ArrowRowGroupWriterFactory,
        next: usize,
    ) -> Result<(), ParquetError> {
        let mut writers = writers(&self.schema, row_groups, next)?;
        let (done, columns) = channel();
        match &mut self.place {
            // The receiver is there, and room for it.
            Place::Here(lane) => drop(done.send(lane.end_row_group(writers)?)),
            Place::Lanes(workers) => {
                for worker in workers.iter_mut() {
                    let own = worker.columns.iter();
                    let own = own.map(|&index| std::mem::take(&mut writers[index]));
                    let order = Order::EndRowGroup(own.collect(), Sender::clone(&done));
                    worker.send(order)?;
                }
            }
        }
        let ended = Vec::new();
        self.ending = Some(Ending { columns, ended });
        Ok(())
    }

    /// The encoded columns of the row group that has ended, in the order of the schema; `None` without one, and while a lane still works on
    /// it, unless that is waited for.
    pub(super) fn take_ended(
        &mut self,
        wait: bool,
    ) -> Result<Option<Vec<ArrowColumnChunk>>, ParquetError> {
        let Some(ending) = &mut self.ending else {
            return Ok(None);
        };
        while ending.ended.len() < self.schema.fields().len() {
            let next = if wait {
                ending
                    .columns
                    .recv()
                    .map_err(|_| TryRecvError::Disconnected)
            } else {
                ending.columns.try_recv()
            };
            match (next, &mut self.place) {
                (Ok(ended), _) => ending.ended.extend(ended),
                (Err(TryRecvError::Empty), _) => return Ok(None),
                (Err(_), Place::Lanes(workers)) => return Err(first_error(workers)),
                (Err(_), Place::Here(_)) => return Err(gone()),
            }
        }
        let mut ended = std::mem::take(&mut ending.ended);
        self.ending = None;
        ended.sort_by_key(|(index, _)| *index);
        Ok(Some(
            ended.into_iter().flat_map(|(_, chunks)| chunks).collect(),
        ))
    }

    /// The hashes of the columns that are content, in the order of the schema.
    pub(super) fn finish(self) -> Result<Vec<(String, Sha256)>, ParquetError> {
        let columns = match self.place {
            Place::Here(lane) => lane.columns,
            Place::Lanes(mut workers) => {
                let mut columns = Vec::new();
                for worker in &mut workers {
                    columns.extend(worker.join()?.columns);
                }
                columns.sort_by_key(|column| column.index);
                columns
            }
        };
        let name = |index: usize| self.schema.field(index).name().clone();
        let hashed = columns.into_iter();
        Ok(hashed
            .filter_map(|column| Some((name(column.index), column.hash?)))
            .collect())
    }

    /// Gives each lane its share of the columns, the dearest first to the lane that has least.
    fn spread(&mut self) {
        let lanes = thread::available_parallelism().map_or(1, usize::from);
        let Place::Here(lane) = &mut self.place else {
            return;
        };
        let mut columns = std::mem::take(&mut lane.columns);
        columns.sort_by_key(|column| std::cmp::Reverse(column.cost(&self.schema)));
        let mut shares: Vec<(u32, Vec<Column>)> = Vec::new();
        shares.resize_with(lanes.clamp(1, MOST_LANES), Default::default);
        for column in columns {
            let least = shares.iter_mut().min_by_key(|share| share.0);
            let share = least.expect("there is a lane");
            share.0 += column.cost(&self.schema);
            share.1.push(column);
        }
        let lanes = shares.into_iter().map(|(_, columns)| {
            Worker::start(Lane {
                schema: SchemaRef::clone(&self.schema),
                columns,
                canonical: Vec::new(),
            })
        });
        self.place = Place::Lanes(lanes.collect());
    }
}

/// Writers of one row group, by column of the schema.
fn writers(
    schema: &SchemaRef,
    row_groups: &ArrowRowGroupWriterFactory,
    row_group: usize,
) -> Result<Vec<Writers>, ParquetError> {
    let mut leaves = row_groups.create_column_writers(row_group)?.into_iter();
    let fields = schema.fields().iter();
    Ok(fields
        .map(|field| {
            let is_map = matches!(field.data_type(), DataType::Map(_, _));
            leaves.by_ref().take(if is_map { 2 } else { 1 }).collect()
        })
        .collect())
}

/// Some of the columns.
struct Lane {
    schema: SchemaRef,
    columns: Vec<Column>,
    canonical: Vec<u8>,
}

struct Column {
    /// In the schema.
    index: usize,
    writers: Writers,
    /// Only of content.
    hash: Option<Sha256>,
}

impl Column {
    /// What encoding takes, roughly and relative to the others.
    fn cost(&self, schema: &SchemaRef) -> u32 {
        let own = match schema.field(self.index).data_type() {
            DataType::Utf8 => 6,
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
                self.canonical.clear();
                write_canonical(array, &mut self.canonical)?;
                hash.update(&self.canonical);
            }
            let leaves = compute_leaves(self.schema.field(column.index), array)?;
            for (writer, leaf) in column.writers.iter_mut().zip(leaves) {
                writer.write(&leaf)?;
            }
        }
        Ok(())
    }

    /// Ends the row group and goes on with `next`, one entry for each of the lane's columns.
    fn end_row_group(&mut self, next: Vec<Writers>) -> Result<Ended, ParquetError> {
        let mut ended = Vec::with_capacity(self.columns.len());
        for (column, next) in self.columns.iter_mut().zip(next) {
            let writers = std::mem::replace(&mut column.writers, next);
            let chunks = writers.into_iter().map(ArrowColumnWriter::close);
            ended.push((column.index, chunks.collect::<Result<_, _>>()?));
        }
        Ok(ended)
    }
}

enum Order {
    Write(RecordBatch),
    /// The writers of the next row group for the lane's columns, and where the columns of this one go.
    EndRowGroup(Vec<Writers>, Sender<Ended>),
}

/// A lane on a thread of its own.
struct Worker {
    /// Columns of the schema.
    columns: Vec<usize>,
    orders: Option<SyncSender<Order>>,
    thread: Option<JoinHandle<Result<Lane, ParquetError>>>,
}

impl Worker {
    fn start(lane: Lane) -> Self {
        let (orders, received) = sync_channel(AHEAD);
        Self {
            columns: lane.columns.iter().map(|column| column.index).collect(),
            orders: Some(orders),
            thread: Some(thread::spawn(move || work(lane, &received))),
        }
    }

    /// Passes the order on; a lane that is gone says why.
    fn send(&mut self, order: Order) -> Result<(), ParquetError> {
        let sent = self.orders.as_ref().map(|orders| orders.send(order));
        match sent {
            Some(Ok(())) => Ok(()),
            _ => Err(self.join().err().unwrap_or_else(gone)),
        }
    }

    /// Waits for what was ordered, and ends the lane.
    fn join(&mut self) -> Result<Lane, ParquetError> {
        self.orders = None;
        let thread = self.thread.take().ok_or_else(gone)?;
        thread.join().unwrap_or_else(|_| Err(gone()))
    }
}

fn work(mut lane: Lane, orders: &Receiver<Order>) -> Result<Lane, ParquetError> {
    // Elsewhere it would be said of the whole process. Where it is not allowed, the lane is as eager as the others.
    if cfg!(target_os = "linux") {
        let _ = rustix::process::nice(STANDS_BACK);
    }
    for order in orders {
        match order {
            Order::Write(chunk) => lane.write(&chunk)?,
            Order::EndRowGroup(next, done) => {
                let ended = lane.end_row_group(next)?;
                // Whoever asked may be gone, after an error in another lane.
                let _ = done.send(ended);
            }
        }
    }
    Ok(lane)
}

fn first_error(workers: &mut [Worker]) -> ParquetError {
    let error = workers.iter_mut().find_map(|worker| worker.join().err());
    error.unwrap_or_else(gone)
}

fn gone() -> ParquetError {
    ParquetError::General("a thread that encodes columns has ended early".to_owned())
}
