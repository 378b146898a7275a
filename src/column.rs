//! One column of a contract: its name, type, key, and where its values come from.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};

/// Type of a column. It decides how cells are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// Text as it came, never trimmed.
    Text,
    /// An id: text that is never read through a floating-point number.
    Id,
    /// The number of a meeting: a run of digits, without the blanks that clients show between them.
    MeetingNo,
    /// A list of texts, `list<string>`. A cell holds a JSON array such as `["a","b"]`. A list
    /// without elements is null.
    TextList,
    /// An instant, `timestamp(µs, UTC)`.
    Time,
    /// An instant, `timestamp(µs, UTC)`, that the source gives in Unix seconds. 0 means no time.
    UnixTime,
    /// A civil date. It is never read from a cell.
    Date,
    /// A duration in whole seconds, int64. Sheets have `HH:MM:SS`.
    DurationS,
    /// A count or another whole number, int64.
    Integer,
    /// A duration in whole minutes, int64. A job option says if the API sends seconds.
    ReportedMinutes,
    /// A count or another whole number, int32.
    SmallInteger,
    /// `是`/`否`, yes/no or a boolean.
    Bool,
    /// A bit rate in kbps, float64. Sheets have `50kbps` or `1.2Mbps`.
    Kbps,
    /// A duration in milliseconds, float64. Sheets have `5ms`.
    Milliseconds,
    /// A percentage, float64. `2%` is 2.0.
    Percent,
    /// A duration in hours, float64. Answers have it as a plain number.
    Hours,
    /// A level of sound in decibels, float64. The list has `6dB`.
    Decibels,
    /// Pictures a second, float64. The list has `30fps`.
    FramesPerSecond,
    /// One of a fixed list of stable values. Texts of the source are folded like headers before
    /// they are compared.
    Enum(&'static [EnumValue]),
}

/// One value of an enumeration, and the texts that mean it. Numbers are given as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnumValue {
    /// The stable English value in the lake.
    pub value: &'static str,
    /// Texts that were seen or are documented for it.
    pub texts: &'static [&'static str],
}

const SOURCE_MODES: &[EnumValue] = &[
    EnumValue {
        value: "export",
        texts: &[],
    },
    EnumValue {
        value: "query",
        texts: &[],
    },
];

/// Value for an unknown text of an enumeration. The text itself goes to `_extra`.
pub const OTHER: &str = "other";

/// Where a column's value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnSource {
    /// The workbook (or the JSON list), by header.
    Sheet,
    /// The task: a field of [`crate::datasets::Lineage`] with the column's name.
    Task,
    /// Computed.
    Derived(Derivation),
    /// Hashed under the lake's key. It is made from what the lake already knows of a row, so it is
    /// no content.
    Keyed(RowKey),
}

/// How a derived column's value is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Derivation {
    /// The row's position in a ranking, from 1.
    Rank,
    /// The date of a report's bucket. The bucket starts at the row's `date_unix`.
    BucketDate,
    /// A digest of the row's other values, 64 hex digits. It covers the columns that stand before
    /// it and are read from the source, with the values that they have in the lake. Equal digests
    /// mean that nothing changed.
    AttributesHash,
}

/// A key of 32 hex digits that joins rows without telling whom they are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowKey {
    /// The meeting: tenant, number and start.
    Meeting,
    /// The stay of a participant: the meeting, who, when and with which device.
    Participation,
    /// The booking of a room: tenant, source and row, because nothing shorter is unique; and the
    /// sheet, if it is not the first with rows.
    Booking,
}

/// A column's part in the natural key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Not part of the key.
    No,
    /// Part of the key. May be null (**K**).
    Part,
    /// Part of the key. A row without it is quarantined (**K!**).
    Required,
}

/// One column of a contract.
#[derive(Clone, Debug)]
pub struct Column {
    /// Name in the lake: English `snake_case` with the unit.
    pub name: String,
    /// Type.
    pub kind: ColumnKind,
    /// Where the value comes from.
    pub source: ColumnSource,
    /// Headers under which a sheet may have it: documented, observed and English ones. Compared
    /// after folding.
    pub headers: Vec<String>,
    /// Part in the natural key.
    pub key: Key,
    /// Whether the value is personal data.
    pub personal: bool,
    /// Often without a value in every row, so a blank column is nothing to tell.
    pub is_sparse: bool,
    /// Tells how the row came here, and nothing of what it says: no part of the content.
    pub is_incidental: bool,
    /// Where the source has no such column, the task gives the value.
    pub or_of_task: bool,
    /// The field of the task that gives its value, if it is not called as the column is.
    task_field: Option<&'static str>,
    /// The id in files, if it is not the column's place.
    pub(crate) explicit_field_id: Option<i32>,
    /// One line for the data dictionary.
    pub doc: &'static str,
}

