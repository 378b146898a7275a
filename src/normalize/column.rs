//! Builders of one column each, by kind; and the columns whose value is the same in every row.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Date32Builder, DictionaryArray, Float64Builder, Int32Array,
    Int32Builder, Int64Builder, StringArray, StringBuilder, TimestampMicrosecondArray,
    TimestampMicrosecondBuilder, new_null_array,
};
use arrow::datatypes::DataType;
use jiff::Timestamp;
use jiff::civil::{Date, date};

use super::{Context, Fault, cell};
use crate::contract::{self, EnumValue, Kind, OTHER};
use crate::job::DurationUnit;
use crate::table::Cell;
use crate::task::Lineage;

/// Most workbooks have a few dozen rows.
const ROWS: usize = 64;

/// What appending a cell did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Appended {
    /// Nothing there.
    Null,
    /// A value.
    Value,
    /// A text that the enumeration does not know.
    Unknown,
}

/// One column while it grows.
pub(super) struct Column {
    kind: Kind,
    is_required: bool,
    is_top_user_duration: bool,
    builder: Builder,
    /// Whether any sheet has it.
    pub(super) has_header: bool,
    /// Cells with a value.
    pub(super) values: u64,
    /// Cells that did not parse.
    pub(super) rejected: u64,
}

enum Builder {
    Text(StringBuilder),
    Time(TimestampMicrosecondBuilder),
    Date(Date32Builder),
    Int64(Int64Builder),
    Int32(Int32Builder),
    Bool(BooleanBuilder),
    Float(Float64Builder),
}

impl Column {
    pub(super) fn new(column: &contract::Column) -> Self {
        Self {
            kind: column.kind,
            is_required: column.key == contract::Key::Required,
            is_top_user_duration: column.name == "meeting_duration_min",
            builder: Builder::new(column.kind),
            has_header: false,
            values: 0,
            rejected: 0,
        }
    }

    /// Appends one cell; a fault appends null.
    pub(super) fn append(&mut self, cell: &Cell<'_>, context: &Context) -> Result<Appended, Fault> {
        if matches!(cell, Cell::Empty) {
            self.append_null();
            return Ok(Appended::Null);
        }
        let outcome = self.append_filled(cell, context);
        if outcome.is_err() {
            self.append_null();
        }
        outcome
    }

    fn append_filled(&mut self, cell: &Cell<'_>, context: &Context) -> Result<Appended, Fault> {
        let has_value = match (&mut self.builder, self.kind) {
            (Builder::Text(builder), Kind::Id) => push_text(builder, cell::id(cell)?),
            (Builder::Text(builder), _) => {
                let text = cell::text(cell)?;
                // A key of blanks is none.
                let text = text.filter(|t| !self.is_required || !t.trim().is_empty());
                push_text(builder, text)
            }
            (Builder::Time(builder), _) => {
                let time = cell::time(cell, &context.time_zone)?.map(Timestamp::as_microsecond);
                builder.append_option(time);
                time.is_some()
            }
            (Builder::Int64(builder), Kind::DurationS) => {
                let seconds = cell::duration_s(cell)?;
                builder.append_option(seconds);
                seconds.is_some()
            }
            (Builder::Int64(builder), _) => {
                let divisor = match context.top_user_duration {
                    DurationUnit::Seconds if self.is_top_user_duration => 60,
                    _ => 1,
                };
                let number = cell::integer(cell)?.map(|number| number / divisor);
                builder.append_option(number);
                number.is_some()
            }
            (Builder::Bool(builder), _) => {
                let value = cell::boolean(cell)?;
                builder.append_option(value);
                value.is_some()
            }
            (Builder::Float(builder), kind) => {
                let value = match kind {
                    Kind::Kbps => cell::kbps(cell)?,
                    Kind::Milliseconds => cell::milliseconds(cell)?,
                    _ => cell::percent(cell)?,
                };
                builder.append_option(value);
                value.is_some()
            }
            (Builder::Int32(builder), Kind::Enum(values)) => {
                let value = cell::enumeration(cell, values)?;
                builder.append_option(value.map(|v| dictionary_key(v, values)));
                if value == Some(None) {
                    return Ok(Appended::Unknown);
                }
                value.is_some()
            }
            (Builder::Int32(_) | Builder::Date(_), _) => {
                unreachable!("ranks and dates are derived, never read from a cell")
            }
        };
        Ok(if has_value {
            Appended::Value
        } else {
            Appended::Null
        })
    }

    /// Appends to a derived column.
    pub(super) fn append_day_or_rank(&mut self, value: Option<i32>) {
        match &mut self.builder {
            Builder::Date(builder) => builder.append_option(value),
            Builder::Int32(builder) => builder.append_option(value),
            _ => unreachable!("only dates and ranks are derived"),
        }
    }

