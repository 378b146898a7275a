//! Columns of `participant_list` (API reference, 4.3). The sheet names no meeting: that comes from the task.

use super::{Column, Kind};

pub(super) fn columns() -> Vec<Column> {
    vec![
        Column::new("meeting_no", Kind::Id, &[], "9-digit number of the meeting")
            .of_task()
            .required(),
        Column::new(
            "meeting_start_time",
            Kind::Time,
            &[],
            "start of the meeting",
        )
        .of_task()
        .required(),
        Column::new("meeting_end_time", Kind::Time, &[], "end of the meeting").of_task(),
        Column::new(
            "participant_name",
            Kind::Text,
            &["参会人", "参会者", "participant"],
            "name",
        )
        .personal()
        .required(),
        Column::new(
            "department",
            Kind::Text,
            &["部门", "department"],
            "department",
        ),
        Column::new(
            "user_id",
            Kind::Id,
            &["用户ID", "user id"],
            "employee id; empty for guests and rooms",
        )
        .personal()
        .key(),
        Column::new(
            "employee_no",
            Kind::Id,
            &["工号", "job number"],
            "job number",
        )
        .personal(),
        Column::new(
            "mobile",
            Kind::Id,
            &["电话", "phone number"],
            "phone number, masked by Feishu",
        )
        .personal(),
        Column::new("email", Kind::Text, &["邮箱", "email"], "e-mail address").personal(),
        Column::new("device", Kind::Text, &["设备", "device"], "kind of device").key(),
        Column::new(
            "client_version",
            Kind::Text,
            &["客户端版本", "app version"],
            "version of the app",
        ),
        Column::new(
            "public_ip",
            Kind::Text,
            &["公网IP", "public network ip"],
            "public address, sometimes masked",
        )
        .personal(),
        Column::new(
            "internal_ip",
            Kind::Text,
            &["内网IP", "internal network ip"],
            "internal address, sometimes masked",
        )
        .personal(),
        Column::new(
            "uses_proxy",
            Kind::Bool,
            &["代理服务", "proxy"],
            "whether a proxy was used",
        ),
        Column::new("location", Kind::Text, &["位置", "location"], "place").personal(),
        Column::new(
            "network_type",
            Kind::Text,
            &["网络类型", "network type"],
            "kind of network",
        ),
        Column::new(
            "microphone",
            Kind::Text,
            &["麦克风", "microphone"],
            "microphone",
        ),
        Column::new("speaker", Kind::Text, &["扬声器", "speaker"], "speaker"),
        Column::new("camera", Kind::Text, &["摄像头", "camera"], "camera"),
        Column::new(
            "used_audio",
            Kind::Bool,
            &["音频", "audio"],
            "whether audio was used",
        ),
        Column::new(
            "used_video",
            Kind::Bool,
            &["视频", "video"],
            "whether video was used",
        ),
        Column::new(
            "used_screen_share",
            Kind::Bool,
            &["共享", "share"],
            "whether the screen was shared",
        ),
        Column::new(
            "join_time",
            Kind::Time,
            &["入会时间", "join time"],
            "first join",
        )
        .required(),
        Column::new(
            "leave_time",
            Kind::Time,
            &["离会时间", "leave time"],
            "last leave",
        ),
        Column::new(
            "time_in_meeting_s",
            Kind::DurationS,
            &["参会时长", "duration"],
            "total time in the meeting, seconds",
        ),
        Column::new(
            "leave_reason",
            Kind::Text,
            &["离会原因", "leave reason"],
            "why the participant left",
        ),
    ]
}
