//! Columns of `participant_list` (API reference, 4.3). The sheet has no column for the meeting,
//! which comes from the task.

use crate::column::{Column, ColumnKind};

pub(super) fn columns() -> Vec<Column> {
    vec![
        Column::new(
            "meeting_no",
            ColumnKind::Id,
            &[],
            "9-digit number of the meeting",
        )
        .of_task()
        .required(),
        Column::new(
            "meeting_start_time",
            ColumnKind::Time,
            &[],
            "start of the meeting",
        )
        .of_task()
        .required(),
        Column::new(
            "meeting_end_time",
            ColumnKind::Time,
            &[],
            "end of the meeting",
        )
        .of_task(),
        Column::new(
            "participant_name",
            ColumnKind::Text,
            &["参会人", "参会者", "participant"],
            "name",
        )
        .personal()
        .required(),
        Column::new(
            "department",
            ColumnKind::Text,
            &["部门", "department"],
            "department",
        ),
        Column::new(
            "user_id",
            ColumnKind::Id,
            &["用户ID", "user id"],
            "employee id; empty for guests and rooms",
        )
        .personal()
        .key(),
        Column::new(
            "employee_no",
            ColumnKind::Id,
            &["工号", "job number"],
            "job number",
        )
        .personal(),
        Column::new(
            "mobile",
            ColumnKind::Id,
            &["电话", "phone number"],
            "phone number, masked by Feishu",
        )
        .personal(),
        Column::new(
            "email",
            ColumnKind::Text,
            &["邮箱", "email"],
            "e-mail address",
        )
        .personal(),
        Column::new(
            "device",
            ColumnKind::Text,
            &["设备", "device"],
            "kind of device",
        )
        .key(),
        Column::new(
            "client_version",
            ColumnKind::Text,
            &["客户端版本", "app version"],
            "version of the app",
        ),
        Column::new(
            "public_ip",
            ColumnKind::Text,
            &["公网IP", "public network ip"],
            "public address, sometimes masked",
        )
        .personal(),
        Column::new(
            "internal_ip",
            ColumnKind::Text,
            &["内网IP", "internal network ip"],
            "internal address, sometimes masked",
        )
        .personal(),
        Column::new(
            "uses_proxy",
            ColumnKind::Bool,
            &["代理服务", "proxy"],
            "whether a proxy was used",
        ),
        Column::new("location", ColumnKind::Text, &["位置", "location"], "place").personal(),
        Column::new(
            "network_type",
            ColumnKind::Text,
            &["网络类型", "network type"],
            "kind of network",
        ),
        Column::new(
            "microphone",
            ColumnKind::Text,
            &["麦克风", "microphone"],
            "microphone",
        ),
        Column::new(
            "speaker",
            ColumnKind::Text,
            &["扬声器", "speaker"],
            "speaker",
        ),
        Column::new("camera", ColumnKind::Text, &["摄像头", "camera"], "camera"),
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
            "whether the screen was shared",
        ),
        Column::new(
            "join_time",
            ColumnKind::Time,
            &["入会时间", "join time"],
            "first join",
        )
        .required(),
        Column::new(
            "leave_time",
            ColumnKind::Time,
            &["离会时间", "leave time"],
            "last leave",
        ),
        Column::new(
            "time_in_meeting_s",
            ColumnKind::DurationS,
            &["参会时长", "duration"],
            "total time in the meeting, seconds",
        ),
        Column::new(
            "leave_reason",
            ColumnKind::Text,
            &["离会原因", "leave reason"],
            "why the participant left",
        ),
    ]
}
