//! `top_user`: who met most, by count and by duration.

use super::listing::{NodeCall, Nodes};
use super::report::{self, HORIZON};
use super::request::{USER_ID_TYPES, USER_TYPES};
use super::{
    Ask, Called, CalledRows, Dataset, Definition, Endpoint, Extent, Fetch, Lineage, Method, Parameters, Piece,
    Pieces, Plausibility, Request, RequestOption, Tier, TopUserOrder, UserIdType, tenant_ids,
};
use crate::column::{Column, ColumnKind, Derivation, EnumValue};

pub(super) const DEFINITION: Definition = Definition {
    name: "top_user",
    endpoint: TOP_USER,
    scopes: &["vc:report:readonly"],
    fetch: Fetch::Call(Called {
        rows: CalledRows::List(&["data", "top_user_report"]),
        answers: &[],
        meeting_id: None,
        secrets: &[],
    }),
    extent: Extent::Windows {
        pieces: Pieces::CivilDays,
        horizon: Some(HORIZON),
        utc_buckets: false,
    },
    ask: Ask::Windows(requests),
    parameters,
    query: None,
    fuller: Some(Fetch::Nodes(Nodes {
        of: &[],
        calls: &[
            NodeCall {
                endpoint: TOP_USER,
                parameters: |_| Parameters::default(),
                codes: &[],
                is_made: |_| true,
            },
            NodeCall {
                endpoint: TOP_USER,
                parameters: |_| {
                    let kind = UserIdType::UserId.as_str();
                    Parameters::default().with("user_id_type", Some(kind))
                },
                codes: tenant_ids::NOT_TOLD,
                is_made: |_| true,
            },
        ],
        rows: |_, told| tenant_ids::rows(told, &["top_user_report"]),
        secrets: &[],
    })),
    options: &[
        RequestOption::UserIdType,
        RequestOption::TenantUserIds,
        RequestOption::Limit,
        RequestOption::DurationUnit,
    ],
    // `user_id` fails when a room is among the users (API reference, 2.2).
    user_id_type: UserIdType::OpenId,
    columns,
    partition_column: None,
    sort_first: &[],
    time_columns: None,
    parent_columns: None,
    plausibility: Plausibility::None,
    provisional: None,
    early: None,
    job_file: include_str!("../../jobs/top_user.toml"),
};

const TOP_USER: Endpoint = Endpoint {
    name: "top_user",
    method: Method::Get,
    path: "reports/get_top_user",
    tier: Tier::Special,
};

/// One ranking by count and one by duration.
fn requests(piece: &Piece<'_>) -> Vec<(Request, Lineage)> {
    let user_id_type = Some(piece.options.user_id_type);
    let ranking = |order_by| {
        let request = Request {
            order_by: Some(order_by),
            limit: Some(piece.options.top_user_limit),
            user_id_type,
            tenant_user_ids: piece.options.asks_twice(),
            unit: piece.unit,
            ..Request::between(Dataset::TopUser, piece.start, piece.end)
        };
        let lineage = Lineage {
            order_by: Some(order_by),
            user_id_type,
            ..Lineage::default()
        };
        (request, lineage)
    };
    [TopUserOrder::MeetingCount, TopUserOrder::MeetingDuration]
        .map(ranking)
        .to_vec()
}

fn parameters(request: &Request) -> Parameters {
    let order_by = request.order_by.map(|order_by| match order_by {
        TopUserOrder::MeetingCount => 1,
        TopUserOrder::MeetingDuration => 2,
    });
    report::parameters(request)
        .with("limit", request.limit)
        .with("order_by", order_by)
        .with("user_id_type", request.user_id_type.map(UserIdType::as_str))
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

fn columns() -> Vec<Column> {
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
        .derived(Derivation::Rank)
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
            ColumnKind::ReportedMinutes,
            &["meeting_duration"],
            "time in meetings, minutes (a job option says if the API sends seconds)",
        ),
        tenant_ids::column(),
    ]
}
