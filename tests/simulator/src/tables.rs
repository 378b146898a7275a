//! The four sheets: which columns they have in which layout and language, and how a value is written.
//!
//! Takes pieces of the truth and a [`View`], gives a [`Table`]. Which rows belong into a file is decided in `exports`.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::company::{
    CheckInDevice, CheckInStatus, LeaveReason, Meeting, MeetingKind, Participant, Reservation,
    ReservationStatus,
};
use crate::knobs::{Knobs, Language};
use crate::workbook::{Cell, Table};

/// How a file is written.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) knobs: &'a Knobs,
    pub(crate) zone: &'a TimeZone,
    /// The observed layout instead of the documented one.
    pub(crate) observed: bool,
    /// The app may see employee ids; otherwise 用户ID is blank.
    pub(crate) shows_user_ids: bool,
    /// Nothing after this instant is known to the file.
    pub(crate) as_of: Timestamp,
}

/// A column: its documented name, the observed one, the English one. An empty name: not in that layout.
struct Column(&'static str, &'static str, &'static str);

const MEETING_COLUMNS: [Column; 20] = [
    Column("会议ID", " 会议 ID ", "meeting id"),
    Column("", "外部会议", "external meeting"),
    Column("会议主题", "会议主题", "meeting topic"),
    Column("", "会议类型 ", "meeting type"),
    Column("会议组织者", "组织者", "meeting organizer"),
    Column("部门", "组织者部门", "department"),
    Column("用户ID", "用户ID", "user id"),
    Column("工号", " 工号", "job number"),
    Column("邮箱", "邮箱", "email"),
    Column("手机", "手机", "phone number"),
    Column("会议开始时间", "会议开始时间", "meeting start time"),
    Column("会议结束时间", "会议结束时间", "meeting end time"),
    Column("会议持续时间", "会议时长", "meeting duration"),
    Column("参会人数量", "参会人数", "Number of participants"),
    Column("", "累计入会设备数", "number of devices"),
    Column("音频", "音频", "audio"),
    Column("视频", "视频 ", "video"),
    Column("共享", "共享", "share"),
    Column("录制", "录制", "recording"),
    Column("电话", "电话", "phone"),
];

const PARTICIPANT_COLUMNS: [Column; 25] = [
    Column("参会人", "参会者 ", "participant"),
    Column("部门", "部门", "department"),
    Column("用户ID", " 用户ID", "user id"),
    Column("工号", "工号", "job number"),
    Column("电话", "电话", "phone number"),
    Column("邮箱", "邮箱", "email"),
    Column("设备", "设备", "device"),
    Column("客户端版本", "客户端版本", "app version"),
    Column("公网IP", "公网IP ", "public network ip"),
    Column("内网IP", "内网IP", "internal network ip"),
    Column("代理服务", "代理服务", "proxy"),
    Column("位置", "位置", "location"),
    Column("网络类型", "网络类型", "network type"),
    Column("", "连接类型", "protocol"),
    Column("麦克风", "麦克风", "microphone"),
    Column("扬声器", "扬声器", "speaker"),
    Column("摄像头", "摄像头", "camera"),
    Column("音频", "音频", "audio"),
    Column("视频", "视频", "video"),
    Column("共享", "共享", "share"),
    Column("入会时间", "入会时间", "join time"),
    Column("离会时间", "离会时间 ", "leave time"),
    Column("参会时长", "参会时长", "duration"),
    Column("离会原因", "离会原因", "leave reason"),
    Column("会议室ID", "会议室ID", "meeting room id"),
];

const RESERVATION_COLUMNS: [Column; 16] = [
    Column("会议室名称", "会议室名称 ", "meeting room name"),
    Column("会议主题", "会议主题", "meeting topic"),
    Column("预定人", "预定人", "booker"),
    Column("预定人所属部门", "预定人所属部门", "department of booker"),
    Column("邀请人数", "邀请人数", "Number of invitees"),
    Column("接受人数", "接受人数", "Number of accept"),
    Column("会议开始时间", " 会议开始时间", "meeting start time"),
    Column("会议结束时间", "会议结束时间", "meeting end time"),
    Column("会议时长", "会议时长", "meeting duration"),
    Column(
        "会议室预定状态",
        "会议室预定状态",
        "status of meeting room reservation",
    ),
    Column("签到设备", "签到设备", "check-in device"),
    Column(
        "会议室签到状态",
        "会议室签到状态",
        "check-in status of meeting room",
    ),
    Column(
        "会议室签到时间",
        "会议室签到时间",
        "check-in time of meeting room",
    ),
    Column("释放人", "释放人", "releaser"),
    Column("释放时间", "释放时间", "release time"),
    Column("", "是否提前释放", "released early"),
];

/// The meeting list.
pub(crate) fn meetings<'a>(
    meetings: impl IntoIterator<Item = &'a Meeting>,
    view: &View<'_>,
) -> Table {
    let rows = meetings.into_iter().map(|meeting| view.meeting(meeting));
    view.table(&MEETING_COLUMNS, rows, |_| true)
}

