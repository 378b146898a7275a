//! The meetings of one day and who was in them.
//!
//! Position in the day decides what a meeting is: 0 and 1 are the morning and the afternoon of one recurring meeting, 2 is the 25-hour one on
//! every third day, 3 crosses midnight, every fourth from 4 on is a daily recurring one, the rest happen once. A recurring meeting keeps its
//! number, and its occurrences never overlap.

use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::people::{self, Employee};
use super::quality::QualityMinute;
use super::rooms::Room;
use crate::random::Draw;

/// More meetings a day would run out of 9-digit numbers that stay distinct.
pub(crate) const MOST_MEETINGS_PER_DAY: u32 = 20_000;

/// No meeting lasts longer; whoever looks for overlaps need not look further back.
pub(super) const LONGEST_MEETING: SignedDuration = SignedDuration::from_hours(27);

const TOPICS: [&str; 26] = [
    "项目周会",
    "产品评审",
    "线上问题复盘, 第2次",
    "Roadmap\nsync",
    "Q3 \"OKR\" review",
    "  前后空格  ",
    "=SUM(A1:A9)",
    "<b>HTML</b> & co",
    "🚀 发布冲刺 🎉",
    "客户拜访;跟进",
    "xx的视频会议",
    "1:1",
    "架构评审\t(tab)",
    "面试 - 后端开发",
    "'单引号'会议",
    "+1 讨论",
    "@所有人 通知",
    "-10% 成本计划",
    "Design crit: v2 / v3",
    "第一行\n\n第三行",
    "预算\\反斜杠",
    "定例会議",
    "Café ☕ chat",
    "周会（全角）",
    "\"\"",
    "数据治理 100%",
];

/// What kind of meeting it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeetingKind {
    /// A video meeting.
    Video,
    /// A screen shared to a room without a meeting.
    ScreenShare,
}

/// A meeting that took place, takes place or will.
#[derive(Clone, Debug)]
pub struct Meeting {
    /// 9 digits; the same for every occurrence of a recurring meeting.
    pub meeting_no: String,
    /// May hold line breaks, quotes, formulas, blanks at its ends.
    pub topic: String,
    /// First instant, at a whole second.
    pub start: Timestamp,
    /// Last instant, at a whole second, after `start`.
    pub end: Timestamp,
    /// Who called it.
    pub organizer: Arc<Employee>,
    /// What kind it is.
    pub kind: MeetingKind,
    /// Somebody recorded it.
    pub was_recorded: bool,
    /// It is one of several with this number.
    pub is_recurring: bool,
    /// One for each device that joined; all within the meeting's time.
    pub participants: Vec<Participant>,
}

/// Who a participant is.
#[derive(Clone, Debug)]
pub enum Attendee {
    /// An employee with an account.
    Employee(Arc<Employee>),
    /// A meeting room's device.
    Room(Arc<Room>),
    /// Somebody from outside with the name typed in.
    Guest(String),
    /// Somebody on the telephone: the masked number.
    Pstn(String),
}

/// One device's stay in a meeting: a row of the participant sheet.
#[derive(Clone, Debug)]
pub struct Participant {
    /// Who it is.
    pub who: Attendee,
    /// Such as `WINDOWS`.
    pub device: &'static str,
    /// Such as `7.18.0`; empty for a telephone.
    pub client_version: &'static str,
    /// Address seen by the service.
    pub public_ip: String,
    /// Address in the local network.
    pub internal_ip: String,
    /// Media went through a proxy.
    pub uses_proxy: bool,
    /// Such as `上海`; may be empty.
    pub location: &'static str,
    /// Such as `wifi`; may be empty.
    pub network_type: &'static str,
    /// The microphone's name; may be empty.
    pub microphone: &'static str,
    /// The speaker's name; may be empty.
    pub speaker: &'static str,
    /// The camera's name; may be empty.
    pub camera: &'static str,
    /// Spoke.
    pub used_audio: bool,
    /// Was seen.
    pub used_video: bool,
    /// Shared a screen.
    pub used_screen_share: bool,
    /// First instant in the meeting.
    pub join_time: Timestamp,
    /// Last instant in the meeting.
    pub leave_time: Timestamp,
    /// Why it ended.
    pub leave_reason: LeaveReason,
    pub(super) draw: Draw,
}

/// Why a stay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaveReason {
    /// The participant left.
    Left,
    /// The host ended the meeting.
    HostEnded,
    /// The network broke.
    NetworkLost,
    /// The participant went on with another device.
    SwitchedDevice,
}

