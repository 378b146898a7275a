//! `daily_report`: what Feishu counted for each day.
//!
//! The page does not say whether a bucket is a UTC day or a local one (API reference, 2.1). So a
//! day is asked for with a day more on each side, and is due when both are over.

use super::report::{HORIZON, parameters};
use super::{
    Ask, Called, CalledRows, DAY, Dataset, Definition, Endpoint, Extent, Fetch, Lineage, Method, Piece,
    Pieces, Plausibility, Request, Tier, UserIdType,
};
use crate::column::{Column, ColumnKind, Derivation};

pub(super) const DEFINITION: Definition = Definition {
    name: "daily_report",
    endpoint: Endpoint {
        name: "daily_report",
        method: Method::Get,
        path: "reports/get_daily",
        tier: Tier::Special,
    },
    scopes: &["vc:report:readonly"],
    fetch: Fetch::Call(Called {
        rows: CalledRows::List(&["data", "meeting_report", "daily_report"]),
        answers: &[],
        meeting_id: None,
        secrets: &[],
    }),
    extent: Extent::Windows {
        pieces: Pieces::CivilDays,
        horizon: Some(HORIZON),
        utc_buckets: true,
    },
    ask: Ask::Windows(requests),
    parameters,
    query: None,
    fuller: None,
    options: &[],
    user_id_type: UserIdType::UserId,
    columns,
    partition_column: Some("date"),
    sort_first: &[],
    time_columns: None,
    parent_columns: None,
    plausibility: Plausibility::None,
    provisional: None,
    early: None,
    job_file: include_str!("../../jobs/daily_report.toml"),
};

fn requests(piece: &Piece<'_>) -> Vec<(Request, Lineage)> {
    let day = DAY.as_secs().cast_signed();
    let (start, end) = (piece.start - day, piece.end + day);
    let request = Request {
        unit: piece.unit,
        ..Request::between(Dataset::DailyReport, start, end)
    };
    vec![(request, Lineage::default())]
}

fn columns() -> Vec<Column> {
    vec![
        Column::new(
            "date",
            ColumnKind::Date,
            &[],
            "UTC date if the bucket starts at a UTC midnight, else the date in the tenant's zone",
        )
        .derived(Derivation::BucketDate)
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