    fn append_null(&mut self) {
        match &mut self.builder {
            Builder::Text(builder) => builder.append_null(),
            Builder::Time(builder) => builder.append_null(),
            Builder::Date(builder) => builder.append_null(),
            Builder::Int64(builder) => builder.append_null(),
            Builder::Int32(builder) => builder.append_null(),
            Builder::Bool(builder) => builder.append_null(),
            Builder::Float(builder) => builder.append_null(),
        }
    }

    /// The column's array.
    pub(super) fn finish(&mut self) -> ArrayRef {
        match &mut self.builder {
            Builder::Text(builder) => Arc::new(builder.finish()),
            Builder::Time(builder) => Arc::new(builder.finish().with_timezone("UTC")),
            Builder::Date(builder) => Arc::new(builder.finish()),
            Builder::Int64(builder) => Arc::new(builder.finish()),
            Builder::Int32(builder) => match self.kind {
                Kind::Enum(values) => dictionary(builder.finish(), values),
                _ => Arc::new(builder.finish()),
            },
            Builder::Bool(builder) => Arc::new(builder.finish()),
            Builder::Float(builder) => Arc::new(builder.finish()),
        }
    }
}

impl Builder {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Text | Kind::Id => Self::Text(StringBuilder::with_capacity(ROWS, ROWS * 16)),
            Kind::Time => Self::Time(TimestampMicrosecondBuilder::with_capacity(ROWS)),
            Kind::Date => Self::Date(Date32Builder::with_capacity(ROWS)),
            Kind::DurationS | Kind::Integer => Self::Int64(Int64Builder::with_capacity(ROWS)),
            Kind::SmallInteger | Kind::Enum(_) => Self::Int32(Int32Builder::with_capacity(ROWS)),
            Kind::Bool => Self::Bool(BooleanBuilder::with_capacity(ROWS)),
            Kind::Kbps | Kind::Milliseconds | Kind::Percent => {
                Self::Float(Float64Builder::with_capacity(ROWS))
            }
        }
    }
}

fn push_text(builder: &mut StringBuilder, text: Option<impl AsRef<str>>) -> bool {
    builder.append_option(text.as_ref());
    text.is_some()
}

/// Position in [`dictionary`]: the known values, then `other`.
fn dictionary_key(value: Option<usize>, values: &[EnumValue]) -> i32 {
    i32::try_from(value.unwrap_or(values.len())).expect("enumerations are short")
}

/// The same dictionary in every batch: all values in the contract's order, then `other`.
fn dictionary(keys: Int32Array, values: &[EnumValue]) -> ArrayRef {
    let names = values.iter().map(|value| value.value).chain([OTHER]);
    let names = StringArray::from_iter_values(names);
    Arc::new(DictionaryArray::new(keys, Arc::new(names)))
}

/// Days since 1970-01-01, as Arrow counts them.
pub(super) fn days_since_1970(day: Date) -> i32 {
    let span = day.duration_since(date(1970, 1, 1));
    i32::try_from(span.as_hours() / 24).expect("jiff's dates end in the year 9999")
}

/// Whether the task has a value for the column `name`.
pub(super) fn is_known(lineage: &Lineage, name: &str) -> bool {
    text_of(lineage, name).is_some() || time_of(lineage, name).is_some()
}

/// A column with the task's value in every row.
pub(super) fn from_task(column: &contract::Column, lineage: &Lineage, rows: usize) -> ArrayRef {
    match column.kind {
        Kind::Time => constant_time(time_of(lineage, &column.name), rows),
        Kind::Enum(values) => {
            let value = text_of(lineage, &column.name);
            let index = value.map(|value| values.iter().position(|v| v.value == value));
            let key = index.map(|index| dictionary_key(index, values));
            dictionary(std::iter::repeat_n(key, rows).collect(), values)
        }
        _ => match text_of(lineage, &column.name) {
            Some(text) => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(
                text, rows,
            ))),
            None => new_null_array(&DataType::Utf8, rows),
        },
    }
}

/// A column with one instant in every row.
pub(super) fn constant_time(value: Option<Timestamp>, rows: usize) -> ArrayRef {
    let value = value.map(Timestamp::as_microsecond);
    let array: TimestampMicrosecondArray = std::iter::repeat_n(value, rows).collect();
    Arc::new(array.with_timezone("UTC"))
}

fn text_of<'l>(lineage: &'l Lineage, name: &str) -> Option<&'l str> {
    match name {
        "meeting_no" => lineage.meeting_no.as_deref(),
        "user_id" => lineage.user_id.as_deref(),
        "room_id" => lineage.room_id.as_deref(),
        "room_level_id" => lineage.room_level_id.as_deref(),
        "order_by" => lineage.order_by.map(|order| order.as_str()),
        "user_id_type" => lineage.user_id_type.map(|kind| kind.as_str()),
        _ => None,
    }
}

fn time_of(lineage: &Lineage, name: &str) -> Option<Timestamp> {
    match name {
        "meeting_start_time" => lineage.meeting_start_time,
        "meeting_end_time" => lineage.meeting_end_time,
        "join_time" => lineage.join_time,
        _ => None,
    }
}
