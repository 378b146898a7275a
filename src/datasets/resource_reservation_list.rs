//! `resource_reservation_list`: one row a booking of a room (API reference, 3.2 and 4.5; by query:
//! resources, 4.1).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::export::{DAILY, EXPORT_SCOPES, second};
use super::listing::{Listed, text};
use super::query;
use super::{
    Ask, Dataset, Definition, Endpoint, Fetch, Lineage, Method, Parameters, Piece, Plausibility,
    Request, RequestOption, RoomOfLevel, SourceMode, Tier, UserIdType,
};
use crate::column::{Column, ColumnKind, EnumValue};

pub(super) const DEFINITION: Definition = Definition {
    name: "resource_reservation_list",
    endpoint: Endpoint {
        name: "submit_resource_reservation_list",
        method: Method::Post,
        path: "exports/resource_reservation_list",
        tier: Tier::Three,
    },
    scopes: EXPORT_SCOPES,
    fetch: Fetch::Export,
    extent: DAILY,
    ask: Ask::Rooms(requests),
    parameters,
    query: Some(query::source(
        "query_resource_reservation_list",
        "resource_reservation_list",
        Listed {
            derive: bookers,
            ..query::listed("room_reservation_list")
        },
        queried,
        // A sheet names no id of a room, and a room has several bookings of one name.
        None,
    )),
    fuller: None,
    options: &[
        RequestOption::NeedTopic,
        RequestOption::PerRoom,
        RequestOption::Mode,
    ],
    user_id_type: UserIdType::UserId,
    columns,
    partition_column: Some("start_time"),
    sort_first: &["start_time"],
    time_columns: Some(("start_time", "end_time")),
    parent_columns: None,
    plausibility: Plausibility::None,
    provisional: None,
    early: None,
    job_file: include_str!("../../jobs/resource_reservation_list.toml"),
};

/// Rooms that one call of the list names: they stand in its address, which must not become long.
const ROOMS_OF_A_CALL: usize = 50;

/// One request for the rooms of a level, or one a room. Each row of the list names its room, so
/// there it is one request for as many rooms as a call can name.
fn requests(piece: &Piece<'_>, rooms: &[RoomOfLevel]) -> Vec<(Request, Lineage)> {
    let mut by_level: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (room, level) in rooms {
        by_level.entry(level).or_default().push(room.clone());
    }
    by_level
        .values_mut()
        .for_each(|rooms| rooms.sort_unstable());
    let request = |level: &str, room_ids: Vec<String>, room_id: Option<String>| {
        let lineage = Lineage {
            room_level_id: Some(level.to_owned()),
            room_id,
            ..Lineage::default()
        };
        let request = Request {
            room_level_id: Some(level.to_owned()),
            room_ids,
            need_topic: Some(piece.options.need_topic),
            mode: piece.options.mode,
            ..Request::between(Dataset::ResourceReservationList, piece.start, piece.end)
        };
        (request, lineage)
    };
    by_level
        .into_iter()
        .flat_map(|(level, room_ids)| {
            if piece.options.mode == SourceMode::Query {
                room_ids
                    .chunks(ROOMS_OF_A_CALL)
                    .map(|rooms| request(level, rooms.to_vec(), None))
                    .collect()
            } else if piece.options.per_room {
                room_ids
                    .into_iter()
                    .map(|room| request(level, vec![room.clone()], Some(room)))
                    .collect::<Vec<_>>()
            } else {
                vec![request(level, room_ids, None)]
            }
        })
        .collect()
}

fn parameters(request: &Request) -> Parameters {
    Parameters::body(json!({
        "room_level_id": request.room_level_id,
        "need_topic": request.need_topic,
        "start_time": second(request.start),
        "end_time": second(request.end),
        "room_ids": request.room_ids,
        "is_exclude": false,
    }))
}

fn queried(request: &Request) -> Parameters {
    let parameters = Parameters::default()
        .with("room_level_id", request.room_level_id.as_ref())
        .with("need_topic", request.need_topic)
        .with("start_time", request.start)
        .with("end_time", request.end);
    let rooms = request.room_ids.iter();
    rooms.fold(parameters, |parameters, room| {
        parameters.with("room_ids", Some(room))
    })
}

/// The ids of who booked, and of which kind each is: `ou_1(UserID);cli_2(BotID)`.
fn bookers(booking: &mut Map<String, Value>) {
    const IDS: &str = "reserver_user_id";
    let Some(told) = text(booking.get(IDS)) else {
        return;
    };
    let each = told.split(';').map(str::trim).filter(|one| !one.is_empty());
    let split = each.map(|one| {
        let (id, kind) = one.split_once('(').unwrap_or((one, ""));
        (id.trim(), kind.trim_end_matches(')').trim())
    });
    let (ids, kinds): (Vec<&str>, Vec<&str>) = split.unzip();
    booking.remove(IDS);
    booking.insert("reserver_ids".to_owned(), ids.into());
    booking.insert("reserver_id_kinds".to_owned(), kinds.into());
}

const RESERVATION_STATUSES: &[EnumValue] = &[
    EnumValue {
        value: "pending_approval",
        texts: &["审批中", "under approval"],
    },
    EnumValue {
        value: "reserved",
        texts: &["预定成功", "success"],
    },
    EnumValue {
        value: "released_manually",
        texts: &["已释放（手动释放）", "Released (manual release)"],
    },
    EnumValue {
        value: "released_after_meeting",
        texts: &[
            "已释放（会议结束后自动释放）",
            "Released (Automatic release after the meeting ends)",
        ],
    },
    EnumValue {
        value: "released_no_check_in",
        texts: &[
            "已释放（未签到被释放）",
            "Released (Released without sign in)",
        ],
    },
    EnumValue {
        value: "released_by_sensor",
        texts: &["已释放（传感器自动释放）"],
    },
];

