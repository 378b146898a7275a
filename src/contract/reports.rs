//! Columns of the two reports. Their "headers" are the field names of the JSON lists.

use crate::column::{Column, ColumnKind, EnumValue};

pub(super) fn daily_report() -> Vec<Column> {
    vec![
        Column::new(
            "date",
            ColumnKind::Date,
            &[],
            "UTC date if the bucket starts at a UTC midnight, else the date in the tenant's zone",
        )
        .derived()
        .required(),
        Column::new(
            "date_unix",
            ColumnKind::Integer,
            &["date"],
            "start of the bucket [date_unix, date_unix + 86400), Unix seconds, as it came",
        ),
        Column::new(
            "meeting_count",
            ColumnKind::Integer,
            &["meeting_count"],
            "meetings of the day",
        ),
        Column::new(
            "meeting_duration_s",
            ColumnKind::Integer,
            &["meeting_duration"],
            "total time of the day's meetings, seconds",
        ),
        Column::new(
            "participant_count",
            ColumnKind::Integer,
            &["participant_count"],
            "participants of the day's meetings",
        ),
    ]
}

const ORDERS: &[EnumValue] = &[
    EnumValue {
        value: "meeting_count",
        texts: &["1"],
    },
    EnumValue {
        value: "meeting_duration",
        texts: &["2"],
    },
];

const USER_ID_TYPES: &[EnumValue] = &[
    EnumValue {
        value: "open_id",
        texts: &[],
    },
    EnumValue {
        value: "union_id",
        texts: &[],
    },
    EnumValue {
        value: "user_id",
        texts: &[],
    },
];

const USER_TYPES: &[EnumValue] = &[
    EnumValue {
        value: "user",
        texts: &["1"],
    },
    EnumValue {
        value: "room",
        texts: &["2"],
    },
    EnumValue {
        value: "doc_user",
        texts: &["3"],
    },
    EnumValue {
        value: "neo_user",
        texts: &["4"],
    },
    EnumValue {
        value: "neo_guest",
        texts: &["5"],
    },
    EnumValue {
        value: "pstn",
        texts: &["6"],
    },
    EnumValue {
        value: "sip",
        texts: &["7"],
    },
];

pub(super) fn top_user() -> Vec<Column> {
    vec![
        Column::new(
            "order_by",
            ColumnKind::Enum(ORDERS),
            &[],
            "ranking that was asked for",
        )
        .of_task()
        .required(),
        Column::new(
            "rank",
            ColumnKind::SmallInteger,
            &[],
            "position in the ranking, from 1",
        )
        .derived()
        .required(),
        Column::new("user_id", ColumnKind::Id, &["id"], "id of the user or room").personal(),
        Column::new(
            "user_id_type",
            ColumnKind::Enum(USER_ID_TYPES),
            &[],
            "kind of `user_id`",
        )
        .of_task(),
        Column::new("user_name", ColumnKind::Text, &["name"], "name").personal(),
        Column::new(
            "user_type",
            ColumnKind::Enum(USER_TYPES),
            &["user_type"],
            "what kind of participant",
        ),
        Column::new(
            "meeting_count",
            ColumnKind::Integer,
            &["meeting_count"],
            "meetings of the day",
        ),
        Column::new(
            "meeting_duration_min",
            ColumnKind::Integer,
            &["meeting_duration"],
            "time in meetings, minutes (a job option says if the API sends seconds)",
        ),
    ]
}
