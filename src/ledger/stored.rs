//! Rows as the tables hold them, read strictly.
//!
//! JSON, words and numbers become our types here, and nobody above sees them as text. A value that
//! is not what its column promises is an error that names the column and the row.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::any::AnyRow;
use sqlx::{Any, Decode, Row as _, Type};

use super::Error;
use crate::datasets::Dataset;
use crate::task::TaskKey;
use crate::window::Window;

/// Most characters of an unreadable value that are shown; findings can be long.
const SHOWN_CHARS: usize = 120;

/// One row that was read.
#[derive(Clone, Copy)]
pub(super) struct StoredRow<'r> {
    row: &'r AnyRow,
    table: &'static str,
    /// The columns that tell this row from the others of its table, where they were read.
    key: &'static [&'static str],
}

impl<'r> StoredRow<'r> {
    pub(super) const fn task(row: &'r AnyRow) -> Self {
        Self::of("task", &["key"], row)
    }

    pub(super) const fn window(row: &'r AnyRow) -> Self {
        Self::of("window", &["tenant", "dataset", "start_at", "end_at"], row)
    }

    pub(super) const fn schedule(row: &'r AnyRow) -> Self {
        Self::of("schedule", &["job", "tenant"], row)
    }

    pub(super) const fn parent(row: &'r AnyRow) -> Self {
        Self::of("parent row", &["task_key", "source_row"], row)
    }

    pub(super) const fn room(row: &'r AnyRow) -> Self {
        Self::of("room", &["tenant", "room_id"], row)
    }

    pub(super) const fn reported_day(row: &'r AnyRow) -> Self {
        Self::of("reported day", &["tenant", "date"], row)
    }

    pub(super) const fn partition(row: &'r AnyRow) -> Self {
        Self::of("partition", &["tenant", "dataset", "dt"], row)
    }

    pub(super) const fn input(row: &'r AnyRow) -> Self {
        Self::of("input", &["tenant", "dataset", "dt", "task_key"], row)
    }

    pub(super) const fn event(row: &'r AnyRow) -> Self {
        Self::of("event", &["tenant", "event_id"], row)
    }

    pub(super) const fn event_type(row: &'r AnyRow) -> Self {
        Self::of("type of events", &["tenant", "event_type"], row)
    }

    pub(super) const fn run(row: &'r AnyRow) -> Self {
        Self::of("run", &["id"], row)
    }

    pub(super) const fn meta(row: &'r AnyRow) -> Self {
        Self::of("meta", &["name"], row)
    }

    const fn of(table: &'static str, key: &'static [&'static str], row: &'r AnyRow) -> Self {
        Self { row, table, key }
    }

    /// A value that SQL itself has a type for: text, a whole number, or either with NULL.
    pub(super) fn get<T>(&self, column: &'static str) -> Result<T, Error>
    where
        T: Decode<'r, Any> + Type<Any>,
    {
        let value = self.row.try_get(column);
        value.map_err(|error| self.corrupt(column, &error.to_string()))
    }

    /// A whole number that the type `T` can hold; no count is below zero.
    pub(super) fn count<T: TryFrom<i64>>(&self, column: &'static str) -> Result<T, Error> {
        let number: i64 = self.get(column)?;
        T::try_from(number).map_err(|_| self.corrupt(column, &number.to_string()))
    }

    /// A count, or `None` for NULL.
    pub(super) fn optional_count<T: TryFrom<i64>>(
        &self,
        column: &'static str,
    ) -> Result<Option<T>, Error> {
        let number: Option<i64> = self.get(column)?;
        number.map(|_| self.count(column)).transpose()
    }

    /// An instant, stored as microseconds since 1970.
    pub(super) fn instant(&self, column: &'static str) -> Result<Timestamp, Error> {
        let micros: i64 = self.get(column)?;
        Timestamp::from_microsecond(micros).map_err(|_| self.corrupt(column, &micros.to_string()))
    }

    /// An instant, or `None` for NULL.
    pub(super) fn optional_instant(
        &self,
        column: &'static str,
    ) -> Result<Option<Timestamp>, Error> {
        let micros: Option<i64> = self.get(column)?;
        micros.map(|_| self.instant(column)).transpose()
    }

    /// The window between two columns of instants.
    pub(super) fn window_of(
        &self,
        start: &'static str,
        end: &'static str,
    ) -> Result<Window, Error> {
        let (first, after) = (self.instant(start)?, self.instant(end)?);
        Window::new(first, after)
            .ok_or_else(|| self.corrupt(end, &format!("{after} after a start at {first}")))
    }

    /// A civil date, `YYYY-MM-DD`.
    pub(super) fn date(&self, column: &'static str) -> Result<Date, Error> {
        self.word(column, |text| text.parse().ok())
    }

    /// The row's dataset.
    pub(super) fn dataset(&self) -> Result<Dataset, Error> {
        self.word("dataset", |text| text.parse().ok())
    }

    /// A task's key.
    pub(super) fn task_key(&self, column: &'static str) -> Result<TaskKey, Error> {
        Ok(TaskKey::from_stored(self.get::<String>(column)?))
    }

    /// One of a list of words, or anything else that `parse` reads out of a text.
    pub(super) fn word<T>(
        &self,
        column: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, Error> {
        let text: String = self.get(column)?;
        parse(&text).ok_or_else(|| self.corrupt(column, &text))
    }

    /// What `parse` reads out of a text, or `None` for NULL.
    pub(super) fn optional_word<T>(
        &self,
        column: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let text: Option<String> = self.get(column)?;
        text.map(|_| self.word(column, parse)).transpose()
    }

    /// A structure, stored as JSON.
    pub(super) fn json<T: DeserializeOwned>(&self, column: &'static str) -> Result<T, Error> {
        self.word(column, |text| serde_json::from_str(text).ok())
    }

    /// A structure stored as JSON, or `None` for NULL.
    pub(super) fn optional_json<T: DeserializeOwned>(
        &self,
        column: &'static str,
    ) -> Result<Option<T>, Error> {
        let text: Option<String> = self.get(column)?;
        text.map(|_| self.json(column)).transpose()
    }

    /// The error for a value that cannot be what its column promises.
    pub(super) fn corrupt(&self, column: &'static str, value: &str) -> Error {
        let key: Vec<String> = self.key.iter().filter_map(|key| self.shown(key)).collect();
        let what = format!("{column} of {} {}", self.table, key.join("/"));
        corrupt(what.trim_end(), value)
    }

    /// A key's value as text; `None` if its column was not read.
    fn shown(&self, column: &str) -> Option<String> {
        let number = || self.row.try_get::<i64, _>(column).map(|n| n.to_string());
        self.row.try_get(column).or_else(|_| number()).ok()
    }
}

/// The error for a value that cannot be read; a long value is cut.
pub(super) fn corrupt(what: impl Into<String>, value: &str) -> Error {
    Error::Corrupt {
        what: what.into(),
        text: value.chars().take(SHOWN_CHARS).collect(),
    }
}

/// An instant as the tables hold it: microseconds since 1970.
pub(super) fn micros(instant: Timestamp) -> i64 {
    instant.as_microsecond()
}

/// A count as the tables hold it. Nothing here counts beyond `i64`.
pub(super) fn integer(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A structure as the tables hold it.
pub(super) fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("ledger values are plain strings, numbers and lists")
}