impl Meeting {
    /// The unique id, 19 digits.
    #[must_use]
    pub fn id(&self) -> String {
        let number: i64 = self.meeting_no.parse().unwrap_or_default();
        // Start and number tell meetings apart, and both fit without touching.
        (7_000_000_000_000_000_000 + self.start.as_second() * 1_000_000_000 + number).to_string()
    }

    /// Different people and rooms, however many devices each joined with.
    #[must_use]
    pub fn participant_count(&self) -> u64 {
        let mut names: Vec<&str> = self
            .participants
            .iter()
            .map(Participant::identity)
            .collect();
        names.sort_unstable();
        names.dedup();
        names.len() as u64
    }

    /// Devices that joined: rows of the participant sheet.
    #[must_use]
    pub fn device_count(&self) -> u64 {
        self.participants.len() as u64
    }

    /// Seconds from start to end.
    #[must_use]
    pub fn duration_s(&self) -> i64 {
        self.end.as_second() - self.start.as_second()
    }

    /// Somebody from outside took part.
    #[must_use]
    pub fn is_external(&self) -> bool {
        self.participants
            .iter()
            .any(|participant| matches!(participant.who, Attendee::Guest(_)))
    }

    /// Somebody took part by telephone.
    #[must_use]
    pub fn used_phone(&self) -> bool {
        self.participants
            .iter()
            .any(|participant| matches!(participant.who, Attendee::Pstn(_)))
    }

    /// Minutes of quality data of all participants: rows over all their quality sheets.
    #[must_use]
    pub fn quality_minutes(&self) -> u64 {
        self.participants
            .iter()
            .map(Participant::quality_minutes)
            .sum()
    }
}

impl Participant {
    /// The name in the sheet.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.who {
            Attendee::Employee(employee) => &employee.name,
            Attendee::Room(room) => &room.name,
            Attendee::Guest(name) | Attendee::Pstn(name) => name,
        }
    }

    /// The employee; `None` for everybody else.
    #[must_use]
    pub fn employee(&self) -> Option<&Employee> {
        match &self.who {
            Attendee::Employee(employee) => Some(employee),
            _ => None,
        }
    }

    /// The tenant's id of an employee, 8 characters; `None` for everybody else.
    #[must_use]
    pub fn user_id(&self) -> Option<&str> {
        self.employee().map(|employee| employee.user_id.as_str())
    }

    /// `omm_…` of a room; `None` for everybody else.
    #[must_use]
    pub fn room_id(&self) -> Option<&str> {
        match &self.who {
            Attendee::Room(room) => Some(&room.room_id),
            _ => None,
        }
    }

    /// Seconds in the meeting.
    #[must_use]
    pub fn time_in_meeting_s(&self) -> i64 {
        self.leave_time.as_second() - self.join_time.as_second()
    }

    /// Rows of this participant's quality sheet: every minute from that of joining to that of leaving, both included; 0 for those
    /// without a user id or a room id, for whom no export can be asked.
    #[must_use]
    pub fn quality_minutes(&self) -> u64 {
        match self.who {
            Attendee::Employee(_) | Attendee::Room(_) => {
                let minutes = self.leave_time.as_second().div_euclid(60)
                    - self.join_time.as_second().div_euclid(60)
                    + 1;
                minutes.unsigned_abs()
            }
            Attendee::Guest(_) | Attendee::Pstn(_) => 0,
        }
    }

    /// The rows of this participant's quality sheet.
    #[must_use]
    pub fn quality(&self) -> Vec<QualityMinute> {
        let first_minute = self.join_time.as_second().div_euclid(60);
        (0..self.quality_minutes())
            .map(|index| QualityMinute::of(self, first_minute + index as i64))
            .collect()
    }

    fn identity(&self) -> &str {
        match &self.who {
            Attendee::Employee(employee) => &employee.user_id,
            Attendee::Room(room) => &room.room_id,
            Attendee::Guest(name) | Attendee::Pstn(name) => name,
        }
    }
}

/// What meetings are made of.
pub(super) struct Cast<'a> {
    pub(super) root: Draw,
    pub(super) employees: &'a [Arc<Employee>],
    pub(super) rooms: &'a [Arc<Room>],
    pub(super) zone: &'a TimeZone,
}

