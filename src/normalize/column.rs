//! Builds the Arrow array of one column, by the column's kind.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanBuilder, Date32Builder, Float64Builder, Int32Builder, Int64Builder,
    ListBuilder, StringBuilder, TimestampMicrosecondBuilder,
};
use jiff::Timestamp;
use jiff::civil::{Date, date};

use super::quick::{self, Offsets};
use super::{Context, Fault, cell};
use crate::column::{Column, ColumnKind, EnumValue, Key, list_element};
use crate::datasets::DurationUnit;
use crate::table::Cell;

/// Texts of an enumeration whose meaning is remembered. No enumeration is much longer.
const MAX_REMEMBERED_TEXTS: usize = 16;

/// What was appended for a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Appended {
    /// Null, because the cell is empty.
    Null,
    /// A value.
    Value,
    /// `other`, for a text that the enumeration does not know.
    Unknown,
}

/// One column while it grows.
pub(super) struct ColumnBuilder {
    builder: TypedBuilder,
    /// Whether any sheet has the column.
    pub(super) has_header: bool,
    /// Cells with a value.
    pub(super) values: u64,
    /// Cells that did not parse.
    pub(super) rejected: u64,
}

enum TypedBuilder {
    Text {
        builder: StringBuilder,
        /// A required text of blanks counts as empty.
        is_required: bool,
    },
    Id(StringBuilder),
    MeetingNo(StringBuilder),
    TextList(ListBuilder<StringBuilder>),
    Time(TimestampMicrosecondBuilder),
    UnixTime(TimestampMicrosecondBuilder),
    Date(Date32Builder),
    Duration(Int64Builder),
    Integer(Int64Builder),
    ReportedMinutes(Int64Builder),
    SmallInteger(Int32Builder),
    Enum {
        keys: Int32Builder,
        values: &'static [EnumValue],
        /// Texts that came before, and their keys.
        seen: Vec<(String, i32)>,
    },
    Bool(BooleanBuilder),
    Figure {
        builder: Float64Builder,
        read: fn(&Cell<'_>) -> Result<Option<f64>, Fault>,
        units: &'static [(&'static str, i32)],
    },
}

impl ColumnBuilder {
    /// An empty column with room for `rows` rows.
    pub(super) fn new(column: &Column, rows: usize) -> Self {
        Self {
            builder: TypedBuilder::new(column, rows),
            has_header: false,
            values: 0,
            rejected: 0,
        }
    }

    /// Appends one cell. For a fault it appends null.
    #[inline]
    pub(super) fn append(
        &mut self,
        cell: &Cell<'_>,
        context: &Context,
        offsets: &mut Offsets,
    ) -> Result<Appended, Fault> {
        match cell {
            Cell::Empty => {
                self.append_null();
                Ok(Appended::Null)
            }
            Cell::Text(text) if self.builder.append_usual(text, offsets) => Ok(Appended::Value),
            cell => {
                let outcome = self.append_filled(cell, context);
                if outcome.is_err() {
                    self.append_null();
                }
                outcome
            }
        }
    }

    /// Whether a cell has a value of this column's kind. A column that was asked is of no other use.
    pub(super) fn fits(&mut self, cell: &Cell<'_>, context: &Context) -> bool {
        // Not by way of the usual spellings, which are inlined where all cells come by.
        !matches!(cell, Cell::Empty) && self.append_filled(cell, context) == Ok(Appended::Value)
    }

