//! What is kept beside the normalized rows themselves, read before any policy: what children need
//! of their parents, and what a daily report says of single days.

use arrow::array::{
    Array as _, AsArray as _, BooleanArray, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::contract::lineage;
use crate::datasets::{Dataset, ParticipantColumns};
use crate::normalize::stays::{self, RoomIds};
use crate::record::{ParentArrays, ReportedDay};
use crate::window::bucket_date;

/// The parent rows of a batch, the first of which is row `first_row` of its original; `None` for
/// datasets that nothing fans out from.
#[must_use]
pub(super) fn of_batch(
    dataset: Dataset,
    batch: &RecordBatch,
    first_row: usize,
) -> Option<ParentArrays> {
    let names = dataset.definition().parent_columns.as_ref()?;
    let participant = names.participant.as_ref();
    let meeting = names.meeting.as_ref();
    let numbers = texts(batch, names.meeting_no)?;
    Some(ParentArrays {
        first_row,
        meeting_no: match names.only {
            Some((column, values)) => {
                let kinds = texts(batch, column)?;
                let is_parent =
                    |kind: Option<&str>| kind.is_some_and(|kind| values.contains(&kind));
                // A row without a number is no parent.
                let numbers = numbers.iter().zip(&kinds);
                numbers
                    .map(|(number, kind)| number.filter(|_| is_parent(kind)))
                    .collect()
            }
            None => numbers,
        },
        start: times(batch, names.start)?,
        end: times(batch, names.end),
        participant_count: names
            .participant_count
            .and_then(|name| integers(batch, name)),
        join_time: participant.and_then(|names| times(batch, names.join_time)),
        stay_s: participant.and_then(|names| integers(batch, names.stay_s)),
        user_id: participant.and_then(|names| user_ids(batch, names)),
        room_id: participant.and_then(|names| room_ids(batch, names)),
        device: participant.and_then(|names| texts(batch, names.device)),
        meeting_id: meeting.and_then(|names| texts(batch, names.meeting_id)),
        was_recorded: meeting.and_then(|names| flags(batch, names.was_recorded)),
    })
}

/// When the meetings of a batch begin, Unix seconds.
pub(super) fn starts(dataset: Dataset, batch: &RecordBatch) -> Vec<i64> {
    let names = dataset.definition().parent_columns.as_ref();
    let starts = names.and_then(|names| times(batch, names.start));
    let starts = starts.iter().flatten().flatten();
    starts.map(|micros| micros.div_euclid(1_000_000)).collect()
}

/// The meetings that a daily report counted, by day; empty for any other dataset. `zone` is the
/// tenant's.
#[must_use]
pub(super) fn reported_days(zone: &TimeZone, batch: &RecordBatch) -> Vec<ReportedDay> {
    let columns = (
        integers(batch, "date_unix"),
        integers(batch, "meeting_count"),
    );
    let (Some(seconds), Some(meetings)) = columns else {
        return Vec::new();
    };
    (0..batch.num_rows())
        .filter(|row| seconds.is_valid(*row) && meetings.is_valid(*row))
        .filter_map(|row| {
            let second = seconds.value(row);
            Some(ReportedDay {
                date: bucket_date(zone, second)?,
                start: Timestamp::from_second(second).ok()?,
                meetings: u64::try_from(meetings.value(row)).unwrap_or(0),
            })
        })
        .collect()
}

/// The users' ids.
fn user_ids(batch: &RecordBatch, names: &ParticipantColumns) -> Option<StringArray> {
    let ids = texts(batch, names.user_id)?;
    let rows = 0..ids.len();
    Some(rows.map(|row| stays::user_id(&ids, row)).collect())
}

/// The rooms' ids.
fn room_ids(batch: &RecordBatch, names: &'static ParticipantColumns) -> Option<StringArray> {
    let told = texts(batch, names.room_id);
    let extra = batch.column_by_name(lineage::EXTRA)?.as_map_opt()?;
    let mut rooms = RoomIds::of(extra, names);
    if rooms.is_none()
        && told
            .as_ref()
            .is_none_or(|ids| ids.null_count() == ids.len())
    {
        return None;
    }
    let rows = (0..extra.len()).map(|row| {
        let told = told.as_ref();
        let told = told.and_then(|ids| stays::room_id(ids, names, row));
        told.or_else(|| rooms.as_mut()?.of_row(row))
    });
    Some(rows.collect())
}

fn texts(batch: &RecordBatch, name: &str) -> Option<StringArray> {
    batch.column_by_name(name)?.as_string_opt().cloned()
}

fn times(batch: &RecordBatch, name: &str) -> Option<TimestampMicrosecondArray> {
    batch.column_by_name(name)?.as_primitive_opt().cloned()
}

fn flags(batch: &RecordBatch, name: &str) -> Option<BooleanArray> {
    batch.column_by_name(name)?.as_boolean_opt().cloned()
}

fn integers(batch: &RecordBatch, name: &str) -> Option<Int64Array> {
    batch.column_by_name(name)?.as_primitive_opt().cloned()
}