impl Cast<'_> {
    /// The meetings of `date`, at most `count`.
    pub(super) fn day(&self, date: Date, count: u32) -> Vec<Meeting> {
        (0..u64::from(count))
            .map(|position| self.meeting(date, position))
            .collect()
    }

    fn meeting(&self, date: Date, position: u64) -> Meeting {
        let day = day_number(date);
        let draw = self.root.label("meetings").at(day).at(position);
        let slot = self.slot(day, position, draw);
        let start = self.instant(date, slot.second_of_day);
        let end = start + SignedDuration::from_secs(slot.duration_s as i64);
        // Everything that all occurrences of a recurring meeting share is drawn from the series instead of the occurrence.
        let series = slot
            .series
            .map(|number| self.root.label("series").at(number));
        let number = match slot.series {
            Some(number) => 800_000_000 + number,
            None => (day % 40_000) * u64::from(MOST_MEETINGS_PER_DAY) + position,
        };
        self.assemble(
            draw,
            series.unwrap_or(draw),
            meeting_no(self.root, number),
            start,
            end,
        )
    }

    /// Meetings under way at `now` and ahead of it. They come from the hour of `now` alone, so they never end.
    pub(super) fn live(&self, now: Timestamp) -> Vec<Meeting> {
        let hour = now.as_second().div_euclid(3_600);
        let draw = self.root.label("live").at(hour.unsigned_abs());
        let hour_start = Timestamp::from_second(hour * 3_600).unwrap_or(now);
        let meeting = |index: u64| {
            let draw = draw.at(index);
            let minutes = draw.label("minute").between(1, 45) as i64;
            // The first two began before this hour and outlast it, the others begin in one of the following hours.
            let offset = if index < 2 {
                -60 * minutes
            } else {
                3_600 * (2 * index as i64 - 2) + 60 * minutes
            };
            let start = hour_start + SignedDuration::from_secs(offset);
            let end = start + SignedDuration::from_secs(if index < 2 { 7_200 } else { 2_700 });
            let number = 800_000_000
                + u64::from(MOST_MEETINGS_PER_DAY)
                + (hour.unsigned_abs() % 1_000_000) * 8
                + index;
            self.assemble(draw, draw, meeting_no(self.root, number), start, end)
        };
        (0..5).map(meeting).collect()
    }

    fn assemble(
        &self,
        draw: Draw,
        series: Draw,
        meeting_no: String,
        start: Timestamp,
        end: Timestamp,
    ) -> Meeting {
        let kind = if draw.label("kind").chance(0.06) {
            MeetingKind::ScreenShare
        } else {
            MeetingKind::Video
        };
        let organizer = Arc::clone(
            &self.employees[series.label("organizer").below(self.employees.len() as u64) as usize],
        );
        let participants = self.participants(draw.label("participants"), &organizer, start, end);
        Meeting {
            meeting_no,
            topic: series.label("topic").pick(&TOPICS).to_owned(),
            start,
            end,
            organizer,
            kind,
            was_recorded: draw.label("recorded").chance(0.15),
            is_recurring: series.value() != draw.value(),
            participants,
        }
    }

    fn slot(&self, day: u64, position: u64, draw: Draw) -> Slot {
        let minute = draw.label("minute");
        let second = draw.label("second").below(60);
        match position {
            0 => Slot::new(
                10 * 3_600 + minute.below(4) * 60 + second,
                60 * draw.label("length").between(15, 45),
                Some(0),
            ),
            1 => Slot::new(
                16 * 3_600 + minute.below(4) * 60 + second,
                60 * draw.label("length").between(15, 45),
                Some(0),
            ),
            2 if self.is_long_day(day) => Slot::new(
                9 * 3_600 + minute.below(40) * 60 + second,
                25 * 3_600 + 7,
                None,
            ),
            3 => Slot::new(
                23 * 3_600 + minute.between(15, 50) * 60 + second,
                60 * draw.label("length").between(50, 110) + second,
                None,
            ),
            _ if position.is_multiple_of(4) => {
                let series = self.root.label("series times").at(position);
                let time = (9 + series.below(9)) * 3_600 + series.label("quarter").below(4) * 900;
                Slot::new(
                    time + minute.below(3) * 60 + second,
                    usual_duration_s(draw),
                    Some(position),
                )
            }
            _ => {
                let hour = draw.label("hour").pick(&[
                    8, 9, 9, 10, 10, 11, 11, 13, 14, 14, 15, 15, 16, 17, 18, 19, 20, 21,
                ]);
                Slot::new(
                    hour * 3_600 + minute.below(60) * 60 + second,
                    usual_duration_s(draw),
                    None,
                )
            }
        }
    }

    /// Every third day has a meeting of 25 hours, so that any three consecutive days have one.
    fn is_long_day(&self, day: u64) -> bool {
        day % 3 == self.root.label("long day").below(3)
    }

    fn instant(&self, date: Date, second_of_day: u64) -> Timestamp {
        let (hour, minute, second) = (
            second_of_day / 3_600,
            second_of_day / 60 % 60,
            second_of_day % 60,
        );
        let local = date.at(hour as i8, minute as i8, second as i8, 0);
        local
            .to_zoned(self.zone.clone())
            .map_or(Timestamp::MAX, |zoned| zoned.timestamp())
    }

    fn participants(
        &self,
        draw: Draw,
        organizer: &Arc<Employee>,
        start: Timestamp,
        end: Timestamp,
    ) -> Vec<Participant> {
        let mut attendees = vec![Attendee::Employee(Arc::clone(organizer))];
        let colleagues = draw
            .label("colleagues")
            .pick(&[1, 2, 2, 3, 3, 3, 4, 4, 5, 7]);
        for index in self.distinct(draw.label("who"), self.employees.len(), colleagues) {
            if self.employees[index].user_id != organizer.user_id {
                attendees.push(Attendee::Employee(Arc::clone(&self.employees[index])));
            }
        }
        if draw.label("room").chance(0.35) {
            let rooms: Vec<&Arc<Room>> = self.rooms.iter().filter(|room| room.enabled).collect();
            let count = if draw.label("second room").chance(0.2) {
                2
            } else {
                1
            };
            for index in self.distinct(draw.label("which room"), rooms.len(), count) {
                attendees.push(Attendee::Room(Arc::clone(rooms[index])));
            }
        }
        if draw.label("guest").chance(0.25) {
            let first = draw.label("guest name").below(people::guest_names());
            let count = draw.label("guests").between(1, 2);
            attendees.extend(
                (0..count).map(|number| Attendee::Guest(people::guest_name(first + number))),
            );
        }
        if draw.label("pstn").chance(0.08) {
            attendees.push(Attendee::Pstn(format!(
                "+86139****{:04}",
                draw.label("number").below(10_000)
            )));
        }
        let mut participants = Vec::with_capacity(attendees.len() + 1);
        for (index, who) in attendees.into_iter().enumerate() {
            stays(
                draw.label("stay").at(index as u64),
                who,
                index == 0,
                start,
                end,
                &mut participants,
            );
        }
        participants
    }

    /// `count` different indexes below `len`, or all of them.
    fn distinct(&self, draw: Draw, len: usize, count: usize) -> Vec<usize> {
        let mut chosen = Vec::with_capacity(count);
        let mut attempt = 0;
        while chosen.len() < count.min(len) {
            let index = draw.at(attempt).below(len as u64) as usize;
            if !chosen.contains(&index) {
                chosen.push(index);
            }
            attempt += 1;
        }
        chosen
    }
}

