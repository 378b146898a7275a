//! What is kept of a normalized batch beside its rows, read before any policy: what children need
//! of their parents, and what a daily report says of single days.

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::column::fold;
use crate::contract::lineage;
use crate::datasets::{Dataset, Parent, ParentColumns, ParticipantColumns};
use crate::record::ReportedDay;
use crate::window::bucket_date;

/// The parent rows of a batch; empty for datasets that nothing fans out from.
#[must_use]
pub(super) fn of_batch(dataset: Dataset, batch: &RecordBatch) -> Vec<Parent> {
    let Some(names) = dataset.definition().parent_columns else {
        return Vec::new();
    };
    let columns = BatchColumns { batch };
    (0..batch.num_rows())
        .filter_map(|row| parent(&columns, &names, row))
        .collect()
}

/// The meetings that a daily report counted, by day; empty for any other dataset. `zone` is the
/// tenant's.
#[must_use]
pub(super) fn reported_days(zone: &TimeZone, batch: &RecordBatch) -> Vec<ReportedDay> {
    let columns = BatchColumns { batch };
    (0..batch.num_rows())
        .filter_map(|row| {
            let second = columns.integer("date_unix", row)?;
            let meetings = columns.integer("meeting_count", row)?;
            Some(ReportedDay {
                date: bucket_date(zone, second)?,
                start: Timestamp::from_second(second).ok()?,
                meetings: u64::try_from(meetings).unwrap_or(0),
            })
        })
        .collect()
}

fn parent(columns: &BatchColumns<'_>, names: &ParentColumns, row: usize) -> Option<Parent> {
    let participant = names.participant.as_ref();
    let is_id = |id: &String| !id.trim().is_empty();
    Some(Parent {
        // Its place among the rows of its workbook, whose sheets each count theirs from 1.
        source_row: i64::try_from(row).ok()?,
        meeting_no: columns.text(names.meeting_no, row)?,
        start: columns.time(names.start, row)?,
        end: columns.time(names.end, row),
        participant_count: names
            .participant_count
            .and_then(|name| columns.integer(name, row)),
        join_time: participant.and_then(|names| columns.time(names.join_time, row)),
        stay_s: participant.and_then(|names| columns.integer(names.stay_s, row)),
        user_id: participant
            .and_then(|names| columns.text(names.user_id, row))
            .filter(is_id),
        room_id: participant.and_then(|names| columns.room_id(names, row)),
    })
}

/// Cells of a batch by column name and row.
struct BatchColumns<'b> {
    batch: &'b RecordBatch,
}

impl BatchColumns<'_> {
    fn text(&self, name: &str, row: usize) -> Option<String> {
        let column = self.batch.column_by_name(name)?.as_string_opt::<i32>()?;
        column.is_valid(row).then(|| column.value(row).to_owned())
    }

    fn time(&self, name: &str, row: usize) -> Option<Timestamp> {
        let column = self
            .batch
            .column_by_name(name)?
            .as_primitive_opt::<TimestampMicrosecondType>()?;
        column
            .is_valid(row)
            .then(|| Timestamp::from_microsecond(column.value(row)).ok())
            .flatten()
    }

    fn integer(&self, name: &str, row: usize) -> Option<i64> {
        let column = self
            .batch
            .column_by_name(name)?
            .as_primitive_opt::<Int64Type>()?;
        column.is_valid(row).then(|| column.value(row))
    }

    /// A room's id in a column that no contract knows.
    fn room_id(&self, names: &ParticipantColumns, row: usize) -> Option<String> {
        let extra = self.batch.column_by_name(lineage::EXTRA)?.as_map_opt()?;
        if extra.is_null(row) {
            return None;
        }
        let entries = extra.value(row);
        let (keys, values) = (
            entries.column(0).as_string_opt::<i32>()?,
            entries.column(1).as_string_opt::<i32>()?,
        );
        (0..entries.len())
            .filter(|&entry| {
                names
                    .room_id_headers
                    .contains(&fold(keys.value(entry)).as_str())
                    && values.is_valid(entry)
            })
            .map(|entry| values.value(entry).trim())
            .find(|id| id.starts_with(names.room_id_prefix))
            .map(str::to_owned)
    }
}