/// The participant list; `participants` of one meeting or of several with one number.
pub(crate) fn participants<'a>(
    participants: impl IntoIterator<Item = &'a Participant>,
    view: &View<'_>,
) -> Table {
    let rows = participants
        .into_iter()
        .map(|participant| view.participant(participant));
    view.table(&PARTICIPANT_COLUMNS, rows, |name| {
        name != "会议室ID" || view.knobs.room_id_column
    })
}

/// The quality of one participant; none for one who does not exist.
pub(crate) fn quality(participant: Option<&Participant>, view: &View<'_>) -> Table {
    let minutes = participant.map(Participant::quality).unwrap_or_default();
    let mut header = quality_header(view.english());
    if view.observed {
        header = header
            .iter()
            .enumerate()
            .map(|(index, name)| {
                if index % 7 == 0 {
                    format!("{name} ")
                } else {
                    name.clone()
                }
            })
            .collect();
        header.push(
            if view.english() {
                "cpu avg usage of system"
            } else {
                "系统平均 CPU 占用"
            }
            .to_owned(),
        );
    }
    let row = |minute: crate::company::QualityMinute| {
        let mut row = vec![view.instant(Some(minute.time))];
        row.extend(minute.cells.into_iter().map(Cell::Text));
        if view.observed {
            row.push(text("21%"));
        }
        row
    };
    Table {
        header,
        rows: minutes.into_iter().map(row).collect(),
    }
}

/// The reservations.
pub(crate) fn reservations<'a>(
    reservations: impl IntoIterator<Item = &'a Reservation>,
    need_topic: bool,
    view: &View<'_>,
) -> Table {
    let rows = reservations
        .into_iter()
        .map(|reservation| view.reservation(reservation, need_topic));
    // Whether the column is absent or blank without topics is not documented: the layouts differ.
    view.table(&RESERVATION_COLUMNS, rows, |name| {
        need_topic || !view.observed || name != "会议主题"
    })
}

fn quality_header(english: bool) -> Vec<String> {
    let mut header = vec![if english { "time" } else { "时间" }.to_owned()];
    // The vendor writes "birate".
    let (media, directions, figures) = if english {
        (
            ["audio", "video", "share-screen"],
            ["receiver", "sender"],
            ["birate", "lag", "jitter", "loss avg", "loss max"],
        )
    } else {
        (
            ["音频", "视频", "共享屏幕"],
            ["接收", "发送"],
            ["码率", "延迟", "抖动", "丢包平均", "丢包最大"],
        )
    };
    for medium in media {
        for direction in directions {
            let name = |figure: &str| {
                if english {
                    format!("{medium}-{figure}({direction})")
                } else {
                    format!("{medium}-{figure}（{direction}）")
                }
            };
            header.extend(figures.iter().map(|figure| name(figure)));
        }
    }
    let processor = if english {
        [
            "cpu min usage of client",
            "cpu avg usage of client",
            "cpu max usage of client",
            "cpu max usage of system",
        ]
    } else {
        [
            "客户端最小 CPU 占用",
            "客户端平均 CPU 占用",
            "客户端最大 CPU 占用",
            "系统最大 CPU 占用",
        ]
    };
    header.extend(processor.map(str::to_owned));
    header
}

