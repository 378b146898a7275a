//! Columns of `meeting_list` (API reference, 4.2).

use crate::column::{Column, ColumnKind};

pub(super) fn columns() -> Vec<Column> {
    vec![
        Column::new(
            "meeting_no",
            ColumnKind::Id,
            &["会议ID", "会议 ID", "meeting id"],
            "9-digit number; recurs for recurring meetings",
        )
        .required(),
        Column::new(
            "topic",
            ColumnKind::Text,
            &["会议主题", "meeting topic"],
            "topic",
        )
        .personal(),
        Column::new(
            "organizer_name",
            ColumnKind::Text,
            &["会议组织者", "组织者", "meeting organizer"],
            "organizer, initiator or room",
        )
        .personal(),
        Column::new(
            "organizer_department",
            ColumnKind::Text,
            &["部门", "组织者部门", "department"],
            "the organizer's department",
        ),
        Column::new(
            "organizer_user_id",
            ColumnKind::Id,
            &["用户ID", "user id"],
            "the organizer's employee id",
        )
        .personal(),
        Column::new(
            "organizer_employee_no",
            ColumnKind::Id,
            &["工号", "job number"],
            "the organizer's job number",
        )
        .personal(),
        Column::new(
            "organizer_email",
            ColumnKind::Text,
            &["邮箱", "email"],
            "the organizer's e-mail address",
        )
        .personal(),
        Column::new(
            "organizer_mobile",
            ColumnKind::Id,
            &["手机", "phone number"],
            "the organizer's phone number, masked by Feishu",
        )
        .personal(),
        Column::new(
            "start_time",
            ColumnKind::Time,
            &["会议开始时间", "meeting start time"],
            "start of the meeting",
        )
        .required(),
        Column::new(
            "end_time",
            ColumnKind::Time,
            &["会议结束时间", "meeting end time"],
            "end of the meeting",
        )
        .key(),
        Column::new(
            "duration_s",
            ColumnKind::DurationS,
            &["会议持续时间", "会议时长", "meeting duration"],
            "length, seconds",
        ),
        Column::new(
            "participant_count",
            ColumnKind::Integer,
            &["参会人数量", "参会人数", "Number of participants"],
            "participants",
        ),
        Column::new(
            "device_count",
            ColumnKind::Integer,
            &["累计入会设备数"],
            "devices that joined",
        ),
        Column::new(
            "is_external",
            ColumnKind::Bool,
            &["外部会议"],
            "whether outsiders took part",
        ),
        Column::new(
            "meeting_type",
            ColumnKind::Text,
            &["会议类型"],
            "kind of meeting, as Feishu writes it",
        ),
        Column::new(
            "used_audio",
            ColumnKind::Bool,
            &["音频", "audio"],
            "whether audio was used",
        ),
        Column::new(
            "used_video",
            ColumnKind::Bool,
            &["视频", "video"],
            "whether video was used",
        ),
        Column::new(
            "used_screen_share",
            ColumnKind::Bool,
            &["共享", "share"],
            "whether a screen was shared",
        ),
        Column::new(
            "was_recorded",
            ColumnKind::Bool,
            &["录制", "recording"],
            "whether it was recorded",
        ),
        Column::new(
            "used_phone",
            ColumnKind::Bool,
            &["电话", "phone"],
            "whether anyone dialled in by phone",
        ),
    ]
}