const CHECK_IN_DEVICES: &[EnumValue] = &[
    EnumValue {
        value: "check_in_board",
        texts: &["签到板", "checkboard"],
    },
    EnumValue {
        value: "qr_code",
        texts: &["签到二维码", "check QR-code"],
    },
    EnumValue {
        value: "controller",
        texts: &["控制器", "controller"],
    },
    EnumValue {
        value: "touch_panel",
        texts: &["触屏板", "触屏版", "touch screen"],
    },
    EnumValue {
        value: "offline_auto",
        texts: &[
            "设备离线，自动签到",
            "When the device is offline, check in automatically",
        ],
    },
];

const CHECK_IN_STATUSES: &[EnumValue] = &[
    EnumValue {
        value: "not_required_instant",
        texts: &[
            "无需签到（即时预定）",
            "No sign-in required (instant booking)",
        ],
    },
    EnumValue {
        value: "not_required_setting_off",
        texts: &[
            "无需签到（未开启签到设置）",
            "No sign-in required (Sign-in settings are not turned on)",
        ],
    },
    EnumValue {
        value: "not_required",
        texts: &["无需签到", "No sign-in required"],
    },
    EnumValue {
        value: "missed",
        texts: &["超时未签到", "Timeout not signed in"],
    },
    EnumValue {
        value: "open",
        texts: &["签到时间未结束", "Sign-in time is not over"],
    },
    EnumValue {
        value: "not_required_no_device",
        texts: &[
            "无需签到（未安装签到设备）",
            "No sign-in required (no check-in device installed)",
        ],
    },
    EnumValue {
        value: "checked_in",
        texts: &["已签到", "signed in"],
    },
    EnumValue {
        value: "awaiting",
        texts: &["待签到"],
    },
    EnumValue {
        value: "unavailable_room_disabled",
        texts: &["不可签到（会议室被禁用）"],
    },
];

fn columns() -> Vec<Column> {
    vec![
        Column::new(
            "room_level_id",
            ColumnKind::Id,
            &[],
            "the level that owns the room",
        )
        .of_task()
        .key(),
        Column::new(
            "room_id",
            ColumnKind::Id,
            &["room_id"],
            "the room; by query, and where a job exports room by room",
        )
        .or_of_task()
        .sparse()
        .key(),
        Column::new(
            "room_name",
            ColumnKind::Text,
            &["会议室名称", "meeting room name", "room_name"],
            "name of the room",
        )
        .required(),
        Column::new(
            "topic",
            ColumnKind::Text,
            &["会议主题", "meeting topic", "event_title"],
            "topic; only where the job asks for it",
        )
        .personal(),
        Column::new(
            "booker_name",
            ColumnKind::Text,
            &["预定人", "booker", "reserver"],
            "who booked",
        )
        .personal(),
        Column::new(
            "booker_department",
            ColumnKind::Text,
            &[
                "预定人所属部门",
                "department of booker",
                "department_of_reserver",
            ],
            "the booker's department",
        ),
        Column::new(
            "invitee_count",
            ColumnKind::Integer,
            &["邀请人数", "Number of invitees", "guests_number"],
            "invited",
        ),
        Column::new(
            "accepted_count",
            ColumnKind::Integer,
            &["接受人数", "Number of accept", "accepted_number"],
            "accepted",
        ),
        Column::new(
            "start_time",
            ColumnKind::Time,
            &["会议开始时间", "meeting start time", "event_start_time"],
            "start of the booking",
        )
        .required(),
        Column::new(
            "end_time",
            ColumnKind::Time,
            &["会议结束时间", "meeting end time", "event_end_time"],
            "end of the booking",
        ),
        Column::new(
            "duration_s",
            ColumnKind::DurationS,
            &["会议时长", "meeting duration", "event_duration"],
            "length, seconds",
        ),
        Column::new(
            "reservation_status",
            ColumnKind::Enum(RESERVATION_STATUSES),
            &[
                "会议室预定状态",
                "status of meeting room reservation",
                "reservation_status",
            ],
            "state of the booking",
        ),
        Column::new(
            "check_in_device",
            ColumnKind::Enum(CHECK_IN_DEVICES),
            &["签到设备", "check-in device", "check_in_device"],
            "how one checks in",
        ),
        Column::new(
            "check_in_status",
            ColumnKind::Enum(CHECK_IN_STATUSES),
            &[
                "会议室签到状态",
                "check-in status of meeting room",
                "room_check_in_status",
            ],
            "whether anyone checked in",
        ),
        Column::new(
            "check_in_time",
            ColumnKind::Time,
            &[
                "会议室签到时间",
                "check-in time of meeting room",
                "check_in_time",
            ],
            "when",
        ),
        Column::new(
            "releaser_name",
            ColumnKind::Text,
            &["释放人", "releaser", "releasing_person"],
            "who released the room",
        )
        .personal(),
        Column::new(
            "release_time",
            ColumnKind::Time,
            &["释放时间", "release time", "releasing_time"],
            "when it was released",
        ),
        Column::new(
            "booker_ids",
            ColumnKind::TextList,
            &["reserver_ids"],
            "ids of who booked, people and bots; by query only",
        )
        .personal()
        .sparse(),
        Column::new(
            "booker_id_kinds",
            ColumnKind::TextList,
            &["reserver_id_kinds"],
            "of which kind each of `booker_ids` is, as Feishu writes it",
        )
        .sparse(),
        Column::new(
            "early_release",
            ColumnKind::Enum(RESERVATION_STATUSES),
            &["is_release_early"],
            "how the room was released before the end; by query only",
        )
        .sparse(),
        Column::source_mode(),
        Column::booking_key(),
    ]
}