    fn append_filled(&mut self, cell: &Cell<'_>, context: &Context) -> Result<Appended, Fault> {
        let has_value = match &mut self.builder {
            TypedBuilder::Id(builder) => push_text(builder, cell::id(cell)?),
            TypedBuilder::MeetingNo(builder) => push_text(builder, cell::meeting_no(cell)?),
            TypedBuilder::Text {
                builder,
                is_required,
            } => {
                let text = cell::text(cell)?;
                let text = text.filter(|t| !*is_required || !t.trim().is_empty());
                push_text(builder, text)
            }
            TypedBuilder::TextList(builder) => {
                let texts = cell::text_list(cell)?;
                let has_value = texts.is_some();
                builder.append_option(texts);
                has_value
            }
            TypedBuilder::Time(builder) => {
                let time = cell::time(cell, &context.time_zone)?.map(Timestamp::as_microsecond);
                builder.append_option(time);
                time.is_some()
            }
            TypedBuilder::UnixTime(builder) => {
                let time = cell::unix_time(cell)?.map(Timestamp::as_microsecond);
                builder.append_option(time);
                time.is_some()
            }
            TypedBuilder::Duration(builder) => {
                let seconds = cell::duration_s(cell)?;
                builder.append_option(seconds);
                seconds.is_some()
            }
            TypedBuilder::Integer(builder) => {
                let number = cell::integer(cell)?;
                builder.append_option(number);
                number.is_some()
            }
            TypedBuilder::ReportedMinutes(builder) => {
                let divisor = match context.top_user_duration {
                    DurationUnit::Seconds => 60,
                    DurationUnit::Minutes => 1,
                };
                let minutes = cell::integer(cell)?.map(|number| number / divisor);
                builder.append_option(minutes);
                minutes.is_some()
            }
            TypedBuilder::SmallInteger(builder) => {
                let number = cell::small_integer(cell)?;
                builder.append_option(number);
                number.is_some()
            }
            TypedBuilder::Bool(builder) => {
                let value = cell::boolean(cell)?;
                builder.append_option(value);
                value.is_some()
            }
            TypedBuilder::Figure { builder, read, .. } => {
                let value = read(cell)?;
                builder.append_option(value);
                value.is_some()
            }
            TypedBuilder::Enum { keys, values, seen } => {
                let value = cell::enumeration(cell, values)?;
                let key = value.map(|v| dictionary_key(v, values));
                keys.append_option(key);
                if value == Some(None) {
                    return Ok(Appended::Unknown);
                }
                if let (Cell::Text(text), Some(key)) = (cell, key)
                    && seen.len() < MAX_REMEMBERED_TEXTS
                {
                    seen.push((text.clone().into_owned(), key));
                }
                value.is_some()
            }
            TypedBuilder::Date(_) => {
                unreachable!("dates are derived or the task's, never read from a cell")
            }
        };
        Ok(if has_value {
            Appended::Value
        } else {
            Appended::Null
        })
    }

    /// Appends a value to a derived column.
    pub(super) fn append_day_or_rank(&mut self, value: Option<i32>) {
        match &mut self.builder {
            TypedBuilder::Date(builder) => builder.append_option(value),
            TypedBuilder::SmallInteger(builder) => builder.append_option(value),
            _ => unreachable!("only dates and ranks are derived"),
        }
    }

    fn append_null(&mut self) {
        match &mut self.builder {
            TypedBuilder::Text { builder, .. }
            | TypedBuilder::Id(builder)
            | TypedBuilder::MeetingNo(builder) => builder.append_null(),
            TypedBuilder::TextList(builder) => builder.append_null(),
            TypedBuilder::Time(builder) | TypedBuilder::UnixTime(builder) => builder.append_null(),
            TypedBuilder::Date(builder) => builder.append_null(),
            TypedBuilder::Duration(builder)
            | TypedBuilder::Integer(builder)
            | TypedBuilder::ReportedMinutes(builder) => builder.append_null(),
            TypedBuilder::SmallInteger(builder) | TypedBuilder::Enum { keys: builder, .. } => {
                builder.append_null()
            }
            TypedBuilder::Bool(builder) => builder.append_null(),
            TypedBuilder::Figure { builder, .. } => builder.append_null(),
        }
    }

    /// Returns the column's array (for an enumeration its keys) and empties the column. With
    /// `again`, it reserves room for as much text as before.
    pub(super) fn finish(&mut self, again: bool) -> ArrayRef {
        match &mut self.builder {
            TypedBuilder::Text { builder, .. }
            | TypedBuilder::Id(builder)
            | TypedBuilder::MeetingNo(builder) => {
                let array = builder.finish();
                if again {
                    *builder = StringBuilder::with_capacity(array.len(), array.value_data().len());
                }
                Arc::new(array)
            }
            TypedBuilder::TextList(builder) => Arc::new(builder.finish()),
            TypedBuilder::Time(builder) | TypedBuilder::UnixTime(builder) => {
                Arc::new(builder.finish().with_timezone("UTC"))
            }
            TypedBuilder::Date(builder) => Arc::new(builder.finish()),
            TypedBuilder::Duration(builder)
            | TypedBuilder::Integer(builder)
            | TypedBuilder::ReportedMinutes(builder) => Arc::new(builder.finish()),
            TypedBuilder::SmallInteger(builder) | TypedBuilder::Enum { keys: builder, .. } => {
                Arc::new(builder.finish())
            }
            TypedBuilder::Bool(builder) => Arc::new(builder.finish()),
            TypedBuilder::Figure { builder, .. } => Arc::new(builder.finish()),
        }
    }
}