impl View<'_> {
    fn english(&self) -> bool {
        self.knobs.language == Language::En
    }

    /// The columns of this layout that `keeps` keeps (asked by the documented name), with those cells of the rows.
    fn table(
        &self,
        columns: &[Column],
        rows: impl Iterator<Item = Vec<Cell>>,
        keeps: impl Fn(&str) -> bool,
    ) -> Table {
        let kept: Vec<bool> = columns
            .iter()
            .map(|Column(documented, _, _)| {
                keeps(documented) && (self.observed || !documented.is_empty())
            })
            .collect();
        let name = |column: &Column| match (self.english(), self.observed) {
            (false, false) => column.0.to_owned(),
            (false, true) => column.1.to_owned(),
            (true, false) => column.2.to_owned(),
            // The same columns carry stray blanks in either language.
            (true, true) if column.1.trim() == column.1 => column.2.to_owned(),
            (true, true) => format!(" {} ", column.2),
        };
        let header = columns
            .iter()
            .zip(&kept)
            .filter(|&(_, &kept)| kept)
            .map(|(column, _)| name(column))
            .collect();
        let keep = |row: Vec<Cell>| {
            row.into_iter()
                .zip(&kept)
                .filter(|&(_, &kept)| kept)
                .map(|(cell, _)| cell)
                .collect()
        };
        Table {
            header,
            rows: rows.map(keep).collect(),
        }
    }

    fn meeting(&self, meeting: &Meeting) -> Vec<Cell> {
        let organizer = &meeting.organizer;
        let used = |used: fn(&Participant) -> bool| self.yes(meeting.participants.iter().any(used));
        let has_ended = meeting.end <= self.as_of;
        let kind = match (meeting.kind, self.english()) {
            (MeetingKind::Video, false) => "视频会议",
            (MeetingKind::Video, true) => "video meeting",
            (MeetingKind::ScreenShare, false) => "本地投屏",
            (MeetingKind::ScreenShare, true) => "local screen share",
        };
        vec![
            text(&meeting.meeting_no),
            self.yes(meeting.is_external()),
            text(&meeting.topic),
            text(kind),
            text(&organizer.name),
            text(&organizer.department),
            text(if self.shows_user_ids {
                &organizer.user_id
            } else {
                ""
            }),
            text(&organizer.employee_no),
            text(&organizer.email),
            text(&organizer.mobile),
            self.instant(Some(meeting.start)),
            self.instant(has_ended.then_some(meeting.end)),
            if has_ended {
                duration(meeting.duration_s())
            } else {
                text("")
            },
            self.count(meeting.participant_count()),
            self.count(meeting.device_count()),
            used(|participant| participant.used_audio),
            used(|participant| participant.used_video),
            used(|participant| participant.used_screen_share),
            self.yes(meeting.was_recorded),
            self.yes(meeting.used_phone()),
        ]
    }

    fn participant(&self, participant: &Participant) -> Vec<Cell> {
        let employee = participant.employee();
        let of_employee =
            |field: fn(&crate::company::Employee) -> &str| text(employee.map_or("", field));
        let has_left = participant.leave_time <= self.as_of;
        vec![
            text(participant.name()),
            of_employee(|employee| &employee.department),
            text(
                employee
                    .filter(|_| self.shows_user_ids)
                    .map_or("", |employee| &employee.user_id),
            ),
            of_employee(|employee| &employee.employee_no),
            of_employee(|employee| &employee.mobile),
            of_employee(|employee| &employee.email),
            text(participant.device),
            text(participant.client_version),
            text(&participant.public_ip),
            text(&participant.internal_ip),
            self.yes(participant.uses_proxy),
            text(participant.location),
            text(participant.network_type),
            text(if participant.uses_proxy { "tcp" } else { "udp" }),
            text(participant.microphone),
            text(participant.speaker),
            text(participant.camera),
            self.yes(participant.used_audio),
            self.yes(participant.used_video),
            self.yes(participant.used_screen_share),
            self.instant(Some(participant.join_time)),
            self.instant(has_left.then_some(participant.leave_time)),
            if has_left {
                duration(participant.time_in_meeting_s())
            } else {
                text("")
            },
            text(if has_left {
                self.leave_reason(participant.leave_reason)
            } else {
                ""
            }),
            text(participant.room_id().unwrap_or("")),
        ]
    }

    fn reservation(&self, reservation: &Reservation, need_topic: bool) -> Vec<Cell> {
        let booker = &reservation.booker;
        let length_s = reservation.end.as_second() - reservation.start.as_second();
        let was_released = !matches!(
            reservation.status,
            ReservationStatus::Reserved | ReservationStatus::PendingApproval
        );
        vec![
            text(&reservation.room.name),
            text(if need_topic { &reservation.topic } else { "" }),
            text(&booker.name),
            text(&booker.department),
            self.count(u64::from(reservation.invitee_count)),
            self.count(u64::from(reservation.accepted_count)),
            self.instant(Some(reservation.start)),
            self.instant(Some(reservation.end)),
            if self.observed {
                short_duration(length_s)
            } else {
                duration(length_s)
            },
            text(self.reservation_status(reservation.status)),
            text(
                reservation
                    .check_in_device
                    .map_or("", |device| self.check_in_device(device)),
            ),
            text(self.check_in_status(reservation.check_in_status)),
            self.instant(reservation.check_in_time),
            text(&reservation.releaser_name),
            self.instant(reservation.release_time),
            text(if was_released {
                self.reservation_status(reservation.status)
            } else {
                ""
            }),
        ]
    }

    fn instant(&self, instant: Option<Timestamp>) -> Cell {
        let Some(instant) = instant else {
            return text("");
        };
        let local = instant.to_zoned(self.zone.clone());
        let format = if self.knobs.zone_suffix {
            "%Y.%m.%d %H:%M:%S (GMT%:z)"
        } else {
            "%Y.%m.%d %H:%M:%S"
        };
        Cell::Text(local.strftime(format).to_string())
    }

    fn count(&self, count: u64) -> Cell {
        if self.knobs.numeric_counts {
            Cell::Number(count)
        } else {
            Cell::Text(count.to_string())
        }
    }

    fn yes(&self, yes: bool) -> Cell {
        text(match (yes, self.english()) {
            (true, false) => "是",
            (false, false) => "否",
            (true, true) => "yes",
            (false, true) => "no",
        })
    }

    fn leave_reason(&self, reason: LeaveReason) -> &'static str {
        self.word(match reason {
            LeaveReason::Left => ("主动离会", "The participant left"),
            LeaveReason::HostEnded => ("主持人结束会议", "The host ends the meeting"),
            LeaveReason::NetworkLost => ("网络断开", "Network disconnected"),
            LeaveReason::SwitchedDevice => ("切换设备", "Switched to another device"),
        })
    }

    fn reservation_status(&self, status: ReservationStatus) -> &'static str {
        self.word(match status {
            ReservationStatus::PendingApproval => ("审批中", "under approval"),
            ReservationStatus::Reserved => ("预定成功", "success"),
            ReservationStatus::ReleasedManually => {
                ("已释放（手动释放）", "Released (manual release)")
            }
            ReservationStatus::ReleasedAfterMeeting => (
                "已释放（会议结束后自动释放）",
                "Released (Automatic release after the meeting ends)",
            ),
            ReservationStatus::ReleasedNoCheckIn => (
                "已释放（未签到被释放）",
                "Released (Released without sign in)",
            ),
            // No English text is published for this one.
            ReservationStatus::ReleasedBySensor => {
                ("已释放（传感器自动释放）", "Released (Released by sensor)")
            }
        })
    }

    fn check_in_device(&self, device: CheckInDevice) -> &'static str {
        self.word(match device {
            CheckInDevice::Board => ("签到板", "checkboard"),
            CheckInDevice::QrCode => ("签到二维码", "check QR-code"),
            CheckInDevice::Controller => ("控制器", "controller"),
            // Two pages of the documentation write it differently.
            CheckInDevice::TouchPanel if self.observed => ("触屏版", "touch screen"),
            CheckInDevice::TouchPanel => ("触屏板", "touch screen"),
            CheckInDevice::OfflineAuto => (
                "设备离线，自动签到",
                "When the device is offline, check in automatically",
            ),
        })
    }

    fn check_in_status(&self, status: CheckInStatus) -> &'static str {
        self.word(match status {
            CheckInStatus::NotRequiredInstant => (
                "无需签到（即时预定）",
                "No sign-in required (instant booking)",
            ),
            CheckInStatus::NotRequiredSettingOff => (
                "无需签到（未开启签到设置）",
                "No sign-in required (Sign-in settings are not turned on)",
            ),
            CheckInStatus::NotRequired => ("无需签到", "No sign-in required"),
            CheckInStatus::Missed => ("超时未签到", "Timeout not signed in"),
            CheckInStatus::Open => ("签到时间未结束", "Sign-in time is not over"),
            CheckInStatus::NotRequiredNoDevice => (
                "无需签到（未安装签到设备）",
                "No sign-in required (no check-in device installed)",
            ),
            CheckInStatus::CheckedIn => ("已签到", "signed in"),
            // No English text is published for these two.
            CheckInStatus::Awaiting => ("待签到", "to be signed in"),
            CheckInStatus::RoomDisabled => (
                "不可签到（会议室被禁用）",
                "Sign-in unavailable (room disabled)",
            ),
        })
    }

    fn word(&self, (chinese, english): (&'static str, &'static str)) -> &'static str {
        if self.english() { english } else { chinese }
    }
}

