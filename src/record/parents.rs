//! The parents that an original tells, as columns: a million of them take some 40 MB, a fifth of
//! what they would take one by one.

use arrow::array::{
    Array as _, ArrowPrimitiveType, BooleanArray, Int64Array, PrimitiveArray, StringArray,
    TimestampMicrosecondArray,
};
use jiff::Timestamp;

use crate::datasets::Parent;

/// The parent rows of one original, in its order.
#[derive(Clone, Debug, Default)]
pub struct ParentRows(Vec<ParentArrays>);

/// Parent rows of one batch. A column that its sheet lacks is `None`.
#[derive(Clone, Debug)]
pub struct ParentArrays {
    /// The first row's place among the rows of its original.
    pub first_row: usize,
    /// The meeting's number. A row without one is no parent.
    pub meeting_no: StringArray,
    /// The meeting's start. A row without one is no parent.
    pub start: TimestampMicrosecondArray,
    /// The meeting's end.
    pub end: Option<TimestampMicrosecondArray>,
    /// Participants, as the row counts them.
    pub participant_count: Option<Int64Array>,
    /// When the participant joined.
    pub join_time: Option<TimestampMicrosecondArray>,
    /// How long the participant stayed, seconds.
    pub stay_s: Option<Int64Array>,
    /// The participant's user id.
    pub user_id: Option<StringArray>,
    /// The participating room.
    pub room_id: Option<StringArray>,
    /// The participant's kind of device.
    pub device: Option<StringArray>,
    /// The meeting's unique id.
    pub meeting_id: Option<StringArray>,
    /// Whether the meeting was recorded.
    pub was_recorded: Option<BooleanArray>,
}

impl ParentRows {
    /// Adds the rows of the next batch.
    pub fn push(&mut self, arrays: ParentArrays) {
        self.0.push(arrays);
    }

    /// The parents.
    pub fn iter(&self) -> impl Iterator<Item = Parent> + '_ {
        let rows = |arrays: &'_ ParentArrays| 0..arrays.meeting_no.len();
        let batches = self.0.iter();
        batches.flat_map(move |arrays| rows(arrays).filter_map(|row| arrays.parent(row)))
    }
}

#[cfg(any(test, feature = "testing"))]
impl FromIterator<Parent> for ParentRows {
    fn from_iter<I: IntoIterator<Item = Parent>>(parents: I) -> Self {
        let time = |time: Option<Timestamp>| {
            Some(TimestampMicrosecondArray::from(vec![
                time.map(Timestamp::as_microsecond),
            ]))
        };
        let number = |number: Option<i64>| Some(Int64Array::from(vec![number]));
        let text = |text: Option<String>| Some(StringArray::from(vec![text]));
        let parents = parents.into_iter().map(|parent| ParentArrays {
            first_row: usize::try_from(parent.source_row).expect("rows count from 0"),
            meeting_no: StringArray::from(vec![parent.meeting_no]),
            start: TimestampMicrosecondArray::from(vec![parent.start.as_microsecond()]),
            end: time(parent.end),
            participant_count: number(parent.participant_count),
            join_time: time(parent.join_time),
            stay_s: number(parent.stay_s),
            user_id: text(parent.user_id),
            room_id: text(parent.room_id),
            device: text(parent.device),
            meeting_id: text(parent.meeting_id),
            was_recorded: Some(BooleanArray::from(vec![parent.was_recorded])),
        });
        Self(parents.collect())
    }
}

impl ParentArrays {
    fn parent(&self, row: usize) -> Option<Parent> {
        Some(Parent {
            source_row: i64::try_from(self.first_row + row).ok()?,
            meeting_no: text(&self.meeting_no, row)?,
            start: time(&self.start, row)?,
            end: self.end.as_ref().and_then(|column| time(column, row)),
            participant_count: integer(self.participant_count.as_ref(), row),
            join_time: self.join_time.as_ref().and_then(|column| time(column, row)),
            stay_s: integer(self.stay_s.as_ref(), row),
            user_id: self.user_id.as_ref().and_then(|column| text(column, row)),
            room_id: self.room_id.as_ref().and_then(|column| text(column, row)),
            device: self.device.as_ref().and_then(|column| text(column, row)),
            meeting_id: self
                .meeting_id
                .as_ref()
                .and_then(|column| text(column, row)),
            was_recorded: self
                .was_recorded
                .as_ref()
                .and_then(|column| flag(column, row)),
        })
    }
}

fn text(column: &StringArray, row: usize) -> Option<String> {
    column.is_valid(row).then(|| column.value(row).to_owned())
}

fn flag(column: &BooleanArray, row: usize) -> Option<bool> {
    column.is_valid(row).then(|| column.value(row))
}

fn time(column: &TimestampMicrosecondArray, row: usize) -> Option<Timestamp> {
    Timestamp::from_microsecond(value(column, row)?).ok()
}

fn integer(column: Option<&Int64Array>, row: usize) -> Option<i64> {
    value(column?, row)
}

fn value<T: ArrowPrimitiveType>(column: &PrimitiveArray<T>, row: usize) -> Option<T::Native> {
    column.is_valid(row).then(|| column.value(row))
}