impl TypedBuilder {
    fn new(column: &Column, rows: usize) -> Self {
        let text = || StringBuilder::with_capacity(rows, rows * 16);
        let times = || TimestampMicrosecondBuilder::with_capacity(rows);
        let figure = |read, units| Self::Figure {
            builder: Float64Builder::with_capacity(rows),
            read,
            units,
        };
        match column.kind {
            ColumnKind::Text => Self::Text {
                builder: text(),
                is_required: column.key == Key::Required,
            },
            ColumnKind::Id => Self::Id(text()),
            ColumnKind::MeetingNo => Self::MeetingNo(text()),
            ColumnKind::TextList => {
                let texts = StringBuilder::with_capacity(0, 0);
                let lists = ListBuilder::with_capacity(texts, rows);
                Self::TextList(lists.with_field(list_element()))
            }
            ColumnKind::Time => Self::Time(times()),
            ColumnKind::UnixTime => Self::UnixTime(times()),
            ColumnKind::Date => Self::Date(Date32Builder::with_capacity(rows)),
            ColumnKind::DurationS => Self::Duration(Int64Builder::with_capacity(rows)),
            ColumnKind::Integer => Self::Integer(Int64Builder::with_capacity(rows)),
            ColumnKind::ReportedMinutes => Self::ReportedMinutes(Int64Builder::with_capacity(rows)),
            ColumnKind::SmallInteger => Self::SmallInteger(Int32Builder::with_capacity(rows)),
            ColumnKind::Enum(values) => Self::Enum {
                keys: Int32Builder::with_capacity(rows),
                values,
                seen: Vec::new(),
            },
            ColumnKind::Bool => Self::Bool(BooleanBuilder::with_capacity(rows)),
            ColumnKind::Kbps => figure(cell::kbps, cell::KBPS),
            ColumnKind::Milliseconds => figure(cell::milliseconds, cell::MILLISECONDS),
            ColumnKind::Percent => figure(cell::percent, cell::PERCENT),
            ColumnKind::Hours => figure(cell::hours, cell::HOURS),
            ColumnKind::Decibels => figure(cell::decibels, cell::DECIBELS),
            ColumnKind::FramesPerSecond => figure(cell::frames_per_second, cell::FPS),
        }
    }

    /// Appends a text in its usual spelling. Returns false and appends nothing for any other text,
    /// and for one that means null.
    fn append_usual(&mut self, text: &str, offsets: &mut Offsets) -> bool {
        match self {
            Self::Text {
                builder,
                is_required,
            } => {
                let is_usual = !text.is_empty() && (!*is_required || quick::is_plain(text));
                if is_usual {
                    builder.append_value(text);
                }
                is_usual
            }
            Self::Id(builder) => {
                let is_usual = quick::is_one_word(text);
                if is_usual {
                    builder.append_value(text);
                }
                is_usual
            }
            Self::MeetingNo(builder) => {
                let is_usual = quick::is_digits(text);
                if is_usual {
                    builder.append_value(text);
                }
                is_usual
            }
            Self::Time(builder) => {
                append_if_some(quick::time(text, offsets), |v| builder.append_value(v))
            }
            Self::Duration(builder) => {
                append_if_some(quick::duration_s(text), |v| builder.append_value(v))
            }
            Self::Integer(builder) => {
                append_if_some(quick::integer(text), |v| builder.append_value(v))
            }
            Self::Bool(builder) => {
                append_if_some(quick::boolean(text), |v| builder.append_value(v))
            }
            Self::Figure { builder, units, .. } => {
                append_if_some(quick::measurement(text, units), |v| builder.append_value(v))
            }
            Self::Enum { keys, seen, .. } => {
                let known = seen.iter().find(|known| known.0 == text);
                append_if_some(known.map(|known| known.1), |v| keys.append_value(v))
            }
            Self::TextList(_)
            | Self::UnixTime(_)
            | Self::Date(_)
            | Self::ReportedMinutes(_)
            | Self::SmallInteger(_) => false,
        }
    }
}

fn append_if_some<T>(value: Option<T>, append: impl FnOnce(T)) -> bool {
    value.map(append).is_some()
}

fn push_text(builder: &mut StringBuilder, text: Option<impl AsRef<str>>) -> bool {
    builder.append_option(text.as_ref());
    text.is_some()
}

/// Key in the dictionary of an enumeration, which holds the known values and then `other`.
pub(super) fn dictionary_key(value: Option<usize>, values: &[EnumValue]) -> i32 {
    i32::try_from(value.unwrap_or(values.len())).expect("enumerations are short")
}

/// Days since 1970-01-01, as Arrow counts them.
pub(super) fn days_since_1970(day: Date) -> i32 {
    let span = day.duration_since(date(1970, 1, 1));
    i32::try_from(span.as_hours() / 24).expect("jiff's dates end in the year 9999")
}
