//! What is kept of a normalized batch beside its rows, read before any policy: what children need
//! of their parents, and what a daily report says of single days.

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::column::fold;
use crate::contract::lineage;
use crate::dataset::Dataset;
use crate::record::{Parent, ReportedDay};
use crate::window::bucket_date;

/// Headers under which a participant sheet may name a room's id; the documented sheet does not, its
/// JSON sibling does.
const ROOM_ID_HEADERS: [&str; 4] = ["会议室id", "meetingroomid", "roomid", "meeting_room_id"];
/// How every room id begins.
const ROOM_ID_PREFIX: &str = "omm_";

/// The parent rows of a batch; empty for datasets that nothing fans out from.
#[must_use]
pub(super) fn of_batch(dataset: Dataset, batch: &RecordBatch) -> Vec<Parent> {
    let columns = BatchColumns { batch };
    (0..batch.num_rows())
        .filter_map(|row| match dataset {
            Dataset::MeetingList => meeting(&columns, row),
            Dataset::ParticipantList => participant(&columns, row),
            _ => None,
        })
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

/// A row's place among the rows of its workbook, whose sheets each count theirs from 1.
fn position(row: usize) -> Option<i64> {
    i64::try_from(row).ok()
}

fn meeting(columns: &BatchColumns<'_>, row: usize) -> Option<Parent> {
    Some(Parent {
        source_row: position(row)?,
        meeting_no: columns.text("meeting_no", row)?,
        start: columns.time("start_time", row)?,
        end: columns.time("end_time", row),
        participant_count: columns.integer("participant_count", row),
        join_time: None,
        stay_s: None,
        user_id: None,
        room_id: None,
    })
}

fn participant(columns: &BatchColumns<'_>, row: usize) -> Option<Parent> {
    Some(Parent {
        source_row: position(row)?,
        meeting_no: columns.text("meeting_no", row)?,
        start: columns.time("meeting_start_time", row)?,
        end: columns.time("meeting_end_time", row),
        participant_count: None,
        join_time: columns.time("join_time", row),
        stay_s: columns.integer("time_in_meeting_s", row),
        user_id: columns
            .text("user_id", row)
            .filter(|id| !id.trim().is_empty()),
        room_id: columns.room_id(row),
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
    fn room_id(&self, row: usize) -> Option<String> {
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
                ROOM_ID_HEADERS.contains(&fold(keys.value(entry)).as_str())
                    && values.is_valid(entry)
            })
            .map(|entry| values.value(entry).trim())
            .find(|id| id.starts_with(ROOM_ID_PREFIX))
            .map(str::to_owned)
    }
}
