//! Alerts: what the monitoring of rooms and their devices told people.
//!
//! An alert is given once, may be taken up, and recovers within hours, days or never; where it stands is asked for with an instant. The
//! first alert of each day is given at midnight, where two days meet.

use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

use super::meetings::day_number;
use super::people::{DEPARTMENTS, Employee};
use super::rooms::Room;
use crate::random::Draw;

/// Name, condition and what is watched, as the wire counts it.
const RULES: [(&str, &str, u8); 7] = [
    (
        "会议室离线",
        "连续1个周期（共1分钟），控制器离线，则告警",
        1,
    ),
    (
        "签到板断开连接",
        "连续2个周期（共2分钟），签到板电量 < 50%，则告警",
        2,
    ),
    ("投屏盒子离线", "连续1个周期（共1分钟），离线，则告警", 3),
    (
        "投屏服务异常",
        "连续3个周期（共3分钟），错误率 > 5%，则告警",
        4,
    ),
    ("SIP 注册失败", "连续1个周期（共1分钟），未注册，则告警", 5),
    ("ERC node \"down\"", "1 period (1 minute), unreachable", 6),
    ("传感器离线", "连续1个周期（共1分钟），离线，则告警", 7),
];

/// An alert.
#[derive(Clone, Debug)]
pub struct Alert {
    /// 19 digits.
    pub alert_id: String,
    /// When people were told.
    pub time: Timestamp,
    /// 0 to 2.
    pub level: u8,
    /// What is watched, 1 to 7.
    pub target: u8,
    /// Name of the room or the server.
    pub target_name: String,
    /// Name of the rule.
    pub rule_name: &'static str,
    /// Number of the rule.
    pub rule_id: String,
    /// The rule in words.
    pub condition: &'static str,
    /// The room, if it is one.
    pub room: Option<Arc<Room>>,
    /// Hardware address of the room's computer; empty if it is no room.
    pub room_mac: String,
    /// Whom the rule names: the kind on the wire (1 user, 2 group, 3 department) and the name.
    pub contacts: Vec<(u8, String)>,
    /// How they were told: 0 bot, 1 e-mail.
    pub notify_methods: &'static [u8],
    /// The methods are written as in the documentation's example, as a list in a list.
    pub is_nested: bool,
    /// States are written with their deprecated numbers.
    pub is_deprecated: bool,
    /// When somebody takes it up.
    pub process_time: Option<Timestamp>,
    /// When it is over.
    pub recover_time: Option<Timestamp>,
}

/// Where an alert stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertStatus {
    /// Nobody cares yet.
    Pending,
    /// Somebody does.
    Processing,
    /// It is over.
    Recovered,
}

impl Alert {
    /// Where it stands at `now`.
    #[must_use]
    pub fn status(&self, now: Timestamp) -> AlertStatus {
        let is_past = |time: Option<Timestamp>| time.is_some_and(|time| time <= now);
        match (is_past(self.recover_time), is_past(self.process_time)) {
            (true, _) => AlertStatus::Recovered,
            (false, true) => AlertStatus::Processing,
            (false, false) => AlertStatus::Pending,
        }
    }
}

/// The alerts of `date`, by time.
pub(super) fn day(
    root: Draw,
    date: Date,
    zone: &TimeZone,
    rooms: &[Arc<Room>],
    employees: &[Arc<Employee>],
) -> Vec<Alert> {
    let Ok(midnight) = date.to_zoned(zone.clone()) else {
        return Vec::new();
    };
    let draw = root.label("alerts").at(day_number(date));
    let count = draw.label("count").between(6, 14);
    let mut alerts: Vec<Alert> = (0..count)
        .map(|index| {
            let draw = draw.at(index);
            // Until nine in the evening, so that what is over soon is over on the same day.
            let second = if index == 0 {
                0
            } else {
                draw.label("time").below(21 * 3_600)
            };
            let time = midnight.timestamp() + SignedDuration::from_secs(second as i64);
            let mut alert = alert(draw, index, rooms, employees, time);
            alert.alert_id = (7_200_000_000_000_000_000
                + day_number(date) * 1_000_000_000_000
                + index * 1_000_000_000
                + draw.label("id").below(1_000_000_000))
            .to_string();
            alert.recover_time = recovery(draw, date, zone, time);
            alert
        })
        .collect();
    alerts.sort_by_key(|alert| alert.time);
    alerts
}

fn alert(
    draw: Draw,
    index: u64,
    rooms: &[Arc<Room>],
    employees: &[Arc<Employee>],
    time: Timestamp,
) -> Alert {
    let (rule_name, condition, target) = RULES[(index % RULES.len() as u64) as usize];
    let room = (target <= 2).then(|| {
        let index = draw.label("room").below(rooms.len() as u64) as usize;
        Arc::clone(&rooms[index])
    });
    let is_room = target == 1;
    let mac = draw.label("mac").hex(12);
    let pairs = (0..6).map(|pair| mac[2 * pair..2 * pair + 2].to_owned());
    let taken_up = draw.label("taken up").chance(0.6);
    let minutes = draw.label("minutes").between(5, 90) as i64;
    Alert {
        alert_id: String::new(),
        time,
        level: draw.label("level").below(3) as u8,
        target,
        target_name: room.as_ref().map_or_else(
            || format!("server-{}", draw.label("server").below(9)),
            |room| room.name.clone(),
        ),
        rule_name,
        rule_id: (100 + u64::from(target)).to_string(),
        condition,
        room: room.filter(|_| is_room),
        room_mac: if is_room {
            pairs.collect::<Vec<_>>().join(":")
        } else {
            String::new()
        },
        contacts: contacts(draw.label("contacts"), employees),
        notify_methods: draw.label("methods").pick(&[&[0, 1][..], &[0], &[1], &[]]),
        is_nested: draw.label("nested").chance(0.5),
        is_deprecated: draw.label("deprecated").chance(0.3),
        process_time: taken_up.then(|| time + SignedDuration::from_mins(minutes)),
        recover_time: None,
    }
}

fn contacts(draw: Draw, employees: &[Arc<Employee>]) -> Vec<(u8, String)> {
    let count = draw.below(4);
    let contact = |index: u64| {
        let draw = draw.at(index);
        match draw.label("kind").between(1, 3) as u8 {
            1 => {
                let who = draw.label("who").below(employees.len() as u64) as usize;
                (1, employees[who].name.clone())
            }
            2 => (2, "会议室运维组".to_owned()),
            kind => (kind, draw.label("department").pick(&DEPARTMENTS).to_owned()),
        }
    };
    (0..count).map(contact).collect()
}

/// Over within three hours, or in the small hours of one of the next nine days, or never.
fn recovery(draw: Draw, date: Date, zone: &TimeZone, time: Timestamp) -> Option<Timestamp> {
    let draw = draw.label("recovery");
    match draw.below(4) {
        0 => None,
        1 => Some(time + SignedDuration::from_mins(draw.label("minutes").between(1, 170) as i64)),
        _ => {
            let days = draw.label("days").between(1, 9) as i64;
            let morning = date
                .saturating_add(days.days())
                .to_zoned(zone.clone())
                .ok()?;
            let minutes = draw.label("morning").between(60, 360) as i64;
            Some(morning.timestamp() + SignedDuration::from_mins(minutes))
        }
    }
}
