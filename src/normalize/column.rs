//! Builders of one column each, by kind.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanBuilder, Date32Builder, Float64Builder, Int32Builder, Int64Builder,
    StringBuilder, TimestampMicrosecondBuilder,
};
use jiff::Timestamp;
use jiff::civil::{Date, date};

use super::quick::{self, Offsets};
use super::{Context, Fault, cell};
use crate::contract::{self, ColumnKind, EnumValue};
use crate::job::DurationUnit;
use crate::table::Cell;

/// Texts of an enumeration whose meaning is kept; no enumeration is much longer.
const SEEN: usize = 16;

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
    builder: Builder,
    /// Whether any sheet has it.
    pub(super) has_header: bool,
    /// Cells with a value.
    pub(super) values: u64,
    /// Cells that did not parse.
    pub(super) rejected: u64,
}

enum Builder {
    Text {
        builder: StringBuilder,
        /// A key of blanks is none.
        is_required: bool,
    },
    Id(StringBuilder),
    Time(TimestampMicrosecondBuilder),
    Date(Date32Builder),
    Duration(Int64Builder),
    Integer {
        builder: Int64Builder,
        is_top_user_duration: bool,
    },
    Rank(Int32Builder),
    Enum {
        keys: Int32Builder,
        values: &'static [EnumValue],
        /// What texts meant that came before.
        seen: Vec<(String, i32)>,
    },
    Bool(BooleanBuilder),
    Figure {
        builder: Float64Builder,
        read: fn(&Cell<'_>) -> Result<Option<f64>, Fault>,
        units: &'static [(&'static str, i32)],
    },
}

impl Column {
    /// A column without rows, with room for some.
    pub(super) fn new(column: &contract::Column, rows: usize) -> Self {
        Self {
            builder: Builder::new(column, rows),
            has_header: false,
            values: 0,
            rejected: 0,
        }
    }

    /// Appends one cell; a fault appends null.
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

