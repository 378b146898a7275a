//! Columns of `resource_reservation_list` (API reference, 4.5).

use crate::column::{Column, ColumnKind, EnumValue};

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

pub(super) fn columns() -> Vec<Column> {
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
            &[],
            "the room; only where a job exports room by room",
        )
        .of_task()
        .key(),
        Column::new(
            "room_name",
            ColumnKind::Text,
            &["会议室名称", "meeting room name"],
            "name of the room",
        )
        .required(),
        Column::new(
            "topic",
            ColumnKind::Text,
            &["会议主题", "meeting topic"],
            "topic; only where the job asks for it",
        )
        .personal(),
        Column::new(
            "booker_name",
            ColumnKind::Text,
            &["预定人", "booker"],
            "who booked",
        )
        .personal(),
        Column::new(
            "booker_department",
            ColumnKind::Text,
            &["预定人所属部门", "department of booker"],
            "the booker's department",
        ),
        Column::new(
            "invitee_count",
            ColumnKind::Integer,
            &["邀请人数", "Number of invitees"],
            "invited",
        ),
        Column::new(
            "accepted_count",
            ColumnKind::Integer,
            &["接受人数", "Number of accept"],
            "accepted",
        ),
        Column::new(
            "start_time",
            ColumnKind::Time,
            &["会议开始时间", "meeting start time"],
            "start of the booking",
        )
        .required(),
        Column::new(
            "end_time",
            ColumnKind::Time,
            &["会议结束时间", "meeting end time"],
            "end of the booking",
        ),
        Column::new(
            "duration_s",
            ColumnKind::DurationS,
            &["会议时长", "meeting duration"],
            "length, seconds",
        ),
        Column::new(
            "reservation_status",
            ColumnKind::Enum(RESERVATION_STATUSES),
            &["会议室预定状态", "status of meeting room reservation"],
            "state of the booking",
        ),
        Column::new(
            "check_in_device",
            ColumnKind::Enum(CHECK_IN_DEVICES),
            &["签到设备", "check-in device"],
            "how one checks in",
        ),
        Column::new(
            "check_in_status",
            ColumnKind::Enum(CHECK_IN_STATUSES),
            &["会议室签到状态", "check-in status of meeting room"],
            "whether anyone checked in",
        ),
        Column::new(
            "check_in_time",
            ColumnKind::Time,
            &["会议室签到时间", "check-in time of meeting room"],
            "when",
        ),
        Column::new(
            "releaser_name",
            ColumnKind::Text,
            &["释放人", "releaser"],
            "who released the room",
        )
        .personal(),
        Column::new(
            "release_time",
            ColumnKind::Time,
            &["释放时间", "release time"],
            "when it was released",
        ),
    ]
}