/// When a meeting takes place and to which series it belongs.
struct Slot {
    second_of_day: u64,
    duration_s: u64,
    series: Option<u64>,
}

impl Slot {
    const fn new(second_of_day: u64, duration_s: u64, series: Option<u64>) -> Self {
        Self {
            second_of_day,
            duration_s,
            series,
        }
    }
}

/// Days since 1970-01-01, never negative for the dates at hand.
pub(super) fn day_number(date: Date) -> u64 {
    let epoch = jiff::civil::date(1970, 1, 1);
    u64::try_from(date.duration_since(epoch).as_hours() / 24).unwrap_or(0)
}

fn usual_duration_s(draw: Draw) -> u64 {
    let draw = draw.label("duration");
    match draw.label("class").below(20) {
        0 => draw.between(61, 299),
        1 | 2 => draw.between(3_600, 2 * 3_600),
        3 => draw.between(2 * 3_600, 3 * 3_600),
        _ => draw.between(15 * 60, 60 * 60),
    }
}

/// The 9-digit number of `index`, which is below 900,000,000. Distinct indexes have distinct numbers: the factor shares no divisor with
/// the modulus.
fn meeting_no(root: Draw, index: u64) -> String {
    const MODULUS: u64 = 900_000_000;
    const FACTOR: u64 = 387_420_487;
    let shifted =
        (index % MODULUS * FACTOR + root.label("meeting numbers").below(MODULUS)) % MODULUS;
    format!("{}", 100_000_000 + shifted)
}