fn text(text: impl Into<String>) -> Cell {
    Cell::Text(text.into())
}

/// `HH:MM:SS`; hours may exceed 24.
fn duration(seconds: i64) -> Cell {
    Cell::Text(format!(
        "{:02}:{:02}:{:02}",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60
    ))
}

/// `H:MM:SS`, as one documented example has it.
fn short_duration(seconds: i64) -> Cell {
    Cell::Text(format!(
        "{}:{:02}:{:02}",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60
    ))
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::company::Company;

    fn check(observed: bool, knobs: &Knobs) -> [Table; 4] {
        let zone = TimeZone::get("Asia/Shanghai").unwrap();
        let company = Company::new(1, date(2026, 10, 18), 3, 12, zone.clone());
        let view = View {
            knobs,
            zone: &zone,
            observed,
            shows_user_ids: true,
            as_of: Timestamp::MAX,
        };
        let all = company
            .meetings()
            .iter()
            .flat_map(|meeting| &meeting.participants);
        let tables = [
            meetings(company.meetings().iter().map(|meeting| &**meeting), &view),
            participants(all, &view),
            quality(company.meetings()[0].participants.first(), &view),
            reservations(company.reservations(), true, &view),
        ];
        for table in &tables {
            assert!(
                !table.rows.is_empty()
                    && table.rows.iter().all(|row| row.len() == table.header.len())
            );
        }
        tables
    }

    #[test]
    fn the_documented_layout_has_the_documented_columns() {
        let widths = check(false, &Knobs::default()).map(|table| table.header.len());
        assert_eq!(widths, [17, 23, 35, 15]);
    }

    #[test]
    fn the_observed_layout_has_more_columns_and_stray_blanks() {
        let tables = check(
            true,
            &Knobs {
                room_id_column: true,
                ..Knobs::default()
            },
        );
        assert_eq!(
            tables.each_ref().map(|table| table.header.len()),
            [20, 25, 36, 16]
        );
        assert!(
            tables
                .iter()
                .all(|table| table.header.iter().any(|name| name.trim() != name))
        );
    }

    #[test]
    fn the_english_headers_are_the_vendor_s() {
        let tables = check(
            false,
            &Knobs {
                language: Language::En,
                ..Knobs::default()
            },
        );
        assert_eq!(tables[0].header[0], "meeting id");
        assert_eq!(tables[2].header[1], "audio-birate(receiver)");
        assert_eq!(tables[2].header[10], "audio-loss max(sender)");
    }

    #[test]
    fn instants_and_durations_are_written_as_documented() {
        let zone = TimeZone::get("Asia/Shanghai").unwrap();
        let knobs = Knobs::default();
        let view = View {
            knobs: &knobs,
            zone: &zone,
            observed: false,
            shows_user_ids: true,
            as_of: Timestamp::MAX,
        };
        let instant: Timestamp = "2022-07-21T03:01:40Z".parse().unwrap();
        assert_eq!(
            view.instant(Some(instant)),
            text("2022.07.21 11:01:40 (GMT+08:00)")
        );
        assert_eq!(duration(90_061), text("25:01:01"));
        assert_eq!(short_duration(3_600), text("1:00:00"));
    }
}