impl Column {
    pub fn new(name: &str, kind: ColumnKind, headers: &[&str], doc: &'static str) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            source: ColumnSource::Sheet,
            headers: headers.iter().map(|&h| h.to_owned()).collect(),
            key: Key::No,
            personal: false,
            is_sparse: false,
            is_incidental: false,
            or_of_task: false,
            task_field: None,
            explicit_field_id: None,
            doc,
        }
    }

    pub fn of_task(mut self) -> Self {
        self.source = ColumnSource::Task;
        self
    }

    pub fn of_task_field(mut self, field: &'static str) -> Self {
        self.task_field = Some(field);
        self.of_task()
    }

    pub fn or_of_task(mut self) -> Self {
        self.or_of_task = true;
        self
    }

    pub fn derived(mut self, derivation: Derivation) -> Self {
        self.source = ColumnSource::Derived(derivation);
        self
    }

    /// The column of meetings, or of what happens in them, by which they are joined.
    pub fn meeting_key() -> Self {
        let doc = "the meeting: tenant, `meeting_no` and start, hashed under the lake's key; null \
                   in `convert`, which knows no lake";
        Self::keyed("meeting_key", RowKey::Meeting, doc).field_id(901)
    }

    /// The column of stays in meetings, or of what happens in them, by which they are joined.
    pub fn participation_key() -> Self {
        let doc = "the stay: `meeting_key`, who, join time and device, hashed under the lake's \
                   key; null in `convert`";
        Self::keyed("participation_key", RowKey::Participation, doc).field_id(902)
    }

    /// The column of bookings by which they are told apart.
    pub fn booking_key() -> Self {
        let doc = "the booking: tenant, `_source_sha256`, `_source_row` (and the sheet, from \
                   the second on), hashed under the lake's key; null in `convert`";
        Self::keyed("booking_key", RowKey::Booking, doc).field_id(903)
    }

    /// The column of datasets with two sources that says which one was asked.
    pub fn source_mode() -> Self {
        let doc = "where the row came from; null in rows of before there were two sources, which \
                   are of exports, and in `convert`";
        Self::new("_source_mode", ColumnKind::Enum(SOURCE_MODES), &[], doc)
            .of_task_field("source_mode")
            .incidental()
            .field_id(904)
    }

    fn keyed(name: &str, key: RowKey, doc: &'static str) -> Self {
        Self {
            source: ColumnSource::Keyed(key),
            ..Self::new(name, ColumnKind::Id, &[], doc)
        }
    }

    /// Gives the column an id in files that does not depend on its place: from 501 on, which no
    /// place reaches, and never one that any column had before. A column that does not stand at the
    /// end of its list when it is added needs one. It does not count for the places of the others.
    pub fn field_id(mut self, id: i32) -> Self {
        self.explicit_field_id = Some(id);
        self
    }

    pub fn key(mut self) -> Self {
        self.key = Key::Part;
        self
    }

    pub fn required(mut self) -> Self {
        self.key = Key::Required;
        self
    }

    pub fn personal(mut self) -> Self {
        self.personal = true;
        self
    }

    pub fn incidental(mut self) -> Self {
        self.is_incidental = true;
        self
    }

    pub fn sparse(mut self) -> Self {
        self.is_sparse = true;
        self
    }

    /// The field of [`crate::datasets::Lineage`] that gives its value, if the task does.
    #[must_use]
    pub fn task_field(&self) -> &str {
        self.task_field.unwrap_or(&self.name)
    }

    /// The Arrow type of the column.
    #[must_use]
    pub fn data_type(&self) -> DataType {
        match self.kind {
            ColumnKind::Text | ColumnKind::Id | ColumnKind::MeetingNo => DataType::Utf8,
            ColumnKind::TextList => DataType::List(list_element()),
            ColumnKind::Time | ColumnKind::UnixTime => timestamp(),
            ColumnKind::Date => DataType::Date32,
            ColumnKind::DurationS | ColumnKind::Integer | ColumnKind::ReportedMinutes => {
                DataType::Int64
            }
            ColumnKind::SmallInteger => DataType::Int32,
            ColumnKind::Bool => DataType::Boolean,
            ColumnKind::Kbps
            | ColumnKind::Milliseconds
            | ColumnKind::Percent
            | ColumnKind::Hours
            | ColumnKind::Decibels
            | ColumnKind::FramesPerSecond => DataType::Float64,
            ColumnKind::Enum(_) => {
                DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
            }
        }
    }
}

/// The element of a list, under the name that the Parquet specification gives it.
#[must_use]
pub fn list_element() -> FieldRef {
    Arc::new(Field::new("element", DataType::Utf8, true))
}

/// The type of an instant.
#[must_use]
pub fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// Folds a header or a text of an enumeration for comparison: removes the byte-order mark and all
/// kinds of blanks, and turns full-width forms into half-width ones and capitals into lower case.
/// `会议 ID`, ` 会议ID` and `会议ＩＤ` fold alike. So do `Phone Number` and `phonenumber`.
#[must_use]
pub fn fold(text: &str) -> String {
    text.chars()
        .filter(|c| {
            !c.is_whitespace()
                && !matches!(
                    c,
                    '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{3000}'
                )
        })
        .map(|c| match c {
            '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
            other => other,
        })
        .flat_map(char::to_lowercase)
        .collect()
}