/// Adds the stay of `who`: one row, or two when the device was changed on the way.
fn stays(
    draw: Draw,
    who: Attendee,
    is_organizer: bool,
    start: Timestamp,
    end: Timestamp,
    into: &mut Vec<Participant>,
) {
    let length_s = (end.as_second() - start.as_second()) as u64;
    let late_s = if is_organizer {
        0
    } else {
        draw.label("late").below((length_s / 4).clamp(1, 600))
    };
    let early_s = if draw.label("early").chance(0.3) {
        draw.label("early by").below((length_s / 4).clamp(1, 900))
    } else {
        0
    };
    let join = start + SignedDuration::from_secs(late_s as i64);
    let leave = end - SignedDuration::from_secs(early_s as i64);
    let stay_s = (leave.as_second() - join.as_second()) as u64;

    let can_switch = matches!(who, Attendee::Employee(_)) && stay_s > 600;
    if !can_switch || !draw.label("switch").chance(0.07) {
        let reason = if early_s == 0 {
            LeaveReason::HostEnded
        } else {
            draw.label("reason").pick(&[
                LeaveReason::Left,
                LeaveReason::Left,
                LeaveReason::NetworkLost,
            ])
        };
        into.push(participant(draw, who, false, join, leave, reason));
        return;
    }
    // The gap is over a minute, so the two rows never begin in the same minute.
    let left_at = join + SignedDuration::from_secs((stay_s / 3) as i64);
    let back_at = left_at + SignedDuration::from_secs(draw.label("gap").between(61, 180) as i64);
    into.push(participant(
        draw,
        who.clone(),
        false,
        join,
        left_at,
        LeaveReason::SwitchedDevice,
    ));
    into.push(participant(
        draw.label("second device"),
        who,
        true,
        back_at,
        leave,
        LeaveReason::HostEnded,
    ));
}

fn participant(
    draw: Draw,
    who: Attendee,
    other_device: bool,
    join_time: Timestamp,
    leave_time: Timestamp,
    leave_reason: LeaveReason,
) -> Participant {
    let device = match &who {
        Attendee::Employee(employee) if other_device || draw.label("device").chance(0.1) => {
            employee.other_device
        }
        Attendee::Employee(employee) => employee.usual_device,
        Attendee::Room(_) => "ROOMS",
        Attendee::Guest(_) => draw
            .label("device")
            .pick(&["WEB", "IOS", "ANDROID", "WINDOWS"]),
        Attendee::Pstn(_) => "PSTN",
    };
    // The second row of somebody who switched must differ in its device even when the habit says otherwise.
    let device = if other_device && device == "WEB" {
        "IOS"
    } else {
        device
    };
    let by_phone = matches!(who, Attendee::Pstn(_));
    let used_video = !by_phone && draw.label("video").chance(0.6);
    Participant {
        device,
        client_version: if by_phone {
            ""
        } else {
            draw.label("version")
                .pick(&["7.18.0", "7.20.3", "7.21.0-alpha.2", "6.11.9"])
        },
        public_ip: if by_phone {
            String::new()
        } else {
            public_ip(draw.label("public"))
        },
        internal_ip: if by_phone {
            String::new()
        } else {
            format!(
                "192.168.{}.{}",
                draw.label("net").below(4),
                draw.label("host").between(2, 254)
            )
        },
        uses_proxy: draw.label("proxy").chance(0.05),
        location: draw
            .label("location")
            .pick(&["上海", "北京", "深圳", "中国大陆", "新加坡", ""]),
        network_type: if by_phone {
            ""
        } else {
            draw.label("network")
                .pick(&["wifi", "wifi", "LAN", "4G", "5G", ""])
        },
        microphone: if by_phone {
            ""
        } else {
            draw.label("microphone").pick(&[
                "与系统一致",
                "麦克风阵列 (Realtek(R) Audio)",
                "MacBook Pro麦克风",
            ])
        },
        speaker: if by_phone {
            ""
        } else {
            draw.label("speaker")
                .pick(&["与系统一致", "扬声器 (Realtek(R) Audio)", "AirPods"])
        },
        camera: if used_video {
            draw.label("camera")
                .pick(&["Integrated Camera", "FaceTime高清相机", "Logitech, C920"])
        } else {
            ""
        },
        used_audio: draw.label("audio").chance(0.85),
        used_video,
        used_screen_share: !by_phone && draw.label("share").chance(0.2),
        who,
        join_time,
        leave_time,
        leave_reason,
        draw,
    }
}

fn public_ip(draw: Draw) -> String {
    // 203.0.113.0/24 is reserved for examples; some addresses arrive masked.
    if draw.label("masked").chance(0.2) {
        return format!("203.xx.xx.{}", draw.between(1, 254));
    }
    format!("203.0.113.{}", draw.between(1, 254))
}