    fn append_filled(&mut self, cell: &Cell<'_>, context: &Context) -> Result<Appended, Fault> {
        let has_value = match &mut self.builder {
            Builder::Id(builder) => push_text(builder, cell::id(cell)?),
            Builder::Text {
                builder,
                is_required,
            } => {
                let text = cell::text(cell)?;
                let text = text.filter(|t| !*is_required || !t.trim().is_empty());
                push_text(builder, text)
            }
            Builder::Time(builder) => {
                let time = cell::time(cell, &context.time_zone)?.map(Timestamp::as_microsecond);
                builder.append_option(time);
                time.is_some()
            }
            Builder::Duration(builder) => {
                let seconds = cell::duration_s(cell)?;
                builder.append_option(seconds);
                seconds.is_some()
            }
            Builder::Integer {
                builder,
                is_top_user_duration,
            } => {
                let divisor = match context.top_user_duration {
                    DurationUnit::Seconds if *is_top_user_duration => 60,
                    _ => 1,
                };
                let number = cell::integer(cell)?.map(|number| number / divisor);
                builder.append_option(number);
                number.is_some()
            }
            Builder::Bool(builder) => {
                let value = cell::boolean(cell)?;
                builder.append_option(value);
                value.is_some()
            }
            Builder::Figure { builder, read, .. } => {
                let value = read(cell)?;
                builder.append_option(value);
                value.is_some()
            }
            Builder::Enum { keys, values, seen } => {
                let value = cell::enumeration(cell, values)?;
                let key = value.map(|v| dictionary_key(v, values));
                keys.append_option(key);
                if value == Some(None) {
                    return Ok(Appended::Unknown);
                }
                if let (Cell::Text(text), Some(key)) = (cell, key)
                    && seen.len() < SEEN
                {
                    seen.push((text.clone().into_owned(), key));
                }
                value.is_some()
            }
            Builder::Rank(_) | Builder::Date(_) => {
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
            Builder::Rank(builder) => builder.append_option(value),
            _ => unreachable!("only dates and ranks are derived"),
        }
    }

    fn append_null(&mut self) {
        match &mut self.builder {
            Builder::Text { builder, .. } | Builder::Id(builder) => builder.append_null(),
            Builder::Time(builder) => builder.append_null(),
            Builder::Date(builder) => builder.append_null(),
            Builder::Duration(builder) | Builder::Integer { builder, .. } => builder.append_null(),
            Builder::Rank(builder) | Builder::Enum { keys: builder, .. } => builder.append_null(),
            Builder::Bool(builder) => builder.append_null(),
            Builder::Figure { builder, .. } => builder.append_null(),
        }
    }

    /// The column's array, of an enumeration the keys; the column is empty then, with room for as much text `again`.
    pub(super) fn finish(&mut self, again: bool) -> ArrayRef {
        match &mut self.builder {
            Builder::Text { builder, .. } | Builder::Id(builder) => {
                let array = builder.finish();
                if again {
                    *builder = StringBuilder::with_capacity(array.len(), array.value_data().len());
                }
                Arc::new(array)
            }
            Builder::Time(builder) => Arc::new(builder.finish().with_timezone("UTC")),
            Builder::Date(builder) => Arc::new(builder.finish()),
            Builder::Duration(builder) | Builder::Integer { builder, .. } => {
                Arc::new(builder.finish())
            }
            Builder::Rank(builder) | Builder::Enum { keys: builder, .. } => {
                Arc::new(builder.finish())
            }
            Builder::Bool(builder) => Arc::new(builder.finish()),
            Builder::Figure { builder, .. } => Arc::new(builder.finish()),
        }
    }
}

impl Builder {
    fn new(column: &contract::Column, rows: usize) -> Self {
        let text = || StringBuilder::with_capacity(rows, rows * 16);
        let figure = |read, units| Self::Figure {
            builder: Float64Builder::with_capacity(rows),
            read,
            units,
        };
        match column.kind {
            ColumnKind::Text => Self::Text {
                builder: text(),
                is_required: column.key == contract::Key::Required,
            },
            ColumnKind::Id => Self::Id(text()),
            ColumnKind::Time => Self::Time(TimestampMicrosecondBuilder::with_capacity(rows)),
            ColumnKind::Date => Self::Date(Date32Builder::with_capacity(rows)),
            ColumnKind::DurationS => Self::Duration(Int64Builder::with_capacity(rows)),
            ColumnKind::Integer => Self::Integer {
                builder: Int64Builder::with_capacity(rows),
                is_top_user_duration: column.name == "meeting_duration_min",
            },
            ColumnKind::SmallInteger => Self::Rank(Int32Builder::with_capacity(rows)),
            ColumnKind::Enum(values) => Self::Enum {
                keys: Int32Builder::with_capacity(rows),
                values,
                seen: Vec::new(),
            },
            ColumnKind::Bool => Self::Bool(BooleanBuilder::with_capacity(rows)),
            ColumnKind::Kbps => figure(cell::kbps, cell::KBPS),
            ColumnKind::Milliseconds => figure(cell::milliseconds, cell::MILLISECONDS),
            ColumnKind::Percent => figure(cell::percent, cell::PERCENT),
        }
    }

    /// Appends a text that is written as nearly all are; says no to any other, and to one that is nothing.
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
                let is_usual = quick::is_plain(text);
                if is_usual {
                    builder.append_value(text);
                }
                is_usual
            }
            Self::Time(builder) => push(quick::time(text, offsets), |v| builder.append_value(v)),
            Self::Duration(builder) => push(quick::duration_s(text), |v| builder.append_value(v)),
            Self::Integer {
                builder,
                is_top_user_duration: false,
            } => push(quick::integer(text), |v| builder.append_value(v)),
            Self::Bool(builder) => push(quick::boolean(text), |v| builder.append_value(v)),
            Self::Figure { builder, units, .. } => {
                push(quick::measurement(text, units), |v| builder.append_value(v))
            }
            Self::Enum { keys, seen, .. } => {
                let known = seen.iter().find(|known| known.0 == text);
                push(known.map(|known| known.1), |v| keys.append_value(v))
            }
            Self::Integer { .. } | Self::Rank(_) | Self::Date(_) => false,
        }
    }
}

fn push<T>(value: Option<T>, append: impl FnOnce(T)) -> bool {
    value.map(append).is_some()
}

fn push_text(builder: &mut StringBuilder, text: Option<impl AsRef<str>>) -> bool {
    builder.append_option(text.as_ref());
    text.is_some()
}

/// Position in the dictionary of an enumeration: the known values, then `other`.
pub(super) fn dictionary_key(value: Option<usize>, values: &[EnumValue]) -> i32 {
    i32::try_from(value.unwrap_or(values.len())).expect("enumerations are short")
}

/// Days since 1970-01-01, as Arrow counts them.
pub(super) fn days_since_1970(day: Date) -> i32 {
    let span = day.duration_since(date(1970, 1, 1));
    i32::try_from(span.as_hours() / 24).expect("jiff's dates end in the year 9999")
}
